//! Retries against a server that does not know who has given up: where a short cut becomes an outage without end (Bronson
//! et al. 2021).
//!
//! Clients send first requests at a steady rate and wait for a timeout; then they send again, at once or after a pause.
//! The server serves all that reached it in their order, also what nobody waits for any more. What is sent in the cut
//! reaches the server at its end, and so does what the server answers meanwhile. Whether a client sends again is decided
//! by [`RetryBudget`], which is that of every load.

use std::{collections::VecDeque, time::Duration};

use cdn_core::Instant;
use rand::distr::Distribution;
use world::{chance::Exp1, scenario::Retry, stream, workload::RetryBudget};

use crate::queue::EventQueue;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct RetryStudy {
    /// First requests per second (Poisson).
    pub load_rps: f64,
    /// Requests per second that the server can serve (exponential times).
    pub service_rps: f64,
    /// What clients do about failures.
    pub retry: Retry,
    /// Requests that may be at the server; one more is refused, which costs nothing. No limit without it.
    pub queue_max: Option<usize>,
    /// Before the cut.
    pub warmup: Duration,
    /// How long nothing gets through.
    pub cut: Duration,
    /// After the cut.
    pub span: Duration,
    /// The run.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// First requests.
    pub first: u64,
    /// Requests, first ones and others.
    pub attempts: u64,
    /// First requests of the last tenth of the time after the cut.
    pub late: u64,
    /// Those of them that got an answer in time, or one of whose retries did.
    pub late_answered: u64,
}

/// Who answers so many of the last requests has recovered.
const RECOVERED: f64 = 0.99;

impl Retried {
    /// Whether at the end nearly all requests are answered.
    pub fn has_recovered(&self) -> bool {
        self.late_answered as f64 >= RECOVERED * self.late as f64
    }
}

impl RetryStudy {
    /// The load below which what clients send fits into what the server serves, although every request fails: each first
    /// request comes with all its retries, or with as many as the budget allows. With a limit of the queue there is no such
    /// load, since what is taken in is answered in time.
    pub fn critical_rps(&self) -> Option<f64> {
        let retries = f64::from(self.retry.attempts.saturating_sub(1));
        let retries = self.retry.budget.map_or(retries, |share| retries.min(share));
        self.queue_max.is_none().then(|| self.service_rps / (1.0 + retries))
    }

