//! The OpenAPI document says what is served, no more and no less.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::World;

/// A request that each operation answers as documented: operation, path, body.
fn samples() -> Vec<(&'static str, &'static str, Option<Value>)> {
    vec![
        ("pause", "/v1/nodes/edge.iad/pause", Some(json!({ "for_ms": 60_000 }))),
        ("kill", "/v1/nodes/fra/kill", None),
        ("status", "/v1/status", None),
        ("node", "/v1/nodes/edge.fra", None),
        ("add_faults", "/v1/faults", Some(json!({ "target": "primary", "status": 503, "for_ms": 60_000 }))),
        ("change_link", "/v1/links", Some(json!({ "a": "fra", "b": "tokyo", "loss": 0.5 }))),
        ("faults", "/v1/faults", None),
        ("resume", "/v1/nodes/edge.iad/resume", None),
        ("start", "/v1/nodes/fra/start", None),
        ("heal", "/v1/faults?target=all", None),
        ("measure_links", "/v1/links/measure", None),
        ("drain", "/v1/drain", Some(json!({ "pop": "fra" }))),
        ("undrain", "/v1/undrain", Some(json!({ "pop": "fra" }))),
        ("invalidate", "/v1/invalidations", Some(json!({ "patterns": ["/a", "/b*"] }))),
        ("invalidation", "/v1/invalidations/{id}", None),
        ("cache", "/v1/cache?path=/a.js&distribution=www.demo.test", None),
        ("cache_show", "/v1/cache/show?path=/a.js&at=fra", None),
        ("cache_stats", "/v1/cache/stats", None),
        ("explain_route", "/v1/explain/route?from=tokyo&ecs=false", None),
        ("explain_request", "/v1/explain/request?from=tokyo&url=http://www.demo.test/a", None),
        ("replay_route", "/v1/explain/route/iad-4-1", None),
        ("routing", "/v1/routing", None),
        ("key_groups", "/v1/key-groups", None),
        ("set_key", "/v1/key-groups", Some(json!({ "group": "team", "id": "K2", "pem": crate::support::KEY }))),
        ("config", "/v1/config", None),
        ("configure", "/v1/config", Some(json!({ "nodes": ["edge.fra"], "config": { "seed": 1 } }))),
        ("set_routing", "/v1/routing", Some(json!({ "policy": "geo", "distribution": "E2DEMO" }))),
        ("dig", "/v1/dig?from=tokyo&name=www.demo.test&type=A", None),
        ("ledger", "/v1/ledger/last", None),
        ("logs", "/v1/logs?node=edge.fra&tail=5", None),
        ("events", "/v1/events?since=0&follow=false", None),
        ("openapi", "/v1/openapi.json", None),
        ("healthz", "/healthz", None),
        ("metrics", "/metrics", None),
        ("dashboard", "/", None),
        ("dashboard_script", "/dashboard.js", None),
        ("dashboard_style", "/dashboard.css", None),
        ("dashboard_land", "/land.svg", None),
        ("shutdown", "/v1/shutdown", None),
    ]
}

#[tokio::test]
async fn every_operation_answers_what_its_schema_says() {
    let world = World::up().await;
    let document = world.get("/v1/openapi.json").await;
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            documented.insert(operation["operationId"].as_str().unwrap().to_owned());
            assert!(["get", "post", "delete"].contains(&method.as_str()), "{path} {method}");
        }
    }
    let sampled: BTreeSet<_> = samples().iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(documented, sampled, "every documented operation has a sample here, and no other");

    let mut invalidation = String::new();
    for (name, path, body) in samples() {
        let (method, operation) = operation(&document, name);
        if let Some(body) = &body {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            check(&document, schema, body, &format!("{name}: body"), Fields::MayBeLeftOut);
        }
        let request = world.request(method, &path.replace("{id}", &invalidation));
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16().to_string();
        let content = &operation["responses"][&status]["content"];
        assert!(content.is_object(), "{name}: {status} is not documented");
        let media_type = response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let schema = &content[&media_type]["schema"];
        assert!(schema.is_object(), "{name}: {media_type} is not documented");
        let text = response.text().await.unwrap();
        match media_type.as_str() {
            "application/json" => {
                let answer: Value = serde_json::from_str(&text).unwrap();
                check(&document, schema, &answer, name, Fields::AsDocumented);
                if name == "invalidate" {
                    invalidation = answer["id"].as_str().unwrap().to_owned();
                }
            }
            "application/x-ndjson" | "text/event-stream" => {
                let items: Vec<_> =
                    text.lines().map(|line| line.trim_start_matches("data: ")).filter(|l| l.starts_with('{')).collect();
                assert!(!items.is_empty(), "{name}: {text}");
                for item in items {
                    check(&document, schema, &serde_json::from_str(item).unwrap(), name, Fields::AsDocumented);
                }
            }
            _ => assert!(!text.is_empty(), "{name}"),
        }
    }
}

