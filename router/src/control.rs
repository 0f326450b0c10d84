//! The one place that holds the planner, and the snapshot that everybody answers from.
//!
//! Whoever has news takes the lock for a moment, tells the planner, and publishes if a snapshot is due. Answering takes
//! no lock: it loads the published snapshot, which is replaced and never edited.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use cdn_core::{
    Counter, Counters, Instant, NodeId, PopCode, SourceNat,
    estimate::BeaconRefused,
    geo::GeoMap,
    health::{HealthState, ProbeError, quorum::QuorumOptions},
    http_version::HttpVersion,
    response_rate::{ResponseRate, ResponseRateOptions},
    routing::{EdgeHealth, EdgeKey, Host, Planner, PolicyKind, Pop, Probe, Snapshot, Told},
    zone::Zones,
};
use tokio::sync::{Notify, watch};

use crate::{
    config::{BuildError, Config, Cookies, Limits, RedirectTo},
    decisions::{Decisions, Namer},
    names,
    query_log::QueryLog,
    tally::{PopTally, Tally},
};

/// What answers are made from.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) snapshot: Snapshot,
    pub(crate) zones: Arc<Zones>,
    /// What HTTPS records offer, by the position of the distribution.
    pub(crate) http_versions: Arc<[HttpVersion]>,
    /// Of the snapshot's PoPs, in their order.
    pub(crate) tallies: Box<[Arc<PopTally>]>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) counters: Arc<Counters>,
    pub(crate) tally: Tally,
    pub(crate) limits: Limits,
    pub(crate) source_nat: Option<SourceNat>,
    pub(crate) server_id: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) cookies: Option<Cookies>,
    pub(crate) query_log: Option<QueryLog>,
    pub(crate) redirect_to: RedirectTo,
    pub(crate) sticky: Option<Duration>,
    pub(crate) zone: cdn_core::zone::Name,
    pub(crate) id: NodeId,
    pub(crate) quorum: QuorumOptions,
    /// Counts the changes of this router's own opinions.
    pub(crate) opinions_changed: watch::Sender<u64>,
    state: Mutex<State>,
    published: ArcSwap<Published>,
    pub(crate) namer: Namer,
    decisions: Mutex<Decisions>,
    /// Wakes the prober when the planner's next time may have changed.
    pub(crate) wake: Notify,
    started: std::time::Instant,
    turns: AtomicU64,
    /// By how many seconds its clock is ahead of the machine's.
    clock_ahead_s: AtomicI64,
}

#[derive(Debug)]
struct State {
    config: Config,
    planner: Planner,
    zones: Arc<Zones>,
    serial: u32,
}

