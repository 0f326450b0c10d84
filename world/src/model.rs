//! The path model: how long a round trip takes by geography alone, without last mile, noise and jitter.
//!
//! Decides backbone and public paths between two points. Refuses to know seeds, users and names. Formulas and
//! constants were fitted on the measured round trips between 32 cloud regions and, for public paths, on a mesh of 134
//! cities; `world/data/README.md` names the sources.

use crate::{
    atlas::{self, Region, TableError},
    geo::{Coordinates, MacroRegion, UnitVector, coded_enum},
};

/// Kilometres that light travels in a millisecond in fibre, whose refractive index is 1.468: 299.792458 / 1.468.
const FIBRE_KM_PER_MS: f64 = 204.218;

/// What a backbone path takes before any distance.
const BACKBONE_BASE_MS: f64 = 4.5;

/// How much longer than straight fibre a backbone path is, for macro regions no pair of which was measured.
const BACKBONE_K_DEFAULT: f64 = 1.66;

/// How far the residual of a measured pair reaches: its weight falls to 1/e.
const SMOOTHING_KM: f64 = 400.0;

/// What pulls the residual to zero where nothing near was measured.
const SMOOTHING_LAMBDA: f64 = 0.3;

/// Public paths below this distance may be direct; the others pass the anchors.
const DIRECT_KM_MAX: f64 = 2000.0;

/// No path is faster than this times straight fibre: no cable is straight.
const FLOOR_OVER_FIBRE: f64 = 1.05;

/// Coordinates this near to a region are the region.
const SAME_REGION_KM: f64 = 1.0;

/// Regions between which round trips were measured.
const MEASURED: usize = 32;

/// Macro regions.
const MACROS: usize = MacroRegion::ALL.len();

/// The round trip in straight fibre, the least that physics allows on the ground.
pub fn fibre_rtt_ms(distance_km: f64) -> f64 {
    2.0 * distance_km / FIBRE_KM_PER_MS
}

/// The least round trip that the model gives over a distance.
pub(crate) fn floor_ms(distance_km: f64) -> f64 {
    FLOOR_OVER_FIBRE * fibre_rtt_ms(distance_km)
}

coded_enum! {
    /// What stands at the end of a path.
    EndpointKind, "a kind of endpoint: region or public", {
        /// A data centre on a backbone: a region, a PoP.
        Region = "region",
        /// Anything on the public Internet.
        Public = "public",
    }
}

/// An end of a path by where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Endpoint {
    /// Where.
    pub coordinates: Coordinates,
    /// What stands there.
    pub kind: EndpointKind,
}

/// A point with what the model needs of it: its distance to each measured region.
pub(crate) struct Spot {
    unit: UnitVector,
    macro_region: MacroRegion,
    regions_km: [f64; MEASURED],
}

/// The measured round trips and the constants fitted on them.
pub(crate) struct PathModel {
    units: [UnitVector; MEASURED],
    /// Mean of both directions; zero within a region, where an anchored path only passes.
    rtt_ms: [[f64; MEASURED]; MEASURED],
    /// From a region to a service in the same region.
    within_ms: [f64; MEASURED],
    /// ln(measured / formula), zero within a region.
    residual: [[f64; MEASURED]; MEASURED],
    k: [[f64; MACROS]; MACROS],
}

impl PathModel {
    /// Reads the tables of measured round trips and of backbone constants.
    pub(crate) fn read(regions: &[Region]) -> Result<Self, TableError> {
        let mut k = [[BACKBONE_K_DEFAULT; MACROS]; MACROS];
        atlas::each_row(atlas::BACKBONE, ["macro_a", "macro_b", "k"], |row| {
            let (a, b) = (row.parse::<MacroRegion>(0)? as usize, row.parse::<MacroRegion>(1)? as usize);
            k[a][b] = row.parse(2)?;
            k[b][a] = k[a][b];
            Ok(())
        })?;

        let (labels, rows) = atlas::square(atlas::REGION_RTT)?;
        assert_eq!(labels.len(), MEASURED, "the measured regions");
        let mut model = Self {
            units: [UnitVector::default(); MEASURED],
            rtt_ms: [[0.0; MEASURED]; MEASURED],
            within_ms: [0.0; MEASURED],
            residual: [[0.0; MEASURED]; MEASURED],
            k,
        };
        let mut macros = [MacroRegion::Europe; MEASURED];
        for (index, label) in labels.iter().enumerate() {
            let region = regions.iter().find(|region| region.place.id.as_str() == label);
            let place = &region.unwrap_or_else(|| panic!("{label:?} was measured but is no region")).place;
            model.units[index] = place.coordinates.into();
            macros[index] = place.macro_region;
        }
        for p in 0..MEASURED {
            model.within_ms[p] = rows[p][p];
            for q in (0..MEASURED).filter(|&q| q != p) {
                let km = model.units[p].distance_km(model.units[q]);
                model.rtt_ms[p][q] = (rows[p][q] + rows[q][p]) / 2.0;
                model.residual[p][q] = (model.rtt_ms[p][q] / model.formula_ms(km, macros[p], macros[q])).ln();
            }
        }
        Ok(model)
    }

