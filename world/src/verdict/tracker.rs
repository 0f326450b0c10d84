//! One expectation, while the run goes on: which requests and events concern it, and what they add up to.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{Instant, NodeId, PopCode, Role, counters::Kind};
use hdrhistogram::{Counter, Histogram};

use super::{
    Row,
    broken::{Broken, Ledger},
    offences::{Offences, most},
    words::{clock, count, figure},
};
use crate::{
    observation::{Directory, Event, EventKind, Integrity, Observation, Outcome},
    scenario::{Area, Expectation, Unit, What},
};

/// A second counts as bad for [`What::Recover`] below this availability.
const WELL: f64 = 0.999;

/// Who still turns to a broken PoP this shortly before it is whole again, or the run ends, has not turned away.
const LATELY: Duration = Duration::from_secs(1);

/// What a request is, worked out once for all expectations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// When it was meant to be made, from time zero.
    pub(super) at: Duration,
    /// The same in whole seconds.
    pub(super) second: u32,
    /// In microseconds.
    pub(super) latency_us: u64,
    pub(super) served: bool,
    /// Whether it predates an invalidation that was complete.
    pub(super) stale: bool,
}

/// One expectation and its sums.
#[derive(Debug)]
pub(super) struct Tracker {
    expectation: Expectation,
    /// By place, whether it lies in the area; `None` for the whole world.
    places: Option<Box<[bool]>>,
    sums: Sums,
    offences: Offences,
}

#[derive(Debug)]
enum Sums {
    /// Good ones of all, and by PoP.
    Share { good: u64, all: u64, by_pop: BTreeMap<PopCode, (u64, u64)> },
    /// Microseconds.
    Latency(Histogram<u64>),
    /// How many, and by node.
    Tally { n: u64, by_node: BTreeMap<u32, u64> },
    /// By second and node.
    Peak(BTreeMap<(u32, u32), u64>),
    /// By fault: how many still turned to it, and when the last did.
    Turned(BTreeMap<usize, (u64, Instant)>),
    /// By second: all, and those not served.
    Seconds(BTreeMap<u32, (u64, u64)>),
    /// By fault and node, when it was first judged to be down.
    Detected(BTreeMap<(usize, u32), Instant>),
    /// By node: the last value, how much it grew, the highest.
    Counter(BTreeMap<u32, CounterSeen>),
}

#[derive(Clone, Copy, Debug, Default)]
struct CounterSeen {
    last: u64,
    grew: u64,
    highest: u64,
}

/// What a row is worked out from at the end.
pub(super) struct Ending<'a> {
    pub(super) zero: Instant,
    pub(super) end: Instant,
    pub(super) ledger: &'a Ledger,
    pub(super) directory: &'a Directory,
}

impl Tracker {
    pub(super) fn new(expectation: &Expectation, directory: &Directory) -> Self {
        let lies_in = |place: &crate::Place| match &expectation.from {
            Area::World => true,
            Area::Continent(continent) => place.continent == *continent,
            Area::Country(country) => place.country == *country,
            Area::Place(site) => place.id == *site,
        };
        let places = (expectation.from != Area::World).then(|| directory.places().iter().map(lies_in).collect());
        let sums = match expectation.what {
            What::Availability | What::HitRatio => Sums::Share { good: 0, all: 0, by_pop: BTreeMap::new() },
            What::Latency(_) => Sums::Latency(histogram()),
            What::OriginRps => Sums::Peak(BTreeMap::new()),
            What::Reroute => Sums::Turned(BTreeMap::new()),
            What::Recover => Sums::Seconds(BTreeMap::new()),
            What::Detect => Sums::Detected(BTreeMap::new()),
            What::Counter(_) => Sums::Counter(BTreeMap::new()),
            What::OriginRequests
            | What::Failovers
            | What::WrongBytes
            | What::StaleAfterInvalidation
            | What::LawsBroken
            | What::Errors
            | What::Requests
            | What::Status(_)
            | What::Reason(_) => Sums::Tally { n: 0, by_node: BTreeMap::new() },
        };
        Self { expectation: expectation.clone(), places, sums, offences: Offences::default() }
    }

