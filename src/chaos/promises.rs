//! What a checked world promises about its answers, for the laws of every run ([`world::invariant`]).
//!
//! Of each object: who serves it under which policy, what its simulated origins say about caching, and which origin stands in
//! for which. Nothing is promised where that is not known before the run: of a directory, of a user's app, of an origin that
//! leaves it to heuristics.

use std::{sync::Arc, time::Duration};

use cdn_core::{
    Instant, NodeId, Role, WallTime,
    cache_control::CacheControl,
    distribution::{CachingRules, CheckedBehavior, Distribution, OriginGroup},
    freshness::{Arrival, ERROR_CACHING_MIN_TTL, Said, Storing, assess},
    vary::Vary,
};
use http::{Method, header};
use indexmap::IndexMap;
use origin_sim::Rule;
use world::{
    Workload,
    invariant::{Ages, Promise, Promises},
    scenario::Load,
    workload::path_of,
};

use crate::{
    cluster::{Cluster, OriginKind},
    scenario::Staged,
};

/// Whole seconds are all that caches tell each other of ages.
const AGE_ROUNDING: Duration = Duration::from_secs(1);
/// What a response may take to arrive from a cache behind, whatever is broken.
const TRAVEL_MAX: Duration = Duration::from_secs(60);
/// Statuses that faults answer with, or that failures are answered with.
const FAILURES: [u16; 4] = [500, 502, 503, 504];

/// The configuration that a run begins with.
#[derive(Debug)]
pub(super) struct Configured {
    loads: Vec<Load>,
    workload: Workload,
    distributions: Vec<Arc<Distribution>>,
    /// By id the rules of those that are simulated, and how long edges wait for them.
    origins: IndexMap<String, (Vec<Rule>, Duration)>,
    seed: u64,
    /// Caches on the longest way from an edge to an origin.
    tiers: u32,
    /// Nothing gets lost unless somebody breaks something.
    is_lossless: bool,
}

impl Configured {
    /// What the world of a scenario promises; `None` where it is not asked for.
    pub(super) fn of(staged: &Staged, cluster: &Cluster) -> Option<Box<dyn Promises>> {
        let scenario = &staged.scenario;
        if !scenario.asks_for_laws() {
            return None;
        }
        let simulated = cluster.origins.iter().filter_map(|(id, plan)| match &plan.kind {
            OriginKind::Simulated { rules, .. } => {
                let rules = rules.iter().filter_map(|(path, query)| Rule::parse(path, query).ok());
                Some((id.clone(), (rules.collect(), plan.origin.response_timeout)))
            }
            OriginKind::Directory(_) | OriginKind::App(_) => None,
        });
        let edges = cluster.nodes_with(Role::Edge);
        let parents = edges.map(|edge| cluster.parents_of(edge).len()).max().unwrap_or_default();
        Some(Box::new(Self {
            loads: scenario.loads.clone(),
            workload: Workload::of_scenario(scenario, cluster.world.atlas()).ok()?,
            distributions: cluster.distributions.clone(),
            origins: simulated.collect(),
            seed: cluster.seed,
            tiers: u32::try_from(parents).unwrap_or(u32::MAX).saturating_add(1),
            is_lossless: !cluster.world.options().loss,
        }))
    }

    /// How old what an origin answers to this path may become.
    fn ages(&self, origin: &str, behavior: &CheckedBehavior, path: &str, query: Option<&str>) -> Ages {
        let Some((rules, patience)) = self.origins.get(origin) else { return Ages::default() };
        let described = origin_sim::describe(origin, self.seed, rules, path, query);
        let policy = behavior.cache_policy();
        let said = Said::of(&described.headers, policy.rules);
        let asked = CacheControl::of(&described.headers);
        let is_said = asked.shared_max_age().is_some() || asked.no_store;
        let is_known = is_said || policy.rules == CachingRules::CloudFront;
        if !described.status.is_success() || !is_known || described.headers.contains_key(header::EXPIRES) {
            return Ages::default();
        }
        let (now, date) = (Instant::ZERO, WallTime::from_unix_secs(0));
        let storing = assess(&Arrival {
            status: described.status,
            said: &said,
            vary: &Vary::of(&described.headers, behavior),
            requested_at: now,
            responded_at: now,
            date,
            policy,
            error_ttl_min: ERROR_CACHING_MIN_TTL,
            authorized: false,
        });
        let lifetime = match storing {
            Storing::Store(lifetime) => lifetime,
            Storing::Refuse(_) => Default::default(),
        };
        // The least time to live counts from when a response arrives, in each cache anew, however old that is by then.
        let least = match (policy.rules, self.tiers) {
            (CachingRules::CloudFront, _) if policy.min_ttl.is_zero() => Duration::ZERO,
            (CachingRules::CloudFront, 1) => policy.min_ttl + *patience,
            (CachingRules::CloudFront, tiers) => (policy.min_ttl + TRAVEL_MAX) * tiers,
            (CachingRules::Origin, _) => Duration::ZERO,
        };
        let fresh = lifetime.fresh_for.max(least) + AGE_ROUNDING * self.tiers;
        let refreshing = fresh + lifetime.while_revalidate;
        let failing = fresh + lifetime.if_error.max(lifetime.if_gone);
        if self.tiers > 1 {
            // What an edge has fetched and finds fresh the cache behind may have found stale, for whatever reason.
            let any = Some(refreshing.max(failing));
            return Ages { fresh: any, refreshing: any, failing: any };
        }
        Ages { fresh: Some(fresh), refreshing: Some(refreshing), failing: Some(failing) }
    }

