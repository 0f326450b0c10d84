//! Drawing one of many by weight in constant time: the alias method (Walker 1977, tables as in Vose 1991).
//!
//! One random word chooses a cell and says whether the cell's own item or its alias is meant, so a thousand cities cost
//! as much as two.

use std::hint::select_unpredictable;

/// Items with weights.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alias {
    /// Of each cell: below which 32-bit number its own item is meant, and the other one.
    cells: Vec<(u32, u32)>,
}

impl Alias {
    /// A table of `weights`, which are finite and not negative; `None` where they sum to nothing, or are more than fit
    /// into 32 bits.
    pub(crate) fn new(weights: &[f64]) -> Option<Self> {
        let sum: f64 = weights.iter().sum();
        let count = u32::try_from(weights.len()).ok()?;
        if count == 0 || !sum.is_finite() || sum <= 0.0 || weights.iter().any(|weight| *weight < 0.0) {
            return None;
        }
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight / sum * f64::from(count)).collect();
        let (mut poor, mut rich): (Vec<u32>, Vec<u32>) = (0..count).partition(|&item| shares[item as usize] < 1.0);
        let mut cells: Vec<(u32, u32)> = (0..count).map(|item| (0, item)).collect();
        while let (Some(small), Some(&large)) = (poor.pop(), rich.last()) {
            let share = shares[small as usize];
            cells[small as usize] = ((share * 2_f64.powi(32)) as u32, large);
            shares[large as usize] -= 1.0 - share;
            if shares[large as usize] < 1.0 {
                rich.pop();
                poor.push(large);
            }
        }
        // What is left over by rounding is as good as one: such a cell is its own alias.
        Some(Self { cells })
    }

    /// The item that a uniform word stands for.
    pub(crate) fn of(&self, word: u64) -> usize {
        let cell = ((word >> 32) * self.cells.len() as u64) >> 32;
        let Some(&(below, other)) = self.cells.get(cell as usize) else { return 0 };
        // Nobody can foretell it, so there is nothing to be branched on.
        select_unpredictable((word as u32) < below, cell as usize, other as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::stream;

    #[test]
    fn weights_that_sum_to_nothing_have_no_table() {
        assert!(Alias::new(&[]).is_none() && Alias::new(&[0.0, 0.0]).is_none());
        assert!(Alias::new(&[f64::NAN]).is_none() && Alias::new(&[-1.0, 3.0]).is_none());
    }

    #[test]
    fn an_item_without_weight_is_never_drawn() {
        let (table, mut chance) = (Alias::new(&[0.0, 1.0, 0.0, 3.0]).unwrap(), stream(1, &["alias"]));
        assert!((0..100_000).all(|_| [1, 3].contains(&table.of(chance.next_u64()))));
        // The low word is nothing: the rarest draw.
        assert!((0..4_u64).all(|cell| [1, 3].contains(&table.of(cell << 62))));
    }

    proptest! {
        #[test]
        fn the_cells_hold_exactly_the_shares(weights in prop::collection::vec(0.0..100.0_f64, 1..50)) {
            prop_assume!(weights.iter().sum::<f64>() > 1e-6);
            let table = Alias::new(&weights).unwrap();
            let mut shares = vec![0.0; weights.len()];
            for (cell, &(below, other)) in table.cells.iter().enumerate() {
                let own = f64::from(below) / 2_f64.powi(32);
                shares[cell] += own;
                shares[other as usize] += 1.0 - own;
            }
            let (sum, count): (f64, f64) = (weights.iter().sum(), weights.len() as f64);
            for (weight, share) in weights.iter().zip(shares) {
                prop_assert!((weight / sum - share / count).abs() < 1e-8, "{weight}: {share}");
            }
        }
    }
}
