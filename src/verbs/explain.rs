//! What would become of a request: what caches would say, and what origins would be asked.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    args::{Cli, ExplainRequestArgs},
    talk::VerbError,
    verbs::{
        api,
        cache::{list, seconds, word},
        paint::{Paint, table},
        print,
    },
};

/// What the caches on the way would answer.
pub(super) async fn cache(cli: &Cli, args: &ExplainRequestArgs) -> Result<(), VerbError> {
    let document = ask(cli, args).await?;
    let paint = Paint::of(cli);
    print(cli, &document, |document| cache_text(paint, document))
}

/// Who would be asked if they did not.
pub(super) async fn origin(cli: &Cli, args: &ExplainRequestArgs) -> Result<(), VerbError> {
    let document = ask(cli, args).await?;
    let paint = Paint::of(cli);
    print(cli, &document, |document| origin_text(paint, document))
}

async fn ask(cli: &Cli, args: &ExplainRequestArgs) -> Result<Value, VerbError> {
    let query = [
        ("from", args.from.clone()),
        ("url", args.url.clone()),
        ("method", args.method.clone()),
        ("headers", args.headers.join("\n")),
    ];
    api(cli)?.read("/v1/explain/request", &query).await
}

fn caches(document: &Value) -> impl Iterator<Item = &Value> {
    document["caches"].as_array().into_iter().flatten()
}

/// The request, the behavior, and what comes before caches and is not carried out here.
fn head_text(document: &Value, edge: &Value) -> String {
    let (method, url, from) = (word(&document["method"]), word(&document["url"]), word(&document["from"]));
    let mut text = format!("{method} {url} from {from}, by {}\n", word(&document["edge"]));
    let (behavior, policy) = (word(&edge["behavior"]), word(&edge["cache_policy"]["name"]));
    line(&mut text, "behavior", &format!("{behavior} of {}, cache policy {policy}", word(&edge["distribution"])));
    if edge["wants_signature"] == Value::Bool(true) {
        line(&mut text, "signature", "is wanted; `iso explain sign` says whether one passes");
    }
    if let Some(function) = edge["viewer_request"].as_str() {
        line(&mut text, "function", &format!("{function} runs first, and may change all this"));
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<11}{value}");
}

fn cache_text(paint: Paint, document: &Value) -> String {
    let Some(edge) = caches(document).next() else { return String::new() };
    let mut text = head_text(document, edge);
    if let Some(key) = edge["key"].as_object() {
        let headers = key["headers"].as_array().into_iter().flatten();
        let headers = headers.filter(|one| one[1].as_array().is_some_and(|values| !values.is_empty()));
        let headers: Vec<String> = headers.map(|one| format!("{}: {}", word(&one[0]), list(&one[1]))).collect();
        let or_none = |words: String| if words.is_empty() { "none".to_owned() } else { words };
        let encoding =
            key["accept_encoding"].as_str().map(str::to_owned).map_or_else(|| "not told apart".to_owned(), or_none);
        let value = format!(
            "{}   (headers: {}; cookies: {}; encodings: {encoding})",
            word(&key["uri"]),
            or_none(headers.join(", ")),
            list(&key["cookies"]),
        );
        line(&mut text, "key", &value);
        let policy = &edge["cache_policy"];
        let taken = format!(
            "query strings {}; headers {}; cookies {}",
            word(&policy["query_strings"]),
            word(&policy["headers"]),
            word(&policy["cookies"])
        );
        line(&mut text, "", &format!("it tells apart {taken}"));
    }
    for cache in caches(document) {
        text.push_str(&one_cache_text(paint, cache));
    }
    match caches(document).last() {
        Some(last) if last["allowed"] == Value::Bool(true) && last["is_hit"] != Value::Bool(true) => {
            let value =
                format!("{} is asked by {}; `iso explain origin` says how", word(&last["target"]), word(&last["node"]));
            line(&mut text, "then", &value);
        }
        _ => {}
    }
    text.trim_end().to_owned()
}

