//! What answers are made from: everything known at one moment, replaced as a whole and never edited.
//!
//! For each address range the answer is worked out when the snapshot is made, so that answering is one search. Ranges
//! with the same answer are merged, which makes the scope of an answer the widest sound one.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use super::{
    Candidate, CandidateExplained, ChosenEdge, Explanation, Policy, Pop, PopIndex, RoutingOptions, draw,
    pops::{Eligibility, Fitness, edge_for},
    ranking::{self, Ranking},
};
use crate::{
    Instant, PopCode, Reason,
    estimate::{Estimate, EstimateOptions, Estimates},
    geo::{BlockId, GeoMap, PlaceId},
    range_map::IpRangeMap,
};

/// Where the address that an answer is tailored to came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The client itself, or a resolver that said nothing of its client.
    Peer,
    /// The resolver passed on its client's network (RFC 7871), so many bits of it.
    Subnet {
        /// Leading bits of the address that are the client's.
        source_len: u8,
    },
    /// The resolver asked not to be tailored to its client (source prefix length 0), so that its own address is judged.
    OptOut,
}

/// One of a snapshot's different answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerId(u32);

impl AnswerId {
    /// Its position in [`Snapshot::answers`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One of a snapshot's different answers: PoPs, best first.
pub type Answer = Box<[PopIndex]>;

/// What an explanation may suppose.
#[derive(Clone, Debug, Default)]
pub struct ExplainOptions {
    /// As if these were drained too.
    pub assume_drained: Vec<PopCode>,
    /// For policies that answer in turn: which turn.
    pub turn: u64,
}

/// Everything known at one moment. See the module.
#[derive(Debug)]
pub struct Snapshot {
    facts: Facts,
    /// The policy's answer by client address; one range where it is not tailored.
    by_client: IpRangeMap<AnswerId>,
    /// The policy's answers in turn; empty where it is tailored.
    by_turn: Box<[AnswerId]>,
    answers: Box<[Answer]>,
    /// For each host and PoP the edge's address.
    addresses: Box<[Box<[Option<SocketAddrV4>]>]>,
}

/// What a snapshot is made of.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) version: u64,
    pub(super) at: Instant,
    pub(super) options: Arc<RoutingOptions>,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) pops: Arc<[Pop]>,
    pub(super) hosts: Arc<[String]>,
    pub(super) geo: Arc<GeoMap>,
    pub(super) eligibility: Eligibility,
    /// By place; the last is for clients of unknown place.
    pub(super) by_place: Arc<[Arc<Ranking>]>,
    /// Of blocks that have been measured.
    pub(super) by_block: BTreeMap<BlockId, Arc<Ranking>>,
}

impl Snapshot {
    pub(super) fn build(facts: Facts) -> Self {
        let mut answers = Interned::default();
        let mut by_turn = vec![];
        let by_client = if facts.policy.is_tailored() {
            let places: Vec<Prepared> = facts.by_place.iter().map(|r| facts.prepare(r, &mut answers)).collect();
            let blocks: BTreeMap<BlockId, Prepared> =
                facts.by_block.iter().map(|(&block, r)| (block, facts.prepare(r, &mut answers))).collect();
            facts.geo.ranges().map(|block| {
                let prepared = match block {
                    Some(block) => blocks.get(&block).or_else(|| places.get(facts.geo.block(block).place.index())),
                    None => places.last(),
                };
                prepared.map_or(AnswerId(0), |prepared| prepared.answer(&facts, block))
            })
        } else {
            for turn in 0..facts.policy.turns(facts.pops.len()) {
                by_turn.push(answers.id(facts.pick(&facts.eligibility, &facts.order_of_turn(turn), false)));
            }
            facts.geo.ranges().map(|_| AnswerId(0))
        };
        let addresses = facts
            .hosts
            .iter()
            .map(|host| {
                let pops = facts.pops.iter().zip(&facts.eligibility.pops);
                pops.map(|(pop, fitness)| edge_for(pop, fitness, host).map(|edge| edge.address)).collect()
            })
            .collect();
        Self { by_client, by_turn: by_turn.into(), answers: answers.list.into(), addresses, facts }
    }

    /// Grows with every snapshot of a router.
    pub const fn version(&self) -> u64 {
        self.facts.version
    }

    /// When it was made.
    pub const fn at(&self) -> Instant {
        self.facts.at
    }

    /// How long resolvers may keep answers: half the setting while a candidate is degraded, in whole seconds.
    pub fn ttl(&self) -> Duration {
        self.facts.ttl()
    }

    /// Whether too few edges are healthy, so that health is ignored.
    pub const fn is_fail_open(&self) -> bool {
        self.facts.eligibility.fail_open
    }

    /// How many edges viewers may be sent to.
    pub fn healthy_edges(&self) -> usize {
        let pops = self.facts.eligibility.pops.iter().filter(|pop| !pop.draining);
        pops.flat_map(|pop| &pop.edges).filter(|state| state.is_healthy()).count()
    }

