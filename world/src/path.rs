//! What a path between two sites is like when nothing is wrong with it.

use std::time::Duration;

/// The undisturbed properties of the path between two sites; the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathSpec {
    /// The base round trip, last mile included; each direction takes half of it.
    pub rtt: Duration,
    /// What comes on top, per packet or flight.
    pub jitter: Jitter,
    /// The share of packets lost, 0 to 1.
    pub loss: f64,
    /// Bits per second in each direction.
    pub bandwidth_bps: u64,
}

/// Delay above the base, lognormal. A mean of zero switches it off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jitter {
    /// Mean, over both directions together.
    pub mean: Duration,
    /// Standard deviation of the logarithm.
    pub sigma_ln: f64,
}
