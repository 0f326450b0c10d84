//! `cluster.toml` as typed: every key, its default where the file is silent, and nothing checked beyond its type.
//!
//! The only place that knows TOML's keys. [`crate::cluster::Cluster`] is what comes out once everything was checked.
//! A node process receives the same document as JSON, together with its own id.

mod log;
mod policies;
mod response_headers;

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::log::{LogFile, RealtimeLogFile};
pub(crate) use self::policies::{CachePolicyFile, OriginRequestPolicyFile, SelectionFile, WholeFile};
pub(crate) use self::response_headers::{
    CorsFile, CustomHeaderFile, ResponseHeadersPolicyFile, SecurityHeadersFile, SecuritySwitchFile, SecurityValueFile,
    StrictTransportSecurityFile, XssProtectionFile,
};
use crate::quantity::{ByteCount, Span};

/// The id of the distribution that there is where none is written.
pub(crate) const DEMO: &str = "demo";

/// A world as written. Every key is optional: the empty file is the world that `iso up` starts without one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClusterFile {
    /// Seed of everything random: pair noise, jitter, exploration. The same seed gives the same world. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// A named set of PoPs: `tiny`, `world-6`, `lab-12`, `world-18`, `world-36`. Default `world-6`. `pops` replaces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preset: Option<String>,
    /// PoPs by IATA metro code, with one edge each or as many as `edge.per_pop` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pops: Option<Vec<String>>,
    /// PoP of the shield, or `none`. Default: IAD where it is among the PoPs, else the PoP nearest to the first origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shield: Option<String>,
    /// PoPs of regional caches, by IATA metro code. Misses of each edge pass the one that is nearest by the world's links,
    /// on their way to the shield. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) regional: Vec<String>,
    /// First port of the block of ports. Default 4400; 0 takes any free block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base_port: Option<u16>,
    /// Origins by id. Default: `primary` in us-east-1 and `secondary` in eu-west-1, both simulated.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) origins: IndexMap<String, OriginFile>,
    /// Origin groups by id. Default: `main`, of `primary` and `secondary`, where no origins are written either.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) groups: IndexMap<String, GroupFile>,
    /// Key groups by id: ids of public keys (`Key-Pair-Id`), each with the file of the key in PEM, or the
    /// key itself. Default none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) key_groups: IndexMap<String, IndexMap<String, PathBuf>>,
    /// Cache policies by name, beside CloudFront's managed ones. Default none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) cache_policies: IndexMap<String, CachePolicyFile>,
    /// Origin request policies by name, beside CloudFront's managed ones. Default none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) origin_request_policies: IndexMap<String, OriginRequestPolicyFile>,
    /// Response headers policies by name, beside CloudFront's managed ones. Default none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) response_headers_policies: IndexMap<String, ResponseHeadersPolicyFile>,
    /// Viewer functions by name: JavaScript that behaviors run. Default none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) functions: IndexMap<String, FunctionFile>,
    /// Distributions by id. Default: `demo`, which answers to `www.demo.test`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) distributions: IndexMap<String, DistributionFile>,
    /// The router.
    pub(crate) router: RouterFile,
    /// Every edge, regional cache and the shield.
    pub(crate) edge: EdgeFile,
    /// Viewers: where somebody stands who did not say, and how their resolvers behave.
    pub(crate) viewer: ViewerFile,
    /// The outside world.
    pub(crate) world: WorldFile,
    /// Logs of nodes.
    pub(crate) log: LogFile,
    /// CloudFront's own API.
    #[serde(skip_serializing_if = "AwsFile::is_silent")]
    pub(crate) aws: AwsFile,
}

