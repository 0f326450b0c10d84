//! HTTP routing: 307 to an edge, by the same decision as DNS; and the place where viewers report round trips.
//!
//! The client is known by its own address here, so no resolver stands between; and by a cookie it can be kept where it was
//! before (`sticky`). Speaks HTTP/1.1 and cleartext HTTP/2, and carries DNS (`doh`) for those who ask for it. Serves nothing
//! else: no admin, and no explanations, which tell too much.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cdn_core::{
    Counter, NodeId, Reason,
    estimate::BeaconRefused,
    framing::{Requests, Screen, StandIn},
    routing::{AskedBy, DecisionId, ExplainOptions, Subject},
    zone::Name,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, uri::Authority};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    answer,
    config::RedirectTo,
    control::{Control, Published},
    doh, names,
    screened::Screened,
    sticky,
    tally::Carrier,
    tcp::ACCEPT_PAUSE,
};

/// Requests of one HTTP/2 connection that are answered at once.
const STREAMS_MAX: u32 = 100;

/// How long to wait for more of a client's first bytes.
const PEEK_PAUSE: Duration = Duration::from_millis(5);

/// Accepts until told to stop.
pub(crate) async fn run(control: Arc<Control>, listener: TcpListener, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(control.limits.http_connections_max));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            control.counters.bump(Counter::RouterHttpConnectionsRefused);
            continue;
        };
        let (control, stop) = (Arc::clone(&control), stop.clone());
        tasks.spawn(async move {
            control.counters.add(Counter::RouterHttpConnections, 1);
            serve(&control, stream, peer.ip(), &stop).await;
            control.counters.sub(Counter::RouterHttpConnections, 1);
            drop(slot);
        });
    }
    tasks.close();
    let _ = timeout(control.limits.drain_grace, tasks.wait()).await;
}

async fn serve(control: &Arc<Control>, stream: TcpStream, peer: IpAddr, stop: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let peer = answer::translated(control.source_nat.as_ref(), peer);
    let is_http2 = tokio::select! {
        () = stop.cancelled() => return,
        is_http2 = timeout(control.limits.http_header_timeout, begins_as_http2(&stream)) => is_http2,
    };
    match is_http2 {
        Ok(Ok(true)) => serve_http2(control, stream, peer, stop).await,
        Ok(Ok(false)) => serve_http1(control, stream, peer, stop).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether a client's first bytes are those of HTTP/2 with prior knowledge (RFC 9113, section 3.4). No method of HTTP/1.1
/// begins as its preface does.
async fn begins_as_http2(stream: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut first = [0; PREFACE.len()];
    loop {
        let len = stream.peek(&mut first).await?;
        let seen = first.get(..len).unwrap_or_default();
        if seen.is_empty() || len == PREFACE.len() || !PREFACE.starts_with(seen) {
            return Ok(seen == PREFACE);
        }
        // Who sends a byte at a time is not waited for by a wake-up: the bytes that are there would be one.
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}

async fn serve_http2(control: &Arc<Control>, stream: TcpStream, peer: IpAddr, stop: &CancellationToken) {
    // How many requests have begun.
    let seen = AtomicU64::new(0);
    let service = service_fn(|request| {
        seen.fetch_add(1, Ordering::Relaxed);
        control.counters.bump(Counter::RouterHttpRequests);
        // hyper gives each request a task of its own.
        let control = Arc::clone(control);
        async move { Ok::<_, Infallible>(handle_request(&control, request, peer).await) }
    });
    let limits = &control.limits.http_head;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        let before = seen.load(Ordering::Relaxed);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(control.limits.drain_grace, connection).await;
                return;
            }
            // hyper has no limit for idle connections of HTTP/2. A request takes less than this.
            () = tokio::time::sleep(control.limits.http_header_timeout + control.limits.http_body_timeout) => {
                if seen.load(Ordering::Relaxed) == before {
                    return;
                }
            }
        }
    }
}

async fn serve_http1(control: &Arc<Control>, stream: TcpStream, peer: IpAddr, stop: &CancellationToken) {
    let stand_in = Arc::new(StandIn::default());
    let service = service_fn(|request| {
        control.counters.bump(Counter::RouterHttpRequests);
        let refused = stand_in.on_request();
        async move {
            Ok::<_, Infallible>(match refused {
                Some(reason) => rejected(control, status_of(reason), reason),
                None => handle_request(control, request, peer).await,
            })
        }
    });
    let limits = &control.limits.http_head;
    let screen = Screen::new(Requests::new(*limits), Arc::clone(&stand_in));
    let (reads, writes) = stream.into_split();
    let stream = tokio::io::join(Screened::new(reads, screen), writes);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(control.limits.http_header_timeout)
        // Heads were judged before hyper sees them, so its own limits are only wide enough never to bite.
        .max_buf_size((limits.head_bytes_max + 1024).max(8_192))
        .max_headers(limits.headers_max + 1)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            // It took what hyper did not, which has answered by itself.
            if ended.is_err_and(|error| error.is_parse()) {
                control.counters.bump(Counter::RouterHttpRejected);
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(control.limits.drain_grace, connection).await;
        }
    }
}