    /// The candidates.
    pub fn pops(&self) -> &[Pop] {
        &self.facts.pops
    }

    /// Client networks and their places.
    pub fn geo(&self) -> &GeoMap {
        &self.facts.geo
    }

    /// All different answers.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The answer for a client, and its scope: how many leading bits of the address it depends on. `turn` matters only
    /// to policies that answer in turn.
    pub fn answer(&self, client: IpAddr, turn: u64) -> (AnswerId, u8) {
        if self.by_turn.is_empty() {
            self.by_client.find(client)
        } else {
            let at = turn % self.by_turn.len() as u64;
            (self.by_turn[at as usize], 0)
        }
    }

    /// The addresses of an answer for the host at position `host` of the router's list, best first.
    pub fn addresses(&self, host: usize, answer: AnswerId) -> impl Iterator<Item = SocketAddrV4> + '_ {
        let of_host = self.addresses.get(host);
        let pops = self.answers.get(answer.index()).map_or(&[][..], |answer| answer);
        pops.iter().filter_map(move |pop| *of_host?.get(pop.index())?)
    }

    /// Why a client gets the answer it gets. The same as [`answer`](Self::answer), unless `options` suppose something.
    /// `host` is the position in the router's list of what `name` is routed to.
    pub fn explain(
        &self,
        host: usize,
        name: &str,
        client: IpAddr,
        asked_by: AskedBy,
        options: &ExplainOptions,
    ) -> Explanation {
        let facts = &self.facts;
        let host = facts.hosts.get(host).map_or("", String::as_str);
        let client = client.to_canonical();
        let block = facts.geo.block_of(client);
        let measured = block.and_then(|block| facts.by_block.get(&block));
        let by_place = block
            .map_or_else(|| facts.by_place.last(), |block| facts.by_place.get(facts.geo.block(block).place.index()));
        let ranking = measured.or(by_place);

        let assumed = (!options.assume_drained.is_empty()).then(|| facts.assume_drained(&options.assume_drained));
        let eligibility = assumed.as_ref().unwrap_or(&facts.eligibility);
        let order: Vec<PopIndex> = match ranking {
            Some(ranking) if facts.policy.is_tailored() => ranking.order.to_vec(),
            _ => facts.order_of_turn(options.turn % facts.policy.turns(facts.pops.len())).to_vec(),
        };
        let explores = block.zip(ranking).is_some_and(|(block, ranking)| {
            facts.is_explorable(eligibility, ranking) && facts.is_turn_to_explore(block)
        });
        let picks = facts.pick(eligibility, &order, explores);
        let held = ranking.is_some_and(|ranking| ranking.held);
        let place_id = ranking.and_then(|ranking| ranking.place);
        let distances_km = facts.distances_km(place_id);
        let estimates = ranking.map_or_else(Vec::new, |ranking| facts.estimates(ranking));

        let reason = |pop: PopIndex, position: usize| match position {
            0 if eligibility.fail_open => Reason::RouteFailOpen,
            0 if explores => Reason::RouteExplore,
            0 if held && order.first() == Some(&pop) => Reason::RouteHeldByHysteresis,
            0 => facts.policy.reason(),
            _ => Reason::RouteSecondAddress,
        };
        let candidates = order.iter().filter_map(|&pop| {
            let fitness = &eligibility.pops[pop.index()];
            let site = &facts.pops[pop.index()];
            let chosen = picks.iter().position(|&pick| pick == pop);
            Some(CandidateExplained {
                pop: site.code,
                distance_km: *distances_km.get(pop.index())?,
                estimate: *estimates.get(pop.index())?,
                health: fitness.state(),
                draining: fitness.draining,
                edges: site.edges.iter().map(|edge| edge.id.clone()).zip(fitness.edges.iter().copied()).collect(),
                chosen,
                reason: chosen.map_or_else(
                    || eligibility.rejected(pop).unwrap_or(Reason::RejectedSlower),
                    |position| reason(pop, position),
                ),
            })
        });
        let chosen = picks.iter().enumerate().filter_map(|(position, &pop)| {
            let site = &facts.pops[pop.index()];
            let edge = edge_for(site, &eligibility.pops[pop.index()], host)?;
            let reason = reason(pop, position);
            Some(ChosenEdge { pop: site.code, edge: edge.id.clone(), address: edge.address, reason })
        });
        Explanation {
            name: name.to_owned(),
            client,
            asked_by,
            block: block.map(|block| facts.geo.block(block).net),
            place: block.map(|block| facts.geo.place_of(block).clone()),
            policy: facts.policy.name(),
            snapshot_version: facts.version,
            snapshot_at: facts.at,
            scope_len: self.answer(client, options.turn).1,
            ttl: facts.ttl(),
            fail_open: eligibility.fail_open,
            healthy_share: eligibility.healthy_share,
            degraded: eligibility.degraded,
            candidates: candidates.collect(),
            chosen: chosen.collect(),
        }
    }
}

