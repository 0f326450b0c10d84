//! From the embedded tables to the atlas.
//!
//! Decides ids, names and offsets that the tables do not say themselves. Refuses to know how the tables are written
//! down.

use std::{collections::BTreeMap, sync::OnceLock};

use super::{
    Atlas, City, Country, Place, PlaceIndex, PlaceKind, Pop, Region, names, nearest,
    tables::{self, Row, TableError, each_row},
};
use crate::{
    geo::{Coordinates, CountryCode},
    model::PathModel,
    site::SiteId,
};

impl Atlas {
    /// The atlas of the embedded tables.
    pub(super) fn read() -> Result<Self, TableError> {
        let countries = read_countries()?;
        let cities = read_cities(&countries)?;
        let gazetteer = Gazetteer::new(&cities);
        let pops = read_pops(&countries, &gazetteer)?;
        let regions = read_regions(&countries, &gazetteer)?;
        let mut atlas = Self {
            model: PathModel::read(&regions)?,
            ids: Vec::new(),
            names: Vec::new(),
            clients: OnceLock::new(),
            cities,
            pops,
            regions,
            countries,
        };
        atlas.ids = atlas.places().map(|place| place.id.clone()).zip(0..).collect();
        atlas.ids.sort_unstable();
        atlas.names = atlas.read_names()?;
        Ok(atlas)
    }

    fn read_names(&self) -> Result<Vec<(Box<str>, PlaceIndex)>, TableError> {
        let squeezed = |name: &str| names::squeezed(&names::hyphenated(name)).into_boxed_str();
        let mut listed: Vec<_> = self.cities.iter().map(|city| squeezed(&city.place.name)).zip(0..).collect();
        each_row(tables::ALIASES, ["alias", "place"], |row| {
            let [alias, id] = row.cells;
            let index = self.index_of(id).ok_or_else(|| row.wrong(format_args!("{id:?} is no place")))?;
            listed.push((squeezed(alias), index));
            Ok(())
        })?;
        listed.sort_unstable();
        Ok(listed)
    }
}

fn read_countries() -> Result<Vec<Country>, TableError> {
    let mut countries = Vec::new();
    each_row(tables::COUNTRIES, ["code", "name", "continent", "macro", "population", "users_m"], |row| {
        countries.push(Country {
            code: row.parse(0)?,
            name: row.cells[1].into(),
            continent: row.parse(2)?,
            macro_region: row.parse(3)?,
            population: row.parse(4)?,
            users: millions(row.parse(5)?),
        });
        Ok(())
    })?;
    countries.sort_unstable_by_key(|country| country.code);
    Ok(countries)
}

fn read_cities(countries: &[Country]) -> Result<Vec<City>, TableError> {
    let mut cities: Vec<City> = Vec::new();
    let mut taken: BTreeMap<SiteId, CountryCode> = BTreeMap::new();
    let columns = ["name", "country", "lat", "lon", "utc_offset_h", "population", "users", "geoname_id"];
    each_row(tables::CITIES, columns, |row| {
        let name = row.cells[0];
        let country = country_of(countries, &row, 1)?;
        let slug = names::hyphenated(name);
        // The city with more users stands first and has the plain name; the next gets its country or, where that is
        // the same country, a number.
        let mut id = SiteId::new(&slug);
        if let Some(first) = taken.get(&id) {
            let suffix = if *first == country.code { "2" } else { country.code.as_str() };
            id = SiteId::new(&format!("{slug}-{suffix}"));
        }
        if taken.insert(id.clone(), country.code).is_some() {
            return Err(row.wrong(format_args!("a second city is called {id}")));
        }
        cities.push(City {
            place: Place {
                kind: PlaceKind::City,
                id,
                name: name.into(),
                country: country.code,
                continent: country.continent,
                macro_region: country.macro_region,
                coordinates: coordinates(&row, 2)?,
                utc_offset_h: row.parse(4)?,
                users: row.parse(6)?,
            },
            rank: u16::try_from(cities.len() + 1).map_err(|error| row.wrong(error))?,
            population: row.parse(5)?,
            geoname_id: row.parse(7)?,
        });
        Ok(())
    })?;
    Ok(cities)
}

