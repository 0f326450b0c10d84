use std::{
    io,
    time::{Duration, Instant},
};

use cdn_core::Counter;
use http::StatusCode;
use origin_sim::{FaultKind, FaultRule, fill};

use crate::{Origin, SEED, client::Client, wait_until};

async fn faulty(kind: FaultKind) -> (Origin, Client<tokio::net::TcpStream>) {
    let origin = Origin::start(|_| {});
    // The connection is older than the fault.
    let mut client = Client::connect(origin.address).await;
    assert_eq!(client.get("/healthy").await.status, 200);
    origin.handle.set_faults(vec![FaultRule::new(kind)]);
    (origin, client)
}

#[tokio::test]
async fn a_status_is_answered_on_a_connection_that_goes_on_and_heals() {
    let (origin, mut client) = faulty(FaultKind::Status(StatusCode::BAD_GATEWAY)).await;
    let reply = client.get("/a").await;
    assert_eq!((reply.status, reply.header("x-origin-fault").unwrap().as_str()), (502, "status"));
    assert_eq!(reply.header("x-origin").unwrap(), "primary");
    assert_eq!(client.ask("HEAD", "/a", "").await.unwrap().status, 502);
    origin.handle.set_faults(vec![]);
    assert_eq!(client.get("/a").await.status, 200);
    assert_eq!(origin.handle.counters().value(Counter::OriginFaultStatus), 2);
    assert_eq!(origin.handle.counters().value(Counter::OriginErrors), 2);
}

#[tokio::test]
async fn an_origin_whose_clock_is_wrong_dates_its_answers_by_it() {
    const HOUR: Duration = Duration::from_secs(3600);
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let date = async |client: &mut Client<tokio::net::TcpStream>, name| {
        let reply = client.get("/objects/1?expires=60").await;
        httpdate::parse_http_date(&reply.header(name).unwrap()).unwrap()
    };
    let before = date(&mut client, "date").await;
    origin.handle.set_clock(-i64::try_from(HOUR.as_nanos()).unwrap());
    let (dated, expires) = (date(&mut client, "date").await, date(&mut client, "expires").await);
    let off = before.duration_since(dated).unwrap();
    assert!(off > HOUR - Duration::from_secs(30) && off <= HOUR, "{off:?}");
    assert!(expires.duration_since(dated).unwrap() <= Duration::from_secs(90));
    origin.handle.set_clock(0);
    assert!(date(&mut client, "date").await >= before);
}

#[tokio::test]
async fn latency_comes_before_the_answer() {
    let (_origin, mut client) = faulty(FaultKind::Latency(Duration::from_millis(50))).await;
    let began = Instant::now();
    assert_eq!(client.get("/a").await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_truncated_answer_sends_exactly_half_and_closes() {
    for (size, chunked) in [(1000_usize, "off"), (3_000_000, "off"), (1000, "on")] {
        let (_origin, mut client) = faulty(FaultKind::Truncate).await;
        client.send(&format!("GET /a?size={size}&chunked={chunked} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        let (bytes, end) = client.rest().await;
        end.unwrap();
        let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        if chunked == "on" {
            assert!(!bytes.ends_with(b"0\r\n\r\n"));
            continue;
        }
        assert!(str::from_utf8(&bytes[..body]).unwrap().contains(&format!("content-length: {size}\r\n")));
        let mut half = vec![0; size / 2];
        fill(SEED, "/a", 0, &mut half);
        assert!(bytes[body..] == half[..], "{} of {}", bytes.len() - body, half.len());
    }
}

#[tokio::test]
async fn what_has_no_body_is_truncated_to_nothing() {
    let (_origin, mut client) = faulty(FaultKind::Truncate).await;
    client.send("GET /a?size=0 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn a_stalled_answer_hangs_until_the_fault_is_lifted_and_then_breaks() {
    let (origin, mut client) = faulty(FaultKind::Stall).await;
    client.send("GET /a?size=1000 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let seen = client.at_least(600).await.to_vec();
    assert!(seen.starts_with(b"HTTP/1.1 200"));
    let counters = origin.handle.counters();
    assert_eq!((counters.value(Counter::OriginFaultStall), counters.value(Counter::OriginActive)), (1, 0));
    origin.handle.set_faults(vec![]);
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert!(bytes.len() >= seen.len() && bytes.len() < 900, "{}", bytes.len());
}

#[tokio::test]
async fn garbage_is_not_http() {
    let (_origin, mut client) = faulty(FaultKind::Garbage).await;
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert!(!bytes.is_empty() && !bytes.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_throttled_body_keeps_to_its_rate() {
    let (_origin, mut client) = faulty(FaultKind::Throttle { bits_per_s: 800_000 }).await;
    let began = Instant::now();
    let reply = client.get("/a?size=20000").await;
    let took = began.elapsed();
    assert_eq!(reply.body.len(), 20_000);
    // 20,000 bytes are 160,000 bits: 0.2 s.
    assert!(took >= Duration::from_millis(195), "{took:?}");
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let (_origin, mut client) = faulty(FaultKind::Reset).await;
    let error = client.ask("GET", "/a", "").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_refusal_resets_new_connections_before_a_request() {
    let (origin, mut old) = faulty(FaultKind::Refuse).await;
    let mut new = Client::connect(origin.address).await;
    assert_eq!(new.rest().await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(old.ask("GET", "/a", "").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(origin.handle.counters().value(Counter::OriginFaultRefuse), 2);
}

#[tokio::test]
async fn a_black_hole_reads_everything_and_answers_nothing() {
    let (origin, mut client) = faulty(FaultKind::Blackhole).await;
    client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").await;
    client.send(&"x".repeat(1_000_000)).await;
    let counters = origin.handle.counters();
    wait_until("the fault is counted", || counters.value(Counter::OriginFaultBlackhole) == 1).await;
    assert_eq!(counters.value(Counter::OriginActive), 0);
    origin.handle.set_faults(vec![]);
    let (bytes, end) = client.rest().await;
    end.unwrap();
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn only_the_paths_of_a_rule_are_met() {
    let origin = Origin::start(|_| {});
    origin.handle.set_faults(vec![FaultRule::new(FaultKind::Reset).path("/api/*")]);
    let mut client = Client::connect(origin.address).await;
    assert_eq!(client.get("/a").await.status, 200);
    assert!(client.ask("GET", "/api/x", "").await.is_err());
}
