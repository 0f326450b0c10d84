//! An edge, a regional cache or the shield, as a process.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use anyhow::Context as _;
use axum::{Json, Router, extract::State, http::StatusCode, routing::put};
use cdn_core::{Counters, NodeId, Role, SourceNat, geo::GeoMap, geo_restriction::Country, standard_log::LogStyle};
use control_plane::KeyGroups;
use edge_node::{
    Config, DecisionLogOptions, DiskConfig, Edge, Handle, HttpsConfig, HttpsOrigin, Limits, Listeners, Parent, Places,
    Tier,
};
use http::uri::Authority;
use origin_sim::SharedFaults;
use wan::{BoxRaw, RawDial, TcpDial};

use crate::{
    authority,
    cluster::{Cluster, DecisionLogPlan, Inputs, OriginKind, trusted_keys_of, with_key_groups},
    ipv6, links,
    node::{
        Common, Frame, cache, origin,
        router::worlds_own,
        wire::{ConfigureAsk, FaultSet, InvalidateAsk},
    },
    state::WorldDir,
};

/// Serves until the parent wants it to end.
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let cluster = Arc::clone(&frame.cluster);
    let address = frame.http()?;
    let gates = Arc::new(AppGates::new(&cluster));
    let (wan, wan_counters) = links::wan_of(&cluster, &frame.name(), Some(Arc::clone(&gates) as Arc<dyn RawDial>))?;
    // Its own address is where its connections come from, so that an origin can tell edges apart.
    let dialer = wan.dialer(frame.plan.place.id.clone(), Some(address.ip()));
    let mut listeners = Vec::new();
    for address in frame.plan.addresses.viewer_facing() {
        listeners.push(ipv6::listen(address).with_context(|| format!("cannot listen on {address}"))?);
    }
    let mut https = Vec::new();
    for address in frame.plan.addresses.https() {
        https.push(ipv6::listen(address).with_context(|| format!("cannot listen on {address}"))?);
    }
    let mut quic = Vec::new();
    for address in frame.plan.addresses.https() {
        quic.push(ipv6::datagrams(address).with_context(|| format!("cannot take datagrams at {address}"))?);
    }
    let listeners = Listeners { http: listeners, https, quic };
    let (edge, handle) = Edge::build(config(&frame)?, listeners, edge_node::boxed(dialer))?;
    let common = Common {
        counters: vec![(Arc::clone(handle.counters()), &["edge"]), (wan_counters, &["wan"])],
        metrics: Arc::new(|_| String::new()),
        wan: Some(wan),
        on_faults: Arc::new({
            let (gates, handle, cluster) = (gates, handle.clone(), Arc::clone(&cluster));
            move |set| {
                gates.apply(&cluster, set);
                // Connections from before would go around a gate, and hide for a while that new ones are refused.
                handle.drop_idle_connections();
            }
        }),
        set_clock: Arc::new({
            let handle = handle.clone();
            move |ahead| handle.set_clock(ahead)
        }),
        cluster: Arc::clone(&cluster),
        plan: frame.plan.clone(),
    };
    let routes = Router::new()
        .route("/invalidate", put(invalidate))
        .route("/certificates", put(renew))
        .route("/key-groups", put(set_key_groups))
        .route("/config", put(configure))
        .with_state(EdgeState {
            handle: handle.clone(),
            cluster: Arc::clone(&cluster),
            inputs: Arc::new(frame.inputs.clone()),
            world: frame.world.clone(),
        })
        .merge(cache::routes(handle, cluster, frame.plan.id.role()));
    frame.announce(common, routes).await?;
    edge.serve(frame.stop).await.context("the edge ended")
}

