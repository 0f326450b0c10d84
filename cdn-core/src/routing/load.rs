//! Load and capacity: which share of the clients that come to a PoP it takes, and which share goes on to the next best.
//!
//! Reported loads and capacities go in, an acceptance per PoP comes out: 1 takes everybody. Who is taken is a draw per
//! client block and PoP against that share, so that blocks leave one by one as it falls and come back in the reverse
//! order as it rises; nobody else moves, and what moves is in proportion to the overload.
//!
//! What is reported lags behind what is decided: resolvers keep answers for their TTL, so a share still follows the
//! acceptance of a while ago (oracle of DNS drains: a busy resolver's answer is of any age up to the TTL, uniformly). The
//! demand is therefore the load over the *mean* acceptance of one TTL, and the new acceptance is the limit over the
//! demand: right at once where nothing else changes, where a controller that forgot the lag would swing.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{EdgeKey, Pop, PopIndex, bound::Bounds, draw, pop_key, unit};
use crate::{Instant, PopCode};

/// What PoPs can bear, and when clients are sent on.
#[derive(Clone, Debug, PartialEq)]
pub struct SpillOptions {
    /// Requests per second that a PoP can bear; without an entry there is no limit. Default none.
    pub capacity: BTreeMap<PopCode, f64>,
    /// The share of a capacity that is kept free, 0 to 1. Default 0.05.
    pub headroom: f64,
    /// A load that was reported longer ago is not believed. Default 10 s.
    pub load_age_max: Duration,
    /// How often the shares are worked out anew. Default 1 s.
    pub interval: Duration,
}

impl Default for SpillOptions {
    fn default() -> Self {
        Self {
            capacity: BTreeMap::new(),
            headroom: 0.05,
            load_age_max: Duration::from_secs(10),
            interval: Duration::from_secs(1),
        }
    }
}

/// Changes of the acceptance below these are noise, and move nobody. A PoP above its limit must act; one that has a little
/// room again need not, so that an unsteady load leaves clients where they are.
const FALL_STEP: f64 = 0.02;
const RISE_STEP: f64 = 0.05;

/// With so much more room than demand a PoP takes everybody again.
const CLEAR: f64 = 1.1;

/// Never nobody: whom a PoP turns away entirely it would hear nothing of.
const ACCEPTANCE_MIN: f64 = 0.02;

/// Weight of a new demand against the mean of those before. A crowd is believed soon and its end late: where one block is
/// the crowd, its going elsewhere looks like its end.
const DEMAND_GAIN_UP: f64 = 0.3;
const DEMAND_GAIN_DOWN: f64 = 0.05;

/// A rate over less is mostly chance.
const RATE_SPAN_MIN: Duration = Duration::from_millis(500);

/// What is reported of the last second was decided before it, even where nobody keeps answers.
const LAG_MIN: Duration = Duration::from_secs(2);

/// A PoP's load as a snapshot knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PopLoad {
    /// Requests per second, where its edges report.
    pub(super) load_rps: Option<f64>,
    /// Requests per second that it can bear, where there is a limit.
    pub(super) capacity_rps: Option<f64>,
    /// The share of the clients coming to it that it takes.
    pub(super) acceptance: f64,
    /// The share of its clients that are back since it was down.
    pub(super) ramp: f64,
}

impl PopLoad {
    /// Whether the PoP `code` takes the clients that `key` stands for.
    pub(super) fn accepts(&self, seed: u64, key: u64, code: PopCode) -> bool {
        self.acceptance >= 1.0 || unit(draw(seed, "spill", [key, pop_key(code)])) < self.acceptance
    }
}

/// What is known of loads, and what was decided. See the module.
#[derive(Debug)]
pub(super) struct Loads {
    options: SpillOptions,
    /// How long an answer is kept.
    ttl: Duration,
    edges: BTreeMap<EdgeKey, EdgeLoad>,
    /// For edges that say how many requests they have ever served: when each said how many.
    totals: BTreeMap<EdgeKey, (Instant, u64)>,
    /// Requests per second that each PoP can bear, where there is a limit.
    capacities: Vec<Option<f64>>,
    pops: Vec<Share>,
    bounds: Bounds,
    /// The loads of the last report that was worth telling.
    told: Vec<Option<f64>>,
    balanced_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct EdgeLoad {
    pop: PopIndex,
    rps: f64,
    at: Instant,
}

/// Which share of those who come to a PoP, or to an edge, it takes.
#[derive(Debug)]
pub(super) struct Share {
    /// Requests per second that would come if all were taken.
    demand_rps: Option<f64>,
    /// Acceptances with the time since which each holds, the current one last.
    history: VecDeque<(Instant, f64)>,
}

/// An edge that serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    pub(super) edge: EdgeKey,
    /// It has all its clients back.
    pub(super) is_back: bool,
}

