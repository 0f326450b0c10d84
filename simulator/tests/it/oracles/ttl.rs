//! A cache whose responses expire, with requests by chance: the store and the freshness rules of an edge, asked in
//! virtual time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cdn_core::{
    Counters, Instant, WallTime,
    cache_key::{KeySeed, RequestHead},
    distribution::{Behavior, CachePolicy, Distribution, DistributionSpec, Origin},
    freshness::{Arrival, ERROR_CACHING_MIN_TTL, Lifetime, Said, Storing, assess},
    policies,
    store::{CacheShard, FetchId, Lookup, Outcome, Storable, StoreSettings, StoredHead},
    vary::Vary,
};
use http::{HeaderMap, Method, StatusCode, header};
use rand::distr::Distribution as _;
use world::{chance::Exp1, stream, workload::Zipf};

use super::close;

const SEED: KeySeed = KeySeed::new(1);

/// One shard of an edge before an origin that answers everything after the same time.
struct Edge {
    shard: CacheShard<()>,
    distribution: Distribution,
    policy: CachePolicy,
    /// What viewers send.
    request: HeaderMap,
    /// What the origin sends.
    response: HeaderMap,
    fetch_time: Duration,
    /// Fetches under way, by when they end; the second number keeps those apart that end at once.
    under_way: BTreeMap<(Instant, u64), (FetchId, Instant)>,
    fetches: u64,
    hits: u64,
    joined: u64,
}

impl Edge {
    fn new(ttl: Duration, fetch_time: Duration) -> Self {
        let policy = policies::cache_policy("CachingOptimized").unwrap();
        let behavior = Behavior {
            compress: false,
            origin_request_policy: policies::origin_request_policy("AllViewer").unwrap(),
            ..Behavior::new("app", policy.clone())
        };
        let origins = BTreeMap::from([("app".to_owned(), Origin::new("app.test"))]);
        let spec = DistributionSpec {
            aliases: vec!["www.demo.test".to_owned()],
            ..DistributionSpec::new("demo", origins, behavior)
        };
        let max_age = format!("max-age={}", ttl.as_secs()).parse().unwrap();
        Self {
            shard: CacheShard::new(StoreSettings::default(), SEED, Arc::new(Counters::default())),
            distribution: Distribution::new(spec).unwrap(),
            policy,
            request: HeaderMap::new(),
            response: HeaderMap::from_iter([(header::CACHE_CONTROL, max_age)]),
            fetch_time,
            under_way: BTreeMap::new(),
            fetches: 0,
            hits: 0,
            joined: 0,
        }
    }

    /// A viewer asks; what has arrived by then is stored first.
    fn ask(&mut self, now: Instant, path: &str) {
        self.arrive(now);
        let request = RequestHead {
            distribution: &self.distribution,
            behavior: self.distribution.behavior_for(path),
            method: &Method::GET,
            host: "www.demo.test",
            path,
            query: None,
            headers: &self.request,
        };
        match self.shard.lookup(now, request.key(SEED), &request) {
            Lookup::Hit(_) => self.hits += 1,
            Lookup::Join(_) => self.joined += 1,
            Lookup::Fetch(begun) => {
                self.fetches += 1;
                self.under_way.insert((now + self.fetch_time, self.fetches), (begun.id, now));
                self.arrive(now);
            }
            other => panic!("{path} at {now:?}: {other:?}"),
        }
    }

    fn arrive(&mut self, now: Instant) {
        while let Some(first) = self.under_way.first_entry().filter(|first| first.key().0 <= now) {
            let ((responded_at, _), (id, requested_at)) = first.remove_entry();
            let storable = Storable {
                head: Arc::new(StoredHead::new(StatusCode::OK, self.response.clone())),
                body: (),
                bytes: 1,
                complete: true,
                lifetime: self.lifetime(requested_at, responded_at),
                vary: Vary::default(),
                request: &self.request,
            };
            assert!(matches!(self.shard.fetched(responded_at, id, storable), Outcome::Stored(_)));
        }
    }

