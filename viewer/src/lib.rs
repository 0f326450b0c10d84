//! A client that lives somewhere.
//!
//! Resolves through a resolver that stands in its place (or elsewhere), connects over the world's links, falls back to
//! the next address, measures, and reports the round trips it saw. A forward proxy lends this to any program; the proxy
//! user names the place. Knows no geography (it asks [`Places`]) and no link (it asks [`Net`]), and carries nothing to
//! hosts that are not of this world.

mod beacon;
mod clock;
mod config;
mod connect;
mod dns;
mod download;
mod failure;
mod fetch;
mod headers;
mod http3;
mod ledger;
mod load;
mod net;
mod net_wan;
mod node;
mod place;
mod pool;
mod proxy;
mod quic;
mod relay;
mod screened;
mod sender;
mod server_timing;
mod target;
mod tls;
mod tunnel;
mod user;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use cdn_core::{
    Counter, Counters,
    framing::{HeadLimits, Requests, Screen},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use world::UnknownPlace;

pub use crate::{
    config::{Config, Limits, RouterAddresses},
    dns::{DigError, DigOptions, DigRecord, DigReply, DigSubnet},
    ledger::{Entry, Ledger, Step},
    load::{LoadError, LoadNews, LoadPlan, LoadRun, LoadSummary, Sign},
    net::{BoxFuture, BoxIo, Datagrams, Io, Net, Source},
    place::{Places, Standing},
    relay::{Relay, RelayError},
    tls::{Identities, Identity},
};
use crate::{
    node::{Client, Node},
    screened::Screened,
};

/// A viewer node, ready to serve.
pub struct Viewer {
    node: Arc<Node>,
    listener: TcpListener,
}

/// What may be asked of a viewer node while it serves.
#[derive(Clone)]
pub struct Handle {
    node: Arc<Node>,
    address: SocketAddr,
}

impl Viewer {
    /// Makes a node that serves the forward proxy on `listener`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The listener cannot be used, or nobody can stand in the default place.
    pub fn build(
        config: Config,
        listener: std::net::TcpListener,
        places: Arc<dyn Places>,
        net: Arc<dyn Net>,
    ) -> io::Result<(Self, Handle)> {
        if let Err(error) = places.standing(&config.default_place) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let node = Arc::new(Node::build(config, places, net));
        Ok((Self { node: Arc::clone(&node), listener }, Handle { node, address }))
    }

    /// Serves until `stop` is cancelled; then lets what is under way end within `drain_grace`.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { node, listener } = self;
        let limits = &node.config.limits;
        let room = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
        let mut sweep = interval((limits.pool_idle_timeout / 4).max(Duration::from_millis(10)));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = sweep.tick() => {
                    node.fetcher.pool.close_stale();
                    continue;
                }
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => match Arc::clone(&room).try_acquire_owned() {
                    Ok(permit) => {
                        let client = Arc::new(Client::new(Arc::clone(&node), permit));
                        node.tasks.spawn(serve_connection(client, stream, stop.clone()));
                    }
                    Err(_full) => node.counters.bump(Counter::ViewerConnectionsRefused),
                },
                Err(error) => {
                    // Out of descriptors, or a connection that was gone before it was taken: neither ends the node.
                    tracing::warn!("cannot accept: {error}");
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
        drop(listener);
        node.stopping.cancel();
        node.tasks.close();
        let drained = timeout(limits.drain_grace, node.tasks.wait()).await;
        node.halt.cancel();
        if drained.is_err() {
            node.tasks.wait().await;
        }
        node.fetcher.pool.close_all();
    }
}

/// Serves one client connection until it ends, or until the node has stopped and its grace is over.
async fn serve_connection(client: Arc<Client>, stream: TcpStream, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let (reads, writes) = stream.into_split();
    serve_stream(client, reads, writes, stop).await;
}

/// The same for any stream: what a client sends inside TLS is read as what it sends in the open.
async fn serve_stream(
    client: Arc<Client>,
    reads: impl AsyncRead + Send + Unpin + 'static,
    writes: impl AsyncWrite + Send + Unpin + 'static,
    stop: CancellationToken,
) {
    let node = Arc::clone(&client.node);
    let limits = &node.config.limits;
    let head = HeadLimits {
        head_bytes_max: limits.head_bytes_max,
        target_bytes_max: limits.head_bytes_max,
        headers_max: limits.headers_max,
    };
    let screen = Screen::new(Requests::new(head), Arc::clone(&client.stand_in));
    let stream = tokio::io::join(Screened::new(reads, screen, Arc::clone(&client)), writes);
    let service = service_fn(move |request| proxy::handle(Arc::clone(&client), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper waits this long for the next request too, so it also bounds idle connections.
        .header_read_timeout(limits.client_idle_timeout)
        // Heads were judged before hyper sees them, so its own limits are only wide enough never to bite.
        .max_buf_size((limits.head_bytes_max + 1024).max(8192))
        .max_headers(limits.headers_max + 1)
        .preserve_header_case(true)
        // A `Date` that the edge did not send would be ours.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            // It took what hyper did not, which has answered by itself.
            if ended.is_err_and(|error| error.is_parse()) {
                node.counters.bump(Counter::ViewerRejected);
            }
            return;
        }
        () = node.halt.cancelled() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = node.halt.cancelled() => {}
    }
}

impl Handle {
    /// Where the proxy listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the node counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.node.counters
    }

