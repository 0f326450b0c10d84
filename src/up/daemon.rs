//! `iso up -d`: the world in a process of its own, and the wait until it is there.

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use control_plane::wire::Status;

use crate::{
    args::{Cli, UpArgs},
    state::WorldDir,
    talk::{Api, VerbError, tell},
    up::{Plan, screen, take},
    verbs::{paint::Paint, say},
};

/// How long the background process may take until its control API answers.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// Starts the world in the background.
///
/// # Errors
/// What the background process said before it ended.
pub(crate) fn detach(cli: &Cli, args: &UpArgs, plan: &Plan) -> Result<(), VerbError> {
    let began = Instant::now();
    let dir = WorldDir::new(&cli.world).map_err(|error| VerbError::Usage(format!("{error:#}")))?;
    // The background process takes it again; what there is to say, nobody would hear from there.
    drop(take(&dir, tell)?);
    for warning in &plan.warnings {
        tell(&format!("warning: {warning}"));
    }
    let log_path = dir.up_log();
    let log = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&log_path)
        .with_context(|| format!("cannot write {}", log_path.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .args(["--daemon", "--base-port", &plan.cluster.ports.base().to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the log")?)
        .stderr(log)
        .spawn()
        .context("cannot start the background process")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let deadline = began + START_TIMEOUT;
        let api = loop {
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(&log_path).unwrap_or_default();
                let said: Vec<&str> = said
                    .lines()
                    .filter(|line| !plan.warnings.iter().any(|warning| line.ends_with(warning.as_str())))
                    .map(|line| line.strip_prefix("error: ").unwrap_or(line))
                    .collect();
                let error = anyhow::anyhow!("{}", said.join("\n").trim());
                return Err(match status.code() {
                    Some(2) => VerbError::Usage(format!("{error:#}")),
                    _ => VerbError::Failed(error),
                });
            }
            if let Some(record) = dir.record()? {
                break Api::of_record(record)?;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                return Err(VerbError::Failed(anyhow::anyhow!(
                    "the world did not start within {} s; see {}",
                    START_TIMEOUT.as_secs(),
                    log_path.display()
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        if !args.wait {
            if cli.json {
                let status: Status = api.read("/v1/status", &()).await?;
                return say(&serde_json::to_string_pretty(&status)?);
            }
            return say("started in the background; `iso wait` waits until it is healthy, `iso down` stops it");
        }
        let timeout = args.timeout.map_or(Duration::from_secs(60), |span| span.0);
        let status = wait_ready(&api, began + timeout).await?;
        if cli.json {
            return say(&serde_json::to_string_pretty(&status)?);
        }
        // What could not be measured stands in the log of the background process.
        say(&screen::first_screen(Paint::of(cli), &plan.cluster, &status, &[], began.elapsed()))
    })
}

/// Waits until a world is ready.
///
/// # Errors
/// It is not by `deadline`; names the nodes that are not up.
pub(crate) async fn wait_ready(api: &Api, deadline: Instant) -> Result<Status, VerbError> {
    loop {
        let status: Status = api.read("/v1/status", &()).await?;
        if status.ready {
            return Ok(status);
        }
        if Instant::now() > deadline {
            let not_up: Vec<String> = status
                .nodes
                .iter()
                .filter(|node| node.health != control_plane::wire::Health::Up)
                .map(|node| format!("{} is {}", node.id, node.health))
                .collect();
            let why = if not_up.is_empty() { "links are being measured".to_owned() } else { not_up.join(", ") };
            return Err(VerbError::Failed(anyhow::anyhow!("the world is not healthy yet: {why}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