fn read_pops(countries: &[Country], gazetteer: &Gazetteer<'_>) -> Result<Vec<Pop>, TableError> {
    let mut pops = Vec::new();
    let columns = ["code", "city", "country", "lat", "lon", "networks", "price_class", "regional_cache", "users_m"];
    each_row(tables::POPS, columns, |row| {
        let country = country_of(countries, &row, 2)?;
        let coordinates = coordinates(&row, 3)?;
        let networks = row.cells[5];
        let optional = |column: usize| !row.cells[column].is_empty();
        pops.push(Pop {
            place: Place {
                kind: PlaceKind::Pop,
                id: SiteId::new(row.cells[0]),
                name: row.cells[1].into(),
                country: country.code,
                continent: country.continent,
                macro_region: country.macro_region,
                coordinates,
                utc_offset_h: gazetteer.utc_offset_h(country.code, coordinates),
                users: if optional(8) { millions(row.parse(8)?) } else { 0 },
            },
            code: row.parse(0)?,
            cloudfront: networks.contains('a'),
            cloudflare: networks.contains('c'),
            google: networks.contains('g'),
            fastly: networks.contains('f'),
            price_class: if optional(6) { Some(row.parse(6)?) } else { None },
            regional_cache: row.cells[7] == "1",
        });
        Ok(())
    })?;
    pops.sort_unstable_by_key(|pop| pop.code);
    Ok(pops)
}

fn read_regions(countries: &[Country], gazetteer: &Gazetteer<'_>) -> Result<Vec<Region>, TableError> {
    let mut regions = Vec::new();
    each_row(tables::REGIONS, ["code", "name", "city", "country", "lat", "lon"], |row| {
        let country = country_of(countries, &row, 3)?;
        let coordinates = coordinates(&row, 4)?;
        regions.push(Region {
            place: Place {
                kind: PlaceKind::Region,
                id: SiteId::new(row.cells[0]),
                name: row.cells[1].into(),
                country: country.code,
                continent: country.continent,
                macro_region: country.macro_region,
                coordinates,
                utc_offset_h: gazetteer.utc_offset_h(country.code, coordinates),
                users: 0,
            },
            city: row.cells[2].into(),
        });
        Ok(())
    })?;
    Ok(regions)
}

fn country_of<'a, const N: usize>(
    countries: &'a [Country],
    row: &Row<'_, N>,
    column: usize,
) -> Result<&'a Country, TableError> {
    let code: CountryCode = row.parse(column)?;
    let found = countries.binary_search_by_key(&code, |country| country.code);
    found.map(|index| &countries[index]).map_err(|_| row.wrong(format_args!("{code} is no country")))
}

fn coordinates<const N: usize>(row: &Row<'_, N>, lat: usize) -> Result<Coordinates, TableError> {
    Coordinates::new(row.parse(lat)?, row.parse(lat + 1)?).map_err(|error| row.wrong(error))
}

/// Cities by country.
struct Gazetteer<'a>(BTreeMap<CountryCode, Vec<&'a Place>>);

impl<'a> Gazetteer<'a> {
    fn new(cities: &'a [City]) -> Self {
        let mut by_country: BTreeMap<CountryCode, Vec<&Place>> = BTreeMap::new();
        for city in cities {
            by_country.entry(city.place.country).or_default().push(&city.place);
        }
        Self(by_country)
    }

    /// The offset of the nearest city of the same country, or of any.
    fn utc_offset_h(&self, country: CountryCode, at: Coordinates) -> f32 {
        let same = self.0.get(&country).and_then(|cities| nearest(at, cities.iter().copied()));
        let found = same.or_else(|| nearest(at, self.0.values().flatten().copied()));
        found.map_or(0.0, |place| place.utc_offset_h)
    }
}

fn millions(millions: f64) -> u64 {
    (millions * 1e6).round() as u64
}
