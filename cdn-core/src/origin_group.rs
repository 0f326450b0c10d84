//! Origin groups: which origin gets the next attempt, for how long, and when to give up.
//!
//! One [`Exchange`] is one request's way through an origin or an origin group: connection attempts, retries after
//! silence, failover by status and by transport failure (CloudFront Developer Guide, "Optimize high availability with
//! CloudFront origin failover", and the timers of `DownloadDistValuesOrigin`). It knows outcomes and time; it does not
//! know HTTP's bytes, sockets or pools, and it never retries by itself: the shell asks [`Exchange::step`], acts, and
//! tells the outcome.

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{Method, StatusCode};

use crate::{
    Instant, Reason,
    distribution::{CheckedBehavior, Distribution, Origin, OriginGroup, TransportFailover},
    origin_protocol::CertificateFault,
};

/// How patient one request is with one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    id: String,
    tries: u8,
    connection_timeout: Duration,
    response_timeout: Duration,
    completion_timeout: Option<Duration>,
}

impl Member {
    fn new(id: &str, origin: &Origin) -> Self {
        Self {
            id: id.to_owned(),
            tries: origin.connection_attempts.max(1),
            connection_timeout: origin.connection_timeout,
            response_timeout: origin.response_timeout,
            completion_timeout: origin.completion_timeout,
        }
    }
}

/// When the first origin's outcome moves the request to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failover {
    codes: Vec<StatusCode>,
    on_transport_error: TransportFailover,
}

impl Failover {
    fn selects(&self, code: StatusCode) -> bool {
        self.codes.contains(&code)
    }
}

/// What an origin did instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// It refused the connection.
    Refused,
    /// It broke the connection before the head of a response was complete.
    Reset,
    /// There is no way to it: no address, no route.
    Unreachable,
    /// It shows a certificate that cannot be accepted.
    Certificate(CertificateFault),
    /// There is no TLS with it for another reason: it speaks something else, or no version in common.
    Tls,
    /// No connection within the connection timeout.
    ConnectTimeout,
    /// Connected, but no response (or no next packet) within the response timeout.
    ResponseTimeout,
    /// The whole exchange took longer than the completion timeout.
    CompletionTimeout,
    /// What it sent is not HTTP.
    Invalid,
    /// The head of its response exceeds the limit.
    HeadersTooLarge,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Self; 14] = [
        Self::Refused,
        Self::Reset,
        Self::Unreachable,
        Self::Certificate(CertificateFault::Expired),
        Self::Certificate(CertificateFault::NotYetValid),
        Self::Certificate(CertificateFault::WrongName),
        Self::Certificate(CertificateFault::UnknownIssuer),
        Self::Certificate(CertificateFault::Invalid),
        Self::Tls,
        Self::ConnectTimeout,
        Self::ResponseTimeout,
        Self::CompletionTimeout,
        Self::Invalid,
        Self::HeadersTooLarge,
    ];

    /// What the viewer gets where nothing else helps: 504 for silence, 502 for the rest.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::ResponseTimeout | Self::CompletionTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Refused
            | Self::Reset
            | Self::Unreachable
            | Self::Certificate(_)
            | Self::Tls
            | Self::Invalid
            | Self::HeadersTooLarge => StatusCode::BAD_GATEWAY,
        }
    }

    /// The reason that goes with the status.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::OriginRefused,
            Self::Reset => Reason::OriginReset,
            Self::Unreachable => Reason::OriginUnreachable,
            Self::Certificate(_) => Reason::OriginCertificate,
            Self::Tls => Reason::OriginTls,
            Self::ConnectTimeout => Reason::OriginConnectTimeout,
            Self::ResponseTimeout => Reason::OriginResponseTimeout,
            Self::CompletionTimeout => Reason::OriginCompletionTimeout,
            Self::Invalid => Reason::OriginInvalid,
            Self::HeadersTooLarge => Reason::OriginHeadersTooLarge,
        }
    }

    /// A few words for the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Certificate(CertificateFault::Expired) => "certificate expired",
            Self::Certificate(CertificateFault::NotYetValid) => "certificate not yet valid",
            Self::Certificate(CertificateFault::WrongName) => "certificate for another name",
            Self::Certificate(CertificateFault::UnknownIssuer) => "certificate of an unknown issuer",
            Self::Certificate(CertificateFault::Invalid) => "certificate invalid",
            Self::Tls => "no TLS",
            Self::ConnectTimeout | Self::ResponseTimeout => "timeout",
            Self::CompletionTimeout => "completion timeout",
            Self::Invalid => "invalid",
            Self::HeadersTooLarge => "headers too large",
        }
    }

    /// Whether the codes of a group let this failure move the request. The guide speaks of 503 for "failure to connect"
    /// and of 504 for "takes too long"; the status that the viewer would have seen counts as well.
    fn moves(self, failover: &Failover) -> bool {
        let any = |codes: &[StatusCode]| codes.iter().any(|code| failover.selects(*code));
        match failover.on_transport_error {
            TransportFailover::Always => true,
            TransportFailover::Documented => match self {
                // TLS is part of connecting.
                Self::Refused | Self::Reset | Self::Unreachable | Self::Certificate(_) | Self::Tls => {
                    any(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_GATEWAY])
                }
                Self::ConnectTimeout => any(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]),
                Self::ResponseTimeout | Self::CompletionTimeout => any(&[StatusCode::GATEWAY_TIMEOUT]),
                Self::Invalid | Self::HeadersTooLarge => any(&[StatusCode::BAD_GATEWAY]),
            },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What about a request decides whether it may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKind {
    /// Its method.
    pub method: Method,
    /// Whether the behavior caches OPTIONS; only then does OPTIONS fail over.
    pub cache_options: bool,
    /// Whether a request that may have reached an origin may be sent to it once more.
    pub repeats: bool,
}

