//! Is an edge healthy? A machine per edge that says when to probe next and what the outcomes mean.
//!
//! One lost probe says little: where 30 % are lost at random, three in a row fall every half minute. So the first miss
//! only makes an edge *suspect*, and a suspect is asked again in quick succession. Fourteen misses in a row make it down
//! (0.3^14 is 5 in a hundred million: once in some 200 days of probes at that loss), and they still fit into three probe
//! intervals; see [`ProbeOptions::detection_bound`].
//! Knows outcomes and time; does not know HTTP, and does not decide who is sent where.

pub mod quorum;

use std::{fmt, str::FromStr, time::Duration};

use crate::Instant;

/// How edges are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Time between two probes of an edge that is up, or that is known to be down. Default 1 s.
    pub interval: Duration,
    /// Time between two probes while the machine is making up its mind. Default 60 ms.
    pub retry_interval: Duration,
    /// A probe without an answer for so long has failed. Default 800 ms.
    pub timeout: Duration,
    /// Failures in a row that make an edge down, 1 or more. Default 14.
    pub down_after: u32,
    /// Successes in a row that bring a down edge back, 1 or more. Default 2. An edge that was never seen needs one: there
    /// is no failure for it to live down, and a new world should not wait.
    pub up_after: u32,
    /// The path that is asked for; 200 is success. Default `/.iso/health`.
    pub path: String,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            retry_interval: Duration::from_millis(60),
            timeout: Duration::from_millis(800),
            down_after: 14,
            up_after: 2,
            path: "/.iso/health".into(),
        }
    }
}

impl ProbeOptions {
    /// The longest time from the silent death of an edge to its being down, where a probe's answer normally takes
    /// `rtt`: the wait for the next probe, the time until its answer is overdue, the quick probes, and the timeout of
    /// the last. With the defaults and 200 ms, `1 + 0.3 + 12 × 0.06 + 0.8 = 2.82 s`: within three intervals. An edge that
    /// refuses connections is found sooner, because nothing has to time out.
    pub fn detection_bound(&self, rtt: Duration) -> Duration {
        let quick = self.retry_interval * self.down_after.saturating_sub(2);
        let overdue = (rtt + OVERDUE_SLACK).min(self.timeout);
        if self.down_after <= 1 { self.interval + self.timeout } else { self.interval + overdue + quick + self.timeout }
    }
}

/// An answer is overdue so long after its usual time plus four mean deviations (the rule of RFC 6298 for TCP's
/// retransmission timer).
const OVERDUE_SLACK: Duration = Duration::from_millis(100);

/// What is believed about an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthState {
    /// Not probed often enough to say; not eligible.
    #[default]
    Unknown,
    /// Answers.
    Up,
    /// Was up and has missed a probe; still eligible.
    Suspect,
    /// Does not answer.
    Down,
}

impl HealthState {
    /// The lower-case word for status tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }

    /// Whether viewers may be sent there.
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Up | Self::Suspect)
    }
}

/// No state has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a state of health: unknown, up, suspect or down")]
pub struct UnknownHealthState(String);

impl FromStr for HealthState {
    type Err = UnknownHealthState;

    fn from_str(text: &str) -> Result<Self, UnknownHealthState> {
        let all = [Self::Unknown, Self::Up, Self::Suspect, Self::Down];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownHealthState(text.into()))
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nobody listens.
    #[error("connection refused")]
    Refused,
    /// The connection broke off.
    #[error("connection reset")]
    Reset,
    /// No answer within the timeout.
    #[error("no answer within the timeout")]
    TimedOut,
    /// There is no way there.
    #[error("no route")]
    NoRoute,
    /// An answer with another status than 200.
    #[error("status {0}")]
    BadStatus(u16),
    /// The edge itself says that it is being taken out of service.
    #[error("the edge says that it is draining")]
    Draining,
    /// An answer that is no HTTP.
    #[error("not HTTP")]
    Invalid,
}

