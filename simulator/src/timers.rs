//! Deadlines that are hardly ever reached: thousands are set for each that fires.
//!
//! Those of one span fall due in the order in which they were set, so each span has a queue of its own, and only its first
//! deadline is an event. What was settled meanwhile is passed over when its turn comes.

use std::{collections::VecDeque, time::Duration};

use cdn_core::Instant;

/// The deadlines of each span.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    spans: Vec<(Duration, VecDeque<(Instant, T)>)>,
}

impl<T: Copy> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { spans: Vec::new() }
    }

    /// Sets a deadline `span` from now. Where it is the only one of its span its number is returned: call
    /// [`fire`](Self::fire) with it then.
    pub(crate) fn set(&mut self, now: Instant, span: Duration, what: T) -> Option<(Instant, u32)> {
        let at = match self.spans.iter().position(|(known, _)| *known == span) {
            Some(at) => at,
            None => {
                self.spans.push((span, VecDeque::new()));
                self.spans.len() - 1
            }
        };
        let (_, queue) = self.spans.get_mut(at)?;
        queue.push_back((now + span, what));
        (queue.len() == 1).then(|| (now + span, at as u32))
    }

    /// The deadline of span `number` that is due, if one is.
    pub(crate) fn fire(&mut self, now: Instant, number: u32) -> Option<T> {
        let (_, queue) = self.spans.get_mut(number as usize)?;
        queue.pop_front_if(|(at, _)| *at <= now).map(|(_, what)| what)
    }

    /// When to call [`fire`](Self::fire) again: once those are passed over that `is_settled`.
    pub(crate) fn next_at(&mut self, number: u32, is_settled: impl Fn(&T) -> bool) -> Option<Instant> {
        let (_, queue) = self.spans.get_mut(number as usize)?;
        while queue.pop_front_if(|(_, what)| is_settled(what)).is_some() {}
        queue.front().map(|(at, _)| *at)
    }
}
