//! The commands that README.md shows are run, in their order, in one world.
//!
//! A line that begins with `$ ` in a `console` block is a command. They run as they stand, with `iso` on the path, but
//! for what [`Shell::run`] says: ports are moved to where the world really is, since 4400 may be somebody's.

use std::{
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    process::{Child, Command, Output, Stdio},
};

use crate::{
    harness::{ISO, World, has, root, text},
    raw::record,
};

/// Commands that are not run, and why.
const SKIPPED: [(&str, &str); 2] =
    [("cargo test", "that is who is asking"), ("cargo install", "the binary under test is on the path already")];

/// Commands whose failure may be this machine's and not theirs.
const MAY_FAIL: [(&str, &str); 1] = [("iso doctor", "a machine that is too busy for its links is what it looks for")];

/// Ports that documents name, all in the block that begins at the first.
const PORTS: [u16; 6] = [4400, 4443, 4453, 4470, 4480, 4488];

/// Files that commands write.
const WRITTEN: [&str; 4] = ["team.pem", "cookies.txt", "routing.html", "exported.json"];

/// The port of somebody's own app in documents.
const APP_PORT: &str = "3000";

/// The commands of a document, in order.
fn commands(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut is_console = false;
    let mut commands: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_console = language == "console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            commands.push(command.trim().to_owned());
        }
    }
    commands
}

/// A terminal in which a reader types what a document shows.
struct Shell {
    world: World,
    app_port: String,
    /// Where the ports of the running world begin.
    base: u16,
    jobs: Vec<Child>,
}

impl Shell {
    fn open() -> Self {
        let world = World::none();
        let bin = world.home().join("bin");
        std::fs::create_dir(&bin).unwrap();
        symlink(ISO, bin.join("iso")).unwrap();
        let app_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        Self { world, app_port, base: PORTS[0], jobs: Vec::new() }
    }

    /// Runs one command, which must succeed. The world takes free ports instead of 4400 and following; what runs in the
    /// foreground until Ctrl-C is started in the background and stopped.
    fn run(&mut self, shown: &str) {
        if SKIPPED.iter().any(|(prefix, _)| shown.starts_with(prefix)) {
            return;
        }
        let command = self.translated(shown);
        if let Some(job) = command.strip_suffix('&') {
            self.start(job.trim(), shown);
            return;
        }
        if let Some(up) = command.strip_prefix("cargo run --release -- up") {
            self.run_up(&format!("iso up -d --wait {}", without_comment(up)), shown);
            self.must(&self.shell("iso down"), shown);
        } else if command.starts_with("iso up") {
            assert!(command.contains(" -d"), "{shown}: a foreground world holds up the reader who copies a block");
            self.run_up(without_comment(&command), shown);
        } else {
            let output = self.shell(&command);
            if !MAY_FAIL.iter().any(|(prefix, _)| shown.starts_with(prefix)) {
                self.must(&output, shown);
            }
        }
    }

    fn run_up(&mut self, command: &str, shown: &str) {
        let command = format!("{command} --base-port 0");
        let mut output = self.shell(&command);
        // Two tests may look for a free block at the same moment.
        for _ in 0..5 {
            if output.status.success() || !text(&output.stderr).contains("taken by") {
                break;
            }
            output = self.shell(&command);
        }
        self.must(&output, shown);
        self.base = u16::try_from(record(&self.world)["base_port"].as_u64().unwrap()).unwrap();
    }

    /// Ports as they are here; a port stands after a colon or `-p`, or is the app's.
    fn translated(&self, shown: &str) -> String {
        let mut command = shown.to_owned();
        for port in PORTS {
            let here = self.base + (port - PORTS[0]);
            for before in [":", "-p "] {
                command = command.replace(&format!("{before}{port}"), &format!("{before}{here}"));
            }
        }
        command = command.replace("~/.local/state/isochrone", &self.world.home().to_string_lossy());
        // What a reader writes goes into a directory of its own.
        for written in WRITTEN {
            command = command.replace(written, &self.world.home().join(written).to_string_lossy());
        }
        command.replace(APP_PORT, &self.app_port)
    }

    fn prepared(&self, command: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(root())
            .env("PATH", format!("{}:{path}", self.world.home().join("bin").display()))
            .env("ISO_HOME", self.world.home())
            .env("NO_COLOR", "1")
            .env_remove("ISO_WORLD")
            .stdin(Stdio::null());
        shell
    }

    fn shell(&self, command: &str) -> Output {
        self.prepared(command).output().unwrap()
    }

    /// A job in the background: here the app, which is there when its port answers.
    fn start(&mut self, command: &str, shown: &str) {
        if command.starts_with("python3") && !has("python3") {
            eprintln!("not started, for want of python3: {shown}");
            return;
        }
        let job =
            self.prepared(&format!("exec {command}")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.jobs.push(job);
        let address = format!("127.0.0.1:{}", self.app_port);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while TcpStream::connect(&address).is_err() {
            let ended = self.jobs.last_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "$ {shown}\nended: {ended:?}");
            assert!(std::time::Instant::now() < deadline, "$ {shown}\nnobody listens on {address}");
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn must(&self, output: &Output, shown: &str) {
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "$ {shown}\n{}\n{out}\n{err}", output.status);
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        for job in &mut self.jobs {
            let _ = job.kill();
            let _ = job.wait();
        }
    }
}

fn without_comment(command: &str) -> &str {
    command.split(" #").next().unwrap_or(command).trim()
}

#[test]
fn the_commands_of_the_readme_do_what_they_say() {
    let commands = commands("README.md");
    assert!(commands.len() >= 10, "{commands:?}");
    let mut shell = Shell::open();
    for command in &commands {
        shell.run(command);
    }
}
