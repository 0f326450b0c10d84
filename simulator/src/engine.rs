//! The run: what happens next, and to whom it happens.
//!
//! Owns every host and the queue of events; each host's own file says what it does with its events, by asking the machines
//! of `cdn-core` and the links of `world`. One thread, one queue, one order.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cdn_core::{
    Counter, Counters, Instant, PopCode, Role, WallTime,
    cache_key::KeySeed,
    counters::{ROWS, Row},
};
use world::{Event, EventKind, MessageFlow, Observation, TargetDisturbance, scenario::Scenario, workload::Workload};

use crate::{
    ahead::Ahead,
    caches::Cache,
    catalog::Catalog,
    counted::counts,
    fetches::Fetch,
    hash::mix,
    ledger::{Flow, Ledger, Station},
    network::{Dialer, Network},
    origins::Origin,
    plan::Plan,
    player::{Ailment, Desired},
    queue::EventQueue,
    resolvers::{Lookup, Resolvers},
    routers::Router,
    slab::{Key, NO_PLACE, Slab},
    timers::Timers,
    viewers::{Request, Viewers},
};

/// Whoever looks on: a judge, as a rule.
pub trait Witness {
    /// A request is over.
    fn observe(&mut self, observation: &Observation);
    /// Something else happened.
    fn note(&mut self, event: &Event);
}

impl Witness for world::Judge {
    fn observe(&mut self, observation: &Observation) {
        Self::observe(self, observation);
    }

    fn note(&mut self, event: &Event) {
        Self::note(self, event);
    }
}

/// What happens. Twelve bytes, because there are many; a serial tells what is meant from what has been overtaken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// A request begins, or begins again.
    Begin(Key),
    /// The resolver's addresses are there, or it is asked for them.
    AtResolver(Key, u16),
    Located(Key, u16),
    /// The race for a connection.
    Race(Key, u16),
    Connected(Key, u16, u8),
    Refused(Key, u16, u8),
    Syn(Key, u16, u8),
    /// A handshake of TLS is over, well or not.
    Secured(Key, u16, bool),
    /// A viewer's request has crossed; its answer has.
    AtEdge(Key, u16),
    Answered(Key, u16),
    AnswerAgain(Key, u16),
    AskAgain(Key, u16),
    /// The connection under a request broke; its viewer's patience ended.
    Cut(Key, u16),
    Impatient(Key, u16),
    /// DNS.
    AtRouter(Key, u8),
    FromRouter(Key, u8),
    DnsSilence(Key, u8),
    /// What caches ask behind.
    FetchConnected(Key, u16),
    FetchRefused(Key, u16),
    FetchSyn(Key, u16),
    AtParent(Key, u16),
    AtOrigin(Key, u16),
    FetchHead(Key, u16),
    FetchBroken(Key, u16),
    BodyEnd(Key),
    ReplyAgain(Key, u16),
    AliveChecked(Key, u16, bool),
    /// An origin is done with a request; somebody has left.
    Served(Key, u16),
    LeftOrigin(u16, Key),
    OriginAgain(Key, u16),
    /// Deadlines.
    Timers(u32),
    /// Routers.
    Wake(u32),
    Probed(Key),
    Opinions(Key),
    Beacon(Key),
    ConnectionLost(u32, u32),
    Gossip(u32),
    /// A router asks its policy program.
    Consult(u32),
    /// The timeline.
    Step(u32),
    Undo(u32),
    Told(Key),
    Tick,
}

/// A deadline of what a cache asks behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    pub(crate) fetch: Key,
    pub(crate) serial: u16,
    pub(crate) kind: AlarmKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlarmKind {
    /// The step of the exchange with an origin.
    Exchange,
    /// The connect to a parent, or its answer.
    Parent,
    /// Those who wait for it have waited long enough.
    Waiters,
}

/// A connection, from the side that dialled.
#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub(crate) way: u32,
    /// The node at the other end, and how often that had been started.
    node: u16,
    epoch: u16,
    pub(crate) id: u32,
    pub(crate) up: MessageFlow,
    pub(crate) down: MessageFlow,
    pub(crate) idle_since: Instant,
    /// While a user keeps it: the next older of those that he keeps, [`NO_PLACE`] where there is none.
    pub(crate) older: u32,
}

