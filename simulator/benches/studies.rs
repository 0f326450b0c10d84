//! How long the routing bake-off takes: 1,000 cities, 100 PoPs, one million requests by each of five policies.
//!
//! `cargo bench -p simulator --bench studies [-- REQUESTS]`. One thread; beside each policy stands what the cheapest
//! scheme, which asks no router, takes for the same requests.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark asks the machine's clock")]

use std::time::Instant;

use cdn_core::routing::PolicyKind;
use simulator::studies::routing::{Ground, RoutingStudy, Scheme, play};
use world::{Atlas, World, WorldOptions};

fn main() {
    let requests = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let atlas = Atlas::embedded();
    let Some(origin) = atlas.site("us-east-1") else { panic!("the atlas has lost a region") };
    let study = RoutingStudy {
        pops: atlas.pops().iter().filter(|pop| pop.cloudfront).take(100).map(|pop| pop.place.clone()).collect(),
        cities: atlas.cities().iter().map(|city| city.place.clone()).collect(),
        requests,
        ..RoutingStudy::new(origin.clone())
    };
    let began = Instant::now();
    let ground = Ground::new(&World::new(atlas, WorldOptions { jitter: true, ..WorldOptions::default() }), &study);
    println!(
        "{} cities, {} PoPs: tables in {:.2} s",
        study.cities.len(),
        study.pops.len(),
        began.elapsed().as_secs_f64()
    );
    let policies = [PolicyKind::Latency, PolicyKind::Nearest, PolicyKind::Anycast, PolicyKind::Random];
    let (mut floor, mut sum) = (0.0, 0.0);
    for scheme in [Scheme::OriginOnly].into_iter().chain(policies.map(Scheme::Policy)) {
        let began = Instant::now();
        let routed = play(&study, &ground, scheme);
        let took = began.elapsed().as_secs_f64();
        sum += took;
        floor = if scheme == Scheme::OriginOnly { took } else { floor };
        println!(
            "{:12} {:.2} s, {:.0} requests/s, {:.1} times origin-only; p50 {:.1} ms",
            scheme.as_str(),
            took,
            routed.requests as f64 / took,
            took / floor,
            routed.quantile_ms(0.5)
        );
    }
    println!("all {sum:.2} s on one core");
}
