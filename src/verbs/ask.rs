//! Questions to a running world, and its end.

use std::time::{Duration, Instant};

use cdn_core::{NodeId, Role};
use control_plane::wire::{Accepted, Delivery, Invalidation, InvalidationStatus, Status};
use serde_json::json;

use crate::{
    args::{Cli, InvalidateArgs, LogsArgs, WaitArgs, WaitFor},
    cluster::edge_of,
    state::WorldDir,
    supervisor::{SAY_AFTER, STOP_ORDER},
    talk::{VerbError, tell},
    up::{wait_ready, waiting_for},
    verbs::{
        api,
        paint::{Paint, health_word, table},
        print,
        route::policies,
        say, say_on,
    },
};

/// How long a world may take to stop beyond its drain grace.
const DOWN_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn down(cli: &Cli) -> Result<(), VerbError> {
    let began = Instant::now();
    let api = api(cli)?;
    let _: Accepted = api.post("/v1/shutdown", &json!({})).await?;
    let dir = WorldDir::new(&cli.world)?;
    let grace = edge_of(&api.record.file).map_or(Duration::ZERO, |edge| edge.drain_grace);
    let mut said = false;
    while dir.is_running() {
        if !said && began.elapsed() > SAY_AFTER {
            said = true;
            // It may have gone just now; then there is nobody to ask and nothing to wait for.
            if let Ok(status) = api.read::<Status>("/v1/status", &()).await {
                let busy = stopping_next(&status);
                if !busy.is_empty() {
                    tell(&waiting_for(&busy));
                }
            }
        }
        if began.elapsed() > grace + DOWN_TIMEOUT {
            let pid = api.record.pid;
            return Err(VerbError::Failed(anyhow::anyhow!("it still runs (pid {pid}); `kill -9 {pid}` ends it")));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    let document = json!({ "world": cli.world, "stopped_in_ms": (took * 1e3).round() });
    print(cli, &document, |_| format!("stopped in {took:.2} s"))
}

/// The nodes whose turn it is to stop and that still run.
fn stopping_next(status: &Status) -> Vec<NodeId> {
    let running = status.nodes.iter().filter(|node| node.pid.is_some());
    let running: Vec<NodeId> = running.filter_map(|node| node.id.parse().ok()).collect();
    let of = |roles: &[Role]| running.iter().filter(|id| roles.contains(&id.role())).cloned().collect::<Vec<_>>();
    STOP_ORDER.into_iter().map(of).find(|nodes| !nodes.is_empty()).unwrap_or_default()
}

pub(super) async fn status(cli: &Cli) -> Result<(), VerbError> {
    let status: Status = api(cli)?.read("/v1/status", &()).await?;
    let paint = Paint::of(cli);
    print(cli, &status, |status| status_text(paint, status))
}

fn status_text(paint: Paint, status: &Status) -> String {
    let mut text = String::new();
    let links = match status.links.worst_error_ms {
        Some(worst) => format!("{} links, worst error {worst:.2} ms", status.links.count),
        None => "links not measured yet".to_owned(),
    };
    text.push_str(&format!(
        "world {}   seed {}   up {}   {links}\n\n",
        status.world,
        status.seed,
        clock(status.uptime_ms)
    ));
    let rows = status.nodes.iter().map(|node| {
        let note = match (&node.exit, node.restarts) {
            (Some(exit), _) => exit.clone(),
            (None, 0) => String::new(),
            (None, restarts) => format!("restarted {restarts}×"),
        };
        vec![
            node.id.clone(),
            node.place.clone(),
            node.addresses.http.clone().or_else(|| node.addresses.dns.clone()).unwrap_or_default(),
            node.pid.map_or_else(String::new, |pid| pid.to_string()),
            health_word(paint, node.health),
            note,
        ]
    });
    text.push_str(&table(&["NODE", "PLACE", "ADDRESS", "PID", "HEALTH", ""], rows));
    if !status.drained.is_empty() {
        text.push_str(&format!("\ndrained: {}\n", status.drained.join(", ")));
    }
    text.push_str(&format!("\nrouting: {}\n", policies(&status.routing)));
    if !status.faults.is_empty() {
        text.push('\n');
        text.push_str(&fault_table(&status.faults));
    }
    text.push_str(&format!("\nproxy {}   dashboard {}", status.proxy.as_deref().unwrap_or("-"), status.dashboard));
    text
}

/// Active faults as a table.
pub(super) fn fault_table(faults: &[control_plane::wire::FaultRow]) -> String {
    let rows = faults.iter().map(|fault| {
        let ends = fault.ends_in_ms.map_or_else(|| "until healed".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
        vec![fault.target.clone(), fault.kind.clone(), fault.detail.clone(), ends]
    });
    table(&["FAULT AT", "KIND", "DETAIL", "ENDS IN"], rows)
}

fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

pub(super) async fn logs(cli: &Cli, args: &LogsArgs) -> Result<(), VerbError> {
    let api = api(cli)?;
    let query = json!({ "node": args.node, "tail": args.tail, "follow": args.follow, "realtime": args.realtime });
    let query: Vec<(String, String)> = query
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let mut response = api.stream("/v1/logs", &query).await?;
    let mut rest = Vec::new();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk,
            _ = &mut interrupted => return Err(VerbError::Interrupted),
        };
        // The end of the world is the end of its logs.
        let Ok(Some(chunk)) = chunk else { return Ok(()) };
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            let text = text.strip_prefix("data:").map_or(text, str::trim);
            let Ok(line) = serde_json::from_str::<control_plane::wire::LogLine>(text) else { continue };
            let told = match cli.json {
                true => say_on(text)?,
                // A record is for programs, which know its fields by their places.
                false if args.realtime.is_some() => say_on(&line.text)?,
                false => say_on(&format!("{:<18} {}", line.node, line.text))?,
            };
            // There is no end of lines for nobody.
            if told.is_break() {
                return Ok(());
            }
        }
    }
}

