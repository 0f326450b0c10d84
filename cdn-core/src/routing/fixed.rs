//! A stated order, whoever asks: a primary and its stand-ins.

use super::{Candidate, Policy};
use crate::{PopCode, Reason};

#[derive(Debug)]
pub(super) struct Fixed {
    order: Vec<PopCode>,
}

impl Fixed {
    pub(super) const fn new(order: Vec<PopCode>) -> Self {
        Self { order }
    }
}

impl Policy for Fixed {
    fn name(&self) -> &'static str {
        "static"
    }

    fn reason(&self) -> Reason {
        Reason::RouteStatic
    }

    fn is_tailored(&self) -> bool {
        false
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        let listed = self.order.iter().position(|code| *code == candidate.pop.code);
        listed.unwrap_or_else(|| self.order.len() + candidate.index.index()) as f64
    }
}
