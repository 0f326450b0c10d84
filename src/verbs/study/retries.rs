//! `iso study retries`: the highest load that recovers from a cut.

use std::io::Write;

use serde::Serialize;
use simulator::studies::retries::RetryStudy;
use world::scenario::Retry;

use super::{
    Prepared,
    ground::{Figure, each, refuse_nothing, seeds_from},
    page,
    repeat::RowFiles,
    routing::create,
};
use crate::{
    args::{Cli, RetriesArgs},
    quantity::Share,
    talk::VerbError,
    verbs::{paint::table, print},
};

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    seeds: u32,
    service_rps: f64,
    step_rps: f64,
    rows: Vec<Row>,
}

/// One kind of client and server, over all seeds.
#[derive(Debug, Serialize)]
struct Row {
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
#[derive(Debug, Serialize)]
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
pub(super) struct Retries {
    /// Their loads are what is searched for.
    jobs: Vec<RetryStudy>,
    step_rps: f64,
    seeds: usize,
}

impl Retries {
    /// Checks what was typed.
    pub(super) fn of(args: &RetriesArgs) -> Result<Self, VerbError> {
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
        Ok(Self { jobs, step_rps: args.step, seeds: seeds.len() })
    }

    /// The highest load that recovers, for each.
    fn search(&self, threads: Option<usize>) -> Vec<f64> {
        each(threads, &self.jobs, |study| study.highest_recovering(self.step_rps))
    }

    fn write_csv(&self, out: impl Write, highest: &[f64]) -> Result<(), VerbError> {
        let mut writer = csv::Writer::from_writer(out);
        for (study, &highest_rps) in self.jobs.iter().zip(highest) {
            let line = Line {
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
                step_rps: self.step_rps,
                highest_rps,
                critical_rps: study.critical_rps(),
            };
            writer.serialize(line).map_err(|error| VerbError::Failed(error.into()))?;
        }
        Ok(writer.flush()?)
    }
}

/// Requests per second at most.
const RPS_MAX: f64 = 1e6;

impl Prepared for Retries {
    fn write_rows(&self, out: &mut dyn Write) -> Result<(), VerbError> {
        self.write_csv(out, &self.search(Some(1)))
    }
}

pub(super) fn run(cli: &Cli, args: &RetriesArgs) -> Result<(), VerbError> {
    let retries = Retries::of(args)?;
    let rows_files = RowFiles::open(&args.runs.rows)?;
    let html = args.runs.html.as_deref().map(create).transpose()?;
    let highest = retries.search(args.runs.threads);
    rows_files.write(|out| retries.write_csv(out, &highest))?;
    let seeds = retries.seeds;
    let rows = retries.jobs.chunks(seeds).zip(highest.chunks(seeds)).filter_map(|(studies, highest)| {
        let study = studies.first()?;
        Some(Row {
            retries: study.retry.attempts - 1,
            backoff_ms: study.retry.backoff.as_secs_f64() * 1e3,
            budget: study.retry.budget,
            shed: study.queue_max,
            highest_rps: Figure::of(highest.iter().copied())?,
            critical_rps: study.critical_rps(),
        })
    });
    let report = Report {
        seed: args.runs.seed,
        seeds: args.runs.seeds,
        service_rps: args.service_rps,
        step_rps: args.step,
        rows: rows.collect(),
    };
    let title = format!(
        "A server of {}/s, a cut of {} and {} after it; the highest load that recovers, to {}/s",
        report.service_rps, args.cut, args.span, report.step_rps
    );
    let head = ["RETRIES", "BACKOFF ms", "BUDGET", "SHED", "RECOVERS /s", "CRITICAL /s"];
    if let Some(file) = html {
        let head: Vec<String> = head.iter().map(ToString::to_string).collect();
        page::write(file, &title, &head, &cells(&report), &[])?;
    }
    print(cli, &report, |report| format!("{title}\n{}", table(&head, cells(report))))
}

fn cells(report: &Report) -> Vec<Vec<String>> {
    let of_row = |row: &Row| {
        vec![
            row.retries.to_string(),
            row.backoff_ms.to_string(),
            row.budget.map_or_else(|| "off".to_owned(), |share| format!("{} %", share * 100.0)),
            row.shed.map_or_else(|| "off".to_owned(), |most| most.to_string()),
            row.highest_rps.text(1),
            row.critical_rps.map_or_else(|| "–".to_owned(), |rps| format!("{rps:.1}")),
        ]
    };
    report.rows.iter().map(of_row).collect()
}
