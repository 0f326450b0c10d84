//! Admission by size: the small rather than the large (AdaptSize: Berger, Sitaraman and Harchol-Balter, NSDI 2017).
//!
//! What was missed is let in with the probability e^(-size/c). c follows the requests: after each window of them the hit
//! ratio that the paper's Markov chain promises for what was asked for lately is maximized over c. The chain is that of an
//! LRU cache, where an object that is there leaves when nobody asks for it for a time t, the same for all, which is such
//! that the cache is full. An object that is asked for at a rate r and let in with probability a is then found by
//! `a (e^(rt) - 1) / (1 + a (e^(rt) - 1))` of its requests, and that is also how likely it is there. With a = 1 this is
//! Che's approximation (Che, Tung and Wang 2002).
//!
//! That is what it comes to in the end. An object that is hardly ever let in, but once there would stay, may not come within
//! any time that matters, and a threshold that lives on such objects is worth nothing: so nothing counts as found more often
//! than it has been let in once, with a chance of `1 - e^(-arh)`, by a horizon h. It is a window of requests for the rule.
//!
//! Knows requests, sizes and room. Does not know which policy evicts; the chain takes it for LRU.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::{eviction::Index, math};

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Requests in a unit of time, which may be any that is the same for all objects.
    pub rate: f64,
    /// Its size.
    pub bytes: u64,
}

/// c, in bytes: much larger objects are seldom let in.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Threshold(pub f64);

impl Threshold {
    /// Everything is let in.
    pub const OPEN: Self = Self(f64::INFINITY);

    /// How likely an object of this size is let in.
    pub fn probability(self, bytes: u64) -> f64 {
        math::exp(-(bytes as f64) / self.0)
    }

    /// The threshold with the best hit ratio in a cache of `room` bytes, and that ratio. It is sought among the powers of
    /// two up to the largest object and beside them none at all, then between the neighbours of the best.
    /// `horizon` is that of [`found`].
    pub fn tuned(objects: &[Demand], room: u64, horizon: f64) -> (Self, f64) {
        let of = |threshold: Self| (threshold, hit_ratio(objects, &found(objects, room, threshold, horizon)));
        let promised = |log2: f64| of(Self(math::exp2(log2)));
        let best = |a: (Self, f64), b: (Self, f64)| if b.1 > a.1 { b } else { a };
        let open = of(Self::OPEN);
        let largest = objects.iter().map(|object| object.bytes).max().unwrap_or_default();
        let coarse = (0..=u64::BITS - largest.leading_zeros()).map(|log2| promised(log2.into())).fold(open, best);
        if coarse.0 == Self::OPEN {
            return coarse;
        }
        // Golden section (Kiefer 1953): each step keeps .618 of the interval, and of two octaves 16 leave a thousandth.
        let golden = (5_f64.sqrt() - 1.0) / 2.0;
        let middle = math::log2(coarse.0.0);
        let (mut low, mut high) = (middle - 1.0, middle + 1.0);
        let mut inner = [promised(high - golden * (high - low)), promised(low + golden * (high - low))];
        let mut all = coarse;
        for _ in 0..16 {
            let [left, right] = inner;
            all = best(all, best(left, right));
            inner = if left.1 >= right.1 {
                high = math::log2(right.0.0);
                [promised(high - golden * (high - low)), left]
            } else {
                low = math::log2(left.0.0);
                [right, promised(low + golden * (high - low))]
            };
        }
        all
    }
}

/// The share of the requests for each object that an LRU cache of `room` bytes finds, by the closed form. What is larger
/// than the cache is never there; nor is what has hardly ever been let in by `horizon`, in the unit of time of rates, which may
/// be infinite.
pub fn found(objects: &[Demand], room: u64, threshold: Threshold, horizon: f64) -> Vec<f64> {
    // Of each object size/c, its probability to be let in, and that to have been by the horizon.
    let admitted = |object: &Demand| {
        if object.bytes > room {
            return (f64::INFINITY, 0.0, 0.0);
        }
        let admitted = threshold.probability(object.bytes);
        let requests = if admitted > 0.0 { admitted * object.rate * horizon } else { 0.0 };
        (object.bytes as f64 / threshold.0, admitted, -math::exp_m1(-requests))
    };
    let admitted: Vec<(f64, f64, f64)> = objects.iter().map(admitted).collect();
    let found = |t: f64| {
        move |(object, (against, admitted, at_most)): (&Demand, &(f64, f64, f64))| {
            let rt = object.rate * t;
            // Of large powers the one that is taken away is nothing, and in one exponent they do not overflow apart.
            let odds = if rt > 30.0 { math::exp(rt - against) } else { admitted * math::exp_m1(rt) };
            let found = if odds < 1e16 { odds / (1.0 + odds) } else { 1.0 };
            found.min(*at_most)
        }
    };
    let bytes = |t: f64| {
        let there = objects.iter().zip(&admitted);
        there.map(|of| of.0.bytes as f64 * found(t)(of)).sum::<f64>()
    };
    let t = full_at(room as f64, bytes);
    objects.iter().zip(&admitted).map(found(t)).collect()
}

