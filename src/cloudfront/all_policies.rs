//! Every policy that behaviors of a world may name, as CloudFront's API tells of them: the managed ones, and the world's own.

use cdn_core::{
    policies::{
        self, CACHE_POLICIES, HONOUR_ORIGIN, ORIGIN_CACHE_CONTROL, ORIGIN_REQUEST_POLICIES, RESPONSE_HEADERS_POLICIES,
    },
    response_headers::cors::Cors,
};
use control_plane::{DescribedPolicy, PolicyFamily};
use http::header;
use serde_json::Value as Json;

use super::policy::{PolicyKind, cache_policy_json, id_of_policy, origin_request_policy_json};
use super::response_headers::response_headers_policy_json;
use crate::{
    cluster::{cache_policy_of, origin_request_policy_of},
    cluster_file::{
        ClusterFile, CorsFile, ResponseHeadersPolicyFile, SecurityHeadersFile, SecuritySwitchFile, SecurityValueFile,
        StrictTransportSecurityFile, XssProtectionFile,
    },
    diagnose::KeyError,
    quantity::Span,
};

/// Them all. Those that legacy settings came to are no policies at CloudFront and are left out.
///
/// # Errors
/// A policy of the file is none.
pub(crate) fn all_policies(file: &ClusterFile) -> Result<Vec<DescribedPolicy>, KeyError> {
    let mut all = Vec::new();
    for row in CACHE_POLICIES {
        all.push(described(PolicyFamily::Cache, true, &cache_policy_json(&row.policy(), row.id)));
    }
    for name in [ORIGIN_CACHE_CONTROL, HONOUR_ORIGIN] {
        let id = id_of_policy(PolicyKind::Cache, name, None);
        let policy = policies::cache_policy(name);
        all.extend(policy.map(|policy| described(PolicyFamily::Cache, false, &cache_policy_json(&policy, &id))));
    }
    for (name, written) in file.cache_policies.iter().filter(|(name, _)| !name.starts_with("legacy-")) {
        let policy = cache_policy_of(&format!("cache_policies.{name}"), name, written)?;
        let id = id_of_policy(PolicyKind::Cache, name, written.id.as_deref());
        all.push(described(PolicyFamily::Cache, false, &cache_policy_json(&policy, &id)));
    }
    for row in ORIGIN_REQUEST_POLICIES {
        all.push(described(PolicyFamily::OriginRequest, true, &origin_request_policy_json(&row.policy(), row.id)));
    }
    for (name, written) in file.origin_request_policies.iter().filter(|(name, _)| !name.starts_with("legacy-")) {
        let policy = origin_request_policy_of(&format!("origin_request_policies.{name}"), name, written)?;
        let id = id_of_policy(PolicyKind::OriginRequest, name, written.id.as_deref());
        all.push(described(PolicyFamily::OriginRequest, false, &origin_request_policy_json(&policy, &id)));
    }
    for row in RESPONSE_HEADERS_POLICIES {
        let json = response_headers_policy_json(row.name, &managed_response_headers(row.name), row.id);
        all.push(described(PolicyFamily::ResponseHeaders, true, &json));
    }
    for (name, written) in &file.response_headers_policies {
        let id = id_of_policy(PolicyKind::ResponseHeaders, name, written.id.as_deref());
        let json = response_headers_policy_json(name, written, &id);
        all.push(described(PolicyFamily::ResponseHeaders, false, &json));
    }
    Ok(all)
}

/// A policy of what `get-cache-policy` and its kin print.
fn described(family: PolicyFamily, is_managed: bool, json: &Json) -> DescribedPolicy {
    let policy = &json[family.as_str()];
    let mut config = policy[format!("{}Config", family.as_str())].clone();
    // CloudFront's own are called so by its API alone.
    if let (true, Some(name)) = (is_managed, config["Name"].as_str()) {
        config["Name"] = format!("Managed-{name}").into();
    }
    let id = policy["Id"].as_str().unwrap_or_default().to_owned();
    DescribedPolicy { family, id, is_managed, config }
}

