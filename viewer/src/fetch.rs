//! One request, from a place: resolve, connect, send, and again elsewhere when a connection fails too early.
//!
//! Decides what may be sent again. Nothing of the request had left: always. It had, but no response head came: only an
//! idempotent method whose body is still here (RFC 9110 section 9.2.2). A kept connection that fails may just have been
//! closed by the edge, so its address is not held against it; a new one that fails is tried last for a while.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use cdn_core::{Counter, Counters, framing::response};
use http::{Request, Response, header, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use ipnet::Ipv4Net;
use tokio::time::timeout;

use crate::{
    config::Config,
    connect::{Attempt, Connected, Connector, Outcome},
    dns::{Located, ResolveError, Resolver},
    failure::Failure,
    http3::Http3,
    ledger::{Entry, Recorder, Step},
    net::{BoxFuture, BoxIo, Source},
    place::Standing,
    pool::{EdgeConnection, Owner, Pool},
    quic,
    sender::{EdgeBody, Fault, SendFailure, Sender, Upload, deepest},
    target::Target,
    tls::{self, BothEnds},
};

/// Who fetches.
#[derive(Clone)]
pub(crate) struct Viewpoint {
    pub(crate) standing: Standing,
    pub(crate) resolver: Arc<Resolver>,
    /// The client subnet that the resolver sends along.
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) owner: Owner,
    pub(crate) warm: bool,
}

/// Fetches for viewers.
pub(crate) struct Fetcher {
    pub(crate) config: Arc<Config>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) pool: Pool,
    pub(crate) counters: Arc<Counters>,
}

/// A response whose body is still to come.
pub(crate) struct Fetched {
    pub(crate) response: Response<EdgeBody>,
    /// What carried it; goes back to the pool when the body has come to its end.
    pub(crate) connection: EdgeConnection,
}

/// The addresses of a host.
struct Found {
    /// The first of the answer.
    first: Option<SocketAddr>,
    /// Those that have not failed for this request, in the order in which they are tried.
    left: Vec<SocketAddr>,
}

/// What is left of a request's body when it may have to be sent again.
pub(crate) enum Body {
    /// All of it is here.
    Kept(Bytes),
    /// It streams from the client and can be sent once.
    Streamed(Option<Incoming>),
}

impl Body {
    fn upload(&mut self) -> Option<Upload> {
        match self {
            Self::Kept(bytes) => Some(Either::Left(Full::new(bytes.clone()))),
            Self::Streamed(incoming) => incoming.take().map(Either::Right),
        }
    }

    fn take_back(&mut self, upload: Upload) {
        if let (Self::Streamed(incoming), Either::Right(unsent)) = (self, upload) {
            *incoming = Some(unsent);
        }
    }
}

