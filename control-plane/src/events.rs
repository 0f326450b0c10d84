//! What happened, in order: a ring of events that subscribers read from wherever they left off.
//!
//! Publishing never waits for a reader. One that is slower than the ring is long is told how many it missed, as an
//! event of kind `gap`.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::wire::Event;

/// The ring.
#[derive(Debug)]
pub(crate) struct Events {
    ring: Mutex<VecDeque<Event>>,
    last: watch::Sender<u64>,
    kept: usize,
}

/// What a reader gets next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Events that the ring has already forgotten.
    pub(crate) lost: u64,
    /// What it still knows, oldest first.
    pub(crate) events: Vec<Event>,
}

impl Events {
    /// A ring that remembers the last `kept` events, at least one.
    pub(crate) fn new(kept: usize) -> Self {
        Self { ring: Mutex::new(VecDeque::new()), last: watch::Sender::new(0), kept: kept.max(1) }
    }

    /// Adds an event at `t_ms`.
    pub(crate) fn publish(&self, t_ms: u64, kind: &str, node: Option<String>, text: String) {
        let mut ring = self.ring();
        let seq = ring.back().map_or(0, |event| event.seq) + 1;
        if ring.len() >= self.kept {
            ring.pop_front();
        }
        ring.push_back(Event { seq, t_ms, kind: kind.to_owned(), node, text });
        // Under the lock, so that the number never goes back.
        self.last.send_replace(seq);
    }

    /// The number of the newest event; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// What came after `seq`. A number from the future belongs to an earlier run, so everything is new.
    pub(crate) fn after(&self, seq: u64) -> Batch {
        let ring = self.ring();
        let seq = if seq > ring.back().map_or(0, |event| event.seq) { 0 } else { seq };
        let first = ring.front().map_or(seq + 1, |event| event.seq);
        Batch {
            lost: first.saturating_sub(seq + 1),
            events: ring.iter().filter(|event| event.seq > seq).cloned().collect(),
        }
    }

    /// Wakes a reader when there is something after what it has seen.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(batch: &Batch) -> (u64, Vec<&str>) {
        (batch.lost, batch.events.iter().map(|event| event.text.as_str()).collect())
    }

    #[test]
    fn readers_go_on_where_they_left_off_and_are_told_what_they_missed() {
        let events = Events::new(3);
        assert_eq!(texts(&events.after(0)), (0, vec![]));
        for text in ["a", "b", "c", "d", "e"] {
            events.publish(0, "test", None, text.into());
        }
        assert_eq!(texts(&events.after(3)), (0, vec!["d", "e"]));
        assert_eq!(texts(&events.after(2)), (0, vec!["c", "d", "e"]));
        assert_eq!(texts(&events.after(0)), (2, vec!["c", "d", "e"]));
        assert_eq!(texts(&events.after(5)), (0, vec![]));
        assert_eq!(events.last(), 5);
    }

    #[test]
    fn a_number_of_an_earlier_run_starts_over() {
        let events = Events::new(3);
        events.publish(0, "test", None, "a".into());
        assert_eq!(texts(&events.after(900)), (0, vec!["a"]));
    }
}
