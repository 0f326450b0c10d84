//! Ranges from the store: answered from parts, completed by what lacks, kept as they come.
//!
//! Decides whether stored parts answer a request, and if not quite, which one stretch to ask for (RFC 9111 sections 3.3
//! and 3.4). What is asked of the origin is what lacks; what several gaps or no strong validator forbid to combine is
//! asked for as the viewer did.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::{
    CacheShard, FetchId, Growth, Lookup, NotStored, StoredHead, Wanted,
    entry::{Content, Entry, Selector, StoredParts},
    parts::{Parts, Run},
    slots::NONE,
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

/// A part that has arrived whole. Freshness said [`crate::freshness::Storing::Store`] of a 200 with its headers.
#[derive(Clone, Debug)]
pub struct StorablePart<'a, B> {
    /// The head of the whole: status 200, without `Content-Range`, with the whole's length.
    pub head: Arc<StoredHead>,
    /// Which part.
    pub range: ContentRange,
    /// Its bytes.
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
        let freshness = stored.freshness(now);
        if !control.accepts(freshness) {
            let fresh = !freshness.fresh_for.is_zero();
            let reason = if fresh { Reason::MissRequestControl } else { Reason::MissExpired };
            return self.ask(now, key, request, control, Wanted::new(reason));
        }
        let answer = stored.answer(now, request);
        let validator = stored.validator.clone().filter(|_| request.revalidates());
        self.eviction.on_hit(at);
        let mut gaps = answer.runs.iter().filter_map(|run| match run {
            Run::Lacking(range) => Some(*range),
            Run::Stored { .. } => None,
        });
        let (gap, more) = (gaps.next(), gaps.next().is_some());
        let mut wanted = Wanted { alone: true, ..Wanted::new(Reason::MissPart) };
        match (gap, validator) {
            (None, _) => return Lookup::Parts(answer),
            (Some(range), Some(validator)) if !more && !matches!(answer.wanted, Extent::Parts(_)) => {
                wanted.lacking = Some(Lacking { answer, range, validator });
            }
            // A fetch of the whole may be shared, and takes the place of the parts.
            _ => wanted.alone = request.asks_for_part(),
        }
        self.ask(now, key, request, control, wanted)
    }

    /// A part of `bytes` bytes is arriving: makes room for it, which counts until the fetch is resolved.
    pub fn reserve(&mut self, id: FetchId, bytes: u64) -> Growth {
        if self.fetches.get(id.0).is_none() {
            return Growth::Dropped(NotStored::Unknown);
        }
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

    /// The body of a part is complete. It joins the parts of the same representation, or takes the place of what is
    /// stored of another. Resolves the fetch.
    pub fn part_completed(&mut self, now: Instant, id: FetchId, part: StorablePart<'_, B>) -> Growth {
        let Some(fetch) = self.end_fetch(id) else { return Growth::Dropped(NotStored::Unknown) };
        if fetch.invalidated {
            return Growth::Dropped(NotStored::Invalidated);
        }
        if part.vary == Vary::Any {
            return Growth::Dropped(NotStored::VaryAny);
        }
        if !fetch.admitted {
            self.counters.bump(Counter::EdgeAdmissionsRefused);
            return Growth::Dropped(NotStored::NotAdmitted);
        }
        let variant = part.vary.variant(self.seed, part.request);
        let validator = strong_validator(&part.head.headers());
        let ContentRange { part: range, total } = part.range;
        let mut parts = Parts::new(total);
        let mut at = self.objects.get(&fetch.key).map_or(NONE, |object| object.first_entry);
        while let Some(entry) = self.entries.at(at) {
            let next = entry.next;
            if entry.variant() == variant && entry.selected_by(self.seed, part.request) {
                match &entry.content {
                    // Somebody brought the whole meanwhile.
                    Content::Response(response) if now < response.fresh_until() && !entry.head_only => {
                        return Growth::Dropped(NotStored::Gone);
                    }
                    Content::Parts(stored)
                        if validator.is_some() && stored.validator == validator && stored.parts.total == total =>
                    {
                        parts = stored.parts.clone();
                    }
                    _ => {}
                }
                self.remove(at);
            }
            at = next;
        }
        if parts.add(range, part.body, self.settings.parts_max) {
            self.counters.bump(Counter::EdgePartsFull);
        }
        while parts.bytes() > self.settings.object_bytes_max && parts.remove_oldest() {
            self.counters.bump(Counter::EdgePartsFull);
        }
        let entry = Entry {
            key: fetch.key,
            next: NONE,
            distribution: fetch.distribution,
            uri: fetch.uri,
            selector: Selector::new(part.vary, variant),
            head_only: false,
            content: Content::Parts(Box::new(StoredParts {
                head: part.head,
                validator,
                parts,
                since: part.since,
                lifetime: part.lifetime,
            })),
            bytes: 0,
            last_hit: now,
        };
        match self.insert(entry) {
            Some(at) => {
                self.offer(at.index);
                Growth::Kept
            }
            None => Growth::Dropped(NotStored::NoRoom),
        }
    }
}
