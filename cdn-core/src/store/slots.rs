//! Values in numbered slots that are used again; an id tells a slot's successive values apart.

use crate::prefetch::prefetch_at;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Names one value: a slot, and which of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SlotId {
    pub(super) index: u32,
    serial: u32,
}

impl SlotId {
    pub(super) const fn bits(self) -> u64 {
        (self.serial as u64) << 32 | self.index as u64
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, serial: (bits >> 32) as u32 }
    }
}

/// The slots.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    serial: u32,
    value: Option<T>,
}

/// Bytes of a slot.
pub(super) const fn slot_bytes<T>() -> usize {
    size_of::<Slot<T>>()
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> SlotId {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return SlotId { index, serial: slot.serial };
        }
        let index = self.slots.len() as u32;
        assert!(index < NONE, "{index} slots are in use: memory ends long before");
        self.slots.push(Slot { serial: 0, value: Some(value) });
        SlotId { index, serial: 0 }
    }

    /// Takes a value out of its slot.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.serial = slot.serial.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    /// Asks memory for where a slot begins.
    pub(super) fn prefetch(&self, index: u32) {
        prefetch_at(&self.slots, index as usize);
    }

    pub(super) fn at(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    pub(super) fn get(&self, id: SlotId) -> Option<&T> {
        self.slots.get(id.index as usize).filter(|slot| slot.serial == id.serial)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.serial == id.serial)?.value.as_mut()
    }

    /// The id of the value in a slot.
    pub(super) fn id(&self, index: u32) -> Option<SlotId> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| SlotId { index, serial: slot.serial })
    }

    /// Values in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// One more than the highest slot ever used.
    pub(super) const fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_does_not_name_a_new_value() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first.index), Some('a'));
        let second = slots.insert('b');
        assert_eq!((second.index, slots.get(first), slots.get(second)), (first.index, None, Some(&'b')));
        assert_eq!((slots.len(), slots.remove(9), slots.at(NONE)), (1, None, None));
    }
}
