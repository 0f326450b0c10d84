//! A routing policy that is a program: asked line by line on its stdin, answering on its stdout.
//!
//! [`Consultation`] puts one question at a time and waits for its answer, within limits; it starts the program when it is first
//! needed, and again when it has ended. A router does so on a thread of its own and ahead of time ([`spawn`]), so that no
//! client ever waits for a program; a study does so while virtual time stands still.

mod process;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use cdn_core::{
    Counter, Counters, Instant, PopCode, Reason,
    routing::{ProgramOptions, Question, Restarts, Snapshot, Told, Word},
};
use tokio_util::sync::CancellationToken;

use self::process::{Failure, Process};
use crate::control::Control;

/// An interpreter takes its time to start; the first answer after a start may take so many times the patience, and is
/// not late.
const START_PATIENCE: u32 = 10;

/// How often a router's thread looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// A program, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What is started, and its arguments. It gets a process group of its own, all of which is killed when it is over.
    pub command: Vec<OsString>,
    /// Its limits.
    pub options: ProgramOptions,
}

/// A program that is asked round by round. See the module.
#[derive(Debug)]
pub struct Consultation {
    program: Program,
    counters: Arc<Counters>,
    process: Option<Process>,
    restarts: Restarts,
    /// Why nothing is said while no process runs.
    fault: Reason,
    /// Faults since the program was started, so that each is logged once.
    told_of: BTreeSet<Reason>,
    /// The first fault of each kind, with what it was.
    faults: BTreeMap<Reason, String>,
    slowest: Duration,
}

impl Consultation {
    /// Starts nothing yet. What happens is counted in `counters`.
    pub fn new(program: Program, counters: Arc<Counters>) -> Self {
        Self {
            restarts: Restarts::new(&program.options),
            program,
            counters,
            process: None,
            fault: Reason::RouteProgramSilent,
            told_of: BTreeSet::new(),
            faults: BTreeMap::new(),
            slowest: Duration::ZERO,
        }
    }

    /// Asks about every client network of `snapshot`, and waits for what is said. Where it dies or hangs half way, nothing
    /// that it said in this round counts. `is_stopped` is looked at between questions.
    pub fn round(&mut self, now: Instant, snapshot: &Snapshot, is_stopped: impl Fn() -> bool) -> Told {
        let options = self.program.options.clone();
        if self.process.is_none() && !self.start(now) {
            return Told { otherwise: self.fault, ..Told::default() };
        }
        let beyond = snapshot.networks().saturating_sub(options.networks_max);
        self.counters.add(Counter::RouterProgramNetworksMax, beyond as u64);
        let pops: BTreeSet<PopCode> = snapshot.pops().iter().map(|pop| pop.code).collect();
        let mut told = Told::default();
        let mut wasted = Duration::ZERO;
        for question in snapshot.questions().take(options.networks_max) {
            if is_stopped() {
                break;
            }
            // One that is late every time must not keep the others' answers back for minutes.
            if wasted > options.patience {
                let why = format!("{} questions took {wasted:?} beyond the deadline", told.by_network.len());
                if options.uses_late {
                    return self.end(now, Reason::RouteProgramHung, why);
                }
                told.otherwise = Reason::RouteProgramLate;
                break;
            }
            let client = question.client;
            match self.ask(&question, &pops) {
                Ok((word, took)) => {
                    let late = took.saturating_sub(options.deadline);
                    wasted += late;
                    let is_lost = !late.is_zero() && !options.uses_late;
                    let word = if is_lost { Word::Fault(Reason::RouteProgramLate) } else { word };
                    told.by_network.insert(client, word);
                }
                Err(failure) => {
                    let (reason, why) = match failure {
                        Failure::Ended(status) => (Reason::RouteProgramDied, status),
                        Failure::Silent => {
                            (Reason::RouteProgramHung, format!("no answer within {:?}", options.patience))
                        }
                        Failure::Endless => (
                            Reason::RouteProgramNonsense,
                            format!("a line of more than {} bytes", options.line_bytes_max),
                        ),
                    };
                    return self.end(now, reason, why);
                }
            }
        }
        told
    }

    /// The longest time that an answer took, but for those after a start.
    pub const fn slowest(&self) -> Duration {
        self.slowest
    }

    /// What went wrong, and of each kind the first.
    pub const fn faults(&self) -> &BTreeMap<Reason, String> {
        &self.faults
    }

