//! Where the time of one request went.
//!
//! A [`Recorder`] cuts the time from the first moment to the last into entries, one after the other: each begins where
//! the one before ended, so the entries add up to the total by construction. The time until the response head is split
//! further by what the edge said in `Server-Timing`; what the edge does not explain is the network's. Knows no socket.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cdn_core::Reason;
use serde::Serialize;

use crate::server_timing::{EdgeTiming, Metric};

/// What an entry's time was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A name's addresses.
    Dns,
    /// One connection attempt.
    Connect,
    /// The TLS handshake.
    Tls,
    /// One connection attempt by QUIC, whose handshake is that of TLS too.
    Quic,
    /// The request's and the response head's way, or a request that got no answer.
    Request,
    /// The edge looked into its store.
    EdgeLookup,
    /// The edge waited for another request's fetch of the same object.
    EdgeWait,
    /// The way from the edge to the regional cache and back.
    RegionalHop,
    /// The regional cache looked into its store.
    RegionalLookup,
    /// The regional cache waited for another request's fetch.
    RegionalWait,
    /// One attempt of the regional cache at an origin.
    RegionalAttempt,
    /// The way from the edge, or the regional cache, to the shield and back.
    ShieldHop,
    /// The shield looked into its store.
    ShieldLookup,
    /// The shield waited for another request's fetch.
    ShieldWait,
    /// One attempt of the shield at an origin.
    ShieldAttempt,
    /// One attempt of the edge at an origin.
    OriginAttempt,
    /// The edge's own work.
    Edge,
    /// From the response head to the last byte.
    Transfer,
    /// Bytes went both ways, and what they meant is not the proxy's to know.
    Tunnel,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// What it was spent on.
    pub step: Step,
    /// Who with whom, such as `berlin → fra`.
    pub label: String,
    /// What happened, such as `connect 2 refused`.
    pub detail: String,
    /// Milliseconds.
    pub duration_ms: f64,
}

/// Where the time of one request went. The entries add up to the total.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ledger {
    /// The name that the client gave it.
    pub id: String,
    /// The place of the viewer.
    pub place: String,
    /// The request's method.
    pub method: String,
    /// What was asked for.
    pub url: String,
    /// The status that the client got; 0 when the response broke off before it had one.
    pub status: u16,
    /// The PoP that answered, in lower case; empty when none did or it did not say.
    pub pop: String,
    /// The address that answered.
    pub edge: Option<std::net::SocketAddr>,
    /// `hit`, `miss` or `refresh`, as the edge said.
    pub cache: Option<String>,
    /// The edge's id of the request.
    pub request_id: Option<String>,
    /// Whether connection and DNS were made before the clock started.
    pub warm: bool,
    /// Whether the request came to its end.
    pub complete: bool,
    /// What went wrong; empty when nothing did.
    pub error: String,
    /// The word for it where the proxy answered by itself, as in `x-iso-reason`; empty where an edge answered.
    pub reason: String,
    /// When the clock started, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Bytes of the response body.
    pub body_bytes: u64,
    /// The parts, in order of time.
    pub entries: Vec<Entry>,
    /// From the request's arrival at the proxy to the last byte of the response, in milliseconds.
    pub total_ms: f64,
}

impl Ledger {
    /// The ledger as a table for a terminal: durations right-aligned, the total last.
    pub fn render(&self) -> String {
        let mut title = match self.status {
            0 => format!("{} {}", self.method, self.url),
            status => format!("{status}  {} {}", self.method, self.url),
        };
        if !self.error.is_empty() {
            let reason = if self.reason.is_empty() { String::new() } else { format!("{}: ", self.reason) };
            let _ = write!(title, "  ({reason}{})", self.error);
        } else if !self.complete {
            title.push_str("  (broken off)");
        }
        let width = |text: &str| text.chars().count();
        let label_width = self.entries.iter().map(|entry| width(&entry.label)).max().unwrap_or(0);
        let detail_width = self.entries.iter().map(|entry| width(&entry.detail)).max().unwrap_or(0);
        let number_width = format!("{:.1}", self.total_ms).len().max(7);
        // Two columns in front, two between label and detail, two before the number.
        let left_width = (2 + label_width + 2 + detail_width + 2).max(width("total") + 4);
        let mut text = format!("{title}\n");
        for entry in &self.entries {
            let left = format!("  {:label_width$}  {}", entry.label, entry.detail);
            let _ = writeln!(text, "{left:left_width$}{:>number_width$.1} ms", entry.duration_ms);
        }
        let total_width = left_width - 1;
        let _ = writeln!(text, "{:>total_width$} {:>number_width$.1} ms", "total", self.total_ms);
        text
    }
}

