//! What the end of an object's life costs: fetches, and requests that wait, with collapsing or without, with early expiry
//! or without.
//!
//! The store of an edge decides; one object is asked for (Poisson), and the origin takes the same time for each fetch. Early
//! expiry (XFetch: Vattani, Chierichetti and Lowenstein 2015) is asking the store as if it were a little later, by a time
//! that is drawn anew for each request: whoever draws a time beyond the end of the object's life fetches it, and is served
//! what is there.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use cdn_core::{
    Counters, Instant, Reason,
    cache_key::{KeySeed, RequestHead},
    freshness::Lifetime,
    store::{CacheShard, FetchId, Lookup, Storable, StoreSettings, StoredHead},
    vary::Vary,
};
use http::{HeaderMap, Method, StatusCode};
use rand::distr::Distribution;
use world::{chance::Exp1, stream};

use crate::distribution;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct CollapseStudy {
    /// Requests per second.
    pub rps: f64,
    /// For how long the object is fresh.
    pub ttl: Duration,
    /// How long a fetch takes.
    pub rebuild: Duration,
    /// Whether requests wait for a fetch that is under way; else each fetches for itself.
    pub collapse: bool,
    /// How far ahead of the end of its life the object is fetched, in units of the rebuild (beta); not ahead without it.
    pub early: Option<f64>,
    /// For how long what is stale is served while somebody fetches.
    pub while_revalidate: Duration,
    /// How long the run is, in lives of the object: the time it is fresh, and a rebuild.
    pub lives: u32,
    /// The run.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collapsed {
    /// Requests.
    pub requests: u64,
    /// Requests to the origin.
    pub fetches: u64,
    /// How often a fetch began while none was under way.
    pub cycles: u64,
    /// Requests that were not answered at once.
    pub waited: u64,
}

impl Collapsed {
    /// Fetches from when one begins alone until the next does.
    pub fn fetches_per_cycle(&self) -> f64 {
        self.fetches as f64 / self.cycles.max(1) as f64
    }

    /// The share of requests that were not answered at once.
    pub fn waited_ratio(&self) -> f64 {
        self.waited as f64 / self.requests.max(1) as f64
    }
}

impl CollapseStudy {
    /// The fetches of a cycle, in the mean: one with collapsing; else one and those who come until it ends. Not known
    /// where fetches are early, or nobody need wait.
    pub fn expected_fetches_per_cycle(&self) -> Option<f64> {
        match (self.collapse, self.early) {
            (true, _) => Some(1.0),
            (false, None) if self.while_revalidate.is_zero() => Some(1.0 + self.rps * self.rebuild.as_secs_f64()),
            (false, _) => None,
        }
    }
}

