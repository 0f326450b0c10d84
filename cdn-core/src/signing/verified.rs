//! Policies whose signatures have been verified, by a digest of all that the verification depended on.
//!
//! Verifying costs several times what the rest of a hit costs, and a player asks for thousands of segments with the same
//! cookies. Only what was verified is kept, until its policy ends, so a flood of bad signatures costs time and no
//! memory. The digest is keyed, so that nobody can aim at one. Whoever changes the keys begins anew.

use std::collections::{BTreeMap, VecDeque};

use super::{Credentials, Policy, PolicyText, SignedRequest};
use crate::{WallTime, cache_key::KeySeed};

/// A digest of credentials, and of the URL where the policy is made from it.
pub(super) type Digest = u128;

/// See the module.
#[derive(Debug)]
pub struct VerifiedPolicies {
    seed: KeySeed,
    policies: BTreeMap<Digest, Policy>,
    /// In the order in which they came.
    order: VecDeque<Digest>,
    policies_max: usize,
    evictions: u64,
}

impl VerifiedPolicies {
    /// Knows none; `policies_max` at most, of which the oldest goes first.
    pub const fn new(seed: KeySeed, policies_max: usize) -> Self {
        Self { seed, policies: BTreeMap::new(), order: VecDeque::new(), policies_max, evictions: 0 }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// How many had to go, because there were as many as allowed.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(super) fn digest(&self, credentials: &Credentials<'_>, request: &SignedRequest<'_>, own: &str) -> Digest {
        let Credentials { key_id, signature, hash, .. } = *credentials;
        match credentials.policy {
            PolicyText::Custom(text) => self.seed.digest(&[key_id, hash.as_str(), signature, text]),
            PolicyText::Canned(expires) => {
                let SignedRequest { scheme, host, .. } = *request;
                self.seed.digest(&[key_id, hash.as_str(), signature, expires, scheme, host, own])
            }
        }
    }

    pub(super) fn get(&mut self, now: WallTime, digest: Digest) -> Option<Policy> {
        let policy = self.policies.get(&digest)?;
        if now.unix_secs() < policy.ends_at {
            return Some(policy.clone());
        }
        self.policies.remove(&digest)
    }

    pub(super) fn insert(&mut self, now: WallTime, digest: Digest, policy: Policy) {
        if self.policies_max == 0 || now.unix_secs() >= policy.ends_at {
            return;
        }
        while self.order.len() >= self.policies_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.evictions += u64::from(self.policies.remove(&oldest).is_some());
        }
        self.policies.insert(digest, policy);
        self.order.push_back(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::resource::Resource;

    #[test]
    fn as_many_as_allowed_are_known_and_none_beyond_its_end() {
        let policy = |ends_at| Policy { resource: Resource::Any, ends_at, begins_after: None, network: None };
        let at = WallTime::from_unix_secs;
        let mut verified = VerifiedPolicies::new(KeySeed::new(1), 2);
        for digest in 1..=3 {
            verified.insert(at(0), digest, policy(10));
        }
        assert_eq!((verified.len(), verified.evictions()), (2, 1));
        assert_eq!((verified.get(at(9), 1), verified.get(at(9), 3)), (None, Some(policy(10))));
        assert_eq!(verified.get(at(10), 3), Some(policy(10)), "whoever asks is told that it has ended");
        assert_eq!(verified.get(at(10), 3), None);
        verified.insert(at(10), 4, policy(10));
        assert_eq!(verified.len(), 1, "what has ended is not kept");
    }
}
