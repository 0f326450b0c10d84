//! The deterministic body: every byte is a pure function of (seed, path, offset).
//!
//! Whoever knows the seed and the path can check any byte of any answer, wherever it travelled and however it was cut
//! into ranges. The bytes are printable ASCII in lines of 64 (63 characters of `?@A…Z[\]^_`a…z{|}~` and a line feed), so
//! that `curl` shows them and `diff` finds the first wrong one. None of the characters means anything in HTML, and there
//! is no `-`, so a multipart boundary cannot occur. Knows nothing of HTTP, sizes or settings.
//!
//! The function, for those who want to write it again elsewhere (`+` and `*` wrap at 64 bits):
//!
//! ```text
//! mix(x)  = x ^= x >> 30; x *= 0xbf58476d1ce4e5b9; x ^= x >> 27; x *= 0x94d049bb133111eb; x ^= x >> 31
//! key     = mix(seed + 0x9e3779b97f4a7c15), then for each byte b of the path: key = mix(key ^ b)
//! word(i) = (mix(key + i * 0x9e3779b97f4a7c15) & 0x3f3f3f3f3f3f3f3f) + 0x3f3f3f3f3f3f3f3f
//! byte(o) = '\n' where o % 64 = 63, else byte o % 8 of word(o / 8), least significant first
//! ```

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const LOW_SIX_BITS: u64 = 0x3f3f_3f3f_3f3f_3f3f;
const WORD_BYTES: u64 = 8;

/// The endless content under one seed and path; a body is a prefix of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    key: u64,
}

impl Content {
    /// The content of `path` (as on the wire: percent-encoded, without the query) under `seed`.
    pub fn new(seed: u64, path: &str) -> Self {
        let key = path.bytes().fold(mix(seed.wrapping_add(GOLDEN)), |key, byte| mix(key ^ u64::from(byte)));
        Self { key }
    }

    /// The byte at `offset`.
    pub const fn byte_at(self, offset: u64) -> u8 {
        self.word(offset / WORD_BYTES).to_le_bytes()[(offset % WORD_BYTES) as usize]
    }

    /// Fills `out` with the bytes from `offset` on. Offsets wrap at 2^64.
    pub fn fill(self, offset: u64, out: &mut [u8]) {
        // Bytes up to the next word, whole words, the rest.
        let to_boundary = (offset.wrapping_neg() % WORD_BYTES) as usize;
        let (head, rest) = out.split_at_mut(to_boundary.min(out.len()));
        for (at, byte) in head.iter_mut().enumerate() {
            *byte = self.byte_at(offset.wrapping_add(at as u64));
        }
        let first = offset.wrapping_add(to_boundary as u64) / WORD_BYTES;
        let mut words = rest.chunks_exact_mut(WORD_BYTES as usize);
        let mut index = first;
        for word in &mut words {
            word.copy_from_slice(&self.word(index).to_le_bytes());
            index = index.wrapping_add(1);
        }
        let last = self.word(index).to_le_bytes();
        for (byte, value) in words.into_remainder().iter_mut().zip(last) {
            *byte = value;
        }
    }

    /// A name of this content, used in entity tags.
    pub const fn fingerprint(self) -> u64 {
        self.key
    }

    const fn word(self, index: u64) -> u64 {
        // The sum cannot carry from byte to byte: 0x3f + 0x3f = 0x7e.
        let word = (mix(self.key.wrapping_add(index.wrapping_mul(GOLDEN))) & LOW_SIX_BITS) + LOW_SIX_BITS;
        if index % WORD_BYTES == WORD_BYTES - 1 { (word & (u64::MAX >> 8)) | ((b'\n' as u64) << 56) } else { word }
    }
}

/// The byte at `offset` of the content of `path` under `seed`. For many bytes use [`fill`] or [`Content`].
pub fn byte_at(seed: u64, path: &str, offset: u64) -> u8 {
    Content::new(seed, path).byte_at(offset)
}

/// Fills `out` with the bytes from `offset` on of the content of `path` under `seed`.
pub fn fill(seed: u64, path: &str, offset: u64, out: &mut [u8]) {
    Content::new(seed, path).fill(offset, out);
}

/// The finalizer of SplitMix64: every bit of the input moves every bit of the output.
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_function_does_not_change_between_versions() {
        let mut text = [0; 64];
        fill(7, "/hello", 0, &mut text);
        // Computed with a second implementation, in Python, from the text at the head of this file.
        let expected = "yTh`yXTenjTpNKIpSB`oCbta\\@puNnymOKc@IN_}]chGvvC^AG^QQyUvA_fN\\I\\\n";
        assert_eq!(str::from_utf8(&text).unwrap(), expected);
    }

    #[test]
    fn lines_are_63_printable_characters_that_mean_nothing_in_html() {
        let mut text = vec![0; 64 * 1000];
        fill(1, "/x", 0, &mut text);
        for line in text.chunks(64) {
            assert_eq!(line[63], b'\n');
            assert!(line[..63].iter().all(|byte| (b'?'..=b'~').contains(byte)), "{line:?}");
        }
    }

    #[test]
    fn seed_and_path_both_matter() {
        let first_line = |seed, path| {
            let mut line = [0; 63];
            fill(seed, path, 0, &mut line);
            line
        };
        assert_ne!(first_line(1, "/a"), first_line(2, "/a"));
        assert_ne!(first_line(1, "/a"), first_line(1, "/b"));
        assert_ne!(first_line(1, ""), first_line(1, "/"));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_content_equals_byte_at(
            seed: u64,
            path in "/[a-z/.]{0,20}",
            offset in prop_oneof![0..200_u64, any::<u64>(), Just(u64::MAX - 3)],
            length in 0..100_usize,
        ) {
            let mut filled = vec![0; length];
            fill(seed, &path, offset, &mut filled);
            let slow: Vec<u8> =
                (0..length as u64).map(|at| byte_at(seed, &path, offset.wrapping_add(at))).collect();
            prop_assert_eq!(filled, slow);
        }
    }
}
