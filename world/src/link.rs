//! One direction of the path between two sites: when what is sent arrives, or why it does not.
//!
//! Charges propagation, jitter, the time that the bytes need at the path's bandwidth (shared by everything that crosses
//! this direction) and loss. Knows no connections: order, windows and retransmissions are [`crate::TcpFlow`]'s. A
//! disturbance ([`LinkDisturbance`]) lies over the path and can be taken off at any time.

mod gaps;

use std::time::Duration;

use cdn_core::{Instant, math};
use rand::{RngExt as _, SeedableRng as _, distr::Distribution as _};
use rand_chacha::ChaCha8Rng;

use self::gaps::Gaps;
use crate::{PathSpec, TcpOptions, chance::LogNormal, fault::LinkDisturbance};

/// Bytes of a TCP segment on an Ethernet path without options: 1500 less two headers of 20.
pub const SEGMENT_BYTES: u64 = 1460;

/// How long bytes wait for the link before its queue counts as full, unless a round trip is longer.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_millis(250);

/// What became of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives, whole, at this moment.
    Deliver(Instant),
    /// It never arrives.
    Drop(DropReason),
}

/// Why something never arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Chance, at the path's loss rate.
    Loss,
    /// More is waiting for the link than its queue holds.
    QueueFull,
    /// The link is partitioned.
    Partition,
    /// The target swallows everything.
    Blackhole,
}

impl DropReason {
    /// The lower-case word for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::QueueFull => "queue_full",
            Self::Partition => "partition",
            Self::Blackhole => "blackhole",
        }
    }

    /// Whether nothing at all gets through until somebody heals it, so that a sender only learns by its timer.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Partition | Self::Blackhole)
    }
}

/// One direction of the path between two sites.
///
/// Calls must not go back in time by more than what a caller's lateness explains. The link serves first come, first
/// served, in the order of the calls; one that comes late finds the gaps between earlier ones as empty as they were.
///
/// All that a packet asks of it lies in one cache line: links are many, and each is seldom asked.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Link {
    now: Condition,
    /// When the last byte so far has left.
    free_at: Instant,
    gaps: Gaps,
    /// Elsewhere, because it is large and seldom asked.
    rest: Box<Rest>,
}

const _: () = assert!(size_of::<Link>() == 64);

/// What made a link's condition what it is, and its chance: few worlds leave anything to that.
#[derive(Clone, Debug)]
struct Rest {
    path: PathSpec,
    disturbance: LinkDisturbance,
    jitter: Option<LogNormal>,
    /// The chance that one packet is lost, on the path or to the disturbance.
    loss: f64,
    chance: ChaCha8Rng,
}

/// What path and disturbance come to together, worked out when one of them changes and not with each packet.
#[derive(Clone, Copy, Debug)]
struct Condition {
    one_way_nanos: u64,
    bandwidth_bps: u64,
    /// More than so many nanoseconds of bytes do not wait.
    queue_nanos: u64,
    is_partitioned: bool,
    /// There is neither jitter nor loss.
    is_certain: bool,
}

impl Condition {
    fn of(path: &PathSpec, disturbance: &LinkDisturbance, has_jitter: bool) -> Self {
        Self {
            one_way_nanos: nanos(path.rtt / 2 + disturbance.delay),
            bandwidth_bps: slower(path.bandwidth_bps, disturbance.throttle_bps),
            queue_nanos: nanos(QUEUE_WAIT_MAX.max(path.rtt)),
            is_partitioned: disturbance.partitioned,
            is_certain: !has_jitter && loss(path, disturbance) <= 0.0,
        }
    }
}

impl Link {
    /// A link over `path`; a bandwidth of zero means that nothing limits it. `seed` names this direction's own stream
    /// of chance.
    pub fn new(path: PathSpec, seed: u64) -> Self {
        // Half of the jitter belongs to each direction. The mean of a lognormal is exp(mu + sigma^2 / 2).
        let mean = path.jitter.mean.as_secs_f64() / 2.0;
        let sigma = path.jitter.sigma_ln;
        let jitter = (mean > 0.0 && sigma.is_finite())
            .then(|| LogNormal { mean_ln: math::ln(mean) - sigma * sigma / 2.0, sigma_ln: sigma });
        let disturbance = LinkDisturbance::default();
        Self {
            now: Condition::of(&path, &disturbance, jitter.is_some()),
            free_at: Instant::ZERO,
            gaps: Gaps::default(),
            rest: Box::new(Rest {
                path,
                disturbance,
                jitter,
                loss: loss(&path, &disturbance),
                chance: ChaCha8Rng::seed_from_u64(seed),
            }),
        }
    }

