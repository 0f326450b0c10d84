//! From the head of a request to a decision: who is asked, may it pass, does the store know.
//!
//! The order of the steps is `spec/cloudfront.md` section 0.3. Everything up to the store's answer happens without
//! waiting; a hit is answered right there. What must wait goes on in [`crate::miss`] and [`crate::pass`].

use std::{
    convert::Infallible,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use cdn_core::{
    Counter, Instant, Reason, WallTime,
    continuous_deployment::{self, ContinuousDeployment},
    distribution::{Diagnostics, Distribution},
    fields::Fields,
    forward::{self, Hop, Purge, Viewer, XCache},
    framing::RefusedHead,
    origin_protocol,
    realtime_log::More,
    signing::{self, SignedRequest},
    standard_log::{self, Answered, LogStyle, Said},
    viewer_protocol::{self, Passage, ViewerProtocolPolicy},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use http_body::Body as _;
use hyper::{body::Incoming, ext::ReasonPhrase, service::Service, upgrade::OnUpgrade};
use tokio::sync::oneshot;

use crate::{
    access_log::{self, Standard},
    asked::Asked,
    body::{Accounts, RequestBody, ResponseBody},
    config::Tier,
    connection::{InFlight, Wire},
    error_pages::{self, Held, HeldBack, PageRequest},
    extras::{Extras, Own, draw_of},
    functions::{self, After, Chosen},
    node::Node,
    pass::is_error,
    respond::{self, Occasion, Refusal, Story, X_ISO_REASON},
    timing::Ledger,
    tls::TlsSession,
};

/// Where routers ask whether a node serves.
pub(crate) const HEALTH_PATH: &str = "/.iso/health";

/// In the answer to a probe: requests received since the node began.
const X_ISO_REQUESTS: &str = "x-iso-requests";

/// Answers the requests of one connection.
#[derive(Clone, Debug)]
pub(crate) struct ViewerService {
    pub(crate) node: Arc<Node>,
    /// Translated already.
    peer: SocketAddr,
    /// The address that the viewer spoke to, translated likewise.
    local: Option<IpAddr>,
    /// What the TLS handshake said, where there was one.
    secure: Option<Secure>,
    pub(crate) wire: Arc<Wire>,
}

/// The two ends of a connection, as the machine has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    /// The node's own; `None` where nobody says.
    pub(crate) local: Option<IpAddr>,
}

/// A connection by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secure {
    /// Whom the viewer asked for (SNI, RFC 6066 section 3).
    pub(crate) name: Option<Arc<str>>,
    /// How the handshake went.
    pub(crate) session: TlsSession,
}

impl ViewerService {
    pub(crate) fn new(node: Arc<Node>, ends: Ends, secure: Option<Secure>, wire: Arc<Wire>) -> Self {
        let known = |ip: IpAddr| node.source_nat.as_ref().map_or_else(|| ip.to_canonical(), |nat| nat.translate(ip));
        let (peer, local) = (SocketAddr::new(known(ends.peer.ip()), ends.peer.port()), ends.local.map(known));
        Self { node, peer, local, secure, wire }
    }
}

/// The answer, at once or later.
pub(crate) enum Answer {
    Now(Option<Response<ResponseBody>>),
    Later(Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>),
}

impl Answer {
    /// Waits for it, where that is needed.
    pub(crate) async fn response(self) -> Response<ResponseBody> {
        let Ok(response) = self.await;
        response
    }
}

impl Future for Answer {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(response) => {
                Poll::Ready(Ok(response.take().unwrap_or_else(|| Response::new(ResponseBody::empty()))))
            }
            Self::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}

impl Service<Request<Incoming>> for ViewerService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let (in_flight, refused) = self.wire.on_request();
        self.answer(request.map(RequestBody::Hyper), in_flight, refused)
    }
}

