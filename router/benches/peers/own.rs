//! The router of this project, as a server process of the benchmark.

use std::{io, net::SocketAddr};

use hyper_util::rt::TokioIo;
use router::{Router, Sockets};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use crate::world;

/// The first argument of such a process.
pub(crate) const ROLE: &str = "serve-as-router";

/// Serves until it is killed.
pub(crate) fn serve(address: &str) {
    let dns: SocketAddr = address.parse().expect("an address");
    let mut config = world::config();
    // There are no edges, and nobody asks whether they live.
    config.routing.probe.interval = std::time::Duration::from_secs(600);
    let sockets = Sockets::bind(dns, SocketAddr::from(([127, 0, 0, 1], 0)), 1).expect("sockets");
    let connect = service_fn(|_: http::Uri| async {
        Err::<TokioIo<tokio::net::TcpStream>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    });
    let (router, _) = Router::build(config, sockets, connect).expect("a router");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(router.serve(CancellationToken::new())).expect("it serves");
}
