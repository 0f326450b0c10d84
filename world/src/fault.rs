//! Faults as data: what is laid over links and targets, and what of it applies to one link or one connection.
//!
//! Every fault can be taken off again; when it ends is not known here. Which addresses a node has is not known either:
//! whoever declares a fault names them. HTTP-level misbehaviour (statuses, paths) belongs to the origins.

use std::{net::SocketAddr, time::Duration};

use crate::SiteId;

/// Something that is wrong, until it is healed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Tells this fault from others; which connections a [`rate`](Self::rate) below 1 hits depends on it.
    pub id: u64,
    /// What it is laid over.
    pub on: FaultOn,
    /// The share of connections that suffer, 0 to 1. Links always suffer.
    pub rate: f64,
    /// Only who dials from this site suffers. Links ignore it.
    pub from: Option<SiteId>,
}

/// What a fault is laid over, and what it does there.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultOn {
    /// The link between two sites.
    Link {
        /// One end.
        a: SiteId,
        /// The other end.
        b: SiteId,
        /// Only from `a` to `b`.
        one_way: bool,
        /// What is wrong with it.
        kind: LinkChange,
    },
    /// A node or an origin.
    Target {
        /// Where it listens.
        addresses: Vec<SocketAddr>,
        /// What is wrong with it.
        kind: TargetFault,
    },
}

/// How a link is changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinkChange {
    /// Extra delay, in each direction that is hit.
    Delay(Duration),
    /// A share of packets is lost, on top of the path's own loss.
    Loss(f64),
    /// At most so many bits per second; zero throttles nothing.
    Throttle(u64),
    /// A black hole: nothing gets through, nobody is told.
    Partition,
}

impl LinkChange {
    /// The word of the API.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Loss(_) => "loss",
            Self::Throttle(_) => "throttle",
            Self::Partition => "partition",
        }
    }
}

/// How an origin or node misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answers with this status.
    Status(u16),
    /// Waits before answering.
    Latency(Duration),
    /// Refuses connections at once.
    Refuse,
    /// Accepts and then resets connections.
    Reset,
    /// Never answers a connection attempt.
    Blackhole,
    /// Ends the body early.
    Truncate,
    /// Stops in the middle of the body and keeps the connection open.
    Stall,
    /// Answers with bytes that are not HTTP.
    Garbage,
    /// Sends bodies slowly.
    Throttle {
        /// Bits per second.
        bps: u64,
    },
    /// Has a wrong idea of the date.
    Clock {
        /// By how many nanoseconds its clock is ahead; behind where negative.
        ahead_ns: i64,
    },
    /// Cannot write its logs, whose disk is full.
    LogsFull,
}

impl Effect {
    /// The word of the API.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Latency(_) => "latency",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Blackhole => "blackhole",
            Self::Truncate => "truncate",
            Self::Stall => "stall",
            Self::Garbage => "garbage",
            Self::Throttle { .. } => "throttle",
            Self::Clock { .. } => "clock",
            Self::LogsFull => "logs_full",
        }
    }

    /// Whether it is the node as a whole that it hits, and no request or connection more than another.
    pub const fn is_of_whole_node(self) -> bool {
        matches!(self, Self::Clock { .. } | Self::LogsFull)
    }

    /// Effects with the same slot cannot hold at once over the same requests.
    pub const fn slot(self) -> &'static str {
        match self {
            Self::Refuse | Self::Reset | Self::Blackhole => "connection",
            _ => self.kind(),
        }
    }
}

/// Where in its bytes a node that is no origin begins to misbehave: within the first response.
const EARLY: u64 = 512;

impl Effect {
    /// What the network does of it; `None` where an origin does it itself, request by request. `has_path` says whether it
    /// is meant for some paths only, which needs HTTP.
    pub const fn below_http(self, is_origin: bool, has_path: bool) -> Option<TargetFault> {
        if is_origin && has_path {
            return None;
        }
        match self {
            Self::Clock { .. } | Self::LogsFull => None,
            Self::Refuse => Some(TargetFault::Refuse),
            Self::Reset => Some(TargetFault::Reset),
            Self::Blackhole => Some(TargetFault::Blackhole),
            _ if is_origin => None,
            Self::Latency(latency) => Some(TargetFault::Latency(latency)),
            Self::Throttle { bps } => Some(TargetFault::Throttle(bps)),
            Self::Truncate => Some(TargetFault::Truncate(EARLY)),
            Self::Stall => Some(TargetFault::Stall(EARLY)),
            Self::Garbage => Some(TargetFault::Garbage(0)),
            Self::Status(_) => None,
        }
    }
}

