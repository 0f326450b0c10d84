//! A scenario in virtual time: the checked world as the simulator wants it, and the run.
//!
//! Every setting is that of the node that would run live: what decides is the same code, and it is given the same options.

use std::sync::Arc;

use cdn_core::{Role, routing::Host, store::StoreSettings};
use origin_sim::Rule;
use simulator::{Answers, NodeSpec, OriginAnswer, OriginSpec, Plan, ViewerSpec};
use world::client::RaceOptions;

use super::{
    agree::{Outcome, Watched},
    programs::Started,
    promises::Configured,
    text::Screen,
};
use crate::{
    cluster::{Cluster, OriginKind},
    node,
    parallel::Room,
    scenario::Staged,
    talk::{VerbError, tell},
};

/// Plays a scenario as soon as there is room for it, and says what it came to beside what was seen.
///
/// # Errors
/// It could not start, for one thing because it needs more memory than there ever is, or looks at what is not counted here.
pub(super) fn play(staged: &Staged, room: &Room, screen: &Screen) -> Result<Outcome, VerbError> {
    staged.may_be_virtual()?;
    let mut plan = plan_of(staged)?;
    plan.memory_max = room.all();
    let program = staged.plan.cluster.router.program.as_ref().map(Started::new);
    plan.program = program.as_ref().map(Started::spec);
    let _taken = room.take(simulator::estimate(&plan, &staged.scenario));
    let promises = Configured::of(staged, &staged.plan.cluster);
    let mut watched = Watched::new(&staged.scenario, &plan.directory(), screen).with_promises(promises);
    let (end, ledger) = simulator::run(&plan, &staged.scenario, &mut watched)
        .map_err(|error| VerbError::Failed(anyhow::anyhow!("{error}")))?;
    for (reason, why) in program.map(|program| program.faults()).unwrap_or_default() {
        tell(&format!("program: {reason}: {why}"));
    }
    watched.add_up_to(ledger.check(), end);
    Ok(watched.finish(end))
}

/// The world of a scenario, and the configurations that it goes over to.
fn plan_of(staged: &Staged) -> Result<Plan, VerbError> {
    let cluster = &staged.plan.cluster;
    let mut plan = Plan::new((*cluster.world).clone(), cluster.control.clone());
    for node in &cluster.nodes {
        let parents = cluster.parents_of(node).into_iter();
        let position = |id: &cdn_core::NodeId| cluster.nodes.iter().position(|node| node.id == *id);
        // A router is asked at its port for names, everybody else at that for pages.
        let address = if node.id.role() == Role::Router { node.addresses.dns } else { node.addresses.http };
        plan.nodes.push(NodeSpec {
            id: node.id.clone(),
            pop: node.pop,
            place: node.place.clone(),
            address: address.unwrap_or_else(|| std::net::SocketAddr::from(([0, 0, 0, 0], 0))),
            parents: parents.filter_map(|parent| position(&parent.id)).collect(),
        });
    }
    plan.revisions = vec![cluster.distributions.clone()];
    for file in &staged.revisions {
        let changed =
            Cluster::check(file, &staged.plan.inputs).map_err(|error| VerbError::Failed(anyhow::anyhow!("{error}")))?;
        plan.revisions.push(changed.distributions.clone());
    }
    for (id, origin) in &cluster.origins {
        plan.origins.insert(id.clone(), origin_of(cluster, id, &origin.kind));
    }
    let route = |id: &str| cluster.routing.hosts.iter().find(|host| host.id == id).cloned();
    let hosts = cluster.distributions.iter().map(|distribution| distribution.id());
    plan.hosts = hosts.map(|id| route(id).unwrap_or_else(|| Host::new(id.to_string()))).collect();
    plan.routing = node::router::routing_of(cluster);
    let limits = edge_node::Limits::default();
    plan.store = StoreSettings {
        bytes_max: cluster.edge.cache_bytes,
        object_bytes_max: cluster.edge.object_bytes,
        waiters_max: limits.waiters_max,
        wait_max: limits.wait_max,
        eviction: cluster.edge.eviction,
        admission: cluster.edge.admission,
        admission_keys_max: limits.admission_keys_max,
        ..StoreSettings::default()
    };
    (plan.parent_retry, plan.idle_max) = (limits.parent_retry, limits.origin_idle_max);
    let viewer = viewer::Config::with_default_ports("").limits;
    plan.viewer = ViewerSpec {
        resolver: cluster.viewer.resolver.clone(),
        race: RaceOptions { timeout: viewer.connect_timeout, attempt_delay: viewer.connect_attempt_delay },
        dead_for: viewer.dead_for,
        dns_timeouts: viewer.dns_timeouts,
        beacon_interval: viewer.beacon_interval,
        measure_interval: viewer.measure_interval,
        tls_timeout: viewer.tls_timeout,
    };
    plan.certificate_span = cluster.edge.certificate_span;
    plan.seed = cluster.seed;
    Ok(plan)
}

/// What an origin is in virtual time. A directory and an app of the user's answer as a simulated origin does that nobody
/// has said anything to: what they would say is not known here.
fn origin_of(cluster: &Cluster, id: &str, kind: &OriginKind) -> OriginSpec {
    let limits = origin_sim::Limits::default();
    let (concurrency, queue, rules) = match kind {
        OriginKind::Simulated { concurrency, queue, rules } => (*concurrency, *queue, rules.as_slice()),
        OriginKind::Directory(_) | OriginKind::App(_) => (None, None, &[][..]),
    };
    let rules = rules.iter().filter_map(|(path, query)| Rule::parse(path, query).ok()).collect();
    OriginSpec {
        concurrency: concurrency.unwrap_or(limits.concurrency_max),
        queue: queue.unwrap_or(limits.queue_max),
        finishes_abandoned: false,
        answers: Arc::new(SimulatedAnswers { id: id.to_owned(), seed: cluster.seed, rules }),
    }
}

/// The simulated origin's own answers.
#[derive(Debug)]
struct SimulatedAnswers {
    id: String,
    seed: u64,
    rules: Vec<Rule>,
}

impl Answers for SimulatedAnswers {
    fn answer(&self, path: &str, query: Option<&str>) -> OriginAnswer {
        let origin_sim::Described { status, headers, bytes, delay } =
            origin_sim::describe(&self.id, self.seed, &self.rules, path, query);
        OriginAnswer { status, headers, bytes, delay }
    }
}
