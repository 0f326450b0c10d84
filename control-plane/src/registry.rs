//! Who is who: nodes and how they are doing, sites, distributions, and what a typed name stands for.
//!
//! Decides the health that is shown and the nearest valid names of a misspelt one. Knows what it was told by the owner
//! of the processes; asks nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cdn_core::{Instant, NodeId, PopCode, Role, routing::PolicyKind};
use world::SiteId;

use crate::{
    config::{Config, NodeInfo},
    desired::{Desired, Stop},
    wire::{Addresses, Health, Node},
};

/// A name that nothing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {wanted} {name:?}")]
pub(crate) struct UnknownName {
    pub(crate) wanted: &'static str,
    pub(crate) name: String,
    pub(crate) did_you_mean: Vec<String>,
    /// Where nothing is near: what there is, or where it is listed.
    pub(crate) hint: Option<String>,
}

/// What a heal's target stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Around {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) sites: Vec<SiteId>,
}

/// A node and what was heard of it.
#[derive(Debug)]
struct Entry {
    info: NodeInfo,
    pid: Option<u32>,
    addresses: Addresses,
    /// What its health checks say.
    checked: Health,
    /// How its process last ended.
    exit: Option<String>,
    /// Whether the next start is one that nobody asked for.
    ended_by_itself: bool,
    restarts: u64,
    shown: Health,
    since: Instant,
}

/// Everything that has a name.
#[derive(Debug)]
pub(crate) struct Registry {
    nodes: BTreeMap<NodeId, Entry>,
    /// Every folded name of a site.
    sites: BTreeMap<String, SiteId>,
    /// Every folded host name and id of a distribution.
    distributions: BTreeMap<String, String>,
    /// A program may be the routing policy.
    has_program: bool,
}

impl Registry {
    pub(crate) fn new(config: &Config) -> Self {
        let mut sites = BTreeMap::new();
        for site in &config.sites {
            for name in site.names.iter().map(String::as_str).chain([site.id.as_str()]) {
                sites.entry(fold(name)).or_insert_with(|| site.id.clone());
            }
        }
        let mut distributions = BTreeMap::new();
        for distribution in &config.distributions {
            for name in distribution.hosts.iter().chain([&distribution.id]) {
                distributions.entry(name.to_ascii_lowercase()).or_insert_with(|| distribution.id.clone());
            }
        }
        let mut nodes = BTreeMap::new();
        for info in &config.nodes {
            sites.entry(fold(info.site.as_str())).or_insert_with(|| info.site.clone());
            nodes.insert(info.id.clone(), Entry::new(info.clone()));
        }
        Self { nodes, sites, distributions, has_program: config.has_program }
    }

    /// Every node, by role and name.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// Nodes that store responses: edges, regional caches and shields.
    pub(crate) fn caches(&self) -> Vec<NodeId> {
        self.ids().filter(|id| matches!(id.role(), Role::Edge | Role::Regional | Role::Shield)).cloned().collect()
    }

