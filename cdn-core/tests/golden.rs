//! Published exchanges with CloudFront, played on the machines of this crate by a small edge without sockets.
//!
//! The edge below is also the shortest description of the order in which a shell calls these modules.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use cdn_core::{
    Counters, Instant, WallTime,
    cache_key::{KeySeed, RequestHead},
    distribution::{Behavior, CheckedBehavior, Distribution, DistributionSpec, Origin, Selection},
    forward::{
        Conditions, Dress, Facts, Forward, Viewer, XCache, dress, origin_path_and_query, origin_request_headers,
        pop_header, receive_response_headers, receive_viewer_headers, via, withhold,
    },
    freshness::{Arrival, ERROR_CACHING_MIN_TTL, Said, Storing, assess},
    policies,
    store::{Begun, CacheShard, Failed, FetchError, Lookup, Outcome, Served, Storable, StoreSettings, StoredHead},
    vary::Vary,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

const SEED: KeySeed = KeySeed::new(42);
const NOON: WallTime = WallTime::from_unix_secs(1_800_014_400);

/// What the origin does: status, header lines, body; `None` is down.
type Answer = Option<(u16, Vec<(&'static str, String)>, &'static str)>;

#[derive(Default)]
struct Scripted {
    answer: Answer,
    /// Targets and headers of what it was asked.
    asked: Vec<(String, HeaderMap)>,
}

struct Edge {
    shard: CacheShard<&'static str>,
    distribution: Distribution,
    origin: Rc<RefCell<Scripted>>,
    now: Instant,
}

struct Reply {
    status: u16,
    x_cache: String,
    age: Option<u64>,
    body: &'static str,
}

impl Edge {
    fn new(cache_policy: &str) -> Self {
        Self::with(Behavior::new("app", policies::cache_policy(cache_policy).unwrap()))
    }

    fn with(default_behavior: Behavior) -> Self {
        let origins = [("app".to_owned(), Origin::new("app.test"))].into();
        let spec = DistributionSpec::new("demo", origins, default_behavior);
        Self {
            shard: CacheShard::new(StoreSettings::default(), SEED, Arc::new(Counters::default())),
            distribution: Distribution::new(spec).unwrap(),
            origin: Rc::default(),
            now: Instant::ZERO,
        }
    }

    fn origin_says(&self, status: u16, lines: &[(&'static str, &str)], body: &'static str) {
        let lines = lines.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        self.origin.borrow_mut().answer = Some((status, lines, body));
    }

    fn origin_is_down(&self) {
        self.origin.borrow_mut().answer = None;
    }

    fn asked(&self) -> usize {
        self.origin.borrow().asked.len()
    }

    fn behavior(&self) -> Behavior {
        self.distribution.behavior_for("/").spec().clone()
    }

    fn advance(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }

    fn get(&mut self, target: &str) -> Reply {
        self.request(target, &[])
    }

    fn request(&mut self, target: &str, lines: &[(&'static str, &str)]) -> Reply {
        let distribution = self.distribution.clone();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let behavior = distribution.behavior_for(path);
        let viewer = Viewer {
            address: "198.18.0.7:9999".parse().unwrap(),
            https: false,
            version: Version::HTTP_11,
            request_id: HeaderValue::from_static("id=="),
        };
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        receive_viewer_headers(&mut headers, behavior, &viewer, Facts::default());
        let request = RequestHead {
            distribution: &distribution,
            behavior,
            method: &Method::GET,
            host: "demo.cdn.test",
            path,
            query,
            headers: &headers,
        };
        let found = match behavior.method_class(&Method::GET) {
            Ok(_) => self.shard.lookup(self.now, request.key(SEED), &request),
            Err(reason) => Lookup::Pass(reason),
        };
        match found {
            Lookup::Hit(served) | Lookup::StaleOnError(served) | Lookup::StaleAccepted(served) => {
                self.reply(&served, XCache::Hit)
            }
            Lookup::Stale { served, refresh } => {
                if let Some(begun) = refresh {
                    self.fetch(&request, &viewer, Some(begun));
                }
                self.reply(&served, XCache::Hit)
            }
            Lookup::Fetch(begun) => self.fetch(&request, &viewer, Some(begun)),
            Lookup::Pass(_) => self.fetch(&request, &viewer, None),
            Lookup::Parts(_) => panic!("nobody asks for ranges"),
            Lookup::Join(_) => panic!("one request at a time"),
            Lookup::OnlyIfCached(_) => panic!("CloudFront does not listen to requests"),
        }
    }

    fn date(&self) -> WallTime {
        NOON + Duration::from_nanos(self.now.as_nanos())
    }

    fn fetch(&mut self, request: &RequestHead<'_>, viewer: &Viewer, begun: Option<Begun<&'static str>>) -> Reply {
        let behavior = request.behavior;
        let origin = &self.distribution.origin("app").unwrap().clone();
        let conditions = begun.as_ref().map_or(Conditions::Viewer, Begun::conditions);
        let (own, request_head) = (via(1), *request);
        let forward = Forward { request: request_head, viewer, origin, conditions, via: &own, upgrade: None };
        let sent = origin_request_headers(&forward);
        let answer = {
            let mut scripted = self.origin.borrow_mut();
            scripted.asked.push((origin_path_and_query(request, origin), sent.clone()));
            scripted.answer.clone()
        };
        let failure = match &answer {
            None => Some(FetchError::NoResponse),
            Some((status, ..)) => Some(FetchError::Status(StatusCode::from_u16(*status).unwrap())),
        };
        if let (Some(begun), Some(error)) = (&begun, failure.filter(|error| error.is_failure()))
            && let Failed::Stale(served) = self.shard.failed(self.now, begun.id, error)
        {
            return self.reply(&served, XCache::Hit);
        }
        let (status, lines, body) = answer.unwrap_or((502, vec![], "our own error page"));
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in &lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let vary = Vary::of(&headers, behavior);
        let arrival = |status, headers: &HeaderMap, vary: &Vary| {
            let policy = behavior.cache_policy();
            assess(&Arrival {
                status,
                said: &Said::of(headers, policy.rules),
                vary,
                requested_at: self.now,
                responded_at: self.now,
                date: self.date(),
                policy,
                error_ttl_min: ERROR_CACHING_MIN_TTL,
                authorized: behavior.forwards_authorization_of(request.headers),
            })
        };
        if let Some(begun) = begun {
            if let (StatusCode::NOT_MODIFIED, Some(validators)) = (status, begun.validators())
                && validators.confirmed_by(&headers)
            {
                let stale = begun.stale.as_ref().unwrap();
                let mut merged = stale.head.headers_confirmed_by(&headers, self.date());
                let Storing::Store(lifetime) = arrival(stale.head.status(), &merged, &vary) else { panic!() };
                storable(&mut merged, behavior, self.date());
                let head = Arc::new(StoredHead::new(stale.head.status(), merged));
                let Outcome::Stored(served) = self.shard.refreshed(self.now, begun.id, head, lifetime) else {
                    panic!()
                };
                return self.reply(&served, XCache::RefreshHit);
            }
            let storing = arrival(status, &headers, &vary);
            storable(&mut headers, behavior, self.date());
            let head = Arc::new(StoredHead::new(status, headers.clone()));
            match storing {
                Storing::Store(lifetime) => {
                    let (bytes, request) = (body.len() as u64, request.headers);
                    let storable = Storable { head, body, bytes, complete: true, lifetime, vary, request };
                    self.shard.fetched(self.now, begun.id, storable);
                }
                Storing::Refuse(refusal) if refusal.is_lasting() => self.shard.uncacheable(self.now, begun.id),
                Storing::Refuse(_) => self.shard.released(begun.id),
            }
        }
        let head = Arc::new(StoredHead::new(status, headers));
        let (age, fresh_for) = (Duration::ZERO, Duration::ZERO);
        self.reply(&Served { head, body, bytes: 0, complete: true, age, fresh_for }, XCache::Miss)
    }

    fn reply(&self, served: &Served<&'static str>, x_cache: XCache) -> Reply {
        let mut headers = served.head.headers();
        let status = served.head.status();
        let error = status.is_client_error() || status.is_server_error();
        let worn = Dress {
            x_cache: if error { XCache::Error } else { x_cache },
            age: (x_cache == XCache::Hit).then_some(served.age),
            pop: &pop_header("IAD".parse().unwrap()),
            request_id: &HeaderValue::from_static("id=="),
            via: Some(&via(1)),
            now: NOON,
        };
        dress(&mut headers, &worn);
        Reply {
            status: status.as_u16(),
            x_cache: headers["x-cache"].to_str().unwrap().split(' ').next().unwrap().to_owned(),
            age: headers.get(header::AGE).map(|age| age.to_str().unwrap().parse().unwrap()),
            body: served.body,
        }
    }
}

#[track_caller]
fn check(reply: &Reply, status: u16, x_cache: &str, age: Option<u64>) {
    assert_eq!((reply.status, reply.x_cache.as_str(), reply.age), (status, x_cache, age), "{}", reply.body);
}

#[test]
fn golden_4_to_6_miss_hit_refresh_hit_and_stale_while_the_origin_is_down() {
    let mut edge = Edge::new("CachingOptimized");
    edge.origin_says(200, &[("cache-control", "max-age=60"), ("etag", "\"v1\"")], "v1");
    check(&edge.get("/a"), 200, "Miss", None);
    edge.advance(5);
    check(&edge.get("/a"), 200, "Hit", Some(5));
    assert_eq!(edge.asked(), 1);
    edge.advance(56);
    edge.origin_says(304, &[], "");
    let reply = edge.get("/a");
    check(&reply, 200, "RefreshHit", None);
    assert_eq!(reply.body, "v1");
    assert_eq!(edge.origin.borrow().asked[1].1[header::IF_NONE_MATCH], "\"v1\"");
    check(&edge.get("/a"), 200, "Hit", Some(0));
    edge.advance(61);
    edge.origin_is_down();
    check(&edge.get("/a"), 200, "Hit", Some(61));
    edge.advance(9);
    check(&edge.get("/a"), 200, "Hit", Some(70));
    assert_eq!(edge.asked(), 3, "for 10 s the origin is left alone");
    edge.advance(1);
    check(&edge.get("/a"), 200, "Hit", Some(71));
    assert_eq!(edge.asked(), 4);
}

#[test]
fn golden_7_stale_if_error_zero_shows_the_error() {
    let mut edge = Edge::new("CachingOptimized");
    edge.origin_says(200, &[("cache-control", "max-age=60, stale-if-error=0")], "v1");
    edge.get("/a");
    edge.advance(61);
    edge.origin_is_down();
    check(&edge.get("/a"), 502, "Error", None);
}

#[test]
fn golden_8_and_10_errors_are_stored_for_ten_seconds_unless_caching_is_disabled() {
    for (policy, expected) in [("CachingOptimized", [1, 1, 2]), ("CachingDisabled", [1, 2, 3])] {
        let mut edge = Edge::new(policy);
        edge.origin_says(500, &[], "oops");
        let asked = [0, 9, 2].map(|secs| {
            edge.advance(secs);
            let reply = edge.get("/a");
            assert_eq!((reply.status, reply.x_cache.as_str()), (500, "Error"));
            edge.asked()
        });
        assert_eq!(asked, expected, "{policy}");
    }
}

#[test]
fn golden_11_and_12_no_store_counts_only_where_the_minimum_is_zero() {
    for (policy, asked, second) in [("CachingOptimized", 1, "Hit"), ("UseOriginCacheControlHeaders", 2, "Miss")] {
        let mut edge = Edge::new(policy);
        edge.origin_says(200, &[("cache-control", "no-store")], "x");
        assert_eq!(edge.get("/a").x_cache, "Miss");
        assert_eq!(edge.get("/a").x_cache, second, "{policy}");
        assert_eq!(edge.asked(), asked, "{policy}");
    }
}

#[test]
fn golden_13_and_14_the_query_string_is_keyed_and_forwarded_as_the_policy_says() {
    let mut policy = policies::cache_policy("CachingOptimized").unwrap();
    policy.query = Selection::Only(vec!["v".to_owned()]);
    let mut edge = Edge::with(Behavior { cache_policy: policy, ..Edge::new("CachingOptimized").behavior() });
    edge.origin_says(200, &[("cache-control", "max-age=60")], "x");
    let seen = ["/a?v=1&x=1", "/a?v=1&x=2", "/a?v=2"].map(|target| edge.get(target).x_cache);
    assert_eq!(seen, ["Miss", "Hit", "Miss"]);
    let asked: Vec<_> = edge.origin.borrow().asked.iter().map(|(target, _)| target.clone()).collect();
    assert_eq!(asked, ["/a?v=1", "/a?v=2"]);
    let mut edge = Edge::new("UseOriginCacheControlHeaders-QueryStrings");
    edge.origin_says(200, &[("cache-control", "max-age=60")], "x");
    assert_eq!(["/a?b=1&c=2", "/a?c=2&b=1"].map(|target| edge.get(target).x_cache), ["Miss", "Miss"]);
}

#[test]
fn golden_24_after_an_invalidation_the_origin_is_asked() {
    let mut edge = Edge::new("CachingOptimized");
    edge.origin_says(200, &[("cache-control", "max-age=60")], "x");
    edge.get("/a");
    let pattern = edge.distribution.invalidation("/*").unwrap();
    assert_eq!(edge.shard.invalidate("demo", &pattern), 1);
    check(&edge.get("/a"), 200, "Miss", None);
}

#[test]
fn stale_while_revalidate_answers_at_once_and_the_next_request_gets_the_new_object() {
    let mut edge = Edge::new("CachingOptimized");
    edge.origin_says(200, &[("cache-control", "max-age=10, stale-while-revalidate=30")], "old");
    edge.get("/a");
    edge.advance(15);
    edge.origin_says(200, &[("cache-control", "max-age=10, stale-while-revalidate=30")], "new");
    assert_eq!(edge.get("/a").body, "old");
    assert_eq!(edge.get("/a").body, "new");
}

#[test]
fn a_viewers_precondition_travels_on_a_miss_and_its_304_is_not_stored() {
    let mut edge = Edge::new("CachingOptimized");
    edge.origin_says(304, &[("etag", "\"v1\"")], "");
    check(&edge.request("/a", &[("if-none-match", "\"v1\"")]), 304, "Miss", None);
    assert_eq!(edge.origin.borrow().asked[0].1[header::IF_NONE_MATCH], "\"v1\"");
    edge.origin_says(200, &[("etag", "\"v1\"")], "v1");
    check(&edge.get("/a"), 200, "Miss", None);
    check(&edge.get("/a"), 200, "Hit", Some(0));
}

/// What an edge does to the headers of a response before it stores it.
fn storable(headers: &mut HeaderMap, behavior: &CheckedBehavior, arrived: WallTime) {
    receive_response_headers(headers, behavior, arrived);
    let _ = withhold(headers, behavior);
}
