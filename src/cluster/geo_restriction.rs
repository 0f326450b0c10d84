//! Where a distribution is served, checked.

use std::collections::BTreeSet;

use cdn_core::geo_restriction::{Country, GeoRestriction};
use world::{Atlas, CountryCode};

use crate::{cluster_file::DistributionFile, diagnose::KeyError};

/// Reads `allow_countries` and `block_countries`.
///
/// # Errors
/// Both lists, or what is no country's code.
pub(super) fn geo_restriction_of(key: &str, file: &DistributionFile) -> Result<GeoRestriction, KeyError> {
    match (&file.allow_countries, &file.block_countries) {
        (None, None) => Ok(GeoRestriction::None),
        (Some(codes), None) => countries(&format!("{key}.allow_countries"), codes).map(GeoRestriction::Allow),
        (None, Some(codes)) => countries(&format!("{key}.block_countries"), codes).map(GeoRestriction::Block),
        (Some(_), Some(_)) => {
            Err(KeyError::new(&format!("{key}.block_countries"), "countries are allowed or blocked, not both"))
        }
    }
}

/// Territories of ISO 3166-1 where nobody lives, or nobody but on duty: the map has no city there, and lists of all countries
/// name them.
const WITHOUT_CITIES: [&str; 6] = ["BV", "GS", "HM", "IO", "TF", "UM"];

/// The country of a code of ISO 3166-1 alpha-2, in whichever case; `None` where that has no such code.
pub(crate) fn country_of(text: &str) -> Option<Country> {
    let is_inhabited = || text.parse::<CountryCode>().is_ok_and(|code| Atlas::embedded().country(code).is_some());
    let is_known = WITHOUT_CITIES.iter().any(|code| code.eq_ignore_ascii_case(text)) || is_inhabited();
    is_known.then(|| Country::parse(text)).flatten()
}

fn countries(key: &str, codes: &[String]) -> Result<BTreeSet<Country>, KeyError> {
    let mut countries = BTreeSet::new();
    for (at, text) in codes.iter().enumerate() {
        let country = country_of(text).ok_or_else(|| {
            KeyError::new(&format!("{key}.{at}"), format!("no country {text:?}"))
                .hint("two letters (ISO 3166-1), such as DE, JP or US")
        })?;
        countries.insert(country);
    }
    Ok(countries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: Option<&[&str]>, block: Option<&[&str]>) -> Result<GeoRestriction, String> {
        let list = |codes: &[&str]| codes.iter().map(|&code| code.to_owned()).collect();
        let file = DistributionFile {
            allow_countries: allow.map(list),
            block_countries: block.map(list),
            ..DistributionFile::default()
        };
        geo_restriction_of("d", &file).map_err(|error| format!("{}: {}", error.key.join("."), error.message))
    }

    #[test]
    fn countries_exist_and_are_allowed_or_blocked() {
        assert_eq!(check(None, None), Ok(GeoRestriction::None));
        let germany = BTreeSet::from([Country::parse("DE").unwrap()]);
        assert_eq!(check(None, Some(&["de"])), Ok(GeoRestriction::Block(germany)));
        assert_eq!(check(Some(&["FR", "XX"]), None).unwrap_err(), "d.allow_countries.1: no country \"XX\"");
        let (lonely, known) = (Country::parse("UM").unwrap(), check(Some(&["um", "DE"]), None));
        assert!(matches!(known, Ok(GeoRestriction::Allow(countries)) if countries.contains(&lonely)));
        assert!(check(Some(&[]), Some(&[])).unwrap_err().starts_with("d.block_countries: countries are allowed"));
    }
}
