//! What a hostname serves and how: CloudFront's distribution, checked.
//!
//! A [`DistributionSpec`] is what somebody wrote (a cluster file, an import); [`Distribution::new`] refuses one that
//! contradicts itself, and from then on it is trusted. Knows no file format. Fields and defaults follow the AWS page
//! "Distribution settings reference" and the `cloudfront/2020-05-31` service model.

mod checked;
mod hosts;
mod rules;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::{
    continuous_deployment::ContinuousDeployment,
    error_pages::ErrorPage,
    functions::Function,
    geo_restriction::GeoRestriction,
    http_version::HttpVersion,
    origin_protocol::{OriginProtocolPolicy, OriginSslProtocol},
    response_headers::ResponseHeadersPolicy,
    security_policy::SecurityPolicy,
    signing::TrustedKeys,
    viewer_protocol::ViewerProtocolPolicy,
};

pub use self::{
    checked::{CheckedBehavior, Distribution, MethodClass},
    hosts::{DistributionConflict, Distributions},
    rules::{
        CUSTOM_HEADER_VALUE_MAX, CUSTOM_HEADERS_MAX, CUSTOM_HEADERS_TOTAL_MAX, DistributionError, DistributionWarning,
        KEY_GROUPS_MAX, KEYS_MAX, accepts_custom_header, origin_fault,
    },
};

/// A distribution as written. See [`Distribution`].
#[derive(Clone, Debug)]
pub struct DistributionSpec {
    /// Its id; it also answers to `<id>.cdn.test`.
    pub id: String,
    /// Alternate domain names; `*.` is allowed as the left-most label.
    pub aliases: Vec<String>,
    /// Whether anybody is served.
    pub enabled: bool,
    /// Served for the path `/`, without leading slash; empty for none.
    pub default_root_object: String,
    /// Origins by id.
    pub origins: BTreeMap<String, Origin>,
    /// Origin groups by id; ids are distinct from those of origins.
    pub groups: BTreeMap<String, OriginGroup>,
    /// Key groups by id: the public keys that a behavior may trust.
    pub key_groups: BTreeMap<String, TrustedKeys>,
    /// Functions that a behavior may run, by name.
    pub functions: BTreeMap<String, Arc<Function>>,
    /// Ordered behaviors, first match wins; the default behavior is not among them.
    pub behaviors: Vec<Behavior>,
    /// The behavior for what no other matches; its pattern is `*`.
    pub default_behavior: Behavior,
    /// What viewers may speak over HTTPS.
    pub security_policy: SecurityPolicy,
    /// What of HTTP viewers may speak over HTTPS.
    pub http_version: HttpVersion,
    /// What viewers get in the place of errors, and for how long errors are kept.
    pub error_pages: Vec<ErrorPage>,
    /// In which countries it is served.
    pub geo_restriction: GeoRestriction,
    /// Which requests another distribution answers in its place, if any.
    pub continuous_deployment: Option<ContinuousDeployment>,
    /// Whether the standard log says what cookies viewers sent: CloudFront's `IncludeCookies`.
    pub log_cookies: bool,
    /// Which of our own headers responses carry.
    pub diagnostics: Diagnostics,
}

impl DistributionSpec {
    /// One without aliases, groups and further behaviors.
    pub fn new(id: impl Into<String>, origins: BTreeMap<String, Origin>, default_behavior: Behavior) -> Self {
        Self {
            id: id.into(),
            aliases: Vec::new(),
            enabled: true,
            default_root_object: String::new(),
            origins,
            groups: BTreeMap::new(),
            key_groups: BTreeMap::new(),
            functions: BTreeMap::new(),
            behaviors: Vec::new(),
            default_behavior,
            security_policy: SecurityPolicy::default(),
            http_version: HttpVersion::default(),
            error_pages: Vec::new(),
            geo_restriction: GeoRestriction::default(),
            continuous_deployment: None,
            log_cookies: false,
            diagnostics: Diagnostics::default(),
        }
    }
}

