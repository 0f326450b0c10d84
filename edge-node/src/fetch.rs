//! Getting a response from behind: from a cache between, or from an origin by way of the origin group's machine.
//!
//! [`Exchange`] decides who is asked, how often and how long; this is the thin loop that does it. Knows connections and
//! requests; does not know what is cached.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use cdn_core::{
    Counter, Instant, Reason,
    distribution::Origin,
    forward::{self, Conditions, Forward, Hop},
    origin_group::{Exchange, Failure, Step},
    origin_protocol,
    parent_health::Useless,
    parents::{Next, ParentWay, Worth},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, uri::Authority};
use hyper::body::Incoming;

use crate::{
    asked::Asked,
    body::{OriginBody, OriginRequestBody, ViewerBody},
    config::{Parent, Tier},
    connection::Wire,
    decision_log::{Told, Way},
    node::Node,
    pool::{Lease, Peer, SendError},
    purge,
    respond::{CACHE_STATUS, Refusal},
    timing::Ledger,
};

/// The head of a response from behind, and the way to its body.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: OriginBody,
    /// When the request that it answers was sent.
    pub(crate) requested_at: Instant,
    /// What was tried, for `Server-Timing`.
    pub(crate) ledger: Ledger,
    /// Set where a cache between gave the response.
    pub(crate) parent: Option<FromParent>,
    /// The stream under an upgraded connection (status 101).
    pub(crate) upgraded: Option<hyper::upgrade::OnUpgrade>,
}

/// What a cache between says about its answer.
#[derive(Clone, Debug)]
pub(crate) struct FromParent {
    /// Which one it is.
    pub(crate) tier: Tier,
    /// Its store answered, or one behind it did.
    pub(crate) hit: bool,
    /// Its `x-iso-reason`.
    pub(crate) reason: Option<Reason>,
    /// Its `Cache-Status`, which begins with those behind it.
    pub(crate) cache_status: Option<HeaderValue>,
}

impl FromParent {
    /// Whose store it was, where it was one.
    pub(crate) fn hit_reason(&self) -> Option<Reason> {
        self.hit.then(|| self.tier.hit_reason(self.reason))
    }
}

/// No response.
#[derive(Clone, Debug)]
pub(crate) struct FetchFailure {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
    pub(crate) ledger: Ledger,
}

/// What is asked for, beside the request itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want<'a> {
    pub(crate) conditions: Conditions<'a>,
    /// Past the caches between, to the origins.
    pub(crate) way: ParentWay,
    pub(crate) upgrade: Option<&'a HeaderValue>,
    /// Where interim responses go, if anybody is told of them.
    pub(crate) interims: Option<&'a Arc<Wire>>,
}

/// Asks the caches between, where there are any for the target, and where none of them is of use the target's origins.
pub(crate) async fn fetch(
    node: &Node,
    asked: &Asked,
    want: Want<'_>,
    body: Option<ViewerBody>,
) -> Result<Fetched, FetchFailure> {
    let mut ledger = Ledger::default();
    if let Some(origin) = asked.origins().next() {
        let mut way = want.way;
        loop {
            let began = node.clock.now();
            let next = way.next(origin, |place| node.tier_of_parent(place), |place| node.is_worth_asking(place, began));
            let (Next::Ask(place) | Next::PassBy(place)) = next else { break };
            let Some(parent) = node.parents.get(place) else { break };
            if next == Next::Ask(place) {
                if purge::settle(node, place, asked, origin).await
                    && let Some(fetched) = ask_parent(node, asked, want, parent, origin, &mut ledger).await
                {
                    if let Some(health) = node.parent_health.get(place) {
                        health.lock().unwrap_or_else(PoisonError::into_inner).on_answer();
                    }
                    return as_failure(fetched);
                }
                left_alone(node, place, origin, began);
            }
            node.counters.bump(parent.tier.bypass_counter());
        }
    }
    ask_origins(node, asked, want, body, ledger).await
}

