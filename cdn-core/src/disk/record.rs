//! The form of one record of the disk tier: a response, or a part of one, with everything that is needed to use it again.
//!
//! ```text
//! header   state 8 · sequence 8 · key 16 · variant 16 · head bytes 4 · zero 4 · body bytes 8 · checksum 8
//! head     distribution, URI, Vary, time of storing, lifetime, which part, status, header lines · checksum 8
//! sums     one checksum of 8 bytes per chunk of the body (64 KiB, the last one shorter)
//! body     as it came
//! ```
//!
//! Numbers are little-endian; a text or a value follows its length (4 bytes). Checksums are SipHash-1-3 under the
//! tier's seed over what they stand for and its place (the record's sequence number, and which part), so that bytes that
//! were damaged, torn off or written elsewhere never pass. The state is no part of any sum: a record is killed in place.
//! Knows bytes; does not know files.

use std::{hash::Hasher, ops::Range, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    WallTime,
    cache_key::{CacheKey, KeySeed},
    freshness::Lifetime,
    range::{ByteRange, ContentRange},
    store::StoredHead,
    vary::Vary,
};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 72;
/// What the state of a record becomes when it is killed: write this over its first bytes.
pub const DEAD: [u8; 8] = [0; 8];
/// Bytes of a body under one checksum.
const CHUNK_BYTES: usize = 64 << 10;
const LIVE: [u8; 8] = *b"iso-live";
const SUM_BYTES: usize = 8;

/// A record, or a part of it, is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged")]
pub struct Damaged;

/// What a record says of its response beside the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Whose content it is.
    pub distribution: Arc<str>,
    /// The path and the keyed query string, which invalidations match.
    pub uri: Box<str>,
    /// Which request headers select it.
    pub vary: Vary,
    /// Status and headers; of the whole where the body is a part.
    pub head: Arc<StoredHead>,
    /// Which part the body is; `None` where it is the whole.
    pub part: Option<ContentRange>,
    /// How long it may be used, from `stored_at` on.
    pub lifetime: Lifetime,
    /// When its head arrived, or was confirmed.
    pub stored_at: WallTime,
}

/// The part of a record that says what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Whether it was not killed.
    pub live: bool,
    /// Its place in the order of everything that happened to the tier.
    pub sequence: u64,
    /// The key of its object.
    pub key: CacheKey,
    /// The hash of the request's values of what its `Vary` names.
    pub variant: u128,
    head_bytes: u32,
    /// Bytes of the body.
    pub body_bytes: u64,
}

impl RecordHeader {
    /// Reads the first [`HEADER_BYTES`] of a record.
    ///
    /// # Errors
    /// [`Damaged`]: nothing in it can be relied on, its length neither.
    pub fn parse(seed: KeySeed, bytes: &[u8]) -> Result<Self, Damaged> {
        let mut fields = Fields(bytes);
        let live = fields.array::<8>()? == LIVE;
        let sequence = fields.u64()?;
        let key = CacheKey::from_bits(u128::from_le_bytes(fields.array()?));
        let variant = u128::from_le_bytes(fields.array()?);
        let (head_bytes, zero) = (fields.u32()?, fields.u32()?);
        let body_bytes = fields.u64()?;
        let checked = bytes.get(LIVE.len()..HEADER_BYTES - SUM_BYTES).ok_or(Damaged)?;
        if fields.u64()? != sum(seed, sequence, Part::Header, checked) || zero != 0 {
            return Err(Damaged);
        }
        Ok(Self { live, sequence, key, variant, head_bytes, body_bytes })
    }

    /// Bytes from the beginning of the record to the beginning of the checksums: header and head.
    pub const fn head_end(&self) -> usize {
        HEADER_BYTES + self.head_bytes as usize + SUM_BYTES
    }

    /// Bytes from the beginning of the record to the beginning of the body.
    pub const fn body_start(&self) -> u64 {
        (self.head_end() as u64).saturating_add(sums_bytes(self.body_bytes))
    }

    /// Bytes of the whole record.
    pub const fn record_bytes(&self) -> u64 {
        self.body_start().saturating_add(self.body_bytes)
    }

