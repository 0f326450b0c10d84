//! HTTP/2 without TLS: many streams on one connection, and clients that do not read.

use std::time::Duration;

use bytes::Bytes;
use cdn_core::Counter;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{Scripted, Setup, exchange, get, ok, wait_until};

/// As many bytes as the path says, which differ from path to path.
fn body_of(path: &str) -> String {
    let length = path.rsplit('/').next().unwrap().parse().unwrap();
    path.chars().cycle().take(length).collect()
}

#[tokio::test]
async fn every_stream_gets_its_own_bytes() {
    let origin = Scripted::start(|head, _| {
        let path = head.split(' ').nth(1).unwrap();
        vec![ok("Cache-Control: max-age=60\r\n", &body_of(path))]
    })
    .await;
    let mut setup = Setup::new(origin.address);
    setup.config.plain_http2 = true;
    let node = setup.start().await;
    let stream = TcpStream::connect(node.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // Empty, gathered, as large as what is gathered, and larger than the client's window.
    let paths: Vec<String> = (0..40)
        .flat_map(|number| [0, 1_000, 7_000, 9_000, 66_000, 300_000].map(|length| format!("/{number}/{length}")))
        .collect();
    for expected in ["Miss from cloudfront", "Hit from cloudfront"] {
        let asked = paths.iter().map(async |path| {
            let mut sender = sender.clone();
            let request =
                http::Request::get(format!("http://www.demo.test{path}")).body(Empty::<Bytes>::new()).unwrap();
            sender.ready().await.unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.headers()["x-cache"], expected, "{path}");
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert!(bytes == body_of(path), "{path}: {} bytes", bytes.len());
        });
        futures_util::future::join_all(asked).await;
    }
    assert_eq!(origin.requests(), paths.len());
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_streams_is_given_up() {
    // Large frames, which are written as they come, and small ones, which wait for each other.
    for (length, streams) in [(900_000, 40_u32), (1_000, 20_000)] {
        let origin = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", &"x".repeat(length))]).await;
        let mut setup = Setup::new(origin.address).limits(|limits| {
            limits.write_timeout = Duration::from_millis(100);
            limits.h2_streams_max = streams;
        });
        setup.config.plain_http2 = true;
        let node = setup.start().await;
        assert_eq!(get(node.address, "/").await.status, 200);
        let (_unread, mut write) = TcpStream::connect(node.address).await.unwrap().into_split();
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // Windows as wide as can be: SETTINGS_INITIAL_WINDOW_SIZE, and the connection's (RFC 9113 sections 6.5 and 6.9).
        sent.extend(frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
        sent.extend(frame(8, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()));
        // GET, http, "/", and the authority (RFC 7541, appendix A).
        let head = [&[0x82, 0x86, 0x84, 0x01, 13][..], b"www.demo.test"].concat();
        sent.extend((0..streams).flat_map(|number| frame(1, 0b101, 2 * number + 1, &head)));
        tokio::spawn(async move {
            let _ = write.write_all(&sent).await;
            // Half a connection is one still.
            std::future::pending::<()>().await;
        });
        wait_until("it is given up", || node.count(Counter::EdgeWriteTimeouts) == 1).await;
        wait_until("it is closed", || node.count(Counter::EdgeConnections) == 0).await;
    }
}

#[tokio::test]
async fn without_tls_it_is_spoken_where_a_node_is_told_to() {
    let origin = Scripted::always(vec![ok("", "")]).await;
    let node = Setup::new(origin.address).start().await;
    let reply = exchange(node.address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!((reply.status, reply.reason().as_str()), (400, "bad_request"));
    assert!(reply.head.starts_with("HTTP/1.1 400"), "{}", reply.head);
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused_with_a_page() {
    let origin = Scripted::always(vec![ok("", "")]).await;
    let mut setup =
        Setup::new(origin.address).policy("CachingDisabled").limits(|limits| limits.header_bytes_max = 2_000);
    setup.config.plain_http2 = true;
    let node = setup.start().await;
    let stream = TcpStream::connect(node.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (length, status) in [(1_000, 200), (3_000, 494)] {
        let request = http::Request::get("http://www.demo.test/").header("x-a", "a".repeat(length));
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{length}");
    }
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
