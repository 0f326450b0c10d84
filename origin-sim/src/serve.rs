//! The node: accepts connections, serves each request with its faults laid over it, drains.
//!
//! The order for a request: counted; its faults drawn; a slot taken (or turned away); delays; the face's answer; a bad
//! ending, if one was drawn. A connection is closed by returning [`Broken`] from the service: hyper then writes nothing,
//! and what is left to do to the socket (reset it, send garbage) is done here.

use std::{
    future::{Future, poll_fn},
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cdn_core::{Counter, Counters, NodeId, Reason};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    answer::{Answer, http_date},
    body::{Conduct, Cut, OriginBody, Then},
    demo::Peer,
    directory,
    faults::{Ending, FaultRule, How, Opened, Plan, SharedFaults},
    parameters::Rule,
    simulated::{self, BodyFailure, Setup},
    slots::{Slot, Slots},
    tally::{PathCounters, PathTally, Tally},
    tls::{Identity, Socket, Tls},
    wire::{Cutter, Wire},
};

const X_ORIGIN: HeaderName = HeaderName::from_static("x-origin");
const X_ORIGIN_FAULT: HeaderName = HeaderName::from_static("x-origin-fault");
const X_ORIGIN_OVERLOAD: HeaderName = HeaderName::from_static("x-origin-overload");
const X_ORIGIN_REASON: HeaderName = HeaderName::from_static("x-origin-reason");

/// What an origin sends instead of HTTP when it is asked for garbage.
pub(crate) const GARBAGE: &[u8] = b"\x16\x03\x01\x02\x00\x00 this is not HTTP \xff\xfe\x00\r\n\r\n";

/// Every bound of an origin. Reaching one is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; more are closed at once. Default 10,000.
    pub connections_max: usize,
    /// Requests served at the same time. Default 256, at least 1.
    pub concurrency_max: usize,
    /// Requests waiting for that; more are answered 503 with `x-origin-overload: 1`. Default 1,024.
    pub queue_max: usize,
    /// Bytes of a request's head; more are answered 431. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Fields of a request's head; more are answered 431. Default 100.
    pub head_fields_max: usize,
    /// How long a connection may take for a request's head, and how long it may lie idle. Default 60 s.
    pub head_timeout: Duration,
    /// Longest silence inside a request's body; then 408. Default 30 s.
    pub body_timeout: Duration,
    /// How long a client may take nothing of its answer. Default 60 s.
    pub send_timeout: Duration,
    /// Parts that one request may ask for in `Range`; more get the whole. Default 16.
    pub ranges_max: usize,
    /// Paths that are counted one by one; others share a row. Default 1,000.
    pub paths_max: usize,
    /// How long requests in flight may go on after the order to stop. Default 1 s.
    pub drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            concurrency_max: 256,
            queue_max: 1024,
            head_bytes_max: 64 << 10,
            head_fields_max: 100,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
            ranges_max: 16,
            paths_max: 1000,
            drain_grace: Duration::from_secs(1),
        }
    }
}

/// What an origin is told before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its id; the name in it is what `x-origin` says.
    pub id: NodeId,
    /// Seed of its deterministic bodies and of its faults' draws. Origins that stand in for each other share it.
    pub seed: u64,
    /// The folder it serves; without one it is simulated.
    pub root: Option<PathBuf>,
    /// Parameters by path; the first rule that matches counts. For a folder only those about headers and pace do.
    pub rules: Vec<Rule>,
    /// What it shows of itself to whoever begins with a TLS handshake; without one it speaks HTTP alone.
    pub identity: Option<Identity>,
    /// Its bounds.
    pub limits: Limits,
}

impl Config {
    /// A simulated origin without rules and with the default limits.
    pub fn new(id: NodeId, seed: u64) -> Self {
        Self { id, seed, root: None, rules: Vec::new(), identity: None, limits: Limits::default() }
    }
}

