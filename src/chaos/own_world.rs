//! A world of a scenario's own: started for one run, on a free block of ports, and gone after it.
//!
//! It goes as well where the run is killed and can stop nothing any more: its process holds one end of a pipe whose other
//! end is the run's, as a node does of its supervisor's, and removes everything when that ends. The system's word that a
//! parent has died will not do, because it comes with the end of the thread that forked.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use control_plane::wire::Accepted;
use serde_json::json;

use crate::{
    cluster::Cluster,
    cluster_file::ClusterFile,
    state::WorldDir,
    talk::{Api, VerbError},
    up::{Background, free_ports, wait_ready},
};

/// How long it may take until it is healthy, once its control API answers.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to stop, beyond what requests in flight are given.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Blocks of ports that are tried.
const ATTEMPTS: usize = 5;

/// A world that was started for a run.
pub(super) struct OwnWorld {
    dir: WorldDir,
    /// With the stdin that ends with this process, and that nothing is written to.
    process: Background,
    pub(super) api: Api,
}

impl OwnWorld {
    /// Starts a world of `file` and waits until every link has been measured and every node is healthy.
    ///
    /// # Errors
    /// What its process said before it ended.
    pub(super) async fn start(file: &ClusterFile, cluster: &Cluster) -> Result<Self, VerbError> {
        for _ in 1..ATTEMPTS {
            match Self::try_start(file, cluster).await {
                // Somebody took one of the ports that were free a moment ago.
                Err(VerbError::Failed(error)) if error.to_string().contains("taken by") => {}
                outcome => return outcome,
            }
        }
        Self::try_start(file, cluster).await
    }

    async fn try_start(file: &ClusterFile, cluster: &Cluster) -> Result<Self, VerbError> {
        let name = format!("chaos-{}", std::process::id());
        let dir = WorldDir::new(&name).map_err(|error| VerbError::Usage(format!("{error:#}")))?;
        dir.create()?;
        let base_port = free_ports(cluster)?;
        let written = toml::to_string(file).context("the world cannot be written")?;
        let config = dir.cluster_file();
        fs::write(&config, written).with_context(|| format!("cannot write {}", config.display()))?;
        let mut process = Background::start(&dir, |command| {
            command
                .args(["up", "--world", &name, "--daemon", "--tied", "--base-port", &base_port.to_string(), "--config"])
                .arg(&config)
                .stdin(Stdio::piped())
                // What the terminal's user asks of this process is not meant for worlds.
                .env_remove("ISO_POPS")
                .env_remove("ISO_PRESET")
                // A Ctrl-C of the terminal is for the run, which stops its world when it has told what it knows.
                .process_group(0);
        })?;
        let api = match process.api(&dir, |_| false).await {
            Ok(api) => api,
            Err(error) => {
                dir.forget();
                return Err(VerbError::Failed(anyhow::anyhow!("the world did not start: {error}")));
            }
        };
        let mut own = Self { dir, process, api };
        if let Err(error) = wait_ready(&own.api, Instant::now() + READY_TIMEOUT).await {
            own.stop().await;
            return Err(error);
        }
        Ok(own)
    }

    /// Where its nodes write their logs.
    pub(super) fn logs(&self) -> PathBuf {
        self.dir.logs()
    }

    /// Stops it, by force where it does not stop by itself.
    pub(super) async fn stop(&mut self) {
        let asked: Result<Accepted, VerbError> = self.api.post("/v1/shutdown", &json!({})).await;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while asked.is_ok() && Instant::now() < deadline {
            if matches!(self.process.child.try_wait(), Ok(Some(_))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
    }
}

impl Drop for OwnWorld {
    /// Nothing is left behind, even where a run ends early.
    fn drop(&mut self) {
        if matches!(self.process.child.try_wait(), Ok(None)) {
            let _ = self.process.child.kill();
            let _ = self.process.child.wait();
        }
        self.dir.remove();
    }
}
