//! How long a response may be used, and from when on its age counts.
//!
//! Decides storability and lifetimes from status, headers and cache policy, by the rules that the policy names:
//! CloudFront's tables (`cloudfront`) or those of a plain shared cache (`shared_cache`). Knows neither store nor clock.

mod cloudfront;
mod heuristic;
mod said;
mod shared_cache;

use std::time::Duration;

use http::StatusCode;

pub use self::said::Said;
use crate::{
    Instant, WallTime,
    distribution::{CachePolicy, CachingRules},
    vary::Vary,
};

/// How long an error is stored where the origin asks for less (CloudFront's default `ErrorCachingMinTTL`). For as long
/// a stale response stands in for a failing origin before that is asked again.
pub const ERROR_CACHING_MIN_TTL: Duration = Duration::from_secs(10);

/// The longest lifetime that can be represented: 100 years.
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A response whose head has arrived, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its status.
    pub status: StatusCode,
    /// What its headers say, before anything was removed.
    pub said: &'a Said,
    /// What its `Vary` demands.
    pub vary: &'a Vary,
    /// When the request that it answers was sent (the last try's, not the first's).
    pub requested_at: Instant,
    /// When its head was complete.
    pub responded_at: Instant,
    /// The date at that moment.
    pub date: WallTime,
    /// The behavior's cache policy.
    pub policy: &'a CachePolicy,
    /// [`ERROR_CACHING_MIN_TTL`], or what the distribution says for this status.
    pub error_ttl_min: Duration,
    /// The request carried an `Authorization` that reached the origin and is not in the cache key.
    pub authorized: bool,
}

/// Whether a response may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// It may, for this long.
    Store(Lifetime),
    /// It may not.
    Refuse(Refusal),
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The policy disables caching.
    Disabled,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// An error with `no-cache`, which has nothing to be confirmed.
    NoCache,
    /// The status is never stored, or only with an explicit lifetime that it lacks.
    Status,
    /// The answer to a viewer's own precondition or range (206, 304, 412, 416): it says nothing about the object.
    Partial,
    /// The request was authorized and the response does not say that others may have it (RFC 9111 section 3.5).
    Authorization,
    /// `Vary: *`.
    VaryAny,
    /// It is stale at once and has no validator, so that it could never be used.
    Unusable,
}

/// How long a stored response may be used, counted from its arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Its age on arrival.
    pub initial_age: Duration,
    /// For how long it is fresh from then on.
    pub fresh_for: Duration,
    /// For how long after that it may be sent while it is refreshed.
    pub while_revalidate: Duration,
    /// For how long after being fresh it may be sent while the origin answers with 500 to 599.
    pub if_error: Duration,
    /// For how long after being fresh it may be sent while no origin answers at all.
    pub if_gone: Duration,
    /// For how long the origin is left alone once a stale response stood in for it.
    pub retry_after: Duration,
}

impl Refusal {
    /// Whether the next response will probably be refused too: resolve the fetch with
    /// [`crate::store::CacheShard::uncacheable`] then, else with [`crate::store::CacheShard::released`].
    pub fn is_lasting(self) -> bool {
        self != Self::Partial
    }

    /// The word for it in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "caching is disabled",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::NoCache => "no-cache on an error",
            Self::Status => "this status is not stored",
            Self::Partial => "an answer to the viewer's own precondition or range",
            Self::Authorization => "the request was authorized and the response is not public",
            Self::VaryAny => "Vary: *",
            Self::Unusable => "stale at once and without a validator",
        }
    }
}

/// Decides whether and for how long a response may be stored.
pub fn assess(arrival: &Arrival<'_>) -> Storing {
    if arrival.policy.max_ttl.is_zero() {
        return Storing::Refuse(Refusal::Disabled);
    }
    if *arrival.vary == Vary::Any {
        return Storing::Refuse(Refusal::VaryAny);
    }
    match arrival.policy.rules {
        CachingRules::CloudFront => cloudfront::assess(arrival),
        CachingRules::Origin => shared_cache::assess(arrival),
    }
}

/// The age on arrival (RFC 9111 section 4.2.3, `corrected_initial_age`).
///
/// `Date` counts whole seconds and the response was under way, so a difference of one second says nothing.
pub fn initial_age(said: &Said, requested_at: Instant, responded_at: Instant, date: WallTime) -> Duration {
    let apparent = match said.sent {
        Some(sent) => u64::try_from(date.unix_secs() - sent.unix_secs()).unwrap_or(0),
        None => 0,
    };
    let apparent = Duration::from_secs(if apparent > 1 { apparent } else { 0 });
    let corrected = said.age + responded_at.saturating_since(requested_at);
    apparent.max(corrected).min(LIFETIME_MAX)
}

