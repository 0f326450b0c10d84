//! Which responses an invalidation has overtaken: those on the disk, and those on their way there.
//!
//! An invalidation is remembered until every record that it covers was killed, so that one holds that was made a moment
//! before the process died. As many as the limit says are remembered beyond that, for responses that were fetched before
//! and are written after. What is older than the memory reaches counts as covered.

use std::{collections::VecDeque, sync::Arc};

use crate::invalidation::InvalidationPattern;

/// One invalidation, in the order of everything that happened to the tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalidation {
    /// Its place in that order.
    pub(super) sequence: u64,
    /// Whose content it covers.
    pub(super) distribution: Arc<str>,
    /// What it covers there.
    pub(super) pattern: InvalidationPattern,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Invalidations {
    list: VecDeque<Invalidation>,
    /// Records up to this one are all dead: an invalidation was forgotten before it was carried out.
    dead_up_to: u64,
    /// Everything up to this one that is remembered no more was carried out.
    reaches_back_to: u64,
    /// Everything up to this one was carried out.
    carried_out: u64,
}

impl Invalidation {
    fn covers(&self, distribution: &str, uri: &str) -> bool {
        *self.distribution == *distribution && self.pattern.matches(uri)
    }
}

impl Invalidations {
    /// What was remembered when the tier was last written down; nothing of it counts as carried out.
    pub(super) fn restored(list: Vec<Invalidation>, dead_up_to: u64) -> Self {
        Self { list: list.into(), dead_up_to, reaches_back_to: dead_up_to, carried_out: dead_up_to }
    }

    /// Those that are remembered, the oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Invalidation> {
        self.list.iter()
    }

    /// Records up to this one are all dead.
    pub(super) const fn dead_up_to(&self) -> u64 {
        self.dead_up_to
    }

    /// The sequence number of the latest.
    pub(super) fn last(&self) -> u64 {
        self.list.back().map_or(self.reaches_back_to, |latest| latest.sequence)
    }

    /// Whether a record with this place was overtaken.
    pub(super) fn kills(&self, sequence: u64, distribution: &str, uri: &str) -> bool {
        sequence <= self.dead_up_to || self.covered_since(sequence, distribution, uri)
    }

    /// Whether a response that was asked for when `last` was the latest invalidation may not be written any more.
    pub(super) fn overtook(&self, last: u64, distribution: &str, uri: &str) -> bool {
        last < self.reaches_back_to || self.covered_since(last, distribution, uri)
    }

    fn covered_since(&self, sequence: u64, distribution: &str, uri: &str) -> bool {
        let mut later = self.list.iter().rev().take_while(|one| one.sequence > sequence);
        later.any(|one| one.covers(distribution, uri))
    }

    /// Remembers one more, and at most `max`. Returns whether one was forgotten that was not carried out: then
    /// [`dead_up_to`](Self::dead_up_to) has moved.
    pub(super) fn push(&mut self, one: Invalidation, max: usize) -> bool {
        self.list.push_back(one);
        let before = self.dead_up_to;
        while self.list.len() > max.max(1) {
            let Some(oldest) = self.list.pop_front() else { break };
            self.reaches_back_to = oldest.sequence;
            if oldest.sequence > self.carried_out {
                self.dead_up_to = oldest.sequence;
            }
        }
        self.dead_up_to != before
    }

    /// Every record that an invalidation so far covers was killed.
    pub(super) fn on_carried_out(&mut self) {
        self.carried_out = self.last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sequence: u64, pattern: &str) -> Invalidation {
        let pattern = InvalidationPattern::parse(pattern).unwrap();
        Invalidation { sequence, distribution: "demo".into(), pattern }
    }

    #[test]
    fn an_invalidation_overtakes_what_came_before_it_and_nothing_else() {
        let mut all = Invalidations::default();
        all.push(one(5, "/a*"), 8);
        assert!(all.kills(4, "demo", "/ab") && !all.kills(6, "demo", "/ab"));
        assert!(!all.kills(4, "demo", "/b") && !all.kills(4, "other", "/ab"));
        assert!(all.overtook(0, "demo", "/a") && !all.overtook(5, "demo", "/a"));
    }

    #[test]
    fn what_is_forgotten_counts_as_covered() {
        let mut all = Invalidations::default();
        assert!(!all.push(one(1, "/a"), 2));
        all.on_carried_out();
        assert!(!all.push(one(3, "/b"), 2));
        assert!(!all.push(one(5, "/c"), 2), "the first was carried out");
        assert!(all.overtook(0, "demo", "/z") && !all.overtook(1, "demo", "/z"));
        assert!(!all.kills(2, "demo", "/z"), "its record would have been killed");
        assert!(all.push(one(7, "/d"), 2), "the second was not");
        assert!(all.kills(3, "demo", "/z") && !all.kills(4, "demo", "/z"));
    }
}