/// A managed response headers policy as somebody would type it.
fn managed_response_headers(name: &str) -> ResponseHeadersPolicyFile {
    let Some(policy) = policies::response_headers_policy(name) else { return ResponseHeadersPolicyFile::default() };
    let cors = policy.cors.map(|Cors { allow_methods, expose_headers, .. }| CorsFile {
        allow_methods,
        expose_headers,
        ..CorsFile::default()
    });
    let year = Span(std::time::Duration::from_secs(31_536_000));
    let mut security = SecurityHeadersFile::default();
    for line in &policy.security {
        let overrides = line.overrides.then_some(true);
        let value = || SecurityValueFile { value: line.value.to_str().unwrap_or_default().to_owned(), overrides };
        match line.name {
            header::REFERRER_POLICY => security.referrer_policy = Some(value()),
            header::X_FRAME_OPTIONS => security.frame_options = Some(value()),
            header::X_CONTENT_TYPE_OPTIONS => security.content_type_options = Some(SecuritySwitchFile { overrides }),
            header::STRICT_TRANSPORT_SECURITY => {
                security.strict_transport_security = Some(StrictTransportSecurityFile {
                    max_age: year,
                    include_subdomains: None,
                    preload: None,
                    overrides,
                });
            }
            header::X_XSS_PROTECTION => {
                let mode_block = Some(true);
                security.xss_protection = Some(XssProtectionFile { mode_block, overrides, ..Default::default() });
            }
            _ => {}
        }
    }
    let security = (security != SecurityHeadersFile::default()).then_some(security);
    ResponseHeadersPolicyFile { cors, security, ..ResponseHeadersPolicyFile::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::response_headers_policy_of;

    #[test]
    fn managed_response_headers_are_told_as_they_are_served() {
        for row in RESPONSE_HEADERS_POLICIES {
            let typed = response_headers_policy_of("", row.name, &managed_response_headers(row.name)).unwrap();
            let served = row.policy();
            assert_eq!(typed.cors, served.cors, "{}", row.name);
            let lines = |headers: &[cdn_core::response_headers::PolicyHeader]| {
                let mut lines: Vec<_> =
                    headers.iter().map(|line| (line.name.to_string(), line.value.clone(), line.overrides)).collect();
                lines.sort();
                lines
            };
            assert_eq!(lines(&typed.security), lines(&served.security), "{}", row.name);
        }
    }

    #[test]
    fn all_that_behaviors_may_name_are_told_each_by_an_id_of_its_own() {
        let text = "[cache_policies.mine]\nmax_ttl = \"60s\"\n[cache_policies.legacy-1]\n\
                    [origin_request_policies.all]\nheaders = \"all\"\n[response_headers_policies.extra]\nremove = [\"X-A\"]\n";
        let file: ClusterFile = toml::from_str(text).unwrap();
        let all = all_policies(&file).unwrap();
        let of =
            |family, is_managed| all.iter().filter(|one| (one.family, one.is_managed) == (family, is_managed)).count();
        assert_eq!((of(PolicyFamily::Cache, true), of(PolicyFamily::Cache, false)), (7, 3));
        assert_eq!((of(PolicyFamily::OriginRequest, true), of(PolicyFamily::OriginRequest, false)), (8, 1));
        assert_eq!((of(PolicyFamily::ResponseHeaders, true), of(PolicyFamily::ResponseHeaders, false)), (5, 1));
        let ids: std::collections::BTreeSet<_> = all.iter().map(|one| &one.id).collect();
        assert_eq!(ids.len(), all.len());
        let first = &all[0];
        assert_eq!(first.config["Name"], "Managed-CachingOptimized");
        assert_eq!((first.id.as_str(), &first.config["MinTTL"]), ("658327ea-f89d-4fab-a63d-7e88639e58f6", &1.into()));
    }
}
