//! One direction of one TCP connection over a [`Link`]: what is sent when, and when the reader may have it.
//!
//! Decides windows (ten segments, doubling each round trip until they fill the path, from the start again after
//! idleness), retransmissions (one round trip for a lost packet, an exponential timer for silence), order and
//! backpressure. Refuses to know the bytes themselves, sockets and the handshake: it counts.

use std::{collections::VecDeque, time::Duration};

use cdn_core::Instant;

use crate::link::{DropReason, Link, SEGMENT_BYTES, Verdict, serialization, slower};

/// How the ends of a connection behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Segments of a fresh window. Default 10 (RFC 6928).
    pub initial_segments: u64,
    /// The largest window, bytes. Default 4 MiB, what Linux allows a sender (`tcp_wmem`).
    pub window_bytes_max: u64,
    /// Bytes that a writer may be ahead of the window. Default 256 KiB.
    pub send_buffer_bytes: u64,
    /// Bytes on the way and unread together. Default 6 MiB, what Linux allows a receiver (`tcp_rmem`).
    pub receive_buffer_bytes: u64,
    /// The shortest time after which silence is met with a retransmission, on top of the round trip. Default 200 ms
    /// (Linux; RFC 6298 says 1 s).
    pub retry_after: Duration,
    /// The longest time between retransmissions. Default 120 s (Linux).
    pub retry_after_max: Duration,
    /// Retransmissions of the same bytes until the connection is given up. Default 15 (Linux `tcp_retries2`).
    pub retries_max: u32,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            initial_segments: 10,
            window_bytes_max: 4 << 20,
            send_buffer_bytes: 256 << 10,
            receive_buffer_bytes: 6 << 20,
            retry_after: Duration::from_millis(200),
            retry_after_max: Duration::from_secs(120),
            retries_max: 15,
        }
    }
}

impl TcpOptions {
    /// Bytes of a fresh window.
    pub const fn initial_window(&self) -> u64 {
        match self.initial_segments {
            0 => SEGMENT_BYTES,
            segments => segments.saturating_mul(SEGMENT_BYTES),
        }
    }

    /// The window that fills a path of this rate (bits per second, zero: unlimited) and round trip, within the limit.
    pub fn window_cap(&self, rate_bps: u64, rtt: Duration) -> u64 {
        let ceiling = self.window_bytes_max.max(SEGMENT_BYTES);
        if rate_bps == 0 {
            return ceiling;
        }
        let product = u128::from(rate_bps) * rtt.as_nanos() / 8_000_000_000;
        // Two milliseconds of slack keep the link busy when an acknowledgement is handled late.
        let slack = (rate_bps / 4_000).max(2 * self.burst_bytes(rate_bps));
        let cap = u64::try_from(product).unwrap_or(u64::MAX).saturating_add(slack);
        cap.max(self.initial_window()).min(ceiling)
    }

    /// How many bytes leave as one: what the link carries in 200 µs, whole segments, at most 64 KiB. Finer would only
    /// cost wake-ups.
    pub const fn burst_bytes(&self, rate_bps: u64) -> u64 {
        const MOST: u64 = (64 << 10) / SEGMENT_BYTES * SEGMENT_BYTES;
        let bytes = rate_bps / (8 * 5_000) / SEGMENT_BYTES * SEGMENT_BYTES;
        if rate_bps == 0 || bytes > MOST {
            MOST
        } else if bytes < SEGMENT_BYTES {
            SEGMENT_BYTES
        } else {
            bytes
        }
    }

    /// The `tries`-th wait for an answer: doubles from a round trip and [`retry_after`](Self::retry_after).
    pub fn retry_wait(&self, rtt: Duration, tries: u32) -> Duration {
        let first = rtt.saturating_add(self.retry_after);
        first.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(self.retry_after_max.max(first))
    }
}

/// The way of the acknowledgements, as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Return {
    /// Time that an acknowledgement needs.
    pub one_way: Duration,
    /// No acknowledgement gets through.
    pub is_silent: bool,
}

/// What lies over one direction of one connection, besides the link's own disturbance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Everything arrives so much later.
    pub latency: Duration,
    /// Bits per second of this connection alone.
    pub throttle_bps: Option<u64>,
    /// Nothing gets through.
    pub is_blackhole: bool,
}