/// The share of all requests that is found, where `found` is that of each object.
pub fn hit_ratio(objects: &[Demand], found: &[f64]) -> f64 {
    let rate: f64 = objects.iter().map(|object| object.rate).sum();
    objects.iter().zip(found).map(|(object, found)| object.rate * found).sum::<f64>() / rate.max(f64::MIN_POSITIVE)
}

/// The time at which what grows with it reaches `room`; the longest there is where it never does.
pub fn full_at(room: f64, filled: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while filled(high) < room && high < 1e15 {
        (low, high) = (high, high * 2.0);
    }
    while high - low > 1e-12 * high {
        let middle = f64::midpoint(low, high);
        if filled(middle) < room { low = middle } else { high = middle }
    }
    high
}

/// What is kept of a rate from one window to the next; the rest is the window's own.
const KEPT: f64 = 0.5;
/// Rates below this are forgotten: what was asked for once is after six windows, so that memory is bounded by those.
const FORGOTTEN: f64 = 0.02;

/// The horizon that a threshold is tuned for: that of the window which it is for.
const WINDOWS_AHEAD: f64 = 1.0;

/// The rule at work. For each request [`on_request`](Self::on_request), then [`admits`](Self::admits) where it was missed.
#[derive(Debug)]
pub struct BySize {
    room: u64,
    window: u32,
    threshold: Threshold,
    /// Requests of this window so far.
    requests: u32,
    index: Index,
    objects: Vec<Asked>,
    chance: ChaCha8Rng,
}

/// An object that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    identity: u64,
    bytes: u64,
    /// In this window.
    requests: u32,
    /// Per window, over those before.
    rate: f64,
}

impl BySize {
    /// For a cache of `room` bytes; everything is let in until `window` requests (one at least) have been seen.
    pub fn new(room: u64, window: u32, chance: ChaCha8Rng) -> Self {
        Self {
            room,
            window: window.max(1),
            threshold: Threshold::OPEN,
            requests: 0,
            index: Index::default(),
            objects: Vec::new(),
            chance,
        }
    }

    /// Takes in a request, whether it finds something or not. `identity` is the same whenever the same is asked for.
    pub fn on_request(&mut self, identity: u64, bytes: u64) {
        let slot = self.index.find(identity).unwrap_or_else(|| {
            let slot = self.objects.len() as u32;
            self.objects.push(Asked { identity, bytes, requests: 0, rate: 0.0 });
            self.index.insert(identity, slot);
            slot
        });
        if let Some(asked) = self.objects.get_mut(slot as usize) {
            asked.requests += 1;
            asked.bytes = bytes;
        }
        self.requests += 1;
        if self.requests == self.window {
            self.end_window();
        }
    }

    /// Whether something of this size that was missed is let in.
    pub fn admits(&mut self, bytes: u64) -> bool {
        self.threshold == Threshold::OPEN || self.chance.random::<f64>() < self.threshold.probability(bytes)
    }

