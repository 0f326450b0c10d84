//! What the control plane is told when it is built: the world it shows, its token and its limits.
//!
//! Checked once, in [`Config::check`]; knows no files.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use cdn_core::{NodeId, PopCode};
use world::SiteId;

use crate::{
    desired::{KeyGroups, Policies},
    wire::Addresses,
};

/// The world and the settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The world's name.
    pub world: String,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The version of `iso`.
    pub version: String,
    /// The cluster's token: at least 16 visible ASCII characters.
    pub token: String,
    /// Whether the dashboard is handed the token when it is opened on this machine, so that nobody has to log in. Off:
    /// it asks for it.
    pub dashboard_signs_in: bool,
    /// Every node that the world has, whether it runs or not. User-supplied origins count.
    pub nodes: Vec<NodeInfo>,
    /// Every site that links may name, with other names it goes by. Sites of nodes need not be repeated.
    pub sites: Vec<SiteInfo>,
    /// Every distribution.
    pub distributions: Vec<DistributionInfo>,
    /// By which policies they are routed when the world begins.
    pub policies: Policies,
    /// Whether routers have a program that may route.
    pub has_program: bool,
    /// The key groups that behaviors may trust, when the world begins.
    pub key_groups: KeyGroups,
    /// Secrets by access key id, with which requests to CloudFront's own API must be signed; without any, every signature will
    /// do.
    pub aws_keys: BTreeMap<String, String>,
    /// The viewer proxy, as `ip:port`.
    pub proxy: Option<String>,
    /// The limits.
    pub limits: Limits,
}

/// A node that the world has.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// Its id; its role is part of it.
    pub id: NodeId,
    /// The PoP it belongs to.
    pub pop: Option<PopCode>,
    /// Where it stands.
    pub site: SiteId,
    /// That site in words.
    pub place: String,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Where it listens, if it is a user's own app: it has no process of the world's, and nothing waits for it.
    pub app: Option<Addresses>,
    /// Whether it is a user's own app that is spoken to by HTTPS: nothing of the world sees its requests, so what needs
    /// them (a status, a path) cannot be laid over it.
    pub is_sealed: bool,
}

/// A place that a link may end at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteInfo {
    /// The name that links use.
    pub id: SiteId,
    /// Other names that people may type; case, spaces and underscores do not matter.
    pub names: Vec<String>,
}

/// A distribution that may be invalidated and routed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionInfo {
    /// Its id.
    pub id: String,
    /// The host names it answers to.
    pub hosts: Vec<String>,
    /// The PoPs that may serve it.
    pub pops: Vec<PopCode>,
}

impl DistributionInfo {
    /// The name that it always answers to.
    pub(crate) fn own_name(&self) -> String {
        let own = |host: &&String| host.strip_suffix(".cdn.test").is_some_and(|id| id.eq_ignore_ascii_case(&self.id));
        self.hosts.iter().find(own).cloned().unwrap_or_else(|| format!("{}.cdn.test", self.id.to_ascii_lowercase()))
    }
}

/// What there may be at most. Reaching one is refused with its name, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones are closed at once. Default 256.
    pub connections_max: usize,
    /// Open event and log streams. Default 64.
    pub streams_max: usize,
    /// Bytes of a request body. Default 1 MiB.
    pub body_bytes_max: usize,
    /// Time for a request's headers to arrive. Default 10 s.
    pub header_timeout: Duration,
    /// Time for a request's body to arrive. Default 10 s.
    pub body_timeout: Duration,
    /// Active faults. Default 1000.
    pub faults_max: usize,
    /// The longest duration of a fault. Default 30 days.
    pub fault_for_max: Duration,
    /// Events that are kept for subscribers that come back. Default 4096.
    pub events_kept: usize,
    /// Invalidations that can still be asked about after they are done. Default 256.
    pub invalidations_kept: usize,
    /// Paths of invalidations that are in progress, per distribution (CloudFront's quota). Default 3000.
    pub invalidation_paths_max: usize,
    /// Wildcard paths of invalidations that are in progress, per distribution (CloudFront's quota). Default 15.
    pub invalidation_wildcards_max: usize,
    /// Public keys, beyond which CloudFront's API makes none. Default 100.
    pub public_keys_max: usize,
    /// Key groups, likewise. Default 100.
    pub key_groups_max: usize,
    /// Time for one delivery of an invalidation to one node. Default 5 s.
    pub invalidation_attempt_timeout: Duration,
    /// How long an invalidation is tried before a node is given up. Default 10 min.
    pub invalidation_timeout: Duration,
    /// Time for one action of the [`Hands`](crate::Hands). Default 20 s.
    pub hand_timeout: Duration,
    /// Time for measuring every link. Default 2 min.
    pub measure_timeout: Duration,
    /// Time for one node's metrics; the others are not held up longer. Default 2 s.
    pub metrics_timeout: Duration,
    /// Bytes of one node's metrics. Default 4 MiB.
    pub metrics_bytes_max: usize,
    /// How long open requests may go on after the end was asked for. Default 1 s.
    pub drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            streams_max: 64,
            body_bytes_max: 1 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            faults_max: 1000,
            fault_for_max: Duration::from_secs(30 * 24 * 3600),
            events_kept: 4096,
            invalidations_kept: 256,
            invalidation_paths_max: 3000,
            invalidation_wildcards_max: 15,
            public_keys_max: 100,
            key_groups_max: 100,
            invalidation_attempt_timeout: Duration::from_secs(5),
            invalidation_timeout: Duration::from_secs(600),
            hand_timeout: Duration::from_secs(20),
            measure_timeout: Duration::from_secs(120),
            metrics_timeout: Duration::from_secs(2),
            metrics_bytes_max: 4 << 20,
            drain_grace: Duration::from_secs(1),
        }
    }
}

