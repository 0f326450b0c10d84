//! Which edge for whom: the policies in force, switching them, and why a decision is what it is.

use control_plane::{ask::RoutingAsk, wire::Routing};
use serde_json::Value;

use crate::{
    args::{Cli, ExplainRouteArgs, RouteArgs, RouteVerb, WhatIf},
    talk::{VerbError, world_flag},
    verbs::{
        api,
        ask::host_of,
        paint::{Paint, table},
        print,
    },
};

/// Shows or switches the policies.
pub(super) async fn run(cli: &Cli, args: &RouteArgs) -> Result<(), VerbError> {
    let routing: Routing = match &args.verb {
        Some(RouteVerb::Policy { name, distribution }) => {
            let ask = RoutingAsk { policy: name.clone(), distribution: distribution.clone() };
            api(cli)?.post("/v1/routing", &ask).await?
        }
        None => api(cli)?.read("/v1/routing", &()).await?,
    };
    print(cli, &routing, routing_text)
}

fn routing_text(routing: &Routing) -> String {
    let rows = routing.distributions.iter().map(|distribution| {
        let whose = if distribution.is_own { "its own" } else { "the world's" };
        vec![distribution.id.clone(), distribution.policy.clone(), whose.to_owned(), distribution.pops.join(" ")]
    });
    format!("policy {}\n\n{}", routing.policy, table(&["DISTRIBUTION", "POLICY", "WHOSE", "POPS"], rows))
}

/// The policies in one line.
pub(super) fn policies(routing: &Routing) -> String {
    let own = routing.distributions.iter().filter(|distribution| distribution.is_own);
    let own = own.map(|distribution| format!("{} {}", distribution.id, distribution.policy));
    std::iter::once(routing.policy.clone()).chain(own).collect::<Vec<_>>().join(", ")
}

/// Why this edge.
pub(super) async fn explain(cli: &Cli, args: &ExplainRouteArgs) -> Result<(), VerbError> {
    let api = api(cli)?;
    let document: Value = match &args.replay {
        Some(id) => api.read(&format!("/v1/explain/route/{}", path_segment(id)), &()).await?,
        None => {
            let mut query = vec![("from", args.from.clone().unwrap_or_default()), ("ecs", (!args.no_ecs).to_string())];
            query.extend(args.url.iter().map(|url| ("name", host_of(url))));
            query.extend(args.resolver.iter().map(|place| ("resolver", place.clone())));
            let drained: Vec<&str> = args.what_if.iter().map(|WhatIf::Drain(pop)| pop.as_str()).collect();
            if !drained.is_empty() {
                query.push(("drain", drained.join(",")));
            }
            api.read("/v1/explain/route", &query).await?
        }
    };
    let paint = Paint::of(cli);
    print(cli, &document, |document| explanation_text(cli, paint, args, document))
}

