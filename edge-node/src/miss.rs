//! What happens once the store has spoken: a hit is served, a miss fetched, a fetch shared, a stale response refreshed.
//!
//! A fetch runs in a task of its own ([`crate::lead`]), so that it outlives the viewer who caused it where others want
//! it too. Those who wait look up again when there is something to find.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::Bytes;
use cdn_core::{
    Counter, Reason,
    cache_key::CacheKey,
    conditional::{self, Verdict},
    forward::{Conditions, XCache},
    parents::ParentWay,
    range::{self, ByteRange, Extent},
    store::{Run, StoredHead},
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    asked::Asked,
    body::{ResponseBody, Source, Stretch},
    connection::Outgoing,
    fetch::{FromParent, Want, fetch},
    lead::{self, Flown, Landed},
    node::Node,
    object::{Following, Object},
    pass::{fail, is_error, relay},
    promote::{self, Promotion},
    respond::{Refusal, Story},
    service::{Answer, Case},
    store::{self, Again, Found, Join, Lead},
};

/// Asks the store. A hit is answered at once.
pub(crate) fn look_up(case: Case, asked: Asked) -> Answer {
    let node = &case.node;
    let head = asked.head();
    let key = head.key(node.store.seed());
    let now = node.clock.now();
    let found = node.store.lookup(now, key, &head);
    let lookup = node.clock.now() - case.began;
    let story = Story::new(XCache::Hit, Reason::Hit, lookup);
    match found {
        Found::Hit(served, following) => Answer::Now(Some(hit(case, &asked, served, following, story))),
        Found::Parts(parts, followings) => {
            case.node.counters.bump(Counter::EdgeHits);
            let story = parts_story(&parts, story);
            Answer::Now(Some(from_parts(case, &asked, parts, followings, story)))
        }
        Found::Stale(served, refresh) => {
            if let Some(refresh) = refresh {
                lead::refresh(Arc::clone(&case.node), asked.clone(), refresh);
            }
            Answer::Now(Some(stale(case, &asked, served, Reason::HitStaleWhileRevalidate, story)))
        }
        Found::StaleOnError(served) => Answer::Now(Some(stale(case, &asked, served, Reason::HitStaleOnError, story))),
        Found::StaleAccepted(served) => Answer::Now(Some(stale(case, &asked, served, Reason::HitStaleAccepted, story))),
        // What memory lacks the disk tier may have.
        Found::OnlyIfCached(Reason::MissAbsent | Reason::MissPart)
            if node.disk.as_ref().is_some_and(|disk| disk.has(key, &head)) =>
        {
            Answer::Later(Box::pin(from_disk(case, asked, key, story)))
        }
        Found::OnlyIfCached(_) => Answer::Now(Some(case.refuse(Refusal::new(Reason::OnlyIfCached)))),
        // The viewer may leave before the first of these is polled.
        Found::Lead(lead) => {
            let leading = Leading { node: Arc::clone(node), lead: Some(lead) };
            Answer::Later(Box::pin(take_lead(case, asked, key, leading, story)))
        }
        Found::Join(join) => {
            let waiting = Waiting { node: Arc::clone(node), join: Some(join) };
            Answer::Later(Box::pin(wait(case, asked, key, waiting, story)))
        }
        Found::Alone(reason) => Answer::Later(Box::pin(alone(case, asked, reason, story))),
    }
}

/// The answer that is stored, complete and fresh, if there is one, and no error. Where there is none nothing has
/// happened.
pub(crate) fn look_for_hit(case: Case, asked: &Asked) -> Option<Outgoing> {
    let node = &case.node;
    let head = asked.head();
    let served = node.store.hit(case.began, head.key(node.store.seed()), &head)?;
    let (status, head, mut body) = select(asked, &served, None);
    // An error may have a page in its place, also where it is the viewer's range or precondition that made it one.
    if is_error(status) {
        return None;
    }
    node.counters.bump(Counter::EdgeRequests);
    node.counters.bump(Counter::EdgeHits);
    let story = hit_story(&served, Story::new(XCache::Hit, Reason::Hit, node.clock.now() - case.began));
    let mut lines = Outgoing::begin(status, served.head.len());
    match head {
        Head::Stored(head) => head.write_to(&mut lines),
        Head::Own(headers) => lines.extend(&headers),
    }
    case.complete(status, &mut lines, &mut body, story);
    Some(Outgoing::new(&asked.method, status, lines, body))
}

