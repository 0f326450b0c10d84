//! What a shard of the store can be told, written down and told again, and its answers in words.

use std::time::Duration;

use cdn_core::{
    Instant, Reason,
    cache_key::{CacheKey, KeySeed, RequestHead},
    invalidation::InvalidationPattern,
    range::{ByteRange, ContentRange},
    store::{
        Begun, CacheShard, Failed, FetchError, FetchId, Growth, Lookup, Outcome, RestoredParts, Run, Served, Storable,
        StorablePart,
    },
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    DecisionLog,
    wire::{self, HeadLine, Headers, KeyLine, LifetimeLine, LineError, RequestLine, VaryLine},
};
use crate::object::Object;

/// A call of [`CacheShard`], by its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Hit {
        key: KeyLine,
        request: RequestLine,
    },
    Lookup {
        key: KeyLine,
        request: RequestLine,
    },
    BeginFor {
        key: KeyLine,
        request: RequestLine,
        reason: String,
    },
    Forget {
        key: KeyLine,
    },
    Leave {
        fetch: u64,
    },
    HandleTimeout {},
    Fetched {
        fetch: u64,
        response: ResponseLine,
    },
    Restored {
        fetch: u64,
        response: ResponseLine,
    },
    PartsRestored {
        fetch: u64,
        parts: PartsLine,
    },
    Refreshed {
        fetch: u64,
        head: HeadLine,
        lifetime: LifetimeLine,
    },
    Uncacheable {
        fetch: u64,
    },
    Released {
        fetch: u64,
    },
    /// Without a status where there was no response.
    Failed {
        fetch: u64,
        status: Option<u16>,
    },
    Grew {
        fetch: u64,
        bytes: u64,
    },
    Completed {
        fetch: u64,
        bytes: u64,
    },
    PartBegun {
        fetch: u64,
        parts: PartsLine,
    },
    PartCompleted {
        fetch: u64,
    },
    Aborted {
        fetch: u64,
    },
    Invalidate {
        distribution: String,
        pattern: String,
        also: Option<String>,
    },
}

/// See [`Storable`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ResponseLine {
    head: HeadLine,
    bytes: u64,
    complete: bool,
    lifetime: LifetimeLine,
    vary: VaryLine,
    request: Headers,
}

/// See [`StorablePart`] and [`RestoredParts`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartsLine {
    head: HeadLine,
    total: u64,
    /// First and last byte of each.
    pieces: Vec<(u64, u64)>,
    lifetime: LifetimeLine,
    since: u64,
    vary: VaryLine,
    request: Headers,
}

impl From<&Storable<'_, Object>> for ResponseLine {
    fn from(storable: &Storable<'_, Object>) -> Self {
        Self {
            head: (&*storable.head).into(),
            bytes: storable.bytes,
            complete: storable.complete,
            lifetime: storable.lifetime.into(),
            vary: (&storable.vary).into(),
            request: storable.request.into(),
        }
    }
}

impl From<&StorablePart<'_, Object>> for PartsLine {
    fn from(part: &StorablePart<'_, Object>) -> Self {
        Self {
            head: (&*part.head).into(),
            total: part.range.total,
            pieces: vec![(part.range.part.first, part.range.part.last)],
            lifetime: part.lifetime.into(),
            since: part.since.as_nanos(),
            vary: (&part.vary).into(),
            request: part.request.into(),
        }
    }
}

impl From<&RestoredParts<'_, Object>> for PartsLine {
    fn from(parts: &RestoredParts<'_, Object>) -> Self {
        Self {
            head: (&*parts.head).into(),
            total: parts.total,
            pieces: parts.pieces.iter().map(|(range, _)| (range.first, range.last)).collect(),
            lifetime: parts.lifetime.into(),
            since: parts.since.as_nanos(),
            vary: (&parts.vary).into(),
            request: parts.request.into(),
        }
    }
}

impl Call {
    pub(super) fn lookup(log: &DecisionLog, key: CacheKey, request: &RequestHead<'_>) -> Self {
        Self::Lookup { key: key.into(), request: RequestLine::new(log, request) }
    }

    pub(super) fn hit(log: &DecisionLog, key: CacheKey, request: &RequestHead<'_>) -> Self {
        Self::Hit { key: key.into(), request: RequestLine::new(log, request) }
    }

    pub(super) fn begin_for(log: &DecisionLog, key: CacheKey, request: &RequestHead<'_>, reason: Reason) -> Self {
        let reason = reason.as_str().to_owned();
        Self::BeginFor { key: key.into(), request: RequestLine::new(log, request), reason }
    }

    pub(super) fn failed(fetch: FetchId, error: FetchError) -> Self {
        let status = match error {
            FetchError::NoResponse => None,
            FetchError::Status(status) => Some(status.as_u16()),
        };
        Self::Failed { fetch: fetch.bits(), status }
    }