impl Loads {
    /// `load_bound` is that of [`InsideOptions`](super::InsideOptions).
    pub(super) fn new(options: SpillOptions, load_bound: Option<f64>, ttl: Duration, pops: &[Pop]) -> Self {
        let capacities = pops.iter().map(|pop| options.capacity.get(&pop.code).copied()).collect();
        let pops: Vec<Share> = pops.iter().map(|_| Share::default()).collect();
        Self {
            capacities,
            bounds: Bounds::new(load_bound),
            options,
            ttl: ttl.max(LAG_MIN),
            edges: BTreeMap::new(),
            totals: BTreeMap::new(),
            told: vec![None; pops.len()],
            pops,
            balanced_at: None,
        }
    }

    /// An edge of `pop` serves so many requests per second.
    pub(super) fn handle_load(&mut self, now: Instant, edge: EdgeKey, pop: PopIndex, rps: f64) {
        if rps.is_finite() && rps >= 0.0 {
            self.edges.insert(edge, EdgeLoad { pop, rps, at: now });
        }
    }

    /// An edge of `pop` has served so many requests since it began. Two reports make a load, unless it began anew.
    pub(super) fn handle_requests(&mut self, now: Instant, edge: EdgeKey, pop: PopIndex, total: u64) {
        let Some(&(at, before)) = self.totals.get(&edge) else {
            self.totals.insert(edge, (now, total));
            return;
        };
        let span = now - at;
        if total >= before && span < RATE_SPAN_MIN {
            return;
        }
        self.totals.insert(edge, (now, total));
        if let Some(requests) = total.checked_sub(before) {
            self.handle_load(now, edge, pop, requests as f64 / span.as_secs_f64());
        }
    }

    /// Whether it is time to [`balance`](Self::balance).
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.balanced_at.is_none_or(|at| now >= at + self.options.interval)
    }

    /// Works the shares out anew, and says whether there is news: a share has changed, or a load by so much that whoever
    /// looks should see it. `is_eligible` says which PoPs could take more at all, `serving` which edges of a PoP serve.
    pub(super) fn balance(
        &mut self,
        now: Instant,
        is_eligible: impl Fn(PopIndex) -> bool,
        serving: impl Fn(PopIndex) -> Vec<Serving>,
    ) -> bool {
        self.balanced_at = Some(now);
        let age_max = self.options.load_age_max;
        self.edges.retain(|_, load| now - load.at <= age_max);
        self.totals.retain(|_, &mut (at, _)| now - at <= age_max);
        let loads: Vec<Option<f64>> = PopIndex::all(self.pops.len()).map(|pop| self.load(pop)).collect();
        let free = 1.0 - self.options.headroom;
        let limits: Vec<Option<f64>> = self.capacities.iter().map(|rps| rps.map(|rps| rps * free)).collect();
        // Where all together are beyond their limits nobody has room, and the excess is shared in proportion.
        let eligible: Vec<usize> =
            PopIndex::all(self.pops.len()).filter(|&pop| is_eligible(pop)).map(PopIndex::index).collect();
        let room: f64 = eligible.iter().map(|&at| limits[at].unwrap_or(f64::INFINITY)).sum();
        let load: f64 = eligible.iter().filter_map(|&at| loads[at]).sum();
        let stretch = if room > 0.0 { (load / room).max(1.0) } else { f64::INFINITY };
        let mut changed = self.told.iter().zip(&loads).any(|(&told, &load)| is_news(told, load));
        if changed {
            self.told.clone_from(&loads);
        }
        for ((share, load), limit) in self.pops.iter_mut().zip(loads).zip(limits) {
            let acceptance = match (load, limit) {
                (Some(load), Some(limit)) => share.acceptance_for(now, self.ttl, load, limit * stretch),
                // Without a limit, or without word from its edges, it takes everybody.
                _ => {
                    share.demand_rps = None;
                    f64::INFINITY
                }
            };
            changed |= share.set(now, self.ttl, acceptance);
        }
        for pop in PopIndex::all(self.pops.len()) {
            let load = |edge: EdgeKey| self.edges.get(&edge).map(|load| load.rps);
            changed |= self.bounds.balance(now, self.ttl, pop, &serving(pop), load);
        }
        changed
    }

    /// Requests per second of an edge, where it reports, and the share that it takes of the clients coming to it.
    pub(super) fn of_edge(&self, edge: EdgeKey) -> (Option<f64>, f64) {
        (self.edges.get(&edge).map(|load| load.rps), self.bounds.acceptance(edge))
    }

    /// What a snapshot says of every PoP.
    pub(super) fn report(&self) -> Vec<PopLoad> {
        let all = PopIndex::all(self.pops.len()).zip(&self.pops).zip(&self.capacities);
        all.map(|((pop, share), &capacity_rps)| PopLoad {
            load_rps: self.load(pop),
            capacity_rps,
            acceptance: share.acceptance(),
            ramp: 1.0,
        })
        .collect()
    }

    fn load(&self, pop: PopIndex) -> Option<f64> {
        let of_pop = self.edges.values().filter(|load| load.pop == pop).map(|load| load.rps);
        of_pop.reduce(|sum, rps| sum + rps)
    }
}

