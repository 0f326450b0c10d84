//! Preconditions: does the viewer's copy still hold, and does ours?
//!
//! Decides 304, 412 or the full answer for a stored response (RFC 9110 section 13.2.2), makes the conditional request
//! that revalidates a stale one (RFC 9111 section 4.3.1), and merges a 304 into what is stored (section 3.2).

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{WallTime, compression, http_date::date_of};

/// The headers that make a request depend on what the client has; `Range` is among them.
pub const PRECONDITIONS: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];

/// An entity tag as sent: `"x"` or `W/"x"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it begins with `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

/// What a stored response can be compared by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as sent; only where it is one.
    pub etag: Option<HeaderValue>,
    /// `Last-Modified`, as sent; only where it is a date.
    pub last_modified: Option<HeaderValue>,
}

/// What parts of one representation may be combined by (RFC 9110 section 15.3.7.3): a strong entity tag, else a
/// `Last-Modified` that is strong, at least a second older than the response (section 8.8.2.2). There is none for what was
/// compressed on the way: it is compressed anew by the next node, and not into the same bytes.
pub fn strong_validator(headers: &HeaderMap) -> Option<HeaderValue> {
    if let Some(etag) = headers.get(header::ETAG) {
        return EntityTag::parse(etag.as_bytes()).filter(|tag| !tag.weak).map(|_| etag.clone());
    }
    let modified = headers.get(header::LAST_MODIFIED).filter(|_| !compression::was_applied(headers))?;
    let is_strong = WallTime::from_http_date(modified)?.unix_secs() < date_of(headers, &header::DATE)?.unix_secs();
    is_strong.then(|| modified.clone())
}

/// What preconditions say about a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the response (or a range of it).
    Full,
    /// 304: the viewer has it already.
    NotModified,
    /// 412: what the viewer wants changed is not there any more.
    PreconditionFailed,
}

impl<'a> EntityTag<'a> {
    /// Reads a tag; `None` where the text is none.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (weak, rest) = match text.trim_ascii() {
            [b'W', b'/', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        match rest {
            [b'"', opaque @ .., b'"'] if !opaque.contains(&b'"') => Some(Self { weak, opaque }),
            _ => None,
        }
    }

