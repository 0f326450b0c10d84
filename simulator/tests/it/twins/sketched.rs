//! W-TinyLFU on plain lists, with exact counts in the place of the sketch: over few ids and few requests the sketch has
//! hardly a collision and halves nothing, so both decide alike.

use std::collections::BTreeMap;

use super::{
    Twin,
    lists::{Item, Slru, position, refresh, sum},
};

/// Counts go no higher in the sketch.
const COUNT_MAX: u64 = 15;

/// Least recent first.
#[derive(Debug)]
pub(super) struct WTinyLfu {
    window: Vec<Item>,
    window_bytes_max: u64,
    main: Slru,
    main_bytes_max: u64,
    counts: BTreeMap<u64, u64>,
    bytes_max: u64,
}

impl WTinyLfu {
    pub(super) fn new(bytes_max: u64) -> Self {
        let window_bytes_max = (bytes_max / 100).max(1);
        let main_bytes_max = bytes_max.saturating_sub(window_bytes_max);
        let probation = main_bytes_max / 5;
        Self {
            window: Vec::new(),
            window_bytes_max,
            main: Slru::with_segments(vec![probation, main_bytes_max - probation]),
            main_bytes_max,
            counts: BTreeMap::new(),
            bytes_max,
        }
    }

    fn ask(&mut self, id: u64) {
        let count = self.counts.entry(id).or_default();
        *count = (*count + 1).min(COUNT_MAX);
    }

    /// Moves the oldest of the window on probation, if there is room.
    fn moved(&mut self) -> bool {
        let fits = self.main.bytes() + self.window[0].bytes <= self.main_bytes_max;
        if fits {
            let item = self.window.remove(0);
            self.main.segments[0].push(item);
        }
        fits
    }

    fn evict_one(&mut self, coming: u64) {
        while !self.window.is_empty() && sum(&self.window) + coming > self.window_bytes_max {
            if self.moved() {
                continue;
            }
            match self.main.last() {
                Some(last) if self.counts[&self.window[0].id] > self.counts[&last.id] => self.main.evict_one(),
                _ => self.evict_from_window(),
            }
            return;
        }
        if self.main.last().is_some() { self.main.evict_one() } else { self.evict_from_window() }
    }

    fn evict_from_window(&mut self) {
        self.window.remove(0);
    }
}

impl Twin for WTinyLfu {
    fn hit(&mut self, id: u64) -> bool {
        let hit = if position(&self.window, id).is_some() { refresh(&mut self.window, id) } else { self.main.hit(id) };
        if hit {
            self.ask(id);
        }
        hit
    }

    fn store(&mut self, id: u64, bytes: u64) {
        self.ask(id);
        while self.bytes() + bytes > self.bytes_max {
            self.evict_one(bytes);
        }
        self.window.push(Item::new(id, bytes));
        while !self.window.is_empty() && sum(&self.window) > self.window_bytes_max && self.moved() {}
    }

    fn bytes(&self) -> u64 {
        sum(&self.window) + self.main.bytes()
    }
}
