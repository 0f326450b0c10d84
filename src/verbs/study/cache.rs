//! `iso study cache`: eviction policies by sizes, with a shield or without, and the closed forms beside.

use std::io::Write;

use cdn_core::eviction::EvictionPolicy;
use serde::Serialize;
use simulator::studies::cache::{CacheStudy, Cached, che, fifo, filtered, hit_ratio, play};
use world::{scenario::Paths, workload::Zipf};

use super::{
    Prepared,
    evictor::Evictor,
    ground::{Figure, each, repetitions},
    page::{self, Part},
    policies_of,
    repeat::RowFiles,
    routing::create,
    sound,
};
use crate::{
    args::{CacheStudyArgs, Cli},
    load::paths,
    picture::{Axis, Picture, Series},
    talk::VerbError,
    verbs::{paint::table, print},
};

/// Objects that a table of popularity may hold.
const OBJECTS_MAX: u64 = 10_000_000;

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    seeds: u32,
    objects: u32,
    exponent: f64,
    edges: u32,
    requests: u64,
    rows: Vec<Row>,
}

/// One policy and size over all seeds.
#[derive(Debug, Serialize)]
struct Row {
    policy: String,
    size: u64,
    shield: Option<u64>,
    edge_miss_ratio: Figure,
    /// What Che's approximation (LRU) or the closed form (FIFO, random) says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_edge_miss_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shield_hit_ratio: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_shield_hit_ratio: Option<f64>,
    origin_ratio: Figure,
}

/// One policy and size with one seed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    policy: &'a str,
    objects: u32,
    exponent: f64,
    edges: u32,
    size: u64,
    shield: Option<u64>,
    requests: u64,
    edge_misses: u64,
    origin_requests: u64,
    edge_miss_ratio: f64,
    /// By Che's approximation or the closed form, where there is one.
    expected_edge_miss_ratio: Option<f64>,
    /// What was measured, less what was expected.
    edge_miss_ratio_error: Option<f64>,
}

/// A study that is checked and can begin.
pub(super) struct Caches {
    objects: u32,
    exponent: f64,
    jobs: Vec<(Evictor, CacheStudy)>,
    seeds: usize,
}

impl Caches {
    /// Checks what was typed.
    pub(super) fn of(args: &CacheStudyArgs) -> Result<Self, VerbError> {
        let policies = policies_of(&args.policies).map_err(VerbError::Usage)?;
        let (objects, exponent) = workload_of(&args.workload)?;
        let sizes = args.sizes.iter().map(|text| room_of("size", text, objects)).collect::<Result<Vec<u64>, _>>()?;
        let shields = args.shields.iter().map(|text| match text.as_str() {
            "off" => Ok(None),
            text => room_of("shield", text, objects).map(Some),
        });
        let shields = shields.collect::<Result<Vec<Option<u64>>, _>>()?;
        let counts = [("edges", args.edges == 0), ("requests", args.requests == 0), ("seeds", args.seeds == 0)];
        if let Some((name, _)) = counts.into_iter().find(|(_, is_nothing)| *is_nothing) {
            return Err(VerbError::Usage(format!("--{name} 0: one at least")));
        }
        let mut jobs = Vec::new();
        for policy in &policies {
            for &size in &sizes {
                for &shield in &shields {
                    jobs.extend((0..u64::from(args.seeds)).map(|nth| {
                        (
                            policy.clone(),
                            CacheStudy {
                                edges: args.edges,
                                room: size,
                                shield,
                                // Enough to fill every cache, in the mean, several times over.
                                warmup: args
                                    .warmup
                                    .unwrap_or_else(|| args.requests.max(4 * size * u64::from(args.edges))),
                                requests: args.requests,
                                seed: args.seed.wrapping_add(nth),
                            },
                        )
                    }));
                }
            }
        }
        Ok(Self { objects, exponent, jobs, seeds: args.seeds as usize })
    }

