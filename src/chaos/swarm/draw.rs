//! What a seed draws: a world, what breaks in it, and who asks for what, as the scenario file that one would have written.
//!
//! Whatever it breaks it heals, and no load is more than its origins bear, so that every law of `world::invariant` may be
//! asked of every draw. Knows nothing of how one is played.

use std::time::Duration;

use cdn_core::{Role, distribution::FAILOVER_CODES_AWS, eviction::EvictionPolicy, routing::PolicyKind};
use indexmap::IndexMap;
use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use world::{Access, Atlas, Place, invariant::RECOVERS_WITHIN};

use crate::{
    chaos::Kind,
    cluster::Cluster,
    cluster_file::{
        BehaviorFile, DistributionFile, EdgeFile, GroupFile, OriginFile, OriginRuleFile, RouterFile,
        TransportFailoverFile, ViewerFile, WorldFile,
    },
    diagnose::KeyError,
    private_key::PrivateKey,
    quantity::{ByteCount, Span},
    scenario::{Bps, ExpectFile, Figure, LoadFile, Many, ScenarioFile, StepFile},
    up::read_beside,
};

/// How long it is watched that everybody is served, once that may be asked.
const WATCHED: Duration = Duration::from_secs(15);

/// When the last fault begins, and when at the latest all is healed.
const fn breaks_until(kind: Kind) -> (Duration, Duration) {
    match kind {
        Kind::Virtual => (Duration::from_secs(40), Duration::from_secs(50)),
        // Somebody waits for these.
        Kind::Live => (Duration::from_secs(12), Duration::from_secs(16)),
    }
}

/// The scenario of a seed. One that is played live has no step that only virtual time knows.
///
/// # Errors
/// The world that it draws is none: a defect of the draw.
pub(super) fn draw(seed: u64, kind: Kind) -> Result<ScenarioFile, KeyError> {
    // A draw more in one of them does not shift the others.
    let chance = |name| Chance(world::stream(seed, &["swarm", name]));
    let (breaks, healed) = breaks_until(kind);
    let mut file = world(&mut chance("world"));
    file.title = Some(format!("Seed {seed} of the swarm"));
    file.seed = Some(seed);
    file.length = Some(Span(healed + RECOVERS_WITHIN + WATCHED));
    file.load = Many(loads(&mut chance("load"), &file));
    file.expect = vec![laws_hold()];
    let mut about = chance("focus");
    let focus = about.of([Focus::All, Focus::All, Focus::All, Focus::FirstOrigin, Focus::Invalidations, Focus::Ages]);
    match focus {
        Focus::All => {}
        Focus::FirstOrigin => group_two_origins(&mut file),
        Focus::Invalidations => make_hot(&mut file),
        Focus::Ages => let_age(&mut about, &mut file),
    }
    signatures(&mut chance("signatures"), &mut file)?;
    let written = file.world();
    let cluster = Cluster::check(&written, &read_beside(&written)?)?;
    let mut faults =
        Faults { chance: chance("faults"), cluster: &cluster, kind, breaks, busy: Vec::new(), steps: Vec::new() };
    for _ in 0..faults.chance.of([1, 2, 3, 4, 6, 8, 12]) {
        match focus {
            Focus::All => faults.break_something(&file),
            Focus::FirstOrigin => faults.break_first_origin(),
            Focus::Invalidations => faults.invalidate_what_is_under_way(),
            Focus::Ages => faults.break_origin(),
        }
    }
    let mut steps = faults.steps;
    steps.push(StepFile { heal: one("all"), ..at(healed) });
    steps.sort_by_key(|step| step.t);
    file.at = steps;
    Ok(file)
}

/// What a draw is about: all of it, or one thing for which everything else has to be whole, or has to meet.
#[derive(Clone, Copy, Debug)]
enum Focus {
    All,
    /// Nothing breaks but the first origin of a group.
    FirstOrigin,
    /// Invalidations one after the other, of what is on its way.
    Invalidations,
    /// Origins fail again and again, and say how long that may go unnoticed.
    Ages,
}

