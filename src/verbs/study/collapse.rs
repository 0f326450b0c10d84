//! `iso study collapse`: what the end of an object's life costs.

use serde::Serialize;
use simulator::studies::collapse::{CollapseStudy, Collapsed, play};

use super::{
    frame::{self, Column, Study, or_dash},
    ground::{Figure, each, refuse_nothing, seeds_from},
};
use crate::{
    args::{Cli, CollapseArgs, Switch},
    talk::VerbError,
};

/// Rebuilds ahead, at most.
const BETA_MAX: f64 = 1000.0;
/// Requests of one run that are no typing error.
const REQUESTS_MAX: f64 = 1e10;

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    ttl_s: f64,
    rebuild_s: f64,
    stale_s: f64,
    rows: Vec<Row>,
}

/// One way to fetch at one rate, over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    rps: f64,
    collapse: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    early: Option<f64>,
    fetches_per_cycle: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_fetches_per_cycle: Option<f64>,
    /// Requests to the origin per time that the object is fresh.
    fetches_per_ttl: Figure,
    waited_ratio: Figure,
}

/// One run.
#[derive(Debug, Default, Serialize)]
struct Line {
    version: &'static str,
    seed: u64,
    rps: f64,
    collapse: bool,
    early: Option<f64>,
    stale_s: f64,
    ttl_s: f64,
    rebuild_s: f64,
    lives: u32,
    requests: u64,
    fetches: u64,
    cycles: u64,
    waited: u64,
    fetches_per_cycle: f64,
    expected_fetches_per_cycle: Option<f64>,
    waited_ratio: f64,
}

/// A study that is checked and can begin.
pub(super) struct Collapse<'a> {
    args: &'a CollapseArgs,
    jobs: Vec<CollapseStudy>,
    seeds: usize,
}

impl<'a> Collapse<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a CollapseArgs) -> Result<Self, VerbError> {
        let refuse = |why: String| Err(VerbError::Usage(why));
        let seeds = seeds_from(args.runs.seed, args.runs.seeds)?;
        refuse_nothing([
            ("ttl", args.ttl.0.is_zero()),
            ("rebuild", args.rebuild.0.is_zero()),
            ("lives", args.lives == 0),
        ])?;
        if let Some(rps) = args.rps.iter().find(|rps| !(**rps > 0.0 && rps.is_finite())) {
            return refuse(format!("--rps {rps}: write a number above 0"));
        }
        let span_s = (args.ttl.0.as_secs_f64() + args.rebuild.0.as_secs_f64()) * f64::from(args.lives);
        if let Some(rps) = args.rps.iter().find(|rps| **rps * span_s > REQUESTS_MAX) {
            return refuse(format!("--rps {rps}: in {span_s} s these are more than {REQUESTS_MAX:e} requests"));
        }
        let early = args.early.iter().map(|text| match (text.trim(), text.trim().parse::<f64>()) {
            ("off", _) => Ok(None),
            (_, Ok(beta)) if (0.0..=BETA_MAX).contains(&beta) => Ok(Some(beta)),
            _ => Err(format!("--early {text}: write a number from 0 to {BETA_MAX}, or off")),
        });
        let early = early.collect::<Result<Vec<Option<f64>>, _>>().map_err(VerbError::Usage)?;
        let mut jobs = Vec::new();
        for &rps in &args.rps {
            for &collapse in &args.collapse {
                for &early in &early {
                    jobs.extend(seeds.iter().map(|&seed| CollapseStudy {
                        rps,
                        ttl: args.ttl.0,
                        rebuild: args.rebuild.0,
                        collapse: collapse == Switch::On,
                        early,
                        while_revalidate: args.stale.0,
                        lives: args.lives,
                        seed,
                    }));
                }
            }
        }
        Ok(Self { args, jobs, seeds: seeds.len() })
    }

    fn line(study: &CollapseStudy, collapsed: &Collapsed) -> Line {
        Line {
            version: env!("CARGO_PKG_VERSION"),
            seed: study.seed,
            rps: study.rps,
            collapse: study.collapse,
            early: study.early,
            stale_s: study.while_revalidate.as_secs_f64(),
            ttl_s: study.ttl.as_secs_f64(),
            rebuild_s: study.rebuild.as_secs_f64(),
            lives: study.lives,
            requests: collapsed.requests,
            fetches: collapsed.fetches,
            cycles: collapsed.cycles,
            waited: collapsed.waited,
            fetches_per_cycle: collapsed.fetches_per_cycle(),
            expected_fetches_per_cycle: study.expected_fetches_per_cycle(),
            waited_ratio: collapsed.waited_ratio(),
        }
    }

    fn row(studies: &[CollapseStudy], outcomes: &[Collapsed]) -> Option<Row> {
        let study = studies.first()?;
        let over = |of: &dyn Fn(&Collapsed) -> f64| Figure::of(outcomes.iter().map(of));
        let ttls = (study.ttl + study.rebuild).as_secs_f64() * f64::from(study.lives) / study.ttl.as_secs_f64();
        Some(Row {
            rps: study.rps,
            collapse: study.collapse,
            early: study.early,
            fetches_per_cycle: over(&Collapsed::fetches_per_cycle)?,
            expected_fetches_per_cycle: study.expected_fetches_per_cycle(),
            fetches_per_ttl: over(&|of| of.fetches as f64 / ttls)?,
            waited_ratio: over(&Collapsed::waited_ratio)?,
        })
    }
}

impl Study for Collapse<'_> {
    type Played = Vec<Collapsed>;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Vec<Collapsed>, VerbError> {
        Ok(each(threads, &self.jobs, play))
    }

    fn lines<'a>(&'a self, played: &'a Vec<Collapsed>) -> Vec<impl Serialize + Default + 'a> {
        self.jobs.iter().zip(played).map(|(study, collapsed)| Self::line(study, collapsed)).collect()
    }

    fn report(&self, played: &Vec<Collapsed>) -> Option<Report> {
        let kinds = self.jobs.chunks(self.seeds).zip(played.chunks(self.seeds));
        Some(Report {
            seed: self.args.runs.seed,
            seeds: self.args.runs.seeds,
            ttl_s: self.args.ttl.0.as_secs_f64(),
            rebuild_s: self.args.rebuild.0.as_secs_f64(),
            stale_s: self.args.stale.0.as_secs_f64(),
            rows: kinds.filter_map(|(studies, outcomes)| Self::row(studies, outcomes)).collect(),
        })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, _: &Report) -> String {
        format!("An object that is fresh for {} and takes {} to fetch", self.args.ttl, self.args.rebuild)
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("REQUESTS /s", |row| row.rps.to_string()),
            ("COLLAPSE", |row| if row.collapse { "on" } else { "off" }.to_owned()),
            ("EARLY", |row| row.early.map_or_else(|| "off".to_owned(), |beta| beta.to_string())),
            ("FETCHES PER CYCLE", |row| row.fetches_per_cycle.text(2)),
            ("EXPECTED", |row| or_dash(row.expected_fetches_per_cycle.map(|fetches| format!("{fetches:.2}")))),
            ("PER TTL", |row| row.fetches_per_ttl.text(2)),
            ("WAITED", |row| row.waited_ratio.text(4)),
        ]
    }
}

pub(super) fn run(cli: &Cli, args: &CollapseArgs) -> Result<(), VerbError> {
    frame::run(cli, &Collapse::of(args)?, &args.runs.outputs())
}
