//! Worlds for tests: started in the background, asked through the command line, stopped when dropped.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::raw::record;

/// The binary under test.
pub(crate) const ISO: &str = env!("CARGO_BIN_EXE_iso");

/// A running world.
pub(crate) struct World {
    home: TempDir,
    status: Value,
}

impl World {
    /// Starts `iso up -d --wait` with `args` on a free block of ports.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::none().up(args)
    }

    /// Starts the world that a cluster file of this text describes.
    pub(crate) fn of_file(cluster: &str) -> Self {
        Self::none().with_file(cluster)
    }

    /// The same, with what stands in its state directory already.
    pub(crate) fn with_file(self, cluster: &str) -> Self {
        let file = self.home().join("cluster.toml");
        std::fs::write(&file, cluster).expect("a cluster file");
        self.up(&["--config", &file.to_string_lossy()])
    }

    /// Starts the world in this state directory.
    pub(crate) fn up(mut self, args: &[&str]) -> Self {
        let mut all = vec!["up", "-d", "--wait", "--timeout", "60s", "--json"];
        if !args.contains(&"--base-port") {
            all.extend(["--base-port", "0"]);
        }
        all.extend(args);
        // Two tests may look for a free block at the same moment.
        for attempt in 0.. {
            let output = self.iso(&all);
            if output.status.success() {
                self.status = json_of(&output);
                return self;
            }
            let said = text(&output.stderr);
            assert!(attempt < 5 && said.contains("taken by"), "iso up failed: {said}");
        }
        self
    }

    /// A state directory without a world in it.
    pub(crate) fn none() -> Self {
        Self { home: TempDir::new().expect("a temporary directory"), status: Value::Null }
    }

    /// Where its state stands.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command line in this world's state directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ISO);
        command.args(args).env("ISO_HOME", self.home.path()).env_remove("ISO_WORLD").env("NO_COLOR", "1");
        command.stdin(Stdio::null());
        command
    }

    /// Runs `iso ARGS`.
    pub(crate) fn iso(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("iso runs")
    }

    /// Runs `iso ARGS`, which must succeed; its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.iso(args);
        assert!(
            output.status.success(),
            "iso {args:?}: {}\nstdout: {}\nstderr: {}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs `iso ARGS --json`, which must succeed; its document.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.insert(1, "--json");
        let out = self.ok(&args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("iso {args:?} printed no JSON ({error}): {out}"))
    }

    /// `iso curl --from PLACE -- ARGS`; its stdout.
    pub(crate) fn curl(&self, place: &str, args: &[&str]) -> String {
        let mut all = vec!["curl", "--from", place, "--", "-sS", "--max-time", "60"];
        all.extend(args);
        self.ok(&all)
    }

    /// One request of a viewer in `place` for a path of the demo site, and where its time went.
    pub(crate) fn ledger(&self, place: &str, options: &[&str], path: &str) -> Value {
        let url = format!("http://www.demo.test{path}");
        let mut all = vec!["curl", "--json", "--from", place, "--ledger"];
        all.extend(options);
        all.extend(["--", "-sS", "-o", "/dev/null", "--max-time", "60", &url]);
        let out = self.ok(&all);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("iso {all:?} printed no JSON ({error}): {out}"))
    }

    /// The model's round trip between two places of this world in milliseconds.
    pub(crate) fn rtt(&self, a: &str, b: &str) -> f64 {
        self.json(&["world", "rtt", a, b])["rtt_ms"].as_f64().expect("rtt_ms")
    }

    /// What dig says (where there is none, what a question written by hand gets) when it asks the router for the demo site
    /// on behalf of a client network.
    pub(crate) fn dig(&self, client: &str) -> Vec<String> {
        let dns = self.address("router.iad", "dns");
        let (ip, port) = dns.split_once(':').expect("ip:port");
        if !has("dig") {
            return dig_by_hand(&dns, client);
        }
        let subnet = format!("+subnet={client}");
        let out = run("dig", &[&format!("@{ip}"), "-p", port, "www.demo.test", "+short", "+tries=1", &subnet]);
        out.lines().map(str::to_owned).collect()
    }

    /// The client network in which viewers of a place stand.
    pub(crate) fn network(&self, place: &str) -> String {
        let route = self.json(&["explain", "route", "--from", place]);
        route["client"]["block"].as_str().expect("a block").to_owned()
    }

    /// The address without the port on which a node takes HTTP.
    pub(crate) fn ip(&self, id: &str) -> String {
        self.address(id, "http").split(':').next().expect("an address").to_owned()
    }

    /// A request to the control API by curl, with the cluster's token; status and body.
    pub(crate) fn control(&self, path: &str) -> (u16, String) {
        let record = record(self);
        let token = format!("Authorization: Bearer {}", record["token"].as_str().expect("a token"));
        let url = format!("http://{}{path}", record["control"].as_str().expect("an address"));
        status_and_body(&run("curl", &["-sS", "-w", "\n%{http_code}", "-H", &token, &url]))
    }

    /// What `iso up` printed.
    pub(crate) fn status(&self) -> &Value {
        &self.status
    }

    /// What `iso status --json` prints now.
    pub(crate) fn status_now(&self) -> Value {
        self.json(&["status"])
    }

    /// A node of the status.
    pub(crate) fn node(&self, id: &str) -> Value {
        let status = self.status_now();
        node_in(&status, id)
    }

    /// The address of kind `kind` of a node.
    pub(crate) fn address(&self, id: &str, kind: &str) -> String {
        let node = node_in(&self.status, id);
        let address = &node["addresses"][kind];
        address.as_str().unwrap_or_else(|| panic!("{id} has no {kind} address: {node}")).to_owned()
    }

    /// Waits until `is_true`, at most 20 s.
    pub(crate) fn until<T>(&self, what: &str, mut is_true: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(value) = is_true() {
                return value;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}\n{}", text(&self.iso(&["status"]).stdout));
            // Between two looks; what ends the wait is the condition or the deadline.
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until a node's health is `health`.
    pub(crate) fn until_health(&self, id: &str, health: &str) {
        self.until(&format!("{id} is {health}"), || (self.node(id)["health"] == health).then_some(()));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in std::fs::read_dir(self.home.path().join("worlds")).into_iter().flatten().flatten() {
            let name = name.file_name().to_string_lossy().into_owned();
            let down = self.iso(&["down", "--world", &name]);
            if std::thread::panicking() {
                let path = self.home.path().join("worlds").join(&name).join("up.log");
                eprintln!("--- up.log\n{}", std::fs::read_to_string(path).unwrap_or_default());
                eprintln!("{}", text(&down.stderr));
            }
        }
    }
}