    pub(super) fn observe(&mut self, observation: &Observation, seen: &Seen, ledger: &Ledger) {
        let wanted = &self.expectation;
        if seen.at < wanted.after || wanted.before.is_some_and(|before| seen.at >= before) {
            return;
        }
        if let Some(places) = &self.places
            && !usize::try_from(observation.place).is_ok_and(|at| places.get(at) == Some(&true))
        {
            return;
        }
        let concerned = observation.pop.or(observation.asked);
        if !matches!(wanted.what, What::Reroute) && wanted.pop.is_some() && wanted.pop != concerned {
            return;
        }
        let is_offence = match (&mut self.sums, wanted.what) {
            (Sums::Share { good, all, by_pop }, What::Availability) => {
                *all += 1;
                *good += u64::from(seen.served);
                if !seen.served
                    && let Some(pop) = concerned
                {
                    by_pop.entry(pop).or_default().1 += 1;
                }
                !seen.served
            }
            (Sums::Share { good, all, by_pop }, _) => {
                if observation.cache.is_cacheable() {
                    let hit = u64::from(observation.cache.is_hit());
                    *all += 1;
                    *good += hit;
                    if let Some(pop) = observation.pop {
                        let sums = by_pop.entry(pop).or_default();
                        *sums = (sums.0 + hit, sums.1 + 1);
                    }
                }
                false
            }
            (Sums::Latency(histogram), _) => {
                if !seen.served {
                    return;
                }
                record(histogram, seen.latency_us);
                wanted.max.is_some_and(|max| seen.latency_us as f64 > max * 1e6)
            }
            (Sums::Seconds(seconds), _) => {
                let sums = seconds.entry(seen.second).or_default();
                *sums = (sums.0 + 1, sums.1 + u64::from(!seen.served));
                !seen.served
            }
            (Sums::Turned(turned), _) => {
                let Some(asked) = observation.asked else { return };
                for (at, broken) in ledger.all().iter().enumerate() {
                    if broken.pops.contains(&asked) && broken.is_active(observation.asked_at) {
                        let (n, last) = turned.entry(at).or_insert((0, observation.asked_at));
                        *n += 1;
                        *last = (*last).max(observation.asked_at);
                    }
                }
                false
            }
            (Sums::Tally { n, .. }, what) => {
                let counts = match what {
                    What::WrongBytes => observation.integrity == Integrity::Wrong,
                    What::StaleAfterInvalidation => seen.stale,
                    What::Errors => !seen.served,
                    What::Requests => true,
                    What::Status(status) => observation.outcome == Outcome::Status(status),
                    What::Reason(reason) => observation.reason == reason,
                    _ => false,
                };
                *n += u64::from(counts);
                counts && what != What::Requests
            }
            (Sums::Peak(_) | Sums::Detected(_) | Sums::Counter(_), _) => false,
        };
        if is_offence {
            self.offences.add(seen.second, observation);
        }
    }

