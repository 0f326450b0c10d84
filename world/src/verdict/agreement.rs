//! Do a live and a virtual run of the same scenario tell the same story?
//!
//! Compares what was seen of both, figure by figure, against the limits that this project publishes. Both are asked for
//! the same objects by the same users at the same moments, so requests can also be laid side by side one by one
//! ([`pairs`]). Pure; refuses to know how either was played.

use std::time::Duration;

use cdn_core::Instant;

use crate::observation::{Event, EventKind, Observation};

/// Hit ratios differ by so much at most.
pub const HIT_RATIO_MAX: f64 = 0.005;
/// Origin fetches, as a share of the live ones.
pub const ORIGIN_SHARE_MAX: f64 = 0.01;
/// Medians, as a share of the live one; or this span.
pub const P50_SHARE_MAX: f64 = 0.05;
/// See [`P50_SHARE_MAX`].
pub const P50_SPAN_MAX: Duration = Duration::from_millis(1);
/// 99th percentiles, as a share of the live one.
pub const P99_SHARE_MAX: f64 = 0.15;
/// The Kolmogorov-Smirnov distance of latencies.
pub const DISTANCE_MAX: f64 = 0.05;

/// What was seen of a run, as far as runs are compared.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Requests that are over, in the order in which they ended.
    requests: Vec<Observation>,
    origin_requests: u64,
    broken_at: Option<Instant>,
    failover: Option<Duration>,
    zero: Instant,
}

impl Sample {
    /// A run whose time zero is `zero`.
    pub fn new(zero: Instant) -> Self {
        Self { zero, ..Self::default() }
    }

    /// Takes in a request that is over.
    pub fn observe(&mut self, seen: &Observation) {
        if seen.intended >= self.zero {
            self.requests.push(*seen);
        }
    }

    /// Takes in something that happened.
    pub fn note(&mut self, event: &Event) {
        match event.kind {
            EventKind::OriginRequests { count, .. } if event.at >= self.zero => self.origin_requests += count,
            EventKind::Step { .. } => self.broken_at = self.broken_at.or(Some(event.at)),
            EventKind::Detected { .. } if self.failover.is_none() => {
                self.failover = self.broken_at.map(|at| event.at.saturating_since(at));
            }
            _ => {}
        }
    }

    /// How many requests are over.
    pub const fn requests(&self) -> usize {
        self.requests.len()
    }

    fn hit_ratio(&self) -> f64 {
        let cacheable = self.requests.iter().filter(|seen| seen.cache.is_cacheable());
        let (all, hits) =
            cacheable.fold((0_u64, 0), |(all, hits), seen| (all + 1, hits + u64::from(seen.cache.is_hit())));
        if all == 0 { 0.0 } else { hits as f64 / all as f64 }
    }

    /// Latencies of what was served, ascending.
    fn latencies(&self) -> Vec<Duration> {
        let served = self.requests.iter().filter(|seen| seen.is_served());
        let mut latencies: Vec<Duration> = served.map(Observation::latency).collect();
        latencies.sort_unstable();
        latencies
    }
}

/// The requests of two runs that somebody meant to make at the same moment, by that moment. Whatever only one of them has
/// is left out.
pub fn pairs<'a>(live: &'a Sample, simulated: &'a Sample) -> Vec<(&'a Observation, &'a Observation)> {
    let key = |seen: &Observation| (seen.intended, seen.load, seen.place, seen.object);
    let sorted = |sample: &'a Sample| {
        let mut all: Vec<&Observation> = sample.requests.iter().collect();
        all.sort_by_key(|seen| key(seen));
        all
    };
    let (live, mut others) = (sorted(live), sorted(simulated).into_iter().peekable());
    let pair = |seen: &'a Observation| {
        while others.next_if(|other| key(other) < key(seen)).is_some() {}
        others.next_if(|other| key(other) == key(seen)).map(|other| (seen, other))
    };
    live.into_iter().filter_map(pair).collect()
}

