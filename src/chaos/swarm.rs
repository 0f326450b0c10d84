//! `iso chaos swarm`: scenarios that nobody thought of, held against the laws of every run ([`world::invariant`]).
//!
//! Each seed draws one ([`draw`]), which is written as a file and read back as any other, so that what is played is what
//! can be kept. One that breaks a law is made as short as it gets ([`shrink`]). Seeds are independent of each other: in
//! virtual time they run on all cores, and come out in their order.

mod draw;
mod shrink;

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    path::Path,
    time::Duration,
};

use serde::Serialize;
use world::verdict::words;

use self::{
    draw::{draw, laws_hold},
    shrink::shrink,
};
use super::{Kind, MISSED, Outcome, Screen, Where, could_not_start, live, virtual_time, write_file};
use crate::{
    args::{ChaosSwarmArgs, Cli},
    diagnose::Source,
    parallel::{Room, in_order},
    scenario::{self, ScenarioFile, Staged},
    talk::{VerbError, tell},
    verbs::{paint::Paint, say},
};

/// Runs that are spent on making a failing seed shorter, where nobody says how many.
const SHRINK_VIRTUAL: u32 = 400;
/// See [`SHRINK_VIRTUAL`]: a live run takes a minute and a half.
const SHRINK_LIVE: u32 = 8;

/// What is asked of every run beside the laws of what is seen of it.
const NO_PANIC: &str = "nothing panics";

/// A seed, for `--json`.
#[derive(Debug, Serialize)]
struct Tried {
    seed: u64,
    held: bool,
    replay: String,
    steps: usize,
    requests: u64,
    errors: u64,
    hit_ratio: Option<f64>,
    origin_requests: u64,
    broken: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shrunk: Option<Kept>,
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    law: &'static str,
    /// From time zero.
    at_s: Option<f64>,
    times: u64,
    first: String,
}

/// A scenario that still breaks the law.
#[derive(Debug, Serialize)]
struct Kept {
    steps: usize,
    runs: u32,
    replay: Option<String>,
    scenario: String,
}

/// What came of one run.
#[derive(Debug, Default)]
struct Attempt {
    requests: u64,
    errors: u64,
    hit_ratio: Option<f64>,
    origin_requests: u64,
    broken: Vec<Finding>,
}

impl Attempt {
    fn of(staged: &Staged, outcome: &Outcome) -> Self {
        let totals = &outcome.judgement.totals;
        let zero = staged.scenario.zero();
        let broken = outcome.breaches.iter().map(|breach| Finding {
            law: breach.law.as_str(),
            at_s: Some(breach.at.saturating_since(zero).as_secs_f64()),
            times: breach.times,
            first: breach.first.clone(),
        });
        Self {
            requests: totals.requests,
            errors: totals.errors,
            hit_ratio: totals.hit_ratio(),
            origin_requests: totals.origin_requests,
            broken: broken.collect(),
        }
    }

    fn breaks(&self, law: &str) -> bool {
        self.broken.iter().any(|finding| finding.law == law)
    }
}

/// Runs `iso chaos swarm`.
///
/// # Errors
/// Exit code 10 where a seed broke a law, 11 where one could not start.
pub(super) fn run(cli: &Cli, args: &ChaosSwarmArgs) -> Result<(), VerbError> {
    let kind = if args.live { Kind::Live } else { Kind::Virtual };
    let swarm = Swarm {
        kind,
        room: Room::new(args.means.bytes()),
        shrink_runs: args.shrink.unwrap_or(if args.live { SHRINK_LIVE } else { SHRINK_VIRTUAL }),
        out: args.out.as_deref(),
    };
    let threads = match kind {
        Kind::Live => 1,
        Kind::Virtual => args.means.threads(),
    };
    let what = if args.live { "on real processes" } else { "in virtual time" };
    tell(&format!("seeds {} to {}   {what}", args.first, args.first + (args.seeds - 1)));
    panics::are_caught_where_asked();
    let (paint, began) = (Paint::of(cli), std::time::Instant::now());
    let (mut all, mut held) = (Vec::new(), 0);
    in_order(
        args.seeds,
        threads,
        |nth| swarm.tries(args.first + nth),
        |_, tried| {
            let tried = tried.map_err(|error| could_not_start(cli, &error))?;
            held += u64::from(tried.held);
            if cli.json {
                all.push(tried);
                return Ok(());
            }
            say(&line(paint, &tried))?;
            tried.shrunk.iter().try_for_each(|kept| say(&told(kept)))
        },
    )?;
    let missed = args.seeds - held;
    if cli.json {
        say(&serde_json::to_string_pretty(&serde_json::json!({ "held": missed == 0, "seeds": all }))?)?;
    } else {
        let word = if missed == 0 { paint.good("HELD ") } else { paint.bad("FAIL ") };
        say(&format!("{word} {} of {} seeds", words::count(held), words::count(args.seeds)))?;
    }
    tell(&format!("took {:.1} s", began.elapsed().as_secs_f64()));
    if missed == 0 { Ok(()) } else { Err(VerbError::Exit(MISSED)) }
}