/// What can be wrong with a target, below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFault {
    /// New connections are refused, after one round trip.
    Refuse,
    /// New connections open, and are reset when the first bytes arrive.
    Reset,
    /// Packets are swallowed: connects never end, open connections fall silent.
    Blackhole,
    /// Everything the target sends starts so much later.
    Latency(Duration),
    /// Each connection carries at most so many bits per second from the target; zero throttles nothing.
    Throttle(u64),
    /// The target closes the connection after so many bytes of its own.
    Truncate(u64),
    /// The target falls silent after so many bytes of its own, and keeps the connection open.
    Stall(u64),
    /// After so many bytes the target's bytes are nonsense.
    Garbage(u64),
}

/// Everything that lies over one direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkDisturbance {
    /// Extra delay.
    pub delay: Duration,
    /// Extra loss, 0 to 1.
    pub loss: f64,
    /// The lowest of the throttles, bits per second.
    pub throttle_bps: Option<u64>,
    /// Nothing gets through.
    pub partitioned: bool,
}

/// Everything that lies over one connection because of its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetDisturbance {
    /// A connect is refused.
    pub refuse: bool,
    /// The connection is reset by its first bytes.
    pub reset: bool,
    /// Packets are swallowed in both directions.
    pub blackhole: bool,
    /// What the target sends starts so much later.
    pub latency: Duration,
    /// Bits per second from the target.
    pub throttle_bps: Option<u64>,
    /// Bytes from the target until it closes.
    pub truncate_after: Option<u64>,
    /// Bytes from the target until it falls silent.
    pub stall_after: Option<u64>,
    /// Bytes from the target until they are nonsense.
    pub garbage_after: Option<u64>,
}

/// All faults that are active at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay {
    faults: Vec<Fault>,
}

impl Overlay {
    /// An overlay of these faults.
    pub const fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }

    /// The faults, in the order in which they were given.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What lies over the direction from `from` to `to`.
    pub fn link(&self, from: &SiteId, to: &SiteId) -> LinkDisturbance {
        let mut sum = LinkDisturbance::default();
        for fault in &self.faults {
            let FaultOn::Link { a, b, one_way, kind } = &fault.on else { continue };
            if !((a == from && b == to) || (!one_way && a == to && b == from)) {
                continue;
            }
            match *kind {
                LinkChange::Delay(delay) => sum.delay = sum.delay.saturating_add(delay),
                LinkChange::Loss(loss) if loss.is_finite() => {
                    sum.loss = 1.0 - (1.0 - sum.loss) * (1.0 - loss.clamp(0.0, 1.0));
                }
                LinkChange::Loss(_) => {}
                LinkChange::Throttle(bps) => sum.throttle_bps = lowest_rate(sum.throttle_bps, bps),
                LinkChange::Partition => sum.partitioned = true,
            }
        }
        sum
    }

    /// What lies over a connection from `from` to `target`. `connection` is the connection's own seed: asked twice,
    /// the same connection suffers the same faults.
    pub fn target(&self, from: &SiteId, target: SocketAddr, connection: u64) -> TargetDisturbance {
        let mut sum = TargetDisturbance::default();
        for fault in &self.faults {
            let FaultOn::Target { addresses, kind } = &fault.on else { continue };
            if !addresses.contains(&target)
                || fault.from.as_ref().is_some_and(|site| site != from)
                || !is_drawn(connection ^ mix(fault.id), fault.rate)
            {
                continue;
            }
            match *kind {
                TargetFault::Refuse => sum.refuse = true,
                TargetFault::Reset => sum.reset = true,
                TargetFault::Blackhole => sum.blackhole = true,
                TargetFault::Latency(latency) => sum.latency = sum.latency.saturating_add(latency),
                TargetFault::Throttle(bps) => sum.throttle_bps = lowest_rate(sum.throttle_bps, bps),
                TargetFault::Truncate(bytes) => sum.truncate_after = lowest(sum.truncate_after, bytes),
                TargetFault::Stall(bytes) => sum.stall_after = lowest(sum.stall_after, bytes),
                TargetFault::Garbage(bytes) => sum.garbage_after = lowest(sum.garbage_after, bytes),
            }
        }
        sum
    }
}

/// The lower of two limits.
fn lowest(so_far: Option<u64>, value: u64) -> Option<u64> {
    Some(so_far.map_or(value, |so_far| so_far.min(value)))
}

