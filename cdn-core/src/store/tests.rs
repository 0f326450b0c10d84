//! The store's machine, one fact per test.

mod model;
mod parts;

use http::{HeaderMap, HeaderName, StatusCode, header};
use proptest::prelude::*;

use super::*;
use crate::{
    distribution::{CheckedBehavior, Distribution},
    forward::Conditions,
    freshness::Lifetime,
    invalidation::InvalidationPattern,
    test_data,
    vary::Vary,
};

const SEED: KeySeed = KeySeed::new(1);

/// A shard with what it needs to be asked.
struct World {
    shard: CacheShard<&'static str>,
    distribution: Distribution,
    behavior: CheckedBehavior,
    counters: Arc<Counters>,
    now: Instant,
}

impl World {
    fn new(settings: StoreSettings) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            shard: CacheShard::new(settings, SEED, Arc::clone(&counters)),
            distribution: Distribution::new(test_data::distribution_spec()).unwrap(),
            behavior: test_data::behavior("CachingOptimized", "AllViewer"),
            counters,
            now: Instant::ZERO,
        }
    }

    fn advance(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }

    fn ask(&mut self, path: &str, headers: &HeaderMap) -> Lookup<&'static str> {
        self.ask_with(&Method::GET, path, headers)
    }

    fn ask_with(&mut self, method: &Method, path: &str, headers: &HeaderMap) -> Lookup<&'static str> {
        let request = RequestHead {
            distribution: &self.distribution,
            behavior: &self.behavior,
            method,
            host: "www.demo.test",
            path,
            query: None,
            headers,
        };
        let prospect = self.shard.prospect(self.now, request.key(SEED), &request);
        let found = self.shard.lookup(self.now, request.key(SEED), &request);
        assert!(foretells(&prospect, &found), "{prospect:?} {found:?}");
        found
    }

    fn get(&mut self, path: &str) -> Lookup<&'static str> {
        self.ask(path, &HeaderMap::new())
    }

    fn begin(&mut self, path: &str) -> Begun<&'static str> {
        begun(self.get(path))
    }

    fn store(&mut self, id: FetchId, body: &'static str, lifetime: Lifetime) -> Outcome<&'static str> {
        self.store_for(id, body, lifetime, &[], &HeaderMap::new())
    }

    fn store_for(
        &mut self,
        id: FetchId,
        body: &'static str,
        lifetime: Lifetime,
        vary: &[HeaderName],
        request: &HeaderMap,
    ) -> Outcome<&'static str> {
        let storable = Storable {
            head: head("\"a\""),
            body,
            bytes: body.len() as u64,
            complete: true,
            lifetime,
            vary: Vary::Names(vary.into()),
            request,
        };
        self.shard.fetched(self.now, id, storable)
    }

    /// Fetches and stores.
    fn fill(&mut self, path: &str, body: &'static str, lifetime: Lifetime) {
        let id = self.begin(path).id;
        assert!(matches!(self.store(id, body, lifetime), Outcome::Stored(_)));
    }

    fn invalidate(&mut self, pattern: &str) -> u64 {
        self.shard.invalidate("demo", &InvalidationPattern::parse(pattern).unwrap())
    }

    /// Sums over all entries must be what the shard says, and every chain must be whole.
    fn check(&self) {
        let reserved: u64 = self.shard.fetches.iter().map(|fetch| fetch.reserved).sum();
        let bytes = self.shard.entries.iter().map(|entry| entry.bytes).sum::<u64>() + reserved;
        assert_eq!(bytes, self.shard.bytes());
        assert!(bytes <= self.shard.settings.bytes_max, "{bytes}");
        assert_eq!(self.counters.value(Counter::EdgeStoreBytes), bytes);
        assert_eq!(self.counters.value(Counter::EdgeStoreObjects), self.shard.len() as u64);
        let mut chained = (0, 0);
        for object in self.shard.objects.values() {
            assert!(object.first_entry != NONE || object.first_fetch != NONE);
            let mut at = object.first_entry;
            while let Some(entry) = self.shard.entries.at(at) {
                chained.0 += 1;
                assert_eq!(entry.bytes, entry.cost(&self.shard.settings));
                at = entry.next;
            }
            let mut at = object.first_fetch;
            while let Some(fetch) = self.shard.fetches.at(at) {
                chained.1 += 1;
                at = fetch.next;
            }
        }
        assert_eq!(chained, (self.shard.entries.len(), self.shard.fetches.len()));
    }
}

