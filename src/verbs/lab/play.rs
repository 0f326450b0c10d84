//! Scenarios played, and what they come to: a score between nobody's edges and everybody's best one.

use std::{path::Path, sync::LazyLock, time::Duration};

use cdn_core::{
    Instant,
    routing::{PolicyKind, ProgramOptions, RoutingOptions},
};
use serde::{Deserialize, Serialize};
use simulator::studies::routing::{Capacities, Ground, Routed, RoutingStudy, Scheme, play, play_program};
use world::{Atlas, Place};

use super::{
    course::Scenario,
    watch::{Stay, Watched},
};
use crate::{
    policy_program::{Consulted, Outcomes, Rations},
    verbs::study::{named, place_of, world_of},
};

/// How long requests count.
pub(super) const SPAN: Duration = Duration::from_secs(90);
/// How long routers learn before that.
const WARMUP: Duration = Duration::from_secs(10);
/// Where clients live.
pub(super) const CITIES: usize = 60;
const CLIENTS: u32 = 5_000;
const RPS: u64 = 300;
/// Short, so that a router sees soon what it has done.
const TTL: Duration = Duration::from_secs(5);
/// What a PoP can bear, in times of what comes to it when everybody goes to their best one.
const ROOM: f64 = 2.5;
/// But so many requests per second at least.
const CAPACITY_RPS_MIN: f64 = 60.0;
/// For how long people wait at a PoP that is full; the others are turned away.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// What a request counts that nobody answers.
const LOST_MS: f64 = 1500.0;
/// A silence of so long is a hang. Short, because a class is graded in a minute.
const PATIENCE: Duration = Duration::from_millis(300);
/// For how long a city may stay on a full PoP: loads are a second old, and answers are kept for [`TTL`].
const STAY_MAX: Duration = Duration::from_secs(5);
/// One answer in so many may be late: machines are busy.
const LATE_ONE_IN: u64 = 20;

/// The PoPs of the lab.
pub(super) fn pops() -> Vec<Place> {
    static POPS: LazyLock<Vec<Place>> = LazyLock::new(|| named("lab-12").unwrap_or_default());
    POPS.clone()
}

/// A scenario that is ready to be played by many.
#[derive(Debug)]
pub(super) struct Stage {
    study: RoutingStudy,
    ground: Ground,
    /// What a request counts where nobody has edges.
    origin_ms: f64,
}

/// What a router came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Marks {
    /// 0 to 100.
    pub(super) score: f64,
    pub(super) p95_ms: f64,
    pub(super) dead_picks: u64,
    pub(super) overload_s: u64,
    pub(super) checks: Vec<Check>,
    #[serde(skip)]
    pub(super) outcomes: Outcomes,
}

/// Something that a router must, or must not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Check {
    pub(super) what: String,
    pub(super) held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// Scores of routers that everybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Baselines {
    /// No CDN: the foot of the scale.
    pub(super) origin_only: f64,
    pub(super) random: f64,
    pub(super) geo: f64,
    /// Isochrone's own: the lowest estimate, and a share goes on from full PoPs.
    pub(super) reference: f64,
}

impl Stage {
    /// Makes ready what all who play it share.
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let origin = place_of("us-east-1").unwrap_or_else(|_| unreachable!("the atlas has it"));
        let base = RoutingStudy::new(origin);
        let mut study = RoutingStudy {
            pops: pops(),
            cities: Atlas::embedded().cities().iter().take(CITIES).map(|city| city.place.clone()).collect(),
            clients: CLIENTS,
            requests: RPS * SPAN.as_secs(),
            warmup: WARMUP,
            span: SPAN,
            routing: RoutingOptions { ttl: TTL, ..base.routing.clone() },
            kill: scenario.kill,
            surge: scenario.surge.clone(),
            seed,
            ..base
        };
        let ground = Ground::new(&world_of(seed), &study);
        study.capacities = capacities(&study, &ground);
        let origin_ms = cost_ms(&play(&study, &ground, Scheme::OriginOnly));
        Self { study, ground, origin_ms }
    }

    /// What was won over having no edges, of what could be: 0 to 100.
    fn score(&self, routed: &Routed) -> f64 {
        let possible = self.origin_ms - routed.ideal_ms;
        if possible <= 0.0 {
            return 0.0;
        }
        ((self.origin_ms - cost_ms(routed)) / possible * 100.0).clamp(0.0, 100.0)
    }

    /// The same scenario, for a router that is told what PoPs can bear.
    fn told_of_loads(&self) -> RoutingStudy {
        let mut study = self.study.clone();
        study.routing.spill.capacity = study.capacities.rps.clone();
        study
    }
}

