//! A judge that is told of made-up requests.

//! What is expected against what was got.

use cdn_core::{NodeId, Role};

use super::*;
use crate::{
    Atlas, Continent,
    observation::{Member, Outcome},
    scenario::Step,
};

const FRA: u32 = 0;
const IAD: u32 = 1;
const ROUTER: u32 = 2;
const ORIGIN: u32 = 3;
const BERLIN: u32 = 0;
const NEW_YORK: u32 = 1;

fn pop(code: &str) -> PopCode {
    code.parse().unwrap()
}

fn directory() -> Directory {
    let place = |name: &str| Atlas::embedded().place(name).unwrap().clone();
    let node = |role, name: &str| Member { id: NodeId::new(role, name), pop: name.parse().ok() };
    Directory::new(
        vec![place("berlin"), place("new york")],
        vec![
            node(Role::Edge, "fra"),
            node(Role::Edge, "iad"),
            node(Role::Router, "iad"),
            node(Role::Origin, "primary"),
        ],
    )
}

fn expect(what: What) -> Expectation {
    Expectation {
        what,
        from: Area::World,
        pop: None,
        node: None,
        after: Duration::ZERO,
        before: None,
        min: None,
        max: None,
        equals: None,
        line: 1,
    }
}

fn step(at: u64, text: &str, action: Action) -> Step {
    Step { at: secs(at), action, text: text.into(), line: 1 }
}