impl ViewerService {
    /// Answers a request, or why it is refused.
    pub(crate) fn answer(&self, request: Request<RequestBody>, in_flight: InFlight, refused: Option<Reason>) -> Answer {
        let node = &self.node;
        if refused.is_none() && request.uri().path() == HEALTH_PATH {
            return Answer::Now(Some(health(node, request.method())));
        }
        let began = node.clock.now();
        node.counters.bump(Counter::EdgeRequests);
        let (parts, body) = request.into_parts();
        let mut case = match self.wire.refused_head().filter(|_| refused.is_some()) {
            Some(head) => Case::refused(self, began, in_flight, parts.clone(), head),
            None => Case::new(self, began, in_flight, &parts),
        };
        case.log.is_owed = true;
        match refused {
            Some(reason) => {
                let counter =
                    if reason == Reason::HeaderTimeout { Counter::EdgeHeaderTimeouts } else { Counter::EdgeRejected };
                node.counters.bump(counter);
                Answer::Now(Some(case.refuse(Refusal::new(reason))))
            }
            None => match self.decide(case, parts, body) {
                Answer::Later(response) => Answer::Later(Box::pin(after_interims(Arc::clone(&self.wire), response))),
                now => now,
            },
        }
    }

    fn decide(&self, mut case: Case, mut parts: Parts, body: RequestBody) -> Answer {
        let checked = self.admit(&mut case, &mut parts, !body.is_end_stream(), Way::Long);
        match case.page.take() {
            Some(page) => error_pages::with_pages(case, page, |case| self.carry_out(case, checked, parts, body)),
            None => self.carry_out(case, checked, parts, body),
        }
    }

