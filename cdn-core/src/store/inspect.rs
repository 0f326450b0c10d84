//! Looking into the store, and removing by pattern: `iso cache where`, `iso cache show`, `iso invalidate`.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};

use super::{
    CacheShard, FetchError, Object, StoredHead, Wanted,
    entry::{Content, Entry, Standing, StoredParts},
    parts::Run,
    parts_store::Judgement,
};
use crate::{
    Counter, Instant, Reason,
    cache_key::{CacheKey, RequestHead},
    freshness::Lifetime,
    invalidation::InvalidationPattern,
    range::ByteRange,
};

/// How usable an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryState {
    /// Fresh, and complete.
    Fresh,
    /// Fresh, and only ranges of it are there.
    Partial,
    /// Fresh, and still arriving.
    Arriving,
    /// Stale; it may be sent while it is refreshed.
    StaleWhileRevalidate,
    /// Stale; it may be sent while the origin fails.
    StaleIfError,
    /// Stale; it must be confirmed first.
    Stale,
    /// The memory that a response could not be shared.
    Unshared,
}

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Medium {
    /// In memory.
    Memory,
    /// On the disk tier.
    Disk,
}

/// One entry, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryReport {
    /// Where it is kept. What is kept in both places has two entries.
    pub kept_in: Medium,
    /// The path, and the keyed query string.
    pub uri: String,
    /// How usable it is.
    pub state: EntryState,
    /// The request headers that select it among others of the same key.
    pub vary: Vec<String>,
    /// Its status; `None` for [`EntryState::Unshared`].
    pub status: Option<StatusCode>,
    /// Its entity tag.
    pub etag: Option<HeaderValue>,
    /// Its age.
    pub age: Duration,
    /// How long it stays fresh; zero where it is stale.
    pub fresh_for: Duration,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Bytes that it counts in the store.
    pub bytes: u64,
    /// Time since it was last asked for.
    pub since_last_hit: Duration,
}

/// One entry with what decides about it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryDetail {
    /// The same in short.
    pub report: EntryReport,
    /// Its key in this process. Two entries of one path have two keys where the key tells apart their query strings,
    /// headers or cookies, and one where they are variants by `Vary`.
    pub key: CacheKey,
    /// It answers HEAD only.
    pub head_only: bool,
    /// What is stored of the response beside its body; `None` for [`EntryState::Unshared`].
    pub response: Option<ResponseDetail>,
}

/// A stored response without its body, for people. Its age is `lifetime.initial_age` and `resident`; it is fresh while
/// `resident` is less than `lifetime.fresh_for`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseDetail {
    /// Status and headers.
    pub head: Arc<StoredHead>,
    /// How long it may be used from when it arrived or was confirmed.
    pub lifetime: Lifetime,
    /// Time since then.
    pub resident: Duration,
    /// How long the origin, which failed, is left alone.
    pub origin_left_alone_for: Duration,
    /// Where only parts are stored, what of the whole lacks.
    pub lacking: Vec<ByteRange>,
}

/// What the store would say to a request, and nothing done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// Why the answer would be what it is.
    pub reason: Reason,
    /// The request would wait for a fetch that is under way.
    pub waits: bool,
    /// What is stored that the request selects, whether it is good enough or not.
    pub entry: Option<EntryDetail>,
}

impl Medium {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

impl EntryState {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Partial => "partial",
            Self::Arriving => "arriving",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::Stale => "stale",
            Self::Unshared => "unshared",
        }
    }
}

impl<B: Clone> CacheShard<B> {
    /// Everything stored under a path of a distribution, with any query string; in the order of the slots.
    pub fn reports(&self, now: Instant, distribution: &str, path: &str) -> Vec<EntryReport> {
        self.entries_under(distribution, path).map(|entry| report(now, entry)).collect()
    }

