use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cdn_core::Counter;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::*;

async fn world(edges: &TestEdges) -> (TestRouter, TestViewer) {
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(edges.port, &[&router], |_| {});
    (router, viewer)
}

/// What an edge saw of a request.
type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;

async fn edges_that_note() -> (TestEdges, Seen) {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let edges = TestEdges::start(1, move |_, request: Request<Incoming>| {
        let noted = Arc::clone(&noted);
        async move {
            let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
            noted.lock().unwrap().push((line, request.headers().clone()));
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::builder().header("connection", "x-gone").header("x-gone", "1").body(text(body)).unwrap()
        }
    })
    .await;
    (edges, seen)
}

#[tokio::test]
async fn the_proxy_user_chooses_the_place() {
    let edges = TestEdges::numbered(1).await;
    let (router, viewer) = world(&edges).await;
    for (user, place) in [("nairobi", 41), ("Frankfurt", 7), ("", 81)] {
        assert_eq!(viewer.fetch(user, "http://www.demo.test/").await.0, 200);
        let last = router.script.lock().unwrap().asked.last().unwrap().1;
        assert_eq!(last.ip(), std::net::IpAddr::from([127, 18, place, 53]), "{user}");
    }
}

#[tokio::test]
async fn an_unknown_place_is_400_with_a_suggestion() {
    let edges = TestEdges::numbered(1).await;
    let (_router, viewer) = world(&edges).await;
    for user in ["tokio", "tokyo+resolver=tokio"] {
        let (status, body) = viewer.fetch(user, "http://www.demo.test/").await;
        assert!(status == 400 && body.contains("did you mean \"tokyo\"?"), "{status} {body}");
    }
    let (status, body) = viewer.fetch("tokyo+fly", "http://www.demo.test/").await;
    assert!(status == 400 && body.contains("\"fly\" is not an option"), "{status} {body}");
    assert_eq!(viewer.handle.counters().value(Counter::ViewerRejected), 3);
}

#[tokio::test]
async fn nothing_outside_the_world_is_asked() {
    let edges = TestEdges::numbered(1).await;
    let (router, viewer) = world(&edges).await;
    for url in ["http://example.com/", "http://127.0.0.1:9/", "http://www.demo.test:22/"] {
        let response = viewer.client().await.send(get("tokyo", url)).await;
        assert_eq!(response.status(), 502, "{url}");
        assert_eq!(response.headers()["x-iso-reason"], "viewer_foreign_host");
    }
    assert_eq!(router.asked(), 0);
    assert_eq!(viewer.handle.counters().value(Counter::ViewerConnects), 0);
}

#[tokio::test]
async fn a_name_without_address_is_502() {
    let edges = TestEdges::numbered(1).await;
    let (_router, viewer) = world(&edges).await;
    let (status, body) = viewer.fetch("tokyo", "http://no.demo.test/").await;
    assert!(status == 502 && body.contains("NXDOMAIN"), "{status} {body}");
}

#[tokio::test]
async fn only_what_ends_at_the_proxy_is_taken_out() {
    let (edges, seen) = edges_that_note().await;
    let (_router, viewer) = world(&edges).await;
    let mut sent = request("POST", "tokyo", "http://www.demo.test/a%20b?q=%2F", text("body"));
    for (name, value) in [("x-own", "1"), ("connection", "x-hop"), ("x-hop", "1"), ("proxy-connection", "close")] {
        sent.headers_mut().append(name, value.parse().unwrap());
    }
    let response = viewer.client().await.send(sent).await;
    assert!(!response.headers().contains_key("x-gone") && !response.headers().contains_key("via"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "body");
    let seen = seen.lock().unwrap();
    let (line, headers) = &seen[0];
    assert_eq!(line, "POST /a%20b?q=%2F HTTP/1.1");
    let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "host", "x-own"]);
    assert_eq!(headers["host"], "www.demo.test");
}

