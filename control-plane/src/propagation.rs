//! How far invalidations have come: which node has confirmed which in which round ([`invalidation::rounds`]), when to try
//! again, when to give up.
//!
//! Pure; `now` is an argument. Knows nothing of what a pattern means or how a node is told.

use std::{collections::VecDeque, time::Duration};

use cdn_core::{Instant, NodeId, invalidation};

use crate::{
    config::Limits,
    registry::millis,
    respond::Refusal,
    wire::{Delivery, Invalidation, InvalidationStatus, NodeProgress},
};

/// Before the second try; doubles up to [`RETRY_AFTER_MAX`].
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// The longest pause between two tries.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// How one try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The node forgot so many objects.
    Done(u64),
    /// The node does not run: nothing of its store can come back.
    NotRunning,
    /// Something that may work later.
    Failed(String),
}

/// What to do after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing more for this node.
    Over,
    /// Everybody has heard in this round; these are told once more.
    TellAgain(Vec<NodeId>),
    /// Nothing more for any node.
    Finished(InvalidationStatus),
    /// Try again after so long.
    RetryAfter(Duration),
}

#[derive(Debug)]
struct Entry {
    id: String,
    distribution: Option<String>,
    patterns: Vec<String>,
    /// What whoever asked calls it.
    reference: Option<String>,
    accepted: Instant,
    nodes: Vec<(NodeId, NodeProgress)>,
    round: usize,
    /// How many have not heard in this round.
    left: usize,
}

/// Every invalidation that is in progress or still remembered.
#[derive(Debug)]
pub(crate) struct Propagation {
    entries: VecDeque<Entry>,
    seed: u64,
    accepted: u64,
    kept: usize,
    paths_max: usize,
    wildcards_max: usize,
    give_up_after: Duration,
}

impl Propagation {
    pub(crate) fn new(seed: u64, limits: &Limits) -> Self {
        Self {
            entries: VecDeque::new(),
            seed,
            accepted: 0,
            kept: limits.invalidations_kept.max(1),
            paths_max: limits.invalidation_paths_max,
            wildcards_max: limits.invalidation_wildcards_max,
            give_up_after: limits.invalidation_timeout,
        }
    }

    /// Accepts an invalidation for `nodes` and returns its id.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        distribution: Option<String>,
        patterns: Vec<String>,
        nodes: Vec<NodeId>,
    ) -> Result<String, Refusal> {
        let touches = |entry: &&Entry| {
            entry.status() == InvalidationStatus::InProgress
                && (entry.distribution.is_none() || distribution.is_none() || entry.distribution == distribution)
        };
        let under_way = || self.entries.iter().filter(touches).flat_map(|entry| &entry.patterns);
        let is_wildcard = |pattern: &&String| pattern.ends_with('*');
        if under_way().chain(&patterns).count() > self.paths_max {
            return Err(Refusal::InvalidationsFull { what: "paths", max: self.paths_max });
        }
        if under_way().chain(&patterns).filter(is_wildcard).count() > self.wildcards_max {
            return Err(Refusal::InvalidationsFull { what: "wildcard paths", max: self.wildcards_max });
        }
        self.accepted += 1;
        let id = id(self.seed, self.accepted);
        let nodes = nodes
            .into_iter()
            .map(|node| {
                let progress = NodeProgress {
                    node: node.to_string(),
                    state: Delivery::Pending,
                    removed: 0,
                    after_ms: None,
                    attempts: 0,
                    error: None,
                };
                (node, progress)
            })
            .collect::<Vec<_>>();
        self.forget_oldest();
        let left = nodes.len();
        self.entries.push_back(Entry {
            id: id.clone(),
            distribution,
            patterns,
            reference: None,
            accepted: now,
            nodes,
            round: 0,
            left,
        });
        Ok(id)
    }

    /// How a try to tell `node` of invalidation `id` ended.
    pub(crate) fn handle_attempt(&mut self, now: Instant, id: &str, node: &NodeId, attempt: Attempt) -> Next {
        let give_up_after = self.give_up_after;
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) else { return Next::Over };
        let elapsed = now.saturating_since(entry.accepted);
        let Some((_, progress)) = entry.nodes.iter_mut().find(|(id, _)| id == node) else { return Next::Over };
        progress.attempts = progress.attempts.saturating_add(1);
        let doublings = progress.attempts.saturating_sub(1).min(16);
        match attempt {
            Attempt::Done(removed) => {
                progress.state = Delivery::Done;
                progress.removed += removed;
                progress.error = None;
            }
            Attempt::NotRunning => progress.state = Delivery::Skipped,
            Attempt::Failed(why) => {
                progress.error = Some(why);
                let pause = (RETRY_AFTER * (1 << doublings)).min(RETRY_AFTER_MAX);
                if elapsed + pause < give_up_after {
                    return Next::RetryAfter(pause);
                }
                progress.state = Delivery::Failed;
            }
        }
        progress.after_ms = Some(millis(elapsed));
        entry.left = entry.left.saturating_sub(1);
        if entry.left > 0 {
            return Next::Over;
        }
        match entry.next_round() {
            again if again.is_empty() => Next::Finished(entry.status()),
            again => Next::TellAgain(again),
        }
    }

    /// An invalidation as the API shows it.
    pub(crate) fn row(&self, id: &str) -> Option<Invalidation> {
        self.entries.iter().find(|entry| entry.id == id).map(Entry::row)
    }

    /// Those that concern a distribution, the oldest first.
    pub(crate) fn rows(&self, distribution: &str) -> impl Iterator<Item = Invalidation> {
        let concerns = move |entry: &&Entry| entry.distribution.as_deref().is_none_or(|of| of == distribution);
        self.entries.iter().filter(concerns).map(Entry::row)
    }

    /// Remembers what whoever asked calls an invalidation.
    pub(crate) fn refer(&mut self, id: &str, reference: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.reference = Some(reference.to_owned());
        }
    }

    /// What whoever asked calls it.
    pub(crate) fn reference(&self, id: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.id == id)?.reference.as_deref()
    }

    /// The one of a distribution that is called so.
    pub(crate) fn referred(&self, distribution: Option<&str>, reference: &str) -> Option<Invalidation> {
        let is_it = |entry: &&Entry| {
            entry.distribution.as_deref() == distribution && entry.reference.as_deref() == Some(reference)
        };
        self.entries.iter().find(is_it).map(Entry::row)
    }

    /// Makes room. One in progress is never forgotten; the limits on paths bound how many those are.
    fn forget_oldest(&mut self) {
        while self.entries.len() >= self.kept {
            let done = self.entries.iter().position(|entry| entry.status() != InvalidationStatus::InProgress);
            let Some(oldest) = done else { return };
            self.entries.remove(oldest);
        }
    }
}

