//! A snapshot's decision, told: the same call that filled its answers, with everything that it looked at.

use std::net::IpAddr;

use super::{
    AskedBy, CandidateExplained, ChosenEdge, EdgeExplained, EdgeSite, Explanation, PopIndex, Snapshot,
    decide::{Decision, For},
    inside::{Seat, edge_for},
    pops::EdgeFitness,
};
use crate::{PopCode, Reason};

/// What an explanation may suppose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// As if these were drained too, and everybody had heard of it.
    pub assume_drained: Vec<PopCode>,
    /// For policies that answer in turn: which turn.
    pub turn: u64,
}

impl Snapshot {
    /// Why a client gets the answer it gets. The same as [`answer`](Self::answer), unless `options` suppose something.
    /// `host` is the position in the list of what `name` is routed to.
    pub fn explain(
        &self,
        host: usize,
        name: &str,
        client: IpAddr,
        asked_by: AskedBy,
        options: &ExplainOptions,
    ) -> Explanation {
        let facts = &self.facts;
        let table = &facts.tables[facts.table(host)];
        let policy = table.policy();
        let host_id = facts.hosts.get(host).map_or("", |host| host.id.as_str());
        let client = client.to_canonical();
        let block = facts.geo.block_of(client);
        let assumed =
            (!options.assume_drained.is_empty()).then(|| facts.assume_drained(table, &options.assume_drained));
        let eligibility = assumed.as_ref().unwrap_or(&table.eligibility);
        let turn = options.turn % facts.turns(table);
        let (order, key): (Vec<PopIndex>, u64) = if policy.is_tailored() {
            (facts.whole_order(table, block), facts.key(block))
        } else {
            (facts.order_of_turn(table, turn).into(), turn)
        };
        let explores = facts.explores(table, eligibility, block);
        let is_told = table.table.is_told(block);
        let mut decision = Decision::default();
        facts.decide(table, eligibility, &order, For { key, explores, is_told }, &mut decision);
        let held = table.table.order(&facts.geo, block).1;
        let around = facts.around();
        let distances_km = around.distances_km(around.place(block));
        let estimates = facts.estimates(block);

        let first = decision.reason(table.table.reason(block), &order, held);
        let reason = |position: usize| if position == 0 { first } else { Reason::RouteSecondAddress };
        let rejected = |pop: PopIndex| match eligibility.rejected(pop) {
            Some(rejected) => rejected,
            None if is_told => Reason::RejectedSlower,
            None if !facts.is_back(pop, key) => Reason::RejectedRamping,
            None if !facts.accepts(pop, key) => Reason::RejectedFull,
            None => Reason::RejectedSlower,
        };
        let candidates = order.iter().filter_map(|&pop| {
            let fitness = &eligibility.pops[pop.index()];
            let site = &facts.pops[pop.index()];
            let load = facts.loads.get(pop.index());
            let chosen = decision.picks.iter().position(|&pick| pick == pop);
            Some(CandidateExplained {
                pop: site.code,
                place: site.place.label.clone(),
                distance_km: *distances_km.get(pop.index())?,
                estimate: *estimates.get(pop.index())?,
                health: fitness.state(),
                draining: fitness.draining,
                edges: site.edges.iter().zip(&fitness.edges).map(EdgeExplained::from).collect(),
                load_rps: load.and_then(|load| load.load_rps),
                capacity_rps: load.and_then(|load| load.capacity_rps),
                acceptance: load.map_or(1.0, |load| load.acceptance),
                ramp: load.map_or(1.0, |load| load.ramp),
                chosen,
                reason: chosen.map_or_else(|| rejected(pop), reason),
            })
        });
        let chosen = decision.picks.iter().enumerate().filter_map(|(position, &pop)| {
            let site = &facts.pops[pop.index()];
            let fitness = &facts.fitness[pop.index()];
            let cohort = facts.cohort(pop, key);
            let Seat { site: edge, reason: edge_reason } =
                edge_for(&facts.options.inside, site, &fitness.edges, host_id, cohort)?;
            let reason = reason(position);
            let reason = Seat::reason_of_answer(reason, policy.is_reason(reason), edge_reason);
            let (address, address6) = (edge.address, edge.address6);
            Some(ChosenEdge { pop: site.code, edge: edge.id.clone(), address, address6, reason, edge_reason })
        });
        Explanation {
            name: name.to_owned(),
            host: host_id.to_owned(),
            client,
            asked_by,
            block: block.map(|block| facts.geo.block(block).net),
            place: block.map(|block| facts.geo.place_of(block)),
            policy: policy.name(),
            snapshot_version: facts.version,
            snapshot_at: facts.at,
            scope_len: self.answer(host, client, options.turn).1,
            ttl: facts.ttl(table, eligibility),
            fail_open: eligibility.fail_open,
            healthy_share: eligibility.healthy_share,
            degraded: eligibility.degraded,
            assume_drained: options.assume_drained.clone(),
            candidates: candidates.collect(),
            chosen: chosen.collect(),
        }
    }
}

impl From<(&EdgeSite, &EdgeFitness)> for EdgeExplained {
    fn from((site, edge): (&EdgeSite, &EdgeFitness)) -> Self {
        let EdgeFitness { state: health, load_rps, acceptance, ramp, .. } = *edge;
        Self { edge: site.id.clone(), health, load_rps, acceptance, ramp }
    }
}
