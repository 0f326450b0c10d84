//! Looking into the caches: who holds a path, what exactly, and how much good they do.

use control_plane::wire::{CacheReport, CacheStats, StoreStats};
use serde_json::Value;

use crate::{
    args::{CacheVerb, Cli},
    quantity::ByteCount,
    talk::VerbError,
    verbs::{
        api,
        ask::host_of,
        paint::{Paint, table},
        print,
    },
};

pub(super) async fn run(cli: &Cli, verb: &CacheVerb) -> Result<(), VerbError> {
    match verb {
        CacheVerb::Where { path } => {
            let report: CacheReport = api(cli)?.read("/v1/cache", &query_of(path)).await?;
            print(cli, &report, where_text)
        }
        CacheVerb::Show { path, at } => {
            let mut query = query_of(path);
            query.extend(at.iter().map(|at| ("at", at.clone())));
            let report: CacheReport = api(cli)?.read("/v1/cache/show", &query).await?;
            let paint = Paint::of(cli);
            print(cli, &report, |report| show_text(paint, report))
        }
        CacheVerb::Stats => {
            let stats: CacheStats = api(cli)?.read("/v1/cache/stats", &()).await?;
            print(cli, &stats, stats_text)
        }
    }
}

/// A path, or a URL, whose host names the distribution.
fn query_of(path: &str) -> Vec<(&'static str, String)> {
    let (path, distribution) = match path.split_once("://") {
        Some((_, rest)) => match rest.find('/') {
            Some(slash) => (rest[slash..].to_owned(), Some(host_of(path))),
            None => ("/".to_owned(), Some(host_of(path))),
        },
        None => (path.to_owned(), None),
    };
    let mut query = vec![("path", path)];
    query.extend(distribution.map(|name| ("distribution", name)));
    query
}

fn where_text(report: &CacheReport) -> String {
    const HEADINGS: [&str; 7] = ["NODE", "KEPT IN", "STATE", "ETAG", "AGE", "FRESH FOR", "BYTES"];
    let mut rows = Vec::new();
    for node in &report.nodes {
        let empty = |state: &str| {
            let mut row = vec![node.node.clone(), String::new(), state.to_owned()];
            row.resize(HEADINGS.len(), String::new());
            row
        };
        if let Some(error) = &node.error {
            rows.push(empty(error));
            continue;
        }
        let entries = node.entries.as_array().map(Vec::as_slice).unwrap_or_default();
        if entries.is_empty() {
            rows.push(empty("absent"));
        }
        for entry in entries {
            rows.push(vec![
                node.node.clone(),
                word(&entry["kept_in"]),
                word(&entry["state"]),
                word(&entry["etag"]),
                seconds(&entry["age_s"]),
                seconds(&entry["fresh_for_s"]),
                word(&entry["bytes"]),
            ]);
        }
    }
    table(&HEADINGS, rows)
}

/// One paragraph per entry; nodes that hold nothing share a line.
fn show_text(paint: Paint, report: &CacheReport) -> String {
    let mut text = String::new();
    let mut absent = Vec::new();
    for node in &report.nodes {
        let entries = node.entries.as_array().map(Vec::as_slice).unwrap_or_default();
        match &node.error {
            Some(error) => text.push_str(&format!("{}  {}\n\n", node.node, paint.bad(error))),
            None if entries.is_empty() => absent.push(node.node.as_str()),
            None => {}
        }
        for entry in entries {
            text.push_str(&entry_text(paint, &node.node, entry));
            text.push('\n');
        }
    }
    if !absent.is_empty() {
        text.push_str(&format!("absent from {}\n", absent.join(", ")));
    }
    text
}

