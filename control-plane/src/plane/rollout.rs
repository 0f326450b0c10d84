//! What distributions of the whole world say in CloudFront's words, and how a changed configuration reaches every cache.
//!
//! A change is checked before it is taken; from then on it is what should be, and caches that cannot be told are told again
//! until they have it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use cdn_core::{Instant, NodeId};
use serde_json::Value;

use super::{AGAIN_AFTER, Plane};
use crate::{hands::HandsError, registry::millis, respond::Refusal};

/// A distribution in CloudFront's words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    /// Its `DistributionConfig`.
    pub(crate) config: Value,
    /// The version of that: one configuration has one, and another has another.
    pub(crate) etag: String,
}

/// Every distribution, by id.
pub(crate) type AllDescribed = Arc<BTreeMap<String, Described>>;

/// Changed distributions on their way to caches. Pure.
#[derive(Debug, Default)]
pub(crate) struct Rollout {
    /// Distributions that were changed and that not every cache has yet.
    under_way: BTreeSet<String>,
    /// Caches that have yet to be told.
    behind: BTreeSet<NodeId>,
    /// When distributions were last changed, in milliseconds after the control plane was built.
    modified: BTreeMap<String, u64>,
    /// As they are, once somebody has asked.
    described: Option<AllDescribed>,
}

impl Rollout {
    /// Whether a change of this distribution is under way.
    pub(crate) fn is_of(&self, distribution: &str) -> bool {
        self.under_way.contains(distribution)
    }

    /// When it was last changed.
    pub(crate) fn modified_ms(&self, distribution: &str) -> u64 {
        self.modified.get(distribution).copied().unwrap_or_default()
    }

    /// A distribution was changed, which these caches have to be told.
    fn begin(&mut self, distribution: &str, caches: &[NodeId], now_ms: u64, described: AllDescribed) {
        self.under_way.insert(distribution.to_owned());
        self.behind.extend(caches.iter().cloned());
        self.modified.insert(distribution.to_owned(), now_ms);
        self.described = Some(described);
    }

    /// A cache has what it should have. Returns the distributions that every cache has from now on.
    fn handle_told(&mut self, node: &NodeId) -> BTreeSet<String> {
        let was_behind = self.behind.remove(node);
        if was_behind && self.behind.is_empty() { std::mem::take(&mut self.under_way) } else { BTreeSet::new() }
    }

    /// The whole world was given another configuration by other means.
    pub(super) fn forget(&mut self) {
        self.described = None;
    }
}

/// The version of a document: `E` and thirteen characters, as CloudFront's look.
pub(crate) fn etag_of(document: &Value) -> String {
    format!("E{}", digest_of(&document.to_string()))
}

/// Thirteen letters and digits that a text determines.
pub(crate) fn digest_of(text: &str) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let bits = hasher.finish();
    // 64 bits are thirteen digits of five.
    (0..13).map(|digit| char::from(DIGITS[(bits >> (5 * digit)) as usize % DIGITS.len()])).collect()
}

/// The behaviors of a configuration, the default one last.
pub(crate) fn behaviors(config: &Value) -> impl Iterator<Item = &Value> {
    let ordered = config["CacheBehaviors"]["Items"].as_array().into_iter().flatten();
    ordered.chain([&config["DefaultCacheBehavior"]])
}

/// The key groups that a configuration's behaviors trust.
pub(crate) fn trusted_key_groups(config: &Value) -> BTreeSet<&str> {
    let trusted = behaviors(config).map(|behavior| &behavior["TrustedKeyGroups"]);
    let trusted = trusted.filter(|trusted| trusted["Enabled"] == true);
    trusted.filter_map(|trusted| trusted["Items"].as_array()).flatten().filter_map(Value::as_str).collect()
}

