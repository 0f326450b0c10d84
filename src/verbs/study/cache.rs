//! `iso study cache`: eviction policies and admission rules by sizes, with a shield or without, and the closed forms beside.

use std::io::Write;

use serde::Serialize;
use simulator::studies::cache::{Admitting, CacheStudy, Cached, Expected, Room, Sizes, expected, play};
use world::{
    scenario::Paths,
    workload::{Traffic, Zipf},
};

use super::{
    Prepared,
    evictor::Evictor,
    ground::{Figure, each, repetitions},
    page::{self, Part},
    policies_of,
    repeat::{RowFiles, write_lines},
    routing::create,
    sound, with_hint,
};
use crate::{
    args::{CacheStudyArgs, Cli},
    diagnose::nearest_or_all,
    load::paths,
    picture::{Axis, Picture, Series},
    quantity::{ByteCount, Span},
    talk::VerbError,
    verbs::{paint::table, print},
};

/// Sizes are whole numbers of 64 bits, and so are sums of them.
const DECADES_MAX: u32 = 12;
/// Objects of a class of traffic, where none are said.
const OBJECTS: &str = "100000";
/// Objects that a table of popularity may hold.
const OBJECTS_MAX: u64 = 10_000_000;

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    seeds: u32,
    objects: u32,
    exponent: f64,
    /// Of sizes.
    unit: &'static str,
    edges: u32,
    requests: u64,
    rows: Vec<Row>,
}

/// One policy, admission rule and size over all seeds.
#[derive(Debug, Serialize)]
struct Row {
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

/// One policy, admission rule and size with one seed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    policy: &'a str,
    objects: u32,
    exponent: f64,
    /// None where all objects are of one size.
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
pub(super) struct Caches {
    objects: u32,
    exponent: f64,
    sizes: Sizes,
    rps: f64,
    /// All seeds of a kind, then the next kind.
    jobs: Vec<(Evictor, CacheStudy)>,
    seeds: usize,
}

impl Caches {
    /// Checks what was typed.
    pub(super) fn of(args: &CacheStudyArgs) -> Result<Self, VerbError> {
        let policies = policies_of(&args.policies).map_err(VerbError::Usage)?;
        let rules = args.admission.iter().map(|name| admitting_of(name)).collect::<Result<Vec<Admitting>, _>>()?;
        let (objects, exponent, traffic) = workload_of(&args.workload)?;
        let sizes = match (args.size_decades, traffic) {
            (0, None) => Sizes::One,
            (0, Some(traffic)) => Sizes::Traffic(traffic.sizes),
            (_, Some(traffic)) => {
                let why = format!("--size-decades: objects of {} have sizes of their own", traffic.name);
                return Err(VerbError::Usage(why));
            }
            (decades, None) if decades <= DECADES_MAX => Sizes::Decades(decades),
            (decades, None) => {
                return Err(VerbError::Usage(format!("--size-decades {decades}: at most {DECADES_MAX}")));
            }
        };
        let room_of = |name: &str, text: &str| room_of(name, text, objects, sizes);
        let rooms = args.sizes.iter().map(|text| room_of("size", text)).collect::<Result<Vec<Room>, _>>()?;
        let shields = args.shields.iter().map(|text| match text.as_str() {
            "off" => Ok(None),
            text => room_of("shield", text).map(Some),
        });
        let shields = shields.collect::<Result<Vec<Option<Room>>, _>>()?;
        if !(args.rps > 0.0 && args.rps.is_finite()) {
            return Err(VerbError::Usage(format!("--rps {}: write a number above 0", args.rps)));
        }
        let ttls = args.ttl.iter().map(|text| ttl_of(text, args.rps)).collect::<Result<Vec<Option<u64>>, _>>()?;
        let counts = [("edges", args.edges == 0), ("requests", args.requests == 0), ("seeds", args.runs.seeds == 0)];
        if let Some((name, _)) = counts.into_iter().find(|(_, is_nothing)| *is_nothing) {
            return Err(VerbError::Usage(format!("--{name} 0: one at least")));
        }
        let mut jobs = Vec::new();
        let kinds = policies.iter().flat_map(|policy| rooms.iter().map(move |&room| (policy, room)));
        let kinds = kinds.flat_map(|(policy, room)| shields.iter().map(move |&shield| (policy, room, shield)));
        let kinds = kinds.flat_map(|kind| ttls.iter().map(move |&ttl| (kind, ttl)));
        for ((policy, room, shield), ttl) in kinds {
            // Enough to fill every cache, in the mean, several times over, where it is known how many objects do.
            let fills = match sizes {
                Sizes::One => 4 * room.bytes(objects.into()) * u64::from(args.edges),
                Sizes::Decades(_) | Sizes::Traffic(_) => 0,
            };
            for &admitting in &rules {
                jobs.extend((0..u64::from(args.runs.seeds)).map(|nth| {
                    let study = CacheStudy {
                        admitting,
                        sizes,
                        edges: args.edges,
                        room,
                        shield,
                        ttl,
                        warmup: args.warmup.unwrap_or_else(|| args.requests.max(fills)),
                        requests: args.requests,
                        seed: args.runs.seed.wrapping_add(nth),
                    };
                    (policy.clone(), study)
                }));
            }
        }
        Ok(Self { objects, exponent, sizes, rps: args.rps, jobs, seeds: args.runs.seeds as usize })
    }

