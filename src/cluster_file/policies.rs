//! Policies as typed: what is in the cache key, and what is forwarded beyond it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Span;

/// A cache policy, with CloudFront's fields and defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CachePolicyFile {
    /// Its id at CloudFront, a UUID. Behaviors may name the policy by it, and an export writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Shortest time in the cache. Default 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_ttl: Option<Span>,
    /// Time in the cache where the origin says nothing. Default 1d, or `min_ttl` where that is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_ttl: Option<Span>,
    /// Longest time in the cache; 0s disables caching. Default 365d, or `default_ttl` where that is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_ttl: Option<Span>,
    /// Headers in the key. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<String>,
    /// Cookies in the key. Default `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookies: Option<SelectionFile>,
    /// Query parameters in the key. Default `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_strings: Option<SelectionFile>,
    /// Whether gzip takes part, normalised: the condition for responses to be compressed with it. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gzip: Option<bool>,
    /// The same for br.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) brotli: Option<bool>,
}

/// An origin request policy, with CloudFront's fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OriginRequestPolicyFile {
    /// Its id at CloudFront, a UUID. Behaviors may name the policy by it, and an export writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Headers of the viewer that are forwarded. Default `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<SelectionFile>,
    /// `CloudFront-*` headers that are added where `headers` is `all`. In a list of `headers` they are named there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cloudfront_headers: Vec<String>,
    /// Cookies that are forwarded. Default `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookies: Option<SelectionFile>,
    /// Query parameters that are forwarded. Default `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_strings: Option<SelectionFile>,
}

/// What of headers, cookies or query parameters: `"none"`, `"all"`, a list of names, or all but some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "write \"none\", \"all\", a list of names, { except = [\"NAME\"] }, or { like = [\"PATTERN*\"] } for cookies"
)]
pub(crate) enum SelectionFile {
    /// Nothing or everything.
    Whole(WholeFile),
    /// These.
    Only(Vec<String>),
    /// All but these.
    Except {
        /// The names.
        except: Vec<String>,
    },
    /// Cookies whose name one of these patterns covers, as in CloudFront's legacy cache settings.
    Like {
        /// The patterns, with `*` and `?` as wildcards.
        like: Vec<String>,
    },
}

/// Nothing or everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WholeFile {
    /// Nothing.
    None,
    /// Everything.
    All,
}
