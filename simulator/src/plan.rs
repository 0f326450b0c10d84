//! The world of a run as it was checked: who stands where, what is served and how patient everybody is.
//!
//! Made by whoever has read the files; nothing here is checked again. Knows no file and no process.

use std::{collections::BTreeMap, fmt::Debug, net::SocketAddr, sync::Arc, time::Duration};

use cdn_core::{
    Counters, Instant, NodeId, PopCode, Role, WallTime,
    distribution::Distribution,
    routing::{Host, RoutingOptions, Snapshot, Told},
    store::StoreSettings,
};
use http::{HeaderMap, StatusCode};
use world::{Directory, Member, Place, TcpOptions, World, client::RaceOptions};

/// The world of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The outside: places and paths.
    pub world: World,
    /// Every node, in the order in which reports list them.
    pub nodes: Vec<NodeSpec>,
    /// Configurations that nodes can go over to; all start with number 0.
    pub revisions: Vec<Vec<Arc<Distribution>>>,
    /// Origins by id.
    pub origins: BTreeMap<String, OriginSpec>,
    /// How routers choose.
    pub routing: RoutingOptions,
    /// The hosts that they choose for, one per distribution and by its id.
    pub hosts: Vec<Host>,
    /// The program that they ask, where there is one.
    pub program: Option<ProgramSpec>,
    /// Limits of the stores of edges, regional caches and shield.
    pub store: StoreSettings,
    /// How long a cache between that was silent is left alone. Default 10 s.
    pub parent_retry: Duration,
    /// Idle connections that a cache keeps to one node behind it. Default 64.
    pub idle_max: usize,
    /// What viewers are like.
    pub viewer: ViewerSpec,
    /// Where the control plane stands.
    pub control: Place,
    /// How connections behave.
    pub tcp: TcpOptions,
    /// How long certificates of edges are good, from the beginning of the run. Default 90 days.
    pub certificate_span: Duration,
    /// The date at the beginning of the run.
    pub date: WallTime,
    /// Seed of everything random but the load.
    pub seed: u64,
    /// Bytes that a run may take. Default 4 GiB.
    pub memory_max: u64,
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub id: NodeId,
    /// Its PoP, where it stands in one.
    pub pop: Option<PopCode>,
    /// Where it stands.
    pub place: Place,
    /// Where it listens.
    pub address: SocketAddr,
    /// Caches between it and the origins, by their position among the nodes: the first is asked, and the next one where
    /// that is of no use.
    pub parents: Vec<usize>,
}

/// A simulated origin.
#[derive(Clone, Debug)]
pub struct OriginSpec {
    /// Requests that are served at once. Default 256.
    pub concurrency: usize,
    /// Requests that may wait for that; one more gets 503. Default 1024.
    pub queue: usize,
    /// It goes on with what nobody waits for any more. Default no.
    pub finishes_abandoned: bool,
    /// What it answers.
    pub answers: Arc<dyn Answers>,
}

/// What an origin answers, a pure function of the request.
pub trait Answers: Debug + Send + Sync {
    /// The answer to a GET of `path`.
    fn answer(&self, path: &str, query: Option<&str>) -> OriginAnswer;
}

/// What an origin answers.
#[derive(Clone, Debug)]
pub struct OriginAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without `Date`.
    pub headers: HeaderMap,
    /// Bytes of the body.
    pub bytes: u64,
    /// How long it takes.
    pub delay: Duration,
}

/// A policy program that routers ask, each one of its own.
#[derive(Clone, Debug)]
pub struct ProgramSpec {
    /// When a router asks for the first time, counted from its start.
    pub first: Duration,
    /// How often it asks then.
    pub interval: Duration,
    /// What is asked.
    pub programs: Arc<dyn Programs>,
}

/// Whoever starts policy programs.
pub trait Programs: Debug + Send + Sync {
    /// The program of a router that begins. What comes of it is counted in `counters`.
    fn begin(&self, router: &NodeId, counters: Arc<Counters>) -> Box<dyn Program>;
}

/// A policy program, asked while virtual time stands still.
pub trait Program: Debug {
    /// What it says of the client networks of `snapshot`.
    fn round(&mut self, now: Instant, snapshot: &Snapshot) -> Told;
}

/// What viewers are like.
#[derive(Clone, Debug)]
pub struct ViewerSpec {
    /// Where resolvers stand, where not with their viewers.
    pub resolver: Option<Place>,
    /// How patient viewers are when they connect.
    pub race: RaceOptions,
    /// How long an address that failed is tried last. Default 5 s.
    pub dead_for: Duration,
    /// How long a resolver waits for the first answer, the second, and so on. Default 0.8 s, 1.6 s, 3.2 s.
    pub dns_timeouts: Vec<Duration>,
    /// The shortest time between two reports for one client network and edge. Default 1 s.
    pub beacon_interval: Duration,
    /// The shortest time between two measurements of the second address of an answer for one client network; zero for
    /// none. Default 2 s.
    pub measure_interval: Duration,
    /// How long a handshake of TLS may take. Default 10 s.
    pub tls_timeout: Duration,
}

impl Default for ViewerSpec {
    fn default() -> Self {
        Self {
            resolver: None,
            race: RaceOptions::default(),
            dead_for: Duration::from_secs(5),
            dns_timeouts: [800, 1600, 3200].map(Duration::from_millis).to_vec(),
            beacon_interval: Duration::from_secs(1),
            measure_interval: Duration::from_secs(2),
            tls_timeout: Duration::from_secs(10),
        }
    }
}

impl Plan {
    /// A world with its outside and nothing in it, all settings at their defaults.
    pub fn new(world: World, control: Place) -> Self {
        Self {
            world,
            nodes: Vec::new(),
            revisions: vec![Vec::new()],
            origins: BTreeMap::new(),
            routing: RoutingOptions::default(),
            hosts: Vec::new(),
            program: None,
            store: StoreSettings::default(),
            parent_retry: Duration::from_secs(10),
            idle_max: 64,
            viewer: ViewerSpec::default(),
            control,
            tcp: TcpOptions::default(),
            certificate_span: Duration::from_secs(90 * 86_400),
            date: WallTime::from_unix_secs(1_800_000_000),
            seed: 0,
            memory_max: 4 << 30,
        }
    }

    /// The places and nodes that observations of a run speak of: all places of the atlas, in its order.
    pub fn directory(&self) -> Directory {
        let members = self.nodes.iter().map(|node| Member { id: node.id.clone(), pop: node.pop });
        Directory::new(self.world.atlas().places().cloned().collect(), members.collect())
    }

    /// The nodes of a role, with their positions.
    pub fn nodes_with(&self, role: Role) -> impl Iterator<Item = (usize, &NodeSpec)> {
        self.nodes.iter().enumerate().filter(move |(_, node)| node.id.role() == role)
    }

    /// The position of a node.
    pub fn position(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == *id)
    }
}
