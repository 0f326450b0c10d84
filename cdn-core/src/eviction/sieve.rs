//! SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI 2024).
//!
//! New slots enter at the newest end and never move. A hand walks from old to new: a slot whose bit is set loses the
//! bit and stays, the first without one goes. The hand keeps its place between evictions.

use super::{Eviction, Newcomer, per_slot::PerSlot, queue::Queue};

/// The policy.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    queue: Queue,
    visited: PerSlot<bool>,
    hand: Option<u32>,
}

impl Eviction for Sieve {
    fn on_insert(&mut self, slot: u32, _: Newcomer) {
        self.visited.set(slot, false);
        self.queue.push(slot);
    }

    fn on_hit(&mut self, slot: u32) {
        if let Some(bit) = self.visited.get_mut(slot) {
            *bit = true;
        }
    }

    fn on_remove(&mut self, slot: u32) {
        if self.hand == Some(slot) {
            self.hand = self.queue.newer(slot);
        }
        self.queue.remove(slot);
    }

    fn touch(&self, slot: u32) -> u32 {
        self.visited.get(slot).into()
    }

    fn victim(&mut self) -> Option<u32> {
        let mut slot = self.hand.or_else(|| self.queue.oldest())?;
        // Each turn clears a bit, so the walk ends after at most one round.
        while let Some(bit) = self.visited.get_mut(slot).filter(|bit| **bit) {
            *bit = false;
            slot = self.queue.newer(slot).or_else(|| self.queue.oldest())?;
        }
        self.hand = Some(slot);
        self.hand
    }
}
