//! What answers are made from: everything known at one moment, replaced as a whole and never edited.
//!
//! For each table and address range the answer is worked out when the snapshot is made, so that answering is one search.
//! Ranges with the same answer are merged, which makes the scope of an answer the widest sound one.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddrV4},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use super::{
    EdgeSite, Host, PolicyKind, Pop, PopIndex,
    decide::{Decision, Facts, For, TableFacts},
    inside::{Cohort, Seat, edge_for},
};
use crate::{
    Instant, Reason,
    geo::{BlockId, GeoMap},
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    pops: Box<[PopIndex]>,
    /// For each the cohort that its clients are of, by number; empty where that is the first for all.
    cohorts: Box<[u32]>,
}

impl Deref for Answer {
    type Target = [PopIndex];

    fn deref(&self) -> &[PopIndex] {
        &self.pops
    }
}

/// Everything known at one moment. See the module.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) facts: Arc<Facts>,
    /// For each table the answers of its policy.
    tables: Box<[Answers]>,
    answers: Box<[Answer]>,
    /// For each host, PoP and cohort of its clients the edge.
    placed: Box<[Box<[OfCohorts]>]>,
    /// Whether clients of one PoP may be sent to different edges of it for one host.
    differs_inside: bool,
}

/// Where an edge is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeAddresses {
    /// Where it listens.
    pub v4: SocketAddrV4,
    /// Where it listens for IPv6 too, at the same port.
    pub v6: Option<Ipv6Addr>,
}

/// An edge of a PoP, and why it is that one.
#[derive(Clone, Copy, Debug)]
struct Placed {
    addresses: EdgeAddresses,
    reason: Reason,
}

/// The edges of a PoP for a host, by cohort.
type OfCohorts = Box<[Option<Placed>]>;

/// A table's answers.
#[derive(Debug)]
enum Answers {
    /// By client address: the answers, and why the first PoP of each is the first. The latter is a map of its own, since
    /// answers for another reason are the same answers, and have one scope.
    Tailored(IpRangeMap<AnswerId>, IpRangeMap<Reason>),
    /// In turn, whoever asks.
    InTurn(Box<[(AnswerId, Reason)]>),
}

impl Snapshot {
    pub(super) fn build(facts: Arc<Facts>) -> Self {
        let mut answers = Interned::new(&facts);
        let tables = facts.tables.iter().map(|table| Answers::of(&facts, table, &mut answers)).collect();
        let Interned { list, cohorts, differs_inside, .. } = answers;
        let of_host = |host: &Host| {
            let pops = facts.pops.iter().zip(&facts.fitness).zip(&cohorts);
            pops.map(|((pop, fitness), cohorts)| {
                let placed = |&cohort: &Cohort| {
                    let seat = edge_for(&facts.options.inside, pop, &fitness.edges, &host.id, cohort)?;
                    Some(Placed { addresses: EdgeAddresses::of(seat.site), reason: seat.reason })
                };
                cohorts.iter().map(placed).collect()
            })
            .collect()
        };
        let placed = facts.hosts.iter().map(of_host).collect();
        Self { tables, answers: list.into(), placed, differs_inside, facts }
    }

    /// Grows with every snapshot of a router.
    pub fn version(&self) -> u64 {
        self.facts.version
    }

    /// When it was made.
    pub fn at(&self) -> Instant {
        self.facts.at
    }

