//! The state directory: which worlds run, how to talk to them, their logs.
//!
//! `$ISO_HOME`, else `$XDG_STATE_HOME/isochrone`, else `~/.local/state/isochrone`. A world is the directory
//! `worlds/NAME`; whoever runs it holds a lock on `lock` there, so a directory without a holder is what a crash left
//! behind, and is cleaned with a message. Disk tiers of nodes stay until a world is started that has none for them.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cdn_core::NodeId;
use rustix::{fs::FlockOperation, io::Errno};
use serde::{Deserialize, Serialize};

use crate::{authority::AuthorityDir, cluster::Inputs, cluster_file::ClusterFile};

/// How long those who ask whether a world runs may keep somebody from taking it.
const ASKING: Duration = Duration::from_millis(100);

/// How to reach a running world.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorldRecord {
    /// Its name.
    pub(crate) world: String,
    /// Process that runs it.
    pub(crate) pid: u32,
    /// Control API.
    pub(crate) control: SocketAddr,
    /// What admin wants to see.
    pub(crate) token: String,
    /// First port of the block.
    pub(crate) base_port: u16,
    /// The world as written.
    pub(crate) file: ClusterFile,
    /// What was found out around it.
    pub(crate) inputs: Inputs,
}

/// The directory of one world.
#[derive(Clone, Debug)]
pub(crate) struct WorldDir {
    name: String,
    path: PathBuf,
}

