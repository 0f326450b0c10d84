//! Node processes: started, watched, restarted with backoff, stopped; their logs kept and rotated.
//!
//! Each node is this same binary (`iso node ROLE ID`). It reads its config from stdin, says on stdout where it
//! listens, logs to stderr, and ends when its stdin ends, so that nothing outlives the supervisor; the kernel is asked
//! to kill it as well, because a paused process reads nothing. Knows processes; does not know what nodes do.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cdn_core::{NodeId, Role, standard_log::LogStyle};
use edge_node::{REALTIME_LINE, STANDARD_LINE};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
};

/// What a node says once it listens: one line of JSON on stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReadyLine {
    /// Its id, to be sure who speaks.
    pub(crate) ready: String,
}

/// What becomes of a node.
#[derive(Clone, Debug)]
pub(crate) enum NodeEvent {
    /// It listens.
    Ready {
        /// Which.
        node: NodeId,
        /// Its process.
        pid: u32,
    },
    /// It ended; `restart_in` says when it comes back by itself.
    Exited {
        /// Which.
        node: NodeId,
        /// In words: `killed by signal 9`, `exit code 1`.
        how: String,
        /// Whether somebody asked for it.
        wanted: bool,
        /// When it is started again.
        restart_in: Option<Duration>,
    },
    /// It could not be started.
    Failed {
        /// Which.
        node: NodeId,
        /// Why.
        why: String,
    },
}

/// How logs are kept.
#[derive(Clone, Debug)]
pub(crate) struct LogOptions {
    /// Where.
    pub(crate) dir: PathBuf,
    /// Size at which a log is rotated.
    pub(crate) bytes_max: u64,
    /// Rotated files that are kept.
    pub(crate) keep: usize,
    /// How edges log requests.
    pub(crate) style: LogStyle,
}

/// One line of a node's log.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    /// Which node.
    pub(crate) node: String,
    /// Without its newline.
    pub(crate) text: String,
    /// The distribution whose real-time log it is a record of.
    pub(crate) realtime: Option<String>,
}

/// Lines of the past that are kept in memory, over all nodes, for `iso logs`.
const LINES_KEPT: usize = 5_000;
/// Lines that a slow follower may lag behind before it misses some.
const LINES_BEHIND: usize = 4_096;
/// The first pause before a restart; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// The longest pause before a restart.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A node that ran this long has recovered: its next restart waits [`BACKOFF_FIRST`] again.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// How long the last lines of a node that has ended are waited for. Somebody else may hold the other end of its pipe.
const LAST_LINES: Duration = Duration::from_secs(2);

/// In which order nodes stop: from the front to the back, so that who still serves a request finds everybody whom it
/// asks.
pub(crate) const STOP_ORDER: [&[Role]; 5] =
    [&[Role::Viewer], &[Role::Edge], &[Role::Regional], &[Role::Shield], &[Role::Router, Role::Origin]];
/// How long a stop may take until it is said who is waited for.
pub(crate) const SAY_AFTER: Duration = Duration::from_secs(1);

/// Why a process verb failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProcessError {
    /// No such node, or not one of ours.
    #[error("this is not a process of Isochrone's")]
    Unknown,
    /// The node does not run.
    #[error("it does not run")]
    NotRunning,
    /// The node runs already.
    #[error("it runs already")]
    Running,
}

/// All node processes of a world. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Mutex<BTreeMap<NodeId, Node>>,
    events: mpsc::UnboundedSender<NodeEvent>,
    lines: broadcast::Sender<LogLine>,
    kept: Mutex<VecDeque<LogLine>>,
    logs: LogOptions,
}

struct Node {
    /// What it reads on stdin.
    config: Arc<str>,
    state: State,
    /// Tells the task that watches it what somebody wants.
    wish: watch::Sender<Wish>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Running { pid: u32, paused: bool },
    Waiting,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Run,
    Stop,
    /// Stop and finish what it is doing.
    Drain,
    /// Let the watching task end.
    Gone,
}

