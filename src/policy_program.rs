//! Policy programs as this package starts them: through a process of our own, which sets the program's limits, and ties it to
//! the life of whoever asks it.
//!
//! A program runs with the rights of whoever started `iso`. What is limited here keeps mistakes small; it is no sandbox.

mod guard;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use cdn_core::{
    Counter, Counters, Reason,
    routing::{ProgramOptions, Snapshot, Told},
};
use router::{Consultation, Program};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::Serialize;

use crate::{
    args::RunPolicyArgs,
    cluster::WasmRations,
    node::tie_to_parent,
    supervisor::own_program,
    talk::VerbError,
    wasm::{self, WasmModule},
};

/// What a program may use; nothing is limited that is not said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rations {
    /// Time of a processor.
    pub(crate) cpu: Option<Duration>,
    /// Memory, and the size of a file that it writes.
    pub(crate) memory_bytes: Option<u64>,
    /// What it says on stderr is dropped.
    pub(crate) is_quiet: bool,
    /// What it may use where it is WebAssembly.
    pub(crate) wasm: WasmRations,
}

/// Before the file of a policy in WebAssembly.
pub(crate) const WASM: &str = "wasm:";

/// The file of `line` where that is WebAssembly in `dir`.
pub(crate) fn wasm_of(line: &str, dir: Option<&Path>) -> Option<PathBuf> {
    let file = line.trim().strip_prefix(WASM)?;
    Some(dir.map_or_else(|| PathBuf::from(file), |dir| dir.join(file)))
}

/// What starts the command line `line` in `dir`, or serves that module.
pub(crate) fn command(line: &str, dir: Option<&Path>, rations: &Rations) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![own_program().into(), "run-policy".into()];
    let mut option = |name: &str, value: OsString| command.extend([OsString::from(name), value]);
    if let Some(dir) = dir {
        option("--dir", dir.into());
    }
    if let Some(cpu) = rations.cpu {
        option("--cpu-s", cpu.as_secs().max(1).to_string().into());
    }
    if let Some(bytes) = rations.memory_bytes {
        option("--memory-bytes", bytes.to_string().into());
    }
    if rations.is_quiet {
        command.push("--quiet".into());
    }
    let Some(file) = wasm_of(line, dir) else {
        command.extend(["--".into(), line.into()]);
        return command;
    };
    let mut option = |name: &str, value: OsString| command.extend([OsString::from(name), value]);
    option("--wasm", file.into());
    option("--fuel", rations.wasm.fuel.to_string().into());
    option("--wasm-memory-bytes", rations.wasm.memory_bytes.to_string().into());
    command
}

/// Runs the program, within its limits, and ends as it does.
///
/// # Errors
/// There is no shell, no such directory, or no module that can be served.
pub(crate) fn exec(args: &RunPolicyArgs) -> Result<(), VerbError> {
    let limit = |resource, most: Option<u64>| {
        if most.is_some() {
            let _ = setrlimit(resource, Rlimit { current: most, maximum: most });
        }
    };
    limit(Resource::Core, Some(0));
    limit(Resource::Cpu, args.cpu_s);
    limit(Resource::As, args.memory_bytes);
    limit(Resource::Fsize, args.memory_bytes);
    if let Some(file) = &args.wasm {
        let defaults = WasmRations::default();
        let rations = WasmRations {
            fuel: args.fuel.unwrap_or(defaults.fuel),
            memory_bytes: args.wasm_memory_bytes.unwrap_or(defaults.memory_bytes),
        };
        // It runs in this process and starts no other.
        tie_to_parent();
        let served = WasmModule::read(file, rations).and_then(|module| wasm::serve(&module));
        return served.map_err(|why| VerbError::Failed(anyhow::Error::msg(why)));
    }
    let line = args.line.as_deref().unwrap_or_default();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(line);
    if let Some(dir) = &args.dir {
        shell.current_dir(dir);
    }
    if args.quiet {
        shell.stderr(Stdio::null());
    }
    Err(VerbError::Failed(anyhow::Error::new(guard::run(shell)).context(format!("cannot start {line:?}"))))
}

/// A program that a study asks, with what came of it.
#[derive(Debug)]
pub(crate) struct Consulted {
    consultation: Consultation,
    counters: Arc<Counters>,
    /// When it is asked no more; nor is it after it has hung, where there is such a time.
    until: Option<Instant>,
}

/// What came of a program.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) questions: u64,
    pub(crate) answers: u64,
    pub(crate) nonsense: u64,
    pub(crate) unknown_pop: u64,
    pub(crate) hung: u64,
    pub(crate) died: u64,
    pub(crate) not_started: u64,
    /// The first of each kind that went wrong.
    pub(crate) first: BTreeMap<&'static str, String>,
    /// How fast it is depends on the machine, and is no result.
    #[serde(skip)]
    pub(crate) late: u64,
    #[serde(skip)]
    pub(crate) slowest: Duration,
}

