//! The records of any message, one after the other, without understanding what they hold.
//!
//! For what hickory-proto does not tell: the options as they were sent, bytes after the last record, and the lowest TTL of
//! an answer. Never panics, and reads each byte once.

use crate::wire::HEADER;

/// Type of the OPT record (RFC 6891).
pub(crate) const OPT: u16 = 41;

/// What a walk through a message finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk<'m> {
    /// Data of the first OPT record.
    pub(crate) opt: Option<&'m [u8]>,
    /// Bytes after the last record that the header announces.
    pub(crate) rest: &'m [u8],
    /// The lowest TTL, in seconds, of all records but OPT.
    pub(crate) ttl_s_min: Option<u32>,
}

impl<'m> Walk<'m> {
    /// Walks through `message`; `None` if it ends before its records do.
    pub(crate) fn through(message: &'m [u8]) -> Option<Self> {
        let (header, mut rest) = message.split_first_chunk::<HEADER>()?;
        let &[_, _, _, _, q_high, q_low, an_high, an_low, ns_high, ns_low, ar_high, ar_low] = header;
        let count = |high, low| u32::from(u16::from_be_bytes([high, low]));
        for _ in 0..count(q_high, q_low) {
            rest = skip_name(rest)?.get(4..)?;
        }
        let records = count(an_high, an_low) + count(ns_high, ns_low) + count(ar_high, ar_low);
        let mut walk = Self { opt: None, rest, ttl_s_min: None };
        for _ in 0..records {
            let &[type_high, type_low, _, _, ttl_a, ttl_b, ttl_c, ttl_d, len_high, len_low, ref after @ ..] =
                skip_name(walk.rest)?
            else {
                return None;
            };
            let (data, rest) = after.split_at_checked(usize::from(u16::from_be_bytes([len_high, len_low])))?;
            if u16::from_be_bytes([type_high, type_low]) == OPT {
                walk.opt = walk.opt.or(Some(data));
            } else {
                let ttl_s = u32::from_be_bytes([ttl_a, ttl_b, ttl_c, ttl_d]);
                walk.ttl_s_min = Some(walk.ttl_s_min.map_or(ttl_s, |min| min.min(ttl_s)));
            }
            walk.rest = rest;
        }
        Some(walk)
    }
}

fn skip_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&len, rest) = bytes.split_first()?;
        match len {
            0 => return Some(rest),
            1..=63 => bytes = rest.get(usize::from(len)..)?,
            0xc0.. => return rest.get(1..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x03www\x04demo\x04test\x00\x00\x01\x00\x01";

    fn message(counts: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let [questions, answers, authorities, additionals] = counts;
        let mut message = vec![0, 1, 0, 0, 0, questions, 0, answers, 0, authorities, 0, additionals];
        message.extend(parts.concat());
        message
    }

    #[test]
    fn options_rest_and_lowest_ttl_are_found() {
        let record = |ttl_s| [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl_s, 0, 4, 127, 0, 0, 1][..]].concat();
        let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 2, 7, 8];
        let whole = message([1, 1, 1, 1], &[QUESTION, &record(60), &record(30), &opt, b"!"]);
        let walk = Walk::through(&whole).unwrap();
        assert_eq!(walk, Walk { opt: Some(&[7, 8]), rest: b"!", ttl_s_min: Some(30) });
        assert_eq!(Walk::through(&message([1, 0, 0, 0], &[QUESTION])).unwrap().ttl_s_min, None);
    }

    #[test]
    fn a_message_that_is_cut_is_none() {
        let whole = message([1, 0, 0, 1], &[QUESTION, &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 2, 7, 8]]);
        assert!(Walk::through(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(Walk::through(&whole[..len]), None, "cut to {len}");
        }
    }
}
