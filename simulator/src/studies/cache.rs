//! Caches under requests that come by popularity alone (the independent reference model), and the closed forms beside.
//!
//! All objects are of one byte, so that room is a number of objects. Edges share the requests by chance; what they miss is
//! asked of a shield, where there is one.

use rand::RngExt as _;
use world::{stream, workload::Zipf};

use crate::replay::Replay;

/// A tier of caches in front of another, or of the origin.
#[derive(Clone, Copy, Debug)]
pub struct CacheStudy {
    /// How many edges there are, at least one.
    pub edges: u32,
    /// Objects that fit into each.
    pub room: u64,
    /// Objects that fit into the shield; none without one.
    pub shield: Option<u64>,
    /// Requests before any is counted.
    pub warmup: u64,
    /// Requests that are counted.
    pub requests: u64,
    /// The run.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    /// Requests of viewers.
    pub requests: u64,
    /// Those that edges missed.
    pub edge_misses: u64,
    /// Those that the origin was asked for.
    pub origin: u64,
}

impl Cached {
    /// The share of requests that edges missed.
    pub fn edge_miss_ratio(&self) -> f64 {
        self.edge_misses as f64 / self.requests.max(1) as f64
    }

    /// The share of what edges missed that the shield had.
    pub fn shield_hit_ratio(&self) -> f64 {
        1.0 - self.origin as f64 / self.edge_misses.max(1) as f64
    }
}

/// Plays requests of `zipf` through the caches of a study, each of which `begin` makes with so much room.
pub fn play(study: &CacheStudy, zipf: &Zipf, begin: impl Fn(u64) -> Box<dyn Replay>) -> Cached {
    let mut rng = stream(study.seed, &["cache study"]);
    let count = study.edges.max(1) as usize;
    let mut edges: Vec<Box<dyn Replay>> = (0..count).map(|_| begin(study.room)).collect();
    let mut shield = study.shield.map(&begin);
    let mut cached = Cached::default();
    for nth in 0..study.warmup + study.requests {
        let object = u64::from(zipf.draw(&mut rng));
        let edge = if count == 1 { 0 } else { rng.random_range(0..count) };
        let hit = edges.get_mut(edge).is_some_and(|edge| edge.request(object, 1));
        let passed = !hit && shield.as_mut().is_none_or(|shield| !shield.request(object, 1));
        if nth >= study.warmup {
            cached.requests += 1;
            cached.edge_misses += u64::from(!hit);
            cached.origin += u64::from(passed);
        }
    }
    cached
}

/// The probability that each object is in an LRU cache with room for `room` of them (Che, Tung and Wang 2002): it is there
/// while its last request is less than t ago, and t is such that the cache is full.
pub fn che(shares: &[f64], room: f64) -> Vec<f64> {
    let there = |t: f64| move |share: &f64| -(-share * t).exp_m1();
    let t = solve(room, |t| shares.iter().map(there(t)).sum());
    shares.iter().map(there(t)).collect()
}

/// The same for FIFO and RANDOM (Martina, Garetto and Leonardi 2014): an object stays for t from its arrival, however
/// often it is asked for.
pub fn fifo(shares: &[f64], room: f64) -> Vec<f64> {
    let there = |t: f64| move |share: &f64| share * t / (1.0 + share * t);
    let t = solve(room, |t| shares.iter().map(there(t)).sum());
    shares.iter().map(there(t)).collect()
}

/// The hit ratio of requests by popularity, where each object is there with its probability.
pub fn hit_ratio(shares: &[f64], there: &[f64]) -> f64 {
    shares.iter().zip(there).map(|(share, there)| share * there).sum()
}

/// The popularity of what a cache lets through.
pub fn filtered(shares: &[f64], there: &[f64]) -> Vec<f64> {
    let missed = 1.0 - hit_ratio(shares, there);
    shares.iter().zip(there).map(|(share, there)| share * (1.0 - there) / missed.max(f64::MIN_POSITIVE)).collect()
}

/// Where an increasing function reaches `wanted`; the largest time there is where it never does.
fn solve(wanted: f64, of: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while of(high) < wanted && high < 1e15 {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if of(middle) < wanted { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use cdn_core::eviction::EvictionPolicy;

    use super::*;
    use crate::replay::replay;

    #[test]
    fn closed_forms_fill_the_cache_and_lru_is_the_better_one() {
        let shares: Vec<f64> = Zipf::new(10_000, 0.9).shares().collect();
        for room in [10.0, 100.0, 1000.0] {
            let (lru, fifo) = (che(&shares, room), fifo(&shares, room));
            assert!((lru.iter().sum::<f64>() - room).abs() < 1e-6 * room);
            assert!((fifo.iter().sum::<f64>() - room).abs() < 1e-6 * room);
            assert!(hit_ratio(&shares, &lru) > hit_ratio(&shares, &fifo));
        }
        // Everything fits.
        assert!(hit_ratio(&shares, &che(&shares, 10_000.0)) > 0.999);
    }

    #[test]
    fn what_a_shield_has_the_origin_is_not_asked_for() {
        let zipf = Zipf::new(1000, 0.8);
        let study = CacheStudy { edges: 4, room: 20, shield: Some(1000), warmup: 50_000, requests: 20_000, seed: 1 };
        let lru = |room| replay(EvictionPolicy::Lru, room);
        let with = play(&study, &zipf, lru);
        let without = play(&CacheStudy { shield: None, ..study }, &zipf, lru);
        assert_eq!(with.edge_misses, without.edge_misses);
        assert_eq!(without.origin, without.edge_misses);
        // The shield has room for all objects, and has seen nearly all.
        assert!(with.origin < 20, "{with:?}");
    }
}
