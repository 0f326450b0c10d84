//! Connections to origins and caches between: opened over the connector, kept a while, used again.
//!
//! It knows HTTP/1.1 connections and how long they lay idle. Which origin to ask, how often and for how long is decided
//! by [`Exchange`](cdn_core::origin_group::Exchange); a connection here is either given or not.

#[cfg(any(test, fuzzing))]
pub(crate) mod chunked_bodies;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cdn_core::{Counter, Counters, framing::response, origin_group::Failure};
use http::{Request, Response, Uri, header, uri::Authority};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::{
    body::OriginRequestBody,
    dial::{BoxConnect, BoxIo},
    origin_tls::TlsPeer,
};

/// Connections by address.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connect: BoxConnect,
    counters: Arc<Counters>,
    header_bytes_max: usize,
    idle_max: usize,
    idle: Mutex<HashMap<Authority, Vec<Idle>>>,
    /// Connections of an earlier epoch do not come back.
    epoch: AtomicU64,
    sweeping: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<OriginRequestBody>,
    tls: Option<TlsPeer>,
    until: Instant,
}

/// Whom a connection is made with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: Authority,
    /// Set where it is spoken to by HTTPS.
    pub(crate) tls: Option<TlsPeer>,
}

impl Peer {
    /// One that is spoken to by HTTP.
    pub(crate) fn plain(address: &Authority) -> Self {
        Self { address: address.clone(), tls: None }
    }
}

/// A connection on which one request may be sent.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<OriginRequestBody>,
    peer: Peer,
    epoch: u64,
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Not a byte of the request was sent; here it is.
    Unsent(Box<Request<OriginRequestBody>>),
    /// It may have been sent.
    Failed(Failure),
}

impl Pool {
    pub(crate) fn new(connect: BoxConnect, counters: Arc<Counters>, header_bytes_max: usize, idle_max: usize) -> Self {
        Self(Arc::new(Inner {
            connect,
            counters,
            header_bytes_max,
            idle_max,
            idle: Mutex::default(),
            epoch: AtomicU64::new(0),
            sweeping: AtomicBool::new(false),
        }))
    }

    /// The youngest idle connection that still lives.
    pub(crate) fn take(&self, peer: &Peer) -> Option<Lease> {
        let now = Instant::now();
        let epoch = self.0.epoch.load(Ordering::Relaxed);
        let mut all = self.lock();
        let idle = all.get_mut(&peer.address)?;
        while let Some(at) = idle.iter().rposition(|idle| idle.tls == peer.tls) {
            let Idle { sender, until, .. } = idle.remove(at);
            if until > now && sender.is_ready() {
                self.0.counters.bump(Counter::EdgeOriginReuses);
                return Some(Lease { sender, peer: peer.clone(), epoch });
            }
        }
        None
    }

    /// A new connection. Waits as long as the network does; the caller applies the timeout, and is told when only the TLS
    /// handshake is still to come, where there is one.
    ///
    /// # Errors
    /// How the connector or the handshake failed.
    pub(crate) async fn connect(&self, peer: &Peer, on_accepted: impl FnOnce()) -> Result<Lease, Failure> {
        let epoch = self.0.epoch.load(Ordering::Relaxed);
        let uri = Uri::builder()
            .scheme("http")
            .authority(peer.address.clone())
            .path_and_query("/")
            .build()
            .map_err(|_| Failure::Unreachable)?;
        let mut io = self.0.connect.clone().oneshot(uri).await.map_err(|error| connect_failure(&error))?;
        if let Some(tls) = &peer.tls {
            on_accepted();
            io = self.secure(io, tls).await?;
        }
        let handshake = http1::Builder::new()
            // hyper holds at most this much of what it has not understood yet, so a longer head is refused.
            .max_header_size(self.0.header_bytes_max)
            .max_buf_size(self.0.header_bytes_max.max(8_192))
            .handshake(io);
        let (sender, connection) = handshake.await.map_err(|_| Failure::Reset)?;
        tokio::spawn(connection.with_upgrades());
        self.0.counters.bump(Counter::EdgeOriginConnects);
        Ok(Lease { sender, peer: peer.clone(), epoch })
    }

    async fn secure(&self, io: BoxIo, tls: &TlsPeer) -> Result<BoxIo, Failure> {
        let counters = &self.0.counters;
        match tls.shake_hands(io).await {
            Ok((stream, resumed)) => {
                counters.bump(Counter::EdgeOriginTlsHandshakes);
                if resumed {
                    counters.bump(Counter::EdgeOriginTlsResumed);
                }
                Ok(Box::new(TokioIo::new(stream)))
            }
            Err(failure) => {
                counters.bump(Counter::EdgeOriginTlsFailures);
                Err(failure)
            }
        }
    }

    /// Takes a connection back once its response has been read to the end; it is given out again for `keep`.
    pub(crate) fn put(&self, mut lease: Lease, keep: Duration) {
        let pool = self.clone();
        tokio::spawn(async move {
            let ready = tokio::time::timeout(keep, lease.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) && lease.epoch == pool.0.epoch.load(Ordering::Relaxed) {
                let Peer { address, tls } = lease.peer;
                pool.add(&address, Idle { sender: lease.sender, tls, until: Instant::now() + keep });
            }
        });
    }

    /// Closes what lies idle; what is in use is closed after its response.
    pub(crate) fn drop_idle(&self) {
        self.0.epoch.fetch_add(1, Ordering::Relaxed);
        self.lock().clear();
    }

    fn add(&self, address: &Authority, connection: Idle) {
        let mut all = self.lock();
        let idle = all.entry(address.clone()).or_default();
        if idle.len() >= self.0.idle_max && !idle.is_empty() {
            idle.remove(0);
        }
        idle.push(connection);
        drop(all);
        if !self.0.sweeping.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().sweep());
        }
    }

    /// Closes connections as they grow too old; ends when none is left.
    async fn sweep(self) {
        loop {
            let next = {
                let now = Instant::now();
                let mut all = self.lock();
                all.retain(|_, idle| {
                    idle.retain(|connection| connection.until > now && !connection.sender.is_closed());
                    !idle.is_empty()
                });
                let next = all.values().flatten().map(|connection| connection.until).min();
                if next.is_none() {
                    // Under the lock, so that nobody adds one in between and finds a sweeper that has ended.
                    self.0.sweeping.store(false, Ordering::Relaxed);
                }
                next
            };
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Authority, Vec<Idle>>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Sends the request and waits for the head of the response.
    ///
    /// # Errors
    /// [`SendError`]; the connection is of no further use.
    pub(crate) async fn send(&mut self, request: Request<OriginRequestBody>) -> Result<Response<Incoming>, SendError> {
        let upgrade = request.headers().get(header::UPGRADE).cloned();
        match self.sender.try_send_request(request).await {
            Ok(mut response) => {
                let status = response.status();
                response::judge(status, response.headers_mut(), upgrade.as_ref())
                    .map_err(|_| SendError::Failed(Failure::Invalid))?;
                Ok(response)
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => SendError::Unsent(Box::new(request)),
                None => SendError::Failed(response_failure(error.error())),
            }),
        }
    }
}

fn connect_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => Failure::Reset,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Unreachable,
    }
}

fn response_failure(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        Failure::HeadersTooLarge
    } else if error.is_parse() {
        Failure::Invalid
    } else {
        Failure::Reset
    }
}
