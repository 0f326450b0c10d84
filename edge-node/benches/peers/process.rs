//! Server processes: on one core, with a directory of their own, gone when they are dropped; and what they have used.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Servers run here.
const SERVER_CORE: &str = "0";
/// The generator, and the origin that this process plays.
const LOAD_CORE: &str = "1";

/// A server that listens.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl Server {
    /// Starts `command` on the servers' core and waits until `address` accepts. `None` where it cannot be started.
    pub(crate) fn start(command: &[&str], address: SocketAddr, directory: TempDir) -> Option<Self> {
        let log = fs::File::create(directory.path().join("output.log")).ok()?;
        let mut child = on_core(SERVER_CORE, command)
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().ok()?)
            .stderr(log)
            .spawn()
            .ok()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(directory.path().join("output.log")).unwrap_or_default();
                eprintln!("{command:?} does not listen ({ended:?}): {said}");
                let _ = child.kill();
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { address, child, directory })
    }

    /// CPU time of the server's processes so far.
    pub(crate) fn cpu(&self) -> Duration {
        // proc(5): clock ticks, 100 a second on every Linux.
        family(self.child.id()).into_iter().map(|pid| Duration::from_millis(ticks(pid) * 10)).sum()
    }

    /// Memory that the server has now, in bytes, its allocator's reserves included.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
    }

    /// What an edge answers to a line on its stdin; see [`crate::edge::serve`].
    pub(crate) fn counted_bytes(&mut self) -> u64 {
        let log = self.directory.path().join("output.log");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let before = said().len();
        self.child.stdin.as_mut().and_then(|stdin| stdin.write_all(b"\n").ok()).expect("it listens to us");
        loop {
            if let Some(line) = said().get(before..).filter(|line| line.ends_with('\n')) {
                return line.trim().parse().expect("a number");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in family(self.child.id()) {
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        let _ = self.child.wait();
    }
}

/// A command on one core, where the machine has two.
fn on_core(core: &str, command: &[&str]) -> Command {
    let pinned = ["taskset", "-c", core];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let words: Vec<&str> =
        if cores > 1 { pinned.into_iter().chain(command.iter().copied()).collect() } else { command.to_vec() };
    let mut built = Command::new(words.first().copied().unwrap_or_default());
    built.args(words.get(1..).unwrap_or_default());
    built
}

/// A generator's output; `None` where it is not installed.
pub(crate) fn generate(command: &[&str]) -> Option<String> {
    let output = on_core(LOAD_CORE, command).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Keeps this process away from the servers' core.
pub(crate) fn pin_self() {
    let pid = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-a", "-p", "-c", LOAD_CORE, &pid]).stdout(Stdio::null()).status();
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Whether a program can be started by its name.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/usr/local/sbin"].map(Into::into);
    std::env::split_paths(&paths).chain(beside).any(|folder| Path::new(&folder).join(program).exists())
}

/// A process and all that descend from it.
fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat_field(pid, 1)? as u32)))
        .collect();
    let mut family = vec![root];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

/// User and system time.
fn ticks(pid: u32) -> u64 {
    stat_field(pid, 11).unwrap_or_default() + stat_field(pid, 12).unwrap_or_default()
}

/// A number of proc(5)'s `stat`, counted from the field after the command's name.
fn stat_field(pid: u32, place: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(place)?.parse().ok()
}