    /// Prepares a point.
    pub(crate) fn spot(&self, at: Coordinates, macro_region: MacroRegion) -> Spot {
        let unit = UnitVector::from(at);
        Spot { unit, macro_region, regions_km: self.units.map(|region| region.distance_km(unit)) }
    }

    /// What was measured, where both are measured regions (within a kilometre): the mean of both directions, which
    /// differ by 1 % at the median and 4 % at the 90th percentile.
    pub(crate) fn measured_ms(&self, a: &Spot, b: &Spot) -> Option<f64> {
        let (p, q) = (a.region()?, b.region()?);
        Some(if p == q { self.within_ms[p] } else { self.rtt_ms[p][q] })
    }

    /// Over a private or transit backbone: a formula by distance and macro regions, drawn towards what was measured
    /// nearby.
    ///
    /// The drawing ("smoothing") was decided by leaving out: over the 496 measured pairs the formula alone is off by
    /// 8.7 % at the median and 19.2 ms on average; with the residuals of all pairs but the one asked for, 5.9 % and
    /// 12.9 ms; without any pair of the region asked for, 6.9 % and 15.6 ms.
    pub(crate) fn backbone_ms(&self, a: &Spot, b: &Spot) -> f64 {
        let km = a.unit.distance_km(b.unit);
        let (mut weights, mut sum) = (0.0, 0.0);
        let near = |spot: &Spot| spot.regions_km.map(|km| (-km / SMOOTHING_KM).exp());
        let (near_a, near_b) = (near(a), near(b));
        for p in 0..MEASURED {
            for q in 0..p {
                let weight = (near_a[p] * near_b[q]).max(near_a[q] * near_b[p]);
                weights += weight;
                sum += weight * self.residual[p][q];
            }
        }
        let smoothing = (sum / (weights + SMOOTHING_LAMBDA)).exp();
        (self.formula_ms(km, a.macro_region, b.macro_region) * smoothing).max(floor_ms(km))
    }

    /// Over the public Internet: the best way through measured regions, which knows real cables, or for near points a
    /// direct one.
    pub(crate) fn public_ms(&self, a: &Spot, b: &Spot) -> f64 {
        let km = a.unit.distance_km(b.unit);
        let anchored = self.anchored_ms(a, b).max(floor_ms(km));
        if km < DIRECT_KM_MAX { anchored.min(direct_ms(km)) } else { anchored }
    }

    /// The least over all pairs of regions of: to one, between them, on to the other.
    fn anchored_ms(&self, a: &Spot, b: &Spot) -> f64 {
        let (from, to) = (a.regions_km.map(spur_ms), b.regions_km.map(spur_ms));
        let mut at = [f64::INFINITY; MEASURED];
        for (from, between) in from.iter().zip(&self.rtt_ms) {
            for (at, between) in at.iter_mut().zip(between) {
                *at = at.min(from + between);
            }
        }
        at.iter().zip(&to).map(|(at, to)| at + to).fold(f64::INFINITY, f64::min)
    }

    fn formula_ms(&self, km: f64, a: MacroRegion, b: MacroRegion) -> f64 {
        BACKBONE_BASE_MS + self.k[a as usize][b as usize] * fibre_rtt_ms(km)
    }
}

impl Spot {
    pub(crate) fn distance_km(&self, other: &Self) -> f64 {
        self.unit.distance_km(other.unit)
    }

    fn region(&self) -> Option<usize> {
        self.regions_km.iter().position(|&km| km < SAME_REGION_KM)
    }
}

/// Straight through, without passing a region.
fn direct_ms(km: f64) -> f64 {
    2.8 + 1.7 * (1.0 - (-km / 60.0).exp()) + 3.1 * fibre_rtt_ms(km)
}

/// From a point to a region, one end of an anchored path.
fn spur_ms(km: f64) -> f64 {
    2.5 * fibre_rtt_ms(km) + 1.0 - (-km / 100.0).exp()
}
