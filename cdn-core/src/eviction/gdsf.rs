//! GDSF, Greedy-Dual-Size-Frequency (Cherkasova 1998): who is large and seldom asked for goes first.
//!
//! The priority of a slot is a clock plus its hits per byte; the lowest goes, among equals who was asked for longest ago,
//! and the clock takes over its priority, so that what was popular once grows old.

use std::collections::BTreeSet;

use super::{Eviction, Newcomer, per_slot::PerSlot};

/// The policy.
#[derive(Debug, Default)]
pub(super) struct Gdsf {
    ranks: BTreeSet<(Rank, u32)>,
    notes: PerSlot<Note>,
    clock: f64,
    /// Requests so far.
    requests: u64,
}

/// Lowest first. Priorities are not negative, so their bits are in the order of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority_bits: u64,
    request: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    rank: Rank,
    /// Requests for it since it came; zero where it is not there.
    frequency: u64,
    bytes: u64,
}

impl Gdsf {
    fn ask(&mut self, slot: u32, frequency: u64, bytes: u64) {
        self.on_remove(slot);
        self.requests += 1;
        let priority = self.clock + frequency as f64 / bytes.max(1) as f64;
        let rank = Rank { priority_bits: priority.to_bits(), request: self.requests };
        self.ranks.insert((rank, slot));
        self.notes.set(slot, Note { rank, frequency, bytes });
    }
}

impl Eviction for Gdsf {
    fn on_insert(&mut self, slot: u32, newcomer: Newcomer) {
        self.ask(slot, 1, newcomer.bytes);
    }

    fn on_resize(&mut self, slot: u32, bytes: u64) {
        if let Some(note) = self.notes.get_mut(slot) {
            note.bytes = bytes;
        }
    }

    fn on_hit(&mut self, slot: u32) {
        let Note { frequency, bytes, .. } = self.notes.get(slot);
        if frequency > 0 {
            self.ask(slot, frequency + 1, bytes);
        }
    }

    fn on_remove(&mut self, slot: u32) {
        if let Some(note) = self.notes.get_mut(slot).filter(|note| note.frequency > 0) {
            note.frequency = 0;
            self.ranks.remove(&(note.rank, slot));
        }
    }

    fn victim(&mut self) -> Option<u32> {
        let &(rank, slot) = self.ranks.first()?;
        self.clock = f64::from_bits(rank.priority_bits);
        Some(slot)
    }
}
