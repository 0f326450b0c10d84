//! What is stored of an object of which only ranges were asked for.
//!
//! Decides which stored pieces make up a range and what lacks. A range of an object of any size costs that range, and
//! an object is whole once its pieces are. A piece is here from when it begins to arrive, so that others may follow it.
//! Pieces of different representations are never mixed: whoever adds one has compared strong validators (RFC 9110
//! section 15.3.7.3). Knows no HTTP.

use super::slots::SlotId;
use crate::range::ByteRange;

/// The pieces of one representation.
#[derive(Clone, Debug)]
pub(super) struct Parts<B> {
    /// Bytes of the whole object.
    pub(super) total: u64,
    /// By first byte.
    extents: Vec<Extent<B>>,
}

#[derive(Clone, Debug)]
struct Extent<B> {
    range: ByteRange,
    body: B,
    /// When it was added, in order.
    serial: u64,
    /// The fetch that brings it.
    arriving: Option<SlotId>,
}

/// A stretch of a wanted range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run<B> {
    /// It is stored: these bytes of this body.
    Stored {
        /// The body of the piece.
        body: B,
        /// Which of its bytes, counted from its own first.
        within: ByteRange,
    },
    /// It is arriving: these bytes of this body, which can be followed.
    Arriving {
        /// The body of the piece.
        body: B,
        /// Which of its bytes, counted from its own first.
        within: ByteRange,
    },
    /// It is not: these bytes of the object.
    Lacking(ByteRange),
}

impl<B: Clone> Parts<B> {
    pub(super) const fn new(total: u64) -> Self {
        Self { total, extents: Vec::new() }
    }

    /// Adds a piece that a fetch has begun to bring. False where there is no such piece, or it lies within one that is
    /// here already.
    pub(super) fn add(&mut self, range: ByteRange, body: B, fetch: SlotId) -> bool {
        let mut complete = self.extents.iter().filter(|extent| extent.arriving.is_none());
        if range.last >= self.total || complete.any(|extent| range.lies_within(extent.range)) {
            return false;
        }
        let serial = self.extents.iter().map(|extent| extent.serial + 1).max().unwrap_or(0);
        let at = self.extents.partition_point(|extent| extent.range.first < range.first);
        self.extents.insert(at, Extent { range, body, serial, arriving: Some(fetch) });
        true
    }

    /// The piece that a fetch brings is complete; what lies within it goes. False where it is not here any more.
    pub(super) fn complete(&mut self, fetch: SlotId) -> bool {
        let Some(extent) = self.extents.iter_mut().find(|extent| extent.arriving == Some(fetch)) else { return false };
        extent.arriving = None;
        let (range, serial) = (extent.range, extent.serial);
        self.extents.retain(|extent| extent.serial == serial || !extent.range.lies_within(range));
        true
    }

    /// The piece that a fetch brings will not be complete.
    pub(super) fn drop_arriving(&mut self, fetch: SlotId) {
        self.extents.retain(|extent| extent.arriving != Some(fetch));
    }

    /// Removes the oldest piece, those that are arriving last, unless it is the only one; whether it did.
    pub(super) fn remove_oldest(&mut self) -> bool {
        let age = |extent: &Extent<B>| (extent.arriving.is_some(), extent.serial);
        let oldest = self.extents.iter().enumerate().min_by_key(|(_, extent)| age(extent)).map(|(at, _)| at);
        let Some(oldest) = oldest.filter(|_| self.extents.len() > 1) else { return false };
        self.extents.remove(oldest);
        true
    }

    /// How many pieces there are.
    pub(super) const fn len(&self) -> usize {
        self.extents.len()
    }

    /// Bytes of the pieces that are complete, where they overlap more than once.
    pub(super) fn bytes(&self) -> u64 {
        self.extents.iter().filter(|extent| extent.arriving.is_none()).map(|extent| extent.range.length()).sum()
    }

