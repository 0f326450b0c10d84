//! Policies whose signatures have been verified, by a digest of all that the verification depended on.
//!
//! Verifying costs several times what the rest of a hit costs, and a player asks for thousands of segments with the same
//! cookies. Only what was verified is kept, until its policy ends, so a flood of bad signatures costs time and no
//! memory. The digest is keyed, so that nobody can aim at one. Whoever changes the keys begins anew.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{Credentials, Policy, PolicyText, SignedRequest};
use crate::{WallTime, cache_key::KeySeed};

/// A digest of credentials, and of the URL where the policy is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(u128);

pub(super) fn digest(seed: KeySeed, credentials: &Credentials<'_>, request: &SignedRequest<'_>, own: &str) -> Digest {
    let Credentials { key_id, signature, hash, .. } = *credentials;
    Digest(match credentials.policy {
        PolicyText::Custom(text) => seed.digest(&[key_id, hash.as_str(), signature, text]),
        PolicyText::Canned(expires) => {
            let SignedRequest { scheme, host, .. } = *request;
            seed.digest(&[key_id, hash.as_str(), signature, expires, scheme, host, own])
        }
    })
}

/// See the module.
#[derive(Debug)]
pub struct VerifiedPolicies {
    policies: BTreeMap<Digest, Arc<Policy>>,
    /// In the order in which they came.
    order: VecDeque<Digest>,
    policies_max: usize,
}

impl VerifiedPolicies {
    /// Knows none; `policies_max` at most, of which the oldest goes first.
    pub const fn new(policies_max: usize) -> Self {
        Self { policies: BTreeMap::new(), order: VecDeque::new(), policies_max }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// What was verified under `digest`. One that has ended is known once more, so that whoever asks is told so.
    pub fn get(&mut self, now: WallTime, digest: Digest) -> Option<Arc<Policy>> {
        let policy = self.policies.get(&digest)?;
        if now.unix_secs() < policy.ends_at {
            return Some(Arc::clone(policy));
        }
        self.policies.remove(&digest)
    }

    /// `policy` was verified under `digest`. Whether another had to go, because there were as many as allowed.
    pub fn insert(&mut self, now: WallTime, digest: Digest, policy: Arc<Policy>) -> bool {
        let mut evicted = false;
        if self.policies_max == 0 || now.unix_secs() >= policy.ends_at {
            return evicted;
        }
        while self.order.len() >= self.policies_max
            && let Some(oldest) = self.order.pop_front()
        {
            evicted |= self.policies.remove(&oldest).is_some();
        }
        if self.policies.insert(digest, policy).is_none() {
            self.order.push_back(digest);
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::resource::Resource;

    #[test]
    fn as_many_as_allowed_are_known_and_none_beyond_its_end() {
        let policy = |ends_at| Arc::new(Policy { resource: Resource::Any, ends_at, begins_after: None, network: None });
        let at = WallTime::from_unix_secs;
        let mut verified = VerifiedPolicies::new(2);
        let evicted = [1, 2, 3].map(|digest| verified.insert(at(0), Digest(digest), policy(10)));
        assert_eq!((verified.len(), evicted), (2, [false, false, true]));
        assert_eq!((verified.get(at(9), Digest(1)), verified.get(at(9), Digest(3))), (None, Some(policy(10))));
        assert_eq!(verified.get(at(10), Digest(3)), Some(policy(10)), "whoever asks is told that it has ended");
        assert_eq!(verified.get(at(10), Digest(3)), None);
        verified.insert(at(10), Digest(4), policy(10));
        assert_eq!(verified.len(), 1, "what has ended is not kept");
    }
}
