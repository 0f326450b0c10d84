//! The laws of every run, whatever is broken in it: what a swarm of random scenarios is held against.
//!
//! Takes in what was observed, as a judge does, and says which laws were broken. Pure; refuses to know what was expected of
//! the scenario itself.

mod promise;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    time::Duration,
};

use cdn_core::{Counter, Instant, PopCode, Role};

use self::promise::Whole;
pub use self::promise::{Ages, Promise, Promises};
use crate::{
    Effect,
    observation::{Covered, Directory, Event, EventKind, Integrity, Observation, Outcome, Signature},
    scenario::{Action, Scenario},
    verdict::{Break, breaks, healed_at},
};

/// How long after the last fault has healed everybody must be served again: detection, ramp, and what clients and stores
/// still remember of it.
pub const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

/// How long after the first origin of a group broke alone errors may still be those of something else that was broken before:
/// as long as errors are stored, and a request may be under way.
const ERRORS_LAST: Duration = Duration::from_secs(40);

/// What caches count that is held against each other: what comes first is not less than the others but the last together,
/// which are requests of the cache's own.
pub(crate) const COUNTERS: [Counter; 6] = [
    Counter::EdgeRequests,
    Counter::EdgeHits,
    Counter::EdgeRefreshHits,
    Counter::EdgeMisses,
    Counter::EdgePasses,
    Counter::EdgeErrorPages,
];

/// A law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// No wrong bytes, ever.
    RightBytes,
    /// No response that predates an invalidation which was complete when it was asked for.
    InvalidationHolds,
    /// Nobody is let in with a signature that is expired, forged or missing.
    SignaturesHold,
    /// Time goes on: nothing ends before it began.
    TimeGoesOn,
    /// Once everything has healed, and some time has passed, everybody is served.
    Recovers,
    /// Nor does any router hold against a node by then what has healed.
    Forgotten,
    /// No answer older than its response and its cache policy allow.
    AgesHold,
    /// Nobody goes without because of the first origin of a group alone.
    FailsOver,
    /// Of every cache, requests = hits + misses + passes + errors; bytes sent = bytes received; Little's law.
    AddsUp,
}

impl Law {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RightBytes => "no wrong bytes",
            Self::InvalidationHolds => "nothing that predates a completed invalidation",
            Self::SignaturesHold => "nobody is let in without a good signature",
            Self::TimeGoesOn => "nothing ends before it began",
            Self::Recovers => "everybody is served once all faults have healed",
            Self::Forgotten => "no router calls a node down once all faults have healed",
            Self::AgesHold => "no answer older than its response allows",
            Self::FailsOver => "nobody goes without while the second origin of a group is whole",
            Self::AddsUp => "requests and bytes add up",
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
    /// What it was the first time, in a few words.
    pub first: String,
}

/// Holds the laws against one run.
#[derive(Debug)]
pub struct Laws {
    breaches: BTreeMap<Law, Breach>,
    /// Of each invalidation under way or done: when it was accepted, what it covers, and when it was done.
    invalidations: BTreeMap<u64, (Instant, Covered, Option<Instant>)>,
    /// What each router calls down, as router and node.
    down: BTreeSet<(u32, u32)>,
    /// From then on everybody must be served; never where something stays broken.
    recovered_from: Option<Instant>,
    /// Whether it is known who must not be let in: configurations may come to ask for other keys, or for none.
    signatures_known: bool,
    /// PoPs whose edges have clocks that are behind, and from when on: for them what has expired is good.
    behind: Vec<(PopCode, Instant)>,
    /// What the configuration promises, where that is known, and what was asked of it before.
    promises: Option<Box<dyn Promises>>,
    promised: BTreeMap<(u16, u64), Promise>,
    whole: Whole,
    /// What caches had counted in the end, by node in the order of [`COUNTERS`].
    counted: BTreeMap<u32, [u64; COUNTERS.len()]>,
    ends_at: Instant,
}

impl Laws {
    /// The laws of a run of `scenario` among these nodes.
    pub fn new(scenario: &Scenario, directory: &Directory) -> Self {
        let healed = healed_at(scenario, directory);
        Self {
            breaches: BTreeMap::new(),
            invalidations: BTreeMap::new(),
            down: BTreeSet::new(),
            recovered_from: healed.map(|healed| scenario.zero() + healed + RECOVERS_WITHIN),
            signatures_known: !scenario.steps.iter().any(|step| matches!(step.action, Action::Config(_))),
            behind: behind(scenario, directory),
            promises: None,
            promised: BTreeMap::new(),
            whole: whole(scenario, directory),
            counted: BTreeMap::new(),
            ends_at: scenario.end(),
        }
    }

