//! The path model: how long a round trip takes by geography alone, without last mile, noise and jitter.
//!
//! Decides backbone and public paths between two points. Refuses to know seeds, users and names. Formulas and
//! constants were fitted on the measured round trips between 32 cloud regions and, for public paths, on a mesh of 134
//! cities; `world/data/README.md` names the sources.

use cdn_core::math;

use crate::{
    atlas::{self, Region, TableError},
    geo::{Coordinates, MacroRegion, coded_enum},
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
    at: Coordinates,
    macro_region: MacroRegion,
    regions_km: [f64; MEASURED],
}

/// The measured round trips and the constants fitted on them.
pub(crate) struct PathModel {
    regions: Vec<Coordinates>,
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
            regions: Vec::with_capacity(MEASURED),
            rtt_ms: [[0.0; MEASURED]; MEASURED],
            within_ms: [0.0; MEASURED],
            residual: [[0.0; MEASURED]; MEASURED],
            k,
        };
        let mut macros = Vec::with_capacity(MEASURED);
        for label in &labels {
            let region = regions.iter().find(|region| region.place.id.as_str() == label);
            let place = &region.unwrap_or_else(|| panic!("{label:?} was measured but is no region")).place;
            model.regions.push(place.coordinates);
            macros.push(place.macro_region);
        }
        for p in 0..MEASURED {
            model.within_ms[p] = rows[p][p];
            for q in (0..MEASURED).filter(|&q| q != p) {
                let km = model.regions[p].distance_km(model.regions[q]);
                model.rtt_ms[p][q] = (rows[p][q] + rows[q][p]) / 2.0;
                model.residual[p][q] = math::ln(model.rtt_ms[p][q] / model.formula_ms(km, macros[p], macros[q]));
            }
        }
        Ok(model)
    }

    /// Prepares a point.
    pub(crate) fn spot(&self, at: Coordinates, macro_region: MacroRegion) -> Spot {
        let mut regions_km = [0.0; MEASURED];
        for (km, region) in regions_km.iter_mut().zip(&self.regions) {
            *km = region.distance_km(at);
        }
        Spot { at, macro_region, regions_km }
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
        let km = a.distance_km(b);
        let (near_a, near_b) = (a.nearness(), b.nearness());
        let (mut weights, mut sum) = (0.0, 0.0);
        for p in 0..MEASURED {
            for q in 0..p {
                let weight = (near_a[p] * near_b[q]).max(near_a[q] * near_b[p]);
                weights += weight;
                sum += weight * self.residual[p][q];
            }
        }
        let smoothing = math::exp(sum / (weights + SMOOTHING_LAMBDA));
        (self.formula_ms(km, a.macro_region, b.macro_region) * smoothing).max(floor_ms(km))
    }

    /// How little is known about a backbone path: 1 far from all that was measured, a quarter between two measured
    /// regions or within one.
    pub(crate) fn unknown_share(&self, a: &Spot, b: &Spot) -> f64 {
        let known = |spot: &Spot| spot.nearness().iter().sum::<f64>();
        SMOOTHING_LAMBDA / (known(a) * known(b) + SMOOTHING_LAMBDA)
    }

    /// Over the public Internet: the best way through measured regions, which knows real cables, or for near points a
    /// direct one.
    pub(crate) fn public_ms(&self, a: &Spot, b: &Spot) -> f64 {
        let km = a.distance_km(b);
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
        self.at.distance_km(other.at)
    }

    /// The weight of each measured region.
    fn nearness(&self) -> [f64; MEASURED] {
        self.regions_km.map(|km| math::exp(-km / SMOOTHING_KM))
    }

    fn region(&self) -> Option<usize> {
        self.regions_km.iter().position(|&km| km < SAME_REGION_KM)
    }
}

/// Straight through, without passing a region.
fn direct_ms(km: f64) -> f64 {
    2.8 + 1.7 * (1.0 - math::exp(-km / 60.0)) + 3.1 * fibre_rtt_ms(km)
}

