//! Round trips between many cities and many sites, worked out once.

use cdn_core::math;
use world::{Jitter, Place, World};

/// The paths between cities and sites: a table of cities by sites.
#[derive(Clone, Debug)]
pub struct Paths {
    sites: usize,
    /// City by city, in milliseconds.
    rtt_ms: Vec<f32>,
    jitter: Vec<Jitter>,
}

impl Paths {
    /// The undisturbed paths of `world`.
    pub fn new(world: &World, cities: &[Place], sites: &[Place]) -> Self {
        let pairs = cities.iter().flat_map(|city| sites.iter().map(move |site| world.path(city, site)));
        let (rtt_ms, jitter) = pairs.map(|path| (path.rtt.as_secs_f64() as f32 * 1000.0, path.jitter)).unzip();
        Self { sites: sites.len(), rtt_ms, jitter }
    }

    /// How many sites there are.
    pub const fn sites(&self) -> usize {
        self.sites
    }

    /// How many cities there are.
    pub fn cities(&self) -> usize {
        self.rtt_ms.len().checked_div(self.sites).unwrap_or(0)
    }

    /// The base round trips of a city in milliseconds, site by site; none for a city that is not in the table.
    pub fn of_city(&self, city: usize) -> &[f32] {
        self.rtt_ms.get(city * self.sites..(city + 1) * self.sites).unwrap_or_default()
    }

    /// The base round trip between a city and a site, in milliseconds; 0 where one of them is not in the table.
    pub fn rtt_ms(&self, city: usize, site: usize) -> f64 {
        self.of_city(city).get(site).copied().map_or(0.0, f64::from)
    }

    /// What comes on top of it, packet by packet.
    pub fn jitter(&self, city: usize, site: usize) -> Jitter {
        self.jitter.get(city * self.sites + site).copied().unwrap_or_default()
    }

    /// What a packet takes on top in milliseconds, by a draw of a standard normal; a second at most. A lognormal whose mean is
    /// the path's, which is `exp(mu + sigma^2 / 2)`.
    pub fn jitter_ms(&self, city: usize, site: usize, noise: f64) -> f64 {
        let jitter = self.jitter(city, site);
        let mean_ms = jitter.mean.as_secs_f64() * 1000.0;
        if mean_ms <= 0.0 {
            return 0.0;
        }
        (mean_ms * math::exp(jitter.sigma_ln * noise - jitter.sigma_ln * jitter.sigma_ln / 2.0)).min(1000.0)
    }

    /// The shortest base round trip of a city among the sites that `may` be chosen, and whose it is.
    pub fn best(&self, city: usize, may: impl Fn(usize) -> bool) -> Option<(usize, f64)> {
        let sites = self.of_city(city).iter().enumerate().filter(|(site, _)| may(*site));
        sites.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(site, rtt_ms)| (site, f64::from(*rtt_ms)))
    }
}
