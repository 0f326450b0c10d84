//! The viewer proxy, as a process: the map and the links that the `viewer` crate asks for.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

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
use viewer::{BoxFuture, BoxIo, Config, Datagrams, DigOptions, Handle, Net, RouterAddresses, Source, Viewer};
use wan::{Wan, WanUdp};
use world::{Atlas, SiteId};

use crate::{
    cluster::Cluster,
    links,
    node::{Common, Frame},
};

/// Serves until the parent wants it to end.
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let cluster = Arc::clone(&frame.cluster);
    let address = frame.http()?;
    let (wan, wan_counters) = links::wan_of(&cluster, &frame.name(), None)?;
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let net = Arc::new(WanNet { wan: wan.clone() });
    let (node, handle) = Viewer::build(config(&cluster), listener, Arc::new(Atlas::embedded()), net)?;
    let common = Common {
        counters: vec![(Arc::clone(handle.counters()), &["viewer"]), (wan_counters, &["wan"])],
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
    config.routers = vec![RouterAddresses { dns: cluster.ports.dns(), http: cluster.ports.routing() }];
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
    config.edge_http_port = cluster.ports.edge_http();
    config.edge_https_port = cluster.ports.edge_https();
    let edges = cluster.nodes_with(Role::Edge);
    config.edge_names = edges
        .filter_map(|plan| Some((plan.addresses.http?.ip(), plan.id.name().to_owned())))
        .collect::<BTreeMap<IpAddr, String>>();
    config
}

/// The links of the world as viewers use them.
struct WanNet {
    wan: Wan,
}

impl Net for WanNet {
    fn connect(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        let dialer = self.wan.dialer(from.site, Some(from.address.into()));
        Box::pin(async move {
            let stream: BoxIo = Box::new(dialer.connect(to).await?);
            Ok(stream)
        })
    }

    fn open_datagrams(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>> {
        let wan = self.wan.clone();
        Box::pin(async move {
            let socket = wan.datagram(from.site, Some(from.address.into())).await?;
            let socket: Box<dyn Datagrams> = Box::new(WanDatagrams { socket, to });
            Ok(socket)
        })
    }

    fn cross(&self, from: &SiteId, to: &SiteId) -> BoxFuture<'static, ()> {
        // One way of the path; within a site there is none to go.
        let span = self.wan.path(from, to).filter(|_| from != to).map(|path| path.rtt / 2);
        Box::pin(async move {
            if let Some(span) = span {
                tokio::time::sleep(span).await;
            }
        })
    }
}

struct WanDatagrams {
    socket: WanUdp,
    to: SocketAddr,
}

impl Datagrams for WanDatagrams {
    fn send<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.socket.send_to(datagram, self.to).map(drop) })
    }

    fn recv<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            loop {
                let (length, from) = self.socket.recv_from(buffer).await?;
                if from == self.to {
                    return Ok(length);
                }
            }
        })
    }
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
