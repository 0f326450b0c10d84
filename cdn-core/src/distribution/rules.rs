//! What makes a distribution contradict itself, and what is merely surprising.
//!
//! The rules are CloudFront's, with its quotas; each function checks one part and names the first thing that is wrong.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http::{HeaderName, header};

use super::{Behavior, CachePolicy, DistributionSpec, FAILOVER_CODES_AWS, Origin, OriginGroup, Selection};
use crate::{
    error_pages::ErrorPagesError,
    functions::{CODE_BYTES_MAX, Function},
    path_pattern::PathPatternError,
    response_headers::{ResponseHeadersError, ResponseHeadersPolicy},
    signing::TrustedKeys,
};

/// Behaviors per distribution, the default one included: CloudFront's quota, which it raises for those who ask, and what is
/// possible here.
const BEHAVIORS_QUOTA: usize = 76;
const BEHAVIORS_MAX: usize = 1_000;
/// Origins per distribution (CloudFront's quota).
const ORIGINS_MAX: usize = 100;
/// Origin groups per distribution (CloudFront's quota).
const GROUPS_MAX: usize = 10;
/// Public keys per key group (CloudFront's quota).
pub const KEYS_MAX: usize = 5;
/// Key groups per behavior (CloudFront's quota).
pub const KEY_GROUPS_MAX: usize = 4;
/// Aliases per distribution (CloudFront's quota).
const ALIASES_MAX: usize = 100;
/// Custom headers per origin (CloudFront's quota).
pub const CUSTOM_HEADERS_MAX: usize = 30;
/// Bytes of all names and values of an origin's custom headers (CloudFront's quota).
pub const CUSTOM_HEADERS_TOTAL_MAX: usize = 10_240;
const CUSTOM_HEADER_NAME_MAX: usize = 256;
/// Bytes of the value of a custom header (CloudFront's quota).
pub const CUSTOM_HEADER_VALUE_MAX: usize = 1_783;
/// Bytes of a default root object.
const ROOT_OBJECT_MAX: usize = 255;

/// Headers that no cache key holds; `X-Edge-*` and `X-Amz-Cf-*` are refused beside these.
const KEY_HEADERS_REFUSED: &[&str] = &[
    "cache-control",
    "cloudfront-viewer-address",
    "cloudfront-viewer-asn",
    "cloudfront-viewer-header-count",
    "cloudfront-viewer-header-order",
    "cloudfront-viewer-ja3-fingerprint",
    "cloudfront-viewer-ja4-fingerprint",
    "cloudfront-viewer-tls",
    "connection",
    "content-length",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "request-range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Custom headers that an origin may not have; `X-Amz-*` and `X-Edge-*` are refused beside these.
const CUSTOM_HEADERS_REFUSED: &[&str] = &[
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "request-range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
];

/// Why a distribution is refused. Names say where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributionError {
    /// The id is no DNS label, so `<id>.cdn.test` would be no name.
    #[error("the id {0:?} is not a DNS label (letters, digits and hyphens, at most 63)")]
    Id(String),
    /// An alias is no host name.
    #[error("the alias {0:?} is not a host name; a star may only be the whole first label")]
    Alias(String),
    /// The default root object starts with a slash, is too long or has characters that a path may not have.
    #[error("the default root object {0:?} may not start with `/`, and must be a path of at most 255 characters")]
    DefaultRootObject(String),
    /// An origin or a group has an empty id.
    #[error("an origin or origin group has an empty id")]
    EmptyId,
    /// An id is used by an origin and by a group.
    #[error("{0:?} is the id of an origin and of an origin group")]
    AmbiguousId(String),
    /// More of something than CloudFront's quota.
    #[error("{count} {what}: at most {max} are possible")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A field of an origin is out of bounds.
    #[error("origin {origin:?}: {field} must be {must_be}")]
    Origin {
        /// The origin's id.
        origin: String,
        /// Which field.
        field: &'static str,
        /// What it must be.
        must_be: &'static str,
    },
    /// An origin's custom header may not be set.
    #[error("origin {origin:?}: the custom header {header} is refused")]
    CustomHeader {
        /// The origin's id.
        origin: String,
        /// The header's name.
        header: HeaderName,
    },
    /// A group names an origin that does not exist.
    #[error("origin group {group:?} names the origin {member:?}, which does not exist")]
    UnknownMember {
        /// The group's id.
        group: String,
        /// The member.
        member: String,
    },
    /// A group has one origin twice.
    #[error("origin group {0:?} has the same origin twice")]
    SameMembers(String),
    /// A group has no failover code.
    #[error("origin group {0:?} has no failover code")]
    NoFailoverCode(String),
    /// A group has a failover code outside 400 to 599.
    #[error("origin group {group:?}: {code} cannot be a failover code, only 400 to 599 can")]
    FailoverCode {
        /// The group's id.
        group: String,
        /// The code.
        code: u16,
    },
    /// A behavior's target is neither origin nor group.
    #[error("behavior {pattern:?}: there is no origin or origin group {target:?}")]
    UnknownTarget {
        /// The behavior's pattern.
        pattern: String,
        /// The id it names.
        target: String,
    },
    /// A behavior trusts a key group that does not exist.
    #[error("behavior {pattern:?}: there is no key group {group:?}")]
    UnknownKeyGroup {
        /// The behavior's pattern.
        pattern: String,
        /// The id it names.
        group: String,
    },
    /// A behavior runs a function that does not exist.
    #[error("behavior {pattern:?}: there is no function {function:?}")]
    UnknownFunction {
        /// The behavior's pattern.
        pattern: String,
        /// The name it says.
        function: String,
    },
    /// A behavior's pattern is none.
    #[error("behavior {pattern:?}: {error}")]
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        error: PathPatternError,
    },
    /// Two behaviors have the same pattern; the second could never match.
    #[error("two behaviors have the pattern {0:?}")]
    SamePattern(String),
    /// The default behavior has a pattern of its own.
    #[error("the default behavior's pattern is `*`, not {0:?}")]
    DefaultPattern(String),
    /// OPTIONS is cached but not allowed.
    #[error("behavior {0:?} caches OPTIONS but does not allow it")]
    OptionsCachedNotAllowed(String),
    /// A behavior's cache policy contradicts itself.
    #[error("behavior {pattern:?}: {problem}")]
    Policy {
        /// The behavior's pattern.
        pattern: String,
        /// What contradicts what.
        problem: String,
    },
    /// A response headers policy is none.
    #[error("behavior {pattern:?}: the response headers policy {name:?}: {error}")]
    ResponseHeaders {
        /// The behavior's pattern.
        pattern: String,
        /// The policy's name.
        name: String,
        /// Why.
        error: ResponseHeadersError,
    },
    /// Error pages are none.
    #[error("error pages: {0}")]
    ErrorPages(#[from] ErrorPagesError),
}

