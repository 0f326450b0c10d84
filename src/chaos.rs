//! `iso chaos`: scenarios played, judged and shown.
//!
//! Every file is read and checked before anything starts. A scenario is played on real processes ([`live`]) and gives a
//! [`Judgement`]; how one is shown (text, JUnit, JSON, HTML) knows nothing of how it came about.

mod agree;
mod drill;
mod gather;
mod html;
mod library;
mod live;
mod own_world;
mod programs;
mod promises;
mod report;
mod spread;
mod svg;
mod swarm;
mod text;
mod users;
mod virtual_time;

use std::{io::Write as _, path::Path};

use world::{Judgement, invariant::Law};

use self::{agree::Outcome, live::Where, text::Screen};
pub(crate) use self::{
    drill::drill,
    html::STYLE,
    report::escaped,
    svg::{COLOURS, DASHES},
};
use crate::{
    args::{ChaosRunArgs, ChaosVerb, Cli},
    parallel::Room,
    scenario::{self, Staged},
    talk::{Api, VerbError, tell},
    verbs::{paint::Paint, say},
};

/// An expectation was missed.
const MISSED: u8 = 10;
/// A scenario could not start.
const NOT_STARTED: u8 = 11;

/// Runs `iso chaos ...`.
///
/// # Errors
/// Exit code 10 where an expectation was missed, 11 where a scenario could not start.
pub(crate) fn run(cli: &Cli, verb: &ChaosVerb) -> Result<(), VerbError> {
    match verb {
        ChaosVerb::List => library::list(cli),
        ChaosVerb::Run(args) => run_files(cli, args),
        ChaosVerb::Agree(args) => agree::run(cli, args),
        ChaosVerb::Swarm(args) => swarm::run(cli, args),
    }
}

/// How scenarios are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On real processes.
    Live,
    /// In virtual time.
    Virtual,
}

impl Kind {
    /// A word for reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Virtual => "virtual",
        }
    }
}

/// A run that is over, for reports.
#[derive(Debug)]
pub(crate) struct Played {
    /// As it was named on the command line.
    pub(crate) name: String,
    /// How.
    pub(crate) kind: Kind,
    /// What one types to play it again.
    pub(crate) replay: String,
    /// What came out.
    pub(crate) judgement: Judgement,
    /// How long it took by the clock on the wall, in seconds.
    pub(crate) took_s: f64,
}

fn run_files(cli: &Cli, args: &ChaosRunArgs) -> Result<(), VerbError> {
    if !args.sim && !args.means.is_silent() {
        return Err(VerbError::Usage("threads and memory are of runs in virtual time: add --sim".to_owned()));
    }
    if let Some(seeds) = args.seeds {
        return spread::run(cli, args, seeds);
    }
    let kind = if args.sim { Kind::Virtual } else { Kind::Live };
    let here = if cli.world_is_named && kind == Kind::Live {
        // What the running world says of itself counts, so names are those of its nodes.
        Where::Running(Box::new(Api::of_world(&cli.world)?))
    } else {
        Where::Own
    };
    let mut staged = Vec::new();
    for name in &args.files {
        let one = read(name, args.seed, &here).map_err(|error| could_not_start(cli, &error))?;
        if kind == Kind::Virtual {
            one.may_be_virtual().map_err(|error| could_not_start(cli, &error))?;
        }
        staged.push((name.clone(), one));
    }
    check_reports(args)?;
    let (paint, room) = (Paint::of(cli), Room::new(args.means.bytes()));
    let mut played = Vec::new();
    let mut outcome = Ok(());
    for (name, staged) in staged {
        let replay = replay_line(&name, kind, staged.scenario.seed);
        let screen = Screen { paint, quiet: cli.json, compares: false };
        screen.begins(&staged.scenario, kind, &replay);
        let began = std::time::Instant::now();
        match play(kind, &staged, &here, &screen, &room) {
            Ok(Ok(Outcome { judgement, .. })) => {
                let took_s = began.elapsed().as_secs_f64();
                let one = Played { name: name.display().to_string(), kind, replay, judgement, took_s };
                screen.verdict(&one)?;
                played.push(one);
            }
            Ok(Err(error)) => {
                outcome = Err(error);
                break;
            }
            Err(error) => {
                outcome = Err(could_not_start(cli, &error));
                break;
            }
        }
    }
    // What was played is reported, whatever became of the rest.
    write_reports(cli, args, &played)?;
    outcome?;
    if played.iter().all(|one| one.judgement.held()) { Ok(()) } else { Err(VerbError::Exit(MISSED)) }
}

