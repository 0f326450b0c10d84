//! `iso study routing`: the same clients, sent to edges by one policy after the other.

use std::{collections::BTreeSet, fs::File, path::Path, str::FromStr as _, time::Duration};

use cdn_core::{
    PopCode,
    routing::{PolicyKind, RoutingOptions},
};
use serde::Serialize;
use simulator::studies::routing::{Ground, Resolvers, Routed, RoutingStudy, Scheme};
use world::Place;

use super::{
    contestant::{Contestant, Played, contestants_of},
    frame::{self, Column, Study, figure_or_dash, or_dash},
    ground::{Figure, cities_of, each, place_of, pops_of, refuse_nothing, repetitions, seeds_of, usage, world_of},
    inputs::Inputs,
    page::{self, Part},
};
use crate::{
    args::{Cli, RoutingArgs, Switch},
    cluster,
    diagnose::nearest_or_all,
    picture::{Axis, Picture, Point, Series},
    policy_program::Outcomes,
    quantity::{Share, Span},
    talk::VerbError,
};

/// Cities with fewer answers than this are not called the worst one: theirs is chance.
const WORST_CITY_ANSWERS_MIN: u64 = 20;

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: u32,
    pops: Vec<String>,
    cities: usize,
    clients: u32,
    requests: u64,
    rows: Vec<Row>,
}

/// One policy over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    policy: String,
    mean_ms: Figure,
    p50_ms: Figure,
    p95_ms: Figure,
    p99_ms: Figure,
    stretch: Figure,
    on_best: Figure,
    imbalance: Figure,
    dns_per_s: Figure,
    lost: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_city: Option<WorstCity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detected_s: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    back_s: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    harmed: Option<Figure>,
    /// What came of a program, over all seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Outcomes>,
}

/// The city with the highest mean under the first seed.
#[derive(Debug, Serialize)]
struct WorstCity {
    name: String,
    mean_ms: f64,
}

/// One policy with one seed, with everything that it came from.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    version: &'static str,
    seed: u64,
    policy: &'a str,
    pops: String,
    cities: usize,
    clients: u32,
    ttl_s: f64,
    client_subnet: bool,
    resolver: &'a str,
    resolver_share: f64,
    stretch_share: f64,
    stretch_s: f64,
    kill: &'a str,
    requests: u64,
    lost: u64,
    harmed: u64,
    mean_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    stretch: f64,
    on_best: f64,
    imbalance: f64,
    questions: u64,
    detected_s: Option<f64>,
    back_s: Option<f64>,
}

/// A bake-off that is checked and can begin.
pub(super) struct BakeOff<'a> {
    args: &'a RoutingArgs,
    contestants: Vec<Contestant>,
    study: RoutingStudy,
    seeds: Vec<u64>,
}

impl<'a> BakeOff<'a> {
    /// Checks what was typed.
    pub(super) fn of(args: &'a RoutingArgs, inputs: &Inputs) -> Result<Self, VerbError> {
        Ok(Self {
            args,
            contestants: contestants_of(&args.policies, &args.routers, inputs.dir())?,
            study: study_of(args)?,
            seeds: seeds_of(&args.ground)?,
        })
    }
}

