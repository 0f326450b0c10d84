//! One fetch from beginning to end: ask behind, say what may be stored, bring the body, resolve.
//!
//! It runs as a task of its own and ends early only when nobody wants it. Whoever caused it is told what it brought.

use std::{future::poll_fn, sync::Arc, time::Duration};

use cdn_core::{
    Counter, Instant, compression,
    conditional::{PRECONDITIONS, Validators},
    disk::{Draft, Ticket, record::RecordHead},
    forward::{self, Conditions},
    freshness::{self, Arrival, Lifetime, Said, Storing},
    parents::ParentWay,
    range::ContentRange,
    store::{Begun, FetchError, Growth, Lacking, NotStored, Outcome, Served, Storable, StorablePart, StoredHead},
    vary::Vary,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::oneshot;

use crate::{
    asked::Asked,
    body::{OriginBody, Subscription},
    connection::Wire,
    decision_log::Arrived,
    disk::Disk,
    encode,
    fetch::{FetchFailure, Fetched, FromParent, Want, fetch},
    node::Node,
    object::{Following, Object},
    store::{Fetch, Lead, Parts, Response},
    timing::Ledger,
};

/// What a fetch brought to the viewer who caused it.
#[derive(Debug)]
pub(crate) enum Landed {
    /// It is in the store, and may still be arriving.
    Stored {
        served: Response,
        following: Option<Following>,
        /// Not where the admission rule lets it go once it has arrived.
        stays: bool,
        /// It is sent as it came, though the viewer wants a range: its origin knows none.
        in_full: bool,
    },
    /// A part, as its origin describes it, which is arriving and may be kept, and its age.
    Part(HeaderMap, Following, Option<Duration>),
    /// What lacked of an answer is arriving.
    Completed(Parts, Following),
    /// What was stored still holds.
    Refreshed(Response),
    /// The origin failed; this stands in.
    Stale(Response),
    /// For this viewer alone.
    Own(Box<Own>),
    /// No response.
    Failed(FetchFailure),
}

/// A response for one viewer.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) fetched: Fetched,
    /// Others like it may be stored: it was this viewer's precondition or range that made it its own.
    pub(crate) may_be_stored: bool,
}

/// How a fetch went, as far as the head of its response.
#[derive(Debug)]
pub(crate) struct Flown {
    pub(crate) landed: Landed,
    pub(crate) ledger: Ledger,
    /// The status that came from behind.
    pub(crate) status: Option<StatusCode>,
    pub(crate) parent: Option<FromParent>,
    /// Headers for whoever caused the fetch, which are not stored for others.
    pub(crate) own: HeaderMap,
}

/// Carries a fetch out for a viewer, who wants it as long as this future (and what it brought) lives. `None` where it
/// ended without a word, which is a defect.
///
/// Interim responses go to `interims`.
pub(crate) async fn fly(node: Arc<Node>, asked: Arc<Asked>, lead: Lead, interims: Option<Arc<Wire>>) -> Option<Flown> {
    let (tell, told) = oneshot::channel();
    let (mut flight, _wants) = Flight::new(node, asked, lead, Some(tell));
    flight.interims = interims;
    tokio::spawn(flight.run());
    told.await.ok()
}

/// Resolves a fetch with a response that is there already. `None` as for [`fly`].
pub(crate) async fn deliver(node: Arc<Node>, asked: Arc<Asked>, lead: Lead, fetched: Fetched) -> Option<Flown> {
    let (tell, told) = oneshot::channel();
    let (mut flight, _wants) = Flight::new(node, asked, lead, Some(tell));
    tokio::spawn(async move { flight.on_response(fetched).await });
    told.await.ok()
}

/// Does not carry a fetch out, because there is no memory for what it would bring. Whoever waits asks again.
pub(crate) fn shed(node: &Node, lead: Lead) {
    node.counters.bump(Counter::EdgeFetchesShed);
    node.store.released(lead.fetch());
}

/// Carries a fetch out in the background: it is wanted for itself.
pub(crate) fn refresh(node: Arc<Node>, mut asked: Asked, lead: Lead) {
    if node.is_full_of_bodies() {
        return shed(&node, lead);
    }
    // The viewer's own preconditions are no business of others.
    for name in PRECONDITIONS {
        asked.headers.remove(name);
    }
    let (flight, wants) = Flight::new(node, Arc::new(asked), lead, None);
    tokio::spawn(async move {
        flight.run().await;
        drop(wants);
    });
}

