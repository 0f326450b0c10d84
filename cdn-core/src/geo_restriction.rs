//! Geographic restriction: which countries a distribution is served in.
//!
//! Decides by country alone, as CloudFront does. Where a viewer is somebody else knows ([`crate::geo::GeoMap`]); a viewer
//! of whom nobody knows it is served.

use std::collections::BTreeSet;

/// A country by its code (ISO 3166-1 alpha-2), upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads a code in either case; `None` where it has not two letters.
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            &[one, two] if one.is_ascii_alphabetic() && two.is_ascii_alphabetic() => {
                Some(Self([one.to_ascii_uppercase(), two.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }
}

/// Where a distribution is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GeoRestriction {
    /// Everywhere.
    #[default]
    None,
    /// In these countries alone.
    Allow(BTreeSet<Country>),
    /// Everywhere but in these countries.
    Block(BTreeSet<Country>),
}

impl GeoRestriction {
    /// Whether it asks where viewers are.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether a viewer is served; `None` is one of whom nobody knows where it is.
    pub fn serves(&self, country: Option<Country>) -> bool {
        match (self, country) {
            (Self::None, _) | (_, None) => true,
            (Self::Allow(countries), Some(country)) => countries.contains(&country),
            (Self::Block(countries), Some(country)) => !countries.contains(&country),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn countries(codes: &[&str]) -> BTreeSet<Country> {
        codes.iter().map(|code| Country::parse(code).unwrap()).collect()
    }

    #[test]
    fn viewers_are_served_by_their_country_and_when_nobody_knows_it() {
        let (de, fr) = (Country::parse("de"), Country::parse("FR"));
        let allow = GeoRestriction::Allow(countries(&["DE"]));
        assert_eq!([allow.serves(de), allow.serves(fr), allow.serves(None)], [true, false, true]);
        let block = GeoRestriction::Block(countries(&["DE"]));
        assert_eq!([block.serves(de), block.serves(fr), block.serves(None)], [false, true, true]);
        assert!(GeoRestriction::None.serves(de));
    }

    #[test]
    fn codes_have_two_letters() {
        assert_eq!(Country::parse("us"), Country::parse("US"));
        for text in ["", "U", "USA", "U1", "Ü"] {
            assert_eq!(Country::parse(text), None, "{text}");
        }
    }
}
