//! Client connections: accepted, counted, guarded, served, and ended in good order.
//!
//! Knows sockets and hyper's connections. What a request means is the service's business.

mod at_once;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gather;
mod guard;
mod http3;
mod interim;
mod outgoing;
mod wire;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Context,
};

use cdn_core::{Counter, Counters, Reason, framing::HeadLimits};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use self::{
    at_once::AtOnce,
    gather::Gathered,
    guard::{Guard, GuardLimits, Protocol},
};
pub(crate) use self::{
    guard::ShortWay,
    http3::Upload,
    outgoing::Outgoing,
    wire::{InFlight, Wire},
};
use crate::{
    Listeners,
    node::Node,
    service::{Ends, Secure, ViewerService},
    tls::TlsSession,
};

/// What a client beyond the limit is told, if it listens.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nServer: CloudFront\r\nX-Cache: LimitExceeded from cloudfront\r\n\
    x-iso-reason: connection_limit\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Accepts and serves until `shutdown`, then lets requests finish for the drain grace.
pub(crate) async fn serve(node: Arc<Node>, listeners: Listeners, shutdown: CancellationToken) -> io::Result<()> {
    let Listeners { http, https, quic } = listeners;
    let listeners = http.into_iter().map(|listener| (listener, false)).chain(https.into_iter().map(|one| (one, true)));
    let listeners = listeners
        .map(|(listener, is_https)| {
            listener.set_nonblocking(true)?;
            Ok((TcpListener::from_std(listener)?, is_https))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let quic = match &node.tls {
        Some(tls) => quic
            .into_iter()
            .map(|socket| http3::Listener::new(socket, tls, &node.limits).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let tasks = node.tasks.clone();
    let front = Arc::new(Front::new(&node));
    // They go on until the end: who knocks at a node that stops is refused, as nobody else would tell it.
    let knocking = quic.iter().map(|listener| {
        let (listener, front, accepted) = (Arc::clone(listener), Arc::clone(&front), tasks.clone());
        AbortOnDropHandle::new(tokio::spawn(async move { listener.accept(front, accepted).await }))
    });
    let knocking: Vec<_> = knocking.collect();
    for (listener, is_https) in listeners {
        let accepting = accept(Arc::clone(&front), listener, is_https, tasks.clone());
        let stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accepting => {}
            }
        });
    }
    shutdown.cancelled().await;
    node.stopping.cancel();
    tasks.close();
    if tokio::time::timeout(node.limits.drain_grace, tasks.wait()).await.is_err() {
        tracing::warn!(grace = ?node.limits.drain_grace, "requests were still running when the grace ended");
        node.closing.cancel();
        tasks.wait().await;
    }
    drop(knocking);
    for listener in quic {
        listener.close().await;
    }
    node.pool.drop_idle();
    Ok(())
}

/// What every connection needs.
struct Front {
    node: Arc<Node>,
    http1: http1::Builder,
    http2: http2::Builder<AtOnce>,
    limits: GuardLimits,
}

impl Front {
    fn new(node: &Arc<Node>) -> Self {
        let limits = &node.limits;
        let (mut http1, mut http2) = (http1::Builder::new(), http2::Builder::new(AtOnce));
        // The guard has judged a head before hyper sees it, so hyper's own limits are only wide enough never to bite.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            // Not `pipeline_flush`: it puts off flushing while a client sends, so an upload that is answered as it
            // comes would pile up in memory.
            .max_buf_size((limits.header_bytes_max + 16 * 1024).max(8_192));
        if limits.headers_max > 99 {
            http1.max_headers(limits.headers_max + 1);
        }
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.h2_streams_max)
            // So wide that what is a little too large is refused by the service, with a page and a line in the log.
            .max_header_list_size(
                u32::try_from(2 * (limits.header_bytes_max + limits.uri_bytes_max)).unwrap_or(u32::MAX),
            )
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1 << 20)
            .max_send_buf_size(256 * 1024);
        let guard = GuardLimits {
            http2: node.plain_http2,
            head: HeadLimits {
                head_bytes_max: limits.header_bytes_max,
                target_bytes_max: limits.uri_bytes_max,
                headers_max: limits.headers_max,
            },
            head_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            write_timeout: limits.write_timeout,
        };
        Self { node: Arc::clone(node), http1, http2, limits: guard }
    }
}

/// Lives as long as a connection counts.
struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.sub(Counter::EdgeConnections, 1);
    }
}

