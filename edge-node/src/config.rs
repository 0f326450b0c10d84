//! What a node is told before it runs, checked by whoever tells it.
//!
//! Every limit stands here with its default; reaching one bumps a counter and has a reason.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

pub use cdn_core::parents::Tier;
use cdn_core::{
    NodeId, PopCode, distribution::Distribution, eviction::EvictionPolicy, geo::GeoMap, geo_restriction::Country,
    realtime_log::RealtimeLog, source_nat::SourceNat, standard_log::LogStyle, store::admission::AdmissionPolicy,
};
use http::uri::Authority;

use crate::{decision_log::DecisionLogOptions, functions::FunctionLimits, tls::Certificate};

/// A cache behind a node, which it may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Which layer it is. A shield is asked only for origins that are shielded.
    pub tier: Tier,
    /// Where it stands.
    pub pop: PopCode,
    /// `ip:port`.
    pub address: Authority,
}

/// A disk tier of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Its directory, which belongs to this node alone. What an earlier process of the node left there is used again.
    pub dir: PathBuf,
    /// Bytes that its files may have in all.
    pub bytes_max: u64,
    /// Everything on which the meaning of a stored response depends: distributions, origins, policies. What was stored
    /// under another text is not used.
    pub generation: String,
}

/// Everything a node needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub id: NodeId,
    /// The point of presence it stands in.
    pub pop: PopCode,
    /// Which layer it is.
    pub tier: Tier,
    /// What it serves. [`Handle::set_distributions`](crate::Handle::set_distributions) replaces this while it runs.
    pub distributions: Vec<Arc<Distribution>>,
    /// Where each origin really listens, by origin id: `ip:port`.
    pub origins: BTreeMap<String, Authority>,
    /// Where origins speak HTTPS, and whom to trust there, by origin id; those that the distributions want by HTTPS.
    pub https_origins: BTreeMap<String, HttpsOrigin>,
    /// Caches between this node and the origins: the first is asked, and the next one where that is of no use. Empty
    /// for none.
    pub parents: Vec<Parent>,
    /// Bytes of bodies and heads that the store may hold.
    pub cache_bytes_max: u64,
    /// Bytes of the largest object that is stored; larger ones stream through.
    pub object_bytes_max: u64,
    /// How bodies are compressed on their way into the store, where a behavior compresses.
    pub compression: Compression,
    /// Who goes when the store is full.
    pub eviction: EvictionPolicy,
    /// Which responses stay once they have arrived.
    pub admission: AdmissionPolicy,
    /// What is kept of the store on a disk; `None` for nothing.
    pub disk: Option<DiskConfig>,
    /// Where its decisions are written down, so that they can be made again; `None` for nowhere.
    pub decision_log: Option<DecisionLogOptions>,
    /// HTTPS for viewers; `None` for none.
    pub https: Option<HttpsConfig>,
    /// Whether HTTP/2 is spoken without TLS with clients that begin with it (RFC 9113 section 3.3). CloudFront does not.
    pub plain_http2: bool,
    /// How lines of the access log are written. Those of a standard log begin with [`STANDARD_LINE`](crate::STANDARD_LINE).
    pub log_style: LogStyle,
    /// Real-time logs, by the id of their distribution. Their records begin with [`REALTIME_LINE`](crate::REALTIME_LINE).
    pub realtime_logs: BTreeMap<String, Arc<RealtimeLog>>,
    /// Everything else that has an end.
    pub limits: Limits,
    /// How addresses of peers are translated before anything looks at them.
    pub source_nat: Option<SourceNat>,
    /// Where viewers are; `None` where nobody knows.
    pub places: Option<Places>,
    /// Seeds request ids and, without a disk tier, the cache key's hash.
    pub seed: u64,
}

/// HTTPS with an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsOrigin {
    /// Where it really listens for HTTPS: `ip:port`.
    pub address: Authority,
    /// Certificates of those whom the origin's certificate must lead to, in PEM; at least one.
    pub authorities_pem: String,
}