impl Entry {
    fn row(&self) -> Invalidation {
        Invalidation {
            id: self.id.clone(),
            status: self.status(),
            distribution: self.distribution.clone(),
            patterns: self.patterns.clone(),
            t_ms: millis(self.accepted.saturating_since(Instant::ZERO)),
            nodes: self.nodes.iter().map(|(_, progress)| progress.clone()).collect(),
        }
    }

    /// Who is told in the round after this one; nobody where this was the last.
    fn next_round(&mut self) -> Vec<NodeId> {
        self.round += 1;
        let rounds = invalidation::rounds(self.nodes.iter().map(|(node, _)| node.role()));
        let tiers = rounds.get(self.round).map(Vec::as_slice).unwrap_or_default();
        let nodes = self.nodes.iter().map(|(node, _)| node).filter(|node| tiers.contains(&node.role()));
        let nodes: Vec<NodeId> = nodes.cloned().collect();
        self.left = nodes.len();
        nodes
    }

    fn status(&self) -> InvalidationStatus {
        let any = |state| self.nodes.iter().any(|(_, progress)| progress.state == state);
        if self.left > 0 {
            InvalidationStatus::InProgress
        } else if any(Delivery::Failed) {
            InvalidationStatus::Failed
        } else {
            InvalidationStatus::Completed
        }
    }
}

