//! Byte ranges: which part of a stored object the viewer gets.
//!
//! Decides 200, 206 or 416 from `Range` and the object's length (RFC 9110 section 14). Several ranges are served only
//! where they ascend without overlap, as CloudFront does; anything else gets the whole object. Knows no body.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::conditional::if_range_holds;

/// Most ranges that one request may ask for; more get the whole object, so that overlapping crumbs cannot be used to
/// multiply work (RFC 9110 section 17.15).
pub const RANGES_MAX: usize = 32;

/// A part of an object: `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Position of the first byte.
    pub first: u64,
    /// Position of the last byte.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes it has: at least one.
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether all of it is in another.
    pub const fn lies_within(self, outer: Self) -> bool {
        outer.first <= self.first && self.last <= outer.last
    }

    /// Whether some of it is in another.
    pub const fn touches(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The value of `Content-Range` for an object of `total` bytes.
    pub fn content_range(self, total: u64) -> HeaderValue {
        HeaderValue::from_str(&format!("bytes {}-{}/{total}", self.first, self.last))
            .unwrap_or(HeaderValue::from_static("bytes */*"))
    }
}

/// What a 206 says that it is: a part of an object of `total` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The part.
    pub part: ByteRange,
    /// Bytes of the whole.
    pub total: u64,
}

impl ContentRange {
    /// Reads `Content-Range` (RFC 9110 section 14.4). `None` where there is not exactly one, where it is malformed or
    /// leaves the total open, and where `Content-Length` contradicts it: such a response is for its viewer alone.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (unit, rest) = line.as_bytes().split_at_checked(6)?;
        let slash = rest.iter().position(|&byte| byte == b'/')?;
        let (span, total) = (rest.get(..slash)?, number(rest.get(slash + 1..)?)?);
        let dash = span.iter().position(|&byte| byte == b'-')?;
        let part = ByteRange { first: number(span.get(..dash)?)?, last: number(span.get(dash + 1..)?)? };
        let announced = headers.get(header::CONTENT_LENGTH).map(|length| number(length.as_bytes()));
        let fits = part.first <= part.last
            && part.last < total
            && announced.is_none_or(|announced| announced == Some(part.length()));
        (unit.eq_ignore_ascii_case(b"bytes ") && fits).then_some(Self { part, total })
    }
}

