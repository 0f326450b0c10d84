//! Byte ranges (RFC 9110 section 14): which parts of a representation a `Range` field asks for.
//!
//! Pure arithmetic. Requests for many small or overlapping parts, which would make the answer larger than the whole, get
//! the whole instead, as section 14.2 allows.

use std::ops::Range;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// Everything: the field is not understood, or asks for too much.
    Whole,
    /// These non-empty parts, in the order asked for.
    Some(Vec<Range<u64>>),
    /// 416: nothing that was asked for exists.
    Unsatisfiable,
}

/// Reads a `Range` field against a representation of `length` bytes; more than `ranges_max` parts get the whole.
pub(crate) fn parts(field: &str, length: u64, ranges_max: usize) -> Parts {
    let Some((unit, set)) = field.split_once('=') else { return Parts::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Parts::Whole;
    }
    let mut parts = Vec::new();
    let mut asked = 0;
    for spec in set.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        asked += 1;
        if asked > ranges_max {
            return Parts::Whole;
        }
        match part(spec, length) {
            Some(part) if part.is_empty() => {}
            Some(part) => parts.push(part),
            None => return Parts::Whole,
        }
    }
    if asked == 0 {
        return Parts::Whole;
    }
    if parts.is_empty() {
        return Parts::Unsatisfiable;
    }
    let total = parts.iter().fold(0_u64, |total, part| total.saturating_add(part.end - part.start));
    if parts.len() > 1 && total > length { Parts::Whole } else { Parts::Some(parts) }
}

/// One part; empty if it lies outside; `None` if it is not a range.
fn part(spec: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = number(first)?;
    let end = match last {
        "" => length,
        _ => match number(last)? {
            last if last < first => return None,
            last => last.saturating_add(1).min(length),
        },
    };
    Some(first.min(end)..end)
}

/// Digits alone (`parse` would take a sign); more than 64 bits hold is as good as the largest number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(field: &str, expected: Parts) {
        assert_eq!(parts(field, 100, 4), expected, "{field}");
    }

    #[test]
    fn single_parts() {
        let some = |part: Range<u64>| Parts::Some(vec![part]);
        check("bytes=0-9", some(0..10));
        check("bytes=0-0", some(0..1));
        check("Bytes=90-", some(90..100));
        check("bytes=-5", some(95..100));
        check("bytes=-500", some(0..100));
        check("bytes=90-99999999999999999999999", some(90..100));
        check("bytes= 1-2 ,", some(1..3));
    }

    #[test]
    fn what_does_not_exist_is_unsatisfiable_and_what_is_not_a_range_is_ignored() {
        for field in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=500-,200-300"] {
            check(field, Parts::Unsatisfiable);
        }
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "lines=0-1",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1-2,x",
            "bytes=--1",
        ] {
            check(field, Parts::Whole);
        }
        assert_eq!(parts("bytes=0-", 0, 4), Parts::Unsatisfiable);
    }

    #[test]
    fn several_parts_keep_their_order_unless_they_are_too_many_or_too_much() {
        check("bytes=50-59,0-9,200-", Parts::Some(vec![50..60, 0..10]));
        check("bytes=0-0,1-1,2-2,3-3,4-4", Parts::Whole);
        check("bytes=0-,0-", Parts::Whole);
    }

    proptest! {
        #[test]
        fn parts_lie_inside_and_are_not_empty(field in "bytes=[0-9,-]{0,30}", length in 0..1000_u64) {
            if let Parts::Some(parts) = parts(&field, length, 100) {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
            }
        }
    }
}
