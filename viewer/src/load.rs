//! Load: the users of a workload, each in its place, open loop.
//!
//! Every request starts when it is meant to, whatever became of the others, and its latency counts from then. Decides
//! when requests start and how many may be under way; what they are is `world`'s to say, and how they reach an edge is
//! the [`Fetcher`]'s, which the proxy uses as well.

mod body;
mod reading;
mod request;
mod signatures;
mod users;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cdn_core::{Counter, PopCode};
use http::{HeaderMap, HeaderValue, Method, header, uri::Authority};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use world::{
    Atlas, Habits, Observation, Workload, WorkloadError,
    scenario::{Load, Transport},
    workload::RetryBudget,
};

pub use self::signatures::Sign;
use self::{signatures::Signatures, users::Users};
use crate::{dns::Resolver, fetch::Fetcher, node::Node, place::Standing, pool::Pool, target::Target, tls::BothEnds};

/// How often observations are handed on.
const BATCH_INTERVAL: Duration = Duration::from_millis(20);
/// How often connections are looked through for those that are kept no longer.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Batches that may wait for their reader; what comes beyond waits in the run.
const BATCHES: usize = 16;
/// From the answer to whoever starts a load until its first request is due.
const LEAD: Duration = Duration::from_millis(20);
/// Requests that are started without a look at what else is ready.
const BURST: u32 = 32;

/// What to play.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The loads.
    pub loads: Vec<Load>,
    /// The host that each of them asks, by its index.
    pub hosts: Vec<String>,
    /// Who signs for each of them, by its index; nobody needs to where a load does not sign.
    pub signers: Vec<Option<Arc<dyn Sign>>>,
    /// Load before time zero.
    pub warmup: Duration,
    /// From time zero to the end.
    pub length: Duration,
    /// Seed of the workload.
    pub seed: u64,
    /// Seed of what simulated origins serve, where nobody else answers: bodies are then checked against it.
    pub content_seed: Option<u64>,
}

/// A load that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No requests can be made of it.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// Its host or method is none.
    #[error("{0}")]
    Invalid(String),
}

/// What is told of a load that is played.
#[derive(Clone, Debug)]
pub enum LoadNews {
    /// Requests that are over. Their times count from the beginning of the warm-up.
    Observations(Vec<Observation>),
    /// All are over.
    Ended(LoadSummary),
}

/// A load in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadSummary {
    /// Requests that were meant to be made.
    pub intended: u64,
    /// Observations that were dropped because nobody read them.
    pub dropped: u64,
}

/// A load that is played; it ends when this is dropped.
#[derive(Debug)]
pub struct LoadRun {
    /// When the warm-up begins, by the wall clock, in nanoseconds since 1970.
    pub begin_unix_nanos: u64,
    news: mpsc::Receiver<LoadNews>,
    _stop: tokio_util::sync::DropGuard,
}

impl LoadRun {
    /// What comes next; `None` after the end.
    pub async fn recv(&mut self) -> Option<LoadNews> {
        self.news.recv().await
    }
}

/// What the requests of one load have in common.
struct Setup {
    load: Load,
    target: Target,
    method: Method,
    headers: HeaderMap,
    signatures: Option<Signatures>,
    retries: Mutex<RetryBudget>,
}

/// A run, as its requests see it.
struct Run {
    node: Arc<Node>,
    fetcher: Fetcher,
    setups: Vec<Setup>,
    users: Users,
    viewpoints: Mutex<HashMap<(u32, Habits), Arc<Viewpoint>>>,
    pops: HashMap<IpAddr, PopCode>,
    content_seed: Option<u64>,
    /// When the workload's own clock began.
    epoch: Instant,
    report: Mutex<Report>,
}

/// A place, as users with the same habits see it.
struct Viewpoint {
    standing: Standing,
    resolver: Arc<Resolver>,
    client_subnet: bool,
}

#[derive(Default)]
struct Report {
    waiting: Vec<Observation>,
    dropped: u64,
}