    fn lifetime(&self, requested_at: Instant, responded_at: Instant) -> Lifetime {
        let storing = assess(&Arrival {
            status: StatusCode::OK,
            said: &Said::of(&self.response, self.policy.rules),
            vary: &Vary::default(),
            requested_at,
            responded_at,
            date: WallTime::from_unix_secs(1_800_000_000),
            policy: &self.policy,
            error_ttl_min: ERROR_CACHING_MIN_TTL,
            authorized: false,
        });
        match storing {
            Storing::Store(lifetime) => lifetime,
            Storing::Refuse(refusal) => panic!("{refusal:?}"),
        }
    }
}

/// When requests come by chance at a rate per second, for so many seconds.
fn arrivals(name: &str, rate: f64, secs: f64) -> impl Iterator<Item = Instant> {
    let (mut rng, mut now) = (stream(1, &["oracle", name]), 0.0);
    std::iter::from_fn(move || {
        now += Exp1.sample(&mut rng) / rate;
        (now < secs).then(|| Instant::ZERO + Duration::from_secs_f64(now))
    })
}

#[test]
fn one_object_hits_as_often_as_its_rate_and_its_time_to_live_say() {
    for (rate, ttl_secs) in [(1.0, 20.0), (0.2, 5.0), (5.0, 20.0)] {
        let expected = rate * ttl_secs / (1.0 + rate * ttl_secs);
        if rate * ttl_secs == 20.0 {
            close("the formula", expected, 0.9524, 0.000_05);
        }
        let mut edge = Edge::new(Duration::from_secs_f64(ttl_secs), Duration::ZERO);
        arrivals("ttl", rate, 40_000.0 / rate).for_each(|now| edge.ask(now, "/a"));
        close("hits", edge.hits as f64 / (edge.hits + edge.fetches) as f64, expected, 0.005);
    }
}

#[test]
fn a_warm_cache_asks_the_origin_as_often_as_the_sum_over_its_objects_says() {
    const RATE: f64 = 50.0;
    const TTL_SECS: u64 = 10;
    const SECS: f64 = 2_000.0;
    let zipf = Zipf::new(300, 1.0);
    let asked = |share: f64| share * RATE / (1.0 + share * RATE * TTL_SECS as f64);
    let expected: f64 = zipf.shares().map(asked).sum();
    let mut edge = Edge::new(Duration::from_secs(TTL_SECS), Duration::ZERO);
    let mut rng = stream(1, &["oracle", "objects"]);
    let paths: Vec<String> = (0..zipf.objects()).map(|object| format!("/{object}")).collect();
    let warm = Instant::ZERO + Duration::from_secs(100);
    let mut cold_fetches = 0;
    for now in arrivals("catalogue", RATE, SECS + 100.0) {
        if now < warm {
            cold_fetches = edge.fetches + 1;
        }
        edge.ask(now, &paths[zipf.draw(&mut rng) as usize]);
    }
    let got = (edge.fetches - cold_fetches) as f64 / SECS;
    close("fetches per second", got / expected, 1.0, 0.02);
}

#[test]
fn an_expiry_costs_one_fetch_with_collapsing_and_a_fetch_time_of_requests_without() {
    const RATE: f64 = 10.0;
    const FETCH_SECS: f64 = 3.0;
    const TTL_SECS: f64 = 20.0;
    const SECS: f64 = 12_000.0;
    let without = 1.0 + RATE * FETCH_SECS;
    close("the formula", without, 31.0, 1e-9);
    for (collapses, expected) in [(true, 1.0), (false, without)] {
        let mut edge = Edge::new(Duration::from_secs_f64(TTL_SECS), Duration::from_secs_f64(FETCH_SECS));
        if !collapses {
            // Requests whose cookies go to the origin do not wait for each other.
            edge.request.insert(header::COOKIE, "a=b".parse().unwrap());
        }
        let (mut expiries, mut fetching_until) = (0_u32, Instant::ZERO);
        for now in arrivals("collapsing", RATE, SECS) {
            let fetches = edge.fetches;
            edge.ask(now, "/a");
            // The first fetch after an expiry; those that follow while it is under way are of the same.
            if edge.fetches > fetches && now >= fetching_until {
                expiries += 1;
                fetching_until = now + Duration::from_secs_f64(FETCH_SECS);
            }
        }
        let got = edge.fetches as f64 / f64::from(expiries);
        close("fetches per expiry", got / expected, 1.0, if collapses { 0.0 } else { 0.03 });
        assert_eq!(edge.joined > 0, collapses);
    }
}
