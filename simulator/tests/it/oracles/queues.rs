//! Waiting at the origin of a whole world (Erlang, Pollaczek and Khinchine), waiting for the slowest of many (Dean,
//! Barroso: "The tail at scale", 2013), and a choice among many queues (Mitzenmacher 2001).

use std::{sync::Arc, time::Duration};

use cdn_core::math;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use simulator::{Answers, OriginAnswer, PlainAnswers, choices::Choices, default_world};
use world::scenario::Paths;

use super::close;
use crate::support::{Recorder, load, play, scenario};

/// Seconds that serving a request takes, from a number between 0 and 1 that its path draws.
type Service = fn(f64) -> f64;

/// An origin whose answers take as long as their paths draw.
#[derive(Debug)]
struct ByChance(Service);

impl Answers for ByChance {
    fn answer(&self, path: &str, _: Option<&str>) -> OriginAnswer {
        // FNV-1a, and a multiplication that spreads it over the upper bits.
        let hash = path
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let draw = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_LENGTH, "200")];
        OriginAnswer {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter(headers.map(|(name, value)| (name, HeaderValue::from_static(value)))),
            bytes: 200,
            delay: Duration::from_secs_f64(self.0(draw)),
        }
    }
}

const SECONDS: u64 = 3_000;

/// A world in which every request, `rate` per second by chance, comes to one origin with so many slots. What was seen,
/// and the mean time at the origin in seconds.
fn origin_of(slots: usize, rate: f64, service: Service) -> (Recorder, f64) {
    let answers = PlainAnswers { cache_control: "no-store".into(), bytes: 200, delay: Duration::ZERO };
    let mut plan = default_world(&["fra"], &answers);
    plan.nodes.iter_mut().for_each(|node| node.parents.clear());
    for origin in plan.origins.values_mut() {
        (origin.concurrency, origin.queue, origin.answers) = (slots, usize::MAX, Arc::new(ByChance(service)));
    }
    let mut load = load(&["berlin"], rate, Paths::Zipf { s: 0.0, n: 1 << 40 });
    // No request waits for a connection.
    load.connections.per_user = 10_000;
    let (seen, ledger) = play(&plan, &scenario(SECONDS, load, vec![]));
    // Caches have flows, origins only stations.
    let origins = ledger.stations.iter().zip(&ledger.flows).filter(|(_, flow)| flow.requests == 0);
    let origin = origins.map(|(station, _)| station).max_by_key(|station| station.left).unwrap();
    assert!(origin.left as f64 > 0.9 * rate * SECONDS as f64, "{ledger:?}");
    (seen, origin.sojourn_nanos as f64 / origin.left as f64 / 1e9)
}

/// Exponential, of this mean.
fn exponential(mean: f64, draw: f64) -> f64 {
    -mean * math::ln(draw)
}

/// Erlang C: the probability of waiting with `slots` slots and an offered load of `slots * rho`.
fn erlang_c(slots: u32, rho: f64) -> f64 {
    let load = f64::from(slots) * rho;
    // By Erlang B, slot by slot.
    let blocked = (1..=slots).fold(1.0, |blocked, n| load * blocked / (f64::from(n) + load * blocked));
    blocked / (1.0 - rho * (1.0 - blocked))
}

#[test]
fn an_origin_with_several_slots_makes_wait_as_erlang_says() {
    const MEAN: f64 = 0.1;
    let (slots, rho) = (4, 0.8);
    let waits = erlang_c(slots, rho);
    close("the formula", waits, 0.5964, 0.000_05);
    let rate = f64::from(slots) * rho / MEAN;
    let expected = waits / (f64::from(slots) / MEAN - rate);
    let (_, stay) = origin_of(slots as usize, rate, |draw| exponential(MEAN, draw));
    close("the mean wait", (stay - MEAN) / expected, 1.0, 0.07);
}

#[test]
fn an_origin_with_one_slot_makes_wait_as_pollaczek_and_khinchine_say() {
    const MEAN: f64 = 0.02;
    const RATE: f64 = 0.7 / MEAN;
    let expected = |second_moment: f64| RATE * second_moment / (2.0 * (1.0 - RATE * MEAN));
    let (fixed, chance) = (expected(MEAN * MEAN), expected(2.0 * MEAN * MEAN));
    close("a fixed time is half of an exponential one", fixed / chance, 0.5, 1e-12);
    // Nine of ten in half the time, the tenth in five and a half times of it: the short and the long answers of an app.
    let two_kinds = expected((0.9 * 0.25 + 0.1 * 30.25) * MEAN * MEAN);
    let services: [(&str, Service, f64); 3] = [
        ("fixed", |_| MEAN, fixed),
        ("exponential", |draw| exponential(MEAN, draw), chance),
        ("of two kinds", |draw| MEAN * if draw < 0.9 { 0.5 } else { 5.5 }, two_kinds),
    ];
    for (what, service, expected) in services {
        let (_, stay) = origin_of(1, RATE, service);
        close(what, (stay - MEAN) / expected, 1.0, 0.07);
    }
}

#[test]
fn of_pages_with_a_hundred_objects_most_meet_the_slowest_hundredth() {
    const OBJECTS: usize = 100;
    let slow_share: f64 = 0.01;
    let expected = 1.0 - (1.0 - slow_share).powi(OBJECTS as i32);
    close("the formula", expected, 0.634, 0.000_5);
    let (mut seen, _) = origin_of(10_000, 50.0, |draw| exponential(0.1, draw));
    // A page is a hundred requests in the order in which they were meant.
    seen.seen.sort_unstable_by_key(|one| one.intended);
    let times: Vec<Duration> = seen.seen.iter().map(|one| one.latency()).collect();
    let mut sorted = times.clone();
    sorted.sort_unstable();
    let slow = sorted[(sorted.len() as f64 * (1.0 - slow_share)) as usize];
    let pages: Vec<bool> = times.chunks_exact(OBJECTS).map(|page| page.iter().any(|&time| time >= slow)).collect();
    let slow_pages = pages.iter().filter(|slow| **slow).count();
    close("pages that are slow", slow_pages as f64 / pages.len() as f64, expected, 0.035);
}

/// The mean time in the system with `d` choices among ever so many servers, each with this load.
fn mitzenmacher(d: u32, load: f64) -> f64 {
    let exponent = |i: i32| (f64::from(d).powi(i) - f64::from(d)) / f64::from(d - 1);
    (1..60).map(|i| math::powf(load, exponent(i))).sum()
}

#[test]
fn the_shorter_of_a_few_queues_is_as_short_as_mitzenmacher_says() {
    const LOAD: f64 = 0.9;
    close("the formula", mitzenmacher(2, LOAD), 2.614, 0.000_5);
    for d in [2, 3] {
        let run = Choices { servers: 100, choices: d, load: LOAD, warmup: 100_000, counted: 500_000, seed: 1 };
        let got = run.mean_stay().as_secs_f64();
        // With a hundred servers the mean lies about a hundredth above the limit.
        close("the mean time", got / mitzenmacher(d as u32, LOAD), 1.01, 0.025);
    }
}