#[tokio::test]
async fn an_edge_may_be_named_by_its_address_with_another_host() {
    let (edges, seen) = edges_that_note().await;
    let (router, viewer) = world(&edges).await;
    let mut sent = get("tokyo", &format!("http://127.77.0.1:{}/", edges.port));
    sent.headers_mut().insert("host", "www.demo.test".parse().unwrap());
    assert_eq!(viewer.client().await.send(sent).await.status(), 200);
    assert_eq!(seen.lock().unwrap()[0].1["host"], "www.demo.test");
    assert_eq!(router.asked(), 0);
}

#[tokio::test]
async fn what_a_forward_proxy_cannot_serve_is_400() {
    let edges = TestEdges::numbered(1).await;
    let (_router, viewer) = world(&edges).await;
    for head in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET https://www.demo.test/ HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let answer = raw(&viewer, head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("iso viewer: "), "{answer}");
    }
    for head in ["garbage\r\n\r\n", "GET http://www.demo.test/ HTTP/1.1\r\nbad header\r\n\r\n"] {
        assert!(raw(&viewer, head).await.starts_with("HTTP/1.1 400 "));
    }
}

/// Sends bytes and reads until the proxy has closed.
async fn raw(viewer: &TestViewer, bytes: &str) -> String {
    let mut stream = TcpStream::connect(viewer.handle.address()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn connect_makes_a_tunnel_to_an_edge() {
    let edges = TestEdges::numbered(1).await;
    let (_router, viewer) = world(&edges).await;
    let mut sent = request("CONNECT", "nairobi+ledger=t", "www.demo.test:443", text(""));
    sent.headers_mut().insert("host", "www.demo.test:443".parse().unwrap());
    let response = viewer.client().await.send(sent).await;
    assert_eq!(response.status(), 200);
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    tunnel.write_all(b"GET / HTTP/1.1\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, tunnel.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n1"), "{answer}");
    drop(tunnel);
    wait_until("the ledger has the tunnel", || viewer.handle.ledger("t").is_some_and(|ledger| ledger.complete)).await;
    wait_until("the tunnel is closed", || viewer.handle.counters().value(Counter::ViewerTunnels) == 0).await;
}

#[tokio::test]
async fn a_tunnel_ends_soon_after_the_node_is_told_to_stop() {
    let edges = TestEdges::numbered(1).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        // What ends it is not the drain grace: that is longer than any test.
        config.limits.drain_grace = Duration::from_secs(3_600);
        config.limits.tunnel_drain_grace = Duration::from_millis(50);
    });
    let mut sent = request("CONNECT", "nairobi", "www.demo.test:443", text(""));
    sent.headers_mut().insert("host", "www.demo.test:443".parse().unwrap());
    let response = viewer.client().await.send(sent).await;
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    viewer.stop.cancel();
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, tunnel.read_to_end(&mut rest)).await.unwrap();
    wait_until("it is counted", || viewer.handle.counters().value(Counter::ViewerTunnelsCut) == 1).await;
}

