//! The admin route of a cache that says what would become of a request.

use axum::{
    Json,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri},
};
use cdn_core::{Reason, store::EntryDetail};
use edge_node::{Explanation, OriginProspect, ParentProspect, Supposed};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cache::{Cache, detail_row};

/// A request that nobody makes.
#[derive(Debug, Deserialize)]
pub(crate) struct ExplainAsk {
    distribution: String,
    host: String,
    method: String,
    target: String,
    headers: String,
    viewer: std::net::IpAddr,
    https: bool,
}

/// Answers with what would become of it here.
pub(crate) async fn handle(
    State(cache): State<Cache>,
    Query(ask): Query<ExplainAsk>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let wrong = |why: String| (StatusCode::BAD_REQUEST, why);
    let supposed = Supposed {
        method: ask.method.parse::<Method>().map_err(|_| wrong(format!("{:?} is no method", ask.method)))?,
        target: ask.target.parse::<Uri>().map_err(|error| wrong(format!("{:?}: {error}", ask.target)))?,
        headers: headers_of(&ask.headers).map_err(wrong)?,
        viewer: (ask.viewer, 0).into(),
        https: ask.https,
        distribution: ask.distribution,
        host: ask.host,
    };
    let host = supposed.host.clone();
    let explanation = cache.handle.explain(supposed);
    let explanation = explanation.ok_or_else(|| (StatusCode::NOT_FOUND, format!("distribution for {host:?}")))?;
    Ok(Json(document(&cache, &explanation)))
}

/// Headers as lines.
fn headers_of(lines: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no header: it has no colon"))?;
        let name = name.trim().parse::<HeaderName>().map_err(|_| format!("{:?} is no header's name", name.trim()))?;
        let value = value.trim().parse::<HeaderValue>().map_err(|_| format!("{line:?} has no value of a header"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn document(cache: &Cache, explanation: &Explanation) -> Value {
    let policy = &explanation.cache_policy;
    let entry =
        |detail: &EntryDetail| detail_row(cache, &explanation.distribution, &explanation.behavior, policy, detail);
    json!({
        "tier": cache.tier.as_str(),
        "distribution": explanation.distribution,
        "behavior": explanation.behavior,
        "path": explanation.path,
        "allowed": explanation.allowed,
        "wants_signature": explanation.wants_signature,
        "viewer_request": explanation.viewer_request,
        "reason": explanation.reason.as_str(),
        "reason_help": explanation.reason.help(),
        "is_hit": explanation.reason.is_from_store() || explanation.reason == Reason::HitDisk,
        "waits": explanation.prospect.as_ref().is_some_and(|prospect| prospect.waits),
        "cache_policy": {
            "name": policy.name,
            "min_ttl_s": policy.min_ttl.as_secs(),
            "default_ttl_s": policy.default_ttl.as_secs(),
            "max_ttl_s": policy.max_ttl.as_secs(),
            "query_strings": policy.query.to_string(),
            "headers": policy.headers.to_string(),
            "cookies": policy.cookies.to_string(),
        },
        "key": explanation.key.as_ref().map(|key| json!({
            "uri": key.uri,
            "headers": key.headers.iter().map(|(name, values)| json!([name.as_str(), values])).collect::<Vec<_>>(),
            "cookies": key.cookies,
            "accept_encoding": key.accept_encoding,
        })),
        "entry": explanation.prospect.as_ref().and_then(|prospect| prospect.entry.as_ref()).map(entry),
        "target": explanation.target,
        "group": explanation.group.as_ref().map(|group| json!({
            "members": group.members,
            "failover_codes": group.failover_codes.iter().map(|code| code.as_u16()).collect::<Vec<_>>(),
        })),
        "fails_over": explanation.fails_over,
        "parents": explanation.parents.iter().map(parent).collect::<Vec<_>>(),
        "origins": explanation.origins.iter().map(origin).collect::<Vec<_>>(),
    })
}

fn parent(parent: &ParentProspect) -> Value {
    json!({ "tier": parent.tier.as_str(), "address": parent.address, "passed_by": parent.passed_by })
}

fn origin(origin: &OriginProspect) -> Value {
    let lines = origin.headers.iter();
    let lines = lines.map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    json!({
        "id": origin.id,
        "address": origin.address,
        "https": origin.https,
        "host": origin.host,
        "target": origin.target,
        "headers": lines.collect::<Vec<_>>(),
        "connection_attempts": origin.connection_attempts,
        "connection_timeout_s": origin.connection_timeout.as_secs_f64(),
        "response_timeout_s": origin.response_timeout.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_with_a_colon() {
        let headers = headers_of("Accept-Encoding: br, gzip\nX-A:1\n\n").unwrap();
        assert_eq!((headers.len(), &headers["x-a"]), (2, &HeaderValue::from_static("1")));
        for wrong in ["no colon", "a b: c", "x: \u{7f}"] {
            assert!(headers_of(wrong).is_err(), "{wrong}");
        }
    }
}
