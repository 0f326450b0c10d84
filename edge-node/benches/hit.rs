//! What a hit costs: requests per second and CPU per request for a hot object of 1 KiB, over loopback.
//!
//! In the same run, with the same load: the node, and hyper alone answering the same bytes. The ratio is what the node
//! adds; absolute figures depend on the machine. Server and load each have one thread. Then the same object behind one
//! behavior and behind 101, the last of which is its own, in turns.
//!
//! ```text
//! cargo bench -p edge-node --bench hit [-- SECONDS]
//! ```

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use cdn_core::{
    NodeId, Role,
    distribution::{Behavior, Diagnostics, Distribution, DistributionSpec, Origin},
    eviction::EvictionPolicy,
    policies,
    store::admission::AdmissionPolicy,
};
use edge_node::{Compression, Config, Edge, Limits, Tier};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 32;
const BODY: [u8; 1024] = [b'x'; 1024];
/// How often each of two that are held against each other has its turn.
const TURNS: usize = 5;

/// Starts a server and says where it listens.
type Start = Box<dyn Fn() -> SocketAddr>;

/// What one server did.
struct Figures {
    per_second: f64,
    cpu_micros: f64,
}

fn main() {
    let seconds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(3);
    let span = Duration::from_secs(seconds);
    let origin = start("origin", hyper_alone);
    let edge = move |diagnostics, behaviors| -> Start {
        Box::new(move || start("edge", move |ready| edge(origin, diagnostics, behaviors, ready)))
    };
    let servers: [(&str, Start); 3] = [
        ("hyper alone", Box::new(|| start("hyper", hyper_alone))),
        ("edge, all diagnostics", edge(true, 1)),
        ("edge, none", edge(false, 1)),
    ];
    println!("{:<26} {:>12} {:>14} {:>8}", "SERVER", "REQUESTS/S", "CPU PER HIT", "RATIO");
    let mut baseline = None;
    for (name, serve) in &servers {
        let figures = measure(serve(), span);
        let base = *baseline.get_or_insert(figures.per_second);
        let ratio = figures.per_second / base;
        println!("{name:<26} {:>12.0} {:>11.2} us {ratio:>8.2}", figures.per_second, figures.cpu_micros);
    }
    compare_behaviors([edge(false, 1)(), edge(false, 101)()], span);
}

/// Prints what a hit costs at two edges, with one behavior and with 101, which take turns so that whatever else the machine
/// does falls on both alike.
fn compare_behaviors(edges: [SocketAddr; 2], span: Duration) {
    let mut cpu_micros = [Vec::new(), Vec::new()];
    for turn in 0..TURNS {
        for at in [turn % 2, (turn + 1) % 2] {
            cpu_micros[at].push(measure(edges[at], span).cpu_micros);
        }
    }
    let [one, many] = cpu_micros.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[TURNS / 2]
    });
    println!(
        "\nCPU per hit, medians of {TURNS} turns: {one:.2} us with 1 behavior, {many:.2} us with 101: {:+.2} us, {:.2} times as much",
        many - one,
        many / one
    );
}

/// Starts a server on a thread with a runtime of its own; where it listens.
fn start<F>(name: &str, serve: impl FnOnce(std::sync::mpsc::Sender<SocketAddr>) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()>,
{
    let (ready, started) = std::sync::mpsc::channel();
    let builder = std::thread::Builder::new().name(name.to_owned());
    let thread = builder.spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(serve(ready));
    });
    thread.expect("a thread");
    started.recv().expect("the server starts")
}