impl RequestKind {
    /// That of a request which a behavior serves.
    pub fn of(method: &Method, behavior: &CheckedBehavior) -> Self {
        Self {
            method: method.clone(),
            cache_options: behavior.spec().cache_options,
            repeats: !behavior.follows_origin(),
        }
    }

    /// Whether its method lets an origin group move it to the secondary (Developer Guide, "Optimize high availability with
    /// CloudFront origin failover").
    pub fn fails_over(&self) -> bool {
        match self.method {
            Method::GET | Method::HEAD => true,
            Method::OPTIONS => self.cache_options,
            _ => false,
        }
    }
}

/// What to do next. Deadlines are moments, not spans, so that nothing is lost between steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Have a connection to the origin at this place (0 or 1), by the deadline.
    Connect {
        /// Which member.
        member: usize,
        /// When to call [`Exchange::on_timeout`].
        deadline: Instant,
        /// Whether a pooled connection may be used.
        may_reuse: bool,
    },
    /// Send the request on the connection and wait for the head of the response, by the deadline.
    Send {
        /// Which member.
        member: usize,
        /// When to call [`Exchange::on_timeout`].
        deadline: Instant,
    },
    /// The response at hand is the answer.
    Serve {
        /// Which member gave it.
        member: usize,
    },
    /// No origin gave a response.
    GiveUp {
        /// Which member failed last.
        member: usize,
        /// How.
        failure: Failure,
    },
}

/// What an attempt was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Getting a new connection.
    Connect,
    /// The TLS handshake on it.
    Tls,
    /// From the request's first byte to the head of the response.
    Response,
}

impl Phase {
    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Response => "response",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The connection stands.
    Connected,
    /// The head of a response arrived.
    Responded(StatusCode),
    /// It failed.
    Failed(Failure),
}

/// One line of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which member was tried.
    pub member: usize,
    /// What was tried.
    pub phase: Phase,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// How long it took.
    pub took: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Connecting { since: Instant, phase: Phase, deadline: Instant, may_reuse: bool },
    Sending { since: Instant, deadline: Instant, reused: bool },
    Serving,
    GaveUp(Failure),
}

/// One request's way through an origin or an origin group.
///
/// Calling order: [`step`](Self::step), act, then exactly one of the `on_*` methods, until `step` is
/// [`Step::Serve`] or [`Step::GiveUp`]. Every exchange starts at the primary: groups have no memory.
#[derive(Clone, Debug)]
pub struct Exchange {
    members: Vec<Member>,
    failover: Option<Failover>,
    request: RequestKind,
    body_has_begun: bool,
    current: usize,
    /// Tries that the current member has used: failed connects and silences alike.
    used: u8,
    /// When the current member's exchange is over, whatever happens.
    completion: Option<Instant>,
    state: State,
    attempts: Vec<Attempt>,
    failed_over: Option<FailedOver>,
    only_codes_forbade: bool,
}

/// Why a request moved from the primary to the secondary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedOver {
    /// The primary answered with a selected status.
    Status(StatusCode),
    /// The primary did not answer.
    Transport(Failure),
}