    /// Reads the head out of a record's first [`head_end`](Self::head_end) bytes.
    ///
    /// # Errors
    /// [`Damaged`]: the record is of no use, and the next one begins where this one says.
    pub fn head(&self, seed: KeySeed, record: &[u8]) -> Result<RecordHead, Damaged> {
        let end = self.head_end();
        let head = record.get(HEADER_BYTES..end - SUM_BYTES).ok_or(Damaged)?;
        let written = Fields(record.get(end - SUM_BYTES..end).ok_or(Damaged)?).u64()?;
        if written != sum(seed, self.sequence, Part::Head, head) {
            return Err(Damaged);
        }
        read_head(head, self.body_bytes)
    }

    /// Where the body stands in a whole record, once every byte of it has been checked.
    ///
    /// # Errors
    /// [`Damaged`]: at least one chunk is not what was written.
    pub fn body(&self, seed: KeySeed, record: &[u8]) -> Result<Range<usize>, Damaged> {
        let start = usize::try_from(self.body_start()).map_err(|_| Damaged)?;
        let body_bytes = usize::try_from(self.body_bytes).map_err(|_| Damaged)?;
        let body = start..start.checked_add(body_bytes).ok_or(Damaged)?;
        self.check(seed, record, 0, record.get(body.clone()).ok_or(Damaged)?)?;
        Ok(body)
    }

    /// Checks `chunks`, which [`chunks_of`] named and which begin at byte `first` of the body, against
    /// a record's first [`body_start`](Self::body_start) bytes.
    ///
    /// # Errors
    /// [`Damaged`]: at least one of them is not what was written.
    pub fn check(&self, seed: KeySeed, record: &[u8], first: u64, chunks: &[u8]) -> Result<(), Damaged> {
        let number = first / CHUNK_BYTES as u64;
        let sums = self.head_end() as u64 + number * SUM_BYTES as u64..self.body_start();
        let within = |at: u64| usize::try_from(at).map_err(|_| Damaged);
        let mut sums = Fields(record.get(within(sums.start)?..within(sums.end)?).ok_or(Damaged)?);
        for (at, chunk) in (number..).zip(chunks.chunks(CHUNK_BYTES)) {
            if sums.u64()? != sum(seed, self.sequence, Part::Chunk(at), chunk) {
                return Err(Damaged);
            }
        }
        Ok(())
    }
}

/// The bytes of a body of `body_bytes` that have to be read, in order to check them, for those that are wanted.
pub fn chunks_of(wanted: ByteRange, body_bytes: u64) -> ByteRange {
    const CHUNK: u64 = CHUNK_BYTES as u64;
    let last = (wanted.last / CHUNK * CHUNK).saturating_add(CHUNK - 1).min(body_bytes.saturating_sub(1));
    ByteRange { first: wanted.first / CHUNK * CHUNK, last }
}

/// Bytes that a record will have, for a body of `body_bytes`.
pub fn record_bytes(head: &RecordHead, body_bytes: u64) -> u64 {
    let mut bytes = Vec::new();
    write_head(&mut bytes, head);
    ((HEADER_BYTES + bytes.len() + SUM_BYTES) as u64).saturating_add(sums_bytes(body_bytes)).saturating_add(body_bytes)
}

/// Everything of a record that comes before its body, which stands in `blocks`.
pub fn preamble(
    seed: KeySeed,
    (key, variant): (CacheKey, u128),
    sequence: u64,
    head: &RecordHead,
    blocks: &[&[u8]],
) -> Vec<u8> {
    let mut text = Vec::new();
    write_head(&mut text, head);
    let body_bytes: u64 = blocks.iter().map(|block| block.len() as u64).sum();
    let mut record = Vec::with_capacity(HEADER_BYTES + text.len() + SUM_BYTES + 64);
    record.extend_from_slice(&LIVE);
    record.extend_from_slice(&sequence.to_le_bytes());
    record.extend_from_slice(&key.bits().to_le_bytes());
    record.extend_from_slice(&variant.to_le_bytes());
    record.extend_from_slice(&(text.len() as u32).to_le_bytes());
    record.extend_from_slice(&0_u32.to_le_bytes());
    record.extend_from_slice(&body_bytes.to_le_bytes());
    let header = sum(seed, sequence, Part::Header, record.get(LIVE.len()..).unwrap_or_default());
    record.extend_from_slice(&header.to_le_bytes());
    let head = sum(seed, sequence, Part::Head, &text);
    record.append(&mut text);
    record.extend_from_slice(&head.to_le_bytes());
    append_chunk_sums(&mut record, seed, sequence, blocks);
    record
}

