//! Connections of QUIC over a viewer's network.
//!
//! Each has a datagram socket of its own in the viewer's place, so that its packets are delayed and lost as the links say.
//! Whom to connect to, and when to give up, is for others.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, ClientConfig, ConnectionError, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, UdpPoller,
    VarInt,
    udp::{RecvMeta, Transmit},
};

use crate::net::{Datagrams, Net, Source};

/// Bytes of one response that may come before they are read: Linux's largest receive buffer of TCP (`tcp_rmem`), so that a
/// long fat link is used as well by either.
const WINDOW_BYTES: u32 = 6 << 20;

/// How connections behave; one on which nothing comes for `idle_timeout` has ended.
pub(crate) fn transport(idle_timeout: Duration) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .max_idle_timeout(idle_timeout.try_into().ok())
        .max_concurrent_bidi_streams(0_u8.into())
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// Connects to `host` at `to`, TLS included, in one round trip when nothing is wrong.
///
/// # Errors
/// `InvalidData` where the handshake came to nothing, `ConnectionRefused`, `TimedOut`, and those of `net`.
pub(crate) async fn connect(
    net: Arc<dyn Net>,
    from: Source,
    to: SocketAddr,
    host: &str,
    config: ClientConfig,
) -> io::Result<quinn::Connection> {
    let socket = Arc::new(Socket { datagrams: net.open_datagrams(from, to).await?, peer: to });
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let connecting = endpoint.connect_with(config, to, bare).map_err(io::Error::other)?;
    connecting.await.map_err(|error| io::Error::new(kind_of(&error), error))
}

fn kind_of(error: &ConnectionError) -> io::ErrorKind {
    /// RFC 9000 section 20.1.
    const CONNECTION_REFUSED: u64 = 2;
    let code = match error {
        ConnectionError::TimedOut => return io::ErrorKind::TimedOut,
        ConnectionError::Reset => return io::ErrorKind::ConnectionReset,
        ConnectionError::VersionMismatch => return io::ErrorKind::InvalidData,
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => return io::ErrorKind::Other,
    };
    match code {
        CONNECTION_REFUSED => io::ErrorKind::ConnectionRefused,
        // What TLS says (RFC 9001 section 4.8).
        0x100..0x200 => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    }
}

/// Datagrams as quinn wants them.
struct Socket {
    datagrams: Box<dyn Datagrams>,
    peer: SocketAddr,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Ready)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.datagrams.send(transmit.contents)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        let len = ready!(self.datagrams.poll_recv(cx, buffer))?;
        *meta = RecvMeta { addr: self.peer, len, stride: len, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        // Quinn asks for the family alone.
        Ok(match self.peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        })
    }

    fn may_fragment(&self) -> bool {
        // A link carries a datagram whole, so its length may be tried out.
        false
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A network takes every datagram at once, or loses it.
#[derive(Debug)]
struct Ready;

impl UdpPoller for Ready {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