    fn play(&self, threads: Option<usize>, zipf: &Zipf) -> Result<Vec<Cached>, VerbError> {
        let cached = each(threads, &self.jobs, |(policy, study)| play(study, zipf, |room| policy.begin(room)));
        let policies: Vec<Evictor> = self.jobs.iter().map(|(policy, _)| policy.clone()).collect();
        sound(&policies)?;
        Ok(cached)
    }

    fn ttl_s(&self, study: &CacheStudy) -> Option<f64> {
        study.ttl.map(|requests| requests as f64 / self.rps)
    }

    /// What the closed forms say of each job. Seeds draw sizes, where there are several; else all seeds are alike.
    fn expected(&self, threads: Option<usize>, zipf: &Zipf) -> Vec<Option<Expected>> {
        let alike = if self.sizes == Sizes::One { self.seeds } else { 1 };
        let some: Vec<&(Evictor, CacheStudy)> = self.jobs.iter().step_by(alike).collect();
        let expected = each(threads, &some, |(policy, study)| match policy {
            Evictor::Own(policy) => expected(study, *policy, zipf),
            Evictor::Wasm(..) => None,
        });
        expected.into_iter().flat_map(|expected| std::iter::repeat_n(expected, alike)).collect()
    }

    fn lines<'a>(&'a self, outcomes: &'a [Cached], expected: &'a [Option<Expected>]) -> impl Iterator<Item = Line<'a>> {
        self.jobs.iter().zip(outcomes).zip(expected).map(|(((policy, study), cached), expected)| {
            let edge_miss_ratio = cached.edge_miss_ratio();
            let expected_edge_miss_ratio = expected.map(|expected| 1.0 - expected.edge);
            Line {
                version: env!("CARGO_PKG_VERSION"),
                seed: study.seed,
                policy: policy.as_str(),
                objects: self.objects,
                exponent: self.exponent,
                size_decades: match study.sizes {
                    Sizes::One | Sizes::Traffic(_) => None,
                    Sizes::Decades(decades) => Some(decades),
                },
                edges: study.edges,
                admission: study.admitting.as_str(),
                threshold_bytes: cached.threshold,
                size: cached.room,
                size_share: study.room.share(cached.catalogue),
                shield: cached.shield_room,
                shield_share: study.shield.map_or(0.0, |room| room.share(cached.catalogue)),
                ttl_s: self.ttl_s(study),
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
            }
        })
    }
}

impl Prepared for Caches {
    fn write_rows(&self, out: &mut dyn Write) -> Result<(), VerbError> {
        let zipf = Zipf::new(self.objects, self.exponent);
        let outcomes = self.play(Some(1), &zipf)?;
        let expected = self.expected(Some(1), &zipf);
        write_lines(out, &self.lines(&outcomes, &expected).collect::<Vec<_>>())
    }
}

