//! `iso study mapping`: whose round trip decides to which site a client is sent.

use std::collections::BTreeMap;

use serde::Serialize;
use simulator::studies::{
    mapping::{Mapped, MappingGround, MappingScheme, PathOptions},
    population::{KM_PER_MILE, Population, PopulationOptions, ResolverDistances, scattered},
    sites::{Reach, random_order},
    weighted::Weighted,
};
use world::{Coordinates, CountryCode, Place, stream};

use super::{
    frame::{self, Column, Study, or_dash},
    ground::{Figure, each, named, seeds_from, some_cities},
};
use crate::{
    args::{Cli, MappingArgs, Switch},
    talk::VerbError,
};

/// Where public resolvers are farther from a country's users than this in the median, they are far: the paper's bound.
const FAR_KM: f64 = 1000.0 * KM_PER_MILE;

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    orders: u32,
    /// Kilometres from users to their resolvers, in the median: of all users, and of those behind public ones.
    resolver_km_p50: Option<Figure>,
    public_km_p50: Option<Figure>,
    rows: Vec<Row>,
}

/// A scheme at a number of sites: over all seeds, or over the orders of one.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Whose users: all, or those of public resolvers in countries where these are far, or near.
    users: &'static str,
    scheme: &'static str,
    sites: usize,
    mean_km: Figure,
    mean_ms: Figure,
    p95_ms: Figure,
    p99_ms: Figure,
}

/// The same under one seed: means over orders.
#[derive(Debug, Default, Serialize)]
struct Line {
    version: &'static str,
    seed: u64,
    orders: u32,
    cities: usize,
    universe: usize,
    blocks: usize,
    resolvers: usize,
    public_share: f64,
    stretch: f64,
    resolver_km_p50: f64,
    public_km_p50: f64,
    users: &'static str,
    scheme: &'static str,
    sites: usize,
    mean_km: f64,
    mean_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// A study that is checked and can begin.
pub(super) struct Mapping<'a> {
    args: &'a MappingArgs,
    cities: Vec<Place>,
    public: Vec<Place>,
    distances: ResolverDistances,
    seeds: Vec<u64>,
    /// Ascending.
    sites: Vec<usize>,
}

/// What came out under one seed.
pub(super) struct Outcome {
    seed: u64,
    resolver_km_p50: f64,
    public_km_p50: f64,
    /// Order by order, and in each for every number of sites, group of users and scheme.
    of_order: Vec<Vec<Seen>>,
}

/// What a group of users sees.
#[derive(Clone, Copy)]
struct Seen {
    users: &'static str,
    scheme: MappingScheme,
    reach: Reach,
    mean_km: f64,
}