    /// The hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.facts.hosts
    }

    /// The policy by which the host at position `host` of the list is routed.
    pub fn policy(&self, host: usize) -> PolicyKind {
        self.facts.tables[self.facts.table(host)].table.kind
    }

    /// How long resolvers may keep answers for a host: half the setting while a candidate is degraded, in whole seconds.
    pub fn ttl(&self, host: usize) -> Duration {
        let table = &self.facts.tables[self.facts.table(host)];
        self.facts.ttl(table, &table.eligibility)
    }

    /// Whether some host has too few healthy edges, so that their health is ignored.
    pub fn is_fail_open(&self) -> bool {
        self.facts.tables.iter().any(|table| table.eligibility.fail_open)
    }

    /// How many edges viewers may be sent to.
    pub fn healthy_edges(&self) -> usize {
        let pops = self.facts.fitness.iter().filter(|pop| !pop.draining);
        pops.flat_map(|pop| &pop.edges).filter(|edge| edge.state.is_healthy()).count()
    }

    /// How many PoPs send a share of their clients on, because of their load.
    pub fn spilling_pops(&self) -> usize {
        self.facts.loads.iter().filter(|load| load.acceptance < 1.0).count()
    }

    /// How many PoPs have not all their clients back since they were down.
    pub fn ramping_pops(&self) -> usize {
        self.facts.loads.iter().filter(|load| load.ramp < 1.0).count()
    }

    /// How many edges send a share of their clients on to others of their PoP, because of their load.
    pub fn bounded_edges(&self) -> usize {
        self.facts.fitness.iter().flat_map(|pop| &pop.edges).filter(|edge| edge.acceptance < 1.0).count()
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

    /// The answer for a client of the host at position `host` of the list, and its scope: how many leading bits of the
    /// address it depends on. `turn` matters only to policies that answer in turn.
    pub fn answer(&self, host: usize, client: IpAddr, turn: u64) -> (AnswerId, u8) {
        match self.tables.get(self.facts.table(host)) {
            Some(Answers::Tailored(by_client, _)) => by_client.find(client),
            Some(Answers::InTurn(by_turn)) => {
                let answer = by_turn.get(self.turn(host, turn) as usize);
                (answer.map_or(AnswerId(0), |&(answer, _)| answer), 0)
            }
            None => (AnswerId(0), 0),
        }
    }

    /// Why the first edge of that answer is the first.
    pub fn reason(&self, host: usize, client: IpAddr, turn: u64) -> Reason {
        let reason = self.reason_of_pop(host, client, turn);
        if !self.differs_inside {
            return reason;
        }
        let (answer, _) = self.answer(host, client, turn);
        let of_edge = self.placed(host, answer).next().map(|first| first.reason);
        let policy = self.facts.tables[self.facts.table(host)].policy();
        of_edge.map_or(reason, |of_edge| Seat::reason_of_answer(reason, policy.is_reason(reason), of_edge))
    }

    fn reason_of_pop(&self, host: usize, client: IpAddr, turn: u64) -> Reason {
        match self.tables.get(self.facts.table(host)) {
            Some(Answers::Tailored(_, reasons)) => reasons.value(client),
            Some(Answers::InTurn(by_turn)) => {
                let answer = by_turn.get(self.turn(host, turn) as usize);
                answer.map_or(Reason::NoCandidate, |&(_, reason)| reason)
            }
            None => Reason::NoCandidate,
        }
    }

    /// The first turn in which a host's answer is the same as in `turn`.
    pub fn turn(&self, host: usize, turn: u64) -> u64 {
        match self.tables.get(self.facts.table(host)) {
            Some(Answers::InTurn(by_turn)) => turn % by_turn.len().max(1) as u64,
            _ => 0,
        }
    }

    /// The PoP that an answer has first.
    pub fn first_pop(&self, answer: AnswerId) -> Option<PopIndex> {
        self.answers.get(answer.index())?.first().copied()
    }

    /// The addresses of an answer for the host at position `host` of the list, best first.
    pub fn addresses(&self, host: usize, answer: AnswerId) -> impl Iterator<Item = SocketAddrV4> + '_ {
        self.edges(host, answer).map(|edge| edge.v4)
    }

    /// The same edges, with the IPv6 addresses that they have.
    pub fn edges(&self, host: usize, answer: AnswerId) -> impl Iterator<Item = EdgeAddresses> + '_ {
        self.placed(host, answer).map(|placed| placed.addresses)
    }

    fn placed(&self, host: usize, answer: AnswerId) -> impl Iterator<Item = Placed> + '_ {
        let of_host = self.placed.get(host);
        let answer = self.answers.get(answer.index());
        let pops = answer.map_or(&[][..], |answer| answer).iter().enumerate();
        pops.filter_map(move |(at, pop)| {
            let cohort = answer?.cohorts.get(at).copied().unwrap_or(0);
            *of_host?.get(pop.index())?.get(cohort as usize)?
        })
    }
}

impl EdgeAddresses {
    const fn of(edge: &EdgeSite) -> Self {
        Self { v4: edge.address, v6: edge.address6 }
    }
}