    /// Holds these promises against the run, too. They are those of the configuration that it begins with: where it goes
    /// over to another one, nothing is promised.
    #[must_use]
    pub fn with_promises(mut self, promises: Box<dyn Promises>) -> Self {
        self.promises = self.signatures_known.then_some(promises);
        self
    }

    /// Whether an answer went to somebody who must not have it.
    fn is_let_in_wrongly(&self, seen: &Observation) -> bool {
        let is_bad = match seen.signature {
            Signature::Unasked | Signature::Good => false,
            Signature::Forged | Signature::Missing => true,
            Signature::Expired => {
                !self.behind.iter().any(|(pop, from)| seen.pop == Some(*pop) && seen.finished >= *from)
            }
        };
        self.signatures_known && is_bad && matches!(seen.outcome, Outcome::Status(..400))
    }

    /// Takes in a request that is over.
    pub fn observe(&mut self, seen: &Observation) {
        if seen.integrity == Integrity::Wrong {
            self.breach(Law::RightBytes, seen.finished, || format!("object {}", seen.object));
        }
        if self.is_let_in_wrongly(seen) {
            self.breach(Law::SignaturesHold, seen.finished, || {
                format!("object {}, {:?} signature: {}", seen.object, seen.signature, seen.reason)
            });
        }
        if seen.finished < seen.started || seen.started < seen.intended {
            let (intended, started) = (seen.intended, seen.started);
            self.breach(Law::TimeGoesOn, seen.finished, || {
                format!("meant for {intended:?}, begun at {started:?}, over at {:?}", seen.finished)
            });
        }
        if self.recovered_from.is_some_and(|from| seen.intended >= from) && !seen.is_served() {
            self.breach(Law::Recovers, seen.intended, || match seen.outcome {
                Outcome::Status(status) => format!("{status}, {}", seen.reason),
                Outcome::Failed(reason) => reason.to_string(),
            });
        }
        self.hold_promise(seen);
        let predates = |(accepted, covered, done): &(Instant, Covered, Option<Instant>)| {
            done.is_some_and(|done| seen.started >= done)
                && seen.made.is_some_and(|made| made < *accepted)
                && covered.contains(seen.load, seen.object)
        };
        if self.invalidations.values().any(predates) {
            self.breach(Law::InvalidationHolds, seen.started, || format!("object {}, {}", seen.object, seen.reason));
        }
    }

    fn hold_promise(&mut self, seen: &Observation) {
        let Some(promises) = &self.promises else { return };
        let promise = match self.promised.entry((seen.load, seen.object)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(promises.promise(seen.load, seen.object)),
        };
        let age = promise.ages.is_outlived_by(seen);
        let is_failed = matches!(seen.outcome, Outcome::Status(500..)) && seen.reason.is_origin_failure();
        let from = Instant::from_nanos(seen.intended.as_nanos().saturating_sub(ERRORS_LAST.as_nanos() as u64));
        let shelter = promise.sheltered.as_ref().filter(|_| is_failed);
        let shelter = shelter.filter(|first| self.whole.is_but_for(first, from, seen.finished)).cloned();
        if let Some(age) = age {
            self.breach(Law::AgesHold, seen.started, || {
                format!("object {}, {}: {:.1} s old", seen.object, seen.reason, age.as_secs_f64())
            });
        }
        if let Some(first) = shelter {
            self.breach(Law::FailsOver, seen.intended, || {
                format!("object {}, {} with only {first} broken", seen.object, seen.reason)
            });
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
            EventKind::Detected { node, by } => {
                self.down.insert((*by, *node));
            }
            EventKind::Recovered { node, by } => {
                self.down.remove(&(*by, *node));
            }
            // A router that is started anew knows nothing of what it knew.
            EventKind::Healed { nodes, .. } => self.down.retain(|(by, _)| !nodes.contains(by)),
            // Before the end somebody may be inside.
            EventKind::Counter { node, counter, value } if event.at >= self.ends_at => {
                if let Some(at) = COUNTERS.iter().position(|one| one == counter) {
                    self.counted.entry(*node).or_default()[at] = *value;
                }
            }
            _ => {}
        }
    }

    /// Takes in that sums do not add up that only whoever played the run knows of.
    pub fn add_up_to(&mut self, sums: Result<(), String>, at: Instant) {
        if let Err(why) = sums {
            self.breach(Law::AddsUp, at, || why.clone());
        }
    }

