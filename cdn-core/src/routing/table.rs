//! A policy over the PoPs that some hosts may be served from, with the order it gives to every client block.
//!
//! Hosts that are routed alike share a table. Orders live here from one snapshot to the next, because a switch needs a
//! margin over the order before.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Policy, PolicyKind, Pop, RoutingOptions,
    ranking::{self, Ranking},
    scoring::{Scoring, block_key, distances_km},
};
use crate::{
    Instant, Reason,
    estimate::{Estimate, Estimates},
    geo::{BlockId, GeoMap, PlaceId},
};

/// What a table knows of everything around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) options: &'a RoutingOptions,
    pub(super) geo: &'a GeoMap,
    pub(super) pops: &'a [Pop],
    pub(super) estimates: &'a Estimates,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) kind: PolicyKind,
    pub(super) policy: Arc<dyn Policy>,
    /// Why each PoP may never be chosen here; `None` for a candidate.
    pub(super) rejected: Box<[Option<Reason>]>,
    /// By place; the last is for clients of unknown place.
    pub(super) by_place: Arc<[Arc<Ranking>]>,
    /// Of blocks that have been measured; of every block where the policy tells blocks of one place apart.
    pub(super) by_block: BTreeMap<BlockId, Arc<Ranking>>,
}

impl Table {
    /// A table that has not learned anything yet.
    pub(super) fn new(around: Around<'_>, kind: PolicyKind, rejected: Box<[Option<Reason>]>) -> Self {
        let mut table = Self {
            kind,
            policy: kind.build(around.options),
            rejected,
            by_place: Arc::new([]),
            by_block: BTreeMap::new(),
        };
        let places = (0..around.geo.places().len()).map(PlaceId::new).map(Some);
        table.by_place = places.chain([None]).map(|place| Arc::new(table.rank_place(around, place))).collect();
        if table.policy.is_per_block() {
            for block in around.geo.block_ids() {
                table.rank(Instant::ZERO, around, block);
            }
        }
        table
    }

    /// Orders the candidates of a block anew.
    pub(super) fn rank(&mut self, now: Instant, around: Around<'_>, block: BlockId) {
        let ranking = self.rank_block(now, around, block);
        self.by_block.insert(block, Arc::new(ranking));
    }

    /// Forgets what was measured of blocks of which nothing is known any more.
    pub(super) fn forget(&mut self, now: Instant, around: Around<'_>) {
        let is_gone = |block: &BlockId| !around.estimates.knows(*block);
        if self.policy.is_per_block() {
            let measured = self.by_block.iter().filter(|(_, ranking)| ranking.measured.is_some());
            let gone: Vec<BlockId> = measured.map(|(&block, _)| block).filter(is_gone).collect();
            gone.into_iter().for_each(|block| self.rank(now, around, block));
        } else {
            self.by_block.retain(|block, _| !is_gone(block));
        }
    }

    fn rank_place(&self, around: Around<'_>, place: Option<PlaceId>) -> Ranking {
        let distances_km = distances_km(around.geo, around.pops, place);
        // Blocks of this place that have samples are ranked on their own, so this is the prior whatever the time.
        let estimates = around.estimates.estimate(Instant::ZERO, None, &distances_km);
        let scores = self.scores(around, &distances_km, &estimates, 0);
        Ranking { place, order: ranking::order(&scores), measured: None, held: false }
    }

    fn rank_block(&self, now: Instant, around: Around<'_>, block: BlockId) -> Ranking {
        let place = around.geo.block(block).place;
        let distances_km = distances_km(around.geo, around.pops, Some(place));
        let is_measured = around.estimates.knows(block);
        let estimates = around.estimates.estimate(now, is_measured.then_some(block), &distances_km);
        let scores = self.scores(around, &distances_km, &estimates, block_key(around.geo, Some(block)));
        let previous = self.by_block.get(&block).or_else(|| self.by_place.get(place.index()));
        let (order, held) = match previous {
            Some(previous) if self.policy.learns() => {
                ranking::order_after(&scores, &previous.order, around.options.hysteresis)
            }
            _ => (ranking::order(&scores), false),
        };
        Ranking { place: Some(place), order, measured: is_measured.then(|| estimates.into()), held }
    }

    fn scores(
        &self,
        around: Around<'_>,
        distances_km: &[Option<f64>],
        estimates: &[Estimate],
        block_key: u64,
    ) -> Vec<f64> {
        self.scoring(around.pops, around.options.seed).scores(distances_km, estimates, block_key, 0)
    }

    /// The policy, ready for candidates.
    pub(super) fn scoring<'a>(&'a self, pops: &'a [Pop], seed: u64) -> Scoring<'a> {
        Scoring { policy: &*self.policy, pops, rejected: &self.rejected, seed }
    }
}
