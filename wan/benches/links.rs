//! How exact links are: asked against measured. `cargo bench -p wan --bench links`
//!
//! Prints what the architecture promises: the error of single exchanges on links of 1 to 300 ms with 500 connections
//! at once, the throughput of a link against its bandwidth, a cold mebibyte against the closed form, and what an idle
//! connection costs. Everything runs in this process, both ends, so the machine does the work of two.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use cdn_core::Counters;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    runtime::Runtime,
};
use wan::{Paths, Wan, WanOptions};
use world::{Jitter, PathSpec, SiteId, TcpOptions, cold_transfer_time};

/// 127.1.HIGH.LOW stands HIGH * 256 + LOW tenths of a millisecond away.
struct ByAddress {
    bandwidth_bps: u64,
}

impl Paths for ByAddress {
    fn site_of(&self, address: SocketAddr) -> Option<SiteId> {
        match address.ip() {
            IpAddr::V4(ip) => Some(SiteId::new(&u16::from_be_bytes([ip.octets()[2], ip.octets()[3]]).to_string())),
            IpAddr::V6(_) => None,
        }
    }

    fn path(&self, from: &SiteId, to: &SiteId) -> Option<PathSpec> {
        let far: u64 = from.as_str().parse().or_else(|_| to.as_str().parse()).ok()?;
        Some(PathSpec {
            rtt: Duration::from_micros(far * 100),
            jitter: Jitter::default(),
            loss: 0.0,
            bandwidth_bps: self.bandwidth_bps,
        })
    }
}

fn wan(bandwidth_bps: u64, tcp: TcpOptions) -> Wan {
    let options = WanOptions { seed: 1, tcp, ..WanOptions::default() };
    Wan::new(Arc::new(ByAddress { bandwidth_bps }), options, Arc::new(Counters::default())).expect("a thread")
}

fn viewer() -> SiteId {
    SiteId::new("viewer")
}

fn at_tenths(tenths: u64, port: u16) -> SocketAddr {
    let [high, low] = u16::try_from(tenths).expect("at most 6.5 s").to_be_bytes();
    SocketAddr::from(([127, 1, high, low], port))
}

/// Answers each byte with itself.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut far, _)) = listener.accept().await {
            let _ = far.set_nodelay(true);
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = far.read(&mut bytes).await {
                    if far.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// Sends as many bytes as it is asked for, eight bytes at a time.
async fn source_server() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut far, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(mut left) = far.read_u64().await {
                    let piece = vec![7; 256 << 10];
                    while left > 0 {
                        let part = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                        if far.write_all(&piece[..part]).await.is_err() {
                            return;
                        }
                        left -= part as u64;
                    }
                }
            });
        }
    });
    port
}

async fn take(stream: &mut (impl tokio::io::AsyncRead + Unpin), mut left: u64) {
    let mut buffer = vec![0; 256 << 10];
    while left > 0 {
        let part = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= stream.read(&mut buffer[..part]).await.expect("bytes") as u64;
    }
}