async fn accept(front: Arc<Front>, listener: TcpListener, is_https: bool, tasks: TaskTracker) {
    let counters = &front.node.counters;
    let max = front.node.limits.connections_max as u64;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Out of descriptors, most likely: closing connections will help, trying at once will not.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        counters.bump(Counter::EdgeConnectionsAccepted);
        if counters.value(Counter::EdgeConnections) >= max {
            counters.bump(Counter::EdgeConnectionsRefused);
            if !is_https {
                let _ = stream.try_write(TOO_MANY);
            }
            continue;
        }
        counters.add(Counter::EdgeConnections, 1);
        let open = Open(Arc::clone(counters));
        // A response is written in one piece, and Nagle's delay would hold back the last part of a large one.
        let _ = stream.set_nodelay(true);
        let ends = Ends { peer, local: stream.local_addr().ok().map(|local| local.ip()) };
        if is_https {
            tasks.spawn(drive_https(Arc::clone(&front), stream, ends, open));
        } else {
            tasks.spawn(drive(Arc::clone(&front), stream, ends, None, front.limits, open));
        }
    }
}

/// Shakes hands first.
async fn drive_https(front: Arc<Front>, stream: TcpStream, ends: Ends, open: Open) {
    let Some(tls) = &front.node.tls else { return };
    let accepted = tokio::select! {
        biased;
        accepted = tls.accept(stream, &front.node.counters) => accepted,
        () = front.node.stopping.cancelled() => return,
    };
    if let Some((stream, name)) = accepted {
        let connection = stream.get_ref().1;
        let session = TlsSession::of(connection);
        // By TLS it is spoken where both sides have said so (RFC 9113 section 3.2).
        let limits = GuardLimits { http2: connection.alpn_protocol() == Some(b"h2"), ..front.limits };
        drive(Arc::clone(&front), stream, ends, Some(Secure { name, session }), limits, open).await;
    }
}

async fn drive<T>(front: Arc<Front>, stream: T, ends: Ends, secure: Option<Secure>, limits: GuardLimits, open: Open)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wire = Arc::new(Wire::new());
    let service = ViewerService::new(Arc::clone(&front.node), ends, secure, Arc::clone(&wire));
    let mut guard = Guard::new(stream, service.clone(), wire, limits, Arc::clone(&front.node.counters));
    let protocol = tokio::select! {
        biased;
        protocol = poll_fn(|cx| guard.poll_protocol(cx)) => protocol,
        // It has asked for nothing yet.
        () = front.node.stopping.cancelled() => return,
    };
    let outcome = match protocol {
        Protocol::Http1 => {
            let connection = pin!(front.http1.serve_connection(guard, service).with_upgrades());
            until_drained(&front, connection, |connection| connection.graceful_shutdown(), |_| {}).await
        }
        Protocol::Http2 => {
            let stream = Gathered::new(guard);
            let connection = pin!(front.http2.serve_connection(stream.clone(), service));
            let send = |cx: &mut Context<'_>| stream.poll_send(cx);
            until_drained(&front, connection, |connection| connection.graceful_shutdown(), send).await
        }
    };
    if let Some(Err(error)) = outcome {
        let peer = ends.peer;
        if error.is_parse() {
            // The guard let pass what hyper did not: hyper has answered with an empty 400.
            front.node.counters.bump(Counter::EdgeRejected);
            tracing::debug!(%peer, %error, reason = Reason::BadRequest.as_str(), "refused by the parser");
        } else {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
    drop(open);
}

/// Drives a connection to its end: by itself, by the node's drain, or (`None`) when the grace is over. `after_turn` follows
/// each turn of the connection.
async fn until_drained<C: Future<Output = hyper::Result<()>>>(
    front: &Front,
    mut connection: Pin<&mut C>,
    finish: impl FnOnce(Pin<&mut C>),
    after_turn: impl Fn(&mut Context<'_>),
) -> Option<hyper::Result<()>> {
    let turn = |connection: &mut Pin<&mut C>, cx: &mut Context<'_>| {
        let outcome = connection.as_mut().poll(cx);
        after_turn(cx);
        outcome
    };
    tokio::select! {
        biased;
        outcome = poll_fn(|cx| turn(&mut connection, cx)) => return Some(outcome),
        () = front.node.stopping.cancelled() => finish(connection.as_mut()),
    }
    tokio::select! {
        biased;
        outcome = poll_fn(|cx| turn(&mut connection, cx)) => Some(outcome),
        () = front.node.closing.cancelled() => None,
    }
}

/// Whether an error of `accept` says nothing about the next call (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