impl Supervisor {
    /// A supervisor without nodes, and what becomes of those it gets.
    pub(crate) fn new(logs: LogOptions) -> (Self, mpsc::UnboundedReceiver<NodeEvent>) {
        let (events, received) = mpsc::unbounded_channel();
        let shared = Shared {
            nodes: Mutex::default(),
            events,
            lines: broadcast::channel(LINES_BEHIND).0,
            kept: Mutex::default(),
            logs,
        };
        (Self { shared: Arc::new(shared) }, received)
    }

    /// Starts a node that reads `config` and keeps it running.
    pub(crate) fn add(&self, id: NodeId, config: Arc<str>) {
        let (wish, wishes) = watch::channel(Wish::Run);
        self.nodes().insert(id.clone(), Node { config, state: State::Starting, wish });
        tokio::spawn(watch_node(self.clone(), id, wishes));
    }

    /// SIGKILL; the node stays away until [`Self::start`].
    ///
    /// # Errors
    /// It is unknown or does not run.
    pub(crate) fn kill(&self, id: &NodeId) -> Result<(), ProcessError> {
        let mut nodes = self.nodes();
        let node = nodes.get_mut(id).ok_or(ProcessError::Unknown)?;
        match node.state {
            State::Running { pid, .. } => {
                // The wish first, so that the watcher does not take this for a crash.
                node.wish.send_replace(Wish::Stop);
                signal(pid, Signal::KILL);
                Ok(())
            }
            State::Starting | State::Waiting => {
                node.wish.send_replace(Wish::Stop);
                Ok(())
            }
            State::Stopped => Err(ProcessError::NotRunning),
        }
    }

