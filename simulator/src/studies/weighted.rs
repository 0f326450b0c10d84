//! Mean and quantiles of values that count by weight, such as round trips by users.

/// Values with their weights, in ascending order.
#[derive(Clone, Debug)]
pub struct Weighted {
    sorted: Vec<(f32, f64)>,
    all: f64,
}

impl Weighted {
    /// Of pairs of value and weight; none where no weight is above zero.
    pub fn new(values: impl IntoIterator<Item = (f32, f64)>) -> Option<Self> {
        let mut sorted: Vec<(f32, f64)> = values.into_iter().filter(|(_, weight)| *weight > 0.0).collect();
        // Of equal values the order is of no matter, so a sort need not be stable.
        sorted.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        let all = sorted.iter().map(|(_, weight)| weight).sum();
        (!sorted.is_empty()).then_some(Self { sorted, all })
    }

    /// The sum of weights.
    pub const fn all(&self) -> f64 {
        self.all
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.sorted.iter().map(|(value, weight)| f64::from(*value) * weight).sum::<f64>() / self.all
    }

    /// The least value that a share of the weight, 0 to 1, does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut below = 0.0;
        let reached = self.sorted.iter().find(|(_, weight)| {
            below += weight;
            below >= share * self.all
        });
        reached.or_else(|| self.sorted.last()).map_or(0.0, |(value, _)| f64::from(*value))
    }

    /// The share of the weight whose value is at least `value`.
    pub fn share_from(&self, value: f32) -> f64 {
        let from = self.sorted.partition_point(|(one, _)| *one < value);
        self.sorted.iter().skip(from).map(|(_, weight)| weight).sum::<f64>() / self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_by_weight() {
        let weighted = Weighted::new([(3.0, 1.0), (1.0, 1.0), (2.0, 8.0), (9.0, 0.0)]).unwrap();
        assert_eq!((weighted.all(), weighted.mean()), (10.0, 2.0));
        let quantiles = [0.0, 0.05, 0.5, 0.9, 0.95, 1.0].map(|share| weighted.quantile(share));
        assert_eq!(quantiles, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!([0.0, 2.0, 2.5, 3.0, 3.1].map(|value| weighted.share_from(value)), [1.0, 0.9, 0.1, 0.1, 0.0]);
        assert!(Weighted::new([(1.0, 0.0)]).is_none());
    }
}
