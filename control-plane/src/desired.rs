//! What should be: active faults with their ends, drained PoPs, routing policies, and key groups. Pure; `now` is an argument.
//!
//! Decides what replaces what, what ends when, and what heals what. Refuses to know processes, links and HTTP: the
//! shell adds what was asked for, acts on what comes back, and calls [`Desired::expire`] at [`Desired::poll_timeout`].
//!
//! The last word wins, per target and kind: the same kind on the same target (same path and same client site)
//! replaces, `refuse`, `reset` and `blackhole` replace each other, a pause gives way to a kill, and a change of both
//! directions of a link gives way to a change of one of them in that direction only.

mod fault;
mod keys;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cdn_core::{Instant, NodeId, PopCode, routing::PolicyKind};
use serde_json::Value;
use world::SiteId;

pub use self::{
    fault::{Fault, LinkFault, NodeFault, Stop},
    keys::{KeyGroup, Keys, KeysError, PublicKey},
};

/// The number of a fault; counts up, never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub u64);

/// A fault with its number and end.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// Its number.
    pub id: FaultId,
    /// What is broken.
    pub fault: Fault,
    /// When it ends by itself; `None` stays until healed.
    pub ends_at: Option<Instant>,
}

impl Active {
    /// Time left; `None` if it does not end by itself.
    pub fn ends_in(&self, now: Instant) -> Option<Duration> {
        self.ends_at.map(|end| end.saturating_since(now))
    }
}

/// What a heal is meant for.
#[derive(Clone, Debug, PartialEq)]
pub enum Heal {
    /// Everything.
    All,
    /// One fault.
    Id(FaultId),
    /// Faults of these nodes, and changes of links that end at one of these sites.
    At {
        /// The nodes.
        nodes: Vec<NodeId>,
        /// The sites.
        sites: Vec<SiteId>,
    },
    /// Changes of one link, as a person wrote it.
    Link(String),
}

impl Heal {
    fn meets(&self, active: &Active) -> bool {
        match (self, &active.fault) {
            (Self::All, _) => true,
            (Self::Id(id), _) => *id == active.id,
            (Self::At { nodes, .. }, Fault::Node(NodeFault { node, .. }) | Fault::Stopped(node, _)) => {
                nodes.contains(node)
            }
            (Self::At { sites, .. }, Fault::Link(link)) => sites.contains(&link.from) || sites.contains(&link.to),
            (Self::Link(text), Fault::Link(link)) => link.is_called(text),
            (Self::Link(_), _) => false,
        }
    }
}

/// As many faults as allowed are active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} faults are active, as many as allowed")]
pub struct FaultsFull(pub usize);

/// What [`Desired::add`] did, for [`Desired::undo`].
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// The new fault.
    pub id: FaultId,
    /// Those whose place it took, whole or in part, as they were.
    pub displaced: Vec<Active>,
    /// What is left of the displaced, under new numbers.
    pub remainders: Vec<FaultId>,
}

/// By which policies clients are routed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of distributions that have none of their own.
    pub world: PolicyKind,
    /// Of those that have, by id.
    pub of_distributions: BTreeMap<String, PolicyKind>,
}

impl Policies {
    /// By which policy a distribution is routed.
    pub fn of(&self, distribution: &str) -> PolicyKind {
        self.of_distributions.get(distribution).copied().unwrap_or(self.world)
    }
}

/// Public keys in PEM, by key group and id.
pub type KeyGroups = BTreeMap<String, BTreeMap<String, String>>;

/// What should be.
#[derive(Debug)]
pub struct Desired {
    active: BTreeMap<FaultId, Active>,
    drained: BTreeSet<PopCode>,
    policies: Policies,
    keys: Keys,
    configs: BTreeMap<NodeId, Value>,
    whole: Option<Value>,
    last: u64,
    faults_max: usize,
}

impl Desired {
    /// Nothing is broken; at most `faults_max` faults at once.
    pub fn new(faults_max: usize) -> Self {
        Self {
            active: BTreeMap::new(),
            drained: BTreeSet::new(),
            policies: Policies::default(),
            keys: Keys::default(),
            configs: BTreeMap::new(),
            whole: None,
            last: 0,
            faults_max,
        }
    }

