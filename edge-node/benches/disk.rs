//! What the disk tier does: how fast it takes responses, how long a process needs to know what is there, and what a
//! response costs that comes from there, beside one from memory and one from the origin. Over loopback, node and load
//! with one thread each; absolute figures depend on the machine.
//!
//! ```text
//! cargo bench -p edge-node --bench disk
//! ```

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use cdn_core::{
    Counter, NodeId, Role,
    distribution::{Behavior, Distribution, DistributionSpec, Origin},
    eviction::EvictionPolicy,
    policies,
    store::admission::AdmissionPolicy,
};
use edge_node::{Compression, Config, DiskConfig, Edge, Handle, Limits, Tier};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 8;

fn main() {
    let origin = origin();
    println!("{:<12} {:<8} {:>12} {:>14} {:>14}", "BODY", "FROM", "RESPONSES", "RESPONSES/S", "MEAN");
    for (bytes, responses) in [(1 << 10, 50_000), (64 << 10, 5_000), (1 << 20, 500)] {
        let dir = tempfile::tempdir().expect("a directory");
        let node = Node::start(origin, dir.path());
        let began = Instant::now();
        row(bytes, "origin", responses, pass(node.address, bytes, responses));
        node.handle.flush_disk();
        let written = node.handle.counters().value(Counter::EdgeDiskWrites);
        assert_eq!(written + node.handle.counters().value(Counter::EdgeDiskQueueFull), responses);
        println!("{:<12} written {written}, all on disk after {:.2?}", size(bytes), began.elapsed());
        node.end();
        let node = Node::start(origin, dir.path());
        println!("{:<12} the next process knows of them after {:.2?}", size(bytes), node.opening);
        row(bytes, "disk", responses, pass(node.address, bytes, responses));
        assert_eq!(node.handle.counters().value(Counter::EdgeDiskHits), written);
        row(bytes, "memory", responses, pass(node.address, bytes, responses));
        node.end();
    }
}

fn row(bytes: usize, from: &str, responses: u64, took: Duration) {
    let (per_second, mean) = (responses as f64 / took.as_secs_f64(), took * CONNECTIONS as u32 / responses as u32);
    println!("{:<12} {from:<8} {responses:>12} {per_second:>14.0} {mean:>14.1?}", size(bytes));
}

fn size(bytes: usize) -> String {
    format!("{} KiB", bytes >> 10)
}

struct Node {
    address: SocketAddr,
    handle: Handle,
    /// How long it took to be ready.
    opening: Duration,
    stop: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Node {
    fn start(origin: SocketAddr, dir: &Path) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (config, stop) = (config(origin, dir), CancellationToken::new());
        let (ready, started) = mpsc::channel();
        let until = stop.clone();
        let thread = on_thread("edge", async move {
            let began = Instant::now();
            let (edge, handle) = Edge::build(config, vec![listener], edge_node::tcp()).expect("a node");
            ready.send((handle, began.elapsed())).expect("somebody waits");
            edge.serve(until).await.expect("it serves");
        });
        let (handle, opening) = started.recv().expect("it starts");
        Self { address, handle, opening, stop, thread }
    }

    fn end(self) {
        self.stop.cancel();
        self.thread.join().expect("it ends well");
    }
}

fn on_thread(name: &str, serve: impl Future<Output = ()> + Send + 'static) -> std::thread::JoinHandle<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    let thread = builder.spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(serve);
    });
    thread.expect("a thread")
}

fn config(origin: SocketAddr, dir: &Path) -> Config {
    let policy = policies::cache_policy("CachingOptimized").expect("a managed policy");
    let origins = BTreeMap::from([("app".to_owned(), Origin { shield: false, ..Origin::new("app.test") })]);
    let spec = DistributionSpec {
        aliases: vec!["www.demo.test".into()],
        ..DistributionSpec::new("bench", origins, Behavior::new("app", policy))
    };
    Config {
        id: NodeId::new(Role::Edge, "iad"),
        pop: "IAD".parse().expect("a code"),
        tier: Tier::Edge,
        distributions: vec![Arc::new(Distribution::new(spec).expect("a distribution"))],
        origins: BTreeMap::from([("app".to_owned(), origin.to_string().parse().expect("an authority"))]),
        https_origins: BTreeMap::new(),
        parents: vec![],
        compression: Compression::default(),
        eviction: EvictionPolicy::default(),
        admission: AdmissionPolicy::default(),
        cache_bytes_max: 1 << 30,
        object_bytes_max: 64 << 20,
        disk: Some(DiskConfig { dir: dir.to_owned(), bytes_max: 4 << 30, generation: String::new() }),
        // Whether the writer keeps up is one of the questions, so nothing is left out for want of room.
        https: None,
        plain_http2: false,
        limits: Limits { disk_queue_bytes_max: 1 << 30, drain_grace: Duration::from_millis(100), ..Limits::default() },
        source_nat: None,
        decision_log: None,
        places: None,
        log_style: cdn_core::standard_log::LogStyle::Text,
        realtime_logs: Default::default(),
        seed: 1,
    }
}

/// Answers `/BYTES/NUMBER`.
fn origin() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    on_thread("origin", async move {
        let listener = TcpListener::from_std(listener).expect("a socket");
        let all = Bytes::from(vec![b'x'; 1 << 20]);
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.set_nodelay(true);
            let all = all.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let bytes = request.uri().path().split('/').nth(1).and_then(|bytes| bytes.parse().ok());
                let body = all.slice(..bytes.unwrap_or(0));
                let response = Response::builder().header("cache-control", "max-age=3600").header("etag", "\"bench\"");
                std::future::ready(Ok::<_, Infallible>(response.body(Full::new(body)).expect("a response")))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

/// Asks for each object once.
fn pass(address: SocketAddr, bytes: usize, responses: u64) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    runtime.block_on(async {
        let next = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> =
            (0..CONNECTIONS).map(|_| tokio::spawn(client(address, bytes, responses, Arc::clone(&next)))).collect();
        for client in clients {
            client.await.expect("a client ends well");
        }
    });
    began.elapsed()
}

async fn client(address: SocketAddr, bytes: usize, responses: u64, next: Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let mut buffer = Vec::with_capacity(bytes + 8_192);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= responses {
            return;
        }
        let request = format!("GET /{bytes}/{number} HTTP/1.1\r\nHost: www.demo.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it listens");
        buffer.clear();
        let end = loop {
            stream.read_buf(&mut buffer).await.expect("it answers");
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        assert!(buffer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&buffer));
        while buffer.len() < end + bytes {
            stream.read_buf(&mut buffer).await.expect("it goes on");
        }
    }
}
