//! The prefix table, ready to be asked.
//!
//! Made for a hundred thousand networks and more: a place is sixteen bytes, a name is kept once, and a table is read into
//! it line by line, so that nothing but the map is ever as long as the table.

use std::{
    hash::{Hash, Hasher as _},
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
};

use hashbrown::HashTable;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use siphasher::sip::SipHasher13;

use super::{
    BlockId, GeoPrefix, Place, PlaceId, Point, Region,
    words::{Words, WordsBuilder},
};
use crate::range_map::{IpRangeMap, RangeMap};

/// Steps of a degree in which coordinates are kept, as OpenStreetMap does: the next is 11 mm away.
const STEPS_PER_DEG: f64 = 1e7;

/// A client block: a network all of whose clients are in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its network; longer prefixes inside it are blocks of their own.
    pub net: IpNet,
    /// Where it is.
    pub place: PlaceId,
}

/// The prefix table, ready to be asked.
#[derive(Clone, Debug)]
pub struct GeoMap {
    places: Box<[PackedPlace]>,
    words: Words,
    /// Blocks of IPv4, which need half the room, and behind them those of IPv6; each in the order of addresses.
    v4: Box<[(Ipv4Net, PlaceId)]>,
    v6: Box<[(Ipv6Net, PlaceId)]>,
    ranges: IpRangeMap<Option<BlockId>>,
}

/// A prefix table that is being read. Of nested prefixes the longest holds; of one given twice, the later.
#[derive(Debug, Default)]
pub struct GeoMapBuilder {
    places: Vec<PackedPlace>,
    known: HashTable<PlaceId>,
    words: WordsBuilder,
    v4: Vec<(Ipv4Net, PlaceId)>,
    v6: Vec<(Ipv6Net, PlaceId)>,
}

/// A [`Place`]; texts by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PackedPlace {
    lat: i32,
    lon: i32,
    country: u32,
    label: u32,
}

impl GeoMapBuilder {
    /// A place of the map. Coordinates are kept to a ten-millionth of a degree, which is 11 mm.
    pub fn place(&mut self, point: Point, country: &str, label: &str) -> PlaceId {
        // A point is within 180 degrees, so the steps fit.
        let steps = |degrees: f64| (degrees * STEPS_PER_DEG).round() as i32;
        let packed = PackedPlace {
            lat: steps(point.lat_deg()),
            lon: steps(point.lon_deg()),
            country: self.words.number(country),
            label: self.words.number(label),
        };
        let places = &self.places;
        if let Some(&place) = self.known.find(hash(&packed), |place| places.get(place.index()) == Some(&packed)) {
            return place;
        }
        let place = PlaceId::new(places.len());
        self.places.push(packed);
        let places = &self.places;
        self.known.insert_unique(hash(&packed), place, |place| places.get(place.index()).map_or(0, hash));
        place
    }

    /// A network whose clients are at `place`.
    pub fn network(&mut self, net: IpNet, place: PlaceId) {
        match net {
            IpNet::V4(net) => self.v4.push((net.trunc(), place)),
            IpNet::V6(net) => self.v6.push((net.trunc(), place)),
        }
    }

    /// A line of a table.
    pub fn add(&mut self, prefix: &GeoPrefix) {
        let place = self.place(prefix.place.point, &prefix.place.country, &prefix.place.label);
        self.network(prefix.net, place);
    }

    /// How many networks there are yet.
    pub const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is no network yet.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The map.
    pub fn build(self) -> GeoMap {
        let Self { places, known, words, mut v4, mut v6 } = self;
        // Each is gone before the next takes its room: while one map is made another is in use.
        drop(known);
        let words = words.build();
        // Everything lies in the order of addresses, in which snapshots go through it.
        v4.sort_by_key(|&(net, _)| net);
        v6.sort_by_key(|&(net, _)| net);
        let (v4, v6) = (v4.into_boxed_slice(), v6.into_boxed_slice());
        let mut map = GeoMap { places: Box::default(), words, v4, v6, ranges: IpRangeMap::of(None) };
        map.places = map.in_order_of_blocks(places);
        let first6 = map.v4.len();
        let v4 = map.v4.iter().enumerate().map(|(at, (net, _))| {
            let block = Some(BlockId::new(at));
            (net.network().to_bits(), net.prefix_len(), block)
        });
        let v6 = map.v6.iter().enumerate().map(|(at, (net, _))| {
            let block = Some(BlockId::new(first6 + at));
            (net.network().to_bits(), net.prefix_len(), block)
        });
        let ranges = IpRangeMap { v4: RangeMap::of_sorted(v4, None), v6: RangeMap::of_sorted(v6, None) };
        map.ranges = ranges;
        map
    }
}

