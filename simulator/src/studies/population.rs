//! Clients and the resolvers that ask for them: blocks of addresses where people live, and how far off who asks is.
//!
//! Decides where blocks and resolvers stand and who asks for whom. How far resolvers are from their clients is taken from
//! Chen, Sitaraman and Torres, "End-User Mapping" (SIGCOMM 2015), sections 3.2 and 3.3; nothing else of theirs is. Knows no
//! sites and no paths.

use cdn_core::math;
use rand::{RngExt as _, distr::Distribution as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use world::{Coordinates, CountryCode, Place, chance::StandardNormal, stream};

/// Kilometres in a mile, which the paper counts in.
pub const KM_PER_MILE: f64 = 1.609_344;

/// Kilometres in a degree of latitude.
const KM_PER_DEGREE: f64 = 111.195;

/// How far from a city's centre its blocks are, along each axis: one standard deviation.
const CITY_KM: f64 = 20.0;

/// Distances nearer to each other than this, as a difference of logarithms, count as alike when a resolver is chosen.
const ALIKE_LN: f64 = 0.15;

/// A resolver of the client's own country is taken while its distance is not further off than this.
const SAME_COUNTRY_LN: f64 = 0.7;

/// Distances below this differ little from one another.
const NEAR_KM: f64 = 15.0;

/// How far resolvers are from their clients, by demand.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolverDistances {
    /// The share of demand behind public resolvers. Default 0.08.
    pub public_share: f64,
    /// Half of that is farther from its resolver than this. Default 1,028 miles.
    pub public_km_median: f64,
    /// The spread of those distances: standard deviation of the logarithm. Default 0.8, an assumption.
    pub public_sigma_ln: f64,
    /// Of the other demand, the share with a resolver nearby. Default 0.54.
    pub local_share: f64,
    /// What is nearby. Default 135 miles, with which the median over all demand comes to the paper's 162.
    pub local_km: f64,
    /// Of the other demand, the share at 500 to 1,000 miles. Default 0.053.
    pub far_share: f64,
    /// Of the other demand, the share beyond, up to 4,000 miles. Default 0.062.
    pub farther_share: f64,
}

impl Default for ResolverDistances {
    fn default() -> Self {
        Self {
            public_share: 0.08,
            public_km_median: 1028.0 * KM_PER_MILE,
            public_sigma_ln: 0.8,
            local_share: 0.54,
            local_km: 135.0 * KM_PER_MILE,
            far_share: 0.053,
            farther_share: 0.062,
        }
    }
}

/// A block of client addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientBlock {
    /// Where it is.
    pub at: Coordinates,
    /// Its city, by position.
    pub city: usize,
    /// Users in it.
    pub users: f64,
    /// Who asks for it, by position among the resolvers.
    pub resolver: usize,
}

/// A resolver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resolver {
    /// Where it is.
    pub at: Coordinates,
    /// Its country.
    pub country: CountryCode,
    /// Open to everybody, and no provider's own.
    pub is_public: bool,
}

/// Blocks and resolvers.
#[derive(Clone, Debug)]
pub struct Population {
    /// City by city.
    pub blocks: Vec<ClientBlock>,
    /// Those of providers first.
    pub resolvers: Vec<Resolver>,
}

/// What a population is made of.
#[derive(Clone, Debug)]
pub struct PopulationOptions<'a> {
    /// Where people live, and how many.
    pub cities: &'a [Place],
    /// Blocks: one in each city, the others by its users.
    pub blocks: usize,
    /// Resolvers of providers, likewise.
    pub resolvers: usize,
    /// Where public resolvers stand.
    pub public: &'a [Place],
    /// How far resolvers are.
    pub distances: &'a ResolverDistances,
    /// The draw.
    pub seed: u64,
}

impl Population {
    /// Draws a population.
    pub fn new(options: &PopulationOptions<'_>) -> Self {
        let mut rng = stream(options.seed, &["resolvers"]);
        let of_providers = scattered(options.cities, options.resolvers, &mut rng);
        let country = |city: usize| options.cities.get(city).map(|place| place.country);
        let of_providers = of_providers
            .into_iter()
            .filter_map(|(city, at)| Some(Resolver { at, country: country(city)?, is_public: false }));
        let public =
            options.public.iter().map(|at| Resolver { at: at.coordinates, country: at.country, is_public: true });
        let resolvers: Vec<Resolver> = of_providers.chain(public).collect();
        let mut rng = stream(options.seed, &["blocks"]);
        let places = scattered(options.cities, options.blocks, &mut rng);
        let mut of_city = vec![0_u32; options.cities.len()];
        for &(city, _) in &places {
            if let Some(count) = of_city.get_mut(city) {
                *count += 1;
            }
        }
        let blocks = places.into_iter().filter_map(|(city, at)| {
            let (place, &siblings) = options.cities.get(city).zip(of_city.get(city))?;
            let users = place.users.max(1) as f64 / f64::from(siblings.max(1));
            let resolver = options.distances.draw(at, place.country, &resolvers, &mut rng);
            Some(ClientBlock { at, city, users, resolver })
        });
        Self { blocks: blocks.collect(), resolvers }
    }

