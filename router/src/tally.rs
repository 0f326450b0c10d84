//! What a router counts by more than a name: answers by policy, PoP and reason, by type, probes by what came of them, and
//! how far estimates were off. Counting is one relaxed atomic add, as in [`cdn_core::Counters`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cdn_core::{
    PopCode, Reason,
    counters::labelled::{Histogram, ROUTER_ANSWERS, ROUTER_DNS_ANSWERS, ROUTER_ESTIMATE_ERROR, ROUTER_PROBES},
    health::ProbeError,
    routing::{PolicyKind, Pop},
    zone::RecordType,
};

/// What an answer went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Dns,
    Http,
}

impl Carrier {
    const ALL: [Self; 2] = [Self::Dns, Self::Http];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Http => "http",
        }
    }
}

/// Why a first edge is the first: these stand together in the table of reasons.
const REASON_FIRST: usize = Reason::RouteLowestEstimate as usize;
const REASONS: usize = Reason::RouteSticky as usize - REASON_FIRST + 1;
const POLICIES: usize = PolicyKind::ALL.len();
/// Types by number up to the last that has a mnemonic, and one for all others.
const TYPES: usize = RecordType::CAA.0 as usize + 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tally {
    /// PoPs that are, or were, among the candidates.
    pops: Mutex<BTreeMap<PopCode, Arc<PopTally>>>,
    types: Box<[AtomicU64]>,
    pub(crate) estimate_error: Histogram,
}

/// What concerns one PoP.
#[derive(Debug)]
pub(crate) struct PopTally {
    /// By carrier, policy and reason.
    answers: [[[AtomicU64; REASONS]; POLICIES]; Carrier::ALL.len()],
    /// Those that were answered, then by error.
    probes: [AtomicU64; 1 + ProbeError::WORDS.len()],
}

impl Default for PopTally {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let zeros = || std::array::from_fn(|_| zeros());
        Self { answers: std::array::from_fn(|_| zeros()), probes: Default::default() }
    }
}

impl Default for Tally {
    fn default() -> Self {
        let types = (0..TYPES).map(|_| AtomicU64::new(0)).collect();
        Self { pops: Mutex::default(), types, estimate_error: Histogram::default() }
    }
}

impl PopTally {
    /// An answer whose first edge is here.
    pub(crate) fn on_answer(&self, carrier: Carrier, policy: PolicyKind, reason: Reason) {
        let by_reason = self.answers.get(carrier as usize).and_then(|by_policy| by_policy.get(policy as usize));
        if let Some(count) = by_reason.and_then(|counts| counts.get((reason as usize).wrapping_sub(REASON_FIRST))) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A probe of an edge that is here ended.
    pub(crate) fn on_probe(&self, outcome: Result<(), ProbeError>) {
        let at = outcome.err().map_or(0, |error| 1 + error.index());
        if let Some(count) = self.probes.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Tally {
    /// The tallies of `pops`, in their order.
    pub(crate) fn of(&self, pops: &[Pop]) -> Box<[Arc<PopTally>]> {
        let mut known = self.pops.lock().unwrap_or_else(PoisonError::into_inner);
        pops.iter().map(|pop| Arc::clone(known.entry(pop.code).or_default())).collect()
    }

    /// The tally of one.
    pub(crate) fn of_pop(&self, code: PopCode) -> Arc<PopTally> {
        let mut known = self.pops.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(code).or_default())
    }

    /// A question of type `wanted` was answered.
    pub(crate) fn on_type(&self, wanted: RecordType) {
        if let Some(count) = self.types.get(usize::from(wanted.0).min(TYPES - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A viewer reported a round trip that is so far from what was learned before.
    pub(crate) fn on_estimate_error(&self, error: Duration) {
        self.estimate_error.observe(error);
    }

    /// In Prometheus' text format 0.0.4, each value with `labels` (already escaped, without braces) and those of its
    /// family. What is zero is left out: most policies and reasons are nobody's.
    pub(crate) fn prometheus(&self, labels: &str) -> String {
        let mut text = String::new();
        let pops = self.pops.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ROUTER_ANSWERS.write_head(&mut text);
        for (code, pop) in &pops {
            for (carrier, by_policy) in Carrier::ALL.iter().zip(&pop.answers) {
                for (policy, by_reason) in PolicyKind::ALL.iter().zip(by_policy) {
                    for (reason, value) in nonzero(Reason::ALL.iter().skip(REASON_FIRST), by_reason) {
                        let values = [carrier.as_str(), policy.as_str(), code.as_str(), reason.as_str()];
                        ROUTER_ANSWERS.write(&mut text, labels, &values, value);
                    }
                }
            }
        }
        ROUTER_DNS_ANSWERS.write_head(&mut text);
        let mut others = 0;
        for (number, value) in nonzero(0.., &self.types) {
            match RecordType::MNEMONICS.iter().find(|(_, known)| known.0 == number) {
                Some((mnemonic, _)) => ROUTER_DNS_ANSWERS.write(&mut text, labels, &[mnemonic], value),
                None => others += value,
            }
        }
        if others > 0 {
            ROUTER_DNS_ANSWERS.write(&mut text, labels, &["other"], others);
        }
        ROUTER_PROBES.write_head(&mut text);
        for (code, pop) in &pops {
            for (result, value) in nonzero(["ok"].into_iter().chain(ProbeError::WORDS), &pop.probes) {
                ROUTER_PROBES.write(&mut text, labels, &[code.as_str(), result], value);
            }
        }
        self.estimate_error.write(&ROUTER_ESTIMATE_ERROR, &mut text, labels);
        text
    }
}

/// Names and values of those that are not zero.
fn nonzero<'a, N: 'a>(
    names: impl IntoIterator<Item = N> + 'a,
    values: &'a [AtomicU64],
) -> impl Iterator<Item = (N, u64)> + 'a {
    names
        .into_iter()
        .zip(values)
        .map(|(name, value)| (name, value.load(Ordering::Relaxed)))
        .filter(|(_, value)| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_reasons_are_counted_under_their_own_names() {
        for (at, policy) in PolicyKind::ALL.iter().enumerate() {
            assert_eq!(*policy as usize, at);
        }
        let reasons = || Reason::ALL.iter().skip(REASON_FIRST).take(REASONS);
        let first = Reason::ALL.iter().filter(|reason| reason.as_str().starts_with("route_"));
        assert!(reasons().eq(first.filter(|reason| **reason != Reason::RouteSecondAddress)), "one is not counted");
        let pop = PopTally::default();
        for reason in Reason::ALL {
            pop.on_answer(Carrier::Http, PolicyKind::Static, *reason);
        }
        let counts = &pop.answers[Carrier::Http as usize][PolicyKind::Static as usize];
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        let counts = pop.answers.iter().flatten().flatten().map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts.sum::<u64>(), REASONS as u64);
    }

    #[test]
    fn types_without_a_mnemonic_are_one_value() {
        let tally = Tally::default();
        for number in [1, 1, 28, 200, 257, 258, 65_280] {
            tally.on_type(RecordType(number));
        }
        let text = tally.prometheus("node=\"x\"");
        for (word, value) in [("A", 2), ("AAAA", 1), ("CAA", 1), ("other", 3)] {
            let line = format!("iso_router_dns_answers_total{{node=\"x\",type=\"{word}\"}} {value}\n");
            assert!(text.contains(&line), "{text}");
        }
    }
}
