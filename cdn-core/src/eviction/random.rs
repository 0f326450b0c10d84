//! Any one, drawn evenly: what a policy must beat to be worth its memory.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Eviction, Newcomer, per_slot::PerSlot};

/// Runs repeat: everybody draws from the same stream.
const SEED: u64 = 0;

/// The policy.
#[derive(Debug)]
pub(super) struct Random {
    slots: Vec<u32>,
    /// Where each stands among them, counted from one; zero for those that do not.
    positions: PerSlot<u32>,
    rng: ChaCha8Rng,
}

impl Default for Random {
    fn default() -> Self {
        Self { slots: Vec::new(), positions: PerSlot::default(), rng: ChaCha8Rng::seed_from_u64(SEED) }
    }
}

impl Eviction for Random {
    fn on_insert(&mut self, slot: u32, _: Newcomer) {
        self.on_remove(slot);
        self.slots.push(slot);
        self.positions.set(slot, self.slots.len() as u32);
    }

    fn on_hit(&mut self, _: u32) {}

    fn on_remove(&mut self, slot: u32) {
        let Some(position) = self.positions.get_mut(slot).filter(|position| **position > 0) else { return };
        let at = std::mem::take(position) as usize - 1;
        self.slots.swap_remove(at);
        if let Some(moved) = self.slots.get(at).and_then(|&moved| self.positions.get_mut(moved)) {
            *moved = at as u32 + 1;
        }
    }

    fn victim(&mut self) -> Option<u32> {
        let last = self.slots.len().checked_sub(1)?;
        self.slots.get(self.rng.random_range(0..=last)).copied()
    }
}
