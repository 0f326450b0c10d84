//! The router's memory: takes in probes, beacons, loads, drains and policies, and says when a new [`Snapshot`] is due.
//!
//! Waits for nothing and sends nothing. The shell asks [`Planner::poll_timeout`] when to come back, sends the probes of
//! [`Planner::poll_probe`], reports what happened, and publishes what [`Planner::poll_snapshot`] yields.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    EdgeSite, Host, PolicyKind, Pop, PopIndex, RoutingOptions, Snapshot, Told,
    decide::{Facts, TableFacts},
    draw, inside,
    lay::{LaidMap, Outline},
    load::{Loads, PopLoad, Serving},
    pops::{EdgeFitness, Fitness},
    priors::Priors,
    ramp,
    table::{Around, Table},
    unit,
};
use crate::{
    Instant, NodeId, PopCode, Reason,
    estimate::{BeaconRefused, Estimates, Neighbourhood},
    geo::{BlockId, GeoMap, PlaceId, Region},
    health::{
        Change, Health, HealthState, ProbeError, ProbeId,
        quorum::{Quorum, Verdict},
    },
};

/// An edge for as long as it stays in the list; a new edge, or one that moved, has a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey(pub(super) u64);

/// A probe to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whom it is for.
    pub edge: EdgeKey,
    /// Which it is.
    pub id: ProbeId,
    /// Where the edge listens.
    pub address: SocketAddrV4,
}

/// An edge's health, for status tables.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeHealth {
    /// The edge.
    pub edge: NodeId,
    /// Its PoP.
    pub pop: PopCode,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// What is believed: the verdict of all observers.
    pub state: HealthState,
    /// Since when.
    pub since: Instant,
    /// What this observer itself sees.
    pub own: HealthState,
    /// How many observers the verdict rests on, this one among them.
    pub observers: u32,
    /// How many of them call the edge down.
    pub down_votes: u32,
    /// Its PoP is being drained.
    pub draining: bool,
    /// The usual time of a probe's answer.
    pub rtt: Option<Duration>,
    /// When a probe was answered last.
    pub last_answer_at: Option<Instant>,
    /// When and why a probe failed last.
    pub last_error: Option<(Instant, ProbeError)>,
    /// Failures since the last success, up to the threshold.
    pub failures: usize,
}

/// While networks hear of a withdrawal one by one, a snapshot is made this often.
const CONVERGENCE_STEP: Duration = Duration::from_millis(250);

/// The router's memory. See the module for the calling order.
#[derive(Debug)]
pub struct Planner {
    options: Arc<RoutingOptions>,
    /// Of hosts that have none of their own.
    policy: PolicyKind,
    hosts: Arc<[Host]>,
    geo: Arc<GeoMap>,
    pops: Arc<[Pop]>,
    edges: BTreeMap<EdgeKey, Edge>,
    drained: BTreeSet<PopCode>,
    quorum: Quorum,
    /// Steps of verdicts that nobody has asked for yet.
    changes: Vec<(NodeId, Change)>,
    estimates: Arc<Estimates>,
    near: Arc<Neighbourhood>,
    loads: Loads,
    /// One for all hosts that are routed alike.
    tables: Vec<Table>,
    /// For each host the position of its table.
    table_of: Arc<[usize]>,
    /// Blocks with samples that the tables do not know of yet.
    fresh: BTreeSet<BlockId>,
    /// Regions of which something was learned that the tables do not know of yet.
    fresh_regions: BTreeSet<Region>,
    /// Of the places that were ordered anew of late.
    priors: Priors,
    /// What a program said last.
    told: Told,
    /// Whether that is news to the next snapshot.
    told_anew: bool,
    /// By PoP: when it was last seen to stop serving, for as long as it does not.
    withdrawn_at: Vec<Option<Instant>>,
    /// By PoP: whether it served in the last snapshot.
    announced: Vec<bool>,
    version: u64,
    next_key: u64,
    /// Something changed that must not wait.
    is_urgent: bool,
    published_at: Instant,
}