    /// Kilometres from each block to its resolver.
    pub fn resolver_km(&self) -> Vec<f64> {
        let km = |block: &ClientBlock| self.resolvers.get(block.resolver).map(|one| one.at.distance_km(block.at));
        self.blocks.iter().map(|block| km(block).unwrap_or(0.0)).collect()
    }

    /// The blocks that each resolver asks for, by position.
    pub fn behind(&self) -> Vec<Vec<usize>> {
        let mut behind = vec![Vec::new(); self.resolvers.len()];
        for (number, block) in self.blocks.iter().enumerate() {
            if let Some(behind) = behind.get_mut(block.resolver) {
                behind.push(number);
            }
        }
        behind
    }
}

impl ResolverDistances {
    /// Who asks for a block: a resolver about as far off as is drawn, of its country where there is one.
    fn draw(&self, from: Coordinates, country: CountryCode, resolvers: &[Resolver], rng: &mut ChaCha8Rng) -> usize {
        let is_public = rng.random::<f64>() < self.public_share && resolvers.iter().any(|one| one.is_public);
        let km = if is_public { self.public_km(rng) } else { self.provider_km(rng) };
        let off = |one: &Resolver| math::ln((one.at.distance_km(from) + NEAR_KM) / (km + NEAR_KM)).abs();
        let all = resolvers.iter().enumerate().filter(|(_, one)| one.is_public == is_public);
        let all: Vec<(usize, f64, bool)> =
            all.map(|(number, one)| (number, off(one), is_public || one.country == country)).collect();
        let nearest = |candidates: &[(usize, f64, bool)]| candidates.iter().map(|(_, off, _)| *off).reduce(f64::min);
        let own: Vec<(usize, f64, bool)> = all.iter().copied().filter(|(_, _, is_own)| *is_own).collect();
        let candidates = if nearest(&own).is_some_and(|off| off < SAME_COUNTRY_LN) { own } else { all };
        let within = nearest(&candidates).unwrap_or(0.0).max(ALIKE_LN);
        let alike: Vec<usize> = candidates.iter().filter(|(_, off, _)| *off <= within).map(|(at, ..)| *at).collect();
        alike.choose(rng).copied().unwrap_or(0)
    }

    fn public_km(&self, rng: &mut ChaCha8Rng) -> f64 {
        let normal: f64 = StandardNormal.sample(rng);
        self.public_km_median * math::exp(self.public_sigma_ln * normal)
    }

    /// Even below what is nearby, and even in the logarithm from there to the next bound.
    fn provider_km(&self, rng: &mut ChaCha8Rng) -> f64 {
        let (part, within): (f64, f64) = (rng.random(), rng.random());
        let between = |low: f64, high: f64| low * math::powf(high / low, within);
        let mile = KM_PER_MILE;
        if part < self.local_share {
            self.local_km * within
        } else if part < 1.0 - self.far_share - self.farther_share {
            between(self.local_km, 500.0 * mile)
        } else if part < 1.0 - self.farther_share {
            between(500.0 * mile, 1000.0 * mile)
        } else {
            between(1000.0 * mile, 4000.0 * mile)
        }
    }
}

/// So many points around cities: one in each, the others by users, those of a city together. Fewer than there are cities are
/// in those with the most users, which are the first.
pub fn scattered(cities: &[Place], points: usize, rng: &mut ChaCha8Rng) -> Vec<(usize, Coordinates)> {
    let counts = apportioned(cities, points);
    let mut scattered = Vec::with_capacity(points);
    for ((city, place), count) in cities.iter().enumerate().zip(counts) {
        scattered.extend((0..count).map(|_| (city, near(place.coordinates, rng))));
    }
    scattered
}

