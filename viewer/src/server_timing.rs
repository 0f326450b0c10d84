//! Reads `Server-Timing` (W3C Server Timing, section 3) as far as an edge writes it.
//!
//! Decides which metrics are the edge's own: those from the last `cdn-cache-*` on, because an origin's come first.
//! What cannot be read is skipped; a hostile duration becomes none.

use http::{HeaderMap, header::HeaderName};

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    /// Its name, lower case.
    pub(crate) name: String,
    /// Milliseconds, finite, from 0 to one day.
    pub(crate) duration_ms: Option<f64>,
    /// Its description; empty when it has none.
    pub(crate) description: String,
}

/// What the edge said of one response.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EdgeTiming {
    /// The edge's metrics in the order they were written, `cdn-*` and `edge` left out.
    pub(crate) metrics: Vec<Metric>,
    /// From request head read to response head ready, in milliseconds.
    pub(crate) edge_ms: Option<f64>,
    /// `hit`, `miss` or `refresh`.
    pub(crate) cache: Option<String>,
    /// The PoP as CloudFront writes it, such as `FRA50-P1`.
    pub(crate) pop: Option<String>,
    /// The request id.
    pub(crate) request_id: Option<String>,
}

/// One day: nothing a CDN measures of one response takes longer.
const DURATION_MS_MAX: f64 = 86_400_000.0;
/// Metrics that are read of one response; an edge writes about ten.
const METRICS_MAX: usize = 128;

impl EdgeTiming {
    /// Reads the edge's part; `None` when no edge wrote one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut metrics = Vec::new();
        for value in headers.get_all(HeaderName::from_static("server-timing")) {
            metrics.extend(parse(&String::from_utf8_lossy(value.as_bytes())));
        }
        let first = metrics.iter().rposition(|metric| metric.name.starts_with("cdn-cache-"))?;
        let mut timing = Self::default();
        for metric in metrics.drain(first..).take(METRICS_MAX) {
            match metric.name.as_str() {
                "cdn-pop" => timing.pop = Some(metric.description),
                "cdn-rid" => timing.request_id = Some(metric.description),
                "edge" => timing.edge_ms = metric.duration_ms,
                name => match name.strip_prefix("cdn-cache-") {
                    Some(word) => timing.cache = Some(word.to_owned()),
                    None if name.starts_with("cdn-") => {}
                    None => timing.metrics.push(metric),
                },
            }
        }
        Some(timing)
    }

    /// The metro code of the PoP in lower case: `FRA50-P1` is `fra`.
    pub(crate) fn metro(&self) -> Option<String> {
        let pop = self.pop.as_deref()?;
        let code: String = pop.chars().take_while(char::is_ascii_alphabetic).collect();
        (code.len() == 3).then(|| code.to_ascii_lowercase())
    }
}

/// The metrics of one field value.
fn parse(value: &str) -> Vec<Metric> {
    split_outside_quotes(value, ',').into_iter().filter_map(parse_metric).take(METRICS_MAX).collect()
}

fn parse_metric(text: &str) -> Option<Metric> {
    let mut parts = split_outside_quotes(text, ';').into_iter();
    let name = parts.next()?.trim().to_ascii_lowercase();
    if name.is_empty() {
        return None;
    }
    let mut metric = Metric { name, duration_ms: None, description: String::new() };
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        let value = unquote(value.trim());
        match key.trim().to_ascii_lowercase().as_str() {
            "dur" => {
                metric.duration_ms =
                    value.parse().ok().filter(|ms: &f64| ms.is_finite() && (0.0..=DURATION_MS_MAX).contains(ms));
            }
            "desc" => metric.description = value.chars().filter(|c| !c.is_control()).take(200).collect(),
            _ => {}
        }
    }
    Some(metric)
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.extend(text.get(start..at));
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let (mut text, mut escaped) = (String::with_capacity(inner.len()), false);
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<EdgeTiming> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("server-timing", value.parse().unwrap());
        }
        EdgeTiming::of(&headers)
    }

    #[test]
    fn the_edges_part_is_told_from_the_origins() {
        let timing = read(&[
            "db;dur=53, edge;dur=9",
            "cdn-cache-miss, cdn-pop;desc=\"FRA50-P1\", cdn-rid;desc=\"a==\", edge-lookup;dur=0.012, \
             edge-attempt;desc=\"primary connect refused\";dur=90.1, edge;dur=131.4",
        ])
        .unwrap();
        assert_eq!(timing.edge_ms, Some(131.4));
        assert_eq!(timing.cache.as_deref(), Some("miss"));
        assert_eq!(timing.metro().as_deref(), Some("fra"));
        assert_eq!(timing.request_id.as_deref(), Some("a=="));
        assert_eq!(timing.metrics.len(), 2);
        assert_eq!(timing.metrics[1].description, "primary connect refused");
    }

    #[test]
    fn commas_and_semicolons_in_quotes_belong_to_the_description() {
        let timing = read(&["cdn-cache-hit, edge-attempt;desc=\"a, \\\"b\\\"; c\";dur=1"]).unwrap();
        assert_eq!(timing.metrics[0].description, "a, \"b\"; c");
    }

    #[test]
    fn impossible_durations_are_none() {
        for wrong in ["NaN", "-1", "inf", "1e300", "x", ""] {
            let timing = read(&[&format!("cdn-cache-hit, edge;dur={wrong}")]).unwrap();
            assert_eq!(timing.edge_ms, None, "{wrong}");
        }
    }

    #[test]
    fn a_response_without_an_edges_part_has_none() {
        assert_eq!(read(&["db;dur=1", ",,;;=\"", "\""]), None);
        assert_eq!(read(&[]), None);
    }
}
