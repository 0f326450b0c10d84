//! `iso study balance`: latency and errors by load, under one balancing policy after the other.

use std::time::Duration;

use serde::Serialize;
use simulator::studies::balance::{
    Antagonists, BalanceStudy, Balanced, BalancingPolicy, PrequalOptions, WorkShape, play, relaxation, supermarket,
};

use super::{
    frame::{self, Column, Study, or_dash},
    ground::{Figure, each, refuse_nothing, seeds_from},
    with_hint,
};
use crate::{
    args::{BalanceArgs, Cli, Shape},
    diagnose::nearest_or_all,
    quantity::Span,
    talk::VerbError,
};

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    clients: u32,
    servers: u32,
    work_ms: f64,
    allocation_qps: f64,
    rows: Vec<Row>,
}

/// One policy at one load, over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    policy: &'static str,
    load: f64,
    mean_ms: Figure,
    p50_ms: Figure,
    p90_ms: Figure,
    p99_ms: Figure,
    p999_ms: Figure,
    error_ratio: Figure,
    /// The mean in units of the work, and what the limit formula says of it, where it is about what was played.
    mean_in_system: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_mean_in_system: Option<f64>,
    probes_per_query: Figure,
}

/// One run.
#[derive(Debug, Default, Serialize)]
struct Line {
    version: &'static str,
    seed: u64,
    policy: &'static str,
    load: f64,
    clients: u32,
    servers: u32,
    work_ms: f64,
    work_shape: &'static str,
    contended: f64,
    spare: f64,
    hold_s: f64,
    deadline_s: Option<f64>,
    warmup_s: f64,
    span_s: f64,
    allocation_qps: f64,
    queries: u64,
    errors: u64,
    error_ratio: f64,
    probes: u64,
    mean_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    mean_in_system: f64,
    expected_mean_in_system: Option<f64>,
}

/// A study that is checked and can begin.
pub(super) struct Balance<'a> {
    args: &'a BalanceArgs,
    jobs: Vec<BalanceStudy>,
    seeds: usize,
}

impl<'a> Balance<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a BalanceArgs) -> Result<Self, VerbError> {
        let refuse = |why: &str| Err(VerbError::Usage(why.to_owned()));
        let policies = policies_of(&args.policies)?;
        let seeds = seeds_from(args.runs.seed, args.runs.seeds)?;
        let deadline = match args.deadline.as_str() {
            "off" => None,
            text => Some(text.parse::<Span>().map_err(|why| VerbError::Usage(format!("--deadline: {why}, or off")))?.0),
        };
        refuse_nothing([
            ("clients", args.clients == 0),
            ("servers", args.servers == 0),
            ("work", args.work.0.is_zero()),
            ("for", args.span.0.is_zero()),
            ("hold", args.hold.0.is_zero()),
        ])?;
        if !(args.spare >= 0.0 && args.spare.is_finite() && args.settle >= 0.0 && args.settle.is_finite()) {
            return refuse("--spare and --settle: write a number of 0 or more");
        }
        if args.load.iter().any(|load| !(*load > 0.0 && load.is_finite())) {
            return refuse("--load: write numbers above 0, as 0.75");
        }
        // Who waits for ever behind more than can be done waits for ever.
        if let (None, Some(load)) = (deadline, args.load.iter().find(|load| **load >= 1.0)) {
            return Err(VerbError::Usage(format!("--load {load}: with --deadline off it must be below 1")));
        }
        let antagonists = (args.spare > 0.0).then_some(Antagonists {
            contended: args.contended.0,
            spare: args.spare,
            hold: args.hold.0,
        });
        let prequal = PrequalOptions {
            pool_max: args.probe_pool,
            probes: args.probes,
            age_max: args.probe_age.0,
            hot_quantile: args.hot_quantile.0,
            ..PrequalOptions::default()
        };
        let mut jobs = Vec::new();
        for &policy in &policies {
            for &load in &args.load {
                let study = BalanceStudy {
                    policy,
                    clients: args.clients,
                    servers: args.servers,
                    load,
                    work: args.work.0,
                    shape: match args.work_shape {
                        Shape::Normal => WorkShape::Normal,
                        Shape::Exponential => WorkShape::Exponential,
                    },
                    antagonists,
                    prequal,
                    probe_rtt: args.probe_rtt.0,
                    deadline,
                    warmup: args.warmup.0,
                    span: args.span.0,
                    seed: args.runs.seed,
                };
                // From a load of one on queues do not come to rest, and only deadlines keep them short.
                let relaxation_s = if load < 1.0 { relaxation(&study) * args.work.0.as_secs_f64() } else { 0.0 };
                let settled = Duration::try_from_secs_f64(args.settle * relaxation_s)
                    .map_err(|why| VerbError::Usage(format!("--settle {}: {why}", args.settle)))?;
                let (warmup, span) = (study.warmup.max(settled), study.span.max(settled));
                jobs.extend(seeds.iter().map(|&seed| BalanceStudy { warmup, span, seed, ..study }));
            }
        }
        Ok(Self { args, jobs, seeds: seeds.len() })
    }

    fn line(study: &BalanceStudy, balanced: &Balanced) -> Line {
        let antagonists = study.antagonists;
        Line {
            version: env!("CARGO_PKG_VERSION"),
            seed: study.seed,
            policy: study.policy.as_str(),
            load: study.load,
            clients: study.clients,
            servers: study.servers,
            work_ms: ms(study.work),
            work_shape: study.shape.as_str(),
            contended: antagonists.map_or(0.0, |of| of.contended),
            spare: antagonists.map_or(0.0, |of| of.spare),
            hold_s: antagonists.map_or(0.0, |of| of.hold.as_secs_f64()),
            deadline_s: study.deadline.map(|span| span.as_secs_f64()),
            warmup_s: study.warmup.as_secs_f64(),
            span_s: study.span.as_secs_f64(),
            allocation_qps: balanced.allocation_qps,
            queries: balanced.queries,
            errors: balanced.errors,
            error_ratio: balanced.error_ratio(),
            probes: balanced.probes,
            mean_ms: ms(balanced.mean),
            p50_ms: ms(balanced.p50),
            p90_ms: ms(balanced.p90),
            p99_ms: ms(balanced.p99),
            p999_ms: ms(balanced.p999),
            mean_in_system: mean_in_system(study, balanced),
            expected_mean_in_system: expected(study),
        }
    }

    fn row(studies: &[BalanceStudy], outcomes: &[Balanced]) -> Option<Row> {
        let study = studies.first()?;
        let over = |of: &dyn Fn(&Balanced) -> f64| Figure::of(outcomes.iter().map(of));
        Some(Row {
            policy: study.policy.as_str(),
            load: study.load,
            mean_ms: over(&|of| ms(of.mean))?,
            p50_ms: over(&|of| ms(of.p50))?,
            p90_ms: over(&|of| ms(of.p90))?,
            p99_ms: over(&|of| ms(of.p99))?,
            p999_ms: over(&|of| ms(of.p999))?,
            error_ratio: over(&Balanced::error_ratio)?,
            mean_in_system: over(&|of| mean_in_system(study, of))?,
            expected_mean_in_system: expected(study),
            probes_per_query: over(&|of| of.probes as f64 / of.sent.max(1) as f64)?,
        })
    }
}