    /// Adds a fault that ends at `ends_at`, in place of what it opposes.
    ///
    /// # Errors
    /// As many faults as allowed are active, and this one replaces none of them.
    pub fn add(&mut self, fault: Fault, ends_at: Option<Instant>) -> Result<Added, FaultsFull> {
        let mut displaced = Vec::new();
        let mut remainders = Vec::new();
        for older in self.active.values() {
            if fault.replaces(&older.fault) {
                displaced.push(older.clone());
            } else if let Some(rest) = what_is_left(older, &fault) {
                displaced.push(older.clone());
                remainders.push((rest, older.ends_at));
            }
        }
        if self.active.len() + 1 + remainders.len() > self.faults_max + displaced.len() {
            return Err(FaultsFull(self.active.len()));
        }
        for older in &displaced {
            self.active.remove(&older.id);
        }
        let remainders = remainders.into_iter().map(|(rest, ends_at)| self.insert(rest, ends_at)).collect();
        Ok(Added { id: self.insert(fault, ends_at), displaced, remainders })
    }

    /// Takes back an [`Desired::add`]; what has been healed or replaced since stays so.
    pub fn undo(&mut self, added: &Added) {
        if self.active.remove(&added.id).is_none() {
            return;
        }
        for id in &added.remainders {
            self.active.remove(id);
        }
        self.active.extend(added.displaced.iter().map(|older| (older.id, older.clone())));
    }

    /// Ends the faults that `heal` is meant for, and returns them, oldest first.
    pub fn heal(&mut self, heal: &Heal) -> Vec<Active> {
        self.end_where(|active| heal.meets(active))
    }

    /// Ends what is due at `now`, and returns it, oldest first.
    pub fn expire(&mut self, now: Instant) -> Vec<Active> {
        self.end_where(|active| active.ends_at.is_some_and(|end| end <= now))
    }

    /// When [`Desired::expire`] next has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.active.values().filter_map(|active| active.ends_at).min()
    }

    /// Ends a kill or pause of `node`, whichever there is.
    pub fn resume(&mut self, node: &NodeId) -> Option<Active> {
        self.end_where(|active| matches!(&active.fault, Fault::Stopped(stopped, _) if stopped == node)).pop()
    }

    /// Whether `node` is killed or paused.
    pub fn stopped(&self, node: &NodeId) -> Option<Stop> {
        self.active.values().find_map(|active| match &active.fault {
            Fault::Stopped(stopped, how) if stopped == node => Some(*how),
            _ => None,
        })
    }

    /// Everything that is active, oldest first.
    pub fn active(&self) -> impl ExactSizeIterator<Item = &Active> {
        self.active.values()
    }

    /// The active changes of links, oldest first.
    pub fn link_faults(&self) -> Vec<LinkFault> {
        self.active
            .values()
            .filter_map(|active| match &active.fault {
                Fault::Link(fault) => Some(fault.clone()),
                _ => None,
            })
            .collect()
    }

    /// The active faults of origins and nodes, oldest first.
    pub fn node_faults(&self) -> Vec<NodeFault> {
        self.active
            .values()
            .filter_map(|active| match &active.fault {
                Fault::Node(fault) => Some(fault.clone()),
                _ => None,
            })
            .collect()
    }

    /// Drains or undrains a PoP; whether that changed anything.
    pub fn set_drained(&mut self, pop: PopCode, drain: Drain) -> bool {
        match drain {
            Drain::Drain => self.drained.insert(pop),
            Drain::Undrain => self.drained.remove(&pop),
        }
    }

    /// Whether `pop` is being drained.
    pub fn is_drained(&self, pop: &PopCode) -> bool {
        self.drained.contains(pop)
    }

    /// The drained PoPs, by code.
    pub fn drained(&self) -> Vec<PopCode> {
        self.drained.iter().copied().collect()
    }

    /// Routes a distribution by `policy`, or by the world's where it is `None`; without a distribution, makes `policy`
    /// the world's. Returns the policies before, if that changed anything.
    pub fn set_policy(&mut self, distribution: Option<&str>, policy: Option<PolicyKind>) -> Option<Policies> {
        let before = self.policies.clone();
        match (distribution, policy) {
            (Some(id), Some(policy)) => {
                self.policies.of_distributions.insert(id.to_owned(), policy);
            }
            (Some(id), None) => {
                self.policies.of_distributions.remove(id);
            }
            (None, policy) => self.policies.world = policy.unwrap_or(self.policies.world),
        }
        (self.policies != before).then_some(before)
    }

    /// Routes by `policies`: those that a world begins with, or that were before a [`Desired::set_policy`].
    pub fn set_policies(&mut self, policies: Policies) {
        self.policies = policies;
    }

    /// By which policies clients are routed.
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Puts a key into a group, or with `None` takes it out. Returns the groups before, if that changed anything; a group
    /// that is not there is not made.
    pub fn set_key(&mut self, group: &str, id: &str, pem: Option<String>) -> Option<KeyGroups> {
        let before = self.keys.trusted().clone();
        let keys = self.keys.trusted_mut().get_mut(group)?;
        match pem {
            Some(pem) => keys.insert(id.to_owned(), pem),
            None => keys.remove(id),
        };
        (*self.keys.trusted() != before).then_some(before)
    }

    /// Trusts the keys of `groups`: those that a world begins with, or that were before a [`Desired::set_key`].
    pub fn set_key_groups(&mut self, groups: KeyGroups) {
        *self.keys.trusted_mut() = groups;
    }

    /// Public keys and key groups, with what is said of them.
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Makes these the public keys and key groups; returns those before.
    pub fn set_keys(&mut self, keys: Keys) -> Keys {
        std::mem::replace(&mut self.keys, keys)
    }

    /// Has `node` serve as `config` says, or as it was started.
    pub fn set_config(&mut self, node: NodeId, config: Option<Value>) {
        match config {
            Some(config) => drop(self.configs.insert(node, config)),
            None => drop(self.configs.remove(&node)),
        }
    }

    /// Has the whole world serve as `config` says, or as it was started, beginning with `caches`.
    pub fn set_whole(&mut self, caches: &[NodeId], config: Option<Value>) {
        for node in caches {
            self.set_config(node.clone(), config.clone());
        }
        self.whole = config;
    }

    /// What the whole world is to serve, some caches that were configured by themselves excepted; `None` for what it was
    /// started with.
    pub const fn whole(&self) -> Option<&Value> {
        self.whole.as_ref()
    }

    /// What caches serve that serve something else than they were started with.
    pub const fn configs(&self) -> &BTreeMap<NodeId, Value> {
        &self.configs
    }

    /// The key groups.
    pub const fn key_groups(&self) -> &KeyGroups {
        self.keys.trusted()
    }

    fn insert(&mut self, fault: Fault, ends_at: Option<Instant>) -> FaultId {
        self.last += 1;
        let id = FaultId(self.last);
        self.active.insert(id, Active { id, fault, ends_at });
        id
    }

    fn end_where(&mut self, mut ends: impl FnMut(&Active) -> bool) -> Vec<Active> {
        let ended: Vec<_> = self.active.values().filter(|active| ends(active)).cloned().collect();
        for active in &ended {
            self.active.remove(&active.id);
        }
        ended
    }
}

