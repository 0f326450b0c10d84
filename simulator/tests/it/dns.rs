//! Oracle 9: what the client subnet costs a resolver in questions.

use cdn_core::{Counter, routing::PolicyKind};
use simulator::{PlainAnswers, default_world};
use world::scenario::{Area, Expectation, Paths, What};

use crate::support::{load, play, scenario};

const SECONDS: u64 = 1000;

/// Questions per second of a cache with requests at `rate` and answers that hold for `ttl` seconds.
fn questions(rate: f64, ttl: f64) -> f64 {
    rate / (1.0 + rate * ttl)
}

/// Questions over those of one cache for all, with `blocks` client networks behind a resolver that share `rate`.
fn amplification(blocks: u32, rate: f64, ttl: f64) -> f64 {
    f64::from(blocks) * questions(rate / f64::from(blocks), ttl) / questions(rate, ttl)
}

#[test]
fn a_resolver_with_client_subnet_asks_for_each_network_apart() {
    assert!((amplification(8, 1.0, 20.0) - 6.0).abs() < 0.005, "the worked value");
    let cities = ["tokyo", "lima", "cairo", "berlin", "chicago", "mumbai", "sydney", "nairobi"];
    let asked = |client_subnet: f64| {
        let mut plan = default_world(&["iad", "fra", "nrt", "gru", "bom", "syd"], &PlainAnswers::default());
        plan.viewer.resolver = Some(plan.world.atlas().place("frankfurt").unwrap().clone());
        plan.routing.ttl = std::time::Duration::from_secs(20);
        // Each network has an answer of its own, so that scopes are narrow; one router, so that only it counts.
        plan.routing.policy = PolicyKind::Weighted;
        plan.nodes.retain(|node| node.id.to_string() != "router.fra");
        let mut one = load(&cities, 1.0, Paths::One("/a".into()));
        one.connections.idle = std::time::Duration::ZERO;
        one.connections.per_user = 1000;
        one.resolvers.client_subnet = client_subnet;
        let mut scenario = scenario(SECONDS, one, vec![]);
        scenario.expectations.push(Expectation {
            what: What::Counter(Counter::RouterDnsQueriesUdp),
            from: Area::World,
            pop: None,
            node: None,
            after: std::time::Duration::ZERO,
            before: None,
            min: None,
            max: None,
            equals: None,
            line: 0,
        });
        play(&plan, &scenario).0.counter(Counter::RouterDnsQueriesUdp) as f64 / SECONDS as f64
    };
    let (apart, together) = (asked(1.0), asked(0.0));
    let expected = questions(1.0, 20.0);
    assert!((together / expected - 1.0).abs() < 0.05, "{together} where {expected} is expected");
    let expected = 8.0 * questions(0.125, 20.0);
    assert!((apart / expected - 1.0).abs() < 0.08, "{apart} where {expected} is expected");
    let expected = amplification(8, 1.0, 20.0);
    assert!((apart / together / expected - 1.0).abs() < 0.1, "{} where {expected} is expected", apart / together);
}
