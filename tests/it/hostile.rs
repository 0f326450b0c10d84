//! Bad input on every port of a running world: refused with the right status, counted, and every process lives.
//!
//! What each parser makes of which bytes is tested where the parser is. Here real processes get all of it, in one world.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    harness::{World, node_in},
    raw::{Reply, Shared, admin, connect, control, exchange, metric, record, rest_of, until_counted},
};

const CONFIG: &str = r#"
preset = "tiny"

[edge]
connections = 40
header_timeout = "1s"
body_timeout = "1s"
"#;

/// More connections than an edge of this world takes.
const FLOOD: usize = 120;
const TAKEN: usize = 40;

static SHARED: Shared = Shared::new();

fn world() -> Arc<World> {
    SHARED.world(|| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hostile.toml");
        std::fs::write(&file, CONFIG).unwrap();
        World::start(&["--config", file.to_str().unwrap()])
    })
}

/// Every process is the one that was started, and viewers are served.
fn assert_untouched(world: &World) {
    let now = world.status_now();
    for node in world.status()["nodes"].as_array().unwrap() {
        let id = node["id"].as_str().unwrap();
        let now = node_in(&now, id);
        assert_eq!((&now["pid"], &now["restarts"]), (&node["pid"], &node["restarts"]), "{now}");
    }
    for edge in ["edge.iad", "edge.fra"] {
        let get = "GET /untouched HTTP/1.1\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n";
        assert_eq!(exchange(&world.address(edge, "http"), get).status(), 200, "{edge}");
    }
}

/// A request line and `Host`, what follows, and a second request that must never be served.
fn with_smuggled(raw: &str) -> String {
    format!("{raw}GET /smuggled HTTP/1.1\r\nHost: www.demo.test\r\n\r\n")
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, reason: &str, what: &str) {
    assert_eq!((reply.status(), reply.reason()), (status, reason), "{what:?}: {}", reply.text);
    assert_eq!(reply.responses(), 1, "{what:?}: {}", reply.text);
    assert!(reply.is_closed, "{what:?} left the connection open");
}