/// `I` and thirteen upper-case alphanumerics, as CloudFront's ids look; different for every `nth` of a run.
fn id(seed: u64, nth: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    // splitmix64 is a bijection, and thirteen digits of base 36 hold 64 bits, so no two of a run are alike.
    let mut bits = seed.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let mut id = String::from("I");
    for _ in 0..13 {
        id.push(DIGITS.get((bits % 36) as usize).map_or('0', |digit| char::from(*digit)));
        bits /= 36;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn node(id: &str) -> NodeId {
        id.parse().unwrap()
    }

    fn propagation(limits: Limits) -> Propagation {
        Propagation::new(7, &limits)
    }

    fn accept(propagation: &mut Propagation, patterns: &[&str]) -> Result<String, Refusal> {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        propagation.accept(at(0), None, patterns, vec![node("edge.fra"), node("edge.iad")])
    }

    #[test]
    fn it_is_complete_when_every_running_node_has_confirmed() {
        let mut propagation = propagation(Limits::default());
        let id = accept(&mut propagation, &["/a"]).unwrap();
        assert_eq!(propagation.handle_attempt(at(40), &id, &node("edge.fra"), Attempt::Done(3)), Next::Over);
        assert_eq!(propagation.row(&id).unwrap().status, InvalidationStatus::InProgress);
        assert_eq!(
            propagation.handle_attempt(at(90), &id, &node("edge.iad"), Attempt::NotRunning),
            Next::Finished(InvalidationStatus::Completed)
        );
        let row = propagation.row(&id).unwrap();
        assert_eq!(
            (row.status, row.nodes[0].removed, row.nodes[0].after_ms),
            (InvalidationStatus::Completed, 3, Some(40))
        );
        assert_eq!(row.nodes[1].state, Delivery::Skipped);
    }

    #[test]
    fn edges_are_told_again_once_the_shield_that_they_ask_has_heard() {
        let mut propagation = propagation(Limits::default());
        let nodes = vec![node("edge.fra"), node("edge.iad"), node("shield.iad")];
        let id = propagation.accept(at(0), None, vec!["/a".into()], nodes).unwrap();
        let mut done =
            |ms, name: &str, removed| propagation.handle_attempt(at(ms), &id, &node(name), Attempt::Done(removed));
        assert_eq!(done(10, "edge.iad", 1), Next::Over);
        assert_eq!(done(20, "edge.fra", 1), Next::Over);
        let edges = vec![node("edge.fra"), node("edge.iad")];
        assert_eq!(done(30, "shield.iad", 1), Next::TellAgain(edges));
        assert_eq!(done(40, "edge.iad", 0), Next::Over);
        // It had fetched from the shield what the shield forgot only then.
        assert_eq!(done(50, "edge.fra", 1), Next::Finished(InvalidationStatus::Completed));
        let row = propagation.row(&id).unwrap();
        let removed: Vec<_> = row.nodes.iter().map(|node| (node.removed, node.after_ms)).collect();
        assert_eq!(removed, [(2, Some(50)), (1, Some(40)), (1, Some(30))]);
    }

    #[test]
    fn failures_are_tried_again_ever_more_slowly_until_given_up() {
        let mut propagation = propagation(Limits::default());
        let id = accept(&mut propagation, &["/a"]).unwrap();
        let mut now = at(0);
        let mut pauses = Vec::new();
        let next = loop {
            match propagation.handle_attempt(now, &id, &node("edge.fra"), Attempt::Failed("partition".into())) {
                Next::RetryAfter(pause) => {
                    pauses.push(pause.as_millis());
                    now += pause;
                }
                next => break next,
            }
        };
        assert_eq!(pauses[..6], [200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(next, Next::Over);
        let row = propagation.row(&id).unwrap();
        assert_eq!((row.nodes[0].state, row.nodes[0].error.as_deref()), (Delivery::Failed, Some("partition")));
        assert_eq!(
            propagation.handle_attempt(now, &id, &node("edge.iad"), Attempt::Done(0)),
            Next::Finished(InvalidationStatus::Failed)
        );
    }

    #[test]
    fn paths_in_progress_are_limited_as_cloudfronts() {
        let mut propagation =
            propagation(Limits { invalidation_paths_max: 3, invalidation_wildcards_max: 1, ..Limits::default() });
        let id = accept(&mut propagation, &["/a", "/b*"]).unwrap();
        assert!(matches!(accept(&mut propagation, &["/c*"]), Err(Refusal::InvalidationsFull { max: 1, .. })));
        assert!(matches!(accept(&mut propagation, &["/c", "/d"]), Err(Refusal::InvalidationsFull { max: 3, .. })));
        for name in ["edge.fra", "edge.iad"] {
            propagation.handle_attempt(at(1), &id, &node(name), Attempt::Done(0));
        }
        accept(&mut propagation, &["/c", "/d*"]).unwrap();
    }

    #[test]
    fn only_finished_ones_are_forgotten() {
        let mut propagation = propagation(Limits { invalidations_kept: 1, ..Limits::default() });
        let first = accept(&mut propagation, &["/a"]).unwrap();
        let second = accept(&mut propagation, &["/a"]).unwrap();
        assert!(propagation.row(&first).is_some());
        for name in ["edge.fra", "edge.iad"] {
            propagation.handle_attempt(at(1), &first, &node(name), Attempt::Done(0));
        }
        accept(&mut propagation, &["/a"]).unwrap();
        assert!(propagation.row(&first).is_none() && propagation.row(&second).is_some());
    }

    #[test]
    fn ids_look_like_cloudfronts_and_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|nth| id(7, nth)).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 14 && id.starts_with('I')));
    }
}
