//! The router's memory: takes in probes, beacons and drains, and says when a new [`Snapshot`] is due.
//!
//! Waits for nothing and sends nothing. The shell asks [`Planner::poll_timeout`] when to come back, sends the probes of
//! [`Planner::poll_probe`], reports what happened, and publishes what [`Planner::poll_snapshot`] yields.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use super::{
    Policy, Pop, PopIndex, RoutingOptions,
    pops::{Eligibility, Fitness},
    ranking::{self, Ranking},
    snapshot::{Facts, Snapshot, distances_km, scores},
};
use crate::{
    Instant, NodeId, PopCode,
    estimate::{BeaconRefused, Estimates},
    geo::{BlockId, GeoMap, PlaceId},
    health::{Change, Health, HealthState, ProbeError, ProbeId},
};

/// An edge for as long as it stays in the list; a new edge, or one that moved, has a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey(u64);

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
    /// What is believed.
    pub state: HealthState,
    /// Since when.
    pub since: Instant,
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

/// The router's memory. See the module for the calling order.
#[derive(Debug)]
pub struct Planner {
    options: Arc<RoutingOptions>,
    policy: Arc<dyn Policy>,
    hosts: Arc<[String]>,
    geo: Arc<GeoMap>,
    pops: Arc<[Pop]>,
    edges: BTreeMap<EdgeKey, Edge>,
    drained: BTreeSet<PopCode>,
    estimates: Estimates,
    by_place: Arc<[Arc<Ranking>]>,
    by_block: BTreeMap<BlockId, Arc<Ranking>>,
    /// Blocks with samples that are not in `by_block` yet.
    fresh: BTreeSet<BlockId>,
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
}

