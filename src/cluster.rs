//! A world, checked: every place found, every id unique, every address given.
//!
//! [`Cluster::check`] turns what was typed ([`ClusterFile`]) into this, or says which key is wrong. The supervisor and
//! every node process run the same check on the same input, so that all agree on addresses, places and links without
//! telling one another. Knows no process and no socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use cdn_core::{
    NodeId, PopCode, Role,
    distribution::{
        AllowedMethods, Behavior, CachePolicy, Diagnostics, Distribution, DistributionSpec, FAILOVER_CODES_AWS, Origin,
        OriginGroup, OriginRequestPolicy, Selection, TransportFailover,
    },
    policies::{self, CACHE_POLICIES, ORIGIN_REQUEST_POLICIES},
};
use http::{HeaderName, HeaderValue, StatusCode};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use world::{Access, Atlas, Matrix, Place, World, WorldOptions};

use crate::{
    cluster_file::{BehaviorFile, ClusterFile, GroupFile, MethodsFile, OriginFile, TransportFailoverFile},
    diagnose::{KeyError, did_you_mean},
    ports::{PortBlock, Transport},
    quantity::Span,
};

/// What a check needs beyond the file, found out once by the supervisor and handed to every node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// The first port, once a free block was chosen where the file asks for one.
    pub(crate) base_port: Option<u16>,
    /// The text of the user's matrix.
    pub(crate) matrix: Option<String>,
    /// Addresses of users' own apps by origin id, the one to use first.
    pub(crate) apps: BTreeMap<String, Vec<SocketAddr>>,
}

/// A checked world.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// Ports.
    pub(crate) ports: PortBlock,
    /// Edges, shield, router, origins, viewer, in this order.
    pub(crate) nodes: Vec<NodePlan>,
    /// Origins by id, in the order written.
    pub(crate) origins: IndexMap<String, OriginPlan>,
    /// Distributions.
    pub(crate) distributions: Vec<Arc<Distribution>>,
    /// The router's settings.
    pub(crate) router: RouterPlan,
    /// Settings of edges.
    pub(crate) edge: EdgePlan,
    /// Settings of viewers.
    pub(crate) viewer: ViewerPlan,
    /// Where the control plane stands: with the router.
    pub(crate) control: Place,
    /// What nodes log.
    pub(crate) log_level: String,
    /// The outside.
    pub(crate) world: Arc<World>,
    /// What is allowed and probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// A node: where it stands and where it listens.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    /// Its id.
    pub(crate) id: NodeId,
    /// Its PoP, where it stands in one.
    pub(crate) pop: Option<PopCode>,
    /// Where it stands.
    pub(crate) place: Place,
    /// Where it listens.
    pub(crate) addresses: Addresses,
    /// Whether it is a user's own app: not a process of ours.
    pub(crate) is_app: bool,
}

/// Where a node listens, as far as it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// HTTP for clients.
    pub(crate) http: Option<SocketAddr>,
    /// DNS, UDP and TCP.
    pub(crate) dns: Option<SocketAddr>,
    /// The admin port.
    pub(crate) admin: Option<SocketAddr>,
}

/// Where an origin's answers come from.
#[derive(Clone, Debug)]
pub(crate) struct OriginPlan {
    /// Where it stands.
    pub(crate) place: Place,
    /// Where edges connect.
    pub(crate) address: SocketAddr,
    /// What answers there.
    pub(crate) kind: OriginKind,
    /// How edges treat it.
    pub(crate) origin: Origin,
}

/// What an origin is.
#[derive(Clone, Debug)]
pub(crate) enum OriginKind {
    /// A simulated one, with its settings.
    Simulated {
        /// Requests served at once.
        concurrency: Option<usize>,
        /// Requests that may queue.
        queue: Option<usize>,
        /// Path patterns and what they answer.
        rules: Vec<(String, String)>,
    },
    /// A directory.
    Directory(PathBuf),
    /// The user's own app, at any of these addresses.
    App(Vec<SocketAddr>),
}

/// Settings of the router, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct RouterPlan {
    /// Policy by name.
    pub(crate) policy: String,
    /// How long resolvers may keep an answer.
    pub(crate) ttl: Duration,
    /// Addresses per answer.
    pub(crate) answers: usize,
    /// Time between probes.
    pub(crate) probe_interval: Duration,
    /// Time after which a probe has failed.
    pub(crate) probe_timeout: Duration,
    /// Failures in a row that make an edge down.
    pub(crate) down_after: u32,
    /// Successes in a row that bring it back.
    pub(crate) up_after: u32,
    /// Share of answers that try the runner-up.
    pub(crate) explore: f64,
}

