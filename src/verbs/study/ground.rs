//! Which PoPs and cities a study is about, and the figures that all studies make of seeds.

use std::{collections::BTreeSet, convert::Infallible};

use serde::Serialize;
use world::{Atlas, Place, World, WorldOptions};

use crate::{
    args::GroundArgs,
    cluster,
    diagnose::{KeyError, nearest_or_all},
    parallel::{cores, in_order},
    picture::Point,
    talk::VerbError,
};

/// The footprints of public CDNs, as the atlas knows them.
const FOOTPRINTS: [&str; 5] = ["cloudfront", "cloudflare", "google", "fastly", "all"];

/// A refusal as one sentence.
pub(super) fn usage(error: KeyError) -> VerbError {
    VerbError::Usage(match error.hint {
        Some(hint) => format!("{}; {hint}", error.message),
        None => error.message,
    })
}

/// The PoPs of a preset or of a footprint.
pub(in crate::verbs) fn named(name: &str) -> Result<Vec<Place>, VerbError> {
    let atlas = Atlas::embedded();
    if let Some(preset) = world::preset(name) {
        return Ok(preset.pops().filter_map(|code| atlas.pop(code)).map(|pop| pop.place.clone()).collect());
    }
    let is_in = |pop: &&world::Pop| match name {
        "cloudfront" => pop.cloudfront,
        "cloudflare" => pop.cloudflare,
        "google" => pop.google,
        "fastly" => pop.fastly,
        _ => name == "all",
    };
    let pops: Vec<Place> = atlas.pops().iter().filter(is_in).map(|pop| pop.place.clone()).collect();
    if pops.is_empty() {
        let names = world::PRESETS.iter().map(|preset| preset.name).chain(FOOTPRINTS);
        let hint = nearest_or_all(name, names).unwrap_or_default();
        return Err(VerbError::Usage(format!("no set of PoPs {name:?}; {hint}")));
    }
    Ok(pops)
}

/// The PoPs that were asked for; `otherwise` where nothing was said.
pub(super) fn pops_of(args: &GroundArgs, otherwise: &str) -> Result<Vec<Place>, VerbError> {
    if args.pops.is_empty() {
        return named(args.preset.as_deref().unwrap_or(otherwise));
    }
    let (mut seen, mut pops) = (BTreeSet::new(), Vec::new());
    for code in &args.pops {
        let found = cluster::pop(Atlas::embedded(), "--pops", code.trim()).map_err(usage)?;
        if !seen.insert(found.id.clone()) {
            return Err(VerbError::Usage(format!("--pops names {code} twice")));
        }
        pops.push(found);
    }
    Ok(pops)
}

/// The cities that were asked for, those with the most users first.
pub(super) fn cities_of(args: &GroundArgs) -> Result<Vec<Place>, VerbError> {
    some_cities(args.cities)
}

/// So many cities, those with the most users first.
pub(super) fn some_cities(count: usize) -> Result<Vec<Place>, VerbError> {
    let all = Atlas::embedded().cities();
    if count == 0 || count > all.len() {
        return Err(VerbError::Usage(format!("--cities {count}: the atlas has 1 to {} cities", all.len())));
    }
    Ok(all.iter().take(count).map(|city| city.place.clone()).collect())
}

/// A place by its name.
pub(in crate::verbs) fn place_of(name: &str) -> Result<Place, VerbError> {
    Atlas::embedded().place(name).cloned().map_err(|unknown| VerbError::Usage(unknown.to_string()))
}

/// Refuses flags that ask for nothing, where one needs something.
pub(super) fn refuse_nothing<const N: usize>(flags: [(&str, bool); N]) -> Result<(), VerbError> {
    match flags.into_iter().find(|(_, is_nothing)| *is_nothing) {
        Some((flag, _)) => Err(VerbError::Usage(format!("--{flag} must be more than nothing"))),
        None => Ok(()),
    }
}

/// The seeds of a study.
pub(super) fn seeds_of(args: &GroundArgs) -> Result<Vec<u64>, VerbError> {
    seeds_from(args.seed, args.seeds)
}

/// So many seeds from the first on.
pub(super) fn seeds_from(first: u64, count: u32) -> Result<Vec<u64>, VerbError> {
    if count == 0 {
        return Err(VerbError::Usage("--seeds 0: a study needs one seed at least".into()));
    }
    Ok((0..u64::from(count)).map(|nth| first.wrapping_add(nth)).collect())
}

