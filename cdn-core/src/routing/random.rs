//! Any PoP, by seeded draw: the baseline that every policy has to beat.

use super::{Candidate, Policy, draw};
use crate::Reason;

#[derive(Debug)]
pub(super) struct Random;

impl Policy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn reason(&self) -> Reason {
        Reason::RouteRandom
    }

    /// Draws repeat after this many answers; enough for shares within a few percent.
    fn turns(&self, _candidates: usize) -> u64 {
        1024
    }

    fn is_tailored(&self) -> bool {
        false
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        draw(candidate.seed, "random", [candidate.turn, candidate.index.index() as u64]) as f64
    }
}
