//! Decisions told again, from the snapshots that are kept.
//!
//! A decision is named by all that it depends on, so nothing is remembered of it: the snapshot that its id names is asked
//! the same question again.

use cdn_core::{
    NodeId,
    routing::{DecisionId, ExplainOptions, Explanation, KeptOptions, KeptSnapshots, Snapshot, Subject},
};

use crate::sticky;

/// A decision that cannot be told again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// No decision of this router can have such an id.
    #[error("there is no decision {0:?} here")]
    Unknown(String),
    /// The router has started anew since, and knows nothing of what it knew then.
    #[error("decision {0:?} was made before this router started anew")]
    OtherRun(String),
    /// Its snapshot had to go.
    #[error(
        "snapshot {version}, from which decision {id:?} was made, is no longer kept; the oldest that is kept is {oldest}"
    )]
    Gone {
        /// The decision.
        id: String,
        /// The snapshot that it was made from.
        version: u64,
        /// The oldest that is kept.
        oldest: u64,
    },
}

/// What ids of this router's decisions begin with, and what they can be told from.
#[derive(Debug)]
pub(crate) struct Decisions {
    namer: Namer,
    kept: KeptSnapshots,
}

/// Gives decisions of one router their ids.
#[derive(Clone, Debug)]
pub(crate) struct Namer {
    router: String,
    run: u32,
}

impl Namer {
    /// For decisions of `router` in the run that began at `run`, in seconds since 1970.
    pub(crate) fn new(router: &NodeId, run: u32) -> Self {
        Self { router: router.name().to_owned(), run }
    }

    /// The id of a decision that supposes nothing and was held nowhere.
    pub(crate) fn id(&self, version: u64, subject: Subject) -> DecisionId {
        DecisionId::new(&self.router, self.run, version, subject)
    }
}

impl Decisions {
    pub(crate) const fn new(namer: Namer, options: KeptOptions) -> Self {
        Self { namer, kept: KeptSnapshots::new(options) }
    }

    /// Keeps `snapshot`; says how many older ones had to go.
    pub(crate) fn keep(&mut self, snapshot: &Snapshot) -> u64 {
        self.kept.keep(snapshot)
    }

    /// Forgets what was decided over other client networks than the present ones; says how many snapshots had to go.
    pub(crate) fn forget_other_maps(&mut self) -> u64 {
        self.kept.forget_other_maps()
    }

    /// Reads an id, and finds what its decision was made from. Telling it takes a while, and is left to the caller.
    pub(crate) fn find(&self, text: &str) -> Result<Replay, ReplayError> {
        let unknown = || ReplayError::Unknown(text.to_owned());
        let id = DecisionId::parse(&self.namer.router, text).ok_or_else(unknown)?;
        if id.run != self.namer.run {
            return Err(ReplayError::OtherRun(text.to_owned()));
        }
        match (self.kept.find(id.version), self.kept.versions()) {
            (Some(basis), _) => Ok(Replay { id, basis }),
            (None, Some((oldest, _))) if id.version < oldest && id.version > 0 => {
                Err(ReplayError::Gone { id: text.to_owned(), version: id.version, oldest })
            }
            (None, _) => Err(unknown()),
        }
    }
}

/// A decision that can be told again.
#[derive(Debug)]
pub(crate) struct Replay {
    id: DecisionId,
    basis: cdn_core::routing::Basis,
}

impl Replay {
    /// The decision, as it was.
    pub(crate) fn explain(&self) -> Result<Explanation, ReplayError> {
        let snapshot = self.basis.snapshot();
        let explained = explain(&snapshot, &self.id);
        explained.ok_or_else(|| ReplayError::Unknown(self.id.to_string()))
    }
}

/// The decision `id` of `snapshot`; `None` where it has no such host or edge.
pub(crate) fn explain(snapshot: &Snapshot, id: &DecisionId) -> Option<Explanation> {
    let DecisionId { subject, held, assume_drained, name, .. } = id;
    let host = snapshot.hosts().get(subject.host)?;
    let name = if name.is_empty() { &host.id } else { name };
    let options = ExplainOptions { assume_drained: assume_drained.clone(), turn: subject.turn };
    let mut explanation = snapshot.explain(subject.host, name, subject.client, subject.asked_by, &options);
    if let Some((pop, edge)) = held {
        let edge = &snapshot.pops().get(pop.index())?.edges.get(usize::from(*edge))?.id;
        sticky::hold(&mut explanation, snapshot.pops(), edge)?;
    }
    Some(explanation)
}
