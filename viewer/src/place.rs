//! A viewer's standing: the site it is at, its address there, and its resolver's.
//!
//! Decides nothing about geography: whoever implements [`Places`] knows the map and answers a misspelt place with a
//! sentence. Addresses of the world are 198.18.0.0/15; a socket on this machine is bound to the loopback twin.

use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use world::SiteId;

use crate::net::Source;

/// Where a viewer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The place as tables show it, such as `tokyo`.
    pub place: String,
    /// The site on the world's links.
    pub site: SiteId,
    /// The client network that viewers of this place share, a /24 of 198.18.0.0/15.
    pub network: Ipv4Net,
    /// The viewer's own address in `network`.
    pub viewer: Ipv4Addr,
    /// The address of the resolver in `network`.
    pub resolver: Ipv4Addr,
}

impl Standing {
    /// A standing in `network` with the viewer's address at host number `viewer_host` and the resolver at 53.
    pub fn new(place: &str, site: SiteId, network: Ipv4Net, viewer_host: u8) -> Self {
        let host = |number: u8| {
            let [a, b, c, _] = network.network().octets();
            Ipv4Addr::new(a, b, c, number)
        };
        Self { place: place.into(), site, network, viewer: host(viewer_host), resolver: host(53) }
    }

    /// Where the viewer's sockets come from.
    pub fn viewer_source(&self) -> Source {
        Source { site: self.site.clone(), address: loopback_twin(self.viewer) }
    }

    /// Where its resolver's sockets come from.
    pub fn resolver_source(&self) -> Source {
        Source { site: self.site.clone(), address: loopback_twin(self.resolver) }
    }
}

/// The loopback address that stands for an address of the world: 198.18.41.7 is 127.18.41.7.
pub fn loopback_twin(address: Ipv4Addr) -> Ipv4Addr {
    let [_, b, c, d] = address.octets();
    Ipv4Addr::new(127, b, c, d)
}

/// The map, as far as a viewer needs it.
pub trait Places: Send + Sync + 'static {
    /// Where one stands who says `place`: a city, a PoP code or a region, in any case.
    ///
    /// # Errors
    /// No such place; the sentence names the nearest ones.
    fn standing(&self, place: &str) -> Result<Standing, UnknownPlace>;
}

/// Nobody can stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPlace(
    /// One sentence for people, with "did you mean" where something is near.
    pub String,
);

impl fmt::Display for UnknownPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownPlace {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewer_and_resolver_share_a_network_and_bind_loopback_twins() {
        let network = "198.19.41.0/24".parse().unwrap();
        let standing = Standing::new("nairobi", SiteId::new("nairobi"), network, 7);
        assert_eq!(standing.viewer, Ipv4Addr::new(198, 19, 41, 7));
        assert_eq!(standing.resolver, Ipv4Addr::new(198, 19, 41, 53));
        assert_eq!(standing.viewer_source().address, Ipv4Addr::new(127, 19, 41, 7));
        assert_eq!(standing.resolver_source().address, Ipv4Addr::new(127, 19, 41, 53));
    }
}
