//! A decision as data: who asked, what was known, and why each candidate was kept or rejected.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use super::snapshot::AskedBy;
use crate::{Instant, NodeId, PopCode, Reason, estimate::Estimate, geo::Place, health::HealthState};

/// Why an answer is what it is. Making one has no side effects.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The name that was asked for.
    pub name: String,
    /// The id of the distribution that the name belongs to.
    pub host: String,
    /// The address that was judged.
    pub client: IpAddr,
    /// Where that address came from.
    pub asked_by: AskedBy,
    /// The client's network in the prefix table; `None` where it is in none.
    pub block: Option<IpNet>,
    /// Where the table says that network is.
    pub place: Option<Place>,
    /// The policy's name.
    pub policy: &'static str,
    /// Which snapshot was asked.
    pub snapshot_version: u64,
    /// When it was made.
    pub snapshot_at: Instant,
    /// The scope that goes into DNS answers: how many leading bits of the client's address the answer depends on.
    pub scope_len: u8,
    /// How long resolvers may keep the answer.
    pub ttl: Duration,
    /// Health was ignored because too few are healthy.
    pub fail_open: bool,
    /// The share of healthy edges among those not drained, 0 to 1.
    pub healthy_share: f64,
    /// Something among the candidates is drained, down or unknown, so the TTL is halved.
    pub degraded: bool,
    /// What was supposed: these PoPs as if they were drained too.
    pub assume_drained: Vec<PopCode>,
    /// Every PoP, best first.
    pub candidates: Vec<CandidateExplained>,
    /// The answer, best first.
    pub chosen: Vec<ChosenEdge>,
}

/// One PoP in an [`Explanation`].
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateExplained {
    /// The PoP.
    pub pop: PopCode,
    /// Where it is, for people.
    pub place: Arc<str>,
    /// Great-circle distance from the client, where its place is known.
    pub distance_km: Option<f64>,
    /// The round trip that is believed, and on what grounds.
    pub estimate: Estimate,
    /// The best state among its edges.
    pub health: HealthState,
    /// Being drained.
    pub draining: bool,
    /// Its edges.
    pub edges: Vec<EdgeExplained>,
    /// Requests per second, where its edges report.
    pub load_rps: Option<f64>,
    /// Requests per second that it can bear, where there is a limit.
    pub capacity_rps: Option<f64>,
    /// The share of the clients coming to it that it takes, 0 to 1; the others go on to the next best.
    pub acceptance: f64,
    /// The share of its clients that are back since it was down, 0 to 1.
    pub ramp: f64,
    /// Its place in the answer, from 0; `None` where it was rejected.
    pub chosen: Option<usize>,
    /// Why it was kept or rejected.
    pub reason: Reason,
}

/// One edge of a PoP in an [`Explanation`].
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeExplained {
    /// The edge.
    pub edge: NodeId,
    /// What is believed of it.
    pub health: HealthState,
    /// Requests per second, where it reports.
    pub load_rps: Option<f64>,
    /// The share of the clients coming to it that it takes for its load, 0 to 1; the others go on to the next edge.
    pub acceptance: f64,
    /// The share of its clients that it has back since it was down, 0 to 1.
    pub ramp: f64,
}

/// One address of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenEdge {
    /// Its PoP.
    pub pop: PopCode,
    /// The edge.
    pub edge: NodeId,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Where it listens for IPv6 too, at the same port.
    pub address6: Option<Ipv6Addr>,
    /// Why it was chosen.
    pub reason: Reason,
    /// Why this edge of the PoP.
    pub edge_reason: Reason,
}
