//! Origin groups: which origin gets the next attempt, for how long, and when to give up.
//!
//! One [`Exchange`] is one request's way through an origin or an origin group: connection attempts, retries after
//! silence, failover by status and by transport failure (CloudFront Developer Guide, "Optimize high availability with
//! CloudFront origin failover", and the timers of `DownloadDistValuesOrigin`). It knows outcomes and time; it does not
//! know HTTP's bytes, sockets or pools, and it never retries by itself: the shell asks [`Exchange::step`], acts, and
//! tells the outcome.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::{
    Instant, Reason,
    distribution::{Origin, OriginGroup, TransportFailover},
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
    /// There is no way to it: no address, no route, TLS failed.
    Unreachable,
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
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Reset,
        Self::Unreachable,
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
            Self::Refused | Self::Reset | Self::Unreachable | Self::Invalid | Self::HeadersTooLarge => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// The reason that goes with the status.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::OriginRefused,
            Self::Reset => Reason::OriginReset,
            Self::Unreachable => Reason::OriginUnreachable,
            Self::ConnectTimeout => Reason::OriginConnectTimeout,
            Self::ResponseTimeout => Reason::OriginResponseTimeout,
            Self::CompletionTimeout => Reason::OriginCompletionTimeout,
            Self::Invalid => Reason::OriginInvalid,
            Self::HeadersTooLarge => Reason::OriginHeadersTooLarge,
        }
    }

    /// One or two words for the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
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
                Self::Refused | Self::Reset | Self::Unreachable => {
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
    /// From the request's first byte to the head of the response.
    Response,
}

impl Phase {
    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
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
    Connecting { since: Instant, deadline: Instant, may_reuse: bool },
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

