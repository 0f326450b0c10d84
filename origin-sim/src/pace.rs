//! A body that is sent no faster than so many bits per second.
//!
//! Counts from the first byte, so that a client that is slow itself is not slowed down twice. Knows numbers and time;
//! whoever sends waits.

use std::time::Duration;

use tokio::time::Instant;

/// A throttled body goes out in steps that take about this long each.
const STEP: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    bits_per_s: u64,
    started: Instant,
    sent_bytes: u64,
}

impl Pace {
    pub(crate) const fn starting(bits_per_s: u64, now: Instant) -> Self {
        Self { bits_per_s, started: now, sent_bytes: 0 }
    }

    /// How many bytes make a step, at least one.
    pub(crate) fn step_bytes(&self) -> usize {
        let bytes = u128::from(self.bits_per_s) * STEP.as_millis() / 8000;
        usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
    }

    /// Accounts for a step of `bytes`; says when its last bit has passed.
    pub(crate) fn handle_step(&mut self, bytes: usize) -> Instant {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes as u64);
        let passed_s = self.sent_bytes as f64 * 8.0 / self.bits_per_s.max(1) as f64;
        let passed = Duration::try_from_secs_f64(passed_s).ok();
        passed.and_then(|passed| self.started.checked_add(passed)).unwrap_or(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_to_the_rate() {
        let now = Instant::now();
        let mut pace = Pace::starting(80_000, now);
        assert_eq!(pace.step_bytes(), 200);
        assert_eq!(pace.handle_step(5000), now + Duration::from_millis(500));
        assert_eq!(pace.handle_step(5000), now + Duration::from_secs(1));
        assert_eq!(Pace::starting(8, now).step_bytes(), 1);
    }
}
