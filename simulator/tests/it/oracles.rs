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
