//! Parts of a response on the disk: what may lie beside what, and which of it make up a range.
//!
//! As in memory: under one key and variant lies one whole response, or parts of one representation, which a strong
//! validator tells from every other (RFC 9110 section 15.3.7.3). A part may lie within an older, longer one: it says until
//! when both may be used (RFC 9111 section 3.4). Decides which records to read, and which of their bytes. Knows no files.

use http::{HeaderMap, HeaderValue};

use super::{Located, record, record::RecordHead};
use crate::{
    WallTime,
    conditional::strong_validator,
    disk::aged,
    freshness::Lifetime,
    range::{self, ByteRange, ContentRange, Extent},
    store::{Piece, Run, runs},
};

/// What is known of a part without reading it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) range: ByteRange,
    pub(super) total: u64,
    validator: Option<HeaderValue>,
    lifetime: Lifetime,
    pub(super) stored_at: WallTime,
}

/// Parts that make up what a request wants, or all of it but one stretch.
#[derive(Clone, Debug)]
pub struct FoundParts {
    /// The record that says what the whole is like, and how long it may be used.
    pub newest: Located,
    /// What to read, in order.
    pub stretches: Vec<FoundStretch>,
}

/// Bytes of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundStretch {
    /// The record.
    pub located: Located,
    /// Bytes of it before its body.
    pub body_start: u64,
    /// Which bytes of its body: whole chunks.
    pub within: ByteRange,
    /// Which bytes of the object those are.
    pub range: ByteRange,
}

impl Part {
    /// `None` for a whole response.
    pub(super) fn of(head: &RecordHead) -> Option<Box<Self>> {
        let ContentRange { part: range, total } = head.part?;
        let validator = strong_validator(&head.head.headers());
        Some(Box::new(Self { range, total, validator, lifetime: head.lifetime, stored_at: head.stored_at }))
    }

    /// Whether it is of the same representation, so that they may be combined.
    fn combines_with(&self, other: &Self) -> bool {
        self.total == other.total && self.validator.is_some() && self.validator == other.validator
    }
}

/// Whether a record that came later takes the place of an earlier one of the same key and variant. `None` for a whole
/// response.
pub(super) fn supersedes(later: Option<&Part>, earlier: Option<&Part>) -> bool {
    contradicts(later, earlier)
        || matches!((later, earlier), (Some(later), Some(earlier)) if earlier.range.lies_within(later.range))
}

/// Whether an earlier record is of no use any more once the head of a later one has arrived.
pub(super) fn contradicts(later: Option<&Part>, earlier: Option<&Part>) -> bool {
    !matches!((later, earlier), (Some(later), Some(earlier)) if later.combines_with(earlier))
}

/// Which of the parts that lie under one key and variant answer a GET with this `Range`, or lack one stretch of what it
/// wants; `None` where none does, where they are stale, or where they are more than `bytes_max`. `lacking` is what memory
/// lacks, where it has the rest.
pub(super) fn find<'a>(
    now: WallTime,
    request: &HeaderMap,
    lacking: Option<ByteRange>,
    bytes_max: u64,
    parts: impl Iterator<Item = (Located, &'a Part)>,
) -> Option<FoundParts> {
    let mut parts: Vec<_> = parts.collect();
    let &(newest, about) = parts.iter().max_by_key(|(located, part)| (part.stored_at, located.sequence))?;
    if aged(about.lifetime, about.stored_at, now).fresh_for.is_zero() {
        return None;
    }
    let all = ByteRange { first: 0, last: about.total.checked_sub(1)? };
    let wanted = match (lacking, range::asked_for(request, about.total)) {
        (Some(lacking), _) if lacking.lies_within(all) => vec![lacking],
        (Some(_), _) | (None, Extent::Unsatisfiable) => return None,
        (None, Extent::Whole) => vec![all],
        (None, Extent::Part(part)) => vec![part],
        (None, Extent::Parts(parts)) => parts,
    };
    parts.sort_by_key(|(_, part)| part.range.first);
    let pieces = || parts.iter().map(|one| Piece { range: one.1.range, body: one, complete: true });
    let found: Vec<_> = wanted.iter().flat_map(|&wanted| runs(wanted, pieces())).collect();
    let gaps = found.iter().filter(|run| matches!(run, Run::Lacking(_))).count();
    let completable = gaps == 1 && wanted.len() == 1 && about.validator.is_some();
    let stretches: Vec<_> = found.into_iter().filter_map(stretch).collect();
    let bytes: u64 = stretches.iter().map(|stretch| stretch.range.length()).sum();
    let good = (gaps == 0 || completable) && !stretches.is_empty() && bytes <= bytes_max;
    good.then_some(FoundParts { newest, stretches })
}

fn stretch(run: Run<(Located, &Part)>) -> Option<FoundStretch> {
    let (Run::Stored { body: (located, part), within } | Run::Arriving { body: (located, part), within }) = run else {
        return None;
    };
    let within = record::chunks_of(within, part.range.length());
    let range = ByteRange { first: part.range.first + within.first, last: part.range.first + within.last };
    let body_start = located.place.bytes.saturating_sub(part.range.length());
    Some(FoundStretch { located, body_start, within, range })
}
