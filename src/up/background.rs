//! A world in a process of its own, and the wait until it is there.

use std::{
    fs::OpenOptions,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use control_plane::wire::{Health, Status};

use crate::{
    state::WorldDir,
    talk::{Api, VerbError},
};

/// How long the process may take until its control API answers.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The process of a world, which says in its log what it has to say.
#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts it with what `arrange` gives its command line, and without a stdin unless that gives it one.
    ///
    /// # Errors
    /// The log cannot be written, or the system starts no process.
    pub(crate) fn start(dir: &WorldDir, arrange: impl FnOnce(&mut Command)) -> Result<Self, VerbError> {
        let log = dir.up_log();
        let said = OpenOptions::new().create(true).write(true).truncate(true).open(&log);
        let said = said.with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.stdin(Stdio::null()).stdout(said.try_clone().context("cannot share the log")?).stderr(said);
        arrange(&mut command);
        let child = command.spawn().context("cannot start the world's process")?;
        Ok(Self { child, log })
    }

    /// Its control API, as soon as that answers. `is_known` are lines of its log that were told before.
    ///
    /// # Errors
    /// What it said before it ended; or it neither answers nor ends, and is ended.
    pub(crate) async fn api(&mut self, dir: &WorldDir, is_known: impl Fn(&str) -> bool) -> Result<Api, VerbError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.why(status, is_known));
            }
            if let Some(record) = dir.record()? {
                return Ok(Api::of_record(record)?);
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let (seconds, log) = (START_TIMEOUT.as_secs(), self.log.display());
                let error = anyhow::anyhow!("the world did not start within {seconds} s; see {log}");
                return Err(VerbError::Failed(error));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn why(&self, status: ExitStatus, is_known: impl Fn(&str) -> bool) -> VerbError {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let said = said.lines().filter(|line| !is_known(line)).map(|line| line.strip_prefix("error: ").unwrap_or(line));
        let said = said.collect::<Vec<_>>().join("\n").trim().to_owned();
        match status.code() {
            Some(2) => VerbError::Usage(said),
            _ => VerbError::Failed(anyhow::Error::msg(said)),
        }
    }
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
                .filter(|node| node.health != Health::Up)
                .map(|node| format!("{} is {}", node.id, node.health))
                .collect();
            let why = if not_up.is_empty() { "links are being measured".to_owned() } else { not_up.join(", ") };
            return Err(VerbError::Failed(anyhow::anyhow!("the world is not healthy yet: {why}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How long a world that has only just been started may take until its viewer can be asked.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// The viewer node of a world that has started.
#[derive(Debug)]
pub(crate) struct ViewerNode {
    /// Where it is asked for what only it can do.
    pub(crate) admin: String,
    /// Its proxy.
    pub(crate) proxy: String,
}

/// The viewer node of the world of `api`. Waits for a world that is starting.
///
/// # Errors
/// There is no viewer, or it does not run.
pub(crate) async fn wait_viewer(api: &Api) -> Result<ViewerNode, VerbError> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let status: Status = api.read("/v1/status", &()).await?;
        let viewer = status.nodes.into_iter().find(|node| node.role == "viewer");
        let (Some(viewer), Some(proxy)) = (viewer, status.proxy) else {
            return Err(VerbError::Failed(anyhow::anyhow!("this world has no viewer")));
        };
        let is_late = Instant::now() > deadline;
        // Links are measured once, at the end of a start; what is asked for before meets nodes that do not listen yet.
        let is_starting = !status.ready && status.links.worst_error_ms.is_none();
        match viewer.addresses.admin {
            _ if viewer.health == Health::Stopped => {
                return Err(VerbError::Failed(anyhow::anyhow!(
                    "{0} was stopped; `iso start {0}` starts it",
                    viewer.id
                )));
            }
            Some(admin) if !is_starting || is_late => return Ok(ViewerNode { admin, proxy }),
            None if is_late => {
                let (id, health) = (viewer.id, viewer.health);
                return Err(VerbError::Failed(anyhow::anyhow!(
                    "{id} is {health} and cannot be asked; see `iso logs {id}`"
                )));
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