impl Consulted {
    /// Asks `line`, which is started in `dir` when it is first needed. `time_max` is how long all its answers together may
    /// take, for one that nobody vouches for: that is then not asked again after it has hung.
    pub(crate) fn new(
        line: &str,
        dir: Option<PathBuf>,
        rations: &Rations,
        options: ProgramOptions,
        time_max: Option<Duration>,
    ) -> Self {
        // Virtual time stands still while it thinks, so that a slow machine comes to the same result.
        let options = ProgramOptions { uses_late: true, networks_max: usize::MAX, ..options };
        let counters = Arc::<Counters>::default();
        let program = Program { command: command(line, dir.as_deref(), rations), options };
        let until = time_max.map(|most| Instant::now() + most);
        Self { consultation: Consultation::new(program, Arc::clone(&counters)), counters, until }
    }

    /// What came of it so far.
    pub(crate) fn outcomes(&self) -> Outcomes {
        let counted = Outcomes::COUNTERS.map(|counter| (counter, self.counters.value(counter)));
        let first = self.consultation.faults().iter().filter(|(reason, _)| **reason != Reason::RouteProgramLate);
        Outcomes {
            first: first.map(|(reason, why)| (reason.as_str(), why.clone())).collect(),
            slowest: self.consultation.slowest(),
            ..Outcomes::counted(&counted.into())
        }
    }
}

/// Whether a program has hung and nobody ever had a word of it. To start it again and again would cost a run in virtual time
/// ten seconds of waiting for each first answer.
pub(crate) fn never_answers(counters: &Counters) -> bool {
    let said = [Counter::RouterProgramAnswers, Counter::RouterProgramNonsense, Counter::RouterProgramUnknownPop];
    counters.value(Counter::RouterProgramHung) > 0 && said.iter().all(|said| counters.value(*said) == 0)
}

impl simulator::Program for Consulted {
    fn round(&mut self, now: cdn_core::Instant, snapshot: &Snapshot) -> Told {
        let until = self.until;
        let is_over = move || until.is_some_and(|until| Instant::now() >= until);
        let has_hung = until.is_some() && self.counters.value(Counter::RouterProgramHung) > 0;
        if has_hung || never_answers(&self.counters) || is_over() {
            return Told { otherwise: Reason::RouteProgramHung, ..Told::default() };
        }
        self.consultation.round(now, snapshot, is_over)
    }
}

impl Outcomes {
    /// What says what came of a program.
    pub(crate) const COUNTERS: [Counter; 8] = [
        Counter::RouterProgramQuestions,
        Counter::RouterProgramAnswers,
        Counter::RouterProgramNonsense,
        Counter::RouterProgramUnknownPop,
        Counter::RouterProgramHung,
        Counter::RouterProgramDied,
        Counter::RouterProgramNotStarted,
        Counter::RouterProgramLate,
    ];

    /// Of what [`Self::COUNTERS`] say.
    pub(crate) fn counted(counters: &BTreeMap<Counter, u64>) -> Self {
        let value = |counter| counters.get(&counter).copied().unwrap_or_default();
        Self {
            questions: value(Counter::RouterProgramQuestions),
            answers: value(Counter::RouterProgramAnswers),
            nonsense: value(Counter::RouterProgramNonsense),
            unknown_pop: value(Counter::RouterProgramUnknownPop),
            hung: value(Counter::RouterProgramHung),
            died: value(Counter::RouterProgramDied),
            not_started: value(Counter::RouterProgramNotStarted),
            late: value(Counter::RouterProgramLate),
            ..Self::default()
        }
    }

    /// Both together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.questions += other.questions;
        self.answers += other.answers;
        self.nonsense += other.nonsense;
        self.unknown_pop += other.unknown_pop;
        self.hung += other.hung;
        self.died += other.died;
        self.not_started += other.not_started;
        self.late += other.late;
        self.slowest = self.slowest.max(other.slowest);
        for (kind, why) in other.first {
            self.first.entry(kind).or_insert(why);
        }
        self
    }

    /// Whether every question was answered with something that can be used.
    pub(crate) fn is_good(&self) -> bool {
        self.questions > 0 && self.answers == self.questions && self.not_started == 0
    }

    /// One line, of a program called `name`.
    pub(crate) fn text(&self, name: &str) -> String {
        let mut text = format!("{name}: {} questions, ", self.questions);
        if self.is_good() {
            text.push_str("all answered");
        } else if self.questions == 0 {
            text.push_str("so nobody was routed by it");
        } else {
            let _ = write!(text, "{} answered; others went by the lowest estimate", self.answers);
        }
        let kinds = [
            (self.nonsense, "lines that are no answer", Reason::RouteProgramNonsense),
            (self.unknown_pop, "answers with a PoP that is not there", Reason::RouteProgramUnknownPop),
            (self.hung, "times hung and was killed", Reason::RouteProgramHung),
            (self.died, "times died", Reason::RouteProgramDied),
            (self.not_started, "times not to be started", Reason::RouteProgramNotStarted),
        ];
        for (count, what, reason) in kinds.into_iter().filter(|(count, ..)| *count > 0) {
            let why = self.first.get(reason.as_str()).map(|why| format!(": {why}")).unwrap_or_default();
            let _ = write!(text, "; {count} {what} ({reason}{why})");
        }
        text
    }
}
