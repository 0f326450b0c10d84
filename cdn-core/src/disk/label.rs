//! The label of a tier: what must be known before a record can be read, in one small file that is always replaced whole.
//!
//! ```text
//! name "isodisk" · format 1 · generation 16 · seed 16 · dead up to 8 · number of invalidations 4
//! each: sequence 8 · distribution · pattern · whether it covers one more 4 · that one · checksum 8
//! ```
//!
//! A tier without a readable label is empty: without its seed nothing there means anything, and without its invalidations
//! nothing there may be used.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::{
    invalidations::{Invalidation, Invalidations},
    record::{Damaged, Fields, put_bytes},
};
use crate::{cache_key::KeySeed, invalidation::InvalidationPattern};

/// Counts up whenever records, labels or the canonical form of cache keys change: what another version wrote is not read.
pub const FORMAT: u8 = 2;

const NAME: [u8; 8] = [b'i', b's', b'o', b'd', b'i', b's', b'k', FORMAT];

/// Under which configuration responses were stored. What was stored under another one is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u128);

/// See the module.
#[derive(Clone, Debug)]
pub struct Label {
    /// Under which configuration the tier was filled.
    pub generation: Generation,
    /// Hashes keys, and seals records.
    pub seed: KeySeed,
    /// What may not be used any more.
    pub(super) invalidations: Invalidations,
}

impl Generation {
    /// The generation of a text that says everything on which the meaning of stored responses depends.
    pub fn of(text: &str) -> Self {
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        hasher.write(text.as_bytes());
        Self(hasher.finish128().as_u128())
    }
}

impl Label {
    /// The label as it stands in its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = NAME.to_vec();
        bytes.extend_from_slice(&self.generation.0.to_le_bytes());
        bytes.extend_from_slice(&self.seed.bits().to_le_bytes());
        bytes.extend_from_slice(&self.invalidations.dead_up_to().to_le_bytes());
        bytes.extend_from_slice(&(self.invalidations.iter().len() as u32).to_le_bytes());
        for one in self.invalidations.iter() {
            bytes.extend_from_slice(&one.sequence.to_le_bytes());
            put_bytes(&mut bytes, one.distribution.as_bytes());
            put_bytes(&mut bytes, one.pattern.as_str().as_bytes());
            let also = one.pattern.also();
            bytes.extend_from_slice(&u32::from(also.is_some()).to_le_bytes());
            put_bytes(&mut bytes, also.unwrap_or_default().as_bytes());
        }
        let sum = checksum(self.seed, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a label.
    ///
    /// # Errors
    /// [`Damaged`], which is also what labels of another format are.
    pub fn parse(bytes: &[u8]) -> Result<Self, Damaged> {
        let (content, sum) = bytes.split_last_chunk::<8>().ok_or(Damaged)?;
        let mut fields = Fields(content);
        if fields.array()? != NAME {
            return Err(Damaged);
        }
        let generation = Generation(u128::from_le_bytes(fields.array()?));
        let seed = KeySeed::new(u128::from_le_bytes(fields.array()?));
        if checksum(seed, content).to_le_bytes() != *sum {
            return Err(Damaged);
        }
        let dead_up_to = fields.u64()?;
        let mut list = Vec::new();
        for _ in 0..fields.u32()? {
            let (sequence, distribution) = (fields.u64()?, fields.text()?.into());
            let pattern = InvalidationPattern::parse(fields.text()?).map_err(|_| Damaged)?;
            let pattern = match (fields.u32()?, fields.text()?) {
                (0, _) => pattern,
                (_, also) => pattern.or_exactly(also),
            };
            list.push(Invalidation { sequence, distribution, pattern });
        }
        Ok(Self { generation, seed, invalidations: Invalidations::restored(list, dead_up_to) })
    }
}

fn checksum(seed: KeySeed, bytes: &[u8]) -> u64 {
    let mut hasher = seed.checksum();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label() -> Label {
        let mut invalidations = Invalidations::restored(Vec::new(), 3);
        for (sequence, also) in [(5, None), (7, Some("/index.html"))] {
            let pattern = InvalidationPattern::parse("/a*").unwrap();
            let pattern = match also {
                Some(also) => pattern.or_exactly(also),
                None => pattern,
            };
            invalidations.push(Invalidation { sequence, distribution: "demo".into(), pattern }, 8);
        }
        Label { generation: Generation::of("one"), seed: KeySeed::new(1 << 70 | 3), invalidations }
    }

    #[test]
    fn what_is_written_is_read() {
        let (label, back) = (label(), Label::parse(&label().to_bytes()).unwrap());
        assert_eq!((back.generation, back.seed.bits()), (label.generation, label.seed.bits()));
        assert!(back.invalidations.iter().eq(label.invalidations.iter()));
        assert!(back.invalidations.kills(3, "x", "/") && back.invalidations.kills(6, "demo", "/index.html"));
        assert_ne!(Generation::of("one"), Generation::of("another"));
    }

    #[test]
    fn a_label_of_another_format_is_none_though_its_checksum_holds() {
        let mut bytes = label().to_bytes();
        let end = bytes.len() - 8;
        bytes[NAME.len() - 1] = FORMAT - 1;
        let sum = checksum(label().seed, &bytes[..end]);
        bytes[end..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Label::parse(&bytes).unwrap_err(), Damaged);
    }

    proptest! {
        #[test]
        fn a_label_is_whole_or_none(at: proptest::sample::Index, bit in 0_u8..8, cut: bool) {
            let mut bytes = label().to_bytes();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            prop_assert!(Label::parse(&bytes).is_err());
        }
    }
}
