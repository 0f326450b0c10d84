//! Regions: networks of one country that lie close together, whose ways into the Internet are much the same.

use super::{Place, Point};
use crate::math;

/// How high a region is, in degrees: 445 km. It is about as wide.
const CELL_DEG: f64 = 4.0;

/// A cell of a grid over the globe, as far as it lies in one country. It hangs on no table, so that it outlives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    country: [u8; 2],
    band: i16,
    column: i16,
}

impl Region {
    /// The region of `place`.
    pub fn of(place: &Place) -> Self {
        Self::at(place.point, &place.country)
    }

    pub(super) fn at(point: Point, country: &str) -> Self {
        let band = (point.lat_deg() / CELL_DEG).floor();
        // Meridians run together towards the poles, so that a band has the fewer columns the farther up it lies.
        let width_deg = CELL_DEG / math::cos(((band + 0.5) * CELL_DEG).to_radians()).max(0.05);
        let letter = |at: usize| country.as_bytes().get(at).copied().unwrap_or(b' ');
        Self {
            country: [letter(0), letter(1)],
            band: band as i16,
            column: (point.lon_deg() / width_deg).floor() as i16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_neighbours_of_one_country() {
        let at = |lat, lon, country: &str| Region::at(Point::new(lat, lon).unwrap(), country);
        let hamburg = at(53.55, 9.99, "DE");
        assert_eq!(hamburg, at(52.37, 9.73, "DE"), "Hanover");
        assert_ne!(hamburg, at(53.55, 9.99, "DK"), "across a border");
        assert_ne!(hamburg, at(48.14, 11.58, "DE"), "Munich");
        assert_ne!(at(0.1, 0.1, ""), at(-0.1, -0.1, ""));
        for (lat, lon) in [(90.0, 180.0), (-90.0, -180.0), (89.9, 179.9)] {
            assert_eq!(at(lat, lon, "AQ"), at(lat, lon, "AQ"));
        }
    }
}