impl Exchange {
    /// An exchange with the target of a behavior: an origin of its distribution, or a group of them. `None` where there is
    /// none of that name.
    pub fn toward(now: Instant, request: RequestKind, distribution: &Distribution, target: &str) -> Option<Self> {
        match distribution.group(target) {
            Some(group) => {
                let [primary, secondary] = &group.members;
                let origins = [distribution.origin(primary)?, distribution.origin(secondary)?];
                Some(Self::with_group(now, request, group, origins))
            }
            None => Some(Self::with_origin(now, request, target, distribution.origin(target)?)),
        }
    }

    /// An exchange with one origin.
    pub fn with_origin(now: Instant, request: RequestKind, id: &str, origin: &Origin) -> Self {
        Self::new(now, request, vec![Member::new(id, origin)], None)
    }

    /// An exchange with a group, whose origins are given in its order.
    pub fn with_group(now: Instant, request: RequestKind, group: &OriginGroup, origins: [&Origin; 2]) -> Self {
        let members = group.members.iter().zip(origins).map(|(id, origin)| Member::new(id, origin)).collect();
        let failover = Failover { codes: group.failover_codes.clone(), on_transport_error: group.on_transport_error };
        Self::new(now, request, members, Some(failover))
    }

    fn new(now: Instant, request: RequestKind, members: Vec<Member>, failover: Option<Failover>) -> Self {
        let mut exchange = Self {
            members,
            failover,
            request,
            body_has_begun: false,
            current: 0,
            used: 0,
            completion: None,
            state: State::Serving,
            attempts: Vec::new(),
            failed_over: None,
            only_codes_forbade: false,
        };
        exchange.begin(now, 0);
        exchange
    }

    /// What to do now.
    pub fn step(&self) -> Step {
        let member = self.current;
        match self.state {
            State::Connecting { deadline, may_reuse, .. } => Step::Connect { member, deadline, may_reuse },
            State::Sending { deadline, .. } => Step::Send { member, deadline },
            State::Serving => Step::Serve { member },
            State::GaveUp(failure) => Step::GiveUp { member, failure },
        }
    }

    /// The origin has accepted a connection, and a TLS handshake follows on it before it stands. The deadline is for both.
    pub fn on_accepted(&mut self, now: Instant) {
        let State::Connecting { since, phase: Phase::Connect, deadline, may_reuse } = self.state else {
            return self.misuse("on_accepted");
        };
        self.record(now, since, Phase::Connect, AttemptOutcome::Connected);
        self.state = State::Connecting { since: now, phase: Phase::Tls, deadline, may_reuse };
    }

    /// A connection stands; `reused` when it comes from a pool, which makes no line in the ledger.
    pub fn on_connected(&mut self, now: Instant, reused: bool) {
        let State::Connecting { since, phase, .. } = self.state else { return self.misuse("on_connected") };
        if !reused {
            self.record(now, since, phase, AttemptOutcome::Connected);
        }
        let deadline = self.capped(now + self.member().response_timeout);
        self.state = State::Sending { since: now, deadline, reused };
    }

    /// The request's body is being streamed and cannot be sent a second time.
    pub fn on_body_begun(&mut self) {
        self.body_has_begun = true;
    }

    /// The request's body moved on at `at`, or waits for the viewer: the time to the first byte of the response counts
    /// from there. An upload takes as long as it takes.
    pub fn on_body_progress(&mut self, at: Instant) {
        let later = self.capped(at + self.member().response_timeout);
        if let State::Sending { deadline, .. } = &mut self.state {
            *deadline = later.max(*deadline);
        }
    }

    /// The head of a response arrived.
    pub fn on_response(&mut self, now: Instant, status: StatusCode) {
        let State::Sending { since, .. } = self.state else { return self.misuse("on_response") };
        self.record(now, since, Phase::Response, AttemptOutcome::Responded(status));
        let moves = self.failover.as_ref().is_some_and(|failover| failover.selects(status));
        if moves && self.may_fail_over() {
            self.failed_over = Some(FailedOver::Status(status));
            self.begin(now, self.current + 1);
        } else {
            self.state = State::Serving;
        }
    }

    /// The step's deadline has passed.
    pub fn on_timeout(&mut self, now: Instant) {
        let cut_short = self.completion.is_some_and(|completion| now >= completion);
        match self.state {
            _ if cut_short => self.on_failure(now, Failure::CompletionTimeout),
            State::Connecting { .. } => self.on_failure(now, Failure::ConnectTimeout),
            State::Sending { .. } => self.on_failure(now, Failure::ResponseTimeout),
            State::Serving | State::GaveUp(_) => self.misuse("on_timeout"),
        }
    }

