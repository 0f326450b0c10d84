//! Routes that only look: status, nodes, faults, caches, explanations, metrics, the API's own description.

use std::sync::Arc;

use axum::{
    Json as Reply,
    extract::State,
    response::{IntoResponse, Response},
};
use cdn_core::{Counter, NodeId};
use futures_util::StreamExt as _;
use http::header;
use serde_json::Value;

use crate::{
    ask::{CacheAsk, CacheShowAsk, DigAsk, RequestAsk, RouteAsk},
    check,
    extract::{Asked, Segment},
    metrics::RollUp,
    openapi,
    plane::Plane,
    respond::Refusal,
    wire::{
        Accepted, CacheReport, CacheStats, ConfigReport, Faults, Health, KeyGroupsReport, Node, NodeCache,
        NodeStoreStats, Routing, Status,
    },
};

type Shared = State<Arc<Plane>>;

/// How many nodes are asked at the same time.
const NODES_AT_ONCE: usize = 32;

pub(super) async fn handle_health() -> Reply<Accepted> {
    Reply(Accepted { status: "ok".into() })
}

pub(super) async fn handle_openapi(State(plane): Shared) -> Reply<Value> {
    Reply(openapi::document(&plane.config.version))
}

pub(super) async fn handle_status(State(plane): Shared) -> Reply<Status> {
    Reply(plane.status())
}

pub(super) async fn handle_node(State(plane): Shared, Segment(name): Segment) -> Result<Reply<Node>, Refusal> {
    let now = plane.now();
    let state = plane.state();
    let nodes = state.registry.nodes_called(&name)?;
    match nodes.first().and_then(|id| state.registry.row(id, now)) {
        Some(row) => Ok(Reply(row)),
        None => Err(Refusal::Internal),
    }
}

pub(super) async fn handle_faults(State(plane): Shared) -> Reply<Faults> {
    Reply(Faults { faults: plane.fault_rows() })
}

pub(super) async fn handle_cache(
    State(plane): Shared,
    Asked(ask): Asked<CacheAsk>,
) -> Result<Reply<CacheReport>, Refusal> {
    let caches = plane.state().registry.caches();
    cache_report(&plane, ask, caches, Depth::Where).await
}

pub(super) async fn handle_cache_show(
    State(plane): Shared,
    Asked(ask): Asked<CacheShowAsk>,
) -> Result<Reply<CacheReport>, Refusal> {
    let mut caches = plane.state().registry.caches();
    if let Some(at) = &ask.at {
        let named = plane.state().registry.nodes_called(at)?;
        caches.retain(|id| named.contains(id));
        if caches.is_empty() {
            return Err(Refusal::invalid(format!("{at} is no cache; edges, regional caches and shields are")));
        }
    }
    let CacheShowAsk { path, distribution, .. } = ask;
    cache_report(&plane, CacheAsk { path, distribution }, caches, Depth::Show).await
}

/// How much is asked about what is stored.
#[derive(Clone, Copy)]
enum Depth {
    Where,
    Show,
}

async fn cache_report(
    plane: &Plane,
    ask: CacheAsk,
    caches: Vec<NodeId>,
    depth: Depth,
) -> Result<Reply<CacheReport>, Refusal> {
    check::path(&ask.path)?;
    let distribution = ask.distribution.as_deref().map(|name| plane.state().registry.distribution_called(name));
    let distribution = distribution.transpose()?;
    let one = async |id: NodeId| {
        let asking = match depth {
            Depth::Where => plane.hands.cache_where(&id, distribution.as_deref(), &ask.path),
            Depth::Show => plane.hands.cache_show(&id, distribution.as_deref(), &ask.path),
        };
        let asked = plane.act(asking).await;
        let pop = plane.state().registry.pop_of(&id).map(|pop| pop.to_string());
        let (entries, error) = match asked {
            Ok(entries) => (entries, None),
            Err(error) => (Value::Array(Vec::new()), Some(error.to_string())),
        };
        NodeCache { node: id.to_string(), pop, entries, error }
    };
    let nodes = futures_util::future::join_all(caches.into_iter().map(one)).await;
    Ok(Reply(CacheReport { path: ask.path, distribution, nodes }))
}

pub(super) async fn handle_cache_stats(State(plane): Shared) -> Reply<CacheStats> {
    let caches = plane.state().registry.caches();
    let one = async |id: NodeId| {
        let asked = plane.act(plane.hands.cache_stats(&id)).await;
        let pop = plane.state().registry.pop_of(&id).map(|pop| pop.to_string());
        let (stats, error) = match asked {
            Ok(stats) => (Some(stats), None),
            Err(error) => (None, Some(error.to_string())),
        };
        NodeStoreStats { node: id.to_string(), pop, stats, error }
    };
    Reply(CacheStats { nodes: futures_util::future::join_all(caches.into_iter().map(one)).await })
}