/// The world of a seed, with jitter: what geography says, and what chance adds.
pub(in crate::verbs) fn world_of(seed: u64) -> World {
    World::new(Atlas::embedded(), WorldOptions { seed, jitter: true, ..WorldOptions::default() })
}

/// Does all jobs, several at a time, and gives their results in the order of the jobs, whoever was first.
pub(in crate::verbs) fn each<J: Sync, R: Send>(
    threads: Option<usize>,
    jobs: &[J],
    work: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let mut done = Vec::with_capacity(jobs.len());
    let Ok(()) = each_in_order(threads, jobs, work, |result| {
        done.push(result);
        Ok::<(), Infallible>(())
    });
    done
}

/// The same, but hands each result on as soon as those before it are there. Where `sink` fails no job is begun any more.
pub(super) fn each_in_order<J: Sync, R: Send, E>(
    threads: Option<usize>,
    jobs: &[J],
    work: impl Fn(&J) -> R + Sync,
    mut sink: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let work = |nth: u64| usize::try_from(nth).ok().and_then(|at| jobs.get(at)).map(&work);
    in_order(jobs.len() as u64, threads.unwrap_or_else(cores), work, |_, result| result.map_or(Ok(()), &mut sink))
}

/// What is said below the title of curves over so many seeds.
pub(super) fn repetitions(seeds: usize) -> String {
    match seeds {
        0 | 1 => "One seed.".to_owned(),
        seeds => format!("Means of {seeds} seeds and their 95 % intervals."),
    }
}

/// A figure over several seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) mean: f64,
    /// Half of the 95 % interval of the mean (Student's t); none for one seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ci95: Option<f64>,
}

/// 97.5th percentiles of Student's t with 1, 2, ... degrees of freedom; beyond the last the normal's is near enough.
const T_975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

impl Figure {
    /// Of the values that there are; none where there is none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let ci95 = (values.len() > 1).then(|| {
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
            T_975.get(values.len() - 2).copied().unwrap_or(1.96) * (variance / n).sqrt()
        });
        Some(Self { mean, ci95 })
    }

    /// As a point of a curve.
    pub(super) const fn at(self, x: f64) -> Point {
        Point { x, y: self.mean, half: self.ci95 }
    }

    /// With so many digits after the point, and the interval where there is one.
    pub(super) fn text(self, digits: usize) -> String {
        match self.ci95 {
            Some(half) => format!("{:.digits$} ±{half:.digits$}", self.mean),
            None => format!("{:.digits$}", self.mean),
        }
    }

    /// A share as a percentage, in the same way.
    pub(super) fn percent(self, digits: usize) -> String {
        let of = |value: f64| value * 100.0;
        format!("{} %", Self { mean: of(self.mean), ci95: self.ci95.map(of) }.text(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_jobs_with_any_number_of_threads() {
        let jobs: Vec<u64> = (0..100).collect();
        for threads in [1, 2, 7] {
            assert_eq!(
                each(Some(threads), &jobs, |job| job * job),
                jobs.iter().map(|job| job * job).collect::<Vec<_>>()
            );
        }
        assert!(each(None, &[] as &[u64], |job| *job).is_empty());
        // Whoever takes them may have had enough.
        let mut taken = Vec::new();
        let stopped = each_in_order(
            Some(3),
            &jobs,
            |job| *job,
            |job| {
                taken.push(job);
                if job == 10 { Err("enough") } else { Ok(()) }
            },
        );
        assert_eq!((stopped, taken), (Err("enough"), (0..=10).collect()));
    }

    #[test]
    fn an_interval_is_student_s() {
        let figure = Figure::of([1.0, 2.0, 3.0, 4.0]).unwrap();
        // Standard deviation 1.29099, by four, t(3) = 3.182.
        assert!((figure.mean - 2.5).abs() < 1e-12 && (figure.ci95.unwrap() - 2.0540).abs() < 1e-3);
        assert_eq!(Figure::of([7.0]), Some(Figure { mean: 7.0, ci95: None }));
        assert_eq!(Figure::of([]), None);
    }

    #[test]
    fn a_footprint_is_known_by_its_name_and_a_misspelt_one_has_a_hint() {
        assert!(named("cloudfront").unwrap().len() > 50);
        assert_eq!(named("world-18").unwrap().len(), 18);
        let Err(VerbError::Usage(why)) = named("cloudfrnt") else { panic!("it was taken") };
        assert!(why.contains("cloudfront"), "{why}");
    }
}
