//! More requests than a PoP can bear: what PoPs bear, what becomes of those who wait, and where a crowd comes from.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{Instant, PopCode};
use world::Place;

/// What PoPs can bear.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacities {
    /// Requests per second, by PoP; one that is not here bears everything. Default none.
    pub rps: BTreeMap<PopCode, f64>,
    /// Whoever would wait for longer is turned away. Default 2 s.
    pub wait_max: Duration,
}

impl Default for Capacities {
    fn default() -> Self {
        Self { rps: BTreeMap::new(), wait_max: Duration::from_secs(2) }
    }
}

/// More requests than usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Surge {
    /// What all cities together ask for meanwhile, in times of the usual; more than 1. The usual goes on.
    pub times: f64,
    /// In the middle of where the others come from.
    pub around: Place,
    /// How far from there they come, at most.
    pub radius_km: f64,
    /// When it begins, counted from the end of the warm-up.
    pub from: Duration,
    /// When it is over, counted likewise.
    pub until: Duration,
}

impl Surge {
    /// Whether it is on at `since` the end of the warm-up, which `has_begun`.
    pub(super) fn is_on(&self, since: Duration, has_begun: bool) -> bool {
        has_begun && (self.from..self.until).contains(&since)
    }

    /// Whether it comes from `city` too.
    pub(super) fn holds(&self, city: &Place) -> bool {
        city.coordinates.distance_km(self.around.coordinates) <= self.radius_km
    }
}

/// Those who wait at each PoP.
#[derive(Debug)]
pub(super) struct Queues {
    sites: Vec<Queue>,
    wait_max: Duration,
}

#[derive(Clone, Debug)]
struct Queue {
    capacity_rps: Option<f64>,
    /// When the last of those who wait has been served.
    free_at: Instant,
    arrived: u64,
    /// The second that is counted, and how many came in it.
    second: (u64, u64),
    /// Seconds in which more came than can be borne.
    overloaded_s: u64,
}

impl Queues {
    pub(super) fn new(capacities: &Capacities, pops: &[Place]) -> Self {
        let queue = |pop: &Place| Queue {
            capacity_rps: pop.pop_code().and_then(|code| capacities.rps.get(&code).copied()),
            free_at: Instant::ZERO,
            arrived: 0,
            second: (0, 0),
            overloaded_s: 0,
        };
        Self { sites: pops.iter().map(queue).collect(), wait_max: capacities.wait_max }
    }

    /// A request comes to a PoP: for how long it waits, `None` where it is turned away. `counts` for the overload.
    pub(super) fn join(&mut self, now: Instant, site: u16, counts: bool) -> Option<Duration> {
        let Some(queue) = self.sites.get_mut(usize::from(site)) else { return Some(Duration::ZERO) };
        queue.arrived += 1;
        let Some(capacity_rps) = queue.capacity_rps else { return Some(Duration::ZERO) };
        queue.count(now, if counts { capacity_rps } else { f64::INFINITY });
        let wait = queue.free_at.saturating_since(now);
        if wait > self.wait_max {
            return None;
        }
        queue.free_at = queue.free_at.max(now) + Duration::from_secs_f64(1.0 / capacity_rps);
        Some(wait)
    }

    /// How many requests have ever come to a PoP, where that is of interest.
    pub(super) fn arrived(&self, site: u16) -> Option<u64> {
        self.sites.get(usize::from(site)).filter(|queue| queue.capacity_rps.is_some()).map(|queue| queue.arrived)
    }

    /// For how long PoPs had more requests than they can bear.
    pub(super) fn overload(&self) -> Duration {
        Duration::from_secs(self.sites.iter().map(|queue| queue.overloaded_s).sum())
    }
}

impl Queue {
    /// One more in this second.
    fn count(&mut self, now: Instant, capacity_rps: f64) {
        let second = now.as_nanos() / 1_000_000_000;
        let before = self.second.1 as f64;
        self.second = if second == self.second.0 { (second, self.second.1 + 1) } else { (second, 1) };
        let is_over = |count: f64| count > capacity_rps;
        self.overloaded_s += u64::from(is_over(self.second.1 as f64) && (self.second.1 == 1 || !is_over(before)));
    }
}

#[cfg(test)]
mod tests {
    use world::Atlas;

    use super::*;

    #[test]
    fn a_pop_serves_one_after_the_other_and_turns_away_who_would_wait_for_too_long() {
        let pop = Atlas::embedded().place("FRA").unwrap().clone();
        let capacities =
            Capacities { rps: [("FRA".parse().unwrap(), 10.0)].into(), wait_max: Duration::from_millis(450) };
        let mut queues = Queues::new(&capacities, &[pop]);
        let waits: Vec<_> = (0..7).map(|_| queues.join(Instant::ZERO, 0, true).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(0), Some(100), Some(200), Some(300), Some(400), None, None]);
        let later = Instant::ZERO + Duration::from_secs(1);
        assert_eq!(queues.join(later, 0, true), Some(Duration::ZERO));
        assert_eq!((queues.arrived(0), queues.overload()), (Some(8), Duration::ZERO));
        for _ in 0..30 {
            queues.join(later, 0, true);
        }
        assert_eq!(queues.overload(), Duration::from_secs(1));
        assert_eq!(queues.join(later, 9, true), Some(Duration::ZERO), "no such PoP has no limit");
    }
}