/// Where viewers are, by their address.
#[derive(Clone, Debug)]
pub struct Places {
    /// Networks and their places.
    pub map: GeoMap,
    /// What countries are called, by their code.
    pub country_names: BTreeMap<Country, String>,
}

/// HTTPS for viewers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsConfig {
    /// Certificates; the first serves viewers that name nobody. [`Handle::set_certificates`](crate::Handle::set_certificates)
    /// replaces them while the node runs.
    pub certificates: Vec<Certificate>,
    /// The port that redirects name where a viewer has written one.
    pub port: u16,
}

/// How bodies are compressed. Each level is a trade of processor time for size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Level of gzip, within [`GZIP_LEVELS`](Self::GZIP_LEVELS). Default 6, zlib's own.
    pub gzip_level: u8,
    /// Level of br, within [`BROTLI_LEVELS`](Self::BROTLI_LEVELS). Default 5, which takes about twice the time of gzip's
    /// default and saves another tenth.
    pub brotli_level: u8,
    /// Level of zstd, within [`ZSTD_LEVELS`](Self::ZSTD_LEVELS). Default 3, its own.
    pub zstd_level: u8,
    /// Bodies that may be compressed at once; others are stored as they came (`edge_compressions_full_total`). Each
    /// costs up to 4 MiB of memory. Default 32.
    pub at_once_max: usize,
}

impl Compression {
    /// Levels of gzip.
    pub const GZIP_LEVELS: RangeInclusive<u8> = 1..=9;
    /// Levels of br. Those above take 32 MiB per body and hold the worker for 20 ms at a time.
    pub const BROTLI_LEVELS: RangeInclusive<u8> = 0..=6;
    /// Levels of zstd. Those above hold the worker for longer than any of br's.
    pub const ZSTD_LEVELS: RangeInclusive<u8> = 1..=9;
    /// Whether this build has an encoder for zstd (the feature `zstd`).
    pub const HAS_ZSTD: bool = cfg!(feature = "zstd");
}

impl Default for Compression {
    fn default() -> Self {
        Self { gzip_level: 6, brotli_level: 5, zstd_level: 3, at_once_max: 32 }
    }
}

