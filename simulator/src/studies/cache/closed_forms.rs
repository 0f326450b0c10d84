//! What closed forms say of caches under requests that come by popularity alone.

use std::collections::VecDeque;

use cdn_core::{
    eviction::EvictionPolicy,
    math,
    store::admission::by_size::{self, Demand, Threshold, found, full_at},
};

use super::{Admitting, Asked, CacheStudy, Sizes, Trace};

/// The hit ratios that are expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Of each edge.
    pub edge: f64,
    /// Of the shield, where there is one and a form for it.
    pub shield: Option<f64>,
}

/// What is expected of a study whose caches evict by this policy; none where no form is known. By size it is what the best
/// threshold would come to by the end of the warm-up if popularity were known.
pub fn expected(study: &CacheStudy, policy: EvictionPolicy, asked: &Asked) -> Option<Expected> {
    let sizes = asked.sizes(study.seed);
    let catalogue = sizes.iter().sum();
    let room = study.room.bytes(catalogue);
    let demand = asked.demand(&sizes);
    let is_of_one_size = match asked {
        Asked::Drawn { sizes, .. } => *sizes == Sizes::One,
        Asked::Recorded(trace) => return recorded(study, policy, trace, &demand, room),
    };
    if let Some(ttl) = study.ttl {
        // What a shield hands on has aged, and that has no form here.
        let is_plain =
            policy == EvictionPolicy::Lru && study.admitting == Admitting::EVERYBODY && study.shield.is_none();
        let there = is_plain.then(|| fresh(&demand, &found(&demand, room, Threshold::OPEN, f64::INFINITY), ttl as f64));
        return there.map(|there| Expected { edge: by_size::hit_ratio(&demand, &there), shield: None });
    }
    match (policy, study.admitting) {
        (EvictionPolicy::Lru, Admitting::BySize) => {
            Some(Expected { edge: Threshold::tuned(&demand, room, study.warmup as f64).1, shield: None })
        }
        (EvictionPolicy::Lru, Admitting::EVERYBODY) => {
            let there = found(&demand, room, Threshold::OPEN, f64::INFINITY);
            let shield = study.shield.map(|room| {
                let missed = |(of, there): (&Demand, &f64)| Demand { rate: of.rate * (1.0 - there), ..*of };
                let missed: Vec<Demand> = demand.iter().zip(&there).map(missed).collect();
                let there = found(&missed, room.bytes(catalogue), Threshold::OPEN, f64::INFINITY);
                by_size::hit_ratio(&missed, &there)
            });
            Some(Expected { edge: by_size::hit_ratio(&demand, &there), shield })
        }
        (EvictionPolicy::Fifo | EvictionPolicy::Random, Admitting::EVERYBODY) if is_of_one_size => {
            let shares: Vec<f64> = demand.iter().map(|of| of.rate).collect();
            let there = fifo(&shares, room);
            let shield = study.shield.map(|room| {
                let missed = filtered(&shares, &there);
                hit_ratio(&missed, &fifo(&missed, room.bytes(catalogue)))
            });
            Some(Expected { edge: hit_ratio(&shares, &there), shield })
        }
        _ => None,
    }
}

/// What the popularity in a trace alone lets one expect of LRU, as if its requests came in any order: an edge misses what it has
/// never been asked for, and the rest as often as Che's approximation says. What edges let through to a shield, and what is
/// still fresh, hang on the order.
fn recorded(
    study: &CacheStudy,
    policy: EvictionPolicy,
    trace: &Trace,
    demand: &[Demand],
    room: u64,
) -> Option<Expected> {
    if policy != EvictionPolicy::Lru || study.admitting != Admitting::EVERYBODY || study.ttl.is_some() {
        return None;
    }
    let there = found(demand, room, Threshold::OPEN, f64::INFINITY);
    let (repeats, counted) = trace.repeats(study);
    let hits: f64 = repeats.iter().zip(&there).map(|(repeats, there)| repeats * there).sum();
    Some(Expected { edge: hits / counted.max(1.0), shield: None })
}