impl Study for BakeOff<'_> {
    type Played = Vec<Vec<Played>>;
    type Report = Report;
    type Row = Row;

    /// What came out, contestant by contestant and seed by seed.
    fn play(&self, threads: Option<usize>) -> Result<Vec<Vec<Played>>, VerbError> {
        let Self { contestants, study, seeds, .. } = self;
        let mut outcomes: Vec<Vec<Played>> = contestants.iter().map(|_| Vec::new()).collect();
        // A seed's tables are made once, and serve all schemes.
        if seeds.len() > 1 {
            let of_seed = each(threads, seeds, |&seed| {
                let study = RoutingStudy { seed, ..study.clone() };
                let ground = Ground::new(&world_of(seed), &study);
                contestants.iter().map(|contestant| contestant.play(&study, &ground)).collect::<Vec<_>>()
            });
            for played in of_seed {
                outcomes.iter_mut().zip(played).for_each(|(outcomes, played)| outcomes.push(played));
            }
        } else {
            let ground = Ground::new(&world_of(study.seed), study);
            let played = each(threads, contestants, |contestant| contestant.play(study, &ground));
            outcomes.iter_mut().zip(played).for_each(|(outcomes, played)| outcomes.push(played));
        }
        Ok(outcomes)
    }

    fn lines<'a>(&'a self, outcomes: &'a Vec<Vec<Played>>) -> Vec<impl Serialize + Default + 'a> {
        let pops = codes(&self.study.pops);
        let (stretch_share, stretch) = self.study.resolvers.stretch.unwrap_or_default();
        let line = |(contestant, (&seed, Played { routed, .. })): (&'a Contestant, (&u64, &Played))| Line {
            version: env!("CARGO_PKG_VERSION"),
            seed,
            policy: contestant.label(),
            pops: pops.join(" "),
            cities: self.study.cities.len(),
            clients: self.study.clients,
            ttl_s: self.study.routing.ttl.as_secs_f64(),
            client_subnet: self.study.resolvers.client_subnet,
            resolver: self.args.resolver.as_deref().unwrap_or("local"),
            resolver_share: self.study.resolvers.shared.as_ref().map_or(0.0, |(_, share)| *share),
            stretch_share,
            stretch_s: stretch.as_secs_f64(),
            kill: self.args.kill.as_deref().unwrap_or(""),
            requests: routed.requests,
            lost: routed.lost,
            harmed: routed.harmed,
            mean_ms: routed.latency_us.mean() / 1000.0,
            p50_ms: routed.quantile_ms(0.5),
            p95_ms: routed.quantile_ms(0.95),
            p99_ms: routed.quantile_ms(0.99),
            stretch: routed.stretch,
            on_best: routed.on_best as f64 / routed.requests.max(1) as f64,
            imbalance: routed.imbalance(),
            questions: routed.questions,
            detected_s: routed.detected.map(|span| span.as_secs_f64()),
            back_s: routed.back.map(|span| span.as_secs_f64()),
        };
        let runs = self.contestants.iter().zip(outcomes);
        let runs = runs.flat_map(|(who, played)| self.seeds.iter().zip(played).map(move |run| (who, run)));
        runs.map(line).collect()
    }

    fn report(&self, outcomes: &Vec<Vec<Played>>) -> Option<Report> {
        let Self { contestants, study, .. } = self;
        let rows = contestants.iter().zip(outcomes).filter_map(|(contestant, played)| row(contestant, study, played));
        Some(Report {
            seed: self.args.ground.seed,
            seeds: self.args.ground.seeds,
            pops: codes(&study.pops),
            cities: study.cities.len(),
            clients: study.clients,
            requests: study.requests,
            rows: rows.collect(),
        })
    }

    fn rows(report: &Report) -> &[Row] {
        &report.rows
    }

    fn title(&self, report: &Report) -> String {
        format!(
            "{} PoPs, {} cities, {} clients, {} requests by each policy",
            report.pops.len(),
            report.cities,
            report.clients,
            report.requests
        )
    }

    fn columns(&self, _: &Report) -> Vec<Column<Row>> {
        let worst = |row: &Row| or_dash(row.worst_city.as_ref().map(|of| format!("{} {:.0} ms", of.name, of.mean_ms)));
        let mut columns: Vec<Column<Row>> = vec![
            ("POLICY", |row| row.policy.clone()),
            ("P50 ms", |row| row.p50_ms.text(1)),
            ("P95 ms", |row| row.p95_ms.text(1)),
            ("P99 ms", |row| row.p99_ms.text(1)),
            ("STRETCH", |row| format!("{}×", row.stretch.text(2))),
            ("ON BEST", |row| row.on_best.percent(2)),
            ("WORST CITY", worst),
            ("BUSIEST POP", |row| format!("{}× mean", row.imbalance.text(1))),
            ("DNS/s", |row| row.dns_per_s.text(1)),
        ];
        if self.study.kill.is_some() {
            let of_a_death: [Column<Row>; 4] = [
                ("DETECTED s", |row| figure_or_dash(row.detected_s)),
                ("BACK s", |row| figure_or_dash(row.back_s)),
                ("HARMED", |row| or_dash(row.harmed.map(|harmed| harmed.percent(2)))),
                ("LOST", |row| row.lost.percent(2)),
            ];
            columns.extend(of_a_death);
        }
        columns
    }

    fn foot(&self, report: &Report) -> String {
        let last = report.seed + u64::from(report.seeds) - 1;
        let seeds = if report.seeds > 1 { format!("s {} to {last}", report.seed) } else { format!(" {last}") };
        let programs = report.rows.iter().filter_map(|row| Some(row.program.as_ref()?.text(&row.policy) + "\n"));
        format!("{}seed{seeds}: run again, get the same table\n", programs.collect::<String>())
    }

    fn parts<'a>(&'a self, outcomes: &'a Vec<Vec<Played>>, _: &Report) -> Vec<Part<'a>> {
        let Self { contestants, study, .. } = self;
        let maps = contestants.iter().zip(outcomes).filter_map(|(who, played)| Some((who, &played.first()?.routed)));
        let maps = maps.map(|(who, routed)| Part::Map(page::Map::of(who.label(), who.scheme(), study, routed)));
        curves(contestants, outcomes).map(Part::Curves).chain(maps).collect()
    }
}

