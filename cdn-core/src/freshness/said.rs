//! What a response's headers say of how long it may be used, read once for however many caches judge it.

use std::time::Duration;

use http::{HeaderMap, header};

use super::LIFETIME_MAX;
use crate::{
    WallTime, cache_control::CacheControl, conditional::Validators, distribution::CachingRules, http_date::date_of,
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub(super) directives: CacheControl,
    /// These are `CDN-Cache-Control`'s, so that `Expires` says nothing.
    pub(super) is_targeted: bool,
    /// `Expires`; one that is no date lies in the past (RFC 9111 section 5.3) and is `None` within.
    pub(super) expires: Option<Option<WallTime>>,
    /// `Date`.
    pub(super) sent: Option<WallTime>,
    /// `Last-Modified`.
    pub(super) modified: Option<WallTime>,
    /// `Age`.
    pub(super) age: Duration,
    /// It can be confirmed.
    pub(super) has_validator: bool,
}

impl Said {
    /// Reads headers before anything was removed from them, where these rules hold.
    pub fn of(headers: &HeaderMap, rules: CachingRules) -> Self {
        let targeted = if rules == CachingRules::Origin { CacheControl::targeted(headers) } else { None };
        Self {
            is_targeted: targeted.is_some(),
            directives: targeted.unwrap_or_else(|| CacheControl::of(headers)),
            expires: headers.get(header::EXPIRES).map(WallTime::from_http_date),
            sent: date_of(headers, &header::DATE),
            modified: date_of(headers, &header::LAST_MODIFIED),
            age: age_value(headers),
            has_validator: !Validators::of(headers).is_empty(),
        }
    }

    /// The same response with another `Age`, in whole seconds.
    #[must_use]
    pub fn with_age(&self, age: Duration) -> Self {
        Self { age: Duration::from_secs(age.as_secs()).min(LIFETIME_MAX), ..self.clone() }
    }
}

/// The first `Age` that is a number; zero otherwise.
fn age_value(headers: &HeaderMap) -> Duration {
    let text = headers.get(header::AGE).and_then(|age| age.to_str().ok()).unwrap_or_default();
    let first = text.split(',').next().unwrap_or_default().trim();
    if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Duration::ZERO;
    }
    Duration::from_secs(first.parse().unwrap_or(u64::MAX)).min(LIFETIME_MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn another_age_is_read_as_if_it_had_been_sent() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        let said = Said::of(&headers, CachingRules::CloudFront);
        for age in [0, 1, 86_400, u64::MAX / 2] {
            headers.insert(header::AGE, HeaderValue::from(age));
            let with_age = said.with_age(Duration::from_secs(age) + Duration::from_millis(900));
            assert_eq!(Said::of(&headers, CachingRules::CloudFront), with_age, "{age}");
        }
    }
}