#[derive(Debug)]
struct Edge {
    pop: PopIndex,
    id: NodeId,
    address: SocketAddrV4,
    health: Health,
    verdict: Verdict,
    verdict_since: Instant,
    /// When it came back from being down, for as long as not all its clients have.
    recovered_at: Option<Instant>,
}

impl Planner {
    /// A router that knows its map, its candidates and the hosts it answers for, and nobody's health.
    pub fn new(now: Instant, options: RoutingOptions, geo: GeoMap, pops: Vec<Pop>, hosts: Vec<Host>) -> Self {
        let mut planner = Self {
            policy: options.policy,
            estimates: Arc::new(Estimates::new(options.estimate.clone())),
            near: Arc::default(),
            loads: Loads::new(options.spill.clone(), options.inside.load_bound, options.ttl, &[]),
            quorum: Quorum::new(options.quorum.clone()),
            changes: vec![],
            options: Arc::new(options),
            hosts: hosts.into(),
            geo: Arc::new(geo),
            pops: Arc::new([]),
            edges: BTreeMap::new(),
            drained: BTreeSet::new(),
            tables: vec![],
            table_of: Arc::new([]),
            fresh: BTreeSet::new(),
            fresh_regions: BTreeSet::new(),
            priors: Priors::default(),
            told: Told::default(),
            told_anew: false,
            withdrawn_at: vec![],
            announced: vec![],
            version: 0,
            next_key: 0,
            is_urgent: true,
            published_at: now,
        };
        planner.set_pops(now, pops);
        planner
    }

    /// The settings.
    pub fn options(&self) -> &RoutingOptions {
        &self.options
    }

    /// The candidates.
    pub fn pops(&self) -> &[Pop] {
        &self.pops
    }

    /// When to call [`poll_probe`](Self::poll_probe) and [`poll_snapshot`](Self::poll_snapshot) next.
    pub fn poll_timeout(&self) -> Instant {
        let probes = self.edges.values().map(|edge| edge.health.poll_timeout()).min().unwrap_or(Instant::MAX);
        probes.min(self.quorum.poll_timeout()).min(self.snapshot_due_at())
    }

