//! `iso study retries`: the highest load that recovers from a cut.

use serde::Serialize;
use simulator::studies::retries::RetryStudy;
use world::scenario::Retry;

use super::{
    frame::{self, Column, Study, or_dash},
    ground::{Figure, each, refuse_nothing, seeds_from},
};
use crate::{
    args::{Cli, RetriesArgs},
    quantity::Share,
    talk::VerbError,
};

/// Requests per second at most.
const RPS_MAX: f64 = 1e6;

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    service_rps: f64,
    step_rps: f64,
    rows: Vec<Row>,
}

/// One kind of client and server, over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    retries: u8,
    backoff_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shed: Option<usize>,
    highest_rps: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    critical_rps: Option<f64>,
}

/// One search.
#[derive(Debug, Default, Serialize)]
struct Line {
    version: &'static str,
    seed: u64,
    service_rps: f64,
    timeout_s: f64,
    retries: u8,
    backoff_ms: f64,
    budget: Option<f64>,
    shed: Option<usize>,
    warmup_s: f64,
    cut_s: f64,
    span_s: f64,
    step_rps: f64,
    highest_rps: f64,
    critical_rps: Option<f64>,
}

/// A study that is checked and can begin.
pub(super) struct Retries<'a> {
    args: &'a RetriesArgs,
    /// Their loads are what is searched for.
    jobs: Vec<RetryStudy>,
    seeds: usize,
}

impl<'a> Retries<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a RetriesArgs) -> Result<Self, VerbError> {
        let refuse = |why: &str| Err(VerbError::Usage(why.to_owned()));
        let seeds = seeds_from(args.runs.seed, args.runs.seeds)?;
        if !(args.service_rps > 0.0 && args.service_rps <= RPS_MAX) {
            return refuse("--service-rps: write a number above 0, and at most a million");
        }
        if !(args.step > 0.0 && args.step <= args.service_rps) {
            return refuse("--step: write a number above 0, and at most --service-rps");
        }
        refuse_nothing([("timeout", args.timeout.0.is_zero()), ("for", args.span.0.is_zero())])?;
        let budgets = args.budget.iter().map(|text| match text.trim() {
            "off" => Ok(None),
            text => text.parse::<Share>().map(|share| Some(share.0)).map_err(|why| format!("--budget: {why}, or off")),
        });
        let budgets = budgets.collect::<Result<Vec<_>, _>>().map_err(VerbError::Usage)?;
        let sheds = args.shed.iter().map(|text| match text.trim() {
            "off" => Ok(None),
            text => match text.parse::<usize>() {
                Ok(most) if most > 0 => Ok(Some(most)),
                _ => Err(format!("--shed {text}: write a number of requests from 1, or off")),
            },
        });
        let sheds = sheds.collect::<Result<Vec<_>, _>>().map_err(VerbError::Usage)?;
        let mut jobs = Vec::new();
        for &retries in &args.retries {
            let Some(attempts) = retries.checked_add(1) else { return refuse("--retries: at most 254") };
            for backoff in &args.backoff {
                for &budget in &budgets {
                    for &queue_max in &sheds {
                        jobs.extend(seeds.iter().map(|&seed| RetryStudy {
                            load_rps: 0.0,
                            service_rps: args.service_rps,
                            retry: Retry { attempts, backoff: backoff.0, budget, timeout: args.timeout.0 },
                            queue_max,
                            warmup: args.warmup.0,
                            cut: args.cut.0,
                            span: args.span.0,
                            seed,
                        }));
                    }
                }
            }
        }
        Ok(Self { args, jobs, seeds: seeds.len() })
    }

    fn line(&self, study: &RetryStudy, highest_rps: f64) -> Line {
        Line {
            version: env!("CARGO_PKG_VERSION"),
            seed: study.seed,
            service_rps: study.service_rps,
            timeout_s: study.retry.timeout.as_secs_f64(),
            retries: study.retry.attempts - 1,
            backoff_ms: study.retry.backoff.as_secs_f64() * 1e3,
            budget: study.retry.budget,
            shed: study.queue_max,
            warmup_s: study.warmup.as_secs_f64(),
            cut_s: study.cut.as_secs_f64(),
            span_s: study.span.as_secs_f64(),
            step_rps: self.args.step,
            highest_rps,
            critical_rps: study.critical_rps(),
        }
    }

    fn row(studies: &[RetryStudy], highest: &[f64]) -> Option<Row> {
        let study = studies.first()?;
        Some(Row {
            retries: study.retry.attempts - 1,
            backoff_ms: study.retry.backoff.as_secs_f64() * 1e3,
            budget: study.retry.budget,
            shed: study.queue_max,
            highest_rps: Figure::of(highest.iter().copied())?,
            critical_rps: study.critical_rps(),
        })
    }
}

impl Study for Retries<'_> {
    /// The highest load that recovers, for each.
    type Played = Vec<f64>;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Vec<f64>, VerbError> {
        Ok(each(threads, &self.jobs, |study| study.highest_recovering(self.args.step)))
    }

    fn lines<'a>(&'a self, played: &'a Vec<f64>) -> Vec<impl Serialize + Default + 'a> {
        self.jobs.iter().zip(played).map(|(study, highest)| self.line(study, *highest)).collect()
    }

    fn report(&self, played: &Vec<f64>) -> Option<Report> {
        let kinds = self.jobs.chunks(self.seeds).zip(played.chunks(self.seeds));
        Some(Report {
            seed: self.args.runs.seed,
            seeds: self.args.runs.seeds,
            service_rps: self.args.service_rps,
            step_rps: self.args.step,
            rows: kinds.filter_map(|(studies, highest)| Self::row(studies, highest)).collect(),
        })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        format!(
            "A server of {}/s, a cut of {} and {} after it; the highest load that recovers, to {}/s",
            report.service_rps, self.args.cut, self.args.span, report.step_rps
        )
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("RETRIES", |row| row.retries.to_string()),
            ("BACKOFF ms", |row| row.backoff_ms.to_string()),
            ("BUDGET", |row| row.budget.map_or_else(|| "off".to_owned(), |share| format!("{} %", share * 100.0))),
            ("SHED", |row| row.shed.map_or_else(|| "off".to_owned(), |most| most.to_string())),
            ("RECOVERS /s", |row| row.highest_rps.text(1)),
            ("CRITICAL /s", |row| or_dash(row.critical_rps.map(|rps| format!("{rps:.1}")))),
        ]
    }
}

pub(super) fn run(cli: &Cli, args: &RetriesArgs) -> Result<(), VerbError> {
    frame::run(cli, &Retries::of(args)?, &args.runs.outputs())
}
