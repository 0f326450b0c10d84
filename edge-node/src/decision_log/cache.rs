//! A shard of the store whose calls are written down where there is a decision log. Without one it is the shard.

use std::sync::Arc;

use cdn_core::{
    Instant, Reason,
    cache_key::{CacheKey, RequestHead},
    freshness::Lifetime,
    invalidation::InvalidationPattern,
    store::{
        Begun, CacheShard, Failed, FetchError, FetchId, Growth, Lookup, Outcome, RestoredParts, Served, Storable,
        StorablePart, StoredHead,
    },
};

use super::{
    DecisionLog,
    call::{self, Call},
    wire::Line,
};
use crate::object::Object;

/// See the module. Its methods are those of [`CacheShard`].
#[derive(Debug)]
pub(crate) struct Shard {
    cache: CacheShard<Object>,
    log: Option<ShardLog>,
}

#[derive(Debug)]
struct ShardLog {
    log: DecisionLog,
    /// Its place among the shards.
    shard: usize,
    turn: u64,
}

impl Shard {
    pub(crate) fn new(cache: CacheShard<Object>, shard: usize, log: Option<&DecisionLog>) -> Self {
        Self { cache, log: log.map(|log| ShardLog { log: log.clone(), shard, turn: 0 }) }
    }

    /// The shard, for whoever changes nothing.
    pub(crate) const fn cache(&self) -> &CacheShard<Object> {
        &self.cache
    }