    /// Answers what was admitted, and what was not.
    fn carry_out(&self, case: Case, checked: Result<Admitted, Reason>, parts: Parts, body: RequestBody) -> Answer {
        let node = &self.node;
        let admitted = match checked {
            Ok(admitted) => admitted,
            Err(Reason::RedirectedToHttps) => return Answer::Now(Some(case.redirect_to_https(&parts))),
            Err(reason) => {
                node.counters.bump(Counter::EdgeRejected);
                if reason == Reason::GeoBlocked {
                    node.counters.bump(Counter::EdgeGeoBlocked);
                }
                let mut response = case.refuse(Refusal::new(reason));
                if parts.method == Method::CONNECT && parts.version <= Version::HTTP_11 {
                    // What came behind it was meant for a tunnel, and is no request.
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                return Answer::Now(Some(response));
            }
        };
        let Admitted { asked, upgrade, purge } = admitted;
        if let Some(purge) = purge {
            return Answer::Later(Box::pin(forget(case, asked, purge)));
        }
        // From here on the connection may become a tunnel; hyper needs its request back for that.
        let upgrade = upgrade.map(|protocol| (protocol, hyper::upgrade::on(Request::from_parts(parts, ()))));
        if node.tier != Tier::Edge || !asked.behavior().has_functions() {
            return serve(case, asked, upgrade, body);
        }
        let behind = move |case: Case, asked: Asked| match After::of(&case, &asked) {
            None => serve(case, asked, upgrade, body),
            Some(after) => {
                let answer = serve(case, asked, upgrade, body);
                Answer::Later(Box::pin(async move {
                    after.revise(answer.await.unwrap_or_else(|never| match never {})).await
                }))
            }
        };
        match asked.behavior().viewer_request().cloned() {
            Some(function) => Answer::Later(Box::pin(functions::before(case, asked, function, behind))),
            None => behind(case, asked),
        }
    }

    /// Steps 2 to 9: everything that can be said before the store is asked.
    pub(crate) fn admit(
        &self,
        case: &mut Case,
        parts: &mut Parts,
        has_body: bool,
        way: Way,
    ) -> Result<Admitted, Reason> {
        let node = &self.node;
        if parts.method == Method::CONNECT {
            return Err(Reason::MethodNotAllowed);
        }
        let host = host_of(parts)?;
        let uri = origin_form(&parts.uri)?;
        // The guard has measured heads of HTTP/1.1; those of HTTP/2 came past it.
        if parts.version == Version::HTTP_2 && parts.headers.bytes() > node.limits.header_bytes_max as u64 {
            return Err(Reason::HeadersTooLarge);
        }
        if uri.path_and_query().is_some_and(|target| target.as_str().len() > node.limits.uri_bytes_max) {
            return Err(Reason::UriTooLong);
        }
        let distributions = node.distributions.load();
        let purge = if node.tier == Tier::Edge { None } else { Purge::of(&parts.method) };
        let mut set_cookie = None;
        let (distribution, viewer, by_edge, origins) = match node.tier {
            Tier::Edge => {
                let distribution =
                    distributions.by_host(host.to_str().unwrap_or_default()).ok_or(Reason::UnknownHost)?;
                let request_id = case.request_id.clone();
                // One name in the handshake and another in the request is how a host is reached behind another's back.
                if let Some(Secure { name: Some(name), .. }) = &self.secure
                    && distributions.by_host(name).is_some_and(|other| other.id() != distribution.id())
                {
                    return Err(Reason::MisdirectedHost);
                }
                let distribution = match distribution.continuous_deployment() {
                    Some(policy) => {
                        let (is_staging, cookie) = deploy(policy, parts, &request_id, way, node.wall.now())?;
                        set_cookie = cookie;
                        let staging = is_staging.then(|| distributions.by_id(policy.staging())).flatten();
                        staging.unwrap_or(distribution)
                    }
                    None => distribution,
                };
                let https = self.secure.is_some();
                (distribution, Viewer { address: self.peer, https, version: parts.version, request_id }, None, None)
            }
            // One that is to be asked no more has things to forget all the same: it may come back.
            _ if node.is_draining() && purge.is_none() => return Err(Reason::Draining),
            Tier::Regional | Tier::Shield => {
                let hop = Hop::take(&mut parts.headers).ok_or(Reason::UnknownHost)?;
                case.request_id = hop.viewer.request_id.clone();
                if let Some(log) = &mut case.log.entry {
                    log.request_id = case.request_id.clone();
                }
                let distribution = distributions.by_id(&hop.distribution).ok_or(Reason::UnknownHost)?;
                (distribution, hop.viewer, hop.behavior, hop.origins)
            }
        };
        case.on_distribution(distribution, &parts.headers);
        if node.tier == Tier::Edge && !distribution.is_enabled() {
            return Err(Reason::DistributionDisabled);
        }
        let root_object = distribution.root_object_for(uri.path());
        let path = root_object.as_deref().unwrap_or_else(|| uri.path());
        let by_edge = by_edge.filter(|place| *place < distribution.behaviors().len());
        let place = by_edge.unwrap_or_else(|| distribution.place_for(path));
        let behavior = distribution.behavior_at(place);
        let chosen = match origins {
            // Caches behind that have another configuration by now cannot do what the edge asks for.
            Some(line) => Some(Chosen::from_line(distribution, behavior.target(), &line).ok_or(Reason::UnknownHost)?),
            None => None,
        };
        if let Some(more) = case.log.entry.as_mut().and_then(|log| log.standard.as_mut()?.more.as_mut()) {
            more.path_pattern = behavior.spec().path_pattern.clone();
        }
        if node.tier == Tier::Edge {
            let told = viewer.https && distribution.http_version().http3();
            case.log.domain.clone_from(&case.domain);
            let alt_svc = told.then(|| node.alt_svc.at(host.to_str().unwrap_or_default()));
            case.extras = Extras::of(behavior, &parts.method, &parts.headers, Own { set_cookie, alt_svc });
            if way == Way::Long && distribution.error_pages().has_pages() {
                let (distribution, host) = (Arc::clone(distribution), host.clone());
                let (headers, viewer, secure) = (parts.headers.clone(), viewer.clone(), self.secure.clone());
                case.page = Some(Box::new(PageRequest { distribution, host, headers, viewer, secure }));
            }
            if !node.may_be_served(distribution.geo_restriction(), viewer.address.ip()) {
                return Err(Reason::GeoBlocked);
            }
            match behavior.spec().viewer_protocol.passage(viewer.https, &parts.method, parts.version) {
                Passage::Serve => {}
                Passage::Redirect(_) => return Err(Reason::RedirectedToHttps),
                Passage::Refuse => return Err(Reason::HttpsOnly),
            }
        }
        if purge.is_none() && !behavior.allows(&parts.method) {
            return Err(Reason::MethodNotAllowed);
        }
        if matches!(parts.method, Method::GET | Method::HEAD) && has_body && !behavior.follows_origin() {
            return Err(Reason::GetWithBody);
        }
        if forward::loops(&parts.headers) > forward::CDN_LOOP_MAX {
            return Err(Reason::LoopDetected);
        }
        // Caches behind trust the edge, which has taken the signature off.
        let uri = match behavior.trusted_keys() {
            Some(keys) if node.tier == Tier::Edge => {
                let request = SignedRequest {
                    scheme: if viewer.https { "https" } else { "http" },
                    host: host.to_str().unwrap_or_default(),
                    target: uri.path_and_query().map_or("/", PathAndQuery::as_str),
                    headers: &parts.headers,
                    client: viewer.address.ip(),
                };
                let own = match way {
                    Way::Long => node.signatures.admit(&node.counters, keys, request)?,
                    Way::Short => node.signatures.admit_known(keys, request).ok_or(Reason::SignatureInvalid)?,
                };
                signing::remove_cookies(&mut parts.headers);
                own.parse().map_err(|_| Reason::BadRequest)?
            }
            _ => uri,
        };
        let upgrade = upgrade_of(parts);
        let mut headers = std::mem::take(&mut parts.headers);
        node.receive_viewer_headers(&mut headers, behavior, &viewer, self.secure.as_ref());
        let (distribution, method) = (Arc::clone(distribution), parts.method.clone());
        Ok(Admitted {
            asked: Asked {
                distribution,
                method,
                host,
                uri,
                root_object,
                behavior: place,
                headers,
                viewer,
                chosen: chosen.map(Arc::new),
            },
            upgrade,
            purge,
        })
    }
}

/// Steps 12 and on: from the store, from behind, or through a tunnel.
fn serve(case: Case, asked: Asked, upgrade: Option<(HeaderValue, OnUpgrade)>, body: RequestBody) -> Answer {
    if let Some((protocol, on_upgrade)) = upgrade {
        return Answer::Later(Box::pin(crate::tunnel::open(case, asked, protocol, on_upgrade)));
    }
    match asked.behavior().method_class(&asked.method) {
        Err(reason) => Answer::Later(Box::pin(crate::pass::pass(case, asked, Some(body), reason))),
        Ok(_) if !body.is_end_stream() => {
            Answer::Later(Box::pin(crate::pass::pass(case, asked, Some(body), Reason::PassBody)))
        }
        Ok(_) => crate::miss::look_up(case, asked),
    }
}

/// Which way a request is judged on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Before hyper hears of it. Whoever is refused here is judged once more on the long way, so what is expensive is left
    /// to that one.
    Short,
    /// Through hyper.
    Long,
}

