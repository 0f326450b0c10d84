//! What comes of a response from behind: what may be stored of it, who gets it, and what stands in where there is none.

use std::{sync::Arc, time::Duration};

use cdn_core::{
    Counter, Reason, forward,
    freshness::{self, Arrival, ERROR_CACHING_MIN_TTL, Said, Storing},
    parents::ParentWay,
    store::{Failed, FetchError, NotStored, Outcome, Served, Storable, StoredHead},
    vary::Vary,
};
use http::{HeaderMap, StatusCode};
use world::CacheOutcome;

use super::{Arrived, FromParent, Headers};
use crate::{
    caches::{Asker, Body, error_head},
    engine::{Happening, Sim},
    slab::Key,
};

impl Sim<'_> {
    /// The response at hand is the answer: what may be stored of it, and who gets it.
    pub(super) fn land(&mut self, key: Key) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        let Some(arrived) = fetch.arrived.as_mut().map(Arrived::hand_over) else { return };
        let (cache, leader, lead) = (fetch.cache, fetch.leader, fetch.lead);
        let (revision, entry, requested_at) = (fetch.revision, fetch.entry, fetch.requested_at);
        let hit_reason = arrived.parent.and_then(FromParent::hit_reason);
        let hit_counter = arrived.parent.zip(hit_reason).and_then(|(parent, reason)| parent.tier.hit_counter(reason));
        let reason = hit_reason.unwrap_or(fetch.reason);
        let is_confirmation = arrived.status == StatusCode::NOT_MODIFIED && fetch.validators.is_some();
        let stale = fetch.stale.take();
        let is_personal = fetch.conditions.is_some() && matches!(arrived.status.as_u16(), 206 | 304 | 412 | 416);
        let conditions = self.conditions_of(leader);
        let Some(own) = self.caches.get(cache).map(|host| host.node) else { return };
        let date = self.wall(own);
        if let Some(counter) = hit_counter.filter(|_| lead.is_some() && leader != Asker::Nobody) {
            self.bump(own, counter);
        }
        let Some((at, id)) = lead else {
            let served = self.served_of(&arrived);
            self.fetch_is_over(key);
            return self.serve(cache, leader, &served, CacheOutcome::Pass, reason, conditions.as_ref());
        };
        // What another cache has stored under the same configuration was read before.
        let fit_under = u8::try_from(revision).ok();
        let is_fit = fit_under.is_some() && arrived.parent.is_some_and(|parent| parent.fit_under == fit_under);
        let passed_on = match &arrived.headers {
            Headers::Stored(head, age) if is_fit => {
                self.catalogs.get_mut(revision).and_then(|catalog| catalog.read(entry, head)).map(|()| *age)
            }
            _ => None,
        };
        let catalog = self.catalogs.get(revision);
        let Some(head) = catalog.and_then(|catalog| catalog.head(entry, None)) else { return };
        let passed_on = passed_on.and_then(|age| Some((catalog?.reading(entry)?, age)));
        let behavior = head.behavior;
        let assess = |status: StatusCode, said: &Said, vary: &Vary| {
            freshness::assess(&Arrival {
                status,
                said,
                vary,
                requested_at,
                responded_at: now,
                date,
                policy: behavior.cache_policy(),
                error_ttl_min: ERROR_CACHING_MIN_TTL,
                authorized: behavior.forwards_authorization_of(head.headers),
            })
        };
        let read = |headers: &HeaderMap| Said::of(headers, behavior.cache_policy().rules);
        let receive = |headers: &mut HeaderMap| {
            forward::receive_response_headers(headers, behavior, date);
            forward::withhold(headers, behavior);
        };
        let Some(shard) = self.caches.get_mut(cache).and_then(|host| host.shard(at)) else { return };
        if is_confirmation && let Some(stale) = stale {
            let mut headers = stale.head.headers_confirmed_by(&arrived.headers.lines(), date);
            let vary = Vary::of(&headers, behavior);
            let storing = assess(stale.head.status(), &read(&headers), &vary);
            receive(&mut headers);
            let stored = Arc::new(StoredHead::new(stale.head.status(), headers));
            let outcome = match storing {
                Storing::Store(lifetime) => {
                    shard.refreshed_with(now, id, Arc::clone(&stored), lifetime, |body| body.made = arrived.made)
                }
                Storing::Refuse(_) => {
                    shard.uncacheable(now, id);
                    Outcome::NotStored(NotStored::Gone)
                }
            };
            let served = match outcome {
                Outcome::Stored(served) | Outcome::Arriving(served) => served,
                Outcome::NotStored(_) => {
                    Served { head: stored, body: Body { made: arrived.made, ..stale.body }, ..*stale }
                }
            };
            let waiters = self.fetch_is_over(key);
            self.serve(cache, leader, &served, CacheOutcome::RefreshHit, Reason::RefreshHit, conditions.as_ref());
            return self.wake(cache, waiters);
        }
        if let Failed::Stale(served) = shard.failed(now, id, FetchError::Status(arrived.status)) {
            let waiters = self.fetch_is_over(key);
            self.serve(cache, leader, &served, CacheOutcome::Stale, Reason::HitStaleOnError, conditions.as_ref());
            return self.wake(cache, waiters);
        }
        if is_personal {
            shard.released(id);
            let served = self.served_of(&arrived);
            let waiters = self.fetch_is_over(key);
            self.serve(cache, leader, &served, CacheOutcome::Miss, reason, None);
            for waiter in waiters {
                self.start_pass(cache, waiter, revision, entry, ParentWay::default(), Reason::MissUncacheable);
            }
            return;
        }
        let (storing, vary, stored_head) = match passed_on {
            Some((reading, age)) => {
                let storing = assess(arrived.status, &reading.said.with_age(age), &reading.vary);
                (storing, reading.vary.clone(), Arc::clone(&reading.head))
            }
            None => {
                let mut headers = arrived.headers.lines().into_owned();
                let (vary, said) = (Vary::of(&headers, behavior), read(&headers));
                receive(&mut headers);
                (assess(arrived.status, &said, &vary), vary, Arc::new(StoredHead::new(arrived.status, headers)))
            }
        };
        let Storing::Store(lifetime) = storing else {
            shard.uncacheable(now, id);
            let served = self.served_of(&arrived);
            let waiters = self.fetch_is_over(key);
            let reason = hit_reason.unwrap_or(Reason::MissUncacheable);
            self.serve(cache, leader, &served, CacheOutcome::Miss, reason, conditions.as_ref());
            return self.wake(cache, waiters);
        };
        let body = Body { fit_under, ..arrived.body() };
        let complete = arrived.ends_at <= now && !arrived.is_broken;
        let storable =
            Storable { head: stored_head, body, bytes: arrived.bytes, complete, lifetime, vary, request: head.headers };
        let outcome = shard.fetched(now, id, storable);
        let served = match outcome {
            Outcome::Stored(served) | Outcome::Arriving(served) => {
                if !complete {
                    if let Some(fetch) = self.fetches.get_mut(key) {
                        fetch.in_body = true;
                    }
                    self.queue.push(arrived.ends_at.max(now), Happening::BodyEnd(key));
                }
                served
            }
            Outcome::NotStored(_) => self.served_of(&arrived),
        };
        let is_arriving = self.fetches.get(key).is_some_and(|fetch| fetch.in_body);
        let waiters = if is_arriving {
            let fetch = self.fetches.get_mut(key);
            fetch
                .map(|fetch| {
                    fetch.leader = Asker::Nobody;
                    std::mem::take(&mut fetch.waiters)
                })
                .unwrap_or_default()
        } else {
            self.fetch_is_over(key)
        };
        self.serve(cache, leader, &served, CacheOutcome::Miss, reason, conditions.as_ref());
        self.wake(cache, waiters);
    }

    /// What one asker gets of a response that is not stored.
    fn served_of(&self, arrived: &Arrived) -> Served<Body> {
        Served {
            head: Arc::new(StoredHead::new(arrived.status, arrived.headers.lines().into_owned())),
            body: arrived.body(),
            bytes: arrived.bytes,
            complete: true,
            age: Duration::ZERO,
            fresh_for: Duration::ZERO,
        }
    }

    /// No origin gave a response: a stale one stands in, or the error is stored as CloudFront stores errors.
    pub(super) fn give_up(&mut self, key: Key, status: StatusCode, reason: Reason) {
        let now = self.now;
        let Some(fetch) = self.fetches.get(key) else { return };
        let (cache, leader, lead) = (fetch.cache, fetch.leader, fetch.lead);
        let (revision, entry) = (fetch.revision, fetch.entry);
        let conditions = self.conditions_of(leader);
        let Some((at, id)) = lead else {
            self.fetch_is_over(key);
            return self.refuse(cache, leader, status, reason);
        };
        let Some(own) = self.caches.get(cache).map(|host| host.node) else { return };
        let date = self.wall(own);
        let Some(head) = self.catalogs.get(revision).and_then(|catalog| catalog.head(entry, None)) else { return };
        let Some(shard) = self.caches.get_mut(cache).and_then(|host| host.shard(at)) else { return };
        if let Failed::Stale(served) = shard.failed(now, id, FetchError::NoResponse) {
            let waiters = self.fetch_is_over(key);
            self.serve(cache, leader, &served, CacheOutcome::Stale, Reason::HitStaleOnError, conditions.as_ref());
            return self.wake(cache, waiters);
        }
        let storing = freshness::assess(&Arrival {
            status,
            said: &Said::of(&HeaderMap::new(), head.behavior.cache_policy().rules),
            vary: &Vary::default(),
            requested_at: now,
            responded_at: now,
            date,
            policy: head.behavior.cache_policy(),
            error_ttl_min: ERROR_CACHING_MIN_TTL,
            authorized: head.behavior.forwards_authorization_of(head.headers),
        });
        match storing {
            Storing::Store(lifetime) => {
                let storable = Storable {
                    head: error_head(status),
                    body: Body::of_error(status, now, reason),
                    bytes: 0,
                    complete: true,
                    lifetime,
                    vary: Vary::default(),
                    request: head.headers,
                };
                let _ = shard.fetched(now, id, storable);
            }
            Storing::Refuse(_) => shard.released(id),
        }
        let waiters = self.fetch_is_over(key);
        self.refuse(cache, leader, status, reason);
        self.wake(cache, waiters);
    }

    /// The body has arrived, or has broken off.
    pub(crate) fn handle_body_end(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(key) else { return };
        let (cache, Some((at, id)), Some(arrived)) = (fetch.cache, fetch.lead, &fetch.arrived) else { return };
        let (bytes, is_broken) = (arrived.bytes, arrived.is_broken);
        let mut own = None;
        if let Some(host) = self.caches.get_mut(cache) {
            own = Some(host.node);
            if let Some(shard) = host.shard(at) {
                if is_broken {
                    shard.aborted(id);
                } else {
                    shard.completed(id, bytes);
                }
            }
        }
        if let Some(own) = own.filter(|_| is_broken) {
            self.bump(own, Counter::EdgeFetchesTruncated);
        }
        self.fetch_is_over(key);
    }
}
