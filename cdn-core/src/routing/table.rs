//! A policy over the PoPs that some hosts may be served from, with the order it gives to every client block.
//!
//! Hosts that are routed alike share a table. Orders live here from one snapshot to the next, because a switch needs a
//! margin over the order before.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{
    Policy, PolicyKind, Pop, PopIndex, RoutingOptions,
    orders::Orders,
    priors::{self, Priors},
    program::{Told, ToldOrders, Word},
    ranking::{self, Ranking},
    scoring::{Scoring, block_key, distances_km},
};
use crate::{
    Instant, PopCode, Reason,
    estimate::{Estimate, Estimates, Neighbourhood, Prior},
    geo::{BlockId, GeoMap, PlaceId},
};

/// What a table knows of everything around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) options: &'a RoutingOptions,
    pub(super) geo: &'a GeoMap,
    pub(super) pops: &'a [Pop],
    pub(super) estimates: &'a Estimates,
    pub(super) near: &'a Neighbourhood,
    pub(super) priors: &'a Priors,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) kind: PolicyKind,
    pub(super) policy: Arc<dyn Policy>,
    /// Why each PoP may never be chosen here; `None` for a candidate.
    pub(super) rejected: Box<[Option<Reason>]>,
    /// By place, or by block where the policy tells blocks of one place apart; the last is for clients of unknown place.
    orders: Orders,
    /// Of blocks that have been measured, where the policy learns from that.
    by_block: BTreeMap<BlockId, Arc<Ranking>>,
    /// What a program said, where one is the policy.
    told: Arc<ToldOrders>,
}

impl<'a> Around<'a> {
    /// What is believed of the ways from `block`, or from any other block of `place`.
    pub(super) fn estimates(&self, now: Instant, place: Option<PlaceId>, block: Option<BlockId>) -> Vec<Estimate> {
        self.estimates_over(now, place, block, &self.priors(place))
    }

    fn estimates_over(
        &self,
        now: Instant,
        place: Option<PlaceId>,
        block: Option<BlockId>,
        priors: &[Prior],
    ) -> Vec<Estimate> {
        let nearby = match place {
            Some(place) if !self.near.is_empty() => self.near.nearby(self.geo.region(place)),
            _ => vec![],
        };
        self.estimates.estimate_from(now, block, &nearby, priors)
    }

    fn priors(&self, place: Option<PlaceId>) -> Cow<'a, [Prior]> {
        match self.priors.of(place) {
            Some(kept) => Cow::Borrowed(kept),
            None => Cow::Owned(priors::worked_out(self.geo, self.pops, place).into()),
        }
    }

    pub(super) fn distances_km(&self, place: Option<PlaceId>) -> Vec<Option<f64>> {
        distances_km(self.geo, self.pops, place)
    }

    /// Where the clients of `block` are.
    pub(super) fn place(&self, block: Option<BlockId>) -> Option<PlaceId> {
        block.map(|block| self.geo.block(block).place)
    }
}

impl Table {
    /// A table that has not learned anything yet.
    pub(super) fn new(around: Around<'_>, kind: PolicyKind, rejected: Box<[Option<Reason>]>) -> Self {
        let around = Around { near: &Neighbourhood::default(), ..around };
        let (policy, orders) = (kind.build(around.options), Orders::default());
        let (by_block, told) = (BTreeMap::new(), Arc::default());
        let mut table = Self { kind, policy, rejected, orders, by_block, told };
        let is_per_block = table.policy.is_per_block();
        let slots = if is_per_block { around.geo.block_ids().len() } else { around.geo.place_ids().len() };
        let (mut blocks, mut places) = (around.geo.block_ids(), around.geo.place_ids());
        // The last slot has neither.
        let rows = (0..slots + 1).map(|_| {
            let block = if is_per_block { blocks.next() } else { None };
            let place = if is_per_block { around.place(block) } else { places.next() };
            ranking::order(&table.scores(Instant::ZERO, around, place, block))
        });
        table.orders = Orders::new(around.pops.len(), rows);
        table
    }

    /// The policy and its candidates alone, without any order.
    pub(super) fn outline(&self) -> Self {
        let Self { kind, policy, rejected, .. } = self;
        let (orders, by_block, told) = (Orders::default(), BTreeMap::new(), Arc::default());
        Self { kind: *kind, policy: Arc::clone(policy), rejected: rejected.clone(), orders, by_block, told }
    }

    /// Orders the candidates of a block anew that has been measured.
    pub(super) fn rank(&mut self, now: Instant, around: Around<'_>, block: BlockId) {
        if !self.policy.learns() {
            return;
        }
        let scores = self.scores(now, around, around.place(Some(block)), Some(block));
        let previous = self.learned(around.geo, Some(block)).0;
        let (order, held) = ranking::order_after(&scores, previous, around.options.hysteresis, scores.len());
        self.by_block.insert(block, Arc::new(Ranking { order, held }));
    }

    /// Orders the candidates of a place anew, because something was learned near it.
    pub(super) fn rank_place(&mut self, now: Instant, around: Around<'_>, place: PlaceId) {
        if !self.policy.learns() {
            return;
        }
        let scores = self.scores(now, around, Some(place), None);
        let previous = self.orders.row(place.index()).0;
        let (order, held) = ranking::order_after(&scores, previous, around.options.hysteresis, self.orders.width());
        self.orders.set(place.index(), &order, held);
    }

