//! The viewer proxy, as a process.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use cdn_core::Role;
use serde::Deserialize;
use serde_json::Value;
use viewer::{Config, DigOptions, Handle, RouterAddresses, Viewer};
use wan::RawDial;
use world::Atlas;

use crate::{
    cluster::Cluster,
    ipv6::{self, TwinDial},
    links,
    node::{Common, Frame},
};

/// Serves until the parent wants it to end.
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let cluster = Arc::clone(&frame.cluster);
    let address = frame.http()?;
    let raw = cluster.ipv6.map(|net| Arc::new(TwinDial { clients: ipv6::clients_in(net) }) as Arc<dyn RawDial>);
    let (wan, wan_counters) = links::wan_of(&cluster, &frame.name(), raw)?;
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let (node, handle) = Viewer::build(config(&cluster), listener, Arc::new(Atlas::embedded()), Arc::new(wan.clone()))?;
    let common = Common {
        counters: vec![(Arc::clone(handle.counters()), &["viewer"]), (wan_counters, &["wan"])],
        metrics: Arc::new(|_| String::new()),
        wan: Some(wan),
        on_faults: Arc::new(|_| {}),
        cluster: Arc::clone(&cluster),
        plan: frame.plan.clone(),
    };
    let routes =
        Router::new().route("/ledger", get(ledger)).route("/dig", get(dig)).with_state(ViewerState { handle, cluster });
    frame.announce(common, routes).await?;
    node.serve(frame.stop).await;
    Ok(())
}

fn config(cluster: &Cluster) -> Config {
    let mut config = Config::with_default_ports(cluster.viewer.place.id.as_str());
    let routers = cluster.nodes_with(Role::Router);
    let routers = routers.filter_map(|plan| plan.addresses.dns.zip(plan.addresses.http));
    config.routers = routers.map(|(dns, http)| RouterAddresses { dns, http }).collect();
    let mut zones = vec!["cdn.test".to_owned()];
    for alias in cluster.distributions.iter().flat_map(|distribution| distribution.aliases()) {
        let name = alias.trim_start_matches("*.");
        // A name of three labels belongs to a zone of two, as `www.demo.test` to `demo.test`.
        let zone = name.split_once('.').filter(|(_, rest)| rest.contains('.')).map_or(name, |(_, rest)| rest);
        if !zones.iter().any(|known| known == zone) {
            zones.push(zone.to_owned());
        }
    }
    config.zones = zones;
    // A viewer's request takes as long as the edge may take with it.
    config.limits.drain_grace = cluster.edge.drain_grace;
    config.edge_http_port = cluster.ports.edge_http();
    config.edge_https_port = None;
    config.edges6 = cluster.ipv6;
    let edges = cluster.nodes_with(Role::Edge);
    config.edge_names = edges
        .flat_map(|plan| plan.addresses.viewer_facing().map(|address| (address.ip(), plan.id.name().to_owned())))
        .collect::<BTreeMap<IpAddr, String>>();
    config
}

#[derive(Clone)]
struct ViewerState {
    handle: Handle,
    cluster: Arc<Cluster>,
}

#[derive(Deserialize)]
struct LedgerAsk {
    id: String,
}

async fn ledger(
    State(state): State<ViewerState>,
    Query(ask): Query<LedgerAsk>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let ledger = state
        .handle
        .ledger(&ask.id)
        .ok_or_else(|| (StatusCode::NOT_FOUND, format!("no ledger {:?} is kept", ask.id)))?;
    let text = ledger.render();
    let mut document =
        serde_json::to_value(&ledger).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    document["text"] = Value::String(text);
    Ok(Json(document))
}

#[derive(Deserialize)]
struct DigAsk {
    from: String,
    name: String,
    #[serde(rename = "type")]
    record_type: Option<String>,
    resolver: Option<String>,
    ecs: Option<bool>,
}

async fn dig(
    State(ViewerState { handle, cluster }): State<ViewerState>,
    Query(ask): Query<DigAsk>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let options = DigOptions {
        resolver: ask.resolver.or_else(|| cluster.viewer.resolver.as_ref().map(|place| place.id.to_string())),
        no_ecs: !ask.ecs.unwrap_or(cluster.viewer.client_subnet),
        ..DigOptions::default()
    };
    let record_type = ask.record_type.as_deref().unwrap_or("A");
    let reply = handle.dig(&ask.from, &ask.name, record_type, &options).await.map_err(|error| {
        let status = match error {
            viewer::DigError::Lookup(_) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, error.to_string())
    })?;
    let text = reply.to_string();
    let mut document =
        serde_json::to_value(&reply).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    document["text"] = Value::String(text);
    Ok(Json(document))
}