/// Begins to play `plan`. Must be called within the node's runtime.
pub(crate) fn play(node: &Arc<Node>, plan: LoadPlan) -> Result<LoadRun, LoadError> {
    let end = plan.warmup + plan.length;
    let workload = Workload::new(&plan.loads, plan.warmup, end, Atlas::embedded(), plan.seed)?;
    let signers = plan.signers.into_iter().chain(std::iter::repeat(None));
    let setups = plan.loads.into_iter().zip(&plan.hosts).zip(signers);
    let setups = setups.map(|((load, host), signer)| Setup::new(load, host, signer, node));
    let setups = setups.collect::<Result<Vec<_>, _>>()?;
    let limits = &node.config.limits;
    let per_user = setups.iter().map(|setup| setup.load.connections.per_user).collect();
    let epoch = Instant::now() + LEAD;
    let begin = SystemTime::now() + LEAD;
    let run = Arc::new(Run {
        fetcher: Fetcher {
            config: Arc::clone(&node.config),
            connector: Arc::clone(&node.fetcher.connector),
            pool: Pool::new(limits.load_idle_max, limits.pool_idle_timeout),
            counters: Arc::clone(&node.counters),
        },
        setups,
        users: Users::new(per_user),
        viewpoints: Mutex::default(),
        pops: node.config.edge_names.iter().filter_map(|(ip, name)| Some((*ip, pop_of(name)?))).collect(),
        content_seed: plan.content_seed,
        epoch,
        report: Mutex::default(),
        node: Arc::clone(node),
    });
    let (sender, news) = mpsc::channel(BATCHES);
    let stop = node.stopping.child_token();
    node.tasks.spawn(drive(run, workload, sender, stop.clone()));
    let begin_unix_nanos = begin.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    Ok(LoadRun { begin_unix_nanos, news, _stop: stop.drop_guard() })
}

