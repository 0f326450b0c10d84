//! The candidates: PoPs with their edges, and which of them may be chosen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::draw;
use crate::{NodeId, PopCode, Reason, geo::Place, health::HealthState};

/// A PoP by its position in the router's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PopIndex(u16);

impl PopIndex {
    /// The first.
    pub const MIN: Self = Self(0);
    /// The last that there can be.
    pub const MAX: Self = Self(u16::MAX);

    /// The position as an index.
    pub const fn new(position: u16) -> Self {
        Self(position)
    }

    /// The index as a position.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All indices of a list of `len`.
    pub(super) fn all(len: usize) -> impl DoubleEndedIterator<Item = Self> {
        (0..u16::try_from(len).unwrap_or(u16::MAX)).map(Self)
    }
}

/// A point of presence.
#[derive(Clone, Debug, PartialEq)]
pub struct Pop {
    /// Its code.
    pub code: PopCode,
    /// Where it is.
    pub place: Place,
    /// Its edges.
    pub edges: Vec<EdgeSite>,
}

/// An edge, as viewers reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSite {
    /// Its name.
    pub id: NodeId,
    /// Where it listens for HTTP.
    pub address: SocketAddrV4,
    /// Where it listens for IPv6 too, at the same port.
    pub address6: Option<Ipv6Addr>,
}

/// Whether a PoP may be chosen.
#[derive(Clone, Debug)]
pub(super) struct Fitness {
    /// The states of its edges, in their order.
    pub(super) edges: Vec<HealthState>,
    /// Against the edge that has most of them, the share of its clients that each has back since it was down: 1 for all.
    pub(super) back: Vec<f64>,
    pub(super) draining: bool,
    /// Why it never may be, whatever its health: it is outside the host's limits.
    pub(super) rejected: Option<Reason>,
}

impl Fitness {
    /// At least one edge serves, and clients may be sent there.
    pub(super) fn is_healthy(&self) -> bool {
        self.rejected.is_none() && !self.draining && self.edges.iter().any(|state| state.is_healthy())
    }

    /// Clients by how many of its edges still do without them: of wave 0 are those that all edges have back, of wave 1
    /// those that the one farthest behind has not, and so on. `draw`, above 0 and below 1, stands for a client.
    pub(super) fn wave(&self, draw: f64) -> u8 {
        u8::try_from(self.steps().iter().filter(|&&back| back <= draw).count()).unwrap_or(u8::MAX)
    }

    /// All its waves.
    pub(super) fn waves(&self) -> impl Iterator<Item = u8> + use<> {
        0..=u8::try_from(self.steps().len()).unwrap_or(u8::MAX)
    }

    /// Whether an edge that serves beside others has not all its clients back.
    pub(super) fn is_ramping(&self) -> bool {
        self.serving().any(|back| back < 1.0)
    }

    /// The different shares below 1, ascending.
    fn steps(&self) -> Vec<f64> {
        let mut steps: Vec<f64> = self.serving().filter(|&back| back < 1.0).collect();
        steps.sort_by(f64::total_cmp);
        steps.dedup();
        steps
    }

    fn serving(&self) -> impl Iterator<Item = f64> {
        self.edges.iter().zip(&self.back).filter(|(state, _)| state.is_healthy()).map(|(_, &back)| back)
    }

    /// The best state among its edges.
    pub(super) fn state(&self) -> HealthState {
        let best_first = [HealthState::Up, HealthState::Suspect, HealthState::Unknown];
        best_first.into_iter().find(|state| self.edges.contains(state)).unwrap_or(HealthState::Down)
    }

    /// Why it may not be chosen.
    fn rejected(&self) -> Option<Reason> {
        if self.rejected.is_some() {
            self.rejected
        } else if self.draining {
            Some(Reason::RejectedDraining)
        } else if self.is_healthy() {
            None
        } else if self.state() == HealthState::Unknown {
            Some(Reason::RejectedUnknown)
        } else {
            Some(Reason::RejectedDown)
        }
    }
}

/// Which PoPs may be chosen, all together. Shares are those among candidates.
#[derive(Clone, Debug)]
pub(super) struct Eligibility {
    pub(super) pops: Vec<Fitness>,
    /// Too few are healthy: health is ignored.
    pub(super) fail_open: bool,
    /// Why each may not be chosen; drains are ignored where all are drained, because an answer beats none.
    rejected: Vec<Option<Reason>>,
    /// Healthy edges among those not drained, 0 to 1.
    pub(super) healthy_share: f64,
    /// An edge is drained, down, or not yet seen.
    pub(super) degraded: bool,
}

impl Eligibility {
    pub(super) fn new(pops: Vec<Fitness>, healthy_share_min: f64) -> Self {
        let inside = || pops.iter().filter(|pop| pop.rejected.is_none());
        let all_drained = inside().all(|pop| pop.draining);
        let candidates = || inside().filter(|pop| all_drained || !pop.draining).flat_map(|pop| &pop.edges);
        let healthy = candidates().filter(|state| state.is_healthy()).count();
        let healthy_share = healthy as f64 / candidates().count().max(1) as f64;
        let degraded = inside().any(|pop| pop.draining || pop.edges.iter().any(|state| !state.is_healthy()));
        let fail_open = healthy == 0 || healthy_share < healthy_share_min;
        let rejected = pops.iter().map(|pop| match pop.rejected() {
            Some(Reason::RejectedDraining) if all_drained => None,
            Some(Reason::RejectedDown | Reason::RejectedUnknown) if fail_open => None,
            rejected => rejected,
        });
        Self { fail_open, healthy_share, degraded, rejected: rejected.collect(), pops }
    }

