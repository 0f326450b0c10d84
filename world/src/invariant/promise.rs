//! What a world's configuration promises about answers, for laws that nobody can ask without knowing it.

use std::{fmt, time::Duration};

use cdn_core::{Instant, NodeId, Reason};

use crate::observation::{CacheOutcome, Observation, Outcome};

/// Says what is promised about each object of each load.
pub trait Promises: fmt::Debug {
    /// The promise about an object of a load, by its number in that.
    fn promise(&self, load: u16, object: u64) -> Promise;
}

/// What is promised about the answers to one object of a load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// How old they may be.
    pub ages: Ages,
    /// The first origin of its group, whatever whose failures the second one stands in for; `None` where none does.
    pub sheltered: Option<NodeId>,
}

/// How old an answer may be when it is asked for, counted from when its origin made or confirmed it. `None` where nothing
/// bounds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// One that is given as fresh.
    pub fresh: Option<Duration>,
    /// One that is given while it is refreshed.
    pub refreshing: Option<Duration>,
    /// One that is given in place of an error.
    pub failing: Option<Duration>,
}

impl Ages {
    /// Whether an answer is older than it may be; how old it is.
    pub(super) fn is_outlived_by(&self, seen: &Observation) -> Option<Duration> {
        let Outcome::Status(..400) = seen.outcome else { return None };
        let allowed = match (seen.cache, seen.reason) {
            (CacheOutcome::Stale, Reason::HitStaleWhileRevalidate) => self.refreshing?,
            (CacheOutcome::Stale, _) => self.failing?,
            _ => self.fresh?,
        };
        let age = seen.started.saturating_since(seen.made?);
        (age > allowed).then_some(age)
    }
}

/// When nothing is broken but one node, as far as a timeline says it.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// Of everything that breaks: from when to when, and the node where it is only one, which answers with errors or not at all.
    spans: Vec<(Instant, Instant, Option<NodeId>)>,
}

impl Whole {
    pub(super) fn breaks(&mut self, from: Instant, to: Instant, node: Option<NodeId>) {
        self.spans.push((from, to, node));
    }

    /// Whether from `from` to `to` `node` was broken and nothing else was.
    pub(super) fn is_but_for(&self, node: &NodeId, from: Instant, to: Instant) -> bool {
        let mut meanwhile = self.spans.iter().filter(|(begin, end, _)| *begin <= to && *end >= from).peekable();
        meanwhile.peek().is_some() && meanwhile.all(|(_, _, broken)| broken.as_ref() == Some(node))
    }
}
