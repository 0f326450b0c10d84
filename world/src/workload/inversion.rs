//! Zipf's law over catalogues too large for a table.
//!
//! Rejection-inversion (Hörmann and Derflinger 1996) needs no memory and rejects less than one draw in three, whatever the
//! exponent and the number of objects are.

use cdn_core::math;
use rand::{Rng, RngExt as _};

/// Draws from the continuous hat `x^-s`, rounds, and rejects what the hat covers too generously.
#[derive(Clone, Debug)]
pub(super) struct Inversion {
    s: f64,
    n: f64,
    /// The area under the hat up to 1.5 less the weight of rank 1, and that up to `n + 0.5`.
    area_first: f64,
    area_last: f64,
    /// A draw this near below its rank is never rejected.
    sure: f64,
}

impl Inversion {
    /// The distribution over ranks 1 to `n` with the exponent `s`, not below 0.
    pub(super) fn new(s: f64, n: u64) -> Self {
        let n = n as f64;
        let area_first = area(s, 1.5) - 1.0;
        let sure = 2.0 - area_inverse(s, area(s, 2.5) - math::powf(2.0, -s));
        Self { s, n, area_first, area_last: area(s, n + 0.5), sure }
    }

    /// A rank, from 1.
    pub(super) fn draw(&self, chance: &mut impl Rng) -> u64 {
        loop {
            let at = self.area_last + chance.random::<f64>() * (self.area_first - self.area_last);
            let x = area_inverse(self.s, at);
            let rank = (x + 0.5).floor().clamp(1.0, self.n);
            if rank - x <= self.sure || at >= area(self.s, rank + 0.5) - math::powf(rank, -self.s) {
                return rank as u64;
            }
        }
    }
}

/// The integral of `t^-s` from 1 to `x`: `(x^(1-s) - 1) / (1-s)`, and `ln x` for s = 1, without a gap between the two.
fn area(s: f64, x: f64) -> f64 {
    let log = math::ln(x);
    let t = (1.0 - s) * log;
    if t.abs() > 1e-8 { math::exp_m1(t) / t * log } else { log * (1.0 + t / 2.0) }
}

fn area_inverse(s: f64, area: f64) -> f64 {
    // Rounding may lead below the pole.
    let t = ((1.0 - s) * area).max(-1.0);
    let log = if t.abs() > 1e-8 { math::ln_1p(t) / t * area } else { area * (1.0 - t / 2.0) };
    math::exp(log)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::stream;

    /// Pearson's statistic of `draws` against the law, ranks with few expected draws taken together, and the bound that
    /// it exceeds once in a million times (Wilson and Hilferty 1931, z = 4.75).
    fn chi_square(counts: &[u64], s: f64, n: u64) -> (f64, f64) {
        let draws: u64 = counts.iter().sum();
        let total: f64 = (1..=n).map(|rank| math::powf(rank as f64, -s)).sum();
        let (mut statistic, mut bins, mut seen, mut expected) = (0.0, 0.0, 0.0, 0.0);
        for (rank, &count) in (1..=n).zip(counts) {
            seen += count as f64;
            expected += draws as f64 * math::powf(rank as f64, -s) / total;
            if expected >= 20.0 {
                statistic += (seen - expected).powi(2) / expected;
                (bins, seen, expected) = (bins + 1.0, 0.0, 0.0);
            }
        }
        let freedom: f64 = (bins - 1.0_f64).max(1.0);
        let spread = 2.0 / (9.0 * freedom);
        (statistic, freedom * (1.0 - spread + 4.75 * spread.sqrt()).powi(3))
    }

    fn counts(mut draw: impl FnMut() -> u64, n: u64, draws: u32) -> Vec<u64> {
        let mut counts = vec![0; n as usize];
        for _ in 0..draws {
            counts[draw() as usize - 1] += 1;
        }
        counts
    }

    #[test]
    fn draws_follow_the_law() {
        for (s, n) in [(0.0, 300), (0.5, 1000), (0.94, 5000), (1.0, 1000), (1.1, 500), (2.5, 50), (1.2, 1)] {
            let (mut chance, inversion) = (stream(11, &["zipf"]), Inversion::new(s, n));
            let (statistic, bound) = chi_square(&counts(|| inversion.draw(&mut chance), n, 100_000), s, n);
            assert!(statistic <= bound, "s={s} n={n}: {statistic} over {bound}");
        }
    }

    #[test]
    fn a_bent_sample_is_told_from_the_law() {
        let (zipf, mut chance) = (Inversion::new(1.05, 1000), stream(12, &["zipf"]));
        let (statistic, bound) = chi_square(&counts(|| zipf.draw(&mut chance), 1000, 100_000), 1.0, 1000);
        assert!(statistic > bound, "{statistic} within {bound}");
    }

    proptest! {
        #[test]
        fn ranks_stay_within_the_objects(s in 0.0..20.0_f64, n in 1..1_u64 << 52, seed: u64) {
            let (zipf, mut chance) = (Inversion::new(s, n), stream(seed, &["zipf"]));
            for _ in 0..50 {
                prop_assert!((1..=n).contains(&zipf.draw(&mut chance)));
            }
        }
    }
}