/// Finds it on the disk tier, or fetches it, for this viewer and whoever joins.
async fn take_lead(
    case: Case,
    asked: Asked,
    key: CacheKey,
    mut leading: Leading,
    mut story: Story,
) -> Response<ResponseBody> {
    let node = Arc::clone(&case.node);
    let Some(lead) = leading.lead.take() else {
        return case.fail(Refusal::new(Reason::Internal), story.lookup, story.ledger);
    };
    if node.is_full_of_bodies() {
        lead::shed(&node, lead);
        node.counters.bump(Counter::EdgeMisses);
        return case.fail(Refusal::new(Reason::InflightLimit), story.lookup, story.ledger);
    }
    let asked = Arc::new(asked);
    let began = node.clock.now();
    let mut reason = lead.begun.reason;
    let lead = match promote::promote(&node, &asked, key, lead).await {
        Promotion::Nothing(lead) => lead,
        Promotion::Failed(lead, why) => {
            reason = why;
            lead
        }
        // What was on the disk is in memory now, and the store says what that is good for.
        Promotion::Done => {
            let now = node.clock.now();
            story.ledger.span(node.tier, "disk", None, now - began);
            match node.store.lookup(now, key, &asked.head()) {
                Found::Lead(lead) => {
                    reason = lead.begun.reason;
                    lead
                }
                found => {
                    return found_again(case, Arc::unwrap_or_clone(asked), key, found, Reason::HitDisk, story).await;
                }
            }
        }
        Promotion::Lost => {
            return case.fail(Refusal::new(Reason::Internal), story.lookup, story.ledger);
        }
    };
    story.x_cache = XCache::Miss;
    story.reason = reason;
    let flown = lead::fly(node, Arc::clone(&asked), lead, case.interims()).await;
    land(case, &asked, flown, story)
}

/// Finds it on the disk tier, for a viewer who wants nobody asked.
async fn from_disk(case: Case, asked: Asked, key: CacheKey, mut story: Story) -> Response<ResponseBody> {
    let node = Arc::clone(&case.node);
    let asked = Arc::new(asked);
    let began = node.clock.now();
    let lead = node.store.begin_for(began, key, &asked.head(), Reason::MissAbsent);
    match promote::promote(&node, &asked, key, lead).await {
        Promotion::Nothing(lead) | Promotion::Failed(lead, _) => node.store.released(lead.fetch()),
        Promotion::Done | Promotion::Lost => {}
    }
    let now = node.clock.now();
    story.ledger.span(node.tier, "disk", None, now - began);
    let found = node.store.lookup(now, key, &asked.head());
    found_again(case, Arc::unwrap_or_clone(asked), key, found, Reason::HitDisk, story).await
}

