//! What a router is told at start, checked, and the limits it keeps.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use cdn_core::{
    NodeId, SourceNat,
    dns_cookie::CookieSecrets,
    framing::HeadLimits,
    geo::GeoPrefix,
    http_version::HttpVersion,
    response_rate::ResponseRateOptions,
    routing::{Host, KeptOptions, Pop, RoutingOptions},
    zone::{Conflict, InvalidDomainName, Name, Record},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{names, program::Program};

/// What a router is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own name.
    pub id: NodeId,
    /// The zone of the CDN: distributions are `<id>.cdn.test` in it, edges `edge.iad.cdn.test`, PoPs `iad.cdn.test`.
    pub zone: Name,
    /// Names and addresses of the name servers; those inside `zone` get address records. Must not be empty.
    pub name_servers: Vec<(Name, Ipv4Addr)>,
    /// The distributions and their other names.
    pub distributions: Vec<DistributionNames>,
    /// How distributions are routed, by id; one that is not here is routed as the router routes, to any PoP.
    pub routes: Vec<Host>,
    /// Other records: of these zones, and of others that begin where one of them is a SOA. A SOA or NS records here
    /// replace those that the zone of a distribution has by itself.
    pub records: Vec<Record>,
    /// At which port names of distributions have HTTPS records (RFC 9460), with the chosen edges as hints; `None` for
    /// none. Who sees one takes it for a promise of TLS at that port of every edge (section 9.5 there).
    pub https_records: Option<u16>,
    /// The candidates.
    pub pops: Vec<Pop>,
    /// Client networks and where they are.
    pub prefixes: Vec<GeoPrefix>,
    /// The other routers, who are told what this one makes of the edges.
    pub peers: Vec<Peer>,
    /// How to choose.
    pub routing: RoutingOptions,
    /// What HTTP routing sends clients to.
    pub redirect_to: RedirectTo,
    /// How long HTTP routing keeps a client on the edge that it was sent to before, by a cookie; `None` for not at all.
    pub sticky: Option<Duration>,
    /// How the addresses of peers are translated before they are used for anything.
    pub source_nat: Option<SourceNat>,
    /// What NSID (RFC 5001) and `id.server` (RFC 4892) answer; `None` for nothing.
    pub server_id: Option<String>,
    /// What `version.bind` and `version.server` answer; `None` for nothing.
    pub version: Option<String>,
    /// DNS cookies; `None` for none.
    pub cookies: Option<Cookies>,
    /// Where sampled questions are written; `None` for nowhere.
    pub query_log: Option<QueryLogOptions>,
    /// What routes the hosts whose policy is `program`; where there is none they go by the lowest estimate.
    pub program: Option<Program>,
    /// Limits.
    pub limits: Limits,
}

impl Config {
    /// A router with defaults, for a zone that it serves itself at `address`.
    pub fn new(id: NodeId, zone: Name, address: Ipv4Addr) -> Self {
        let name_server = zone.child("ns1").unwrap_or_else(|_| zone.clone());
        Self {
            server_id: Some(id.to_string()),
            id,
            name_servers: vec![(name_server, address)],
            zone,
            distributions: vec![],
            routes: vec![],
            records: vec![],
            https_records: None,
            pops: vec![],
            prefixes: vec![],
            peers: vec![],
            routing: RoutingOptions::default(),
            redirect_to: RedirectTo::default(),
            sticky: None,
            source_nat: None,
            version: None,
            cookies: None,
            query_log: None,
            program: None,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Checks that all names and records can stand together.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn check(&self) -> Result<(), BuildError> {
        names::build(self, &self.pops, 1).map(drop)
    }
}

/// A distribution as far as names go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionNames {
    /// Its id, which is also its label in the CDN's zone.
    pub id: String,
    /// Alternate domain names; `*.` is allowed as the left-most label. Each lies in a zone that the router serves for
    /// it: the last two labels of the name, unless that is in the CDN's own zone.
    pub aliases: Vec<String>,
    /// What its HTTPS records offer.
    pub http_version: HttpVersion,
}

/// DNS cookies (RFC 7873).
#[derive(Clone, Debug)]
pub struct Cookies {
    /// What they are made with; routers with the same know each other's.
    pub secrets: CookieSecrets,
    /// Whether clients over UDP must have one. Those who have a wrong one or none yet are told so (BADCOOKIE); those who
    /// do not know cookies get truncated answers, and come by TCP. Trusted networks need none.
    pub is_required: bool,
}

/// The query log: a file of JSON lines.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryLogOptions {
    /// Where it is written. At its largest size it is renamed to end in `.1`, in place of the one before.
    pub path: PathBuf,
    /// The share of messages that are written, 0 to 1.
    pub share: f64,
    /// The largest size of the file, in bytes.
    pub bytes_max: u64,
    /// Lines that may wait to be written; beyond them lines are left out.
    pub queue_max: usize,
}