/// How seeds are tried.
struct Swarm<'a> {
    kind: Kind,
    room: Room,
    shrink_runs: u32,
    out: Option<&'a Path>,
}

impl Swarm<'_> {
    fn tries(&self, seed: u64) -> Result<Tried, VerbError> {
        let name = format!("swarm-{seed}.toml");
        let file = draw(seed, self.kind)
            .map_err(|error| VerbError::Failed(anyhow::anyhow!("seed {seed} draws no world: {error}")))?;
        let attempt = self.plays(&name, &file)?;
        let shrunk = match attempt.broken.first() {
            Some(finding) if self.shrink_runs > 0 => Some(self.shrinks(&name, file.clone(), finding.law)?),
            Some(finding) => Some(self.keeps(&name, file.clone(), finding.law, 0)?),
            None => None,
        };
        let live = if self.kind == Kind::Live { " --live" } else { "" };
        Ok(Tried {
            seed,
            held: attempt.broken.is_empty(),
            replay: format!("iso chaos swarm{live} --first {seed} --seeds 1"),
            steps: file.at.len(),
            requests: attempt.requests,
            errors: attempt.errors,
            hit_ratio: attempt.hit_ratio,
            origin_requests: attempt.origin_requests,
            broken: attempt.broken,
            shrunk,
        })
    }

    /// One run, with the laws held against it.
    fn plays(&self, name: &str, file: &ScenarioFile) -> Result<Attempt, VerbError> {
        let staged = staged(name, file)?;
        match self.kind {
            Kind::Virtual => {
                let played = panics::caught(|| virtual_time::play(&staged, &self.room, &Screen::silent()));
                match played {
                    Err(panic) => {
                        let broken = Finding { law: NO_PANIC, at_s: None, times: 1, first: panic };
                        Ok(Attempt { broken: vec![broken], ..Attempt::default() })
                    }
                    Ok(outcome) => Ok(Attempt::of(&staged, &outcome?)),
                }
            }
            Kind::Live => {
                let screen = Screen::silent();
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
                let outcome = runtime.block_on(live::play(&staged, &Where::Own, &screen))??;
                Ok(Attempt::of(&staged, &outcome))
            }
        }
    }

    fn shrinks(&self, name: &str, file: ScenarioFile, law: &'static str) -> Result<Kept, VerbError> {
        let mut interrupted = false;
        let shrunk = shrink(file, self.shrink_runs, |candidate| {
            // What cannot be played is no shorter scenario.
            let attempt = if interrupted { Err(VerbError::Interrupted) } else { self.plays(name, candidate) };
            interrupted |= matches!(attempt, Err(VerbError::Interrupted));
            attempt.is_ok_and(|attempt| attempt.breaks(law))
        });
        if interrupted {
            return Err(VerbError::Interrupted);
        }
        self.keeps(name, shrunk.file, law, shrunk.runs)
    }

    /// Writes a scenario that breaks `law`, with the expectation that no law is broken.
    fn keeps(&self, name: &str, mut file: ScenarioFile, law: &'static str, runs: u32) -> Result<Kept, VerbError> {
        let seed = file.seed.unwrap_or_default();
        file.title = Some(format!("Seed {seed} of the swarm: {law}"));
        file.about = Some(format!("What is left of seed {seed} of `iso chaos swarm`, which broke this law: {law}."));
        file.expect = vec![laws_hold()];
        let text = scenario::write(&file)?;
        let replay = match self.out {
            Some(dir) => {
                let path = dir.join(name);
                write_file(&path, &text)?;
                let sim = if self.kind == Kind::Virtual { " --sim" } else { "" };
                Some(format!("iso chaos run{sim} {}", path.display()))
            }
            None => None,
        };
        Ok(Kept { steps: file.at.len(), runs, replay, scenario: text })
    }
}

/// A scenario as it is read from its text.
fn staged(name: &str, file: &ScenarioFile) -> Result<Staged, VerbError> {
    let source = Source { name: name.to_owned(), text: scenario::write(file)? };
    scenario::stage(source, Path::new(""), None, None)
}

/// A seed in one line, and what it broke in one more each.
fn line(paint: Paint, tried: &Tried) -> String {
    let word = if tried.held { paint.good("held  ") } else { paint.bad("BROKEN") };
    let hit = tried.hit_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
    let mut text = format!(
        "seed {:<6} {word}  {:>2} steps  {:>6} requests  {:>5} not served  hit {hit:>7}   {}",
        tried.seed,
        tried.steps,
        words::count(tried.requests),
        words::count(tried.errors),
        paint.dim(&tried.replay),
    );
    for Finding { law, at_s, times, first } in &tried.broken {
        let at = at_s.map(|at| format!(", first at {}", words::clock(Duration::from_secs_f64(at.max(0.0)))));
        text.push_str(&format!("\n  ✗ {law}: {} times{}, {first}", words::count(*times), at.unwrap_or_default()));
    }
    text
}

