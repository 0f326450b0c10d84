//! The timeline: what is broken, healed and changed, and what the control plane tells nodes about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cdn_core::{
    Counters, Instant, NodeId, PopCode, Role,
    invalidation::{self, InvalidationPattern},
    path_pattern::PathPattern,
    routing::PolicyKind,
};
use world::{
    Covered, Effect, Event, EventKind, Fault, FaultOn, LinkChange, SiteId,
    scenario::{Action, ConfigChange, HealTarget},
};

use crate::{
    engine::{Happening, Letter, Order, Sim},
    network::{Dialer, Direction},
    origins::Rule,
    slab::Key,
};

/// Before the second try to tell a node of an invalidation; doubles up to the longest pause.
const RETRY_AFTER: Duration = Duration::from_millis(200);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// Bytes of an order.
const ORDER_BYTES: u64 = 400;

/// Something that is wrong until it is healed.
#[derive(Clone, Debug)]
pub(crate) struct Ailment {
    number: u32,
    kind: AilmentKind,
    what: String,
}

#[derive(Clone, Debug)]
enum AilmentKind {
    Dead(Vec<u32>),
    Frozen(Vec<u32>),
    Fault { nodes: Vec<u32>, effects: Vec<Effect>, rate: f64, path: Option<String>, from: Option<SiteId> },
    Link { a: SiteId, b: SiteId, one_way: bool, changes: Vec<LinkChange> },
}

/// What the control plane wants of routers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    drained: BTreeSet<PopCode>,
    policy: Option<PolicyKind>,
    policies: BTreeMap<String, PolicyKind>,
}

