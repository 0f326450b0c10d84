//! `iso chaos run --sim --seeds N`: one scenario under many seeds, and one verdict on all of them: how many held each
//! expectation, and how far apart lies what they got.
//!
//! Reports have one JUnit suite per seed, and one page with the spread of each figure ([`page`]) and the worst seed whole.
//! Seeds run on all cores and count in their order, so that a verdict does not depend on how many threads there are.

mod page;

use std::path::Path;

use serde::Serialize;
use world::{Judgement, scenario::Expectation, verdict::words};

use super::{
    Kind, MISSED, Played, Screen, Where, check_reports, could_not_start, programs, read, replay_line, report::Junit,
    simulate, write_file,
};
use crate::{
    args::{ChaosRunArgs, Cli},
    parallel::{Room, in_order},
    policy_program::Outcomes,
    talk::{VerbError, tell},
    verbs::{
        paint::{Paint, table},
        print, say,
    },
};

/// Seeds that are named where more missed an expectation.
const NAMED: usize = 5;

/// One scenario under all seeds.
#[derive(Debug, Serialize)]
struct Spread {
    file: String,
    title: String,
    first_seed: u64,
    seeds: u64,
    /// Seeds that held every expectation.
    seeds_held: u64,
    held: bool,
    expectations: Vec<Row>,
    /// What came of the programs that routers asked, where they have some.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Outcomes>,
    /// The seed that most is wrong with, where somebody wants to see it.
    #[serde(skip)]
    worst: Option<Played>,
}

/// One expectation under all seeds.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    text: String,
    line: u32,
    held: bool,
    missed_by: Vec<u64>,
    min: Option<f64>,
    /// The middle one; of an even number the lower of the two in the middle.
    median: Option<f64>,
    max: Option<f64>,
    #[serde(skip)]
    expectation: Expectation,
    /// What each seed got, ascending in the end; later than any time where it never came.
    #[serde(skip)]
    got: Vec<f64>,
}

impl Spread {
    /// Takes in the verdict on one more seed.
    fn take(&mut self, seed: u64, judgement: &Judgement) {
        self.seeds_held += u64::from(judgement.held());
        if self.expectations.is_empty() {
            self.title.clone_from(&judgement.title);
            self.expectations = judgement.rows.iter().map(|row| Row::of(&row.expectation)).collect();
        }
        self.program = [self.program.take(), programs::outcomes(judgement)].into_iter().flatten().reduce(Outcomes::and);
        for (row, seen) in self.expectations.iter_mut().zip(&judgement.rows) {
            row.got.push(seen.got.unwrap_or(f64::INFINITY));
            if !seen.held {
                row.missed_by.push(seed);
            }
        }
    }

    /// Keeps a run where it is worse than all before it.
    fn keep_worst(&mut self, one: Played) {
        if self.worst.as_ref().is_none_or(|worst| badness(&worst.judgement) < badness(&one.judgement)) {
            self.worst = Some(one);
        }
    }

    fn finish(mut self) -> Self {
        self.held = self.seeds_held == self.seeds;
        self.expectations.iter_mut().for_each(Row::finish);
        self
    }

    /// The verdict, and the line that plays a seed that missed it.
    fn text(&self, paint: Paint) -> String {
        let rows = self.expectations.iter().map(|row| {
            let (sign, all) = (if row.held { "✓" } else { "✗" }, self.seeds);
            let held = all - row.missed_by.len() as u64;
            let mut cells = vec![format!("{sign} {}", row.text), format!("{held} of {all}")];
            cells.extend([row.min, row.median, row.max].map(|got| row.figure(got)));
            cells.push(row.missed());
            cells
        });
        let mut text = table(&["EXPECT", "HELD", "MIN", "MEDIAN", "MAX", ""], rows);
        let (held, all) = (words::count(self.seeds_held), words::count(self.seeds));
        let word = if self.held { paint.good("HELD ") } else { paint.bad("FAIL ") };
        text = format!("{}\n{word} {held} of {all} seeds", text.trim_end());
        // How many were late depends on the machine, and is no result.
        if let Some(program) = &self.program {
            text.push_str(&format!("\n{}", program.text("program")));
        }
        if let Some(seed) = self.expectations.iter().find_map(|row| row.missed_by.first()) {
            text.push_str(&format!("\nreplay: iso chaos run --sim {} --seed {seed}", self.file));
        }
        text
    }
}

/// What a run is worse by than another: expectations missed, then requests not served, then the slowest in a hundred.
fn badness(judgement: &Judgement) -> (usize, u64, u64) {
    let missed = judgement.rows.iter().filter(|row| !row.held).count();
    let p99_us = judgement.totals.latency.map_or(0, |latency| (latency.p99 * 1e6) as u64);
    (missed, judgement.totals.errors, p99_us)
}