    /// What the last window came to.
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }

    fn end_window(&mut self) {
        self.requests = 0;
        for asked in &mut self.objects {
            asked.rate = KEPT * asked.rate + (1.0 - KEPT) * f64::from(std::mem::take(&mut asked.requests));
        }
        self.objects.retain(|asked| asked.rate >= FORGOTTEN);
        self.index = Index::default();
        for (slot, asked) in self.objects.iter().enumerate() {
            self.index.insert(asked.identity, slot as u32);
        }
        let demand = self.objects.iter().map(|asked| Demand { rate: asked.rate, bytes: asked.bytes });
        (self.threshold, _) = Threshold::tuned(&demand.collect::<Vec<_>>(), self.room, WINDOWS_AHEAD);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rand::SeedableRng as _;

    use super::*;

    fn demands() -> impl Strategy<Value = Vec<Demand>> {
        let demand = (0.01..10_f64, 0_u32..20).prop_map(|(rate, log2)| Demand { rate, bytes: 1 << log2 });
        proptest::collection::vec(demand, 2..30)
    }

    const HORIZON: f64 = 100.0;

    /// The hit ratio by the formula as it stands in the module's header, at a time that is walked up to.
    fn plain_hit_ratio(objects: &[Demand], room: u64, c: f64) -> f64 {
        let there = |object: &Demand, t: f64| {
            let rt = object.rate * t;
            let log_odds = rt + math::ln(-math::exp_m1(-rt)) - object.bytes as f64 / c;
            let let_in = 1.0 - math::exp(-object.rate * HORIZON * math::exp(-(object.bytes as f64) / c));
            if object.bytes > room { 0.0 } else { f64::min(let_in, 1.0 / (1.0 + math::exp(-log_odds))) }
        };
        let filled = |t: f64| objects.iter().map(|object| object.bytes as f64 * there(object, t)).sum::<f64>();
        let mut t = 1e-6;
        for step in [1.1, 1.001, 1.000_01] {
            while t < 1e6 && filled(t * step) < room as f64 {
                t *= step;
            }
        }
        let all: f64 = objects.iter().map(|object| object.rate).sum();
        objects.iter().map(|object| object.rate * there(object, t) / all).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_threshold_of_a_fine_grid_is_better_than_the_tuned_one(objects in demands(), share in 0.02..0.5_f64) {
            let room = (objects.iter().map(|object| object.bytes).sum::<u64>() as f64 * share) as u64;
            let (threshold, promised) = Threshold::tuned(&objects, room, HORIZON);
            let again = plain_hit_ratio(&objects, room, threshold.0);
            prop_assert!((again - promised).abs() < 0.005, "{promised}, and plainly {again}");
            let grid = (0..40).map(|step| plain_hit_ratio(&objects, room, math::exp2(f64::from(step) / 2.0)));
            let best = grid.fold(0.0, f64::max);
            prop_assert!(promised > best - 0.01, "{promised} with {threshold:?}, and {best} is possible");
        }

        #[test]
        fn the_threshold_is_what_the_whole_history_comes_to(
            requests in proptest::collection::vec((0_u64..40, 0_u32..16), 1..400),
            window in 1_u32..60,
        ) {
            let mut rule = BySize::new(4_000, window, ChaCha8Rng::seed_from_u64(1));
            for &(identity, log2) in &requests {
                rule.on_request(identity, 1 << log2);
            }
            // Every window from the first on, each worth half of the next; what falls too low begins anew.
            let mut known: BTreeMap<u64, Demand> = BTreeMap::new();
            let mut objects = Vec::new();
            for window in requests.chunks_exact(window as usize) {
                for &(identity, log2) in window {
                    known.entry(identity).or_insert(Demand { rate: 0.0, bytes: 0 }).bytes = 1 << log2;
                }
                for (identity, demand) in &mut known {
                    let count = window.iter().filter(|(asked, _)| asked == identity).count();
                    demand.rate = demand.rate / 2.0 + count as f64 / 2.0;
                }
                known.retain(|_, demand| demand.rate >= FORGOTTEN);
                objects = known.values().copied().collect();
            }
            // Several thresholds may be as good.
            let (expected, best) = Threshold::tuned(&objects, 4_000, WINDOWS_AHEAD);
            let promised = hit_ratio(&objects, &found(&objects, 4_000, rule.threshold(), WINDOWS_AHEAD));
            prop_assert!((promised - best).abs() < 1e-6, "{:?} {promised}, {expected:?} {best}", rule.threshold());
            prop_assert!(rule.objects.len() <= 6 * window as usize);
        }
    }

    #[test]
    fn with_everything_let_in_it_is_che_s_approximation() {
        let objects: Vec<Demand> = (1..=1000).map(|rank| Demand { rate: 1.0 / f64::from(rank), bytes: 1 }).collect();
        let there = found(&objects, 50, Threshold::OPEN, f64::INFINITY);
        assert!((there.iter().sum::<f64>() - 50.0).abs() < 1e-6);
        // One t for all: the logarithm of what is not there is in proportion to the rate.
        let t = |rank: usize| -math::ln(1.0 - there[rank - 1]) * rank as f64;
        assert!((t(1) / t(10) - 1.0).abs() < 1e-9 && (t(10) / t(1000) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_cache_with_room_for_all_lets_all_in_and_one_with_little_keeps_out_the_large() {
        let objects: Vec<Demand> =
            (0..200).map(|nth| Demand { rate: 1.0, bytes: if nth % 2 == 0 { 1 } else { 10_000 } }).collect();
        let (threshold, promised) = Threshold::tuned(&objects, 2_000_000, HORIZON);
        assert!(threshold == Threshold::OPEN && promised > 0.999, "{threshold:?} {promised}");
        let (threshold, promised) = Threshold::tuned(&objects, 20_000, HORIZON);
        assert!(threshold.0 < 10_000.0 && promised > 0.49, "{threshold:?} {promised}");
    }

    #[test]
    fn nothing_is_no_trouble() {
        assert_eq!(Threshold::tuned(&[], 0, HORIZON), (Threshold::OPEN, 0.0));
        assert_eq!(found(&[Demand { rate: 1.0, bytes: 5 }], 4, Threshold::OPEN, HORIZON), [0.0]);
        let mut rule = BySize::new(0, 0, ChaCha8Rng::seed_from_u64(1));
        rule.on_request(1, 5);
        assert!(rule.admits(5) || rule.threshold() != Threshold::OPEN);
    }
}
