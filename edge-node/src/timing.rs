//! Where the time of one request went: the `Server-Timing` header (W3C Server Timing) that viewers read as a ledger.
//!
//! Knows names and durations. Lines of one tier add up to the last one, which contains all before it.

use std::{fmt::Write as _, time::Duration};

use cdn_core::{
    origin_group::{Attempt, AttemptOutcome, Exchange, Phase},
    realtime_log::AskedOrigin,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Tier;

pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What lines of caches behind a node begin with.
const BEHIND: [Tier; 2] = [Tier::Regional, Tier::Shield];

/// The lines so far, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(String);

impl Ledger {
    pub(crate) fn with_capacity() -> Self {
        Self(String::with_capacity(256))
    }

    /// A line without a duration: `name` or `name;desc="..."`.
    pub(crate) fn note(&mut self, name: &str, description: Option<&str>) {
        self.begin(name);
        self.describe(description);
    }

    /// A line with a duration: `tier-what;desc="...";dur=1.234`.
    pub(crate) fn span(&mut self, tier: Tier, what: &str, description: Option<&str>, took: Duration) {
        self.begin(tier.as_str());
        if !what.is_empty() {
            self.0.push('-');
            self.0.push_str(what);
        }
        self.describe(description);
        let micros = took.as_micros();
        let _ = write!(self.0, ";dur={}.{:03}", micros / 1_000, micros % 1_000);
    }

    /// One line per attempt of an exchange.
    pub(crate) fn attempts(&mut self, tier: Tier, exchange: &Exchange) {
        for attempt in exchange.attempts() {
            let text = description(exchange.origin_id(attempt.member), attempt);
            self.span(tier, "attempt", Some(&text), attempt.took);
        }
    }

    /// Lines of another ledger, as they are.
    pub(crate) fn append(&mut self, other: &Self) {
        if !other.0.is_empty() {
            if !self.0.is_empty() {
                self.0.push_str(", ");
            }
            self.0.push_str(&other.0);
        }
    }

    /// What a cache behind reported in its own `Server-Timing`: its lines and those of the caches behind it, without its
    /// sum, which the hop contains anyway.
    pub(crate) fn of_parent(headers: &HeaderMap) -> Self {
        let mut ledger = Self::default();
        for line in headers.get_all(SERVER_TIMING).iter().filter_map(|value| value.to_str().ok()) {
            for entry in split(line).filter(|entry| is_from_behind(entry, "-")) {
                ledger.begin(entry);
            }
        }
        ledger
    }

    /// The header's value.
    pub(crate) fn into_value(self) -> Option<HeaderValue> {
        if self.0.is_empty() { None } else { HeaderValue::try_from(self.0).ok() }
    }

    /// CloudFront's lines about whoever asked the origin, as far as the attempts in `other` tell: no name had to be resolved,
    /// and a connection that was kept took no time.
    pub(crate) fn upstream(&mut self, other: &Self) {
        let Some(tier) = other.asking() else { return };
        let attempts = |tier| other.attempts_of(tier);
        let layer = match tier {
            Tier::Edge => "EDGE",
            Tier::Regional => "REC",
            Tier::Shield => "Origin Shield",
        };
        self.note("cdn-upstream-layer", Some(layer));
        self.named_span("cdn-upstream-dns", Duration::ZERO);
        let connects = attempts(tier).filter(|entry| entry.contains(" connect"));
        self.named_span("cdn-upstream-connect", connects.filter_map(duration_of).sum());
        let answers = attempts(tier).filter(|entry| entry.contains(" response"));
        if let Some(took) = answers.last().and_then(duration_of) {
            self.named_span("cdn-upstream-fbl", took);
        }
    }

    /// Which tier asked the origin, where one did.
    fn asking(&self) -> Option<Tier> {
        // Whoever is behind was asked last.
        let tiers = [Tier::Shield, Tier::Regional, Tier::Edge];
        tiers.into_iter().find(|&tier| self.attempts_of(tier).next().is_some())
    }

    fn attempts_of(&self, tier: Tier) -> impl Iterator<Item = &str> {
        split(&self.0)
            .filter(move |entry| entry.strip_prefix(tier.as_str()).is_some_and(|rest| rest.starts_with("-attempt;")))
    }

    /// The origin that gave the response, as far as the attempts tell, under its id.
    pub(crate) fn asked_origin(&self) -> Option<AskedOrigin> {
        let tier = self.asking()?;
        let words = |entry: &'_ str| -> Option<String> {
            let (_, described) = entry.split_once(";desc=\"")?;
            described.rsplit_once("\";dur=").map(|(words, _)| words.to_owned())
        };
        let last = self.attempts_of(tier).last()?;
        let said = words(last)?;
        let (id, _) = said.rsplit_once(" response ").filter(|(_, status)| status.parse::<u16>().is_ok())?;
        // An attempt of another origin came before those of this one.
        let before = self
            .attempts_of(tier)
            .filter_map(words)
            .filter(|words| words.strip_prefix(id).is_none_or(|rest| !rest.starts_with(' ')));
        let failed_over = before.last().map(|words| match words.rsplit_once(" response ") {
            Some((_, "timeout")) => 504,
            Some((_, status)) => status.parse().unwrap_or(502),
            None if words.ends_with("timeout") => 504,
            None => 502,
        });
        Some(AskedOrigin { host: id.to_owned(), first_byte: duration_of(last)?, failed_over })
    }

    /// A line of a name and a duration, in whole milliseconds as CloudFront has them.
    pub(crate) fn named_span(&mut self, name: &str, took: Duration) {
        self.begin(name);
        let _ = write!(self.0, ";dur={}", took.as_millis());
    }

    fn begin(&mut self, text: &str) {
        if !self.0.is_empty() {
            self.0.push_str(", ");
        }
        self.0.push_str(text);
    }

    fn describe(&mut self, description: Option<&str>) {
        if let Some(description) = description {
            self.0.push_str(";desc=\"");
            // A quoted-string of visible ASCII (RFC 9110 section 5.6.4).
            for char in description.chars().filter(|char| matches!(char, ' '..='~')) {
                if matches!(char, '"' | '\\') {
                    self.0.push('\\');
                }
                self.0.push(char);
            }
            self.0.push('"');
        }
    }
}