    /// Sends `bytes` at `now`.
    pub fn send(&mut self, now: Instant, bytes: u64) -> Verdict {
        match self.cross(now, bytes) {
            Ok(late_nanos) => {
                let span = serialization_nanos(bytes, self.now.bandwidth_bps);
                Verdict::Deliver(later(now, span.saturating_add(self.now.one_way_nanos).saturating_add(late_nanos)))
            }
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// Sends `bytes` at `now`: how many nanoseconds later they arrive than over an idle link without jitter.
    pub(crate) fn cross(&mut self, now: Instant, bytes: u64) -> Result<u64, DropReason> {
        let span = serialization_nanos(bytes, self.now.bandwidth_bps);
        self.cross_in(now, bytes, span)
    }

    /// The same where `bytes` are known to take `span` nanoseconds at the link's bandwidth.
    #[inline]
    pub(crate) fn cross_in(&mut self, now: Instant, bytes: u64, span: u64) -> Result<u64, DropReason> {
        if self.now.is_partitioned {
            return Err(DropReason::Partition);
        }
        let waited = self.pass(now, span).ok_or(DropReason::QueueFull)?;
        // A lost packet has used the link all the same.
        let jitter = self.fate(bytes).ok_or(DropReason::Loss)?;
        Ok(waited.saturating_add(jitter))
    }

    /// What chance does to `bytes` that cross: how many nanoseconds later they arrive, or `None` where one of their packets
    /// is lost.
    #[inline]
    pub(crate) fn fate(&mut self, bytes: u64) -> Option<u64> {
        if self.now.is_certain {
            return Some(0);
        }
        let Rest { jitter, loss, chance, .. } = &mut *self.rest;
        let jitter = jitter.map_or(0, |jitter| {
            // A lognormal has no end; one second is beyond anything a path does.
            nanos(Duration::from_secs_f64(jitter.sample(chance).clamp(0.0, 1.0)))
        });
        if *loss > 0.0 {
            let packets = bytes.div_ceil(SEGMENT_BYTES).max(1);
            let kept = math::powf(1.0 - *loss, packets as f64);
            if chance.random::<f64>() >= kept {
                return None;
            }
        }
        Some(jitter)
    }

    /// Replaces what lies over the path. Takes effect on what is sent from now on.
    pub fn disturb(&mut self, disturbance: LinkDisturbance) {
        if disturbance.throttle_bps != self.rest.disturbance.throttle_bps {
            // Whatever waits in the queue is on its way; a new rate starts with an empty queue.
            self.free_at = Instant::ZERO;
            self.gaps.clear();
        }
        self.rest.disturbance = disturbance;
        self.rest.loss = loss(&self.rest.path, &disturbance);
        self.now = Condition::of(&self.rest.path, &disturbance, self.rest.jitter.is_some());
    }

    /// Asks memory for what [`send`](Self::send) needs beside the link itself, which is one cache line and should be there.
    /// For those who have more links than a processor's caches hold and know which come next.
    #[inline]
    pub fn prefetch_behind(&self) {
        self.gaps.prefetch();
    }

    /// What lies over the path.
    pub const fn disturbance(&self) -> &LinkDisturbance {
        &self.rest.disturbance
    }

    /// The undisturbed path.
    pub const fn path(&self) -> &PathSpec {
        &self.rest.path
    }

    /// The time that the first byte needs, extra delay included, jitter not.
    #[inline]
    pub const fn one_way(&self) -> Duration {
        Duration::from_nanos(self.now.one_way_nanos)
    }

    /// Bits per second, throttle included; zero means that nothing limits it.
    #[inline]
    pub const fn bandwidth_bps(&self) -> u64 {
        self.now.bandwidth_bps
    }

    /// Whether nothing gets through.
    pub const fn is_partitioned(&self) -> bool {
        self.now.is_partitioned
    }

    /// How long what needs `span` nanoseconds on the wire waits for it; `None` where the queue is full.
    #[inline]
    fn pass(&mut self, now: Instant, span: u64) -> Option<u64> {
        let waits = self.free_at.as_nanos().saturating_sub(now.as_nanos());
        if waits > 0 {
            if let Some(begins_at) = self.gaps.fill(now, span) {
                return Some(begins_at.as_nanos() - now.as_nanos());
            }
            if waits > self.now.queue_nanos {
                return None;
            }
        } else if now > self.free_at {
            self.gaps.push(self.free_at, now);
        }
        self.free_at = later(self.free_at.max(now), span);
        Some(waits)
    }
}

/// Fastest transfer of `bytes` over a fresh connection of an otherwise idle, lossless path without jitter: from the
/// first packet of the handshake, request included, until the last byte is there.
///
/// The closed form to hold [`crate::TcpFlow`] against: handshake, then one round trip for the request and the first
/// flight, then the time that the bytes need on the wire, then for each window the time that the sender stands still
/// until the first acknowledgement of that window is back. Windows are 10, 20, 40 … segments up to what fills the path.
pub fn cold_transfer_time(path: &PathSpec, bytes: u64, options: &TcpOptions) -> Duration {
    let rate = path.bandwidth_bps;
    let cap = options.window_cap(rate, path.rtt);
    let mut total = path.rtt * 2 + serialization(bytes, rate);
    let mut window = options.initial_window().min(cap);
    let mut covered = window;
    while covered < bytes {
        let first_back = path.rtt + serialization(options.burst_bytes(rate).min(window), rate);
        let stall = first_back.saturating_sub(serialization(window, rate));
        if stall.is_zero() && window == cap {
            break;
        }
        total += stall;
        window = (window * 2).min(cap);
        covered = covered.saturating_add(window);
    }
    total
}

/// The time that `bytes` need at `bps` bits per second; nothing at zero, which means unlimited.
pub(crate) fn serialization(bytes: u64, bps: u64) -> Duration {
    Duration::from_nanos(serialization_nanos(bytes, bps))
}

/// [`serialization`], in nanoseconds.
#[inline]
pub(crate) fn serialization_nanos(bytes: u64, bps: u64) -> u64 {
    const BIT_NANOS: u64 = 8 * 1_000_000_000;
    if bps == 0 {
        return 0;
    }
    // Up to 2.3 GB in one word, which is divided many times faster than two.
    match bytes.checked_mul(BIT_NANOS) {
        Some(product) => product / bps,
        None => u64::try_from(u128::from(bytes) * u128::from(BIT_NANOS) / u128::from(bps)).unwrap_or(u64::MAX),
    }
}

/// A span in whole nanoseconds, which links count in: a `Duration` is two numbers, and taking it apart and putting it
/// together cost more than all that is reckoned with it.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The moment so many nanoseconds after `at`.
pub(crate) const fn later(at: Instant, nanos: u64) -> Instant {
    Instant::from_nanos(at.as_nanos().saturating_add(nanos))
}

/// The slower of a rate (zero: unlimited) and a throttle.
pub(crate) fn slower(bps: u64, throttle_bps: Option<u64>) -> u64 {
    match (bps, throttle_bps) {
        (bps, None | Some(0)) => bps,
        (0, Some(throttle)) => throttle,
        (bps, Some(throttle)) => bps.min(throttle),
    }
}

/// The chance that one packet is lost on a path under a disturbance.
fn loss(path: &PathSpec, disturbance: &LinkDisturbance) -> f64 {
    1.0 - (1.0 - share(path.loss)) * (1.0 - share(disturbance.loss))
}

/// A share is a number from 0 to 1, whatever was typed.
fn share(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Jitter;

    fn path(rtt_ms: u64, bandwidth_bps: u64) -> PathSpec {
        PathSpec { rtt: Duration::from_millis(rtt_ms), jitter: Jitter::default(), loss: 0.0, bandwidth_bps }
    }

    fn at_ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn one_packet_takes_half_a_round_trip_and_its_time_on_the_wire() {
        let mut link = Link::new(path(100, 8_000_000), 1);
        // 1000 bytes at 8 Mbit/s are 1 ms; the second packet waits for the first.
        assert_eq!(link.send(at_ms(0), 1000), Verdict::Deliver(at_ms(51)));
        assert_eq!(link.send(at_ms(0), 1000), Verdict::Deliver(at_ms(52)));
        assert_eq!(link.send(at_ms(10), 1000), Verdict::Deliver(at_ms(61)));
    }

    #[test]
    fn who_comes_late_does_not_wait_for_those_who_were_sent_after_it() {
        // Nothing limits it, so nothing waits.
        let mut link = Link::new(path(100, 0), 1);
        assert_eq!(link.send(at_ms(5), 60), Verdict::Deliver(at_ms(55)));
        assert_eq!(link.send(at_ms(3), 60), Verdict::Deliver(at_ms(53)));
        // 1000 bytes are 1 ms, and from 1 ms to 10 ms nobody had sent. What does not fit there goes behind.
        let mut link = Link::new(path(100, 8_000_000), 1);
        link.send(at_ms(0), 1000);
        assert_eq!(link.send(at_ms(10), 1000), Verdict::Deliver(at_ms(61)));
        assert_eq!(link.send(at_ms(20), 1000), Verdict::Deliver(at_ms(71)));
        assert_eq!(link.send(at_ms(7), 1000), Verdict::Deliver(at_ms(58)));
        assert_eq!(link.send(at_ms(7), 2000), Verdict::Deliver(at_ms(60)));
        assert_eq!(link.send(at_ms(7), 1000), Verdict::Deliver(at_ms(62)));
        assert_eq!(link.send(at_ms(7), 9000), Verdict::Deliver(at_ms(80)));
    }

    #[test]
    fn disturbances_lie_over_the_path_and_come_off_again() {
        let mut link = Link::new(path(100, 8_000_000), 1);
        link.disturb(LinkDisturbance { delay: Duration::from_millis(30), ..LinkDisturbance::default() });
        assert_eq!(link.send(at_ms(0), 1000), Verdict::Deliver(at_ms(81)));
        link.disturb(LinkDisturbance { throttle_bps: Some(80_000), ..LinkDisturbance::default() });
        assert_eq!(link.send(at_ms(100), 1000), Verdict::Deliver(at_ms(250)));
        link.disturb(LinkDisturbance { partitioned: true, ..LinkDisturbance::default() });
        assert_eq!(link.send(at_ms(300), 1000), Verdict::Drop(DropReason::Partition));
        link.disturb(LinkDisturbance { loss: 1.0, ..LinkDisturbance::default() });
        assert_eq!(link.send(at_ms(300), 1000), Verdict::Drop(DropReason::Loss));
        link.disturb(LinkDisturbance::default());
        assert_eq!(link.send(at_ms(400), 1000), Verdict::Deliver(at_ms(451)));
    }

    #[test]
    fn a_full_queue_drops() {
        let mut link = Link::new(path(10, 8_000), 1);
        // 1 byte per ms: the queue is full once 250 ms of bytes wait.
        assert!(matches!(link.send(at_ms(0), 251), Verdict::Deliver(_)));
        assert_eq!(link.send(at_ms(0), 1), Verdict::Drop(DropReason::QueueFull));
        assert!(matches!(link.send(at_ms(1), 1), Verdict::Deliver(_)));
    }

    #[test]
    fn jitter_has_the_mean_that_was_asked_for_and_only_adds() {
        let jitter = Jitter { mean: Duration::from_millis(4), sigma_ln: 0.7 };
        let mut link = Link::new(PathSpec { jitter, ..path(20, 0) }, 7);
        let mut sum = 0.0;
        for _ in 0..20_000 {
            let Verdict::Deliver(at) = link.send(at_ms(0), 100) else { panic!("dropped") };
            let extra = at.saturating_since(at_ms(10));
            assert!(at >= at_ms(10));
            sum += extra.as_secs_f64() * 1000.0;
        }
        let mean = sum / 20_000.0;
        assert!((mean - 2.0).abs() < 0.05, "each direction has half of 4 ms; measured {mean} ms");
    }

    #[test]
    fn loss_is_per_packet() {
        let mut link = Link::new(PathSpec { loss: 0.01, ..path(20, 0) }, 7);
        let mut lost = |bytes| (0..20_000).filter(|_| matches!(link.send(at_ms(0), bytes), Verdict::Drop(_))).count();
        let (one, ten) = (lost(100), lost(10 * SEGMENT_BYTES));
        assert!((150..250).contains(&one), "{one} of 20000");
        assert!((1700..2130).contains(&ten), "{ten} of 20000, 1 - .99^10 = .0956");
    }

    #[test]
    fn a_cold_mebibyte_takes_the_handshake_and_seven_windows() {
        let fast = cold_transfer_time(&path(150, 0), 1 << 20, &TcpOptions::default());
        assert_eq!(fast, Duration::from_millis(150 + 7 * 150));
        // At 1 Gbit/s the bytes' own time comes on top, less what passes while the sender would have stood still.
        let gigabit = cold_transfer_time(&path(150, 1_000_000_000), 1 << 20, &TcpOptions::default());
        assert!(gigabit > fast && gigabit < fast + Duration::from_millis(9), "{gigabit:?}");
    }

    #[test]
    fn a_long_transfer_takes_its_time_on_the_wire() {
        let path = path(20, 100_000_000);
        let took = cold_transfer_time(&path, 1 << 30, &TcpOptions::default());
        let wire = serialization(1 << 30, path.bandwidth_bps);
        assert!(took > wire && took < wire + Duration::from_millis(300), "{took:?} {wire:?}");
    }

    proptest! {
        #[test]
        fn more_delay_never_delivers_earlier(
            rtt_ms in 0_u64..400, more_ms in 0_u64..400, bps in 1_u64..10_000_000_000, seed: u64,
            sends in prop::collection::vec((0_u64..50, 0_u64..100_000), 1..40),
        ) {
            let jitter = Jitter { mean: Duration::from_millis(3), sigma_ln: 0.5 };
            let mut near = Link::new(PathSpec { jitter, ..path(rtt_ms, bps) }, seed);
            let mut far = near.clone();
            far.disturb(LinkDisturbance { delay: Duration::from_millis(more_ms), ..LinkDisturbance::default() });
            let mut now = Instant::ZERO;
            for (gap_ms, bytes) in sends {
                now += Duration::from_millis(gap_ms);
                match (near.send(now, bytes), far.send(now, bytes)) {
                    (Verdict::Deliver(near), Verdict::Deliver(far)) => {
                        prop_assert_eq!(far.saturating_since(near), Duration::from_millis(more_ms));
                        prop_assert!(near >= now);
                    }
                    (near, far) => prop_assert_eq!(near, far),
                }
            }
        }

        #[test]
        fn messages_per_second_do_not_depend_on_latency(rtt_ms in 0_u64..300, bps in 1_000_000_u64..1_000_000_000) {
            // Oracle 20: the last of a hundred messages leaves when the wire has carried them all, however far it goes.
            let mut link = Link::new(path(rtt_ms, bps), 1);
            let mut last = Verdict::Drop(DropReason::Loss);
            for _ in 0..100 {
                last = link.send(Instant::ZERO, 100);
            }
            let each = serialization(100, bps);
            prop_assert_eq!(last, Verdict::Deliver(Instant::ZERO + each * 100 + Duration::from_millis(rtt_ms) / 2));
        }

        #[test]
        fn the_same_seed_gives_the_same_verdicts(seed: u64, sends in prop::collection::vec(0_u64..5_000, 1..50)) {
            let jitter = Jitter { mean: Duration::from_millis(3), sigma_ln: 0.5 };
            let mut one = Link::new(PathSpec { jitter, loss: 0.2, ..path(50, 1_000_000_000) }, seed);
            let mut two = one.clone();
            for bytes in sends {
                prop_assert_eq!(one.send(Instant::ZERO, bytes), two.send(Instant::ZERO, bytes));
            }
        }
    }
}