/// What PoPs can bear.
fn capacities(study: &RoutingStudy, ground: &Ground) -> Capacities {
    let users: u64 = study.cities.iter().map(|city| city.users.max(1)).sum();
    let mut natural_rps = vec![0.0; study.pops.len()];
    for (at, city) in study.cities.iter().enumerate() {
        let best = ground.paths.best(at, |_| true).and_then(|(site, _)| natural_rps.get_mut(site));
        if let Some(rps) = best {
            *rps += city.users.max(1) as f64 / users as f64 * RPS as f64;
        }
    }
    let of_pop = |(pop, rps): (&Place, f64)| Some((pop.pop_code()?, (rps * ROOM).max(CAPACITY_RPS_MIN)));
    Capacities { rps: study.pops.iter().zip(natural_rps).filter_map(of_pop).collect(), wait_max: WAIT_MAX }
}

/// What a request counts in the mean.
fn cost_ms(routed: &Routed) -> f64 {
    let answered = routed.latency_us.mean() / 1000.0 * routed.latency_us.len() as f64;
    (answered + routed.lost as f64 * LOST_MS) / routed.requests.max(1) as f64
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

impl Baselines {
    /// Over all scenarios.
    pub(super) fn of(stages: &[Stage]) -> Self {
        let blind = |policy| {
            let score = |stage: &Stage| stage.score(&play(&stage.study, &stage.ground, Scheme::Policy(policy)));
            mean(stages.iter().map(score))
        };
        let aware = |stage: &Stage| {
            stage.score(&play(&stage.told_of_loads(), &stage.ground, Scheme::Policy(PolicyKind::Latency)))
        };
        Self {
            origin_only: 0.0,
            random: blind(PolicyKind::Random),
            geo: blind(PolicyKind::Nearest),
            reference: mean(stages.iter().map(aware)),
        }
    }
}

impl Marks {
    /// Plays all scenarios with the router `line`, started anew in `dir` for each.
    pub(super) fn of(stages: &[Stage], line: &str, dir: &Path, rations: &Rations, time_max: Duration) -> Self {
        let options = ProgramOptions { patience: PATIENCE, ..ProgramOptions::default() };
        let mut outcomes: Option<Outcomes> = None;
        let (mut scores, mut latency_us) = (Vec::new(), None);
        let (mut dead_picks, mut overload_s) = (0, 0);
        let mut longest: Option<Stay> = None;
        for stage in stages {
            let consulted = Consulted::new(line, Some(dir.to_owned()), rations, options.clone(), Some(time_max));
            let mut watched = Watched::new(consulted, Instant::ZERO + WARMUP);
            let routed = play_program(&stage.told_of_loads(), &stage.ground, &mut watched);
            scores.push(stage.score(&routed));
            dead_picks += watched.dead_picks;
            overload_s += routed.overload.as_secs();
            let of_stage = watched.consulted.outcomes();
            outcomes = Some(match outcomes {
                Some(before) => before.and(of_stage),
                None => of_stage,
            });
            longest = [longest, watched.longest].into_iter().flatten().max_by_key(|stay| stay.span);
            latency_us = Some(match latency_us {
                None => routed.latency_us,
                Some(mut sum) => {
                    // Both have the same bounds.
                    let _: Result<(), _> = hdrhistogram::Histogram::add(&mut sum, &routed.latency_us);
                    sum
                }
            });
        }
        let outcomes = outcomes.unwrap_or_default();
        let checks = checks(&outcomes, dead_picks, longest.as_ref(), &options);
        let missed = checks.iter().filter(|check| !check.held).count();
        let factor = 1.0 - 0.1 * missed as f64;
        // Who never answered is no router, however well others stand in for it.
        let score = if outcomes.answers == 0 { 0.0 } else { mean(scores.into_iter()) * factor };
        let p95_ms = latency_us.map_or(0.0, |latency_us| latency_us.value_at_quantile(0.95) as f64 / 1000.0);
        Self { score, p95_ms, dead_picks, overload_s, checks, outcomes }
    }
}

fn checks(outcomes: &Outcomes, dead_picks: u64, longest: Option<&Stay>, options: &ProgramOptions) -> Vec<Check> {
    let is_fast = outcomes.late * LATE_ONE_IN <= outcomes.questions;
    let in_time = if !outcomes.is_good() {
        Some(outcomes.text("router"))
    } else if !is_fast {
        Some(format!(
            "{} of {} took longer, one {:.0} ms",
            outcomes.late,
            outcomes.questions,
            outcomes.slowest.as_secs_f64() * 1000.0
        ))
    } else {
        None
    };
    let alive = (dead_picks > 0).then(|| format!("{dead_picks} answers put one first"));
    let moves = longest.filter(|stay| stay.span > STAY_MAX).map(|stay| {
        let Stay { city, pop, load, span } = stay;
        format!("{city} stayed on {} at {load:.2} load for {} s", pop.lower(), span.as_secs())
    });
    let check = |what: String, why: Option<String>| Check { what, held: why.is_none(), why };
    vec![
        check(format!("answers every question within {} ms", options.deadline.as_millis()), in_time),
        check("never picks a dead PoP".into(), alive),
        check("moves away from an overloaded PoP".into(), moves),
    ]
}