pub(super) fn run(cli: &Cli, args: &CacheStudyArgs) -> Result<(), VerbError> {
    let caches = Caches::of(args)?;
    let rows_files = RowFiles::open(&args.runs.rows)?;
    let html = args.runs.html.as_deref().map(create).transpose()?;
    let zipf = Zipf::new(caches.objects, caches.exponent);
    let outcomes = caches.play(args.runs.threads, &zipf)?;
    let expected = caches.expected(args.runs.threads, &zipf);
    rows_files.write(|out| write_lines(out, &caches.lines(&outcomes, &expected).collect::<Vec<_>>()))?;
    let seeds = caches.seeds;
    let rows = caches.jobs.chunks(seeds).zip(outcomes.chunks(seeds)).zip(expected.chunks(seeds));
    let rows = rows.filter_map(|((studies, outcomes), expected)| {
        let ((policy, study), first) = (studies.first()?, outcomes.first()?);
        let over = |of: &dyn Fn(&Cached) -> f64| Figure::of(outcomes.iter().map(of));
        let expected = expected.iter().copied().flatten();
        Some(Row {
            policy: policy.as_str().to_owned(),
            admission: study.admitting.as_str(),
            size: first.room,
            shield: first.shield_room,
            ttl_s: caches.ttl_s(study),
            edge_miss_ratio: over(&Cached::edge_miss_ratio)?,
            expected_edge_miss_ratio: Figure::of(expected.clone().map(|of| 1.0 - of.edge)).map(|of| of.mean),
            edge_byte_miss_ratio: over(&Cached::edge_byte_miss_ratio)?,
            shield_hit_ratio: study.shield.and_then(|_| over(&Cached::shield_hit_ratio)),
            expected_shield_hit_ratio: Figure::of(expected.filter_map(|of| of.shield)).map(|of| of.mean),
            origin_ratio: over(&Cached::origin_ratio)?,
        })
    });
    let report = Report {
        seed: args.runs.seed,
        seeds: args.runs.seeds,
        objects: caches.objects,
        exponent: caches.exponent,
        unit: match caches.sizes {
            Sizes::One => "objects",
            Sizes::Decades(_) | Sizes::Traffic(_) => "bytes",
        },
        edges: args.edges,
        requests: args.requests,
        rows: rows.collect(),
    };
    let title = format!(
        "{} objects by Zipf {}, {} edge{}, {} requests",
        report.objects,
        report.exponent,
        report.edges,
        if report.edges == 1 { "" } else { "s" },
        report.requests
    );
    let head = [
        "POLICY",
        "ADMISSION",
        "SIZE",
        "SHIELD",
        "TTL",
        "EDGE MISSES",
        "EXPECTED",
        "BY BYTES",
        "SHIELD HITS",
        "EXPECTED",
        "ORIGIN",
    ];
    if let Some(file) = html {
        let head: Vec<String> = head.iter().map(ToString::to_string).collect();
        page::write(file, &title, &head, &cells(&report), &[Part::Curves(curves(&report))])?;
    }
    print(cli, &report, |report| format!("{title}\n{}", table(&head, cells(report))))
}

/// What edges miss: by size, or of each policy where there is one size; and what closed forms say of it.
fn curves(report: &Report) -> Picture {
    let mut sizes: Vec<u64> = report.rows.iter().map(|row| row.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let is_of_one_rule = report.rows.windows(2).all(|rows| matches!(rows, [a, b] if a.admission == b.admission));
    let mut names: Vec<String> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    // The shield changes nothing for edges, but for ages; of several TTLs the first is drawn.
    let first = report.rows.first().map(|row| (row.shield, row.ttl_s));
    for row in report.rows.iter().filter(|row| Some((row.shield, row.ttl_s)) == first) {
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
        _ => Axis { is_log: true, ..Axis::of(format!("{} that fit into an edge", report.unit)) },
    };
    Picture {
        title: "Misses at edges".into(),
        description: repetitions(report.seeds as usize),
        x,
        y: Axis::of("miss ratio"),
        series,
    }
}

fn cells(report: &Report) -> Vec<Vec<String>> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let of_row = |row: &Row| {
        vec![
            row.policy.clone(),
            row.admission.to_owned(),
            row.size.to_string(),
            row.shield.map_or_else(|| "off".to_owned(), |room| room.to_string()),
            row.ttl_s.map_or_else(|| "off".to_owned(), |ttl| format!("{ttl}s")),
            row.edge_miss_ratio.text(4),
            or_dash(row.expected_edge_miss_ratio.map(|ratio| format!("{ratio:.4}"))),
            row.edge_byte_miss_ratio.text(4),
            or_dash(row.shield_hit_ratio.map(|ratio| ratio.text(4))),
            or_dash(row.expected_shield_hit_ratio.map(|ratio| format!("{ratio:.4}"))),
            row.origin_ratio.text(4),
        ]
    };
    report.rows.iter().map(of_row).collect()
}

