//! The decision for one client block, or one turn: who of the ordered candidates is answered, and what made the first
//! the first. Snapshots are filled and explanations written from here, so that they cannot disagree.

use std::{sync::Arc, time::Duration};

use super::{
    Host, Policy, Pop, PopIndex, RoutingOptions, draw,
    inside::{self, Cohort},
    load::PopLoad,
    pops::{Eligibility, Fitness},
    priors::Priors,
    ramp,
    ranking::{self, Ranking},
    scoring::block_key,
    table::{Around, Table},
    unit,
};
use crate::{
    Instant, PopCode, Reason,
    estimate::{Estimate, EstimateOptions, Estimates, Neighbourhood},
    geo::{BlockId, GeoMap},
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
    pub(super) estimates: Arc<Estimates>,
    pub(super) near: Arc<Neighbourhood>,
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
    /// Whether rows of the tables were ordered anew.
    pub(super) rows_anew: bool,
    /// Whether a program said something else than before.
    pub(super) told_anew: bool,
}

/// A table, and which of its candidates may be chosen at the moment.
#[derive(Debug)]
pub(super) struct TableFacts {
    pub(super) table: Table,
    pub(super) eligibility: Eligibility,
}

/// Who is answered. Whoever decides for many clients has one, which each decision overwrites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The order is a program's word, who was told of loads and has the last say.
    pub(super) is_told: bool,
}