    /// One question and its answer, with the time that took.
    fn ask(&mut self, question: &Question, pops: &BTreeSet<PopCode>) -> Result<(Word, Duration), Failure> {
        let Some(process) = &mut self.process else { return Err(Failure::Silent) };
        let ProgramOptions { deadline, patience, line_bytes_max, .. } = self.program.options;
        let is_first = process.answers() == 0;
        let patience = if is_first { patience * START_PATIENCE } else { patience };
        self.counters.bump(Counter::RouterProgramQuestions);
        let began = std::time::Instant::now();
        let (line, is_alone) = process.ask(&wire::question(question), patience, line_bytes_max)?;
        let took = if is_first { Duration::ZERO } else { began.elapsed() };
        let word = if is_alone { wire::answer(&line) } else { None };
        let shown = || String::from_utf8_lossy(line.get(..200).unwrap_or(&line)).into_owned();
        let word = match word {
            None => {
                self.fault(Reason::RouteProgramNonsense, || {
                    let more = if is_alone { "" } else { ", and more than one line" };
                    format!("{:?}{more}", shown())
                });
                Word::Fault(Reason::RouteProgramNonsense)
            }
            Some(Err(name)) => {
                self.fault(Reason::RouteProgramUnknownPop, || name);
                Word::Fault(Reason::RouteProgramUnknownPop)
            }
            Some(Ok(codes)) => match codes.iter().find(|code| !pops.contains(code)) {
                Some(stranger) => {
                    self.fault(Reason::RouteProgramUnknownPop, || stranger.lower());
                    Word::Fault(Reason::RouteProgramUnknownPop)
                }
                None => {
                    self.counters.bump(Counter::RouterProgramAnswers);
                    Word::Order(codes)
                }
            },
        };
        self.slowest = self.slowest.max(took);
        if took > deadline {
            self.fault(Reason::RouteProgramLate, || format!("{took:.1?} for {}", question.client));
        }
        Ok((word, took))
    }

    /// Starts the program if it may be started; whether it runs.
    fn start(&mut self, now: Instant) -> bool {
        if !self.restarts.is_due(now) {
            return false;
        }
        self.restarts.handle_start(now);
        self.counters.bump(Counter::RouterProgramStarts);
        match Process::start(&self.program.command) {
            Ok(process) => {
                self.process = Some(process);
                self.counters.set(Counter::RouterProgramRunning, 1);
                true
            }
            Err(error) => {
                self.end(now, Reason::RouteProgramNotStarted, error.to_string());
                false
            }
        }
    }

    /// It is over with this process. Everybody goes by the lowest estimate until there is another.
    fn end(&mut self, now: Instant, reason: Reason, why: String) -> Told {
        self.process = None;
        self.counters.set(Counter::RouterProgramRunning, 0);
        self.fault(reason, || why);
        let wait = self.restarts.handle_end(now, &self.program.options);
        tracing::info!(?wait, "the policy program will be started again");
        self.told_of.clear();
        self.fault = reason;
        Told { otherwise: reason, ..Told::default() }
    }

    /// Counts a fault, and keeps the first of its kind.
    fn fault(&mut self, reason: Reason, why: impl FnOnce() -> String) {
        self.counters.bump(match reason {
            Reason::RouteProgramLate => Counter::RouterProgramLate,
            Reason::RouteProgramUnknownPop => Counter::RouterProgramUnknownPop,
            Reason::RouteProgramHung => Counter::RouterProgramHung,
            Reason::RouteProgramDied => Counter::RouterProgramDied,
            Reason::RouteProgramNotStarted => Counter::RouterProgramNotStarted,
            _ => Counter::RouterProgramNonsense,
        });
        if self.told_of.insert(reason) {
            let why = why();
            tracing::warn!(%reason, why, "the policy program");
            self.faults.entry(reason).or_insert(why);
        }
    }
}

/// Asks a router's program again and again, and has the router answer as it says, until `stop`.
///
/// # Errors
/// The system starts no thread.
pub(crate) fn spawn(control: Arc<Control>, program: Program, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
    let follow = move || {
        let (first, interval) = (program.options.first(), program.options.interval);
        let mut consultation = Consultation::new(program, Arc::clone(&control.counters));
        let mut next = control.now() + first;
        while !stop.is_cancelled() {
            let now = control.now();
            if now < next {
                thread::sleep(LOOK.min(next - now));
                continue;
            }
            next = now + interval;
            let published = control.published();
            if !published.snapshot.asks_program() {
                continue;
            }
            let told = consultation.round(now, &published.snapshot, || stop.is_cancelled());
            drop(published);
            if !stop.is_cancelled() {
                control.set_told(told);
            }
        }
    };
    thread::Builder::new().name("program".into()).spawn(follow)
}
