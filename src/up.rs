//! `iso up`: the life of a world, from its ports to its last process.
//!
//! One process runs the supervisor and the control plane; nodes are its children. Readiness is real: every node
//! listens, the router has seen every edge, every link was measured.

mod background;
mod daemon;
mod imported;
mod plan;
mod screen;
mod watch;

use std::{
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cdn_core::NodeId;
use control_plane::{ControlPlane, DistributionInfo, Hands, NodeInfo, Policies, SiteInfo, wire::Addresses};
use data_encoding::HEXLOWER;
use rand::RngExt as _;
use tokio::{net::TcpListener, signal::unix::SignalKind, sync::mpsc};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    background::{Background, ViewerNode, wait_ready, wait_viewer},
    imported::read_import,
    plan::{Plan, check_file, free_ports, paths_mut, pem_of, plan, plan_of, read_beside},
};
use crate::{
    args::{Cli, UpArgs},
    authority,
    cluster::{Cluster, Inputs, NodePlan},
    hands::{Admin, RootHands},
    links,
    node::{self, wire::NodeConfig},
    ports,
    state::{WorldDir, WorldRecord},
    supervisor::{LogOptions, NodeEvent, Supervisor},
    talk::VerbError,
};

/// Runs `iso up`.
///
/// # Errors
/// Wrong configuration, a busy port, a world of this name that runs.
pub(crate) fn run(cli: &Cli, args: &UpArgs) -> Result<(), VerbError> {
    let plan = plan(args)?;
    if args.detach && !args.daemon {
        return daemon::detach(cli, args, &plan);
    }
    if args.wait && !args.daemon {
        return Err(VerbError::Usage("--wait goes with -d; in the foreground `iso up` shows when it is ready".into()));
    }
    let abandoned = CancellationToken::new();
    if args.tied {
        node::end_with_stdin(abandoned.clone());
    }
    // Children must not outlive the thread that started them (see `node::tie_to_parent`), so this one starts them all.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(live(cli, args, plan, &abandoned));
    // With it ends whoever still writes a log.
    drop(runtime);
    if abandoned.is_cancelled() {
        WorldDir::new(&cli.world)?.remove();
    }
    outcome
}

