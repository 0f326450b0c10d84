//! Where client networks are on the map: address prefix → [`Place`].
//!
//! Every prefix of the table is one *block*: the unit by which routing learns and decides, so that all clients of a
//! block get the same answer. Knows great circles; does not know cables, and does not say which edge is best.

mod map;
pub mod prefix_csv;
mod region;
mod words;

use std::{num::NonZeroU32, sync::Arc};

use ipnet::IpNet;

pub use self::{
    map::{Block, GeoMap, GeoMapBuilder},
    region::Region,
};
use crate::math;

/// Mean radius of the earth in kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A point on the globe, WGS 84.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    lat_deg: f64,
    lon_deg: f64,
}

/// Coordinates that are on no map.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("latitude {lat_deg}, longitude {lon_deg} is not a point: latitudes are -90 to 90, longitudes -180 to 180")]
pub struct InvalidPoint {
    lat_deg: f64,
    lon_deg: f64,
}

impl Point {
    /// A point by latitude and longitude in degrees, north and east positive.
    ///
    /// # Errors
    /// [`InvalidPoint`] outside -90 to 90 and -180 to 180.
    pub fn new(lat_deg: f64, lon_deg: f64) -> Result<Self, InvalidPoint> {
        if (-90.0..=90.0).contains(&lat_deg) && (-180.0..=180.0).contains(&lon_deg) {
            Ok(Self { lat_deg, lon_deg })
        } else {
            Err(InvalidPoint { lat_deg, lon_deg })
        }
    }

    /// Degrees north.
    pub const fn lat_deg(self) -> f64 {
        self.lat_deg
    }

    /// Degrees east.
    pub const fn lon_deg(self) -> f64 {
        self.lon_deg
    }

    /// Great-circle distance in kilometres (haversine formula).
    pub fn distance_km(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (self.lat_deg.to_radians(), other.lat_deg.to_radians());
        let half_lat = math::sin((lat_b - lat_a) / 2.0);
        let half_lon = math::sin((other.lon_deg - self.lon_deg).to_radians() / 2.0);
        let h = half_lat * half_lat + math::cos(lat_a) * math::cos(lat_b) * half_lon * half_lon;
        2.0 * EARTH_RADIUS_KM * math::asin(h.clamp(0.0, 1.0).sqrt())
    }
}

/// Somewhere: a point, its country and what people call it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Where.
    pub point: Point,
    /// ISO 3166-1 alpha-2, upper case; empty where unknown.
    pub country: Arc<str>,
    /// For people: `Nairobi`.
    pub label: Arc<str>,
}

/// One line of a prefix table.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoPrefix {
    /// The network.
    pub net: IpNet,
    /// Where its clients are.
    pub place: Place,
}

/// A client block by its position in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(NonZeroU32);

impl BlockId {
    /// The id of the block at `position` of a map. One more is kept, so that "none" needs no room of its own: a map holds
    /// an `Option<BlockId>` per range.
    fn new(position: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(id(position)))
    }

    /// Its position among the blocks of its map.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A place by its position in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceId(u32);

impl PlaceId {
    /// The id of the place at `position` of a map.
    pub(crate) fn new(position: usize) -> Self {
        Self(id(position))
    }

    /// Its position among the places of its map.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A position as an id. A table of more than 2^32 prefixes does not fit in memory, let alone here.
fn id(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(label: &str, lat_deg: f64, lon_deg: f64) -> Place {
        Place { point: Point::new(lat_deg, lon_deg).unwrap(), country: "".into(), label: label.into() }
    }

    #[test]
    fn distances_are_great_circles() {
        let (berlin, sydney) = (Point::new(52.52, 13.405).unwrap(), Point::new(-33.8688, 151.2093).unwrap());
        assert_eq!(berlin.distance_km(sydney).round(), 16095.0);
        assert_eq!(berlin.distance_km(berlin), 0.0);
        let antipodes = Point::new(0.0, 0.0).unwrap().distance_km(Point::new(0.0, 180.0).unwrap());
        assert_eq!(antipodes.round(), 20015.0);
    }

    #[test]
    fn coordinates_off_the_map_are_refused() {
        for (lat, lon) in [(90.1, 0.0), (0.0, -180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert!(Point::new(lat, lon).is_err(), "{lat} {lon}");
        }
    }

    #[test]
    fn blocks_of_one_place_share_it() {
        let map = GeoMap::build(
            [("198.18.1.0/24", "a"), ("198.18.2.0/24", "a"), ("2001:db8::/32", "b")]
                .map(|(net, label)| GeoPrefix { net: net.parse().unwrap(), place: place(label, 1.0, 2.0) }),
        );
        assert_eq!((map.place_ids().len(), map.networks()), (2, 3));
        assert_eq!(&*map.locate("198.18.2.7".parse().unwrap()).unwrap().label, "a");
        assert_eq!(&*map.locate("::ffff:198.18.2.7".parse().unwrap()).unwrap().label, "a");
        assert_eq!(&*map.locate("2001:db8::1".parse().unwrap()).unwrap().label, "b");
        assert_eq!(map.locate("198.18.3.7".parse().unwrap()), None);
        assert_eq!(map.country_of("198.18.2.7".parse().unwrap()), None, "it is empty");
        assert_eq!(map.find("198.18.2.7".parse().unwrap()).1, 24);
    }
}
