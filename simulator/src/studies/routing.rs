//! One population of clients, sent to edges by one policy after the other.
//!
//! A request is one round trip on an open connection to the edge that the client's resolver was told of. Resolvers keep
//! answers for their TTL; the router is a [`Planner`] that probes every edge, hears of round trips from viewers as often as
//! live ones report them, and publishes snapshots when it wants to. An edge that dies falls silent, which is the harder
//! case: nobody refuses, and a client tries its second address as [`world::client::Race`] says.
//!
//! Left out: caches and origins (every request ends at its edge), bandwidth, losses, the time that questions take, and the
//! way of reports to the router. A PoP with a capacity serves one request after the other, and turns away whom it would keep
//! waiting for too long.

mod crowds;
mod outcome;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use cdn_core::{
    Instant, PopCode,
    health::ProbeError,
    routing::{Host, Planner, Policy, PolicyKind, Probe, ProgramOptions, RoutingOptions, Snapshot},
};
use rand::{
    RngExt as _,
    distr::{Distribution as _, weighted::WeightedIndex},
};
use rand_chacha::ChaCha8Rng;
use world::{
    Place, World,
    chance::{Exp1, StandardNormal},
    client::RaceOptions,
    stream,
};

use self::{crowds::Queues, outcome::histogram};
pub use self::{
    crowds::{Capacities, Surge},
    outcome::{CityTally, Routed},
};
use super::{
    network::{candidates, edge_of, network_of, prefixes, site_of},
    paths::Paths,
};
use crate::{plan::Program, routers::geo_place};

/// A client behind a resolver that everybody uses.
const SHARED: u32 = u32::MAX;

/// Whom clients are sent by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// A policy of the router.
    Policy(PolicyKind),
    /// DNS and routes: answers by latency, each PoP with a prefix of its own, and below them a prefix that all announce. Who
    /// still has the address of a PoP that is gone comes out at another as soon as the routes have converged (Zhu et al., IMC
    /// 2022).
    Hybrid,
    /// Nobody: every client goes to the origin.
    OriginOnly,
}

impl Scheme {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy(policy) => policy.as_str(),
            Self::Hybrid => "hybrid",
            Self::OriginOnly => "origin-only",
        }
    }
}

/// Which resolvers clients have.
#[derive(Clone, Debug, Default)]
pub struct Resolvers {
    /// A resolver far from many of its clients, and the share of clients behind it. The others have one in their city.
    pub shared: Option<(Place, f64)>,
    /// The share of clients whose resolver keeps answers for at least so long, whatever the TTL.
    pub stretch: Option<(f64, Duration)>,
    /// They send the client's network along (RFC 7871).
    pub client_subnet: bool,
}

/// What is studied.
#[derive(Clone, Debug)]
pub struct RoutingStudy {
    /// Where edges stand, one in each.
    pub pops: Vec<Place>,
    /// Where the origin stands, and the router.
    pub origin: Place,
    /// Where clients live: as many of them as the city has users.
    pub cities: Vec<Place>,
    /// How many clients.
    pub clients: u32,
    /// Requests that are counted, on average: they come by chance.
    pub requests: u64,
    /// How long the router learns before requests count; they come as often as later.
    pub warmup: Duration,
    /// How long requests count.
    pub span: Duration,
    /// What clients ask.
    pub resolvers: Resolvers,
    /// How the router chooses; of the policy the scheme decides. It learns once a second, where a live one does ten times:
    /// no network reports more often, and the difference is work.
    pub routing: RoutingOptions,
    /// A PoP that falls silent, and when, counted from the end of the warm-up.
    pub kill: Option<(PopCode, Duration)>,
    /// What PoPs can bear. What the router knows of it is in [`RoutingOptions::spill`].
    pub capacities: Capacities,
    /// More requests than usual, from some cities and for some time.
    pub surge: Option<Surge>,
    /// How often a program is asked. Default 1 s.
    pub program_interval: Duration,
    /// How patient clients are.
    pub race: RaceOptions,
    /// How long a client tries an address that failed last. Default 5 s, as viewers do.
    pub dead_for: Duration,
    /// The shortest time between two reports for one network and edge.
    pub beacon_interval: Duration,
    /// The shortest time between two measurements of the second address of an answer for one network.
    pub measure_interval: Duration,
    /// The run.
    pub seed: u64,
}