const _: () = assert!(size_of::<Conn>() == 56, "with its turn in the slab it has a cache line");

impl Conn {
    /// The node at the other end.
    pub(crate) const fn node(&self) -> u32 {
        self.node as u32
    }
}

/// A node's life.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) site: u16,
    pub(crate) role: Role,
    pub(crate) pop: Option<PopCode>,
    pub(crate) is_dead: bool,
    pub(crate) is_paused: bool,
    /// How often it was started.
    pub(crate) epoch: u16,
    /// How far its clock is ahead.
    pub(crate) skew_nanos: i64,
    /// Nothing fits on the disk of its logs.
    pub(crate) has_full_logs: bool,
    pub(crate) revision: usize,
    /// What arrived while it was paused.
    pub(crate) held: Vec<Happening>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) cache: Option<usize>,
    pub(crate) origin: Option<usize>,
    pub(crate) router: Option<usize>,
}

/// A run under way. It does not know who looks on, so that it is compiled once and here, with what speed asks for.
pub(crate) struct Sim<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) scenario: &'a Scenario,
    pub(crate) witness: &'a mut dyn Witness,
    pub(crate) queue: EventQueue<Happening>,
    pub(crate) now: Instant,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) catalogs: Vec<Catalog>,
    pub(crate) workload: Workload,
    pub(crate) ahead: Ahead,
    pub(crate) requests: Slab<Request>,
    pub(crate) conns: Slab<Conn>,
    pub(crate) viewers: Viewers,
    pub(crate) resolvers: Resolvers,
    pub(crate) lookups: Slab<Lookup>,
    pub(crate) routers: Vec<Router>,
    pub(crate) caches: Vec<Cache>,
    pub(crate) fetches: Slab<Fetch>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) timers: Timers<Alarm>,
    pub(crate) letters: Slab<Letter>,
    pub(crate) ailments: Vec<Ailment>,
    /// How many things were ever wrong.
    pub(crate) ailed: u32,
    /// When faults were laid last: caches use no connection again that is older.
    pub(crate) faults_laid_at: Instant,
    pub(crate) desired: Desired,
    pub(crate) ledger: Ledger,
    pub(crate) invalidations: u64,
    /// Of each invalidation under way the round, and how many have not heard of it in that.
    pub(crate) spreading: BTreeMap<u64, (usize, usize)>,
}

/// What is on its way and does not fit into an event.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    /// The outcome of a probe.
    Probe {
        router: u32,
        epoch: u16,
        probe: cdn_core::routing::Probe,
        outcome: Result<Duration, cdn_core::health::ProbeError>,
        requests: Option<u64>,
        node: u32,
    },
    /// What one router makes of the edges, for another.
    Opinions { from: u32, to: u32, states: Vec<(cdn_core::NodeId, cdn_core::health::HealthState)> },
    /// A round trip that a viewer saw.
    Beacon { router: u32, client: std::net::IpAddr, edge: std::net::IpAddr, rtt: Duration },
    /// What the control plane tells a node.
    Order { node: u32, tries: u32, order: Order },
}

/// What the control plane tells nodes.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Drained(Vec<PopCode>),
    Policies(cdn_core::routing::PolicyKind, BTreeMap<String, cdn_core::routing::PolicyKind>),
    Invalidate { id: u64, distribution: Option<String>, patterns: Arc<[String]> },
}

impl Node {
    /// Whether nodes of its role have a counter.
    pub(crate) fn counters_have(&self, counter: Counter) -> bool {
        let role = match self.role {
            Role::Edge | Role::Regional | Role::Shield => "edge",
            other => other.as_str(),
        };
        counter.row().role == role || counter == Counter::LogLinesLost
    }
}

