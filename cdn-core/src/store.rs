//! The store of one shard of an edge: what is kept, who fetches, who waits.
//!
//! Decides for each request whether a stored response answers it, whether it is the one that fetches, or whether it
//! waits for another's fetch. Bounded by bytes. Knows no socket and no body: `B` is whatever the shell keeps of a body,
//! and cloning it must be cheap.

pub mod admission;
mod entry;
mod fetch;
mod head;
mod inspect;
mod parts;
mod parts_store;
mod resolve;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use http::Method;

pub(crate) use self::parts::{Piece, runs};
use self::{
    admission::{Admission, AdmissionPolicy},
    entry::{Content, Entry, Response, Selector, Standing},
    fetch::{Asks, Fetch},
    slots::{NONE, Slots},
};
pub use self::{
    entry::{ALLOCATION_BYTES, Found, Served, Storable},
    fetch::{Begun, FetchError, FetchId},
    head::StoredHead,
    inspect::{EntryDetail, EntryReport, EntryState, Medium, Prospect, ResponseDetail},
    parts::Run,
    parts_store::{Lacking, RestoredParts, ServedParts, StorablePart},
    resolve::{Failed, Growth, NotStored, Outcome},
};
use crate::{
    Counter, Counters, Instant, Reason,
    cache_key::{CacheKey, KeySeed, RequestHead},
    conditional::Validators,
    eviction::{Eviction, EvictionPolicy},
    request_control::RequestControl,
    vary::Vary,
};

/// The limits of one shard. Each has a counter that moves when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Bytes of bodies, headers and bookkeeping. When full, the eviction policy makes room (`edge_evictions_total`).
    /// Default 256 MiB.
    pub bytes_max: u64,
    /// Bytes that the shell holds for each body beside its own bytes. Default 0.
    pub body_overhead_bytes: u64,
    /// The largest body that is stored (`edge_objects_too_large_total`). Default 64 MiB.
    pub object_bytes_max: u64,
    /// Requests that may wait for one fetch (`edge_waiters_full_total`). Default 10,000.
    pub waiters_max: u32,
    /// Responses under one key that differ by `Vary`; the oldest goes (`edge_variants_full_total`). Default 64.
    pub variants_max: usize,
    /// Pieces that are kept of an object of which only ranges were asked for; the oldest goes
    /// (`edge_parts_full_total`). Default 256.
    pub parts_max: usize,
    /// How long a request may wait for another's fetch before somebody else tries (`edge_fetches_overdue_total`).
    /// Default 60 s: longer than three connects of 10 s to a silent primary and a response from the secondary.
    pub wait_max: Duration,
    /// For how long requests do not wait for each other after a response that could not be shared. Default 60 s.
    pub unshared_for: Duration,
    /// Who goes when the store is full. Default SIEVE.
    pub eviction: EvictionPolicy,
    /// Which responses stay once they have arrived (`edge_admissions_refused_total`). Default all.
    pub admission: AdmissionPolicy,
    /// Keys that the admission rule remembers at least, where it remembers any (`edge_admissions_forgotten_total`); 2.5
    /// bytes each. Default 131,072.
    pub admission_keys_max: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            body_overhead_bytes: 0,
            object_bytes_max: 64 << 20,
            waiters_max: 10_000,
            variants_max: 64,
            parts_max: 256,
            wait_max: Duration::from_secs(60),
            unshared_for: Duration::from_secs(60),
            eviction: EvictionPolicy::default(),
            admission: AdmissionPolicy::default(),
            admission_keys_max: 1 << 17,
        }
    }
}

/// Shards of one store at most.
const SHARDS_MAX: u64 = 16;

impl StoreSettings {
    /// How many shards a store with these limits is parted into: as many as leave each room for a few of the largest
    /// objects.
    pub fn shards(&self) -> usize {
        (self.bytes_max / self.object_bytes_max.max(1) / 8).clamp(1, SHARDS_MAX) as usize
    }

