//! Resolvers: one per place and habit, each with a cache of its own.
//!
//! A question goes out once for all who ask the same at the same time, and not at all while an answer is kept: for as long
//! as its TTL says (or longer, with resolvers that stretch it) and for whom its scope says. Which router is asked is
//! decided by [`world::client::Servers`].

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use cdn_core::Instant;
use ipnet::Ipv4Net;
use world::{client::Servers, workload::Habits};

use crate::{
    engine::{Happening, Sim},
    network::{Dialer, Direction},
    slab::Key,
    viewers::Stand,
};

/// Bytes of a question with a client subnet, and of its answer with two addresses.
const QUESTION_BYTES: u64 = 90;
const REPLY_BYTES: u64 = 130;

/// All resolvers.
#[derive(Debug, Default)]
pub(crate) struct Resolvers {
    by_habit: BTreeMap<(u16, bool, Option<Duration>), usize>,
    all: Vec<Resolver>,
}

#[derive(Debug)]
struct Resolver {
    site: u16,
    address: IpAddr,
    stretch: Option<Duration>,
    servers: Servers<u32>,
    kept: BTreeMap<(usize, Audience), Kept>,
    /// The lengths of prefixes for which anything was ever kept, one bit each: most lengths never occur.
    lengths: u64,
    under_way: BTreeMap<(usize, Audience), Key>,
}

/// For whom an answer is: `None` is one that was asked without a client subnet.
type Audience = Option<(u32, u8)>;

#[derive(Debug)]
struct Kept {
    addresses: Arc<[u32]>,
    until: Instant,
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Lookup {
    resolver: usize,
    host: usize,
    subnet: Option<Ipv4Net>,
    order: Vec<u32>,
    tries: u8,
    asked_at: Instant,
    waiting: Vec<Key>,
    /// What is on its way back: from whom, and for how long for whom.
    reply: Option<Reply>,
}

#[derive(Debug)]
struct Reply {
    from: u32,
    addresses: Arc<[u32]>,
    ttl: Duration,
    scope: u8,
}

impl Sim<'_> {
    /// A viewer's question has reached its resolver.
    pub(crate) fn handle_at_resolver(&mut self, key: Key, serial: u16) {
        let Some(request) = self.requests.get(key).filter(|request| request.serial == serial) else { return };
        let intended = request.intended();
        let habits = self.habits(&intended);
        let (Some(stand), Some(host)) = (self.viewers.stand(intended.place), self.viewers.host(intended.load)) else {
            return self.locate(key, &Arc::default());
        };
        let resolver = self.resolver(stand, habits);
        let subnet = habits.client_subnet.then_some(stand.block);
        if let Some(addresses) = self.kept(resolver, host, subnet) {
            return self.locate(key, &addresses);
        }
        let audience = subnet.map(|net| (u32::from(net.network()), net.prefix_len()));
        let Some(asker) = self.resolvers.all.get_mut(resolver) else { return };
        if let Some(lookup) = asker.under_way.get(&(host, audience)).and_then(|lookup| self.lookups.get_mut(*lookup)) {
            lookup.waiting.push(key);
        } else {
            let order = asker.servers.in_order(self.now);
            let lookup =
                Lookup { resolver, host, subnet, order, tries: 0, asked_at: self.now, waiting: vec![key], reply: None };
            let lookup = self.lookups.insert(lookup);
            asker.under_way.insert((host, audience), lookup);
            self.ask_router(lookup);
        }
        self.be_patient(key);
    }

    fn resolver(&mut self, stand: Stand, habits: Habits) -> usize {
        let key = (stand.resolver_site, habits.client_subnet, habits.stretch);
        if let Some(&known) = self.resolvers.by_habit.get(&key) {
            return known;
        }
        let routers: Vec<u32> = self.routers.iter().map(|router| router.node).collect();
        self.resolvers.all.push(Resolver {
            site: stand.resolver_site,
            address: IpAddr::V4(stand.resolver_address),
            stretch: habits.stretch,
            servers: Servers::new(&routers),
            kept: BTreeMap::new(),
            lengths: 0,
            under_way: BTreeMap::new(),
        });
        self.resolvers.by_habit.insert(key, self.resolvers.all.len() - 1);
        self.resolvers.all.len() - 1
    }

    /// The answer that is kept; one for a narrower audience wins (RFC 7871 section 7.3.1).
    fn kept(&self, resolver: usize, host: usize, subnet: Option<Ipv4Net>) -> Option<Arc<[u32]>> {
        let resolver = self.resolvers.all.get(resolver)?;
        let fresh = |audience: Audience| {
            let kept = resolver.kept.get(&(host, audience)).filter(|kept| kept.until > self.now)?;
            Some(Arc::clone(&kept.addresses))
        };
        let Some(subnet) = subnet else { return fresh(None) };
        let mut lengths = (0..=subnet.prefix_len()).rev().filter(|length| resolver.lengths & 1 << length != 0);
        lengths.find_map(|length| {
            let net = Ipv4Net::new(subnet.network(), length).ok()?.network();
            fresh(Some((u32::from(net), length)))
        })
    }