/// An origin: simulated, a directory, or your own app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OriginFile {
    /// Where it stands: a region, a PoP or a city. Default us-east-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<String>,
    /// Your own app: `http://127.0.0.1:3000`, or `https://localhost:3443`. Without `url` and `dir` the origin is simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// A directory that is served as it is; relative to the file it is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<PathBuf>,
    /// Sent as `Host` where the behavior does not forward the viewer's. Default: the host and port of `url`, else
    /// `<id>.origin.test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Whether edges speak HTTP or HTTPS with it, as in CloudFront: `http-only`, `https-only` or `match-viewer`, what the
    /// viewer speaks. Default: by the scheme of `url`, else `http-only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<String>,
    /// With `match-viewer`: the port at which the app of `url` speaks HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) https_port: Option<u16>,
    /// What edges may speak with it over HTTPS, as in CloudFront: some of `TLSv1.2`, `TLSv1.1`, `TLSv1` and `SSLv3`, of which
    /// only the first is spoken here. TLS 1.3 always is; `TLSv1.3` alone leaves nothing else. Default `TLSv1.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ssl_protocols: Option<Vec<String>>,
    /// A file of certificates in PEM, relative to this file: who must have signed the certificate that your own app shows.
    /// `/etc/ssl/certs/ca-certificates.crt` trusts whom this machine trusts. Default: the world's own authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Put before the viewer's path, such as `/v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Headers added to requests to this origin.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) headers: IndexMap<String, String>,
    /// Tries to connect, 1 to 3. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection_attempts: Option<u8>,
    /// How long one try may take, 1s to 10s. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection_timeout: Option<Span>,
    /// Time to the first byte and between packets, 1s to 120s. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_timeout: Option<Span>,
    /// The whole exchange over all attempts. Default: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_timeout: Option<Span>,
    /// How long an idle connection is kept, 1s to 120s. Default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keepalive_timeout: Option<Span>,
    /// Whether misses pass the shield. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shield: Option<bool>,
    /// Simulated origins: requests served at once; the others queue. Default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<usize>,
    /// Simulated origins: requests that may queue; beyond them 503. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<usize>,
    /// Simulated origins: what a path answers. The first rule whose path matches counts; `query` holds the same
    /// settings as the query parameters, such as `size=10k&max-age=60`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<OriginRuleFile>,
    /// What the world does not act on, in CloudFront's words; an export says it again. Written by `iso import`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) cloudfront: IndexMap<String, serde_json::Value>,
}

/// What a simulated origin answers for some paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OriginRuleFile {
    /// Paths, with `*` and `?` as wildcards.
    pub(crate) path: String,
    /// Settings, written as a query string.
    pub(crate) query: String,
}

/// Two origins, the second for when the first fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupFile {
    /// Ids of the two origins, the primary first.
    pub(crate) members: [String; 2],
    /// Statuses that fail over. Default 500, 502, 503, 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failover_codes: Option<Vec<u16>>,
    /// `documented` (failures whose status is among the codes) or `always`. Default `documented`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_transport_error: Option<TransportFailoverFile>,
    /// What the world does not act on, in CloudFront's words; an export says it again. Written by `iso import`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) cloudfront: IndexMap<String, serde_json::Value>,
}

/// Which failures below HTTP fail over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TransportFailoverFile {
    /// Those whose status is among the failover codes.
    Documented,
    /// All.
    Always,
}

/// A viewer function, as in CloudFront Functions with runtime 2.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionFile {
    /// The file of its code, relative to this one: 10 KiB at most, with a function `handler`.
    pub(crate) file: PathBuf,
    /// The file of its key value store, in the format that CloudFront imports. Default: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_values: Option<PathBuf>,
}

/// What a hostname serves and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DistributionFile {
    /// Names it answers to, besides `<id>.cdn.test`. Default: `www.demo.test` for `demo`, none for any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hosts: Option<Vec<String>>,
    /// How its clients are routed: a policy as in `[router]`. Default: the router's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) routing: Option<String>,
    /// PoPs that may serve it, as in CloudFront: `PriceClass_100`, `PriceClass_200` or `PriceClass_All`. Default
    /// `PriceClass_All`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) price_class: Option<String>,
    /// The only PoPs that may serve it, by code. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pops: Option<Vec<String>>,
    /// Whether anybody is served. Default true; else every request gets 403.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    /// Served for `/`, such as `index.html`. Default: `/` goes to the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_root_object: Option<String>,
    /// What viewers may speak over HTTPS, as in CloudFront: `TLSv1.2_2021`, `TLSv1.2_2025`, `TLSv1.3_2025`; older policies
    /// by name stand for the first. Default `TLSv1.2_2021`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) security_policy: Option<String>,
    /// What is spoken over HTTPS beside HTTP/1.1, as in CloudFront: `http1.1` (nothing), `http2`, `http3`, `http2and3`.
    /// Default `http2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http_version: Option<String>,
    /// Whether lines of the standard log have the cookies that viewers send: CloudFront's `IncludeCookies`. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_cookies: Option<bool>,
    /// Countries in which alone it is served (ISO 3166-1 alpha-2); viewers elsewhere get 403. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_countries: Option<Vec<String>>,
    /// Countries in which it is not served. Not beside `allow_countries`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) block_countries: Option<Vec<String>>,
    /// Custom error responses: what viewers get in the place of errors, and for how long errors are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) error_pages: Vec<ErrorPageFile>,
    /// A staging distribution that answers some of the requests. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) continuous_deployment: Option<ContinuousDeploymentFile>,
    /// The behavior for what no other matches.
    pub(crate) default: BehaviorFile,
    /// Behaviors for some paths, the first match counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) behaviors: Vec<BehaviorFile>,
    /// `Cache-Status` in responses. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_status: Option<bool>,
    /// `Proxy-Status` in error responses. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_status: Option<bool>,
    /// `Server-Timing` in responses. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_timing: Option<bool>,
    /// `x-iso-reason` in responses. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<bool>,
    /// What the world does not act on, in CloudFront's words; an export says it again. Written by `iso import`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) cloudfront: IndexMap<String, serde_json::Value>,
}

