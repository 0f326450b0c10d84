//! A table from 64-bit ids to slots: open addressing with linear probing, 16 bytes per place, one cache line per look-up
//! as a rule.
//!
//! The hash is fixed, so results are the same everywhere; ids that somebody may craft must be keyed hashes already.

/// No slot.
const NONE: u32 = u32::MAX;

/// The table.
#[derive(Clone, Debug)]
pub struct Index {
    /// A power of two, at most three quarters in use.
    places: Vec<Place>,
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    id: u64,
    slot: u32,
}

const FREE: Place = Place { id: 0, slot: NONE };
const PLACES_MIN: usize = 16;

impl Default for Index {
    fn default() -> Self {
        Self { places: vec![FREE; PLACES_MIN], used: 0 }
    }
}

impl Index {
    /// The slot of an id.
    #[inline]
    pub fn find(&self, id: u64) -> Option<u32> {
        self.locate(id).ok().map(|at| self.places[at].slot)
    }

    /// Notes the slot of an id, in place of one that was noted before. A slot is below `u32::MAX`.
    pub fn insert(&mut self, id: u64, slot: u32) {
        debug_assert_ne!(slot, NONE);
        if (self.used + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        match self.locate(id) {
            Ok(at) => self.places[at].slot = slot,
            Err(at) => {
                self.places[at] = Place { id, slot };
                self.used += 1;
            }
        }
    }

    /// Forgets an id; the slot that it had.
    pub fn remove(&mut self, id: u64) -> Option<u32> {
        let mut hole = self.locate(id).ok()?;
        let slot = self.places[hole].slot;
        let mask = self.places.len() - 1;
        let mut at = hole;
        // What follows moves up where that brings it nearer to its home, so that no search ends at the hole.
        loop {
            at = (at + 1) & mask;
            let place = self.places[at];
            if place.slot == NONE {
                break;
            }
            let home = self.home(place.id);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole] = FREE;
        self.used -= 1;
        Some(slot)
    }

    /// Brings the place where a search for this id begins into the processor's cache, and says the slot that stands
    /// there, mostly that of the id. Many such calls in a row overlap their waits for memory.
    #[inline]
    pub fn touch(&self, id: u64) -> u32 {
        self.places[self.home(id)].slot
    }

    /// Ids that are noted.
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Where an id stands, or where it would.
    #[inline]
    fn locate(&self, id: u64) -> Result<usize, usize> {
        let mask = self.places.len() - 1;
        let mut at = self.home(id);
        // A quarter of the places is free, so the search ends.
        loop {
            let place = self.places[at];
            if place.slot == NONE {
                return Err(at);
            }
            if place.id == id {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn home(&self, id: u64) -> usize {
        mix(id) as usize & (self.places.len() - 1)
    }

    fn grow(&mut self) {
        let larger = Self { places: vec![FREE; self.places.len() * 2], used: self.used };
        let smaller = std::mem::replace(self, larger);
        for place in smaller.places.into_iter().filter(|place| place.slot != NONE) {
            if let Err(at) = self.locate(place.id) {
                self.places[at] = place;
            }
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), which is one to one: each bit of the id moves each bit of it.
#[inline]
pub(super) const fn mix(id: u64) -> u64 {
    let id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_table_agrees_with_an_ordered_map(
            events in proptest::collection::vec((0..40_u64, 0..100_u32, proptest::bool::ANY), 0..400),
        ) {
            let (mut index, mut map) = (Index::default(), BTreeMap::new());
            for (id, slot, inserts) in events {
                if inserts {
                    index.insert(id, slot);
                    map.insert(id, slot);
                } else {
                    prop_assert_eq!(index.remove(id), map.remove(&id));
                }
                prop_assert_eq!(index.len(), map.len());
                for id in 0..40 {
                    prop_assert_eq!(index.find(id), map.get(&id).copied());
                }
            }
        }
    }
}
