//! When a user of a load makes a request again.
//!
//! Decides whether, and after how long; refuses to know what failed. Pauses double from one attempt to the next, and a
//! budget bounds retries by a share of first requests, so that a load does not multiply when everything fails (as in
//! "Addressing Cascading Failures", Site Reliability Engineering, 2016).

use std::time::Duration;

use crate::scenario::Retry;

/// The retries of one load.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    retry: Retry,
    first: u64,
    again: u64,
}

impl RetryBudget {
    /// Nothing was asked for yet.
    pub const fn new(retry: Retry) -> Self {
        Self { retry, first: 0, again: 0 }
    }

    /// How a user of the load behaves.
    pub const fn retry(&self) -> Retry {
        self.retry
    }

    /// How long a request may take in all, its attempts and the pauses between them.
    pub fn longest(&self) -> Duration {
        let Retry { attempts, backoff, timeout, .. } = self.retry;
        let doublings = 1_u32.checked_shl(u32::from(attempts).saturating_sub(1)).map_or(u32::MAX, |all| all - 1);
        timeout.saturating_mul(u32::from(attempts)).saturating_add(backoff.saturating_mul(doublings))
    }

    /// A request is made for the first time.
    pub const fn handle_first(&mut self) {
        self.first += 1;
    }

    /// How long to wait before a request that failed, made `attempts` times so far, is made again; `None` where it is not.
    pub fn poll_retry(&mut self, attempts: u8) -> Option<Duration> {
        let allowed = self.retry.budget.is_none_or(|share| (self.again + 1) as f64 <= share * self.first as f64);
        if attempts >= self.retry.attempts || !allowed {
            return None;
        }
        self.again += 1;
        let doubled = 1_u32.checked_shl(u32::from(attempts).saturating_sub(1)).unwrap_or(u32::MAX);
        Some(self.retry.backoff.saturating_mul(doubled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_attempts_are_used_up() {
        let mut budget = RetryBudget::new(Retry { attempts: 4, ..Retry::default() });
        budget.handle_first();
        let pauses: Vec<_> =
            (1..=4).map(|attempts| budget.poll_retry(attempts).map(|pause| pause.as_millis())).collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), None]);
        assert_eq!(budget.longest(), budget.retry().timeout * 4 + Duration::from_millis(700));
        assert_eq!(RetryBudget::new(Retry::default()).poll_retry(1), None);
    }

    #[test]
    fn a_budget_bounds_retries_by_a_share_of_first_requests() {
        let mut budget = RetryBudget::new(Retry { attempts: 3, budget: Some(0.1), ..Retry::default() });
        let mut retries = 0;
        for _ in 0..1000 {
            budget.handle_first();
            retries += u32::from(budget.poll_retry(1).is_some()) + u32::from(budget.poll_retry(2).is_some());
        }
        assert_eq!(retries, 100);
    }
}
