//! What Isochrone makes up about the outside: places, links between them, faults, as pure code.
//!
//! Refuses to know sockets, clocks, files and ambient randomness: time and seeds are arguments, tables are embedded.

pub mod fault;
pub mod link;
mod link_tcp;
mod path;
mod site;

pub use crate::{
    fault::{Fault, FaultOn, LinkDisturbance, LinkFault, Overlay, TargetDisturbance, TargetFault},
    link::{DropReason, Link, Verdict, cold_transfer_time},
    link_tcp::{Lane, Return, TcpFlow, TcpOptions},
    path::{Jitter, PathSpec},
    site::SiteId,
};