    /// Nodes that have a process.
    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.nodes.values().filter(|entry| entry.pid.is_some()).map(|entry| entry.info.id.clone()).collect()
    }

    pub(crate) fn has_process(&self, id: &NodeId) -> bool {
        self.nodes.get(id).is_some_and(|entry| entry.pid.is_some())
    }

    /// Whether it is an app whose requests nothing of the world sees.
    pub(crate) fn is_sealed(&self, id: &NodeId) -> bool {
        self.nodes.get(id).is_some_and(|entry| entry.info.is_sealed)
    }

    /// Whether it is an app of the user's, and no process of this world.
    pub(crate) fn is_app(&self, id: &NodeId) -> bool {
        self.nodes.get(id).is_some_and(|entry| entry.info.app.is_some())
    }

    pub(crate) fn pop_of(&self, id: &NodeId) -> Option<PopCode> {
        self.nodes.get(id).and_then(|entry| entry.info.pop)
    }

    /// A process of `id` runs. Whether the node is known, and whether nobody had asked for the start.
    pub(crate) fn handle_started(&mut self, id: &NodeId, pid: u32, addresses: Addresses) -> Option<Started> {
        let entry = self.nodes.get_mut(id)?;
        let again = std::mem::take(&mut entry.ended_by_itself);
        entry.restarts += u64::from(again);
        entry.pid = Some(pid);
        entry.addresses = addresses;
        entry.checked = Health::Suspect;
        entry.exit = None;
        Some(Started { again, restarts: entry.restarts })
    }

    /// The process of `id` ended. Whether the node is known.
    pub(crate) fn handle_exited(&mut self, id: &NodeId, how: &str, desired: &Desired) -> bool {
        let Some(entry) = self.nodes.get_mut(id) else { return false };
        entry.pid = None;
        entry.checked = Health::Down;
        entry.exit = Some(how.to_owned());
        entry.ended_by_itself = desired.stopped(id) != Some(Stop::Kill);
        true
    }

    /// Somebody asked for the start of `id`, so it is none of its own.
    pub(crate) fn handle_start_asked(&mut self, id: &NodeId) {
        if let Some(entry) = self.nodes.get_mut(id) {
            entry.ended_by_itself = false;
        }
    }

    pub(crate) fn handle_health(&mut self, id: &NodeId, health: Health) {
        if let Some(entry) = self.nodes.get_mut(id).filter(|entry| entry.pid.is_some() || entry.info.app.is_some()) {
            entry.checked = health;
        }
    }

    /// Brings the shown health of every node up to date; returns those where it changed, with what it was.
    pub(crate) fn poll_changes(&mut self, now: Instant, desired: &Desired) -> Vec<(NodeId, Health, Health)> {
        let mut changes = Vec::new();
        for (id, entry) in &mut self.nodes {
            let health = entry.health(desired);
            if health != entry.shown {
                changes.push((id.clone(), entry.shown, health));
                entry.shown = health;
                entry.since = now;
            }
        }
        changes
    }

    /// Whether every node that should run is up. Users' own apps come and go as users like.
    pub(crate) fn is_healthy(&self) -> bool {
        let mut ours = self.nodes.values().filter(|entry| entry.info.app.is_none());
        ours.all(|entry| matches!(entry.shown, Health::Up | Health::Draining | Health::Stopped))
    }

    /// Every node as the API shows it.
    pub(crate) fn rows(&self, now: Instant) -> Vec<Node> {
        self.nodes.values().map(|entry| entry.row(now)).collect()
    }

    /// One node as the API shows it.
    pub(crate) fn row(&self, id: &NodeId, now: Instant) -> Option<Node> {
        self.nodes.get(id).map(|entry| entry.row(now))
    }

    /// The nodes that `name` stands for: a node's id, a PoP code (its edges) or an origin's id. Never empty.
    pub(crate) fn nodes_called(&self, name: &str) -> Result<Vec<NodeId>, UnknownName> {
        let name = name.trim();
        if let Some(id) = self.node_called(name) {
            return Ok(vec![id]);
        }
        let origin = NodeId::new(Role::Origin, name);
        if self.nodes.contains_key(&origin) {
            return Ok(vec![origin]);
        }
        if let Ok(pop) = name.parse::<PopCode>() {
            let edges: Vec<_> = self.nodes_at(pop).filter(|id| id.role() == Role::Edge).cloned().collect();
            if !edges.is_empty() {
                return Ok(edges);
            }
        }
        Err(self.unknown("node, PoP or origin", name, self.node_names()))
    }

    /// The site that `name` stands for: a site's own or other name, or a node's id for where it stands.
    pub(crate) fn site_called(&self, name: &str) -> Result<SiteId, UnknownName> {
        let name = name.trim();
        if let Some(site) = self.sites.get(&fold(name)) {
            return Ok(site.clone());
        }
        let id = self.node_called(name).unwrap_or_else(|| NodeId::new(Role::Origin, name));
        if let Some(entry) = self.nodes.get(&id) {
            return Ok(entry.info.site.clone());
        }
        let names = self.sites.keys().cloned().chain(self.node_names());
        Err(self.unknown("site", name, names))
    }

    /// The PoP that `name` stands for: its code, or the id of one of its nodes.
    pub(crate) fn pop_called(&self, name: &str) -> Result<PopCode, UnknownName> {
        let name = name.trim();
        let code = name.parse::<PopCode>().ok();
        let node = || self.node_called(name).and_then(|id| self.pop_of(&id));
        let pops = self.pops();
        code.or_else(node)
            .filter(|pop| pops.contains(pop))
            .ok_or_else(|| self.unknown("PoP", name, pops.iter().map(PopCode::to_string)))
    }

    /// What is healed when `name` is: nodes called so, and links that end at the site called so.
    pub(crate) fn around(&self, name: &str) -> Result<Around, UnknownName> {
        let nodes = self.nodes_called(name);
        let is_node_id = name.contains('.') || self.nodes.contains_key(&NodeId::new(Role::Origin, name.trim()));
        let site = self.site_called(name).ok().filter(|_| !is_node_id);
        match (nodes, site) {
            (Err(unknown), None) => Err(unknown),
            (nodes, site) => Ok(Around { nodes: nodes.unwrap_or_default(), sites: site.into_iter().collect() }),
        }
    }

    /// The id of the distribution that `name` stands for: its id or one of its host names.
    pub(crate) fn distribution_called(&self, name: &str) -> Result<String, UnknownName> {
        let folded = name.trim().to_ascii_lowercase();
        self.distributions
            .get(&folded)
            .cloned()
            .ok_or_else(|| self.unknown("distribution", name, self.distributions.keys().cloned()))
    }

    /// The routing policy called `name`.
    pub(crate) fn policy_called(&self, name: &str) -> Result<PolicyKind, UnknownName> {
        let may_be = |kind: &PolicyKind| self.has_program || *kind != PolicyKind::Program;
        let names = || PolicyKind::ALL.into_iter().filter(may_be).map(|kind| kind.as_str().to_owned());
        let named = name.trim().to_ascii_lowercase().parse().ok().filter(may_be);
        named.ok_or_else(|| self.unknown("routing policy", name, names()))
    }

    fn node_called(&self, id: &str) -> Option<NodeId> {
        id.to_ascii_lowercase().parse().ok().filter(|id| self.nodes.contains_key(id))
    }

    fn nodes_at(&self, pop: PopCode) -> impl Iterator<Item = &NodeId> {
        self.nodes.values().filter(move |entry| entry.info.pop == Some(pop)).map(|entry| &entry.info.id)
    }

    fn pops(&self) -> BTreeSet<PopCode> {
        self.nodes
            .values()
            .filter(|entry| entry.info.id.role() == Role::Edge)
            .filter_map(|entry| entry.info.pop)
            .collect()
    }

    fn node_names(&self) -> Vec<String> {
        let origins = self.ids().filter(|id| id.role() == Role::Origin).map(|id| id.name().to_owned());
        let pops = self.pops();
        self.ids().map(NodeId::to_string).chain(origins).chain(pops.iter().map(PopCode::lower)).collect()
    }

    fn unknown(&self, wanted: &'static str, name: &str, known: impl IntoIterator<Item = String>) -> UnknownName {
        let known: BTreeSet<String> = known.into_iter().collect();
        let did_you_mean = nearest(name, &known);
        let hint = did_you_mean.is_empty().then(|| listed(&known));
        UnknownName { wanted, name: shorten(name), did_you_mean, hint }
    }
}

