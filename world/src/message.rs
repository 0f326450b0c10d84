//! One direction of one TCP connection, a message at a time: when its first and its last byte arrive.
//!
//! [`crate::TcpFlow`] follows a connection burst by burst and acknowledgement by acknowledgement; a simulation of millions
//! of requests cannot. This is the same model in one step per window. What a message costs:
//!
//! - its first window crosses the [`Link`], where it waits for others and takes its time at the bandwidth;
//! - each further window follows when the first acknowledgement of the one before is back, or as soon as that one has
//!   left, whichever is later, and takes its time at the bandwidth. That it waits for others is left out: what is beyond
//!   a window lies on the link beside what others send;
//! - windows are those of `TcpFlow`: ten segments in the beginning and after idleness, twice as many each round trip,
//!   never more than fills the path;
//! - a window of which a packet is lost arrives a round trip later and halves what follows; when the retransmission is
//!   lost, too, the timer doubles.
//!
//! Where nothing is lost and the link is idle, it is [`crate::cold_transfer_time`] to the nanosecond, which is what
//! `TcpFlow` does within a burst; the tests hold all three together.

use std::time::Duration;

use cdn_core::Instant;

use crate::{
    link::{DropReason, Link, SEGMENT_BYTES, later, nanos, serialization_nanos, slower},
    link_tcp::{Lane, Return, TcpOptions},
};

/// Retransmissions of one packet that are drawn at most; beyond, it counts as delivered.
const TRIES_MAX: u32 = 16;

/// One direction of one TCP connection. See the module.
#[derive(Clone, Copy, Debug)]
pub struct MessageFlow {
    window: u32,
    /// Where the window stops doubling; a loss sets it.
    threshold: u32,
    sent_at: Instant,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It arrives.
    Arrives {
        /// When its first burst is there.
        first: Instant,
        /// When all of it is.
        last: Instant,
    },
    /// Nothing gets through. The sender tries again then.
    Silent {
        /// When.
        again_at: Instant,
    },
}

/// What a message meets on its way. The same for all messages of a direction until somebody disturbs the link, the way
/// back or the connection, so whoever sends many works it out once. It is one cache line, for whoever keeps many.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Course {
    rtt_nanos: u64,
    one_way_nanos: u64,
    /// Bits per second of this connection; zero: unlimited.
    rate_bps: u64,
    /// The window that fills the path.
    window_max: u64,
    burst_bytes: u64,
    /// A connection that was idle for longer begins again with a fresh window.
    idle_nanos_max: u64,
    /// Nothing gets through.
    is_silent: bool,
    /// No acknowledgement comes back.
    is_unanswered: bool,
}

impl Course {
    /// The course over `link` and `lane`, with acknowledgements that come `back`.
    pub fn new(link: &Link, lane: &Lane, back: Return, options: &TcpOptions) -> Self {
        let one_way = link.one_way() + lane.latency;
        let rtt = one_way + back.one_way;
        let rate_bps = slower(link.bandwidth_bps(), lane.throttle_bps);
        Self {
            rtt_nanos: nanos(rtt),
            one_way_nanos: nanos(one_way),
            rate_bps,
            // Jitter makes acknowledgements late; a window that only just fills the path would stand still for it.
            window_max: options.window_cap(rate_bps, rtt + link.path().jitter.mean * 4),
            burst_bytes: options.burst_bytes(rate_bps),
            idle_nanos_max: nanos(options.retry_wait(rtt, 1)),
            is_silent: lane.is_blackhole || link.is_partitioned(),
            is_unanswered: back.is_silent,
        }
    }

    /// The largest window of a connection on it, bytes.
    pub const fn window_max(&self) -> u64 {
        self.window_max
    }

    /// Nanoseconds that `bytes` take.
    fn span(&self, bytes: u64) -> u64 {
        serialization_nanos(bytes, self.rate_bps)
    }

    fn retry_wait(&self, options: &TcpOptions, tries: u32) -> Duration {
        options.retry_wait(Duration::from_nanos(self.rtt_nanos), tries)
    }
}

impl MessageFlow {
    /// A flow over a fresh connection.
    pub fn new(options: &TcpOptions) -> Self {
        let window = u32::try_from(options.initial_window()).unwrap_or(u32::MAX);
        Self { window, threshold: u32::MAX, sent_at: Instant::ZERO }
    }

    /// The congestion window, bytes.
    pub const fn window(&self) -> u64 {
        self.window as u64
    }

