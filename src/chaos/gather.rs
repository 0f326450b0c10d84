//! What a live world does beside its users' requests: what routers think of edges, and what nodes count.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cdn_core::{Counter, NodeId, Role};
use futures_util::future::join_all;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use world::{Directory, EventKind, Member, scenario::Scenario};

use crate::{cluster::Cluster, hands::Admin, node::wire::EdgeSeen};

/// How often routers are asked what they think.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);
/// How often nodes are asked what they count; begins with time zero, so that a count belongs to one second.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);
/// A look begins so long before its second is over: about as long as all nodes take to answer.
const LOOK_LEAD: Duration = Duration::from_millis(4);
/// A node that has not answered by then is left out this time.
const PATIENCE: Duration = Duration::from_millis(700);

/// Something that happened, with the moment.
pub(super) type News = (Instant, EventKind);

/// All places of the world, by the atlas's own index, and the nodes of `cluster`.
pub(super) fn directory(cluster: &Cluster) -> Directory {
    let nodes = cluster.nodes.iter().map(|plan| Member { id: plan.id.clone(), pop: plan.pop });
    Directory::new(cluster.world.atlas().places().cloned().collect(), nodes.collect())
}

/// Tells whenever a router changes its mind about an edge, until nobody listens.
pub(super) async fn watch_health(
    cluster: Arc<Cluster>,
    admin: Admin,
    directory: Arc<Directory>,
    news: mpsc::Sender<News>,
) {
    let routers: Vec<NodeId> = cluster.nodes_with(Role::Router).map(|plan| plan.id.clone()).collect();
    let mut known: BTreeMap<(u32, u32), bool> = BTreeMap::new();
    let mut tick = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        tick.tick().await;
        let asked = join_all(routers.iter().map(async |router| {
            let text = tokio::time::timeout(PATIENCE, admin.text(&cluster, router, "/edges", &[])).await.ok()?.ok()?;
            Some((directory.index_of(router)?, serde_json::from_str::<Vec<EdgeSeen>>(&text).ok()?))
        }));
        for (by, edges) in asked.await.into_iter().flatten() {
            for edge in edges {
                let Some(node) = edge.node.parse().ok().and_then(|id| directory.index_of(&id)) else { continue };
                let is_down = edge.health == "down";
                let was_down = known.insert((by, node), is_down).unwrap_or(false);
                let kind = match (was_down, is_down) {
                    (false, true) => EventKind::Detected { node, by },
                    (true, false) => EventKind::Recovered { node, by },
                    _ => continue,
                };
                if news.send((Instant::now(), kind)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads what nodes count, each second from `zero` on, until nobody listens.
pub(super) struct Meters {
    cluster: Arc<Cluster>,
    admin: Admin,
    directory: Arc<Directory>,
    /// What the verdict needs.
    wanted: Vec<Counter>,
    last: BTreeMap<(u32, Counter), u64>,
}

impl Meters {
    pub(super) fn new(cluster: Arc<Cluster>, admin: Admin, directory: Arc<Directory>, scenario: &Scenario) -> Self {
        let wanted = scenario.counters().into_iter().collect();
        Self { cluster, admin, directory, wanted, last: BTreeMap::new() }
    }

    /// `over` says that nothing more comes: then there is a last look, at what came after the last whole second.
    pub(super) async fn run(mut self, zero: Instant, news: mpsc::Sender<News>, over: CancellationToken) {
        // The first look is at what there was before.
        tokio::time::sleep_until(zero - LOOK_LEAD).await;
        self.look(zero - LOOK_LEAD, &news).await;
        let mut due = zero;
        loop {
            due += METRICS_INTERVAL;
            let is_over = over.run_until_cancelled(tokio::time::sleep_until(due - LOOK_LEAD)).await.is_none();
            // What was counted belongs to the second that is over.
            let at = if is_over { Instant::now() } else { due - Duration::from_millis(1) };
            if !self.look(at, &news).await || is_over {
                return;
            }
        }
    }

    /// One look at all nodes; false where nobody listens any more.
    async fn look(&mut self, at: Instant, news: &mpsc::Sender<News>) -> bool {
        let roles = [Role::Edge, Role::Regional, Role::Shield, Role::Origin];
        let nodes = self.cluster.nodes.iter().filter(|plan| !plan.is_app);
        let nodes = nodes.filter(|plan| roles.contains(&plan.id.role()) || !self.wanted.is_empty());
        let texts = join_all(nodes.map(async |plan| {
            let asked = self.admin.text(&self.cluster, &plan.id, "/metrics", &[]);
            let text = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
            Some((plan.id.clone(), text))
        }))
        .await;
        let mut kinds = Vec::new();
        for (id, text) in texts.into_iter().flatten() {
            let Some(node) = self.directory.index_of(&id) else { continue };
            for counter in &self.wanted {
                if let Some(value) = value_of(&text, *counter) {
                    kinds.push(EventKind::Counter { node, counter: *counter, value });
                }
            }
            if id.role() == Role::Origin {
                let count = self.grown(node, Counter::OriginRequests, &text);
                kinds.extend((count > 0).then_some(EventKind::OriginRequests { origin: node, count }));
            } else {
                let count = self.grown(node, Counter::EdgeFailovers, &text);
                kinds.extend((count > 0).then_some(EventKind::FailedOver { node, count }));
            }
        }
        for kind in kinds {
            if news.send((at, kind)).await.is_err() {
                return false;
            }
        }
        !news.is_closed()
    }

    /// By how much a counter of a node has grown since the last look. A node that was started anew counts from zero.
    fn grown(&mut self, node: u32, counter: Counter, text: &str) -> u64 {
        let Some(value) = value_of(text, counter) else { return 0 };
        let last = self.last.insert((node, counter), value);
        match last {
            Some(last) => value.checked_sub(last).unwrap_or(value),
            // Before the first look nobody was watching.
            None => 0,
        }
    }
}

/// The value of a counter in Prometheus' text format.
fn value_of(text: &str, counter: Counter) -> Option<u64> {
    let name = counter.row().name;
    let line = text.lines().find(|line| {
        line.strip_prefix("iso_")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    })?;
    let value = line.rsplit_once(' ')?.1.parse::<f64>().ok()?;
    Some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_whole_name() {
        let text = "# TYPE iso_origin_requests_total counter\niso_origin_requests_total_by{node=\"a\"} 3\n\
                    iso_origin_requests_total{node=\"origin.a\"} 17\n";
        assert_eq!(value_of(text, Counter::OriginRequests), Some(17));
        assert_eq!(value_of(text, Counter::EdgeFailovers), None);
    }
}
