//! S3-FIFO (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction", SOSP 2023).
//!
//! New slots enter a small queue that has a tenth of the bytes. What was asked for more than once by the time it reaches
//! the old end moves to the main queue, the rest goes and leaves its identity in the ghost queue; what comes back while
//! it is remembered there enters the main queue at once. The main queue gives another round for each hit, up to three.
//! A hit only counts.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasherDefault,
};

use super::{super::KeyHasher, Eviction, Newcomer, queue::Queue};

/// The small queue has one part in this many of the bytes: the paper's 10 %.
const SMALL_SHARE: u64 = 10;
/// Hits beyond these count no more: the paper's two bits.
const HITS_MAX: u8 = 3;
/// Hits that take a slot from the small queue to the main one.
const HITS_TO_MOVE: u8 = 2;

/// The policy.
#[derive(Debug, Default)]
pub(super) struct S3Fifo {
    places: Vec<Place>,
    small: Queue,
    main: Queue,
    small_bytes: u64,
    /// Of both queues.
    bytes: u64,
    /// Slots in both queues.
    listed: usize,
    ghosts: Ghosts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    identity: u64,
    bytes: u64,
    hits: u8,
}

impl S3Fifo {
    /// Whether the small queue gives the next victim.
    fn small_is_full(&self) -> bool {
        self.small_bytes.saturating_mul(SMALL_SHARE) >= self.bytes || self.main.oldest().is_none()
    }
}

impl Eviction for S3Fifo {
    fn on_insert(&mut self, slot: u32, newcomer: Newcomer) {
        let at = slot as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, Place::default());
        }
        let Newcomer { identity, bytes } = newcomer;
        self.places[at] = Place { identity, bytes, hits: 0 };
        self.bytes += bytes;
        self.listed += 1;
        if self.ghosts.take(identity) {
            self.main.push(slot);
        } else {
            self.small.push(slot);
            self.small_bytes += bytes;
        }
    }

    fn on_resize(&mut self, slot: u32, bytes: u64) {
        let (small, main) = (self.small.has(slot), self.main.has(slot));
        let Some(place) = self.places.get_mut(slot as usize).filter(|_| small || main) else { return };
        let before = std::mem::replace(&mut place.bytes, bytes);
        self.bytes = self.bytes - before + bytes;
        if small {
            self.small_bytes = self.small_bytes - before + bytes;
        }
    }

    fn on_hit(&mut self, slot: u32) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.hits = HITS_MAX.min(place.hits + 1);
        }
    }

    fn on_remove(&mut self, slot: u32) {
        let bytes = self.places.get(slot as usize).map_or(0, |place| place.bytes);
        let was_small = self.small.remove(slot);
        if was_small {
            self.small_bytes -= bytes;
        }
        if was_small || self.main.remove(slot) {
            self.bytes -= bytes;
            self.listed -= 1;
        }
    }

    fn victim(&mut self) -> Option<u32> {
        // Each turn moves a slot for good or takes one of its hits, so the walk ends.
        loop {
            let small = self.small.oldest().filter(|_| self.small_is_full());
            let slot = small.or_else(|| self.main.oldest())?;
            let place = self.places.get_mut(slot as usize)?;
            if small.is_some() {
                if place.hits < HITS_TO_MOVE {
                    // As many as the main queue has room for.
                    let most = self.listed - self.listed / SMALL_SHARE as usize;
                    self.ghosts.push(place.identity, most);
                    return Some(slot);
                }
                place.hits = 0;
                self.small_bytes -= place.bytes;
                self.small.remove(slot);
            } else {
                if place.hits == 0 {
                    return Some(slot);
                }
                place.hits -= 1;
            }
            self.main.push(slot);
        }
    }
}

/// Identities of what left the small queue last. One that came back keeps its place in the order until its time is over,
/// as in the paper, where the time of leaving decides and not a list.
#[derive(Debug, Default)]
struct Ghosts {
    left: HashMap<u64, u64, BuildHasherDefault<KeyHasher>>,
    /// The same with the number of its leaving, oldest first.
    order: VecDeque<(u64, u64)>,
    next: u64,
}

impl Ghosts {
    /// Remembers one, and forgets the oldest beyond `most`.
    fn push(&mut self, identity: u64, most: usize) {
        self.left.insert(identity, self.next);
        self.order.push_back((identity, self.next));
        self.next += 1;
        while self.order.len() > most {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.left.get(&oldest) == Some(&number) {
                self.left.remove(&oldest);
            }
        }
    }

    /// Whether it is remembered; it is not any more then.
    fn take(&mut self, identity: u64) -> bool {
        self.left.remove(&identity).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_or_shrinks_counts_as_it_is_in_either_queue() {
        let mut policy = S3Fifo::default();
        for slot in 0..3 {
            policy.on_insert(slot, Newcomer { identity: slot.into(), bytes: 10 });
        }
        policy.on_hit(0);
        policy.on_hit(0);
        assert_eq!((policy.victim(), policy.main.has(0)), (Some(1), true));
        policy.on_remove(1);
        for (slot, bytes) in [(0, 100), (2, 5), (1, 7), (9, 7)] {
            policy.on_resize(slot, bytes);
        }
        assert_eq!((policy.small_bytes, policy.bytes), (5, 105));
        policy.on_remove(0);
        policy.on_remove(2);
        assert_eq!((policy.small_bytes, policy.bytes, policy.listed), (0, 0, 0));
    }
}
