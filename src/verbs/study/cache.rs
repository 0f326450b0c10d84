//! `iso study cache`: eviction policies and admission rules by sizes and workloads, with a shield or without, and the closed
//! forms beside.

use serde::Serialize;
use simulator::studies::cache::{Admitting, Asked, CacheStudy, Cached, Expected, Room, expected, play};

use super::{
    evictor::Evictor,
    frame::{self, Column, Study, or_dash},
    ground::{Figure, each, refuse_nothing, repetitions, seeds_from},
    inputs::Inputs,
    page::Part,
    policies_of, sound, with_hint,
    workload::Workload,
};
use crate::{
    args::{CacheStudyArgs, Cli},
    diagnose::nearest_or_all,
    picture::{Axis, Picture, Series},
    talk::VerbError,
};

/// Requests that are drawn and counted, where nothing is said of them.
const REQUESTS: u64 = 1_000_000;
/// What stands in place of an expectation of a trace.
const OF_A_TRACE: &str = "what is expected of a trace is what its popularity alone says of LRU, were its requests in any order; \
                          – where that has no form";

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    edges: u32,
    rows: Vec<Row>,
}

/// One workload, policy, admission rule and size over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    workload: String,
    objects: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exponent: Option<f64>,
    /// Of sizes.
    unit: &'static str,
    requests: u64,
    policy: String,
    admission: &'static str,
    /// In objects where they are of one size, else in bytes under the first seed.
    size: u64,
    shield: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_s: Option<f64>,
    edge_miss_ratio: Figure,
    /// What Che's approximation (LRU) or the closed form (FIFO, random, by size) says of it, in the mean over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_edge_miss_ratio: Option<f64>,
    edge_byte_miss_ratio: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    shield_hit_ratio: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_shield_hit_ratio: Option<f64>,
    origin_ratio: Figure,
}

/// One workload, policy, admission rule and size with one seed.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    workload: &'a str,
    policy: &'a str,
    objects: u32,
    /// None of a trace.
    exponent: Option<f64>,
    /// None where sizes are not drawn over decades.
    size_decades: Option<u32>,
    edges: u32,
    admission: &'static str,
    /// What the rule by size was last tuned to, at the first edge.
    threshold_bytes: Option<f64>,
    size: u64,
    /// Of the bytes of all objects.
    size_share: f64,
    shield: Option<u64>,
    shield_share: f64,
    /// None where what is stored is fresh for ever.
    ttl_s: Option<f64>,
    requests: u64,
    edge_misses: u64,
    origin_requests: u64,
    edge_miss_ratio: f64,
    /// By Che's approximation or the closed form, where there is one.
    expected_edge_miss_ratio: Option<f64>,
    /// What was measured, less what was expected.
    edge_miss_ratio_error: Option<f64>,
    edge_byte_miss_ratio: f64,
    shield_hit_ratio: Option<f64>,
    expected_shield_hit_ratio: Option<f64>,
    origin_ratio: f64,
}

/// A study that is checked and can begin.
pub(super) struct Caches<'a> {
    args: &'a CacheStudyArgs,
    workloads: Vec<Workload>,
    /// All seeds of a kind, then the next kind.
    jobs: Vec<Job>,
    seeds: usize,
}

/// One of what is played.
struct Job {
    /// Its place among the workloads.
    workload: usize,
    policy: Evictor,
    study: CacheStudy,
}

