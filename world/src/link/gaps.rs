//! When a link was idle of late, for those who come late and find that it was.

use cdn_core::{Instant, prefetch::prefetch_at};

use super::later;

/// Gaps that are remembered: as many others may send between when a late packet was due and when it is sent.
const GAPS_MAX: usize = 32;

/// The last [`GAPS_MAX`] gaps, each from when to when, in order. The memory is there from the first gap on, and what is
/// beside it is small: links are many, and each keeps this next to what it is asked with every packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    ring: Option<Box<[(Instant, Instant); GAPS_MAX]>>,
    /// The place in the ring of the oldest.
    oldest: u8,
    len: u8,
}

impl Gaps {
    /// Nothing was sent from `from` to `to`, which is later than all gaps before.
    pub(super) fn push(&mut self, from: Instant, to: Instant) {
        let ring = self.ring.get_or_insert_with(|| Box::new([(Instant::ZERO, Instant::ZERO); GAPS_MAX]));
        ring[(usize::from(self.oldest) + usize::from(self.len)) % GAPS_MAX] = (from, to);
        if usize::from(self.len) < GAPS_MAX {
            self.len += 1;
        } else {
            self.oldest = (self.oldest + 1) % GAPS_MAX as u8;
        }
    }

    /// Forgets all.
    pub(super) const fn clear(&mut self) {
        (self.oldest, self.len) = (0, 0);
    }

    /// When something that needs the link for `span` nanoseconds from `now` on finds it idle for so long, in the first gap
    /// that is wide enough; so much of the gap is taken.
    pub(super) fn fill(&mut self, now: Instant, span: u64) -> Option<Instant> {
        let (oldest, len) = (usize::from(self.oldest), usize::from(self.len));
        let ring = self.ring.as_mut()?;
        // A gap that was over too early is of no use, and most are: from the newest on, few have to be looked at.
        let over = later(now, span);
        let useful = (0..len).rev().take_while(|at| ring[(oldest + at) % GAPS_MAX].1 >= over).count();
        for at in len - useful..len {
            let (from, to) = &mut ring[(oldest + at) % GAPS_MAX];
            let begins_at = now.max(*from);
            let ends_at = later(begins_at, span);
            if ends_at <= *to {
                *from = ends_at;
                return Some(begins_at);
            }
        }
        None
    }

    /// Asks memory for the newest, and for where the next will be.
    #[inline]
    pub(super) fn prefetch(&self) {
        let next = usize::from(self.oldest) + usize::from(self.len);
        if let Some(ring) = &self.ring {
            prefetch_at(&**ring, next % GAPS_MAX);
            prefetch_at(&**ring, (next + GAPS_MAX - 1) % GAPS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The obvious twin is a queue of which every gap is looked at.
        #[test]
        fn the_first_gap_that_is_wide_enough_is_filled_and_the_oldest_is_forgotten(
            steps in prop::collection::vec((1_u64..50, 1_u64..50, 0_u64..400, 1_u64..40), 1..120),
        ) {
            let (mut gaps, mut twin) = (Gaps::default(), VecDeque::new());
            let mut free_at = 0;
            for (busy, idle, back, span) in steps {
                let (from, to) = (free_at + busy, free_at + busy + idle);
                free_at = to;
                gaps.push(Instant::from_nanos(from), Instant::from_nanos(to));
                twin.push_back((from, to));
                if twin.len() > GAPS_MAX {
                    twin.pop_front();
                }
                let now = free_at.saturating_sub(back);
                let found = twin.iter_mut().find(|(from, to)| now.max(*from) + span <= *to).map(|(from, _)| {
                    let begins_at = now.max(*from);
                    *from = begins_at + span;
                    begins_at
                });
                prop_assert_eq!(gaps.fill(Instant::from_nanos(now), span).map(Instant::as_nanos), found);
            }
            gaps.clear();
            prop_assert_eq!(gaps.fill(Instant::ZERO, 0), None);
        }
    }
}