/// Settings of edges, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct EdgePlan {
    /// Bytes in the store.
    pub(crate) cache_bytes: u64,
    /// Largest stored response.
    pub(crate) object_bytes: u64,
    /// Open client connections.
    pub(crate) connections: usize,
    /// Time for a request head.
    pub(crate) header_timeout: Duration,
    /// Longest pause in a request body.
    pub(crate) body_timeout: Duration,
    /// Time to finish when stopping.
    pub(crate) drain_grace: Duration,
}

/// Settings of viewers, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct ViewerPlan {
    /// Where one stands who did not say.
    pub(crate) place: Place,
    /// Where resolvers stand, where not with their viewers.
    pub(crate) resolver: Option<Place>,
    /// Whether resolvers send the client subnet.
    pub(crate) client_subnet: bool,
}

/// PoPs at most; the last octets of their addresses and the block of admin ports are shared out among nodes.
const POPS_MAX: usize = 40;

impl Cluster {
    /// Checks `file`.
    ///
    /// # Errors
    /// The first key that is wrong, with the nearest valid name where there is one.
    pub(crate) fn check(file: &ClusterFile, inputs: &Inputs) -> Result<Self, KeyError> {
        let atlas = Atlas::embedded();
        let mut warnings = Vec::new();
        let base = inputs.base_port.or(file.base_port).unwrap_or(PortBlock::BASE_DEFAULT);
        let ports = PortBlock::new(base).ok_or_else(|| {
            KeyError::new("base_port", format!("{base} leaves no room for the block of ports"))
                .hint("choose one from 1024 to 65300, or 0 for any free block")
        })?;
        let pops = pops_of(file, atlas)?;
        let origins = origins_of(file, inputs, atlas, ports)?;
        let shield = shield_of(file, atlas, &pops, &origins)?;
        let control = match &file.router.site {
            Some(name) => place(atlas, "router.site", name)?,
            None => shield.as_ref().or_else(|| pops.first()).cloned().ok_or_else(no_pops)?,
        };
        let groups = groups_of(file, &origins, &mut warnings)?;
        let distributions = distributions_of(file, &origins, &groups, &mut warnings)?;
        let nodes = nodes_of(&pops, shield.as_ref(), &control, &origins, ports)?;
        let world = world_of(file, inputs)?;
        let default_place = match &file.viewer.place {
            Some(name) => place(atlas, "viewer.place", name)?,
            None => {
                let first = pops.first().ok_or_else(no_pops)?;
                atlas.nearest_city(first.coordinates).unwrap_or(first).clone()
            }
        };
        let resolver = match &file.viewer.resolver {
            Some(name) => Some(place(atlas, "viewer.resolver", name)?),
            None => None,
        };
        Ok(Self {
            seed: seed_of(file),
            ports,
            nodes,
            origins,
            distributions,
            router: router_of(file)?,
            edge: edge_of(file)?,
            viewer: ViewerPlan {
                place: default_place,
                resolver,
                client_subnet: file.viewer.client_subnet.unwrap_or(true),
            },
            control,
            log_level: file.log.level.clone().unwrap_or_else(|| "info".into()),
            world: Arc::new(world),
            warnings,
        })
    }

