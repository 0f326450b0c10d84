//! What a policy notes of each slot, in a vector that grows with the highest slot.

/// One note per slot; the default where none was set.
#[derive(Debug)]
pub(super) struct PerSlot<T>(Vec<T>);

impl<T> Default for PerSlot<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Default> PerSlot<T> {
    pub(super) fn set(&mut self, slot: u32, note: T) {
        let at = slot as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, T::default());
        }
        self.0[at] = note;
    }

    pub(super) fn get(&self, slot: u32) -> T {
        self.0.get(slot as usize).copied().unwrap_or_default()
    }

    /// `None` where no slot as high was ever set.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.0.get_mut(slot as usize)
    }

    /// One more than the highest slot that was ever set.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}
