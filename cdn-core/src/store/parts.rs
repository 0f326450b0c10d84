//! What is stored of an object of which only ranges were asked for.
//!
//! Decides which stored pieces make up a range and what lacks. A range of an object of any size costs that range, and
//! an object is whole once its pieces are. Pieces of different representations are never mixed: whoever adds one has
//! compared strong validators (RFC 9110 section 15.3.7.3). Knows no HTTP.

use crate::range::ByteRange;

/// The stored pieces of one representation.
#[derive(Clone, Debug)]
pub(super) struct Parts<B> {
    /// Bytes of the whole object.
    pub(super) total: u64,
    /// By first byte, and none lies within another, so by last byte too.
    extents: Vec<Extent<B>>,
}

#[derive(Clone, Debug)]
struct Extent<B> {
    range: ByteRange,
    body: B,
    /// When it was added, in order.
    serial: u64,
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
    /// It is not: these bytes of the object.
    Lacking(ByteRange),
}

impl<B: Clone> Parts<B> {
    pub(super) const fn new(total: u64) -> Self {
        Self { total, extents: Vec::new() }
    }

    /// Adds a piece; what lies within it goes, and it is not kept where it lies within another. At most `extents_max`
    /// pieces stay, the oldest go first; whether one had to.
    pub(super) fn add(&mut self, range: ByteRange, body: B, extents_max: usize) -> bool {
        let within = |inner: ByteRange, outer: ByteRange| outer.first <= inner.first && inner.last <= outer.last;
        if range.last >= self.total || self.extents.iter().any(|extent| within(range, extent.range)) {
            return false;
        }
        self.extents.retain(|extent| !within(extent.range, range));
        let serial = self.extents.iter().map(|extent| extent.serial + 1).max().unwrap_or(0);
        let at = self.extents.partition_point(|extent| extent.range.first < range.first);
        self.extents.insert(at, Extent { range, body, serial });
        self.extents.len() > extents_max.max(1) && self.remove_oldest()
    }

    /// Removes the oldest piece, unless it is the only one; whether it did.
    pub(super) fn remove_oldest(&mut self) -> bool {
        let oldest = self.extents.iter().enumerate().min_by_key(|(_, extent)| extent.serial).map(|(at, _)| at);
        let Some(oldest) = oldest.filter(|_| self.extents.len() > 1) else { return false };
        self.extents.remove(oldest);
        true
    }

    /// Bytes of all pieces, where they overlap more than once.
    pub(super) fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.range.length()).sum()
    }

    /// The stored and the lacking stretches of a range that the object has, in order.
    pub(super) fn runs(&self, wanted: ByteRange) -> Vec<Run<B>> {
        let mut runs = Vec::new();
        let mut at = wanted.first;
        for extent in self.extents.iter().filter(|extent| extent.range.last >= wanted.first) {
            if at > wanted.last || extent.range.first > wanted.last {
                break;
            }
            if extent.range.last < at {
                continue;
            }
            if extent.range.first > at {
                runs.push(Run::Lacking(ByteRange { first: at, last: extent.range.first - 1 }));
                at = extent.range.first;
            }
            let last = extent.range.last.min(wanted.last);
            let within = ByteRange { first: at - extent.range.first, last: last - extent.range.first };
            runs.push(Run::Stored { body: extent.body.clone(), within });
            at = last + 1;
        }
        if at <= wanted.last {
            runs.push(Run::Lacking(ByteRange { first: at, last: wanted.last }));
        }
        runs
    }
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
            parts.add(range(first, last), first, 100);
        }
        parts
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
    fn the_oldest_pieces_go_when_there_are_too_many_and_none_is_kept_that_is_there_already() {
        let mut parts = parts(100, &[(50, 59), (0, 9)]);
        assert!(!parts.add(range(52, 55), 52, 2) && !parts.add(range(90, 100), 90, 2));
        assert!(parts.add(range(20, 29), 20, 2));
        assert_eq!(parts.runs(range(50, 59)), [Run::Lacking(range(50, 59))]);
        assert!(!parts.add(range(0, 99), 0, 2));
        assert_eq!(parts.runs(range(20, 29)), [Run::Stored { body: 0, within: range(20, 29) }]);
    }

    proptest! {
        /// Runs are the wanted bytes, each once and in order, and say "lacking" for exactly those in no piece.
        #[test]
        fn runs_are_what_a_byte_by_byte_look_finds(
            pieces in proptest::collection::vec((0_u64..60, 1_u64..20), 0..12),
            wanted in (0_u64..60, 1_u64..60),
        ) {
            let total = 60;
            let ranges: Vec<_> = pieces.iter().map(|&(first, len)| (first, (first + len - 1).min(total - 1))).collect();
            let parts = parts(total, &ranges);
            let wanted = range(wanted.0, (wanted.0 + wanted.1 - 1).min(total - 1));
            let mut at = wanted.first;
            for run in parts.runs(wanted) {
                let stored = matches!(run, Run::Stored { .. });
                let bytes: Vec<u64> = match run {
                    Run::Stored { body, within } => (within.first..=within.last).map(|byte| body + byte).collect(),
                    Run::Lacking(range) => (range.first..=range.last).collect(),
                };
                for byte in bytes {
                    prop_assert_eq!(byte, at);
                    let known = ranges.iter().any(|&(first, last)| first <= byte && byte <= last);
                    prop_assert_eq!(known, stored, "byte {}", byte);
                    at += 1;
                }
            }
            prop_assert_eq!(at, wanted.last + 1);
        }
    }
}
