//! A plain shared cache's rules: what RFC 9111 says of the origin's word, with RFC 9213, 5861 and 8246.
//!
//! Where `CDN-Cache-Control` is there, `Cache-Control` and `Expires` say nothing (RFC 9213 section 2.2).

use std::time::Duration;

use http::StatusCode;

use super::{Arrival, LIFETIME_MAX, Lifetime, Refusal, Storing, asked_lifetime, heuristic, initial_age};
use crate::cache_control::CacheControl;

/// Decides by RFC 9111 section 3 whether a response may be stored, by section 4.2 for how long it is fresh.
pub(super) fn assess(arrival: &Arrival<'_>) -> Storing {
    let said = arrival.said;
    let directives = &said.directives;
    if let Some(refusal) = refusal(arrival, directives) {
        return Storing::Refuse(refusal);
    }
    let explicit = match said.is_targeted {
        true => directives.shared_max_age().map(|max_age| max_age.min(LIFETIME_MAX)),
        false => asked_lifetime(arrival),
    };
    let heuristic = heuristic::allows(arrival.status) || directives.public;
    let ttl = match explicit {
        Some(ttl) => ttl,
        None if heuristic => heuristic::lifetime(said, arrival.date),
        None => return Storing::Refuse(Refusal::Status),
    };
    let lifetime = lifetime(arrival, directives, ttl);
    let wanted_stale = !lifetime.while_revalidate.is_zero() || !lifetime.if_error.is_zero();
    if lifetime.fresh_for.is_zero() && !wanted_stale && !said.has_validator {
        return Storing::Refuse(Refusal::Unusable);
    }
    Storing::Store(lifetime)
}

/// What forbids to store it (section 3).
fn refusal(arrival: &Arrival<'_>, directives: &CacheControl) -> Option<Refusal> {
    // With `must-understand`, `no-store` is for caches that do not know the status (section 5.2.2.3).
    let understood = understands(arrival.status);
    if directives.must_understand && !understood {
        return Some(Refusal::Status);
    }
    if directives.no_store && !directives.must_understand {
        return Some(Refusal::NoStore);
    }
    if directives.private {
        return Some(Refusal::Private);
    }
    // Section 3.5.
    let shared = directives.public || directives.s_maxage.is_some() || directives.must_revalidate;
    if arrival.authorized && !shared {
        return Some(Refusal::Authorization);
    }
    match arrival.status.as_u16() {
        206 | 304 | 416 => Some(Refusal::Partial),
        _ => None,
    }
}

fn lifetime(arrival: &Arrival<'_>, directives: &CacheControl, ttl: Duration) -> Lifetime {
    let max = arrival.policy.max_ttl.min(LIFETIME_MAX);
    let initial_age = initial_age(arrival.said, arrival.requested_at, arrival.responded_at, arrival.date);
    let fresh_for = if directives.no_cache { Duration::ZERO } else { ttl.min(max).saturating_sub(initial_age) };
    // Sections 4.2.4, 5.2.2.2, 5.2.2.8 and 5.2.2.10: these forbid to use it stale, whatever else is said.
    let never_stale = directives.no_cache
        || directives.must_revalidate
        || directives.proxy_revalidate
        || directives.s_maxage.is_some();
    let stale = |span: Duration| if never_stale { Duration::ZERO } else { span.min(max) };
    let if_error = stale(directives.stale_if_error.unwrap_or_default());
    Lifetime {
        initial_age,
        fresh_for,
        while_revalidate: stale(directives.stale_while_revalidate.unwrap_or_default()),
        if_error,
        // A cache that is cut off may use what it has (section 4.2.4), unless the origin says for how long.
        if_gone: if directives.stale_if_error.is_some() { if_error } else { stale(max) },
        // The next request asks again.
        retry_after: Duration::ZERO,
    }
}