    pub(super) fn note(&mut self, event: &Event, zero: Instant, ledger: &Ledger, directory: &Directory) {
        let wanted = &self.expectation;
        let at = event.at.saturating_since(zero);
        let is_due = event.at >= zero && at >= wanted.after && wanted.before.is_none_or(|before| at < before);
        let concerns = |node: u32| {
            let Some(member) = directory.node(node) else { return false };
            wanted.node.as_ref().is_none_or(|id| *id == member.id)
                && wanted.pop.is_none_or(|pop| member.pop == Some(pop))
        };
        match (&mut self.sums, &event.kind) {
            (Sums::Peak(peak), EventKind::OriginRequests { origin, count }) if is_due && concerns(*origin) => {
                let second = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
                *peak.entry((second, *origin)).or_default() += count;
            }
            (Sums::Tally { n, by_node }, EventKind::OriginRequests { origin, count })
                if wanted.what == What::OriginRequests && is_due && concerns(*origin) =>
            {
                *n += count;
                *by_node.entry(*origin).or_default() += count;
            }
            (Sums::Tally { n, by_node }, EventKind::FailedOver { node, count })
                if wanted.what == What::Failovers && is_due && concerns(*node) =>
            {
                *n += count;
                *by_node.entry(*node).or_default() += count;
            }
            (Sums::Detected(detected), EventKind::Detected { node, .. }) => {
                let Some(member) = directory.node(*node) else { return };
                for (at, broken) in ledger.all().iter().enumerate() {
                    if broken.nodes.contains(&member.id) && broken.is_active(event.at) {
                        detected.entry((at, *node)).or_insert(event.at);
                    }
                }
            }
            (Sums::Counter(nodes), EventKind::Counter { node, counter, value })
                if wanted.what == What::Counter(*counter) && concerns(*node) =>
            {
                let seen = nodes.entry(*node).or_default();
                // A value below the last one is that of a process that was started anew.
                let grew = value.checked_sub(seen.last).unwrap_or(*value);
                if is_due {
                    seen.grew += grew;
                    seen.highest = seen.highest.max(*value);
                }
                seen.last = *value;
            }
            _ => {}
        }
    }

    /// The row of the verdict.
    pub(super) fn finish(self, ending: &Ending<'_>) -> Row {
        let Found { got, nothing, at, detail } = self.found(ending);
        let wanted = self.expectation;
        let unit = wanted.what.unit();
        // What never came is later than any time.
        let value = got.or_else(|| (unit == Unit::Seconds && !nothing).then_some(f64::INFINITY));
        let held = value.is_some_and(|value| wanted.is_met_by(value));
        Row { expectation: wanted, got, held, at, detail }
    }

    fn found(&self, ending: &Ending<'_>) -> Found {
        let directory = ending.directory;
        let name = |node: u32| directory.node(node).map_or_else(|| "?".to_owned(), |member| member.id.to_string());
        match &self.sums {
            Sums::Share { all: 0, .. } => Found::nothing("no request was there to look at"),
            Sums::Share { good, all, by_pop } => {
                let got = *good as f64 / *all as f64;
                let detail = match self.expectation.what {
                    What::Availability if self.offences.count() == 0 => format!("all of {} served", count(*all)),
                    What::Availability => {
                        let failed = count(self.offences.count());
                        format!("{failed} of {} not served, {}", count(*all), self.offences.describe(directory))
                    }
                    _ => {
                        let lowest = by_pop
                            .iter()
                            .map(|(pop, (hits, all))| (*hits as f64 / (*all).max(1) as f64, pop))
                            .min_by(|a, b| a.0.total_cmp(&b.0));
                        let mut text = format!("{} of {}", count(*good), count(*all));
                        if let Some((ratio, pop)) = lowest.filter(|_| by_pop.len() > 1) {
                            text.push_str(&format!(", lowest at {} ({})", pop.lower(), figure(ratio, Unit::Share)));
                        }
                        text
                    }
                };
                Found { got: Some(got), nothing: false, at: self.offences.second(), detail }
            }
            Sums::Latency(histogram) if histogram.is_empty() => Found::nothing("no request was served"),
            Sums::Latency(histogram) => {
                let What::Latency(quantile) = self.expectation.what else { return Found::nothing("") };
                let micros = if quantile >= 1.0 { histogram.max() } else { histogram.value_at_quantile(quantile) };
                let mut detail = format!("of {}", count(histogram.len()));
                if self.offences.count() > 0 {
                    let above = count(self.offences.count());
                    detail.push_str(&format!("; {above} above it, {}", self.offences.describe(directory)));
                    if let Some(slowest) = self.offences.slowest(directory) {
                        detail.push_str(&format!("; {slowest}"));
                    }
                }
                Found { got: Some(micros as f64 / 1e6), nothing: false, at: self.offences.second(), detail }
            }
            Sums::Tally { n, by_node } => {
                let mut detail =
                    if self.offences.count() > 0 { self.offences.describe(directory) } else { String::new() };
                if let Some((node, most)) = by_node.iter().max_by_key(|(_, n)| **n)
                    && by_node.len() > 1
                {
                    detail = format!("most at {} ({})", name(*node), count(*most));
                }
                Found { got: Some(*n as f64), nothing: false, at: self.offences.second(), detail }
            }
            Sums::Peak(peak) => {
                let busiest = most(peak.iter().map(|((second, _), n)| (*second, *n)));
                let Some((second, n)) = busiest else {
                    return Found { got: Some(0.0), nothing: false, at: None, detail: String::new() };
                };
                let at = Duration::from_secs(u64::from(second));
                let origin = most(peak.iter().filter(|((s, _), _)| *s == second).map(|((_, origin), n)| (*origin, *n)));
                let origin = origin.map(|(origin, n)| format!(", {} ({})", name(origin), count(n)));
                let detail = format!("at {}{}", clock(at), origin.unwrap_or_default());
                Found { got: Some(n as f64), nothing: false, at: Some(at), detail }
            }
            Sums::Turned(turned) => self.turned(turned, ending),
            Sums::Detected(detected) => self.detected(detected, ending),
            Sums::Seconds(seconds) => self.recovered(seconds, ending),
            Sums::Counter(nodes) if nodes.is_empty() => Found::nothing("no node reports it"),
            Sums::Counter(nodes) => {
                let What::Counter(counter) = self.expectation.what else { return Found::nothing("") };
                let is_gauge = counter.row().kind == Kind::Gauge;
                let of = |seen: &CounterSeen| if is_gauge { seen.highest } else { seen.grew };
                let values = || nodes.values().map(of);
                let got = if is_gauge { values().max().unwrap_or(0) } else { values().sum() };
                let top = nodes.iter().max_by_key(|(_, seen)| of(seen)).filter(|(_, seen)| of(seen) > 0);
                let detail = top.map(|(node, seen)| format!("{} at {}", count(of(seen)), name(*node)));
                Found { got: Some(got as f64), nothing: false, at: None, detail: detail.unwrap_or_default() }
            }
        }
    }

