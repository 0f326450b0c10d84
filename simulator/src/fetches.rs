//! What a cache asks behind: the caches between, then the origins of the target, and what comes of it.
//!
//! Who is asked, how often and how long is decided by [`ParentWay`] and [`Exchange`], what may be stored by [`cdn_core::freshness`], what becomes of it by the store; as in the live node, here these are only asked in
//! turn.

mod headers;
mod landing;
mod leaving;

use std::time::Duration;

use cdn_core::{
    Counter, Instant, Reason,
    conditional::Validators,
    distribution::Origin,
    origin_group::{Exchange, Failure, RequestKind, Step},
    parent_health::Useless,
    parents::{Next, ParentWay, Tier, Worth},
    prefetch::prefetch,
    store::{Begun, FetchId, Served},
};
use http::{HeaderMap, StatusCode};
use world::{EventKind, Sent, workload::Intended};

pub(crate) use self::headers::{Headers, Reading};
use crate::{
    bodies::Print,
    caches::{Asker, Body},
    catalog::Catalog,
    engine::{Alarm, AlarmKind, Happening, Sim},
    maybe::Maybe,
    network::{Connect, Direction, SYN_BYTES},
    slab::Key,
    viewers::Request,
};

/// Bytes of a request behind, and of the head of its response.
const REQUEST_BYTES: u64 = 600;
const HEAD_BYTES: u64 = 500;
/// How long an idle connection to a cache between is kept.
const PARENT_KEEP: Duration = Duration::from_secs(50);

/// A fetch, or a request that is passed on. What few of them have lies elsewhere, so that all are smaller.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) cache: usize,
    pub(crate) revision: usize,
    pub(crate) entry: u32,
    pub(crate) intended: Intended,
    /// Shard and id in the store; `None` for what is passed on.
    pub(crate) lead: Option<(u8, FetchId)>,
    leader: Asker,
    /// It is wanted for itself.
    in_background: bool,
    pub(crate) waiters: Vec<Asker>,
    stale: Option<Box<Served<Body>>>,
    validators: Option<Box<Validators>>,
    /// The question's own preconditions, where it is another cache's.
    conditions: Option<Box<HeaderMap>>,
    reason: Reason,
    /// Past the caches between.
    pub(crate) parent_way: ParentWay,
    asks_parent: bool,
    parent_began: Instant,
    exchange: Option<Box<Exchange>>,
    /// The node that is asked now.
    pub(crate) target: u32,
    pub(crate) conn: Option<Key>,
    reused: bool,
    /// A connect under way: the way and the connection's number.
    connecting: Option<(u32, u32)>,
    requested_at: Instant,
    pub(crate) serial: u16,
    /// Inside the next host since then.
    pub(crate) since: Option<Instant>,
    /// The fetch there that it waits for or leads.
    pub(crate) behind: Option<Key>,
    pub(crate) arrived: Option<Arrived>,
    /// Its head is stored; the body is still arriving.
    in_body: bool,
    /// What a broken connection counts as.
    pub(crate) failure: Failure,
}

/// A response from behind.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) bytes: u64,
    pub(crate) made: Maybe,
    /// See [`Body::print`].
    pub(crate) print: Print,
    pub(crate) ends_at: Instant,
    pub(crate) is_broken: bool,
    pub(crate) parent: Option<FromParent>,
}

/// What a cache between says about its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FromParent {
    pub(crate) tier: Tier,
    pub(crate) hit: bool,
    pub(crate) reason: Reason,
    /// See [`Body::fit_under`].
    pub(crate) fit_under: Option<u8>,
}

impl Arrived {
    /// The response with its headers; what stays says how its body goes on.
    fn hand_over(&mut self) -> Self {
        let headers = std::mem::take(&mut self.headers);
        Self { headers, ..self.clone() }
    }

    const fn body(&self) -> Body {
        let Self { status, made, ends_at, is_broken, print, .. } = *self;
        Body { status, made, ends_at, is_broken, error: None, fit_under: None, print }
    }
}

impl FromParent {
    fn hit_reason(self) -> Option<Reason> {
        self.hit.then(|| self.tier.hit_reason(Some(self.reason)))
    }
}

