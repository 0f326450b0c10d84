//! Bounded loads inside a PoP: no edge has much more than the mean of those beside it.
//!
//! Hosts are not asked for alike, so a hash of their names alone may put most of a PoP's load on one edge. An edge whose
//! load is above `c` times the mean takes a share of the clients that come to it, and the others go on to the next edge of
//! their host (consistent hashing with bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2018, whose capacity is that
//! ceiling too). With few requests the ceiling is above all of them, and nobody moves for the sake of a handful.
//!
//! Loads are reported and lag behind, as those of PoPs do, so shares follow them in the same way ([`Share`]).

use std::{collections::BTreeMap, time::Duration};

use super::{
    EdgeKey, PopIndex,
    load::{Serving, Share},
};
use crate::Instant;

/// What is aimed at, as a share of a bound: changes of a share below 2 % are not made, so that an edge may stay by so much
/// above what is aimed at.
const AIM: f64 = 0.96;

/// The shares of edges that serve beside others. See the module.
#[derive(Debug)]
pub(super) struct Bounds {
    /// `c`, if there is a bound.
    load_bound: Option<f64>,
    edges: BTreeMap<EdgeKey, (PopIndex, Share)>,
}

impl Bounds {
    pub(super) const fn new(load_bound: Option<f64>) -> Self {
        Self { load_bound, edges: BTreeMap::new() }
    }

    /// The share of the clients coming to `edge` that it takes.
    pub(super) fn acceptance(&self, edge: EdgeKey) -> f64 {
        self.edges.get(&edge).map_or(1.0, |(_, share)| share.acceptance())
    }

    /// Works out anew what each edge of `pop` takes; whether that changed for any.
    pub(super) fn balance(
        &mut self,
        now: Instant,
        ttl: Duration,
        pop: PopIndex,
        serving: &[Serving],
        load: impl Fn(EdgeKey) -> Option<f64>,
    ) -> bool {
        let loads: Vec<Option<f64>> = serving.iter().map(|serving| load(serving.edge)).collect();
        let is_bounded = serving.len() > 1 && loads.iter().any(Option::is_some);
        let Some(load_bound) = self.load_bound.filter(|_| is_bounded) else {
            return self.let_go(|of, _| of != pop);
        };
        // Who serves again begins anew.
        let mut changed = self.let_go(|of, edge| of != pop || serving.iter().any(|serving| serving.edge == edge));
        // Who has just come back has not its load yet, and the mean would be too low.
        let Some(loads) = loads.into_iter().collect::<Option<Vec<f64>>>() else { return changed };
        if serving.iter().any(|serving| !serving.is_back) {
            return changed;
        }
        let mean = loads.iter().sum::<f64>() / loads.len() as f64;
        let limit = (load_bound * mean).ceil().max(1.0);
        let mut wanted = Vec::with_capacity(loads.len());
        for (serving, load) in serving.iter().zip(loads) {
            let (_, share) = self.edges.entry(serving.edge).or_insert_with(|| (pop, Share::default()));
            let is_within = share.acceptance() >= 1.0 && load <= limit;
            let acceptance = share.acceptance_for(now, ttl, load, AIM * limit);
            wanted.push(if is_within { acceptance.max(1.0) } else { acceptance });
        }
        // Somebody takes everybody: what all turn away has nowhere to go.
        let most = wanted.iter().copied().fold(0.0, f64::max).min(1.0);
        for (serving, wanted) in serving.iter().zip(wanted) {
            if let Some((_, share)) = self.edges.get_mut(&serving.edge) {
                changed |= share.set(now, ttl, wanted / most);
            }
        }
        changed
    }

    /// Forgets the edges that `is_kept` is false for; whether one of them had not taken everybody.
    fn let_go(&mut self, is_kept: impl Fn(PopIndex, EdgeKey) -> bool) -> bool {
        let mut changed = false;
        self.edges.retain(|&edge, (pop, share)| {
            let is_kept = is_kept(*pop, edge);
            changed |= !is_kept && share.acceptance() < 1.0;
            is_kept
        });
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        NodeId, Role,
        geo::{Place, Point},
        health::HealthState,
        routing::{
            EdgeSite, InsideOptions, Pop,
            inside::{Cohort, edge_for},
            pops::{EdgeFitness, Fitness},
        },
    };