/// The limits of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections that may be open at once. Default 20,000.
    pub connections_max: usize,
    /// Bytes of a request's head. Default 32,768, CloudFront's quota.
    pub header_bytes_max: usize,
    /// Bytes of a request's target. Default 8,192, CloudFront's quota.
    pub uri_bytes_max: usize,
    /// Header lines of a request. Default 100.
    pub headers_max: usize,
    /// From the first byte of a request's head to its last. Default 10 s.
    pub header_timeout: Duration,
    /// Between two pieces of a request's body. Default 30 s.
    pub body_idle_timeout: Duration,
    /// A client connection without a request. Default 60 s.
    pub idle_timeout: Duration,
    /// While a client takes no byte of its response. Default 60 s.
    pub write_timeout: Duration,
    /// A tunnel (WebSocket) on which nothing moves. Default 10 min, CloudFront's quota.
    pub tunnel_idle_timeout: Duration,
    /// A tunnel of which one side has ended and on which nothing moves. Default 5 s.
    pub tunnel_half_open_timeout: Duration,
    /// How long a tunnel may go on when the node stops; it knows no end of its own to wait for. Default 500 ms.
    pub tunnel_drain_grace: Duration,
    /// Streams that one client of HTTP/2 or HTTP/3 may have open. Default 128.
    pub h2_streams_max: u32,
    /// Handshakes of QUIC that may be under way with clients which have not shown yet that they are where they say;
    /// beyond, each has to show it first (Retry, RFC 9000 section 8.1.2; `edge_quic_retries_total`), which costs it a round
    /// trip and the node no memory. Default 256.
    pub quic_unproven_max: usize,
    /// Requests that may wait for somebody else's fetch of one object; more go to the origin. Default 10,000.
    pub waiters_max: u32,
    /// How long a request waits for somebody else's fetch before it tries for itself. Default 60 s.
    pub wait_max: Duration,
    /// Keys that the admission rule remembers at least, where it remembers any. Default 131,072.
    pub admission_keys_max: usize,
    /// Bytes of bodies that may be in memory beside the store: too large to keep, or gone from it while a client still
    /// reads them. Beyond it no fetch is begun (`edge_fetches_shed_total`), and those under way that are not stored bring
    /// only what is read at once. Default 256 MiB.
    pub inflight_bytes_max: u64,
    /// Bytes that a stream which is not stored may run ahead of its slowest reader. Default 1 MiB.
    pub stream_window_bytes: u64,
    /// Bytes of the head of an origin's response. Default 32,768, CloudFront's quota.
    pub origin_header_bytes_max: usize,
    /// How long a regional cache or shield that was silent is left alone. Default 10 s.
    pub parent_retry: Duration,
    /// Targets that a regional cache or shield may owe to be told to forget, because an unsafe method changed them while
    /// it could not be told; beyond, it is told to forget whole distributions (`edge_purges_full_total`). About 40 bytes
    /// each. Default 65,536.
    pub purges_owed_max: usize,
    /// From the accepted connection to the end of its TLS handshake. Default 10 s.
    pub tls_handshake_timeout: Duration,
    /// Verified policies of signed URLs and cookies that are known again; beyond, the oldest are verified anew
    /// (`edge_verified_policies_full_total`). Some 300 bytes each. Default 16,384.
    pub verified_policies_max: usize,
    /// What one call of a viewer function may take. Default 50 ms of processor time (CloudFront's is below 1 ms, on
    /// machines that it chooses), 2 MiB, and 4 KiB said of origins.
    pub functions: FunctionLimits,
    /// Calls of viewer functions that may wait; beyond, they are answered 503 (`edge_function_throttles_total`). Default
    /// 1,000.
    pub function_calls_waiting_max: usize,
    /// From a call of a viewer function to its result, waiting included; beyond, 503. Default 2 s.
    pub function_wait_max: Duration,
    /// Idle connections kept to one origin. Default 64.
    pub origin_idle_max: usize,
    /// Ways in which one origin of HTTPS is described that are kept, each with its sessions to resume: distributions have
    /// few, but a function may have as many as there are requests. Beyond, the oldest is forgotten
    /// (`edge_origin_tls_full_total`). Default 32.
    pub origin_tls_max: usize,
    /// Bytes that may wait to be written to the disk tier; what does not fit is not written. Default 64 MiB.
    pub disk_queue_bytes_max: u64,
    /// Bytes that may be read from the disk tier at once; what does not fit is asked of the origin. Default 64 MiB.
    pub disk_read_bytes_max: u64,
    /// How long requests may still take when the node stops. Default 10 s.
    pub drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            header_bytes_max: 32_768,
            uri_bytes_max: 8_192,
            headers_max: 100,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            tunnel_idle_timeout: Duration::from_secs(600),
            tunnel_half_open_timeout: Duration::from_secs(5),
            tunnel_drain_grace: Duration::from_millis(500),
            h2_streams_max: 128,
            quic_unproven_max: 256,
            waiters_max: 10_000,
            wait_max: Duration::from_secs(60),
            admission_keys_max: 1 << 17,
            inflight_bytes_max: 256 << 20,
            stream_window_bytes: 1 << 20,
            origin_header_bytes_max: 32_768,
            parent_retry: Duration::from_secs(10),
            purges_owed_max: 1 << 16,
            tls_handshake_timeout: Duration::from_secs(10),
            verified_policies_max: 1 << 14,
            functions: FunctionLimits {
                time: Duration::from_millis(50),
                memory_bytes: 2 << 20,
                origins_bytes: 4 << 10,
            },
            function_calls_waiting_max: 1_000,
            function_wait_max: Duration::from_secs(2),
            origin_idle_max: 64,
            origin_tls_max: 32,
            disk_queue_bytes_max: 64 << 20,
            disk_read_bytes_max: 64 << 20,
            drain_grace: Duration::from_secs(10),
        }
    }
}
