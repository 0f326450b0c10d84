//! Routers: the planner of `cdn_core::routing` with its probes, what the other routers say, and the reports of viewers.
//!
//! Decides nothing: probes cross links when the planner wants them, and questions are answered from the snapshot that it
//! published last.

mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cdn_core::{
    Counter, Counters, Instant, Role,
    geo::{GeoMap, GeoPrefix},
    health::{HealthState, ProbeError},
    routing::{EdgeSite, Planner, Pop, Probe, RoutingOptions, Snapshot},
};
use ipnet::{IpNet, Ipv4Net};
use world::EventKind;

use self::program::Asking;
use crate::{
    engine::{Happening, Letter, Order, Sim},
    network::{Connect, Direction, SYN_BYTES},
    plan::Plan,
    slab::Key,
};

/// Bytes of a probe and of its answer.
const PROBE_BYTES: u64 = 120;

/// A router.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) node: u32,
    planner: Planner,
    snapshot: Arc<Snapshot>,
    /// When the next wake-up is due.
    wake_at: Instant,
    /// Edges to which a connection is kept.
    kept: BTreeSet<u32>,
    turns: u64,
    edges: BTreeMap<SocketAddr, u32>,
    /// Its policy program.
    asking: Option<Asking>,
}

impl Router {
    /// A router that begins at `now`, and counts in `counters`.
    pub(crate) fn new(node: u32, plan: &Plan, now: Instant, counters: &Arc<Counters>) -> Self {
        let blocks = plan.world.atlas().prefix_table();
        let prefixes = blocks
            .iter()
            .filter_map(|block| Some(GeoPrefix { net: IpNet::V4(block.net), place: geo_place(block.head)? }));
        let geo = GeoMap::build(prefixes);
        let site = plan.nodes.get(node as usize).and_then(|spec| geo_place(&spec.place));
        let options = RoutingOptions { site, ..plan.routing.clone() };
        let mut planner = Planner::new(Instant::ZERO, options, geo, pops_of(plan), plan.hosts.clone());
        let snapshot = Arc::new(planner.build_snapshot(Instant::ZERO));
        let edges = plan.nodes_with(Role::Edge).map(|(at, spec)| (spec.address, u32::try_from(at).unwrap_or(u32::MAX)));
        Self {
            node,
            planner,
            snapshot,
            wake_at: Instant::MAX,
            kept: BTreeSet::new(),
            turns: 0,
            edges: edges.collect(),
            asking: Asking::begin(node, plan, now, counters),
        }
    }
}

/// The candidates with their edges.
fn pops_of(plan: &Plan) -> Vec<Pop> {
    let mut pops: Vec<Pop> = vec![];
    for (_, spec) in plan.nodes_with(Role::Edge) {
        let (SocketAddr::V4(address), Some(code), Some(place)) = (spec.address, spec.pop, geo_place(&spec.place))
        else {
            continue;
        };
        let edge = EdgeSite { id: spec.id.clone(), address, address6: None };
        match pops.iter_mut().find(|pop| pop.code == code) {
            Some(pop) => pop.edges.push(edge),
            None => pops.push(Pop { code, place, edges: vec![edge] }),
        }
    }
    pops
}

/// A place as routers know it.
pub(crate) fn geo_place(place: &world::Place) -> Option<cdn_core::geo::Place> {
    Some(cdn_core::geo::Place {
        point: cdn_core::geo::Point::new(place.coordinates.lat(), place.coordinates.lon()).ok()?,
        country: place.country.as_str().into(),
        label: Arc::clone(&place.name),
    })
}

