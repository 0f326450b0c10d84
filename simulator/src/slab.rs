//! Places for things that come and go, named by small numbers that are used again.

use std::num::NonZeroU32;

use cdn_core::prefetch::prefetch_at;

/// A slab. A [`Key`] whose thing is gone names nothing, also where another has its place.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

/// A place, and how many have had it before. It begins with a cache line, so that a thing that fits into one never lies
/// across two.
#[derive(Debug)]
#[repr(align(64))]
enum Place<T> {
    Free { turn: NonZeroU32 },
    Taken { turn: NonZeroU32, thing: T },
}

/// Names a thing in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) place: u32,
    /// One more than how many have had the place before.
    turn: NonZeroU32,
}

/// The place of nothing.
pub(crate) const NO_PLACE: u32 = u32::MAX;

const FIRST: NonZeroU32 = NonZeroU32::MIN;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, thing: T) -> Key {
        if let Some(place) = self.free.pop()
            && let Some(free) = self.places.get_mut(place as usize)
        {
            let turn = free.turn();
            *free = Place::Taken { turn, thing };
            return Key { place, turn };
        }
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place::Taken { turn: FIRST, thing });
        Key { place, turn: FIRST }
    }

    /// Asks memory for the first line of a place.
    pub(crate) fn prefetch(&self, place: u32) {
        prefetch_at(&self.places, place as usize);
    }

    /// The key of whatever has a place, for whoever knows that it is still there and keeps half of the key.
    pub(crate) fn key_at(&self, place: u32) -> Option<Key> {
        match self.places.get(place as usize) {
            Some(Place::Taken { turn, .. }) => Some(Key { place, turn: *turn }),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.places.get(key.place as usize) {
            Some(Place::Taken { turn, thing }) if *turn == key.turn => Some(thing),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.place as usize) {
            Some(Place::Taken { turn, thing }) if *turn == key.turn => Some(thing),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.place as usize)?;
        if !matches!(place, Place::Taken { turn, .. } if *turn == key.turn) {
            return None;
        }
        self.free.push(key.place);
        match std::mem::replace(place, Place::Free { turn: next(key.turn) }) {
            Place::Taken { thing, .. } => Some(thing),
            Place::Free { .. } => None,
        }
    }

    /// Lets a thing go where it lies, which is cheaper than to move it out.
    pub(crate) fn discard(&mut self, key: Key) {
        let place = self.places.get_mut(key.place as usize);
        if let Some(place) = place.filter(|place| matches!(place, Place::Taken { turn, .. } if *turn == key.turn)) {
            *place = Place::Free { turn: next(key.turn) };
            self.free.push(key.place);
        }
    }

    /// All things, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.places).filter_map(|(place, taken)| match taken {
            Place::Taken { turn, thing } => Some((Key { place, turn: *turn }, thing)),
            Place::Free { .. } => None,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

impl<T> Place<T> {
    const fn turn(&self) -> NonZeroU32 {
        match self {
            Self::Free { turn } | Self::Taken { turn, .. } => *turn,
        }
    }
}

/// The turn after one; after the last comes the first.
fn next(turn: NonZeroU32) -> NonZeroU32 {
    turn.checked_add(1).unwrap_or(FIRST)
}