/// An origin that is ready to serve.
#[derive(Debug)]
pub struct OriginSim {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// Asks and tells a running origin. Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    name: HeaderValue,
    counters: Arc<Counters>,
    faults: SharedFaults,
    tally: Tally,
    slots: Slots,
    tls: Option<Tls>,
    /// By how many nanoseconds its clock is ahead of the machine's.
    clock_ahead: AtomicI64,
}

impl OriginSim {
    /// An origin on `listener`. It needs no runtime yet, and does not accept before [`Self::serve`].
    ///
    /// # Errors
    /// The listener cannot be made non-blocking, or the identity is none. A folder that is not there is a warning only: it may come later.
    pub fn build(config: Config, listener: TcpListener) -> io::Result<(Self, Handle)> {
        listener.set_nonblocking(true)?;
        if let Some(root) = &config.root
            && !root.is_dir()
        {
            let root = root.display();
            tracing::warn!(%root, "no such directory; this origin answers 503 until there is one");
        }
        let counters = Arc::new(Counters::default());
        let limits = &config.limits;
        let tls = config.identity.as_ref().map(Tls::new).transpose()?;
        let shared = Arc::new(Shared {
            name: HeaderValue::from_str(config.id.name()).unwrap_or(HeaderValue::from_static("unnamed")),
            faults: SharedFaults::new(config.seed, Arc::clone(&counters)),
            tally: Tally::new(limits.paths_max, Arc::clone(&counters)),
            slots: Slots::new(limits.concurrency_max, limits.queue_max, Arc::clone(&counters)),
            tls,
            counters,
            config,
            clock_ahead: AtomicI64::new(0),
        });
        Ok((Self { listener, shared: Arc::clone(&shared) }, Handle { shared }))
    }

    /// Serves until `shutdown`, then lets requests in flight end within [`Limits::drain_grace`].
    ///
    /// # Errors
    /// The listener cannot be registered with the runtime.
    pub async fn serve(self, shutdown: CancellationToken) -> io::Result<()> {
        let Self { listener, shared } = self;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_ended) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) if connections.len() < shared.config.limits.connections_max => {
                    shared.counters.bump(Counter::OriginConnectionsAccepted);
                    connections.spawn(Arc::clone(&shared).handle_connection(stream, peer, shutdown.clone()));
                }
                Ok((_stream, peer)) => {
                    shared.counters.bump(Counter::OriginConnectionsRefused);
                    tracing::debug!(%peer, reason = %Reason::ConnectionLimit, "connection closed");
                }
                Err(error) => {
                    // Out of descriptors, most likely: waiting lets some be closed.
                    tracing::warn!(%error, "cannot accept");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(shared.config.limits.drain_grace, drained).await.is_err() {
            tracing::debug!("the drain took too long; connections are cut");
        }
        connections.shutdown().await;
        Ok(())
    }
}

impl Handle {
    /// Its counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Replaces all its faults, for connections that are open as well.
    pub fn set_faults(&self, rules: Vec<FaultRule>) {
        self.shared.faults.set(rules);
    }

    /// Shows another identity to connections from now on; nothing where it has none.
    ///
    /// # Errors
    /// It is no certificate, or not its key; the one before stays then.
    pub fn set_identity(&self, identity: &Identity) -> io::Result<()> {
        self.shared.tls.as_ref().map_or(Ok(()), |tls| tls.set(identity))
    }

    /// Makes its clock go wrong by `ahead` nanoseconds, or right with 0: its answers are dated by it.
    pub fn set_clock(&self, ahead: i64) {
        self.shared.clock_ahead.store(ahead, Ordering::Relaxed);
    }

    /// The faults in force.
    pub fn faults(&self) -> Vec<FaultRule> {
        self.shared.faults.rules()
    }

    /// What each path was asked for and answered, sorted by path.
    pub fn path_counters(&self) -> Vec<PathCounters> {
        self.shared.tally.rows()
    }
}

/// The connection ends here, without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
struct Broken;

/// What is left to do to a connection's socket once HTTP is done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Farewell {
    #[default]
    Close,
    Reset,
    Garbage,
}