#[tokio::test]
async fn an_upgrade_passes_and_carries_bytes_both_ways() {
    let edges = TestEdges::start(1, |_, mut request: Request<Incoming>| async move {
        assert_eq!(request.headers()["upgrade"], "echo");
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "echo")
            .body(text(""))
            .unwrap()
    })
    .await;
    let (_router, viewer) = world(&edges).await;
    let mut sent = get("tokyo", "http://www.demo.test/ws");
    sent.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    sent.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let response = viewer.client().await.send(sent).await;
    assert_eq!((response.status().as_u16(), &response.headers()["upgrade"]), (101, &"echo".parse().unwrap()));
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    timeout(DEADLINE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn a_body_that_is_no_body_is_refused_in_words_for_people() {
    let (edges, _) = edges_that_note().await;
    let (_router, viewer) = world(&edges).await;
    let mut stream = TcpStream::connect(viewer.handle.address()).await.unwrap();
    let request =
        "POST http://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("x-iso-reason: viewer_bad_request"), "{answer}");
    assert!(answer.contains("the request body broke off: ") && !answer.contains("Body stream"), "{answer}");
}

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 4096;

fn endless() -> Body {
    let chunks = futures_util::stream::iter((0..CHUNKS).map(|_| Ok(Frame::data(Bytes::from_static(&[7; CHUNK])))));
    StreamBody::new(chunks).boxed()
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let edges = TestEdges::start(1, |_, request: Request<Incoming>| async move {
        if request.method() == "GET" {
            return Response::new(endless());
        }
        let (mut body, mut length) = (request.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        Response::new(text(length.to_string()))
    })
    .await;
    let (_router, viewer) = world(&edges).await;
    let mut client = viewer.client().await;
    let response = client.send(request("PUT", "tokyo", "http://www.demo.test/", endless())).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), (CHUNK * CHUNKS).to_string());
    let mut body = client.send(get("tokyo", "http://www.demo.test/")).await.into_body();
    let mut length = 0;
    while let Some(frame) = timeout(DEADLINE, body.frame()).await.unwrap() {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(length, CHUNK * CHUNKS);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_edge() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let edges = TestEdges::start(1, move |_, _| {
        let sent = Arc::clone(&counted);
        async move {
            let chunks = (0..CHUNKS).map(move |_| {
                sent.fetch_add(CHUNK, Ordering::SeqCst);
                Ok(Frame::data(Bytes::from_static(&[7; CHUNK])))
            });
            Response::new(StreamBody::new(futures_util::stream::iter(chunks)).boxed())
        }
    })
    .await;
    let (_router, viewer) = world(&edges).await;
    let response = viewer.client().await.send(get("tokyo", "http://www.demo.test/")).await;
    let (mut before, mut quiet) = (0, 0);
    wait_until("the edge has stopped sending", || {
        let now = sent.load(Ordering::SeqCst);
        let stopped = now == std::mem::replace(&mut before, now) && now > 0;
        quiet = if stopped { quiet + 1 } else { 0 };
        quiet == 25
    })
    .await;
    // Four sockets' buffers and three of hyper's lie between.
    assert!(before < 48 << 20, "{before} of {} bytes", CHUNK * CHUNKS);
    drop(response);
}

#[tokio::test]
async fn an_edge_that_stops_in_the_middle_of_a_body_is_left() {
    let edges = TestEdges::start(1, |_, _| async {
        let first = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"half"))) });
        let rest = futures_util::stream::pending();
        Response::new(StreamBody::new(futures_util::StreamExt::chain(first, rest)).boxed())
    })
    .await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        config.limits.body_idle_timeout = Duration::from_millis(30);
    });
    let response = viewer.client().await.send(get("tokyo+ledger=a", "http://www.demo.test/")).await;
    assert!(!response.body().is_end_stream());
    assert!(timeout(DEADLINE, response.into_body().collect()).await.unwrap().is_err());
    let ledger = viewer.handle.ledger("a").unwrap();
    assert!(!ledger.complete && ledger.error.contains("silent"), "{}", ledger.render());
}

#[tokio::test]
async fn one_connection_more_than_the_limit_is_closed_and_counted() {
    let edges = TestEdges::numbered(1).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| config.limits.connections_max = 1);
    let mut first = viewer.client().await;
    assert_eq!(first.fetch("tokyo", "http://www.demo.test/").await.0, 200);
    assert_eq!(raw(&viewer, "").await, "");
    assert_eq!(viewer.handle.counters().value(Counter::ViewerConnectionsRefused), 1);
    assert_eq!(first.fetch("tokyo", "http://www.demo.test/").await.0, 200);
    drop(first);
    wait_until("the place is free", || viewer.handle.counters().value(Counter::ViewerConnections) == 0).await;
    assert_eq!(viewer.fetch("tokyo", "http://www.demo.test/").await.0, 200);
}

#[tokio::test]
async fn an_open_client_connection_keeps_its_edge_connection_and_closes_it_with_itself() {
    let edges = TestEdges::numbered(1).await;
    let (_router, viewer) = world(&edges).await;
    let mut client = viewer.client().await;
    for _ in 0..5 {
        client.fetch("tokyo", "http://www.demo.test/").await;
    }
    let counters = viewer.handle.counters();
    assert_eq!(counters.value(Counter::ViewerConnects), 1);
    assert_eq!(counters.value(Counter::ViewerConnectionsReused), 4);
    drop(client);
    wait_until("the client is gone", || counters.value(Counter::ViewerConnections) == 0).await;
    assert_eq!(viewer.handle.drop_idle_connections(), 0);
}
