//! `iso study failover`: what the death of a PoP costs.

use std::{io::Write, time::Duration};

use serde::Serialize;
use simulator::studies::routing::{Ground, Resolvers, Routed, RoutingStudy, Scheme, play};

use super::{
    Prepared,
    ground::{Figure, cities_of, each, place_of, pops_of, seeds_of, world_of},
    page,
    routing::{create, kill_of, schemes_of, stretch_of},
};
use crate::{
    args::{Cli, FailoverArgs},
    quantity::Span,
    talk::VerbError,
    verbs::{paint::table, print},
};

/// Requests before the death, so that answers are of any age.
const BEFORE: Duration = Duration::from_secs(5);
/// What comes after the last answer should be gone.
const AFTER: Duration = Duration::from_secs(15);

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    seeds: u32,
    kill: String,
    rows: Vec<Row>,
}

/// One policy with one TTL and probe interval, over all seeds.
#[derive(Debug, Serialize)]
struct Row {
    policy: &'static str,
    ttl_s: f64,
    probe_interval_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detected_s: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_s: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_stale_s: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    back_s: Option<Figure>,
    /// Requests that met silence, per request and second that went to the PoP before.
    harmed: Figure,
    lost: Figure,
}

/// One run.
#[derive(Debug, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    policy: &'static str,
    kill: &'a str,
    ttl_s: f64,
    probe_interval_s: f64,
    answers: usize,
    stretch_share: f64,
    stretch_s: f64,
    clients: u32,
    requests: u64,
    harmed: u64,
    lost: u64,
    detected_s: Option<f64>,
    stale_s: Option<f64>,
    back_s: Option<f64>,
}

/// A run to be played: which policy, and with what.
#[derive(Clone, Debug)]
pub(super) struct Job {
    scheme: Scheme,
    study: RoutingStudy,
}

/// A study that is checked and can begin.
pub(super) struct Failover<'a> {
    args: &'a FailoverArgs,
    jobs: Vec<Job>,
    seeds: usize,
}

impl<'a> Failover<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a FailoverArgs) -> Result<Self, VerbError> {
        let schemes = schemes_of(&args.policies)?;
        if schemes.contains(&Scheme::OriginOnly) {
            return Err(VerbError::Usage("--policies origin-only: there is no PoP that could die".into()));
        }
        if args.rps == 0 || args.clients == 0 || args.answers == 0 {
            return Err(VerbError::Usage("--rps, --clients and --answers must be more than nothing".into()));
        }
        let (cities, seeds) = (cities_of(&args.ground)?, seeds_of(&args.ground)?);
        let pops = pops_of(&args.ground, "world-6")?;
        let kill = kill_of(&format!("{}@{}", args.kill, Span(BEFORE)), &pops, BEFORE * 2)?;
        let stretch = args.stretch.as_deref().map(stretch_of).transpose()?;
        let plain = RoutingStudy::new(place_of("us-east-1")?);
        let mut jobs = Vec::new();
        for &scheme in &schemes {
            for ttl in &args.ttl {
                for interval in &args.probe_interval {
                    let longest = ttl.0.max(stretch.map_or(Duration::ZERO, |(_, least)| least));
                    let span = BEFORE + interval.0 * 20 + longest + AFTER + plain.routing.anycast.convergence * 5;
                    let mut routing = plain.routing.clone();
                    (routing.ttl, routing.answers) = (ttl.0, args.answers);
                    routing.probe.interval = interval.0;
                    routing.probe.timeout = routing.probe.timeout.min(interval.0);
                    jobs.extend(seeds.iter().map(|&seed| Job {
                        scheme,
                        study: RoutingStudy {
                            pops: pops.clone(),
                            cities: cities.clone(),
                            clients: args.clients,
                            requests: args.rps * span.as_secs().max(1),
                            span,
                            resolvers: Resolvers { stretch, ..plain.resolvers.clone() },
                            routing: routing.clone(),
                            kill: Some(kill),
                            seed,
                            ..plain.clone()
                        },
                    }));
                }
            }
        }
        Ok(Self { args, jobs, seeds: seeds.len() })
    }

    fn play(&self, threads: Option<usize>) -> Vec<Routed> {
        each(threads, &self.jobs, |Job { scheme, study }| {
            play(study, &Ground::new(&world_of(study.seed), study), *scheme)
        })
    }

    fn write_csv(&self, out: impl Write, outcomes: &[Routed]) -> Result<(), VerbError> {
        let mut writer = csv::Writer::from_writer(out);
        for (Job { scheme, study }, routed) in self.jobs.iter().zip(outcomes) {
            let (stretch_share, stretch) = study.resolvers.stretch.unwrap_or_default();
            let kill = study.kill.map(|(pop, _)| pop.to_string()).unwrap_or_default();
            let line = Line {
                version: env!("CARGO_PKG_VERSION"),
                seed: study.seed,
                policy: scheme.as_str(),
                kill: &kill,
                ttl_s: study.routing.ttl.as_secs_f64(),
                probe_interval_s: study.routing.probe.interval.as_secs_f64(),
                answers: study.routing.answers,
                stretch_share,
                stretch_s: stretch.as_secs_f64(),
                clients: study.clients,
                requests: routed.requests,
                harmed: routed.harmed,
                lost: routed.lost,
                detected_s: routed.detected.map(|span| span.as_secs_f64()),
                stale_s: routed.stale_span().map(|span| span.as_secs_f64()),
                back_s: routed.back.map(|span| span.as_secs_f64()),
            };
            writer.serialize(line).map_err(|error| VerbError::Failed(error.into()))?;
        }
        Ok(writer.flush()?)
    }
}