/// Plays a run.
pub fn play(study: &CollapseStudy) -> Collapsed {
    const PATH: &str = "/object";
    let seed = KeySeed::new(study.seed.into());
    let counters = Arc::new(Counters::default());
    // Nobody is held here, so nothing is too many to wait.
    let settings = StoreSettings { waiters_max: u32::MAX, ..StoreSettings::default() };
    let mut shard: CacheShard<()> = CacheShard::new(settings, seed, counters);
    let (distribution, headers) = (distribution(), HeaderMap::new());
    let request = RequestHead {
        distribution: &distribution,
        behavior: distribution.behavior_for(PATH),
        method: &Method::GET,
        host: "www.demo.test",
        path: PATH,
        query: None,
        headers: &headers,
    };
    let key = request.key(seed);
    let head = Arc::new(StoredHead::new(StatusCode::OK, HeaderMap::new()));
    let lifetime = Lifetime { fresh_for: study.ttl, while_revalidate: study.while_revalidate, ..Lifetime::default() };

    let mut arrivals = stream(study.seed, &["collapse", "arrivals"]);
    let mut ahead = stream(study.seed, &["collapse", "ahead"]);
    let over = Instant::ZERO + (study.ttl + study.rebuild) * study.lives;
    let mut now = Instant::ZERO;
    let mut collapsed = Collapsed::default();
    // All take as long, so they end in the order in which they began.
    let mut under_way: VecDeque<(Instant, FetchId)> = VecDeque::new();
    loop {
        let gap: f64 = Exp1.sample(&mut arrivals);
        now += Duration::from_secs_f64(gap / study.rps);
        if now >= over {
            return collapsed;
        }
        while let Some((at, id)) = under_way.pop_front_if(|(at, _)| *at <= now) {
            let storable = Storable {
                head: Arc::clone(&head),
                body: (),
                bytes: 1,
                complete: true,
                lifetime,
                vary: Vary::default(),
                request: &headers,
            };
            shard.fetched(at, id, storable);
        }
        // -ln(u) of a uniform u is exponential.
        let early = study.early.map_or(Duration::ZERO, |beta| {
            let drawn: f64 = Exp1.sample(&mut ahead);
            study.rebuild.mul_f64(beta * drawn)
        });
        let is_fresh = shard.hit(now, key, &request).is_some();
        collapsed.requests += 1;
        let (begun, is_served) = match shard.lookup(now + early, key, &request) {
            Lookup::Hit(_) => continue,
            Lookup::Fetch(begun) => (Some(begun), is_fresh),
            Lookup::Stale { refresh, .. } => (refresh, true),
            Lookup::Join(fetch) if study.collapse => {
                if is_fresh {
                    shard.leave(fetch);
                }
                (None, is_fresh)
            }
            Lookup::Join(fetch) => {
                shard.leave(fetch);
                (Some(shard.begin_for(now, key, &request, Reason::MissExpired)), is_fresh)
            }
            other => unreachable!("one object that may be stored, and a plain request: {other:?}"),
        };
        collapsed.waited += u64::from(!is_served);
        if let Some(begun) = begun {
            collapsed.fetches += 1;
            collapsed.cycles += u64::from(under_way.is_empty());
            under_way.push_back((now + study.rebuild, begun.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(collapse: bool, early: Option<f64>) -> CollapseStudy {
        CollapseStudy {
            rps: 10.0,
            ttl: Duration::from_secs(60),
            rebuild: Duration::from_secs(3),
            collapse,
            early,
            while_revalidate: Duration::ZERO,
            lives: 200,
            seed: 1,
        }
    }

    #[test]
    fn a_life_costs_one_fetch_or_all_those_that_come_until_it_ends() {
        let together = play(&study(true, None));
        assert_eq!((together.fetches, together.cycles), (together.cycles, together.cycles));
        // Three of 63 seconds.
        assert!((together.waited_ratio() - 3.0 / 63.0).abs() < 0.005, "{together:?}");
        let alone = play(&study(false, None));
        let expected = study(false, None).expected_fetches_per_cycle().unwrap();
        assert!((expected - 31.0).abs() < 1e-12);
        assert!((alone.fetches_per_cycle() / expected - 1.0).abs() < 0.03, "{alone:?}");
        assert_eq!(alone.waited, alone.fetches);
    }

    #[test]
    fn who_fetches_early_keeps_others_from_waiting() {
        let plain = play(&study(true, None));
        let early = play(&study(true, Some(1.0)));
        assert!(early.waited * 10 < plain.waited && early.fetches == early.cycles, "{early:?}");
        // Without collapsing several fetch before it is there, and fewer than if all came at the end.
        let alone = play(&study(false, Some(1.0)));
        assert!(alone.fetches_per_cycle() > 2.0 && alone.fetches_per_cycle() < 31.0, "{alone:?}");
    }

    #[test]
    fn nobody_waits_while_what_is_stale_is_served() {
        let stale = play(&CollapseStudy { while_revalidate: Duration::from_secs(60), ..study(true, None) });
        // But for those who came before there was anything.
        assert!(stale.waited < 60 && stale.fetches == stale.cycles, "{stale:?}");
    }
}