struct Flight {
    node: Arc<Node>,
    asked: Arc<Asked>,
    fetch: Fetch,
    /// What a 304 would confirm.
    stale: Option<Response>,
    validators: Option<Validators>,
    object: Object,
    /// When it began, as invalidations of the disk tier count.
    ticket: Option<Ticket>,
    tell: Option<oneshot::Sender<Flown>>,
    /// See [`Flown::own`].
    own: HeaderMap,
    interims: Option<Arc<Wire>>,
    /// What of the answer is stored, and what lacks.
    lacking: Option<Lacking<Object>>,
}

impl Flight {
    fn new(
        node: Arc<Node>,
        asked: Arc<Asked>,
        lead: Lead,
        tell: Option<oneshot::Sender<Flown>>,
    ) -> (Self, Subscription) {
        let fetch = lead.fetch();
        let Lead { begun, object, wants, .. } = lead;
        let validators = begun.validators().cloned();
        let ticket = node.disk.as_ref().map(Disk::ticket);
        let (own, interims) = (HeaderMap::new(), None);
        let Begun { stale, lacking, .. } = begun;
        (Self { node, asked, fetch, stale, validators, object, ticket, tell, own, interims, lacking }, wants)
    }

    async fn run(mut self) {
        loop {
            let Some(outcome) = self.ask().await else { return };
            match outcome {
                Ok(fetched) if self.is_of_no_use(&fetched) => {
                    // What is stored has changed behind: it is asked for anew, as the viewer did.
                    self.lacking = None;
                    continue;
                }
                Ok(fetched) if self.is_confirmation(&fetched) => self.on_confirmed(fetched),
                Ok(fetched) => self.on_response(fetched).await,
                Err(failure) => self.on_failure(failure),
            }
            return;
        }
    }

    /// The response from behind; `None` where nobody wants it any more.
    async fn ask(&self) -> Option<Result<Fetched, FetchFailure>> {
        let interims = self.interims.as_ref();
        let want = Want { conditions: self.conditions(), way: ParentWay::default(), upgrade: None, interims };
        let mut asking = std::pin::pin!(fetch(&self.node, &self.asked, want, None));
        loop {
            tokio::select! {
                biased;
                outcome = asking.as_mut() => return Some(outcome),
                () = self.object.unwanted() => {
                    if self.node.store.abandon(self.fetch, &self.object) {
                        self.node.counters.bump(Counter::EdgeFetchesAbandoned);
                        return None;
                    }
                }
            }
        }
    }