    /// Nodes of a role.
    pub(crate) fn nodes_with(&self, role: Role) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().filter(move |node| node.id.role() == role)
    }

    /// The node `id`.
    pub(crate) fn node(&self, id: &NodeId) -> Option<&NodePlan> {
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// Who lives at `address`: the place whose links lead there.
    pub(crate) fn place_at(&self, address: SocketAddr) -> Option<&Place> {
        let listens = |node: &&NodePlan| {
            let Addresses { http, dns, admin } = node.addresses;
            [http, dns, admin].contains(&Some(address))
        };
        if address == self.ports.routing() || address == self.ports.dns() {
            return self.nodes_with(Role::Router).next().map(|router| &router.place);
        }
        self.nodes.iter().find(listens).map(|node| &node.place).or_else(|| {
            let is_at = |origin: &&OriginPlan| match &origin.kind {
                OriginKind::App(addresses) => addresses.contains(&address),
                _ => origin.address == address,
            };
            self.origins.values().find(is_at).map(|origin| &origin.place)
        })
    }

    /// Every port the world will listen on.
    pub(crate) fn listens_on(&self) -> Vec<(SocketAddr, &'static str, Transport)> {
        self.listens_on_at(self.ports)
    }

    /// Every port the world would listen on if its block were `block`.
    pub(crate) fn listens_on_at(&self, block: PortBlock) -> Vec<(SocketAddr, &'static str, Transport)> {
        let mut all = self.listeners();
        for (address, ..) in &mut all {
            address.set_port(address.port() - self.ports.base() + block.base());
        }
        all
    }

    fn listeners(&self) -> Vec<(SocketAddr, &'static str, Transport)> {
        let mut all = vec![(self.ports.control(), "control API", Transport::Tcp)];
        for node in self.nodes.iter().filter(|node| !node.is_app) {
            let Addresses { http, dns, admin } = node.addresses;
            let what = match node.id.role() {
                Role::Edge => "edges, HTTP",
                Role::Shield => "shield, HTTP",
                Role::Router => "HTTP routing",
                Role::Origin => "origin",
                Role::Viewer => "viewer proxy",
            };
            all.extend(http.map(|address| (address, what, Transport::Tcp)));
            all.extend(admin.map(|address| (address, "admin", Transport::Tcp)));
            if let Some(dns) = dns {
                all.extend([(dns, "DNS", Transport::Udp), (dns, "DNS", Transport::Tcp)]);
            }
        }
        all
    }
}

/// Seed of the world.
pub(crate) fn seed_of(file: &ClusterFile) -> u64 {
    file.seed.unwrap_or(1)
}

/// The outside of a file: seed, access network, matrix.
///
/// # Errors
/// An unknown access network, or a matrix with a wrong line.
pub(crate) fn world_of(file: &ClusterFile, inputs: &Inputs) -> Result<World, KeyError> {
    let atlas = Atlas::embedded();
    let access = match &file.world.access {
        Some(name) => name.parse::<Access>().map_err(|error| {
            let hint = did_you_mean(name, Access::ALL.iter().map(|access| access.as_str()));
            KeyError { hint, ..KeyError::new("world.access", error.to_string()) }
        })?,
        None => Access::Fiber,
    };
    let matrix = match &inputs.matrix {
        Some(text) => {
            Some(Matrix::parse(atlas, text).map_err(|error| KeyError::new("world.matrix", error.to_string()))?)
        }
        None => None,
    };
    let options = WorldOptions {
        seed: seed_of(file),
        access,
        matrix,
        jitter: file.world.jitter.unwrap_or(false),
        loss: file.world.loss.unwrap_or(false),
        ..WorldOptions::default()
    };
    Ok(World::new(atlas, options))
}

fn no_pops() -> KeyError {
    KeyError::new("pops", "a world needs at least one PoP").hint("iso up --pops IAD,FRA,NRT")
}

/// The place `name`, which stands at `key`.
fn place(atlas: &Atlas, key: &str, name: &str) -> Result<Place, KeyError> {
    atlas.place(name).cloned().map_err(|unknown| KeyError::new(key, unknown.to_string()))
}

fn pop(atlas: &Atlas, key: &str, code: &str) -> Result<Place, KeyError> {
    let parsed: PopCode = code.parse().map_err(|_| {
        KeyError::new(key, format!("{code:?} is not a PoP code")).hint("three letters, such as IAD, FRA or NRT")
    })?;
    atlas.pop(parsed).map(|pop| pop.place.clone()).ok_or_else(|| {
        let hint = did_you_mean(code, atlas.pops().iter().map(|pop| pop.code.as_str()));
        KeyError { hint, ..KeyError::new(key, format!("no PoP {code:?}")) }
    })
}

fn pops_of(file: &ClusterFile, atlas: &Atlas) -> Result<Vec<Place>, KeyError> {
    let (key, codes): (&str, Vec<String>) = match (&file.pops, &file.preset) {
        (Some(codes), _) => ("pops", codes.clone()),
        (None, preset) => {
            let name = preset.as_deref().unwrap_or("world-6");
            let preset = world::preset(name).ok_or_else(|| {
                let hint = did_you_mean(name, world::PRESETS.iter().map(|preset| preset.name));
                KeyError { hint, ..KeyError::new("preset", format!("no preset {name:?}")) }
            })?;
            ("preset", preset.pops().map(|code| code.to_string()).collect())
        }
    };
    let mut seen = BTreeSet::new();
    let mut pops = Vec::new();
    for (at, code) in codes.iter().enumerate() {
        let found = pop(atlas, &format!("{key}.{at}"), code)?;
        if !seen.insert(found.id.clone()) {
            return Err(KeyError::new(&format!("{key}.{at}"), format!("{code} stands there twice")));
        }
        pops.push(found);
    }
    match pops.len() {
        0 => Err(no_pops()),
        1..=POPS_MAX => Ok(pops),
        n => Err(KeyError::new(key, format!("{n} PoPs; a world on one machine has at most {POPS_MAX}"))),
    }
}

