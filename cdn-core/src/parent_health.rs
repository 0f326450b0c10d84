//! Whether a cache between is worth asking: one that was silent is left alone for a while.
//!
//! Decides from the last silence alone. Without it every miss would wait a connection timeout for a parent that a
//! partition hides; with it one request in a while does, and finds out when the parent is back.

use std::time::Duration;

use crate::Instant;

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

    /// It was silent until patience ended: it is left alone for `span`.
    pub fn on_silence(&mut self, now: Instant, span: Duration) {
        self.left_alone_until = Some(now + span);
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
        health.on_silence(at(5), Duration::from_secs(10));
        assert!(!health.is_worth_asking(at(14)) && health.is_worth_asking(at(15)));
        health.on_answer();
        assert!(health.is_worth_asking(at(6)));
    }
}
