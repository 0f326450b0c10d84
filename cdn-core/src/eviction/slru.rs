//! Segmented LRU (Karedla, Love, Wherry 1994): a hit moves a slot to the newest end of the next segment; what a segment
//! has no room for falls to the newest end of the one below, and from the lowest it goes.
//!
//! Four segments of a quarter of the bytes each, as libCacheSim has it by default; a newcomer enters the lowest segment
//! that has room. W-TinyLFU uses two, of a fifth and four fifths.

use super::{Eviction, Newcomer, per_slot::PerSlot, queue::Queues};

/// The policy.
#[derive(Debug)]
pub(super) struct Slru {
    lists: Queues,
    /// Lowest first.
    segments: Vec<Segment>,
    bytes: PerSlot<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    bytes: u64,
    bytes_max: u64,
}

impl Slru {
    /// Four equal segments; the lowest has what does not divide.
    pub(super) fn new(bytes_max: u64) -> Self {
        let quarter = bytes_max / 4;
        Self::with_segments(&[bytes_max - 3 * quarter, quarter, quarter, quarter])
    }

    /// Segments of these bytes, lowest first.
    pub(super) fn with_segments(bytes_max: &[u64]) -> Self {
        Self {
            lists: Queues::new(bytes_max.len()),
            segments: bytes_max.iter().map(|&bytes_max| Segment { bytes: 0, bytes_max }).collect(),
            bytes: PerSlot::default(),
        }
    }

    /// Bytes in all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Puts a newcomer into the lowest segment, whether it has room or not: others fall when something rises.
    pub(super) fn enter(&mut self, slot: u32, newcomer: Newcomer) {
        self.on_remove(slot);
        self.bytes.set(slot, newcomer.bytes);
        self.move_to(0, slot);
    }

    /// Whether a slot is in one of them.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.lists.list_of(slot).is_some()
    }

    fn move_to(&mut self, list: u32, slot: u32) {
        let bytes = self.bytes.get(slot);
        if let Some(before) = self.lists.list_of(slot).and_then(|list| self.segments.get_mut(list as usize)) {
            before.bytes -= bytes;
        }
        if let Some(after) = self.segments.get_mut(list as usize) {
            after.bytes += bytes;
            self.lists.push_to(list, slot);
        }
    }

    /// Lets what this segment and those below have no room for fall.
    fn settle(&mut self, highest: u32) {
        for list in (1..=highest).rev() {
            while self.segments.get(list as usize).is_some_and(|segment| segment.bytes > segment.bytes_max) {
                let Some(slot) = self.lists.oldest_of(list) else { break };
                self.move_to(list - 1, slot);
            }
        }
    }
}

impl Eviction for Slru {
    fn on_insert(&mut self, slot: u32, newcomer: Newcomer) {
        self.on_remove(slot);
        self.bytes.set(slot, newcomer.bytes);
        let has_room = |segment: &Segment| segment.bytes.saturating_add(newcomer.bytes) <= segment.bytes_max;
        let list = self.segments.iter().position(has_room).unwrap_or(0);
        self.move_to(list as u32, slot);
    }

    fn on_resize(&mut self, slot: u32, bytes: u64) {
        let Some(list) = self.lists.list_of(slot) else { return };
        let before = self.bytes.get(slot);
        self.bytes.set(slot, bytes);
        if let Some(segment) = self.segments.get_mut(list as usize) {
            segment.bytes = segment.bytes - before + bytes;
        }
        self.settle(list);
    }

    fn on_hit(&mut self, slot: u32) {
        let Some(list) = self.lists.list_of(slot) else { return };
        let list = (list + 1).min(self.segments.len() as u32 - 1);
        self.move_to(list, slot);
        self.settle(list);
    }

    fn on_remove(&mut self, slot: u32) {
        let Some(list) = self.lists.list_of(slot) else { return };
        self.lists.remove(slot);
        if let Some(segment) = self.segments.get_mut(list as usize) {
            segment.bytes -= self.bytes.get(slot);
        }
    }

    fn touch(&self, slot: u32) -> u32 {
        self.lists.touch(slot) ^ self.bytes.get(slot) as u32
    }

    fn victim(&mut self) -> Option<u32> {
        (0..self.segments.len() as u32).find_map(|list| self.lists.oldest_of(list))
    }
}
