//! The world of the benchmarks: 100,000 client networks in 1000 places, 18 PoPs, one name, and questions of random clients.

use std::net::{Ipv4Addr, SocketAddrV4};

use cdn_core::{
    NodeId, Role,
    geo::{GeoPrefix, Place, Point},
    http_version::HttpVersion,
    routing::{EdgeSite, Pop},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name, RecordType, rdata::opt::EdnsOption},
};
use ipnet::Ipv4Net;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use router::{Config, DistributionNames};

/// Client networks on the map.
pub(crate) const PREFIXES: u32 = 100_000;

/// What is asked for.
pub(crate) const NAME: &str = "www.demo.test";

/// What a router is told.
pub(crate) fn config() -> Config {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut place = || Place {
        point: Point::new(random.random_range(-60.0..70.0), random.random_range(-180.0..180.0)).expect("on the map"),
        country: "".into(),
        label: "".into(),
    };
    let zone = "cdn.test".parse().expect("a name");
    let mut config = Config::new(NodeId::new(Role::Router, "bench"), zone, Ipv4Addr::LOCALHOST);
    config.distributions =
        vec![DistributionNames { id: "demo".into(), aliases: vec![NAME.into()], http_version: HttpVersion::Http2 }];
    config.pops = (0..18u8)
        .map(|at| Pop {
            code: format!("P{}{}", char::from(b'A' + at / 26), char::from(b'A' + at % 26)).parse().expect("a code"),
            place: place(),
            edges: vec![EdgeSite {
                id: NodeId::new(Role::Edge, &format!("p{at}")),
                address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, at), 1),
                address6: None,
            }],
        })
        .collect();
    let places: Vec<Place> = (0..1000).map(|_| place()).collect();
    config.prefixes = (0..PREFIXES)
        .map(|at| GeoPrefix { net: network(at).into(), place: places[at as usize % places.len()].clone() })
        .collect();
    config
}

/// Networks that lie far from each other.
pub(crate) fn network(at: u32) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(at.wrapping_mul(0x9e37_79b9)), 24).trunc()
}

/// Questions of random clients, of whom every one is on the map.
pub(crate) fn questions(count: usize) -> Vec<Vec<u8>> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut question = |at: usize| {
        let mut message = Message::new(at as u16, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii(format!("{NAME}.")).expect("a name");
        message.add_query(Query::query(name, RecordType::A));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        let subnet = network(random.random_range(0..PREFIXES));
        edns.options_mut().insert(EdnsOption::Subnet(ipnet::IpNet::V4(subnet).into()));
        message.set_edns(edns);
        message.to_vec().expect("a message")
    };
    (0..count).map(&mut question).collect()
}