/// Answers with what a fetch brought.
pub(crate) fn land(case: Case, asked: &Asked, flown: Option<Flown>, mut story: Story) -> Response<ResponseBody> {
    let node = Arc::clone(&case.node);
    let Some(flown) = flown else {
        node.counters.bump(Counter::EdgeMisses);
        return case.fail(Refusal::new(Reason::Internal), story.lookup, story.ledger);
    };
    story.ledger.append(&flown.ledger);
    story.forwarded_status = flown.status;
    let count = match &flown.landed {
        Landed::Refreshed(_) => Counter::EdgeRefreshHits,
        Landed::Stale(_) => Counter::EdgeHits,
        _ => Counter::EdgeMisses,
    };
    node.counters.bump(count);
    if let Some(parent) = flown.parent {
        from_parent(&case, &mut story, parent);
    }
    match flown.landed {
        Landed::Stored { served, following, stays, in_full } => {
            story.stored = stays;
            story.own = flown.own;
            if matches!(story.reason, Reason::HitRegional | Reason::HitShield) {
                story.age = Some(served.age);
            }
            if in_full && asked.headers.contains_key(header::RANGE) {
                let mut asked = asked.clone();
                asked.headers.remove(header::RANGE);
                return serve(case, &asked, served, following, story);
            }
            serve(case, asked, served, following, story)
        }
        Landed::Part(headers, following, age) => {
            story.own = flown.own;
            story.age = age.filter(|_| case.tells_age());
            let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            let mut response = Response::new(ResponseBody::new(Source::Shared { following, length, done: false }));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            *response.headers_mut() = headers;
            response.headers_mut().extend(std::mem::take(&mut story.own));
            case.answer(response, story)
        }
        Landed::Completed(parts, following) => {
            story.own = flown.own;
            story.age = Some(parts.age).filter(|_| case.tells_age());
            from_parts(case, asked, parts, vec![following], story)
        }
        Landed::Refreshed(served) => {
            story.x_cache = XCache::RefreshHit;
            story.reason = Reason::RefreshHit;
            story.own = flown.own;
            serve(case, asked, served, None, story)
        }
        Landed::Stale(served) => {
            node.counters.bump(Counter::EdgeStaleServed);
            story.x_cache = XCache::Hit;
            story.reason = Reason::HitStaleOnError;
            story.age = Some(served.age);
            serve(case, asked, served, None, story)
        }
        Landed::Own(fetched) => {
            if story.x_cache == XCache::Miss && !fetched.may_be_stored {
                story.reason = Reason::MissUncacheable;
            }
            relay(case, asked, fetched.fetched, story)
        }
        Landed::Failed(failure) => fail(case, failure, story),
    }
}

/// Waits for somebody else's fetch, and asks again.
async fn wait(
    case: Case,
    asked: Asked,
    key: CacheKey,
    mut waiting: Waiting,
    mut story: Story,
) -> Response<ResponseBody> {
    let node = Arc::clone(&case.node);
    node.counters.bump(Counter::EdgeCollapsed);
    let since = node.clock.now();
    loop {
        let mut again = Again::Ask;
        if let Some(join) = &mut waiting.join {
            match tokio::time::timeout(node.store.wait_max(), join.again()).await {
                Ok(how) => again = how,
                Err(_) => node.store.on_overdue(node.clock.now(), join),
            }
        }
        waiting.end();
        let now = node.clock.now();
        if again == Again::Alone {
            story.ledger.span(node.tier, "collapsed", None, now - since);
            return alone(case, asked, Reason::MissUncacheable, story).await;
        }
        let found = node.store.lookup(now, key, &asked.head());
        if let Found::Join(join) = found {
            waiting.join = Some(join);
            continue;
        }
        story.ledger.span(node.tier, "collapsed", None, now - since);
        story.collapsed = true;
        return found_again(case, asked, key, found, Reason::HitCollapsed, story).await;
    }
}

/// Answers with what the store says after somebody waited for it; `reason` is that of a hit.
fn found_again(
    case: Case,
    asked: Asked,
    key: CacheKey,
    found: Found,
    reason: Reason,
    mut story: Story,
) -> Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>> {
    Box::pin(async move {
        match found {
            Found::Hit(served, following) => {
                story.reason = reason;
                hit(case, &asked, served, following, story)
            }
            Found::Parts(parts, followings) => {
                case.node.counters.bump(Counter::EdgeHits);
                story.reason = reason;
                let story = parts_story(&parts, story);
                from_parts(case, &asked, parts, followings, story)
            }
            Found::Stale(served, refresh) => {
                if let Some(refresh) = refresh {
                    lead::refresh(Arc::clone(&case.node), asked.clone(), refresh);
                }
                stale(case, &asked, served, Reason::HitStaleWhileRevalidate, story)
            }
            Found::StaleOnError(served) => stale(case, &asked, served, Reason::HitStaleOnError, story),
            Found::StaleAccepted(served) => stale(case, &asked, served, Reason::HitStaleAccepted, story),
            Found::OnlyIfCached(_) => case.refuse(Refusal::new(Reason::OnlyIfCached)),
            Found::Lead(lead) => {
                let leading = Leading { node: Arc::clone(&case.node), lead: Some(lead) };
                take_lead(case, asked, key, leading, story).await
            }
            Found::Join(join) => {
                let waiting = Waiting { node: Arc::clone(&case.node), join: Some(join) };
                wait(case, asked, key, waiting, story).await
            }
            Found::Alone(reason) => alone(case, asked, reason, story).await,
        }
    })
}

