//! Viewers: from the request that somebody means to make to its last byte.
//!
//! A user keeps connections as a browser does, asks a resolver where none is kept, races the addresses of the answer and
//! tells routers what round trips it saw. Which address is tried when is decided in [`world::client`].

mod connect;
mod reports;
mod request;

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasherDefault,
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use cdn_core::{Instant, Reason, prefetch::prefetch_at};
use ipnet::Ipv4Net;
use world::{
    CacheOutcome, Integrity, Observation, Outcome, Sent,
    client::DeadAddresses,
    scenario::{Connections, Scenario, Transport},
    workload::{Habits, Intended, RetryBudget},
};

pub(crate) use self::request::Request;
use crate::{
    caches::{Answer, Asker},
    catalog::Catalog,
    engine::{Conn, Happening, Sim},
    hash::Mixer,
    maybe::Maybe,
    network::{Direction, Network},
    plan::Plan,
    slab::{Key, NO_PLACE, Slab},
};

/// Bytes of a viewer's request: its line, `Host` and a few headers.
const REQUEST_BYTES: u64 = 200;
/// Bytes of the head of a response to a viewer.
const HEAD_BYTES: u64 = 500;
/// An edge closes a client connection that is idle for so long.
const EDGE_IDLE: Duration = Duration::from_secs(60);
/// No node.
const NOBODY: u32 = u32::MAX;
/// Failed addresses that are remembered.
const DEAD_MAX: usize = 1024;

/// All viewers.
#[derive(Debug)]
pub(crate) struct Viewers {
    /// By load and user.
    clients: Vec<Vec<Client>>,
    /// By load.
    connections: Vec<Connections>,
    budgets: Vec<RetryBudget>,
    hosts: Vec<Option<usize>>,
    /// By place of the atlas.
    places: Vec<Option<Stand>>,
    dead: DeadAddresses<(u16, u32)>,
    beacons: HashMap<u64, Instant, BuildHasherDefault<Mixer>>,
    measured: HashMap<u64, Instant, BuildHasherDefault<Mixer>>,
}

/// Where viewers of a place stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    pub(crate) site: u16,
    pub(crate) block: Ipv4Net,
    pub(crate) resolver_site: u16,
    pub(crate) resolver_address: Ipv4Addr,
}

/// A user.
#[derive(Clone, Debug)]
struct Client {
    /// The place of the connection that has waited least, which names the next, and so on; [`NO_PLACE`] where none waits.
    youngest: u32,
    open: u16,
    /// Requests for which there is no connection; hardly ever any.
    #[allow(clippy::box_collection, reason = "hardly anybody waits, and everybody would carry the queue's length")]
    waiting: Option<Box<VecDeque<Key>>>,
}

impl Default for Client {
    fn default() -> Self {
        Self { youngest: NO_PLACE, open: 0, waiting: None }
    }
}

impl Client {
    fn take(&mut self, conns: &Slab<Conn>) -> Option<Key> {
        let taken = conns.key_at(self.youngest)?;
        self.youngest = conns.get(taken).map_or(NO_PLACE, |conn| conn.older);
        Some(taken)
    }

    fn keep(&mut self, now: Instant, key: Key, conns: &mut Slab<Conn>) {
        if let Some(conn) = conns.get_mut(key) {
            (conn.idle_since, conn.older) = (now, self.youngest);
            self.youngest = key.place;
        }
    }

    /// The request that has waited longest. A queue that nobody is left in goes, so that nobody looks into it.
    fn next_in_line(&mut self) -> Option<Key> {
        let waiting = self.waiting.as_mut()?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting = None;
        }
        first
    }
}

impl Viewers {
    pub(crate) fn new(plan: &Plan, scenario: &Scenario, network: &mut Network) -> Self {
        let atlas = plan.world.atlas();
        let resolver = plan.viewer.resolver.as_ref();
        let places = atlas.places().map(|place| {
            let own = atlas.client_network(place)?;
            let at = resolver.unwrap_or(place);
            let resolver_address = atlas.client_network(at).map_or(own.resolver, |network| network.resolver);
            Some(Stand {
                site: network.site(place),
                block: own.block,
                resolver_site: network.site(at),
                resolver_address,
            })
        });
        let hosts = scenario.loads.iter();
        Self {
            clients: scenario.loads.iter().map(|_| Vec::new()).collect(),
            connections: scenario.loads.iter().map(|load| load.connections).collect(),
            budgets: scenario.loads.iter().map(|load| RetryBudget::new(load.retry)).collect(),
            hosts: hosts.map(|load| plan.hosts.iter().position(|host| host.id == load.distribution)).collect(),
            places: places.collect(),
            dead: DeadAddresses::new(plan.viewer.dead_for, DEAD_MAX),
            beacons: HashMap::default(),
            measured: HashMap::default(),
        }
    }

