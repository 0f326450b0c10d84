//! What the API is asked: one serde type per request body or query string.
//!
//! These are what was typed. Unknown fields are refused, so a misspelt one never goes unnoticed; ranges are checked by
//! `check.rs`, names by `registry.rs`.

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{IntoParams, ToSchema};

/// Body of kill and pause: may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StopAsk {
    /// Undo it by itself after so many milliseconds.
    pub for_ms: Option<u64>,
}

/// Body of `POST /v1/faults`: make an origin or a node misbehave.
///
/// Each kind that is named becomes a fault of its own; of `refuse`, `reset` and `blackhole` at most one may be named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultAsk {
    /// A node's id (`edge.fra`), a PoP code (its edges) or an origin's id (`primary`).
    pub target: String,
    /// Answer with this status, 200 to 599.
    pub status: Option<u16>,
    /// The share of requests or connections that the fault meets, above 0 and up to 1; all if left out.
    pub rate: Option<f64>,
    /// Wait so many milliseconds before answering.
    pub latency_ms: Option<f64>,
    /// Refuse connections at once.
    #[serde(default)]
    pub refuse: bool,
    /// Accept and then reset connections.
    #[serde(default)]
    pub reset: bool,
    /// Never answer a connection attempt.
    #[serde(default)]
    pub blackhole: bool,
    /// End the body early.
    #[serde(default)]
    pub truncate: bool,
    /// Stop in the middle of the body and keep the connection open.
    #[serde(default)]
    pub stall: bool,
    /// Answer with bytes that are not HTTP.
    #[serde(default)]
    pub garbage: bool,
    /// Send bodies at so many bits per second.
    pub throttle_bps: Option<u64>,
    /// Take a date for the right one that is so many milliseconds ahead, or behind where negative.
    #[serde(default)]
    pub clock_ahead_ms: Option<i64>,
    /// Have no room for logs: their lines are lost.
    #[serde(default)]
    pub logs_full: bool,
    /// Only requests for paths that match this glob.
    pub path: Option<String>,
    /// Only connections from this site.
    pub from: Option<String>,
    /// End by itself after so many milliseconds.
    pub for_ms: Option<u64>,
}

/// Body of `POST /v1/links`: change a link. Each kind that is named becomes a fault of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkAsk {
    /// One end: a PoP, a region, a city, or a node's id for its site.
    pub a: String,
    /// The other end.
    pub b: String,
    /// Add so many milliseconds to each direction.
    pub delay_ms: Option<f64>,
    /// Lose this share of packets, above 0 and up to 1.
    pub loss: Option<f64>,
    /// Carry at most so many bits per second.
    pub throttle_bps: Option<u64>,
    /// Let nothing through.
    #[serde(default)]
    pub partition: bool,
    /// Only from `a` to `b`.
    #[serde(default)]
    pub one_way: bool,
    /// End by itself after so many milliseconds.
    pub for_ms: Option<u64>,
}

/// Body of drain and undrain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainAsk {
    /// The PoP's code, or the id of one of its nodes.
    pub pop: String,
}

/// Body of `POST /v1/routing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingAsk {
    /// A policy's name; of a distribution also `default`, for the world's.
    pub policy: String,
    /// A distribution's id or one of its host names; without one, the policy of all that have none of their own.
    #[serde(default)]
    pub distribution: Option<String>,
}

/// Body of `POST /v1/key-groups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAsk {
    /// The key group, which the world has.
    pub group: String,
    /// The key's id, `Key-Pair-Id`.
    pub id: String,
    /// The public key in PEM; without one the key is taken out of the group.
    #[serde(default)]
    pub pem: Option<String>,
}

/// Body of `POST /v1/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigAsk {
    /// Edges, regional caches and shields by id, or PoPs for their edges; all of them if left out.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// A cluster file as JSON, of which distributions and what they name count; without one, back to what each was started
    /// with.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
}