#[test]
fn malformed_and_ambiguous_requests_end_at_the_edge() {
    let world = world();
    let edge = world.address("edge.fra", "http");
    let before = metric(&world, "iso_edge_rejected_total", "edge.fra");
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\n{lines}\r\n");
    let post = |lines: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: www.demo.test\r\n{lines}\r\n\r\n{body}");
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let cases = [
        // Request lines.
        "GARBAGE\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".into(),
        "GET  / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET / HTTP/1.1 \r\nHost: www.demo.test\r\n\r\n".into(),
        "GET /a b HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET /a\0 HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET /#fragment HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET / HTTP/3.0\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET / http/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "G(T / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        // Targets that no request to an origin server has.
        "GET www.demo.test:80 HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET www.demo.test HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET * HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        "GET ftp://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".into(),
        // Headers.
        "GET / HTTP/1.1\r\n\r\n".into(),
        get("Host: www.demo.test\r\n"),
        "GET / HTTP/1.1\nHost: www.demo.test\n\n".into(),
        get("X: a\n\n"),
        get("X: a\rb\r\n"),
        get("X: a\r\n folded\r\n"),
        get("X: a\r\n\tfolded\r\n"),
        "GET / HTTP/1.1\r\n Host: www.demo.test\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost : www.demo.test\r\n\r\n".into(),
        get(": no name\r\n"),
        get("no colon\r\n"),
        get("X: \0\r\n"),
        "GET / HTTP/1.1\r\nHost: user@www.demo.test\r\n\r\n".into(),
        // Framing that two parsers could read differently.
        post("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n"),
        post("Content-Length: 4\r\nContent-Length: 5", "abcd"),
        post("Content-Length: 4, 4", "abcd"),
        post("Content-Length: +5", "abcde"),
        post("Content-Length: -1", ""),
        post("Content-Length: 0x4", "abcd"),
        post("Content-Length: 4e0", "abcd"),
        post("Content-Length:", ""),
        post("Content-Length: 99999999999999999999", ""),
        post("Content-Length : 4", "abcd"),
        post("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        post("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        post("Transfer-Encoding : chunked", "0\r\n\r\n"),
        "POST / HTTP/1.0\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        // Chunks.
        chunked("ZZ\r\n\r\n"),
        chunked("+2\r\nab\r\n0\r\n\r\n"),
        chunked("-2\r\nab\r\n0\r\n\r\n"),
        chunked("0x2\r\nab\r\n0\r\n\r\n"),
        chunked("ffffffffffffffffff\r\nab\r\n0\r\n\r\n"),
        chunked("2\nab\n0\n\n"),
        chunked("2\r\nabc\r\n0\r\n\r\n"),
        chunked("2;\nab\r\n0\r\n\r\n"),
    ];
    for raw in &cases {
        assert_refused(&exchange(&edge, with_smuggled(raw)), 400, "bad_request", raw);
    }
    // Bytes that are no text are nobody's path; the answer to these is not ours but the HTTP library's.
    let reply = exchange(&edge, b"GET /\xff\xfe HTTP/1.1\r\nHost: www.demo.test\r\n\r\n");
    assert!(reply.status() == 400 && reply.is_closed, "{}", reply.text);
    until_counted(&world, "iso_edge_rejected_total", "edge.fra", before + cases.len() as u64 + 1);
    assert_untouched(&world);
}

#[test]
fn what_follows_a_refused_request_on_its_connection_is_not_served() {
    let world = world();
    let edge = world.address("edge.iad", "http");
    let raw = "GET /first HTTP/1.1\r\nHost: www.demo.test\r\n\r\n\
         POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX";
    let reply = exchange(&edge, with_smuggled(raw));
    assert_eq!((reply.status(), reply.responses()), (200, 2), "{}", reply.text);
    assert!(reply.text.contains("HTTP/1.1 400 ") && reply.is_closed, "{}", reply.text);
}

#[test]
fn oversized_heads_have_statuses_of_their_own() {
    let world = world();
    let edge = world.address("edge.iad", "http");
    let before = metric(&world, "iso_edge_rejected_total", "edge.iad");
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: www.demo.test\r\n", "a".repeat(length - 1));
    let header = |length: usize| format!("{}X: {}\r\n", line(1), "x".repeat(length));
    for (raw, status, reason) in [
        (format!("{}\r\n", line(8_193)), 414, "uri_too_long"),
        (line(2_000_000), 414, "uri_too_long"),
        (format!("{}\r\n", header(32_768)), 494, "headers_too_large"),
        (header(2_000_000), 494, "headers_too_large"),
        (format!("{}{}\r\n", line(1), "X: y\r\n".repeat(200)), 494, "headers_too_large"),
    ] {
        assert_refused(&exchange(&edge, &raw), status, reason, &raw[..60]);
    }
    until_counted(&world, "iso_edge_rejected_total", "edge.iad", before + 5);
    let close = "Connection: close\r\n\r\n";
    for raw in [format!("{}{close}", line(8_192)), format!("{}{close}", header(32_000))] {
        assert_eq!(exchange(&edge, &raw).status(), 200, "{:.60}", raw);
    }
    assert_untouched(&world);
}

#[test]
fn methods_and_targets_that_are_not_for_an_edge_are_refused() {
    let world = world();
    let edge = world.address("edge.iad", "http");
    let before = metric(&world, "iso_edge_rejected_total", "edge.iad");
    let end = "Connection: close\r\n\r\n";
    let cases = [
        ("TRACE / HTTP/1.1\r\nHost: www.demo.test\r\n", 403, "method_not_allowed"),
        ("BREW /pot HTTP/1.1\r\nHost: www.demo.test\r\n", 403, "method_not_allowed"),
        ("get / HTTP/1.1\r\nHost: www.demo.test\r\n", 403, "method_not_allowed"),
        ("CONNECT www.demo.test:443 HTTP/1.1\r\nHost: www.demo.test\r\n", 403, "method_not_allowed"),
        ("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n", 403, "method_not_allowed"),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: www.demo.test\r\n", 403, "unknown_host"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n", 403, "unknown_host"),
        ("GET / HTTP/1.1\r\nHost:\r\n", 403, "unknown_host"),
        ("GET / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 2\r\n", 403, "get_with_body"),
    ];
    for (raw, status, reason) in cases {
        assert_refused(&exchange(&edge, format!("{raw}{end}xx")), status, reason, raw);
    }
    until_counted(&world, "iso_edge_rejected_total", "edge.iad", before + cases.len() as u64);
    // An absolute target is legal, and outweighs the header (RFC 9112 section 3.2.2).
    let absolute = format!("GET http://www.demo.test/ HTTP/1.1\r\nHost: evil.example\r\n{end}");
    assert_eq!(exchange(&edge, absolute).status(), 200);
    // No admin answers here, with or without the token: the path is the origin's affair.
    let token = record(&world)["token"].as_str().unwrap().to_owned();
    for path in ["/metrics", "/cache?path=/", "/v1/status", "/faults"] {
        let raw = format!("GET {path} HTTP/1.1\r\nHost: www.demo.test\r\nAuthorization: Bearer {token}\r\n{end}");
        let reply = exchange(&edge, raw);
        assert!(crate::harness::header(&reply.text, "x-amz-cf-pop").is_some(), "{path}: {}", reply.text);
        assert!(!reply.text.contains("iso_edge_requests_total"), "{path}: {}", reply.text);
    }
    assert_untouched(&world);
}

#[test]
fn slow_clients_are_given_up() {
    let world = world();
    let edge = world.address("edge.iad", "http");
    let headers_before = metric(&world, "iso_edge_header_timeouts_total", "edge.iad");
    let bodies_before = metric(&world, "iso_edge_body_timeouts_total", "edge.iad");
    // A byte now and then does not buy more time for a head.
    let began = Instant::now();
    let mut drip = connect(&edge);
    drip.write_all(b"GET / HTTP/1.1\r\nHost: www.demo.test\r\nX: ").unwrap();
    drip.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut first = [0; 1];
    while matches!(drip.read(&mut first), Err(error) if error.kind() == ErrorKind::WouldBlock) {
        assert!(began.elapsed() < Duration::from_secs(8), "a head of endless bytes is still waited for");
        let _ = drip.write_all(b"a");
    }
    let took = began.elapsed();
    drip.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut reply = rest_of(&mut drip);
    reply.text.insert(0, char::from(first[0]));
    assert_refused(&reply, 408, "header_timeout", "a dripping head");
    assert!(took >= Duration::from_millis(900), "it got {took:?} of its second");
    // Silent ones, all at once.
    let silent: Vec<TcpStream> = (0..10)
        .map(|at| {
            let mut stream = connect(&edge);
            stream.write_all(&b"GET / HTTP/1.1\r\nHost: www.demo.test\r\n"[..20 + at]).unwrap();
            stream
        })
        .collect();
    for mut stream in silent {
        assert_refused(&rest_of(&mut stream), 408, "header_timeout", "a silent head");
    }
    let half = "POST /slow HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 10\r\n\r\nhalf";
    assert_refused(&exchange(&edge, half), 408, "body_timeout", "a body that stops");
    let half = "POST /slow HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf";
    assert_refused(&exchange(&edge, half), 408, "body_timeout", "a chunk that stops");
    until_counted(&world, "iso_edge_header_timeouts_total", "edge.iad", headers_before + 11);
    until_counted(&world, "iso_edge_body_timeouts_total", "edge.iad", bodies_before + 2);
    assert_untouched(&world);
}

#[test]
fn a_flood_of_connections_is_refused_beyond_the_limit() {
    let world = world();
    let edge = world.address("edge.nrt", "http");
    let before = metric(&world, "iso_edge_connections_refused_total", "edge.nrt");
    let flood: Vec<TcpStream> = (0..FLOOD).map(|_| connect(&edge)).collect();
    until_counted(&world, "iso_edge_connections_refused_total", "edge.nrt", before + (FLOOD - TAKEN) as u64);
    let refused = flood
        .iter()
        .filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut answer = [0; 1024];
            let mut stream = *stream;
            let read = stream.read(&mut answer).unwrap_or(0);
            let answer = String::from_utf8_lossy(&answer[..read]);
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("connection_limit")
        })
        .count();
    assert!(refused >= FLOOD - TAKEN, "{refused} were told why");
    let open = metric(&world, "iso_edge_connections", "edge.nrt");
    assert!(open <= TAKEN as u64, "{open} are open");
    drop(flood);
    let get = "GET / HTTP/1.1\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n";
    world.until("edge.nrt serves again", || (exchange(&edge, get).status() == 200).then_some(()));
    assert_untouched(&world);
}