    /// Faults in the window that hit what this expectation is about.
    fn faults<'a>(&'a self, ending: &'a Ending<'_>) -> impl Iterator<Item = (usize, &'a Broken)> {
        let wanted = &self.expectation;
        ending.ledger.all().iter().enumerate().filter(move |(_, broken)| {
            let at = broken.at.saturating_since(ending.zero);
            at >= wanted.after
                && wanted.before.is_none_or(|before| at < before)
                && wanted.pop.is_none_or(|pop| broken.pops.contains(&pop))
                && wanted.node.as_ref().is_none_or(|node| broken.nodes.contains(node))
        })
    }

    fn turned(&self, turned: &BTreeMap<usize, (u64, Instant)>, ending: &Ending<'_>) -> Found {
        let mut longest = Found::nothing("nothing that answers viewers was broken");
        for (index, broken) in self.faults(ending).filter(|(_, broken)| !broken.pops.is_empty()) {
            let until = broken.healed.unwrap_or(ending.end).min(ending.end);
            let (n, last) = turned.get(&index).copied().unwrap_or((0, broken.at));
            let at = Some(last.saturating_since(ending.zero));
            let found = if last + LATELY >= until && n > 0 {
                let detail = format!("viewers still turned to it when {}", ended(broken, ending));
                Found { got: None, nothing: false, at, detail }
            } else {
                let took = last.saturating_since(broken.at).as_secs_f64();
                let detail = format!("after {}: {} turned to it in vain", broken.text, count(n));
                Found { got: Some(took), nothing: false, at, detail }
            };
            longest = longest.or_longer(found);
        }
        longest
    }

    fn detected(&self, detected: &BTreeMap<(usize, u32), Instant>, ending: &Ending<'_>) -> Found {
        let mut longest = Found::nothing("nothing that routers watch was broken");
        for (index, broken) in self.faults(ending) {
            let is_watched = |id: &&NodeId| {
                id.role() == Role::Edge && self.expectation.node.as_ref().is_none_or(|wanted| wanted == *id)
            };
            for id in broken.nodes.iter().filter(is_watched) {
                let Some(node) = ending.directory.index_of(id) else { continue };
                if self.expectation.pop.is_some_and(|pop| ending.directory.node(node).and_then(|m| m.pop) != Some(pop))
                {
                    continue;
                }
                let found = match detected.get(&(index, node)) {
                    Some(when) => Found {
                        got: Some(when.saturating_since(broken.at).as_secs_f64()),
                        nothing: false,
                        at: Some(when.saturating_since(ending.zero)),
                        detail: format!("{id} after {}", broken.text),
                    },
                    None => {
                        let detail = format!("{id} was never judged down until {}", ended(broken, ending));
                        Found { got: None, nothing: false, at: Some(broken.at.saturating_since(ending.zero)), detail }
                    }
                };
                longest = longest.or_longer(found);
            }
        }
        longest
    }

    fn recovered(&self, seconds: &BTreeMap<u32, (u64, u64)>, ending: &Ending<'_>) -> Found {
        let Some((_, first)) = self.faults(ending).min_by_key(|(_, broken)| broken.at) else {
            return Found::nothing("nothing was broken");
        };
        let broke = first.at.saturating_since(ending.zero);
        let is_bad = |(all, bad): (u64, u64)| bad as f64 > (1.0 - WELL) * all as f64 + 1e-9;
        let since = u32::try_from(broke.as_secs()).unwrap_or(u32::MAX);
        let last_bad = seconds.range(since..).rev().find(|(_, sums)| is_bad(**sums));
        let Some((&second, _)) = last_bad else {
            let detail = format!("no second after {} was below {}", first.text, figure(WELL, Unit::Share));
            return Found { got: Some(0.0), nothing: false, at: None, detail };
        };
        let last = seconds.last_key_value().map_or(second, |(last, _)| *last);
        let at = Some(Duration::from_secs(u64::from(second)));
        if second >= last {
            let detail = format!("still below {} at the end", figure(WELL, Unit::Share));
            return Found { got: None, nothing: false, at, detail };
        }
        let took = Duration::from_secs(u64::from(second) + 1).saturating_sub(broke).as_secs_f64();
        let detail = format!("after {}: {} not served, {}", first.text, count(self.offences.count()), {
            self.offences.describe(ending.directory)
        });
        Found { got: Some(took), nothing: false, at, detail }
    }
}

