//! What the store has no part in: methods, bodies both ways, WebSocket, draining.

use std::time::Duration;

use bytes::Bytes;
use cdn_core::Counter;
use edge_node::Limits;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{Act, Client, Gate, Running, Scripted, Setup, exchange, get, line, ok, status, wait_until};

#[tokio::test]
async fn every_method_and_its_body_reach_the_origin() {
    let origin = Scripted::start(|head, _| vec![ok("", &format!("{} came", head.split(' ').next().unwrap()))]).await;
    let node = Setup::new(origin.address).start().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let raw = format!(
            "{method} /a?b=c HTTP/1.1\r\nHost: www.demo.test\r\nX-Forward: yes\r\nX-Other: no\r\n\
             Content-Type: text/x\r\nContent-Length: 4\r\n\r\nbody"
        );
        let reply = exchange(node.address, raw).await;
        assert_eq!((reply.status, reply.text()), (200, format!("{method} came")));
        assert_eq!((reply.x_cache().as_str(), reply.reason().as_str()), ("Miss from cloudfront", "pass_method"));
        let head = origin.head(origin.requests() - 1);
        assert!(head.starts_with(&format!("{method} /a?b=c HTTP/1.1\r\n")) && head.ends_with("body"), "{head}");
        for (name, value) in [
            ("host", "www.demo.test"),
            ("x-forward", "yes"),
            ("content-type", "text/x"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            assert_eq!(line(&head, name).as_deref(), Some(value), "{head}");
        }
        assert_eq!(line(&head, "x-other"), None);
    }
    assert_eq!(origin.connections(), 1, "the connection was kept");
    assert_eq!(node.count(Counter::EdgeOriginReuses), 4);
}

#[tokio::test]
async fn a_peers_address_is_translated_before_anything_sees_it() {
    let origin = Scripted::always(vec![ok("", "")]).await;
    let mut setup = Setup::new(origin.address);
    let nat = cdn_core::SourceNat::new("127.0.0.0/15".parse().unwrap(), "198.18.0.0/15".parse().unwrap());
    setup.config.source_nat = Some(nat.unwrap());
    let node = setup.start().await;
    exchange(
        node.address,
        "POST / HTTP/1.1\r\nHost: www.demo.test\r\nX-Forwarded-For: 1.1.1.1\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(line(&origin.head(0), "x-forwarded-for").as_deref(), Some("1.1.1.1,198.18.0.1"));
}

#[tokio::test]
async fn expect_continue_is_answered_by_the_node() {
    let origin = Scripted::always(vec![ok("", "thanks")]).await;
    let node = Setup::new(origin.address).start().await;
    let mut client = Client::connect(node.address).await;
    client.send("PUT / HTTP/1.1\r\nHost: www.demo.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("body").await;
    assert_eq!(client.reply(false).await.text(), "thanks");
    assert_eq!(line(&origin.head(0), "expect"), None);
}

#[tokio::test]
async fn a_stale_kept_connection_is_replaced_without_anybody_noticing() {
    // The origin answers once per connection and closes it without a word, as an impatient server does.
    let origin = Scripted::always(vec![ok("", "fine"), Act::Close]).await;
    let node = Setup::new(origin.address).policy("CachingDisabled").start().await;
    for _ in 0..20 {
        assert_eq!(get(node.address, "/").await.text(), "fine");
    }
}

#[tokio::test]
async fn dropped_idle_connections_are_not_used_again() {
    let origin = Scripted::always(vec![ok("", "fine")]).await;
    let node = Setup::new(origin.address).policy("CachingDisabled").start().await;
    get(node.address, "/").await;
    node.handle.drop_idle_connections();
    get(node.address, "/").await;
    assert_eq!(origin.connections(), 2);
}

/// Bytes in memory that are this process's own.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

const LARGE: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream_both_ways_in_bounded_memory() {
    // An origin that sends back what it is sent, byte for byte, and never holds more than a buffer.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut reads, mut writes) = stream.split();
        tokio::io::copy(&mut reads, &mut writes).await.unwrap();
    });
    let node = Setup::new(address).start().await;
    let before = resident_bytes();
    let client = TcpStream::connect(node.address).await.unwrap();
    let (mut reads, mut writes) = client.into_split();
    let upload = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: {LARGE}\r\n\r\n");
        writes.write_all(head.as_bytes()).await.unwrap();
        let block: Vec<u8> = (0..65_536_u32).map(|at| (at % 251) as u8).collect();
        for _ in 0..LARGE / 65_536 {
            writes.write_all(&block).await.unwrap();
        }
        writes
    });
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reads.read_u8().await.unwrap());
    }
    // Nobody reads for a moment: everything between must hold still instead of growing.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut at, mut peak, mut buffer) = (0_u64, 0, vec![0; 65_536]);
    while at < LARGE {
        let read = reads.read(&mut buffer).await.unwrap();
        assert!(read > 0, "ended at {at}");
        for (byte, position) in buffer[..read].iter().zip(at..).step_by(997) {
            assert_eq!(*byte, (position % 65_536 % 251) as u8, "at {position}");
        }
        at += read as u64;
        if at % (8 << 20) < 65_536 {
            peak = peak.max(resident_bytes());
        }
    }
    upload.await.unwrap();
    let grown = peak.saturating_sub(before) >> 20;
    assert!(grown < 30, "{grown} MiB more");
}