pub(crate) struct Admitted {
    pub(crate) asked: Asked,
    pub(crate) upgrade: Option<HeaderValue>,
    /// What another cache wants forgotten.
    pub(crate) purge: Option<Purge>,
}

/// One request from its head to its response: what the response's headers and the log will want to know.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) node: Arc<Node>,
    pub(crate) began: Instant,
    pub(crate) request_id: HeaderValue,
    pub(crate) diagnostics: Diagnostics,
    /// What the behavior and the edge put on the response.
    pub(crate) extras: Option<Box<Extras>>,
    /// What a page would be asked for with that takes the place of an error.
    page: Option<Box<PageRequest>>,
    /// Who decides whether the response leaves.
    held: Option<(HeldBack, oneshot::Sender<(Self, Story)>)>,
    in_flight: InFlight,
    head: bool,
    version: Version,
    log: access_log::Line,
    /// Of the distribution, for a standard log.
    domain: Option<String>,
}

impl Case {
    pub(crate) fn new(service: &ViewerService, began: Instant, in_flight: InFlight, parts: &Parts) -> Self {
        let node = Arc::clone(&service.node);
        let request_id = node.request_id();
        let log = access_log::Entry::is_wanted().then(|| {
            let host = parts.headers.get(header::HOST).cloned();
            let of_target = || HeaderValue::from_str(parts.uri.host().unwrap_or_default()).ok();
            Box::new(access_log::Entry {
                node: Arc::clone(&node.name),
                clock: node.clock,
                began,
                method: parts.method.clone(),
                host: host.or_else(of_target).unwrap_or(HeaderValue::from_static("")),
                uri: parts.uri.clone(),
                client: service.peer.ip(),
                status: None,
                x_cache: "",
                reason: "",
                request_id: request_id.clone(),
                standard: standard_of(service, parts),
            })
        });
        let log = access_log::Line::new(log);
        let head = parts.method == Method::HEAD;
        let version = parts.version;
        Self {
            node,
            began,
            request_id,
            diagnostics: Diagnostics::default(),
            extras: None,
            page: None,
            held: None,
            in_flight,
            head,
            version,
            log,
            domain: None,
        }
    }