fn shield_of(
    file: &ClusterFile,
    atlas: &Atlas,
    pops: &[Place],
    origins: &IndexMap<String, OriginPlan>,
) -> Result<Option<Place>, KeyError> {
    match file.shield.as_deref() {
        Some("none" | "") => Ok(None),
        Some(code) => pop(atlas, "shield", code).map(Some),
        None => {
            let iad = pops.iter().find(|pop| pop.id.as_str() == "iad");
            let near = || {
                let (_, origin) = origins.first()?;
                pops.iter().min_by(|a, b| {
                    let km = |pop: &Place| pop.coordinates.distance_km(origin.place.coordinates);
                    km(a).total_cmp(&km(b))
                })
            };
            Ok(iad.or_else(near).cloned())
        }
    }
}

fn origins_of(
    file: &ClusterFile,
    inputs: &Inputs,
    atlas: &Atlas,
    ports: PortBlock,
) -> Result<IndexMap<String, OriginPlan>, KeyError> {
    let mut files = file.origins.clone();
    if files.is_empty() {
        for (id, site) in [("primary", "us-east-1"), ("secondary", "eu-west-1")] {
            files.insert(id.into(), OriginFile { site: Some(site.into()), ..OriginFile::default() });
        }
    }
    if files.len() > PortBlock::ORIGINS_MAX {
        let most = PortBlock::ORIGINS_MAX;
        return Err(KeyError::new("origins", format!("{} origins; a world has at most {most}", files.len())));
    }
    let mut origins: IndexMap<String, OriginPlan> = IndexMap::new();
    for (at, (id, written)) in files.iter().enumerate() {
        let key = |field: &str| format!("origins.{id}.{field}");
        check_id(&format!("origins.{id}"), id)?;
        let at_place = place(atlas, &key("site"), written.site.as_deref().unwrap_or("us-east-1"))?;
        // ORIGINS_MAX is far below a u16.
        let own_address = ports.origin(u16::try_from(at).unwrap_or_default());
        let mut origin = Origin::new(format!("{id}.origin.test"));
        let (address, kind) = match (&written.url, &written.dir) {
            (Some(_), Some(_)) => {
                return Err(KeyError::new(&key("dir"), "an origin has a url or a dir, not both"));
            }
            (Some(url), None) => {
                let app = AppUrl::parse(url).map_err(|why| KeyError::new(&key("url"), why))?;
                let addresses = inputs.apps.get(id).cloned().unwrap_or_default();
                let first = addresses
                    .first()
                    .copied()
                    .or_else(|| app.literal())
                    .ok_or_else(|| KeyError::new(&key("url"), format!("the name {:?} has no address", app.host)))?;
                origin.domain_name = app.authority();
                origin.origin_path = app.path;
                if let Some((other, _)) =
                    origins.iter().find(|(_, plan)| plan.address == first && plan.place.id != at_place.id)
                {
                    return Err(KeyError::new(
                        &key("url"),
                        format!("{first} is also origin {other:?}, in another place: one address has one place"),
                    )
                    .hint("start the app a second time on another port"));
                }
                (first, OriginKind::App(if addresses.is_empty() { vec![first] } else { addresses }))
            }
            (None, Some(dir)) => (own_address, OriginKind::Directory(dir.clone())),
            (None, None) => {
                let rules = written.rules.iter().map(|rule| (rule.path.clone(), rule.query.clone())).collect();
                let (concurrency, queue) = (written.concurrency, written.queue);
                (own_address, OriginKind::Simulated { concurrency, queue, rules })
            }
        };
        apply_origin(&mut origin, written, &key)?;
        origins.insert(id.clone(), OriginPlan { place: at_place, address, kind, origin });
    }
    Ok(origins)
}

