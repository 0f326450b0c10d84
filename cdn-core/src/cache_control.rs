//! `Cache-Control` of responses and `CDN-Cache-Control`, read as caches must read them.
//!
//! Decides what a list of directives says, however badly it is written; what follows from it is `freshness`'s matter.
//! `CDN-Cache-Control` is a structured field (RFC 9213 section 2.1), so one that is badly written says nothing at all.
//! Where a directive appears twice the first counts (RFC 9111 section 4.2.1); a time that is no number is zero, so that
//! what cannot be understood is stale rather than fresh; a number too big is [`SECONDS_MAX`] (section 1.2.2).

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::distribution::CachingRules;

/// The greatest time a directive can say, in seconds: 2^31, as RFC 9111 section 1.2.2 recommends.
pub const SECONDS_MAX: u64 = 1 << 31;

/// The field that is targeted at us (RFC 9213 section 3.1).
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The directives of a response. Unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `s-maxage`, for shared caches; beats `max-age`.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` without field names.
    pub no_cache: bool,
    /// `private` without field names.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand` (RFC 9111 section 5.2.2.3).
    pub must_understand: bool,
    /// `no-transform`.
    pub no_transform: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// Fields named by `no-cache="..."` and `private="..."`: they may not be stored for others.
    withheld: Vec<HeaderName>,
}

impl CacheControl {
    /// Reads all `Cache-Control` lines as one list.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::of_lines(headers.get_all(header::CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes))
    }

    /// The directives that count where these rules hold: CloudFront knows no targeted field.
    pub fn applying(headers: &HeaderMap, rules: CachingRules) -> Self {
        let targeted = if rules == CachingRules::Origin { Self::targeted(headers) } else { None };
        targeted.unwrap_or_else(|| Self::of(headers))
    }

    /// Reads `CDN-Cache-Control`. `None` where there is none, where it is empty or where it is no dictionary: then
    /// `Cache-Control` and `Expires` count, else they do not (RFC 9213 section 2.2).
    pub fn targeted(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CDN_CACHE_CONTROL).iter().peekable();
        lines.peek()?;
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(if text.is_empty() { b"" } else { b", " });
            text.extend_from_slice(line.as_bytes());
        }
        let members: Dictionary = Parser::new(&text).parse().ok()?;
        let mut read = Self::default();
        for (key, member) in &members {
            // A value of the wrong type makes its directive say nothing (section 2.1).
            let ListEntry::Item(item) = member else { continue };
            let digits;
            let value = match &item.bare_item {
                BareItem::Boolean(true) => None,
                BareItem::Integer(number) => {
                    digits = i64::from(*number).max(0).to_string();
                    Some(Value(digits.as_bytes()))
                }
                BareItem::String(text) => Some(Value(text.as_str().as_bytes())),
                BareItem::Token(token) => Some(Value(token.as_str().as_bytes())),
                _ => continue,
            };
            let counts = matches!(item.bare_item, BareItem::Integer(_));
            if counts == is_time(key.as_str()) {
                read.take(key.as_str().as_bytes(), value);
            }
        }
        (!members.is_empty()).then_some(read)
    }

    /// Reads the given lines as one list.
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut read = Self::default();
        for line in lines {
            let mut rest = line;
            while let Some((name, value, after)) = directive(rest) {
                rest = after;
                read.take(name, value);
            }
        }
        read
    }

    /// `s-maxage`, else `max-age`.
    pub fn shared_max_age(&self) -> Option<Duration> {
        self.s_maxage.or(self.max_age)
    }

    /// Fields that may not be stored for others.
    pub fn withheld_fields(&self) -> &[HeaderName] {
        &self.withheld
    }

    fn take(&mut self, name: &[u8], value: Option<Value<'_>>) {
        let is = |directive: &str| name.eq_ignore_ascii_case(directive.as_bytes());
        let seconds = |slot: &mut Option<Duration>| {
            slot.get_or_insert_with(|| Duration::from_secs(value.map_or(0, Value::seconds)));
        };
        match () {
            () if is("max-age") => seconds(&mut self.max_age),
            () if is("s-maxage") => seconds(&mut self.s_maxage),
            () if is("stale-while-revalidate") => seconds(&mut self.stale_while_revalidate),
            () if is("stale-if-error") => seconds(&mut self.stale_if_error),
            () if is("no-store") => self.no_store = true,
            () if is("no-cache") => self.no_cache |= !self.withhold(value),
            () if is("private") => self.private |= !self.withhold(value),
            () if is("public") => self.public = true,
            () if is("must-revalidate") => self.must_revalidate = true,
            () if is("proxy-revalidate") => self.proxy_revalidate = true,
            () if is("must-understand") => self.must_understand = true,
            () if is("no-transform") => self.no_transform = true,
            () if is("immutable") => self.immutable = true,
            () => {}
        }
    }

    /// Notes field names; false where the value has none, so that the directive means the whole response. One name that
    /// is none spoils the list: what cannot be understood must not be shared.
    fn withhold(&mut self, value: Option<Value<'_>>) -> bool {
        let Some(value) = value else { return false };
        let names = value.0.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        let Ok(names) = names.map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>() else { return false };
        let some = !names.is_empty();
        self.withheld.extend(names);
        some
    }
}

/// Calls `each` with every directive of a line: its name, and its value where it has one, in seconds.
pub(crate) fn for_each_directive(line: &[u8], mut each: impl FnMut(&[u8], Option<u64>)) {
    let mut rest = line;
    while let Some((name, value, after)) = directive(rest) {
        rest = after;
        each(name, value.map(Value::seconds));
    }
}

