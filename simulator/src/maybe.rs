//! A number or nothing, in the space of the number, for what there is a great deal of.

use cdn_core::Instant;

/// A number below the highest one, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maybe(u64);

impl Maybe {
    pub(crate) const NOTHING: Self = Self(u64::MAX);

    pub(crate) const fn number(self) -> Option<u64> {
        if self.0 == u64::MAX { None } else { Some(self.0) }
    }

    pub(crate) fn instant(self) -> Option<Instant> {
        self.number().map(Instant::from_nanos)
    }

    /// What was there; nothing stays.
    pub(crate) const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::NOTHING)
    }
}

impl From<Option<u64>> for Maybe {
    fn from(number: Option<u64>) -> Self {
        Self(number.unwrap_or(u64::MAX))
    }
}

impl From<Option<Instant>> for Maybe {
    fn from(at: Option<Instant>) -> Self {
        at.map(Instant::as_nanos).into()
    }
}
