//! `iso node ROLE ID`: one node process.
//!
//! Reads its config from stdin, builds the crate that does the work and hands it listeners and a connector that knows
//! the world's links, opens its admin port, says on stdout that it listens, and serves until its stdin ends or SIGTERM comes.

pub(crate) mod admin;
mod cache;
mod edge;
mod explain;
pub(crate) mod load_wire;
mod origin;
mod prefixes;
pub(crate) mod router;
mod viewer;
pub(crate) mod wire;

use std::{
    io::{BufRead as _, Write as _},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    routing::{get, put},
};
use cdn_core::{Counters, NodeId, Role};
use edge_node::{LogFormat, LogWriter};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use wan::Wan;

use crate::{
    args::NodeProcessArgs,
    cluster::{Cluster, Inputs, NodePlan},
    links,
    node::wire::{FaultSet, MeasureAsk, NodeConfig, WayMeasured},
    supervisor::ReadyLine,
    talk::VerbError,
};

/// Runs the node until its parent wants it to end.
///
/// # Errors
/// The config on stdin is not one, or an address is taken.
pub(crate) fn run(args: &NodeProcessArgs) -> Result<(), VerbError> {
    let role: Role = args.role.parse().map_err(|error| VerbError::Usage(format!("{error}")))?;
    let id = NodeId::new(role, &args.id);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the config from stdin")?;
    let config: NodeConfig = serde_json::from_str(&line).map_err(|error| {
        VerbError::Usage(format!("`iso node` reads a checked config on stdin, as `iso up` writes it: {error}"))
    })?;
    drop(line);
    if config.node != id.to_string() {
        return Err(VerbError::Usage(format!("the config on stdin is for {}, not for {id}", config.node)));
    }
    tie_to_parent();
    raise_descriptor_limit();
    let cluster = Cluster::check(&config.file, &config.inputs).map_err(|error| VerbError::Usage(error.to_string()))?;
    let log = log_to_stderr(&cluster.log_level);
    let cluster = Arc::new(cluster);
    let plan = cluster.node(&id).cloned().ok_or_else(|| VerbError::Usage(format!("the config has no node {id}")))?;
    let stop = CancellationToken::new();
    end_with_stdin(stop.clone());
    let idle = log.clone();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(move || idle.flush()).build()?;
    let generation = config.generation();
    let NodeConfig { inputs, token, world, .. } = config;
    let frame = Frame { cluster, plan, inputs, token, stop, world, generation, log: log.clone() };
    let terminated = frame.stop.clone();
    let served = runtime.block_on(async {
        end_with_terminate(terminated)?;
        match role {
            Role::Edge | Role::Regional | Role::Shield => edge::serve(frame).await,
            Role::Router => router::serve(frame).await,
            Role::Origin => origin::serve(frame).await,
            Role::Viewer => viewer::serve(frame).await,
        }
    });
    runtime.shutdown_background();
    log.flush();
    Ok(served?)
}

/// What every node has.
pub(crate) struct Frame {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) plan: NodePlan,
    /// What the file was checked with.
    pub(crate) inputs: Inputs,
    pub(crate) token: String,
    pub(crate) stop: CancellationToken,
    /// The world's name.
    pub(crate) world: String,
    /// What responses mean that were stored in this world; see [`NodeConfig::generation`].
    pub(crate) generation: String,
    /// Where its lines go.
    pub(crate) log: LogWriter,
}

impl Frame {
    /// The node's id as text.
    pub(crate) fn name(&self) -> String {
        self.plan.id.to_string()
    }

    /// The address the node serves, which its plan must have.
    pub(crate) fn http(&self) -> anyhow::Result<SocketAddr> {
        self.plan.addresses.http.with_context(|| format!("{} has no address", self.plan.id))
    }

    /// Opens the admin port and says that the node listens; call once everything else does.
    pub(crate) async fn announce(&self, common: Common, routes: Router) -> anyhow::Result<()> {
        let address = self.plan.addresses.admin.with_context(|| format!("{} has no admin port", self.plan.id))?;
        let listener = admin::listen(address).await?;
        let routes = common.routes(self.log.clone()).merge(routes);
        tokio::spawn(admin::serve(listener, self.token.clone(), routes, self.stop.clone()));
        let line = serde_json::to_string(&ReadyLine { ready: self.name() })?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).context("nobody reads what this node says")?;
        Ok(())
    }
}

