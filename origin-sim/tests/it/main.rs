//! The origin over real sockets, with a client that speaks raw HTTP/1.1 so that nothing is smoothed over.

mod client;
mod directory;
mod faults;
mod gate;
mod hostile;
mod https;
mod simulated;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use cdn_core::{NodeId, Role};
use origin_sim::{Config, Handle, OriginSim};
use tokio_util::sync::{CancellationToken, DropGuard};

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(20);
const SEED: u64 = 42;

/// An origin that runs until it is dropped.
struct Origin {
    address: SocketAddr,
    handle: Handle,
    _stop: DropGuard,
}

impl Origin {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(NodeId::new(Role::Origin, "primary"), SEED);
        change(&mut config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (origin, handle) = OriginSim::build(config, listener).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(origin.serve(stop.clone()));
        Self { address, handle, _stop: stop.drop_guard() }
    }
}

/// Waits until `condition` holds.
async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "{what}: did not happen");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