impl Prepared for Failover<'_> {
    fn write_rows(&self, out: &mut dyn Write) -> Result<(), VerbError> {
        self.write_csv(out, &self.play(Some(1)))
    }
}

pub(super) fn run(cli: &Cli, args: &FailoverArgs) -> Result<(), VerbError> {
    let failover = Failover::of(args)?;
    let csv = args.ground.csv.as_deref().map(create).transpose()?;
    let html = args.ground.html.as_deref().map(create).transpose()?;
    let outcomes = failover.play(args.ground.threads);
    if let Some(file) = csv {
        failover.write_csv(file, &outcomes)?;
    }
    let seeds = failover.seeds;
    let rows =
        failover.jobs.chunks(seeds).zip(outcomes.chunks(seeds)).filter_map(|(jobs, outcomes)| row(jobs, outcomes));
    let report = Report {
        seed: args.ground.seed,
        seeds: args.ground.seeds,
        kill: args.kill.to_ascii_uppercase(),
        rows: rows.collect(),
    };
    let pops = failover.jobs.first().map_or(0, |job| job.study.pops.len());
    let title = format!(
        "{} falls silent; {pops} PoPs, {} cities, {} requests/s",
        report.kill, failover.args.ground.cities, failover.args.rps
    );
    let head = ["POLICY", "TTL s", "PROBES s", "DETECTED s", "STALE s", "EXPECTED s", "LAST s", "HARMED", "LOST"];
    if let Some(file) = html {
        let head: Vec<String> = head.iter().map(ToString::to_string).collect();
        page::write(file, &title, &head, &cells(&report), &[])?;
    }
    print(cli, &report, |report| format!("{title}\n{}", table(&head, cells(report))))
}

fn cells(report: &Report) -> Vec<Vec<String>> {
    let or_dash = |figure: Option<Figure>| figure.map_or_else(|| "–".to_owned(), |figure| figure.text(1));
    let percent = |figure: Figure| {
        let of = |value: f64| value * 100.0;
        format!("{} %", Figure { mean: of(figure.mean), ci95: figure.ci95.map(of) }.text(2))
    };
    let of_row = |row: &Row| {
        vec![
            row.policy.to_owned(),
            row.ttl_s.to_string(),
            row.probe_interval_s.to_string(),
            or_dash(row.detected_s),
            or_dash(row.stale_s),
            or_dash(row.expected_stale_s),
            or_dash(row.back_s),
            percent(row.harmed),
            percent(row.lost),
        ]
    };
    report.rows.iter().map(of_row).collect()
}

fn row(jobs: &[Job], outcomes: &[Routed]) -> Option<Row> {
    let Job { scheme, study } = jobs.first()?;
    let seconds = |of: &dyn Fn(&Routed) -> Option<Duration>| {
        Figure::of(outcomes.iter().filter_map(of).map(|span| span.as_secs_f64()))
    };
    let share = |of: &dyn Fn(&Routed) -> u64| {
        Figure::of(outcomes.iter().map(|routed| of(routed) as f64 / routed.requests.max(1) as f64))
    };
    Some(Row {
        policy: scheme.as_str(),
        ttl_s: study.routing.ttl.as_secs_f64(),
        probe_interval_s: study.routing.probe.interval.as_secs_f64(),
        detected_s: seconds(&|routed| routed.detected),
        stale_s: seconds(&Routed::stale_span),
        expected_stale_s: seconds(&|routed| Some(expected(*scheme, study, routed.detected?))),
        back_s: seconds(&|routed| routed.back),
        harmed: share(&|routed| routed.harmed)?,
        lost: share(&|routed| routed.lost)?,
    })
}

/// For how long clients are still sent to the dead PoP, in the mean. By DNS: until it is detected, and then for what is left
/// of an answer of any age, half its life. By routes: until their networks have heard of it, whose times are exponential
/// with four fifths below the convergence, and for the second that an answer of such a policy holds, half of it.
fn expected(scheme: Scheme, study: &RoutingStudy, detected: Duration) -> Duration {
    let life = |ttl: Duration| match study.resolvers.stretch {
        Some((share, least)) => ttl.mul_f64(1.0 - share) + ttl.max(least).mul_f64(share),
        None => ttl,
    };
    let Scheme::Policy(policy) = scheme else { return Duration::ZERO };
    let policy = policy.build(&study.routing);
    let convergence = match policy.convergence_max() {
        Duration::ZERO => Duration::ZERO,
        _ => study.routing.anycast.convergence.div_f64(5f64.ln()),
    };
    detected + convergence + life(study.routing.ttl.min(policy.ttl_max())) / 2
}
