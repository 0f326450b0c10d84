//! A decision log read again: the same is told to fresh machines, and what they say is held against what was said.

use std::{collections::BTreeMap, fmt, sync::Arc};

use cdn_core::{
    Counters, Instant, cache_key::KeySeed, distribution::Distribution, parent_health::ParentHealth, store::CacheShard,
};

use super::{
    call::Player,
    digest,
    wire::{Began, Line, LineError},
};
use crate::object::Object;

/// What came of making decisions again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Decisions that were made again.
    pub decisions: u64,
    /// Those that came out otherwise.
    pub differing: u64,
    /// Those that could not be made again, because something that they were made of is not in the log.
    pub lost: u64,
}

impl Tally {
    /// The sum of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            decisions: self.decisions + other.decisions,
            differing: self.differing + other.differing,
            lost: self.lost + other.lost,
        }
    }
}

/// What came of a whole log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Of the store: what it answered to requests, what it did with responses, and how long those may be used.
    pub cache: Tally,
    /// Of the way to origins: each step through a group, and whether a cache between was worth asking.
    pub origin: Tally,
    /// The first that came out otherwise.
    pub first: Option<String>,
}

/// Reads a log of one node line by line ([`line`](Self::line)). What another process of the same node has written into the
/// same file begins anew.
#[derive(Debug)]
pub struct Replay {
    /// What may have been served, by digest.
    known: BTreeMap<String, Arc<Distribution>>,
    run: Option<Run>,
    replayed: Replayed,
}

/// The machines of one process.
#[derive(Debug)]
struct Run {
    seed: KeySeed,
    /// By number; `None` where it is not known here.
    served: Vec<Option<Arc<Distribution>>>,
    shards: Vec<Sequence<CacheShard<Object>>>,
    parents: Vec<Sequence<ParentHealth>>,
    body: Object,
}

/// A machine whose state comes from all that it was ever told.
#[derive(Debug)]
struct Sequence<M> {
    machine: M,
    /// The number of what it is told next; `None` once something is missing.
    next: Option<u64>,
}

impl<M> Sequence<M> {
    const fn new(machine: M) -> Self {
        Self { machine, next: Some(0) }
    }

    /// The machine, where this is its turn.
    fn at(&mut self, turn: u64) -> Result<&mut M, LineError> {
        self.next = self.next.filter(|&next| next == turn).map(|next| next + 1);
        if self.next.is_some() { Ok(&mut self.machine) } else { Err(LineError::Gap) }
    }

    /// It was not told something that it should have been.
    const fn has_missed(&mut self) {
        self.next = None;
    }
}

/// Whose decision that was.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Cache,
    Origin,
}

impl Replay {
    /// For the log of a node that may have served these.
    pub fn new(distributions: impl IntoIterator<Item = Arc<Distribution>>) -> Self {
        let known = distributions.into_iter().map(|distribution| (digest(&distribution), distribution)).collect();
        Self { known, run: None, replayed: Replayed::default() }
    }

    /// What has come of it so far.
    pub const fn replayed(&self) -> &Replayed {
        &self.replayed
    }

    /// Takes the next line, without its end.
    pub fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        match serde_json::from_slice(line) {
            Ok(Line::Began(began)) => self.run = Run::new(&began),
            Ok(Line::Distribution { number, digest }) => {
                let known = self.known.get(&digest).cloned();
                let Some(run) = &mut self.run else { return };
                // One whose line was left out is not known.
                run.served.resize(number, None);
                run.served.push(known);
            }
            Ok(Line::Store { shard, turn, at, call, said }) => {
                let again = self.run.as_mut().ok_or(LineError::Gap).and_then(|run| {
                    let sequence = run.shards.get_mut(shard).ok_or(LineError::Unreadable)?;
                    let (seed, now) = (run.seed, Instant::from_nanos(at));
                    let shard = sequence.at(turn)?;
                    let again = call.play(&mut Player { now, seed, served: &run.served, shard, body: &run.body });
                    if again.is_err() {
                        sequence.has_missed();
                    }
                    again
                });
                // What has no answer decides nothing, unless there is one now.
                if said.is_empty() && again.as_deref() == Ok("") {
                    return;
                }
                self.hold(Kind::Cache, &call, &said, again);
            }
            Ok(Line::Arrival { arrival, said }) => {
                let again = self.run.as_ref().ok_or(LineError::Gap).and_then(|run| arrival.judge(&run.served));
                self.hold(Kind::Cache, &arrival, &said, again);
            }
            Ok(Line::Way(way)) => {
                let again = self.run.as_ref().ok_or(LineError::Gap).and_then(|run| way.play(&run.served));
                for (at, said) in way.steps.iter().enumerate() {
                    let again = again.as_ref().map_err(|&error| error);
                    let step = again.map(|steps| steps.get(at).cloned().unwrap_or_default());
                    self.hold(Kind::Origin, &(at, &way), said, step);
                }
            }
            Ok(Line::Parent { parent, turn, at, call, said }) => {
                let again = self.run.as_mut().ok_or(LineError::Gap).and_then(|run| {
                    let sequence = run.parents.get_mut(parent).ok_or(LineError::Unreadable)?;
                    Ok(call.play(Instant::from_nanos(at), sequence.at(turn)?))
                });
                if said.is_none() && again == Ok(None) {
                    return;
                }
                let again = again.map(|again| format!("{again:?}"));
                self.hold(Kind::Origin, &(parent, call), &format!("{said:?}"), again);
            }
            // The process ended within it.
            Err(_) => self.replayed.cache.lost += 1,
        }
    }

    fn hold(&mut self, kind: Kind, what: &dyn fmt::Debug, said: &str, again: Result<String, LineError>) {
        let tally = match kind {
            Kind::Cache => &mut self.replayed.cache,
            Kind::Origin => &mut self.replayed.origin,
        };
        match again {
            Err(_) => tally.lost += 1,
            Ok(again) => {
                tally.decisions += 1;
                if again != said {
                    tally.differing += 1;
                    self.replayed.first.get_or_insert_with(|| format!("{what:?}: said {said:?}, again {again:?}"));
                }
            }
        }
    }
}

impl Run {
    /// `None` where the settings are of another version.
    fn new(began: &Began) -> Option<Self> {
        let (seed, settings) = (began.seed()?, began.settings()?);
        let counters = Arc::<Counters>::default();
        let shard = |_| Sequence::new(CacheShard::new(settings, seed, Arc::clone(&counters)));
        Some(Self {
            seed,
            served: Vec::new(),
            shards: (0..began.shards).map(shard).collect(),
            parents: (0..began.parents).map(|_| Sequence::new(ParentHealth::default())).collect(),
            body: Object::whole(Vec::new()),
        })
    }
}