pub(super) fn run(cli: &Cli, args: &RoutingArgs) -> Result<(), VerbError> {
    frame::run(cli, &BakeOff::of(args, &Inputs::default())?, &args.ground.outputs())
}

/// The codes of PoPs.
fn codes(pops: &[Place]) -> Vec<String> {
    pops.iter().map(|pop| pop.id.as_str().to_ascii_uppercase()).collect()
}

/// Percentiles that are drawn.
const PERCENTILES: [f64; 15] = [1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.9];

/// What requests took, and, where a PoP dies, for how long its clients were still sent there.
fn curves(contestants: &[Contestant], outcomes: &[Vec<Played>]) -> impl Iterator<Item = Picture> {
    let seeds = repetitions(outcomes.first().map_or(0, Vec::len));
    let all = || contestants.iter().zip(outcomes).enumerate();
    let percentiles = |(style, (contestant, played)): (usize, (&Contestant, &Vec<Played>))| {
        let points = PERCENTILES.iter().filter_map(|&percent| {
            let of_seeds = played.iter().map(|played| played.routed.quantile_ms(percent / 100.0));
            Some(Figure::of(of_seeds)?.at(percent))
        });
        Series { name: contestant.label().to_owned(), style, points: points.collect(), is_expected: false }
    };
    let latency = Picture {
        title: "How long requests take".into(),
        description: seeds.clone(),
        x: Axis::of("percentile of requests"),
        y: Axis { is_log: true, ..Axis::of("latency (ms)") },
        series: all().map(percentiles).collect(),
    };
    let of_dead = all().map(|(style, (contestant, played))| {
        still_sent(contestant.label().to_owned(), style, played.iter().map(|played| &played.routed))
    });
    let still = of_dead.filter(|series| !series.points.is_empty()).collect();
    std::iter::once(latency).chain(still_picture(seeds, still))
}

/// For each second after the death of a PoP the share of its clients who are still sent there.
pub(super) fn still_sent<'a>(name: String, style: usize, outcomes: impl Iterator<Item = &'a Routed>) -> Series {
    let shares: Vec<(usize, Vec<f64>)> = outcomes
        .map(|routed| (routed.stale_by_second.len(), routed.still_by_second().into_iter().flatten().collect()))
        .collect();
    let seconds = shares.iter().map(|(seconds, _)| *seconds).max().unwrap_or(0);
    let shares: Vec<Vec<f64>> = shares.into_iter().map(|(_, shares)| shares).filter(|all| !all.is_empty()).collect();
    let points = (0..seconds).filter_map(|second| {
        let of_seeds = shares.iter().map(|shares| shares.get(second).copied().unwrap_or(0.0));
        Some(Figure::of(of_seeds)?.at(second as f64))
    });
    let mut points: Vec<Point> = points.collect();
    // What comes after the last one has left says nothing more.
    let end = points.iter().rposition(|point| point.y > 0.0).map_or(0, |last| last + 2);
    points.truncate(end);
    Series { name, style, points, is_expected: false }
}