/// Resolves a fetch that was never begun, because its viewer left before: those who wait go on.
struct Leading {
    node: Arc<Node>,
    lead: Option<Lead>,
}

impl Drop for Leading {
    fn drop(&mut self) {
        if let Some(lead) = self.lead.take() {
            self.node.store.released(lead.fetch());
        }
    }
}

/// Takes the viewer out of those who wait, also when it leaves.
struct Waiting {
    node: Arc<Node>,
    join: Option<Join>,
}

impl Waiting {
    fn end(&mut self) {
        if let Some(join) = self.join.take() {
            self.node.store.leave(join);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks behind for this viewer only; nothing is stored.
async fn alone(case: Case, asked: Asked, reason: Reason, mut story: Story) -> Response<ResponseBody> {
    case.node.counters.bump(Counter::EdgePasses);
    story.x_cache = XCache::Miss;
    story.reason = reason;
    let interims = case.interims();
    let want =
        Want { conditions: Conditions::Viewer, way: ParentWay::default(), upgrade: None, interims: interims.as_ref() };
    match fetch(&case.node, &asked, want, None).await {
        Ok(fetched) => relay(case, &asked, fetched, story),
        Err(failure) => fail(case, failure, story),
    }
}

fn from_parent(case: &Case, story: &mut Story, parent: FromParent) {
    if let Some(reason) = parent.hit_reason() {
        if let Some(counter) = parent.tier.hit_counter(reason) {
            case.node.counters.bump(counter);
        }
        story.x_cache = XCache::Hit;
        story.reason = reason;
    }
    story.behind = parent.cache_status;
}

fn hit(
    case: Case,
    asked: &Asked,
    served: store::Response,
    following: Option<Following>,
    story: Story,
) -> Response<ResponseBody> {
    case.node.counters.bump(Counter::EdgeHits);
    let story = hit_story(&served, story);
    serve(case, asked, served, following, story)
}

fn hit_story(served: &store::Response, story: Story) -> Story {
    Story { age: Some(served.age), fresh_for: Some(served.fresh_for), ..story }
}

fn parts_story(parts: &store::Parts, story: Story) -> Story {
    Story { age: Some(parts.age), fresh_for: Some(parts.fresh_for), ..story }
}

fn stale(
    case: Case,
    asked: &Asked,
    served: store::Response,
    reason: Reason,
    mut story: Story,
) -> Response<ResponseBody> {
    case.node.counters.bump(Counter::EdgeHits);
    case.node.counters.bump(Counter::EdgeStaleServed);
    story.reason = reason;
    story.age = Some(served.age);
    serve(case, asked, served, None, story)
}

/// Answers from what is stored or arriving, by this viewer's preconditions and range.
fn serve(
    case: Case,
    asked: &Asked,
    served: store::Response,
    following: Option<Following>,
    mut story: Story,
) -> Response<ResponseBody> {
    let status = served.head.status();
    if case.tells_age() {
        story.age = Some(served.age);
    }
    if is_error(status) {
        story.x_cache = XCache::Error;
        story.reason = if story.forwarded_status.is_none() { Reason::ErrorCached } else { Reason::OriginError };
        if let Some(reason) = served.body.error {
            return case.repeat_error(Refusal { status, reason }, story);
        }
    }
    let (status, head, body) = select(asked, &served, following);
    if is_error(status) {
        story.x_cache = XCache::Error;
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = match head {
        Head::Stored(head) => head.headers(),
        Head::Own(headers) => headers,
    };
    response.headers_mut().extend(std::mem::take(&mut story.own));
    case.answer(response, story)
}

/// The head of an answer from the store.
enum Head {
    /// What is stored, as it is.
    Stored(Arc<StoredHead>),
    /// Made for this viewer.
    Own(HeaderMap),
}

/// What this viewer gets of a stored response, by its preconditions and range.
fn select(asked: &Asked, served: &store::Response, following: Option<Following>) -> (StatusCode, Head, ResponseBody) {
    let status = served.head.status();
    if !conditional::is_conditional(&asked.headers) {
        return (status, Head::Stored(Arc::clone(&served.head)), whole(served, following));
    }
    let stored = served.head.headers();
    let (status, headers, body) = match conditional::evaluate(&asked.method, &asked.headers, status, &stored) {
        Verdict::NotModified => {
            (StatusCode::NOT_MODIFIED, conditional::not_modified_headers(stored), ResponseBody::empty())
        }
        Verdict::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, without_length(stored), ResponseBody::empty()),
        Verdict::Full => extent(asked, served, stored, following),
    };
    (status, Head::Own(headers), body)
}

/// Answers from parts, those that are stored and those that are arriving.
fn from_parts(
    case: Case,
    asked: &Asked,
    parts: store::Parts,
    followings: Vec<Following>,
    mut story: Story,
) -> Response<ResponseBody> {
    let (stored, total) = (parts.head.headers(), parts.total);
    let stretches = stretches(parts.runs, followings);
    let (status, headers, body) =
        match conditional::evaluate(&asked.method, &asked.headers, parts.head.status(), &stored) {
            Verdict::NotModified => {
                (StatusCode::NOT_MODIFIED, conditional::not_modified_headers(stored), ResponseBody::empty())
            }
            Verdict::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, without_length(stored), ResponseBody::empty())
            }
            Verdict::Full => match parts.wanted {
                Extent::Whole => (StatusCode::OK, stored, ResponseBody::spliced(stretches)),
                Extent::Part(part) => {
                    (StatusCode::PARTIAL_CONTENT, headers_of(stored, part, total), ResponseBody::spliced(stretches))
                }
                Extent::Parts(ranges) => {
                    // Several parts are answered from what is at hand alone.
                    let here = |stretch| if let Stretch::Here(bytes) = stretch { Some(bytes) } else { None };
                    let mut pieces = stretches.into_iter().filter_map(here).collect();
                    let (headers, body) = multipart(stored, &ranges, total, |part| take(&mut pieces, part.length()));
                    (StatusCode::PARTIAL_CONTENT, headers, body)
                }
                Extent::Unsatisfiable => unsatisfiable(stored, total),
            },
        };
    if is_error(status) {
        story.x_cache = XCache::Error;
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().extend(std::mem::take(&mut story.own));
    case.answer(response, story)
}

/// Runs as bytes, with a reader for each that is not stored.
fn stretches(runs: Vec<Run<Object>>, followings: Vec<Following>) -> VecDeque<Stretch> {
    let mut followings = followings.into_iter();
    let mut stretches = VecDeque::new();
    for run in runs {
        match run {
            Run::Stored { body, within } => {
                stretches.extend(cut(body.body.sealed().unwrap_or_default(), within).map(Stretch::Here));
            }
            Run::Arriving { within, .. } => {
                let left = within.length();
                stretches.extend(followings.next().map(|following| Stretch::Arriving { following, left }));
            }
            // What was asked for to complete them, from its first byte on.
            Run::Lacking(range) => stretches.extend(followings.next().map(|mut following| {
                following.reader.limit(0, range.length());
                Stretch::Arriving { following, left: range.length() }
            })),
        }
    }
    stretches
}

/// Takes the first `length` bytes off a row of pieces.
fn take(pieces: &mut VecDeque<Bytes>, mut length: u64) -> Vec<Bytes> {
    let mut taken = Vec::new();
    while length > 0
        && let Some(mut piece) = pieces.pop_front()
    {
        if piece.len() as u64 > length {
            pieces.push_front(piece.split_off(usize::try_from(length).unwrap_or(usize::MAX)));
        }
        length -= piece.len() as u64;
        taken.push(piece);
    }
    taken
}

/// The headers of one part.
fn headers_of(stored: HeaderMap, part: ByteRange, total: u64) -> HeaderMap {
    let mut headers = stored;
    headers.insert(header::CONTENT_RANGE, part.content_range(total));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.length()));
    headers
}