impl Fetch {
    /// Asks memory for each part of it.
    pub(crate) fn prefetch(&self) {
        prefetch(&self.intended);
        prefetch(&self.requested_at);
        prefetch(&self.parent_began);
        prefetch(&self.cache);
        prefetch(&self.waiters);
        prefetch(&self.arrived);
        prefetch(&self.target);
        prefetch(&self.serial);
    }

    /// How long its origin may be silent within a body.
    pub(crate) fn body_patience(&self) -> Duration {
        self.exchange.as_ref().map_or(Duration::ZERO, |exchange| exchange.body_idle_timeout())
    }

    /// The headers of its question, where they are not those that all have.
    pub(crate) fn own_headers(&self, catalogs: &[Catalog]) -> Option<HeaderMap> {
        let Some(validators) = &self.validators else { return self.conditions.as_deref().cloned() };
        let head = catalogs.get(self.revision)?.head(self.entry, None)?;
        let mut headers = head.headers.clone();
        validators.ask(&mut headers);
        Some(headers)
    }
}

impl Sim<'_> {
    /// Carries out a fetch that the store has begun, for `leader`; `cause` asked for it.
    #[expect(clippy::too_many_arguments, reason = "what the lookup knew")]
    pub(crate) fn start_fetch(
        &mut self,
        cache: usize,
        leader: Asker,
        cause: Asker,
        revision: usize,
        entry: u32,
        shard: u8,
        begun: Begun<Body>,
    ) {
        let validators = begun.validators().cloned().map(Box::new);
        let conditions = if validators.is_some() || leader == Asker::Nobody { None } else { self.conditions_of(cause) };
        let conditions = conditions.map(Box::new);
        let Some(intended) = self.intended_of(cause) else { return };
        let (id, reason) = (begun.id, begun.reason);
        let fetch = Fetch {
            lead: Some((shard, id)),
            stale: begun.stale.map(Box::new),
            validators,
            conditions,
            ..self.blank(cache, leader, revision, entry, intended, reason)
        };
        let key = self.fetches.insert(fetch);
        if let Some(host) = self.caches.get_mut(cache) {
            host.flights.insert((shard, id), key);
        }
        self.waits_for(leader, key);
        self.go_on(key);
    }

    /// Asks behind, by way of the caches between or straight, for one question alone; nothing is stored.
    pub(crate) fn start_pass(
        &mut self,
        cache: usize,
        asker: Asker,
        revision: usize,
        entry: u32,
        parent_way: ParentWay,
        reason: Reason,
    ) {
        let Some(intended) = self.intended_of(asker) else { return };
        let conditions = self.conditions_of(asker).map(Box::new);
        let fetch = Fetch { conditions, parent_way, ..self.blank(cache, asker, revision, entry, intended, reason) };
        let key = self.fetches.insert(fetch);
        self.waits_for(asker, key);
        self.go_on(key);
    }

    #[inline]
    fn blank(
        &self,
        cache: usize,
        leader: Asker,
        revision: usize,
        entry: u32,
        intended: Intended,
        reason: Reason,
    ) -> Fetch {
        Fetch {
            cache,
            revision,
            entry,
            intended,
            lead: None,
            leader,
            in_background: leader == Asker::Nobody,
            waiters: Vec::new(),
            stale: None,
            validators: None,
            conditions: None,
            reason,
            parent_way: ParentWay::default(),
            asks_parent: false,
            parent_began: self.now,
            exchange: None,
            target: u32::MAX,
            conn: None,
            reused: false,
            connecting: None,
            requested_at: self.now,
            serial: 0,
            since: None,
            behind: None,
            arrived: None,
            in_body: false,
            failure: Failure::Reset,
        }
    }

    fn intended_of(&self, asker: Asker) -> Option<Intended> {
        match asker {
            Asker::Viewer(key) => self.requests.get(key).map(Request::intended),
            Asker::Cache(key) => self.fetches.get(key).map(|fetch| fetch.intended),
            Asker::Nobody => None,
        }
    }

    /// The headers of a question, where they are not those that all have.
    pub(crate) fn conditions_of(&self, asker: Asker) -> Option<HeaderMap> {
        match asker {
            Asker::Cache(key) => self.fetches.get(key)?.own_headers(&self.catalogs),
            Asker::Viewer(_) | Asker::Nobody => None,
        }
    }

    /// To the next cache between that is worth asking, or to the origins.
    fn go_on(&mut self, key: Key) {
        let now = self.now;
        loop {
            let Some(fetch) = self.fetches.get_mut(key) else { return };
            let Some(host) = self.caches.get(fetch.cache) else { return };
            let Some(origin) = first_origin(&self.catalogs, fetch) else { break };
            let parent = |place: usize| host.parents.get(place);
            let worth = |place| parent(place).is_some_and(|parent| parent.health.is_worth_asking(now));
            match fetch.parent_way.next(origin, |place| parent(place).map(|parent| parent.tier), worth) {
                Next::Ask(place) => {
                    let Some(parent) = parent(place) else { break };
                    (fetch.asks_parent, fetch.parent_began, fetch.target) = (true, now, parent.node);
                    return self.connect_to_parent(key, true);
                }
                Next::PassBy(_) => self.pass_parent_by(key),
                Next::Origins => break,
            }
        }
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.asks_parent = false;
        let exchange = self.catalogs.get(fetch.revision).and_then(|catalog| {
            let head = catalog.head(fetch.entry, None)?;
            let kind = RequestKind::of(head.method, head.behavior);
            Exchange::toward(now, kind, head.distribution, head.behavior.target())
        });
        match exchange {
            Some(exchange) => {
                fetch.exchange = Some(Box::new(exchange));
                self.drive(key);
            }
            None => self.give_up(key, StatusCode::BAD_GATEWAY, Reason::OriginUnreachable),
        }
    }

    /// Counts that the cache between that its way has come to is not asked, or was of no use.
    fn pass_parent_by(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(key) else { return };
        let Some(host) = self.caches.get(fetch.cache) else { return };
        let Some(parent) = host.parent_of(fetch) else { return };
        self.bump(host.node, parent.tier.bypass_counter());
    }

    /// A parent was of no use: it is left alone for a while where it was silent.
    fn handle_useless_parent(&mut self, key: Key) {
        let (now, retry) = (self.now, self.plan.parent_retry);
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.serial = fetch.serial.wrapping_add(1);
        let (began, patience) = (fetch.parent_began, patience_of(&self.catalogs, fetch));
        if let Some(conn) = fetch.conn.take() {
            self.conns.remove(conn);
        }
        if let Some(parent) = self.caches.get_mut(fetch.cache).and_then(|host| host.parent_of_mut(fetch)) {
            parent.health.on_useless(Useless { began, ended: now, patience, retry });
        }
        self.leave_behind(key);
        self.pass_parent_by(key);
        self.go_on(key);
    }

    fn connect_to_parent(&mut self, key: Key, may_reuse: bool) {
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.serial = fetch.serial.wrapping_add(1);
        let (cache, target) = (fetch.cache, fetch.target);
        let timeout = patience_of(&self.catalogs, fetch);
        let kept = if may_reuse { self.take_idle(cache, target, PARENT_KEEP) } else { None };
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.reused = kept.is_some();
        if let Some(conn) = kept {
            fetch.conn = Some(conn);
            return self.send_to_parent(key);
        }
        let serial = fetch.serial;
        self.set_alarm(timeout, Alarm { fetch: key, serial, kind: AlarmKind::Parent });
        self.dial(key);
    }

    /// A handshake with the node that is asked now.
    fn dial(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(key) else { return };
        let (cache, target) = (fetch.cache, fetch.target);
        let Some(own) = self.caches.get(cache).map(|host| host.node) else { return };
        let (way, id) = (self.nodes_way(own, target), self.network.connection());
        if let Some(fetch) = self.fetches.get_mut(key) {
            fetch.connecting = Some((way, id));
        }
        self.send_syn(key);
    }

    fn send_syn(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(key) else { return };
        let (Some((way, id)), target, serial) = (fetch.connecting, fetch.target, fetch.serial) else { return };
        let disturbance = self.disturbance(way, target, id);
        let is_dead = self.nodes.get(target as usize).is_none_or(|node| node.is_dead);
        match self.network.connect(way, self.now, &disturbance, SYN_BYTES) {
            Connect::Answer(at) if is_dead || disturbance.refuse => {
                self.queue.push(at, Happening::FetchRefused(key, serial));
            }
            Connect::Answer(at) => self.queue.push(at, Happening::FetchConnected(key, serial)),
            Connect::Silent(again_at) => self.queue.push(again_at, Happening::FetchSyn(key, serial)),
        }
    }

    pub(crate) fn handle_fetch_syn(&mut self, key: Key, serial: u16) {
        if self.fetches.get(key).is_some_and(|fetch| fetch.serial == serial) {
            self.send_syn(key);
        }
    }

    pub(crate) fn handle_fetch_connected(&mut self, key: Key, serial: u16) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key).filter(|fetch| fetch.serial == serial) else { return };
        let (Some((way, id)), target, cache) = (fetch.connecting.take(), fetch.target, fetch.cache) else { return };
        if let Some(exchange) = &mut fetch.exchange {
            exchange.on_connected(now, false);
        }
        let asks_parent = fetch.asks_parent;
        let conn = self.open(way, target, id);
        if let Some(fetch) = self.fetches.get_mut(key) {
            fetch.conn = Some(conn);
        }
        if let Some(own) = self.caches.get(cache).map(|host| host.node) {
            self.bump(own, Counter::EdgeOriginConnects);
        }
        if asks_parent { self.send_to_parent(key) } else { self.drive(key) }
    }

    pub(crate) fn handle_fetch_refused(&mut self, key: Key, serial: u16) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key).filter(|fetch| fetch.serial == serial) else { return };
        fetch.connecting = None;
        if fetch.asks_parent {
            return self.handle_useless_parent(key);
        }
        let cache = fetch.cache;
        if let Some(exchange) = &mut fetch.exchange {
            exchange.on_failure(now, Failure::Refused);
        }
        if let Some(own) = self.caches.get(cache).map(|host| host.node) {
            self.bump(own, Counter::EdgeOriginConnectFailures);
        }
        self.drive(key);
    }

    fn send_to_parent(&mut self, key: Key) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.serial = fetch.serial.wrapping_add(1);
        fetch.requested_at = now;
        let (serial, timeout) = (fetch.serial, patience_of(&self.catalogs, fetch));
        if let Some(host) = self.caches.get(fetch.cache)
            && let Some(parent) = host.parent_of(fetch)
        {
            self.bump(host.node, parent.tier.request_counter());
        }
        self.set_alarm(timeout, Alarm { fetch: key, serial, kind: AlarmKind::Parent });
        self.send_question(key, serial, Happening::AtParent(key, serial));
    }

    /// The request goes out on the connection; `arrival` happens when it is there.
    fn send_question(&mut self, key: Key, serial: u16, arrival: Happening) {
        let Some(fetch) = self.fetches.get(key).filter(|fetch| fetch.serial == serial) else { return };
        let Some((conn_key, conn)) = fetch.conn.and_then(|conn| Some((conn, self.conns.get(conn)?))) else { return };
        let target = self.disturbance(conn.way, conn.node(), conn.id);
        let Some(conn) = self.conns.get_mut(conn_key) else { return };
        let way = conn.way;
        if target.reset {
            let at = self.now + self.network.rtt(way);
            return self.queue.push(at, Happening::FetchBroken(key, serial));
        }
        match self.network.send(way, Direction::Up, self.now, REQUEST_BYTES, &mut conn.up, &target) {
            Sent::Arrives { last, .. } => self.queue.push(last, arrival),
            // The exchange's deadline is what ends it, or the healing.
            Sent::Silent { again_at } => self.queue.push(again_at, Happening::OriginAgain(key, serial)),
        }
    }

    pub(crate) fn handle_origin_again(&mut self, key: Key, serial: u16) {
        let Some(fetch) = self.fetches.get(key).filter(|fetch| fetch.serial == serial) else { return };
        let arrival =
            if fetch.asks_parent { Happening::AtParent(key, serial) } else { Happening::AtOrigin(key, serial) };
        self.send_question(key, serial, arrival);
    }

    pub(crate) fn handle_at_parent(&mut self, key: Key, serial: u16) {
        let Some(fetch) = self.fetches.get(key).filter(|fetch| fetch.serial == serial) else { return };
        let Some(conn) = fetch.conn.and_then(|conn| self.conns.get(conn)) else { return };
        if let Some(again_at) = self.network.swallowed(conn.way, Direction::Up, self.now) {
            return self.queue.push(again_at, Happening::AtParent(key, serial));
        }
        if self.is_broken(conn) {
            let at = self.now + self.network.one_way(conn.way, Direction::Down);
            return self.queue.push(at, Happening::FetchBroken(key, serial));
        }
        let Some(node) = self.nodes.get_mut(fetch.target as usize) else { return };
        if node.is_paused {
            return node.held.push(Happening::AtParent(key, serial));
        }
        let Some(cache) = node.cache else { return };
        if let Some(fetch) = self.fetches.get_mut(key) {
            fetch.since = Some(self.now);
        }
        self.ask(cache, Asker::Cache(key));
    }

    /// A response leaves for whoever asked, over the connection that was asked on.
    pub(crate) fn send_reply(&mut self, key: Key, serial: u16) {
        let Some(fetch) = self.fetches.get(key).filter(|fetch| fetch.serial == serial) else { return };
        let Some((conn_key, conn)) = fetch.conn.and_then(|conn| Some((conn, self.conns.get(conn)?))) else { return };
        let Some(bytes) = fetch.arrived.as_ref().map(|arrived| arrived.bytes) else { return };
        let target = self.disturbance(conn.way, conn.node(), conn.id);
        let Some(conn) = self.conns.get_mut(conn_key) else { return };
        let way = conn.way;
        match self.network.send(way, Direction::Down, self.now, bytes + HEAD_BYTES, &mut conn.down, &target) {
            Sent::Arrives { first, last } => {
                let one_way = self.network.one_way(way, Direction::Down);
                let is_late = |ends_at: Instant| ends_at > self.now;
                if let Some(arrived) = self.fetches.get_mut(key).and_then(|fetch| fetch.arrived.as_mut()) {
                    let ends_at = arrived.ends_at;
                    arrived.ends_at = if is_late(ends_at) { last.max(ends_at + one_way) } else { last };
                }
                self.queue.push(first, Happening::FetchHead(key, serial));
            }
            Sent::Silent { again_at } => self.queue.push(again_at, Happening::ReplyAgain(key, serial)),
        }
    }

    pub(crate) fn handle_reply_again(&mut self, key: Key, serial: u16) {
        self.send_reply(key, serial);
    }

    /// A deadline has passed.
    pub(crate) fn handle_alarm(&mut self, alarm: Alarm) {
        let now = self.now;
        let key = alarm.fetch;
        match alarm.kind {
            AlarmKind::Waiters => self.handle_overdue(key),
            AlarmKind::Parent => {
                let Some(fetch) = self.fetches.get(key) else { return };
                if fetch.connecting.is_some() {
                    return self.handle_useless_parent(key);
                }
                // It may be waiting for a slow origin, or be gone.
                let patience = patience_of(&self.catalogs, fetch);
                self.check_alive(key, alarm.serial, patience);
            }
            AlarmKind::Exchange => {
                let Some(fetch) = self.fetches.get_mut(key) else { return };
                let cache = fetch.cache;
                let was_connecting = fetch.connecting.take().is_some();
                if let Some(exchange) = &mut fetch.exchange {
                    exchange.on_timeout(now);
                }
                if let Some(own) = self.caches.get(cache).map(|host| host.node).filter(|_| was_connecting) {
                    self.bump(own, Counter::EdgeOriginConnectFailures);
                }
                self.leave_behind(key);
                self.drive(key);
            }
        }
    }

    pub(crate) fn handle_alive_checked(&mut self, key: Key, serial: u16, alive: bool) {
        let Some(fetch) = self.fetches.get(key).filter(|fetch| fetch.serial == serial) else { return };
        if !alive {
            return self.handle_useless_parent(key);
        }
        let timeout = patience_of(&self.catalogs, fetch);
        self.set_alarm(timeout, Alarm { fetch: key, serial, kind: AlarmKind::Parent });
    }

    /// Does what the exchange with the origins says next.
    fn drive(&mut self, key: Key) {
        let now = self.now;
        loop {
            let Some(fetch) = self.fetches.get_mut(key) else { return };
            let cache = fetch.cache;
            let Some(exchange) = &mut fetch.exchange else { return };
            match exchange.step() {
                Step::Connect { member, deadline, may_reuse } => {
                    fetch.serial = fetch.serial.wrapping_add(1);
                    let serial = fetch.serial;
                    fetch.arrived = None;
                    if let Some(conn) = fetch.conn.take() {
                        self.conns.remove(conn);
                    }
                    let id = exchange.origin_id(member);
                    let origin = self.origins.iter().find(|origin| {
                        self.plan.nodes.get(origin.node as usize).is_some_and(|spec| spec.id.name() == id)
                    });
                    let Some(target) = origin.map(|origin| origin.node) else {
                        exchange.on_failure(now, Failure::Unreachable);
                        continue;
                    };
                    fetch.target = target;
                    let keep = origin_named(&self.catalogs, fetch, member);
                    let keep = keep.map_or(Duration::ZERO, |origin| origin.keepalive_timeout);
                    let kept = if may_reuse { self.take_idle(cache, target, keep) } else { None };
                    let Some(fetch) = self.fetches.get_mut(key) else { return };
                    fetch.reused = kept.is_some();
                    fetch.conn = kept;
                    if kept.is_some() {
                        if let Some(exchange) = &mut fetch.exchange {
                            exchange.on_connected(now, true);
                        }
                        continue;
                    }
                    self.set_alarm(deadline - now, Alarm { fetch: key, serial, kind: AlarmKind::Exchange });
                    return self.dial(key);
                }
                Step::Send { deadline, .. } => {
                    fetch.serial = fetch.serial.wrapping_add(1);
                    fetch.requested_at = now;
                    let serial = fetch.serial;
                    if let Some(own) = self.caches.get(cache).map(|host| host.node) {
                        self.bump(own, Counter::EdgeOriginRequests);
                    }
                    self.set_alarm(deadline - now, Alarm { fetch: key, serial, kind: AlarmKind::Exchange });
                    return self.send_question(key, serial, Happening::AtOrigin(key, serial));
                }
                Step::Serve { .. } => {
                    self.count_failover(key);
                    return self.land(key);
                }
                Step::GiveUp { failure, .. } => {
                    self.count_failover(key);
                    return self.give_up(key, failure.status(), failure.reason());
                }
            }
        }
    }

    fn count_failover(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(key) else { return };
        let Some(exchange) = &fetch.exchange else { return };
        let Some(own) = self.caches.get(fetch.cache).map(|host| host.node) else { return };
        let (moved, forbidden) = (exchange.failed_over().is_some(), exchange.only_codes_forbade_failover());
        if moved {
            self.bump(own, Counter::EdgeFailovers);
            self.note(EventKind::FailedOver { node: own, count: 1 });
        }
        if forbidden {
            self.bump(own, Counter::EdgeFailoversForbiddenByCodes);
        }
    }

    /// The head of a response is there.
    pub(crate) fn handle_fetch_head(&mut self, key: Key, serial: u16) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key).filter(|fetch| fetch.serial == serial) else { return };
        let Some(conn) = fetch.conn.and_then(|conn| self.conns.get(conn)) else { return };
        if let Some(again_at) = self.network.swallowed(conn.way, Direction::Down, now) {
            return self.queue.push(again_at, Happening::FetchHead(key, serial));
        }
        fetch.serial = fetch.serial.wrapping_add(1);
        let Some(arrived) = &fetch.arrived else { return };
        let (status, parent) = (arrived.status, arrived.parent);
        match parent {
            Some(answer) => {
                let worth = Worth::of(status, Some(answer.reason));
                if worth == Worth::Nothing {
                    return self.handle_useless_parent(key);
                }
                if let Some(parent) = self.caches.get_mut(fetch.cache).and_then(|host| host.parent_of_mut(fetch)) {
                    parent.health.on_answer();
                }
                match worth {
                    Worth::Failure(reason) => {
                        self.release_connection(key);
                        self.give_up(key, status, reason);
                    }
                    Worth::Response | Worth::Nothing => self.land(key),
                }
            }
            None => {
                if let Some(exchange) = &mut fetch.exchange {
                    exchange.on_response(now, status);
                }
                self.drive(key);
            }
        }
    }

    /// The connection broke.
    pub(crate) fn handle_fetch_broken(&mut self, key: Key, serial: u16) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key).filter(|fetch| fetch.serial == serial) else { return };
        fetch.since = None;
        fetch.behind = None;
        let reused = fetch.reused;
        if let Some(conn) = fetch.conn.take() {
            self.conns.remove(conn);
        }
        if fetch.asks_parent {
            return if reused { self.connect_to_parent(key, false) } else { self.handle_useless_parent(key) };
        }
        let failure = std::mem::replace(&mut fetch.failure, Failure::Reset);
        if let Some(exchange) = &mut fetch.exchange {
            exchange.on_failure(now, failure);
        }
        self.drive(key);
    }

    /// Removes a fetch that is resolved; its connection goes home. Returns who waited.
    fn fetch_is_over(&mut self, key: Key) -> Vec<Asker> {
        self.release_connection(key);
        let Some(fetch) = self.fetches.get_mut(key) else { return Vec::new() };
        if let Some((at, id)) = fetch.lead
            && let Some(host) = self.caches.get_mut(fetch.cache)
        {
            host.flights.remove(&(at, id));
        }
        let waiters = std::mem::take(&mut fetch.waiters);
        self.fetches.discard(key);
        waiters
    }

    fn release_connection(&mut self, key: Key) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        let Some(conn) = fetch.conn.take() else { return };
        // One that was in use when faults were laid would hide them as well as one that was idle.
        let is_old = self.conns.get(conn).is_none_or(|conn| conn.idle_since < self.faults_laid_at);
        let is_broken = is_old || fetch.arrived.as_ref().is_none_or(|arrived| arrived.is_broken);
        let (cache, target) = (fetch.cache, fetch.target);
        let idle_max = self.plan.idle_max;
        let kept = self.caches.get_mut(cache).map(|host| host.idle.entry(target).or_default());
        match kept.filter(|kept| !is_broken && kept.len() < idle_max) {
            Some(kept) => {
                kept.push(conn);
                if let Some(conn) = self.conns.get_mut(conn) {
                    conn.idle_since = now;
                }
            }
            None => drop(self.conns.remove(conn)),
        }
    }

    /// The youngest idle connection to a node that still lives.
    fn take_idle(&mut self, cache: usize, target: u32, keep: Duration) -> Option<Key> {
        loop {
            let key = self.caches.get_mut(cache)?.idle.get_mut(&target)?.pop()?;
            let conn = self.conns.get(key)?;
            if self.now.saturating_since(conn.idle_since) < keep && !self.is_broken(conn) {
                if let Some(own) = self.caches.get(cache).map(|host| host.node) {
                    self.bump(own, Counter::EdgeOriginReuses);
                }
                return Some(key);
            }
            self.conns.remove(key);
        }
    }
}

/// The first origin of a fetch's target.
fn first_origin<'a>(catalogs: &'a [Catalog], fetch: &Fetch) -> Option<&'a Origin> {
    origin_named(catalogs, fetch, 0)
}

/// How long a cache between may give no sign of life: as long as a connection to the origin behind may take.
fn patience_of(catalogs: &[Catalog], fetch: &Fetch) -> Duration {
    first_origin(catalogs, fetch).map_or(Duration::from_secs(10), |origin| origin.connection_timeout)
}

fn origin_named<'a>(catalogs: &'a [Catalog], fetch: &Fetch, member: usize) -> Option<&'a Origin> {
    let head = catalogs.get(fetch.revision)?.head(fetch.entry, None)?;
    let target = head.behavior.target();
    let id = match head.distribution.group(target) {
        Some(group) => group.members.get(member)?,
        None => target,
    };
    head.distribution.origin(id)
}
