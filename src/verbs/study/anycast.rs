//! `iso study anycast`: what anycast costs against unicast, and what yesterday's measurements are worth.

use cdn_core::routing::AnycastOptions;
use serde::Serialize;
use simulator::studies::{
    anycast::{Anycast, AnycastStudy, Prediction},
    paths::Paths,
    population::{Population, PopulationOptions, ResolverDistances},
};
use world::Place;

use super::{
    frame::{self, Column, Study},
    ground::{Figure, cities_of, each, named, pops_of, seeds_of, world_of},
};
use crate::{
    args::{AnycastArgs, Cli},
    talk::VerbError,
};

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    catchment: CatchmentReport,
    /// The share of requests for which anycast is slower than the best of three unicast sites, by so much or more.
    slower_10_ms: Figure,
    slower_25_ms: Figure,
    slower_100_ms: Figure,
    rows: Vec<Row>,
}

/// Where clients come out.
#[derive(Debug, Serialize)]
struct CatchmentReport {
    at_nearest: Figure,
    within_400_km: Figure,
    within_1375_km: Figure,
    nearest_km_p50: Figure,
    second_km_p50: Figure,
    fourth_km_p50: Figure,
}

/// What choosing by yesterday's measurements does, for one kind of group.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    group: &'static str,
    redirected: Figure,
    helped: Figure,
    hurt: Figure,
    helped_10_ms: Figure,
    hurt_10_ms: Figure,
    gain_ms: Figure,
}

/// The same under one seed.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Line {
    version: &'static str,
    seed: u64,
    pops: usize,
    cities: usize,
    blocks: usize,
    resolvers: usize,
    beacons: f64,
    detour_km: f64,
    remote_share: f64,
    block_sigma: f64,
    day_sigma: f64,
    nearest_km_p50: f64,
    second_km_p50: f64,
    fourth_km_p50: f64,
    at_nearest: f64,
    within_400_km: f64,
    within_1375_km: f64,
    slower_10_ms: f64,
    slower_25_ms: f64,
    slower_100_ms: f64,
    group: &'static str,
    redirected: f64,
    helped: f64,
    hurt: f64,
    helped_10_ms: f64,
    hurt_10_ms: f64,
    gain_ms: f64,
}

/// A study that is checked and can begin.
pub(super) struct Catchments<'a> {
    args: &'a AnycastArgs,
    cities: Vec<Place>,
    pops: Vec<Place>,
    public: Vec<Place>,
    seeds: Vec<u64>,
}

impl<'a> Catchments<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a AnycastArgs) -> Result<Self, VerbError> {
        // Each block has a network of its own, of which there are so many.
        const BLOCKS_MAX: usize = 65_536;
        if args.blocks == 0 || args.blocks > BLOCKS_MAX || args.resolvers == 0 {
            let why = format!(
                "--blocks {}, --resolvers {}: write 1 or more, and {BLOCKS_MAX} blocks at most",
                args.blocks, args.resolvers
            );
            return Err(VerbError::Usage(why));
        }
        for (flag, value, max) in [
            ("beacons", args.beacons, 10_000.0),
            ("detour-km", args.detour_km, 20_000.0),
            ("block-sigma", args.block_sigma, 2.0),
            ("day-sigma", args.day_sigma, 2.0),
        ] {
            if !(0.0..=max).contains(&value) {
                return Err(VerbError::Usage(format!("--{flag} {value}: write a number from 0 to {max}")));
            }
        }
        let (cities, pops) = (cities_of(&args.ground)?, pops_of(&args.ground, "cloudfront")?);
        Ok(Self { args, cities, pops, public: named("google")?, seeds: seeds_of(&args.ground)? })
    }

    fn outcomes(&self, threads: Option<usize>) -> Vec<(u64, Anycast)> {
        let (args, distances) = (self.args, ResolverDistances::default());
        each(threads, &self.seeds, |&seed| {
            let population = Population::new(&PopulationOptions {
                cities: &self.cities,
                blocks: args.blocks,
                resolvers: args.resolvers,
                public: &self.public,
                distances: &distances,
                seed,
            });
            let paths = Paths::new(&world_of(seed), &self.cities, &self.pops);
            let study = AnycastStudy {
                pops: &self.pops,
                population: &population,
                paths: &paths,
                catchments: AnycastOptions {
                    detour_km: args.detour_km,
                    remote_share: args.remote_share.0,
                    ..AnycastOptions::default()
                },
                beacons: args.beacons,
                block_sigma_ln: args.block_sigma,
                day_sigma_ln: args.day_sigma,
                seed,
            };
            (seed, study.play())
        })
    }

    fn lines_of(&self, outcomes: &[(u64, Anycast)]) -> Vec<Line> {
        let line = |&(seed, Anycast { catchment, slower, by_block, by_resolver }): &(u64, Anycast)| {
            let [nearest_km_p50, second_km_p50, fourth_km_p50] = catchment.km_p50;
            let [slower_10_ms, slower_25_ms, slower_100_ms] = slower;
            let of_group = move |(group, prediction): (&'static str, Prediction)| {
                let Prediction { redirected, helped, hurt, helped_10_ms, hurt_10_ms, gain_ms } = prediction;
                let AnycastArgs { blocks, resolvers, beacons, detour_km, block_sigma, day_sigma, .. } = *self.args;
                Line {
                    version: env!("CARGO_PKG_VERSION"),
                    seed,
                    pops: self.pops.len(),
                    cities: self.cities.len(),
                    blocks,
                    resolvers,
                    beacons,
                    detour_km,
                    remote_share: self.args.remote_share.0,
                    block_sigma,
                    day_sigma,
                    nearest_km_p50,
                    second_km_p50,
                    fourth_km_p50,
                    at_nearest: catchment.at_nearest,
                    within_400_km: catchment.within_400_km,
                    within_1375_km: catchment.within_1375_km,
                    slower_10_ms,
                    slower_25_ms,
                    slower_100_ms,
                    group,
                    redirected,
                    helped,
                    hurt,
                    helped_10_ms,
                    hurt_10_ms,
                    gain_ms,
                }
            };
            [("block", by_block), ("resolver", by_resolver)].map(of_group)
        };
        outcomes.iter().flat_map(line).collect()
    }
}