/// What is accepted here though AWS would refuse it, or though it will surprise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DistributionWarning {
    /// AWS does not offer this status for failover.
    FailoverCodeNotAtAws {
        /// The group's id.
        group: String,
        /// The code.
        code: u16,
    },
    /// More behaviors than AWS allows without being asked.
    BehaviorsBeyondQuota {
        /// How many, the default one included.
        count: usize,
    },
    /// AWS refuses methods that write where the target is an origin group; here they go to the primary, once.
    WritesToGroup {
        /// The behavior's pattern.
        pattern: String,
    },
    /// The primary's silence would be waited for longer than 10 s before the secondary is asked.
    SlowFailover {
        /// The group's id.
        group: String,
        /// Attempts times timeout of the primary.
        silence: Duration,
    },
}

impl fmt::Display for DistributionWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailoverCodeNotAtAws { group, code } => {
                write!(f, "origin group {group:?}: AWS does not offer {code} as a failover code")
            }
            Self::BehaviorsBeyondQuota { count } => {
                write!(
                    f,
                    "{count} behaviors: AWS allows {BEHAVIORS_QUOTA}, the default one included, unless asked for more"
                )
            }
            Self::WritesToGroup { pattern } => write!(
                f,
                "behavior {pattern:?}: AWS refuses PUT, PATCH, POST and DELETE where the target is an origin group; \
                 here they go to the primary and never fail over"
            ),
            Self::SlowFailover { group, silence } => write!(
                f,
                "origin group {group:?}: a silent primary is waited for during {} s before the secondary is asked",
                silence.as_secs()
            ),
        }
    }
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), DistributionError> {
    if count > max { Err(DistributionError::TooMany { what, count, max }) } else { Ok(()) }
}

/// Checks what belongs to no origin, group or behavior: names and numbers.
pub(super) fn check_names(spec: &DistributionSpec) -> Result<(), DistributionError> {
    if !is_label(&spec.id) {
        return Err(DistributionError::Id(spec.id.clone()));
    }
    for (what, count, max) in [
        ("behaviors", spec.behaviors.len() + 1, BEHAVIORS_MAX),
        ("origins", spec.origins.len(), ORIGINS_MAX),
        ("origin groups", spec.groups.len(), GROUPS_MAX),
        ("aliases", spec.aliases.len(), ALIASES_MAX),
    ] {
        at_most(what, count, max)?;
    }
    if let Some(alias) = spec.aliases.iter().find(|alias| !is_alias(alias)) {
        return Err(DistributionError::Alias(alias.clone()));
    }
    let root = &spec.default_root_object;
    if root.starts_with('/') || root.len() > ROOT_OBJECT_MAX || !root.bytes().all(is_path_byte) {
        return Err(DistributionError::DefaultRootObject(root.clone()));
    }
    Ok(())
}

