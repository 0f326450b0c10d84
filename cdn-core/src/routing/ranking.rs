//! The order of candidates for one client block, and the margin that a change of it needs.
//!
//! The order is kept apart from health: who is down is skipped when an answer is made, and comes back to its rank when
//! it is up again, without having to beat the stand-in by the margin.

use std::{cmp::Ordering, time::Duration};

use super::PopIndex;

/// The margin that a switch needs, so that noise does not move clients to and fro.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hysteresis {
    /// As a share of the estimate of the PoP in place. Default 0.1.
    pub share: f64,
    /// At least this. Default 4 ms.
    pub floor: Duration,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Self { share: 0.1, floor: Duration::from_millis(4) }
    }
}

impl Hysteresis {
    /// Whether `score` (milliseconds) is enough better than `incumbent`.
    fn allows(&self, incumbent: f64, score: f64) -> bool {
        incumbent - score > (incumbent * self.share).max(self.floor.as_secs_f64() * 1000.0)
    }
}

/// Candidates, best first.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    pub(super) order: Box<[PopIndex]>,
    /// The first is not the lowest, but the margin keeps it.
    pub(super) held: bool,
}

/// All candidates by `scores`, lowest first; of equals the one listed first.
pub(super) fn order(scores: &[f64]) -> Box<[PopIndex]> {
    let mut order: Vec<PopIndex> = PopIndex::all(scores.len()).collect();
    order.sort_by(|a, b| compare(scores, *a, *b));
    order.into()
}

/// The first `wanted` candidates by `scores`, where each place of `previous` changes hands only for a gain beyond the margin.
/// Who is not in `previous` comes after.
pub(super) fn order_after(
    scores: &[f64],
    previous: &[PopIndex],
    hysteresis: Hysteresis,
    wanted: usize,
) -> (Box<[PopIndex]>, bool) {
    // Sorting begins with the order of then, which is nearly that of now.
    let mut by_score: Vec<PopIndex> = Vec::with_capacity(scores.len());
    let mut known = vec![false; scores.len()];
    for pop in previous.iter().copied().chain(PopIndex::all(scores.len())) {
        if let Some(known) = known.get_mut(pop.index())
            && !std::mem::replace(known, true)
        {
            by_score.push(pop);
        }
    }
    // Whoever is placed is among the lowest that are not placed yet, or stood there before.
    if wanted < by_score.len() {
        by_score.select_nth_unstable_by(wanted, |a, b| compare(scores, *a, *b));
        by_score.truncate(wanted + 1);
    }
    by_score.sort_by(|a, b| compare(scores, *a, *b));
    // Who was there before stands in the order of then; the others come after, the best of them first.
    let before = previous.iter().filter(|pop| pop.index() < scores.len());
    let mut incumbents = before.chain(&by_score).copied().peekable();
    let mut best = by_score.iter().copied().peekable();
    let mut taken = vec![false; scores.len()];
    let mut held = false;
    let mut ordered = Vec::with_capacity(wanted);
    while ordered.len() < wanted {
        while incumbents.next_if(|pop| taken[pop.index()]).is_some() {}
        while best.next_if(|pop| taken[pop.index()]).is_some() {}
        let (Some(&incumbent), Some(&best)) = (incumbents.peek(), best.peek()) else { break };
        let next = if hysteresis.allows(scores[incumbent.index()], scores[best.index()]) { best } else { incumbent };
        held |= ordered.is_empty() && next != best;
        taken[next.index()] = true;
        ordered.push(next);
    }
    (ordered.into(), held)
}

fn compare(scores: &[f64], a: PopIndex, b: PopIndex) -> Ordering {
    scores[a.index()].total_cmp(&scores[b.index()]).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn indices(order: &[PopIndex]) -> Vec<usize> {
        order.iter().map(|pop| pop.index()).collect()
    }

    /// Everybody in order, each place by looking at all who are left.
    fn obvious(scores: &[f64], previous: &[PopIndex], hysteresis: Hysteresis) -> (Vec<PopIndex>, bool) {
        let mut left: Vec<PopIndex> = order(scores).into();
        let stood: Vec<PopIndex> = previous.iter().copied().filter(|pop| left.contains(pop)).collect();
        let (mut ordered, mut held) = (vec![], false);
        while let Some(&best) = left.first() {
            let incumbent = stood.iter().copied().find(|pop| left.contains(pop)).unwrap_or(best);
            let next =
                if hysteresis.allows(scores[incumbent.index()], scores[best.index()]) { best } else { incumbent };
            held |= ordered.is_empty() && next != best;
            left.retain(|pop| *pop != next);
            ordered.push(next);
        }
        (ordered, held)
    }

    #[test]
    fn a_small_gain_does_not_change_the_order_and_a_large_one_does() {
        let previous = order(&[20.0, 21.0, 90.0]);
        let (same, held) = order_after(&[22.0, 19.0, 90.0], &previous, Hysteresis::default(), 3);
        assert_eq!((indices(&same), held), (vec![0, 1, 2], true));
        let (changed, held) = order_after(&[26.0, 19.0, 18.0], &previous, Hysteresis::default(), 3);
        assert_eq!((indices(&changed)[0], held), (2, false));
    }

    proptest! {
        #[test]
        fn an_order_holds_everyone_once_and_no_one_is_passed_over_by_more_than_the_margin(
            scores in prop::collection::vec(0.0..400.0f64, 1..20),
            before in prop::collection::vec(0.0..400.0f64, 1..20),
        ) {
            let hysteresis = Hysteresis::default();
            let (order, _) = order_after(&scores, &order(&before), hysteresis, scores.len());
            let mut all = indices(&order);
            for pair in all.windows(2) {
                prop_assert!(!hysteresis.allows(scores[pair[0]], scores[pair[1]]));
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..scores.len()).collect::<Vec<_>>());
        }

        /// Whatever is left out of the work, the order is the one that the obvious way comes to.
        #[test]
        fn the_first_of_an_order_are_those_of_the_whole(
            scores in prop::collection::vec((0..40u8).prop_map(|score| f64::from(score) * 3.0), 1..40),
            before in prop::collection::vec(0.0..120.0f64, 0..45),
            kept in 0..45usize,
            wanted in 0..45usize,
        ) {
            let hysteresis = Hysteresis::default();
            let previous = order(&before);
            let previous = &previous[..kept.min(previous.len())];
            let (whole, whole_held) = obvious(&scores, previous, hysteresis);
            let wanted = wanted.min(scores.len());
            let (first, held) = order_after(&scores, previous, hysteresis, wanted);
            prop_assert_eq!(indices(&first), indices(&whole[..wanted]));
            prop_assert_eq!(held, whole_held && wanted > 0);
        }
    }
}
