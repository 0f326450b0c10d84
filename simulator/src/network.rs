//! The links of the world, and what lies over them and over nodes.
//!
//! As live, whoever dials has links of its own: each node, and all viewers together. Knows sites and positions of nodes,
//! and not what is sent.

use std::{collections::HashMap, hash::BuildHasherDefault, time::Duration};

use cdn_core::{Instant, prefetch::prefetch};
use world::{
    Course, Fault, Lane, Link, LinkDisturbance, MessageFlow, Overlay, Place, Return, Sent, SiteId, TargetDisturbance,
    TcpOptions, Verdict, World,
};

use crate::hash::Mixer;

/// Bytes of a SYN with its usual options, and of its answer.
pub(crate) const SYN_BYTES: [u64; 2] = [60; 2];
/// The first wait for an answer to a SYN (RFC 6298 2.1).
const SYN_WAIT: Duration = Duration::from_secs(1);
/// SYNs that are drawn at most where packets are lost; then the next event is a new try anyway.
const SYN_TRIES: u32 = 6;

/// Whoever dials: a node by its position, or all viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialer(pub(crate) u32);

impl Dialer {
    pub(crate) const VIEWERS: Self = Self(u32::MAX);
    pub(crate) const CONTROL: Self = Self(u32::MAX - 1);
}

/// Both directions between a dialer's site and another.
#[derive(Debug)]
pub(crate) struct Way {
    from: u16,
    to: u16,
    up: Link,
    down: Link,
    /// Of what is sent in each direction over a connection that nothing lies over.
    courses: [Course; 2],
}

/// What is asked of ways all the time, apart from the rest so that it stays near.
#[derive(Clone, Copy, Debug)]
struct Gauge {
    /// The time of each direction.
    one_way: [Duration; 2],
    /// Since when nothing gets through, by direction.
    silent_since: [Option<Instant>; 2],
}

impl Way {
    fn new(from: u16, to: u16, up: Link, down: Link, tcp: &TcpOptions) -> Self {
        let courses = [course(&up, &down, &Lane::default(), tcp), course(&down, &up, &Lane::default(), tcp)];
        Self { from, to, up, down, courses }
    }

    /// Lays faults over both directions.
    fn disturb(&mut self, up: LinkDisturbance, down: LinkDisturbance, tcp: &TcpOptions) {
        self.up.disturb(up);
        self.down.disturb(down);
        let [up, down] = [&self.up, &self.down];
        self.courses = [course(up, down, &Lane::default(), tcp), course(down, up, &Lane::default(), tcp)];
    }

    const fn link(&self, direction: Direction) -> &Link {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn gauge(&self, before: [Option<Instant>; 2], now: Instant) -> Gauge {
        let [up, down] = [&self.up, &self.down];
        let since = |link: &Link, before: Option<Instant>| link.is_partitioned().then(|| before.unwrap_or(now));
        Gauge { one_way: [up.one_way(), down.one_way()], silent_since: [since(up, before[0]), since(down, before[1])] }
    }
}

/// What messages meet that go `there`.
fn course(there: &Link, back: &Link, lane: &Lane, tcp: &TcpOptions) -> Course {
    Course::new(there, lane, Return { one_way: back.one_way(), is_silent: back.is_partitioned() }, tcp)
}

/// Which direction of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From whoever dialled.
    Up = 0,
    /// To whoever dialled.
    Down = 1,
}

/// How a connect goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connect {
    /// The answer is there then.
    Answer(Instant),
    /// Nothing gets through; another SYN leaves then.
    Silent(Instant),
}

#[derive(Debug)]
pub(crate) struct Network {
    world: World,
    sites: Vec<Place>,
    site_of: HashMap<SiteId, u16, BuildHasherDefault<Mixer>>,
    ways: Vec<Way>,
    gauges: Vec<Gauge>,
    /// Some link swallows everything.
    has_silence: bool,
    known: HashMap<u64, u32, BuildHasherDefault<Mixer>>,
    overlay: Overlay,
    has_target_faults: bool,
    pub(crate) tcp: TcpOptions,
    seed: u64,
    connections: u32,
}

