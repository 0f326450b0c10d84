//! What answers are made from: everything known at one moment, replaced as a whole and never edited.
//!
//! For each table and address range the answer is worked out when the snapshot is made, so that answering is one search.
//! Ranges with the same answer are merged, which makes the scope of an answer the widest sound one.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use super::{
    EdgeSite, Host, PolicyKind, Pop, PopIndex,
    decide::{Facts, For, TableFacts},
    pops::edge_for,
    ranking::Ranking,
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
pub type Answer = Box<[PopIndex]>;

/// Everything known at one moment. See the module.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) facts: Arc<Facts>,
    /// For each table the answers of its policy.
    tables: Box<[Answers]>,
    answers: Box<[Answer]>,
    /// For each host and PoP the edge's addresses.
    addresses: Box<[Box<[Option<EdgeAddresses>]>]>,
}

/// Where an edge is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeAddresses {
    /// Where it listens.
    pub v4: SocketAddrV4,
    /// Where it listens for IPv6 too, at the same port.
    pub v6: Option<Ipv6Addr>,
}

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
        let mut answers = Interned::default();
        let tables = facts.tables.iter().map(|table| Answers::of(&facts, table, &mut answers)).collect();
        let addresses = facts
            .hosts
            .iter()
            .map(|host| {
                let pops = facts.pops.iter().zip(&facts.fitness);
                pops.map(|(pop, fitness)| edge_for(pop, fitness, &host.id).map(EdgeAddresses::of)).collect()
            })
            .collect();
        Self { tables, answers: answers.list.into(), addresses, facts }
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
        pops.flat_map(|pop| &pop.edges).filter(|state| state.is_healthy()).count()
    }

    /// How many PoPs send a share of their clients on, because of their load.
    pub fn spilling_pops(&self) -> usize {
        self.facts.loads.iter().filter(|load| load.acceptance < 1.0).count()
    }

    /// How many PoPs have not all their clients back since they were down.
    pub fn ramping_pops(&self) -> usize {
        self.facts.loads.iter().filter(|load| load.ramp < 1.0).count()
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

    /// Why the first PoP of that answer is the first.
    pub fn reason(&self, host: usize, client: IpAddr, turn: u64) -> Reason {
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
        let of_host = self.addresses.get(host);
        let pops = self.answers.get(answer.index()).map_or(&[][..], |answer| answer);
        pops.iter().filter_map(move |pop| *of_host?.get(pop.index())?)
    }
}

impl EdgeAddresses {
    const fn of(edge: &EdgeSite) -> Self {
        Self { v4: edge.address, v6: edge.address6 }
    }
}

impl Answers {
    fn of(facts: &Facts, table: &TableFacts, answers: &mut Interned) -> Self {
        let mut decide = |order: &[PopIndex], held, asked| {
            let decision = facts.decide(table, &table.eligibility, order, asked);
            let reason = decision.reason(table.policy(), order, held);
            (answers.id(decision.picks), reason)
        };
        if !table.policy().is_tailored() {
            let turns = 0..facts.turns(table);
            let by_turn =
                turns.map(|turn| decide(&facts.order_of_turn(table, turn), false, For { key: turn, explores: false }));
            return Self::InTurn(by_turn.collect());
        }
        // Blocks of one order are answered alike, those that explore apart. Where they are not, each is decided alone.
        let differs = facts.differs_by_block(table);
        let mut by_order: BTreeMap<(*const Ranking, bool), (AnswerId, Reason)> = BTreeMap::new();
        let mut explorable: BTreeMap<*const Ranking, bool> = BTreeMap::new();
        let mut answer = |block: Option<BlockId>| {
            let Some(ranking) = table.ranking(&facts.geo, block) else {
                return decide(&[], false, For { key: 0, explores: false });
            };
            let order = Arc::as_ptr(ranking);
            let explores = block.is_some_and(|block| facts.is_turn_to_explore(block))
                && *explorable.entry(order).or_insert_with(|| facts.is_explorable(table, &table.eligibility, ranking));
            let asked = For { key: facts.key(block), explores };
            if differs {
                decide(&ranking.order, ranking.held, asked)
            } else {
                let key = (order, explores);
                *by_order.entry(key).or_insert_with(|| decide(&ranking.order, ranking.held, asked))
            }
        };
        let mut of_block: Vec<Option<(AnswerId, Reason)>> = vec![None; facts.geo.blocks().len()];
        let nowhere = answer(None);
        let mut of = |block: Option<BlockId>| match block {
            Some(block) => match of_block.get_mut(block.index()) {
                Some(known) => *known.get_or_insert_with(|| answer(Some(block))),
                None => nowhere,
            },
            None => nowhere,
        };
        let by_client = facts.geo.ranges().map(|block| of(block).0);
        Self::Tailored(by_client, facts.geo.ranges().map(|block| of(block).1))
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
