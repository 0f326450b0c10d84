//! What the control plane asks its owner to do.
//!
//! This crate decides what should be; whoever builds it owns the processes and sockets and does it. Every call has a
//! deadline (`Limits::hand_timeout`), may be repeated, and is never made twice at the same time for the same node.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use cdn_core::{NodeId, PopCode};
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::{
    ask::{DigAsk, RequestAsk, RouteAsk},
    desired::{KeyGroups, LinkFault, NodeFault, Policies},
    wire::{LinksReport, LogLine, StoreStats},
};

/// What every method of [`Hands`] returns.
pub type HandsFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, HandsError>> + Send + 'a>>;

/// Why something could not be done; each becomes one HTTP status in `respond.rs`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandsError {
    /// There is no such thing: 404.
    #[error("{what}")]
    NotFound {
        /// One sentence, such as `there is no place "tokio"`.
        what: String,
        /// The nearest valid names, best first.
        did_you_mean: Vec<String>,
    },
    /// The node has no process: 409. For an invalidation this means that nothing of its store can come back.
    #[error("{0} is not running")]
    NotRunning(String),
    /// The node is already as asked, or in a state that does not allow it: 409.
    #[error("{0}")]
    Conflict(String),
    /// The question makes no sense: 400.
    #[error("{0}")]
    Invalid(String),
    /// CloudFront's API would refuse it, in its words: 400, or what goes with its code.
    #[error("{code}: {message}")]
    Refused {
        /// The code, such as `IllegalUpdate`.
        code: &'static str,
        /// What is wrong, and where.
        message: String,
    },
    /// No answer in time: 504.
    #[error("no answer in time")]
    TimedOut,
    /// It was tried and did not work: 502.
    #[error("{0}")]
    Failed(String),
}

/// Which kind of policy of behaviors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFamily {
    /// What is in the cache key, and for how long.
    Cache,
    /// What origins are told beside.
    OriginRequest,
    /// What is put on responses.
    ResponseHeaders,
}

impl PolicyFamily {
    /// CloudFront's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "CachePolicy",
            Self::OriginRequest => "OriginRequestPolicy",
            Self::ResponseHeaders => "ResponseHeadersPolicy",
        }
    }
}

/// A policy of behaviors in CloudFront's words.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedPolicy {
    /// Its kind.
    pub family: PolicyFamily,
    /// By which behaviors name it, a UUID.
    pub id: String,
    /// Whether it is CloudFront's own.
    pub is_managed: bool,
    /// Its `CachePolicyConfig`, or what the kind has in the place of that, in JSON.
    pub config: Value,
}

/// What logs are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsWanted {
    /// Of which nodes.
    pub nodes: Vec<NodeId>,
    /// How many of the last lines to begin with.
    pub tail: u32,
    /// Whether to go on with lines as they are written.
    pub follow: bool,
    /// Records of the real-time log of this distribution, from now on, in the place of the nodes' own lines.
    pub realtime: Option<String>,
}

