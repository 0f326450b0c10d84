//! Whether a run held what was expected of it.
//!
//! [`Judge`] takes in what was observed, in roughly the order of time, and gives a [`Judgement`]: each expectation
//! against what was got, and the run second by second for charts. Pure: live and virtual runs are judged by the same
//! code. Refuses to know where observations come from and how a verdict is shown.

pub mod agreement;
mod broken;
mod offences;
mod tracker;
pub mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cdn_core::{Counter, Instant, PopCode, Reason, Role};
use hdrhistogram::Histogram;

pub use self::broken::healed_at;
pub(crate) use self::broken::{Break, breaks};
use self::{
    broken::Ledger,
    tracker::{Ending, Seen, Tracker, histogram, record},
    words::{clock, count},
};
use crate::{
    invariant::Breach,
    observation::{CacheOutcome, Covered, Directory, Event, EventKind, Integrity, Observation},
    scenario::{Action, Area, Expectation, Scenario, What},
};

/// A run that is longer than so many seconds is charted in longer steps.
const STEPS_MAX: u64 = 1800;

/// Judges one run.
#[derive(Debug)]
pub struct Judge {
    scenario: Scenario,
    directory: Directory,
    zero: Instant,
    /// PoPs that answer viewers, ascending.
    pops: Vec<PopCode>,
    trackers: Vec<Tracker>,
    /// Of [`Scenario::told`], by node the last value, and how much each grew.
    last: BTreeMap<(Counter, u32), u64>,
    told: BTreeMap<Counter, u64>,
    ledger: Ledger,
    step: Duration,
    bins: Vec<Bin>,
    totals: Totals,
    latency: Histogram<u64>,
    invalidations: BTreeMap<u64, Invalidation>,
    down: BTreeSet<u32>,
    /// How many were down since when.
    downs: Vec<(Duration, u64)>,
    timeline: Vec<Line>,
    /// Lines that say what happened meanwhile, by their index, with the fault that they speak of.
    meanwhiles: Vec<(usize, usize)>,
}

/// One step of the charts, while it is filled.
#[derive(Debug)]
struct Bin {
    sums: Second,
    latency: Histogram<u32>,
}

#[derive(Debug)]
struct Invalidation {
    accepted: Instant,
    done: Option<Instant>,
    objects: Covered,
}

impl Judge {
    /// A judge of a run of `scenario` in a world with these places and nodes. Wrong bytes are judged whether or not the
    /// scenario says so.
    pub fn new(scenario: &Scenario, directory: &Directory) -> Self {
        let mut pops: Vec<PopCode> = directory
            .nodes()
            .iter()
            .filter(|member| member.id.role() == Role::Edge)
            .filter_map(|member| member.pop)
            .collect();
        pops.sort_unstable();
        pops.dedup();
        let seconds = scenario.length.as_secs() + u64::from(scenario.length.subsec_nanos() > 0);
        let step = Duration::from_secs(seconds.div_ceil(STEPS_MAX).max(1));
        let always = Expectation {
            what: What::WrongBytes,
            from: Area::World,
            pop: None,
            node: None,
            after: Duration::ZERO,
            before: None,
            min: None,
            max: None,
            equals: Some(0.0),
            line: 0,
        };
        let is_said = scenario.expectations.iter().any(|said| Expectation { line: 0, ..said.clone() } == always);
        let expectations = scenario.expectations.iter().chain((!is_said).then_some(&always));
        Self {
            zero: scenario.zero(),
            trackers: expectations.map(|expectation| Tracker::new(expectation, directory)).collect(),
            last: BTreeMap::new(),
            told: scenario.told.iter().map(|counter| (*counter, 0)).collect(),
            ledger: Ledger::default(),
            step,
            bins: Vec::new(),
            totals: Totals { pops: vec![0; pops.len()], ..Totals::default() },
            latency: histogram(),
            invalidations: BTreeMap::new(),
            down: BTreeSet::new(),
            downs: Vec::new(),
            timeline: Vec::new(),
            meanwhiles: Vec::new(),
            pops,
            scenario: scenario.clone(),
            directory: directory.clone(),
        }
    }