/// Runs the world until somebody wants its end, or nobody is left who wanted the world.
async fn live(cli: &Cli, args: &UpArgs, plan: Plan, abandoned: &CancellationToken) -> Result<(), VerbError> {
    let began = Instant::now();
    let screen = screen::Screen::new(cli, args.daemon);
    let dir = WorldDir::new(&cli.world).map_err(|error| VerbError::Usage(format!("{error:#}")))?;
    let _lock = take(&dir, |text| screen.say(text))?;
    let Plan { file, inputs, cluster, warnings } = plan;
    let cluster = Arc::new(cluster);
    let with_disk = cluster.nodes.iter().filter(|node| cluster.has_disk(&node.id));
    dir.keep_disks(&with_disk.map(|node| &node.id).collect::<Vec<_>>());
    for warning in &warnings {
        screen.say(&format!("warning: {warning}"));
    }
    if cluster.has_certificates() {
        authority::issue_all(&dir, &cluster)?;
    }
    ports::check_free(&cluster.listens_on()).map_err(|error| VerbError::Failed(error.into()))?;
    let control = cluster.ports.control();
    let listener = TcpListener::bind(control).await.with_context(|| format!("cannot listen on {control}"))?;

    let token = random_token();
    let stop = CancellationToken::new();
    let logs = LogOptions {
        dir: dir.logs(),
        bytes_max: file.log.bytes.map_or(8 << 20, |bytes| bytes.0),
        keep: file.log.keep.unwrap_or(2),
        style: cluster.log_style,
    };
    let (supervisor, events) = Supervisor::new(logs);
    let admin = Admin::new(token.clone())?;
    let (wan, _) = links::wan_of(&cluster, "control", None)?;
    let hands = Arc::new(RootHands::new(
        Arc::clone(&cluster),
        (file.clone(), inputs.clone()),
        supervisor.clone(),
        admin.clone(),
        wan,
        stop.clone(),
        dir.clone(),
    ));
    let (plane, handle) = ControlPlane::build(
        control_config(cli, &cluster, &inputs, &token),
        listener,
        Arc::clone(&hands) as Arc<dyn Hands>,
    )
    .context("the control plane cannot start")?;
    let plane_stop = CancellationToken::new();
    let plane_task = tokio::spawn(plane.serve(plane_stop.clone()));
    for plan in cluster.nodes.iter().filter(|plan| !plan.is_app) {
        let config = NodeConfig {
            world: dir.name().to_owned(),
            node: plan.id.to_string(),
            token: token.clone(),
            file: file.clone(),
            inputs: inputs.clone(),
        };
        supervisor.add(plan.id.clone(), serde_json::to_string(&config)?.into());
    }
    dir.write_record(&WorldRecord {
        world: dir.name().to_owned(),
        pid: std::process::id(),
        control,
        token,
        base_port: cluster.ports.base(),
        file,
        inputs,
    })?;

    let (ready, mut is_ready) = mpsc::unbounded_channel();
    let watcher = watch::Watch {
        cluster: Arc::clone(&cluster),
        supervisor: supervisor.clone(),
        admin,
        hands: Arc::clone(&hands),
        plane: handle.clone(),
        ready,
    };
    let watching = tokio::spawn(watcher.run(events));
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut hang_up = tokio::signal::unix::signal(SignalKind::hangup())?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    // A certificate is replaced before it ends, and everybody goes on meanwhile.
    let renewal_span = cluster.edge.certificate_span * 2 / 3;
    let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + renewal_span, renewal_span);
    let mut outcome = Ok(());
    let mut started = false;
    loop {
        tokio::select! {
            told = is_ready.recv() => match told {
                Some(watch::Told::Ready(report)) if !started => {
                    started = true;
                    screen.started(&cluster, &handle.status(), &report.unmeasured, began.elapsed());
                }
                Some(watch::Told::Ready(_)) => {}
                Some(watch::Told::Event(text)) => screen.event(&text),
                Some(watch::Told::CannotStart(why)) => {
                    outcome = Err(VerbError::Failed(anyhow::anyhow!(why)));
                    break;
                }
                None => break,
            },
            _ = tick.tick() => screen.live(&handle.status()),
            _ = renewal.tick(), if cluster.has_certificates() => match authority::issue_all(&dir, &cluster) {
                Ok(()) => hands.spread_certificates().await,
                Err(error) => screen.event(&format!("certificates could not be renewed: {error:#}")),
            },
            _ = interrupt.recv() => {
                outcome = Err(VerbError::Interrupted);
                break;
            }
            _ = terminate.recv() => break,
            // A closed terminal ends what runs in it, and not what was sent to the background.
            _ = hang_up.recv(), if !args.daemon => break,
            () = stop.cancelled() => break,
            () = abandoned.cancelled() => break,
        }
    }
    // From here on a second Ctrl-C (or SIGTERM) ends everything now, and for nobody there is nothing to finish.
    screen.clear();
    let at_once = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = abandoned.cancelled() => {}
        }
    };
    let grace = cluster.edge.drain_grace + Duration::from_millis(500);
    let began_stop = Instant::now();
    let stopping = async {
        let summary = watch::totals(&cluster, &supervisor, &hands).await;
        let say = |busy: &[NodeId]| screen.say(&format!("{}; Ctrl-C ends it now", waiting_for(busy)));
        (summary, supervisor.stop_all(grace, say).await)
    };
    tokio::select! {
        (summary, killed) = stopping => {
            if started {
                screen.summary(&summary, began.elapsed(), began_stop.elapsed(), killed);
            }
        }
        () = at_once => {
            supervisor.kill_all();
            screen.say("stopped at once");
        }
    }
    plane_stop.cancel();
    watching.abort();
    let _ = tokio::time::timeout(Duration::from_millis(300), plane_task).await;
    dir.forget();
    outcome
}

