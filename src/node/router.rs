//! The router, as a process.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::Context as _;
use axum::{
    Json, Router as Routes,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, put},
};
use cdn_core::{
    PopCode, Role,
    dns_cookie::{CookieSecret, CookieSecrets},
    geo::GeoPrefix,
    routing::{ExplainOptions, PolicyKind, RoutingOptions},
};
use ipnet::IpNet;
use router::{
    Asker, Config, Cookies, Explained, Handle, Peer, Program, QueryLogOptions, Router, Sockets,
    json::{EdgeHealthJson, ExplanationJson, OpinionsJson},
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use world::Atlas;

use crate::{
    cluster::{Cluster, CookiePolicy, ProgramPlan, QueryLogPlan, geo_place},
    links,
    node::{
        Common, Frame,
        edge::source_nat,
        prefixes,
        wire::{DrainedAsk, EdgeSeen, PoliciesAsk},
    },
    policy_program::{self, Rations},
    state::WorldDir,
};

/// Serves until the parent wants it to end.
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let cluster = Arc::clone(&frame.cluster);
    let http = frame.http()?;
    let dns = frame.plan.addresses.dns.context("the router has no DNS address")?;
    let (wan, wan_counters) = links::wan_of(&cluster, &frame.name(), None)?;
    let dialer = wan.dialer(frame.plan.place.id.clone(), None);
    // A laptop runs many nodes; one thread answers some hundred thousand queries per second.
    let sockets = Sockets::bind(dns, http, 1).with_context(|| format!("cannot listen on {dns} and {http}"))?;
    let (node, handle) = Router::build(config(&frame, dns)?, sockets, dialer)?;
    if let Some(file) = cluster.router.prefixes.clone() {
        prefixes::follow(file, worlds_own(&cluster)?, handle.clone(), frame.stop.clone())?;
    }
    let common = Common {
        counters: vec![(wan_counters, &["wan"])],
        metrics: Arc::new({
            let handle = handle.clone();
            move |labels| handle.prometheus(labels)
        }),
        wan: Some(wan),
        on_faults: Arc::new(|_| {}),
        set_clock: Arc::new({
            let handle = handle.clone();
            move |ahead| handle.set_clock(ahead / 1_000_000_000)
        }),
        cluster: Arc::clone(&cluster),
        plan: frame.plan.clone(),
    };
    let routes = Routes::new()
        .route("/drained", put(drained))
        .route("/policies", put(policies))
        .route("/opinions", put(opinions))
        .route("/edges", get(edges))
        .route("/health-of-edges", get(health_of_edges))
        .route("/explain", get(explain))
        .route("/replay", get(replay))
        .with_state(RouterState { handle, cluster });
    frame.announce(common, routes).await?;
    node.serve(frame.stop).await.context("the router ended")
}

fn config(frame: &Frame, dns: SocketAddr) -> anyhow::Result<Config> {
    let cluster = &frame.cluster;
    let IpAddr::V4(own) = dns.ip() else { anyhow::bail!("the router listens on IPv4") };
    let mut config = cluster.router_config(&frame.plan.id, own)?;
    config.sticky = cluster.router.sticky;
    config.prefixes = worlds_own(cluster)?;
    config.source_nat = Some(source_nat(cluster)?);
    for peer in cluster.nodes_with(Role::Router).filter(|peer| peer.id != frame.plan.id) {
        let Some(address) = peer.addresses.admin else { continue };
        config.peers.push(Peer { id: peer.id.clone(), address, authorization: format!("Bearer {}", frame.token) });
    }
    config.routes = cluster.routing.hosts.clone();
    config.routing = routing_of(cluster);
    config.routing.site = Some(geo_place(&frame.plan.place)?);
    let dns = &cluster.dns;
    config.limits = dns.limits.clone();
    config.limits.kept = cluster.router.kept.clone();
    if let Some(ProgramPlan { line, dir, options, wasm }) = &cluster.router.program {
        let command = policy_program::command(line, dir.as_deref(), &Rations { wasm: *wasm, ..Rations::default() });
        config.program = Some(Program { command, options: options.clone() });
    }
    config.version.clone_from(&dns.version);
    let secrets = CookieSecrets::rolling(cookie_root(&frame.token), dns.cookie_rollover);
    config.cookies = match dns.cookies {
        CookiePolicy::Off => None,
        CookiePolicy::On => Some(Cookies { secrets, is_required: false }),
        CookiePolicy::Required => Some(Cookies { secrets, is_required: true }),
    };
    if let Some(log) = &dns.query_log {
        let path = WorldDir::new(&frame.world)?.logs().join(format!("{}.queries.jsonl", frame.plan.id));
        let QueryLogPlan { share, bytes, queue } = *log;
        config.query_log = Some(QueryLogOptions { path, share, bytes_max: bytes, queue_max: queue });
    }
    Ok(config)
}