/// What every draw expects.
pub(super) fn laws_hold() -> ExpectFile {
    ExpectFile { what: "laws_broken".to_owned(), max: Some(Figure::Number(0.0)), ..ExpectFile::default() }
}

/// Whatever is asked for is of a group of two origins, and nothing gets lost by itself.
fn group_two_origins(file: &mut ScenarioFile) {
    for id in ORIGINS.into_iter().take(2) {
        file.origins.entry(id.to_owned()).or_default();
    }
    let group = GroupFile {
        members: [ORIGINS[0].into(), ORIGINS[1].into()],
        failover_codes: None,
        on_transport_error: None,
        cloudfront: IndexMap::new(),
    };
    file.groups.insert("main".into(), group);
    file.world.loss = None;
    if file.distributions.is_empty() {
        file.distributions.insert("demo".to_owned(), DistributionFile::default());
    }
    file.distributions.values_mut().for_each(|served| served.default.target = Some("main".to_owned()));
    file.load.0.iter_mut().for_each(|load| load.method = None);
}

/// Few objects that are asked for all the time.
fn make_hot(file: &mut ScenarioFile) {
    for load in &mut file.load.0 {
        (load.method, load.paths, load.rps) = (None, Some("zipf:1:10".to_owned()), Some(25.0));
    }
}

/// What edges fetch themselves may become so old and no older, however it is that it was used.
fn let_age(chance: &mut Chance, file: &mut ScenarioFile) {
    make_hot(file);
    (file.shield, file.regional) = (Some("none".to_owned()), Vec::new());
    file.origins.entry(ORIGINS[0].to_owned()).or_default();
    for origin in file.origins.values_mut() {
        let query = chance.of(["cc=max-age=2,stale-if-error=4", "cc=max-age=1,stale-while-revalidate=3", "max-age=3"]);
        origin.rules = vec![OriginRuleFile { path: "/*".into(), query: query.into() }];
    }
    if file.distributions.is_empty() {
        file.distributions.insert("demo".to_owned(), DistributionFile::default());
    }
    for served in file.distributions.values_mut() {
        let cache_policy = Some("honour-origin".to_owned());
        (served.default, served.behaviors) = (BehaviorFile { cache_policy, ..BehaviorFile::default() }, Vec::new());
    }
}

/// A stream of chance, and what is drawn from it.
struct Chance(ChaCha8Rng);

impl Chance {
    fn is(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability)
    }

    fn of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        all[self.0.random_range(0..N)]
    }

    /// Something that is written in some draws only.
    fn maybe<T: Copy, const N: usize>(&mut self, all: [T; N]) -> Option<T> {
        let drawn = self.of(all);
        self.is(0.5).then_some(drawn)
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.choose(&mut self.0)
    }

    fn some<T: Clone>(&mut self, all: &[T], n: usize) -> Vec<T> {
        all.sample(&mut self.0, n).cloned().collect()
    }

    /// A moment or a span, in whole milliseconds.
    fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.0.random_range(least..=most.max(least)))
    }

    /// A share in whole percent.
    fn share(&mut self) -> f64 {
        f64::from(self.0.random_range(1..=100_u8)) / 100.0
    }
}

fn one(name: impl Into<String>) -> Option<Many<String>> {
    Some(Many(vec![name.into()]))
}

fn at(time: Duration) -> StepFile {
    StepFile { t: Some(Span(time)), ..StepFile::default() }
}

const fn ms(n: u64) -> Span {
    Span(Duration::from_millis(n))
}

