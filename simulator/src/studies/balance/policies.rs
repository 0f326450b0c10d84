//! Who gets a client's next query. Each client decides alone, from what it has seen itself, but where a policy asks servers.

use cdn_core::Instant;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::server::Vitals;

/// A client's way to choose among servers.
///
/// For each query the client asks [`poll_probes`](Self::poll_probes) and then [`choose`](Self::choose); answers to probes
/// and reports of servers come in between.
pub(super) trait Balancer {
    /// The server of the next query, by its position. `in_flight` is what this client has under way at each.
    fn choose(&mut self, now: Instant, in_flight: &[u32], rng: &mut ChaCha8Rng) -> usize;

    /// Adds the servers that are to be probed now.
    fn poll_probes(&mut self, _rng: &mut ChaCha8Rng, _servers: &mut Vec<usize>) {}

    /// A server has answered a probe.
    fn on_answer(&mut self, _now: Instant, _server: usize, _vitals: Vitals, _rng: &mut ChaCha8Rng) {}

    /// What servers report of themselves: how much each gets done for what it uses.
    fn on_weights(&mut self, _weights: &[f64]) {}
}

/// Any of them.
#[derive(Debug)]
pub(super) struct Random;

impl Balancer for Random {
    fn choose(&mut self, _now: Instant, in_flight: &[u32], rng: &mut ChaCha8Rng) -> usize {
        rng.random_range(0..in_flight.len())
    }
}

/// One after the other, each client from a place of its own.
#[derive(Debug)]
pub(super) struct RoundRobin {
    pub(super) next: usize,
}

impl Balancer for RoundRobin {
    fn choose(&mut self, _now: Instant, in_flight: &[u32], _rng: &mut ChaCha8Rng) -> usize {
        let at = self.next % in_flight.len();
        self.next = at + 1;
        at
    }
}

/// One after the other in proportion to weights, evenly interleaved: each turn every server earns its weight, and the one
/// with most pays the sum.
#[derive(Debug)]
pub(super) struct WeightedRoundRobin {
    weights: Vec<f64>,
    earned: Vec<f64>,
}

impl WeightedRoundRobin {
    /// All weigh the same, and each client is somewhere within its turns: what a server has earned is anything up to what one
    /// turn costs. With less between them whatever servers say first would order the turns of all clients alike, who would
    /// then come to the same servers at the same time.
    pub(super) fn new(servers: usize, rng: &mut ChaCha8Rng) -> Self {
        let cost = servers as f64;
        Self { weights: vec![1.0; servers], earned: (0..servers).map(|_| rng.random_range(0.0..cost)).collect() }
    }
}

impl Balancer for WeightedRoundRobin {
    fn choose(&mut self, _now: Instant, _in_flight: &[u32], _rng: &mut ChaCha8Rng) -> usize {
        let (mut best, mut most, mut sum) = (0, f64::NEG_INFINITY, 0.0);
        for (at, (earned, weight)) in self.earned.iter_mut().zip(&self.weights).enumerate() {
            *earned += weight;
            sum += weight;
            if *earned > most {
                (best, most) = (at, *earned);
            }
        }
        self.earned[best] -= sum;
        best
    }

    fn on_weights(&mut self, weights: &[f64]) {
        self.weights.copy_from_slice(weights);
    }
}

/// The one with least under way of so many, each of which is any of them (Mitzenmacher 2001); of equals the first drawn.
#[derive(Debug)]
pub(super) struct Choices {
    pub(super) d: u32,
}

impl Balancer for Choices {
    fn choose(&mut self, _now: Instant, in_flight: &[u32], rng: &mut ChaCha8Rng) -> usize {
        let mut best = rng.random_range(0..in_flight.len());
        for _ in 1..self.d {
            let other = rng.random_range(0..in_flight.len());
            if in_flight[other] < in_flight[best] {
                best = other;
            }
        }
        best
    }
}

/// The one with least under way of all; of equals any.
#[derive(Debug)]
pub(super) struct LeastLoaded;

impl Balancer for LeastLoaded {
    fn choose(&mut self, _now: Instant, in_flight: &[u32], rng: &mut ChaCha8Rng) -> usize {
        let least = in_flight.iter().min().copied().unwrap_or_default();
        let equals = in_flight.iter().filter(|count| **count == least).count();
        let nth = rng.random_range(0..equals.max(1));
        let mut all = in_flight.iter().enumerate().filter(|(_, count)| **count == least);
        all.nth(nth).map_or(0, |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn drawn(balancer: &mut dyn Balancer, in_flight: &[u32], times: usize) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = vec![0; in_flight.len()];
        for _ in 0..times {
            counts[balancer.choose(Instant::ZERO, in_flight, &mut rng)] += 1;
        }
        counts
    }

    #[test]
    fn turns_are_in_proportion_to_weights() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut weighted = WeightedRoundRobin::new(3, &mut rng);
        weighted.on_weights(&[1.0, 2.0, 5.0]);
        let counts = drawn(&mut weighted, &[0; 3], 800);
        assert!(counts.iter().zip([100, 200, 500]).all(|(got, wanted)| got.abs_diff(wanted) <= 1), "{counts:?}");
        assert_eq!(drawn(&mut RoundRobin { next: 2 }, &[0; 3], 9), [3, 3, 3]);
    }

    #[test]
    fn clients_do_not_begin_their_turns_with_the_same_servers() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let weights: Vec<f64> = (0..100).map(|server| if server == 0 { 1.05 } else { 1.0 }).collect();
        // The turn at which a server that weighs a little more comes first: any of a hundred.
        let turns = (0..500).map(|_| {
            let mut client = WeightedRoundRobin::new(100, &mut rng);
            client.on_weights(&weights);
            (0..100).position(|_| client.choose(Instant::ZERO, &[0; 100], &mut rng) == 0).unwrap()
        });
        let mean = turns.sum::<usize>() as f64 / 500.0;
        assert!((42.0..54.0).contains(&mean), "{mean}");
    }

    #[test]
    fn more_choices_avoid_the_busy_more_often_and_all_of_them_always() {
        let in_flight = [1, 0, 0, 0];
        // A busy server is chosen where every draw is it: 1/4, 1/16, 1/64.
        let busy = |d| drawn(&mut Choices { d }, &in_flight, 64_000)[0] as f64 / 64_000.0;
        for (d, share) in [(1, 0.25), (2, 0.0625), (3, 1.0 / 64.0)] {
            assert!((busy(d) - share).abs() < 0.005, "{d}: {}", busy(d));
        }
        let counts = drawn(&mut LeastLoaded, &in_flight, 3000);
        assert!(counts[0] == 0 && counts[1..].iter().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
    }
}
