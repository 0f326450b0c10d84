//! Least recently used: a hit moves to the newest end, the oldest goes.

use super::{Eviction, Newcomer, queue::Queue};

/// The policy.
#[derive(Debug, Default)]
pub(super) struct Lru(Queue);

impl Eviction for Lru {
    fn on_insert(&mut self, slot: u32, _: Newcomer) {
        self.0.push(slot);
    }

    fn on_hit(&mut self, slot: u32) {
        self.0.push(slot);
    }

    fn on_remove(&mut self, slot: u32) {
        self.0.remove(slot);
    }

    fn touch(&self, slot: u32) -> u32 {
        self.0.touch(slot)
    }

    fn victim(&mut self) -> Option<u32> {
        self.0.oldest()
    }
}
