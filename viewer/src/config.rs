//! What a viewer node is told before it starts, and every limit it keeps.
//!
//! Decides defaults only. Knows no file format: the root package derives a [`Config`] from the checked cluster.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::tls::Identities;

/// What a viewer node needs to know of its world.
#[derive(Clone, Debug)]
pub struct Config {
    /// The routers, in the order in which a resolver asks them for the first time; later the fastest is asked.
    pub routers: Vec<RouterAddresses>,
    /// The zones of the world without a trailing dot, such as `demo.test` and `cdn.test`. A host outside is refused.
    pub zones: Vec<String>,
    /// The network of the edges' own addresses; a literal address outside is refused.
    pub edges: Ipv4Net,
    /// The network of their IPv6 addresses, where they have any.
    pub edges6: Option<Ipv6Net>,
    /// The port on which every edge serves HTTP; stands in for port 80.
    pub edge_http_port: u16,
    /// The port on which every edge serves HTTPS; stands in for port 443. `None` where no edge does.
    pub edge_https_port: Option<u16>,
    /// Where certificates are, for ledgers that look inside TLS; `None` for none of those.
    pub identities: Option<Arc<dyn Identities>>,
    /// What to call the edges in ledgers, such as `fra`. An address without a name is shown as it is.
    pub edge_names: BTreeMap<IpAddr, String>,
    /// Where a client stands that names no place.
    pub default_place: String,
    /// Every limit.
    pub limits: Limits,
}

/// Where one router listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAddresses {
    /// DNS, UDP and TCP.
    pub dns: SocketAddr,
    /// HTTP routing, which also takes beacons.
    pub http: SocketAddr,
}

impl Config {
    /// The addresses that the default ports give: one router, edges on 127.77.0.0/16, the zones of the demo.
    pub fn with_default_ports(default_place: &str) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            routers: vec![RouterAddresses { dns: loopback(4453), http: loopback(4470) }],
            zones: vec!["demo.test".into(), "cdn.test".into()],
            edges: Ipv4Net::new_assert(Ipv4Addr::new(127, 77, 0, 0), 16),
            edges6: None,
            edge_http_port: 4480,
            edge_https_port: Some(4443),
            identities: None,
            edge_names: BTreeMap::new(),
            default_place: default_place.into(),
            limits: Limits::default(),
        }
    }

    /// Whether `address` lies where edges are.
    pub(crate) fn is_of_edges(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.edges.contains(&address),
            IpAddr::V6(address) => self.edges6.is_some_and(|net| net.contains(&address)),
        }
    }

    /// What to call the node at `address`.
    pub(crate) fn edge_name(&self, address: IpAddr) -> String {
        self.edge_names.get(&address).map_or_else(|| address.to_string(), |name| name.to_ascii_lowercase())
    }
}

