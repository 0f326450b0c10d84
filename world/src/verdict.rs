//! Whether a run held what was expected of it.
//!
//! [`Judge`] takes in what was observed, in any order that is roughly that of time, and gives a [`Judgement`]: each
//! expectation against what was got, and the run second by second for charts. Pure: live and virtual runs are judged by
//! the same code. Refuses to know where observations come from and how a verdict is shown.

use std::time::Duration;

use cdn_core::{Instant, PopCode};

use crate::{
    observation::{Directory, Event, Observation},
    scenario::{Expectation, Scenario},
};

/// Judges one run.
#[derive(Debug)]
pub struct Judge {
    scenario: Scenario,
    directory: Directory,
}

impl Judge {
    /// A judge of a run of `scenario` in a world with these places and nodes.
    pub fn new(scenario: &Scenario, directory: &Directory) -> Self {
        Self { scenario: scenario.clone(), directory: directory.clone() }
    }

    /// Takes in a request that is over. Those that were meant for before time zero belong to the warm-up and do not
    /// count.
    pub fn observe(&mut self, observation: &Observation) {
        let _ = (observation, &self.directory);
    }

    /// Takes in something that happened.
    pub fn note(&mut self, event: &Event) {
        let _ = event;
    }

    /// The verdict on a run that ended at `end`.
    pub fn finish(self, end: Instant) -> Judgement {
        Judgement {
            title: self.scenario.title,
            seed: self.scenario.seed,
            length: end.saturating_since(Instant::ZERO),
            rows: Vec::new(),
            timeline: Vec::new(),
            seconds: Vec::new(),
            pops: Vec::new(),
        }
    }
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The scenario's title.
    pub title: String,
    /// Its seed.
    pub seed: u64,
    /// How long the run was, from time zero.
    pub length: Duration,
    /// One row per expectation, in the order of the scenario.
    pub rows: Vec<Row>,
    /// What happened, by time.
    pub timeline: Vec<Line>,
    /// The run, second by second.
    pub seconds: Vec<Second>,
    /// The PoPs that [`Second::pops`] counts, in its order.
    pub pops: Vec<PopCode>,
}

impl Judgement {
    /// Whether every expectation held.
    pub fn held(&self) -> bool {
        self.rows.iter().all(|row| row.held)
    }
}

/// An expectation, and what was got.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was expected.
    pub expectation: Expectation,
    /// What was got, in the unit of the expectation; `None` where there was nothing to look at, or it never came.
    pub got: Option<f64>,
    /// Whether it is as expected.
    pub held: bool,
    /// The second that says most about it.
    pub at: Option<Duration>,
    /// In words: how many, when, where, and at which hop.
    pub detail: String,
}

/// Something that happened, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When, from time zero.
    pub at: Duration,
    /// What sort of thing.
    pub mark: Mark,
    /// What.
    pub text: String,
}

/// Sorts of things that happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Something was broken or changed.
    Broken,
    /// It was made whole.
    Healed,
    /// The system did something about it.
    Moved,
    /// Anything else.
    Note,
}

/// One second of a run; requests belong to the second for which they were meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// Requests.
    pub requests: u64,
    /// Those that were not served.
    pub errors: u64,
    /// Answers from the store of an edge.
    pub hits: u64,
    /// Answers that a cache may have given.
    pub cacheable: u64,
    /// Requests that arrived at origins.
    pub origin_requests: u64,
    /// Requests that moved to a second origin.
    pub failovers: u64,
    /// Requests that another than the first address served.
    pub fell_back: u64,
    /// Nodes that some router judges to be down.
    pub nodes_down: u64,
    /// Median, 95th and 99th percentile and maximum of the latency of requests that were served, in seconds; absent where
    /// there were none.
    pub latency: Option<[f64; 4]>,
    /// Requests served, by PoP.
    pub pops: Vec<u64>,
}
