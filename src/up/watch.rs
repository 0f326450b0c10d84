//! What the world is like, found out all the time: who runs, who answers, when everything is ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cdn_core::{
    NodeId, Role,
    counters::{self, Counter},
};
use control_plane::{
    Hands as _,
    wire::{Health, LinksReport},
};
use futures_util::future::join_all;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Interval, MissedTickBehavior},
};

use crate::{
    cluster::Cluster,
    hands::{Admin, RootHands},
    links,
    node::wire::EdgeSeen,
    supervisor::{NodeEvent, Supervisor},
    up::{addresses, in_words, subject},
};

/// What the watch tells whoever runs the world.
pub(crate) enum Told {
    /// Every node is up and every link was measured.
    Ready(LinksReport),
    /// Something happened, in one line.
    Event(String),
    /// A node could not be started the first time: the world cannot come up.
    CannotStart(String),
}

/// The watch of one world.
pub(crate) struct Watch {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) supervisor: Supervisor,
    pub(crate) admin: Admin,
    pub(crate) hands: Arc<RootHands>,
    pub(crate) plane: control_plane::Handle,
    pub(crate) ready: mpsc::UnboundedSender<Told>,
}

/// Time between two looks while the world comes up: small against a start of half a second.
const LOOK_STARTING: Duration = Duration::from_millis(20);
/// Time between two looks afterwards.
const LOOK: Duration = Duration::from_millis(500);
/// A node that does not answer a look within this time missed it.
const LOOK_TIMEOUT: Duration = Duration::from_millis(400);
/// Missed looks in a row after which a node counts as down; before, it is suspect.
const DOWN_AFTER: u32 = 4;

impl Watch {
    /// Watches until it is dropped.
    pub(crate) async fn run(self, mut events: mpsc::UnboundedReceiver<NodeEvent>) {
        let mut misses: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut shown: BTreeMap<NodeId, Health> = BTreeMap::new();
        let ours = self.cluster.nodes.iter().filter(|plan| !plan.is_app);
        let expected: BTreeSet<NodeId> = ours.map(|plan| plan.id.clone()).collect();
        let mut never_ready = expected.clone();
        // Links are measured while the router's first probes are on their way: both take the longest round trips.
        let (measured, mut is_measured) = oneshot::channel();
        let mut measured = Some(measured);
        let mut report = None;
        let mut is_ready = false;
        let mut look = interval(LOOK_STARTING);
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return };
                    self.handle_event(&event, is_ready, &mut shown);
                    match &event {
                        NodeEvent::Ready { node, .. } => {
                            never_ready.remove(node);
                            if never_ready.is_empty() && let Some(measured) = measured.take() {
                                self.measure(measured);
                            }
                        }
                        NodeEvent::Failed { node, why } if never_ready.contains(node) => {
                            let _ = self.ready.send(Told::CannotStart(format!("{node} could not be started: {why}")));
                        }
                        _ => {}
                    }
                }
                done = &mut is_measured, if !is_ready && report.is_none() => report = Some(done.unwrap_or_default()),
                _ = look.tick(), if never_ready.is_empty() => {
                    self.look(is_ready, &mut misses, &mut shown).await;
                }
            }
            let all_up = || expected.iter().all(|node| shown.get(node) == Some(&Health::Up));
            if let Some(report) = report.take_if(|_| !is_ready && all_up()) {
                is_ready = true;
                look = interval(LOOK);
                self.plane.links_measured(report.clone());
                let _ = self.ready.send(Told::Ready(report));
            }
        }
    }

    /// Measures every link, in the background.
    fn measure(&self, done: oneshot::Sender<LinksReport>) {
        let (cluster, supervisor) = (Arc::clone(&self.cluster), self.supervisor.clone());
        let (admin, wan) = (self.admin.clone(), self.hands.wan.clone());
        tokio::spawn(async move {
            let _ = done.send(links::measure(&cluster, &supervisor, &admin, &wan).await);
        });
    }

    fn handle_event(&self, event: &NodeEvent, is_ready: bool, shown: &mut BTreeMap<NodeId, Health>) {
        let node = subject(event);
        match event {
            NodeEvent::Ready { pid, .. } => {
                if let Some(plan) = self.cluster.node(node) {
                    self.plane.node_started(node, *pid, addresses(plan));
                }
                self.show(node, Health::Suspect, shown);
                if node.role() == Role::Router {
                    let (hands, router) = (Arc::clone(&self.hands), node.clone());
                    tokio::spawn(async move { hands.open_line(&router).await });
                }
            }
            NodeEvent::Exited { how, .. } => {
                shown.remove(node);
                self.plane.node_exited(node, how);
            }
            NodeEvent::Failed { why, .. } => self.plane.node_exited(node, why),
        }
        if is_ready || !matches!(event, NodeEvent::Ready { .. }) {
            let _ = self.ready.send(Told::Event(in_words(event)));
        }
    }

    fn show(&self, node: &NodeId, health: Health, shown: &mut BTreeMap<NodeId, Health>) {
        if shown.insert(node.clone(), health) != Some(health) {
            self.plane.node_health(node, health);
        }
    }

    /// Asks every node how it is, and the routers how they see the edges.
    async fn look(&self, settled: bool, misses: &mut BTreeMap<NodeId, u32>, shown: &mut BTreeMap<NodeId, Health>) {
        let running = self.supervisor.running();
        let edges_seen = self.edges_seen().await;
        let answers = join_all(running.iter().map(async |node| {
            if self.supervisor.is_paused(node) {
                return false;
            }
            let asked = self.admin.text(&self.cluster, node, "/health", &[]);
            matches!(tokio::time::timeout(LOOK_TIMEOUT, asked).await, Ok(Ok(_)))
        }))
        .await;
        for (node, answered) in running.iter().zip(answers) {
            if !self.supervisor.is_running(node) {
                continue;
            }
            let missed = misses.entry(node.clone()).or_default();
            *missed = if answered { 0 } else { *missed + 1 };
            let own = match *missed {
                0 => Health::Up,
                missed if missed < DOWN_AFTER => Health::Suspect,
                _ => Health::Down,
            };
            let routed = match (node.role(), agreed(settled, &edges_seen, node)) {
                (Role::Edge, Some(routed)) => routed,
                // Without a router nobody's health checks run; the edge's own answer counts once the world is up.
                (Role::Edge, None) if !settled => Health::Suspect,
                _ => Health::Up,
            };
            let worse = if rank(own) >= rank(routed) { own } else { routed };
            self.show(node, worse, shown);
        }
        for plan in self.cluster.nodes.iter().filter(|plan| plan.is_app) {
            let Some(origin) = self.cluster.origins.get(plan.id.name()) else { continue };
            let connected = tokio::time::timeout(LOOK_TIMEOUT, TcpStream::connect(origin.address)).await;
            let health = if matches!(connected, Ok(Ok(_))) { Health::Up } else { Health::Down };
            self.show(&plan.id, health, shown);
        }
    }

    /// How each router that answers sees the edges.
    async fn edges_seen(&self) -> Vec<BTreeMap<String, String>> {
        let routers = self.cluster.nodes_with(Role::Router).map(|plan| &plan.id);
        let routers = routers.filter(|router| self.supervisor.can_hear(router));
        let seen = join_all(routers.map(async |router| {
            let asked = self.admin.text(&self.cluster, router, "/edges", &[]);
            let text = tokio::time::timeout(LOOK_TIMEOUT, asked).await.ok()?.ok()?;
            let seen: Vec<EdgeSeen> = serde_json::from_str(&text).ok()?;
            Some(seen.into_iter().map(|edge| (edge.node, edge.health)).collect())
        }));
        seen.await.into_iter().flatten().collect()
    }
}

