//! A load in figures: how many, how fast, from where, and what went wrong.
//!
//! Latency counts from when a request was meant to be made, so that what queued behind a stall is not left out
//! (coordinated omission). Quantiles are of requests that were served.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::PopCode;
use hdrhistogram::Histogram;
use serde::Serialize;
use world::{Atlas, Continent, Integrity, Observation, Outcome};

/// Counts requests and times them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    all: Group,
    continents: BTreeMap<Continent, Group>,
    pops: BTreeMap<PopCode, Group>,
    errors: BTreeMap<&'static str, u64>,
    statuses: BTreeMap<u16, u64>,
    wrong: u64,
    checked: u64,
    fell_back: u64,
    retries: u64,
    bytes: u64,
    late: Times,
    last_intended: Duration,
}

/// Requests that have something in common.
#[derive(Debug, Default)]
struct Group {
    requests: u64,
    served: u64,
    hits: u64,
    cacheable: u64,
    latency: Times,
}

/// A distribution of spans, to three digits.
#[derive(Debug)]
struct Times(Histogram<u64>);

impl Default for Times {
    /// In microseconds, from one to an hour.
    fn default() -> Self {
        let one_hour = 3_600_000_000;
        // Three digits from 1 µs to an hour are always within what a histogram can be.
        Self(Histogram::new_with_bounds(1, one_hour, 3).unwrap_or_else(|error| panic!("{error}")))
    }
}

impl Times {
    fn record(&mut self, span: Duration) {
        self.0.saturating_record(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }

    fn at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }

    fn figures(&self) -> Option<Quantiles> {
        let ms = |quantile| self.at(quantile).as_micros() as f64 / 1e3;
        (!self.0.is_empty()).then(|| Quantiles {
            p50: ms(0.5),
            p90: ms(0.9),
            p95: ms(0.95),
            p99: ms(0.99),
            p999: ms(0.999),
            max: self.0.max() as f64 / 1e3,
            mean: (self.0.mean().round()) / 1e3,
        })
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

/// Requests that have something in common, in figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GroupFigures {
    /// How many.
    pub(crate) requests: u64,
    /// How many were not served: no answer, or a status of 500 and above.
    pub(crate) errors: u64,
    /// The share that came out of the edge's store, or of another request's fetch, of those that a cache may answer.
    pub(crate) hit_ratio: Option<f64>,
    /// From when they were meant to be made to the last byte, of those that were served.
    pub(crate) latency_ms: Option<Quantiles>,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// Together.
    #[serde(flatten)]
    pub(crate) all: GroupFigures,
    /// Requests per second that were meant to be made.
    pub(crate) rps: f64,
    /// Why requests failed.
    pub(crate) errors_by_reason: BTreeMap<&'static str, u64>,
    /// What was answered.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Bodies that were held against what they should be.
    pub(crate) bodies_checked: u64,
    /// Bodies that were not what they should be.
    pub(crate) bodies_wrong: u64,
    /// Requests that another than the first address served.
    pub(crate) fell_back: u64,
    /// Requests that were made again.
    pub(crate) retries: u64,
    /// Bytes of bodies.
    pub(crate) bytes: u64,
    /// How much later than meant requests were made: the generator's own fault.
    pub(crate) late_ms: Option<Quantiles>,
    /// By continent of the viewer.
    pub(crate) continents: BTreeMap<String, GroupFigures>,
    /// By PoP that answered, or that was asked first where none did.
    pub(crate) pops: BTreeMap<String, GroupFigures>,
}

impl Group {
    fn observe(&mut self, seen: &Observation) {
        self.requests += 1;
        self.cacheable += u64::from(seen.cache.is_cacheable());
        self.hits += u64::from(seen.cache.is_cacheable() && seen.cache.is_hit());
        if seen.is_served() {
            self.served += 1;
            self.latency.record(seen.latency());
        }
    }

