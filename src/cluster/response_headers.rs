//! Response headers policies, checked.

use std::collections::BTreeMap;

use cdn_core::{
    policies::{self, RESPONSE_HEADERS_POLICIES},
    response_headers::{
        PolicyHeader, ResponseHeadersError, ResponseHeadersPolicy, SAMPLES,
        cors::{Cors, METHODS, OriginPattern},
        security::{
            CONTENT_SECURITY_POLICY_MAX, FRAME_OPTIONS, REFERRER_POLICIES, StrictTransportSecurity, xss_protection,
        },
    },
};
use http::{HeaderName, HeaderValue, header};

use super::check_id;
use crate::{
    cluster_file::{
        ClusterFile, CorsFile, ResponseHeadersPolicyFile, SecurityHeadersFile, SecurityValueFile,
        StrictTransportSecurityFile, XssProtectionFile,
    },
    diagnose::{KeyError, nearest_or_all},
};

/// The policies of a file, by name.
pub(super) struct ResponseHeadersPolicies(BTreeMap<String, ResponseHeadersPolicy>);

impl ResponseHeadersPolicies {
    /// Reads `[response_headers_policies]`.
    ///
    /// # Errors
    /// The first thing in them that cannot be.
    pub(super) fn of(file: &ClusterFile) -> Result<Self, KeyError> {
        let mut all = BTreeMap::new();
        for (name, written) in &file.response_headers_policies {
            let key = format!("response_headers_policies.{name}");
            check_id(&key, name)?;
            all.insert(name.clone(), response_headers_policy_of(&key, name, written)?);
        }
        Ok(Self(all))
    }

    /// The policy that is named at `key`, if one is: the file's own, or a managed one.
    pub(super) fn named(&self, key: &str, name: Option<&str>) -> Result<Option<ResponseHeadersPolicy>, KeyError> {
        let Some(name) = name.filter(|name| !matches!(*name, "" | "none")) else { return Ok(None) };
        let found = self.0.get(name).cloned().or_else(|| policies::response_headers_policy(name));
        found.map(Some).ok_or_else(|| {
            let managed = RESPONSE_HEADERS_POLICIES.iter().map(|policy| policy.name);
            let hint = nearest_or_all(name, self.0.keys().map(String::as_str).chain(managed));
            KeyError { hint, ..KeyError::new(key, format!("no response headers policy {name:?}")) }
        })
    }
}

/// The response headers policy `name`, which stands at `key`.
///
/// # Errors
/// What CloudFront would refuse.
pub(crate) fn response_headers_policy_of(
    key: &str,
    name: &str,
    file: &ResponseHeadersPolicyFile,
) -> Result<ResponseHeadersPolicy, KeyError> {
    let mut remove = Vec::new();
    for (at, text) in file.remove.iter().enumerate() {
        remove.push(header_name(&format!("{key}.remove.{at}"), text)?);
    }
    let mut custom = Vec::new();
    for (at, header) in file.custom.iter().enumerate() {
        custom.push(PolicyHeader {
            name: header_name(&format!("{key}.custom.{at}.name"), &header.name)?,
            value: header_value(&format!("{key}.custom.{at}.value"), &header.value)?,
            overrides: header.overrides.unwrap_or(false),
        });
    }
    let policy = ResponseHeadersPolicy {
        name: name.to_owned(),
        remove,
        cors: file.cors.as_ref().map(|cors| cors_of(&format!("{key}.cors"), cors)).transpose()?,
        security: match &file.security {
            Some(security) => security_of(&format!("{key}.security"), security)?,
            None => Vec::new(),
        },
        custom,
        server_timing: match file.server_timing {
            Some(percent) if !(0.0..=100.0).contains(&percent) => {
                let error = ResponseHeadersError::SamplingRate;
                return Err(KeyError::new(&format!("{key}.server_timing"), error.to_string()));
            }
            // Within 0 and a million.
            Some(percent) => Some((percent / 100.0 * f64::from(SAMPLES)).round() as u32),
            None => None,
        },
    };
    policy.check().map_err(|error| KeyError::new(key, error.to_string()))?;
    Ok(policy)
}