    /// Forgets what was measured of blocks of which nothing is known any more.
    pub(super) fn forget(&mut self, around: Around<'_>) {
        self.by_block.retain(|&block, _| around.estimates.knows(block));
    }

    /// The best candidates for clients of `block`, best first, and whether the first is only kept by the margin.
    pub(super) fn order(&self, geo: &GeoMap, block: Option<BlockId>) -> (&[PopIndex], bool) {
        match block.and_then(|block| self.told.by_block.get(&block)) {
            Some(Ok(order)) => (order, false),
            _ => self.learned(geo, block),
        }
    }

    /// The same, whatever a program said.
    fn learned(&self, geo: &GeoMap, block: Option<BlockId>) -> (&[PopIndex], bool) {
        match block.and_then(|block| self.by_block.get(&block)) {
            Some(ranking) => (&ranking.order, ranking.held),
            None => self.orders.row(self.slot(geo, block)),
        }
    }

    /// Every candidate for clients of `block`, best first: the row, and after it who has no room there.
    pub(super) fn whole_order(&self, now: Instant, around: Around<'_>, block: Option<BlockId>) -> Vec<PopIndex> {
        let mut order = self.order(around.geo, block).0.to_vec();
        if order.len() < around.pops.len() {
            let all = ranking::order(&self.scores(now, around, around.place(block), block));
            let rest: Vec<PopIndex> = all.iter().copied().filter(|pop| !order.contains(pop)).collect();
            order.extend(rest);
        }
        order
    }

    /// Blocks of one slot have one order, unless they have been measured.
    pub(super) fn slot(&self, geo: &GeoMap, block: Option<BlockId>) -> usize {
        match block {
            Some(block) if self.policy.is_per_block() => block.index(),
            Some(block) => geo.block(block).place.index(),
            None => self.slots().saturating_sub(1),
        }
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.orders.slots()
    }

    /// How many blocks have an order of their own.
    pub(super) fn measured(&self) -> usize {
        self.by_block.len()
    }

    /// How many bytes the rows take.
    pub(super) fn rows_bytes(&self) -> usize {
        self.orders.bytes()
    }

    /// How many bytes a program's word takes.
    pub(super) fn told_bytes(&self) -> usize {
        let orders = self.told.by_block.values().flatten().map(|order| size_of_val(&**order));
        self.told.by_block.len() * size_of::<(BlockId, Result<Box<[PopIndex]>, Reason>)>() + orders.sum::<usize>()
    }

    /// Whether `block` has an order of its own, or a reason of its own for not having one.
    pub(super) fn is_special(&self, block: BlockId) -> bool {
        self.by_block.contains_key(&block) || self.told.by_block.contains_key(&block)
    }

    /// Whether the order for `block` is a program's word.
    pub(super) fn is_told(&self, block: Option<BlockId>) -> bool {
        block.is_some_and(|block| matches!(self.told.by_block.get(&block), Some(Ok(_))))
    }

    /// Why the order for `block` is what it is.
    pub(super) fn reason(&self, block: Option<BlockId>) -> Reason {
        if self.kind != PolicyKind::Program {
            return self.policy.reason();
        }
        match block.and_then(|block| self.told.by_block.get(&block)) {
            Some(Ok(_)) => Reason::RouteProgram,
            Some(Err(fault)) => *fault,
            None => self.told.otherwise,
        }
    }

    /// Takes a program's word, in place of all that it said before.
    pub(super) fn tell(&mut self, now: Instant, around: Around<'_>, told: &Told) {
        if self.kind != PolicyKind::Program {
            return;
        }
        // So that what is no longer said does not stay behind what is.
        self.told = Arc::default();
        let by_network = told.by_network.iter().filter_map(|(net, word)| {
            let block = around.geo.block_of(net.addr()).filter(|&block| around.geo.block(block).net == *net)?;
            let order = match word {
                Word::Order(codes) => Ok(self.completed(now, around, block, codes)),
                Word::Fault(fault) => Err(*fault),
            };
            Some((block, order))
        });
        self.told = Arc::new(ToldOrders { by_block: by_network.collect(), otherwise: told.otherwise });
    }

    /// All candidates: those of `codes`, each once, and then the others as they would come without a program.
    fn completed(&self, now: Instant, around: Around<'_>, block: BlockId, codes: &[PopCode]) -> Box<[PopIndex]> {
        let mut is_in = vec![false; around.pops.len()];
        let named = codes.iter().filter_map(|code| {
            let at = around.pops.iter().position(|pop| pop.code == *code)?;
            Some(PopIndex::new(u16::try_from(at).ok()?))
        });
        let all = named.chain(self.whole_order(now, around, Some(block)));
        all.filter(|pop| is_in.get_mut(pop.index()).is_some_and(|is_in| !std::mem::replace(is_in, true))).collect()
    }

    fn scores(&self, now: Instant, around: Around<'_>, place: Option<PlaceId>, block: Option<BlockId>) -> Vec<f64> {
        let priors = around.priors(place);
        let estimates = around.estimates_over(now, place, block, &priors);
        let scoring = self.scoring(around.pops, around.options.seed);
        let distances_km = priors.iter().map(|prior| prior.distance_km);
        scoring.scores(distances_km, &estimates, block_key(around.geo, block), 0)
    }

    /// The policy, ready for candidates.
    pub(super) fn scoring<'a>(&'a self, pops: &'a [Pop], seed: u64) -> Scoring<'a> {
        Scoring { policy: &*self.policy, pops, rejected: &self.rejected, seed }
    }
}
