//! Snapshots that have been replaced, for as long as their decisions can be told again.
//!
//! Of each the facts are kept, which it shares with those before and after as far as they are the same; its answers, the
//! larger part, are worked out anew for who asks. The oldest go first.

use std::{collections::VecDeque, sync::Arc};

use super::{Snapshot, decide::Facts};

/// How much is kept; the newest always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptOptions {
    /// Snapshots. Default 1024: some two minutes where beacons make a new one ten times a second, and hours where nothing
    /// changes.
    pub snapshots_max: usize,
    /// Bytes, about: orders of measured networks, and maps of client networks that newer snapshots do not have any more.
    /// Default 8 MiB.
    pub bytes_max: usize,
}

impl Default for KeptOptions {
    fn default() -> Self {
        Self { snapshots_max: 1024, bytes_max: 8 << 20 }
    }
}

/// See the module.
#[derive(Debug)]
pub struct KeptSnapshots {
    options: KeptOptions,
    /// Oldest first, each with the bytes that go when it goes.
    kept: VecDeque<(Arc<Facts>, usize)>,
    bytes: usize,
}

/// What a snapshot was made of.
#[derive(Clone, Debug)]
pub struct Basis(Arc<Facts>);

impl KeptSnapshots {
    /// Nothing kept yet.
    pub const fn new(options: KeptOptions) -> Self {
        Self { options, kept: VecDeque::new(), bytes: 0 }
    }

    /// Keeps what `snapshot` was made of, which is newer than all that is kept; says how many older ones had to go.
    pub fn keep(&mut self, snapshot: &Snapshot) -> u64 {
        let facts = &snapshot.facts;
        // A map of client networks goes with the last snapshot that has it.
        if let Some((last, bytes)) = self.kept.back_mut()
            && !Arc::ptr_eq(&last.geo, &facts.geo)
        {
            let geo = last.geo.bytes() + last.rows_bytes();
            *bytes += geo;
            self.bytes += geo;
        }
        let bytes = facts.bytes();
        self.kept.push_back((Arc::clone(facts), bytes));
        self.bytes += bytes;
        self.forget_while(|kept| kept.kept.len() > kept.options.snapshots_max || kept.bytes > kept.options.bytes_max)
    }

    /// Forgets snapshots of other maps of client networks than the newest has; says how many. Another map is about to come,
    /// and two of them take room enough.
    pub fn forget_other_maps(&mut self) -> u64 {
        self.forget_while(|kept| match (kept.kept.front(), kept.kept.back()) {
            (Some((oldest, _)), Some((newest, _))) => !Arc::ptr_eq(&oldest.geo, &newest.geo),
            _ => false,
        })
    }

    /// Forgets the oldest, but for the newest, while `is_too_much`; says how many.
    fn forget_while(&mut self, is_too_much: impl Fn(&Self) -> bool) -> u64 {
        let mut gone = 0;
        while self.kept.len() > 1 && is_too_much(self) {
            let (_, bytes) = self.kept.pop_front().unzip();
            self.bytes -= bytes.unwrap_or(0);
            gone += 1;
        }
        gone
    }

    /// What the snapshot `version` was made of, if it is still kept.
    pub fn find(&self, version: u64) -> Option<Basis> {
        let at = self.kept.binary_search_by_key(&version, |(facts, _)| facts.version).ok()?;
        self.kept.get(at).map(|(facts, _)| Basis(Arc::clone(facts)))
    }

    /// The versions of the oldest and the newest that are kept.
    pub fn versions(&self) -> Option<(u64, u64)> {
        Some((self.kept.front()?.0.version, self.kept.back()?.0.version))
    }
}

impl Basis {
    /// The snapshot, as it was. Takes as long as it took to make.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::build(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Instant,
        geo::GeoMap,
        routing::{Planner, RoutingOptions},
    };

    fn planner() -> Planner {
        Planner::new(Instant::ZERO, RoutingOptions::default(), GeoMap::build([]), vec![], vec![])
    }

    fn versions(options: KeptOptions) -> Vec<u64> {
        let (mut planner, mut kept) = (planner(), KeptSnapshots::new(options));
        let gone: u64 = (0..10).map(|_| kept.keep(&planner.build_snapshot(Instant::ZERO))).sum();
        let found: Vec<u64> = (0..=11).filter(|&version| kept.find(version).is_some()).collect();
        assert_eq!(gone as usize + found.len(), 10);
        assert_eq!(kept.versions(), Some((found[0], 10)));
        found
    }

    #[test]
    fn the_newest_are_kept_by_number_and_by_bytes_and_the_last_one_always() {
        assert_eq!(versions(KeptOptions::default()), Vec::from_iter(1..=10));
        assert_eq!(versions(KeptOptions { snapshots_max: 3, ..KeptOptions::default() }), [8, 9, 10]);
        let bytes = planner().build_snapshot(Instant::ZERO).facts.bytes();
        assert_eq!(versions(KeptOptions { bytes_max: 2 * bytes, ..KeptOptions::default() }), [9, 10]);
        assert_eq!(versions(KeptOptions { snapshots_max: 0, bytes_max: 0 }), [10]);
    }

    #[test]
    fn a_map_of_networks_counts_once_it_is_an_old_one() {
        let mut planner = planner();
        let mut kept = KeptSnapshots::new(KeptOptions::default());
        kept.keep(&planner.build_snapshot(Instant::ZERO));
        let geo = planner.build_snapshot(Instant::ZERO).facts.geo.bytes();
        let before = kept.bytes;
        planner.set_geo(Instant::ZERO, GeoMap::build([]));
        let snapshot = planner.build_snapshot(Instant::ZERO);
        kept.keep(&snapshot);
        assert!(geo > 0);
        assert_eq!(kept.bytes, before + geo + snapshot.facts.bytes());
        assert_eq!((kept.forget_other_maps(), kept.versions()), (1, Some((3, 3))));
        assert_eq!((kept.bytes, kept.forget_other_maps()), (snapshot.facts.bytes(), 0));
    }
}