/// Whether what a status demands of caches is known and done here: all final statuses of RFC 9110.
const fn understands(status: StatusCode) -> bool {
    matches!(status.as_u16(),
        200..=206 | 300..=305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};

    use super::*;
    use crate::{Instant, WallTime, freshness::Said, policies, vary::Vary};

    const NOW: WallTime = WallTime::from_unix_secs(1_800_000_000);

    fn assessed(status: u16, authorized: bool, lines: &[(&str, &str)]) -> Storing {
        let mut headers = HeaderMap::new();
        headers.insert("date", NOW.http_date());
        for &(name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let policy = policies::cache_policy(policies::HONOUR_ORIGIN).unwrap();
        assess(&Arrival {
            status: StatusCode::from_u16(status).unwrap(),
            said: &Said::of(&headers, policy.rules),
            vary: &Vary::default(),
            requested_at: Instant::ZERO,
            responded_at: Instant::ZERO,
            date: NOW,
            policy: &policy,
            error_ttl_min: Duration::from_secs(10),
            authorized,
        })
    }

    /// Seconds of freshness, or why it is not stored.
    fn fresh(status: u16, lines: &[(&str, &str)]) -> Result<u64, Refusal> {
        match assessed(status, false, lines) {
            Storing::Store(lifetime) => Ok(lifetime.fresh_for.as_secs()),
            Storing::Refuse(refusal) => Err(refusal),
        }
    }

    #[test]
    fn the_targeted_field_silences_the_others() {
        let both = |targeted, general| fresh(200, &[("cdn-cache-control", targeted), ("cache-control", general)]);
        assert_eq!(both("max-age=3600", "max-age=1"), Ok(3600));
        assert_eq!(both("max-age=1", "max-age=3600"), Ok(1));
        assert_eq!(both("max-age=10000", "no-store"), Ok(10_000));
        assert_eq!(both("no-store", "max-age=10000"), Err(Refusal::NoStore));
        assert_eq!(both("private", "max-age=10000"), Err(Refusal::Private));
        assert_eq!(both("no-cache", "max-age=10000"), Err(Refusal::Unusable));
        assert_eq!(both("max-age=10000, &&&&&", "max-age=7"), Ok(7), "no dictionary says nothing");
        let expires = (NOW + Duration::from_secs(500)).http_date();
        let expires = ("expires", expires.to_str().unwrap());
        assert_eq!(fresh(200, &[("cdn-cache-control", "max-age=0"), expires, ("etag", "\"a\"")]), Ok(0));
        assert_eq!(fresh(200, &[expires]), Ok(500));
        assert_eq!(fresh(200, &[("cdn-cache-control", "max-age=3600"), ("age", "7200"), ("etag", "\"a\"")]), Ok(0));
    }

    #[test]
    fn any_final_status_is_stored_where_the_origin_says_so_and_none_for_less() {
        for status in [200, 203, 204, 299, 301, 302, 404, 410, 499, 500, 503, 599] {
            assert_eq!(fresh(status, &[("cache-control", "max-age=60")]), Ok(60), "{status}");
        }
        let modified = WallTime::from_unix_secs(NOW.unix_secs() - 1_000).http_date();
        let modified = ("last-modified", modified.to_str().unwrap());
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(fresh(status, &[modified]), Ok(100), "{status}");
        }
        for status in [201, 202, 302, 303, 307, 403, 500, 502, 503, 504, 599] {
            assert_eq!(fresh(status, &[modified]), Err(Refusal::Status), "{status}");
            assert_eq!(fresh(status, &[modified, ("cache-control", "public")]), Ok(100), "{status}");
        }
        assert_eq!(fresh(503, &[]), Err(Refusal::Status));
        assert_eq!(fresh(206, &[("cache-control", "max-age=60")]), Err(Refusal::Partial));
    }

    #[test]
    fn must_understand_says_to_whom_no_store_speaks() {
        let directives = ("cache-control", "max-age=3600, no-store, must-understand");
        assert_eq!(fresh(200, &[directives]), Ok(3600));
        assert_eq!(fresh(599, &[directives]), Err(Refusal::Status));
        assert_eq!(fresh(599, &[("cache-control", "max-age=3600, must-understand")]), Err(Refusal::Status));
    }

    #[test]
    fn authorized_responses_need_permission() {
        let stored =
            |directives: &str| matches!(assessed(200, true, &[("cache-control", directives)]), Storing::Store(_));
        assert!(!stored("max-age=60"));
        for permission in ["public", "must-revalidate", "s-maxage=60"] {
            assert!(stored(&format!("max-age=60, {permission}")), "{permission}");
        }
    }

    #[test]
    fn stale_use_is_what_the_origin_allows() {
        let spans = |directives: &str| match assessed(200, false, &[("cache-control", directives), ("etag", "\"a\"")]) {
            Storing::Store(lifetime) => {
                [lifetime.while_revalidate, lifetime.if_error, lifetime.if_gone].map(|span| span.as_secs())
            }
            Storing::Refuse(refusal) => panic!("{refusal:?}"),
        };
        assert_eq!(spans("max-age=1"), [0, 0, 1 << 31]);
        assert_eq!(spans("max-age=1, stale-while-revalidate=5, stale-if-error=9"), [5, 9, 9]);
        assert_eq!(spans("max-age=1, stale-if-error=0"), [0, 0, 0]);
        for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=1", "no-cache"] {
            let all = format!("max-age=1, stale-while-revalidate=5, stale-if-error=9, {forbids}");
            assert_eq!(spans(&all), [0, 0, 0], "{forbids}");
        }
    }
}