impl DistributionFile {
    /// The names that the distribution `id` answers to besides `<id>.cdn.test`.
    pub(crate) fn hosts_of(&self, id: &str) -> Vec<String> {
        match &self.hosts {
            Some(hosts) => hosts.clone(),
            None if id == DEMO => vec!["www.demo.test".into()],
            None => Vec::new(),
        }
    }
}

/// How requests for some paths are served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BehaviorFile {
    /// Paths, with `*` and `?` as wildcards. Not for the default behavior.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// An origin or a group. Default: the first group, else the first origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// `read` (GET, HEAD), `read-options` or `all`. Default `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) methods: Option<MethodsFile>,
    /// Whether responses to OPTIONS are cached too, apart from those to GET and HEAD. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_options: Option<bool>,
    /// A cache policy by name or id. Default `OriginCacheControl`: what the origin says, all cookies and the whole query
    /// string in the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_policy: Option<String>,
    /// An origin request policy by name or id. Default `AllViewerExceptHostHeader`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin_request_policy: Option<String>,
    /// A response headers policy by name: one of `[response_headers_policies]`, or a managed one such as `SimpleCORS`.
    /// Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_headers_policy: Option<String>,
    /// What becomes of requests without HTTPS: `allow-all`, `redirect-to-https` or `https-only`. Default `allow-all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) viewer_protocol: Option<String>,
    /// Key groups: every request must be signed by a key of one of them. Default none: no signature is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) trusted_key_groups: Vec<String>,
    /// The viewer function that sees every request before the store is asked. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) viewer_request: Option<String>,
    /// The viewer function that sees every response before it leaves, errors excepted. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) viewer_response: Option<String>,
    /// Whether responses are compressed (gzip and br, where the cache policy enables them) when they are stored, by
    /// CloudFront's conditions of type, size and freshness. Default true, as in CloudFront's console; its API says false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compress: Option<bool>,
    /// Whether zstd is offered beside them, which CloudFront does not have. Default false; needs a build with the
    /// feature `zstd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zstd: Option<bool>,
    /// What the world does not act on, in CloudFront's words; an export says it again. Written by `iso import`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) cloudfront: IndexMap<String, serde_json::Value>,
}

/// What happens on one status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorPageFile {
    /// The status: 400, 403, 404, 405, 414, 416, or 500 to 504.
    pub(crate) status: u16,
    /// How long such an error is kept at least (CloudFront's error caching minimum TTL). Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Span>,
    /// Path of the page that is answered instead, which is fetched as any other path is. Default: the error itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_page: Option<String>,
    /// Status that viewers see with the page: 200, or one that may have a page. Default: the error's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_code: Option<u16>,
}

/// Which requests a staging distribution answers: those with a header, or a share of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ContinuousDeploymentFile {
    /// Id of the staging distribution, which has no hosts and is reached in no other way.
    pub(crate) staging: String,
    /// Share of the requests, 0 to 0.15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    /// With a weight: viewers stay on their side, by a cookie, until they were idle for so long, 300s to 3600s. Default:
    /// every request is drawn anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_idle: Option<Span>,
    /// How long they stay in all, 300s to 3600s. Default: as `session_idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_max: Option<Span>,
    /// Instead of a weight: the header of testers, which begins with `aws-cf-cd-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<String>,
    /// The header's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

