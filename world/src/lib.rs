//! What Isochrone makes up about the outside: places, links between them, faults, as pure code.
//!
//! [`Atlas`] says where things are and finds a [`Place`] by name; [`World`] adds a seed and settings and says what the
//! undisturbed path between two places is, a [`PathSpec`]; [`Atlas::client_network`] says which addresses stand for a
//! place. What happens on a path, packet by packet and under faults, is the link's business. Round trips come from a
//! user's [`Matrix`], from measurements between cloud regions, or from a model fitted on them (`world/data`).
//!
//! Refuses to know sockets, clocks, files and ambient randomness: time and seeds are arguments, tables are embedded.

mod access;
mod atlas;
mod clients;
mod geo;
mod matrix;
mod message;
mod model;
mod path;
mod site;
mod stream;
mod world;

pub mod chance;
pub mod client;
pub mod fault;
pub mod invariant;
pub mod link;
mod link_tcp;
pub mod observation;
pub mod scenario;
pub mod trace;
pub mod verdict;
pub mod workload;

pub use crate::{
    access::Access,
    atlas::{
        Atlas, City, Country, PRESETS, Place, PlaceKind, Pop, Preset, PriceClass, Region, UnknownPlace, nearest, preset,
    },
    clients::{CLIENT_NETWORKS, ClientBlock, ClientNetwork, LOOPBACK_NETWORKS, loopback_twin, world_twin},
    fault::{Effect, Fault, FaultOn, LinkChange, LinkDisturbance, Overlay, TargetDisturbance, TargetFault},
    geo::{Continent, Coordinates, CountryCode, InvalidCode, InvalidCoordinates, MacroRegion},
    link::{DropReason, Link, Verdict, cold_transfer_time},
    link_tcp::{Lane, Return, TcpFlow, TcpOptions},
    matrix::{Matrix, MatrixError, MatrixFault},
    message::{Course, MessageFlow, Sent},
    model::{Endpoint, EndpointKind, fibre_rtt_ms},
    observation::{
        CacheOutcome, Covered, Directory, Event, EventKind, Integrity, Member, Observation, Outcome, Signature,
    },
    path::{Jitter, PathSpec},
    scenario::Scenario,
    site::SiteId,
    stream::stream,
    verdict::{Judge, Judgement},
    workload::{Day, Habits, Intended, InvalidZipf, Workload, WorkloadError, Zipf},
    world::{Basis, RttParts, World, WorldOptions},
};