impl Sim<'_> {
    /// A router's answer for a client of a host: nodes, best first, how long it holds and for whom.
    pub(crate) fn route(
        &mut self,
        node: u32,
        host: usize,
        subnet: Option<Ipv4Net>,
        peer: IpAddr,
    ) -> Option<(Arc<[u32]>, Duration, u8)> {
        let router = self.routers.iter_mut().find(|router| router.node == node)?;
        router.turns += 1;
        let client = subnet.map_or(peer, |net| IpAddr::V4(net.network()));
        let snapshot = &router.snapshot;
        let (answer, scope) = snapshot.answer(host, client, router.turns);
        let nodes = snapshot.addresses(host, answer).filter_map(|edge| router.edges.get(&edge.into()).copied());
        let found: (Arc<[u32]>, Duration, u8) = (nodes.collect(), snapshot.ttl(host), scope);
        self.bump(node, Counter::RouterDnsQueriesUdp);
        let answered = if found.0.is_empty() { Counter::RouterDnsServerFailure } else { Counter::RouterDnsRouted };
        self.bump(node, answered);
        Some(found)
    }

    fn is_up(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| !node.is_dead && !node.is_paused)
    }

    /// Tells a planner something, publishes what comes of it, and wakes it when it wants.
    fn tell<T>(&mut self, router: usize, tell: impl FnOnce(&mut Planner, Instant) -> T) -> Option<T> {
        let now = self.now;
        let host = self.routers.get_mut(router)?;
        let told = tell(&mut host.planner, now);
        let mut published = None;
        if let Some(snapshot) = host.planner.poll_snapshot(now) {
            published = Some((snapshot.is_fail_open(), snapshot.bounded_edges() as u64));
            host.snapshot = Arc::new(snapshot);
        }
        let (by, changes) = (host.node, host.planner.poll_changes());
        if let (Some((is_fail_open, bounded_edges)), Some(node)) = (published, self.nodes.get(by as usize)) {
            node.counters.set(Counter::RouterFailOpen, u64::from(is_fail_open));
            node.counters.set(Counter::RouterEdgesBounded, bounded_edges);
        }
        for (edge, change) in changes {
            let Some(node) = self.plan.position(&edge).and_then(|at| u32::try_from(at).ok()) else { continue };
            self.bump(by, Counter::RouterVerdictChanges);
            match (change.from, change.to) {
                (_, HealthState::Down) => self.note(EventKind::Detected { node, by }),
                (HealthState::Down, to) if to.is_healthy() => self.note(EventKind::Recovered { node, by }),
                _ => {}
            }
        }
        self.wake_router(router);
        Some(told)
    }

    /// Nobody asks a world before it is ready: when a run begins, every router has had an answer from every edge, and knows
    /// what the others make of them.
    pub(crate) fn see_every_edge(&mut self) {
        for router in 0..self.routers.len() {
            let Some(host) = self.routers.get_mut(router) else { return };
            let from = host.node;
            let probes: Vec<Probe> = std::iter::from_fn(|| host.planner.poll_probe(Instant::ZERO)).collect();
            let edges = probes.into_iter().filter_map(|probe| Some((probe, *host.edges.get(&probe.address.into())?)));
            let edges: Vec<(Probe, u32)> = edges.collect();
            host.kept.extend(edges.iter().map(|(_, edge)| *edge));
            let answers: Vec<(Probe, Duration)> = edges
                .into_iter()
                .map(|(probe, edge)| {
                    let way = self.nodes_way(from, edge);
                    (probe, self.network.rtt(way))
                })
                .collect();
            self.tell(router, |planner, now| {
                answers.into_iter().for_each(|(probe, rtt)| drop(planner.handle_probe(now, probe, Ok(rtt))));
            });
        }
        let opinions: Vec<_> = self
            .routers
            .iter()
            .filter_map(|router| {
                let observer = self.plan.nodes.get(router.node as usize)?.id.clone();
                let states: Vec<_> = router.planner.opinions().map(|(edge, state)| (edge.clone(), state)).collect();
                Some((router.node, observer, states))
            })
            .collect();
        for router in 0..self.routers.len() {
            let Some(own) = self.routers.get(router).map(|router| router.node) else { return };
            self.tell(router, |planner, now| {
                for (_, observer, states) in opinions.iter().filter(|(node, ..)| *node != own) {
                    planner.handle_opinions(now, observer.clone(), states.clone());
                }
            });
        }
    }

    /// Sees to it that a router is woken no later than it wants.
    pub(crate) fn wake_router(&mut self, router: usize) {
        let now = self.now;
        let Some(host) = self.routers.get_mut(router) else { return };
        let at = host.planner.poll_timeout().max(now);
        if at < host.wake_at && at < Instant::MAX {
            host.wake_at = at;
            self.queue.push(at, Happening::Wake(u32::try_from(router).unwrap_or(u32::MAX)));
        }
    }

    pub(crate) fn handle_wake(&mut self, number: u32) {
        let (now, router) = (self.now, number as usize);
        let Some(host) = self.routers.get_mut(router) else { return };
        if now < host.wake_at {
            return; // woken earlier than this was meant
        }
        host.wake_at = Instant::MAX;
        let node = host.node;
        if !self.is_up(node) {
            return;
        }
        let probes =
            self.tell(router, |planner, now| std::iter::from_fn(|| planner.poll_probe(now)).collect::<Vec<_>>());
        for probe in probes.unwrap_or_default() {
            self.probe(number, probe);
        }
        self.wake_router(router);
    }

    /// A probe crosses, on the kept connection if there is one.
    fn probe(&mut self, router: u32, probe: Probe) {
        let now = self.now;
        let Some(host) = self.routers.get_mut(router as usize) else { return };
        let Some(&edge) = host.edges.get(&SocketAddr::V4(probe.address)) else { return };
        let (is_kept, from) = (host.kept.remove(&edge), host.node);
        let way = self.nodes_way(from, edge);
        let target = self.disturbance(way, edge, self.queue.len() as u64 ^ now.as_nanos());
        let timeout = self.plan.routing.probe.timeout;
        let over = now + timeout;
        let Some(node) = self.nodes.get(edge as usize) else { return };
        let (is_dead, is_paused) = (node.is_dead, node.is_paused);
        let requests = node.cache.and_then(|cache| self.caches.get(cache)).map(|cache| cache.requests);
        let timed_out = (over, Err(ProbeError::TimedOut));
        // A dead edge's kernel refuses; a frozen one's takes the connection, and nobody reads.
        let connected = if is_kept {
            Some(now)
        } else {
            self.bump(from, Counter::RouterProbeConnects);
            match self.network.connect(way, now, &target, SYN_BYTES) {
                Connect::Answer(at) => Some(at),
                Connect::Silent(_) => None,
            }
        };
        let (at, outcome) = match connected {
            None => timed_out,
            Some(at) if at > over => timed_out,
            Some(at) if is_dead && is_kept => (at + self.network.rtt(way), Err(ProbeError::Reset)),
            Some(at) if is_dead || target.refuse => (at, Err(ProbeError::Refused)),
            Some(sent_at) if target.reset => (sent_at + self.network.rtt(way), Err(ProbeError::Reset)),
            Some(_) if is_paused || target.blackhole => timed_out,
            Some(sent_at) => {
                let there = self.network.datagram(way, Direction::Up, sent_at, PROBE_BYTES);
                let back = there.and_then(|at| self.network.datagram(way, Direction::Down, at, PROBE_BYTES));
                match back {
                    // A lost packet is sent again after a round trip and a bit.
                    None if !self.network.is_silent(way, Direction::Up)
                        && !self.network.is_silent(way, Direction::Down) =>
                    {
                        let at = sent_at + self.network.rtt(way) * 2 + Duration::from_millis(200);
                        if at <= over { (at, Ok(at - sent_at)) } else { timed_out }
                    }
                    Some(at) if at + target.latency <= over => (at + target.latency, Ok(at + target.latency - sent_at)),
                    _ => timed_out,
                }
            }
        };
        let epoch = self.nodes.get(from as usize).map_or(0, |node| node.epoch);
        let letter = Letter::Probe { router, epoch, probe, outcome, requests, node: edge };
        let letter = self.letters.insert(letter);
        self.queue.push(at, Happening::Probed(letter));
    }

    pub(crate) fn handle_probed(&mut self, letter: Key) {
        let Some(Letter::Probe { router, epoch, probe, outcome, requests, node }) = self.letters.remove(letter) else {
            return;
        };
        let Some(host) = self.routers.get_mut(router as usize) else { return };
        let own = host.node;
        if outcome.is_ok() {
            host.kept.insert(node);
        }
        if self.nodes.get(own as usize).is_none_or(|node| node.epoch != epoch) || !self.is_up(own) {
            return;
        }
        let change = self.tell(router as usize, |planner, now| {
            if let (Some(total), true) = (requests, outcome.is_ok()) {
                planner.handle_requests(now, probe.edge, total);
            }
            planner.handle_probe(now, probe, outcome)
        });
        if change.flatten().is_some() {
            self.bump(own, Counter::RouterHealthChanges);
            self.gossip(router as usize, false);
        }
    }

    /// Tells the other routers what this one makes of the edges.
    pub(crate) fn gossip(&mut self, router: usize, is_repeated: bool) {
        let now = self.now;
        let Some(host) = self.routers.get(router) else { return };
        let from = host.node;
        let states: Vec<_> = host.planner.opinions().map(|(edge, state)| (edge.clone(), state)).collect();
        if self.routers.len() > 1 {
            if self.is_up(from) {
                for other in (0..self.routers.len()).filter(|other| *other != router) {
                    let Some(to) = self.routers.get(other).map(|other| other.node) else { continue };
                    let way = self.nodes_way(from, to);
                    if let Some(at) = self.network.datagram(way, Direction::Up, now, 60 * states.len() as u64) {
                        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                        let states = states.clone();
                        let letter = Letter::Opinions { from: number(router), to: number(other), states };
                        let letter = self.letters.insert(letter);
                        self.queue.push(at, Happening::Opinions(letter));
                    }
                }
            }
            if is_repeated {
                let at = now + self.plan.routing.quorum.repeat_interval().max(Duration::from_millis(10));
                self.queue.push(at, Happening::Gossip(u32::try_from(router).unwrap_or(u32::MAX)));
            }
        }
    }

    pub(crate) fn handle_opinions(&mut self, letter: Key) {
        let Some(Letter::Opinions { from, to, states }) = self.letters.remove(letter) else { return };
        let Some((observer, own)) = self.routers.get(from as usize).zip(self.routers.get(to as usize)) else { return };
        let (observer, own) = (observer.node, own.node);
        let Some(observer) = self.plan.nodes.get(observer as usize).map(|spec| spec.id.clone()) else { return };
        if self.is_up(own) {
            self.bump(own, Counter::RouterOpinionsHeard);
            self.tell(to as usize, |planner, now| planner.handle_opinions(now, observer, states));
        }
    }

    pub(crate) fn handle_beacon(&mut self, letter: Key) {
        let Some(Letter::Beacon { router, client, edge, rtt }) = self.letters.remove(letter) else { return };
        let Some(own) = self.routers.get(router as usize).map(|router| router.node) else { return };
        if self.is_up(own) {
            let taken =
                self.tell(router as usize, |planner, now| planner.handle_beacon(now, client, edge, rtt).is_ok());
            self.bump(own, if taken == Some(true) { Counter::RouterBeacons } else { Counter::RouterBeaconsRefused });
        }
    }

    pub(crate) fn handle_connection_lost(&mut self, router: u32, node: u32) {
        let Some(host) = self.routers.get_mut(router as usize) else { return };
        if host.kept.remove(&node)
            && let Some(edge) = self.plan.nodes.get(node as usize).and_then(|spec| host.planner.key_of(&spec.id))
        {
            self.tell(router as usize, |planner, now| planner.handle_connection_lost(now, edge));
        }
    }

    /// An edge's process has ended: whoever keeps a connection to it hears of it.
    pub(crate) fn tell_routers_of_end(&mut self, node: u32) {
        for router in 0..self.routers.len() {
            let Some(from) = self.routers.get(router).map(|router| router.node) else { continue };
            let way = self.nodes_way(from, node);
            if !self.network.is_silent(way, Direction::Down) {
                let at = self.now + self.network.one_way(way, Direction::Down);
                self.queue.push(at, Happening::ConnectionLost(u32::try_from(router).unwrap_or(u32::MAX), node));
            }
        }
    }

    /// A router that was started begins anew, and knows nothing.
    pub(crate) fn restart_router(&mut self, router: usize) {
        let Some(node) = self.routers.get(router).map(|router| router.node) else { return };
        let Some(counters) = self.nodes.get(node as usize).map(|node| Arc::clone(&node.counters)) else { return };
        let mut fresh = Router::new(node, self.plan, self.now, &counters);
        // Its health machines count from now on.
        fresh.snapshot = Arc::new(fresh.planner.build_snapshot(self.now));
        if let Some(host) = self.routers.get_mut(router) {
            *host = fresh;
        }
        self.wake_router(router);
        self.wake_program(router);
    }

    /// What the control plane says reaches a router.
    pub(crate) fn order_router(&mut self, router: usize, order: Order) {
        match order {
            Order::Drained(pops) => {
                self.tell(router, |planner, _| planner.set_drained(pops));
            }
            Order::Policies(policy, of_hosts) => {
                self.tell(router, |planner, _| planner.set_policies(policy, &of_hosts));
            }
            Order::Invalidate { .. } => {}
        }
    }
}
