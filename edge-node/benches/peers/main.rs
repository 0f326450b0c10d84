//! What a hit costs beside what it costs the peers: nginx, HAProxy and Varnish, where they are installed.
//!
//! Every server is a process of its own with one worker on one core; the generator (wrk, h2load) runs on the other.
//! Rounds are interleaved, so that whatever else the machine does falls on all alike; medians are printed. Server CPU is
//! what the kernel has charged the server's processes, children included.
//!
//! ```text
//! cargo bench -p edge-node --bench peers [-- SECONDS ROUNDS ROW...]
//! ```

mod edge;
mod handshakes;
mod load;
mod memory;
mod origin;
mod peers;
mod process;
mod signed;

use std::{collections::BTreeMap, time::Duration};

use self::{
    load::{Figures, Load},
    peers::Kind,
    process::Server,
};

/// What is asked of everybody.
struct Row {
    name: &'static str,
    /// What the issue's table calls it.
    title: &'static str,
    load: Load,
    servers: &'static [Kind],
}

const ROWS: [Row; 10] = [
    Row {
        name: "1k",
        title: "HTTP/1.1, 1 KiB, 64 connections",
        load: Load::wrk("/1k", 64),
        servers: &[Kind::Edge, Kind::EdgeDiagnostics, Kind::Nginx, Kind::Haproxy, Kind::Varnish],
    },
    Row {
        name: "log",
        title: "the same with access log",
        load: Load::wrk("/1k", 64),
        servers: &[Kind::EdgeLog, Kind::NginxLog],
    },
    Row {
        name: "32k",
        title: "HTTP/1.1, 32 KiB, 64 connections",
        load: Load::wrk("/32k", 64),
        servers: &[Kind::Edge, Kind::Nginx, Kind::Haproxy, Kind::Varnish],
    },
    Row {
        name: "1m",
        title: "HTTP/1.1, 1 MiB, 16 connections",
        load: Load::wrk("/1m", 16),
        servers: &[Kind::Edge, Kind::Nginx, Kind::Haproxy, Kind::Varnish],
    },
    Row {
        name: "h2c",
        title: "HTTP/2 cleartext, 1 KiB, 64 connections, 32 streams each",
        load: Load::h2load("/1k", 64, 32),
        servers: &[Kind::Edge, Kind::NginxH2, Kind::HaproxyH2],
    },
    Row {
        name: "https",
        title: "HTTPS, TLS 1.3, AES-128-GCM, HTTP/1.1, 1 KiB, 64 connections",
        load: Load::wrk("/1k", 64).by_https(),
        servers: &[Kind::EdgeTls, Kind::NginxTls],
    },
    Row {
        name: "https32k",
        title: "the same with 32 KiB",
        load: Load::wrk("/32k", 64).by_https(),
        servers: &[Kind::EdgeTls, Kind::NginxTls],
    },
    Row {
        name: "handshakes",
        title: "full handshakes, TLS 1.3, P-256, X25519, 16 connections at a time",
        load: Load::handshakes(16),
        servers: &[Kind::EdgeTls, Kind::NginxTls],
    },
    Row {
        name: "signed",
        title: "HTTP/1.1, 1 KiB, 64 connections, signed URLs",
        load: Load::wrk("/1k", 64),
        servers: &[Kind::Edge, Kind::EdgeSigned],
    },
    Row {
        name: "miss",
        title: "HTTP/1.1, miss, 1 KiB, 64 connections",
        load: Load::misses(64),
        servers: &[Kind::Edge, Kind::Nginx],
    },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(options) = edge::options(&args) {
        return edge::serve(options);
    }
    let numbers: Vec<u64> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let span = Duration::from_secs(numbers.first().copied().unwrap_or(3));
    let rounds = numbers.get(1).copied().unwrap_or(3);
    let wanted = |name: &str| args.iter().all(|arg| arg.parse::<u64>().is_ok()) || args.iter().any(|arg| arg == name);
    process::pin_self();
    let origin = origin::start();
    for row in ROWS.iter().filter(|row| wanted(row.name)) {
        compare(row, origin, span, rounds);
    }
    if wanted("signed") {
        signed::measure_verification();
    }
    if wanted("memory") {
        memory::measure(origin);
    }
}

/// Measures one row, and prints it.
fn compare(row: &Row, origin: std::net::SocketAddr, span: Duration, rounds: u64) {
    println!("\n{}", row.title);
    let servers: Vec<(Kind, Option<Server>)> =
        row.servers.iter().map(|&kind| (kind, peers::start(kind, origin))).collect();
    let mut figures: BTreeMap<Kind, Vec<Figures>> = BTreeMap::new();
    for _ in 0..rounds {
        for (kind, server) in &servers {
            let measured = server.as_ref().and_then(|server| load::measure(&row.load, *kind, server, span));
            figures.entry(*kind).or_default().extend(measured);
        }
    }
    println!(
        "{:<20} {:>6} {:>12} {:>14} {:>9} {:>9} {:>9} {:>9}",
        "SERVER", "FIELDS", "REQUESTS/S", "CPU/REQUEST", "P50", "P99", "/NGINX", "/HAPROXY"
    );
    let cpu = |of: fn(Kind) -> bool| {
        let found = row.servers.iter().copied().find(|&kind| of(kind));
        found.and_then(|kind| Figures::median(figures.get(&kind)?)).map(|figures| figures.cpu_micros)
    };
    let (nginx, haproxy) = (cpu(Kind::is_nginx), cpu(Kind::is_haproxy));
    for (kind, server) in &servers {
        let Some(median) = figures.get(kind).and_then(|all| Figures::median(all)) else {
            let why = if server.is_some() { "no figures: is the generator installed?" } else { "not installed" };
            println!("{:<20} {why}", kind.as_str());
            continue;
        };
        let ratio = |to: Option<f64>| to.map_or_else(|| "-".to_owned(), |to| format!("{:.2}", median.cpu_micros / to));
        let latency = |micros: Option<f64>| micros.map_or_else(|| "-".to_owned(), |us| format!("{:.2} ms", us / 1e3));
        let fields = server.as_ref().and_then(|server| load::response_fields(server, &row.load, *kind));
        println!(
            "{:<20} {:>6} {:>12.0} {:>11.2} us {:>9} {:>9} {:>9} {:>9}",
            kind.as_str(),
            fields.map_or_else(|| "-".to_owned(), |fields| fields.to_string()),
            median.per_second,
            median.cpu_micros,
            latency(median.p50_micros),
            latency(median.p99_micros),
            ratio(nginx),
            ratio(haproxy),
        );
    }
}