impl<'a> Caches<'a> {
    /// Checks what was typed, and reads what it names.
    pub(super) fn of(args: &'a CacheStudyArgs, inputs: &Inputs) -> Result<Self, VerbError> {
        let policies = policies_of(&args.policies, inputs.dir()).map_err(VerbError::Usage)?;
        let rules = args.admission.iter().map(|name| admitting_of(name)).collect::<Result<Vec<Admitting>, _>>()?;
        let workloads = args.workloads.iter().map(|text| Workload::of(text, args.size_decades, inputs));
        let workloads = workloads.collect::<Result<Vec<Workload>, _>>()?;
        if !(args.rps > 0.0 && args.rps.is_finite()) {
            return Err(VerbError::Usage(format!("--rps {}: write a number above 0", args.rps)));
        }
        refuse_nothing([("edges", args.edges == 0), ("requests", args.requests == Some(0))])?;
        let seeds = seeds_from(args.runs.seed, args.runs.seeds)?;
        let mut jobs = Vec::new();
        for (at, workload) in workloads.iter().enumerate() {
            let rooms = args.sizes.iter().map(|text| workload.room("size", text)).collect::<Result<Vec<Room>, _>>()?;
            let shields = args.shields.iter().map(|text| match text.as_str() {
                "off" => Ok(None),
                text => workload.room("shield", text).map(Some),
            });
            let shields = shields.collect::<Result<Vec<Option<Room>>, _>>()?;
            let ttls = args.ttl.iter().map(|text| workload.ttl(text, args.rps));
            let ttls = ttls.collect::<Result<Vec<Option<u64>>, _>>()?;
            let kinds = policies.iter().flat_map(|policy| rooms.iter().map(move |&room| (policy, room)));
            let kinds = kinds.flat_map(|(policy, room)| shields.iter().map(move |&shield| (policy, room, shield)));
            let kinds = kinds.flat_map(|kind| ttls.iter().map(move |&ttl| (kind, ttl)));
            for ((policy, room, shield), ttl) in kinds {
                let (warmup, requests) = counted(args, workload, room)?;
                for &admitting in &rules {
                    jobs.extend(seeds.iter().map(|&seed| {
                        let edges = args.edges;
                        let study = CacheStudy { admitting, edges, room, shield, ttl, warmup, requests, seed };
                        Job { workload: at, policy: policy.clone(), study }
                    }));
                }
            }
        }
        Ok(Self { args, workloads, jobs, seeds: seeds.len() })
    }

    /// What is asked for in a job.
    fn workload(&self, job: &Job) -> Option<&Workload> {
        self.workloads.get(job.workload)
    }

    fn ttl_s(&self, job: &Job) -> Option<f64> {
        Some(job.study.ttl? as f64 / self.workload(job)?.ticks_per_s(self.args.rps))
    }

    /// What the closed forms say of each job. Seeds draw sizes, where there are several; else all seeds are alike.
    fn expected(&self, threads: Option<usize>, asked: &[Asked]) -> Vec<Option<Expected>> {
        let alike = |jobs: &[Job]| jobs.first().and_then(|job| self.workload(job)).is_some_and(Workload::is_alike);
        let some = self
            .jobs
            .chunks(self.seeds)
            .flat_map(|jobs| if alike(jobs) { jobs.get(..1).unwrap_or(jobs) } else { jobs });
        let said = each(threads, &some.collect::<Vec<_>>(), |job| match job.policy {
            Evictor::Own(policy) => expected(&job.study, policy, asked.get(job.workload)?),
            Evictor::Wasm(..) => None,
        });
        let mut said = said.into_iter();
        let of_kind = |jobs: &[Job]| match alike(jobs) {
            true => vec![said.next().flatten(); jobs.len()],
            false => said.by_ref().take(jobs.len()).collect(),
        };
        self.jobs.chunks(self.seeds).flat_map(of_kind).collect()
    }

    /// What is to be said of a trace, where there is one.
    fn note(&self) -> Option<&'static str> {
        self.workloads.iter().any(|workload| workload.requests().is_some()).then_some(OF_A_TRACE)
    }

    /// The row of a kind, over seeds.
    fn row(&self, jobs: &[Job], outcomes: &[Cached], expected: &[Option<Expected>]) -> Option<Row> {
        let (job, first) = (jobs.first()?, outcomes.first()?);
        let workload = self.workload(job)?;
        let over = |of: &dyn Fn(&Cached) -> f64| Figure::of(outcomes.iter().map(of));
        let expected = expected.iter().copied().flatten();
        Some(Row {
            workload: workload.name.clone(),
            objects: workload.objects(),
            exponent: workload.exponent(),
            unit: workload.unit(),
            requests: first.requests,
            policy: job.policy.as_str().to_owned(),
            admission: job.study.admitting.as_str(),
            size: first.room,
            shield: first.shield_room,
            ttl_s: self.ttl_s(job),
            edge_miss_ratio: over(&Cached::edge_miss_ratio)?,
            expected_edge_miss_ratio: Figure::of(expected.clone().map(|of| 1.0 - of.edge)).map(|of| of.mean),
            edge_byte_miss_ratio: over(&Cached::edge_byte_miss_ratio)?,
            shield_hit_ratio: job.study.shield.and_then(|_| over(&Cached::shield_hit_ratio)),
            expected_shield_hit_ratio: Figure::of(expected.filter_map(|of| of.shield)).map(|of| of.mean),
            origin_ratio: over(&Cached::origin_ratio)?,
        })
    }
}