/// What the routers make of an edge: until the world is up the worst that any of them says, because each must have seen
/// it; then the worst on which more than half of them agree, because one may be cut off.
fn agreed(settled: bool, seen: &[BTreeMap<String, String>], edge: &NodeId) -> Option<Health> {
    let of = |seen: &BTreeMap<String, String>| match seen.get(&edge.to_string()).map(String::as_str) {
        Some("up") => Health::Up,
        Some("down") => Health::Down,
        _ => Health::Suspect,
    };
    let mut all: Vec<Health> = seen.iter().map(of).collect();
    all.sort_by_key(|&health| rank(health));
    let at = if settled { all.len().checked_sub(1)? / 2 } else { all.len().checked_sub(1)? };
    all.get(at).copied()
}

fn interval(span: Duration) -> Interval {
    let mut interval = tokio::time::interval(span);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

const fn rank(health: Health) -> u8 {
    match health {
        Health::Up => 0,
        Health::Draining => 1,
        Health::Suspect => 2,
        Health::Down => 3,
        Health::Stopped => 4,
    }
}

/// What a world did in its life, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) errors: u64,
    pub(crate) origin_requests: u64,
    pub(crate) dns_queries: u64,
}

/// Adds up the counters of every node that runs.
pub(crate) async fn totals(cluster: &Cluster, supervisor: &Supervisor, hands: &RootHands) -> Totals {
    let nodes: Vec<NodeId> =
        cluster.nodes.iter().map(|plan| plan.id.clone()).filter(|node| supervisor.can_hear(node)).collect();
    let texts = join_all(nodes.iter().map(|node| async {
        let text = tokio::time::timeout(LOOK_TIMEOUT, hands.metrics(node)).await;
        (node.role(), text.ok().and_then(Result::ok).unwrap_or_default())
    }))
    .await;
    let mut totals = Totals::default();
    for (role, text) in texts {
        let sum = |counters: &[Counter]| -> u64 {
            let names: Vec<String> = counters::ROWS
                .iter()
                .filter(|row| counters.contains(&row.counter))
                .map(|row| format!("iso_{}", row.name))
                .collect();
            text.lines()
                .filter(|line| {
                    names
                        .iter()
                        .any(|name| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(['{', ' '])))
                })
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .map(|value| value as u64)
                .sum()
        };
        match role {
            Role::Edge => {
                totals.requests += sum(&[Counter::EdgeRequests]);
                totals.hits += sum(&[Counter::EdgeHits, Counter::EdgeRefreshHits]);
                totals.errors += sum(&[Counter::EdgeErrors]);
            }
            Role::Origin => totals.origin_requests += sum(&[Counter::OriginRequests]),
            Role::Router => {
                totals.dns_queries +=
                    sum(&[Counter::RouterDnsQueriesUdp, Counter::RouterDnsQueriesTcp, Counter::RouterDnsQueriesHttps]);
            }
            Role::Regional | Role::Shield | Role::Viewer => {}
        }
    }
    totals
}
