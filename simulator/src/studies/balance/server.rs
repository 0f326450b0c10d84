//! A server whose queries share its cores, and what it can say of itself.

use std::time::Duration;

use cdn_core::Instant;

use crate::slab::Key;

/// Answers of which a server remembers how long they took, for each number of queries in flight.
const REMEMBERED: usize = 16;
/// Numbers in flight that are told apart; the last stands for all beyond.
const LEVELS: usize = 128;

/// What a server says to a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Vitals {
    /// Queries in flight.
    pub(super) in_flight: u32,
    /// How long queries took that came when about as many were in flight, in the median.
    pub(super) latency: Duration,
}

/// Processor sharing: the queries in flight get the same share of the cores each, and no more than one core.
#[derive(Debug)]
pub(super) struct Server {
    /// Cores that it has at the moment.
    cores: f64,
    /// Seconds on a core that a query has got which was there since the server was last idle.
    attained_s: f64,
    /// Core seconds that all queries have got.
    used_s: f64,
    /// Up to when these are true.
    at: Instant,
    /// By what `attained_s` must come to for a query to be done, the next to end last. It is never negative, so its bits
    /// are in its order.
    queries: Vec<(u64, Key)>,
    levels: Box<[Level]>,
}

/// How long the last queries took that came at one number in flight, in microseconds.
#[derive(Clone, Debug, Default)]
struct Level {
    took_us: [u32; REMEMBERED],
    count: usize,
    /// Of those. Probes ask for it more often than queries end.
    median_us: u32,
}

impl Server {
    pub(super) fn new(cores: f64) -> Self {
        Self {
            cores,
            attained_s: 0.0,
            used_s: 0.0,
            at: Instant::ZERO,
            queries: Vec::new(),
            levels: vec![Level::default(); LEVELS].into(),
        }
    }

    /// Queries in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.queries.len() as u32
    }

    /// Core seconds used so far.
    pub(super) fn used_s(&mut self, now: Instant) -> f64 {
        self.advance(now);
        self.used_s
    }

    /// Takes in a query that wants `work_s` seconds on a core; gives back what names it here.
    pub(super) fn push(&mut self, now: Instant, work_s: f64, query: Key) -> u64 {
        self.advance(now);
        if self.queries.is_empty() {
            self.attained_s = 0.0;
        }
        let due = (self.attained_s + work_s).to_bits();
        let place = self.queries.partition_point(|other| *other > (due, query));
        self.queries.insert(place, (due, query));
        due
    }

    /// Gives up a query.
    pub(super) fn remove(&mut self, now: Instant, due: u64, query: Key) {
        self.advance(now);
        let place = self.queries.partition_point(|other| *other > (due, query));
        if self.queries.get(place) == Some(&(due, query)) {
            self.queries.remove(place);
        }
    }

    /// Ends the query whose time it is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Key> {
        self.advance(now);
        let (due, query) = self.queries.pop()?;
        // Time is whole nanoseconds, so the last step may have been too short by less than one.
        self.attained_s = self.attained_s.max(f64::from_bits(due));
        Some(query)
    }

    /// When the next query ends, if nothing else happens.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let (due, _) = self.queries.last()?;
        let left_s = (f64::from_bits(*due) - self.attained_s).max(0.0) / self.rate();
        Some(self.at + from_secs(left_s))
    }

    /// It has another number of cores from now on.
    pub(super) fn set_cores(&mut self, now: Instant, cores: f64) {
        self.advance(now);
        self.cores = cores;
    }

    /// A query is over that came when so many were in flight.
    pub(super) fn on_took(&mut self, in_flight: u32, took: Duration) {
        let last = LEVELS - 1;
        if let Some(level) = self.levels.get_mut((in_flight as usize).min(last)) {
            level.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// What it says to a probe: nothing is known of latency where nothing has ended yet.
    pub(super) fn vitals(&self) -> Vitals {
        let at = self.queries.len().min(LEVELS - 1);
        // The nearest number of which anything is known; of two the lower.
        let known = |level: &usize| self.levels.get(*level).is_some_and(|level| level.count > 0);
        let below = (0..=at).rev().find(known);
        let above = (at..LEVELS).find(known);
        let level = match (below, above) {
            (Some(below), Some(above)) if above - at < at - below => Some(above),
            (below, above) => below.or(above),
        };
        let median_us = level.and_then(|level| self.levels.get(level)).map_or(0, |level| level.median_us);
        Vitals { in_flight: self.in_flight(), latency: Duration::from_micros(median_us.into()) }
    }

    /// Seconds on a core that each query gets per second.
    fn rate(&self) -> f64 {
        (self.cores / self.queries.len().max(1) as f64).min(1.0)
    }

    fn advance(&mut self, now: Instant) {
        let span_s = now.saturating_since(self.at).as_nanos() as f64 / 1e9;
        let got_s = span_s * self.rate();
        self.attained_s += got_s;
        self.used_s += got_s * self.queries.len() as f64;
        self.at = now;
    }
}

impl Level {
    fn push(&mut self, took_us: u32) {
        self.took_us[self.count % REMEMBERED] = took_us;
        self.count += 1;
        let mut took_us = self.took_us;
        let filled = took_us.get_mut(..self.count.min(REMEMBERED)).unwrap_or_default();
        let (_, median_us, _) = filled.select_nth_unstable(filled.len() / 2);
        self.median_us = *median_us;
    }
}

/// So many seconds, to the nanosecond; std's own way there takes as long as all else that a query needs of a server.
pub(super) const fn from_secs(seconds: f64) -> Duration {
    Duration::from_nanos((seconds * 1e9 + 0.5) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn queries_share_the_cores_and_none_gets_more_than_one() {
        let mut keys = Slab::default();
        let at = |seconds: f64| Instant::ZERO + Duration::from_secs_f64(seconds);
        let mut server = Server::new(2.0);
        let (one, two, three) = (keys.insert(()), keys.insert(()), keys.insert(()));
        server.push(at(0.0), 1.0, one);
        // Alone it has one core of the two.
        assert_eq!(server.next_at(), Some(at(1.0)));
        server.push(at(0.5), 1.0, two);
        assert_eq!(server.next_at(), Some(at(1.0)));
        // Three share two cores: what is left of the first takes half as long again.
        let due = server.push(at(0.5), 1.0, three);
        assert_eq!(server.next_at(), Some(at(1.25)));
        assert_eq!(server.pop(at(1.25)), Some(one));
        server.remove(at(1.25), due, three);
        assert_eq!((server.in_flight(), server.next_at()), (1, Some(at(1.75))));
        // With a quarter of a core what is left takes four times as long.
        server.set_cores(at(1.25), 0.25);
        assert_eq!(server.next_at(), Some(at(3.25)));
        // Half a core second of the first alone, then both cores until it ended.
        assert!((server.used_s(at(1.25)) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_probe_hears_the_median_at_the_number_in_flight_or_the_nearest_known() {
        let mut keys = Slab::default();
        let mut server = Server::new(1.0);
        assert_eq!(server.vitals(), Vitals { in_flight: 0, latency: Duration::ZERO });
        for took in [5, 7, 90] {
            server.on_took(1, Duration::from_millis(took));
        }
        server.on_took(6, Duration::from_millis(40));
        assert_eq!(server.vitals().latency, Duration::from_millis(7));
        for _ in 0..4 {
            server.push(Instant::ZERO, 1.0, keys.insert(()));
        }
        assert_eq!(server.vitals(), Vitals { in_flight: 4, latency: Duration::from_millis(40) });
    }
}