/// How many requests come before those that are counted, and how many are.
fn counted(args: &CacheStudyArgs, workload: &Workload, room: Room) -> Result<(u64, u64), VerbError> {
    let Some(all) = workload.requests() else {
        let requests = args.requests.unwrap_or(REQUESTS);
        // Enough to fill every cache, in the mean, several times over, where it is known how many objects do.
        let fills = match workload.is_of_one_size() {
            true => 4 * room.bytes(workload.objects().into()) * u64::from(args.edges),
            false => 0,
        };
        return Ok((args.warmup.unwrap_or_else(|| requests.max(fills)), requests));
    };
    // A trace is played once, so that each request that warms caches up is one less that counts.
    let warmup = args.warmup.unwrap_or(0);
    if warmup >= all {
        return Err(VerbError::Usage(format!("--warmup {warmup}: {} has {all} requests", workload.name)));
    }
    Ok((warmup, args.requests.unwrap_or(u64::MAX)))
}

/// What came out of each job, and what the closed forms say of it.
pub(super) struct Outcome {
    cached: Vec<Cached>,
    expected: Vec<Option<Expected>>,
}

impl Study for Caches<'_> {
    type Played = Outcome;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Outcome, VerbError> {
        let asked: Vec<Asked> = self.workloads.iter().map(Workload::asked).collect();
        let cached = each(threads, &self.jobs, |job| {
            let played = asked.get(job.workload).map(|asked| play(&job.study, asked, |room| job.policy.begin(room)));
            played.unwrap_or_default()
        });
        let policies: Vec<Evictor> = self.jobs.iter().map(|job| job.policy.clone()).collect();
        sound(&policies)?;
        Ok(Outcome { cached, expected: self.expected(threads, &asked) })
    }

    fn lines<'a>(&'a self, Outcome { cached, expected }: &'a Outcome) -> Vec<impl Serialize + Default + 'a> {
        let line = |((job, cached), expected): ((&'a Job, &Cached), &Option<Expected>)| {
            let (workload, study) = (self.workload(job)?, &job.study);
            let edge_miss_ratio = cached.edge_miss_ratio();
            let expected_edge_miss_ratio = expected.map(|expected| 1.0 - expected.edge);
            Some(Line {
                version: env!("CARGO_PKG_VERSION"),
                seed: study.seed,
                workload: &workload.name,
                policy: job.policy.as_str(),
                objects: workload.objects(),
                exponent: workload.exponent(),
                size_decades: workload.decades(),
                edges: study.edges,
                admission: study.admitting.as_str(),
                threshold_bytes: cached.threshold,
                size: cached.room,
                size_share: study.room.share(cached.catalogue),
                shield: cached.shield_room,
                shield_share: study.shield.map_or(0.0, |room| room.share(cached.catalogue)),
                ttl_s: self.ttl_s(job),
                requests: cached.requests,
                edge_misses: cached.edge_misses,
                origin_requests: cached.origin,
                edge_miss_ratio,
                expected_edge_miss_ratio,
                edge_miss_ratio_error: expected_edge_miss_ratio.map(|expected| edge_miss_ratio - expected),
                edge_byte_miss_ratio: cached.edge_byte_miss_ratio(),
                shield_hit_ratio: study.shield.map(|_| cached.shield_hit_ratio()),
                expected_shield_hit_ratio: expected.and_then(|expected| expected.shield),
                origin_ratio: cached.origin_ratio(),
            })
        };
        self.jobs.iter().zip(cached).zip(expected).filter_map(line).collect()
    }

    fn report(&self, outcome: &Outcome) -> Option<Report> {
        let (seed, seeds, edges) = (self.args.runs.seed, self.args.runs.seeds, self.args.edges);
        let kinds = self.jobs.chunks(self.seeds).zip(outcome.cached.chunks(self.seeds));
        let kinds = kinds.zip(outcome.expected.chunks(self.seeds));
        let rows = kinds.filter_map(|((jobs, outcomes), expected)| self.row(jobs, outcomes, expected));
        Some(Report { seed, seeds, edges, rows: rows.collect() })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        let edges = format!("{} edge{}", report.edges, if report.edges == 1 { "" } else { "s" });
        match (self.workloads.as_slice(), report.rows.first()) {
            ([workload], Some(row)) => format!("{}, {edges}, {} requests", workload.title(), row.requests),
            (workloads, _) => format!("{} workloads, {edges}", workloads.len()),
        }
    }

    fn columns(&self, report: &Report) -> Vec<Column<Row>> {
        let own: [Column<Row>; 11] = [
            ("POLICY", |row| row.policy.clone()),
            ("ADMISSION", |row| row.admission.to_owned()),
            ("SIZE", |row| row.size.to_string()),
            ("SHIELD", |row| row.shield.map_or_else(|| "off".to_owned(), |room| room.to_string())),
            ("TTL", |row| row.ttl_s.map_or_else(|| "off".to_owned(), |ttl| format!("{ttl}s"))),
            ("EDGE MISSES", |row| row.edge_miss_ratio.text(4)),
            ("EXPECTED", |row| or_dash(row.expected_edge_miss_ratio.map(|ratio| format!("{ratio:.4}")))),
            ("BY BYTES", |row| row.edge_byte_miss_ratio.text(4)),
            ("SHIELD HITS", |row| or_dash(row.shield_hit_ratio.map(|ratio| ratio.text(4)))),
            ("EXPECTED", |row| or_dash(row.expected_shield_hit_ratio.map(|ratio| format!("{ratio:.4}")))),
            ("ORIGIN", |row| row.origin_ratio.text(4)),
        ];
        // A single workload is in the title.
        let workload: Column<Row> = ("WORKLOAD", |row| row.workload.clone());
        report.compares_workloads().then_some(workload).into_iter().chain(own).collect()
    }

    fn foot(&self, _: &Report) -> String {
        self.note().map(|note| format!("\n{note}")).unwrap_or_default()
    }

    fn parts<'a>(&'a self, _: &'a Outcome, report: &Report) -> Vec<Part<'a>> {
        self.workloads.iter().map(|workload| Part::Curves(curves(report, workload, self.note()))).collect()
    }
}

