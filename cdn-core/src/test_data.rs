//! What several modules' tests start from.

use std::collections::BTreeMap;

use crate::{
    distribution::{Behavior, CheckedBehavior, Distribution, DistributionSpec, Origin},
    policies,
};

/// Two origins, one behavior with CachingOptimized.
pub(crate) fn distribution_spec() -> DistributionSpec {
    let origins = BTreeMap::from([
        ("app".to_owned(), Origin::new("app.test:3000")),
        ("spare".to_owned(), Origin::new("spare.test")),
    ]);
    let behavior = Behavior::new("app", policies::cache_policy("CachingOptimized").unwrap());
    DistributionSpec { aliases: vec!["www.demo.test".to_owned()], ..DistributionSpec::new("demo", origins, behavior) }
}

/// A behavior with these managed policies; an empty name is no policy.
pub(crate) fn behavior(cache: &str, origin_request: &str) -> CheckedBehavior {
    let mut spec = distribution_spec();
    spec.default_behavior.cache_policy = policies::cache_policy(cache).unwrap();
    if !origin_request.is_empty() {
        spec.default_behavior.origin_request_policy = policies::origin_request_policy(origin_request).unwrap();
    }
    behavior_of(spec)
}

/// The default behavior of `spec`.
pub(crate) fn behavior_of(spec: DistributionSpec) -> CheckedBehavior {
    Distribution::new(spec).unwrap().behavior_for("/").clone()
}