fn config(frame: &Frame) -> anyhow::Result<Config> {
    let cluster = &frame.cluster;
    let authority = |address: SocketAddr| address.to_string().parse::<Authority>().context("an address");
    let mut origins = BTreeMap::new();
    let mut https_origins = BTreeMap::new();
    for (id, plan) in &cluster.origins {
        origins.insert(id.clone(), authority(plan.address)?);
        if let Some(https) = &plan.https {
            let authorities_pem = match &https.authorities_pem {
                Some(pem) => pem.clone(),
                None => authority::certificate_pem(&WorldDir::new(&frame.world)?)?,
            };
            https_origins.insert(id.clone(), HttpsOrigin { address: authority(https.address)?, authorities_pem });
        }
    }
    let mut parents = Vec::new();
    for parent in cluster.parents_of(&frame.plan) {
        let tier = Tier::of(parent.id.role());
        if let (Some(tier), Some(pop), Some(address)) = (tier, parent.pop, parent.addresses.http) {
            parents.push(Parent { tier, pop, address: authority(address)? });
        }
    }
    let plan = &cluster.edge;
    let limits = Limits {
        connections_max: plan.connections,
        inflight_bytes_max: plan.inflight_bytes,
        header_timeout: plan.header_timeout,
        body_idle_timeout: plan.body_timeout,
        drain_grace: plan.drain_grace,
        functions: plan.functions,
        ..Limits::default()
    };
    // Caches behind speak to other nodes of ours alone.
    let https = match frame.plan.addresses.https_port {
        Some(port) => Some(HttpsConfig {
            certificates: authority::certificates(&WorldDir::new(&frame.world)?, &cluster.distributions)?,
            port,
        }),
        None => None,
    };
    let disk = match plan.disk {
        Some(bytes_max) => {
            let dir = WorldDir::new(&frame.world)?.disk(&frame.plan.id);
            Some(DiskConfig { dir, bytes_max, generation: frame.generation.clone() })
        }
        None => None,
    };
    let decision_log = match plan.decision_log {
        Some(DecisionLogPlan { bytes, queue }) => {
            let path = WorldDir::decision_log(&WorldDir::new(&frame.world)?.logs(), &frame.plan.id);
            Some(DecisionLogOptions { path, bytes_max: bytes, queue_max: queue })
        }
        None => None,
    };
    // Each node hashes and draws for itself.
    let seed = frame.name().bytes().fold(cluster.seed, |seed, byte| seed.rotate_left(9) ^ u64::from(byte));
    Ok(Config {
        id: frame.plan.id.clone(),
        pop: frame.plan.pop.context("an edge stands in a PoP")?,
        tier: Tier::of(frame.plan.id.role()).context("only a cache has a tier")?,
        distributions: cluster.distributions.clone(),
        origins,
        https_origins,
        parents,
        cache_bytes_max: plan.cache_bytes,
        object_bytes_max: plan.object_bytes,
        compression: plan.compression.clone(),
        eviction: plan.eviction,
        admission: plan.admission,
        disk,
        decision_log,
        https,
        plain_http2: plan.plain_http2,
        limits,
        source_nat: Some(source_nat(cluster)?),
        places: match frame.plan.id.role() {
            Role::Edge => Some(places(cluster)?),
            // Caches behind are told by edges what they need to know.
            _ => None,
        },
        seed,
        // What caches behind are asked is no viewer's request.
        log_style: if frame.plan.id.role() == Role::Edge { cluster.log_style } else { LogStyle::Text },
        realtime_logs: if frame.plan.id.role() == Role::Edge { cluster.realtime_logs.clone() } else { BTreeMap::new() },
    })
}

/// Where the clients of the world are.
fn places(cluster: &Cluster) -> anyhow::Result<Places> {
    let prefixes = worlds_own(cluster)?;
    let atlas = cluster.world.atlas();
    let codes = prefixes.iter().map(|prefix| &*prefix.place.country);
    let named =
        codes.filter_map(|code| Some((Country::parse(code)?, atlas.country(code.parse().ok()?)?.name.to_string())));
    let country_names = named.collect();
    Ok(Places { map: GeoMap::build(prefixes), country_names })
}

/// Clients of the world stand on this machine as loopback addresses.
pub(crate) fn source_nat(cluster: &Cluster) -> anyhow::Result<SourceNat> {
    let nat = SourceNat::new(world::LOOPBACK_NETWORKS, world::CLIENT_NETWORKS).context("the client networks")?;
    Ok(match cluster.ipv6.and_then(ipv6::clients_in) {
        Some(prefix) => nat.with_prefix(prefix),
        None => nat,
    })
}

#[derive(Clone)]
struct EdgeState {
    handle: Handle,
    cluster: Arc<Cluster>,
    inputs: Arc<Inputs>,
    /// The world's name.
    world: String,
}

/// Reads the certificates again.
async fn renew(State(EdgeState { handle, world, .. }): State<EdgeState>) -> Result<(), (StatusCode, String)> {
    take_certificates(&handle, &world)
}