/// Bytes that are the same in every run (xorshift).
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = 1 + next() % 600;
    (0..length).map(|_| next() as u8).collect()
}

#[test]
fn noise_on_any_tcp_port_ends_no_process() {
    let world = world();
    let mut ports: Vec<String> = Vec::new();
    for node in world.status()["nodes"].as_array().unwrap() {
        let addresses = node["addresses"].as_object().unwrap().values();
        ports.extend(addresses.filter_map(|address| address.as_str().map(str::to_owned)));
    }
    ports.push(control(&world));
    assert!(ports.len() >= 17, "{ports:?}");
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0; 505]].concat();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0xff; 300]].concat();
    let settings =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]].concat();
    for port in &ports {
        let shaped = [hello.clone(), preface.clone(), settings.clone(), b"\r\n\r\n\r\n".to_vec(), Vec::new()];
        for bytes in shaped.into_iter().chain((0..20).map(noise)) {
            let mut stream = connect(port);
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let reply = rest_of(&mut stream);
            assert!(reply.is_closed, "{port} keeps {bytes:02x?} open: {}", reply.text);
            assert!(!reply.text.contains("200 OK"), "{port} likes {bytes:02x?}: {}", reply.text);
        }
    }
    assert_untouched(&world);
}

/// A DNS message without its id: flags, counts, and the rest.
fn dns(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut message = flags.to_be_bytes().to_vec();
    message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    message.extend_from_slice(rest);
    message
}

