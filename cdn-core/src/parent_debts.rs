//! What a cache between has yet to be told to forget: the targets that unsafe methods changed (RFC 9111 section 4.4).
//!
//! Decides whether a parent may be asked for a target. A target is owed from the moment its change is known until the
//! parent has said that it is forgotten; whoever wants the parent's answer meanwhile tells it first, and goes past it
//! where that fails. So a parent that was away, or silent, cannot bring back what was changed. Knows no parent and sends
//! nothing.

use std::{collections::BTreeMap, sync::Arc};

use crate::{cache_key::CacheKey, forward::Purge};

/// What one parent is owed.
#[derive(Debug)]
pub struct ParentDebts {
    targets_max: usize,
    owed: BTreeMap<Arc<str>, Owed>,
    /// Of all distributions.
    targets: usize,
    serial: u64,
}

/// What it is owed of one distribution, each with the number of its last change.
#[derive(Debug)]
enum Owed {
    Targets(BTreeMap<CacheKey, u64>),
    /// Too much to tell it one by one.
    All(u64),
}

/// One thing to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debt {
    /// How much is to be forgotten.
    pub purge: Purge,
    serial: u64,
}

impl ParentDebts {
    /// Nothing owed. Beyond `targets_max` targets a parent is owed whole distributions.
    pub const fn new(targets_max: usize) -> Self {
        Self { targets_max, owed: BTreeMap::new(), targets: 0, serial: 0 }
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// A target was changed. Whether there are too many now, so that its whole distribution is owed.
    pub fn owe(&mut self, distribution: &Arc<str>, key: CacheKey) -> bool {
        self.serial += 1;
        let serial = self.serial;
        let owed = self.owed.entry(Arc::clone(distribution)).or_insert_with(|| Owed::Targets(BTreeMap::new()));
        match owed {
            Owed::All(last) => *last = serial,
            Owed::Targets(keys) => self.targets += usize::from(keys.insert(key, serial).is_none()),
        }
        let full = self.targets > self.targets_max;
        if full {
            self.owe_all(distribution);
        }
        full
    }

    /// Everything of a distribution was changed.
    pub fn owe_all(&mut self, distribution: &Arc<str>) {
        self.serial += 1;
        if let Some(Owed::Targets(keys)) = self.owed.insert(Arc::clone(distribution), Owed::All(self.serial)) {
            self.targets -= keys.len();
        }
    }

    /// What it must be told before it is asked for a target.
    pub fn due(&self, distribution: &str, key: CacheKey) -> Option<Debt> {
        Some(match self.owed.get(distribution)? {
            Owed::Targets(keys) => Debt { purge: Purge::Target, serial: *keys.get(&key)? },
            Owed::All(serial) => Debt { purge: Purge::Distribution, serial: *serial },
        })
    }

    /// It was told, and has forgotten. What was changed again since it was told is still owed.
    pub fn paid(&mut self, distribution: &str, key: CacheKey, debt: Debt) {
        if self.due(distribution, key) != Some(debt) {
            return;
        }
        let rest = match self.owed.get_mut(distribution) {
            Some(Owed::Targets(keys)) => {
                self.targets -= usize::from(keys.remove(&key).is_some());
                !keys.is_empty()
            }
            _ => false,
        };
        if !rest {
            self.owed.remove(distribution);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::{
        cache_key::{KeySeed, RequestHead},
        distribution::Distribution,
        test_data,
    };

    fn keys<const N: usize>() -> [CacheKey; N] {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let behavior = test_data::behavior("honour-origin", "AllViewer");
        let headers = HeaderMap::new();
        std::array::from_fn(|at| {
            let path = format!("/{at}");
            let head = RequestHead {
                distribution: &distribution,
                behavior: &behavior,
                method: &Method::GET,
                host: "h",
                path: &path,
                query: None,
                headers: &headers,
            };
            head.key(KeySeed::new(1))
        })
    }

    #[test]
    fn a_target_is_owed_until_its_last_change_was_told() {
        let [a, b] = keys();
        let demo = Arc::from("demo");
        let mut debts = ParentDebts::new(10);
        assert!(!debts.owe(&demo, a));
        let first = debts.due("demo", a).unwrap();
        assert_eq!((first.purge, debts.due("demo", b), debts.due("other", a)), (Purge::Target, None, None));
        // Changed again while it is told of the first change.
        debts.owe(&demo, a);
        debts.paid("demo", a, first);
        let second = debts.due("demo", a).unwrap();
        debts.paid("demo", a, second);
        assert_eq!((debts.due("demo", a), debts.targets, debts.owed.len()), (None, 0, 0));
    }

    #[test]
    fn whole_distributions_are_owed_where_there_is_too_much_to_tell() {
        let [a, b, c, d] = keys();
        let (demo, other) = (Arc::from("demo"), Arc::from("other"));
        let mut debts = ParentDebts::new(2);
        assert!(!debts.owe(&demo, a) && !debts.owe(&other, b) && !debts.owe(&demo, a));
        assert!(debts.owe(&demo, c));
        let all = debts.due("demo", d).unwrap();
        assert_eq!((all.purge, debts.due("other", b).unwrap().purge), (Purge::Distribution, Purge::Target));
        assert!(!debts.owe(&demo, d), "it is owed already");
        debts.paid("demo", a, all);
        let all = debts.due("demo", a).expect("one was changed since");
        debts.paid("demo", a, all);
        assert_eq!((debts.due("demo", a), debts.due("demo", d), debts.targets), (None, None, 1));
    }
}
