//! One PoP after the other, whoever asks.

use super::{Candidate, Policy};
use crate::Reason;

#[derive(Debug)]
pub(super) struct RoundRobin;

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn reason(&self) -> Reason {
        Reason::RouteTurn
    }

    fn turns(&self, candidates: usize) -> u64 {
        candidates.max(1) as u64
    }

    fn is_tailored(&self) -> bool {
        false
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        let count = candidate.candidates.max(1) as u64;
        let ahead = (candidate.index.index() as u64 + count - candidate.turn % count) % count;
        ahead as f64
    }
}
