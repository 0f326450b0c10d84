//! Whether a cache between is worth asking: one that was silent is left alone for a while.
//!
//! Decides from the last silence alone. Without it every miss would wait a connection timeout for a parent that a
//! partition hides; with it one request in a while does, and finds out when the parent is back.

use std::time::Duration;

use crate::Instant;

/// A question to a parent that was of no use: it was silent, or refused, or was draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Useless {
    /// When it was asked.
    pub began: Instant,
    /// When that was known.
    pub ended: Instant,
    /// How long one waits for a sign of life: the connection timeout of the origin behind.
    pub patience: Duration,
    /// For how long it is left alone where it gave none.
    pub retry: Duration,
}

/// What is known of one parent.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParentHealth {
    left_alone_until: Option<Instant>,
}

impl ParentHealth {
    /// Whether to ask it now.
    pub fn is_worth_asking(&self, now: Instant) -> bool {
        self.left_alone_until.is_none_or(|until| until <= now)
    }

    /// It answered, whatever it said.
    pub const fn on_answer(&mut self) {
        self.left_alone_until = None;
    }

    /// It was of no use: it is left alone for a while where it was silent until patience ended. What refuses or says that it
    /// is draining costs nothing to ask again. Whether it is left alone.
    pub fn on_useless(&mut self, useless: Useless) -> bool {
        let Useless { began, ended, patience, retry } = useless;
        let was_silent = ended.saturating_since(began) >= patience;
        if was_silent {
            self.left_alone_until = Some(ended + retry);
        }
        was_silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_parent_is_asked_again_after_a_while_and_at_once_after_an_answer() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let mut health = ParentHealth::default();
        assert!(health.is_worth_asking(at(0)));
        let useless = |patience: u64| Useless {
            began: at(3),
            ended: at(5),
            patience: Duration::from_secs(patience),
            retry: Duration::from_secs(10),
        };
        assert!(!health.on_useless(useless(3)) && health.is_worth_asking(at(5)), "it refused");
        assert!(health.on_useless(useless(2)));
        assert!(!health.is_worth_asking(at(14)) && health.is_worth_asking(at(15)));
        health.on_answer();
        assert!(health.is_worth_asking(at(6)));
    }
}
