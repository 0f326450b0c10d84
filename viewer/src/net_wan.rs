//! The world's links as a viewer's network.

use std::{
    io,
    net::{IpAddr, SocketAddr},
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
    fn send<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.socket.send_to(datagram, self.peer).map(drop) })
    }

    fn recv<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            loop {
                let (length, sender) = self.socket.recv_from(buffer).await?;
                if sender == self.peer {
                    return Ok(length);
                }
            }
        })
    }
}