/// What the admin port of every node answers.
#[derive(Clone)]
pub(crate) struct Common {
    /// The node's own counters, and the roles whose rows they are.
    pub(crate) counters: Vec<(Arc<Counters>, &'static [&'static str])>,
    /// What else it counts, in Prometheus' text format, each value with the labels that this is given.
    pub(crate) metrics: Arc<dyn Fn(&str) -> String + Send + Sync>,
    /// Links it dials through, if it dials.
    pub(crate) wan: Option<Wan>,
    /// What else happens when faults change.
    pub(crate) on_faults: Arc<dyn Fn(&FaultSet) + Send + Sync>,
    /// Makes its clock go wrong by so many nanoseconds.
    pub(crate) set_clock: Arc<dyn Fn(i64) + Send + Sync>,
    /// The world.
    pub(crate) cluster: Arc<Cluster>,
    /// The node.
    pub(crate) plan: NodePlan,
}

impl Common {
    fn routes(mut self, log: LogWriter) -> Router {
        self.counters.push((Arc::clone(log.counters()), &["log"]));
        Router::new()
            .route("/health", get(async || "up\n"))
            .route("/metrics", get(metrics))
            .route("/faults", put(faults))
            .route("/measure", put(measure))
            .with_state((self, log))
    }
}

async fn metrics(State((common, _)): State<(Common, LogWriter)>) -> String {
    let pop = common.plan.pop.map(|pop| format!(",pop=\"{pop}\"")).unwrap_or_default();
    let labels = format!("node=\"{}\"{pop}", common.plan.id);
    let rows = common.counters.iter().map(|(counters, roles)| counters.prometheus(roles, &labels));
    rows.chain([(common.metrics)(&labels)]).collect()
}

async fn faults(State((common, log)): State<(Common, LogWriter)>, Json(set): Json<FaultSet>) -> &'static str {
    if let Some(wan) = &common.wan {
        links::apply_faults(wan, &common.cluster, &set);
    }
    (common.on_faults)(&set);
    (common.set_clock)(set.clock_of(&common.plan.id));
    log.set_full(set.has_full_logs(&common.plan.id));
    tracing::info!(links = set.links.len(), nodes = set.nodes.len(), "faults applied");
    "ok\n"
}

async fn measure(
    State((common, _)): State<(Common, LogWriter)>,
    Json(ask): Json<MeasureAsk>,
) -> Json<Vec<WayMeasured>> {
    let Some(wan) = &common.wan else { return Json(Vec::new()) };
    let atlas = common.cluster.world.atlas();
    let ways = ask.ways.iter().map(async |way| {
        let from = way.from.as_deref().and_then(|name| atlas.place(name).ok());
        let site = from.map_or_else(|| common.plan.place.id.clone(), |place| place.id.clone());
        links::measure_way(wan, &common.cluster, &site, way.to).await
    });
    Json(futures_util::future::join_all(ways).await)
}

/// Asks the kernel to kill this process when its parent dies, also while it is paused; where that cannot be asked, the
/// end of stdin does it.
pub(crate) fn tie_to_parent() {
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getppid();
        let tied = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        // The parent may have died before this was asked; then the process has another parent by now.
        if tied.is_err() || rustix::process::getppid() != parent {
            tracing::debug!("not tied to the parent process");
        }
    }
}

/// Sockets are this process's business; the soft limit of a shell is too low for thousands of viewers.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A thread that waits for the end of stdin, and then says `stop`.
pub(crate) fn end_with_stdin(stop: CancellationToken) {
    let waits = std::thread::Builder::new().name("stdin".into()).stack_size(64 << 10).spawn({
        let stop = stop.clone();
        move || {
            let mut rest = String::new();
            while std::io::stdin().lock().read_line(&mut rest).is_ok_and(|read| read > 0) {
                rest.clear();
            }
            stop.cancel();
        }
    });
    if waits.is_err() {
        stop.cancel();
    }
}

/// SIGTERM stops the node as the end of its stdin does, so that what it has answered is in its log. Called within its runtime.
fn end_with_terminate(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        stop.cancel();
    });
    Ok(())
}

/// Lines on stderr; those of the access log when the writer is flushed.
fn log_to_stderr(level: &str) -> LogWriter {
    use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let filter = filter_of(level);
    let writer = LogWriter::stderr();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer.clone()).with_ansi(false);
    let lines = lines.event_format(LogFormat::default());
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
    writer
}

/// What is logged at `level`. Of DNS messages that cannot be read hickory would write a line each, so that whoever sends
/// them fills the logs; they are counted.
fn filter_of(level: &str) -> Targets {
    // The cluster was checked, so the text is a filter.
    format!("hickory_proto=off,{level}").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[test]
    fn malformed_messages_write_no_lines() {
        let warns = |filter: &Targets, target| filter.would_enable(target, &tracing::Level::WARN);
        let usual = filter_of("info,access=off");
        assert!(warns(&usual, "router::control") && !warns(&usual, "access"));
        assert!(!warns(&usual, "hickory_proto::rr::rdata::opt"));
        assert_eq!(filter_of("debug").default_level(), Some(LevelFilter::DEBUG));
    }
}
