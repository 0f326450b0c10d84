//! Client networks from a file: a table as text, or a MaxMind database.
//!
//! Reads, and watches for another file in its place; what the networks mean is [`cdn_core::geo`]'s. Blocking work, so
//! that it belongs on a thread of its own.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use cdn_core::geo::{
    GeoPrefix, Place, Point,
    prefix_csv::{self, PrefixCsvError},
};
use ipnet::IpNet;
use maxminddb::{MaxMindDbError, Reader, WithinOptions, geoip2};

/// Networks of a database at most: what flattens to a map in some seconds and some hundred megabytes.
const NETWORKS_MAX: usize = 8_000_000;

/// A file of client networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixFile {
    /// Lines `prefix,lat,lon,country,label`, see [`prefix_csv`].
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

    /// Reads it.
    ///
    /// # Errors
    /// [`PrefixFileError`], which names the file and, in text, the line.
    pub fn load(&self) -> Result<Vec<GeoPrefix>, PrefixFileError> {
        let path = self.path().to_owned();
        let prefixes = match self {
            Self::Csv(_) => match fs::read_to_string(&path) {
                Err(error) => return Err(PrefixFileError::Read { path, error }),
                Ok(text) => match prefix_csv::parse(&text) {
                    Err(error) => return Err(PrefixFileError::Csv { path, error }),
                    Ok(prefixes) => prefixes,
                },
            },
            Self::MaxMind(_) => match fs::read(&path) {
                Err(error) => return Err(PrefixFileError::Read { path, error }),
                Ok(bytes) => match max_mind(&bytes) {
                    Err(error) => return Err(PrefixFileError::MaxMind { path, error }),
                    Ok(prefixes) => prefixes,
                },
            },
        };
        match prefixes.len() {
            0 => Err(PrefixFileError::Empty { path }),
            1..=NETWORKS_MAX => Ok(prefixes),
            _ => Err(PrefixFileError::TooLarge { path }),
        }
    }
}

/// Every network with a place; what has a country alone is left out, because a country has no point.
fn max_mind(bytes: &[u8]) -> Result<Vec<GeoPrefix>, MaxMindDbError> {
    let reader = Reader::from_source(bytes)?;
    // Networks share records: each is read once.
    let mut places: HashMap<usize, Option<Place>> = HashMap::new();
    let mut prefixes = vec![];
    for found in reader.networks(WithinOptions::default())? {
        let found = found?;
        let Some(offset) = found.offset() else { continue };
        let place = match places.get(&offset) {
            Some(place) => place.clone(),
            None => {
                let place = found.decode::<geoip2::City<'_>>()?.and_then(|city| place(&city));
                places.insert(offset, place.clone());
                place
            }
        };
        let Some(place) = place else { continue };
        let network = found.network()?;
        if let Ok(net) = IpNet::new(network.ip(), network.prefix()) {
            prefixes.push(GeoPrefix { net, place });
        }
        if prefixes.len() > NETWORKS_MAX {
            break;
        }
    }
    Ok(prefixes)
}

fn place(city: &geoip2::City<'_>) -> Option<Place> {
    let point = Point::new(city.location.latitude?, city.location.longitude?).ok()?;
    let text = |text: Option<&str>| -> Arc<str> { text.unwrap_or_default().into() };
    Some(Place { point, country: text(city.country.iso_code), label: text(city.city.names.english) })
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
        let prefixes = file.load().unwrap();
        let said: Vec<_> = prefixes
            .iter()
            .map(|prefix| format!("{} {} {}", prefix.net, prefix.place.country, prefix.place.label))
            .collect();
        assert_eq!(said, ["198.51.100.0/24 DE Berlin", "203.0.113.0/25  "]);
        assert_eq!(prefixes[0].place.point, Point::new(52.52, 13.4).unwrap());
        assert!(file.stamp().is_some());
    }

    #[test]
    fn a_file_that_is_none_is_named_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let said = |file: &PrefixFile| file.load().unwrap_err().to_string();
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