impl Network {
    pub(crate) fn new(world: World, tcp: TcpOptions, seed: u64) -> Self {
        Self {
            world,
            sites: Vec::new(),
            site_of: HashMap::default(),
            ways: Vec::new(),
            gauges: Vec::new(),
            has_silence: false,
            known: HashMap::default(),
            overlay: Overlay::default(),
            has_target_faults: false,
            tcp,
            seed,
            connections: 0,
        }
    }

    /// The number of a place.
    pub(crate) fn site(&mut self, place: &Place) -> u16 {
        if let Some(&site) = self.site_of.get(&place.id) {
            return site;
        }
        let site = u16::try_from(self.sites.len()).unwrap_or(u16::MAX);
        self.sites.push(place.clone());
        self.site_of.insert(place.id.clone(), site);
        site
    }

    /// The way between two sites for `dialer`.
    pub(crate) fn way(&mut self, dialer: Dialer, from: u16, to: u16) -> u32 {
        let key = u64::from(dialer.0) << 32 | u64::from(from) << 16 | u64::from(to);
        if let Some(&way) = self.known.get(&key) {
            return way;
        }
        let (a, b) = (&self.sites[usize::from(from)], &self.sites[usize::from(to)]);
        let path = self.world.path(a, b);
        // Each direction has its own stream of chance, whatever else exists.
        let seed = |from: &Place, to: &Place| {
            let names = from.id.as_str().bytes().chain([0]).chain(to.id.as_str().bytes()).chain(key.to_le_bytes());
            names.fold(self.seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        };
        let link = |from: &Place, to: &Place| {
            let mut link = Link::new(path, seed(from, to));
            link.disturb(self.overlay.link(&from.id, &to.id));
            link
        };
        let way = Way::new(from, to, link(a, b), link(b, a), &self.tcp);
        let number = u32::try_from(self.ways.len()).unwrap_or(u32::MAX);
        self.gauges.push(way.gauge([None; 2], Instant::ZERO));
        self.ways.push(way);
        self.known.insert(key, number);
        number
    }

    /// A number that no other connection has which is open.
    pub(crate) const fn connection(&mut self) -> u32 {
        self.connections = self.connections.wrapping_add(1);
        self.connections
    }

    /// Asks memory for what a message over a way needs.
    pub(crate) fn prefetch(&self, way: u32, direction: Direction) {
        if let Some(way) = self.ways.get(way as usize) {
            prefetch(&way.courses[direction as usize]);
            prefetch(way.link(direction));
        }
    }

    /// Asks for what else it needs, once what [`prefetch`](Self::prefetch) has asked for is there.
    pub(crate) fn prefetch_behind(&self, way: u32, direction: Direction) {
        if let Some(way) = self.ways.get(way as usize) {
            way.link(direction).prefetch_behind();
        }
    }

    /// Whether anything lies over connections because of their target.
    pub(crate) const fn has_target_faults(&self) -> bool {
        self.has_target_faults
    }

    /// What lies over a connection because of its target.
    pub(crate) fn target(&self, way: u32, address: std::net::SocketAddr, connection: u64) -> TargetDisturbance {
        let from = &self.sites[usize::from(self.ways[way as usize].from)].id;
        self.overlay.target(from, address, self.seed ^ connection)
    }

    /// Replaces all faults.
    pub(crate) fn set_faults(&mut self, now: Instant, faults: Vec<Fault>) {
        self.has_target_faults = faults.iter().any(|fault| matches!(fault.on, world::FaultOn::Target { .. }));
        self.overlay = Overlay::new(faults);
        self.has_silence = false;
        for (way, gauge) in self.ways.iter_mut().zip(&mut self.gauges) {
            let (from, to) = (&self.sites[usize::from(way.from)].id, &self.sites[usize::from(way.to)].id);
            let (up, down) = (self.overlay.link(from, to), self.overlay.link(to, from));
            way.disturb(up, down, &self.tcp);
            *gauge = way.gauge(gauge.silent_since, now);
        }
        let is_partition =
            |fault: &Fault| matches!(fault.on, world::FaultOn::Link { kind: world::LinkChange::Partition, .. });
        self.has_silence = self.overlay.faults().iter().any(is_partition);
    }

    /// When a message that was to arrive now leaves again, where a partition has swallowed it.
    pub(crate) fn swallowed(&self, way: u32, direction: Direction, now: Instant) -> Option<Instant> {
        if !self.has_silence {
            return None;
        }
        let since = self.gauges[way as usize].silent_since[direction as usize]?;
        // The timer doubles: it next goes off when twice the silence so far has passed, a first wait at least.
        let first = self.tcp.retry_wait(self.rtt(way), 1);
        Some(now + now.saturating_since(since).max(first).min(self.tcp.retry_after_max))
    }

    /// The undisturbed round trip of a way, delays of faults included.
    pub(crate) fn rtt(&self, way: u32) -> Duration {
        let [up, down] = self.gauges[way as usize].one_way;
        up + down
    }

    /// The round trip of the path itself, whatever lies over it.
    pub(crate) fn undisturbed(&self, way: u32) -> Duration {
        self.ways[way as usize].up.path().rtt
    }

    /// The time of one direction.
    pub(crate) fn one_way(&self, way: u32, direction: Direction) -> Duration {
        self.gauges[way as usize].one_way[direction as usize]
    }

    /// Whether a direction swallows everything.
    pub(crate) fn is_silent(&self, way: u32, direction: Direction) -> bool {
        self.has_silence && self.gauges[way as usize].silent_since[direction as usize].is_some()
    }

    /// A handshake of one round trip that begins now, with so many bytes each way.
    pub(crate) fn connect(
        &mut self,
        way: u32,
        now: Instant,
        target: &TargetDisturbance,
        [up, down]: [u64; 2],
    ) -> Connect {
        let way = &mut self.ways[way as usize];
        if target.blackhole {
            return Connect::Silent(now + SYN_WAIT);
        }
        let (mut sent_at, mut wait) = (now, SYN_WAIT);
        for _ in 0..SYN_TRIES {
            if let Verdict::Deliver(at) = way.up.send(sent_at, up)
                && let Verdict::Deliver(at) = way.down.send(at, down)
            {
                return Connect::Answer(at);
            }
            if way.up.is_partitioned() || way.down.is_partitioned() {
                break;
            }
            sent_at += wait;
            wait *= 2;
        }
        Connect::Silent(sent_at.max(now) + wait)
    }

    /// A message over a connection.
    pub(crate) fn send(
        &mut self,
        way: u32,
        direction: Direction,
        now: Instant,
        bytes: u64,
        flow: &mut MessageFlow,
        target: &TargetDisturbance,
    ) -> Sent {
        let way = &mut self.ways[way as usize];
        let (link, back) = match direction {
            Direction::Up => (&mut way.up, &way.down),
            Direction::Down => (&mut way.down, &way.up),
        };
        let own;
        let course = if self.has_target_faults {
            let is_blackhole = target.blackhole;
            let lane = match direction {
                Direction::Up => Lane { is_blackhole, ..Lane::default() },
                Direction::Down => Lane { latency: target.latency, throttle_bps: target.throttle_bps, is_blackhole },
            };
            own = course(link, back, &lane, &self.tcp);
            &own
        } else {
            &way.courses[direction as usize]
        };
        flow.send(now, bytes, 0, link, course, &self.tcp)
    }

    /// A datagram; `None` where it never arrives.
    pub(crate) fn datagram(&mut self, way: u32, direction: Direction, now: Instant, bytes: u64) -> Option<Instant> {
        let way = &mut self.ways[way as usize];
        let link = if direction == Direction::Up { &mut way.up } else { &mut way.down };
        match link.send(now, bytes) {
            Verdict::Deliver(at) => Some(at),
            Verdict::Drop(_) => None,
        }
    }
}
