//! What the viewer receives, and what of an origin's response is kept.
//!
//! Decides by CloudFront's tables of response headers. [`receive_response_headers`] comes once when a response arrives,
//! [`withhold`] before it is stored, [`dress`] on each copy that leaves.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{PopCode, WallTime, cache_control::CacheControl, distribution::CheckedBehavior, fields::Fields, vary};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_AMZ_CF_POP: HeaderName = HeaderName::from_static("x-amz-cf-pop");
const X_AMZ_CF_ID: HeaderName = HeaderName::from_static("x-amz-cf-id");

/// The word of `X-Cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XCache {
    /// A cache of ours answered.
    Hit,
    /// An origin was asked.
    Miss,
    /// An origin was asked and confirmed what was stored.
    RefreshHit,
    /// The answer is an error.
    Error,
    /// The node has as much to do as it may.
    LimitExceeded,
    /// The viewer is sent to HTTPS.
    Redirect,
    /// A viewer-request function made the response.
    FunctionGenerated,
    /// What a function returned is not valid.
    FunctionValidationError,
    /// A function threw, or ran for too long.
    FunctionExecutionError,
    /// A function was not run, because too much of them had to.
    FunctionThrottled,
}

impl XCache {
    /// The value of the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "Hit from cloudfront",
            Self::Miss => "Miss from cloudfront",
            Self::RefreshHit => "RefreshHit from cloudfront",
            Self::Error => "Error from cloudfront",
            Self::LimitExceeded => "LimitExceeded from cloudfront",
            Self::Redirect => "Redirect from cloudfront",
            Self::FunctionGenerated => "FunctionGeneratedResponse from cloudfront",
            Self::FunctionValidationError => "FunctionValidationError from cloudfront",
            Self::FunctionExecutionError => "FunctionExecutionError from cloudfront",
            Self::FunctionThrottled => "FunctionThrottledError from cloudfront",
        }
    }
}

/// What is put on a response that leaves for a viewer (or for another tier).
#[derive(Clone, Copy, Debug)]
pub struct Dress<'a> {
    /// `X-Cache`.
    pub x_cache: XCache,
    /// `Age`, where the store answers; whole seconds are sent. Else what the response came with stays.
    pub age: Option<Duration>,
    /// `X-Amz-Cf-Pop`, as [`pop_header`] makes it.
    pub pop: &'a HeaderValue,
    /// `X-Amz-Cf-Id`.
    pub request_id: &'a HeaderValue,
    /// This node's entry for `Via`; regional caches and the shield, whose responses viewers never see, have none.
    pub via: Option<&'a HeaderValue>,
    /// For a response without a `Date`.
    pub now: WallTime,
}

/// Makes a response from behind fit for viewers: removes hop-by-hop headers, our own, and `Set-Cookie` where
/// no cookie is forwarded; `Vary` keeps the names that mattered. A response without `Date` gets the time at which it
/// arrived (RFC 9110 section 6.6.1). Read `Vary` and freshness first: they need the headers as they came.
pub fn receive_response_headers(headers: &mut HeaderMap, behavior: &CheckedBehavior, arrived: WallTime) {
    super::strip_hop_by_hop(headers);
    for name in [X_CACHE, X_AMZ_CF_POP, X_AMZ_CF_ID] {
        headers.remove(name);
    }
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, arrived.http_date());
    }
    if behavior.follows_origin() {
        return;
    }
    // CloudFront shows an age on hits alone.
    headers.remove(header::AGE);
    if behavior.cookies().is_none() {
        headers.remove(header::SET_COOKIE);
    }
    vary::filter(headers, behavior);
}

/// Removes from a received response what may be sent to whoever caused it and may not be stored for others: the `Age`
/// that it came with, and what `no-cache="..."` or `private="..."` names (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
/// Returns it.
pub fn withhold(headers: &mut HeaderMap, behavior: &CheckedBehavior) -> HeaderMap {
    let directives = CacheControl::applying(headers, behavior.cache_policy().rules);
    let mut withheld = HeaderMap::new();
    for name in directives.withheld_fields().iter().chain([&header::AGE]) {
        for value in headers.get_all(name) {
            withheld.append(name, value.clone());
        }
        headers.remove(name);
    }
    withheld
}

/// Adds CloudFront's headers to a response.
pub fn dress(fields: &mut impl Fields, dress: &Dress<'_>) {
    fields.insert(X_CACHE, HeaderValue::from_static(dress.x_cache.as_str()));
    fields.insert(X_AMZ_CF_POP, dress.pop.clone());
    fields.insert(X_AMZ_CF_ID, dress.request_id.clone());
    if let Some(via) = dress.via {
        let via = match fields.has(&header::VIA) {
            true => fields.joined(&header::VIA, ", ", via.as_bytes()),
            false => via.clone(),
        };
        fields.insert(header::VIA, via);
    }
    if let Some(age) = dress.age {
        fields.insert(header::AGE, HeaderValue::from(age.as_secs()));
    }
    if !fields.has(&header::DATE) {
        fields.append(header::DATE, dress.now.http_date());
    }
}

/// `X-Amz-Cf-Pop` of a PoP, as in `IAD50-P1`.
pub fn pop_header(pop: PopCode) -> HeaderValue {
    HeaderValue::from_str(&format!("{pop}50-P1")).unwrap_or(HeaderValue::from_static("XXX50-P1"))
}