/// Every limit of a viewer node. Reaching one has a counter, and an answer that it ends carries a reason.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections that may be open at once; one more is closed at once. Default 4096.
    pub connections_max: usize,
    /// How long a client connection may be silent between requests, or take to send one request head. Default 60 s.
    pub client_idle_timeout: Duration,
    /// Bytes of one request head. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Header lines of one request. Default 100.
    pub headers_max: usize,
    /// How long one connection attempt may take. Default 3 s.
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take, with an edge or with a client that has a look inside. Default 10 s.
    pub tls_timeout: Duration,
    /// How long an attempt may be silent before the next address is tried beside it; the first that connects wins.
    /// An attempt that fails earlier starts the next one at once. Default 1 s: more than three round trips to the other
    /// end of the world, so that distance alone never starts a second connection.
    pub connect_attempt_delay: Duration,
    /// How long an address that failed is tried last. Default 5 s.
    pub dead_for: Duration,
    /// Failed addresses that are remembered; beyond, the oldest is forgotten. Default 1024.
    pub dead_addresses_max: usize,
    /// How long the response head may take. Default 180 s: longer than the longest silence that CloudFront's own
    /// timeouts allow for an origin group (two origins, three connects of 10 s and a response timeout of 60 s each).
    pub response_timeout: Duration,
    /// How long an edge may be silent in the middle of a body. Default 120 s.
    pub body_idle_timeout: Duration,
    /// The longest body that is kept so that an idempotent request can be sent again. Default 64 KiB.
    pub replay_bytes_max: u64,
    /// How long an unused connection to an edge is kept. Default 30 s.
    pub pool_idle_timeout: Duration,
    /// Unused connections to edges that are kept in all; beyond, the oldest is closed. Default 1024.
    pub pool_idle_max: usize,
    /// How long a resolver waits for the first answer, the second, and so on; there are as many tries, each at the next
    /// router. Default 0.8 s, 1.6 s, 3.2 s (doubling, RFC 1536 section 1).
    pub dns_timeouts: Vec<Duration>,
    /// How long DNS over TCP may take in all. Default 5 s.
    pub dns_tcp_timeout: Duration,
    /// Answers that one resolver keeps; beyond, the one that expires first is dropped. Default 1024.
    pub dns_cache_entries_max: usize,
    /// The longest time an answer is kept, whatever its TTL. Default 1 day (RFC 8767 section 4 allows a cap).
    pub dns_ttl_max: Duration,
    /// Lookups that one resolver has under way at once; one more fails. Default 1024.
    pub dns_lookups_max: usize,
    /// The shortest time between two beacons for one client network and edge. Default 1 s.
    pub beacon_interval: Duration,
    /// The shortest time between two measurements of the second address of an answer for one client network; they take a
    /// handshake each, in the background. Zero for none. Default 2 s.
    pub measure_interval: Duration,
    /// Beacons under way at once; one more is dropped. Default 64.
    pub beacons_max: usize,
    /// How long one beacon may take. Default 5 s.
    pub beacon_timeout: Duration,
    /// Ledgers that are kept; beyond, the oldest is dropped. Default 256.
    pub ledgers_max: usize,
    /// Requests of loads that may be under way at once; one more is not made, and counts as failed. Default 20,000.
    pub load_in_flight_max: usize,
    /// Unused connections that the users of one load keep in all; beyond, the oldest is closed. Default 16,384.
    pub load_idle_max: usize,
    /// Observations of one load that wait for their reader; beyond, they are dropped and counted. Default 1,000,000.
    pub load_observations_max: usize,
    /// Clients whose datagrams are passed on for one host at once; those of another are lost. Default 256: a browser opens one
    /// connection to a host, and one more now and then.
    pub relay_clients_max: usize,
    /// Datagrams of one client that wait until they are passed on; beyond, they are lost. Default 256.
    pub relay_datagrams_max: usize,
    /// How long requests under way may go on once the node was told to stop. Default 2 s.
    pub drain_grace: Duration,
    /// How long tunnels may go on once the node was told to stop; they know no end of their own to wait for. Default
    /// 500 ms.
    pub tunnel_drain_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            client_idle_timeout: Duration::from_secs(60),
            head_bytes_max: 64 * 1024,
            headers_max: 100,
            connect_timeout: Duration::from_secs(3),
            tls_timeout: Duration::from_secs(10),
            connect_attempt_delay: Duration::from_secs(1),
            dead_for: Duration::from_secs(5),
            dead_addresses_max: 1024,
            response_timeout: Duration::from_secs(180),
            body_idle_timeout: Duration::from_secs(120),
            replay_bytes_max: 64 * 1024,
            pool_idle_timeout: Duration::from_secs(30),
            pool_idle_max: 1024,
            dns_timeouts: [800, 1600, 3200].map(Duration::from_millis).to_vec(),
            dns_tcp_timeout: Duration::from_secs(5),
            dns_cache_entries_max: 1024,
            dns_ttl_max: Duration::from_secs(86_400),
            dns_lookups_max: 1024,
            beacon_interval: Duration::from_secs(1),
            measure_interval: Duration::from_secs(2),
            beacons_max: 64,
            beacon_timeout: Duration::from_secs(5),
            ledgers_max: 256,
            load_in_flight_max: 20_000,
            load_idle_max: 16_384,
            load_observations_max: 1_000_000,
            relay_clients_max: 256,
            relay_datagrams_max: 256,
            drain_grace: Duration::from_secs(2),
            tunnel_drain_grace: Duration::from_millis(500),
        }
    }
}