/// A scenario that was found, for who wants to keep it.
fn told(kept: &Kept) -> String {
    let Kept { steps, runs, replay, scenario } = kept;
    let shrunk = format!("  shrunk to {steps} steps in {runs} runs");
    match replay {
        Some(replay) => format!("{shrunk}; replay: {replay}"),
        None => format!("{shrunk}:\n\n{scenario}"),
    }
}

/// Panics of a run are findings: caught, and said once.
mod panics {
    use super::{AssertUnwindSafe, Cell, RefCell, panic};

    thread_local! {
        static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
        static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// Where a panic is caught, its message is kept and not printed.
    pub(super) fn are_caught_where_asked() {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match IS_CAUGHT.get() {
            true => SAID.set(Some(panic.to_string().replace('\n', " "))),
            false => before(panic),
        }));
    }

    /// What comes of `run`, or what it said when it panicked.
    pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
        IS_CAUGHT.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(run));
        IS_CAUGHT.set(false);
        outcome.map_err(|_| SAID.take().unwrap_or_else(|| "it said nothing".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::Span;

    fn swarm() -> Swarm<'static> {
        Swarm { kind: Kind::Virtual, room: Room::new(4 << 30), shrink_runs: 200, out: None }
    }

    #[test]
    fn three_dozen_seeds_break_no_law() {
        let mut broken = Vec::new();
        let outcome = in_order(
            36,
            2,
            |nth| swarm().tries(nth + 1),
            |_, tried| {
                let tried = tried?;
                broken.extend((!tried.held).then(|| line(Paint::plain(), &tried)));
                assert!(tried.requests > 0, "seed {} asks for nothing", tried.seed);
                Ok::<(), VerbError>(())
            },
        );
        outcome.map_err(|error| panic!("{error}")).unwrap();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn a_law_that_a_seed_breaks_is_found_and_shrunk_to_the_step_that_breaks_it() {
        // A law that no world can hold: nobody ever goes unserved.
        let swarm = swarm();
        let unserved = |file: &ScenarioFile| swarm.plays("law.toml", file).is_ok_and(|attempt| attempt.errors > 0);
        let few = |mut file: ScenarioFile| {
            file.load.0.iter_mut().for_each(|load| load.rps = Some(1.0));
            file
        };
        let drawn = (1..60).filter_map(|seed| draw(seed, Kind::Virtual).ok()).map(few);
        let file = drawn.into_iter().find(|file| (6..9).contains(&file.at.len()) && unserved(file)).unwrap();
        let shrunk = shrink(file.clone(), 300, unserved).file;
        assert!(
            unserved(&shrunk) && shrunk.at.len() <= 2 && shrunk.length < file.length,
            "{}",
            scenario::write(&shrunk).unwrap()
        );
        // One run less and it would not be so: each step that is left is needed.
        for nth in 0..shrunk.at.len() {
            let mut less = shrunk.clone();
            less.at.remove(nth);
            assert!(!unserved(&less), "step {nth} is not needed:\n{}", scenario::write(&shrunk).unwrap());
        }
    }

    #[test]
    fn a_storm_of_retries_that_never_ends_breaks_the_law_of_recovery_and_is_kept_as_a_scenario_that_says_so() {
        let text = include_str!("../../examples/incidents/retry-storm.toml");
        let mut file: ScenarioFile = toml::from_str(text).unwrap();
        file.expect.clear();
        file.length = Some(Span(Duration::from_secs(90)));
        let swarm = swarm();
        let attempt = swarm.plays("storm.toml", &file).map_err(|error| panic!("{error}")).unwrap();
        let law = world::invariant::Law::Recovers.as_str();
        assert!(attempt.breaks(law), "{attempt:?}");
        let kept = swarm.keeps("storm.toml", file, law, 0).map_err(|error| panic!("{error}")).unwrap();
        let source = Source { name: "storm.toml".into(), text: kept.scenario };
        let staged = scenario::stage(source, Path::new(""), None, None).map_err(|error| panic!("{error}")).unwrap();
        let outcome =
            virtual_time::play(&staged, &swarm.room, &Screen::silent()).map_err(|error| panic!("{error}")).unwrap();
        let missed: Vec<String> =
            outcome.judgement.rows.iter().filter(|row| !row.held).map(|row| row.expectation.to_string()).collect();
        assert_eq!(missed, ["laws_broken ≤ 0"]);
    }

    #[test]
    fn a_panic_is_a_finding_with_its_place() {
        panics::are_caught_where_asked();
        let said = panics::caught(|| assert_eq!(1 + 1, 3, "sums")).unwrap_err();
        assert!(said.contains("src/chaos/swarm.rs") && said.contains("sums"), "{said}");
        assert_eq!(panics::caught(|| 7), Ok(7));
    }
}
