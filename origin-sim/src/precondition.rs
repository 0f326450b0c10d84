//! Preconditions of a request against the current representation (RFC 9110 section 13).
//!
//! Decides between going on, 304 and 412, and whether `If-Range` lets a range through. Pure: knows header fields, an
//! entity tag and a date; knows nothing of bodies.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// An entity tag (RFC 9110 section 8.8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag {
    weak: bool,
    opaque: Box<str>,
}

/// What the preconditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl EntityTag {
    pub(crate) fn strong(opaque: &str) -> Self {
        Self { weak: false, opaque: opaque.into() }
    }

    pub(crate) fn weak(opaque: &str) -> Self {
        Self { weak: true, opaque: opaque.into() }
    }

    /// The field value.
    pub(crate) fn header_value(&self) -> Option<HeaderValue> {
        let mark = if self.weak { "W/" } else { "" };
        HeaderValue::try_from(format!("{mark}\"{}\"", self.opaque)).ok()
    }

    /// One entity tag at the start of `text`, and what follows it.
    fn read(text: &str) -> Option<(Self, &str)> {
        let (weak, quoted) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
        let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
        Some((Self { weak, opaque: opaque.into() }, rest))
    }

    fn equals_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    fn equals_strongly(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

/// Evaluates `If-Match`, `If-Unmodified-Since`, `If-None-Match` and `If-Modified-Since` in the order of section 13.2.2.
pub(crate) fn evaluate(
    method: &Method,
    headers: &HeaderMap,
    tag: Option<&EntityTag>,
    modified: Option<SystemTime>,
) -> Verdict {
    let reads = method == Method::GET || method == Method::HEAD;
    if headers.contains_key(header::IF_MATCH) {
        if !lists(headers, &header::IF_MATCH, tag, EntityTag::equals_strongly) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, &header::IF_UNMODIFIED_SINCE), modified)
        && whole_seconds(modified) > whole_seconds(since)
    {
        return Verdict::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if lists(headers, &header::IF_NONE_MATCH, tag, EntityTag::equals_weakly) {
            return if reads { Verdict::NotModified } else { Verdict::Failed };
        }
    } else if reads
        && let (Some(since), Some(modified)) = (date(headers, &header::IF_MODIFIED_SINCE), modified)
        && whole_seconds(modified) <= whole_seconds(since)
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether `If-Range` (section 13.1.5), if there is one, names what would be sent.
pub(crate) fn range_applies(headers: &HeaderMap, tag: Option<&EntityTag>, modified: Option<SystemTime>) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    if let Some((wanted, "")) = EntityTag::read(text.trim()) {
        return tag.is_some_and(|tag| tag.equals_strongly(&wanted));
    }
    match (httpdate::parse_http_date(text), modified) {
        (Ok(date), Some(modified)) => whole_seconds(date) == whole_seconds(modified),
        _ => false,
    }
}

/// Whether a list of entity tags, or `*`, contains the current one.
fn lists(
    headers: &HeaderMap,
    name: &HeaderName,
    tag: Option<&EntityTag>,
    equals: fn(&EntityTag, &EntityTag) -> bool,
) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|text| {
        if text.trim() == "*" {
            // There is a representation, whether or not it has a tag.
            return true;
        }
        let Some(tag) = tag else { return false };
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            match EntityTag::read(rest) {
                Some((listed, _)) if equals(&listed, tag) => return true,
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    })
}

/// A date field; a value that is not a date, or several of them, are as if absent.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// HTTP dates have whole seconds only.
fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn verdict(method: Method, lines: &[(&'static str, &'static str)]) -> Verdict {
        let headers = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect::<HeaderMap>();
        // 1994-11-15 12:45:26.5
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_903_526_500);
        evaluate(&method, &headers, Some(&EntityTag::strong("a,b")), Some(modified))
    }

    #[test]
    fn tags_are_compared_weakly_for_none_match_and_strongly_for_match() {
        use Verdict::*;
        for (line, expected) in [
            (("if-none-match", "\"a,b\""), NotModified),
            (("if-none-match", "W/\"a,b\""), NotModified),
            (("if-none-match", "\"x\" , W/\"y\",\"a,b\""), NotModified),
            (("if-none-match", "*"), NotModified),
            (("if-none-match", "\"x\""), Proceed),
            (("if-none-match", "a,b"), Proceed),
            (("if-match", "\"a,b\""), Proceed),
            (("if-match", "W/\"a,b\""), Failed),
            (("if-match", "*"), Proceed),
            (("if-match", "\"x\""), Failed),
        ] {
            assert_eq!(verdict(Method::GET, &[line]), expected, "{line:?}");
        }
        assert_eq!(verdict(Method::PUT, &[("if-none-match", "*")]), Failed);
    }

    #[test]
    fn dates_count_where_no_tag_field_is_present_and_are_compared_by_the_second() {
        use Verdict::*;
        let same = "Tue, 15 Nov 1994 12:45:26 GMT";
        let before = "Tue, 15 Nov 1994 12:45:25 GMT";
        assert_eq!(verdict(Method::GET, &[("if-modified-since", same)]), NotModified);
        assert_eq!(verdict(Method::GET, &[("if-modified-since", before)]), Proceed);
        assert_eq!(verdict(Method::POST, &[("if-modified-since", same)]), Proceed);
        assert_eq!(verdict(Method::GET, &[("if-modified-since", "never")]), Proceed);
        assert_eq!(verdict(Method::GET, &[("if-unmodified-since", before)]), Failed);
        assert_eq!(verdict(Method::GET, &[("if-unmodified-since", same)]), Proceed);
        assert_eq!(verdict(Method::GET, &[("if-none-match", "\"x\""), ("if-modified-since", same)]), Proceed);
    }

    #[test]
    fn if_range_wants_a_strong_tag_or_the_exact_date() {
        let tag = EntityTag::strong("t");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_903_526);
        let applies = |value: &'static str, tag: &EntityTag| {
            let headers = HeaderMap::from_iter([(header::IF_RANGE, HeaderValue::from_static(value))]);
            range_applies(&headers, Some(tag), Some(modified))
        };
        assert!(applies("\"t\"", &tag));
        assert!(!applies("W/\"t\"", &tag));
        assert!(!applies("\"t\"", &EntityTag::weak("t")));
        assert!(applies("Tue, 15 Nov 1994 12:45:26 GMT", &tag));
        assert!(!applies("Tue, 15 Nov 1994 12:45:27 GMT", &tag));
        assert!(!applies("nonsense", &tag));
        assert!(range_applies(&HeaderMap::new(), Some(&tag), None));
    }
}
