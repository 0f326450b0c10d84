//! Oracles 10 and 11: how long it takes to find a dead edge, and how long until chance makes a living one look dead.
//!
//! The machine under test is the live one, driven in virtual time. It asks a suspect in quick succession; the closed forms
//! speak of a plain prober, so it is given one interval for both.

use std::time::Duration;

use cdn_core::{
    Instant,
    health::{Health, HealthState, ProbeError, ProbeId, ProbeOptions},
};

/// Draws that depend on nothing but their number.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Mean number of probes until `k` in a row have failed, each with probability `p`.
fn probes_until(k: i32, p: f64) -> f64 {
    (1.0 - p.powi(k)) / ((1.0 - p) * p.powi(k))
}

/// Mean time from a silent death to the verdict: a uniform phase, `k - 1` intervals and the timeout of the last.
fn detection(k: u32, interval: Duration, timeout: Duration) -> Duration {
    interval * (2 * k - 1) / 2 + timeout
}

fn plain(k: u32, interval: Duration, timeout: Duration) -> ProbeOptions {
    ProbeOptions { interval, retry_interval: interval, timeout, down_after: k, ..ProbeOptions::default() }
}

/// Drives a machine until it calls the edge down; `answers` says whether a probe sent at a moment is answered. How many
/// probes were sent, and when it was.
fn drive(options: &ProbeOptions, mut answers: impl FnMut(Instant) -> bool) -> (u64, Instant) {
    let rtt = Duration::from_millis(5);
    let mut health = Health::new(Instant::ZERO, options.clone());
    let mut under_way: Vec<(Instant, ProbeId, bool)> = vec![];
    let mut sent = 0;
    loop {
        let outcome = under_way.iter().map(|&(at, ..)| at).min().unwrap_or(Instant::MAX);
        let now = outcome.min(health.poll_timeout());
        if let Some(at) = under_way.iter().position(|&(at, ..)| at <= now) {
            let (_, probe, answered) = under_way.remove(at);
            if answered {
                health.handle_success(now, probe, rtt);
            } else {
                health.handle_failure(now, probe, ProbeError::TimedOut);
            }
            if health.state() == HealthState::Down {
                return (sent, now);
            }
            continue;
        }
        if let Some(probe) = health.poll_probe(now) {
            sent += 1;
            let answered = sent == 1 || answers(now);
            under_way.push((now + if answered { rtt } else { options.timeout }, probe, answered));
        }
    }
}

#[test]
fn a_hard_death_is_found_after_a_phase_k_less_one_intervals_and_a_timeout() {
    let (interval, timeout) = (Duration::from_secs(2), Duration::from_millis(50));
    let expected = detection(3, interval, timeout);
    assert_eq!(expected, Duration::from_millis(5050), "(3 - 1/2) × 2 s + 50 ms");
    let options = plain(3, interval, timeout);
    let mut draws = Draws(1);
    let mut sum = Duration::ZERO;
    for _ in 0..4000 {
        let dies_at = Instant::ZERO + Duration::from_secs_f64(20.0 + 2.0 * draws.next());
        let (_, down_at) = drive(&options, |now| now < dies_at);
        sum += down_at - dies_at;
    }
    let mean = sum / 4000;
    assert!(mean.abs_diff(expected) < Duration::from_millis(40), "{mean:?} where {expected:?} is expected");
}

#[test]
fn as_many_probes_as_the_closed_form_says_until_chance_takes_k_in_a_row() {
    assert!((probes_until(3, 0.9) - 3.717).abs() < 0.0005, "the worked value");
    // Oracle 11: a loss of one in a hundred, k = 3, every 10 s.
    let days = probes_until(3, 0.01) * 10.0 / 86_400.0;
    assert!((days - 116.9).abs() < 0.05, "the worked value: {days}");
    let options = plain(3, Duration::from_secs(10), Duration::from_millis(50));
    let mut draws = Draws(2);
    // Each run begins with an answer, which is not drawn. A rare loss takes months of virtual time; one in ten shows the same.
    for (loss, runs) in [(0.9, 20_000_u32), (0.1, 600)] {
        let mut sum = 0;
        for _ in 0..runs {
            let (sent, _) = drive(&options, |_| draws.next() >= loss);
            sum += sent - 1;
        }
        let (mean, expected) = (sum as f64 / f64::from(runs), probes_until(3, loss));
        // The number is nearly geometric: its deviation is its mean.
        let slack = 4.0 * expected / f64::from(runs).sqrt();
        assert!((mean - expected).abs() < slack, "loss {loss}: {mean} where {expected} is expected");
    }
}