/// Why a control plane cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The token could be guessed, or cannot stand in a header.
    #[error("the token must be at least 16 visible ASCII characters")]
    Token,
    /// Two nodes have one id.
    #[error("two nodes are called {0}")]
    NodeTwice(NodeId),
    /// The control API never listens anywhere but on loopback.
    #[error("the control API must listen on 127.0.0.1 or ::1, not {0}")]
    NotLoopback(std::net::IpAddr),
    /// The listener cannot say where it listens.
    #[error("the listener of the control API: {0}")]
    Listener(#[from] io::Error),
}

impl Config {
    pub(crate) fn check(&self, address: std::net::SocketAddr) -> Result<(), BuildError> {
        let ip = address.ip();
        if ip != Ipv4Addr::LOCALHOST && ip != Ipv6Addr::LOCALHOST {
            return Err(BuildError::NotLoopback(ip));
        }
        if self.token.len() < 16 || !self.token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BuildError::Token);
        }
        let mut seen = BTreeSet::new();
        match self.nodes.iter().find(|node| !seen.insert(&node.id)) {
            Some(twice) => Err(BuildError::NodeTwice(twice.id.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two PoPs, a shield, a router and two origins.
    pub(crate) fn world() -> Config {
        let node = |id: &str, pop: Option<&str>, site: &str, place: &str, lat, lon| NodeInfo {
            id: id.parse().unwrap(),
            pop: pop.map(|pop| pop.parse().unwrap()),
            site: SiteId::new(site),
            place: place.into(),
            lat,
            lon,
            app: None,
            is_sealed: false,
        };
        let site = |id: &str, names: &[&str]| SiteInfo {
            id: SiteId::new(id),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        Config {
            world: "test".into(),
            seed: 7,
            version: "0.0.0".into(),
            token: "0123456789abcdef".into(),
            dashboard_signs_in: true,
            nodes: vec![
                node("edge.iad", Some("IAD"), "iad", "Ashburn", 39.0, -77.5),
                node("edge.fra", Some("FRA"), "fra", "Frankfurt", 50.0, 8.6),
                node("shield.iad", Some("IAD"), "iad", "Ashburn", 39.0, -77.5),
                node("router.iad", Some("IAD"), "iad", "Ashburn", 39.0, -77.5),
                node("origin.primary", None, "us-east-1", "N. Virginia", 39.0, -77.5),
                node("origin.secondary", None, "eu-west-1", "Ireland", 53.3, -6.3),
            ],
            sites: vec![
                site("fra", &["Frankfurt"]),
                site("iad", &["Ashburn"]),
                site("tokyo", &[]),
                site("sao-paulo", &["São Paulo"]),
            ],
            distributions: vec![DistributionInfo {
                id: "E2DEMO".into(),
                hosts: vec!["www.demo.test".into()],
                pops: vec![],
            }],
            has_program: false,
            policies: Policies::default(),
            key_groups: KeyGroups::new(),
            aws_keys: BTreeMap::new(),
            proxy: Some("127.0.0.1:4488".into()),
            limits: Limits::default(),
        }
    }

    #[test]
    fn weak_tokens_twins_and_open_listeners_are_refused() {
        let here = "127.0.0.1:4400".parse().unwrap();
        assert!(world().check(here).is_ok());
        assert!(matches!(world().check("0.0.0.0:4400".parse().unwrap()), Err(BuildError::NotLoopback(_))));
        for token in ["", "short", "0123456789abcde\n", "0123456789 abcdef"] {
            assert!(
                matches!(Config { token: token.into(), ..world() }.check(here), Err(BuildError::Token)),
                "{token:?}"
            );
        }
        let mut twins = world();
        twins.nodes.extend(world().nodes.first().cloned());
        assert!(matches!(twins.check(here), Err(BuildError::NodeTwice(_))));
    }
}
