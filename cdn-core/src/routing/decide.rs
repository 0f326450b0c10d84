//! The decision for one client block, or one turn: who of the ordered candidates is answered, and what made the first
//! the first. Snapshots are filled and explanations written from here, so that they cannot disagree.

use std::{sync::Arc, time::Duration};

use super::{
    Host, Policy, Pop, PopIndex, RoutingOptions, draw,
    load::PopLoad,
    pops::{Eligibility, Fitness},
    ramp,
    ranking::{self, Ranking},
    scoring::{block_key, distances_km},
    table::Table,
    unit,
};
use crate::{
    Instant, PopCode, Reason,
    estimate::{Estimate, EstimateOptions, Estimates},
    geo::{BlockId, GeoMap, PlaceId},
};

/// Turns over which shares are spread where answers are not tailored.
const SPILL_TURNS: u64 = 1024;

/// What a snapshot is made of.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) version: u64,
    pub(super) at: Instant,
    pub(super) options: Arc<RoutingOptions>,
    pub(super) pops: Arc<[Pop]>,
    pub(super) geo: Arc<GeoMap>,
    pub(super) hosts: Arc<[Host]>,
    /// For each host the position of its table.
    pub(super) table_of: Arc<[usize]>,
    /// At least one.
    pub(super) tables: Vec<TableFacts>,
    /// Of every PoP, whoever may be served from it.
    pub(super) fitness: Vec<Fitness>,
    pub(super) loads: Vec<PopLoad>,
    /// When each PoP was withdrawn, for as long as it is.
    pub(super) withdrawn_at: Vec<Option<Instant>>,
    /// How many blocks were ordered anew since the snapshot before.
    pub(super) ordered_anew: usize,
}

/// A table, and which of its candidates may be chosen at the moment.
#[derive(Debug)]
pub(super) struct TableFacts {
    pub(super) table: Table,
    pub(super) eligibility: Eligibility,
}

/// Who is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Best first.
    pub(super) picks: Vec<PopIndex>,
    /// What put the first in its place, if not the policy's order.
    pub(super) because: Option<Reason>,
}

/// Whom a decision is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct For {
    /// Stands for the block, or the turn, in draws.
    pub(super) key: u64,
    /// It is this block's turn to try the runner-up, and the runner-up might turn out better.
    pub(super) explores: bool,
}

impl Decision {
    /// Why the first is the first. `order` is that of the decision, and `held` says whether hysteresis made it.
    pub(super) fn reason(&self, policy: &dyn Policy, order: &[PopIndex], held: bool) -> Reason {
        let by_order = || {
            let is_held = held && order.first() == self.picks.first();
            if is_held { Reason::RouteHeldByHysteresis } else { policy.reason() }
        };
        self.because.unwrap_or_else(by_order)
    }
}

impl TableFacts {
    pub(super) fn new(table: &Table, fitness: &[Fitness], healthy_share_min: f64) -> Self {
        let limited = fitness.iter().zip(&table.rejected);
        let limited = limited.map(|(fitness, &rejected)| Fitness { rejected, ..fitness.clone() }).collect();
        Self { table: table.clone(), eligibility: Eligibility::new(limited, healthy_share_min) }
    }

    pub(super) fn policy(&self) -> &dyn Policy {
        &*self.table.policy
    }

    /// The order for clients of `block`.
    pub(super) fn ranking(&self, geo: &GeoMap, block: Option<BlockId>) -> Option<&Arc<Ranking>> {
        match block {
            Some(block) => {
                let by_block = self.table.by_block.get(&block);
                by_block.or_else(|| self.table.by_place.get(geo.block(block).place.index()))
            }
            None => self.table.by_place.last(),
        }
    }
}

impl Facts {
    /// The table of the host at `host` of the list.
    pub(super) fn table(&self, host: usize) -> usize {
        self.table_of.get(host).copied().unwrap_or(0)
    }

    /// How long resolvers may keep answers of a table. `eligibility` is the table's, or a supposed one.
    pub(super) fn ttl(&self, table: &TableFacts, eligibility: &Eligibility) -> Duration {
        let ttl = self.options.ttl.min(table.policy().ttl_max());
        Duration::from_secs(if eligibility.degraded { ttl.as_secs().div_ceil(2) } else { ttl.as_secs() })
    }