    fn play(&self, threads: Option<usize>, zipf: &Zipf) -> Result<Vec<Cached>, VerbError> {
        let cached = each(threads, &self.jobs, |(policy, study)| play(study, zipf, |room| policy.begin(room)));
        let policies: Vec<Evictor> = self.jobs.iter().map(|(policy, _)| policy.clone()).collect();
        sound(&policies)?;
        Ok(cached)
    }

    /// What the closed forms say of each policy and size, of which there are several seeds.
    fn expected(&self, zipf: &Zipf) -> Vec<Option<(f64, Option<f64>)>> {
        let shares: Vec<f64> = zipf.shares().collect();
        let of_jobs = |jobs: &[(Evictor, CacheStudy)]| {
            let (policy, study) = jobs.first()?;
            expected(&shares, policy, study)
        };
        self.jobs.chunks(self.seeds).map(of_jobs).collect()
    }

    fn write_csv(&self, out: impl Write, outcomes: &[Cached], zipf: &Zipf) -> Result<(), VerbError> {
        let mut writer = csv::Writer::from_writer(out);
        let expected = self.expected(zipf);
        for (at, ((policy, study), cached)) in self.jobs.iter().zip(outcomes).enumerate() {
            let edge_miss_ratio = cached.edge_miss_ratio();
            let expected = expected.get(at / self.seeds).copied().flatten().map(|(hits, _)| 1.0 - hits);
            let line = Line {
                version: env!("CARGO_PKG_VERSION"),
                seed: study.seed,
                policy: policy.as_str(),
                objects: self.objects,
                exponent: self.exponent,
                edges: study.edges,
                size: study.room,
                shield: study.shield,
                requests: cached.requests,
                edge_misses: cached.edge_misses,
                origin_requests: cached.origin,
                edge_miss_ratio,
                expected_edge_miss_ratio: expected,
                edge_miss_ratio_error: expected.map(|expected| edge_miss_ratio - expected),
            };
            writer.serialize(line).map_err(|error| VerbError::Failed(error.into()))?;
        }
        Ok(writer.flush()?)
    }
}

impl Prepared for Caches {
    fn write_rows(&self, out: &mut dyn Write) -> Result<(), VerbError> {
        let zipf = Zipf::new(self.objects, self.exponent);
        self.write_csv(out, &self.play(Some(1), &zipf)?, &zipf)
    }
}