/// Another router of the cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub id: NodeId,
    /// Where it takes opinions: `PUT /opinions` over HTTP/1.1, a document of [`OpinionsJson`](crate::json::OpinionsJson).
    pub address: SocketAddr,
    /// What it wants to see as `Authorization`.
    pub authorization: String,
}

impl fmt::Debug for Peer {
    /// Without what must stay secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).field("address", &self.address).finish_non_exhaustive()
    }
}

/// What HTTP routing sends clients to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectTo {
    /// The edge's address, which needs no resolver, but says nothing of the distribution: edges serve it to whoever asks by
    /// address only where they have no other.
    #[default]
    Address,
    /// The edge's name as a place of the distribution: `iad.shop.cdn.test` for `shop` at `edge.iad`.
    Name,
}

/// Limits; reaching one is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest UDP answer, and what we advertise (RFC 6891). Default 1232, which fits everywhere; 512 or more.
    pub udp_payload_max: u16,
    /// The largest UDP answer to senders that have not shown to be where they say; larger ones are truncated. Default
    /// 512; smaller counts as 512.
    pub udp_unproven_bytes_max: u16,
    /// Answers per second over UDP to senders that have not shown to be where they say. All workers share them.
    pub response_rate: ResponseRateOptions,
    /// Networks whose senders are where they say. Default: loopback, which no other machine can forge.
    pub trusted_networks: Vec<IpNet>,
    /// Aliases (CNAME, DNAME) that one answer follows. Default 16.
    pub aliases_max: usize,
    /// Open DNS connections. Default 1024.
    pub tcp_connections_max: usize,
    /// Open DNS connections of one client address. Default 256.
    pub tcp_connections_per_client_max: usize,
    /// Messages that are answered on one DNS connection before it is closed. Default 100,000.
    pub tcp_queries_max: usize,
    /// How long a DNS connection may be idle, and a message take (RFC 7766). Default 10 s.
    pub tcp_timeout: Duration,
    /// Open HTTP connections. Default 1024.
    pub http_connections_max: usize,
    /// How large the head of an HTTP request may be. Default 16 KiB, 8192 bytes of target and 100 header lines.
    pub http_head: HeadLimits,
    /// How long a client may take for a request's headers, and be idle. Default 10 s.
    pub http_header_timeout: Duration,
    /// How long a client may take for the body of a beacon. Default 5 s.
    pub http_body_timeout: Duration,
    /// The largest beacon in bytes. Default 4096.
    pub beacon_bytes_max: usize,
    /// How much is kept of snapshots that were replaced, so that their decisions can be told again.
    pub kept: KeptOptions,
    /// How long open connections may finish what they are at when the router stops. Default 100 ms.
    pub drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            udp_payload_max: 1232,
            udp_unproven_bytes_max: 512,
            response_rate: ResponseRateOptions::default(),
            trusted_networks: vec![
                IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
                IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
            ],
            aliases_max: 16,
            tcp_connections_max: 1024,
            tcp_connections_per_client_max: 256,
            tcp_queries_max: 100_000,
            tcp_timeout: Duration::from_secs(10),
            http_connections_max: 1024,
            http_head: HeadLimits { head_bytes_max: 16 * 1024, target_bytes_max: 8_192, headers_max: 100 },
            http_header_timeout: Duration::from_secs(10),
            http_body_timeout: Duration::from_secs(5),
            beacon_bytes_max: 4096,
            kept: KeptOptions::default(),
            drain_grace: Duration::from_millis(100),
        }
    }
}

/// A router that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] InvalidDomainName),
    /// Records that cannot stand together. Those of [`Config::records`] are counted from 0.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Two distributions answer to one name.
    #[error("{0} is a name of two distributions")]
    NameTaken(Name),
    /// No name server was given.
    #[error("a zone needs a name server")]
    NoNameServer,
    /// The query log cannot be written.
    #[error("cannot write the query log: {0}")]
    QueryLog(std::io::Error),
    /// A socket could not be used.
    #[error("cannot use the router's socket: {0}")]
    Socket(#[from] std::io::Error),
}