/// Plays a scenario: the outer error is that it could not start, the inner one that it could not go on.
fn play(
    kind: Kind,
    staged: &Staged,
    here: &Where,
    screen: &Screen,
    room: &Room,
) -> Result<Result<Outcome, VerbError>, VerbError> {
    match kind {
        Kind::Live => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(live::play(staged, here, screen))
        }
        Kind::Virtual => simulate(staged, room, screen).map(Ok),
    }
}

/// Plays a scenario in virtual time.
fn simulate(staged: &Staged, room: &Room, screen: &Screen) -> Result<Outcome, VerbError> {
    let outcome = virtual_time::play(staged, room, screen)?;
    // What does not add up is a defect of the simulator, and no verdict can rest on it but one on that.
    match outcome.breaches.iter().find(|breach| breach.law == Law::AddsUp) {
        Some(breach) if !staged.scenario.asks_for_laws() => {
            Err(VerbError::Failed(anyhow::anyhow!("the run does not add up: {}", breach.first)))
        }
        _ => Ok(outcome),
    }
}

/// A file, or the name of one of the incidents that `iso` brings.
fn read(name: &Path, seed: Option<u64>, here: &Where) -> Result<Staged, VerbError> {
    let text = name.to_string_lossy();
    let incident = if name.exists() { None } else { library::incident(text.trim_end_matches(".toml")) };
    match (incident, here) {
        (Some(incident), Where::Own) => scenario::stage(incident.source(), Path::new(""), seed, None),
        (Some(incident), Where::Running(api)) => {
            scenario::stage(incident.source(), Path::new(""), seed, Some(&api.record))
        }
        (None, _) if !name.exists() => Err(library::unknown(&text)),
        (None, Where::Own) => scenario::read(name, seed, None),
        (None, Where::Running(api)) => scenario::read(name, seed, Some(&api.record)),
    }
}

/// Says why a scenario could not start, with the exit code of that.
fn could_not_start(cli: &Cli, error: &VerbError) -> VerbError {
    if matches!(error, VerbError::Interrupted) {
        return VerbError::Interrupted;
    }
    if cli.json {
        let _ = say(&crate::talk::error_document(&error.to_string()));
    }
    tell(&format!("error: {error}"));
    VerbError::Exit(NOT_STARTED)
}

fn replay_line(name: &Path, kind: Kind, seed: u64) -> String {
    let sim = if kind == Kind::Virtual { " --sim" } else { "" };
    format!("iso chaos run {}{sim} --seed {seed}", name.display())
}

/// Sees to it that reports can be written before anything is played. Leaves no file that was not there.
fn check_reports(args: &ChaosRunArgs) -> Result<(), VerbError> {
    for path in [&args.junit, &args.html].into_iter().flatten() {
        let was_there = path.exists();
        let opened = created(path, |path| std::fs::OpenOptions::new().append(true).create(true).open(path));
        opened.map_err(|error| VerbError::Usage(format!("{error:#}")))?;
        if !was_there {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

fn write_reports(cli: &Cli, args: &ChaosRunArgs, played: &[Played]) -> Result<(), VerbError> {
    if let Some(path) = &args.junit {
        write_file(path, &report::junit(played))?;
    }
    if let Some(path) = &args.html {
        write_file(path, &html::page(played))?;
        tell(&format!("report {}", path.display()));
    }
    if cli.json {
        say(&serde_json::to_string_pretty(&report::document(played))?)?;
    }
    Ok(())
}

/// Opens a file whose directory is made if there is none.
fn created(path: &Path, open: impl Fn(&Path) -> std::io::Result<std::fs::File>) -> anyhow::Result<std::fs::File> {
    use anyhow::Context as _;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    open(path).with_context(|| format!("cannot write {}", path.display()))
}

fn write_file(path: &Path, text: &str) -> Result<(), VerbError> {
    use anyhow::Context as _;
    let mut file = created(path, |path| std::fs::File::create(path))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
