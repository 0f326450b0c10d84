//! The laws of every run, whatever is broken in it: what a swarm of random scenarios is held against.
//!
//! Takes in what was observed, as a judge does, and says which laws were broken. Pure; refuses to know what was expected of
//! the scenario itself.

use std::{collections::BTreeMap, fmt, time::Duration};

use cdn_core::Instant;

use crate::{
    observation::{Covered, Event, EventKind, Integrity, Observation},
    scenario::Scenario,
};

/// How long after the last fault has healed everybody must be served again: detection, ramp, and what clients and stores
/// still remember of it.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

/// A law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// No wrong bytes, ever.
    RightBytes,
    /// No response that predates an invalidation which was complete when it was asked for.
    InvalidationHolds,
    /// Time goes on: nothing ends before it began.
    TimeGoesOn,
    /// Once everything has healed, and some time has passed, everybody is served.
    Recovers,
}

impl Law {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RightBytes => "no wrong bytes",
            Self::InvalidationHolds => "nothing that predates a completed invalidation",
            Self::TimeGoesOn => "nothing ends before it began",
            Self::Recovers => "everybody is served once all faults have healed",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub law: Law,
    /// When first.
    pub at: Instant,
    /// How often.
    pub times: u64,
}

/// Holds the laws against one run.
#[derive(Debug)]
pub struct Laws {
    breaches: BTreeMap<Law, Breach>,
    /// Of each invalidation under way or done: when it was accepted, what it covers, and when it was done.
    invalidations: BTreeMap<u64, (Instant, Covered, Option<Instant>)>,
    /// From then on everybody must be served.
    recovered_from: Instant,
}

impl Laws {
    /// The laws of a run of `scenario`; `healed_at` is when the last of its faults is over, as far from time zero.
    pub fn new(scenario: &Scenario, healed_at: Duration) -> Self {
        Self {
            breaches: BTreeMap::new(),
            invalidations: BTreeMap::new(),
            recovered_from: scenario.zero() + healed_at + RECOVERS_WITHIN,
        }
    }

    /// Takes in a request that is over.
    pub fn observe(&mut self, seen: &Observation) {
        if seen.integrity == Integrity::Wrong {
            self.breach(Law::RightBytes, seen.finished);
        }
        if seen.finished < seen.started || seen.started < seen.intended {
            self.breach(Law::TimeGoesOn, seen.finished);
        }
        if seen.intended >= self.recovered_from && !seen.is_served() {
            self.breach(Law::Recovers, seen.intended);
        }
        let predates = |(accepted, covered, done): &(Instant, Covered, Option<Instant>)| {
            done.is_some_and(|done| seen.started >= done)
                && covered.contains(seen.object)
                && seen.made.is_some_and(|made| made < *accepted)
        };
        if self.invalidations.values().any(predates) {
            self.breach(Law::InvalidationHolds, seen.started);
        }
    }

    /// Takes in something that happened.
    pub fn note(&mut self, event: &Event) {
        match &event.kind {
            EventKind::InvalidationAccepted { id, objects } => {
                self.invalidations.insert(*id, (event.at, objects.clone(), None));
            }
            EventKind::InvalidationDone { id } => {
                if let Some((_, _, done)) = self.invalidations.get_mut(id) {
                    *done = Some(event.at);
                }
            }
            _ => {}
        }
    }

    /// What was broken.
    pub fn finish(self) -> Vec<Breach> {
        self.breaches.into_values().collect()
    }

    fn breach(&mut self, law: Law, at: Instant) {
        let breach = self.breaches.entry(law).or_insert(Breach { law, at, times: 0 });
        breach.times += 1;
        breach.at = breach.at.min(at);
    }
}

#[cfg(test)]
mod tests {
    use cdn_core::Reason;

    use super::*;
    use crate::observation::{CacheOutcome, Outcome};

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn seen(started: u64, made: u64) -> Observation {
        Observation {
            intended: at(started),
            started: at(started),
            finished: at(started + 1),
            place: 0,
            asked: None,
            pop: None,
            outcome: Outcome::Status(200),
            cache: CacheOutcome::Hit,
            reason: Reason::Hit,
            bytes: 1,
            integrity: Integrity::Right,
            attempts: 1,
            fell_back: false,
            object: 7,
            made: Some(at(made)),
        }
    }

    fn laws() -> Laws {
        let scenario = Scenario {
            title: String::new(),
            about: String::new(),
            seed: 1,
            warmup: Duration::from_secs(5),
            length: Duration::from_secs(300),
            loads: Vec::new(),
            steps: Vec::new(),
            expectations: Vec::new(),
        };
        Laws::new(&scenario, Duration::from_secs(35))
    }

    #[test]
    fn a_run_in_which_nothing_goes_wrong_breaks_no_law() {
        let mut laws = laws();
        laws.observe(&seen(10, 2));
        assert_eq!(laws.finish(), []);
    }

    #[test]
    fn each_law_is_broken_by_what_it_forbids() {
        let broken = |break_it: &dyn Fn(&mut Laws)| {
            let mut laws = laws();
            break_it(&mut laws);
            laws.finish().iter().map(|breach| breach.law).collect::<Vec<_>>()
        };
        assert_eq!(
            broken(&|laws| laws.observe(&Observation { integrity: Integrity::Wrong, ..seen(1, 1) })),
            [Law::RightBytes]
        );
        assert_eq!(broken(&|laws| laws.observe(&Observation { finished: at(0), ..seen(1, 1) })), [Law::TimeGoesOn]);
        let failed = |started| Observation { outcome: Outcome::Status(503), ..seen(started, 1) };
        assert_eq!(broken(&|laws| laws.observe(&failed(99))), []);
        assert_eq!(broken(&|laws| laws.observe(&failed(100))), [Law::Recovers]);
    }

    #[test]
    fn an_answer_may_be_old_until_the_invalidation_is_done_and_no_longer() {
        let mut laws = laws();
        let note = |laws: &mut Laws, secs, kind| laws.note(&Event { at: at(secs), kind });
        note(&mut laws, 20, EventKind::InvalidationAccepted { id: 1, objects: Covered::Objects(vec![7]) });
        laws.observe(&seen(21, 2));
        note(&mut laws, 22, EventKind::InvalidationDone { id: 1 });
        laws.observe(&seen(21, 2));
        laws.observe(&Observation { object: 8, ..seen(23, 2) });
        laws.observe(&seen(23, 20));
        laws.observe(&seen(23, 19));
        assert_eq!(laws.finish(), [Breach { law: Law::InvalidationHolds, at: at(23), times: 1 }]);
    }
}