impl RoutingStudy {
    /// Nobody anywhere, all settings at their defaults: 10,000 clients and 200,000 requests in two minutes, after one to
    /// learn, and resolvers in their clients' cities that send client subnets.
    pub fn new(origin: Place) -> Self {
        let viewer = crate::ViewerSpec::default();
        Self {
            pops: Vec::new(),
            origin,
            cities: Vec::new(),
            clients: 10_000,
            requests: 200_000,
            warmup: Duration::from_secs(60),
            span: Duration::from_secs(120),
            resolvers: Resolvers { client_subnet: true, ..Resolvers::default() },
            routing: RoutingOptions { learn_interval: Duration::from_secs(1), ..RoutingOptions::default() },
            kill: None,
            capacities: Capacities::default(),
            surge: None,
            program_interval: ProgramOptions::default().interval,
            race: viewer.race,
            dead_for: viewer.dead_for,
            beacon_interval: viewer.beacon_interval,
            measure_interval: viewer.measure_interval,
            seed: 0,
        }
    }
}

/// The tables that all schemes of a study share.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Cities by PoPs.
    pub paths: Paths,
    /// Cities by the origin alone.
    pub to_origin: Paths,
    /// From the router to PoPs.
    probes: Vec<Duration>,
    /// Of each client: its city, and its last mile against the median of cities.
    clients: Vec<Client>,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    city: u16,
    /// [`SHARED`], or the resolver of its city.
    resolver: u32,
    access_ms: f32,
    stretches: bool,
}

impl Ground {
    /// The tables of a study.
    pub fn new(world: &World, study: &RoutingStudy) -> Self {
        let origin = std::slice::from_ref(&study.origin);
        let mut rng = stream(study.seed, &["clients"]);
        let cities = WeightedIndex::new(study.cities.iter().map(|city| city.users.max(1))).ok();
        let median_ms = world.options().access.rtt_ms_median();
        let client = |number: u32| {
            let city = cities.as_ref().map_or(0, |cities| cities.sample(&mut rng));
            let is_shared = study.resolvers.shared.as_ref().is_some_and(|(_, share)| rng.random::<f64>() < *share);
            let stretches = study.resolvers.stretch.is_some_and(|(share, _)| rng.random::<f64>() < share);
            let place = study.cities.get(city);
            let access = place
                .map_or(0.0, |place| world.client_access(place, u64::from(number)).as_secs_f64() * 1000.0 - median_ms);
            let city = u16::try_from(city).unwrap_or(u16::MAX);
            let resolver = if is_shared { SHARED } else { u32::from(city) };
            Client { city, resolver, access_ms: access as f32, stretches }
        };
        let probes = study.pops.iter().map(|pop| world.path(&study.origin, pop).rtt).collect();
        Self {
            paths: Paths::new(world, &study.cities, &study.pops),
            to_origin: Paths::new(world, &study.cities, origin),
            probes,
            clients: (0..study.clients).map(client).collect(),
        }
    }
}

/// Plays a study with one scheme. The same study and scheme come to the same result, whoever else runs.
pub fn play(study: &RoutingStudy, ground: &Ground, scheme: Scheme) -> Routed {
    Run::new(study, ground, scheme, None).play()
}

/// Plays a study with clients routed by a program. Where it answers the same, the same comes out.
pub fn play_program(study: &RoutingStudy, ground: &Ground, program: &mut dyn Program) -> Routed {
    Run::new(study, ground, Scheme::Policy(PolicyKind::Program), Some(program)).play()
}

/// An answer as a resolver keeps it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    until: Instant,
    first: u16,
    second: Option<u16>,
}

/// A resolver's answers by whom they are for: the length of the network and the network.
#[derive(Clone, Debug, Default)]
struct Resolver {
    kept: BTreeMap<(u8, u32), Kept>,
    /// One bit for each length that there are answers for.
    lengths: u64,
}

/// How a request and the dead PoP met.
#[derive(Clone, Copy, Debug, Default)]
struct Meeting {
    /// The first address was the dead one's.
    stale: bool,
    /// It was tried, and silence was waited for.
    harmed: bool,
}

/// A probe under way: when it is over, and the number of its order.
type Due = Reverse<(Instant, u64)>;

