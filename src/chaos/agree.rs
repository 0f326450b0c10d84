//! `iso chaos agree`: scenarios on real processes and in virtual time, side by side, held against the limits that this
//! project publishes ([`world::verdict::agreement`]).

mod document;
pub(super) mod replay;

use std::path::PathBuf;

use cdn_core::Instant;
use edge_node::Tally;
use serde::Serialize;
use world::{
    Directory, Event, Judge, Judgement, Observation, Scenario,
    invariant::{Breach, Laws, Promises},
    verdict::agreement::{Figure, Sample, alike, compare, pairs},
};

use self::replay::Replayed;
use super::{Kind, MISSED, Screen, Where, could_not_start, play, read, write_file};
use crate::{
    args::{ChaosAgreeArgs, Cli},
    cluster::Cluster,
    parallel::{MEMORY, Room},
    scenario::Staged,
    talk::{VerbError, tell},
    verbs::{
        paint::{Paint, table},
        print,
    },
};

/// Judges a run, holds the laws of every run against it, shows its timeline as it happens, and keeps what runs are compared
/// by where somebody compares.
pub(super) struct Watched<'a> {
    judge: Judge,
    laws: Laws,
    /// Of the timeline. What was asked before it may be answered after it.
    end: Instant,
    zero: Instant,
    sample: Option<Sample>,
    screen: &'a Screen,
    shown: usize,
}

/// A run that is over.
pub(super) struct Outcome {
    pub(super) judgement: Judgement,
    /// Laws that it broke, whether or not its scenario asks for what they say.
    pub(super) breaches: Vec<Breach>,
    /// Where [`Screen::compares`].
    pub(super) sample: Option<Sample>,
    /// The same, of a live run.
    pub(super) replayed: Option<Replayed>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(scenario: &Scenario, directory: &Directory, screen: &'a Screen) -> Self {
        Self {
            judge: Judge::new(scenario, directory),
            laws: Laws::new(scenario, directory),
            end: scenario.end(),
            zero: scenario.zero(),
            sample: screen.compares.then(|| Sample::new(scenario.zero())),
            screen,
            shown: 0,
        }
    }

    /// Holds also what the configuration of the run promises against it.
    pub(super) fn with_promises(mut self, promises: Option<Box<dyn Promises>>) -> Self {
        if let Some(promises) = promises {
            self.laws = self.laws.with_promises(promises);
        }
        self
    }

    /// Takes in sums that only the player knows of.
    pub(super) fn add_up_to(&mut self, sums: Result<(), String>, at: Instant) {
        self.laws.add_up_to(sums, at);
    }

    /// The outcome of a run whose last request was over at `end`.
    pub(super) fn finish(self, end: Instant) -> Outcome {
        let (mut judgement, breaches) = (self.judge.finish(self.end), self.laws.finish(end));
        judgement.tell_laws(&breaches, self.zero);
        Outcome { judgement, breaches, sample: self.sample, replayed: None }
    }
}

impl simulator::Witness for Watched<'_> {
    fn observe(&mut self, observation: &Observation) {
        self.judge.observe(observation);
        self.laws.observe(observation);
        if let Some(sample) = &mut self.sample {
            sample.observe(observation);
        }
    }

    fn note(&mut self, event: &Event) {
        self.judge.note(event);
        self.laws.note(event);
        if let Some(sample) = &mut self.sample {
            sample.note(event);
        }
        let timeline = self.judge.timeline();
        timeline.iter().skip(self.shown).for_each(|line| self.screen.line(line));
        self.shown = timeline.len();
    }
}

/// One scenario's figures.
#[derive(Debug, Serialize)]
struct Compared {
    scenario: String,
    seed: u64,
    agrees: bool,
    /// Requests of the live run.
    requests: usize,
    /// Share of them that came to the same in virtual time.
    alike: f64,
    /// Decisions of the live run that were made again from what they were made of.
    replayed: Counts,
    figures: Vec<Row>,
}

