//! Every decision of a CDN, and nothing else.
//!
//! What is fresh, what is the cache key, which origin is asked next, which edge serves whom, who is healthy: each is a
//! plain struct or function here. This crate refuses to know sockets, clocks, files, async and ambient randomness: time
//! ([`Instant`], [`WallTime`]) and seeds are arguments, and the shell acts on what is returned. The live nodes and the
//! simulator call the same functions, so a number printed by a study comes from code that also serves real requests.

pub mod counters;
pub mod distribution;
pub mod ids;
pub mod origin_group;
pub mod invalidation;
pub mod path_pattern;
pub mod policies;
pub mod reason;
pub mod selection;
pub mod source_nat;
#[cfg(test)]
mod test_data;
mod time;

pub use crate::{
    counters::{Counter, Counters},
    ids::{NodeId, PopCode, Role},
    reason::Reason,
    source_nat::SourceNat,
    time::{Instant, WallTime},
};