fn print_errors(what: &str, mut errors: Vec<f64>) {
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| {
        errors.get((errors.len() as f64 * share) as usize).or_else(|| errors.last()).copied().unwrap_or(0.0)
    };
    println!(
        "{what:<44} n {:>6}   error ms: median {:.3}  p99 {:.3}  max {:.3}",
        errors.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// The error of handshakes and exchanges, `count` connections at once for `span`, over links of 1 to 300 ms.
async fn exchanges(count: u64, span: Duration) {
    let port = echo_server().await;
    let wan = wan(10_000_000_000, TcpOptions::default());
    let tasks: Vec<_> = (0..count)
        .map(|index| {
            let dialer = wan.dialer(viewer(), None);
            tokio::spawn(async move {
                let tenths = 10 + index * 2_990 / count.max(2).saturating_sub(1);
                let asked = tenths as f64 / 10.0;
                // A burst of 500 handshakes in one instant is no steady load; they spread over half a second.
                tokio::time::sleep(Duration::from_millis(index * 500 / count)).await;
                let began = Instant::now();
                let mut stream = dialer.connect(at_tenths(tenths, port)).await.expect("a connection");
                let handshake = began.elapsed().as_secs_f64() * 1e3 - asked;
                let mut errors = Vec::new();
                let until = Instant::now() + span;
                while Instant::now() < until {
                    let began = Instant::now();
                    stream.write_all(b"x").await.expect("room");
                    stream.read_exact(&mut [0]).await.expect("an answer");
                    errors.push(began.elapsed().as_secs_f64() * 1e3 - asked);
                }
                (handshake, errors)
            })
        })
        .collect();
    let (mut handshakes, mut trips) = (Vec::new(), Vec::new());
    for task in tasks {
        let (handshake, mut errors) = task.await.expect("a task");
        handshakes.push(handshake);
        trips.append(&mut errors);
    }
    print_errors(&format!("handshakes, {count} connections"), handshakes);
    print_errors(&format!("exchanges, {count} connections"), trips);
}

/// Steady throughput against the model: the link's bandwidth, or a window per round trip where that is less.
async fn throughput(rtt_ms: u64, mbps: u64) {
    let port = source_server().await;
    let tcp = TcpOptions { window_bytes_max: 32 << 20, receive_buffer_bytes: 40 << 20, ..TcpOptions::default() };
    let wan = wan(mbps * 1_000_000, tcp);
    let mut stream = wan.dialer(viewer(), None).connect(at_tenths(rtt_ms * 10, port)).await.expect("a connection");
    // Long enough to open the window, then two seconds' worth.
    let warm = mbps * 125_000 * (rtt_ms * 8 + 200) / 1_000;
    let bytes = mbps * 125_000 * 2;
    stream.write_u64(warm + bytes).await.expect("room");
    take(&mut stream, warm).await;
    let began = Instant::now();
    take(&mut stream, bytes).await;
    let got = bytes as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e6;
    println!(
        "throughput, {rtt_ms:>3} ms, {mbps:>5} Mbit/s                  measured {got:>8.2} Mbit/s   error {:+.2} %",
        (got / mbps as f64 - 1.0) * 100.0
    );
}

/// A cold transfer against the closed form.
async fn cold(rtt_ms: u64, mbps: u64, bytes: u64) {
    let port = source_server().await;
    let wan = wan(mbps * 1_000_000, TcpOptions::default());
    let path = ByAddress { bandwidth_bps: mbps * 1_000_000 };
    let path = path.path(&SiteId::new(&(rtt_ms * 10).to_string()), &viewer()).expect("a path");
    let asked = cold_transfer_time(&path, bytes, &TcpOptions::default());
    let began = Instant::now();
    let mut stream = wan.dialer(viewer(), None).connect(at_tenths(rtt_ms * 10, port)).await.expect("a connection");
    stream.write_u64(bytes).await.expect("room");
    take(&mut stream, bytes).await;
    let took = began.elapsed();
    println!(
        "cold {:>7} KiB, {rtt_ms:>3} ms, {mbps:>5} Mbit/s             took {took:>9.4?}, model {asked:>9.4?}   error {:+.2} %",
        bytes >> 10,
        (took.as_secs_f64() / asked.as_secs_f64() - 1.0) * 100.0
    );
}

/// What one idle connection costs this process, both ends of its socket included.
async fn idle(count: u64) {
    let port = echo_server().await;
    let wan = wan(1_000_000_000, TcpOptions::default());
    let dialer = wan.dialer(viewer(), None);
    let open = |tenths| {
        let dialer = dialer.clone();
        async move {
            let mut stream = dialer.connect(at_tenths(tenths, port)).await.expect("a connection");
            stream.write_all(b"x").await.expect("room");
            stream.read_exact(&mut [0]).await.expect("an answer");
            stream
        }
    };
    let _warm = open(10).await;
    let before = resident_kib();
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(open(10).await);
    }
    let each = resident_kib().saturating_sub(before) as f64 / count as f64;
    println!("idle, {count} connections                         {each:.2} KiB each, the echo server's task included");
}

/// Resident memory as the kernel tells it; zero where it does not.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

fn main() {
    // Nodes run single-threaded runtimes; two threads of work fit on two cores.
    for (name, runtime) in [
        ("one thread", tokio::runtime::Builder::new_current_thread().enable_all().build()),
        ("two threads", tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()),
    ] {
        let runtime: Runtime = runtime.expect("a runtime");
        println!("— {name}");
        // First, while no freed memory hides what is taken.
        runtime.block_on(idle(1_000));
        runtime.block_on(async {
            exchanges(1, Duration::from_secs(1)).await;
            exchanges(500, Duration::from_secs(5)).await;
        });
        runtime.block_on(async {
            for (rtt_ms, mbps) in [(1, 100), (20, 100), (150, 100), (300, 100), (20, 1_000), (150, 1_000)] {
                throughput(rtt_ms, mbps).await;
            }
            for (rtt_ms, mbps, bytes) in [(150, 100, 1 << 20), (150, 1_000, 1 << 20), (20, 50, 10 << 20)] {
                cold(rtt_ms, mbps, bytes).await;
            }
        });
    }
}