    /// What was broken in a run that ended at `end`.
    pub fn finish(mut self, end: Instant) -> Vec<Breach> {
        if self.recovered_from.is_some_and(|from| end >= from) {
            for (by, node) in std::mem::take(&mut self.down) {
                self.breach(Law::Forgotten, end, || format!("node {node} at router {by}"));
            }
        }
        for (node, [requests, hits, refreshes, misses, passes, own]) in std::mem::take(&mut self.counted) {
            let answered = hits + refreshes + misses + passes;
            if answered > requests + own {
                let sums = format!("node {node} has answered {answered} of {requests} requests");
                self.breach(Law::AddsUp, end, || sums.clone());
            }
        }
        self.breaches.into_values().collect()
    }

    fn breach(&mut self, law: Law, at: Instant, what: impl Fn() -> String) {
        let breach = self.breaches.entry(law).or_insert_with(|| Breach { law, at, times: 0, first: what() });
        breach.times += 1;
        // Requests end in another order than they begin in.
        if at < breach.at {
            (breach.at, breach.first) = (at, what());
        }
    }
}

/// What breaks from when to when, a surge of load among it.
fn whole(scenario: &Scenario, directory: &Directory) -> Whole {
    let mut whole = Whole::default();
    let zero = scenario.zero();
    for Break { at, healed, nodes } in breaks(scenario, directory) {
        let only = match nodes.as_slice() {
            [node] if node.role() == Role::Origin => Some(node.clone()),
            _ => None,
        };
        whole.breaks(zero + at, healed.map_or(Instant::MAX, |healed| zero + healed), only);
    }
    whole
}

/// Where edges are made to take an earlier date for today's, and from when on.
fn behind(scenario: &Scenario, directory: &Directory) -> Vec<(PopCode, Instant)> {
    let pops_of = |action: &Action| -> Vec<PopCode> {
        let Action::Fault { nodes, effects, .. } = action else { return Vec::new() };
        if !effects.iter().any(|effect| matches!(effect, Effect::Clock { ahead_ns } if *ahead_ns < 0)) {
            return Vec::new();
        }
        let hit = directory.nodes().iter().filter(|member| nodes.contains(&member.id));
        hit.filter_map(|member| member.pop).collect()
    };
    let steps = scenario.steps.iter();
    steps.flat_map(|step| pops_of(&step.action).into_iter().map(|pop| (pop, scenario.zero() + step.at))).collect()
}

#[cfg(test)]
mod tests {
    use cdn_core::Reason;

