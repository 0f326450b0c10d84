//! Which edge for whom: policies, the snapshot that answers come from, and why it says what it says.
//!
//! A [`Planner`] takes in probes, beacons, loads and drains and makes [`Snapshot`]s; a snapshot is never edited, and an
//! answer is a pure function of snapshot, host and client, so DNS, HTTP, `explain` and the simulator agree. Knows no wire
//! format, and not the network: it learns from what is reported to it.

mod anycast;
mod bound;
mod decide;
mod decision_id;
mod explain;
mod explanation;
mod fixed;
mod geoproximity;
mod host;
mod inside;
mod kept;
mod latency;
mod lay;
mod load;
mod nearest;
mod options;
mod orders;
mod planner;
mod pops;
mod price_class;
mod priors;
mod program;
mod ramp;
mod random;
mod ranking;
mod round_robin;
mod scoring;
mod snapshot;
mod table;
mod told;
mod weighted;

use std::{fmt::Debug, str::FromStr, sync::Arc, time::Duration};

pub use self::{
    anycast::AnycastOptions,
    decision_id::{DecisionId, Subject},
    explain::ExplainOptions,
    explanation::{CandidateExplained, ChosenEdge, EdgeExplained, Explanation},
    geoproximity::BIAS_MAX,
    host::Host,
    inside::InsideOptions,
    kept::{Basis, KeptOptions, KeptSnapshots},
    lay::{LaidMap, Outline},
    load::SpillOptions,
    options::RoutingOptions,
    planner::{EdgeHealth, EdgeKey, Planner, Probe},
    pops::{EdgeSite, Pop, PopIndex},
    price_class::{PriceClass, UnknownPriceClass},
    program::{Asked, ProgramOptions, Question, Restarts, Told, Word},
    ranking::Hysteresis,
    snapshot::{Answer, AnswerId, AskedBy, EdgeAddresses, Snapshot},
};
use crate::{PopCode, Reason, estimate::Estimate};

/// Orders candidates. Health, load and limits are not its business: those who may not be chosen are left out afterwards.
pub trait Policy: Debug + Send + Sync {
    /// The word in configuration and explanations.
    fn name(&self) -> &'static str;

    /// Why its first choice was chosen.
    fn reason(&self) -> Reason;

    /// Whether `reason` says no more than that the policy's order was followed.
    fn is_reason(&self, reason: Reason) -> bool {
        reason == self.reason()
    }

    /// How many different orders it has for one and the same client, to be answered in turn; 1 for a policy that
    /// always answers a client alike.
    fn turns(&self, _candidates: usize) -> u64 {
        1
    }

    /// Whether the order depends on who asks. If not, answers have scope 0 (RFC 7871, section 7.2.1).
    fn is_tailored(&self) -> bool {
        true
    }

    /// Whether the order differs between client blocks of one place. If not, one order is kept for all of them.
    fn is_per_block(&self) -> bool {
        false
    }

    /// Whether scores move with measurements, so that switching needs a margin and exploring makes sense.
    fn learns(&self) -> bool {
        false
    }

    /// Addresses per answer at most.
    fn answers_max(&self) -> usize {
        usize::MAX
    }

    /// How long resolvers may keep an answer at most.
    fn ttl_max(&self) -> Duration {
        Duration::MAX
    }

    /// How long a client block goes on to a PoP that was withdrawn; never longer than
    /// [`convergence_max`](Self::convergence_max). Zero where the router's word counts at once.
    fn convergence(&self, _seed: u64, _block_key: u64) -> Duration {
        Duration::ZERO
    }

    /// When even the last block has heard of a withdrawal.
    fn convergence_max(&self) -> Duration {
        Duration::ZERO
    }

    /// How bad the candidate would be; the lowest is chosen, and of equals the one listed first.
    fn score(&self, candidate: &Candidate<'_>) -> f64;
}

/// What a policy may look at.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The PoP.
    pub pop: &'a Pop,
    /// Its position among the candidates.
    pub index: PopIndex,
    /// How many candidates there are.
    pub candidates: usize,
    /// Great-circle distance from the client; `None` where the client's place is unknown.
    pub distance_km: Option<f64>,
    /// The round trip that is believed.
    pub estimate: &'a Estimate,
    /// A number that stands for the client's block, for draws; 0 for clients in none.
    pub block_key: u64,
    /// Which of the policy's orders is asked for, below [`Policy::turns`].
    pub turn: u64,
    /// The router's seed.
    pub seed: u64,
}

impl Candidate<'_> {
    /// A draw of its own for each pair of client block and PoP, above 0 and below 1. It hangs on network and code and not
    /// on positions in lists, so that it stays the same when others come and go.
    fn draw(&self, what: &str) -> f64 {
        unit(draw(self.seed, what, [self.block_key, pop_key(self.pop.code)]))
    }
}

/// The policies by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// The lowest estimated round trip.
    #[default]
    Latency,
    /// The shortest distance.
    Nearest,
    /// The shortest distance, with a bias per PoP.
    Geoproximity,
    /// Where a network of networks would carry the client.
    Anycast,
    /// By weight, the same for one client network.
    Weighted,
    /// Any, by seeded draw.
    Random,
    /// One after the other.
    RoundRobin,
    /// A stated order, then the rest as listed.
    Static,
    /// What a program outside says.
    Program,
}

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Latency,
        Self::Nearest,
        Self::Geoproximity,
        Self::Anycast,
        Self::Weighted,
        Self::Random,
        Self::RoundRobin,
        Self::Static,
        Self::Program,
    ];

    /// Those that need nobody outside.
    pub const BUILT_IN: [Self; 8] = [
        Self::Latency,
        Self::Nearest,
        Self::Geoproximity,
        Self::Anycast,
        Self::Weighted,
        Self::Random,
        Self::RoundRobin,
        Self::Static,
    ];

    /// The word in configuration and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Nearest => "geo",
            Self::Geoproximity => "geoproximity",
            Self::Anycast => "anycast",
            Self::Weighted => "weighted",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::Static => "static",
            Self::Program => "program",
        }
    }

    /// The policy itself, with its settings. A new one adds its file and a line here.
    pub fn build(self, options: &RoutingOptions) -> Arc<dyn Policy> {
        match self {
            Self::Latency => Arc::new(latency::Latency),
            Self::Nearest => Arc::new(nearest::Nearest),
            Self::Geoproximity => Arc::new(geoproximity::Geoproximity::new(options.bias.clone())),
            Self::Anycast => Arc::new(anycast::Anycast::new(options.anycast.clone())),
            Self::Weighted => Arc::new(weighted::Weighted::new(options.weights.clone())),
            Self::Random => Arc::new(random::Random),
            Self::RoundRobin => Arc::new(round_robin::RoundRobin),
            Self::Static => Arc::new(fixed::Fixed::new(options.order.clone())),
            Self::Program => Arc::new(told::ByProgram),
        }
    }
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a routing policy: {names}", names = PolicyKind::ALL.map(PolicyKind::as_str).join(", "))]
pub struct UnknownPolicy(String);

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let named = |kind: &Self| kind.as_str() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| UnknownPolicy(text.into()))
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

/// A draw as a number above 0 and below 1, so that its logarithm exists.
fn unit(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A number that stands for a PoP in draws, wherever it is listed.
fn pop_key(code: PopCode) -> u64 {
    code.as_str().bytes().fold(0, |key, byte| key << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests;