pub(super) async fn wait(cli: &Cli, args: &WaitArgs) -> Result<(), VerbError> {
    let WaitFor::Healthy = args.until;
    let deadline = Instant::now() + args.timeout.0;
    let status = wait_ready(&api(cli)?, deadline).await?;
    print(cli, &status, |status| format!("world {} is healthy", status.world))
}

pub(super) async fn open(cli: &Cli) -> Result<(), VerbError> {
    let status: Status = api(cli)?.read("/v1/status", &()).await?;
    let url = &status.dashboard;
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let opened = std::process::Command::new(opener)
        .arg(url)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    if opened.is_err() {
        tell(&format!("there is no {opener} here; open this address yourself"));
    }
    print(cli, &json!({ "dashboard": url }), |_| url.clone())
}

/// The host of a URL, or the name itself.
pub(super) fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned()
}

pub(super) async fn invalidate(cli: &Cli, args: &InvalidateArgs) -> Result<(), VerbError> {
    let api = api(cli)?;
    let began = Instant::now();
    let ask = json!({ "distribution": args.distribution, "patterns": args.patterns });
    let mut invalidation: Invalidation = api.post("/v1/invalidations", &ask).await?;
    let path = format!("/v1/invalidations/{}", invalidation.id);
    if args.watch && !cli.json {
        say(&format!("accepted {}", invalidation.id))?;
    }
    let mut told: Vec<String> = Vec::new();
    loop {
        for node in &invalidation.nodes {
            if node.state != Delivery::Pending && !told.contains(&node.node) {
                told.push(node.node.clone());
                if args.watch && !cli.json {
                    let after = node.after_ms.map_or_else(String::new, |ms| format!("{:.2} s", ms as f64 / 1e3));
                    let what = match node.state {
                        Delivery::Failed => node.error.clone().unwrap_or_else(|| "failed".into()),
                        Delivery::Skipped => "not running".to_owned(),
                        _ => format!("{} removed", node.removed),
                    };
                    say(&format!("  {after:>7}  {:<12} {what}", node.node))?;
                }
            }
        }
        if invalidation.status != InvalidationStatus::InProgress {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        invalidation = api.read(&path, &()).await?;
    }
    let failed = invalidation.status == InvalidationStatus::Failed;
    let removed: u64 = invalidation.nodes.iter().map(|node| node.removed).sum();
    print(cli, &invalidation, |invalidation| {
        format!(
            "{} {}: {removed} objects removed from {} nodes in {:.2} s",
            invalidation.id,
            if failed { "failed" } else { "done" },
            invalidation.nodes.iter().filter(|node| node.state == Delivery::Done).count(),
            began.elapsed().as_secs_f64()
        )
    })?;
    if failed { Err(VerbError::Exit(1)) } else { Ok(()) }
}
