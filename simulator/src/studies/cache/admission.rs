//! Who is let into a cache of a study: by the store's own rules, or by size.

use cdn_core::{
    Counters,
    cache_key::CacheKey,
    store::admission::{
        Admission, AdmissionPolicy,
        by_size::{BySize, Threshold},
    },
};
use rand_chacha::ChaCha8Rng;

use crate::hash::mix;

/// Who comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitting {
    /// By a rule of the store.
    Policy(AdmissionPolicy),
    /// The small rather than the large: [`BySize`].
    BySize,
}

impl Admitting {
    /// Everybody.
    pub const EVERYBODY: Self = Self::Policy(AdmissionPolicy::All);
    /// All rules.
    pub const ALL: [Self; 3] = [Self::EVERYBODY, Self::Policy(AdmissionPolicy::SecondRequest), Self::BySize];

    /// Its name on the command line and in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy(policy) => policy.as_str(),
            Self::BySize => "by-size",
        }
    }
}

/// Keys that the rule by requests remembers at least: as many as the store does by default.
const KEYS_MAX: usize = 1 << 17;
/// Requests after which the rule by size is tuned anew.
const WINDOW: u32 = 100_000;

/// A rule at work in one cache.
#[derive(Debug)]
pub(super) enum Gate {
    Open,
    Asked(Box<(Admission, Counters)>),
    BySize(Box<BySize>),
}

impl Gate {
    /// For a cache with so much room.
    pub(super) fn new(admitting: Admitting, room: u64, chance: ChaCha8Rng) -> Self {
        match admitting {
            Admitting::Policy(AdmissionPolicy::All) => Self::Open,
            Admitting::Policy(policy) => Self::Asked(Box::new((Admission::new(policy, KEYS_MAX), Counters::default()))),
            Admitting::BySize => Self::BySize(Box::new(BySize::new(room, WINDOW, chance))),
        }
    }

    /// Takes in a request, whether it finds something or not.
    pub(super) fn on_request(&mut self, object: u32, bytes: u64) {
        if let Self::BySize(rule) = self {
            rule.on_request(object.into(), bytes);
        }
    }

    /// Whether an object that was missed is let in.
    pub(super) fn admits(&mut self, object: u32, bytes: u64) -> bool {
        match self {
            Self::Open => true,
            Self::Asked(asked) => {
                let (rule, counters) = &mut **asked;
                // Keys are hashes, of which every bit counts.
                let high = mix(object.into());
                rule.on_request(CacheKey::from_bits(u128::from(high) << 64 | u128::from(mix(high))), counters)
            }
            Self::BySize(rule) => rule.admits(bytes),
        }
    }

    /// What the rule by size was last tuned to.
    pub(super) const fn threshold(&self) -> Option<Threshold> {
        match self {
            Self::BySize(rule) => Some(rule.threshold()),
            Self::Open | Self::Asked(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use world::stream;

    use super::*;

    #[test]
    fn what_is_asked_for_again_is_let_in() {
        let rule = Admitting::Policy(AdmissionPolicy::SecondRequest);
        let mut gate = Gate::new(rule, 10, stream(1, &["gate"]));
        assert!((0..100).all(|object| !gate.admits(object, 1)));
        assert!((0..100).all(|object| gate.admits(object, 1)));
    }
}