/// What requests of one connection share.
#[derive(Clone, Debug)]
struct Connection {
    peer: SocketAddr,
    opened: Opened,
    cutter: Cutter,
    farewell: Arc<Mutex<Farewell>>,
}

impl Connection {
    fn breaks(&self, farewell: Farewell) -> Broken {
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = farewell;
        Broken
    }
}

type Served = Pin<Box<dyn Future<Output = Result<Response<OriginBody>, Broken>> + Send>>;

impl Shared {
    async fn handle_connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, shutdown: CancellationToken) {
        let _open = Open::count(&self.counters);
        // Answers are written in one go; Nagle's algorithm could only delay the last piece.
        let _ = stream.set_nodelay(true);
        let Some(opened) = self.faults.handle_open(peer.ip()) else {
            reset(&stream);
            return;
        };
        let socket = match &self.tls {
            None => Socket::Plain(stream),
            Some(tls) => match tls.accept(stream, self.config.limits.head_timeout, &self.counters).await {
                Some(socket) => socket,
                None => return,
            },
        };
        let connection = Connection { peer, opened, cutter: Cutter::default(), farewell: Arc::default() };
        let limits = &self.config.limits;
        let wire = Wire::new(socket, connection.cutter.clone(), limits.send_timeout, Arc::clone(&self.counters));
        let service =
            service_fn(|request| -> Served { Box::pin(Arc::clone(&self).handle_request(connection.clone(), request)) });
        let mut http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_headers(limits.head_fields_max)
            // The smallest buffer that hyper takes is 8 KiB.
            .max_buf_size(limits.head_bytes_max.max(8 << 10))
            .serve_connection(TokioIo::new(wire), service);
        let mut stopped = std::pin::pin!(shutdown.cancelled());
        let mut draining = false;
        let outcome = poll_fn(|cx| {
            if !draining && stopped.as_mut().poll(cx).is_ready() {
                draining = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            http.poll_without_shutdown(cx)
        })
        .await;
        if let Err(error) = &outcome {
            self.handle_failure(peer, error);
        }
        let stream = http.into_parts().io.into_inner().into_stream();
        let farewell = *connection.farewell.lock().unwrap_or_else(PoisonError::into_inner);
        match farewell {
            Farewell::Reset => reset(stream.tcp()),
            Farewell::Garbage => part(stream, GARBAGE).await,
            Farewell::Close => part(stream, b"").await,
        }
    }

    /// Counts what went wrong with a connection, if it was the client's doing.
    fn handle_failure(&self, peer: SocketAddr, error: &hyper::Error) {
        let reason = if error.is_timeout() {
            self.counters.bump(Counter::OriginHeadTimeouts);
            Reason::HeaderTimeout
        } else if error.is_parse_too_large() {
            self.counters.bump(Counter::OriginRejected);
            Reason::HeadersTooLarge
        } else if error.is_parse() {
            self.counters.bump(Counter::OriginRejected);
            Reason::BadRequest
        } else {
            // The client left, or a fault did its work.
            return;
        };
        tracing::debug!(%peer, %reason, %error, "connection closed");
    }

    async fn handle_request(
        self: Arc<Self>,
        connection: Connection,
        request: Request<Incoming>,
    ) -> Result<Response<OriginBody>, Broken> {
        self.counters.bump(Counter::OriginRequests);
        let (mut request, mut body) = request.into_parts();
        request.extensions.insert(Peer(connection.peer));
        let path = request.uri.path();
        let tally = self.tally.handle_request(path);
        let Plan { delay, bits_per_s, ending } =
            self.faults.handle_request(connection.opened, connection.peer.ip(), path);

        // Endings that no slot is spent on, because nothing is served.
        let farewell = match ending.as_ref().map(|ending| ending.how) {
            Some(How::Blackhole) => Some(Farewell::Close),
            Some(How::Reset) => Some(Farewell::Reset),
            Some(How::Garbage) => Some(Farewell::Garbage),
            Some(How::Status(_) | How::Truncate | How::Stall) | None => None,
        };
        if let (Some(farewell), Some(ending)) = (farewell, &ending) {
            sleep(delay).await;
            if ending.how == How::Blackhole {
                self.swallow(&mut body, ending).await;
            }
            return Err(connection.breaks(farewell));
        }

        let Some(mut slot) = self.slots.take().await.map(Some) else {
            self.counters.bump(Counter::OriginOverloaded);
            let why = "too many requests at once\n";
            let mut answer = refusal(StatusCode::SERVICE_UNAVAILABLE, Reason::OriginOverloaded, why);
            answer.headers.insert(X_ORIGIN_OVERLOAD, HeaderValue::from_static("1"));
            return Ok(self.respond(answer, &request.method, Sending::plainly(connection, tally)));
        };
        let status = match ending.as_ref().map(|ending| ending.how) {
            Some(How::Status(status)) => Some(status),
            _ => None,
        };
        let answer = self.answer(&request, body, delay, status).await;

        let cut = match ending.filter(|ending| matches!(ending.how, How::Truncate | How::Stall)) {
            None => None,
            Some(ending) => {
                let then = if ending.how == How::Truncate {
                    Then::Close
                } else {
                    // What only hangs needs no slot.
                    slot = None;
                    let faults = self.faults.clone();
                    Then::Hold(Box::pin(async move { faults.lifted(&ending.armed).await }))
                };
                if answer.length == 0 || request.method == Method::HEAD {
                    // What has no body has no half of it: not even the head is sent.
                    if let Then::Hold(over) = then {
                        over.await;
                    }
                    return Err(connection.breaks(Farewell::Close));
                }
                Some(Cut { after: answer.length / 2, then })
            }
        };
        let sending = Sending { bits_per_s, cut, slot, ..Sending::plainly(connection, tally) };
        Ok(self.respond(answer, &request.method, sending))
    }

    /// The answer of whichever face this origin has, after the delays that were asked for.
    async fn answer(
        &self,
        request: &request::Parts,
        body: Incoming,
        delay: Duration,
        status: Option<StatusCode>,
    ) -> Answer {
        let limits = &self.config.limits;
        let setup = Setup {
            id: self.config.id.name(),
            seed: self.config.seed,
            rules: &self.config.rules,
            ranges_max: limits.ranges_max,
            body_timeout: limits.body_timeout,
        };
        let path = request.uri.path();
        let parameters = match &self.config.root {
            Some(_) => Ok(simulated::ruled(setup.rules, path)),
            None => simulated::parameters(&setup, path, request.uri.query().unwrap_or("")),
        };
        let asked = parameters.as_ref().ok().and_then(|parameters| parameters.delay).unwrap_or_default();
        let delay = delay.saturating_add(asked);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if let Some(status) = status {
            let why = format!("{status}, because a fault was asked for\n");
            let mut answer = refusal(status, Reason::FaultInjected, why);
            answer.headers.insert(X_ORIGIN_FAULT, HeaderValue::from_static("status"));
            return answer;
        }
        let parameters = match parameters {
            Ok(parameters) => parameters,
            Err(error) => {
                return refusal(StatusCode::BAD_REQUEST, Reason::BadRequest, format!("bad parameter: {error}\n"));
            }
        };
        if let Some(root) = &self.config.root {
            return directory::answer(root, request, parameters, limits.ranges_max).await;
        }
        let failure = match simulated::answer(&setup, request, body, parameters).await {
            Ok(answer) => return answer,
            Err(failure) => failure,
        };
        let mut answer = match failure {
            BodyFailure::TimedOut => {
                self.counters.bump(Counter::OriginBodyTimeouts);
                refusal(StatusCode::REQUEST_TIMEOUT, Reason::BodyTimeout, "the body stopped coming\n")
            }
            BodyFailure::Broken => {
                self.counters.bump(Counter::OriginRejected);
                refusal(StatusCode::BAD_REQUEST, Reason::BadRequest, "the body is malformed\n")
            }
        };
        answer.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }

    /// Puts an answer into hyper's form and counts it.
    fn respond(&self, mut answer: Answer, method: &Method, sending: Sending) -> Response<OriginBody> {
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
        if bodiless.contains(&answer.status) {
            answer.pieces.clear();
            answer.length = 0;
        } else if method == Method::HEAD && answer.length > 0 {
            answer.forget_body();
        }
        sending.path.handle_status(answer.status);
        if answer.status.is_server_error() {
            self.counters.bump(Counter::OriginErrors);
        }
        let conduct = Conduct {
            announced: (!answer.chunked).then_some(answer.length),
            chunk_bytes: answer.chunk_bytes,
            drip: answer.drip,
            bits_per_s: sending.bits_per_s,
            cut: sending.cut,
            cutter: sending.connection.cutter,
            slot: sending.slot,
            path: sending.path,
            counters: Arc::clone(&self.counters),
        };
        let mut response = Response::new(OriginBody::new(answer.pieces, conduct));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response.headers_mut().insert(X_ORIGIN, self.name.clone());
        self.date(response.headers_mut());
        response
    }

    /// An answer of an origin whose clock is wrong says so: in `Date`, and in the `Expires` that counts from it. One whose
    /// clock is right leaves `Date` to whoever writes the head.
    fn date(&self, headers: &mut HeaderMap) {
        let ahead = self.clock_ahead.load(Ordering::Relaxed);
        if ahead == 0 {
            return;
        }
        let span = Duration::from_nanos(ahead.unsigned_abs());
        let shifted = |time: SystemTime| if ahead > 0 { time.checked_add(span) } else { time.checked_sub(span) };
        let expires =
            headers.get(header::EXPIRES).and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
        if let Some(date) = shifted(SystemTime::now()).and_then(http_date) {
            headers.insert(header::DATE, date);
        }
        if let Some(expires) = expires.and_then(shifted).and_then(http_date) {
            headers.insert(header::EXPIRES, expires);
        }
    }

    /// A black hole: reads what comes, until the fault is lifted.
    async fn swallow(&self, body: &mut Incoming, ending: &Ending) {
        let reading = async {
            while let Ok(Some(_)) = simulated::next_data(body, Duration::MAX).await {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.faults.lifted(&ending.armed) => {}
            () = reading => {}
        }
    }
}

/// What the sending of an answer needs beside the answer.
struct Sending {
    connection: Connection,
    path: Arc<PathTally>,
    bits_per_s: Option<u64>,
    cut: Option<Cut>,
    slot: Option<Slot>,
}

impl Sending {
    fn plainly(connection: Connection, path: Arc<PathTally>) -> Self {
        Self { connection, path, bits_per_s: None, cut: None, slot: None }
    }
}

/// An answer that says why it is not what was asked for.
fn refusal(status: StatusCode, reason: Reason, why: impl Into<bytes::Bytes>) -> Answer {
    let mut answer = Answer::text(status, why);
    answer.headers.insert(X_ORIGIN_REASON, HeaderValue::from_static(reason.as_str()));
    answer
}

/// Closes so that the peer sees a reset.
fn reset(stream: &TcpStream) {
    // With a linger time of zero, closing sends RST instead of FIN (tcp(7)).
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Sends the last bytes, if any, and closes so that the peer can read everything that was sent: closing a socket while
/// bytes of the peer lie unread in it would reset it, and take with it what is still on its way.
async fn part(mut stream: Socket, last: &[u8]) {
    use tokio::io::AsyncReadExt as _;
    const LINGER: Duration = Duration::from_millis(500);
    let _ = tokio::time::timeout(LINGER, async {
        if !last.is_empty() {
            stream.write_all(last).await?;
        }
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

/// Counts a connection while it is open.
struct Open(Arc<Counters>);

impl Open {
    fn count(counters: &Arc<Counters>) -> Self {
        counters.add(Counter::OriginConnections, 1);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.sub(Counter::OriginConnections, 1);
    }
}
