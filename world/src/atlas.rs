//! The atlas: every place that a node or a viewer can stand in, and how to find one by name.
//!
//! Decides what a typed name means. Its tables are embedded and read once per process, in a few milliseconds at most; it
//! refuses to know files, seeds and how long a path takes (see [`crate::World`]).

mod names;
mod preset;
mod read;
mod tables;

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use cdn_core::PopCode;

pub use self::preset::{PRESETS, Preset, preset};
pub(crate) use self::tables::{ACCESS, BACKBONE, DIURNAL, REGION_RTT, TRAFFIC, TableError, each_row, square};
use crate::{
    clients::ClientNetworks,
    geo::{Continent, Coordinates, CountryCode, MacroRegion, coded_enum},
    model::PathModel,
    site::SiteId,
};

/// What kind of place it is, which decides how paths from it run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlaceKind {
    /// A city with users: its paths cross a last mile and the public Internet.
    City,
    /// A point of presence, where edges stand: its paths to PoPs and regions run over the backbone.
    Pop,
    /// A cloud region, where origins stand; paths as from a PoP, measured between most regions.
    Region,
}

/// A place on the map.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// What kind of place.
    pub kind: PlaceKind,
    /// Its name on links, unique over all kinds: `tokyo`, `nrt`, `ap-northeast-1`.
    pub id: SiteId,
    /// Its name for people: `Tokyo`; of a PoP the city's, of a region what AWS calls it.
    pub name: Arc<str>,
    /// The country.
    pub country: CountryCode,
    /// The continent.
    pub continent: Continent,
    /// The region of the path model.
    pub macro_region: MacroRegion,
    /// Where it is.
    pub coordinates: Coordinates,
    /// Hours ahead of UTC in January.
    pub utc_offset_h: f32,
    /// Internet users that it stands for: of a city its catchment, of a CloudFront PoP those nearest to it, else 0.
    pub users: u64,
}

impl Place {
    /// The PoP code, where this is a PoP.
    pub fn pop_code(&self) -> Option<PopCode> {
        (self.kind == PlaceKind::Pop).then(|| self.id.as_str().parse().ok()).flatten()
    }
}

/// The display name, with what tells it from others of that name: `Tokyo`, `NRT Tokyo`, `ap-northeast-1 Tokyo`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PlaceKind::City => f.write_str(&self.name),
            PlaceKind::Pop => write!(f, "{} {}", self.id.as_str().to_ascii_uppercase(), self.name),
            PlaceKind::Region => write!(f, "{} {}", self.id, self.name),
        }
    }
}

/// A city with its users.
#[derive(Clone, Debug, PartialEq)]
pub struct City {
    /// The place.
    pub place: Place,
    /// Its rank by users, from 1.
    pub rank: u16,
    /// People in its metropolitan area.
    pub population: u64,
    /// Its id at geonames.org.
    pub geoname_id: u32,
}

/// A point of presence.
#[derive(Clone, Debug, PartialEq)]
pub struct Pop {
    /// The place.
    pub place: Place,
    /// The IATA code of its metro.
    pub code: PopCode,
    /// CloudFront is there.
    pub cloudfront: bool,
    /// Cloudflare is there.
    pub cloudflare: bool,
    /// Google's CDN is there.
    pub google: bool,
    /// Fastly is there.
    pub fastly: bool,
    /// The cheapest CloudFront price class that includes it; `None` without CloudFront.
    pub price_class: Option<PriceClass>,
    /// CloudFront has a regional edge cache there.
    pub regional_cache: bool,
}

coded_enum! {
    /// A CloudFront price class.
    PriceClass, "a price class: 100, 200 or all", {
        /// North America, Europe and Israel.
        Class100 = "100",
        /// These and South Africa, Kenya, the Middle East, most of Asia.
        Class200 = "200",
        /// Everywhere.
        All = "all",
    }
}

/// A cloud region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The place.
    pub place: Place,
    /// The city it is drawn at.
    pub city: Arc<str>,
}

