//! What the API sends: one serde type per document, with its schema for `/v1/openapi.json`.
//!
//! The command line reads the same types back. Units stand in the names; absent values are `null`, never left out,
//! unless a field says otherwise. Knows nothing of where the values come from.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// How a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It runs and its health checks succeed.
    Up,
    /// It runs; some of its last health checks failed, or none succeeded yet.
    Suspect,
    /// Its health checks failed, or its process ended by itself.
    Down,
    /// It runs and is being taken out of answers.
    Draining,
    /// It was killed on request.
    Stopped,
}

impl Health {
    /// The lower-case word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a node listens, each as `ip:port`; what it does not have is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Addresses {
    /// Cleartext HTTP for viewers (or, of other caches and of origins, for edges).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// The same over IPv6, where there is some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http6: Option<String>,
    /// HTTP over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// DNS, UDP and TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The node's own admin port on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// A node as `iso status` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Such as `edge.fra`.
    pub id: String,
    /// `edge`, `regional`, `shield`, `router`, `origin` or `viewer`.
    pub role: String,
    /// The PoP it belongs to, upper case.
    pub pop: Option<String>,
    /// The site at which it stands, the name links use.
    pub site: String,
    /// That site in words, such as `Frankfurt`.
    pub place: String,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Its process, while it has one.
    pub pid: Option<u32>,
    /// How it is doing.
    pub health: Health,
    /// Where it listens.
    pub addresses: Addresses,
    /// How often its process ended by itself and was started again.
    pub restarts: u64,
    /// For how long `health` has been what it is, in milliseconds.
    pub since_ms: u64,
    /// How its process last ended, while it does not run.
    pub exit: Option<String>,
}

/// An active fault, link change, killed or paused node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultRow {
    /// Its number; `DELETE /v1/faults?id=` takes it.
    pub id: u64,
    /// A node's id, `fra<->iad` for a link, or `fra->iad` for one direction of it.
    pub target: String,
    /// `status`, `latency`, `refuse`, `reset`, `blackhole`, `truncate`, `stall`, `garbage`, `throttle`, `delay`,
    /// `loss`, `partition`, `kill` or `pause`.
    pub kind: String,
    /// Milliseconds until it ends by itself; `null` if it stays until healed.
    pub ends_in_ms: Option<u64>,
    /// The rest in words, such as `503, 30 % of requests, path /api/*`.
    pub detail: String,
}

/// The links between nodes in one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// How many were measured.
    pub count: u64,
    /// The largest difference between asked and measured round trip; `null` until measured.
    pub worst_error_ms: Option<f64>,
}

/// The whole world: `iso status --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The world's name.
    pub world: String,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The version of `iso` that runs it.
    pub version: String,
    /// Since the control plane was built.
    pub uptime_ms: u64,
    /// Whether every node that should run is up and the links have been measured.
    pub ready: bool,
    /// Every node, by role and name.
    pub nodes: Vec<Node>,
    /// Everything that is broken on purpose, oldest first.
    pub faults: Vec<FaultRow>,
    /// PoPs that are being drained, upper case.
    pub drained: Vec<String>,
    /// By which policies clients are routed.
    pub routing: Routing,
    /// The links in one line.
    pub links: Links,
    /// The viewer proxy, as `ip:port`.
    pub proxy: Option<String>,
    /// The dashboard's URL.
    pub dashboard: String,
}

/// What became of one node that an action was meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeOutcome {
    /// The node's id.
    pub node: String,
    /// Why it did not work; `null` if it did.
    pub error: Option<String>,
}

/// The answer to kill, start, pause and resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acted {
    /// One entry per node that the target stands for.
    pub nodes: Vec<NodeOutcome>,
    /// Milliseconds until it is undone by itself.
    pub ends_in_ms: Option<u64>,
}

/// A list of faults: those added, healed or active, as the route says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Faults {
    /// Oldest first.
    pub faults: Vec<FaultRow>,
}

/// The PoPs that are being drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drained {
    /// Upper case.
    pub drained: Vec<String>,
}

/// What the whole world serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigReport {
    /// A cluster file as JSON; `null` where it is what the world was started with. Caches that were configured by themselves
    /// serve something else.
    pub config: Option<Value>,
}

/// Which keys behaviors may trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyGroupsReport {
    /// Every key group.
    pub groups: Vec<KeyGroup>,
}

/// A key group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyGroup {
    /// Its id.
    pub id: String,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its id, `Key-Pair-Id`.
    pub id: String,
    /// The key in PEM.
    pub pem: String,
}

/// By which policies clients are routed: `iso route`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Routing {
    /// Of distributions that have none of their own.
    pub policy: String,
    /// Every distribution.
    pub distributions: Vec<DistributionRouting>,
}

/// How one distribution is routed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DistributionRouting {
    /// Its id.
    pub id: String,
    /// The policy by which it is routed.
    pub policy: String,
    /// Whether that is its own, and not the world's.
    pub is_own: bool,
    /// The PoPs that may serve it, upper case: those that it names, of its price class.
    pub pops: Vec<String>,
}

/// How far an invalidation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum InvalidationStatus {
    /// Some node has not confirmed it yet.
    InProgress,
    /// Every node has confirmed it, or had nothing to forget because it does not run.
    Completed,
    /// Nothing is under way any more, and at least one node could not be told.
    Failed,
}

