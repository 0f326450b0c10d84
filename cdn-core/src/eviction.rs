//! Eviction policies: who goes when a cache is full.
//!
//! A policy knows slots, the order of events and of what is stored only what a [`Newcomer`] says. The store of an edge and
//! the replay of traces call the same ones. Adding one touches its own file and the list here; the shared suites (below,
//! and the twins in `simulator/tests/it/twins`) then cover it.

mod arc;
mod clock;
mod fifo;
mod gdsf;
mod ghosts;
mod index;
mod lfu;
mod lru;
mod per_slot;
mod queue;
mod random;
mod s3_fifo;
mod sieve;
mod sketch;
mod slru;
mod w_tiny_lfu;

use std::fmt::Debug;

pub use self::index::Index;

/// What a policy is told of something that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newcomer {
    /// The same for the same thing whenever it is stored: slots are used again. Where somebody may craft identities, a
    /// keyed hash, so that nobody can make two that are taken for one.
    pub identity: u64,
    /// Bytes that it counts in the cache.
    pub bytes: u64,
}

/// A policy at work.
pub trait Eviction: Debug + Send {
    /// This was asked for and is not there; room will be made, and it be stored, next. Who cannot say so may leave it
    /// out: ARC and W-TinyLFU need it, to S3-FIFO it says a little more.
    fn on_miss(&mut self, newcomer: Newcomer) {
        let _ = newcomer;
    }
    /// This was stored in this slot, which was free.
    fn on_insert(&mut self, slot: u32, newcomer: Newcomer);
    /// It counts this many bytes from now on. Slots that were never inserted are ignored.
    fn on_resize(&mut self, slot: u32, bytes: u64) {
        let _ = (slot, bytes);
    }
    /// It was asked for.
    fn on_hit(&mut self, slot: u32);
    /// It is gone. Slots that were never inserted are ignored.
    fn on_remove(&mut self, slot: u32);
    /// Reads what a hit on this slot will need, so that the waits of many for memory overlap; what it read, for the
    /// caller to use somehow. A policy may leave it out.
    fn touch(&self, slot: u32) -> u32 {
        slot
    }
    /// Who goes next. The caller removes it and says so by [`on_remove`](Self::on_remove).
    fn victim(&mut self) -> Option<u32>;
}

/// Something that is done with a policy whose type is known, so that its steps need no dynamic call.
pub trait WithEviction {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<E: Eviction + 'static>(self, policy: E) -> Self::Output;
}

/// The policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvictionPolicy {
    /// SIEVE (Zhang et al., NSDI 2024): first in, first out, but what was asked for is passed over once. A hit only
    /// sets a bit.
    #[default]
    Sieve,
    /// Least recently used.
    Lru,
    /// S3-FIFO (Yang et al., SOSP 2023): what is asked for only once leaves early, by way of a small queue.
    S3Fifo,
    /// First in, first out.
    Fifo,
    /// CLOCK (Corbató 1968), with one bit.
    Clock,
    /// Least frequently used since it came, among equals least recently.
    Lfu,
    /// Segmented LRU (Karedla et al. 1994), four segments.
    Slru,
    /// ARC (Megiddo, Modha, FAST 2003).
    Arc,
    /// W-TinyLFU (Einziger et al. 2017).
    WTinyLfu,
    /// Greedy-Dual-Size-Frequency (Cherkasova 1998).
    Gdsf,
    /// Any one.
    Random,
}

impl EvictionPolicy {
    /// All policies.
    pub const ALL: [Self; 11] = [
        Self::Lru,
        Self::Fifo,
        Self::Clock,
        Self::Lfu,
        Self::Sieve,
        Self::S3Fifo,
        Self::Slru,
        Self::Arc,
        Self::WTinyLfu,
        Self::Gdsf,
        Self::Random,
    ];

    /// Those that the store of an edge offers: what they note per response is accounted.
    pub const OF_STORES: [Self; 3] = [Self::Sieve, Self::Lru, Self::S3Fifo];