/// Has the node show what the authority has made, and speak there what its distributions say.
fn take_certificates(handle: &Handle, world: &str) -> Result<(), (StatusCode, String)> {
    let taken = WorldDir::new(world).and_then(|dir| authority::certificates(&dir, &handle.distributions()));
    let taken = taken.and_then(|all| Ok(handle.set_certificates(&all)?));
    taken.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))
}

/// Trusts these keys and no others.
async fn set_key_groups(
    State(EdgeState { handle, .. }): State<EdgeState>,
    Json(groups): Json<KeyGroups>,
) -> Result<(), (StatusCode, String)> {
    let groups = trusted_keys_of(&groups).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    handle.set_key_groups(&groups).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

/// Serves as another cluster file says, as far as distributions go; as the node's own does where there is none.
async fn configure(
    State(EdgeState { handle, cluster, inputs, world }): State<EdgeState>,
    Json(ConfigureAsk { file, key_groups }): Json<ConfigureAsk>,
) -> Result<(), (StatusCode, String)> {
    let refuse = |why: String| (StatusCode::BAD_REQUEST, why);
    let all = match file {
        None => cluster.distributions.clone(),
        Some(mut file) => {
            let mut inputs = Inputs::clone(&inputs);
            if let Some(groups) = &key_groups {
                with_key_groups(&mut file, &mut inputs, groups);
            }
            cluster.reconfigured(&file, &inputs).map_err(refuse)?.distributions
        }
    };
    handle.set_distributions(all).map_err(|error| refuse(error.to_string()))?;
    if cluster.edge.https { take_certificates(&handle, &world) } else { Ok(()) }
}

async fn invalidate(
    State(EdgeState { handle, cluster, .. }): State<EdgeState>,
    Json(ask): Json<InvalidateAsk>,
) -> Result<String, (StatusCode, String)> {
    let mut removed = 0;
    for distribution in &cluster.distributions {
        if ask.distribution.as_deref().is_some_and(|id| id != &**distribution.id()) {
            continue;
        }
        for pattern in &ask.patterns {
            removed += handle
                .invalidate(distribution.id(), pattern)
                .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        }
    }
    Ok(format!("{removed}\n"))
}

/// Users' own apps with faults laid over them: a stream to an app passes a gate while a fault needs HTTP.
struct AppGates {
    apps: Vec<AppGate>,
}

struct AppGate {
    node: NodeId,
    addresses: Vec<SocketAddr>,
    faults: SharedFaults,
}

impl AppGates {
    fn new(cluster: &Cluster) -> Self {
        let apps = cluster.origins.iter().filter_map(|(id, plan)| match &plan.kind {
            OriginKind::App(addresses) => Some(AppGate {
                node: NodeId::new(Role::Origin, id),
                addresses: addresses.clone(),
                faults: SharedFaults::new(cluster.seed, Arc::new(Counters::default())),
            }),
            _ => None,
        });
        Self { apps: apps.collect() }
    }

    /// Takes the faults that are active.
    fn apply(&self, cluster: &Cluster, set: &FaultSet) {
        for app in &self.apps {
            let rules = origin::rules(cluster, set, &app.node);
            // Setting them again would let go of what a stall holds.
            if rules != app.faults.rules() {
                app.faults.set(rules);
            }
        }
    }
}

impl RawDial for AppGates {
    fn dial(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> Pin<Box<dyn Future<Output = io::Result<BoxRaw>> + Send>> {
        let Some(app) = self.apps.iter().find(|app| app.addresses.contains(&address)) else {
            return TcpDial.dial(address, source);
        };
        // An app of `localhost` may listen on one family only, and not always on the same.
        let at_port = app.addresses.iter().filter(|one| one.port() == address.port());
        let dials: Vec<_> = at_port
            .map(|address| {
                let is_same_family = source.is_some_and(|source| source.is_ipv4() == address.is_ipv4());
                TcpDial.dial(*address, source.filter(|_| is_same_family && address.ip().is_loopback()))
            })
            .collect();
        let faults = (!app.faults.rules().is_empty()).then(|| app.faults.clone());
        Box::pin(async move {
            let mut result = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
            for dial in dials {
                result = dial.await;
                if result.is_ok() {
                    break;
                }
            }
            let stream = result?;
            let peer = source.unwrap_or_else(|| std::net::Ipv4Addr::LOCALHOST.into());
            Ok(match faults {
                Some(faults) => Box::new(origin_sim::gate(stream, &faults, peer)),
                None => stream,
            })
        })
    }
}
