//! How long a response may still be used after lying on a disk: time went by there, also while no process ran.

use std::time::Duration;

use crate::{WallTime, freshness::Lifetime};

/// What is left of a lifetime that began at `stored_at`, counted from `now` on (RFC 9111 section 4.2.3: the time that a
/// response was resident counts, wherever it lay).
///
/// Wall clocks are set now and then. Where this one says that the response was stored in the future, nobody knows its
/// age: it may be used once the origin has confirmed it, and not before.
pub fn aged(lifetime: Lifetime, stored_at: WallTime, now: WallTime) -> Lifetime {
    let resident = now.saturating_since(stored_at);
    if stored_at > now {
        return Lifetime {
            initial_age: lifetime.initial_age,
            retry_after: lifetime.retry_after,
            ..Lifetime::default()
        };
    }
    // Once it is stale, the spans that begin where freshness ends have begun to pass as well.
    let stale_for = resident.saturating_sub(lifetime.fresh_for);
    let left = |span: Duration| span.saturating_sub(stale_for);
    Lifetime {
        initial_age: lifetime.initial_age.saturating_add(resident),
        fresh_for: lifetime.fresh_for.saturating_sub(resident),
        while_revalidate: left(lifetime.while_revalidate),
        if_error: left(lifetime.if_error),
        if_gone: left(lifetime.if_gone),
        retry_after: lifetime.retry_after,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORED_AT: WallTime = WallTime::from_unix_secs(1_800_000_000);
    const LIFETIME: Lifetime = Lifetime {
        initial_age: Duration::from_secs(7),
        fresh_for: Duration::from_secs(60),
        while_revalidate: Duration::from_secs(30),
        if_error: Duration::from_secs(300),
        if_gone: Duration::from_secs(200),
        retry_after: Duration::from_secs(10),
    };

    #[test]
    fn spans_pass_one_after_the_other() {
        let left = |secs: u64| {
            let left = aged(LIFETIME, STORED_AT, STORED_AT + Duration::from_secs(secs));
            [left.initial_age, left.fresh_for, left.while_revalidate, left.if_error, left.if_gone]
                .map(|span| span.as_secs())
        };
        assert_eq!(left(0), [7, 60, 30, 300, 200]);
        assert_eq!(left(59), [66, 1, 30, 300, 200]);
        assert_eq!(left(80), [87, 0, 10, 280, 180]);
        assert_eq!(left(1_000), [1_007, 0, 0, 0, 0]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_fresh() {
        let left = aged(LIFETIME, STORED_AT, WallTime::from_unix_secs(1_799_999_999));
        let spans = [left.fresh_for, left.while_revalidate, left.if_error, left.if_gone];
        assert_eq!(spans, [Duration::ZERO; 4]);
    }

    proptest! {
        /// Two rests are as good as one, and none makes a response younger or fresh for longer.
        #[test]
        fn age_and_freshness_never_go_backwards(first in 0_u64..500, second in 0_u64..500) {
            let span = Duration::from_secs;
            let once = aged(LIFETIME, STORED_AT, STORED_AT + span(first + second));
            let half = aged(LIFETIME, STORED_AT, STORED_AT + span(first));
            let twice = aged(half, STORED_AT + span(first), STORED_AT + span(first + second));
            prop_assert_eq!(once, twice);
            prop_assert!(once.initial_age >= half.initial_age && once.fresh_for <= half.fresh_for);
        }
    }
}