impl<'a> Mapping<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a MappingArgs) -> Result<Self, VerbError> {
        let refuse = |why: String| Err(VerbError::Usage(why));
        let cities = some_cities(args.cities)?;
        let mut sites = args.sites.clone();
        sites.sort_unstable();
        sites.dedup();
        if let Some(wrong) = sites.iter().find(|&&number| number == 0 || number > args.universe) {
            return refuse(format!("--sites {wrong}: write numbers from 1 to {}, which is --universe", args.universe));
        }
        // A table of all round trips is kept: four bytes each.
        const PAIRS_MAX: usize = 500_000_000;
        if args.blocks == 0 || args.resolvers == 0 || args.universe.saturating_mul(args.blocks) > PAIRS_MAX {
            return refuse(format!(
                "--blocks {}, --resolvers {}, --universe {}: each is 1 or more, and there are {PAIRS_MAX} pairs of block and site at most",
                args.blocks, args.resolvers, args.universe
            ));
        }
        if !(1.0..=100.0).contains(&args.stretch) {
            return refuse(format!("--stretch {}: no path is shorter than straight; write 1 to 100", args.stretch));
        }
        let distances = ResolverDistances { public_share: args.public_share.0, ..ResolverDistances::default() };
        let (public, seeds) = (named("google")?, seeds_from(args.runs.seed, args.runs.seeds)?);
        Ok(Self { args, cities, public, distances, seeds, sites })
    }

    /// The world of a seed.
    pub(super) fn ground(&self, threads: Option<usize>, seed: u64) -> MappingGround {
        let Self { args, cities, public, distances, .. } = self;
        let population = Population::new(&PopulationOptions {
            cities,
            blocks: args.blocks,
            resolvers: args.resolvers,
            public,
            distances,
            seed,
        });
        let places = scattered(cities, args.universe, &mut stream(seed, &["sites"]));
        let places: Vec<Coordinates> = places.into_iter().map(|(_, at)| at).collect();
        let numbered: Vec<(usize, Coordinates)> = places.iter().copied().enumerate().collect();
        let paths = PathOptions::new(args.stretch, seed);
        let rows = each(threads, &numbered, |&(number, at)| paths.row(&population, number, at));
        MappingGround::new(population, places, rows)
    }

    /// All users, and with --countries those of public resolvers, apart where these are far from a country's users in the
    /// median and where they are near.
    fn groups(&self, population: &Population) -> Vec<(&'static str, Vec<usize>)> {
        let all = ("all", (0..population.blocks.len()).collect());
        if self.args.countries == Switch::Off {
            return vec![all];
        }
        let country = |city: usize| self.cities.get(city).map(|city| city.country);
        let mut of_country: BTreeMap<CountryCode, Vec<(usize, f32, f64)>> = BTreeMap::new();
        for ((number, block), km) in population.blocks.iter().enumerate().zip(population.resolver_km()) {
            let is_public = population.resolvers.get(block.resolver).is_some_and(|resolver| resolver.is_public);
            if let Some(country) = country(block.city).filter(|_| is_public) {
                of_country.entry(country).or_default().push((number, km as f32, block.users));
            }
        }
        let (mut far, mut near) = (Vec::new(), Vec::new());
        for blocks in of_country.values() {
            let km =
                Weighted::new(blocks.iter().map(|(_, km, users)| (*km, *users))).map_or(0.0, |km| km.quantile(0.5));
            let group = if km > FAR_KM { &mut far } else { &mut near };
            group.extend(blocks.iter().map(|(number, ..)| *number));
        }
        vec![all, ("public-far", far), ("public-near", near)]
    }
}

