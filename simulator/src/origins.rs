//! Simulated origins: slots, a queue before them, and misbehaviour on demand.
//!
//! First come, first served; who finds the queue full is turned away at once. What is answered is the plan's to say.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use cdn_core::{
    Counter, Instant,
    conditional::{self, Verdict},
    origin_group::Failure,
    path_pattern::PathPattern,
};
use http::{HeaderMap, Method, StatusCode, header};
use world::{Effect, EventKind, SiteId};

use crate::{
    bodies::Print,
    engine::{Happening, Sim},
    fetches::{Arrived, Headers},
    hash::mix,
    maybe::Maybe,
    network::Direction,
    plan::OriginSpec,
    slab::Key,
};

/// An origin.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) node: u32,
    spec: OriginSpec,
    serving: BTreeMap<(Key, u16), Instant>,
    queue: VecDeque<Waiting>,
    /// What was read and is never answered.
    swallowed: BTreeMap<(Key, u16), Instant>,
    pub(crate) rules: Vec<Rule>,
    seed: u64,
    draws: u64,
}

/// A fault that an origin carries out itself, because it needs HTTP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) effect: Effect,
    pub(crate) rate: f64,
    pub(crate) path: Option<PathPattern>,
    pub(crate) from: Option<SiteId>,
}

/// A request in the queue. What it asks for is kept with it, because it is served also where nobody waits for it any more.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    key: Key,
    serial: u16,
    since: Instant,
    revision: usize,
    entry: u32,
    plan: Plan,
}

/// What a request meets: waits add up, the slowest rate counts, and the first bad ending of the list is the one.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    delay: Duration,
    bps: Option<u64>,
    ending: Option<Effect>,
}

impl Origin {
    pub(crate) fn new(node: u32, spec: OriginSpec, seed: u64) -> Self {
        let (serving, swallowed) = (BTreeMap::new(), BTreeMap::new());
        Self { node, spec, serving, queue: VecDeque::new(), swallowed, rules: Vec::new(), seed, draws: 0 }
    }

    fn plan(&mut self, path: &str, from: &SiteId) -> Plan {
        let mut plan = Plan::default();
        for at in 0..self.rules.len() {
            let Some(rule) = self.rules.get(at) else { break };
            let met = rule.path.as_ref().is_none_or(|pattern| pattern.matches(path))
                && rule.from.as_ref().is_none_or(|site| site == from);
            if !met {
                continue;
            }
            let (effect, rate) = (rule.effect, rule.rate);
            match effect {
                Effect::Latency(delay) if self.draws(rate) => plan.delay += delay,
                Effect::Throttle { bps } if self.draws(rate) => {
                    plan.bps = Some(plan.bps.map_or(bps, |least| least.min(bps)));
                }
                Effect::Latency(_) | Effect::Throttle { .. } => {}
                _ if plan.ending.is_none() && self.draws(rate) => plan.ending = Some(effect),
                _ => {}
            }
        }
        plan
    }

    fn draws(&mut self, rate: f64) -> bool {
        if rate >= 1.0 {
            return true;
        }
        self.draws += 1;
        ((mix(self.seed ^ mix(self.draws)) >> 11) as f64) * (1.0 / (1_u64 << 53) as f64) < rate
    }
}

