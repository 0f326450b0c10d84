//! Ranges from the store: answered from parts, completed by what lacks, kept as they come.
//!
//! Decides whether stored parts answer a request, and if not quite, which one stretch to ask for (RFC 9111 sections 3.3
//! and 3.4). What is asked of the origin is what lacks; what several gaps or no strong validator forbid to combine is
//! asked for as the viewer did. A part that is arriving answers who can follow it, so that many who want it ask once.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::{
    CacheShard, FetchId, Growth, Lookup, NotStored, StoredHead, Wanted,
    entry::{Content, Entry, Selector, StoredParts},
    parts::{Parts, Run},
    slots::{NONE, SlotId},
};
use crate::{
    Counter, Instant, Reason,
    cache_key::{CacheKey, RequestHead},
    conditional::{self, Verdict, strong_validator},
    forward::Conditions,
    freshness::Lifetime,
    range::{self, ByteRange, ContentRange, Extent},
    request_control::{Freshness, RequestControl},
    vary::Vary,
};

/// Parts of a stored response, as they are handed out.
#[derive(Clone, Debug)]
pub struct ServedParts<B> {
    /// The head of the whole, without `Age`: status 200.
    pub head: Arc<StoredHead>,
    /// Bytes of the whole.
    pub total: u64,
    /// What the request wants of it.
    pub wanted: Extent,
    /// The wanted bytes, in order; none where the request wants none ([`Extent::Unsatisfiable`], HEAD, a precondition
    /// that answers it).
    pub runs: Vec<Run<B>>,
    /// Its age.
    pub age: Duration,
    /// How long it stays fresh.
    pub fresh_for: Duration,
}

/// What is stored of an answer, and the one stretch that lacks.
#[derive(Clone, Debug)]
pub struct Lacking<B> {
    /// The answer, with the stretch among its runs.
    pub answer: ServedParts<B>,
    /// The stretch.
    pub range: ByteRange,
    /// What the whole is known by.
    validator: HeaderValue,
}

/// A part whose head has arrived. Freshness said [`crate::freshness::Storing::Store`] of a 200 with its headers.
#[derive(Clone, Debug)]
pub struct StorablePart<'a, B> {
    /// The head of the whole: status 200, without `Content-Range`, with the whole's length.
    pub head: Arc<StoredHead>,
    /// Which part.
    pub range: ContentRange,
    /// The handle through which its bytes can be followed.
    pub body: B,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// When its head arrived.
    pub since: Instant,
    /// What its `Vary` demands.
    pub vary: Vary,
    /// The viewer's headers of the request that it answers.
    pub request: &'a HeaderMap,
}

/// Parts of one representation that lay on the disk tier.
#[derive(Clone, Debug)]
pub struct RestoredParts<'a, B> {
    /// The head of the whole, as for [`StorablePart`].
    pub head: Arc<StoredHead>,
    /// Bytes of the whole.
    pub total: u64,
    /// Which bytes each has, and they.
    pub pieces: Vec<(ByteRange, B)>,
    /// How long they may be used from `since` on.
    pub lifetime: Lifetime,
    /// A moment at which they had the age that `lifetime` begins with.
    pub since: Instant,
    /// What its `Vary` demands.
    pub vary: Vary,
    /// The viewer's headers of the request that they answer.
    pub request: &'a HeaderMap,
}

impl<B> Lacking<B> {
    /// How the request to the origin asks for the stretch.
    pub const fn conditions(&self) -> Conditions<'_> {
        let to_end = self.range.last + 1 == self.answer.total;
        Conditions::Lacking { range: self.range, to_end, validator: &self.validator }
    }

    /// Whether a 206 with these headers is the stretch, of the same representation.
    pub fn is_completed_by(&self, headers: &HeaderMap) -> bool {
        let expected = ContentRange { part: self.range, total: self.answer.total };
        ContentRange::of(headers) == Some(expected) && strong_validator(headers).as_ref() == Some(&self.validator)
    }
}

/// What becomes of a request of which parts are stored.
pub(super) enum Judgement<B> {
    /// They answer it, with the help of these fetches, which are under way.
    Serve(ServedParts<B>, Vec<SlotId>),
    /// The origin is asked.
    Ask(Box<Wanted<B>>),
}

impl<B: Clone> StoredParts<B> {
    pub(super) fn freshness(&self, now: Instant) -> Freshness {
        let until = self.since + self.lifetime.fresh_for;
        Freshness {
            age: self.lifetime.initial_age.saturating_add(now.saturating_since(self.since)),
            fresh_for: until.saturating_since(now),
            stale_for: now.saturating_since(until),
            may_be_stale: false,
        }
    }