    /// One for a head that was refused: the log says what is known of it, the answer is that to what stands in its place.
    fn refused(
        service: &ViewerService,
        began: Instant,
        in_flight: InFlight,
        mut parts: Parts,
        head: &RefusedHead,
    ) -> Self {
        let (is_head, version) = (parts.method == Method::HEAD, parts.version);
        (parts.method, parts.uri, parts.version) = (head.method.clone(), head.target.clone(), head.version);
        parts.headers.clone_from(&head.headers);
        let mut case = Self { head: is_head, version, ..Self::new(service, began, in_flight, &parts) };
        let node = Arc::clone(&case.node);
        let host = head.host().and_then(|host| host.to_str().ok()).filter(|_| node.tier == Tier::Edge);
        if let Some(distribution) = host.and_then(|host| node.distributions.load().by_host(host).cloned()) {
            case.on_distribution(&distribution, &parts.headers);
        }
        case
    }

    /// It is known which distribution it is for.
    fn on_distribution(&mut self, distribution: &Distribution, headers: &HeaderMap) {
        self.diagnostics = *distribution.diagnostics();
        if let Some(standard) = self.log.entry.as_mut().and_then(|log| log.standard.as_mut()) {
            self.domain = Some(distribution.own_name());
            if distribution.logs_cookies() {
                standard.asked.headers.with_cookie(headers);
            }
            standard.realtime = self.node.realtime_logs.get(&**distribution.id()).map(Arc::clone);
            match &mut standard.more {
                Some(more) if standard.realtime.is_some() => {
                    more.distribution = distribution.id().to_string();
                    more.country = self.node.country_of(standard.asked.client).unwrap_or_default().to_owned();
                }
                more => *more = None,
            }
        }
    }

    /// The same, whose response is held back if it is one of `which`: it comes out as it is, and the case with its story by
    /// the channel.
    pub(crate) fn hold_back(self, which: HeldBack) -> (Self, Held) {
        let (held, back) = oneshot::channel();
        let held = (which, held);
        (Self { held: Some(held), ..self }, back)
    }

    pub(crate) fn wire(&self) -> &Arc<Wire> {
        self.in_flight.wire()
    }

