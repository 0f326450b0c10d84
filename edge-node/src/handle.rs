//! What a running node can be told and asked, without HTTP.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use cdn_core::{
    Counter, Counters,
    distribution::{CachePolicy, Distribution, DistributionConflict, DistributionError, Distributions},
    invalidation::InvalidationError,
    signing::TrustedKeys,
    store::{EntryDetail, EntryReport},
};

use crate::{
    explain::{Explanation, Supposed, explain},
    node::Node,
    tls::{Certificate, CertificateError},
};

/// One stored response, for people.
pub type Entry = EntryReport;

/// What is stored under a path, with what decides about it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Pattern of the behavior that serves the path.
    pub behavior: String,
    /// The cache policy, which says what is in the key beside distribution, method class and path.
    pub cache_policy: CachePolicy,
    /// What is stored.
    pub entries: Vec<EntryDetail>,
}

/// Why an invalidation was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidateError {
    /// There is no such distribution here.
    UnknownDistribution,
    /// The pattern is none.
    Pattern(InvalidationError),
}

impl std::fmt::Display for InvalidateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownDistribution => f.write_str("there is no such distribution"),
            Self::Pattern(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InvalidateError {}

/// Steers a node that runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    node: Arc<Node>,
}

impl Handle {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The node's counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.node.counters
    }

    /// Removes what `pattern` covers from the store of this node; how many responses that were, in memory and on disk.
    /// Fetches that are under way will not be stored.
    ///
    /// # Errors
    /// [`InvalidateError`] where the distribution or the pattern is none.
    pub fn invalidate(&self, distribution: &str, pattern: &str) -> Result<u64, InvalidateError> {
        let distribution = self.distribution(distribution).ok_or(InvalidateError::UnknownDistribution)?;
        let pattern = distribution.invalidation(pattern).map_err(InvalidateError::Pattern)?;
        Ok(self.node.invalidate(&distribution, &pattern))
    }

    /// What is stored under `path` of a distribution (by id or host), with any query string.
    pub fn cache_where(&self, distribution: &str, path: &str) -> Vec<Entry> {
        let Some(distribution) = self.distribution(distribution) else { return Vec::new() };
        let root = distribution.root_object_for(path);
        let path = root.as_deref().unwrap_or(path);
        self.entries(distribution.id(), path)
    }

    /// What is stored under `path` of a distribution (by id or host), with any query string, and what decides about it.
    /// `None` where there is no such distribution.
    pub fn cache_show(&self, distribution: &str, path: &str) -> Option<Shown> {
        let distribution = self.distribution(distribution)?;
        let root = distribution.root_object_for(path);
        let path = root.as_deref().unwrap_or(path);
        let behavior = distribution.behavior_for(path);
        let mut entries = self.node.store.details(self.node.clock.now(), distribution.id(), path);
        entries.extend(self.node.disk.iter().flat_map(|disk| disk.details(distribution.id(), path)));
        Some(Shown {
            behavior: behavior.pattern().as_str().to_owned(),
            cache_policy: behavior.cache_policy().clone(),
            entries,
        })
    }

    /// What would become of a request, and why. `None` where nothing answers to its distribution.
    pub fn explain(&self, supposed: Supposed) -> Option<Explanation> {
        explain(&self.node, supposed)
    }

    /// Closes idle connections to origins and caches between, and those in use after their response: what a faulty link or a
    /// moved origin asks for.
    pub fn drop_idle_connections(&self) {
        self.node.pool.drop_idle();
    }

    /// Waits until everything is on the disk tier that is on its way there. It blocks.
    pub fn flush_disk(&self) {
        if let Some(disk) = &self.node.disk {
            disk.flush();
        }
    }

    /// Replaces what the node serves, at once and for whole requests. A disk tier is given up: it was told what its
    /// responses belong to when it was opened.
    ///
    /// # Errors
    /// [`DistributionConflict`] where two distributions claim one id or host; nothing is changed then.
    pub fn set_distributions(&self, all: Vec<Arc<Distribution>>) -> Result<(), DistributionConflict> {
        self.serve(Distributions::new(all)?);
        if let Some(disk) = &self.node.disk {
            disk.give_up();
        }
        Ok(())
    }

    /// Replaces the certificates for viewers; open connections keep theirs. Does nothing on a node without HTTPS.
    ///
    /// # Errors
    /// One of them cannot be used; nothing is changed then.
    pub fn set_certificates(&self, certificates: &[Certificate]) -> Result<(), CertificateError> {
        self.node.tls.as_ref().map_or(Ok(()), |tls| tls.set(certificates))
    }

    /// What it serves at the moment.
    pub fn distributions(&self) -> Vec<Arc<Distribution>> {
        self.node.distributions.load().iter().cloned().collect()
    }

    /// Replaces the keys of all key groups, at once and for whole requests. What is stored stays.
    ///
    /// # Errors
    /// A behavior trusts a group that is not among them, or a group is none; nothing is changed then.
    pub fn set_key_groups(&self, groups: &BTreeMap<String, TrustedKeys>) -> Result<(), DistributionError> {
        let before = self.node.distributions.load();
        let all = before.iter().map(|distribution| Ok(Arc::new(distribution.with_key_groups(groups)?)));
        let all = Distributions::new(all.collect::<Result<_, DistributionError>>()?);
        // Names are as before, so that nothing can claim what another one has.
        if let Ok(all) = all {
            self.serve(all);
        }
        Ok(())
    }

    /// Makes what the node takes for the date go wrong by `ahead` nanoseconds, or right with 0: the age and freshness of what
    /// arrives, `Date` of its own, and whether signatures hold follow it. Lines of its log do not.
    pub fn set_clock(&self, ahead: i64) {
        self.node.wall.set_ahead(ahead);
    }

    /// Takes the node out of service or back: a draining edge fails the probe of routers and serves whoever still
    /// comes; a draining regional cache or shield sends who asks to what is behind it.
    pub fn drain(&self, drain: bool) {
        self.node.draining.store(drain, Ordering::Relaxed);
    }

    /// Whether it is being taken out of service.
    pub fn is_draining(&self) -> bool {
        self.node.is_draining()
    }

    /// Client connections that are open.
    pub fn connections(&self) -> u64 {
        self.node.counters.value(Counter::EdgeConnections)
    }

    fn serve(&self, all: Distributions) {
        if let Some(log) = &self.node.decisions {
            log.serves(all.iter());
        }
        self.node.distributions.store(Arc::new(all));
        self.node.signatures.clear();
    }

    fn entries(&self, distribution: &str, path: &str) -> Vec<Entry> {
        let mut entries = self.node.store.reports(self.node.clock.now(), distribution, path);
        entries.extend(self.node.disk.iter().flat_map(|disk| disk.reports(distribution, path)));
        entries
    }

    fn distribution(&self, id_or_host: &str) -> Option<Arc<Distribution>> {
        let distributions = self.node.distributions.load();
        distributions.by_id(id_or_host).or_else(|| distributions.by_host(id_or_host)).cloned()
    }
}
