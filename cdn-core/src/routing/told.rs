//! What a program outside says. By itself this is the lowest estimate, for networks that the program says nothing of; its
//! word is put before that in [`Table`](super::table::Table).

use super::{Candidate, Policy, latency::Latency};
use crate::Reason;

#[derive(Debug)]
pub(super) struct ByProgram;

impl Policy for ByProgram {
    fn name(&self) -> &'static str {
        "program"
    }

    fn reason(&self) -> Reason {
        Reason::RouteProgramSilent
    }

    fn is_reason(&self, reason: Reason) -> bool {
        reason.is_of_program()
    }

    fn learns(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        Latency.score(candidate)
    }
}