/// Decisions by whose they are.
#[derive(Clone, Copy, Debug, Serialize)]
struct Counts {
    /// Of routers.
    routes: Count,
    /// Of the stores of edges and caches behind them.
    cache: Count,
    /// Of those, on the way to origins.
    origin: Count,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Count {
    decisions: u64,
    /// Those that came out otherwise.
    differing: u64,
    /// Those that could not be made again.
    lost: u64,
}

impl From<Tally> for Count {
    fn from(Tally { decisions, differing, lost }: Tally) -> Self {
        Self { decisions, differing, lost }
    }
}

impl From<&Replayed> for Counts {
    fn from(replayed: &Replayed) -> Self {
        let Replayed { routes, cache, origin, .. } = *replayed;
        Self { routes: routes.into(), cache: cache.into(), origin: origin.into() }
    }
}

impl Count {
    /// As it stands in the table: what differs is marked.
    fn cell(self) -> String {
        let Self { decisions, differing, lost } = self;
        let lost = if lost > 0 { format!(", {lost} lost") } else { String::new() };
        let mark = if differing > 0 { " !" } else { "" };
        format!("{decisions}, {differing} differ{lost}{mark}")
    }
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

/// How a figure is written.
type Written = fn(f64) -> String;

/// The columns of the table, and how figures of that name are written in them: both runs' where there are two.
const COLUMNS: [(&str, &str, Written); 6] = [
    ("hit_ratio", "HIT RATIO", |share| format!("{:.2} %", share * 100.0)),
    ("origin_requests", "TO ORIGINS", |count| format!("{count:.0}")),
    ("p50", "P50", milliseconds),
    ("p99", "P99", milliseconds),
    ("ks_distance", "KS", |distance| format!("{distance:.3}")),
    ("failover", "FAILOVER", |seconds| if seconds.is_finite() { format!("{seconds:.2} s") } else { "never".into() }),
];

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

impl Compared {
    /// A line of the table. What is further off than it may be is marked.
    fn cells(&self) -> Vec<String> {
        let name = PathBuf::from(&self.scenario);
        let name = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut cells = vec![name, self.requests.to_string()];
        cells.extend(COLUMNS.map(|(figure, _, written)| {
            let Some(row) = self.figures.iter().find(|row| row.name == figure) else { return "-".to_owned() };
            let both = match figure {
                "ks_distance" => written(row.off),
                _ => format!("{} / {}", written(row.live), written(row.simulated)),
            };
            if row.agrees { both } else { format!("{both} !") }
        }));
        cells.push(format!("{:.2} %", self.alike * 100.0));
        let Counts { routes, cache, origin } = self.replayed;
        cells.extend([routes, cache, origin].map(Count::cell));
        cells.push(if self.agrees { "agrees" } else { "differs" }.to_owned());
        cells
    }
}

fn heads() -> Vec<&'static str> {
    let columns = COLUMNS.map(|(_, head, _)| head);
    ["SCENARIO", "REQUESTS"]
        .into_iter()
        .chain(columns)
        .chain(["ALIKE", "ROUTES AGAIN", "CACHE AGAIN", "ORIGIN AGAIN", ""])
        .collect()
}

/// Plays every scenario both ways.
///
/// # Errors
/// Exit code 10 where a figure is further off than it may, 11 where a scenario could not start.
pub(super) fn run(cli: &Cli, args: &ChaosAgreeArgs) -> Result<(), VerbError> {
    let here = Where::Own;
    let mut staged = Vec::new();
    for name in &files_in(&args.files) {
        let one = read(name, args.seed, &here).and_then(with_a_record);
        staged.push((name.display().to_string(), one.map_err(|error| could_not_start(cli, &error))?));
    }
    let document = args.write.as_ref().map(|path| document::Document::open(path)).transpose()?;
    let screen = Screen { paint: Paint::of(cli), quiet: true, compares: true };
    let (mut all, mut requests) = (Vec::new(), String::from(REQUESTS_HEAD));
    for (name, staged) in &staged {
        tell(&format!("{name}: seed {}, live and in virtual time", staged.scenario.seed));
        let played = |kind| -> Result<(Sample, Replayed), VerbError> {
            let room = Room::new(MEMORY);
            let outcome = play(kind, staged, &here, &screen, &room).map_err(|error| could_not_start(cli, &error))??;
            Ok((outcome.sample.unwrap_or_default(), outcome.replayed.unwrap_or_default()))
        };
        let ((live, replayed), (simulated, _)) = (played(Kind::Live)?, played(Kind::Virtual)?);
        if let Some(first) = &replayed.first {
            tell(&format!("{name}: {first}"));
        }
        let figures = compare(&live, &simulated, staged.plan.cluster.router.probe_interval);
        let rows: Vec<Row> = figures.iter().map(Row::from).collect();
        if args.requests.is_some() {
            pairs(&live, &simulated).into_iter().for_each(|pair| requests.push_str(&request_line(name, pair)));
        }
        all.push(Compared {
            scenario: name.clone(),
            seed: staged.scenario.seed,
            agrees: rows.iter().all(|row| row.agrees) && replayed.differing() == 0,
            requests: live.requests(),
            alike: alike(&live, &simulated),
            replayed: Counts::from(&replayed),
            figures: rows,
        });
    }
    if let Some(path) = &args.requests {
        write_file(path, &requests)?;
    }
    if let Some(document) = document {
        document.write(&heads(), &all.iter().map(Compared::cells).collect::<Vec<_>>())?;
    }
    print(cli, &all, |all| table(&heads(), all.iter().map(Compared::cells)))?;
    if all.iter().all(|one| one.agrees) { Ok(()) } else { Err(VerbError::Exit(MISSED)) }
}

/// The same scenario in a world whose routers and caches write down what they decide.
fn with_a_record(mut staged: Staged) -> Result<Staged, VerbError> {
    let plan = &mut staged.plan;
    replay::record_all(&mut plan.file);
    plan.cluster = Cluster::check(&plan.file, &plan.inputs)
        .map_err(|error| VerbError::Failed(anyhow::anyhow!("the world does not check with its logs: {error}")))?;
    Ok(staged)
}

/// The scenarios that are meant: of a folder all, by name.
fn files_in(named: &[PathBuf]) -> Vec<PathBuf> {
    let all = named.iter().flat_map(|path| {
        let Ok(folder) = std::fs::read_dir(path) else { return vec![path.clone()] };
        let is_scenario = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "toml");
        let mut files: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).filter(is_scenario).collect();
        files.sort();
        // One without any is read as a scenario, and refused as none.
        if files.is_empty() { vec![path.clone()] } else { files }
    });
    all.collect()
}