fn one_cache_text(paint: Paint, cache: &Value) -> String {
    let reason = word(&cache["reason"]);
    let shown = if cache["is_hit"] == Value::Bool(true) { paint.good(&reason) } else { reason };
    let mut text = String::new();
    let waits = if cache["waits"] == Value::Bool(true) {
        "; another request is fetching it, and this one would wait"
    } else {
        ""
    };
    line(&mut text, &word(&cache["node"]), &format!("{shown}: {}{waits}", word(&cache["reason_help"])));
    let entry = &cache["entry"];
    if entry.is_object() {
        let (status, etag) = (word(&entry["status"]), word(&entry["etag"]));
        let etag = if etag.is_empty() { String::new() } else { format!(", etag {etag}") };
        let age = format!("age {}, fresh for {}", seconds(&entry["age_s"]), seconds(&entry["fresh_for_s"]));
        let vary = match list(&entry["vary"]) {
            none if none == "none" => String::new(),
            names => format!(", a variant by {names}"),
        };
        line(
            &mut text,
            "",
            &format!("{} {status}{etag}, {} bytes, {age}{vary}", word(&entry["state"]), word(&entry["bytes"])),
        );
        let said = entry["headers"].as_array().into_iter().flatten();
        let said: Vec<String> = said
            .filter(|header| matches!(header[0].as_str(), Some("cache-control" | "cdn-cache-control" | "expires")))
            .map(|header| format!("{}: {}", word(&header[0]), word(&header[1])))
            .collect();
        let policy = &cache["cache_policy"];
        let whole = seconds(&entry["freshness"]["fresh_on_arrival_s"]);
        let value = format!(
            "{}, policy min {} / default {} / max {} → {whole}",
            if said.is_empty() { "the origin says nothing".to_owned() } else { format!("origin {}", said.join(", ")) },
            word(&policy["min_ttl_s"]),
            word(&policy["default_ttl_s"]),
            word(&policy["max_ttl_s"]),
        );
        line(&mut text, "", &format!("ttl {value}"));
    }
    for parent in passed_by(cache) {
        line(&mut text, "", &parent);
    }
    text
}

/// Caches between that would be left out, and why.
fn passed_by(cache: &Value) -> impl Iterator<Item = String> + '_ {
    let parents = cache["parents"].as_array().into_iter().flatten();
    parents.filter_map(|parent| Some(format!("past {}: {}", word(&parent["node"]), parent["passed_by"].as_str()?)))
}

fn origin_text(paint: Paint, document: &Value) -> String {
    let (Some(edge), Some(last)) = (caches(document).next(), caches(document).last()) else { return String::new() };
    let mut text = head_text(document, edge);
    let way: Vec<String> = caches(document).map(|cache| word(&cache["node"])).collect();
    line(&mut text, "way", &format!("{} → {}", way.join(" → "), word(&last["target"])));
    for cache in caches(document) {
        for parent in passed_by(cache) {
            line(&mut text, "", &parent);
        }
    }
    if last["allowed"] != Value::Bool(true) {
        line(&mut text, "but", &format!("{}: {}", word(&last["reason"]), word(&last["reason_help"])));
    } else if last["is_hit"] == Value::Bool(true) {
        let value = format!("{} answers ({}), and no origin is asked", word(&last["node"]), word(&last["reason"]));
        line(&mut text, "but now", &paint.good(&value));
    }
    let group = &last["group"];
    if group.is_object() {
        let (target, method) = (word(&last["target"]), word(&document["method"]));
        let value = match last["fails_over"] == Value::Bool(true) {
            true => format!(
                "{target}: the second is asked when the first gives no answer, or {}",
                list(&group["failover_codes"])
            ),
            false => format!("{target}: a {method} is for the first alone"),
        };
        line(&mut text, "group", &value);
    }
    text.push('\n');
    let origins = || last["origins"].as_array().into_iter().flatten();
    let rows = origins().map(|origin| {
        let scheme = if origin["https"] == Value::Bool(true) { "https" } else { "http" };
        let attempts = origin["connection_attempts"].as_u64().unwrap_or_default();
        let each = origin["connection_timeout_s"].as_f64().unwrap_or_default();
        vec![
            word(&origin["id"]),
            origin["address"]
                .as_str()
                .map_or_else(|| "no way to it".to_owned(), |address| format!("{scheme}://{address}")),
            word(&origin["place"]),
            origin["rtt_ms"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms")),
            format!("{attempts} × {each:.0} s"),
            format!("{:.0} s", attempts as f64 * each),
            seconds(&origin["response_timeout_s"]),
        ]
    });
    let rtt = format!("RTT FROM {}", word(&last["node"]));
    let head = ["ORIGIN", "ADDRESS", "PLACE", &rtt, "CONNECTS", "GIVEN UP AFTER", "ANSWERS WITHIN"];
    text.push_str(&table(&head, rows));
    for origin in origins() {
        let _ = writeln!(text, "\n{} is sent", word(&origin["id"]));
        let (method, target) = (word(&document["method"]), word(&origin["target"]));
        let _ = writeln!(text, "  {method} {target}");
        let _ = writeln!(text, "{}", paint.dim(&format!("  host: {}", word(&origin["host"]))));
        for header in origin["headers"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "{}", paint.dim(&format!("  {}: {}", word(&header[0]), word(&header[1]))));
        }
    }
    text.trim_end().to_owned()
}
