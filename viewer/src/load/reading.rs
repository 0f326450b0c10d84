//! What an edge's answer says about itself.

use std::time::Duration;

use cdn_core::Reason;
use http::{HeaderMap, HeaderName, header};
use world::CacheOutcome;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_ISO_REASON: HeaderName = HeaderName::from_static("x-iso-reason");

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) cache: CacheOutcome,
    pub(super) reason: Reason,
    /// For how long at least the answer has been under way and in caches.
    pub(super) age: Duration,
}

impl Reading {
    /// Reads `headers`. A distribution may leave our own ones out; then `X-Cache` says as much as it does.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let word = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let x_cache = word(&X_CACHE).unwrap_or_default().split(' ').next().unwrap_or_default();
        let said: Option<Reason> = word(&X_ISO_REASON).and_then(|word| word.parse().ok());
        let (cache, reason) = match (said, x_cache) {
            (Some(reason), _) => (outcome(reason, x_cache), reason),
            (None, "Hit") => (CacheOutcome::Hit, Reason::Hit),
            (None, "RefreshHit") => (CacheOutcome::RefreshHit, Reason::RefreshHit),
            (None, "Miss") => (CacheOutcome::Miss, Reason::MissAbsent),
            (None, _) => (CacheOutcome::Error, Reason::ViewerEdgeInvalid),
        };
        let age = word(&header::AGE).and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0);
        // A day and more is as good as a day; the rest could not be subtracted from any clock.
        Self { cache, reason, age: Duration::from_secs(u64::min(age, 86_400 * 365)) }
    }
}

/// What the edge's own store had to do with it. What a cache behind the edge had is a miss of the edge.
fn outcome(reason: Reason, x_cache: &str) -> CacheOutcome {
    match reason {
        Reason::Hit | Reason::HitDisk => CacheOutcome::Hit,
        Reason::HitStaleWhileRevalidate | Reason::HitStaleOnError | Reason::HitStaleAccepted => CacheOutcome::Stale,
        Reason::HitCollapsed => CacheOutcome::Collapsed,
        Reason::RefreshHit => CacheOutcome::RefreshHit,
        Reason::PassMethod
        | Reason::PassNoStore
        | Reason::PassBody
        | Reason::PassDisabled
        | Reason::PassWaitersFull
        | Reason::PassUpgrade => CacheOutcome::Pass,
        Reason::HitRegional
        | Reason::HitShield
        | Reason::MissAbsent
        | Reason::MissDiskBusy
        | Reason::MissDiskDamaged
        | Reason::MissExpired
        | Reason::MissRequestControl
        | Reason::MissPart
        | Reason::MissUncacheable => CacheOutcome::Miss,
        // Failovers, errors of origins, refusals: `X-Cache` tells a page of the edge's own from an answer.
        _ if x_cache == "Miss" => CacheOutcome::Miss,
        _ => CacheOutcome::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> (CacheOutcome, Reason, u64) {
        let headers =
            pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        let Reading { cache, reason, age } = Reading::of(&headers);
        (cache, reason, age.as_secs())
    }

    #[test]
    fn the_reason_says_more_than_the_word_of_cloudfront() {
        let hit = ("x-cache", "Hit from cloudfront");
        assert_eq!(
            read(&[hit, ("x-iso-reason", "hit_stale_on_error"), ("age", "61")]),
            (CacheOutcome::Stale, Reason::HitStaleOnError, 61)
        );
        assert_eq!(read(&[hit]), (CacheOutcome::Hit, Reason::Hit, 0));
        assert_eq!(read(&[hit, ("x-iso-reason", "hit_shield")]).0, CacheOutcome::Miss);
        assert_eq!(read(&[("x-iso-reason", "pass_method")]).0, CacheOutcome::Pass);
        assert_eq!(read(&[("x-cache", "Error from cloudfront")]).0, CacheOutcome::Error);
        assert_eq!(read(&[("x-iso-reason", "no such word"), ("age", "-3")]).0, CacheOutcome::Error);
    }
}