impl Row {
    fn of(expectation: &Expectation) -> Self {
        Self {
            what: expectation.what.to_string(),
            text: expectation.to_string(),
            line: expectation.line,
            held: true,
            missed_by: Vec::new(),
            min: None,
            median: None,
            max: None,
            expectation: expectation.clone(),
            got: Vec::new(),
        }
    }

    fn finish(&mut self) {
        self.got.sort_by(f64::total_cmp);
        // JSON has no infinity: what never came is nothing.
        let finite = |got: Option<&f64>| got.copied().filter(|got| got.is_finite());
        self.min = finite(self.got.first());
        self.median = finite(self.got.get(self.got.len().saturating_sub(1) / 2));
        self.max = finite(self.got.last());
        self.held = self.missed_by.is_empty();
    }

    fn figure(&self, got: Option<f64>) -> String {
        got.map_or_else(|| "never".to_owned(), |got| words::figure(got, self.expectation.what.unit()))
    }

    fn missed(&self) -> String {
        let named: Vec<String> = self.missed_by.iter().take(NAMED).map(ToString::to_string).collect();
        match self.missed_by.len() {
            0 => String::new(),
            n if n > NAMED => format!("missed by {} and {} more", named.join(", "), n - NAMED),
            _ => format!("missed by {}", named.join(", ")),
        }
    }
}

/// Plays every file under `seeds` seeds, from that of the command line or the file on.
///
/// # Errors
/// Exit code 10 where a seed missed an expectation, 11 where one could not start.
pub(super) fn run(cli: &Cli, args: &ChaosRunArgs, seeds: u64) -> Result<(), VerbError> {
    let refused = |error: VerbError| could_not_start(cli, &error);
    let mut firsts = Vec::new();
    for name in &args.files {
        let first = read(name, args.seed, &Where::Own).map_err(refused)?.scenario.seed;
        if first.checked_add(seeds - 1).is_none() {
            return Err(VerbError::Usage(format!("--seeds {seeds}: there are not so many from {first} on")));
        }
        firsts.push(first);
    }
    check_reports(args)?;
    let (room, paint) = (Room::new(args.means.bytes()), Paint::of(cli));
    let (mut all, mut junit) = (Vec::new(), args.junit.is_some().then(Junit::default));
    for (name, first) in args.files.iter().zip(firsts) {
        let seed = |nth: u64| first + nth;
        tell(&format!("{}: seeds {first} to {}   in virtual time", name.display(), seed(seeds - 1)));
        let mut spread = Spread {
            file: name.display().to_string(),
            title: String::new(),
            first_seed: first,
            seeds,
            seeds_held: 0,
            held: false,
            expectations: Vec::new(),
            program: None,
            worst: None,
        };
        let threads = args.means.threads();
        in_order(
            seeds,
            threads,
            |nth| play(name, seed(nth), &room),
            |nth, played| {
                let one = played?;
                spread.take(seed(nth), &one.judgement);
                if let Some(junit) = &mut junit {
                    junit.take(format!("{}, seed {}", one.judgement.title, seed(nth)), &one);
                }
                if args.html.is_some() {
                    spread.keep_worst(one);
                }
                Ok(())
            },
        )
        .map_err(refused)?;
        let spread = spread.finish();
        if !cli.json {
            say(&format!("{}\n{}", spread.title, spread.text(paint)))?;
        }
        all.push(spread);
    }
    if let (Some(path), Some(junit)) = (&args.junit, junit) {
        write_file(path, &junit.finish())?;
    }
    if let Some(path) = &args.html {
        write_file(path, &page::page(&all))?;
        tell(&format!("report {}", path.display()));
    }
    let held = all.iter().all(|one| one.held);
    if cli.json {
        print(cli, &serde_json::json!({ "held": held, "scenarios": all }), |_| String::new())?;
    }
    if held { Ok(()) } else { Err(VerbError::Exit(MISSED)) }
}

fn play(name: &Path, seed: u64, room: &Room) -> Result<Played, VerbError> {
    let began = std::time::Instant::now();
    let judgement = simulate(&read(name, Some(seed), &Where::Own)?, room, &Screen::silent())?.judgement;
    let (name_text, replay) = (name.display().to_string(), replay_line(name, Kind::Virtual, seed));
    Ok(Played { name: name_text, kind: Kind::Virtual, replay, judgement, took_s: began.elapsed().as_secs_f64() })
}