impl Control {
    /// The date as this router knows it, as cookies carry it: in 32 bits (RFC 9018, section 4.3).
    pub(crate) fn unix_s(&self) -> u32 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (since.as_secs() as u32).wrapping_add(self.clock_ahead_s.load(Ordering::Relaxed) as u32)
    }

    /// Makes its clock go wrong by so many seconds, or right with 0.
    pub(crate) fn set_clock(&self, ahead_s: i64) {
        self.clock_ahead_s.store(ahead_s, Ordering::Relaxed);
    }

    pub(crate) fn build(mut config: Config) -> Result<Self, BuildError> {
        let pops = std::mem::take(&mut config.pops);
        let zones = Arc::new(names::build(&config, &pops, 1)?);
        let geo = GeoMap::build(std::mem::take(&mut config.prefixes));
        let counters = Arc::<Counters>::default();
        counters.set(Counter::RouterPrefixes, geo.networks() as u64);
        let route = |id: &String| {
            let written = config.routes.iter().find(|host| host.id == *id).cloned();
            written.unwrap_or_else(|| Host::new(id.clone()))
        };
        let hosts = config.distributions.iter().map(|distribution| route(&distribution.id)).collect();
        let mut planner = Planner::new(Instant::ZERO, config.routing.clone(), geo, pops, hosts);
        let snapshot = planner.build_snapshot(Instant::ZERO);
        // Ids of decisions name the run, since versions begin anew with it.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let namer = Namer::new(&config.id, since.as_secs() as u32);
        let query_log = match config.query_log.take() {
            Some(options) => {
                let node = config.id.to_string();
                Some(
                    QueryLog::start(options, node, namer.clone(), Arc::clone(&counters))
                        .map_err(BuildError::QueryLog)?,
                )
            }
            None => None,
        };
        let mut decisions = Decisions::new(namer.clone(), config.limits.kept.clone());
        decisions.keep(&snapshot);
        let tally = Tally::default();
        let tallies = tally.of(snapshot.pops());
        let http_versions = config.distributions.iter().map(|distribution| distribution.http_version).collect();
        let published = Published { snapshot, zones: Arc::clone(&zones), http_versions, tallies };
        Ok(Self {
            counters,
            tally,
            limits: config.limits.clone(),
            source_nat: config.source_nat,
            server_id: config.server_id.clone(),
            version: config.version.clone(),
            cookies: config.cookies.clone(),
            query_log,
            redirect_to: config.redirect_to,
            sticky: config.sticky,
            zone: config.zone.clone(),
            id: config.id.clone(),
            quorum: config.routing.quorum.clone(),
            opinions_changed: watch::Sender::new(0),
            published: ArcSwap::from_pointee(published),
            state: Mutex::new(State { config, planner, zones, serial: 1 }),
            namer,
            decisions: Mutex::new(decisions),
            wake: Notify::new(),
            started: std::time::Instant::now(),
            turns: AtomicU64::new(0),
            clock_ahead_s: AtomicI64::new(0),
        })
    }

    /// Time since this router was built.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What is counted, in Prometheus' text format 0.0.4, each value with `labels`.
    pub(crate) fn prometheus(&self, labels: &str) -> String {
        let age = self.now() - self.published().snapshot.at();
        self.counters.set(Counter::RouterSnapshotAge, u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self.counters.prometheus(&["router"], labels) + &self.tally.prometheus(labels)
    }

    /// What to answer from.
    pub(crate) fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// For workers that look at it often.
    pub(crate) const fn published_swap(&self) -> &ArcSwap<Published> {
        &self.published
    }

    /// The next turn of whoever answers one question at a time.
    pub(crate) fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The turn that a new worker begins with.
    pub(crate) fn first_turn(&self) -> u64 {
        self.next_turn()
    }

    /// The memory of one of `workers` that answer over UDP; `None` where answers are not limited.
    pub(crate) fn response_rate(&self, workers: usize) -> Option<ResponseRate> {
        let options = &self.limits.response_rate;
        let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
        let share = |rate: u32| rate.div_ceil(workers);
        let options = ResponseRateOptions {
            network_per_s: share(options.network_per_s),
            all_per_s: share(options.all_per_s),
            slip: options.slip,
        };
        // std draws the keys of its hasher at random, which is all that is wanted here.
        let draw = || u128::from(RandomState::new().hash_one(0));
        let is_limited = options.network_per_s != 0 || options.all_per_s != 0;
        is_limited.then(|| ResponseRate::new(options, draw() << 64 | draw()))
    }

    /// The probes that are due, and when to ask again.
    pub(crate) fn poll_probes(&self) -> (Vec<Probe>, Instant) {
        self.tell(|planner, now| {
            let probes = std::iter::from_fn(|| planner.poll_probe(now)).collect();
            (probes, planner.poll_timeout())
        })
    }

    /// A probe ended; `requests` is what the edge says to have served since it began.
    pub(crate) fn handle_probe(&self, probe: Probe, outcome: Result<Duration, ProbeError>, requests: Option<u64>) {
        let change = self.tell(|planner, now| {
            if let Some(pop) = planner.pop_of(probe.edge) {
                self.tally.of_pop(pop).on_probe(outcome.map(drop));
            }
            if let Some(total) = requests {
                planner.handle_requests(now, probe.edge, total);
            }
            planner.handle_probe(now, probe, outcome)
        });
        if let Some((edge, change)) = change {
            self.counters.bump(Counter::RouterHealthChanges);
            let error = outcome.err().map(tracing::field::display);
            tracing::info!(%edge, from = %change.from, to = %change.to, error, "health");
            self.opinions_changed.send_modify(|changes| *changes += 1);
        }
        self.wake.notify_one();
    }

    /// What this router itself makes of every edge.
    pub(crate) fn opinions(&self) -> Vec<(NodeId, HealthState)> {
        self.lock().planner.opinions().map(|(edge, state)| (edge.clone(), state)).collect()
    }

    /// Another router says what it makes of every edge.
    pub(crate) fn handle_opinions(&self, observer: NodeId, states: Vec<(NodeId, HealthState)>) {
        self.counters.bump(Counter::RouterOpinionsHeard);
        self.tell(|planner, now| planner.handle_opinions(now, observer, states));
        self.wake.notify_one();
    }

    pub(crate) fn handle_connection_lost(&self, edge: EdgeKey) {
        self.tell(|planner, now| planner.handle_connection_lost(now, edge));
        self.wake.notify_one();
    }

    pub(crate) fn handle_beacon(&self, client: IpAddr, edge: IpAddr, rtt: Duration) -> Result<(), BeaconRefused> {
        let taken = self.tell(|planner, now| planner.handle_beacon(now, client, edge, rtt));
        self.counters.bump(if taken.is_ok() { Counter::RouterBeacons } else { Counter::RouterBeaconsRefused });
        if let Ok(Some(error)) = taken {
            self.tally.on_estimate_error(error);
        }
        self.wake.notify_one();
        taken.map(drop)
    }

    pub(crate) fn set_drained(&self, drained: Vec<PopCode>) {
        self.tell(|planner, _| planner.set_drained(drained));
        self.wake.notify_one();
    }

    pub(crate) fn set_policies(&self, policy: PolicyKind, of_hosts: &BTreeMap<String, PolicyKind>) {
        self.tell(|planner, _| planner.set_policies(policy, of_hosts));
        self.wake.notify_one();
    }

    /// The policy program said this.
    pub(crate) fn set_told(&self, told: Told) {
        self.tell(|planner, now| planner.set_told(now, told));
        self.wake.notify_one();
    }

    pub(crate) fn set_pops(&self, pops: Vec<Pop>) -> Result<(), BuildError> {
        let mut state = self.lock();
        state.serial += 1;
        state.zones = Arc::new(names::build(&state.config, &pops, state.serial)?);
        let now = self.now();
        state.planner.set_pops(now, pops);
        self.publish(&mut state, now);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Replaces the client networks; blocking work. Whoever asks meanwhile is answered from the old ones, and nobody else
    /// waits: what takes long is done without the lock.
    pub(crate) fn make_room_for_geo(&self) {
        let gone = self.decisions().forget_other_maps();
        self.counters.add(Counter::RouterSnapshotsForgotten, gone);
    }

    pub(crate) fn set_geo(&self, geo: GeoMap) {
        self.counters.set(Counter::RouterPrefixes, geo.networks() as u64);
        let outline = self.lock().planner.outline();
        let laid = outline.lay(geo);
        self.tell(|planner, now| planner.set_geo(now, laid));
        self.wake.notify_one();
    }

    pub(crate) fn health(&self) -> Vec<EdgeHealth> {
        self.lock().planner.health()
    }

    /// Tells the planner something, and publishes what comes of it.
    fn tell<T>(&self, tell: impl FnOnce(&mut Planner, Instant) -> T) -> T {
        let mut state = self.lock();
        let now = self.now();
        let told = tell(&mut state.planner, now);
        self.publish(&mut state, now);
        told
    }

    fn publish(&self, state: &mut State, now: Instant) {
        let snapshot = state.planner.poll_snapshot(now);
        self.counters.set(Counter::RouterObservers, state.planner.fresh_observers(now) as u64 + 1);
        for (edge, change) in state.planner.poll_changes() {
            self.counters.bump(Counter::RouterVerdictChanges);
            tracing::info!(%edge, from = %change.from, to = %change.to, "verdict");
        }
        let Some(snapshot) = snapshot else { return };
        let healthy = snapshot.healthy_edges();
        self.counters.set(Counter::RouterSnapshotVersion, snapshot.version());
        self.counters.set(Counter::RouterFailOpen, u64::from(snapshot.is_fail_open()));
        self.counters.set(Counter::RouterEdgesHealthy, healthy as u64);
        self.counters.set(Counter::RouterPopsSpilling, snapshot.spilling_pops() as u64);
        self.counters.set(Counter::RouterPopsRamping, snapshot.ramping_pops() as u64);
        self.counters.set(Counter::RouterEdgesBounded, snapshot.bounded_edges() as u64);
        self.counters.add(Counter::RouterSnapshotsForgotten, self.decisions().keep(&snapshot));
        let (zones, tallies) = (Arc::clone(&state.zones), self.tally.of(snapshot.pops()));
        let http_versions = Arc::clone(&self.published.load().http_versions);
        self.published.store(Arc::new(Published { snapshot, zones, http_versions, tallies }));
    }

    /// What can be told again.
    pub(crate) fn decisions(&self) -> MutexGuard<'_, Decisions> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics while it holds the lock, short of a defect; then the planner is still what it was told last.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