    /// Ours where there is something to confirm; the viewer's own where it has any, because then the answer may be for
    /// it alone and its range may be a small part of something large; else none.
    fn conditions(&self) -> Conditions<'_> {
        if let Some(lacking) = &self.lacking {
            return lacking.conditions();
        }
        match &self.validators {
            Some(validators) => Conditions::Stored(validators),
            None if PRECONDITIONS.iter().any(|name| self.asked.headers.contains_key(name)) => Conditions::Viewer,
            None => Conditions::None,
        }
    }

    /// Whether the viewer's range was passed on and the whole object came: CloudFront then sends it all, and takes ranges
    /// from the cache later on. A plain shared cache takes the range at once.
    fn was_refused_a_range(&self, status: StatusCode) -> bool {
        status == StatusCode::OK
            && matches!(self.conditions(), Conditions::Viewer)
            && !self.asked.behavior().follows_origin()
    }

    fn is_confirmation(&self, fetched: &Fetched) -> bool {
        fetched.status == StatusCode::NOT_MODIFIED && self.validators.is_some()
    }

    /// Whether a part was asked for to complete what is stored, and another came or none.
    fn is_of_no_use(&self, fetched: &Fetched) -> bool {
        let Some(lacking) = &self.lacking else { return false };
        match fetched.status {
            StatusCode::PARTIAL_CONTENT => !lacking.is_completed_by(&fetched.headers),
            status => matches!(status, StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_MODIFIED),
        }
    }

    fn on_confirmed(&mut self, fetched: Fetched) {
        let now = self.node.clock.now();
        let Some(stale) = self.stale.take() else { return self.node.store.released(self.fetch) };
        let mut headers = stale.head.headers_confirmed_by(&fetched.headers, self.node.wall.now());
        let vary = Vary::of(&headers, self.asked.behavior());
        let storing = self.assess(stale.head.status(), &headers, &vary, fetched.requested_at, now);
        self.own = self.receive(&mut headers);
        let head = Arc::new(StoredHead::new(stale.head.status(), headers));
        let outcome = match storing {
            Storing::Store(lifetime) => {
                let outcome = self.node.store.refreshed(now, self.fetch, Arc::clone(&head), lifetime);
                if let Outcome::Stored(served) = &outcome {
                    self.confirm_on_disk(&head, lifetime, &served.body);
                }
                outcome
            }
            Storing::Refuse(_) => {
                self.forget_on_disk();
                self.node.store.uncacheable(now, self.fetch);
                Outcome::NotStored(NotStored::Gone)
            }
        };
        let served = match outcome {
            Outcome::Stored(served) | Outcome::Arriving(served) => served,
            // It cannot stay, but it is what the origin just confirmed.
            Outcome::NotStored(_) => Served { head, ..stale },
        };
        self.tell(Landed::Refreshed(served), fetched);
    }

    async fn on_response(&mut self, mut fetched: Fetched) {
        let now = self.node.clock.now();
        let (status, behavior) = (fetched.status, self.asked.behavior());
        if let Some(stale) = self.node.store.failed(now, self.fetch, FetchError::Status(status)) {
            return self.tell(Landed::Stale(stale), fetched);
        }
        let personal =
            matches!(self.conditions(), Conditions::Viewer) && matches!(status.as_u16(), 206 | 304 | 412 | 416);
        if status == StatusCode::PARTIAL_CONTENT
            && self.asked.method == Method::GET
            && let Some(range) = ContentRange::of(&fetched.headers)
        {
            return self.on_part(fetched, range).await;
        }
        if personal {
            self.node.store.released_to_one(self.fetch);
            return self.tell_own(fetched, true);
        }
        self.forget_on_disk();
        let vary = Vary::of(&fetched.headers, behavior);
        let Storing::Store(lifetime) = self.assess(status, &fetched.headers, &vary, fetched.requested_at, now) else {
            self.node.store.uncacheable(now, self.fetch);
            return self.tell_own(fetched, false);
        };
        let bodyless = self.asked.method == Method::HEAD || status == StatusCode::NO_CONTENT;
        let encoding = encode::plan(&self.node, &self.asked, &fetched, lifetime);
        let announced = match &encoding {
            _ if bodyless => Some(0),
            Some(_) => None,
            None => fetched.body.announced(),
        };
        let complete = announced == Some(0);
        if complete {
            self.object.body.finish();
        }
        let mut headers = fetched.headers.clone();
        self.own = self.receive(&mut headers);
        if let Some(encoding) = &encoding {
            compression::describe(&mut headers, encoding.coding());
        }
        let head = Arc::new(StoredHead::new(status, headers));
        let draft = self.draft(&head, None, lifetime, vary.clone());
        let storable = Storable {
            head,
            body: self.object.clone(),
            bytes: announced.unwrap_or(0),
            complete,
            lifetime,
            vary,
            request: &self.asked.headers,
        };
        let outcome = self.node.store.fetched(now, self.fetch, storable);
        let stays = matches!(outcome, Outcome::Stored(_));
        match outcome {
            Outcome::NotStored(why) => self.tell_own(fetched, why == NotStored::NotAdmitted),
            Outcome::Stored(served) | Outcome::Arriving(served) => {
                let mut body = std::mem::replace(&mut fetched.body, OriginBody::none());
                if let Some(encoding) = encoding {
                    body.encode(encoding);
                }
                let following = if complete || self.tell.is_none() { None } else { self.object.follow() };
                let in_full = self.was_refused_a_range(status);
                self.tell(Landed::Stored { served, following, stays, in_full }, fetched);
                // Sealed first, so that whoever finds it complete finds it whole.
                let whole = complete
                    || (self.bring(body, announced, true).await
                        && self.node.store.completed(self.fetch, self.object.body.len()) == Growth::Kept);
                if whole {
                    self.write_to_disk(draft, &self.object);
                }
            }
        }
    }

    /// A part: what lacked of an answer, or what the viewer asked for. It is kept where a 200 like it would be.
    async fn on_part(&mut self, mut fetched: Fetched, range: ContentRange) {
        let now = self.node.clock.now();
        let (behavior, length) = (self.asked.behavior(), range.part.length());
        let vary = Vary::of(&fetched.headers, behavior);
        let storing = self.assess(StatusCode::OK, &fetched.headers, &vary, fetched.requested_at, now);
        let mut headers = fetched.headers.clone();
        self.own = self.receive(&mut headers);
        let Some(following) = self.object.follow() else { return self.node.store.released(self.fetch) };
        let landed = match self.lacking.take() {
            Some(lacking) => Landed::Completed(lacking.answer, following),
            None => {
                let age = if let Storing::Store(lifetime) = &storing { Some(lifetime.initial_age) } else { None };
                Landed::Part(headers.clone(), following, age)
            }
        };
        let mut draft = None;
        let growth = match storing {
            Storing::Store(lifetime) => {
                headers.remove(header::CONTENT_RANGE);
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.total));
                let head = Arc::new(StoredHead::new(StatusCode::OK, headers));
                draft = self.draft(&head, Some(range), lifetime, vary.clone());
                let part = StorablePart {
                    head,
                    range,
                    body: self.object.clone(),
                    lifetime,
                    since: now,
                    vary,
                    request: &self.asked.headers,
                };
                self.node.store.part_begun(now, self.fetch, part)
            }
            Storing::Refuse(_) => {
                self.forget_on_disk();
                self.node.store.uncacheable(now, self.fetch);
                Growth::Dropped(NotStored::Unknown)
            }
        };
        let body = std::mem::replace(&mut fetched.body, OriginBody::none());
        self.tell(landed, fetched);
        let kept = growth == Growth::Kept;
        if let (true, Some(disk), Some(draft)) = (kept, &self.node.disk, &draft) {
            disk.make_way(draft);
        }
        if !kept {
            self.object.body.keep_no_longer();
            match growth {
                // Others find what has come meanwhile.
                Growth::Dropped(NotStored::Gone | NotStored::Invalidated) => self.node.store.released(self.fetch),
                _ => self.node.store.released_to_one(self.fetch),
            }
        }
        if !self.bring(body, Some(length), kept).await || !kept {
            return;
        }
        if self.object.body.len() == length {
            // Whether it can stay or not, it has answered who asked.
            if self.node.store.part_completed(self.fetch) == Growth::Kept {
                self.write_to_disk(draft, &self.object);
            }
        } else {
            self.node.store.released(self.fetch);
        }
    }

    /// Brings a body to whoever follows; whether it came whole. Where it did not, the fetch is resolved.
    async fn bring(&self, mut body: OriginBody, announced: Option<u64>, mut kept: bool) -> bool {
        let (node, shared) = (&self.node, &self.object.body);
        loop {
            let bytes = tokio::select! {
                biased;
                bytes = poll_fn(|cx| body.poll_bytes(cx)) => bytes,
                () = self.object.unwanted() => {
                    if node.store.abandon(self.fetch, &self.object) {
                        shared.truncate();
                        node.counters.bump(Counter::EdgeFetchesAbandoned);
                        return false;
                    }
                    continue;
                }
            };
            match bytes {
                Some(Ok(bytes)) => {
                    shared.push(bytes);
                    // Room for an announced length was made when the head arrived. Whether it is still there (an
                    // invalidation takes it) matters where memory is short.
                    let is_beyond = announced.is_none_or(|length| shared.len() > length);
                    if kept && (is_beyond || node.is_full_of_bodies()) {
                        kept = node.store.grew(self.fetch, shared.len()) == Growth::Kept;
                        if !kept {
                            shared.keep_no_longer();
                        }
                    }
                    if !kept {
                        let window = || if node.is_full_of_bodies() { 1 } else { node.limits.stream_window_bytes };
                        tokio::select! {
                            () = poll_fn(|cx| shared.poll_room(cx, window())) => {}
                            () = self.object.unwanted() => {}
                        }
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, uri = %self.asked.uri, "a response ended early");
                    shared.truncate();
                    node.counters.bump(Counter::EdgeFetchesTruncated);
                    node.store.aborted(self.fetch);
                    return false;
                }
                None => {
                    shared.finish();
                    return true;
                }
            }
        }
    }

    /// No origin gave a response: a stale one stands in, or the error is stored as CloudFront stores errors.
    fn on_failure(&mut self, failure: FetchFailure) {
        let now = self.node.clock.now();
        if let Some(stale) = self.node.store.failed(now, self.fetch, FetchError::NoResponse) {
            return self.say(Landed::Stale(stale), failure.ledger, None, None);
        }
        let headers = HeaderMap::new();
        match self.assess(failure.status, &headers, &Vary::default(), now, now) {
            Storing::Store(lifetime) => self.store_error(now, &failure, lifetime),
            Storing::Refuse(_) => self.node.store.released(self.fetch),
        }
        let ledger = failure.ledger.clone();
        self.say(Landed::Failed(FetchFailure { ledger: Ledger::default(), ..failure }), ledger, None, None);
    }

    fn store_error(&self, now: Instant, failure: &FetchFailure, lifetime: Lifetime) {
        let storable = Storable {
            head: Arc::new(StoredHead::new(failure.status, HeaderMap::new())),
            body: Object::error(failure.reason),
            bytes: 0,
            complete: true,
            lifetime,
            vary: Vary::default(),
            request: &self.asked.headers,
        };
        // Whether it is stored or not, the fetch is resolved and the viewer gets the error.
        let _ = self.node.store.fetched(now, self.fetch, storable);
    }

    /// Makes headers fit to be stored; what is only for whoever caused the fetch is returned.
    fn receive(&self, headers: &mut HeaderMap) -> HeaderMap {
        let behavior = self.asked.behavior();
        forward::receive_response_headers(headers, behavior, self.node.wall.now());
        forward::withhold(headers, behavior)
    }

    /// What the disk tier may be given once the body is there.
    fn draft(
        &self,
        head: &Arc<StoredHead>,
        part: Option<ContentRange>,
        lifetime: Lifetime,
        vary: Vary,
    ) -> Option<Draft> {
        let disk = self.node.disk.as_ref()?;
        let request = self.asked.head();
        let record = RecordHead {
            distribution: Arc::clone(self.asked.distribution.id()),
            uri: request.uri().into(),
            vary,
            head: Arc::clone(head),
            part,
            lifetime,
            stored_at: self.node.wall.now(),
        };
        Draft::new(disk.seed(), self.ticket?, &request, record)
    }

    /// What the origin has confirmed is written anew where the disk tier has it: what selects it was known when it came,
    /// and is not to be read from the headers that are stored.
    fn confirm_on_disk(&self, head: &Arc<StoredHead>, lifetime: Lifetime, object: &Object) {
        let vary = self.node.disk.as_ref().and_then(|disk| disk.vary(&self.asked.head()));
        self.write_to_disk(vary.and_then(|vary| self.draft(head, None, lifetime, vary)), object);
    }

    fn write_to_disk(&self, draft: Option<Draft>, object: &Object) {
        if let (Some(disk), Some(draft), Some(body)) = (&self.node.disk, draft, object.body.sealed()) {
            disk.write(draft, body);
        }
    }

    /// What has arrived takes the place of what was stored, also where it may not be stored itself. So does a response to
    /// HEAD, which may describe another one than what lies there (RFC 9111 section 4.3.5); the next response to GET is
    /// written again.
    fn forget_on_disk(&self) {
        if let Some(disk) = &self.node.disk {
            disk.forget(&self.asked.head());
        }
    }

    fn assess(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        vary: &Vary,
        requested_at: Instant,
        responded_at: Instant,
    ) -> Storing {
        let (behavior, date) = (self.asked.behavior(), self.node.wall.now());
        let authorized = behavior.forwards_authorization_of(&self.asked.headers);
        let storing = freshness::assess(&Arrival {
            status,
            said: &Said::of(headers, behavior.cache_policy().rules),
            vary,
            requested_at,
            responded_at,
            date,
            policy: behavior.cache_policy(),
            error_ttl_min: self.asked.distribution.error_pages().ttl(status),
            authorized,
        });
        if let Some(log) = &self.node.decisions {
            let arrived = Arrived { status, headers, requested_at, responded_at, date, authorized };
            log.judged(log.place(&self.asked.distribution, behavior), &arrived, &storing);
        }
        storing
    }

    fn tell_own(&mut self, mut fetched: Fetched, may_be_stored: bool) {
        let (ledger, status, parent) =
            (std::mem::take(&mut fetched.ledger), Some(fetched.status), fetched.parent.clone());
        self.say(Landed::Own(Box::new(Own { fetched, may_be_stored })), ledger, status, parent);
    }

    fn tell(&mut self, landed: Landed, fetched: Fetched) {
        self.say(landed, fetched.ledger, Some(fetched.status), fetched.parent);
    }

    fn say(&mut self, landed: Landed, ledger: Ledger, status: Option<StatusCode>, parent: Option<FromParent>) {
        if let Some(tell) = self.tell.take() {
            // Whoever caused the fetch may have left.
            let own = std::mem::take(&mut self.own);
            let _ = tell.send(Flown { landed, ledger, status, parent, own });
        }
    }
}