/// Body of `POST /v1/invalidations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvalidationAsk {
    /// A distribution's id or one of its host names; every distribution if left out.
    #[serde(default)]
    pub distribution: Option<String>,
    /// Paths, with `*` at the end for everything below.
    pub patterns: Vec<String>,
}

/// Query of `DELETE /v1/faults`: exactly one of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HealAsk {
    /// `all`, a node's id, an origin's id, a PoP or site (its nodes and links), or a link as `fra<->iad`.
    pub target: Option<String>,
    /// The number of one fault.
    pub id: Option<u64>,
}

/// Query of `GET /v1/cache`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CacheAsk {
    /// The path, with its query string if it has one.
    pub path: String,
    /// A distribution's id or one of its host names; every distribution if left out.
    #[serde(default)]
    pub distribution: Option<String>,
}

/// Query of `GET /v1/cache/show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CacheShowAsk {
    /// The path, with its query string if it has one.
    pub path: String,
    /// A distribution's id or one of its host names; every distribution if left out.
    #[serde(default)]
    pub distribution: Option<String>,
    /// A node's id, or a PoP's code for its edges; every cache if left out.
    #[serde(default)]
    pub at: Option<String>,
}

/// Query of `GET /v1/explain/route`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RouteAsk {
    /// The place where the viewer stands.
    pub from: String,
    /// The host name asked for; the demo site if left out.
    #[serde(default)]
    pub name: Option<String>,
    /// The place where its resolver stands; the viewer's if left out.
    #[serde(default)]
    pub resolver: Option<String>,
    /// Whether the resolver sends the client's subnet (RFC 7871).
    #[serde(default, deserialize_with = "flag_or_none")]
    pub ecs: Option<bool>,
    /// Suppose that these PoPs, by code and separated by commas, were drained too.
    #[serde(default)]
    pub drain: Option<String>,
}

/// Query of `GET /v1/explain/request`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestAsk {
    /// The place where the viewer stands.
    pub from: String,
    /// What is asked for; a path alone is one of the world's first name.
    pub url: String,
    /// The method; `GET` if left out.
    #[serde(default)]
    pub method: Option<String>,
    /// The viewer's headers, a line each: `name: value`.
    #[serde(default)]
    pub headers: Option<String>,
}

/// Query of `GET /v1/dig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DigAsk {
    /// The place where the viewer stands.
    pub from: String,
    /// The name asked for.
    pub name: String,
    /// The record type; `A` if left out.
    #[serde(default, rename = "type")]
    #[param(rename = "type")]
    pub record_type: Option<String>,
    /// The place where its resolver stands; the viewer's if left out.
    #[serde(default)]
    pub resolver: Option<String>,
    /// Whether the resolver sends the client's subnet (RFC 7871).
    #[serde(default, deserialize_with = "flag_or_none")]
    pub ecs: Option<bool>,
}

/// Query of `GET /v1/logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsAsk {
    /// A node's id, an origin's id or a PoP code; every node if left out.
    pub node: Option<String>,
    /// How many of the last lines to begin with; 100 if left out.
    pub tail: Option<u32>,
    /// Whether to go on with lines as they are written.
    #[serde(deserialize_with = "flag")]
    pub follow: bool,
    /// Records of the real-time log of this distribution, from now on, in the place of the nodes' own lines.
    pub realtime: Option<String>,
}

/// Query of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsAsk {
    /// Begin after this event, as `Last-Event-ID` does; 0 for everything still known; only new events if left out.
    pub since: Option<u64>,
    /// `false` ends the stream after what is known now.
    #[serde(deserialize_with = "flag_or_none")]
    pub follow: Option<bool>,
}

/// A switch in a query string: `true`, `1` or nothing at all for on; `false` or `0` for off.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let word = String::deserialize(deserializer)?;
    match word.as_str() {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(de::Error::custom(format!("{word:?} is neither true nor false"))),
    }
}

fn flag_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    flag(deserializer).map(Some)
}
