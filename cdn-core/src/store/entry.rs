//! What is stored: a response, or the memory that one could not be shared.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};

use super::{
    StoreSettings,
    fetch::FetchError,
    head::StoredHead,
    parts::Parts,
    slots::{SlotId, slot_bytes},
};
use crate::{
    Instant, Reason,
    cache_key::{CacheKey, KeySeed},
    eviction::EvictionPolicy,
    freshness::Lifetime,
    prefetch::prefetch,
    request_control::{Freshness, RequestControl},
    vary::Vary,
};

/// What an allocator takes for each piece of memory beside its bytes: a word before it, and half of two words that it is
/// rounded up to.
pub const ALLOCATION_BYTES: u64 = 16;

/// Bytes that an entry costs beside body, headers and path: itself, its place in the table and what the eviction policy
/// notes; head, lines and path are memory of their own. 1.5 stands for the table's load (hashbrown keeps between 7/16 and
/// 7/8 of its places in use).
pub(super) const fn overhead<B>(eviction: EvictionPolicy) -> u64 {
    let own = slot_bytes::<Entry<B>>() + (size_of::<CacheKey>() + 8) * 3 / 2;
    let head = 2 * size_of::<usize>() + size_of::<StoredHead>();
    (own + head) as u64 + 3 * ALLOCATION_BYTES + eviction.bytes_per_entry()
}

/// A stored response as it is handed out.
#[derive(Clone, Debug)]
pub struct Served<B> {
    /// Status and headers, without `Age`.
    pub head: Arc<StoredHead>,
    /// The body.
    pub body: B,
    /// Bytes of the body that were there at this moment.
    pub bytes: u64,
    /// Whether the body is complete. Where it is not, the shell knows from `body` how to follow it.
    pub complete: bool,
    /// Its age (RFC 9111 section 4.2.3).
    pub age: Duration,
    /// How long it stays fresh; zero where it is stale.
    pub fresh_for: Duration,
}

/// A stored response where it stands, for whoever only looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a, B> {
    /// The body.
    pub body: &'a B,
    /// Bytes of the body that are there.
    pub bytes: u64,
}

/// A response to be stored. Freshness said [`crate::freshness::Storing::Store`].
#[derive(Clone, Debug)]
pub struct Storable<'a, B> {
    /// Status and headers.
    pub head: Arc<StoredHead>,
    /// The body, or the handle through which it can be followed while it arrives.
    pub body: B,
    /// Bytes of the body; so far, where it is not complete. Where a length is announced, that length: room is made at
    /// once, and what is too large is refused before it has arrived.
    pub bytes: u64,
    /// Whether the body is complete.
    pub complete: bool,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// What its `Vary` demands.
    pub vary: Vary,
    /// The viewer's headers of the request that it answers.
    pub request: &'a HeaderMap,
}

/// One slot of the store.
#[derive(Debug)]
pub(super) struct Entry<B> {
    pub(super) key: CacheKey,
    /// The next older entry under the same key.
    pub(super) next: u32,
    pub(super) distribution: Arc<str>,
    pub(super) uri: Box<str>,
    /// Which requests it answers among those of its key; `None` for all of them, which is nearly every entry's.
    pub(super) selector: Option<Box<Selector>>,
    /// The response to a HEAD: it cannot answer a GET.
    pub(super) head_only: bool,
    pub(super) content: Content<B>,
    /// What it counts in the store's bytes.
    pub(super) bytes: u64,
    pub(super) last_hit: Instant,
}

/// What tells the variants of one key apart.
#[derive(Debug)]
pub(super) struct Selector {
    pub(super) vary: Vary,
    /// The request's values of what `vary` names.
    pub(super) variant: Option<u128>,
}

#[derive(Debug)]
pub(super) enum Content<B> {
    Response(Response<B>),
    /// Ranges of a response to GET. Rare, and larger than a response.
    Parts(Box<StoredParts<B>>),
    /// A response could not be shared: until then requests do not wait for each other.
    Unshared {
        until: Instant,
    },
}