struct Run<'a> {
    study: &'a RoutingStudy,
    ground: &'a Ground,
    router: Option<Router<'a>>,
    /// The prefix that all announce but the PoP that is to die, where there is one, and how its routes converge.
    covering: Option<Router<'a>>,
    anycast: Option<Arc<dyn Policy>>,
    resolvers: BTreeMap<(u32, bool), Resolver>,
    shared_address: Ipv4Addr,
    /// When the PoP dies, and which.
    death: Option<(u16, Instant)>,
    zero: Instant,
    /// Of each client: until when it tries the silent address last.
    avoids: Vec<Instant>,
    ages: ChaCha8Rng,
    /// By network and PoP: when the next report is due.
    beacons: BTreeMap<(u16, u16), Instant>,
    measures: Vec<Instant>,
    best: Vec<(usize, f64)>,
    routed: Routed,
    base_ms: f64,
    best_ms: f64,
    ideal_ms: f64,
    stale: Vec<(u64, u64)>,
    queues: Queues,
}

struct Router<'a> {
    /// And when it is asked next.
    program: Option<(&'a mut dyn Program, Instant)>,
    /// It does something with reports.
    learns: bool,
    /// Its answers stand for what the network does, and no resolver keeps them longer than they say.
    is_by_routes: bool,
    planner: Planner,
    snapshot: Arc<Snapshot>,
    due: Instant,
    probes: BinaryHeap<Due>,
    outcomes: BTreeMap<u64, (Probe, Result<Duration, ProbeError>)>,
    serial: u64,
    turns: u64,
}

impl<'a> Router<'a> {
    fn new(study: &RoutingStudy, policy: PolicyKind, program: Option<&'a mut dyn Program>) -> Self {
        let geo = prefixes(study.cities.iter().map(geo_place));
        let options =
            RoutingOptions { policy, site: geo_place(&study.origin), seed: study.seed, ..study.routing.clone() };
        let built = policy.build(&options);
        let (learns, is_by_routes) = (built.learns(), !built.convergence_max().is_zero());
        let mut planner = Planner::new(Instant::ZERO, options, geo, candidates(&study.pops), vec![Host::new("study")]);
        let snapshot = Arc::new(planner.build_snapshot(Instant::ZERO));
        let due = planner.poll_timeout();
        Self {
            // Not before probes have come back: whoever asks about health sooner learns that nobody is known to live.
            program: program.map(|program| (program, Instant::ZERO + study.program_interval)),
            learns,
            is_by_routes,
            planner,
            snapshot,
            due,
            probes: BinaryHeap::new(),
            outcomes: BTreeMap::new(),
            serial: 0,
            turns: 0,
        }
    }

    fn next_at(&self) -> Instant {
        let due = self.program.as_ref().map_or(self.due, |(_, at)| self.due.min(*at));
        self.probes.peek().map_or(due, |Reverse((at, _))| due.min(*at))
    }

    /// Asks its program, if there is one and it is time.
    fn consult(&mut self, now: Instant, interval: Duration) {
        let Some((program, due)) = &mut self.program else { return };
        if now >= *due {
            *due = now + interval;
            let told = program.round(now, &self.snapshot);
            self.planner.set_told(now, told);
        }
    }

    /// Takes what the planner has become after it was told something.
    fn settle(&mut self, now: Instant) {
        if let Some(snapshot) = self.planner.poll_snapshot(now) {
            self.snapshot = Arc::new(snapshot);
        }
        self.due = self.planner.poll_timeout();
    }

    /// Probes and snapshots up to `now`; `rtts` are those of probes, and `is_silent` says which site answers none that would
    /// be over at a time, `arrived` how many requests a site has had. When an edge was first found ill.
    fn advance(
        &mut self,
        now: Instant,
        rtts: &[Duration],
        is_silent: impl Fn(u16, Instant) -> bool,
        arrived: impl Fn(u16) -> Option<u64>,
        program_interval: Duration,
    ) -> Option<Instant> {
        let mut found = None;
        while self.next_at() <= now {
            let at = self.next_at();
            while let Some(&Reverse((over, serial))) = self.probes.peek()
                && over <= at
            {
                self.probes.pop();
                if let Some((probe, outcome)) = self.outcomes.remove(&serial) {
                    self.planner.handle_probe(over, probe, outcome);
                    // What an edge has served it says in its answers to probes.
                    if let Some(total) = outcome.ok().and_then(|_| arrived(site_of(*probe.address.ip()))) {
                        self.planner.handle_requests(over, probe.edge, total);
                    }
                }
            }
            while let Some(probe) = self.planner.poll_probe(at) {
                let site = site_of(*probe.address.ip());
                let timeout = self.planner.options().probe.timeout;
                let rtt = rtts.get(usize::from(site)).copied().unwrap_or_default();
                let is_lost = is_silent(site, at + rtt) || rtt > timeout;
                let (took, outcome) = if is_lost { (timeout, Err(ProbeError::TimedOut)) } else { (rtt, Ok(rtt)) };
                self.serial += 1;
                self.probes.push(Reverse((at + took, self.serial)));
                self.outcomes.insert(self.serial, (probe, outcome));
            }
            let changes = self.planner.poll_changes();
            if found.is_none() && changes.iter().any(|(_, change)| !change.to.is_healthy()) {
                found = Some(at);
            }
            self.settle(at);
            if self.program.is_some() {
                self.consult(at, program_interval);
                self.settle(at);
            }
        }
        found
    }

