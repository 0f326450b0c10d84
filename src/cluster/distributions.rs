//! Origin groups, distributions and their behaviors, checked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cdn_core::{
    distribution::{
        AllowedMethods, Behavior, CachingRules, CheckedBehavior, Diagnostics, Distribution, DistributionSpec,
        FAILOVER_CODES_AWS, OriginGroup, TransportFailover,
    },
    functions::Function,
    http_version::HttpVersion,
    policies::ORIGIN_CACHE_CONTROL,
    security_policy::SecurityPolicy,
    signing::TrustedKeys,
    viewer_protocol::ViewerProtocolPolicy,
};
use edge_node::Compression;
use http::StatusCode;
use indexmap::IndexMap;

use super::{
    OriginPlan, check_id, continuous_deployment::continuous_deployment_of, error_pages::error_pages_of,
    geo_restriction::geo_restriction_of, policies::Policies, response_headers::ResponseHeadersPolicies,
    settings::choice,
};
use crate::{
    cluster_file::{BehaviorFile, ClusterFile, DEMO, DistributionFile, GroupFile, MethodsFile, TransportFailoverFile},
    diagnose::{KeyError, nearest_or_all},
    quantity::Span,
};

pub(super) fn groups_of(
    file: &ClusterFile,
    origins: &IndexMap<String, OriginPlan>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, OriginGroup>, KeyError> {
    let mut files = file.groups.clone();
    let built_in = file.origins.is_empty();
    if files.is_empty() && built_in {
        let members = ["primary".to_owned(), "secondary".to_owned()];
        files.insert(
            "main".into(),
            GroupFile { members, failover_codes: None, on_transport_error: None, cloudfront: IndexMap::new() },
        );
    }
    let mut groups = BTreeMap::new();
    for (id, written) in &files {
        check_id(&format!("groups.{id}"), id)?;
        if origins.contains_key(id) {
            return Err(KeyError::new(&format!("groups.{id}"), format!("{id:?} is an origin already")));
        }
        for (at, member) in written.members.iter().enumerate() {
            if !origins.contains_key(member) {
                let hint = nearest_or_all(member, origins.keys().map(String::as_str));
                let key = format!("groups.{id}.members.{at}");
                return Err(KeyError { hint, ..KeyError::new(&key, format!("no origin {member:?}")) });
            }
        }
        if written.members[0] == written.members[1] {
            return Err(KeyError::new(&format!("groups.{id}.members"), "the two members are the same origin"));
        }
        let mut codes = Vec::new();
        for (at, code) in written.failover_codes.as_deref().unwrap_or(&[500, 502, 503, 504]).iter().enumerate() {
            let key = format!("groups.{id}.failover_codes.{at}");
            let status = StatusCode::from_u16(*code)
                .ok()
                .filter(|_| (400..=599).contains(code))
                .ok_or_else(|| KeyError::new(&key, format!("{code} is not a status from 400 to 599")))?;
            if !FAILOVER_CODES_AWS.contains(code) {
                warnings.push(format!("groups.{id}: AWS does not offer {code} as a failover code"));
            }
            codes.push(status);
        }
        let primary = origins.get(&written.members[0]);
        if let Some(plan) = primary {
            let silence = plan.origin.connection_timeout * u32::from(plan.origin.connection_attempts);
            if silence >= Duration::from_secs(30) {
                let member = &written.members[0];
                warnings.push(format!(
                    "group {id}: when {member} is silent, viewers wait {} × {} = {} before failover; \
                     connection_attempts = 1 and connection_timeout = \"2s\" under [origins.{member}] make it 2 s",
                    plan.origin.connection_attempts,
                    Span(plan.origin.connection_timeout),
                    Span(silence),
                ));
            }
        }
        let on_transport_error = match written.on_transport_error {
            Some(TransportFailoverFile::Always) => TransportFailover::Always,
            Some(TransportFailoverFile::Documented) | None => TransportFailover::Documented,
        };
        let members = written.members.clone();
        groups.insert(id.clone(), OriginGroup { members, failover_codes: codes, on_transport_error });
    }
    Ok(groups)
}

/// What behaviors name.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) origins: &'a IndexMap<String, OriginPlan>,
    pub(super) groups: &'a BTreeMap<String, OriginGroup>,
    pub(super) key_groups: &'a BTreeMap<String, TrustedKeys>,
    pub(super) policies: &'a Policies,
    pub(super) functions: &'a BTreeMap<String, Arc<Function>>,
}

