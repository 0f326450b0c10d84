//! What the viewer receives, and what of an origin's response is kept.
//!
//! Decides by CloudFront's tables of response headers. Two steps: [`storable_headers`] once when a response arrives,
//! [`dress`] on each copy that leaves.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{PopCode, WallTime, cache_control::CacheControl, distribution::CheckedBehavior, vary};

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
    /// The viewer is sent to HTTPS.
    Redirect,
}

impl XCache {
    /// The value of the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "Hit from cloudfront",
            Self::Miss => "Miss from cloudfront",
            Self::RefreshHit => "RefreshHit from cloudfront",
            Self::Error => "Error from cloudfront",
            Self::Redirect => "Redirect from cloudfront",
        }
    }
}

/// What is put on a response that leaves for a viewer (or for an edge, at the shield).
#[derive(Clone, Copy, Debug)]
pub struct Dress<'a> {
    /// `X-Cache`.
    pub x_cache: XCache,
    /// `Age`, on hits; whole seconds are sent.
    pub age: Option<Duration>,
    /// `X-Amz-Cf-Pop`, as [`pop_header`] makes it.
    pub pop: &'a HeaderValue,
    /// `X-Amz-Cf-Id`.
    pub request_id: &'a HeaderValue,
    /// This node's entry for `Via`; the shield, whose responses only edges see, has none.
    pub via: Option<&'a HeaderValue>,
    /// For a response without a `Date`.
    pub now: WallTime,
}

/// Removes from an origin's (or shield's) response what is never stored and never reaches a viewer: hop-by-hop
/// headers, our own, `Age`, `Set-Cookie` where no cookie is forwarded and what `no-cache="..."` or `private="..."`
/// names. `Vary` keeps the names that mattered. Read `Vary` and freshness first: they need the headers as they came.
pub fn storable_headers(headers: &mut HeaderMap, behavior: &CheckedBehavior) {
    super::strip_hop_by_hop(headers);
    for name in [X_CACHE, X_AMZ_CF_POP, X_AMZ_CF_ID, header::AGE] {
        headers.remove(name);
    }
    if behavior.cookies().is_none() {
        headers.remove(header::SET_COOKIE);
    }
    for name in CacheControl::of(headers).withheld_fields() {
        headers.remove(name);
    }
    vary::filter(headers, behavior);
}

/// Adds CloudFront's headers to a response.
pub fn dress(headers: &mut HeaderMap, dress: &Dress<'_>) {
    headers.insert(X_CACHE, HeaderValue::from_static(dress.x_cache.as_str()));
    headers.insert(X_AMZ_CF_POP, dress.pop.clone());
    headers.insert(X_AMZ_CF_ID, dress.request_id.clone());
    if let Some(via) = dress.via {
        let via = match headers.contains_key(header::VIA) {
            true => super::joined(headers, &header::VIA, ", ", via.as_bytes()),
            false => via.clone(),
        };
        headers.insert(header::VIA, via);
    }
    match dress.age {
        Some(age) => headers.insert(header::AGE, HeaderValue::from(age.as_secs())),
        None => headers.remove(header::AGE),
    };
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, dress.now.http_date());
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
    let mut text = [b'='; 56];
    for (three, four) in random.chunks(3).zip(text.chunks_mut(4)) {
        let bits = three.iter().enumerate().fold(0_u32, |bits, (at, &byte)| bits | u32::from(byte) << (16 - 8 * at));
        // n bytes make n + 1 digits; the rest stays padding.
        for (at, digit) in four.iter_mut().take(three.len() + 1).enumerate() {
            *digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data;

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

    #[test]
    fn set_cookie_stays_only_where_cookies_are_forwarded() {
        let lines: &[_] =
            &[("set-cookie", "a=1"), ("connection", "x-y"), ("x-y", "1"), ("x-cache", "no"), ("age", "9")];
        let mut kept = headers(lines);
        storable_headers(&mut kept, &test_data::behavior("UseOriginCacheControlHeaders", ""));
        assert_eq!(text(&kept), "set-cookie: a=1");
        let mut removed = headers(lines);
        storable_headers(&mut removed, &test_data::behavior("CachingOptimized", ""));
        assert_eq!(text(&removed), "");
        let mut excluded = headers(&[("set-cookie", "a=1"), ("cache-control", "no-cache=\"Set-Cookie\"")]);
        storable_headers(&mut excluded, &test_data::behavior("UseOriginCacheControlHeaders", ""));
        assert_eq!(text(&excluded), "cache-control: no-cache=\"Set-Cookie\"");
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
        dress(&mut hit, &Dress { age: None, ..worn });
        assert!(!hit.contains_key(header::AGE), "a miss has no age");
    }
}
