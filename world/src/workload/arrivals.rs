//! When requests arrive: a Poisson process whose rate follows a broken line.
//!
//! Exact, by change of time: the expected number of arrivals grows by an exponential step of mean one from each arrival to
//! the next, and the moment at which it has grown so far is the root of a quadratic within a piece of the line. Nothing is
//! drawn and thrown away, however far a peak stands out.

use std::time::Duration;

/// A rate over time: points, and straight lines between them.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    /// Of each piece: where it begins in seconds, and the rate there per second.
    points: Vec<(f64, f64)>,
}

/// A moment in seconds, and the piece that it lies in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) at_s: f64,
    piece: usize,
}

impl Rate {
    /// `base` arrivals per second, times a multiplier given by points in order of time: the first holds before it, the last
    /// after it, lines lead from each to the next, and two at one moment are a jump. Without points, 1 everywhere.
    pub(crate) fn new(base: f64, multiplier: &[(Duration, f64)]) -> Self {
        let mut points: Vec<(f64, f64)> =
            multiplier.iter().map(|&(at, factor)| (at.as_secs_f64(), base * factor)).collect();
        match points.first() {
            None => points.push((0.0, base)),
            Some(&(at_s, rate)) if at_s > 0.0 => points.insert(0, (0.0, rate)),
            Some(_) => {}
        }
        Self { points }
    }

    /// The moment `at_s`, to go on from.
    pub(crate) fn cursor(&self, at_s: f64) -> Cursor {
        Cursor { at_s, piece: self.points.partition_point(|&(begin, _)| begin <= at_s).saturating_sub(1) }
    }

    /// Goes on until `expected` more arrivals are expected; `None` where that never comes.
    pub(crate) fn advance(&self, cursor: Cursor, expected: f64) -> Option<Cursor> {
        let (mut left, Cursor { mut at_s, mut piece }) = (expected, cursor);
        loop {
            let &(begin, rate) = self.points.get(piece)?;
            let next = self.points.get(piece + 1);
            let slope = next.map_or(
                0.0,
                |&(end, rate_then)| {
                    if end > begin { (rate_then - rate) / (end - begin) } else { 0.0 }
                },
            );
            let now = rate + slope * (at_s - begin);
            if let Some(&(end, rate_then)) = next {
                // The trapezium from here to the end of the piece.
                let rest = (end - at_s).max(0.0) * (now + rate_then) / 2.0;
                if left >= rest {
                    left -= rest;
                    at_s = at_s.max(end);
                    piece += 1;
                    continue;
                }
            } else if now <= 0.0 {
                return None;
            }
            if next.is_none() {
                // The rate stays as it is: the root below comes to the same.
                let step = left / now;
                return step.is_finite().then_some(Cursor { at_s: at_s + step, piece });
            }
            // left = now·x + slope·x²/2, solved so that nothing cancels where the slope is small.
            let root = (now * now + 2.0 * slope * left).max(0.0).sqrt();
            let step = 2.0 * left / (now + root);
            return step.is_finite().then_some(Cursor { at_s: at_s + step, piece });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(points: &[(f64, f64)]) -> Vec<(Duration, f64)> {
        points.iter().map(|&(at, factor)| (Duration::from_secs_f64(at), factor)).collect()
    }

    /// Expected arrivals until `at_s`, summed up in small steps.
    fn expected_by_steps(rate: &[(f64, f64)], at_s: f64) -> f64 {
        const STEPS: u32 = 100_000;
        let height = |t: f64| {
            let after = rate.iter().position(|&(at, _)| at > t);
            match after {
                None => rate[rate.len() - 1].1,
                Some(0) => rate[0].1,
                Some(next) => {
                    let ((a, from), (b, to)) = (rate[next - 1], rate[next]);
                    from + (to - from) * (t - a) / (b - a)
                }
            }
        };
        let step = at_s / f64::from(STEPS);
        (0..STEPS).map(|i| height((f64::from(i) + 0.5) * step) * step).sum()
    }

    #[test]
    fn a_constant_rate_spaces_arrivals_evenly() {
        let rate = Rate::new(50.0, &[]);
        let mut cursor = rate.cursor(0.0);
        for count in 1..=100 {
            cursor = rate.advance(cursor, 1.0).unwrap();
            assert!((cursor.at_s - f64::from(count) / 50.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_rate_that_ends_at_nothing_ends() {
        let rate = Rate::new(10.0, &secs(&[(0.0, 1.0), (2.0, 0.0)]));
        let nine = rate.advance(rate.cursor(0.0), 9.0).unwrap();
        assert!((nine.at_s - (2.0 - 0.4_f64.sqrt())).abs() < 1e-9, "{nine:?}");
        assert!(rate.advance(nine, 1.5).is_none());
        assert!(Rate::new(0.0, &[]).advance(rate.cursor(0.0), 1.0).is_none());
    }

    proptest! {
        #[test]
        fn as_many_are_expected_as_the_area_under_the_line(
            gaps in prop::collection::vec((0.1..5.0_f64, 0.0..20.0_f64), 1..6),
            expected in 0.1..100.0_f64,
        ) {
            let mut at = 0.0;
            let mut points: Vec<(f64, f64)> = gaps.iter().map(|&(gap, factor)| { at += gap; (at, factor) }).collect();
            points.push((at + 1.0, 3.0));
            let rate = Rate::new(1.0, &secs(&points));
            // In two steps, so that one begins inside a piece.
            let half = rate.advance(rate.cursor(0.0), expected / 2.0).unwrap();
            let whole = rate.advance(half, expected / 2.0).unwrap();
            let area = expected_by_steps(&points, whole.at_s);
            prop_assert!((area - expected).abs() < 1e-3 * expected.max(1.0), "{area} until {whole:?}");
        }
    }
}
