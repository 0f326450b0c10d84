//! One request of a load, from when it is meant to be made to its last byte.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cdn_core::{Counter, PopCode, Reason, WallTime, content::Content};
use http::{Method, Request, StatusCode, Uri, request::Parts};
use tokio::time::timeout;
use world::{
    CacheOutcome, Habits, Integrity, Intended, Observation, Outcome, Signature, scenario::Paths, workload::path_of,
};

use super::{
    Run, Setup, Viewpoint,
    body::{self, Expected, Received},
    lock,
    reading::Reading,
};
use crate::{
    failure::Failure,
    fetch::{self, Body, Fetched},
    ledger::Recorder,
    pool::Owner,
};

/// What came of one attempt.
#[derive(Clone, Copy)]
struct Attempt {
    outcome: Outcome,
    cache: CacheOutcome,
    reason: Reason,
    received: Received,
    asked: Option<(PopCode, Instant)>,
    pop: Option<PopCode>,
    fell_back: bool,
    made: Option<Instant>,
}

impl Attempt {
    fn failed(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Failed(reason),
            cache: CacheOutcome::Error,
            reason,
            received: Received { bytes: 0, complete: false, integrity: Integrity::Unchecked },
            asked: None,
            pop: None,
            fell_back: false,
            made: None,
        }
    }

    /// Whether a user would try again.
    const fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_) | Outcome::Status(500..))
    }

    fn observed(
        self,
        run: &Run,
        intended: &Intended,
        signature: Signature,
        started: Instant,
        attempts: u8,
    ) -> Observation {
        Observation {
            intended: intended.at,
            started: run.since_begin(started),
            finished: run.since_begin(Instant::now()),
            place: intended.place,
            asked: self.asked.map(|(pop, _)| pop),
            asked_at: run.since_begin(self.asked.map_or(started, |(_, at)| at)),
            pop: self.pop,
            outcome: self.outcome,
            cache: self.cache,
            reason: self.reason,
            bytes: self.received.bytes,
            integrity: self.received.integrity,
            attempts,
            fell_back: self.fell_back,
            load: intended.load,
            object: intended.object,
            made: self.made.map(|made| run.since_begin(made)),
            signature,
        }
    }
}

/// A request that is not made because as many as allowed are under way.
pub(super) fn refused(run: &Run, intended: &Intended, signature: Signature) -> Observation {
    Attempt::failed(Reason::ViewerLoadFull).observed(run, intended, signature, Instant::now(), 0)
}

impl Run {
    /// Makes a request, again where its user would, and tells of it.
    pub(super) async fn make(&self, intended: &Intended, habits: Habits, signature: Signature) {
        let started = Instant::now();
        let (Some(setup), Some(viewpoint)) =
            (self.setups.get(usize::from(intended.load)), self.viewpoint(intended.place, habits))
        else {
            self.tell(Attempt::failed(Reason::ViewerUnknownPlace).observed(self, intended, signature, started, 1));
            return;
        };
        let turn = self.users.turn(intended.load, intended.user).await;
        lock(&setup.retries).handle_first();
        let patience = setup.load.retry.timeout;
        let mut attempts = 0;
        let last = loop {
            attempts += 1;
            let mut recorder = Recorder::without_ledger(&viewpoint.standing.place);
            let attempt = timeout(patience, self.attempt(setup, intended, signature, &viewpoint, &mut recorder)).await;
            let attempt = attempt.unwrap_or_else(|_elapsed| Attempt {
                asked: self.asked(&recorder),
                ..Attempt::failed(Reason::ViewerGaveUp)
            });
            let pause = if attempt.is_failure() { lock(&setup.retries).poll_retry(attempts) } else { None };
            let Some(pause) = pause else { break attempt };
            self.node.counters.bump(Counter::ViewerLoadRetries);
            tokio::time::sleep(pause).await;
        };
        drop(turn);
        self.tell(last.observed(self, intended, signature, started, attempts));
    }

    async fn attempt(
        &self,
        setup: &Setup,
        intended: &Intended,
        signature: Signature,
        viewpoint: &Viewpoint,
        recorder: &mut Recorder,
    ) -> Attempt {
        let path = path_of(&setup.load, intended.object, intended.size);
        let Some(parts) = parts_of(setup, &path, signature) else {
            return Attempt::failed(Reason::ViewerBadRequest);
        };
        let who = fetch::Viewpoint {
            standing: viewpoint.standing.clone(),
            resolver: viewpoint.resolver.clone(),
            subnet: viewpoint.client_subnet.then_some(viewpoint.standing.network),
            owner: Owner::User { load: intended.load, user: intended.user },
            warm: false,
        };
        let fetched = self.fetcher.fetch(&who, &setup.target, parts, Body::Kept(Bytes::new()), recorder).await;
        let asked = self.asked(recorder);
        let Fetched { response, connection } = match fetched {
            Ok(fetched) => fetched,
            Err(failure) => return Attempt { asked, ..Attempt::failed(Failure::reason(&failure)) },
        };
        let (arrived, now) = (Instant::now(), wall_now());
        let (head, incoming) = response.into_parts();
        let reading = Reading::of(&head.headers);
        let expected = self.expected(setup, intended, &path, head.status);
        let received = body::receive(incoming, self.fetcher.config.limits.body_idle_timeout, expected).await;
        let attempt = Attempt {
            outcome: Outcome::Status(head.status.as_u16()),
            cache: reading.cache,
            reason: reading.reason,
            received,
            asked,
            pop: self.pop_at(Some(connection.address)),
            fell_back: recorder.fell_back,
            made: reading.made_by(arrived, now),
        };
        if !received.complete {
            let reason = Reason::ViewerBodyBroken;
            return Attempt { outcome: Outcome::Failed(reason), reason, ..attempt };
        }
        let idle = setup.load.connections.idle;
        if self.fetcher.pool.store_for(idle, who.owner, &who.standing.site, connection) {
            self.node.counters.bump(Counter::ViewerPoolEvictions);
        }
        attempt
    }

    /// What the body must be: of objects, whose bodies nobody but a simulated origin makes.
    fn expected(&self, setup: &Setup, intended: &Intended, path: &str, status: StatusCode) -> Option<Expected> {
        let is_object = !matches!(setup.load.paths, Paths::One(_));
        if status != StatusCode::OK || !is_object || setup.method != Method::GET {
            return None;
        }
        Some(Expected { content: Content::new(self.content_seed?, path), length: intended.size })
    }

    fn asked(&self, recorder: &Recorder) -> Option<(PopCode, Instant)> {
        let (address, at) = recorder.asked?;
        Some((self.pop_at(Some(address))?, at))
    }

    fn pop_at(&self, address: Option<std::net::SocketAddr>) -> Option<PopCode> {
        self.pops.get(&address?.ip()).copied()
    }
}

fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_unix_nanos(i128::try_from(since.as_nanos()).unwrap_or(0))
}

/// A request for `path` that shows `signature`; `None` where that cannot be written.
fn parts_of(setup: &Setup, path: &str, signature: Signature) -> Option<Parts> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = setup.method.clone();
    parts.headers = setup.headers.clone();
    parts.uri = match &setup.signatures {
        None => Uri::try_from(path).ok()?,
        Some(signatures) => {
            let mut path = path.to_owned();
            let laid = signatures.lay_over(signature, &mut path, &mut parts.headers);
            laid.inspect_err(|error| tracing::warn!(%error, "a request could not be signed")).ok()?;
            Uri::try_from(path).ok()?
        }
    };
    Some(parts)
}
