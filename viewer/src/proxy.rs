//! The forward proxy: HTTP in absolute form, CONNECT, and upgrades; the proxy user says where one stands.
//!
//! Decides what of a request is for the edge. It is the network's physics and no hop of the CDN: it adds nothing, and
//! answers by itself only when no edge could.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use cdn_core::Counter;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri::Scheme};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    download::{AtEnd, Download},
    failure::Failure,
    fetch::{Fetched, Viewpoint},
    headers::{restore_upgrade, strip_hop_by_hop, upgrade},
    ledger::{Ending, Recorder, Step},
    node::{Client, Node},
    server_timing::EdgeTiming,
    target::Target,
    tls::BothEnds,
    tunnel,
    user::User,
};

/// The body of an answer: a text of our own, or what an edge sends.
pub(crate) type Reply = Either<Full<Bytes>, Download>;

const USAGE: &str = "this is a forward proxy; the user name is the place to stand in: \
                     curl -x http://tokyo@127.0.0.1:4488 http://www.demo.test/";

/// Serves one request of `client`.
pub(crate) async fn handle(client: Arc<Client>, request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
    let counters = &client.node.counters;
    counters.bump(Counter::ViewerRequests);
    let is_connect = request.method() == Method::CONNECT;
    let result = match client.stand_in.on_request() {
        Some(reason) => Err(Failure::Refused(reason)),
        None => serve(&client, request).await,
    };
    Ok(result.unwrap_or_else(|failure| {
        counters.bump(if failure.is_clients() { Counter::ViewerRejected } else { Counter::ViewerErrors });
        tracing::debug!(reason = %failure.reason(), "{failure}");
        let mut response = failure.respond();
        if is_connect {
            // What came behind it was meant for the tunnel that there is none of, and is no request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(Either::Left)
    }))
}

async fn serve(client: &Arc<Client>, mut request: Request<Incoming>) -> Result<Response<Reply>, Failure> {
    let node = &client.node;
    let user = match (&client.inside, request.headers().get(header::PROXY_AUTHORIZATION)) {
        (Some(inside), _) => inside.user.clone(),
        (None, Some(value)) => User::of_authorization(value.as_bytes()).map_err(Failure::BadRequest)?,
        (None, None) => User::default(),
    };
    let who = node.viewpoint(&user, client)?;
    let is_connect = request.method() == Method::CONNECT;
    let url = match &client.inside {
        Some(inside) => format!("https://{}{}", inside.authority, request.uri()),
        None => request.uri().to_string(),
    };
    if is_connect && (user.http3 || user.ledger.is_some() && user.look_inside) {
        let target = target(request.uri(), is_connect, client);
        if let Ok(target) = target
            && let Some(tls) = both_ends(client, &target)
        {
            let http3 = user.http3;
            return look_inside(client, user, Target { tls: Some(tls), http3, ..target }, &mut request);
        }
    }
    let recorder = Recorder::start(&who.standing.place, request.method().as_str(), &url);
    let mut unanswered = Unanswered { node, recorder, ledger: user.ledger.clone() };
    let recorder = &mut unanswered.recorder;
    let result = match target(request.uri(), is_connect, client) {
        Ok(target) if user.http3 && !target.http3 => Err(Failure::BadRequest(format!(
            "HTTP/3 is spoken over HTTPS, with names of this world: ask for https://{}/",
            target.host
        ))),
        Ok(target) if is_connect => {
            open_tunnel(client, &who, &target, &mut request, recorder, user.ledger.as_deref()).await
        }
        Ok(target) => forward(client, &who, &target, request, recorder, user.ledger.as_deref()).await,
        Err(failure) => Err(failure),
    };
    unanswered.settle(result.as_ref().err());
    result
}

/// A request without a response. Its ledger is written when it fails, and when the client leaves before; that of one
/// with a response, when that has ended.
struct Unanswered<'a> {
    node: &'a Node,
    recorder: Recorder,
    ledger: Option<String>,
}

