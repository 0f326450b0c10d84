//! Which distribution a request's host means.
//!
//! An exact alias beats a wildcard, the longest wildcard beats a shorter one, and `<id>.cdn.test` always answers, as do
//! `<edge>.<id>.cdn.test`, the names by which HTTP routing leads to one edge. A literal address or `localhost` means the
//! only distribution where there is exactly one. Ports are ignored.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use super::Distribution;

/// The domain under which every distribution answers to its id.
pub(super) const OWN_DOMAIN: &str = ".cdn.test";

/// All distributions of a world, found by host.
#[derive(Clone, Debug, Default)]
pub struct Distributions {
    all: Vec<Arc<Distribution>>,
    /// Lower-case name to index in `all`.
    exact: BTreeMap<Box<str>, usize>,
    /// Lower-case suffix with its leading dot (`.demo.test` for `*.demo.test`) to index in `all`.
    wildcard: BTreeMap<Box<str>, usize>,
    /// Index of the only one that viewers may ask for by name, where there is only one.
    only: Option<usize>,
}

/// Two distributions claim one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributionConflict {
    /// Two have the same id.
    #[error("two distributions have the id {0:?}")]
    Id(String),
    /// A name stands on two of them, or twice on one (CloudFront: CNAMEAlreadyExists).
    #[error("the alias {alias:?} of distribution {distribution:?} is taken")]
    Alias {
        /// The alias.
        alias: String,
        /// The distribution that came second.
        distribution: String,
    },
    /// A distribution cannot be the staging distribution of another.
    #[error("{staging:?} cannot be the staging distribution of {primary:?}: {problem}")]
    Staging {
        /// The distribution whose requests it would answer.
        primary: String,
        /// The staging distribution.
        staging: String,
        /// Why.
        problem: &'static str,
    },
}

impl Distributions {
    /// Refuses two distributions that claim one id or one alias, and staging distributions that can be none. These are
    /// found by id alone: nobody can ask for one by name.
    pub fn new(all: Vec<Arc<Distribution>>) -> Result<Self, DistributionConflict> {
        let (mut exact, mut wildcard) = (BTreeMap::new(), BTreeMap::new());
        for (at, distribution) in all.iter().enumerate() {
            let own = distribution.own_name();
            if exact.insert(own.into_boxed_str(), at).is_some() {
                return Err(DistributionConflict::Id(distribution.id().to_string()));
            }
        }
        for staging in staging_of(&all)? {
            exact.remove(&*staging.own_name());
        }
        let only = if exact.len() == 1 { exact.values().next().copied() } else { None };
        for (at, distribution) in all.iter().enumerate() {
            for alias in distribution.aliases() {
                let name = alias.to_ascii_lowercase();
                let (map, name) = match name.strip_prefix('*') {
                    Some(suffix) => (&mut wildcard, suffix),
                    None => (&mut exact, name.as_str()),
                };
                if map.insert(name.into(), at).is_some() {
                    let (alias, distribution) = (alias.clone(), distribution.id().to_string());
                    return Err(DistributionConflict::Alias { alias, distribution });
                }
            }
        }
        Ok(Self { all, exact, wildcard, only })
    }

    /// The distribution that answers to `host` (with or without a port, in any case).
    pub fn by_host(&self, host: &str) -> Option<&Arc<Distribution>> {
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        if let Some(&at) = self.exact.get(&*name) {
            return self.all.get(at);
        }
        if let Some(at) = self.at_an_edge(&name) {
            return self.all.get(at);
        }
        // Dots from the left, so the longest suffix comes first. The star stands for at least one byte.
        for (dot, _) in name.match_indices('.').filter(|&(dot, _)| dot > 0) {
            if let Some(&at) = self.wildcard.get(&name[dot..]) {
                return self.all.get(at);
            }
        }
        self.all.get(self.only.filter(|_| is_literal(&name))?)
    }

    /// Whose name it is with an edge's before it.
    fn at_an_edge(&self, name: &str) -> Option<usize> {
        let (edge, own) = name.split_once('.')?;
        let id = own.strip_suffix(OWN_DOMAIN).filter(|_| !edge.is_empty())?;
        let at = *self.exact.get(own)?;
        // An alias may lie in the domain too.
        self.all.get(at)?.id().eq_ignore_ascii_case(id).then_some(at)
    }

    /// The distribution of this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Distribution>> {
        self.all.iter().find(|distribution| **distribution.id() == *id)
    }

    /// All of them, in the order given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Distribution>> {
        self.all.iter()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// The distributions that answer in the place of others.
