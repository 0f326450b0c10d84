//! The store of a node: shards of [`CacheShard`], each behind its own short lock, and who waits for which fetch.
//!
//! Nothing is awaited under a lock. What is stored and who fetches is decided in `cdn_core`; here it is only kept apart
//! by key, and those who wait are woken.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cdn_core::{
    Counters, Instant, Reason,
    cache_key::{CacheKey, KeySeed, RequestHead},
    freshness::Lifetime,
    invalidation::InvalidationPattern,
    range::ByteRange,
    store::{
        Begun, CacheShard, EntryDetail, EntryReport, Failed, FetchError, FetchId, Growth, Lookup, Outcome, Prospect,
        RestoredParts, Run, Served, ServedParts, Storable, StorablePart, StoreSettings, StoredHead,
    },
};
use tokio::sync::watch;

use crate::{
    body::{SharedBody, Subscription},
    decision_log::{self, DecisionLog},
    object::{Following, Object},
};

/// A stored response as it is handed out.
pub(crate) type Response = Served<Object>;

/// Parts of one.
pub(crate) type Parts = ServedParts<Object>;

/// See the module.
pub(crate) struct Store {
    shards: Box<[Mutex<Shard>]>,
    seed: KeySeed,
    /// The limits of a shard.
    each: StoreSettings,
    wait_max: Duration,
}

struct Shard {
    counters: Arc<Counters>,
    cache: decision_log::Shard,
    /// Fetches whose outcome others may wait for.
    flights: HashMap<FetchId, Flight>,
}

struct Flight {
    object: Object,
    /// Says when to go on, and how.
    again: watch::Sender<Again>,
}

/// What those who wait for a fetch do next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Again {
    /// They ask the store.
    #[default]
    Ask,
    /// Each fetches for itself: what came is for one viewer.
    Alone,
}

/// What the store says to a request.
#[derive(Debug)]
pub(crate) enum Found {
    Hit(Response, Option<Following>),
    /// With those of them that are arriving, in order.
    Parts(Parts, Vec<Following>),
    /// Stale, and fine to send; somebody should fetch it anew where there is a [`Lead`].
    Stale(Response, Option<Lead>),
    StaleOnError(Response),
    StaleAccepted(Response),
    OnlyIfCached(Reason),
    Join(Join),
    Lead(Lead),
    Alone(Reason),
}

/// A fetch to carry out and to resolve.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) begun: Begun<Object>,
    pub(crate) object: Object,
    pub(crate) wants: Subscription,
    place: usize,
}

/// A place among those who wait for a fetch.
#[derive(Debug)]
pub(crate) struct Join {
    again: watch::Receiver<Again>,
    place: usize,
    fetch: FetchId,
    _wants: Option<Subscription>,
}

impl Join {
    /// Resolves when it is time to go on.
    pub(crate) async fn again(&mut self) -> Again {
        // An end of the channel repeats its last word.
        let _ = self.again.changed().await;
        *self.again.borrow()
    }
}

/// Names a fetch within the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetch {
    place: usize,
    id: FetchId,
}

impl Lead {
    pub(crate) const fn fetch(&self) -> Fetch {
        Fetch { place: self.place, id: self.begun.id }
    }
}

impl Store {
    /// A store with these limits in all, parted into shards.
    pub(crate) fn new(
        settings: StoreSettings,
        seed: KeySeed,
        counters: &Arc<Counters>,
        log: Option<&DecisionLog>,
    ) -> Self {
        let shards = settings.shards();
        let each = StoreSettings { body_overhead_bytes: SharedBody::OVERHEAD_BYTES, ..settings.of_shard(shards) };
        let shard = |place| {
            let cache = decision_log::Shard::new(CacheShard::new(each, seed, Arc::clone(counters)), place, log);
            Mutex::new(Shard { counters: Arc::clone(counters), cache, flights: HashMap::new() })
        };
        Self { shards: (0..shards).map(shard).collect(), seed, each, wait_max: settings.wait_max }
    }

    /// Says in a log that begins what it is made of.
    pub(crate) fn begin_record(&self, log: &DecisionLog, parents: usize) {
        log.began(self.seed, self.shards.len(), &self.each, parents);
    }

    pub(crate) const fn seed(&self) -> KeySeed {
        self.seed
    }

    /// How long somebody waits for another's fetch.
    pub(crate) const fn wait_max(&self) -> Duration {
        self.wait_max
    }