impl WorldDir {
    /// The directory of the world `name`; not created yet.
    ///
    /// # Errors
    /// `name` is not a plain file name, or there is no home directory.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let plain = !name.is_empty()
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !name.starts_with('.');
        anyhow::ensure!(plain, "{name:?} cannot name a world; use letters, digits, `-`, `_` and `.`");
        Ok(Self { name: name.to_owned(), path: home()?.join("worlds").join(name) })
    }

    /// The world's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where logs of nodes stand.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Where a cache writes down what it decides, among such logs.
    pub(crate) fn decision_log(logs: &Path, node: &NodeId) -> PathBuf {
        logs.join(format!("{node}.decisions.jsonl"))
    }

    /// Where the world's certificate authority keeps what it has.
    pub(crate) fn authority(&self) -> AuthorityDir {
        AuthorityDir::new(&self.path)
    }

    /// Where the disk tier of a node stands.
    pub(crate) fn disk(&self, node: &NodeId) -> PathBuf {
        self.disks().join(node.to_string())
    }

    /// Removes the disk tiers of all nodes but these. What is left of others outlives runs: that is what it is for.
    pub(crate) fn keep_disks(&self, nodes: &[&NodeId]) {
        let kept: Vec<PathBuf> = nodes.iter().map(|node| self.disk(node)).collect();
        for found in fs::read_dir(self.disks()).into_iter().flatten().flatten() {
            if !kept.contains(&found.path())
                && let Err(error) = fs::remove_dir_all(found.path())
            {
                tracing::warn!(%error, "{} cannot be removed", found.path().display());
            }
        }
    }

    fn disks(&self) -> PathBuf {
        self.path.join("disk")
    }

    /// What a detached `iso up` says.
    pub(crate) fn up_log(&self) -> PathBuf {
        self.path.join("up.log")
    }

    /// Where a world that a command made up has its cluster file.
    pub(crate) fn cluster_file(&self) -> PathBuf {
        self.path.join("cluster.toml")
    }

    /// Creates the directory, readable by the user alone.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.logs()).with_context(|| format!("cannot create {}", self.logs().display()))?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot protect {}", self.path.display()))
    }

    /// Takes the world for this process, or says that somebody runs it. The lock ends with the file.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn lock(&self) -> anyhow::Result<Option<File>> {
        self.create()?;
        let path = self.path.join("lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let deadline = Instant::now() + ASKING;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(file)),
                // Whoever asks whether it runs holds the lock as well, for a moment.
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(ASKING / 50),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => {
                    return Err(io::Error::from(error)).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
    }

    /// Whether somebody runs this world now. Askers share the lock, so that none takes another for the world.
    pub(crate) fn is_running(&self) -> bool {
        File::open(self.path.join("lock"))
            .is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
    }

    /// How to reach it; `None` when nobody runs it.
    ///
    /// # Errors
    /// The record is there and unreadable.
    pub(crate) fn record(&self) -> anyhow::Result<Option<WorldRecord>> {
        if !self.is_running() {
            return Ok(None);
        }
        let path = self.record_path();
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).with_context(|| format!("cannot read {}", path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The settings of the world, if it runs.
    pub(crate) fn settings(&self) -> Option<(ClusterFile, Inputs)> {
        self.record().ok().flatten().map(|record| (record.file, record.inputs))
    }

    /// Writes the record, readable by the user alone, in one step.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn write_record(&self, record: &WorldRecord) -> anyhow::Result<()> {
        let path = self.record_path();
        let part = path.with_extension("part");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .with_context(|| format!("cannot write {}", part.display()))?;
        io::Write::write_all(&mut file, &serde_json::to_vec_pretty(record)?)?;
        fs::rename(&part, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what the last run left; call while holding the lock. Returns whether there was something.
    pub(crate) fn clean(&self) -> bool {
        let stale = fs::remove_file(self.record_path()).is_ok();
        if let Ok(logs) = fs::read_dir(self.logs()) {
            for log in logs.flatten() {
                let _ = fs::remove_file(log.path());
            }
        }
        stale
    }

    /// Removes the record at the end of a run; logs stay to be read.
    pub(crate) fn forget(&self) {
        let _ = fs::remove_file(self.record_path());
    }

    /// Removes everything, logs too: of a world that nobody will ask about.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }

    /// Worlds that run now.
    pub(crate) fn running() -> Vec<String> {
        let Some(entries) = home().ok().and_then(|home| fs::read_dir(home.join("worlds")).ok()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| Self::new(name).is_ok_and(|dir| dir.is_running()))
            .collect();
        names.sort();
        names
    }

    fn record_path(&self) -> PathBuf {
        self.path.join("world.json")
    }
}

fn home() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = variable("ISO_HOME") {
        return Ok(home);
    }
    if let Some(state) = variable("XDG_STATE_HOME") {
        return Ok(state.join("isochrone"));
    }
    let home = variable("HOME").context("no home directory: set ISO_HOME to a directory for Isochrone's state")?;
    Ok(home.join(".local/state/isochrone"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn names_of_worlds_are_plain_file_names() {
        for wrong in ["", "..", "a/b", ".hidden", "a b"] {
            assert!(WorldDir::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn disk_tiers_outlive_runs_and_not_their_nodes() {
        let base = tempfile::tempdir().unwrap();
        let dir = WorldDir { name: "w".into(), path: base.path().join("w") };
        let [kept, gone] = ["iad", "fra"].map(|name| NodeId::new(cdn_core::Role::Edge, name));
        dir.keep_disks(&[]);
        for node in [&kept, &gone] {
            fs::create_dir_all(dir.disk(node)).unwrap();
        }
        dir.clean();
        dir.forget();
        dir.keep_disks(&[&kept]);
        assert!(dir.disk(&kept).exists() && !dir.disk(&gone).exists());
    }

    #[test]
    fn a_world_is_running_as_long_as_its_lock_is_held() {
        let base = tempfile::tempdir().unwrap();
        let dir = WorldDir { name: "w".into(), path: base.path().join("w") };
        assert!(!dir.is_running());
        let lock = dir.lock().unwrap().unwrap();
        assert!(dir.is_running());
        assert!(dir.lock().unwrap().is_none());
        drop(lock);
        assert!(!dir.is_running());
    }

    #[test]
    fn asking_whether_a_world_runs_keeps_nobody_from_running_it() {
        let base = tempfile::tempdir().unwrap();
        let dir = WorldDir { name: "w".into(), path: base.path().join("w") };
        drop(dir.lock().unwrap());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        dir.is_running();
                    }
                });
            }
            let taken = (0..200).all(|_| dir.lock().unwrap().is_some());
            over.store(true, Ordering::Relaxed);
            assert!(taken);
        });
    }
}