pub(super) async fn handle_explain_route(
    State(plane): Shared,
    Asked(ask): Asked<RouteAsk>,
) -> Result<Reply<Value>, Refusal> {
    let mut ask = ask;
    if let Some(codes) = &ask.drain {
        let state = plane.state();
        let named = codes.split(',').map(str::trim).filter(|code| !code.is_empty());
        let pops: Result<Vec<_>, _> = named.map(|code| state.registry.pop_called(code)).collect();
        let pops: Vec<String> = pops?.iter().map(ToString::to_string).collect();
        ask.drain = (!pops.is_empty()).then(|| pops.join(","));
    }
    Ok(Reply(plane.act(plane.hands.explain_route(&ask)).await?))
}

pub(super) async fn handle_explain_request(
    State(plane): Shared,
    Asked(ask): Asked<RequestAsk>,
) -> Result<Reply<Value>, Refusal> {
    Ok(Reply(plane.act(plane.hands.explain_request(&ask)).await?))
}

pub(super) async fn handle_replay_route(State(plane): Shared, Segment(id): Segment) -> Result<Reply<Value>, Refusal> {
    Ok(Reply(plane.act(plane.hands.replay_route(&id)).await?))
}

pub(super) async fn handle_routing(State(plane): Shared) -> Reply<Routing> {
    Reply(plane.routing())
}

pub(super) async fn handle_key_groups(State(plane): Shared) -> Reply<KeyGroupsReport> {
    Reply(plane.key_groups())
}

pub(super) async fn handle_config(State(plane): Shared) -> Reply<ConfigReport> {
    Reply(ConfigReport { config: plane.state().desired.whole().cloned() })
}

pub(super) async fn handle_dig(State(plane): Shared, Asked(ask): Asked<DigAsk>) -> Result<Reply<Value>, Refusal> {
    Ok(Reply(plane.act(plane.hands.dig(&ask)).await?))
}

pub(super) async fn handle_ledger(State(plane): Shared, Segment(id): Segment) -> Result<Reply<Value>, Refusal> {
    Ok(Reply(plane.act(plane.hands.ledger(&id)).await?))
}

pub(super) async fn handle_metrics(State(plane): Shared) -> Response {
    let limits = &plane.config.limits;
    let running = plane.state().registry.running();
    let asked = running.into_iter().map(|id| {
        let plane = plane.clone();
        async move {
            let text = plane.within(limits.metrics_timeout, plane.hands.metrics(&id)).await;
            (id, text)
        }
    });
    let mut texts: Vec<_> = futures_util::stream::iter(asked).buffer_unordered(NODES_AT_ONCE).collect().await;
    texts.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut roll_up = RollUp::default();
    for (id, text) in texts {
        let Some(text) = text.ok().filter(|text| text.len() <= limits.metrics_bytes_max) else {
            plane.counters.bump(Counter::ControlMetricsFailed);
            continue;
        };
        let pop = plane.state().registry.pop_of(&id).map(|pop| pop.to_string());
        let node = id.to_string();
        let mut labels = vec![("node", node.as_str()), ("role", id.role().as_str())];
        labels.extend(pop.as_deref().map(|pop| ("pop", pop)));
        roll_up.add(&text, &labels);
    }
    plane.counters.add(Counter::ControlMetricsLinesDropped, roll_up.dropped);
    roll_up.add(&nodes_up(&plane), &[]);
    roll_up.add(&plane.counters.prometheus(&["control"], ""), &[]);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], roll_up.into_text()).into_response()
}

/// Which nodes are up, and how often each was restarted: known here even while the node cannot be asked.
fn nodes_up(plane: &Plane) -> String {
    let mut text = String::from(
        "# HELP iso_node_up whether the node serves (1) or not (0)\n# TYPE iso_node_up gauge\n\
         # HELP iso_node_restarts_total how often the node's process ended by itself and was started again\n\
         # TYPE iso_node_restarts_total counter\n",
    );
    for node in plane.state().registry.rows(plane.now()) {
        let up = u8::from(matches!(node.health, Health::Up | Health::Draining));
        let pop = node.pop.map(|pop| format!(",pop=\"{pop}\"")).unwrap_or_default();
        let labels = format!("node=\"{}\",role=\"{}\"{pop}", node.id, node.role);
        text.push_str(&format!(
            "iso_node_up{{{labels}}} {up}\niso_node_restarts_total{{{labels}}} {}\n",
            node.restarts
        ));
    }
    text
}
