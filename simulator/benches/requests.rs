//! How many requests a second one core plays, through router, edge, shield and origin on the default world.
//!
//! `cargo bench -p simulator --bench requests [-- SECONDS RPS [POPS]]`; with a number of PoPs, the first of the atlas. Beside
//! it stands what could not be left out whatever the rest did: drawing the workload, two events in the calendar, and one look
//! into the store. Beside a rate by the clock stands one by the time that a processor really worked on it, which is the same
//! on a quiet machine and the better one on a busy machine.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark asks the machine's clock")]

use std::{
    fs,
    time::{Duration, Instant},
};

use cdn_core::{Instant as Moment, cache_key::CacheKey};
use simulator::{PlainAnswers, Witness, default_world, queue::EventQueue, run};
use world::{
    CacheOutcome, Event, Observation, Scenario,
    scenario::{Connections, From, Load, Paths, Resolvers, Retry, Sizes},
    workload::Workload,
};

/// The PoPs of `world-6`.
const POPS: [&str; 6] = ["iad", "gru", "fra", "bom", "nrt", "syd"];

/// Requests per second of one user: far too many for somebody, and few enough for the connections that somebody has. With
/// fewer users at the same rate requests would wait for connections without end.
const USER_RPS: f64 = 20.0;

#[derive(Default)]
struct Count {
    requests: u64,
    hits: u64,
    latency: Duration,
}

impl Witness for Count {
    fn observe(&mut self, observation: &Observation) {
        self.requests += 1;
        self.hits += u64::from(observation.cache == CacheOutcome::Hit);
        self.latency += observation.latency();
    }

    fn note(&mut self, _: &Event) {}
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize, default: f64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, rps) = (number(0, 20.0), number(1, 200_000.0));
    let all: Vec<&str> = world::Atlas::embedded().pops().iter().map(|pop| pop.code.as_str()).collect();
    let pops = match arguments.get(2).and_then(|text| text.parse().ok()) {
        Some(count) => all.get(..count).unwrap_or(&all),
        None => &POPS[..],
    };
    let mut plan =
        default_world(pops, &PlainAnswers { cache_control: "max-age=86400".into(), ..PlainAnswers::default() });
    plan.store.bytes_max = 1 << 30;
    let scenario = scenario(seconds, rps);
    let floor = floor(&scenario, &plan);
    let mut count = Count::default();
    let (began, worked_before) = (Instant::now(), worked());
    let (_, ledger) = match run(&plan, &scenario, &mut count) {
        Ok(run) => run,
        Err(error) => panic!("{error}"),
    };
    let (took, worked) = (began.elapsed().as_secs_f64(), (worked() - worked_before).as_secs_f64());
    let rate = count.requests as f64 / took;
    println!("{} requests in {took:.2} s, {} events", count.requests, ledger.events);
    println!(
        "{:.2} % hits at the edge, mean latency {:?}",
        100.0 * count.hits as f64 / count.requests as f64,
        count.latency / u32::try_from(count.requests.max(1)).unwrap_or(u32::MAX)
    );
    println!("simulated requests per second and core   {rate:>12.0}");
    println!("the same by processor time               {:>12.0}", count.requests as f64 / worked);
    println!("workload, two events and a look-up alone {floor:>12.0}   ratio {:.2}", rate / floor);
    println!("most memory in use                       {:>8} MiB", memory_max_kib() >> 10);
}

/// For how long a processor has worked for this process, as Linux counts it; zero elsewhere.
fn worked() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// The most memory that this process ever had, as Linux counts it; zero elsewhere.
fn memory_max_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn scenario(seconds: f64, rps: f64) -> Scenario {
    Scenario {
        title: "bench".into(),
        about: String::new(),
        seed: 1,
        warmup: Duration::ZERO,
        length: Duration::from_secs_f64(seconds),
        loads: vec![Load {
            from: From::World,
            rps,
            start: Duration::ZERO,
            span: None,
            paths: Paths::Zipf { s: 1.0, n: 10_000 },
            sizes: Sizes::Fixed(10_000),
            ramp: Vec::new(),
            diurnal: None,
            connections: Connections::default(),
            resolvers: Resolvers::default(),
            retry: Retry::default(),
            distribution: "demo".into(),
            method: "GET".into(),
            users: (rps / USER_RPS).ceil() as u32,
            signing: None,
        }],
        steps: Vec::new(),
        expectations: Vec::new(),
        told: Vec::new(),
    }
}

/// Requests per second of what cannot be left out.
fn floor(scenario: &Scenario, plan: &simulator::Plan) -> f64 {
    let Ok(workload) = Workload::of_scenario(scenario, plan.world.atlas()) else { return 0.0 };
    let mut queue = EventQueue::new();
    let mut store = std::collections::BTreeMap::new();
    let began = Instant::now();
    let (mut requests, mut found) = (0_u64, 0_u64);
    for intended in workload.take(2_000_000) {
        requests += 1;
        queue.push(intended.at + Duration::from_millis(10), requests);
        queue.push(intended.at + Duration::from_millis(20), requests);
        while queue.next_at().is_some_and(|at| at <= intended.at) {
            queue.pop();
        }
        let key = CacheKey::from_bits(u128::from(intended.object));
        found += u64::from(store.insert(key, Moment::ZERO).is_some());
    }
    std::hint::black_box(found);
    requests as f64 / began.elapsed().as_secs_f64()
}
