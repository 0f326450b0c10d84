//! What the control plane decides, done: signals to processes, words to admin ports, bytes through links.
//!
//! Two ways lead to a node. Faults, questions and metrics are the hand of whoever plays with the world, and take no
//! time; drains and invalidations are the CDN's own traffic, and pay the way from where the control plane stands.

mod explain;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cdn_core::{NodeId, PopCode, Role};
use control_plane::{
    DescribedPolicy, Hands, HandsError, HandsFuture, KeyGroups, LinkFault, LogsWanted, NodeFault, Policies,
    ask::{DigAsk, RequestAsk, RouteAsk},
    wire::{LinksReport, LogLine, StoreStats},
};
use futures_util::{
    StreamExt as _,
    future::join_all,
    stream::{self, BoxStream},
};
use http_body_util::Full;
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use wan::Wan;

use crate::{
    cloudfront::{self, Refusal},
    cluster::{Cluster, Inputs, NodePlan, with_key_groups},
    cluster_file::ClusterFile,
    lines::Lines,
    links,
    node::wire::{ConfigureAsk, DrainedAsk, FaultSet, InvalidateAsk, LinkWire, NodeWire, PoliciesAsk},
    state::WorldDir,
    supervisor::{ProcessError, Supervisor},
};

/// Everything the control plane may do to a world.
pub(crate) struct RootHands {
    pub(crate) cluster: Arc<Cluster>,
    /// The world as written, and what was found out around it.
    written: (ClusterFile, Inputs),
    pub(crate) supervisor: Supervisor,
    pub(crate) admin: Admin,
    /// Links from where the control plane stands.
    pub(crate) wan: Wan,
    /// Ends the world.
    pub(crate) stop: CancellationToken,
    /// Where disk tiers stand.
    dir: WorldDir,
    desired: Mutex<Desired>,
}

/// What nodes must be told again when they come back.
#[derive(Clone, Debug, Default)]
struct Desired {
    faults: FaultSet,
    /// Whether there ever was a fault.
    was_broken: bool,
    drained: Vec<String>,
    /// What is switched while the world runs; what stands in the cluster file every router knows.
    policies: Option<PoliciesAsk>,
    /// Likewise.
    key_groups: Option<KeyGroups>,
    /// What caches serve that do not serve what they were started with.
    configs: BTreeMap<NodeId, Value>,
}