    /// Where a network is sent, the first of several.
    fn first(&self, network: Ipv4Addr) -> Option<u16> {
        let (answer, _) = self.snapshot.answer(0, IpAddr::V4(network), 0);
        self.snapshot.addresses(0, answer).map(|address| site_of(*address.ip())).next()
    }
}

impl<'a> Run<'a> {
    fn new(study: &'a RoutingStudy, ground: &'a Ground, scheme: Scheme, program: Option<&'a mut dyn Program>) -> Self {
        let router = match scheme {
            Scheme::Policy(policy) => Some(Router::new(study, policy, program)),
            Scheme::Hybrid => Some(Router::new(study, PolicyKind::Latency, None)),
            Scheme::OriginOnly => None,
        };
        let covering = (scheme == Scheme::Hybrid).then(|| Router::new(study, PolicyKind::Anycast, None));
        let anycast = covering.is_some().then(|| PolicyKind::Anycast.build(&study.routing));
        let router_is_there = router.is_some();
        let zero = Instant::ZERO + study.warmup;
        let position = |code: PopCode| study.pops.iter().position(|pop| pop.pop_code() == Some(code));
        let death = study.kill.and_then(|(code, at)| Some((u16::try_from(position(code)?).ok()?, zero + at)));
        let sites = if router.is_some() { study.pops.len() } else { 1 };
        // The shared resolver asks from a network of the city next to it.
        let nearest = study.resolvers.shared.as_ref().and_then(|(place, _)| {
            let km = |city: &Place| city.coordinates.distance_km(place.coordinates);
            let cities = study.cities.iter().zip(0..);
            cities.min_by(|(a, _), (b, _)| km(a).total_cmp(&km(b))).map(|(_, number)| network_of(number))
        });
        let best = (0..study.cities.len()).map(|city| ground.paths.best(city, |_| true).unwrap_or_default());
        Self {
            study,
            ground,
            router,
            covering,
            anycast,
            resolvers: BTreeMap::new(),
            shared_address: nearest.unwrap_or(Ipv4Addr::UNSPECIFIED),
            death,
            zero,
            avoids: vec![Instant::ZERO; ground.clients.len()],
            ages: stream(study.seed, &["ages"]),
            beacons: BTreeMap::new(),
            measures: vec![Instant::ZERO; study.cities.len()],
            best: best.collect(),
            routed: Routed {
                latency_us: histogram(),
                requests: 0,
                lost: 0,
                harmed: 0,
                on_best: 0,
                stretch: 0.0,
                ideal_ms: 0.0,
                turned_away: 0,
                overload: Duration::ZERO,
                questions: 0,
                cities: vec![CityTally::default(); study.cities.len()],
                cities_before: vec![CityTally::default(); if death.is_some() { study.cities.len() } else { 0 }],
                cities_after: vec![CityTally::default(); if death.is_some() { study.cities.len() } else { 0 }],
                by_site: vec![0; sites],
                detected: None,
                back: None,
                stale_by_second: Vec::new(),
            },
            base_ms: 0.0,
            best_ms: 0.0,
            ideal_ms: 0.0,
            stale: Vec::new(),
            queues: Queues::new(&study.capacities, if router_is_there { &study.pops } else { &[] }),
        }
    }

