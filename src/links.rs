//! Links of a running world: who lives at which address, what is wrong with links, and asked against measured.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use cdn_core::{Counters, NodeId, Role};
use control_plane::wire::{LinkMeasure, LinksReport};
use futures_util::future::join_all;
use wan::{Paths, Probe, RawDial, Wan, WanOptions};
use world::{Fault, FaultOn, LinkChange, PathSpec, Place, SiteId, TargetFault};

use crate::{
    cluster::{Cluster, OriginKind},
    hands::Admin,
    node::wire::{ChangeWire, FaultSet, MeasureAsk, NodeWire, WayAsk, WayMeasured},
    supervisor::Supervisor,
};

/// The addresses of a world and the paths between its places, for `wan`.
#[derive(Debug)]
pub(crate) struct AddressBook(pub(crate) Arc<Cluster>);

impl Paths for AddressBook {
    fn site_of(&self, address: SocketAddr) -> Option<SiteId> {
        self.0.place_at(address).map(|place| place.id.clone())
    }

    fn path(&self, from: &SiteId, to: &SiteId) -> Option<PathSpec> {
        let atlas = self.0.world.atlas();
        let (from, to) = (atlas.site(from.as_str())?, atlas.site(to.as_str())?);
        Some(self.0.world.path(from, to))
    }
}

