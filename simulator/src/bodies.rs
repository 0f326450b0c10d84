//! What is in place of a body's bytes: enough of them to tell whether they are the right ones.
//!
//! Nobody's bytes are carried here, so that a wrong body would go unnoticed. Each carries a print instead, made of the path
//! that its origin was asked for and of the length that it sent, as origins make their bytes of both. Whoever is answered
//! makes the print of what was asked for and of the length that came, and compares; live viewers compare the bytes.

use std::hash::Hasher as _;

use crate::hash::{Mixer, mix};

/// What tells one body from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print(u32);

impl Print {
    /// That of what no origin sent.
    pub(crate) const NOTHING: Self = Self(0);

    /// That of whatever is at a path, before it is known how long it is.
    pub(crate) fn of_path(path: &str) -> Self {
        let mut mixer = Mixer::default();
        mixer.write(path.as_bytes());
        Self(mixer.finish() as u32)
    }

    /// That of a body of so many bytes.
    pub(crate) const fn of_length(self, bytes: u64) -> Self {
        Self(mix((self.0 as u64) << 32 ^ bytes) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_tell_paths_and_lengths_apart() {
        let print = |path, bytes| Print::of_path(path).of_length(bytes);
        assert_eq!(print("/objects/1", 1024), print("/objects/1", 1024));
        assert_ne!(print("/objects/1", 1024), print("/objects/2", 1024));
        assert_ne!(print("/objects/1", 1024), print("/objects/1", 1023));
        assert_ne!(print("/objects/1?size=2", 2), print("/objects/1", 2));
    }
}