    /// A pooled connection proved dead before a byte of the request was sent; no method minds being sent again.
    pub fn on_unsent(&mut self, now: Instant) {
        match self.state {
            State::Sending { reused: true, .. } => self.connect(now, false),
            _ => self.on_failure(now, Failure::Reset),
        }
    }

    /// The step failed.
    pub fn on_failure(&mut self, now: Instant, failure: Failure) {
        match self.state {
            State::Connecting { since, phase, .. } => {
                self.record(now, since, phase, AttemptOutcome::Failed(failure));
                self.used += 1;
                let again = failure != Failure::CompletionTimeout && self.used < self.member().tries;
                self.again_or_over(now, again, failure);
            }
            // A pooled connection may have been closed by the origin while it lay idle (RFC 9112 section 9.3.1). That
            // says nothing about the origin, so it costs no try: the request goes out once more on a new connection.
            State::Sending { reused: true, .. } if failure == Failure::Reset && self.may_repeat() => {
                self.connect(now, false);
            }
            State::Sending { since, .. } => {
                self.record(now, since, Phase::Response, AttemptOutcome::Failed(failure));
                self.used += 1;
                let read_only = matches!(self.request.method, Method::GET | Method::HEAD);
                let again = failure == Failure::ResponseTimeout
                    && read_only
                    && self.request.repeats
                    && !self.body_has_begun
                    && self.used < self.member().tries;
                self.again_or_over(now, again, failure);
            }
            State::Serving | State::GaveUp(_) => self.misuse("on_failure"),
        }
    }

    /// The id of a member.
    pub fn origin_id(&self, member: usize) -> &str {
        self.members.get(member).map_or("", |member| member.id.as_str())
    }

    /// Every attempt so far, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Why the secondary was asked, if it was.
    pub const fn failed_over(&self) -> Option<FailedOver> {
        self.failed_over
    }

    /// A transport failure would have moved the request, had the group's codes contained one of its statuses. People
    /// look for this hint.
    pub const fn only_codes_forbade_failover(&self) -> bool {
        self.only_codes_forbade
    }

    /// Longest time between two packets of the response's body.
    pub fn body_idle_timeout(&self) -> Duration {
        self.member().response_timeout
    }

    /// When the response's body must have ended.
    pub const fn completion_deadline(&self) -> Option<Instant> {
        self.completion
    }

    fn begin(&mut self, now: Instant, member: usize) {
        self.current = member;
        self.used = 0;
        self.completion = self.member().completion_timeout.map(|span| now + span);
        self.connect(now, true);
    }

    fn connect(&mut self, now: Instant, may_reuse: bool) {
        let deadline = self.capped(now + self.member().connection_timeout);
        self.state = State::Connecting { since: now, phase: Phase::Connect, deadline, may_reuse };
    }

    fn again_or_over(&mut self, now: Instant, again: bool, failure: Failure) {
        if again {
            return self.connect(now, false);
        }
        let could = self.may_fail_over();
        let moves = self.failover.as_ref().is_some_and(|failover| failure.moves(failover));
        if could && moves {
            self.failed_over = Some(FailedOver::Transport(failure));
            self.begin(now, self.current + 1);
        } else {
            self.only_codes_forbade |= could && !moves;
            self.state = State::GaveUp(failure);
        }
    }

    fn may_fail_over(&self) -> bool {
        self.request.fails_over()
            && !self.body_has_begun
            && self.failover.is_some()
            && self.current + 1 < self.members.len()
    }

    fn may_repeat(&self) -> bool {
        self.request.repeats && self.request.method.is_idempotent() && !self.body_has_begun
    }

    fn record(&mut self, now: Instant, since: Instant, phase: Phase, outcome: AttemptOutcome) {
        self.attempts.push(Attempt { member: self.current, phase, outcome, took: now - since });
    }

    fn capped(&self, deadline: Instant) -> Instant {
        self.completion.map_or(deadline, |completion| deadline.min(completion))
    }

    fn member(&self) -> &Member {
        &self.members[self.current]
    }

    /// A call that the state does not allow is a defect of the shell; it changes nothing.
    fn misuse(&self, call: &str) {
        debug_assert!(false, "{call} in {:?}", self.state);
    }
}