#[tokio::test]
async fn web_sockets_pass_as_raw_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert_eq!(line(&head, "upgrade").as_deref(), Some("websocket"), "{head}");
        assert_eq!(line(&head, "connection").unwrap().to_lowercase(), "upgrade");
        assert_eq!(line(&head, "sec-websocket-key").as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut reads, mut writes) = stream.split();
        tokio::io::copy(&mut reads, &mut writes).await.unwrap();
        writes.shutdown().await.unwrap();
    });
    let node = Setup::new(address).start().await;
    let mut client = Client::connect(node.address).await;
    client
        .send(
            "GET /chat HTTP/1.1\r\nHost: www.demo.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(line(&head, "sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(line(&head, "x-iso-reason").as_deref(), Some("pass_upgrade"));
    assert_eq!(client.bytes(5).await, b"hello");
    // Bytes that look like nothing, and like HTTP that the guard would refuse.
    for frame in [&b"\x81\x05\0\n\r\xff\xfe"[..], b"GET / HTTP/9\r\n\r\n"] {
        client.send(frame).await;
        assert_eq!(client.bytes(frame.len()).await, frame);
    }
    assert_eq!(node.count(Counter::EdgeTunnels), 1);
    client.stream.shutdown().await.unwrap();
    assert!(client.is_closed().await);
    wait_until("the tunnel's end", || node.count(Counter::EdgeTunnels) == 0).await;
}

/// A tunnel through a node to an origin that says nothing and never closes, not even when the other side does.
async fn silent_tunnel(limits: impl FnOnce(&mut Limits)) -> (Running, Client) {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let origin = Scripted::always(vec![Act::Send(answer.into()), Act::Gate(Gate::new())]).await;
    let node = Setup::new(origin.address).limits(limits).start().await;
    let mut client = Client::connect(node.address).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: www.demo.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    client.send(upgrade).await;
    client.head().await;
    (node, client)
}

#[tokio::test]
async fn an_idle_tunnel_is_closed() {
    let (node, mut client) = silent_tunnel(|limits| limits.tunnel_idle_timeout = Duration::from_millis(100)).await;
    assert!(client.is_closed().await);
    wait_until("it is counted", || node.count(Counter::EdgeIdleTimeouts) == 1).await;
}

#[tokio::test]
async fn a_tunnel_whose_client_has_left_is_closed_and_counted() {
    let (node, mut client) = silent_tunnel(|limits| limits.tunnel_half_open_timeout = Duration::from_millis(50)).await;
    client.stream.shutdown().await.unwrap();
    wait_until("it is counted", || node.count(Counter::EdgeTunnelsHalfOpen) == 1).await;
    assert!(client.is_closed().await);
    assert_eq!((node.count(Counter::EdgeTunnels), node.count(Counter::EdgeIdleTimeouts)), (0, 0));
}

#[tokio::test]
async fn a_tunnel_ends_soon_after_the_node_is_told_to_stop() {
    let (mut node, mut client) = silent_tunnel(|limits| {
        // What ends it is not the drain grace: that is longer than any test.
        limits.drain_grace = Duration::from_secs(3_600);
        limits.tunnel_drain_grace = Duration::from_millis(50);
    })
    .await;
    node.stop.cancel();
    node.ended.take().unwrap().await.unwrap().unwrap();
    assert!(client.is_closed().await);
    assert_eq!(node.count(Counter::EdgeTunnelsCut), 1);
}