fn entry_text(paint: Paint, node: &str, entry: &Value) -> String {
    let key = &entry["key"];
    let mut rows = vec![
        (
            "key",
            format!(
                "{} {} of {} ({})",
                word(&key["methods"]),
                word(&entry["uri"]),
                word(&key["distribution"]),
                word(&key["hash"])
            ),
        ),
        (
            "",
            format!(
                "{} for {}: query strings {}; headers {}; cookies {}; encodings {}",
                word(&key["cache_policy"]),
                word(&key["behavior"]),
                word(&key["query_strings"]),
                word(&key["headers"]),
                word(&key["cookies"]),
                list(&key["accept_encoding"]),
            ),
        ),
        ("variant by", list(&entry["vary"])),
    ];
    if entry["lacking"].as_array().is_some_and(|lacking| !lacking.is_empty()) {
        rows.push(("lacks", format!("bytes {}", list(&entry["lacking"]))));
    }
    let freshness = &entry["freshness"];
    if freshness.is_object() {
        let resident = seconds(&freshness["resident_s"]);
        rows.extend([
            (
                "age",
                format!(
                    "{} = {} on arrival + {resident} here",
                    seconds(&entry["age_s"]),
                    seconds(&freshness["initial_age_s"])
                ),
            ),
            (
                "fresh for",
                format!(
                    "{} = {} on arrival - {resident} here",
                    seconds(&entry["fresh_for_s"]),
                    seconds(&freshness["fresh_on_arrival_s"])
                ),
            ),
            (
                "stale",
                format!(
                    "{} while revalidated, {} while the origin fails, {} while it is gone",
                    seconds(&freshness["while_revalidate_s"]),
                    seconds(&freshness["if_error_s"]),
                    seconds(&freshness["if_gone_s"]),
                ),
            ),
        ]);
        if freshness["origin_left_alone_for_s"].as_f64().is_some_and(|left| left > 0.0) {
            rows.push((
                "origin",
                format!("failed, and is left alone for {}", seconds(&freshness["origin_left_alone_for_s"])),
            ));
        }
    }
    let status = word(&entry["status"]);
    let (place, last) = match word(&entry["kept_in"]).as_str() {
        "disk" => ("on the disk", "written"),
        _ => ("in the store", "last asked for"),
    };
    let bytes = format!("{} bytes, {} {place}", word(&entry["bytes"]), word(&entry["stored_bytes"]));
    let mut text = format!(
        "{node}  {}  {status}  {bytes}, {last} {} ago\n",
        word(&entry["state"]),
        seconds(&entry["since_last_hit_s"])
    );
    for (name, value) in rows {
        text.push_str(&format!("  {name:<11} {value}\n"));
    }
    for header in entry["headers"].as_array().into_iter().flatten() {
        text.push_str(&paint.dim(&format!("  {}: {}", word(&header[0]), word(&header[1]))));
        text.push('\n');
    }
    text
}

fn stats_text(stats: &CacheStats) -> String {
    const STORE: [&str; 12] = [
        "NODE",
        "OBJECTS",
        "BYTES",
        "LIMIT",
        "HITS",
        "REFRESHED",
        "MISSES",
        "PASSES",
        "COLLAPSED",
        "EVICTED",
        "HIT RATIO",
        "BY BYTES",
    ];
    const DISK: [&str; 3] = ["ON DISK", "DISK BYTES", "DISK HITS"];
    let has_disk = stats.nodes.iter().any(|node| node.stats.as_ref().is_some_and(|stats| stats.disk.is_some()));
    let headings: Vec<&str> = STORE.into_iter().chain(DISK.into_iter().filter(|_| has_disk)).collect();
    let rows = stats.nodes.iter().map(|node| match (&node.stats, &node.error) {
        (Some(stats), _) => stats_row(&node.node, stats),
        (None, error) => vec![node.node.clone(), error.clone().unwrap_or_default()],
    });
    table(&headings, rows)
}

fn stats_row(node: &str, stats: &StoreStats) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let mut row = vec![
        node.to_owned(),
        stats.objects.to_string(),
        stats.bytes.to_string(),
        ByteCount(stats.bytes_max).to_string(),
        stats.hits.to_string(),
        stats.refresh_hits.to_string(),
        stats.misses.to_string(),
        stats.passes.to_string(),
        stats.collapsed.to_string(),
        stats.evictions.to_string(),
        share(stats.hit_ratio),
        share(stats.byte_hit_ratio),
    ];
    if let Some(disk) = &stats.disk {
        row.extend([disk.objects, disk.bytes, disk.hits].map(|number| number.to_string()));
    }
    row
}

pub(super) fn word(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(super) fn list(value: &Value) -> String {
    let words: Vec<String> = value.as_array().into_iter().flatten().map(word).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

pub(super) fn seconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |s| format!("{s:.0} s"))
}
