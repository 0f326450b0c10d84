//! The orders that a table gives to places or to blocks: one row each, in one piece of memory.
//!
//! A router with a hundred thousand networks holds as many rows, so a row is short: the best candidates and no more. Who
//! comes after them is worked out where somebody asks, which is when all of the best are down or full.

use std::{collections::BTreeSet, sync::Arc};

use super::PopIndex;

/// Candidates in a row at most; 64 bytes.
const ROW_MAX: usize = 32;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    width: usize,
    rows: Arc<Vec<PopIndex>>,
    /// The rows whose first is not the lowest, but the margin keeps it.
    held: BTreeSet<usize>,
}

impl Orders {
    /// Rows for so many candidates, in the order of their slots.
    pub(super) fn new<T: AsRef<[PopIndex]>>(pops: usize, orders: impl ExactSizeIterator<Item = T>) -> Self {
        let width = pops.min(ROW_MAX);
        let mut rows = Vec::with_capacity(width * orders.len());
        for order in orders {
            rows.extend(order.as_ref().iter().take(width));
        }
        Self { width, rows: Arc::new(rows), held: BTreeSet::new() }
    }

    /// The best candidates of a slot, best first, and whether the first is only kept by the margin.
    pub(super) fn row(&self, slot: usize) -> (&[PopIndex], bool) {
        let row = self.rows.get(slot * self.width..(slot + 1) * self.width);
        (row.unwrap_or_default(), self.held.contains(&slot))
    }

    /// Replaces the row of a slot.
    pub(super) fn set(&mut self, slot: usize, order: &[PopIndex], held: bool) {
        let row = Arc::make_mut(&mut self.rows).get_mut(slot * self.width..(slot + 1) * self.width);
        row.unwrap_or_default().iter_mut().zip(order).for_each(|(row, &pop)| *row = pop);
        if held {
            self.held.insert(slot);
        } else {
            self.held.remove(&slot);
        }
    }

    /// How many candidates a row has.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// How many bytes the rows take.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<PopIndex>()
    }

    /// How many rows there are.
    pub(super) fn slots(&self) -> usize {
        self.rows.len().checked_div(self.width).unwrap_or(0)
    }
}