/// Whether a load has changed by more than a tenth, and by a request per second.
fn is_news(told: Option<f64>, load: Option<f64>) -> bool {
    match (told, load) {
        (Some(told), Some(load)) => (load - told).abs() > (0.1 * told).max(1.0),
        (told, load) => told != load,
    }
}

impl Default for Share {
    fn default() -> Self {
        Self { demand_rps: None, history: VecDeque::from([(Instant::ZERO, 1.0)]) }
    }
}

impl Share {
    pub(super) fn acceptance(&self) -> f64 {
        self.history.back().map_or(1.0, |&(_, acceptance)| acceptance)
    }

    /// The acceptance that clients who come at `now` were answered under, on average.
    fn mean_acceptance(&self, now: Instant, ttl: Duration) -> f64 {
        let begin = now - ttl;
        let ends = self.history.iter().skip(1).map(|&(since, _)| since).chain([now]);
        let spans = self.history.iter().zip(ends).map(|(&(since, acceptance), end)| {
            let span = end.max(begin) - since.max(begin);
            (span.as_secs_f64(), acceptance)
        });
        let (span, sum) = spans.fold((0.0, 0.0), |(span, sum), (s, a)| (span + s, sum + s * a));
        if span > 0.0 { sum / span } else { self.acceptance() }
    }

    /// The limit over the demand; above 1 where there is room for more.
    pub(super) fn acceptance_for(&mut self, now: Instant, ttl: Duration, load_rps: f64, limit_rps: f64) -> f64 {
        let demand = load_rps / self.mean_acceptance(now, ttl).max(ACCEPTANCE_MIN);
        let demand = self.demand_rps.map_or(demand, |mean| {
            let gain = if demand > mean { DEMAND_GAIN_UP } else { DEMAND_GAIN_DOWN };
            mean + gain * (demand - mean)
        });
        self.demand_rps = Some(demand);
        if demand > 0.0 { limit_rps / demand } else { f64::INFINITY }
    }