/// One direction of one TCP connection.
///
/// Calling order: [`handle_write`](Self::handle_write) and [`handle_end`](Self::handle_end) as the writer goes on,
/// [`handle_read`](Self::handle_read) as the reader takes, [`handle_timeout`](Self::handle_timeout) no later than
/// [`poll_timeout`](Self::poll_timeout) says. After each, [`unread`](Self::unread), [`is_ended`](Self::is_ended) and
/// [`room`](Self::room) say what reader and writer may do. A call that comes late is caught up with in the order of
/// time, so lateness of the caller does not slow the connection.
#[derive(Clone, Debug)]
pub struct TcpFlow {
    options: TcpOptions,
    lane: Lane,
    /// When the lane's throttle has let the last byte pass.
    lane_free_at: Instant,
    /// The congestion window, and the size at which it stops doubling.
    window: u64,
    threshold: u64,
    /// Written, not yet sent.
    unsent: u64,
    /// Sent, not yet acknowledged; sent, not yet arrived; arrived, not yet read.
    in_flight: u64,
    on_the_way: u64,
    unread: u64,
    end: End,
    /// In the order of the bytes: the first `landed` have arrived and await their acknowledgement.
    flights: VecDeque<Flight>,
    landed: usize,
    lost: usize,
    landed_at: Instant,
    sent_at: Instant,
    /// Losses before this moment have already halved the window.
    halved_until: Instant,
    has_given_up: bool,
    drops: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Written,
    Sent,
    Arrived,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    bytes: u32,
    tries: u32,
    is_end: bool,
    state: FlightState,
}

#[derive(Clone, Copy, Debug)]
enum FlightState {
    /// Arrives then, unless something before it is missing.
    Flying(Instant),
    /// Sent again then.
    Lost(Instant),
    /// Acknowledged then.
    Landed(Instant),
}

/// What happens next of its own accord.
enum Event {
    Landing,
    Acknowledgement,
    Retry(usize),
}

impl TcpFlow {
    /// A flow over a fresh connection.
    pub fn new(options: TcpOptions) -> Self {
        Self {
            options,
            lane: Lane::default(),
            lane_free_at: Instant::ZERO,
            window: options.initial_window(),
            threshold: u64::MAX,
            unsent: 0,
            in_flight: 0,
            on_the_way: 0,
            unread: 0,
            end: End::Open,
            flights: VecDeque::new(),
            landed: 0,
            lost: 0,
            landed_at: Instant::ZERO,
            sent_at: Instant::ZERO,
            halved_until: Instant::ZERO,
            has_given_up: false,
            drops: 0,
        }
    }

    /// The writer hands over `bytes`. It should not exceed [`room`](Self::room), but what it hands over is carried.
    pub fn handle_write(&mut self, now: Instant, bytes: u64, link: &mut Link, back: Return) {
        assert!(self.end == End::Open, "{bytes} bytes written after the end");
        self.handle_timeout(now, link, back);
        self.unsent += bytes;
        self.transmit(now, link, back);
    }

    /// The writer has written its last byte.
    pub fn handle_end(&mut self, now: Instant, link: &mut Link, back: Return) {
        self.handle_timeout(now, link, back);
        if self.end == End::Open {
            self.end = End::Written;
            self.transmit(now, link, back);
        }
    }

    /// The reader has taken `bytes` of what was [`unread`](Self::unread).
    pub fn handle_read(&mut self, now: Instant, bytes: u64, link: &mut Link, back: Return) {
        assert!(bytes <= self.unread, "{bytes} bytes read of {}", self.unread);
        self.unread -= bytes;
        if self.unsent > 0 {
            self.handle_timeout(now, link, back);
            self.transmit(now, link, back);
        }
    }

    /// Catches up with everything that has happened until `now`.
    pub fn handle_timeout(&mut self, now: Instant, link: &mut Link, back: Return) {
        while let Some((at, event)) = self.next_event() {
            if at > now {
                break;
            }
            match event {
                Event::Landing => self.land(at, back),
                Event::Acknowledgement => self.acknowledge(at, link, back),
                Event::Retry(index) => self.retry(at, index, link, back),
            }
        }
        if self.flights.is_empty() && self.flights.capacity() > 16 {
            self.flights = VecDeque::new();
        }
    }

    /// From `now` on the forward direction swallows everything, also what is on its way. Call after
    /// [`handle_timeout`](Self::handle_timeout), when a partition or a black hole begins.
    pub fn handle_silence(&mut self, now: Instant, rtt: Duration) {
        for flight in self.flights.iter_mut().skip(self.landed) {
            if let FlightState::Flying(at) = flight.state
                && at > now
            {
                flight.tries = 1;
                flight.state = FlightState::Lost(now + self.options.retry_wait(rtt, 1));
                self.lost += 1;
            }
        }
    }

