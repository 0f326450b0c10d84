//! How a router chooses: every setting with its default.

use std::{collections::BTreeMap, time::Duration};

use super::{AnycastOptions, Hysteresis, InsideOptions, PolicyKind, SpillOptions};
use crate::{
    PopCode,
    estimate::EstimateOptions,
    geo::Place,
    health::{ProbeOptions, quorum::QuorumOptions},
};

/// How a router chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingOptions {
    /// Where the router stands, so that what its probes take counts for clients around it. Default none, which is unknown.
    pub site: Option<Place>,
    /// Of hosts that have none of their own. Default latency.
    pub policy: PolicyKind,
    /// The order of `static`; who is not in it comes after, as listed. Default empty.
    pub order: Vec<PopCode>,
    /// Percent by which `geoproximity` draws clients to a PoP (above 0) or keeps them away (below), -99 to 99. Default 0.
    pub bias: BTreeMap<PopCode, i8>,
    /// The weights of `weighted`, 0 or more. Default 1 each.
    pub weights: BTreeMap<PopCode, f64>,
    /// The catchments of `anycast`.
    pub anycast: AnycastOptions,
    /// What PoPs can bear, and when clients are sent on.
    pub spill: SpillOptions,
    /// How hosts are spread over the edges of a PoP.
    pub inside: InsideOptions,
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
    /// How long a PoP that was down, or an edge beside others in one, takes until all its clients are back; zero for at once. Default 10 s.
    pub ramp: Duration,
    /// How the opinions of several observers become one verdict.
    pub quorum: QuorumOptions,
    /// How round trips are estimated.
    pub estimate: EstimateOptions,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Default for RoutingOptions {
    fn default() -> Self {
        Self {
            site: None,
            policy: PolicyKind::default(),
            order: vec![],
            bias: BTreeMap::new(),
            weights: BTreeMap::new(),
            anycast: AnycastOptions::default(),
            spill: SpillOptions::default(),
            inside: InsideOptions::default(),
            answers: 2,
            ttl: Duration::from_secs(60),
            hysteresis: Hysteresis::default(),
            explore_share: 0.02,
            explore_period: Duration::from_secs(60),
            healthy_share_min: 0.5,
            learn_interval: Duration::from_millis(100),
            probe: ProbeOptions::default(),
            ramp: Duration::from_secs(10),
            quorum: QuorumOptions::default(),
            estimate: EstimateOptions::default(),
            seed: 0,
        }
    }
}