/// Takes the world for this process, for as long as the file lives, and removes what a run left that was killed.
fn take(dir: &WorldDir, say: impl FnOnce(&str)) -> Result<File, VerbError> {
    let Some(lock) = dir.lock()? else {
        let name = dir.name();
        return Err(VerbError::Failed(anyhow::anyhow!(
            "a world {name:?} is running already; stop it with `iso down --world {name}`, \
             or start another with `iso up --world OTHER --base-port 0`"
        )));
    };
    if dir.clean() {
        say("the last run of this world ended without cleaning up; its state was removed");
    }
    Ok(lock)
}

fn control_config(cli: &Cli, cluster: &Cluster, inputs: &Inputs, token: &str) -> control_plane::Config {
    let nodes = cluster.nodes.iter().map(|plan| NodeInfo {
        id: plan.id.clone(),
        pop: plan.pop,
        site: plan.place.id.clone(),
        place: plan.place.name.to_string(),
        lat: plan.place.coordinates.lat(),
        lon: plan.place.coordinates.lon(),
        app: plan.is_app.then(|| addresses(plan)),
        is_sealed: cluster.is_sealed(&plan.id),
    });
    let atlas = cluster.world.atlas();
    let sites =
        atlas.places().map(|place| SiteInfo { id: place.id.clone(), names: vec![place.name.to_string()] }).collect();
    let distributions = cluster.distributions.iter().map(|distribution| DistributionInfo {
        id: distribution.id().to_string(),
        hosts: distribution.aliases().iter().cloned().chain([distribution.own_name()]).collect(),
        pops: cluster.candidates(distribution.id()),
    });
    let own = cluster.routing.hosts.iter().filter_map(|host| Some((host.id.clone(), host.policy?)));
    let policies = Policies { world: cluster.routing.policy, of_distributions: own.collect() };
    control_plane::Config {
        world: cli.world.clone(),
        seed: cluster.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        token: token.to_owned(),
        dashboard_signs_in: true,
        nodes: nodes.collect(),
        sites,
        distributions: distributions.collect(),
        policies,
        has_program: cluster.router.program.is_some(),
        key_groups: inputs.keys.clone(),
        aws_keys: cluster.aws_keys.clone(),
        proxy: Some(cluster.ports.proxy().to_string()),
        limits: control_plane::Limits::default(),
    }
}

/// A node's addresses as the API names them.
pub(crate) fn addresses(plan: &NodePlan) -> Addresses {
    let text = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    Addresses {
        http: text(plan.addresses.http),
        http6: text(plan.addresses.http6.map(std::net::SocketAddr::V6)),
        https: text(plan.addresses.https().next()),
        dns: text(plan.addresses.dns),
        admin: text(plan.addresses.admin),
    }
}

fn random_token() -> String {
    let bytes: [u8; 24] = rand::rng().random();
    HEXLOWER.encode(&bytes)
}

/// What a stop waits for.
pub(crate) fn waiting_for(busy: &[impl ToString]) -> String {
    let names: Vec<String> = busy.iter().map(ToString::to_string).collect();
    format!("waiting for {}: requests in flight have until the drain grace ends", names.join(", "))
}

/// What a node's end means to whoever watches.
pub(crate) fn in_words(event: &NodeEvent) -> String {
    let back = |span: &Duration| format!("{:.1} s", span.as_secs_f64());
    match event {
        NodeEvent::Ready { node, pid } => format!("{node} started (pid {pid})"),
        NodeEvent::Exited { node, how, wanted: true, .. } => format!("{node} stopped: {how}"),
        NodeEvent::Exited { node, how, restart_in: Some(span), .. } => {
            format!("{node} ended by itself: {how}; it is started again in {}", back(span))
        }
        NodeEvent::Exited { node, how, .. } => format!("{node} ended: {how}"),
        NodeEvent::Failed { node, why } => format!("{node} could not be started: {why}"),
    }
}

/// The node an event is about.
pub(crate) const fn subject(event: &NodeEvent) -> &NodeId {
    match event {
        NodeEvent::Ready { node, .. } | NodeEvent::Exited { node, .. } | NodeEvent::Failed { node, .. } => node,
    }
}
