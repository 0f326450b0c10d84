//! `Vary`: which request headers select among several responses under one cache key.
//!
//! Decides which names matter: only those that reach the origin and are not in the key already can have mattered to it.
//! RFC 9111 section 4.1 then holds exactly. What viewers see of `Vary` is CloudFront's filter.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    cache_key::KeySeed,
    distribution::{CheckedBehavior, Selection},
};

/// What a stored response's `Vary` demands of a request that wants to reuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// `Vary: *`: no other request may.
    Any,
    /// The values of these headers must be the same. Sorted, without repetition; empty where nothing matters.
    Names(Arc<[HeaderName]>),
}

impl Default for Vary {
    fn default() -> Self {
        Self::Names(Arc::default())
    }
}

impl Vary {
    /// Reads `Vary` of a response as it came from the origin.
    pub fn of(headers: &HeaderMap, behavior: &CheckedBehavior) -> Self {
        let mut names = Vec::new();
        for name in listed(headers) {
            match name {
                b"*" => return Self::Any,
                // A name that is none can match no request header.
                name => names.extend(HeaderName::from_bytes(name).ok().filter(|name| matters(name, behavior))),
            }
        }
        names.sort_unstable_by(|one: &HeaderName, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        Self::Names(names.into())
    }

    /// Whether every request may reuse the response.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Names(names) if names.is_empty())
    }

    /// The names, for people.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Any => vec!["*".to_owned()],
            Self::Names(names) => names.iter().map(ToString::to_string).collect(),
        }
    }

    /// A hash of the request's values of the names: the same for two requests that may share a response. `None` for
    /// [`Vary::Any`].
    pub fn variant(&self, seed: KeySeed, request: &HeaderMap) -> Option<u128> {
        match self {
            Self::Any => None,
            Self::Names(names) => Some(if names.is_empty() { 0 } else { seed.variant(names, request) }),
        }
    }
}

/// Reduces `Vary` to what CloudFront shows: `*`, `Accept-Encoding`, `Cookie` where cookies are forwarded, and headers
/// that the policies take. Where the origin's rules hold nothing is hidden.
pub(crate) fn filter(headers: &mut HeaderMap, behavior: &CheckedBehavior) {
    if behavior.follows_origin() || !headers.contains_key(header::VARY) {
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    for name in listed(headers) {
        let shown = name == b"*"
            || HeaderName::from_bytes(name).is_ok_and(|name| match name {
                header::ACCEPT_ENCODING => true,
                header::COOKIE => !behavior.cookies().is_none(),
                name => behavior.takes_header(&name),
            });
        if shown {
            if !kept.is_empty() {
                kept.extend_from_slice(b", ");
            }
            kept.extend_from_slice(name);
        }
    }
    match HeaderValue::from_bytes(&kept) {
        Ok(value) if !kept.is_empty() => drop(headers.insert(header::VARY, value)),
        _ => drop(headers.remove(header::VARY)),
    }
}

fn listed(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::VARY).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

/// Whether a header's value can differ between two requests of one key as the origin sees them.
fn matters(name: &HeaderName, behavior: &CheckedBehavior) -> bool {
    match *name {
        header::ACCEPT_ENCODING if behavior.normalizes_accept_encoding() => false,
        header::COOKIE => behavior.cache_policy().cookies != Selection::All && !behavior.cookies().is_none(),
        // Made by us, the same for everybody, unless a policy takes the viewer's.
        _ if behavior.key_headers().contains(name) => false,
        // Forwarded whatever the policies say (RFC-wise these may select too).
        header::ORIGIN | header::FROM | header::CONTENT_TYPE => true,
        _ => behavior.takes_header(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data;

    fn vary(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::VARY, text.parse().unwrap())])
    }

    fn names(vary: &Vary) -> Vec<&str> {
        match vary {
            Vary::Any => vec!["*"],
            Vary::Names(names) => names.iter().map(HeaderName::as_str).collect(),
        }
    }

    #[test]
    fn only_headers_that_reach_the_origin_and_are_not_keyed_select() {
        let text = "Accept-Encoding, User-Agent, Accept-Language,origin, Cookie, bad name";
        let seen = |cache, origin_request| Vary::of(&vary(text), &test_data::behavior(cache, origin_request));
        assert_eq!(names(&seen("CachingOptimized", "")), ["origin"]);
        let all = seen("CachingOptimized", "AllViewer");
        assert_eq!(names(&all), ["accept-language", "cookie", "origin", "user-agent"]);
        assert!(names(&seen("UseOriginCacheControlHeaders", "")).is_empty());
        assert_eq!(Vary::of(&vary("accept, *"), &test_data::behavior("CachingOptimized", "")), Vary::Any);
    }

    #[test]
    fn equal_values_share_a_variant_and_others_do_not() {
        let seed = KeySeed::new(1);
        let vary = Vary::of(&vary("accept-language"), &test_data::behavior("CachingOptimized", "AllViewer"));
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT_LANGUAGE, line.parse().unwrap());
            }
            vary.variant(seed, &headers)
        };
        assert_eq!(of(&["en"]), of(&[" en "]));
        assert_eq!(of(&["en, de"]), of(&["de", "eN"]));
        assert_eq!(of(&["en;q=0.5,de"]), of(&["de, EN; q=0.5"]));
        assert_ne!(of(&["en;q=0.5,de"]), of(&["de;q=0.5,en"]));
        assert_ne!(of(&["en"]), of(&["fr"]));
        assert_ne!(of(&[""]), of(&[]));
        assert_eq!(Vary::Any.variant(seed, &HeaderMap::new()), None);
    }

    #[test]
    fn members_of_a_list_are_compared_one_by_one_and_in_order() {
        let names = Vary::Names([HeaderName::from_static("foo")].into());
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("foo", line.parse().unwrap());
            }
            names.variant(KeySeed::new(1), &headers)
        };
        for same in [&["1,2"][..], &[" 1 , 2 "], &["1", "2"]] {
            assert_eq!(of(&["1, 2"]), of(same), "{same:?}");
        }
        for other in [&["2, 1"][..], &["12"], &["1"], &["1, 2, "], &[], &["A, 2"]] {
            assert_ne!(of(&["1, 2"]), of(other), "{other:?}");
        }
        assert_ne!(of(&["\"1, 2\""]), of(&["\"1,2\""]), "what is quoted is one member");
        assert_ne!(of(&["\"\\\", 2\""]), of(&["\"\\\",2\""]));
    }

    #[test]
    fn viewers_see_the_names_that_mattered() {
        let mut headers = vary("accept-encoding, user-agent, cookie, x-any");
        filter(&mut headers, &test_data::behavior("CachingOptimized", ""));
        assert_eq!(headers[header::VARY], "accept-encoding");
        let mut headers = vary("user-agent, x-any");
        filter(&mut headers, &test_data::behavior("CachingOptimized", ""));
        assert!(!headers.contains_key(header::VARY));
        let mut headers = vary("user-agent, cookie");
        filter(&mut headers, &test_data::behavior("CachingOptimized", "AllViewer"));
        assert_eq!(headers[header::VARY], "user-agent, cookie");
    }
}
