//! What is seen of a run, the same whether it is played on real processes or in virtual time.
//!
//! One [`Observation`] per request of a load, as its user saw it; an [`Event`] for whatever else happens. Both speak of
//! places and nodes by their index in a [`Directory`], so that one costs no allocation. Refuses to know what is expected
//! of them: that is the [`Judge`](crate::Judge)'s.

use std::time::Duration;

use cdn_core::{Counter, Instant, NodeId, PopCode, Reason};

use crate::Place;

/// The places and nodes of a run, by index.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    places: Vec<Place>,
    nodes: Vec<Member>,
}

/// A node, and the PoP that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub id: NodeId,
    /// Its PoP, where it stands in one.
    pub pop: Option<PopCode>,
}

impl Directory {
    /// The places that viewers stand in, and all nodes.
    pub const fn new(places: Vec<Place>, nodes: Vec<Member>) -> Self {
        Self { places, nodes }
    }

    /// The places, by their index.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The nodes, by their index.
    pub fn nodes(&self) -> &[Member] {
        &self.nodes
    }

    /// The place with this index.
    pub fn place(&self, index: u32) -> Option<&Place> {
        self.places.get(usize::try_from(index).ok()?)
    }

    /// The node with this index.
    pub fn node(&self, index: u32) -> Option<&Member> {
        self.nodes.get(usize::try_from(index).ok()?)
    }

    /// The index of a node.
    pub fn index_of(&self, id: &NodeId) -> Option<u32> {
        self.nodes.iter().position(|member| member.id == *id).and_then(|at| u32::try_from(at).ok())
    }
}

/// One request of a load, once it is over. Times are the run's own, which begins with the warm-up: the timeline's time
/// zero is [`Scenario::zero`](crate::Scenario::zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it was meant to be made. Latency counts from here, so that a generator that falls behind does not hide what
    /// users would have seen (coordinated omission).
    pub intended: Instant,
    /// When it was made: earlier than this nothing of it had happened, not even the question to DNS.
    pub started: Instant,
    /// When its last byte had arrived, or it had failed for good.
    pub finished: Instant,
    /// Where its user is: an index into [`Directory::places`].
    pub place: u32,
    /// The PoP of the first address that it tried.
    pub asked: Option<PopCode>,
    /// When it tried it, which is later than when it was made by as long as names took; the latter where none was tried.
    pub asked_at: Instant,
    /// The PoP that answered.
    pub pop: Option<PopCode>,
    /// What came back.
    pub outcome: Outcome,
    /// What the edge's store had to do with it.
    pub cache: CacheOutcome,
    /// Why, in the answerer's word.
    pub reason: Reason,
    /// Bytes of the body that arrived.
    pub bytes: u64,
    /// Whether they were the right ones.
    pub integrity: Integrity,
    /// How often it was made: 1 without retries.
    pub attempts: u8,
    /// Whether another address than the first one of the answer served it.
    pub fell_back: bool,
    /// The load that it belongs to: an index into [`Scenario::loads`](crate::Scenario::loads).
    pub load: u16,
    /// The object asked for, by its number in that load: another load's object of this number may be another one.
    pub object: u64,
    /// When the origin made what was answered, at the latest; `None` where that is not known.
    pub made: Option<Instant>,
    /// What it showed to be let in.
    pub signature: Signature,
}

impl Observation {
    /// From when it was meant to be made to its last byte.
    pub fn latency(&self) -> Duration {
        self.finished.saturating_since(self.intended)
    }

    /// Whether its user got what a working service answers: any status below 500.
    pub const fn is_served(&self) -> bool {
        matches!(self.outcome, Outcome::Status(..500))
    }
}

/// What a request shows to be let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signature {
    /// Its load does not sign.
    #[default]
    Unasked,
    /// A good one.
    Good,
    /// One that has ended.
    Expired,
    /// One that the key has not made for what it says.
    Forged,
    /// None, although its load signs.
    Missing,
}

impl Signature {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Unasked, Self::Good, Self::Expired, Self::Forged, Self::Missing];
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response with this status, whole.
    Status(u16),
    /// No response, or part of one.
    Failed(Reason),
}

/// What the store of the edge had to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheOutcome {
    /// It was in the store, and fresh.
    Hit,
    /// It was in the store, and the origin confirmed it.
    RefreshHit,
    /// It was in the store, and served although stale.
    Stale,
    /// It came from the fetch of another request.
    Collapsed,
    /// It was fetched.
    Miss,
    /// The request is one that no cache may answer.
    Pass,
    /// The edge made up the answer because something failed, or nobody answered.
    Error,
}

impl CacheOutcome {
    /// All, in the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::RefreshHit, Self::Stale, Self::Collapsed, Self::Miss, Self::Pass, Self::Error];

    /// A word for tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::RefreshHit => "refresh hit",
            Self::Stale => "stale",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Error => "error",
        }
    }

    /// Whether a cache may give such an answer.
    pub const fn is_cacheable(self) -> bool {
        !matches!(self, Self::Pass | Self::Error)
    }

    /// Whether the body was in the store, or on its way into it, when it was asked for.
    pub const fn is_hit(self) -> bool {
        matches!(self, Self::Hit | Self::RefreshHit | Self::Stale | Self::Collapsed)
    }
}

/// Whether bytes were the right ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// They are what the origin has for this object.
    Right,
    /// They are not.
    Wrong,
    /// Nobody looked.
    Unchecked,
}

/// Something that happened beside requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// What happened. Nodes are indexes into [`Directory::nodes`].
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A step of the timeline took effect, by its index in the scenario; the judge reads from it what is broken now.
    Step {
        /// Index into the scenario's steps.
        step: usize,
    },
    /// Something broken ended: by itself, or by a heal. Several may end with one step.
    Healed {
        /// The nodes that it had hit; empty for a link.
        nodes: Vec<u32>,
        /// In words: `kill edge.fra`.
        what: String,
    },
    /// A router judges a node to be down.
    Detected {
        /// The node.
        node: u32,
        /// The router.
        by: u32,
    },
    /// A router judges a node to be up again.
    Recovered {
        /// The node.
        node: u32,
        /// The router.
        by: u32,
    },
    /// Requests arrived at an origin since the last such event.
    OriginRequests {
        /// The origin.
        origin: u32,
        /// How many.
        count: u64,
    },
    /// Requests moved to the second origin of a group since the last such event.
    FailedOver {
        /// The edge or shield that did it.
        node: u32,
        /// How many.
        count: u64,
    },
    /// An invalidation was accepted.
    InvalidationAccepted {
        /// Its number.
        id: u64,
        /// What it covers.
        objects: Covered,
    },
    /// Every node that runs has carried it out.
    InvalidationDone {
        /// Its number.
        id: u64,
    },
    /// The value of a counter or gauge of a node. A node that was started anew counts from zero. What a counter says up to
    /// time zero is where its growth counts from.
    Counter {
        /// The node.
        node: u32,
        /// Which.
        counter: Counter,
        /// Its value.
        value: u64,
    },
    /// Worth a line of the timeline, and nothing else.
    Note(String),
}

/// The objects that an invalidation covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covered {
    /// All.
    All,
    /// These, ascending, by load and number.
    Objects(Vec<(u16, u64)>),
}

impl Covered {
    /// Whether an object of a load is among them.
    pub fn contains(&self, load: u16, object: u64) -> bool {
        match self {
            Self::All => true,
            Self::Objects(objects) => objects.binary_search(&(load, object)).is_ok(),
        }
    }
}
