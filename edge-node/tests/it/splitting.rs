//! Whatever a viewer or an origin says stays within its line: no header line comes out, on either side, that nobody wrote.

use std::collections::BTreeSet;

use cdn_core::distribution::Diagnostics;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use crate::support::{Act, Scripted, Setup, exchange};

/// What injections are made of, as far as it may stand in a line.
const PIECES: [&str; 16] = [
    "%0d%0aX-Injected:%201",
    "%0D%0A%0D%0AHTTP/1.1%20200%20OK",
    "%0a",
    "%00",
    "%250d%250aX-Injected:1",
    // Characters whose last byte is that of CR or LF.
    "\u{560a}\u{560d}X-Injected:1",
    "%E5%98%8A%E5%98%8DX-Injected:1",
    "\\r\\nX-Injected: 1",
    "\u{85}",
    "\u{2028}",
    "\"",
    ";",
    ",",
    ":",
    "=",
    "a",
];

/// Fields that are forwarded, echoed, logged, joined with others or read by the cache.
const FIELDS: [&str; 12] = [
    "X-Forward",
    "X-Forwarded-For",
    "Via",
    "CDN-Loop",
    "User-Agent",
    "Cookie",
    "Referer",
    "Accept-Encoding",
    "If-None-Match",
    "Range",
    "Cache-Control",
    "X-Iso-Reason",
];

fn names(head: &str) -> BTreeSet<String> {
    head.split("\r\n")
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(':').expect("a field").0.to_ascii_lowercase())
        .collect()
}

fn payload() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 1..4).prop_map(|pieces| pieces.concat())
}

#[test]
fn no_line_comes_out_that_nobody_wrote() {
    let runtime = Runtime::new().unwrap();
    let (origin, node) = runtime.block_on(async {
        // It sends its visitors to where they asked to go, which is how most responses are split.
        let origin = Scripted::start(|head, _| {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let head =
                format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nX-Echo: {target}\r\nContent-Length: 0\r\n\r\n");
            vec![Act::Send(head.into_bytes())]
        })
        .await;
        let mut setup = Setup::honour_origin(origin.address);
        setup.spec.diagnostics =
            Diagnostics { cache_status: true, proxy_status: true, server_timing: true, reason: true };
        (origin, setup.start().await)
    });
    let strategy = (payload(), payload(), proptest::sample::subsequence(FIELDS.to_vec(), 0..4), payload());
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&strategy, |(path, query, fields, value)| {
        let (path, query) = (path.replace(' ', "+"), query.replace(' ', "+"));
        let lines: String = fields.iter().map(|field| format!("{field}: {value}\r\n")).collect();
        let before = origin.requests();
        let raw = format!("GET /{path}?{query} HTTP/1.1\r\nHost: www.demo.test\r\n{lines}\r\n");
        let reply = runtime.block_on(exchange(node.address, &raw));
        for name in names(&reply.head) {
            prop_assert!(!name.contains("injected"), "{raw:?}: {}", reply.head);
        }
        prop_assert!(!reply.text().contains("X-Injected"), "{:?}: {}", raw, reply.text());
        if reply.status == 302 {
            let target = format!("/{path}?{query}");
            for line in [format!("\r\nlocation: {target}\r\n"), format!("\r\nx-echo: {target}\r\n")] {
                prop_assert!(reply.head.contains(&line), "{line:?}: {}", reply.head);
            }
        }
        for number in before..origin.requests() {
            let head = origin.head(number);
            let head = head.split("\r\n\r\n").next().unwrap_or_default();
            prop_assert!(!names(head).iter().any(|name| name.contains("injected")), "{}", head);
            prop_assert_eq!(head.split("\r\n").next().unwrap_or_default(), format!("GET /{path}?{query} HTTP/1.1"));
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(origin.requests() > 0, "some of it passes");
}

#[tokio::test]
async fn bytes_that_end_a_line_elsewhere_are_refused_wherever_they_stand() {
    let origin = Scripted::always(vec![crate::support::ok("", "fine")]).await;
    let node = Setup::honour_origin(origin.address).start().await;
    for ending in ["\r", "\n", "\0", "\u{b}", "\u{c}", "\u{7f}"] {
        let mut raws = vec![
            format!("GET /a{ending}X-Injected: HTTP/1.1\r\nHost: www.demo.test\r\n\r\n"),
            format!("GET /?a{ending}X-Injected: HTTP/1.1\r\nHost: www.demo.test\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: www.demo.test{ending}X-Injected: 1\r\n\r\n"),
        ];
        let line =
            |field: &str| format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\n{field}: a{ending}X-Injected: 1\r\n\r\n");
        raws.extend(FIELDS.map(line));
        for raw in raws {
            let reply = exchange(node.address, &raw).await;
            assert_eq!((reply.status, reply.reason().as_str()), (400, "bad_request"), "{raw:?}: {}", reply.head);
            assert!(!reply.head.contains("njected") && !reply.text().contains("njected"), "{raw:?}: {}", reply.head);
        }
    }
    assert_eq!(origin.requests(), 0);
}