/// What a start meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// The process had ended by itself before.
    pub(crate) again: bool,
    /// How often that has happened.
    pub(crate) restarts: u64,
}

impl Entry {
    fn new(info: NodeInfo) -> Self {
        Self {
            addresses: info.app.clone().unwrap_or_default(),
            info,
            pid: None,
            checked: Health::Down,
            exit: None,
            ended_by_itself: false,
            restarts: 0,
            shown: Health::Down,
            since: Instant::ZERO,
        }
    }

    fn health(&self, desired: &Desired) -> Health {
        let drained = self.info.id.role() == Role::Edge && self.info.pop.is_some_and(|pop| desired.is_drained(&pop));
        match (desired.stopped(&self.info.id), self.checked) {
            (Some(Stop::Kill), _) => Health::Stopped,
            (_, Health::Up) if drained => Health::Draining,
            (_, checked) => checked,
        }
    }

    fn row(&self, now: Instant) -> Node {
        let info = &self.info;
        Node {
            id: info.id.to_string(),
            role: info.id.role().to_string(),
            pop: info.pop.map(|pop| pop.to_string()),
            site: info.site.to_string(),
            place: info.place.clone(),
            lat: info.lat,
            lon: info.lon,
            pid: self.pid,
            health: self.shown,
            addresses: self.addresses.clone(),
            restarts: self.restarts,
            since_ms: millis(now.saturating_since(self.since)),
            exit: self.exit.clone(),
        }
    }
}