    /// Why `pop` may not be chosen; `None` if it may.
    pub(super) fn rejected(&self, pop: PopIndex) -> Option<Reason> {
        self.rejected[pop.index()]
    }

    pub(super) fn is_healthy(&self, pop: PopIndex) -> bool {
        self.pops[pop.index()].is_healthy()
    }

    /// Whether `pop` is no candidate at all.
    pub(super) fn is_outside(&self, pop: PopIndex) -> bool {
        self.pops[pop.index()].rejected.is_some()
    }
}

/// The edge of `pop` that serves clients of `wave` for `host`: the one with the highest draw among those that serve
/// (rendezvous hashing), so that an object is looked for on one edge, and only the names of an edge that leaves move. Where
/// none serves, any.
pub(super) fn edge_for<'a>(pop: &'a Pop, fitness: &Fitness, host: &str, wave: u8) -> Option<&'a EdgeSite> {
    let behind = usize::from(wave).checked_sub(1).and_then(|last| fitness.steps().get(last).copied());
    let highest = |only_healthy: bool| {
        let edges = pop.edges.iter().zip(&fitness.edges).zip(&fitness.back);
        let serves = |state: &HealthState, back: f64| state.is_healthy() && behind.is_none_or(|behind| back > behind);
        edges
            .filter(|((_, state), back)| !only_healthy || serves(state, **back))
            .map(|((edge, _), _)| edge)
            .max_by_key(|edge| draw(key(edge), host, [0, 0]))
    };
    highest(true).or_else(|| highest(false))
}

fn key(edge: &EdgeSite) -> u64 {
    let (ip, port): (&Ipv4Addr, u16) = (edge.address.ip(), edge.address.port());
    u64::from(ip.to_bits()) << 16 | u64::from(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, geo::Point};

    fn fitness(edges: &[HealthState], draining: bool) -> Fitness {
        Fitness { edges: edges.to_vec(), back: vec![1.0; edges.len()], draining, rejected: None }
    }

    #[test]
    fn too_few_healthy_edges_open_the_choice_to_all_but_the_drained() {
        use HealthState::{Down, Up};
        let mut pops = vec![fitness(&[Up], false), fitness(&[Down], false), fitness(&[Down], false)];
        pops.push(fitness(&[Up], true));
        let eligibility = Eligibility::new(pops.clone(), 0.5);
        assert!(eligibility.fail_open && eligibility.degraded);
        assert_eq!(eligibility.rejected(PopIndex(1)), None);
        assert_eq!(eligibility.rejected(PopIndex(3)), Some(Reason::RejectedDraining));
        let eligibility = Eligibility::new(pops, 0.3);
        assert_eq!(eligibility.rejected(PopIndex(1)), Some(Reason::RejectedDown));
    }

    #[test]
    fn who_is_outside_counts_neither_as_healthy_nor_as_degraded() {
        use HealthState::{Down, Up};
        let outside = |edges| Fitness { rejected: Some(Reason::RejectedPriceClass), ..fitness(edges, false) };
        let eligibility = Eligibility::new(vec![fitness(&[Up], false), outside(&[Down]), outside(&[Down])], 0.5);
        assert!(!eligibility.fail_open && !eligibility.degraded);
        assert_eq!(eligibility.rejected(PopIndex(2)), Some(Reason::RejectedPriceClass));
        let eligibility = Eligibility::new(vec![fitness(&[Down], false), outside(&[Up])], 0.5);
        assert!(eligibility.fail_open);
        assert_eq!(eligibility.rejected(PopIndex(1)), Some(Reason::RejectedPriceClass), "open to candidates only");
    }

    #[test]
    fn when_all_are_drained_drains_are_ignored() {
        let eligibility = Eligibility::new(vec![fitness(&[HealthState::Up], true)], 0.5);
        assert_eq!((eligibility.rejected(PopIndex(0)), eligibility.fail_open), (None, false));
    }

    #[test]
    fn when_an_edge_leaves_only_its_names_move() {
        let edges: Vec<_> = (0..4u8)
            .map(|at| EdgeSite {
                id: NodeId::new(Role::Edge, &format!("iad-{at}")),
                address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, at), 80),
                address6: None,
            })
            .collect();
        let place = Place { point: Point::new(0.0, 0.0).unwrap(), country: "".into(), label: "".into() };
        let pop = Pop { code: "IAD".parse().unwrap(), place, edges };
        let (all, three) = (fitness(&[HealthState::Up; 4], false), {
            let mut states = [HealthState::Up; 4];
            states[1] = HealthState::Down;
            fitness(&states, false)
        });
        let mut moved = 0;
        for host in (0..1000).map(|at| format!("host-{at}.test")) {
            let (before, after) = (edge_for(&pop, &all, &host, 0).unwrap(), edge_for(&pop, &three, &host, 0).unwrap());
            if before != after {
                assert_eq!(before, &pop.edges[1]);
                moved += 1;
            }
        }
        assert!((200..300).contains(&moved), "{moved}");
        let none = fitness(&[HealthState::Down; 4], false);
        assert!(edge_for(&pop, &none, "x", 0).is_some());
    }
}
