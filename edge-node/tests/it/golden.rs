//! Golden exchanges with CloudFront, which lie in `tests/golden/exchanges.txt`, played over real sockets.
//!
//! Their numbers are those of the specification: of its golden exchanges, and with a dot of its sections. What takes minutes of a clock is played without sockets in
//! `cdn-core/tests/golden.rs`; what takes several PoPs or TLS towards origins has tests of its own.
//!
//! An exchange is its settings, one a line, and then requests (`>`) with what comes back (`<`) and what origins saw.

use std::time::Duration;

use cdn_core::{
    distribution::{AllowedMethods, Selection},
    error_pages::{ErrorPage, Page},
    geo_restriction::{Country, GeoRestriction},
    viewer_protocol::ViewerProtocolPolicy,
};
use http::StatusCode;
use tokio::net::TcpSocket;

use crate::{
    signatures,
    support::{Act, Client, Reply, Running, Scripted, Setup, line},
    viewers,
};

/// What an origin answers: a path or `*`, and the response.
type Rules = Vec<(String, Vec<u8>)>;

/// `* 200; Cache-Control: max-age=60; body 5`.
fn rule(text: &str) -> (String, Vec<u8>) {
    let mut parts = text.split("; ");
    let (path, status) = parts.next().unwrap().split_once(' ').unwrap();
    let (mut head, mut length) = (format!("HTTP/1.1 {status} X\r\n"), 0);
    for part in parts {
        match part.strip_prefix("body ") {
            Some(bytes) => length = bytes.parse().unwrap(),
            None => head += &format!("{part}\r\n"),
        }
    }
    head += &format!("Content-Length: {length}\r\n\r\n{}", "x".repeat(length));
    (path.to_owned(), head.into_bytes())
}

async fn origin(rules: Rules) -> Scripted {
    Scripted::start(move |head, _| {
        let asked = head.split(' ').nth(1).unwrap();
        let found = rules.iter().find(|(path, _)| path == "*" || path == asked);
        let nothing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        vec![Act::Send(found.map_or(nothing, |(_, response)| response.clone()))]
    })
    .await
}

fn status(code: &str) -> StatusCode {
    code.parse().unwrap()
}

/// What a line of settings says.
fn set(setup: &mut Setup, line: &str) {
    let behavior = &mut setup.spec.default_behavior;
    let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
    match what {
        "policy" => behavior.cache_policy = cdn_core::policies::cache_policy(rest).unwrap(),
        "query" => behavior.cache_policy.query = Selection::Only(vec![rest.into()]),
        "methods" => behavior.allowed_methods = AllowedMethods::Read,
        "disabled" => setup.spec.enabled = false,
        "signed" => signatures::trust(setup),
        "protocol" => {
            let all = ViewerProtocolPolicy::ALL;
            behavior.viewer_protocol = all.into_iter().find(|policy| policy.as_str() == rest).unwrap();
        }
        "block" => setup.spec.geo_restriction = GeoRestriction::Block([Country::parse(rest).unwrap()].into()),
        "error" => {
            let mut words = rest.split(' ');
            let (code, ttl) = (status(words.next().unwrap()), words.next().unwrap().parse().unwrap());
            let page = words.next().map(|path| Page { path: path.into(), status: status(words.next().unwrap()) });
            setup.spec.error_pages.push(ErrorPage { status: code, ttl: Duration::from_secs(ttl), page });
        }
        _ => panic!("no setting: {line}"),
    }
}

struct Exchange<'a> {
    title: &'a str,
    edge: Running,
    origin: Scripted,
    secondary: Scripted,
}

impl<'a> Exchange<'a> {
    /// Starts what the settings of `text` ask for; the lines that follow them come back.
    async fn start(text: &'a str) -> (Self, Vec<&'a str>) {
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let title = lines.next().unwrap();
        let (settings, rest): (Vec<_>, Vec<_>) = lines.partition(|line| !is_step(line));
        let rules =
            |who: &str| -> Rules { settings.iter().filter_map(|line| line.strip_prefix(who)).map(rule).collect() };
        let (origin, secondary) = (origin(rules("origin ")).await, origin(rules("secondary ")).await);
        let group = settings.iter().find_map(|line| line.strip_prefix("group "));
        let mut setup = match group {
            Some(code) => Setup::group(origin.address, secondary.address, &[code.parse().unwrap()]),
            None => Setup::new(origin.address),
        };
        viewers::know_places(&mut setup);
        for line in
            settings.iter().filter(|line| !["origin ", "secondary ", "group "].iter().any(|who| line.starts_with(who)))
        {
            set(&mut setup, line);
        }
        (Self { title, edge: setup.start().await, origin, secondary }, rest)
    }