    /// What of it a request wants.
    /// What becomes of a request for some of them.
    pub(super) fn judge(&self, now: Instant, request: &RequestHead<'_>, control: &RequestControl) -> Judgement<B> {
        if let Some(reason) = self.refused(now, control) {
            return Judgement::Ask(Box::new(Wanted::new(reason)));
        }
        let answer = self.answer(now, request);
        let stretch = match &answer.wanted {
            Extent::Whole => self.parts.total.checked_sub(1).map(|last| ByteRange { first: 0, last }),
            Extent::Part(part) => Some(*part),
            Extent::Parts(_) | Extent::Unsatisfiable => None,
        };
        let (gap, more) = (gaps_of(&answer.runs).next(), gaps_of(&answer.runs).nth(1).is_some());
        let Some(gap) = gap else { return Judgement::Serve(answer, Vec::new()) };
        let Some(stretch) = stretch else { return Judgement::Ask(Box::new(Wanted::new(Reason::MissPart))) };
        // What is arriving will do where nothing else lacks.
        let runs = self.parts.runs_soon(stretch);
        if gaps_of(&runs).next().is_none() {
            return Judgement::Serve(ServedParts { runs, ..answer }, self.parts.fetches(stretch).collect());
        }
        // A fetch of the whole takes the place of the parts where more than one stretch lacks.
        let validator = self.validator.clone().filter(|_| !more && request.revalidates());
        let lacking = validator.map(|validator| Lacking { answer, range: gap, validator });
        Judgement::Ask(Box::new(Wanted { lacking, ..Wanted::new(Reason::MissPart) }))
    }

    /// Why they are not good enough for a request, whichever of them it asks for.
    fn refused(&self, now: Instant, control: &RequestControl) -> Option<Reason> {
        let freshness = self.freshness(now);
        match (control.accepts(freshness), freshness.fresh_for.is_zero()) {
            (true, _) => None,
            (false, false) => Some(Reason::MissRequestControl),
            (false, true) => Some(Reason::MissExpired),
        }
    }

    fn answer(&self, now: Instant, request: &RequestHead<'_>) -> ServedParts<B> {
        let Freshness { age, fresh_for, .. } = self.freshness(now);
        let (headers, total) = (self.head.headers(), self.parts.total);
        let untouched =
            conditional::evaluate(request.method, request.headers, StatusCode::OK, &headers) == Verdict::Full;
        let wanted = range::evaluate(request.method, request.headers, StatusCode::OK, &headers, total);
        let runs = match &wanted {
            _ if !untouched || *request.method == Method::HEAD || total == 0 => Vec::new(),
            Extent::Whole => self.parts.runs(ByteRange { first: 0, last: total - 1 }),
            Extent::Part(part) => self.parts.runs(*part),
            Extent::Parts(parts) => parts.iter().flat_map(|part| self.parts.runs(*part)).collect(),
            Extent::Unsatisfiable => Vec::new(),
        };
        ServedParts { head: Arc::clone(&self.head), total, wanted, runs, age, fresh_for }
    }
}

impl<B: Clone> CacheShard<B> {
    /// [`CacheShard::lookup`] where parts are stored.
    pub(super) fn look_up_parts(
        &mut self,
        now: Instant,
        key: CacheKey,
        request: &RequestHead<'_>,
        control: &RequestControl,
        at: u32,
    ) -> Lookup<B> {
        let Some(Entry { content: Content::Parts(stored), last_hit, .. }) = self.entries.at_mut(at) else {
            return self.ask(now, key, request, control, Wanted::new(Reason::MissAbsent));
        };
        *last_hit = now;
        let judged = stored.judge(now, request, control);
        // What is too old for a request is not used by it.
        if stored.listed && stored.refused(now, control).is_none() {
            self.eviction.on_hit(at);
        }
        match judged {
            Judgement::Serve(answer, followed) => {
                for id in followed {
                    if let Some(fetch) = self.fetches.get_mut(id) {
                        fetch.admitted = true;
                    }
                }
                Lookup::Parts(answer)
            }
            Judgement::Ask(wanted) => self.ask(now, key, request, control, *wanted),
        }
    }

