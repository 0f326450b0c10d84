//! A world, checked: every place found, every id unique, every address given.
//!
//! [`Cluster::check`] turns what was typed ([`ClusterFile`]) into this, or says which key is wrong. The supervisor and
//! every node process run the same check on the same input, so that all agree on addresses, places and links without
//! telling one another. Knows no process and no socket.

mod continuous_deployment;
mod distributions;
mod dns;
mod edges;
mod error_pages;
mod functions;
mod geo_restriction;
mod keys;
mod origins;
mod policies;
mod reconfigure;
mod records;
mod response_headers;
mod routers;
mod routing;
mod settings;
mod tiers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
};

use cdn_core::{
    NodeId, PopCode, Role, distribution::Distribution, realtime_log::RealtimeLog, standard_log::LogStyle, zone::Record,
};
use indexmap::IndexMap;
use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};
use world::{Atlas, Place, World};

use self::{
    distributions::{Named, distributions_of, groups_of, unserved_without_https},
    dns::dns_of,
    edges::edges_of,
    functions::functions_of,
    keys::key_groups_of,
    origins::origins_of,
    policies::policies_of,
    records::records_of,
    routers::routers_of,
    routing::{candidates, routing_of},
    settings::router_of,
    tiers::{regional_of, shield_of},
};
pub(crate) use self::{
    dns::{CookiePolicy, DnsPlan, QueryLogPlan},
    functions::{FunctionText, function_limits_of, key_values_of},
    geo_restriction::country_of,
    keys::trusted_keys_of,
    origins::{AppUrl, OriginKind, OriginPlan, own_name},
    policies::{cache_policy_of, origin_request_policy_of},
    reconfigure::with_key_groups,
    records::geo_place,
    response_headers::response_headers_policy_of,
    routing::RoutingPlan,
    settings::{DecisionLogPlan, EdgePlan, ProgramPlan, RouterPlan, WasmRations, edge_of, ipv6_of, world_of},
};
use crate::{
    cluster_file::ClusterFile,
    diagnose::{KeyError, Source, did_you_mean, nearest_or_all},
    ipv6,
    ports::{PortBlock, Transport},
};

/// What a check needs beyond the file, found out once by the supervisor and handed to every node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// The first port, once a free block was chosen where the file asks for one.
    pub(crate) base_port: Option<u16>,
    /// The text of the user's matrix.
    pub(crate) matrix: Option<String>,
    /// The zone files.
    pub(crate) zones: Vec<Source>,
    /// Public keys in PEM, by key group and id.
    pub(crate) keys: BTreeMap<String, BTreeMap<String, String>>,
    /// Certificates in PEM, by the origin whose own has to lead to one of them.
    pub(crate) authorities: BTreeMap<String, String>,
    /// Viewer functions by name.
    pub(crate) functions: BTreeMap<String, FunctionText>,
    /// The network in which edges listen for IPv6, if there is one.
    pub(crate) ipv6: Option<Ipv6Net>,
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
    /// The network in which edges listen for IPv6, if they do.
    pub(crate) ipv6: Option<Ipv6Net>,
    /// Edges, regional caches, shield, routers, origins, viewer, in this order.
    pub(crate) nodes: Vec<NodePlan>,
    /// Origins by id, in the order written.
    pub(crate) origins: IndexMap<String, OriginPlan>,
    /// Distributions.
    pub(crate) distributions: Vec<Arc<Distribution>>,
    /// The router's settings.
    pub(crate) router: RouterPlan,
    /// The router's settings of DNS.
    pub(crate) dns: DnsPlan,
    /// How clients are routed.
    pub(crate) routing: RoutingPlan,
    /// Settings of edges.
    pub(crate) edge: EdgePlan,
    /// Settings of viewers.
    pub(crate) viewer: ViewerPlan,
    /// Where the control plane stands: with the first router.
    pub(crate) control: Place,
    /// What nodes log.
    pub(crate) log_level: String,
    /// How edges log requests.
    pub(crate) log_style: LogStyle,
    /// Secrets by access key id, with which requests to CloudFront's own API must be signed; none where any will do.
    pub(crate) aws_keys: BTreeMap<String, String>,
    /// Real-time logs, by the id of their distribution.
    pub(crate) realtime_logs: BTreeMap<String, Arc<RealtimeLog>>,
    /// Records beside those that DNS has by itself.
    pub(crate) records: Vec<Record>,
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
    /// The same over IPv6, at the same port.
    pub(crate) http6: Option<SocketAddrV6>,
    /// HTTPS for clients: at the addresses of HTTP, and this port.
    pub(crate) https_port: Option<u16>,
    /// DNS, UDP and TCP.
    pub(crate) dns: Option<SocketAddr>,
    /// The admin port.
    pub(crate) admin: Option<SocketAddr>,
}