/// Methods that a behavior accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MethodsFile {
    /// GET and HEAD.
    Read,
    /// GET, HEAD and OPTIONS.
    ReadOptions,
    /// Also PUT, PATCH, POST and DELETE.
    All,
    /// Every method; the default where the cache policy is `honour-origin`.
    Any,
}

/// Settings of every router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RouterFile {
    /// PoPs or regions of the routers, one each; the control plane stands with the first. Default: where the shield
    /// stands, else the first PoP, and the first PoP on another continent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sites: Option<Vec<String>>,
    /// `latency`, `geo`, `geoproximity`, `anycast`, `weighted`, `random`, `round-robin`, `static` (in the order of
    /// `pops`) or `program`. Default `program` where there is one, else `latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// A routing policy of your own: a command line for the shell, or `wasm:FILE`. Every router starts one, asks it line by line about each
    /// client network, and answers as it says. It runs with your rights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program: Option<String>,
    /// Where it is started, relative to this file. Default: where this file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_dir: Option<PathBuf>,
    /// An answer of the program that takes longer is not used, 1ms to 10s. Default 5ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_deadline: Option<Span>,
    /// A program that keeps silent for longer is killed and started again, 10ms to 1m. Default 1s; ten times as long for
    /// its first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_patience: Option<Span>,
    /// How often the program is asked about every client network, 50ms to 1h. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_interval: Option<Span>,
    /// Client networks that it is asked about; the others go by the lowest estimate. Default 4096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_networks: Option<usize>,
    /// For a program that is WebAssembly (`wasm:FILE`): instructions, about, that each answer may take. Default 10000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_fuel: Option<u64>,
    /// And its memory. Default 64MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program_memory: Option<ByteCount>,
    /// How long resolvers may keep an answer. Default 60s, CloudFront's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Span>,
    /// Addresses per answer, the second in another PoP. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<usize>,
    /// Time between health probes of an edge. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probe_interval: Option<Span>,
    /// A probe without an answer by then has failed. Default 800ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probe_timeout: Option<Span>,
    /// Failed probes in a row, 60 ms apart from the first on, that make an edge down. Default 14.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) down_after: Option<u32>,
    /// Good probes in a row that bring it back. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) up_after: Option<u32>,
    /// How long a PoP that was down, or an edge beside others in one, takes until all its clients are back: a growing share
    /// of client networks. Default 10s;
    /// 0s for at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ramp: Option<Span>,
    /// Routers that must call an edge down until it is. Default: more than half of those that were heard lately; a tie is
    /// not enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quorum: Option<u32>,
    /// Share of answers that try the runner-up to learn, 0 to 1. Default 0.02.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) explore: Option<f64>,
    /// For `geoproximity`: percent by which a PoP, by code, draws clients (above 0) or keeps them away, -99 to 99.
    /// Default 0.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) bias: IndexMap<String, i64>,
    /// For `weighted`: shares of client networks by PoP. 0 is the last resort. Default 1.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) weights: IndexMap<String, f64>,
    /// Under every policy: requests per second that a PoP can bear; above it a share of its client networks goes on to
    /// the next best. Default: no limit.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) capacity: IndexMap<String, f64>,
    /// Share of each capacity that is kept free, below 1. Default 0.05.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headroom: Option<f64>,
    /// Edges of a PoP among which the clients of one distribution are spread, where a PoP has several; 1 or more. Default 1:
    /// each distribution is on one edge of a PoP, until that has too much load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dispersion: Option<usize>,
    /// How many times the mean load of its PoP's edges one of them has before a share of its clients goes on to the next of
    /// them, 1 or more; 0 for no bound. Default 1.25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_bound: Option<f64>,
    /// How long HTTP routing keeps a client on the edge that it was sent to before, by the cookie `iso-edge`, while that
    /// edge may be chosen: 1s to 1d. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sticky: Option<Span>,
    /// Snapshots that were replaced and are kept, so that `iso explain route --replay` can tell the decisions that were made
    /// from them: 1 or more. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay_snapshots: Option<usize>,
    /// Memory that they may take, about; the newest is always kept. Default 8MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay_bytes: Option<ByteCount>,
    /// A MaxMind database of client networks (GeoLite2-City or one like it), relative to this file. What it says of a
    /// network holds; the world's own networks stay where it says nothing of them. Read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) geoip: Option<PathBuf>,
    /// The same as a table: a CSV file `prefix,lat,lon,country,label`, relative to this file. Coordinates are kept to a
    /// ten-millionth of a degree (11 mm).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefixes: Option<PathBuf>,
    /// For `anycast`: the model of catchments.
    #[serde(skip_serializing_if = "AnycastFile::is_silent")]
    pub(crate) anycast: AnycastFile,
    /// DNS: what it says of itself, and what it keeps from whom.
    #[serde(skip_serializing_if = "DnsFile::is_silent")]
    pub(crate) dns: DnsFile,
    /// Zone files (RFC 1035, section 5), relative to this file. Relative names in one stand below the name of the file
    /// without `.zone`, until `$ORIGIN` says otherwise. A file with a SOA makes a zone, or replaces SOA and NS of the one
    /// that distributions have by themselves; one without adds records to zones that are there. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) zones: Vec<PathBuf>,
    /// Other records, one each. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) records: Vec<RecordFile>,
}

