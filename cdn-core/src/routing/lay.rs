//! Another map of client networks, made ready away from the planner.
//!
//! Ordering the candidates of a hundred thousand places takes a good part of a second. Whoever holds the planner for so
//! long keeps probes, drains and beacons waiting, so the shell does it beside it: [`Planner::outline`](super::Planner::outline)
//! says what will be needed, [`Outline::lay`] does the work, and [`Planner::set_geo`](super::Planner::set_geo) takes it.

use std::sync::Arc;

use super::{
    Pop, RoutingOptions,
    priors::Priors,
    table::{Around, Table},
};
use crate::{
    estimate::{Estimates, Neighbourhood},
    geo::GeoMap,
};

/// What a planner needs of a map.
#[derive(Debug)]
pub struct Outline {
    pub(super) options: Arc<RoutingOptions>,
    pub(super) pops: Arc<[Pop]>,
    /// To be laid anew for the map.
    pub(super) tables: Vec<Table>,
}

/// A map that is ready to be used.
#[derive(Debug)]
pub struct LaidMap {
    pub(super) geo: GeoMap,
    /// The candidates that the tables are for.
    pub(super) pops: Option<Arc<[Pop]>>,
    pub(super) tables: Vec<Table>,
}

impl Outline {
    /// Makes `geo` ready; the work that takes long.
    pub fn lay(self, geo: GeoMap) -> LaidMap {
        let Self { options, pops, tables } = self;
        let estimates = Estimates::new(options.estimate.clone());
        let around = Around {
            options: &options,
            geo: &geo,
            pops: &pops,
            estimates: &estimates,
            near: &Neighbourhood::default(),
            priors: Priors::NONE,
        };
        let lay = |table: Table| Table::new(around, table.kind, table.rejected);
        let tables = tables.into_iter().map(lay).collect();
        LaidMap { geo, pops: Some(pops), tables }
    }
}

/// A map of which nothing is ready: the planner does the work itself.
impl From<GeoMap> for LaidMap {
    fn from(geo: GeoMap) -> Self {
        Self { geo, pops: None, tables: vec![] }
    }
}
