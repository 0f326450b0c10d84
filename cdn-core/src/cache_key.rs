//! The cache key: which requests may share a stored response.
//!
//! A key is a 128-bit keyed hash over a canonical form: distribution, method class, path, and what the cache policy
//! selects of query string, headers, cookies and `Accept-Encoding`. The seed is drawn once per process (with a disk tier:
//! once per tier), so nobody can craft a collision. Scheme, alias and peer take no part. Every part carries a tag and its
//! length, so that no two different requests have one canonical form.

use std::hash::{Hash, Hasher};

use http::{HeaderMap, HeaderName, Method, header};
use siphasher::{
    sip::SipHasher13 as SipHasher13Short,
    sip128::{Hasher128, SipHasher13},
};

use crate::{
    accept_encoding::AcceptEncoding,
    conditional::PRECONDITIONS,
    distribution::{CheckedBehavior, Distribution, MethodClass, Selection},
    forward::loops,
    range,
    request_control::RequestControl,
    selection::{cookies, parameters, select_query},
};

/// A request as the store sees it. Hop-by-hop headers have been removed and the default root object stands in for `/`.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Whose content is asked for.
    pub distribution: &'a Distribution,
    /// The behavior that serves the path.
    pub behavior: &'a CheckedBehavior,
    /// The method.
    pub method: &'a Method,
    /// The viewer's `Host` (or `:authority`), as sent.
    pub host: &'a str,
    /// The raw path, not normalized.
    pub path: &'a str,
    /// The raw query string without the question mark; `None` where there is no question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// What a cache key is made of, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyParts {
    /// The path, and `?` with the keyed part of the query string where that is not empty.
    pub uri: String,
    /// Headers, in the policy's order, each with the values that count.
    pub headers: Vec<(HeaderName, Vec<String>)>,
    /// `name=value` of cookies, sorted by name.
    pub cookies: Vec<String>,
    /// Which encodings the viewer takes, of those that the policy tells apart; `None` where it tells none apart.
    pub accept_encoding: Option<String>,
}

/// What makes keys unguessable: one per process, or per disk tier, which outlives processes.
#[derive(Clone, Copy, Debug)]
pub struct KeySeed(u64, u64);

/// Names a stored object of one process. Equal exactly where requests share a stored response (variants by `Vary`
/// apart).
///
/// In two halves: a `u128` would make whatever holds a key a multiple of 16 bytes, and a store holds each key twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheKey {
    high: u64,
    low: u64,
}

impl KeySeed {
    /// A seed from 128 random bits.
    pub const fn new(bits: u128) -> Self {
        Self((bits >> 64) as u64, bits as u64)
    }

    /// The bits, to be kept beside what was stored under their keys.
    pub const fn bits(self) -> u128 {
        (self.0 as u128) << 64 | self.1 as u128
    }

    /// A hasher of what the disk tier writes; nobody who does not know the seed can make bytes with the right sum.
    pub(crate) fn checksum(self) -> SipHasher13Short {
        SipHasher13Short::new_with_keys(self.0, self.1)
    }

    fn hasher(self, what: Tag) -> Canonical {
        let mut canonical = Canonical(SipHasher13::new_with_keys(self.0, self.1));
        canonical.tag(what);
        canonical
    }

    /// A hash of `texts`: different lists have different ones.
    pub(crate) fn digest(self, texts: &[&str]) -> u128 {
        let mut canonical = self.hasher(Tag::Digest);
        texts.iter().for_each(|text| canonical.part(Tag::Value, text.as_bytes()));
        canonical.finish()
    }

    /// A hash of the request's values of `names`: the same for values that mean the same (RFC 9111 section 4.1). The
    /// values of one name are one list, and whitespace between its members does not count.
    pub(crate) fn variant(self, names: &[HeaderName], headers: &HeaderMap) -> u128 {
        let mut canonical = self.hasher(Tag::Variant);
        for name in names {
            canonical.tag(Tag::Header);
            let members = headers.get_all(name).iter().flat_map(|line| members(line.as_bytes()));
            if is_set(name) {
                let mut members: Vec<_> = members.map(<[u8]>::to_ascii_lowercase).collect();
                members.iter_mut().for_each(|member| member.retain(|byte| !matches!(byte, b' ' | b'\t')));
                members.sort_unstable();
                members.iter().for_each(|member| canonical.part(Tag::Value, member));
            } else {
                members.for_each(|member| canonical.part(Tag::Value, member));
            }
        }
        canonical.finish()
    }
}