    use super::*;
    use crate::{
        observation::CacheOutcome,
        scenario::{Action, HealTarget, Step},
    };

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
            asked_at: at(started),
            pop: None,
            outcome: Outcome::Status(200),
            cache: CacheOutcome::Hit,
            reason: Reason::Hit,
            bytes: 1,
            integrity: Integrity::Right,
            attempts: 1,
            fell_back: false,
            load: 0,
            object: 7,
            made: Some(at(made)),
            signature: Signature::Unasked,
        }
    }

    fn scenario(steps: Vec<Step>) -> Scenario {
        Scenario {
            title: String::new(),
            about: String::new(),
            seed: 1,
            warmup: Duration::from_secs(5),
            length: Duration::from_secs(300),
            loads: Vec::new(),
            steps,
            expectations: Vec::new(),
            told: Vec::new(),
        }
    }

    fn laws_after(steps: Vec<Step>) -> Laws {
        Laws::new(&scenario(steps), &Directory::default())
    }

    fn kill(at: u64, span: Option<u64>) -> Step {
        let nodes = vec!["edge.fra".parse().unwrap()];
        let action = Action::Kill { nodes, span: span.map(Duration::from_secs) };
        Step { at: Duration::from_secs(at), action, text: String::new(), line: 1 }
    }

    fn laws() -> Laws {
        laws_after(vec![kill(15, Some(20))])
    }

    #[test]
    fn a_run_in_which_nothing_goes_wrong_breaks_no_law() {
        let mut laws = laws();
        laws.observe(&seen(10, 2));
        assert_eq!(laws.finish(at(305)), []);
    }

    #[test]
    fn each_law_is_broken_by_what_it_forbids() {
        let broken = |break_it: &dyn Fn(&mut Laws)| {
            let mut laws = laws();
            break_it(&mut laws);
            laws.finish(at(305)).iter().map(|breach| breach.law).collect::<Vec<_>>()
        };
        assert_eq!(
            broken(&|laws| laws.observe(&Observation { integrity: Integrity::Wrong, ..seen(1, 1) })),
            [Law::RightBytes]
        );
        assert_eq!(broken(&|laws| laws.observe(&Observation { finished: at(0), ..seen(1, 1) })), [Law::TimeGoesOn]);
        let failed = |started| Observation { outcome: Outcome::Status(503), ..seen(started, 1) };
        assert_eq!(broken(&|laws| laws.observe(&failed(99))), []);
        assert_eq!(broken(&|laws| laws.observe(&failed(100))), [Law::Recovers]);
        let note = |laws: &mut Laws, kind| laws.note(&Event { at: at(30), kind });
        let down = EventKind::Detected { node: 1, by: 9 };
        assert_eq!(broken(&|laws| note(laws, down.clone())), [Law::Forgotten]);
        for better in [EventKind::Recovered { node: 1, by: 9 }, EventKind::Healed { nodes: vec![9], what: "".into() }] {
            assert_eq!(
                broken(&|laws| {
                    note(laws, down.clone());
                    note(laws, better.clone());
                }),
                []
            );
        }
    }

    #[test]
    fn nobody_need_recover_from_what_stays_broken() {
        let mut laws = laws_after(vec![kill(15, Some(20)), kill(40, None)]);
        laws.observe(&Observation { outcome: Outcome::Status(503), ..seen(290, 1) });
        assert_eq!(laws.finish(at(305)), []);
        let heal = Step { action: Action::Heal(HealTarget::All), ..kill(50, None) };
        let mut laws = laws_after(vec![kill(15, Some(20)), kill(40, None), heal]);
        laws.observe(&Observation { outcome: Outcome::Status(503), ..seen(114, 1) });
        laws.observe(&Observation { outcome: Outcome::Status(503), ..seen(116, 1) });
        laws.observe(&Observation { outcome: Outcome::Status(502), ..seen(115, 1) });
        let breach = Breach { law: Law::Recovers, at: at(115), times: 2, first: "502, hit".into() };
        assert_eq!(laws.finish(at(305)), [breach]);
    }

    #[test]
    fn nobody_is_let_in_with_a_bad_signature_but_where_the_clock_says_that_it_is_good() {
        let fra = "FRA".parse().unwrap();
        let edge = cdn_core::NodeId::new(Role::Edge, "fra");
        let slow = Action::Fault {
            nodes: vec![edge.clone()],
            effects: vec![Effect::Clock { ahead_ns: -1 }],
            rate: 1.0,
            path: None,
            from: None,
            span: None,
        };
        let directory = Directory::new(Vec::new(), vec![crate::observation::Member { id: edge, pop: Some(fra) }]);
        let let_in = |signature, started, outcome, steps: &[(Duration, Action)]| {
            let step = |(at, action): &(Duration, Action)| {
                let (at, action) = (*at, action.clone());
                Step { at, action, text: String::new(), line: 1 }
            };
            let scenario = scenario(steps.iter().map(step).collect());
            let mut laws = Laws::new(&scenario, &directory);
            laws.observe(&Observation { signature, outcome, pop: Some(fra), ..seen(started, 1) });
            laws.finish(at(305)).iter().any(|breach| breach.law == Law::SignaturesHold)
        };
        let (ok, forbidden) = (Outcome::Status(200), Outcome::Status(403));
        for signature in [Signature::Expired, Signature::Forged, Signature::Missing] {
            assert!(let_in(signature, 20, ok, &[]) && !let_in(signature, 20, forbidden, &[]), "{signature:?}");
        }
        assert!(!let_in(Signature::Good, 20, ok, &[]) && !let_in(Signature::Unasked, 20, ok, &[]));
        let slow = [(Duration::from_secs(30), slow)];
        assert!(let_in(Signature::Expired, 20, ok, &slow) && let_in(Signature::Forged, 60, ok, &slow));
        assert!(!let_in(Signature::Expired, 60, ok, &slow));
    }

    #[derive(Clone, Debug)]
    struct Always(Promise);

    impl Promises for Always {
        fn promise(&self, _: u16, _: u64) -> Promise {
            self.0.clone()
        }
    }

    #[test]
    fn an_answer_is_no_older_than_what_is_said_of_it_allows() {
        let secs = |secs| Some(Duration::from_secs(secs));
        let ages = Ages { fresh: secs(5), refreshing: secs(15), failing: secs(9) };
        let is_broken = |ages: Ages, seen: Observation| {
            let mut laws = laws().with_promises(Box::new(Always(Promise { ages, sheltered: None })));
            laws.observe(&seen);
            laws.finish(at(305)).iter().any(|breach| breach.law == Law::AgesHold)
        };
        for (cache, reason, most) in [
            (CacheOutcome::Hit, Reason::Hit, 5),
            (CacheOutcome::RefreshHit, Reason::RefreshHit, 5),
            (CacheOutcome::Stale, Reason::HitStaleWhileRevalidate, 15),
            (CacheOutcome::Stale, Reason::HitStaleOnError, 9),
        ] {
            let old = |age: u64| Observation { cache, reason, ..seen(50, 50 - age) };
            assert!(!is_broken(ages, old(most)) && is_broken(ages, old(most + 1)), "{reason}");
            assert!(!is_broken(Ages::default(), old(50)), "nobody knows");
            assert!(
                !is_broken(ages, Observation { outcome: Outcome::Status(404), ..old(50) }),
                "errors are another table's"
            );
        }
    }

    #[test]
    fn nobody_goes_without_while_nothing_is_broken_but_the_first_origin_of_a_group() {
        let first = cdn_core::NodeId::new(Role::Origin, "alpha");
        let promise = Promise { sheltered: Some(first.clone()), ..Promise::default() };
        let kill = |node: &cdn_core::NodeId, from: u64, span: u64| Step {
            at: Duration::from_secs(from),
            action: Action::Kill { nodes: vec![node.clone()], span: Some(Duration::from_secs(span)) },
            text: String::new(),
            line: 1,
        };
        let is_broken = |steps: Vec<Step>, seen: Observation| {
            let mut laws = laws_after(steps).with_promises(Box::new(Always(promise.clone())));
            laws.observe(&seen);
            laws.finish(at(305)).iter().any(|breach| breach.law == Law::FailsOver)
        };
        let failed = Observation { outcome: Outcome::Status(502), reason: Reason::OriginRefused, ..seen(110, 1) };
        let alone = || vec![kill(&first, 100, 20)];
        assert!(is_broken(alone(), failed));
        assert!(!is_broken(alone(), Observation { outcome: Outcome::Status(200), ..failed }));
        assert!(
            !is_broken(alone(), Observation { reason: Reason::ViewerConnectFailed, ..failed }),
            "no origin's failure"
        );
        let second = cdn_core::NodeId::new(Role::Origin, "beta");
        assert!(!is_broken([alone(), vec![kill(&second, 80, 2)]].concat(), failed), "errors may be stored");
        assert!(is_broken([alone(), vec![kill(&second, 20, 2)]].concat(), failed), "not for so long");
        assert!(!is_broken(vec![kill(&first, 20, 5)], failed), "whoever failed, it was not this");
    }

    #[test]
    fn what_caches_count_as_answered_was_asked_of_them() {
        let is_broken = |counts: [u64; COUNTERS.len()], when| {
            let mut laws = laws();
            for (counter, value) in COUNTERS.into_iter().zip(counts) {
                laws.note(&Event { at: at(when), kind: EventKind::Counter { node: 1, counter, value } });
            }
            laws.finish(at(305)).iter().any(|breach| breach.law == Law::AddsUp)
        };
        assert!(!is_broken([10, 4, 1, 3, 2, 0], 305) && is_broken([10, 4, 1, 3, 3, 0], 305));
        assert!(!is_broken([10, 4, 1, 3, 3, 1], 305), "an error page was fetched");
        assert!(!is_broken([10, 4, 1, 3, 3, 0], 300), "somebody may be inside");
        let mut laws = laws();
        laws.add_up_to(Err("one is missing".into()), at(305));
        assert_eq!(laws.finish(at(305)).iter().map(|breach| breach.law).collect::<Vec<_>>(), [Law::AddsUp]);
    }

    #[test]
    fn an_answer_may_be_old_until_the_invalidation_is_done_and_no_longer() {
        let mut laws = laws();
        let note = |laws: &mut Laws, secs, kind| laws.note(&Event { at: at(secs), kind });
        note(&mut laws, 20, EventKind::InvalidationAccepted { id: 1, objects: Covered::Objects(vec![(0, 7)]) });
        laws.observe(&seen(21, 2));
        note(&mut laws, 22, EventKind::InvalidationDone { id: 1 });
        laws.observe(&seen(21, 2));
        laws.observe(&Observation { object: 8, ..seen(23, 2) });
        laws.observe(&Observation { load: 1, ..seen(23, 2) });
        laws.observe(&seen(23, 20));
        laws.observe(&seen(23, 19));
        let first = "object 7, hit".into();
        assert_eq!(laws.finish(at(305)), [Breach { law: Law::InvalidationHolds, at: at(23), times: 1, first }]);
    }
}
