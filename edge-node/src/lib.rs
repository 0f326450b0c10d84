//! The caching proxy: a node that viewers talk to, or a regional cache or shield that other nodes talk to.
//!
//! It speaks HTTP/1.1, HTTP/2 and HTTP/3 to clients and HTTP/1.1 to origins, and acts on what `cdn_core` decides:
//! which requests share an object, what is fresh, which origin is asked next. It is handed its listeners and its
//! connector, so it cannot tell an emulated network from a real one; it has no admin interface of its own, only a
//! [`Handle`].
//!
//! Plain HTTP/1.1 hits take a short way past hyper, through the same steps.
//!
//! ```text
//! connection (guard, hyper, h3) → service (admit) ─► function? → store ──hit──────────────► respond
//!                                  │             └─miss─► disk ─► flight ─► fetch (parents, origin group) ─► respond
//!                                  ├──► pass ─► fetch
//!                                  └──► tunnel (WebSocket)
//! ```

mod access_log;
mod asked;
mod body;
mod clock;
mod config;
mod connection;
mod decision_log;
mod dial;
mod disk;
mod encode;
mod error_pages;
mod explain;
mod extras;
mod fetch;
mod functions;
mod handle;
mod lead;
mod miss;
mod node;
mod object;
mod origin_tls;
mod pass;
mod pool;
mod promote;
mod purge;
mod respond;
mod service;
mod short_way;
mod signatures;
mod store;
mod timing;
mod tls;
mod tunnel;
mod verify;

use std::{
    io,
    net::{TcpListener, UdpSocket},
    sync::Arc,
};

use cdn_core::distribution::DistributionConflict;
use tokio_util::sync::CancellationToken;

#[cfg(fuzzing)]
pub use crate::connection::fuzzing;
pub use crate::{
    access_log::{LineWriter, LogFormat, LogWriter, REALTIME_LINE, STANDARD_LINE},
    config::{Compression, Config, DiskConfig, HttpsConfig, HttpsOrigin, Limits, Parent, Places, Tier},
    decision_log::{DecisionLogOptions, Replay, Replayed, Tally},
    dial::{BoxConnect, BoxIo, Connection, boxed, tcp},
    disk::empty_disk,
    explain::{Explanation, OriginProspect, ParentProspect, Supposed},
    functions::{FunctionError, FunctionLimits, FunctionRun, OriginChanges, check_function, try_function},
    handle::{Entry, Handle, InvalidateError, Shown},
    tls::{Certificate, CertificateError},
    verify::SignatureLibraries,
};

/// Why a node cannot be built.
#[derive(Debug)]
pub enum BuildError {
    /// Two distributions claim one id or host.
    Distributions(DistributionConflict),
    /// The file system refuses the disk tier its directory, or another process uses it.
    Disk(io::Error),
    /// The file system refuses the decision log its file.
    DecisionLog(io::Error),
    /// A certificate cannot be used.
    Certificate(CertificateError),
    /// What is to be trusted with an origin (its id comes first) is no certificate.
    OriginAuthorities(String, String),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Distributions(error) => error.fmt(f),
            Self::Certificate(error) => error.fmt(f),
            Self::OriginAuthorities(origin, why) => {
                write!(f, "what is to be trusted with origin {origin:?} cannot be used: {why}")
            }
            Self::DecisionLog(error) => write!(f, "the decision log cannot be written: {error}"),
            Self::Disk(error) => write!(f, "the disk tier cannot be used: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}

/// A node that is ready to serve.
#[derive(Debug)]
pub struct Edge {
    node: Arc<node::Node>,
    listeners: Listeners,
}

/// Where a node listens.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For cleartext HTTP.
    pub http: Vec<TcpListener>,
    /// For HTTPS; used where the config has it.
    pub https: Vec<TcpListener>,
    /// For HTTP/3, at the addresses and ports of `https`; used where the config has HTTPS.
    pub quic: Vec<UdpSocket>,
}

impl From<Vec<TcpListener>> for Listeners {
    fn from(http: Vec<TcpListener>) -> Self {
        Self { http, https: Vec::new(), quic: Vec::new() }
    }
}

impl Edge {
    /// A node with its listeners and its connector, and the handle by which it is told things while it runs.
    ///
    /// # Errors
    /// [`BuildError`] where two distributions claim one id or host, the disk tier cannot be used, the decision log cannot be written, or a
    /// certificate cannot be used.
    pub fn build(
        config: Config,
        listeners: impl Into<Listeners>,
        connect: BoxConnect,
    ) -> Result<(Self, Handle), BuildError> {
        let node = Arc::new(node::Node::new(config, connect)?);
        let handle = Handle::new(Arc::clone(&node));
        Ok((Self { node, listeners: listeners.into() }, handle))
    }

    /// Serves until `shutdown`, then stops accepting, lets requests finish within the drain grace, and ends.
    ///
    /// # Errors
    /// Where a listener cannot be used.
    pub async fn serve(self, shutdown: CancellationToken) -> io::Result<()> {
        let node = Arc::clone(&self.node);
        let served = connection::serve(self.node, self.listeners, shutdown).await;
        if let Some(disk) = &node.disk {
            // Nobody is served any more, so nobody waits while this does.
            disk.close();
        }
        served
    }
}