#[tokio::test]
async fn whatever_is_documented_wants_the_token_unless_it_says_otherwise() {
    let world = World::up().await;
    let document = world.get("/v1/openapi.json").await;
    for (name, path, body) in samples() {
        let (method, operation) = operation(&document, name);
        let public = operation["security"] == json!([]);
        for token in [None, Some("0123456789abcdeX"), Some("")] {
            let mut request = world.client.request(method.clone(), format!("{}{path}", world.base));
            request = if let Some(token) = token { request.bearer_auth(token) } else { request };
            request = if let Some(body) = &body { request.json(body) } else { request };
            let response = request.send().await.unwrap();
            assert_eq!(response.status() == 401, !public, "{name} with {token:?}");
            assert_eq!(response.headers().contains_key("www-authenticate"), !public, "{name}");
            assert!(!response.headers().contains_key("access-control-allow-origin"), "{name}");
        }
    }
    // Only the nodes that started made the faults be applied; none of the refused requests did anything.
    let is_nothing = |what: &String| what.ends_with("[]") || what == "policies [latency]" || what == "keys [team: K1]";
    assert!(world.hands.did().iter().all(is_nothing), "{:?}", world.hands.did());
}

#[tokio::test]
async fn what_is_not_documented_is_not_served() {
    let world = World::up().await;
    let document = world.get("/v1/openapi.json").await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::PUT, Method::PATCH] {
            if operations.get(method.as_str().to_lowercase()).is_none() {
                let refused = world.refused(method.clone(), &path.replace("{id}", "edge.fra"), None).await;
                assert_eq!((refused.0, refused.1.as_str()), (405, "method_not_allowed"), "{method} {path}");
            }
        }
    }
    for path in ["/v1", "/v1/", "/v2/status", "/v1/nodes", "/v1/nodes/a/b/c", "/.git/config", "/v1/status/"] {
        let refused = world.refused(Method::GET, path, None).await;
        assert_eq!((refused.0, refused.1.as_str()), (404, "no_such_route"), "{path}");
    }
}

fn operation<'a>(document: &'a Value, name: &str) -> (Method, &'a Value) {
    for operations in document["paths"].as_object().unwrap().values() {
        for (method, operation) in operations.as_object().unwrap() {
            if operation["operationId"] == name {
                return (method.to_uppercase().parse().unwrap(), operation);
            }
        }
    }
    panic!("{name} is not documented")
}

#[derive(Clone, Copy, PartialEq)]
enum Fields {
    AsDocumented,
    MayBeLeftOut,
}

/// Holds `value` against `schema`: types, required fields, and no field that is not documented.
fn check(document: &Value, schema: &Value, value: &Value, at: &str, fields: Fields) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointed = document.pointer(reference.trim_start_matches('#'));
        let pointed = pointed.unwrap_or_else(|| panic!("{at}: {reference} leads nowhere"));
        return check(document, pointed, value, at, fields);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let wanted = if value.is_null() { json!("null") } else { Value::Null };
        let choice = choices.iter().find(|choice| choice["type"] == wanted).unwrap_or_else(|| panic!("{at}: {value}"));
        return check(document, choice, value, at, fields);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let fits = types.iter().any(|name| match *name {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    });
    assert!(fits, "{at}: {value} is not {types:?}");
    if let (Some(words), Some(word)) = (schema["enum"].as_array(), value.as_str()) {
        assert!(words.iter().any(|known| known == word), "{at}: {word}");
    }
    for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}[{nth}]"), fields);
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, field) in object {
            let property = properties.get(name).unwrap_or_else(|| panic!("{at}.{name} is not documented"));
            check(document, property, field, &format!("{at}.{name}"), fields);
        }
        if fields == Fields::AsDocumented {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                assert!(object.contains_key(name), "{at}.{name} is missing");
            }
        }
    }
}
