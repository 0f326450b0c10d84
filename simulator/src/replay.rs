//! Replay of a trace through a cache: requests go in, hits and misses come out.
//!
//! The policies are those of [`cdn_core::eviction`], which the store of an edge calls too. What a cache here does beside
//! is little: an object larger than the cache is not admitted; everything else is, after room has been made; a hit with
//! another size than before keeps the first. Bytes are bodies alone: nothing is charged for bookkeeping.

use std::fmt::Debug;

use cdn_core::eviction::{Eviction, EvictionPolicy, Index, Newcomer, WithEviction};
use world::trace::Record;

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were made.
    pub requests: u64,
    /// Those that found nothing.
    pub misses: u64,
    /// Bytes that those asked for.
    pub miss_bytes: u64,
    /// Bytes that all asked for.
    pub bytes: u64,
}

impl Tally {
    /// The share of requests that found nothing; zero where there was none.
    pub fn miss_ratio(&self) -> f64 {
        ratio(self.misses, self.requests)
    }

    /// The same by bytes.
    pub fn byte_miss_ratio(&self) -> f64 {
        ratio(self.miss_bytes, self.bytes)
    }

    /// Takes in one request.
    #[inline]
    pub const fn count(&mut self, hit: bool, bytes: u64) {
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if !hit {
            self.misses += 1;
            self.miss_bytes = self.miss_bytes.saturating_add(bytes);
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A replay under way, whatever its policy.
pub trait Replay: Debug + Send {
    /// Makes a request. True where it found something.
    fn request(&mut self, id: u64, bytes: u64) -> bool;
    /// The same, but what is not there is stored only where `admits` says so, which is not asked otherwise.
    fn request_where(&mut self, id: u64, bytes: u64, admits: &mut dyn FnMut() -> bool) -> bool;
    /// Makes these requests, which is faster than one by one.
    fn feed(&mut self, records: &[Record]);
    /// What has come out so far.
    fn tally(&self) -> Tally;
}

/// A replay through an empty cache of this many bytes.
pub fn replay(policy: EvictionPolicy, bytes_max: u64) -> Box<dyn Replay> {
    struct Begin(u64);
    impl WithEviction for Begin {
        type Output = Box<dyn Replay>;
        fn run<E: Eviction + 'static>(self, policy: E) -> Self::Output {
            Box::new(Run { cache: Cache::new(policy, self.0), tally: Tally::default() })
        }
    }
    policy.with(bytes_max, Begin(bytes_max))
}

#[derive(Debug)]
struct Run<E> {
    cache: Cache<E>,
    tally: Tally,
}

/// Requests whose places in memory are fetched together before any is made. A processor has some ten to twenty reads
/// under way at once; of more, the first would be gone again.
const AHEAD: usize = 16;

impl<E: Eviction> Replay for Run<E> {
    #[inline]
    fn request(&mut self, id: u64, bytes: u64) -> bool {
        let hit = self.cache.request(id, bytes);
        self.tally.count(hit, bytes);
        hit
    }

    fn request_where(&mut self, id: u64, bytes: u64, admits: &mut dyn FnMut() -> bool) -> bool {
        let hit = self.cache.find(id);
        if !hit && admits() {
            self.cache.store(id, bytes);
        }
        self.tally.count(hit, bytes);
        hit
    }

    fn feed(&mut self, records: &[Record]) {
        for some in records.chunks(AHEAD) {
            self.cache.touch(some);
            for &Record { id, bytes, .. } in some {
                self.request(id, bytes);
            }
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }
}

/// A cache of objects that are an id and a size.
#[derive(Debug)]
pub struct Cache<E> {
    eviction: E,
    index: Index,
    slots: Vec<Resident>,
    free: Vec<u32>,
    bytes: u64,
    bytes_max: u64,
}

#[derive(Clone, Copy, Debug)]
struct Resident {
    id: u64,
    bytes: u64,
}

impl<E: Eviction> Cache<E> {
    /// An empty cache.
    pub fn new(eviction: E, bytes_max: u64) -> Self {
        Self { eviction, index: Index::default(), slots: Vec::new(), free: Vec::new(), bytes: 0, bytes_max }
    }

    /// Asks for an object, which is stored where it was not and fits. True where it was there.
    #[inline]
    pub fn request(&mut self, id: u64, bytes: u64) -> bool {
        let hit = self.find(id);
        if !hit {
            self.store(id, bytes);
        }
        hit
    }

    /// Asks for an object, which is not stored where it was not. True where it was there.
    #[inline]
    fn find(&mut self, id: u64) -> bool {
        let slot = self.index.find(id);
        if let Some(slot) = slot {
            self.eviction.on_hit(slot);
        }
        slot.is_some()
    }

    /// Bytes of what is stored.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many objects are stored.
    pub const fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing is.
    pub const fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Reads where these requests will look first, so that they need not wait one after the other.
    #[inline]
    fn touch(&self, records: &[Record]) {
        let mut slots = [0; AHEAD];
        for (slot, record) in slots.iter_mut().zip(records) {
            *slot = self.index.touch(record.id);
        }
        // What is read must be used, or it would not be read.
        std::hint::black_box(slots.iter().fold(0, |all, &slot| all ^ self.eviction.touch(slot)));
    }

    fn store(&mut self, id: u64, bytes: u64) {
        if bytes > self.bytes_max {
            return;
        }
        let newcomer = Newcomer { identity: id, bytes };
        self.eviction.on_miss(newcomer);
        while self.bytes > self.bytes_max - bytes {
            let Some(victim) = self.eviction.victim() else { break };
            self.eviction.on_remove(victim);
            let gone = self.slots[victim as usize];
            self.index.remove(gone.id);
            self.bytes -= gone.bytes;
            self.free.push(victim);
        }
        let resident = Resident { id, bytes };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = resident;
                slot
            }
            None => {
                self.slots.push(resident);
                self.slots.len() as u32 - 1
            }
        };
        self.bytes += bytes;
        self.index.insert(id, slot);
        self.eviction.on_insert(slot, newcomer);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn records(requests: &[(u64, u64)]) -> Vec<Record> {
        requests.iter().map(|&(id, bytes)| Record { at: Duration::ZERO, id, bytes }).collect()
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_admitted_and_a_hit_keeps_the_first_size() {
        for policy in EvictionPolicy::ALL {
            let mut run = replay(policy, 10);
            // 2 is too large and pushes nobody out; 1 counts four bytes for good, so 3 fits beside it.
            run.feed(&records(&[(1, 4), (2, 11), (1, 9), (3, 6), (1, 4), (3, 6), (2, 11)]));
            let expected = Tally { requests: 7, misses: 4, miss_bytes: 4 + 11 + 6 + 11, bytes: 51 };
            assert_eq!(run.tally(), expected, "{}", policy.as_str());
        }
    }
}