impl Sim<'_> {
    pub(crate) fn handle_step(&mut self, number: u32) {
        let scenario = self.scenario;
        let Some(step) = scenario.steps.get(number as usize) else { return };
        self.note(EventKind::Step { step: number as usize });
        match &step.action {
            Action::Kill { nodes, span } => {
                let nodes = self.positions(nodes);
                nodes.iter().for_each(|&node| self.kill(node));
                self.ail(AilmentKind::Dead(nodes), &step.text, *span);
            }
            Action::Start { nodes } => {
                let nodes = self.positions(nodes);
                self.heal_where(|ailment| matches!(&ailment.kind, AilmentKind::Dead(hit) if meets(hit, &nodes)));
            }
            Action::Pause { nodes, span } => {
                let nodes = self.positions(nodes);
                for &node in &nodes {
                    if let Some(node) = self.nodes.get_mut(node as usize) {
                        node.is_paused = !node.is_dead;
                    }
                }
                self.ail(AilmentKind::Frozen(nodes), &step.text, *span);
            }
            Action::Resume { nodes } => {
                let nodes = self.positions(nodes);
                self.heal_where(|ailment| matches!(&ailment.kind, AilmentKind::Frozen(hit) if meets(hit, &nodes)));
            }
            Action::Fault { nodes, effects, rate, path, from, span } => {
                let kind = AilmentKind::Fault {
                    nodes: self.positions(nodes),
                    effects: effects.clone(),
                    rate: *rate,
                    path: path.clone(),
                    from: from.clone(),
                };
                self.ail(kind, &step.text, *span);
                self.lay_faults();
            }
            Action::Link { a, b, one_way, changes, span } => {
                let kind =
                    AilmentKind::Link { a: a.clone(), b: b.clone(), one_way: *one_way, changes: changes.clone() };
                self.ail(kind, &step.text, *span);
                self.lay_faults();
            }
            Action::Heal(target) => self.heal(target),
            Action::Drain(pop) => self.desire(|desired| {
                desired.drained.insert(*pop);
            }),
            Action::Undrain(pop) => self.desire(|desired| {
                desired.drained.remove(pop);
            }),
            Action::Invalidate { distribution, patterns } => self.invalidate(distribution.as_deref(), patterns),
            Action::Policy { distribution, policy } => self.desire(|desired| match distribution {
                Some(distribution) => drop(desired.policies.insert(distribution.clone(), *policy)),
                None => desired.policy = Some(*policy),
            }),
            Action::Config(ConfigChange { nodes, revision }) => {
                let nodes = if nodes.is_empty() { self.everybody() } else { self.positions(nodes) };
                for node in nodes {
                    if let Some(node) = self.nodes.get_mut(node as usize) {
                        node.revision = *revision;
                    }
                }
            }
            // What it does is already in the workload.
            Action::Load(_) => {}
        }
    }

    fn positions(&self, nodes: &[NodeId]) -> Vec<u32> {
        nodes.iter().filter_map(|id| u32::try_from(self.plan.position(id)?).ok()).collect()
    }

    fn everybody(&self) -> Vec<u32> {
        (0..self.nodes.len()).filter_map(|at| u32::try_from(at).ok()).collect()
    }

    /// Something is wrong from now on, for a span if it ends by itself.
    fn ail(&mut self, kind: AilmentKind, what: &str, span: Option<Duration>) {
        let number = self.ailments.last().map_or(0, |last| last.number + 1).max(self.ailed);
        self.ailed = number + 1;
        self.ailments.push(Ailment { number, kind, what: what.to_owned() });
        if let Some(span) = span {
            self.queue.push(self.now + span, Happening::Undo(number));
        }
    }

    pub(crate) fn handle_undo(&mut self, number: u32) {
        self.heal_where(|ailment| ailment.number == number);
    }

    fn heal(&mut self, target: &HealTarget) {
        match target {
            HealTarget::All => self.heal_where(|_| true),
            HealTarget::At { nodes, sites } => {
                let nodes = self.positions(nodes);
                self.heal_where(|ailment| match &ailment.kind {
                    AilmentKind::Dead(hit) | AilmentKind::Frozen(hit) => meets(hit, &nodes),
                    AilmentKind::Fault { nodes: hit, .. } => meets(hit, &nodes),
                    AilmentKind::Link { a, b, .. } => sites.contains(a) || sites.contains(b),
                });
            }
            HealTarget::Link { a, b } => self.heal_where(|ailment| match &ailment.kind {
                AilmentKind::Link { a: x, b: y, .. } => (x == a && y == b) || (x == b && y == a),
                _ => false,
            }),
        }
    }

    /// Ends what is wrong, as far as it is meant.
    fn heal_where(&mut self, is_meant: impl Fn(&Ailment) -> bool) {
        let (ended, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.ailments).into_iter().partition(is_meant);
        self.ailments = left;
        let mut lays_faults = false;
        for ailment in ended {
            let nodes = match &ailment.kind {
                AilmentKind::Dead(nodes) => {
                    nodes.iter().for_each(|&node| self.start(node));
                    nodes.clone()
                }
                AilmentKind::Frozen(nodes) => {
                    nodes.iter().for_each(|&node| self.resume(node));
                    nodes.clone()
                }
                AilmentKind::Fault { nodes, .. } => {
                    lays_faults = true;
                    nodes.clone()
                }
                AilmentKind::Link { .. } => {
                    lays_faults = true;
                    Vec::new()
                }
            };
            self.note(EventKind::Healed { nodes, what: ailment.what });
        }
        if lays_faults {
            self.lay_faults();
        }
    }

    /// Lays what is wrong now over links, nodes and origins.
    fn lay_faults(&mut self) {
        let mut faults = Vec::new();
        for origin in &mut self.origins {
            origin.rules.clear();
        }
        for node in &mut self.nodes {
            (node.skew_nanos, node.has_full_logs) = (0, false);
        }
        for ailment in &self.ailments {
            match &ailment.kind {
                AilmentKind::Link { a, b, one_way, changes } => {
                    for &kind in changes {
                        let on = FaultOn::Link { a: a.clone(), b: b.clone(), one_way: *one_way, kind };
                        faults.push(Fault { id: 0, on, rate: 1.0, from: None });
                    }
                }
                AilmentKind::Fault { nodes, effects, rate, path, from } => {
                    for (&node, &effect) in
                        nodes.iter().flat_map(|node| effects.iter().map(move |effect| (node, effect)))
                    {
                        let Some(spec) = self.plan.nodes.get(node as usize) else { continue };
                        if effect.is_of_whole_node() {
                            let Some(host) = self.nodes.get_mut(node as usize) else { continue };
                            match effect {
                                Effect::Clock { ahead_ns } => host.skew_nanos = ahead_ns,
                                _ => host.has_full_logs = true,
                            }
                            continue;
                        }
                        let is_origin = spec.id.role() == Role::Origin;
                        if let Some(kind) = effect.below_http(is_origin, path.is_some()) {
                            let on = FaultOn::Target { addresses: vec![spec.address], kind };
                            let id = u64::from(ailment.number) + 1;
                            faults.push(Fault { id, on, rate: *rate, from: from.clone() });
                        } else if let Some(origin) = self.origins.iter_mut().find(|origin| origin.node == node) {
                            let path = path.as_deref().and_then(|path| PathPattern::parse(path).ok());
                            origin.rules.push(Rule { effect, rate: *rate, path, from: from.clone() });
                        }
                    }
                }
                AilmentKind::Dead(_) | AilmentKind::Frozen(_) => {}
            }
        }
        self.network.set_faults(self.now, faults);
        self.faults_laid_at = self.now;
        // Kept connections would hide for a while that new ones are refused; live nodes let go of them, too.
        for cache in &mut self.caches {
            for conn in std::mem::take(&mut cache.idle).into_values().flatten() {
                self.conns.remove(conn);
            }
        }
    }

    /// A process ends; its kernel says so to whoever had a connection.
    fn kill(&mut self, node: u32) {
        let Some(host) = self.nodes.get_mut(node as usize) else { return };
        if std::mem::replace(&mut host.is_dead, true) {
            return;
        }
        host.is_paused = false;
        host.held.clear();
        let (cache, origin) = (host.cache, host.origin);
        if let Some(cache) = cache {
            self.cut_viewers_of(node);
            self.cut_fetches_of(node);
            self.tell_routers_of_end(node);
            if let Some(cache) = self.caches.get_mut(cache) {
                cache.restart();
            }
        }
        if let Some(origin) = origin {
            self.empty_origin(origin);
            self.cut_fetches_of(node);
        }
    }

    fn start(&mut self, node: u32) {
        let Some(host) = self.nodes.get_mut(node as usize) else { return };
        if !std::mem::replace(&mut host.is_dead, false) {
            return;
        }
        self.keep_count(node as usize);
        let Some(host) = self.nodes.get_mut(node as usize) else { return };
        host.epoch = host.epoch.wrapping_add(1);
        host.counters = Arc::new(Counters::of_one_thread());
        let (counters, router, cache) = (Arc::clone(&host.counters), host.router, host.cache);
        if let Some(cache) = cache.and_then(|cache| self.caches.get_mut(cache)) {
            cache.count_in(&counters);
        }
        if let Some(router) = router {
            self.restart_router(router);
            self.desire(|_| {});
        }
    }

    fn resume(&mut self, node: u32) {
        let Some(host) = self.nodes.get_mut(node as usize) else { return };
        host.is_paused = false;
        let router = host.router;
        for happening in std::mem::take(&mut host.held) {
            self.queue.push(self.now, happening);
        }
        if let Some(router) = router {
            self.wake_router(router);
        }
    }

    /// Changes what is wanted of routers, and tells them over the lines that are kept open to them.
    fn desire(&mut self, change: impl FnOnce(&mut Desired)) {
        change(&mut self.desired);
        let policy = self.desired.policy.unwrap_or(self.plan.routing.policy);
        let drained = Order::Drained(self.desired.drained.iter().copied().collect());
        let policies = Order::Policies(policy, self.desired.policies.clone());
        for order in [drained, policies] {
            for router in 0..self.routers.len() {
                let Some(node) = self.routers.get(router).map(|router| router.node) else { continue };
                self.order(node, order.clone(), 0, false);
            }
        }
    }

    /// An order leaves for a node: over a line that is open, or with a handshake.
    fn order(&mut self, node: u32, order: Order, tries: u32, dials: bool) {
        let control = self.network.site(&self.plan.control);
        let Some(to) = self.nodes.get(node as usize).map(|node| node.site) else { return };
        let way = self.network.way(Dialer::CONTROL, control, to);
        let letter = self.letters.insert(Letter::Order { node, tries, order });
        let left_at = if dials { self.now + self.network.rtt(way) } else { self.now };
        let at = match self.network.datagram(way, Direction::Up, left_at, ORDER_BYTES) {
            Some(at) if !self.network.is_silent(way, Direction::Down) => at,
            _ => self.now + (RETRY_AFTER * (1 << tries.min(16))).min(RETRY_AFTER_MAX),
        };
        self.queue.push(at, Happening::Told(letter));
    }

    pub(crate) fn handle_told(&mut self, letter: Key) {
        let Some(Letter::Order { node, tries, order }) = self.letters.remove(letter) else { return };
        let control = self.network.site(&self.plan.control);
        let Some(host) = self.nodes.get(node as usize) else { return };
        let (site, router, cache, is_dead) = (host.site, host.router, host.cache, host.is_dead);
        let is_paused = host.is_paused;
        let way = self.network.way(Dialer::CONTROL, control, site);
        let is_cut = self.network.is_silent(way, Direction::Up) || self.network.is_silent(way, Direction::Down);
        if !is_dead && (is_cut || is_paused) {
            return self.order(node, order, tries + 1, true);
        }
        if let Some(router) = router.filter(|_| !is_dead) {
            return self.order_router(router, order);
        }
        let Order::Invalidate { id, distribution, patterns } = order else { return };
        // Of a node that does not run nothing can come back.
        if let Some(cache) = cache.filter(|_| !is_dead) {
            self.forget(cache, distribution.as_deref(), &patterns);
        }
        let Some((round, left)) = self.spreading.get_mut(&id) else { return };
        *left -= 1;
        if *left == 0 {
            let next = *round + 1;
            self.spread(id, next, distribution, &patterns);
        }
    }

    /// Tells the caches of a round, until there are no more rounds.
    fn spread(&mut self, id: u64, round: usize, distribution: Option<String>, patterns: &Arc<[String]>) {
        let role = |node: u32| self.plan.nodes.get(node as usize).map(|spec| spec.id.role());
        let rounds = invalidation::rounds(self.caches.iter().filter_map(|cache| role(cache.node)));
        let Some(tiers) = rounds.get(round).filter(|tiers| !tiers.is_empty()) else {
            self.spreading.remove(&id);
            return self.note(EventKind::InvalidationDone { id });
        };
        let told = |node: &u32| role(*node).is_some_and(|role| tiers.contains(&role));
        let nodes: Vec<u32> = self.caches.iter().map(|cache| cache.node).filter(told).collect();
        self.spreading.insert(id, (round, nodes.len()));
        for node in nodes {
            let order = Order::Invalidate { id, distribution: distribution.clone(), patterns: Arc::clone(patterns) };
            // In each round on a connection of its own, as live.
            self.order(node, order, 0, true);
        }
    }

    fn invalidate(&mut self, distribution: Option<&str>, patterns: &[String]) {
        self.invalidations += 1;
        let id = self.invalidations;
        let objects = self.covered(distribution, patterns);
        self.note(EventKind::InvalidationAccepted { id, objects });
        self.spread(id, 0, distribution.map(str::to_owned), &patterns.into());
    }

    fn forget(&mut self, cache: usize, distribution: Option<&str>, patterns: &[String]) {
        let Some(host) = self.caches.get_mut(cache) else { return };
        let Some(revision) = self.nodes.get(host.node as usize).map(|node| node.revision) else { return };
        let Some(catalog) = self.catalogs.get(revision) else { return };
        for served in catalog.distributions() {
            if distribution.is_some_and(|id| id != &**served.id()) {
                continue;
            }
            for pattern in patterns.iter().filter_map(|text| served.invalidation(text).ok()) {
                host.invalidate(served.id(), &pattern);
            }
        }
    }

    /// The objects that patterns cover, of those that anybody has asked for.
    fn covered(&self, distribution: Option<&str>, patterns: &[String]) -> Covered {
        if patterns.iter().any(|pattern| pattern == "/*") && distribution.is_none() {
            return Covered::All;
        }
        let Some(catalog) = self.catalogs.first() else { return Covered::Objects(Vec::new()) };
        let parsed: BTreeMap<&str, Vec<InvalidationPattern>> = catalog
            .distributions()
            .iter()
            .filter(|served| distribution.is_none_or(|id| id == &**served.id()))
            .map(|served| {
                let patterns = patterns.iter().filter_map(|text| served.invalidation(text).ok());
                (&**served.id(), patterns.collect())
            })
            .collect();
        let mut objects: Vec<(u16, u64)> = (0..)
            .zip(catalog.entries())
            .filter_map(|(at, entry)| {
                let head = catalog.head(at, None)?;
                let patterns = parsed.get(&**head.distribution.id())?;
                let uri = head.uri();
                patterns.iter().any(|pattern| pattern.matches(&uri)).then_some((entry.load, entry.object))
            })
            .collect();
        objects.sort_unstable();
        objects.dedup();
        Covered::Objects(objects)
    }

    /// Once a second: what is expected of counters must be seen.
    pub(crate) fn handle_tick(&mut self) {
        self.tell_counters();
        if self.now < self.scenario.end() {
            self.queue.push(self.now + Duration::from_secs(1), Happening::Tick);
        }
    }

    pub(crate) fn tell_counters(&mut self) {
        // What was counted belongs to the second that is over, as it does live; at time zero that is the warm-up.
        let at = Instant::from_nanos(self.now.as_nanos().saturating_sub(1));
        for counter in self.scenario.counters() {
            for node in 0..self.nodes.len() {
                let Some(host) = self.nodes.get(node) else { continue };
                if !host.counters_have(counter) {
                    continue;
                }
                let value = host.counters.value(counter);
                let node = u32::try_from(node).unwrap_or(u32::MAX);
                self.witness.note(&Event { at, kind: EventKind::Counter { node, counter, value } });
            }
        }
    }
}

fn meets(hit: &[u32], nodes: &[u32]) -> bool {
    hit.iter().any(|node| nodes.contains(node))
}