async fn handle_request(control: &Arc<Control>, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
    if request.method() == Method::CONNECT {
        let mut response = rejected(control, StatusCode::METHOD_NOT_ALLOWED, Reason::MethodNotAllowed);
        // What came behind it was meant for a tunnel, and is no request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    if !is_well_formed(&request) {
        return rejected(control, StatusCode::BAD_REQUEST, Reason::BadRequest);
    }
    match request.uri().path() {
        "/beacon" if request.method() == Method::POST => handle_beacon(control, request, peer).await,
        "/beacon" => {
            let mut response = rejected(control, StatusCode::METHOD_NOT_ALLOWED, Reason::MethodNotAllowed);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            response
        }
        doh::PATH => doh::handle_request(control, request, peer).await,
        "/.iso/route" => list(control, &request, peer),
        _ => redirect(control, &request, peer),
    }
}

/// One `Host` and no second, HTTP/1.0 excepted (RFC 9112, section 3.2) and what HTTP/2 has in its place, and a target that has a path: what is in
/// authority or asterisk form is not a thing that an edge has.
fn is_well_formed(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let may_lack_one = match request.version() {
        Version::HTTP_10 => true,
        Version::HTTP_2 => request.uri().authority().is_some(),
        _ => false,
    };
    let has_host = hosts == 1 || (hosts == 0 && may_lack_one);
    has_host && request.uri().path().starts_with('/')
}

