//! The seam between a viewer and the network it uses.
//!
//! A viewer dials, sends datagrams and crosses from place to place only through [`Net`], so that nothing it sends can
//! bypass the world's links. This module refuses to know what a link is; `wan` does, and tests use plain loopback.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite};
use world::SiteId;

/// A future without a name.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A byte stream to the other end.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Any byte stream.
pub type BoxIo = Box<dyn Io>;

/// Where something comes from: a site, and the address to bind on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The site whose links are used.
    pub site: SiteId,
    /// The local address of the socket.
    pub address: Ipv4Addr,
}

/// The network, as seen by whoever stands somewhere in it.
pub trait Net: Send + Sync + 'static {
    /// Opens a connection. Kinds of failure: `ConnectionRefused`, `ConnectionReset`, `TimedOut`, `NotFound` (no site
    /// owns the address). A black hole never resolves; the caller brings the timeout.
    fn connect(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>>;

    /// Opens a socket for datagrams to and from `to`.
    fn open_datagrams(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>>;

    /// Waits as long as a small packet takes from one site to another; no time at all within a site.
    fn cross(&self, from: &SiteId, to: &SiteId) -> BoxFuture<'static, ()>;

    /// Waits until `at`, as exactly as the network itself keeps time.
    fn wait_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}

/// A connected datagram socket. One task may receive at a time.
pub trait Datagrams: Send + Sync + 'static {
    /// Sends one datagram. A network takes it at once, or loses it.
    ///
    /// # Errors
    /// There is no way to the peer, or the socket is broken.
    fn send(&self, datagram: &[u8]) -> io::Result<()>;

    /// Receives one datagram into `buffer`, cut to its size, and says how long it is.
    ///
    /// # Errors
    /// The socket is broken.
    fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
}
