//! `iso study failover`: what the death of a PoP costs.

use std::{ops::RangeInclusive, time::Duration};

use serde::Serialize;
use simulator::studies::routing::{Ground, Resolvers, Routed, RoutingStudy, Scheme, play};

use super::{
    frame::{self, Column, Study, figure_or_dash},
    ground::{Figure, cities_of, each, place_of, pops_of, refuse_nothing, repetitions, seeds_of, world_of},
    page::Part,
    routing::{kill_of, schemes_of, still_picture, still_sent, stretch_of},
};
use crate::{
    args::{Cli, FailoverArgs, RowOf},
    picture::{Axis, Picture, SERIES_MAX, Series},
    quantity::Span,
    talk::VerbError,
};

/// Requests before the death, so that answers are of any age.
const BEFORE: Duration = Duration::from_secs(5);
/// What comes after the last answer should be gone.
const AFTER: Duration = Duration::from_secs(15);
/// Times between two probes. With none between them virtual time would stand still.
const PROBE_INTERVALS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    kill: String,
    rows: Vec<Row>,
}

/// One policy with one TTL and probe interval, over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    policy: &'static str,
    ttl_s: f64,
    probe_interval_s: f64,
    down_after: u32,
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

/// One run, or one second of it.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    policy: &'static str,
    kill: &'a str,
    ttl_s: f64,
    probe_interval_s: f64,
    down_after: u32,
    retry_interval_s: f64,
    answers: usize,
    stretch_share: f64,
    stretch_s: f64,
    clients: u32,
    /// After the death, where the row is of a second.
    second: Option<usize>,
    /// The share of the dead PoP's clients who are still sent there in that second.
    still_sent: Option<f64>,
    requests: u64,
    harmed: u64,
    lost: u64,
    /// Requests that were lost, in seconds of what went to the PoP before.
    lost_s: Option<f64>,
    detected_s: Option<f64>,
    stale_s: Option<f64>,
    expected_stale_s: Option<f64>,
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
    /// The code of the PoP that falls silent.
    kill: String,
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
        refuse_nothing([
            ("rps", args.rps == 0),
            ("clients", args.clients == 0),
            ("answers", args.answers == 0),
            ("down-after", args.down_after.contains(&0)),
        ])?;
        let probes = args.probe_interval.iter().map(|interval| ("probe-interval", interval));
        for (flag, interval) in probes.chain([("retry-interval", &args.retry_interval)]) {
            if !PROBE_INTERVALS.contains(&interval.0) {
                return Err(VerbError::Usage(format!("--{flag} {interval}: write a time from 1ms to 10m")));
            }
        }
        let (cities, seeds) = (cities_of(&args.ground)?, seeds_of(&args.ground)?);
        let pops = pops_of(&args.ground, "world-6")?;
        let kill = kill_of(&format!("{}@{}", args.kill, Span(BEFORE)), &pops, BEFORE * 2)?;
        let stretch = args.stretch.as_deref().map(stretch_of).transpose()?;
        let plain = RoutingStudy::new(place_of("us-east-1")?);
        let mut jobs = Vec::new();
        for &scheme in &schemes {
            for ttl in &args.ttl {
                let longest = ttl.0.max(stretch.map_or(Duration::ZERO, |(_, least)| least));
                let health =
                    args.probe_interval.iter().flat_map(|interval| args.down_after.iter().map(move |n| (interval, n)));
                for (interval, &down_after) in health {
                    let mut routing = plain.routing.clone();
                    (routing.ttl, routing.answers) = (ttl.0, args.answers);
                    (routing.probe.interval, routing.probe.retry_interval) = (interval.0, args.retry_interval.0);
                    routing.probe.down_after = down_after;
                    routing.probe.timeout = routing.probe.timeout.min(interval.0);
                    let detection = routing.probe.detection_bound(routing.probe.timeout).max(interval.0 * 20);
                    let span = BEFORE + detection + longest + AFTER + plain.routing.anycast.convergence * 5;
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
        Ok(Self { args, kill: args.kill.to_ascii_uppercase(), jobs, seeds: seeds.len() })
    }
}

impl Study for Failover<'_> {
    type Played = Vec<Routed>;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Vec<Routed>, VerbError> {
        Ok(each(threads, &self.jobs, |Job { scheme, study }| {
            play(study, &Ground::new(&world_of(study.seed), study), *scheme)
        }))
    }

    fn lines<'a>(&'a self, played: &'a Vec<Routed>) -> Vec<impl Serialize + Default + 'a> {
        let of_run = |(job, routed): (&'a Job, &'a Routed)| match self.args.rows {
            RowOf::Run => vec![line(job, routed, &self.kill)],
            RowOf::Second => {
                let still = routed.still_by_second().into_iter().flatten().enumerate();
                let of_second = |(second, still)| {
                    let (second, still_sent) = (Some(second), Some(still));
                    Line { second, still_sent, ..line(job, routed, &self.kill) }
                };
                still.map(of_second).collect()
            }
        };
        self.jobs.iter().zip(played).flat_map(of_run).collect()
    }

    fn report(&self, played: &Vec<Routed>) -> Option<Report> {
        let kinds = self.jobs.chunks(self.seeds).zip(played.chunks(self.seeds));
        Some(Report {
            seed: self.args.ground.seed,
            seeds: self.args.ground.seeds,
            kill: self.kill.clone(),
            rows: kinds.filter_map(|(jobs, outcomes)| row(jobs, outcomes)).collect(),
        })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        let pops = self.jobs.first().map_or(0, |job| job.study.pops.len());
        let FailoverArgs { ground, rps, .. } = self.args;
        format!("{} falls silent; {pops} PoPs, {} cities, {rps} requests/s", report.kill, ground.cities)
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("POLICY", |row| row.policy.to_owned()),
            ("TTL s", |row| row.ttl_s.to_string()),
            ("PROBES s", |row| row.probe_interval_s.to_string()),
            ("DOWN AFTER", |row| row.down_after.to_string()),
            ("DETECTED s", |row| figure_or_dash(row.detected_s)),
            ("STALE s", |row| figure_or_dash(row.stale_s)),
            ("EXPECTED s", |row| figure_or_dash(row.expected_stale_s)),
            ("LAST s", |row| figure_or_dash(row.back_s)),
            ("HARMED", |row| row.harmed.percent(2)),
            ("LOST", |row| row.lost.percent(2)),
        ]
    }

    fn parts<'a>(&'a self, played: &'a Vec<Routed>, report: &Report) -> Vec<Part<'a>> {
        curves(self, played, report).map(Part::Curves).collect()
    }
}

