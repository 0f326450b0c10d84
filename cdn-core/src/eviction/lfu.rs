//! Least frequently used: who was asked for least often since it came goes; among equals, who was asked for longest ago.
//!
//! Constant time per step (Shah, Mitra, Matani 2010): one list per frequency, and the frequencies that occur linked in
//! their order.

use super::{Eviction, Newcomer, queue::Queues};

/// No frequency.
const NONE: u32 = u32::MAX;

/// The policy. A class has the number of its list.
#[derive(Debug)]
pub(super) struct Lfu {
    lists: Queues,
    classes: Vec<Class>,
    /// Classes that stand for no frequency at present.
    free: Vec<u32>,
    lowest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Class {
    frequency: u64,
    lower: u32,
    higher: u32,
}

impl Default for Lfu {
    fn default() -> Self {
        Self { lists: Queues::new(0), classes: Vec::new(), free: Vec::new(), lowest: NONE }
    }
}

impl Lfu {
    fn class(&self, class: u32) -> Option<Class> {
        self.classes.get(class as usize).copied()
    }

    /// The class of a frequency that stands next above `lower`, made where there is none.
    fn class_above(&mut self, lower: u32, frequency: u64) -> u32 {
        let higher = self.class(lower).map_or(self.lowest, |class| class.higher);
        if self.class(higher).is_some_and(|class| class.frequency == frequency) {
            return higher;
        }
        let made = Class { frequency, lower, higher };
        let class = match self.free.pop() {
            Some(class) => {
                self.classes[class as usize] = made;
                class
            }
            None => {
                self.classes.push(made);
                self.lists.add_list()
            }
        };
        match self.classes.get_mut(lower as usize) {
            Some(lower) => lower.higher = class,
            None => self.lowest = class,
        }
        if let Some(higher) = self.classes.get_mut(higher as usize) {
            higher.lower = class;
        }
        class
    }

    /// Unlinks a class that has become empty.
    fn tidy(&mut self, class: u32) {
        let Some(Class { lower, higher, .. }) = self.class(class).filter(|_| self.lists.oldest_of(class).is_none())
        else {
            return;
        };
        match self.classes.get_mut(lower as usize) {
            Some(lower) => lower.higher = higher,
            None => self.lowest = higher,
        }
        if let Some(higher) = self.classes.get_mut(higher as usize) {
            higher.lower = lower;
        }
        self.free.push(class);
    }
}

impl Eviction for Lfu {
    fn on_insert(&mut self, slot: u32, _: Newcomer) {
        self.on_remove(slot);
        let class = self.class_above(NONE, 1);
        self.lists.push_to(class, slot);
    }

    fn on_hit(&mut self, slot: u32) {
        let Some(before) = self.lists.list_of(slot) else { return };
        let Some(Class { frequency, .. }) = self.class(before) else { return };
        let class = self.class_above(before, frequency + 1);
        self.lists.push_to(class, slot);
        self.tidy(before);
    }

    fn on_remove(&mut self, slot: u32) {
        if let Some(class) = self.lists.list_of(slot) {
            self.lists.remove(slot);
            self.tidy(class);
        }
    }

    fn touch(&self, slot: u32) -> u32 {
        self.lists.touch(slot)
    }

    fn victim(&mut self) -> Option<u32> {
        self.lists.oldest_of(self.lowest)
    }
}