/// How the routers of a world choose.
pub(crate) fn routing_of(cluster: &Cluster) -> RoutingOptions {
    let (plan, policies) = (&cluster.router, &cluster.routing);
    let mut routing = RoutingOptions {
        policy: policies.policy,
        bias: policies.bias.clone(),
        weights: policies.weights.clone(),
        spill: policies.spill.clone(),
        inside: policies.inside.clone(),
        anycast: policies.anycast.clone(),
        answers: plan.answers,
        ttl: plan.ttl,
        explore_share: plan.explore,
        seed: cluster.seed,
        ..RoutingOptions::default()
    };
    routing.probe.interval = plan.probe_interval;
    routing.probe.timeout = plan.probe_timeout;
    routing.probe.down_after = plan.down_after;
    routing.probe.up_after = plan.up_after;
    routing.quorum = plan.quorum.clone();
    routing.ramp = plan.ramp;
    routing
}

/// All routers of a world have its token, so they make the same of it; nobody learns the token from a cookie.
fn cookie_root(token: &str) -> CookieSecret {
    let digest = Sha256::digest(format!("dns cookies {token}"));
    CookieSecret::new(std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default()))
}

/// The networks of the world's own clients.
pub(crate) fn worlds_own(cluster: &Cluster) -> anyhow::Result<Vec<GeoPrefix>> {
    let blocks = cluster.world.atlas().prefix_table();
    blocks.into_iter().map(|block| Ok(GeoPrefix { net: IpNet::V4(block.net), place: geo_place(block.head)? })).collect()
}

#[derive(Clone)]
struct RouterState {
    handle: Handle,
    cluster: Arc<Cluster>,
}

async fn drained(
    State(RouterState { handle, .. }): State<RouterState>,
    Json(ask): Json<DrainedAsk>,
) -> Result<&'static str, (StatusCode, String)> {
    let pops: Result<Vec<PopCode>, _> = ask.pops.iter().map(|code| code.parse()).collect();
    handle.set_drained(pops.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?);
    Ok("ok\n")
}

async fn policies(
    State(RouterState { handle, .. }): State<RouterState>,
    Json(ask): Json<PoliciesAsk>,
) -> Result<&'static str, (StatusCode, String)> {
    let policy =
        |name: &String| name.parse::<PolicyKind>().map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()));
    let of_distributions = ask.of_distributions.iter().map(|(id, name)| Ok((id.clone(), policy(name)?)));
    handle.set_policies(policy(&ask.world)?, &of_distributions.collect::<Result<_, _>>()?);
    Ok("ok\n")
}

/// What another router makes of the edges. Whoever has the token is one of the cluster.
async fn opinions(
    State(RouterState { handle, .. }): State<RouterState>,
    Json(said): Json<OpinionsJson>,
) -> Result<&'static str, (StatusCode, &'static str)> {
    let (observer, states) = said.parse().ok_or((StatusCode::BAD_REQUEST, "no opinion of a router\n"))?;
    handle.opinions(observer, states);
    Ok("ok\n")
}

async fn edges(State(RouterState { handle, .. }): State<RouterState>) -> Json<Vec<EdgeSeen>> {
    let seen = handle.health().into_iter();
    Json(seen.map(|edge| EdgeSeen { node: edge.edge.to_string(), health: edge.state.as_str().to_owned() }).collect())
}

async fn health_of_edges(State(RouterState { handle, .. }): State<RouterState>) -> Json<Vec<EdgeHealthJson>> {
    let now = handle.now();
    Json(handle.health().iter().map(|edge| EdgeHealthJson::new(now, edge)).collect())
}

#[derive(Deserialize)]
struct ExplainAsk {
    from: String,
    name: Option<String>,
    resolver: Option<String>,
    ecs: Option<bool>,
    drain: Option<String>,
}

async fn explain(
    State(RouterState { handle, cluster }): State<RouterState>,
    Query(ask): Query<ExplainAsk>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let atlas = cluster.world.atlas();
    let network = |name: &str| network_of(atlas, name).map_err(|why| (StatusCode::BAD_REQUEST, why));
    let client = network(&ask.from)?;
    let resolver = match ask.resolver.or_else(|| cluster.viewer.resolver.as_ref().map(|place| place.id.to_string())) {
        Some(place) => network(&place)?.resolver,
        None => client.resolver,
    };
    let ecs = ask.ecs.unwrap_or(cluster.viewer.client_subnet);
    let asker = Asker { peer: resolver.into(), subnet: ecs.then_some(IpNet::V4(client.block)) };
    let name = match ask.name {
        Some(name) => name,
        None => cluster.first_name().unwrap_or_default(),
    };
    let codes = ask.drain.iter().flat_map(|codes| codes.split(',')).map(str::parse::<PopCode>);
    let assume_drained =
        codes.collect::<Result<_, _>>().map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let options = ExplainOptions { assume_drained, ..ExplainOptions::default() };
    let explained = handle.explain(asker, &name, &options);
    document(&explained.map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))?)
}

#[derive(Deserialize)]
struct ReplayAsk {
    id: String,
}

async fn replay(
    State(RouterState { handle, .. }): State<RouterState>,
    Query(ask): Query<ReplayAsk>,
) -> Result<Json<Value>, (StatusCode, String)> {
    document(&handle.replay(&ask.id).map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))?)
}

fn document(explained: &Explained) -> Result<Json<Value>, (StatusCode, String)> {
    let document = serde_json::to_value(ExplanationJson::from(explained));
    document.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn network_of(atlas: &Atlas, name: &str) -> Result<world::ClientNetwork, String> {
    let place = atlas.place(name).map_err(|unknown| unknown.to_string())?;
    atlas.client_network(place).ok_or_else(|| format!("{place} has no client network"))
}