    /// The first of a group whose failures all move a request to the second.
    fn sheltered(&self, group: &OriginGroup) -> Option<NodeId> {
        let [first, second] = &group.members;
        let moves = |status: u16| group.failover_codes.iter().any(|code| code.as_u16() == status);
        let are_known = self.origins.contains_key(first) && self.origins.contains_key(second);
        (self.is_lossless && are_known && first != second && FAILURES.into_iter().all(moves))
            .then(|| NodeId::new(Role::Origin, first))
    }
}

impl Promises for Configured {
    fn promise(&self, load: u16, object: u64) -> Promise {
        let Some(asks) = self.loads.get(usize::from(load)) else { return Promise::default() };
        let served = self.distributions.iter().find(|served| **served.id() == *asks.distribution);
        let Some(served) =
            served.filter(|_| [Method::GET, Method::HEAD].iter().any(|method| asks.method == *method.as_str()))
        else {
            return Promise::default();
        };
        let target = path_of(asks, object, self.workload.size_of(load, object));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*target, None),
        };
        let path = served.root_object_for(path).unwrap_or_else(|| path.to_owned());
        let behavior = served.behavior_for(&path);
        let group = served.group(behavior.target());
        let members = match group {
            Some(group) => group.members.as_slice(),
            None => &[behavior.target().to_owned()],
        };
        let ages = members.iter().map(|origin| self.ages(origin, behavior, &path, query)).reduce(longest);
        Promise { ages: ages.unwrap_or_default(), sheltered: group.and_then(|group| self.sheltered(group)) }
    }
}

/// What holds whichever of two it is.
fn longest(one: Ages, other: Ages) -> Ages {
    let longer = |one: Option<Duration>, other: Option<Duration>| Some(one?.max(other?));
    Ages {
        fresh: longer(one.fresh, other.fresh),
        refreshing: longer(one.refreshing, other.refreshing),
        failing: longer(one.failing, other.failing),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{diagnose::Source, scenario::stage};

    fn promise(settings: &str) -> Promise {
        let text = format!(
            "title = \"T\"\n{settings}\nload = [{{ rps = 1, paths = \"/objects/1\" }}]\n\
             expect = [{{ what = \"laws_broken\", max = 0 }}]"
        );
        let source = Source { name: "t.toml".into(), text };
        let staged = stage(source, Path::new(""), None, None).unwrap_or_else(|error| panic!("{error}"));
        Configured::of(&staged, &staged.plan.cluster).unwrap().promise(0, 0)
    }

    const ALONE: &str = "pops = [\"fra\"]\nshield = \"none\"\n";

    #[test]
    fn ages_are_what_origin_and_policy_say() {
        let ages = |rule: &str, policy: &str| {
            let settings = format!(
                "{ALONE}origins.a.rules = [{{ path = \"/*\", query = \"{rule}\" }}]\n\
                 distributions.demo.default = {{ cache_policy = \"{policy}\", target = \"a\" }}"
            );
            let Ages { fresh, refreshing, failing } = promise(&settings).ages;
            [fresh, refreshing, failing].map(|age| age.map(|age| age.as_secs()))
        };
        let rule = "cc=max-age=2,stale-while-revalidate=10,stale-if-error=4";
        assert_eq!(ages(rule, "honour-origin"), [Some(3), Some(13), Some(7)]);
        assert_eq!(ages("cc=no-store", "honour-origin"), [Some(1); 3]);
        // It may be a year.
        assert_eq!(ages("max-age=5", "honour-origin")[0], Some(6));
        assert_eq!(ages("max-age=5", "CachingDisabled"), [Some(1); 3]);
    }

    #[test]
    fn an_origin_is_sheltered_where_every_failure_moves_a_request_to_the_second() {
        let sheltered = |codes: &str| {
            let settings = format!(
                "{ALONE}origins.a = {{}}\norigins.b = {{}}\n\
                 groups.main = {{ members = [\"a\", \"b\"], failover_codes = {codes} }}\n\
                 distributions.demo.default = {{ target = \"main\" }}"
            );
            promise(&settings).sheltered.map(|first| first.to_string())
        };
        assert_eq!(sheltered("[500, 502, 503, 504]").as_deref(), Some("origin.a"));
        assert_eq!(sheltered("[500, 502, 503]"), None);
    }
}
