//! Where things are on the globe: coordinates, great-circle distance, countries and the two ways to group them.
//!
//! Decides how far apart two points are. Refuses to know what stands there and how long a packet takes.

use std::{fmt, str::FromStr};

use cdn_core::math;

/// The mean radius of the earth in kilometres (IUGG), the one the path model was fitted with.
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A point on the globe, WGS84, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    lat: f64,
    lon: f64,
    /// The same as a vector of length one: distances then need no trigonometry but one arc sine.
    unit: [f64; 3],
}

/// A latitude beyond the poles, a longitude beyond the date line, or not a number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("latitude {lat} and longitude {lon} are no place: expected -90 to 90 and -180 to 180 degrees")]
pub struct InvalidCoordinates {
    lat: f64,
    lon: f64,
}

impl Coordinates {
    /// A point, latitude first.
    ///
    /// # Errors
    /// Latitude outside -90..=90, longitude outside -180..=180, or either not a number.
    pub fn new(lat: f64, lon: f64) -> Result<Self, InvalidCoordinates> {
        if (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon) {
            let (sin_lat, cos_lat) = math::sin_cos(lat.to_radians());
            let (sin_lon, cos_lon) = math::sin_cos(lon.to_radians());
            Ok(Self { lat, lon, unit: [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat] })
        } else {
            Err(InvalidCoordinates { lat, lon })
        }
    }

    /// Degrees north.
    pub const fn lat(self) -> f64 {
        self.lat
    }

    /// Degrees east.
    pub const fn lon(self) -> f64 {
        self.lon
    }

    /// Great-circle distance, by way of the chord, which is exact for near points too.
    pub fn distance_km(self, other: Self) -> f64 {
        let half_chord = self.chord_squared(other).sqrt() / 2.0;
        2.0 * EARTH_RADIUS_KM * math::asin(half_chord.min(1.0))
    }

    /// Grows with distance; enough to tell which of two points is nearer.
    pub(crate) fn chord_squared(self, other: Self) -> f64 {
        let [x, y, z] = self.unit;
        let [u, v, w] = other.unit;
        (x - u).powi(2) + (y - v).powi(2) + (z - w).powi(2)
    }
}

/// A text is not the code of what it was read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidCode {
    pub(crate) text: String,
    pub(crate) expected: &'static str,
}

/// A country by its two ISO 3166 letters, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// The two letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("??")
    }
}

impl FromStr for CountryCode {
    type Err = InvalidCode;

    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(InvalidCode { text: text.into(), expected: "a country code of two letters" }),
        }
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Declares an enum whose variants have codes: `as_str`, `FromStr`, `Display` and the list of all.
macro_rules! coded_enum {
    ($(#[$meta:meta])* $name:ident, $expected:literal, { $($(#[$doc:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::geo::InvalidCode;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|one| one.as_str().eq_ignore_ascii_case(text))
                    .ok_or_else(|| $crate::geo::InvalidCode { text: text.into(), expected: $expected })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use coded_enum;

coded_enum! {
    /// A continent by its GeoNames code.
    Continent, "a continent: AF, AN, AS, EU, NA, OC or SA", {
        /// Africa.
        Africa = "AF",
        /// Antarctica.
        Antarctica = "AN",
        /// Asia.
        Asia = "AS",
        /// Europe.
        Europe = "EU",
        /// North America.
        NorthAmerica = "NA",
        /// Oceania.
        Oceania = "OC",
        /// South America.
        SouthAmerica = "SA",
    }
}

impl Continent {
    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Africa => "Africa",
            Self::Antarctica => "Antarctica",
            Self::Asia => "Asia",
            Self::Europe => "Europe",
            Self::NorthAmerica => "North America",
            Self::Oceania => "Oceania",
            Self::SouthAmerica => "South America",
        }
    }
}

coded_enum! {
    /// A region of the world whose networks are alike; the path model has a constant per pair of them.
    MacroRegion, "a macro region: NA, SA, EU, AF, ME, CAS, SAS, SEA, EAS or OC", {
        /// North and Central America, the Caribbean.
        NorthAmerica = "NA",
        /// South America.
        SouthAmerica = "SA",
        /// Europe.
        Europe = "EU",
        /// Africa without Egypt.
        Africa = "AF",
        /// The Middle East with Türkiye, Egypt and Cyprus.
        MiddleEast = "ME",
        /// The Caucasus and Central Asia.
        CentralAsia = "CAS",
        /// South Asia.
        SouthAsia = "SAS",
        /// South-East Asia.
        SouthEastAsia = "SEA",
        /// East Asia.
        EastAsia = "EAS",
        /// Oceania.
        Oceania = "OC",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(lat: f64, lon: f64) -> Coordinates {
        Coordinates::new(lat, lon).unwrap()
    }

    fn anywhere() -> impl Strategy<Value = Coordinates> {
        (-90.0..=90.0_f64, -180.0..=180.0_f64).prop_map(|(lat, lon)| at(lat, lon))
    }

    #[test]
    fn distances_are_those_of_the_haversine_formula() {
        // Tokyo to Frankfurt, pole to pole (pi R), a quarter of the equator, and two points a metre apart.
        assert!((at(35.6895, 139.6917).distance_km(at(50.1155, 8.6842)) - 9_331.436_387).abs() < 1e-3);
        assert!((at(90.0, 0.0).distance_km(at(-90.0, 0.0)) - 20_015.114_4).abs() < 1e-3);
        assert!((at(0.0, 0.0).distance_km(at(0.0, 90.0)) - 10_007.557_2).abs() < 1e-3);
        assert!((at(10.0, 20.0).distance_km(at(10.000_009, 20.0)) - 0.001_000_75).abs() < 1e-7);
    }

    #[test]
    fn impossible_coordinates_are_refused() {
        for (lat, lon) in [(90.1, 0.0), (0.0, -180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert!(Coordinates::new(lat, lon).is_err(), "{lat} {lon}");
        }
    }

    #[test]
    fn codes_read_back_what_they_print() {
        for one in MacroRegion::ALL {
            assert_eq!(one.as_str().parse::<MacroRegion>().as_ref(), Ok(one));
        }
        assert_eq!("jp".parse::<CountryCode>().unwrap().to_string(), "JP");
        for wrong in ["", "j", "jpn", "j1", "é"] {
            assert!(wrong.parse::<CountryCode>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in anywhere(), b in anywhere(), c in anywhere()) {
            prop_assert_eq!(a.distance_km(b), b.distance_km(a));
            prop_assert!(a.distance_km(a) == 0.0);
            prop_assert!(a.distance_km(c) <= a.distance_km(b) + b.distance_km(c) + 1e-6);
            prop_assert!(a.distance_km(b) <= 20_015.2);
        }
    }
}