/// A record that DNS answers, beside those of distributions, edges and PoPs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordFile {
    /// Whose it is: a name in one of the zones.
    pub(crate) name: String,
    /// Its type: `A`, `TXT`, `TYPE65280`, ...
    #[serde(rename = "type")]
    pub(crate) record_type: String,
    /// How long resolvers may keep it. Default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Span>,
    /// What it says, as in a zone file: `10 mail.demo.test`. Names are absolute, with or without a dot at the end.
    pub(crate) data: String,
}

/// Settings of the router's DNS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DnsFile {
    /// DNS cookies (RFC 7873): `on` gives one to whoever asks, `required` wants one of every client over UDP that is not
    /// trusted, `off`. Default `on`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookies: Option<String>,
    /// How long cookies are made with one secret; those that were made with the one before hold for the rest of their
    /// hour. 1h to 36d. Default 1d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookie_rollover: Option<Span>,
    /// Whether names of distributions have HTTPS records (RFC 9460): HTTP/1.1 and, by its `http_version`, HTTP/2 and HTTP/3 at
    /// the port of HTTPS, with the addresses of the chosen edges as hints. Default true where edges speak HTTPS; browsers that see one use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) https_records: Option<bool>,
    /// Aliases (CNAME, DNAME) that one answer follows, 1 to 64. Default 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aliases: Option<usize>,
    /// What `version.bind` and `version.server` answer; empty for nothing. Default `isochrone` and its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Answers per second and kind (records, denials, errors) that a client network, a /24 of IPv4 or a /56 of IPv6, gets
    /// over UDP while it shows no valid cookie; 0 for no limit. Default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answers_per_network: Option<u32>,
    /// The same for all networks together; 0 for no limit. Default 50000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answers_over_all: Option<u32>,
    /// Beyond a rate each how-many-th answer is truncated, so that a true client comes by TCP, and the others are dropped;
    /// 0 drops all. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slip: Option<u32>,
    /// Networks whose clients need no cookie and have no rate. Default loopback, whose addresses no other machine can
    /// forge; clients of the world have addresses of 198.18.0.0/15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trusted: Option<Vec<String>>,
    /// The largest answer over UDP to clients that are not trusted and show no valid cookie, 512 or more. Default 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unproven_bytes: Option<ByteCount>,
    /// The largest answer over UDP, 512 to 4096. Default 1232.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) udp_bytes: Option<ByteCount>,
    /// TCP connections that may be open. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<usize>,
    /// TCP connections that one client may have open. Default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections_per_client: Option<usize>,
    /// Messages that are answered on a TCP connection before it is closed. Default 100000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queries_per_connection: Option<usize>,
    /// How long a TCP connection may be idle. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_timeout: Option<Span>,
    /// The query log: messages and what was answered, as JSON lines in the world's state directory. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_log: Option<QueryLogFile>,
}

impl DnsFile {
    fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings of the query log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryLogFile {
    /// Share of messages that are written, 0 to 1.
    pub(crate) share: f64,
    /// Size at which the file is begun anew; one before it is kept. Default 64MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<ByteCount>,
    /// Lines that may wait to be written; more are left out and counted. Default 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<usize>,
}

/// The model of anycast: which PoP a client network comes out at, and how soon it hears that one is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AnycastFile {
    /// Mean detour in kilometres, drawn for each pair of network and PoP and added to the distance. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detour_km: Option<f64>,
    /// Share of networks that hand traffic over far away, so that distance hardly counts, 0 to 1. Default 0.25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_share: Option<f64>,
    /// When 80 % of networks have heard that a PoP was withdrawn, at most 10m; the others follow. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) convergence: Option<Span>,
}

