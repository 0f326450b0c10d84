//! The lowest estimated round trip: measured where viewers have reported, by distance where not.

use super::{Candidate, Policy};
use crate::Reason;

#[derive(Debug)]
pub(super) struct Latency;

impl Policy for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn reason(&self) -> Reason {
        Reason::RouteLowestEstimate
    }

    fn learns(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        candidate.estimate.rtt.as_secs_f64() * 1000.0
    }
}
