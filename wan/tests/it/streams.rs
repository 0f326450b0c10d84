//! Connections through links: what they cost, and that they are streams like any other.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use crate::world::{World, assert_took, ms, path, site, wait_until};
use ::world::{Jitter, PathSpec, TcpOptions, cold_transfer_time};
use cdn_core::Counter;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_service::Service as _;
use wan::{BoxRaw, Probe, RawDial, TcpDial, WanOptions};

#[tokio::test]
async fn a_connect_takes_one_round_trip() {
    let world = World::new(path(40, 0)).await;
    let began = Instant::now();
    let stream = world.connect().await.unwrap();
    assert_took(began.elapsed(), ms(40));
    assert_took(stream.handshake(), ms(40));
    assert_eq!((world.count(Counter::WanConnects), world.count(Counter::WanConnections)), (1, 1));
}

/// Takes its time to open connections.
struct Slow(std::time::Duration);

impl RawDial for Slow {
    fn dial(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> Pin<Box<dyn Future<Output = io::Result<BoxRaw>> + Send>> {
        let pause = self.0;
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            TcpDial.dial(address, source).await
        })
    }
}

#[tokio::test]
async fn a_target_that_answers_late_is_not_what_was_asked_of_the_link() {
    let raw: Option<Arc<dyn RawDial>> = Some(Arc::new(Slow(ms(30))));
    let world = World::with(path(40, 0), WanOptions { raw, ..WanOptions::default() }).await;
    let measured = world.wan.measure(&site(1), world.target, Probe::Handshake).await.unwrap();
    assert_eq!((measured.path, measured.asked), (ms(40), ms(40)));
    assert_took(measured.handshake, ms(70));
    assert!(measured.error() >= ms(30), "{measured:?}");
}

#[tokio::test]
async fn a_refusal_is_known_after_one_round_trip() {
    let world = World::new(path(40, 0)).await;
    let target = world.target;
    drop(world.listener);
    let began = Instant::now();
    let error = world.wan.dialer(site(1), None).connect(target).await.unwrap_err();
    assert_took(began.elapsed(), ms(40));
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(world.counters.value(Counter::WanConnectsFailed), 1);
}

#[tokio::test]
async fn nothing_bypasses_the_links() {
    let world = World::new(path(40, 0)).await;
    let error = world.wan.dialer(site(1), None).connect("127.9.0.1:80".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(world.count(Counter::WanDialNoRoute), 1);
}

#[tokio::test]
async fn sockets_are_bound_to_the_lent_source_address() {
    let world = World::new(path(2, 0)).await;
    let dialer = world.wan.dialer(site(1), Some("127.0.0.9".parse().unwrap()));
    let (near, far) = tokio::join!(dialer.connect(world.target), world.listener.accept());
    near.unwrap();
    assert_eq!(far.unwrap().1.ip().to_string(), "127.0.0.9");
}

#[tokio::test]
async fn each_exchange_on_an_open_connection_takes_one_round_trip() {
    let world = World::new(path(20, 0)).await;
    let (mut near, mut far) = world.pair().await;
    tokio::spawn(async move {
        let mut byte = [0];
        while far.read_exact(&mut byte).await.is_ok() {
            far.write_all(&byte).await.unwrap();
        }
    });
    let began = Instant::now();
    for _ in 0..10 {
        near.write_all(b"x").await.unwrap();
        near.read_exact(&mut [0]).await.unwrap();
    }
    assert_took(began.elapsed(), ms(200));
}

#[tokio::test]
async fn what_was_written_travels_while_the_writer_does_something_else() {
    let world = World::new(path(400, 0)).await;
    let (mut near, mut far) = world.pair().await;
    let began = Instant::now();
    near.write_all(b"one").await.unwrap();
    near.write_all(b"two").await.unwrap();
    assert!(began.elapsed() < ms(150), "a writer is never slept");
    let mut bytes = [0; 6];
    far.read_exact(&mut bytes).await.unwrap();
    assert_took(began.elapsed(), ms(200));
    assert_eq!(&bytes, b"onetwo");
}

#[tokio::test]
async fn a_busy_writer_does_not_hold_up_what_is_due() {
    let world = World::new(path(4, 0)).await;
    let (mut near, mut far) = world.pair().await;
    let sent = tokio::spawn(async move {
        for _ in 0..2_000 {
            near.write_all(b"x").await.unwrap();
            tokio::task::yield_now().await;
        }
        near
    });
    far.read_exact(&mut [0; 2_000]).await.unwrap();
    drop(sent.await.unwrap());
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_dropped_stream_wrote_still_arrives_and_then_the_end() {
    let world = World::new(path(40, 0)).await;
    let (mut near, mut far) = world.pair().await;
    let body = vec![b'x'; 300_000];
    near.write_all(&body[..200_000]).await.unwrap();
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), 200_000);
    drop(far);
    wait_until("the pump has ended", || world.count(Counter::WanConnections) == 0).await;
}