pub(super) fn run(cli: &Cli, args: &CacheStudyArgs) -> Result<(), VerbError> {
    let caches = Caches::of(args)?;
    let rows_files = RowFiles::open(&args.rows)?;
    let html = args.html.as_deref().map(create).transpose()?;
    let zipf = Zipf::new(caches.objects, caches.exponent);
    let outcomes = caches.play(args.threads, &zipf)?;
    rows_files.write(|out| caches.write_csv(out, &outcomes, &zipf))?;
    let seeds = caches.seeds;
    let expected = caches.expected(&zipf);
    let rows = caches.jobs.chunks(seeds).zip(outcomes.chunks(seeds)).zip(expected);
    let rows = rows.filter_map(|((studies, outcomes), expected)| {
        let (policy, study) = studies.first()?;
        let over = |of: &dyn Fn(&Cached) -> f64| Figure::of(outcomes.iter().map(of));
        Some(Row {
            policy: policy.as_str().to_owned(),
            size: study.room,
            shield: study.shield,
            edge_miss_ratio: over(&Cached::edge_miss_ratio)?,
            expected_edge_miss_ratio: expected.map(|(edge, _)| 1.0 - edge),
            shield_hit_ratio: study.shield.and_then(|_| over(&Cached::shield_hit_ratio)),
            expected_shield_hit_ratio: expected.and_then(|(_, shield)| shield),
            origin_ratio: over(&|cached| cached.origin as f64 / cached.requests.max(1) as f64)?,
        })
    });
    let report = Report {
        seed: args.seed,
        seeds: args.seeds,
        objects: caches.objects,
        exponent: caches.exponent,
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
    let head = ["POLICY", "SIZE", "SHIELD", "EDGE MISSES", "EXPECTED", "SHIELD HITS", "EXPECTED", "ORIGIN"];
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
    let mut names: Vec<String> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    // The shield changes nothing for edges.
    let shield = report.rows.first().and_then(|row| row.shield);
    for row in report.rows.iter().filter(|row| row.shield == shield) {
        let position = names.iter().position(|name| *name == row.policy).unwrap_or_else(|| {
            names.push(row.policy.clone());
            names.len() - 1
        });
        let (name, style, x) = match sizes.len() {
            1 => ("edge misses", 0, position as f64),
            _ => (row.policy.as_str(), position, row.size as f64),
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
        _ => Axis { is_log: true, ..Axis::of("objects that fit into an edge") },
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
            row.size.to_string(),
            row.shield.map_or_else(|| "off".to_owned(), |room| room.to_string()),
            row.edge_miss_ratio.text(4),
            or_dash(row.expected_edge_miss_ratio.map(|ratio| format!("{ratio:.4}"))),
            or_dash(row.shield_hit_ratio.map(|ratio| ratio.text(4))),
            or_dash(row.expected_shield_hit_ratio.map(|ratio| format!("{ratio:.4}"))),
            row.origin_ratio.text(4),
        ]
    };
    report.rows.iter().map(of_row).collect()
}

/// The hit ratios of edge and shield by the closed forms, where there are any for the policy.
fn expected(shares: &[f64], policy: &Evictor, study: &CacheStudy) -> Option<(f64, Option<f64>)> {
    let there: fn(&[f64], f64) -> Vec<f64> = match policy {
        Evictor::Own(EvictionPolicy::Lru) => che,
        Evictor::Own(EvictionPolicy::Fifo | EvictionPolicy::Random) => fifo,
        _ => return None,
    };
    let at_edge = there(shares, study.room as f64);
    let behind = study.shield.map(|room| {
        let filtered = filtered(shares, &at_edge);
        hit_ratio(&filtered, &there(&filtered, room as f64))
    });
    Some((hit_ratio(shares, &at_edge), behind))
}

/// `zipf:0.8:100000`.
fn workload_of(text: &str) -> Result<(u32, f64), VerbError> {
    match paths::parse(text, std::path::Path::new(".")) {
        Ok(Paths::Zipf { s, n }) if n <= OBJECTS_MAX => Ok((u32::try_from(n).unwrap_or(u32::MAX), s)),
        Ok(Paths::Zipf { .. }) => Err(VerbError::Usage(format!("--workload {text}: at most {OBJECTS_MAX} objects"))),
        Ok(_) => Err(VerbError::Usage(format!("--workload {text}: write zipf:S:N; `iso study replay` plays traces"))),
        Err(why) => Err(VerbError::Usage(format!("--workload: {why}"))),
    }
}

/// Room in objects: a number of them, or a share of the catalogue.
fn room_of(name: &str, text: &str, objects: u32) -> Result<u64, VerbError> {
    let text = text.trim();
    let room = match text.strip_suffix('%') {
        Some(percent) => {
            percent.trim().parse::<f64>().ok().map(|percent| (percent / 100.0 * f64::from(objects)).round())
        }
        None => text.parse::<u64>().ok().map(|count| count as f64),
    };
    match room {
        Some(room) if (1.0..=f64::from(objects)).contains(&room) => Ok(room as u64),
        _ => Err(VerbError::Usage(format!(
            "--{name} {text}: write a number of objects from 1 to {objects}, or a share as 1%"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_a_number_or_a_share_of_the_catalogue() {
        assert_eq!((room_of("size", "10", 1000).unwrap(), room_of("size", "1%", 1000).unwrap()), (10, 10));
        for wrong in ["0", "1001", "-1%", "101%", "many", "0.01%"] {
            assert!(room_of("size", wrong, 1000).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_workload_is_zipf() {
        assert_eq!(workload_of("zipf:0.8:1000").unwrap(), (1000, 0.8));
        assert!(
            workload_of("zipf:0.8:99999999999").is_err() && workload_of("/a").is_err() && workload_of("zipf").is_err()
        );
    }
}
