//! Explained decisions, kept so that they can be told again: the snapshot they were made from, and whom they were for.
//!
//! A snapshot is never edited, so the same question to it gives the same answer, whatever has happened since. Only what
//! somebody was told is kept, and only so much of it.

use std::{collections::VecDeque, net::IpAddr, sync::Arc};

use cdn_core::{
    NodeId,
    routing::{AskedBy, ExplainOptions, Explanation},
};

use crate::control::Published;

/// One decision, with everything that it depends on.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) published: Arc<Published>,
    pub(crate) host: usize,
    pub(crate) name: String,
    pub(crate) client: IpAddr,
    pub(crate) asked_by: AskedBy,
    pub(crate) options: ExplainOptions,
}

impl Decision {
    pub(crate) fn explain(&self) -> Explanation {
        let Self { published, host, name, client, asked_by, options } = self;
        published.snapshot.explain(*host, name, *client, *asked_by, options)
    }
}

/// The last decisions that were told. An id names the router, the snapshot's version and the how manieth it was:
/// `iad-42-7`.
#[derive(Debug)]
pub(crate) struct Decisions {
    router: String,
    kept: VecDeque<(String, Decision)>,
    kept_max: usize,
    told: u64,
}

impl Decisions {
    pub(crate) fn new(router: &NodeId, kept_max: usize) -> Self {
        Self { router: router.name().to_owned(), kept: VecDeque::new(), kept_max, told: 0 }
    }

    /// Keeps `decision`; its id, and whether an older one had to go.
    pub(crate) fn keep(&mut self, decision: Decision) -> (String, bool) {
        self.told += 1;
        let id = format!("{}-{}-{}", self.router, decision.published.snapshot.version(), self.told);
        let is_full = self.kept.len() >= self.kept_max;
        if is_full {
            self.kept.pop_front();
        }
        if self.kept_max > 0 {
            self.kept.push_back((id.clone(), decision));
        }
        (id, is_full)
    }

    /// The decision `id`, if it is still kept.
    pub(crate) fn find(&self, id: &str) -> Option<Decision> {
        self.kept.iter().find(|(kept, _)| kept == id).map(|(_, decision)| decision.clone())
    }
}