    /// What carries the requests of a load.
    fn transport(&self, load: u16) -> Transport {
        self.connections.get(usize::from(load)).map_or(Transport::Tcp, |connections| connections.transport)
    }

    pub(crate) fn stand(&self, place: u32) -> Option<Stand> {
        self.places.get(place as usize).copied().flatten()
    }

    pub(crate) fn host(&self, load: u16) -> Option<usize> {
        self.hosts.get(usize::from(load)).copied().flatten()
    }

    /// Asks memory for a user.
    pub(crate) fn prefetch(&self, intended: &Intended) {
        if let Some(clients) = self.clients.get(usize::from(intended.load)) {
            prefetch_at(clients, intended.user as usize);
        }
    }

    /// The place of the connection that a user would use next; [`NO_PLACE`] where there is none.
    pub(crate) fn kept(&self, intended: &Intended) -> u32 {
        let of_load = self.clients.get(usize::from(intended.load));
        of_load.and_then(|clients| clients.get(intended.user as usize)).map_or(NO_PLACE, |client| client.youngest)
    }

    fn client(&mut self, intended: &Intended) -> Option<&mut Client> {
        let of_load = self.clients.get_mut(usize::from(intended.load))?;
        let user = intended.user as usize;
        if of_load.len() <= user {
            of_load.resize(user + 1, Client::default());
        }
        of_load.get_mut(user)
    }
}

