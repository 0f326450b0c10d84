//! `iso study sites`: what users gain with each PoP more.

use serde::Serialize;
use simulator::studies::{
    paths::Paths,
    sites::{Placement, Reach, random_order},
};
use world::Place;

use super::{
    frame::{self, Column, Study, or_dash},
    ground::{Figure, cities_of, each, named, pops_of, repetitions, seeds_of, world_of},
    page::{self, Part},
};
use crate::{
    args::{Cli, SitesArgs},
    picture::{Axis, Picture, Series},
    talk::VerbError,
};

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    cities: usize,
    rows: Vec<Row>,
}

/// What users of so many PoPs see, over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    order: &'static str,
    sites: usize,
    /// The PoP that came last, where it is the same under every seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pop: Option<String>,
    mean_ms: Figure,
    p50_ms: Figure,
    p95_ms: Figure,
    p99_ms: Figure,
    /// What the mean is less than in the row before, of the same order.
    #[serde(skip)]
    gain_ms: Option<f64>,
}

/// One number of PoPs under one seed.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    cities: usize,
    order: &'a str,
    sites: usize,
    pop: String,
    mean_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// An order of PoPs, and what users see at the numbers that were asked for.
#[derive(Clone, Debug)]
struct Course {
    order: &'static str,
    steps: Vec<(usize, Reach)>,
    best_ms: Vec<f64>,
}

/// A study that is checked and can begin.
pub(super) struct Sites<'a> {
    args: &'a SitesArgs,
    cities: Vec<Place>,
    users: Vec<f64>,
    seeds: Vec<u64>,
    /// Those given, and after them those to choose from.
    pops: Vec<Place>,
    given: Vec<usize>,
    numbers: Vec<usize>,
}

/// What came out.
pub(super) struct Outcome {
    /// The order of the given or greedy course.
    order: Vec<usize>,
    /// The PoPs in it.
    chosen: Vec<Place>,
    of_seed: Vec<Vec<Course>>,
}

impl<'a> Sites<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a SitesArgs) -> Result<Self, VerbError> {
        let (cities, seeds) = (cities_of(&args.ground)?, seeds_of(&args.ground)?);
        let users = cities.iter().map(|city| city.users as f64).collect();
        let given = match (args.add, args.sites.is_empty()) {
            // Numbers of PoPs begin with none, but for those that were named.
            (None, false) if args.ground.pops.is_empty() && args.ground.preset.is_none() => Vec::new(),
            _ => pops_of(&args.ground, "world-6")?,
        };
        let mut pops = given.clone();
        if args.add.is_some() || !args.sites.is_empty() {
            pops.extend(named(&args.from)?.into_iter().filter(|pop| given.iter().all(|known| known.id != pop.id)));
        }
        let numbers = numbers_of(args, given.len(), pops.len())?;
        Ok(Self { args, cities, users, seeds, pops, given: (0..given.len()).collect(), numbers })
    }

    /// The PoP that came last in a course, where it is the same under every seed.
    fn last(&self, outcome: &Outcome, course: &str, sites: usize) -> Option<String> {
        let at = *outcome.order.get(sites.wrapping_sub(1)).filter(|_| course != "random")?;
        self.pops.get(at).map(|pop| pop.id.as_str().to_ascii_uppercase())
    }
}