/// What is stored of a response of which only ranges were asked for.
#[derive(Debug)]
pub(super) struct StoredParts<B> {
    /// Of the whole: status 200, without `Content-Range`.
    pub(super) head: Arc<StoredHead>,
    /// What more parts must have to be added.
    pub(super) validator: Option<HeaderValue>,
    pub(super) parts: Parts<B>,
    /// The eviction policy knows of it: some of it is complete.
    pub(super) listed: bool,
    /// When the head of the newest part arrived.
    pub(super) since: Instant,
    pub(super) lifetime: Lifetime,
}

#[derive(Debug)]
pub(super) struct Response<B> {
    pub(super) head: Arc<StoredHead>,
    pub(super) body: B,
    pub(super) body_bytes: u64,
    /// When its head arrived, or a 304 confirmed it.
    pub(super) since: Instant,
    pub(super) lifetime: PackedLifetime,
    /// The origin failed like this: until then it is left alone. Rare.
    pub(super) stands_in_until: Option<Box<(Instant, FetchError)>>,
    /// Who is bringing the body; `None` once it is complete.
    pub(super) fetch: Option<SlotId>,
}

/// A [`Lifetime`] in half of its space. Nanoseconds reach 584 years, further than any lifetime; beyond that it is the
/// longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedLifetime {
    initial_age: u64,
    fresh_for: u64,
    while_revalidate: u64,
    if_error: u64,
    if_gone: u64,
    retry_after: u64,
}

impl From<Lifetime> for PackedLifetime {
    fn from(lifetime: Lifetime) -> Self {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            initial_age: nanos(lifetime.initial_age),
            fresh_for: nanos(lifetime.fresh_for),
            while_revalidate: nanos(lifetime.while_revalidate),
            if_error: nanos(lifetime.if_error),
            if_gone: nanos(lifetime.if_gone),
            retry_after: nanos(lifetime.retry_after),
        }
    }
}

impl PackedLifetime {
    pub(super) const fn unpacked(self) -> Lifetime {
        Lifetime {
            initial_age: Duration::from_nanos(self.initial_age),
            fresh_for: Duration::from_nanos(self.fresh_for),
            while_revalidate: Duration::from_nanos(self.while_revalidate),
            if_error: Duration::from_nanos(self.if_error),
            if_gone: Duration::from_nanos(self.if_gone),
            retry_after: Duration::from_nanos(self.retry_after),
        }
    }
}

impl Selector {
    /// `None` where `vary` names nothing that could differ.
    pub(super) fn new(vary: Vary, variant: Option<u128>) -> Option<Box<Self>> {
        (!vary.is_empty()).then(|| Box::new(Self { vary, variant }))
    }
}

impl<B: Clone> Entry<B> {
    /// Whether a request with these headers gets this one among the variants.
    pub(super) fn selected_by(&self, seed: KeySeed, request: &HeaderMap) -> bool {
        self.selector.as_ref().is_none_or(|selector| {
            selector.variant.is_some() && selector.vary.variant(seed, request) == selector.variant
        })
    }

    /// What its response's `Vary` demands.
    pub(super) fn vary(&self) -> Vary {
        self.selector.as_ref().map(|selector| selector.vary.clone()).unwrap_or_default()
    }

    /// Its request's values of that, as [`Vary::variant`] has them.
    pub(super) fn variant(&self) -> Option<u128> {
        self.selector.as_ref().map_or(Some(0), |selector| selector.variant)
    }

    /// What tells it from every other response, for the eviction policy: its key, and which variant it is.
    pub(super) fn identity(&self) -> u64 {
        (self.key.bits() ^ self.variant().unwrap_or_default()) as u64
    }

    /// What it counts in the store's bytes.
    pub(super) fn cost(&self, settings: &StoreSettings) -> u64 {
        let content = match &self.content {
            Content::Response(response) => {
                let body = response.body_bytes.saturating_add(settings.body_overhead_bytes);
                body.saturating_add(response.head.len() as u64)
            }
            Content::Parts(stored) => {
                let parts = stored.parts.len() as u64 * settings.body_overhead_bytes + stored.parts.overhead();
                stored.parts.bytes().saturating_add(stored.head.len() as u64 + parts) + size_of_val(&**stored) as u64
            }
            Content::Unshared { .. } => 0,
        };
        content.saturating_add(self.uri.len() as u64 + overhead::<B>(settings.eviction))
    }
}

