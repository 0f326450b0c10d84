//! Mapping clients to sites: by the resolver that asks, by the clients behind it, or by the client itself.
//!
//! What is compared is whose round trip the answer goes by, as in Chen, Sitaraman and Torres, "End-User Mapping" (SIGCOMM
//! 2015), section 6: the first `n` sites of an order of chance are there, and each block is sent to the one that its scheme
//! likes best. Which is best is what the router's latency policy says once it has measured: the lowest round trip, and of
//! equals the one listed first; a test holds it against a router. Since an order grows by one site at a time, only the new
//! one is compared with the best so far.
//!
//! A path is straight fibre over the great circle times a stretch, times a draw of its own per block and site, and on top
//! what the last mile takes. A resolver's paths are those of the block nearest to it, as the paper's are those of the nearest
//! target of measurements. Left out are load, losses, and what a name server and its cache take.

use cdn_core::math;
use rand::distr::Distribution as _;
use world::{Access, Coordinates, chance::StandardNormal, fibre_rtt_ms, stream};

use super::{population::Population, sites::Reach};

/// Whose round trip decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MappingScheme {
    /// The resolver's, which is what a name server sees (NS).
    Resolver,
    /// The mean over the users of the blocks behind the resolver (CANS).
    Cluster,
    /// The client block's own, which a resolver passes on (EU).
    EndUser,
}

impl MappingScheme {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Resolver, Self::Cluster, Self::EndUser];

    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolver => "ns",
            Self::Cluster => "cans",
            Self::EndUser => "eu",
        }
    }
}

/// What paths are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathOptions {
    /// How much longer than straight fibre paths are.
    pub stretch: f64,
    /// What pairs differ by: standard deviation of the logarithm. Default 0.25, about what a world's paths have.
    pub sigma_ln: f64,
    /// On top of every path, in milliseconds. Default the last mile of fibre.
    pub access_ms: f64,
    /// The draw.
    pub seed: u64,
}

impl PathOptions {
    /// The defaults, with a stretch.
    pub fn new(stretch: f64, seed: u64) -> Self {
        Self { stretch, sigma_ln: 0.25, access_ms: Access::Fiber.rtt_ms_median(), seed }
    }

    /// The round trips in milliseconds from all blocks to one site, which is known by its number.
    pub fn row(&self, population: &Population, number: usize, site: Coordinates) -> Vec<f32> {
        let mut noise = stream(self.seed, &["paths", &number.to_string()]);
        let blocks = population.blocks.iter();
        blocks
            .map(|block| {
                let normal: f64 = StandardNormal.sample(&mut noise);
                let fibre_ms = fibre_rtt_ms(block.at.distance_km(site));
                (self.access_ms + self.stretch * fibre_ms * math::exp(self.sigma_ln * normal)) as f32
            })
            .collect()
    }
}

/// The round trips that mapping goes by, for all sites that there may be.
#[derive(Clone, Debug)]
pub struct MappingGround {
    population: Population,
    sites: Vec<Coordinates>,
    /// Site by site: to each block.
    blocks_ms: Vec<Vec<f32>>,
    /// Site by site: the mean over what is behind each resolver.
    clusters_ms: Vec<Vec<f32>>,
    /// Of each resolver, the block nearest to it.
    nearest: Vec<usize>,
}

/// For whom a site was chosen, and which, by position. Blocks without a site are none's.
#[derive(Clone, Debug)]
struct Best {
    ms: Vec<f32>,
    site: Vec<u32>,
}

/// The sites chosen so far.
#[derive(Clone, Debug)]
pub struct Mapped<'a> {
    ground: &'a MappingGround,
    sites: usize,
    blocks: Best,
    clusters: Best,
}

