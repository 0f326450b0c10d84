//! Many servers, and requests that join the shortest of a few queues: the power of two choices (Mitzenmacher 2001).
//!
//! No world is around it: arrivals and service times are drawn by chance, with a mean service of one second, and what
//! comes out is how long a request is there. Choosing costs nothing and what is seen is true, which is the model's best case.

use std::{collections::VecDeque, time::Duration};

use cdn_core::Instant;
use rand::{RngExt as _, distr::Distribution as _};
use world::{chance::Exp1, stream};

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// Servers, each with a queue of its own. At least one.
    pub servers: usize,
    /// How many of them a request looks at. At least one, which is no choice.
    pub choices: usize,
    /// Requests per second and server, below one.
    pub load: f64,
    /// Requests that come before any is counted.
    pub warmup: u32,
    /// Requests that are counted.
    pub counted: u32,
    /// The run.
    pub seed: u64,
}

impl Choices {
    /// How long a request waits and is served, on average.
    pub fn mean_stay(&self) -> Duration {
        let mut rng = stream(self.seed, &["choices"]);
        let servers = self.servers.max(1);
        // When those who are at a server leave it, in their order.
        let mut queues: Vec<VecDeque<Instant>> = vec![VecDeque::new(); servers];
        let rate = self.load * servers as f64;
        let (mut now, mut stayed) = (Instant::ZERO, Duration::ZERO);
        for request in 0..self.warmup.saturating_add(self.counted) {
            let gap: f64 = Exp1.sample(&mut rng);
            now += Duration::from_secs_f64(gap / rate);
            let seen = (0..self.choices.max(1)).map(|_| rng.random_range(0..servers));
            let Some(shortest) = seen.min_by_key(|&server| here(&mut queues[server], now)) else { break };
            let service: f64 = Exp1.sample(&mut rng);
            let queue = &mut queues[shortest];
            let leaves = queue.back().copied().unwrap_or(now) + Duration::from_secs_f64(service);
            queue.push_back(leaves);
            if request >= self.warmup {
                stayed += leaves.saturating_since(now);
            }
        }
        stayed / self.counted.max(1)
    }
}

/// How many are at a server; those who have left are forgotten.
fn here(queue: &mut VecDeque<Instant>, now: Instant) -> usize {
    while queue.front().is_some_and(|&leaves| leaves <= now) {
        queue.pop_front();
    }
    queue.len()
}