    /// Sets the acceptance, unless the change is noise; whether it was set.
    pub(super) fn set(&mut self, now: Instant, ttl: Duration, wanted: f64) -> bool {
        let before = self.acceptance();
        let acceptance = wanted.clamp(ACCEPTANCE_MIN, 1.0);
        let is_noise = if wanted >= CLEAR {
            before >= 1.0
        } else if acceptance < before {
            before - acceptance < FALL_STEP
        } else {
            acceptance - before < RISE_STEP
        };
        if is_noise {
            return false;
        }
        self.history.push_back((now, acceptance));
        // The one before the window's begin is needed to know what held then.
        while self.history.get(1).is_some_and(|&(since, _)| now - since > ttl) {
            self.history.pop_front();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::geo::{Place, Point};

    const TTL_S: u64 = 20;

    /// Client blocks with resolvers that keep answers for the TTL, each at a phase of its own, going to the first PoP
    /// that takes them; per second the load of each PoP and how many answers changed.
    struct Loop {
        loads: Loads,
        /// For each block its order of PoPs, the PoP it goes to now, and its requests per second.
        blocks: Vec<([usize; 3], usize, f64)>,
        second: u64,
        changes: usize,
    }

    impl Loop {
        fn new(capacity: [f64; 3], blocks: Vec<([usize; 3], f64)>) -> Self {
            let place = Place { point: Point::new(0.0, 0.0).unwrap(), country: "".into(), label: "".into() };
            let codes = ["AAA", "BBB", "CCC"].map(|code| code.parse::<PopCode>().unwrap());
            let pops = codes.map(|code| Pop { code, place: place.clone(), edges: vec![] });
            let capacity = codes.into_iter().zip(capacity).filter(|(_, rps)| rps.is_finite()).collect();
            let options = SpillOptions { capacity, ..SpillOptions::default() };
            let loads = Loads::new(options, None, Duration::from_secs(TTL_S), &pops);
            let blocks = blocks.into_iter().map(|(order, rps)| (order, order[0], rps)).collect();
            Self { loads, blocks, second: 0, changes: 0 }
        }

        /// One second; the load of each PoP in it.
        fn step(&mut self, random: &mut ChaCha8Rng) -> [f64; 3] {
            self.second += 1;
            let now = Instant::ZERO + Duration::from_secs(self.second);
            let report = self.loads.report();
            let codes = ["AAA", "BBB", "CCC"].map(|code| code.parse::<PopCode>().unwrap());
            let mut rps = [0.0; 3];
            for (key, (order, at, mean)) in (1u64..).zip(&mut self.blocks) {
                if (self.second + key).is_multiple_of(TTL_S) {
                    let taken = order.iter().copied().find(|&pop| report[pop].accepts(7, key, codes[pop]));
                    let next = taken.unwrap_or(order[0]);
                    self.changes += usize::from(next != *at);
                    *at = next;
                }
                rps[*at] += *mean * random.random_range(0.8..1.2);
            }
            for (pop, rps) in PopIndex::all(3).zip(rps) {
                self.loads.handle_load(now, EdgeKey(pop.index() as u64), pop, rps);
            }
            self.loads.balance(now, |_| true, |_| vec![]);
            rps
        }
    }

    fn blocks(count: usize, order: [usize; 3]) -> Vec<([usize; 3], f64)> {
        vec![(order, 1.0); count]
    }

    #[test]
    fn the_overload_goes_to_the_next_best_and_nobody_flaps() {
        // A is asked for 600 and bears 400; B has room for half of the rest, C for all.
        let mut all = blocks(600, [0, 1, 2]);
        all.extend(blocks(200, [1, 0, 2]));
        all.extend(blocks(100, [2, 1, 0]));
        let mut world = Loop::new([400.0, 300.0, f64::INFINITY], all);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..6 * TTL_S {
            world.step(&mut random);
        }
        world.changes = 0;
        for _ in 0..30 * TTL_S {
            let rps = world.step(&mut random);
            assert!(rps[0] <= 400.0 && rps[1] <= 300.0, "{rps:?}");
            assert!(rps[0] > 340.0 && rps[1] > 240.0, "no more than needed is sent on: {rps:?}");
        }
        // 900 blocks, 30 TTLs: 27,000 answers.
        assert!(world.changes < 270, "{}", world.changes);
    }

    #[test]
    fn clients_come_home_when_the_crowd_has_gone() {
        let mut world = Loop::new([400.0, f64::INFINITY, f64::INFINITY], blocks(600, [0, 1, 2]));
        let mut random = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..6 * TTL_S {
            world.step(&mut random);
        }
        world.blocks.iter_mut().for_each(|(_, _, rps)| *rps = 0.5);
        for _ in 0..6 * TTL_S {
            world.step(&mut random);
        }
        assert!(world.blocks.iter().all(|(_, at, _)| *at == 0));
    }

    #[test]
    fn where_nobody_has_room_the_excess_is_shared_in_proportion() {
        let mut world = Loop::new([100.0, 200.0, 100.0], blocks(800, [0, 1, 2]));
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut rps = [0.0; 3];
        for _ in 0..20 * TTL_S {
            rps = world.step(&mut random);
        }
        for (rps, fair) in rps.into_iter().zip([200.0, 400.0, 200.0]) {
            assert!((rps - fair).abs() < 0.3 * fair, "{rps} where {fair} is fair");
        }
    }

    #[test]
    fn two_totals_make_a_load_and_a_new_beginning_makes_none() {
        let mut loads = Loop::new([f64::INFINITY; 3], vec![]).loads;
        let mut told = |ms: u64, total: u64| {
            loads.handle_requests(Instant::ZERO + Duration::from_millis(ms), EdgeKey(1), PopIndex::new(0), total);
            loads.report()[0].load_rps
        };
        assert_eq!(told(1000, 500), None);
        assert_eq!(told(1100, 590), None, "too soon");
        assert_eq!(told(2000, 700), Some(200.0));
        assert_eq!(told(3000, 10), Some(200.0), "it began anew");
        assert_eq!(told(4000, 20), Some(10.0));
    }

    #[test]
    fn old_news_is_not_believed() {
        let mut world = Loop::new([100.0, f64::INFINITY, f64::INFINITY], blocks(300, [0, 1, 2]));
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..3 * TTL_S {
            world.step(&mut random);
        }
        assert!(world.loads.report()[0].acceptance < 0.5);
        let later = Instant::ZERO + Duration::from_secs(world.second + 11);
        assert!(world.loads.balance(later, |_| true, |_| vec![]));
        assert_eq!((world.loads.report()[0].acceptance, world.loads.report()[0].load_rps), (1.0, None));
    }
}
