//! One `/metrics` out of many: every node's Prometheus text, merged family by family.
//!
//! `HELP` and `TYPE` stand once per family however many nodes have it, and every sample says which node it is of. Lines
//! that are not Prometheus' text format 0.0.4 are dropped and counted. Knows no counters and asks no nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// The merged text, and what did not fit in.
#[derive(Debug, Default)]
pub(crate) struct RollUp {
    families: BTreeMap<String, Family>,
    series: BTreeSet<String>,
    /// Lines that were neither samples nor comments, or repeated a series.
    pub(crate) dropped: u64,
}

#[derive(Debug, Default)]
struct Family {
    help: Option<String>,
    kind: Option<String>,
    samples: String,
}

impl RollUp {
    /// Adds the text of one node; `labels` are put on every sample that does not have them.
    pub(crate) fn add(&mut self, text: &str, labels: &[(&str, &str)]) {
        // Only what this text declares, so that one node's types do not change how another's samples are read.
        let mut compound = BTreeSet::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix('#') {
                Some(comment) => self.add_comment(comment, &mut compound),
                None if self.add_sample(line, labels, &compound) => {}
                None => self.dropped += 1,
            }
        }
    }

    /// The merged text, families by name.
    pub(crate) fn into_text(self) -> String {
        let mut text = String::new();
        for (name, family) in self.families.iter().filter(|(_, family)| !family.samples.is_empty()) {
            if let Some(help) = &family.help {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            if let Some(kind) = &family.kind {
                let _ = writeln!(text, "# TYPE {name} {kind}");
            }
            text.push_str(&family.samples);
        }
        text
    }

    fn add_comment(&mut self, comment: &str, compound: &mut BTreeSet<String>) {
        let mut words = comment.trim_start().splitn(3, [' ', '\t']);
        let (Some(keyword), Some(name), rest) = (words.next(), words.next(), words.next()) else { return };
        if !is_metric_name(name) {
            return;
        }
        let rest = rest.unwrap_or_default().trim();
        match keyword {
            "HELP" => {
                let family = self.families.entry(name.to_owned()).or_default();
                family.help.get_or_insert_with(|| rest.to_owned());
            }
            "TYPE" if ["counter", "gauge", "histogram", "summary", "untyped"].contains(&rest) => {
                if matches!(rest, "histogram" | "summary") {
                    compound.insert(name.to_owned());
                }
                let family = self.families.entry(name.to_owned()).or_default();
                family.kind.get_or_insert_with(|| rest.to_owned());
            }
            _ => {}
        }
    }

    fn add_sample(&mut self, line: &str, labels: &[(&str, &str)], compound: &BTreeSet<String>) -> bool {
        let Some(sample) = Sample::parse(line) else { return false };
        let mut series = format!("{}{{{}", sample.name, sample.labels);
        let mut comma = !sample.labels.is_empty();
        for (name, value) in labels.iter().filter(|(name, _)| !sample.label_names.contains(name)) {
            let _ = write!(series, "{}{name}=\"{}\"", if comma { "," } else { "" }, escape(value));
            comma = true;
        }
        series.push('}');
        if !self.series.insert(series.clone()) {
            return false;
        }
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.name.strip_suffix(suffix));
        let family = stem.filter(|stem| compound.contains(*stem)).unwrap_or(sample.name);
        let samples = &mut self.families.entry(family.to_owned()).or_default().samples;
        let _ = writeln!(samples, "{series} {}", sample.value);
        true
    }
}

/// `name{labels} value timestamp`, taken apart.
struct Sample<'a> {
    name: &'a str,
    /// Without braces and without a comma at the end.
    labels: &'a str,
    label_names: Vec<&'a str>,
    /// With the timestamp, if there is one.
    value: &'a str,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let name_end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
        let (name, rest) = line.split_at_checked(name_end)?;
        if !is_metric_name(name) {
            return None;
        }
        let rest = rest.trim_start();
        let (labels, label_names, value) = match rest.strip_prefix('{') {
            Some(rest) => {
                let (label_names, end) = label_names(rest)?;
                let (labels, rest) = rest.split_at_checked(end)?;
                (labels.trim().trim_end_matches(',').trim_end(), label_names, rest.strip_prefix('}')?)
            }
            None => ("", Vec::new(), rest),
        };
        let value = value.trim();
        let mut words = value.split_ascii_whitespace();
        words.next()?.parse::<f64>().ok()?;
        if let Some(timestamp) = words.next() {
            timestamp.parse::<i64>().ok()?;
        }
        words.next().is_none().then_some(Self { name, labels, label_names, value })
    }
}

