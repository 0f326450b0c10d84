//! Eviction policies: who goes when the store is full.
//!
//! A policy knows slots and the order of events, nothing of what is stored. Adding one touches its own file and the
//! list here; the shared suite below then covers it.

mod lru;
mod queue;
mod sieve;

use std::fmt::Debug;

/// A policy at work.
pub trait Eviction: Debug + Send {
    /// A response was stored in this slot.
    fn on_insert(&mut self, slot: u32);
    /// It was asked for.
    fn on_hit(&mut self, slot: u32);
    /// It is gone. Slots that were never inserted are ignored.
    fn on_remove(&mut self, slot: u32);
    /// Who goes next. The caller removes it and says so by [`on_remove`](Self::on_remove).
    fn victim(&mut self) -> Option<u32>;
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
}

impl EvictionPolicy {
    /// All policies.
    pub const ALL: [Self; 2] = [Self::Sieve, Self::Lru];

    /// Its name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sieve => "sieve",
            Self::Lru => "lru",
        }
    }

    /// The policy, empty.
    pub fn build(self) -> Box<dyn Eviction> {
        match self {
            Self::Sieve => Box::new(sieve::Sieve::default()),
            Self::Lru => Box::new(lru::Lru::default()),
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

    /// Plays events as the store would: it inserts only what is absent and hits only what is present.
    fn play(policy: &mut dyn Eviction, events: &[Event]) -> (Vec<Option<u32>>, BTreeSet<u32>) {
        let (mut victims, mut present) = (Vec::new(), BTreeSet::new());
        for &event in events {
            match event {
                Event::Insert(slot) if present.insert(slot) => policy.on_insert(slot),
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
                let mut policy = policy.build();
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
                fn on_insert(&mut self, slot: u32) {
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
            let fast = play(&mut *EvictionPolicy::Lru.build(), &events);
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
                fn on_insert(&mut self, slot: u32) {
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
            let fast = play(&mut *EvictionPolicy::Sieve.build(), &events);
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
        let mut policy = policy.build();
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
            policy.on_insert(object);
        }
        f64::from(misses) / f64::from(counted)
    }

    /// Che's approximation of LRU's miss ratio for Zipf(1).
    fn che(catalogue: u32, room: f64) -> f64 {
        let total: f64 = (1..=catalogue).map(|rank| 1.0 / f64::from(rank)).sum();
        let share = |rank: u32| 1.0 / f64::from(rank) / total;
        let stored = |t: f64| (1..=catalogue).map(|rank| 1.0 - (-share(rank) * t).exp()).sum::<f64>();
        let (mut low, mut high) = (0.0, 1e9);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if stored(middle) < room { low = middle } else { high = middle }
        }
        1.0 - (1..=catalogue).map(|rank| share(rank) * (1.0 - (-share(rank) * low).exp())).sum::<f64>()
    }

    #[test]
    fn lru_misses_as_often_as_ches_formula_says_and_sieve_less_often() {
        let expected = che(2_000, 100.0);
        let lru = miss_ratio(EvictionPolicy::Lru, 2_000, 100, 200_000);
        assert!((lru - expected).abs() < 0.01, "measured {lru}, formula {expected}");
        let sieve = miss_ratio(EvictionPolicy::Sieve, 2_000, 100, 200_000);
        assert!(sieve < lru, "sieve {sieve}, lru {lru}");
    }
}
