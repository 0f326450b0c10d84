//! Malformed, oversized, slow and too many: refused, counted, and the node lives.

use std::time::Duration;

use cdn_core::Counter;

use crate::support::{Client, Scripted, Setup, exchange, get, ok, wait_until};

async fn node() -> (Scripted, crate::support::Running) {
    let origin = Scripted::always(vec![ok("", "fine")]).await;
    let node = Setup::new(origin.address).policy("CachingDisabled").start().await;
    (origin, node)
}

#[tokio::test]
async fn malformed_requests_are_refused_counted_and_closed() {
    let (origin, node) = node().await;
    let cases: &[&str] = &[
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: www.demo.test\r\nHost: www.demo.test\r\n\r\n",
        "GET / HTTP/1.1\nHost: www.demo.test\n\n",
        "GET / HTTP/1.1\r\nHost: www.demo.test\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : www.demo.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: www.demo.test\r\nX: a\rb\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1e3\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: www.demo.test\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: www.demo.test\r\n\r\n",
        "GARBAGE\r\n\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@www.demo.test\r\n\r\n",
        "GET ftp://www.demo.test/ HTTP/1.1\r\nHost: www.demo.test\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: www.demo.test\r\n\r\n",
    ];
    for (number, raw) in cases.iter().enumerate() {
        let mut client = Client::connect(node.address).await;
        client.send(raw).await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.reason().as_str()), (400, "bad_request"), "{raw:?}: {}", reply.head);
        assert_eq!(reply.x_cache(), "Error from cloudfront");
        assert!(reply.text().contains("The request could not be satisfied."), "{raw:?}");
        assert!(client.is_closed().await, "{raw:?}");
        assert_eq!(node.count(Counter::EdgeRejected), number as u64 + 1, "{raw:?}");
    }
    assert_eq!(origin.requests(), 0, "nothing of it reached the origin");
    assert_eq!(get(node.address, "/").await.text(), "fine");
}

