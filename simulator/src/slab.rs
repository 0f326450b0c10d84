//! Places for things that come and go, named by small numbers that are used again.

/// A slab. A [`Key`] whose thing is gone names nothing, also where another has its place.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

/// Names a thing in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) place: u32,
    /// How many have had the place before.
    pub(crate) turn: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, thing: T) -> Key {
        if let Some(place) = self.free.pop()
            && let Some((turn, free)) = self.places.get_mut(place as usize)
        {
            *free = Some(thing);
            return Key { place, turn: *turn };
        }
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push((0, Some(thing)));
        Key { place, turn: 0 }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.place as usize).filter(|(turn, _)| *turn == key.turn)?.1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.place as usize).filter(|(turn, _)| *turn == key.turn)?.1.as_mut()
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (turn, thing) = self.places.get_mut(key.place as usize).filter(|(turn, _)| *turn == key.turn)?;
        let thing = thing.take()?;
        *turn = turn.wrapping_add(1);
        self.free.push(key.place);
        Some(thing)
    }

    /// All things, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.places).filter_map(|(place, (turn, thing))| Some((Key { place, turn: *turn }, thing.as_ref()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