impl Planner {
    /// A router that knows its map, its candidates and the names it answers for, and nobody's health.
    pub fn new(now: Instant, options: RoutingOptions, geo: GeoMap, pops: Vec<Pop>, hosts: Vec<String>) -> Self {
        let mut planner = Self {
            policy: options.policy.build(),
            estimates: Estimates::new(options.estimate.clone()),
            options: Arc::new(options),
            hosts: hosts.into(),
            geo: Arc::new(geo),
            pops: Arc::new([]),
            edges: BTreeMap::new(),
            drained: BTreeSet::new(),
            by_place: Arc::new([]),
            by_block: BTreeMap::new(),
            fresh: BTreeSet::new(),
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
        probes.min(self.snapshot_due_at())
    }

    /// A probe to be sent now, if one is due; call until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        self.edges.iter_mut().find_map(|(&key, edge)| {
            let id = edge.health.poll_probe(now)?;
            Some(Probe { edge: key, id, address: edge.address })
        })
    }

    /// A probe ended: with the round trip of its answer, or an error. Returns the edge and its step, if it took one.
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
        }?;
        self.is_urgent = true;
        Some((edge.id.clone(), change))
    }

    /// A kept connection to an edge was closed by the other side.
    pub fn handle_connection_lost(&mut self, now: Instant, edge: EdgeKey) {
        if let Some(edge) = self.edges.get_mut(&edge) {
            edge.health.handle_connection_lost(now);
        }
    }

    /// A viewer at `client` saw the round trip `rtt` to the edge at `edge`.
    ///
    /// # Errors
    /// [`BeaconRefused`] where client or edge is unknown, the value absurd, or the memory full.
    pub fn handle_beacon(
        &mut self,
        now: Instant,
        client: IpAddr,
        edge: IpAddr,
        rtt: Duration,
    ) -> Result<(), BeaconRefused> {
        let block = self.geo.block_of(client).ok_or(BeaconRefused::UnknownClient)?;
        let edge = edge.to_canonical();
        let pop = self.edges.values().find(|known| IpAddr::V4(*known.address.ip()) == edge);
        let pop = pop.ok_or(BeaconRefused::UnknownEdge)?.pop;
        self.estimates.handle_beacon(now, block, pop, rtt)?;
        self.fresh.insert(block);
        Ok(())
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
            self.estimates.clear();
            self.by_block.clear();
            self.fresh.clear();
        }
        let mut before: Vec<(EdgeKey, Edge)> = std::mem::take(&mut self.edges).into_iter().collect();
        for (index, pop) in PopIndex::all(pops.len()).zip(&pops) {
            for site in &pop.edges {
                let known = before.iter().position(|(_, edge)| edge.id == site.id && edge.address == site.address);
                let (key, health) = if let Some(at) = known {
                    let (key, edge) = before.swap_remove(at);
                    (key, edge.health)
                } else {
                    self.next_key += 1;
                    (EdgeKey(self.next_key), Health::new(now, self.options.probe.clone()))
                };
                let edge = Edge { pop: index, id: site.id.clone(), address: site.address, health };
                self.edges.insert(key, edge);
            }
        }
        self.pops = pops.into();
        let places = (0..self.geo.places().len()).map(PlaceId::new).map(Some);
        self.by_place = places.chain([None]).map(|place| Arc::new(self.rank_place(place))).collect();
        self.is_urgent = true;
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
                    state: edge.health.state(),
                    since: edge.health.since(),
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
        (now >= self.snapshot_due_at()).then(|| self.build_snapshot(now))
    }

    /// A new snapshot, due or not.
    pub fn build_snapshot(&mut self, now: Instant) -> Snapshot {
        if self.is_new_period(now) {
            self.estimates.forget(now);
            self.by_block.retain(|&block, _| self.estimates.knows(block));
            self.fresh.extend(self.estimates.blocks());
        }
        for block in std::mem::take(&mut self.fresh) {
            let ranking = self.rank_block(now, block);
            self.by_block.insert(block, Arc::new(ranking));
        }
        let mut states: Vec<Vec<HealthState>> = vec![vec![]; self.pops.len()];
        for (at, pop) in self.pops.iter().enumerate() {
            for site in &pop.edges {
                let edge = self.edges.values().find(|edge| edge.pop.index() == at && edge.id == site.id);
                states[at].push(edge.map_or(HealthState::Unknown, |edge| edge.health.state()));
            }
        }
        let fitness = self.pops.iter().zip(states);
        let fitness = fitness.map(|(pop, edges)| Fitness { edges, draining: self.drained.contains(&pop.code) });
        self.version += 1;
        self.is_urgent = false;
        self.published_at = now;
        Snapshot::build(Facts {
            version: self.version,
            at: now,
            options: Arc::clone(&self.options),
            policy: Arc::clone(&self.policy),
            pops: Arc::clone(&self.pops),
            hosts: Arc::clone(&self.hosts),
            geo: Arc::clone(&self.geo),
            eligibility: Eligibility::new(fitness.collect(), self.options.healthy_share_min),
            by_place: Arc::clone(&self.by_place),
            by_block: self.by_block.clone(),
        })
    }

    fn snapshot_due_at(&self) -> Instant {
        if self.is_urgent {
            Instant::ZERO
        } else if !self.fresh.is_empty() {
            self.published_at + self.options.learn_interval
        } else if self.policy.learns() {
            let period = self.period_nanos();
            Instant::from_nanos((self.published_at.as_nanos() / period).saturating_add(1).saturating_mul(period))
        } else {
            Instant::MAX
        }
    }

    fn is_new_period(&self, now: Instant) -> bool {
        now.as_nanos() / self.period_nanos() != self.published_at.as_nanos() / self.period_nanos()
    }

    fn period_nanos(&self) -> u64 {
        u64::try_from(self.options.explore_period.as_nanos()).unwrap_or(u64::MAX).max(1_000_000)
    }

    fn rank_place(&self, place: Option<PlaceId>) -> Ranking {
        let distances_km = distances_km(&self.geo, &self.pops, place);
        // Blocks of this place that have samples are ranked on their own, so this is the prior whatever the time.
        let estimates = self.estimates.estimate(Instant::ZERO, None, &distances_km);
        let scores = scores(&*self.policy, &self.pops, &distances_km, &estimates, 0, self.options.seed);
        Ranking { place, order: ranking::order(&scores), measured: None, held: false }
    }

    fn rank_block(&self, now: Instant, block: BlockId) -> Ranking {
        let place = self.geo.block(block).place;
        let distances_km = distances_km(&self.geo, &self.pops, Some(place));
        let estimates = self.estimates.estimate(now, Some(block), &distances_km);
        let scores = scores(&*self.policy, &self.pops, &distances_km, &estimates, 0, self.options.seed);
        let previous = self.by_block.get(&block).or_else(|| self.by_place.get(place.index()));
        let (order, held) = match previous {
            Some(previous) if self.policy.learns() => {
                ranking::order_after(&scores, &previous.order, self.options.hysteresis)
            }
            _ => (ranking::order(&scores), false),
        };
        Ranking { place: Some(place), order, measured: Some(estimates.into()), held }
    }
}