/// Whether a directive says a time.
fn is_time(name: &str) -> bool {
    matches!(name, "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error")
}

/// The text of a directive's value, quotes taken off. Escapes inside quotes are left as they are: no value that we
/// read may have any.
#[derive(Clone, Copy)]
struct Value<'a>(&'a [u8]);

impl Value<'_> {
    fn seconds(self) -> u64 {
        let digits = self.0.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return 0;
        }
        let number = digits.iter().fold(0_u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        number.min(SECONDS_MAX)
    }
}

/// Splits the first directive off a list: name, value, and what follows its comma. `None` at the end.
fn directive(list: &[u8]) -> Option<(&[u8], Option<Value<'_>>, &[u8])> {
    let start = list.iter().position(|&byte| !matches!(byte, b',' | b' ' | b'\t'))?;
    let list = &list[start..];
    let name_end = list.iter().position(|&byte| matches!(byte, b'=' | b',')).unwrap_or(list.len());
    let (name, rest) = list.split_at(name_end);
    let name = name.trim_ascii();
    let Some(b'=') = rest.first() else { return Some((name, None, rest)) };
    let value = rest[1..].trim_ascii_start();
    let (value, rest) = match value {
        [b'"', quoted @ ..] => {
            let mut escaped = false;
            let end = quoted.iter().position(|&byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            // Without a closing quote the value runs to the end.
            let (value, rest) = quoted.split_at(end.unwrap_or(quoted.len()));
            // What stands between the quote and the next comma is dropped.
            let comma = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
            (value, &rest[comma..])
        }
        _ => value.split_at(value.iter().position(|&byte| byte == b',').unwrap_or(value.len())),
    };
    Some((name, Some(Value(value)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> CacheControl {
        CacheControl::of_lines(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn times_are_read_however_they_are_written() {
        let rows: &[(&[&str], Option<u64>)] = &[
            (&["max-age=3600"], Some(3600)),
            (&["MAX-AGE=3600"], Some(3600)),
            (&["public,max-age=60 , x"], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&["max-age=60", "max-age=10"], Some(60)),
            (&["max-age=60, max-age=10"], Some(60)),
            (&["foo=\"max-age=1\", max-age=2"], Some(2)),
            (&["foo=\"a\\\", max-age=1\", max-age=2"], Some(2)),
            (&["foo=\"unclosed, max-age=1"], None),
            (&["max-age=99999999999999999999999"], Some(SECONDS_MAX)),
            (&["max-age=-1"], Some(0)),
            (&["max-age=1.5"], Some(0)),
            (&["max-age=abc"], Some(0)),
            (&["max-age="], Some(0)),
            (&["max-age"], Some(0)),
            (&["xmax-age=5"], None),
            (&[",,,"], None),
            (&[""], None),
        ];
        for (lines, expected) in rows {
            assert_eq!(read(lines).max_age, expected.map(Duration::from_secs), "{lines:?}");
        }
    }

    #[test]
    fn shared_max_age_prefers_s_maxage() {
        let both = read(&["max-age=60, s-maxage=600"]);
        assert_eq!(both.shared_max_age(), Some(Duration::from_secs(600)));
    }

    #[test]
    fn field_names_make_no_cache_and_private_harmless_for_the_rest() {
        let read_one = read(&["no-cache=\"Set-Cookie, x-user\", private=authorization"]);
        assert!(!read_one.no_cache && !read_one.private);
        assert_eq!(read_one.withheld_fields(), ["set-cookie", "x-user", "authorization"]);
        for whole in ["no-cache", "no-cache=\"\"", "no-cache=\"a b\"", "No-Cache=\"x\", no-cache"] {
            assert!(read(&[whole]).no_cache, "{whole}");
        }
    }

    #[test]
    fn targeted_directives_are_typed() {
        let targeted = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (CDN_CACHE_CONTROL, http::HeaderValue::from_static(line)));
            CacheControl::targeted(&lines.collect())
        };
        let max_age = |lines: &[&'static str]| targeted(lines).map(|read| read.max_age.map(|age| age.as_secs()));
        for (lines, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["max-age=3600"], Some(Some(3600))),
            (&["foobar, max-age=3600"], Some(Some(3600))),
            (&["foobar", "max-age=3600"], Some(Some(3600))),
            (&["max-age=1, max-age=2"], Some(Some(2))),
            (&["max-age=99999999999"], Some(Some(SECONDS_MAX))),
            (&["max-age=-1"], Some(Some(0))),
            (&["max-age=\"10000\""], Some(None)),
            (&["max-age=1.5"], Some(None)),
            (&["max-age=(1)"], Some(None)),
            (&["max-age"], Some(None)),
            (&["MaX-aGe=3600"], None),
            (&["max-age =100"], None),
            (&["max-age=10000, &&&&&"], None),
        ] {
            assert_eq!(max_age(lines), expected, "{lines:?}");
        }
        let read = targeted(&["no-store, no-cache=?0, private=\"set-cookie\", must-revalidate=1"]).unwrap();
        assert!(read.no_store && !read.no_cache && !read.private && !read.must_revalidate);
        assert_eq!(read.withheld_fields(), ["set-cookie"]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = CacheControl::of_lines([line.as_slice()]);
            if let Ok(value) = http::HeaderValue::from_bytes(&line) {
                let _ = CacheControl::targeted(&HeaderMap::from_iter([(CDN_CACHE_CONTROL, value)]));
            }
        }
    }
}
