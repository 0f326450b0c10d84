//! The standard access log: one line for every request, and the right words on it.

use std::sync::{Arc, Mutex};

use cdn_core::{
    realtime_log::RealtimeLog,
    standard_log::{FIELDS, LogStyle},
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::support::{Act, Client, Gate, Running, Scripted, Setup, get, get_with, ok, status, wait_until};

/// The lines that are written on this thread, on which a test's edge runs too.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

impl Visit for Lines {
    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "standard" | "realtime") {
            self.0.lock().unwrap().push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Lines {
    /// Fields of the line of this number, once it is written.
    async fn of<const N: usize>(&self, number: usize, names: [&str; N]) -> [String; N] {
        wait_until("the line of a request", || self.0.lock().unwrap().len() > number).await;
        let line = self.0.lock().unwrap()[number].clone();
        let at = |name| FIELDS.iter().position(|field| *field == name).unwrap();
        names.map(|name| line.split('\t').nth(at(name)).unwrap().to_owned())
    }
}

const TYPES: [&str; 4] =
    ["sc-status", "x-edge-result-type", "x-edge-response-result-type", "x-edge-detailed-result-type"];

async fn edge(origin: &Scripted, policy: &str) -> Running {
    let mut setup = Setup::new(origin.address).policy(policy);
    setup.config.log_style = LogStyle::W3c;
    setup.start().await
}

fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    (lines, guard)
}

#[tokio::test]
async fn who_leaves_with_the_last_byte_has_not_left_before_it() {
    let (lines, _guard) = listen();
    let origin = Scripted::always(vec![ok("Content-Type: text/plain\r\n", "hello")]).await;
    for (policy, result) in [("CachingDisabled", "Miss"), ("CachingOptimized", "Miss"), ("CachingOptimized", "Hit")] {
        let number = lines.0.lock().unwrap().len();
        let edge = edge(&origin, policy).await;
        if result == "Hit" {
            get(edge.address, "/a").await;
            get(edge.address, "/a").await;
        } else {
            get(edge.address, "/a").await;
        }
        let number = if result == "Hit" { number + 1 } else { number };
        assert_eq!(lines.of(number, TYPES).await, ["200", result, result, result], "{policy}");
        assert_eq!(lines.of(number, ["sc-content-len", "sc-content-type"]).await, ["5", "text/plain"]);
    }
}

#[tokio::test]
async fn who_leaves_before_the_head_of_a_response_has_a_line_too() {
    let (lines, _guard) = listen();
    let gate = Gate::new();
    let origin = Scripted::always(vec![Act::Gate(gate.clone()), ok("", "hello")]).await;
    for policy in ["CachingDisabled", "CachingOptimized"] {
        let (asked, number) = (origin.requests(), lines.0.lock().unwrap().len());
        let edge = edge(&origin, policy).await;
        let mut client = Client::connect(edge.address).await;
        client.send("GET /slow HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
        wait_until("the origin is asked", || origin.requests() > asked).await;
        drop(client);
        assert_eq!(lines.of(number, TYPES).await, ["000", "Error", "Error", "ClientCommError"], "{policy}");
        assert_eq!(lines.of(number, ["cs(Host)", "cs-uri-stem"]).await, ["demo.cdn.test", "/slow"]);
    }
    gate.open();
}

#[tokio::test]
async fn cookies_are_logged_where_a_distribution_wants_them() {
    let (lines, _guard) = listen();
    let origin = Scripted::always(vec![ok("", "hello")]).await;
    for (number, (wanted, logged)) in [(false, "-"), (true, "a=1;%20b=%2522")].into_iter().enumerate() {
        let mut setup = Setup::new(origin.address);
        setup.config.log_style = LogStyle::W3c;
        setup.spec.log_cookies = wanted;
        let edge = setup.start().await;
        get_with(edge.address, "/a", "Cookie: a=1; b=%22\r\n").await;
        assert_eq!(lines.of(number, ["cs(Cookie)"]).await, [logged]);
    }
}

#[tokio::test]
async fn records_say_which_origin_answered_and_why_that_one() {
    let (lines, _guard) = listen();
    let primary = Scripted::always(vec![status(503, "")]).await;
    let secondary = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", "hello")]).await;
    let mut setup = Setup::group(primary.address, secondary.address, &[503]);
    let fields = ["s-ip", "sc-status", "cmcd-session-id", "r-host", "sr-reason"];
    let log = Arc::new(RealtimeLog::new(fields, 100).unwrap());
    setup.config.realtime_logs.insert("demo".into(), log);
    let (edge, _shield) = setup.start_with_shield().await;
    get_with(edge.address, "/a", "CMCD-Session: sid=\"s1\"\r\n").await;
    // The shield has asked, and has a record here too: it says the same.
    wait_until("two records", || lines.0.lock().unwrap().len() == 2).await;
    let expected = "demo\t127.0.0.1\t200\ts1\tspare.test\tFailover:503";
    assert_eq!(*lines.0.lock().unwrap(), [expected, expected]);
    get(edge.address, "/a").await;
    wait_until("the record of a hit", || lines.0.lock().unwrap().len() == 3).await;
    assert_eq!(lines.0.lock().unwrap()[2], "demo\t127.0.0.1\t200\t-\t-\t-");
}

#[tokio::test]
async fn what_is_known_of_a_refused_request_is_logged() {
    let (lines, _guard) = listen();
    let origin = Scripted::always(vec![ok("", "hello")]).await;
    let mut setup = Setup::new(origin.address);
    setup.config.log_style = LogStyle::W3c;
    setup.spec.log_cookies = true;
    let edge = setup.start().await;
    let long = "a".repeat(9_000);
    let known = ["sc-status", "cs-method", "cs-uri-stem", "cs-uri-query", "x-host-header", "cs(Host)", "cs(Cookie)"];
    let host = "Host: www.demo.test\r\n";
    for (number, (request, expected)) in [
        // The target is cut where CloudFront's longest ends.
        (
            format!("GET /{long} HTTP/1.1\r\n{host}\r\n"),
            ["414", "GET", &format!("/{}", "a".repeat(8_191)), "-", "www.demo.test", "demo.cdn.test", "-"],
        ),
        (
            format!("PUT /a?b HTTP/1.1\r\n{host}Cookie: c=1\r\nX-A: {long}{long}{long}{long}\r\n\r\n"),
            ["494", "PUT", "/a", "b", "www.demo.test", "demo.cdn.test", "c=1"],
        ),
        (
            format!("GET /a HTTP/1.1\r\n{host}Bad name: 1\r\n\r\n"),
            ["400", "GET", "/a", "-", "www.demo.test", "demo.cdn.test", "-"],
        ),
        ("GET /a HTTP/1.1\r\n\r\n".to_owned(), ["400", "GET", "/a", "-", "-", "-", "-"]),
        ("HEAD /a HTTP/1.1\r\n\r\n".to_owned(), ["400", "HEAD", "/a", "-", "-", "-", "-"]),
        ("\u{1}\u{2} x\r\n\r\n".to_owned(), ["400", "-", "-", "-", "-", "-", "-"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(edge.address).await;
        client.send(request).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.status.to_string(), expected[0]);
        assert_eq!(lines.of(number, known).await, expected);
    }
}

#[tokio::test]
async fn a_body_that_its_origin_cuts_short_is_the_origins_fault() {
    let (lines, _guard) = listen();
    let cut = Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec());
    let origin = Scripted::always(vec![cut, Act::Close]).await;
    for (number, policy) in ["CachingDisabled", "CachingOptimized"].into_iter().enumerate() {
        let edge = edge(&origin, policy).await;
        let mut client = Client::connect(edge.address).await;
        client.send("GET /a HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
        client.head().await;
        client.bytes(5).await;
        assert!(client.is_closed().await);
        assert_eq!(lines.of(number, TYPES).await, ["200", "Error", "Miss", "OriginReadError"], "{policy}");
    }
}
