//! The fields of a response's head: in a map, as the HTTP library wants them, or as lines that go on the wire as they are.
//!
//! What is put on a response is decided once, over [`Fields`]. [`Lines`] costs one piece of memory and no hashing, which
//! is why stored heads are kept so and why plain hits leave so.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Where the fields of a response are put.
pub trait Fields {
    /// Whether there is a field of this name.
    fn has(&self, name: &HeaderName) -> bool;

    /// Adds a field behind those that are there.
    fn append(&mut self, name: HeaderName, value: HeaderValue);

    /// Removes all fields of this name.
    fn remove(&mut self, name: &HeaderName);

    /// All values of `name` as one list (RFC 9110 section 5.3), with `more` at its end.
    fn joined(&self, name: &HeaderName, separator: &str, more: &[u8]) -> HeaderValue;

    /// Bytes of all fields as lines, without the empty one.
    fn bytes(&self) -> u64;

    /// Puts a field in the place of all others of its name.
    fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.remove(&name);
        self.append(name, value);
    }
}

impl Fields for HeaderMap {
    fn has(&self, name: &HeaderName) -> bool {
        self.contains_key(name)
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.append(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove(name);
    }

    fn joined(&self, name: &HeaderName, separator: &str, more: &[u8]) -> HeaderValue {
        list(self.get_all(name).iter().map(HeaderValue::as_bytes), separator, more)
    }

    fn bytes(&self) -> u64 {
        self.iter().map(|(name, value)| (name.as_str().len() + value.len() + ": \r\n".len()) as u64).sum()
    }

    fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }
}

/// Header lines as they stand on the wire: `name: value`, names in lower case, each with its CRLF, without the empty
/// line. Something may stand before them.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    bytes: BytesMut,
    /// Where the lines begin.
    start: usize,
    names: Names,
}

impl Lines {
    /// No lines yet, behind `before`, with room for `room` bytes.
    pub fn new(before: &[u8], room: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(before.len() + room);
        bytes.extend_from_slice(before);
        Self { bytes, start: before.len(), names: Names::default() }
    }

    /// Adds all of `headers`.
    pub fn extend(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            self.push(name, value.as_bytes());
        }
    }

    /// Adds lines that were written before.
    pub(crate) fn extend_from_lines(&mut self, lines: &[u8], names: Names) {
        self.bytes.extend_from_slice(lines);
        self.names = Names(self.names.0 | names.0);
    }

    /// The bytes, with what stands before the lines.
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }

    /// The lines alone, in memory of just their size, and which names may be in them.
    pub(crate) fn freeze(&self) -> (Bytes, Names) {
        (Bytes::copy_from_slice(self.lines()), self.names)
    }

    fn push(&mut self, name: &HeaderName, value: &[u8]) {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.bytes.extend_from_slice(part);
        }
        self.names.add(name);
    }

    fn lines(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl Fields for Lines {
    fn has(&self, name: &HeaderName) -> bool {
        self.names.may_have(name) && values(self.lines(), name).next().is_some()
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.push(&name, value.as_bytes());
    }

    fn remove(&mut self, name: &HeaderName) {
        if self.has(name) {
            let mut kept = Self::new(self.bytes.get(..self.start).unwrap_or_default(), self.bytes.len());
            for (this, value) in fields(self.lines()).filter(|(this, _)| *this != name.as_str().as_bytes()) {
                for part in [this, b": ", value, b"\r\n"] {
                    kept.bytes.extend_from_slice(part);
                }
            }
            self.bytes = kept.bytes;
        }
    }

    fn joined(&self, name: &HeaderName, separator: &str, more: &[u8]) -> HeaderValue {
        list(values(self.lines(), name), separator, more)
    }

    fn bytes(&self) -> u64 {
        self.lines().len() as u64
    }
}

/// Which names may occur: a bit for what a name's length and first letter make. Where it is not set the name is surely
/// absent, and no line need be read to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(u32);

impl Names {
    fn add(&mut self, name: &HeaderName) {
        self.0 |= Self::bit(name);
    }

    pub(crate) fn may_have(self, name: &HeaderName) -> bool {
        self.0 & Self::bit(name) != 0
    }

    fn bit(name: &HeaderName) -> u32 {
        let text = name.as_str().as_bytes();
        1 << ((text.len() * 5 + usize::from(text.first().copied().unwrap_or_default())) % 32)
    }
}

/// Names and values of `lines`. A value has no LF, so that every line ends at its first.
pub(crate) fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    each_line(lines).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((line.get(..colon)?, line.get(colon + 2..)?))
    })
}

/// The values of one name in `lines`.
pub(crate) fn values<'a>(lines: &'a [u8], name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let name = name.as_str().as_bytes();
    each_line(lines).filter_map(move |line| line.strip_prefix(name)?.strip_prefix(b": "))
}

fn each_line(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', lines).filter_map(move |end| {
        let line = lines.get(start..end)?.strip_suffix(b"\r");
        start = end + 1;
        line
    })
}

/// One list; bytes that a value may not have cannot occur, because every part was one.
fn list<'a>(values: impl Iterator<Item = &'a [u8]>, separator: &str, more: &'a [u8]) -> HeaderValue {
    let mut bytes: Vec<u8> = Vec::new();
    for value in values.map(<[u8]>::trim_ascii).chain([more]).filter(|value| !value.is_empty()) {
        if !bytes.is_empty() {
            bytes.extend_from_slice(separator.as_bytes());
        }
        bytes.extend_from_slice(value);
    }
    HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Append(usize, String),
        Insert(usize, String),
        Remove(usize),
    }

    const NAMES: [&str; 5] = ["age", "via", "x-a", "etag", "content-length"];

    fn name(at: usize) -> HeaderName {
        HeaderName::from_static(NAMES[at])
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (0..NAMES.len(), "[ -~]{0,9}").prop_map(|(at, value)| Act::Append(at, value)),
            (0..NAMES.len(), "[ -~]{0,9}").prop_map(|(at, value)| Act::Insert(at, value)),
            (0..NAMES.len()).prop_map(Act::Remove),
        ];
        proptest::collection::vec(act, 0..12)
    }

    fn play(fields: &mut impl Fields, acts: &[Act]) {
        for act in acts {
            match act {
                Act::Append(at, value) => fields.append(name(*at), value.parse().unwrap()),
                Act::Insert(at, value) => fields.insert(name(*at), value.parse().unwrap()),
                Act::Remove(at) => fields.remove(&name(*at)),
            }
        }
    }

    proptest! {
        /// A map is the oracle for lines.
        #[test]
        fn lines_and_a_map_say_the_same(acts in acts()) {
            let (mut map, mut lines) = (HeaderMap::new(), Lines::new(b"HTTP/1.1 200 OK\r\n", 8));
            play(&mut map, &acts);
            play(&mut lines, &acts);
            for at in 0..NAMES.len() {
                let name = name(at);
                prop_assert_eq!(map.has(&name), lines.has(&name));
                prop_assert_eq!(map.joined(&name, ", ", b"more"), lines.joined(&name, ", ", b"more"));
                let of_map: Vec<&[u8]> = map.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
                prop_assert_eq!(of_map, values(lines.lines(), &name).collect::<Vec<_>>());
            }
            prop_assert!(lines.into_bytes().starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    }
}
