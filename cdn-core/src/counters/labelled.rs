//! Values that are told apart by labels, and distributions. Every family has a row in [`FAMILIES`]; which values it has
//! is bounded by what the node knows: policies, reasons, PoPs, types of records.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Kind;

/// One row of the table of families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The role whose nodes have it, which is also the first word of the name.
    pub role: &'static str,
    /// The name in `/metrics`, without the prefix `iso_`; units last.
    pub name: &'static str,
    /// How its values move.
    pub kind: Kind,
    /// What tells its values apart, beside the labels that every value of a node has.
    pub labels: &'static [&'static str],
    /// One line for people.
    pub help: &'static str,
}

/// Answers with edges. `edge_pop` is the PoP of the first, and `reason` says why it is the first; a [`Reason`](crate::Reason).
pub const ROUTER_ANSWERS: Family = Family {
    role: "router",
    name: "router_answers_total",
    kind: Kind::Counter,
    labels: &["carrier", "policy", "edge_pop", "reason"],
    help: "answers with edges: by DNS or HTTP, by which policy, the PoP of the first edge, and why it is the first",
};

/// Answers by the type that was asked for; `other` where it has no mnemonic.
pub const ROUTER_DNS_ANSWERS: Family = Family {
    role: "router",
    name: "router_dns_answers_total",
    kind: Kind::Counter,
    labels: &["type"],
    help: "DNS answers, by the type of records that was asked for",
};

/// Probes by what came of them; a [`ProbeError`](crate::health::ProbeError), or `ok`.
pub const ROUTER_PROBES: Family = Family {
    role: "router",
    name: "router_probes_total",
    kind: Kind::Counter,
    labels: &["edge_pop", "result"],
    help: "health probes, by the edge's PoP and what came of them",
};

/// How far reported round trips were from what was estimated.
pub const ROUTER_ESTIMATE_ERROR: Family = Family {
    role: "router",
    name: "router_estimate_error_ms",
    kind: Kind::Histogram,
    labels: &[],
    help: "milliseconds between a reported round trip and what was learned of it before",
};

/// All families.
pub const FAMILIES: &[Family] = &[ROUTER_ANSWERS, ROUTER_DNS_ANSWERS, ROUTER_PROBES, ROUTER_ESTIMATE_ERROR];

impl Family {
    /// Writes what Prometheus' text format 0.0.4 wants to know of it.
    pub fn write_head(&self, text: &mut String) {
        let Self { name, kind, help, .. } = self;
        let _ = writeln!(text, "# HELP iso_{name} {help}\n# TYPE iso_{name} {}", kind.as_str());
    }

    /// Writes one value; `labels` are the node's (already escaped, without braces), `values` those of the family's own
    /// labels, which need no escaping.
    pub fn write(&self, text: &mut String, labels: &str, values: &[&str], value: u64) {
        let _ = write!(text, "iso_{}{{{labels}", self.name);
        for (name, value) in self.labels.iter().zip(values) {
            let _ = write!(text, ",{name}=\"{value}\"");
        }
        let _ = writeln!(text, "}} {value}");
    }
}

/// Upper bounds of a histogram's buckets, in milliseconds: 1, 2 and 5 per decade.
const BOUNDS_MS: [f64; 11] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// A distribution of spans.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Those up to each bound and above the one before; the last are above all.
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Takes in one span.
    pub fn observe(&self, span: Duration) {
        let span_ms = span.as_secs_f64() * 1e3;
        let at = BOUNDS_MS.partition_point(|bound| *bound < span_ms);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many spans were taken in.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Writes it as `family`; `labels` are the node's.
    pub fn write(&self, family: &Family, text: &mut String, labels: &str) {
        family.write_head(text);
        let (name, mut below) = (family.name, 0);
        let bounds = BOUNDS_MS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "iso_{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let sum_ms = self.sum_us.load(Ordering::Relaxed) as f64 / 1e3;
        let _ = writeln!(text, "iso_{name}_sum{{{labels}}} {sum_ms}\niso_{name}_count{{{labels}}} {below}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_rows_are() {
        for family in FAMILIES {
            assert!(family.name.starts_with(family.role), "{}", family.name);
            assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
            assert!(!super::super::ROWS.iter().any(|row| row.name == family.name), "{}", family.name);
        }
    }

    #[test]
    fn a_value_has_the_labels_of_node_and_family() {
        let mut text = String::new();
        ROUTER_PROBES.write(&mut text, "node=\"router.iad\"", &["FRA", "ok"], 3);
        assert_eq!(text, "iso_router_probes_total{node=\"router.iad\",edge_pop=\"FRA\",result=\"ok\"} 3\n");
    }

    #[test]
    fn buckets_are_cumulative_and_bounds_are_inside() {
        let histogram = Histogram::default();
        for ms in [0.1, 2.0, 2.1, 5000.0] {
            histogram.observe(Duration::from_secs_f64(ms / 1e3));
        }
        let mut text = String::new();
        histogram.write(&ROUTER_ESTIMATE_ERROR, &mut text, "node=\"router.iad\"");
        let line = |what: &str| text.lines().find(|line| line.contains(what)).map(str::to_owned).unwrap_or_default();
        for (bound, count) in [("0.5", 1), ("1", 1), ("2", 2), ("5", 3), ("1000", 3), ("+Inf", 4)] {
            let bound = format!("le=\"{bound}\"");
            assert!(line(&bound).ends_with(&format!("}} {count}")), "{text}");
        }
        assert!(line("_sum").ends_with(" 5004.2") && line("_count").ends_with(" 4"), "{text}");
        assert_eq!(histogram.count(), 4);
    }
}