    /// The highest load that recovers, to `step_rps`, up to what the server can serve; zero where none does. A load above
    /// one that does not recover is taken not to do so either.
    pub fn highest_recovering(&self, step_rps: f64) -> f64 {
        let recovers = |steps: u64| {
            let load_rps = steps as f64 * step_rps;
            play(&Self { load_rps, ..*self }).has_recovered()
        };
        let (mut low, mut high) = (0, (self.service_rps / step_rps).floor() as u64 + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if recovers(middle) { low = middle } else { high = middle }
        }
        low as f64 * step_rps
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A client sends a request for the first time.
    First,
    /// A client sends one again.
    Again(Request),
    /// A client knows that its request failed.
    Failed(Request),
}

#[derive(Clone, Copy, Debug)]
struct Request {
    /// How often it was sent.
    attempts: u8,
    /// The first time was in the last tenth.
    is_late: bool,
}

/// Plays a run.
pub fn play(study: &RetryStudy) -> Retried {
    let cut_at = Instant::ZERO + study.warmup;
    let cut_end = cut_at + study.cut;
    let late_at = cut_end + study.span.mul_f64(0.9);
    let over = cut_end + study.span;
    // What crosses in the cut arrives at its end.
    let crossed = |at: Instant| if at >= cut_at && at < cut_end { cut_end } else { at };

    let mut arrivals = stream(study.seed, &["retries", "arrivals"]);
    let mut services = stream(study.seed, &["retries", "services"]);
    let mut exponential = move |mean_s: f64, of_service: bool| {
        let rng = if of_service { &mut services } else { &mut arrivals };
        let drawn: f64 = Exp1.sample(rng);
        Duration::from_secs_f64(drawn * mean_s)
    };
    let (gap_s, service_s) = (1.0 / study.load_rps, 1.0 / study.service_rps);

    let mut budget = RetryBudget::new(study.retry);
    let mut events = EventQueue::new();
    // When the requests at the server leave it, in their order.
    let mut leaving: VecDeque<Instant> = VecDeque::new();
    let mut retried = Retried::default();
    events.push(Instant::ZERO, Event::First);
    while let Some((now, event)) = events.pop() {
        let request = match event {
            Event::First if now >= over => continue,
            Event::First => {
                budget.handle_first();
                let is_late = now >= late_at;
                retried.first += 1;
                retried.late += u64::from(is_late);
                events.push(now + exponential(gap_s, false), Event::First);
                Request { attempts: 1, is_late }
            }
            Event::Again(request) => request,
            Event::Failed(request) => {
                if let Some(pause) = budget.poll_retry(request.attempts) {
                    let again = Request { attempts: request.attempts + 1, ..request };
                    events.push(now + pause, Event::Again(again));
                }
                continue;
            }
        };
        retried.attempts += 1;
        let arrives = crossed(now);
        let timeout = now + study.retry.timeout;
        while leaving.front().is_some_and(|at| *at <= arrives) {
            leaving.pop_front();
        }
        if study.queue_max.is_some_and(|most| leaving.len() >= most) {
            events.push(crossed(arrives).min(timeout), Event::Failed(request));
            continue;
        }
        let begins = leaving.back().copied().unwrap_or(arrives);
        let leaves = begins + exponential(service_s, true);
        leaving.push_back(leaves);
        if crossed(leaves) <= timeout {
            retried.late_answered += u64::from(request.is_late);
        } else {
            events.push(timeout, Event::Failed(request));
        }
    }
    retried
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(retries: u8) -> RetryStudy {
        RetryStudy {
            load_rps: 0.0,
            service_rps: 60.0,
            retry: Retry {
                attempts: 1 + retries,
                backoff: Duration::ZERO,
                budget: None,
                timeout: Duration::from_secs(1),
            },
            queue_max: None,
            warmup: Duration::from_secs(30),
            cut: Duration::from_secs(10),
            span: Duration::from_secs(2000),
            seed: 1,
        }
    }

    #[test]
    fn a_server_recovers_below_what_it_serves_by_how_often_each_request_is_sent() {
        for retries in 1..=3 {
            let study = study(retries);
            let critical = study.critical_rps().unwrap();
            assert!((critical - 60.0 / f64::from(1 + retries)).abs() < 1e-12);
            let highest = study.highest_recovering(1.0);
            // At the line itself the backlog walks at random, and may be gone within the time.
            assert!((critical - 4.0..critical + 1.5).contains(&highest), "{retries}: {highest} and not {critical}");
        }
        // A budget of a tenth: 60 / 1.1.
        let budget = RetryStudy { retry: Retry { budget: Some(0.1), ..study(3).retry }, ..study(3) };
        let highest = budget.highest_recovering(1.0);
        assert!((48.0..=55.0).contains(&highest), "{highest}");
    }

    #[test]
    fn without_a_cut_a_load_far_above_the_line_is_answered_and_after_one_it_is_not() {
        let study = RetryStudy { load_rps: 40.0, ..study(1) };
        assert!(play(&RetryStudy { cut: Duration::ZERO, ..study }).has_recovered());
        let retried = play(&study);
        assert!(!retried.has_recovered() && retried.late_answered * 10 < retried.late, "{retried:?}");
        // All are sent twice, but for those before the cut.
        assert!(retried.attempts as f64 > 1.9 * retried.first as f64, "{retried:?}");
        // A server that refuses what it cannot serve in time is back at once.
        assert!(play(&RetryStudy { queue_max: Some(30), ..study }).has_recovered());
    }
}
