//! The nearest on the map. Distance is not delay: this is the baseline that measuring has to beat.

use super::{Candidate, Policy};
use crate::Reason;

#[derive(Debug)]
pub(super) struct Nearest;

impl Policy for Nearest {
    fn name(&self) -> &'static str {
        "geo"
    }

    fn reason(&self) -> Reason {
        Reason::RouteNearest
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        candidate.distance_km.unwrap_or(f64::MAX)
    }
}
