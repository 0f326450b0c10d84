//! The admin routes that look into a cache: what it holds of a path, and what it has done.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use cdn_core::{
    Counter, Role,
    distribution::{CachePolicy, Distribution},
    store::{EntryDetail, EntryReport},
};
use control_plane::wire::{DiskStats, StoreStats};
use edge_node::Handle;
use serde::Deserialize;
use serde_json::{Value, json};

use super::explain;
use crate::cluster::Cluster;

#[derive(Clone)]
pub(crate) struct Cache {
    pub(crate) handle: Handle,
    cluster: Arc<Cluster>,
    pub(crate) tier: Role,
}

/// The routes of a node that is a cache.
pub(crate) fn routes(handle: Handle, cluster: Arc<Cluster>, tier: Role) -> Router {
    Router::new()
        .route("/cache", get(cache_where))
        .route("/cache/show", get(cache_show))
        .route("/cache/stats", get(cache_stats))
        .route("/explain", get(explain::handle))
        .with_state(Cache { handle, cluster, tier })
}

#[derive(Deserialize)]
struct PathAsk {
    path: String,
    distribution: Option<String>,
}

impl Cache {
    /// The distributions that are meant.
    fn distributions(&self, wanted: Option<&str>) -> impl Iterator<Item = &Distribution> {
        let is_wanted = move |one: &&Distribution| wanted.is_none_or(|wanted| wanted == &**one.id());
        self.cluster.distributions.iter().map(|one| &**one).filter(is_wanted)
    }
}

async fn cache_where(State(cache): State<Cache>, Query(ask): Query<PathAsk>) -> Json<Value> {
    let rows = cache.distributions(ask.distribution.as_deref()).flat_map(|distribution| {
        let entries = cache.handle.cache_where(distribution.id(), &ask.path);
        entries.into_iter().map(|entry| row(distribution.id(), &entry))
    });
    Json(rows.collect())
}

async fn cache_show(State(cache): State<Cache>, Query(ask): Query<PathAsk>) -> Json<Value> {
    let mut rows = Vec::new();
    for distribution in cache.distributions(ask.distribution.as_deref()) {
        let Some(shown) = cache.handle.cache_show(distribution.id(), &ask.path) else { continue };
        let row = |entry| detail_row(&cache, distribution.id(), &shown.behavior, &shown.cache_policy, entry);
        rows.extend(shown.entries.iter().map(row));
    }
    Json(Value::Array(rows))
}

async fn cache_stats(State(cache): State<Cache>) -> Json<StoreStats> {
    Json(stats(&|counter| cache.handle.counters().value(counter)))
}

/// One entry in short.
fn row(distribution: &str, entry: &EntryReport) -> Value {
    json!({
        "distribution": distribution,
        "kept_in": entry.kept_in.as_str(),
        "uri": entry.uri,
        "state": entry.state.as_str(),
        "status": entry.status.map(|status| status.as_u16()),
        "etag": entry.etag.as_ref().and_then(|tag| tag.to_str().ok()),
        "vary": entry.vary,
        "age_s": entry.age.as_secs_f64(),
        "fresh_for_s": entry.fresh_for.as_secs_f64(),
        "bytes": entry.body_bytes,
        "since_last_hit_s": entry.since_last_hit.as_secs_f64(),
    })
}

/// One entry with what decides about it.
pub(crate) fn detail_row(
    cache: &Cache,
    distribution: &str,
    behavior: &str,
    policy: &CachePolicy,
    entry: &EntryDetail,
) -> Value {
    let (path, query) = entry.report.uri.split_once('?').map_or((&*entry.report.uri, None), |(p, q)| (p, Some(q)));
    let encodings: Vec<&str> =
        [("gzip", policy.gzip), ("br", policy.brotli)].into_iter().filter(|one| one.1).map(|one| one.0).collect();
    let mut row = row(distribution, &entry.report);
    row["tier"] = cache.tier.as_str().into();
    row["stored_bytes"] = entry.report.bytes.into();
    row["key"] = json!({
        "hash": format!("{:032x}", entry.key.bits()),
        "distribution": distribution,
        "behavior": behavior,
        "cache_policy": policy.name,
        "methods": if entry.head_only { "HEAD" } else { "GET, HEAD" },
        "path": path,
        "query": query,
        "query_strings": policy.query.to_string(),
        "headers": policy.headers.to_string(),
        "cookies": policy.cookies.to_string(),
        "accept_encoding": encodings,
    });
    if let Some(response) = &entry.response {
        let lifetime = response.lifetime;
        let headers = response.head.headers();
        let lines =
            headers.iter().map(|(name, value)| [name.as_str().into(), String::from_utf8_lossy(value.as_bytes())]);
        row["headers"] = json!(lines.collect::<Vec<_>>());
        let lacking = response.lacking.iter().map(|range| format!("{}-{}", range.first, range.last));
        row["lacking"] = json!(lacking.collect::<Vec<_>>());
        row["freshness"] = json!({
            "initial_age_s": lifetime.initial_age.as_secs_f64(),
            "resident_s": response.resident.as_secs_f64(),
            "fresh_on_arrival_s": lifetime.fresh_for.as_secs_f64(),
            "while_revalidate_s": lifetime.while_revalidate.as_secs_f64(),
            "if_error_s": lifetime.if_error.as_secs_f64(),
            "if_gone_s": lifetime.if_gone.as_secs_f64(),
            "origin_left_alone_for_s": response.origin_left_alone_for.as_secs_f64(),
        });
    }
    row
}

fn stats(value: &dyn Fn(Counter) -> u64) -> StoreStats {
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let (hits, refresh_hits, misses) =
        (value(Counter::EdgeHits), value(Counter::EdgeRefreshHits), value(Counter::EdgeMisses));
    let bytes_sent = value(Counter::EdgeBytesSent);
    let disk = DiskStats {
        objects: value(Counter::EdgeDiskObjects),
        bytes: value(Counter::EdgeDiskBytes),
        hits: value(Counter::EdgeDiskHits),
        writes: value(Counter::EdgeDiskWrites),
        evictions: value(Counter::EdgeDiskEvictions),
    };
    StoreStats {
        objects: value(Counter::EdgeStoreObjects),
        bytes: value(Counter::EdgeStoreBytes),
        bytes_max: value(Counter::EdgeStoreBytesMax),
        hits,
        refresh_hits,
        misses,
        passes: value(Counter::EdgePasses),
        collapsed: value(Counter::EdgeCollapsed),
        hit_ratio: ratio(hits + refresh_hits, hits + refresh_hits + misses),
        byte_hit_ratio: ratio(value(Counter::EdgeBytesFromStore), bytes_sent),
        bytes_sent,
        evictions: value(Counter::EdgeEvictions),
        admissions_refused: value(Counter::EdgeAdmissionsRefused),
        disk: (disk != DiskStats::default()).then_some(disk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_count_refreshed_hits_and_are_unknown_without_requests() {
        let counted = |counter| match counter {
            Counter::EdgeHits => 6,
            Counter::EdgeRefreshHits => 3,
            Counter::EdgeMisses => 1,
            Counter::EdgeBytesSent => 1_000,
            Counter::EdgeBytesFromStore => 400,
            _ => 0,
        };
        let stats_of_some = stats(&counted);
        assert_eq!((stats_of_some.hit_ratio, stats_of_some.byte_hit_ratio), (Some(0.9), Some(0.4)));
        let stats_of_none = stats(&|_| 0);
        assert_eq!((stats_of_none.hit_ratio, stats_of_none.byte_hit_ratio), (None, None));
    }
}
