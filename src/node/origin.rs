//! A simulated origin or a directory, as a process.

use std::{net::IpAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, put},
};
use cdn_core::NodeId;
use origin_sim::{Config, FaultKind, FaultRule, Handle, OriginSim, Rule};

use crate::{
    authority,
    cluster::{Cluster, OriginKind},
    links,
    node::{
        Common, Frame,
        wire::{EffectWire, FaultSet},
    },
    state::WorldDir,
};

/// Serves until the parent wants it to end.
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let cluster = &frame.cluster;
    let name = frame.plan.id.name();
    let origin = cluster.origins.get(name).with_context(|| format!("the config has no origin {name}"))?;
    let mut config = Config::new(frame.plan.id.clone(), cluster.seed);
    match &origin.kind {
        OriginKind::Simulated { concurrency, queue, rules } => {
            config.limits.concurrency_max = concurrency.unwrap_or(config.limits.concurrency_max);
            config.limits.queue_max = queue.unwrap_or(config.limits.queue_max);
            for (path, query) in rules {
                config.rules.push(Rule::parse(path, query).with_context(|| format!("rule for {path}"))?);
            }
        }
        OriginKind::Directory(dir) => config.root = Some(dir.clone()),
        OriginKind::App(_) => anyhow::bail!("origin {name} is an app of the user's"),
    }
    if origin.https.is_some() {
        config.identity = Some(authority::origin_identity(&WorldDir::new(&frame.world)?, name)?);
    }
    let address = frame.http()?;
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let (node, handle) = OriginSim::build(config, listener)?;
    let id = frame.plan.id.clone();
    let common = Common {
        counters: vec![(Arc::clone(handle.counters()), &["origin"])],
        metrics: Arc::new(|_| String::new()),
        wan: None,
        on_faults: Arc::new({
            let (handle, cluster, id) = (handle.clone(), Arc::clone(cluster), id.clone());
            move |set| handle.set_faults(rules(&cluster, set, &id))
        }),
        set_clock: Arc::new({
            let handle = handle.clone();
            move |ahead| handle.set_clock(ahead)
        }),
        cluster: Arc::clone(cluster),
        plan: frame.plan.clone(),
    };
    let renewed = (handle.clone(), frame.world.clone(), name.to_owned());
    let routes = Router::new()
        .route("/paths", get(paths))
        .with_state(handle)
        .merge(Router::new().route("/certificates", put(renew)).with_state(renewed));
    frame.announce(common, routes).await?;
    node.serve(frame.stop).await.context("the origin ended")
}

/// Reads the certificate again.
async fn renew(State((handle, world, name)): State<(Handle, String, String)>) -> Result<(), (StatusCode, String)> {
    let renewed = WorldDir::new(&world).and_then(|dir| authority::origin_identity(&dir, &name)).and_then(|identity| {
        handle.set_identity(&identity)?;
        Ok(())
    });
    renewed.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))
}

async fn paths(State(handle): State<Handle>) -> Json<serde_json::Value> {
    let rows =
        handle.path_counters().into_iter().map(|row| serde_json::json!({ "path": row.path, "requests": row.requests }));
    Json(rows.collect())
}

/// What an origin itself does of the faults that are active: everything that needs HTTP.
pub(crate) fn rules(cluster: &Cluster, set: &FaultSet, origin: &NodeId) -> Vec<FaultRule> {
    let mine = set.nodes.iter().filter(|fault| fault.node == origin.to_string());
    mine.filter(|fault| links::below_http(cluster, fault).is_none())
        .filter_map(|fault| {
            let kind = match fault.effect {
                EffectWire::Status(status) => FaultKind::Status(StatusCode::from_u16(status).ok()?),
                EffectWire::Latency(nanos) => FaultKind::Latency(std::time::Duration::from_nanos(nanos)),
                EffectWire::Refuse => FaultKind::Refuse,
                EffectWire::Reset => FaultKind::Reset,
                EffectWire::Blackhole => FaultKind::Blackhole,
                EffectWire::Truncate => FaultKind::Truncate,
                EffectWire::Stall => FaultKind::Stall,
                EffectWire::Garbage => FaultKind::Garbage,
                EffectWire::Throttle(bits_per_s) => FaultKind::Throttle { bits_per_s },
                EffectWire::Clock(_) | EffectWire::LogsFull => return None,
            };
            let mut rule = FaultRule::new(kind).rate(fault.rate);
            if let Some(path) = &fault.path {
                rule = rule.path(path);
            }
            if let Some(site) = &fault.from {
                rule = rule.from(addresses_at(cluster, site));
            }
            Some(rule)
        })
        .collect()
}

/// The addresses from which nodes at a site dial: each dials from the one it listens on.
fn addresses_at(cluster: &Cluster, site: &str) -> Vec<IpAddr> {
    let at_site = cluster.nodes.iter().filter(|plan| plan.place.id.as_str() == site);
    at_site.filter_map(|plan| plan.addresses.http.map(|address| address.ip())).collect()
}