    /// Takes in a request that is over. Those that were meant for before time zero belong to the warm-up and do not
    /// count.
    pub fn observe(&mut self, observation: &Observation) {
        if observation.intended < self.zero {
            return;
        }
        let at = observation.intended.saturating_since(self.zero);
        let seen = Seen {
            at,
            second: u32::try_from(at.as_secs()).unwrap_or(u32::MAX),
            latency_us: u64::try_from(observation.latency().as_micros()).unwrap_or(u64::MAX),
            served: observation.is_served(),
            stale: !self.invalidations.is_empty() && self.predates_an_invalidation(observation),
        };
        let pop = observation.pop.and_then(|pop| self.pops.binary_search(&pop).ok());
        self.totals.add(observation, &seen, pop);
        if seen.served {
            record(&mut self.latency, seen.latency_us);
        }
        if let Some(bin) = self.bin_at(at) {
            bin.sums.add(observation, &seen, pop);
            if seen.served {
                record(&mut bin.latency, seen.latency_us);
            }
        }
        for tracker in &mut self.trackers {
            tracker.observe(observation, &seen, &self.ledger);
        }
    }

    /// Takes in something that happened.
    pub fn note(&mut self, event: &Event) {
        let at = event.at.saturating_since(self.zero);
        let in_time = event.at >= self.zero;
        match &event.kind {
            EventKind::Step { step } => {
                if let Some(step) = self.scenario.steps.get(*step) {
                    self.ledger.step(event.at, step, &self.directory);
                    let mark = mark_of(&step.action);
                    self.timeline.push(Line { at, mark, text: step.text.clone() });
                }
            }
            EventKind::Healed { what, .. } => {
                self.timeline.push(Line { at, mark: Mark::Healed, text: format!("healed: {what}") });
            }
            EventKind::Detected { node, by } if self.down.insert(*node) => {
                let mut text = format!("{} judged down by {}", self.name(*node), self.name(*by));
                if let Some(index) = self.broken_at(*node) {
                    text.push_str(&self.meanwhile(index, at, at));
                    self.meanwhiles.push((self.timeline.len(), index));
                }
                self.timeline.push(Line { at, mark: Mark::Moved, text });
                self.downs.push((at, self.down.len() as u64));
            }
            EventKind::Detected { .. } => {}
            EventKind::Recovered { node, by } => {
                if self.down.remove(node) {
                    let text = format!("{} judged up by {}", self.name(*node), self.name(*by));
                    self.timeline.push(Line { at, mark: Mark::Moved, text });
                    self.downs.push((at, self.down.len() as u64));
                }
            }
            EventKind::OriginRequests { count, .. } if in_time => {
                self.totals.origin_requests += count;
                if let Some(bin) = self.bin_at(at) {
                    bin.sums.origin_requests += count;
                }
            }
            EventKind::FailedOver { count, .. } if in_time => {
                self.totals.failovers += count;
                if let Some(bin) = self.bin_at(at) {
                    bin.sums.failovers += count;
                }
            }
            EventKind::InvalidationAccepted { id, objects } => {
                let invalidation = Invalidation { accepted: event.at, done: None, objects: objects.clone() };
                self.invalidations.insert(*id, invalidation);
            }
            EventKind::InvalidationDone { id } => {
                if let Some(invalidation) = self.invalidations.get_mut(id)
                    && invalidation.done.is_none()
                {
                    invalidation.done = Some(event.at);
                    let took = event.at.saturating_since(invalidation.accepted).as_secs_f64();
                    let text = format!("invalidation done everywhere after {took:.1} s");
                    self.timeline.push(Line { at, mark: Mark::Moved, text });
                }
            }
            EventKind::Note(text) if in_time => {
                self.timeline.push(Line { at, mark: Mark::Note, text: text.clone() });
            }
            EventKind::Counter { node, counter, value } => {
                // What a node had counted when it was first looked at before time zero, it had before the run. A value below
                // the last one is that of a process that was started anew.
                let grew = match self.last.insert((*counter, *node), *value) {
                    Some(last) => value.checked_sub(last).unwrap_or(*value),
                    None if in_time => *value,
                    None => 0,
                };
                if let Some(told) = self.told.get_mut(counter) {
                    *told += grew;
                }
            }
            EventKind::OriginRequests { .. } | EventKind::FailedOver { .. } | EventKind::Note(_) => {}
        }
        for tracker in &mut self.trackers {
            tracker.note(event, self.zero, &self.ledger, &self.directory);
        }
    }