/// A country.
#[derive(Clone, Debug, PartialEq)]
pub struct Country {
    /// Its code.
    pub code: CountryCode,
    /// Its name.
    pub name: Arc<str>,
    /// The continent it belongs to.
    pub continent: Continent,
    /// The region of the path model it belongs to.
    pub macro_region: MacroRegion,
    /// People.
    pub population: u64,
    /// People who use the Internet.
    pub users: u64,
}

/// No place is called so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPlace {
    /// What was asked for.
    pub name: String,
    /// Up to three names that were perhaps meant, best first; each would be found.
    pub suggestions: Vec<String>,
}

impl fmt::Display for UnknownPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown place {:?}", self.name)?;
        match self.suggestions.as_slice() {
            [] => Ok(()),
            [one] => write!(f, ": did you mean {one:?}?"),
            [firsts @ .., last] => {
                let firsts: Vec<String> = firsts.iter().map(|name| format!("{name:?}")).collect();
                write!(f, ": did you mean {} or {last:?}?", firsts.join(", "))
            }
        }
    }
}

impl std::error::Error for UnknownPlace {}

/// Position of a place: cities in order of rank, then PoPs by code, then regions.
type PlaceIndex = u16;

/// All places, and the tables that paths between them are computed from.
pub struct Atlas {
    cities: Vec<City>,
    pops: Vec<Pop>,
    regions: Vec<Region>,
    countries: Vec<Country>,
    /// Sorted by id.
    ids: Vec<(SiteId, PlaceIndex)>,
    /// Squeezed names of cities and aliases, sorted; of equal names the one with more users comes first.
    names: Vec<(Box<str>, PlaceIndex)>,
    model: PathModel,
    /// Laid out when first asked for: most nodes never do.
    clients: OnceLock<ClientNetworks>,
}

