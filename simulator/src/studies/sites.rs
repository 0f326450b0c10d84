//! Where to have sites: what users gain with each one more.
//!
//! Users are sent to the site with the shortest round trip, which is what a router that knew everything would do; so the
//! numbers are what sites are worth, and no policy's doing.

use rand::seq::SliceRandom as _;
use world::stream;

use super::{paths::Paths, weighted::Weighted};

/// What the users of a set of sites see, weighted by users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// How many sites.
    pub sites: usize,
    /// Mean round trip in milliseconds.
    pub mean_ms: f64,
    /// Median over users.
    pub p50_ms: f64,
    /// 95th percentile over users.
    pub p95_ms: f64,
    /// 99th percentile over users.
    pub p99_ms: f64,
}

impl Reach {
    /// Of round trips in milliseconds and the users who see them; none without users.
    pub fn of(sites: usize, seen: impl IntoIterator<Item = (f32, f64)>) -> Option<Self> {
        let seen = Weighted::new(seen)?;
        let [p50_ms, p95_ms, p99_ms] = [0.5, 0.95, 0.99].map(|share| seen.quantile(share));
        Some(Self { sites, mean_ms: seen.mean(), p50_ms, p95_ms, p99_ms })
    }
}

/// The users of each city, and what the best of the sites chosen so far gives them.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    paths: &'a Paths,
    users: &'a [f64],
    /// City by city, in milliseconds; infinite before there is a site.
    best_ms: Vec<f32>,
    chosen: Vec<usize>,
}

impl<'a> Placement<'a> {
    /// No site yet. `users` are weights of the table's cities, in their order.
    pub fn new(paths: &'a Paths, users: &'a [f64]) -> Self {
        Self { paths, users, best_ms: vec![f32::INFINITY; paths.cities().min(users.len())], chosen: Vec::new() }
    }

    /// The sites, in the order in which they were added.
    pub fn chosen(&self) -> &[usize] {
        &self.chosen
    }

    /// City by city, the round trip to the best site in milliseconds; infinite before there is one.
    pub fn best_ms(&self) -> &[f32] {
        &self.best_ms
    }

    /// One more site.
    pub fn add(&mut self, site: usize) {
        for (city, best) in self.best_ms.iter_mut().enumerate() {
            *best = best.min(self.paths.of_city(city).get(site).copied().unwrap_or(f32::INFINITY));
        }
        self.chosen.push(site);
    }

    /// The one of `candidates` that takes most off the mean; of equals the one listed first. None where none is left.
    pub fn greediest(&self, candidates: &[usize]) -> Option<usize> {
        let sum = |site: usize| -> f64 {
            let seen = self.best_ms.iter().zip(self.users).enumerate();
            let of_city = |(city, (best, users)): (usize, (&f32, &f64))| {
                let here = self.paths.of_city(city).get(site).copied().unwrap_or(f32::INFINITY);
                f64::from(best.min(here)) * users
            };
            seen.map(of_city).sum()
        };
        let left = candidates.iter().filter(|site| !self.chosen.contains(site));
        left.map(|&site| (site, sum(site))).min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(site, _)| site)
    }

    /// What users see now; none without a site or without users.
    pub fn reach(&self) -> Option<Reach> {
        if self.chosen.is_empty() {
            return None;
        }
        Reach::of(self.chosen.len(), self.best_ms.iter().copied().zip(self.users.iter().copied()))
    }
}

/// The sites in an order of chance, which is that of the seed.
pub fn random_order(sites: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sites).collect();
    order.shuffle(&mut stream(seed, &["order of sites"]));
    order
}

#[cfg(test)]
mod tests {
    use world::{Atlas, Place, World, WorldOptions};

    use super::*;

    fn table() -> (Paths, Vec<f64>) {
        let atlas = Atlas::embedded();
        let cities: Vec<Place> = atlas.cities().iter().take(60).map(|city| city.place.clone()).collect();
        let sites: Vec<Place> = atlas.pops().iter().step_by(9).map(|pop| pop.place.clone()).collect();
        let users = cities.iter().map(|city| city.users as f64).collect();
        (Paths::new(&World::new(atlas, WorldOptions::default()), &cities, &sites), users)
    }

    #[test]
    fn a_site_more_never_hurts_and_the_greedy_one_is_the_best_single_step() {
        let (paths, users) = table();
        let all: Vec<usize> = (0..paths.sites()).collect();
        let mut placement = Placement::new(&paths, &users);
        let mut before = f64::INFINITY;
        while let Some(site) = placement.greediest(&all) {
            let others = all.iter().filter(|site| !placement.chosen().contains(site)).map(|&other| {
                let mut tried = placement.clone();
                tried.add(other);
                tried.reach().unwrap().mean_ms
            });
            let best = others.fold(f64::INFINITY, f64::min);
            placement.add(site);
            let reach = placement.reach().unwrap();
            assert!((reach.mean_ms - best).abs() < 1e-6 && reach.mean_ms <= before + 1e-9);
            assert!(reach.p50_ms <= reach.p95_ms && reach.p95_ms <= reach.p99_ms);
            before = reach.mean_ms;
        }
        assert_eq!(placement.chosen().len(), paths.sites());
    }

    #[test]
    fn the_last_reach_does_not_hang_on_the_order() {
        let (paths, users) = table();
        let last = |seed| {
            let mut placement = Placement::new(&paths, &users);
            random_order(paths.sites(), seed).into_iter().for_each(|site| placement.add(site));
            placement.reach().unwrap()
        };
        assert_eq!(last(1), last(2));
        assert_ne!(random_order(30, 1), random_order(30, 2));
    }
}
