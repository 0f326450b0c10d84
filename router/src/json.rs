//! Explanations and health as JSON. Durations are in milliseconds, as the names of their fields say.

use std::{collections::BTreeMap, net::SocketAddr};

use cdn_core::{
    Instant, NodeId,
    health::HealthState,
    routing::{AskedBy, CandidateExplained, EdgeHealth},
};
use serde::{Deserialize, Serialize};

use crate::{Explained, control::Control};

/// An [`Explained`] decision as JSON.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of cdn_core's Explanation")]
pub struct ExplanationJson {
    /// Under which the decision can be replayed.
    pub decision: String,
    pub name: String,
    pub distribution: String,
    pub client: ClientJson,
    pub policy: &'static str,
    pub snapshot_version: u64,
    pub scope_len: u8,
    pub ttl_s: u64,
    pub fail_open: bool,
    pub degraded: bool,
    pub healthy_share: f64,
    /// PoPs that were supposed to be drained too.
    pub what_if_drained: Vec<String>,
    pub chosen: Vec<ChosenJson>,
    pub candidates: Vec<CandidateJson>,
}

/// Who asked.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of cdn_core's Explanation")]
pub struct ClientJson {
    pub address: String,
    /// `peer`, `subnet` or `opt_out`.
    pub from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_len: Option<u8>,
    pub block: Option<String>,
    pub place: Option<String>,
    pub country: Option<String>,
}

/// One address of the answer.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of ChosenEdge")]
pub struct ChosenJson {
    pub pop: String,
    pub edge: String,
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<String>,
    pub reason: &'static str,
    pub reason_help: &'static str,
    pub edge_reason: &'static str,
    pub edge_reason_help: &'static str,
}

/// One PoP.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of CandidateExplained and Estimate")]
pub struct CandidateJson {
    pub pop: String,
    pub place: String,
    pub chosen: Option<usize>,
    pub reason: &'static str,
    pub reason_help: &'static str,
    pub estimate_ms: f64,
    pub deviation_ms: f64,
    pub source: &'static str,
    pub samples: u32,
    pub age_ms: Option<f64>,
    pub confidence: f64,
    pub distance_km: Option<f64>,
    pub health: &'static str,
    pub draining: bool,
    pub load_rps: Option<f64>,
    pub capacity_rps: Option<f64>,
    pub acceptance: f64,
    pub ramp: f64,
    pub edges: Vec<EdgeStateJson>,
}

/// One edge of a candidate.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of EdgeExplained")]
pub struct EdgeStateJson {
    pub id: String,
    pub health: &'static str,
    pub load_rps: Option<f64>,
    pub acceptance: f64,
    pub ramp: f64,
}

/// An [`EdgeHealth`] as JSON; times are spans before now.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of EdgeHealth")]
pub struct EdgeHealthJson {
    pub id: String,
    pub pop: String,
    pub address: String,
    pub health: &'static str,
    pub own: &'static str,
    pub observers: u32,
    pub down_votes: u32,
    pub draining: bool,
    pub since_ms: f64,
    pub rtt_ms: Option<f64>,
    pub last_answer_ms: Option<f64>,
    pub last_error: Option<String>,
    pub last_error_ms: Option<f64>,
    pub failures: usize,
}

/// What one router makes of the edges, for the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpinionsJson {
    /// Who says so.
    pub observer: String,
    /// `unknown`, `up`, `suspect` or `down` by the id of the edge.
    pub edges: BTreeMap<String, String>,
}

impl OpinionsJson {
    pub(crate) fn of(control: &Control) -> Self {
        let edges = control.opinions().into_iter();
        Self {
            observer: control.id.to_string(),
            edges: edges.map(|(edge, state)| (edge.to_string(), state.as_str().to_owned())).collect(),
        }
    }

    /// The observer and its opinions; `None` where a name is none.
    pub fn parse(&self) -> Option<(NodeId, Vec<(NodeId, HealthState)>)> {
        let edges = self.edges.iter().map(|(edge, state)| Some((edge.parse().ok()?, state.parse().ok()?)));
        Some((self.observer.parse().ok()?, edges.collect::<Option<_>>()?))
    }
}

