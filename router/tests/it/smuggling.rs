//! Requests of which two parsers might see different ends: refused as raw bytes, and nothing behind them is served.

use std::net::Ipv4Addr;

use cdn_core::Counter;

use crate::world::{wait_until, world};

const BERLIN: Ipv4Addr = Ipv4Addr::new(127, 18, 1, 9);
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n";

fn statuses(answer: &str) -> Vec<&str> {
    answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next()).collect()
}

#[test]
fn heads_that_are_in_doubt_are_refused_with_all_that_follows() {
    let world = world().healthy();
    let cases = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "Content-Length: 4, 4\r\n\r\nabcd",
        "Content-Length: +4\r\n\r\nabcd",
        "Content-Length : 4\r\n\r\nabcd",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "X: a\r\n b\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "X: a\nY: b\r\n\r\n",
        "X: a\0\r\n\r\n",
        "Host: other.test\r\n\r\n",
        "X: a\n\n",
    ];
    for (number, rest) in cases.iter().enumerate() {
        let raw = format!("POST /beacon HTTP/1.1\r\nHost: www.demo.test\r\n{rest}{SMUGGLED}");
        let answer = world.http(BERLIN, &raw);
        assert_eq!(statuses(&answer), ["400"], "{rest:?}: {answer}");
        assert!(answer.contains("x-iso-reason: bad_request\r\n"), "{rest:?}: {answer}");
        let rejected = || world.handle.counters().value(Counter::RouterHttpRejected);
        wait_until("it is counted", || rejected() == number as u64 + 1);
    }
    let old = format!(
        "POST / HTTP/1.0\r\nHost: www.demo.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let answer = world.http(BERLIN, &old);
    assert!(answer.starts_with("HTTP/1.0 400 ") || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(!answer.contains("smuggled"), "{answer}");
    assert_eq!(world.handle.counters().value(Counter::RouterHttpRedirects), 0);
}

#[test]
fn good_requests_before_a_bad_one_are_served_in_their_turn() {
    let world = world().healthy();
    let good = "GET /good HTTP/1.1\r\nHost: www.demo.test\r\n\r\n";
    let bad = "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = world.http(BERLIN, &[good, good, bad, SMUGGLED].concat());
    assert_eq!(statuses(&answer), ["307", "307", "400"], "{answer}");
}

#[test]
fn a_body_in_bad_chunks_is_refused_and_ends_the_connection() {
    let world = world().healthy();
    for chunks in ["5\nhello", "5;\nhello", "5 \r\nhello", "0x5\r\nhello", "-5\r\nhello", "5\r\nhello!\r\n", "0\r\n\n"]
    {
        for (target, status) in [("/beacon", "400"), ("/", "307")] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\n");
            let answer = world.http(BERLIN, &[&head, chunks, "\r\n0\r\n\r\n", SMUGGLED].concat());
            assert_eq!(statuses(&answer), [status], "{target} {chunks:?}: {answer}");
        }
    }
}

#[test]
fn a_beacon_in_good_chunks_is_taken_and_the_connection_goes_on() {
    let world = world().healthy();
    let edge = world.edges[0].address.ip();
    let beacon = format!("{{\"client\":\"198.18.1.0/24\",\"edge\":\"{edge}\",\"rtt_ms\":12.3}}");
    let head = "POST /beacon HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let raw = format!("{head}{:x}\r\n{beacon}\r\n0\r\n\r\n{SMUGGLED}", beacon.len());
    assert_eq!(statuses(&world.http(BERLIN, &raw)), ["204", "307"]);
}

#[test]
fn what_follows_a_refused_connect_is_no_request() {
    let world = world().healthy();
    let connect = "CONNECT www.demo.test:443 HTTP/1.1\r\nHost: www.demo.test:443\r\n\r\n";
    assert_eq!(statuses(&world.http(BERLIN, &[connect, SMUGGLED].concat())), ["405"]);
}

#[test]
fn an_encoded_end_of_line_stays_encoded_in_the_location() {
    let world = world().healthy();
    let target = "/a%0d%0aX-Injected:%201?b=%0D%0A%0D%0AHTTP/1.1%20200%20OK";
    let answer =
        world.http(BERLIN, &format!("GET {target} HTTP/1.1\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n"));
    assert!(answer.contains(&format!("{target}\r\n")), "{answer}");
    assert_eq!(statuses(&answer), ["307"]);
    assert!(!answer.lines().any(|line| line.starts_with("X-Injected")), "{answer}");
    for ending in ["\r", "\n", "\0"] {
        let raw = format!("GET /a{ending}X-Injected: HTTP/1.1\r\nHost: www.demo.test\r\n\r\n");
        let answer = world.http(BERLIN, &raw);
        assert_eq!(statuses(&answer), ["400"], "{answer}");
    }
}

#[test]
fn heads_beyond_the_limits_have_their_statuses() {
    let world = world().healthy();
    let target = format!("GET /{} HTTP/1.1\r\nHost: www.demo.test\r\n\r\n", "a".repeat(9_000));
    let many = format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\n{}\r\n", "X: y\r\n".repeat(101));
    for (raw, status, reason) in [(target, "414", "uri_too_long"), (many, "431", "headers_too_large")] {
        let answer = world.http(BERLIN, &raw);
        assert_eq!(statuses(&answer), [status], "{answer}");
        assert!(answer.contains(&format!("x-iso-reason: {reason}\r\n")), "{answer}");
    }
}
