//! Prequal (Wydrowski, Kleinberg, Rumble and Archer 2024): a client keeps a pool of answers to probes, and sends a query to
//! a server that is not hot and answers soon.
//!
//! Hot is who has more in flight than most servers that were probed lately; among those who are not, the one with the least
//! latency is chosen, and where all are hot, the one with least in flight. An answer grows old, is used a few times only,
//! and counts each query that was sent on its word, so that nobody is overrun for having been idle a moment ago.

use std::{collections::VecDeque, time::Duration};

use cdn_core::Instant;
use rand::{RngExt as _, seq::index};
use rand_chacha::ChaCha8Rng;

use super::{policies::Balancer, server::Vitals};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrequalOptions {
    /// Answers that are kept. Default 16.
    pub pool_max: usize,
    /// Probes per query, each to another server. Default 3.
    pub probes: usize,
    /// For how long an answer is used. Default 1 s.
    pub age_max: Duration,
    /// Hot is who has more in flight than this share of the servers that were probed. Default 0.84.
    pub hot_quantile: f64,
    /// Answers that are removed per query, the oldest and the worst in turn. Default 1.
    pub removals: usize,
    /// Answers that come in beyond those that go, as a share of the pool's use (delta). Default 1.
    pub surplus: f64,
}

impl Default for PrequalOptions {
    fn default() -> Self {
        Self { pool_max: 16, probes: 3, age_max: Duration::from_secs(1), hot_quantile: 0.84, removals: 1, surplus: 1.0 }
    }
}

impl PrequalOptions {
    /// How often an answer is used in the mean: so often that the pool neither runs dry nor holds what is worn out,
    /// (1 + delta) / ((1 - pool / servers) probes - removals), once at least.
    fn uses(&self, servers: usize) -> f64 {
        let kept = 1.0 - self.pool_max as f64 / servers.max(1) as f64;
        let left = kept * self.probes as f64 - self.removals as f64;
        // Where the pool holds everybody nothing new comes in, and an answer is used until it is old.
        if left > 0.0 { ((1.0 + self.surplus) / left).max(1.0) } else { f64::from(u16::MAX) }
    }
}

/// With fewer answers than this a server is drawn.
const ANSWERS_MIN: usize = 2;
/// Answers by which it is judged what many in flight are.
const SEEN: usize = 128;

/// An answer in the pool.
#[derive(Clone, Copy, Debug)]
struct Answer {
    server: usize,
    /// In flight there: what it said, and what was sent since.
    in_flight: u32,
    latency: Duration,
    at: Instant,
    uses_left: u32,
}

/// A client.
#[derive(Debug)]
pub(super) struct Prequal {
    options: PrequalOptions,
    servers: usize,
    uses: f64,
    /// Oldest first.
    pool: VecDeque<Answer>,
    /// What the last answers said is in flight, in order of time and of size.
    seen: VecDeque<u32>,
    sorted: Vec<u32>,
    /// The next to be removed is the oldest.
    oldest_next: bool,
}

impl Prequal {
    pub(super) fn new(options: PrequalOptions, servers: usize) -> Self {
        Self {
            options,
            servers,
            uses: options.uses(servers),
            pool: VecDeque::new(),
            seen: VecDeque::new(),
            sorted: Vec::new(),
            oldest_next: true,
        }
    }

    /// More in flight than this is hot.
    fn limit(&self) -> u32 {
        let last = self.sorted.len().saturating_sub(1);
        let at = (self.options.hot_quantile * last as f64).round() as usize;
        self.sorted.get(at.min(last)).copied().unwrap_or(u32::MAX)
    }

    /// The order of answers, best first: who is not hot by latency, then the hot by what is in flight.
    const fn rank(answer: &Answer, limit: u32) -> (bool, u32, Duration) {
        if answer.in_flight <= limit { (false, 0, answer.latency) } else { (true, answer.in_flight, Duration::ZERO) }
    }

    fn best(&self) -> Option<usize> {
        let limit = self.limit();
        (0..).zip(&self.pool).min_by_key(|(_, answer)| Self::rank(answer, limit)).map(|(at, _)| at)
    }

    fn worst(&self) -> Option<usize> {
        let limit = self.limit();
        (0..).zip(&self.pool).max_by_key(|(_, answer)| Self::rank(answer, limit)).map(|(at, _)| at)
    }

    fn remove_one(&mut self) {
        let oldest_next = self.oldest_next;
        self.oldest_next = !oldest_next;
        let at = if oldest_next { Some(0) } else { self.worst() };
        if let Some(at) = at {
            self.pool.remove(at);
        }
    }
}