fn staging_of(all: &[Arc<Distribution>]) -> Result<Vec<&Arc<Distribution>>, DistributionConflict> {
    let mut found: Vec<&Arc<Distribution>> = Vec::new();
    for primary in all {
        let Some(policy) = primary.continuous_deployment() else { continue };
        let refuse = |problem| {
            let (primary, staging) = (primary.id().to_string(), policy.staging().to_owned());
            Err(DistributionConflict::Staging { primary, staging, problem })
        };
        let Some(staging) = all.iter().find(|one| **one.id() == *policy.staging()) else {
            return refuse("there is no such distribution");
        };
        if staging.id() == primary.id() {
            return refuse("it is the same");
        }
        if staging.continuous_deployment().is_some() {
            return refuse("it has a staging distribution itself");
        }
        if !staging.aliases().is_empty() {
            return refuse("it has names of its own, by which nobody may ask for it");
        }
        if found.iter().any(|other| other.id() == staging.id()) {
            return refuse("it is that of another");
        }
        found.push(staging);
    }
    Ok(found)
}

/// Cuts a port off. An IPv6 address keeps its brackets, without which its colons would be read as a port's.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if host.ends_with(']') || host[..colon].contains(':') && !host.starts_with('[') => host,
        Some(colon) => &host[..colon],
        None => host,
    }
}

fn is_literal(name: &str) -> bool {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        continuous_deployment::{ContinuousDeployment, Traffic},
        test_data,
    };

    fn distributions(list: &[(&str, &[&str])]) -> Result<Distributions, DistributionConflict> {
        let build = |&(id, aliases): &(&str, &[&str])| {
            let mut spec = test_data::distribution_spec();
            spec.id = id.to_owned();
            spec.aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
            Arc::new(Distribution::new(spec).unwrap())
        };
        Distributions::new(list.iter().map(build).collect())
    }

    #[test]
    fn exact_beats_wildcard_and_longer_wildcards_beat_shorter_ones() {
        let world = distributions(&[
            ("one", &["*.example.test"]),
            ("two", &["*.b.example.test", "www.example.test"]),
            ("three", &["www.b.example.test"]),
        ])
        .unwrap();
        for (host, expected) in [
            ("www.example.test", Some("two")),
            ("WWW.Example.Test:4480", Some("two")),
            ("x.example.test", Some("one")),
            ("a.c.example.test.", Some("one")),
            ("x.b.example.test", Some("two")),
            ("b.example.test", Some("one")),
            ("www.b.example.test", Some("three")),
            ("example.test", None),
            (".example.test", None),
            ("three.cdn.test", Some("three")),
            ("iad-2.three.cdn.test:4480", Some("three")),
            ("a.b.three.cdn.test", None),
            (".three.cdn.test", None),
            ("edge.iad.cdn.test", None),
            ("unknown.test", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(world.by_host(host).map(|found| &**found.id()), expected, "{host}");
        }
    }

    #[test]
    fn a_literal_address_means_the_only_distribution() {
        let one = distributions(&[("Demo", &["www.demo.test"])]).unwrap();
        for host in
            ["127.77.0.1:4480", "127.77.0.1", "localhost", "localhost:80", "[::1]:4480", "[::1]", "demo.cdn.test"]
        {
            assert!(one.by_host(host).is_some(), "{host}");
        }
        assert!(one.by_host("other.test").is_none());
    }

    #[test]
    fn a_staging_distribution_is_found_by_id_alone() {
        let world = |primary: &str, staging: &str, aliases: &[&str]| {
            let traffic = Traffic::Weight { share: 0.1, sessions: None };
            let mut spec = test_data::distribution_spec();
            spec.continuous_deployment = Some(ContinuousDeployment::new(staging, traffic).unwrap());
            spec.id = primary.to_owned();
            let mut next = test_data::distribution_spec();
            (next.id, next.aliases) = ("next".to_owned(), aliases.iter().map(|&alias| alias.to_owned()).collect());
            Distributions::new([spec, next].map(|spec| Arc::new(Distribution::new(spec).unwrap())).into())
        };
        let found = world("demo", "next", &[]).unwrap();
        assert!(found.by_host("next.cdn.test").is_none() && found.by_id("next").is_some());
        assert_eq!(found.by_host("127.0.0.1").map(|only| &**only.id()), Some("demo"));
        for (refused, problem) in [
            (world("demo", "nobody", &[]), "there is no such distribution"),
            (world("demo", "demo", &[]), "it is the same"),
            (world("demo", "next", &["next.test"]), "it has names of its own, by which nobody may ask for it"),
        ] {
            assert!(matches!(refused, Err(DistributionConflict::Staging { problem: said, .. }) if said == problem));
        }
    }

    #[test]
    fn an_id_or_alias_has_one_owner() {
        assert_eq!(distributions(&[("a", &[]), ("A", &[])]).unwrap_err(), DistributionConflict::Id("A".to_owned()));
        let taken = distributions(&[("a", &["x.test"]), ("b", &["X.test"])]).unwrap_err();
        let expected = DistributionConflict::Alias { alias: "X.test".to_owned(), distribution: "b".to_owned() };
        assert_eq!(taken, expected);
    }
}
