//! Zipf's law: the object of rank i is asked for in proportion to 1 / i^s.
//!
//! Drawn from a table ([`Alias`]): a draw is one look, whatever the exponent, and the shares are there exactly for whoever
//! computes what should come out. For catalogues too large for a table there is `inversion.rs`.

use cdn_core::math;
use rand::Rng;

use super::alias::Alias;

/// A catalogue with its popularity.
#[derive(Clone, Debug)]
pub struct Zipf {
    table: Alias,
    objects: u32,
    exponent: f64,
    total: f64,
}

impl Zipf {
    /// `objects` objects, at least one, with this exponent (zero: all alike).
    pub fn new(objects: u32, exponent: f64) -> Self {
        let objects = objects.max(1);
        let weights: Vec<f64> = (1..=objects).map(|rank| weight(rank, exponent)).collect();
        // Where there is no law (an exponent that is no number), the first object is all there is.
        let table = Alias::new(&weights).or_else(|| Alias::new(&[1.0])).unwrap_or_default();
        Self { table, objects, exponent, total: weights.iter().sum() }
    }

    /// How many objects there are.
    pub const fn objects(&self) -> u32 {
        self.objects
    }

    /// Draws an object by its rank, counted from zero: the most popular is 0.
    #[inline]
    pub fn draw(&self, rng: &mut impl Rng) -> u32 {
        self.table.of(rng.next_u64()) as u32
    }

    /// The share of requests that each object gets, the most popular first; together one.
    pub fn shares(&self) -> impl Iterator<Item = f64> + '_ {
        (1..=self.objects()).map(|rank| weight(rank, self.exponent) / self.total)
    }
}

fn weight(rank: u32, exponent: f64) -> f64 {
    // By division where that is exact on every machine, which the power need not be.
    if exponent == 1.0 { 1.0 / f64::from(rank) } else { math::powf(f64::from(rank), -exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream;

    #[test]
    fn shares_sum_to_one_and_fall_by_the_law() {
        let shares: Vec<f64> = Zipf::new(1_000, 0.8).shares().collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((shares[0] / shares[9] - math::powf(10.0, 0.8)).abs() < 1e-9);
    }

    #[test]
    fn draws_follow_the_shares() {
        const DRAWS: u32 = 200_000;
        for exponent in [0.0, 0.8, 1.0, 2.0] {
            let zipf = Zipf::new(50, exponent);
            let mut rng = stream(7, &["zipf"]);
            let mut counts = [0_u32; 50];
            (0..DRAWS).for_each(|_| counts[zipf.draw(&mut rng) as usize] += 1);
            // Chi square with 49 degrees of freedom stays under 85.4 in 999 of 1000 runs.
            let chi_square: f64 = (zipf.shares().zip(counts))
                .map(|(share, count)| {
                    let expected = share * f64::from(DRAWS);
                    (f64::from(count) - expected).powi(2) / expected
                })
                .sum();
            assert!(chi_square < 85.4, "exponent {exponent}: {chi_square}");
        }
    }

    #[test]
    fn one_object_is_always_drawn() {
        let zipf = Zipf::new(1, 1.0);
        let mut rng = stream(7, &["zipf"]);
        assert!((0..100).all(|_| zipf.draw(&mut rng) == 0));
    }
}
