//! What supervisor and nodes say to one another: the config on stdin, and documents of the admin port.
//!
//! Both ends are this same binary, so these types are no contract with anybody else.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::NodeId;
use control_plane::{KeyGroups, LinkFault, NodeFault, Policies};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use world::{Effect, LinkChange};

use crate::{
    cluster::Inputs,
    cluster_file::{ClusterFile, DistributionFile},
};

/// The one line that a node reads from stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeConfig {
    /// The world's name.
    pub(crate) world: String,
    /// The node's own id.
    pub(crate) node: String,
    /// What admin must show.
    pub(crate) token: String,
    /// The world as typed; the node checks it again, and comes to the same result.
    pub(crate) file: ClusterFile,
    /// What the check needs beyond the file.
    pub(crate) inputs: Inputs,
}

impl NodeConfig {
    /// Everything on which the meaning of a stored response depends, as text: what is on a disk tier is used again by a
    /// world that says the same, and by no other.
    pub(crate) fn generation(&self) -> String {
        let ClusterFile { seed, origins, groups, distributions, .. } = &self.file;
        // How clients are routed says nothing of what is stored.
        let stored =
            |file: &DistributionFile| DistributionFile { routing: None, price_class: None, pops: None, ..file.clone() };
        let distributions: IndexMap<&String, _> = distributions.iter().map(|(id, file)| (id, stored(file))).collect();
        let said = serde_json::json!([env!("CARGO_PKG_VERSION"), seed, origins, groups, distributions]);
        said.to_string()
    }
}

/// Everything that is wrong at the moment, for `PUT /faults`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FaultSet {
    /// Changes of links.
    pub(crate) links: Vec<LinkWire>,
    /// Faults of nodes and origins.
    pub(crate) nodes: Vec<NodeWire>,
}

impl FaultSet {
    /// By how many nanoseconds the clock of a node is ahead.
    pub(crate) fn clock_of(&self, node: &NodeId) -> i64 {
        let clock = |effect| match effect {
            EffectWire::Clock(ahead_ns) => Some(ahead_ns),
            _ => None,
        };
        self.of(node).find_map(clock).unwrap_or(0)
    }

    /// Whether a node cannot write its logs.
    pub(crate) fn has_full_logs(&self, node: &NodeId) -> bool {
        self.of(node).any(|effect| effect == EffectWire::LogsFull)
    }

    fn of(&self, node: &NodeId) -> impl Iterator<Item = EffectWire> {
        let name = node.to_string();
        self.nodes.iter().filter(move |fault| fault.node == name).map(|fault| fault.effect)
    }
}

/// A changed link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkWire {
    /// One end; the sender where only one direction is meant.
    pub(crate) from: String,
    /// The other end.
    pub(crate) to: String,
    /// Both directions.
    pub(crate) both_ways: bool,
    /// How.
    pub(crate) change: ChangeWire,
}

/// How a link is changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ChangeWire {
    /// One-way delay on top, in nanoseconds.
    Delay(u64),
    /// Share of packets lost.
    Loss(f64),
    /// Bits per second.
    Throttle(u64),
    /// Nothing passes.
    Partition,
}

/// A misbehaving node or origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeWire {
    /// Its id.
    pub(crate) node: String,
    /// How.
    pub(crate) effect: EffectWire,
    /// Share of requests or connections.
    pub(crate) rate: f64,
    /// Only paths like this.
    pub(crate) path: Option<String>,
    /// Only from this site.
    pub(crate) from: Option<String>,
}

/// How a node misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EffectWire {
    /// Answers with a status.
    Status(u16),
    /// Answers later, in nanoseconds.
    Latency(u64),
    /// Refuses connections.
    Refuse,
    /// Resets connections.
    Reset,
    /// Is silent below HTTP.
    Blackhole,
    /// Ends bodies early.
    Truncate,
    /// Stops in the middle of bodies.
    Stall,
    /// Sends what is not HTTP.
    Garbage,
    /// Bits per second.
    Throttle(u64),
    /// By how many nanoseconds its clock is ahead.
    Clock(i64),
    /// Its logs cannot be written.
    LogsFull,
}