    fn play(mut self) -> Routed {
        let mut rng = stream(self.study.seed, &["requests"]);
        let end = self.zero + self.study.span;
        let rate = self.study.requests as f64 / self.study.span.as_secs_f64().max(1e-9);
        let mut now = Instant::ZERO;
        let clients = self.ground.clients.len();
        let is_in = |client: &Client| {
            let city = self.study.cities.get(usize::from(client.city));
            self.study.surge.as_ref().zip(city).is_some_and(|(surge, city)| surge.holds(city))
        };
        let crowd: Vec<usize> =
            self.ground.clients.iter().enumerate().filter(|(_, client)| is_in(client)).map(|(at, _)| at).collect();
        loop {
            let gap: f64 = Exp1.sample(&mut rng);
            let surge = self
                .study
                .surge
                .as_ref()
                .filter(|surge| surge.is_on(now.saturating_since(self.zero), now >= self.zero));
            let more = surge.map_or(1.0, |surge| surge.times);
            now += Duration::from_secs_f64((gap / (rate * more)).min(1e9));
            if now >= end || clients == 0 {
                break;
            }
            // Drawn whether they are needed or not, so that all schemes meet the same chance.
            let (mut client, noise): (usize, f64) = (rng.random_range(0..clients), StandardNormal.sample(&mut rng));
            // Those that come beside the usual ones.
            if more > 1.0 && rng.random::<f64>() >= 1.0 / more && !crowd.is_empty() {
                client = crowd.get(rng.random_range(0..crowd.len())).copied().unwrap_or(client);
            }
            self.advance(now);
            self.request(now, client, noise);
        }
        self.advance(end);
        self.routed.ideal_ms = self.ideal_ms / self.routed.requests.max(1) as f64;
        self.routed.overload = self.queues.overload();
        self.routed.stretch = if self.best_ms > 0.0 { self.base_ms / self.best_ms } else { 0.0 };
        self.routed.stale_by_second =
            self.stale.iter().map(|&(stale, all)| if all == 0 { 0.0 } else { stale as f64 / all as f64 }).collect();
        self.routed
    }

    fn is_dead(&self, site: u16, now: Instant) -> bool {
        self.death.is_some_and(|(dead, at)| dead == site && now >= at)
    }

    /// Probes and snapshots up to `now`.
    fn advance(&mut self, now: Instant) {
        let (death, queues, interval) = (self.death, &self.queues, self.study.program_interval);
        let rtts = &self.ground.probes;
        let Some(router) = &mut self.router else { return };
        let is_silent = |site, at| death.is_some_and(|(dead, since)| dead == site && at >= since);
        let found = router.advance(now, rtts, is_silent, |site| queues.arrived(site), interval);
        if let (Some((_, since)), Some(at), None) = (death, found, self.routed.detected) {
            // One that is found ill before it dies is not the one that is waited for.
            self.routed.detected = (at >= since).then(|| at.saturating_since(since));
        }
        if let Some(covering) = &mut self.covering {
            covering.advance(now, rtts, |site, _| death.is_some_and(|(dead, _)| dead == site), |_| None, interval);
        }
    }

    /// Where the address of a PoP that is gone leads once a city's networks have heard of it: to whom the prefix below leads.
    fn covered(&self, now: Instant, city: u16, kept: Kept) -> Kept {
        let (Some(covering), Some((dead, since)), Some(detected)) = (&self.covering, self.death, self.routed.detected)
        else {
            return kept;
        };
        let heard = || {
            let convergence =
                self.anycast.as_ref().map(|policy| policy.convergence(self.study.seed, u64::from(city) + 1));
            since + detected + convergence.unwrap_or_default()
        };
        if kept.first != dead || now < heard() {
            return kept;
        }
        Kept { first: covering.first(network_of(u32::from(city))).unwrap_or(kept.first), ..kept }
    }