    /// What happened so far, for whoever shows a run as it goes on.
    pub fn timeline(&self) -> &[Line] {
        &self.timeline
    }

    /// What was added up so far.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The verdict on a run that ended at `end`.
    pub fn finish(mut self, end: Instant) -> Judgement {
        let length = end.saturating_since(self.zero);
        let last = usize::try_from(length.as_nanos() / self.step.as_nanos()).unwrap_or(usize::MAX);
        if length > Duration::ZERO && last < usize::try_from(STEPS_MAX).unwrap_or(usize::MAX) * 2 {
            let whole = length.as_nanos().is_multiple_of(self.step.as_nanos());
            let _ = self.bin_at(self.step * u32::try_from(last - usize::from(whole && last > 0)).unwrap_or(0));
        }
        // By now those are over that were under way when a router noticed.
        for (line, index) in std::mem::take(&mut self.meanwhiles) {
            let healed = self.ledger.all().get(index).and_then(|broken| broken.healed);
            let until = healed.map_or(length, |healed| healed.saturating_since(self.zero));
            let Some(at) = self.timeline.get(line).map(|line| line.at) else { continue };
            let text = self.meanwhile(index, at, until);
            if let Some(line) = self.timeline.get_mut(line)
                && let Some((what, _)) = line.text.split_once(", ")
            {
                line.text = format!("{what}{text}");
            }
        }
        let ending = Ending { zero: self.zero, end, ledger: &self.ledger, directory: &self.directory };
        let rows = self.trackers.into_iter().map(|tracker| tracker.finish(&ending)).collect();
        let bands = self.ledger.all().iter().map(|broken| Band {
            from: broken.at.saturating_since(self.zero),
            to: broken.healed.map_or(length, |healed| healed.saturating_since(self.zero).min(length)),
            text: broken.text.clone(),
        });
        for (index, bin) in self.bins.iter_mut().enumerate() {
            let until = self.step * u32::try_from(index + 1).unwrap_or(u32::MAX);
            let last = self.downs.iter().rev().find(|(at, _)| *at < until);
            bin.sums.nodes_down = last.map_or(0, |(_, down)| *down);
        }
        self.totals.latency = quantiles(&self.latency);
        self.timeline.sort_by_key(|line| line.at);
        Judgement {
            title: self.scenario.title.clone(),
            about: self.scenario.about.clone(),
            seed: self.scenario.seed,
            length,
            rows,
            timeline: self.timeline,
            bands: bands.collect(),
            step: self.step,
            seconds: self.bins.into_iter().map(Bin::finish).collect(),
            pops: self.pops,
            totals: self.totals,
            told: self.told,
        }
    }

    fn name(&self, node: u32) -> String {
        self.directory.node(node).map_or_else(|| "a node that nobody knows".to_owned(), |member| member.id.to_string())
    }

    /// The last fault that hit a node, by its index.
    fn broken_at(&self, node: u32) -> Option<usize> {
        let member = self.directory.node(node)?;
        self.ledger.all().iter().rposition(|broken| broken.nodes.contains(&member.id))
    }

    /// How long after a fault `at` is, and what happened to requests from then until `until`.
    fn meanwhile(&self, index: usize, at: Duration, until: Duration) -> String {
        let Some(broken) = self.ledger.all().get(index) else { return String::new() };
        let since = broken.at.saturating_since(self.zero);
        let index = |at: Duration| usize::try_from(at.as_nanos() / self.step.as_nanos()).unwrap_or(usize::MAX);
        let bins = self.bins.iter().take(index(until).saturating_add(1)).skip(index(since));
        let (fell_back, errors) =
            bins.fold((0, 0), |(fell_back, errors), bin| (fell_back + bin.sums.fell_back, errors + bin.sums.errors));
        let took = at.saturating_sub(since).as_secs_f64();
        format!(
            ", {took:.1} s after {}: {} requests fell to the second address, {} failed",
            broken.text,
            count(fell_back),
            count(errors)
        )
    }