#[tokio::test]
async fn a_user_who_is_gone_lingers_only_so_long() {
    let world = World::with(path(10, 0), WanOptions { linger_max: ms(30), ..WanOptions::default() }).await;
    let (mut near, _far) = world.pair().await;
    // More than the kernel's buffers hold, and nobody reads.
    let fills = async {
        let piece = vec![0; 64 << 10];
        while near.write_all(&piece).await.is_ok() {}
    };
    assert!(tokio::time::timeout(ms(500), fills).await.is_err(), "a reader who does not read stops the writer");
    drop(near);
    wait_until("the linger has expired", || world.count(Counter::WanLingersExpired) == 1).await;
    wait_until("the pump has ended", || world.count(Counter::WanConnections) == 0).await;
}

#[tokio::test]
async fn after_the_users_end_the_answer_still_comes() {
    let world = World::new(path(20, 0)).await;
    let (mut near, mut far) = world.pair().await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(near.write_all(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let mut question = Vec::new();
    far.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    far.write_all(b"answer").await.unwrap();
    drop(far);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
    wait_until("the pump has ended", || world.count(Counter::WanConnections) == 0).await;
}

#[tokio::test]
async fn the_targets_end_and_its_reset_travel_too() {
    let world = World::new(path(60, 0)).await;
    let (mut near, far) = world.pair().await;
    let began = Instant::now();
    drop(far);
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    assert_took(began.elapsed(), ms(30));

    let (mut near, far) = world.pair().await;
    let began = Instant::now();
    far.set_zero_linger().unwrap();
    drop(far);
    assert_eq!(near.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_took(began.elapsed(), ms(30));
    assert_eq!(near.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_slow_reader_stops_the_target() {
    let tcp = TcpOptions { receive_buffer_bytes: 1 << 20, ..TcpOptions::default() };
    let world = World::with(path(10, 0), WanOptions { tcp, ..WanOptions::default() }).await;
    let (mut near, mut far) = world.pair().await;
    let mut sent = 0;
    let piece = vec![1; 64 << 10];
    let flood = async {
        loop {
            sent += far.write(&piece).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(ms(700), flood).await.is_err());
    // What the link holds, plus what two kernel buffers do.
    assert!((1 << 20..24 << 20).contains(&sent), "{sent}");
    let mut left = sent;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        left -= near.read(&mut buffer).await.unwrap();
    }
}

#[tokio::test]
async fn a_cold_transfer_takes_what_the_model_says() {
    let path = path(60, 500_000_000);
    let world = World::new(path).await;
    let began = Instant::now();
    let (mut near, mut far) = world.pair().await;
    tokio::spawn(async move {
        far.read_exact(&mut [0]).await.unwrap();
        far.write_all(&vec![0; 1 << 20]).await.unwrap();
    });
    near.write_all(b"x").await.unwrap();
    near.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
    let asked = cold_transfer_time(&path, 1 << 20, &TcpOptions::default());
    assert_took(began.elapsed(), asked - ms(1));
}

#[tokio::test]
async fn every_byte_arrives_in_order_both_ways_over_a_bad_path() {
    let jitter = Jitter { mean: ms(2), sigma_ln: 0.8 };
    let world = World::new(PathSpec { jitter, loss: 0.002, ..path(4, 0) }).await;
    let (near, far) = world.pair().await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut near_reads, mut near_writes) = tokio::io::split(near);
    let (mut far_reads, mut far_writes) = tokio::io::split(far);
    let (mut to_far, mut to_near) = (Vec::new(), Vec::new());
    let near_body = async {
        near_writes.write_all(&body).await.unwrap();
        near_writes.shutdown().await.unwrap();
    };
    let far_body = async {
        far_writes.write_all(&body).await.unwrap();
        far_writes.shutdown().await.unwrap();
    };
    let (_, _, there, back) =
        tokio::join!(near_body, far_body, far_reads.read_to_end(&mut to_far), near_reads.read_to_end(&mut to_near));
    assert_eq!((there.unwrap(), back.unwrap()), (body.len(), body.len()));
    assert!(to_far == body && to_near == body);
    assert!(world.count(Counter::WanRetransmissions) > 0, "the path loses");
}

#[tokio::test]
async fn connections_share_the_links_bandwidth() {
    // 4 Mbit/s are 500 kB/s: two transfers of 100 kB take 400 ms together.
    let world = World::new(path(10, 4_000_000)).await;
    let began = Instant::now();
    let one = async {
        let (mut near, mut far) = world.pair().await;
        near.write_all(&vec![0; 100_000]).await.unwrap();
        near.shutdown().await.unwrap();
        far.read_to_end(&mut Vec::new()).await.unwrap()
    };
    let two = async {
        let (mut near, mut far) = world.pair().await;
        near.write_all(&vec![0; 100_000]).await.unwrap();
        near.shutdown().await.unwrap();
        far.read_to_end(&mut Vec::new()).await.unwrap()
    };
    assert_eq!(tokio::join!(one, two), (100_000, 100_000));
    assert_took(began.elapsed(), ms(400));
}

#[tokio::test]
async fn a_connector_carries_http() {
    let world = World::new(path(20, 0)).await;
    let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
        Ok::<_, std::convert::Infallible>(hyper::Response::new(request.uri().path().to_owned()))
    });
    let target = world.target;
    let listener = world.listener;
    tokio::spawn(async move {
        let (far, _) = listener.accept().await.unwrap();
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service).await.unwrap();
    });
    let mut dialer = world.wan.dialer(site(1), None);
    let io = dialer.call(format!("http://{target}/").parse().unwrap()).await.unwrap();
    let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    for round in 0..3 {
        let began = Instant::now();
        let request = hyper::Request::get(format!("/{round}")).header("host", "x").body(Empty::<&[u8]>::new()).unwrap();
        let response = send.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("/{round}"));
        assert_took(began.elapsed(), ms(20));
        send.ready().await.unwrap();
    }
}

#[tokio::test]
async fn a_measurement_tells_asked_from_measured() {
    let world = World::new(path(30, 0)).await;
    let answer = async {
        let (mut far, _) = world.listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let count = far.read(&mut request).await.unwrap();
        far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    };
    let (from, probe) = (site(1), Probe::Http { host: "x", path: "/.iso/health" });
    let (measured, request) = tokio::join!(world.wan.measure(&from, world.target, probe), answer);
    let measured = measured.unwrap();
    assert!(request.starts_with("GET /.iso/health HTTP/1.1\r\nHost: x\r\n"), "{request}");
    assert_eq!(measured.path, ms(30));
    assert_took(measured.asked, ms(30));
    assert_took(measured.handshake, ms(30));
    assert_took(measured.round_trip.unwrap(), ms(30));
    assert_eq!(measured.error(), measured.handshake - measured.asked);
}

#[tokio::test]
async fn a_connect_that_is_given_up_leaves_nothing_behind() {
    let world = World::new(path(200, 0)).await;
    assert!(tokio::time::timeout(ms(20), world.connect()).await.is_err());
    assert_eq!((world.count(Counter::WanConnects), world.count(Counter::WanConnections)), (0, 0));
}