    /// What the client's resolver says: from its memory, or from the router.
    fn ask(&mut self, now: Instant, client: Client) -> Option<Kept> {
        let router = self.router.as_mut()?;
        let of_client = network_of(u32::from(client.city)).to_bits();
        let resolver = self.resolvers.entry((client.resolver, client.stretches)).or_default();
        let lengths = (0..=32_u8).filter(|length| resolver.lengths >> length & 1 == 1);
        let known = lengths.filter_map(|length| resolver.kept.get(&(length, masked(of_client, length))));
        if let Some(kept) = known.copied().find(|kept| now < kept.until) {
            return Some(kept);
        }
        let sends_subnet = self.study.resolvers.client_subnet;
        let asker = match client.resolver {
            SHARED if !sends_subnet => self.shared_address,
            _ => Ipv4Addr::from_bits(of_client),
        };
        router.turns += 1;
        let (answer, scope) = router.snapshot.answer(0, IpAddr::V4(asker), router.turns);
        let mut sites = router.snapshot.addresses(0, answer).map(|address| site_of(*address.ip()));
        let (first, second) = (sites.next()?, sites.next());
        drop(sites);
        let stretches = client.stretches && !router.is_by_routes;
        let stretched = if stretches { self.study.resolvers.stretch.map(|(_, least)| least) } else { None };
        let ttl = router.snapshot.ttl(0).max(stretched.unwrap_or_default());
        // Without the client's network an answer is for everybody behind the resolver.
        let scope = if sends_subnet { scope.min(24) } else { 0 };
        // The first answer has an age of chance, as if the resolver had been asked before: otherwise all would expire at once.
        let left = if resolver.lengths == 0 { ttl.mul_f64(self.ages.random()) } else { ttl };
        let kept = Kept { until: now + left, first, second };
        resolver.kept.insert((scope, masked(of_client, scope)), kept);
        resolver.lengths |= 1 << scope;
        if now >= self.zero {
            self.routed.questions += 1;
        }
        Some(kept)
    }

    fn request(&mut self, now: Instant, number: usize, noise: f64) {
        let Some(&client) = self.ground.clients.get(number) else { return };
        let city = usize::from(client.city);
        let access_ms = f64::from(client.access_ms);
        if self.router.is_none() {
            let base_ms = self.ground.to_origin.rtt_ms(city, 0);
            let ms = base_ms + access_ms + self.ground.to_origin.jitter_ms(city, 0, noise);
            self.idealise(now, city, access_ms, noise);
            return self.count(now, city, 0, Some(ms.max(0.1)), base_ms, Meeting::default());
        }
        let Some(kept) = self.ask(now, client) else { return };
        let kept = self.covered(now, client.city, kept);
        let rtt_ms = |site: u16| {
            let paths = &self.ground.paths;
            let site = usize::from(site);
            (paths.rtt_ms(city, site) + access_ms + paths.jitter_ms(city, site, noise)).max(0.1)
        };
        let avoids = self.avoids.get(number).is_some_and(|until| now < *until);
        let (first, second) = match kept.second {
            Some(second) if avoids && self.is_dead(kept.first, now) => (second, Some(kept.first)),
            second => (kept.first, second),
        };
        let (site, ms, harmed) = if self.is_dead(first, now) {
            let order: Vec<u16> = std::iter::once(first).chain(second).collect();
            if let Some(until) = self.avoids.get_mut(number) {
                *until = now + self.study.dead_for;
            }
            let connected = connect(self.study.race, now, &order, |site| {
                (!self.is_dead(site, now)).then(|| Duration::from_secs_f64(rtt_ms(site) / 1000.0))
            });
            let answered = connected.map(|(site, took)| (site, took.as_secs_f64() * 1000.0 + rtt_ms(site)));
            (answered.map_or(first, |(site, _)| site), answered.map(|(_, ms)| ms), true)
        } else {
            (first, Some(rtt_ms(first)), false)
        };
        let wait = ms.and_then(|_| self.queues.join(now, site, now >= self.zero));
        self.routed.turned_away += u64::from(ms.is_some() && wait.is_none() && now >= self.zero);
        let ms = ms.zip(wait).map(|(ms, wait)| ms + wait.as_secs_f64() * 1000.0);
        self.idealise(now, city, access_ms, noise);
        if ms.is_some() {
            self.report(now, client.city, site, rtt_ms(site));
            self.measure(now, client.city, kept, &rtt_ms);
        }
        let base_ms = self.ground.paths.rtt_ms(city, usize::from(site));
        self.count(now, city, site, ms, base_ms, Meeting { stale: self.is_dead(kept.first, now), harmed });
    }

    /// Adds what the request would have taken, had it gone to its best edge.
    fn idealise(&mut self, now: Instant, city: usize, access_ms: f64, noise: f64) {
        if now < self.zero {
            return;
        }
        let dead = self.death.filter(|(_, at)| now >= *at).map(|(dead, _)| usize::from(dead));
        let known = self.best.get(city).copied().unwrap_or_default();
        let (site, best_ms) = match dead {
            Some(dead) if dead == known.0 => self.ground.paths.best(city, |site| site != dead).unwrap_or(known),
            _ => known,
        };
        self.ideal_ms += (best_ms + access_ms + self.ground.paths.jitter_ms(city, site, noise)).max(0.1);
    }