/// What the origin asks for: `s-maxage`, else `max-age`, else `Expires` less `Date`. An `Expires` that is no date lies
/// in the past (RFC 9111 section 5.3).
fn asked_lifetime(arrival: &Arrival<'_>) -> Option<Duration> {
    if let Some(max_age) = arrival.said.directives.shared_max_age() {
        return Some(max_age.min(LIFETIME_MAX));
    }
    let sent = arrival.said.sent.unwrap_or(arrival.date);
    let lifetime = arrival.said.expires?.map_or(Duration::ZERO, |expires| expires.saturating_since(sent));
    Some(lifetime.min(LIFETIME_MAX))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};
    use proptest::prelude::*;

    use super::*;
    use crate::policies;

    const NOW: WallTime = WallTime::from_unix_secs(1_800_000_000);

    fn policy(min: u64, default: u64, max: u64) -> CachePolicy {
        let [min_ttl, default_ttl, max_ttl] = [min, default, max].map(Duration::from_secs);
        CachePolicy { min_ttl, default_ttl, max_ttl, ..policies::cache_policy("CachingDisabled").unwrap() }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn assessed(status: u16, policy: &CachePolicy, lines: &[(&str, &str)]) -> Storing {
        let headers = headers(lines);
        assess(&Arrival {
            status: StatusCode::from_u16(status).unwrap(),
            said: &Said::of(&headers, policy.rules),
            vary: &Vary::default(),
            requested_at: Instant::ZERO,
            responded_at: Instant::ZERO,
            date: NOW,
            policy,
            error_ttl_min: ERROR_CACHING_MIN_TTL,
            authorized: false,
        })
    }

    fn fresh_secs(storing: Storing) -> u64 {
        match storing {
            Storing::Store(lifetime) => lifetime.fresh_for.as_secs(),
            Storing::Refuse(_) => 0,
        }
    }

    #[test]
    fn lifetimes_are_those_of_the_published_vectors() {
        #[derive(serde::Deserialize)]
        struct Vectors {
            cases: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            min_ttl: u64,
            default_ttl: u64,
            max_ttl: u64,
            cache_control: Option<String>,
            expires_in_seconds: Option<i64>,
            effective_ttl: u64,
        }
        let vectors: Vectors = serde_json::from_str(include_str!("../tests/vectors/ttl.json")).unwrap();
        assert_eq!(vectors.cases.len(), 27);
        for (row, case) in vectors.cases.iter().enumerate() {
            let date = NOW.http_date();
            let mut lines = vec![("date", date.to_str().unwrap()), ("etag", "\"a\"")];
            lines.extend(case.cache_control.as_deref().map(|text| ("cache-control", text)));
            let expires =
                case.expires_in_seconds.map(|secs| WallTime::from_unix_secs(NOW.unix_secs() + secs).http_date());
            lines.extend(expires.as_ref().map(|value| ("expires", value.to_str().unwrap())));
            let policy = policy(case.min_ttl, case.default_ttl, case.max_ttl);
            assert_eq!(fresh_secs(assessed(200, &policy, &lines)), case.effective_ttl, "row {row}: {lines:?}");
        }
    }

    proptest! {
        #[test]
        fn age_is_what_the_formulas_of_the_rfc_give(
            age_value in 0_u64..10_000, date_value in 0_u64..10_000, request_time in 0_u64..10_000,
            took in 0_u64..100, resident in 0_u64..10_000,
        ) {
            let response_time = request_time + took;
            // RFC 9111 section 4.2.3, line by line; `Date` counts whole seconds, so that one of them is no age.
            let apparent_age = match response_time.saturating_sub(date_value) {
                1 => 0,
                apparent_age => apparent_age,
            };
            let corrected_age_value = age_value + (response_time - request_time);
            let corrected_initial_age = apparent_age.max(corrected_age_value);
            let current_age = corrected_initial_age + resident;
            let wall = |secs: u64| WallTime::from_unix_secs(1_799_971_200 + secs as i64);
            let (date, age) = (wall(date_value).http_date(), age_value.to_string());
            let headers = headers(&[("age", &age), ("date", date.to_str().unwrap())]);
            let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
            let said = Said::of(&headers, CachingRules::Origin);
            let initial = initial_age(&said, at(request_time), at(response_time), wall(response_time));
            prop_assert_eq!(initial + Duration::from_secs(resident), Duration::from_secs(current_age));
        }
    }

    #[test]
    fn age_follows_the_rfc() {
        // Oracle: Age 30, Date 12:00:00, request :04, response :06, now 12:03:06 gives 212 s.
        let noon = WallTime::from_unix_secs(1_799_971_200);
        let date = noon.http_date();
        let headers = headers(&[("age", "30"), ("date", date.to_str().unwrap())]);
        let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
        let said = Said::of(&headers, CachingRules::Origin);
        let initial = initial_age(&said, at(4), at(6), noon + Duration::from_secs(6));
        assert_eq!(initial + at(186).saturating_since(at(6)), Duration::from_secs(212));
    }

    #[test]
    fn a_date_in_the_past_ages_but_truncation_does_not() {
        let age = |secs: u64| {
            let date = NOW.http_date();
            let headers = headers(&[("date", date.to_str().unwrap())]);
            let said = Said::of(&headers, CachingRules::Origin);
            initial_age(&said, Instant::ZERO, Instant::ZERO, NOW + Duration::from_secs(secs)).as_secs()
        };
        assert_eq!([age(0), age(1), age(2), age(100)], [0, 0, 2, 100]);
    }

    #[test]
    fn what_is_old_on_arrival_is_fresh_for_less() {
        let policy = policy(1, 60, 600);
        let fresh = |age: &str| fresh_secs(assessed(200, &policy, &[("cache-control", "max-age=100"), ("age", age)]));
        let rows = [fresh("40"), fresh("500"), fresh("-3"), fresh("7, 8"), fresh("99999999999999999999999")];
        assert_eq!(rows, [60, 1, 100, 93, 1]);
    }

    #[test]
    fn errors_are_stored_as_cloudfronts_table_says() {
        let optimized = policies::cache_policy("CachingOptimized").unwrap();
        let secs = |status, lines: &[(&str, &str)]| fresh_secs(assessed(status, &optimized, lines));
        for status in [404, 414, 500, 501, 502, 503, 504] {
            assert_eq!(secs(status, &[]), 10, "{status}");
            assert_eq!(secs(status, &[("cache-control", "max-age=60")]), 60, "{status}");
        }
        for status in [400, 403, 405, 412, 415] {
            assert_eq!(secs(status, &[]), 0, "{status}");
            assert_eq!(secs(status, &[("cache-control", "max-age=1")]), 10, "{status}");
        }
        for status in [401, 406, 416, 429, 505, 599] {
            assert_eq!(secs(status, &[("cache-control", "max-age=60")]), 0, "{status}");
        }
        for directive in ["no-store", "private", "no-cache"] {
            let lines = [("cache-control", directive)];
            assert_eq!([404, 414, 501, 500, 503].map(|status| secs(status, &lines)), [0, 0, 0, 10, 10], "{directive}");
        }
        assert_eq!(fresh_secs(assessed(500, &policy(0, 0, 0), &[])), 0);
    }

    #[test]
    fn partial_and_unusable_responses_are_refused() {
        let policy = policies::cache_policy("UseOriginCacheControlHeaders").unwrap();
        let refused = |status, lines: &[(&str, &str)]| match assessed(status, &policy, lines) {
            Storing::Refuse(refusal) => Some(refusal),
            Storing::Store(_) => None,
        };
        assert_eq!(refused(200, &[]), Some(Refusal::Unusable));
        assert_eq!(refused(200, &[("etag", "\"a\"")]), None);
        assert_eq!(refused(200, &[("cache-control", "no-store, max-age=60")]), Some(Refusal::NoStore));
        assert_eq!(refused(200, &[("cache-control", "private")]), Some(Refusal::Private));
        assert_eq!(refused(206, &[("cache-control", "max-age=60")]), Some(Refusal::Partial));
        assert_eq!(refused(304, &[("cache-control", "max-age=60")]), Some(Refusal::Partial));
        assert_eq!(refused(204, &[("cache-control", "max-age=60")]), None);
    }

    #[test]
    fn authorized_responses_need_permission() {
        let policy = policies::cache_policy("CachingOptimized").unwrap();
        for (directives, stored) in [("max-age=60", false), ("public, max-age=60", true), ("s-maxage=60", true)] {
            let headers = headers(&[("cache-control", directives)]);
            let storing = assess(&Arrival {
                status: StatusCode::OK,
                said: &Said::of(&headers, policy.rules),
                vary: &Vary::default(),
                requested_at: Instant::ZERO,
                responded_at: Instant::ZERO,
                date: NOW,
                policy: &policy,
                error_ttl_min: ERROR_CACHING_MIN_TTL,
                authorized: true,
            });
            assert_eq!(matches!(storing, Storing::Store(_)), stored, "{directives}");
        }
    }

    #[test]
    fn stale_spans_never_pass_the_maximum() {
        let policy = policy(0, 60, 100);
        let spans = |directives: &str| match assessed(200, &policy, &[("cache-control", directives), ("etag", "\"a\"")])
        {
            Storing::Store(lifetime) => (lifetime.while_revalidate.as_secs(), lifetime.if_error.as_secs()),
            Storing::Refuse(refusal) => panic!("{refusal:?}"),
        };
        assert_eq!(spans("max-age=60"), (0, 40));
        assert_eq!(spans("max-age=60, stale-while-revalidate=20"), (20, 40));
        assert_eq!(spans("max-age=60, stale-while-revalidate=500"), (40, 40));
        assert_eq!(spans("max-age=60, stale-if-error=500"), (0, 100));
        assert_eq!(spans("max-age=60, stale-if-error=0"), (0, 0));
        assert_eq!(spans("no-cache"), (0, 0));
    }
}