impl Fetcher {
    /// Sends the request `parts` with `body` and waits for the response head. `parts` must be as the edge shall see it.
    pub(crate) async fn fetch(
        &self,
        who: &Viewpoint,
        target: &Target,
        parts: Parts,
        mut body: Body,
        recorder: &mut Recorder,
    ) -> Result<Fetched, Failure> {
        let site = &who.standing.site;
        let mut addresses = None;
        // A client that has a connection to the host asks nobody where it is; a warm request does, off the clock.
        let mut kept = match who.owner {
            Owner::Client(_) | Owner::User { .. } => {
                let is_same = |kept: &EdgeConnection| {
                    kept.host == target.host
                        && kept.address.port() == target.port
                        && kept.sender.is_http3() == target.http3
                };
                self.pool.checkout(who.owner, site, is_same).await
            }
            Owner::Everybody => {
                let found = self.locate(who, target, recorder).await?;
                let first = found.left.first().copied();
                addresses = Some(found);
                let is_same = |kept: &EdgeConnection| {
                    kept.sender.is_http3() == target.http3 && (target.tls.is_none() || kept.host == target.host)
                };
                self.pool.checkout(who.owner, site, |kept| Some(kept.address) == first && is_same(kept)).await
            }
        };
        recorder.asked = kept.as_ref().map(|connection| (connection.address, Instant::now()));
        let mut warm = who.warm;
        let mut story = Vec::new();
        loop {
            let (mut connection, reused) = match kept.take() {
                Some(connection) => (connection, true),
                None => {
                    let found = match &mut addresses {
                        Some(found) => found,
                        none => none.insert(self.locate(who, target, recorder).await?),
                    };
                    if recorder.asked.is_none() {
                        recorder.asked = found.left.first().map(|first| (*first, Instant::now()));
                    }
                    let connection = self.open(who, target, &found.left, recorder, &mut story).await?;
                    recorder.fell_back = Some(connection.address) != found.first;
                    if recorder.fell_back {
                        self.counters.bump(Counter::ViewerFallbacks);
                    }
                    found.left.retain(|address| *address != connection.address);
                    (connection, false)
                }
            };
            if std::mem::take(&mut warm) {
                recorder.restart_warm();
            }
            let Some(upload) = body.upload() else {
                return Err(Failure::Reset(story.join("; ")));
            };
            if reused {
                self.counters.bump(Counter::ViewerConnectionsReused);
            }
            let address = connection.address;
            let request = Request::from_parts(parts.clone(), upload);
            let place = &who.standing.place;
            recorder.wait_for(Step::Request, || format!("{place} → {}", self.config.edge_name(address.ip())));
            let sent = timeout(self.config.limits.response_timeout, connection.sender.send(request)).await;
            let SendFailure { unsent, fault } = match sent {
                Ok(Ok(mut response)) => {
                    let status = response.status();
                    let asked = parts.headers.get(header::UPGRADE);
                    return match response::judge(status, response.headers_mut(), asked) {
                        Ok(()) => Ok(Fetched { response, connection }),
                        Err(doubt) => Err(Failure::Invalid(format!("{}: {doubt}", self.named(address)))),
                    };
                }
                Ok(Err(failure)) => failure,
                Err(_elapsed) => {
                    self.record_request(recorder, address, "no response in time");
                    story.push(format!("{} did not answer in time", self.named(address)));
                    return Err(Failure::ResponseTimedOut(tell(recorder, target, &story)));
                }
            };
            let was_sent = unsent.is_none();
            if let Some(request) = unsent {
                body.take_back(request.into_body());
            }
            self.record_request(recorder, address, "connection ended before a response");
            let how = if reused { "a kept connection" } else { "the connection" };
            story.push(format!("{how} to {} ended before a response ({fault})", self.named(address)));
            match fault {
                Fault::BrokeOff(why) => return Err(broke_off(&why)),
                Fault::Invalid(_) => return Err(Failure::Invalid(tell(recorder, target, &story))),
                Fault::Ended(_) => {}
            }
            if was_sent && !(parts.method.is_idempotent() && matches!(body, Body::Kept(_))) {
                return Err(Failure::Reset(tell(recorder, target, &story)));
            }
            if !reused {
                self.connector.handle_failure(site, address);
                if addresses.as_ref().is_none_or(|found| found.left.is_empty()) {
                    return Err(Failure::Reset(tell(recorder, target, &story)));
                }
            }
            self.counters.bump(Counter::ViewerResends);
        }
    }

    /// A connection to `target` that carries bytes, not requests.
    pub(crate) async fn tunnel(
        &self,
        who: &Viewpoint,
        target: &Target,
        recorder: &mut Recorder,
    ) -> Result<(BoxIo, SocketAddr), Failure> {
        let found = self.locate(who, target, recorder).await?;
        let connected = self.connect(who, &found.left, recorder, &mut Vec::new()).await?;
        if Some(connected.address) != found.first {
            self.counters.bump(Counter::ViewerFallbacks);
        }
        Ok((connected.stream, connected.address))
    }

    /// The address of `target` that a request of `who` would be sent to.
    pub(crate) async fn first_address(&self, who: &Viewpoint, target: &Target) -> Result<SocketAddr, Failure> {
        let found = self.locate(who, target, &mut Recorder::without_ledger(&who.standing.place)).await?;
        found.left.first().copied().ok_or_else(|| Failure::Unresolved(format!("{} has no address", target.host)))
    }

    /// What to call the node at `address`, for people: its PoP and where it listens.
    pub(crate) fn named(&self, address: SocketAddr) -> String {
        match self.config.edge_names.get(&address.ip()) {
            Some(name) => format!("{} ({address})", name.to_ascii_lowercase()),
            None => address.to_string(),
        }
    }

