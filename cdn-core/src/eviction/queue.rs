//! Doubly linked lists of slots over one vector of links; every step takes constant time.

use super::per_slot::PerSlot;

/// No slot, no list.
const NONE: u32 = u32::MAX;

/// Lists that are numbered from 0. A slot is in one of them at most, and there at most once.
#[derive(Debug)]
pub(super) struct Queues {
    links: PerSlot<Link>,
    ends: Vec<Ends>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
    list: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { newer: NONE, older: NONE, list: NONE }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    newest: u32,
    oldest: u32,
}

const EMPTY: Ends = Ends { newest: NONE, oldest: NONE };

impl Queues {
    /// This many empty lists.
    pub(super) fn new(lists: usize) -> Self {
        Self { links: PerSlot::default(), ends: vec![EMPTY; lists] }
    }

    /// One more list, empty; its number.
    pub(super) fn add_list(&mut self) -> u32 {
        self.ends.push(EMPTY);
        self.ends.len() as u32 - 1
    }

    /// Puts a slot at the newest end of a list. A slot that is in one already is moved there.
    pub(super) fn push_to(&mut self, list: u32, slot: u32) {
        if self.ends.get(list as usize).is_some_and(|ends| ends.newest == slot) {
            return;
        }
        self.remove(slot);
        let Some(ends) = self.ends.get_mut(list as usize) else { return };
        let before = std::mem::replace(&mut ends.newest, slot);
        if before == NONE {
            ends.oldest = slot;
        }
        self.links.set(slot, Link { newer: NONE, older: before, list });
        if let Some(before) = self.links.get_mut(before) {
            before.newer = slot;
        }
    }

    /// Takes a slot out of its list. False where it is in none.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let Some(link) = self.links.get_mut(slot).filter(|link| link.list != NONE) else { return false };
        let Link { newer, older, list } = std::mem::take(link);
        let Some(ends) = self.ends.get_mut(list as usize) else { return false };
        match self.links.get_mut(newer) {
            Some(neighbour) => neighbour.older = older,
            None => ends.newest = older,
        }
        match self.links.get_mut(older) {
            Some(neighbour) => neighbour.newer = newer,
            None => ends.oldest = newer,
        }
        true
    }

    /// Reads the links that moving a slot will change.
    #[inline]
    pub(super) fn touch(&self, slot: u32) -> u32 {
        let Link { newer, older, .. } = self.links.get(slot);
        self.links.get(newer).list ^ self.links.get(older).list
    }

    /// The list that a slot is in.
    pub(super) fn list_of(&self, slot: u32) -> Option<u32> {
        Some(self.links.get(slot).list).filter(|&list| list != NONE)
    }

    /// The oldest slot of a list.
    pub(super) fn oldest_of(&self, list: u32) -> Option<u32> {
        self.ends.get(list as usize).map(|ends| ends.oldest).filter(|&slot| slot != NONE)
    }

    /// The slot that came next after this one.
    pub(super) fn newer(&self, slot: u32) -> Option<u32> {
        Some(self.links.get(slot).newer).filter(|&newer| newer != NONE)
    }
}

/// One list.
#[derive(Debug)]
pub(super) struct Queue(Queues);

impl Default for Queue {
    fn default() -> Self {
        Self(Queues::new(1))
    }
}

impl Queue {
    /// Puts a slot at the newest end. A slot that is listed is moved there.
    pub(super) fn push(&mut self, slot: u32) {
        self.0.push_to(0, slot);
    }

    /// Takes a slot out. False where it is not listed.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        self.0.remove(slot)
    }

    /// Reads the links that moving a slot will change.
    #[inline]
    pub(super) fn touch(&self, slot: u32) -> u32 {
        self.0.touch(slot)
    }

    /// Whether a slot is listed.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.0.list_of(slot).is_some()
    }

    /// The oldest slot.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.0.oldest_of(0)
    }

    /// The slot that came next after this one.
    pub(super) fn newer(&self, slot: u32) -> Option<u32> {
        self.0.newer(slot)
    }
}
