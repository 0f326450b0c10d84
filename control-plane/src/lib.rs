//! The control plane: what should be, what is, and who is told.
//!
//! The HTTP API under `/v1` with its OpenAPI document, the registry of nodes, desired state (faults with their ends,
//! drains, stopped nodes), the spread of invalidations, the stream of events, the roll-up of metrics and the dashboard.
//! It decides what should be and refuses to know how it is done: processes, links and nodes' admin ports belong to
//! whoever builds it and implements [`Hands`]; what becomes of nodes is told through a [`Handle`].

pub mod ask;
pub mod desired;
pub mod wire;

mod access;
mod aws;
mod check;
mod config;
mod dashboard;
mod events;
mod extract;
mod hands;
mod metrics;
mod openapi;
mod plane;
mod propagation;
mod registry;
mod respond;
mod routes;
mod serve;

pub use crate::{
    aws::distribution_xml,
    config::{BuildError, Config, DistributionInfo, Limits, NodeInfo, SiteInfo},
    dashboard::LAND,
    desired::{KeyGroups, LinkFault, NodeFault, Policies},
    hands::{DescribedPolicy, Hands, HandsError, HandsFuture, LogsWanted, PolicyFamily},
    serve::{ControlPlane, Handle},
};
