//! S3-FIFO (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction", SOSP 2023).
//!
//! New slots enter a small queue that should have a tenth of the bytes. What was asked for more than once by the time it
//! reaches the old end moves to the main queue, the rest goes and leaves its identity in the ghost queue, for nine tenths
//! of the bytes; what comes back while it is remembered there enters the main queue at once. The main queue gives another
//! round for each hit, up to three. A hit only counts.
//!
//! Which queue gives the victim is decided as the authors' libCacheSim does: the main queue where it has more than its
//! nine tenths, else the small one.

use super::{Eviction, Newcomer, ghosts::Ghosts, per_slot::PerSlot, queue::Queues};

/// The small queue has one part in this many of the bytes: the paper's 10 %.
const SMALL_SHARE: u64 = 10;
/// Hits beyond these count no more: the paper's two bits.
const HITS_MAX: u8 = 3;
/// Hits that take a slot from the small queue to the main one.
const HITS_TO_MOVE: u8 = 2;

const SMALL: u32 = 0;
const MAIN: u32 = 1;

/// The policy.
#[derive(Debug)]
pub(super) struct S3Fifo {
    main_bytes_max: u64,
    ghost_bytes_max: u64,
    lists: Queues,
    main_bytes: u64,
    notes: PerSlot<Note>,
    ghosts: Ghosts,
    /// What was remembered when it was asked for, until it is here: those who go meanwhile must not push it out.
    remembered: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    newcomer: Newcomer,
    hits: u8,
}

impl S3Fifo {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            main_bytes_max: bytes_max - bytes_max / SMALL_SHARE,
            ghost_bytes_max: (u128::from(bytes_max) * 9 / 10) as u64,
            lists: Queues::new(2),
            main_bytes: 0,
            notes: PerSlot::default(),
            ghosts: Ghosts::default(),
            remembered: None,
        }
    }

    /// Moves a slot to the newest end of the main queue.
    fn move_to_main(&mut self, slot: u32) {
        if self.lists.list_of(slot) != Some(MAIN) {
            self.main_bytes += self.notes.get(slot).newcomer.bytes;
        }
        self.lists.push_to(MAIN, slot);
    }

    /// Remembers what leaves the small queue. Never more than there were ever slots, so that memory is in proportion to
    /// what is accounted.
    fn remember(&mut self, newcomer: Newcomer) {
        if newcomer.bytes > self.ghost_bytes_max {
            return;
        }
        let full = |ghosts: &Ghosts| {
            ghosts.bytes() + newcomer.bytes > self.ghost_bytes_max || ghosts.len() >= self.notes.len()
        };
        while full(&self.ghosts) && self.ghosts.forget_oldest() {}
        self.ghosts.push(newcomer);
    }
}

impl Eviction for S3Fifo {
    fn on_miss(&mut self, newcomer: Newcomer) {
        self.remembered = self.ghosts.take(newcomer.identity).map(|_| newcomer.identity);
    }

    fn on_insert(&mut self, slot: u32, newcomer: Newcomer) {
        self.on_remove(slot);
        self.notes.set(slot, Note { newcomer, hits: 0 });
        let remembered = self.remembered.take() == Some(newcomer.identity);
        if remembered || self.ghosts.take(newcomer.identity).is_some() {
            self.move_to_main(slot);
        } else {
            self.lists.push_to(SMALL, slot);
        }
    }

    fn on_resize(&mut self, slot: u32, bytes: u64) {
        let Some(list) = self.lists.list_of(slot) else { return };
        if let Some(note) = self.notes.get_mut(slot) {
            let before = std::mem::replace(&mut note.newcomer.bytes, bytes);
            if list == MAIN {
                self.main_bytes = self.main_bytes - before + bytes;
            }
        }
    }

    fn on_hit(&mut self, slot: u32) {
        if let Some(note) = self.notes.get_mut(slot) {
            note.hits = HITS_MAX.min(note.hits + 1);
        }
    }

    fn on_remove(&mut self, slot: u32) {
        if self.lists.list_of(slot) == Some(MAIN) {
            self.main_bytes -= self.notes.get(slot).newcomer.bytes;
        }
        self.lists.remove(slot);
    }

    fn touch(&self, slot: u32) -> u32 {
        self.notes.get(slot).hits.into()
    }

    fn victim(&mut self) -> Option<u32> {
        // Each turn moves a slot for good or takes one of its hits, so the walks end.
        if self.main_bytes <= self.main_bytes_max {
            while let Some(slot) = self.lists.oldest_of(SMALL) {
                let note = self.notes.get_mut(slot)?;
                if note.hits < HITS_TO_MOVE {
                    let newcomer = note.newcomer;
                    self.remember(newcomer);
                    return Some(slot);
                }
                note.hits = 0;
                self.move_to_main(slot);
            }
        }
        while let Some(slot) = self.lists.oldest_of(MAIN) {
            let note = self.notes.get_mut(slot)?;
            if note.hits == 0 {
                return Some(slot);
            }
            note.hits -= 1;
            self.move_to_main(slot);
        }
        // The main queue has nothing, so all of the bytes are in the small one.
        self.lists.oldest_of(SMALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_or_shrinks_counts_as_it_is_in_either_queue() {
        let mut policy = S3Fifo::new(30);
        for slot in 0..3 {
            policy.on_insert(slot, Newcomer { identity: slot.into(), bytes: 10 });
        }
        policy.on_hit(0);
        policy.on_hit(0);
        assert_eq!((policy.victim(), policy.lists.list_of(0)), (Some(1), Some(MAIN)));
        policy.on_remove(1);
        for (slot, bytes) in [(0, 100), (2, 5), (1, 7), (9, 7)] {
            policy.on_resize(slot, bytes);
        }
        assert_eq!((policy.main_bytes, policy.notes.get(2).newcomer.bytes), (100, 5));
        policy.on_remove(0);
        policy.on_remove(2);
        assert_eq!((policy.main_bytes, policy.victim()), (0, None));
    }
}