/// The share of the live run's requests that came to the same: outcome, PoP, and what the edge's store had to do with it.
/// There is no limit to it: two requests that come within a few microseconds may change places.
pub fn alike(live: &Sample, simulated: &Sample) -> f64 {
    let same = |a: &Observation, b: &Observation| (a.outcome, a.pop, a.cache) == (b.outcome, b.pop, b.cache);
    let count = pairs(live, simulated).into_iter().filter(|(a, b)| same(a, b)).count();
    if live.requests.is_empty() { 1.0 } else { count as f64 / live.requests.len() as f64 }
}

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Which.
    pub name: &'static str,
    /// Live.
    pub live: f64,
    /// In virtual time.
    pub simulated: f64,
    /// By how much they differ, in the unit of `limit`.
    pub off: f64,
    /// By how much they may.
    pub limit: f64,
}

impl Figure {
    /// Whether they agree.
    pub fn agrees(&self) -> bool {
        self.off <= self.limit
    }
}

/// Compares two runs of one scenario. `probe_interval` is how far the times to fail over may be apart.
pub fn compare(live: &Sample, simulated: &Sample, probe_interval: Duration) -> Vec<Figure> {
    let (a, b) = (live.latencies(), simulated.latencies());
    let share = |name, live: f64, simulated: f64, limit: f64| Figure {
        name,
        live,
        simulated,
        off: if live == simulated { 0.0 } else { (simulated - live).abs() / live.abs().max(f64::MIN_POSITIVE) },
        limit,
    };
    let quantile = |sorted: &[Duration], q: f64| {
        let at = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
        sorted.get(at).copied().unwrap_or_default().as_secs_f64()
    };
    let mut figures = vec![
        Figure {
            name: "hit_ratio",
            live: live.hit_ratio(),
            simulated: simulated.hit_ratio(),
            off: (live.hit_ratio() - simulated.hit_ratio()).abs(),
            limit: HIT_RATIO_MAX,
        },
        share("origin_requests", live.origin_requests as f64, simulated.origin_requests as f64, ORIGIN_SHARE_MAX),
    ];
    let p50 = share("p50", quantile(&a, 0.5), quantile(&b, 0.5), P50_SHARE_MAX);
    // Five per cent or a millisecond, whichever is more.
    let limit = P50_SHARE_MAX.max(P50_SPAN_MAX.as_secs_f64() / p50.live.max(f64::MIN_POSITIVE));
    figures.push(Figure { limit, ..p50 });
    figures.push(share("p99", quantile(&a, 0.99), quantile(&b, 0.99), P99_SHARE_MAX));
    let off = distance(&a, &b);
    figures.push(Figure { name: "ks_distance", live: 0.0, simulated: off, off, limit: DISTANCE_MAX });
    if live.failover.is_some() || simulated.failover.is_some() {
        let seconds = |span: Option<Duration>| span.map_or(f64::INFINITY, |span| span.as_secs_f64());
        let (live, simulated) = (seconds(live.failover), seconds(simulated.failover));
        let off = (live - simulated).abs();
        figures.push(Figure { name: "failover", live, simulated, off, limit: probe_interval.as_secs_f64() });
    }
    figures
}

/// The largest distance between two empirical distributions (Kolmogorov and Smirnov), of sorted samples.
pub fn distance<T: Ord>(a: &[T], b: &[T]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() && b.is_empty() { 0.0 } else { 1.0 };
    }
    let (mut at, mut bt, mut most) = (0, 0, 0.0_f64);
    while let (Some(x), Some(y)) = (a.get(at), b.get(bt)) {
        let next = x.min(y);
        // All of one value are passed at once: a step is one step, however many stand on it.
        while a.get(at).is_some_and(|value| value <= next) {
            at += 1;
        }
        while b.get(bt).is_some_and(|value| value <= next) {
            bt += 1;
        }
        most = most.max((at as f64 / a.len() as f64 - bt as f64 / b.len() as f64).abs());
    }
    most
}

#[cfg(test)]
mod tests {
    use cdn_core::Reason;