/// A node of a status document.
pub(crate) fn node_in(status: &Value, id: &str) -> Value {
    let nodes = status["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["id"] == id).unwrap_or_else(|| panic!("no {id} in {status}")).clone()
}

/// Runs a program of the system, which must succeed; its stdout.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// Takes apart what `curl -w '\n%{http_code}'` printed.
pub(crate) fn status_and_body(out: &str) -> (u16, String) {
    let (body, status) = out.rsplit_once('\n').expect("a status at the end");
    (status.parse().expect("a status"), body.to_owned())
}

/// Milliseconds of the entries of a ledger that are of kind `step`.
pub(crate) fn spent(ledger: &Value, step: &str) -> Vec<f64> {
    let entries = ledger["entries"].as_array().expect("entries").iter();
    entries.filter(|entry| entry["step"] == step).filter_map(|entry| entry["duration_ms"].as_f64()).collect()
}

/// What happened in the entries of a ledger that are of kind `step`.
pub(crate) fn details(ledger: &Value, step: &str) -> Vec<String> {
    let entries = ledger["entries"].as_array().expect("entries").iter();
    entries.filter(|entry| entry["step"] == step).map(|entry| entry["detail"].to_string().replace('"', "")).collect()
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The document that a command printed.
pub(crate) fn json_of(output: &Output) -> Value {
    let out = text(&output.stdout);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("no JSON ({error}): {out}\n{}", text(&output.stderr)))
}

/// The value of a header in what `curl -i` printed.
pub(crate) fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    response.lines().take_while(|line| !line.trim().is_empty()).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Whether this machine has a program.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// One question for the demo site's addresses with a /24 client subnet (RFC 7871), byte by byte; the addresses.
fn dig_by_hand(dns: &str, client: &str) -> Vec<String> {
    let net: Vec<u8> = client.split(['.', '/']).take(3).map(|part| part.parse().expect("a network")).collect();
    let mut question = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    question.extend(b"\x03www\x04demo\x04test\0\0\x01\0\x01");
    question.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, net[0], net[1], net[2]]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.send_to(&question, dns).expect("sent");
    let mut answer = [0; 1232];
    let length = socket.recv(&mut answer).expect("an answer");
    // Answers follow the question: a name (a pointer), type, class, TTL, length, address.
    let records = answer[31..length].chunks_exact(16).take(usize::from(answer[7]));
    records.map(|record| format!("{}.{}.{}.{}", record[12], record[13], record[14], record[15])).collect()
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X'])))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
}