    /// Bytes that the list of them takes.
    pub(super) const fn overhead(&self) -> u64 {
        (self.extents.capacity() * size_of::<Extent<B>>()) as u64
    }

    /// Bytes that all pieces will have.
    pub(super) fn bytes_expected(&self) -> u64 {
        self.extents.iter().map(|extent| extent.range.length()).sum()
    }

    /// The fetches that bring some of a range.
    pub(super) fn fetches(&self, wanted: ByteRange) -> impl Iterator<Item = SlotId> {
        self.extents.iter().filter(move |extent| extent.range.touches(wanted)).filter_map(|extent| extent.arriving)
    }

    /// The stored and the lacking stretches of a range that the object has, in order.
    pub(super) fn runs(&self, wanted: ByteRange) -> Vec<Run<B>> {
        runs(wanted, self.extents.iter().filter(|extent| extent.arriving.is_none()).map(Extent::piece))
    }

    /// The same where what is arriving does not lack.
    pub(super) fn runs_soon(&self, wanted: ByteRange) -> Vec<Run<B>> {
        runs(wanted, self.extents.iter().map(Extent::piece))
    }
}

impl<B> Extent<B> {
    const fn piece(&self) -> Piece<'_, B> {
        Piece { range: self.range, body: &self.body, complete: self.arriving.is_none() }
    }
}

/// A piece of an object, wherever it lies.
#[derive(Debug)]
pub(crate) struct Piece<'a, B> {
    /// Which bytes of the object.
    pub(crate) range: ByteRange,
    /// The bytes.
    pub(crate) body: &'a B,
    /// Whether all of them are there.
    pub(crate) complete: bool,
}

