//! Edges that die, come back, and are drained.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use cdn_core::{
    Counter,
    health::{HealthState, ProbeError},
};

use crate::world::{wait_until, world, world_with};

#[test]
fn a_new_world_is_healthy_after_its_first_probes_and_keeps_its_connections() {
    let world = world_with(|config| config.routing.probe = cdn_core::health::ProbeOptions::default());
    let started = Instant::now();
    let world = world.healthy();
    // One probe each, at once; the machine may be busy, but a whole interval must not pass.
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    wait_until("more probes were answered", || world.value("router_probes_total", "ok") >= 6);
    assert_eq!(world.handle.counters().value(Counter::RouterProbeConnects), 2);
    assert_eq!(world.handle.counters().value(Counter::RouterEdgesHealthy), 2);
}

#[test]
fn a_killed_edge_leaves_the_answers_and_comes_home_after() {
    let mut world = world().healthy();
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1]);
    world.edges[0].kill();
    let killed = Instant::now();
    wait_until("Frankfurt is out", || world.edges_for("198.18.1.0/24") == [1]);
    // Three intervals are 300 ms here; the rest is for a machine that builds other things at the same time.
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    let fra = &world.handle.health()[0];
    assert_eq!(fra.state, HealthState::Down);
    assert_eq!(fra.last_error.unwrap().1, ProbeError::Refused);
    assert!(world.value("router_probes_total", "refused") >= 2);
    assert_eq!(world.value("router_probes_total", "bad_status"), 0);
    world.edges[0].restart();
    wait_until("Frankfurt is back", || world.edges_for("198.18.1.0/24") == [0, 1]);
}

#[test]
fn an_edge_that_answers_errors_is_down() {
    let world = world().healthy();
    world.edges[1].status.store(503, Ordering::Relaxed);
    wait_until("Tokyo is down", || world.handle.health()[1].state == HealthState::Down);
    assert_eq!(world.handle.health()[1].last_error.unwrap().1, ProbeError::BadStatus(503));
    world.edges[1].status.store(200, Ordering::Relaxed);
    wait_until("Tokyo is up", || world.handle.health()[1].state == HealthState::Up);
}

#[test]
fn a_drain_is_in_force_when_the_call_returns_and_undone_likewise() {
    let world = world().healthy();
    world.handle.set_drained(vec!["FRA".parse().unwrap()]);
    assert_eq!(world.edges_for("198.18.1.0/24"), [1]);
    assert!(world.handle.health()[0].draining);
    world.handle.set_drained(vec![]);
    assert_eq!(world.edges_for("198.18.1.0/24"), [0, 1]);
}

#[test]
fn reported_round_trips_move_a_network() {
    let world = world().healthy();
    for _ in 0..20 {
        let edge = *world.edges[0].address.ip();
        world.handle.beacon("198.18.1.0/24".parse().unwrap(), edge.into(), Duration::from_millis(900)).unwrap();
    }
    // The first could be compared with nothing.
    let text = world.handle.prometheus("node=\"router.main\"");
    assert!(text.contains("iso_router_estimate_error_ms_count{node=\"router.main\"} 19\n"), "{text}");
    assert!(text.contains("iso_router_estimate_error_ms_bucket{node=\"router.main\",le=\"0.5\"} 19\n"), "{text}");
    wait_until("Berlin has moved", || world.edges_for("198.18.1.0/24") == [1, 0]);
    assert_eq!(world.edges_for("198.18.2.0/24"), [0, 1], "the network next door has not");
}

#[test]
fn candidates_can_be_replaced() {
    let world = world().healthy();
    let explained = world.handle.explain(
        router::Asker { peer: crate::world::ip("198.18.1.1"), subnet: None },
        "www.demo.test",
        &cdn_core::routing::ExplainOptions::default(),
    );
    assert_eq!(explained.unwrap().explanation.candidates.len(), 2);
    world.handle.set_pops(vec![]).unwrap();
    let answer = world.ask(&crate::world::question("www.demo.test", hickory_proto::rr::RecordType::A));
    assert_eq!(answer.metadata.response_code, hickory_proto::op::ResponseCode::ServFail);
}

#[test]
fn a_router_stops_within_a_fifth_of_a_second() {
    let mut world = world().healthy();
    let _idle_dns = std::net::TcpStream::connect(world.dns).unwrap();
    let _idle_http = std::net::TcpStream::connect(world.http).unwrap();
    let took = world.stop();
    assert!(took < Duration::from_millis(400), "{took:?}");
}
