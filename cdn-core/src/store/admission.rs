//! Admission: whether a response stays in the store once it has arrived.
//!
//! Many objects are asked for once and never again; what is stored for them pushes out what others want. The rule
//! decides by requests for a key alone, in bounded memory, and knows nothing of responses. A response that is not
//! admitted is still shared by whoever asks while it arrives. Studies also try [`by_size`], which stores do not offer.

pub mod by_size;

use crate::{Counter, Counters, cache_key::CacheKey};

/// The rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdmissionPolicy {
    /// Everything stays.
    #[default]
    All,
    /// What is asked for a second time stays.
    SecondRequest,
}

impl AdmissionPolicy {
    /// All rules.
    pub const ALL: [Self; 2] = [Self::All, Self::SecondRequest];

    /// Its name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::SecondRequest => "second-request",
        }
    }
}

/// A rule at work: in each shard of a store, and in studies of it.
#[derive(Debug)]
pub struct Admission {
    /// `None` where everything stays.
    asked: Option<Asked>,
}

impl Admission {
    /// A rule that remembers at least the last `keys_max` keys, and at most twice as many.
    pub fn new(policy: AdmissionPolicy, keys_max: usize) -> Self {
        Self { asked: (policy == AdmissionPolicy::SecondRequest).then(|| Asked::new(keys_max.max(1))) }
    }

    /// Takes in a request that the store could not answer; whether the response to it may stay by what is remembered.
    pub fn on_request(&mut self, key: CacheKey, counters: &Counters) -> bool {
        self.asked.as_mut().is_none_or(|asked| asked.again(key, counters))
    }
}

/// Which keys have been asked for: two Bloom filters (Bloom 1970), the younger being filled. When that has taken in
/// `keys_max` keys the older one is forgotten.
#[derive(Debug)]
struct Asked {
    young: Box<[u64]>,
    old: Box<[u64]>,
    keys: usize,
    keys_max: usize,
}

/// With 10 bits per key and 7 places, a full filter takes 0.8 % of new keys for known ones: 0.6185^10.
const BITS_PER_KEY: usize = 10;
const PLACES: u64 = 7;

impl Asked {
    fn new(keys_max: usize) -> Self {
        let empty = || vec![0; keys_max.saturating_mul(BITS_PER_KEY).div_ceil(64)].into_boxed_slice();
        Self { young: empty(), old: empty(), keys: 0, keys_max }
    }

    /// Remembers a key; whether it was remembered already.
    fn again(&mut self, key: CacheKey, counters: &Counters) -> bool {
        let again = holds(&self.young, key);
        if again {
            return true;
        }
        let again = holds(&self.old, key);
        if self.keys == self.keys_max {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.fill(0);
            self.keys = 0;
            counters.bump(Counter::EdgeAdmissionsForgotten);
        }
        self.keys += 1;
        let bits = self.young.len() as u64 * 64;
        for bit in places(key, bits) {
            if let Some(word) = self.young.get_mut((bit / 64) as usize) {
                *word |= 1 << (bit % 64);
            }
        }
        again
    }
}

fn holds(filter: &[u64], key: CacheKey) -> bool {
    let set = |bit: u64| filter.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1);
    places(key, filter.len() as u64 * 64).all(set)
}

/// Places by double hashing (Kirsch, Mitzenmacher 2006): a key is a keyed hash already, of 128 bits.
fn places(key: CacheKey, bits: u64) -> impl Iterator<Item = u64> {
    let (first, step) = (key.bits() as u64, (key.bits() >> 64) as u64 | 1);
    (0..PLACES).map(move |nth| first.wrapping_add(step.wrapping_mul(nth)) % bits.max(1))
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn keys(seed: u64) -> impl Iterator<Item = CacheKey> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        std::iter::from_fn(move || {
            Some(CacheKey::from_bits(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())))
        })
    }

    #[test]
    fn the_second_request_is_known_and_the_first_nearly_never() {
        let counters = Counters::default();
        let mut rule = Admission::new(AdmissionPolicy::SecondRequest, 1_000);
        let mistaken = keys(1).take(1_000).filter(|key| rule.on_request(*key, &counters)).count();
        assert!(mistaken <= 10, "{mistaken} of 1000 new keys were taken for known ones");
        assert!(keys(1).take(1_000).all(|key| rule.on_request(key, &counters)));
        assert_eq!(counters.value(Counter::EdgeAdmissionsForgotten), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_are_forgotten() {
        let counters = Counters::default();
        let mut asked = Asked::new(1_000);
        let words = asked.young.len() + asked.old.len();
        for key in keys(2).take(10_000) {
            asked.again(key, &counters);
        }
        assert_eq!(asked.young.len() + asked.old.len(), words);
        assert!(counters.value(Counter::EdgeAdmissionsForgotten) >= 8);
        let again = |asked: &mut Asked, skip: usize| {
            keys(2).skip(skip).take(900).filter(|key| asked.again(*key, &counters)).count()
        };
        assert_eq!(again(&mut asked, 9_100), 900);
        let long_gone = again(&mut asked, 0);
        assert!(long_gone <= 30, "{long_gone} of 900 are still known");
    }

    #[test]
    fn everything_is_admitted_unless_somebody_asks_for_a_rule() {
        let counters = Counters::default();
        let mut rule = Admission::new(AdmissionPolicy::default(), 0);
        assert!(keys(3).take(10).all(|key| rule.on_request(key, &counters)));
    }
}