    use super::*;
    use crate::observation::{CacheOutcome, Integrity, Outcome};

    fn sample(latencies_ms: impl Iterator<Item = u64>, every_hit: u64, origin_requests: u64) -> Sample {
        let mut sample = Sample::new(Instant::ZERO);
        for (at, ms) in latencies_ms.enumerate() {
            let is_miss = (at as u64).is_multiple_of(every_hit);
            let intended = Instant::ZERO + Duration::from_millis(at as u64);
            sample.observe(&Observation {
                intended,
                started: intended,
                finished: intended + Duration::from_millis(ms),
                place: 0,
                asked: None,
                asked_at: intended,
                pop: None,
                outcome: Outcome::Status(200),
                cache: if is_miss { CacheOutcome::Miss } else { CacheOutcome::Hit },
                reason: Reason::Hit,
                bytes: 1,
                integrity: Integrity::Right,
                attempts: 1,
                fell_back: false,
                load: 0,
                object: 1,
                made: None,
                signature: crate::Signature::Unasked,
            });
        }
        sample
            .note(&Event { at: Instant::ZERO, kind: EventKind::OriginRequests { origin: 0, count: origin_requests } });
        sample
    }

    #[test]
    fn the_distance_is_the_largest_gap_between_the_steps() {
        assert_eq!(distance(&[1, 2, 3, 4], &[1, 2, 3, 4]), 0.0);
        assert_eq!(distance(&[1, 1, 1, 1], &[2, 2]), 1.0);
        assert_eq!(distance(&[1, 2, 3, 4], &[3, 4, 5, 6]), 0.5);
        assert_eq!(distance::<u8>(&[], &[]), 0.0);
        assert_eq!(distance(&[], &[1]), 1.0);
    }

    #[test]
    fn runs_agree_within_the_limits_and_no_further() {
        let all = |figures: Vec<Figure>| {
            figures.into_iter().filter(|figure| !figure.agrees()).map(|figure| figure.name).collect::<Vec<_>>()
        };
        let interval = Duration::from_secs(1);
        let live = sample((0..1000).map(|at| 20 + at % 100), 10, 100);
        assert_eq!(all(compare(&live, &live.clone(), interval)), [] as [&str; 0]);
        let close = sample((0..1000).map(|at| 21 + at % 100), 10, 101);
        assert_eq!(all(compare(&live, &close, interval)), [] as [&str; 0]);
        let far = sample((0..1000).map(|at| 40 + at % 100), 8, 103);
        assert_eq!(all(compare(&live, &far, interval)), ["hit_ratio", "origin_requests", "p50", "p99", "ks_distance"]);
    }

    #[test]
    fn requests_are_laid_side_by_side_by_the_moment_that_they_were_meant_for() {
        let live = sample((0..10).map(|_| 20), 10, 1);
        let mut simulated = sample((0..10).map(|_| 21), 5, 1);
        simulated.requests.reverse();
        simulated.requests.retain(|seen| seen.intended != Instant::ZERO + Duration::from_millis(3));
        let pairs = pairs(&live, &simulated);
        assert_eq!(pairs.len(), 9);
        assert!(pairs.iter().all(|(a, b)| a.intended == b.intended && b.latency() > a.latency()));
        // The fourth has no twin, and the sixth is a miss in one of them alone.
        assert_eq!(alike(&live, &simulated), 0.8);
    }

    #[test]
    fn one_that_was_never_found_out_does_not_agree_with_one_that_was() {
        let mut live = sample(std::iter::once(5), 2, 1);
        let simulated = live.clone();
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        live.note(&Event { at: at(100), kind: EventKind::Step { step: 0 } });
        live.note(&Event { at: at(1900), kind: EventKind::Detected { node: 0, by: 1 } });
        let figures = compare(&live, &simulated, Duration::from_secs(1));
        let failover = figures.iter().find(|figure| figure.name == "failover").unwrap();
        assert!((failover.live - 1.8).abs() < 1e-9 && !failover.agrees());
    }
}
