//! The viewer proxy, as a process.

use std::{collections::BTreeMap, fmt, fs, io, net::IpAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use bytes::Bytes;
use cdn_core::{
    Role,
    distribution::{Distribution, Distributions},
    signing::Hash,
};
use futures_util::{StreamExt as _, stream};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use viewer::{
    Config, DigOptions, Handle, Identities, Identity, LoadNews, LoadPlan, LoadRun, RouterAddresses, Sign, Viewer,
};
use wan::RawDial;
use world::{
    Atlas,
    scenario::{Load, Transport},
};

use crate::{
    cluster::{Cluster, OriginKind},
    ipv6::{self, TwinDial},
    links,
    node::{
        Common, Frame,
        load_wire::{LoadAsk, LoadEnd, LoadLine, RelayAsk, RelayLine},
    },
    private_key::PrivateKey,
    state::WorldDir,
};

/// The longest description of a load: a trace of some million requests.
const LOAD_BYTES_MAX: usize = 256 << 20;

/// Serves until the parent wants it to end.
pub(crate) async fn serve(frame: Frame) -> anyhow::Result<()> {
    let cluster = Arc::clone(&frame.cluster);
    let address = frame.http()?;
    let raw = cluster.ipv6.map(|net| Arc::new(TwinDial { clients: ipv6::clients_in(net) }) as Arc<dyn RawDial>);
    let (wan, wan_counters) = links::wan_of(&cluster, &frame.name(), raw)?;
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let mut config = config(&cluster);
    if cluster.edge.https {
        config.identities =
            Some(Arc::new(WorldIdentities { dir: WorldDir::new(&frame.world)?, cluster: Arc::clone(&cluster) }));
    }
    let (node, handle) = Viewer::build(config, listener, Arc::new(Atlas::embedded()), Arc::new(wan.clone()))?;
    let common = Common {
        counters: vec![(Arc::clone(handle.counters()), &["viewer"]), (wan_counters, &["wan"])],
        metrics: Arc::new(|_| String::new()),
        wan: Some(wan),
        on_faults: Arc::new(|_| {}),
        set_clock: Arc::new({
            let handle = handle.clone();
            move |ahead| handle.set_clock(ahead)
        }),
        cluster: Arc::clone(&cluster),
        plan: frame.plan.clone(),
    };
    let routes = Router::new()
        .route("/ledger", get(ledger))
        .route("/dig", get(dig))
        .route("/load", post(load).layer(DefaultBodyLimit::max(LOAD_BYTES_MAX)))
        .route("/relay", post(relay))
        .with_state(ViewerState { handle, cluster });
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
    config.edge_https_port = cluster.edge.https.then(|| cluster.ports.edge_https());
    config.edges6 = cluster.ipv6;
    let edges = cluster.nodes_with(Role::Edge);
    config.edge_names = edges
        .flat_map(|plan| plan.addresses.viewer_facing().map(|address| (address.ip(), plan.id.name().to_owned())))
        .collect::<BTreeMap<IpAddr, String>>();
    config
}

/// The certificates of a world as they lie in its state directory, read when one is asked for: they are renewed.
#[derive(Debug)]
struct WorldIdentities {
    dir: WorldDir,
    cluster: Arc<Cluster>,
}

impl Identities for WorldIdentities {
    fn identity(&self, host: &str) -> io::Result<Identity> {
        let dir = self.dir.authority();
        let distribution = match self.cluster.distributions.as_slice() {
            all if host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() => all.first(),
            all => all.iter().find(|distribution| distribution.names().any(|name| is_called(host, &name))),
        };
        let id = distribution.ok_or(io::ErrorKind::NotFound)?.id();
        Ok(Identity {
            chain_pem: fs::read_to_string(dir.chain(id))?,
            key_pem: fs::read_to_string(dir.key(id))?,
            authority_pem: fs::read_to_string(dir.certificate())?,
        })
    }
}

/// Whether a name of a distribution is `host`, or a wildcard for it.
fn is_called(host: &str, name: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
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

/// Plays loads, and tells of them line by line for as long as somebody listens.
async fn load(
    State(ViewerState { handle, cluster }): State<ViewerState>,
    Json(ask): Json<LoadAsk>,
) -> Result<Body, (StatusCode, String)> {
    let refuse = |what: String| (StatusCode::BAD_REQUEST, what);
    let loads: Vec<Load> = ask.loads.into_iter().map(Load::from).collect();
    let hosts = loads.iter().map(|load| host_of(&cluster, &load.distribution)).collect::<Option<Vec<_>>>();
    if let Some(without) = loads.iter().find_map(|load| without_http3(&cluster, load)) {
        return Err(refuse(no_http3(without)));
    }
    let signers = loads.iter().map(signer_of).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
    let plan = LoadPlan {
        signers,
        hosts: hosts.ok_or_else(|| refuse("no such distribution".into()))?,
        loads,
        warmup: ask.warmup,
        length: ask.length,
        seed: ask.seed,
        content_seed: content_seed(&cluster),
    };
    let (before, began) = (cpu_time(), std::time::Instant::now());
    let run = handle.load(plan).map_err(|error| refuse(error.to_string()))?;
    let begin = LoadLine::Begin { unix_nanos: run.begin_unix_nanos };
    let lines = stream::unfold((Some(run), Some(begin)), move |(run, begin)| async move {
        if let Some(begin) = begin {
            return Some((line(&begin), (run, None)));
        }
        let mut run: LoadRun = run?;
        match run.recv().await? {
            LoadNews::Observations(seen) => {
                Some((line(&LoadLine::Seen(seen.iter().map(Into::into).collect())), (Some(run), None)))
            }
            LoadNews::Ended(summary) => {
                let cpu = cpu_time().saturating_sub(before);
                let (intended, dropped, took) = (summary.intended, summary.dropped, began.elapsed());
                Some((line(&LoadLine::End(LoadEnd { intended, dropped, cpu, took })), (None, None)))
            }
        }
    });
    Ok(Body::from_stream(lines))
}

/// Opens a port whose datagrams go to a host, and keeps it for as long as somebody listens.
async fn relay(
    State(ViewerState { handle, cluster }): State<ViewerState>,
    Json(RelayAsk { place, host }): Json<RelayAsk>,
) -> Result<Body, (StatusCode, String)> {
    let refuse = |what: String| (StatusCode::BAD_REQUEST, what);
    let all = Distributions::new(cluster.distributions.clone()).map_err(|error| refuse(error.to_string()))?;
    if let Some(without) = all.by_host(&host).filter(|found| !found.http_version().http3()) {
        return Err(refuse(no_http3(without.id())));
    }
    let relay = handle.relay(&place, &host).await.map_err(|error| refuse(error.to_string()))?;
    let port = relay.address.port();
    let first = stream::once(async move { line(&RelayLine { port }) });
    let open = stream::once(async move {
        let _relay = relay;
        std::future::pending().await
    });
    Ok(Body::from_stream(first.chain(open)))
}

fn no_http3(distribution: &str) -> String {
    format!("{distribution} does not speak HTTP/3; [distributions.{distribution}] http_version = \"http2and3\"")
}

/// Who signs for a load, where it signs.
fn signer_of(load: &Load) -> Result<Option<Arc<dyn Sign>>, String> {
    let Some(signing) = &load.signing else { return Ok(None) };
    let key = PrivateKey::parse(&signing.private_key.0, &signing.key_id).map_err(|error| format!("{error:#}"))?;
    Ok(Some(Arc::new(Signer(key))))
}

/// A private key that signs policies with SHA-1, which is what CloudFront takes where nothing is said.
struct Signer(PrivateKey);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

impl Sign for Signer {
    fn sign(&self, policy: &[u8]) -> Result<Vec<u8>, String> {
        self.0.sign(Hash::Sha1, policy).map_err(|error| format!("{error:#}"))
    }
}

fn line(line: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text.into())
}

/// A distribution by its id, or the first one where that is empty.
fn asked<'a>(cluster: &'a Cluster, id: &str) -> Option<&'a Distribution> {
    cluster.distributions.iter().find(|one| id.is_empty() || **one.id() == *id).map(AsRef::as_ref)
}

/// What a load asks for by HTTP/3 in vain.
fn without_http3<'a>(cluster: &'a Cluster, load: &Load) -> Option<&'a str> {
    let asked = asked(cluster, &load.distribution)?;
    (load.connections.transport == Transport::Quic && !asked.http_version().http3()).then(|| asked.id().as_ref())
}

/// The name under which a distribution, by id, is asked; of the first one where the id is empty.
fn host_of(cluster: &Cluster, id: &str) -> Option<String> {
    let found = asked(cluster, id)?;
    let written = found.aliases().iter().find(|alias| !alias.starts_with('*'));
    Some(written.map_or_else(|| found.own_name(), ToString::to_string))
}

/// The seed of what origins serve, where all of them are simulated and none was told to serve something else.
fn content_seed(cluster: &Cluster) -> Option<u64> {
    let is_plain = |kind: &OriginKind| match kind {
        OriginKind::Simulated { rules, .. } => !rules.iter().any(|(_, query)| query.contains("seed=")),
        OriginKind::Directory(_) | OriginKind::App(_) => false,
    };
    cluster.origins.values().all(|origin| is_plain(&origin.kind)).then_some(cluster.seed)
}

/// What this process has used of its processors.
fn cpu_time() -> std::time::Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    std::time::Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