/// PoPs, caches between, origins and their groups, distributions, and how routers, edges, viewers and paths are.
fn world(chance: &mut Chance) -> ScenarioFile {
    let codes: Vec<String> =
        world::preset("world-36").into_iter().flat_map(|preset| preset.pops()).map(|pop| pop.to_string()).collect();
    let n = chance.of([1, 2, 2, 3, 3, 4, 5, 6, 8]);
    let pops = chance.some(&codes, n);
    let shield = match chance.of([0, 1, 2]) {
        0 => Some("none".to_owned()),
        1 => chance.one(&codes).cloned(),
        _ => None,
    };
    let n = chance.of([0, 0, 0, 1, 2]);
    let regional = chance.some(&codes, n);
    let mut file = ScenarioFile { pops: Some(pops.clone()), shield, regional, ..ScenarioFile::default() };
    origins(chance, &mut file);
    distributions(chance, &mut file);
    file.router = RouterFile {
        sites: chance.is(0.3).then(|| chance.some(&codes, 2)),
        policy: chance.is(0.5).then(|| chance.of(PolicyKind::BUILT_IN).as_str().to_owned()),
        ttl: chance.maybe([1000, 5000, 20_000]).map(ms),
        answers: chance.maybe([1, 2, 3]),
        probe_interval: chance.maybe([500, 1000, 2000]).map(ms),
        down_after: chance.maybe([2, 3, 14]),
        up_after: chance.maybe([1, 2, 3]),
        ramp: chance.maybe([0, 2000, 15_000]).map(ms),
        explore: chance.maybe([0.0, 0.02, 0.3]),
        ..RouterFile::default()
    };
    if chance.is(0.1) {
        file.router.capacity = pops.iter().map(|pop| (pop.clone(), 10.0)).collect();
    }
    let cache_bytes = chance.maybe([1 << 20, 4 << 20, 64 << 20]).map(ByteCount);
    file.edge = EdgeFile {
        cache_bytes,
        // No object is larger than a store.
        object_bytes: cache_bytes.map(|_| ByteCount(chance.of([16 << 10, 1 << 20]))),
        eviction: chance
            .maybe([EvictionPolicy::Sieve, EvictionPolicy::Lru, EvictionPolicy::S3Fifo])
            .map(|one| one.as_str().to_owned()),
        admission: chance.maybe(["all", "second-request"]).map(str::to_owned),
        ..EdgeFile::default()
    };
    file.viewer = ViewerFile {
        resolver: chance.is(0.1).then(|| "frankfurt".to_owned()),
        client_subnet: chance.maybe([true, false]),
        ..ViewerFile::default()
    };
    file.world = WorldFile {
        access: chance
            .maybe([Access::Fiber, Access::Cable, Access::Dsl, Access::Lte, Access::Leo])
            .map(|one| one.as_str().to_owned()),
        jitter: chance.maybe([true, false]),
        loss: chance.maybe([true, false]),
        ..WorldFile::default()
    };
    file
}

/// Ids of origins that are drawn, in the order in which they are tried.
const ORIGINS: [&str; 3] = ["alpha", "beta", "gamma"];

fn origins(chance: &mut Chance, file: &mut ScenarioFile) {
    let n = chance.of([0, 0, 1, 2, 2, 3]);
    for id in ORIGINS.into_iter().take(n) {
        let rules = chance.maybe([
            "max-age=5",
            "max-age=60",
            "cc=no-store",
            "cc=max-age=2,stale-while-revalidate=10",
            "size=20k",
            "cc=max-age=2,stale-if-error=4",
        ]);
        let origin = OriginFile {
            site: Some(chance.of(["us-east-1", "eu-west-1", "ap-northeast-1", "sa-east-1"]).to_owned()),
            connection_attempts: chance.maybe([1, 2, 3]),
            connection_timeout: chance.maybe([1000, 2000, 4000]).map(ms),
            response_timeout: chance.maybe([2000, 5000, 15_000]).map(ms),
            keepalive_timeout: chance.maybe([1000, 30_000]).map(ms),
            shield: chance.maybe([true, false]),
            concurrency: chance.maybe([64, 512]),
            rules: rules.map(|query| OriginRuleFile { path: "/*".into(), query: query.into() }).into_iter().collect(),
            ..OriginFile::default()
        };
        file.origins.insert(id.to_owned(), origin);
    }
    if n >= 2 && chance.is(0.7) {
        let codes = chance.is(0.3).then(|| chance.some(&FAILOVER_CODES_AWS, 3));
        let group = GroupFile {
            members: ["alpha".into(), "beta".into()],
            failover_codes: codes,
            on_transport_error: chance.is(0.3).then_some(TransportFailoverFile::Always),
            cloudfront: IndexMap::new(),
        };
        file.groups.insert("main".into(), group);
    }
}