impl AnycastFile {
    fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings of every edge, regional cache and of the shield.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EdgeFile {
    /// Edges in each PoP, 1 to 16: `edge.iad`, `edge.iad-2`, … Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_pop: Option<u32>,
    /// The same for single PoPs, by code. Default: `per_pop`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) in_pop: IndexMap<String, u32>,
    /// Bytes that the store may hold. Default 256MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_bytes: Option<ByteCount>,
    /// Largest response that is stored. Default 64MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_bytes: Option<ByteCount>,
    /// Bytes of bodies that may be in memory beside the store, such as those that clients read slowly; beyond it misses
    /// are refused with 503. Default 256MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inflight_bytes: Option<ByteCount>,
    /// Who goes when the store is full: `sieve`, `lru` or `s3-fifo`. Default `sieve`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eviction: Option<String>,
    /// Which responses stay in the store: `all`, or those asked for a second time (`second-request`). Default `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admission: Option<String>,
    /// Bytes of a disk tier of each store, at least 16MiB, which survives its node. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk: Option<ByteCount>,
    /// Where edges listen for IPv6 beside IPv4: `auto` (in fd77:1505::/64 where that network is local on this machine; a
    /// world of one edge else at ::1; else nowhere), a network fc00::/7 of 96 bits or less that must be local, or `off`.
    /// Default `auto`. `iso doctor` says what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ipv6: Option<String>,
    /// Client connections that may be open. Default 20000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<usize>,
    /// Whether edges speak HTTPS, with certificates of the world's own authority. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) https: Option<bool>,
    /// How long certificates of edges are good; a new one takes over after two thirds of it. Default 2160h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_span: Option<Span>,
    /// Time for a client to send its request head. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header_timeout: Option<Span>,
    /// Longest pause in a request body. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_timeout: Option<Span>,
    /// How long requests in flight may take to finish when the world stops. Default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain_grace: Option<Span>,
    /// Level of gzip, 1 (fast) to 9 (small). Default 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gzip_level: Option<u8>,
    /// Level of br, 0 (fast) to 6 (small). Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) brotli_level: Option<u8>,
    /// Level of zstd, 1 (fast) to 9 (small). Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zstd_level: Option<u8>,
    /// Responses that may be compressed at once; more are stored as they came. Default 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compressions: Option<usize>,
    /// Processor time of one call of a viewer function, 1ms to 1s; beyond it the answer is 503. Default 50ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function_time: Option<Span>,
    /// Memory of one call, 64KiB or more. Default 2MiB, CloudFront's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function_memory: Option<ByteCount>,
    /// Bytes of all that one call may say of origins, 256 to 8KiB; beyond it what it calls throws. Default 4KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function_origins: Option<ByteCount>,
    /// Whether edges speak HTTP/2 without TLS with clients that begin with it (RFC 9113 section 3.3). CloudFront
    /// does not. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plain_http2: Option<bool>,
    /// A log of all that was decided, with what it was decided by, from which `iso chaos agree` makes it again. Default:
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decision_log: Option<DecisionLogFile>,
}

/// Settings of the decision logs of edges and caches behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionLogFile {
    /// Size of each file, at which no more is written: what comes later could not be made again without what came
    /// before. Default 64MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<ByteCount>,
    /// Lines that may wait to be written; more are left out and counted. Default 16384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<usize>,
}

/// Settings of viewers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ViewerFile {
    /// Where a client of the proxy stands who did not say. Default: the city nearest to the first PoP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    /// Where resolvers stand. Default: in the viewer's own place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resolver: Option<String>,
    /// Whether resolvers send the client subnet. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_subnet: Option<bool>,
}

/// Settings of the outside world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WorldFile {
    /// Last mile of viewers: `fiber`, `cable`, `dsl`, ... Default `fiber`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access: Option<String>,
    /// Whether delays vary from packet to packet. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jitter: Option<bool>,
    /// Whether packets are lost. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<bool>,
    /// Your own round trips: a CSV file `from,to,rtt_ms`, relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) matrix: Option<PathBuf>,
}

/// Who may use CloudFront's own API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AwsFile {
    /// Secret access keys by access key id; requests must be signed with one of them. Default none: any signature will do.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) keys: IndexMap<String, String>,
}

impl AwsFile {
    fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}