/// Starts requests, hands on what is told of them, and says when all are over.
async fn drive(run: Arc<Run>, workload: Workload, news: mpsc::Sender<LoadNews>, stop: CancellationToken) {
    let requests = TaskTracker::new();
    let starts = async {
        let summary = start_all(&run, workload, &requests, &stop).await;
        requests.close();
        requests.wait().await;
        summary
    };
    tokio::pin!(starts);
    let mut ticks = interval(BATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let summary = loop {
        let ended = tokio::select! {
            summary = &mut starts => Some(summary),
            _ = ticks.tick() => None,
            () = stop.cancelled() => return,
        };
        // While it runs, nobody waits for a slow reader: what is told waits in the run.
        if ended.is_some() || news.capacity() > 0 {
            let batch = std::mem::take(&mut run.report().waiting);
            if !batch.is_empty() && news.send(LoadNews::Observations(batch)).await.is_err() {
                return;
            }
        }
        if let Some(summary) = ended {
            break summary;
        }
        if swept.elapsed() >= SWEEP_INTERVAL {
            run.fetcher.pool.close_stale();
            swept = Instant::now();
        }
    };
    let dropped = run.report().dropped;
    let _ = news.send(LoadNews::Ended(LoadSummary { dropped, ..summary })).await;
}

/// Starts each request when it is meant to.
async fn start_all(
    run: &Arc<Run>,
    mut workload: Workload,
    requests: &TaskTracker,
    stop: &CancellationToken,
) -> LoadSummary {
    let mut summary = LoadSummary::default();
    let (counters, mut burst) = (&run.node.counters, 0);
    while let Some(intended) = workload.next() {
        let due = run.epoch + Duration::from_nanos(intended.at.as_nanos());
        if due > Instant::now() {
            run.node.net.wait_until(due).await;
            burst = 0;
        } else if burst >= BURST {
            // Behind: those under way must not starve for those that begin.
            tokio::task::yield_now().await;
            burst = 0;
        }
        burst += 1;
        summary.intended += 1;
        counters.bump(Counter::ViewerLoadRequests);
        let (habits, signature) = (workload.habits(&intended), workload.signature(&intended));
        let Ok(permit) = Arc::clone(&run.node.load_room).try_acquire_owned() else {
            counters.bump(Counter::ViewerLoadFull);
            run.tell(request::refused(run, &intended, signature));
            continue;
        };
        counters.add(Counter::ViewerLoadInFlight, 1);
        let (run, stop) = (Arc::clone(run), stop.clone());
        requests.spawn(async move {
            stop.run_until_cancelled(run.make(&intended, habits, signature)).await;
            run.node.counters.sub(Counter::ViewerLoadInFlight, 1);
            drop(permit);
        });
    }
    summary
}

impl Setup {
    fn new(load: Load, host: &str, signer: Option<Arc<dyn Sign>>, node: &Node) -> Result<Self, LoadError> {
        let invalid = |what: String| LoadError::Invalid(what);
        let authority: Authority = host.parse().map_err(|_| invalid(format!("{host:?} is no host")))?;
        let transport = load.connections.transport;
        let port = if transport.is_secure() { 443 } else { 80 };
        let target = Target::of(&authority, port, &node.config).map_err(|failure| invalid(failure.to_string()))?;
        let target = if transport.is_secure() { secured(target, node).map_err(invalid)? } else { target };
        let target = Target { http3: transport == Transport::Quic, ..target };
        let method = load.method.parse().map_err(|_| invalid(format!("{:?} is no method", load.method)))?;
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| invalid(format!("{text:?} is no host")));
        headers.insert(header::HOST, value(host)?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static("isochrone-load"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let signatures = match (&load.signing, signer) {
            (None, _) => None,
            (Some(signing), Some(signer)) => Some(Signatures::new(signing.clone(), signer, host)),
            (Some(signing), None) => return Err(invalid(format!("nobody signs with {}", signing.key_id))),
        };
        let retries = Mutex::new(RetryBudget::new(load.retry));
        Ok(Self { load, target, method, headers, signatures, retries })
    }
}

/// A target with which TLS is spoken.
fn secured(target: Target, node: &Node) -> Result<Target, String> {
    let identities = node.config.identities.as_ref().ok_or("nobody knows the certificates of this world")?;
    let ends = identities.identity(&target.host).and_then(|identity| BothEnds::of(&identity, &node.clock));
    let ends = ends.map_err(|error| format!("the certificate of {}: {error}", target.host))?;
    Ok(Target { tls: Some(Arc::new(ends)), ..target })
}

impl Run {
    /// How a place looks to users with these habits.
    fn viewpoint(&self, place: u32, habits: Habits) -> Option<Arc<Viewpoint>> {
        let mut known = lock(&self.viewpoints);
        if let Some(viewpoint) = known.get(&(place, habits)) {
            return Some(Arc::clone(viewpoint));
        }
        let name = Atlas::embedded().at_index(place)?.id.as_str();
        let standing = self.node.places.standing(name).ok()?;
        let resolver = self.node.resolvers.stretching_at(&standing, habits.stretch.unwrap_or_default());
        let viewpoint = Arc::new(Viewpoint { standing, resolver, client_subnet: habits.client_subnet });
        known.insert((place, habits), Arc::clone(&viewpoint));
        Some(viewpoint)
    }

    /// Tells of a request that is over.
    fn tell(&self, observation: Observation) {
        let mut report = self.report();
        if report.waiting.len() < self.node.config.limits.load_observations_max {
            report.waiting.push(observation);
        } else {
            report.dropped += 1;
            self.node.counters.bump(Counter::ViewerLoadObservationsDropped);
        }
    }

    /// From the machine's clock to the run's own.
    fn since_begin(&self, at: Instant) -> cdn_core::Instant {
        cdn_core::Instant::ZERO + at.saturating_duration_since(self.epoch)
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        lock(&self.report)
    }
}

/// The PoP in an edge's name: `fra`, or `fra-2`.
fn pop_of(name: &str) -> Option<PopCode> {
    name.get(..3)?.to_ascii_uppercase().parse().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