pub(super) fn distributions_of(
    file: &ClusterFile,
    named: Named<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Arc<Distribution>>, KeyError> {
    let Named { origins, groups, key_groups, functions, .. } = named;
    let mut files = file.distributions.clone();
    if files.is_empty() {
        files.insert(DEMO.into(), DistributionFile::default());
    }
    let first_group =
        file.groups.keys().next().map(String::as_str).or_else(|| groups.keys().next().map(String::as_str));
    let default_target = first_group
        .or_else(|| origins.keys().next().map(String::as_str))
        .ok_or_else(|| KeyError::new("origins", "a world needs at least one origin"))?
        .to_owned();
    let response_headers = ResponseHeadersPolicies::of(file)?;
    let mut hosts_seen: BTreeMap<String, String> = BTreeMap::new();
    let mut distributions = Vec::new();
    for (id, written) in &files {
        let key = |field: &str| format!("distributions.{id}.{field}");
        check_id(&format!("distributions.{id}"), id)?;
        let hosts = written.hosts_of(id);
        for (at, host) in hosts.iter().enumerate() {
            let key = key(&format!("hosts.{at}"));
            let host = host.to_ascii_lowercase();
            if !host.ends_with(".test") {
                return Err(KeyError::new(&key, format!("{host:?} does not end in .test"))
                    .hint("names of a world are .test names, so that they can never be somebody's real ones"));
            }
            if let Some(other) = hosts_seen.insert(host.clone(), id.clone()) {
                return Err(KeyError::new(&key, format!("{host:?} belongs to distribution {other:?} already")));
            }
        }
        let behavior = |key: &str, file: &BehaviorFile, pattern: &str| {
            behavior_of(key, file, pattern, &default_target, named, &response_headers)
        };
        let mut behaviors = Vec::new();
        for (at, file) in written.behaviors.iter().enumerate() {
            let here = key(&format!("behaviors.{at}"));
            let pattern = file
                .path
                .as_deref()
                .ok_or_else(|| KeyError::new(&here, "a behavior needs a path").hint("path = \"/api/*\""))?;
            behaviors.push(behavior(&here, file, pattern)?);
        }
        if written.default.path.is_some() {
            return Err(KeyError::new(&key("default.path"), "the default behavior has no path"));
        }
        let mut diagnostics = Diagnostics::default();
        for (written, into) in [
            (written.cache_status, &mut diagnostics.cache_status),
            (written.proxy_status, &mut diagnostics.proxy_status),
            (written.server_timing, &mut diagnostics.server_timing),
            (written.reason, &mut diagnostics.reason),
        ] {
            *into = written.unwrap_or(*into);
        }
        let name = written.security_policy.as_deref();
        let policies = SecurityPolicy::ALL;
        let security_policy = choice(&key("security_policy"), name, policies, SecurityPolicy::as_str)?;
        if !security_policy.is_exact() {
            warnings.push(format!(
                "distributions.{id}: {security_policy} allows more than any library that is well kept can: viewers \
                 may speak what TLSv1.2_2021 allows"
            ));
        }
        let written_version = written.http_version.as_deref();
        let http_version = choice(&key("http_version"), written_version, HttpVersion::ALL, HttpVersion::as_str)?;
        let spec = DistributionSpec {
            id: id.clone(),
            aliases: hosts,
            enabled: written.enabled.unwrap_or(true),
            default_root_object: written.default_root_object.clone().unwrap_or_default(),
            origins: origins.iter().map(|(id, plan)| (id.clone(), plan.origin.clone())).collect(),
            groups: groups.clone(),
            security_policy,
            http_version,
            key_groups: key_groups.clone(),
            functions: functions.clone(),
            behaviors,
            error_pages: error_pages_of(&key("error_pages"), &written.error_pages)?,
            geo_restriction: geo_restriction_of(&format!("distributions.{id}"), written)?,
            continuous_deployment: continuous_deployment_of(
                &key("continuous_deployment"),
                written.continuous_deployment.as_ref(),
                &files,
            )?,
            log_cookies: written.log_cookies.unwrap_or(false),
            default_behavior: behavior(&key("default"), &written.default, "*")?,
            diagnostics,
        };
        let distribution = Distribution::new(spec)
            .map_err(|error| KeyError::new(&format!("distributions.{id}"), error.to_string()))?;
        distributions.push(Arc::new(distribution));
    }
    Ok(distributions)
}

/// A warning for each behavior that wants HTTPS of viewers, for a world whose edges speak none.
pub(super) fn unserved_without_https(distribution: &Distribution) -> Vec<String> {
    let all = distribution.behaviors().iter().map(CheckedBehavior::spec);
    let want_https = all.filter(|behavior| behavior.viewer_protocol != ViewerProtocolPolicy::AllowAll);
    let warning = |behavior: &Behavior| {
        let Behavior { path_pattern, viewer_protocol, .. } = behavior;
        let id = distribution.id();
        format!(
            "distributions.{id}: {path_pattern} is {viewer_protocol}, and edges speak no HTTPS, as [edge] https says: \
             nobody is served there"
        )
    };
    want_https.map(warning).collect()
}

fn behavior_of(
    key: &str,
    file: &BehaviorFile,
    pattern: &str,
    default_target: &str,
    named: Named<'_>,
    response_headers: &ResponseHeadersPolicies,
) -> Result<Behavior, KeyError> {
    let Named { origins, groups, key_groups, policies, functions } = named;
    let target = file.target.as_deref().unwrap_or(default_target);
    if !origins.contains_key(target) && !groups.contains_key(target) {
        let names = origins.keys().chain(groups.keys()).map(String::as_str);
        let hint = nearest_or_all(target, names);
        let message = format!("no origin or group {target:?}");
        return Err(KeyError { hint, ..KeyError::new(&format!("{key}.target"), message) });
    }
    let name = file.cache_policy.as_deref().unwrap_or(ORIGIN_CACHE_CONTROL);
    let mut cache_policy = policies.cache(&format!("{key}.cache_policy"), name)?;
    cache_policy.zstd = file.zstd.unwrap_or(false);
    if cache_policy.zstd && !Compression::HAS_ZSTD {
        return Err(KeyError::new(&format!("{key}.zstd"), "this build cannot compress with zstd")
            .hint("cargo build --release --features zstd"));
    }
    // A plain shared cache passes everything on, whatever it is.
    let (all_methods, all_headers) = match cache_policy.rules {
        CachingRules::CloudFront => (AllowedMethods::All, "AllViewerExceptHostHeader"),
        CachingRules::Origin => (AllowedMethods::Any, "AllViewer"),
    };
    let name = file.origin_request_policy.as_deref().unwrap_or(all_headers);
    let origin_request_policy = policies.origin_request(&format!("{key}.origin_request_policy"), name)?;
    for (at, group) in file.trusted_key_groups.iter().enumerate() {
        if !key_groups.contains_key(group) {
            let hint = nearest_or_all(group, key_groups.keys().map(String::as_str));
            let hint = hint.or_else(|| Some(format!("iso keys new {group} makes a key, and says what to write here")));
            let key = format!("{key}.trusted_key_groups.{at}");
            return Err(KeyError { hint, ..KeyError::new(&key, format!("no key group {group:?}")) });
        }
    }
    for (trigger, function) in [("viewer_request", &file.viewer_request), ("viewer_response", &file.viewer_response)] {
        if let Some(name) = function.as_ref().filter(|name| !functions.contains_key(*name)) {
            let hint = nearest_or_all(name, functions.keys().map(String::as_str));
            let message = format!("no function {name:?}");
            return Err(KeyError { hint, ..KeyError::new(&format!("{key}.{trigger}"), message) });
        }
    }
    Ok(Behavior {
        path_pattern: pattern.to_owned(),
        allowed_methods: match file.methods {
            None => all_methods,
            Some(MethodsFile::Read) => AllowedMethods::Read,
            Some(MethodsFile::ReadOptions) => AllowedMethods::ReadOptions,
            Some(MethodsFile::All) => AllowedMethods::All,
            Some(MethodsFile::Any) => AllowedMethods::Any,
        },
        cache_options: file.cache_options.unwrap_or(false),
        compress: file.compress.unwrap_or(true),
        origin_request_policy,
        viewer_protocol: choice(
            &format!("{key}.viewer_protocol"),
            file.viewer_protocol.as_deref(),
            ViewerProtocolPolicy::ALL,
            ViewerProtocolPolicy::as_str,
        )?,
        response_headers_policy: response_headers
            .named(&format!("{key}.response_headers_policy"), file.response_headers_policy.as_deref())?,
        trusted_key_groups: file.trusted_key_groups.clone(),
        viewer_request: file.viewer_request.clone(),
        viewer_response: file.viewer_response.clone(),
        ..Behavior::new(target, cache_policy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;

    fn behavior(written: BehaviorFile) -> Result<Behavior, KeyError> {
        let mut file = ClusterFile::default();
        file.distributions.insert("demo".into(), DistributionFile { default: written, ..Default::default() });
        let cluster = Cluster::check(&file, &Default::default())?;
        Ok(cluster.distributions[0].behavior_for("/").spec().clone())
    }

    #[test]
    fn behaviors_compress_unless_told_otherwise() {
        let default = behavior(BehaviorFile::default()).unwrap();
        assert_eq!((default.compress, default.cache_policy.zstd), (true, false));
        assert!(!behavior(BehaviorFile { compress: Some(false), ..Default::default() }).unwrap().compress);
    }

    #[test]
    fn behaviors_that_want_https_are_warned_of_where_there_is_none() {
        for (policy, https, warned) in [
            ("redirect-to-https", false, true),
            ("https-only", false, true),
            ("allow-all", false, false),
            ("https-only", true, false),
        ] {
            let mut file = ClusterFile::default();
            let default = BehaviorFile { viewer_protocol: Some(policy.into()), ..Default::default() };
            file.distributions.insert("demo".into(), DistributionFile { default, ..Default::default() });
            file.edge.https = Some(https);
            let warnings = Cluster::check(&file, &Default::default()).unwrap().warnings;
            assert_eq!(
                warnings.iter().any(|warning| warning.contains(&format!("* is {policy}"))),
                warned,
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn zstd_is_offered_by_builds_that_have_it() {
        let offered = behavior(BehaviorFile { zstd: Some(true), ..Default::default() })
            .map(|behavior| behavior.cache_policy.zstd)
            .map_err(|error| error.key.join("."));
        let refused = Err("distributions.demo.default.zstd".to_owned());
        assert_eq!(offered, if Compression::HAS_ZSTD { Ok(true) } else { refused });
    }
}
