//! Inside a PoP: which of its edges serves whom.
//!
//! For each host the edges of a PoP stand in an order of their own (rendezvous hashing), and the first that serves gets the
//! host's clients, so that an object is looked for on one edge. Three things part those clients:
//! - *dispersion*: parts of them begin at the second, the third … of that order (initial dispersion, as in Apache Traffic
//!   Control), for hosts that are too much for one edge;
//! - a *ramp*: an edge that was down has a growing share of its clients back ([`ramp`](super::ramp));
//! - a *bound*: an edge with much more load than the mean of its PoP takes a share ([`bound`](super::bound)).
//!
//! Whoever is not taken goes on along the order. Each edge draws for itself, so nobody moves but those whom an edge
//! turns away or takes back: when one leaves, its own clients alone.

use super::{EdgeSite, Pop, draw, pops::EdgeFitness, unit};
use crate::Reason;

/// How hosts are spread over the edges of a PoP.
#[derive(Clone, Debug, PartialEq)]
pub struct InsideOptions {
    /// Edges of a PoP among which the clients of one host are spread, as far as there are so many; 1 or more. Default 1, so
    /// that an object is fetched and stored once.
    pub dispersion: usize,
    /// How many times the mean load of its PoP's edges one of them has before clients go on to the next, 1 or more; `None`
    /// for no bound. The nearer to 1, the more hosts are on several edges. Default 1.25.
    pub load_bound: Option<f64>,
}

impl Default for InsideOptions {
    fn default() -> Self {
        Self { dispersion: 1, load_bound: Some(1.25) }
    }
}

/// Clients whom the edges of a PoP treat alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cohort {
    /// Which part they are of each host's clients.
    part: usize,
    /// The edges that do not take them, one bit each in their order.
    turned_away: u64,
}

/// Edges that a [`Cohort`] has a bit for; those beyond take everybody.
const BITS: usize = u64::BITS as usize;

impl Cohort {
    /// Of the clients that `key` stands for, at a PoP with these edges.
    pub(super) fn of(options: &InsideOptions, seed: u64, key: u64, pop: &Pop, edges: &[EdgeFitness]) -> Self {
        let parts = parts(options, edges);
        let part = match parts {
            1 => 0,
            _ => (unit(draw(seed, "dispersion", [key, super::pop_key(pop.code)])) * parts as f64) as usize,
        };
        let takes = |(site, edge): &(&EdgeSite, &EdgeFitness)| {
            edge.takes >= 1.0 || unit(draw(seed, "edge", [key, self::key(site)])) < edge.takes
        };
        let all = pop.edges.iter().zip(edges).take(BITS).enumerate();
        let turned_away = all.filter(|(_, edge)| !takes(edge)).fold(0, |bits, (at, _)| bits | 1 << at);
        Self { part, turned_away }
    }

    fn is_taken(self, at: usize) -> bool {
        at >= BITS || self.turned_away >> at & 1 == 0
    }
}

/// Whether the edges of a PoP treat all clients alike.
pub(super) fn is_one_cohort(options: &InsideOptions, edges: &[EdgeFitness]) -> bool {
    let serving = || edges.iter().filter(|edge| edge.state.is_healthy());
    parts(options, edges) == 1 && (serving().count() < 2 || serving().all(|edge| edge.takes >= 1.0))
}

fn parts(options: &InsideOptions, edges: &[EdgeFitness]) -> usize {
    options.dispersion.min(edges.len()).max(1)
}

/// An edge that was chosen in its PoP, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat<'a> {
    pub(super) site: &'a EdgeSite,
    pub(super) reason: Reason,
}

impl Seat<'_> {
    /// The reason for the whole answer where the PoP was chosen for `reason`, which is its policy's where `is_plain`: where
    /// the edge stands in for one that is there, that is what wants explaining.
    pub(super) fn reason_of_answer(reason: Reason, is_plain: bool, of_edge: Reason) -> Reason {
        let is_stand_in = matches!(of_edge, Reason::RouteRamping | Reason::RouteBounded);
        if is_plain && is_stand_in { of_edge } else { reason }
    }
}

/// The edge of `pop` that serves clients of `cohort` for `host`. Where none serves, the one that they would have.
pub(super) fn edge_for<'a>(
    options: &InsideOptions,
    pop: &'a Pop,
    edges: &[EdgeFitness],
    host: &str,
    cohort: Cohort,
) -> Option<Seat<'a>> {
    let parts = parts(options, edges);
    let order = order(pop, host, parts, cohort.part);
    let home = *order.first()?;
    let serving = |at: usize| edges.get(at).filter(|edge| edge.state.is_healthy());
    let taking = order.iter().copied().find(|&at| serving(at).is_some() && cohort.is_taken(at));
    // Whom all turn away goes to the one that turns away fewest; of equals to the first.
    let roomiest = || {
        let all = order.iter().rev().filter_map(|&at| Some((at, serving(at)?.takes)));
        all.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(at, _)| at)
    };
    let at = taking.or_else(roomiest).unwrap_or(home);
    let is_ramping = || edges.get(home).is_some_and(|edge| edge.ramp < 1.0);
    let reason = if pop.edges.len() == 1 {
        Reason::EdgeOnly
    } else if at == home {
        if parts > 1 { Reason::EdgeDispersed } else { Reason::EdgeHashed }
    } else if serving(home).is_none() {
        Reason::EdgeStandsIn
    } else if is_ramping() {
        Reason::RouteRamping
    } else {
        Reason::RouteBounded
    };
    Some(Seat { site: pop.edges.get(at)?, reason })
}

