//! Every decision of a CDN, and nothing else.
//!
//! What is fresh, what is the cache key, which origin is asked next, which edge serves whom, who is healthy: each is a
//! plain struct or function here. This crate refuses to know sockets, clocks, files, async and ambient randomness: time
//! ([`Instant`], [`WallTime`]) and seeds are arguments, and the shell acts on what is returned. The live nodes and the
//! simulator call the same functions, so a number printed by a study comes from code that also serves real requests.

pub mod accept_encoding;
pub mod cache_control;
pub mod cache_key;
pub mod cmcd;
pub mod compression;
pub mod conditional;
pub mod content;
pub mod continuous_deployment;
pub mod counters;
pub mod disk;
pub mod distribution;
pub mod dns_cookie;
pub mod error_pages;
pub mod estimate;
pub mod eviction;
pub mod fields;
pub mod forward;
pub mod framing;
pub mod freshness;
pub mod functions;
pub mod geo;
pub mod geo_restriction;
pub mod health;
mod http_date;
pub mod http_version;
pub mod ids;
pub mod invalidation;
pub mod math;
pub mod origin_group;
pub mod origin_protocol;
pub mod parent_debts;
pub mod parent_health;
pub mod parents;
pub mod path_pattern;
pub mod policies;
pub mod prefetch;
pub mod range;
pub mod range_map;
pub mod realtime_log;
pub mod reason;
pub mod request_control;
pub mod response_headers;
pub mod response_rate;
pub mod routing;
pub mod security_policy;
pub mod selection;
pub mod signing;
pub mod source_nat;
pub mod standard_log;
pub mod store;
#[cfg(test)]
mod test_data;
mod time;
pub mod unsafe_method;
pub mod vary;
pub mod viewer_protocol;
pub mod zone;

pub use crate::{
    counters::{Counter, Counters},
    ids::{NodeId, PopCode, Role},
    reason::Reason,
    source_nat::SourceNat,
    time::{Civil, Instant, WallTime},
};