    /// The step of the charts that `at` lies in; `None` far beyond the end.
    fn bin_at(&mut self, at: Duration) -> Option<&mut Bin> {
        let index = usize::try_from(at.as_nanos() / self.step.as_nanos()).ok()?;
        if index > 2 * usize::try_from(STEPS_MAX).ok()? {
            return None;
        }
        while self.bins.len() <= index {
            self.bins.push(Bin::new(self.pops.len()));
        }
        self.bins.get_mut(index)
    }

    fn predates_an_invalidation(&self, observation: &Observation) -> bool {
        let Some(made) = observation.made else { return false };
        self.invalidations.values().any(|invalidation| {
            invalidation.done.is_some_and(|done| done <= observation.started)
                && made < invalidation.accepted
                && invalidation.objects.contains(observation.load, observation.object)
        })
    }
}

impl Bin {
    fn new(pops: usize) -> Self {
        let latency = match Histogram::new(2) {
            Ok(histogram) => histogram,
            Err(error) => unreachable!("two significant digits are between 0 and 5: {error}"),
        };
        let sums = Second { pops: vec![0; pops], ..Second::default() };
        Self { sums, latency }
    }

    fn finish(self) -> Second {
        let at = |quantile: f64| self.latency.value_at_quantile(quantile) as f64 / 1e6;
        let latency = (!self.latency.is_empty()).then(|| [at(0.5), at(0.95), at(0.99), at(1.0)]);
        Second { latency, ..self.sums }
    }
}

const fn mark_of(action: &Action) -> Mark {
    match action {
        Action::Kill { .. } | Action::Pause { .. } | Action::Fault { .. } | Action::Link { .. } | Action::Drain(_) => {
            Mark::Broken
        }
        Action::Start { .. } | Action::Resume { .. } | Action::Heal(_) | Action::Undrain(_) => Mark::Healed,
        Action::Invalidate { .. } | Action::Policy { .. } | Action::Config(_) | Action::Load(_) => Mark::Note,
    }
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The scenario's title.
    pub title: String,
    /// Its mechanism.
    pub about: String,
    /// Its seed.
    pub seed: u64,
    /// How long the run was, from time zero.
    pub length: Duration,
    /// One row per expectation, in the order of the scenario, then what is always expected.
    pub rows: Vec<Row>,
    /// What happened, by time.
    pub timeline: Vec<Line>,
    /// What was broken, from when to when.
    pub bands: Vec<Band>,
    /// How long each of [`Judgement::seconds`] is: a second, more in long runs.
    pub step: Duration,
    /// The run, step by step.
    pub seconds: Vec<Second>,
    /// The PoPs that [`Second::pops`] counts, in its order.
    pub pops: Vec<PopCode>,
    /// The whole run.
    pub totals: Totals,
    /// How much the counters of [`Scenario::told`] grew over all nodes, the warm-up among it.
    pub told: BTreeMap<Counter, u64>,
}

impl Judgement {
    /// Takes in which laws of every run the run broke, for the rows that ask.
    pub fn tell_laws(&mut self, breaches: &[Breach], zero: Instant) {
        let times: u64 = breaches.iter().map(|breach| breach.times).sum();
        let texts = breaches.iter().map(|Breach { law, times, first, .. }| match times {
            1 => format!("{law}: {first}"),
            _ => format!("{law}: {} times, first {first}", count(*times)),
        });
        let detail = texts.collect::<Vec<_>>().join("; ");
        let at = breaches.iter().map(|breach| breach.at.saturating_since(zero)).min();
        for row in self.rows.iter_mut().filter(|row| row.expectation.what == What::LawsBroken) {
            row.got = Some(times as f64);
            row.held = row.expectation.is_met_by(times as f64);
            (row.at, row.detail) = (at.map(|at| Duration::from_secs(at.as_secs())), detail.clone());
        }
    }

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

impl Row {
    /// What was got, as people read it.
    pub fn got_text(&self) -> String {
        match self.got {
            Some(got) => words::figure(got, self.expectation.what.unit()),
            None if self.held => "never".to_owned(),
            None => match self.expectation.what {
                What::Detect | What::Reroute | What::Recover => "never".to_owned(),
                _ => "nothing".to_owned(),
            },
        }
    }
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

impl std::fmt::Display for Line {
    /// ` 0:20 ✗ kill fra`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>5} {} {}", clock(self.at), self.mark.sign(), self.text)
    }
}

/// Sorts of things that happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Something was broken.
    Broken,
    /// It was made whole.
    Healed,
    /// The system did something about it.
    Moved,
    /// Anything else.
    Note,
}

