//! The laws of one flow, held against hand-computed timelines and the closed form.

use proptest::prelude::*;

use super::*;
use crate::{Jitter, LinkDisturbance, PathSpec, cold_transfer_time};

fn path(rtt: Duration, bandwidth_bps: u64) -> PathSpec {
    PathSpec { rtt, jitter: Jitter::default(), loss: 0.0, bandwidth_bps }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A flow, its link, and a clock that jumps.
struct Run {
    flow: TcpFlow,
    link: Link,
    back: Return,
    now: Instant,
    /// How late the caller is each time.
    late: Duration,
}

impl Run {
    fn new(path: PathSpec, options: TcpOptions) -> Self {
        let back = Return { one_way: path.rtt / 2, is_silent: false };
        Self { flow: TcpFlow::new(options), link: Link::new(path, 3), back, now: Instant::ZERO, late: ms(0) }
    }

    fn write(&mut self, bytes: u64) {
        self.flow.handle_write(self.now, bytes, &mut self.link, self.back);
    }

    /// Takes everything that is there; `false` when nothing will ever happen again.
    fn step(&mut self) -> bool {
        let Some(at) = self.flow.poll_timeout() else { return false };
        self.now = self.now.max(at + self.late);
        self.flow.handle_timeout(self.now, &mut self.link, self.back);
        true
    }

    fn read(&mut self) -> u64 {
        let bytes = self.flow.unread();
        self.flow.handle_read(self.now, bytes, &mut self.link, self.back);
        bytes
    }

    /// Sends `bytes` as fast as the flow takes them; how long until the last is there.
    fn transfer(&mut self, bytes: u64) -> Duration {
        let began = self.now;
        let (mut written, mut read) = (0, 0);
        loop {
            // The buffer drains into the window as it is filled.
            while written < bytes && self.flow.room() > 0 {
                let more = self.flow.room().min(bytes - written);
                self.write(more);
                written += more;
            }
            read += self.read();
            if read == bytes {
                return self.now - began;
            }
            assert!(self.step(), "stuck at {read} of {bytes}");
        }
    }

    /// Carries `bytes` there; when the last of them arrived.
    fn ping(&mut self, bytes: u64) -> Duration {
        let began = self.now;
        self.write(bytes);
        while self.flow.unread() < bytes {
            assert!(self.step());
        }
        self.read();
        self.now - began
    }
}

#[test]
fn a_fresh_window_is_ten_segments_and_doubles_each_round_trip() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.write(200 * SEGMENT_BYTES);
    let mut arrived = Vec::new();
    while run.step() {
        let bytes = run.read();
        if bytes > 0 {
            arrived.push((run.now - Instant::ZERO, bytes / SEGMENT_BYTES));
        }
    }
    assert_eq!(arrived, [(ms(50), 10), (ms(150), 20), (ms(250), 40), (ms(350), 80), (ms(450), 50)]);
}

#[test]
fn the_window_starts_over_after_idleness() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.transfer(100 * SEGMENT_BYTES);
    run.now += ms(150);
    assert!(run.transfer(80 * SEGMENT_BYTES) < ms(51), "the window is still open");
    run.now += ms(1_000);
    assert_eq!(run.transfer(80 * SEGMENT_BYTES), ms(350), "10, 20, 40 and the rest");
}

#[test]
fn small_messages_do_not_open_the_window() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    for _ in 0..100 {
        assert_eq!(run.ping(200), ms(50));
        run.now += ms(50);
    }
    assert_eq!(run.flow.window(), TcpOptions::default().initial_window());
}

#[test]
fn a_lost_packet_costs_one_round_trip_and_half_the_window() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.link.disturb(LinkDisturbance { loss: 1.0, ..LinkDisturbance::default() });
    run.write(100);
    run.link.disturb(LinkDisturbance::default());
    while run.flow.unread() == 0 {
        assert!(run.step());
    }
    assert_eq!(run.now - Instant::ZERO, ms(150));
    assert_eq!(run.flow.window(), 5 * SEGMENT_BYTES);
}

#[test]
fn what_follows_a_lost_packet_waits_for_it() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.link.disturb(LinkDisturbance { loss: 1.0, ..LinkDisturbance::default() });
    run.write(100);
    run.link.disturb(LinkDisturbance::default());
    run.now += ms(10);
    run.write(100);
    while run.flow.unread() == 0 {
        assert!(run.step());
    }
    assert_eq!((run.flow.unread(), run.now - Instant::ZERO), (200, ms(150)));
}