/// Those of several policies; none where nobody was sent to a dead PoP.
pub(super) fn still_picture(seeds: String, series: Vec<Series>) -> Option<Picture> {
    (!series.is_empty()).then(|| Picture {
        title: "Clients of the dead PoP who are still sent there".into(),
        description: seeds,
        x: Axis::of("seconds since it died"),
        y: Axis::of("share"),
        series,
    })
}

fn row(contestant: &Contestant, study: &RoutingStudy, played: &[Played]) -> Option<Row> {
    let outcomes = || played.iter().map(|played| &played.routed);
    let over = |of: &dyn Fn(&Routed) -> f64| Figure::of(outcomes().map(of));
    let share = |part: u64, routed: &Routed| part as f64 / routed.requests.max(1) as f64;
    let seconds =
        |of: &dyn Fn(&Routed) -> Option<Duration>| Figure::of(outcomes().filter_map(of).map(|span| span.as_secs_f64()));
    let first = outcomes().next()?;
    let worst = first.worst_city(WORST_CITY_ANSWERS_MIN).and_then(|at| {
        let (city, tally) = (study.cities.get(at)?, first.cities.get(at)?);
        Some(WorstCity { name: city.name.to_string(), mean_ms: tally.mean_ms()? })
    });
    let is_routed = contestant.scheme() != Scheme::OriginOnly;
    Some(Row {
        policy: contestant.label().to_owned(),
        mean_ms: over(&|routed| routed.latency_us.mean() / 1000.0)?,
        p50_ms: over(&|routed| routed.quantile_ms(0.5))?,
        p95_ms: over(&|routed| routed.quantile_ms(0.95))?,
        p99_ms: over(&|routed| routed.quantile_ms(0.99))?,
        stretch: over(&|routed| routed.stretch)?,
        on_best: over(&|routed| share(routed.on_best, routed))?,
        imbalance: over(&Routed::imbalance)?,
        dns_per_s: over(&|routed| routed.questions as f64 / study.span.as_secs_f64())?,
        lost: over(&|routed| share(routed.lost, routed))?,
        worst_city: worst,
        detected_s: seconds(&|routed| routed.detected),
        back_s: seconds(&|routed| routed.back),
        harmed: (study.kill.is_some() && is_routed).then(|| over(&|routed| share(routed.harmed, routed))).flatten(),
        program: played.iter().filter_map(|played| played.program.clone()).reduce(Outcomes::and),
    })
}

fn study_of(args: &RoutingArgs) -> Result<RoutingStudy, VerbError> {
    let pops = pops_of(&args.ground, "world-6")?;
    let kill = args.kill.as_deref().map(|kill| kill_of(kill, &pops, args.span.0)).transpose()?;
    let shared = args.resolver.as_deref().map(place_of).transpose()?;
    refuse_nothing([("clients", args.clients == 0), ("requests", args.requests == 0), ("for", args.span.0.is_zero())])?;
    let study = RoutingStudy::new(place_of(&args.origin)?);
    Ok(RoutingStudy {
        pops,
        cities: cities_of(&args.ground)?,
        clients: args.clients,
        requests: args.requests,
        warmup: args.warmup.0,
        span: args.span.0,
        resolvers: Resolvers {
            shared: shared.map(|place| (place, args.resolver_share.0)),
            stretch: args.stretch.as_deref().map(stretch_of).transpose()?,
            client_subnet: args.ecs == Switch::On,
        },
        routing: RoutingOptions { ttl: args.ttl.0, ..study.routing },
        kill,
        seed: args.ground.seed,
        ..study
    })
}