fn cors_of(key: &str, file: &CorsFile) -> Result<Cors, KeyError> {
    let mut allow_origins = Vec::new();
    let anybody = ["*".to_owned()];
    for (at, text) in file.allow_origins.as_deref().unwrap_or(&anybody).iter().enumerate() {
        let pattern = OriginPattern::parse(text);
        let key = format!("{key}.allow_origins.{at}");
        allow_origins.push(pattern.map_err(|error| KeyError::new(&key, format!("{text:?}: {error}")))?);
    }
    let mut allow_methods = Vec::new();
    for (at, method) in file.allow_methods.iter().enumerate() {
        match method.as_str() {
            "ALL" => allow_methods = METHODS.map(str::to_owned).into(),
            known if METHODS.contains(&known) => allow_methods.push(method.clone()),
            _ => {
                let hint = nearest_or_all(method, METHODS.into_iter().chain(["ALL"]));
                let key = format!("{key}.allow_methods.{at}");
                return Err(KeyError { hint, ..KeyError::new(&key, format!("no method {method:?}")) });
            }
        }
    }
    let names = |field: &str, names: &[String]| -> Result<Vec<String>, KeyError> {
        for (at, name) in names.iter().enumerate().filter(|(_, name)| *name != "*") {
            header_name(&format!("{key}.{field}.{at}"), name)?;
        }
        Ok(names.to_vec())
    };
    let allow_credentials = file.allow_credentials.unwrap_or(false);
    if allow_credentials && allow_origins.contains(&OriginPattern::Any) {
        return Err(KeyError::new(&format!("{key}.allow_credentials"), "no browser takes credentials for origins `*`")
            .hint("allow_origins = [\"https://app.example.com\"]"));
    }
    Ok(Cors {
        allow_origins,
        allow_methods,
        allow_headers: names("allow_headers", &file.allow_headers)?,
        expose_headers: names("expose_headers", &file.expose_headers)?,
        allow_credentials,
        max_age: file.max_age.map(|span| span.0),
        overrides: file.overrides.unwrap_or(false),
    })
}