#[test]
fn a_partition_swallows_what_is_on_its_way_and_the_timer_resumes_after_it_heals() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.write(100);
    run.now += ms(20);
    run.flow.handle_timeout(run.now, &mut run.link, run.back);
    run.link.disturb(LinkDisturbance { partitioned: true, ..LinkDisturbance::default() });
    run.flow.handle_silence(run.now, ms(100));
    // Retries 300, 600, 1200 … ms apart; healed after 1 s, the third one (at 20 + 2100 ms) gets through.
    while run.flow.poll_timeout().is_some_and(|at| at < Instant::ZERO + ms(1_000)) {
        run.step();
        assert_eq!(run.flow.unread(), 0);
    }
    run.link.disturb(LinkDisturbance::default());
    while run.flow.unread() == 0 {
        assert!(run.step());
    }
    assert_eq!(run.now - Instant::ZERO, ms(20 + 300 + 600 + 1_200 + 50));
}

#[test]
fn silence_for_too_long_ends_the_connection() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.link.disturb(LinkDisturbance { partitioned: true, ..LinkDisturbance::default() });
    run.write(100);
    while !run.flow.has_given_up() {
        assert!(run.step());
    }
    let minutes = (run.now - Instant::ZERO).as_secs() / 60;
    assert!((10..25).contains(&minutes), "Linux gives up after about a quarter of an hour, this after {minutes} min");
}

#[test]
fn without_acknowledgements_the_sender_stands_still_after_its_window() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.back.is_silent = true;
    run.write(40 * SEGMENT_BYTES);
    while run.now < Instant::ZERO + ms(5_000) {
        assert!(run.step());
    }
    assert_eq!(run.flow.unread(), 10 * SEGMENT_BYTES);
    run.back.is_silent = false;
    while run.flow.unread() < 40 * SEGMENT_BYTES {
        assert!(run.step());
    }
}

#[test]
fn a_reader_who_does_not_read_stops_the_writer() {
    let options = TcpOptions { receive_buffer_bytes: 100_000, ..TcpOptions::default() };
    let mut run = Run::new(path(ms(10), 0), options);
    let mut written = 0;
    loop {
        let more = run.flow.room();
        run.write(more);
        written += more;
        if !run.step() || run.now > Instant::ZERO + ms(1_000) {
            break;
        }
    }
    assert_eq!(run.flow.unread(), 100_000);
    assert_eq!(written, 100_000 + options.send_buffer_bytes);
    assert_eq!(run.read(), 100_000);
    while run.flow.unread() < 100_000 {
        assert!(run.step(), "reading makes room");
    }
}

#[test]
fn the_end_arrives_after_the_last_byte() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.write(30 * SEGMENT_BYTES);
    run.flow.handle_end(run.now, &mut run.link, run.back);
    while !run.flow.is_ended() {
        assert!(run.step());
    }
    assert_eq!((run.flow.unread(), run.now - Instant::ZERO), (30 * SEGMENT_BYTES, ms(150)));
}

#[test]
fn an_idle_flow_asks_for_no_wake_up_and_keeps_no_memory() {
    let mut run = Run::new(path(ms(50), 100_000_000), TcpOptions::default());
    run.transfer(5 << 20);
    while run.step() {}
    assert_eq!(run.flow.poll_timeout(), None);
    assert!(run.flow.flights.capacity() <= 64, "{}", run.flow.flights.capacity());
}

#[test]
fn a_lane_slows_its_own_connection_only() {
    let mut run = Run::new(path(ms(100), 0), TcpOptions::default());
    run.flow.set_lane(Lane { latency: ms(30), throttle_bps: Some(8_000_000), is_blackhole: false });
    assert_eq!(run.ping(1_000), ms(81));
    let mut other = TcpFlow::new(TcpOptions::default());
    other.handle_write(run.now, 1_000, &mut run.link, run.back);
    assert_eq!(other.poll_timeout(), Some(run.now + ms(50)));
}