    /// A probe to be sent now, if one is due; call until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        self.edges.iter_mut().find_map(|(&key, edge)| {
            let id = edge.health.poll_probe(now)?;
            Some(Probe { edge: key, id, address: edge.address })
        })
    }

    /// A probe ended: with the round trip of its answer, or an error. Returns the edge and the step that this observer's
    /// own opinion of it took, if it took one; what comes of it is in [`poll_changes`](Self::poll_changes).
    pub fn handle_probe(
        &mut self,
        now: Instant,
        probe: Probe,
        outcome: Result<Duration, ProbeError>,
    ) -> Option<(NodeId, Change)> {
        let edge = self.edges.get_mut(&probe.edge)?;
        let change = match outcome {
            Ok(rtt) => edge.health.handle_success(now, probe.id, rtt),
            Err(error) => edge.health.handle_failure(now, probe.id, error),
        };
        let (pop, rtt) = (edge.pop, edge.health.rtt());
        let changed = change.map(|change| (edge.id.clone(), change));
        if let (Ok(_), Some(rtt)) = (outcome, rtt) {
            self.learn_from_probe(now, pop, rtt);
        }
        let changed = changed?;
        self.judge(now);
        Some(changed)
    }

    /// What probes take to an edge of `pop` is what clients around the router take, but for their last mile. It goes into
    /// the next snapshot that something else is due for: on a busy machine probes are never done changing.
    fn learn_from_probe(&mut self, now: Instant, pop: PopIndex, rtt: Duration) {
        let (Some(site), Some(known)) = (&self.options.site, self.pops.get(pop.index())) else { return };
        let (region, distance_km) = (Region::of(site), site.point.distance_km(known.place.point));
        if self.near.is_news(region, pop, distance_km, rtt) {
            Arc::make_mut(&mut self.near).handle_probe(now, region, pop, distance_km, rtt);
            self.fresh_regions.insert(region);
        }
    }

    /// What this observer itself makes of every edge, for the others.
    pub fn opinions(&self) -> impl Iterator<Item = (&NodeId, HealthState)> {
        self.edges.values().map(|edge| (&edge.id, edge.health.state()))
    }

    /// Another observer says what it makes of every edge. Who it is and that it may speak is the shell's to check.
    pub fn handle_opinions(
        &mut self,
        now: Instant,
        observer: NodeId,
        states: impl IntoIterator<Item = (NodeId, HealthState)>,
    ) {
        self.quorum.handle_opinions(now, observer, states);
        self.judge(now);
    }

    /// How many other observers were heard lately.
    pub fn fresh_observers(&self, now: Instant) -> usize {
        self.quorum.fresh_observers(now)
    }

    /// The steps that verdicts have taken since this was asked last.
    pub fn poll_changes(&mut self) -> Vec<(NodeId, Change)> {
        std::mem::take(&mut self.changes)
    }

    /// A kept connection to an edge was closed by the other side.
    pub fn handle_connection_lost(&mut self, now: Instant, edge: EdgeKey) {
        if let Some(edge) = self.edges.get_mut(&edge) {
            edge.health.handle_connection_lost(now);
        }
    }

    /// A viewer at `client` saw the round trip `rtt` to the edge at `edge`. Returns how far that is from what was learned
    /// before, where anything was.
    ///
    /// # Errors
    /// [`BeaconRefused`] where client or edge is unknown, the value absurd, or the memory full.
    pub fn handle_beacon(
        &mut self,
        now: Instant,
        client: IpAddr,
        edge: IpAddr,
        rtt: Duration,
    ) -> Result<Option<Duration>, BeaconRefused> {
        let block = self.geo.block_of(client).ok_or(BeaconRefused::UnknownClient)?;
        let edge = edge.to_canonical();
        let has_it = |site: &EdgeSite| match edge {
            IpAddr::V4(edge) => *site.address.ip() == edge,
            IpAddr::V6(edge) => site.address6 == Some(edge),
        };
        let mut pops = PopIndex::all(self.pops.len()).zip(&*self.pops);
        let pop = pops.find(|(_, pop)| pop.edges.iter().any(has_it));
        let (pop, _) = pop.ok_or(BeaconRefused::UnknownEdge)?;
        // Copied where a snapshot holds it: once per snapshot.
        let error = Arc::make_mut(&mut self.estimates).handle_beacon(now, block, pop, rtt)?;
        self.fresh.insert(block);
        let region = self.geo.region(self.geo.block(block).place);
        if !self.near.has(region, block) {
            Arc::make_mut(&mut self.near).handle_beacon(region, block);
        }
        self.fresh_regions.insert(region);
        Ok(error)
    }

    /// The PoP of an edge, while it is in the list.
    pub fn pop_of(&self, edge: EdgeKey) -> Option<PopCode> {
        let pop = self.edges.get(&edge)?.pop;
        self.pops.get(pop.index()).map(|pop| pop.code)
    }

    /// The key of an edge, while it is in the list.
    pub fn key_of(&self, edge: &NodeId) -> Option<EdgeKey> {
        self.edges.iter().find_map(|(&key, known)| (known.id == *edge).then_some(key))
    }

    /// An edge serves so many requests per second.
    pub fn handle_load(&mut self, now: Instant, edge: EdgeKey, rps: f64) {
        let Some(known) = self.edges.get(&edge) else { return };
        self.loads.handle_load(now, edge, known.pop, rps);
        self.is_urgent |= self.balance(now);
    }

    /// An edge has served so many requests since it began; loads are made from the differences.
    pub fn handle_requests(&mut self, now: Instant, edge: EdgeKey, total: u64) {
        let Some(known) = self.edges.get(&edge) else { return };
        self.loads.handle_requests(now, edge, known.pop, total);
        self.is_urgent |= self.balance(now);
    }

    /// Replaces the policies: that of hosts which have none of their own, and those of hosts by id. Measurements and
    /// loads stay.
    pub fn set_policies(&mut self, policy: PolicyKind, of_hosts: &BTreeMap<String, PolicyKind>) {
        let hosts = self.hosts.iter().map(|host| Host { policy: of_hosts.get(&host.id).copied(), ..host.clone() });
        let hosts: Vec<Host> = hosts.collect();
        if policy != self.policy || hosts.as_slice() != &*self.hosts {
            self.policy = policy;
            self.hosts = hosts.into();
            self.lay_tables();
        }
    }

    /// A program that is asked about client networks says this, in place of all that it said before. What it says of
    /// networks or PoPs that are not there counts for nothing.
    pub fn set_told(&mut self, now: Instant, told: Told) {
        if told != self.told {
            self.told = told;
            self.tell_tables(now);
        }
    }

    /// The hosts, with their policies.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The policy of hosts that have none of their own.
    pub const fn policy(&self) -> PolicyKind {
        self.policy
    }

    /// Replaces the set of drained PoPs. Codes that no PoP has are kept for the day one comes.
    pub fn set_drained(&mut self, drained: impl IntoIterator<Item = PopCode>) {
        let drained = drained.into_iter().collect();
        self.is_urgent |= self.drained != drained;
        self.drained = drained;
    }

    /// The PoPs that are drained.
    pub const fn drained(&self) -> &BTreeSet<PopCode> {
        &self.drained
    }

    /// Replaces the candidates. Edges that stay (same name, same address) keep their health; measurements are dropped
    /// where the list of PoPs has changed.
    pub fn set_pops(&mut self, now: Instant, pops: Vec<Pop>) {
        let codes = |pops: &[Pop]| pops.iter().map(|pop| pop.code).collect::<Vec<_>>();
        if codes(&pops) != codes(&self.pops) {
            Arc::make_mut(&mut self.estimates).clear();
            Arc::make_mut(&mut self.near).clear();
            self.fresh.clear();
            self.fresh_regions.clear();
            let options = &self.options;
            self.loads = Loads::new(options.spill.clone(), options.inside.load_bound, options.ttl, &pops);
            self.withdrawn_at = vec![None; pops.len()];
            self.announced = vec![false; pops.len()];
        }
        let places = |pops: &[Pop]| pops.iter().map(|pop| (pop.code, pop.place.clone())).collect::<Vec<_>>();
        if places(&pops) != places(&self.pops) {
            self.tables.clear();
        }
        let mut before: Vec<(EdgeKey, Edge)> = std::mem::take(&mut self.edges).into_iter().collect();
        for (index, pop) in PopIndex::all(pops.len()).zip(&pops) {
            for site in &pop.edges {
                let known = before.iter().position(|(_, edge)| edge.id == site.id && edge.address == site.address);
                let (key, edge) = if let Some(at) = known {
                    let (key, edge) = before.swap_remove(at);
                    (key, Edge { pop: index, ..edge })
                } else {
                    self.next_key += 1;
                    let health = Health::new(now, self.options.probe.clone()).with_phase(self.phase_of(site));
                    let (id, address, verdict) = (site.id.clone(), site.address, Verdict::default());
                    let edge =
                        Edge { pop: index, id, address, health, verdict, verdict_since: now, recovered_at: None };
                    (EdgeKey(self.next_key), edge)
                };
                self.edges.insert(key, edge);
            }
        }
        self.pops = pops.into();
        self.lay_tables();
        self.judge(now);
    }

    /// When within an interval an edge is probed: drawn, so that not all are at once, nor by all routers at once.
    fn phase_of(&self, edge: &EdgeSite) -> Duration {
        let own = self
            .options
            .site
            .as_ref()
            .map_or(0, |site| site.point.lat_deg().to_bits() ^ site.point.lon_deg().to_bits().rotate_left(32));
        let share = unit(draw(self.options.seed, "probe", [own, inside::key(edge)]));
        self.options.probe.interval.mul_f64(share)
    }

    /// What is needed of a map of client networks, for [`set_geo`](Self::set_geo) to be short.
    pub fn outline(&self) -> Outline {
        let tables = self.tables.iter().map(Table::outline).collect();
        Outline { options: Arc::clone(&self.options), pops: Arc::clone(&self.pops), tables }
    }

    /// Replaces the map of client networks. What was learned of a network that stays is kept.
    pub fn set_geo(&mut self, now: Instant, geo: impl Into<LaidMap>) {
        let LaidMap { geo, pops, tables } = geo.into();
        let old = std::mem::replace(&mut self.geo, Arc::new(geo));
        // Few of many networks were ever measured.
        let measured: BTreeSet<IpNet> = self.estimates.blocks().map(|block| old.block(block).net).collect();
        let nets = self.geo.block_ids().map(|id| (self.geo.block(id).net, id));
        let renamed: BTreeMap<IpNet, BlockId> = nets.filter(|(net, _)| measured.contains(net)).collect();
        Arc::make_mut(&mut self.estimates).rename_blocks(|block| renamed.get(&old.block(block).net).copied());
        let near = Arc::make_mut(&mut self.near);
        near.forget_networks();
        for block in self.estimates.blocks() {
            near.handle_beacon(self.geo.region(self.geo.block(block).place), block);
        }
        self.fresh.clear();
        // Candidates may have changed since the map was made ready; policies are looked at where tables are laid.
        let is_ready = pops.is_some_and(|pops| Arc::ptr_eq(&pops, &self.pops));
        self.tables = if is_ready { tables } else { vec![] };
        self.lay_tables();
        self.judge(now);
    }

    /// The health of every edge, PoP by PoP.
    pub fn health(&self) -> Vec<EdgeHealth> {
        let mut all: Vec<(PopIndex, EdgeHealth)> = self
            .edges
            .values()
            .filter_map(|edge| {
                let pop = self.pops.get(edge.pop.index())?.code;
                let health = EdgeHealth {
                    edge: edge.id.clone(),
                    pop,
                    address: edge.address,
                    state: edge.verdict.state,
                    since: edge.verdict_since,
                    own: edge.health.state(),
                    observers: edge.verdict.observers,
                    down_votes: edge.verdict.down,
                    draining: self.drained.contains(&pop),
                    rtt: edge.health.rtt(),
                    last_answer_at: edge.health.last_answer_at(),
                    last_error: edge.health.last_error(),
                    failures: edge.health.failures(),
                };
                Some((edge.pop, health))
            })
            .collect();
        all.sort_by(|(pop_a, a), (pop_b, b)| pop_a.cmp(pop_b).then_with(|| a.edge.cmp(&b.edge)));
        all.into_iter().map(|(_, health)| health).collect()
    }

    /// A new snapshot, if one is due: at once after a change of health or drains, a little later after beacons, and
    /// now and then because measurements age and others take their turn to explore.
    pub fn poll_snapshot(&mut self, now: Instant) -> Option<Snapshot> {
        if self.quorum.forget(now) {
            self.judge(now);
        }
        (now >= self.snapshot_due_at()).then(|| self.build_snapshot(now))
    }

    /// A new snapshot, due or not.
    pub fn build_snapshot(&mut self, now: Instant) -> Snapshot {
        let is_new_period = self.is_new_period(now);
        if is_new_period {
            Arc::make_mut(&mut self.estimates).forget(now);
            self.fresh.extend(self.estimates.blocks());
            self.fresh_regions.extend(self.near.regions());
        }
        let (ordered_anew, rows_anew) = self.learn(now, is_new_period);
        self.balance(now);
        let fitness = self.fitness(now);
        for ((withdrawn_at, announced), fitness) in self.withdrawn_at.iter_mut().zip(&mut self.announced).zip(&fitness)
        {
            let serves = fitness.is_healthy();
            if serves {
                *withdrawn_at = None;
            } else if *announced {
                *withdrawn_at = Some(now);
            }
            *announced = serves;
        }
        self.version += 1;
        self.is_urgent = false;
        self.published_at = now;
        let share_min = self.options.healthy_share_min;
        Snapshot::build(Arc::new(Facts {
            version: self.version,
            at: now,
            options: Arc::clone(&self.options),
            pops: Arc::clone(&self.pops),
            geo: Arc::clone(&self.geo),
            estimates: Arc::clone(&self.estimates),
            near: Arc::clone(&self.near),
            hosts: Arc::clone(&self.hosts),
            table_of: Arc::clone(&self.table_of),
            tables: self.tables.iter().map(|table| TableFacts::new(table, &fitness, share_min)).collect(),
            loads: self.pop_loads(now),
            withdrawn_at: self.withdrawn_at.clone(),
            ordered_anew,
            rows_anew,
            told_anew: std::mem::take(&mut self.told_anew),
            fitness,
        }))
    }

    /// Takes what is fresh into the tables: how many blocks were ordered anew, and whether rows were.
    fn learn(&mut self, now: Instant, is_new_period: bool) -> (usize, bool) {
        let (fresh, regions) = (std::mem::take(&mut self.fresh), std::mem::take(&mut self.fresh_regions));
        let (geo, pops, estimates) = (&self.geo, &self.pops, &self.estimates);
        let mut moved = BTreeSet::new();
        for region in regions {
            let knew = self.near.knows(region);
            Arc::make_mut(&mut self.near).learn(region, estimates, |block, pop| {
                let pop = pops.get(pop.index())?;
                Some(geo.point(geo.block(block).place).distance_km(pop.place.point))
            });
            if knew || self.near.knows(region) {
                moved.insert(region);
            }
        }
        let places = geo.place_ids().filter(|&place| !moved.is_empty() && moved.contains(&geo.region(place)));
        let places: Vec<PlaceId> = places.collect();
        for place in fresh.iter().map(|&block| geo.block(block).place).chain(places.iter().copied()) {
            self.priors.prepare(geo, pops, place);
        }
        let (near, priors) = (&*self.near, &self.priors);
        let around = Around { options: &self.options, geo, pops, estimates, near, priors };
        for table in &mut self.tables {
            if is_new_period {
                table.forget(around);
            }
            for &place in &places {
                table.rank_place(now, around, place);
            }
            for &block in &fresh {
                table.rank(now, around, block);
            }
        }
        (fresh.len(), !places.is_empty())
    }

    /// What each PoP takes of its clients.
    fn pop_loads(&self, now: Instant) -> Vec<PopLoad> {
        let mut loads = self.loads.report();
        for (index, load) in PopIndex::all(loads.len()).zip(&mut loads) {
            // An edge beside it that never was down serves everybody meanwhile.
            let serving = self.edges.values().filter(|edge| edge.pop == index && edge.verdict.state.is_healthy());
            load.ramp = serving.map(|edge| self.share_back(now, edge)).reduce(f64::max).unwrap_or(1.0);
        }
        loads
    }

    /// The share of its clients that an edge has back since it was down.
    fn share_back(&self, now: Instant, edge: &Edge) -> f64 {
        edge.recovered_at.map_or(1.0, |at| ramp::share(now, at, self.options.ramp))
    }

    /// Whether some PoP had not all its clients back when the last snapshot was made.
    fn is_ramping(&self) -> bool {
        let ends = self.edges.values().filter_map(|edge| Some(edge.recovered_at? + self.options.ramp));
        ends.into_iter().any(|end| self.published_at < end)
    }

    /// Whether each PoP serves, and its edges.
    fn fitness(&self, now: Instant) -> Vec<Fitness> {
        let of_pop = |(at, pop): (usize, &Pop)| {
            let known = |site: &EdgeSite| {
                let mut edges = self.edges.iter().filter(|(_, edge)| edge.pop.index() == at);
                let Some((&key, edge)) = edges.find(|(_, edge)| edge.id == site.id) else {
                    return EdgeFitness::whole(HealthState::Unknown);
                };
                let (load_rps, acceptance) = self.loads.of_edge(key);
                let ramp = self.share_back(now, edge);
                EdgeFitness { ramp, acceptance, load_rps, ..EdgeFitness::whole(edge.verdict.state) }
            };
            Fitness::new(pop.edges.iter().map(known).collect(), self.drained.contains(&pop.code))
        };
        self.pops.iter().enumerate().map(of_pop).collect()
    }

    /// Works out anew which share of its clients each PoP and each edge takes, if that is due; whether any changed.
    fn balance(&mut self, now: Instant) -> bool {
        if !self.loads.is_due(now) {
            return false;
        }
        let fitness = self.fitness(now);
        let mut serving = vec![vec![]; self.pops.len()];
        for (&edge, known) in self.edges.iter().filter(|(_, edge)| edge.verdict.state.is_healthy()) {
            if let Some(of_pop) = serving.get_mut(known.pop.index()) {
                of_pop.push(Serving { edge, is_back: self.share_back(now, known) >= 1.0 });
            }
        }
        let is_eligible = |pop: PopIndex| fitness.get(pop.index()).is_some_and(Fitness::is_healthy);
        self.loads.balance(now, is_eligible, |pop| serving.get(pop.index()).cloned().unwrap_or_default())
    }

    /// Makes the tables that the hosts need, out of those that are there where they are alike.
    fn lay_tables(&mut self) {
        let (estimates, near) = (&*self.estimates, &*self.near);
        self.priors.clear();
        let priors = &self.priors;
        let around = Around { options: &self.options, geo: &self.geo, pops: &self.pops, estimates, near, priors };
        let before = std::mem::take(&mut self.tables);
        let router_wide = [Host::new("")];
        // Where there is no host there is a table all the same, for whoever asks the planner itself.
        let hosts: &[Host] = if self.hosts.is_empty() { &router_wide } else { &self.hosts };
        let mut table_of = vec![];
        for host in hosts {
            let kind = host.policy.unwrap_or(self.policy);
            let rejected: Box<[Option<Reason>]> =
                self.pops.iter().map(|pop| host.rejects(pop.code, &pop.place.country)).collect();
            let is_it = |table: &&Table| table.kind == kind && table.rejected == rejected;
            let at = self.tables.iter().position(|table| is_it(&table));
            if at.is_none() {
                let kept = before.iter().find(is_it).cloned();
                self.tables.push(kept.unwrap_or_else(|| Table::new(around, kind, rejected)));
            }
            table_of.push(at.unwrap_or(self.tables.len() - 1));
        }
        self.table_of = table_of.into();
        self.tell_tables(self.published_at);
        self.fresh.extend(self.estimates.blocks());
        self.fresh_regions.extend(self.near.regions());
        self.is_urgent = true;
    }

    /// Has the tables know what a program said.
    fn tell_tables(&mut self, now: Instant) {
        let Self { options, geo, pops, estimates, near, priors, .. } = self;
        let around = Around { options, geo, pops, estimates, near, priors };
        self.tables.iter_mut().for_each(|table| table.tell(now, around, &self.told));
        self.told_anew = true;
        self.is_urgent = true;
    }

    /// Counts opinions anew.
    fn judge(&mut self, now: Instant) {
        for edge in self.edges.values_mut() {
            let from = edge.verdict.state;
            edge.verdict = self.quorum.verdict(now, &edge.id, edge.health.state());
            let to = edge.verdict.state;
            if from != to {
                edge.verdict_since = now;
                match (from, to) {
                    (HealthState::Down, to) if to.is_healthy() => edge.recovered_at = Some(now),
                    (_, HealthState::Down) => edge.recovered_at = None,
                    _ => {}
                }
                self.changes.push((edge.id.clone(), Change { from, to }));
                self.is_urgent = true;
            }
        }
    }

    fn snapshot_due_at(&self) -> Instant {
        if self.is_urgent {
            Instant::ZERO
        } else if !self.fresh.is_empty() {
            self.published_at + self.options.learn_interval
        } else if self.is_converging() {
            self.published_at + CONVERGENCE_STEP
        } else if self.is_ramping() {
            self.published_at + ramp::step(self.options.ramp)
        } else if self.tables.iter().any(|table| table.policy.learns()) {
            let period = self.period_nanos();
            Instant::from_nanos((self.published_at.as_nanos() / period).saturating_add(1).saturating_mul(period))
        } else {
            Instant::MAX
        }
    }

    /// Whether some network had not heard of a withdrawal when the last snapshot was made.
    fn is_converging(&self) -> bool {
        let max = self.tables.iter().map(|table| table.policy.convergence_max()).max().unwrap_or_default();
        self.withdrawn_at.iter().flatten().any(|&at| self.published_at < at + max)
    }

    fn is_new_period(&self, now: Instant) -> bool {
        now.as_nanos() / self.period_nanos() != self.published_at.as_nanos() / self.period_nanos()
    }

    fn period_nanos(&self) -> u64 {
        u64::try_from(self.options.explore_period.as_nanos()).unwrap_or(u64::MAX).max(1_000_000)
    }
}