impl CacheKey {
    /// The key with these bits, for tests and simulations that need no request.
    pub const fn from_bits(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// Its bits.
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Which of `shards` (at least one) stores the object.
    pub const fn shard(self, shards: usize) -> usize {
        // The high half: a shard's own table uses the low one.
        (self.high % if shards == 0 { 1 } else { shards as u64 }) as usize
    }
}

impl Hash for CacheKey {
    /// Hands on the low half, which is as good a hash as any: the key is one already.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

impl RequestHead<'_> {
    /// The family of stored responses; OPTIONS never shares with GET and HEAD.
    pub fn class(&self) -> MethodClass {
        if *self.method == Method::OPTIONS { MethodClass::Options } else { MethodClass::Read }
    }

    /// The cache key. Allocates only to sort cookies.
    pub fn key(&self, seed: KeySeed) -> CacheKey {
        let policy = self.behavior.cache_policy();
        let mut canonical = seed.hasher(Tag::Request);
        canonical.part(Tag::Distribution, self.distribution.id().as_bytes());
        canonical.part(Tag::Class, &[self.class() as u8]);
        canonical.part(Tag::Path, self.path.as_bytes());
        if let Some(query) = self.query {
            match &policy.query {
                Selection::None => {}
                Selection::All => canonical.part(Tag::Query, query.as_bytes()),
                selection => {
                    for (_, pair) in parameters(query).filter(|(name, _)| selection.takes(name)) {
                        canonical.part(Tag::Parameter, pair.as_bytes());
                    }
                }
            }
        }
        for name in self.behavior.key_headers() {
            // The policy fixes number and order of the names, so a missing header differs from an empty one.
            canonical.tag(Tag::Header);
            if *name == header::HOST {
                canonical.part(Tag::Value, self.host.as_bytes());
                continue;
            }
            for value in self.headers.get_all(name) {
                canonical.part(Tag::Value, value.as_bytes());
            }
        }
        if self.behavior.normalizes_accept_encoding() {
            canonical.part(Tag::Encoding, &[AcceptEncoding::of(self.headers, policy).in_key()]);
        }
        if !policy.cookies.is_none() {
            for (_, pair) in self.keyed_cookies() {
                canonical.part(Tag::Cookie, pair.as_bytes());
            }
        }
        CacheKey::from_bits(canonical.finish())
    }

    /// What [`key`](Self::key) is made of beside distribution and method class.
    pub fn key_parts(&self) -> KeyParts {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = self.behavior.key_headers().iter().map(|name| {
            let values = match *name == header::HOST {
                true => vec![self.host.to_owned()],
                false => self.headers.get_all(name).iter().map(|value| text(value.as_bytes())).collect(),
            };
            (name.clone(), values)
        });
        let policy = self.behavior.cache_policy();
        let takes = || AcceptEncoding::of(self.headers, policy).to_origin().map(|value| text(value.as_bytes()));
        KeyParts {
            uri: self.uri(),
            headers: headers.collect(),
            cookies: self.keyed_cookies().into_iter().map(|(_, pair)| pair.to_owned()).collect(),
            accept_encoding: self.behavior.normalizes_accept_encoding().then(|| takes().unwrap_or_default()),
        }
    }

    /// The cookies in the key as names and pairs, sorted by name; those of one name keep their order.
    fn keyed_cookies(&self) -> Vec<(&str, &str)> {
        let selection = &self.behavior.cache_policy().cookies;
        let mut taken: Vec<_> = cookies(self.headers).filter(|(name, _)| selection.takes(name)).collect();
        taken.sort_by_key(|&(name, _)| name);
        taken
    }

    /// The path, and `?` with the keyed part of the query string where that is not empty. Invalidations match this.
    pub fn uri(&self) -> String {
        let policy = self.behavior.cache_policy();
        let keyed = match self.query {
            Some(query) if !policy.query.is_none() => {
                select_query(query, policy.query == Selection::All, |name| policy.query.takes(name))
            }
            _ => String::new(),
        };
        if keyed.is_empty() { self.path.to_owned() } else { format!("{}?{keyed}", self.path) }
    }

