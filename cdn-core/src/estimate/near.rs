//! What is known of the ways that begin near a client: from other networks of its region, and from the router's own probes
//! where the router stands there.
//!
//! What carries over from one place to another is not the round trip but how far it lies from what distance suggests: a
//! detour of a country's cables, a slow exchange, the last mile. Of several networks the median holds, so that the trouble
//! of one is not its region's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Estimate, EstimateOptions, EstimateSource, Estimates, Evidence, distance_prior, nanos};
use crate::{
    Instant,
    geo::{BlockId, Region},
    routing::PopIndex,
};

/// Probes come every second and for as long as the router lives; they are sure, but they have no last mile and begin in one
/// place of the region.
const PROBES_WEIGHT: f64 = 8.0;

/// A probe's round trip that has moved by less than both moves no estimate.
const PROBE_STEP: Duration = Duration::from_millis(2);
const PROBE_STEP_SHARE: f64 = 0.05;

/// What was found near, of the way to one PoP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearby {
    /// The PoP.
    pub pop: PopIndex,
    over_prior_ns: f64,
    deviation_ns: f64,
    source: EstimateSource,
    samples: u32,
    weight: f64,
    at: Instant,
}

impl Nearby {
    /// What it says of a place where distance suggests `prior`.
    pub(super) fn evidence(&self, now: Instant, prior: Duration, options: &EstimateOptions) -> Evidence {
        let age = now - self.at;
        // Probes do not age: when they cease, the PoP is down.
        let decay = if self.source == EstimateSource::Probes { 1.0 } else { options.decay(age) };
        let rtt_ns = (prior.as_nanos() as f64 + self.over_prior_ns).max(0.0);
        let seen = Estimate {
            rtt: nanos(rtt_ns),
            deviation: nanos(self.deviation_ns),
            source: self.source,
            samples: self.samples,
            age: Some(age),
            confidence: options.confidence(self.weight * decay),
        };
        Evidence { pop: self.pop, rtt_ns, seen }
    }
}

/// What is known near each place. Replaced where something is learned, so that snapshots can share it.
#[derive(Clone, Debug, Default)]
pub struct Neighbourhood {
    /// The networks of each region that have reported.
    networks: BTreeMap<Region, BTreeSet<BlockId>>,
    learned: BTreeMap<Region, Arc<[Nearby]>>,
    /// Where the router stands, and what its probes have found there.
    probed: Option<(Region, BTreeMap<PopIndex, Nearby>)>,
}

impl Neighbourhood {
    /// What was found near `region`, at most once for each PoP: probes before other networks.
    pub fn nearby(&self, region: Region) -> Vec<Nearby> {
        let probed = self.probed.as_ref().filter(|(own, _)| *own == region).map(|(_, found)| found);
        let is_probed = |found: &&Nearby| probed.is_some_and(|probed| probed.contains_key(&found.pop));
        let learned = self.learned.get(&region).map_or(&[][..], |learned| learned);
        let others = learned.iter().filter(|found| !is_probed(found));
        others.chain(probed.into_iter().flat_map(BTreeMap::values)).copied().collect()
    }

    /// Whether nothing is known anywhere.
    pub fn is_empty(&self) -> bool {
        self.learned.is_empty() && self.probed.is_none()
    }

    /// Whether another network than its own may speak for a place of `region`.
    pub fn knows(&self, region: Region) -> bool {
        self.learned.contains_key(&region) || self.probed.as_ref().is_some_and(|(own, _)| *own == region)
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let networks: usize = self.networks.values().map(BTreeSet::len).sum();
        let learned: usize = self.learned.values().map(|learned| learned.len()).sum();
        networks * size_of::<BlockId>() * 3 / 2 + learned * size_of::<Nearby>() + self.networks.len() * 64
    }

