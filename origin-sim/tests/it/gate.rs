use std::{io, net::IpAddr, sync::Arc, time::Duration};

use cdn_core::{Counter, Counters};
use http::StatusCode;
use origin_sim::{FaultKind, FaultRule, GateStream, SharedFaults, gate};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::{DEADLINE, Origin, client::Client, wait_until};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 77, 0, 1));

fn faults() -> SharedFaults {
    SharedFaults::new(3, Arc::new(Counters::default()))
}

/// An origin behind a gate.
async fn gated(faults: &SharedFaults) -> (Origin, Client<GateStream>) {
    let origin = Origin::start(|_| {});
    let upstream = TcpStream::connect(origin.address).await.unwrap();
    (origin, Client::on(gate(upstream, faults, PEER)))
}

/// The two ends of a connection: the gate's client, and an app that the test plays.
async fn played(faults: &SharedFaults) -> (Client<GateStream>, Client<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (app, _) = listener.accept().await.unwrap();
    (Client::on(gate(upstream, faults, PEER)), Client::on(app))
}

#[tokio::test]
async fn everything_passes_where_no_rule_speaks() {
    let faults = faults();
    let (origin, mut client) = gated(&faults).await;
    assert_eq!(client.get("/a?size=3m").await.body.len(), 3 << 20);
    assert_eq!(client.get("/a?size=300k&chunked=on").await.body.len(), 300 << 10);
    assert_eq!(client.ask("HEAD", "/a?size=1m", "").await.unwrap().status, 200);
    assert_eq!(client.get("/a?status=304").await.status, 304);
    client
        .send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
        .await;
    assert!(client.reply(false).await.unwrap().text().contains("\"body_bytes\": 3"));
    client.send("PUT /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(client.reply(false).await.unwrap().status, 100);
    client.send("12345").await;
    assert_eq!(client.reply(false).await.unwrap().status, 200);
    // Pipelined.
    client.send("GET /p1?size=1 HTTP/1.1\r\nHost: h\r\n\r\nGET /p2?size=2 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.reply(false).await.unwrap().body.len(), 1);
    assert_eq!(client.reply(false).await.unwrap().body.len(), 2);
    assert_eq!(faults.counters().value(Counter::OriginGateRequests), 8);
    assert_eq!(origin.handle.counters().value(Counter::OriginRequests), 8);
}

#[tokio::test]
async fn bytes_pass_exactly_as_they_are() {
    let (mut client, mut app) = played(&faults()).await;
    let request = "GET /x HTTP/1.1\r\nhOsT: h\r\nX-Odd:   spaces  \r\n\r\n";
    client.send(request).await;
    assert_eq!(app.at_least(request.len()).await, request.as_bytes());
    let response = "HTTP/1.0 200 Fine By Me\r\nServer: odd\r\n\r\nuntil the end";
    app.send(response).await;
    app.stream.shutdown().await.unwrap();
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert_eq!(bytes, response.as_bytes());
}

#[tokio::test]
async fn an_upgraded_connection_passes_both_ways_until_both_are_done() {
    let faults = faults();
    let (mut client, mut app) = played(&faults).await;
    client.send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    app.at_least(60).await;
    app.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfirst").await;
    assert_eq!(client.reply(false).await.unwrap().status, 101);
    assert_eq!(client.at_least(5).await, b"first");
    // A rule that comes now does not meet what is no request any more.
    faults.set(vec![FaultRule::new(FaultKind::Reset)]);
    client.send("GET / HTTP/1.1\r\n\r\nbye").await;
    client.stream.shutdown().await.unwrap();
    let (bytes, end) = app.rest().await;
    end.unwrap();
    assert!(bytes.ends_with(b"GET / HTTP/1.1\r\n\r\nbye"));
    app.send("late words").await;
    app.stream.shutdown().await.unwrap();
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert_eq!(bytes, b"firstlate words");
}

#[tokio::test]
async fn an_upgrade_that_is_declined_stays_http() {
    let faults = faults();
    let (_origin, mut client) = gated(&faults).await;
    let fields = "Connection: upgrade\r\nUpgrade: h2c\r\n";
    assert_eq!(client.ask("GET", "/a", fields).await.unwrap().status, 200);
    faults.set(vec![FaultRule::new(FaultKind::Status(StatusCode::IM_A_TEAPOT))]);
    assert_eq!(client.get("/a").await.status, 418);
}

#[tokio::test]
async fn what_is_not_http_passes_too() {
    let faults = faults();
    let (mut client, mut app) = played(&faults).await;
    client.send("SSH-2.0-client\r\n").await;
    assert_eq!(app.at_least(16).await, b"SSH-2.0-client\r\n");
    app.send("SSH-2.0-server\r\n").await;
    assert_eq!(client.at_least(16).await, b"SSH-2.0-server\r\n");
    assert_eq!(faults.counters().value(Counter::OriginGateOpaque), 1);
}

#[tokio::test]
async fn a_status_is_answered_without_the_app_and_the_connection_goes_on() {
    let faults = faults();
    let (origin, mut client) = gated(&faults).await;
    faults.set(vec![FaultRule::new(FaultKind::Status(StatusCode::SERVICE_UNAVAILABLE)).path("/bad*")]);
    client.send("POST /bad HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345").await;
    let reply = client.reply(false).await.unwrap();
    assert_eq!((reply.status, reply.header("x-origin-fault").unwrap().as_str()), (503, "status"));
    assert_eq!(client.ask("HEAD", "/bad", "").await.unwrap().status, 503);
    assert_eq!(client.get("/good").await.status, 200);
    assert_eq!(origin.handle.counters().value(Counter::OriginRequests), 1);

    client.send("POST /bad HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(client.reply(false).await.unwrap().header("connection").unwrap(), "close");
    client.rest().await.1.unwrap();
}

#[tokio::test]
async fn endings_show_as_they_would_on_a_socket() {
    let rules = faults();
    rules.set(vec![FaultRule::new(FaultKind::Reset)]);
    let (_origin, mut client) = gated(&rules).await;
    assert_eq!(client.ask("GET", "/", "").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    rules.set(vec![FaultRule::new(FaultKind::Refuse)]);
    let (_origin, mut client) = gated(&rules).await;
    assert_eq!(client.rest().await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(client.stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    rules.set(vec![FaultRule::new(FaultKind::Garbage)]);
    let (_origin, mut client) = gated(&rules).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert!(!bytes.is_empty() && !bytes.starts_with(b"HTTP"));
}

#[tokio::test]
async fn half_of_the_apps_own_answer_comes_and_then_the_end_or_nothing() {
    let faults = faults();
    faults.set(vec![FaultRule::new(FaultKind::Truncate)]);
    for (query, half) in [("size=100000", 50_000), ("size=1000&chunked=on", 400)] {
        let (_origin, mut client) = gated(&faults).await;
        client.send(&format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        let (bytes, end) = client.rest().await;
        end.unwrap();
        let body = bytes.len() - (bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4);
        assert!(body == half || (query.contains("chunked") && body > half && body < 1000), "{query}: {body}");
    }
    let stall = FaultRule::new(FaultKind::Stall);
    faults.set(vec![stall.clone()]);
    let (_origin, mut client) = gated(&faults).await;
    client.send("GET /?size=100000 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.at_least(50_000).await;
    faults.set(vec![FaultRule::new(FaultKind::Latency(Duration::ZERO)), stall]);
    let more = tokio::time::timeout(Duration::from_millis(50), client.stream.read_u8()).await;
    assert!(more.is_err(), "it still hangs");
    faults.set(vec![]);
    client.rest().await.1.unwrap();
}

#[tokio::test]
async fn a_black_hole_swallows_until_it_is_lifted() {
    let faults = faults();
    let (origin, mut client) = gated(&faults).await;
    assert_eq!(client.get("/").await.status, 200);
    faults.set(vec![FaultRule::new(FaultKind::Blackhole)]);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").await;
    client.send(&"x".repeat(1_000_000)).await;
    faults.set(vec![]);
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert!(bytes.is_empty());
    assert_eq!(origin.handle.counters().value(Counter::OriginRequests), 1);
}

#[tokio::test]
async fn latency_and_throttle_take_their_time() {
    let faults = faults();
    faults.set(vec![
        FaultRule::new(FaultKind::Latency(Duration::from_millis(40))),
        FaultRule::new(FaultKind::Throttle { bits_per_s: 800_000 }),
    ]);
    let (_origin, mut client) = gated(&faults).await;
    let began = Instant::now();
    assert_eq!(client.get("/?size=10000").await.body.len(), 10_000);
    // 40 ms, and 80,000 bits at 800,000 bits per second.
    assert!(began.elapsed() >= Duration::from_millis(138), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_apps_end_is_the_clients_end() {
    let (mut client, app) = played(&faults()).await;
    drop(app);
    client.rest().await.1.unwrap();

    let (mut client, mut app) = played(&faults()).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    app.at_least(18).await;
    socket2::SockRef::from(&app.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(app);
    assert_eq!(client.rest().await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    // The gate may notice while it writes or while it reads.
    for _ in 0..20 {
        let (mut client, app) = played(&faults()).await;
        client.send("GET / HTTP/1.1\r\n\r\n").await;
        socket2::SockRef::from(&app.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(app);
        assert_eq!(client.rest().await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_connection_to_the_app_with_it() {
    let (mut client, mut app) = played(&faults()).await;
    client.send("GET /hanging HTTP/1.1\r\nHost: h\r\n\r\n").await;
    app.at_least(20).await;
    drop(client);
    let _ = tokio::time::timeout(DEADLINE, app.rest()).await.expect("the app is told");

    let rules = faults();
    rules.set(vec![FaultRule::new(FaultKind::Latency(Duration::from_secs(3600)))]);
    let (mut client, mut app) = played(&rules).await;
    client.send("GET /delayed HTTP/1.1\r\nHost: h\r\n\r\n").await;
    wait_until("it is delayed", || rules.counters().value(Counter::OriginFaultLatency) == 1).await;
    drop(client);
    assert!(app.rest().await.0.is_empty());
}