struct Found {
    /// `None` where it never came, or there was nothing to look at.
    got: Option<f64>,
    /// There was nothing to look at.
    nothing: bool,
    at: Option<Duration>,
    detail: String,
}

impl Found {
    fn nothing(detail: &str) -> Self {
        Self { got: None, nothing: true, at: None, detail: detail.to_owned() }
    }

    /// The one that took longer; what never came takes longest.
    fn or_longer(self, other: Self) -> Self {
        let rank = |found: &Self| match (found.nothing, found.got) {
            (true, _) => -1.0,
            (false, Some(got)) => got,
            (false, None) => f64::INFINITY,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// How a fault ended, in words.
fn ended(broken: &Broken, ending: &Ending<'_>) -> String {
    match broken.healed.filter(|healed| *healed < ending.end) {
        Some(healed) => format!("it healed at {}", clock(healed.saturating_since(ending.zero))),
        None => "the run ended".to_owned(),
    }
}

/// Counts a latency in microseconds. None is longer than a day, which bounds the histogram; so recording cannot fail.
pub(super) fn record<C: Counter>(histogram: &mut Histogram<C>, micros: u64) {
    const DAY_US: u64 = 24 * 3600 * 1_000_000;
    let recorded = histogram.record(micros.min(DAY_US));
    debug_assert!(recorded.is_ok(), "a histogram that grows has room for {micros} us");
}

/// Microseconds with three significant digits, as long as they need to be.
pub(super) fn histogram() -> Histogram<u64> {
    match Histogram::new(3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("three significant digits are between 0 and 5: {error}"),
    }
}
