//! The door by which fuzz targets (`fuzz/`) reach what is private here. Compiled for them alone.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

use cdn_core::{
    NodeId, Role,
    dns_cookie::{CookieSecret, CookieSecrets},
    geo::{GeoPrefix, Place, Point},
    http_version::HttpVersion,
    routing::{EdgeSite, Pop},
};

use crate::{
    Config, Cookies, DistributionNames, Handle,
    control::Control,
    dns,
    ecs::Subnet,
    exchange::{Exchange, Transport},
    respond::Responder,
    wire::Query,
};

/// What the parser of usual questions read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name in lower case, label by label, each preceded by its length.
    pub name: Vec<u8>,
    /// The type.
    pub wanted: u16,
    /// Payload size, version and DO of an OPT record.
    pub edns: Option<(u16, u8, bool)>,
}

/// Reads a message as the fast path does; `None` where it leaves it to the complete parser.
pub fn usual_question(message: &[u8]) -> Option<Asked> {
    let query = Query::parse(message)?;
    let edns = query.edns.map(|edns| (edns.payload_max, edns.version, edns.dnssec_ok));
    Some(Asked { name: query.name().to_vec(), wanted: query.wanted.0, edns })
}

/// Reads the data of a client subnet option: the address as far as it is told and the length of its prefix, and what
/// an answer with `scope_len` echoes. `None` where it is malformed.
pub fn subnet(data: &[u8], scope_len: u8) -> Option<(Option<IpAddr>, Vec<u8>)> {
    let subnet = Subnet::parse(data).ok()?;
    let mut echoed = vec![];
    subnet.answer(scope_len, &mut echoed);
    Some((subnet.client().map(|(address, _)| address), echoed))
}

/// A router for `www.demo.test` with one edge in Frankfurt and one in Tokyo.
pub fn handle() -> Handle {
    let place =
        |lat, lon| Place { point: Point::new(lat, lon).expect("on the map"), country: "".into(), label: "".into() };
    let pop = |code: &str, last, place| Pop {
        code: code.parse().expect("a code"),
        place,
        edges: vec![EdgeSite {
            id: NodeId::new(Role::Edge, code),
            address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, last), 80),
            address6: None,
        }],
    };
    let zone = "cdn.test".parse().expect("a name");
    let mut config = Config::new(NodeId::new(Role::Router, "fuzz"), zone, Ipv4Addr::LOCALHOST);
    config.distributions = vec![DistributionNames {
        id: "demo".into(),
        aliases: vec!["www.demo.test".into()],
        http_version: HttpVersion::Http2,
    }];
    config.pops = vec![pop("FRA", 1, place(50.0, 8.6)), pop("NRT", 2, place(35.8, 140.4))];
    config.prefixes = vec![GeoPrefix { net: "198.18.3.0/24".parse().expect("a network"), place: place(34.7, 135.5) }];
    config.routing.explore_share = 0.0;
    let secrets = CookieSecrets::fixed(CookieSecret::new([7; 16]));
    config.cookies = Some(Cookies { secrets, is_required: false });
    Handle { control: Arc::new(Control::build(config).expect("a router")) }
}

/// The answer of a router, and that of its complete parser alone.
pub fn answers(handle: &Handle, message: &[u8], is_stream: bool) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let control = &handle.control;
    let published = control.published();
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let transport = if is_stream { Transport::Tcp } else { Transport::Udp };
    let (mut ours, mut complete) = (vec![], vec![]);
    let is_answered =
        Responder::new(Arc::clone(control)).handle_message(&published, message, peer, transport, &mut ours);
    let mut exchange = Exchange::new(control, None, transport, peer);
    let sent = dns::handle_message(&published, message, &mut exchange, 0, &mut complete);
    (is_answered.then_some(ours), sent.is_ok().then_some(complete))
}