    async fn play(&self, steps: &[&str]) {
        let mut steps = steps.iter().peekable();
        let mut last: Option<(Client, Reply)> = None;
        while let Some(step) = steps.next() {
            if step.starts_with("> ") {
                let mut request = vec![step.trim_start_matches("> ")];
                while let Some(more) = steps.next_if(|step| step.starts_with("> ")) {
                    request.push(more.trim_start_matches("> "));
                }
                last = Some(self.ask(&request).await);
            } else if let Some(expected) = step.strip_prefix("< ") {
                let (client, reply) = last.as_mut().expect("a request before it");
                self.hold(expected, client, reply).await;
            } else {
                self.look(step).await;
            }
        }
    }

    async fn ask(&self, lines: &[&str]) -> (Client, Reply) {
        let (from, lines) = match lines {
            [first, rest @ ..] if first.starts_with("from ") => (first.trim_start_matches("from "), rest),
            _ => ("127.0.0.1", lines),
        };
        let mut head = lines.join("\r\n").replace("/8193-bytes", &format!("/{}", "a".repeat(8_192)));
        if !head.contains("\r\nHost: ") {
            head += "\r\nHost: www.demo.test";
        }
        let body = if head.contains("Content-Length: 1") { "x" } else { "" };
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut client = Client::on(socket.connect(self.edge.address).await.unwrap());
        client.send(format!("{head}\r\n\r\n{body}")).await;
        let reply = client.reply(false).await;
        (client, reply)
    }

    /// Holds a reply against one line.
    async fn hold(&self, expected: &str, client: &mut Client, reply: &Reply) {
        let about = || format!("{}: {expected}\n{}{}", self.title, reply.head, reply.text());
        if let Some(length) = expected.strip_prefix("body ").and_then(|length| length.parse::<usize>().ok()) {
            assert_eq!(reply.body.len(), length, "{}", about());
        } else if let Some(text) = expected.strip_prefix("body contains ") {
            assert!(reply.text().contains(text), "{}", about());
        } else if let Some(name) = expected.strip_prefix("no ") {
            assert_eq!(line(&reply.head, name), None, "{}", about());
        } else if expected == "closed" {
            assert!(client.is_closed().await, "{}", about());
        } else if let Some((name, value)) = expected.split_once(": ") {
            assert_eq!(reply.header(name), value, "{}", about());
        } else {
            assert_eq!(reply.status.to_string(), expected, "{}", about());
        }
    }

    /// What is done, or looked at, between requests.
    async fn look(&self, step: &str) {
        if let Some(pattern) = step.strip_prefix("invalidate ") {
            self.edge.handle.invalidate("demo", pattern).unwrap();
            return;
        }
        let (who, step) = step.split_once(' ').unwrap();
        let origin = if who == "secondary" { &self.secondary } else { &self.origin };
        if let Some(count) = step.strip_prefix("saw ") {
            assert_eq!(origin.requests().to_string(), count, "{}: {who} {step}", self.title);
        } else if let Some(received) = step.strip_prefix("received ") {
            let head = origin.head(origin.requests() - 1);
            match received.split_once(": ") {
                Some((name, value)) => assert_eq!(line(&head, name).as_deref(), Some(value), "{}", self.title),
                None => assert!(head.starts_with(&format!("{received}\r\n")), "{}: {head}", self.title),
            }
        } else {
            panic!("{}: no step: {step}", self.title);
        }
    }
}

fn is_step(line: &str) -> bool {
    let looks = ["origin saw ", "origin received ", "secondary saw ", "invalidate "];
    line.starts_with(['>', '<']) || looks.iter().any(|look| line.starts_with(look))
}

#[tokio::test]
async fn golden_exchanges_go_as_published() {
    let all: Vec<&str> = include_str!("../golden/exchanges.txt").split("\n# ").collect();
    for text in &all {
        let (exchange, steps) = Exchange::start(text).await;
        exchange.play(&steps).await;
    }
    assert_eq!(all.len(), 30);
}
