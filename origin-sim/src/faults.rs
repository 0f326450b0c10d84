//! Faults: which request meets which misbehaviour.
//!
//! Decides only; `serve` and `gate` carry out what is decided. Rules are replaced as a whole and the next request sees
//! the new ones, on connections that were open before as well. Each rule draws from a stream of its own (`ChaCha8Rng`
//! from the seed), and a rule that stays in the list keeps its stream, so adding one rule does not shift the draws of
//! another. Knows addresses and paths; knows nothing of sockets and never waits, except [`Armed::lifted`].

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cdn_core::{Counter, Counters};
use http::StatusCode;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

use crate::glob::PathGlob;

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Answer with this status and a small text. Outside 200..=599 it becomes 500.
    Status(StatusCode),
    /// Wait before doing anything with the request.
    Latency(Duration),
    /// Promise the whole body, send half of it and close.
    Truncate,
    /// Send the head and half of the body, then nothing, and stay open.
    Stall,
    /// Answer with bytes that are not HTTP and close.
    Garbage,
    /// Send each body no faster than this (at least 8 bits per second).
    Throttle {
        /// Bits per second.
        bits_per_s: u64,
    },
    /// Read the request, then reset the connection.
    Reset,
    /// Read everything, answer nothing, stay open.
    Blackhole,
    /// Reset the connection as soon as it opens. With a path it can only be a reset, because the path comes later.
    Refuse,
}

impl FaultKind {
    /// The word for it, as in the flags of `iso fault`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Latency(_) => "latency",
            Self::Truncate => "truncate",
            Self::Stall => "stall",
            Self::Garbage => "garbage",
            Self::Throttle { .. } => "throttle",
            Self::Reset => "reset",
            Self::Blackhole => "blackhole",
            Self::Refuse => "refuse",
        }
    }

    const fn counter(self) -> Counter {
        match self {
            Self::Status(_) => Counter::OriginFaultStatus,
            Self::Latency(_) => Counter::OriginFaultLatency,
            Self::Truncate => Counter::OriginFaultTruncate,
            Self::Stall => Counter::OriginFaultStall,
            Self::Garbage => Counter::OriginFaultGarbage,
            Self::Throttle { .. } => Counter::OriginFaultThrottle,
            Self::Reset => Counter::OriginFaultReset,
            Self::Blackhole => Counter::OriginFaultBlackhole,
            Self::Refuse => Counter::OriginFaultRefuse,
        }
    }
}

/// A fault and whom it meets.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// What happens.
    pub kind: FaultKind,
    /// To which share of the requests that match, 0 to 1. Not a number counts as 0.
    pub rate: f64,
    /// Only to these paths.
    pub path: Option<PathGlob>,
    /// Only to connections from these addresses.
    pub from: Option<Vec<IpAddr>>,
}

impl FaultRule {
    /// The fault, for every request.
    pub const fn new(kind: FaultKind) -> Self {
        Self { kind, rate: 1.0, path: None, from: None }
    }

    /// Only for this share of the requests, 0 to 1.
    #[must_use]
    pub const fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// Only for paths that match.
    #[must_use]
    pub fn path(mut self, pattern: &str) -> Self {
        self.path = Some(PathGlob::new(pattern));
        self
    }

    /// Only for connections from these addresses.
    #[must_use]
    pub fn from(mut self, addresses: Vec<IpAddr>) -> Self {
        self.from = Some(addresses);
        self
    }
}

/// The faults of one origin. Clones share them, so a [`crate::gate`] and whoever sets its faults hold the same ones.
#[derive(Clone, Debug)]
pub struct SharedFaults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seed: u64,
    counters: Arc<Counters>,
    active: watch::Sender<Arc<Active>>,
}

#[derive(Debug, Default)]
struct Active {
    /// Grows with each replacement.
    generation: u64,
    /// Rules armed since the start; numbers their random streams.
    armed_total: u64,
    rules: Vec<Arc<Armed>>,
}

/// A rule in force.
#[derive(Debug)]
pub(crate) struct Armed {
    rule: FaultRule,
    /// The generation that brought it.
    since: u64,
    stream: Mutex<ChaCha8Rng>,
}

/// Connections remember when they were opened: a refusal meets new connections once, and old ones at their next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened(u64);

/// What a request meets.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Wait this long first.
    pub(crate) delay: Duration,
    /// Send the body no faster than this, in bits per second.
    pub(crate) bits_per_s: Option<u64>,
    /// How it ends, if not well.
    pub(crate) ending: Option<Ending>,
}

/// A bad ending.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) how: How,
    /// The rule that asked for it, to notice when it is lifted.
    pub(crate) armed: Arc<Armed>,
}

/// The kinds of fault that end a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Status(StatusCode),
    Truncate,
    Stall,
    Garbage,
    Reset,
    Blackhole,
}