impl Mark {
    /// One sign for a column.
    pub const fn sign(self) -> char {
        match self {
            Self::Broken => '✗',
            Self::Healed => '✓',
            Self::Moved => '↷',
            Self::Note => '·',
        }
    }

    /// A word for documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Healed => "healed",
            Self::Moved => "moved",
            Self::Note => "note",
        }
    }
}

/// Something that was broken for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// When it was broken, from time zero.
    pub from: Duration,
    /// When it was whole again, or the run ended.
    pub to: Duration,
    /// What, as the step says it.
    pub text: String,
}

/// One step of the charts; requests belong to the step for which they were meant.
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

impl Second {
    fn add(&mut self, observation: &Observation, seen: &Seen, pop: Option<usize>) {
        self.requests += 1;
        self.errors += u64::from(!seen.served);
        self.hits += u64::from(observation.cache.is_hit());
        self.cacheable += u64::from(observation.cache.is_cacheable());
        self.fell_back += u64::from(observation.fell_back);
        if seen.served
            && let Some(n) = pop.and_then(|pop| self.pops.get_mut(pop))
        {
            *n += 1;
        }
    }
}

/// What a run adds up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Those that were not served.
    pub errors: u64,
    /// Requests that another than the first address served.
    pub fell_back: u64,
    /// Requests that were made more than once.
    pub retried: u64,
    /// Requests that moved to a second origin.
    pub failovers: u64,
    /// Requests that arrived at origins.
    pub origin_requests: u64,
    /// Answers with other bytes than the origin's.
    pub wrong_bytes: u64,
    /// Bytes of bodies that arrived.
    pub bytes: u64,
    /// By what the store had to do with the answer, in the order of [`CacheOutcome::ALL`].
    pub cache: [u64; CacheOutcome::ALL.len()],
    /// Requests served, by PoP, in the order of [`Judgement::pops`].
    pub pops: Vec<u64>,
    /// Requests that were not served, by reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Of requests that were served; absent where there were none, and until the end.
    pub latency: Option<Quantiles>,
}

impl Totals {
    fn add(&mut self, observation: &Observation, seen: &Seen, pop: Option<usize>) {
        self.requests += 1;
        self.fell_back += u64::from(observation.fell_back);
        self.retried += u64::from(observation.attempts > 1);
        self.wrong_bytes += u64::from(observation.integrity == Integrity::Wrong);
        self.bytes += observation.bytes;
        if let Some(n) = self.cache.get_mut(observation.cache as usize) {
            *n += 1;
        }
        if !seen.served {
            self.errors += 1;
            *self.reasons.entry(observation.reason).or_default() += 1;
        } else if let Some(n) = pop.and_then(|pop| self.pops.get_mut(pop)) {
            *n += 1;
        }
    }

    /// The share of requests that were served; `None` without any.
    pub fn availability(&self) -> Option<f64> {
        (self.requests > 0).then(|| (self.requests - self.errors) as f64 / self.requests as f64)
    }

    /// The share of answers from the stores of edges, of those that a cache may give; `None` without any.
    pub fn hit_ratio(&self) -> Option<f64> {
        let sum = |of: fn(CacheOutcome) -> bool| -> u64 {
            CacheOutcome::ALL.iter().zip(self.cache).filter(|(outcome, _)| of(**outcome)).map(|(_, n)| n).sum()
        };
        let (hits, all) = (sum(CacheOutcome::is_hit), sum(CacheOutcome::is_cacheable));
        (all > 0).then(|| hits as f64 / all as f64)
    }
}

/// Quantiles of a latency, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// Nine in ten are not longer.
    pub p90: f64,
    /// 19 in 20.
    pub p95: f64,
    /// 99 in 100.
    pub p99: f64,
    /// 999 in 1000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

fn quantiles(histogram: &Histogram<u64>) -> Option<Quantiles> {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e6;
    (!histogram.is_empty()).then(|| Quantiles {
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max() as f64 / 1e6,
    })
}

#[cfg(test)]
mod tests;