impl Balancer for Prequal {
    fn choose(&mut self, now: Instant, in_flight: &[u32], rng: &mut ChaCha8Rng) -> usize {
        let age_max = self.options.age_max;
        while self.pool.front().is_some_and(|answer| now.saturating_since(answer.at) > age_max) {
            self.pool.pop_front();
        }
        let best = self.best().filter(|_| self.pool.len() >= ANSWERS_MIN);
        let chosen = match best.and_then(|at| self.pool.get_mut(at).map(|answer| (at, answer))) {
            Some((at, answer)) => {
                answer.in_flight += 1;
                answer.uses_left -= 1;
                let server = answer.server;
                if answer.uses_left == 0 {
                    self.pool.remove(at);
                }
                server
            }
            None => rng.random_range(0..in_flight.len()),
        };
        (0..self.options.removals).for_each(|_| self.remove_one());
        chosen
    }

    fn poll_probes(&mut self, rng: &mut ChaCha8Rng, servers: &mut Vec<usize>) {
        servers.extend(index::sample(rng, self.servers, self.options.probes.min(self.servers)));
    }

    fn on_answer(&mut self, now: Instant, server: usize, vitals: Vitals, rng: &mut ChaCha8Rng) {
        let Vitals { in_flight, latency } = vitals;
        if self.seen.len() == SEEN
            && let Some(gone) = self.seen.pop_front()
        {
            self.sorted.remove(self.sorted.partition_point(|seen| *seen < gone));
        }
        self.seen.push_back(in_flight);
        self.sorted.insert(self.sorted.partition_point(|seen| *seen < in_flight), in_flight);

        // What is known of a server is what it said last.
        if let Some(at) = self.pool.iter().position(|answer| answer.server == server) {
            self.pool.remove(at);
        }
        if self.pool.len() >= self.options.pool_max {
            self.pool.pop_front();
        }
        let (whole, part) = (self.uses.floor(), self.uses.fract());
        let uses_left = whole as u32 + u32::from(rng.random::<f64>() < part);
        self.pool.push_back(Answer { server, in_flight, latency, at: now, uses_left });
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// A client that has heard this of servers 0, 1, 2, ...: in flight, and milliseconds.
    fn client(options: PrequalOptions, said: &[(u32, u64)]) -> (Prequal, ChaCha8Rng) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut client = Prequal::new(options, 100);
        for (server, &(in_flight, ms)) in said.iter().enumerate() {
            client.on_answer(Instant::ZERO, server, Vitals { in_flight, latency: Duration::from_millis(ms) }, &mut rng);
        }
        (client, rng)
    }

    const KEEPS: PrequalOptions = PrequalOptions {
        pool_max: 16,
        probes: 3,
        age_max: Duration::from_secs(1),
        hot_quantile: 0.5,
        removals: 0,
        surplus: 100.0,
    };

    #[test]
    fn the_cold_one_that_answers_soonest_is_chosen_and_where_all_are_hot_the_one_with_least() {
        // Half have two or fewer in flight. The third answers soonest, and is hot.
        let (mut pool, mut rng) = client(KEEPS, &[(1, 50), (2, 20), (9, 5), (1, 30), (8, 1)]);
        assert_eq!(pool.choose(Instant::ZERO, &[0; 100], &mut rng), 1);
        // What was sent there has made it hot, so the next is the next soonest.
        assert_eq!(pool.choose(Instant::ZERO, &[0; 100], &mut rng), 3);
        let (mut pool, mut rng) = client(KEEPS, &[(5, 1), (3, 9), (4, 5)]);
        pool.sorted.fill(0);
        assert_eq!(pool.choose(Instant::ZERO, &[0; 100], &mut rng), 1);
    }

    #[test]
    fn answers_grow_old_wear_out_and_go_one_by_one() {
        let said = [(1, 10), (1, 20), (1, 30)];
        let (mut pool, mut rng) = client(KEEPS, &said);
        pool.choose(Instant::ZERO + Duration::from_millis(1001), &[0; 100], &mut rng);
        assert!(pool.pool.is_empty());

        // Used once each, and nothing else is removed.
        let once = PrequalOptions { surplus: 0.0, ..KEEPS };
        let (mut pool, mut rng) = client(once, &said);
        assert_eq!(pool.choose(Instant::ZERO, &[0; 100], &mut rng), 0);
        assert_eq!(pool.pool.len(), 2);

        // The oldest goes, then the worst.
        let (mut pool, _) = client(KEEPS, &[(1, 10), (1, 90), (1, 20), (1, 30)]);
        pool.remove_one();
        pool.remove_one();
        assert_eq!(pool.pool.iter().map(|answer| answer.server).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn an_answer_is_used_as_often_as_the_paper_says() {
        // (1 + 1) / ((1 - 16/100) 3 - 1)
        assert!((PrequalOptions::default().uses(100) - 2.0 / 1.52).abs() < 1e-12);
        let (mut pool, mut rng) = client(PrequalOptions::default(), &[]);
        let mut probed = Vec::new();
        pool.poll_probes(&mut rng, &mut probed);
        probed.sort_unstable();
        probed.dedup();
        assert_eq!(probed.len(), 3);
    }
}
