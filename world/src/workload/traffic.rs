//! Classes of traffic: how unequally objects are asked for, and how large they are.
//!
//! `world/data/traffic.csv` has summary figures of class models that were fitted on a large CDN's traffic (Sabnis and Sitaraman,
//! TRAGEN, IMC 2021, and JEDI, IMC 2022). Popularity and size are drawn apart from one another, which the models do not do;
//! beyond the quantiles that are known, sizes are those of the last one.

use std::sync::LazyLock;

use cdn_core::math;

use crate::atlas::{TRAFFIC, TableError, each_row};

/// The shares of objects up to which sizes are known.
const SHARES: [f64; 7] = [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];
/// Bytes in a kilobyte of the table.
const KILOBYTE: f64 = 1000.0;

/// A class of traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Its name, as `w-1`.
    pub name: String,
    /// What it is, as `web, US metro, 2025`.
    pub title: String,
    /// Requests for the object of rank r are as r to the power of minus this.
    pub exponent: f64,
    /// How large objects are.
    pub sizes: SizeQuantiles,
}

/// How large objects are: the kilobytes that so many of them have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeQuantiles([u32; SHARES.len()]);

impl Traffic {
    /// All classes.
    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Traffic>> = LazyLock::new(|| match read() {
            Ok(all) => all,
            Err(error) => panic!("the embedded tables are broken: {error}"),
        });
        &ALL
    }

    /// The class of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|traffic| traffic.name == name)
    }
}

impl SizeQuantiles {
    /// The bytes that this share of objects has at most: straight between the known ones in the logarithm of sizes.
    pub fn bytes_at(&self, share: f64) -> u64 {
        let known = SHARES.into_iter().zip(self.0.map(|kilobytes| f64::from(kilobytes) * KILOBYTE));
        let mut below: Option<(f64, f64)> = None;
        for (at, bytes) in known {
            if share <= at {
                let Some((begin, least)) = below else { return bytes as u64 };
                let part = (share - begin) / (at - begin);
                return math::exp(math::ln(least) * (1.0 - part) + math::ln(bytes) * part).round() as u64;
            }
            below = Some((at, bytes));
        }
        below.map_or(0, |(_, bytes)| bytes as u64)
    }
}

fn read() -> Result<Vec<Traffic>, TableError> {
    let mut all = Vec::new();
    let columns = [
        "class",
        "kind",
        "place",
        "period",
        "zipf_exponent",
        "size_kb_p5",
        "size_kb_p25",
        "size_kb_p50",
        "size_kb_p75",
        "size_kb_p90",
        "size_kb_p95",
        "size_kb_p99",
    ];
    each_row(TRAFFIC, columns, |row| {
        let mut sizes = [0; SHARES.len()];
        for (nth, size) in sizes.iter_mut().enumerate() {
            *size = row.parse(5 + nth)?;
        }
        if sizes.contains(&0) || !sizes.is_sorted() {
            return Err(row.wrong("sizes that do not rise from one kilobyte on"));
        }
        let [name, kind, place, period, ..] = row.cells;
        all.push(Traffic {
            name: name.to_owned(),
            title: format!("{kind}, {place}, {period}"),
            exponent: row.parse(4)?,
            sizes: SizeQuantiles(sizes),
        });
        Ok(())
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_name() {
        assert_eq!(Traffic::all().len(), 14);
        let web = Traffic::named("w-1").unwrap();
        assert_eq!((web.title.as_str(), web.exponent), ("web, US metro, 2025", 0.94));
        assert!(Traffic::named("w-9").is_none());
    }

    #[test]
    fn sizes_are_the_known_ones_at_their_shares_and_rise_between() {
        for traffic in Traffic::all() {
            for (share, kilobytes) in SHARES.into_iter().zip(traffic.sizes.0) {
                assert_eq!(traffic.sizes.bytes_at(share), u64::from(kilobytes) * 1000, "{}", traffic.name);
            }
            let rising: Vec<u64> = (0..=100).map(|nth| traffic.sizes.bytes_at(f64::from(nth) / 100.0)).collect();
            assert!(rising.is_sorted() && rising[0] > 0, "{}: {rising:?}", traffic.name);
        }
    }
}