/// An origin: where it says it lives and how patient we are with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The host name sent as `Host`, with a port where it is not the scheme's own.
    pub domain_name: String,
    /// Put before the viewer's path; empty, or starts with `/` and does not end with it.
    pub origin_path: String,
    /// Replace headers of the same name in requests to this origin.
    pub custom_headers: Vec<(HeaderName, HeaderValue)>,
    /// Tries to connect: 1 to 3.
    pub connection_attempts: u8,
    /// How long each try may take: 1 to 10 s.
    pub connection_timeout: Duration,
    /// Time to the first byte, and between two packets: 1 to 120 s.
    pub response_timeout: Duration,
    /// The whole exchange over all attempts; `None` for no cap.
    pub completion_timeout: Option<Duration>,
    /// Idle time of a pooled connection: 1 to 120 s.
    pub keepalive_timeout: Duration,
    /// Whether misses pass the shield first.
    pub shield: bool,
    /// Whether it is spoken to by HTTP or HTTPS.
    pub protocol: OriginProtocolPolicy,
    /// What may be spoken with it where it is HTTPS; TLS 1.3 always.
    pub ssl_protocols: Vec<OriginSslProtocol>,
    /// `Host`, whatever the viewer sent; `None` leaves it to the policies. A function may set it.
    pub host_header: Option<String>,
    /// The name that is asked for in the TLS handshake; `None` for that in `Host`. A function may set it.
    pub sni: Option<String>,
    /// Names of which its certificate must be for one, with `*.` for any label; empty for those that it is asked by. A
    /// function may set them.
    pub certificate_names: Vec<String>,
}

impl Origin {
    /// An origin with CloudFront's defaults: 3 attempts of 10 s, 30 s to respond, 5 s keep-alive, TLS 1.2 and 1.3. It is
    /// spoken to by HTTP.
    pub fn new(domain_name: impl Into<String>) -> Self {
        Self {
            domain_name: domain_name.into(),
            origin_path: String::new(),
            custom_headers: Vec::new(),
            connection_attempts: 3,
            connection_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            completion_timeout: None,
            keepalive_timeout: Duration::from_secs(5),
            shield: true,
            protocol: OriginProtocolPolicy::default(),
            ssl_protocols: vec![OriginSslProtocol::TLSv1_2],
            host_header: None,
            sni: None,
            certificate_names: Vec::new(),
        }
    }
}

/// Two origins, the second for when the first fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginGroup {
    /// Ids of the origins, the primary first.
    pub members: [String; 2],
    /// Statuses of the primary that move the request to the secondary. AWS offers [`FAILOVER_CODES_AWS`]; any of 400
    /// to 599 is accepted here.
    pub failover_codes: Vec<StatusCode>,
    /// Which transport failures move it.
    pub on_transport_error: TransportFailover,
}

/// The statuses that AWS lets one select for failover.
pub const FAILOVER_CODES_AWS: [u16; 9] = [400, 403, 404, 416, 429, 500, 502, 503, 504];

/// Which failures below HTTP make an origin group try its secondary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportFailover {
    /// Those whose status (502, 503, 504) is among the failover codes, as the Developer Guide words it.
    #[default]
    Documented,
    /// All of them.
    Always,
}

/// How requests for some paths are served.
#[derive(Clone, Debug)]
pub struct Behavior {
    /// `*` and `?` are wildcards; the leading slash is optional.
    pub path_pattern: String,
    /// Id of an origin or of an origin group.
    pub target: String,
    /// Methods that are accepted.
    pub allowed_methods: AllowedMethods,
    /// Whether responses to OPTIONS are cached too.
    pub cache_options: bool,
    /// Whether responses are compressed in a format that the cache policy enables ([`crate::compression`]).
    pub compress: bool,
    /// What is in the cache key, and for how long responses are fresh.
    pub cache_policy: CachePolicy,
    /// What is sent to the origin beyond the cache key.
    pub origin_request_policy: OriginRequestPolicy,
    /// What is put on responses and taken off them, if anything.
    pub response_headers_policy: Option<ResponseHeadersPolicy>,
    /// What becomes of requests that do not come over HTTPS.
    pub viewer_protocol: ViewerProtocolPolicy,
    /// Ids of key groups: requests must be signed by a key of one of them. Empty asks for no signature.
    pub trusted_key_groups: Vec<String>,
    /// Name of the function that runs before the store is asked; `None` for none.
    pub viewer_request: Option<String>,
    /// Name of the function that runs before a response leaves; `None` for none.
    pub viewer_response: Option<String>,
}

impl Behavior {
    /// The default behavior of a new distribution in CloudFront's console: every path, GET and HEAD, compressed.
    pub fn new(target: impl Into<String>, cache_policy: CachePolicy) -> Self {
        Self {
            path_pattern: "*".into(),
            target: target.into(),
            allowed_methods: AllowedMethods::Read,
            cache_options: false,
            compress: true,
            cache_policy,
            origin_request_policy: OriginRequestPolicy::default(),
            response_headers_policy: None,
            viewer_protocol: ViewerProtocolPolicy::default(),
            trusted_key_groups: Vec::new(),
            viewer_request: None,
            viewer_response: None,
        }
    }
}