/// Cache policies that are drawn.
const POLICIES: [&str; 4] = ["CachingOptimized", "CachingDisabled", "OriginCacheControl", "honour-origin"];

fn distributions(chance: &mut Chance, file: &mut ScenarioFile) {
    for id in ["demo", "shop"].into_iter().take(chance.of([0, 1, 1, 2])) {
        let policy = |chance: &mut Chance| chance.maybe(POLICIES).map(str::to_owned);
        let routing = chance.is(0.2).then(|| chance.of(PolicyKind::BUILT_IN).as_str().to_owned());
        let default = BehaviorFile { cache_policy: policy(chance), ..BehaviorFile::default() };
        let special = BehaviorFile {
            path: Some(chance.of(["/objects/1*", "/bytes/*", "/objects/*5"]).to_owned()),
            target: file.origins.keys().next_back().cloned(),
            cache_policy: policy(chance),
            ..BehaviorFile::default()
        };
        let behaviors = if chance.is(0.3) { vec![special] } else { Vec::new() };
        file.distributions
            .insert(id.to_owned(), DistributionFile { routing, default, behaviors, ..DistributionFile::default() });
    }
}

fn loads(chance: &mut Chance, file: &ScenarioFile) -> Vec<LoadFile> {
    let cities: Vec<&Place> = Atlas::embedded().cities().iter().map(|city| &city.place).collect();
    let n = chance.of([1, 1, 1, 2]);
    let mut drawn = Vec::new();
    for _ in 0..n {
        let from = match chance.of([0, 1, 2]) {
            0 => None,
            1 => chance.one(&cities).and_then(|place| one(place.continent.name())),
            _ => {
                let n = chance.of([1, 2, 4]);
                Some(Many(chance.some(&cities, n).iter().map(|place| place.id.to_string()).collect()))
            }
        };
        let paths = match chance.of([0, 1, 2, 3]) {
            0 => format!("/objects/{}", chance.of([1, 5, 100])),
            _ => format!("zipf:{}:{}", chance.of([0.0, 0.7, 1.0, 1.3]), chance.of([10, 300, 5000])),
        };
        drawn.push(LoadFile {
            from,
            rps: Some(chance.of([2.0, 5.0, 10.0, 25.0])),
            paths: Some(paths),
            sizes: chance.maybe(["1k", "30k", "lognormal:5k:1"]).map(str::to_owned),
            idle: chance.maybe([0, 2000, 90_000]).map(ms),
            connections: chance.maybe([1, 6]),
            think: chance.maybe([500, 5000]).map(ms),
            stretchers: chance.maybe([0.1, 0.5]),
            stretch: Some(ms(20_000)),
            attempts: chance.maybe([1, 2, 3]),
            budget: chance.maybe([0.1, 1.0]),
            timeout: chance.maybe([10_000, 30_000]).map(ms),
            distribution: chance.one(&file.distributions.keys().cloned().collect::<Vec<_>>()).cloned(),
            method: chance.is(0.1).then(|| chance.of(["HEAD", "POST"]).to_owned()),
            ..LoadFile::default()
        });
    }
    drawn
}