/// A chunk may begin in one block and end in another.
fn append_chunk_sums(record: &mut Vec<u8>, seed: KeySeed, sequence: u64, blocks: &[&[u8]]) {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let mut at = 0;
    let mut end_chunk = |chunk: &[u8]| {
        record.extend_from_slice(&sum(seed, sequence, Part::Chunk(at), chunk).to_le_bytes());
        at += 1;
    };
    for block in blocks {
        let mut rest = *block;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - chunk.len()));
            rest = later;
            if chunk.is_empty() && now.len() == CHUNK_BYTES {
                end_chunk(now); // the common way copies nothing
                continue;
            }
            chunk.extend_from_slice(now);
            if chunk.len() == CHUNK_BYTES {
                end_chunk(&chunk);
                chunk.clear();
            }
        }
    }
    if !chunk.is_empty() {
        end_chunk(&chunk);
    }
}

const fn sums_bytes(body_bytes: u64) -> u64 {
    body_bytes.div_ceil(CHUNK_BYTES as u64) * SUM_BYTES as u64
}

#[derive(Clone, Copy)]
enum Part {
    Header,
    Head,
    Chunk(u64),
}

fn sum(seed: KeySeed, sequence: u64, part: Part, bytes: &[u8]) -> u64 {
    let mut hasher = seed.checksum();
    hasher.write_u64(sequence);
    hasher.write_u64(match part {
        Part::Header => u64::MAX,
        Part::Head => u64::MAX - 1,
        Part::Chunk(at) => at,
    });
    hasher.write(bytes);
    hasher.finish()
}

const NO_PART: ByteRange = ByteRange { first: 0, last: 0 };

fn write_head(to: &mut Vec<u8>, head: &RecordHead) {
    put_bytes(to, head.distribution.as_bytes());
    put_bytes(to, head.uri.as_bytes());
    let names: &[HeaderName] = match &head.vary {
        Vary::Names(names) => names,
        // Nobody could select it, so it is never written.
        Vary::Any => &[],
    };
    to.extend_from_slice(&(names.len() as u32).to_le_bytes());
    for name in names {
        put_bytes(to, name.as_str().as_bytes());
    }
    to.extend_from_slice(&head.stored_at.unix_nanos().to_le_bytes());
    for span in spans(&head.lifetime) {
        to.extend_from_slice(&u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
    }
    // No part of anything is what a whole response says.
    let (ByteRange { first, last }, total) = head.part.map_or((NO_PART, 0), |part| (part.part, part.total));
    for number in [first, last, total] {
        to.extend_from_slice(&number.to_le_bytes());
    }
    to.extend_from_slice(&u32::from(head.head.status().as_u16()).to_le_bytes());
    for (name, value) in head.head.headers().iter() {
        put_bytes(to, name.as_str().as_bytes());
        put_bytes(to, value.as_bytes());
    }
}

const fn spans(lifetime: &Lifetime) -> [Duration; 6] {
    let Lifetime { initial_age, fresh_for, while_revalidate, if_error, if_gone, retry_after } = *lifetime;
    [initial_age, fresh_for, while_revalidate, if_error, if_gone, retry_after]
}

fn read_head(bytes: &[u8], body_bytes: u64) -> Result<RecordHead, Damaged> {
    let mut fields = Fields(bytes);
    let distribution = fields.text()?.into();
    let uri = fields.text()?.into();
    let mut names = Vec::new();
    for _ in 0..fields.u32()? {
        names.push(HeaderName::from_bytes(fields.bytes()?).map_err(|_| Damaged)?);
    }
    let stored_at = WallTime::from_unix_nanos(i128::from_le_bytes(fields.array()?));
    let mut span = || fields.u64().map(Duration::from_nanos);
    let (initial_age, fresh_for, while_revalidate) = (span()?, span()?, span()?);
    let (if_error, if_gone, retry_after) = (span()?, span()?, span()?);
    let lifetime = Lifetime { initial_age, fresh_for, while_revalidate, if_error, if_gone, retry_after };
    let part = ContentRange { part: ByteRange { first: fields.u64()?, last: fields.u64()? }, total: fields.u64()? };
    let part = match part {
        ContentRange { part: NO_PART, total: 0 } => None,
        ContentRange { part: ByteRange { first, last }, total }
            if last < total && last.checked_sub(first).is_some_and(|more| more + 1 == body_bytes) =>
        {
            Some(part)
        }
        _ => return Err(Damaged),
    };
    let status = u16::try_from(fields.u32()?).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut headers = HeaderMap::new();
    while !fields.0.is_empty() {
        let name = HeaderName::from_bytes(fields.bytes()?).map_err(|_| Damaged)?;
        let value = HeaderValue::from_bytes(fields.bytes()?).map_err(|_| Damaged)?;
        headers.append(name, value);
    }
    let head = Arc::new(StoredHead::new(status.ok_or(Damaged)?, headers));
    Ok(RecordHead { distribution, uri, vary: Vary::Names(names.into()), head, part, lifetime, stored_at })
}

pub(super) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(bytes);
}

