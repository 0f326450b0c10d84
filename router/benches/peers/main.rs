//! What a DNS answer costs beside what it costs the peers: gdnsd and Knot (module geoip), where they are installed.
//!
//! Every server is a process of its own with one thread for UDP on one core, and knows the same 100,000 client networks;
//! the generator (recvmmsg and sendmmsg, random client subnets) runs on the other. Rounds are interleaved, so that whatever
//! else the machine does falls on all alike; medians are printed. Server CPU is what the kernel has charged the server's
//! processes. Every answer is checked to be one. Loading is from start to the first answer; memory is what is resident
//! then.
//!
//! ```text
//! cargo bench -p router --bench peers [-- SECONDS ROUNDS]
//! ```

mod load;
mod own;
mod peers;
#[path = "../../../edge-node/benches/peers/process.rs"]
#[expect(dead_code, reason = "the edge's benchmark starts generators too")]
mod process;
#[path = "../world/mod.rs"]
mod world;

use std::time::Duration;

use self::peers::Kind;

/// At which latency is measured.
const RATE_PER_S: u32 = 20_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let [role, address] = args.as_slice()
        && role == own::ROLE
    {
        return own::serve(address);
    }
    let mut numbers = args.iter().filter_map(|arg| arg.parse().ok());
    let span = Duration::from_secs(numbers.next().unwrap_or(3));
    let rounds = numbers.next().unwrap_or(3);
    process::pin_self();
    let questions = world::questions(1 << 15);
    let servers: Vec<_> = Kind::ALL.iter().map(|&kind| (kind, peers::start(kind, &questions))).collect();
    let mut figures = vec![(vec![], vec![], vec![]); servers.len()];
    for _ in 0..rounds {
        for ((_, started), (rates, cpus, latencies)) in servers.iter().zip(&mut figures) {
            let Some(started) = started else { continue };
            let before = started.server.cpu();
            let answers = load::saturate(started.server.address, &questions, span);
            rates.push(answers as f64 / span.as_secs_f64());
            cpus.push((started.server.cpu() - before).as_secs_f64() * 1e6 / answers.max(1) as f64);
            latencies.push(load::p50(started.server.address, &questions, RATE_PER_S, span).as_secs_f64() * 1e6);
        }
    }
    println!("{} client networks, random client subnets, one thread", world::PREFIXES);
    println!(
        "{:<10} {:>12} {:>12} {:>18} {:>12} {:>12}",
        "SERVER", "ANSWERS/S", "CPU/ANSWER", "P50 AT 20,000/S", "MEMORY", "LOADED IN"
    );
    for ((kind, started), (rates, cpus, latencies)) in servers.iter().zip(&mut figures) {
        let Some(started) = started else {
            println!("{:<10} not installed", kind.as_str());
            continue;
        };
        println!(
            "{:<10} {:>12.0} {:>9.2} us {:>15.1} us {:>8.1} MiB {:>9.0} ms",
            kind.as_str(),
            median(rates),
            median(cpus),
            median(latencies),
            started.resident_bytes as f64 / (1 << 20) as f64,
            started.loaded_in.as_secs_f64() * 1e3,
        );
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