/// In some draws whatever a distribution has is for those alone who show a signature, and some of these are bad.
fn signatures(chance: &mut Chance, file: &mut ScenarioFile) -> Result<(), KeyError> {
    const GROUP: &str = "viewers";
    const ID: &str = "KDRAWN";
    if !chance.is(0.25) {
        return Ok(());
    }
    let key = PrivateKey::drawn(&mut chance.0);
    let (Ok(public), Ok(private)) = (key.public_pem(), key.private_pem()) else {
        return Err(KeyError::new("key_groups", "a drawn key cannot be written"));
    };
    file.key_groups.insert(GROUP.to_owned(), IndexMap::from([(ID.to_owned(), public.into())]));
    if file.distributions.is_empty() {
        file.distributions.insert("demo".to_owned(), DistributionFile::default());
    }
    for distribution in file.distributions.values_mut() {
        let behaviors = std::iter::once(&mut distribution.default).chain(&mut distribution.behaviors);
        behaviors.for_each(|behavior| behavior.trusted_key_groups = vec![GROUP.to_owned()]);
    }
    for load in &mut file.load.0 {
        load.sign = Some(format!("{GROUP}/{ID}"));
        load.sign_key = Some(private.clone().into());
        load.sign_by = chance.maybe(["url", "cookies"]).map(str::to_owned);
        load.expires = chance.maybe([4000, 60_000, 7_200_000]).map(ms);
        load.expired = chance.maybe([0.1, 0.3]);
        load.forged = chance.maybe([0.1, 0.2]);
        load.unsigned = chance.maybe([0.1, 0.2]);
    }
    Ok(())
}

/// What is already wrong with a node, from when to when.
struct Busy {
    node: String,
    from: Duration,
    to: Duration,
    /// Nothing else can be wrong with it meanwhile.
    wholly: bool,
}

/// How a fault ends.
#[derive(Clone, Copy)]
enum Ends {
    /// By itself.
    For,
    /// By a step that heals the node.
    Healed,
    /// With everything else.
    Last,
}

/// A timeline that grows.
struct Faults<'a> {
    chance: Chance,
    cluster: &'a Cluster,
    kind: Kind,
    breaks: Duration,
    busy: Vec<Busy>,
    steps: Vec<StepFile>,
}