    pub(crate) fn lookup(&mut self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Lookup<Object> {
        let call = self.log.as_ref().map(|to| Call::lookup(&to.log, key, request));
        let answer = self.cache.lookup(now, key, request);
        self.note(now, call, || call::lookup(&answer));
        answer
    }

    pub(crate) fn hit(&mut self, now: Instant, key: CacheKey, request: &RequestHead<'_>) -> Option<Served<Object>> {
        let call = self.log.as_ref().map(|to| Call::hit(&to.log, key, request));
        let answer = self.cache.hit(now, key, request);
        self.note(now, call, || call::hit(answer.as_ref()));
        answer
    }

    pub(crate) fn begin_for(
        &mut self,
        now: Instant,
        key: CacheKey,
        request: &RequestHead<'_>,
        reason: Reason,
    ) -> Begun<Object> {
        let call = self.log.as_ref().map(|to| Call::begin_for(&to.log, key, request, reason));
        let answer = self.cache.begin_for(now, key, request, reason);
        self.note(now, call, || call::begun(&answer));
        answer
    }

    pub(crate) fn forget(&mut self, key: CacheKey) -> u64 {
        let call = self.call(|| Call::Forget { key: key.into() });
        let removed = self.cache.forget(key);
        self.note(Instant::ZERO, call, || call::count(removed));
        removed
    }

    pub(crate) fn leave(&mut self, fetch: FetchId) {
        let call = self.call(|| Call::Leave { fetch: fetch.bits() });
        self.cache.leave(fetch);
        self.note(Instant::ZERO, call, String::new);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<FetchId> {
        let call = self.call(|| Call::HandleTimeout {});
        let overdue = self.cache.handle_timeout(now);
        self.note(now, call, || call::overdue(&overdue));
        overdue
    }

    pub(crate) fn fetched(&mut self, now: Instant, id: FetchId, storable: Storable<'_, Object>) -> Outcome<Object> {
        let call = self.call(|| Call::Fetched { fetch: id.bits(), response: (&storable).into() });
        let outcome = self.cache.fetched(now, id, storable);
        self.note(now, call, || call::outcome(&outcome));
        outcome
    }

    pub(crate) fn restored(&mut self, now: Instant, id: FetchId, storable: Storable<'_, Object>) -> Outcome<Object> {
        let call = self.call(|| Call::Restored { fetch: id.bits(), response: (&storable).into() });
        let outcome = self.cache.restored(now, id, storable);
        self.note(now, call, || call::outcome(&outcome));
        outcome
    }

    pub(crate) fn parts_restored(&mut self, now: Instant, id: FetchId, restored: RestoredParts<'_, Object>) -> Growth {
        let call = self.call(|| Call::PartsRestored { fetch: id.bits(), parts: (&restored).into() });
        let growth = self.cache.parts_restored(now, id, restored);
        self.note(now, call, || call::growth(growth));
        growth
    }

    pub(crate) fn refreshed(
        &mut self,
        now: Instant,
        id: FetchId,
        head: Arc<StoredHead>,
        lifetime: Lifetime,
    ) -> Outcome<Object> {
        let call = self.call(|| Call::Refreshed { fetch: id.bits(), head: (&*head).into(), lifetime: lifetime.into() });
        let outcome = self.cache.refreshed(now, id, head, lifetime);
        self.note(now, call, || call::outcome(&outcome));
        outcome
    }

    pub(crate) fn uncacheable(&mut self, now: Instant, id: FetchId) {
        let call = self.call(|| Call::Uncacheable { fetch: id.bits() });
        self.cache.uncacheable(now, id);
        self.note(now, call, String::new);
    }

    pub(crate) fn released(&mut self, id: FetchId) {
        let call = self.call(|| Call::Released { fetch: id.bits() });
        self.cache.released(id);
        self.note(Instant::ZERO, call, String::new);
    }

    pub(crate) fn failed(&mut self, now: Instant, id: FetchId, error: FetchError) -> Failed<Object> {
        let call = self.call(|| Call::failed(id, error));
        let failed = self.cache.failed(now, id, error);
        self.note(now, call, || call::failed(&failed));
        failed
    }

    pub(crate) fn grew(&mut self, id: FetchId, bytes: u64) -> Growth {
        let call = self.call(|| Call::Grew { fetch: id.bits(), bytes });
        let growth = self.cache.grew(id, bytes);
        self.note(Instant::ZERO, call, || call::growth(growth));
        growth
    }

    pub(crate) fn completed(&mut self, id: FetchId, bytes: u64) -> Growth {
        let call = self.call(|| Call::Completed { fetch: id.bits(), bytes });
        let growth = self.cache.completed(id, bytes);
        self.note(Instant::ZERO, call, || call::growth(growth));
        growth
    }

    pub(crate) fn part_begun(&mut self, now: Instant, id: FetchId, part: StorablePart<'_, Object>) -> Growth {
        let call = self.call(|| Call::PartBegun { fetch: id.bits(), parts: (&part).into() });
        let growth = self.cache.part_begun(now, id, part);
        self.note(now, call, || call::growth(growth));
        growth
    }

    pub(crate) fn part_completed(&mut self, id: FetchId) -> Growth {
        let call = self.call(|| Call::PartCompleted { fetch: id.bits() });
        let growth = self.cache.part_completed(id);
        self.note(Instant::ZERO, call, || call::growth(growth));
        growth
    }

    pub(crate) fn aborted(&mut self, id: FetchId) {
        let call = self.call(|| Call::Aborted { fetch: id.bits() });
        self.cache.aborted(id);
        self.note(Instant::ZERO, call, String::new);
    }

    pub(crate) fn invalidate(&mut self, distribution: &str, pattern: &InvalidationPattern) -> u64 {
        let call = self.call(|| Call::invalidate(distribution, pattern));
        let removed = self.cache.invalidate(distribution, pattern);
        self.note(Instant::ZERO, call, || call::count(removed));
        removed
    }

    /// The call as it will be written, if it will be.
    fn call(&self, call: impl FnOnce() -> Call) -> Option<Call> {
        self.log.is_some().then(call)
    }

    /// Writes a call down with what was said. The node's lock on the shard is held, so lines are in the order of calls.
    /// Calls that do not depend on the time have none.
    fn note(&mut self, at: Instant, call: Option<Call>, said: impl FnOnce() -> String) {
        let (Some(to), Some(call)) = (&mut self.log, call) else { return };
        let (shard, turn) = (to.shard, to.turn);
        to.turn += 1;
        to.log.write(Line::Store { shard, turn, at: at.as_nanos(), call, said: said() });
    }
}