    /// Keeps the body when the request may be sent again and it is short; otherwise it streams.
    pub(crate) async fn keep(&self, parts: &Parts, body: Incoming) -> Result<Body, Failure> {
        if body.is_end_stream() {
            return Ok(Body::Kept(Bytes::new()));
        }
        let short = body.size_hint().upper().is_some_and(|bytes| bytes <= self.config.limits.replay_bytes_max);
        if !short || !parts.method.is_idempotent() {
            return Ok(Body::Streamed(Some(body)));
        }
        let collected = body.collect().await;
        let whole = collected.map_err(|error| broke_off(&deepest(&error)))?;
        Ok(Body::Kept(whole.to_bytes()))
    }

    async fn locate(&self, who: &Viewpoint, target: &Target, recorder: &mut Recorder) -> Result<Found, Failure> {
        let site = &who.standing.site;
        let found = |addresses: &[IpAddr]| {
            let named: Vec<_> = addresses.iter().map(|&address| SocketAddr::from((address, target.port))).collect();
            Found { first: named.first().copied(), left: self.connector.order(site, &named) }
        };
        if let Some(address) = target.address {
            return Ok(found(&[address]));
        }
        let label = || format!("{} → resolver", who.standing.place);
        recorder.wait_for(Step::Dns, label);
        let located = who.resolver.locate(&who.standing, &target.host, who.subnet).await;
        match located {
            Ok(Located { addresses, how }) => {
                recorder.step_with(Step::Dns, || {
                    let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    (label(), format!("dns: {shown} ({how})"))
                });
                Ok(found(&addresses))
            }
            Err(error) => {
                recorder.step_with(Step::Dns, || (label(), "dns: failed".into()));
                let story = format!("{} could not resolve {}: {error}", who.standing.place, target.host);
                Err(match error {
                    ResolveError::Busy => Failure::ResolverBusy(story),
                    _ => Failure::Unresolved(story),
                })
            }
        }
    }

    /// A connection that takes requests to `target`.
    async fn open(
        &self,
        who: &Viewpoint,
        target: &Target,
        addresses: &[SocketAddr],
        recorder: &mut Recorder,
        story: &mut Vec<String>,
    ) -> Result<EdgeConnection, Failure> {
        match &target.tls {
            Some(tls) if target.http3 => self.open_http3(who, tls, target, addresses, recorder, story).await,
            _ => {
                let connected = self.connect(who, addresses, recorder, story).await?;
                self.handshake(target, connected, recorder).await
            }
        }
    }

    /// By TCP.
    async fn connect(
        &self,
        who: &Viewpoint,
        addresses: &[SocketAddr],
        recorder: &mut Recorder,
        story: &mut Vec<String>,
    ) -> Result<Connected<BoxIo>, Failure> {
        let open = |from: Source, to: SocketAddr| self.connector.dial(from, to);
        self.race(who, addresses, Step::Connect, open, recorder, story).await
    }

