//! How a fetch ends, and what that does to what is stored.

use std::sync::Arc;

use super::{
    CacheShard, FetchError, FetchId, Served, Storable, StoredHead,
    entry::{Content, Entry, Response, Selector},
    fetch::Fetch,
    slots::{NONE, SlotId},
};
use crate::{Counter, Instant, cache_key::CacheKey, eviction::Newcomer, freshness::Lifetime, vary::Vary};

/// What became of a response.
#[derive(Clone, Debug)]
pub enum Outcome<B> {
    /// It is stored; this is what was stored.
    Stored(Served<B>),
    /// It can be followed while it arrives, and stays if somebody else asks for it until then: the admission rule.
    Arriving(Served<B>),
    /// It is not, and still answers the request that fetched it. Whoever waited asks again.
    NotStored(NotStored),
}

/// Why a response that may be stored was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The fetch is not under way (any more).
    Unknown,
    /// It was invalidated while it was fetched.
    Invalidated,
    /// It is larger than [`super::StoreSettings::object_bytes_max`].
    TooLarge,
    /// The store is full of responses that are still arriving.
    NoRoom,
    /// What a 304 confirmed has been evicted meanwhile.
    Gone,
    /// No request can select it (`Vary: *`).
    VaryAny,
    /// The admission rule keeps it out.
    NotAdmitted,
}

/// What to do about a failure of the origin.
#[derive(Clone, Debug)]
#[must_use = "where no stale response stands in, the fetch is still to be resolved"]
pub enum Failed<B> {
    /// Send this stale response. The fetch is resolved.
    Stale(Served<B>),
    /// Answer with the error, and resolve the fetch with what freshness says of it.
    Answer,
}

/// Whether a growing response is still stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// It is.
    Kept,
    /// It is not (any more): who follows it goes on, but nobody else will find it.
    Dropped(NotStored),
}

impl<B: Clone> CacheShard<B> {
    /// The head of a response that may be stored has arrived. Where its body is complete the fetch is resolved, else
    /// it ends with [`completed`](Self::completed) or [`aborted`](Self::aborted).
    pub fn fetched(&mut self, now: Instant, id: FetchId, storable: Storable<'_, B>) -> Outcome<B> {
        let refusal = match self.fetches.get(id.0) {
            None => return Outcome::NotStored(NotStored::Unknown),
            Some(fetch) if fetch.part_of.is_some() => return Outcome::NotStored(NotStored::Unknown),
            Some(fetch) if fetch.invalidated => Some(NotStored::Invalidated),
            Some(_) if storable.vary == Vary::Any => Some(NotStored::VaryAny),
            Some(_) if storable.bytes > self.settings.object_bytes_max => Some(NotStored::TooLarge),
            Some(fetch) if storable.complete && !fetch.admitted => Some(NotStored::NotAdmitted),
            Some(_) => None,
        };
        match refusal {
            None => {}
            Some(refusal @ (NotStored::Invalidated | NotStored::NotAdmitted)) => {
                if refusal == NotStored::NotAdmitted {
                    self.counters.bump(Counter::EdgeAdmissionsRefused);
                }
                self.end_fetch(id);
                return Outcome::NotStored(refusal);
            }
            Some(refusal) => {
                if refusal == NotStored::TooLarge {
                    self.counters.bump(Counter::EdgeObjectsTooLarge);
                }
                self.uncacheable(now, id);
                return Outcome::NotStored(refusal);
            }
        }
        let Some(fetch) = self.fetches.get_mut(id.0) else { return Outcome::NotStored(NotStored::Unknown) };
        fetch.waiters = 0;
        let (key, head_only, admitted) = (fetch.key, fetch.head_only, fetch.admitted);
        if head_only && let Some(served) = self.updated_by_head(now, id, &storable) {
            return Outcome::Stored(served);
        }
        let Some(fetch) = self.fetches.get(id.0) else { return Outcome::NotStored(NotStored::Unknown) };
        let (distribution, uri) = (Arc::clone(&fetch.distribution), fetch.uri.clone());
        self.remove_selected(key, &storable, head_only);
        let variant = storable.vary.variant(self.seed, storable.request);
        let response = Response {
            head: storable.head,
            body: storable.body,
            body_bytes: storable.bytes,
            since: now,
            lifetime: storable.lifetime.into(),
            stands_in_until: None,
            fetch: (!storable.complete).then_some(id.0),
        };
        let served = response.serve(now);
        let entry = Entry {
            key,
            next: NONE,
            distribution,
            uri,
            selector: Selector::new(storable.vary, variant),
            head_only,
            content: Content::Response(response),
            bytes: 0,
            last_hit: now,
        };
        let Some(at) = self.insert(entry) else {
            self.end_fetch(id);
            return Outcome::NotStored(NotStored::NoRoom);
        };
        if storable.complete {
            self.offer(at.index);
            self.end_fetch(id);
        } else if let Some(fetch) = self.fetches.get_mut(id.0) {
            fetch.entry = Some(at);
        }
        if admitted { Outcome::Stored(served) } else { Outcome::Arriving(served) }
    }