impl Unanswered<'_> {
    fn settle(&mut self, failure: Option<&Failure>) {
        let (Some(id), Some(failure)) = (self.ledger.take(), failure) else { return };
        let (status, reason) = (failure.status().as_u16(), Some(failure.reason()));
        let ending = Ending { status, reason, error: failure.to_string(), ..Ending::default() };
        self.node.store_ledger(self.node.next_serial(), self.recorder.finish(&id, ending));
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(id) = self.ledger.take() else { return };
        self.recorder.break_off();
        let ending = Ending { error: "the client left before there was a response".into(), ..Ending::default() };
        self.node.store_ledger(self.node.next_serial(), self.recorder.finish(&id, ending));
    }
}

/// Where the request goes.
fn target(uri: &Uri, is_connect: bool, client: &Client) -> Result<Target, Failure> {
    if let Some(inside) = &client.inside {
        // It speaks to the host that the tunnel leads to, as to an origin.
        let is_plain = !is_connect && uri.authority().is_none();
        return if is_plain { Ok(inside.target.clone()) } else { Err(Failure::BadRequest(USAGE.into())) };
    }
    let authority = uri.authority().ok_or_else(|| Failure::BadRequest(USAGE.into()))?;
    if authority.as_str().contains('@') {
        return Err(Failure::BadRequest("a URL may not carry a user name (RFC 9110 section 4.2.4)".into()));
    }
    let default_port = match uri.scheme() {
        None if is_connect => 443,
        Some(scheme) if *scheme == Scheme::HTTP && !is_connect => 80,
        Some(scheme) if *scheme == Scheme::HTTPS => {
            return Err(Failure::BadRequest("https goes through a proxy by CONNECT".into()));
        }
        _ => return Err(Failure::BadRequest(USAGE.into())),
    };
    Target::of(authority, default_port, &client.node.config)
}

async fn forward(
    client: &Arc<Client>,
    who: &Viewpoint,
    target: &Target,
    mut request: Request<Incoming>,
    recorder: &mut Recorder,
    ledger: Option<&str>,
) -> Result<Response<Reply>, Failure> {
    let node = &client.node;
    let offered = upgrade(request.headers());
    let client_side = offered.is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = offered {
        restore_upgrade(&mut parts.headers, protocol);
    }
    if !parts.headers.contains_key(header::HOST) {
        let host = parts.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
        if let Some(Ok(host)) = host {
            parts.headers.insert(header::HOST, host);
        }
    }
    parts.uri = parts.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    parts.version = Version::HTTP_11;

    let body = node.fetcher.keep(&parts, body).await?;
    let Fetched { mut response, connection } = node.fetcher.fetch(who, target, parts, body, recorder).await?;
    let address = connection.address;
    let timing = EdgeTiming::of(response.headers());
    let pop = timing.as_ref().and_then(EdgeTiming::metro).unwrap_or_else(|| node.config.edge_name(address.ip()));
    let detail = if who.warm { "request, warm, 1 round trip" } else { "request, 1 round trip" };
    recorder.response(&who.standing.place, &pop, detail, timing.as_ref());
    let ending = Ending { status: response.status().as_u16(), edge: Some(address), timing, ..Ending::default() };

    let switched = upgrade(response.headers()).filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && (switched.is_none() || client_side.is_none()) {
        return Err(Failure::Invalid(format!("{} switched protocols unasked", node.fetcher.named(address))));
    }
    let asks_for = response.headers().get(header::UPGRADE).cloned();
    let edge_side = switched.is_some().then(|| hyper::upgrade::on(&mut response));
    strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    match (switched, response.status() == StatusCode::UPGRADE_REQUIRED, asks_for) {
        (Some(protocol), ..) | (None, true, Some(protocol)) => restore_upgrade(response.headers_mut(), protocol),
        _ => {}
    }
    let (Some(client_side), Some(edge_side)) = (client_side, edge_side) else {
        let silence_max = node.config.limits.body_idle_timeout;
        let at_end = AtEnd {
            node: Arc::clone(node),
            client: Arc::clone(client),
            who: who.clone(),
            connection,
            recorder: recorder.clone(),
            ending,
            pop,
            ledger: ledger.map(str::to_owned),
        };
        return Ok(response.map(|incoming| Either::Right(Download::new(incoming, silence_max, at_end))));
    };
    client.on_tunnel()?;
    if let Some(id) = ledger {
        node.store_ledger(node.next_serial(), recorder.finish(id, Ending { complete: true, ..ending }));
    }
    let client = Arc::clone(client);
    node.tasks.spawn(async move {
        if let (Ok(client_side), Ok(edge_side)) = tokio::join!(client_side, edge_side) {
            tunnel::carry(&client, TokioIo::new(client_side), TokioIo::new(edge_side)).await;
        }
    });
    Ok(response.map(|_| Either::Left(Full::default())))
}