    /// Starts a node that was killed.
    ///
    /// # Errors
    /// It is unknown or runs.
    pub(crate) fn start(&self, id: &NodeId) -> Result<(), ProcessError> {
        let mut nodes = self.nodes();
        let node = nodes.get_mut(id).ok_or(ProcessError::Unknown)?;
        if *node.wish.borrow() == Wish::Run && node.state != State::Waiting {
            return Err(ProcessError::Running);
        }
        node.wish.send_replace(Wish::Run);
        Ok(())
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// It is unknown or does not run.
    pub(crate) fn pause(&self, id: &NodeId) -> Result<(), ProcessError> {
        self.stop_or_continue(id, true)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// It is unknown or does not run.
    pub(crate) fn resume(&self, id: &NodeId) -> Result<(), ProcessError> {
        self.stop_or_continue(id, false)
    }

    /// Whether the node's process exists (paused or not).
    pub(crate) fn is_running(&self, id: &NodeId) -> bool {
        self.nodes().get(id).is_some_and(|node| matches!(node.state, State::Running { .. }))
    }

    /// Whether the node was stopped by SIGSTOP.
    pub(crate) fn is_paused(&self, id: &NodeId) -> bool {
        self.nodes().get(id).is_some_and(|node| matches!(node.state, State::Running { paused: true, .. }))
    }

    /// Whether the node can hear: it is not stopped by SIGSTOP, and nobody has just killed it, which its watcher may not have
    /// noticed yet.
    pub(crate) fn can_hear(&self, id: &NodeId) -> bool {
        self.nodes().get(id).is_some_and(|node| {
            matches!(node.state, State::Running { paused: false, .. }) && *node.wish.borrow() == Wish::Run
        })
    }

    /// Processes that exist.
    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.nodes()
            .iter()
            .filter(|(_, node)| matches!(node.state, State::Running { .. }))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Lets every node finish what it does, in [`STOP_ORDER`] and for at most `grace` in all; then kills the rest.
    /// `waiting` is told once for whom it takes longer than [`SAY_AFTER`]. Returns how many were killed.
    pub(crate) async fn stop_all(&self, grace: Duration, mut waiting: impl FnMut(&[NodeId])) -> usize {
        let began = tokio::time::Instant::now();
        let mut said = false;
        for roles in STOP_ORDER {
            self.drain(roles);
            loop {
                let busy: Vec<_> = self.running().into_iter().filter(|id| roles.contains(&id.role())).collect();
                if busy.is_empty() || began.elapsed() >= grace {
                    break;
                }
                if !said && began.elapsed() >= SAY_AFTER {
                    said = true;
                    waiting(&busy);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let rest = self.running();
        for id in &rest {
            if let Some(Node { state: State::Running { pid, .. }, .. }) = self.nodes().get(id) {
                signal(*pid, Signal::KILL);
            }
        }
        for node in self.nodes().values() {
            node.wish.send_replace(Wish::Gone);
        }
        rest.len()
    }

    /// Kills every node now.
    pub(crate) fn kill_all(&self) {
        for node in self.nodes().values() {
            node.wish.send_replace(Wish::Stop);
            if let State::Running { pid, .. } = node.state {
                signal(pid, Signal::KILL);
            }
        }
    }

    /// The last `tail` lines of one node or of all.
    pub(crate) fn log_tail(&self, node: Option<&str>, tail: usize) -> Vec<LogLine> {
        let kept = lock(&self.shared.kept);
        let mut lines: Vec<LogLine> =
            kept.iter().rev().filter(|line| node.is_none_or(|node| line.node == node)).take(tail).cloned().collect();
        lines.reverse();
        lines
    }

    /// Lines as they come.
    pub(crate) fn log_follow(&self) -> broadcast::Receiver<LogLine> {
        self.shared.lines.subscribe()
    }

    fn drain(&self, roles: &[Role]) {
        for (id, node) in self.nodes().iter().filter(|(id, _)| roles.contains(&id.role())) {
            // A paused process cannot finish anything.
            if let State::Running { pid, paused: true } = node.state {
                tracing::debug!(node = %id, "continued so that it can stop");
                signal(pid, Signal::CONT);
            }
            node.wish.send_replace(Wish::Drain);
        }
    }

    fn stop_or_continue(&self, id: &NodeId, pause: bool) -> Result<(), ProcessError> {
        let mut nodes = self.nodes();
        let node = nodes.get_mut(id).ok_or(ProcessError::Unknown)?;
        let State::Running { pid, paused } = &mut node.state else { return Err(ProcessError::NotRunning) };
        signal(*pid, if pause { Signal::STOP } else { Signal::CONT });
        *paused = pause;
        Ok(())
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Node>> {
        lock(&self.shared.nodes)
    }

    fn set_state(&self, id: &NodeId, state: State) {
        if let Some(node) = self.nodes().get_mut(id) {
            node.state = state;
        }
    }

    fn tell(&self, event: NodeEvent) {
        let _ = self.shared.events.send(event);
    }

    fn log(&self, node: &str, text: String) {
        let line = LogLine { node: node.to_owned(), text, realtime: None };
        let mut kept = lock(&self.shared.kept);
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line.clone());
        drop(kept);
        let _ = self.shared.lines.send(line);
    }

    /// Passes a record of a real-time log on to whoever follows; the past of one is kept nowhere.
    fn record(&self, node: &str, record: &str) {
        if let Some((distribution, text)) = record.split_once('\t') {
            let realtime = Some(distribution.to_owned());
            let _ = self.shared.lines.send(LogLine { node: node.to_owned(), text: text.to_owned(), realtime });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal(pid: u32, signal: Signal) {
    // A process that has just ended is what we wanted; everything else we may signal, being its parent.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Keeps one node as its wish says until the supervisor lets go of it.
async fn watch_node(supervisor: Supervisor, id: NodeId, mut wishes: watch::Receiver<Wish>) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        // Wait until it is wanted.
        supervisor.set_state(&id, State::Stopped);
        loop {
            let wish = *wishes.borrow_and_update();
            match wish {
                Wish::Run => break,
                Wish::Gone => return,
                Wish::Stop | Wish::Drain => {}
            }
            if wishes.changed().await.is_err() {
                return;
            }
        }
        supervisor.set_state(&id, State::Starting);
        let began = Instant::now();
        let how = match spawn(&supervisor, &id).await {
            Ok(started) => run(&supervisor, &id, started, &mut wishes).await,
            Err(error) => {
                supervisor.tell(NodeEvent::Failed { node: id.clone(), why: format!("{error:#}") });
                format!("{error:#}")
            }
        };
        let wanted = *wishes.borrow() != Wish::Run;
        if began.elapsed() >= STABLE_AFTER {
            backoff = BACKOFF_FIRST;
        }
        supervisor.set_state(&id, if wanted { State::Stopped } else { State::Waiting });
        let restart_in = (!wanted).then_some(backoff);
        supervisor.tell(NodeEvent::Exited { node: id.clone(), how, wanted, restart_in });
        if let Some(pause) = restart_in {
            backoff = (backoff * 2).min(BACKOFF_MAX);
            // Asked for before its time, it starts at once.
            let _ = tokio::time::timeout(pause, wishes.changed()).await;
        }
    }
}

/// Runs until the process has ended; says how.
async fn run(
    supervisor: &Supervisor,
    id: &NodeId,
    Started { mut child, stdin, log }: Started,
    wishes: &mut watch::Receiver<Wish>,
) -> String {
    let mut stdin = Some(stdin);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            changed = wishes.changed() => match (changed, *wishes.borrow_and_update()) {
                // The end of stdin tells a node to drain and end.
                (Ok(()), Wish::Drain) => drop(stdin.take()),
                (Ok(()), Wish::Run) => {}
                (Ok(()), Wish::Stop | Wish::Gone) | (Err(_), _) => {
                    let _ = child.start_kill();
                }
            },
        }
    };
    // What it said last still lies in the pipe, and a world that stops must not leave before that is in the log.
    let _ = tokio::time::timeout(LAST_LINES, log).await;
    supervisor.log(&id.to_string(), "ended".to_owned());
    match status {
        Ok(status) => match std::os::unix::process::ExitStatusExt::signal(&status) {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("exit code {}", status.code().unwrap_or(-1)),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    }
}

/// A process of a node.
struct Started {
    child: Child,
    stdin: ChildStdin,
    /// Ends when all that the process says is in its log.
    log: JoinHandle<()>,
}

async fn spawn(supervisor: &Supervisor, id: &NodeId) -> anyhow::Result<Started> {
    let config = supervisor.nodes().get(id).map(|node| Arc::clone(&node.config)).context("it was removed")?;
    let program = own_program();
    let mut child = Command::new(&program)
        .arg("node")
        .arg(id.role().as_str())
        .arg(id.name())
        // glibc raises its threshold for mappings of their own as large blocks are freed, after which the blocks of bodies
        // come from a heap that never shrinks. Fixed, their memory goes back when they do.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .env("MALLOC_TRIM_THRESHOLD_", "131072")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Its own group: Ctrl-C on the terminal is for the supervisor, which drains its nodes.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let pid = child.id().context("it ended at once")?;
    let (mut stdin, stdout, stderr) = (
        child.stdin.take().context("no stdin")?,
        child.stdout.take().context("no stdout")?,
        child.stderr.take().context("no stderr")?,
    );
    let (last_words, heard) = oneshot::channel();
    let log = tokio::spawn(keep_log(supervisor.clone(), id.to_string(), stderr, last_words));
    stdin.write_all(config.as_bytes()).await.context("it did not read its config")?;
    stdin.write_all(b"\n").await.context("it did not read its config")?;
    let mut said = BufReader::new(stdout).lines();
    let ready = tokio::time::timeout(Duration::from_secs(20), said.next_line()).await;
    let ready: Option<ReadyLine> = match &ready {
        Ok(Ok(Some(line))) => serde_json::from_str(line).ok(),
        _ => None,
    };
    if ready.is_none_or(|line| line.ready != id.to_string()) {
        let _ = child.kill().await;
        let why = heard.await.unwrap_or_default();
        anyhow::bail!("it did not become ready{}{why}", if why.is_empty() { "" } else { ": " });
    }
    supervisor.set_state(id, State::Running { pid, paused: false });
    supervisor.tell(NodeEvent::Ready { node: id.clone(), pid });
    Ok(Started { child, stdin, log })
}

/// The binary that runs, also when it was replaced on disk meanwhile.
pub(crate) fn own_program() -> PathBuf {
    let linux = PathBuf::from("/proc/self/exe");
    if linux.exists() { linux } else { std::env::current_exe().unwrap_or_else(|_| PathBuf::from("iso")) }
}

/// Copies a node's stderr to its log files, rotating them, and to whoever follows; at its end sends the last line.
async fn keep_log(
    supervisor: Supervisor,
    node: String,
    stderr: tokio::process::ChildStderr,
    last_words: oneshot::Sender<String>,
) {
    let options = supervisor.shared.logs.clone();
    let mut lines = BufReader::new(stderr).lines();
    let mut own = LogFile::open(options.dir.join(format!("{node}.log")), &options, String::new()).await;
    let mut access = None;
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(record) = line.strip_prefix(REALTIME_LINE) {
            supervisor.record(&node, record);
            continue;
        }
        if let Some(line) = line.strip_prefix(STANDARD_LINE) {
            if access.is_none() {
                let path = options.dir.join(format!("{node}.access.log"));
                access = Some(LogFile::open(path, &options, options.style.head()).await);
            }
            if let Some(file) = &mut access {
                file.write(line).await;
            }
            supervisor.log(&node, line.to_owned());
            continue;
        }
        own.write(&line).await;
        last.clone_from(&line);
        supervisor.log(&node, line);
    }
    let _ = last_words.send(last);
}

/// A log that is begun anew when it is large, with some of what was before kept.
struct LogFile<'a> {
    path: PathBuf,
    options: &'a LogOptions,
    /// What each file begins with.
    head: String,
    /// `None` where it cannot be written: a full disk loses lines, never the node.
    file: Option<tokio::fs::File>,
    size: u64,
}

impl<'a> LogFile<'a> {
    /// Goes on with the file where there is one.
    async fn open(path: PathBuf, options: &'a LogOptions, head: String) -> Self {
        let file = tokio::fs::OpenOptions::new().create(true).append(true).open(&path).await.ok();
        let size = match &file {
            Some(file) => file.metadata().await.map_or(0, |metadata| metadata.len()),
            None => 0,
        };
        let mut log = Self { path, options, head, file, size };
        if log.size == 0 {
            log.begin().await;
        }
        log
    }

    async fn begin(&mut self) {
        if let Some(file) = &mut self.file
            && file.write_all(self.head.as_bytes()).await.is_ok()
        {
            self.size = self.head.len() as u64;
        }
    }

    async fn write(&mut self, line: &str) {
        if self.size > self.options.bytes_max {
            self.rotate().await;
        }
        if let Some(file) = &mut self.file {
            if file.write_all(format!("{line}\n").as_bytes()).await.is_ok() {
                self.size += line.len() as u64 + 1;
            }
            let _ = file.flush().await;
        }
    }

    async fn rotate(&mut self) {
        drop(self.file.take());
        for at in (1..self.options.keep).rev() {
            let _ = tokio::fs::rename(rotated(&self.path, at), rotated(&self.path, at + 1)).await;
        }
        if self.options.keep > 0 {
            let _ = tokio::fs::rename(&self.path, rotated(&self.path, 1)).await;
        }
        self.file = tokio::fs::OpenOptions::new().create(true).write(true).truncate(true).open(&self.path).await.ok();
        self.size = 0;
        self.begin().await;
    }
}

fn rotated(path: &std::path::Path, at: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{at}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_turn_to_stop() {
        for role in Role::ALL {
            assert_eq!(STOP_ORDER.iter().filter(|roles| roles.contains(&role)).count(), 1, "{role}");
        }
    }
}
