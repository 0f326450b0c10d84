//! Client networks from a file: a table as text, or a MaxMind database.
//!
//! Reads, and watches for another file in its place; what the networks mean is [`cdn_core::geo`]'s. Blocking work, so
//! that it belongs on a thread of its own.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    time::SystemTime,
};

use cdn_core::geo::{
    GeoMap, GeoMapBuilder, GeoPrefix, PlaceId, Point,
    prefix_csv::{PrefixCsv, PrefixCsvError},
};
use ipnet::IpNet;
use maxminddb::{MaxMindDbError, Reader, WithinOptions, geoip2};

/// Networks of a database at most: what flattens to a map in some seconds and some hundred megabytes.
const NETWORKS_MAX: usize = 8_000_000;

/// A file of client networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixFile {
    /// Lines `prefix,lat,lon,country,label`, see [`prefix_csv`](cdn_core::geo::prefix_csv).
    Csv(PathBuf),
    /// A MaxMind database with places: GeoLite2-City, GeoIP2-City or one like them.
    MaxMind(PathBuf),
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrefixFileError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A line is wrong.
    #[error("{}: {error}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The line.
        error: PrefixCsvError,
    },
    /// It is no such database.
    #[error("{}: {error}", path.display())]
    MaxMind {
        /// The file.
        path: PathBuf,
        /// Where it breaks.
        error: MaxMindDbError,
    },
    /// No network in it has a place.
    #[error("{}: no network in it has a place", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It has more networks than are kept.
    #[error("{}: more than {NETWORKS_MAX} networks", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl PrefixFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Csv(path) | Self::MaxMind(path) => path,
        }
    }

    /// What tells its present state from others; `None` where it is not there.
    pub fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(self.path()).ok()?;
        Some(Stamp { modified: metadata.modified().ok()?, bytes: metadata.len() })
    }

    /// Reads it, over the networks in `own`: what it says of one of these holds.
    ///
    /// # Errors
    /// [`PrefixFileError`], which names the file and, in text, the line.
    pub fn load(&self, own: &[GeoPrefix]) -> Result<GeoMap, PrefixFileError> {
        let path = || self.path().to_owned();
        let mut map = GeoMapBuilder::default();
        own.iter().for_each(|prefix| map.add(prefix));
        match self {
            Self::Csv(_) => self.read_csv(&mut map)?,
            Self::MaxMind(_) => {
                let bytes = fs::read(self.path()).map_err(|error| PrefixFileError::Read { path: path(), error })?;
                max_mind(&bytes, &mut map).map_err(|error| PrefixFileError::MaxMind { path: path(), error })?;
            }
        }
        match map.len() - own.len() {
            0 => Err(PrefixFileError::Empty { path: path() }),
            1..=NETWORKS_MAX => Ok(map.build()),
            _ => Err(PrefixFileError::TooLarge { path: path() }),
        }
    }

    /// Line by line: the text is longer than what it says.
    fn read_csv(&self, map: &mut GeoMapBuilder) -> Result<(), PrefixFileError> {
        let path = || self.path().to_owned();
        let unread = |error| PrefixFileError::Read { path: path(), error };
        let mut file = BufReader::new(fs::File::open(self.path()).map_err(unread)?);
        let (mut csv, mut line) = (PrefixCsv::default(), String::new());
        while file.read_line(&mut line).map_err(unread)? > 0 && map.len() <= NETWORKS_MAX {
            csv.line(&line, map).map_err(|error| PrefixFileError::Csv { path: path(), error })?;
            line.clear();
        }
        Ok(())
    }
}

/// Every network with a place; what has a country alone is left out, because a country has no point.
fn max_mind(bytes: &[u8], map: &mut GeoMapBuilder) -> Result<(), MaxMindDbError> {
    let reader = Reader::from_source(bytes)?;
    // Networks share records: each is read once.
    let mut places: HashMap<usize, Option<PlaceId>> = HashMap::new();
    let before = map.len();
    for found in reader.networks(WithinOptions::default())? {
        let found = found?;
        let Some(offset) = found.offset() else { continue };
        let place = match places.get(&offset) {
            Some(&place) => place,
            None => {
                let place = found.decode::<geoip2::City<'_>>()?.and_then(|city| place(&city, map));
                places.insert(offset, place);
                place
            }
        };
        let Some(place) = place else { continue };
        let network = found.network()?;
        if let Ok(net) = IpNet::new(network.ip(), network.prefix()) {
            map.network(net, place);
        }
        if map.len() - before > NETWORKS_MAX {
            break;
        }
    }
    Ok(())
}

fn place(city: &geoip2::City<'_>, map: &mut GeoMapBuilder) -> Option<PlaceId> {
    let point = Point::new(city.location.latitude?, city.location.longitude?).ok()?;
    Some(map.place(point, city.country.iso_code.unwrap_or_default(), city.city.names.english.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use maxminddb_writer::{Database, paths::IpAddrWithMask};
    use serde_json::json;

    use super::*;

    fn database(networks: &[(&str, serde_json::Value)]) -> Vec<u8> {
        let mut database = Database::default();
        database.metadata.binary_format_major_version = 2;
        database.metadata.database_type = "City".into();
        for (network, record) in networks {
            let record = database.insert_value(record).unwrap();
            database.insert_node(network.parse::<IpAddrWithMask>().unwrap(), record);
        }
        database.write_to(vec![]).unwrap()
    }

    #[test]
    fn a_database_is_read_as_networks_and_places() {
        let berlin = json!({
            "city": { "names": { "en": "Berlin", "de": "Berlin" } },
            "country": { "iso_code": "DE" },
            "location": { "latitude": 52.52, "longitude": 13.4 },
        });
        let bytes = database(&[
            ("198.51.100.0/24", berlin.clone()),
            ("203.0.113.0/25", json!({ "location": { "latitude": -12.05, "longitude": -77.04 } })),
            ("192.0.2.0/24", json!({ "country": { "iso_code": "FR" } })),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("city.mmdb");
        fs::write(&path, bytes).unwrap();
        let file = PrefixFile::MaxMind(path);
        let map = file.load(&[]).unwrap();
        let said: Vec<_> = map
            .block_ids()
            .map(|block| (map.block(block).net, map.place_of(block)))
            .map(|(net, place)| format!("{net} {} {}", place.country, place.label))
            .collect();
        assert_eq!(said, ["198.51.100.0/24 DE Berlin", "203.0.113.0/25  "]);
        let berlin = map.locate("198.51.100.9".parse().unwrap()).unwrap();
        assert_eq!(berlin.point, Point::new(52.52, 13.4).unwrap());
        assert!(file.stamp().is_some());
    }

    #[test]
    fn a_file_that_is_none_is_named_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let said = |file: &PrefixFile| file.load(&[]).unwrap_err().to_string();
        let (csv, mmdb) = (PrefixFile::Csv(path.clone()), PrefixFile::MaxMind(path.clone()));
        assert!(said(&csv).contains("No such file") && csv.stamp().is_none());
        fs::write(&path, "198.51.100.0/24,1,2\n198.51.100.0/24,1\n").unwrap();
        assert!(said(&csv).ends_with("file: line 2: no lon: want prefix,lat,lon,country,label"), "{}", said(&csv));
        assert!(!said(&mmdb).is_empty());
        fs::write(&path, "# nothing\n").unwrap();
        assert!(said(&csv).contains("no network"));
        fs::write(&path, database(&[("192.0.2.0/24", json!({ "country": { "iso_code": "FR" } }))])).unwrap();
        assert!(said(&mmdb).contains("no network"));
    }
}