impl SharedFaults {
    /// No faults yet. `seed` feeds the draws of rules with a rate, `counters` counts what was done.
    pub fn new(seed: u64, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Shared { seed, counters, active: watch::Sender::default() }))
    }

    /// Replaces all rules. Requests that a rule still in the list holds back stay held back; those of a rule that is
    /// gone have their connection closed.
    pub fn set(&self, rules: Vec<FaultRule>) {
        self.0.active.send_modify(|active| {
            let mut former = active.rules.clone();
            let mut next =
                Active { generation: active.generation + 1, armed_total: active.armed_total, rules: Vec::new() };
            for rule in rules.into_iter().map(checked) {
                let kept = former.iter().position(|armed| armed.rule == rule).map(|at| former.swap_remove(at));
                next.rules.push(kept.unwrap_or_else(|| {
                    let mut stream = ChaCha8Rng::seed_from_u64(self.0.seed);
                    stream.set_stream(next.armed_total);
                    next.armed_total += 1;
                    Arc::new(Armed { rule, since: next.generation, stream: Mutex::new(stream) })
                }));
            }
            *active = Arc::new(next);
        });
    }

    /// The rules in force.
    pub fn rules(&self) -> Vec<FaultRule> {
        self.active().rules.iter().map(|armed| armed.rule.clone()).collect()
    }

    /// The counters that faults are counted in.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// A connection from `peer` opens: it lives, or (`None`) it is refused.
    pub(crate) fn handle_open(&self, peer: IpAddr) -> Option<Opened> {
        let active = self.active();
        let refused = active.rules.iter().any(|armed| {
            armed.rule.kind == FaultKind::Refuse && armed.rule.path.is_none() && armed.meets_peer(peer) && armed.draw()
        });
        if refused {
            self.0.counters.bump(Counter::OriginFaultRefuse);
            return None;
        }
        Some(Opened(active.generation))
    }

    /// A request for `path` arrives on a connection from `peer`. Waits add up, the slowest rate counts, and the first
    /// bad ending in the order of the list is the one that happens; a wait applies before a bad ending too.
    pub(crate) fn handle_request(&self, opened: Opened, peer: IpAddr, path: &str) -> Plan {
        let active = self.active();
        let mut plan = Plan::default();
        for armed in &active.rules {
            let met = armed.meets_peer(peer) && armed.rule.path.as_ref().is_none_or(|glob| glob.matches(path));
            if !met {
                continue;
            }
            let how = match armed.rule.kind {
                FaultKind::Latency(delay) => {
                    if armed.draw() {
                        plan.delay = plan.delay.saturating_add(delay);
                        self.0.counters.bump(Counter::OriginFaultLatency);
                    }
                    continue;
                }
                FaultKind::Throttle { bits_per_s } => {
                    if armed.draw() {
                        plan.bits_per_s = Some(plan.bits_per_s.map_or(bits_per_s, |least| least.min(bits_per_s)));
                        self.0.counters.bump(Counter::OriginFaultThrottle);
                    }
                    continue;
                }
                // This connection has already passed the draw.
                FaultKind::Refuse if armed.rule.path.is_none() && armed.since <= opened.0 => continue,
                FaultKind::Refuse | FaultKind::Reset => How::Reset,
                FaultKind::Status(status) => How::Status(status),
                FaultKind::Truncate => How::Truncate,
                FaultKind::Stall => How::Stall,
                FaultKind::Garbage => How::Garbage,
                FaultKind::Blackhole => How::Blackhole,
            };
            if plan.ending.is_none() && armed.draw() {
                self.0.counters.bump(armed.rule.kind.counter());
                plan.ending = Some(Ending { how, armed: Arc::clone(armed) });
            }
        }
        plan
    }

    /// Waits until `armed` is no longer in force.
    pub(crate) async fn lifted(&self, armed: &Arc<Armed>) {
        let mut active = self.0.active.subscribe();
        // The sender lives as long as `self`, so this cannot fail; if it did, nothing could be in force any more.
        let _ = active.wait_for(|active| active.rules.iter().all(|other| !Arc::ptr_eq(other, armed))).await;
    }

    fn active(&self) -> Arc<Active> {
        Arc::clone(&self.0.active.borrow())
    }
}

impl Armed {
    fn meets_peer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.rule.from.as_ref().is_none_or(|from| from.iter().any(|address| address.to_canonical() == peer))
    }

    /// Whether it strikes this time. Certain rules draw nothing.
    fn draw(&self) -> bool {
        if self.rule.rate >= 1.0 {
            return true;
        }
        self.rule.rate > 0.0 && self.stream.lock().unwrap_or_else(PoisonError::into_inner).random_bool(self.rule.rate)
    }
}