impl ProbeError {
    /// The lower-case word of each, by [`index`](Self::index); every status has the same.
    pub const WORDS: [&'static str; 7] =
        ["refused", "reset", "timed_out", "no_route", "bad_status", "draining", "invalid"];

    /// The position of its word.
    pub const fn index(self) -> usize {
        match self {
            Self::Refused => 0,
            Self::Reset => 1,
            Self::TimedOut => 2,
            Self::NoRoute => 3,
            Self::BadStatus(_) => 4,
            Self::Draining => 5,
            Self::Invalid => 6,
        }
    }
}

/// One probe; later probes have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeId(u64);

/// A step from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: HealthState,
    /// After.
    pub to: HealthState,
}

/// The health of one edge, as one observer sees it.
///
/// Wait until [`poll_timeout`](Self::poll_timeout), call [`poll_probe`](Self::poll_probe), send the probe it returns, and
/// report its outcome with [`handle_success`](Self::handle_success) or [`handle_failure`](Self::handle_failure). Several
/// probes can be under way at once, and outcomes may come in any order: an answer to a later probe outweighs the
/// failure of an earlier one.
#[derive(Clone, Debug)]
pub struct Health {
    options: ProbeOptions,
    state: HealthState,
    since: Instant,
    next_probe_at: Instant,
    next_id: u64,
    /// The latest probe that succeeded.
    last_success: Option<ProbeId>,
    /// Probes later than it that failed; as many as `down_after` at most.
    failed: Vec<ProbeId>,
    successes: u32,
    /// The earliest probe that still has to be answered.
    awaited: Option<Awaited>,
    /// Probes under way are limited to this many, should the shell forget to report.
    under_way: u32,
    rtt: Option<Smoothed>,
    last_answer_at: Option<Instant>,
    last_error: Option<(Instant, ProbeError)>,
    /// Between the first answer ever and the next probe.
    phase: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Awaited {
    probe: ProbeId,
    overdue_at: Instant,
    /// It is overdue, and others have been sent after it.
    is_late: bool,
}

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    mean: Duration,
    deviation: Duration,
}

impl Health {
    /// The health of an edge that nobody has probed yet: the first probe is due at once.
    pub fn new(now: Instant, options: ProbeOptions) -> Self {
        Self {
            phase: options.interval,
            options,
            state: HealthState::Unknown,
            since: now,
            next_probe_at: now,
            next_id: 0,
            last_success: None,
            failed: vec![],
            successes: 0,
            awaited: None,
            under_way: 0,
            rtt: None,
            last_answer_at: None,
            last_error: None,
        }
    }

    /// The same, whose second probe follows the first answer so much later, and all others an interval apart. Whoever
    /// watches many edges gives each a phase of its own within an interval: what begins with all at once would go on probing
    /// all at once.
    #[must_use]
    pub fn with_phase(self, phase: Duration) -> Self {
        Self { phase, ..self }
    }

    /// What is believed now.
    pub const fn state(&self) -> HealthState {
        self.state
    }

