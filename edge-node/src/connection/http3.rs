//! HTTP/3: connections of QUIC are accepted, counted, served and ended in good order, as those of TCP are.
//!
//! A request takes the same way as every other through [`ViewerService`]; here it is read and its response is written. No
//! early data is taken (0-RTT), so that nobody can have a request played again, and a connection stays with the address
//! that it began with, because that says where its viewer is.

mod quic;

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use cdn_core::{Counter, Counters, Reason, forward, framing::multiplexed};
use h3::{
    error::Code,
    server::{RequestResolver, RequestStream},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use self::quic::{Inbound, Quic, Taken};
use super::{Front, Open, wire::Wire};
use crate::{
    body::{Http3Body, RequestBody, ResponseBody},
    config::Limits,
    service::{Ends, Secure, ViewerService},
    tls::Tls,
};

/// What comes of a request after its head.
pub(crate) type Upload = RequestStream<Inbound, Bytes>;
type Download = RequestStream<quic::Outbound, Bytes>;

/// Most bytes of a response that are handed over at once: a client that takes none of so few takes nothing.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Streams of a client's own: for control and for QPACK (RFC 9114 section 6.2), and some for what it may try.
const CLIENT_STREAMS_MAX: u32 = 8;

/// Clients that may knock in the time between two looks, and bytes that each may bring. They are looked at at once, and
/// refused beyond.
const KNOCKING_MAX: usize = 256;
const KNOCKING_BYTES_MAX: u64 = 16 * 1024;

/// How long a client that has all its answers may take to close; at least, and in round trips. Then it is closed.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_ROUND_TRIPS: u32 = 3;

/// The word that a connection ends leaves at once. The node waits no longer than this for it.
const LEAVING: Duration = Duration::from_millis(50);

/// Where HTTP/3 is spoken.
pub(super) struct Listener {
    endpoint: quinn::Endpoint,
    config: ServerConfig,
}

impl Listener {
    /// One on `socket`.
    pub(super) fn new(socket: UdpSocket, tls: &Tls, limits: &Limits) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (crypto, _) = tls.quic().map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(crypto);
        config
            .transport_config(Arc::new(transport(limits)))
            .migration(false)
            .max_incoming(KNOCKING_MAX)
            .incoming_buffer_size(KNOCKING_BYTES_MAX)
            .incoming_buffer_size_total(KNOCKING_BYTES_MAX * KNOCKING_MAX as u64);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = quinn::Endpoint::new(EndpointConfig::default(), Some(config.clone()), socket, runtime)?;
        Ok(Self { endpoint, config })
    }

    /// Accepts for ever.
    pub(super) async fn accept(&self, front: Arc<Front>, tasks: TaskTracker) {
        let Some(tls) = &front.node.tls else { return };
        let counters = &front.node.counters;
        let limits = &front.node.limits;
        let unproven = Arc::new(AtomicUsize::new(0));
        while let Some(incoming) = self.endpoint.accept().await {
            if front.node.stopping.is_cancelled() {
                incoming.refuse();
                continue;
            }
            if !incoming.remote_address_validated() && unproven.load(Relaxed) >= limits.quic_unproven_max {
                counters.bump(Counter::EdgeQuicRetries);
                let _ = incoming.retry();
                continue;
            }
            counters.bump(Counter::EdgeConnectionsAccepted);
            if counters.value(Counter::EdgeConnections) >= limits.connections_max as u64 {
                counters.bump(Counter::EdgeConnectionsRefused);
                incoming.refuse();
                continue;
            }
            let Ok((crypto, chosen)) = tls.quic() else { continue };
            let mut config = self.config.clone();
            config.crypto = crypto;
            counters.add(Counter::EdgeConnections, 1);
            let open = Open(Arc::clone(counters));
            let unproven = (!incoming.remote_address_validated()).then(|| Unproven::new(&unproven));
            let front = Arc::clone(&front);
            tasks.spawn(async move {
                let peer = incoming.remote_address();
                let Ok(connecting) = incoming.accept_with(Arc::new(config)) else {
                    front.node.counters.bump(Counter::EdgeTlsFailed);
                    return;
                };
                let shaken = tokio::select! {
                    biased;
                    shaken = timeout(front.node.limits.tls_handshake_timeout, connecting) => shaken,
                    () = front.node.stopping.cancelled() => return,
                };
                drop(unproven);
                let counters = &front.node.counters;
                let (connection, secure) = match shaken.map(|shaken| shaken.map(|it| (it, chosen.secure()))) {
                    Ok(Ok((connection, Some(secure)))) => (connection, secure),
                    Ok(failed) => {
                        counters.bump(Counter::EdgeTlsFailed);
                        tracing::debug!(%peer, error = ?failed.err(), "no QUIC handshake");
                        return;
                    }
                    Err(_elapsed) => {
                        counters.bump(Counter::EdgeTlsTimeouts);
                        return;
                    }
                };
                counters.bump(Counter::EdgeTlsHandshakes);
                if secure.session.is_resumed() {
                    counters.bump(Counter::EdgeTlsResumed);
                }
                drive(&front, connection, peer, secure).await;
                drop(open);
            });
        }
    }

    /// Sees to it that who is still there hears of the end.
    pub(super) async fn close(&self) {
        self.endpoint.close(code_of(Code::H3_NO_ERROR), b"");
        let _ = timeout(LEAVING, self.endpoint.wait_idle()).await;
    }
}

