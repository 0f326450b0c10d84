//! A connection as its user sees it: a byte stream like any other.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conn::Conn;

/// A connection through a link.
///
/// Writing never waits for the distance, only for room in the send buffer. Shutting down passes the end on after the
/// last byte and leaves reading open. A dropped stream delivers what was written, then closes.
pub struct WanStream {
    conn: Arc<Conn>,
    handshake: Duration,
}

impl WanStream {
    pub(crate) const fn new(conn: Arc<Conn>, handshake: Duration) -> Self {
        Self { conn, handshake }
    }

    /// What the link charged for the handshake.
    pub const fn handshake(&self) -> Duration {
        self.handshake
    }
}

impl AsyncRead for WanStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_read(context, target)
    }
}

impl AsyncWrite for WanStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.conn.poll_write(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.conn.poll_write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is on its way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.shut();
        Poll::Ready(Ok(()))
    }
}

impl Drop for WanStream {
    fn drop(&mut self) {
        self.conn.leave();
    }
}

impl Connection for WanStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl fmt::Debug for WanStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WanStream").field("handshake", &self.handshake).finish_non_exhaustive()
    }
}
