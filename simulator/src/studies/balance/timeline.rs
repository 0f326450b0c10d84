//! What happens next in a run.
//!
//! Most of what is to come needs no queue that sorts: there is one query that comes next and one answer that a server has
//! next, and deadlines and answers to probes come in the order in which they were asked for, since each kind takes the same
//! time. Of what happens at the same moment, the first in the order of [`Event`] goes first.

use std::collections::VecDeque;

use cdn_core::Instant;

use crate::{queue::EventQueue, slab::Key};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// A server has an answer.
    Answer { server: u32 },
    /// A query is given up if it is still there.
    Deadline(Key),
    /// A server's answer to a probe is there.
    Probed { client: u32, server: u32 },
    /// What changes in the world.
    Change(Change),
    /// A query comes.
    Query,
}

/// What happens seldom, and at any time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// An antagonist changes its mind.
    Antagonist { server: u32 },
    /// Servers report of themselves.
    Report,
}

/// All that is to come.
#[derive(Debug)]
pub(super) struct Timeline {
    query: Instant,
    answers: Earliest,
    deadlines: VecDeque<(Instant, Key)>,
    probes: VecDeque<(Instant, u32, u32)>,
    changes: EventQueue<Change>,
    /// Of the next change.
    change: Instant,
}

impl Timeline {
    /// The first query comes at once, and nothing else.
    pub(super) fn new(servers: usize) -> Self {
        Self {
            query: Instant::ZERO,
            answers: Earliest::new(servers),
            deadlines: VecDeque::new(),
            probes: VecDeque::new(),
            changes: EventQueue::new(),
            change: Instant::MAX,
        }
    }

    /// The next query comes then. There is always one to come.
    pub(super) const fn await_query(&mut self, at: Instant) {
        self.query = at;
    }

    /// The next answer of a server comes then, or none.
    pub(super) fn await_answer(&mut self, server: u32, at: Option<Instant>) {
        self.answers.set(server as usize, at.unwrap_or(Instant::MAX));
    }

    /// A query will be given up, not before any whose deadline was set earlier.
    pub(super) fn await_deadline(&mut self, at: Instant, query: Key) {
        debug_assert!(self.deadlines.back().is_none_or(|(last, _)| *last <= at), "deadlines are equally long");
        self.deadlines.push_back((at, query));
    }

    /// A probe will be answered, not before any that was sent earlier.
    pub(super) fn await_probe(&mut self, at: Instant, client: u32, server: u32) {
        debug_assert!(self.probes.back().is_none_or(|(last, ..)| *last <= at), "probes take equally long");
        self.probes.push_back((at, client, server));
    }

    /// Something will change.
    pub(super) fn await_change(&mut self, at: Instant, change: Change) {
        self.changes.push(at, change);
        self.change = self.change.min(at);
    }

    /// The next thing that happens. An answer and a query stand until another is awaited in their place.
    pub(super) fn pop(&mut self) -> (Instant, Event) {
        let (answer, server) = self.answers.first();
        let deadline = self.deadlines.front().map_or(Instant::MAX, |(at, _)| *at);
        let probe = self.probes.front().map_or(Instant::MAX, |(at, ..)| *at);
        let first = answer.min(deadline).min(probe).min(self.change).min(self.query);
        if answer == first {
            return (first, Event::Answer { server: server as u32 });
        }
        if deadline == first
            && let Some((_, query)) = self.deadlines.pop_front()
        {
            return (first, Event::Deadline(query));
        }
        if probe == first
            && let Some((_, client, server)) = self.probes.pop_front()
        {
            return (first, Event::Probed { client, server });
        }
        if self.change == first
            && let Some((_, change)) = self.changes.pop()
        {
            self.change = self.changes.next_at().unwrap_or(Instant::MAX);
            return (first, Event::Change(change));
        }
        (first, Event::Query)
    }
}

/// A moment for each of some places, and which of them is the earliest: a tournament, in which every place plays against
/// its neighbour, the winners against each other, and so on. Of equals the place that comes first wins.
#[derive(Debug)]
struct Earliest {
    /// The power of two that has room for all places: where leaves begin.
    width: usize,
    /// The earlier of two below at each inner node, the root at 1; then the leaves.
    at: Box<[Instant]>,
    /// The leaf from which each has come.
    from: Box<[u32]>,
}

impl Earliest {
    fn new(places: usize) -> Self {
        let width = places.next_power_of_two();
        let leaf = |mut node: usize| {
            while node < width {
                node *= 2;
            }
            (node - width) as u32
        };
        Self {
            width,
            at: vec![Instant::MAX; 2 * width].into(),
            from: (0..2 * width).map(|node| leaf(node.max(1))).collect(),
        }
    }

    fn set(&mut self, place: usize, at: Instant) {
        let mut node = self.width + place;
        self.at[node] = at;
        while node > 1 {
            let (left, right) = (node & !1, node | 1);
            let winner = if self.at[right] < self.at[left] { right } else { left };
            let (at, from) = (self.at[winner], self.from[winner]);
            node /= 2;
            (self.at[node], self.from[node]) = (at, from);
        }
    }

    fn first(&self) -> (Instant, usize) {
        (self.at[1], self.from[1] as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::slab::Slab;

    #[test]
    fn what_happens_at_the_same_moment_has_an_order() {
        let at = Instant::from_nanos;
        let key = Slab::default().insert(());
        let mut timeline = Timeline::new(3);
        timeline.await_query(at(5));
        timeline.await_change(at(5), Change::Report);
        timeline.await_change(at(4), Change::Antagonist { server: 1 });
        timeline.await_probe(at(5), 7, 2);
        timeline.await_deadline(at(5), key);
        timeline.await_answer(2, Some(at(5)));
        timeline.await_answer(0, Some(at(6)));
        assert_eq!(timeline.pop(), (at(4), Event::Change(Change::Antagonist { server: 1 })));
        assert_eq!(timeline.pop(), (at(5), Event::Answer { server: 2 }));
        timeline.await_answer(2, None);
        assert_eq!(timeline.pop(), (at(5), Event::Deadline(key)));
        assert_eq!(timeline.pop(), (at(5), Event::Probed { client: 7, server: 2 }));
        assert_eq!(timeline.pop(), (at(5), Event::Change(Change::Report)));
        assert_eq!(timeline.pop(), (at(5), Event::Query));
        timeline.await_query(at(9));
        assert_eq!(timeline.pop(), (at(6), Event::Answer { server: 0 }));
    }

    proptest! {
        /// The obvious twin is a list that is searched for its least.
        #[test]
        fn the_earliest_of_any_number_of_places_is_first(
            places in 1_usize..12, moments in prop::collection::vec((0_usize..12, 0_u64..20), 1..60),
        ) {
            let (mut earliest, mut twin) = (Earliest::new(places), vec![Instant::MAX; places]);
            for (place, moment) in moments {
                let (place, moment) = (place % places, Instant::from_nanos(moment));
                earliest.set(place, moment);
                twin[place] = moment;
                let least = twin.iter().zip(0..).min().map(|(at, place)| (*at, place));
                prop_assert_eq!(Some(earliest.first()), least);
            }
        }
    }
}
