//! The nearest on the map as a bias per PoP bends it, as Route 53 does.

use std::collections::BTreeMap;

use super::{Candidate, Policy};
use crate::{PopCode, Reason};

/// The largest bias, either way.
pub const BIAS_MAX: i8 = 99;

#[derive(Debug)]
pub(super) struct Geoproximity {
    bias: BTreeMap<PopCode, i8>,
}

impl Geoproximity {
    pub(super) const fn new(bias: BTreeMap<PopCode, i8>) -> Self {
        Self { bias }
    }
}

impl Policy for Geoproximity {
    fn name(&self) -> &'static str {
        "geoproximity"
    }

    fn reason(&self) -> Reason {
        Reason::RouteNearestBiased
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        let bias = self.bias.get(&candidate.pop.code).copied().unwrap_or(0);
        candidate.distance_km.map_or(f64::MAX, |distance_km| biased_km(distance_km, bias))
    }
}

/// The distance that is compared. Route 53's formula (Developer Guide, "Geoproximity routing"): a positive bias takes the
/// share bias/100 off the distance, a negative one divides it by 1 + bias/100.
fn biased_km(distance_km: f64, bias: i8) -> f64 {
    let share = f64::from(bias.clamp(-BIAS_MAX, BIAS_MAX)) / 100.0;
    if share >= 0.0 { distance_km * (1.0 - share) } else { distance_km / (1.0 + share) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_bends_distance_as_route_53_documents() {
        for (bias, expected) in [(0, 1000.0), (25, 750.0), (99, 10.0), (-50, 2000.0), (-99, 100_000.0), (-128, 1e5)] {
            assert!((biased_km(1000.0, bias) - expected).abs() < 1e-6, "{bias}");
        }
    }
}