    /// RFC 9110 section 8.8.3.2: equal, and neither is weak.
    pub fn equals_strongly(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// RFC 9110 section 8.8.3.2: equal, weak or not.
    pub fn equals_weakly(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

impl Validators {
    /// The validators of a response.
    pub fn of(headers: &HeaderMap) -> Self {
        let etag = headers.get(header::ETAG).filter(|tag| EntityTag::parse(tag.as_bytes()).is_some());
        let last_modified = headers.get(header::LAST_MODIFIED).filter(|date| WallTime::from_http_date(date).is_some());
        Self { etag: etag.cloned(), last_modified: last_modified.cloned() }
    }

    /// Whether there is none, so that the response can never be confirmed.
    pub const fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// The entity tag.
    pub fn entity_tag(&self) -> Option<EntityTag<'_>> {
        self.etag.as_ref().and_then(|tag| EntityTag::parse(tag.as_bytes()))
    }

    /// Puts the question "does it still hold?" on a request, in place of the viewer's own preconditions.
    pub fn ask(&self, request: &mut HeaderMap) {
        for name in PRECONDITIONS {
            request.remove(name);
        }
        if let Some(etag) = &self.etag {
            request.insert(header::IF_NONE_MATCH, etag.clone());
        }
        if let Some(date) = &self.last_modified {
            request.insert(header::IF_MODIFIED_SINCE, date.clone());
        }
    }

    /// Whether a 304 with these headers confirms the response that has these validators (RFC 9111 section 4.3.4): it
    /// does unless it names another.
    pub fn confirmed_by(&self, not_modified: &HeaderMap) -> bool {
        let theirs = Self::of(not_modified);
        match (self.entity_tag(), theirs.entity_tag()) {
            (Some(ours), Some(theirs)) => ours.equals_weakly(theirs),
            (None, Some(_)) => false,
            (_, None) => match (&self.last_modified, &theirs.last_modified) {
                (Some(ours), Some(theirs)) if self.etag.is_none() => ours == theirs,
                _ => true,
            },
        }
    }
}

/// Whether a request has any precondition or a range.
pub fn is_conditional(request: &HeaderMap) -> bool {
    // There are fewer names than preconditions, most of the time.
    request.keys().any(|name| PRECONDITIONS.contains(name))
}

/// Holds a request's preconditions against a stored response, in the order of RFC 9110 section 13.2.2. Responses other
/// than 200 take no part; the body of a 304 or 412 is empty.
pub fn evaluate(method: &Method, request: &HeaderMap, status: StatusCode, stored: &HeaderMap) -> Verdict {
    if status != StatusCode::OK || !is_conditional(request) {
        return Verdict::Full;
    }
    let ours = stored.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
    // RFC 9111 section 4.3.2: without Last-Modified, Date stands in.
    let modified = || date_of(stored, &header::LAST_MODIFIED).or_else(|| date_of(stored, &header::DATE));
    if request.contains_key(header::IF_MATCH) {
        if !lists(request, &header::IF_MATCH, |tag| ours.is_some_and(|ours| ours.equals_strongly(tag))) {
            return Verdict::PreconditionFailed;
        }
    } else if let Some(since) = single_date(request, &header::IF_UNMODIFIED_SINCE)
        && date_of(stored, &header::LAST_MODIFIED).is_some_and(|modified| modified > since)
    {
        return Verdict::PreconditionFailed;
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Verdict::Full;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        if lists(request, &header::IF_NONE_MATCH, |tag| ours.is_some_and(|ours| ours.equals_weakly(tag))) {
            return Verdict::NotModified;
        }
    } else if let Some(since) = single_date(request, &header::IF_MODIFIED_SINCE)
        && modified().is_some_and(|modified| modified <= since)
    {
        return Verdict::NotModified;
    }
    Verdict::Full
}

/// Whether `If-Range` lets a range of the stored response be sent (RFC 9110 section 13.1.5). True where there is none.
pub fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    if let Some(theirs) = EntityTag::parse(condition.as_bytes()) {
        let ours = stored.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes()));
        return ours.is_some_and(|ours| ours.equals_strongly(theirs));
    }
    // A date must be the very same, and strong: at least a second older than the response (section 8.8.2.2).
    let modified = date_of(stored, &header::LAST_MODIFIED);
    // As in `strong_validator`, for what was compressed on the way.
    let strong = match (modified, date_of(stored, &header::DATE)) {
        (Some(modified), Some(date)) => modified.unix_secs() < date.unix_secs() && !compression::was_applied(stored),
        _ => false,
    };
    strong && modified == WallTime::from_http_date(condition)
}

/// The headers for a 304 made from those of a stored response: those that RFC 9110 section 15.4.5 asks for and what identifies
/// it; the body's own are dropped.
pub fn not_modified_headers(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_RANGE,
    ] {
        headers.remove(name);
    }
    headers
}

/// Updates stored headers with those of a 304 (RFC 9111 section 3.2). What describes the stored bytes stays: where they
/// were compressed here, the origin's strong tag does not become theirs.
pub fn merge_not_modified(stored: &mut HeaderMap, not_modified: &HeaderMap) {
    let compressed = compression::was_applied(stored);
    let describes_the_body = |name: &HeaderName| {
        matches!(
            *name,
            header::CONTENT_LENGTH
                | header::CONTENT_ENCODING
                | header::CONTENT_TYPE
                | header::CONTENT_RANGE
                | header::TRANSFER_ENCODING
                | header::CONNECTION
        )
    };
    for name in not_modified.keys().filter(|name| !describes_the_body(name)) {
        stored.remove(name);
        for value in not_modified.get_all(name) {
            stored.append(name, value.clone());
        }
    }
    if compressed {
        compression::describe_validators(stored);
    }
}

