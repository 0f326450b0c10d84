//! What several modules' tests start from.

use std::collections::BTreeMap;

use crate::{
    distribution::{
        AllowedMethods, Behavior, CheckedBehavior, Diagnostics, Distribution, DistributionSpec, Origin,
        OriginRequestPolicy,
    },
    policies,
};

/// Two origins, one behavior with CachingOptimized.
pub(crate) fn distribution_spec() -> DistributionSpec {
    DistributionSpec {
        id: "demo".to_owned(),
        aliases: vec!["www.demo.test".to_owned()],
        default_root_object: String::new(),
        origins: BTreeMap::from([
            ("app".to_owned(), Origin::new("app.test:3000")),
            ("spare".to_owned(), Origin::new("spare.test")),
        ]),
        groups: BTreeMap::new(),
        behaviors: Vec::new(),
        default_behavior: Behavior {
            path_pattern: "*".to_owned(),
            target: "app".to_owned(),
            allowed_methods: AllowedMethods::Read,
            cache_options: false,
            compress: true,
            cache_policy: policies::cache_policy("CachingOptimized").unwrap(),
            origin_request_policy: OriginRequestPolicy::default(),
        },
        diagnostics: Diagnostics::default(),
    }
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
