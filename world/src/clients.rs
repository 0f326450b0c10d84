//! Client networks: which addresses stand for which place.
//!
//! Decides the block of every place and the addresses of its viewer and resolver. Refuses to know routers: that they
//! see the block and not the place is the point.
//!
//! 198.18.0.0/15 (RFC 2544, set aside for tests) has 512 blocks of /24. 512 cities head one block each, in order of
//! their rank: the first city of every country, then the largest. Every other place is in the block of the nearest head
//! of its country, since the country of a block is what edges tell origins. On this machine the same low 17 bits below
//! 127.18.0.0/15 are the source addresses that sockets bind.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use crate::{
    atlas::{Atlas, Place},
    geo::CountryCode,
};

/// The addresses of all client networks in the world.
pub const CLIENT_NETWORKS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);

/// What [`CLIENT_NETWORKS`] is on this machine's loopback interface.
pub const LOOPBACK_NETWORKS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 18, 0, 0), 15);

/// Blocks in [`CLIENT_NETWORKS`].
const BLOCKS: usize = 512;

/// The last byte of the first viewer of a block.
const VIEWER: u8 = 10;

/// The last byte of a block's resolver.
const RESOLVER: u8 = 53;

/// The addresses that stand for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNetwork {
    /// The block; it is shared with places nearby.
    pub block: Ipv4Net,
    /// The viewer in that place and no other.
    pub viewer: Ipv4Addr,
    /// The resolver of the block.
    pub resolver: Ipv4Addr,
}

/// A row of the prefix table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientBlock<'a> {
    /// The network.
    pub net: Ipv4Net,
    /// The city that heads it: where a geolocation database would put the whole block.
    pub head: &'a Place,
}

impl Atlas {
    /// The addresses that stand for a place; `None` for a place that is not of this atlas.
    pub fn client_network(&self, place: &Place) -> Option<ClientNetwork> {
        let index = self.index_of(place.id.as_str())?;
        let viewer = *self.clients().viewers.get(usize::from(index))?;
        let [a, b, c, _] = viewer.octets();
        let block = Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), 24);
        Some(ClientNetwork { block, viewer, resolver: Ipv4Addr::new(a, b, c, RESOLVER) })
    }

    /// All blocks, in the order of their addresses.
    pub fn prefix_table(&self) -> Vec<ClientBlock<'_>> {
        let heads = self.clients().heads.iter().enumerate();
        heads.map(|(block, &head)| ClientBlock { net: net(block), head: self.at(head) }).collect()
    }

    /// The place whose viewer has this world address; of a resolver or an unused address the head of the block.
    pub fn place_of(&self, address: Ipv4Addr) -> Option<&Place> {
        if !CLIENT_NETWORKS.contains(&address) {
            return None;
        }
        let clients = self.clients();
        let by_address = &clients.by_address;
        let viewer = by_address.binary_search_by_key(&address, |&(viewer, _)| viewer).ok();
        let viewer = viewer.and_then(|found| by_address.get(found)).map(|&(_, index)| index);
        viewer.or_else(|| clients.heads.get(block(address)).copied()).map(|index| self.at(index))
    }
}

/// The loopback address that a world address binds on this machine: 198.18.41.10 is 127.18.41.10. `None` outside
/// [`CLIENT_NETWORKS`].
pub fn loopback_twin(world: Ipv4Addr) -> Option<Ipv4Addr> {
    translated(world, CLIENT_NETWORKS, LOOPBACK_NETWORKS)
}

/// The world address of a loopback address: the inverse of [`loopback_twin`].
pub fn world_twin(loopback: Ipv4Addr) -> Option<Ipv4Addr> {
    translated(loopback, LOOPBACK_NETWORKS, CLIENT_NETWORKS)
}

fn translated(address: Ipv4Addr, from: Ipv4Net, to: Ipv4Net) -> Option<Ipv4Addr> {
    let low_bits = address.to_bits() & !from.netmask().to_bits();
    from.contains(&address).then(|| Ipv4Addr::from_bits(to.addr().to_bits() | low_bits))
}

fn net(block: usize) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(CLIENT_NETWORKS.addr().to_bits() | (block as u32) << 8), 24)
}

fn block(address: Ipv4Addr) -> usize {
    ((address.to_bits() & !CLIENT_NETWORKS.netmask().to_bits()) >> 8) as usize
}

/// Which address stands for which place, by position in the atlas.
pub(crate) struct ClientNetworks {
    /// The city at the head of each block.
    heads: Vec<u16>,
    /// The viewer's address of each place.
    viewers: Vec<Ipv4Addr>,
    /// Sorted by address.
    by_address: Vec<(Ipv4Addr, u16)>,
}