fn kill_fra(at: u64, span: Option<u64>) -> Step {
    step(at, "kill fra", Action::Kill { nodes: vec![NodeId::new(Role::Edge, "fra")], span: span.map(secs) })
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A scenario of a minute after ten seconds of warm-up.
fn scenario(steps: Vec<Step>, expectations: Vec<Expectation>) -> Scenario {
    Scenario {
        title: "a test".into(),
        about: String::new(),
        seed: 1,
        warmup: secs(10),
        length: secs(60),
        loads: Vec::new(),
        steps,
        expectations,
        told: Vec::new(),
    }
}

fn at(seconds: f64) -> Instant {
    Instant::ZERO + secs(10) + Duration::from_secs_f64(seconds)
}

/// Berlin asks fra and is answered from its store within 20 ms.
fn request(seconds: f64) -> Observation {
    Observation {
        intended: at(seconds),
        started: at(seconds),
        finished: at(seconds) + Duration::from_millis(20),
        place: BERLIN,
        asked: Some(pop("FRA")),
        asked_at: at(seconds),
        pop: Some(pop("FRA")),
        outcome: Outcome::Status(200),
        cache: CacheOutcome::Hit,
        reason: Reason::Hit,
        bytes: 1000,
        integrity: Integrity::Right,
        attempts: 1,
        fell_back: false,
        load: 0,
        object: 7,
        made: None,
        signature: crate::Signature::Unasked,
    }
}

fn failed(seconds: f64) -> Observation {
    let reason = Reason::ViewerConnectFailed;
    Observation { pop: None, outcome: Outcome::Failed(reason), cache: CacheOutcome::Error, reason, ..request(seconds) }
}

fn event(seconds: f64, kind: EventKind) -> Event {
    Event { at: at(seconds), kind }
}

/// What the first row says of these observations, after these events.
fn judge(scenario: &Scenario, events: &[Event], seen: &[Observation]) -> Judgement {
    let mut judge = Judge::new(scenario, &directory());
    for event in events {
        judge.note(event);
    }
    for observation in seen {
        judge.observe(observation);
    }
    judge.finish(scenario.end())
}

fn row(expectation: Expectation, events: &[Event], seen: &[Observation]) -> Row {
    let steps = vec![kill_fra(20, None), step(40, "heal all", Action::Heal(crate::scenario::HealTarget::All))];
    judge(&scenario(steps, vec![expectation]), events, seen).rows.swap_remove(0)
}

#[test]
fn a_miss_of_availability_names_the_seconds_the_place_and_the_hop() {
    let mut seen: Vec<Observation> = (0..1000).map(|n| request(f64::from(n) * 0.05)).collect();
    seen.extend([failed(20.1), failed(20.4), failed(21.5)]);
    let row = row(Expectation { min: Some(0.999), ..expect(What::Availability) }, &[], &seen);
    assert!(!row.held);
    assert_eq!(row.got_text(), "99.7 %");
    assert_eq!(row.at, Some(secs(20)));
    assert_eq!(
        row.detail,
        "3 of 1 003 not served, 0:20–0:21, most at 0:20, all in Berlin; viewer → fra: viewer_connect_failed (3)"
    );
}

#[test]
fn latency_counts_from_the_intended_start_and_only_what_was_served() {
    let mut late = request(5.0);
    late.started = at(7.0);
    late.finished = at(7.5);
    let mut slow_and_failed = failed(6.0);
    slow_and_failed.finished = at(36.0);
    let seen = [request(1.0), late, slow_and_failed];
    let longest = row(Expectation { max: Some(0.1), ..expect(What::Latency(1.0)) }, &[], &seen);
    assert!(!longest.held && (longest.got.unwrap() - 2.5).abs() < 0.01, "{longest:?}");
    assert!(longest.detail.contains("at 0:05") && longest.detail.contains("Berlin"), "{}", longest.detail);
    let median = row(Expectation { max: Some(0.1), ..expect(What::Latency(0.5)) }, &[], &seen);
    assert!(median.held && (median.got.unwrap() - 0.02).abs() < 0.001, "{median:?}");
}

#[test]
fn areas_pops_and_windows_narrow_what_is_looked_at() {
    let elsewhere = Observation { place: NEW_YORK, asked: Some(pop("IAD")), pop: Some(pop("IAD")), ..request(30.0) };
    let warming = Observation { intended: Instant::ZERO + secs(3), ..failed(0.0) };
    let seen = [request(10.0), request(30.0), elsewhere, warming];
    let n = |expectation: Expectation| row(expectation, &[], &seen).got.unwrap();
    let all = expect(What::Requests);
    assert_eq!(n(all.clone()), 3.0, "what warms up does not count");
    assert_eq!(n(Expectation { from: Area::Continent(Continent::Europe), ..all.clone() }), 2.0);
    assert_eq!(n(Expectation { from: Area::Country("US".parse().unwrap()), ..all.clone() }), 1.0);
    assert_eq!(n(Expectation { from: Area::Place(crate::SiteId::new("berlin")), ..all.clone() }), 2.0);
    assert_eq!(n(Expectation { pop: Some(pop("IAD")), ..all.clone() }), 1.0);
    assert_eq!(n(Expectation { after: secs(20), ..all.clone() }), 2.0);
    assert_eq!(n(Expectation { before: Some(secs(20)), ..all }), 1.0);
}

#[test]
fn detect_reroute_and_recover_count_from_the_fault() {
    let events = [
        event(20.0, EventKind::Step { step: 0 }),
        event(24.0, EventKind::Detected { node: FRA, by: ROUTER }),
        event(40.0, EventKind::Step { step: 1 }),
    ];
    let fell_back = |seconds| Observation { pop: Some(pop("IAD")), fell_back: true, ..request(seconds) };
    let moved = |seconds| Observation { asked: Some(pop("IAD")), pop: Some(pop("IAD")), ..request(seconds) };
    let seen = [request(19.0), fell_back(20.5), failed(22.5), fell_back(29.0), moved(30.0), moved(50.0), request(55.0)];
    let took = |what, max: f64| row(Expectation { max: Some(max), ..expect(what) }, &events, &seen);
    let detect = took(What::Detect, 5.0);
    assert_eq!((detect.got, detect.held), (Some(4.0), true), "{detect:?}");
    let reroute = took(What::Reroute, 8.0);
    assert_eq!((reroute.got, reroute.held, reroute.at), (Some(9.0), false, Some(secs(29))), "{reroute:?}");
    let recover = took(What::Recover, 3.0);
    assert_eq!((recover.got, recover.held), (Some(3.0), true), "{recover:?}");
}

#[test]
fn who_waited_for_a_name_until_a_pop_was_whole_again_has_not_turned_to_it_in_vain() {
    let events = [event(20.0, EventKind::Step { step: 0 }), event(40.0, EventKind::Step { step: 1 })];
    let waited = Observation { asked_at: at(40.3), ..request(39.5) };
    let reroute = row(Expectation { max: Some(8.0), ..expect(What::Reroute) }, &events, &[request(21.0), waited]);
    assert_eq!((reroute.got, reroute.held), (Some(1.0), true), "{reroute:?}");
    let in_vain = Observation { asked_at: at(39.9), ..waited };
    let reroute = row(Expectation { max: Some(8.0), ..expect(What::Reroute) }, &events, &[request(21.0), in_vain]);
    assert_eq!((reroute.got, reroute.held), (None, false), "{reroute:?}");
}

#[test]
fn what_never_comes_is_later_than_any_time() {
    let events = [event(20.0, EventKind::Step { step: 0 })];
    let seen: Vec<Observation> = (200..600).map(|n| failed(f64::from(n) * 0.1)).collect();
    for what in [What::Detect, What::Reroute, What::Recover] {
        let late = row(Expectation { max: Some(1e6), ..expect(what) }, &events, &seen);
        assert_eq!((late.got, late.held, late.got_text().as_str()), (None, false, "never"), "{late:?}");
        let meant = row(Expectation { min: Some(10.0), ..expect(what) }, &events, &seen);
        assert!(meant.held, "{meant:?}");
        let whole = row(Expectation { min: Some(10.0), ..expect(what) }, &[], &seen);
        assert!(!whole.held && whole.detail.contains("nothing"), "{whole:?}");
    }
}

#[test]
fn the_busiest_second_of_origins_is_named() {
    let hits = |seconds, count| event(seconds, EventKind::OriginRequests { origin: ORIGIN, count });
    let events = [hits(25.0, 40), hits(26.1, 60), hits(26.9, 58), hits(27.0, 90)];
    let peak = row(Expectation { max: Some(60.0), ..expect(What::OriginRps) }, &events, &[]);
    assert_eq!((peak.got, peak.held), (Some(118.0), false));
    assert_eq!(peak.detail, "at 0:26, origin.primary (118)");
    let all = row(Expectation { max: Some(60.0), ..expect(What::OriginRequests) }, &events, &[]);
    assert_eq!(all.got, Some(248.0));
}

#[test]
fn wrong_bytes_are_always_looked_for() {
    let seen = [request(1.0), Observation { integrity: Integrity::Wrong, ..request(2.0) }];
    let judgement = judge(&scenario(Vec::new(), Vec::new()), &[], &seen);
    let [row] = judgement.rows.as_slice() else { panic!("{:?}", judgement.rows) };
    assert_eq!((row.expectation.what, row.got, row.held), (What::WrongBytes, Some(1.0), false));
    assert!(row.detail.contains("at 0:02, all in Berlin"), "{}", row.detail);
}

#[test]
fn an_answer_predates_an_invalidation_that_was_complete_when_it_was_asked_for() {
    let events = [
        event(10.0, EventKind::InvalidationAccepted { id: 1, objects: Covered::Objects(vec![(1, 7)]) }),
        event(12.0, EventKind::InvalidationDone { id: 1 }),
    ];
    let of =
        |seconds: f64, made: f64, object| Observation { made: Some(at(made)), load: 1, object, ..request(seconds) };
    let of_another_load = Observation { load: 0, ..of(13.0, 5.0, 7) };
    let seen = [of(11.0, 5.0, 7), of(13.0, 5.0, 8), of(13.0, 10.5, 7), of_another_load, of(13.0, 5.0, 7)];
    let stale = row(Expectation { equals: Some(0.0), ..expect(What::StaleAfterInvalidation) }, &events, &seen);
    assert_eq!((stale.got, stale.held), (Some(1.0), false), "{stale:?}");
}

#[test]
fn counters_grow_from_time_zero_and_over_restarts() {
    let counter = Counter::EdgeFailovers;
    let value = |instant, node, value| Event { at: instant, kind: EventKind::Counter { node, counter, value } };
    let events = [
        value(Instant::ZERO + secs(1), FRA, 100),
        value(at(5.0), FRA, 103),
        value(at(9.0), FRA, 2),
        value(at(9.0), IAD, 10),
    ];
    let grew = row(Expectation { equals: Some(15.0), ..expect(What::Counter(counter)) }, &events, &[]);
    assert!(grew.held, "{grew:?}");
    let told = Scenario { told: vec![counter], ..scenario(Vec::new(), Vec::new()) };
    assert_eq!(judge(&told, &events, &[]).told, [(counter, 15)].into(), "whatever is expected");
    let silent = row(Expectation { max: Some(0.0), ..expect(What::Counter(counter)) }, &[], &[]);
    assert!(!silent.held, "nobody reported it");
}

#[test]
fn charts_have_a_step_per_second_and_bands_per_fault() {
    let steps = vec![kill_fra(20, Some(5))];
    let events = [
        event(20.0, EventKind::Step { step: 0 }),
        event(21.0, EventKind::Detected { node: FRA, by: ROUTER }),
        event(26.0, EventKind::Recovered { node: FRA, by: ROUTER }),
    ];
    let judgement = judge(&scenario(steps, Vec::new()), &events, &[request(0.5), failed(20.5), request(59.5)]);
    assert_eq!((judgement.step, judgement.seconds.len()), (secs(1), 60));
    assert_eq!((judgement.seconds[20].errors, judgement.seconds[0].pops.as_slice()), (1, [1, 0].as_slice()));
    let down: Vec<u64> = judgement.seconds.iter().map(|second| second.nodes_down).collect();
    assert_eq!((down[20], down[21], down[25], down[26], down[59]), (0, 1, 1, 0, 0), "{down:?}");
    assert_eq!(judgement.bands, [Band { from: secs(20), to: secs(25), text: "kill fra".into() }]);
    assert_eq!(judgement.totals.availability(), Some(2.0 / 3.0));
    let lines: Vec<String> = judgement.timeline.iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], " 0:20 ✗ kill fra");
    assert!(lines[1].starts_with(" 0:21 ↷ edge.fra judged down by router.iad, 1.0 s after kill fra"), "{lines:?}");
}
