//! Origins that refuse, vanish, fall silent or answer nonsense, alone and in a group.

use std::time::Duration;

use cdn_core::Counter;
use tokio::{net::TcpListener, time::Instant};

use crate::support::{Act, Scripted, Setup, exchange, get, line, ok, status};

#[tokio::test]
async fn a_selected_status_moves_to_the_secondary() {
    let primary = Scripted::always(vec![status(503, "")]).await;
    let secondary = Scripted::always(vec![ok("", "spare")]).await;
    let node = Setup::group(primary.address, secondary.address, &[503]).policy("CachingDisabled").start().await;
    let reply = get(node.address, "/").await;
    assert_eq!((reply.status, reply.text().as_str(), reply.x_cache().as_str()), (200, "spare", "Miss from cloudfront"));
    assert_eq!((primary.requests(), secondary.requests()), (1, 1));
    assert_eq!(line(&secondary.head(0), "host").as_deref(), Some("spare.test"));
    let timing = reply.header("server-timing");
    for text in ["edge-attempt;desc=\"app response 503\";dur=", "edge-attempt;desc=\"spare response 200\";dur="] {
        assert!(timing.contains(text), "{timing}");
    }
    assert_eq!(node.count(Counter::EdgeFailovers), 1);
}

#[tokio::test]
async fn a_refusing_primary_costs_nothing_and_each_try_is_reported() {
    let secondary = Scripted::always(vec![ok("", "spare")]).await;
    let node = Setup::group(Scripted::refusing().await, secondary.address, &[502])
        .app(|app| app.connection_attempts = 3)
        .policy("CachingDisabled")
        .start()
        .await;
    let reply = get(node.address, "/").await;
    assert_eq!(reply.text(), "spare");
    assert_eq!(reply.header("server-timing").matches("app connect refused").count(), 3);
}

#[tokio::test]
async fn a_black_hole_costs_attempts_times_timeout() {
    // A listener whose queue is full answers no handshake: to a client that is a black hole.
    let hole = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    hole.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect(address)).await
    {
        fill.push(stream);
    }
    let secondary = Scripted::always(vec![ok("", "spare")]).await;
    let node = Setup::group(address, secondary.address, &[504])
        .app(|app| app.connection_timeout = Duration::from_secs(1))
        .policy("CachingDisabled")
        .start()
        .await;
    let began = Instant::now();
    let reply = get(node.address, "/").await;
    let took = began.elapsed();
    assert_eq!(reply.text(), "spare");
    assert!((1.0..1.5).contains(&took.as_secs_f64()), "{took:?}");
    assert!(reply.header("server-timing").contains("app connect timeout"), "{}", reply.header("server-timing"));
}

#[tokio::test]
async fn failures_without_a_group_have_their_status_and_reason() {
    let silent = Scripted::always(vec![Act::Silence]).await;
    let closing = Scripted::always(vec![Act::Close]).await;
    let garbage = Scripted::always(vec![Act::Send(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), Act::Close]).await;
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(40_000));
    let huge = Scripted::always(vec![Act::Send(huge.into_bytes())]).await;
    for (address, status, reason, error) in [
        (Scripted::refusing().await, 502, "origin_refused", "connection_refused"),
        (silent.address, 504, "origin_response_timeout", "http_response_timeout"),
        (closing.address, 502, "origin_reset", "connection_terminated"),
        (garbage.address, 502, "origin_invalid", "http_protocol_error"),
        (huge.address, 502, "origin_headers_too_large", "http_response_header_section_size"),
    ] {
        let node = Setup::new(address).policy("CachingDisabled").start().await;
        let reply = get(node.address, "/").await;
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{}", reply.head);
        assert_eq!(reply.header("proxy-status"), format!("edge.iad; error={error}"));
        assert_eq!(reply.x_cache(), "Error from cloudfront");
    }
}

#[tokio::test]
async fn a_silent_origin_is_asked_again_for_get_and_not_for_post() {
    let origin = Scripted::always(vec![Act::Silence]).await;
    let node =
        Setup::new(origin.address).policy("CachingDisabled").app(|app| app.connection_attempts = 2).start().await;
    let began = Instant::now();
    let post = exchange(node.address, "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1\r\n\r\nx");
    let (post, got) = tokio::join!(post, get(node.address, "/"));
    assert_eq!((post.status, got.status), (504, 504));
    assert_eq!(origin.requests(), 3);
    assert!((2.0..3.0).contains(&began.elapsed().as_secs_f64()));
}

#[tokio::test]
async fn a_post_never_fails_over() {
    let primary = Scripted::always(vec![status(503, "")]).await;
    let secondary = Scripted::always(vec![ok("", "spare")]).await;
    let node = Setup::group(primary.address, secondary.address, &[502, 503, 504]).start().await;
    let raw = "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(exchange(node.address, raw).await.status, 503);
    assert_eq!(secondary.requests(), 0);
}

#[tokio::test]
async fn a_response_cut_short_is_cut_short_for_the_viewer_too() {
    let part = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let origin = Scripted::always(vec![Act::Send(part), Act::Close]).await;
    let node = Setup::new(origin.address).policy("CachingDisabled").start().await;
    let reply = get(node.address, "/").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "half"));
}

#[tokio::test]
async fn a_viewer_who_leaves_ends_a_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Setup::new(listener.local_addr().unwrap()).policy("CachingDisabled").start().await;
    let mut client = crate::support::Client::connect(node.address).await;
    client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = vec![0; 4096];
    let read = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
    assert!(read > 0);
    drop(client);
    let rest = tokio::time::timeout(crate::support::DEADLINE, tokio::io::AsyncReadExt::read(&mut stream, &mut buffer));
    assert!(matches!(rest.await.unwrap(), Ok(0) | Err(_)), "the node hung up");
}