    /// Sends a message of `bytes` at `now` over `link`, all of which is there to be sent. `tries` is how often it was silent
    /// before.
    #[inline]
    pub fn send(
        &mut self,
        now: Instant,
        bytes: u64,
        tries: u32,
        link: &mut Link,
        course: &Course,
        options: &TcpOptions,
    ) -> Sent {
        let silent = || Sent::Silent { again_at: now + course.retry_wait(options, tries + 1) };
        // One window arrives even where no acknowledgement comes back.
        let stands_still = course.is_unanswered && bytes > u64::from(self.window);
        if course.is_silent || stands_still {
            return silent();
        }
        let initial = options.initial_window();
        let mut window = u64::from(self.window);
        if window > initial && now.as_nanos().saturating_sub(self.sent_at.as_nanos()) > course.idle_nanos_max {
            self.threshold = self.threshold.max(self.window / 4 * 3);
            window = initial;
        }
        let cap = course.window_max;
        window = window.min(cap);
        let mut flight = bytes.min(window);
        // The first window really uses the link.
        let span = course.span(flight);
        let mut left_at = later(now, span);
        let crossed = match course.rate_bps == link.bandwidth_bps() {
            true => link.cross_in(now, flight, span),
            false => link.cross(now, flight),
        };
        let mut late = match crossed {
            Ok(late) => late,
            Err(DropReason::QueueFull | DropReason::Loss) => self.repair(course, link, options, &mut window),
            Err(DropReason::Partition | DropReason::Blackhole) => return silent(),
        };
        let first_span = if flight > course.burst_bytes { course.span(course.burst_bytes) } else { span };
        let first = later(now, first_span + course.one_way_nanos + late);
        let (mut began, mut covered) = (now, flight);
        while covered < bytes {
            let first_back = course.rtt_nanos + course.span(course.burst_bytes.min(flight));
            began = later(began, first_back).max(left_at);
            window = grown(window, flight, self.threshold).min(cap);
            flight = window.min(bytes - covered);
            covered += flight;
            left_at = later(began, course.span(flight));
            match link.fate(flight) {
                // Jitter delays the last of it only: acknowledgements of what came before go on.
                Some(jitter) => late = late.max(jitter),
                None => {
                    let repair = self.repair(course, link, options, &mut window);
                    (began, left_at) = (later(began, repair), later(left_at, repair));
                }
            }
        }
        window = grown(window, flight, self.threshold).min(cap);
        self.window = u32::try_from(window).unwrap_or(u32::MAX);
        // Each acknowledgement lets twice as much go as it acknowledges.
        self.sent_at = if flight == bytes { now } else { later(began, course.span(flight / 2)) };
        let last = later(left_at, course.one_way_nanos + late);
        Sent::Arrives { first: first.min(last), last }
    }

    /// How many nanoseconds a loss holds up what follows, and what it does to the window.
    #[cold]
    fn repair(&mut self, course: &Course, link: &mut Link, options: &TcpOptions, window: &mut u64) -> u64 {
        *window = (*window / 2).max(2 * SEGMENT_BYTES);
        self.threshold = u32::try_from(*window).unwrap_or(u32::MAX);
        // It shows within a round trip.
        let mut wait = course.rtt_nanos;
        for tries in 2..TRIES_MAX {
            if link.fate(SEGMENT_BYTES).is_some() {
                break;
            }
            wait = wait.saturating_add(nanos(course.retry_wait(options, tries)));
        }
        wait
    }
}

