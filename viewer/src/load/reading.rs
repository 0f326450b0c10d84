//! What an edge's answer says about itself.

use std::time::{Duration, Instant};

use cdn_core::{Reason, WallTime};
use http::{HeaderMap, HeaderName, header};
use world::CacheOutcome;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_ISO_REASON: HeaderName = HeaderName::from_static("x-iso-reason");

const SECOND_NS: i128 = 1_000_000_000;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) cache: CacheOutcome,
    pub(super) reason: Reason,
    /// When the origin made what was answered, by its own clock and in whole seconds.
    pub(super) sent: Option<WallTime>,
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
        Self { cache, reason, sent: headers.get(header::DATE).and_then(WallTime::from_http_date) }
    }

    /// When the origin made at the latest what arrived at `arrived`, when the clock on the wall said `now`; `None` where
    /// nobody says it.
    ///
    /// By `Date`, which caches hand on as it is, and which lies at most the rest of its second before the truth. `Age`
    /// would not do: it counts the way to the origin and back as well, for each cache on the way, and what `Date` leaves out
    /// (RFC 9111 section 4.2.3), so that it makes answers older than they are.
    pub(super) fn made_by(&self, arrived: Instant, now: WallTime) -> Option<Instant> {
        let latest = self.sent?.unix_nanos() + SECOND_NS;
        let since = u64::try_from(now.unix_nanos().saturating_sub(latest)).unwrap_or(0);
        arrived.checked_sub(Duration::from_nanos(since))
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

    fn read(pairs: &[(&'static str, &'static str)]) -> Reading {
        let headers =
            pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        Reading::of(&headers)
    }

    #[test]
    fn the_reason_says_more_than_the_word_of_cloudfront() {
        let hit = ("x-cache", "Hit from cloudfront");
        let told = |pairs: &[(&'static str, &'static str)]| {
            let Reading { cache, reason, .. } = read(pairs);
            (cache, reason)
        };
        assert_eq!(
            told(&[hit, ("x-iso-reason", "hit_stale_on_error")]),
            (CacheOutcome::Stale, Reason::HitStaleOnError)
        );
        assert_eq!(told(&[hit]), (CacheOutcome::Hit, Reason::Hit));
        assert_eq!(told(&[hit, ("x-iso-reason", "hit_shield")]).0, CacheOutcome::Miss);
        assert_eq!(told(&[("x-iso-reason", "pass_method")]).0, CacheOutcome::Pass);
        assert_eq!(told(&[("x-cache", "Error from cloudfront")]).0, CacheOutcome::Error);
        assert_eq!(told(&[("x-iso-reason", "no such word")]).0, CacheOutcome::Error);
    }

    #[test]
    fn an_answer_is_no_older_than_the_second_that_its_origin_dates_it() {
        let arrived = Instant::now() + Duration::from_secs(3600);
        // Made at 40.9 s, three caches away: each has rounded up what it does not know.
        let reading = read(&[("date", "Fri, 15 Jan 2027 12:00:40 GMT"), ("age", "3")]);
        let sent = reading.sent.unwrap().unix_nanos();
        let made = |now_ms: i128| reading.made_by(arrived, WallTime::from_unix_nanos(sent + now_ms * 1_000_000));
        assert_eq!(made(2_100), Some(arrived - Duration::from_millis(1_100)));
        assert_eq!(made(500), Some(arrived), "it was not made after it arrived");
        assert_eq!(made(-5_000), Some(arrived), "an origin's clock may be ahead");
        assert_eq!(read(&[("age", "3")]).made_by(arrived, WallTime::from_unix_nanos(sent)), None);
    }
}
