//! The reading side of a client's socket: gives hyper what the [`Screen`] lets pass.
//!
//! Knows sockets, and when the connection has become a tunnel. What passes, and what hyper reads in place of what does not, is decided there.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use cdn_core::framing::{Next, Screen, Stage};
use tokio::io::{AsyncRead, ReadBuf};

use crate::node::Client;

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// See the module.
pub(crate) struct Screened<R> {
    io: R,
    screen: Screen,
    client: Arc<Client>,
}

impl<R> Screened<R> {
    pub(crate) const fn new(io: R, screen: Screen, client: Arc<Client>) -> Self {
        Self { io, screen, client }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Screened<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, screen, client } = self.get_mut();
        if client.is_tunnel() {
            screen.on_tunnel();
            if screen.is_empty() && screen.stage() == Stage::Tunnel {
                return Pin::new(io).poll_read(cx, buffer);
            }
        }
        loop {
            let forgets = match screen.next() {
                Next::Bytes(bytes) => {
                    let len = bytes.len().min(buffer.remaining());
                    buffer.put_slice(bytes.get(..len).unwrap_or_default());
                    screen.advance(len);
                    return Poll::Ready(Ok(()));
                }
                Next::Socket => false,
                Next::Silence => true,
                Next::Answer => return Poll::Pending,
                Next::Error => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            };
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut read))?;
            match (read.filled(), forgets) {
                ([], false) => return Poll::Ready(Ok(())),
                ([], true) => return Poll::Pending,
                (_, true) => {}
                (bytes, false) => {
                    let passed = screen.offer(bytes, buffer.remaining(), |_| false);
                    buffer.put_slice(passed);
                    if !passed.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}
