//! What came out of a bake-off: figures of one scheme, and what each city saw.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// What came out for one scheme.
#[derive(Clone, Debug)]
pub struct Routed {
    /// Of requests that were answered, in microseconds.
    pub latency_us: Histogram<u64>,
    /// Requests.
    pub requests: u64,
    /// Requests that nobody answered.
    pub lost: u64,
    /// Requests that met a silent edge, answered or lost.
    pub harmed: u64,
    /// Requests that went to the edge with the client's shortest base round trip.
    pub on_best: u64,
    /// The sum of base round trips over the sum of the best ones.
    pub stretch: f64,
    /// What requests would have taken in the mean, in milliseconds, had each gone to its best edge and nobody waited there.
    pub ideal_ms: f64,
    /// Requests that a PoP turned away, because it had too many. They are lost.
    pub turned_away: u64,
    /// For how long PoPs got more requests than they can bear, all of them together.
    pub overload: Duration,
    /// Questions that reached the router.
    pub questions: u64,
    /// City by city.
    pub cities: Vec<CityTally>,
    /// The same before the PoP dies; empty where none does.
    pub cities_before: Vec<CityTally>,
    /// The same since it died; empty where none does.
    pub cities_after: Vec<CityTally>,
    /// Requests by PoP; of the origin alone where nobody chooses.
    pub by_site: Vec<u64>,
    /// From the death of the PoP until the router knew it.
    pub detected: Option<Duration>,
    /// From the death of the PoP until the last request that met silence.
    pub back: Option<Duration>,
    /// For each second after the death the share of requests whose first address was that of the dead PoP.
    pub stale_by_second: Vec<f64>,
}

/// What the clients of one city saw.
#[derive(Clone, Debug, Default)]
pub struct CityTally {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that nobody answered.
    pub lost: u64,
    /// The sum of their times, in milliseconds.
    pub sum_ms: f64,
    /// Requests by PoP, as far as any went there.
    pub by_site: BTreeMap<u16, u64>,
}

impl CityTally {
    /// A request to a site, and how long it took if it was answered.
    pub(super) fn count(&mut self, site: u16, ms: Option<f64>) {
        match ms {
            Some(ms) => {
                self.answered += 1;
                self.sum_ms += ms;
                *self.by_site.entry(site).or_default() += 1;
            }
            None => self.lost += 1,
        }
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.sum_ms / self.answered as f64)
    }

    /// The site that most went to.
    pub fn site(&self) -> Option<u16> {
        self.by_site.iter().max_by_key(|(site, count)| (**count, Reverse(**site))).map(|(site, _)| *site)
    }
}

impl Routed {
    /// A quantile of the latency, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// How many times the mean the busiest PoP has.
    pub fn imbalance(&self) -> f64 {
        let (most, sum) = (self.by_site.iter().max().copied().unwrap_or(0), self.by_site.iter().sum::<u64>());
        if sum == 0 { 0.0 } else { most as f64 * self.by_site.len() as f64 / sum as f64 }
    }

    /// For how long, in the mean, clients of the dead PoP were still sent there: the area under the curve of
    /// [`stale_by_second`](Self::stale_by_second) over its height in the first second. None where nothing died.
    pub fn stale_span(&self) -> Option<Duration> {
        Some(Duration::from_secs_f64(self.still_by_second()?.sum()))
    }

    /// For each second after the death the share of the dead PoP's clients who are still sent there. None where nothing died.
    pub fn still_by_second(&self) -> Option<impl Iterator<Item = f64>> {
        let at_first = *self.stale_by_second.first().filter(|share| **share > 0.0)?;
        Some(self.stale_by_second.iter().map(move |share| share / at_first))
    }

    /// The city with the highest mean of those where at least `least` requests were answered, by its position.
    pub fn worst_city(&self, least: u64) -> Option<usize> {
        let busy = self.cities.iter().enumerate().filter(|(_, city)| city.answered >= least);
        let means = busy.filter_map(|(at, city)| Some((at, city.mean_ms()?)));
        means.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(at, _)| at)
    }
}

/// Of microseconds, to a tenth of a percent, up to a minute.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| unreachable!("bounds and digits are in range"))
}
