//! `iso study estimates`: a path becomes slower for hours, and what the router makes of it.

use std::time::Duration;

use cdn_core::routing::RoutingOptions;
use serde::Serialize;
use simulator::studies::{
    estimates::{EstimateStudy, Estimated, Window},
    paths::Paths,
};
use world::Place;

use super::{
    frame::{self, Column, Study, figure_or_dash},
    ground::{Figure, each, named, seeds_from, some_cities, world_of},
};
use crate::{
    args::{Cli, EstimatesArgs},
    talk::VerbError,
};

/// What is printed: figures over seeds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    rows: Vec<Row>,
}

/// A part of the run.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    part: &'static str,
    windows: usize,
    /// By how much the estimate is wrong at the end of a window, in the mean over windows and in the worst.
    error_ms: Figure,
    error_ms_max: Figure,
    /// How often the city's route changes in this part.
    changes: Figure,
    /// How often those of the other cities do, per city and hour.
    changes_elsewhere_per_hour: Figure,
    /// From the change of the path until the route's.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_s: Option<Figure>,
}

/// One window of one seed.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    city: &'a str,
    pop: String,
    hour: f64,
    added_ms: f64,
    truth_ms: f64,
    estimate_ms: f64,
    error_ms: f64,
    alternative_ms: f64,
    route: String,
    changes: u32,
    changes_elsewhere: u32,
}

/// A study that is checked and can begin.
pub(super) struct Estimates<'a> {
    args: &'a EstimatesArgs,
    cities: Vec<Place>,
    pops: Vec<Place>,
    seeds: Vec<u64>,
}

impl<'a> Estimates<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a EstimatesArgs) -> Result<Self, VerbError> {
        const DAYS_MAX: Duration = Duration::from_secs(30 * 86_400);
        for (flag, span) in [
            ("window", args.window),
            ("beacon-interval", args.beacon_interval),
            ("measure-interval", args.measure_interval),
            ("for", args.span),
            ("around", args.around),
        ] {
            if span.0.is_zero() || span.0 > DAYS_MAX {
                return Err(VerbError::Usage(format!("--{flag} {span}: write more than nothing, and 30d at most")));
            }
        }
        let seeds = seeds_from(args.runs.seed, args.runs.seeds)?;
        Ok(Self { args, cities: some_cities(args.cities)?, pops: named(&args.preset)?, seeds })
    }
}

impl Study for Estimates<'_> {
    type Played = Vec<(u64, Estimated)>;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Self::Played, VerbError> {
        let outcomes = each(threads, &self.seeds, |&seed| {
            let study = EstimateStudy {
                pops: &self.pops,
                cities: &self.cities,
                paths: &Paths::new(&world_of(seed), &self.cities, &self.pops),
                added: self.args.added.0,
                around: self.args.around.0,
                span: self.args.span.0,
                window: self.args.window.0,
                beacon_interval: self.args.beacon_interval.0,
                measure_interval: self.args.measure_interval.0,
                routing: RoutingOptions::default(),
                seed,
            };
            Some((seed, study.play()?))
        });
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn lines<'a>(&'a self, outcomes: &'a Self::Played) -> Vec<impl Serialize + Default + 'a> {
        let code = |site: u16| {
            self.pops.get(usize::from(site)).map(|pop| pop.id.as_str().to_ascii_uppercase()).unwrap_or_default()
        };
        let of_seed = |(seed, out): &(u64, Estimated)| {
            let line = |window: &Window| Line {
                version: env!("CARGO_PKG_VERSION"),
                seed: *seed,
                city: self.cities.get(out.city).map_or("", |city| city.id.as_str()),
                pop: code(out.site),
                hour: rounded(window.ends.as_secs_f64() / 3600.0),
                added_ms: window.added.as_secs_f64() * 1000.0,
                truth_ms: rounded(window.truth_ms),
                estimate_ms: rounded(window.estimate_ms),
                error_ms: rounded(window.error_ms()),
                alternative_ms: rounded(out.alternative_ms),
                route: window.route.map(code).unwrap_or_default(),
                changes: window.changes,
                changes_elsewhere: window.changes_elsewhere,
            };
            out.windows.iter().map(line).collect::<Vec<_>>()
        };
        outcomes.iter().flat_map(of_seed).collect()
    }

    fn report(&self, outcomes: &Self::Played) -> Option<Report> {
        let (begins, ends) = (self.args.around.0, self.args.around.0 + self.args.span.0);
        let none: fn(&Estimated) -> Option<Duration> = |_| None;
        // The first windows of a router that has heard of nobody are no part of the answer.
        let learned = begins / 2;
        let parts = [
            ("before", learned, begins, none),
            ("slower", begins, ends, |out: &Estimated| out.left_after),
            ("after", ends, ends + begins, |out: &Estimated| out.returned_after),
        ];
        let rows = parts.into_iter().filter_map(|(part, from, to, after)| {
            let of = |out: &Estimated| -> Vec<Window> {
                out.windows.iter().filter(|window| window.ends > from && window.ends <= to).copied().collect()
            };
            let figure = |value: &dyn Fn(&[Window]) -> f64| {
                Figure::of(
                    outcomes.iter().map(|(_, out)| of(out)).filter(|some| !some.is_empty()).map(|some| value(&some)),
                )
            };
            let hours = (to - from).as_secs_f64() / 3600.0 * (self.cities.len().max(2) - 1) as f64;
            Some(Row {
                part,
                windows: outcomes.first().map_or(0, |(_, out)| of(out).len()),
                error_ms: figure(&|some| some.iter().map(Window::error_ms).sum::<f64>() / some.len() as f64)?,
                error_ms_max: figure(&|some| some.iter().map(Window::error_ms).fold(0.0, f64::max))?,
                changes: figure(&|some| some.iter().map(|window| f64::from(window.changes)).sum())?,
                changes_elsewhere_per_hour: figure(&|some| {
                    some.iter().map(|window| f64::from(window.changes_elsewhere)).sum::<f64>() / hours
                })?,
                after_s: Figure::of(outcomes.iter().filter_map(|(_, out)| Some(after(out)?.as_secs_f64()))),
            })
        });
        Some(Report { seed: self.args.runs.seed, seeds: self.args.runs.seeds, rows: rows.collect() })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, _: &Report) -> String {
        format!(
            "{} more on the path from a city to the best of {} PoPs, for {}; {} cities report",
            self.args.added,
            self.pops.len(),
            self.args.span,
            self.cities.len()
        )
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("PATH", |row| row.part.to_owned()),
            ("WINDOWS", |row| row.windows.to_string()),
            ("ERROR ms", |row| row.error_ms.text(2)),
            ("WORST ms", |row| row.error_ms_max.text(2)),
            ("ROUTE CHANGES", |row| row.changes.text(2)),
            ("ELSEWHERE /h", |row| row.changes_elsewhere_per_hour.text(3)),
            ("AFTER s", |row| figure_or_dash(row.after_s)),
        ]
    }
}

pub(super) fn run(cli: &Cli, args: &EstimatesArgs) -> Result<(), VerbError> {
    frame::run(cli, &Estimates::of(args)?, &args.runs.outputs())
}

/// To three digits after the point.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
