//! The candidates: PoPs with their edges, and which of them may be chosen.

use std::net::{Ipv6Addr, SocketAddrV4};

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

/// An edge of a PoP at the moment. Shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct EdgeFitness {
    pub(super) state: HealthState,
    /// The share of its clients that it has back since it was down.
    pub(super) ramp: f64,
    /// The share of the clients coming to it that it takes, for its load.
    pub(super) acceptance: f64,
    /// Both together: the share of the clients coming to it that go no further.
    pub(super) takes: f64,
    /// Requests per second, where it reports.
    pub(super) load_rps: Option<f64>,
}

impl EdgeFitness {
    /// An edge that takes everybody, as far as it is known.
    pub(super) const fn whole(state: HealthState) -> Self {
        Self { state, ramp: 1.0, acceptance: 1.0, takes: 1.0, load_rps: None }
    }
}

/// Whether a PoP may be chosen.
#[derive(Clone, Debug)]
pub(super) struct Fitness {
    /// Its edges, in their order.
    pub(super) edges: Vec<EdgeFitness>,
    pub(super) draining: bool,
    /// Why it never may be, whatever its health: it is outside the host's limits.
    pub(super) rejected: Option<Reason>,
}

impl Fitness {
    /// Of edges whose `takes` is not yet worked out. Where all come back together none waits for another.
    pub(super) fn new(mut edges: Vec<EdgeFitness>, draining: bool) -> Self {
        let serving = edges.iter().filter(|edge| edge.state.is_healthy());
        let farthest = serving.map(|edge| edge.ramp).reduce(f64::max).unwrap_or(1.0);
        for edge in &mut edges {
            edge.takes = (edge.ramp / farthest).min(1.0) * edge.acceptance;
        }
        Self { edges, draining, rejected: None }
    }

    /// At least one edge serves, and clients may be sent there.
    pub(super) fn is_healthy(&self) -> bool {
        self.rejected.is_none() && !self.draining && self.edges.iter().any(|edge| edge.state.is_healthy())
    }

    /// The best state among its edges.
    pub(super) fn state(&self) -> HealthState {
        let best_first = [HealthState::Up, HealthState::Suspect, HealthState::Unknown];
        let is_there = |state: &HealthState| self.edges.iter().any(|edge| edge.state == *state);
        best_first.into_iter().find(is_there).unwrap_or(HealthState::Down)
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
        let healthy = candidates().filter(|edge| edge.state.is_healthy()).count();
        let healthy_share = healthy as f64 / candidates().count().max(1) as f64;
        let degraded = inside().any(|pop| pop.draining || pop.edges.iter().any(|edge| !edge.state.is_healthy()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fitness(edges: &[HealthState], draining: bool) -> Fitness {
        Fitness::new(edges.iter().copied().map(EdgeFitness::whole).collect(), draining)
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
    fn an_edge_waits_for_its_load_and_behind_those_that_came_back_before_it() {
        let shares = |shares: &[(HealthState, f64, f64)]| {
            let edge = |&(state, ramp, acceptance)| EdgeFitness { ramp, acceptance, ..EdgeFitness::whole(state) };
            let fitness = Fitness::new(shares.iter().map(edge).collect(), false);
            fitness.edges.iter().map(|edge| edge.takes).collect::<Vec<_>>()
        };
        use HealthState::{Down, Up};
        assert_eq!(shares(&[(Up, 1.0, 0.5), (Up, 0.25, 1.0), (Down, 1.0, 1.0)]), [0.5, 0.25, 1.0]);
        assert_eq!(shares(&[(Up, 0.5, 0.5), (Up, 0.25, 1.0), (Down, 1.0, 1.0)]), [0.5, 0.5, 1.0]);
    }
}
