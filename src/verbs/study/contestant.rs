//! Who competes in a bake-off: policies of ours, and programs of others.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use cdn_core::routing::{PolicyKind, ProgramOptions};
use simulator::studies::routing::{Ground, Routed, RoutingStudy, Scheme, play, play_program};

use super::routing::schemes_of;
use crate::{
    cluster::WasmRations,
    policy_program::{Consulted, Outcomes, Rations, wasm_of},
    talk::VerbError,
    wasm::WasmModule,
};

/// Before the command line of a program.
const PROGRAM: &str = "program:";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    /// One of ours, or nobody.
    Scheme(Scheme),
    /// A program.
    Program {
        /// How it was named, [`PROGRAM`] included.
        named: String,
        /// Where it is started, if not here.
        dir: Option<PathBuf>,
    },
}

/// What came out for one of them with one seed.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) routed: Routed,
    /// What came of a program.
    pub(super) program: Option<Outcomes>,
}

impl Contestant {
    /// The name in tables.
    pub(super) fn label(&self) -> &str {
        match self {
            Self::Scheme(scheme) => scheme.as_str(),
            Self::Program { named, .. } => named,
        }
    }

    /// As what it is played.
    pub(super) const fn scheme(&self) -> Scheme {
        match self {
            Self::Scheme(scheme) => *scheme,
            Self::Program { .. } => Scheme::Policy(PolicyKind::Program),
        }
    }

    /// Plays the study with it.
    pub(super) fn play(&self, study: &RoutingStudy, ground: &Ground) -> Played {
        let Self::Program { named, dir } = self else {
            return Played { routed: play(study, ground, self.scheme()), program: None };
        };
        let line = named.strip_prefix(PROGRAM).unwrap_or(named);
        let mut consulted = Consulted::new(line, dir.clone(), &Rations::default(), ProgramOptions::default(), None);
        let routed = play_program(study, ground, &mut consulted);
        let outcomes = consulted.outcomes();
        // How fast it is depends on the machine and is no result, so it stands beside them.
        let _ = writeln!(
            std::io::stderr(),
            "{named}: slowest answer {:.1} ms, {} of {} later than {:?}",
            outcomes.slowest.as_secs_f64() * 1000.0,
            outcomes.late,
            outcomes.questions,
            ProgramOptions::default().deadline
        );
        Played { routed, program: Some(outcomes) }
    }
}

/// Policies by their names, `program:COMMAND` among them, and then the programs of `routers`; each once. Programs are started
/// in `dir`.
pub(super) fn contestants_of(names: &[String], routers: &[String], dir: &Path) -> Result<Vec<Contestant>, VerbError> {
    let mut contestants = Vec::new();
    let mut add = |contestant: Contestant| {
        if !contestants.contains(&contestant) {
            contestants.push(contestant);
        }
    };
    for name in names {
        match name.trim().strip_prefix(PROGRAM) {
            Some(line) => add(program(line, dir)?),
            None => schemes_of(std::slice::from_ref(name))?.into_iter().map(Contestant::Scheme).for_each(&mut add),
        }
    }
    routers.iter().try_for_each(|line| program(line, dir).map(&mut add))?;
    Ok(contestants)
}

/// A program. A module of WebAssembly is looked at before the work begins.
fn program(line: &str, dir: &Path) -> Result<Contestant, VerbError> {
    let dir = Some(dir).filter(|dir| !dir.as_os_str().is_empty());
    if line.trim().is_empty() {
        return Err(VerbError::Usage(format!("{line:?} names no program; write {PROGRAM}'python3 router.py'")));
    }
    if let Some(file) = wasm_of(line, dir) {
        let checked = WasmModule::read(&file, WasmRations::default()).and_then(|module| module.check_router());
        checked.map_err(VerbError::Usage)?;
    }
    Ok(Contestant::Program { named: format!("{PROGRAM}{line}"), dir: dir.map(Path::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_stand_beside_policies_and_each_competes_once() {
        let here = Path::new("");
        let names = ["latency", "program:python3 a.py", "latency"].map(str::to_owned);
        let all = contestants_of(&names, &["b".to_owned(), "python3 a.py".to_owned()], here).unwrap();
        let labels: Vec<&str> = all.iter().map(Contestant::label).collect();
        assert_eq!(labels, ["latency", "program:python3 a.py", "program:b"]);
        assert!(contestants_of(&["program: ".to_owned()], &[], here).is_err());
        assert!(contestants_of(&[], &[" ".to_owned()], here).is_err());
        assert!(contestants_of(&["latncy".to_owned()], &[], here).is_err());
    }
}