    /// Its name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sieve => "sieve",
            Self::Lru => "lru",
            Self::S3Fifo => "s3-fifo",
            Self::Fifo => "fifo",
            Self::Clock => "clock",
            Self::Lfu => "lfu",
            Self::Slru => "slru",
            Self::Arc => "arc",
            Self::WTinyLfu => "w-tinylfu",
            Self::Gdsf => "gdsf",
            Self::Random => "random",
        }
    }

    /// Does something with the policy, empty, for a cache of this many bytes.
    pub fn with<W: WithEviction>(self, bytes_max: u64, user: W) -> W::Output {
        match self {
            Self::Sieve => user.run(sieve::Sieve::default()),
            Self::Lru => user.run(lru::Lru::default()),
            Self::S3Fifo => user.run(s3_fifo::S3Fifo::new(bytes_max)),
            Self::Fifo => user.run(fifo::Fifo::default()),
            Self::Clock => user.run(clock::Clock::default()),
            Self::Lfu => user.run(lfu::Lfu::default()),
            Self::Slru => user.run(slru::Slru::new(bytes_max)),
            Self::Arc => user.run(arc::Arc::new(bytes_max)),
            Self::WTinyLfu => user.run(w_tiny_lfu::WTinyLfu::new(bytes_max)),
            Self::Gdsf => user.run(gdsf::Gdsf::default()),
            Self::Random => user.run(random::Random::default()),
        }
    }

    /// The policy, empty, for a cache of this many bytes.
    pub fn build(self, bytes_max: u64) -> Box<dyn Eviction> {
        struct Boxed;
        impl WithEviction for Boxed {
            type Output = Box<dyn Eviction>;
            fn run<E: Eviction + 'static>(self, policy: E) -> Self::Output {
                Box::new(policy)
            }
        }
        self.with(bytes_max, Boxed)
    }

    /// Bytes of its bookkeeping per stored response, the spare room of growing vectors (half again) included.
    pub(crate) const fn bytes_per_entry(self) -> u64 {
        match self {
            // A link of a queue, and a bit or byte.
            Self::Sieve | Self::Lru => 24,
            // A link and a note; a ghost's note, link and place in the table, which is between 3/8 and 3/4 in use.
            Self::S3Fifo => (12 + 24) * 3 / 2 + (16 + 12 + 4) * 3 / 2 + 16 * 2,
            // No store offers them.
            Self::Fifo
            | Self::Clock
            | Self::Lfu
            | Self::Slru
            | Self::Arc
            | Self::WTinyLfu
            | Self::Gdsf
            | Self::Random => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::math;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Insert(u32),
        Hit(u32),
        Remove(u32),
        Evict,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (0..12_u32).prop_map(Event::Insert),
            (0..12_u32).prop_map(Event::Hit),
            (0..12_u32).prop_map(Event::Remove),
            Just(Event::Evict),
        ];
        proptest::collection::vec(event, 0..80)
    }

    /// A response that is always stored in the same slot: of 1 to 5 bytes, and sometimes another one than before.
    fn newcomer(slot: u32, serial: usize) -> Newcomer {
        Newcomer {
            identity: u64::from(slot) + 100 * u64::from(serial.is_multiple_of(3)),
            bytes: u64::from(slot % 5) + 1,
        }
    }

    /// Plays events as the store would: it inserts only what is absent and hits only what is present.
    fn play(policy: &mut dyn Eviction, events: &[Event]) -> (Vec<Option<u32>>, BTreeSet<u32>) {
        let (mut victims, mut present) = (Vec::new(), BTreeSet::new());
        for (serial, &event) in events.iter().enumerate() {
            match event {
                Event::Insert(slot) if present.insert(slot) => policy.on_insert(slot, newcomer(slot, serial)),
                Event::Hit(slot) if present.contains(&slot) => policy.on_hit(slot),
                Event::Insert(_) | Event::Hit(_) => {}
                Event::Remove(slot) => {
                    present.remove(&slot);
                    policy.on_remove(slot);
                }
                Event::Evict => {
                    let victim = policy.victim();
                    if let Some(slot) = victim {
                        assert!(present.remove(&slot), "evicted {slot}, which is not there");
                        policy.on_remove(slot);
                    }
                    victims.push(victim);
                }
            }
        }
        (victims, present)
    }

    proptest! {
        #[test]
        fn every_policy_evicts_what_is_there_once_and_in_the_end_all(events in events()) {
            for policy in EvictionPolicy::ALL {
                let mut policy = policy.build(20);
                let (victims, mut present) = play(&mut *policy, &events);
                prop_assert!(victims.len() <= events.len());
                while let Some(slot) = policy.victim() {
                    prop_assert!(present.remove(&slot));
                    policy.on_remove(slot);
                }
                prop_assert!(present.is_empty(), "never evicted: {present:?}");
            }
        }

        #[test]
        fn lru_agrees_with_the_obvious_list(events in events()) {
            /// Least recent first.
            #[derive(Debug, Default)]
            struct Oracle(Vec<u32>);
            impl Eviction for Oracle {
                fn on_insert(&mut self, slot: u32, _: Newcomer) {
                    self.0.push(slot);
                }
                fn on_hit(&mut self, slot: u32) {
                    self.on_remove(slot);
                    self.0.push(slot);
                }
                fn on_remove(&mut self, slot: u32) {
                    self.0.retain(|&other| other != slot);
                }
                fn victim(&mut self) -> Option<u32> {
                    self.0.first().copied()
                }
            }
            let fast = play(&mut *EvictionPolicy::Lru.build(20), &events);
            prop_assert_eq!(fast, play(&mut Oracle::default(), &events));
        }

        #[test]
        fn sieve_agrees_with_the_paper_on_a_plain_list(events in events()) {
            /// Newest first, each with its bit; the hand is a position's slot.
            #[derive(Debug, Default)]
            struct Oracle {
                list: Vec<(u32, bool)>,
                hand: Option<u32>,
            }
            impl Oracle {
                fn position(&self, slot: u32) -> Option<usize> {
                    self.list.iter().position(|&(other, _)| other == slot)
                }
                fn newer(&self, at: usize) -> Option<u32> {
                    at.checked_sub(1).map(|at| self.list[at].0)
                }
            }
            impl Eviction for Oracle {
                fn on_insert(&mut self, slot: u32, _: Newcomer) {
                    self.list.insert(0, (slot, false));
                }
                fn on_hit(&mut self, slot: u32) {
                    let at = self.position(slot).unwrap();
                    self.list[at].1 = true;
                }
                fn on_remove(&mut self, slot: u32) {
                    if let Some(at) = self.position(slot) {
                        if self.hand == Some(slot) {
                            self.hand = self.newer(at);
                        }
                        self.list.remove(at);
                    }
                }
                fn victim(&mut self) -> Option<u32> {
                    let mut at = match self.hand.and_then(|slot| self.position(slot)) {
                        Some(at) => at,
                        None => self.list.len().checked_sub(1)?,
                    };
                    while self.list[at].1 {
                        self.list[at].1 = false;
                        at = at.checked_sub(1).unwrap_or(self.list.len() - 1);
                    }
                    self.hand = Some(self.list[at].0);
                    self.hand
                }
            }
            let fast = play(&mut *EvictionPolicy::Sieve.build(20), &events);
            prop_assert_eq!(fast, play(&mut Oracle::default(), &events));
        }
    }

    /// Misses of `requests` Zipf(1) requests over `catalogue` objects with room for `room`.
    fn miss_ratio(policy: EvictionPolicy, catalogue: u32, room: usize, requests: u32) -> f64 {
        let weights: Vec<f64> = (1..=catalogue).map(|rank| 1.0 / f64::from(rank)).collect();
        let cumulated: Vec<f64> =
            weights.iter().scan(0.0, |sum, weight| Some(*sum + weight).inspect(|s| *sum = *s)).collect();
        let total = *cumulated.last().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut policy = policy.build(room as u64);
        let mut present = BTreeSet::new();
        let (mut misses, mut counted) = (0_u32, 0_u32);
        for request in 0..requests {
            let draw = rng.next_u64() as f64 / u64::MAX as f64 * total;
            let object = cumulated.partition_point(|&sum| sum < draw) as u32;
            let hit = present.contains(&object);
            if request >= requests / 2 {
                counted += 1;
                misses += u32::from(!hit);
            }
            if hit {
                policy.on_hit(object);
                continue;
            }
            if present.len() >= room {
                let victim = policy.victim().unwrap();
                present.remove(&victim);
                policy.on_remove(victim);
            }
            present.insert(object);
            policy.on_insert(object, Newcomer { identity: u64::from(object), bytes: 1 });
        }
        f64::from(misses) / f64::from(counted)
    }

    /// Che's approximation of LRU's miss ratio for Zipf(1).
    fn che(catalogue: u32, room: f64) -> f64 {
        let total: f64 = (1..=catalogue).map(|rank| 1.0 / f64::from(rank)).sum();
        let share = |rank: u32| 1.0 / f64::from(rank) / total;
        let stored = |t: f64| (1..=catalogue).map(|rank| 1.0 - math::exp(-share(rank) * t)).sum::<f64>();
        let (mut low, mut high) = (0.0, 1e9);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if stored(middle) < room { low = middle } else { high = middle }
        }
        1.0 - (1..=catalogue).map(|rank| share(rank) * (1.0 - math::exp(-share(rank) * low))).sum::<f64>()
    }

    #[test]
    fn s3_fifo_lets_what_is_asked_for_once_pass_by_what_is_asked_for_often() {
        let mut policy = EvictionPolicy::S3Fifo.build(10);
        let insert = |policy: &mut Box<dyn Eviction>, slot: u32, identity: u64| {
            policy.on_insert(slot, Newcomer { identity, bytes: 1 });
        };
        for slot in 0..10 {
            insert(&mut policy, slot, u64::from(slot));
        }
        policy.on_hit(0);
        policy.on_hit(0);
        // A scan that uses the slots again, one after the other.
        for scanned in 0..100 {
            let victim = policy.victim().unwrap();
            assert_ne!(victim, 0);
            policy.on_remove(victim);
            insert(&mut policy, victim, 1_000 + scanned);
        }
    }

    #[test]
    fn lru_misses_as_often_as_ches_formula_says_and_the_others_less_often() {
        let expected = che(2_000, 100.0);
        let lru = miss_ratio(EvictionPolicy::Lru, 2_000, 100, 200_000);
        assert!((lru - expected).abs() < 0.01, "measured {lru}, formula {expected}");
        for policy in [EvictionPolicy::Sieve, EvictionPolicy::S3Fifo] {
            let ratio = miss_ratio(policy, 2_000, 100, 200_000);
            assert!(ratio < lru, "{} {ratio}, lru {lru}", policy.as_str());
        }
    }
}