impl Faults<'_> {
    /// One more; none where what was drawn cannot be at that time.
    fn break_something(&mut self, file: &ScenarioFile) {
        let from = self.moment();
        match self.chance.of([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9]) {
            0 => self.stop(from),
            1 => self.fault(from, &[Role::Edge, Role::Regional, Role::Shield, Role::Router]),
            2 => self.fault(from, &[Role::Origin]),
            3 => self.link(from),
            4 => self.drain(from),
            5 => {
                let patterns = self.chance.of(["/*", "/objects/1*", "/objects/5", "/bytes/*"]);
                let distribution = self.distribution(file);
                self.steps.push(StepFile { invalidate: one(patterns), distribution, ..at(from) });
            }
            6 => {
                let policy = Some(self.chance.of(PolicyKind::BUILT_IN).as_str().to_owned());
                let distribution = self.distribution(file);
                self.steps.push(StepFile { policy, distribution, ..at(from) });
            }
            7 => {
                let load = Some(Figure::Number(self.chance.of([0.0, 0.2, 3.0, 5.0])));
                // It is over by the time when all is healed.
                let (breaks, healed) = breaks_until(self.kind);
                let most = u64::try_from((healed - breaks).as_millis()).unwrap_or(u64::MAX);
                let over = self.chance.maybe([0, most / 5]).map(ms);
                let span = Some(Span(self.chance.ms(1000, most / 5 * 3)));
                self.steps.push(StepFile { load, over, r#for: span, ..at(from) });
            }
            8 if self.kind == Kind::Virtual => self.config(from),
            9 if self.kind == Kind::Virtual => self.clock(from),
            _ => {}
        }
    }

    /// Something is wrong with an origin.
    fn break_origin(&mut self) {
        let from = self.moment();
        match (self.node(&[Role::Origin]), self.chance.is(0.5)) {
            (Some(node), true) => self.stop_node(node, from),
            (Some(node), false) => self.fault_node(node, true, from),
            (None, _) => {}
        }
    }

    /// Something is wrong with the first origin, and with nobody else.
    fn break_first_origin(&mut self) {
        let (from, first) = (self.moment(), format!("{}.{}", Role::Origin, ORIGINS[0]));
        match self.chance.is(0.3) {
            true => self.stop_node(first, from),
            false => self.fault_node(first, true, from),
        }
    }

    /// A link becomes long, and while responses are on it the caches are to forget what they bring.
    fn invalidate_what_is_under_way(&mut self) {
        let from = self.moment();
        let (_, healed) = breaks_until(self.kind);
        let of = |roles: &[Role]| -> Vec<String> {
            let nodes = self.cluster.nodes.iter().filter(|plan| roles.contains(&plan.id.role()));
            nodes.map(|plan| plan.place.id.to_string()).collect()
        };
        let (origins, caches) = (of(&[Role::Origin]), of(&[Role::Edge, Role::Regional, Role::Shield]));
        let (Some(origin), Some(cache)) = (self.chance.one(&origins).cloned(), self.chance.one(&caches).cloned())
        else {
            return;
        };
        if origin == cache {
            return;
        }
        let delay = self.chance.of([300, 1000, 3000]);
        let span = self.chance.ms(1000, 8000).min(healed.saturating_sub(from));
        let link = Some(Many(vec![origin, cache]));
        self.steps.push(StepFile { link, delay: Some(ms(delay)), r#for: Some(Span(span)), ..at(from) });
        for nth in 0..self.chance.of([1, 3, 6]) {
            let then = from + Duration::from_millis(100 * ((delay * nth / 200) + 1));
            if then < self.breaks {
                self.steps.push(StepFile { invalidate: one("/*"), ..at(then) });
            }
        }
    }

    fn moment(&mut self) -> Duration {
        let most = u64::try_from(self.breaks.as_millis()).unwrap_or(u64::MAX);
        // In whole tenths, as people write them; now and then two at once.
        let tenth = 100 * (self.chance.ms(500, most).as_millis() as u64 / 100);
        let same = self.chance.one(&self.steps).and_then(|step| step.t).filter(|t| t.0 <= self.breaks);
        match same {
            Some(same) if self.chance.is(0.2) => same.0,
            _ => Duration::from_millis(tenth),
        }
    }

    fn distribution(&mut self, file: &ScenarioFile) -> Option<String> {
        let ids: Vec<String> = file.distributions.keys().cloned().collect();
        self.chance.one(&ids).cloned().filter(|_| self.chance.is(0.5))
    }

    fn node(&mut self, roles: &[Role]) -> Option<String> {
        let nodes = self.cluster.nodes.iter().filter(|plan| roles.contains(&plan.id.role()));
        let ids: Vec<String> = nodes.map(|plan| plan.id.to_string()).collect();
        self.chance.one(&ids).cloned()
    }

    /// How what begins at `from` ends, and when.
    fn end(&mut self, from: Duration) -> (Ends, Duration) {
        let (_, last) = breaks_until(self.kind);
        let span = 100 * (self.chance.ms(300, 15_000).as_millis() as u64 / 100);
        let to = from + Duration::from_millis(span);
        match self.chance.of([Ends::For, Ends::For, Ends::Healed, Ends::Last]) {
            Ends::Last => (Ends::Last, last),
            ends if to < last => (ends, to),
            _ => (Ends::Last, last),
        }
    }

    /// Whether nothing forbids it; then it is so.
    fn occupies(&mut self, node: &str, from: Duration, to: Duration, wholly: bool) -> bool {
        let overlaps = |busy: &&Busy| busy.node == node && busy.from <= to && from <= busy.to;
        if self.busy.iter().filter(overlaps).any(|busy| busy.wholly || wholly) {
            return false;
        }
        self.busy.push(Busy { node: node.to_owned(), from, to, wholly });
        true
    }

    /// The fault itself, and the step that ends it where there is one.
    fn push(&mut self, step: StepFile, node: &str, from: Duration, ends: Ends, to: Duration) {
        let span = matches!(ends, Ends::For).then_some(Span(to - from));
        self.steps.push(StepFile { r#for: span, ..step });
        if matches!(ends, Ends::Healed) {
            self.steps.push(StepFile { heal: one(node), ..at(to) });
        }
    }

    fn stop(&mut self, from: Duration) {
        let Some(node) = self.node(&[Role::Edge, Role::Regional, Role::Shield, Role::Router, Role::Origin]) else {
            return;
        };
        self.stop_node(node, from);
    }

    fn stop_node(&mut self, node: String, from: Duration) {
        let (ends, to) = self.end(from);
        if !self.occupies(&node, from, to, true) {
            return;
        }
        let is_kill = self.chance.is(0.6);
        let (kill, pause) = if is_kill { (one(&node), None) } else { (None, one(&node)) };
        let step = StepFile { kill, pause, ..at(from) };
        // Some are started by who broke them.
        if matches!(ends, Ends::Healed) && self.chance.is(0.5) {
            let (start, resume) = if is_kill { (one(&node), None) } else { (None, one(&node)) };
            self.steps.extend([step, StepFile { start, resume, ..at(to) }]);
            return;
        }
        self.push(step, &node, from, ends, to);
    }

    fn fault(&mut self, from: Duration, roles: &[Role]) {
        if let Some(node) = self.node(roles) {
            self.fault_node(node, roles == [Role::Origin], from);
        }
    }

    fn fault_node(&mut self, node: String, is_origin: bool, from: Duration) {
        let (ends, to) = self.end(from);
        let mut step = StepFile { fault: one(&node), ..at(from) };
        let mut wholly = false;
        match self.chance.of([0, 1, 2, 3, 4, 5, 6, 7, 8]) {
            0 if is_origin => step.status = Some(self.chance.of([404, 500, 503, 504])),
            0 | 1 => step.latency = Some(ms(self.chance.of([50, 400, 2000, 8000]))),
            2 => step.throttle = Some(Bps(self.chance.of([100_000, 2_000_000]))),
            3 => step.truncate = true,
            4 => step.stall = true,
            5 => step.garbage = true,
            6 => (step.refuse, wholly) = (true, true),
            7 => (step.reset, wholly) = (true, true),
            _ => (step.blackhole, wholly) = (true, true),
        }
        if self.chance.is(0.5) {
            step.rate = Some(Figure::Number(self.chance.share()));
        }
        if is_origin && self.chance.is(0.2) {
            step.path = Some(self.chance.of(["/objects/*", "/objects/1*"]).to_owned());
        }
        if self.chance.is(0.1) {
            step.from = self.cluster.nodes.first().map(|plan| plan.place.id.to_string());
        }
        if self.occupies(&node, from, to, wholly) {
            self.push(step, &node, from, ends, to);
        }
    }

    fn link(&mut self, from: Duration) {
        let places: Vec<String> = self.cluster.nodes.iter().map(|plan| plan.place.id.to_string()).collect();
        let (Some(a), Some(b)) = (self.chance.one(&places).cloned(), self.chance.one(&places).cloned()) else { return };
        let (ends, to) = self.end(from);
        if a == b {
            return;
        }
        let mut step = StepFile { link: Some(Many(vec![a.clone(), b.clone()])), ..at(from) };
        match self.chance.of([0, 1, 2, 3]) {
            0 => step.delay = Some(ms(self.chance.of([20, 300, 3000]))),
            1 => step.loss = Some(Figure::Number(self.chance.share())),
            2 => step.throttle = Some(Bps(self.chance.of([100_000, 2_000_000]))),
            _ => step.partition = true,
        }
        step.one_way = self.chance.is(0.3);
        self.push(step, &format!("{a}<->{b}"), from, ends, to);
    }

    fn drain(&mut self, from: Duration) {
        let pops: Vec<String> =
            self.cluster.nodes_with(Role::Edge).filter_map(|plan| plan.pop).map(|pop| pop.to_string()).collect();
        let Some(pop) = self.chance.one(&pops).cloned() else { return };
        let (_, to) = self.end(from);
        // What is drained is whole: only a second drain is impossible.
        if self.occupies(&format!("drain {pop}"), from, to, true) {
            self.steps.extend([StepFile { drain: one(&pop), ..at(from) }, StepFile { undrain: one(&pop), ..at(to) }]);
        }
    }

    fn config(&mut self, from: Duration) {
        let Some(node) = self.node(&[Role::Edge, Role::Regional, Role::Shield]) else { return };
        let Some(id) = self.cluster.distributions.first().map(|first| first.id().to_string()) else { return };
        let (_, to) = self.end(from);
        if !self.occupies(&format!("config {node}"), from, to, true) {
            return;
        }
        let table = |key: &str, value: toml::Value| toml::Table::from_iter([(key.to_owned(), value)]);
        let policy = table("cache_policy", self.chance.of(POLICIES).into());
        let config = table("distributions", table(&id, table("default", policy.into()).into()).into());
        let on = one(&node);
        self.steps.push(StepFile { config: Some(config), on: on.clone(), ..at(from) });
        self.steps.push(StepFile { config: Some(toml::Table::new()), on, ..at(to) });
    }

    fn clock(&mut self, from: Duration) {
        let Some(node) = self.node(&[Role::Edge, Role::Regional, Role::Shield, Role::Origin]) else { return };
        let (_, to) = self.end(from);
        // One that is stopped cannot be told; whoever is told may be stopped later.
        if !self.occupies(&format!("clock {node}"), from, to, true) || !self.occupies(&node, from, from, false) {
            return;
        }
        let by = Some(ms(self.chance.of([1000, 60_000, 7_200_000])));
        let (ahead, behind) = if self.chance.is(0.5) { (by, None) } else { (None, by) };
        let span = Some(Span(to.saturating_sub(from)));
        self.steps.push(StepFile { clock: one(&node), ahead, behind, r#for: span, ..at(from) });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use world::verdict::healed_at;

    use super::*;
    use crate::{
        chaos::gather,
        diagnose::Source,
        scenario::{stage, write},
    };

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_draw_is_a_scenario_that_heals_and_reads_back_as_it_was_written(seed in 0..1_u64 << 62, live: bool) {
            let kind = if live { Kind::Live } else { Kind::Virtual };
            let file = draw(seed, kind).unwrap();
            let text = write(&file).unwrap();
            let read: ScenarioFile = toml::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(&read, &file, "{}", text);
            let staged = |text: String| {
                let source = Source { name: "drawn.toml".into(), text };
                stage(source, Path::new(""), None, None).map_err(|error| TestCaseError::fail(error.to_string()))
            };
            let first = staged(text)?;
            prop_assert_eq!(&staged(write(&read).unwrap())?.scenario, &first.scenario);
            let healed = healed_at(&first.scenario, &gather::directory(&first.plan.cluster));
            prop_assert!(healed.is_some_and(|healed| healed + RECOVERS_WITHIN + WATCHED <= first.scenario.length));
        }
    }

    #[test]
    fn nobody_who_is_stopped_gets_another_clock() {
        // This seed drew one for an edge that it had paused.
        let text = write(&draw(3148, Kind::Virtual).unwrap()).unwrap();
        let source = Source { name: "drawn.toml".into(), text };
        stage(source, Path::new(""), None, None).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn a_seed_draws_the_same_and_many_draw_every_verb() {
        let (mut verbs, mut signed) = (std::collections::BTreeSet::new(), 0);
        for seed in 1..200 {
            let file = draw(seed, Kind::Virtual).unwrap();
            assert_eq!(draw(seed, Kind::Virtual).unwrap(), file);
            signed += u32::from(file.load.0.iter().all(|load| load.sign.is_some()));
            let text = write(&file).unwrap();
            for verb in [
                "kill",
                "start",
                "pause",
                "resume",
                "fault",
                "link",
                "heal",
                "drain",
                "undrain",
                "invalidate",
                "policy",
                "config",
                "load",
                "clock",
            ] {
                if text.lines().any(|line| line.starts_with("  {") && line.contains(&format!(", {verb} = "))) {
                    verbs.insert(verb);
                }
            }
        }
        assert_eq!(verbs.len(), 14, "{verbs:?}");
        assert!((25..75).contains(&signed), "{signed} of 199 sign");
    }
}