pub(super) fn run(cli: &Cli, args: &FailoverArgs) -> Result<(), VerbError> {
    frame::run(cli, &Failover::of(args)?, &args.ground.outputs())
}

/// The row of a run.
fn line<'a>(Job { scheme, study }: &Job, routed: &Routed, kill: &'a str) -> Line<'a> {
    let (stretch_share, stretch) = study.resolvers.stretch.unwrap_or_default();
    let seconds = |span: Duration| span.as_secs_f64();
    let probe = &study.routing.probe;
    Line {
        version: env!("CARGO_PKG_VERSION"),
        seed: study.seed,
        policy: scheme.as_str(),
        kill,
        ttl_s: seconds(study.routing.ttl),
        probe_interval_s: seconds(probe.interval),
        down_after: probe.down_after,
        retry_interval_s: seconds(probe.retry_interval),
        answers: study.routing.answers,
        stretch_share,
        stretch_s: seconds(stretch),
        clients: study.clients,
        second: None,
        still_sent: None,
        requests: routed.requests,
        harmed: routed.harmed,
        lost: routed.lost,
        lost_s: before_per_s(study, routed).map(|per_s| routed.lost as f64 / per_s),
        detected_s: routed.detected.map(seconds),
        stale_s: routed.stale_span().map(seconds),
        expected_stale_s: routed.detected.map(|detected| seconds(expected(*scheme, study, detected))),
        back_s: routed.back.map(seconds),
    }
}

/// Requests per second that went to the PoP before it died; none where there were none.
fn before_per_s(study: &RoutingStudy, routed: &Routed) -> Option<f64> {
    let (code, at) = study.kill?;
    let dead = study.pops.iter().position(|pop| pop.pop_code() == Some(code))?;
    let dead = u16::try_from(dead).ok()?;
    let before: u64 = routed.cities_before.iter().filter_map(|city| city.by_site.get(&dead)).sum();
    (before > 0).then(|| before as f64 / at.as_secs_f64())
}

/// Who is still sent to the dead PoP, second by second, and for how long in the mean by the TTL.
fn curves(failover: &Failover<'_>, outcomes: &[Routed], report: &Report) -> impl Iterator<Item = Picture> {
    let Failover { args, jobs, seeds, .. } = failover;
    let runs = jobs.chunks(*seeds).zip(outcomes.chunks(*seeds)).zip(&report.rows).take(SERIES_MAX);
    let still = runs.enumerate().map(|(style, ((_, outcomes), row))| {
        let mut name = format!("{}, TTL {} s", row.policy, row.ttl_s);
        if args.probe_interval.len() > 1 {
            name.push_str(&format!(", probes {} s", row.probe_interval_s));
        }
        if args.down_after.len() > 1 {
            name.push_str(&format!(", {} probes", row.down_after));
        }
        still_sent(name, style, outcomes.iter())
    });
    let still = still.filter(|series| !series.points.is_empty()).collect();
    still_picture(repetitions(*seeds), still).into_iter().chain(by_ttl(args, report))
}

