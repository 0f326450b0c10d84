//! Several observers, one verdict: an edge is down when enough of those who look at it say so.
//!
//! One observer may be cut off from an edge that everybody else reaches; that must not take the edge away from all. So
//! observers tell one another what they see, an opinion counts while it is fresh, and *down* needs a quorum: by default
//! more than half of the fresh opinions, the observer's own among them. Of two, both; where one says up and the other
//! down the edge stays in, because a client that meets a dead address goes on to the second one of its answer, and a
//! living edge left out is lost to all. Who hears nobody judges alone.
//!
//! Knows opinions and time; does not know how they travel.

use std::{collections::BTreeMap, time::Duration};

use super::HealthState;
use crate::{Instant, NodeId};

/// How opinions are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumOptions {
    /// Observers that must call an edge down, 1 or more; `None` for more than half of those whose opinion is fresh.
    /// Never more than have one. Default `None`.
    pub quorum: Option<u32>,
    /// How long an opinion of somebody else counts. Default 2 s: short enough that the last word of an observer that
    /// died together with an edge does not delay its detection, see [`ProbeOptions::detection_bound`](super::ProbeOptions::detection_bound).
    pub fresh_for: Duration,
}

impl Default for QuorumOptions {
    fn default() -> Self {
        Self { quorum: None, fresh_for: Duration::from_secs(2) }
    }
}

impl QuorumOptions {
    /// How often observers should repeat themselves so that a lost word or two cost nothing.
    pub fn repeat_interval(&self) -> Duration {
        self.fresh_for / 4
    }
}

/// Other observers that are remembered at most; there are as many as routers.
const OBSERVERS_MAX: usize = 64;

/// What is made of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// *Down* by quorum, *suspect* where anybody doubts, *unknown* where nobody has an opinion.
    pub state: HealthState,
    /// Observers with a fresh opinion.
    pub observers: u32,
    /// Those of them who say *down*.
    pub down: u32,
}

/// What other observers say. See the module.
#[derive(Clone, Debug)]
pub struct Quorum {
    options: QuorumOptions,
    heard: BTreeMap<NodeId, Heard>,
}

#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    states: BTreeMap<NodeId, HealthState>,
}

impl Quorum {
    /// Nobody was heard yet.
    pub const fn new(options: QuorumOptions) -> Self {
        Self { options, heard: BTreeMap::new() }
    }

    /// `observer` says what it sees, of all edges at once; this takes the place of what it said before.
    pub fn handle_opinions(
        &mut self,
        now: Instant,
        observer: NodeId,
        states: impl IntoIterator<Item = (NodeId, HealthState)>,
    ) {
        if self.heard.len() < OBSERVERS_MAX || self.heard.contains_key(&observer) {
            self.heard.insert(observer, Heard { at: now, states: states.into_iter().collect() });
        }
    }

    /// What to make of `edge`, which this observer itself sees as `own`.
    pub fn verdict(&self, now: Instant, edge: &NodeId, own: HealthState) -> Verdict {
        let theirs = self.heard.values().filter(|heard| self.is_fresh(now, heard));
        let theirs = theirs.filter_map(|heard| heard.states.get(edge).copied());
        let opinions = || theirs.clone().chain([own]).filter(|&state| state != HealthState::Unknown);
        let count = |wanted: HealthState| opinions().filter(|&state| state == wanted).count() as u32;
        let (observers, down) = (opinions().count() as u32, count(HealthState::Down));
        let needed = self.options.quorum.unwrap_or(observers / 2 + 1).clamp(1, observers.max(1));
        let state = if observers == 0 {
            HealthState::Unknown
        } else if down >= needed {
            HealthState::Down
        } else if down > 0 || count(HealthState::Suspect) > 0 {
            HealthState::Suspect
        } else {
            HealthState::Up
        };
        Verdict { state, observers, down }
    }

    /// How many others have a fresh word.
    pub fn fresh_observers(&self, now: Instant) -> usize {
        self.heard.values().filter(|heard| self.is_fresh(now, heard)).count()
    }

    /// When a word loses its freshness next: verdicts may change then.
    pub fn poll_timeout(&self) -> Instant {
        self.heard.values().map(|heard| heard.at + self.options.fresh_for).min().unwrap_or(Instant::MAX)
    }

    /// Drops what is not fresh any more; whether there was anything.
    pub fn forget(&mut self, now: Instant) -> bool {
        let before = self.heard.len();
        let fresh_for = self.options.fresh_for;
        self.heard.retain(|_, heard| now < heard.at + fresh_for);
        self.heard.len() < before
    }

    fn is_fresh(&self, now: Instant, heard: &Heard) -> bool {
        now < heard.at + self.options.fresh_for
    }
}

#[cfg(test)]
mod tests {
    use HealthState::{Down, Suspect, Unknown, Up};
    use proptest::prelude::*;

    use super::*;
    use crate::Role;

    fn edge() -> NodeId {
        NodeId::new(Role::Edge, "fra")
    }