#[tokio::test]
async fn an_origin_that_declines_the_upgrade_is_heard() {
    let origin = Scripted::always(vec![ok("", "no")]).await;
    let node = Setup::new(origin.address).start().await;
    let upgrade = "GET / HTTP/1.1\r\nHost: www.demo.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let reply = exchange(node.address, upgrade).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "no"));
}

#[tokio::test]
async fn cleartext_http2_is_spoken() {
    let origin = Scripted::always(vec![ok("", "fine")]).await;
    let mut setup = Setup::new(origin.address).policy("CachingDisabled");
    setup.config.plain_http2 = true;
    let node = setup.start().await;
    let stream = TcpStream::connect(node.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = |uri: &str| http::Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request("http://www.demo.test/a?b=c")).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "fine");
    assert!(origin.head(0).starts_with("GET /a HTTP/1.1\r\n"), "{}", origin.head(0));
    let unknown = sender.send_request(request("http://unknown.example/")).await.unwrap();
    assert_eq!(unknown.status().as_u16(), 403);
}

#[tokio::test]
async fn draining_lets_what_runs_finish_and_then_ends() {
    let gate = Gate::new();
    let origin = Scripted::always(vec![Act::Gate(gate.clone()), ok("", "late")]).await;
    let mut node = Setup::new(origin.address).policy("CachingDisabled").start().await;
    let mut client = Client::connect(node.address).await;
    client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    wait_until("the origin is asked", || origin.requests() == 1).await;
    node.stop.cancel();
    wait_until("nobody listens", || std::net::TcpStream::connect(node.address).is_err()).await;
    gate.open();
    let reply = client.reply(false).await;
    assert_eq!((reply.text().as_str(), reply.header("connection").as_str()), ("late", "close"));
    assert!(client.is_closed().await);
    node.ended.take().unwrap().await.unwrap().unwrap();
}

#[tokio::test]
async fn draining_ends_when_the_grace_does() {
    let origin = Scripted::always(vec![Act::Silence]).await;
    let mut node = Setup::new(origin.address)
        .policy("CachingDisabled")
        .limits(|limits| limits.drain_grace = Duration::from_millis(50))
        .start()
        .await;
    let mut client = Client::connect(node.address).await;
    client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    wait_until("the origin is asked", || origin.requests() == 1).await;
    node.stop.cancel();
    node.ended.take().unwrap().await.unwrap().unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_upload_takes_as_long_as_it_takes_and_a_viewer_who_stops_is_the_viewers_fault() {
    let origin = Scripted::always(vec![ok("", "taken")]).await;
    let setup = Setup::new(origin.address).app(|app| app.response_timeout = Duration::from_secs(1));
    let node = setup.limits(|limits| limits.body_idle_timeout = Duration::from_millis(1_500)).start().await;
    let mut client = Client::connect(node.address).await;
    client.send("POST /slow HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 4\r\n\r\n").await;
    let began = tokio::time::Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    for _ in 0..4 {
        pace.tick().await;
        client.send("x").await;
    }
    assert!(began.elapsed() > Duration::from_secs(1), "longer than the origin may take");
    assert_eq!(client.reply(false).await.text(), "taken");
    client.send("POST /stops HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 4\r\n\r\nxx").await;
    let reply = client.reply(false).await;
    assert_eq!((reply.status, reply.reason().as_str()), (408, "body_timeout"));
    assert_eq!(node.count(Counter::EdgeBodyTimeouts), 1);
}

#[tokio::test]
async fn an_origin_that_is_the_edge_itself_is_a_loop_and_nobody_waits() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = Setup::honour_origin(listener.local_addr().unwrap());
    setup.spec.default_behavior.cache_policy = cdn_core::policies::cache_policy("CachingOptimized").unwrap();
    let node = setup.start_on(listener).await;
    let reply = get(node.address, "/loop").await;
    assert_eq!(reply.status, 403);
    assert_eq!(node.count(Counter::EdgeCollapsed), 0);
}

#[tokio::test]
async fn cache_status_of_a_pass_names_the_method_whatever_the_origin_says() {
    let origin = Scripted::always(vec![status(503, "")]).await;
    let node = Setup::new(origin.address).start().await;
    let reply = exchange(node.address, "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(reply.header("cache-status"), "edge.iad; fwd=method; fwd-status=503");
}

#[tokio::test]
async fn a_status_without_a_name_has_no_reason_phrase() {
    let origin = Scripted::always(vec![status(599, "")]).await;
    let node = Setup::new(origin.address).start().await;
    let reply = get(node.address, "/").await;
    assert!(reply.head.starts_with("HTTP/1.1 599 \r\n"), "{}", reply.head);
}