/// Whether what was to be expected is what came.
fn foretells(prospect: &Prospect, found: &Lookup<&'static str>) -> bool {
    let reason = match found {
        Lookup::Hit(_) | Lookup::Parts(_) => Reason::Hit,
        Lookup::Stale { .. } => Reason::HitStaleWhileRevalidate,
        Lookup::StaleOnError(_) => Reason::HitStaleOnError,
        Lookup::StaleAccepted(_) => Reason::HitStaleAccepted,
        Lookup::OnlyIfCached(_) => Reason::OnlyIfCached,
        Lookup::Join(_) | Lookup::Pass(Reason::PassWaitersFull) => return prospect.waits,
        Lookup::Fetch(begun) => begun.reason,
        Lookup::Pass(reason) => *reason,
    };
    prospect.reason == reason && !prospect.waits
}

fn head(etag: &str) -> Arc<StoredHead> {
    let headers = HeaderMap::from_iter([(header::ETAG, etag.parse().unwrap())]);
    Arc::new(StoredHead::new(StatusCode::OK, headers))
}

fn language(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, text.parse().unwrap())])
}

fn lifetime(fresh: u64, while_revalidate: u64, if_error: u64) -> Lifetime {
    let [fresh_for, while_revalidate, if_error] = [fresh, while_revalidate, if_error].map(Duration::from_secs);
    Lifetime {
        initial_age: Duration::ZERO,
        fresh_for,
        while_revalidate,
        if_error,
        if_gone: if_error,
        retry_after: Duration::from_secs(10),
    }
}