/// From a point to a region, one end of an anchored path.
fn spur_ms(km: f64) -> f64 {
    2.5 * fibre_rtt_ms(km) + 1.0 - math::exp(-km / 100.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Atlas;

    fn end(lat: f64, lon: f64, kind: EndpointKind) -> Endpoint {
        Endpoint { coordinates: Coordinates::new(lat, lon).unwrap(), kind }
    }

    fn anywhere() -> impl Strategy<Value = Endpoint> {
        let kind = prop_oneof![Just(EndpointKind::Region), Just(EndpointKind::Public)];
        (-90.0..=90.0_f64, -180.0..=180.0_f64, kind).prop_map(|(lat, lon, kind)| end(lat, lon, kind))
    }

    #[test]
    fn round_trips_are_those_computed_by_another_program() {
        use EndpointKind::{Public, Region};
        let fra = (50.0264, 8.5431);
        let us_east_1 = (39.0438, -77.4874);
        let (lima, perth) = ((-12.0432, -77.0282), (-31.95, 115.86));
        let (lyon, munich) = ((45.7485, 4.8467), (48.1374, 11.5755));
        let (almaty, ulaanbaatar) = ((43.25, 76.95), (47.9, 106.9));
        let nairobi = (-1.2833, 36.8167);
        for (a, b, backbone_ms, public_ms) in [
            (fra, us_east_1, 95.4846, 93.3176),
            (nairobi, us_east_1, 211.4548, 229.3043),
            (lima, perth, 279.7602, 385.8231),
            (almaty, fra, 87.4021, 125.8274),
            (lyon, munich, 15.3924, 16.0103),
            (ulaanbaatar, almaty, 43.0597, 154.0860),
            (ulaanbaatar, lima, 251.3125, 350.9467),
        ] {
            for (kind, expected) in [(Region, backbone_ms), (Public, public_ms)] {
                let rtt_ms = Atlas::embedded().rtt_ms(end(a.0, a.1, kind), end(b.0, b.1, kind));
                assert!((rtt_ms - expected).abs() < 1e-3, "{a:?} to {b:?}, {kind}: {rtt_ms}, not {expected}");
            }
        }
    }

    #[test]
    fn direct_and_spur_are_what_one_computes_by_hand() {
        // 60 km: 2.8 + 1.7 (1 - 1/e) + 3.1 * 120 / 204.218
        assert!((direct_ms(60.0) - 5.696_188).abs() < 1e-6);
        // 100 km: 2.5 * 200 / 204.218 + 1 - 1/e
        assert!((spur_ms(100.0) - 3.080_485).abs() < 1e-6);
        assert!((fibre_rtt_ms(10_210.9) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn listed_regions_have_what_was_measured() {
        let atlas = Atlas::embedded();
        let region =
            |id: &str| Endpoint { coordinates: atlas.site(id).unwrap().coordinates, kind: EndpointKind::Region };
        // Rows and columns 0 and 8 of the table.
        let rtt_ms = atlas.rtt_ms(region("us-east-1"), region("eu-west-1"));
        let (_, rows) = atlas::square(atlas::REGION_RTT).unwrap();
        assert_eq!(rtt_ms, (rows[0][8] + rows[8][0]) / 2.0);
        assert_eq!(atlas.rtt_ms(region("us-east-1"), region("us-east-1")), 5.35);
        let near = end(39.0440, -77.4874, EndpointKind::Region);
        assert_eq!(atlas.rtt_ms(near, region("eu-west-1")), rtt_ms);
        let not_listed = atlas.rtt_ms(region("ap-southeast-6"), region("ap-southeast-2"));
        assert!((20.0..50.0).contains(&not_listed), "Auckland to Sydney: {not_listed}");
    }

    #[test]
    fn no_measured_pair_is_below_the_floor() {
        let atlas = Atlas::embedded();
        let model = atlas.model();
        for p in 0..MEASURED {
            for q in (0..MEASURED).filter(|&q| q != p) {
                let km = model.regions[p].distance_km(model.regions[q]);
                assert!(model.rtt_ms[p][q] > floor_ms(km), "{p} {q}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_model_is_symmetric_finite_and_slower_than_light_in_fibre(a in anywhere(), b in anywhere()) {
            let atlas = Atlas::embedded();
            let rtt_ms = atlas.rtt_ms(a, b);
            prop_assert!((rtt_ms - atlas.rtt_ms(b, a)).abs() < 1e-9);
            prop_assert!(rtt_ms >= fibre_rtt_ms(a.coordinates.distance_km(b.coordinates)));
            prop_assert!(rtt_ms < 2000.0);
        }

        /// A detour by way of a region is never faster than what the model calls the public path.
        #[test]
        fn an_anchored_path_is_no_longer_than_any_detour_by_a_region(a in anywhere(), b in anywhere(), p in 0..MEASURED) {
            let model = Atlas::embedded().model();
            let spot = |end: Endpoint| model.spot(end.coordinates, MacroRegion::Europe);
            let (a, b) = (spot(a), spot(b));
            let detour = spur_ms(a.regions_km[p]) + spur_ms(b.regions_km[p]);
            prop_assert!(model.public_ms(&a, &b) <= detour.max(floor_ms(a.distance_km(&b))));
        }
    }
}