    pub(crate) fn lookup(&self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Found {
        let place = key.shard(self.shards.len());
        let mut shard = self.lock(place);
        match shard.cache.lookup(now, key, request) {
            Lookup::Hit(served) => {
                // Under the lock: nobody can see in between that nobody wants it, or drop its first byte.
                let following = if served.complete { None } else { served.body.follow() };
                Found::Hit(served, following)
            }
            Lookup::Stale { served, refresh } => {
                let lead = refresh.map(|begun| shard.begin(place, begun));
                Found::Stale(served, lead)
            }
            Lookup::Parts(parts) => {
                // Under the lock, as above.
                let arriving = parts.runs.iter().filter_map(|run| match run {
                    Run::Arriving { body, within } => Some(follow_part(body, *within)),
                    Run::Stored { .. } | Run::Lacking(_) => None,
                });
                match arriving.collect() {
                    Some(followings) => Found::Parts(parts, followings),
                    None => Found::Alone(Reason::MissPart),
                }
            }
            Lookup::StaleOnError(served) => Found::StaleOnError(served),
            Lookup::StaleAccepted(served) => Found::StaleAccepted(served),
            Lookup::OnlyIfCached(reason) => Found::OnlyIfCached(reason),
            Lookup::Join(fetch) => match shard.flights.get(&fetch) {
                Some(flight) => Found::Join(Join {
                    again: flight.again.subscribe(),
                    place,
                    fetch,
                    _wants: Some(flight.object.body.subscribe()),
                }),
                None => Found::Alone(Reason::Internal),
            },
            Lookup::Fetch(begun) => Found::Lead(shard.begin(place, begun)),
            Lookup::Pass(reason) => Found::Alone(reason),
        }
    }

    /// A fetch for a response that is here already; see [`CacheShard::begin_for`].
    pub(crate) fn begin_for(&self, now: Instant, key: CacheKey, request: &RequestHead<'_>, reason: Reason) -> Lead {
        let place = key.shard(self.shards.len());
        let mut shard = self.lock(place);
        let begun = shard.cache.begin_for(now, key, request, reason);
        shard.begin(place, begun)
    }

    /// Removes all variants under a key; how many.
    pub(crate) fn forget(&self, key: CacheKey) -> u64 {
        self.lock(key.shard(self.shards.len())).cache.forget(key)
    }

    /// What the store would say, and nothing done about it.
    pub(crate) fn prospect(&self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Prospect {
        self.lock(key.shard(self.shards.len())).cache.cache().prospect(now, key, request)
    }

    /// A fresh response whose body is wholly here; begins nothing.
    pub(crate) fn hit(&self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Option<Response> {
        let served = self.lock(key.shard(self.shards.len())).cache.hit(now, key, request)?;
        (served.complete && served.body.body.sealed().is_some()).then_some(served)
    }

    /// Somebody does not wait any more.
    pub(crate) fn leave(&self, join: Join) {
        self.lock(join.place).cache.leave(join.fetch);
    }

    /// Somebody has waited for too long: wakes all who have.
    pub(crate) fn on_overdue(&self, now: Instant, join: &Join) {
        let mut shard = self.lock(join.place);
        for fetch in shard.cache.handle_timeout(now) {
            if let Some(flight) = shard.flights.get(&fetch) {
                flight.again.send_replace(Again::Ask);
            }
        }
    }

    /// The head of a storable response is there; see [`CacheShard::fetched`].
    pub(crate) fn fetched(&self, now: Instant, fetch: Fetch, storable: Storable<'_, Object>) -> Outcome<Object> {
        let complete = storable.complete;
        let mut shard = self.lock(fetch.place);
        let outcome = shard.cache.fetched(now, fetch.id, storable);
        if complete || matches!(outcome, Outcome::NotStored(_)) {
            shard.flights.remove(&fetch.id);
        } else if let Some(flight) = shard.flights.get(&fetch.id) {
            flight.again.send_replace(Again::Ask);
        }
        outcome
    }

    /// A fetch found its response on the disk tier; see [`CacheShard::restored`].
    pub(crate) fn restored(&self, now: Instant, fetch: Fetch, storable: Storable<'_, Object>) -> Outcome<Object> {
        self.resolve(fetch, |cache| cache.restored(now, fetch.id, storable))
    }

    /// A fetch found parts on the disk tier; see [`CacheShard::parts_restored`].
    pub(crate) fn parts_restored(&self, now: Instant, fetch: Fetch, restored: RestoredParts<'_, Object>) -> Growth {
        self.resolve(fetch, |cache| cache.parts_restored(now, fetch.id, restored))
    }

    pub(crate) fn refreshed(
        &self,
        now: Instant,
        fetch: Fetch,
        head: Arc<StoredHead>,
        lifetime: Lifetime,
    ) -> Outcome<Object> {
        self.resolve(fetch, |cache| cache.refreshed(now, fetch.id, head, lifetime))
    }

    pub(crate) fn uncacheable(&self, now: Instant, fetch: Fetch) {
        self.resolve(fetch, |cache| cache.uncacheable(now, fetch.id));
    }

    pub(crate) fn released(&self, fetch: Fetch) {
        self.resolve(fetch, |cache| cache.released(fetch.id));
    }

    /// The stale response that stands in for a failing origin. `None`: the fetch is still to be resolved.
    pub(crate) fn failed(&self, now: Instant, fetch: Fetch, error: FetchError) -> Option<Response> {
        let mut shard = self.lock(fetch.place);
        match shard.cache.failed(now, fetch.id, error) {
            Failed::Stale(served) => {
                shard.flights.remove(&fetch.id);
                Some(served)
            }
            Failed::Answer => None,
        }
    }

    pub(crate) fn grew(&self, fetch: Fetch, bytes: u64) -> Growth {
        self.lock(fetch.place).cache.grew(fetch.id, bytes)
    }

    pub(crate) fn completed(&self, fetch: Fetch, bytes: u64) -> Growth {
        self.resolve(fetch, |cache| cache.completed(fetch.id, bytes))
    }

    /// The head of a part is there; see [`CacheShard::part_begun`]. Where it is kept, those who wait can follow it.
    pub(crate) fn part_begun(&self, now: Instant, fetch: Fetch, part: StorablePart<'_, Object>) -> Growth {
        let mut shard = self.lock(fetch.place);
        let growth = shard.cache.part_begun(now, fetch.id, part);
        if growth == Growth::Kept
            && let Some(flight) = shard.flights.get(&fetch.id)
        {
            flight.again.send_replace(Again::Ask);
        }
        growth
    }

    pub(crate) fn part_completed(&self, fetch: Fetch) -> Growth {
        self.resolve(fetch, |cache| cache.part_completed(fetch.id))
    }

    /// What came is for whoever caused the fetch: it is resolved, and those who wait for it need not wait for one another.
    pub(crate) fn released_to_one(&self, fetch: Fetch) {
        let mut shard = self.lock(fetch.place);
        shard.cache.released(fetch.id);
        if let Some(flight) = shard.flights.remove(&fetch.id) {
            flight.again.send_replace(Again::Alone);
        }
    }

    pub(crate) fn aborted(&self, fetch: Fetch) {
        self.resolve(fetch, |cache| cache.aborted(fetch.id));
    }

    /// Gives a fetch up if still nobody wants it; whether it did. Nobody can begin to want it in between.
    pub(crate) fn abandon(&self, fetch: Fetch, object: &Object) -> bool {
        let mut shard = self.lock(fetch.place);
        let unwanted = !object.body.is_wanted();
        if unwanted {
            shard.cache.aborted(fetch.id);
            shard.flights.remove(&fetch.id);
        }
        unwanted
    }

    /// Removes what a pattern covers; how many.
    pub(crate) fn invalidate(&self, distribution: &str, pattern: &InvalidationPattern) -> u64 {
        (0..self.shards.len()).map(|place| self.lock(place).cache.invalidate(distribution, pattern)).sum()
    }

    /// What is stored under a path.
    pub(crate) fn reports(&self, now: Instant, distribution: &str, path: &str) -> Vec<EntryReport> {
        (0..self.shards.len())
            .flat_map(|place| self.lock(place).cache.cache().reports(now, distribution, path))
            .collect()
    }

    /// The same with every detail.
    pub(crate) fn details(&self, now: Instant, distribution: &str, path: &str) -> Vec<EntryDetail> {
        (0..self.shards.len())
            .flat_map(|place| self.lock(place).cache.cache().details(now, distribution, path))
            .collect()
    }

    fn resolve<T>(&self, fetch: Fetch, act: impl FnOnce(&mut decision_log::Shard) -> T) -> T {
        let mut shard = self.lock(fetch.place);
        let outcome = act(&mut shard.cache);
        shard.flights.remove(&fetch.id);
        outcome
    }

    fn lock(&self, place: usize) -> MutexGuard<'_, Shard> {
        // A panic under the lock is a defect of the machine, but its tables are never half changed across calls.
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn begin(&mut self, place: usize, begun: Begun<Object>) -> Lead {
        let object = Object::arriving(&self.counters);
        let wants = object.body.subscribe();
        self.flights.insert(begun.id, Flight { object: object.clone(), again: watch::Sender::new(Again::Ask) });
        Lead { begun, object, wants, place }
    }
}

/// A reader of some bytes of a part that is arriving.
fn follow_part(body: &Object, within: ByteRange) -> Option<Following> {
    let mut following = body.follow()?;
    following.reader.limit(within.first, within.length());
    Some(following)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