impl fmt::Display for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.nodes.iter().map(NodeId::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

/// Whole milliseconds, as the API writes spans.
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Folds what people write differently: case, and spaces or underscores for hyphens.
fn fold(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '_'], "-")
}

/// The up to three nearest of `known`, best first; none that is too far to be meant.
fn nearest(name: &str, known: &BTreeSet<String>) -> Vec<String> {
    const NAME_CHARS_MAX: usize = 64;
    const LIKENESS_MIN: f64 = 0.6;
    let name = fold(name);
    if name.is_empty() || name.chars().nth(NAME_CHARS_MAX).is_some() {
        return Vec::new();
    }
    let likeness = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&name, &fold(candidate));
        // `iad` typed as `edg.iad` or `edge-iad` is near in letters; `fr` for `fra` is near by its beginning.
        strsim::jaro_winkler(&name, &fold(candidate)).mul_add(0.5, whole * 0.5)
    };
    let mut ranked: Vec<_> = known
        .iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    ranked.sort_by(|(a, name_a), (b, name_b)| b.total_cmp(a).then_with(|| name_a.cmp(name_b)));
    ranked.into_iter().take(3).map(|(_, candidate)| candidate.clone()).collect()
}

/// All names, where they are few enough to be read; there are thousands of places.
fn listed(known: &BTreeSet<String>) -> String {
    const LISTED_MAX: usize = 40;
    if known.len() > LISTED_MAX {
        return "`iso world places` lists every place, `iso status` every node".into();
    }
    format!("there are {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// What is quoted back to whoever sent it: not more than a line.
fn shorten(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{config::tests::world, desired::Fault};

    fn registry() -> Registry {
        Registry::new(&world())
    }

    fn node(id: &str) -> NodeId {
        id.parse().unwrap()
    }

    fn names(found: Result<Vec<NodeId>, UnknownName>) -> Vec<String> {
        found.unwrap().iter().map(NodeId::to_string).collect()
    }

    #[test]
    fn a_users_own_app_is_shown_and_not_waited_for() {
        let mut config = world();
        config.nodes.truncate(1);
        let app = Addresses { http: Some("127.0.0.1:3000".into()), ..Addresses::default() };
        config.nodes[0].app = Some(app.clone());
        let mut registry = Registry::new(&config);
        let id = config.nodes[0].id.clone();
        assert!(registry.is_healthy());
        registry.handle_health(&id, Health::Up);
        let _ = registry.poll_changes(Instant::ZERO, &Desired::new(10));
        let row = registry.row(&id, Instant::ZERO).unwrap();
        assert_eq!((row.health, row.pid, row.addresses), (Health::Up, None, app));
    }

    #[test]
    fn names_stand_for_nodes() {
        let registry = registry();
        assert_eq!(names(registry.nodes_called("edge.fra")), ["edge.fra"]);
        assert_eq!(names(registry.nodes_called("EDGE.FRA")), ["edge.fra"]);
        assert_eq!(names(registry.nodes_called("fra")), ["edge.fra"]);
        assert_eq!(names(registry.nodes_called("IAD")), ["edge.iad"], "a PoP's edges, not its shield");
        assert_eq!(names(registry.nodes_called("primary")), ["origin.primary"]);
    }

    #[test]
    fn unknown_names_come_with_the_nearest() {
        let check = |name: &str, nearest: &[&str]| {
            assert_eq!(registry().nodes_called(name).unwrap_err().did_you_mean, nearest, "{name}");
        };
        check("edge.fta", &["edge.fra", "edge.iad"]);
        check("primry", &["primary"]);
        check("fr", &["fra"]);
        check("zzzzzz", &[]);
        check(&"x".repeat(100_000), &[]);
        check("", &[]);
    }

    #[test]
    fn a_name_that_nothing_is_near_to_comes_with_those_that_there_are() {
        let far = registry().pop_called("XXX").unwrap_err();
        assert_eq!((far.did_you_mean.as_slice(), far.hint.as_deref()), (&[][..], Some("there are FRA, IAD")));
        assert_eq!(registry().pop_called("fro").unwrap_err().hint, None);
        let node = registry().nodes_called("zzzzzz").unwrap_err().hint.unwrap();
        assert!(node.contains("edge.fra") && node.contains("primary"), "{node}");
    }

    #[test]
    fn sites_go_by_code_city_region_and_node() {
        let registry = registry();
        for (name, site) in [
            ("FRA", "fra"),
            ("us-east-1", "us-east-1"),
            ("US East 1", "us-east-1"),
            ("Sao Paulo", "sao-paulo"),
            ("primary", "us-east-1"),
            ("shield.iad", "iad"),
        ] {
            assert_eq!(registry.site_called(name).unwrap().as_str(), site, "{name}");
        }
        assert_eq!(registry.site_called("tokio").unwrap_err().did_you_mean, ["tokyo"]);
    }

    #[test]
    fn pops_go_by_code_and_node() {
        let registry = registry();
        assert_eq!(registry.pop_called("fra").unwrap().as_str(), "FRA");
        assert_eq!(registry.pop_called("edge.fra").unwrap().as_str(), "FRA");
        assert_eq!(registry.pop_called("fro").unwrap_err().did_you_mean, ["FRA"]);
        assert!(registry.pop_called("origin.primary").is_err());
    }

    #[test]
    fn healing_a_pop_means_its_links_too_and_healing_a_node_does_not() {
        let registry = registry();
        assert_eq!(registry.around("fra").unwrap().sites.len(), 1);
        assert_eq!(registry.around("edge.fra").unwrap().sites.len(), 0);
        assert_eq!(registry.around("primary").unwrap().sites.len(), 0);
        assert_eq!(registry.around("tokyo").unwrap().nodes.len(), 0);
        assert!(registry.around("nowhere").is_err());
    }

    #[test]
    fn a_killed_node_is_stopped_and_a_crashed_one_is_down_until_it_starts_again() {
        let (mut registry, mut desired, fra) = (registry(), Desired::new(9), node("edge.fra"));
        let health = |registry: &mut Registry, desired: &Desired| {
            registry.poll_changes(Instant::ZERO, desired);
            registry.row(&node("edge.fra"), Instant::ZERO).unwrap().health
        };
        registry.handle_started(&fra, 7, Addresses::default());
        assert_eq!(health(&mut registry, &desired), Health::Suspect);
        registry.handle_health(&fra, Health::Up);
        assert_eq!(health(&mut registry, &desired), Health::Up);
        registry.handle_exited(&fra, "signal 11", &desired);
        assert_eq!(health(&mut registry, &desired), Health::Down);
        let started = registry.handle_started(&fra, 8, Addresses::default()).unwrap();
        assert_eq!(started, Started { again: true, restarts: 1 });
        desired.add(Fault::Stopped(fra.clone(), Stop::Kill), None).unwrap();
        registry.handle_exited(&fra, "signal 9", &desired);
        assert_eq!(health(&mut registry, &desired), Health::Stopped);
        desired.resume(&fra);
        assert!(!registry.handle_started(&fra, 9, Addresses::default()).unwrap().again);
    }

    #[test]
    fn a_drained_pop_shows_in_its_edges_only_while_they_are_up() {
        let (mut registry, mut desired, iad) = (registry(), Desired::new(9), node("edge.iad"));
        desired.set_drained("IAD".parse().unwrap(), crate::desired::Drain::Drain);
        for id in [&iad, &node("shield.iad")] {
            registry.handle_started(id, 7, Addresses::default());
            registry.handle_health(id, Health::Up);
        }
        registry.poll_changes(Instant::ZERO + Duration::from_secs(2), &desired);
        let row =
            |registry: &Registry, id: &str| registry.row(&node(id), Instant::ZERO + Duration::from_secs(5)).unwrap();
        assert_eq!((row(&registry, "edge.iad").health, row(&registry, "edge.iad").since_ms), (Health::Draining, 3000));
        assert_eq!(row(&registry, "shield.iad").health, Health::Up);
        registry.handle_health(&iad, Health::Suspect);
        registry.poll_changes(Instant::ZERO, &desired);
        assert_eq!(row(&registry, "edge.iad").health, Health::Suspect);
    }

    #[test]
    fn distributions_go_by_id_and_host() {
        let registry = registry();
        assert_eq!(registry.distribution_called("WWW.demo.test").unwrap(), "E2DEMO");
        assert_eq!(registry.distribution_called("e2demo").unwrap(), "E2DEMO");
        assert_eq!(registry.distribution_called("ww.demo.test").unwrap_err().did_you_mean, ["www.demo.test"]);
    }
}