    /// The regions of which something is known.
    pub fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        let probed = self.probed.as_ref().map(|&(own, _)| own);
        self.learned.keys().copied().chain(probed.filter(|own| !self.learned.contains_key(own)))
    }

    /// A network of `region` has reported.
    pub fn handle_beacon(&mut self, region: Region, block: BlockId) {
        self.networks.entry(region).or_default().insert(block);
    }

    /// Whether `block` is known to be of `region`.
    pub fn has(&self, region: Region, block: BlockId) -> bool {
        self.networks.get(&region).is_some_and(|networks| networks.contains(&block))
    }

    /// Works out anew what the networks of `region` have in common. `distance_km` is that of a network to a PoP.
    pub fn learn(
        &mut self,
        region: Region,
        estimates: &Estimates,
        distance_km: impl Fn(BlockId, PopIndex) -> Option<f64>,
    ) {
        let mut by_pop: BTreeMap<PopIndex, Vec<Nearby>> = BTreeMap::new();
        for &block in self.networks.get(&region).into_iter().flatten() {
            for (pop, track) in estimates.tracks_of(block) {
                let Some(distance_km) = distance_km(block, pop) else { continue };
                by_pop.entry(pop).or_default().push(Nearby {
                    pop,
                    over_prior_ns: over_prior_ns(distance_km, nanos(track.mean_ns)),
                    deviation_ns: track.deviation_ns,
                    source: EstimateSource::Region,
                    samples: track.samples,
                    // A network says the same however often it says so.
                    weight: track.weight.min(1.0),
                    at: track.at,
                });
            }
        }
        let networks_min = estimates.options.region_networks_min;
        let common: Vec<Nearby> =
            by_pop.into_values().filter(|found| found.len() >= networks_min).filter_map(common).collect();
        if common.is_empty() {
            self.learned.remove(&region);
        } else {
            self.learned.insert(region, common.into());
        }
    }

    /// Whether `rtt` differs from what probes have found before of the way to `pop`. The router stands in `region`,
    /// `distance_km` from it.
    pub fn is_news(&self, region: Region, pop: PopIndex, distance_km: f64, rtt: Duration) -> bool {
        let before = self.probed.as_ref().filter(|(own, _)| *own == region).and_then(|(_, probed)| probed.get(&pop));
        let step_ns = PROBE_STEP.max(rtt.mul_f64(PROBE_STEP_SHARE)).as_nanos() as f64;
        before.is_none_or(|before| (before.over_prior_ns - over_prior_ns(distance_km, rtt)).abs() > step_ns)
    }

    /// The router stands in `region`, `distance_km` from `pop`, and its probes take `rtt`.
    pub fn handle_probe(&mut self, now: Instant, region: Region, pop: PopIndex, distance_km: f64, rtt: Duration) {
        let (own, probed) = self.probed.get_or_insert_with(|| (region, BTreeMap::new()));
        if *own != region {
            (*own, *probed) = (region, BTreeMap::new());
        }
        let samples = probed.get(&pop).map_or(1, |before| before.samples.saturating_add(1));
        let found = Nearby {
            pop,
            over_prior_ns: over_prior_ns(distance_km, rtt),
            deviation_ns: 0.0,
            source: EstimateSource::Probes,
            samples,
            weight: PROBES_WEIGHT,
            at: now,
        };
        probed.insert(pop, found);
    }

    /// Other networks: what reported ones are called, and what was learned from them, is built anew by the caller.
    pub fn forget_networks(&mut self) {
        self.networks.clear();
        self.learned.clear();
    }

    /// Drops everything, because the PoPs have changed.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn over_prior_ns(distance_km: f64, rtt: Duration) -> f64 {
    rtt.as_nanos() as f64 - distance_prior(distance_km).as_nanos() as f64
}