/// Writes one ledger while the request is under way.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    /// Whether anybody wants the ledger. Where nobody does, nothing is put into words.
    is_kept: bool,
    place: String,
    method: String,
    url: String,
    warm: bool,
    started: Instant,
    started_unix_ms: u64,
    mark: Instant,
    /// What is waited for, and with whom.
    waits: Option<(Step, String)>,
    entries: Vec<Entry>,
    /// The address that was tried first, and when.
    pub(crate) asked: Option<(std::net::SocketAddr, Instant)>,
    /// Another address of the answer than its first one was connected to.
    pub(crate) fell_back: bool,
}

/// How a request ended.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) status: u16,
    pub(crate) edge: Option<std::net::SocketAddr>,
    pub(crate) timing: Option<EdgeTiming>,
    pub(crate) complete: bool,
    pub(crate) error: String,
    pub(crate) reason: Option<Reason>,
    pub(crate) body_bytes: u64,
}

impl Recorder {
    pub(crate) fn start(place: &str, method: &str, url: &str) -> Self {
        Self { is_kept: true, method: method.into(), url: url.into(), ..Self::without_ledger(place) }
    }

    /// Of a request whose ledger nobody wants.
    pub(crate) fn without_ledger(place: &str) -> Self {
        let now = Instant::now();
        Self {
            is_kept: false,
            place: place.into(),
            method: String::new(),
            url: String::new(),
            warm: false,
            started: now,
            started_unix_ms: unix_ms(),
            mark: now,
            waits: None,
            entries: Vec::new(),
            asked: None,
            fell_back: false,
        }
    }

    /// Starts the clock again: everything until now was preparation.
    pub(crate) fn restart_warm(&mut self) {
        self.warm = true;
        self.started = Instant::now();
        self.started_unix_ms = unix_ms();
        self.mark = self.started;
        self.entries.clear();
    }

    /// From now on this is waited for.
    pub(crate) fn wait_for(&mut self, step: Step, label: impl FnOnce() -> String) {
        if self.is_kept {
            self.waits = Some((step, label()));
        }
    }

    /// Nobody waits any more: everything since the last entry was spent on what did not come.
    pub(crate) fn break_off(&mut self) {
        let Some((step, label)) = self.waits.take() else { return };
        let what = match step {
            Step::Dns => "dns",
            Step::Connect => "connect",
            Step::Tls => "tls",
            Step::Quic => "quic handshake",
            _ => "request",
        };
        self.step(step, label, format!("{what}, no answer yet"));
    }

    /// Everything since the last entry was spent on this.
    pub(crate) fn step(&mut self, step: Step, label: String, detail: String) {
        let duration_ms = self.cut();
        self.entries.push(Entry { step, label, detail, duration_ms });
    }

    /// The same, where label and detail are only made for a ledger.
    pub(crate) fn step_with(&mut self, step: Step, words: impl FnOnce() -> (String, String)) {
        if self.is_kept {
            let (label, detail) = words();
            self.step(step, label, detail);
        }
    }

    /// Everything since the last entry was spent on these, in proportion to their weights.
    pub(crate) fn steps(&mut self, parts: impl FnOnce() -> Vec<(Entry, Duration)>) {
        if !self.is_kept {
            return;
        }
        let parts = parts();
        let total_ms = self.cut();
        let weights: f64 = parts.iter().map(|(_, weight)| weight.as_secs_f64()).sum();
        let count = parts.len() as f64;
        self.entries.extend(parts.into_iter().map(|(entry, weight)| {
            let share = if weights > 0.0 { weight.as_secs_f64() / weights } else { 1.0 / count };
            Entry { duration_ms: total_ms * share, ..entry }
        }));
    }

    /// The response head came: everything since the last entry is split by what the edge said.
    pub(crate) fn response(&mut self, viewer: &str, pop: &str, detail: &str, timing: Option<&EdgeTiming>) {
        let total_ms = self.cut();
        self.entries.extend(split(total_ms, viewer, pop, detail, timing));
    }