const REQUESTS_HEAD: &str = "scenario,intended_ms,place,object,bytes,live_ms,virtual_ms,live_late_ms,live_pop,virtual_pop,\
                             live_cache,virtual_cache,live_reason,virtual_reason,live_attempts,virtual_attempts\n";

/// One request of both runs, as CSV.
fn request_line(scenario: &str, (live, simulated): (&Observation, &Observation)) -> String {
    let ms = |span: std::time::Duration| span.as_secs_f64() * 1e3;
    let place = world::Atlas::embedded().at_index(live.place).map_or("", |place| place.id.as_str());
    let pop = |seen: &Observation| seen.pop.map_or_else(String::new, |pop| pop.to_string());
    format!(
        "{scenario},{:.3},{place},{},{},{:.3},{:.3},{:.3},{},{},{},{},{},{},{},{}\n",
        ms(live.intended.saturating_since(Instant::ZERO)),
        live.object,
        live.bytes,
        ms(live.latency()),
        ms(simulated.latency()),
        ms(live.started.saturating_since(live.intended)),
        pop(live),
        pop(simulated),
        live.cache.as_str(),
        simulated.cache.as_str(),
        live.reason,
        simulated.reason,
        live.attempts,
        simulated.attempts,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_the_scenarios_in_it() {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/agreement"));
        let files = files_in(&[folder.clone(), PathBuf::from("edge-dies")]);
        assert!(files.len() >= 9 && files.contains(&folder.join("edge-killed.toml")), "{files:?}");
        assert_eq!(files.last(), Some(&PathBuf::from("edge-dies")));
    }

    #[test]
    fn what_is_too_far_off_is_marked_and_what_is_not_there_is_a_dash() {
        let row = |name, live, simulated, off, limit| Row::from(&Figure { name, live, simulated, off, limit });
        let compared = Compared {
            scenario: "examples/agreement/hits.toml".into(),
            seed: 1,
            agrees: false,
            requests: 1200,
            alike: 0.9975,
            replayed: Counts {
                routes: Count { decisions: 830, differing: 0, lost: 2 },
                cache: Count { decisions: 5210, differing: 1, lost: 0 },
                origin: Count { decisions: 96, differing: 0, lost: 0 },
            },
            figures: vec![
                row("hit_ratio", 0.91, 0.9123, 0.0023, 0.005),
                row("p50", 0.0291, 0.0318, 0.0928, 0.05),
                row("failover", 1.5, f64::INFINITY, f64::INFINITY, 1.0),
            ],
        };
        let expected = [
            "hits",
            "1200",
            "91.00 % / 91.23 %",
            "-",
            "29.1 ms / 31.8 ms !",
            "-",
            "-",
            "1.50 s / never !",
            "99.75 %",
            "830, 0 differ, 2 lost",
            "5210, 1 differ !",
            "96, 0 differ",
            "differs",
        ];
        assert_eq!(compared.cells(), expected);
        assert_eq!(heads().len(), expected.len());
    }
}
