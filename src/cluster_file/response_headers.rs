//! Response headers policies as typed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Span;

/// What is put on responses and taken off them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ResponseHeadersPolicyFile {
    /// Its id at CloudFront, a UUID, which an export writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Headers of the origin that are removed, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<String>,
    /// CORS headers, for requests with `Origin`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<CorsFile>,
    /// Security headers. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) security: Option<SecurityHeadersFile>,
    /// Headers of your own, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) custom: Vec<CustomHeaderFile>,
    /// Percent of responses that carry CloudFront's `Server-Timing`, with up to four decimals; `Pragma: server-timing` in
    /// the request always asks for it. Default: none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_timing: Option<f64>,
}

/// CORS headers of a response headers policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CorsFile {
    /// Who may read responses: `*`, or origins such as `https://*.example.com`. Default `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_origins: Option<Vec<String>>,
    /// What preflights allow: GET, HEAD, OPTIONS, PUT, PATCH, POST, DELETE, or `ALL`. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_methods: Vec<String>,
    /// Request headers that preflights allow; `*` for any. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_headers: Vec<String>,
    /// Response headers that scripts may read; `*` for all. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) expose_headers: Vec<String>,
    /// Whether requests may carry cookies. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_credentials: Option<bool>,
    /// How long browsers may keep the answer to a preflight. Default: not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Span>,
    /// Whether these take the place of the origin's. Default false: an origin that sends any CORS header keeps its own.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub(crate) overrides: Option<bool>,
}

/// Security headers of a response headers policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecurityHeadersFile {
    /// `Strict-Transport-Security`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict_transport_security: Option<StrictTransportSecurityFile>,
    /// `Content-Security-Policy`, at most 1,783 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_security_policy: Option<SecurityValueFile>,
    /// `X-Frame-Options`: DENY or SAMEORIGIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame_options: Option<SecurityValueFile>,
    /// `Referrer-Policy`, such as `strict-origin-when-cross-origin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) referrer_policy: Option<SecurityValueFile>,
    /// `X-Content-Type-Options: nosniff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type_options: Option<SecuritySwitchFile>,
    /// `X-XSS-Protection`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) xss_protection: Option<XssProtectionFile>,
}

/// A security header with a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecurityValueFile {
    /// Its value.
    pub(crate) value: String,
    /// Whether it takes the place of the origin's. Default false.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub(crate) overrides: Option<bool>,
}

/// A security header that has one value only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecuritySwitchFile {
    /// Whether it takes the place of the origin's. Default false.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub(crate) overrides: Option<bool>,
}

/// `Strict-Transport-Security`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StrictTransportSecurityFile {
    /// How long browsers keep to HTTPS, such as 365d.
    pub(crate) max_age: Span,
    /// Whether names below are meant too. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) include_subdomains: Option<bool>,
    /// Whether browsers may be built with it. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) preload: Option<bool>,
    /// Whether it takes the place of the origin's. Default false.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub(crate) overrides: Option<bool>,
}

/// `X-XSS-Protection`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct XssProtectionFile {
    /// `1` (true) or `0`. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protection: Option<bool>,
    /// `mode=block`. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode_block: Option<bool>,
    /// Where browsers report; not beside `mode_block`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) report_uri: Option<String>,
    /// Whether it takes the place of the origin's. Default false.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub(crate) overrides: Option<bool>,
}

/// A header of a response headers policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustomHeaderFile {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
    /// Whether it takes the place of the origin's. Default false.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub(crate) overrides: Option<bool>,
}