/// The acting side, implemented by the owner of processes and sockets.
pub trait Hands: Send + Sync + 'static {
    /// Ends the node's process at once (SIGKILL) and keeps it from being started again.
    fn kill<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()>;

    /// Starts a node that was killed or has ended. `Conflict` if it runs.
    fn start<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()>;

    /// Freezes the node's process (SIGSTOP).
    fn pause<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()>;

    /// Lets a frozen process go on (SIGCONT).
    fn resume<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()>;

    /// Makes `faults` the only changes to links, everywhere. Nodes that do not run are left out without an error: this
    /// is called again when one starts.
    fn apply_link_faults<'a>(&'a self, faults: &'a [LinkFault]) -> HandsFuture<'a, ()>;

    /// Makes `faults` the only faults of origins and nodes. Nodes that do not run are left out without an error: this
    /// is called again when one starts.
    fn apply_node_faults<'a>(&'a self, faults: &'a [NodeFault]) -> HandsFuture<'a, ()>;

    /// Makes `pops` the only drained ones, at every router. Routers that do not run are left out without an error.
    fn set_drained<'a>(&'a self, pops: &'a [PopCode]) -> HandsFuture<'a, ()>;

    /// Makes `policies` those by which every router routes. Routers that do not run are left out without an error.
    fn set_policies<'a>(&'a self, policies: &'a Policies) -> HandsFuture<'a, ()>;

    /// Makes `groups` the keys that every edge trusts. Edges that do not run are left out without an error.
    fn set_key_groups<'a>(&'a self, groups: &'a KeyGroups) -> HandsFuture<'a, ()>;

    /// Has `node`, a cache, serve as this configuration says; as it was started with if `None`. One that does not run is
    /// told when it starts.
    fn configure<'a>(&'a self, node: &'a NodeId, config: Option<&'a Value>) -> HandsFuture<'a, ()>;

    /// Every distribution, by id, as CloudFront's `DistributionConfig` says it in JSON, in a world whose caches serve as
    /// `config` says; as they were started with if `None`.
    fn distributions<'a>(&'a self, config: Option<&'a Value>) -> HandsFuture<'a, BTreeMap<String, Value>>;

    /// Every policy that behaviors may name, in a world whose caches serve as `config` says.
    fn policies<'a>(&'a self, config: Option<&'a Value>) -> HandsFuture<'a, Vec<DescribedPolicy>>;

    /// What caches would have to serve for a distribution to be what `wanted`, a `DistributionConfig` in XML, says, where
    /// they serve as `config` says. Nothing is done yet. `Refused` if AWS would refuse it, or if it wants what a running
    /// world cannot change.
    fn update_distribution<'a>(
        &'a self,
        config: Option<&'a Value>,
        distribution: &'a str,
        wanted: &'a str,
    ) -> HandsFuture<'a, Value>;

    /// Forgets what `node` stores under `patterns` of `distribution` (of every one if `None`), over the network of the
    /// world; answers how many objects that were.
    fn invalidate<'a>(
        &'a self,
        node: &'a NodeId,
        distribution: Option<&'a str>,
        patterns: &'a [String],
    ) -> HandsFuture<'a, u64>;

    /// The node's `/metrics` in Prometheus' text format 0.0.4.
    fn metrics<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, String>;

    /// Why a viewer would be sent where. No side effects.
    fn explain_route<'a>(&'a self, ask: &'a RouteAsk) -> HandsFuture<'a, Value>;

    /// What would become of a request, cache by cache, and which origins would be asked. No side effects.
    fn explain_request<'a>(&'a self, ask: &'a RequestAsk) -> HandsFuture<'a, Value>;

    /// The same decision again, from what was known then.
    fn replay_route<'a>(&'a self, decision: &'a str) -> HandsFuture<'a, Value>;

    /// What `node` stores under `path` of `distribution` (of every one if `None`): a list.
    fn cache_where<'a>(
        &'a self,
        node: &'a NodeId,
        distribution: Option<&'a str>,
        path: &'a str,
    ) -> HandsFuture<'a, Value>;

    /// The same with everything that decides about what is stored.
    fn cache_show<'a>(
        &'a self,
        node: &'a NodeId,
        distribution: Option<&'a str>,
        path: &'a str,
    ) -> HandsFuture<'a, Value>;

    /// What the cache of `node` has done and holds.
    fn cache_stats<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, StoreStats>;

    /// The ledger of one request that went through the viewer proxy.
    fn ledger<'a>(&'a self, id: &'a str) -> HandsFuture<'a, Value>;

    /// Resolves a name as a viewer at a place would.
    fn dig<'a>(&'a self, ask: &'a DigAsk) -> HandsFuture<'a, Value>;

    /// Lines of logs, oldest first. The stream is dropped when its reader goes away.
    fn logs(&self, wanted: LogsWanted) -> HandsFuture<'_, BoxStream<'static, LogLine>>;

    /// Measures every link again. May take as long as `Limits::measure_timeout`.
    fn measure_links(&self) -> HandsFuture<'_, LinksReport>;

    /// Begins to stop the world; returns before it has stopped.
    fn shutdown(&self) -> HandsFuture<'_, ()>;
}
