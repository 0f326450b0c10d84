//! CloudFront's price classes: which PoPs a distribution pays for, by their countries.

use std::str::FromStr;

/// Canada, Mexico, the United States, Europe and Israel: the cheapest class.
const CLASS_100: &str = "CA MX US \
    AD AL AT BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT NL NO \
    PL PT RO RS RU SE SI SJ SK SM UA VA XK \
    IL";

/// What the second class has beyond the first. CloudFront names countries, and "the Middle East" with Türkiye.
const CLASS_200: &str = "ZA KE NG EG \
    AE BH IQ IR JO KW LB OM PS QA SA SY TR YE \
    HK ID IN JP KR MY PH SG TH TW VN";

/// CloudFront's price class of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceClass {
    /// North America, Europe and Israel.
    Class100,
    /// Also most of Asia, the Middle East and the PoPs of Africa.
    Class200,
    /// Everywhere.
    #[default]
    All,
}

impl PriceClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Class100, Self::Class200, Self::All];

    /// CloudFront's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class100 => "PriceClass_100",
            Self::Class200 => "PriceClass_200",
            Self::All => "PriceClass_All",
        }
    }

    /// Whether a PoP in `country` (ISO 3166-1 alpha-2, upper case) is in the class.
    pub fn includes(self, country: &str) -> bool {
        let is_in = |list: &str| list.split_whitespace().any(|code| code == country);
        match self {
            Self::Class100 => is_in(CLASS_100),
            Self::Class200 => is_in(CLASS_100) || is_in(CLASS_200),
            Self::All => true,
        }
    }
}

/// CloudFront has no such price class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a price class: PriceClass_100, PriceClass_200 or PriceClass_All")]
pub struct UnknownPriceClass(String);

impl FromStr for PriceClass {
    type Err = UnknownPriceClass;

    fn from_str(text: &str) -> Result<Self, UnknownPriceClass> {
        let named = |class: &Self| class.as_str() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| UnknownPriceClass(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_the_regions_that_cloudfront_names() {
        for (country, class) in [
            ("US", PriceClass::Class100),
            ("DE", PriceClass::Class100),
            ("IL", PriceClass::Class100),
            ("JP", PriceClass::Class200),
            ("ZA", PriceClass::Class200),
            ("TR", PriceClass::Class200),
            ("BR", PriceClass::All),
            ("AU", PriceClass::All),
            ("NZ", PriceClass::All),
            ("", PriceClass::All),
        ] {
            for each in PriceClass::ALL {
                assert_eq!(each.includes(country), each >= class, "{country} in {}", each.as_str());
            }
        }
    }
}