    /// A fetch found its response on the disk tier, complete; see [`fetched`](Self::fetched). Only what was admitted was
    /// ever written there, so it stays.
    pub fn restored(&mut self, now: Instant, id: FetchId, storable: Storable<'_, B>) -> Outcome<B> {
        if let Some(fetch) = self.fetches.get_mut(id.0) {
            fetch.admitted = true;
        }
        self.fetched(now, id, storable)
    }

    /// The origin answered 304 to the validators of [`super::Begun::stale`]. `head` is the stored one with the 304's
    /// headers merged in. Resolves the fetch.
    pub fn refreshed(&mut self, now: Instant, id: FetchId, head: Arc<StoredHead>, lifetime: Lifetime) -> Outcome<B> {
        self.refreshed_with(now, id, head, lifetime, |_| {})
    }

    /// The same for whoever keeps something of the response beside its bytes: `confirm` brings that up to date.
    pub fn refreshed_with(
        &mut self,
        now: Instant,
        id: FetchId,
        head: Arc<StoredHead>,
        lifetime: Lifetime,
        confirm: impl FnOnce(&mut B),
    ) -> Outcome<B> {
        let Some(fetch) = self.end_without_body(id) else { return Outcome::NotStored(NotStored::Unknown) };
        if fetch.invalidated {
            return Outcome::NotStored(NotStored::Invalidated);
        }
        let Some((at, entry)) = fetch.stale_entry.and_then(|at| Some((at, self.entries.get_mut(at)?))) else {
            return Outcome::NotStored(NotStored::Gone);
        };
        let Content::Response(response) = &mut entry.content else { return Outcome::NotStored(NotStored::Gone) };
        (response.head, response.since, response.lifetime) = (head, now, lifetime.into());
        response.stands_in_until = None;
        confirm(&mut response.body);
        let served = response.serve(now);
        self.recount(at.index);
        if !self.make_room(0) {
            self.remove(at.index);
        }
        Outcome::Stored(served)
    }

    /// The response may not be stored. Resolves the fetch, forgets what it would have replaced, and for a while
    /// requests for the object do not wait for each other.
    pub fn uncacheable(&mut self, now: Instant, id: FetchId) {
        let Some(fetch) = self.end_without_body(id) else { return };
        if fetch.invalidated {
            return;
        }
        if let Some(at) = fetch.stale_entry.filter(|&at| self.entries.get(at).is_some()) {
            self.remove(at.index);
        }
        let until = now + self.settings.unshared_for;
        let first = self.objects.get(&fetch.key).map_or(NONE, |object| object.first_entry);
        if let Some(Entry { content: Content::Unshared { until: marked }, .. }) = self.entries.at_mut(first) {
            *marked = until;
            return;
        }
        if !fetch.joinable {
            return; // its kind never waits
        }
        let entry = Entry {
            key: fetch.key,
            next: NONE,
            distribution: fetch.distribution,
            uri: fetch.uri,
            selector: Selector::new(fetch.vary, fetch.variant),
            head_only: fetch.head_only,
            content: Content::Unshared { until },
            bytes: 0,
            last_hit: now,
        };
        if let Some(at) = self.insert(entry) {
            self.offer(at.index);
        }
    }

    /// The fetch came to nothing that says anything about the object (its viewer left, its viewer's own precondition
    /// was answered with 304). Resolves the fetch and remembers nothing.
    pub fn released(&mut self, id: FetchId) {
        self.end_without_body(id);
    }

    /// The origin failed, or all origins of the group did. Where a stale response stands in the fetch is resolved and
    /// the origin is left alone for a while; else the fetch still waits to be resolved.
    pub fn failed(&mut self, now: Instant, id: FetchId, error: FetchError) -> Failed<B> {
        let stale = match self.fetches.get(id.0) {
            Some(fetch) if error.is_failure() && !fetch.invalidated => fetch.stale_entry,
            _ => return Failed::Answer,
        };
        let Some(entry) = stale.and_then(|at| self.entries.get_mut(at)) else { return Failed::Answer };
        match &mut entry.content {
            Content::Response(response) if response.usable_on(error, now) => {
                let until = now + response.lifetime.unpacked().retry_after;
                response.stands_in_until = Some(Box::new((until, error)));
                let served = response.serve(now);
                self.end_fetch(id);
                Failed::Stale(served)
            }
            _ => Failed::Answer,
        }
    }

