//! A fetch that is under way: whose it is, who waits, and what it may replace.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};

use super::{Lacking, Served, slots::SlotId};
use crate::{
    Instant, Reason,
    cache_key::{CacheKey, KeySeed, RequestHead},
    conditional::{PRECONDITIONS, Validators},
    forward::Conditions,
    range::ByteRange,
    vary::Vary,
};

/// Names a fetch of one shard. An id whose fetch is resolved names nothing: calls with it do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub(super) SlotId);

impl FetchId {
    /// For whoever writes it down.
    pub const fn bits(self) -> u64 {
        self.0.bits()
    }

    /// What was written down.
    pub const fn from_bits(bits: u64) -> Self {
        Self(SlotId::from_bits(bits))
    }
}

impl std::fmt::Display for FetchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:x}", self.bits())
    }
}

/// A fetch that a lookup has begun. It must be resolved; see [`super::CacheShard`].
#[derive(Clone, Debug)]
pub struct Begun<B> {
    /// Its id.
    pub id: FetchId,
    /// Why the store has no answer.
    pub reason: Reason,
    /// The stale response, if there is one that a 304 could confirm or that could stand in.
    pub stale: Option<Served<B>>,
    /// What a 304 would confirm; `None` where no conditional request is allowed (cookies go to the origin), too.
    pub(super) validators: Option<Validators>,
    /// Whether the viewer's request carries preconditions or a range of its own.
    pub(super) part: bool,
    /// What is stored of the answer, and what lacks.
    pub lacking: Option<Lacking<B>>,
}

/// Why a fetch brought no response, or one that counts as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// No response: refused, reset, timed out, not HTTP.
    NoResponse,
    /// A response with this status.
    Status(StatusCode),
}

/// One slot of the fetches under way.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) key: CacheKey,
    /// The next older fetch under the same key.
    pub(super) next: u32,
    pub(super) distribution: Arc<str>,
    pub(super) uri: Box<str>,
    pub(super) joinable: bool,
    pub(super) asks: Asks,
    pub(super) join_until: Instant,
    pub(super) head_only: bool,
    /// What the object's newest response demanded when the fetch began, and this request's values of it.
    pub(super) vary: Vary,
    pub(super) variant: Option<u128>,
    /// What a 304 would confirm.
    pub(super) stale_entry: Option<SlotId>,
    /// Where its response is stored while the body arrives.
    pub(super) entry: Option<SlotId>,
    /// Where the part that it brings is among others.
    pub(super) part_of: Option<SlotId>,
    /// Bytes that it counts in the store while a part arrives.
    pub(super) reserved: u64,
    /// The object was invalidated after the fetch had begun: its response must not be stored.
    pub(super) invalidated: bool,
    /// Its response may stay once it is complete; set as soon as somebody else asks for it.
    pub(super) admitted: bool,
    pub(super) waiters: u32,
}

/// What a fetch asks the origin for, as far as others may share what comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// The whole object, or whether it is what is stored.
    Whole,
    /// A range as the viewer has written it.
    Range { range: HeaderValue, if_range: Option<HeaderValue> },
    /// What lacks between stored parts.
    Stretch(ByteRange),
    /// What this viewer's preconditions are about, and nobody else's.
    Own,
}

impl Asks {
    /// What a request asks for that is passed on with the viewer's own preconditions.
    pub(super) fn of(request: &RequestHead<'_>) -> Self {
        if !request.asks_for_part() {
            return Self::Whole;
        }
        let only = |name| {
            let mut lines = request.headers.get_all(name).iter();
            lines.next().filter(|_| lines.next().is_none()).cloned()
        };
        let concerns_range = |name| [header::RANGE, header::IF_RANGE].contains(name);
        let others = PRECONDITIONS.iter().any(|name| !concerns_range(name) && request.headers.contains_key(name));
        let if_range = only(header::IF_RANGE);
        match only(header::RANGE) {
            Some(range)
                if *request.method == Method::GET
                    && !others
                    && (if_range.is_some() || !request.headers.contains_key(header::IF_RANGE)) =>
            {
                Self::Range { range, if_range }
            }
            _ => Self::Own,
        }
    }

    /// Whether what comes may answer a request that would ask for `other`.
    fn serves(&self, other: &Self) -> bool {
        match self {
            Self::Whole => true,
            Self::Range { .. } | Self::Stretch(_) => self == other,
            Self::Own => false,
        }
    }
}

impl<B> Begun<B> {
    /// The preconditions of the request to the origin: those of the stale response, else the viewer's own (a 304 or 206
    /// is then for this viewer alone, see [`crate::freshness::Refusal::Partial`]).
    pub fn conditions(&self) -> Conditions<'_> {
        if let Some(lacking) = &self.lacking {
            return lacking.conditions();
        }
        match self.validators() {
            Some(validators) => Conditions::Stored(validators),
            None if self.part => Conditions::Viewer,
            None => Conditions::None,
        }
    }

    /// What the request to the origin asks to be confirmed; `None` for an unconditional request.
    pub const fn validators(&self) -> Option<&Validators> {
        self.validators.as_ref()
    }
}

impl FetchError {
    /// Whether the origin failed, so that a stale response may stand in (RFC 5861 section 4: 500 to 599).
    pub fn is_failure(self) -> bool {
        match self {
            Self::NoResponse => true,
            Self::Status(status) => status.is_server_error(),
        }
    }
}

impl Fetch {
    /// Whether a request may wait for it: not once its head is there (then the store answers, or it is another
    /// variant's), and a GET not for a HEAD.
    pub(super) fn joinable_by(&self, now: Instant, seed: KeySeed, request: &RequestHead<'_>, asks: &Asks) -> bool {
        self.joinable
            && !self.invalidated
            && self.entry.is_none()
            && self.part_of.is_none()
            && now < self.join_until
            && (*request.method == Method::HEAD || !self.head_only)
            && self.asks.serves(asks)
            && self.vary.variant(seed, request.headers) == self.variant
    }
}