/// `FRA@30s`: one of the study's PoPs, and a time within it.
pub(in crate::verbs) fn kill_of(text: &str, pops: &[Place], span: Duration) -> Result<(PopCode, Duration), VerbError> {
    let (code, at) = text
        .split_once('@')
        .ok_or_else(|| VerbError::Usage(format!("--kill {text:?} is not a PoP and a time; write FRA@30s")))?;
    let at = Span::from_str(at).map_err(|error| VerbError::Usage(format!("--kill: {error}")))?.0;
    let place = cluster::pop(world::Atlas::embedded(), "--kill", code).map_err(usage)?;
    let Some(code) = place.pop_code().filter(|_| pops.iter().any(|pop| pop.id == place.id)) else {
        let codes: Vec<String> = pops.iter().map(|pop| pop.id.as_str().to_ascii_uppercase()).collect();
        let hint = nearest_or_all(code, codes.iter().map(String::as_str)).unwrap_or_default();
        return Err(VerbError::Usage(format!("--kill: {code} is not one of the study's PoPs; {hint}")));
    };
    if pops.len() < 2 {
        return Err(VerbError::Usage("--kill: no PoP would be left".into()));
    }
    if at >= span {
        return Err(VerbError::Usage(format!("--kill: at {} requests are no longer counted", Span(at))));
    }
    Ok((code, at))
}

/// `9%@5m`: a share of resolvers, and for how long they keep answers at least.
pub(super) fn stretch_of(text: &str) -> Result<(f64, Duration), VerbError> {
    let refuse = |why: String| VerbError::Usage(format!("--stretch {text:?}: {why}"));
    let (share, span) = text.split_once('@').ok_or_else(|| refuse("write a share and a duration, as 9%@5m".into()))?;
    let share = Share::from_str(share).map_err(|error| refuse(error.to_string()))?;
    let span = Span::from_str(span).map_err(|error| refuse(error.to_string()))?;
    Ok((share.0, span.0))
}

/// Policies by their names, each once, in the order in which they were named; `all` is all of them.
pub(super) fn schemes_of(names: &[String]) -> Result<Vec<Scheme>, VerbError> {
    let more = [Scheme::Hybrid, Scheme::OriginOnly];
    let all: Vec<Scheme> = PolicyKind::BUILT_IN.into_iter().map(Scheme::Policy).chain(more).collect();
    let (mut schemes, mut seen) = (Vec::new(), BTreeSet::new());
    for name in names {
        let name = name.trim().to_ascii_lowercase();
        let named: Vec<Scheme> =
            all.iter().copied().filter(|scheme| name == "all" || scheme.as_str() == name).collect();
        if named.is_empty() {
            let hint = nearest_or_all(&name, all.iter().map(|scheme| scheme.as_str()).chain(["all"]));
            return Err(VerbError::Usage(format!("no routing policy {name:?}; {}", hint.unwrap_or_default())));
        }
        schemes.extend(named.into_iter().filter(|scheme| seen.insert(*scheme)));
    }
    Ok(schemes)
}

pub(super) fn create(path: &Path) -> Result<File, VerbError> {
    File::create(path).map_err(|error| VerbError::Usage(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_named_once_and_a_misspelt_one_has_a_hint() {
        let names = |names: &[&str]| schemes_of(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let some = names(&["random", "latency", "random"]).unwrap();
        assert_eq!(some, [Scheme::Policy(PolicyKind::Random), Scheme::Policy(PolicyKind::Latency)]);
        assert_eq!(names(&["all"]).unwrap().len(), PolicyKind::BUILT_IN.len() + 2);
        let Err(VerbError::Usage(why)) = names(&["latncy"]) else { panic!("it was taken") };
        assert!(why.contains("latency"), "{why}");
    }

    #[test]
    fn a_kill_is_of_a_pop_that_is_there_and_while_it_counts() {
        let pops = super::super::ground::named("tiny").unwrap();
        let kill = |text: &str| kill_of(text, &pops, Duration::from_secs(60));
        assert_eq!(kill("fra@30s").unwrap(), ("FRA".parse().unwrap(), Duration::from_secs(30)));
        for (text, why) in
            [("fra", "FRA@30s"), ("SYD@1s", "IAD"), ("FRA@2m", "2m"), ("FRA@soon", "duration"), ("QQQ@1s", "QQQ")]
        {
            let Err(VerbError::Usage(said)) = kill(text) else { panic!("{text} was taken") };
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
