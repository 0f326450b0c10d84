//! Edges, regional caches and the shield: the store of `cdn_core` with nobody's bytes in it.
//!
//! What the store says to a request is what it says live; here the answer is sent on, or the fetch carried out.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasherDefault,
    sync::Arc,
    time::Duration,
};

use cdn_core::{
    Counter, Counters, Instant, Reason,
    cache_key::{CacheKey, KeySeed},
    conditional::{self, Verdict},
    invalidation::InvalidationPattern,
    parent_health::ParentHealth,
    parents::{ParentWay, Tier},
    store::{CacheShard, FetchId, Found, Lookup, Served, StoreSettings, StoredHead},
};
use http::{HeaderMap, Method, StatusCode};
use world::CacheOutcome;

use crate::{
    bodies::Print,
    engine::{Alarm, AlarmKind, Happening, Sim},
    fetches::{Arrived, Fetch, FromParent, Headers},
    hash::Mixer,
    maybe::Maybe,
    plan::{NodeSpec, Plan},
    slab::Key,
};

/// What is kept of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    /// The status of its response, which is all that most need of the head.
    pub(crate) status: StatusCode,
    /// When the origin made it.
    pub(crate) made: Maybe,
    /// When all of it has arrived.
    pub(crate) ends_at: Instant,
    /// It breaks off then.
    pub(crate) is_broken: bool,
    /// It is an error page of the cache's own.
    pub(crate) error: Option<Reason>,
    /// The configuration by which its head was made fit to be stored, one of the first 256; `None` where it was not.
    pub(crate) fit_under: Option<u8>,
    /// As its origin sent it.
    pub(crate) print: Print,
}

const _: () = assert!(size_of::<Body>() == 32, "each stored object has one");

impl Body {
    /// An error page of the cache's own.
    pub(crate) const fn of_error(status: StatusCode, now: Instant, reason: Reason) -> Self {
        let (made, print) = (Maybe::NOTHING, Print::NOTHING);
        Self { status, made, ends_at: now, is_broken: false, error: Some(reason), fit_under: None, print }
    }
}

/// Who asks a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A viewer's request.
    Viewer(Key),
    /// Another cache's fetch.
    Cache(Key),
    /// Nobody: it is wanted for itself.
    Nobody,
}

/// What a viewer gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) cache: CacheOutcome,
    pub(crate) reason: Reason,
    pub(crate) bytes: u64,
    pub(crate) made: Maybe,
    pub(crate) ends_at: Instant,
    pub(crate) is_broken: bool,
    /// It is not what was asked for.
    pub(crate) is_wrong: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 0,
            cache: CacheOutcome::Error,
            reason: Reason::Internal,
            bytes: 0,
            made: Maybe::NOTHING,
            ends_at: Instant::ZERO,
            is_broken: false,
            is_wrong: false,
        }
    }
}

/// A cache between that another may ask.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) node: u32,
    pub(crate) tier: Tier,
    pub(crate) health: ParentHealth,
}

/// A cache.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) node: u32,
    pub(crate) tier: Tier,
    shards: Vec<CacheShard<Body>>,
    /// Fetches that others may wait for.
    pub(crate) flights: HashMap<(u8, FetchId), Key, BuildHasherDefault<Mixer>>,
    /// The caches that it may ask instead of an origin, in order.
    pub(crate) parents: Vec<Parent>,
    /// Idle connections, by the node at their other end; the youngest last.
    pub(crate) idle: BTreeMap<u32, Vec<Key>>,
    /// Requests received since it was started.
    pub(crate) requests: u64,
    settings: StoreSettings,
    seed: KeySeed,
    counters: Arc<Counters>,
}

impl Cache {
    pub(crate) fn new(node: u32, plan: &Plan, spec: &NodeSpec, seed: KeySeed, counters: &Arc<Counters>) -> Self {
        let parents = spec.parents.iter().filter_map(|&at| {
            let tier = Tier::of(plan.nodes.get(at)?.id.role())?;
            Some(Parent { node: u32::try_from(at).ok()?, tier, health: ParentHealth::default() })
        });
        let mut cache = Self {
            node,
            tier: Tier::of(spec.id.role()).unwrap_or(Tier::Edge),
            shards: Vec::new(),
            flights: HashMap::default(),
            parents: parents.collect(),
            idle: BTreeMap::new(),
            requests: 0,
            settings: plan.store,
            seed,
            counters: Arc::clone(counters),
        };
        cache.restart();
        cache
    }