fn apply_origin(origin: &mut Origin, written: &OriginFile, key: &dyn Fn(&str) -> String) -> Result<(), KeyError> {
    if let Some(host) = &written.host {
        HeaderValue::from_str(host)
            .ok()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| KeyError::new(&key("host"), format!("{host:?} is not a host name")))?;
        origin.domain_name.clone_from(host);
    }
    if let Some(path) = &written.path {
        if !path.is_empty() && (!path.starts_with('/') || path.ends_with('/')) {
            return Err(KeyError::new(&key("path"), "it starts with a slash and does not end with one"));
        }
        origin.origin_path.clone_from(path);
    }
    for (name, value) in &written.headers {
        let bad = || KeyError::new(&key(&format!("headers.{name}")), "this is not a header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        origin.custom_headers.push((name, HeaderValue::from_str(value).map_err(|_| bad())?));
    }
    if let Some(attempts) = written.connection_attempts {
        if !(1..=3).contains(&attempts) {
            return Err(KeyError::new(&key("connection_attempts"), "connection attempts are 1 to 3"));
        }
        origin.connection_attempts = attempts;
    }
    let bounded = |field: &str, span: Option<Span>, most: u64, into: &mut Duration| match span {
        Some(Span(span)) if span < Duration::from_secs(1) || span > Duration::from_secs(most) => {
            Err(KeyError::new(&key(field), format!("{} is not between 1s and {most}s", Span(span))))
        }
        Some(Span(span)) => {
            *into = span;
            Ok(())
        }
        None => Ok(()),
    };
    bounded("connection_timeout", written.connection_timeout, 10, &mut origin.connection_timeout)?;
    bounded("response_timeout", written.response_timeout, 120, &mut origin.response_timeout)?;
    bounded("keepalive_timeout", written.keepalive_timeout, 120, &mut origin.keepalive_timeout)?;
    origin.completion_timeout = written.completion_timeout.map(|span| span.0);
    if origin.completion_timeout.is_some_and(|cap| cap < origin.response_timeout) {
        return Err(KeyError::new(&key("completion_timeout"), "it is shorter than the response timeout"));
    }
    origin.shield = written.shield.unwrap_or(true);
    Ok(())
}

/// A user's app by URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppUrl {
    /// Name or literal address, without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// Empty, or starts with a slash and does not end with one.
    pub(crate) path: String,
}

impl AppUrl {
    /// Reads `http://HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: http::Uri = url.parse().map_err(|_| format!("{url:?} is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("origins speak http for now; put the app's plain port here".into()),
            _ => return Err(format!("{url:?} is not a URL; write http://127.0.0.1:3000")),
        }
        if uri.query().is_some() {
            return Err(format!("{url:?} has a query; an origin is a host with at most a path"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(format!("{url:?} names no plain host"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80), path })
    }

    /// Host and port as in a `Host` header: the port is left out where it is 80.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }

    fn literal(&self) -> Option<SocketAddr> {
        if self.host == "localhost" {
            return Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port));
        }
        self.host.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

fn check_id(key: &str, id: &str) -> Result<(), KeyError> {
    let plain = !id.is_empty()
        && id.len() <= 40
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if plain {
        Ok(())
    } else {
        Err(KeyError::new(key, format!("{id:?} cannot be an id"))
            .hint("use lower-case letters, digits, `-` and `_`, at most 40 characters"))
    }
}

