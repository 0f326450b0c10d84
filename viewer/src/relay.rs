//! A port of this machine whose datagrams go to a host of the world, from a place: for who speaks QUIC by himself.
//!
//! Each address that datagrams come from is a client of its own. It gets a socket in the place, towards the address of the host
//! that the place's resolver says first at that moment, so that its packets are delayed and lost as the links say. Reads no
//! datagram, and tries no second address: a client that hears nothing comes back from another port.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use cdn_core::Counter;
use http::uri::Authority;
use tokio::{net::UdpSocket, sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::DropGuard;
use world::UnknownPlace;

use crate::{fetch::Viewpoint, node::Node, pool::Owner, target::Target};

/// Bytes of the longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// The port that a host without one is asked at.
const HTTPS_PORT: u16 = 443;

/// A port that passes datagrams on; it closes when this is dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    _stop: DropGuard,
}

/// A port that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Nobody can stand there.
    #[error(transparent)]
    UnknownPlace(#[from] UnknownPlace),
    /// It is not a host of this world, in words.
    #[error("{0}")]
    Foreign(String),
    /// No socket.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whom the datagrams of one port are for, and from where.
struct Way {
    node: Arc<Node>,
    who: Viewpoint,
    target: Target,
    socket: UdpSocket,
}

/// Opens a port for `host` as it is seen from `place`.
pub(crate) async fn open(node: &Arc<Node>, place: &str, host: &str) -> Result<Relay, RelayError> {
    let foreign = |what: String| RelayError::Foreign(what);
    let standing = node.places.standing(place)?;
    let authority: Authority = host.parse().map_err(|_| foreign(format!("{host:?} is no host")))?;
    let target = Target::of(&authority, HTTPS_PORT, &node.config).map_err(|failure| foreign(failure.to_string()))?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let who = Viewpoint {
        resolver: node.resolvers.at(&standing),
        subnet: Some(standing.network),
        standing,
        owner: Owner::Everybody,
        warm: false,
    };
    let stop = node.stopping.child_token();
    let way = Arc::new(Way { node: Arc::clone(node), who, target, socket });
    node.tasks.spawn(stop.clone().run_until_cancelled_owned(way.serve()));
    Ok(Relay { address, _stop: stop.drop_guard() })
}

impl Way {
    async fn serve(self: Arc<Self>) {
        let (limits, counters) = (&self.node.config.limits, &self.node.counters);
        let (mut clients, mut carriers) = (HashMap::<SocketAddr, mpsc::Sender<Bytes>>::new(), JoinSet::new());
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let (length, client) = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok(received) => received,
                    Err(error) => {
                        tracing::warn!(%error, "datagrams are passed on no longer");
                        return;
                    }
                },
                Some(Ok(left)) = carriers.join_next() => {
                    clients.remove(&left);
                    continue;
                }
            };
            let datagram = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            let queue = match clients.get(&client) {
                Some(queue) => queue,
                None if clients.len() >= limits.relay_clients_max => {
                    counters.bump(Counter::ViewerRelayFull);
                    continue;
                }
                None => {
                    let (queue, datagrams) = mpsc::channel(limits.relay_datagrams_max.max(1));
                    let way = Arc::clone(&self);
                    carriers.spawn(async move {
                        way.carry(client, datagrams).await;
                        client
                    });
                    clients.entry(client).or_insert(queue)
                }
            };
            if queue.try_send(datagram).is_err() {
                counters.bump(Counter::ViewerRelayDatagramsDropped);
            }
        }
    }

    /// Passes the datagrams of one client on, and what comes back, until nothing has moved for too long.
    async fn carry(&self, client: SocketAddr, mut datagrams: mpsc::Receiver<Bytes>) {
        let fetcher = &self.node.fetcher;
        let found = fetcher.first_address(&self.who, &self.target).await;
        let opened = match found {
            Ok(address) => fetcher.connector.net().open_datagrams(self.who.standing.viewer_source(), address).await,
            Err(failure) => {
                tracing::warn!("nowhere to pass datagrams on to: {failure}");
                return;
            }
        };
        let Ok(away) = opened.inspect_err(|error| tracing::warn!(%error, "no socket to pass datagrams on by")) else {
            return;
        };
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let next = async {
                tokio::select! {
                    datagram = datagrams.recv() => away.send(&datagram?).ok(),
                    received = poll_fn(|cx| away.poll_recv(cx, &mut buffer)) => {
                        // What the client's socket does not take is lost, as on any last hop.
                        let _ = self.socket.send_to(buffer.get(..received.ok()?)?, client).await;
                        Some(())
                    }
                }
            };
            let Ok(Some(())) = timeout(self.node.config.limits.body_idle_timeout, next).await else { return };
        }
    }
}