/// The rule with every number in its bounds.
fn checked(mut rule: FaultRule) -> FaultRule {
    rule.rate = if rule.rate.is_nan() { 0.0 } else { rule.rate.clamp(0.0, 1.0) };
    rule.kind = match rule.kind {
        FaultKind::Status(status) if !(200..600).contains(&status.as_u16()) => {
            FaultKind::Status(StatusCode::INTERNAL_SERVER_ERROR)
        }
        FaultKind::Throttle { bits_per_s } => FaultKind::Throttle { bits_per_s: bits_per_s.max(8) },
        kind => kind,
    };
    rule
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 2));

    fn faults(rules: Vec<FaultRule>) -> SharedFaults {
        let faults = SharedFaults::new(7, Arc::default());
        faults.set(rules);
        faults
    }

    fn endings(faults: &SharedFaults, times: usize) -> Vec<bool> {
        let opened = faults.handle_open(PEER).unwrap();
        (0..times).map(|_| faults.handle_request(opened, PEER, "/").ending.is_some()).collect()
    }

    #[test]
    fn waits_add_up_and_the_first_bad_ending_wins() {
        let faults = faults(vec![
            FaultRule::new(FaultKind::Latency(Duration::from_millis(5))),
            FaultRule::new(FaultKind::Throttle { bits_per_s: 100 }),
            FaultRule::new(FaultKind::Stall),
            FaultRule::new(FaultKind::Reset),
            FaultRule::new(FaultKind::Throttle { bits_per_s: 50 }),
            FaultRule::new(FaultKind::Latency(Duration::from_millis(6))),
        ]);
        let plan = faults.handle_request(faults.handle_open(PEER).unwrap(), PEER, "/");
        assert_eq!((plan.delay, plan.bits_per_s), (Duration::from_millis(11), Some(50)));
        assert_eq!(plan.ending.unwrap().how, How::Stall);
        assert_eq!(faults.counters().value(Counter::OriginFaultStall), 1);
        assert_eq!(faults.counters().value(Counter::OriginFaultReset), 0);
        assert_eq!(faults.counters().value(Counter::OriginFaultLatency), 2);
    }

    #[test]
    fn only_matching_paths_and_peers_are_met() {
        let rule = FaultRule::new(FaultKind::Garbage).path("/api/*").from(vec![PEER]);
        let faults = faults(vec![rule]);
        let met = |peer, path| faults.handle_request(Opened(0), peer, path).ending.is_some();
        assert!(met(PEER, "/api/x"));
        assert!(met("::ffff:127.77.0.1".parse().unwrap(), "/api/x"));
        assert!(!met(PEER, "/x"));
        assert!(!met(OTHER, "/api/x"));
    }

    #[test]
    fn a_refusal_meets_new_connections_once_and_old_ones_at_their_next_request() {
        let faults = faults(vec![]);
        let old = faults.handle_open(PEER).unwrap();
        faults.set(vec![FaultRule::new(FaultKind::Refuse)]);
        assert!(faults.handle_open(PEER).is_none());
        assert_eq!(faults.handle_request(old, PEER, "/").ending.unwrap().how, How::Reset);

        faults.set(vec![FaultRule::new(FaultKind::Refuse).rate(0.5)]);
        let passed = (0..100).find_map(|_| faults.handle_open(PEER)).unwrap();
        assert!((0..100).all(|_| faults.handle_request(passed, PEER, "/").ending.is_none()));
    }

    #[test]
    fn the_share_that_is_hit_is_the_rate_and_the_same_seed_hits_the_same_requests() {
        let rule = || vec![FaultRule::new(FaultKind::Reset).rate(0.3)];
        let (one, two) = (endings(&faults(rule()), 10_000), endings(&faults(rule()), 10_000));
        assert_eq!(one, two);
        let share = one.iter().filter(|&&hit| hit).count() as f64 / 10_000.0;
        assert!((share - 0.3).abs() < 0.02, "{share}");
    }

    #[test]
    fn a_rule_that_stays_keeps_its_stream_when_others_come_and_go() {
        let rule = FaultRule::new(FaultKind::Reset).rate(0.5);
        let undisturbed = endings(&faults(vec![rule.clone()]), 200);
        let disturbed = faults(vec![rule.clone()]);
        let mut seen = endings(&disturbed, 100);
        disturbed.set(vec![FaultRule::new(FaultKind::Stall).rate(0.0), rule]);
        seen.extend(endings(&disturbed, 100));
        assert_eq!(seen, undisturbed);
    }

    #[test]
    fn numbers_out_of_bounds_are_brought_inside() {
        let faults = faults(vec![
            FaultRule::new(FaultKind::Status(StatusCode::SWITCHING_PROTOCOLS)).rate(f64::NAN),
            FaultRule::new(FaultKind::Throttle { bits_per_s: 0 }).rate(7.0),
        ]);
        let rules = faults.rules();
        assert_eq!(rules[0], FaultRule::new(FaultKind::Status(StatusCode::INTERNAL_SERVER_ERROR)).rate(0.0));
        assert_eq!(rules[1], FaultRule::new(FaultKind::Throttle { bits_per_s: 8 }));
    }

    #[tokio::test]
    async fn whoever_is_held_back_notices_that_the_rule_is_gone_and_only_then() {
        let rule = FaultRule::new(FaultKind::Blackhole);
        let faults = faults(vec![rule.clone()]);
        let plan = faults.handle_request(faults.handle_open(PEER).unwrap(), PEER, "/");
        let armed = plan.ending.unwrap().armed;
        faults.set(vec![FaultRule::new(FaultKind::Stall), rule]);
        let mut lifted = std::pin::pin!(faults.lifted(&armed));
        assert!(futures_util::poll!(lifted.as_mut()).is_pending());
        faults.set(vec![]);
        lifted.await;
    }
}