fn groups_of(
    file: &ClusterFile,
    origins: &IndexMap<String, OriginPlan>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, OriginGroup>, KeyError> {
    let mut files = file.groups.clone();
    let built_in = file.origins.is_empty();
    if files.is_empty() && built_in {
        let members = ["primary".to_owned(), "secondary".to_owned()];
        files.insert("main".into(), GroupFile { members, failover_codes: None, on_transport_error: None });
    }
    let mut groups = BTreeMap::new();
    for (id, written) in &files {
        check_id(&format!("groups.{id}"), id)?;
        if origins.contains_key(id) {
            return Err(KeyError::new(&format!("groups.{id}"), format!("{id:?} is an origin already")));
        }
        for (at, member) in written.members.iter().enumerate() {
            if !origins.contains_key(member) {
                let hint = did_you_mean(member, origins.keys().map(String::as_str));
                let key = format!("groups.{id}.members.{at}");
                return Err(KeyError { hint, ..KeyError::new(&key, format!("no origin {member:?}")) });
            }
        }
        if written.members[0] == written.members[1] {
            return Err(KeyError::new(&format!("groups.{id}.members"), "the two members are the same origin"));
        }
        let mut codes = Vec::new();
        for (at, code) in written.failover_codes.as_deref().unwrap_or(&[500, 502, 503, 504]).iter().enumerate() {
            let key = format!("groups.{id}.failover_codes.{at}");
            let status = StatusCode::from_u16(*code)
                .ok()
                .filter(|_| (400..=599).contains(code))
                .ok_or_else(|| KeyError::new(&key, format!("{code} is not a status from 400 to 599")))?;
            if !FAILOVER_CODES_AWS.contains(code) {
                warnings.push(format!("groups.{id}: AWS does not offer {code} as a failover code"));
            }
            codes.push(status);
        }
        let primary = origins.get(&written.members[0]);
        if let Some(plan) = primary {
            let silence = plan.origin.connection_timeout * u32::from(plan.origin.connection_attempts);
            if silence >= Duration::from_secs(30) {
                let member = &written.members[0];
                warnings.push(format!(
                    "group {id}: when {member} is silent, viewers wait {} × {} = {} before failover; \
                     connection_attempts = 1 and connection_timeout = \"2s\" under [origins.{member}] make it 2 s",
                    plan.origin.connection_attempts,
                    Span(plan.origin.connection_timeout),
                    Span(silence),
                ));
            }
        }
        let on_transport_error = match written.on_transport_error {
            Some(TransportFailoverFile::Always) => TransportFailover::Always,
            Some(TransportFailoverFile::Documented) | None => TransportFailover::Documented,
        };
        let members = written.members.clone();
        groups.insert(id.clone(), OriginGroup { members, failover_codes: codes, on_transport_error });
    }
    Ok(groups)
}

fn distributions_of(
    file: &ClusterFile,
    origins: &IndexMap<String, OriginPlan>,
    groups: &BTreeMap<String, OriginGroup>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Arc<Distribution>>, KeyError> {
    let mut files = file.distributions.clone();
    if files.is_empty() {
        let demo = crate::cluster_file::DistributionFile { hosts: vec!["www.demo.test".into()], ..Default::default() };
        files.insert("demo".into(), demo);
    }
    let first_group =
        file.groups.keys().next().map(String::as_str).or_else(|| groups.keys().next().map(String::as_str));
    let default_target = first_group
        .or_else(|| origins.keys().next().map(String::as_str))
        .ok_or_else(|| KeyError::new("origins", "a world needs at least one origin"))?
        .to_owned();
    let mut hosts_seen: BTreeMap<String, String> = BTreeMap::new();
    let mut distributions = Vec::new();
    for (id, written) in &files {
        let key = |field: &str| format!("distributions.{id}.{field}");
        check_id(&format!("distributions.{id}"), id)?;
        for (at, host) in written.hosts.iter().enumerate() {
            let key = key(&format!("hosts.{at}"));
            let host = host.to_ascii_lowercase();
            if !host.ends_with(".test") {
                return Err(KeyError::new(&key, format!("{host:?} does not end in .test"))
                    .hint("names of a world are .test names, so that they can never be somebody's real ones"));
            }
            if let Some(other) = hosts_seen.insert(host.clone(), id.clone()) {
                return Err(KeyError::new(&key, format!("{host:?} belongs to distribution {other:?} already")));
            }
        }
        let behavior = |key: &str, file: &BehaviorFile, pattern: &str| {
            behavior_of(key, file, pattern, &default_target, origins, groups)
        };
        let mut behaviors = Vec::new();
        for (at, file) in written.behaviors.iter().enumerate() {
            let here = key(&format!("behaviors.{at}"));
            let pattern = file
                .path
                .as_deref()
                .ok_or_else(|| KeyError::new(&here, "a behavior needs a path").hint("path = \"/api/*\""))?;
            behaviors.push(behavior(&here, file, pattern)?);
        }
        if written.default.path.is_some() {
            return Err(KeyError::new(&key("default.path"), "the default behavior has no path"));
        }
        let mut diagnostics = Diagnostics::default();
        for (written, into) in [
            (written.cache_status, &mut diagnostics.cache_status),
            (written.proxy_status, &mut diagnostics.proxy_status),
            (written.server_timing, &mut diagnostics.server_timing),
            (written.reason, &mut diagnostics.reason),
        ] {
            *into = written.unwrap_or(*into);
        }
        let spec = DistributionSpec {
            id: id.clone(),
            aliases: written.hosts.clone(),
            default_root_object: written.default_root_object.clone().unwrap_or_default(),
            origins: origins.iter().map(|(id, plan)| (id.clone(), plan.origin.clone())).collect(),
            groups: groups.clone(),
            behaviors,
            default_behavior: behavior(&key("default"), &written.default, "*")?,
            diagnostics,
        };
        let distribution = Distribution::new(spec)
            .map_err(|error| KeyError::new(&format!("distributions.{id}"), error.to_string()))?;
        distributions.push(Arc::new(distribution));
    }
    let _ = warnings;
    Ok(distributions)
}

/// The cache policy of a behavior that names none: what the origin says, with all cookies and the whole query string
/// in the key. It is AWS's `UseOriginCacheControlHeaders-QueryStrings` without `Host`, so that the origin sees its own
/// name, as local apps expect.
pub(crate) const DEFAULT_CACHE_POLICY: &str = "OriginCacheControl";

fn behavior_of(
    key: &str,
    file: &BehaviorFile,
    pattern: &str,
    default_target: &str,
    origins: &IndexMap<String, OriginPlan>,
    groups: &BTreeMap<String, OriginGroup>,
) -> Result<Behavior, KeyError> {
    let target = file.target.as_deref().unwrap_or(default_target);
    if !origins.contains_key(target) && !groups.contains_key(target) {
        let names = origins.keys().chain(groups.keys()).map(String::as_str);
        let hint = did_you_mean(target, names);
        let message = format!("no origin or group {target:?}");
        return Err(KeyError { hint, ..KeyError::new(&format!("{key}.target"), message) });
    }
    let cache_policy = match file.cache_policy.as_deref().unwrap_or(DEFAULT_CACHE_POLICY) {
        DEFAULT_CACHE_POLICY => origin_cache_control(),
        name => policies::cache_policy(name).ok_or_else(|| {
            let names = CACHE_POLICIES.iter().map(|policy| policy.name).chain([DEFAULT_CACHE_POLICY]);
            let hint = did_you_mean(name, names);
            KeyError { hint, ..KeyError::new(&format!("{key}.cache_policy"), format!("no cache policy {name:?}")) }
        })?,
    };
    let name = file.origin_request_policy.as_deref().unwrap_or("AllViewerExceptHostHeader");
    let origin_request_policy = match name {
        "none" | "" => OriginRequestPolicy::default(),
        name => policies::origin_request_policy(name).ok_or_else(|| {
            let hint = did_you_mean(name, ORIGIN_REQUEST_POLICIES.iter().map(|policy| policy.name));
            let message = format!("no origin request policy {name:?}");
            KeyError { hint, ..KeyError::new(&format!("{key}.origin_request_policy"), message) }
        })?,
    };
    Ok(Behavior {
        path_pattern: pattern.to_owned(),
        target: target.to_owned(),
        allowed_methods: match file.methods.unwrap_or(MethodsFile::All) {
            MethodsFile::Read => AllowedMethods::Read,
            MethodsFile::ReadOptions => AllowedMethods::ReadOptions,
            MethodsFile::All => AllowedMethods::All,
        },
        cache_options: false,
        cache_policy,
        origin_request_policy,
    })
}

fn origin_cache_control() -> CachePolicy {
    CachePolicy {
        name: DEFAULT_CACHE_POLICY.into(),
        min_ttl: Duration::ZERO,
        default_ttl: Duration::ZERO,
        max_ttl: Duration::from_secs(31_536_000),
        headers: Selection::Only(
            ["Origin", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"].map(String::from).to_vec(),
        ),
        cookies: Selection::All,
        query: Selection::All,
        gzip: true,
        brotli: true,
    }
}

fn nodes_of(
    pops: &[Place],
    shield: Option<&Place>,
    control: &Place,
    origins: &IndexMap<String, OriginPlan>,
    ports: PortBlock,
) -> Result<Vec<NodePlan>, KeyError> {
    let mut nodes: Vec<NodePlan> = Vec::new();
    let mut add = |role: Role, name: &str, place: &Place, http: Option<SocketAddr>, dns: Option<SocketAddr>| {
        let at = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
        let is_app = role == Role::Origin && http.is_none();
        let admin = (!is_app).then(|| ports.admin(at));
        let pop = place.pop_code();
        let addresses = Addresses { http, dns, admin };
        nodes.push(NodePlan { id: NodeId::new(role, name), pop, place: place.clone(), addresses, is_app });
    };
    let edge_at = |network: u8, at: usize| {
        let last = u8::try_from(at + 1).unwrap_or(u8::MAX);
        Some(SocketAddr::new(Ipv4Addr::new(127, 77, network, last).into(), ports.edge_http()))
    };
    for (at, pop) in pops.iter().enumerate() {
        add(Role::Edge, pop.id.as_str(), pop, edge_at(0, at), None);
    }
    if let Some(shield) = shield {
        add(Role::Shield, shield.id.as_str(), shield, edge_at(1, 0), None);
    }
    add(Role::Router, control.id.as_str(), control, Some(ports.routing()), Some(ports.dns()));
    for (id, origin) in origins {
        let is_app = matches!(origin.kind, OriginKind::App(_));
        add(Role::Origin, id, &origin.place, (!is_app).then_some(origin.address), None);
    }
    let home = pops.first().ok_or_else(no_pops)?;
    add(Role::Viewer, "proxy", home, Some(ports.proxy()), None);
    for node in &mut nodes {
        // An app has no admin port of ours, and its address is the user's.
        if node.is_app {
            node.addresses.http = origins.get(node.id.name()).map(|origin| origin.address);
        }
    }
    if nodes.len() > PortBlock::NODES_MAX {
        let most = PortBlock::NODES_MAX;
        return Err(KeyError::new("pops", format!("{} nodes; a world has at most {most}", nodes.len())));
    }
    Ok(nodes)
}

fn router_of(file: &ClusterFile) -> Result<RouterPlan, KeyError> {
    let written = &file.router;
    let policy = written.policy.as_deref().unwrap_or("latency");
    const POLICIES: [&str; 5] = ["latency", "geo", "random", "round-robin", "static"];
    if !POLICIES.contains(&policy) {
        let hint = did_you_mean(policy, POLICIES);
        return Err(KeyError { hint, ..KeyError::new("router.policy", format!("no policy {policy:?}")) });
    }
    let span = |key: &str, written: Option<Span>, default: Duration, least: Duration, most: Duration| match written {
        Some(Span(span)) if span < least || span > most => Err(KeyError::new(
            &format!("router.{key}"),
            format!("{} is not between {} and {}", Span(span), Span(least), Span(most)),
        )),
        Some(Span(span)) => Ok(span),
        None => Ok(default),
    };
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    let count = |key: &str, written: Option<u32>, default: u32| match written {
        Some(0) => Err(KeyError::new(&format!("router.{key}"), "it is at least 1")),
        Some(n) => Ok(n),
        None => Ok(default),
    };
    let explore = written.explore.unwrap_or(0.02);
    if !(0.0..=1.0).contains(&explore) {
        return Err(KeyError::new("router.explore", "a share is between 0 and 1"));
    }
    let answers = written.answers.unwrap_or(2);
    if !(1..=8).contains(&answers) {
        return Err(KeyError::new("router.answers", "1 to 8 addresses per answer"));
    }
    Ok(RouterPlan {
        policy: policy.to_owned(),
        ttl: span("ttl", written.ttl, s(60), s(0), s(86_400))?,
        answers,
        probe_interval: span("probe_interval", written.probe_interval, s(1), ms(50), s(600))?,
        probe_timeout: span("probe_timeout", written.probe_timeout, ms(800), ms(10), s(600))?,
        down_after: count("down_after", written.down_after, 10)?,
        up_after: count("up_after", written.up_after, 2)?,
        explore,
    })
}

fn edge_of(file: &ClusterFile) -> Result<EdgePlan, KeyError> {
    let written = &file.edge;
    let plan = EdgePlan {
        cache_bytes: written.cache_bytes.map_or(256 << 20, |bytes| bytes.0),
        object_bytes: written.object_bytes.map_or(64 << 20, |bytes| bytes.0),
        connections: written.connections.unwrap_or(20_000),
        header_timeout: written.header_timeout.map_or(Duration::from_secs(10), |span| span.0),
        body_timeout: written.body_timeout.map_or(Duration::from_secs(30), |span| span.0),
        drain_grace: written.drain_grace.map_or(Duration::from_secs(5), |span| span.0),
    };
    if plan.connections == 0 {
        return Err(KeyError::new("edge.connections", "an edge needs at least one connection"));
    }
    if plan.object_bytes > plan.cache_bytes {
        return Err(KeyError::new("edge.object_bytes", "one object cannot be larger than the whole store"));
    }
    Ok(plan)
}