    /// Since when.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The usual time of a probe's answer.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.mean)
    }

    /// When a probe was answered last.
    pub const fn last_answer_at(&self) -> Option<Instant> {
        self.last_answer_at
    }

    /// When and why a probe failed last.
    pub const fn last_error(&self) -> Option<(Instant, ProbeError)> {
        self.last_error
    }

    /// Failures since the last success, up to the threshold.
    pub const fn failures(&self) -> usize {
        self.failed.len()
    }

    /// When to call [`poll_probe`](Self::poll_probe) next.
    pub fn poll_timeout(&self) -> Instant {
        if self.is_full() {
            return Instant::MAX;
        }
        match self.awaited {
            Some(awaited) if !awaited.is_late => self.next_probe_at.min(awaited.overdue_at),
            _ => self.next_probe_at,
        }
    }

    /// A probe to be sent now, if one is due.
    pub fn poll_probe(&mut self, now: Instant) -> Option<ProbeId> {
        if now < self.poll_timeout() {
            return None;
        }
        let id = ProbeId(self.next_id);
        self.next_id += 1;
        self.under_way += 1;
        if let Some(awaited) = &mut self.awaited {
            awaited.is_late |= awaited.overdue_at <= now;
        } else if let Some(rtt) = self.rtt {
            let overdue_at = now + rtt.mean + rtt.deviation * 4 + OVERDUE_SLACK;
            self.awaited = Some(Awaited { probe: id, overdue_at, is_late: false });
        }
        let pause = if self.is_in_doubt() { self.options.retry_interval } else { self.options.interval };
        self.next_probe_at = now + pause;
        Some(id)
    }

    /// `probe` was answered after `rtt`.
    pub fn handle_success(&mut self, now: Instant, probe: ProbeId, rtt: Duration) -> Option<Change> {
        self.under_way = self.under_way.saturating_sub(1);
        self.last_answer_at = Some(now);
        self.rtt = Some(match self.rtt {
            None => Smoothed { mean: rtt, deviation: Duration::ZERO },
            Some(old) => {
                Smoothed { mean: (old.mean * 7 + rtt) / 8, deviation: (old.deviation * 3 + old.mean.abs_diff(rtt)) / 4 }
            }
        });
        if self.last_success.is_some_and(|last| probe <= last) {
            return None;
        }
        self.last_success = Some(probe);
        self.failed.retain(|&failed| failed > probe);
        let answered = self.awaited.take_if(|awaited| awaited.probe <= probe);
        let was_late = answered.is_some_and(|awaited| awaited.is_late);
        if !self.failed.is_empty() {
            return None;
        }
        self.successes = self.successes.saturating_add(1);
        match self.state {
            HealthState::Up => {
                if was_late {
                    self.next_probe_at = now + self.options.interval;
                }
                None
            }
            HealthState::Suspect => self.change(now, HealthState::Up),
            HealthState::Unknown => self.change(now, HealthState::Up),
            HealthState::Down if self.successes >= self.options.up_after => self.change(now, HealthState::Up),
            HealthState::Down => {
                // Promising: find out soon.
                self.next_probe_at = self.next_probe_at.min(now + self.options.retry_interval);
                None
            }
        }
    }

    /// `probe` failed.
    pub fn handle_failure(&mut self, now: Instant, probe: ProbeId, error: ProbeError) -> Option<Change> {
        self.under_way = self.under_way.saturating_sub(1);
        self.last_error = Some((now, error));
        if self.awaited.is_some_and(|awaited| awaited.probe <= probe) {
            self.awaited = None;
        }
        if self.last_success.is_some_and(|last| probe < last) {
            return None;
        }
        self.successes = 0;
        if self.state == HealthState::Down {
            return None;
        }
        if error == ProbeError::Draining {
            // No guess: it says so itself.
            return self.change(now, HealthState::Down);
        }
        self.failed.push(probe);
        if self.failed.len() >= self.options.down_after as usize {
            return self.change(now, HealthState::Down);
        }
        self.next_probe_at = self.next_probe_at.min(now + self.options.retry_interval);
        if self.state == HealthState::Up { self.change(now, HealthState::Suspect) } else { None }
    }

    /// A kept connection to the edge was closed by the other side: no verdict, but reason to look now.
    pub fn handle_connection_lost(&mut self, now: Instant) {
        if self.state != HealthState::Down {
            self.next_probe_at = self.next_probe_at.min(now);
        }
    }

    fn change(&mut self, now: Instant, to: HealthState) -> Option<Change> {
        let change = Change { from: self.state, to };
        (self.state, self.since) = (to, now);
        match to {
            HealthState::Down => {
                self.failed.clear();
                self.successes = 0;
                self.awaited = None;
                self.next_probe_at = now + self.options.interval;
            }
            HealthState::Up if change.from == HealthState::Unknown => {
                self.next_probe_at = now + self.phase;
            }
            HealthState::Up => self.next_probe_at = now + self.options.interval,
            HealthState::Unknown | HealthState::Suspect => {}
        }
        Some(change)
    }

    fn is_in_doubt(&self) -> bool {
        match self.state {
            HealthState::Up => !self.failed.is_empty() || self.awaited.is_some_and(|awaited| awaited.is_late),
            HealthState::Suspect => true,
            // Nothing is known of the path yet, so silence says nothing; a failure does.
            HealthState::Unknown => !self.failed.is_empty(),
            HealthState::Down => self.successes > 0,
        }
    }

    /// Enough probes are under way to decide either way.
    fn is_full(&self) -> bool {
        let timeouts = self.options.timeout.as_nanos() / self.options.retry_interval.as_nanos().max(1);
        u128::from(self.under_way) > timeouts + u128::from(self.options.down_after)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// How an edge treats a probe sent at a moment.
    type Edge<'a> = &'a mut dyn FnMut(Instant) -> (Duration, Result<(), ProbeError>);

    /// Drives a machine from `now` on, as the shell does, and lists its changes.
    fn drive(health: &mut Health, from: Instant, until: Instant, edge: Edge<'_>) -> Vec<(Instant, Change)> {
        let mut changes = vec![];
        let mut under_way: Vec<(Instant, ProbeId, Duration, Result<(), ProbeError>)> = vec![];
        let mut now = from;
        loop {
            let next_outcome = under_way.iter().map(|&(at, ..)| at).min();
            let next_probe = health.poll_timeout();
            now = now.max(next_outcome.map_or(next_probe, |at| at.min(next_probe)));
            if now >= until {
                return changes;
            }
            if let Some(at) = under_way.iter().position(|&(at, ..)| at <= now) {
                let (_, probe, took, outcome) = under_way.swap_remove(at);
                let change = match outcome {
                    Ok(()) => health.handle_success(now, probe, took),
                    Err(error) => health.handle_failure(now, probe, error),
                };
                changes.extend(change.map(|change| (now, change)));
            }
            while let Some(probe) = health.poll_probe(now) {
                let (took, outcome) = edge(now);
                under_way.push((now + took, probe, took, outcome));
            }
        }
    }

    fn at(ms_after: u64) -> Instant {
        Instant::ZERO + ms(ms_after)
    }

    fn up(rtt: Duration) -> Health {
        let mut health = Health::new(Instant::ZERO, ProbeOptions::default());
        drive(&mut health, Instant::ZERO, at(5000), &mut |_| (rtt, Ok(())));
        assert_eq!(health.state(), HealthState::Up);
        health
    }

    #[test]
    fn a_new_edge_is_up_after_its_first_answer() {
        let mut health = Health::new(Instant::ZERO, ProbeOptions::default());
        assert_eq!(health.state(), HealthState::Unknown);
        let changes = drive(&mut health, Instant::ZERO, at(2000), &mut |_| (ms(80), Ok(())));
        let (when, change) = changes[0];
        assert_eq!(change.to, HealthState::Up);
        assert_eq!(when, at(80));
        assert_eq!(changes.len(), 1);
    }

    #[test]
    fn a_dead_edge_is_found_within_three_intervals() {
        // Whatever the moment of death within the interval, and however it dies.
        for rtt in [ms(2), ms(80), ms(200)] {
            for died in (5000..6000).step_by(37).map(at) {
                for (took, error) in [(rtt, ProbeError::Refused), (ms(800), ProbeError::TimedOut)] {
                    let mut health = up(rtt);
                    let changes = drive(&mut health, at(5000), at(10_000), &mut |now| {
                        if now < died { (rtt, Ok(())) } else { (took, Err(error)) }
                    });
                    let (found, _) = changes.iter().find(|(_, change)| change.to == HealthState::Down).unwrap();
                    let bound = ProbeOptions::default().detection_bound(rtt);
                    assert!(*found - died <= bound, "{error} after {:?}, bound {bound:?}", *found - died);
                    assert!(bound <= ms(3000));
                }
            }
        }
    }

    #[test]
    fn thirty_percent_random_loss_does_not_flap_in_a_day() {
        for seed in 0..3 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut health = up(ms(80));
            let mut sent = 0;
            let changes = drive(&mut health, at(5000), at(86_400_000), &mut |_| {
                sent += 1;
                if random.random_bool(0.3) { (ms(800), Err(ProbeError::TimedOut)) } else { (ms(80), Ok(())) }
            });
            assert!(changes.iter().all(|(_, change)| change.to.is_healthy()), "seed {seed}");
            assert!((100_000..250_000).contains(&sent), "losses are followed up, by few probes: {sent}");
        }
    }

    /// Mean probes until `k` in a row have failed, where each fails with probability `p`.
    fn probes_until_down(p: f64, k: i32) -> f64 {
        (1.0 - p.powi(k)) / ((1.0 - p) * p.powi(k))
    }

    /// Probes `interval` apart whatever their outcome, as the formulas suppose.
    fn plain(interval: Duration, k: u32) -> ProbeOptions {
        ProbeOptions { interval, retry_interval: interval, down_after: k, ..ProbeOptions::default() }
    }

    #[test]
    fn a_lossy_probe_raises_a_false_alarm_as_often_as_the_formula_says() {
        assert!((probes_until_down(0.9, 3) - 3.717).abs() < 0.001);
        let days = probes_until_down(0.01, 3) * 10.0 / 86_400.0;
        assert!((days - 116.9).abs() < 0.05, "{days}");
        for (p, runs) in [(0.9, 4000u64), (0.3, 2000), (0.1, 400)] {
            let mut probes = 0u64;
            for seed in 0..runs {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let mut health = Health::new(Instant::ZERO, plain(ms(10_000), 3));
                let first = health.poll_probe(Instant::ZERO).unwrap();
                health.handle_success(Instant::ZERO, first, ms(1));
                while health.state() != HealthState::Down {
                    let now = health.poll_timeout();
                    let probe = health.poll_probe(now).unwrap();
                    probes += 1;
                    match random.random_bool(p) {
                        true => health.handle_failure(now, probe, ProbeError::Refused),
                        false => health.handle_success(now, probe, ms(1)),
                    };
                }
            }
            let (mean, expected) = (probes as f64 / runs as f64, probes_until_down(p, 3));
            // The count is nearly geometric: its deviation is about its mean. Four standard errors.
            assert!((mean - expected).abs() < 4.0 * expected / (runs as f64).sqrt(), "p {p}: {mean} for {expected}");
        }
    }

    #[test]
    fn a_hard_death_is_found_after_the_time_that_the_formula_says() {
        let (interval, took, k) = (ms(1000), ms(30), 3);
        let mut sum = Duration::ZERO;
        let phases: Vec<Instant> = (5000..6000).step_by(10).map(at).collect();
        for &died in &phases {
            let mut health = Health::new(Instant::ZERO, plain(interval, k));
            drive(&mut health, Instant::ZERO, at(4900), &mut |_| (ms(5), Ok(())));
            let changes = drive(&mut health, at(4900), at(20_000), &mut |now| {
                if now < died { (ms(5), Ok(())) } else { (took, Err(ProbeError::Refused)) }
            });
            let (found, _) = changes.iter().find(|(_, change)| change.to == HealthState::Down).unwrap();
            sum += *found - died;
        }
        let mean = sum / phases.len() as u32;
        // The phase is uniform: (k - 1/2) I, and the time until the last failure is known.
        let expected = interval.mul_f64(f64::from(k) - 0.5) + took;
        assert!(mean.abs_diff(expected) <= ms(10), "{mean:?} for {expected:?}");
    }

    #[test]
    fn a_phase_moves_all_probes_after_the_first() {
        for (phase, expected) in [(250, [0, 250, 1250, 2250]), (1000, [0, 1000, 2000, 3000])] {
            let mut health = Health::new(Instant::ZERO, ProbeOptions::default()).with_phase(ms(phase));
            let mut probed = vec![];
            drive(&mut health, Instant::ZERO, at(3100), &mut |now| {
                probed.push(now);
                (Duration::ZERO, Ok(()))
            });
            assert_eq!(probed, expected.map(at), "{phase} ms");
        }
    }

    #[test]
    fn thirty_percent_random_refusals_do_not_flap() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut health = up(ms(80));
        let changes = drive(&mut health, at(5000), at(3_600_000), &mut |_| {
            if random.random_bool(0.3) { (ms(80), Err(ProbeError::Refused)) } else { (ms(80), Ok(())) }
        });
        assert!(changes.len() > 100 && changes.iter().all(|(_, change)| change.to.is_healthy()));
    }

    #[test]
    fn an_edge_comes_back_after_up_after_successes() {
        let mut health = up(ms(10));
        drive(&mut health, at(5000), at(9000), &mut |_| (ms(10), Err(ProbeError::Refused)));
        assert_eq!(health.state(), HealthState::Down);
        assert_eq!(health.last_error().unwrap().1, ProbeError::Refused);
        let changes = drive(&mut health, at(9000), at(12_000), &mut |_| (ms(10), Ok(())));
        assert_eq!(changes.len(), 1);
        assert!(changes[0].0 <= at(10_300), "{changes:?}");
    }

    #[test]
    fn one_lucky_probe_does_not_bring_an_edge_back() {
        let mut health = up(ms(10));
        drive(&mut health, at(5000), at(9000), &mut |_| (ms(10), Err(ProbeError::Refused)));
        let mut sent = 0;
        let changes = drive(&mut health, at(9000), at(20_000), &mut |_| {
            sent += 1;
            if sent % 2 == 0 { (ms(10), Ok(())) } else { (ms(10), Err(ProbeError::Refused)) }
        });
        assert_eq!(changes, []);
    }

    #[test]
    fn a_path_that_becomes_slower_is_learned_and_not_called_death() {
        let mut health = up(ms(20));
        let changes = drive(&mut health, at(5000), at(60_000), &mut |_| (ms(600), Ok(())));
        assert_eq!(changes, []);
        assert!(health.rtt().unwrap() > ms(500));
    }

    #[test]
    fn a_closed_connection_makes_the_next_probe_due_at_once() {
        let mut health = up(ms(20));
        assert!(health.poll_timeout() > at(5000));
        health.handle_connection_lost(at(5000));
        assert!(health.poll_timeout() <= at(5000));
    }

    #[test]
    fn an_edge_that_says_it_is_draining_is_down_at_once_and_comes_back_as_others_do() {
        let mut health = up(ms(20));
        let changes = drive(&mut health, at(5000), at(9000), &mut |_| (ms(20), Err(ProbeError::Draining)));
        assert_eq!(changes[0].1, Change { from: HealthState::Up, to: HealthState::Down });
        assert!(changes[0].0 <= at(6020) && changes.len() == 1, "{changes:?}");
        let changes = drive(&mut health, at(9000), at(12_000), &mut |_| (ms(20), Ok(())));
        assert_eq!(changes.last().unwrap().1.to, HealthState::Up);
    }

    #[test]
    fn an_early_probe_that_fails_late_does_not_count_against_a_later_success() {
        let mut health = up(ms(20));
        let first = health.poll_probe(at(7000)).unwrap();
        let second = health.poll_probe(at(8000)).unwrap();
        health.handle_success(at(8020), second, ms(20));
        assert_eq!(health.handle_failure(at(8030), first, ProbeError::TimedOut), None);
        assert_eq!((health.state(), health.failures()), (HealthState::Up, 0));
    }

    #[test]
    fn probes_that_are_never_reported_do_not_pile_up() {
        let mut health = Health::new(Instant::ZERO, ProbeOptions::default());
        let sent = (0..10_000).filter(|&ms| health.poll_probe(at(ms * 100)).is_some()).count();
        assert!(sent < 50, "{sent}");
    }
}