/// How many of so many each city gets: one, and of the others its share by largest remainder.
fn apportioned(cities: &[Place], points: usize) -> Vec<usize> {
    let first = points.min(cities.len());
    let mut counts: Vec<usize> = (0..cities.len()).map(|city| usize::from(city < first)).collect();
    let (others, users) = ((points - first) as f64, cities.iter().map(|city| city.users.max(1) as f64).sum::<f64>());
    let quota = |city: &Place| others * city.users.max(1) as f64 / users;
    let mut remainders: Vec<(usize, f64)> = Vec::with_capacity(cities.len());
    for (number, (city, count)) in cities.iter().zip(&mut counts).enumerate() {
        let quota = quota(city);
        *count += quota as usize;
        remainders.push((number, quota.fract()));
    }
    remainders.sort_by(|(a_at, a), (b_at, b)| b.total_cmp(a).then(a_at.cmp(b_at)));
    let left = points.saturating_sub(counts.iter().sum());
    for (city, _) in remainders.into_iter().take(left) {
        if let Some(count) = counts.get_mut(city) {
            *count += 1;
        }
    }
    counts
}

/// A point of a city.
fn near(centre: Coordinates, rng: &mut ChaCha8Rng) -> Coordinates {
    let (north, east): (f64, f64) = (StandardNormal.sample(rng), StandardNormal.sample(rng));
    let lat = (centre.lat() + north * CITY_KM / KM_PER_DEGREE).clamp(-89.0, 89.0);
    let lon = centre.lon() + east * CITY_KM / (KM_PER_DEGREE * math::cos(lat.to_radians()));
    Coordinates::new(lat, (lon + 540.0).rem_euclid(360.0) - 180.0).unwrap_or(centre)
}

#[cfg(test)]
mod tests {
    use world::Atlas;

    use super::*;
    use crate::studies::weighted::Weighted;

    fn drawn(blocks: usize, resolvers: usize, seed: u64) -> Population {
        let atlas = Atlas::embedded();
        let cities: Vec<Place> = atlas.cities().iter().map(|city| city.place.clone()).collect();
        let public: Vec<Place> = atlas.pops().iter().filter(|pop| pop.google).map(|pop| pop.place.clone()).collect();
        let distances = ResolverDistances::default();
        Population::new(&PopulationOptions {
            cities: &cities,
            blocks,
            resolvers,
            public: &public,
            distances: &distances,
            seed,
        })
    }

    #[test]
    fn resolvers_are_as_far_from_their_clients_as_was_measured() {
        let population = drawn(8000, 1250, 1);
        let miles = population.resolver_km().into_iter().map(|km| km / KM_PER_MILE);
        let all: Vec<(f64, f64, bool)> = miles
            .zip(&population.blocks)
            .map(|(miles, block)| (miles, block.users, population.resolvers[block.resolver].is_public))
            .collect();
        let demand = |of: &dyn Fn(&(f64, f64, bool)) -> bool| -> f64 {
            all.iter().filter(|one| of(one)).map(|(_, users, _)| users).sum()
        };
        let (public, others) = (demand(&|one| one.2), demand(&|one| !one.2));
        let near =
            |value: f64, expected: f64, by: f64| assert!((value - expected).abs() <= by, "{value}, not {expected}");
        near(public / (public + others), 0.08, 0.01);
        near(demand(&|one| !one.2 && one.0 >= 1000.0) / others, 0.062, 0.015);
        near(demand(&|one| !one.2 && (500.0..1000.0).contains(&one.0)) / others, 0.053, 0.02);
        let median = |of: &dyn Fn(&(f64, f64, bool)) -> bool| {
            let some = all.iter().filter(|one| of(one)).map(|one| (one.0 as f32, one.1));
            Weighted::new(some).unwrap().quantile(0.5)
        };
        near(median(&|_| true), 162.0, 20.0);
        near(median(&|one| one.2), 1028.0, 100.0);
    }

    #[test]
    fn every_city_has_a_block_and_large_ones_have_more_and_users_stay_the_same() {
        let atlas = Atlas::embedded();
        let population = drawn(2642, 1000, 7);
        assert_eq!(
            (population.blocks.len(), population.resolvers.len()),
            (2642, 1000 + atlas.pops().iter().filter(|pop| pop.google).count())
        );
        let of = |city: usize| population.blocks.iter().filter(|block| block.city == city).count();
        assert!(of(0) > 5 && (0..atlas.cities().len()).all(|city| of(city) > 0), "{}", of(0));
        let users: f64 = population.blocks.iter().map(|block| block.users).sum();
        let all: f64 = atlas.cities().iter().map(|city| city.place.users.max(1) as f64).sum();
        assert!((users / all - 1.0).abs() < 1e-9);
        for block in &population.blocks {
            assert!(block.at.distance_km(atlas.cities()[block.city].place.coordinates) < 150.0);
        }
        assert_eq!(drawn(50, 40, 3).blocks, drawn(50, 40, 3).blocks);
        assert_ne!(drawn(50, 40, 3).blocks, drawn(50, 40, 4).blocks);
    }
}
