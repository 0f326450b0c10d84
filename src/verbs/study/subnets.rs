//! `iso study subnets`: how many more questions client subnets make.

use serde::Serialize;
use simulator::studies::subnets::{CLASSES, Questions, RESOLVER_SIGMA_LN, SubnetStudy};

use super::{
    frame::{self, Column, Study},
    ground::{Figure, each, seeds_from},
};
use crate::{
    args::{Cli, SubnetsArgs},
    talk::VerbError,
};

/// What is printed: figures over seeds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    rows: Vec<Row>,
}

/// A name of one popularity.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    rps: f64,
    shared_qps: Figure,
    tailored_qps: Figure,
    amplification: Figure,
    expected_amplification: Figure,
}

/// A name of one popularity under one seed, at all resolvers or those of one class.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Line {
    version: &'static str,
    seed: u64,
    resolvers: usize,
    networks: usize,
    ttl_s: f64,
    span_s: f64,
    rps: f64,
    /// The class's upper bound, in questions per TTL while one answer is kept for all; `all` for all of them.
    per_ttl_below: String,
    shared_qps: f64,
    tailored_qps: f64,
    amplification: Option<f64>,
    expected_amplification: Option<f64>,
}

/// A study that is checked and can begin.
pub(super) struct Subnets<'a> {
    args: &'a SubnetsArgs,
    studies: Vec<SubnetStudy>,
}

impl<'a> Subnets<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a SubnetsArgs) -> Result<Self, VerbError> {
        const NETWORKS_MAX: usize = 100_000_000;
        let refuse = |why: String| Err(VerbError::Usage(why));
        if args.resolvers == 0 || args.networks < args.resolvers || args.networks > NETWORKS_MAX {
            let (resolvers, networks) = (args.resolvers, args.networks);
            return refuse(format!(
                "--resolvers {resolvers}, --networks {networks}: write 1 resolver or more, a network for each, and {NETWORKS_MAX} at most"
            ));
        }
        if args.ttl.0.is_zero() || args.span.0 < args.ttl.0 {
            return refuse(format!("--ttl {}, --for {}: write a TTL, and a span of one at least", args.ttl, args.span));
        }
        if let Some(wrong) = args.rps.iter().find(|rps| !(1e-6..=1e12).contains(*rps)) {
            return refuse(format!("--rps {wrong}: write requests per second, from 0.000001 to 1e12"));
        }
        let seeds = seeds_from(args.runs.seed, args.runs.seeds)?;
        let study = |seed: u64| {
            args.rps.iter().map(move |&rps| SubnetStudy {
                resolvers: args.resolvers,
                networks: args.networks,
                resolver_sigma_ln: RESOLVER_SIGMA_LN,
                network_sigma_ln: 1.0,
                ttl: args.ttl.0,
                span: args.span.0,
                rps,
                seed,
            })
        };
        Ok(Self { args, studies: seeds.into_iter().flat_map(study).collect() })
    }
}

impl Study for Subnets<'_> {
    type Played = Vec<Line>;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Vec<Line>, VerbError> {
        let outcomes = each(threads, &self.studies, SubnetStudy::play);
        let of_study = |(study, (all, classes)): (&SubnetStudy, (Questions, [Questions; CLASSES.len()]))| {
            let line = |per_ttl_below: String, questions: Questions| Line {
                version: env!("CARGO_PKG_VERSION"),
                seed: study.seed,
                resolvers: study.resolvers,
                networks: study.networks,
                ttl_s: study.ttl.as_secs_f64(),
                span_s: study.span.as_secs_f64(),
                rps: study.rps,
                per_ttl_below,
                shared_qps: questions.shared,
                tailored_qps: questions.tailored,
                amplification: questions.amplification(),
                expected_amplification: questions.expected_amplification(),
            };
            let classes = CLASSES.iter().zip(classes).map(|(bound, questions)| line(bound.to_string(), questions));
            std::iter::once(line("all".to_owned(), all)).chain(classes).collect::<Vec<_>>()
        };
        Ok(self.studies.iter().zip(outcomes).flat_map(of_study).collect())
    }

    fn lines<'a>(&'a self, played: &'a Vec<Line>) -> Vec<impl Serialize + Default + 'a> {
        played.clone()
    }

    fn report(&self, lines: &Vec<Line>) -> Option<Report> {
        let row = |&rps: &f64| {
            let of = |value: fn(&Line) -> Option<f64>| {
                let some = lines.iter().filter(|line| line.rps == rps && line.per_ttl_below == "all");
                Figure::of(some.filter_map(value))
            };
            Some(Row {
                rps,
                shared_qps: of(|line| Some(line.shared_qps))?,
                tailored_qps: of(|line| Some(line.tailored_qps))?,
                amplification: of(|line| line.amplification)?,
                expected_amplification: of(|line| line.expected_amplification)?,
            })
        };
        let (seed, seeds) = (self.args.runs.seed, self.args.runs.seeds);
        Some(Report { seed, seeds, rows: self.args.rps.iter().filter_map(row).collect() })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, _: &Report) -> String {
        let SubnetsArgs { networks, resolvers, ttl, .. } = self.args;
        format!("{networks} networks behind {resolvers} resolvers, answers kept for {ttl}")
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("REQUESTS/s", |row| row.rps.to_string()),
            ("QUESTIONS/s", |row| row.shared_qps.text(2)),
            ("WITH SUBNETS/s", |row| row.tailored_qps.text(2)),
            ("TIMES", |row| row.amplification.text(3)),
            ("EXPECTED", |row| row.expected_amplification.text(3)),
        ]
    }
}

pub(super) fn run(cli: &Cli, args: &SubnetsArgs) -> Result<(), VerbError> {
    frame::run(cli, &Subnets::of(args)?, &args.runs.outputs())
}