impl Decision {
    /// Why the first is the first. `order` is that of the decision, which it has for `of_order`, and `held` says whether
    /// hysteresis made it.
    pub(super) fn reason(&self, of_order: Reason, order: &[PopIndex], held: bool) -> Reason {
        let by_order = || {
            let is_held = held && order.first() == self.picks.first();
            if is_held { Reason::RouteHeldByHysteresis } else { of_order }
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
        // An order of a block that was measured; rows are told of by `rows_anew`.
        let ranking = size_of::<Ranking>() + pops * size_of::<PopIndex>();
        let of_table = |table: &TableFacts| {
            let (measured, entry) = (table.table.measured(), size_of::<(BlockId, Arc<Ranking>)>());
            // Nodes of a tree are two thirds full on average.
            measured * entry * 3 / 2
                + self.ordered_anew.min(measured) * ranking
                + pops * (size_of::<Fitness>() + size_of::<Option<Reason>>())
        };
        let of_pops = pops * (size_of::<Fitness>() + size_of::<PopLoad>() + size_of::<Option<Instant>>());
        let learned = if self.ordered_anew > 0 { self.estimates.bytes() + self.near.bytes() } else { 0 };
        let rows = if self.rows_anew { self.rows_bytes() } else { 0 };
        let told =
            self.tables.iter().map(|table| table.table.told_bytes()).sum::<usize>() * usize::from(self.told_anew);
        size_of::<Self>() + of_pops + self.tables.iter().map(of_table).sum::<usize>() + learned + rows + told
    }

    /// How many bytes the rows of all tables take.
    pub(super) fn rows_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.table.rows_bytes()).sum()
    }

    /// The decision for clients of `block`, whose table has the candidates `best` for them. `eligibility` is the table's, or
    /// a supposed one.
    pub(super) fn decide_for(
        &self,
        table: &TableFacts,
        eligibility: &Eligibility,
        block: Option<BlockId>,
        best: &[PopIndex],
        explores: bool,
        decision: &mut Decision,
    ) {
        let asked = For { key: self.key(block), explores, is_told: table.table.is_told(block) };
        if best.len() < self.pops.len() && !self.is_enough(table, eligibility, best, asked.key) {
            return self.decide(table, eligibility, &self.whole_order(table, block), asked, decision);
        }
        self.decide(table, eligibility, best, asked, decision);
    }

    /// Every candidate for clients of `block`, best first.
    pub(super) fn whole_order(&self, table: &TableFacts, block: Option<BlockId>) -> Vec<PopIndex> {
        table.table.whole_order(self.at, self.around(), block)
    }

    /// Whether whoever comes after the candidates in `best` would not be answered: enough of these are there that may be,
    /// and take the client. Where fail-open may prefer a healthy one, however far down, that is not said.
    fn is_enough(&self, table: &TableFacts, eligibility: &Eligibility, best: &[PopIndex], key: u64) -> bool {
        let takes = |pop: PopIndex| {
            self.lingers(table, eligibility, pop, key) || eligibility.rejected(pop).is_none() && self.accepts(pop, key)
        };
        // Two, because the runner-up may be explored.
        let wanted = self.answers_max(table).max(2);
        !eligibility.fail_open && best.iter().filter(|&&pop| takes(pop)).take(wanted).count() == wanted
    }

    fn answers_max(&self, table: &TableFacts) -> usize {
        self.options.answers.min(table.policy().answers_max()).max(1)
    }

    /// The decision over candidates in `order`. `eligibility` is the table's, or a supposed one.
    pub(super) fn decide(
        &self,
        table: &TableFacts,
        eligibility: &Eligibility,
        order: &[PopIndex],
        asked: For,
        decision: &mut Decision,
    ) {
        if !eligibility.fail_open && !self.is_spilling() && !self.is_converging(table) {
            return self.decide_plainly(table, eligibility, order, asked, decision);
        }
        let Decision { picks, because } = decision;
        picks.clear();
        let lingers = |pop: PopIndex| self.lingers(table, eligibility, pop, asked.key);
        let is_eligible = |pop: &PopIndex| eligibility.rejected(*pop).is_none() || lingers(*pop);
        picks.extend(order.iter().copied().filter(is_eligible));
        let best = picks.first().copied();
        // Who takes these clients comes before who does not. Where nobody does, the one with the most room is the first.
        let accepts = |pop: PopIndex| asked.is_told || lingers(pop) || self.accepts(pop, asked.key);
        if picks.iter().any(|&pop| accepts(pop)) {
            picks.sort_by_key(|&pop| !accepts(pop));
        } else if let Some(at) = self.roomiest(picks) {
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
        picks.truncate(self.answers_max(table));
        *because = match picks.first() {
            Some(&first) if lingers(first) => Some(Reason::RouteNotConverged),
            _ if eligibility.fail_open => Some(Reason::RouteFailOpen),
            _ if spilled && ramping => Some(Reason::RouteRamping),
            _ if spilled => Some(Reason::RouteSpilled),
            _ if explores => Some(Reason::RouteExplore),
            _ => None,
        };
    }

    /// [`decide`](Self::decide) where nobody is full, comes back or lingers, as nearly always.
    fn decide_plainly(
        &self,
        table: &TableFacts,
        eligibility: &Eligibility,
        order: &[PopIndex],
        asked: For,
        Decision { picks, because }: &mut Decision,
    ) {
        let answers = self.answers_max(table);
        let eligible = order.iter().copied().filter(|&pop| eligibility.rejected(pop).is_none());
        picks.clear();
        picks.extend(eligible.take(answers.max(2)));
        let explores = asked.explores && picks.len() > 1;
        if explores {
            picks.swap(0, 1);
        }
        picks.truncate(answers);
        *because = explores.then_some(Reason::RouteExplore);
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

    /// Whom the edges of `pop` take the clients for that `key` stands for.
    pub(super) fn cohort(&self, pop: PopIndex, key: u64) -> Cohort {
        match (self.fitness.get(pop.index()), self.pops.get(pop.index())) {
            (Some(fitness), Some(pop)) => Cohort::of(&self.options.inside, self.options.seed, key, pop, &fitness.edges),
            _ => Cohort::default(),
        }
    }

    /// Whether clients of one PoP may be sent to different edges of it for one host.
    pub(super) fn differs_inside(&self) -> bool {
        self.fitness.iter().any(|pop| !inside::is_one_cohort(&self.options.inside, &pop.edges))
    }

    fn is_spilling(&self) -> bool {
        self.loads.iter().any(|load| load.acceptance < 1.0 || load.ramp < 1.0)
    }

    /// Whether blocks with the same order may be answered differently, exploring apart.
    pub(super) fn differs_by_block(&self, table: &TableFacts) -> bool {
        table.policy().is_per_block() || self.is_spilling() || self.is_converging(table) || self.differs_inside()
    }

    fn roomiest(&self, pops: &[PopIndex]) -> Option<usize> {
        let room = |pop: PopIndex| self.loads.get(pop.index()).map_or(1.0, |load| load.acceptance * load.ramp);
        // Of equals the best, which is the first.
        (0..pops.len()).rev().max_by(|&a, &b| room(pops[a]).total_cmp(&room(pops[b])))
    }

    /// Whether the runner-up might turn out to be the better one: its estimate could be wrong by half where it was
    /// never measured, and by less the more is known.
    fn is_explorable(&self, table: &TableFacts, eligibility: &Eligibility, block: BlockId) -> bool {
        let estimates = self.estimates(Some(block));
        let (order, _) = table.table.order(&self.geo, Some(block));
        let mut eligible = order.iter().filter(|&&pop| eligibility.rejected(pop).is_none());
        let mut next = || eligible.next().and_then(|pop| estimates.get(pop.index()));
        let (Some(first), Some(second)) = (next(), next()) else { return false };
        second.rtt.mul_f64(1.0 - 0.5 * (1.0 - second.confidence.clamp(0.0, 1.0))) < first.rtt
    }

    /// Whether clients of `block` try the runner-up: it is their turn, and it may pay.
    pub(super) fn explores(&self, table: &TableFacts, eligibility: &Eligibility, block: Option<BlockId>) -> bool {
        table.policy().learns()
            && self.options.explore_share > 0.0
            && !eligibility.fail_open
            && !table.table.is_told(block)
            && block
                .is_some_and(|block| self.is_turn_to_explore(block) && self.is_explorable(table, eligibility, block))
    }

    /// Whether `block` is among the share that explores in this period.
    fn is_turn_to_explore(&self, block: BlockId) -> bool {
        let period =
            self.at.as_nanos() / u64::try_from(self.options.explore_period.as_nanos()).unwrap_or(u64::MAX).max(1);
        unit(draw(self.options.seed, "explore", [block.index() as u64, period])) < self.options.explore_share
    }

    /// How many different answers a table has that does not look at its clients.
    pub(super) fn turns(&self, table: &TableFacts) -> u64 {
        let turns = self.policy_turns(table);
        if self.is_spilling() || self.differs_inside() { turns * SPILL_TURNS.div_ceil(turns) } else { turns }
    }

    /// The order at a turn, of a table that does not look at its clients.
    pub(super) fn order_of_turn(&self, table: &TableFacts, turn: u64) -> Box<[PopIndex]> {
        let distances_km = vec![None; self.pops.len()];
        let estimates = self.priors(&distances_km);
        let scoring = table.table.scoring(&self.pops, self.options.seed);
        ranking::order(&scoring.scores(distances_km, &estimates, 0, turn % self.policy_turns(table)))
    }

    fn policy_turns(&self, table: &TableFacts) -> u64 {
        let scoring = table.table.scoring(&self.pops, self.options.seed);
        table.policy().turns(scoring.candidates()).max(1)
    }

    /// What there is to judge a client by.
    pub(super) fn around(&self) -> Around<'_> {
        let Self { options, geo, pops, estimates, near, .. } = self;
        Around { options, geo, pops, estimates, near, priors: Priors::NONE }
    }

    /// What is believed of the ways from `block` to each PoP.
    pub(super) fn estimates(&self, block: Option<BlockId>) -> Vec<Estimate> {
        let around = self.around();
        around.estimates(self.at, around.place(block), block)
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
        Estimates::new(EstimateOptions::default()).estimate(self.at, None, &[], distances_km)
    }
}
