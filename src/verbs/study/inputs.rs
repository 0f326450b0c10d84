//! The files that a study names: where they are looked for, and the traces among them, which are read once however many runs
//! play them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use simulator::studies::cache::Trace;

use crate::trace_file;

/// Requests of a trace that a study keeps, of some 40 bytes each. `iso study replay` keeps none, and reads longer ones.
const REQUESTS_MAX: usize = 20_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    dir: PathBuf,
    traces: Mutex<BTreeMap<String, Arc<Trace>>>,
}

impl Inputs {
    /// Files that are named from `dir` on.
    pub(super) fn from(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), ..Self::default() }
    }

    /// Where files are looked for.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The trace in a file.
    ///
    /// # Errors
    /// It cannot be read, or is none. In words.
    pub(super) fn trace(&self, file: &str) -> Result<Arc<Trace>, String> {
        // Held while a trace is read: another run that wants it waits, and does not read it too.
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trace) = traces.get(file) {
            return Ok(Arc::clone(trace));
        }
        let trace = Arc::new(Trace::new(trace_file::read(&self.dir.join(file), REQUESTS_MAX)?));
        traces.insert(file.to_owned(), Arc::clone(&trace));
        Ok(trace)
    }
}