pub(super) fn run(cli: &Cli, args: &CacheStudyArgs) -> Result<(), VerbError> {
    frame::run(cli, &Caches::of(args, &Inputs::default())?, &args.runs.outputs())
}

impl Report {
    fn compares_workloads(&self) -> bool {
        self.rows.windows(2).any(|rows| matches!(rows, [a, b] if a.workload != b.workload))
    }
}

/// What edges miss of a workload: by size, or of each policy where there is one size; and what closed forms say of it.
fn curves(report: &Report, workload: &Workload, note: Option<&str>) -> Picture {
    let rows = || report.rows.iter().filter(|row| row.workload == workload.name);
    let mut sizes: Vec<u64> = rows().map(|row| row.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let is_of_one_rule = report.rows.windows(2).all(|rows| matches!(rows, [a, b] if a.admission == b.admission));
    let mut names: Vec<String> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    // The shield changes nothing for edges, but for ages; of several TTLs the first is drawn.
    let first = rows().next().map(|row| (row.shield, row.ttl_s));
    for row in rows().filter(|row| Some((row.shield, row.ttl_s)) == first) {
        let kind = if is_of_one_rule { row.policy.clone() } else { format!("{}, {}", row.policy, row.admission) };
        let position = names.iter().position(|name| *name == kind).unwrap_or_else(|| {
            names.push(kind.clone());
            names.len() - 1
        });
        let (name, style, x) = match sizes.len() {
            1 => ("edge misses", 0, position as f64),
            _ => (kind.as_str(), position, row.size as f64),
        };
        let closed = row.expected_edge_miss_ratio.map(|ratio| Figure { mean: ratio, ci95: None });
        for (figure, is_expected) in [(Some(row.edge_miss_ratio), false), (closed, true)] {
            let Some(point) = figure.map(|figure| figure.at(x)) else { continue };
            let name = if is_expected { format!("{name}, expected") } else { name.to_owned() };
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series { name, style, is_expected, points: vec![point] }),
            }
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    let x = match sizes.len() {
        1 => Axis { names, ..Axis::of("policy") },
        _ => Axis { is_log: true, ..Axis::of(format!("{} that fit into an edge", workload.unit())) },
    };
    let of = if report.compares_workloads() { format!(", {}", workload.name) } else { String::new() };
    let seeds = repetitions(report.seeds as usize);
    Picture {
        title: format!("Misses at edges{of}"),
        description: note.map_or_else(|| seeds.clone(), |note| format!("{seeds} {note}")),
        x,
        y: Axis::of("miss ratio"),
        series,
    }
}

/// An admission rule by its name.
fn admitting_of(name: &str) -> Result<Admitting, VerbError> {
    let name = name.trim().to_ascii_lowercase();
    Admitting::ALL.into_iter().find(|rule| rule.as_str() == name).ok_or_else(|| {
        let hint = nearest_or_all(&name, Admitting::ALL.map(Admitting::as_str));
        VerbError::Usage(with_hint(format!("no admission {name:?}"), hint))
    })
}