    /// Replaces what lies over this connection. Takes effect on what is sent from now on.
    pub fn set_lane(&mut self, lane: Lane) {
        if lane.throttle_bps != self.lane.throttle_bps {
            self.lane_free_at = Instant::ZERO;
        }
        self.lane = lane;
    }

    /// What lies over this connection.
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Bytes that the reader may take now.
    pub const fn unread(&self) -> u64 {
        self.unread
    }

    /// Whether the end has arrived; what is [`unread`](Self::unread) comes before it.
    pub fn is_ended(&self) -> bool {
        self.end == End::Arrived
    }

    /// Bytes that the writer may hand over now.
    pub const fn room(&self) -> u64 {
        self.options.send_buffer_bytes.saturating_sub(self.unsent)
    }

    /// Whether the same bytes were retransmitted too often, so that the connection has timed out.
    pub const fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// How often the link has dropped something of this flow.
    pub const fn drops(&self) -> u64 {
        self.drops
    }

    /// Whether everything written has arrived.
    pub fn is_quiet(&self) -> bool {
        self.unsent == 0 && self.landed == self.flights.len()
    }

    /// The congestion window, bytes.
    pub const fn window(&self) -> u64 {
        self.window
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Acknowledgements matter to who waits for the window; a long tail of them is forgotten in one go.
        let waits = self.unsent > 0 || self.end == End::Written;
        if !waits && self.landed == self.flights.len() {
            return match self.flights.back()?.state {
                FlightState::Landed(at) if self.flights.len() > 64 => Some(at),
                _ => None,
            };
        }
        let landing = self.next_landing();
        let retry = self.next_retry().map(|(at, _)| at);
        let acknowledgement = if waits { self.next_acknowledgement() } else { None };
        [landing, retry, acknowledgement].into_iter().flatten().min()
    }

    fn next_event(&self) -> Option<(Instant, Event)> {
        let landing = self.next_landing().map(|at| (at, 0, Event::Landing));
        let acknowledgement = self.next_acknowledgement().map(|at| (at, 1, Event::Acknowledgement));
        let retry = self.next_retry().map(|(at, index)| (at, 2, Event::Retry(index)));
        let next = [landing, acknowledgement, retry].into_iter().flatten().min_by_key(|(at, order, _)| (*at, *order));
        next.map(|(at, _, event)| (at, event))
    }

    fn next_landing(&self) -> Option<Instant> {
        match self.flights.get(self.landed)?.state {
            FlightState::Flying(at) => Some(at.max(self.landed_at)),
            FlightState::Lost(_) | FlightState::Landed(_) => None,
        }
    }

    fn next_acknowledgement(&self) -> Option<Instant> {
        match self.flights.front()?.state {
            FlightState::Landed(at) => Some(at),
            FlightState::Flying(_) | FlightState::Lost(_) => None,
        }
    }

    fn next_retry(&self) -> Option<(Instant, usize)> {
        if self.lost == 0 {
            return None;
        }
        let lost = self.flights.iter().enumerate().filter_map(|(index, flight)| match flight.state {
            FlightState::Lost(at) => Some((at, index)),
            _ => None,
        });
        lost.min()
    }

    fn land(&mut self, at: Instant, back: Return) {
        let Some(flight) = self.flights.get_mut(self.landed) else { return };
        flight.state = FlightState::Landed(at + back.one_way);
        let bytes = u64::from(flight.bytes);
        if flight.is_end {
            self.end = End::Arrived;
        }
        self.landed += 1;
        self.landed_at = at;
        self.on_the_way -= bytes;
        self.unread += bytes;
    }

    fn acknowledge(&mut self, at: Instant, link: &mut Link, back: Return) {
        let Some(flight) = self.flights.front_mut() else { return };
        if back.is_silent {
            // The acknowledgement is swallowed; the sender's timer makes the receiver send another one.
            flight.tries = flight.tries.saturating_add(1);
            flight.state =
                FlightState::Landed(at + self.options.retry_wait(link.one_way() + back.one_way, flight.tries));
            self.has_given_up |= flight.tries > self.options.retries_max;
            return;
        }
        let bytes = u64::from(flight.bytes);
        self.flights.pop_front();
        self.landed -= 1;
        // Only a window that was used may grow (RFC 7661): requests of a few hundred bytes do not open it.
        if self.in_flight * 2 >= self.window {
            self.window +=
                if self.window < self.threshold { bytes } else { SEGMENT_BYTES * bytes / self.window.max(1) };
        }
        self.in_flight -= bytes;
        self.transmit(at, link, back);
    }