/// The three sets of methods that CloudFront offers, and all methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllowedMethods {
    /// GET and HEAD.
    #[default]
    Read,
    /// GET, HEAD and OPTIONS.
    ReadOptions,
    /// All seven: also PUT, PATCH, POST and DELETE.
    All,
    /// Whatever there is but CONNECT. Not CloudFront's.
    Any,
}

impl AllowedMethods {
    /// Whether `method` may pass.
    pub fn contains(self, method: &Method) -> bool {
        match *method {
            Method::GET | Method::HEAD => true,
            Method::OPTIONS => self != Self::Read,
            Method::PUT | Method::PATCH | Method::POST | Method::DELETE => matches!(self, Self::All | Self::Any),
            _ => self == Self::Any,
        }
    }
}

/// A selection by name from headers, cookies or query parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Nothing.
    #[default]
    None,
    /// These.
    Only(Vec<String>),
    /// Those whose names one of these patterns covers, with `*` and `?` as wildcards: what the cookies of CloudFront's
    /// legacy cache settings are selected by (not for headers).
    Like(Vec<String>),
    /// All but these (not for headers of a cache policy).
    AllExcept(Vec<String>),
    /// All (not for headers of a cache policy).
    All,
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Only(names) | Self::Like(names) => f.write_str(&names.join(", ")),
            Self::AllExcept(names) => write!(f, "all but {}", names.join(", ")),
            Self::All => f.write_str("all"),
        }
    }
}

/// Whose rules a behavior follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachingRules {
    /// CloudFront's: its TTL table, its table of cached errors, its tables of headers.
    #[default]
    CloudFront,
    /// The origin's word, as RFC 9111 lets a shared cache read it, with `CDN-Cache-Control` (RFC 9213) above the rest:
    /// no error is cached that does not ask for it, no request is repeated, no header is rewritten, unsafe methods
    /// invalidate, and requests may say what they accept.
    Origin,
}

/// A cache policy: CloudFront's fields, and whose rules hold beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Its name without the prefix `Managed-`.
    pub name: String,
    /// Whose rules hold.
    pub rules: CachingRules,
    /// Shortest time in the cache.
    pub min_ttl: Duration,
    /// Time in the cache where the origin says nothing.
    pub default_ttl: Duration,
    /// Longest time in the cache; zero disables caching.
    pub max_ttl: Duration,
    /// Headers in the key: [`Selection::None`] or [`Selection::Only`].
    pub headers: Selection,
    /// Cookies in the key.
    pub cookies: Selection,
    /// Query parameters in the key.
    pub query: Selection,
    /// `Accept-Encoding: gzip` takes part, normalised.
    pub gzip: bool,
    /// `Accept-Encoding: br` takes part, normalised.
    pub brotli: bool,
    /// `Accept-Encoding: zstd` takes part, normalised. Not CloudFront's: no managed policy enables it.
    pub zstd: bool,
}

impl CachePolicy {
    /// The headers in the key, by name.
    ///
    /// # Errors
    /// What in the policy contradicts what, by CloudFront's rules.
    pub fn key_headers(&self) -> Result<Vec<HeaderName>, String> {
        rules::check_policy(self)
    }

    /// Whether `Accept-Encoding` takes part, normalised.
    pub const fn encodes(&self) -> bool {
        self.gzip || self.brotli || self.zstd
    }
}

/// A CloudFront origin request policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRequestPolicy {
    /// Its name without the prefix `Managed-`; empty for none.
    pub name: String,
    /// Viewer's headers that are forwarded.
    pub headers: Selection,
    /// Cookies that are forwarded.
    pub cookies: Selection,
    /// Query parameters that are forwarded.
    pub query: Selection,
    /// `CloudFront-*` headers that the edge makes and adds; those it does not know are left out.
    pub added_headers: Vec<String>,
}

/// Which headers of ours and of the diagnostic standards responses carry. CloudFront's own are always sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// `Cache-Status` (RFC 9211).
    pub cache_status: bool,
    /// `Proxy-Status` (RFC 9209) on errors.
    pub proxy_status: bool,
    /// `Server-Timing`.
    pub server_timing: bool,
    /// `x-iso-reason`.
    pub reason: bool,
}

impl Default for Diagnostics {
    fn default() -> Self {
        Self { cache_status: true, proxy_status: true, server_timing: true, reason: true }
    }
}