    /// What it accepts, where the behavior listens to requests.
    pub fn control(&self) -> RequestControl {
        match self.behavior.follows_origin() {
            true => RequestControl::of(self.headers),
            false => RequestControl::default(),
        }
    }

    /// Whether this request may wait for another's fetch: not where it sends cookies to the origin, or an
    /// `Authorization` that the key does not tell apart; and not where it has been through this network before, because
    /// it could be waiting for itself.
    pub fn collapses(&self) -> bool {
        !self.behavior.forwards_cookies_of(self.headers)
            && !self.behavior.forwards_authorization_of(self.headers)
            && loops(self.headers) == 0
    }

    /// Whether it carries preconditions or a range of its own, so that the origin's answer to it may be no whole
    /// object. `bytes=0-` asks for the whole.
    pub fn asks_for_part(&self) -> bool {
        let concerns_range = |name: &HeaderName| matches!(*name, header::RANGE | header::IF_RANGE);
        // Hardly any request has one, so whether its range is the whole is asked last.
        let has = |name: &HeaderName| self.headers.contains_key(name);
        PRECONDITIONS.iter().any(|name| has(name) && !(concerns_range(name) && range::is_whole(self.headers)))
    }

    /// Whether a stale response may be confirmed by a conditional request: not where cookies go to the origin.
    pub fn revalidates(&self) -> bool {
        !self.behavior.forwards_cookies_of(self.headers)
    }
}

/// The members of a comma-separated list, trimmed; commas inside quotes part nothing.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(<[u8]>::trim_ascii)
}

/// Headers whose members are in no order and compare without case: the weights say what counts (RFC 9110 sections
/// 12.5.2 to 12.5.4).
fn is_set(name: &HeaderName) -> bool {
    matches!(*name, header::ACCEPT_LANGUAGE | header::ACCEPT_ENCODING | header::ACCEPT_CHARSET)
}

/// What a part of the canonical form is. The numbers outlive the process on a disk tier: with any change of the form
/// [`crate::disk::FORMAT`] counts up.
#[derive(Clone, Copy)]
enum Tag {
    Request,
    Variant,
    Distribution,
    Class,
    Path,
    Query,
    Parameter,
    Header,
    Value,
    Encoding,
    Cookie,
    Digest,
}

/// Feeds the canonical form to the hasher.
struct Canonical(SipHasher13);

impl Canonical {
    fn tag(&mut self, tag: Tag) {
        self.0.write_u8(tag as u8);
    }

    fn part(&mut self, tag: Tag, bytes: &[u8]) {
        self.tag(tag);
        self.0.write_u64(bytes.len() as u64);
        self.0.write(bytes);
    }