    fn retry(&mut self, at: Instant, index: usize, link: &mut Link, back: Return) {
        let Some(flight) = self.flights.get(index).copied() else { return };
        self.lost -= 1;
        let state = self.carry(at, u64::from(flight.bytes), flight.tries + 1, link, back);
        if let Some(flight) = self.flights.get_mut(index) {
            flight.tries += 1;
            flight.state = state;
        }
    }

    /// Sends what the window, the receiver and the link allow.
    fn transmit(&mut self, at: Instant, link: &mut Link, back: Return) {
        if self.unsent == 0 && self.end != End::Written {
            return;
        }
        let rate = slower(link.bandwidth_bps(), self.lane.throttle_bps);
        let rtt = self.rtt(link, back);
        let initial = self.options.initial_window();
        if self.in_flight == 0
            && self.window > initial
            && at.saturating_since(self.sent_at) > self.options.retry_wait(rtt, 1)
        {
            // Idle for longer than the retransmission timer: what the path bears now is unknown (RFC 5681 4.1). The
            // threshold remembers where it was (RFC 2861).
            self.threshold = self.threshold.max(self.window / 4 * 3);
            self.window = initial;
        }
        // Jitter makes acknowledgements late; a window that only just fills the path would stand still for it.
        self.window = self.window.min(self.options.window_cap(rate, rtt + link.path().jitter.mean * 4));
        let burst = self.options.burst_bytes(rate);
        while self.unsent > 0 {
            let window_left = self.window.saturating_sub(self.in_flight);
            let receiver_left = self.options.receive_buffer_bytes.saturating_sub(self.on_the_way + self.unread);
            let bytes = self.unsent.min(burst).min(window_left).min(receiver_left);
            // A sliver is only worth a packet when nothing else is on its way (RFC 9293 3.8.6.2.1).
            if bytes == 0 || (bytes < self.unsent && bytes < SEGMENT_BYTES && self.in_flight > 0) {
                return;
            }
            self.unsent -= bytes;
            self.send(at, bytes, false, link, back);
        }
        if self.end == End::Written {
            self.end = End::Sent;
            self.send(at, 0, true, link, back);
        }
    }

    fn send(&mut self, at: Instant, bytes: u64, is_end: bool, link: &mut Link, back: Return) {
        let state = self.carry(at, bytes, 1, link, back);
        self.in_flight += bytes;
        self.on_the_way += bytes;
        self.sent_at = at;
        // A burst is at most 64 KiB.
        self.flights.push_back(Flight { bytes: bytes as u32, tries: 1, is_end, state });
    }

    /// Puts `bytes` on the link for the `tries`-th time.
    fn carry(&mut self, at: Instant, bytes: u64, tries: u32, link: &mut Link, back: Return) -> FlightState {
        let verdict = if self.lane.is_blackhole { Verdict::Drop(DropReason::Blackhole) } else { link.send(at, bytes) };
        match verdict {
            Verdict::Deliver(arrives_at) => {
                let mut arrives_at = arrives_at + self.lane.latency;
                if let Some(bps) = self.lane.throttle_bps {
                    arrives_at = arrives_at.max(self.lane_free_at) + serialization(bytes, bps);
                    self.lane_free_at = arrives_at;
                }
                FlightState::Flying(arrives_at)
            }
            Verdict::Drop(reason) => {
                self.lost += 1;
                self.drops += 1;
                self.has_given_up |= tries > self.options.retries_max;
                let rtt = self.rtt(link, back);
                let floor = SEGMENT_BYTES * 2;
                if at >= self.halved_until {
                    self.threshold = (self.window / 2).max(floor);
                    self.window = self.threshold;
                    self.halved_until = at + rtt;
                }
                if reason.is_silence() {
                    // Only the timer tells: start over (RFC 5681 3.1).
                    self.window = self.window.min(self.options.initial_window());
                }
                // The first loss of a packet shows within a round trip; losing its retransmission, too, is silence.
                let wait = if tries == 1 && !reason.is_silence() { rtt } else { self.options.retry_wait(rtt, tries) };
                FlightState::Lost(at + wait)
            }
        }
    }

    fn rtt(&self, link: &Link, back: Return) -> Duration {
        link.one_way() + self.lane.latency + back.one_way
    }
}

#[cfg(test)]
mod tests;
