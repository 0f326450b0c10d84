//! `iso chaos agree`: a scenario on real processes and in virtual time, side by side, held against the limits that this
//! project publishes ([`world::verdict::agreement`]).

use cdn_core::Instant;
use serde::Serialize;
use world::{
    Directory, Event, Judge, Judgement, Observation, Scenario,
    invariant::{Breach, Laws},
    verdict::agreement::{Figure, Sample, compare},
};

use super::{Kind, MISSED, Screen, Where, could_not_start, live_only, play, read};
use crate::{
    args::{ChaosAgreeArgs, Cli},
    parallel::{MEMORY, Room},
    talk::VerbError,
    verbs::{
        paint::{Paint, table},
        print,
    },
};

/// Judges a run, holds the laws of every run against it, and keeps what runs are compared by.
pub(super) struct Watched {
    judge: Judge,
    laws: Laws,
    sample: Sample,
}

/// A run that is over.
pub(super) struct Outcome {
    pub(super) judgement: Judgement,
    /// Laws that it broke, whether or not its scenario asks for what they say.
    pub(super) breaches: Vec<Breach>,
    pub(super) sample: Sample,
}

impl Watched {
    pub(super) fn new(scenario: &Scenario, directory: &Directory) -> Self {
        Self {
            judge: Judge::new(scenario, directory),
            laws: Laws::new(scenario, directory),
            sample: Sample::new(scenario.zero()),
        }
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    pub(super) fn finish(self, end: Instant) -> Outcome {
        Outcome { judgement: self.judge.finish(end), breaches: self.laws.finish(end), sample: self.sample }
    }
}

impl simulator::Witness for Watched {
    fn observe(&mut self, observation: &Observation) {
        self.judge.observe(observation);
        self.laws.observe(observation);
        self.sample.observe(observation);
    }

    fn note(&mut self, event: &Event) {
        self.judge.note(event);
        self.laws.note(event);
        self.sample.note(event);
    }
}

/// One scenario's figures.
#[derive(Debug, Serialize)]
struct Compared {
    scenario: String,
    seed: u64,
    agrees: bool,
    figures: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    live: f64,
    simulated: f64,
    off: f64,
    limit: f64,
    agrees: bool,
}

impl From<&Figure> for Row {
    fn from(figure: &Figure) -> Self {
        let Figure { name, live, simulated, off, limit } = *figure;
        Self { name, live, simulated, off, limit, agrees: figure.agrees() }
    }
}

/// Plays every scenario both ways.
///
/// # Errors
/// Exit code 10 where a figure is further off than it may, 11 where a scenario could not start.
pub(super) fn run(cli: &Cli, args: &ChaosAgreeArgs) -> Result<(), VerbError> {
    let here = Where::Own;
    let mut staged = Vec::new();
    for name in &args.files {
        let one = read(name, args.seed, &here).and_then(|one| {
            live_only(Kind::Live, &one)?;
            Ok(one)
        });
        staged.push((name.display().to_string(), one.map_err(|error| could_not_start(cli, &error))?));
    }
    let screen = Screen { paint: Paint::of(cli), quiet: true };
    let mut all = Vec::new();
    for (name, staged) in &staged {
        crate::talk::tell(&format!("{name}: seed {}, live and in virtual time", staged.scenario.seed));
        let played = |kind| {
            play(kind, staged, &here, &screen, &Room::new(MEMORY)).map_err(|error| could_not_start(cli, &error))?
        };
        let (live, simulated) = (played(Kind::Live)?, played(Kind::Virtual)?);
        let figures = compare(&live.sample, &simulated.sample, staged.plan.cluster.router.probe_interval);
        let rows: Vec<Row> = figures.iter().map(Row::from).collect();
        all.push(Compared {
            scenario: name.clone(),
            seed: staged.scenario.seed,
            agrees: rows.iter().all(|row| row.agrees),
            figures: rows,
        });
    }
    print(cli, &all, |all| {
        let rows = all.iter().flat_map(|one| {
            one.figures.iter().map(|row| {
                let number = |value: f64| format!("{value:.4}");
                let word = if row.agrees { "agrees" } else { "differs" };
                let figures = [row.live, row.simulated, row.off, row.limit].map(number);
                [vec![one.scenario.clone(), row.name.to_owned()], figures.to_vec(), vec![word.to_owned()]].concat()
            })
        });
        table(&["SCENARIO", "FIGURE", "LIVE", "VIRTUAL", "OFF BY", "LIMIT", ""], rows)
    })?;
    if all.iter().all(|one| one.agrees) { Ok(()) } else { Err(VerbError::Exit(MISSED)) }
}
