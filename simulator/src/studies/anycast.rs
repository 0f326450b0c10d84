//! Anycast against unicast: where networks carry clients, and whether yesterday's measurements choose better.
//!
//! After Calder et al., "Analyzing the Performance of an Anycast CDN" (IMC 2015). Where a block of clients comes out is what
//! the router's anycast policy answers it, whose detours are to be calibrated on distances alone. Each beacon measures the
//! way of anycast and three unicast sites: the one nearest to the client's resolver, and two of the nine next, the nearer
//! the likelier. Of one day a choice is made for each group of clients, which is either a block or all that one resolver
//! asks for, and judged on the next.
//!
//! A round trip is the world's path from the block's city, times a draw of its own per block and site, times another per
//! day, with the path's jitter on top. The way of anycast to a site is the unicast way to it. Left out are changes of
//! catchments from day to day, the time that a measurement in a browser takes beside the network, and losses.

use std::collections::BTreeMap;

use cdn_core::{
    Instant,
    geo::{self, Point},
    math,
    routing::{AnycastOptions, Host, Planner, PolicyKind, RoutingOptions},
};
use rand::distr::{Distribution as _, weighted::WeightedIndex};
use rand_chacha::ChaCha8Rng;
use world::{Place, chance::StandardNormal, stream};

use super::{
    network::{candidates, network_of, prefixes, site_of},
    paths::Paths,
    population::Population,
    weighted::Weighted,
};

/// Sites near the resolver of which some are measured.
const NEAR: usize = 10;
/// Of those, how many beside the nearest.
const OTHERS: usize = 2;
/// From so many samples on a way is judged.
pub const SAMPLES_MIN: usize = 20;
/// By how many milliseconds anycast must be slower to count, in three steps.
pub const SLOWER_MS: [f32; 3] = [10.0, 25.0, 100.0];

/// What is studied.
#[derive(Clone, Debug)]
pub struct AnycastStudy<'a> {
    /// Where edges stand.
    pub pops: &'a [Place],
    /// Who asks.
    pub population: &'a Population,
    /// From the population's cities to the PoPs.
    pub paths: &'a Paths,
    /// The catchments.
    pub catchments: AnycastOptions,
    /// Beacons of a block in a day, in the mean.
    pub beacons: f64,
    /// What blocks of a city differ by on the way to a site: standard deviation of the logarithm.
    pub block_sigma_ln: f64,
    /// What days differ by on the way from a block to a site, likewise.
    pub day_sigma_ln: f64,
    /// The run.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anycast {
    /// What catchments are calibrated on.
    pub catchment: Catchment,
    /// The share of requests for which anycast is slower than the best of three unicast sites by [`SLOWER_MS`] or more.
    pub slower: [f64; 3],
    /// A choice for each block.
    pub by_block: Prediction,
    /// A choice for all blocks behind a resolver.
    pub by_resolver: Prediction,
}

/// Where clients come out, by requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Catchment {
    /// The share that comes out at the nearest site.
    pub at_nearest: f64,
    /// The share that comes out at most 400 km farther away than that.
    pub within_400_km: f64,
    /// The share that comes out at most 1,375 km farther away.
    pub within_1375_km: f64,
    /// Kilometres to the nearest site, the second and the fourth, in the median.
    pub km_p50: [f64; 3],
}

/// What yesterday's measurements do to today's requests, against anycast. Shares are of all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Sent to another site than anycast's.
    pub redirected: f64,
    /// Whose median request is faster for it.
    pub helped: f64,
    /// Whose median request is slower for it.
    pub hurt: f64,
    /// Faster by 10 ms or more.
    pub helped_10_ms: f64,
    /// Slower by 10 ms or more.
    pub hurt_10_ms: f64,
    /// What the median request gains in milliseconds, in the mean over all requests.
    pub gain_ms: f64,
}

/// A way that is measured: anycast is none, a unicast site its position.
type Way = Option<u16>;

/// Of a group of clients, what was measured on each way.
type Samples = BTreeMap<Way, Vec<f32>>;

/// A block as it is measured.
struct Measured {
    city: usize,
    resolver: usize,
    beacons: usize,
    /// Where anycast carries it.
    catchment: u16,
    /// Factors of the ways to sites, by site: the block's own, and yesterday's and today's.
    own: Vec<f64>,
    days: [Vec<f64>; 2],
}

