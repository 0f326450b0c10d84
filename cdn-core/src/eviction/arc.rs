//! ARC, the Adaptive Replacement Cache (Megiddo, Modha, FAST 2003), with bytes in the place of pages.
//!
//! What was asked for once (T1) and what was asked for again (T2) are two LRU lists, and each remembers what has left it
//! (B1, B2). A request for what B1 remembers says that T1 is too small, one for what B2 remembers that it is too large:
//! the target for T1's bytes moves by the size of what was asked for, times the ratio of the ghosts' bytes. T1 and B1
//! together have at most the bytes of the cache, all four twice as many.

use super::{Eviction, Newcomer, ghosts::Ghosts, per_slot::PerSlot, queue::Queues};

const T1: u32 = 0;
const T2: u32 = 1;

/// The policy.
#[derive(Debug)]
pub(super) struct Arc {
    bytes_max: u64,
    lists: Queues,
    /// Bytes of T1 and T2.
    bytes: [u64; 2],
    /// B1 and B2.
    ghosts: [Ghosts; 2],
    notes: PerSlot<Newcomer>,
    /// The paper's p: the bytes that T1 should have.
    target: f64,
    /// What room is being made for.
    coming: Coming,
}

#[derive(Clone, Copy, Debug, Default)]
struct Coming {
    newcomer: Newcomer,
    /// Which of B1 and B2 remembered it.
    remembered: Option<u32>,
}

impl Arc {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            lists: Queues::new(2),
            bytes: [0; 2],
            ghosts: Default::default(),
            notes: PerSlot::default(),
            target: 0.0,
            coming: Coming::default(),
        }
    }

    /// The paper's REPLACE: who goes, and whether T1 or T2 lets it go.
    fn replaced(&self) -> Option<u32> {
        let first = self.bytes[T1 as usize] as f64;
        let exceeds = first > self.target || (first == self.target && self.coming.remembered == Some(T2));
        let (preferred, other) = if exceeds { (T1, T2) } else { (T2, T1) };
        self.lists.oldest_of(preferred).or_else(|| self.lists.oldest_of(other))
    }

    /// Moves a slot to the newest end of T1 or T2.
    fn move_to(&mut self, list: u32, slot: u32) {
        let bytes = self.notes.get(slot).bytes;
        if let Some(before) = self.lists.list_of(slot) {
            self.bytes[before as usize] -= bytes;
        }
        self.bytes[list as usize] += bytes;
        self.lists.push_to(list, slot);
    }
}

impl Eviction for Arc {
    fn on_miss(&mut self, newcomer: Newcomer) {
        self.coming = Coming { newcomer, remembered: None };
        let [first, second] = self.ghosts.each_ref().map(|ghosts| ghosts.bytes().max(1) as f64);
        for (list, ratio, sign) in [(T1, second / first, 1.0), (T2, first / second, -1.0)] {
            if let Some(bytes) = self.ghosts[list as usize].take(newcomer.identity) {
                let step = bytes as f64 * ratio.max(1.0);
                self.target = (self.target + sign * step).clamp(0.0, self.bytes_max as f64);
                self.coming.remembered = Some(list);
                return;
            }
        }
    }

    fn on_insert(&mut self, slot: u32, newcomer: Newcomer) {
        self.on_remove(slot);
        let Coming { newcomer: expected, remembered } = std::mem::take(&mut self.coming);
        self.notes.set(slot, newcomer);
        let again = remembered.is_some() && expected.identity == newcomer.identity;
        self.move_to(if again { T2 } else { T1 }, slot);
    }

    fn on_resize(&mut self, slot: u32, bytes: u64) {
        let Some(list) = self.lists.list_of(slot) else { return };
        if let Some(note) = self.notes.get_mut(slot) {
            let before = std::mem::replace(&mut note.bytes, bytes);
            let sum = &mut self.bytes[list as usize];
            *sum = *sum - before + bytes;
        }
    }

    fn on_hit(&mut self, slot: u32) {
        if self.lists.list_of(slot).is_some() {
            self.move_to(T2, slot);
        }
    }

    fn on_remove(&mut self, slot: u32) {
        if let Some(list) = self.lists.list_of(slot) {
            self.bytes[list as usize] -= self.notes.get(slot).bytes;
            self.lists.remove(slot);
        }
    }

    fn touch(&self, slot: u32) -> u32 {
        self.lists.touch(slot) ^ self.notes.get(slot).bytes as u32
    }

    fn victim(&mut self) -> Option<u32> {
        let mut leaves_ghost = true;
        if self.coming.remembered.is_none() {
            // Case IV of the paper.
            let coming = self.coming.newcomer.bytes;
            let [first, second] = self.bytes;
            let full = |ghosts: &Ghosts| first + ghosts.bytes() + coming > self.bytes_max;
            if full(&self.ghosts[0]) {
                leaves_ghost = self.ghosts[0].len() > 0;
                while full(&self.ghosts[0]) && self.ghosts[0].forget_oldest() {}
                if !leaves_ghost && let Some(slot) = self.lists.oldest_of(T1) {
                    return Some(slot);
                }
            } else {
                let all = |[b1, b2]: &[Ghosts; 2]| first + second + b1.bytes() + b2.bytes();
                while all(&self.ghosts) >= self.bytes_max.saturating_mul(2) && self.ghosts[1].forget_oldest() {}
            }
        }
        let slot = self.replaced()?;
        if let Some(list) = self.lists.list_of(slot).filter(|_| leaves_ghost) {
            self.ghosts[list as usize].push(self.notes.get(slot));
        }
        Some(slot)
    }
}