    fn finish(self) -> u128 {
        self.0.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data;

    const SEED: KeySeed = KeySeed::new(7);

    /// Do two requests (target and header lines) share an object?
    fn share(behavior: &CheckedBehavior, one: (&str, &[(&str, &str)]), other: (&str, &[(&str, &str)])) -> bool {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let key = |(target, lines): (&str, &[(&str, &str)])| {
            let mut headers = HeaderMap::new();
            for &(name, value) in lines {
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            let host = headers.get(header::HOST).map_or("www.demo.test", |host| host.to_str().unwrap());
            let (distribution, headers) = (&distribution, &headers);
            RequestHead { distribution, behavior, method: &Method::GET, host, path, query, headers }.key(SEED)
        };
        key(one) == key(other)
    }

    #[test]
    fn only_what_the_policy_selects_takes_part() {
        let optimized = test_data::behavior("CachingOptimized", "AllViewer");
        assert!(share(&optimized, ("/a?x=1", &[("cookie", "s=1"), ("host", "a")]), ("/a", &[("host", "b")])));
        assert!(!share(&optimized, ("/a", &[]), ("/A", &[])));
        assert!(!share(&optimized, ("/a/../b", &[]), ("/b", &[])), "the raw path is keyed");
        let encodings =
            |one, other| share(&optimized, ("/", &[("accept-encoding", one)]), ("/", &[("accept-encoding", other)]));
        assert!(encodings("gzip, br", "br;q=0.9, deflate, gzip"));
        assert!(!encodings("gzip", "br"));
        assert!(encodings("deflate", "identity"));
    }

    #[test]
    fn query_is_keyed_raw_or_by_selected_parameters_in_order() {
        let all = test_data::behavior("UseOriginCacheControlHeaders-QueryStrings", "");
        assert!(!share(&all, ("/a?b=1&c=2", &[]), ("/a?c=2&b=1", &[])));
        let mut spec = test_data::distribution_spec();
        spec.default_behavior.cache_policy.query = Selection::Only(vec!["v".to_owned(), "w".to_owned()]);
        let some = test_data::behavior_of(spec);
        assert!(share(&some, ("/a?v=1&x=1", &[]), ("/a?v=1&x=2", &[])));
        assert!(!share(&some, ("/a?v=1", &[]), ("/a?v=2", &[])));
        assert!(!share(&some, ("/a?v=1&w=1", &[]), ("/a?w=1&v=1", &[])));
        assert!(!share(&some, ("/a?v=", &[]), ("/a", &[])), "an empty value is kept");
    }

    #[test]
    fn cookies_are_sorted_and_headers_missing_differ_from_empty_ones() {
        let all = test_data::behavior("UseOriginCacheControlHeaders", "");
        assert!(share(&all, ("/", &[("cookie", "b=2; a=1")]), ("/", &[("cookie", "a=1"), ("cookie", "b=2")])));
        assert!(!share(&all, ("/", &[("cookie", "a=1; a=2")]), ("/", &[("cookie", "a=2; a=1")])));
        assert!(!share(&all, ("/", &[("origin", "")]), ("/", &[])));
        assert!(!share(&all, ("/", &[("host", "a")]), ("/", &[("host", "b")])));
        assert!(!share(&all, ("/", &[("x-http-method", "a")]), ("/", &[("x-method-override", "a")])));
    }

    #[test]
    fn boundaries_between_parts_cannot_be_moved() {
        let all = test_data::behavior("UseOriginCacheControlHeaders-QueryStrings", "");
        assert!(!share(&all, ("/a?b", &[]), ("/ab", &[])));
        assert!(!share(&all, ("/a", &[("cookie", "a=1")]), ("/a?a=1", &[])));
        assert!(!share(&all, ("/a", &[("origin", "x"), ("origin", "y")]), ("/a", &[("origin", "xy")])));
    }

    #[test]
    fn a_range_from_the_first_byte_on_is_no_part() {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let asks = |lines: &[(HeaderName, &'static str)]| {
            let lines = lines.iter().map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value)));
            let headers = HeaderMap::from_iter(lines);
            let (behavior, method) = (distribution.behavior_for("/"), &Method::GET);
            let (distribution, headers) = (&distribution, &headers);
            RequestHead { distribution, behavior, method, host: "h", path: "/", query: None, headers }.asks_for_part()
        };
        assert!(!asks(&[]) && !asks(&[(header::RANGE, "bytes=0-"), (header::IF_RANGE, "\"a\"")]));
        assert!(asks(&[(header::RANGE, "bytes=1-")]) && asks(&[(header::IF_NONE_MATCH, "\"a\"")]));
        assert!(asks(&[(header::RANGE, "bytes=0-"), (header::IF_NONE_MATCH, "\"a\"")]));
    }

    #[test]
    fn keys_of_two_processes_differ_and_uri_has_the_keyed_query() {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let behavior = test_data::behavior("UseOriginCacheControlHeaders-QueryStrings", "");
        let headers = HeaderMap::new();
        let head = RequestHead {
            distribution: &distribution,
            behavior: &behavior,
            method: &Method::HEAD,
            host: "h",
            path: "/a",
            query: Some("x=1"),
            headers: &headers,
        };
        assert_ne!(head.key(SEED), head.key(KeySeed::new(8)));
        assert_eq!(head.uri(), "/a?x=1");
        assert_eq!(RequestHead { behavior: distribution.behavior_for("/a"), ..head }.uri(), "/a");
        assert!(head.key(SEED).shard(3) < 3 && head.key(SEED).shard(0) == 0);
    }
}
