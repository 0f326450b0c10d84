//! Worlds with a regional cache between edges and shield: who asks whom, and who counts what.

use std::{collections::BTreeMap, sync::Arc};

use cdn_core::{
    Counter, NodeId, Role,
    distribution::{Behavior, Distribution, DistributionSpec, Origin},
    policies,
};
use simulator::{NodeSpec, PlainAnswers, Plan, default_world};
use world::{Atlas, EventKind, scenario::Paths};

use crate::support::{load, play, scenario};

/// The default world, whose edges ask a regional cache in Frankfurt before the shield.
fn with_regional(answers: &PlainAnswers) -> Plan {
    let mut plan = default_world(&["fra", "nrt"], answers);
    let place = Atlas::embedded().place("fra").unwrap().clone();
    let shields: Vec<_> = plan.nodes_with(Role::Shield).map(|(at, _)| at).collect();
    let regional = plan.nodes.len();
    for node in plan.nodes.iter_mut().filter(|node| node.id.role() == Role::Edge) {
        node.parents.insert(0, regional);
    }
    plan.nodes.push(NodeSpec {
        id: NodeId::new(Role::Regional, "fra"),
        pop: place.pop_code(),
        place,
        address: ([127, 78, 2, 1], 4480).into(),
        parents: shields,
    });
    plan
}

/// What caches have come to count of each other, by role, once people in these cities have asked for a while.
fn counted(plan: &Plan, cities: &[&str]) -> impl Fn(Role, Counter) -> u64 {
    let mut scenario = scenario(120, load(cities, 50.0, Paths::Zipf { s: 1.0, n: 40 }), vec![]);
    scenario.told = vec![
        Counter::EdgeOriginRequests,
        Counter::EdgeRegionalBypasses,
        Counter::EdgeRegionalHits,
        Counter::EdgeRegionalRequests,
        Counter::EdgeShieldHits,
        Counter::EdgeShieldRequests,
    ];
    let mut last = BTreeMap::new();
    for event in play(plan, &scenario).0.events {
        if let EventKind::Counter { node, counter, value } = event.kind {
            last.insert((counter, plan.nodes[node as usize].id.clone()), value);
        }
    }
    move |role, wanted| {
        let wanted = last.iter().filter(|((counter, node), _)| *counter == wanted && node.role() == role);
        wanted.map(|(_, value)| value).sum()
    }
}

#[test]
fn a_hit_in_the_shield_is_counted_by_the_regional_cache_that_asked_it_and_not_by_the_edge() {
    let mut plan = with_regional(&PlainAnswers { cache_control: "max-age=7".into(), ..PlainAnswers::default() });
    // Tokyo's edge asks the shield by itself and keeps it warm. What Frankfurt's edge finds there it finds through the
    // regional cache.
    for node in plan.nodes.iter_mut().filter(|node| node.id.name() == "nrt") {
        node.parents.remove(0);
    }
    let counted = counted(&plan, &["berlin", "tokyo"]);
    let [by_edges, by_regional] = [Role::Edge, Role::Regional].map(|role| counted(role, Counter::EdgeShieldHits));
    assert!(by_regional > 20 && by_edges > 20, "{by_regional} by the regional cache, {by_edges} by edges");
    let asked = counted(Role::Edge, Counter::EdgeShieldRequests);
    assert!(by_edges <= asked, "edges count {by_edges} hits of a shield that they asked {asked} times");
}

#[test]
fn what_may_not_be_cached_goes_past_the_caches_between_straight_to_the_origin() {
    let mut plan = with_regional(&PlainAnswers::default());
    let origins = [("primary".to_owned(), Origin::new("primary.origin.test"))].into();
    let behavior = Behavior::new("primary", policies::cache_policy("CachingDisabled").unwrap());
    let aliases = vec!["www.demo.test".to_owned()];
    let spec = DistributionSpec { aliases, ..DistributionSpec::new("demo", origins, behavior) };
    plan.revisions = vec![vec![Arc::new(Distribution::new(spec).unwrap())]];
    let counted = counted(&plan, &["berlin"]);
    let between = [Counter::EdgeRegionalRequests, Counter::EdgeShieldRequests, Counter::EdgeRegionalBypasses];
    assert_eq!(between.map(|counter| counted(Role::Edge, counter)), [0, 0, 0]);
    let asked = [Role::Edge, Role::Regional, Role::Shield].map(|role| counted(role, Counter::EdgeOriginRequests));
    assert!(asked[0] > 5000 && asked[1..] == [0, 0], "{asked:?}");
}