impl Atlas {
    /// The atlas of the embedded tables.
    ///
    /// # Panics
    /// When a table in `world/data` is broken, which a test excludes.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: LazyLock<Atlas> = LazyLock::new(|| match Atlas::read() {
            Ok(atlas) => atlas,
            Err(error) => panic!("the embedded tables are broken: {error}"),
        });
        &EMBEDDED
    }

    /// Finds a place by what a person may call it, ignoring case, diacritics and punctuation: the code of a PoP
    /// (`NRT`), a region (`ap-northeast-1`), a city (`sao paulo`, `São-Paulo`, `Bombay`). A code wins over a name; of
    /// cities that share a name the one with more users is meant, unless a country follows (`Valencia, VE`). The name
    /// of a PoP's city that is not listed itself means the listed city within 50 km, or else the PoP; what AWS calls a
    /// region (`Oregon`) means the region, unless a city is called so.
    ///
    /// # Errors
    /// No place is called so; the error carries up to three similar names.
    pub fn place(&self, name: &str) -> Result<&Place, UnknownPlace> {
        if name.len() > names::NAME_BYTES_MAX {
            let shown = name.chars().take(32).chain(['…']).collect();
            return Err(UnknownPlace { name: shown, suggestions: Vec::new() });
        }
        let folded = names::hyphenated(name);
        self.find(&folded, None)
            .or_else(|| {
                let (city, country) = name.rsplit_once(',')?;
                self.find(&names::hyphenated(city), Some(self.country_called(country)?))
            })
            .or_else(|| {
                let (city, country) = folded.rsplit_once('-')?;
                self.find(city, Some(country.parse().ok()?))
            })
            .map(|index| self.at(index))
            .ok_or_else(|| UnknownPlace {
                name: name.to_owned(),
                suggestions: self.similar_to(&names::squeezed(&folded)),
            })
    }

    /// The place of a site.
    pub fn site(&self, id: &str) -> Option<&Place> {
        self.index_of(id).map(|index| self.at(index))
    }

    /// All places: cities by users, then PoPs by code, then regions.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        let cities = self.cities.iter().map(|city| &city.place);
        let pops = self.pops.iter().map(|pop| &pop.place);
        cities.chain(pops).chain(self.regions.iter().map(|region| &region.place))
    }

    /// The place at a position of [`Self::places`].
    pub fn at_index(&self, index: u32) -> Option<&Place> {
        let index = PlaceIndex::try_from(index).ok()?;
        (usize::from(index) < self.ids.len()).then(|| self.at(index))
    }

    /// The position of a place in [`Self::places`]; `None` for a place that is not of this atlas.
    pub fn index_of_place(&self, place: &Place) -> Option<u32> {
        self.index_of(place.id.as_str()).map(u32::from)
    }

    /// The cities, most users first.
    pub fn cities(&self) -> &[City] {
        &self.cities
    }

    /// The PoPs of four public CDNs, by code.
    pub fn pops(&self) -> &[Pop] {
        &self.pops
    }

    /// The PoP with this code.
    pub fn pop(&self, code: PopCode) -> Option<&Pop> {
        let found = self.pops.binary_search_by_key(&code, |pop| pop.code).ok()?;
        self.pops.get(found)
    }

    /// The cloud regions, in the order AWS lists them.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The countries, by code.
    pub fn countries(&self) -> &[Country] {
        &self.countries
    }

    /// The country with this code.
    pub fn country(&self, code: CountryCode) -> Option<&Country> {
        let found = self.countries.binary_search_by_key(&code, |country| country.code).ok()?;
        self.countries.get(found)
    }

    /// The city nearest to a point.
    pub fn nearest_city(&self, to: Coordinates) -> Option<&Place> {
        nearest(to, self.cities.iter().map(|city| &city.place))
    }

    pub(crate) const fn model(&self) -> &PathModel {
        &self.model
    }

    pub(crate) fn clients(&self) -> &ClientNetworks {
        self.clients.get_or_init(|| ClientNetworks::new(self))
    }

    pub(crate) fn index_of(&self, id: &str) -> Option<PlaceIndex> {
        let found = self.ids.binary_search_by(|(listed, _)| listed.as_str().cmp(id)).ok()?;
        self.ids.get(found).map(|&(_, index)| index)
    }

    /// The place at an index that this atlas gave out.
    pub(crate) fn at(&self, index: PlaceIndex) -> &Place {
        let index = usize::from(index);
        let (cities, pops) = (self.cities.len(), self.pops.len());
        if index < cities {
            &self.cities[index].place
        } else if index < cities + pops {
            &self.pops[index - cities].place
        } else {
            &self.regions[index - cities - pops].place
        }
    }

    fn find(&self, folded: &str, country: Option<CountryCode>) -> Option<PlaceIndex> {
        let here = |index: &PlaceIndex| country.is_none_or(|country| self.at(*index).country == country);
        self.index_of(folded).filter(here).or_else(|| {
            let key = names::squeezed(folded);
            let first = self.names.partition_point(|(name, _)| **name < *key);
            let same = self.names[first..].iter().take_while(|(name, _)| **name == *key);
            same.map(|&(_, index)| index).find(here)
        })
    }

    fn country_called(&self, name: &str) -> Option<CountryCode> {
        let folded = names::hyphenated(name);
        let code = folded.parse().ok().filter(|&code| self.country(code).is_some());
        code.or_else(|| {
            self.countries.iter().find(|country| names::hyphenated(&country.name) == folded).map(|country| country.code)
        })
    }

    /// The names most like a squeezed one: those with the fewest edits, most users first.
    fn similar_to(&self, typed: &str) -> Vec<String> {
        let names = self.names.iter().map(|(name, index)| (names::distance(typed, name), *index));
        let ids = self.ids.iter().map(|(id, index)| (names::distance(typed, &names::squeezed(id.as_str())), *index));
        let mut similar: Vec<(usize, PlaceIndex)> =
            names.chain(ids).filter_map(|(distance, index)| Some((distance?, index))).collect();
        similar.sort_unstable();
        let nearest = similar.first().map_or(0, |&(distance, _)| distance);
        similar.retain(|&(distance, _)| distance == nearest);
        let mut suggestions = Vec::new();
        for (_, index) in similar {
            let name = self.typed_name(index);
            if !suggestions.contains(&name) {
                suggestions.push(name);
            }
            if suggestions.len() == names::SUGGESTIONS_MAX {
                break;
            }
        }
        suggestions
    }

    /// What to type for a place.
    fn typed_name(&self, index: PlaceIndex) -> String {
        let place = self.at(index);
        match place.kind {
            PlaceKind::City if self.find(&names::hyphenated(&place.name), None) == Some(index) => {
                place.name.to_string()
            }
            PlaceKind::City | PlaceKind::Region => place.id.to_string(),
            PlaceKind::Pop => place.id.as_str().to_ascii_uppercase(),
        }
    }
}

