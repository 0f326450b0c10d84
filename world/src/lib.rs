//! What Isochrone makes up about the outside: places, links between them, faults, as pure code.
//!
//! Refuses to know sockets, clocks, files and ambient randomness: time and seeds are arguments, tables are embedded.

mod path;
mod site;

pub use crate::{
    path::{Jitter, PathSpec},
    site::SiteId,
};