    pub(super) fn invalidate(distribution: &str, pattern: &InvalidationPattern) -> Self {
        Self::Invalidate {
            distribution: distribution.into(),
            pattern: pattern.as_str().into(),
            also: pattern.also().map(Into::into),
        }
    }

    /// Tells it again, and says in the words of this module what came of it.
    pub(super) fn play(&self, to: &mut Player<'_>) -> Result<String, LineError> {
        let id = FetchId::from_bits;
        let Player { now, shard, body, .. } = &mut *to;
        let (now, shard, body) = (*now, &mut **shard, *body);
        Ok(match self {
            Self::Hit { key, request } => {
                return to.ask(key, request, |now, shard, key, head| hit(shard.hit(now, key, head).as_ref()));
            }
            Self::Lookup { key, request } => {
                return to.ask(key, request, |now, shard, key, head| lookup(&shard.lookup(now, key, head)));
            }
            Self::BeginFor { key, request, reason } => {
                let reason: Reason = reason.parse().map_err(|_| LineError::Unreadable)?;
                return to.ask(key, request, |now, shard, key, head| begun(&shard.begin_for(now, key, head, reason)));
            }
            Self::Forget { key } => count(shard.forget(key.read()?)),
            Self::Leave { fetch } => {
                shard.leave(id(*fetch));
                SILENT
            }
            Self::HandleTimeout {} => overdue(&shard.handle_timeout(now)),
            Self::Fetched { fetch, response } => {
                response.with(body, |storable| outcome(&shard.fetched(now, id(*fetch), storable)))?
            }
            Self::Restored { fetch, response } => {
                response.with(body, |storable| outcome(&shard.restored(now, id(*fetch), storable)))?
            }
            Self::PartsRestored { fetch, parts } => {
                let (head, request, vary) = (parts.head.read()?, parts.request.read()?, parts.vary.read()?);
                growth(shard.parts_restored(
                    now,
                    id(*fetch),
                    RestoredParts {
                        head,
                        total: parts.total,
                        pieces: parts.ranges().map(|range| (range, body.clone())).collect(),
                        lifetime: parts.lifetime.into(),
                        since: Instant::from_nanos(parts.since),
                        vary,
                        request: &request,
                    },
                ))
            }
            Self::Refreshed { fetch, head, lifetime } => {
                outcome(&shard.refreshed(now, id(*fetch), head.read()?, (*lifetime).into()))
            }
            Self::Uncacheable { fetch } => {
                shard.uncacheable(now, id(*fetch));
                SILENT
            }
            Self::Released { fetch } => {
                shard.released(id(*fetch));
                SILENT
            }
            Self::Failed { fetch, status } => {
                let error = match status {
                    None => FetchError::NoResponse,
                    Some(status) => {
                        FetchError::Status(StatusCode::from_u16(*status).map_err(|_| LineError::Unreadable)?)
                    }
                };
                failed(&shard.failed(now, id(*fetch), error))
            }
            Self::Grew { fetch, bytes } => growth(shard.grew(id(*fetch), *bytes)),
            Self::Completed { fetch, bytes } => growth(shard.completed(id(*fetch), *bytes)),
            Self::PartBegun { fetch, parts } => {
                let (head, request, vary) = (parts.head.read()?, parts.request.read()?, parts.vary.read()?);
                let part = parts.ranges().next().ok_or(LineError::Unreadable)?;
                growth(shard.part_begun(
                    now,
                    id(*fetch),
                    StorablePart {
                        head,
                        range: ContentRange { part, total: parts.total },
                        body: body.clone(),
                        lifetime: parts.lifetime.into(),
                        since: Instant::from_nanos(parts.since),
                        vary,
                        request: &request,
                    },
                ))
            }
            Self::PartCompleted { fetch } => growth(shard.part_completed(id(*fetch))),
            Self::Aborted { fetch } => {
                shard.aborted(id(*fetch));
                SILENT
            }
            Self::Invalidate { distribution, pattern, also } => {
                let pattern = InvalidationPattern::parse(pattern).map_err(|_| LineError::Unreadable)?;
                let pattern = match also {
                    Some(uri) => pattern.or_exactly(uri),
                    None => pattern,
                };
                count(shard.invalidate(distribution, &pattern))
            }
        })
    }
}