impl GeoMap {
    /// Builds the map of `prefixes`, as [`GeoMapBuilder`] does.
    pub fn build(prefixes: impl IntoIterator<Item = GeoPrefix>) -> Self {
        let mut builder = GeoMapBuilder::default();
        prefixes.into_iter().for_each(|prefix| builder.add(&prefix));
        builder.build()
    }

    /// The block of `address`, and the shortest prefix around it that lies in that block alone (or in none at all).
    pub fn find(&self, address: IpAddr) -> (Option<BlockId>, u8) {
        self.ranges.find(address)
    }

    /// The block of `address`.
    pub fn block_of(&self, address: IpAddr) -> Option<BlockId> {
        self.ranges.value(address)
    }

    /// Where `address` is, if the table knows.
    pub fn locate(&self, address: IpAddr) -> Option<Place> {
        self.block_of(address).map(|block| self.place_of(block))
    }

    /// The country of `address` (ISO 3166-1 alpha-2), if the table knows.
    pub fn country_of(&self, address: IpAddr) -> Option<&str> {
        let place = self.block(self.block_of(address)?).place;
        let country = self.words.text(self.places.get(place.index())?.country);
        Some(country).filter(|country| !country.is_empty())
    }

    /// How many blocks there are.
    pub const fn networks(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// One block.
    ///
    /// # Panics
    /// If `block` comes from another map.
    pub fn block(&self, block: BlockId) -> Block {
        let at = block.index();
        let (net, place) = match self.v4.get(at) {
            Some(&(net, place)) => (IpNet::V4(net), place),
            None => {
                let (net, place) = self.v6[at - self.v4.len()];
                (IpNet::V6(net), place)
            }
        };
        Block { net, place }
    }

    /// Where a block is.
    ///
    /// # Panics
    /// If `block` comes from another map.
    pub fn place_of(&self, block: BlockId) -> Place {
        let PackedPlace { country, label, .. } = self.places[self.block(block).place.index()];
        let text = |number| -> Arc<str> { self.words.text(number).into() };
        Place { point: self.point(self.block(block).place), country: text(country), label: text(label) }
    }

    /// Where a place is.
    ///
    /// # Panics
    /// If `place` comes from another map.
    pub fn point(&self, place: PlaceId) -> Point {
        let PackedPlace { lat, lon, .. } = self.places[place.index()];
        let degrees = |steps: i32| f64::from(steps) / STEPS_PER_DEG;
        Point { lat_deg: degrees(lat), lon_deg: degrees(lon) }
    }

    /// The region of a place.
    ///
    /// # Panics
    /// If `place` comes from another map.
    pub fn region(&self, place: PlaceId) -> Region {
        Region::at(self.point(place), self.words.text(self.places[place.index()].country))
    }

    /// The ids of all places, each once.
    pub fn place_ids(&self) -> impl ExactSizeIterator<Item = PlaceId> + use<> {
        (0..self.places.len()).map(PlaceId::new)
    }

    /// The ids of all blocks, in the order of their addresses.
    pub fn block_ids(&self) -> impl ExactSizeIterator<Item = BlockId> + use<> {
        (0..self.networks()).map(BlockId::new)
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let blocks = size_of_val(&*self.v4) + size_of_val(&*self.v6);
        size_of_val(&*self.places) + blocks + self.words.bytes() + self.ranges.bytes()
    }

    /// Blocks by address range.
    pub const fn ranges(&self) -> &IpRangeMap<Option<BlockId>> {
        &self.ranges
    }

    /// `places` in the order in which the blocks name them; the blocks have their new names then.
    fn in_order_of_blocks(&mut self, places: Vec<PackedPlace>) -> Box<[PackedPlace]> {
        let mut renamed: Vec<Option<NonZeroU32>> = vec![None; places.len()];
        let mut ordered = Vec::with_capacity(places.len());
        let v4 = self.v4.iter_mut().map(|(_, place)| place);
        for place in v4.chain(self.v6.iter_mut().map(|(_, place)| place)) {
            let Some(name) = renamed.get_mut(place.index()) else { continue };
            // One more than the name.
            let name = name.get_or_insert_with(|| {
                ordered.extend(places.get(place.index()));
                NonZeroU32::MIN.saturating_add(super::id(ordered.len() - 1))
            });
            *place = PlaceId::new(name.get() as usize - 1);
        }
        ordered.into()
    }
}

/// Where something is looked for. The seed is fixed: who writes the table could only slow down his own router.
pub(super) fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish()
}