/// A cache between that was asked at `began` was of no use.
pub(crate) fn left_alone(node: &Node, place: usize, origin: &Origin, began: Instant) {
    let (Some(parent), Some(health)) = (node.parents.get(place), node.parent_health.get(place)) else { return };
    let (patience, retry) = (origin.connection_timeout, node.limits.parent_retry);
    let useless = Useless { began, ended: node.clock.now(), patience, retry };
    if health.lock().unwrap_or_else(PoisonError::into_inner).on_useless(useless) {
        tracing::warn!(
            parent = %parent.pop, tier = parent.tier.as_str(), left_alone = ?retry,
            "silent until the connection timeout; misses go past it for a while"
        );
    }
}

/// An error page that a cache between made itself is an error of the fetch: the edge makes its own page, or has something stale.
fn as_failure(fetched: Fetched) -> Result<Fetched, FetchFailure> {
    match Worth::of(fetched.status, fetched.parent.as_ref().and_then(|parent| parent.reason)) {
        Worth::Failure(reason) => Err(FetchFailure { status: fetched.status, reason, ledger: fetched.ledger }),
        Worth::Response | Worth::Nothing => Ok(fetched),
    }
}

/// Sends the request and what a machine needs to know about it.
pub(crate) struct Outgoing {
    pub(crate) target: Uri,
    pub(crate) headers: HeaderMap,
    method: Method,
}