impl AnycastStudy<'_> {
    /// Plays two days.
    pub fn play(&self) -> Anycast {
        let near: Vec<Vec<u16>> = self.population.resolvers.iter().map(|resolver| self.nearest(resolver.at)).collect();
        let blocks = self.blocks();
        let mut rng = stream(self.seed, &["beacons"]);
        let mut of_resolver: BTreeMap<usize, Samples> = BTreeMap::new();
        let mut choice_of_block = Vec::with_capacity(blocks.len());
        let (mut slower, mut requests) = ([0_u64; 3], 0);
        for block in &blocks {
            let mut samples = Samples::new();
            for _ in 0..block.beacons {
                let anycast_ms = self.sample(block, block.catchment, &mut rng);
                samples.entry(None).or_default().push(anycast_ms);
                let mut best_ms = f32::INFINITY;
                for site in measured_sites(near.get(block.resolver).map_or(&[], Vec::as_slice), &mut rng) {
                    let ms = self.sample(block, site, &mut rng);
                    samples.entry(Some(site)).or_default().push(ms);
                    best_ms = best_ms.min(ms);
                }
                requests += 1;
                for (slower, least) in slower.iter_mut().zip(SLOWER_MS) {
                    *slower += u64::from(anycast_ms - best_ms >= least);
                }
            }
            let pooled = of_resolver.entry(block.resolver).or_default();
            for (way, samples) in &samples {
                pooled.entry(*way).or_default().extend(samples);
            }
            choice_of_block.push(chosen(&mut samples));
        }
        let choice_of_resolver: BTreeMap<usize, Way> =
            of_resolver.iter_mut().map(|(resolver, samples)| (*resolver, chosen(samples))).collect();
        let choice_by_resolver = |block: &Measured| choice_of_resolver.get(&block.resolver).copied().flatten();
        Anycast {
            catchment: self.catchment(&blocks),
            slower: slower.map(|slower| slower as f64 / f64::from(requests.max(1))),
            by_block: self.judged(blocks.iter().zip(choice_of_block)),
            by_resolver: self.judged(blocks.iter().map(|block| (block, choice_by_resolver(block)))),
        }
    }

    /// The sites nearest to a point, nearest first.
    fn nearest(&self, at: world::Coordinates) -> Vec<u16> {
        let mut sites: Vec<(f64, u16)> =
            self.pops.iter().zip(0..).map(|(pop, site)| (pop.coordinates.distance_km(at), site)).collect();
        sites.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        sites.into_iter().take(NEAR).map(|(_, site)| site).collect()
    }

    /// The blocks that anycast carries somewhere, with their draws.
    fn blocks(&self) -> Vec<Measured> {
        let users: f64 = self.population.blocks.iter().map(|block| block.users).sum();
        let mean_users = users / self.population.blocks.len().max(1) as f64;
        let carried = self.carried();
        let sites = self.pops.len();
        let blocks = self.population.blocks.iter().zip(carried).enumerate();
        let measured = blocks.filter_map(|(number, (block, catchment))| {
            let mut rng = stream(self.seed, &["block", &number.to_string()]);
            let mut factors = |sigma_ln: f64| -> Vec<f64> {
                let normal = StandardNormal.sample_iter(&mut rng).take(sites);
                normal.map(|normal: f64| math::exp(sigma_ln * normal)).collect()
            };
            let (own, days) = (factors(self.block_sigma_ln), [self.day_sigma_ln; 2].map(&mut factors));
            let beacons = (self.beacons * block.users / mean_users).round() as usize;
            Some(Measured { city: block.city, resolver: block.resolver, beacons, catchment: catchment?, own, days })
        });
        measured.collect()
    }

    /// Where anycast carries each block: what a router with that policy answers it.
    fn carried(&self) -> Vec<Option<u16>> {
        let blocks = &self.population.blocks;
        let place = |block: &super::population::ClientBlock| {
            let point = Point::new(block.at.lat(), block.at.lon()).ok()?;
            Some(geo::Place { point, country: "".into(), label: "".into() })
        };
        let options = RoutingOptions {
            policy: PolicyKind::Anycast,
            anycast: self.catchments.clone(),
            seed: self.seed,
            ..RoutingOptions::default()
        };
        let (geo, now) = (prefixes(blocks.iter().map(place)), Instant::ZERO);
        let mut planner = Planner::new(now, options, geo, candidates(self.pops), vec![Host::new("study")]);
        // All are well, so that nobody is sent on.
        while let Some(probe) = planner.poll_probe(now) {
            planner.handle_probe(now, probe, Ok(std::time::Duration::from_millis(1)));
        }
        let snapshot = planner.build_snapshot(now);
        let site = |number: u32| {
            let (answer, _) = snapshot.answer(0, network_of(number).into(), 0);
            snapshot.addresses(0, answer).next().map(|address| site_of(*address.ip()))
        };
        (0..).take(blocks.len()).map(site).collect()
    }

    /// The base round trip of a day in milliseconds: 0 is yesterday.
    fn base_ms(&self, block: &Measured, site: u16, day: usize) -> f64 {
        let site = usize::from(site);
        let factor = |of: &[f64]| of.get(site).copied().unwrap_or(1.0);
        self.paths.rtt_ms(block.city, site) * factor(&block.own) * block.days.get(day).map_or(1.0, |day| factor(day))
    }

    /// What one request took yesterday.
    fn sample(&self, block: &Measured, site: u16, rng: &mut ChaCha8Rng) -> f32 {
        let normal: f64 = StandardNormal.sample(rng);
        (self.base_ms(block, site, 0) + self.paths.jitter_ms(block.city, usize::from(site), normal)) as f32
    }

    /// What the median request takes today.
    fn median_today_ms(&self, block: &Measured, site: u16) -> f64 {
        self.base_ms(block, site, 1) + self.paths.jitter_ms(block.city, usize::from(site), 0.0)
    }

    /// What choices do to today's requests.
    fn judged<'b>(&self, choices: impl Iterator<Item = (&'b Measured, Way)>) -> Prediction {
        let mut prediction = Prediction::default();
        let mut all = 0.0;
        for (block, way) in choices {
            let requests = block.beacons as f64;
            all += requests;
            let Some(site) = way.filter(|site| *site != block.catchment) else { continue };
            let gain_ms = self.median_today_ms(block, block.catchment) - self.median_today_ms(block, site);
            let of = |is_so: bool| if is_so { requests } else { 0.0 };
            prediction.redirected += requests;
            prediction.helped += of(gain_ms > 0.0);
            prediction.hurt += of(gain_ms < 0.0);
            prediction.helped_10_ms += of(gain_ms >= 10.0);
            prediction.hurt_10_ms += of(gain_ms <= -10.0);
            prediction.gain_ms += requests * gain_ms;
        }
        let Prediction { redirected, helped, hurt, helped_10_ms, hurt_10_ms, gain_ms } = &mut prediction;
        for sum in [redirected, helped, hurt, helped_10_ms, hurt_10_ms, gain_ms] {
            *sum /= f64::max(all, 1.0);
        }
        prediction
    }

    fn catchment(&self, blocks: &[Measured]) -> Catchment {
        let mut farther = Vec::with_capacity(blocks.len());
        let mut by_rank = [const { Vec::new() }; 3];
        // Blocks that are carried nowhere are in neither list, and with candidates there is none.
        for (block, client) in blocks.iter().zip(&self.population.blocks) {
            let requests = block.beacons as f64;
            let km: Vec<f64> = self.pops.iter().map(|pop| pop.coordinates.distance_km(client.at)).collect();
            let mut sorted = km.clone();
            sorted.sort_by(f64::total_cmp);
            let nearest = sorted.first().copied().unwrap_or(0.0);
            let carried = km.get(usize::from(block.catchment)).copied().unwrap_or(nearest);
            farther.push(((carried - nearest) as f32, requests));
            for (rank, list) in [0, 1, 3].into_iter().zip(&mut by_rank) {
                list.extend(sorted.get(rank).map(|km| (*km as f32, requests)));
            }
        }
        let share_to =
            |km: f32| Weighted::new(farther.iter().copied()).map_or(0.0, |all| 1.0 - all.share_from(km.next_up()));
        Catchment {
            at_nearest: share_to(0.0),
            within_400_km: share_to(400.0),
            within_1375_km: share_to(1375.0),
            km_p50: by_rank.map(|km| Weighted::new(km).map_or(0.0, |km| km.quantile(0.5))),
        }
    }
}