impl RootHands {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        written: (ClusterFile, Inputs),
        supervisor: Supervisor,
        admin: Admin,
        wan: Wan,
        stop: CancellationToken,
        dir: WorldDir,
    ) -> Self {
        Self { cluster, written, supervisor, admin, wan, stop, dir, desired: Mutex::default() }
    }

    /// What a cache is told to serve.
    fn configure_ask(&self, config: Option<&Value>) -> Result<ConfigureAsk, HandsError> {
        let file = config.map(ClusterFile::deserialize).transpose();
        let file = file.map_err(|error| HandsError::Invalid(format!("this is no cluster file: {error}")))?;
        Ok(ConfigureAsk { file, key_groups: self.desired(|desired| desired.key_groups.clone()) })
    }

    /// The world as its caches serve it where they serve as `config` says.
    fn world_of(&self, config: Option<&Value>) -> Result<(ClusterFile, Inputs), HandsError> {
        let ConfigureAsk { file, key_groups } = self.configure_ask(config)?;
        let (written, mut inputs) = self.written.clone();
        let mut file = file.unwrap_or(written);
        if let Some(groups) = &key_groups {
            with_key_groups(&mut file, &mut inputs, groups);
        }
        Ok((file, inputs))
    }

    /// Tells a node that was away what holds at the moment.
    async fn brief(&self, node: &NodeId) {
        let Desired { faults, drained, policies, key_groups, configs, .. } = self.desired(|desired| desired.clone());
        if let Err(error) = self.admin.tell(&self.cluster, node, "/faults", &faults).await {
            tracing::warn!(%node, %error, "could not be told the active faults");
        }
        if node.role() == Role::Router
            && let Err(error) = self.admin.tell(&self.cluster, node, "/drained", &DrainedAsk { pops: drained }).await
        {
            tracing::warn!(%node, %error, "could not be told the drained PoPs");
        }
        if node.role() == Role::Router
            && let Some(policies) = policies
            && let Err(error) = self.admin.tell(&self.cluster, node, "/policies", &policies).await
        {
            tracing::warn!(%node, %error, "could not be told the routing policies");
        }
        if let Some(config) = configs.get(node) {
            let told = match self.configure_ask(Some(config)) {
                Ok(ask) => self.admin.tell(&self.cluster, node, "/config", &ask).await.map(drop),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = told {
                tracing::warn!(%node, %error, "could not be told its configuration");
            }
        }
        if node.role() == Role::Edge
            && let Some(groups) = key_groups
            && let Err(error) = self.admin.tell(&self.cluster, node, "/key-groups", &groups).await
        {
            tracing::warn!(%node, %error, "could not be told the key groups");
        }
    }

    fn desired<T>(&self, change: impl FnOnce(&mut Desired) -> T) -> T {
        change(&mut self.desired.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens the line to a router that has just started, so that the first drain need not wait for it.
    pub(crate) async fn open_line(&self, router: &NodeId) {
        if let Err(error) = self.admin.open_line(&self.wan, &self.cluster, router).await {
            tracing::debug!(%router, %error, "no line to the router yet");
        }
    }

    /// Every node that can hear.
    fn listeners(&self) -> Vec<NodeId> {
        self.supervisor.running().into_iter().filter(|node| self.supervisor.can_hear(node)).collect()
    }

    async fn spread_faults(&self) -> Result<(), HandsError> {
        let faults = self.desired(|desired| {
            desired.was_broken |= desired.faults != FaultSet::default();
            desired.was_broken.then(|| desired.faults.clone())
        });
        // A world in which nothing ever was wrong need not be told so.
        let Some(faults) = faults else { return Ok(()) };
        links::apply_faults(&self.wan, &self.cluster, &faults);
        let told = self.listeners();
        let results = join_all(told.iter().map(|node| self.admin.tell(&self.cluster, node, "/faults", &faults))).await;
        for (node, result) in told.iter().zip(results) {
            // A node that died meanwhile is told when it comes back.
            if let Err(error) = result
                && self.supervisor.can_hear(node)
            {
                return Err(HandsError::Failed(format!("{node} did not take the fault: {error}")));
            }
        }
        Ok(())
    }

    /// Has every edge read its certificates again. One that does not run reads them when it starts.
    pub(crate) async fn spread_certificates(&self) {
        let speaks_https = |node: &&NodeId| match node.role() {
            Role::Edge => self.cluster.edge.https,
            Role::Origin => self.cluster.https_origins().any(|(id, _)| id == node.name()),
            _ => false,
        };
        for node in self.listeners().iter().filter(speaks_https) {
            if let Err(error) = self.admin.tell(&self.cluster, node, "/certificates", &Value::Null).await {
                tracing::warn!(%node, %error, "could not be told of new certificates");
            }
        }
    }

    /// Puts a document to every router that can hear, over the network of the world.
    async fn tell_routers(&self, path: &str, ask: &impl Serialize) -> Result<(), HandsError> {
        let routers = self.cluster.nodes_with(Role::Router).map(|plan| &plan.id);
        let routers = routers.filter(|router| self.supervisor.can_hear(router));
        let told = join_all(routers.map(async |router| {
            match self.admin.tell_on_line(&self.wan, &self.cluster, router, path, ask).await {
                // A router that died meanwhile is told when it comes back.
                Err(error) if self.supervisor.can_hear(router) => Err(HandsError::Failed(format!("{router}: {error}"))),
                _ => Ok(()),
            }
        }));
        told.await.into_iter().collect()
    }

    fn process(&self, node: &NodeId, result: Result<(), ProcessError>) -> Result<(), HandsError> {
        result.map_err(|error| match error {
            ProcessError::Unknown if self.cluster.node(node).is_some_and(|plan| plan.is_app) => HandsError::Conflict(
                format!("{node} is your own app, so its process is yours; try `iso fault {} --refuse`", node.name()),
            ),
            ProcessError::Unknown => {
                HandsError::NotFound { what: format!("there is no node {node}"), did_you_mean: Vec::new() }
            }
            ProcessError::NotRunning => HandsError::NotRunning(node.to_string()),
            ProcessError::Running => HandsError::Conflict(format!("{node} runs already")),
        })
    }

    async fn ask_cache(
        &self,
        node: &NodeId,
        question: &str,
        distribution: Option<&str>,
        path: &str,
    ) -> Result<Value, HandsError> {
        if !self.supervisor.is_running(node) {
            return Err(HandsError::NotRunning(node.to_string()));
        }
        let query = [("path", Some(path.to_owned())), ("distribution", distribution.map(str::to_owned))];
        self.admin.question(&self.cluster, node, question, &query).await
    }

    /// The first node of `role` that can answer.
    fn the(&self, role: Role) -> Result<NodeId, HandsError> {
        let nodes = || self.cluster.nodes_with(role).map(|plan| plan.id.clone());
        let can_answer = |node: &NodeId| self.supervisor.can_hear(node);
        nodes().find(can_answer).or_else(|| nodes().find(|node| self.supervisor.is_running(node))).ok_or_else(|| {
            match nodes().next() {
                Some(first) => HandsError::NotRunning(first.to_string()),
                None => HandsError::Failed(format!("this world has no {role}")),
            }
        })
    }
}

impl Hands for RootHands {
    fn kill<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        Box::pin(async move { self.process(node, self.supervisor.kill(node)) })
    }

    fn start<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        Box::pin(async move { self.process(node, self.supervisor.start(node)) })
    }

    fn pause<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        Box::pin(async move { self.process(node, self.supervisor.pause(node)) })
    }

    fn resume<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, ()> {
        Box::pin(async move {
            self.process(node, self.supervisor.resume(node))?;
            self.brief(node).await;
            Ok(())
        })
    }

    fn apply_link_faults<'a>(&'a self, faults: &'a [LinkFault]) -> HandsFuture<'a, ()> {
        self.desired(|desired| desired.faults.links = faults.iter().map(LinkWire::from).collect());
        Box::pin(self.spread_faults())
    }

    fn apply_node_faults<'a>(&'a self, faults: &'a [NodeFault]) -> HandsFuture<'a, ()> {
        self.desired(|desired| desired.faults.nodes = faults.iter().map(NodeWire::from).collect());
        Box::pin(self.spread_faults())
    }

    fn set_drained<'a>(&'a self, pops: &'a [PopCode]) -> HandsFuture<'a, ()> {
        let pops: Vec<String> = pops.iter().map(ToString::to_string).collect();
        self.desired(|desired| desired.drained.clone_from(&pops));
        Box::pin(async move { self.tell_routers("/drained", &DrainedAsk { pops }).await })
    }

    fn set_policies<'a>(&'a self, policies: &'a Policies) -> HandsFuture<'a, ()> {
        let ask = PoliciesAsk::from(policies);
        self.desired(|desired| desired.policies = Some(ask.clone()));
        Box::pin(async move { self.tell_routers("/policies", &ask).await })
    }

    fn set_key_groups<'a>(&'a self, groups: &'a KeyGroups) -> HandsFuture<'a, ()> {
        self.desired(|desired| desired.key_groups = Some(groups.clone()));
        Box::pin(async move {
            let listeners = self.listeners();
            let edges = listeners.iter().filter(|node| node.role() == Role::Edge);
            let told = join_all(edges.map(async |edge| {
                match self.admin.tell_over(&self.wan, &self.cluster, edge, "/key-groups", groups).await {
                    // An edge that died meanwhile is told when it comes back.
                    Err(error) if self.supervisor.can_hear(edge) => Err(HandsError::Failed(format!("{edge}: {error}"))),
                    _ => Ok(()),
                }
            }));
            told.await.into_iter().collect()
        })
    }

    fn configure<'a>(&'a self, node: &'a NodeId, config: Option<&'a Value>) -> HandsFuture<'a, ()> {
        Box::pin(async move {
            if self.supervisor.can_hear(node) {
                let ask = self.configure_ask(config)?;
                let told = self.admin.tell_over(&self.wan, &self.cluster, node, "/config", &ask).await;
                told.map_err(HandsError::Failed)?;
            }
            self.desired(|desired| match config {
                Some(config) => drop(desired.configs.insert(node.clone(), config.clone())),
                None => drop(desired.configs.remove(node)),
            });
            Ok(())
        })
    }

    fn distributions<'a>(&'a self, config: Option<&'a Value>) -> HandsFuture<'a, BTreeMap<String, Value>> {
        Box::pin(async move {
            let (file, inputs) = self.world_of(config)?;
            let running = Arc::clone(&self.cluster);
            beside(move || {
                let cluster = running.reconfigured(&file, &inputs).map_err(HandsError::Invalid)?;
                Ok(cloudfront::described(&file, &cluster).collect())
            })
            .await
        })
    }

    fn policies<'a>(&'a self, config: Option<&'a Value>) -> HandsFuture<'a, Vec<DescribedPolicy>> {
        Box::pin(async move {
            let (file, _) = self.world_of(config)?;
            cloudfront::all_policies(&file).map_err(|error| HandsError::Invalid(error.to_string()))
        })
    }

    fn update_distribution<'a>(
        &'a self,
        config: Option<&'a Value>,
        distribution: &'a str,
        wanted: &'a str,
    ) -> HandsFuture<'a, Value> {
        Box::pin(async move {
            let (file, inputs) = self.world_of(config)?;
            let running = Arc::clone(&self.cluster);
            let (id, wanted) = (distribution.to_owned(), wanted.to_owned());
            beside(move || {
                let changed = cloudfront::update(&running, &file, &inputs, &id, &wanted);
                let changed = changed.map_err(|Refusal { code, message, path, .. }| HandsError::Refused {
                    // The other code is for what clients refuse by themselves.
                    code: if code == "ParamValidation" { "InvalidArgument" } else { code },
                    message: if path.is_empty() { message } else { format!("{message} ({path})") },
                })?;
                serde_json::to_value(&changed).map_err(|error| HandsError::Failed(error.to_string()))
            })
            .await
        })
    }

    fn invalidate<'a>(
        &'a self,
        node: &'a NodeId,
        distribution: Option<&'a str>,
        patterns: &'a [String],
    ) -> HandsFuture<'a, u64> {
        Box::pin(async move {
            if !self.supervisor.is_running(node) {
                // Its memory went with it. What lies on its disk would come back, and nobody could tell it then.
                if self.cluster.has_disk(node) {
                    let emptied = edge_node::empty_disk(&self.dir.disk(node));
                    emptied.map_err(|error| HandsError::Failed(format!("the disk tier of {node}: {error}")))?;
                }
                return Err(HandsError::NotRunning(node.to_string()));
            }
            let ask = InvalidateAsk { distribution: distribution.map(str::to_owned), patterns: patterns.to_vec() };
            let told = self.admin.tell_over(&self.wan, &self.cluster, node, "/invalidate", &ask);
            let text = told.await.map_err(HandsError::Failed)?;
            text.trim().parse().map_err(|_| HandsError::Failed(format!("{node} answered {text:?}")))
        })
    }

    fn metrics<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, String> {
        Box::pin(async move {
            if !self.supervisor.is_running(node) {
                return Err(HandsError::NotRunning(node.to_string()));
            }
            self.admin.text(&self.cluster, node, "/metrics", &[]).await.map_err(HandsError::Failed)
        })
    }

    fn explain_route<'a>(&'a self, ask: &'a RouteAsk) -> HandsFuture<'a, Value> {
        Box::pin(async move {
            let router = self.the(Role::Router)?;
            let query = [
                ("from", Some(ask.from.clone())),
                ("name", ask.name.clone()),
                ("resolver", ask.resolver.clone()),
                ("ecs", ask.ecs.map(|ecs| ecs.to_string())),
                ("drain", ask.drain.clone()),
            ];
            let explanation = self.admin.question(&self.cluster, &router, "/explain", &query).await?;
            Ok(said_by(&router, explanation))
        })
    }

    fn explain_request<'a>(&'a self, ask: &'a RequestAsk) -> HandsFuture<'a, Value> {
        Box::pin(self.explain(ask))
    }

    fn replay_route<'a>(&'a self, decision: &'a str) -> HandsFuture<'a, Value> {
        Box::pin(async move {
            // An id begins with the name of the router that decided; the world's first knows what to say of others.
            let decided =
                |router: &&NodePlan| decision.strip_prefix(router.id.name()).is_some_and(|rest| rest.starts_with('-'));
            let router = match self.cluster.nodes_with(Role::Router).find(decided) {
                Some(plan) if self.supervisor.is_running(&plan.id) => plan.id.clone(),
                Some(plan) => return Err(HandsError::NotRunning(plan.id.to_string())),
                None => self.the(Role::Router)?,
            };
            let id = [("id", Some(decision.to_owned()))];
            Ok(said_by(&router, self.admin.question(&self.cluster, &router, "/replay", &id).await?))
        })
    }

    fn cache_where<'a>(
        &'a self,
        node: &'a NodeId,
        distribution: Option<&'a str>,
        path: &'a str,
    ) -> HandsFuture<'a, Value> {
        Box::pin(self.ask_cache(node, "/cache", distribution, path))
    }

    fn cache_show<'a>(
        &'a self,
        node: &'a NodeId,
        distribution: Option<&'a str>,
        path: &'a str,
    ) -> HandsFuture<'a, Value> {
        Box::pin(self.ask_cache(node, "/cache/show", distribution, path))
    }

    fn cache_stats<'a>(&'a self, node: &'a NodeId) -> HandsFuture<'a, StoreStats> {
        Box::pin(async move {
            if !self.supervisor.is_running(node) {
                return Err(HandsError::NotRunning(node.to_string()));
            }
            let stats = self.admin.question(&self.cluster, node, "/cache/stats", &[]).await?;
            serde_json::from_value(stats).map_err(|error| HandsError::Failed(error.to_string()))
        })
    }

    fn ledger<'a>(&'a self, id: &'a str) -> HandsFuture<'a, Value> {
        Box::pin(async move {
            let viewer = self.the(Role::Viewer)?;
            self.admin.question(&self.cluster, &viewer, "/ledger", &[("id", Some(id.to_owned()))]).await
        })
    }

    fn dig<'a>(&'a self, ask: &'a DigAsk) -> HandsFuture<'a, Value> {
        Box::pin(async move {
            let viewer = self.the(Role::Viewer)?;
            let query = [
                ("from", Some(ask.from.clone())),
                ("name", Some(ask.name.clone())),
                ("type", ask.record_type.clone()),
                ("resolver", ask.resolver.clone()),
                ("ecs", ask.ecs.map(|ecs| ecs.to_string())),
            ];
            self.admin.question(&self.cluster, &viewer, "/dig", &query).await
        })
    }

    fn logs(&self, wanted: LogsWanted) -> HandsFuture<'_, BoxStream<'static, LogLine>> {
        Box::pin(async move {
            let names: Vec<String> = wanted.nodes.iter().map(ToString::to_string).collect();
            let realtime = wanted.realtime;
            if let Some(id) = realtime.as_ref().filter(|id| !self.cluster.realtime_logs.contains_key(*id)) {
                let what = format!("{id:?} is no distribution with a real-time log ([log.realtime.ID])");
                return Err(HandsError::NotFound { what, did_you_mean: Vec::new() });
            }
            // Of a real-time log there is no past.
            let follow = (wanted.follow || realtime.is_some()).then(|| self.supervisor.log_follow());
            let all = if realtime.is_some() { Vec::new() } else { self.supervisor.log_tail(None, usize::MAX) };
            let chosen: Vec<_> = all.into_iter().filter(|line| names.contains(&line.node)).collect();
            let skip = chosen.len().saturating_sub(wanted.tail as usize);
            let past = stream::iter(chosen.into_iter().skip(skip));
            let future = stream::unfold(follow, |follow| async {
                let mut follow = follow?;
                loop {
                    match follow.recv().await {
                        Ok(line) => return Some((line, Some(follow))),
                        // A follower that cannot keep up misses lines rather than holding up the node.
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return None,
                    }
                }
            });
            let lines = past
                .chain(future.filter(move |line| {
                    let wanted = names.contains(&line.node) && line.realtime == realtime;
                    async move { wanted }
                }))
                .map(|line| LogLine { node: line.node, text: line.text });
            Ok(lines.boxed())
        })
    }

    fn measure_links(&self) -> HandsFuture<'_, LinksReport> {
        Box::pin(async move { Ok(links::measure(&self.cluster, &self.supervisor, &self.admin, &self.wan).await) })
    }

    fn shutdown(&self) -> HandsFuture<'_, ()> {
        self.stop.cancel();
        Box::pin(async { Ok(()) })
    }
}