impl Study for Mapping<'_> {
    type Played = Vec<Outcome>;
    type Report = Report;
    type Row = Row;

    /// Seed after seed, so that memory is that of one; their orders several at a time.
    fn play(&self, threads: Option<usize>) -> Result<Vec<Outcome>, VerbError> {
        let of_seed = |&seed: &u64| {
            let ground = self.ground(threads, seed);
            let groups = self.groups(ground.population());
            let orders: Vec<u32> = (0..self.args.orders).collect();
            let of_order = each(threads, &orders, |&nth| {
                let order = random_order(ground.sites(), stream_of(seed, nth));
                let mut mapped = Mapped::new(&ground);
                let mut all = Vec::with_capacity(self.sites.len() * groups.len() * MappingScheme::ALL.len());
                for (&site, there) in order.iter().zip(1..) {
                    mapped.add(site);
                    if self.sites.binary_search(&there).is_ok() {
                        for (users, blocks) in &groups {
                            let seen = |scheme| {
                                let blocks = || blocks.iter().copied();
                                let (reach, mean_km) =
                                    mapped.reach(scheme, blocks()).zip(mapped.mean_km(scheme, blocks()))?;
                                Some(Seen { users, scheme, reach, mean_km })
                            };
                            all.extend(MappingScheme::ALL.into_iter().filter_map(seen));
                        }
                    }
                    if Some(&there) == self.sites.last() {
                        break;
                    }
                }
                all
            });
            let (resolver_km_p50, public_km_p50) = resolver_km(ground.population());
            Outcome { seed, resolver_km_p50, public_km_p50, of_order }
        };
        Ok(self.seeds.iter().map(of_seed).collect())
    }

    fn lines<'a>(&'a self, outcomes: &'a Vec<Outcome>) -> Vec<impl Serialize + Default + 'a> {
        let &MappingArgs { orders, cities, universe, blocks, resolvers, stretch, .. } = self.args;
        let of_outcome = |outcome: &Outcome| {
            let cells = outcome.of_order.first().map_or(0, Vec::len);
            let (seed, resolver_km_p50, public_km_p50) = (outcome.seed, outcome.resolver_km_p50, outcome.public_km_p50);
            let line = |cell: usize| {
                let Seen { users, scheme, reach: Reach { sites, .. }, .. } = outcome.of_order.first()?.get(cell)?;
                let mean = |of: fn(&Seen) -> f64| Figure::of(outcome.of(cell).map(of)).map(|figure| figure.mean);
                Some(Line {
                    version: env!("CARGO_PKG_VERSION"),
                    seed,
                    orders,
                    cities,
                    universe,
                    blocks,
                    resolvers,
                    public_share: self.args.public_share.0,
                    stretch,
                    resolver_km_p50,
                    public_km_p50,
                    users,
                    scheme: scheme.as_str(),
                    sites: *sites,
                    mean_km: mean(|seen| seen.mean_km)?,
                    mean_ms: mean(|seen| seen.reach.mean_ms)?,
                    p95_ms: mean(|seen| seen.reach.p95_ms)?,
                    p99_ms: mean(|seen| seen.reach.p99_ms)?,
                })
            };
            (0..cells).filter_map(line).collect::<Vec<_>>()
        };
        outcomes.iter().flat_map(of_outcome).collect()
    }

    fn report(&self, outcomes: &Vec<Outcome>) -> Option<Report> {
        let cells = outcomes.first().and_then(|outcome| outcome.of_order.first()).into_iter().flatten().enumerate();
        let row = |(cell, first): (usize, &Seen)| {
            let figure = |of: fn(&Seen) -> f64| {
                let over_orders = |outcome: &Outcome| Figure::of(outcome.of(cell).map(of));
                match outcomes.as_slice() {
                    [only] => over_orders(only),
                    several => Figure::of(several.iter().filter_map(over_orders).map(|figure| figure.mean)),
                }
            };
            Some(Row {
                users: first.users,
                scheme: first.scheme.as_str(),
                sites: first.reach.sites,
                mean_km: figure(|seen| seen.mean_km)?,
                mean_ms: figure(|seen| seen.reach.mean_ms)?,
                p95_ms: figure(|seen| seen.reach.p95_ms)?,
                p99_ms: figure(|seen| seen.reach.p99_ms)?,
            })
        };
        Some(Report {
            seed: self.args.runs.seed,
            seeds: self.args.runs.seeds,
            orders: self.args.orders,
            resolver_km_p50: Figure::of(outcomes.iter().map(|outcome| outcome.resolver_km_p50)),
            public_km_p50: Figure::of(outcomes.iter().map(|outcome| outcome.public_km_p50)),
            rows: cells.filter_map(row).collect(),
        })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        let km = |figure: Option<Figure>| or_dash(figure.map(|figure| figure.text(0)));
        format!(
            "{} blocks of clients, {} km from their resolvers in the median, {} km from public ones; {} orders of {} sites",
            self.args.blocks,
            km(report.resolver_km_p50),
            km(report.public_km_p50),
            self.args.orders,
            self.args.universe
        )
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("SITES", |row| row.sites.to_string()),
            ("USERS", |row| row.users.to_owned()),
            ("MAPPED BY", |row| row.scheme.to_owned()),
            ("MEAN km", |row| row.mean_km.text(0)),
            ("MEAN ms", |row| row.mean_ms.text(2)),
            ("P95 ms", |row| row.p95_ms.text(2)),
            ("P99 ms", |row| row.p99_ms.text(2)),
        ]
    }
}

impl Outcome {
    /// What came out in each order, at one place of the grid.
    fn of(&self, cell: usize) -> impl Iterator<Item = &Seen> {
        self.of_order.iter().filter_map(move |order| order.get(cell))
    }
}

pub(super) fn run(cli: &Cli, args: &MappingArgs) -> Result<(), VerbError> {
    frame::run(cli, &Mapping::of(args)?, &args.runs.outputs())
}

/// Each order has a seed of its own, which no order under the next seed has.
fn stream_of(seed: u64, order: u32) -> u64 {
    seed << 16 | u64::from(order)
}

/// Kilometres to resolvers in the median: of all users, and of those behind public ones.
fn resolver_km(population: &Population) -> (f64, f64) {
    let all: Vec<(f32, f64, bool)> = population
        .resolver_km()
        .iter()
        .zip(&population.blocks)
        .map(|(km, block)| {
            let is_public = population.resolvers.get(block.resolver).is_some_and(|resolver| resolver.is_public);
            (*km as f32, block.users, is_public)
        })
        .collect();
    let median = |of: fn(bool) -> bool| {
        let some = all.iter().filter(|(.., is_public)| of(*is_public)).map(|(km, users, _)| (*km, *users));
        Weighted::new(some).map_or(0.0, |km| km.quantile(0.5))
    };
    (median(|_| true), median(|is_public| is_public))
}