impl Facts {
    fn ttl(&self) -> Duration {
        let ttl_s = self.options.ttl.as_secs();
        Duration::from_secs(if self.eligibility.degraded { ttl_s.div_ceil(2) } else { ttl_s })
    }

    /// The first `answers` of `order` that may be chosen.
    fn pick(&self, eligibility: &Eligibility, order: &[PopIndex], explores: bool) -> Vec<PopIndex> {
        let mut picks: Vec<_> = order.iter().copied().filter(|&pop| eligibility.rejected(pop).is_none()).collect();
        if explores && picks.len() > 1 {
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
        picks.truncate(self.options.answers.max(1));
        picks
    }

    /// Whether the runner-up might turn out to be the better one: its estimate could be wrong by half where it was
    /// never measured, and by less the more is known.
    fn is_explorable(&self, eligibility: &Eligibility, ranking: &Ranking) -> bool {
        if !self.policy.learns()
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
    fn is_turn_to_explore(&self, block: BlockId) -> bool {
        let period =
            self.at.as_nanos() / u64::try_from(self.options.explore_period.as_nanos()).unwrap_or(u64::MAX).max(1);
        let draw = draw(self.options.seed, "explore", [block.index() as u64, period]);
        (draw as f64 / u64::MAX as f64) < self.options.explore_share
    }

    fn prepare(&self, ranking: &Ranking, answers: &mut Interned) -> Prepared {
        let plain = answers.id(self.pick(&self.eligibility, &ranking.order, false));
        let exploring = self
            .is_explorable(&self.eligibility, ranking)
            .then(|| answers.id(self.pick(&self.eligibility, &ranking.order, true)));
        Prepared { plain, exploring }
    }

    fn order_of_turn(&self, turn: u64) -> Box<[PopIndex]> {
        let estimates =
            Estimates::new(EstimateOptions::default()).estimate(self.at, None, &vec![None; self.pops.len()]);
        let distances_km = vec![None; self.pops.len()];
        ranking::order(&scores(&*self.policy, &self.pops, &distances_km, &estimates, turn, self.options.seed))
    }

    fn distances_km(&self, place: Option<PlaceId>) -> Vec<Option<f64>> {
        distances_km(&self.geo, &self.pops, place)
    }

    fn estimates(&self, ranking: &Ranking) -> Vec<Estimate> {
        ranking.measured.as_ref().map_or_else(
            || {
                let distances_km = self.distances_km(ranking.place);
                Estimates::new(EstimateOptions::default()).estimate(self.at, None, &distances_km)
            },
            |measured| measured.to_vec(),
        )
    }

    fn assume_drained(&self, codes: &[PopCode]) -> Eligibility {
        let fitness = self.pops.iter().zip(&self.eligibility.pops).map(|(pop, fitness)| Fitness {
            edges: fitness.edges.clone(),
            draining: fitness.draining || codes.contains(&pop.code),
        });
        Eligibility::new(fitness.collect(), self.options.healthy_share_min)
    }
}

/// The answers of one ranking.
struct Prepared {
    plain: AnswerId,
    exploring: Option<AnswerId>,
}

impl Prepared {
    fn answer(&self, facts: &Facts, block: Option<BlockId>) -> AnswerId {
        match (self.exploring, block) {
            (Some(exploring), Some(block)) if facts.is_turn_to_explore(block) => exploring,
            _ => self.plain,
        }
    }
}

#[derive(Default)]
struct Interned {
    list: Vec<Answer>,
    ids: BTreeMap<Vec<PopIndex>, AnswerId>,
}

impl Interned {
    fn id(&mut self, picks: Vec<PopIndex>) -> AnswerId {
        let next = AnswerId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        *self.ids.entry(picks).or_insert_with_key(|picks| {
            self.list.push(picks.clone().into());
            next
        })
    }
}

/// The distance from `place` to each PoP.
pub(super) fn distances_km(geo: &GeoMap, pops: &[Pop], place: Option<PlaceId>) -> Vec<Option<f64>> {
    let point = place.and_then(|place| geo.places().get(place.index())).map(|place| place.point);
    pops.iter().map(|pop| Some(pop.place.point.distance_km(point?))).collect()
}

/// What `policy` thinks of each candidate.
pub(super) fn scores(
    policy: &dyn Policy,
    pops: &[Pop],
    distances_km: &[Option<f64>],
    estimates: &[Estimate],
    turn: u64,
    seed: u64,
) -> Vec<f64> {
    let all = PopIndex::all(pops.len()).zip(pops).zip(distances_km).zip(estimates);
    all.map(|(((index, pop), &distance_km), estimate)| {
        policy.score(&Candidate { pop, index, candidates: pops.len(), distance_km, estimate, turn, seed })
    })
    .collect()
}