/// Which way [`Desired::set_drained`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Take out of answers.
    Drain,
    /// Put back.
    Undrain,
}

/// The direction of `older` that `newer` leaves alone: both ways were changed, and one of them is changed anew.
fn what_is_left(older: &Active, newer: &Fault) -> Option<Fault> {
    let (Fault::Link(older), Fault::Link(newer)) = (&older.fault, newer) else { return None };
    let narrows =
        older.both_ways && !newer.both_ways && older.same_ends(newer) && older.change.kind() == newer.change.kind();
    narrows.then(|| {
        Fault::Link(LinkFault {
            from: newer.to.clone(),
            to: newer.from.clone(),
            both_ways: false,
            change: older.change,
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use world::{Effect, LinkChange};

    use super::*;

    const MAX: usize = 100;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn node(id: &str) -> NodeId {
        id.parse().unwrap()
    }

    fn status(node_id: &str, status: u16) -> Fault {
        effect(node_id, Effect::Status(status))
    }

    fn effect(node_id: &str, effect: Effect) -> Fault {
        Fault::Node(NodeFault { node: node(node_id), effect, rate: 1.0, path: None, from: None })
    }

    fn link(from: &str, to: &str, both_ways: bool, change: LinkChange) -> Fault {
        Fault::Link(LinkFault { from: SiteId::new(from), to: SiteId::new(to), both_ways, change })
    }

    fn lines(desired: &Desired) -> Vec<String> {
        desired.active().map(|active| active.fault.to_string()).collect()
    }

    #[test]
    fn faults_end_at_their_time_and_not_before() {
        let mut desired = Desired::new(MAX);
        desired.add(status("origin.a", 503), Some(at(5))).unwrap();
        desired.add(status("origin.b", 503), Some(at(3))).unwrap();
        desired.add(status("origin.c", 503), None).unwrap();
        assert_eq!(desired.poll_timeout(), Some(at(3)));
        assert_eq!(desired.expire(at(2)), []);
        assert_eq!(desired.expire(at(3)).len(), 1);
        assert_eq!(desired.poll_timeout(), Some(at(5)));
        assert_eq!(desired.expire(at(9)).len(), 1);
        assert_eq!(desired.poll_timeout(), None);
        assert_eq!(lines(&desired), ["origin.c status (503)"]);
    }

    #[test]
    fn same_target_and_kind_replaces() {
        let mut desired = Desired::new(MAX);
        desired.add(status("origin.a", 503), Some(at(5))).unwrap();
        let added = desired.add(status("origin.a", 500), None).unwrap();
        assert_eq!(added.displaced.len(), 1);
        assert_eq!(lines(&desired), ["origin.a status (500)"]);
        assert_eq!(desired.poll_timeout(), None);
    }

    #[test]
    fn refuse_reset_and_blackhole_replace_each_other_but_latency_stays() {
        let mut desired = Desired::new(MAX);
        desired.add(effect("origin.a", Effect::Latency(Duration::from_millis(80))), None).unwrap();
        for last in [Effect::Refuse, Effect::Reset, Effect::Blackhole] {
            desired.add(effect("origin.a", last), None).unwrap();
        }
        assert_eq!(lines(&desired), ["origin.a latency (+80 ms)", "origin.a blackhole"]);
    }

    #[test]
    fn faults_of_different_paths_stand_side_by_side() {
        let mut desired = Desired::new(MAX);
        for path in ["/a", "/b", "/a"] {
            let Fault::Node(mut fault) = status("origin.a", 503) else { unreachable!() };
            fault.path = Some(path.into());
            desired.add(Fault::Node(fault), None).unwrap();
        }
        assert_eq!(lines(&desired), ["origin.a status (503, path /b)", "origin.a status (503, path /a)"]);
    }

    #[test]
    fn a_link_is_the_same_from_both_ends() {
        let mut desired = Desired::new(MAX);
        desired.add(link("fra", "iad", true, LinkChange::Loss(0.05)), None).unwrap();
        desired.add(link("iad", "fra", true, LinkChange::Loss(0.1)), None).unwrap();
        assert_eq!(lines(&desired), ["iad<->fra loss (10 % of packets)"]);
    }

    #[test]
    fn one_direction_takes_only_its_half_and_gives_it_back_when_undone() {
        let mut desired = Desired::new(MAX);
        desired.add(link("fra", "iad", true, LinkChange::Partition), Some(at(9))).unwrap();
        let added = desired.add(link("fra", "iad", false, LinkChange::Partition), None).unwrap();
        assert_eq!(lines(&desired), ["iad->fra partition", "fra->iad partition"]);
        desired.undo(&added);
        assert_eq!(lines(&desired), ["fra<->iad partition"]);
        assert_eq!(desired.poll_timeout(), Some(at(9)));
    }

    #[test]
    fn both_directions_take_the_place_of_each() {
        let mut desired = Desired::new(MAX);
        desired.add(link("fra", "iad", false, LinkChange::Partition), None).unwrap();
        desired.add(link("iad", "fra", false, LinkChange::Partition), None).unwrap();
        desired.add(link("fra", "iad", true, LinkChange::Partition), None).unwrap();
        assert_eq!(lines(&desired), ["fra<->iad partition"]);
    }

    #[test]
    fn links_answer_to_their_names() {
        let Fault::Link(both) = link("fra", "us-east-1", true, LinkChange::Partition) else { unreachable!() };
        let Fault::Link(one) = link("fra", "us-east-1", false, LinkChange::Partition) else { unreachable!() };
        for name in ["fra<->us-east-1", "us-east-1<->fra", "us-east-1->fra", "fra-us-east-1", "us-east-1-fra"] {
            assert!(both.is_called(name), "{name}");
        }
        assert!(one.is_called("fra->us-east-1") && one.is_called("us-east-1-fra"));
        for name in ["us-east-1->fra", "fra", "fra-us", "", "->", "é-fra"] {
            assert!(!one.is_called(name), "{name}");
        }
    }

    #[test]
    fn a_kill_takes_the_place_of_a_pause() {
        let mut desired = Desired::new(MAX);
        let fra = node("edge.fra");
        desired.add(Fault::Stopped(fra.clone(), Stop::Pause), None).unwrap();
        desired.add(Fault::Stopped(fra.clone(), Stop::Kill), None).unwrap();
        assert_eq!(desired.stopped(&fra), Some(Stop::Kill));
        assert!(desired.resume(&fra).is_some());
        assert_eq!(desired.stopped(&fra), None);
        assert_eq!(desired.resume(&fra), None);
    }

    #[test]
    fn heal_ends_what_it_is_meant_for() {
        let all = || {
            let mut desired = Desired::new(MAX);
            desired.add(status("edge.fra", 503), None).unwrap();
            desired.add(Fault::Stopped(node("edge.iad"), Stop::Kill), None).unwrap();
            desired.add(link("fra", "nrt", true, LinkChange::Partition), None).unwrap();
            desired
        };
        let here = Heal::At { nodes: vec![node("edge.fra")], sites: vec![SiteId::new("fra")] };
        let left = |heal: Heal| {
            let mut desired = all();
            desired.heal(&heal);
            lines(&desired)
        };
        assert_eq!(left(Heal::All), Vec::<String>::new());
        assert_eq!(left(Heal::Id(FaultId(1))), ["edge.iad kill", "fra<->nrt partition"]);
        assert_eq!(left(here), ["edge.iad kill"]);
        assert_eq!(left(Heal::Link("nrt-fra".into())), ["edge.fra status (503)", "edge.iad kill"]);
    }

    #[test]
    fn the_limit_refuses_new_faults_but_not_replacements() {
        let mut desired = Desired::new(1);
        desired.add(status("origin.a", 503), None).unwrap();
        assert_eq!(desired.add(status("origin.b", 503), None), Err(FaultsFull(1)));
        desired.add(status("origin.a", 500), None).unwrap();
        assert_eq!(lines(&desired), ["origin.a status (500)"]);
    }

    #[test]
    fn drains_are_counted_once() {
        let mut desired = Desired::new(MAX);
        let fra: PopCode = "FRA".parse().unwrap();
        assert!(desired.set_drained(fra, Drain::Drain) && !desired.set_drained(fra, Drain::Drain));
        assert!(desired.is_drained(&fra));
        assert!(desired.set_drained(fra, Drain::Undrain) && desired.drained().is_empty());
    }

    fn any_fault() -> impl Strategy<Value = Fault> {
        let sites = prop::sample::select(vec!["fra", "iad", "nrt"]);
        let names = prop::sample::select(vec!["edge.fra", "edge.iad", "origin.a"]);
        prop_oneof![
            (names.clone(), 0..4_usize).prop_map(|(name, which)| {
                effect(name, [Effect::Status(500), Effect::Refuse, Effect::Reset, Effect::Stall][which])
            }),
            (names, any::<bool>())
                .prop_map(|(name, kill)| Fault::Stopped(node(name), if kill { Stop::Kill } else { Stop::Pause })),
            (sites.clone(), sites, any::<bool>(), any::<bool>()).prop_filter_map("two ends", |(a, b, both, loss)| {
                (a != b).then(|| link(a, b, both, if loss { LinkChange::Loss(0.5) } else { LinkChange::Partition }))
            }),
        ]
    }

    proptest! {
        /// Whatever is added: the newest fault is active, nothing active opposes anything else, undoing restores.
        #[test]
        fn nothing_active_opposes_anything_else(faults in prop::collection::vec((any_fault(), prop::option::of(0..9_u64)), 1..40)) {
            let mut desired = Desired::new(MAX);
            for (fault, end) in faults {
                let before: Vec<_> = desired.active().cloned().collect();
                let added = desired.add(fault.clone(), end.map(at)).unwrap();
                prop_assert!(desired.active().any(|active| active.id == added.id && active.fault == fault));
                for a in desired.active() {
                    for b in desired.active().filter(|b| b.id > a.id) {
                        prop_assert!(!b.fault.replaces(&a.fault), "{} and {}", a.fault, b.fault);
                        prop_assert!(what_is_left(a, &b.fault).is_none(), "{} and {}", a.fault, b.fault);
                    }
                }
                desired.undo(&added);
                prop_assert_eq!(&before, &desired.active().cloned().collect::<Vec<_>>());
                desired.add(fault, end.map(at)).unwrap();
            }
            let end = desired.poll_timeout();
            prop_assert!(end.is_none_or(|end| desired.expire(end).iter().all(|active| active.ends_at == Some(end))));
        }
    }

    #[test]
    fn a_distribution_keeps_its_own_policy_until_it_is_given_the_worlds() {
        let mut desired = Desired::new(MAX);
        let before = desired.set_policy(Some("demo"), Some(PolicyKind::Anycast));
        assert_eq!(before, Some(Policies::default()));
        assert_eq!(desired.set_policy(Some("demo"), Some(PolicyKind::Anycast)), None, "it is so already");
        desired.set_policy(None, Some(PolicyKind::Nearest));
        let of = |desired: &Desired| (desired.policies().of("demo"), desired.policies().of("shop"));
        assert_eq!(of(&desired), (PolicyKind::Anycast, PolicyKind::Nearest));
        desired.set_policy(Some("demo"), None);
        assert_eq!(of(&desired), (PolicyKind::Nearest, PolicyKind::Nearest));
        desired.set_policies(before.unwrap());
        assert_eq!(of(&desired), (PolicyKind::Latency, PolicyKind::Latency));
    }
}