    /// The limits of each of so many shards.
    #[must_use]
    pub const fn of_shard(&self, shards: usize) -> Self {
        let shards = if shards == 0 { 1 } else { shards };
        Self {
            bytes_max: self.bytes_max / shards as u64,
            admission_keys_max: self.admission_keys_max.div_ceil(shards),
            ..*self
        }
    }
}

/// What the store says to a request.
#[derive(Clone, Debug)]
pub enum Lookup<B> {
    /// A fresh response. Its body may still be arriving.
    Hit(Served<B>),
    /// A stale response that may be sent at once. `refresh` is yours to carry out; `None` where somebody is at it.
    Stale {
        /// The response.
        served: Served<B>,
        /// A fetch that this request has begun, to be resolved in the background.
        refresh: Option<Begun<B>>,
    },
    /// Fresh parts of a response, which make up what is wanted of it.
    Parts(ServedParts<B>),
    /// A stale response that stands in for an origin that failed a moment ago.
    StaleOnError(Served<B>),
    /// A stale response that the request itself accepts (`max-stale`).
    StaleAccepted(Served<B>),
    /// Somebody is fetching it. When that fetch is resolved, or its head is stored, ask again.
    Join(FetchId),
    /// You fetch it, and must resolve the fetch whatever happens.
    Fetch(Begun<B>),
    /// Ask the origin for this request alone; nothing is stored.
    Pass(Reason),
    /// Nothing stored is good enough, and this is why, and the request wants nothing else (`only-if-cached`): 504.
    OnlyIfCached(Reason),
}

/// One shard of the store.
///
/// Calling order: [`lookup`](Self::lookup); where that begins a fetch ([`Begun`]), exactly one of
/// [`fetched`](Self::fetched), [`refreshed`](Self::refreshed), [`uncacheable`](Self::uncacheable) and
/// [`released`](Self::released) resolves it, or for a part [`part_begun`](Self::part_begun) and
/// [`part_completed`](Self::part_completed). Before that, [`failed`](Self::failed) says whether a stale response stands
/// in. A body that is not complete when its head is stored goes on with [`grew`](Self::grew) and ends with
/// [`completed`](Self::completed) or [`aborted`](Self::aborted). After each of these the shell wakes whoever joined the
/// fetch, and they look up again. [`poll_timeout`](Self::poll_timeout) says when
/// [`handle_timeout`](Self::handle_timeout) wants to be called.
#[derive(Debug)]
pub struct CacheShard<B> {
    settings: StoreSettings,
    seed: KeySeed,
    counters: Arc<Counters>,
    objects: HashMap<CacheKey, Object, BuildHasherDefault<KeyHasher>>,
    entries: Slots<Entry<B>>,
    fetches: Slots<Fetch>,
    eviction: Box<dyn Eviction>,
    admission: Admission,
    /// The sum of all entries' bytes.
    bytes: u64,
}

/// What is known under one key: two chains through the slots, newest first. Neither is empty in both.
#[derive(Clone, Copy, Debug)]
struct Object {
    first_entry: u32,
    first_fetch: u32,
}

impl Object {
    const EMPTY: Self = Self { first_entry: NONE, first_fetch: NONE };
}

impl<B: Clone> CacheShard<B> {
    /// An empty shard. All shards of a node share `seed` and `counters`. One object gets at most half of the bytes, so
    /// that it cannot push everything else out.
    pub fn new(settings: StoreSettings, seed: KeySeed, counters: Arc<Counters>) -> Self {
        let object_bytes_max = settings.object_bytes_max.min(settings.bytes_max / 2);
        Self {
            settings: StoreSettings { object_bytes_max, ..settings },
            seed,
            counters,
            objects: HashMap::default(),
            entries: Slots::default(),
            fetches: Slots::default(),
            eviction: settings.eviction.build(settings.bytes_max),
            admission: Admission::new(settings.admission, settings.admission_keys_max),
            bytes: 0,
        }
    }