impl Addresses {
    /// HTTP in both families.
    pub(crate) fn viewer_facing(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        self.http.into_iter().chain(self.http6.map(SocketAddr::V6))
    }

    /// HTTPS in both families.
    pub(crate) fn https(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let port = self.https_port;
        self.viewer_facing().filter_map(move |address| Some(SocketAddr::new(address.ip(), port?)))
    }

    /// Every one of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        self.viewer_facing().chain(self.https()).chain(self.dns).chain(self.admin)
    }
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
        let origins = origins_of(file, inputs, atlas, ports, &mut warnings)?;
        let shield = shield_of(file, atlas, &pops, &origins)?;
        let regional = regional_of(file, atlas)?;
        let routers = routers_of(file, atlas, &pops, shield.as_ref())?;
        let control = routers.first().cloned().ok_or_else(no_pops)?;
        let groups = groups_of(file, &origins, &mut warnings)?;
        let named = Named {
            origins: &origins,
            groups: &groups,
            key_groups: &key_groups_of(file, inputs)?,
            policies: &policies_of(file)?,
            functions: &functions_of(file, inputs, function_limits_of(file)?)?,
        };
        let distributions = distributions_of(file, named, &mut warnings)?;
        let edges = edges_of(file, &pops)?;
        let mut nodes = nodes_of(&pops, &edges, &regional, shield.as_ref(), &routers, &origins, ports)?;
        // All edges or none: whoever asks for either family is led to the same ones.
        let ipv6 = inputs.ipv6.filter(|&net| ipv6::has_room(net, edges.iter().sum()));
        if let Some(net) = ipv6 {
            give_ipv6(&mut nodes, net);
        }
        let edge = edge_of(file)?;
        if !edge.https {
            warnings.extend(distributions.iter().flat_map(|one| unserved_without_https(one)));
        }
        if edge.https {
            for node in nodes.iter_mut().filter(|node| node.id.role() == Role::Edge) {
                node.addresses.https_port = Some(ports.edge_https());
            }
        }
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
        let written = records_of(file, inputs)?;
        let realtime_logs = settings::realtime_logs_of(file, &distributions)?;
        let cluster = Self {
            seed: settings::seed_of(file),
            ports,
            ipv6,
            nodes,
            origins,
            distributions,
            router: router_of(file)?,
            dns: dns_of(file)?,
            routing: routing_of(file, &pops)?,
            edge,
            viewer: ViewerPlan {
                place: default_place,
                resolver,
                client_subnet: file.viewer.client_subnet.unwrap_or(true),
            },
            control,
            log_level: settings::log_level_of(file)?,
            log_style: settings::choice("log.access", file.log.access.as_deref(), LogStyle::ALL, LogStyle::as_str)?,
            realtime_logs,
            aws_keys: settings::aws_keys_of(file)?,
            world: Arc::new(world),
            records: written.records().collect(),
            warnings,
        };
        written.check(&cluster, inputs)?;
        Ok(cluster)
    }

    /// Nodes of a role.
    pub(crate) fn nodes_with(&self, role: Role) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().filter(move |node| node.id.role() == role)
    }

    /// The node `id`.
    pub(crate) fn node(&self, id: &NodeId) -> Option<&NodePlan> {
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// Origins of the world's own that speak HTTPS with edges, and so need a certificate.
    pub(crate) fn https_origins(&self) -> impl Iterator<Item = (&String, &OriginPlan)> {
        self.origins.iter().filter(|(_, plan)| plan.https.is_some() && !matches!(plan.kind, OriginKind::App(_)))
    }

    /// Whether it is a user's own app that is spoken to by HTTPS, so that nothing of the world sees its requests.
    pub(crate) fn is_sealed(&self, node: &NodeId) -> bool {
        let origin = self.origins.get(node.name()).filter(|_| node.role() == Role::Origin);
        origin.is_some_and(|plan| plan.https.is_some() && matches!(plan.kind, OriginKind::App(_)))
    }

    /// Whether anybody shows or checks a certificate of the world's authority.
    pub(crate) fn has_certificates(&self) -> bool {
        self.edge.https || self.origins.values().any(|plan| plan.https.is_some())
    }

    /// Whether a node's store has a disk tier.
    pub(crate) fn has_disk(&self, id: &NodeId) -> bool {
        self.edge.disk.is_some() && matches!(id.role(), Role::Edge | Role::Regional | Role::Shield)
    }

    /// The PoPs that may serve a distribution.
    pub(crate) fn candidates(&self, distribution: &str) -> Vec<PopCode> {
        let pops: Vec<Place> = self.pops().cloned().collect();
        let host = self.routing.hosts.iter().find(|host| host.id == distribution);
        host.map_or_else(Vec::new, |host| candidates(host, &pops))
    }

    /// The PoPs that edges stand in.
    pub(crate) fn pops(&self) -> impl Iterator<Item = &Place> {
        edges::pops(&self.nodes)
    }

    /// Who lives at `address`: the place whose links lead there.
    pub(crate) fn place_at(&self, address: SocketAddr) -> Option<&Place> {
        let listens = |node: &&NodePlan| node.addresses.all().any(|own| own == address);
        self.nodes.iter().find(listens).map(|node| &node.place).or_else(|| {
            let is_at = |origin: &&OriginPlan| match &origin.kind {
                OriginKind::App(addresses) => addresses.contains(&address),
                _ => origin.address == address,
            };
            self.origins.values().find(is_at).map(|origin| &origin.place)
        })
    }

    /// A name that the world answers to, for whoever has none in mind: the first that is written without a wildcard, else
    /// the first distribution's own.
    pub(crate) fn first_name(&self) -> Option<String> {
        let first = self.distributions.first()?;
        let written = first.aliases().iter().find(|alias| !alias.starts_with('*'));
        Some(written.map_or_else(|| first.own_name(), ToString::to_string))
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
            let Addresses { dns, admin, .. } = node.addresses;
            let what = match node.id.role() {
                Role::Edge => "edges, HTTP",
                Role::Regional => "regional caches, HTTP",
                Role::Shield => "shield, HTTP",
                Role::Router => "HTTP routing",
                Role::Origin => "origin",
                Role::Viewer => "viewer proxy",
            };
            all.extend(node.addresses.viewer_facing().map(|address| (address, what, Transport::Tcp)));
            all.extend(node.addresses.https().map(|address| (address, "edges, HTTPS", Transport::Tcp)));
            all.extend(node.addresses.https().map(|address| (address, "edges, HTTP/3", Transport::Udp)));
            all.extend(admin.map(|address| (address, "admin", Transport::Tcp)));
            if let Some(dns) = dns {
                all.extend([(dns, "DNS", Transport::Udp), (dns, "DNS", Transport::Tcp)]);
            }
        }
        all
    }
}

