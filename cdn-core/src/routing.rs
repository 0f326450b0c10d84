//! Which edge for whom: policies, the snapshot that answers come from, and why it says what it says.
//!
//! A [`Planner`] takes in probes, beacons and drains and makes [`Snapshot`]s; a snapshot is never edited, and an answer
//! is a pure function of snapshot and client, so DNS, HTTP, `explain` and the simulator agree. Knows no wire format, and
//! not the network: it learns from what is reported to it.

mod explanation;
mod fixed;
mod latency;
mod nearest;
mod planner;
mod pops;
mod random;
mod ranking;
mod round_robin;
mod snapshot;

use std::{fmt::Debug, str::FromStr, sync::Arc, time::Duration};

pub use self::{
    explanation::{CandidateExplained, ChosenEdge, Explanation},
    planner::{EdgeHealth, EdgeKey, Planner, Probe},
    pops::{EdgeSite, Pop, PopIndex},
    ranking::Hysteresis,
    snapshot::{Answer, AnswerId, AskedBy, ExplainOptions, Snapshot},
};
use crate::{
    PopCode, Reason,
    estimate::{Estimate, EstimateOptions},
    health::ProbeOptions,
};

/// Orders candidates. Health is not its business: those who may not be chosen are left out afterwards.
pub trait Policy: Debug + Send + Sync {
    /// The word in configuration and explanations.
    fn name(&self) -> &'static str;

    /// Why its first choice was chosen.
    fn reason(&self) -> Reason;

    /// How many different orders it has for one and the same client, to be answered in turn; 1 for a policy that
    /// always answers a client alike.
    fn turns(&self, _candidates: usize) -> u64 {
        1
    }

    /// Whether the order depends on who asks. If not, answers have scope 0 (RFC 7871, section 7.2.1).
    fn is_tailored(&self) -> bool {
        true
    }

    /// Whether scores move with measurements, so that switching needs a margin and exploring makes sense.
    fn learns(&self) -> bool {
        false
    }

    /// How bad the candidate would be; the lowest is chosen, and of equals the one listed first.
    fn score(&self, candidate: &Candidate<'_>) -> f64;
}

/// What a policy may look at.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The PoP.
    pub pop: &'a Pop,
    /// Its position in the list.
    pub index: PopIndex,
    /// How many candidates there are.
    pub candidates: usize,
    /// Great-circle distance from the client; `None` where the client's place is unknown.
    pub distance_km: Option<f64>,
    /// The round trip that is believed.
    pub estimate: &'a Estimate,
    /// Which of the policy's orders is asked for, below [`Policy::turns`].
    pub turn: u64,
    /// The router's seed.
    pub seed: u64,
}

/// The policies by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PolicyKind {
    /// The lowest estimated round trip.
    #[default]
    Latency,
    /// The shortest distance.
    Nearest,
    /// Any, by seeded draw.
    Random,
    /// One after the other.
    RoundRobin,
    /// These in this order, then the rest as listed.
    Static(Vec<PopCode>),
}

impl PolicyKind {
    /// The names of all policies.
    pub const NAMES: [&'static str; 5] = ["latency", "geo", "random", "round_robin", "static"];

    /// The policy itself. A new one adds its file and a line here.
    pub fn build(&self) -> Arc<dyn Policy> {
        match self {
            Self::Latency => Arc::new(latency::Latency),
            Self::Nearest => Arc::new(nearest::Nearest),
            Self::Random => Arc::new(random::Random),
            Self::RoundRobin => Arc::new(round_robin::RoundRobin),
            Self::Static(order) => Arc::new(fixed::Fixed::new(order.clone())),
        }
    }
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a routing policy: latency, geo, random, round_robin or static")]
pub struct UnknownPolicy(String);

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        Ok(match text {
            "latency" => Self::Latency,
            "geo" => Self::Nearest,
            "random" => Self::Random,
            "round_robin" => Self::RoundRobin,
            "static" => Self::Static(vec![]),
            _ => return Err(UnknownPolicy(text.into())),
        })
    }
}

/// How a router chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingOptions {
    /// Default latency.
    pub policy: PolicyKind,
    /// Addresses per answer, each in another PoP; 1 or more. Default 2.
    pub answers: usize,
    /// How long resolvers may keep an answer. Default 60 s, as CloudFront. Halved while a candidate is degraded.
    pub ttl: Duration,
    /// How much better another PoP must be before a client block moves there.
    pub hysteresis: Hysteresis,
    /// The share of client blocks whose answers put the runner-up first, to learn: 0 to 1. Only where it might turn out
    /// to be the better one. Default 0.02.
    pub explore_share: f64,
    /// How long a block explores before others take their turn. Default 60 s.
    pub explore_period: Duration,
    /// Below this share of healthy edges health is ignored, 0 to 1. Default 0.5.
    pub healthy_share_min: f64,
    /// Beacons are put into a new snapshot at most this often. Default 100 ms. Health and drains do not wait.
    pub learn_interval: Duration,
    /// How edges are probed.
    pub probe: ProbeOptions,
    /// How round trips are estimated.
    pub estimate: EstimateOptions,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Default for RoutingOptions {
    fn default() -> Self {
        Self {
            policy: PolicyKind::default(),
            answers: 2,
            ttl: Duration::from_secs(60),
            hysteresis: Hysteresis::default(),
            explore_share: 0.02,
            explore_period: Duration::from_secs(60),
            healthy_share_min: 0.5,
            learn_interval: Duration::from_millis(100),
            probe: ProbeOptions::default(),
            estimate: EstimateOptions::default(),
            seed: 0,
        }
    }
}

/// A draw that depends on nothing but its arguments (SipHash 1-3).
fn draw(seed: u64, what: &str, values: [u64; 2]) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(seed, 0x6973_6f63_6872_6f6e);
    hasher.write(what.as_bytes());
    for value in values {
        hasher.write_u64(value);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