    /// Where interim responses go: to HTTP/1.1 clients alone, because 1.0 knows none and hyper sends none over HTTP/2.
    pub(crate) fn interims(&self) -> Option<Arc<Wire>> {
        (self.version == Version::HTTP_11).then(|| Arc::clone(self.wire()))
    }

    /// Whether every response says how old it is: another tier must know, also where a viewer is shown no `Age`.
    pub(crate) fn tells_age(&self) -> bool {
        self.node.tier != Tier::Edge
    }

    pub(crate) fn occasion(&self) -> Occasion<'_> {
        Occasion {
            node: &self.node,
            began: self.began,
            request_id: &self.request_id,
            diagnostics: self.diagnostics,
            extras: self.extras.as_deref(),
        }
    }

    /// The error page, before the store was asked.
    pub(crate) fn refuse(self, refusal: Refusal) -> Response<ResponseBody> {
        let lookup = self.node.clock.now() - self.began;
        self.fail(refusal, lookup, Ledger::default())
    }

    /// The error page.
    pub(crate) fn fail(self, refusal: Refusal, lookup: std::time::Duration, ledger: Ledger) -> Response<ResponseBody> {
        let page = respond::error_page(self.occasion(), refusal);
        let story = Story { ledger, ..Story::new(refusal.x_cache(), refusal.reason, lookup) };
        self.answer(page, story)
    }

    /// Sends the viewer to the same URL with HTTPS.
    pub(crate) fn redirect_to_https(self, parts: &Parts) -> Response<ResponseBody> {
        let policy = ViewerProtocolPolicy::RedirectToHttps;
        let Passage::Redirect(status) = policy.passage(false, &parts.method, parts.version) else {
            return self.refuse(Refusal::new(Reason::HttpsOnly));
        };
        let host = host_of(parts).unwrap_or(HeaderValue::from_static(""));
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let location = viewer_protocol::https_location(host.to_str().unwrap_or_default(), target, self.node.https_port);
        let mut response = Response::new(ResponseBody::whole(viewer_protocol::redirect_page(status)));
        *response.status_mut() = status;
        respond::dress_page(response.headers_mut());
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        let lookup = self.node.clock.now() - self.began;
        self.answer(response, Story::new(XCache::Redirect, Reason::RedirectedToHttps, lookup))
    }

    /// The error page for an error that is repeated from the store.
    pub(crate) fn repeat_error(self, refusal: Refusal, story: Story) -> Response<ResponseBody> {
        let page = respond::page(refusal, self.request_id.to_str().unwrap_or_default());
        let mut response = Response::new(ResponseBody::whole(page));
        *response.status_mut() = refusal.status;
        respond::dress_page(response.headers_mut());
        self.answer(response, story)
    }

    /// Puts the headers of this request's story on a response, and its accounts under the body.
    pub(crate) fn answer(mut self, response: Response<ResponseBody>, story: Story) -> Response<ResponseBody> {
        if let Some((which, held)) = self.held.take()
            && (which == HeldBack::All || is_error(response.status()))
        {
            // Nobody is there to take it where the viewer has left.
            let _ = held.send((self, story));
            return response;
        }
        let (mut parts, mut body) = response.into_parts();
        self.complete(parts.status, &mut parts.headers, &mut body, story);
        with_phrase(Response::from_parts(parts, body))
    }

    /// The same, wherever the response's fields are.
    pub(crate) fn complete(
        mut self,
        status: StatusCode,
        fields: &mut impl Fields,
        body: &mut ResponseBody,
        story: Story,
    ) {
        let (x_cache, reason) = (story.x_cache, story.reason);
        if let Some(more) = self.log.entry.as_mut().and_then(|log| log.standard.as_mut()?.more.as_mut()) {
            more.origin = story.ledger.asked_origin();
            if let Some(asked) = &mut more.origin
                && let Some(distribution) = self.node.distributions.load().by_id(&more.distribution)
                && let Some(origin) = distribution.origin(&asked.host)
            {
                asked.host = origin_protocol::own_name(origin).to_owned();
            }
        }
        respond::finish(self.occasion(), story, status, fields);
        self.settle(status, fields, body, x_cache, reason);
    }

    fn settle(
        mut self,
        status: StatusCode,
        fields: &mut impl Fields,
        body: &mut ResponseBody,
        x_cache: XCache,
        reason: Reason,
    ) {
        let mut log = self.log.entry.take();
        if let Some(log) = &mut log {
            log.status = Some(status);
            log.x_cache = x_cache.as_str();
            log.reason = reason.as_str();
        }
        let bodyless = self.head || matches!(status, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
        if bodyless {
            if self.head
                && let Some(length) = body.size_hint().exact()
                && length > 0
                && !fields.has(&header::CONTENT_LENGTH)
            {
                fields.append(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            body.clear();
        }
        if let Some(standard) = log.as_mut().and_then(|log| log.standard.as_mut()) {
            let mut answered = answered_of(&self, status, x_cache, reason, fields);
            // Where it is not among the fields hyper writes it.
            if answered.content_length.is_none() && !bodyless {
                answered.content_length = body.size_hint().exact().map(|length| length.to_string());
            }
            standard.answered = Some(answered);
        }
        let counters = Arc::clone(&self.node.counters);
        let from_store = reason.is_from_store();
        body.account(Accounts { _in_flight: self.in_flight, counters, from_store, failed: false, log });
    }
}

/// What standard and real-time logs say of a request, where one is written.
fn standard_of(service: &ViewerService, parts: &Parts) -> Option<Box<Standard>> {
    let node = &service.node;
    if node.log_style == LogStyle::Text && node.realtime_logs.is_empty() {
        return None;
    }
    let host = parts.headers.get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let line = parts.method.as_str().len() + parts.uri.to_string().len() + "  HTTP/1.1\r\n\r\n".len();
    let asked = standard_log::Asked {
        client: service.peer.ip(),
        port: service.peer.port(),
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        host: host.unwrap_or_else(|| parts.uri.authority().map(ToString::to_string).unwrap_or_default()),
        headers: Said::of(&parts.headers),
        bytes: line as u64 + parts.headers.bytes() + announced.unwrap_or(0),
        version: parts.version,
        tls: service.secure.as_ref().map(|secure| (secure.session.protocol, secure.session.cipher)),
    };
    Some(Box::new(Standard {
        wall: service.node.wall.clone(),
        style: node.log_style,
        location: node.pop_header.clone(),
        asked,
        answered: None,
        more: (!node.realtime_logs.is_empty()).then(|| More {
            headers: parts.headers.clone(),
            server: service.local,
            ..More::default()
        }),
        realtime: None,
    }))
}

/// What it says of the response.
fn answered_of(case: &Case, status: StatusCode, x_cache: XCache, reason: Reason, fields: &impl Fields) -> Answered {
    let value = |name: &HeaderName| {
        fields.has(name).then(|| String::from_utf8_lossy(fields.joined(name, ", ", b"").as_bytes()).into_owned())
    };
    Answered {
        status: Some(status),
        x_cache,
        reason,
        request_id: case.request_id.to_str().unwrap_or_default().to_owned(),
        domain: case.domain.clone(),
        head_bytes: "HTTP/1.1 200 OK\r\n\r\n".len() as u64 + fields.bytes(),
        content_type: value(&header::CONTENT_TYPE),
        content_length: value(&header::CONTENT_LENGTH),
        content_range: value(&header::CONTENT_RANGE),
        first_byte: case.node.clock.now() - case.began,
    }
}

/// A response, once the interim responses that came before it have left.
async fn after_interims<T>(wire: Arc<Wire>, response: impl Future<Output = T>) -> T {
    let response = response.await;
    poll_fn(|cx| wire.interims.poll_written(cx)).await;
    response
}

/// Where a status has no phrase hyper would write a placeholder; RFC 9112 section 4 lets it be empty.
fn with_phrase(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    if response.status().canonical_reason().is_none() {
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    response
}

/// Forgets what another cache says was changed, and has those behind forget it.
async fn forget(case: Case, asked: Asked, purge: Purge) -> Response<ResponseBody> {
    let node = Arc::clone(&case.node);
    node.counters.bump(Counter::EdgePurges);
    let story = Story::new(XCache::Miss, Reason::Purged, node.clock.now() - case.began);
    crate::purge::purge(&node, purge, vec![asked]).await;
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    case.answer(response, story)
}

/// The answer to a router's probe, which is a request of nobody: whether the node serves, and how many requests it has
/// received, of which routers make its load.
fn health(node: &Node, method: &Method) -> Response<ResponseBody> {
    let (status, text) = match node.is_draining() {
        false => (StatusCode::OK, "ok"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    let mut response = Response::new(ResponseBody::whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_ISO_REQUESTS, node.counters.value(Counter::EdgeRequests).into());
    if node.is_draining() {
        response.headers_mut().insert(X_ISO_REASON, HeaderValue::from_static(Reason::Draining.as_str()));
    }
    if method == Method::HEAD {
        response.body_mut().clear();
    }
    response
}

/// Whether the staging distribution answers, and the cookie that keeps the viewer where it is. What would have to be drawn
/// is left to the long way: a request that was drawn for twice would go to staging too seldom.
fn deploy(
    policy: &ContinuousDeployment,
    parts: &mut Parts,
    request_id: &HeaderValue,
    way: Way,
    today: WallTime,
) -> Result<(bool, Option<HeaderValue>), Reason> {
    let draw = (way == Way::Long).then(|| draw_of(request_id));
    let choice = policy.choose(&parts.headers, today, draw).ok_or(Reason::Internal)?;
    continuous_deployment::remove_cookie(&mut parts.headers);
    Ok((choice.is_staging, choice.set_cookie))
}

/// The host that is asked for: the authority of an absolute-form target or of HTTP/2, else `Host` (RFC 9112 section
/// 3.2.2). HTTP/1.0 may have none.
fn host_of(parts: &Parts) -> Result<HeaderValue, Reason> {
    let host = match (parts.uri.authority(), parts.headers.get(header::HOST)) {
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).map_err(|_| Reason::BadRequest)?,
        (None, Some(host)) => host.clone(),
        (None, None) if parts.version == Version::HTTP_10 => HeaderValue::from_static(""),
        (None, None) => return Err(Reason::BadRequest),
    };
    // A registered name or a literal, with a port (RFC 3986 section 3.2). User information has no place here.
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte);
    if host.len() <= 260 && host.as_bytes().iter().copied().all(fine) { Ok(host) } else { Err(Reason::BadRequest) }
}

/// Path and query alone, which is what origins are sent.
fn origin_form(uri: &Uri) -> Result<Uri, Reason> {
    if uri.scheme().is_some_and(|scheme| !matches!(scheme.as_str(), "http" | "https")) {
        return Err(Reason::BadRequest);
    }
    match uri.path_and_query() {
        Some(target) if target.path().starts_with('/') => {
            if uri.authority().is_none() {
                Ok(uri.clone())
            } else {
                Ok(Uri::from(target.clone()))
            }
        }
        _ => Err(Reason::BadRequest),
    }
}

/// What a GET wants its connection to become, if that is a WebSocket (RFC 6455 section 4.1).
fn upgrade_of(parts: &Parts) -> Option<HeaderValue> {
    if parts.method != Method::GET || parts.version != Version::HTTP_11 {
        return None;
    }
    let protocol = parts.headers.get(header::UPGRADE)?;
    let named = parts
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    (named && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")).then(|| protocol.clone())
}