fn unsatisfiable(stored: HeaderMap, total: u64) -> (StatusCode, HeaderMap, ResponseBody) {
    let mut headers = without_length(stored);
    headers.insert(header::CONTENT_RANGE, range::content_range_unsatisfiable(total));
    (StatusCode::RANGE_NOT_SATISFIABLE, headers, ResponseBody::empty())
}

/// The whole body or the part that was asked for.
fn extent(
    asked: &Asked,
    served: &store::Response,
    stored: HeaderMap,
    following: Option<Following>,
) -> (StatusCode, HeaderMap, ResponseBody) {
    let status = served.head.status();
    let sealed = served.body.body.sealed();
    let total = match sealed {
        Some(blocks) if !blocks.is_empty() => Some(blocks.iter().map(|block| block.len() as u64).sum()),
        _ => announced(served),
    };
    let extent = match total {
        Some(total) if asked.headers.contains_key(header::RANGE) => {
            range::evaluate(&asked.method, &asked.headers, status, &stored, total)
        }
        _ => Extent::Whole,
    };
    let total = total.unwrap_or_default();
    let part = match extent {
        Extent::Part(part) => part,
        Extent::Unsatisfiable => return unsatisfiable(stored, total),
        Extent::Parts(parts) if sealed.is_some() => {
            let blocks = sealed.unwrap_or_default();
            let (headers, body) = multipart(stored, &parts, total, |part| cut(blocks, part).collect());
            return (StatusCode::PARTIAL_CONTENT, headers, body);
        }
        Extent::Whole | Extent::Parts(_) => return (status, stored, whole(served, following)),
    };
    let headers = headers_of(stored, part, total);
    let body = match sealed {
        Some(blocks) => ResponseBody::pieces(cut(blocks, part).collect()),
        None => arriving(following, part.first, Some(part.length())),
    };
    (StatusCode::PARTIAL_CONTENT, headers, body)
}