fn no_pops() -> KeyError {
    KeyError::new("pops", "a world needs at least one PoP").hint("iso up --pops IAD,FRA,NRT")
}

/// The place `name`, which stands at `key`.
fn place(atlas: &Atlas, key: &str, name: &str) -> Result<Place, KeyError> {
    atlas.place(name).cloned().map_err(|unknown| KeyError::new(key, unknown.to_string()))
}

/// The PoP `code`, which stands at `key`.
pub(crate) fn pop(atlas: &Atlas, key: &str, code: &str) -> Result<Place, KeyError> {
    let parsed = code.parse::<PopCode>().ok();
    if let Some(pop) = parsed.and_then(|code| atlas.pop(code)) {
        return Ok(pop.place.clone());
    }
    let near = || {
        let place = atlas.place(code).ok()?;
        let pop = world::nearest(place.coordinates, atlas.pops().iter().map(|pop| &pop.place))?;
        Some(format!("the PoP nearest to {} is {}", place.name, pop.pop_code()?))
    };
    let hint = near()
        .or_else(|| did_you_mean(code, atlas.pops().iter().map(|pop| pop.code.as_str())))
        .or_else(|| Some("three letters, such as IAD, FRA or NRT; `iso world places` lists them".into()));
    let what = if parsed.is_some() { format!("no PoP {code:?}") } else { format!("{code:?} is not a PoP code") };
    Err(KeyError { hint, ..KeyError::new(key, what) })
}

