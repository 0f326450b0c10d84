//! A doubly linked list of slots, in two vectors' space; every step takes constant time.

/// No slot.
const NONE: u32 = u32::MAX;

/// The list. A slot is in it at most once.
#[derive(Debug)]
pub(super) struct Queue {
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
    listed: bool,
}

const UNLISTED: Link = Link { newer: NONE, older: NONE, listed: false };

impl Default for Queue {
    fn default() -> Self {
        Self { links: Vec::new(), newest: NONE, oldest: NONE }
    }
}

impl Queue {
    /// Puts a slot at the newest end. A slot that is listed is moved there.
    pub(super) fn push(&mut self, slot: u32) {
        self.remove(slot);
        let at = slot as usize;
        if self.links.len() <= at {
            self.links.resize(at + 1, UNLISTED);
        }
        self.links[at] = Link { newer: NONE, older: self.newest, listed: true };
        match self.links.get_mut(self.newest as usize) {
            Some(before) => before.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    /// Takes a slot out. False where it is not listed.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let Some(link) = self.links.get_mut(slot as usize).filter(|link| link.listed) else { return false };
        let Link { newer, older, .. } = std::mem::replace(link, UNLISTED);
        match self.links.get_mut(newer as usize) {
            Some(neighbour) => neighbour.older = older,
            None => self.newest = older,
        }
        match self.links.get_mut(older as usize) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.oldest = newer,
        }
        true
    }

    /// Whether a slot is listed.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.links.get(slot as usize).is_some_and(|link| link.listed)
    }

    /// The oldest slot.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The slot that came next after this one.
    pub(super) fn newer(&self, slot: u32) -> Option<u32> {
        self.links.get(slot as usize).map(|link| link.newer).filter(|&newer| newer != NONE)
    }
}