    /// The same with every detail.
    pub fn details(&self, now: Instant, distribution: &str, path: &str) -> Vec<EntryDetail> {
        self.entries_under(distribution, path).map(|entry| detail(now, entry)).collect()
    }

    /// What [`lookup`](Self::lookup) would say. Begins nothing, and nothing counts as asked for.
    pub fn prospect(&self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Prospect {
        let control = request.control();
        let object = self.objects.get(&key).copied().unwrap_or(Object::EMPTY);
        let entry = self.entries.at(self.select(object, request));
        let mut wanted = Wanted::new(Reason::MissAbsent);
        let own = match entry.map(|entry| &entry.content) {
            None => None,
            Some(Content::Unshared { until }) => {
                if now < *until {
                    wanted = Wanted { alone: true, ..Wanted::new(Reason::MissUncacheable) };
                }
                None
            }
            Some(Content::Parts(stored)) => match stored.judge(now, request, &control) {
                Judgement::Serve(..) => Some(Reason::Hit),
                Judgement::Ask(lacking) => {
                    wanted = *lacking;
                    None
                }
            },
            Some(Content::Response(response)) if response.is_hit(now, &control) => Some(Reason::Hit),
            Some(Content::Response(response)) => match response.standing(now, &control) {
                Standing::Accepted => Some(Reason::HitStaleAccepted),
                Standing::StandsIn => Some(Reason::HitStaleOnError),
                Standing::Refreshable => Some(Reason::HitStaleWhileRevalidate),
                Standing::StaleArriving => {
                    wanted = Wanted::new(Standing::StaleArriving.miss());
                    None
                }
                standing @ (Standing::FreshRefused | Standing::Stale) => {
                    let stale = (!response.is_error()).then(|| (None, response.serve(now)));
                    wanted = Wanted { reason: standing.miss(), alone: !response.shareable(), stale, lacking: None };
                    None
                }
            },
        };
        let asks = own.is_none() && !control.only_if_cached && !control.no_store;
        let waits = asks
            && !wanted.alone
            && request.collapses()
            && self.in_flight(now, object, request, &wanted.asks(request)).is_some();
        let reason = match own {
            Some(reason) => reason,
            None if control.only_if_cached => Reason::OnlyIfCached,
            None if control.no_store => Reason::PassNoStore,
            None => wanted.reason,
        };
        Prospect { reason, waits, entry: entry.map(|entry| detail(now, entry)) }
    }

    fn entries_under(&self, distribution: &str, path: &str) -> impl Iterator<Item = &Entry<B>> {
        let under =
            move |uri: &str| uri.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'));
        self.entries.iter().filter(move |entry| *entry.distribution == *distribution && under(&entry.uri))
    }

    /// Removes what the pattern covers and returns how many responses that were. What is being fetched at this moment
    /// will not be stored, and nobody joins it any more.
    pub fn invalidate(&mut self, distribution: &str, pattern: &InvalidationPattern) -> u64 {
        for at in 0..self.fetches.capacity() {
            if let Some(fetch) = self.fetches.at_mut(at)
                && *fetch.distribution == *distribution
                && pattern.matches(&fetch.uri)
            {
                fetch.invalidated = true;
            }
        }
        let mut removed = 0;
        for at in 0..self.entries.capacity() {
            if let Some(entry) = self.entries.at(at)
                && *entry.distribution == *distribution
                && pattern.matches(&entry.uri)
            {
                removed += u64::from(!matches!(entry.content, Content::Unshared { .. }));
                self.remove(at);
            }
        }
        self.counters.add(Counter::EdgeInvalidated, removed);
        removed
    }

    /// Removes everything stored under a key, all variants of it, because an unsafe method changed what it stands for (RFC
    /// 9111 section 4.4). What is being fetched at this moment will not be stored, and nobody joins it any more.
    pub fn forget(&mut self, key: CacheKey) -> u64 {
        let Some(object) = self.objects.get(&key).copied() else { return 0 };
        let mut at = object.first_fetch;
        while let Some(fetch) = self.fetches.at_mut(at) {
            fetch.invalidated = true;
            at = fetch.next;
        }
        let mut removed = 0;
        let mut at = object.first_entry;
        while let Some(entry) = self.entries.at(at) {
            let next = entry.next;
            removed += u64::from(!matches!(entry.content, Content::Unshared { .. }));
            self.remove(at);
            at = next;
        }
        self.counters.add(Counter::EdgeInvalidated, removed);
        removed
    }
}

impl<B: Clone> StoredParts<B> {
    fn lacking(&self) -> Vec<ByteRange> {
        let Some(last) = self.parts.total.checked_sub(1) else { return Vec::new() };
        let runs = self.parts.runs(ByteRange { first: 0, last }).into_iter();
        let gaps = runs.filter_map(|run| match run {
            Run::Lacking(range) => Some(range),
            Run::Stored { .. } | Run::Arriving { .. } => None,
        });
        gaps.collect()
    }
}

fn detail<B: Clone>(now: Instant, entry: &Entry<B>) -> EntryDetail {
    let response = match &entry.content {
        Content::Response(response) => Some(ResponseDetail {
            head: Arc::clone(&response.head),
            lifetime: response.lifetime.unpacked(),
            resident: now.saturating_since(response.since),
            origin_left_alone_for: response
                .stands_in_until
                .as_deref()
                .map_or(Duration::ZERO, |(until, _)| until.saturating_since(now)),
            lacking: Vec::new(),
        }),
        Content::Parts(stored) => Some(ResponseDetail {
            head: Arc::clone(&stored.head),
            lifetime: stored.lifetime,
            resident: now.saturating_since(stored.since),
            origin_left_alone_for: Duration::ZERO,
            lacking: stored.lacking(),
        }),
        Content::Unshared { .. } => None,
    };
    EntryDetail { report: report(now, entry), key: entry.key, head_only: entry.head_only, response }
}

fn report_parts<B: Clone>(now: Instant, stored: &StoredParts<B>, blank: EntryReport) -> EntryReport {
    let freshness = stored.freshness(now);
    EntryReport {
        state: match stored.parts.bytes() {
            _ if freshness.fresh_for.is_zero() => EntryState::Stale,
            0 => EntryState::Arriving,
            _ => EntryState::Partial,
        },
        status: Some(stored.head.status()),
        etag: stored.head.validators().etag,
        age: freshness.age,
        fresh_for: freshness.fresh_for,
        body_bytes: stored.parts.bytes(),
        ..blank
    }
}

fn report<B: Clone>(now: Instant, entry: &Entry<B>) -> EntryReport {
    let blank = EntryReport {
        kept_in: Medium::Memory,
        uri: entry.uri.to_string(),
        state: EntryState::Unshared,
        vary: entry.vary().names(),
        status: None,
        etag: None,
        age: Duration::ZERO,
        fresh_for: Duration::ZERO,
        body_bytes: 0,
        bytes: entry.bytes,
        since_last_hit: now.saturating_since(entry.last_hit),
    };
    let response = match &entry.content {
        Content::Response(response) => response,
        Content::Parts(stored) => return report_parts(now, stored, blank),
        Content::Unshared { .. } => return blank,
    };
    let state = match now < response.fresh_until() {
        true if response.is_complete() => EntryState::Fresh,
        true => EntryState::Arriving,
        false if now < response.fresh_until() + response.lifetime.unpacked().while_revalidate => {
            EntryState::StaleWhileRevalidate
        }
        false if response.usable_on(FetchError::NoResponse, now) => EntryState::StaleIfError,
        false => EntryState::Stale,
    };
    EntryReport {
        state,
        status: Some(response.head.status()),
        etag: response.head.validators().etag,
        age: response.age(now),
        fresh_for: response.fresh_until().saturating_since(now),
        body_bytes: response.body_bytes,
        ..blank
    }
}