impl ResponseLine {
    fn with<T>(&self, body: &Object, act: impl FnOnce(Storable<'_, Object>) -> T) -> Result<T, LineError> {
        let request: HeaderMap = self.request.read()?;
        Ok(act(Storable {
            head: self.head.read()?,
            body: body.clone(),
            bytes: self.bytes,
            complete: self.complete,
            lifetime: self.lifetime.into(),
            vary: self.vary.read()?,
            request: &request,
        }))
    }
}

impl PartsLine {
    fn ranges(&self) -> impl Iterator<Item = ByteRange> {
        // One that ends before it begins is none.
        let pieces = self.pieces.iter().filter(|(first, last)| first <= last);
        pieces.map(|&(first, last)| ByteRange { first, last })
    }
}

/// A shard that calls are told to again.
pub(super) struct Player<'p> {
    pub(super) now: Instant,
    pub(super) seed: KeySeed,
    pub(super) served: &'p wire::Served,
    pub(super) shard: &'p mut CacheShard<Object>,
    /// Stands for every body: a shard does not look at them.
    pub(super) body: &'p Object,
}

impl Player<'_> {
    /// Asks for a request under the key that it has here, which must be the one that it had there.
    fn ask(
        &mut self,
        key: &KeyLine,
        request: &RequestLine,
        act: impl FnOnce(Instant, &mut CacheShard<Object>, CacheKey, &RequestHead<'_>) -> String,
    ) -> Result<String, LineError> {
        let (key, seed, now) = (key.read()?, self.seed, self.now);
        let shard = &mut *self.shard;
        request.with(self.served, |head| {
            let own = head.key(seed);
            let said = act(now, shard, key, head);
            if own == key { said } else { format!("{said}, under the key {:x}", own.bits()) }
        })
    }
}

/// What has no answer.
const SILENT: String = String::new();

pub(super) fn count(removed: u64) -> String {
    format!("{removed} removed")
}

pub(super) fn overdue(fetches: &[FetchId]) -> String {
    let ids: Vec<String> = fetches.iter().map(ToString::to_string).collect();
    format!("overdue: {}", ids.join(" "))
}

pub(super) fn hit(found: Option<&Served<Object>>) -> String {
    found.map_or_else(|| "no hit".to_owned(), |found| format!("hit {}", served(found)))
}

pub(super) fn lookup(said: &Lookup<Object>) -> String {
    match said {
        Lookup::Hit(found) => hit(Some(found)),
        Lookup::Stale { served: found, refresh: None } => format!("stale {}", served(found)),
        Lookup::Stale { served: found, refresh: Some(refresh) } => {
            format!("stale {}, refresh {}", served(found), begun(refresh))
        }
        Lookup::Parts(parts) => format!(
            "parts {:?} of {} age {:?} fresh for {:?}: {}",
            parts.wanted,
            parts.total,
            parts.age,
            parts.fresh_for,
            parts.runs.iter().map(run).collect::<Vec<_>>().join(" "),
        ),
        Lookup::StaleOnError(found) => format!("stale on error {}", served(found)),
        Lookup::StaleAccepted(found) => format!("stale accepted {}", served(found)),
        Lookup::Join(fetch) => format!("join {fetch}"),
        Lookup::Fetch(fetch) => format!("fetch {}", begun(fetch)),
        Lookup::Pass(reason) => format!("pass {}", reason.as_str()),
        Lookup::OnlyIfCached(reason) => format!("only if cached {}", reason.as_str()),
    }
}

pub(super) fn begun(fetch: &Begun<Object>) -> String {
    let stale = fetch.stale.as_ref().map_or_else(|| "nothing".to_owned(), served);
    format!("{} {} over {stale}, asks {:?}", fetch.id, fetch.reason.as_str(), fetch.conditions())
}

pub(super) fn outcome(outcome: &Outcome<Object>) -> String {
    match outcome {
        Outcome::Stored(found) => format!("stored {}", served(found)),
        Outcome::Arriving(found) => format!("arriving {}", served(found)),
        Outcome::NotStored(why) => format!("not stored: {why:?}"),
    }
}

pub(super) fn failed(failed: &Failed<Object>) -> String {
    match failed {
        Failed::Stale(found) => format!("stale {}", served(found)),
        Failed::Answer => "answer".to_owned(),
    }
}

pub(super) fn growth(growth: Growth) -> String {
    format!("{growth:?}")
}

fn served(found: &Served<Object>) -> String {
    let Served { head, bytes, complete, age, fresh_for, .. } = found;
    let (age, fresh_for): (&Duration, &Duration) = (age, fresh_for);
    let complete = if *complete { "" } else { " so far" };
    format!("{} with {bytes} bytes{complete}, age {age:?}, fresh for {fresh_for:?}", head.status().as_u16())
}

fn run(run: &Run<Object>) -> String {
    let (word, range) = match run {
        Run::Stored { within, .. } => ("stored", within),
        Run::Arriving { within, .. } => ("arriving", within),
        Run::Lacking(range) => ("lacking", range),
    };
    format!("{word} {}-{}", range.first, range.last)
}