/// What the number of behaviors is to AWS.
pub(super) fn warn_of_behaviors(count: usize, warnings: &mut Vec<DistributionWarning>) {
    if count > BEHAVIORS_QUOTA {
        warnings.push(DistributionWarning::BehaviorsBeyondQuota { count });
    }
}

pub(super) fn check_origin(id: &str, origin: &Origin) -> Result<(), DistributionError> {
    if id.is_empty() {
        return Err(DistributionError::EmptyId);
    }
    if let Some((field, must_be)) = origin_fault(origin) {
        return Err(DistributionError::Origin { origin: id.to_owned(), field, must_be });
    }
    for (name, value) in &origin.custom_headers {
        if !accepts_custom_header(name) || value.len() > CUSTOM_HEADER_VALUE_MAX {
            return Err(DistributionError::CustomHeader { origin: id.to_owned(), header: name.clone() });
        }
    }
    Ok(())
}

/// The first field of an origin that is out of bounds, and what it must be.
pub fn origin_fault(origin: &Origin) -> Option<(&'static str, &'static str)> {
    let within =
        |span: Duration, max_secs| (1..=max_secs).contains(&span.as_secs()) && span <= Duration::from_secs(max_secs);
    let domain = &origin.domain_name;
    let path = &origin.origin_path;
    let completion_ok = origin.completion_timeout.is_none_or(|cap| cap >= origin.response_timeout);
    let checks = [
        (
            !domain.is_empty() && domain.parse::<http::uri::Authority>().is_ok_and(|name| !name.as_str().contains('@')),
            "domain_name",
            "a host name, with a port where needed, without scheme and path",
        ),
        (
            path.is_empty() || path.starts_with('/') && !path.ends_with('/') && path.bytes().all(is_path_byte),
            "origin_path",
            "empty, or start with `/` and not end with it",
        ),
        ((1..=3).contains(&origin.connection_attempts), "connection_attempts", "1 to 3"),
        (within(origin.connection_timeout, 10), "connection_timeout", "1 to 10 s"),
        (within(origin.response_timeout, 120), "response_timeout", "1 to 120 s"),
        (within(origin.keepalive_timeout, 120), "keepalive_timeout", "1 to 120 s"),
        (completion_ok, "completion_timeout", "at least the response timeout"),
        (!origin.ssl_protocols.is_empty(), "ssl_protocols", "at least one"),
        (origin.custom_headers.len() <= CUSTOM_HEADERS_MAX, "custom_headers", "at most 30"),
    ];
    checks.iter().find(|(holds, _, _)| !holds).map(|&(_, field, must_be)| (field, must_be))
}

/// Whether an origin may have a custom header of this name.
pub fn accepts_custom_header(name: &HeaderName) -> bool {
    let text = name.as_str();
    let refused = CUSTOM_HEADERS_REFUSED.contains(&text) || text.starts_with("x-amz-") || text.starts_with("x-edge-");
    !refused && text.len() <= CUSTOM_HEADER_NAME_MAX
}

pub(super) fn check_key_group(id: &str, keys: &TrustedKeys) -> Result<(), DistributionError> {
    if id.is_empty() {
        return Err(DistributionError::EmptyId);
    }
    at_most("public keys in a key group", keys.len(), KEYS_MAX)
}

/// The keys of all groups that a behavior trusts; `None` where it trusts none, and wants no signature.
pub(super) fn trusted_keys(
    behavior: &Behavior,
    groups: &BTreeMap<String, TrustedKeys>,
) -> Result<Option<TrustedKeys>, DistributionError> {
    if behavior.trusted_key_groups.is_empty() {
        return Ok(None);
    }
    at_most("trusted key groups of a behavior", behavior.trusted_key_groups.len(), KEY_GROUPS_MAX)?;
    let mut trusted = TrustedKeys::new();
    for group in &behavior.trusted_key_groups {
        let keys = groups.get(group).ok_or_else(|| DistributionError::UnknownKeyGroup {
            pattern: behavior.path_pattern.clone(),
            group: group.clone(),
        })?;
        trusted.extend(keys.iter().map(|(id, key)| (id.clone(), key.clone())));
    }
    Ok(Some(trusted))
}

/// The response headers policy, ready to be shared by the requests of a behavior.
pub(super) fn response_headers(behavior: &Behavior) -> Result<Option<Arc<ResponseHeadersPolicy>>, DistributionError> {
    let Some(policy) = &behavior.response_headers_policy else { return Ok(None) };
    match policy.check() {
        Ok(()) => Ok(Some(Arc::new(policy.clone()))),
        Err(error) => {
            let (pattern, name) = (behavior.path_pattern.clone(), policy.name.clone());
            Err(DistributionError::ResponseHeaders { pattern, name, error })
        }
    }
}