/// The median network, which speaks for all.
fn common(mut found: Vec<Nearby>) -> Option<Nearby> {
    found.sort_by(|a, b| a.over_prior_ns.total_cmp(&b.over_prior_ns));
    let (low, high) = (found.get((found.len() - 1) / 2)?, found.get(found.len() / 2)?);
    Some(Nearby {
        over_prior_ns: f64::midpoint(low.over_prior_ns, high.over_prior_ns),
        deviation_ns: f64::midpoint(low.deviation_ns, high.deviation_ns),
        samples: found.iter().fold(0, |samples, found| samples.saturating_add(found.samples)),
        weight: found.iter().map(|found| found.weight).sum(),
        at: found.iter().map(|found| found.at).max()?,
        ..*low
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::{GeoMap, GeoPrefix, Place, Point};

    const POP: PopIndex = PopIndex::MIN;
    const KM: f64 = 600.0;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn blocks(count: u8) -> (Vec<BlockId>, Region) {
        let place = Place { point: Point::new(52.0, 9.0).unwrap(), country: "DE".into(), label: "".into() };
        let region = Region::of(&place);
        let net = |at: u8| format!("10.0.{at}.0/24").parse().unwrap();
        let map = GeoMap::build((0..count).map(|at| GeoPrefix { net: net(at), place: place.clone() }));
        (map.block_ids().collect(), region)
    }

    /// Networks that see so many milliseconds more than distance suggests, and what a further one is told.
    fn told(over_ms: &[u64]) -> Estimate {
        let (blocks, region) = blocks(over_ms.len() as u8 + 1);
        let mut estimates = Estimates::new(EstimateOptions::default());
        let mut near = Neighbourhood::default();
        for (&block, &over) in blocks.iter().zip(over_ms) {
            for _ in 0..10 {
                estimates.handle_beacon(Instant::ZERO, block, POP, distance_prior(KM) + ms(over)).unwrap();
            }
            near.handle_beacon(region, block);
        }
        near.learn(region, &estimates, |_, _| Some(KM));
        estimates.estimate(Instant::ZERO, blocks.last().copied(), &near.nearby(region), &[Some(KM)])[0]
    }

    #[test]
    fn a_network_that_says_nothing_is_judged_by_its_neighbours() {
        let estimate = told(&[40, 44, 42, 41, 43, 42]);
        assert_eq!((estimate.source, estimate.samples), (EstimateSource::Region, 60));
        assert!(
            estimate.rtt > distance_prior(KM) + ms(35) && estimate.rtt < distance_prior(KM) + ms(42),
            "{estimate:?}"
        );
        assert!((estimate.confidence - 0.75).abs() < 1e-9, "six networks against a prior worth two");
    }

    #[test]
    fn the_trouble_of_one_network_is_not_its_regions() {
        assert_eq!(told(&[200]).source, EstimateSource::Distance);
        assert!(told(&[4, 200, 5]).rtt < distance_prior(KM) + ms(10));
    }

    #[test]
    fn probes_speak_for_the_routers_own_region_before_its_networks_do() {
        let (blocks, region) = blocks(1);
        let mut near = Neighbourhood::default();
        let now = Instant::ZERO + ms(500);
        assert!(near.is_news(region, POP, KM, distance_prior(KM) + ms(50)));
        near.handle_probe(now, region, POP, KM, distance_prior(KM) + ms(50));
        assert!(!near.is_news(region, POP, KM, distance_prior(KM) + ms(51)), "noise");
        let estimates = Estimates::new(EstimateOptions::default());
        let here = estimates.estimate(now, blocks.first().copied(), &near.nearby(region), &[Some(KM)])[0];
        assert_eq!((here.source, here.age), (EstimateSource::Probes, Some(Duration::ZERO)));
        assert!(here.rtt > distance_prior(KM) + ms(39), "{here:?}");
        let elsewhere =
            Region::of(&Place { point: Point::new(-12.0, -77.0).unwrap(), country: "PE".into(), label: "".into() });
        assert!(near.nearby(elsewhere).is_empty() && !near.knows(elsewhere));
    }

    #[test]
    fn own_beacons_outweigh_the_neighbours() {
        let (blocks, region) = blocks(4);
        let mut estimates = Estimates::new(EstimateOptions::default());
        let mut near = Neighbourhood::default();
        for (at, &block) in blocks.iter().enumerate() {
            let over = if at == 3 { ms(5) } else { ms(80) };
            for _ in 0..50 {
                estimates.handle_beacon(Instant::ZERO, block, POP, distance_prior(KM) + over).unwrap();
            }
            near.handle_beacon(region, block);
        }
        near.learn(region, &estimates, |_, _| Some(KM));
        let own = estimates.estimate(Instant::ZERO, Some(blocks[3]), &near.nearby(region), &[Some(KM)])[0];
        assert_eq!(own.source, EstimateSource::Beacons);
        assert!(own.rtt < distance_prior(KM) + ms(8), "{own:?}");
    }
}