impl Sim<'_> {
    /// Somebody means to make a request now, for this entry of the first catalog if that is known.
    pub(crate) fn handle_intended(&mut self, intended: &Intended, known: Option<u32>) {
        self.ledger.intended += 1;
        if let Some(budget) = self.viewers.budgets.get_mut(usize::from(intended.load)) {
            budget.handle_first();
        }
        let find = |all: &mut Catalog| all.find(intended.load, intended.object, intended.size);
        let entry = known.or_else(|| self.catalogs.first_mut().and_then(find));
        let key = self.requests.insert(Request::new(intended, entry));
        self.begin(key);
    }

    /// A request is made, for the first time or again.
    pub(crate) fn begin(&mut self, key: Key) {
        let now = self.now;
        let Some(request) = self.requests.get_mut(key) else { return };
        request.begin(now);
        self.find_connection(key);
    }

    /// On a kept connection, or on a new one.
    fn find_connection(&mut self, key: Key) {
        let Some(request) = self.requests.get(key) else { return };
        let intended = request.intended();
        let Some(&Connections { idle, per_user, transport, .. }) =
            self.viewers.connections.get(usize::from(intended.load))
        else {
            return;
        };
        let idle_max = idle.min(EDGE_IDLE);
        loop {
            let Some(client) = self.viewers.client(&intended) else { return };
            let Some(kept) = client.take(&self.conns) else {
                if client.open >= per_user.max(1) {
                    client.waiting.get_or_insert_default().push_back(key);
                    return self.be_patient(key);
                }
                client.open += 1;
                break;
            };
            let Some(conn) = self.conns.get(kept) else { continue };
            // Over QUIC nobody says that an edge has ended.
            if self.now.saturating_since(conn.idle_since) >= idle_max
                || transport != Transport::Quic && self.is_broken(conn)
            {
                // Its other side has closed it, and the viewer has noticed.
                self.conns.remove(kept);
                if let Some(client) = self.viewers.client(&intended) {
                    client.open = client.open.saturating_sub(1);
                }
                continue;
            }
            let node = conn.node();
            if let Some(request) = self.requests.get_mut(key) {
                (request.conn, request.reused, request.node) = (Some(kept), true, node);
                request.ask(node, self.now);
            }
            return self.send_request(key);
        }
        let Some(request) = self.requests.get_mut(key) else { return };
        request.reused = false;
        if request.has_no_address() {
            self.ask_resolver(key);
        } else {
            self.start_race(key);
        }
    }

    fn ask_resolver(&mut self, key: Key) {
        let Some(request) = self.requests.get(key) else { return };
        let serial = request.serial;
        let Some(stand) = self.viewers.stand(request.intended().place) else {
            return self.finish(key, Outcome::Failed(Reason::ViewerUnknownPlace));
        };
        match self.time_to_resolver(stand) {
            Some(one_way) => self.queue.push(self.now + one_way, Happening::AtResolver(key, serial)),
            None => self.handle_at_resolver(key, serial),
        }
    }

    /// How long a question takes to the resolver, or its answer back: nothing where it stands in the same place. As live,
    /// that is the path's own time, without jitter and loss.
    fn time_to_resolver(&mut self, stand: Stand) -> Option<Duration> {
        if stand.site == stand.resolver_site {
            return None;
        }
        let way = self.network.way(crate::network::Dialer::VIEWERS, stand.site, stand.resolver_site);
        Some(self.network.undisturbed(way) / 2)
    }

    /// How the user of a request finds an edge.
    pub(crate) fn habits(&self, intended: &Intended) -> Habits {
        self.workload.habits(intended)
    }

    /// The resolver has said where.
    pub(crate) fn locate(&mut self, key: Key, addresses: &Arc<[u32]>) {
        let Some(request) = self.requests.get(key) else { return };
        let (serial, place) = (request.serial, request.intended().place);
        let Some(stand) = self.viewers.stand(place) else { return };
        if let Some(request) = self.requests.get_mut(key) {
            request.seldom().may_try(addresses);
        }
        match self.time_to_resolver(stand) {
            Some(one_way) => self.queue.push(self.now + one_way, Happening::Located(key, serial)),
            None => self.handle_located(key, serial),
        }
    }

    pub(crate) fn handle_located(&mut self, key: Key, serial: u16) {
        let Some(request) = self.requests.get_mut(key).filter(|request| request.serial == serial) else { return };
        if request.has_no_address() {
            // The connection that there would have been is somebody else's turn.
            let intended = request.intended();
            self.drop_connection(key);
            self.next_in_line(&intended);
            return self.fail(key, Reason::ViewerResolveFailed);
        }
        let place = request.intended().place;
        let seldom = request.seldom();
        seldom.first = seldom.addresses.first().copied().unwrap_or(NOBODY);
        let Some(stand) = self.viewers.stand(place) else { return };
        let (now, dead) = (self.now, &self.viewers.dead);
        if seldom.addresses.iter().any(|node| dead.is_dead(now, &(stand.site, *node))) {
            seldom.addresses = dead.order(now, &seldom.addresses, |node| (stand.site, node)).into();
        }
        self.start_race(key);
    }

    /// The request goes out on its connection.
    fn send_request(&mut self, key: Key) {
        let Some(request) = self.requests.get(key) else { return };
        let serial = request.serial;
        let Some((conn_key, conn)) = request.conn.and_then(|conn| Some((conn, self.conns.get(conn)?))) else { return };
        let target = self.disturbance(conn.way, conn.node(), conn.id);
        let transport = self.viewers.transport(request.intended().load);
        let Some(conn) = self.conns.get_mut(conn_key) else { return };
        if target.reset && transport != Transport::Quic {
            let back_at = self.now + self.network.rtt(conn.way);
            return self.queue.push(back_at, Happening::Cut(key, serial));
        }
        let (way, now) = (conn.way, self.now);
        match self.network.send(way, Direction::Up, now, REQUEST_BYTES, &mut conn.up, &target) {
            Sent::Arrives { last, .. } => self.queue.push(last, Happening::AtEdge(key, serial)),
            Sent::Silent { again_at } => {
                self.queue.push(again_at, Happening::AskAgain(key, serial));
                self.be_patient(key);
            }
        }
    }

    /// A request that a silent link swallowed is sent again.
    pub(crate) fn handle_ask_again(&mut self, key: Key, serial: u16) {
        if self.requests.get(key).is_some_and(|request| request.serial == serial) {
            self.send_request(key);
        }
    }

    /// From here on the request may take long: its user waits no longer than his patience allows.
    pub(crate) fn be_patient(&mut self, key: Key) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let Some(budget) = self.viewers.budgets.get(usize::from(request.intended().load)) else { return };
        if !std::mem::replace(&mut request.timer_set, true) {
            let at = request.attempt_at() + budget.retry().timeout;
            self.queue.push(at, Happening::Impatient(key, request.serial));
        }
    }

    pub(crate) fn handle_at_edge(&mut self, key: Key, serial: u16) {
        let Some(request) = self.requests.get(key).filter(|request| request.serial == serial) else { return };
        let Some(conn) = request.conn.and_then(|conn| self.conns.get(conn)) else { return };
        if let Some(again_at) = self.network.swallowed(conn.way, Direction::Up, self.now) {
            self.queue.push(again_at, Happening::AtEdge(key, serial));
            return self.be_patient(key);
        }
        let (node, way) = (conn.node(), conn.way);
        if self.is_broken(conn) {
            // Nobody is there any more.
            return self.cut_off(key, way);
        }
        let Some(host) = self.nodes.get_mut(node as usize) else { return };
        if host.is_paused {
            host.held.push(Happening::AtEdge(key, serial));
            return self.be_patient(key);
        }
        let Some(cache) = host.cache else { return };
        if let Some(request) = self.requests.get_mut(key) {
            request.since = Some(self.now).into();
            request.waited = false;
        }
        self.ask(cache, Asker::Viewer(key));
    }

    /// The edge answers.
    pub(crate) fn answer_viewer(&mut self, key: Key, answer: Answer) {
        let now = self.now;
        let Some(request) = self.requests.get_mut(key) else { return };
        request.answer = answer;
        request.fetch = None;
        let (node, since) = (request.node, request.since.take().instant());
        if let Some(since) = since
            && let Some(station) = self.ledger.stations.get_mut(node as usize)
        {
            station.handle_departure(now, since);
        }
        self.ledger.sent_bytes += answer.bytes;
        self.send_answer(key);
    }

    fn send_answer(&mut self, key: Key) {
        let Some(request) = self.requests.get(key) else { return };
        let (serial, answer) = (request.serial, request.answer);
        let Some((conn_key, conn)) = request.conn.and_then(|conn| Some((conn, self.conns.get(conn)?))) else { return };
        let target = self.disturbance(conn.way, conn.node(), conn.id);
        let Some(conn) = self.conns.get_mut(conn_key) else { return };
        let (way, now) = (conn.way, self.now);
        match self.network.send(way, Direction::Down, now, answer.bytes + HEAD_BYTES, &mut conn.down, &target) {
            Sent::Arrives { first, last } => {
                let mut at = last;
                if answer.ends_at > now {
                    // The rest of it is still coming from behind.
                    at = last.max(answer.ends_at + self.network.one_way(way, Direction::Down));
                }
                if target.stall_after.is_some() || target.truncate_after.is_some() || target.garbage_after.is_some() {
                    let broken = target.truncate_after.is_some() || target.garbage_after.is_some();
                    if let Some(request) = self.requests.get_mut(key) {
                        request.answer.is_broken = true;
                        // Within its head, so that nobody can read what it is.
                        request.answer.reason = if target.garbage_after.is_some() {
                            Reason::ViewerEdgeInvalid
                        } else {
                            Reason::ViewerEdgeReset
                        };
                    }
                    if broken {
                        self.queue.push(first, Happening::Answered(key, serial));
                    }
                    return self.be_patient(key);
                }
                self.queue.push(at, Happening::Answered(key, serial));
            }
            Sent::Silent { again_at } => {
                self.queue.push(again_at, Happening::AnswerAgain(key, serial));
                self.be_patient(key);
            }
        }
    }

    pub(crate) fn handle_answer_again(&mut self, key: Key, serial: u16) {
        let Some(request) = self.requests.get(key).filter(|request| request.serial == serial) else { return };
        let Some(conn) = request.conn.and_then(|conn| self.conns.get(conn)) else { return };
        if self.is_broken(conn) {
            return self.handle_cut(key, serial);
        }
        self.send_answer(key);
    }

    /// The last byte is there.
    pub(crate) fn handle_answered(&mut self, key: Key, serial: u16) {
        let Some(request) = self.requests.get(key).filter(|request| request.serial == serial) else { return };
        let (answer, conn_key, intended) = (request.answer, request.conn, request.intended());
        let Some(conn) = conn_key.and_then(|conn| self.conns.get(conn)) else { return };
        if let Some(again_at) = self.network.swallowed(conn.way, Direction::Down, self.now) {
            self.queue.push(again_at, Happening::Answered(key, serial));
            return self.be_patient(key);
        }
        if answer.is_broken {
            self.ledger.broken_bytes += answer.bytes;
            self.drop_connection(key);
            let is_unread = matches!(answer.reason, Reason::ViewerEdgeInvalid | Reason::ViewerEdgeReset);
            return self.fail(key, if is_unread { answer.reason } else { Reason::ViewerBodyBroken });
        }
        self.ledger.received_bytes += answer.bytes;
        let keeps = self.viewers.connections.get(usize::from(intended.load)).is_some_and(|kept| !kept.idle.is_zero());
        if let (true, Some(kept), Some(client)) = (keeps, conn_key, self.viewers.client(&intended)) {
            client.keep(self.now, kept, &mut self.conns);
            if let Some(request) = self.requests.get_mut(key) {
                request.conn = None;
            }
        } else {
            self.drop_connection(key);
        }
        self.next_in_line(&intended);
        if answer.status >= 500 {
            return self.fail_with(key, Outcome::Status(answer.status));
        }
        self.finish(key, Outcome::Status(answer.status));
    }

    /// Whoever waits for a connection of this user has one now.
    fn next_in_line(&mut self, intended: &Intended) {
        if let Some(next) = self.viewers.client(intended).and_then(Client::next_in_line) {
            self.find_connection(next);
        }
    }

    fn drop_connection(&mut self, key: Key) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let intended = request.intended();
        if let Some(seldom) = &mut request.seldom {
            seldom.race = None;
        }
        if let Some(conn) = request.conn.take() {
            self.conns.remove(conn);
        }
        if let Some(client) = self.viewers.client(&intended) {
            client.open = client.open.saturating_sub(1);
        }
    }

    /// The connection broke before a response.
    pub(crate) fn handle_cut(&mut self, key: Key, serial: u16) {
        let Some(request) = self.requests.get_mut(key).filter(|request| request.serial == serial) else { return };
        request.serial = request.serial.wrapping_add(1);
        let (intended, reused, node) = (request.intended(), request.reused, request.node);
        let had_conn = request.conn.is_some();
        if had_conn && request.answer.bytes > 0 {
            self.ledger.broken_bytes += request.answer.bytes;
            request.answer = Answer::default();
        }
        self.drop_connection(key);
        self.next_in_line(&intended);
        if !reused && let Some(stand) = self.viewers.stand(intended.place) {
            self.viewers.dead.handle_failure(self.now, (stand.site, node));
        }
        // A request that may be repeated goes out again: to another address where the connection was a new one.
        let Some(request) = self.requests.get_mut(key) else { return };
        request.timer_set = false;
        if !reused && request.has_no_address() {
            return self.fail(key, Reason::ViewerEdgeReset);
        }
        self.be_patient(key);
        self.find_connection(key);
    }

    /// The user does not wait any longer.
    pub(crate) fn handle_impatient(&mut self, key: Key, serial: u16) {
        let Some(request) = self.requests.get_mut(key).filter(|request| request.serial == serial) else { return };
        let intended = request.intended();
        let (was_connected, is_racing) = (request.conn.is_some(), request.race().is_some());
        if was_connected && request.answer.bytes > 0 && request.since == Maybe::NOTHING {
            self.ledger.broken_bytes += request.answer.bytes;
        }
        self.leave_edge(key);
        let waits = self.viewers.client(&intended).and_then(|client| client.waiting.as_mut()).is_some_and(|waiting| {
            let before = waiting.len();
            waiting.retain(|other| *other != key);
            waiting.len() < before
        });
        if !waits {
            self.drop_connection(key);
            self.next_in_line(&intended);
        }
        let reason = if is_racing { Reason::ViewerConnectTimeout } else { Reason::ViewerResponseTimeout };
        self.fail(key, reason);
    }

    /// The viewer is gone; the edge notices.
    fn leave_edge(&mut self, key: Key) {
        let now = self.now;
        let Some(request) = self.requests.get_mut(key) else { return };
        let Some(since) = request.since.take().instant() else { return };
        let (node, fetch) = (request.node, request.fetch.take());
        if let Some(station) = self.ledger.stations.get_mut(node as usize) {
            station.handle_departure(now, since);
        }
        if let Some(flow) = self.ledger.flows.get_mut(node as usize) {
            flow.cut += 1;
        }
        if let Some(fetch) = fetch {
            self.unwant(fetch, Asker::Viewer(key));
        }
    }

    /// No response.
    pub(crate) fn fail(&mut self, key: Key, reason: Reason) {
        self.fail_with(key, Outcome::Failed(reason));
    }

    fn fail_with(&mut self, key: Key, outcome: Outcome) {
        let Some(request) = self.requests.get_mut(key) else { return };
        request.serial = request.serial.wrapping_add(1);
        let attempts = request.attempts;
        if let Outcome::Failed(reason) = outcome {
            request.answer.reason = reason;
            // Of a body that broke off the head has said where it came from.
            if reason != Reason::ViewerBodyBroken {
                request.answer.cache = CacheOutcome::Error;
            }
        }
        let budget = self.viewers.budgets.get_mut(usize::from(request.intended().load));
        match budget.and_then(|budget| budget.poll_retry(attempts)) {
            Some(pause) => {
                request.answer = Answer::default();
                self.queue.push(self.now + pause, Happening::Begin(key));
            }
            None => self.finish(key, outcome),
        }
    }

    fn finish(&mut self, key: Key, outcome: Outcome) {
        let Some(request) = self.requests.get(key) else { return };
        let meant = request.intended();
        let pop = |node: u32| self.nodes.get(node as usize).and_then(|node| node.pop);
        let answer = &request.answer;
        let is_answered = matches!(outcome, Outcome::Status(_));
        let observation = Observation {
            intended: meant.at,
            // Nobody is late here.
            started: meant.at,
            finished: self.now,
            place: meant.place,
            asked: pop(request.asked),
            asked_at: request.asked_at(),
            pop: if is_answered { pop(request.node) } else { None },
            outcome,
            cache: answer.cache,
            reason: answer.reason,
            bytes: if is_answered { answer.bytes } else { 0 },
            integrity: match is_answered {
                true if answer.is_wrong => Integrity::Wrong,
                true => Integrity::Right,
                false => Integrity::Unchecked,
            },
            attempts: request.attempts,
            fell_back: request.fell_back,
            load: meant.load,
            object: meant.object,
            made: if is_answered { answer.made.instant() } else { None },
            signature: self.workload.signature(&meant),
        };
        self.ledger.over += 1;
        self.requests.discard(key);
        self.witness.observe(&observation);
    }

    /// An edge has ended: whoever had a connection to it hears of it.
    pub(crate) fn cut_viewers_of(&mut self, node: u32) {
        let now = self.now;
        let hit: Vec<(Key, u16, u32)> = self
            .requests
            .iter()
            .filter_map(|(key, request)| {
                let conn = self.conns.get(request.conn?)?;
                (conn.node() == node).then_some((key, request.serial, conn.way))
            })
            .collect();
        for (key, serial, way) in hit {
            if let Some(request) = self.requests.get_mut(key) {
                if let Some(since) = request.since.take().instant() {
                    if let Some(station) = self.ledger.stations.get_mut(node as usize) {
                        station.handle_departure(now, since);
                    }
                    if let Some(flow) = self.ledger.flows.get_mut(node as usize) {
                        flow.cut += 1;
                    }
                }
                request.fetch = None;
                // What was under way to it from the edge is lost; only the cut arrives.
                request.serial = serial.wrapping_add(1);
                self.cut_off(key, way);
            }
        }
    }

    /// The edge of a connection has ended. Of TCP the kernel says so to whoever waits; of QUIC nobody does, until nothing has
    /// come for too long (RFC 9000 section 10.1).
    fn cut_off(&mut self, key: Key, way: u32) {
        let (now, one_way) = (self.now, self.network.one_way(way, Direction::Down));
        let Some(request) = self.requests.get_mut(key) else { return };
        let cut = Happening::Cut(key, request.serial);
        if self.viewers.transport(request.intended().load) == Transport::Quic {
            request.timer_set = false;
            self.queue.push(now + EDGE_IDLE, cut);
            self.be_patient(key);
        } else {
            self.queue.push(now + one_way, cut);
        }
    }
}