#[track_caller]
fn begun(lookup: Lookup<&'static str>) -> Begun<&'static str> {
    match lookup {
        Lookup::Fetch(begun) => begun,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn hit(lookup: Lookup<&'static str>) -> Served<&'static str> {
    match lookup {
        Lookup::Hit(served) => served,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn joined(lookup: Lookup<&'static str>) -> FetchId {
    match lookup {
        Lookup::Join(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fresh_response_is_a_hit_that_ages() {
    let mut world = World::new(StoreSettings::default());
    let first = world.begin("/a");
    assert_eq!((first.reason, first.validators()), (Reason::MissAbsent, None));
    let aged = Lifetime { initial_age: Duration::from_secs(3), ..lifetime(60, 0, 0) };
    let Outcome::Stored(stored) = world.store(first.id, "body", aged) else { panic!() };
    assert_eq!((stored.age, stored.complete, stored.bytes), (Duration::from_secs(3), true, 4));
    world.advance(5);
    let served = hit(world.get("/a"));
    let [age, fresh_for] = [8, 55].map(Duration::from_secs);
    assert_eq!((served.body, served.age, served.fresh_for), ("body", age, fresh_for));
    world.check();
}

#[test]
fn requests_for_one_object_wait_for_one_fetch() {
    let mut world = World::new(StoreSettings::default());
    let id = world.begin("/a").id;
    for waiters in 1..=9 {
        assert_eq!(joined(world.get("/a")), id);
        assert_eq!(world.shard.waiters(id), waiters);
    }
    world.shard.leave(id);
    assert_eq!(world.shard.waiters(id), 8);
    begun(world.get("/b"));
    world.store(id, "body", lifetime(60, 0, 0));
    hit(world.get("/a"));
}

#[test]
fn requests_with_cookies_do_not_wait_and_do_not_revalidate() {
    let mut world = World::new(StoreSettings::default());
    let cookie = HeaderMap::from_iter([(header::COOKIE, "a=1".parse().unwrap())]);
    let first = begun(world.ask("/a", &cookie));
    let second = begun(world.ask("/a", &cookie));
    assert_ne!(first.id, second.id);
    world.store(first.id, "body", lifetime(1, 0, 0));
    world.advance(2);
    let third = begun(world.ask("/a", &cookie));
    assert!(third.stale.is_some() && third.validators().is_none());
}

#[test]
fn waiters_beyond_the_limit_pass_and_are_counted() {
    let mut world = World::new(StoreSettings { waiters_max: 2, ..StoreSettings::default() });
    world.begin("/a");
    joined(world.get("/a"));
    joined(world.get("/a"));
    assert!(matches!(world.get("/a"), Lookup::Pass(Reason::PassWaitersFull)));
    assert_eq!(world.counters.value(Counter::EdgeWaitersFull), 1);
}

#[test]
fn a_stale_response_is_confirmed_by_304_and_fresh_again() {
    let mut world = World::new(StoreSettings::default());
    world.fill("/a", "body", lifetime(10, 0, 0));
    world.advance(10);
    let again = world.begin("/a");
    assert_eq!(again.reason, Reason::MissExpired);
    assert_eq!(again.validators().unwrap().etag.as_ref().unwrap(), "\"a\"");
    assert_eq!(joined(world.get("/a")), again.id);
    let refreshed = world.shard.refreshed(world.now, again.id, head("\"a\""), lifetime(20, 0, 0));
    let Outcome::Stored(served) = refreshed else { panic!("{refreshed:?}") };
    assert_eq!((served.body, served.age, served.fresh_for), ("body", Duration::ZERO, Duration::from_secs(20)));
    hit(world.get("/a"));
    world.check();
}

#[test]
fn stale_while_revalidate_sends_at_once_and_refreshes_once() {
    let mut world = World::new(StoreSettings::default());
    world.fill("/a", "old", lifetime(10, 5, 0));
    world.advance(12);
    let Lookup::Stale { served, refresh: Some(refresh) } = world.get("/a") else { panic!() };
    assert_eq!((served.body, served.age, served.fresh_for), ("old", Duration::from_secs(12), Duration::ZERO));
    assert!(matches!(world.get("/a"), Lookup::Stale { refresh: None, .. }));
    let cookie = HeaderMap::from_iter([(header::COOKIE, "a=1".parse().unwrap())]);
    assert!(matches!(world.ask("/a", &cookie), Lookup::Stale { refresh: None, .. }));
    world.store(refresh.id, "new", lifetime(10, 5, 0));
    assert_eq!(hit(world.get("/a")).body, "new");
    world.advance(15);
    begun(world.get("/a"));
}

#[test]
fn stale_object_is_served_while_origin_is_down_and_the_origin_is_left_alone() {
    let mut world = World::new(StoreSettings::default());
    world.fill("/a", "old", lifetime(60, 0, 1000));
    world.advance(61);
    let refresh = world.begin("/a").id;
    let Failed::Stale(served) = world.shard.failed(world.now, refresh, FetchError::NoResponse) else { panic!() };
    assert_eq!(served.body, "old");
    world.advance(9);
    assert!(matches!(world.get("/a"), Lookup::StaleOnError(_)));
    world.advance(1);
    let again = world.begin("/a").id;
    let unavailable = FetchError::Status(StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(world.shard.failed(world.now, again, unavailable), Failed::Stale(_)));
    world.advance(2000);
    let late = world.begin("/a").id;
    assert!(matches!(world.shard.failed(world.now, late, FetchError::NoResponse), Failed::Answer));
    world.shard.uncacheable(world.now, late);
    world.check();
}

#[test]
fn a_4xx_on_refresh_and_stale_if_error_zero_reach_the_viewer() {
    let mut world = World::new(StoreSettings::default());
    world.fill("/a", "old", lifetime(1, 0, 100));
    world.fill("/b", "old", lifetime(1, 0, 0));
    world.advance(2);
    let id = world.begin("/a").id;
    let gone = FetchError::Status(StatusCode::GONE);
    assert!(matches!(world.shard.failed(world.now, id, gone), Failed::Answer));
    let id = world.begin("/b").id;
    assert!(matches!(world.shard.failed(world.now, id, FetchError::NoResponse), Failed::Answer));
}

#[test]
fn after_an_uncacheable_response_nobody_waits_for_a_while() {
    let mut world = World::new(StoreSettings::default());
    let id = world.begin("/a").id;
    joined(world.get("/a"));
    world.shard.uncacheable(world.now, id);
    let one = world.begin("/a");
    let other = world.begin("/a");
    assert_eq!(one.reason, Reason::MissUncacheable);
    assert_ne!(one.id, other.id);
    // It may be stored once it becomes cacheable.
    world.store(other.id, "body", lifetime(60, 0, 0));
    hit(world.get("/a"));
    world.shard.uncacheable(world.now, one.id);
    world.check();
    let id = world.begin("/b").id;
    world.shard.uncacheable(world.now, id);
    world.advance(60);
    world.begin("/b");
    joined(world.get("/b"));
}

#[test]
fn responses_that_are_stale_at_once_are_confirmed_by_each_request() {
    let mut world = World::new(StoreSettings::default());
    world.fill("/a", "body", lifetime(0, 0, 0));
    let one = world.begin("/a");
    let other = world.begin("/a");
    assert!(one.validators().is_some() && other.validators().is_some());
    for id in [one.id, other.id] {
        let refreshed = world.shard.refreshed(world.now, id, head("\"a\""), lifetime(0, 0, 0));
        assert!(matches!(refreshed, Outcome::Stored(_)));
    }
}

#[test]
fn variants_by_vary_live_side_by_side() {
    let mut world = World::new(StoreSettings { variants_max: 2, ..StoreSettings::default() });
    let names = [header::ACCEPT_LANGUAGE];
    for (text, body) in [("en", "hello"), ("fr", "salut")] {
        let id = begun(world.ask("/a", &language(text))).id;
        world.store_for(id, body, lifetime(60, 0, 0), &names, &language(text));
    }
    assert_eq!(hit(world.ask("/a", &language("en"))).body, "hello");
    assert_eq!(hit(world.ask("/a", &language("fr"))).body, "salut");
    // Now that the store knows what selects, requests of different variants do not wait for each other.
    let german = begun(world.ask("/a", &language("de"))).id;
    begun(world.ask("/a", &language("it")));
    assert_eq!(joined(world.ask("/a", &language("de"))), german);
    world.store_for(german, "hallo", lifetime(60, 0, 0), &names, &language("de"));
    assert_eq!(world.counters.value(Counter::EdgeVariantsFull), 1);
    assert!(matches!(world.ask("/a", &language("en")), Lookup::Fetch(_)), "the oldest had to go");
    world.check();
}

#[test]
fn vary_star_is_never_stored() {
    let mut world = World::new(StoreSettings::default());
    let id = world.begin("/a").id;
    let headers = HeaderMap::new();
    let storable = Storable {
        head: head("\"a\""),
        body: "x",
        bytes: 1,
        complete: true,
        lifetime: lifetime(60, 0, 0),
        vary: Vary::Any,
        request: &headers,
    };
    let outcome = world.shard.fetched(world.now, id, storable);
    assert!(matches!(outcome, Outcome::NotStored(NotStored::VaryAny)));
    begun(world.get("/a"));
}

#[test]
fn a_viewers_own_precondition_is_answered_for_it_alone() {
    let mut world = World::new(StoreSettings::default());
    let part = HeaderMap::from_iter([(header::RANGE, "bytes=5-9".parse().unwrap())]);
    let alone = begun(world.ask("/a", &part));
    assert!(matches!(alone.conditions(), Conditions::Viewer));
    let whole = world.begin("/a");
    assert!(matches!(whole.conditions(), Conditions::None));
    assert_eq!(joined(world.ask("/a", &part)), whole.id, "a part is cut from the whole that is on its way");
    world.shard.released(alone.id);
    world.store(whole.id, "0123456789", lifetime(1, 0, 0));
    hit(world.ask("/a", &part));
    world.advance(2);
    assert!(matches!(begun(world.ask("/a", &part)).conditions(), Conditions::Stored(_)));
}

#[test]
fn a_growing_response_is_a_hit_and_stays_only_when_complete() {
    let mut world = World::new(StoreSettings::default());
    for complete in [true, false] {
        let id = world.begin("/a").id;
        let headers = HeaderMap::new();
        let storable = Storable {
            head: head("\"a\""),
            body: "stream",
            bytes: 0,
            complete: false,
            lifetime: lifetime(60, 0, 0),
            vary: Vary::default(),
            request: &headers,
        };
        assert!(matches!(world.shard.fetched(world.now, id, storable), Outcome::Stored(_)));
        assert_eq!(world.shard.grew(id, 1000), Growth::Kept);
        let served = hit(world.get("/a"));
        assert_eq!((served.complete, served.bytes), (false, 1000));
        let state = world.shard.reports(world.now, "demo", "/a")[0].state;
        assert_eq!(state, EntryState::Arriving);
        world.check();
        if complete {
            assert_eq!(world.shard.completed(id, 1500), Growth::Kept);
            assert_eq!((hit(world.get("/a")).complete, hit(world.get("/a")).bytes), (true, 1500));
            assert_eq!(world.invalidate("/a"), 1);
        } else {
            world.shard.aborted(id);
            begun(world.get("/a"));
        }
        world.check();
    }
}

#[test]
fn a_response_that_grows_too_large_is_dropped_and_its_fetch_goes_on() {
    let mut world = World::new(StoreSettings { object_bytes_max: 100, ..StoreSettings::default() });
    let id = world.begin("/a").id;
    let headers = HeaderMap::new();
    let storable = |bytes| Storable {
        head: head("\"a\""),
        body: "stream",
        bytes,
        complete: false,
        lifetime: lifetime(60, 0, 0),
        vary: Vary::default(),
        request: &headers,
    };
    world.shard.fetched(world.now, id, storable(50));
    assert_eq!(world.shard.grew(id, 101), Growth::Dropped(NotStored::TooLarge));
    assert_eq!(world.shard.grew(id, 102), Growth::Dropped(NotStored::NoRoom));
    assert!(matches!(world.get("/a"), Lookup::Fetch(_)), "the old fetch cannot be joined any more");
    world.shard.completed(id, 103);
    let announced = world.begin("/b").id;
    let outcome = world.shard.fetched(world.now, announced, storable(101));
    assert!(matches!(outcome, Outcome::NotStored(NotStored::TooLarge)));
    assert_eq!(world.counters.value(Counter::EdgeObjectsTooLarge), 2);
    world.check();
}

#[test]
fn what_was_being_fetched_during_an_invalidation_is_not_stored() {
    let mut world = World::new(StoreSettings::default());
    world.fill("/b", "body", lifetime(60, 0, 0));
    let before = world.begin("/a").id;
    assert_eq!(world.invalidate("/*"), 1);
    let after = world.begin("/a").id;
    assert_ne!(before, after);
    let outcome = world.store(before, "old", lifetime(60, 0, 0));
    assert!(matches!(outcome, Outcome::NotStored(NotStored::Invalidated)));
    world.store(after, "new", lifetime(60, 0, 0));
    assert_eq!(hit(world.get("/a")).body, "new");
    assert_eq!(world.shard.invalidate("other", &InvalidationPattern::parse("/*").unwrap()), 0);
    // A 304 to a fetch that an invalidation overtook confirms nothing.
    world.advance(61);
    let refresh = world.begin("/a").id;
    assert_eq!(world.invalidate("/a"), 1);
    let outcome = world.shard.refreshed(world.now, refresh, head("\"a\""), lifetime(60, 0, 0));
    assert!(matches!(outcome, Outcome::NotStored(NotStored::Invalidated)));
    begun(world.get("/a"));
    world.check();
}

#[test]
fn invalidation_removes_all_variants_and_reaches_growing_bodies() {
    let mut world = World::new(StoreSettings::default());
    for text in ["en", "fr"] {
        let id = begun(world.ask("/a", &language(text))).id;
        world.store_for(id, text_of(text), lifetime(60, 0, 0), &[header::ACCEPT_LANGUAGE], &language(text));
    }
    let growing = world.begin("/ab").id;
    let headers = HeaderMap::new();
    let storable = Storable {
        head: head("\"a\""),
        body: "stream",
        bytes: 5,
        complete: false,
        lifetime: lifetime(60, 0, 0),
        vary: Vary::default(),
        request: &headers,
    };
    world.shard.fetched(world.now, growing, storable);
    assert_eq!(world.invalidate("/a*"), 3);
    assert_eq!(world.shard.completed(growing, 9), Growth::Dropped(NotStored::Invalidated));
    assert!(world.shard.is_empty());
    world.check();
}

fn text_of(text: &str) -> &'static str {
    if text == "en" { "hello" } else { "salut" }
}

#[test]
fn head_is_answered_from_a_get_but_never_the_other_way() {
    let mut world = World::new(StoreSettings::default());
    let none = HeaderMap::new();
    let id = begun(world.ask_with(&Method::HEAD, "/a", &none)).id;
    begun(world.get("/a"));
    world.store(id, "", lifetime(60, 0, 0));
    hit(world.ask_with(&Method::HEAD, "/a", &none));
    let get = joined(world.get("/a"));
    world.store(get, "body", lifetime(60, 0, 0));
    assert_eq!(hit(world.ask_with(&Method::HEAD, "/a", &none)).body, "body");
    assert_eq!((hit(world.get("/a")).body, world.shard.len()), ("body", 1));
}

#[test]
fn a_full_store_evicts_and_never_exceeds_its_bytes() {
    for eviction in EvictionPolicy::OF_STORES {
        let mut world = World::new(StoreSettings { bytes_max: 8_000, eviction, ..StoreSettings::default() });
        for n in 0..100 {
            world.fill(&format!("/{n}"), "0123456789", lifetime(60, 0, 0));
            world.check();
        }
        assert!(world.shard.len() > 5, "{}", world.shard.len());
        assert_eq!(world.counters.value(Counter::EdgeEvictions), 100 - world.shard.len() as u64);
        hit(world.get("/99"));
    }
}

#[test]
fn what_is_asked_for_once_is_shared_while_it_arrives_and_does_not_stay() {
    let mut world = World::new(StoreSettings { admission: AdmissionPolicy::SecondRequest, ..StoreSettings::default() });
    let headers = HeaderMap::new();
    let storable = || Storable {
        head: head("\"a\""),
        body: "stream",
        bytes: 6,
        complete: false,
        lifetime: lifetime(60, 0, 0),
        vary: Vary::default(),
        request: &headers,
    };
    let refused = |world: &World| world.counters.value(Counter::EdgeAdmissionsRefused);
    // Alone, whether it arrives at once or bit by bit.
    let id = world.begin("/whole").id;
    assert!(matches!(world.store(id, "", lifetime(60, 0, 0)), Outcome::NotStored(NotStored::NotAdmitted)));
    let id = world.begin("/bits").id;
    assert!(matches!(world.shard.fetched(world.now, id, storable()), Outcome::Arriving(_)));
    assert_eq!(world.shard.completed(id, 6), Growth::Dropped(NotStored::NotAdmitted));
    assert_eq!((refused(&world), world.shard.len(), world.shard.bytes()), (2, 0, 0));
    // The second request is admitted, after the first or while that is under way, before its head or after.
    for path in ["/whole", "/bits"] {
        world.fill(path, "body", lifetime(60, 0, 0));
        hit(world.get(path));
    }
    let id = world.begin("/before").id;
    assert_eq!(joined(world.get("/before")), id);
    assert!(matches!(world.shard.fetched(world.now, id, storable()), Outcome::Stored(_)));
    assert_eq!(world.shard.completed(id, 6), Growth::Kept);
    let id = world.begin("/after").id;
    assert!(matches!(world.shard.fetched(world.now, id, storable()), Outcome::Arriving(_)));
    assert!(!hit(world.get("/after")).complete);
    assert_eq!(world.shard.completed(id, 6), Growth::Kept);
    assert_eq!(refused(&world), 2);
    // What was stored is fetched anew without being asked for twice.
    world.advance(61);
    world.fill("/after", "new", lifetime(60, 0, 0));
    hit(world.get("/after"));
    world.check();
}

#[test]
fn waiters_of_an_overdue_fetch_are_named_and_the_next_one_fetches() {
    let mut world = World::new(StoreSettings::default());
    let id = world.begin("/a").id;
    assert_eq!(world.shard.poll_timeout(), None);
    joined(world.get("/a"));
    let due = world.shard.poll_timeout().unwrap();
    assert_eq!(due, Instant::ZERO + Duration::from_secs(60));
    assert!(world.shard.handle_timeout(world.now).is_empty());
    world.advance(60);
    assert_eq!(world.shard.handle_timeout(world.now), [id]);
    assert_ne!(begun(world.get("/a")).id, id);
    assert_eq!(world.shard.poll_timeout(), None);
}

#[test]
fn calls_for_a_fetch_that_is_resolved_do_nothing() {
    let mut world = World::new(StoreSettings::default());
    let id = world.begin("/a").id;
    world.shard.released(id);
    assert!(matches!(world.store(id, "x", lifetime(60, 0, 0)), Outcome::NotStored(NotStored::Unknown)));
    let refreshed = world.shard.refreshed(world.now, id, head("\"a\""), lifetime(1, 0, 0));
    assert!(matches!(refreshed, Outcome::NotStored(NotStored::Unknown)));
    assert!(matches!(world.shard.failed(world.now, id, FetchError::NoResponse), Failed::Answer));
    assert_eq!(world.shard.grew(id, 1), Growth::Dropped(NotStored::Unknown));
    world.shard.uncacheable(world.now, id);
    world.shard.aborted(id);
    world.shard.leave(id);
    assert!(world.shard.is_empty() && world.shard.objects.is_empty());
}

#[test]
fn reports_tell_state_age_and_bytes() {
    let mut world = World::new(StoreSettings::default());
    world.fill("/a", "body", lifetime(10, 5, 100));
    let id = world.begin("/b").id;
    world.shard.uncacheable(world.now, id);
    let state = |world: &World, path| world.shard.reports(world.now, "demo", path)[0].state;
    assert_eq!(state(&world, "/b"), EntryState::Unshared);
    assert_eq!(state(&world, "/a"), EntryState::Fresh);
    world.advance(12);
    assert_eq!(state(&world, "/a"), EntryState::StaleWhileRevalidate);
    world.advance(12);
    assert_eq!(state(&world, "/a"), EntryState::StaleIfError);
    world.advance(1000);
    let report = world.shard.reports(world.now, "demo", "/a").remove(0);
    assert_eq!((report.state, report.age.as_secs(), report.body_bytes), (EntryState::Stale, 1024, 4));
    let detail = world.shard.details(world.now, "demo", "/a").remove(0);
    let response = detail.response.unwrap();
    assert_eq!((detail.report, detail.head_only), (report.clone(), false));
    assert_eq!(response.lifetime.initial_age + response.resident, report.age);
    assert_eq!((response.head, response.origin_left_alone_for), (head("\"a\""), Duration::ZERO));
    assert!(world.shard.details(world.now, "demo", "/b")[0].response.is_none());
    assert!(world.shard.reports(world.now, "demo", "/").is_empty());
    assert!(world.shard.reports(world.now, "other", "/a").is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Ask { object: u8, variant: u8, head: bool, range: Option<u8> },
    Store { fetch: usize, bytes: u64, complete: bool, fresh: u64, vary: bool },
    Grow { fetch: usize, bytes: u64 },
    Complete { fetch: usize, bytes: u64 },
    Part { fetch: usize, range: (u64, u64), etag: bool },
    CompletePart(usize),
    Abort(usize),
    Refresh(usize),
    Uncacheable(usize),
    Fail(usize),
    Invalidate(u8),
    Sleep(u64),
    Timeout,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fetch = 0..8_usize;
    let step = prop_oneof![
        8 => (0..6_u8, 0..3_u8, any::<bool>(), proptest::option::of(0..4_u8))
            .prop_map(|(object, variant, head, range)| Step::Ask { object, variant, head, range }),
        4 => (fetch.clone(), 0..3_000_u64, 1..2_000_u64, any::<bool>())
            .prop_map(|(fetch, first, len, etag)| Step::Part { fetch, range: (first, first + len - 1), etag }),
        3 => fetch.clone().prop_map(Step::CompletePart),
        6 => (fetch.clone(), 0..3_000_u64, any::<bool>(), 0..20_u64, any::<bool>())
            .prop_map(|(fetch, bytes, complete, fresh, vary)| Step::Store { fetch, bytes, complete, fresh, vary }),
        2 => (fetch.clone(), 0..4_000_u64).prop_map(|(fetch, bytes)| Step::Grow { fetch, bytes }),
        2 => (fetch.clone(), 0..4_000_u64).prop_map(|(fetch, bytes)| Step::Complete { fetch, bytes }),
        1 => fetch.clone().prop_map(Step::Abort),
        2 => fetch.clone().prop_map(Step::Refresh),
        1 => fetch.clone().prop_map(Step::Uncacheable),
        2 => fetch.prop_map(Step::Fail),
        1 => (0..6_u8).prop_map(Step::Invalidate),
        2 => (0..30_u64).prop_map(Step::Sleep),
        1 => Just(Step::Timeout),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn sums_chains_and_limits_hold_whatever_happens(
        steps in steps(),
        eviction in proptest::sample::select(&EvictionPolicy::OF_STORES),
        admission in proptest::sample::select(&AdmissionPolicy::ALL),
    ) {
        let settings = StoreSettings {
            bytes_max: 6_000,
            object_bytes_max: 3_500,
            waiters_max: 2,
            variants_max: 2,
            parts_max: 3,
            wait_max: Duration::from_secs(20),
            eviction,
            admission,
            ..StoreSettings::default()
        };
        let mut world = World::new(settings);
        // Open fetches with the headers that began them.
        let mut open: Vec<(FetchId, HeaderMap)> = Vec::new();
        for step in steps {
            let pick = |at: usize| open.get(at).cloned();
            match step {
                Step::Ask { object, variant, head, range } => {
                    let method = if head { Method::HEAD } else { Method::GET };
                    let mut headers = language(&variant.to_string());
                    headers.extend(range.map(|at| (header::RANGE, format!("bytes={at}00-999").parse().unwrap())));
                    match world.ask_with(&method, &format!("/{object}"), &headers) {
                        Lookup::Fetch(begun) | Lookup::Stale { refresh: Some(begun), .. } => open.push((begun.id, headers)),
                        Lookup::Hit(served) => prop_assert!(!served.fresh_for.is_zero()),
                        _ => {}
                    }
                }
                Step::Store { fetch, bytes, complete, fresh, vary } => {
                    let Some((id, request)) = pick(fetch) else { continue };
                    let names: &[HeaderName] = if vary { &[header::ACCEPT_LANGUAGE] } else { &[] };
                    let storable = Storable {
                        head: head("\"a\""),
                        body: "x",
                        bytes,
                        complete,
                        lifetime: lifetime(fresh, 5, 10),
                        vary: Vary::Names(names.into()),
                        request: &request,
                    };
                    world.shard.fetched(world.now, id, storable);
                }
                Step::Grow { fetch, bytes } => drop(pick(fetch).map(|(id, _)| world.shard.grew(id, bytes))),
                Step::Complete { fetch, bytes } => drop(pick(fetch).map(|(id, _)| world.shard.completed(id, bytes))),
                Step::Part { fetch, range, etag } => {
                    let Some((id, _)) = pick(fetch) else { continue };
                    world.begin_part(id, range, if etag { "\"a\"" } else { "\"b\"" });
                }
                Step::CompletePart(fetch) => drop(pick(fetch).map(|(id, _)| world.shard.part_completed(id))),
                Step::Abort(fetch) => drop(pick(fetch).map(|(id, _)| world.shard.aborted(id))),
                Step::Refresh(fetch) => {
                    drop(pick(fetch).map(|(id, _)| world.shard.refreshed(world.now, id, head("\"b\""), lifetime(9, 5, 5))));
                }
                Step::Uncacheable(fetch) => drop(pick(fetch).map(|(id, _)| world.shard.uncacheable(world.now, id))),
                Step::Fail(fetch) => {
                    drop(pick(fetch).map(|(id, _)| world.shard.failed(world.now, id, FetchError::NoResponse)));
                }
                Step::Invalidate(object) => drop(world.invalidate(&format!("/{object}"))),
                Step::Sleep(secs) => world.advance(secs),
                Step::Timeout => drop(world.shard.handle_timeout(world.now)),
            }
            world.check();
            open.retain(|(id, _)| world.shard.fetches.get(id.0).is_some());
        }
        for (id, _) in open {
            world.shard.aborted(id);
        }
        prop_assert_eq!(world.shard.fetches.len(), 0);
        world.invalidate("/*");
        prop_assert!(world.shard.objects.is_empty());
        prop_assert_eq!(world.shard.bytes(), 0);
        prop_assert!(world.shard.eviction.victim().is_none());
    }
}

#[test]
fn head_brings_a_stored_response_up_to_date_or_makes_it_go() {
    for (etag, same) in [("\"a\"", true), ("\"b\"", false)] {
        let mut world = World::new(StoreSettings::default());
        world.fill("/a", "body", lifetime(1, 0, 0));
        world.advance(2);
        let begun = begun(world.ask_with(&Method::HEAD, "/a", &HeaderMap::new()));
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, etag.parse().unwrap());
        headers.insert("x-new", "1".parse().unwrap());
        let storable = Storable {
            head: Arc::new(StoredHead::new(StatusCode::OK, headers)),
            body: "",
            bytes: 0,
            complete: true,
            lifetime: lifetime(60, 0, 0),
            vary: Vary::default(),
            request: &HeaderMap::new(),
        };
        assert!(matches!(world.shard.fetched(world.now, begun.id, storable), Outcome::Stored(_)));
        world.check();
        match world.get("/a") {
            Lookup::Hit(served) if same => {
                assert_eq!((served.body, served.head.first(&"x-new".parse().unwrap())), ("body", Some(&b"1"[..])));
            }
            Lookup::Fetch(_) if !same => {}
            other => panic!("{other:?}"),
        }
        hit(world.ask_with(&Method::HEAD, "/a", &HeaderMap::new()));
    }
}