    /// It begins anew, with nothing in its memory.
    pub(crate) fn restart(&mut self) {
        let shards = self.settings.shards();
        let each = self.settings.of_shard(shards);
        self.shards = (0..shards).map(|_| CacheShard::new(each, self.seed, Arc::clone(&self.counters))).collect();
        self.flights.clear();
        self.idle.clear();
        self.requests = 0;
        for parent in &mut self.parents {
            parent.health = ParentHealth::default();
        }
    }

    /// The one that a fetch's way has come to.
    pub(crate) fn parent_of(&self, fetch: &Fetch) -> Option<&Parent> {
        self.parents.get(fetch.parent_way.place()?)
    }

    /// See [`Self::parent_of`].
    pub(crate) fn parent_of_mut(&mut self, fetch: &Fetch) -> Option<&mut Parent> {
        self.parents.get_mut(fetch.parent_way.place()?)
    }

    /// It counts in other counters from now on, and has nothing stored.
    pub(crate) fn count_in(&mut self, counters: &Arc<Counters>) {
        self.counters = Arc::clone(counters);
        self.restart();
    }

    pub(crate) fn shard(&mut self, at: u8) -> Option<&mut CacheShard<Body>> {
        self.shards.get_mut(usize::from(at))
    }

    /// Asks memory for where what is stored under a key begins; the shard and its slot, for
    /// [`prefetch_rest`](Self::prefetch_rest).
    pub(crate) fn prefetch(&self, key: CacheKey) -> Option<(usize, u32)> {
        let at = key.shard(self.shards.len());
        Some((at, self.shards.get(at)?.prefetch(key)?))
    }

    /// Asks memory for the rest of it.
    pub(crate) fn prefetch_rest(&self, (at, slot): (usize, u32)) {
        if let Some(shard) = self.shards.get(at) {
            shard.prefetch_rest(slot);
        }
    }

    /// Removes what a pattern covers.
    pub(crate) fn invalidate(&mut self, distribution: &str, pattern: &InvalidationPattern) -> u64 {
        self.shards.iter_mut().map(|shard| shard.invalidate(distribution, pattern)).sum()
    }
}

