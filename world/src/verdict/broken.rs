//! What is broken on purpose, from when to when, as the timeline says it.

use std::time::Duration;

use cdn_core::{Instant, NodeId, PopCode, Role};

use crate::{
    SiteId,
    observation::Directory,
    scenario::{Action, HealTarget, Scenario, Step},
};

/// When, from time zero, everything that a scenario breaks is whole again, and load is what it was before; zero where it
/// breaks nothing, `None` where something stays broken. A policy is no fault, and neither is load that stays.
pub fn healed_at(scenario: &Scenario, directory: &Directory) -> Option<Duration> {
    breaks(scenario, directory).into_iter().try_fold(Duration::ZERO, |latest, broken| Some(latest.max(broken.healed?)))
}

/// What a timeline breaks, or too much load for a while.
pub(crate) struct Break {
    /// From time zero.
    pub(crate) at: Duration,
    /// The same; `None` where it stays so.
    pub(crate) healed: Option<Duration>,
    /// The nodes that it hits.
    pub(crate) nodes: Vec<NodeId>,
}

/// Whatever a scenario breaks, as [`healed_at`] sees it.
pub(crate) fn breaks(scenario: &Scenario, directory: &Directory) -> Vec<Break> {
    let mut ledger = Ledger::default();
    let mut all = Vec::new();
    for step in &scenario.steps {
        ledger.step(Instant::ZERO + step.at, step, directory);
        if let Action::Load(change) = &step.action
            && let Some(span) = change.span
        {
            let healed = Some(step.at + change.over + span + change.over);
            all.push(Break { at: step.at, healed, nodes: Vec::new() });
        }
    }
    let since = |at: Instant| at.saturating_since(Instant::ZERO);
    let broken = ledger.all.into_iter();
    all.extend(broken.map(|one| Break { at: since(one.at), healed: one.healed.map(since), nodes: one.nodes }));
    all
}

/// One thing that was broken by one step.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// As the step says it.
    pub(super) text: String,
    /// When.
    pub(super) at: Instant,
    /// When it was whole again; `None` until the end.
    pub(super) healed: Option<Instant>,
    /// The nodes that it hit.
    pub(super) nodes: Vec<NodeId>,
    /// The PoPs of those that answer viewers.
    pub(super) pops: Vec<PopCode>,
    how: How,
}

#[derive(Clone, Debug, PartialEq)]
enum How {
    Killed,
    Paused,
    Faulty,
    Drained,
    Link(SiteId, SiteId),
    Other,
}

impl Broken {
    /// Whether it has an influence at `at`.
    pub(super) fn is_active(&self, at: Instant) -> bool {
        self.at <= at && self.healed.is_none_or(|healed| at < healed)
    }

    fn heal(&mut self, at: Instant) {
        if self.healed.is_none_or(|healed| healed > at) {
            self.healed = Some(at);
        }
    }
}

/// All of them, by time.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    all: Vec<Broken>,
}

impl Ledger {
    pub(super) fn all(&self) -> &[Broken] {
        &self.all
    }

    /// A step took effect at `at`.
    pub(super) fn step(&mut self, at: Instant, step: &Step, directory: &Directory) {
        let end = |span: &Option<Duration>| span.map(|span| at + span);
        let open = |how, nodes: &[NodeId], healed| Broken {
            text: step.text.clone(),
            at,
            healed,
            nodes: nodes.to_vec(),
            pops: pops_of(nodes, directory),
            how,
        };
        match &step.action {
            Action::Kill { nodes, span } => self.all.push(open(How::Killed, nodes, end(span))),
            Action::Pause { nodes, span } => self.all.push(open(How::Paused, nodes, end(span))),
            Action::Fault { nodes, span, .. } => self.all.push(open(How::Faulty, nodes, end(span))),
            Action::Link { a, b, span, .. } => {
                self.all.push(open(How::Link(a.clone(), b.clone()), &[], end(span)));
            }
            Action::Drain(pop) => {
                let edges = directory.nodes().iter().filter(|node| node.pop == Some(*pop) && is_edge(&node.id));
                let nodes: Vec<NodeId> = edges.map(|node| node.id.clone()).collect();
                self.all.push(open(How::Drained, &nodes, None));
            }
            Action::Config(change) => {
                // Going over to another configuration ends what the last one broke.
                self.heal_where(at, |broken| broken.how == How::Other && overlaps(&broken.nodes, &change.nodes));
                if change.revision != 0 {
                    self.all.push(open(How::Other, &change.nodes, None));
                }
            }
            Action::Start { nodes } => {
                self.heal_where(at, |broken| broken.how == How::Killed && overlaps(&broken.nodes, nodes));
            }
            Action::Resume { nodes } => {
                self.heal_where(at, |broken| broken.how == How::Paused && overlaps(&broken.nodes, nodes));
            }
            Action::Undrain(pop) => {
                self.heal_where(at, |broken| broken.how == How::Drained && broken.pops.contains(pop));
            }
            Action::Heal(target) => self.heal_where(at, |broken| match (target, &broken.how) {
                (_, How::Drained | How::Other) => false,
                (HealTarget::All, _) => true,
                (HealTarget::At { sites, .. }, How::Link(a, b)) => sites.contains(a) || sites.contains(b),
                (HealTarget::At { nodes, .. }, _) => overlaps(&broken.nodes, nodes),
                (HealTarget::Link { a, b }, How::Link(c, d)) => (a, b) == (c, d) || (a, b) == (d, c),
                (HealTarget::Link { .. }, _) => false,
            }),
            Action::Invalidate { .. } | Action::Policy { .. } | Action::Load(_) => {}
        }
    }

    fn heal_where(&mut self, at: Instant, meets: impl Fn(&Broken) -> bool) {
        self.all.iter_mut().filter(|broken| meets(broken)).for_each(|broken| broken.heal(at));
    }
}

fn overlaps(some: &[NodeId], others: &[NodeId]) -> bool {
    others.is_empty() || some.iter().any(|node| others.contains(node))
}

fn is_edge(node: &NodeId) -> bool {
    node.role() == Role::Edge
}

fn pops_of(nodes: &[NodeId], directory: &Directory) -> Vec<PopCode> {
    let edges = directory.nodes().iter().filter(|member| is_edge(&member.id) && nodes.contains(&member.id));
    let mut pops: Vec<PopCode> = edges.filter_map(|member| member.pop).collect();
    pops.sort_unstable();
    pops.dedup();
    pops
}