fn security_of(key: &str, file: &SecurityHeadersFile) -> Result<Vec<PolicyHeader>, KeyError> {
    let mut headers = Vec::new();
    let mut add = |name: HeaderName, value: HeaderValue, overrides: Option<bool>| {
        headers.push(PolicyHeader { name, value, overrides: overrides.unwrap_or(false) });
    };
    let one_of = |field: &str, written: &SecurityValueFile, all: &[&str]| {
        let key = format!("{key}.{field}.value");
        if !all.contains(&written.value.as_str()) {
            let hint = nearest_or_all(&written.value, all.iter().copied());
            return Err(KeyError { hint, ..KeyError::new(&key, format!("no {:?} here", written.value)) });
        }
        header_value(&key, &written.value)
    };
    if let Some(StrictTransportSecurityFile { max_age, include_subdomains, preload, overrides }) =
        &file.strict_transport_security
    {
        let transport = StrictTransportSecurity {
            max_age: max_age.0,
            include_subdomains: include_subdomains.unwrap_or(false),
            preload: preload.unwrap_or(false),
        };
        add(header::STRICT_TRANSPORT_SECURITY, transport.value(), *overrides);
    }
    if let Some(written) = &file.content_security_policy {
        let key = format!("{key}.content_security_policy.value");
        if written.value.len() > CONTENT_SECURITY_POLICY_MAX {
            let count = written.value.len();
            return Err(KeyError::new(&key, format!("{count} characters; at most {CONTENT_SECURITY_POLICY_MAX}")));
        }
        add(header::CONTENT_SECURITY_POLICY, header_value(&key, &written.value)?, written.overrides);
    }
    if let Some(written) = &file.frame_options {
        add(header::X_FRAME_OPTIONS, one_of("frame_options", written, &FRAME_OPTIONS)?, written.overrides);
    }
    if let Some(written) = &file.referrer_policy {
        add(header::REFERRER_POLICY, one_of("referrer_policy", written, &REFERRER_POLICIES)?, written.overrides);
    }
    if let Some(written) = &file.content_type_options {
        add(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"), written.overrides);
    }
    if let Some(XssProtectionFile { protection, mode_block, report_uri, overrides }) = &file.xss_protection {
        let (protect, block) = (protection.unwrap_or(true), mode_block.unwrap_or(false));
        let value = xss_protection(protect, block, report_uri.as_deref()).ok_or_else(|| {
            let key = format!("{key}.xss_protection");
            KeyError::new(&key, "either mode_block or report_uri, and neither without protection")
        })?;
        add(header::X_XSS_PROTECTION, value, *overrides);
    }
    Ok(headers)
}

fn header_name(key: &str, text: &str) -> Result<HeaderName, KeyError> {
    text.parse().map_err(|_| KeyError::new(key, format!("{text:?} is no header's name")))
}

fn header_value(key: &str, text: &str) -> Result<HeaderValue, KeyError> {
    HeaderValue::from_str(text).map_err(|_| KeyError::new(key, format!("{text:?} can be no header's value")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::Cluster,
        diagnose::{Source, read_cluster},
    };

    /// The policy of the only behavior, or what is wrong.
    fn check(text: &str) -> Result<ResponseHeadersPolicy, String> {
        let text = format!("[distributions.demo.default]\nresponse_headers_policy = \"mine\"\n{text}");
        let source = Source { name: "cluster.toml".into(), text };
        let file = read_cluster(&source).map_err(|complaint| complaint.to_string())?;
        let cluster = Cluster::check(&file, &Default::default())
            .map_err(|error| format!("{}: {}", error.key.join("."), error.message))?;
        Ok(cluster.distributions[0].behavior_for("/").response_headers().unwrap().as_ref().clone())
    }

    #[test]
    fn a_policy_of_ones_own_has_every_part() {
        let policy = check(
            "[response_headers_policies.mine]\n\
             remove = [\"X-Powered-By\"]\n\
             custom = [{ name = \"X-Own\", value = \"1\", override = true }]\n\
             server_timing = 12.5\n\
             [response_headers_policies.mine.cors]\n\
             allow_origins = [\"https://*.app.test\"]\n\
             allow_methods = [\"ALL\"]\n\
             max_age = \"10m\"\n\
             [response_headers_policies.mine.security]\n\
             strict_transport_security = { max_age = \"365d\", include_subdomains = true }\n\
             frame_options = { value = \"DENY\", override = true }\n\
             xss_protection = { mode_block = true }\n",
        )
        .unwrap();
        let header = |name: HeaderName, value: &'static str, overrides| PolicyHeader {
            name,
            value: HeaderValue::from_static(value),
            overrides,
        };
        assert_eq!(policy.server_timing, Some(125_000));
        assert_eq!(policy.custom, [header(HeaderName::from_static("x-own"), "1", true)]);
        assert_eq!(
            policy.security,
            [
                header(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains", false),
                header(header::X_FRAME_OPTIONS, "DENY", true),
                header(header::X_XSS_PROTECTION, "1; mode=block", false),
            ]
        );
        assert_eq!(policy.cors.unwrap().allow_methods, METHODS);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        for (text, says) in [
            ("", "distributions.demo.default.response_headers_policy: no response headers policy \"mine\""),
            ("[response_headers_policies.mine]\nremove = [\"Via\"]", "response_headers_policies.mine: the header via"),
            (
                "[response_headers_policies.mine]\nserver_timing = 101.0",
                "response_headers_policies.mine.server_timing: a",
            ),
            (
                "[response_headers_policies.mine.cors]\nallow_origins = [\"a.*.test\"]",
                "response_headers_policies.mine.cors.allow_origins.0: \"a.*.test\": it is not an origin",
            ),
            (
                "[response_headers_policies.mine.cors]\nallow_credentials = true",
                "response_headers_policies.mine.cors.allow_credentials: no browser",
            ),
            (
                "[response_headers_policies.mine.security]\nframe_options = { value = \"ALLOW\" }",
                "response_headers_policies.mine.security.frame_options.value: no \"ALLOW\" here",
            ),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