async fn hyper_alone(ready: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    ready.send(listener.local_addr().expect("an address")).expect("somebody waits");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let answer = service_fn(|_: Request<Incoming>| async {
            let response = Response::builder().header("cache-control", "max-age=3600").header("etag", "\"bench\"");
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(&BODY))).expect("a response"))
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn edge(origin: SocketAddr, diagnostics: bool, behaviors: usize, ready: std::sync::mpsc::Sender<SocketAddr>) {
    let all = Diagnostics::default();
    let none = Diagnostics { cache_status: false, proxy_status: false, server_timing: false, reason: false };
    let policy = policies::cache_policy("CachingOptimized").expect("a managed policy");
    let origins = BTreeMap::from([("app".to_owned(), Origin { shield: false, ..Origin::new("app.test") })]);
    let behavior = Behavior::new("app", policy);
    // What people write: folders, endings, and both, none of which is for this object.
    let pattern = |number| match number % 3 {
        0 => format!("/section-{number}/*"),
        1 => format!("*.ext{number}"),
        _ => format!("/a/*/{number}/*.html"),
    };
    let others = (1..behaviors).map(|number| Behavior { path_pattern: pattern(number), ..behavior.clone() });
    let spec = DistributionSpec {
        aliases: vec!["www.demo.test".into()],
        behaviors: others.collect(),
        diagnostics: if diagnostics { all } else { none },
        ..DistributionSpec::new("bench", origins, behavior)
    };
    let config = Config {
        id: NodeId::new(Role::Edge, "iad"),
        pop: "IAD".parse().expect("a code"),
        tier: Tier::Edge,
        distributions: vec![Arc::new(Distribution::new(spec).expect("a distribution"))],
        origins: BTreeMap::from([("app".to_owned(), origin.to_string().parse().expect("an authority"))]),
        https_origins: BTreeMap::new(),
        parents: vec![],
        cache_bytes_max: 64 << 20,
        object_bytes_max: 1 << 20,
        compression: Compression::default(),
        eviction: EvictionPolicy::default(),
        admission: AdmissionPolicy::default(),
        disk: None,
        https: None,
        plain_http2: false,
        limits: Limits::default(),
        source_nat: None,
        decision_log: None,
        places: None,
        log_style: cdn_core::standard_log::LogStyle::Text,
        realtime_logs: Default::default(),
        seed: 1,
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    ready.send(listener.local_addr().expect("an address")).expect("somebody waits");
    let (edge, _handle) = Edge::build(config, vec![listener], edge_node::tcp()).expect("a node");
    edge.serve(CancellationToken::new()).await.expect("it serves");
}

/// Closed-loop load on some connections for `span`, after a warm-up.
fn measure(address: SocketAddr, span: Duration) -> Figures {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> =
            (0..CONNECTIONS).map(|_| tokio::spawn(client(address, Arc::clone(&done), Arc::clone(&stop)))).collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (before, cpu_before, began) = (done.load(Ordering::Relaxed), server_cpu(), Instant::now());
        tokio::time::sleep(span).await;
        let requests = (done.load(Ordering::Relaxed) - before) as f64;
        let (cpu, took) = (server_cpu() - cpu_before, began.elapsed());
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.expect("a client ends well");
        }
        Figures { per_second: requests / took.as_secs_f64(), cpu_micros: cpu.as_secs_f64() * 1e6 / requests }
    })
}

async fn client(address: SocketAddr, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let request = b"GET /object HTTP/1.1\r\nHost: www.demo.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
    let mut buffer = Vec::with_capacity(8_192);
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(request).await.expect("it listens");
        buffer.clear();
        let end = loop {
            stream.read_buf(&mut buffer).await.expect("it answers");
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        assert!(buffer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&buffer));
        while buffer.len() < end + BODY.len() {
            stream.read_buf(&mut buffer).await.expect("it goes on");
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// CPU time of this process without the thread that asks: the load runs there.
fn server_cpu() -> Duration {
    let ticks = |path: &str| -> u64 {
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
    };
    // proc(5): clock ticks, 100 a second on every Linux.
    let own = ticks("/proc/thread-self/stat");
    Duration::from_millis((ticks("/proc/self/stat").saturating_sub(own)) * 10)
}