    /// About how many bytes these take that the snapshot before does not have too.
    pub(super) fn bytes(&self) -> usize {
        let pops = self.pops.len();
        // A ranking of a block that was measured; one of a place is shared.
        let ranking = size_of::<Ranking>() + pops * (size_of::<PopIndex>() + size_of::<Estimate>());
        let of_table = |table: &TableFacts| {
            let entry = size_of::<(BlockId, Arc<Ranking>)>();
            // Nodes of a tree are two thirds full on average.
            table.table.by_block.len() * entry * 3 / 2
                + self.ordered_anew.min(table.table.by_block.len()) * ranking
                + pops * (size_of::<Fitness>() + size_of::<Option<Reason>>())
        };
        let of_pops = pops * (size_of::<Fitness>() + size_of::<PopLoad>() + size_of::<Option<Instant>>());
        size_of::<Self>() + of_pops + self.tables.iter().map(of_table).sum::<usize>()
    }

    /// The decision over candidates in `order`. `eligibility` is the table's, or a supposed one.
    pub(super) fn decide(
        &self,
        table: &TableFacts,
        eligibility: &Eligibility,
        order: &[PopIndex],
        asked: For,
    ) -> Decision {
        let lingers = |pop: PopIndex| self.lingers(table, eligibility, pop, asked.key);
        let is_eligible = |pop: &PopIndex| eligibility.rejected(*pop).is_none() || lingers(*pop);
        let mut picks: Vec<_> = order.iter().copied().filter(is_eligible).collect();
        let best = picks.first().copied();
        // Who takes these clients comes before who does not. Where nobody does, the one with the most room is the first.
        let accepts = |pop: PopIndex| lingers(pop) || self.accepts(pop, asked.key);
        if picks.iter().any(|&pop| accepts(pop)) {
            picks.sort_by_key(|&pop| !accepts(pop));
        } else if let Some(at) = self.roomiest(&picks) {
            picks[..=at].rotate_right(1);
        }
        let spilled = picks.first().copied() != best;
        let ramping = best.is_some_and(|best| !self.is_back(best, asked.key));
        let explores = asked.explores && !spilled && picks.len() > 1;
        if explores {
            picks.swap(0, 1);
        }
        // Fail-open may put an edge first that is really dead. The second address is there for that case, so it goes
        // to one that answers its probes.
        if eligibility.fail_open
            && picks.first().is_some_and(|&first| !eligibility.is_healthy(first))
            && let Some(healthy) = picks.iter().position(|&pop| eligibility.is_healthy(pop))
        {
            picks[1..=healthy].rotate_right(1);
        }
        picks.truncate(self.options.answers.min(table.policy().answers_max()).max(1));
        let because = match picks.first() {
            Some(&first) if lingers(first) => Some(Reason::RouteNotConverged),
            _ if eligibility.fail_open => Some(Reason::RouteFailOpen),
            _ if spilled && ramping => Some(Reason::RouteRamping),
            _ if spilled => Some(Reason::RouteSpilled),
            _ if explores => Some(Reason::RouteExplore),
            _ => None,
        };
        Decision { picks, because }
    }

    /// Whether `pop` takes the clients that `key` stands for.
    pub(super) fn accepts(&self, pop: PopIndex, key: u64) -> bool {
        let load = self.loads.get(pop.index());
        load.is_none_or(|load| load.accepts(self.options.seed, key, self.pops[pop.index()].code))
            && self.is_back(pop, key)
    }

    /// Whether the clients that `key` stands for are among those that `pop` has taken back since it was down.
    pub(super) fn is_back(&self, pop: PopIndex, key: u64) -> bool {
        let load = self.loads.get(pop.index());
        load.is_none_or(|load| ramp::accepts(load.ramp, self.options.seed, key, self.pops[pop.index()].code))
    }

    /// Whether a withdrawn PoP still gets the clients that `key` stands for, because their network has not heard of it.
    fn lingers(&self, table: &TableFacts, eligibility: &Eligibility, pop: PopIndex, key: u64) -> bool {
        let withdrawn_at = self.withdrawn_at.get(pop.index()).copied().flatten();
        withdrawn_at.is_some_and(|at| {
            !eligibility.is_outside(pop) && self.at < at + table.policy().convergence(self.options.seed, key)
        })
    }