impl Answers {
    fn of(facts: &Facts, table: &TableFacts, answers: &mut Interned) -> Self {
        let mut decision = Decision::default();
        if !table.policy().is_tailored() {
            let by_turn = (0..facts.turns(table)).map(|turn| {
                let (order, asked) =
                    (facts.order_of_turn(table, turn), For { key: turn, explores: false, is_told: false });
                facts.decide(table, &table.eligibility, &order, asked, &mut decision);
                let reason = decision.reason(table.policy().reason(), &order, false);
                (answers.id(facts, &decision.picks, turn), reason)
            });
            return Self::InTurn(by_turn.collect());
        }
        // Blocks of one order are answered alike, unless they explore. Where they are not, each is decided alone.
        let differs = facts.differs_by_block(table);
        let mut by_slot: Vec<Option<(AnswerId, Reason)>> = vec![None; table.table.slots()];
        let mut answer = |block: Option<BlockId>| {
            let explores = facts.explores(table, &table.eligibility, block);
            let is_shared = !differs && !explores && !block.is_some_and(|block| table.table.is_special(block));
            let known = if is_shared { by_slot.get_mut(table.table.slot(&facts.geo, block)) } else { None };
            if let Some(&mut Some(known)) = known {
                return known;
            }
            let (order, held) = table.table.order(&facts.geo, block);
            facts.decide_for(table, &table.eligibility, block, order, explores, &mut decision);
            let reason = decision.reason(table.table.reason(block), order, held);
            let decided = (answers.id(facts, &decision.picks, facts.key(block)), reason);
            if let Some(known) = known {
                *known = Some(decided);
            }
            decided
        };
        // What is between networks is as many ranges as they are.
        let nowhere = answer(None);
        let (by_client, reasons) = facts.geo.ranges().map_both(|block| match block {
            Some(block) => answer(Some(block)),
            None => nowhere,
        });
        Self::Tailored(by_client, reasons)
    }
}

struct Interned {
    list: Vec<Answer>,
    /// Of the answers whose clients all are of the first cohort, by their PoPs.
    plain: BTreeMap<Box<[PopIndex]>, AnswerId>,
    /// Of the others.
    ids: BTreeMap<Answer, AnswerId>,
    /// Whether there is more than one cohort of some PoP.
    differs_inside: bool,
    /// Of every PoP the cohorts that there are clients of; that of clients who differ from nobody is the first.
    cohorts: Vec<Vec<Cohort>>,
    numbers: BTreeMap<(PopIndex, Cohort), u32>,
}

impl Interned {
    fn new(facts: &Facts) -> Self {
        let cohorts = vec![vec![Cohort::default()]; facts.pops.len()];
        let numbers = PopIndex::all(facts.pops.len()).map(|pop| ((pop, Cohort::default()), 0)).collect();
        let differs_inside = facts.differs_inside();
        let (plain, ids) = (BTreeMap::new(), BTreeMap::new());
        Self { list: vec![], plain, ids, differs_inside, cohorts, numbers }
    }

    /// The answer of `picks` for the clients that `key` stands for.
    fn id(&mut self, facts: &Facts, picks: &[PopIndex], key: u64) -> AnswerId {
        let cohorts = match self.differs_inside {
            true => picks.iter().map(|&pop| self.number(pop, facts.cohort(pop, key))).collect(),
            false => vec![],
        };
        let next = AnswerId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        if cohorts.iter().all(|&cohort| cohort == 0) {
            // Most answers are known, and to find one takes no memory.
            if let Some(&known) = self.plain.get(picks) {
                return known;
            }
            self.plain.insert(picks.into(), next);
            self.list.push(Answer { pops: picks.into(), cohorts: [].into() });
            return next;
        }
        *self.ids.entry(Answer { pops: picks.into(), cohorts: cohorts.into() }).or_insert_with_key(|answer| {
            self.list.push(answer.clone());
            next
        })
    }

    /// The number of a cohort of `pop`.
    fn number(&mut self, pop: PopIndex, cohort: Cohort) -> u32 {
        *self.numbers.entry((pop, cohort)).or_insert_with(|| {
            let Some(known) = self.cohorts.get_mut(pop.index()) else { return 0 };
            known.push(cohort);
            u32::try_from(known.len() - 1).unwrap_or(u32::MAX)
        })
    }
}