    /// The head of a part is there. It joins the parts of the same representation, or takes the place of what is stored
    /// of another, and can be followed while it arrives. Its bytes count until the fetch is resolved, by
    /// [`part_completed`](Self::part_completed) or any other way. Where it is not kept nobody joins the fetch any more,
    /// which is still to be resolved.
    pub fn part_begun(&mut self, now: Instant, id: FetchId, part: StorablePart<'_, B>) -> Growth {
        let bytes = part.range.part.length();
        let growth = match self.fetches.get(id.0) {
            None => return Growth::Dropped(NotStored::Unknown),
            Some(fetch) if fetch.part_of.is_some() || fetch.entry.is_some() => {
                return Growth::Dropped(NotStored::Unknown);
            }
            Some(fetch) if fetch.invalidated => Growth::Dropped(NotStored::Invalidated),
            Some(_) if part.vary == Vary::Any => Growth::Dropped(NotStored::VaryAny),
            Some(_) => self.reserve(id, bytes),
        };
        let growth = if growth == Growth::Kept { self.place_part(now, id, part) } else { growth };
        if let Some(fetch) = self.fetches.get_mut(id.0) {
            fetch.waiters = 0;
            if growth != Growth::Kept {
                fetch.joinable = false;
                self.give_back(id);
            }
        }
        growth
    }

    /// The disk tier has parts of what a fetch was to bring. They join those of the same representation, which are at
    /// least as new, or take the place of what is stored of another. Resolves the fetch.
    pub fn parts_restored(&mut self, now: Instant, id: FetchId, restored: RestoredParts<'_, B>) -> Growth {
        let RestoredParts { head, total, pieces, lifetime, since, vary, request } = restored;
        match self.fetches.get(id.0) {
            None => return Growth::Dropped(NotStored::Unknown),
            Some(fetch) if fetch.invalidated => {
                self.end_without_body(id);
                return Growth::Dropped(NotStored::Invalidated);
            }
            Some(_) => {}
        }
        let mut growth = Growth::Dropped(NotStored::Gone);
        for (part, body) in pieces {
            let (head, vary, range) = (Arc::clone(&head), vary.clone(), ContentRange { part, total });
            let storable = StorablePart { head, range, body: body.clone(), lifetime, since, vary, request };
            let placed = match self.reserve(id, part.length()) {
                Growth::Kept => self.home_of_part(now, id, &storable).map(|at| self.add_part(at, id, part, body)),
                dropped @ Growth::Dropped(_) => Ok(dropped),
            };
            match placed {
                // Only what was admitted was ever written there.
                Ok(Growth::Kept) => growth = self.complete_part(id),
                // It is here already, or there is no room for it.
                _ => self.give_back(id),
            }
        }
        self.end_without_body(id);
        growth
    }

    /// Gives back the room that was made for a part.
    fn give_back(&mut self, id: FetchId) {
        let Some(fetch) = self.fetches.get_mut(id.0) else { return };
        let reserved = std::mem::take(&mut fetch.reserved);
        self.bytes -= reserved;
        self.counters.sub(Counter::EdgeStoreBytes, reserved);
    }

    /// Makes room for a part that is arriving.
    fn reserve(&mut self, id: FetchId, bytes: u64) -> Growth {
        if bytes > self.settings.object_bytes_max {
            self.counters.bump(Counter::EdgeObjectsTooLarge);
            return Growth::Dropped(NotStored::TooLarge);
        }
        if !self.make_room(bytes) {
            return Growth::Dropped(NotStored::NoRoom);
        }
        let Some(fetch) = self.fetches.get_mut(id.0) else { return Growth::Dropped(NotStored::Unknown) };
        fetch.reserved += bytes;
        self.bytes += bytes;
        self.counters.add(Counter::EdgeStoreBytes, bytes);
        Growth::Kept
    }

    /// Puts a part that is arriving among those of its representation, whose newest head is its own.
    fn place_part(&mut self, now: Instant, id: FetchId, part: StorablePart<'_, B>) -> Growth {
        let at = match self.home_of_part(now, id, &part) {
            Ok(at) => at,
            Err(why) => return Growth::Dropped(why),
        };
        if let Some(Entry { content: Content::Parts(stored), .. }) = self.entries.get_mut(at) {
            (stored.head, stored.since, stored.lifetime) = (part.head, part.since, part.lifetime);
        }
        self.add_part(at, id, part.range.part, part.body)
    }