    /// A connection stands; `reused` when it comes from a pool, which makes no line in the ledger.
    pub fn on_connected(&mut self, now: Instant, reused: bool) {
        let State::Connecting { since, .. } = self.state else { return self.misuse("on_connected") };
        if !reused {
            self.record(now, since, Phase::Connect, AttemptOutcome::Connected);
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
            State::Connecting { since, .. } => {
                self.record(now, since, Phase::Connect, AttemptOutcome::Failed(failure));
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
        self.state = State::Connecting { since: now, deadline, may_reuse };
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
        let method = match self.request.method {
            Method::GET | Method::HEAD => true,
            Method::OPTIONS => self.request.cache_options,
            _ => false,
        };
        method && !self.body_has_begun && self.failover.is_some() && self.current + 1 < self.members.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    const GET: RequestKind = RequestKind { method: Method::GET, cache_options: false, repeats: true };

    fn kind(method: Method) -> RequestKind {
        RequestKind { method, cache_options: false, repeats: true }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn origin(tries: u8, connect: u64, response: u64) -> Origin {
        Origin {
            connection_attempts: tries,
            connection_timeout: secs(connect),
            response_timeout: secs(response),
            ..Origin::new("origin.test")
        }
    }

    fn group(codes: &[u16], on_transport_error: TransportFailover) -> OriginGroup {
        OriginGroup {
            members: ["primary".into(), "secondary".into()],
            failover_codes: codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect(),
            on_transport_error,
        }
    }

    fn grouped(request: RequestKind, codes: &[u16]) -> Exchange {
        let (a, b) = (origin(3, 10, 30), origin(3, 10, 30));
        Exchange::with_group(Instant::ZERO, request, &group(codes, TransportFailover::Documented), [&a, &b])
    }

    /// What each member of a scripted world does.
    #[derive(Clone, Copy)]
    enum Does {
        Answer(u16),
        Fail(Failure),
        BlackHole,
        Silence,
        Malformed,
    }

    /// Runs to the end; gives the last step, when it came, and how often each member was connected to.
    fn run(exchange: &mut Exchange, does: [Does; 2]) -> (Step, Instant, [u32; 2]) {
        let (mut now, mut connects) = (Instant::ZERO, [0; 2]);
        for _ in 0..100 {
            match exchange.step() {
                Step::Connect { member, deadline, .. } => {
                    connects[member] += 1;
                    match does[member] {
                        Does::Fail(failure) => exchange.on_failure(now, failure),
                        Does::BlackHole => {
                            now = deadline;
                            exchange.on_timeout(now);
                        }
                        Does::Answer(_) | Does::Silence | Does::Malformed => exchange.on_connected(now, false),
                    }
                }
                Step::Send { member, deadline } => match does[member] {
                    Does::Answer(status) => exchange.on_response(now, StatusCode::from_u16(status).unwrap()),
                    Does::Malformed => exchange.on_failure(now, Failure::Invalid),
                    _ => {
                        now = deadline;
                        exchange.on_timeout(now);
                    }
                },
                end => return (end, now, connects),
            }
        }
        panic!("the exchange does not end: {exchange:?}");
    }

    fn outcome(exchange: &mut Exchange, does: [Does; 2]) -> (Step, u64) {
        let (step, at, _) = run(exchange, does);
        (step, at.as_nanos() / 1_000_000_000)
    }

    const SECONDARY: Step = Step::Serve { member: 1 };

    #[test]
    fn selected_status_moves_to_the_secondary_and_each_is_asked_once() {
        let mut exchange = grouped(GET, &[503]);
        let (step, _, connects) = run(&mut exchange, [Does::Answer(503), Does::Answer(200)]);
        assert_eq!((step, connects), (SECONDARY, [1, 1]));
        assert_eq!(exchange.failed_over(), Some(FailedOver::Status(StatusCode::SERVICE_UNAVAILABLE)));
    }

    #[test]
    fn each_exchange_begins_at_the_primary() {
        for _ in 0..2 {
            assert!(matches!(grouped(GET, &[503]).step(), Step::Connect { member: 0, .. }));
        }
    }

    #[test]
    fn other_statuses_are_served_as_they_are() {
        for status in [200, 304, 401, 500] {
            let mut exchange = grouped(GET, &[503]);
            let (step, _, connects) = run(&mut exchange, [Does::Answer(status), Does::Answer(200)]);
            assert_eq!((step, connects), (Step::Serve { member: 0 }, [1, 0]), "{status}");
        }
    }

    #[test]
    fn methods_that_change_things_do_not_fail_over() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let mut exchange = grouped(kind(method.clone()), &[502, 503, 504]);
            let (step, ..) = run(&mut exchange, [Does::Answer(503), Does::Answer(200)]);
            assert_eq!(step, Step::Serve { member: 0 }, "{method}");
            let mut exchange = grouped(kind(method.clone()), &[502, 503, 504]);
            let (step, ..) = run(&mut exchange, [Does::Fail(Failure::Refused), Does::Answer(200)]);
            assert_eq!(step, Step::GiveUp { member: 0, failure: Failure::Refused }, "{method}");
        }
    }

    #[test]
    fn options_fail_over_where_they_are_cached() {
        let mut exchange = grouped(RequestKind { method: Method::OPTIONS, cache_options: true, repeats: true }, &[503]);
        assert_eq!(outcome(&mut exchange, [Does::Answer(503), Does::Answer(200)]).0, SECONDARY);
    }

    #[test]
    fn black_hole_with_one_try_of_one_second_takes_one_second() {
        let (a, b) = (origin(1, 1, 30), origin(3, 10, 30));
        let group = group(&[503, 504], TransportFailover::Documented);
        let mut exchange = Exchange::with_group(Instant::ZERO, GET, &group, [&a, &b]);
        assert_eq!(outcome(&mut exchange, [Does::BlackHole, Does::Answer(200)]), (SECONDARY, 1));
    }

    #[test]
    fn the_defaults_mean_thirty_seconds_of_silence() {
        assert_eq!(outcome(&mut grouped(GET, &[504]), [Does::BlackHole, Does::Answer(200)]), (SECONDARY, 30));
        let end = Step::GiveUp { member: 1, failure: Failure::ConnectTimeout };
        assert_eq!(outcome(&mut grouped(GET, &[504]), [Does::BlackHole, Does::BlackHole]), (end, 60));
    }

    #[test]
    fn a_silent_origin_is_asked_again_for_get_and_head_only() {
        for (method, seconds, connects) in
            [(Method::GET, 90, 3), (Method::HEAD, 90, 3), (Method::OPTIONS, 30, 1), (Method::POST, 30, 1)]
        {
            let mut exchange = Exchange::with_origin(Instant::ZERO, kind(method.clone()), "app", &origin(3, 10, 30));
            let (step, at, tries) = run(&mut exchange, [Does::Silence, Does::Silence]);
            assert_eq!(step, Step::GiveUp { member: 0, failure: Failure::ResponseTimeout });
            assert_eq!((at, tries[0]), (Instant::ZERO + secs(seconds), connects), "{method}");
        }
    }

    #[test]
    fn refused_connects_are_tried_again_for_every_method_and_recorded() {
        let mut exchange = Exchange::with_origin(Instant::ZERO, kind(Method::POST), "app", &origin(3, 10, 30));
        let (step, at, connects) = run(&mut exchange, [Does::Fail(Failure::Refused); 2]);
        assert_eq!((step, at), (Step::GiveUp { member: 0, failure: Failure::Refused }, Instant::ZERO));
        assert_eq!((connects[0], exchange.attempts().len(), exchange.origin_id(0)), (3, 3, "app"));
    }

    #[test]
    fn both_down_is_the_secondarys_failure() {
        let mut exchange = grouped(GET, &[502, 504]);
        let end = Step::GiveUp { member: 1, failure: Failure::Refused };
        assert_eq!(run(&mut exchange, [Does::BlackHole, Does::Fail(Failure::Refused)]).0, end);
        assert_eq!(Failure::Refused.status(), 502);
    }

    #[test]
    fn the_secondarys_answer_is_final() {
        for (primary, secondary) in [(404, 404), (503, 503), (503, 404)] {
            let mut exchange = grouped(GET, &[404, 503]);
            let (step, _, connects) = run(&mut exchange, [Does::Answer(primary), Does::Answer(secondary)]);
            assert_eq!((step, connects), (SECONDARY, [1, 1]));
        }
    }

    #[test]
    fn transport_failures_move_the_request_when_their_codes_are_selected() {
        let selecting = |failure: Failure| -> &[u16] {
            match failure {
                Failure::Refused | Failure::Reset | Failure::Unreachable => &[502, 503],
                Failure::ConnectTimeout => &[503, 504],
                Failure::ResponseTimeout | Failure::CompletionTimeout => &[504],
                Failure::Invalid | Failure::HeadersTooLarge => &[502],
            }
        };
        for failure in Failure::ALL {
            for code in [400, 403, 404, 416, 429, 500, 502, 503, 504] {
                let selected = selecting(failure).contains(&code);
                let codes = group(&[code], TransportFailover::Documented);
                let failover = Failover { codes: codes.failover_codes, on_transport_error: codes.on_transport_error };
                assert_eq!(failure.moves(&failover), selected, "{failure:?} with {code}");
            }
            let always = Failover { codes: vec![], on_transport_error: TransportFailover::Always };
            assert!(failure.moves(&always), "{failure:?}");
        }
    }

    #[test]
    fn a_failure_that_the_codes_forbid_leaves_a_hint() {
        let mut exchange = grouped(GET, &[500]);
        let (step, ..) = run(&mut exchange, [Does::Fail(Failure::Refused), Does::Answer(200)]);
        assert_eq!(step, Step::GiveUp { member: 0, failure: Failure::Refused });
        assert!(exchange.only_codes_forbade_failover());
        let mut exchange = grouped(kind(Method::POST), &[500]);
        run(&mut exchange, [Does::Fail(Failure::Refused), Does::Answer(200)]);
        assert!(!exchange.only_codes_forbade_failover(), "the method forbade it");
    }

    #[test]
    fn malformed_answers_fail_over_without_a_second_try() {
        let mut exchange = grouped(GET, &[502]);
        let (step, _, connects) = run(&mut exchange, [Does::Malformed, Does::Answer(200)]);
        assert_eq!((step, connects), (SECONDARY, [1, 1]));
    }

    #[test]
    fn a_stale_pooled_connection_costs_no_try_and_no_line() {
        let mut exchange = Exchange::with_origin(Instant::ZERO, GET, "app", &origin(1, 10, 30));
        exchange.on_connected(Instant::ZERO, true);
        exchange.on_failure(Instant::ZERO, Failure::Reset);
        assert!(matches!(exchange.step(), Step::Connect { member: 0, may_reuse: false, .. }));
        exchange.on_connected(Instant::ZERO, false);
        exchange.on_response(Instant::ZERO, StatusCode::OK);
        assert_eq!(exchange.step(), Step::Serve { member: 0 });
        assert_eq!(exchange.attempts().len(), 2, "a connect and a response: {:?}", exchange.attempts());
    }

    #[test]
    fn what_cannot_be_repeated_is_not_repeated_on_a_stale_connection() {
        let mut post = Exchange::with_origin(Instant::ZERO, kind(Method::POST), "app", &origin(3, 10, 30));
        post.on_connected(Instant::ZERO, true);
        post.on_failure(Instant::ZERO, Failure::Reset);
        assert_eq!(post.step(), Step::GiveUp { member: 0, failure: Failure::Reset });
        let mut put = Exchange::with_origin(Instant::ZERO, kind(Method::PUT), "app", &origin(3, 10, 30));
        put.on_connected(Instant::ZERO, true);
        put.on_body_begun();
        put.on_failure(Instant::ZERO, Failure::Reset);
        assert_eq!(put.step(), Step::GiveUp { member: 0, failure: Failure::Reset });
    }

    #[test]
    fn what_was_never_sent_may_be_sent_by_any_method() {
        let mut post = Exchange::with_origin(Instant::ZERO, kind(Method::POST), "app", &origin(1, 10, 30));
        post.on_connected(Instant::ZERO, true);
        post.on_unsent(Instant::ZERO);
        assert!(matches!(post.step(), Step::Connect { may_reuse: false, .. }));
        post.on_connected(Instant::ZERO, false);
        post.on_unsent(Instant::ZERO);
        assert_eq!(post.step(), Step::GiveUp { member: 0, failure: Failure::Reset });
    }

    #[test]
    fn a_request_whose_body_has_begun_does_not_fail_over() {
        let mut exchange =
            grouped(RequestKind { method: Method::OPTIONS, cache_options: true, repeats: true }, &[503, 504]);
        exchange.on_connected(Instant::ZERO, false);
        exchange.on_body_begun();
        exchange.on_response(Instant::ZERO, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(exchange.step(), Step::Serve { member: 0 });
    }

    #[test]
    fn completion_timeout_cuts_every_attempt_short_and_may_fail_over() {
        let primary = Origin { completion_timeout: Some(secs(35)), ..origin(3, 10, 30) };
        let secondary = origin(3, 10, 30);
        let codes = group(&[504], TransportFailover::Documented);
        let mut exchange = Exchange::with_group(Instant::ZERO, GET, &codes, [&primary, &secondary]);
        assert_eq!(outcome(&mut exchange, [Does::Silence, Does::Answer(200)]), (SECONDARY, 35));
        assert_eq!(exchange.failed_over(), Some(FailedOver::Transport(Failure::CompletionTimeout)));
        assert_eq!(exchange.completion_deadline(), None, "the secondary has none");
    }

    #[test]
    fn the_ledger_adds_up_to_the_time_that_passed() {
        let mut exchange = grouped(GET, &[504]);
        let (_, at, _) = run(&mut exchange, [Does::BlackHole, Does::Silence]);
        let sum: Duration = exchange.attempts().iter().map(|attempt| attempt.took).sum();
        assert_eq!(Instant::ZERO + sum, at);
    }

    #[test]
    fn an_uploads_own_time_is_not_the_origins() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let deadline = |exchange: &Exchange| match exchange.step() {
            Step::Send { deadline, .. } => deadline,
            other => panic!("{other:?}"),
        };
        let capped = Origin { completion_timeout: Some(secs(70)), ..origin(1, 10, 30) };
        let mut exchange = Exchange::with_origin(at(0), kind(Method::POST), "app", &capped);
        exchange.on_connected(at(1), false);
        assert_eq!(deadline(&exchange), at(31));
        exchange.on_body_progress(at(25));
        exchange.on_body_progress(at(20));
        assert_eq!(deadline(&exchange), at(55));
        exchange.on_body_progress(at(50));
        assert_eq!(deadline(&exchange), at(70), "the whole exchange has its own end");
        exchange.on_timeout(at(70));
        assert!(matches!(exchange.step(), Step::GiveUp { failure: Failure::CompletionTimeout, .. }));
    }

    #[test]
    fn where_nothing_is_repeated_the_first_failure_is_the_last() {
        let kind = RequestKind { repeats: false, ..GET };
        let mut reset = Exchange::with_origin(Instant::ZERO, kind.clone(), "a", &Origin::new("a.test"));
        reset.on_connected(Instant::ZERO, true);
        reset.on_failure(Instant::ZERO, Failure::Reset);
        assert!(matches!(reset.step(), Step::GiveUp { failure: Failure::Reset, .. }));
        let mut silent = Exchange::with_origin(Instant::ZERO, kind, "a", &Origin::new("a.test"));
        silent.on_connected(Instant::ZERO, false);
        silent.on_timeout(Instant::ZERO);
        assert!(matches!(silent.step(), Step::GiveUp { failure: Failure::ResponseTimeout, .. }));
    }
}