/// The names in `a="b",c="d"}`, and where the closing brace is.
fn label_names(text: &str) -> Option<(Vec<&str>, usize)> {
    let mut names = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let skipped = rest.len() - rest.trim_start_matches([' ', '\t', ',']).len();
        at += skipped;
        let rest = text.get(at..)?;
        if rest.starts_with('}') {
            return Some((names, at));
        }
        // Two labels are parted by a comma.
        if !names.is_empty() && !text.get(at - skipped..at)?.contains(',') {
            return None;
        }
        let (name, _) = rest.split_once('=')?;
        let trimmed = name.trim();
        if !is_metric_name(trimmed) || trimmed.contains(':') {
            return None;
        }
        names.push(trimmed);
        at += name.len() + 1;
        let rest = text.get(at..)?;
        let quoted = rest.trim_start().strip_prefix('"')?;
        at += rest.len() - quoted.len();
        let mut escaped = false;
        let end = quoted.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        at += end + 1;
    }
}

fn is_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':'))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merge(texts: &[(&str, &str)]) -> (String, u64) {
        let mut roll_up = RollUp::default();
        for (node, text) in texts {
            roll_up.add(text, &[("node", node)]);
        }
        let dropped = roll_up.dropped;
        (roll_up.into_text(), dropped)
    }

    #[test]
    fn help_and_type_stand_once_and_samples_say_their_node() {
        let text = "# HELP iso_edge_requests_total requests received\n# TYPE iso_edge_requests_total counter\n\
                    iso_edge_requests_total{} 3\n";
        let (merged, dropped) = merge(&[("edge.fra", text), ("edge.iad", text)]);
        assert_eq!(
            merged,
            "# HELP iso_edge_requests_total requests received\n# TYPE iso_edge_requests_total counter\n\
             iso_edge_requests_total{node=\"edge.fra\"} 3\niso_edge_requests_total{node=\"edge.iad\"} 3\n"
        );
        assert_eq!(dropped, 0);
    }

    #[test]
    fn labels_that_a_sample_has_are_kept() {
        let (merged, dropped) = merge(&[("x", "a{node=\"y\", q=\"}\\\",\"} 1 1700000000\nb 2.5e3\nc{k=\"v\",} NaN")]);
        assert_eq!(
            merged,
            "a{node=\"y\", q=\"}\\\",\"} 1 1700000000\nb{node=\"x\"} 2.5e3\nc{k=\"v\",node=\"x\"} NaN\n"
        );
        assert_eq!(dropped, 0);
    }

    #[test]
    fn parts_of_a_histogram_stay_together() {
        let text = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n";
        let (merged, _) = merge(&[("a", text), ("b", text)]);
        assert_eq!(merged.matches("# TYPE").count(), 1);
        assert!(merged.starts_with("# TYPE h histogram\nh_bucket{le=\"+Inf\",node=\"a\"} 1\nh_sum{node=\"a\"} 2\n"));
    }

    #[test]
    fn what_is_not_a_sample_is_dropped_and_counted() {
        let wrong = ["<html>", "a{b=\"c} 1", "a{b} 1", "a 1 2 3", "a one", "1a 1", "a{b=\"c\" d=\"e\"} 1", "a"];
        for line in wrong {
            assert_eq!(merge(&[("x", line)]), (String::new(), 1), "{line}");
        }
        assert_eq!(merge(&[("x", "a 1\na 2\n")]), ("a{node=\"x\"} 1\n".into(), 1), "a series stands once");
        assert_eq!(merge(&[("x", "# HELP\n#\n# TYPE a nonsense\n\n")]), (String::new(), 0));
    }

    proptest! {
        /// Whatever nodes send: nothing panics, and what comes out merges into itself.
        #[test]
        fn the_result_is_valid_text(text in "([a-z_]{1,3}(\\{[a-z]=\"[^\\n]{0,4}\"\\})? ?[0-9.]{0,3}|\\PC{0,12}|# (HELP|TYPE) [a-z]{1,3} (counter|summary)\n){0,8}") {
            let (merged, _) = merge(&[("x", &text), ("y", &text)]);
            let (again, dropped) = merge(&[("z", &merged)]);
            prop_assert_eq!(again, merged);
            prop_assert_eq!(dropped, 0);
        }
    }
}