    /// The body of a stored response has reached `bytes` bytes.
    pub fn grew(&mut self, id: FetchId, bytes: u64) -> Growth {
        let Some(fetch) = self.fetches.get(id.0) else { return Growth::Dropped(NotStored::Unknown) };
        // A part has its room until the fetch is resolved.
        if fetch.reserved > 0 && bytes <= fetch.reserved {
            return Growth::Kept;
        }
        if fetch.part_of.is_some() {
            // A part has the length that its head says, or is none.
            self.drop_part(id);
            return Growth::Dropped(NotStored::TooLarge);
        }
        let dropped = if fetch.invalidated { NotStored::Invalidated } else { NotStored::NoRoom };
        let Some((at, entry)) = fetch.entry.and_then(|at| Some((at, self.entries.get_mut(at)?))) else {
            return Growth::Dropped(dropped);
        };
        let Content::Response(response) = &mut entry.content else { return Growth::Dropped(dropped) };
        // An announced length was counted when the head arrived.
        if bytes <= response.body_bytes {
            return Growth::Kept;
        }
        response.body_bytes = bytes;
        if bytes > self.settings.object_bytes_max {
            self.counters.bump(Counter::EdgeObjectsTooLarge);
            self.remove(at.index);
            return Growth::Dropped(NotStored::TooLarge);
        }
        self.recount(at.index);
        if self.make_room(0) {
            return Growth::Kept;
        }
        self.remove(at.index);
        Growth::Dropped(NotStored::NoRoom)
    }

    /// The body is complete with `bytes` bytes. Resolves the fetch.
    pub fn completed(&mut self, id: FetchId, bytes: u64) -> Growth {
        let growth = self.grew(id, bytes);
        let Some(fetch) = self.end_fetch(id) else { return growth };
        let Some(at) = fetch.entry.filter(|_| growth == Growth::Kept) else { return growth };
        if !fetch.admitted {
            self.counters.bump(Counter::EdgeAdmissionsRefused);
            self.remove(at.index);
            return Growth::Dropped(NotStored::NotAdmitted);
        }
        let Some(entry) = self.entries.get_mut(at) else { return growth };
        if let Content::Response(response) = &mut entry.content {
            response.body_bytes = bytes;
            response.fetch = None;
            self.recount(at.index);
            self.offer(at.index);
        }
        growth
    }

    /// The body broke off: an incomplete response does not stay. Resolves the fetch.
    pub fn aborted(&mut self, id: FetchId) {
        self.end_without_body(id);
    }

    /// A response to HEAD that describes the stored response to GET brings that up to date; one that describes another
    /// makes it go (RFC 9111 section 4.3.5). Resolves the fetch where it was brought up to date.
    fn updated_by_head(&mut self, now: Instant, id: FetchId, storable: &Storable<'_, B>) -> Option<Served<B>> {
        let at = self.fetches.get(id.0)?.stale_entry?;
        let entry = self.entries.get_mut(at).filter(|entry| !entry.head_only)?;
        let Content::Response(response) = &mut entry.content else { return None };
        if !response.head.is_described_by(&storable.head) {
            self.remove(at.index);
            return None;
        }
        response.head = Arc::new(response.head.updated_by(&storable.head));
        (response.since, response.lifetime) = (now, storable.lifetime.into());
        response.stands_in_until = None;
        let served = response.serve(now);
        self.recount(at.index);
        self.end_fetch(id);
        Some(served)
    }

    /// Removes what the new response replaces: everything that its request would select. A response to HEAD leaves the
    /// bodies alone.
    fn remove_selected(&mut self, key: CacheKey, storable: &Storable<'_, B>, head_only: bool) {
        let mut at = self.objects.get(&key).map_or(NONE, |object| object.first_entry);
        let mut left = 0;
        let mut oldest = NONE;
        while let Some(entry) = self.entries.at(at) {
            let next = entry.next;
            let marker = matches!(entry.content, Content::Unshared { .. });
            let replaced = (marker || entry.head_only || !head_only) && entry.selected_by(self.seed, storable.request);
            if replaced {
                self.remove(at);
            } else {
                (left, oldest) = (left + 1, at);
            }
            at = next;
        }
        if left >= self.settings.variants_max.max(1) {
            self.counters.bump(Counter::EdgeVariantsFull);
            self.remove(oldest);
        }
    }