/// The share of the requests for each object that find it fresh, where `there` says which find it in an LRU cache of Che's.
///
/// A cycle begins with a fetch and ends when the object is stale at the age `ttl`, or nobody asks for it for as long as it
/// takes to leave, t. The requests that are answered until then are m(ttl) in the mean: while `ttl` is at most t all that
/// come, m = r ttl at a rate r; beyond it `m'(x) = r (1 - e^(-rt) (1 + m(x - t)))`: requests come at the rate r, and the
/// object has left at the age x if any of the 1 + m(x - t) requests until x - t was followed by t without one. Of all requests
/// m / (1 + m) are answered then.
fn fresh(demand: &[Demand], there: &[f64], ttl: f64) -> Vec<f64> {
    // The least popular object says most exactly what t is: infinite, where all of them fit.
    let rarest = demand.iter().zip(there).filter(|(of, there)| of.rate > 0.0 && **there > 0.0);
    let rarest = rarest.min_by(|a, b| a.0.rate.total_cmp(&b.0.rate));
    let t = rarest.map_or(f64::INFINITY, |(of, there)| -math::ln_1p(-there) / of.rate);
    let answered = |m: f64| m / (1.0 + m);
    if ttl <= t {
        return demand
            .iter()
            .zip(there)
            .map(|(of, there)| if *there > 0.0 { answered(of.rate * ttl) } else { 0.0 })
            .collect();
    }
    // All objects' answers lie on one curve over r t, which is smooth: some points of it do.
    let largest = demand.iter().map(|of| of.rate * t).fold(0.0, f64::max);
    let least = demand.iter().map(|of| of.rate * t).fold(largest, f64::min).max(1e-12);
    let step = math::ln(largest / least).max(1e-9) / f64::from(POINTS);
    let curve: Vec<f64> =
        (0..=POINTS).map(|nth| answered(answered_within(math::exp(f64::from(nth) * step) * least, ttl / t))).collect();
    let on_curve = |(of, there): (&Demand, &f64)| {
        let at = (math::ln(of.rate * t / least) / step).clamp(0.0, f64::from(POINTS));
        let (from, part) = (at.floor(), at.fract());
        let point = |nth: f64| curve.get(nth as usize).copied().unwrap_or_default();
        if *there > 0.0 { point(from) * (1.0 - part) + point((from + 1.0).min(f64::from(POINTS))) * part } else { 0.0 }
    };
    demand.iter().zip(there).map(on_curve).collect()
}

/// Points of a curve between which it is taken for straight.
const POINTS: u32 = 400;
/// Steps in which one t is passed: the trapezoidal rule.
const STEPS: usize = 64;
/// Beyond so many times t a TTL is taken for this many: who stays that long is asked for all the time.
const TIMES_MAX: f64 = 2000.0;

/// m of [`fresh`], for an object with this r t, at a TTL of so many t, one or more.
fn answered_within(rt: f64, times: f64) -> f64 {
    let (left, step) = (math::exp(-rt), 1.0 / STEPS as f64);
    // Of the last t, the oldest first.
    let mut last: VecDeque<f64> = (0..=STEPS).map(|nth| rt * step * nth as f64).collect();
    for _ in 0..((times.min(TIMES_MAX) - 1.0) / step).round() as usize {
        let before = last.pop_front().unwrap_or_default();
        let (then, now) = (last.front().copied().unwrap_or_default(), last.back().copied().unwrap_or_default());
        last.push_back(now + rt * step * (1.0 - left * (1.0 + f64::midpoint(before, then))));
    }
    last.back().copied().unwrap_or_default()
}

/// The probability that each object is in an LRU cache with room for `room` of them (Che, Tung and Wang 2002): it is there
/// while its last request is less than t ago, and t is such that the cache is full.
pub fn che(shares: &[f64], room: u64) -> Vec<f64> {
    let demand: Vec<Demand> = shares.iter().map(|&rate| Demand { rate, bytes: 1 }).collect();
    found(&demand, room, Threshold::OPEN, f64::INFINITY)
}

/// The same for FIFO and RANDOM (Martina, Garetto and Leonardi 2014): an object stays for t from its arrival, however
/// often it is asked for.
pub fn fifo(shares: &[f64], room: u64) -> Vec<f64> {
    let there = |t: f64| move |share: &f64| share * t / (1.0 + share * t);
    let t = full_at(room as f64, |t| shares.iter().map(there(t)).sum());
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

#[cfg(test)]
mod tests {
    use world::workload::Zipf;

    use super::*;

    #[test]
    fn closed_forms_fill_the_cache_and_lru_is_the_better_one() {
        let shares: Vec<f64> = Zipf::new(10_000, 0.9).shares().collect();
        for room in [10, 100, 1000] {
            let (lru, fifo) = (che(&shares, room), fifo(&shares, room));
            assert!((lru.iter().sum::<f64>() - room as f64).abs() < 1e-6 * room as f64);
            assert!((fifo.iter().sum::<f64>() - room as f64).abs() < 1e-6 * room as f64);
            assert!(hit_ratio(&shares, &lru) > hit_ratio(&shares, &fifo));
        }
        // Everything fits.
        assert!(hit_ratio(&shares, &che(&shares, 10_000)) > 0.999);
    }

    #[test]
    fn a_ttl_that_never_ends_is_che_s_and_in_a_cache_that_holds_all_it_is_r_ttl_over_one_and_that() {
        let demand: Vec<Demand> = Zipf::new(500, 0.9).shares().map(|rate| Demand { rate, bytes: 1 }).collect();
        let there = found(&demand, 50, Threshold::OPEN, f64::INFINITY);
        let for_ever = fresh(&demand, &there, 1e6);
        let hits = |there: &[f64]| by_size::hit_ratio(&demand, there);
        assert!((hits(&for_ever) - hits(&there)).abs() < 1e-3, "{} {}", hits(&for_ever), hits(&there));
        let all = found(&demand, 500, Threshold::OPEN, f64::INFINITY);
        let expected: f64 = demand.iter().map(|of| of.rate * of.rate * 100.0 / (1.0 + of.rate * 100.0)).sum();
        assert!((hits(&fresh(&demand, &all, 100.0)) - expected).abs() < 1e-9);
    }
}
