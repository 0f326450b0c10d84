//! `iso study collapse`: what the end of an object's life costs.

use std::io::Write;

use serde::Serialize;
use simulator::studies::collapse::{CollapseStudy, Collapsed, play};

use super::{
    Prepared,
    ground::{Figure, each, refuse_nothing, seeds_from},
    page,
    repeat::RowFiles,
    routing::create,
};
use crate::{
    args::{Cli, CollapseArgs, Switch},
    talk::VerbError,
    verbs::{paint::table, print},
};

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    seeds: u32,
    ttl_s: f64,
    rebuild_s: f64,
    stale_s: f64,
    rows: Vec<Row>,
}

/// One way to fetch at one rate, over all seeds.
#[derive(Debug, Serialize)]
struct Row {
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
#[derive(Debug, Serialize)]
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
pub(super) struct Collapse {
    jobs: Vec<CollapseStudy>,
    seeds: usize,
}

impl Collapse {
    /// Checks what was typed.
    pub(super) fn of(args: &CollapseArgs) -> Result<Self, VerbError> {
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
        Ok(Self { jobs, seeds: seeds.len() })
    }

    fn write_csv(&self, out: impl Write, outcomes: &[Collapsed]) -> Result<(), VerbError> {
        let mut writer = csv::Writer::from_writer(out);
        for (study, collapsed) in self.jobs.iter().zip(outcomes) {
            let line = Line {
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
            };
            writer.serialize(line).map_err(|error| VerbError::Failed(error.into()))?;
        }
        Ok(writer.flush()?)
    }
}

/// Rebuilds ahead, at most.
const BETA_MAX: f64 = 1000.0;
/// Requests of one run that are no typing error.
const REQUESTS_MAX: f64 = 1e10;

impl Prepared for Collapse {
    fn write_rows(&self, out: &mut dyn Write) -> Result<(), VerbError> {
        self.write_csv(out, &each(Some(1), &self.jobs, play))
    }
}

pub(super) fn run(cli: &Cli, args: &CollapseArgs) -> Result<(), VerbError> {
    let collapse = Collapse::of(args)?;
    let rows_files = RowFiles::open(&args.runs.rows)?;
    let html = args.runs.html.as_deref().map(create).transpose()?;
    let outcomes = each(args.runs.threads, &collapse.jobs, play);
    rows_files.write(|out| collapse.write_csv(out, &outcomes))?;
    let seeds = collapse.seeds;
    let rows = collapse.jobs.chunks(seeds).zip(outcomes.chunks(seeds)).filter_map(|(studies, outcomes)| {
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
    });
    let report = Report {
        seed: args.runs.seed,
        seeds: args.runs.seeds,
        ttl_s: args.ttl.0.as_secs_f64(),
        rebuild_s: args.rebuild.0.as_secs_f64(),
        stale_s: args.stale.0.as_secs_f64(),
        rows: rows.collect(),
    };
    let title = format!("An object that is fresh for {} and takes {} to fetch", args.ttl, args.rebuild);
    let head = ["REQUESTS /s", "COLLAPSE", "EARLY", "FETCHES PER CYCLE", "EXPECTED", "PER TTL", "WAITED"];
    if let Some(file) = html {
        let head: Vec<String> = head.iter().map(ToString::to_string).collect();
        page::write(file, &title, &head, &cells(&report), &[])?;
    }
    print(cli, &report, |report| format!("{title}\n{}", table(&head, cells(report))))
}

fn cells(report: &Report) -> Vec<Vec<String>> {
    let of_row = |row: &Row| {
        vec![
            row.rps.to_string(),
            if row.collapse { "on" } else { "off" }.to_owned(),
            row.early.map_or_else(|| "off".to_owned(), |beta| beta.to_string()),
            row.fetches_per_cycle.text(2),
            row.expected_fetches_per_cycle.map_or_else(|| "–".to_owned(), |fetches| format!("{fetches:.2}")),
            row.fetches_per_ttl.text(2),
            row.waited_ratio.text(4),
        ]
    };
    report.rows.iter().map(of_row).collect()
}