impl<B> Entry<B> {
    /// Asks memory for what a hit looks at.
    pub(super) fn prefetch(&self) {
        prefetch(&self.selector);
        prefetch(&self.head_only);
        prefetch(&self.last_hit);
        if let Content::Response(response) = &self.content {
            prefetch(&response.since);
            prefetch(&response.lifetime.fresh_for);
            prefetch(&response.fetch);
            prefetch(&response.body);
            prefetch(&response.body_bytes);
        }
    }
}

impl<B: Clone> Response<B> {
    pub(super) fn serve(&self, now: Instant) -> Served<B> {
        Served {
            head: Arc::clone(&self.head),
            body: self.body.clone(),
            bytes: self.body_bytes,
            complete: self.is_complete(),
            age: self.age(now),
            fresh_for: self.fresh_until().saturating_since(now),
        }
    }
}

/// What may be done with a stored response that is no plain hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The request accepts it as old as it is.
    Accepted,
    /// It stands in for an origin that failed a moment ago.
    StandsIn,
    /// It may be sent while it is refreshed.
    Refreshable,
    /// It is fresh and the request does not accept it.
    FreshRefused,
    /// It is stale and has to be confirmed.
    Stale,
    /// It outlived its freshness while it was arriving, and cannot be confirmed.
    StaleArriving,
}

impl Standing {
    /// Why the origin is asked, if it is.
    pub(super) const fn miss(self) -> Reason {
        match self {
            Self::FreshRefused => Reason::MissRequestControl,
            _ => Reason::MissExpired,
        }
    }
}

impl<B> Response<B> {
    /// Whether it may be sent as it is, and nothing else needs to be looked at.
    pub(super) fn is_hit(&self, now: Instant, control: &RequestControl) -> bool {
        now < self.fresh_until() && (control.accepts_all_fresh() || control.accepts(self.freshness(now)))
    }

    /// What becomes of it where it is no [hit](Self::is_hit).
    pub(super) fn standing(&self, now: Instant, control: &RequestControl) -> Standing {
        let fresh = now < self.fresh_until();
        if !fresh && !self.is_complete() {
            return Standing::StaleArriving;
        }
        if control.accepts(self.freshness(now)) {
            return Standing::Accepted;
        }
        let until = self.stands_in_until.as_deref();
        if until.is_some_and(|&(until, error)| now < until && self.usable_on(error, now)) {
            return Standing::StandsIn;
        }
        let may_be_refreshed_later = now < self.fresh_until() + self.lifetime.unpacked().while_revalidate;
        match fresh {
            true => Standing::FreshRefused,
            false if may_be_refreshed_later && !self.is_error() && !control.no_cache => Standing::Refreshable,
            false => Standing::Stale,
        }
    }

    /// Whether it is an error.
    pub(super) fn is_error(&self) -> bool {
        self.head.status().is_client_error() || self.head.status().is_server_error()
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.fetch.is_none()
    }

    pub(super) const fn age(&self, now: Instant) -> Duration {
        let here = now.as_nanos().saturating_sub(self.since.as_nanos());
        Duration::from_nanos(self.lifetime.initial_age.saturating_add(here))
    }

    pub(super) fn freshness(&self, now: Instant) -> Freshness {
        Freshness {
            age: self.age(now),
            fresh_for: self.fresh_until().saturating_since(now),
            stale_for: now.saturating_since(self.fresh_until()),
            may_be_stale: self.usable_on(FetchError::NoResponse, now),
        }
    }

    pub(super) const fn fresh_until(&self) -> Instant {
        Instant::from_nanos(self.since.as_nanos().saturating_add(self.lifetime.fresh_for))
    }

    /// Whether it may stand in for an origin that failed like this.
    pub(super) fn usable_on(&self, error: FetchError, now: Instant) -> bool {
        let span = match error {
            FetchError::NoResponse => self.lifetime.unpacked().if_gone,
            FetchError::Status(_) => self.lifetime.unpacked().if_error,
        };
        self.is_complete() && now < self.fresh_until() + span
    }

    /// Whether requests may wait for one another's fetch of it: not where each must ask the origin anyway.
    pub(super) const fn shareable(&self) -> bool {
        self.lifetime.fresh_for > 0
    }
}
