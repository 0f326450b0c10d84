//! What a request costs whom nobody knows yet, held against the paths that it takes; and what clocks and names do to it.

use std::time::Duration;

use cdn_core::{NodeId, Reason, Role};
use simulator::{PlainAnswers, Plan, default_world};
use world::{
    CacheOutcome, Effect, Observation, Outcome,
    scenario::{Action, Load, Paths, Transport},
};

use crate::support::{load, play, scenario};

const POPS: [&str; 3] = ["iad", "fra", "nrt"];

/// Longer than bodies of 2 kB need on every path together, and shorter than a last mile.
const SLACK: Duration = Duration::from_millis(1);

fn rtt(plan: &Plan, a: &str, b: &str) -> Duration {
    let place = |name| plan.world.atlas().place(name).unwrap();
    plan.world.path(place(a), place(b)).rtt
}

fn tokyo() -> Load {
    load(&["tokyo"], 5.0, Paths::One("/a".into()))
}

fn first(plan: &Plan, load: Load) -> Observation {
    let seen = play(plan, &scenario(5, load, vec![])).0.seen;
    *seen.iter().min_by_key(|seen| seen.intended).unwrap()
}

#[test]
fn a_first_request_takes_the_paths_between_places_and_nothing_else() {
    let plan = default_world(&POPS, &PlainAnswers::default());
    let first = first(&plan, tokyo());
    assert_eq!((first.pop, first.cache), ("NRT".parse().ok(), CacheOutcome::Miss), "every router knows every edge");
    // Name, connection, request; and behind the edge a connection and a request each to shield and origin.
    let behind = (rtt(&plan, "nrt", "iad") + rtt(&plan, "iad", "us-east-1")) * 2;
    let fitting = ["iad", "fra"].map(|router| {
        let expected = rtt(&plan, "tokyo", router) + rtt(&plan, "tokyo", "nrt") * 2 + behind;
        first.latency().saturating_sub(expected) < SLACK && first.latency() >= expected
    });
    assert!(fitting.contains(&true), "{:?}", first.latency());
}

#[test]
fn tls_costs_a_round_trip_and_wants_a_certificate_that_is_good() {
    let mut plan = default_world(&POPS, &PlainAnswers::default());
    let plain = first(&plan, tokyo()).latency();
    let mut https = tokyo();
    https.connections.transport = Transport::Tls;
    let secured = first(&plan, https.clone()).latency();
    let more = secured - plain;
    assert!(more >= rtt(&plan, "tokyo", "nrt") && more < rtt(&plan, "tokyo", "nrt") + SLACK, "{more:?}");
    plan.certificate_span = Duration::ZERO;
    let seen = play(&plan, &scenario(5, https, vec![])).0.seen;
    assert!(seen.iter().all(|seen| seen.outcome == Outcome::Failed(Reason::ViewerTlsFailed)), "{:?}", seen.first());
}

#[test]
fn http_3_saves_the_round_trip_of_tls_and_wants_a_good_certificate_as_well() {
    let mut plan = default_world(&POPS, &PlainAnswers::default());
    let carried_by = |transport| {
        let mut load = tokyo();
        load.connections.transport = transport;
        load
    };
    let [plain, quic] =
        [Transport::Tcp, Transport::Quic].map(|transport| first(&plan, carried_by(transport)).latency());
    assert!(quic >= plain && quic < plain + SLACK, "{quic:?} by QUIC, {plain:?} by TCP alone");
    plan.certificate_span = Duration::ZERO;
    let seen = play(&plan, &scenario(5, carried_by(Transport::Quic), vec![])).0.seen;
    assert!(seen.iter().all(|seen| seen.outcome == Outcome::Failed(Reason::ViewerTlsFailed)), "{:?}", seen.first());
}

#[test]
fn nobody_says_of_http_3_that_its_edge_has_ended() {
    let plan = default_world(&POPS, &PlainAnswers::default());
    let kill = Action::Kill { nodes: vec![NodeId::new(Role::Edge, "nrt")], span: None };
    // Few users, so that each has a connection before the edge ends.
    let slowest = |transport| {
        let mut load = tokyo();
        (load.users, load.connections.transport, load.retry.timeout) = (3, transport, Duration::from_secs(9));
        let seen = play(&plan, &scenario(40, load, vec![(10, kill.clone())])).0.seen;
        let gave_up = seen.iter().filter(|seen| seen.outcome == Outcome::Failed(Reason::ViewerResponseTimeout)).count();
        (seen.iter().map(Observation::latency).max().unwrap(), gave_up)
    };
    let ((tcp, tcp_gave_up), (quic, quic_gave_up)) = (slowest(Transport::Tcp), slowest(Transport::Quic));
    assert!(tcp < Duration::from_secs(5) && tcp_gave_up == 0, "{tcp:?}, {tcp_gave_up}");
    assert!(quic >= Duration::from_secs(9) && quic_gave_up > 0, "{quic:?}, {quic_gave_up}");
}

#[test]
fn whose_names_did_not_resolve_is_served_once_they_do() {
    let mut plan = default_world(&POPS, &PlainAnswers::default());
    plan.routing.ttl = Duration::from_secs(1);
    let mut one = tokyo();
    // Seldom enough that nobody waits for a turn, often enough that six of them would be lost.
    (one.users, one.rps, one.connections.idle) = (1, 0.5, Duration::ZERO);
    let nodes = ["iad", "fra"].map(|name| NodeId::new(Role::Router, name)).to_vec();
    let steps = vec![(1, Action::Kill { nodes, span: Some(Duration::from_secs(20)) })];
    let (seen, _) = play(&plan, &scenario(80, one, steps));
    assert!(seen.availability(10, 20) < 0.1);
    assert_eq!(seen.availability(70, 85), 1.0);
}

#[test]
fn what_arrives_at_an_edge_whose_clock_is_ahead_is_old_already() {
    let plan = default_world(&POPS, &PlainAnswers { cache_control: "max-age=10".into(), ..PlainAnswers::default() });
    let effects = vec![Effect::Clock { ahead_ns: 3_600_000_000_000 }];
    let (nodes, span) = (vec![NodeId::new(Role::Edge, "nrt")], Some(Duration::from_secs(20)));
    let fault = Action::Fault { nodes, effects, rate: 1.0, path: None, from: None, span };
    let (seen, _) = play(&plan, &scenario(60, tokyo(), vec![(0, fault)]));
    let asked_behind = |after: u64, before: u64| {
        let within = (after * 1_000_000_000)..(before * 1_000_000_000);
        let seen = seen.seen.iter().filter(|seen| within.contains(&seen.intended.as_nanos()));
        seen.filter(|seen| seen.cache != CacheOutcome::Hit).count()
    };
    // A second is the least that the policy keeps anything for, and ten are what the origin says.
    let (wrong, right) = (asked_behind(10, 24), asked_behind(40, 54));
    assert!(right > 0 && wrong > 3 * right, "{wrong} {right}");
}