/// A node's entry for `Via`: `1.1 <32 hex digits>.cloudfront.net (CloudFront)`.
pub fn via(pseudonym: u128) -> HeaderValue {
    HeaderValue::from_str(&format!("1.1 {pseudonym:032x}.cloudfront.net (CloudFront)"))
        .unwrap_or(HeaderValue::from_static("1.1 cloudfront.net (CloudFront)"))
}

/// `X-Amz-Cf-Id` from random bytes: 56 characters of base64url that end in `==`.
pub fn request_id(random: [u8; 40]) -> HeaderValue {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u8| ALPHABET[usize::from(bits & 63)];
    let mut text = [b'='; 56];
    let (threes, rest) = random.as_chunks();
    let (fours, _) = text.as_chunks_mut();
    for (&[one, two, three], four) in threes.iter().zip(&mut *fours) {
        *four = [digit(one >> 2), digit(one << 4 | two >> 4), digit(two << 2 | three >> 6), digit(three)];
    }
    // 40 bytes are 13 times three, and one more.
    if let ([one], Some([first, second, ..])) = (rest, fours.last_mut()) {
        (*first, *second) = (digit(one >> 2), digit(one << 4));
    }
    let mut value = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""));
    // HPACK then leaves it out of its table (RFC 7541 section 6.2.3), where it would take the place of what comes again.
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policies, test_data};

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn text(headers: &HeaderMap) -> String {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// A cache behind another may store the head that the other has stored.
    #[test]
    fn what_is_fit_to_be_stored_comes_out_of_the_next_cache_as_it_went_in() {
        let lines: &[_] = &[
            ("cache-control", "max-age=60, no-cache=\"x-secret, set-cookie\""),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("x-secret", "1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("vary", "accept-encoding, cookie, origin, x-any"),
            ("etag", "\"1\""),
            ("expires", "0"),
            ("age", "9"),
            ("x-cache", "Hit from cloudfront"),
            ("content-length", "5"),
        ];
        for cache in ["UseOriginCacheControlHeaders", "CachingOptimized", "CachingDisabled", policies::HONOUR_ORIGIN] {
            let behavior = test_data::behavior(cache, "");
            // Whatever the origin leaves out.
            for left_out in 0..=lines.len() {
                let sent = lines.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, line)| *line);
                let mut once = headers(&sent.collect::<Vec<_>>());
                receive_response_headers(&mut once, &behavior, WallTime::from_unix_secs(0));
                withhold(&mut once, &behavior);
                let mut twice = once.clone();
                twice.insert(header::AGE, HeaderValue::from(7));
                receive_response_headers(&mut twice, &behavior, WallTime::from_unix_secs(60));
                withhold(&mut twice, &behavior);
                assert_eq!(twice, once, "{cache}, without line {left_out}");
            }
        }
    }

    #[test]
    fn set_cookie_stays_only_where_cookies_are_forwarded() {
        let lines: &[_] =
            &[("set-cookie", "a=1"), ("connection", "x-y"), ("x-y", "1"), ("x-cache", "no"), ("age", "9")];
        let received = |cache| {
            let mut headers = headers(lines);
            receive_response_headers(&mut headers, &test_data::behavior(cache, ""), WallTime::from_unix_secs(0));
            text(&headers)
        };
        let date = "date: Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(received("UseOriginCacheControlHeaders"), format!("{date}\nset-cookie: a=1"));
        assert_eq!(received("CachingOptimized"), date);
        assert_eq!(received("honour-origin"), format!("age: 9\n{date}\nset-cookie: a=1"));
    }

    #[test]
    fn what_is_for_one_viewer_is_not_stored() {
        let lines = [
            ("set-cookie", "a=1"),
            ("set-cookie", "b=1"),
            ("cache-control", "no-cache=\"Set-Cookie\""),
            ("cdn-cache-control", "private=\"x-one\""),
            ("x-one", "1"),
            ("age", "9"),
        ];
        let mut stored = headers(&lines);
        let own = withhold(&mut stored, &test_data::behavior("UseOriginCacheControlHeaders", ""));
        assert_eq!(text(&own), "age: 9\nset-cookie: a=1\nset-cookie: b=1");
        assert!(!stored.contains_key("set-cookie") && stored.contains_key("x-one"));
        let mut stored = headers(&lines);
        let own = withhold(&mut stored, &test_data::behavior("honour-origin", ""));
        assert_eq!(text(&own), "age: 9\nx-one: 1");
    }

    #[test]
    fn a_hit_carries_cloudfronts_headers() {
        let mut hit = headers(&[("via", "1.0 fred"), ("etag", "\"a\"")]);
        let own = via(0xabc);
        let worn = Dress {
            x_cache: XCache::Hit,
            age: Some(Duration::from_millis(5_900)),
            pop: &pop_header("sea".parse().unwrap()),
            request_id: &request_id([255; 40]),
            via: Some(&own),
            now: WallTime::from_unix_secs(0),
        };
        dress(&mut hit, &worn);
        assert_eq!(
            text(&hit),
            "age: 5\n\
             date: Thu, 01 Jan 1970 00:00:00 GMT\n\
             etag: \"a\"\n\
             via: 1.0 fred, 1.1 00000000000000000000000000000abc.cloudfront.net (CloudFront)\n\
             x-amz-cf-id: _____________________________________________________w==\n\
             x-amz-cf-pop: SEA50-P1\n\
             x-cache: Hit from cloudfront"
        );
        let mut miss = headers(&[("age", "7")]);
        dress(&mut miss, &Dress { age: None, ..worn });
        assert_eq!(miss[header::AGE], "7", "what the origin said stays");
    }
}