impl Study for Catchments<'_> {
    type Played = Vec<Line>;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Vec<Line>, VerbError> {
        Ok(self.lines_of(&self.outcomes(threads)))
    }

    fn lines<'a>(&'a self, played: &'a Vec<Line>) -> Vec<impl Serialize + Default + 'a> {
        played.clone()
    }

    fn report(&self, lines: &Vec<Line>) -> Option<Report> {
        let of = |group: &'static str, of: fn(&Line) -> f64| {
            Figure::of(lines.iter().filter(|line| line.group == group).map(of))
        };
        let block = |field| of("block", field);
        let row = |group| {
            Some(Row {
                group,
                redirected: of(group, |line| line.redirected)?,
                helped: of(group, |line| line.helped)?,
                hurt: of(group, |line| line.hurt)?,
                helped_10_ms: of(group, |line| line.helped_10_ms)?,
                hurt_10_ms: of(group, |line| line.hurt_10_ms)?,
                gain_ms: of(group, |line| line.gain_ms)?,
            })
        };
        Some(Report {
            seed: self.args.ground.seed,
            seeds: self.args.ground.seeds,
            catchment: CatchmentReport {
                at_nearest: block(|line| line.at_nearest)?,
                within_400_km: block(|line| line.within_400_km)?,
                within_1375_km: block(|line| line.within_1375_km)?,
                nearest_km_p50: block(|line| line.nearest_km_p50)?,
                second_km_p50: block(|line| line.second_km_p50)?,
                fourth_km_p50: block(|line| line.fourth_km_p50)?,
            },
            slower_10_ms: block(|line| line.slower_10_ms)?,
            slower_25_ms: block(|line| line.slower_25_ms)?,
            slower_100_ms: block(|line| line.slower_100_ms)?,
            rows: ["block", "resolver"].into_iter().filter_map(row).collect(),
        })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        let catchment = &report.catchment;
        format!(
            "{} PoPs; nearest, second and fourth at {}, {} and {} km in the median\n\
             {} of requests come out at the nearest, {} within 400 km of it, {} within 1375 km\n\
             anycast is slower than the best of three by 10 ms for {}, by 25 ms for {}, by 100 ms for {}",
            self.pops.len(),
            catchment.nearest_km_p50.text(0),
            catchment.second_km_p50.text(0),
            catchment.fourth_km_p50.text(0),
            catchment.at_nearest.percent(1),
            catchment.within_400_km.percent(1),
            catchment.within_1375_km.percent(1),
            report.slower_10_ms.percent(1),
            report.slower_25_ms.percent(1),
            report.slower_100_ms.percent(1),
        )
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("CHOSEN BY", |row| row.group.to_owned()),
            ("REDIRECTED", |row| row.redirected.percent(1)),
            ("HELPED", |row| row.helped.percent(1)),
            ("HURT", |row| row.hurt.percent(1)),
            ("HELPED 10 ms", |row| row.helped_10_ms.percent(1)),
            ("HURT 10 ms", |row| row.hurt_10_ms.percent(1)),
            ("GAIN ms", |row| row.gain_ms.text(2)),
        ]
    }
}

pub(super) fn run(cli: &Cli, args: &AnycastArgs) -> Result<(), VerbError> {
    frame::run(cli, &Catchments::of(args)?, &args.ground.outputs())
}
