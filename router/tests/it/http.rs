//! Routing by redirect, and beacons.

use std::net::Ipv4Addr;

use cdn_core::Counter;
use router::RedirectTo;

use crate::world::{wait_until, world, world_with};

const BERLIN: Ipv4Addr = Ipv4Addr::new(127, 18, 1, 9);
const OSAKA: Ipv4Addr = Ipv4Addr::new(127, 18, 3, 9);

fn get(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

fn beacon(client: &str, edge: &str, rtt_ms: &str) -> String {
    let body = format!("{{\"client\":\"{client}\",\"edge\":\"{edge}\",\"rtt_ms\":{rtt_ms}}}");
    let len = body.len();
    format!("POST /beacon HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}")
}

#[test]
fn clients_are_sent_to_their_edge_with_path_and_query() {
    let world = world().healthy();
    for (from, edge) in [(BERLIN, 0), (OSAKA, 1)] {
        let answer = world.http(from, &get("/a/b?c=d", "www.demo.test:4470"));
        assert!(answer.starts_with("HTTP/1.1 307 "), "{answer}");
        assert!(answer.contains(&format!("location: http://{}/a/b?c=d\r\n", world.edges[edge].address)), "{answer}");
        assert!(answer.contains("x-iso-reason: route_lowest_estimate\r\n"), "{answer}");
    }
    let absolute = world.http(OSAKA, &get("http://www.demo.test/x", "other.test"));
    assert!(absolute.contains(&format!("location: http://{}/x\r\n", world.edges[1].address)), "{absolute}");
    assert_eq!(world.handle.counters().value(Counter::RouterHttpRedirects), 3);
}

#[test]
fn a_redirect_may_name_the_edge_and_what_is_wanted_there() {
    let world = world_with(|config| config.redirect_to = RedirectTo::Name).healthy();
    let answer = world.http(OSAKA, &get("/", "www.demo.test"));
    let port = world.edges[1].address.port();
    assert!(answer.contains(&format!("location: http://nrt.demo.cdn.test:{port}/\r\n")), "{answer}");
}

#[test]
fn clients_that_choose_themselves_get_a_list() {
    let world = world().healthy();
    let answer = world.http(OSAKA, &get("/.iso/route", "www.demo.test"));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let list: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&list["ttl_s"], &list["edges"][0]["pop"]), (&60.into(), &"NRT".into()));
    assert_eq!(list["edges"].as_array().unwrap().len(), 2);
    assert_eq!(list["edges"][0]["name"], "nrt.demo.cdn.test");
}

#[test]
fn strangers_and_the_malformed_are_rejected() {
    let world = world().healthy();
    for (request, status) in [
        (get("/", "www.example.com"), "404"),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: www.demo.test\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n".into(), "400"),
        (get("www.demo.test:80", "www.demo.test"), "400"),
        (get("*", "www.demo.test"), "400"),
        (get("http://www.example.com/", "www.demo.test"), "404"),
        (get("/beacon", "www.demo.test"), "405"),
        ("CONNECT www.demo.test:80 HTTP/1.1\r\nHost: www.demo.test:80\r\nConnection: close\r\n\r\n".into(), "405"),
        ("garbage\r\n\r\n".into(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000)), "431"),
    ] {
        let answer = world.http(BERLIN, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60} {answer}");
    }
    wait_until("all ten are counted", || world.handle.counters().value(Counter::RouterHttpRejected) == 10);
}

#[test]
fn beacons_are_taken_from_those_whom_they_concern() {
    let world = world().healthy();
    let edge = world.edges[0].address.ip().to_string();
    for (from, request, status) in [
        (BERLIN, beacon("198.18.1.0/24", &edge, "12.3"), "204"),
        (Ipv4Addr::LOCALHOST, beacon("198.18.1.7", &edge, "12.3"), "204"),
        (BERLIN, beacon("198.18.3.0/24", &edge, "1.0"), "403"),
        (Ipv4Addr::LOCALHOST, beacon("10.0.0.0/24", &edge, "12.3"), "404"),
        (BERLIN, beacon("198.18.1.0/24", "127.0.0.99", "12.3"), "404"),
        (BERLIN, beacon("198.18.1.0/24", &edge, "0"), "422"),
        (BERLIN, beacon("198.18.1.0/24", &edge, "-1"), "400"),
        (BERLIN, beacon("198.18.1.0/24", &edge, "1e300"), "400"),
        (BERLIN, beacon("nonsense", &edge, "1"), "400"),
        (BERLIN, beacon(&"x".repeat(5000), &edge, "1"), "413"),
    ] {
        let answer = world.http(from, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.120} {answer}");
    }
    assert_eq!(world.handle.counters().value(Counter::RouterBeacons), 2);
}

#[test]
fn connections_beyond_the_limit_and_slow_clients_are_let_go() {
    let world = world_with(|config| {
        config.limits.http_connections_max = 1;
        config.limits.http_header_timeout = std::time::Duration::from_millis(50);
    });
    let _slow = std::net::TcpStream::connect(world.http).unwrap();
    let counters = world.handle.counters();
    wait_until("the first is open", || counters.value(Counter::RouterHttpConnections) == 1);
    let _refused = std::net::TcpStream::connect(world.http).unwrap();
    wait_until("the second is refused", || counters.value(Counter::RouterHttpConnectionsRefused) == 1);
    wait_until("the first is closed", || counters.value(Counter::RouterHttpConnections) == 0);
}

#[test]
fn a_client_stays_where_it_was_sent_while_that_edge_may_be_chosen() {
    let world = world_with(|config| config.sticky = Some(std::time::Duration::from_secs(300))).healthy();
    let with = |cookie: &str| {
        format!("GET /a?b HTTP/1.1\r\nHost: www.demo.test\r\nCookie: x=y; {cookie}\r\nConnection: close\r\n\r\n")
    };
    let first = world.http(BERLIN, &get("/a?b", "www.demo.test"));
    assert!(
        first.contains("set-cookie: iso-edge=edge.fra; Max-Age=300; Path=/; HttpOnly; SameSite=Lax\r\n"),
        "{first}"
    );
    // Whoever was in Osaka before is not sent elsewhere for having moved to Berlin.
    let held = world.http(BERLIN, &with("iso-edge=edge.nrt"));
    assert!(held.contains(&format!("location: http://{}/a?b\r\n", world.edges[1].address)), "{held}");
    assert!(held.contains("x-iso-reason: route_sticky\r\n") && held.contains("iso-edge=edge.nrt; "), "{held}");
    for nobody in ["iso-edge=edge.gru", "iso-edge=nonsense", "iso-edge="] {
        let answer = world.http(BERLIN, &with(nobody));
        assert!(answer.contains(&format!("location: http://{}/a?b\r\n", world.edges[0].address)), "{answer}");
    }
    world.handle.set_drained(vec!["NRT".parse().unwrap()]);
    let moved = world.http(BERLIN, &with("iso-edge=edge.nrt"));
    assert!(
        moved.contains("x-iso-reason: route_lowest_estimate\r\n") && moved.contains("iso-edge=edge.fra; "),
        "{moved}"
    );
    assert_eq!(world.handle.counters().value(Counter::RouterHttpSticky), 1);
}