/// The links of `cluster`, for one node.
///
/// # Errors
/// The machine has no timer for them.
pub(crate) fn wan_of(
    cluster: &Arc<Cluster>,
    node: &str,
    raw: Option<Arc<dyn RawDial>>,
) -> anyhow::Result<(Wan, Arc<Counters>)> {
    let counters = Arc::new(Counters::default());
    // Each node draws from a stream of its own.
    let seed = node.bytes().fold(cluster.seed, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let options = WanOptions { seed, raw, ..WanOptions::default() };
    let wan = Wan::new(Arc::new(AddressBook(Arc::clone(cluster))), options, Arc::clone(&counters))
        .context("links need a timer")?;
    Ok((wan, counters))
}

/// Lays over `wan` what of `faults` is below HTTP. Misbehaviour that needs HTTP is the origins' own.
pub(crate) fn apply_faults(wan: &Wan, cluster: &Cluster, faults: &FaultSet) {
    let links = faults.links.iter().map(|link| FaultOn::Link {
        a: SiteId::new(&link.from),
        b: SiteId::new(&link.to),
        one_way: !link.both_ways,
        kind: match link.change {
            ChangeWire::Delay(nanos) => LinkChange::Delay(Duration::from_nanos(nanos)),
            ChangeWire::Loss(share) => LinkChange::Loss(share),
            ChangeWire::Throttle(bps) => LinkChange::Throttle(bps),
            ChangeWire::Partition => LinkChange::Partition,
        },
    });
    let mut all: Vec<Fault> = links.map(|on| Fault { id: 0, on, rate: 1.0, from: None }).collect();
    for (at, fault) in faults.nodes.iter().enumerate() {
        let Some(kind) = below_http(cluster, fault) else { continue };
        let Some(node) = fault.node.parse::<NodeId>().ok() else { continue };
        let addresses = addresses_of(cluster, &node);
        let on = FaultOn::Target { addresses, kind };
        let id = at as u64 + 1;
        all.push(Fault { id, on, rate: fault.rate, from: fault.from.as_deref().map(SiteId::new) });
    }
    wan.set_faults(all);
}

/// What `wan` does of a node's fault; `None` where an origin does it, request by request.
pub(crate) fn below_http(cluster: &Cluster, fault: &NodeWire) -> Option<TargetFault> {
    // What needs requests is done by origins, except by an app whose requests nobody sees.
    let sees_requests =
        fault.node.parse::<NodeId>().is_ok_and(|node| node.role() == Role::Origin && !cluster.is_sealed(&node));
    fault.effect.effect().below_http(sees_requests, fault.path.is_some())
}

fn addresses_of(cluster: &Cluster, node: &NodeId) -> Vec<SocketAddr> {
    let Some(plan) = cluster.node(node) else { return Vec::new() };
    let mut addresses: Vec<SocketAddr> = plan.addresses.all().collect();
    if let Some(OriginKind::App(all)) = cluster.origins.get(node.name()).map(|origin| &origin.kind) {
        addresses.extend(all.iter().copied().filter(|address| !plan.addresses.http.eq(&Some(*address))));
    }
    addresses
}

/// The ways that one node of a world uses, which the start-up check measures.
fn ways_of(cluster: &Cluster, node: &NodeId) -> Vec<WayAsk> {
    let http = |role: Role| cluster.nodes_with(role).filter_map(|plan| plan.addresses.http);
    let here = |to: SocketAddr| WayAsk { from: None, to };
    match node.role() {
        Role::Edge | Role::Regional | Role::Shield => {
            let parents = cluster.node(node).map(|plan| cluster.parents_of(plan)).unwrap_or_default();
            let parents = parents.into_iter().filter_map(|plan| plan.addresses.http);
            parents.chain(http(Role::Origin)).map(here).collect()
        }
        Role::Router => http(Role::Edge).map(here).collect(),
        Role::Origin => Vec::new(),
        Role::Viewer => {
            let atlas = cluster.world.atlas();
            let from_near = |place: &Place, to: SocketAddr| {
                let city = atlas.nearest_city(place.coordinates).unwrap_or(place);
                WayAsk { from: Some(city.id.to_string()), to }
            };
            cluster
                .nodes_with(Role::Edge)
                .flat_map(|plan| plan.addresses.viewer_facing().map(|to| from_near(&plan.place, to)))
                .chain(cluster.pops().flat_map(|pop| {
                    let servers = cluster.nodes_with(Role::Router).filter_map(|router| router.addresses.dns);
                    servers.map(|to| from_near(pop, to))
                }))
                .collect()
        }
    }
}

/// Above this difference a way is measured again before it is reported: a machine that has just started a dozen
/// processes is not idle.
const MEASURE_AGAIN_MS: f64 = 1.0;
/// How often a way is measured at most.
const MEASURE_TRIES: usize = 3;
/// How long one round of measuring may take: far more than a handshake between any two places.
const MEASURE_DEADLINE: Duration = Duration::from_secs(5);

/// Measures every way of every node that runs, and those of the control plane itself.
///
/// Of several measurements of one way the one nearest to what was asked counts: the links are in question, not what
/// else the machine was doing.
pub(crate) async fn measure(cluster: &Arc<Cluster>, supervisor: &Supervisor, admin: &Admin, own: &Wan) -> LinksReport {
    let mut todo: Vec<(NodeId, Vec<WayAsk>)> = supervisor
        .running()
        .into_iter()
        .filter(|node| !supervisor.is_paused(node))
        .map(|node| {
            let ways = ways_of(cluster, &node);
            (node, ways)
        })
        .filter(|(_, ways)| !ways.is_empty())
        .collect();
    let mut report = LinksReport::default();
    let mut own_todo: Vec<SocketAddr> = cluster
        .nodes
        .iter()
        .filter(|plan| matches!(plan.id.role(), Role::Edge | Role::Regional | Role::Shield | Role::Router))
        .filter(|plan| supervisor.is_running(&plan.id))
        .filter_map(|plan| plan.addresses.admin)
        .collect();
    let mut best: Vec<((String, String), LinkMeasure)> = Vec::new();
    for attempt in 1..=MEASURE_TRIES {
        let last = attempt == MEASURE_TRIES;
        let from_nodes = join_all(todo.iter().map(async |(node, ways)| {
            let ask = MeasureAsk { ways: ways.clone() };
            admin.ask::<Vec<WayMeasured>>(cluster, node, "/measure", &ask, MEASURE_DEADLINE).await
        }));
        let from_here = join_all(own_todo.iter().map(|to| measure_way(own, cluster, &cluster.control.id, *to)));
        let (from_nodes, from_here) = tokio::join!(from_nodes, from_here);
        let mut again = Vec::new();
        for ((node, ways), measured) in todo.iter().zip(from_nodes) {
            match measured {
                Ok(measured) => {
                    let mut ways_again = Vec::new();
                    for (way, seen) in ways.iter().zip(measured) {
                        let key = (format!("{node} {:?}", way.from), way.to.to_string());
                        if !keep(&mut best, &mut report, key, seen, last) {
                            ways_again.push(way.clone());
                        }
                    }
                    again.push((node.clone(), ways_again));
                }
                Err(error) if last => report.unmeasured.push(format!("{node}: {error}")),
                Err(_) => again.push((node.clone(), ways.clone())),
            }
        }
        todo = again.into_iter().filter(|(_, ways)| !ways.is_empty()).collect();
        let mut own_again = Vec::new();
        for (to, seen) in own_todo.iter().zip(from_here) {
            let key = ("control".to_owned(), to.to_string());
            if !keep(&mut best, &mut report, key, seen, last) {
                own_again.push(*to);
            }
        }
        own_todo = own_again;
        if todo.is_empty() && own_todo.is_empty() {
            break;
        }
    }
    report.links = best.into_iter().map(|(_, measure)| measure).collect();
    report
}

/// Keeps the better measurement of a way; says whether it is good enough not to be repeated.
fn keep(
    best: &mut Vec<((String, String), LinkMeasure)>,
    report: &mut LinksReport,
    key: (String, String),
    seen: WayMeasured,
    last: bool,
) -> bool {
    match seen.measured_ms {
        Ok(measured_ms) => {
            let error_ms = measured_ms - seen.asked_ms;
            let measure = LinkMeasure { from: seen.from, to: seen.to, asked_ms: seen.asked_ms, measured_ms, error_ms };
            match best.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) if known.error_ms.abs() > error_ms.abs() => *known = measure,
                Some(_) => {}
                None => best.push((key, measure)),
            }
            error_ms.abs() <= MEASURE_AGAIN_MS
        }
        Err(why) => {
            if last && !best.iter().any(|(known, _)| *known == key) {
                report.unmeasured.push(format!("{} → {}: {why}", seen.from, seen.to));
            }
            // Refused is an answer: the app at the other end does not run.
            why.contains("refused") && {
                if !last {
                    report.unmeasured.push(format!("{} → {}: {why}", seen.from, seen.to));
                }
                true
            }
        }
    }
}

/// Opens a connection from `from` to `to` and says how long the handshake took.
pub(crate) async fn measure_way(wan: &Wan, cluster: &Cluster, from: &SiteId, to: SocketAddr) -> WayMeasured {
    let millis = |span: Duration| span.as_secs_f64() * 1e3;
    let site = cluster.place_at(to).map(|place| place.id.clone());
    let measured = tokio::time::timeout(MEASURE_DEADLINE / 2, wan.measure(from, to, Probe::Handshake)).await;
    let asked = site.as_ref().and_then(|site| wan.path(from, site)).map_or(Duration::ZERO, |path| path.rtt);
    let (asked, measured_ms) = match measured {
        // Jitter and faults are asked for, too.
        Ok(Ok(measurement)) => (measurement.asked, Ok(millis(measurement.handshake))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => (asked, Err("refused".to_owned())),
        Ok(Err(error)) => (asked, Err(error.to_string())),
        Err(_) => (asked, Err("no answer".to_owned())),
    };
    let to = site.map_or_else(|| to.to_string(), |site| site.to_string());
    WayMeasured { from: from.to_string(), to, asked_ms: millis(asked), measured_ms }
}