/// The unicast sites of one beacon: the nearest, and others of chance, by one over their rank.
fn measured_sites(near: &[u16], rng: &mut ChaCha8Rng) -> Vec<u16> {
    let mut left: Vec<(u16, f64)> = near.iter().copied().zip((1..).map(|rank| 1.0 / f64::from(rank))).collect();
    let mut sites = Vec::with_capacity(1 + OTHERS);
    while sites.len() <= OTHERS && !left.is_empty() {
        let at = if sites.is_empty() {
            0
        } else {
            WeightedIndex::new(left.iter().map(|(_, weight)| weight)).map_or(0, |index| index.sample(rng))
        };
        sites.push(left.remove(at).0);
    }
    sites
}

/// The way whose 25th percentile was the lowest, of those with enough samples; anycast where none is lower.
fn chosen(samples: &mut Samples) -> Way {
    let quartile = |samples: &mut Vec<f32>| {
        if samples.len() < SAMPLES_MIN {
            return None;
        }
        let at = samples.len() / 4;
        Some(*samples.select_nth_unstable_by(at, f32::total_cmp).1)
    };
    // Without samples of anycast there is nothing that a site could be better than.
    let anycast_ms = samples.get_mut(&None).and_then(quartile)?;
    let sites = samples.iter_mut().filter_map(|(way, samples)| Some((*way, quartile(samples)?)));
    let best = sites.filter(|(way, _)| way.is_some()).min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.filter(|(_, ms)| *ms < anycast_ms).and_then(|(way, _)| way)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use world::{Atlas, World, WorldOptions};

    use super::*;
    use crate::studies::population::{PopulationOptions, ResolverDistances};

    fn with<T>(look: impl FnOnce(&AnycastStudy<'_>) -> T) -> T {
        let atlas = Atlas::embedded();
        let cities: Vec<Place> = atlas.cities().iter().take(150).map(|city| city.place.clone()).collect();
        let pops: Vec<Place> = atlas.pops().iter().filter(|pop| pop.cloudfront).map(|pop| pop.place.clone()).collect();
        let distances = ResolverDistances::default();
        let population = Population::new(&PopulationOptions {
            cities: &cities,
            blocks: 400,
            resolvers: 200,
            public: &pops,
            distances: &distances,
            seed: 1,
        });
        let options = WorldOptions { seed: 1, jitter: true, ..WorldOptions::default() };
        let paths = Paths::new(&World::new(atlas, options), &cities, &pops);
        look(&AnycastStudy {
            pops: &pops,
            population: &population,
            paths: &paths,
            catchments: AnycastOptions::default(),
            beacons: 150.0,
            block_sigma_ln: 0.1,
            day_sigma_ln: 0.0,
            seed: 1,
        })
    }

    #[test]
    fn without_detours_everybody_comes_out_at_the_nearest_site() {
        with(|study| {
            let straight = AnycastOptions { detour_km: 0.0, remote_share: 0.0, ..AnycastOptions::default() };
            let Catchment { at_nearest, within_400_km, km_p50, .. } =
                AnycastStudy { catchments: straight, ..study.clone() }.play().catchment;
            assert_eq!((at_nearest, within_400_km), (1.0, 1.0));
            assert!(km_p50[0] < km_p50[1] && km_p50[1] < km_p50[2], "{km_p50:?}");
        });
    }

    #[test]
    fn where_days_are_alike_yesterday_helps_and_hurts_hardly_anybody() {
        with(|study| {
            let out = study.play();
            assert_eq!(out, study.play());
            let [slower_10, slower_25, slower_100] = out.slower;
            assert!(slower_10 >= slower_25 && slower_25 >= slower_100 && slower_25 > 0.01, "{:?}", out.slower);
            let Prediction { redirected, helped, hurt, .. } = out.by_block;
            assert!(helped > 20.0 * hurt && (helped + hurt - redirected).abs() < 1e-9, "{:?}", out.by_block);
            // A resolver is a worse guess at its clients.
            assert!(out.by_resolver.hurt > hurt && out.by_resolver.gain_ms < out.by_block.gain_ms, "{out:?}");
            let unlike = AnycastStudy { day_sigma_ln: 0.3, ..study.clone() }.play();
            assert!(unlike.by_block.hurt > hurt, "{unlike:?}");
        });
    }

    #[test]
    fn a_way_is_judged_from_twenty_samples_on() {
        let of = |anycast: usize, site: usize| {
            let mut samples = Samples::from([(None, vec![50.0; anycast]), (Some(7), vec![40.0; site])]);
            chosen(&mut samples)
        };
        assert_eq!([of(20, 20), of(20, 19), of(19, 20)], [Some(7), None, None]);
        let mut slower = Samples::from([(None, vec![50.0; 30]), (Some(7), vec![50.0; 30])]);
        assert_eq!(chosen(&mut slower), None);
    }

    #[test]
    fn a_beacon_measures_the_nearest_site_and_two_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let near: Vec<u16> = (0..10).collect();
        let mut seen = [0; 10];
        for _ in 0..2000 {
            let sites = measured_sites(&near, &mut rng);
            assert!(sites.len() == 3 && sites[0] == 0 && sites[1] != sites[2] && sites[1] != 0);
            sites.iter().for_each(|site| seen[usize::from(*site)] += 1);
        }
        assert!(seen[1] > seen[4] && seen[4] > seen[9] && seen[9] > 50, "{seen:?}");
        assert_eq!(measured_sites(&[3, 4], &mut rng).len(), 2);
    }
}