    const TTL_S: u64 = 20;
    const CLIENTS: u64 = 200;

    /// Clients that ask for hosts of a PoP, with resolvers that keep answers for the TTL, each at a phase of its own.
    struct Loop {
        options: InsideOptions,
        pop: Pop,
        bounds: Bounds,
        /// Requests per second of each client to each host.
        hosts_rps: Vec<f64>,
        is_up: Vec<bool>,
        /// By host and client: the edge that serves it, and how many answers put another one in its place.
        at: Vec<Vec<usize>>,
        changes: usize,
        second: u64,
    }

    impl Loop {
        fn new(options: InsideOptions, edges: u8, hosts_rps: Vec<f64>) -> Self {
            let place = Place { point: Point::new(0.0, 0.0).unwrap(), country: "".into(), label: "".into() };
            let edge = |at| EdgeSite {
                id: NodeId::new(Role::Edge, &format!("iad-{at}")),
                address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, at), 80),
                address6: None,
            };
            let pop = Pop { code: "IAD".parse().unwrap(), place, edges: (0..edges).map(edge).collect() };
            let bounds = Bounds::new(options.load_bound);
            let at = vec![vec![0; CLIENTS as usize]; hosts_rps.len()];
            let mut new =
                Self { options, pop, bounds, hosts_rps, is_up: vec![true; edges.into()], at, changes: 0, second: 0 };
            // Everybody asks for the first time.
            new.ask(|_| true);
            new
        }

        fn fitness(&self) -> Fitness {
            let edge = |(at, &is_up): (usize, &bool)| EdgeFitness {
                acceptance: self.bounds.acceptance(EdgeKey(at as u64)),
                ..EdgeFitness::whole(if is_up { HealthState::Up } else { HealthState::Down })
            };
            Fitness::new(self.is_up.iter().enumerate().map(edge).collect(), false)
        }

        fn ask(&mut self, is_due: impl Fn(u64) -> bool) {
            let fitness = self.fitness();
            let (options, pop) = (&self.options, &self.pop);
            for (host, at) in self.at.iter_mut().enumerate() {
                for (client, at) in (0..CLIENTS).zip(at).filter(|&(client, _)| is_due(client)) {
                    let cohort = Cohort::of(options, 7, client, pop, &fitness.edges);
                    let seat = edge_for(options, pop, &fitness.edges, &format!("host-{host}"), cohort).unwrap();
                    let next = pop.edges.iter().position(|edge| edge == seat.site).unwrap();
                    self.changes += usize::from(next != *at);
                    *at = next;
                }
            }
        }

        /// One second; the load of each edge in it.
        fn step(&mut self) -> Vec<f64> {
            self.second += 1;
            let second = self.second;
            self.ask(|client| (second + client).is_multiple_of(TTL_S));
            let mut loads = vec![0.0; self.is_up.len()];
            for (rps, at) in self.hosts_rps.iter().zip(&self.at) {
                at.iter().for_each(|&at| loads[at] += rps);
            }
            let up = self.is_up.iter().enumerate().filter(|(_, is_up)| **is_up);
            let serving: Vec<Serving> = up.map(|(at, _)| Serving { edge: EdgeKey(at as u64), is_back: true }).collect();
            let now = Instant::ZERO + Duration::from_secs(second);
            let ttl = Duration::from_secs(TTL_S);
            let load = |edge: EdgeKey| loads.get(edge.0 as usize).copied();
            self.bounds.balance(now, ttl, PopIndex::new(0), &serving, load);
            loads
        }

        fn run(&mut self, ttls: u64) -> Vec<f64> {
            (0..ttls * TTL_S).fold(vec![], |_, _| self.step())
        }
    }

    fn bounded(load_bound: f64, dispersion: usize) -> InsideOptions {
        InsideOptions { dispersion, load_bound: Some(load_bound) }
    }

    #[test]
    fn one_host_is_on_one_edge_until_it_is_too_much_for_it() {
        // Below a request per second in all there is nothing to share.
        let quiet = Loop::new(bounded(1.25, 1), 2, vec![0.9 / CLIENTS as f64]).run(10);
        assert!(quiet.contains(&0.0), "{quiet:?}");
        // Of 200 per second one edge of two bears 125.
        let busy = Loop::new(bounded(1.25, 1), 2, vec![1.0]).run(10);
        assert!(busy.iter().all(|load| (75.0..=125.0).contains(load)), "{busy:?}");
        let unbounded = Loop::new(InsideOptions { load_bound: None, dispersion: 1 }, 2, vec![1.0]).run(10);
        assert!(unbounded.contains(&200.0));
    }

    #[test]
    fn an_edge_that_is_silent_or_not_quite_back_changes_nothing() {
        let mut bounds = Bounds::new(Some(1.25));
        let mut balance = |s: u64, is_back: bool, loads: [Option<f64>; 2]| {
            let serving = [Serving { edge: EdgeKey(0), is_back: true }, Serving { edge: EdgeKey(1), is_back }];
            let now = Instant::ZERO + Duration::from_secs(s);
            bounds.balance(now, Duration::from_secs(TTL_S), PopIndex::new(0), &serving, |edge| loads[edge.0 as usize]);
            bounds.acceptance(EdgeKey(0))
        };
        assert_eq!(balance(1, false, [Some(100.0), Some(0.0)]), 1.0);
        let share = balance(2, true, [Some(100.0), Some(0.0)]);
        assert!((0.55..0.65).contains(&share), "{share}");
        assert_eq!(balance(3, true, [Some(10.0), None]), share);
        assert_eq!(balance(4, false, [Some(10.0), Some(60.0)]), share);
        assert_eq!(balance(5, true, [None, None]), 1.0, "nobody reports any more");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// No edge has more than c times the mean, whatever the hosts' shares of the load, and in the long run nobody flaps.
        #[test]
        fn no_edge_is_above_its_bound_and_answers_settle(
            edges in 2..6u8,
            dispersion in 1..3usize,
            bound in prop::sample::select(vec![1.1, 1.25, 1.5, 2.0]),
            hosts_rps in prop::collection::vec(0.05..3.0f64, 1..12),
        ) {
            let mut world = Loop::new(bounded(bound, dispersion), edges, hosts_rps);
            world.run(15);
            world.changes = 0;
            let mean = world.hosts_rps.iter().sum::<f64>() * CLIENTS as f64 / f64::from(edges);
            for _ in 0..10 * TTL_S {
                let loads = world.step();
                prop_assert!(loads.iter().all(|&load| load <= (bound * mean).ceil()), "{:?} of {} on average", loads, mean);
            }
            let answers = 10 * CLIENTS as usize * world.hosts_rps.len();
            prop_assert!(world.changes * 50 <= answers, "{} of {} answers changed", world.changes, answers);
        }

        /// When an edge leaves its own clients move and, since the mean rises, hardly anybody else's; what its coming back
        /// moves is of the same order.
        #[test]
        fn few_move_when_an_edge_leaves_and_when_it_comes_back(
            edges in 3..6u8,
            leaves in any::<prop::sample::Index>(),
            hosts_rps in prop::collection::vec(0.05..3.0f64, 4..12),
        ) {
            let mut world = Loop::new(bounded(1.25, 1), edges, hosts_rps);
            world.run(15);
            let leaves = leaves.index(edges.into());
            let of_edge = |world: &Loop| world.at.iter().flatten().filter(|&&at| at == leaves).count();
            let all = world.at.iter().flatten().count();
            let own = of_edge(&world);
            world.changes = 0;
            world.is_up[leaves] = false;
            world.ask(|_| true);
            prop_assert_eq!(world.changes, own, "only its own move at once");
            world.is_up[leaves] = true;
            world.ask(|_| true);
            prop_assert!(world.changes <= 2 * own + all / 50, "{} moved out and back where {} were there", world.changes, own);
        }
    }
}
