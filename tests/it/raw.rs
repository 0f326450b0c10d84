//! Raw sockets to a running world, and worlds that the tests of a module share while any of them runs.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use serde_json::Value;

use crate::harness::World;

/// A world that is started by the first who wants it and stopped when the last who has it is done.
pub(crate) struct Shared(Mutex<Weak<World>>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    pub(crate) fn world(&self, start: impl FnOnce() -> World) -> Arc<World> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(world) = shared.upgrade() {
            return world;
        }
        let world = Arc::new(start());
        *shared = Arc::downgrade(&world);
        world
    }
}

/// All that came back on a connection.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) text: String,
    /// Whether the other side closed; otherwise it had nothing more to say for ten seconds.
    pub(crate) is_closed: bool,
}

impl Reply {
    /// The first status; 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        let word = self.text.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        word.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn reason(&self) -> &str {
        crate::harness::header(&self.text, "x-iso-reason").unwrap_or("")
    }

    /// How many responses came.
    pub(crate) fn responses(&self) -> usize {
        self.text.matches("HTTP/1.1 ").count()
    }

    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends `bytes` and takes what comes until the other side closes.
pub(crate) fn exchange(address: &str, bytes: impl AsRef<[u8]>) -> Reply {
    let mut stream = connect(address);
    // Who has heard enough may close before we have said all.
    let _ = stream.write_all(bytes.as_ref());
    rest_of(&mut stream)
}

/// What comes until the other side closes.
pub(crate) fn rest_of(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    let is_closed = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break false,
            Err(_) => break true,
        }
    };
    Reply { text: String::from_utf8_lossy(&bytes).into_owned(), is_closed }
}

/// What `iso` itself knows of the world: the control API's address and the cluster's token.
pub(crate) fn record(world: &World) -> Value {
    let path = world.home().join("worlds/default/world.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A request with the cluster's token to `address`, the control API's or an admin port.
pub(crate) fn admin(world: &World, address: &str, method: &str, path: &str, body: &str) -> Reply {
    let token = record(world)["token"].as_str().unwrap().to_owned();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(address, head)
}

/// The control API.
pub(crate) fn control(world: &World) -> String {
    record(world)["control"].as_str().unwrap().to_owned()
}

/// A counter in `/metrics`, of one node; of the control plane itself where `node` is empty.
pub(crate) fn metric(world: &World, name: &str, node: &str) -> u64 {
    let control = control(world);
    let text = admin(world, &control, "GET", "/metrics", "").text;
    let label = format!("node=\"{node}\"");
    let line = text.lines().find(|line| {
        let Some(rest) = line.strip_prefix(name) else { return false };
        rest.starts_with(['{', ' ']) && (node.is_empty() || rest.contains(&label))
    });
    let line = line.unwrap_or_else(|| panic!("no {name} of {node:?} in {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// Waits until a counter is at least `wanted`.
pub(crate) fn until_counted(world: &World, name: &str, node: &str, wanted: u64) {
    world.until(&format!("{name} of {node} is {wanted}"), || (metric(world, name, node) >= wanted).then_some(()));
}