/// The function `name` of a behavior, where it has one.
pub(super) fn function(
    behavior: &Behavior,
    name: Option<&str>,
    functions: &BTreeMap<String, Arc<Function>>,
) -> Result<Option<Arc<Function>>, DistributionError> {
    let Some(name) = name else { return Ok(None) };
    let function = functions.get(name).ok_or_else(|| DistributionError::UnknownFunction {
        pattern: behavior.path_pattern.clone(),
        function: name.to_owned(),
    })?;
    at_most("bytes of code in a function", function.code.len(), CODE_BYTES_MAX)?;
    Ok(Some(Arc::clone(function)))
}

pub(super) fn check_group(
    id: &str,
    group: &OriginGroup,
    origins: &BTreeMap<String, Origin>,
    warnings: &mut Vec<DistributionWarning>,
) -> Result<(), DistributionError> {
    if id.is_empty() {
        return Err(DistributionError::EmptyId);
    }
    if origins.contains_key(id) {
        return Err(DistributionError::AmbiguousId(id.to_owned()));
    }
    if let Some(member) = group.members.iter().find(|member| !origins.contains_key(*member)) {
        return Err(DistributionError::UnknownMember { group: id.to_owned(), member: member.clone() });
    }
    let [primary, secondary] = &group.members;
    if primary == secondary {
        return Err(DistributionError::SameMembers(id.to_owned()));
    }
    if group.failover_codes.is_empty() {
        return Err(DistributionError::NoFailoverCode(id.to_owned()));
    }
    for code in group.failover_codes.iter().map(http::StatusCode::as_u16) {
        if !(400..=599).contains(&code) {
            return Err(DistributionError::FailoverCode { group: id.to_owned(), code });
        }
        if !FAILOVER_CODES_AWS.contains(&code) {
            warnings.push(DistributionWarning::FailoverCodeNotAtAws { group: id.to_owned(), code });
        }
    }
    if let Some(origin) = origins.get(primary) {
        let silence = origin.connection_timeout * u32::from(origin.connection_attempts);
        if silence > Duration::from_secs(10) {
            warnings.push(DistributionWarning::SlowFailover { group: id.to_owned(), silence });
        }
    }
    Ok(())
}

/// The policy's headers as names, or what contradicts what.
pub(super) fn check_policy(policy: &CachePolicy) -> Result<Vec<HeaderName>, String> {
    let name = &policy.name;
    let names = match &policy.headers {
        Selection::None => &[],
        Selection::Only(names) => names.as_slice(),
        Selection::Like(_) | Selection::AllExcept(_) | Selection::All => {
            return Err(format!("the cache policy {name:?} may select headers only by a list of names"));
        }
    };
    let headers: Vec<HeaderName> = names
        .iter()
        .map(|text| {
            text.parse().map_err(|_| format!("the cache policy {name:?} names {text:?}, which is no header name"))
        })
        .collect::<Result<_, _>>()?;
    let encodes = policy.encodes();
    if encodes && headers.contains(&header::ACCEPT_ENCODING) {
        return Err(format!("the cache policy {name:?} normalises Accept-Encoding and lists it as a header too"));
    }
    if headers.contains(&header::COOKIE) {
        return Err(format!("the cache policy {name:?} lists Cookie as a header; select cookies by their names"));
    }
    if let Some(refused) = headers.iter().find(|header| !may_be_keyed(header)) {
        return Err(format!("the cache policy {name:?} lists {refused}, which CloudFront lets into no cache key"));
    }
    if policy.min_ttl > policy.max_ttl {
        return Err(format!("the cache policy {name:?} has a minimum TTL above its maximum"));
    }
    let selects = encodes || !headers.is_empty() || !policy.cookies.is_none() || !policy.query.is_none();
    if policy.max_ttl.is_zero() && selects {
        return Err(format!("the cache policy {name:?} disables caching and may then select nothing for the key"));
    }
    Ok(headers)
}

/// Whether CloudFront lets a header into a cache key: not what concerns a connection or a request as a whole (AWS page
/// "Request and response behavior for custom origins"), nor what it adds for origin request policies alone.
fn may_be_keyed(name: &HeaderName) -> bool {
    let text = name.as_str();
    !KEY_HEADERS_REFUSED.contains(&text) && !text.starts_with("x-edge-") && !text.starts_with("x-amz-cf-")
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_alias(alias: &str) -> bool {
    let name = alias.strip_prefix("*.").unwrap_or(alias);
    let label = |text: &str| {
        (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    alias.len() <= 253 && name.split('.').all(label)
}

/// Bytes that a request target may have without being escaped.
const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}