impl Study for Sites<'_> {
    type Played = Outcome;
    type Report = Report;
    type Row = Row;

    fn play(&self, threads: Option<usize>) -> Result<Outcome, VerbError> {
        let Self { cities, users, pops, given, numbers, .. } = self;
        let chooses = pops.len() > given.len();
        // One choice for all seeds, made under the first: a list of PoPs is built once.
        let order = if chooses {
            let first = Paths::new(&world_of(self.args.ground.seed), cities, pops);
            greedy_order(&first, users, given, numbers.last().copied().unwrap_or(0))
        } else {
            given.clone()
        };
        let of_seed = each(threads, &self.seeds, |&seed| {
            let paths = Paths::new(&world_of(seed), cities, pops);
            let name = if chooses { "greedy" } else { "given" };
            let mut courses = vec![course(name, &paths, users, &order, numbers)];
            if !self.args.sites.is_empty() {
                let others = random_order(pops.len(), seed).into_iter().filter(|site| *site >= given.len());
                let order: Vec<usize> = given.iter().copied().chain(others).collect();
                courses.push(course("random", &paths, users, &order, numbers));
            }
            courses
        });
        let chosen = order.iter().filter_map(|&at| pops.get(at).cloned()).collect();
        Ok(Outcome { order, chosen, of_seed })
    }

    fn lines<'a>(&'a self, outcome: &'a Outcome) -> Vec<impl Serialize + Default + 'a> {
        let of_seed = |(&seed, courses): (&u64, &'a Vec<Course>)| {
            let steps = courses.iter().flat_map(|course| course.steps.iter().map(move |step| (course, step)));
            let line = |(course, &(sites, reach)): (&'a Course, &(usize, Reach))| {
                let Reach { mean_ms, p50_ms, p95_ms, p99_ms, .. } = reach;
                let pop = self.last(outcome, course.order, sites).unwrap_or_default();
                let (version, order) = (env!("CARGO_PKG_VERSION"), course.order);
                Line { version, seed, cities: self.cities.len(), order, sites, pop, mean_ms, p50_ms, p95_ms, p99_ms }
            };
            steps.map(line).collect::<Vec<_>>()
        };
        self.seeds.iter().zip(&outcome.of_seed).flat_map(of_seed).collect()
    }

    fn report(&self, outcome: &Outcome) -> Option<Report> {
        let of_seed = &outcome.of_seed;
        let mut rows: Vec<Row> = Vec::new();
        for (nth, shape) in of_seed.first()?.iter().enumerate() {
            for (step, &(sites, _)) in shape.steps.iter().enumerate() {
                let reaches = of_seed.iter().filter_map(|courses| Some(courses.get(nth)?.steps.get(step)?.1));
                let over = |of: &dyn Fn(Reach) -> f64| Figure::of(reaches.clone().map(of));
                let mean_ms = over(&|r| r.mean_ms)?;
                let before = rows.last().filter(|row| row.order == shape.order);
                rows.push(Row {
                    order: shape.order,
                    sites,
                    pop: self.last(outcome, shape.order, sites),
                    mean_ms,
                    p50_ms: over(&|r| r.p50_ms)?,
                    p95_ms: over(&|r| r.p95_ms)?,
                    p99_ms: over(&|r| r.p99_ms)?,
                    gain_ms: before.map(|before| before.mean_ms.mean - mean_ms.mean),
                });
            }
        }
        let (seed, seeds) = (self.args.ground.seed, self.args.ground.seeds);
        Some(Report { seed, seeds, cities: self.cities.len(), rows })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        format!("{} cities, users sent to the PoP with the shortest round trip", report.cities)
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        vec![
            ("POPS", |row| row.sites.to_string()),
            ("ORDER", |row| row.order.to_owned()),
            ("LAST", |row| or_dash(row.pop.clone())),
            ("MEAN ms", |row| row.mean_ms.text(2)),
            ("P50 ms", |row| row.p50_ms.text(2)),
            ("P95 ms", |row| row.p95_ms.text(2)),
            ("P99 ms", |row| row.p99_ms.text(2)),
            ("GAIN ms", |row| or_dash(row.gain_ms.map(|gain| format!("{gain:.2}")))),
        ]
    }

    fn parts<'a>(&'a self, outcome: &'a Outcome, report: &Report) -> Vec<Part<'a>> {
        let maps = outcome.of_seed.first().into_iter().flatten().map(|course| {
            let shown = if course.order == "random" { &[][..] } else { &outcome.chosen };
            Part::Map(page::Map::of_reach(course.order, &self.cities, &course.best_ms, shown))
        });
        curves(report).map(Part::Curves).into_iter().chain(maps).collect()
    }
}

pub(super) fn run(cli: &Cli, args: &SitesArgs) -> Result<(), VerbError> {
    frame::run(cli, &Sites::of(args)?, &args.ground.outputs())
}

/// What users see against the number of PoPs; none where there is one number.
fn curves(report: &Report) -> Option<Picture> {
    let mut series: Vec<Series> = Vec::new();
    for row in &report.rows {
        for (what, figure) in [("mean", row.mean_ms), ("p95", row.p95_ms)] {
            let name = format!("{} order, {what}", row.order);
            let point = figure.at(row.sites as f64);
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series { style: series.len(), name, points: vec![point], is_expected: false }),
            }
        }
    }
    let numbers = series.first()?.points.len();
    (numbers > 1).then(|| Picture {
        title: "What users see with each PoP more".into(),
        description: repetitions(report.seeds as usize),
        x: Axis::of("PoPs"),
        y: Axis::of("round trip (ms)"),
        series,
    })
}

/// The numbers of PoPs that are shown, ascending.
fn numbers_of(args: &SitesArgs, given: usize, all: usize) -> Result<Vec<usize>, VerbError> {
    if let Some(add) = args.add {
        if given + add > all {
            return Err(VerbError::Usage(format!("--add {add}: there are {} more to choose from", all - given)));
        }
        return Ok((given.max(1)..=given + add).collect());
    }
    if args.sites.is_empty() {
        return Ok((1..=given).collect());
    }
    let mut numbers = args.sites.clone();
    numbers.sort_unstable();
    numbers.dedup();
    match numbers.iter().find(|&&number| number < given.max(1) || number > all) {
        Some(wrong) => Err(VerbError::Usage(format!("--sites {wrong}: write numbers from {} to {all}", given.max(1)))),
        None => Ok(numbers),
    }
}

/// The given ones, and after them always the one that takes most off the mean.
fn greedy_order(paths: &Paths, users: &[f64], given: &[usize], sites: usize) -> Vec<usize> {
    let mut placement = Placement::new(paths, users);
    given.iter().for_each(|&site| placement.add(site));
    let all: Vec<usize> = (0..paths.sites()).collect();
    while placement.chosen().len() < sites {
        let Some(site) = placement.greediest(&all) else { break };
        placement.add(site);
    }
    placement.chosen().to_vec()
}

fn course(order_name: &'static str, paths: &Paths, users: &[f64], order: &[usize], numbers: &[usize]) -> Course {
    let mut placement = Placement::new(paths, users);
    let mut steps = Vec::new();
    for (&site, sites) in order.iter().zip(1..) {
        placement.add(site);
        if let (true, Some(reach)) = (numbers.contains(&sites), placement.reach()) {
            steps.push((sites, reach));
        }
        if Some(&sites) == numbers.last() {
            break;
        }
    }
    Course { order: order_name, steps, best_ms: placement.best_ms().iter().map(|ms| f64::from(*ms)).collect() }
}
