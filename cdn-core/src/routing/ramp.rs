//! Slow recovery: a PoP that was down takes its clients back little by little, and so does an edge beside others.
//!
//! An edge that has just come back has an empty store and cold connections; all its clients at once would go through it
//! to the origin, and might take it down again. So for a while it takes a growing share of its client blocks: who is in
//! it is a draw per block, so that nobody who has come back leaves again as the share grows.

use std::time::Duration;

use super::{draw, pop_key, unit};
use crate::{Instant, PopCode};

/// Steps in which the share grows; each is a snapshot.
const STEPS: u32 = 20;

/// The share of its clients that a PoP takes at `now` which came back at `recovered_at`: 1 once `ramp` is over.
pub(super) fn share(now: Instant, recovered_at: Instant, ramp: Duration) -> f64 {
    let since = now - recovered_at;
    if since >= ramp {
        return 1.0;
    }
    let step = since.as_secs_f64() / ramp.as_secs_f64() * f64::from(STEPS);
    (step.floor() + 1.0) / f64::from(STEPS)
}

/// How long a step takes.
pub(super) fn step(ramp: Duration) -> Duration {
    ramp / STEPS
}

/// Whether a PoP that takes `share` of its clients takes those that `key` stands for.
pub(super) fn accepts(share: f64, seed: u64, key: u64, code: PopCode) -> bool {
    share >= 1.0 || unit(draw(seed, "ramp", [key, pop_key(code)])) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_little_to_all_and_who_is_in_it_stays() {
        let (ramp, code) = (Duration::from_secs(10), "FRA".parse().unwrap());
        let at = |ms: u64| share(Instant::ZERO + Duration::from_millis(ms), Instant::ZERO, ramp);
        assert_eq!([at(0), at(499), at(500), at(4999), at(9999), at(10_000)], [0.05, 0.05, 0.1, 0.5, 1.0, 1.0]);
        assert_eq!(share(Instant::ZERO, Instant::ZERO, Duration::ZERO), 1.0);
        let mut before = vec![];
        for ms in (0..=10_000).step_by(500) {
            let now: Vec<u64> = (0..2000).filter(|&block| accepts(at(ms), 7, block, code)).collect();
            assert!((now.len() as f64 / 2000.0 - at(ms)).abs() < 0.04, "{} at {ms} ms", now.len());
            assert!(before.iter().all(|block| now.contains(block)), "somebody left");
            before = now;
        }
    }
}