impl EffectWire {
    /// What it stands for.
    pub(crate) const fn effect(self) -> Effect {
        match self {
            Self::Status(status) => Effect::Status(status),
            Self::Latency(nanos) => Effect::Latency(Duration::from_nanos(nanos)),
            Self::Refuse => Effect::Refuse,
            Self::Reset => Effect::Reset,
            Self::Blackhole => Effect::Blackhole,
            Self::Truncate => Effect::Truncate,
            Self::Stall => Effect::Stall,
            Self::Garbage => Effect::Garbage,
            Self::Throttle(bps) => Effect::Throttle { bps },
            Self::Clock(ahead_ns) => Effect::Clock { ahead_ns },
            Self::LogsFull => Effect::LogsFull,
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl From<&LinkFault> for LinkWire {
    fn from(fault: &LinkFault) -> Self {
        Self {
            from: fault.from.to_string(),
            to: fault.to.to_string(),
            both_ways: fault.both_ways,
            change: match fault.change {
                LinkChange::Delay(delay) => ChangeWire::Delay(nanos(delay)),
                LinkChange::Loss(share) => ChangeWire::Loss(share),
                LinkChange::Throttle(bps) => ChangeWire::Throttle(bps),
                LinkChange::Partition => ChangeWire::Partition,
            },
        }
    }
}

impl From<&NodeFault> for NodeWire {
    fn from(fault: &NodeFault) -> Self {
        Self {
            node: fault.node.to_string(),
            effect: match fault.effect {
                Effect::Status(status) => EffectWire::Status(status),
                Effect::Latency(latency) => EffectWire::Latency(nanos(latency)),
                Effect::Refuse => EffectWire::Refuse,
                Effect::Reset => EffectWire::Reset,
                Effect::Blackhole => EffectWire::Blackhole,
                Effect::Truncate => EffectWire::Truncate,
                Effect::Stall => EffectWire::Stall,
                Effect::Garbage => EffectWire::Garbage,
                Effect::Throttle { bps } => EffectWire::Throttle(bps),
                Effect::Clock { ahead_ns } => EffectWire::Clock(ahead_ns),
                Effect::LogsFull => EffectWire::LogsFull,
            },
            rate: fault.rate,
            path: fault.path.clone(),
            from: fault.from.as_ref().map(ToString::to_string),
        }
    }
}

/// `POST /measure`: addresses to measure the way to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MeasureAsk {
    /// Where the way begins; the node's own site where absent.
    pub(crate) ways: Vec<WayAsk>,
}

/// One way to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WayAsk {
    /// A place; the node's own where absent (only viewers stand elsewhere).
    pub(crate) from: Option<String>,
    /// Who answers there.
    pub(crate) to: std::net::SocketAddr,
}

/// What was measured of one way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WayMeasured {
    /// Site that dialled.
    pub(crate) from: String,
    /// Site that answered.
    pub(crate) to: String,
    /// The model's round trip.
    pub(crate) asked_ms: f64,
    /// What was seen, or why nothing was.
    pub(crate) measured_ms: Result<f64, String>,
}

/// `POST /invalidate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InvalidateAsk {
    /// One distribution, or all.
    pub(crate) distribution: Option<String>,
    /// Patterns.
    pub(crate) patterns: Vec<String>,
}

/// `PUT /config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ConfigureAsk {
    /// What a cache is to serve; what it was started with if `None`.
    pub(crate) file: Option<ClusterFile>,
    /// The key groups of the world, where they are not those that it was started with.
    pub(crate) key_groups: Option<KeyGroups>,
}

/// `PUT /drained`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DrainedAsk {
    /// PoPs out of answers.
    pub(crate) pops: Vec<String>,
}

/// `PUT /policies`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PoliciesAsk {
    /// Of distributions that have none of their own.
    pub(crate) world: String,
    /// Of those that have, by id.
    pub(crate) of_distributions: BTreeMap<String, String>,
}

impl From<&Policies> for PoliciesAsk {
    fn from(policies: &Policies) -> Self {
        let own = policies.of_distributions.iter().map(|(id, policy)| (id.clone(), policy.as_str().to_owned()));
        Self { world: policies.world.as_str().to_owned(), of_distributions: own.collect() }
    }
}

/// `GET /edges` of a router: how it sees an edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EdgeSeen {
    /// Its id.
    pub(crate) node: String,
    /// `up`, `down` or `unknown`.
    pub(crate) health: String,
}