/// For how long clients are sent to the dead PoP, and what is expected; none where there is one TTL.
fn by_ttl(args: &FailoverArgs, report: &Report) -> Option<Picture> {
    let mut series: Vec<Series> = Vec::new();
    let first = report.rows.first()?;
    let is_first = |row: &&Row| row.probe_interval_s == first.probe_interval_s && row.down_after == first.down_after;
    for row in report.rows.iter().filter(is_first) {
        let style =
            series.iter().find(|series| series.name == row.policy).map_or(series.len() / 2, |series| series.style);
        for (figure, is_expected) in [(row.stale_s, false), (row.expected_stale_s, true)] {
            let Some(figure) = figure else { continue };
            let name = if is_expected { format!("{}, expected", row.policy) } else { row.policy.to_owned() };
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(figure.at(row.ttl_s)),
                None => series.push(Series { name, style, is_expected, points: vec![figure.at(row.ttl_s)] }),
            }
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    (args.ttl.len() > 1).then(|| Picture {
        title: "For how long clients are sent to the dead PoP, in the mean".into(),
        description: repetitions(report.seeds as usize),
        x: Axis { is_log: true, ..Axis::of("TTL (s)") },
        y: Axis::of("seconds"),
        series,
    })
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
        down_after: study.routing.probe.down_after,
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
/// with four fifths below the convergence, and for the second that an answer of such a policy holds, half of it. By both:
/// until the first of the two.
fn expected(scheme: Scheme, study: &RoutingStudy, detected: Duration) -> Duration {
    let convergence = study.routing.anycast.convergence.div_f64(5f64.ln());
    // Over the lives of answers, which resolvers may stretch.
    let over = |ttl: Duration, of: &dyn Fn(Duration) -> Duration| match study.resolvers.stretch {
        Some((share, least)) => of(ttl).mul_f64(1.0 - share) + of(ttl.max(least)).mul_f64(share),
        None => of(ttl),
    };
    let half = |life: Duration| life / 2;
    match scheme {
        Scheme::OriginOnly => Duration::ZERO,
        Scheme::Policy(policy) => {
            let policy = policy.build(&study.routing);
            let life = study.routing.ttl.min(policy.ttl_max());
            // Answers that stand for routes are kept no longer by anybody.
            match policy.convergence_max().is_zero() {
                true => detected + over(life, &half),
                false => detected + convergence + half(life),
            }
        }
        Scheme::Hybrid => detected + over(study.routing.ttl, &|life| sooner(life, convergence)),
    }
}

/// The mean of the sooner of what is left of a life, evenly from nothing to all of it, and of an exponential time: the integral
/// of `(1 - t / life) exp(-t / mean)` up to `life`, `mean - mean² / life (1 - exp(-life / mean))`.
fn sooner(life: Duration, mean: Duration) -> Duration {
    let (life, mean) = (life.as_secs_f64(), mean.as_secs_f64());
    if life <= 0.0 || mean <= 0.0 {
        return Duration::ZERO;
    }
    Duration::from_secs_f64((mean - mean * mean / life * -(-life / mean).exp_m1()).max(0.0))
}

#[cfg(test)]
mod tests {
    use cdn_core::routing::PolicyKind;

    use super::*;

    #[test]
    fn the_sooner_of_two_is_near_the_one_that_is_much_sooner() {
        let of =
            |life: f64, mean: f64| sooner(Duration::from_secs_f64(life), Duration::from_secs_f64(mean)).as_secs_f64();
        assert!((of(1.0, 1e6) - 0.5).abs() < 1e-3 && (of(1e6, 3.0) - 3.0).abs() < 1e-3);
        // 6.2133 - 6.2133² / 20 (1 - exp(-20 / 6.2133)).
        assert!((of(20.0, 6.2133) - 4.3603).abs() < 1e-3, "{}", of(20.0, 6.2133));
        assert_eq!(of(0.0, 1.0), 0.0);
    }

    #[test]
    fn an_answer_by_dns_is_expected_to_last_for_half_its_life_after_detection() {
        let mut study = RoutingStudy::new(place_of("us-east-1").unwrap());
        study.routing.ttl = Duration::from_secs(60);
        let of = |study: &RoutingStudy| expected(Scheme::Policy(PolicyKind::Latency), study, Duration::from_secs(2));
        assert_eq!(of(&study), Duration::from_secs(32));
        study.resolvers.stretch = Some((0.1, Duration::from_secs(300)));
        assert_eq!(of(&study), Duration::from_secs(2 + 27 + 15));
    }
}