    /// The ledger, with the total up to now. The last entry must have been made just before.
    pub(crate) fn finish(&self, id: &str, ending: Ending) -> Ledger {
        let timing = ending.timing.unwrap_or_default();
        Ledger {
            id: id.into(),
            place: self.place.clone(),
            method: self.method.clone(),
            url: self.url.clone(),
            status: ending.status,
            pop: timing.metro().unwrap_or_default(),
            edge: ending.edge,
            cache: timing.cache,
            request_id: timing.request_id,
            warm: self.warm,
            complete: ending.complete,
            error: ending.error,
            reason: ending.reason.map_or_else(String::new, |reason| reason.to_string()),
            started_unix_ms: self.started_unix_ms,
            body_bytes: ending.body_bytes,
            entries: self
                .entries
                .iter()
                .map(|entry| Entry { duration_ms: round(entry.duration_ms), ..entry.clone() })
                .collect(),
            total_ms: round(self.mark.duration_since(self.started).as_secs_f64() * 1e3),
        }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    fn cut(&mut self) -> f64 {
        let now = Instant::now();
        let spent = now.duration_since(self.mark);
        self.mark = now;
        self.waits = None;
        spent.as_secs_f64() * 1e3
    }
}

/// Splits the time from request to response head: the network's share first, then the edge's steps as it told them,
/// then the rest of the edge. No step gets more than is left, so the parts are always the whole.
fn split(total_ms: f64, viewer: &str, pop: &str, detail: &str, timing: Option<&EdgeTiming>) -> Vec<Entry> {
    let request = |duration_ms| Entry {
        step: Step::Request,
        label: format!("{viewer} → {pop}"),
        detail: detail.to_owned(),
        duration_ms,
    };
    let Some(timing) = timing else { return vec![request(total_ms)] };
    let told: f64 = timing
        .metrics
        .iter()
        .filter(|metric| metric.name.starts_with("edge-"))
        .filter_map(|metric| metric.duration_ms)
        .sum();
    let mut left = timing.edge_ms.unwrap_or(told).clamp(0.0, total_ms);
    let mut entries = vec![request(total_ms - left)];
    let mut spend = |step, label: String, detail: String, wanted: f64| {
        let duration_ms = wanted.clamp(0.0, left);
        left -= duration_ms;
        entries.push(Entry { step, label, detail, duration_ms });
    };
    let cache = timing.cache.as_deref().unwrap_or("").to_ascii_uppercase();
    let (mut regional, mut shield) = (String::new(), String::new());
    let (mut metrics, mut connects) = (timing.metrics.iter().peekable(), Connects::default());
    // What a cache behind did itself is a part of the hop to it.
    let inner = |rest: std::iter::Peekable<std::slice::Iter<'_, Metric>>, tier: &str| -> f64 {
        let behind =
            rest.take_while(|metric| ["regional-", "shield-"].iter().any(|tier| metric.name.starts_with(tier)));
        behind.filter(|metric| metric.name.starts_with(tier)).filter_map(|metric| metric.duration_ms).sum()
    };
    const WAITED: &str = "waited for another request's fetch";
    while let Some(metric) = metrics.next() {
        let wanted = metric.duration_ms.unwrap_or(0.0);
        match metric.name.as_str() {
            "edge-lookup" => spend(
                Step::EdgeLookup,
                pop.to_owned(),
                format!("{cache}, lookup").trim_start_matches(", ").into(),
                wanted,
            ),
            "edge-collapsed" => spend(Step::EdgeWait, pop.to_owned(), WAITED.into(), wanted),
            "edge-regional" => {
                regional = format!("regional {}", metric.description.to_ascii_lowercase());
                let label = format!("{pop} → {regional}");
                let way = (wanted - inner(metrics.clone(), "regional-")).max(0.0);
                spend(Step::RegionalHop, label, "hop".into(), way);
            }
            "edge-shield" | "regional-shield" => {
                shield = format!("shield {}", metric.description.to_ascii_lowercase());
                let from = if metric.name == "edge-shield" { pop } else { &regional };
                let label = format!("{from} → {shield}");
                let way = (wanted - inner(metrics.clone(), "shield-")).max(0.0);
                spend(Step::ShieldHop, label, "hop".into(), way);
            }
            "edge-attempt" => {
                let (label, detail) = connects.describe(pop, metric);
                spend(Step::OriginAttempt, label, detail, wanted);
            }
            "regional-lookup" => spend(Step::RegionalLookup, regional.clone(), "lookup".into(), wanted),
            "regional-collapsed" => spend(Step::RegionalWait, regional.clone(), WAITED.into(), wanted),
            "regional-attempt" => {
                let (label, detail) = connects.describe(&regional, metric);
                spend(Step::RegionalAttempt, label, detail, wanted);
            }
            "shield-lookup" => spend(Step::ShieldLookup, shield.clone(), "lookup".into(), wanted),
            "shield-collapsed" => spend(Step::ShieldWait, shield.clone(), WAITED.into(), wanted),
            "shield-attempt" => {
                let (label, detail) = connects.describe(&shield, metric);
                spend(Step::ShieldAttempt, label, detail, wanted);
            }
            _ => {}
        }
    }
    entries.push(Entry { step: Step::Edge, label: pop.to_owned(), detail: "own work".into(), duration_ms: left });
    entries
}