/// Reads one field after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: KeySeed = KeySeed::new(7);
    const KEY: (CacheKey, u128) = (CacheKey::from_bits(1 << 100), 42);

    fn head(lines: &[(String, Vec<u8>)]) -> RecordHead {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        RecordHead {
            distribution: "demo".into(),
            uri: "/a?b=c".into(),
            vary: Vary::Names([http::header::ACCEPT_LANGUAGE, http::header::ORIGIN].into()),
            head: Arc::new(StoredHead::new(StatusCode::GONE, headers)),
            part: None,
            lifetime: Lifetime {
                initial_age: Duration::from_nanos(1),
                fresh_for: Duration::from_secs(2),
                while_revalidate: Duration::from_secs(3),
                if_error: Duration::from_secs(4),
                if_gone: Duration::from_secs(5),
                retry_after: Duration::from_secs(6),
            },
            stored_at: WallTime::from_unix_nanos(-5),
        }
    }

    fn record(sequence: u64, head: &RecordHead, blocks: &[&[u8]]) -> Vec<u8> {
        let mut record = preamble(SEED, KEY, sequence, head, blocks);
        record.extend(blocks.concat());
        record
    }

    fn read(bytes: &[u8]) -> Result<(RecordHeader, RecordHead, Vec<u8>), Damaged> {
        let header = RecordHeader::parse(SEED, bytes)?;
        let body = header.body(SEED, bytes)?;
        Ok((header, header.head(SEED, bytes)?, bytes[body].to_vec()))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_the_body_is_divided(
            lines in proptest::collection::vec(("[a-z][a-z0-9-]{0,12}", "[ -~\u{e0}-\u{ff}]{0,30}"), 0..8),
            blocks in proptest::collection::vec(0_usize..150_000, 0..4),
            sequence: u64,
            first in proptest::option::of(0_u64..1 << 40),
        ) {
            let lines: Vec<_> = lines.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            let length: u64 = blocks.iter().map(|&len| len as u64).sum();
            let part = first.filter(|_| length > 0).map(|first| ByteRange { first, last: first + length - 1 });
            let part = part.map(|part| ContentRange { part, total: part.last + 5 });
            let head = RecordHead { part, ..head(&lines) };
            let blocks: Vec<Vec<u8>> = (0_u8..).zip(blocks).map(|(at, len)| vec![at; len]).collect();
            let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            let bytes = record(sequence, &head, &blocks);
            let (header, back, body) = read(&bytes).unwrap();
            prop_assert_eq!(header.record_bytes(), bytes.len() as u64);
            prop_assert_eq!(record_bytes(&head, body.len() as u64), bytes.len() as u64);
            prop_assert_eq!((header.live, header.sequence, (header.key, header.variant)), (true, sequence, KEY));
            prop_assert_eq!(back, head);
            prop_assert_eq!(body, blocks.concat());
        }

        /// Any byte that is wrong, and any end that comes early, is found, the state's apart: there it kills.
        #[test]
        fn damage_is_never_read(at: proptest::sample::Index, bit in 0_u8..8, cut: bool) {
            let mut bytes = record(9, &head(&[("etag".to_owned(), b"\"a\"".to_vec())]), &[&[7; 70_000], b"end"]);
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            match read(&bytes) {
                Err(Damaged) => {}
                Ok((header, ..)) => prop_assert!(!header.live && at < LIVE.len() && !cut),
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(read(&bytes).err(), Some(Damaged));
            let _ = read_head(&bytes, 7);
        }
    }

    #[test]
    fn some_chunks_are_read_and_checked_alone() {
        let body: Vec<u8> = (0..200_000_u32).map(|at| (at / 7) as u8).collect();
        let mut bytes = record(3, &head(&[]), &[&body]);
        let header = RecordHeader::parse(SEED, &bytes).unwrap();
        let start = usize::try_from(header.body_start()).unwrap();
        let rows = [((0, 0), (0, 65_535)), ((65_535, 65_536), (0, 131_071)), ((190_000, 199_999), (131_072, 199_999))];
        let range = |(first, last)| ByteRange { first, last };
        let read = |bytes: &[u8], chunks: ByteRange| {
            let chunk = &bytes[start + chunks.first as usize..=start + chunks.last as usize];
            header.check(SEED, &bytes[..start], chunks.first, chunk)
        };
        for (wanted, expected) in rows {
            let chunks = chunks_of(range(wanted), header.body_bytes);
            assert_eq!((chunks, read(&bytes, chunks)), (range(expected), Ok(())));
        }
        // Damage elsewhere is none here, and the right bytes in another place are wrong.
        bytes[start + 70_000] ^= 1;
        assert_eq!([(0, 65_535), (0, 131_071)].map(|chunks| read(&bytes, range(chunks))), [Ok(()), Err(Damaged)]);
        assert_eq!(header.check(SEED, &bytes[..start], 65_536, &bytes[start..start + 65_536]), Err(Damaged));
    }

    #[test]
    fn a_part_that_is_not_its_body_or_lies_beyond_its_object_is_damaged() {
        for (first, last, total) in [(0, 3, 3), (4, 8, 20), (9, 6, 20)] {
            let part = Some(ContentRange { part: ByteRange { first, last }, total });
            let bytes = record(1, &RecordHead { part, ..head(&[]) }, &[b"body"]);
            let header = RecordHeader::parse(SEED, &bytes).unwrap();
            assert_eq!(header.head(SEED, &bytes), Err(Damaged), "{first}-{last}/{total}");
        }
    }

    #[test]
    fn a_record_of_another_seed_or_place_is_damaged() {
        let bytes = record(1, &head(&[]), &[b"body"]);
        assert_eq!(RecordHeader::parse(KeySeed::new(8), &bytes), Err(Damaged));
        let mut moved = record(2, &head(&[]), &[b"body"]);
        let body_at = bytes.len() - 4 - SUM_BYTES;
        moved[body_at..].copy_from_slice(&bytes[body_at..]);
        assert!(RecordHeader::parse(SEED, &moved).unwrap().body(SEED, &moved).is_err());
    }

    #[test]
    fn a_killed_record_still_says_where_the_next_one_begins() {
        let mut bytes = record(1, &head(&[]), &[b"body"]);
        bytes[..8].copy_from_slice(&DEAD);
        let header = RecordHeader::parse(SEED, &bytes).unwrap();
        assert_eq!((header.live, header.record_bytes()), (false, bytes.len() as u64));
    }
}
