//! How a user's request gets a connection: a race over the addresses of an answer, by TCP or by QUIC, and a handshake of TLS
//! where the first is to have one.

use std::time::Duration;

use cdn_core::{Instant, Reason, Role};
use world::{Sent, client::Race, scenario::Transport};

use super::{NOBODY, Request, request::Racing};
use crate::{
    engine::{Happening, Sim},
    network::{Connect, Direction, SYN_BYTES},
    slab::Key,
};

/// Bytes of a client's first flight of TLS 1.3, and of the server's: a chain of one leaf with an elliptic key.
const CLIENT_HELLO_BYTES: u64 = 250;
const SERVER_FLIGHT_BYTES: u64 = 1300;
/// Bytes of the first flights of QUIC, each way: a client's is padded (RFC 9000 section 14.1), and so is what a server says
/// first, beside its chain.
const QUIC_FLIGHT_BYTES: [u64; 2] = [1228, 1650];
/// A certificate is good for so long before it was issued, for clocks that are slow.
const CERTIFICATE_BEFORE: Duration = Duration::from_secs(86_400);

impl Sim<'_> {
    pub(super) fn start_race(&mut self, key: Key) {
        let (now, options) = (self.now, self.plan.viewer.race);
        let Some(request) = self.requests.get_mut(key) else { return };
        let addresses = request.addresses();
        request.ask(addresses.first().copied().unwrap_or(NOBODY), now);
        let seldom = request.seldom();
        seldom.may_try(&addresses);
        let race = Race::new(now, addresses, options);
        seldom.race = Some(Racing { race, attempts: Vec::new() });
        self.go_on_racing(key);
    }

    /// Begins the attempts that are due, and says when to look again.
    fn go_on_racing(&mut self, key: Key) {
        let now = self.now;
        let mut is_next_needed = true;
        loop {
            let Some(request) = self.requests.get_mut(key) else { return };
            let (serial, place) = (request.serial, request.intended().place);
            let Some(racing) = request.race() else { return };
            let Some((at, node)) = racing.race.poll_attempt(now) else { break };
            let Some(stand) = self.viewers.stand(place) else { return };
            let (way, id) = (self.viewers_way(stand.site, node), self.network.connection());
            if let Some(racing) = self.requests.get_mut(key).and_then(Request::race) {
                racing.attempts.push((id, way, now));
            }
            let number = u8::try_from(at).unwrap_or(u8::MAX);
            let answered_at = self.try_to_connect(key, serial, number, way, node, id);
            // Nearly always the answer is there before anything else is due.
            is_next_needed = answered_at.is_none_or(|at| at > now + self.plan.viewer.race.attempt_delay);
        }
        let Some(request) = self.requests.get_mut(key) else { return };
        let serial = request.serial;
        let Some(racing) = request.race() else { return };
        if racing.race.is_lost() {
            return self.fail_to_connect(key);
        }
        if is_next_needed && let Some(at) = racing.race.poll_timeout() {
            self.queue.push(at, Happening::Race(key, serial));
        }
    }

    /// One SYN, or first flight of QUIC; when its answer is there, if it ever is.
    fn try_to_connect(&mut self, key: Key, serial: u16, at: u8, way: u32, node: u32, id: u32) -> Option<Instant> {
        let mut target = self.disturbance(way, node, id);
        let is_dead = self.nodes.get(node as usize).is_none_or(|node| node.is_dead);
        let mut bytes = SYN_BYTES;
        let load = self.requests.get(key).map_or(0, |request| request.intended().load);
        if self.viewers.transport(load) == Transport::Quic {
            bytes = QUIC_FLIGHT_BYTES;
            // Datagrams are neither accepted nor refused by anybody but the edge itself.
            let is_paused = self.nodes.get(node as usize).is_some_and(|node| node.is_paused);
            target.blackhole |= target.refuse || is_dead || is_paused;
        }
        match self.network.connect(way, self.now, &target, bytes) {
            Connect::Answer(answered_at) => {
                let happening = if target.refuse || is_dead {
                    Happening::Refused(key, serial, at)
                } else {
                    Happening::Connected(key, serial, at)
                };
                self.queue.push(answered_at, happening);
                Some(answered_at)
            }
            Connect::Silent(again_at) => {
                self.queue.push(again_at, Happening::Syn(key, serial, at));
                None
            }
        }
    }

    pub(crate) fn handle_syn(&mut self, key: Key, serial: u16, at: u8) {
        let Some(request) = self.requests.get_mut(key).filter(|request| request.serial == serial) else { return };
        let Some(racing) = request.race() else { return };
        let alive = racing.race.silent().find(|(attempt, _)| *attempt == usize::from(at));
        if let (Some((_, node)), Some(&(id, way, _))) = (alive, racing.attempts.get(usize::from(at))) {
            self.try_to_connect(key, serial, at, way, node, id);
        }
    }

    pub(crate) fn handle_race(&mut self, key: Key, serial: u16) {
        let now = self.now;
        let Some(request) = self.requests.get_mut(key).filter(|request| request.serial == serial) else { return };
        let place = request.intended().place;
        let Some(racing) = request.race() else { return };
        let over = racing.race.handle_timeout(now);
        let over: Vec<u32> = over.iter().filter_map(|&at| racing.race.addresses().get(at).copied()).collect();
        if let Some(stand) = self.viewers.stand(place) {
            over.into_iter().for_each(|node| self.viewers.dead.handle_failure(now, (stand.site, node)));
        }
        self.go_on_racing(key);
    }

    pub(crate) fn handle_refused(&mut self, key: Key, serial: u16, at: u8) {
        let now = self.now;
        let Some(request) = self.requests.get_mut(key).filter(|request| request.serial == serial) else { return };
        let place = request.intended().place;
        let Some(racing) = request.race() else { return };
        racing.race.handle_failure(now, usize::from(at));
        let node = racing.race.addresses().get(usize::from(at)).copied();
        if let (Some(stand), Some(node)) = (self.viewers.stand(place), node) {
            self.viewers.dead.handle_failure(now, (stand.site, node));
        }
        self.go_on_racing(key);
    }

    pub(crate) fn handle_connected(&mut self, key: Key, serial: u16, at: u8) {
        let now = self.now;
        let Some(request) = self.requests.get(key).filter(|request| request.serial == serial) else { return };
        let intended = request.intended();
        let place = intended.place;
        let transport = self.viewers.transport(intended.load);
        // With QUIC an edge whose certificate is not good has not answered.
        if transport == Transport::Quic && !self.is_certificate_good() {
            return self.handle_refused(key, serial, at);
        }
        let Some(request) = self.requests.get_mut(key) else { return };
        let Some(seldom) = &mut request.seldom else { return };
        let Some(racing) = seldom.race.take() else { return };
        let place_of = usize::from(at);
        let (Some(&node), Some(&(id, way, began))) =
            (racing.race.addresses().get(place_of), racing.attempts.get(place_of))
        else {
            return;
        };
        seldom.connected = node;
        request.fell_back |= seldom.first != node;
        request.node = node;
        let conn = self.open(way, node, id);
        if let Some(request) = self.requests.get_mut(key) {
            request.conn = Some(conn);
        }
        let Some(stand) = self.viewers.stand(place) else { return };
        for (attempt, silent) in racing.race.silent().collect::<Vec<_>>() {
            if attempt != place_of {
                self.viewers.dead.handle_failure(now, (stand.site, silent));
            }
        }
        self.viewers.dead.handle_success(&(stand.site, node));
        self.report(&intended, stand, node, now.saturating_since(began));
        if at == 0
            && let Some(&second) = racing.race.addresses().get(1)
        {
            self.measure(&intended, stand, second);
        }
        match transport {
            Transport::Tls => self.shake_hands(key),
            Transport::Tcp | Transport::Quic => self.send_request(key),
        }
    }

    /// The handshake of TLS 1.3: a round trip, after which the client's last flight leaves with the request (RFC 8446 section
    /// 2). A silence is waited out for as long as viewers wait live.
    fn shake_hands(&mut self, key: Key) {
        let (now, timeout) = (self.now, self.plan.viewer.tls_timeout);
        let Some(request) = self.requests.get(key) else { return };
        let serial = request.serial;
        let Some((conn_key, conn)) = request.conn.and_then(|conn| Some((conn, self.conns.get(conn)?))) else { return };
        let target = self.disturbance(conn.way, conn.node(), conn.id);
        let is_paused = self.nodes.get(conn.node() as usize).is_some_and(|node| node.is_paused);
        let Some(conn) = self.conns.get_mut(conn_key) else { return };
        let way = conn.way;
        if target.reset {
            return self.queue.push(now + self.network.rtt(way), Happening::Secured(key, serial, false));
        }
        let there = self.network.send(way, Direction::Up, now, CLIENT_HELLO_BYTES, &mut conn.up, &target);
        let back = match there {
            Sent::Arrives { last, .. } if !is_paused => {
                self.network.send(way, Direction::Down, last, SERVER_FLIGHT_BYTES, &mut conn.down, &target)
            }
            silent => silent,
        };
        match back {
            Sent::Arrives { last, .. } if !is_paused => {
                self.queue.push(last, Happening::Secured(key, serial, true));
            }
            _ => {
                self.queue.push(now + timeout, Happening::Secured(key, serial, false));
                self.be_patient(key);
            }
        }
    }

    /// Whether what edges show is good on the day that viewers take for today's.
    fn is_certificate_good(&self) -> bool {
        let viewer = self.plan.nodes.iter().position(|spec| spec.id.role() == Role::Viewer);
        let today = self.wall(viewer.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)).unix_nanos();
        let issued = self.plan.date.unix_nanos();
        let span = self.plan.certificate_span;
        let [before, after] = [span.min(CERTIFICATE_BEFORE), span].map(|span| span.as_nanos() as i128);
        (issued - before..=issued + after).contains(&today)
    }

    /// The handshake is over.
    pub(crate) fn handle_secured(&mut self, key: Key, serial: u16, is_shaken: bool) {
        let Some(request) = self.requests.get(key).filter(|request| request.serial == serial) else { return };
        let intended = request.intended();
        if is_shaken && self.is_certificate_good() {
            return self.send_request(key);
        }
        self.drop_connection(key);
        self.next_in_line(&intended);
        self.fail(key, Reason::ViewerTlsFailed);
    }

    fn fail_to_connect(&mut self, key: Key) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let (intended, late) = (request.intended(), self.plan.viewer.race.timeout);
        let silent =
            request.race().is_some_and(|racing| racing.attempts.iter().all(|(_, _, began)| self.now >= *began + late));
        self.drop_connection(key);
        self.next_in_line(&intended);
        let is_quic = self.viewers.transport(intended.load) == Transport::Quic;
        self.fail(
            key,
            match () {
                () if silent => Reason::ViewerConnectTimeout,
                () if is_quic && !self.is_certificate_good() => Reason::ViewerTlsFailed,
                () => Reason::ViewerConnectFailed,
            },
        );
    }
}