    /// Puts an entry at the head of its key's chain, after making room. `None` where there is none. The eviction policy
    /// hears of it later: what is still arriving is not evicted.
    pub(super) fn insert(&mut self, mut entry: Entry<B>) -> Option<SlotId> {
        entry.bytes = entry.cost(&self.settings);
        if !self.make_room(entry.bytes) {
            return None;
        }
        let (key, bytes) = (entry.key, entry.bytes);
        // A fetch is under way for the key, so it is known; the default is for the marker of a fetch just ended.
        let object = self.objects.entry(key).or_insert(super::Object::EMPTY);
        entry.next = object.first_entry;
        let id = self.entries.insert(entry);
        object.first_entry = id.index;
        self.bytes += bytes;
        self.counters.add(Counter::EdgeStoreBytes, bytes);
        self.counters.add(Counter::EdgeStoreObjects, 1);
        Some(id)
    }

    /// Tells the eviction policy of an entry that is complete.
    pub(super) fn offer(&mut self, at: u32) {
        if let Some(entry) = self.entries.at(at) {
            self.eviction.on_insert(at, Newcomer { identity: entry.identity(), bytes: entry.bytes });
        }
    }

    /// Evicts until `needed` more bytes fit.
    pub(super) fn make_room(&mut self, needed: u64) -> bool {
        while self.bytes.saturating_add(needed) > self.settings.bytes_max {
            let Some(victim) = self.eviction.victim() else { return false };
            self.counters.bump(Counter::EdgeEvictions);
            self.remove(victim);
        }
        true
    }

    /// Counts an entry's bytes anew.
    pub(super) fn recount(&mut self, at: u32) {
        if let Some(entry) = self.entries.at_mut(at) {
            let (before, after) = (entry.bytes, entry.cost(&self.settings));
            entry.bytes = after;
            self.bytes = self.bytes - before + after;
            self.counters.add(Counter::EdgeStoreBytes, after);
            self.counters.sub(Counter::EdgeStoreBytes, before);
            self.eviction.on_resize(at, after);
        }
    }

    /// Takes an entry out of its chain, the eviction queue and the sums.
    pub(super) fn remove(&mut self, at: u32) {
        self.eviction.on_remove(at);
        let Some(removed) = self.entries.remove(at) else { return };
        self.bytes -= removed.bytes;
        self.counters.sub(Counter::EdgeStoreBytes, removed.bytes);
        self.counters.sub(Counter::EdgeStoreObjects, 1);
        if let Content::Response(Response { fetch: Some(fetch), .. }) = removed.content
            && let Some(fetch) = self.fetches.get_mut(fetch)
        {
            fetch.entry = None;
            fetch.joinable = false;
        }
        let Some(object) = self.objects.get_mut(&removed.key) else { return };
        if object.first_entry == at {
            object.first_entry = removed.next;
        } else {
            let mut before = object.first_entry;
            while let Some(entry) = self.entries.at_mut(before) {
                if entry.next == at {
                    entry.next = removed.next;
                    break;
                }
                before = entry.next;
            }
        }
        self.forget_if_empty(removed.key);
    }

    /// Ends a fetch; what it has stored of an incomplete response goes with it.
    pub(super) fn end_without_body(&mut self, id: FetchId) -> Option<Fetch> {
        self.drop_part(id);
        let fetch = self.end_fetch(id)?;
        if let Some(at) = fetch.entry.filter(|&at| self.entries.get(at).is_some()) {
            self.remove(at.index);
        }
        Some(fetch)
    }

    pub(super) fn end_fetch(&mut self, id: FetchId) -> Option<Fetch> {
        self.fetches.get(id.0)?;
        let ended = self.fetches.remove(id.0.index)?;
        if let Some(object) = self.objects.get_mut(&ended.key) {
            if object.first_fetch == id.0.index {
                object.first_fetch = ended.next;
            } else {
                let mut before = object.first_fetch;
                while let Some(fetch) = self.fetches.at_mut(before) {
                    if fetch.next == id.0.index {
                        fetch.next = ended.next;
                        break;
                    }
                    before = fetch.next;
                }
            }
        }
        self.bytes -= ended.reserved;
        self.counters.sub(Counter::EdgeStoreBytes, ended.reserved);
        self.forget_if_empty(ended.key);
        Some(ended)
    }

    fn forget_if_empty(&mut self, key: CacheKey) {
        if self.objects.get(&key).is_some_and(|object| object.first_entry == NONE && object.first_fetch == NONE) {
            self.objects.remove(&key);
        }
    }
}