    fn heard(options: QuorumOptions, opinions: &[HealthState]) -> Quorum {
        let mut quorum = Quorum::new(options);
        for (at, &state) in opinions.iter().enumerate() {
            let observer = NodeId::new(Role::Router, &format!("r{at}"));
            quorum.handle_opinions(Instant::ZERO, observer, [(edge(), state)]);
        }
        quorum
    }

    fn state(own: HealthState, others: &[HealthState]) -> HealthState {
        heard(QuorumOptions::default(), others).verdict(Instant::ZERO, &edge(), own).state
    }

    #[test]
    fn one_observer_judges_alone_two_must_agree_and_of_three_two() {
        assert_eq!([state(Down, &[]), state(Up, &[]), state(Unknown, &[])], [Down, Up, Unknown]);
        assert_eq!([state(Down, &[Up]), state(Up, &[Down]), state(Down, &[Down])], [Suspect, Suspect, Down]);
        assert_eq!([state(Down, &[Up, Up]), state(Down, &[Up, Down]), state(Up, &[Down, Down])], [Suspect, Down, Down]);
    }

    #[test]
    fn who_knows_nothing_has_no_vote() {
        assert_eq!([state(Down, &[Unknown]), state(Unknown, &[Up]), state(Unknown, &[Down])], [Down, Up, Down]);
        let mut quorum = Quorum::new(QuorumOptions::default());
        quorum.handle_opinions(Instant::ZERO, NodeId::new(Role::Router, "a"), [(NodeId::new(Role::Edge, "iad"), Up)]);
        let verdict = quorum.verdict(Instant::ZERO, &edge(), Down);
        assert_eq!(verdict, Verdict { state: Down, observers: 1, down: 1 });
    }

    #[test]
    fn a_word_that_is_not_repeated_loses_its_weight() {
        let mut quorum = heard(QuorumOptions::default(), &[Up]);
        let late = Instant::ZERO + Duration::from_secs(2);
        assert_eq!(quorum.verdict(late - Duration::from_millis(1), &edge(), Down).state, Suspect);
        assert_eq!(quorum.poll_timeout(), late);
        assert_eq!(quorum.verdict(late, &edge(), Down).state, Down);
        assert!(quorum.forget(late) && !quorum.forget(late));
        assert_eq!((quorum.poll_timeout(), quorum.fresh_observers(late)), (Instant::MAX, 0));
    }

    #[test]
    fn a_quorum_can_be_set_and_is_never_more_than_there_are() {
        let any = QuorumOptions { quorum: Some(1), ..QuorumOptions::default() };
        assert_eq!(heard(any, &[Up, Up]).verdict(Instant::ZERO, &edge(), Down).state, Down);
        let all = QuorumOptions { quorum: Some(9), ..QuorumOptions::default() };
        assert_eq!(heard(all.clone(), &[Down, Up]).verdict(Instant::ZERO, &edge(), Down).state, Suspect);
        assert_eq!(heard(all, &[Down, Down]).verdict(Instant::ZERO, &edge(), Down).state, Down);
    }

    #[test]
    fn observers_without_number_take_no_memory_without_end() {
        let mut quorum = heard(QuorumOptions::default(), &[Up; 200]);
        assert_eq!(quorum.fresh_observers(Instant::ZERO), OBSERVERS_MAX);
        quorum.handle_opinions(Instant::ZERO, NodeId::new(Role::Router, "r0"), [(edge(), Down)]);
        assert_eq!(quorum.verdict(Instant::ZERO, &edge(), Up).down, 1, "whoever is known is heard");
    }

    fn states() -> impl Strategy<Value = Vec<HealthState>> {
        prop::collection::vec(prop::sample::select(vec![Unknown, Up, Suspect, Down]), 0..8)
    }

    proptest! {
        /// Whatever the others say, one observer alone never takes an edge out, and enough of them always do.
        #[test]
        fn down_needs_more_than_half_of_those_who_know(own in states().prop_map(|all| all.first().copied().unwrap_or(Up)), others in states()) {
            let verdict = heard(QuorumOptions::default(), &others).verdict(Instant::ZERO, &edge(), own);
            let known: Vec<_> = others.iter().chain([&own]).filter(|&&state| state != Unknown).collect();
            let down = known.iter().filter(|&&&state| state == Down).count();
            prop_assert_eq!(verdict.state == Down, 2 * down > known.len());
            prop_assert_eq!(verdict.state == Unknown, known.is_empty());
            prop_assert_eq!((verdict.observers, verdict.down), (known.len() as u32, down as u32));
        }

        /// The verdict does not depend on who says what, and whoever changes from up to down never brings an edge back.
        #[test]
        fn opinions_are_counted_alike_and_more_doubt_never_helps(mut others in states(), at in 0..8usize, quorum in prop::option::of(1..5u32)) {
            let options = QuorumOptions { quorum, ..QuorumOptions::default() };
            let of = |others: &[HealthState]| heard(options.clone(), others).verdict(Instant::ZERO, &edge(), Up);
            let before = of(&others);
            let mut turned = others.clone();
            turned.reverse();
            prop_assert_eq!(before, of(&turned));
            if let Some(state) = others.get_mut(at).filter(|state| **state == Up) {
                *state = Down;
                prop_assert!(before.state != Down || of(&others).state == Down);
            }
        }
    }
}
