//! Oracle 16: retries that keep an overload alive (Bronson et al., HotOS'21).

use std::time::Duration;

use simulator::{PlainAnswers, default_world};
use world::scenario::Paths;

use crate::support::{load, play, scenario};

/// The load above which an overloaded server of `mu` requests per second never comes back, with so many retries each.
fn threshold(mu: f64, retries: u32) -> f64 {
    mu / f64::from(1 + retries)
}

/// Whether a world comes back after ten seconds of four times its load, when clients give up after a second and ask once
/// more at once.
fn recovers(rps: f64, mu: f64) -> bool {
    let delay = Duration::from_secs_f64(3.0 / mu);
    let mut plan = default_world(&["fra"], &PlainAnswers { cache_control: "no-store".into(), bytes: 200, delay });
    plan.nodes.iter_mut().for_each(|node| node.parents.clear());
    for origin in plan.origins.values_mut() {
        (origin.concurrency, origin.queue, origin.finishes_abandoned) = (3, usize::MAX, true);
    }
    let mut load = load(&["berlin"], rps, Paths::Zipf { s: 0.0, n: 1 << 40 });
    load.retry.attempts = 2;
    load.retry.backoff = Duration::ZERO;
    load.retry.timeout = Duration::from_secs(1);
    load.connections.per_user = 10_000;
    let at = Duration::from_secs;
    load.ramp = vec![(at(0), 1.0), (at(20), 1.0), (at(20), 4.0), (at(30), 4.0), (at(30), 1.0)];
    let (seen, _) = play(&plan, &scenario(2000, load, vec![]));
    assert_eq!(seen.availability(0, 20), 1.0, "below its capacity it serves everybody");
    seen.availability(1800, 2000) > 0.99
}

#[test]
fn a_retry_storm_ends_by_itself_only_below_capacity_over_attempts() {
    assert_eq!(threshold(300.0, 1), 150.0, "the worked value");
    let mu = 30.0;
    let line = threshold(mu, 1);
    assert!(recovers(0.8 * line, mu), "a fifth below the line it drains");
    assert!(
        !recovers(1.1 * line, mu),
        "a tenth above it it never does, though it is little more than half of capacity"
    );
}
