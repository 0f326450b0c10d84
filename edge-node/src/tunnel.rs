//! WebSocket: a connection that stops being HTTP.
//!
//! After the origin's 101 bytes flow both ways unread, until both sides end, nothing moves for the limit (a shorter one
//! once one side has ended), or the node stops. Never cached; an origin group's secondary is asked only as long as no 101 was given.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cdn_core::{
    Counter, Reason,
    forward::{Conditions, XCache},
    parents::ParentWay,
};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    asked::Asked,
    body::ResponseBody,
    fetch::{Want, fetch},
    node::Node,
    pass::{fail, relay},
    respond::{Refusal, Story},
    service::Case,
};

const BUFFER_BYTES: usize = 8 * 1024;

/// Asks the origin for the upgrade, and joins the two connections where it agrees.
pub(crate) async fn open(
    case: Case,
    asked: Asked,
    protocol: HeaderValue,
    on_upgrade: OnUpgrade,
) -> Response<ResponseBody> {
    let node = Arc::clone(&case.node);
    node.counters.bump(Counter::EdgePasses);
    let mut story = Story::new(XCache::Miss, Reason::PassUpgrade, node.clock.now() - case.began);
    let want =
        Want { conditions: Conditions::Viewer, way: ParentWay::straight(), upgrade: Some(&protocol), interims: None };
    let mut fetched = match fetch(&node, &asked, want, None).await {
        Ok(fetched) => fetched,
        Err(failure) => return fail(case, failure, story),
    };
    let Some(origin) = fetched.upgraded.take() else { return relay(case, &asked, fetched, story) };
    if let Some(reason) = case.wire().refusal() {
        // It did not wait for the 101, and what it sent was read as a request.
        node.counters.bump(Counter::EdgeRejected);
        return case.refuse(Refusal::new(reason));
    }
    // The client may send its first frame the moment it has the 101, so the guard must know before.
    case.wire().on_tunnel();
    node.tasks.spawn(join(Arc::clone(&node), on_upgrade, origin));
    story.ledger.append(&fetched.ledger);
    story.forwarded_status = Some(fetched.status);
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = fetched.headers;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    case.answer(response, story)
}

async fn join(node: Arc<Node>, client: OnUpgrade, origin: OnUpgrade) {
    let (client, origin) = match tokio::try_join!(client, origin) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "no tunnel");
            return;
        }
    };
    node.counters.add(Counter::EdgeTunnels, 1);
    let began = tokio::time::Instant::now();
    let moved = AtomicU64::new(0);
    let half_open = CancellationToken::new();
    let quiet_for = async |limit: Duration| loop {
        let last = Duration::from_millis(moved.load(Ordering::Relaxed));
        if began.elapsed() >= last + limit {
            return;
        }
        tokio::time::sleep_until(began + last + limit).await;
    };
    let forgotten = async {
        half_open.cancelled().await;
        quiet_for(node.limits.tunnel_half_open_timeout).await;
    };
    let stopped = async {
        node.stopping.cancelled().await;
        let _ = tokio::time::timeout(node.limits.tunnel_drain_grace, node.closing.cancelled()).await;
    };
    let touch = || moved.store(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    let (mut client_reads, mut client_writes) = tokio::io::split(TokioIo::<Upgraded>::new(client));
    let (mut origin_reads, mut origin_writes) = tokio::io::split(TokioIo::<Upgraded>::new(origin));
    let both = async {
        tokio::try_join!(
            pump(&mut client_reads, &mut origin_writes, &touch, &half_open),
            pump(&mut origin_reads, &mut client_writes, &touch, &half_open),
        )
    };
    tokio::select! {
        _ = both => {}
        () = quiet_for(node.limits.tunnel_idle_timeout) => node.counters.bump(Counter::EdgeIdleTimeouts),
        () = forgotten => node.counters.bump(Counter::EdgeTunnelsHalfOpen),
        () = stopped => node.counters.bump(Counter::EdgeTunnelsCut),
    }
    node.counters.sub(Counter::EdgeTunnels, 1);
}

/// Moves bytes until the end, and passes the end on.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    touch: &impl Fn(),
    ended: &CancellationToken,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        touch();
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        to.write_all(bytes).await?;
        to.flush().await?;
        touch();
    }
    ended.cancel();
    to.shutdown().await
}