    /// By QUIC, of whose handshake TLS is a part.
    async fn open_http3(
        &self,
        who: &Viewpoint,
        tls: &BothEnds,
        target: &Target,
        addresses: &[SocketAddr],
        recorder: &mut Recorder,
        story: &mut Vec<String>,
    ) -> Result<EdgeConnection, Failure> {
        let mut config = quinn::ClientConfig::new(Arc::clone(&tls.quic) as _);
        config.transport_config(quic::transport(self.config.limits.body_idle_timeout));
        let open = |from: Source, to: SocketAddr| -> BoxFuture<'static, io::Result<quinn::Connection>> {
            let (net, host, config) = (self.connector.net(), target.host.clone(), config.clone());
            Box::pin(async move { quic::connect(net, from, to, &host, config).await })
        };
        let Connected { stream, address, .. } = self.race(who, addresses, Step::Quic, open, recorder, story).await?;
        let begun = Http3::begin(stream).await;
        let sender = begun.map_err(|error| Failure::Reset(format!("{}: {error}", self.named(address))))?;
        Ok(EdgeConnection { sender: Sender::Http3(sender), host: target.host.clone(), address })
    }

    /// Tries `addresses`, and tells of it as of `step`.
    async fn race<T>(
        &self,
        who: &Viewpoint,
        addresses: &[SocketAddr],
        step: Step,
        open: impl Fn(Source, SocketAddr) -> BoxFuture<'static, io::Result<T>>,
        recorder: &mut Recorder,
        story: &mut Vec<String>,
    ) -> Result<Connected<T>, Failure> {
        let place = &who.standing.place;
        recorder.wait_for(step, || {
            let named: Vec<_> = addresses.iter().map(|address| self.config.edge_name(address.ip())).collect();
            format!("{place} → {}", named.join(" or "))
        });
        let result = self.connector.connect(&who.standing, addresses, open).await;
        let attempts = match &result {
            Ok(connected) => &connected.attempts,
            Err(attempts) => attempts,
        };
        recorder.steps(|| attempts.iter().map(|attempt| (self.entry(place, step, attempt), attempt.share)).collect());
        let failed = attempts.iter().filter(|attempt| attempt.outcome != Outcome::Connected);
        story.extend(failed.map(|attempt| format!("{} {}", self.named(attempt.address), attempt.outcome)));
        result.map_err(|attempts| {
            let told = format!("{place} could not connect: {}", story.join("; "));
            let silent = !attempts.is_empty() && attempts.iter().all(|attempt| attempt.outcome == Outcome::TimedOut);
            match attempts.last().map(|attempt| attempt.outcome) {
                _ if silent => Failure::ConnectTimedOut(told),
                Some(Outcome::NoHandshake) => Failure::TlsFailed(told),
                _ => Failure::ConnectFailed(told),
            }
        })
    }

    fn entry(&self, place: &str, step: Step, attempt: &Attempt) -> Entry {
        let label = format!("{place} → {}", self.config.edge_name(attempt.address.ip()));
        let address = attempt.address;
        let what = if step == Step::Quic { "quic and tls handshake" } else { "connect" };
        let detail = match attempt.outcome {
            Outcome::Connected => format!("{what} {address}"),
            outcome => format!("{what} {address} {outcome}"),
        };
        Entry { step, label, detail, duration_ms: 0.0 }
    }

    async fn handshake(
        &self,
        target: &Target,
        connected: Connected<BoxIo>,
        recorder: &mut Recorder,
    ) -> Result<EdgeConnection, Failure> {
        let Connected { stream, address, .. } = connected;
        let stream = match &target.tls {
            Some(tls) => self.secure(tls, target, stream, address, recorder).await?,
            None => stream,
        };
        let handshake = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            handshake.map_err(|error| Failure::Reset(format!("{}: {error}", self.named(address))))?;
        tokio::spawn(async move {
            // How a connection ended is told to whoever waits for its response.
            let _ = connection.with_upgrades().await;
        });
        Ok(EdgeConnection { sender: Sender::Http1(sender), host: target.host.clone(), address })
    }

    /// Speaks TLS on a connection.
    async fn secure(
        &self,
        tls: &BothEnds,
        target: &Target,
        stream: BoxIo,
        address: SocketAddr,
        recorder: &mut Recorder,
    ) -> Result<BoxIo, Failure> {
        let place = recorder.place().to_owned();
        let label = || format!("{place} → {}", self.config.edge_name(address.ip()));
        recorder.wait_for(Step::Tls, label);
        let shaken = timeout(self.config.limits.tls_timeout, tls.connect(&target.host, stream)).await;
        let stream = shaken.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
            self.counters.bump(Counter::ViewerConnectFailures);
            recorder.step_with(Step::Tls, || (label(), "tls, failed".into()));
            let who = format!("{place} had no TLS handshake with {}", self.named(address));
            Failure::TlsFailed(format!("{who} for {}: {error}", target.host))
        })?;
        recorder.step_with(Step::Tls, || (label(), format!("tls handshake, {}", tls::described(&stream))));
        Ok(Box::new(stream))
    }

    fn record_request(&self, recorder: &mut Recorder, address: SocketAddr, detail: &str) {
        let place = recorder.place().to_owned();
        let words = || (format!("{place} → {}", self.config.edge_name(address.ip())), detail.to_owned());
        recorder.step_with(Step::Request, words);
    }
}

/// The client's body ended before its time.
fn broke_off(why: &str) -> Failure {
    let colon = if why.is_empty() { "" } else { ": " };
    Failure::BadRequest(format!("the request body broke off{colon}{why}"))
}

fn tell(recorder: &Recorder, target: &Target, story: &[String]) -> String {
    format!("{} got no response from {}: {}", recorder.place(), target.host, story.join("; "))
}