impl Sim<'_> {
    pub(crate) fn handle_at_origin(&mut self, key: Key, serial: u16) {
        let now = self.now;
        let Some(fetch) = self.fetches.get(key).filter(|fetch| fetch.serial == serial) else { return };
        let Some(conn) = fetch.conn.and_then(|conn| self.conns.get(conn)) else { return };
        let way = conn.way;
        if let Some(again_at) = self.network.swallowed(way, Direction::Up, now) {
            return self.queue.push(again_at, Happening::AtOrigin(key, serial));
        }
        if self.is_broken(conn) {
            let at = now + self.network.one_way(way, Direction::Down);
            return self.queue.push(at, Happening::FetchBroken(key, serial));
        }
        let target = fetch.target;
        let Some(node) = self.nodes.get_mut(target as usize) else { return };
        if node.is_paused {
            return node.held.push(Happening::AtOrigin(key, serial));
        }
        let Some(number) = node.origin else { return };
        self.bump(target, Counter::OriginRequests);
        self.note(EventKind::OriginRequests { origin: target, count: 1 });
        if let Some(station) = self.ledger.stations.get_mut(target as usize) {
            station.handle_arrival(now);
        }
        let from = self.caches.get(fetch_cache(&self.fetches, key)).map(|host| host.node);
        let from = from.and_then(|node| self.plan.nodes.get(node as usize)).map(|spec| spec.place.id.clone());
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.since = Some(now);
        let head = self.catalogs.get(fetch.revision).and_then(|catalog| catalog.head(fetch.entry, None));
        let (Some(head), Some(origin), Some(from)) = (head, self.origins.get_mut(number), from) else { return };
        let plan = origin.plan(head.path, &from);
        match plan.ending {
            // It reads everything and answers nothing.
            Some(Effect::Blackhole) => {
                origin.swallowed.insert((key, serial), now);
                return;
            }
            Some(Effect::Reset | Effect::Refuse | Effect::Garbage) => {
                if plan.ending == Some(Effect::Garbage) {
                    fetch.failure = Failure::Invalid;
                }
                fetch.since = None;
                if let Some(station) = self.ledger.stations.get_mut(target as usize) {
                    station.handle_departure(now, now);
                }
                let at = now + plan.delay + self.network.one_way(way, Direction::Down);
                return self.queue.push(at, Happening::FetchBroken(key, serial));
            }
            _ => {}
        }
        let waiting = Waiting { key, serial, since: now, revision: fetch.revision, entry: fetch.entry, plan };
        if origin.serving.len() < origin.spec.concurrency {
            return self.begin_to_serve(number, waiting);
        }
        if origin.queue.len() < origin.spec.queue {
            return origin.queue.push_back(waiting);
        }
        self.bump(target, Counter::OriginOverloaded);
        if let Some(station) = self.ledger.stations.get_mut(target as usize) {
            station.handle_departure(now, now);
        }
        let date = self.wall(target);
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.since = None;
        let print = self.catalogs.get(fetch.revision).and_then(|catalog| catalog.entry(fetch.entry));
        let print = print.map_or(Print::NOTHING, |entry| entry.print.of_length(27));
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, date.http_date());
        fetch.arrived = Some(Arrived {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: Headers::Made(headers),
            bytes: 27,
            made: Some(now).into(),
            print,
            ends_at: now,
            is_broken: false,
            parent: None,
        });
        self.send_reply(key, serial);
    }

    /// A slot is taken, for as long as the answer takes.
    fn begin_to_serve(&mut self, number: usize, waiting: Waiting) {
        let now = self.now;
        let Waiting { key, serial, since, revision, entry, plan } = waiting;
        let Some(origin) = self.origins.get_mut(number) else { return };
        let Some(catalog) = self.catalogs.get(revision) else { return };
        let (Some(head), Some(known)) = (catalog.head(entry, None), catalog.entry(entry)) else { return };
        origin.serving.insert((key, serial), since);
        let answer = origin.spec.answers.answer(head.path, head.query);
        let Some(fetch) = self.fetches.get(key).filter(|fetch| fetch.serial == serial) else {
            // Nobody waits for it any more; it takes its time all the same.
            return self.queue.push(now + plan.delay + answer.delay, Happening::Served(key, serial));
        };
        let is_head = *head.method == Method::HEAD;
        let mut status = answer.status;
        let mut headers = answer.headers;
        let mut bytes = if is_head { 0 } else { answer.bytes };
        let took = plan.delay + answer.delay;
        if let Some(Effect::Status(other)) = plan.ending {
            status = StatusCode::from_u16(other).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (headers, bytes) = (HeaderMap::new(), 21);
        }
        let own = fetch.own_headers(&self.catalogs);
        if let Some(own) = own
            && conditional::evaluate(&Method::GET, &own, status, &headers) == Verdict::NotModified
        {
            (status, bytes, headers) = (StatusCode::NOT_MODIFIED, 0, conditional::not_modified_headers(headers));
        }
        let mut ends_at = Instant::ZERO;
        let print = known.print.of_length(bytes);
        let cut = matches!(plan.ending, Some(Effect::Truncate | Effect::Stall));
        if cut {
            bytes /= 2;
        }
        if plan.ending == Some(Effect::Stall) {
            // Its reader's patience ends it.
            ends_at = now + took + fetch.body_patience();
        }
        if let Some(bps) = plan.bps.filter(|_| bytes > 0) {
            let span = Duration::from_secs_f64(bytes as f64 * 8.0 / bps.max(8) as f64);
            ends_at = ends_at.max(now + took + span);
        }
        let headers = Headers::Made(headers);
        let arrived =
            Arrived { status, headers, bytes, made: Maybe::NOTHING, print, ends_at, is_broken: cut, parent: None };
        if let Some(fetch) = self.fetches.get_mut(key) {
            fetch.arrived = Some(arrived);
        }
        if took.is_zero() {
            return self.handle_served(key, serial);
        }
        self.queue.push(now + took, Happening::Served(key, serial));
    }

    /// An origin is done with a request: its answer leaves, and the next one is served.
    pub(crate) fn handle_served(&mut self, key: Key, serial: u16) {
        let now = self.now;
        let place = self.origins.iter().position(|origin| origin.serving.contains_key(&(key, serial)));
        let Some(number) = place else { return };
        let Some(origin) = self.origins.get_mut(number) else { return };
        let node = origin.node;
        let Some(since) = origin.serving.remove(&(key, serial)) else { return };
        if let Some(station) = self.ledger.stations.get_mut(node as usize) {
            station.handle_departure(now, since);
        }
        let date = self.wall(node);
        if let Some(fetch) = self.fetches.get_mut(key).filter(|fetch| fetch.serial == serial) {
            fetch.since = None;
            if let Some(arrived) = &mut fetch.arrived {
                arrived.made = Some(now).into();
                if let Headers::Made(headers) = &mut arrived.headers {
                    headers.insert(header::DATE, date.http_date());
                }
            }
            self.send_reply(key, serial);
        }
        self.serve_next(number);
    }

    fn serve_next(&mut self, number: usize) {
        loop {
            let Some(origin) = self.origins.get_mut(number) else { return };
            if origin.serving.len() >= origin.spec.concurrency {
                return;
            }
            let Some(waiting) = origin.queue.pop_front() else { return };
            self.begin_to_serve(number, waiting);
        }
    }

    /// Whoever had asked has gone.
    pub(crate) fn handle_left_origin(&mut self, number: u16, key: Key) {
        let (now, number) = (self.now, usize::from(number));
        let Some(origin) = self.origins.get_mut(number) else { return };
        if origin.spec.finishes_abandoned {
            return;
        }
        let node = origin.node as usize;
        // One that asks this origin again meanwhile has another serial, and is left where it is.
        let current = self.fetches.get(key).map(|fetch| fetch.serial);
        let mut gone: Vec<Instant> = Vec::new();
        origin.queue.retain(|waiting| {
            let leaves = waiting.key == key && Some(waiting.serial) != current;
            if leaves {
                gone.push(waiting.since);
            }
            !leaves
        });
        for held in [&mut origin.serving, &mut origin.swallowed] {
            held.retain(|(other, serial), since| {
                let leaves = *other == key && Some(*serial) != current;
                if leaves {
                    gone.push(*since);
                }
                !leaves
            });
        }
        for since in gone {
            if let Some(station) = self.ledger.stations.get_mut(node) {
                station.handle_departure(now, since);
            }
        }
        self.serve_next(number);
    }

    /// An origin has ended: nothing of what it was at comes to anything.
    pub(crate) fn empty_origin(&mut self, number: usize) {
        let now = self.now;
        let Some(origin) = self.origins.get_mut(number) else { return };
        let swallowed = std::mem::take(&mut origin.swallowed);
        let serving = std::mem::take(&mut origin.serving).into_values().chain(swallowed.into_values());
        let queued = std::mem::take(&mut origin.queue);
        if let Some(station) = self.ledger.stations.get_mut(origin.node as usize) {
            for since in serving.chain(queued.into_iter().map(|waiting| waiting.since)) {
                station.handle_departure(now, since);
            }
        }
    }
}

fn fetch_cache(fetches: &crate::slab::Slab<crate::fetches::Fetch>, key: Key) -> usize {
    fetches.get(key).map_or(usize::MAX, |fetch| fetch.cache)
}