/// Does what takes a while on a thread beside the one that watches processes and answers requests.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HandsError> + Send + 'static,
) -> Result<T, HandsError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(HandsError::Failed(error.to_string())))
}

/// A decision, with the router that made it.
fn said_by(router: &NodeId, mut decision: Value) -> Value {
    decision["router"] = Value::String(router.to_string());
    decision
}

/// The way to admin ports.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    client: reqwest::Client,
    token: String,
    /// Lines through the world's links, from where the control plane stands.
    lines: Arc<Lines>,
}

/// How long an admin port may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an exchange through the links may take: longer than a handshake and an exchange between any two sites with
/// a second of extra delay each way.
const OVER_TIMEOUT: Duration = Duration::from_secs(5);

impl Admin {
    /// A client that shows `token`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub(crate) fn new(token: String) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { client, token, lines: Arc::default() })
    }

    /// Puts a document, in no time.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn tell(
        &self,
        cluster: &Cluster,
        node: &NodeId,
        path: &str,
        document: &impl Serialize,
    ) -> Result<String, String> {
        let url = format!("http://{}{path}", address(cluster, node)?);
        let request = self.client.put(url).bearer_auth(&self.token).timeout(ADMIN_TIMEOUT).json(document);
        finish(request).await
    }

    /// Asks for a text, in no time.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn text(
        &self,
        cluster: &Cluster,
        node: &NodeId,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<String, String> {
        let url = format!("http://{}{path}", address(cluster, node)?);
        let query: BTreeMap<&str, &str> =
            query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        finish(self.client.get(url).query(&query).bearer_auth(&self.token).timeout(ADMIN_TIMEOUT)).await
    }

    /// Asks for a document with a longer deadline.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        cluster: &Cluster,
        node: &NodeId,
        path: &str,
        document: &impl Serialize,
        deadline: Duration,
    ) -> Result<T, String> {
        let url = format!("http://{}{path}", address(cluster, node)?);
        let request = self.client.put(url).bearer_auth(&self.token).timeout(deadline).json(document);
        serde_json::from_str(&finish(request).await?).map_err(|error| error.to_string())
    }

    /// Asks a question of a user's; a refusal keeps its meaning.
    async fn question(
        &self,
        cluster: &Cluster,
        node: &NodeId,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<Value, HandsError> {
        let address = address(cluster, node).map_err(HandsError::Failed)?;
        let query: BTreeMap<&str, &str> =
            query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let request = self.client.get(format!("http://{address}{path}")).query(&query).bearer_auth(&self.token);
        // A lookup from far away with a lost packet takes seconds.
        let response = request.timeout(Duration::from_secs(12)).send().await.map_err(|error| {
            if error.is_timeout() { HandsError::TimedOut } else { HandsError::Failed(in_words(&error)) }
        })?;
        let status = response.status();
        let text = response.text().await.map_err(|error| HandsError::Failed(in_words(&error)))?;
        match status.as_u16() {
            200 => serde_json::from_str(&text).map_err(|error| HandsError::Failed(error.to_string())),
            404 => Err(HandsError::NotFound { what: text.trim().to_owned(), did_you_mean: Vec::new() }),
            400 => Err(HandsError::Invalid(text.trim().to_owned())),
            _ => Err(HandsError::Failed(text.trim().to_owned())),
        }
    }

    /// Puts a document through the links of the world, from where the control plane stands, on a connection of its own.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn tell_over(
        &self,
        wan: &Wan,
        cluster: &Cluster,
        node: &NodeId,
        path: &str,
        document: &impl Serialize,
    ) -> Result<String, String> {
        self.tell_through(&Lines::default(), wan, cluster, node, path, document).await
    }

    /// The same on a connection that is kept: half a round trip, and not two.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn tell_on_line(
        &self,
        wan: &Wan,
        cluster: &Cluster,
        node: &NodeId,
        path: &str,
        document: &impl Serialize,
    ) -> Result<String, String> {
        self.tell_through(&self.lines, wan, cluster, node, path, document).await
    }

    /// Opens the line of [`tell_on_line`](Self::tell_on_line).
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn open_line(&self, wan: &Wan, cluster: &Cluster, node: &NodeId) -> Result<(), String> {
        let dialer = wan.dialer(cluster.control.id.clone(), None);
        let opened = self.lines.open(&dialer, node, address(cluster, node)?);
        tokio::time::timeout(OVER_TIMEOUT, opened).await.unwrap_or_else(|_| Err("no answer".into()))
    }

    async fn tell_through(
        &self,
        lines: &Lines,
        wan: &Wan,
        cluster: &Cluster,
        node: &NodeId,
        path: &str,
        document: &impl Serialize,
    ) -> Result<String, String> {
        let address = address(cluster, node)?;
        let dialer = wan.dialer(cluster.control.id.clone(), None);
        let body = serde_json::to_vec(document).map_err(|error| error.to_string())?;
        let request = http::Request::put(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let answered = lines.exchange(&dialer, node, address, request);
        tokio::time::timeout(OVER_TIMEOUT, answered).await.unwrap_or_else(|_| Err("no answer".into()))
    }
}

fn address(cluster: &Cluster, node: &NodeId) -> Result<SocketAddr, String> {
    cluster.node(node).and_then(|plan| plan.addresses.admin).ok_or_else(|| format!("{node} has no admin port"))
}

async fn finish(request: reqwest::RequestBuilder) -> Result<String, String> {
    let response = request.send().await.map_err(|error| in_words(&error))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| in_words(&error))?;
    if status.is_success() { Ok(text) } else { Err(format!("{status}: {}", text.trim())) }
}

fn in_words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    words
}