    /// The next try goes out.
    fn ask_router(&mut self, key: Key) {
        let now = self.now;
        let timeouts = &self.plan.viewer.dns_timeouts;
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        let tries = usize::from(lookup.tries);
        let most = timeouts.len().max(lookup.order.len()).max(1);
        if tries >= most || lookup.order.is_empty() {
            return self.answer_all(key, &Arc::default());
        }
        lookup.asked_at = now;
        let Some(&router) = lookup.order.get(tries % lookup.order.len()) else { return };
        let wait = timeouts.get(tries).or_else(|| timeouts.last()).copied().unwrap_or(Duration::from_secs(1));
        let (resolver, number) = (lookup.resolver, lookup.tries);
        let Some(site) = self.resolvers.all.get(resolver).map(|resolver| resolver.site) else { return };
        let way = self.viewers_way(site, router);
        let target = self.disturbance(way, router, u64::from(number));
        match self.network.datagram(way, Direction::Up, now, QUESTION_BYTES).filter(|_| !target.blackhole) {
            Some(at) => self.queue.push(at, Happening::AtRouter(key, number)),
            None => self.queue.push(now + wait, Happening::DnsSilence(key, number)),
        }
    }

    pub(crate) fn handle_at_router(&mut self, key: Key, tries: u8) {
        let now = self.now;
        let Some(lookup) = self.lookups.get(key).filter(|lookup| lookup.tries == tries) else { return };
        let Some(&router) = lookup.order.get(usize::from(tries) % lookup.order.len().max(1)) else { return };
        let Some(resolver) = self.resolvers.all.get(lookup.resolver) else { return };
        let (host, subnet, site, peer) = (lookup.host, lookup.subnet, resolver.site, resolver.address);
        let timeouts = &self.plan.viewer.dns_timeouts;
        let wait =
            timeouts.get(usize::from(tries)).or_else(|| timeouts.last()).copied().unwrap_or(Duration::from_secs(1));
        let silent_at = lookup.asked_at + wait;
        let alive = self.nodes.get(router as usize).is_some_and(|node| !node.is_dead && !node.is_paused);
        let answer = if alive { self.route(router, host, subnet, peer) } else { None };
        let Some((addresses, ttl, scope)) = answer else {
            return self.queue.push(silent_at, Happening::DnsSilence(key, tries));
        };
        let way = self.network.way(Dialer::VIEWERS, site, self.nodes.get(router as usize).map_or(0, |node| node.site));
        let arrives_at = self.network.datagram(way, Direction::Down, now, REPLY_BYTES);
        if let Some(lookup) = self.lookups.get_mut(key) {
            lookup.reply = Some(Reply { from: router, addresses, ttl, scope });
        }
        match arrives_at {
            Some(at) if at <= silent_at => self.queue.push(at, Happening::FromRouter(key, tries)),
            // A late answer to an earlier try still counts; what is lost does not.
            Some(at) => {
                self.queue.push(at, Happening::FromRouter(key, tries));
            }
            None => self.queue.push(silent_at, Happening::DnsSilence(key, tries)),
        }
    }

    pub(crate) fn handle_from_router(&mut self, key: Key, tries: u8) {
        let now = self.now;
        let Some(lookup) = self.lookups.get_mut(key).filter(|lookup| lookup.tries == tries) else { return };
        let Some(reply) = lookup.reply.take() else { return };
        let (resolver, host, subnet, rtt) = (lookup.resolver, lookup.host, lookup.subnet, now - lookup.asked_at);
        let Some(resolver) = self.resolvers.all.get_mut(resolver) else { return };
        resolver.servers.handle_answer(now, reply.from, rtt);
        let audience = subnet.and_then(|net| {
            let length = reply.scope.min(net.prefix_len());
            Some((u32::from(Ipv4Net::new(net.network(), length).ok()?.network()), length))
        });
        let ttl = resolver.stretch.map_or(reply.ttl, |stretch| stretch.max(reply.ttl));
        let addresses = reply.addresses;
        resolver.lengths |= audience.map_or(0, |(_, length)| 1 << length);
        resolver.kept.insert((host, audience), Kept { addresses: Arc::clone(&addresses), until: now + ttl });
        self.answer_all(key, &addresses);
    }

    pub(crate) fn handle_dns_silence(&mut self, key: Key, tries: u8) {
        let now = self.now;
        let Some(lookup) = self.lookups.get_mut(key).filter(|lookup| lookup.tries == tries) else { return };
        let router = lookup.order.get(usize::from(tries) % lookup.order.len().max(1)).copied();
        lookup.tries += 1;
        if let (Some(resolver), Some(router)) = (self.resolvers.all.get_mut(lookup.resolver), router) {
            resolver.servers.handle_failure(now, router);
        }
        self.ask_router(key);
    }

    fn answer_all(&mut self, key: Key, addresses: &Arc<[u32]>) {
        let Some(lookup) = self.lookups.remove(key) else { return };
        let audience = lookup.subnet.map(|net| (u32::from(net.network()), net.prefix_len()));
        if let Some(resolver) = self.resolvers.all.get_mut(lookup.resolver) {
            resolver.under_way.remove(&(lookup.host, audience));
        }
        for request in lookup.waiting {
            self.locate(request, addresses);
        }
    }
}