    /// Where the parts of its representation are. What is stored of another goes.
    fn home_of_part(&mut self, now: Instant, id: FetchId, part: &StorablePart<'_, B>) -> Result<SlotId, NotStored> {
        let Some(fetch) = self.fetches.get(id.0) else { return Err(NotStored::Unknown) };
        let (key, distribution, uri) = (fetch.key, Arc::clone(&fetch.distribution), fetch.uri.clone());
        let variant = part.vary.variant(self.seed, part.request);
        let validator = strong_validator(&part.head.headers());
        let total = part.range.total;
        let mut others = None;
        let mut at = self.objects.get(&key).map_or(NONE, |object| object.first_entry);
        while let Some(entry) = self.entries.at(at) {
            let next = entry.next;
            if entry.variant() == variant && entry.selected_by(self.seed, part.request) {
                match &entry.content {
                    // Somebody brought the whole meanwhile.
                    Content::Response(response) if now < response.fresh_until() && !entry.head_only => {
                        return Err(NotStored::Gone);
                    }
                    Content::Parts(stored)
                        if validator.is_some() && stored.validator == validator && stored.parts.total == total =>
                    {
                        others = self.entries.id(at);
                    }
                    _ => self.remove(at),
                }
            }
            at = next;
        }
        if let Some(at) = others {
            return Ok(at);
        }
        let content = Content::Parts(Box::new(StoredParts {
            head: Arc::clone(&part.head),
            validator,
            parts: Parts::new(total),
            listed: false,
            since: part.since,
            lifetime: part.lifetime,
        }));
        let selector = Selector::new(part.vary.clone(), variant);
        let (next, head_only, bytes, last_hit) = (NONE, false, 0, now);
        let bare = Entry { key, next, distribution, uri, selector, head_only, content, bytes, last_hit };
        self.insert(bare).ok_or(NotStored::NoRoom)
    }

    /// Adds a part to others of its representation.
    fn add_part(&mut self, at: SlotId, id: FetchId, range: ByteRange, body: B) -> Growth {
        let Some(Entry { content: Content::Parts(stored), .. }) = self.entries.get_mut(at) else {
            return Growth::Dropped(NotStored::Gone);
        };
        if !stored.parts.add(range, body, id.0) {
            return Growth::Dropped(NotStored::Gone);
        }
        while (stored.parts.len() > self.settings.parts_max.max(1)
            || stored.parts.bytes_expected() > self.settings.object_bytes_max)
            && stored.parts.remove_oldest()
        {
            self.counters.bump(Counter::EdgePartsFull);
        }
        self.recount(at.index);
        if let Some(fetch) = self.fetches.get_mut(id.0) {
            fetch.part_of = Some(at);
        }
        // The new head may be longer.
        if !self.make_room(0) {
            self.remove(at.index);
            return Growth::Dropped(NotStored::NoRoom);
        }
        Growth::Kept
    }

    /// The body of a part is complete. Resolves the fetch.
    pub fn part_completed(&mut self, id: FetchId) -> Growth {
        let dropped = match self.fetches.get(id.0) {
            None => Some(NotStored::Unknown),
            Some(fetch) if fetch.part_of.is_none() => Some(NotStored::Unknown),
            Some(fetch) if fetch.invalidated => Some(NotStored::Invalidated),
            Some(fetch) if !fetch.admitted => {
                self.counters.bump(Counter::EdgeAdmissionsRefused);
                Some(NotStored::NotAdmitted)
            }
            Some(_) => None,
        };
        if let Some(dropped) = dropped {
            self.end_without_body(id);
            return Growth::Dropped(dropped);
        }
        let growth = self.complete_part(id);
        self.end_fetch(id);
        growth
    }

    /// A part that a fetch has brought is complete.
    fn complete_part(&mut self, id: FetchId) -> Growth {
        // The room that was made for it when it began is that which it takes now.
        self.give_back(id);
        let Some(at) = self.fetches.get_mut(id.0).and_then(|fetch| fetch.part_of.take()) else {
            return Growth::Dropped(NotStored::Unknown);
        };
        let Some(Entry { content: Content::Parts(stored), .. }) = self.entries.get_mut(at) else {
            return Growth::Dropped(NotStored::Gone);
        };
        if !stored.parts.complete(id.0) {
            return Growth::Dropped(NotStored::Gone);
        }
        let is_new = !std::mem::replace(&mut stored.listed, true);
        self.recount(at.index);
        if is_new {
            self.offer(at.index);
        }
        Growth::Kept
    }

    /// The part that a fetch brings will not be complete.
    pub(super) fn drop_part(&mut self, id: FetchId) {
        let Some(at) = self.fetches.get(id.0).and_then(|fetch| fetch.part_of) else { return };
        let Some(Entry { content: Content::Parts(stored), .. }) = self.entries.get_mut(at) else { return };
        stored.parts.drop_arriving(id.0);
        if stored.parts.len() == 0 {
            self.remove(at.index);
        }
    }
}

fn gaps_of<B>(runs: &[Run<B>]) -> impl Iterator<Item = ByteRange> {
    runs.iter().filter_map(|run| match run {
        Run::Lacking(range) => Some(*range),
        Run::Stored { .. } | Run::Arriving { .. } => None,
    })
}