/// The whole body; nothing of it is copied.
fn whole(served: &store::Response, following: Option<Following>) -> ResponseBody {
    match served.body.body.sealed() {
        Some([]) => ResponseBody::empty(),
        Some([only]) => ResponseBody::whole(only.clone()),
        Some(blocks) => ResponseBody::pieces(blocks.iter().cloned().collect()),
        None => arriving(following, 0, announced(served)),
    }
}

/// The length that the origin announced.
fn announced(served: &store::Response) -> Option<u64> {
    str::from_utf8(served.head.first(&header::CONTENT_LENGTH)?).ok()?.parse().ok()
}

fn arriving(following: Option<Following>, first: u64, length: Option<u64>) -> ResponseBody {
    let Some(mut following) = following else { return ResponseBody::truncated() };
    if let Some(length) = length {
        following.reader.limit(first, length);
    }
    ResponseBody::new(Source::Shared { following, length, done: length == Some(0) })
}

/// The pieces of a part, without copying.
fn cut(blocks: &[Bytes], part: ByteRange) -> impl Iterator<Item = Bytes> {
    let mut at = 0;
    blocks.iter().filter_map(move |block| {
        let (start, end) = (at, at + block.len() as u64);
        at = end;
        let first = part.first.max(start);
        let last = (part.last + 1).min(end);
        let within = |position: u64| usize::try_from(position - start).unwrap_or(usize::MAX);
        (first < last).then(|| block.slice(within(first)..within(last)))
    })
}

/// Several parts (RFC 9110 section 14.6). The boundary cannot occur by chance: it is long, and bodies do not know it.
fn multipart(
    stored: HeaderMap,
    parts: &[ByteRange],
    total: u64,
    mut bytes_of: impl FnMut(ByteRange) -> Vec<Bytes>,
) -> (HeaderMap, ResponseBody) {
    const BOUNDARY: &str = "CloudFront-6e9b7f6b0c8f4b5c9a1d-Isochrone";
    let mut headers = without_length(stored);
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    let mut pieces = VecDeque::new();
    for part in parts {
        let mut head = format!("\r\n--{BOUNDARY}\r\n").into_bytes();
        if let Some(kind) = &kind {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(kind.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"Content-Range: ");
        head.extend_from_slice(part.content_range(total).as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        pieces.push_back(Bytes::from(head));
        pieces.extend(bytes_of(*part));
    }
    pieces.push_back(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n")));
    let kind = format!("multipart/byteranges; boundary={BOUNDARY}");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("")));
    (headers, ResponseBody::pieces(pieces))
}

/// The length is of another body.
fn without_length(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(header::CONTENT_LENGTH);
    headers
}
