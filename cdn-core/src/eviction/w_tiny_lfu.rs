//! W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy", ACM ToS 2017).
//!
//! New slots enter an LRU window of a hundredth of the bytes. The rest is a segmented LRU, a fifth on probation and four
//! fifths protected. What the window has no room for goes over while there is room; else it is held against whom the main
//! part would let go, and who was asked for less often lately goes, the newer one where they are equal. A sketch counts.

use super::{Eviction, Newcomer, per_slot::PerSlot, queue::Queue, sketch::Sketch, slru::Slru};

/// The window has one part in this many of the bytes: the paper's 1 %.
const WINDOW_SHARE: u64 = 100;
/// Of the main part, one in this many is on probation: the paper's 20 %.
const PROBATION_SHARE: u64 = 5;

/// The policy.
#[derive(Debug)]
pub(super) struct WTinyLfu {
    window: Queue,
    window_bytes: u64,
    window_bytes_max: u64,
    main: Slru,
    main_bytes_max: u64,
    notes: PerSlot<Newcomer>,
    sketch: Sketch,
    /// What room is being made for.
    coming: u64,
}

impl WTinyLfu {
    pub(super) fn new(bytes_max: u64) -> Self {
        let window_bytes_max = (bytes_max / WINDOW_SHARE).max(1);
        let main_bytes_max = bytes_max.saturating_sub(window_bytes_max);
        let probation = main_bytes_max / PROBATION_SHARE;
        Self {
            window: Queue::default(),
            window_bytes: 0,
            window_bytes_max,
            main: Slru::with_segments(&[probation, main_bytes_max - probation]),
            main_bytes_max,
            notes: PerSlot::default(),
            sketch: Sketch::default(),
            coming: 0,
        }
    }

    /// The oldest of the window, where the window has more than it should with this many bytes to come.
    fn candidate(&self, coming: u64) -> Option<u32> {
        let full = self.window_bytes.saturating_add(coming) > self.window_bytes_max;
        self.window.oldest().filter(|_| full)
    }

    /// Moves a slot from the window to the main part, where that has room. False where it has none.
    fn moved(&mut self, slot: u32) -> bool {
        let newcomer = self.notes.get(slot);
        if self.main.bytes().saturating_add(newcomer.bytes) > self.main_bytes_max {
            return false;
        }
        self.window.remove(slot);
        self.window_bytes -= newcomer.bytes;
        self.main.enter(slot, newcomer);
        true
    }

    fn estimate(&self, slot: u32) -> u8 {
        self.sketch.estimate(self.notes.get(slot).identity)
    }
}

impl Eviction for WTinyLfu {
    fn on_miss(&mut self, newcomer: Newcomer) {
        self.coming = newcomer.bytes;
        self.sketch.add(newcomer.identity);
    }

    fn on_insert(&mut self, slot: u32, newcomer: Newcomer) {
        self.on_remove(slot);
        self.coming = 0;
        self.notes.set(slot, newcomer);
        self.sketch.make_room_for(self.notes.len());
        self.window.push(slot);
        self.window_bytes += newcomer.bytes;
        while let Some(candidate) = self.candidate(0)
            && self.moved(candidate)
        {}
    }

    fn on_resize(&mut self, slot: u32, bytes: u64) {
        let is_new = self.window.has(slot);
        let Some(note) = self.notes.get_mut(slot).filter(|_| is_new || self.main.has(slot)) else { return };
        let before = std::mem::replace(&mut note.bytes, bytes);
        if is_new {
            self.window_bytes = self.window_bytes - before + bytes;
        } else {
            self.main.on_resize(slot, bytes);
        }
    }

    fn on_hit(&mut self, slot: u32) {
        self.sketch.add(self.notes.get(slot).identity);
        if self.window.has(slot) {
            self.window.push(slot);
        } else {
            self.main.on_hit(slot);
        }
    }

    fn on_remove(&mut self, slot: u32) {
        if self.window.remove(slot) {
            self.window_bytes -= self.notes.get(slot).bytes;
        } else {
            self.main.on_remove(slot);
        }
    }

    fn victim(&mut self) -> Option<u32> {
        // Each turn moves a slot out of the window, so the walk ends.
        while let Some(candidate) = self.candidate(self.coming) {
            if self.moved(candidate) {
                continue;
            }
            let Some(victim) = self.main.victim() else { return Some(candidate) };
            return Some(if self.estimate(candidate) > self.estimate(victim) { victim } else { candidate });
        }
        self.main.victim().or_else(|| self.window.oldest())
    }
}
