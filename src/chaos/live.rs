//! A scenario on real processes: its world is started (or lent), its users come, its steps are carried out when their
//! time comes, and what is seen goes to the judge.
//!
//! Whatever way a run ends, what it broke is healed and what it started is stopped. A run that is killed heals nothing, so
//! faults that it makes in a world that it was lent end by themselves, at a time by which it would have been over.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use cdn_core::Instant as RunInstant;
use control_plane::{
    ask::{ConfigAsk, DrainAsk, FaultAsk, InvalidationAsk, LinkAsk, RoutingAsk, StopAsk},
    wire::{
        Acted, Drained, Event as PlaneEvent, Faults, Invalidation, InvalidationStatus, NodeOutcome, Routing, Status,
    },
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use simulator::Witness as _;
use tokio::{signal::unix::SignalKind, sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use world::{
    Directory, Event, EventKind,
    scenario::{Action, HealTarget, Scenario},
    workload::RetryBudget,
};

use super::{
    agree::{Outcome, Watched, replay},
    gather::{self, Meters, News},
    own_world::OwnWorld,
    promises::Configured,
    text::Screen,
    users,
};
use crate::{
    cluster::Cluster,
    hands::Admin,
    scenario::Staged,
    talk::{Api, VerbError, tell},
};

/// How long the last counts may take to arrive after the end.
const LAST_COUNTS: Duration = Duration::from_millis(400);
/// How long nodes may take to say what they have counted in the end.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How often is looked whether the run is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often an invalidation is asked how far it has come.
const INVALIDATION_INTERVAL: Duration = Duration::from_millis(50);
/// Nobody waits longer for requests that are made again and again.
const PATIENCE_MAX: Duration = Duration::from_secs(600);
/// How long a request may be under way beyond what its user waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a scenario is played.
pub(crate) enum Where {
    /// In a world of its own.
    Own,
    /// In a world that runs.
    Running(Box<Api>),
}

/// Plays a scenario: the outer error is that it could not start, the inner one that it could not go on.
pub(super) async fn play(
    staged: &Staged,
    here: &Where,
    screen: &Screen,
) -> Result<Result<Outcome, VerbError>, VerbError> {
    let mut interrupted = Interrupts::new()?;
    let (mut own, api) = match here {
        Where::Running(api) => (None, Api::clone(api)),
        Where::Own => {
            let own = tokio::select! {
                own = OwnWorld::start(&staged.plan.file, &staged.plan.cluster) => own?,
                () = interrupted.recv() => return Err(VerbError::Interrupted),
            };
            let api = own.api.clone();
            (Some(own), api)
        }
    };
    let undo = Arc::new(tokio::sync::Mutex::new(Undo::default()));
    // Only a world of our own writes down every decision.
    let logs = own.as_ref().filter(|_| screen.compares).map(OwnWorld::logs);
    let outcome = tokio::select! {
        outcome = begin(staged, here, &api, screen, logs, &undo) => outcome,
        () = interrupted.recv() => Err(VerbError::Interrupted),
    };
    match &mut own {
        Some(own) => own.stop().await,
        None => undo.lock().await.undo(&api).await,
    }
    outcome
}

/// Ctrl-C, SIGTERM, and a terminal that is closed.
struct Interrupts([tokio::signal::unix::Signal; 3]);

impl Interrupts {
    fn new() -> Result<Self, VerbError> {
        let signal = tokio::signal::unix::signal;
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn recv(&mut self) {
        let Self([interrupt, terminate, hang_up]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// Has the users begin, and goes on from there.
async fn begin(
    staged: &Staged,
    here: &Where,
    api: &Api,
    screen: &Screen,
    logs: Option<PathBuf>,
    undo: &Arc<tokio::sync::Mutex<Undo>>,
) -> Result<Result<Outcome, VerbError>, VerbError> {
    let observed = users::begin(api, staged).await?;
    Ok(run(staged, here, api, observed, screen, logs, undo).await)
}

async fn run(
    staged: &Staged,
    here: &Where,
    api: &Api,
    mut observed: users::Observed,
    screen: &Screen,
    logs: Option<PathBuf>,
    undo: &Arc<tokio::sync::Mutex<Undo>>,
) -> Result<Outcome, VerbError> {
    let scenario = &staged.scenario;
    let cluster = Arc::new(
        Cluster::check(&api.record.file, &api.record.inputs)
            .map_err(|error| VerbError::Failed(anyhow::anyhow!("the world's own settings do not check: {error}")))?,
    );
    let admin = Admin::new(api.record.token.clone())?;
    let directory = Arc::new(gather::directory(&cluster));
    let promises = Configured::of(staged, &cluster);
    let mut watched = Watched::new(scenario, &directory, screen).with_promises(promises);
    let begin = observed.begin;
    let zero = begin + scenario.warmup;
    let end = zero + scenario.length;
    let longest = scenario.loads.iter().map(|load| RetryBudget::new(load.retry).longest()).max();
    let patience = longest.unwrap_or_default().min(PATIENCE_MAX) + PATIENCE;
    let (news, mut heard) = mpsc::channel::<News>(1024);
    let background = [
        tokio::spawn(gather::watch_health(Arc::clone(&cluster), admin.clone(), Arc::clone(&directory), news.clone())),
        tokio::spawn(listen(api.clone(), Arc::clone(&directory), news.clone())),
    ];
    let over = CancellationToken::new();
    let revised = staged.revisions.iter().filter_map(|file| cluster.reconfigured(file, &api.record.inputs).ok());
    let revised = revised.flat_map(|revised| revised.distributions).collect::<Vec<_>>();
    let replaying = logs.map(|logs| {
        let served = cluster.distributions.iter().cloned().chain(revised).collect();
        let records = replay::Records { logs, served };
        let following = replay::follow(Arc::clone(&cluster), admin.clone(), records, over.clone());
        AbortOnDropHandle::new(tokio::spawn(following))
    });
    let meters = Meters::new(Arc::clone(&cluster), admin, Arc::clone(&directory), scenario).run(
        zero,
        news.clone(),
        over.clone(),
    );
    let meters = AbortOnDropHandle::new(tokio::spawn(meters));
    let _background = background.map(AbortOnDropHandle::new);
    let revisions = staged.revisions.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
    let (scenario_of_steps, undo) = (scenario.clone(), Arc::clone(undo));
    let faults_end = matches!(here, Where::Running(_)).then(|| end + patience + LAST_COUNTS + LAST_LOOK);
    let steps =
        Steps { api: api.clone(), scenario: scenario_of_steps, cluster, zero, faults_end, news, undo, revisions };
    let mut playing = AbortOnDropHandle::new(tokio::spawn(steps.play()));
    let mut steps_done = false;
    let mut users_done = false;
    let mut tick = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            batch = observed.recv(), if !users_done => match batch {
                Some(batch) => batch?.iter().for_each(|observation| watched.observe(observation)),
                None => users_done = true,
            },
            Some((at, kind)) = heard.recv() => {
                let at = RunInstant::ZERO + at.saturating_duration_since(begin);
                watched.note(&Event { at, kind });
            }
            done = &mut playing, if !steps_done => {
                steps_done = true;
                done.map_err(|error| anyhow::anyhow!("the timeline broke off: {error}"))??;
            }
            _ = tick.tick() => {
                let now = Instant::now();
                let is_over = now >= end + LAST_COUNTS && (users_done || now >= end + patience);
                if is_over && steps_done {
                    break;
                }
            }
        }
    }
    // Requests that began before the end have reached origins after it.
    over.cancel();
    let _ = tokio::time::timeout(LAST_LOOK, meters).await;
    while let Ok((at, kind)) = heard.try_recv() {
        watched.note(&Event { at: RunInstant::ZERO + at.saturating_duration_since(begin), kind });
    }
    let mut outcome = watched.finish(scenario.end());
    if let Some(replaying) = replaying {
        outcome.replayed = Some(replaying.await.map_err(|error| anyhow::anyhow!("replaying broke off: {error}"))?);
    }
    Ok(outcome)
}

/// Tells of what heals or ends by itself, until nobody listens.
async fn listen(api: Api, directory: Arc<Directory>, news: mpsc::Sender<News>) {
    let Ok(mut response) = api.stream("/v1/events", &[("follow", "true")]).await else { return };
    let mut text = String::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some(at) = text.find('\n') {
            let line: String = text.drain(..=at).collect();
            // Of Server-Sent Events the lines with data; the others number them and keep the stream alive.
            let Some(event) = line.trim().strip_prefix("data: ") else { continue };
            let Ok(event) = serde_json::from_str::<PlaneEvent>(event) else { continue };
            let Some(kind) = told(&event, &directory) else { continue };
            if news.send((Instant::now(), kind)).await.is_err() {
                return;
            }
        }
    }
}

/// What an event of the control plane is to the judge. Health is the routers' to say, and steps speak for themselves.
fn told(event: &PlaneEvent, directory: &Directory) -> Option<EventKind> {
    match event.kind.as_str() {
        "heal" => {
            let what = event.text.strip_prefix("ended: ")?.to_owned();
            let node = event.node.as_ref().and_then(|node| directory.index_of(&node.parse().ok()?));
            Some(EventKind::Healed { nodes: node.into_iter().collect(), what })
        }
        "restart" | "error" => Some(EventKind::Note(event.text.clone())),
        _ => None,
    }
}

/// The timeline, carried out.
struct Steps {
    api: Api,
    scenario: Scenario,
    cluster: Arc<Cluster>,
    zero: Instant,
    /// When faults end at the latest, whatever has become of the run by then; none where the world ends with the run.
    faults_end: Option<Instant>,
    news: mpsc::Sender<News>,
    undo: Arc<tokio::sync::Mutex<Undo>>,
    /// Cluster files that steps go over to, from revision 1 on.
    revisions: Vec<Value>,
}

impl Steps {
    async fn play(self) -> Result<(), VerbError> {
        let mut spreading = tokio::task::JoinSet::new();
        for (index, step) in self.scenario.steps.iter().enumerate() {
            tokio::time::sleep_until(self.zero + step.at).await;
            let asked = Instant::now();
            let invalidation = self
                .act(&step.action)
                .await
                .map_err(|error| VerbError::Failed(anyhow::anyhow!("line {}: {}: {error}", step.line, step.text)))?;
            self.tell(EventKind::Step { step: index }).await;
            if let Some((id, objects)) = invalidation {
                let number = index as u64;
                // By the time that its acceptance is known here, origins may have made answers that do not predate it.
                let _ = self.news.send((asked, EventKind::InvalidationAccepted { id: number, objects })).await;
                spreading.spawn(spread(self.api.clone(), id, number, self.news.clone()));
            }
        }
        // What has not reached a node by the end, one that is paused say, need not ever reach it.
        let spread = async { while spreading.join_next().await.is_some() {} };
        let _ = tokio::time::timeout_at(self.zero + self.scenario.length, spread).await;
        Ok(())
    }

    async fn tell(&self, kind: EventKind) {
        let _ = self.news.send((Instant::now(), kind)).await;
    }

    /// Does what a step says; of an invalidation its id and what it covers.
    async fn act(&self, action: &Action) -> Result<Option<(String, world::Covered)>, VerbError> {
        let api = &self.api;
        match action {
            Action::Kill { nodes, span } => self.stop(nodes, "kill", "start", *span).await?,
            Action::Pause { nodes, span } => self.stop(nodes, "pause", "resume", *span).await?,
            Action::Start { nodes } => self.stop(nodes, "start", "start", None).await?,
            Action::Resume { nodes } => self.stop(nodes, "resume", "resume", None).await?,
            Action::Fault { nodes, effects, rate, path, from, span } => {
                for node in nodes {
                    let mut ask = FaultAsk {
                        target: node.to_string(),
                        rate: Some(*rate),
                        path: path.clone(),
                        from: from.as_ref().map(ToString::to_string),
                        for_ms: self.lasts_ms(*span),
                        ..FaultAsk::default()
                    };
                    effects.iter().for_each(|effect| name_effect(&mut ask, *effect));
                    self.broke(api.post("/v1/faults", &ask).await?).await;
                }
            }
            Action::Link { a, b, one_way, changes, span } => {
                let mut ask = LinkAsk {
                    a: a.to_string(),
                    b: b.to_string(),
                    delay_ms: None,
                    loss: None,
                    throttle_bps: None,
                    partition: false,
                    one_way: *one_way,
                    for_ms: self.lasts_ms(*span),
                };
                for change in changes {
                    match *change {
                        world::LinkChange::Delay(delay) => ask.delay_ms = Some(delay.as_secs_f64() * 1e3),
                        world::LinkChange::Loss(loss) => ask.loss = Some(loss),
                        world::LinkChange::Throttle(bps) => ask.throttle_bps = Some(bps),
                        world::LinkChange::Partition => ask.partition = true,
                    }
                }
                self.broke(api.post("/v1/links", &ask).await?).await;
            }
            Action::Heal(target) => self.heal(target).await?,
            Action::Drain(pop) => {
                let _: Drained = api.post("/v1/drain", &DrainAsk { pop: pop.to_string() }).await?;
                self.undo.lock().await.drained.push(pop.to_string());
            }
            Action::Undrain(pop) => {
                let _: Drained = api.post("/v1/undrain", &DrainAsk { pop: pop.to_string() }).await?;
                self.undo.lock().await.drained.retain(|drained| *drained != pop.to_string());
            }
            Action::Policy { distribution, policy } => {
                let before: Routing = api.read("/v1/routing", &()).await?;
                self.undo.lock().await.policies.get_or_insert(before);
                let ask = RoutingAsk { policy: policy.as_str().to_owned(), distribution: distribution.clone() };
                let _: Routing = api.post("/v1/routing", &ask).await?;
            }
            Action::Invalidate { distribution, patterns } => {
                let ask = InvalidationAsk { distribution: distribution.clone(), patterns: patterns.clone() };
                let covered = users::covered(&self.scenario, &self.cluster, distribution.as_deref(), patterns);
                let accepted: Invalidation = api.post("/v1/invalidations", &ask).await?;
                return Ok(Some((accepted.id, covered)));
            }
            Action::Config(change) => {
                let config = change.revision.checked_sub(1).and_then(|at| self.revisions.get(at)).cloned();
                let nodes = change.nodes.iter().map(ToString::to_string).collect();
                self.undo.lock().await.is_configured = true;
                let acted: Acted = api.post("/v1/config", &ConfigAsk { nodes, config }).await?;
                if let Some(NodeOutcome { node, error: Some(error) }) =
                    acted.nodes.into_iter().find(|outcome| outcome.error.is_some())
                {
                    return Err(VerbError::Failed(anyhow::anyhow!("{node}: {error}")));
                }
            }
            // It is in the ramp already.
            Action::Load(_) => {}
        }
        Ok(None)
    }

    async fn stop(
        &self,
        nodes: &[cdn_core::NodeId],
        verb: &str,
        back: &'static str,
        span: Option<Duration>,
    ) -> Result<(), VerbError> {
        let for_ms = if verb == back { None } else { self.lasts_ms(span) };
        let body = if for_ms.is_some() { json!(StopAsk { for_ms }) } else { json!({}) };
        let acted = nodes.iter().map(async |node| -> Result<Acted, VerbError> {
            self.api.post(&format!("/v1/nodes/{node}/{verb}"), &body).await
        });
        let acted = try_join_all(acted).await?;
        let failed = acted.iter().flat_map(|acted| &acted.nodes).find_map(|outcome| outcome.error.as_ref());
        if let Some(error) = failed {
            return Err(VerbError::Failed(anyhow::anyhow!("{error}")));
        }
        let mut undo = self.undo.lock().await;
        for node in nodes {
            match verb == back {
                true => undo.stopped.remove(&node.to_string()),
                false => undo.stopped.insert(node.to_string(), back),
            };
        }
        Ok(())
    }

    /// How long it lasts what a step breaks for `span`, or until somebody heals it.
    fn lasts_ms(&self, span: Option<Duration>) -> Option<u64> {
        let at_most = self.faults_end.map(|end| end.saturating_duration_since(Instant::now()));
        let span = at_most.into_iter().chain(span).min()?;
        Some(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    async fn broke(&self, faults: Faults) {
        self.undo.lock().await.faults.extend(faults.faults.iter().map(|fault| fault.id));
    }

    async fn heal(&self, target: &HealTarget) -> Result<(), VerbError> {
        let targets = match target {
            HealTarget::All => vec!["all".to_owned()],
            HealTarget::Link { a, b } => vec![format!("{a}<->{b}")],
            HealTarget::At { nodes, sites } => {
                nodes.iter().map(ToString::to_string).chain(sites.iter().map(ToString::to_string)).collect()
            }
        };
        for target in targets {
            let healed: Result<Faults, VerbError> = self.api.delete("/v1/faults", &[("target", &target)]).await;
            match healed {
                // A site without a node is nobody to heal; its links are healed by the other end's name.
                Ok(_) | Err(VerbError::Usage(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn name_effect(ask: &mut FaultAsk, effect: world::Effect) {
    match effect {
        world::Effect::Status(status) => ask.status = Some(status),
        world::Effect::Latency(latency) => ask.latency_ms = Some(latency.as_secs_f64() * 1e3),
        world::Effect::Refuse => ask.refuse = true,
        world::Effect::Reset => ask.reset = true,
        world::Effect::Blackhole => ask.blackhole = true,
        world::Effect::Truncate => ask.truncate = true,
        world::Effect::Stall => ask.stall = true,
        world::Effect::Garbage => ask.garbage = true,
        world::Effect::Throttle { bps } => ask.throttle_bps = Some(bps),
        world::Effect::Clock { ahead_ns } => ask.clock_ahead_ms = Some(ahead_ns / 1_000_000),
        world::Effect::LogsFull => ask.logs_full = true,
    }
}

/// Waits until an invalidation is everywhere, and tells it.
async fn spread(api: Api, id: String, number: u64, news: mpsc::Sender<News>) {
    loop {
        match api.read::<Invalidation>(&format!("/v1/invalidations/{id}"), &()).await {
            Ok(invalidation) if invalidation.status == InvalidationStatus::Completed => {
                let _ = news.send((Instant::now(), EventKind::InvalidationDone { id: number })).await;
                return;
            }
            Ok(invalidation) if invalidation.status == InvalidationStatus::InProgress => {}
            _ => {
                let note = EventKind::Note(format!("invalidation {id} did not reach every node"));
                let _ = news.send((Instant::now(), note)).await;
                return;
            }
        }
        if news.is_closed() {
            return;
        }
        tokio::time::sleep(INVALIDATION_INTERVAL).await;
    }
}

/// What was done to a world that somebody lent, to be undone.
#[derive(Default)]
struct Undo {
    faults: Vec<u64>,
    /// By node, how it goes on.
    stopped: BTreeMap<String, &'static str>,
    drained: Vec<String>,
    /// As it was before.
    policies: Option<Routing>,
    /// Caches serve as a step says.
    is_configured: bool,
}

impl Undo {
    /// Undoes what has not been undone by itself. Whatever does not work is told, and the rest goes on.
    async fn undo(&mut self, api: &Api) {
        let active: Vec<u64> = match api.read::<Status>("/v1/status", &()).await {
            Ok(status) => status.faults.iter().map(|fault| fault.id).collect(),
            Err(_) => return,
        };
        for id in self.faults.drain(..).filter(|id| active.contains(id)) {
            let healed: Result<Faults, VerbError> = api.delete("/v1/faults", &[("id", id)]).await;
            warn(healed);
        }
        for (node, back) in std::mem::take(&mut self.stopped) {
            let answered: Result<Acted, VerbError> = api.post(&format!("/v1/nodes/{node}/{back}"), &json!({})).await;
            // It may have gone on by itself.
            drop(answered);
        }
        for pop in self.drained.drain(..) {
            let undrained: Result<Drained, VerbError> = api.post("/v1/undrain", &DrainAsk { pop }).await;
            warn(undrained);
        }
        if std::mem::take(&mut self.is_configured) {
            warn(api.post::<Acted>("/v1/config", &ConfigAsk::default()).await);
        }
        if let Some(before) = self.policies.take() {
            let world = RoutingAsk { policy: before.policy, distribution: None };
            warn(api.post::<Routing>("/v1/routing", &world).await);
            for own in before.distributions {
                let policy = if own.is_own { own.policy } else { "default".to_owned() };
                warn(api.post::<Routing>("/v1/routing", &RoutingAsk { policy, distribution: Some(own.id) }).await);
            }
        }
    }
}

fn warn<T>(done: Result<T, VerbError>) {
    if let Err(error) = done {
        tell(&format!("warning: not everything was healed: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_by_itself_is_told_of_the_control_plane() {
        let event =
            |kind: &str, text: &str| PlaneEvent { seq: 1, t_ms: 1, kind: kind.into(), node: None, text: text.into() };
        let directory = Directory::default();
        let healed = told(&event("heal", "ended: edge.fra kill"), &directory);
        assert_eq!(healed, Some(EventKind::Healed { nodes: Vec::new(), what: "edge.fra kill".into() }));
        assert_eq!(told(&event("heal", "healed: edge.fra kill"), &directory), None);
        assert_eq!(told(&event("health", "edge.fra down (was up)"), &directory), None);
    }
}
