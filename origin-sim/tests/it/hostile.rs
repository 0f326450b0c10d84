use std::time::Duration;

use cdn_core::Counter;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::{DEADLINE, Origin, client::Client, wait_until};

/// What the origin answers to raw bytes before it closes.
async fn raw(origin: &Origin, bytes: &[u8]) -> String {
    let mut client = Client::connect(origin.address).await;
    // It may stop reading before all is written.
    let _ = client.stream.write_all(bytes).await;
    let _ = client.stream.shutdown().await;
    String::from_utf8_lossy(&client.rest().await.0).into_owned()
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_process_lives() {
    let origin = Origin::start(|_| {});
    for wrong in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\x00",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let answer = raw(&origin, wrong.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{wrong:?} got {answer:?}");
    }
    let counters = origin.handle.counters();
    wait_until("they are counted", || counters.value(Counter::OriginRejected) >= 7).await;
    assert_eq!(Client::connect(origin.address).await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_request_with_length_and_chunks_cannot_smuggle_another_one() {
    let origin = Origin::start(|_| {});
    let smuggling = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                     0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = raw(&origin, smuggling.as_bytes()).await;
    assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{answer}");
    assert!(origin.handle.path_counters().iter().all(|row| row.path != "/smuggled"));
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let origin = Origin::start(|_| {});
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    assert!(raw(&origin, long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: 1\r\n".repeat(500));
    assert!(raw(&origin, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert_eq!(origin.handle.counters().value(Counter::OriginRejected), 2);
}

#[tokio::test]
async fn slow_heads_slow_bodies_and_clients_that_take_nothing_are_given_up_on() {
    let origin = Origin::start(|config| {
        config.limits.head_timeout = Duration::from_millis(50);
        config.limits.body_timeout = Duration::from_millis(50);
        config.limits.send_timeout = Duration::from_millis(50);
    });
    let counters = origin.handle.counters().clone();

    let mut slow_head = Client::connect(origin.address).await;
    slow_head.send("GET / HTTP/1.1\r\nHos").await;
    slow_head.rest().await.1.unwrap();
    assert_eq!(counters.value(Counter::OriginHeadTimeouts), 1);

    let mut slow_body = Client::connect(origin.address).await;
    slow_body.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").await;
    let reply = slow_body.reply(false).await.unwrap();
    assert_eq!((reply.status, reply.header("x-origin-reason").unwrap().as_str()), (408, "body_timeout"));
    assert_eq!(counters.value(Counter::OriginBodyTimeouts), 1);

    let mut takes_nothing = Client::connect(origin.address).await;
    takes_nothing.send("GET /?size=1g HTTP/1.1\r\nHost: h\r\n\r\n").await;
    wait_until("it is given up on", || counters.value(Counter::OriginSendTimeouts) == 1).await;
    wait_until("its slot is free", || counters.value(Counter::OriginActive) == 0).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_served() {
    let origin = Origin::start(|config| config.limits.connections_max = 1);
    let mut first = Client::connect(origin.address).await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Client::connect(origin.address).await;
    assert!(second.rest().await.0.is_empty());
    assert_eq!(origin.handle.counters().value(Counter::OriginConnectionsRefused), 1);
    assert_eq!(first.get("/").await.status, 200);
    drop(first);
    let counters = origin.handle.counters();
    wait_until("its place is free", || counters.value(Counter::OriginConnections) == 0).await;
    assert_eq!(Client::connect(origin.address).await.get("/").await.status, 200);
}

#[tokio::test]
async fn shutdown_lets_requests_in_flight_end_and_cuts_those_that_do_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = origin_sim::Config::new("origin.a".parse().unwrap(), 1);
    config.limits.drain_grace = Duration::from_millis(300);
    let (origin, handle) = origin_sim::OriginSim::build(config, listener).unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(origin.serve(stop.clone()));
    let mut ends = Client::connect(address).await;
    ends.send("GET /?delay=100ms HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut hangs = Client::connect(address).await;
    hangs.send("GET /?delay=1h HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.get("/").await.status, 200);
    wait_until("both are served", || handle.counters().value(Counter::OriginActive) == 2).await;
    stop.cancel();
    idle.rest().await.1.unwrap();
    let reply = ends.reply(false).await.unwrap();
    assert_eq!((reply.status, reply.header("connection").as_deref()), (200, Some("close")));
    assert!(hangs.rest().await.0.is_empty());
    tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap().unwrap();
}
