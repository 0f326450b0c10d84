//! Counts per path: requests, bytes of bodies, answers by status.
//!
//! The number of paths is bounded; those that come when the table is full share one row, so that nobody can fill the
//! memory with made-up paths. Knows paths and numbers, nothing of requests.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cdn_core::{Counter, Counters};
use http::StatusCode;

/// The name of the row for paths that came when the table was full.
pub const OTHER_PATHS: &str = "(other)";

/// What one path was asked for and answered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PathCounters {
    /// The path without its query, or [`OTHER_PATHS`].
    pub path: String,
    /// Requests received.
    pub requests: u64,
    /// Bytes of bodies sent.
    pub bytes: u64,
    /// Answers by status. Requests that met no answer (reset, black hole, garbage, client gone) are in none.
    pub statuses: BTreeMap<u16, u64>,
}

#[derive(Debug)]
pub(crate) struct Tally {
    paths_max: usize,
    counters: Arc<Counters>,
    paths: Mutex<HashMap<Box<str>, Arc<PathTally>>>,
    other: Arc<PathTally>,
}

#[derive(Debug, Default)]
pub(crate) struct PathTally {
    requests: AtomicU64,
    bytes: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
}

impl Tally {
    pub(crate) fn new(paths_max: usize, counters: Arc<Counters>) -> Self {
        Self { paths_max, counters, paths: Mutex::default(), other: Arc::default() }
    }

    /// Counts a request for `path` and returns the row for what follows.
    pub(crate) fn handle_request(&self, path: &str) -> Arc<PathTally> {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let row = if let Some(row) = paths.get(path) {
            Arc::clone(row)
        } else if paths.len() < self.paths_max {
            Arc::clone(paths.entry(path.into()).or_default())
        } else {
            self.counters.bump(Counter::OriginPathsOverflowed);
            Arc::clone(&self.other)
        };
        drop(paths);
        row.requests.fetch_add(1, Ordering::Relaxed);
        row
    }

    /// All rows by path, the row of the overflow last and only if it was used.
    pub(crate) fn rows(&self) -> Vec<PathCounters> {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<_> = paths.iter().map(|(path, row)| row.counters(path)).collect();
        drop(paths);
        rows.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        let other = self.other.counters(OTHER_PATHS);
        rows.extend((other.requests > 0).then_some(other));
        rows
    }
}

impl PathTally {
    pub(crate) fn handle_status(&self, status: StatusCode) {
        *self.statuses.lock().unwrap_or_else(PoisonError::into_inner).entry(status.as_u16()).or_default() += 1;
    }

    pub(crate) fn handle_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn counters(&self, path: &str) -> PathCounters {
        PathCounters {
            path: path.into(),
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            statuses: self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_beyond_the_limit_share_a_row() {
        let counters = Arc::new(Counters::default());
        let tally = Tally::new(2, Arc::clone(&counters));
        for path in ["/b", "/a", "/b", "/c", "/d"] {
            let row = tally.handle_request(path);
            row.handle_status(StatusCode::OK);
            row.handle_bytes(10);
        }
        let rows: Vec<_> = tally.rows().into_iter().map(|row| (row.path, row.requests, row.bytes)).collect();
        assert_eq!(rows, [("/a".into(), 1, 10), ("/b".into(), 2, 20), (OTHER_PATHS.into(), 2, 20)]);
        assert_eq!(tally.rows()[1].statuses, BTreeMap::from([(200, 2)]));
        assert_eq!(counters.value(Counter::OriginPathsOverflowed), 2);
    }
}