impl Plane {
    /// Every distribution in CloudFront's words, as the whole world is to serve it.
    pub(crate) async fn described(&self) -> Result<AllDescribed, HandsError> {
        let (known, whole) = {
            let state = self.state();
            (state.rollout.described.clone(), state.desired.whole().cloned())
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let described = self.describe(whole.as_ref()).await?;
        let mut state = self.state();
        if state.desired.whole() == whole.as_ref() {
            state.rollout.described = Some(Arc::clone(&described));
        }
        Ok(described)
    }

    async fn describe(&self, whole: Option<&Value>) -> Result<AllDescribed, HandsError> {
        let configs = self.act(self.hands.distributions(whole)).await?;
        let described = configs.into_iter().map(|(id, config)| {
            let etag = etag_of(&config);
            (id, Described { config, etag })
        });
        Ok(Arc::new(described.collect()))
    }

    /// Changes a distribution to what `wanted`, a `DistributionConfig` in XML, says, if its version is `if_match`. Returns
    /// what it is from now on; caches are told meanwhile.
    pub(crate) async fn update_distribution(
        self: &Arc<Self>,
        id: &str,
        if_match: &str,
        wanted: &str,
    ) -> Result<Described, Refusal> {
        let _configuring = self.configuring.lock().await;
        let before = self.described().await?;
        let before = before.get(id).ok_or(Refusal::Internal)?;
        check_version(if_match, &before.etag)?;
        let whole = self.state().desired.whole().cloned();
        let changed = self.act(self.hands.update_distribution(whole.as_ref(), id, wanted)).await?;
        let described = self.describe(Some(&changed)).await?;
        let now = described.get(id).cloned().ok_or(Refusal::Internal)?;
        {
            let now_ms = millis(self.now().saturating_since(Instant::ZERO));
            let mut state = self.state();
            let caches = state.registry.caches();
            state.desired.set_whole(&caches, Some(changed));
            state.rollout.begin(id, &caches, now_ms, described);
        }
        self.tell("config", None, format!("distribution {id} was changed"));
        tokio::spawn({
            let plane = Arc::clone(self);
            async move { plane.roll_out().await }
        });
        Ok(now)
    }

    /// Tells every cache that is behind what it should serve, until none is.
    async fn roll_out(&self) {
        loop {
            match self.roll_out_once().await {
                Ok(()) => return,
                Err(error) => self.tell("error", None, format!("not every cache was told what to serve: {error}")),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN_AFTER) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    async fn roll_out_once(&self) -> Result<(), HandsError> {
        let _configuring = self.configuring.lock().await;
        let (whole, behind) = {
            let state = self.state();
            (state.desired.whole().cloned(), state.rollout.behind.clone())
        };
        if behind.is_empty() {
            return Ok(());
        }
        let told = behind.iter().map(async |node| (node, self.act(self.hands.configure(node, whole.as_ref())).await));
        let told = futures_util::future::join_all(told).await;
        // A configuration brings the keys that it was checked with.
        self.apply_key_groups().await?;
        let mut result = Ok(());
        for (node, done) in told {
            match done {
                Ok(()) => self.cache_told(node),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// A cache has what it should have.
    pub(super) fn cache_told(&self, node: &NodeId) {
        let deployed = self.state().rollout.handle_told(node);
        for id in deployed {
            self.tell("config", None, format!("distribution {id} is deployed"));
        }
    }
}

/// Refuses a change that is meant for another version.
pub(crate) fn check_version(if_match: &str, etag: &str) -> Result<(), HandsError> {
    if if_match == etag {
        return Ok(());
    }
    let message = "The precondition in one or more of the request-header fields evaluated to false: the If-Match version is \
                   not the current one.";
    Err(HandsError::Refused { code: "PreconditionFailed", message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_under_way_until_the_last_cache_has_it() {
        let nodes: Vec<NodeId> = ["edge.fra", "edge.iad"].map(|id| id.parse().unwrap()).into();
        let mut rollout = Rollout::default();
        rollout.begin("a", &nodes, 5, AllDescribed::default());
        assert!(rollout.handle_told(&nodes[0]).is_empty() && rollout.is_of("a"));
        rollout.begin("b", &nodes, 7, AllDescribed::default());
        assert!(rollout.handle_told(&nodes[1]).is_empty(), "the first has not heard of the second change");
        assert_eq!(rollout.handle_told(&nodes[0]), ["a".to_owned(), "b".to_owned()].into());
        assert_eq!((rollout.is_of("a"), rollout.modified_ms("b"), rollout.modified_ms("c")), (false, 7, 0));
        assert!(rollout.handle_told(&nodes[0]).is_empty(), "it was not behind");
    }

    #[test]
    fn versions_look_like_cloudfronts_and_follow_what_is_said() {
        let etag = etag_of(&json!({ "Comment": "a" }));
        assert!(etag.len() == 14 && etag.starts_with('E') && etag.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(etag, etag_of(&json!({ "Comment": "a" })));
        assert_ne!(etag, etag_of(&json!({ "Comment": "b" })));
    }
}