/// Whether any listed tag satisfies `matches`, or the list is `*`. A malformed tag satisfies nothing.
fn lists(headers: &HeaderMap, name: &HeaderName, matches: impl Fn(EntityTag<'_>) -> bool) -> bool {
    headers.get_all(name).iter().any(|line| {
        let mut rest = line.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        while !rest.is_empty() {
            // A tag ends at its second quote; commas inside belong to it.
            let Some(open) = rest.iter().position(|&byte| byte == b'"') else { return false };
            let Some(length) = rest[open + 1..].iter().position(|&byte| byte == b'"') else { return false };
            let (tag, after) = rest.split_at(open + length + 2);
            if EntityTag::parse(tag).is_some_and(&matches) {
                return true;
            }
            let comma = after.iter().position(|&byte| byte == b',').map_or(after.len(), |at| at + 1);
            rest = after[comma..].trim_ascii();
        }
        false
    })
}

/// The date of a header that appears exactly once; anything else is ignored, as RFC 9110 section 13.1.3 says.
fn single_date(headers: &HeaderMap, name: &HeaderName) -> Option<WallTime> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => WallTime::from_http_date(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn check(request: &[(&'static str, &str)], expected: Verdict) {
        let stored = headers(&[("etag", "\"a\""), ("last-modified", MODIFIED), ("date", LATER)]);
        assert_eq!(evaluate(&Method::GET, &headers(request), StatusCode::OK, &stored), expected, "{request:?}");
    }

    #[test]
    fn preconditions_are_held_in_the_order_of_the_rfc() {
        use Verdict::{Full, NotModified, PreconditionFailed};
        check(&[], Full);
        check(&[("if-none-match", "\"a\"")], NotModified);
        check(&[("if-none-match", "W/\"a\"")], NotModified);
        check(&[("if-none-match", "\"b\" , \"a\"")], NotModified);
        check(&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], NotModified);
        check(&[("if-none-match", "\"b,\\\", \"a\"")], NotModified);
        check(&[("if-none-match", "*")], NotModified);
        check(&[("if-none-match", "a")], Full);
        check(&[("if-none-match", "\"b\"")], Full);
        check(&[("if-none-match", "\"b\""), ("if-modified-since", LATER)], Full);
        check(&[("if-modified-since", MODIFIED)], NotModified);
        check(&[("if-modified-since", LATER)], NotModified);
        check(&[("if-modified-since", BEFORE)], Full);
        check(&[("if-modified-since", "yesterday")], Full);
        check(&[("if-modified-since", LATER), ("if-modified-since", LATER)], Full);
        check(&[("if-match", "\"a\"")], Full);
        check(&[("if-match", "W/\"a\"")], PreconditionFailed);
        check(&[("if-match", "\"b\"")], PreconditionFailed);
        check(&[("if-match", "*"), ("if-none-match", "\"a\"")], NotModified);
        check(&[("if-unmodified-since", BEFORE)], PreconditionFailed);
        check(&[("if-unmodified-since", MODIFIED)], Full);
        check(&[("if-match", "\"a\""), ("if-unmodified-since", BEFORE)], Full);
    }

    #[test]
    fn errors_and_methods_that_write_are_sent_in_full() {
        let stored = headers(&[("etag", "\"a\"")]);
        let request = headers(&[("if-none-match", "\"a\"")]);
        assert_eq!(evaluate(&Method::GET, &request, StatusCode::NOT_FOUND, &stored), Verdict::Full);
        assert_eq!(evaluate(&Method::OPTIONS, &request, StatusCode::OK, &stored), Verdict::Full);
    }

    #[test]
    fn date_stands_in_for_last_modified() {
        let stored = headers(&[("date", MODIFIED)]);
        let request = headers(&[("if-modified-since", LATER)]);
        assert_eq!(evaluate(&Method::GET, &request, StatusCode::OK, &stored), Verdict::NotModified);
    }

    #[test]
    fn if_range_needs_a_strong_validator() {
        let stored = headers(&[("etag", "\"a\""), ("last-modified", MODIFIED), ("date", LATER)]);
        for (condition, expected) in
            [("\"a\"", true), ("W/\"a\"", false), ("\"b\"", false), (MODIFIED, true), (LATER, false), ("x", false)]
        {
            assert_eq!(if_range_holds(&headers(&[("if-range", condition)]), &stored), expected, "{condition}");
        }
        let just_made = headers(&[("last-modified", MODIFIED), ("date", MODIFIED)]);
        assert!(!if_range_holds(&headers(&[("if-range", MODIFIED)]), &just_made));
        let compressed = headers(&[("last-modified", MODIFIED), ("date", LATER), ("content-encoding", "gzip")]);
        assert!(!if_range_holds(&headers(&[("if-range", MODIFIED)]), &compressed));
        assert!(if_range_holds(&HeaderMap::new(), &stored));
    }

    #[test]
    fn parts_are_combined_by_strong_validators_alone() {
        let strong = |lines: &[(&'static str, &str)]| strong_validator(&headers(lines)).map(|value| value.len());
        assert_eq!(strong(&[("etag", "\"a\""), ("last-modified", MODIFIED)]), Some(3));
        assert_eq!(strong(&[("etag", "W/\"a\""), ("last-modified", MODIFIED), ("date", LATER)]), None);
        assert_eq!(strong(&[("last-modified", MODIFIED), ("date", LATER)]), Some(MODIFIED.len()));
        assert_eq!(strong(&[("last-modified", MODIFIED), ("date", MODIFIED)]), None);
        assert_eq!(strong(&[("last-modified", MODIFIED)]), None);
        assert_eq!(strong(&[("last-modified", MODIFIED), ("date", LATER), ("content-encoding", "br")]), None);
        assert_eq!(strong(&[]), None);
    }

    #[test]
    fn a_304_updates_headers_but_not_what_describes_the_body() {
        let mut stored =
            headers(&[("content-length", "5"), ("cache-control", "max-age=1"), ("x-a", "1"), ("x-a", "2")]);
        let update = headers(&[
            ("content-length", "0"),
            ("cache-control", "max-age=9"),
            ("x-a", "3"),
            ("content-encoding", "br"),
        ]);
        merge_not_modified(&mut stored, &update);
        assert_eq!(stored, headers(&[("content-length", "5"), ("cache-control", "max-age=9"), ("x-a", "3")]));
    }

    #[test]
    fn a_304_leaves_compressed_bytes_what_they_are() {
        let mut stored = headers(&[("content-encoding", "gzip"), ("etag", "W/\"a\""), ("vary", "Accept-Encoding")]);
        merge_not_modified(&mut stored, &headers(&[("etag", "\"a\""), ("vary", "Origin"), ("content-length", "9")]));
        let expected =
            [("content-encoding", "gzip"), ("etag", "W/\"a\""), ("vary", "Origin"), ("vary", "Accept-Encoding")];
        assert_eq!(stored, headers(&expected));
    }

    #[test]
    fn a_304_that_names_another_response_confirms_nothing() {
        let confirmed = |ours: &[(&'static str, &str)], theirs: &[(&'static str, &str)]| {
            Validators::of(&headers(ours)).confirmed_by(&headers(theirs))
        };
        assert!(confirmed(&[("etag", "\"a\"")], &[]));
        assert!(confirmed(&[("etag", "\"a\"")], &[("etag", "W/\"a\"")]));
        assert!(!confirmed(&[("etag", "\"a\"")], &[("etag", "\"b\"")]));
        assert!(!confirmed(&[("last-modified", MODIFIED)], &[("etag", "\"b\"")]));
        assert!(!confirmed(&[("last-modified", MODIFIED)], &[("last-modified", LATER)]));
        assert!(confirmed(&[("etag", "\"a\""), ("last-modified", MODIFIED)], &[("last-modified", LATER)]));
    }

    #[test]
    fn revalidation_replaces_the_viewers_preconditions() {
        let mut request = headers(&[("if-none-match", "\"x\""), ("range", "bytes=0-1"), ("accept", "*/*")]);
        Validators::of(&headers(&[("etag", "\"a\""), ("last-modified", MODIFIED)])).ask(&mut request);
        let expected = [("accept", "*/*"), ("if-none-match", "\"a\""), ("if-modified-since", MODIFIED)];
        assert_eq!(request, headers(&expected));
        assert!(Validators::of(&headers(&[("etag", "a"), ("last-modified", "x")])).is_empty());
    }
}