/// The window after all of `flight` was acknowledged. Only a window that is used may grow (RFC 7661): acknowledgements
/// count while at least half of it is on its way, and each makes it larger by what it acknowledges, so it grows by
/// x where `2 (flight - x) = window + x`. Beyond the threshold it grows by one segment a round trip.
fn grown(window: u64, flight: u64, threshold: u32) -> u64 {
    if window >= u64::from(threshold) {
        return if flight * 2 >= window { window + SEGMENT_BYTES } else { window };
    }
    if flight >= window {
        return window * 2;
    }
    window + (flight * 2).saturating_sub(window).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Jitter, LinkDisturbance, PathSpec, TcpFlow, cold_transfer_time};

    fn path(rtt: Duration, bandwidth_bps: u64) -> PathSpec {
        PathSpec { rtt, jitter: Jitter::default(), loss: 0.0, bandwidth_bps }
    }

    fn back(path: &PathSpec) -> Return {
        Return { one_way: path.rtt / 2, is_silent: false }
    }

    /// The arrival of the last byte of each of several messages, by the flow that follows every burst.
    fn burst_by_burst(path: &PathSpec, messages: &[(Duration, u64)]) -> Vec<Instant> {
        let (mut link, options) =
            (Link::new(*path, 1), TcpOptions { send_buffer_bytes: u64::MAX, ..TcpOptions::default() });
        let (mut flow, back) = (TcpFlow::new(options), back(path));
        let (mut now, mut arrivals) = (Instant::ZERO, vec![]);
        for &(pause, bytes) in messages {
            now += pause;
            flow.handle_write(now, bytes, &mut link, back);
            let mut left = bytes;
            loop {
                let unread = flow.unread();
                flow.handle_read(now, unread, &mut link, back);
                left -= unread;
                if left == 0 {
                    break;
                }
                now = flow.poll_timeout().expect("something is on its way");
                flow.handle_timeout(now, &mut link, back);
            }
            arrivals.push(now);
        }
        arrivals
    }

    fn at_once(path: &PathSpec, messages: &[(Duration, u64)]) -> Vec<Instant> {
        let (mut link, options) = (Link::new(*path, 1), TcpOptions::default());
        let mut flow = MessageFlow::new(&options);
        let course = Course::new(&link, &Lane::default(), back(path), &options);
        let (mut now, mut arrivals) = (Instant::ZERO, vec![]);
        for &(pause, bytes) in messages {
            now += pause;
            match flow.send(now, bytes, 0, &mut link, &course, &options) {
                Sent::Arrives { first, last } => {
                    assert!(first <= last);
                    now = last;
                }
                Sent::Silent { .. } => panic!("nothing is silent"),
            }
            arrivals.push(now);
        }
        arrivals
    }

    proptest! {
        #[test]
        fn a_cold_transfer_takes_what_the_closed_form_says(
            rtt_us in 200_u64..400_000, bps in 1_000_000_u64..20_000_000_000, bytes in 1_u64..30_000_000,
        ) {
            let path = path(Duration::from_micros(rtt_us), bps);
            let took = at_once(&path, &[(Duration::ZERO, bytes)])[0].saturating_since(Instant::ZERO);
            let closed = cold_transfer_time(&path, bytes, &TcpOptions::default()) - path.rtt * 3 / 2;
            let off = took.abs_diff(closed);
            // The last window is partly filled, which the closed form rounds.
            prop_assert!(off <= Duration::from_micros(300) || off <= closed / 50, "{took:?} {closed:?}");
        }

        /// Warm and cold, idle and busy: within a burst's time or two per cent of what following every burst gives.
        #[test]
        fn messages_take_what_following_every_burst_says(
            rtt_us in 500_u64..300_000, bps in 2_000_000_u64..10_000_000_000,
            messages in prop::collection::vec((0_u64..1_500, 1_u64..400_000), 1..6),
        ) {
            let path = path(Duration::from_micros(rtt_us), bps);
            let messages: Vec<_> =
                messages.into_iter().map(|(ms, bytes)| (Duration::from_millis(ms), bytes)).collect();
            let (mut exact_from, mut fast_from) = (Instant::ZERO, Instant::ZERO);
            let (exact, fast) = (burst_by_burst(&path, &messages), at_once(&path, &messages));
            for (at, (exact, fast)) in exact.into_iter().zip(fast).enumerate() {
                let (exact_took, fast_took) = (exact.saturating_since(exact_from), fast.saturating_since(fast_from));
                let off = exact_took.abs_diff(fast_took);
                // A window that differs by a segment can cost one round trip at most.
                let slack = path.rtt.max(Duration::from_micros(500)) + exact_took / 20;
                prop_assert!(off <= slack, "message {at}: {exact_took:?} {fast_took:?}");
                (exact_from, fast_from) = (exact, fast);
            }
        }
    }

    #[test]
    fn a_loss_costs_a_round_trip_and_silence_the_timer() {
        let spec = path(Duration::from_millis(100), 0);
        let options = TcpOptions::default();
        let mut link = Link::new(PathSpec { loss: 0.02, ..spec }, 3);
        let course = Course::new(&link, &Lane::default(), back(&spec), &options);
        let mut extra = Duration::ZERO;
        for _ in 0..20_000 {
            let mut flow = MessageFlow::new(&options);
            let sent = flow.send(Instant::ZERO, 1000, 0, &mut link, &course, &options);
            let Sent::Arrives { last, .. } = sent else { panic!("nothing is silent") };
            extra += last.saturating_since(Instant::ZERO + Duration::from_millis(50));
        }
        // One of fifty waits a round trip; of those one of fifty waits (100 + 200) × 2 ms more.
        let mean_ms = extra.as_secs_f64() * 1e3 / 20_000.0;
        let expected_ms = 0.02 * 100.0 + 0.02 * 0.02 * 600.0;
        assert!((mean_ms - expected_ms).abs() < 0.3, "{mean_ms} {expected_ms}");
        link.disturb(LinkDisturbance { partitioned: true, ..LinkDisturbance::default() });
        let course = Course::new(&link, &Lane::default(), back(&spec), &options);
        let mut flow = MessageFlow::new(&options);
        let waits: Vec<_> =
            (0..3).map(|tries| flow.send(Instant::ZERO, 1, tries, &mut link, &course, &options)).collect();
        let again = |ms| Sent::Silent { again_at: Instant::ZERO + Duration::from_millis(ms) };
        assert_eq!(waits, [again(300), again(600), again(1200)]);
    }
}
