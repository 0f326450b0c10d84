//! What distance says of the ways from a place to every PoP, kept for the places that are ordered again and again: great
//! circles and logarithms take longer than all else that an order takes. Decides nothing.

use std::collections::BTreeMap;

use super::{Pop, scoring::distances_km};
use crate::{
    estimate::Prior,
    geo::{GeoMap, PlaceId},
};

/// Pairs of place and PoP that are kept; 8 MiB. Beyond, a place is worked out each time.
const PAIRS_MAX: usize = 1 << 18;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Priors {
    by_place: BTreeMap<PlaceId, Box<[Prior]>>,
}

impl Priors {
    /// Nothing kept.
    pub(super) const NONE: &Self = &Self { by_place: BTreeMap::new() };

    /// Sees to it that those of a place are there, if there is room.
    pub(super) fn prepare(&mut self, geo: &GeoMap, pops: &[Pop], place: PlaceId) {
        if !self.by_place.contains_key(&place) && (self.by_place.len() + 1) * pops.len() <= PAIRS_MAX {
            self.by_place.insert(place, worked_out(geo, pops, Some(place)));
        }
    }

    /// Those of a place, in the order of the PoPs, if they are there.
    pub(super) fn of(&self, place: Option<PlaceId>) -> Option<&[Prior]> {
        self.by_place.get(&place?).map(|priors| &**priors)
    }

    /// Forgets them, because places or PoPs are others.
    pub(super) fn clear(&mut self) {
        self.by_place.clear();
    }
}

/// Those of a place, or of clients whose place is unknown.
pub(super) fn worked_out(geo: &GeoMap, pops: &[Pop], place: Option<PlaceId>) -> Box<[Prior]> {
    distances_km(geo, pops, place).into_iter().map(Prior::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::{GeoPrefix, Place, Point};

    fn place(lat_deg: f64, lon_deg: f64) -> Place {
        Place { point: Point::new(lat_deg, lon_deg).unwrap(), country: "".into(), label: "".into() }
    }

    #[test]
    fn what_is_kept_is_what_would_be_worked_out_and_no_more_than_there_is_room_for() {
        let net = |at: u8| format!("10.{at}.0.0/16").parse().unwrap();
        let prefixes = (0..8).map(|at| GeoPrefix { net: net(at), place: place(f64::from(at) * 9.0, f64::from(at)) });
        let geo = GeoMap::build(prefixes);
        let pop = Pop { code: "FRA".parse().unwrap(), place: place(50.0, 8.6), edges: vec![] };
        // One place less than would fit.
        let pops = vec![pop; PAIRS_MAX / 7];
        let mut priors = Priors::default();
        geo.place_ids().for_each(|place| priors.prepare(&geo, &pops, place));
        let kept: Vec<bool> = geo.place_ids().map(|place| priors.of(Some(place)).is_some()).collect();
        assert_eq!(kept, [true, true, true, true, true, true, true, false]);
        for place in geo.place_ids().take(7) {
            assert_eq!(priors.of(Some(place)), Some(&*worked_out(&geo, &pops, Some(place))));
        }
        assert_eq!(priors.of(None), None);
        priors.clear();
        assert!(geo.place_ids().all(|place| priors.of(Some(place)).is_none()));
    }
}