/// How QUIC behaves: the windows are those of HTTP/2 here.
fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = limits.idle_timeout.max(Duration::from_secs(1));
    transport
        .max_concurrent_bidi_streams(limits.h2_streams_max.into())
        .max_concurrent_uni_streams(CLIENT_STREAMS_MAX.into())
        .stream_receive_window(VarInt::from_u32(256 * 1024))
        .receive_window(VarInt::from_u32(1 << 20))
        .send_window(4 << 20)
        .datagram_receive_buffer_size(None)
        // Who waits for a slow origin says nothing meanwhile. A connection without a request ends by our own clock.
        .keep_alive_interval(Some(idle / 3))
        .max_idle_timeout(IdleTimeout::try_from(idle).ok());
    transport
}

/// A handshake with somebody who may not be where it says.
struct Unproven(Arc<AtomicUsize>);

impl Unproven {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Not,
    /// It is announced; requests that were sent before that was heard are served (RFC 9114 section 5.2).
    Announced {
        until: Instant,
    },
    /// No request is accepted any more.
    Final,
}

/// Serves a connection until it ends: by itself, for want of requests, or with the node.
async fn drive(front: &Arc<Front>, connection: quinn::Connection, peer: SocketAddr, secure: Secure) {
    let node = &front.node;
    let limits = &node.limits;
    let wire = Arc::new(Wire::new());
    let ends = Ends { peer, local: connection.local_ip() };
    let service = ViewerService::new(Arc::clone(node), ends, Some(secure), Arc::clone(&wire));
    let head_bytes_max = (limits.header_bytes_max + limits.uri_bytes_max) as u64;
    let quic = Quic::new(connection.clone(), head_bytes_max);
    let mut builder = h3::server::builder();
    builder.max_field_section_size(head_bytes_max).send_grease(false);
    let Ok(mut http3) = builder.build(quic).await else { return };
    let requests = TaskTracker::new();
    let mut ending = Ending::Not;
    let mut deadline = Instant::now() + limits.idle_timeout;
    loop {
        tokio::select! {
            biased;
            () = node.closing.cancelled() => break,
            () = node.stopping.cancelled(), if ending == Ending::Not => {
                ending = announce(&mut http3, &connection, limits).await;
            }
            () = sleep_until(deadline), if ending == Ending::Not => match wire.idle_since() {
                Some(since) if since + limits.idle_timeout <= Instant::now() => {
                    node.counters.bump(Counter::EdgeIdleTimeouts);
                    ending = announce(&mut http3, &connection, limits).await;
                }
                since => deadline = since.unwrap_or_else(Instant::now) + limits.idle_timeout,
            },
            () = until(ending), if matches!(ending, Ending::Announced { .. }) => {
                let _ = http3.shutdown(1).await;
                requests.close();
                ending = Ending::Final;
            }
            () = requests.wait(), if ending == Ending::Final => break,
            accepted = http3.accept() => match accepted {
                Ok(Some(request)) => {
                    let taken = http3.inner.conn.taken();
                    let (service, wire, connection) = (service.clone(), Arc::clone(&wire), connection.clone());
                    requests.spawn(async move { serve(service, wire, connection, request, taken).await });
                }
                Ok(None) => break,
                Err(error) => {
                    if matches!(connection.close_reason(), Some(quinn::ConnectionError::TimedOut)) {
                        node.counters.bump(Counter::EdgeIdleTimeouts);
                    }
                    tracing::debug!(%peer, %error, "connection ended");
                    break;
                }
            },
        }
    }
    if ending == Ending::Final {
        tokio::select! {
            _ = connection.closed() => {}
            () = sleep(linger(&connection)) => {}
            () = node.closing.cancelled() => {}
        }
    }
    // Requests that are left hear of it by their streams.
    drop(http3);
    requests.close();
    requests.wait().await;
}