    /// Whether some network may not have heard of a withdrawal.
    fn is_converging(&self, table: &TableFacts) -> bool {
        let max = table.policy().convergence_max();
        self.withdrawn_at.iter().flatten().any(|&at| self.at < at + max)
    }

    fn is_spilling(&self) -> bool {
        self.loads.iter().any(|load| load.acceptance < 1.0 || load.ramp < 1.0)
    }

    /// Whether blocks with the same order may be answered differently, exploring apart.
    pub(super) fn differs_by_block(&self, table: &TableFacts) -> bool {
        table.policy().is_per_block() || self.is_spilling() || self.is_converging(table)
    }

    fn roomiest(&self, pops: &[PopIndex]) -> Option<usize> {
        let room = |pop: PopIndex| self.loads.get(pop.index()).map_or(1.0, |load| load.acceptance * load.ramp);
        // Of equals the best, which is the first.
        (0..pops.len()).rev().max_by(|&a, &b| room(pops[a]).total_cmp(&room(pops[b])))
    }

    /// Whether the runner-up might turn out to be the better one: its estimate could be wrong by half where it was
    /// never measured, and by less the more is known.
    pub(super) fn is_explorable(&self, table: &TableFacts, eligibility: &Eligibility, ranking: &Ranking) -> bool {
        if !table.policy().learns()
            || self.options.explore_share <= 0.0
            || eligibility.fail_open
            || ranking.place.is_none()
        {
            return false;
        }
        let estimates = self.estimates(ranking);
        let mut eligible = ranking.order.iter().filter(|&&pop| eligibility.rejected(pop).is_none());
        let mut next = || eligible.next().and_then(|pop| estimates.get(pop.index()));
        let (Some(first), Some(second)) = (next(), next()) else { return false };
        second.rtt.mul_f64(1.0 - 0.5 * (1.0 - second.confidence.clamp(0.0, 1.0))) < first.rtt
    }

    /// Whether `block` is among the share that explores in this period.
    pub(super) fn is_turn_to_explore(&self, block: BlockId) -> bool {
        let period =
            self.at.as_nanos() / u64::try_from(self.options.explore_period.as_nanos()).unwrap_or(u64::MAX).max(1);
        unit(draw(self.options.seed, "explore", [block.index() as u64, period])) < self.options.explore_share
    }

    /// How many different answers a table has that does not look at its clients.
    pub(super) fn turns(&self, table: &TableFacts) -> u64 {
        let turns = self.policy_turns(table);
        if self.is_spilling() { turns * SPILL_TURNS.div_ceil(turns) } else { turns }
    }

    /// The order at a turn, of a table that does not look at its clients.
    pub(super) fn order_of_turn(&self, table: &TableFacts, turn: u64) -> Box<[PopIndex]> {
        let distances_km = vec![None; self.pops.len()];
        let estimates = self.priors(&distances_km);
        let scoring = table.table.scoring(&self.pops, self.options.seed);
        ranking::order(&scoring.scores(&distances_km, &estimates, 0, turn % self.policy_turns(table)))
    }

    fn policy_turns(&self, table: &TableFacts) -> u64 {
        let scoring = table.table.scoring(&self.pops, self.options.seed);
        table.policy().turns(scoring.candidates()).max(1)
    }

    pub(super) fn distances_km(&self, place: Option<PlaceId>) -> Vec<Option<f64>> {
        distances_km(&self.geo, &self.pops, place)
    }

    pub(super) fn estimates(&self, ranking: &Ranking) -> Vec<Estimate> {
        let measured = ranking.measured.as_ref().map(|measured| measured.to_vec());
        measured.unwrap_or_else(|| self.priors(&self.distances_km(ranking.place)))
    }

    pub(super) fn key(&self, block: Option<BlockId>) -> u64 {
        block_key(&self.geo, block)
    }

    /// As if the PoPs of `codes` were drained too.
    pub(super) fn assume_drained(&self, table: &TableFacts, codes: &[PopCode]) -> Eligibility {
        let fitness = self.pops.iter().zip(&table.eligibility.pops).map(|(pop, fitness)| Fitness {
            draining: fitness.draining || codes.contains(&pop.code),
            ..fitness.clone()
        });
        Eligibility::new(fitness.collect(), self.options.healthy_share_min)
    }

    fn priors(&self, distances_km: &[Option<f64>]) -> Vec<Estimate> {
        Estimates::new(EstimateOptions::default()).estimate(self.at, None, distances_km)
    }
}