impl From<&Explained> for ExplanationJson {
    fn from(Explained { id, explanation }: &Explained) -> Self {
        let (from, source_len) = match explanation.asked_by {
            AskedBy::Peer => ("peer", None),
            AskedBy::Subnet { source_len } => ("subnet", Some(source_len)),
            AskedBy::OptOut => ("opt_out", None),
        };
        let place = explanation.place.as_ref();
        Self {
            decision: id.clone(),
            name: explanation.name.clone(),
            distribution: explanation.host.clone(),
            client: ClientJson {
                address: explanation.client.to_string(),
                from,
                source_len,
                block: explanation.block.map(|net| net.to_string()),
                place: place.map(|place| place.label.to_string()),
                country: place.map(|place| place.country.to_string()).filter(|country| !country.is_empty()),
            },
            policy: explanation.policy,
            snapshot_version: explanation.snapshot_version,
            scope_len: explanation.scope_len,
            ttl_s: explanation.ttl.as_secs(),
            fail_open: explanation.fail_open,
            degraded: explanation.degraded,
            healthy_share: explanation.healthy_share,
            what_if_drained: explanation.assume_drained.iter().map(ToString::to_string).collect(),
            chosen: explanation
                .chosen
                .iter()
                .map(|chosen| ChosenJson {
                    pop: chosen.pop.to_string(),
                    edge: chosen.edge.to_string(),
                    address: chosen.address.to_string(),
                    address6: chosen.address6.map(|ip| SocketAddr::from((ip, chosen.address.port())).to_string()),
                    reason: chosen.reason.as_str(),
                    reason_help: chosen.reason.help(),
                    edge_reason: chosen.edge_reason.as_str(),
                    edge_reason_help: chosen.edge_reason.help(),
                })
                .collect(),
            candidates: explanation.candidates.iter().map(CandidateJson::from).collect(),
        }
    }
}

impl From<&CandidateExplained> for CandidateJson {
    fn from(candidate: &CandidateExplained) -> Self {
        let estimate = &candidate.estimate;
        Self {
            pop: candidate.pop.to_string(),
            place: candidate.place.to_string(),
            chosen: candidate.chosen,
            reason: candidate.reason.as_str(),
            reason_help: candidate.reason.help(),
            estimate_ms: ms(estimate.rtt),
            deviation_ms: ms(estimate.deviation),
            source: estimate.source.as_str(),
            samples: estimate.samples,
            age_ms: estimate.age.map(ms),
            confidence: thousandths(estimate.confidence),
            distance_km: candidate.distance_km.map(f64::round),
            health: candidate.health.as_str(),
            draining: candidate.draining,
            load_rps: candidate.load_rps.map(thousandths),
            capacity_rps: candidate.capacity_rps,
            acceptance: thousandths(candidate.acceptance),
            ramp: thousandths(candidate.ramp),
            edges: candidate
                .edges
                .iter()
                .map(|edge| EdgeStateJson {
                    id: edge.edge.to_string(),
                    health: edge.health.as_str(),
                    load_rps: edge.load_rps.map(thousandths),
                    acceptance: thousandths(edge.acceptance),
                    ramp: thousandths(edge.ramp),
                })
                .collect(),
        }
    }
}

impl EdgeHealthJson {
    /// `health` as of `now`.
    pub fn new(now: Instant, health: &EdgeHealth) -> Self {
        Self {
            id: health.edge.to_string(),
            pop: health.pop.to_string(),
            address: health.address.to_string(),
            health: if health.draining { "draining" } else { health.state.as_str() },
            own: health.own.as_str(),
            observers: health.observers,
            down_votes: health.down_votes,
            draining: health.draining,
            since_ms: ms(now - health.since),
            rtt_ms: health.rtt.map(ms),
            last_answer_ms: health.last_answer_at.map(|at| ms(now - at)),
            last_error: health.last_error.map(|(_, error)| error.to_string()),
            last_error_ms: health.last_error.map(|(at, _)| ms(now - at)),
            failures: health.failures,
        }
    }
}

/// With three decimals.
fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Milliseconds with three decimals.
fn ms(span: std::time::Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