impl MappingGround {
    /// Of sites, and the rows of [`PathOptions::row`], one for each.
    pub fn new(population: Population, sites: Vec<Coordinates>, blocks_ms: Vec<Vec<f32>>) -> Self {
        let behind = population.behind();
        let mean = |row: &[f32], blocks: &[usize]| {
            let all =
                || blocks.iter().filter_map(|&block| Some((row.get(block)?, population.blocks.get(block)?.users)));
            let users: f64 = all().map(|(_, users)| users).sum();
            (all().map(|(ms, users)| f64::from(*ms) * users).sum::<f64>() / users.max(f64::MIN_POSITIVE)) as f32
        };
        let clusters_ms = blocks_ms.iter().map(|row| behind.iter().map(|blocks| mean(row, blocks)).collect()).collect();
        let nearest = population.resolvers.iter().map(|resolver| {
            let blocks = population.blocks.iter().enumerate();
            let km = blocks.map(|(number, block)| (number, block.at.distance_km(resolver.at)));
            km.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(number, _)| number)
        });
        let nearest = nearest.collect();
        Self { blocks_ms, clusters_ms, nearest, sites, population }
    }

    /// Who is mapped.
    pub const fn population(&self) -> &Population {
        &self.population
    }

    /// How many sites there may be.
    pub fn sites(&self) -> usize {
        self.blocks_ms.len()
    }

    /// The round trip of a block to a site in milliseconds; none where one of them is not there.
    pub fn rtt_ms(&self, block: usize, site: usize) -> Option<f32> {
        self.blocks_ms.get(site)?.get(block).copied()
    }
}

impl Best {
    fn new(length: usize) -> Self {
        Self { ms: vec![f32::INFINITY; length], site: vec![u32::MAX; length] }
    }

    /// A site more: it is taken where it is better, so that of equals the first stays.
    fn offer(&mut self, site: u32, row: &[f32]) {
        for ((best, chosen), &ms) in self.ms.iter_mut().zip(&mut self.site).zip(row) {
            let is_better = ms < *best;
            *best = if is_better { ms } else { *best };
            *chosen = if is_better { site } else { *chosen };
        }
    }

    fn of(&self, at: usize) -> Option<usize> {
        self.site.get(at).filter(|site| **site != u32::MAX).map(|site| *site as usize)
    }
}

impl<'a> Mapped<'a> {
    /// No site yet.
    pub fn new(ground: &'a MappingGround) -> Self {
        let Population { blocks, resolvers } = &ground.population;
        Self { ground, sites: 0, blocks: Best::new(blocks.len()), clusters: Best::new(resolvers.len()) }
    }

    /// One more site, by position; one that there is not changes nothing.
    pub fn add(&mut self, site: usize) {
        let rows = self.ground.blocks_ms.get(site).zip(self.ground.clusters_ms.get(site));
        let (Some((blocks, clusters)), Ok(number)) = (rows, u32::try_from(site)) else { return };
        self.blocks.offer(number, blocks);
        self.clusters.offer(number, clusters);
        self.sites += 1;
    }

    /// The site that a block is sent to; none while there is no site.
    pub fn site(&self, scheme: MappingScheme, block: usize) -> Option<usize> {
        match scheme {
            MappingScheme::EndUser => self.blocks.of(block),
            MappingScheme::Cluster => self.clusters.of(self.ground.population.blocks.get(block)?.resolver),
            MappingScheme::Resolver => {
                let resolver = self.ground.population.blocks.get(block)?.resolver;
                self.blocks.of(*self.ground.nearest.get(resolver)?)
            }
        }
    }

    /// What the users of some blocks see under a scheme; none while there is no site.
    pub fn reach(&self, scheme: MappingScheme, blocks: impl IntoIterator<Item = usize>) -> Option<Reach> {
        let seen = blocks.into_iter().filter_map(|block| {
            let users = self.ground.population.blocks.get(block)?.users;
            Some((self.ground.rtt_ms(block, self.site(scheme, block)?)?, users))
        });
        Reach::of(self.sites, seen)
    }

