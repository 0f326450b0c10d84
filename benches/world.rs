//! What a whole world costs: time to be ready, memory of an idle edge, time to stop, idle connections on one edge.
//!
//! `cargo bench --bench world` prints each figure beside the bound that the project holds itself to. Everything is
//! measured from outside, on processes of the release build.

use std::{
    net::TcpStream,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;

const ISO: &str = env!("CARGO_BIN_EXE_iso");
/// Starts per preset; the median is printed, and the worst.
const STARTS: usize = 5;
/// Idle connections that one edge must hold.
const CONNECTIONS: usize = 10_000;

fn main() {
    // `cargo test --benches` asks for no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    for (preset, bound) in [("world-6", 1.0), ("world-18", 2.5)] {
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let began = Instant::now();
            let status = up(home.path(), preset);
            starts.push(began.elapsed().as_secs_f64());
            if starts.len() == STARTS {
                memory(&status);
                if preset == "world-6" {
                    connections(&status);
                }
            }
            let began = Instant::now();
            iso(home.path(), &["down"]);
            stops.push(began.elapsed().as_secs_f64());
        }
        figure(&format!("{preset}: ready after exec"), &mut starts, "s", bound);
        figure(&format!("{preset}: iso down"), &mut stops, "s", 2.0);
    }
}

fn iso(home: &Path, args: &[&str]) -> Output {
    let output = Command::new(ISO).args(args).env("ISO_HOME", home).output().expect("iso runs");
    assert!(output.status.success(), "iso {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn up(home: &Path, preset: &str) -> Value {
    let output = iso(home, &["up", "-d", "--wait", "--json", "--preset", preset, "--base-port", "0"]);
    serde_json::from_slice(&output.stdout).expect("a status")
}

fn figure(what: &str, samples: &mut [f64], unit: &str, bound: f64) {
    samples.sort_by(f64::total_cmp);
    let (median, worst) = (samples[samples.len() / 2], samples[samples.len() - 1]);
    let held = if median <= bound { "held" } else { "MISSED" };
    println!("{what:<44} median {median:>8.2} {unit}   worst {worst:>8.2} {unit}   bound {bound} {unit}   {held}");
}

fn edges(status: &Value) -> Vec<(u32, String)> {
    let nodes = status["nodes"].as_array().expect("nodes").iter().filter(|node| node["role"] == "edge");
    nodes
        .map(|node| {
            let pid = node["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
            (pid, node["addresses"]["http"].as_str().expect("an address").to_owned())
        })
        .collect()
}

/// Resident memory, and the part of it that is the process's own, in MB.
fn resident_mb(pid: u32) -> (f64, f64) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = |name: &str| -> f64 {
        let lines = rollup.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum()
    };
    (kib("Rss:") * 1024.0 / 1e6, (kib("Private_Clean:") + kib("Private_Dirty:")) * 1024.0 / 1e6)
}

fn memory(status: &Value) {
    let (mut resident, mut own) = (Vec::new(), Vec::new());
    for (pid, _) in edges(status) {
        let (all, private) = resident_mb(pid);
        resident.push(all);
        own.push(private);
    }
    figure(&format!("{} edges: resident memory, idle", resident.len()), &mut resident, "MB", 15.0);
    figure(&format!("{} edges: of which their own", own.len()), &mut own, "MB", 15.0);
}

fn connections(status: &Value) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    );
    let Some((pid, address)) = edges(status).into_iter().next() else { return };
    let before = resident_mb(pid).0;
    let mut open = Vec::with_capacity(CONNECTIONS);
    let deadline = Instant::now() + Duration::from_secs(60);
    while open.len() < CONNECTIONS && Instant::now() < deadline {
        match TcpStream::connect(&address) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                println!("connection {} failed: {error}", open.len() + 1);
                break;
            }
        }
    }
    let served = Command::new("curl")
        .args([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            "Host: www.demo.test",
            &format!("http://{address}/"),
        ])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let grown_kb = (resident_mb(pid).0 - before) * 1e3 / open.len().max(1) as f64;
    println!(
        "{} idle connections on one edge: {grown_kb:.2} kB each, and a request beside them is answered {served}",
        open.len()
    );
}