impl Sim<'_> {
    /// What somebody asks a cache for: the entry under the cache's own configuration.
    #[inline]
    fn question(&mut self, cache: usize, asker: Asker) -> Option<(usize, u32)> {
        let node = self.caches.get(cache)?.node;
        let revision = self.nodes.get(node as usize)?.revision;
        let (known, intended) = match asker {
            // A request knows its entry under the first configuration, a fetch under its own cache's.
            Asker::Viewer(key) => {
                let request = self.requests.get(key)?;
                ((revision == 0).then_some(request.entry), request.intended())
            }
            Asker::Cache(key) => {
                let fetch = self.fetches.get(key)?;
                ((fetch.revision == revision).then_some(fetch.entry), fetch.intended)
            }
            Asker::Nobody => return None,
        };
        let entry = match known {
            Some(entry) => entry,
            None => self.catalogs.get_mut(revision)?.find(intended.load, intended.object, intended.size)?,
        };
        Some((revision, entry))
    }

    /// Somebody asks a cache.
    pub(crate) fn ask(&mut self, cache: usize, asker: Asker) {
        let now = self.now;
        let Some(host) = self.caches.get_mut(cache) else { return };
        host.requests += 1;
        let node = host.node as usize;
        host.counters.bump(Counter::EdgeRequests);
        if let Some(flow) = self.ledger.flows.get_mut(node) {
            flow.requests += 1;
        }
        if let Some(station) = self.ledger.stations.get_mut(node) {
            station.handle_arrival(now);
        }
        self.look_up(cache, asker, false);
    }

    /// Asks the store, for the first time or after somebody else's fetch.
    pub(crate) fn look_up(&mut self, cache: usize, asker: Asker, has_waited: bool) {
        let now = self.now;
        let Some((revision, entry)) = self.question(cache, asker) else {
            return self.refuse(cache, asker, StatusCode::FORBIDDEN, Reason::UnknownHost);
        };
        let headers = self.conditions_of(asker);
        let Some(catalog) = self.catalogs.get(revision) else { return };
        let (Some(known), Some(head)) = (catalog.entry(entry), catalog.head(entry, headers.as_ref())) else {
            return self.refuse(cache, asker, StatusCode::FORBIDDEN, Reason::UnknownHost);
        };
        if !known.is_allowed {
            return self.refuse(cache, asker, StatusCode::FORBIDDEN, Reason::MethodNotAllowed);
        }
        if head.behavior.trusted_keys().is_some()
            && !has_waited
            && let Asker::Viewer(key) = asker
            && let Some(node) = self.caches.get(cache).map(|host| host.node)
            && let Err(reason) = self.admit(node, key)
        {
            if let Some(host) = self.caches.get(cache) {
                host.counters.bump(Counter::EdgeSignaturesRefused);
            }
            return self.refuse(cache, asker, StatusCode::FORBIDDEN, reason);
        }
        if let Err(reason) = known.class {
            return self.start_pass(cache, asker, revision, entry, ParentWay::of(known.class), reason);
        }
        let Some(host) = self.caches.get_mut(cache) else { return };
        let at = known.key.shard(host.shards.len());
        let Some(shard) = host.shards.get_mut(at) else { return };
        let hit = if has_waited { Reason::HitCollapsed } else { Reason::Hit };
        let outcome = if has_waited { CacheOutcome::Collapsed } else { CacheOutcome::Hit };
        if let Asker::Viewer(viewer) = asker
            && let Some(Found { body, bytes }) = shard.find(now, known.key, &head)
        {
            let (body, asked) = (*body, Some(known.print));
            return self.serve_viewer(cache, viewer, asked, body, bytes, outcome, hit);
        }
        let found = shard.lookup(now, known.key, &head);
        let at = u8::try_from(at).unwrap_or(u8::MAX);
        match found {
            Lookup::Hit(served) => self.serve(cache, asker, &served, outcome, hit, headers.as_ref()),
            Lookup::Stale { served, refresh } => {
                if let Some(begun) = refresh {
                    self.start_fetch(cache, Asker::Nobody, asker, revision, entry, at, begun);
                }
                let reason = Reason::HitStaleWhileRevalidate;
                self.serve(cache, asker, &served, CacheOutcome::Stale, reason, headers.as_ref());
            }
            Lookup::StaleOnError(served) => {
                self.serve(cache, asker, &served, CacheOutcome::Stale, Reason::HitStaleOnError, headers.as_ref());
            }
            Lookup::StaleAccepted(served) => {
                self.serve(cache, asker, &served, CacheOutcome::Stale, Reason::HitStaleAccepted, headers.as_ref());
            }
            Lookup::OnlyIfCached(_) => self.refuse(cache, asker, StatusCode::GATEWAY_TIMEOUT, Reason::OnlyIfCached),
            Lookup::Join(id) => self.join(cache, asker, at, id, has_waited),
            Lookup::Fetch(begun) => self.start_fetch(cache, asker, asker, revision, entry, at, begun),
            Lookup::Pass(reason) => self.start_pass(cache, asker, revision, entry, ParentWay::default(), reason),
            // Nobody asks for ranges here.
            Lookup::Parts(_) => {
                self.start_pass(cache, asker, revision, entry, ParentWay::default(), Reason::MissPart);
            }
        }
    }

    fn join(&mut self, cache: usize, asker: Asker, shard: u8, id: FetchId, has_waited: bool) {
        let Some(host) = self.caches.get(cache) else { return };
        let Some(&fetch) = host.flights.get(&(shard, id)) else {
            return self.refuse(cache, asker, StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal);
        };
        if !has_waited {
            host.counters.bump(Counter::EdgeCollapsed);
        }
        let wait_max = self.plan.store.wait_max;
        let Some(flight) = self.fetches.get_mut(fetch) else { return };
        let is_first = flight.waiters.is_empty();
        flight.waiters.push(asker);
        if is_first {
            self.set_alarm(wait_max, Alarm { fetch, serial: 0, kind: AlarmKind::Waiters });
        }
        self.waits_for(asker, fetch);
    }

    /// Somebody is not answered at once.
    pub(crate) fn waits_for(&mut self, asker: Asker, fetch: Key) {
        match asker {
            Asker::Viewer(key) => {
                if let Some(request) = self.requests.get_mut(key) {
                    request.fetch = Some(fetch);
                    request.waited = true;
                }
                self.be_patient(key);
            }
            Asker::Cache(key) => {
                if let Some(child) = self.fetches.get_mut(key) {
                    child.behind = Some(fetch);
                }
            }
            Asker::Nobody => {}
        }
    }

    /// Answers with what is stored, by the question's own preconditions.
    pub(crate) fn serve(
        &mut self,
        cache: usize,
        asker: Asker,
        served: &Served<Body>,
        outcome: CacheOutcome,
        reason: Reason,
        headers: Option<&HeaderMap>,
    ) {
        let body = served.body;
        match asker {
            Asker::Viewer(key) => {
                let asked = self.print_of(cache, key);
                self.serve_viewer(cache, key, asked, body, served.bytes, outcome, reason);
            }
            Asker::Cache(key) => {
                let status = body.status;
                let (outcome, reason) = became(body, outcome, reason);
                self.count(cache, outcome);
                let stored = Headers::Stored(Arc::clone(&served.head), served.age);
                let is_current = headers.is_some_and(|headers| {
                    let lines = served.head.headers();
                    conditional::evaluate(&Method::GET, headers, status, &lines) == Verdict::NotModified
                });
                let (status, bytes, headers) = if is_current {
                    let lines = conditional::not_modified_headers(stored.lines().into_owned());
                    (StatusCode::NOT_MODIFIED, 0, Headers::Made(lines))
                } else {
                    (status, served.bytes, stored)
                };
                let hit = matches!(outcome, CacheOutcome::Hit | CacheOutcome::Collapsed | CacheOutcome::Stale)
                    || matches!(reason, Reason::HitShield | Reason::HitRegional);
                self.answer_cache(cache, key, Reply { status, headers, bytes, body, hit, reason });
            }
            Asker::Nobody => {}
        }
    }

    /// Answers a viewer, who knows the print of what he asked for.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the answer that is put together here")]
    fn serve_viewer(
        &mut self,
        cache: usize,
        viewer: Key,
        asked: Option<Print>,
        body: Body,
        bytes: u64,
        outcome: CacheOutcome,
        reason: Reason,
    ) {
        let (outcome, reason) = became(body, outcome, reason);
        self.count(cache, outcome);
        let Body { status, made, ends_at, is_broken, .. } = body;
        let is_wrong = body.error.is_none() && asked.is_none_or(|asked| asked.of_length(bytes) != body.print);
        let answer =
            Answer { status: status.as_u16(), cache: outcome, reason, bytes, made, ends_at, is_broken, is_wrong };
        self.answer_viewer(viewer, answer);
    }

    /// The print of what a viewer has asked a cache for.
    fn print_of(&mut self, cache: usize, viewer: Key) -> Option<Print> {
        let (revision, entry) = self.question(cache, Asker::Viewer(viewer))?;
        Some(self.catalogs.get(revision)?.entry(entry)?.print)
    }

    /// Counts a request by what became of it.
    pub(crate) fn count(&mut self, cache: usize, outcome: CacheOutcome) {
        let Some(host) = self.caches.get(cache) else { return };
        let counters = &host.counters;
        // Each request is a line of the access log.
        if self.nodes.get(host.node as usize).is_some_and(|node| node.has_full_logs) {
            counters.bump(Counter::LogLinesLost);
        }
        let Some(flow) = self.ledger.flows.get_mut(host.node as usize) else { return };
        match outcome {
            CacheOutcome::Hit | CacheOutcome::Collapsed | CacheOutcome::Stale => {
                flow.hits += 1;
                counters.bump(Counter::EdgeHits);
                if outcome == CacheOutcome::Stale {
                    counters.bump(Counter::EdgeStaleServed);
                }
            }
            CacheOutcome::RefreshHit => {
                flow.hits += 1;
                counters.bump(Counter::EdgeRefreshHits);
            }
            CacheOutcome::Miss => {
                flow.misses += 1;
                counters.bump(Counter::EdgeMisses);
            }
            CacheOutcome::Pass => {
                flow.passes += 1;
                counters.bump(Counter::EdgePasses);
            }
            CacheOutcome::Error => {
                flow.errors += 1;
                counters.bump(Counter::EdgeErrors);
            }
        }
    }

    /// An error of the cache's own.
    pub(crate) fn refuse(&mut self, cache: usize, asker: Asker, status: StatusCode, reason: Reason) {
        if asker == Asker::Nobody {
            return;
        }
        self.count(cache, CacheOutcome::Error);
        let body = Body::of_error(status, self.now, reason);
        match asker {
            Asker::Viewer(key) => {
                let answer = Answer {
                    status: status.as_u16(),
                    cache: CacheOutcome::Error,
                    reason,
                    bytes: 0,
                    made: Maybe::NOTHING,
                    ends_at: self.now,
                    is_broken: false,
                    is_wrong: false,
                };
                self.answer_viewer(key, answer);
            }
            Asker::Cache(key) => {
                let reply = Reply { status, headers: Headers::default(), bytes: 0, body, hit: false, reason };
                self.answer_cache(cache, key, reply);
            }
            Asker::Nobody => {}
        }
    }

    /// A cache's answer leaves for the cache before it.
    fn answer_cache(&mut self, cache: usize, key: Key, reply: Reply) {
        let Some((node, tier)) = self.caches.get(cache).map(|host| (host.node, host.tier)) else { return };
        let since = self.fetches.get_mut(key).and_then(|fetch| {
            fetch.behind = None;
            fetch.since.take()
        });
        if let (Some(since), Some(station)) = (since, self.ledger.stations.get_mut(node as usize)) {
            station.handle_departure(self.now, since);
        }
        let Reply { status, headers, bytes, body, hit, reason } = reply;
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.arrived = Some(Arrived {
            status,
            headers,
            bytes,
            made: body.made,
            print: body.print,
            ends_at: body.ends_at,
            is_broken: body.is_broken,
            parent: Some(FromParent { tier, hit, reason, fit_under: body.fit_under }),
        });
        let serial = fetch.serial;
        self.send_reply(key, serial);
    }

    /// Frees whoever waits for a fetch: they ask again.
    pub(crate) fn wake(&mut self, cache: usize, waiters: Vec<Asker>) {
        for waiter in waiters {
            let is_there = match waiter {
                Asker::Viewer(key) => self.requests.get_mut(key).is_some_and(|request| request.fetch.take().is_some()),
                Asker::Cache(key) => self.fetches.get_mut(key).is_some_and(|child| child.behind.take().is_some()),
                Asker::Nobody => false,
            };
            if is_there {
                self.look_up(cache, waiter, true);
            }
        }
    }

    /// Whoever has waited for too long asks again; the first of them fetches.
    pub(crate) fn handle_overdue(&mut self, fetch: Key) {
        let now = self.now;
        let Some(flight) = self.fetches.get_mut(fetch) else { return };
        let (cache, lead) = (flight.cache, flight.lead);
        let waiters = std::mem::take(&mut flight.waiters);
        let Some((at, _)) = lead else { return };
        if let Some(shard) = self.caches.get_mut(cache).and_then(|host| host.shard(at)) {
            let _ = shard.handle_timeout(now);
        }
        self.wake(cache, waiters);
    }

    /// Whether a parent is up, found out by a probe of its own, and when that is known.
    pub(crate) fn check_alive(&mut self, key: Key, serial: u16, patience: Duration) {
        let Some(fetch) = self.fetches.get(key) else { return };
        let (cache, target) = (fetch.cache, fetch.target);
        let Some(own) = self.caches.get(cache).map(|host| host.node) else { return };
        let way = self.nodes_way(own, target);
        let is_silent = self.network.is_silent(way, crate::network::Direction::Up)
            || self.network.is_silent(way, crate::network::Direction::Down);
        let alive = self.nodes.get(target as usize).is_some_and(|node| !node.is_dead && !node.is_paused) && !is_silent;
        let took = if alive { self.network.rtt(way) * 2 } else { patience };
        self.queue.push(self.now + took, Happening::AliveChecked(key, serial, alive));
    }
}

/// What an answer counts as: a stored error was nobody's fetch but its first.
fn became(body: Body, outcome: CacheOutcome, reason: Reason) -> (CacheOutcome, Reason) {
    if !body.status.is_client_error() && !body.status.is_server_error() {
        return (outcome, reason);
    }
    match outcome {
        CacheOutcome::Miss | CacheOutcome::Pass => (CacheOutcome::Error, Reason::OriginError),
        _ => (CacheOutcome::Error, body.error.unwrap_or(Reason::ErrorCached)),
    }
}

/// What a cache answers another.
struct Reply {
    status: StatusCode,
    headers: Headers,
    bytes: u64,
    body: Body,
    hit: bool,
    reason: Reason,
}

/// The head of an error that is stored.
pub(crate) fn error_head(status: StatusCode) -> Arc<StoredHead> {
    Arc::new(StoredHead::new(status, HeaderMap::new()))
}
