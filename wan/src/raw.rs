//! What really carries the bytes on this machine: by default a TCP connection over loopback.
//!
//! [`RawDial`] is the seam where something else can stand instead, such as a gate that misbehaves in front of an app.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use nix::sys::socket::{
    setsockopt,
    sockopt::{IpBindAddressNoPort, IpFreebind},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpSocket,
};

/// A byte stream on this machine.
pub trait RawStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> RawStream for T {}

/// A boxed [`RawStream`].
pub type BoxRaw = Box<dyn RawStream>;

/// Opens what really carries the bytes. It must not add latency: that is `wan`'s to make.
pub trait RawDial: Send + Sync {
    /// Opens a stream to `address`, from `source` when given. An error is shown to who dials, after a round trip.
    fn dial(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> Pin<Box<dyn Future<Output = io::Result<BoxRaw>> + Send>>;
}

/// TCP: what carries the bytes unless somebody puts something else under the links.
#[derive(Clone, Copy, Debug)]
pub struct TcpDial;

impl RawDial for TcpDial {
    fn dial(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
    ) -> Pin<Box<dyn Future<Output = io::Result<BoxRaw>> + Send>> {
        Box::pin(async move {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_nodelay(true)?;
            if let Some(source) = source {
                // Choose the port when connecting, so that it need only be free towards this address: else one source
                // address is worth 28,000 connections in all.
                setsockopt(&socket, IpBindAddressNoPort, &true)?;
                if source.is_ipv6() {
                    // Of a network that is local as a whole no address is on any interface, which bind(2) looks for.
                    setsockopt(&socket, IpFreebind, &true)?;
                }
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream: BoxRaw = Box::new(socket.connect(address).await?);
            Ok(stream)
        })
    }
}
