//! The head of a stored response: a status, and its header lines as they stand on the wire, in one piece of memory.
//!
//! A header map costs about a kilobyte and a half beside what it says; a store has one for each object. So the lines are
//! written down once, and read again where somebody asks for them by name. Values that are handed out share the block.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    WallTime,
    conditional::{Validators, merge_not_modified},
    fields::{Lines, Names, fields, values},
};

/// Status and headers of a stored response, as [`crate::forward::withhold`] left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    status: StatusCode,
    lines: Bytes,
    names: Names,
}

impl StoredHead {
    /// A head to be stored.
    pub fn new(status: StatusCode, headers: HeaderMap) -> Self {
        let length = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let mut lines = Lines::new(b"", length);
        lines.extend(&headers);
        let (lines, names) = lines.freeze();
        Self { status, lines, names }
    }

    /// The status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Adds the headers to lines that are to leave.
    pub fn write_to(&self, lines: &mut Lines) {
        lines.extend_from_lines(&self.lines, self.names);
    }

    /// Bytes of the header lines.
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are no headers.
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The headers. Values are not copied, but the map is made anew with each call.
    pub fn headers(&self) -> HeaderMap {
        let count = memchr::memchr_iter(b'\n', &self.lines).count();
        // Room for what is put on every response that leaves.
        let mut headers = HeaderMap::with_capacity(count + 8);
        for (name, value) in fields(&self.lines) {
            let value = HeaderValue::from_maybe_shared(self.lines.slice_ref(value));
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// The first value of a header, without making the map.
    pub fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        if self.names.may_have(name) { values(&self.lines, name).next() } else { None }
    }

    /// What it can be confirmed by.
    pub fn validators(&self) -> Validators {
        Validators::of(&self.headers())
    }

    /// The headers after a 304 has confirmed this response (RFC 9111 section 3.2). Assess their freshness and make them
    /// storable before they become a head again. A 304 without `Date` is dated when it arrived, like any response.
    pub fn headers_confirmed_by(&self, not_modified: &HeaderMap, arrived: WallTime) -> HeaderMap {
        let mut headers = self.headers();
        headers.insert(header::DATE, arrived.http_date());
        merge_not_modified(&mut headers, not_modified);
        headers
    }

    /// Whether a response to HEAD speaks of the same representation: nothing that identifies it differs.
    pub(super) fn is_described_by(&self, head: &Self) -> bool {
        let same = |name: &HeaderName| head.first(name).is_none_or(|theirs| self.first(name) == Some(theirs));
        let same_length = match (self.first(&header::CONTENT_LENGTH), head.first(&header::CONTENT_LENGTH)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.status == head.status && same(&header::ETAG) && same(&header::LAST_MODIFIED) && same_length
    }

    /// This head with what a response to HEAD says anew.
    pub(super) fn updated_by(&self, head: &Self) -> Self {
        let mut headers = self.headers();
        merge_not_modified(&mut headers, &head.headers());
        Self::new(self.status, headers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Writing the lines down loses nothing: names, values, how often and in which order.
        #[test]
        fn headers_come_back_as_they_were(
            lines in proptest::collection::vec(("[a-z][a-z0-9-]{0,12}", "[ -~\u{e0}-\u{ff}]{0,30}"), 0..12),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &lines {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append(name.parse::<HeaderName>().unwrap(), value);
            }
            let head = StoredHead::new(StatusCode::OK, headers.clone());
            prop_assert_eq!(head.headers(), headers.clone());
            for name in headers.keys() {
                prop_assert_eq!(head.first(name), headers.get(name).map(HeaderValue::as_bytes));
            }
        }
    }

    #[test]
    fn lines_stand_as_on_the_wire() {
        let mut headers = HeaderMap::new();
        headers.append(header::ETAG, HeaderValue::from_static("\"a: b\""));
        headers.append(header::VARY, HeaderValue::from_static(""));
        let head = StoredHead::new(StatusCode::OK, headers);
        assert_eq!(&head.lines[..], b"etag: \"a: b\"\r\nvary: \r\n");
        assert_eq!((head.first(&header::ETAG), head.first(&header::VARY)), (Some(&b"\"a: b\""[..]), Some(&b""[..])));
        assert_eq!(head.first(&header::AGE), None);
        assert_eq!(head.validators().etag.unwrap(), "\"a: b\"");
    }
}