/// How far an invalidation has come on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// On its way, or being tried again.
    Pending,
    /// The node has confirmed it.
    Done,
    /// The node does not run, so its store is gone.
    Skipped,
    /// Given up; `error` says why.
    Failed,
}

/// An invalidation on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeProgress {
    /// The node's id.
    pub node: String,
    /// How far it has come there.
    pub state: Delivery,
    /// How many stored objects it removed.
    pub removed: u64,
    /// Milliseconds from acceptance to confirmation.
    pub after_ms: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// An invalidation and its spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invalidation {
    /// `I` and thirteen characters, as CloudFront's.
    pub id: String,
    /// How far it has come.
    pub status: InvalidationStatus,
    /// The distribution meant; `null` means every one.
    pub distribution: Option<String>,
    /// The patterns, as given.
    pub patterns: Vec<String>,
    /// When it was accepted, in milliseconds since the control plane was built.
    pub t_ms: u64,
    /// One entry per cache.
    pub nodes: Vec<NodeProgress>,
}

/// What one node knows of a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeCache {
    /// The node's id.
    pub node: String,
    /// The PoP it belongs to.
    pub pop: Option<String>,
    /// The node's own answer: a list of stored variants.
    #[schema(value_type = Value)]
    pub entries: Value,
    /// Why there is no answer; `null` if there is one.
    pub error: Option<String>,
}

/// Who holds a path: `iso cache where`, and with every detail `iso cache show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CacheReport {
    /// The path asked for.
    pub path: String,
    /// The distribution asked for; `null` means every one.
    pub distribution: Option<String>,
    /// One entry per cache.
    pub nodes: Vec<NodeCache>,
}

/// What a node's cache has done since its process began, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoreStats {
    /// Responses in the store.
    pub objects: u64,
    /// What they take, bodies, headers and bookkeeping.
    pub bytes: u64,
    /// What they may take.
    pub bytes_max: u64,
    /// Requests answered from the store.
    pub hits: u64,
    /// Requests answered from the store after the origin had confirmed it.
    pub refresh_hits: u64,
    /// Cacheable requests that the store could not answer.
    pub misses: u64,
    /// Requests that are never cached.
    pub passes: u64,
    /// Requests that shared somebody else's fetch.
    pub collapsed: u64,
    /// Hits, refreshed ones included, among cacheable requests; `null` without any.
    pub hit_ratio: Option<f64>,
    /// Bytes of bodies that came out of the store among all that were sent; `null` without any.
    pub byte_hit_ratio: Option<f64>,
    /// Bytes of bodies sent.
    pub bytes_sent: u64,
    /// Responses that had to go because the store was full.
    pub evictions: u64,
    /// Responses that the admission rule kept out.
    pub admissions_refused: u64,
    /// What its disk tier holds and has done; `null` where it has none, or nothing was ever on it.
    pub disk: Option<DiskStats>,
}

/// What one node's disk tier holds and has done since the node began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskStats {
    /// Responses on it.
    pub objects: u64,
    /// What it occupies.
    pub bytes: u64,
    /// Responses taken back into the store from it.
    pub hits: u64,
    /// Responses written to it.
    pub writes: u64,
    /// Responses that had to go because it was full.
    pub evictions: u64,
}

/// What one node's cache has done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStoreStats {
    /// The node's id.
    pub node: String,
    /// The PoP it belongs to.
    pub pop: Option<String>,
    /// What it has done; `null` where it cannot be asked.
    pub stats: Option<StoreStats>,
    /// Why there is no answer; `null` if there is one.
    pub error: Option<String>,
}

/// What every cache has done: `iso cache stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CacheStats {
    /// One entry per cache.
    pub nodes: Vec<NodeStoreStats>,
}

/// One link, asked against measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkMeasure {
    /// The site that dialled.
    pub from: String,
    /// The site that answered.
    pub to: String,
    /// The round trip that the world's model says.
    pub asked_ms: f64,
    /// The round trip that was seen, handshake included.
    pub measured_ms: f64,
    /// Measured less asked.
    pub error_ms: f64,
}

/// Every link, asked against measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinksReport {
    /// One entry per measured pair.
    pub links: Vec<LinkMeasure>,
    /// Links that could not be measured, in words.
    #[serde(default)]
    pub unmeasured: Vec<String>,
}

impl LinksReport {
    /// The largest difference, either way; `None` without links.
    pub fn worst_error_ms(&self) -> Option<f64> {
        self.links.iter().map(|link| link.error_ms.abs()).reduce(f64::max)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up from 1; what `Last-Event-ID` and `?since=` take.
    pub seq: u64,
    /// Milliseconds since the control plane was built.
    pub t_ms: u64,
    /// A word to filter by, such as `health`, `fault`, `heal`, `invalidation`, `restart`, `gap`.
    pub kind: String,
    /// The node it happened to, if one.
    pub node: Option<String>,
    /// One line for people.
    pub text: String,
}

/// One line of a node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The node that wrote it.
    pub node: String,
    /// The line, without its end.
    pub text: String,
}

/// The answer of `/healthz` and of requests that have nothing to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// `ok`, or `stopping` after a shutdown was asked for.
    pub status: String,
}

/// Every refusal of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDocument {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong, for code and for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word, such as `unknown_target`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The nearest valid names, best first; left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub did_you_mean: Vec<String>,
    /// What to do about it; left out when there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