/// A TTL in requests, of which so many are made per second; none of `off`.
fn ttl_of(text: &str, rps: f64) -> Result<Option<u64>, VerbError> {
    let text = text.trim();
    if text == "off" {
        return Ok(None);
    }
    let refuse = |_| VerbError::Usage(format!("--ttl {text}: write a duration, as 10m, or off"));
    let span = text.parse::<Span>().map_err(refuse)?;
    match (span.0.as_secs_f64() * rps).round() {
        requests if (1.0..1e15).contains(&requests) => Ok(Some(requests as u64)),
        requests => Err(VerbError::Usage(format!("--ttl {text}: {requests} requests at {rps} a second; one at least"))),
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

/// `zipf:0.8:100000`, or `class:w-1:100000`: how many objects, the exponent, and the class.
fn workload_of(text: &str) -> Result<(u32, f64, Option<&'static Traffic>), VerbError> {
    let refuse = |why: &str| VerbError::Usage(format!("--workload {text}: {why}"));
    let count = |n: u64| match u32::try_from(n) {
        Ok(n) if (1..=OBJECTS_MAX).contains(&n.into()) => Ok(n),
        _ => Err(refuse(&format!("from 1 to {OBJECTS_MAX} objects"))),
    };
    if let Some(class) = text.trim().strip_prefix("class:") {
        let (name, objects) = class.split_once(':').unwrap_or((class, OBJECTS));
        let traffic = Traffic::named(name).ok_or_else(|| {
            let hint = nearest_or_all(name, Traffic::all().iter().map(|traffic| traffic.name.as_str()));
            VerbError::Usage(with_hint(format!("--workload {text}: no class {name:?}"), hint))
        })?;
        let objects = objects.parse().map_err(|_| refuse("write class:NAME:N"))?;
        return Ok((count(objects)?, traffic.exponent, Some(traffic)));
    }
    match paths::parse(text, std::path::Path::new(".")) {
        Ok(Paths::Zipf { s, n }) => Ok((count(n)?, s, None)),
        Ok(_) => Err(refuse("write zipf:S:N or class:NAME; `iso study replay` plays traces")),
        Err(why) => Err(VerbError::Usage(format!("--workload: {why}"))),
    }
}

/// Room: a number of objects, or of bytes where sizes differ, or a share of the catalogue.
fn room_of(name: &str, text: &str, objects: u32, sizes: Sizes) -> Result<Room, VerbError> {
    let text = text.trim();
    let all = u64::from(objects);
    let room = match (text.strip_suffix('%'), sizes) {
        (Some(percent), _) => percent.trim().parse::<f64>().ok().map(|percent| Room::Share(percent / 100.0)),
        (None, Sizes::One) => text.parse().ok().map(Room::Bytes),
        (None, Sizes::Decades(_) | Sizes::Traffic(_)) => {
            text.parse::<ByteCount>().ok().map(|bytes| Room::Bytes(bytes.0))
        }
    };
    let is_some = |room: &Room| match (*room, sizes) {
        (Room::Share(share), Sizes::One) => share <= 1.0 && share * f64::from(objects) >= 0.5,
        (Room::Share(share), Sizes::Decades(_) | Sizes::Traffic(_)) => share <= 1.0 && share > 0.0,
        (Room::Bytes(room), Sizes::One) => (1..=all).contains(&room),
        (Room::Bytes(room), Sizes::Decades(_) | Sizes::Traffic(_)) => room > 0,
    };
    room.filter(is_some).ok_or_else(|| {
        let number = match sizes {
            Sizes::One => format!("a number of objects from 1 to {objects}"),
            Sizes::Decades(_) | Sizes::Traffic(_) => "a number of bytes, as 64MiB".to_owned(),
        };
        VerbError::Usage(format!("--{name} {text}: write {number}, or a share as 1%"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_a_number_or_a_share_of_the_catalogue() {
        let room = |text: &str| room_of("size", text, 1000, Sizes::One).map(|room| room.bytes(1000));
        assert_eq!((room("10").unwrap(), room("1%").unwrap()), (10, 10));
        for wrong in ["0", "1001", "-1%", "101%", "many", "0.01%", "64KiB"] {
            assert!(room(wrong).is_err(), "{wrong}");
        }
        let room = |text: &str| room_of("size", text, 1000, Sizes::Decades(9)).map(|room| room.bytes(1_000_000));
        assert_eq!((room("64KiB").unwrap(), room("0.01%").unwrap()), (65_536, 100));
        assert!(room("0").is_err() && room("0%").is_err() && room("10 apples").is_err());
    }

    #[test]
    fn a_workload_is_zipf_or_a_class_of_traffic() {
        assert_eq!(workload_of("zipf:0.8:1000").unwrap(), (1000, 0.8, None));
        let (objects, exponent, class) = workload_of("class:v-1:500").unwrap();
        assert_eq!((objects, exponent, class.unwrap().name.as_str()), (500, 0.84, "v-1"));
        assert_eq!(workload_of("class:v-1").unwrap().0, 100_000);
        for wrong in ["zipf:0.8:99999999999", "/a", "zipf", "class:v-9", "class:v-1:many", "class:v-1:0", "class:"] {
            assert!(workload_of(wrong).is_err(), "{wrong}");
        }
    }
}
