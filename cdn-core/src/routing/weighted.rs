//! Shares by weight, where each client network always comes to the same PoP.
//!
//! Weighted rendezvous hashing: the PoP with the highest `w / -ln(u)` wins, where `u` is a draw of its own per pair of
//! client block and PoP; each wins its share of the weights. When one leaves or its weight changes, only the clients that
//! it loses or gains move.

use std::collections::BTreeMap;

use super::{Candidate, Policy};
use crate::{PopCode, Reason, math};

#[derive(Debug)]
pub(super) struct Weighted {
    weights: BTreeMap<PopCode, f64>,
}

impl Weighted {
    pub(super) const fn new(weights: BTreeMap<PopCode, f64>) -> Self {
        Self { weights }
    }
}

impl Policy for Weighted {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn reason(&self) -> Reason {
        Reason::RouteWeighted
    }

    fn is_per_block(&self) -> bool {
        true
    }

    /// A weight of 0 is the last resort.
    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        let weight = self.weights.get(&candidate.pop.code).copied().unwrap_or(1.0);
        let score = -math::ln(candidate.draw("weighted")) / weight.max(0.0);
        if score.is_nan() { f64::INFINITY } else { score }
    }
}