impl Study for Balance<'_> {
    type Played = Vec<Balanced>;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Vec<Balanced>, VerbError> {
        Ok(each(threads, &self.jobs, play))
    }

    fn lines<'a>(&'a self, played: &'a Vec<Balanced>) -> Vec<impl Serialize + Default + 'a> {
        self.jobs.iter().zip(played).map(|(study, balanced)| Self::line(study, balanced)).collect()
    }

    fn report(&self, played: &Vec<Balanced>) -> Option<Report> {
        let kinds = self.jobs.chunks(self.seeds).zip(played.chunks(self.seeds));
        Some(Report {
            seed: self.args.runs.seed,
            seeds: self.args.runs.seeds,
            clients: self.args.clients,
            servers: self.args.servers,
            work_ms: ms(self.args.work.0),
            allocation_qps: played.first().map_or(0.0, |of| of.allocation_qps),
            rows: kinds.filter_map(|(studies, outcomes)| Self::row(studies, outcomes)).collect(),
        })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        format!(
            "{} clients, {} servers; a load of 1 is {:.0} queries/s of {} ms",
            report.clients, report.servers, report.allocation_qps, report.work_ms
        )
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("POLICY", |row| row.policy.to_owned()),
            ("LOAD", |row| row.load.to_string()),
            ("P50 ms", |row| row.p50_ms.text(0)),
            ("P90 ms", |row| row.p90_ms.text(0)),
            ("P99 ms", |row| row.p99_ms.text(0)),
            ("P99.9 ms", |row| row.p999_ms.text(0)),
            ("ERRORS", |row| row.error_ratio.percent(2)),
            ("MEAN", |row| row.mean_in_system.text(3)),
            ("EXPECTED", |row| or_dash(row.expected_mean_in_system.map(|mean| format!("{mean:.3}")))),
            ("PROBES", |row| row.probes_per_query.text(1)),
        ]
    }
}

pub(super) fn run(cli: &Cli, args: &BalanceArgs) -> Result<(), VerbError> {
    frame::run(cli, &Balance::of(args)?, &args.runs.outputs())
}

fn ms(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1e6
}

fn mean_in_system(study: &BalanceStudy, balanced: &Balanced) -> f64 {
    balanced.mean.as_secs_f64() / study.work.as_secs_f64()
}

/// What the limit formula says: of one client, which has everything under way itself, and servers that have nobody beside.
fn expected(study: &BalanceStudy) -> Option<f64> {
    let is_supermarket = study.clients == 1
        && study.shape == WorkShape::Exponential
        && study.antagonists.is_none()
        && study.deadline.is_none();
    study.policy.choices().filter(|_| is_supermarket).map(|d| supermarket(study.load, d))
}

/// Policies by their names, each once; `all` is all of them.
fn policies_of(names: &[String]) -> Result<Vec<BalancingPolicy>, VerbError> {
    let mut policies: Vec<BalancingPolicy> = Vec::new();
    for name in names.iter().map(|name| name.trim().to_ascii_lowercase()) {
        let named = BalancingPolicy::ALL.into_iter().filter(|policy| name == "all" || policy.as_str() == name);
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            let known = BalancingPolicy::ALL.map(BalancingPolicy::as_str).into_iter().chain(["all"]);
            return Err(VerbError::Usage(with_hint(format!("no policy {name:?}"), nearest_or_all(&name, known))));
        }
        policies.extend(named.into_iter().filter(|policy| !policies.contains(policy)).collect::<Vec<_>>());
    }
    Ok(policies)
}
