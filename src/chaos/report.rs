//! A run for machines: JUnit XML and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use world::{
    CacheOutcome,
    verdict::{Row, Second},
};

use super::{Played, programs};

/// JUnit XML: one suite per scenario, one case per expectation. Nothing is in it that the schema of Jenkins (`junit-10.xsd`)
/// does not know, for servers that refuse what does not hold to it: a case has neither file nor line, which the text of its
/// failure begins with.
pub(super) fn junit(played: &[Played]) -> String {
    let mut junit = Junit::default();
    played.iter().for_each(|one| junit.take(one.judgement.title.clone(), one));
    junit.finish()
}

/// JUnit XML as it grows. Of a run that was taken in nothing is kept but its suite.
#[derive(Debug, Default)]
pub(super) struct Junit {
    suites: String,
    tests: usize,
    failures: usize,
    took_s: f64,
}

impl Junit {
    /// One more suite, with a case per expectation.
    pub(super) fn take(&mut self, name: String, one: &Played) {
        let (judgement, text, name) = (&one.judgement, &mut self.suites, escaped(&name));
        let (tests, failures) = (judgement.rows.len(), failed(one));
        self.tests += tests;
        self.failures += failures;
        self.took_s += one.took_s;
        let _ = writeln!(
            text,
            "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{:.3}\" file=\"{}\">",
            one.took_s,
            escaped(&one.name)
        );
        let properties =
            [("seed", judgement.seed.to_string()), ("replay", one.replay.clone()), ("kind", one.kind.as_str().into())];
        let program = programs::text(judgement).map(|text| ("program", text));
        text.push_str("    <properties>\n");
        for (name, value) in properties.into_iter().chain(program) {
            let _ = writeln!(text, "      <property name=\"{name}\" value=\"{}\"/>", escaped(&value));
        }
        text.push_str("    </properties>\n");
        for row in &judgement.rows {
            case(text, &name, one, row);
        }
        text.push_str("    <system-out>");
        for line in &judgement.timeline {
            let _ = writeln!(text, "{}", escaped(&line.to_string()));
        }
        text.push_str("</system-out>\n  </testsuite>\n");
    }

    /// The document.
    pub(super) fn finish(&self) -> String {
        let Self { suites, tests, failures, took_s } = self;
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"iso chaos\" tests=\"{tests}\" \
             failures=\"{failures}\" errors=\"0\" time=\"{took_s:.3}\">\n{suites}</testsuites>\n"
        )
    }
}

fn case(text: &mut String, class: &str, one: &Played, row: &Row) {
    let name = escaped(&row.expectation.to_string());
    // What is always expected stands nowhere.
    let line = Some(row.expectation.line).filter(|line| *line > 0);
    let place = line.map(|line| format!(":{line}")).unwrap_or_default();
    let _ = write!(text, "    <testcase name=\"{name}\" classname=\"{class}\" time=\"0\"");
    if row.held {
        text.push_str("/>\n");
        return;
    }
    let got = row.got_text();
    let _ = writeln!(
        text,
        ">\n      <failure type=\"missed\" message=\"{}\">{}</failure>\n    </testcase>",
        escaped(&format!("got {got}, expected {}", row.expectation)),
        escaped(&format!("{}{place}: got {got}; {}\nreplay: {}", one.name, row.detail, one.replay))
    );
}

fn failed(one: &Played) -> usize {
    one.judgement.rows.iter().filter(|row| !row.held).count()
}

/// Text for XML and HTML, in elements and attributes. XML has no control characters, escaped or not, and neither of the two
/// that Unicode sets aside (XML 1.0 section 2.2).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The document of `--json`.
pub(super) fn document(played: &[Played]) -> Value {
    json!({
        "held": played.iter().all(|one| one.judgement.held()),
        "scenarios": played.iter().map(scenario).collect::<Vec<_>>(),
    })
}

fn scenario(one: &Played) -> Value {
    let judgement = &one.judgement;
    let totals = &judgement.totals;
    let expectations = judgement.rows.iter().map(|row| {
        let expectation = &row.expectation;
        json!({
            "what": expectation.what.to_string(),
            "text": expectation.to_string(),
            "line": expectation.line,
            "min": expectation.min,
            "max": expectation.max,
            "equals": expectation.equals,
            "got": row.got,
            "got_text": row.got_text(),
            "held": row.held,
            "at_s": row.at.map(|at| at.as_secs_f64()),
            "detail": row.detail,
        })
    });
    let timeline = judgement
        .timeline
        .iter()
        .map(|line| json!({ "at_s": line.at.as_secs_f64(), "kind": line.mark.as_str(), "text": line.text }));
    let bands = judgement
        .bands
        .iter()
        .map(|band| json!({ "from_s": band.from.as_secs_f64(), "to_s": band.to.as_secs_f64(), "text": band.text }));
    let cache: serde_json::Map<String, Value> = CacheOutcome::ALL
        .iter()
        .zip(totals.cache)
        .map(|(outcome, n)| (outcome.as_str().replace(' ', "_"), n.into()))
        .collect();
    let reasons: serde_json::Map<String, Value> =
        totals.reasons.iter().map(|(reason, n)| (reason.to_string(), (*n).into())).collect();
    let pops: serde_json::Map<String, Value> =
        judgement.pops.iter().zip(&totals.pops).map(|(pop, n)| (pop.to_string(), (*n).into())).collect();
    json!({
        "file": one.name,
        "title": judgement.title,
        "kind": one.kind.as_str(),
        "seed": judgement.seed,
        "replay": one.replay,
        "held": judgement.held(),
        "length_s": judgement.length.as_secs_f64(),
        "took_s": one.took_s,
        "expectations": expectations.collect::<Vec<_>>(),
        "totals": {
            "requests": totals.requests,
            "errors": totals.errors,
            "availability": totals.availability(),
            "hit_ratio": totals.hit_ratio(),
            "fell_back": totals.fell_back,
            "retried": totals.retried,
            "failovers": totals.failovers,
            "origin_requests": totals.origin_requests,
            "wrong_bytes": totals.wrong_bytes,
            "bytes": totals.bytes,
            "cache": cache,
            "pops": pops,
            "reasons": reasons,
            "program": programs::document(judgement),
            "latency_s": totals.latency.map(|latency| json!({
                "p50": latency.p50, "p90": latency.p90, "p95": latency.p95,
                "p99": latency.p99, "p999": latency.p999, "max": latency.max,
            })),
        },
        "timeline": timeline.collect::<Vec<_>>(),
        "faults": bands.collect::<Vec<_>>(),
        "step_s": judgement.step.as_secs_f64(),
        "series": judgement.seconds.iter().map(second).collect::<Vec<_>>(),
    })
}

fn second(second: &Second) -> Value {
    json!({
        "requests": second.requests,
        "errors": second.errors,
        "hits": second.hits,
        "cacheable": second.cacheable,
        "origin_requests": second.origin_requests,
        "failovers": second.failovers,
        "fell_back": second.fell_back,
        "nodes_down": second.nodes_down,
        "latency_s": second.latency.map(|[p50, p95, p99, max]| json!({ "p50": p50, "p95": p95, "p99": p99, "max": max })),
        "pops": second.pops,
    })
}