/// The lower of two rates; zero is none.
fn lowest_rate(so_far: Option<u64>, bps: u64) -> Option<u64> {
    if bps == 0 { so_far } else { lowest(so_far, bps) }
}

/// Whether a coin with this seed falls on the side that has the share `rate`.
fn is_drawn(seed: u64, rate: f64) -> bool {
    // The upper 53 bits as a number in [0, 1).
    ((mix(seed) >> 11) as f64) * (1.0 / (1_u64 << 53) as f64) < rate
}

/// SplitMix64's output function (Steele, Lea, Flood 2014): every bit of the result depends on every bit of the seed.
const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> SiteId {
        SiteId::new(name)
    }

    fn on_link(one_way: bool, kind: LinkChange) -> Fault {
        Fault { id: 1, on: FaultOn::Link { a: site("fra"), b: site("iad"), one_way, kind }, rate: 1.0, from: None }
    }

    fn on_target(rate: f64, from: Option<&str>, kind: TargetFault) -> Fault {
        let addresses = vec!["127.0.0.1:4500".parse().unwrap()];
        Fault { id: 2, on: FaultOn::Target { addresses, kind }, rate, from: from.map(site) }
    }

    #[test]
    fn link_faults_add_up_in_the_directions_they_name() {
        let overlay = Overlay::new(vec![
            on_link(false, LinkChange::Delay(Duration::from_millis(80))),
            on_link(true, LinkChange::Delay(Duration::from_millis(5))),
            on_link(false, LinkChange::Loss(0.5)),
            on_link(false, LinkChange::Loss(0.5)),
            on_link(false, LinkChange::Throttle(9_000)),
            on_link(true, LinkChange::Throttle(8_000)),
            on_link(true, LinkChange::Partition),
        ]);
        let there = overlay.link(&site("fra"), &site("iad"));
        let expected = LinkDisturbance {
            delay: Duration::from_millis(85),
            loss: 0.75,
            throttle_bps: Some(8_000),
            partitioned: true,
        };
        assert_eq!(there, expected);
        let back = overlay.link(&site("iad"), &site("fra"));
        let expected = LinkDisturbance {
            delay: Duration::from_millis(80),
            loss: 0.75,
            throttle_bps: Some(9_000),
            partitioned: false,
        };
        assert_eq!(back, expected);
        assert_eq!(overlay.link(&site("fra"), &site("nrt")), LinkDisturbance::default());
    }

    #[test]
    fn target_faults_hit_who_dials_from_the_named_site() {
        let overlay = Overlay::new(vec![on_target(1.0, Some("fra"), TargetFault::Refuse)]);
        let target = "127.0.0.1:4500".parse().unwrap();
        assert!(overlay.target(&site("fra"), target, 1).refuse);
        assert!(!overlay.target(&site("iad"), target, 1).refuse);
        assert!(!overlay.target(&site("fra"), "127.0.0.1:4501".parse().unwrap(), 1).refuse);
    }

    #[test]
    fn a_rate_hits_its_share_of_connections_and_always_the_same_ones() {
        let overlay = Overlay::new(vec![on_target(0.3, None, TargetFault::Reset)]);
        let target = "127.0.0.1:4500".parse().unwrap();
        let hit = |connection| overlay.target(&site("fra"), target, connection).reset;
        let share = (0..10_000).filter(|connection| hit(*connection)).count();
        assert!((2_850..3_150).contains(&share), "{share} of 10000");
        assert!((0..100).all(|connection| hit(connection) == hit(connection)));
        for (rate, hits) in [(0.0, 0), (1.0, 100), (f64::NAN, 0)] {
            let overlay = Overlay::new(vec![on_target(rate, None, TargetFault::Reset)]);
            let share = (0..100).filter(|connection| overlay.target(&site("fra"), target, *connection).reset).count();
            assert_eq!(share, hits, "{rate}");
        }
    }

    #[test]
    fn of_several_byte_faults_the_first_byte_counts() {
        let overlay = Overlay::new(vec![
            on_target(1.0, None, TargetFault::Truncate(500)),
            on_target(1.0, None, TargetFault::Truncate(100)),
            on_target(1.0, None, TargetFault::Throttle(0)),
        ]);
        let hit = overlay.target(&site("fra"), "127.0.0.1:4500".parse().unwrap(), 1);
        assert_eq!((hit.truncate_after, hit.throttle_bps), (Some(100), None));
    }
}
