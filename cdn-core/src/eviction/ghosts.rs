//! Identities of what has left, oldest first, for as many bytes as they had: a list that a policy remembers by.

use super::{Newcomer, index::Index, per_slot::PerSlot, queue::Queue};

/// The list.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    nodes: PerSlot<Node>,
    free: Vec<u32>,
    index: Index,
    order: Queue,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    identity: u64,
    bytes: u64,
}

impl Ghosts {
    /// Remembers what has left. What is remembered already keeps its place.
    pub(super) fn push(&mut self, left: Newcomer) {
        let Newcomer { identity, bytes } = left;
        if self.index.find(identity).is_some() {
            return;
        }
        let node = self.free.pop().unwrap_or(self.nodes.len() as u32);
        self.nodes.set(node, Node { identity, bytes });
        self.index.insert(identity, node);
        self.order.push(node);
        self.bytes += bytes;
    }

    /// Forgets what left first. False where nothing is remembered.
    pub(super) fn forget_oldest(&mut self) -> bool {
        let Some(node) = self.order.oldest() else { return false };
        self.take(self.nodes.get(node).identity).is_some()
    }

    /// The bytes that it had, where it is remembered; it is not any more then.
    pub(super) fn take(&mut self, identity: u64) -> Option<u64> {
        let node = self.index.remove(identity)?;
        self.order.remove(node);
        self.free.push(node);
        let bytes = self.nodes.get(node).bytes;
        self.bytes -= bytes;
        Some(bytes)
    }

    /// Bytes of all that are remembered.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many are remembered.
    pub(super) const fn len(&self) -> usize {
        self.index.len()
    }
}