/// What it takes to look into a tunnel to `target`; `None` where that is not HTTPS, or nobody knows how.
fn both_ends(client: &Client, target: &Target) -> Option<Arc<BothEnds>> {
    let config = &client.node.config;
    if Some(target.port) != config.edge_https_port {
        return None;
    }
    let ends = config
        .identities
        .as_ref()?
        .identity(&target.host)
        .and_then(|identity| BothEnds::of(&identity, &client.node.clock));
    match ends {
        Ok(ends) => Some(Arc::new(ends)),
        Err(error) => {
            tracing::debug!(%error, "the tunnel stays closed to its ledger");
            None
        }
    }
}

/// Takes the place of the edge for the client, and that of the client for the edge: every request inside has a ledger.
fn look_inside(
    client: &Arc<Client>,
    user: User,
    target: Target,
    request: &mut Request<Incoming>,
) -> Result<Response<Reply>, Failure> {
    client.on_tunnel()?;
    let authority = request.uri().authority().map_or_else(|| target.host.clone(), ToString::to_string);
    let authority = authority.strip_suffix(":443").unwrap_or(&authority).to_owned();
    let client_side = hyper::upgrade::on(request);
    let outside = Arc::clone(client);
    client.node.tasks.spawn(async move {
        let Some(tls) = target.tls.clone() else { return };
        let Ok(client_side) = client_side.await else { return };
        let node = Arc::clone(&outside.node);
        let shaken = timeout(node.config.limits.tls_timeout, tls.accept(TokioIo::new(client_side))).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "no TLS handshake with the client"),
            Err(_elapsed) => return,
        };
        let (reads, writes) = tokio::io::split(stream);
        let inside = Arc::new(Client::inside(outside, user, target, authority));
        // Boxed, since what serves a connection is what serves this.
        let serving: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(crate::serve_stream(inside, reads, writes, node.stopping.clone()));
        serving.await;
    });
    Ok(Response::new(Either::Left(Full::default())))
}

async fn open_tunnel(
    client: &Arc<Client>,
    who: &Viewpoint,
    target: &Target,
    request: &mut Request<Incoming>,
    recorder: &mut Recorder,
    ledger: Option<&str>,
) -> Result<Response<Reply>, Failure> {
    let node = &client.node;
    let (edge_side, address) = node.fetcher.tunnel(who, target, recorder).await?;
    client.on_tunnel()?;
    if who.warm {
        recorder.restart_warm();
    }
    let serial = node.next_serial();
    if let Some(id) = ledger {
        // A first version, for who asks while the tunnel is open or just after it was closed.
        node.store_ledger(
            serial,
            recorder.finish(id, Ending { error: "the tunnel is open".into(), ..tunnel_ending(address, false) }),
        );
    }
    let client_side = hyper::upgrade::on(request);
    let (client, ledger) = (Arc::clone(client), ledger.map(str::to_owned));
    let mut recorder = recorder.clone();
    node.tasks.spawn(async move {
        let Ok(client_side) = client_side.await else { return };
        let carried = tunnel::carry(&client, TokioIo::new(client_side), edge_side).await;
        let Some(id) = ledger else { return };
        let detail = match carried {
            Some((up, down)) => format!("tunnel, {up} bytes up, {down} bytes down"),
            None => "tunnel, broken off".into(),
        };
        let node = &client.node;
        let label = format!("{} → {}", recorder.place(), node.config.edge_name(address.ip()));
        recorder.step(Step::Tunnel, label, detail);
        node.store_ledger(serial, recorder.finish(&id, tunnel_ending(address, carried.is_some())));
    });
    Ok(Response::new(Either::Left(Full::default())))
}

fn tunnel_ending(edge: SocketAddr, complete: bool) -> Ending {
    Ending { status: 200, edge: Some(edge), complete, ..Ending::default() }
}