impl<'a> Sim<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        scenario: &'a Scenario,
        workload: Workload,
        witness: &'a mut dyn Witness,
    ) -> Self {
        let mut network = Network::new(plan.world.clone(), plan.tcp, plan.seed);
        let seed = KeySeed::new(u128::from(mix(plan.seed)) << 64 | u128::from(mix(!plan.seed)));
        let mut nodes: Vec<Node> = Vec::new();
        let (mut caches, mut origins, mut routers) = (Vec::new(), Vec::new(), Vec::new());
        for (at, spec) in plan.nodes.iter().enumerate() {
            let counters = Arc::new(Counters::of_one_thread());
            let position = u32::try_from(at).unwrap_or(u32::MAX);
            let mut node = Node {
                site: network.site(&spec.place),
                role: spec.id.role(),
                pop: spec.pop,
                is_dead: false,
                is_paused: false,
                epoch: 0,
                skew_nanos: 0,
                has_full_logs: false,
                revision: 0,
                held: Vec::new(),
                counters: Arc::clone(&counters),
                cache: None,
                origin: None,
                router: None,
            };
            match spec.id.role() {
                Role::Edge | Role::Regional | Role::Shield => {
                    node.cache = Some(caches.len());
                    caches.push(Cache::new(position, plan, spec, seed, &counters));
                }
                Role::Origin => {
                    if let Some(origin) = plan.origins.get(spec.id.name()) {
                        node.origin = Some(origins.len());
                        origins.push(Origin::new(position, origin.clone(), plan.seed ^ u64::from(position)));
                    }
                }
                Role::Router => {
                    node.router = Some(routers.len());
                    routers.push(Router::new(position, plan, Instant::ZERO, &counters));
                }
                Role::Viewer => {}
            }
            nodes.push(node);
        }
        let catalog = |distributions| Catalog::new(distributions, &scenario.loads, seed);
        let ledger = Ledger {
            stations: vec![Station::default(); nodes.len()],
            flows: vec![Flow::default(); nodes.len()],
            counted: vec![Flow::default(); nodes.len()],
            ..Ledger::default()
        };
        Self {
            catalogs: plan.revisions.iter().map(|distributions| catalog(distributions.as_slice())).collect(),
            viewers: Viewers::new(plan, scenario, &mut network),
            resolvers: Resolvers::default(),
            plan,
            scenario,
            witness,
            queue: EventQueue::new(),
            now: Instant::ZERO,
            network,
            nodes,
            workload,
            ahead: Ahead::default(),
            requests: Slab::default(),
            conns: Slab::default(),
            lookups: Slab::default(),
            routers,
            caches,
            fetches: Slab::default(),
            origins,
            timers: Timers::new(),
            letters: Slab::default(),
            ailments: Vec::new(),
            ailed: 0,
            faults_laid_at: Instant::ZERO,
            desired: Desired::default(),
            ledger,
            invalidations: 0,
            spreading: BTreeMap::new(),
        }
    }

    /// Plays it to its end.
    pub(crate) fn run(mut self) -> (Instant, Ledger) {
        self.tell_counters();
        self.see_every_edge();
        for router in 0..self.routers.len() {
            self.wake_router(router);
            self.gossip(router, true);
            self.wake_program(router);
        }
        for (at, step) in self.scenario.steps.iter().enumerate() {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            self.queue.push(self.scenario.zero() + step.at, Happening::Step(number));
        }
        self.queue.push(self.scenario.zero(), Happening::Tick);
        let mut next = self.next_intended();
        let mut page = 0;
        // Routers go on for ever; the run ends with the last request, at the end of its timeline.
        let end = self.scenario.end();
        loop {
            let at = self.queue.next_at();
            if self.queue.page_number() != page {
                page = self.queue.page_number();
                self.prefetch_for_page();
            }
            match (next, at) {
                (Some((intended, known)), at) if at.is_none_or(|at| intended.at <= at) => {
                    self.now = intended.at;
                    self.handle_intended(&intended, known);
                    next = self.next_intended();
                }
                (None, Some(at)) if at > end && self.requests.len() == 0 => break,
                (_, Some(_)) => {
                    let Some((at, happening)) = self.queue.pop() else { break };
                    self.now = self.now.max(at);
                    self.ledger.events += 1;
                    self.handle(happening);
                }
                (_, None) => break,
            }
        }
        self.now = self.now.max(end);
        self.tell_counters();
        self.settle();
        (self.now, self.ledger)
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Answered(key, serial) => self.handle_answered(key, serial),
            Happening::AtEdge(key, serial) => self.handle_at_edge(key, serial),
            Happening::Begin(key) => self.begin(key),
            Happening::AtResolver(key, serial) => self.handle_at_resolver(key, serial),
            Happening::Located(key, serial) => self.handle_located(key, serial),
            Happening::Race(key, serial) => self.handle_race(key, serial),
            Happening::Connected(key, serial, at) => self.handle_connected(key, serial, at),
            Happening::Refused(key, serial, at) => self.handle_refused(key, serial, at),
            Happening::Syn(key, serial, at) => self.handle_syn(key, serial, at),
            Happening::Secured(key, serial, is_shaken) => self.handle_secured(key, serial, is_shaken),
            Happening::AnswerAgain(key, serial) => self.handle_answer_again(key, serial),
            Happening::AskAgain(key, serial) => self.handle_ask_again(key, serial),
            Happening::Cut(key, serial) => self.handle_cut(key, serial),
            Happening::Impatient(key, serial) => self.handle_impatient(key, serial),
            Happening::AtRouter(key, tries) => self.handle_at_router(key, tries),
            Happening::FromRouter(key, tries) => self.handle_from_router(key, tries),
            Happening::DnsSilence(key, tries) => self.handle_dns_silence(key, tries),
            Happening::FetchConnected(key, serial) => self.handle_fetch_connected(key, serial),
            Happening::FetchRefused(key, serial) => self.handle_fetch_refused(key, serial),
            Happening::FetchSyn(key, serial) => self.handle_fetch_syn(key, serial),
            Happening::AtParent(key, serial) => self.handle_at_parent(key, serial),
            Happening::AtOrigin(key, serial) => self.handle_at_origin(key, serial),
            Happening::FetchHead(key, serial) => self.handle_fetch_head(key, serial),
            Happening::FetchBroken(key, serial) => self.handle_fetch_broken(key, serial),
            Happening::BodyEnd(key) => self.handle_body_end(key),
            Happening::ReplyAgain(key, serial) => self.handle_reply_again(key, serial),
            Happening::AliveChecked(key, serial, alive) => self.handle_alive_checked(key, serial, alive),
            Happening::Served(key, serial) => self.handle_served(key, serial),
            Happening::LeftOrigin(origin, key) => self.handle_left_origin(origin, key),
            Happening::OriginAgain(key, serial) => self.handle_origin_again(key, serial),
            Happening::Timers(number) => self.handle_timers(number),
            Happening::Wake(router) => self.handle_wake(router),
            Happening::Probed(letter) => self.handle_probed(letter),
            Happening::Opinions(letter) => self.handle_opinions(letter),
            Happening::Beacon(letter) => self.handle_beacon(letter),
            Happening::ConnectionLost(router, node) => self.handle_connection_lost(router, node),
            Happening::Gossip(router) => self.gossip(router as usize, true),
            Happening::Consult(router) => self.handle_consult(router),
            Happening::Step(step) => self.handle_step(step),
            Happening::Undo(ailment) => self.handle_undo(ailment),
            Happening::Told(letter) => self.handle_told(letter),
            Happening::Tick => self.handle_tick(),
        }
    }

    /// Sets a deadline of a fetch.
    pub(crate) fn set_alarm(&mut self, span: Duration, alarm: Alarm) {
        if let Some((at, number)) = self.timers.set(self.now, span, alarm) {
            self.queue.push(at, Happening::Timers(number));
        }
    }

    fn handle_timers(&mut self, number: u32) {
        while let Some(alarm) = self.timers.fire(self.now, number) {
            if !is_settled(&self.fetches, &alarm) {
                self.handle_alarm(alarm);
            }
        }
        let fetches = &self.fetches;
        if let Some(at) = self.timers.next_at(number, |alarm| is_settled(fetches, alarm)) {
            self.queue.push(at, Happening::Timers(number));
        }
    }

    /// The date by a node's clock.
    pub(crate) fn wall(&self, node: u32) -> WallTime {
        let skew = self.nodes.get(node as usize).map_or(0, |node| node.skew_nanos);
        WallTime::from_unix_nanos(self.plan.date.unix_nanos() + i128::from(self.now.as_nanos()) + i128::from(skew))
    }

    /// The date at a moment, by clocks that are right.
    pub(crate) fn wall_of_viewers(&self, at: Instant) -> WallTime {
        WallTime::from_unix_nanos(self.plan.date.unix_nanos() + i128::from(at.as_nanos()))
    }

    /// Whether the node of a connection has ended since it was opened.
    pub(crate) fn is_broken(&self, conn: &Conn) -> bool {
        self.nodes.get(usize::from(conn.node)).is_none_or(|node| node.is_dead || node.epoch != conn.epoch)
    }

    /// A connection from `dialer` at `from` to a node, just opened.
    pub(crate) fn open(&mut self, way: u32, node: u32, id: u32) -> Key {
        let epoch = self.nodes.get(node as usize).map_or(0, |node| node.epoch);
        let flow = MessageFlow::new(&self.network.tcp);
        let node = u16::try_from(node).unwrap_or(u16::MAX);
        self.conns.insert(Conn { way, node, epoch, id, up: flow, down: flow, idle_since: self.now, older: NO_PLACE })
    }

    /// What lies over a connection because of the node at its end.
    pub(crate) fn disturbance(&self, way: u32, node: u32, id: impl Into<u64>) -> TargetDisturbance {
        if !self.network.has_target_faults() {
            return TargetDisturbance::default();
        }
        self.plan
            .nodes
            .get(node as usize)
            .map_or_else(TargetDisturbance::default, |spec| self.network.target(way, spec.address, id.into()))
    }

    pub(crate) fn note(&mut self, kind: EventKind) {
        self.witness.note(&Event { at: self.now, kind });
    }

    pub(crate) fn bump(&self, node: u32, counter: Counter) {
        if let Some(node) = self.nodes.get(node as usize) {
            node.counters.bump(counter);
        }
    }

    /// The way on which a viewer at `site` reaches a node.
    pub(crate) fn viewers_way(&mut self, site: u16, node: u32) -> u32 {
        let to = self.nodes.get(node as usize).map_or(0, |node| node.site);
        self.network.way(Dialer::VIEWERS, site, to)
    }

    /// The way on which a node reaches another.
    pub(crate) fn nodes_way(&mut self, from: u32, to: u32) -> u32 {
        let site = |node: u32| self.nodes.get(node as usize).map_or(0, |node| node.site);
        let (a, b) = (site(from), site(to));
        self.network.way(Dialer(from), a, b)
    }

    /// A life of a node is over: what its counters say of it counts.
    pub(crate) fn keep_count(&mut self, node: usize) {
        if let (Some(host), Some(counted)) = (self.nodes.get(node), self.ledger.counted.get_mut(node)) {
            let has_moved = |row: &&Row| host.counters.value(row.counter) != 0;
            let stranger = ROWS.iter().filter(|row| !counts(row.counter)).find(has_moved);
            debug_assert!(stranger.is_none(), "a run counts {stranger:?}, and does not say that it does");
            counted.add(Flow::of(&host.counters));
        }
    }

    /// Whoever is still inside at the end has to leave it, so that what was counted can be held against the laws.
    fn settle(&mut self) {
        let inside: Vec<Key> = self.fetches.iter().map(|(key, _)| key).collect();
        for key in inside {
            self.drop_fetch(key);
        }
        for origin in 0..self.origins.len() {
            self.empty_origin(origin);
        }
        for node in 0..self.nodes.len() {
            self.keep_count(node);
        }
    }
}

fn is_settled(fetches: &Slab<Fetch>, alarm: &Alarm) -> bool {
    fetches.get(alarm.fetch).is_none_or(|fetch| match alarm.kind {
        AlarmKind::Waiters => fetch.waiters.is_empty(),
        AlarmKind::Exchange | AlarmKind::Parent => fetch.serial != alarm.serial,
    })
}