fn pops_of(file: &ClusterFile, atlas: &Atlas) -> Result<Vec<Place>, KeyError> {
    let (key, codes): (&str, Vec<String>) = match (&file.pops, &file.preset) {
        (Some(codes), _) => ("pops", codes.clone()),
        (None, preset) => {
            let name = preset.as_deref().unwrap_or("world-6");
            let preset = world::preset(name).ok_or_else(|| {
                let hint = nearest_or_all(name, world::PRESETS.iter().map(|preset| preset.name));
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

fn nodes_of(
    pops: &[Place],
    edges: &[usize],
    regional: &[Place],
    shield: Option<&Place>,
    routers: &[Place],
    origins: &IndexMap<String, OriginPlan>,
    ports: PortBlock,
) -> Result<Vec<NodePlan>, KeyError> {
    let mut nodes: Vec<NodePlan> = Vec::new();
    let mut add = |role: Role, name: &str, place: &Place, http: Option<SocketAddr>, dns: Option<SocketAddr>| {
        let at = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
        let is_app = role == Role::Origin && http.is_none();
        let admin = (!is_app).then(|| ports.admin(at));
        let pop = place.pop_code();
        let addresses = Addresses { http, dns, admin, ..Addresses::default() };
        nodes.push(NodePlan { id: NodeId::new(role, name), pop, place: place.clone(), addresses, is_app });
    };
    let edge_at = |network: u8, at: usize| {
        let last = u8::try_from(at + 1).unwrap_or(u8::MAX);
        Some(SocketAddr::new(Ipv4Addr::new(127, 77, network, last).into(), ports.edge_http()))
    };
    let of_pops = pops.iter().zip(edges).flat_map(|(pop, &edges)| (0..edges).map(move |number| (pop, number)));
    for (at, (pop, number)) in of_pops.enumerate() {
        add(Role::Edge, &edges::name_of(pop, number), pop, edge_at(0, at), None);
    }
    for (at, pop) in regional.iter().enumerate() {
        add(Role::Regional, pop.id.as_str(), pop, edge_at(2, at), None);
    }
    if let Some(shield) = shield {
        add(Role::Shield, shield.id.as_str(), shield, edge_at(1, 0), None);
    }
    for (at, router) in routers.iter().enumerate() {
        // The first is where everybody looks for a name server of this machine; the others need an address of their own,
        // because name servers share a port as edges do.
        let (http, dns) = match at {
            0 => (ports.routing(), ports.dns()),
            _ => {
                let ip = Ipv4Addr::new(127, 77, 3, u8::try_from(at).unwrap_or(u8::MAX)).into();
                (SocketAddr::new(ip, ports.routing().port()), SocketAddr::new(ip, ports.dns().port()))
            }
        };
        add(Role::Router, router.id.as_str(), router, Some(http), Some(dns));
    }
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
        let key = if edges.iter().any(|&edges| edges > 1) { "edge.per_pop" } else { "pops" };
        return Err(KeyError::new(key, format!("{} nodes; a world has at most {most}", nodes.len())));
    }
    Ok(nodes)
}

/// Gives every edge an address of `net`.
fn give_ipv6(nodes: &mut [NodePlan], net: Ipv6Net) {
    for (at, edge) in nodes.iter_mut().filter(|node| node.id.role() == Role::Edge).enumerate() {
        let http6 = |http: SocketAddr| SocketAddrV6::new(ipv6::address_in(net, at), http.port(), 0, 0);
        edge.addresses.http6 = edge.addresses.http.map(http6);
    }
}
