//! Signed URLs and signed cookies at the edge: who may pass is decided by [`cdn_core::signing`]; here is what has been
//! verified.
//!
//! The lock is held to look something up and to put something in, never while a signature is verified.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cdn_core::{
    Counter, Counters, Reason, WallTime,
    cache_key::KeySeed,
    signing::{Claim, Policy, Refusal, SignedRequest, TrustedKeys, VerifiedPolicies},
};

use crate::{clock::WallClock, verify::SignatureLibraries};

/// See the module.
#[derive(Debug)]
pub(crate) struct Signatures {
    seed: KeySeed,
    policies_max: usize,
    verified: Mutex<VerifiedPolicies>,
    wall: WallClock,
}

impl Signatures {
    pub(crate) const fn new(seed: KeySeed, policies_max: usize, wall: WallClock) -> Self {
        Self { seed, policies_max, verified: Mutex::new(VerifiedPolicies::new(policies_max)), wall }
    }

    /// Whether a key of `keys` has signed `request`. What comes back is its target without CloudFront's parameters.
    pub(crate) fn admit(
        &self,
        counters: &Counters,
        keys: &TrustedKeys,
        request: SignedRequest<'_>,
    ) -> Result<String, Reason> {
        let judged = self.judge(keys, request, |now, claim| {
            counters.bump(Counter::EdgeSignaturesVerified);
            let policy = Arc::new(claim.verify(&SignatureLibraries)?);
            if self.verified().insert(now, claim.digest(), Arc::clone(&policy)) {
                counters.bump(Counter::EdgeVerifiedPoliciesFull);
            }
            Ok(Some(policy))
        });
        judged.map(Option::unwrap_or_default).map_err(|refusal| {
            counters.bump(Counter::EdgeSignaturesRefused);
            tracing::debug!(%refusal, "a signature was refused");
            refusal.reason()
        })
    }

    /// The same where the answer needs no verification; `None` where it does, and where it is no.
    pub(crate) fn admit_known(&self, keys: &TrustedKeys, request: SignedRequest<'_>) -> Option<String> {
        self.judge(keys, request, |_, _| Ok(None)).ok().flatten()
    }

    fn judge(
        &self,
        keys: &TrustedKeys,
        request: SignedRequest<'_>,
        unknown: impl FnOnce(WallTime, &Claim<'_>) -> Result<Option<Arc<Policy>>, Refusal>,
    ) -> Result<Option<String>, Refusal> {
        let now = self.wall.now();
        let claim = Claim::read(keys, self.seed, request)?;
        let known = self.verified().get(now, claim.digest());
        let policy = match known {
            Some(policy) => Some(policy),
            None => unknown(now, &claim)?,
        };
        let Some(policy) = policy else { return Ok(None) };
        claim.judge(now, &policy)?;
        Ok(Some(claim.into_own_target()))
    }

    /// Forgets everything, because keys have changed.
    pub(crate) fn clear(&self) {
        *self.verified() = VerifiedPolicies::new(self.policies_max);
    }

    fn verified(&self) -> MutexGuard<'_, VerifiedPolicies> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