    fn figures(&self) -> GroupFigures {
        GroupFigures {
            requests: self.requests,
            errors: self.requests - self.served,
            hit_ratio: (self.cacheable > 0).then(|| self.hits as f64 / self.cacheable as f64),
            latency_ms: self.latency.figures(),
        }
    }
}

impl Tally {
    /// Takes in a request that is over.
    pub(crate) fn observe(&mut self, seen: &Observation) {
        self.all.observe(seen);
        if let Some(place) = Atlas::embedded().at_index(seen.place) {
            self.continents.entry(place.continent).or_default().observe(seen);
        }
        if let Some(pop) = seen.pop.or(seen.asked) {
            self.pops.entry(pop).or_default().observe(seen);
        }
        match seen.outcome {
            Outcome::Status(status) => *self.statuses.entry(status).or_default() += 1,
            Outcome::Failed(_) => {}
        }
        if !seen.is_served() {
            *self.errors.entry(seen.reason.as_str()).or_default() += 1;
        }
        self.checked += u64::from(seen.integrity != Integrity::Unchecked);
        self.wrong += u64::from(seen.integrity == Integrity::Wrong);
        self.fell_back += u64::from(seen.fell_back);
        self.retries += u64::from(seen.attempts.saturating_sub(1));
        self.bytes += seen.bytes;
        self.late.record(seen.started.saturating_since(seen.intended));
        self.last_intended = self.last_intended.max(Duration::from_nanos(seen.intended.as_nanos()));
    }

    /// Requests so far, and those that were not served.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.all.requests, self.all.requests - self.all.served)
    }

    /// A quantile of latency so far.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        self.all.latency.at(quantile)
    }

    /// The figures of a load that was to last for `length`, or was broken off before.
    pub(crate) fn figures(&self, length: Duration, is_complete: bool) -> Figures {
        let span = if is_complete { length } else { self.last_intended };
        let rps = if span.is_zero() { 0.0 } else { self.all.requests as f64 / span.as_secs_f64() };
        Figures {
            all: self.all.figures(),
            rps: (rps * 1e3).round() / 1e3,
            errors_by_reason: self.errors.clone(),
            statuses: self.statuses.clone(),
            bodies_checked: self.checked,
            bodies_wrong: self.wrong,
            fell_back: self.fell_back,
            retries: self.retries,
            bytes: self.bytes,
            late_ms: self.late.figures(),
            continents: self.continents.iter().map(|(key, group)| (key.to_string(), group.figures())).collect(),
            pops: self.pops.iter().map(|(key, group)| (key.to_string(), group.figures())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cdn_core::{Instant, Reason};
    use world::CacheOutcome;

    use super::*;

    fn seen(at_ms: u64, took_ms: u64, place: &str) -> Observation {
        let intended = Instant::from_nanos(at_ms * 1_000_000);
        let atlas = Atlas::embedded();
        Observation {
            intended,
            started: intended + Duration::from_millis(2),
            finished: intended + Duration::from_millis(took_ms),
            place: atlas.index_of_place(atlas.place(place).unwrap()).unwrap(),
            asked: "FRA".parse().ok(),
            asked_at: intended,
            pop: "FRA".parse().ok(),
            outcome: Outcome::Status(200),
            cache: CacheOutcome::Hit,
            reason: Reason::Hit,
            bytes: 100,
            integrity: Integrity::Right,
            attempts: 1,
            fell_back: false,
            load: 0,
            object: 1,
            made: None,
            signature: world::Signature::Unasked,
        }
    }

    #[test]
    fn figures_are_those_of_what_was_seen() {
        let mut tally = Tally::default();
        for request in 0..98 {
            tally.observe(&seen(request * 10, 20, "berlin"));
        }
        tally.observe(&Observation { cache: CacheOutcome::Miss, ..seen(980, 400, "tokyo") });
        let failed = Outcome::Failed(Reason::ViewerGaveUp);
        let reason = Reason::ViewerGaveUp;
        let cache = CacheOutcome::Error;
        tally.observe(&Observation { outcome: failed, reason, cache, pop: None, ..seen(990, 30_000, "tokyo") });
        let figures = tally.figures(Duration::from_secs(1), true);
        assert_eq!((figures.all.requests, figures.all.errors, figures.rps), (100, 1, 100.0));
        assert_eq!(figures.all.hit_ratio, Some(98.0 / 99.0));
        let latency = figures.all.latency_ms.unwrap();
        assert!((latency.p50 - 20.0).abs() < 0.1 && (latency.max - 400.0).abs() < 1.0, "{latency:?}");
        assert_eq!(figures.errors_by_reason, BTreeMap::from([("viewer_gave_up", 1)]));
        assert_eq!(figures.continents["AS"].requests, 2);
        assert_eq!((figures.pops["FRA"].requests, figures.pops["FRA"].errors), (100, 1));
        assert!((figures.late_ms.unwrap().max - 2.0).abs() < 0.1);
    }

    #[test]
    fn nothing_seen_has_no_quantiles() {
        let figures = Tally::default().figures(Duration::from_secs(1), false);
        assert!(figures.all.latency_ms.is_none() && figures.all.hit_ratio.is_none() && figures.rps == 0.0);
    }
}
