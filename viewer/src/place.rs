//! A viewer's standing: the site it is at, its address there, and its resolver's.
//!
//! Decides nothing about geography: whoever implements [`Places`] knows the map (`world`'s [`Atlas`] does) and answers
//! a misspelt place with a sentence. Addresses of the world are 198.18.0.0/15; a socket on this machine is bound to the
//! loopback twin, so that routers and edges see who asks.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use world::{Atlas, SiteId, UnknownPlace, loopback_twin};

use crate::net::Source;

/// Where a viewer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The place as tables show it, such as `tokyo`.
    pub place: String,
    /// The site on the world's links, of the viewer and of its resolver.
    pub site: SiteId,
    /// The client network, a /24 of 198.18.0.0/15; places nearby may share it.
    pub network: Ipv4Net,
    /// The viewer's own address.
    pub viewer: Ipv4Addr,
    /// The address of the resolver.
    pub resolver: Ipv4Addr,
}

impl Standing {
    /// Where the viewer's sockets come from.
    pub fn viewer_source(&self) -> Source {
        self.source(self.viewer)
    }

    /// Where its resolver's sockets come from.
    pub fn resolver_source(&self) -> Source {
        self.source(self.resolver)
    }

    /// An address that is none of the world's is bound as it is.
    fn source(&self, address: Ipv4Addr) -> Source {
        Source { site: self.site.clone(), address: loopback_twin(address).unwrap_or(address) }
    }
}

/// The map, as far as a viewer needs it.
pub trait Places: Send + Sync + 'static {
    /// Where one stands who says `place`: a city, a PoP code or a region, in any case.
    ///
    /// # Errors
    /// No such place; the nearest names are with it.
    fn standing(&self, place: &str) -> Result<Standing, UnknownPlace>;
}

impl Places for &'static Atlas {
    fn standing(&self, place: &str) -> Result<Standing, UnknownPlace> {
        let place = self.place(place)?;
        let nowhere = || UnknownPlace { name: place.id.to_string(), suggestions: Vec::new() };
        let network = self.client_network(place).ok_or_else(nowhere)?;
        Ok(Standing {
            place: place.id.to_string(),
            site: place.id.clone(),
            network: network.block,
            viewer: network.viewer,
            resolver: network.resolver,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewer_and_resolver_share_a_network_and_bind_loopback_twins() {
        let standing = Places::standing(&Atlas::embedded(), "Tokyo").unwrap();
        assert_eq!(standing.site, SiteId::new("tokyo"));
        for address in [standing.viewer, standing.resolver] {
            assert!(standing.network.contains(&address), "{address} in {}", standing.network);
        }
        let [_, second, third, last] = standing.viewer.octets();
        assert_eq!(standing.viewer_source().address, Ipv4Addr::new(127, second, third, last));
        assert_eq!(standing.resolver_source().address, Ipv4Addr::new(127, second, third, 53));
    }

    #[test]
    fn a_misspelt_place_gets_its_neighbours_named() {
        let error = Places::standing(&Atlas::embedded(), "tokio").unwrap_err();
        assert!(error.to_string().contains("did you mean \"Tokyo\""), "{error}");
    }
}
