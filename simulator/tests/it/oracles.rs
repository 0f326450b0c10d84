//! Closed forms that results must meet. Each test computes its expectation from the formula, holds the formula against a
//! published or worked value where there is one, and then runs our code.

mod popularity;
mod queues;
mod ttl;

/// Fails unless `got` is within `tolerance` of `expected`.
#[track_caller]
fn close(what: &str, got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "{what}: {got}, expected {expected} within {tolerance}");
}

/// The point at which a growing function reaches `wanted`, by bisection.
fn solve(wanted: f64, high: f64, function: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, high);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if function(middle) < wanted { low = middle } else { high = middle }
    }
    low
}