impl fmt::Debug for Atlas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cities, pops, regions) = (self.cities.len(), self.pops.len(), self.regions.len());
        write!(f, "Atlas({cities} cities, {pops} PoPs, {regions} regions)")
    }
}

/// The place nearest to a point; of equally near ones the first.
pub fn nearest<'a>(to: Coordinates, places: impl IntoIterator<Item = &'a Place>) -> Option<&'a Place> {
    let near = |place: &&Place| place.coordinates.chord_squared(to);
    places.into_iter().min_by(|a, b| near(a).total_cmp(&near(b)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn found(name: &str) -> String {
        Atlas::embedded().place(name).map_or_else(|error| format!("{error}"), |place| place.id.to_string())
    }

    #[test]
    fn the_tables_hold_what_the_sources_hold() {
        let atlas = Atlas::embedded();
        let counts = (atlas.cities().len(), atlas.pops().len(), atlas.regions().len(), atlas.countries().len());
        assert_eq!(counts, (1000, 308, 38, 244));
        assert_eq!(atlas.pops().iter().filter(|pop| pop.cloudfront).count(), 107);
        assert!(atlas.cities().is_sorted_by(|a, b| a.place.users >= b.place.users));
        let users: u64 = atlas.cities().iter().map(|city| city.place.users).sum();
        assert!(users.abs_diff(5_358_000_000) < 1_000_000, "{users}");
        assert_eq!(format!("{atlas:?}"), "Atlas(1000 cities, 308 PoPs, 38 regions)");
    }

    #[test]
    fn ids_are_unique_and_find_their_place() {
        let atlas = Atlas::embedded();
        let ids: BTreeSet<_> = atlas.places().map(|place| place.id.clone()).collect();
        assert_eq!(ids.len(), 1346);
        assert_eq!(atlas.at_index(1346), None);
        for place in atlas.places() {
            assert_eq!(atlas.place(place.id.as_str()).unwrap(), place);
            assert_eq!(atlas.site(place.id.as_str()).unwrap(), place);
            assert_eq!(atlas.index_of_place(place).and_then(|index| atlas.at_index(index)), Some(place));
        }
    }

    #[test]
    fn cities_are_found_in_any_spelling() {
        for name in
            ["sao paulo", "sao-paulo", "São Paulo", "SAO_PAULO", "saopaulo", "São Paulo, BR", "sao paulo, brazil"]
        {
            assert_eq!(found(name), "sao-paulo", "{name:?}");
        }
        assert_eq!(found("new york"), "new-york");
        assert_eq!(found("New York City"), "new-york");
        assert_eq!(found("München"), "munich");
        assert_eq!(found("xi'an"), "xian");
        assert_eq!(found("frankfurt"), "frankfurt");
        assert_eq!(found("Frankfurt am Main"), "frankfurt");
        assert_eq!(found("bombay"), "mumbai");
        assert_eq!(found("washington, d.c."), "washington");
    }

    #[test]
    fn codes_win_over_names() {
        assert_eq!(found("nrt"), "nrt");
        assert_eq!(found("FRA"), "fra");
        assert_eq!(found("AP-Northeast-1"), "ap-northeast-1");
        assert_eq!(found("fes"), "fes");
        assert_eq!(Atlas::embedded().place("Fes").unwrap().kind, PlaceKind::City);
    }

    #[test]
    fn an_ambiguous_name_is_the_larger_city_unless_a_country_follows() {
        assert_eq!(found("hyderabad"), "hyderabad");
        assert_eq!(found("Hyderabad, PK"), "hyderabad-pk");
        assert_eq!(found("hyderabad pk"), "hyderabad-pk");
        assert_eq!(found("Hyderabad, India"), "hyderabad");
        assert_eq!(found("San José, Costa Rica"), "san-jose-cr");
        assert_eq!(found("suzhou-2"), "suzhou-2");
        assert_eq!(found("tokyo-jp"), "tokyo");
        assert_eq!(found("george town"), "george-town");
        assert_eq!(found("georgetown"), "georgetown");
    }

    #[test]
    fn cities_that_only_a_pop_or_a_region_has_are_found() {
        assert_eq!(found("wellington"), "wlg");
        assert_eq!(found("manila"), "manila");
        assert_eq!(found("ashburn"), "washington");
        assert_eq!(found("oregon"), "us-west-2");
    }

    #[test]
    fn unknown_places_suggest_names_that_would_be_found() {
        assert_eq!(found("tokio"), r#"unknown place "tokio": did you mean "Tokyo"?"#);
        assert_eq!(found("nairoby"), r#"unknown place "nairoby": did you mean "Nairobi"?"#);
        assert_eq!(found("xxxxxxxxxx"), r#"unknown place "xxxxxxxxxx""#);
        assert_eq!(found("東京"), r#"unknown place "東京""#);
        assert_eq!(found(""), r#"unknown place """#);
        assert_eq!(found("tokyo, US"), r#"unknown place "tokyo, US": did you mean "Tokyo"?"#);
        assert!(Atlas::embedded().place(&"x".repeat(100_000)).unwrap_err().name.len() < 40);
        for typed in ["santiag", "portlnad", "us-east-3", "XRT", "san jose, pe", "valenca", "ap northeast"] {
            let error = Atlas::embedded().place(typed).unwrap_err();
            assert!(!error.suggestions.is_empty() && error.suggestions.len() <= 3, "{typed}: {error}");
            for name in error.suggestions {
                assert!(Atlas::embedded().place(&name).is_ok(), "{name:?} was suggested for {typed:?}");
            }
        }
    }

    #[test]
    fn offsets_and_names_of_pops_and_regions_are_those_of_their_city() {
        let atlas = Atlas::embedded();
        let offset = |id: &str| atlas.site(id).unwrap().utc_offset_h;
        assert_eq!((offset("nrt"), offset("us-west-2"), offset("bom")), (9.0, -8.0, 5.5));
        assert_eq!(atlas.site("fra").unwrap().to_string(), "FRA Frankfurt");
        assert_eq!(atlas.site("us-east-1").unwrap().to_string(), "us-east-1 N. Virginia");
        assert_eq!(atlas.site("nrt").unwrap().pop_code().unwrap().as_str(), "NRT");
    }

    #[test]
    fn the_nearest_place_is_found() {
        let atlas = Atlas::embedded();
        let here = Coordinates::new(48.8, 2.2).unwrap();
        assert_eq!(&*atlas.nearest_city(here).unwrap().name, "Paris");
        let pops = preset("world-6").unwrap().pops();
        let pops: Vec<&Place> = pops.filter_map(|code| atlas.pop(code)).map(|pop| &pop.place).collect();
        assert_eq!(nearest(here, pops).unwrap().id.as_str(), "fra");
        assert_eq!(nearest(here, []), None);
    }
}