/// The value of `Content-Range` of a 416 for an object of `total` bytes.
pub fn content_range_unsatisfiable(total: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes */{total}")).unwrap_or(HeaderValue::from_static("bytes */*"))
}

/// What the viewer gets of a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// 200 and the whole object.
    Whole,
    /// 206 and one part.
    Part(ByteRange),
    /// 206 and several parts as `multipart/byteranges`, ascending and without overlap.
    Parts(Vec<ByteRange>),
    /// 416.
    Unsatisfiable,
}

/// Holds a request's `Range` and `If-Range` against a stored response of `total` bytes.
pub fn evaluate(method: &Method, request: &HeaderMap, status: StatusCode, stored: &HeaderMap, total: u64) -> Extent {
    // RFC 9110 section 14.2: GET alone; and only a 200 is the whole object.
    if *method != Method::GET || status != StatusCode::OK || !if_range_holds(request, stored) {
        return Extent::Whole;
    }
    asked_for(request, total)
}

/// What the `Range` of a GET asks for of an object of `total` bytes, if its `If-Range` holds.
pub fn asked_for(request: &HeaderMap, total: u64) -> Extent {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Extent::Whole };
    extent(line.as_bytes(), total)
}

/// Whether the request has a range and that is the whole object: `bytes=0-`, as players ask first.
pub fn is_whole(request: &HeaderMap) -> bool {
    let mut lines = request.get_all(header::RANGE).iter();
    matches!((lines.next(), lines.next()), (Some(line), None) if line.as_bytes().eq_ignore_ascii_case(b"bytes=0-"))
}

fn extent(line: &[u8], total: u64) -> Extent {
    let Some(list) = line.split_at_checked(6).filter(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes=")) else {
        return Extent::Whole;
    };
    let mut specs = 0;
    let mut parts: Vec<ByteRange> = Vec::new();
    for spec in list.1.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        specs += 1;
        match range(spec, total) {
            // Malformed: the header is ignored.
            None => return Extent::Whole,
            Some(None) => {}
            Some(Some(part)) if parts.last().is_none_or(|before| before.last < part.first) => parts.push(part),
            Some(Some(_)) => return Extent::Whole,
        }
        if specs > RANGES_MAX {
            return Extent::Whole;
        }
    }
    match parts.as_slice() {
        _ if specs == 0 => Extent::Whole,
        [] => Extent::Unsatisfiable,
        [part] => Extent::Part(*part),
        _ => Extent::Parts(parts),
    }
}

/// One range: `None` where malformed, `Some(None)` where the object does not reach that far.
fn range(spec: &[u8], total: u64) -> Option<Option<ByteRange>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let length = number(last)?.min(total);
        return Some((length > 0).then(|| ByteRange { first: total - length, last: total - 1 }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < total).then(|| ByteRange { first, last: last.min(total - 1) }))
}

/// Digits alone; what is too big is the greatest number.
fn number(digits: &[u8]) -> Option<u64> {
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
        .then(|| digits.iter().fold(0_u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, last: u64) -> ByteRange {
        ByteRange { first, last }
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        let rows = [
            ("bytes=0-99", 1000, Extent::Part(part(0, 99))),
            ("Bytes=0-99", 1000, Extent::Part(part(0, 99))),
            ("bytes=900-", 1000, Extent::Part(part(900, 999))),
            ("bytes=-100", 1000, Extent::Part(part(900, 999))),
            ("bytes=-5000", 1000, Extent::Part(part(0, 999))),
            ("bytes=990-99999999999999999999999", 1000, Extent::Part(part(990, 999))),
            ("bytes=0-0", 1, Extent::Part(part(0, 0))),
            ("bytes=1000-", 1000, Extent::Unsatisfiable),
            ("bytes=-0", 1000, Extent::Unsatisfiable),
            ("bytes=0-", 0, Extent::Unsatisfiable),
            ("bytes=-1", 0, Extent::Unsatisfiable),
            ("bytes=100-200, 300-400", 1000, Extent::Parts(vec![part(100, 200), part(300, 400)])),
            ("bytes=100-200,5000-", 1000, Extent::Part(part(100, 200))),
            ("bytes=300-400,100-200", 1000, Extent::Whole),
            ("bytes=100-200,200-300", 1000, Extent::Whole),
            ("bytes=5-1", 1000, Extent::Whole),
            ("bytes=", 1000, Extent::Whole),
            ("bytes=a-b", 1000, Extent::Whole),
            ("bytes=1", 1000, Extent::Whole),
            ("bytes=--1", 1000, Extent::Whole),
            ("lines=1-2", 1000, Extent::Whole),
            ("byte", 1000, Extent::Whole),
        ];
        for (line, total, expected) in rows {
            assert_eq!(extent(line.as_bytes(), total), expected, "{line} of {total}");
        }
        let crumbs: Vec<_> = (0..40).map(|at| format!("{}-{}", at * 2, at * 2)).collect();
        assert_eq!(extent(format!("bytes={}", crumbs.join(",")).as_bytes(), 1000), Extent::Whole);
    }

    #[test]
    fn only_get_of_a_200_has_ranges() {
        let request = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-1"))]);
        let extent = |method: &Method, status| evaluate(method, &request, status, &HeaderMap::new(), 10);
        assert_eq!(extent(&Method::GET, StatusCode::OK), Extent::Part(part(0, 1)));
        assert_eq!(extent(&Method::HEAD, StatusCode::OK), Extent::Whole);
        assert_eq!(extent(&Method::GET, StatusCode::NOT_FOUND), Extent::Whole);
    }

    #[test]
    fn content_range_says_position_and_total() {
        assert_eq!(part(0, 99).content_range(1_048_576), "bytes 0-99/1048576");
        assert_eq!(part(0, 99).length(), 100);
        assert_eq!(content_range_unsatisfiable(7), "bytes */7");
    }

    #[test]
    fn a_206_says_which_part_it_is_or_is_not_believed() {
        let read = |value: &str, length: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, value.parse().unwrap());
            if let Some(length) = length {
                headers.insert(header::CONTENT_LENGTH, length.parse().unwrap());
            }
            ContentRange::of(&headers)
        };
        let expected = Some(ContentRange { part: part(4, 9), total: 10 });
        assert_eq!(read("bytes 4-9/10", None), expected);
        assert_eq!(read("Bytes 4-9/10", Some("6")), expected);
        for (value, length) in [
            ("bytes 4-9/10", Some("5")),
            ("bytes 4-9/10", Some("x")),
            ("bytes 4-9/*", None),
            ("bytes 4-10/10", None),
            ("bytes 5-4/10", None),
            ("bytes */10", None),
            ("items 4-9/10", None),
            ("bytes=4-9/10", None),
            ("bytes", None),
            ("", None),
        ] {
            assert_eq!(read(value, length), None, "{value} {length:?}");
        }
        let twice = [(header::CONTENT_RANGE, "bytes 0-1/2".parse().unwrap()); 1];
        let mut twice = HeaderMap::from_iter(twice);
        twice.append(header::CONTENT_RANGE, "bytes 0-1/2".parse().unwrap());
        assert_eq!(ContentRange::of(&twice), None);
    }

    proptest::proptest! {
        #[test]
        fn parts_lie_inside_the_object(spec in "[0-9,-]{0,30}", total in 0_u64..200) {
            let parts = match extent(format!("bytes={spec}").as_bytes(), total) {
                Extent::Part(part) => vec![part],
                Extent::Parts(parts) => parts,
                Extent::Whole | Extent::Unsatisfiable => vec![],
            };
            let mut next = 0;
            for part in parts {
                assert!(next <= part.first && part.first <= part.last && part.last < total);
                next = part.last + 1;
            }
        }
    }
}
