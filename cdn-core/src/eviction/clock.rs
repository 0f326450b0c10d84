//! CLOCK (Corbató 1968), with one bit: first in, first out, but what was asked for goes round once more.

use super::{Eviction, Newcomer, per_slot::PerSlot, queue::Queue};

/// The policy. The hand stands at the oldest slot; what it passes becomes the newest, which is the same as a hand that
/// moves over a ring.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ring: Queue,
    referenced: PerSlot<bool>,
}

impl Eviction for Clock {
    fn on_insert(&mut self, slot: u32, _: Newcomer) {
        self.referenced.set(slot, false);
        self.ring.push(slot);
    }

    fn on_hit(&mut self, slot: u32) {
        if let Some(bit) = self.referenced.get_mut(slot) {
            *bit = true;
        }
    }

    fn on_remove(&mut self, slot: u32) {
        self.ring.remove(slot);
    }

    fn touch(&self, slot: u32) -> u32 {
        self.referenced.get(slot).into()
    }

    fn victim(&mut self) -> Option<u32> {
        let mut slot = self.ring.oldest()?;
        // Each turn clears a bit, so the walk ends after at most one round.
        while let Some(bit) = self.referenced.get_mut(slot).filter(|bit| **bit) {
            *bit = false;
            self.ring.push(slot);
            slot = self.ring.oldest()?;
        }
        Some(slot)
    }
}
