//! What a question costs: the router's own path against decoding and encoding with hickory-proto alone, on a map of
//! 100,000 prefixes with random client subnets; then over a socket.
//!
//! `cargo bench -p router` prints nanoseconds per question, their ratio, and questions per second over UDP with one
//! worker and one client that keeps 64 questions under way.

mod world;

use std::{
    hint::black_box,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode},
    rr::{RData, Record, rdata::A},
};
use hyper_util::rt::TokioIo;
use router::{Handle, Router, Sockets};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

/// An unoptimised build is only there to see that this runs.
const QUESTIONS: usize = if cfg!(debug_assertions) { 5_000 } else { 1_000_000 };

fn main() {
    let (router, handle, dns) = router();
    let questions = world::questions(4096);

    let ours = per_question(&questions, |message, out| {
        black_box(handle.answer(message, SocketAddr::from(([127, 0, 0, 1], 5353)), out));
    });
    let theirs = per_question(&questions, codec_alone);
    println!("router, in process   {:>7.0} ns per question", ours.as_secs_f64() * 1e9);
    println!("hickory codec alone  {:>7.0} ns per question", theirs.as_secs_f64() * 1e9);
    println!("ratio                {:>7.2}", ours.as_secs_f64() / theirs.as_secs_f64());

    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(router.serve(stopped)).map_err(io::Error::other)
    });
    match over_udp(dns, &questions) {
        Ok(rate) => println!("over UDP             {rate:>7.0} questions per second, one worker"),
        Err(error) => println!("over UDP             {error}"),
    }
    stop.cancel();
    drop(server.join());
}

fn router() -> (Router, Handle, SocketAddr) {
    let config = world::config();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets = Sockets::bind(any, any, 1).expect("sockets");
    let connect = service_fn(|_: http::Uri| async {
        Err::<TokioIo<tokio::net::TcpStream>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    });
    let started = Instant::now();
    let (router, handle) = Router::build(config, sockets, connect).expect("a router");
    let prefixes = world::PREFIXES;
    println!("map and snapshot     {:>7.0} ms for {prefixes} prefixes", started.elapsed().as_secs_f64() * 1e3);
    let dns = router.dns_address().expect("an address");
    (router, handle, dns)
}

/// What hickory-proto takes to read the question and write an answer of the same shape, with no decision in between.
fn codec_alone(message: &[u8], out: &mut Vec<u8>) {
    let Ok(query) = Message::from_vec(message) else { return };
    let mut response = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    for question in &query.queries {
        response.add_query(question.clone());
        for last in [1, 2] {
            let data = RData::A(A(Ipv4Addr::new(127, 77, 0, last)));
            response.add_answer(Record::from_rdata(question.name().clone(), 60, data));
        }
    }
    if let Some(edns) = query.edns {
        response.set_edns(edns);
    }
    if let Ok(bytes) = response.to_vec() {
        *out = bytes;
    }
}

/// The better of three rounds: others use this machine too.
fn per_question(questions: &[Vec<u8>], mut answer: impl FnMut(&[u8], &mut Vec<u8>)) -> Duration {
    let mut out = Vec::with_capacity(512);
    let mut round = || {
        let started = Instant::now();
        for message in questions.iter().cycle().take(QUESTIONS) {
            answer(message, &mut out);
            black_box(&out);
        }
        started.elapsed() / QUESTIONS as u32
    };
    round().min(round()).min(round())
}

fn over_udp(dns: SocketAddr, questions: &[Vec<u8>]) -> io::Result<f64> {
    const UNDER_WAY: usize = 64;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(dns)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut buffer = [0; 2048];
    let count = QUESTIONS / 4;
    let mut to_send = questions.iter().cycle();
    let started = Instant::now();
    for at in 0..count + UNDER_WAY {
        if at >= UNDER_WAY {
            socket.recv(&mut buffer)?;
        }
        if at < count
            && let Some(message) = to_send.next()
        {
            socket.send(message)?;
        }
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