/// An id as it may stand in a path: what is not plain cannot be one, and is looked up as nothing.
fn path_segment(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn explanation_text(cli: &Cli, paint: Paint, args: &ExplainRouteArgs, document: &Value) -> String {
    let client = &document["client"];
    let from = args.from.clone().unwrap_or_else(|| text(&client["place"]));
    let mut out = format!("{} from {from}: policy {}", text(&document["name"]), text(&document["policy"]));
    let supposed: Vec<String> = document["what_if_drained"].as_array().into_iter().flatten().map(text).collect();
    if !supposed.is_empty() {
        out.push_str(&format!(", if {} were drained", supposed.join(" and ")));
    }
    out.push('\n');
    let candidates = || document["candidates"].as_array().into_iter().flatten();
    let has_load =
        candidates().any(|candidate| !candidate["load_rps"].is_null() && !candidate["capacity_rps"].is_null());
    let rows = candidates().map(|candidate| candidate_row(paint, candidate, has_load));
    let mut head = vec!["POP", "PLACE", "ESTIMATE", "SOURCE", "SAMPLES", "AGE", "SURE", "DISTANCE", "HEALTH"];
    if has_load {
        head.push("LOAD");
    }
    head.extend(["REASON", ""]);
    out.push_str(&table(&head, rows));
    let place = text(&client["place"]);
    out.push_str(&format!(
        "seen: {}{}, from the {}   scope /{}   ttl {} s   snapshot {}",
        client["block"].as_str().unwrap_or("an unknown network"),
        if place.is_empty() { String::new() } else { format!(" ({place})") },
        match client["from"].as_str() {
            Some("subnet") => "client subnet",
            Some("opt_out") => "resolver (the client subnet is withheld)",
            _ => "resolver",
        },
        text(&document["scope_len"]),
        text(&document["ttl_s"]),
        text(&document["snapshot_version"]),
    ));
    if let Some(why) = document["chosen"][0]["reason_help"].as_str() {
        out.push_str(&format!("\nwhy: {why}"));
    }
    out.push_str(&edges_text(document));
    if document["fail_open"] == Value::Bool(true) {
        out.push_str("\ntoo few edges are healthy: health is ignored");
    }
    let decision = text(&document["decision"]);
    match &args.replay {
        Some(_) => out.push_str(&format!(
            "\ndecision {decision}, told again from snapshot {}",
            text(&document["snapshot_version"])
        )),
        None => {
            let world = world_flag(&cli.world);
            out.push_str(&format!("\ndecision {decision}   again: iso explain route{world} --replay {decision}"));
        }
    }
    out
}

/// Why this edge of the chosen PoP, where it has several.
fn edges_text(document: &Value) -> String {
    let chosen = &document["chosen"][0];
    let mut candidates = document["candidates"].as_array().into_iter().flatten();
    let edges = candidates.find(|candidate| candidate["pop"] == chosen["pop"]).and_then(|pop| pop["edges"].as_array());
    let Some(edges) = edges.filter(|edges| edges.len() > 1) else { return String::new() };
    let one = |edge: &Value| {
        let load = edge["load_rps"].as_f64().map_or_else(String::new, |rps| format!(" {rps:.0}/s"));
        let share = |key: &str, what: &str| match edge[key].as_f64() {
            Some(share) if share < 1.0 => format!(", {what} {:.0} % of its clients", share * 100.0),
            _ => String::new(),
        };
        let (ramp, bound) = (share("ramp", "with"), share("acceptance", "takes"));
        format!("{} {}{load}{ramp}{bound}", text(&edge["id"]), text(&edge["health"]))
    };
    let all: Vec<String> = edges.iter().map(one).collect();
    let (edge, why) = (text(&chosen["edge"]), text(&chosen["edge_reason_help"]));
    format!("\nedge: {edge}, {why}\nof {}: {}", text(&chosen["pop"]), all.join("; "))
}

fn candidate_row(paint: Paint, candidate: &Value, has_load: bool) -> Vec<String> {
    let number = |key: &str, shown: fn(f64) -> String| candidate[key].as_f64().map_or_else(String::new, shown);
    let mark = match candidate["chosen"].as_u64() {
        Some(0) => paint.good("← chosen"),
        Some(_) => "← also in the answer".to_owned(),
        None => String::new(),
    };
    let is_measured = candidate["samples"].as_u64().is_some_and(|samples| samples > 0);
    let health =
        if candidate["draining"] == Value::Bool(true) { "draining".into() } else { text(&candidate["health"]) };
    let mut row = vec![
        text(&candidate["pop"]),
        text(&candidate["place"]),
        number("estimate_ms", |ms| format!("{ms:.1} ms")),
        text(&candidate["source"]),
        if is_measured { text(&candidate["samples"]) } else { String::new() },
        number("age_ms", |ms| format!("{:.1} s", ms / 1e3)),
        if is_measured { number("confidence", |share| format!("{:.0} %", share * 100.0)) } else { String::new() },
        number("distance_km", |km| format!("{km:.0} km")),
        health,
    ];
    if has_load {
        row.push(match (candidate["load_rps"].as_f64(), candidate["capacity_rps"].as_f64()) {
            (Some(load), Some(capacity)) => format!("{load:.0} of {capacity:.0}/s"),
            (Some(load), None) => format!("{load:.0}/s"),
            _ => String::new(),
        });
    }
    row.extend([text(&candidate["reason"]), mark]);
    row
}