#[test]
fn two_flows_share_the_link() {
    let path = path(ms(40), 80_000_000);
    let mut one = Run::new(path, TcpOptions::default());
    let mut two = TcpFlow::new(TcpOptions::default());
    let mut read = [0_u64; 2];
    while one.now < Instant::ZERO + ms(5_000) {
        one.write(one.flow.room());
        two.handle_write(one.now, two.room(), &mut one.link, one.back);
        read[0] += one.read();
        read[1] += two.unread();
        two.handle_read(one.now, two.unread(), &mut one.link, one.back);
        let next = [one.flow.poll_timeout(), two.poll_timeout()].into_iter().flatten().min().unwrap();
        one.now = one.now.max(next);
        one.flow.handle_timeout(one.now, &mut one.link, one.back);
        two.handle_timeout(one.now, &mut one.link, one.back);
    }
    let (sum, share) = (read[0] + read[1], read[0] as f64 / (read[0] + read[1]) as f64);
    assert!((48_000_000..50_000_001).contains(&sum), "50 MB fit in 5 s; {sum}");
    assert!((0.4..0.6).contains(&share), "{share}");
}

proptest! {
    #[test]
    fn a_cold_transfer_takes_what_the_closed_form_says(
        rtt_us in 200_u64..300_000, kbps in 500_u64..5_000_000, bytes in 1_u64..4_000_000, late_us in 0_u64..300,
    ) {
        let path = path(Duration::from_micros(rtt_us), kbps * 1_000);
        let options = TcpOptions::default();
        let mut run = Run::new(path, options);
        run.late = Duration::from_micros(late_us);
        // Handshake and request are a round trip and a half before the first flight leaves.
        let took = run.transfer(bytes) + path.rtt * 3 / 2;
        let model = cold_transfer_time(&path, bytes, &options);
        let error = took.as_secs_f64() / model.as_secs_f64() - 1.0;
        // A caller who is late once per round trip adds that much, whatever the size.
        let late = run.late.as_secs_f64() * 14.0 / model.as_secs_f64();
        prop_assert!(error.abs() < 0.03 + late, "{took:?}, the closed form says {model:?}");
    }

    #[test]
    fn throughput_does_not_depend_on_latency_while_the_window_fills_the_path(
        rtt_ms in 1_u64..200, mbps in 1_u64..100, late_us in 0_u64..300,
    ) {
        let path = path(ms(rtt_ms), mbps * 1_000_000);
        let options = TcpOptions { window_bytes_max: 64 << 20, receive_buffer_bytes: 64 << 20, ..TcpOptions::default() };
        let mut run = Run::new(path, options);
        run.late = Duration::from_micros(late_us);
        run.transfer(4 * path.bandwidth_bps / 8 * rtt_ms / 1_000 + 200_000);
        let bytes = path.bandwidth_bps / 8;
        let took = run.transfer(bytes) - path.rtt / 2;
        prop_assert!((took.as_secs_f64() - 1.0).abs() < 0.03, "a second's worth of bytes took {took:?}");
    }

    #[test]
    fn every_byte_arrives_once_whatever_is_lost(
        seed: u64, loss in 0.0..0.3_f64, jitter_ms in 0_u64..20,
        writes in prop::collection::vec((0_u64..30, 1_u64..60_000), 1..30),
    ) {
        let jitter = Jitter { mean: ms(jitter_ms), sigma_ln: 0.6 };
        let path = PathSpec { jitter, loss, ..path(ms(40), 50_000_000) };
        let mut run = Run::new(path, TcpOptions { retries_max: 1_000, ..TcpOptions::default() });
        run.link = Link::new(path, seed);
        let (mut written, mut read) = (0, 0);
        for (gap_ms, bytes) in writes {
            run.now += ms(gap_ms);
            run.write(bytes);
            written += bytes;
            read += run.read();
        }
        run.flow.handle_end(run.now, &mut run.link, run.back);
        while !run.flow.is_ended() {
            prop_assert!(read <= written);
            prop_assert!(run.step(), "stuck at {} of {}", read, written);
            read += run.read();
        }
        prop_assert_eq!(read, written);
        prop_assert!(run.flow.is_quiet());
    }

    #[test]
    fn more_delay_never_arrives_earlier(
        rtt_ms in 1_u64..200, more_ms in 1_u64..200, bytes in 1_u64..500_000, mbps in 1_u64..1_000,
    ) {
        let near = Run::new(path(ms(rtt_ms), mbps * 1_000_000), TcpOptions::default()).transfer(bytes);
        let far = Run::new(path(ms(rtt_ms + more_ms), mbps * 1_000_000), TcpOptions::default()).transfer(bytes);
        prop_assert!(far > near, "{far:?} {near:?}");
    }
}