    /// Kilometres from the users of some blocks to their sites, in the mean; none while there is no site.
    pub fn mean_km(&self, scheme: MappingScheme, blocks: impl IntoIterator<Item = usize>) -> Option<f64> {
        let (mut km, mut users) = (0.0, 0.0);
        for block in blocks {
            let site = *self.ground.sites.get(self.site(scheme, block)?)?;
            let block = self.ground.population.blocks.get(block)?;
            km += block.at.distance_km(site) * block.users;
            users += block.users;
        }
        (users > 0.0).then(|| km / users)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr, SocketAddrV4},
        sync::Arc,
        time::Duration,
    };

    use cdn_core::{
        Instant, NodeId, Role,
        geo::{GeoMap, GeoPrefix, Point},
        routing::{EdgeSite, Host, Planner, Pop, RoutingOptions},
    };
    use ipnet::Ipv4Net;
    use world::{Atlas, Place};

    use super::*;
    use crate::studies::{
        population::{PopulationOptions, ResolverDistances, scattered},
        sites::random_order,
    };

    fn ground(blocks: usize, sites: usize, seed: u64) -> (MappingGround, Vec<Coordinates>) {
        let atlas = Atlas::embedded();
        let cities: Vec<Place> = atlas.cities().iter().take(60).map(|city| city.place.clone()).collect();
        let public: Vec<Place> = atlas.pops().iter().step_by(40).map(|pop| pop.place.clone()).collect();
        let distances = ResolverDistances::default();
        let options = PopulationOptions {
            cities: &cities,
            blocks,
            resolvers: blocks / 5,
            public: &public,
            distances: &distances,
            seed,
        };
        let population = Population::new(&options);
        let paths = PathOptions::new(2.0, seed);
        let places: Vec<Coordinates> =
            scattered(&cities, sites, &mut stream(seed, &["sites"])).into_iter().map(|(_, at)| at).collect();
        let rows = places.iter().enumerate().map(|(number, at)| paths.row(&population, number, *at)).collect();
        (MappingGround::new(population, places.clone(), rows), places)
    }

    #[test]
    fn growing_by_a_site_finds_what_a_search_over_all_of_them_finds() {
        let (ground, _) = ground(150, 40, 3);
        let order = random_order(ground.sites(), 5);
        let mut mapped = Mapped::new(&ground);
        assert!(
            mapped.reach(MappingScheme::EndUser, 0..150).is_none() && mapped.site(MappingScheme::Resolver, 0).is_none()
        );
        for (&site, there) in order.iter().zip(1..) {
            mapped.add(site);
            let best = |ms: &dyn Fn(usize) -> f32| {
                let some = order.iter().take(there).map(|&site| (site, ms(site)));
                some.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(site, _)| site)
            };
            let behind = ground.population.behind();
            for block in (0..150).step_by(7) {
                let resolver = ground.population.blocks[block].resolver;
                assert_eq!(
                    mapped.site(MappingScheme::EndUser, block),
                    best(&|site| ground.rtt_ms(block, site).unwrap())
                );
                let near = ground.nearest[resolver];
                assert_eq!(
                    mapped.site(MappingScheme::Resolver, block),
                    best(&|site| ground.rtt_ms(near, site).unwrap())
                );
                let sum = |site: usize| {
                    let of = |&block: &usize| {
                        f64::from(ground.rtt_ms(block, site).unwrap()) * ground.population.blocks[block].users
                    };
                    behind[resolver].iter().map(of).sum::<f64>()
                };
                let chosen = mapped.site(MappingScheme::Cluster, block).unwrap();
                let least = order.iter().take(there).map(|&site| sum(site)).fold(f64::INFINITY, f64::min);
                assert!(sum(chosen) <= least * (1.0 + 1e-6));
            }
        }
        mapped.add(1000);
        assert_eq!(mapped.reach(MappingScheme::EndUser, 0..150).unwrap().sites, 40);
        let km = |scheme| mapped.mean_km(scheme, 0..150).unwrap();
        assert!(km(MappingScheme::EndUser) < km(MappingScheme::Resolver));
    }

    #[test]
    fn who_is_known_better_is_never_served_worse_on_average() {
        let (ground, _) = ground(400, 60, 11);
        let mut mapped = Mapped::new(&ground);
        for site in random_order(ground.sites(), 1) {
            mapped.add(site);
            let [ns, cans, eu] = MappingScheme::ALL.map(|scheme| mapped.reach(scheme, 0..400).unwrap().mean_ms);
            // The resolver is a guess at its cluster, and the cluster at the client.
            assert!(eu <= cans + 1e-4 && cans <= ns + 1e-4, "{eu} {cans} {ns}");
        }
    }

    /// A router that has heard of every round trip a hundred times sends whoever asks where the study does: by client subnet
    /// the block, without it the resolver. Pairs between which its margin decides are left out.
    #[test]
    fn a_router_that_has_measured_maps_as_the_study_does() {
        let (ground, places) = ground(60, 8, 4);
        let place = |at: Coordinates| cdn_core::geo::Place {
            point: Point::new(at.lat(), at.lon()).unwrap(),
            country: "".into(),
            label: "".into(),
        };
        let client = |block: usize| Ipv4Addr::new(10, 0, block as u8, 9);
        let edge = |site: usize| Ipv4Addr::new(127, 77, 0, site as u8 + 1);
        let geo = GeoMap::build(ground.population.blocks.iter().enumerate().map(|(number, block)| GeoPrefix {
            net: Ipv4Net::new(client(number), 24).unwrap().into(),
            place: place(block.at),
        }));
        let pops = places.iter().enumerate().map(|(site, at)| Pop {
            code: format!("AA{}", char::from(b'A' + site as u8)).parse().unwrap(),
            place: place(*at),
            edges: vec![EdgeSite {
                id: NodeId::new(Role::Edge, &format!("aa{site}")),
                address: SocketAddrV4::new(edge(site), 80),
                address6: None,
            }],
        });
        let options = RoutingOptions { explore_share: 0.0, ..RoutingOptions::default() };
        let mut planner = Planner::new(Instant::ZERO, options, geo, pops.collect(), vec![Host::new("study")]);
        let mut mapped = Mapped::new(&ground);
        (0..ground.sites()).for_each(|site| mapped.add(site));
        for (block, site) in (0..60).flat_map(|block| (0..8).map(move |site| (block, site))) {
            let rtt = Duration::from_secs_f64(f64::from(ground.rtt_ms(block, site).unwrap()) / 1000.0);
            for _ in 0..100 {
                planner.handle_beacon(Instant::ZERO, client(block).into(), edge(site).into(), rtt).unwrap();
            }
        }
        let snapshot = Arc::new(planner.build_snapshot(Instant::ZERO));
        let answer = |asker: Ipv4Addr| {
            let (answer, _) = snapshot.answer(0, IpAddr::V4(asker), 0);
            snapshot.addresses(0, answer).next().map(|address| usize::from(address.ip().octets()[3]) - 1)
        };
        let is_clear = |block: usize| {
            let mut all: Vec<f32> = (0..8).map(|site| ground.rtt_ms(block, site).unwrap()).collect();
            all.sort_by(f32::total_cmp);
            all[1] > all[0] * 1.15 + 6.0
        };
        let mut compared = 0;
        for (number, block) in ground.population.blocks.iter().enumerate() {
            let near = ground.nearest[block.resolver];
            if is_clear(number) {
                assert_eq!(answer(client(number)), mapped.site(MappingScheme::EndUser, number), "block {number}");
                compared += 1;
            }
            if is_clear(near) {
                assert_eq!(answer(client(near)), mapped.site(MappingScheme::Resolver, number), "resolver of {number}");
                compared += 1;
            }
        }
        assert!(compared > 60, "only {compared} were clear");
    }
}