/// Says that the connection ends, but not yet which request is the last: some may be under way.
async fn announce(
    http3: &mut h3::server::Connection<Quic, Bytes>,
    connection: &quinn::Connection,
    limits: &Limits,
) -> Ending {
    // An error is one of the connection, of which `accept` tells.
    let _ = http3.shutdown(limits.h2_streams_max as usize).await;
    Ending::Announced { until: Instant::now() + connection.rtt() }
}

fn linger(connection: &quinn::Connection) -> Duration {
    LINGER.max(connection.rtt() * LINGER_ROUND_TRIPS)
}

/// Ends once the node stops and nothing is heard from the client any more: one that has left without a word is not worth
/// the rest of the grace.
async fn silent_at_the_end(service: &ViewerService, connection: &quinn::Connection) {
    service.node.stopping.cancelled().await;
    loop {
        let heard = connection.stats().udp_rx.datagrams;
        sleep(linger(connection)).await;
        if connection.stats().udp_rx.datagrams == heard {
            return;
        }
    }
}

async fn until(ending: Ending) {
    if let Ending::Announced { until } = ending {
        sleep_until(until).await;
    }
}

/// Reads a request and writes its response. A client that wants no more of it ends both.
async fn serve(
    service: ViewerService,
    wire: Arc<Wire>,
    connection: quinn::Connection,
    request: RequestResolver<Quic, Bytes>,
    taken: Option<Taken>,
) {
    let Some(mut taken) = taken else { return };
    let counters = &service.node.counters;
    let limits = &service.node.limits;
    let in_flight = wire.begin();
    let read = async {
        let (request, stream) = request.resolve_request().await.map_err(io::Error::other)?;
        let (download, upload) = stream.split();
        let (parts, ()) = request.into_parts();
        let length = multiplexed::body_length(&parts.headers);
        let mut body = Http3Body::new(upload, length.unwrap_or(Some(0)));
        if !matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
            body.begin().await?;
        }
        let refused = length.is_err().then_some(Reason::BadRequest);
        io::Result::Ok((Request::from_parts(parts, RequestBody::Http3(Box::new(body))), download, refused))
    };
    let (request, download, refused) = match timeout(limits.header_timeout, read).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => {
            counters.bump(Counter::EdgeRejected);
            tracing::debug!(%error, reason = Reason::BadRequest.as_str(), "no request");
            return;
        }
        Err(_elapsed) => {
            counters.bump(Counter::EdgeHeaderTimeouts);
            return;
        }
    };
    let method = request.method().clone();
    let response = tokio::select! {
        biased;
        response = service.answer(request, in_flight, refused).response() => response,
        _ = &mut taken => return,
    };
    let sent = tokio::select! {
        biased;
        sent = send(download, &method, response, limits.write_timeout, counters) => sent,
        _ = &mut taken => return,
    };
    if sent {
        // The connection must not end before the client has it all.
        tokio::select! {
            taken = timeout(limits.write_timeout, taken) => {
                if taken.is_err() {
                    counters.bump(Counter::EdgeWriteTimeouts);
                }
            }
            () = silent_at_the_end(&service, &connection) => {}
        }
    }
}

/// Writes a response at the pace of its reader; whether it came to its end.
async fn send(
    mut download: Download,
    method: &Method,
    response: Response<ResponseBody>,
    write_timeout: Duration,
    counters: &Counters,
) -> bool {
    let (mut parts, mut body) = response.into_parts();
    forward::strip_hop_by_hop(&mut parts.headers);
    let bodyless = *method == Method::HEAD || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodyless
        && let Some(length) = body.size_hint().exact()
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
    {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if download.send_response(Response::from_parts(parts, ())).await.is_err() {
        return false;
    }
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else {
            download.stop_stream(Code::H3_INTERNAL_ERROR);
            return false;
        };
        let mut bytes = frame.into_data().unwrap_or_default();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
            match timeout(write_timeout, download.send_data(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_gone)) => return false,
                Err(_elapsed) => {
                    counters.bump(Counter::EdgeWriteTimeouts);
                    download.stop_stream(Code::H3_REQUEST_CANCELLED);
                    return false;
                }
            }
        }
    }
    download.finish().await.is_ok()
}

fn code_of(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}