/// Numbers the connection attempts per origin.
#[derive(Default)]
struct Connects {
    seen: Vec<(String, u32)>,
}

impl Connects {
    /// `primary connect refused` becomes `fra → primary` and `connect 1 refused`.
    fn describe(&mut self, from: &str, metric: &Metric) -> (String, String) {
        let (origin, what) = origin_and_outcome(&metric.description);
        let label = format!("{from} → {}", if origin.is_empty() { "origin" } else { origin });
        let Some(outcome) = what.strip_prefix("connect") else { return (label, what.to_owned()) };
        let number = match self.seen.iter_mut().find(|(seen, _)| *seen == label) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.seen.push((label.clone(), 1));
                1
            }
        };
        (label, format!("connect {number}{outcome}"))
    }
}

/// Takes `my app connect refused` apart into `my app` and `connect refused`: an origin's id may have spaces.
fn origin_and_outcome(text: &str) -> (&str, &str) {
    let phase = [" connect", " tls", " response"].into_iter().filter_map(|phase| text.rfind(phase)).max();
    let at = phase.or_else(|| text.rfind(' ')).unwrap_or(text.len());
    let (origin, outcome) = text.split_at_checked(at).unwrap_or((text, ""));
    (origin, outcome.trim_start())
}

/// The last ledgers.
#[derive(Debug)]
pub(crate) struct Ring {
    ledgers: VecDeque<(u64, Ledger)>,
    max: usize,
}

impl Ring {
    pub(crate) const fn new(max: usize) -> Self {
        Self { ledgers: VecDeque::new(), max }
    }

    /// Keeps `ledger`, instead of what was kept under the same serial number. Says whether an older one had to go.
    pub(crate) fn store(&mut self, serial: u64, ledger: Ledger) -> bool {
        if let Some((_, old)) = self.ledgers.iter_mut().rev().find(|(number, _)| *number == serial) {
            *old = ledger;
            return false;
        }
        self.ledgers.push_back((serial, ledger));
        let full = self.ledgers.len() > self.max;
        if full {
            self.ledgers.pop_front();
        }
        full
    }

    /// The ledgers that were named `id`, oldest first: a client that follows a redirect writes several.
    pub(crate) fn named(&self, id: &str) -> Vec<Ledger> {
        self.ledgers.iter().filter(|(_, ledger)| ledger.id == id).map(|(_, ledger)| ledger.clone()).collect()
    }
}