/// Leaves in a response from a cache behind only what the origin said in `Server-Timing`.
pub(crate) fn remove_parents_lines(headers: &mut HeaderMap) {
    let ours = |entry: &str| is_from_behind(entry, "-") || is_from_behind(entry, ";");
    let kept: Vec<HeaderValue> = headers
        .get_all(SERVER_TIMING)
        .iter()
        .filter(|value| !value.to_str().is_ok_and(|line| split(line).any(ours)))
        .cloned()
        .collect();
    headers.remove(SERVER_TIMING);
    for value in kept {
        headers.append(SERVER_TIMING, value);
    }
}

/// Whether a line begins with the name of a tier that can be behind a node, and then `next`.
fn is_from_behind(entry: &str, next: &str) -> bool {
    BEHIND.iter().any(|tier| entry.strip_prefix(tier.as_str()).is_some_and(|rest| rest.starts_with(next)))
}

/// `primary connect refused`, `primary connect`, `secondary response 200`.
pub(crate) fn description(origin: &str, attempt: &Attempt) -> String {
    let phase = attempt.phase.as_str();
    match attempt.outcome {
        AttemptOutcome::Connected => format!("{origin} {phase}"),
        AttemptOutcome::Responded(status) => format!("{origin} {phase} {}", status.as_u16()),
        AttemptOutcome::Failed(failure) if attempt.phase == Phase::Response && failure.as_str() != "timeout" => {
            format!("{origin} {failure}")
        }
        AttemptOutcome::Failed(failure) => format!("{origin} {phase} {failure}"),
    }
}

/// What an entry says that it took.
fn duration_of(entry: &str) -> Option<Duration> {
    let (_, millis) = entry.rsplit_once(";dur=")?;
    Duration::try_from_secs_f64(millis.parse::<f64>().ok()? / 1_000.0).ok()
}

/// Splits a list at its commas, those inside of quotes excepted.
fn split(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped, mut end) = (false, false, rest.len());
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let entry = rest.get(..end).unwrap_or_default();
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(entry.trim())
    })
}

#[cfg(test)]
mod tests {
    use cdn_core::{
        Instant,
        distribution::Origin,
        origin_group::{Failure, RequestKind},
    };
    use http::{Method, StatusCode};

    use super::*;

    #[test]
    fn attempts_read_as_the_contract_says() {
        let request = RequestKind { method: Method::GET, cache_options: false, repeats: true };
        let origin = Origin::new("origin.test");
        let mut exchange = Exchange::with_origin(Instant::ZERO, request, "primary", &origin);
        let ms = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        exchange.on_failure(ms(90), Failure::Refused);
        exchange.on_connected(ms(170), false);
        exchange.on_response(ms(218), StatusCode::OK);
        let mut ledger = Ledger::default();
        ledger.span(Tier::Edge, "lookup", None, Duration::from_micros(12));
        ledger.attempts(Tier::Edge, &exchange);
        ledger.span(Tier::Edge, "", None, Duration::from_millis(218));
        assert_eq!(
            ledger.0,
            "edge-lookup;dur=0.012, edge-attempt;desc=\"primary connect refused\";dur=90.000, \
             edge-attempt;desc=\"primary connect\";dur=80.000, edge-attempt;desc=\"primary response 200\";dur=48.000, \
             edge;dur=218.000"
        );
    }

    #[test]
    fn the_origin_that_answered_is_known_from_the_attempts() {
        let told = |lines: &str| Ledger(lines.to_owned()).asked_origin();
        let asked = |millis, failed_over| {
            Some(AskedOrigin { host: "my app".to_owned(), first_byte: Duration::from_millis(millis), failed_over })
        };
        let answer = "edge-lookup;dur=1.000, shield-attempt;desc=\"my app connect\";dur=9.000, \
                      shield-attempt;desc=\"my app response 200\";dur=48.000";
        assert_eq!(told(answer), asked(48, None));
        for (failure, status) in
            [("my response 503", 503), ("my response timeout", 504), ("my connect refused", 502), ("my reset", 502)]
        {
            let lines = format!("shield-attempt;desc=\"{failure}\";dur=7.000, {answer}");
            assert_eq!(told(&lines), asked(48, Some(status)), "{failure}");
        }
        assert_eq!(told("edge-lookup;dur=1.000"), None);
        assert_eq!(told("edge-attempt;desc=\"my app connect refused\";dur=1.000"), None);
    }

    #[test]
    fn the_lines_of_caches_behind_are_taken_without_their_sum() {
        let mut headers = HeaderMap::new();
        let line = "cdn-cache-miss, regional-lookup;dur=0.1, shield-attempt;desc=\"a, \\\"b\\\" connect\";dur=2, \
                    regional;dur=3";
        headers.insert(SERVER_TIMING, line.parse().unwrap());
        assert_eq!(
            Ledger::of_parent(&headers).0,
            "regional-lookup;dur=0.1, shield-attempt;desc=\"a, \\\"b\\\" connect\";dur=2"
        );
    }
}