/// What these pieces, which stand by their first byte, are of a range.
pub(crate) fn runs<'a, B: Clone + 'a>(wanted: ByteRange, pieces: impl Iterator<Item = Piece<'a, B>>) -> Vec<Run<B>> {
    let mut runs = Vec::new();
    let mut at = wanted.first;
    for Piece { range, body, complete } in pieces.filter(|piece| piece.range.last >= wanted.first) {
        if at > wanted.last || range.first > wanted.last {
            break;
        }
        if range.last < at {
            continue;
        }
        if range.first > at {
            runs.push(Run::Lacking(ByteRange { first: at, last: range.first - 1 }));
            at = range.first;
        }
        let last = range.last.min(wanted.last);
        let within = ByteRange { first: at - range.first, last: last - range.first };
        let body = body.clone();
        runs.push(if complete { Run::Stored { body, within } } else { Run::Arriving { body, within } });
        at = last + 1;
    }
    if at <= wanted.last {
        runs.push(Run::Lacking(ByteRange { first: at, last: wanted.last }));
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn range(first: u64, last: u64) -> ByteRange {
        ByteRange { first, last }
    }

    /// A body is the position in the object of its first byte, so that bytes can be compared.
    fn parts(total: u64, ranges: &[(u64, u64)]) -> Parts<u64> {
        let mut parts = Parts::new(total);
        for &(first, last) in ranges {
            bring(&mut parts, first, last);
        }
        parts
    }

    /// The fetch of this number.
    fn fetch(number: u64) -> SlotId {
        let mut slots = crate::store::slots::Slots::default();
        (0..=number).map(|_| slots.insert(())).last().unwrap()
    }

    /// A piece from its beginning to its end; whether it stays.
    fn bring(parts: &mut Parts<u64>, first: u64, last: u64) -> bool {
        parts.add(range(first, last), first, fetch(0)) && parts.complete(fetch(0))
    }

    #[test]
    fn what_lacks_lies_between_the_pieces() {
        let parts = parts(100, &[(10, 19), (30, 39), (15, 24)]);
        let lacking = |first, last| -> Vec<ByteRange> {
            let runs = parts.runs(range(first, last)).into_iter();
            runs.filter_map(|run| if let Run::Lacking(range) = run { Some(range) } else { None }).collect()
        };
        assert_eq!(lacking(12, 22), []);
        assert_eq!(lacking(0, 99), [range(0, 9), range(25, 29), range(40, 99)]);
        assert_eq!(lacking(20, 35), [range(25, 29)]);
        assert_eq!(lacking(50, 60), [range(50, 60)]);
        assert_eq!(parts.bytes(), 30);
    }

    #[test]
    fn the_oldest_pieces_go_first_and_none_is_kept_that_is_there_already() {
        let mut parts = parts(100, &[(50, 59), (0, 9)]);
        assert!(!bring(&mut parts, 52, 55) && !bring(&mut parts, 90, 100));
        assert!(bring(&mut parts, 20, 29) && parts.remove_oldest());
        assert_eq!(parts.runs(range(50, 59)), [Run::Lacking(range(50, 59))]);
        assert!(bring(&mut parts, 0, 99) && !parts.remove_oldest());
        assert_eq!(parts.runs(range(20, 29)), [Run::Stored { body: 0, within: range(20, 29) }]);
    }

    #[test]
    fn what_is_arriving_lacks_until_somebody_is_content_to_follow_it() {
        let mut parts = parts(100, &[(10, 19)]);
        assert!(parts.add(range(0, 49), 0, fetch(1)));
        assert_eq!(parts.runs(range(15, 24)).last(), Some(&Run::Lacking(range(20, 24))));
        let soon = [Run::Arriving { body: 0, within: range(15, 24) }];
        assert_eq!(parts.runs_soon(range(15, 24)), soon);
        assert_eq!(parts.fetches(range(49, 60)).collect::<Vec<_>>(), [fetch(1)]);
        assert_eq!((parts.fetches(range(50, 60)).count(), parts.bytes(), parts.bytes_expected()), (0, 10, 60));
        // It breaks off, and what was there stays; or it is complete, and has that within it.
        let mut broken = parts.clone();
        broken.drop_arriving(fetch(1));
        assert_eq!((broken.bytes(), broken.complete(fetch(1))), (10, false));
        assert!(parts.complete(fetch(1)));
        assert_eq!((parts.len(), parts.bytes()), (1, 50));
    }

    proptest! {
        /// Runs are the wanted bytes, each once and in order, and say "lacking" for exactly those in no piece; what is
        /// arriving is none for `runs` and one for `runs_soon`.
        #[test]
        fn runs_are_what_a_byte_by_byte_look_finds(
            pieces in proptest::collection::vec((0_u64..60, 1_u64..20, any::<bool>()), 0..12),
            wanted in (0_u64..60, 1_u64..60),
        ) {
            let total = 60;
            let clamp = |first: u64, len: u64| range(first, (first + len - 1).min(total - 1));
            let (mut parts, mut complete, mut all) = (Parts::new(total), Vec::new(), Vec::new());
            for (number, &(first, len, is_complete)) in pieces.iter().enumerate() {
                let (piece, fetch) = (clamp(first, len), fetch(number as u64));
                all.push(piece);
                if parts.add(piece, first, fetch) && is_complete {
                    parts.complete(fetch);
                    complete.push(piece);
                }
            }
            let wanted = clamp(wanted.0, wanted.1);
            for (runs, pieces) in [(parts.runs(wanted), complete), (parts.runs_soon(wanted), all)] {
                let mut at = wanted.first;
                for run in runs {
                    let here = !matches!(run, Run::Lacking(_));
                    let bytes: Vec<u64> = match run {
                        Run::Stored { body, within } | Run::Arriving { body, within } => {
                            (within.first..=within.last).map(|byte| body + byte).collect()
                        }
                        Run::Lacking(range) => (range.first..=range.last).collect(),
                    };
                    for byte in bytes {
                        prop_assert_eq!(byte, at);
                        let known = pieces.iter().any(|piece| piece.first <= byte && byte <= piece.last);
                        prop_assert_eq!(known, here, "byte {}", byte);
                        at += 1;
                    }
                }
                prop_assert_eq!(at, wanted.last + 1);
            }
        }
    }
}
