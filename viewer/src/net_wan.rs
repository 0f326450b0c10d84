//! The world's links as a viewer's network.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::sleep;
use wan::{Wan, WanUdp};
use world::SiteId;

use crate::net::{BoxFuture, BoxIo, Datagrams, Net, Source};

impl Net for Wan {
    fn connect(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        let dialer = self.dialer(from.site, Some(IpAddr::V4(from.address)));
        Box::pin(async move { Ok(Box::new(dialer.connect(to).await?) as BoxIo) })
    }

    fn open_datagrams(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>> {
        let wan = self.clone();
        Box::pin(async move {
            let socket = wan.datagram(from.site, Some(IpAddr::V4(from.address))).await?;
            Ok(Box::new(Socket { socket, peer: to }) as Box<dyn Datagrams>)
        })
    }

    fn cross(&self, from: &SiteId, to: &SiteId) -> BoxFuture<'static, ()> {
        let one_way = if from == to { None } else { self.path(from, to).map(|path| path.rtt / 2) };
        Box::pin(async move {
            if let Some(one_way) = one_way {
                sleep(one_way).await;
            }
        })
    }

    fn wait_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let wan = self.clone();
        Box::pin(async move { wan.wait_until(at).await })
    }
}

/// A datagram socket that hears one peer.
struct Socket {
    socket: WanUdp,
    peer: SocketAddr,
}

impl Datagrams for Socket {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, self.peer).map(drop)
    }

    fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let (length, sender) = ready!(self.socket.poll_recv_from(cx, buffer))?;
            if sender == self.peer {
                return Poll::Ready(Ok(length));
            }
        }
    }
}
