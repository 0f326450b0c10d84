//! Sets of PoPs that have a name.
//!
//! Decides which PoPs a preset holds. The sets nest: each holds the smaller ones.

use cdn_core::PopCode;

/// A named set of PoPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What `--preset` calls it.
    pub name: &'static str,
    codes: &'static [&'static str],
}

impl Preset {
    /// Its PoPs, the oldest of the smaller presets first.
    pub fn pops(&self) -> impl Iterator<Item = PopCode> + use<> {
        self.codes.iter().filter_map(|code| code.parse().ok())
    }
}

/// All presets, smallest first.
pub const PRESETS: [Preset; 5] = [
    Preset { name: "tiny", codes: &["IAD", "FRA", "NRT"] },
    Preset { name: "world-6", codes: &["IAD", "FRA", "NRT", "SIN", "GRU", "SYD"] },
    Preset {
        name: "lab-12",
        codes: &["IAD", "FRA", "NRT", "SIN", "GRU", "SYD", "LHR", "LAX", "MAD", "DXB", "BOM", "HKG"],
    },
    Preset {
        name: "world-18",
        codes: &[
            "IAD", "FRA", "NRT", "SIN", "GRU", "SYD", "LHR", "LAX", "DFW", "QRO", "BOG", "MAD", "LOS", "CPT", "DXB",
            "BOM", "HKG", "ICN",
        ],
    },
    Preset {
        name: "world-36",
        codes: &[
            "IAD", "FRA", "NRT", "SIN", "GRU", "SYD", "LHR", "LAX", "DFW", "QRO", "BOG", "MAD", "LOS", "CPT", "DXB",
            "BOM", "HKG", "ICN", "ORD", "MIA", "YTO", "SFO", "EZE", "FOR", "LIM", "ARN", "WAW", "IST", "TLV", "JNB",
            "NBO", "DEL", "CCU", "CGK", "MNL", "AKL",
        ],
    },
];

/// The preset of that name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Atlas;

    #[test]
    fn presets_hold_as_many_cloudfront_pops_as_their_name_says_and_nest() {
        let atlas = Atlas::embedded();
        let mut smaller = BTreeSet::new();
        for (preset, size) in PRESETS.iter().zip([3, 6, 12, 18, 36]) {
            let pops: BTreeSet<_> = preset.pops().collect();
            assert_eq!(pops.len(), size, "{}", preset.name);
            assert!(pops.is_superset(&smaller), "{}", preset.name);
            for pop in &pops {
                assert!(atlas.pop(*pop).is_some_and(|pop| pop.cloudfront), "{pop}");
            }
            smaller = pops;
        }
        assert_eq!(preset("world-7"), None);
    }
}