fn round(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    fn timing(value: &str) -> EdgeTiming {
        let mut headers = HeaderMap::new();
        headers.append("server-timing", value.parse().unwrap());
        EdgeTiming::of(&headers).unwrap()
    }

    fn told(entries: &[Entry]) -> Vec<(String, String, f64)> {
        entries.iter().map(|entry| (entry.label.clone(), entry.detail.clone(), round(entry.duration_ms))).collect()
    }

    fn line(label: &str, detail: &str, ms: f64) -> (String, String, f64) {
        (label.into(), detail.into(), ms)
    }

    #[test]
    fn every_origin_attempt_has_its_line_and_the_network_has_the_rest() {
        let timing = timing(
            "cdn-cache-miss, cdn-pop;desc=\"FRA50-P1\", edge-lookup;dur=0.5, \
             edge-attempt;desc=\"app connect refused\";dur=90, edge-attempt;desc=\"app connect refused\";dur=90, \
             edge-attempt;desc=\"sorry connect\";dur=24, edge-attempt;desc=\"sorry response 200\";dur=24, edge;dur=230",
        );
        assert_eq!(
            told(&split(239.0, "berlin", "fra", "request, 1 round trip", Some(&timing))),
            [
                line("berlin → fra", "request, 1 round trip", 9.0),
                line("fra", "MISS, lookup", 0.5),
                line("fra → app", "connect 1 refused", 90.0),
                line("fra → app", "connect 2 refused", 90.0),
                line("fra → sorry", "connect 1", 24.0),
                line("fra → sorry", "response 200", 24.0),
                line("fra", "own work", 1.5),
            ]
        );
    }

    #[test]
    fn a_shield_hop_is_split_into_the_way_and_what_the_shield_did() {
        let timing = timing(
            "cdn-cache-miss, edge-lookup;dur=1, edge-shield;desc=\"IAD\";dur=100, shield-lookup;dur=1, \
             shield-attempt;desc=\"app response 200\";dur=9, edge;dur=102",
        );
        assert_eq!(
            told(&split(110.0, "berlin", "fra", "request", Some(&timing))),
            [
                line("berlin → fra", "request", 8.0),
                line("fra", "MISS, lookup", 1.0),
                line("fra → shield iad", "hop", 90.0),
                line("shield iad", "lookup", 1.0),
                line("shield iad → app", "response 200", 9.0),
                line("fra", "own work", 1.0),
            ]
        );
    }

    #[test]
    fn hops_through_three_tiers_add_up() {
        let timing = timing(
            "cdn-cache-miss, edge-lookup;dur=1, edge-regional;desc=\"FRA\";dur=150, regional-lookup;dur=1, \
             regional-shield;desc=\"IAD\";dur=100, shield-lookup;dur=1, shield-attempt;desc=\"app response 200\";dur=9, \
             edge;dur=152",
        );
        assert_eq!(
            told(&split(160.0, "oslo", "arn", "request", Some(&timing))),
            [
                line("oslo → arn", "request", 8.0),
                line("arn", "MISS, lookup", 1.0),
                line("arn → regional fra", "hop", 49.0),
                line("regional fra", "lookup", 1.0),
                line("regional fra → shield iad", "hop", 90.0),
                line("shield iad", "lookup", 1.0),
                line("shield iad → app", "response 200", 9.0),
                line("arn", "own work", 1.0),
            ]
        );
    }

    #[test]
    fn an_edge_that_claims_more_than_was_measured_gets_what_was_measured() {
        let timing = timing("cdn-cache-hit, edge-lookup;dur=500, edge;dur=900");
        let entries = split(10.0, "berlin", "fra", "request", Some(&timing));
        assert_eq!(entries.iter().map(|entry| entry.duration_ms).sum::<f64>(), 10.0);
    }

    #[test]
    fn an_origins_id_may_have_spaces() {
        for (text, parts) in [
            ("my app connect refused", ("my app", "connect refused")),
            ("my app response 200", ("my app", "response 200")),
            ("app reset", ("app", "reset")),
            ("app", ("app", "")),
            ("", ("", "")),
        ] {
            assert_eq!(origin_and_outcome(text), parts);
        }
    }

    #[test]
    fn a_table_aligns_its_columns_and_ends_with_the_total() {
        let entry = |label: &str, detail: &str, duration_ms| Entry {
            step: Step::Request,
            label: label.into(),
            detail: detail.into(),
            duration_ms,
        };
        let mut ledger = Recorder::start("berlin", "GET", "http://www.demo.test/cart")
            .finish("a", Ending { status: 200, complete: true, ..Ending::default() });
        ledger.entries = vec![
            entry("berlin → fra", "request, 1 round trip", 9.0),
            entry("fra → app", "connect 1 timed out", 30000.0),
        ];
        ledger.total_ms = 30009.0;
        let expected = "\
200  GET http://www.demo.test/cart
  berlin → fra  request, 1 round trip      9.0 ms
  fra → app     connect 1 timed out    30000.0 ms
                                 total 30009.0 ms
";
        assert_eq!(ledger.render(), expected);
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_a_serial_is_kept_once() {
        let ledger = |id: &str| Recorder::start("p", "GET", "/").finish(id, Ending::default());
        let mut ring = Ring::new(2);
        assert!(!ring.store(1, ledger("a")));
        assert!(!ring.store(1, ledger("a")));
        assert!(!ring.store(2, ledger("b")));
        assert!(ring.store(3, ledger("b")));
        assert_eq!((ring.named("a").len(), ring.named("b").len()), (0, 2));
    }

    proptest! {
        #[test]
        fn the_parts_add_up_whatever_the_edge_says(
            total in 0.0f64..1e5,
            edge in prop::option::of(0.0f64..2e5),
            metrics in prop::collection::vec((0usize..10, prop::option::of(0.0f64..1e5)), 0..12),
        ) {
            const NAMES: [&str; 10] = ["edge-lookup", "edge-collapsed", "edge-shield", "edge-attempt", "shield-lookup",
                "shield-attempt", "unknown", "edge-regional", "regional-shield", "regional-lookup"];
            let timing = EdgeTiming {
                edge_ms: edge,
                metrics: metrics
                    .into_iter()
                    .map(|(at, duration_ms)| Metric {
                        name: NAMES[at].into(), duration_ms, description: "o connect".into(),
                    })
                    .collect(),
                ..EdgeTiming::default()
            };
            let entries = split(total, "v", "p", "d", Some(&timing));
            prop_assert!(entries.iter().all(|entry| entry.duration_ms >= 0.0));
            let sum: f64 = entries.iter().map(|entry| entry.duration_ms).sum();
            prop_assert!((sum - total).abs() < 1e-6, "{sum} is not {total}");
        }
    }
}
