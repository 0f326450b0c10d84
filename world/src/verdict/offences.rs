//! What went wrong, by second, place, PoP and reason, so that a miss can name them.

use std::{collections::BTreeMap, time::Duration};

use cdn_core::{PopCode, Reason};

use super::words::{clock, count, figure};
use crate::{
    observation::{Directory, Observation},
    scenario::Unit,
};

/// Distinct (second, place, PoP, reason) that are told apart; further ones are counted with one that is there.
const KEYS_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    second: u32,
    place: u32,
    pop: Option<PopCode>,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: u64,
    worst: Duration,
}

/// A collection of requests that should have gone otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Offences {
    by_key: BTreeMap<Key, Seen>,
    count: u64,
}

impl Offences {
    pub(super) fn add(&mut self, second: u32, observation: &Observation) {
        self.count += 1;
        let pop = observation.pop.or(observation.asked);
        let key = Key { second, place: observation.place, pop, reason: observation.reason };
        let seen = if self.by_key.len() < KEYS_MAX || self.by_key.contains_key(&key) {
            self.by_key.entry(key).or_default()
        } else {
            match self.by_key.last_entry() {
                Some(last) => last.into_mut(),
                None => return,
            }
        };
        seen.count += 1;
        seen.worst = seen.worst.max(observation.latency());
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The second with most of them.
    pub(super) fn second(&self) -> Option<Duration> {
        let worst = most(self.by_key.iter().map(|(key, seen)| (key.second, seen.count)))?;
        Some(Duration::from_secs(u64::from(worst.0)))
    }

    /// Their seconds, the place that most of them hit, and the hop: `0:20–0:24, most in Berlin; fra → origin:
    /// origin_refused`.
    pub(super) fn describe(&self, directory: &Directory) -> String {
        let (Some((first, _)), Some((last, _))) = (self.by_key.first_key_value(), self.by_key.last_key_value()) else {
            return String::new();
        };
        let at = |second: u32| clock(Duration::from_secs(u64::from(second)));
        let mut text = if first.second == last.second {
            format!("at {}", at(first.second))
        } else {
            let worst = self.second().map(clock).unwrap_or_default();
            format!("{}–{}, most at {worst}", at(first.second), at(last.second))
        };
        let place = most(self.by_key.iter().map(|(key, seen)| (key.place, seen.count)));
        if let Some((place, n)) = place {
            let name = directory.place(place).map_or_else(|| "?".to_owned(), |place| place.name.to_string());
            if n == self.count {
                text.push_str(&format!(", all in {name}"));
            } else {
                text.push_str(&format!(", most in {name} ({})", count(n)));
            }
        }
        let hop = most(self.by_key.iter().map(|(key, seen)| ((key.pop, key.reason), seen.count)));
        if let Some(((pop, reason), n)) = hop {
            text.push_str(&format!("; {}: {reason} ({})", hop_of(pop, reason), count(n)));
        }
        text
    }

    /// The slowest of them in words.
    pub(super) fn slowest(&self, directory: &Directory) -> Option<String> {
        let (key, seen) = self.by_key.iter().max_by_key(|(_, seen)| seen.worst)?;
        let name = directory.place(key.place).map_or_else(|| "?".to_owned(), |place| place.name.to_string());
        let at = clock(Duration::from_secs(u64::from(key.second)));
        Some(format!("slowest {} in {name} at {at}", figure(seen.worst.as_secs_f64(), Unit::Seconds)))
    }
}

/// Between whom it happened.
fn hop_of(pop: Option<PopCode>, reason: Reason) -> String {
    let edge = pop.map_or_else(|| "edge".to_owned(), |pop| pop.lower());
    let word = reason.as_str();
    if word.starts_with("viewer_resolve") {
        "viewer → router".to_owned()
    } else if word.starts_with("viewer_") {
        format!("viewer → {edge}")
    } else if word.starts_with("origin_") || word.starts_with("miss_") || word == "error_cached" {
        format!("{edge} → origin")
    } else if word == "hit_shield" || word == "hit_regional" {
        format!("{edge} → {}", word.trim_start_matches("hit_"))
    } else {
        edge
    }
}

/// The key with the largest sum, the smallest such key where several have it.
pub(super) fn most<K: Ord>(all: impl Iterator<Item = (K, u64)>) -> Option<(K, u64)> {
    let mut sums: BTreeMap<K, u64> = BTreeMap::new();
    for (key, n) in all {
        *sums.entry(key).or_default() += n;
    }
    sums.into_iter().rev().max_by_key(|(_, n)| *n)
}