const NAME: &[u8] = b"\x03www\x04demo\x04test\x00";
const FORMAT_ERROR: u8 = 1;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// Messages that are no good question, and how they are answered, if at all.
fn bad_messages() -> Vec<(&'static str, Vec<u8>, Option<u8>)> {
    let ask = |kind: u16, class: u16| [NAME, &kind.to_be_bytes(), &class.to_be_bytes()].concat();
    let with = |rest: &[u8]| [ask(1, 1).as_slice(), rest].concat();
    let opt = |version: u8, data: &[u8]| [&[0, 0, 41, 4, 208, 0, version, 0, 0, 0, data.len() as u8], data].concat();
    vec![
        ("an answer", dns(0x8000, [1, 0, 0, 0], &ask(1, 1)), None),
        ("no question", dns(0, [0; 4], b""), Some(FORMAT_ERROR)),
        ("two questions", dns(0, [2, 0, 0, 0], &with(&ask(1, 1))), Some(FORMAT_ERROR)),
        ("65535 questions", dns(0, [u16::MAX; 4], &ask(1, 1)), Some(FORMAT_ERROR)),
        ("an answer inside", dns(0, [1, 1, 0, 0], &ask(1, 1)), Some(FORMAT_ERROR)),
        (
            "a label of 64",
            dns(0, [1, 0, 0, 0], &[b"\x40".as_slice(), &[b'a'; 64], b"\0\0\x01\0\x01"].concat()),
            Some(1),
        ),
        ("a pointer to itself", dns(0, [1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01"), Some(FORMAT_ERROR)),
        ("a pointer beyond", dns(0, [1, 0, 0, 0], b"\xff\xff\0\x01\0\x01"), Some(FORMAT_ERROR)),
        (
            "a name of 320",
            dns(0, [1, 0, 0, 0], &[[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(5), vec![0; 5]].concat()),
            Some(1),
        ),
        ("cut in a label", dns(0, [1, 0, 0, 0], b"\x03ww"), Some(FORMAT_ERROR)),
        ("cut after the name", dns(0, [1, 0, 0, 0], NAME), Some(FORMAT_ERROR)),
        ("two OPT", dns(0, [1, 0, 0, 2], &with(&opt(0, b"").repeat(2))), Some(FORMAT_ERROR)),
        ("a subnet of family 9", dns(0, [1, 0, 0, 1], &with(&opt(0, b"\0\x08\0\x05\0\x09\x08\0\x01"))), Some(1)),
        (
            "a subnet of /200",
            dns(0, [1, 0, 0, 1], &with(&opt(0, b"\0\x08\0\x08\0\x01\xc8\0\x01\x02\x03\x04"))),
            Some(1),
        ),
        ("EDNS version 1", dns(0, [1, 0, 0, 1], &with(&opt(1, b""))), Some(0)),
        ("an update", dns(0x2800, [1, 0, 0, 0], &ask(1, 1)), Some(NOT_IMPLEMENTED)),
        ("operation 15", dns(0x7800, [1, 0, 0, 0], &ask(1, 1)), Some(NOT_IMPLEMENTED)),
        ("a transfer", dns(0, [1, 0, 0, 0], &ask(252, 1)), Some(REFUSED)),
        ("class CHAOS", dns(0, [1, 0, 0, 0], &ask(1, 3)), Some(REFUSED)),
        ("a foreign name", dns(0, [1, 0, 0, 0], b"\x07example\x03com\0\0\x01\0\x01"), Some(REFUSED)),
    ]
}

fn numbered(id: u16, message: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), message].concat()
}

/// A question that has an answer.
fn good_question(id: u16) -> Vec<u8> {
    numbered(id, &dns(0x0100, [1, 0, 0, 0], &[NAME, b"\0\x01\0\x01"].concat()))
}

const ROUTER_COUNTERS: [(&str, u64); 5] = [
    ("iso_router_dns_malformed_total", 12),
    ("iso_router_dns_not_implemented_total", 2),
    ("iso_router_dns_refused_total", 3),
    ("iso_router_dns_bad_version_total", 1),
    ("iso_router_dns_dropped_total", 1),
];

#[test]
fn bad_dns_over_udp_is_answered_in_kind_and_counted() {
    let world = world();
    let before = ROUTER_COUNTERS.map(|(name, _)| metric(&world, name, "router.iad"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(world.address("router.iad", "dns")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let answer = |message: &[u8], id: u16| {
        socket.send(message).unwrap();
        // Answers come in the order of their questions: silence is known by the answer to the next one.
        socket.send(&good_question(0xffff)).unwrap();
        let mut seen = None;
        loop {
            let mut bytes = [0; 4096];
            let length = socket.recv(&mut bytes).unwrap();
            assert!(length >= 12 && bytes[2] & 0x80 != 0, "{:02x?}", &bytes[..length]);
            match u16::from_be_bytes([bytes[0], bytes[1]]) {
                0xffff => {
                    assert_eq!((bytes[3] & 15, bytes[7]), (0, 2), "the good question has two addresses");
                    return seen;
                }
                other => {
                    assert_eq!(other, id);
                    seen = Some(bytes[3] & 15);
                }
            }
        }
    };
    for (id, (what, message, rcode)) in (1..).zip(bad_messages()) {
        assert_eq!(answer(&numbered(id, &message), id), rcode, "{what}");
    }
    for length in 0..12 {
        assert_eq!(answer(&good_question(7)[..length], 7), None, "{length} bytes");
    }
    for seed in 0..300 {
        let id = 1000 + seed as u16;
        let rcode = answer(&numbered(id, &noise(seed)), id);
        assert!(rcode.is_none_or(|rcode| rcode != 0), "noise {seed} was understood");
    }
    for ((name, more), before) in ROUTER_COUNTERS.into_iter().zip(before) {
        until_counted(&world, name, "router.iad", before + more);
    }
    assert_untouched(&world);
}

#[test]
fn bad_dns_over_tcp_is_answered_in_kind_or_cut_off() {
    let world = world();
    let router = world.address("router.iad", "dns");
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes(), message].concat();
    let read = |stream: &mut TcpStream| {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).ok()?;
        Some(message)
    };
    for (id, (what, message, rcode)) in (1..).zip(bad_messages()) {
        let mut stream = connect(&router);
        stream.write_all(&framed(&numbered(id, &message))).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&mut stream).map(|answer| answer[3] & 15), rcode, "{what}");
    }
    let cut = framed(&good_question(1));
    let http = b"GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".to_vec();
    for bytes in [vec![], vec![0], vec![0, 0], vec![0, 1, 7], vec![0xff; 3], http, cut[..20].to_vec()] {
        let mut stream = connect(&router);
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let reply = rest_of(&mut stream);
        assert!(reply.is_closed, "{bytes:02x?}");
    }
    let mut stream = connect(&router);
    stream.write_all(&[framed(&good_question(1)), framed(&good_question(2))].concat()).unwrap();
    let mut ids: Vec<u8> = (0..2).map(|_| read(&mut stream).expect("an answer")[1]).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert_untouched(&world);
}

#[test]
fn bad_requests_to_http_routing_are_refused_and_counted() {
    let world = world();
    let routing = world.address("router.iad", "http");
    let before = metric(&world, "iso_router_http_rejected_total", "router.iad");
    let beacons_before = metric(&world, "iso_router_beacons_refused_total", "router.iad");
    let end = "Connection: close\r\n\r\n";
    let beacon = |body: &str| {
        let length = body.len();
        format!("POST /beacon HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{end}{body}")
    };
    let cases = [
        ("garbage\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost : www.demo.test\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: www.demo.test\r\nX: a\r\n folded\r\n\r\n".into(), 400),
        ("POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: +5\r\n\r\nhello".into(), 400),
        ("POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n".into(), 400),
        ("POST / HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: xchunked\r\n\r\n".into(), 400),
        (format!("GET / HTTP/1.1\r\n{end}"), 400),
        (format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\nHost: www.demo.test\r\n{end}"), 400),
        (format!("GET www.demo.test:80 HTTP/1.1\r\nHost: www.demo.test\r\n{end}"), 400),
        (format!("OPTIONS * HTTP/1.1\r\nHost: www.demo.test\r\n{end}"), 400),
        (format!("GET / HTTP/1.1\r\nHost: evil.example\r\n{end}"), 404),
        (format!("GET http://evil.example/ HTTP/1.1\r\nHost: www.demo.test\r\n{end}"), 404),
        (format!("CONNECT www.demo.test:80 HTTP/1.1\r\nHost: www.demo.test\r\n{end}"), 405),
        (format!("GET /beacon HTTP/1.1\r\nHost: www.demo.test\r\n{end}"), 405),
        (format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\nX: {}\r\n\r\n", "x".repeat(40_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\n{}\r\n", "X: y\r\n".repeat(200)), 431),
        (beacon("{"), 400),
        (beacon("[]"), 400),
        (beacon("{\"client\":\"nowhere\",\"edge\":\"127.77.0.1\",\"rtt_ms\":1}"), 400),
        (beacon("{\"client\":\"198.18.1.0/24\",\"edge\":\"127.77.0.1\",\"rtt_ms\":-1}"), 400),
        (beacon("{\"client\":\"198.18.1.0/24\",\"edge\":\"127.0.0.1\",\"rtt_ms\":1}"), 404),
        (beacon(&"x".repeat(100_000)), 413),
    ];
    for (raw, status) in &cases {
        let reply = exchange(&routing, raw);
        assert_eq!((reply.status(), reply.responses()), (*status, 1), "{raw:.100}: {}", reply.text);
        assert!(reply.is_closed, "{raw:.100}");
    }
    until_counted(&world, "iso_router_http_rejected_total", "router.iad", before + cases.len() as u64);
    until_counted(&world, "iso_router_beacons_refused_total", "router.iad", beacons_before + 4);
    let good = exchange(&routing, format!("GET /a?b HTTP/1.1\r\nHost: www.demo.test\r\n{end}"));
    assert_eq!(good.status(), 307, "{}", good.text);
    assert_untouched(&world);
}

#[test]
fn the_proxy_refuses_what_is_not_of_this_world_and_dials_nothing() {
    let world = world();
    let proxy = world.status()["proxy"].as_str().unwrap().to_owned();
    let before = metric(&world, "iso_viewer_rejected_total", "viewer.proxy");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let foreign = elsewhere.local_addr().unwrap();
    let end = "Host: www.demo.test\r\nConnection: close\r\n\r\n";
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{end}");
    let demo = "http://www.demo.test/";
    let as_user = |value: &str| format!("GET {demo} HTTP/1.1\r\nProxy-Authorization: {value}\r\n{end}");
    let post =
        |lines: &str, body: &str| format!("POST {demo} HTTP/1.1\r\nHost: www.demo.test\r\n{lines}\r\n\r\n{body}");
    let malformed = "bad_request";
    let cases = [
        (get("/"), 400, "viewer_bad_request"),
        (get("www.demo.test:80"), 400, "viewer_bad_request"),
        (get("https://www.demo.test/"), 400, "viewer_bad_request"),
        (get("http://user@www.demo.test/"), 400, "viewer_bad_request"),
        (get("ftp://www.demo.test/"), 400, "viewer_bad_request"),
        (get("http://example.com/"), 502, "viewer_foreign_host"),
        (get(&format!("http://{foreign}/")), 502, "viewer_foreign_host"),
        (get("http://169.254.169.254/"), 502, "viewer_foreign_host"),
        (get("http://www.demo.test:22/"), 502, "viewer_foreign_host"),
        (format!("CONNECT {foreign} HTTP/1.1\r\n{end}"), 502, "viewer_foreign_host"),
        (format!("CONNECT example.com:443 HTTP/1.1\r\n{end}"), 502, "viewer_foreign_host"),
        // `nowhere:`, then two that are no basic credentials.
        (as_user("Basic bm93aGVyZTo="), 400, "viewer_unknown_place"),
        (as_user("Basic %%%%"), 400, "viewer_bad_request"),
        (as_user("Bearer x"), 400, "viewer_bad_request"),
        ("garbage\r\n\r\n".into(), 400, malformed),
        (post("Content-Length: 4\r\nContent-Length: 5", "abcd"), 400, malformed),
        (post("Content-Length: +5", "hello"), 400, malformed),
        (post("Transfer-Encoding: xchunked", "0\r\n\r\n"), 400, malformed),
        (post("X: a\r\n folded\r\nContent-Length: 0", ""), 400, malformed),
        (post("Transfer-Encoding: chunked", "ZZ\r\n"), 400, "viewer_bad_request"),
        (format!("GET {demo} HTTP/1.1\r\n{}{end}", "X: y\r\n".repeat(200)), 431, "headers_too_large"),
    ];
    for (raw, status, reason) in &cases {
        let reply = exchange(&proxy, raw);
        assert_eq!((reply.status(), reply.reason()), (*status, *reason), "{raw:.100}: {}", reply.text);
        assert_eq!(reply.responses(), 1, "{raw:.100}: {}", reply.text);
        assert!(reply.is_closed, "{raw:.100}");
    }
    until_counted(&world, "iso_viewer_rejected_total", "viewer.proxy", before + cases.len() as u64);
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the proxy went somewhere else");
    // What is too large for the edge is the edge's to refuse.
    let large = format!("GET {demo} HTTP/1.1\r\nX: {}\r\n{end}", "x".repeat(40_000));
    assert_refused(&exchange(&proxy, large), 494, "headers_too_large", "40,000 bytes of headers");
    assert_untouched(&world);
}

#[test]
fn the_control_api_answers_bad_requests_with_one_error_and_changes_nothing() {
    let world = world();
    let control = control(&world);
    let before = metric(&world, "iso_control_rejected_total", "");
    let huge = format!("{{\"pop\":\"{}\"}}", "x".repeat(2 << 20));
    let cases = [
        ("POST", "/v1/drain", huge.as_str(), 413, "body_too_large"),
        ("POST", "/v1/drain", "{", 400, "invalid"),
        ("POST", "/v1/drain", "", 400, "invalid"),
        ("POST", "/v1/drain", "null", 400, "invalid"),
        ("POST", "/v1/drain", "{\"pop\":\"FRA\"} x", 400, "invalid"),
        ("POST", "/v1/drain", "{\"pop\":\"FRA\",\"popp\":1}", 400, "invalid"),
        ("POST", "/v1/drain", "{\"pop\":\"\u{0}\"}", 400, "invalid"),
        ("POST", "/v1/drain", "{\"pop\":\"XXX\"}", 404, "unknown_target"),
        ("POST", "/v1/faults", "{\"target\":\"primary\",\"stal\":true}", 400, "invalid"),
        ("POST", "/v1/nodes/edge.fra/kill", "{\"for\":1}", 400, "invalid"),
        ("POST", "/v1/nodes/..%2f..%2fetc/kill", "", 404, "unknown_target"),
        ("POST", "/v1/invalidations", "{\"patterns\":[]}", 400, "invalid"),
        ("GET", "/v1/status/", "", 404, "no_such_route"),
        ("GET", "/v2/status", "", 404, "no_such_route"),
        ("DELETE", "/v1/status", "", 405, "method_not_allowed"),
        ("BREW", "/v1/drain", "", 405, "method_not_allowed"),
        ("GET", "/v1/logs?tial=1", "", 400, "invalid"),
    ];
    for (method, path, body, status, code) in cases {
        let reply = admin(&world, &control, method, path, body);
        assert_eq!((reply.status(), reply.responses()), (status, 1), "{method} {path} {body:.60}: {}", reply.text);
        let document: Value = serde_json::from_str(reply.body()).unwrap();
        assert_eq!(document["error"]["code"], code, "{method} {path} {body:.60}");
        assert!(document["error"]["message"].is_string(), "{document}");
    }
    let unknown = admin(&world, &control, "POST", "/v1/drain", "{\"pop\":\"FRA\",\"popp\":1}").text;
    assert!(unknown.contains("popp"), "{unknown}");
    for (raw, status) in [
        ("garbage\r\n\r\n".to_owned(), 400),
        ("POST /v1/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n".into(), 400),
        (format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000)), 431),
    ] {
        assert_eq!(exchange(&control, &raw).status(), status, "{raw:.60}");
    }
    until_counted(&world, "iso_control_rejected_total", "", before + cases.len() as u64 + 4);
    // Nothing of it without the token, and nothing with a wrong one; the same at every node's admin port.
    let nodes = world.status()["nodes"].as_array().unwrap();
    let admins = nodes.iter().filter_map(|node| node["addresses"]["admin"].as_str());
    for address in admins.chain([control.as_str()]) {
        for token in ["", "Authorization: Bearer 0\r\n", "Authorization: Basic eDp5\r\n"] {
            let raw = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n");
            assert_eq!(exchange(address, raw).status(), 401, "{address} {token}");
        }
    }
    let status = world.status_now();
    assert_eq!((&status["faults"], &status["drained"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_untouched(&world);
}