#[tokio::test]
async fn a_bad_chunk_in_a_body_is_refused() {
    for body in ["x\r\nab\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n", "2;\nab\r\n0\r\n\r\n", "-2\r\nab\r\n"] {
        let (_origin, node) = node().await;
        let mut client = Client::connect(node.address).await;
        client
            .send(format!("POST / HTTP/1.1\r\nHost: www.demo.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))
            .await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.reason().as_str()), (400, "bad_request"), "{body:?}: {}", reply.head);
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn what_follows_a_refused_request_is_not_served() {
    let (origin, node) = node().await;
    let mut client = Client::connect(node.address).await;
    let smuggled = "GET /one HTTP/1.1\r\nHost: www.demo.test\r\n\r\n\
         POST /two HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /three HTTP/1.1\r\nHost: www.demo.test\r\n\r\n";
    client.send(smuggled).await;
    assert_eq!(client.reply(false).await.status, 200);
    assert_eq!(client.reply(false).await.status, 400);
    assert!(client.is_closed().await);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn what_follows_a_connect_that_was_refused_is_no_request() {
    let (origin, node) = node().await;
    let mut client = Client::connect(node.address).await;
    let get = "GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n";
    client.send(format!("CONNECT www.demo.test:443 HTTP/1.1\r\nHost: www.demo.test\r\n\r\n{get}")).await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.header("connection").as_str()), (403, "close"));
    assert!(client.is_closed().await);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn oversized_heads_have_their_own_statuses() {
    let (_origin, node) = node().await;
    let uri = format!("GET /{} HTTP/1.1\r\nHost: www.demo.test\r\n\r\n", "a".repeat(8_192));
    let reply = exchange(node.address, &uri).await;
    assert_eq!((reply.status, reply.reason().as_str()), (414, "uri_too_long"));
    let fits = format!("GET /{} HTTP/1.1\r\nHost: www.demo.test\r\n\r\n", "a".repeat(8_191));
    assert_eq!(exchange(node.address, &fits).await.status, 200);
    let headers = format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\nX: {}\r\n\r\n", "a".repeat(40_000));
    let reply = exchange(node.address, &headers).await;
    assert_eq!((reply.status, reply.reason().as_str()), (494, "headers_too_large"));
    let endless = format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\nX: {}", "a".repeat(200_000));
    assert_eq!(exchange(node.address, &endless).await.status, 494);
    let many = format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(exchange(node.address, &many).await.status, 494);
    assert_eq!(get(node.address, "/").await.status, 200);
}

#[tokio::test]
async fn refused_requests_read_like_cloudfronts() {
    let origin = Scripted::always(vec![ok("", "fine")]).await;
    let mut setup = Setup::new(origin.address);
    setup.spec.default_behavior.allowed_methods = cdn_core::distribution::AllowedMethods::Read;
    let node = setup.start().await;
    for (raw, reason, text) in [
        ("GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n", "unknown_host", "Request blocked."),
        (
            "DELETE / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n",
            "method_not_allowed",
            "This distribution is not configured to allow the HTTP request method",
        ),
        ("CONNECT www.demo.test:443 HTTP/1.1\r\nHost: www.demo.test\r\n\r\n", "method_not_allowed", "403 ERROR"),
        ("GET / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1\r\n\r\nx", "get_with_body", "Bad request."),
        (
            "GET / HTTP/1.1\r\nHost: www.demo.test\r\nCDN-Loop: Amazon CloudFront, Amazon CloudFront\r\n\r\n",
            "loop_detected",
            "Request blocked.",
        ),
    ] {
        let reply = exchange(node.address, raw).await;
        assert_eq!((reply.status, reply.reason().as_str()), (403, reason), "{raw:?}");
        assert!(reply.text().contains(text), "{raw:?}: {}", reply.text());
        assert_eq!(reply.header("server"), "CloudFront");
        assert_eq!(reply.header("x-amz-cf-id").len(), 56);
    }
    assert_eq!(origin.requests(), 0);
    let second = "GET / HTTP/1.1\r\nHost: www.demo.test\r\nCDN-Loop: Amazon CloudFront\r\n\r\n";
    assert_eq!(exchange(node.address, second).await.status, 200, "a chain of two is allowed");
}

#[tokio::test]
async fn absolute_form_names_the_host_and_literals_stand_for_the_only_distribution() {
    let (origin, node) = node().await;
    for raw in [
        "GET http://www.demo.test/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n",
        "GET /a?b HTTP/1.1\r\nHost: 127.77.0.1:4480\r\n\r\n",
        "GET /a?b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a?b HTTP/1.1\r\nHost: DEMO.cdn.test:80\r\n\r\n",
    ] {
        assert_eq!(exchange(node.address, raw).await.status, 200, "{raw:?}");
        assert!(origin.head(origin.requests() - 1).starts_with("GET /a HTTP/1.1\r\n"), "{raw:?}");
    }
}

#[tokio::test]
async fn a_slow_head_is_given_up() {
    let origin = Scripted::always(vec![ok("", "fine")]).await;
    let node = Setup::new(origin.address)
        .policy("CachingDisabled")
        .limits(|limits| limits.header_timeout = Duration::from_millis(100))
        .start()
        .await;
    let mut client = Client::connect(node.address).await;
    client.send("GET / HTTP/1.1\r\nHo").await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.reason().as_str()), (408, "header_timeout"));
    assert!(client.is_closed().await);
    assert_eq!(node.count(Counter::EdgeHeaderTimeouts), 1);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let (_origin, node) = {
        let origin = Scripted::always(vec![ok("", "fine")]).await;
        let node = Setup::new(origin.address)
            .policy("CachingDisabled")
            .limits(|limits| limits.body_idle_timeout = Duration::from_millis(100))
            .start()
            .await;
        (origin, node)
    };
    let mut client = Client::connect(node.address).await;
    client.send("POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 10\r\n\r\nhalf").await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.reason().as_str()), (408, "body_timeout"));
    assert!(client.is_closed().await);
    assert_eq!(node.count(Counter::EdgeBodyTimeouts), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_a_busy_one_is_not() {
    let gate = crate::support::Gate::new();
    let script = vec![crate::support::Act::Gate(gate.clone()), ok("", "late")];
    let origin = Scripted::always(script).await;
    let node = Setup::new(origin.address)
        .policy("CachingDisabled")
        .limits(|limits| limits.idle_timeout = Duration::from_millis(100))
        .start()
        .await;
    let mut busy = Client::connect(node.address).await;
    busy.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    let mut idle = Client::connect(node.address).await;
    assert!(idle.is_closed().await);
    assert_eq!(node.count(Counter::EdgeIdleTimeouts), 1);
    gate.open();
    assert_eq!(busy.reply(false).await.text(), "late");
    assert!(busy.is_closed().await);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_and_others_live() {
    let origin = Scripted::always(vec![ok("", "fine")]).await;
    let node =
        Setup::new(origin.address).policy("CachingDisabled").limits(|limits| limits.connections_max = 2).start().await;
    let mut one = Client::connect(node.address).await;
    let _two = Client::connect(node.address).await;
    wait_until("two connections", || node.count(Counter::EdgeConnections) == 2).await;
    for _ in 0..20 {
        let mut more = Client::connect(node.address).await;
        let head = more.head().await;
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("connection_limit"), "{head}");
    }
    assert_eq!(node.count(Counter::EdgeConnectionsRefused), 20);
    one.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!(one.reply(false).await.status, 200);
}

#[tokio::test]
async fn the_probe_is_answered_and_not_counted() {
    let (_origin, node) = node().await;
    let probe = "GET /.iso/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let reply = exchange(node.address, probe).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    node.handle.drain(true);
    let reply = exchange(node.address, probe).await;
    assert_eq!((reply.status, reply.text().as_str()), (503, "draining"));
    assert_eq!(get(node.address, "/").await.status, 200, "viewers who are here are served");
    assert_eq!(node.count(Counter::EdgeRequests), 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_response_is_given_up() {
    let body = "x".repeat(900_000);
    let origin = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", &body)]).await;
    let node =
        Setup::new(origin.address).limits(|limits| limits.write_timeout = Duration::from_millis(100)).start().await;
    let mut client = Client::connect(node.address).await;
    // More than the sockets between hold, and never read.
    client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n".repeat(40)).await;
    wait_until("it is given up", || node.count(Counter::EdgeWriteTimeouts) == 1).await;
    wait_until("it is closed", || node.count(Counter::EdgeConnections) == 0).await;
}

#[tokio::test]
async fn a_connection_flood_leaves_nothing_behind() {
    let (_origin, node) = node().await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(Client::connect(node.address).await);
    }
    wait_until("all are open", || node.count(Counter::EdgeConnections) == 300).await;
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: www.demo").await;
    }
    drop(clients);
    wait_until("all are closed", || node.count(Counter::EdgeConnections) == 0).await;
    assert_eq!(get(node.address, "/").await.status, 200);
}