/// Positions of the edges of `pop` in the order in which clients of a part of `host`'s go to them. After their home come
/// those that serve none of the host's parts, so that it stays on as few edges as it was on.
fn order(pop: &Pop, host: &str, parts: usize, part: usize) -> Vec<usize> {
    let score = |at: usize, part: usize| pop.edges.get(at).map(|edge| draw(key(edge), host, [part as u64, 0]));
    let mut order: Vec<usize> = (0..pop.edges.len()).collect();
    order.sort_by_cached_key(|&at| std::cmp::Reverse(score(at, 0)));
    if part >= parts || parts > order.len() {
        return order;
    }
    let mut homes: Vec<usize> = order.drain(..parts).collect();
    order.insert(0, homes.swap_remove(part));
    // The other homes come last, each part's in an order of its own, so that they share what an edge that leaves had.
    homes.sort_by_cached_key(|&at| std::cmp::Reverse(score(at, part + 1)));
    order.extend(homes);
    order
}

/// Stands for an edge in draws, wherever it is listed.
pub(super) fn key(edge: &EdgeSite) -> u64 {
    u64::from(edge.address.ip().to_bits()) << 16 | u64::from(edge.address.port())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        net::{Ipv4Addr, SocketAddrV4},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{
        NodeId, Role,
        geo::{Place, Point},
        health::HealthState,
    };

    fn pop(edges: u8) -> Pop {
        let place = Place { point: Point::new(0.0, 0.0).unwrap(), country: "".into(), label: "".into() };
        let edge = |at| EdgeSite {
            id: NodeId::new(Role::Edge, &format!("iad-{at}")),
            address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, at), 80),
            address6: None,
        };
        Pop { code: "IAD".parse().unwrap(), place, edges: (0..edges).map(edge).collect() }
    }

    fn all_up(edges: u8) -> Vec<EdgeFitness> {
        vec![EdgeFitness::whole(HealthState::Up); edges.into()]
    }

    fn host(at: u32) -> String {
        format!("host-{at}.test")
    }

    /// The position of the edge that serves a client of a host.
    fn served_by(options: &InsideOptions, pop: &Pop, edges: &[EdgeFitness], host: &str, client: u64) -> usize {
        let seat = edge_for(options, pop, edges, host, Cohort::of(options, 7, client, pop, edges)).unwrap();
        pop.edges.iter().position(|edge| edge == seat.site).unwrap()
    }

    #[test]
    fn hosts_are_spread_evenly_and_each_is_on_one_edge() {
        let (options, pop, edges) = (InsideOptions::default(), pop(4), all_up(4));
        let mut hosts = [0; 4];
        for host in (0..1000).map(host) {
            let at = served_by(&options, &pop, &edges, &host, 1);
            assert!((0..20).all(|client| served_by(&options, &pop, &edges, &host, client) == at));
            hosts[at] += 1;
        }
        assert!(hosts.iter().all(|hosts| (200..300).contains(hosts)), "{hosts:?}");
    }

    #[test]
    fn dispersion_spreads_a_hosts_clients_evenly_over_so_many_edges() {
        let (pop, edges) = (pop(5), all_up(5));
        for dispersion in 1..8 {
            let options = InsideOptions { dispersion, ..InsideOptions::default() };
            for host in (0..20).map(host) {
                let mut clients = [0u64; 5];
                (0..2000).for_each(|client| clients[served_by(&options, &pop, &edges, &host, client)] += 1);
                let fair = 2000 / dispersion.min(5) as u64;
                let used: Vec<u64> = clients.into_iter().filter(|&clients| clients > 0).collect();
                assert_eq!(used.len(), dispersion.min(5));
                assert!(used.iter().all(|&clients| clients.abs_diff(fair) < fair / 5 + 20), "{used:?}, {fair} is fair");
            }
        }
    }

    #[test]
    fn reasons_say_who_serves_and_for_whom_it_stands_in() {
        let (options, pop) = (InsideOptions::default(), pop(3));
        let reason = |edges: &[EdgeFitness], client: u64| {
            let cohort = Cohort::of(&options, 7, client, &pop, edges);
            edge_for(&options, &pop, edges, "x", cohort).unwrap().reason
        };
        let home = served_by(&options, &pop, &all_up(3), "x", 0);
        let with = |change: fn(&mut EdgeFitness)| {
            let mut edges = all_up(3);
            change(&mut edges[home]);
            BTreeSet::from_iter((0..100).map(|client| reason(&edges, client)))
        };
        assert_eq!(with(|_| {}), BTreeSet::from([Reason::EdgeHashed]));
        assert_eq!(with(|edge| edge.state = HealthState::Down), BTreeSet::from([Reason::EdgeStandsIn]));
        let (ramp, bound) = (with(|edge| (edge.ramp, edge.takes) = (0.5, 0.5)), with(|edge| edge.takes = 0.5));
        assert_eq!(ramp, BTreeSet::from([Reason::EdgeHashed, Reason::RouteRamping]));
        assert_eq!(bound, BTreeSet::from([Reason::EdgeHashed, Reason::RouteBounded]));
        let dispersed = InsideOptions { dispersion: 2, ..options };
        let seat = edge_for(&dispersed, &pop, &all_up(3), "x", Cohort::default()).unwrap();
        assert_eq!(seat.reason, Reason::EdgeDispersed);
    }

    #[test]
    fn where_none_serves_there_is_an_edge_all_the_same() {
        let down = vec![EdgeFitness::whole(HealthState::Down); 4];
        let options = InsideOptions::default();
        assert!(edge_for(&options, &pop(4), &down, "x", Cohort::default()).is_some());
        assert_eq!(edge_for(&options, &pop(0), &[], "x", Cohort::default()), None);
    }

    #[test]
    fn an_edge_that_leaves_moves_its_share_of_hosts_and_clients() {
        for (edges, dispersion) in [(2, 1), (4, 1), (4, 2), (5, 3), (4, 4)] {
            let (options, pop) = (InsideOptions { dispersion, ..InsideOptions::default() }, pop(edges));
            let mut one_down = all_up(edges);
            one_down[1].state = HealthState::Down;
            let mut moved = 0u32;
            for (host, client) in (0..40).flat_map(|at| (0..100).map(move |client| (host(at), client))) {
                let before = served_by(&options, &pop, &all_up(edges), &host, client);
                moved += u32::from(before != served_by(&options, &pop, &one_down, &host, client));
            }
            // One of n: its share of 40 hosts at 100 clients each (oracle 15).
            let share = f64::from(moved) / 4000.0;
            assert!((share - 1.0 / f64::from(edges)).abs() < 0.16, "{share} of {edges} edges at {dispersion}");
        }
    }

    proptest! {
        /// Nobody moves but those of the edge that leaves, whatever else is down or turns clients away, and when it comes
        /// back they alone come home.
        #[test]
        fn only_those_of_an_edge_move_when_it_leaves(
            dispersion in 1..6usize,
            takes in prop::collection::vec(prop::sample::select(vec![1.0, 1.0, 0.7, 0.3]), 2..6),
            down in any::<prop::sample::Index>(),
            leaves in any::<prop::sample::Index>(),
        ) {
            let options = InsideOptions { dispersion, ..InsideOptions::default() };
            let pop = pop(takes.len() as u8);
            let mut before: Vec<EdgeFitness> = takes
                .iter()
                .map(|&takes| EdgeFitness { takes, ..EdgeFitness::whole(HealthState::Up) })
                .collect();
            before[down.index(takes.len())].state = HealthState::Down;
            let leaves = leaves.index(takes.len());
            let mut after = before.clone();
            after[leaves].state = HealthState::Down;
            for (host, client) in (0..6).flat_map(|at| (0..40).map(move |client| (host(at), client))) {
                let (was, is) = (served_by(&options, &pop, &before, &host, client), served_by(&options, &pop, &after, &host, client));
                let anybody_left = after.iter().any(|edge| edge.state.is_healthy());
                prop_assert!(was == is || was == leaves || !anybody_left);
                prop_assert!(!anybody_left || after[is].state.is_healthy());
            }
        }

        /// An edge that takes a larger share loses nobody, and one that takes less gains nobody.
        #[test]
        fn who_is_taken_stays_as_the_share_grows(less in 0.0..1.0f64, more in 0.0..1.0f64, dispersion in 1..4usize) {
            let (less, more) = (less.min(more), less.max(more));
            let (options, pop) = (InsideOptions { dispersion, ..InsideOptions::default() }, pop(4));
            let edges = |takes| {
                let mut edges = all_up(4);
                edges[2].takes = takes;
                edges
            };
            let (before, after) = (edges(less), edges(more));
            for (host, client) in (0..6).flat_map(|at| (0..40).map(move |client| (host(at), client))) {
                let (was, is) = (served_by(&options, &pop, &before, &host, client), served_by(&options, &pop, &after, &host, client));
                prop_assert!(was == is || is == 2, "{} to {}", was, is);
            }
        }
    }
}