/// 307 keeps method and body, and says nothing about the next time (RFC 9110, section 15.4.8).
fn redirect(control: &Control, request: &Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
    let published = control.published();
    let Some(host) = routed_host(&published, request) else { return unknown_host(control) };
    let Some(choice) = choose(control, &published, host, peer, request.headers()) else {
        return rejected(control, StatusCode::SERVICE_UNAVAILABLE, Reason::NoCandidate);
    };
    let Some(edge) = choice.edges.first() else {
        return rejected(control, StatusCode::SERVICE_UNAVAILABLE, Reason::NoCandidate);
    };
    let authority = match control.redirect_to {
        RedirectTo::Address => edge.address.to_string(),
        RedirectTo::Name => format!("{}:{}", edge.name, edge.address.port()),
    };
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let Ok(location) = HeaderValue::from_str(&format!("http://{authority}{target}")) else {
        return rejected(control, StatusCode::BAD_REQUEST, Reason::BadRequest);
    };
    control.counters.bump(Counter::RouterHttpRedirects);
    if choice.reason == Reason::RouteSticky {
        control.counters.bump(Counter::RouterHttpSticky);
    }
    let mut response = decided(StatusCode::TEMPORARY_REDIRECT, &choice, Bytes::new());
    response.headers_mut().insert(header::LOCATION, location);
    if let Some(cookie) = control.sticky.and_then(|span| sticky::cookie(&edge.id, span)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// The edges for this client, best first, for clients that choose themselves.
fn list(control: &Control, request: &Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
    let published = control.published();
    let Some(host) = routed_host(&published, request) else { return unknown_host(control) };
    let Some(choice) = choose(control, &published, host, peer, request.headers()) else {
        return rejected(control, StatusCode::SERVICE_UNAVAILABLE, Reason::NoCandidate);
    };
    control.counters.bump(Counter::RouterHttpLists);
    let body = RouteList { ttl_s: published.snapshot.ttl(host).as_secs(), edges: &choice.edges };
    let mut response = decided(StatusCode::OK, &choice, serde_json::to_vec(&body).unwrap_or_default().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A reply that says which decision it is.
fn decided(status: StatusCode, choice: &Choice, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = reply(status, choice.reason, body);
    if let Ok(id) = HeaderValue::from_str(&choice.id.to_string()) {
        response.headers_mut().insert("x-iso-decision", id);
    }
    response
}

#[derive(Serialize)]
struct RouteList<'c> {
    ttl_s: u64,
    edges: &'c [RoutedEdge],
}

#[derive(Serialize)]
struct RoutedEdge {
    #[serde(skip)]
    id: NodeId,
    pop: String,
    name: String,
    address: SocketAddrV4,
    #[serde(skip_serializing_if = "Option::is_none")]
    address6: Option<SocketAddr>,
}

struct Choice {
    id: DecisionId,
    edges: Vec<RoutedEdge>,
    reason: Reason,
}

fn choose(
    control: &Control,
    published: &Published,
    host: usize,
    client: IpAddr,
    headers: &HeaderMap,
) -> Option<Choice> {
    let snapshot = &published.snapshot;
    let (turn, asked_by) = (snapshot.turn(host, control.next_turn()), AskedBy::Peer);
    let options = ExplainOptions { turn, ..ExplainOptions::default() };
    // The reason goes into the answer, so this asks for the whole decision; it is the same one that DNS gives.
    let mut explanation = snapshot.explain(host, "", client, asked_by, &options);
    let mut id = control.namer.id(snapshot.version(), Subject { host, client, asked_by, turn });
    if let Some(edge) = control.sticky.and_then(|_| sticky::wanted(headers)) {
        id.held = sticky::hold(&mut explanation, snapshot.pops(), &edge);
    }
    let edge = |chosen: &cdn_core::routing::ChosenEdge| RoutedEdge {
        id: chosen.edge.clone(),
        pop: chosen.pop.to_string(),
        // It stands in the zones, or there were none.
        name: names::at_edge(&control.zone, &explanation.host, &chosen.edge)
            .map(|name| name.to_string())
            .unwrap_or_default(),
        address: chosen.address,
        address6: chosen.address6.map(|ip| (ip, chosen.address.port()).into()),
    };
    let first = explanation.chosen.first()?;
    let reason = first.reason;
    if let Some(at) = snapshot.pops().iter().position(|pop| pop.code == first.pop)
        && let Some(tally) = published.tallies.get(at)
    {
        tally.on_answer(Carrier::Http, snapshot.policy(host), reason);
    }
    Some(Choice { id, edges: explanation.chosen.iter().map(edge).collect(), reason })
}

/// The host that the request is for; an absolute target outweighs the header (RFC 9112, section 3.2.2).
fn routed_host(published: &Published, request: &Request<Incoming>) -> Option<usize> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => request.headers().get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok()?,
    };
    let name: Name = authority.host().parse().ok()?;
    published.zones.host(name.as_bytes())
}

/// What a viewer reports.
#[derive(Deserialize)]
struct Beacon {
    /// Its network, or its address.
    client: String,
    /// The edge's address.
    edge: IpAddr,
    /// The round trip it saw.
    rtt_ms: f64,
}

async fn handle_beacon(control: &Control, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
    let body = Limited::new(request.into_body(), control.limits.beacon_bytes_max).collect();
    let (status, reason) = match timeout(control.limits.http_body_timeout, body).await {
        Err(_) => (StatusCode::REQUEST_TIMEOUT, Reason::BodyTimeout),
        Ok(Err(error)) if error.is::<LengthLimitError>() => (StatusCode::PAYLOAD_TOO_LARGE, Reason::BadRequest),
        Ok(Err(_)) => (StatusCode::BAD_REQUEST, Reason::BadRequest),
        Ok(Ok(body)) => match take_beacon(control, &body.to_bytes(), peer) {
            Ok(()) => return reply(StatusCode::NO_CONTENT, Reason::BeaconTaken, Bytes::new()),
            Err(status) => (status, Reason::BeaconRefused),
        },
    };
    rejected(control, status, reason)
}

fn take_beacon(control: &Control, body: &[u8], peer: IpAddr) -> Result<(), StatusCode> {
    let malformed = || {
        control.counters.bump(Counter::RouterBeaconsRefused);
        StatusCode::BAD_REQUEST
    };
    let beacon: Beacon = serde_json::from_slice(body).map_err(|_| malformed())?;
    let client = beacon.client.parse::<IpNet>().map(|net| net.addr()).or_else(|_| beacon.client.parse::<IpAddr>());
    let client = client.map_err(|_| malformed())?;
    let rtt = Duration::try_from_secs_f64(beacon.rtt_ms / 1000.0).map_err(|_| malformed())?;
    // A viewer may speak for its own network only; what has no place on the map (this machine) may speak for all.
    let published = control.published();
    let geo = published.snapshot.geo();
    if geo.block_of(peer).is_some_and(|own| geo.block_of(client) != Some(own)) {
        control.counters.bump(Counter::RouterBeaconsRefused);
        return Err(StatusCode::FORBIDDEN);
    }
    control.handle_beacon(client, beacon.edge, rtt).map_err(|refused| match refused {
        BeaconRefused::UnknownClient | BeaconRefused::UnknownEdge => StatusCode::NOT_FOUND,
        BeaconRefused::RttOutOfRange => StatusCode::UNPROCESSABLE_ENTITY,
        BeaconRefused::Full => StatusCode::SERVICE_UNAVAILABLE,
    })
}

/// The status of a request that the screen refused.
const fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::UriTooLong => StatusCode::URI_TOO_LONG,
        Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn unknown_host(control: &Control) -> Response<Full<Bytes>> {
    rejected(control, StatusCode::NOT_FOUND, Reason::UnknownHost)
}

pub(crate) fn rejected(control: &Control, status: StatusCode, reason: Reason) -> Response<Full<Bytes>> {
    control.counters.bump(Counter::RouterHttpRejected);
    reply(status, reason, Bytes::from(format!("{}\n", reason.help())))
}

pub(crate) fn reply(status: StatusCode, reason: Reason, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // A decision holds for this client and this moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-iso-reason", HeaderValue::from_static(reason.as_str()));
    response
}