impl Outgoing {
    fn request(
        &self,
        node: &Node,
        body: OriginRequestBody,
        interims: Option<&Arc<Wire>>,
    ) -> Request<OriginRequestBody> {
        let mut request = Request::new(body);
        if let Some(wire) = interims {
            let (wire, bytes_max) = (Arc::clone(wire), node.limits.origin_header_bytes_max);
            hyper::ext::on_informational(&mut request, move |interim| {
                // 100 answers an expectation that never left this node; 101 is no interim response here.
                if !matches!(interim.status(), StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
                    let mut headers = interim.headers().clone();
                    forward::strip_hop_by_hop(&mut headers);
                    wire.interims.push(interim.status(), &headers, bytes_max);
                }
            });
        }
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

async fn ask_origins(
    node: &Node,
    asked: &Asked,
    want: Want<'_>,
    body: Option<ViewerBody>,
    mut ledger: Ledger,
) -> Result<Fetched, FetchFailure> {
    let tier = node.tier;
    let watch = body.as_ref().map(ViewerBody::watch);
    let mut body = body.map(Box::new);
    let toward = (&*asked.distribution, asked.behavior());
    let chosen = asked.chosen.as_deref();
    let Some(mut way) = Way::begin(node.clock.now(), &asked.method, toward, chosen, node.decisions.as_ref()) else {
        return Err(failure(Failure::Unreachable, ledger));
    };
    let mut lease: Option<Lease> = None;
    let mut answer: Option<Response<Incoming>> = None;
    let mut requested_at = node.clock.now();
    loop {
        match way.step() {
            Step::Connect { member, deadline, may_reuse } => {
                // A response that was not good enough goes with its connection.
                answer = None;
                lease = connect(node, asked, &mut way, member, deadline, may_reuse).await;
            }
            Step::Send { member, deadline } => {
                let (Some(connection), Some(origin)) = (lease.as_mut(), asked.origin(member)) else {
                    return Err(failure(Failure::Unreachable, ledger));
                };
                let outgoing = outgoing(node, asked, want, origin);
                let payload = match body.take() {
                    Some(body) => OriginRequestBody::Viewer(body),
                    None => OriginRequestBody::Empty,
                };
                node.counters.bump(Counter::EdgeOriginRequests);
                requested_at = node.clock.now();
                let mut sending = std::pin::pin!(connection.send(outgoing.request(node, payload, want.interims)));
                let mut until = deadline;
                let outcome = loop {
                    let outcome = tokio::time::timeout_at(node.clock.at(until), sending.as_mut()).await;
                    if let (Err(_), Some(watch)) = (&outcome, &watch) {
                        way.tell(node.clock.now() - watch.still_for(), Told::BodyProgress);
                        if let Step::Send { deadline, .. } = way.step()
                            && deadline > until
                        {
                            until = deadline;
                            continue;
                        }
                    }
                    break outcome;
                };
                let now = node.clock.now();
                if let Some(watch) = &watch {
                    if let Some(reason) = watch.failure() {
                        // The viewer's fault, not the origin's.
                        ledger.attempts(tier, &way);
                        return Err(FetchFailure { status: Refusal::new(reason).status, reason, ledger });
                    }
                    if watch.has_begun() || matches!(outcome, Err(_) | Ok(Err(SendError::Failed(_)))) {
                        // The body has gone with the attempt, whether or not a byte of it was sent.
                        way.tell(now, Told::BodyBegun);
                    }
                }
                match outcome {
                    Ok(Ok(response)) => {
                        way.tell(now, Told::Response(response.status()));
                        answer = Some(response);
                    }
                    Ok(Err(SendError::Unsent(request))) => {
                        if let OriginRequestBody::Viewer(unsent) = request.into_body() {
                            body = Some(unsent);
                        }
                        way.tell(now, Told::Unsent);
                    }
                    Ok(Err(SendError::Failed(failed))) => way.tell(now, Told::Failed(failed)),
                    Err(_) => way.tell(now, Told::Timeout),
                }
            }
            Step::Serve { member } => {
                count_failover(node, &way, asked);
                ledger.attempts(tier, &way);
                let (Some(response), Some(lease)) = (answer, lease) else {
                    return Err(failure(Failure::Invalid, ledger));
                };
                let keep = asked.origin(member).map_or(Duration::ZERO, |origin| origin.keepalive_timeout);
                let completion = way.completion_deadline().map(|deadline| node.clock.at(deadline));
                let mut fetched = receive(response, way.body_idle_timeout(), completion, (node, lease, keep), ledger);
                fetched.requested_at = requested_at;
                return Ok(fetched);
            }
            Step::GiveUp { failure: failed, .. } => {
                count_failover(node, &way, asked);
                ledger.attempts(tier, &way);
                return Err(failure(failed, ledger));
            }
        }
    }
}

async fn connect(
    node: &Node,
    asked: &Asked,
    way: &mut Way,
    member: usize,
    deadline: Instant,
    may_reuse: bool,
) -> Option<Lease> {
    let Some(peer) = peer_of(node, asked, member) else {
        way.tell(node.clock.now(), Told::Failed(Failure::Unreachable));
        return None;
    };
    if may_reuse && let Some(lease) = node.pool.take(&peer) {
        way.tell(node.clock.now(), Told::Connected { reused: true });
        return Some(lease);
    }
    let connecting = node.pool.connect(&peer, || way.tell(node.clock.now(), Told::Accepted));
    let outcome = tokio::time::timeout_at(node.clock.at(deadline), connecting).await;
    let now = node.clock.now();
    match outcome {
        Ok(Ok(lease)) => {
            way.tell(now, Told::Connected { reused: false });
            return Some(lease);
        }
        Ok(Err(failed)) => way.tell(now, Told::Failed(failed)),
        Err(_) => way.tell(now, Told::Timeout),
    }
    node.counters.bump(Counter::EdgeOriginConnectFailures);
    None
}

/// Whom a request to an origin goes to; `None` where there is no way.
pub(crate) fn peer_of(node: &Node, asked: &Asked, member: usize) -> Option<Peer> {
    let origin = asked.origin(member)?;
    let distributions = node.distributions.load();
    let id = match &asked.chosen {
        Some(chosen) if chosen.origins.origins().get(member)?.is_moved => {
            // Names of origins are resolved by what is known of them: an origin is where its name says, and nothing else is.
            let name = origin_protocol::own_name(origin);
            let all = distributions.iter().flat_map(|distribution| distribution.origins());
            let namesake =
                all.into_iter().find(|(_, known)| origin_protocol::own_name(known).eq_ignore_ascii_case(name));
            let Some((id, _)) = namesake else {
                tracing::info!(name, "no origin has the name to which a function has sent a request");
                return None;
            };
            id
        }
        _ => asked.origin_id(member)?,
    };
    if !origin.protocol.wants_https(asked.viewer.https) {
        return node.origins.get(id).map(Peer::plain);
    }
    let tls = node.https_origins.get(id)?;
    let peer = tls.peer(origin, forward::origin_host(&asked.head(), origin))?;
    Some(Peer { address: tls.address.clone(), tls: Some(peer) })
}

pub(crate) fn outgoing(node: &Node, asked: &Asked, want: Want<'_>, origin: &Origin) -> Outgoing {
    let request = asked.head();
    let forward = Forward {
        request,
        viewer: &asked.viewer,
        origin,
        conditions: want.conditions,
        via: &node.via,
        upgrade: want.upgrade,
    };
    let target = forward::origin_path_and_query(&request, origin);
    Outgoing {
        target: Uri::try_from(target).unwrap_or_default(),
        headers: forward::origin_request_headers(&forward),
        method: asked.method.clone(),
    }
}

fn receive(
    mut response: Response<Incoming>,
    idle_timeout: Duration,
    completion: Option<tokio::time::Instant>,
    (node, lease, keep): (&Node, Lease, Duration),
    ledger: Ledger,
) -> Fetched {
    let upgraded = (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
    let (parts, incoming) = response.into_parts();
    let body = if upgraded.is_some() {
        OriginBody::without_home(incoming, idle_timeout)
    } else {
        OriginBody::new(incoming, idle_timeout, completion, (node.pool.clone(), lease, keep))
    };
    let requested_at = node.clock.now();
    Fetched { status: parts.status, headers: parts.headers, body, requested_at, ledger, parent: None, upgraded }
}

fn failure(failure: Failure, ledger: Ledger) -> FetchFailure {
    FetchFailure { status: failure.status(), reason: failure.reason(), ledger }
}

fn count_failover(node: &Node, exchange: &Exchange, asked: &Asked) {
    if exchange.failed_over().is_some() {
        node.counters.bump(Counter::EdgeFailovers);
    }
    if exchange.only_codes_forbade_failover() {
        node.counters.bump(Counter::EdgeFailoversForbiddenByCodes);
        tracing::info!(
            distribution = &**asked.distribution.id(),
            target = asked.behavior().target(),
            "the primary failed below HTTP, and the group's failover codes contain none of 502, 503, 504 that would \
             have moved the request to the secondary"
        );
    }
}

/// Asks a cache between; `None` where it is of no use and what is behind it is asked instead.
async fn ask_parent(
    node: &Node,
    asked: &Asked,
    want: Want<'_>,
    parent: &Parent,
    origin: &Origin,
    ledger: &mut Ledger,
) -> Option<Fetched> {
    let began = node.clock.now();
    let answer = parent_answer(node, asked, want, parent, origin).await;
    let took = node.clock.now() - began;
    let described = match &answer {
        Some(_) => parent.pop.to_string(),
        None => format!("{} unavailable", parent.pop),
    };
    ledger.span(node.tier, parent.tier.as_str(), Some(&described), took);
    let (response, lease) = answer?;
    ledger.append(&Ledger::of_parent(response.headers()));
    let patience = longest_silence(asked);
    let hit = response.headers().get("x-cache").is_some_and(|word| word.as_bytes().starts_with(b"Hit"));
    let home = (node, lease, PARENT_KEEP);
    let mut fetched = receive(response, patience, None, home, std::mem::take(ledger));
    fetched.requested_at = began;
    crate::timing::remove_parents_lines(&mut fetched.headers);
    let reason = reason_of(&fetched.headers);
    let cache_status = forward::list_of(&fetched.headers, &CACHE_STATUS);
    fetched.parent = Some(FromParent { tier: parent.tier, hit, reason, cache_status });
    for name in ["x-iso-reason", "cache-status", "proxy-status"] {
        fetched.headers.remove(name);
    }
    Some(fetched)
}

/// Has a cache between forget something; whether it says that it has.
pub(crate) async fn tell_parent(node: &Node, purge: &Asked, parent: &Parent, origin: &Origin) -> bool {
    let want = Want { conditions: Conditions::None, way: ParentWay::default(), upgrade: None, interims: None };
    let Some((response, lease)) = parent_answer(node, purge, want, parent, origin).await else { return false };
    let told = response.status() == StatusCode::NO_CONTENT;
    // It has no body, so its connection goes home at once.
    drop(receive(response, longest_silence(purge), None, (node, lease, PARENT_KEEP), Ledger::default()));
    told
}

/// How long an idle connection to a cache between is kept: as long as an origin's may be at most.
const PARENT_KEEP: Duration = Duration::from_secs(50);

async fn parent_answer(
    node: &Node,
    asked: &Asked,
    want: Want<'_>,
    parent: &Parent,
    origin: &Origin,
) -> Option<(Response<Incoming>, Lease)> {
    let address = &parent.address;
    let peer = Peer::plain(address);
    let hop = Hop {
        viewer: asked.viewer.clone(),
        distribution: asked.distribution.id().to_string(),
        behavior: asked.behavior_for_parents(),
        origins: asked.chosen.as_ref().map(|chosen| chosen.line.clone()),
    };
    let request = asked.head();
    let outgoing = Outgoing {
        target: asked.target(),
        headers: forward::parent_request_headers(&request, &hop, want.conditions),
        method: asked.method.clone(),
    };
    // Once on a pooled connection, which may have died while it lay idle, and once on a new one.
    for may_reuse in [true, false] {
        let pooled = if may_reuse { node.pool.take(&peer) } else { None };
        let reused = pooled.is_some();
        let mut lease = match pooled {
            Some(lease) => lease,
            None => {
                tokio::time::timeout(origin.connection_timeout, node.pool.connect(&peer, || {})).await.ok()?.ok()?
            }
        };
        node.counters.bump(parent.tier.request_counter());
        let answer = {
            let request = outgoing.request(node, OriginRequestBody::Empty, want.interims);
            let mut sending = std::pin::pin!(lease.send(request));
            loop {
                if let Ok(answer) = tokio::time::timeout(origin.connection_timeout, sending.as_mut()).await {
                    break answer;
                }
                // It may be waiting for a slow origin, or be gone: a process that was stopped still has its sockets. Its
                // answer does not wait until that is known.
                tokio::select! {
                    biased;
                    answer = sending.as_mut() => break answer,
                    alive = is_alive(node, address, origin.connection_timeout) => if !alive {
                        return None;
                    },
                }
            }
        };
        match answer {
            Ok(response) if Worth::of(response.status(), reason_of(response.headers())) == Worth::Nothing => {
                return None;
            }
            Ok(response) => return Some((response, lease)),
            Err(_) if reused => {}
            Err(_) => return None,
        }
    }
    None
}

/// Why a cache between answers as it does.
fn reason_of(headers: &HeaderMap) -> Option<Reason> {
    headers.get("x-iso-reason")?.to_str().ok()?.parse().ok()
}

/// Whether a node answers the probe that routers send, on a connection of its own.
async fn is_alive(node: &Node, address: &Authority, patience: Duration) -> bool {
    let probe = async {
        let mut lease = node.pool.connect(&Peer::plain(address), || {}).await.ok()?;
        let request = Request::get(crate::service::HEALTH_PATH)
            .header(http::header::HOST, address.as_str())
            .body(OriginRequestBody::Empty)
            .ok()?;
        Some(lease.send(request).await.is_ok_and(|response| response.status() == StatusCode::OK))
    };
    matches!(tokio::time::timeout(patience, probe).await, Ok(Some(true)))
}

/// Longest silence in a body that comes by way of other caches: what its origin is allowed, and a little for the way.
fn longest_silence(asked: &Asked) -> Duration {
    let all = asked.origins().map(|origin| origin.response_timeout).max();
    all.unwrap_or(Duration::from_secs(30)) + Duration::from_secs(1)
}