    /// Its limits.
    pub const fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// Bytes in use, as [`StoreSettings::bytes_max`] counts them.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many responses are stored, variants and markers counted one by one.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is stored.
    pub const fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// The response that is stored and fresh, if there is one; its body may still be arriving. Begins nothing: what this
    /// does not answer, [`lookup`](Self::lookup) does. Allocates nothing.
    pub fn hit(&mut self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Option<Served<B>> {
        self.fresh(now, key, request).map(|response| response.serve(now))
    }

    /// The same hit for whoever takes nothing along.
    pub fn find(&mut self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Option<Found<'_, B>> {
        self.fresh(now, key, request).map(|response| Found { body: &response.body, bytes: response.body_bytes })
    }

    /// The fresh response that answers a request, which counts as a hit on it.
    fn fresh(&mut self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Option<&Response<B>> {
        let at = self.select(*self.objects.get(&key)?, request);
        let entry = self.entries.at_mut(at)?;
        let Content::Response(response) = &entry.content else { return None };
        if !response.is_hit(now, &request.control()) {
            return None;
        }
        entry.last_hit = now;
        if response.is_complete() {
            self.eviction.on_hit(at);
        } else if let Some(fetch) = response.fetch.and_then(|fetch| self.fetches.get_mut(fetch)) {
            fetch.admitted = true;
        }
        Some(response)
    }

    /// Where the newest response under a key lies until something else is done with it, for
    /// [`prefetch_rest`](Self::prefetch_rest); memory is asked for its beginning.
    pub fn prefetch(&self, key: CacheKey) -> Option<u32> {
        let slot = self.objects.get(&key)?.first_entry;
        self.entries.prefetch(slot);
        Some(slot)
    }

    /// Asks memory for whatever else a hit on the response in a slot needs, once its beginning is there. For whoever knows
    /// many keys that are asked for next: first all beginnings, then all rests.
    pub fn prefetch_rest(&self, slot: u32) {
        if let Some(entry) = self.entries.at(slot) {
            entry.prefetch();
        }
        std::hint::black_box(self.eviction.touch(slot));
    }

    /// Asks for a request whose method is cacheable ([`crate::distribution::CheckedBehavior::method_class`]) under its
    /// key. A hit allocates nothing.
    pub fn lookup(&mut self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Lookup<B> {
        if let Some(served) = self.hit(now, key, request) {
            return Lookup::Hit(served);
        }
        let control = request.control();
        let object = self.objects.get(&key).copied().unwrap_or(Object::EMPTY);
        let at = self.select(object, request);
        let Some(entry) = self.entries.at_mut(at) else {
            return self.ask(now, key, request, &control, Wanted::new(Reason::MissAbsent));
        };
        let response = match &mut entry.content {
            Content::Response(response) => response,
            Content::Unshared { until } => {
                if now < *until {
                    let wanted = Wanted { alone: true, ..Wanted::new(Reason::MissUncacheable) };
                    return self.ask(now, key, request, &control, wanted);
                }
                self.remove(at);
                return self.ask(now, key, request, &control, Wanted::new(Reason::MissAbsent));
            }
            Content::Parts(_) => return self.look_up_parts(now, key, request, &control, at),
        };
        let served = response.serve(now);
        let standing = response.standing(now, &control);
        if standing == Standing::StaleArriving {
            return self.ask(now, key, request, &control, Wanted::new(standing.miss()));
        }
        let (alone, is_error) = (!response.shareable(), response.is_error());
        entry.last_hit = now;
        if response.is_complete() {
            self.eviction.on_hit(at);
        } else if let Some(fetch) = response.fetch.and_then(|fetch| self.fetches.get_mut(fetch)) {
            fetch.admitted = true;
        }
        match standing {
            Standing::Accepted => return Lookup::StaleAccepted(served),
            Standing::StandsIn => return Lookup::StaleOnError(served),
            _ => {}
        }
        let wanted = Wanted {
            reason: standing.miss(),
            alone,
            stale: (!is_error).then(|| (self.entries.id(at), served.clone())),
            lacking: None,
        };
        if standing == Standing::Refreshable {
            let refresh = match self.refreshing(now, object, at) {
                true => None,
                false => {
                    let asks = wanted.asks(request);
                    let alone = alone || !request.collapses();
                    Some(self.begin(now, key, request, Wanted { alone, ..wanted }, asks))
                }
            };
            return Lookup::Stale { served, refresh };
        }
        self.ask(now, key, request, &control, wanted)
    }

    /// A request that joined a fetch does not wait any more.
    pub fn leave(&mut self, fetch: FetchId) {
        if let Some(fetch) = self.fetches.get_mut(fetch.0) {
            fetch.waiters = fetch.waiters.saturating_sub(1);
        }
    }

    /// How many requests wait for a fetch: a fetch that nobody waits for may be given up with its viewer.
    pub fn waiters(&self, fetch: FetchId) -> u32 {
        self.fetches.get(fetch.0).map_or(0, |fetch| fetch.waiters)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.fetches.iter().filter(|fetch| fetch.waiters > 0).map(|fetch| fetch.join_until).min()
    }

    /// Names the fetches whose waiters have waited long enough: wake them, and the first that asks again fetches.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<FetchId> {
        let mut overdue = Vec::new();
        for at in 0..self.fetches.capacity() {
            let Some(id) = self.fetches.id(at) else { continue };
            let Some(fetch) = self.fetches.get_mut(id) else { continue };
            if fetch.waiters > 0 && fetch.join_until <= now {
                fetch.waiters = 0;
                overdue.push(FetchId(id));
            }
        }
        self.counters.add(Counter::EdgeFetchesOverdue, overdue.len() as u64);
        overdue
    }

    /// The slot of the newest entry that this request selects, or [`NONE`].
    fn select(&self, object: Object, request: &RequestHead<'_>) -> u32 {
        let head = *request.method == Method::HEAD;
        let mut at = object.first_entry;
        // Variants nearly always differ by the same headers, so one hash does for the whole chain.
        let mut hashed: Option<(&Vary, Option<u128>)> = None;
        while let Some(entry) = self.entries.at(at) {
            let selected = match entry.selector.as_deref() {
                None => true,
                Some(Selector { vary, variant: wanted }) => {
                    let variant = match hashed {
                        Some((same, variant)) if same == vary => variant,
                        _ => vary.variant(self.seed, request.headers),
                    };
                    hashed = Some((vary, variant));
                    variant.is_some() && variant == *wanted
                }
            };
            if selected && (head || !entry.head_only) {
                return at;
            }
            at = entry.next;
        }
        NONE
    }

    /// A fetch of this object that the request may wait for.
    fn in_flight(&self, now: Instant, object: Object, request: &RequestHead<'_>, asks: &Asks) -> Option<u32> {
        let mut at = object.first_fetch;
        while let Some(fetch) = self.fetches.at(at) {
            if fetch.joinable_by(now, self.seed, request, asks) {
                return Some(at);
            }
            at = fetch.next;
        }
        None
    }

    /// Whether somebody is refreshing the entry in this slot.
    fn refreshing(&self, now: Instant, object: Object, entry: u32) -> bool {
        let entry = self.entries.id(entry);
        let mut at = object.first_fetch;
        while let Some(fetch) = self.fetches.at(at) {
            if fetch.stale_entry == entry && !fetch.invalidated && now < fetch.join_until {
                return true;
            }
            at = fetch.next;
        }
        false
    }

    /// Begins a fetch for a response that is there already, or may be on the disk tier: to a POST that says that it is its
    /// target's own (RFC 9110 section 9.3.3), or for a request that wants nobody asked. `request` is the GET that it will
    /// answer, `reason` why. To be resolved as any other; nobody joins it.
    pub fn begin_for(&mut self, now: Instant, key: CacheKey, request: &RequestHead<'_>, reason: Reason) -> Begun<B> {
        let wanted = Wanted { alone: true, ..Wanted::new(reason) };
        let asks = wanted.asks(request);
        self.begin(now, key, request, wanted, asks)
    }

    /// Where the store has nothing to send: who asks the origin, if the request wants it asked.
    fn ask(
        &mut self,
        now: Instant,
        key: CacheKey,
        request: &RequestHead<'_>,
        control: &RequestControl,
        wanted: Wanted<B>,
    ) -> Lookup<B> {
        if control.only_if_cached {
            return Lookup::OnlyIfCached(wanted.reason);
        }
        if control.no_store {
            return Lookup::Pass(Reason::PassNoStore);
        }
        let asks = wanted.asks(request);
        if wanted.alone || !request.collapses() {
            return Lookup::Fetch(self.begin(now, key, request, Wanted { alone: true, ..wanted }, asks));
        }
        let object = self.objects.get(&key).copied().unwrap_or(Object::EMPTY);
        let waiters_max = self.settings.waiters_max;
        match self.in_flight(now, object, request, &asks) {
            None => Lookup::Fetch(self.begin(now, key, request, wanted, asks)),
            Some(at) => match self.fetches.at_mut(at) {
                Some(fetch) if fetch.waiters < waiters_max => {
                    fetch.waiters += 1;
                    fetch.admitted = true;
                    self.fetches.id(at).map_or(Lookup::Pass(Reason::Internal), |id| Lookup::Join(FetchId(id)))
                }
                _ => {
                    self.counters.bump(Counter::EdgeWaitersFull);
                    Lookup::Pass(Reason::PassWaitersFull)
                }
            },
        }
    }

    /// Begins a fetch that `asks` for what is [wanted](Wanted::asks).
    fn begin(
        &mut self,
        now: Instant,
        key: CacheKey,
        request: &RequestHead<'_>,
        wanted: Wanted<B>,
        asks: Asks,
    ) -> Begun<B> {
        let object = self.objects.entry(key).or_insert(Object::EMPTY);
        // What is known of this object's variants tells which other requests this fetch will serve.
        let vary = self.entries.at(object.first_entry).map(Entry::vary).unwrap_or_default();
        // Where something is stored, or arriving, it was asked for before.
        let admitted = self.admission.on_request(key, &self.counters) || object.first_entry != NONE;
        let part = asks != Asks::Whole;
        let (stale_entry, stale) = wanted.stale.map_or((None, None), |(id, served)| (id, Some(served)));
        let id = self.fetches.insert(Fetch {
            key,
            next: object.first_fetch,
            distribution: Arc::clone(request.distribution.id()),
            uri: request.uri().into(),
            // What answers this viewer's own preconditions may answer nobody else.
            joinable: !wanted.alone && asks != Asks::Own,
            asks,
            join_until: now + self.settings.wait_max,
            head_only: *request.method == Method::HEAD,
            variant: vary.variant(self.seed, request.headers),
            vary,
            stale_entry,
            entry: None,
            part_of: None,
            reserved: 0,
            invalidated: false,
            admitted,
            waiters: 0,
        });
        object.first_fetch = id.index;
        let validators = validators_of(stale.as_ref(), request);
        let (reason, lacking) = (wanted.reason, wanted.lacking);
        Begun { id: FetchId(id), reason, stale, validators, part, lacking }
    }
}

/// Why somebody has to ask the origin, and what is there already.
struct Wanted<B> {
    reason: Reason,
    /// Nobody may wait for this fetch.
    alone: bool,
    stale: Option<(Option<slots::SlotId>, Served<B>)>,
    /// What of the answer is stored.
    lacking: Option<Lacking<B>>,
}

impl<B> Wanted<B> {
    const fn new(reason: Reason) -> Self {
        Self { reason, alone: false, stale: None, lacking: None }
    }

    /// What the fetch will ask for.
    fn asks(&self, request: &RequestHead<'_>) -> Asks {
        let stale = self.stale.as_ref().map(|(_, served)| served);
        match &self.lacking {
            Some(lacking) => Asks::Stretch(lacking.range),
            None if validators_of(stale, request).is_some() => Asks::Whole,
            None => Asks::of(request),
        }
    }
}

/// What a 304 would confirm of a stale response.
fn validators_of<B>(stale: Option<&Served<B>>, request: &RequestHead<'_>) -> Option<Validators> {
    let confirmable = stale.filter(|_| request.revalidates());
    confirmable.map(|stale| stale.head.validators()).filter(|validators| !validators.is_empty())
}

/// Takes what keys hash to, or what was made from keys, as it is: a key is a keyed hash already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }
}
