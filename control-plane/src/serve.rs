//! Build, announce, serve, drain: the listener of the control API, and the [`Handle`] through which the owner of the
//! processes tells what becomes of nodes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use cdn_core::{Counter, Counters, NodeId};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{
    access::Peer,
    config::{BuildError, Config},
    hands::Hands,
    plane::Plane,
    registry::Started,
    routes,
    wire::{Addresses, Health, LinksReport, Status},
};

/// How long to wait after accepting failed, which is when files run out.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The control plane, built and listening, not yet serving.
pub struct ControlPlane {
    plane: Arc<Plane>,
    listener: TcpListener,
    address: SocketAddr,
}

/// Tells a control plane what becomes of nodes. Cheap to clone; outlives the control plane without harm.
#[derive(Clone)]
pub struct Handle {
    plane: Arc<Plane>,
}

impl ControlPlane {
    /// Checks `config` and puts everything together; nothing runs yet.
    ///
    /// # Errors
    /// The token is weak, two nodes have one id, or the listener is not on loopback.
    pub fn build(config: Config, listener: TcpListener, hands: Arc<dyn Hands>) -> Result<(Self, Handle), BuildError> {
        let address = listener.local_addr()?;
        config.check(address)?;
        let plane = Arc::new(Plane::new(config, address.port(), hands));
        let handle = Handle { plane: plane.clone() };
        Ok((Self { plane, listener, address }, handle))
    }

    /// Where the API listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then ends streams and gives open requests `Limits::drain_grace`.
    pub async fn serve(self, shutdown: CancellationToken) {
        let router = routes::router(&self.plane);
        let connections = TaskTracker::new();
        let stop = async {
            shutdown.cancelled().await;
            self.plane.stopping.cancel();
        };
        tokio::join!(stop, self.plane.keep_time(), self.plane.keep_configured(), self.accept(&router, &connections));
        connections.close();
        // Connections know about the grace themselves.
        connections.wait().await;
    }

    async fn accept(&self, router: &Router, connections: &TaskTracker) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.plane.stopping.cancelled() => return,
            };
            match accepted {
                Ok(_) if connections.len() >= self.plane.config.limits.connections_max => {
                    self.plane.counters.bump(Counter::ControlConnectionsRefused);
                }
                Ok((stream, peer)) => {
                    connections.spawn(serve_connection(self.plane.clone(), router.clone(), stream, Peer(peer)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the control API could not accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }
}

async fn serve_connection(plane: Arc<Plane>, router: Router, stream: TcpStream, peer: Peer) {
    let _ = stream.set_nodelay(true);
    plane.counters.add(Counter::ControlConnections, 1);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(plane.config.limits.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            // hyper has answered a malformed or oversized head by itself.
            if ended.is_err_and(|error| error.is_parse()) {
                plane.counters.bump(Counter::ControlRejected);
            }
        }
        () = plane.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(plane.config.limits.drain_grace, connection).await;
        }
    }
    plane.counters.sub(Counter::ControlConnections, 1);
}

impl Handle {
    /// What the control plane counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.plane.counters
    }

    /// The document of `GET /v1/status`.
    pub fn status(&self) -> Status {
        self.plane.status()
    }

    /// A process of `node` runs and has said where it listens. Active faults and drains are applied again.
    pub fn node_started(&self, node: &NodeId, pid: u32, addresses: Addresses) {
        let started = self.plane.state().registry.handle_started(node, pid, addresses);
        match started {
            Some(Started { again: true, restarts }) => {
                self.plane.tell("restart", Some(node), format!("{node} restarted, pid {pid}, restart {restarts}"));
            }
            Some(_) => self.plane.tell("started", Some(node), format!("{node} runs, pid {pid}")),
            None => return tracing::warn!(%node, "a node that nobody knows has started"),
        }
        self.plane.tell_health();
        self.plane.apply_again();
    }

    /// The process of `node` has ended; `how` is for people, such as `signal 9` or `exit code 1`.
    pub fn node_exited(&self, node: &NodeId, how: &str) {
        let known = {
            let mut state = self.plane.state();
            let crate::plane::State { registry, desired, .. } = &mut *state;
            registry.handle_exited(node, how, desired)
        };
        if known {
            self.plane.tell("exited", Some(node), format!("{node} ended: {how}"));
            self.plane.tell_health();
        }
    }

    /// What the health checks of `node` say: up, suspect or down. Draining and stopped are known here. Ignored while
    /// the node has no process.
    pub fn node_health(&self, node: &NodeId, health: Health) {
        self.plane.state().registry.handle_health(node, health);
        self.plane.tell_health();
    }

    /// The links have been measured.
    pub fn links_measured(&self, report: LinksReport) {
        self.plane.links_measured(report);
    }

    /// Something else has happened that belongs into the timeline.
    pub fn event(&self, kind: &str, node: Option<&NodeId>, text: &str) {
        self.plane.tell(kind, node, text);
    }
}

impl Plane {
    /// Remembers and tells what was measured.
    pub(crate) fn links_measured(&self, report: LinksReport) {
        let worst = report.worst_error_ms().map(|ms| format!(", worst error {ms:.1} ms")).unwrap_or_default();
        let missing = match report.unmeasured.len() {
            0 => String::new(),
            n => format!(", {n} could not be measured"),
        };
        self.tell("links", None, format!("{} links measured{worst}{missing}", report.links.len()));
        self.state().links = Some(report);
    }
}