    /// Where one stands who says `place`.
    ///
    /// # Errors
    /// No such place; the sentence names the nearest ones.
    pub fn standing(&self, place: &str) -> Result<Standing, UnknownPlace> {
        self.node.places.standing(place)
    }

    /// The last ledger that was written under `id`, the proxy user's `ledger=ID`.
    pub fn ledger(&self, id: &str) -> Option<Ledger> {
        self.ledgers(id).pop()
    }

    /// Every ledger that is kept under `id`, oldest first.
    pub fn ledgers(&self, id: &str) -> Vec<Ledger> {
        self.node.ledgers().named(id)
    }

    /// Asks for records of type `kind` at `name`, as a viewer in `place` would.
    ///
    /// # Errors
    /// No such place or type, a name that is none, or no router that answers.
    pub async fn dig(&self, place: &str, name: &str, kind: &str, options: &DigOptions) -> Result<DigReply, DigError> {
        let viewer = self.standing(place)?;
        let resolver = match &options.resolver {
            Some(place) => self.node.resolvers.at(&self.standing(place)?),
            None => self.node.resolvers.at(&viewer),
        };
        dns::dig(&viewer, &resolver, name, kind, options).await
    }

    /// Begins to play a load, and tells of it as it goes. Must be called within the node's runtime.
    ///
    /// # Errors
    /// It cannot be played.
    pub fn load(&self, plan: LoadPlan) -> Result<LoadRun, LoadError> {
        load::play(&self.node, plan)
    }

    /// Opens a port whose datagrams go to port 443 of `host`, from `place`. Must be called within the node's runtime.
    ///
    /// # Errors
    /// No such place, a host that is not of this world, or no socket.
    pub async fn relay(&self, place: &str, host: &str) -> Result<Relay, RelayError> {
        relay::open(&self.node, place, host).await
    }

    /// Makes the clocks of all viewers go wrong by `ahead` nanoseconds, or right with 0: certificates are held against them.
    pub fn set_clock(&self, ahead: i64) {
        self.node.clock.set_ahead(ahead);
    }

    /// Forgets what resolvers have heard and which addresses failed; says how many answers that were.
    pub fn flush(&self) -> usize {
        self.node.fetcher.connector.flush();
        self.node.resolvers.flush()
    }

    /// Closes unused connections to edges and says how many there were.
    pub fn drop_idle_connections(&self) -> usize {
        self.node.fetcher.pool.close_all()
    }
}
