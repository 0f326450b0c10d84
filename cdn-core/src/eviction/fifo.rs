//! First in, first out: a hit changes nothing.

use super::{Eviction, Newcomer, queue::Queue};

/// The policy.
#[derive(Debug, Default)]
pub(super) struct Fifo(Queue);

impl Eviction for Fifo {
    fn on_insert(&mut self, slot: u32, _: Newcomer) {
        self.0.push(slot);
    }

    fn on_hit(&mut self, _: u32) {}

    fn on_remove(&mut self, slot: u32) {
        self.0.remove(slot);
    }

    fn victim(&mut self) -> Option<u32> {
        self.0.oldest()
    }
}