    /// A viewer tells the router of a round trip, if it has not lately.
    fn report(&mut self, now: Instant, city: u16, site: u16, ms: f64) {
        if self.router.as_ref().is_none_or(|router| !router.learns) {
            return;
        }
        let due = self.beacons.entry((city, site)).or_insert(Instant::ZERO);
        if now < *due {
            return;
        }
        *due = now + self.study.beacon_interval;
        let Some(router) = &mut self.router else { return };
        let rtt = Duration::from_secs_f64(ms / 1000.0);
        // One that is refused is one that the router learns nothing from.
        let _ = router.planner.handle_beacon(now, IpAddr::V4(network_of(u32::from(city))), edge_of(site), rtt);
        router.settle(now);
    }

    /// Nobody would learn of an edge that nobody uses: the second address is measured now and then.
    fn measure(&mut self, now: Instant, city: u16, kept: Kept, rtt_ms: &impl Fn(u16) -> f64) {
        let Some(second) = kept.second.filter(|second| !self.is_dead(*second, now)) else { return };
        let Some(due) = self.measures.get_mut(usize::from(city)).filter(|due| now >= **due) else { return };
        *due = now + self.study.measure_interval;
        self.report(now, city, second, rtt_ms(second));
    }

    fn count(&mut self, now: Instant, city: usize, site: u16, ms: Option<f64>, base_ms: f64, meeting: Meeting) {
        if now < self.zero {
            return;
        }
        let routed = &mut self.routed;
        routed.requests += 1;
        routed.harmed += u64::from(meeting.harmed);
        if let Some((_, died_at)) = self.death.filter(|(_, at)| now >= *at) {
            let since = now.saturating_since(died_at);
            let second = usize::try_from(since.as_secs()).unwrap_or(0);
            if self.stale.len() <= second {
                self.stale.resize(second + 1, (0, 0));
            }
            if let Some((stale, all)) = self.stale.get_mut(second) {
                *stale += u64::from(meeting.stale);
                *all += 1;
            }
            if meeting.harmed {
                routed.back = Some(since);
            }
        }
        let then = match self.death {
            Some((_, at)) if now >= at => &mut routed.cities_after,
            _ => &mut routed.cities_before,
        };
        for cities in [&mut routed.cities, then] {
            if let Some(tally) = cities.get_mut(city) {
                tally.count(site, ms);
            }
        }
        let Some(ms) = ms else {
            routed.lost += 1;
            return;
        };
        routed.latency_us.saturating_record((ms * 1000.0).round() as u64);
        if let Some(count) = routed.by_site.get_mut(usize::from(site)) {
            *count += 1;
        }
        // Against the best of those that are there.
        let dead = self.death.filter(|(_, at)| now >= *at).map(|(dead, _)| usize::from(dead));
        let known = self.best.get(city).copied().unwrap_or_default();
        let best = match dead {
            Some(dead) if dead == known.0 => self.ground.paths.best(city, |site| site != dead).unwrap_or(known),
            _ => known,
        };
        self.base_ms += base_ms;
        self.best_ms += best.1;
        routed.on_best += u64::from(base_ms <= best.1 + 1e-6);
    }
}

/// To the first of several addresses that answers: which, and after how long. `rtt` of one that is silent is none.
fn connect(
    options: RaceOptions,
    now: Instant,
    addresses: &[u16],
    rtt: impl Fn(u16) -> Option<Duration>,
) -> Option<(u16, Duration)> {
    let mut race = world::client::Race::new(now, addresses.to_vec(), options);
    let (mut at, mut won): (Instant, Option<(Instant, u16)>) = (now, None);
    loop {
        while let Some((_, address)) = race.poll_attempt(at) {
            if let Some(rtt) = rtt(address) {
                won = Some(won.map_or((at + rtt, address), |best| best.min((at + rtt, address))));
            }
        }
        let next = race.poll_timeout();
        match (won, next) {
            (Some((over, address)), next) if next.is_none_or(|next| over <= next) => {
                return Some((address, over.saturating_since(now)));
            }
            (_, Some(next)) => at = next,
            (_, None) => return None,
        }
        race.handle_timeout(at);
        if race.is_lost() {
            return None;
        }
    }
}

/// A network of `length` bits.
const fn masked(address: u32, length: u8) -> u32 {
    if length == 0 { 0 } else { address & (u32::MAX << (32 - length)) }
}

#[cfg(test)]
mod tests;