impl ClientNetworks {
    /// Spreads the blocks over the places.
    pub(crate) fn new(atlas: &Atlas) -> Self {
        let heads = heads(atlas);
        // Heads by country: (country, block), sorted.
        let mut countries: Vec<(CountryCode, usize)> =
            heads.iter().enumerate().map(|(block, &head)| (atlas.at(head).country, block)).collect();
        countries.sort_unstable();
        let block_of = |place: &Place| {
            let first = countries.partition_point(|&(country, _)| country < place.country);
            let count = countries[first..].partition_point(|&(country, _)| country == place.country);
            let same = match count {
                0 => &countries[..],
                _ => &countries[first..first + count],
            };
            let far = |&&(_, block): &&(CountryCode, usize)| {
                atlas.at(heads[block]).coordinates.chord_squared(place.coordinates)
            };
            same.iter().min_by(|a, b| far(a).total_cmp(&far(b))).map_or(0, |&(_, block)| block)
        };

        let mut next = [VIEWER; BLOCKS];
        // The head of a block has its first address, whatever the order of places.
        let mut viewers = vec![Ipv4Addr::UNSPECIFIED; atlas.places().count()];
        let own = heads.iter().copied().enumerate();
        let others = atlas.places().zip(0..).filter(|(_, index)| heads.binary_search(index).is_err());
        for (block, index) in own.chain(others.map(|(place, index)| (block_of(place), index))) {
            let host = next[block];
            assert!(host < u8::MAX, "{}: too many places in one block", net(block));
            next[block] = if host + 1 == RESOLVER { host + 2 } else { host + 1 };
            viewers[usize::from(index)] = Ipv4Addr::from_bits(net(block).addr().to_bits() | u32::from(host));
        }
        let mut by_address: Vec<_> = viewers.iter().copied().zip(0..).collect();
        by_address.sort_unstable();
        Self { heads, viewers, by_address }
    }
}

/// The cities that head a block, by rank: the first of every country, then the largest of all.
fn heads(atlas: &Atlas) -> Vec<u16> {
    let mut seen = BTreeSet::new();
    let cities = atlas.cities().iter().zip(0_u16..).map(|(city, index)| (city.place.country, index));
    let (mut heads, others): (Vec<_>, Vec<_>) = cities.partition(|&(country, _)| seen.insert(country));
    heads.extend(others);
    heads.truncate(BLOCKS);
    let mut heads: Vec<u16> = heads.into_iter().map(|(_, index)| index).collect();
    heads.sort_unstable();
    heads
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_place_has_its_own_viewer_in_a_block_of_its_country() {
        let atlas = Atlas::embedded();
        let mut viewers = BTreeSet::new();
        let heads = atlas.prefix_table();
        for place in atlas.places() {
            let ClientNetwork { block, viewer, resolver } = atlas.client_network(place).unwrap();
            assert!(viewers.insert(viewer), "{place} shares {viewer}");
            assert!(block.contains(&viewer) && block.contains(&resolver) && viewer != resolver, "{place}");
            assert!(CLIENT_NETWORKS.contains(&block));
            assert_eq!(atlas.place_of(viewer), Some(place));
            let head = heads.iter().find(|row| row.net == block).unwrap().head;
            assert_eq!(atlas.place_of(resolver), Some(head));
            assert_eq!(head.country, place.country, "{place} is in the block of {head}");
        }
    }

    #[test]
    fn blocks_are_headed_by_all_countries_and_the_largest_cities_in_order_of_rank() {
        let atlas = Atlas::embedded();
        let table = atlas.prefix_table();
        assert_eq!(table.len(), BLOCKS);
        assert!(table.is_sorted_by_key(|row| row.net));
        let countries: BTreeSet<_> = table.iter().map(|row| row.head.country).collect();
        assert_eq!(countries.len(), 217);
        assert_eq!((table[0].net.to_string().as_str(), table[0].head.id.as_str()), ("198.18.0.0/24", "shanghai"));
        assert_eq!(table[511].net.to_string(), "198.19.255.0/24");
        for row in &table {
            let network = atlas.client_network(row.head).unwrap();
            assert_eq!((network.block, network.viewer.octets()[3]), (row.net, VIEWER));
        }
    }

    #[test]
    fn addresses_outside_the_world_have_no_place() {
        let atlas = Atlas::embedded();
        for outside in [Ipv4Addr::new(198, 17, 255, 255), Ipv4Addr::new(198, 20, 0, 0), Ipv4Addr::LOCALHOST] {
            assert_eq!(atlas.place_of(outside), None);
            assert_eq!(loopback_twin(outside), None);
        }
        assert_eq!(loopback_twin(Ipv4Addr::new(198, 19, 41, 10)), Some(Ipv4Addr::new(127, 19, 41, 10)));
    }

    proptest! {
        #[test]
        fn twins_are_inverse(low_bits in 0_u32..1 << 17) {
            let world = Ipv4Addr::from_bits(CLIENT_NETWORKS.addr().to_bits() | low_bits);
            let loopback = loopback_twin(world).unwrap();
            prop_assert!(loopback.is_loopback());
            prop_assert_eq!(world_twin(loopback), Some(world));
            prop_assert!(Atlas::embedded().place_of(world).is_some());
        }
    }
}
