//! Requests of which two parsers might see different ends: refused as raw bytes, and nothing of them reaches an edge.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use cdn_core::Counter;
use http::Response;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::*;

const GOOD: &str = "GET http://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\n\r\n";

struct Bench {
    viewer: TestViewer,
    requests: Arc<AtomicUsize>,
    _router: TestRouter,
    _edges: TestEdges,
}

impl Bench {
    async fn start() -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let edges = TestEdges::start(1, move |_, request| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                Response::new(text(body))
            }
        })
        .await;
        let router = TestRouter::start().await;
        router.set("www.demo.test", &[[127, 77, 0, 1]]);
        let viewer = TestViewer::start(edges.port, &[&router], |_| {});
        Self { viewer, requests, _router: router, _edges: edges }
    }

    /// Everything that comes back until the proxy closes.
    async fn send(&self, raw: &str) -> String {
        let mut stream = TcpStream::connect(self.viewer.handle.address()).await.unwrap();
        stream.write_all(raw.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an end in time");
        String::from_utf8(answer).unwrap()
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn statuses(answer: &str) -> Vec<&str> {
    let heads = answer.split("HTTP/1.1 ").skip(1);
    heads.filter_map(|head| head.split(' ').next()).collect()
}

#[tokio::test]
async fn heads_that_are_in_doubt_are_refused_with_all_that_follows() {
    let bench = Bench::start().await;
    let cases = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "Content-Length: 4, 4\r\n\r\nabcd",
        "Content-Length: +4\r\n\r\nabcd",
        "Content-Length : 4\r\n\r\nabcd",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "X: a\r\n b\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "X: a\nY: b\r\n\r\n",
        "X: a\0\r\n\r\n",
        "Host: other.test\r\n\r\n",
        "X: a\n\n",
    ];
    for (number, rest) in cases.iter().enumerate() {
        let raw = format!("POST http://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\n{rest}{GOOD}");
        let answer = bench.send(&raw).await;
        assert_eq!(statuses(&answer), ["400"], "{rest:?}: {answer}");
        assert!(answer.contains("x-iso-reason: bad_request\r\n"), "{rest:?}: {answer}");
        assert_eq!(bench.viewer.handle.counters().value(Counter::ViewerRejected), number as u64 + 1);
    }
    let old = "POST http://www.demo.test/ HTTP/1.0\r\nHost: www.demo.test\r\nConnection: keep-alive\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(statuses(&bench.send(&[old, GOOD].concat()).await), ["400"]);
    assert_eq!(bench.requests(), 0, "nothing of it reached an edge");
}

#[tokio::test]
async fn good_requests_before_a_bad_one_are_served_in_their_turn() {
    let bench = Bench::start().await;
    let bad = "POST http://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 3\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let answer = bench.send(&[GOOD, GOOD, bad, GOOD].concat()).await;
    assert_eq!(statuses(&answer), ["200", "200", "400"], "{answer}");
    assert_eq!(bench.requests(), 2);
}

#[tokio::test]
async fn a_body_in_bad_chunks_is_refused_and_ends_the_connection() {
    let bench = Bench::start().await;
    for chunks in ["5\nhello", "5;\nhello", "5 \r\nhello", "0x5\r\nhello", "-5\r\nhello", "5\r\nhello!\r\n", "0\r\n\n"]
    {
        // A short body is kept by the proxy, one of unknown length streams through it.
        for method in ["PUT", "POST"] {
            let head = format!(
                "{method} http://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let answer = bench.send(&[&head, chunks, "\r\n0\r\n\r\n", GOOD].concat()).await;
            assert_eq!(statuses(&answer), ["400"], "{method} {chunks:?}: {answer}");
        }
    }
    let before = bench.requests();
    assert_eq!(bench.viewer.fetch("tokyo", "http://www.demo.test/").await.0, 200);
    assert_eq!(bench.requests(), before + 1);
}

#[tokio::test]
async fn a_body_in_good_chunks_arrives_whole() {
    let bench = Bench::start().await;
    let head = "POST http://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let close = GOOD.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let answer = bench.send(&[head, "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", &close].concat()).await;
    assert_eq!(statuses(&answer), ["200", "200"], "{answer}");
    assert!(answer.contains("hello world"), "{answer}");
}

#[tokio::test]
async fn what_comes_behind_a_connect_belongs_to_the_tunnel_or_to_nobody() {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(port, &[&router], |_| {});
    let address = viewer.handle.address();

    let early = "\u{16}\u{3}\u{1}\n\nnot a request";
    let mut client = TcpStream::connect(address).await.unwrap();
    let connect = "CONNECT www.demo.test:443 HTTP/1.1\r\nHost: www.demo.test:443\r\n\r\n";
    client.write_all([connect, early].concat().as_bytes()).await.unwrap();
    let (mut edge, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    let mut arrived = vec![0; early.len()];
    timeout(DEADLINE, edge.read_exact(&mut arrived)).await.unwrap().unwrap();
    assert_eq!(arrived, early.as_bytes());

    let mut client = TcpStream::connect(address).await.unwrap();
    let refused = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
    client.write_all([refused, GOOD].concat().as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = timeout(DEADLINE, client.read_to_string(&mut answer)).await.expect("an end in time");
    assert_eq!(statuses(&answer), ["502"], "{answer}");
}

#[tokio::test]
async fn what_an_edge_sends_in_doubt_is_refused_and_its_connection_with_it() {
    let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut asked).await.unwrap();
            }
            let head = if number == 0 { "Content-Length: 3\r\nTransfer-Encoding: chunked" } else { "X: y" };
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(port, &[&router], |_| {});
    let mut client = viewer.client().await;
    let response = client.send(get("tokyo", "http://www.demo.test/")).await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["x-iso-reason"], "viewer_edge_invalid");
    drop(response);
    assert_eq!(client.fetch("tokyo", "http://www.demo.test/").await.0, 200, "on another connection");
}

#[tokio::test]
async fn heads_beyond_the_limits_have_their_statuses() {
    let bench = Bench::start().await;
    let target = format!("GET http://www.demo.test/{} HTTP/1.1\r\nHost: www.demo.test\r\n\r\n", "a".repeat(70_000));
    let large = GOOD.replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(70_000)));
    let many = GOOD.replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: y\r\n".repeat(101)));
    for (raw, status, reason) in
        [(target, "414", "uri_too_long"), (large, "431", "headers_too_large"), (many, "431", "headers_too_large")]
    {
        let answer = bench.send(&raw).await;
        assert_eq!(statuses(&answer), [status], "{answer}");
        assert!(answer.contains(&format!("x-iso-reason: {reason}\r\n")), "{answer}");
    }
    assert_eq!(bench.requests(), 0);
}
