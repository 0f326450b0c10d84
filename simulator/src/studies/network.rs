//! The addresses of a study, as a router knows them: client networks, and an edge in each PoP.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use cdn_core::{
    NodeId, Role,
    geo::{self, GeoMap, GeoPrefix},
    routing::{EdgeSite, Pop},
};
use ipnet::{IpNet, Ipv4Net};
use world::Place;

use crate::routers::geo_place;

/// Where client networks are: that of city or block `n` is the `n`th /24 of 10.0.0.0/8.
const NETWORKS: u32 = 0x0a00_0000;
/// Where edges are: the edge of PoP `n` is the `n`th address from here.
const EDGES: u32 = 0x7f4d_0000;

/// The first address of a network.
pub(super) fn network_of(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(NETWORKS + (number << 8))
}

/// The address of an edge.
pub(super) fn edge_of(site: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(EDGES + u32::from(site)))
}

/// Whose address it is.
pub(super) fn site_of(address: Ipv4Addr) -> u16 {
    u16::try_from(address.to_bits().wrapping_sub(EDGES)).unwrap_or(u16::MAX)
}

/// PoPs as a router's candidates, each with one edge. A place that has no code is none.
pub(super) fn candidates(pops: &[Place]) -> Vec<Pop> {
    let candidate = |(pop, number): (&Place, u32)| {
        let code = pop.pop_code()?;
        let address = SocketAddrV4::new(Ipv4Addr::from_bits(EDGES + number), 80);
        let id = NodeId::new(Role::Edge, pop.id.as_str());
        Some(Pop { code, place: geo_place(pop)?, edges: vec![EdgeSite { id, address, address6: None }] })
    };
    pops.iter().zip(0..).filter_map(candidate).collect()
}

/// The places of client networks, in their order.
pub(super) fn prefixes(places: impl IntoIterator<Item = Option<geo::Place>>) -> GeoMap {
    GeoMap::build(places.into_iter().zip(0..).filter_map(|(place, number)| {
        let net = Ipv4Net::new(network_of(number), 24).ok()?;
        Some(GeoPrefix { net: IpNet::V4(net), place: place? })
    }))
}
