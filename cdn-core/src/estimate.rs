//! How far is it, in time? An estimate of the round trip per client block and PoP.
//!
//! It starts from distance, goes by what the region's other networks and the router's own probes have found where there is
//! such, and moves to the block's own measurements as samples come; a sample loses its weight with age, so that what
//! was learned about a broken path is forgotten. Two things must not be mixed up: a packet that was slow, which says
//! little of the path, and a path that has become slower, which must be followed within seconds. So a single sample
//! moves the mean by little, however far off it is, and several that are off to the same side start it anew (a cumulative
//! sum, Page 1954). Knows distances and reported round trips; does not know the network that made them, and does not
//! choose.

mod near;
mod track;

use std::{collections::BTreeMap, time::Duration};

pub use self::near::{Nearby, Neighbourhood};
use self::track::Track;
use crate::{Instant, geo::BlockId, math, routing::PopIndex};

/// How estimates are formed.
#[derive(Clone, Debug, PartialEq)]
pub struct EstimateOptions {
    /// After so long a sample counts half. Default 10 minutes.
    pub half_life: Duration,
    /// How many samples the prior is worth. Default 2.
    pub prior_samples: f64,
    /// From so many networks with beacons on, a region is judged by them. Default 2: the trouble of one is not its region's.
    pub region_networks_min: usize,
    /// A reported round trip above this is refused. Default 10 s.
    pub rtt_max: Duration,
    /// How many pairs of block and PoP are remembered; a further one is refused. Default 65,536 (about 4 MB).
    pub pairs_max: usize,
}

impl Default for EstimateOptions {
    fn default() -> Self {
        Self {
            half_life: Duration::from_secs(600),
            prior_samples: 2.0,
            region_networks_min: 2,
            rtt_max: Duration::from_secs(10),
            pairs_max: 65_536,
        }
    }
}

/// Where an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EstimateSource {
    /// Nothing is known of the client.
    Unknown,
    /// Distance alone.
    Distance,
    /// What other networks of the region have reported, mixed with the prior.
    Region,
    /// What the router's own probes take from the region, mixed with the prior.
    Probes,
    /// Round trips that viewers reported, mixed with the prior.
    Beacons,
}

impl EstimateSource {
    /// The lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Distance => "distance",
            Self::Region => "region",
            Self::Probes => "probes",
            Self::Beacons => "beacons",
        }
    }
}

/// A round trip as believed now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The round trip.
    pub rtt: Duration,
    /// Mean deviation of the samples; zero where there are none.
    pub deviation: Duration,
    /// What it rests on.
    pub source: EstimateSource,
    /// How many samples were taken.
    pub samples: u32,
    /// Time since the last sample.
    pub age: Option<Duration>,
    /// Weight of the samples against the prior, 0 to 1.
    pub confidence: f64,
}

/// The round trip, without last mile, that distance alone suggests for a path over the public Internet.
///
/// Long paths are straighter than short ones, so this is the least of three lines over the round trip in straight
/// fibre, `f = 2 d / 204.218 km/ms`. The first is the fit on city pairs under 2000 km that `world/data` gives
/// (`2.8 + 1.7 (1 - exp(-d/60)) + 3.1 f`); `10 + 2.2 f` and `50 + 1.5 f` follow the medians of that data's cable paths
/// between 3000 cities and PoPs (at 1250, 5000, 9000 and 13,500 km: 36, 124, 198 and 250 ms; the lines: 37, 118, 204
/// and 248 ms).
pub fn distance_prior(distance_km: f64) -> Duration {
    let distance_km = if distance_km.is_finite() { distance_km.max(0.0) } else { 20_015.0 };
    let fibre_ms = 2.0 * distance_km / 204.218;
    let near_ms = 2.8 + 1.7 * (1.0 - math::exp(-distance_km / 60.0)) + 3.1 * fibre_ms;
    Duration::from_secs_f64(near_ms.min(10.0 + 2.2 * fibre_ms).min(50.0 + 1.5 * fibre_ms) / 1000.0)
}

/// What distance alone says of the way to a PoP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// The distance; `None` where the client's place is unknown.
    pub distance_km: Option<f64>,
    rtt: Duration,
}

impl Prior {
    /// That of a PoP at this distance.
    pub fn of(distance_km: Option<f64>) -> Self {
        Self { distance_km, rtt: distance_km.map_or(UNKNOWN, distance_prior) }
    }

    const fn estimate(self) -> Estimate {
        let source = if self.distance_km.is_some() { EstimateSource::Distance } else { EstimateSource::Unknown };
        Estimate { rtt: self.rtt, deviation: Duration::ZERO, source, samples: 0, age: None, confidence: 0.0 }
    }
}

/// Estimated for a client of whom nothing is known, to any PoP: the prior at half the way round the earth's quarter.
const UNKNOWN: Duration = Duration::from_millis(150);

/// The last mile is in every measurement and in no prior. What the measured PoPs of a block have in common above their
/// priors is taken for it, up to this much, and added to the priors of the others; otherwise every PoP would look worse
/// for having been measured. The cap is the slow tail of fixed access; a whole detour must not hide in it.
const LAST_MILE_MAX: Duration = Duration::from_millis(25);

/// A beacon that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeaconRefused {
    /// The client network is not in the prefix table.
    #[error("the client is in no known network")]
    UnknownClient,
    /// The address is not an edge's.
    #[error("no edge has this address")]
    UnknownEdge,
    /// Zero, or longer than the limit.
    #[error("the round trip is out of range")]
    RttOutOfRange,
    /// The limit of remembered pairs is reached.
    #[error("too many client blocks report")]
    Full,
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Estimates {
    options: EstimateOptions,
    tracks: BTreeMap<(BlockId, PopIndex), Track>,
}

impl Estimates {
    /// Nothing measured yet.
    pub const fn new(options: EstimateOptions) -> Self {
        Self { options, tracks: BTreeMap::new() }
    }

    /// A viewer of `block` saw the round trip `rtt` to `pop`. Returns how far that is from what was learned before, where
    /// anything was.
    ///
    /// # Errors
    /// [`BeaconRefused`] where the value is absurd or the limit is reached.
    pub fn handle_beacon(
        &mut self,
        now: Instant,
        block: BlockId,
        pop: PopIndex,
        rtt: Duration,
    ) -> Result<Option<Duration>, BeaconRefused> {
        if rtt.is_zero() || rtt > self.options.rtt_max {
            return Err(BeaconRefused::RttOutOfRange);
        }
        let rtt_ns = rtt.as_nanos() as f64;
        let full = self.tracks.len() >= self.options.pairs_max;
        match self.tracks.get_mut(&(block, pop)) {
            Some(track) => {
                let error = nanos((rtt_ns - track.mean_ns).abs());
                let decay = self.options.decay(now - track.at);
                track.handle_sample(now, rtt_ns, decay);
                Ok(Some(error))
            }
            None if full => Err(BeaconRefused::Full),
            None => {
                self.tracks.insert((block, pop), Track::new(now, rtt_ns));
                Ok(None)
            }
        }
    }

    /// The blocks that have samples, ascending.
    pub fn blocks(&self) -> impl Iterator<Item = BlockId> + '_ {
        let mut last = None;
        self.tracks.keys().filter_map(move |&(block, _)| (last.replace(block) != Some(block)).then_some(block))
    }

    /// Whether anything was measured for `block`.
    pub fn knows(&self, block: BlockId) -> bool {
        self.tracks.range((block, PopIndex::MIN)..=(block, PopIndex::MAX)).next().is_some()
    }

    /// The estimates from `block` to PoPs at `distances_km` (`None` where the block's place is unknown), in their order.
    /// `nearby` is what was found in its region.
    pub fn estimate(
        &self,
        now: Instant,
        block: Option<BlockId>,
        nearby: &[Nearby],
        distances_km: &[Option<f64>],
    ) -> Vec<Estimate> {
        let priors: Vec<Prior> = distances_km.iter().copied().map(Prior::of).collect();
        self.estimate_from(now, block, nearby, &priors)
    }

    /// The same to PoPs whose priors are worked out already.
    pub fn estimate_from(
        &self,
        now: Instant,
        block: Option<BlockId>,
        nearby: &[Nearby],
        priors: &[Prior],
    ) -> Vec<Estimate> {
        let mut estimates: Vec<Estimate> = priors.iter().map(|prior| prior.estimate()).collect();
        let found = nearby.iter().filter_map(|found| {
            let prior = estimates.get(found.pop.index()).filter(|prior| prior.source == EstimateSource::Distance)?;
            Some(found.evidence(now, prior.rtt, &self.options))
        });
        let found: Vec<Evidence> = found.collect();
        weigh(&mut estimates, &found);
        let own = block.into_iter().flat_map(|block| self.tracks_of(block)).map(|(pop, track)| {
            let age = now - track.at;
            let rtt_ns = track.mean_ns;
            let seen = Estimate {
                rtt: nanos(rtt_ns),
                deviation: nanos(track.deviation_ns),
                source: EstimateSource::Beacons,
                samples: track.samples,
                age: Some(age),
                confidence: self.options.confidence(track.weight * self.options.decay(age)),
            };
            Evidence { pop, rtt_ns, seen }
        });
        weigh(&mut estimates, &own.collect::<Vec<_>>());
        estimates
    }

    fn tracks_of(&self, block: BlockId) -> impl Iterator<Item = (PopIndex, &Track)> {
        let range = (block, PopIndex::MIN)..=(block, PopIndex::MAX);
        self.tracks.range(range).map(|(&(_, pop), track)| (pop, track))
    }

    /// About how many bytes it takes; nodes of a tree are two thirds full on average.
    pub(crate) fn bytes(&self) -> usize {
        self.tracks.len() * size_of::<((BlockId, PopIndex), Track)>() * 3 / 2
    }

    /// Drops what has lost its weight, so that memory serves those who still report.
    pub fn forget(&mut self, now: Instant) {
        let options = &self.options;
        self.tracks.retain(|_, track| track.weight * options.decay(now - track.at) > 0.05);
    }

    /// Takes everything over to another prefix table; `rename` says what a block is called there, if it is there.
    pub fn rename_blocks(&mut self, rename: impl Fn(BlockId) -> Option<BlockId>) {
        let tracks = std::mem::take(&mut self.tracks).into_iter();
        self.tracks = tracks.filter_map(|((block, pop), track)| Some(((rename(block)?, pop), track))).collect();
    }

    /// Drops everything, because the PoPs have changed.
    pub fn clear(&mut self) {
        self.tracks.clear();
    }
}

/// What speaks against an estimate: another round trip, as `seen` with the confidence that it deserves.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    pop: PopIndex,
    rtt_ns: f64,
    seen: Estimate,
}

/// Moves estimates to the evidence as far as it is sure, and all others by the last mile that it shows.
fn weigh(estimates: &mut [Estimate], evidence: &[Evidence]) {
    let last_mile = evidence
        .iter()
        .filter_map(|found| Some(nanos(found.rtt_ns).saturating_sub(estimates.get(found.pop.index())?.rtt)))
        .min()
        .unwrap_or_default()
        .min(LAST_MILE_MAX);
    for estimate in &mut *estimates {
        estimate.rtt += last_mile;
    }
    for &Evidence { pop, rtt_ns, seen } in evidence {
        let Some(estimate) = estimates.get_mut(pop.index()) else { continue };
        let before_ns = estimate.rtt.as_nanos() as f64;
        *estimate = Estimate { rtt: nanos(before_ns + seen.confidence * (rtt_ns - before_ns)), ..seen };
    }
}

impl EstimateOptions {
    /// What evidence that weighs so many samples deserves against the prior, 0 to 1.
    fn confidence(&self, weight: f64) -> f64 {
        weight / (weight + self.prior_samples.max(f64::MIN_POSITIVE))
    }

    fn decay(&self, age: Duration) -> f64 {
        math::powf(0.5, age.as_secs_f64() / self.half_life.as_secs_f64().max(1e-3))
    }
}

fn nanos(ns: f64) -> Duration {
    // `as` saturates, and turns what is not a number into zero.
    Duration::from_nanos(ns as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::geo::{GeoMap, GeoPrefix, Place, Point};

    fn block() -> BlockId {
        let place = Place { point: Point::new(0.0, 0.0).unwrap(), country: "".into(), label: "".into() };
        let map = GeoMap::build([GeoPrefix { net: "10.0.0.0/24".parse().unwrap(), place }]);
        map.block_of("10.0.0.1".parse().unwrap()).unwrap()
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const HERE: [Option<f64>; 2] = [Some(430.0), Some(580.0)];

    #[test]
    fn without_samples_an_estimate_is_the_distance_prior() {
        let estimates = Estimates::new(EstimateOptions::default()).estimate(Instant::ZERO, Some(block()), &[], &HERE);
        assert_eq!(estimates[0].source, EstimateSource::Distance);
        assert_eq!(estimates[0].rtt, distance_prior(430.0));
        assert!(estimates[0].rtt < estimates[1].rtt);
        let unknown = Estimates::new(EstimateOptions::default()).estimate(Instant::ZERO, None, &[], &[None, None]);
        assert_eq!((unknown[0].source, unknown[0].rtt), (EstimateSource::Unknown, unknown[1].rtt));
    }

    #[test]
    fn samples_move_an_estimate_and_age_moves_it_back() {
        let mut estimates = Estimates::new(EstimateOptions::default());
        let slow = PopIndex::new(0);
        for second in 0..20 {
            let now = Instant::ZERO + Duration::from_secs(second);
            estimates.handle_beacon(now, block(), slow, ms(120)).unwrap();
        }
        let soon = estimates.estimate(Instant::ZERO + Duration::from_secs(20), Some(block()), &[], &HERE)[0];
        assert!(soon.rtt > ms(105) && soon.confidence > 0.85, "{soon:?}");
        assert_eq!((soon.samples, soon.age), (20, Some(Duration::from_secs(1))));
        let late = Instant::ZERO + Duration::from_secs(3 * 3600);
        assert!(estimates.estimate(late, Some(block()), &[], &HERE)[0].rtt < ms(45));
        estimates.forget(late);
        assert!(!estimates.knows(block()));
    }

    #[test]
    fn being_measured_is_no_disadvantage() {
        // 12 ms of last mile are in the measurement; the other PoP, never measured, must not look nearer for that.
        let mut estimates = Estimates::new(EstimateOptions::default());
        for _ in 0..10 {
            let rtt = distance_prior(430.0) + ms(12);
            estimates.handle_beacon(Instant::ZERO, block(), PopIndex::new(0), rtt).unwrap();
        }
        let both = estimates.estimate(Instant::ZERO, Some(block()), &[], &HERE);
        assert!(both[0].rtt < both[1].rtt, "{both:?}");
    }

    #[test]
    fn a_detour_is_not_taken_for_the_last_mile() {
        let mut estimates = Estimates::new(EstimateOptions::default());
        for _ in 0..3 {
            estimates.handle_beacon(Instant::ZERO, block(), PopIndex::new(0), ms(130)).unwrap();
        }
        let both = estimates.estimate(Instant::ZERO, Some(block()), &[], &HERE);
        assert!(both[0].rtt > both[1].rtt + ms(20), "{both:?}");
    }

    #[test]
    fn absurd_beacons_and_too_many_are_refused() {
        let mut estimates = Estimates::new(EstimateOptions { pairs_max: 1, ..EstimateOptions::default() });
        let mut beacon = |pop, rtt| estimates.handle_beacon(Instant::ZERO, block(), PopIndex::new(pop), rtt);
        assert_eq!(beacon(0, Duration::ZERO), Err(BeaconRefused::RttOutOfRange));
        assert_eq!(beacon(0, Duration::from_secs(11)), Err(BeaconRefused::RttOutOfRange));
        assert_eq!(beacon(0, ms(5)), Ok(None));
        assert_eq!(beacon(1, ms(5)), Err(BeaconRefused::Full));
        assert_eq!(beacon(0, ms(6)), Ok(Some(ms(1))));
    }

    /// A path as packets see it: jitter with a long tail, and one packet in twenty that was lost or queued.
    fn seen(random: &mut ChaCha8Rng, path_ms: f64, jitter: f64) -> Duration {
        let normal = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let late_ms = if random.random_bool(0.05) { random.random_range(20.0..300.0) } else { 0.0 };
        Duration::from_secs_f64((path_ms * math::exp(jitter * normal) + late_ms) / 1e3)
    }

    fn second(after: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(after)
    }

    #[test]
    fn after_200_beacons_the_median_error_is_2_ms_or_2_percent() {
        for jitter in [0.0, 0.02, 0.05, 0.1] {
            let mut errors = vec![];
            for pair in 0..200u64 {
                let mut random = ChaCha8Rng::seed_from_u64(pair);
                let path_ms = random.random_range(3.0..350.0);
                let mut estimates = Estimates::new(EstimateOptions::default());
                for beacon in 0..200 {
                    let rtt = seen(&mut random, path_ms, jitter);
                    estimates.handle_beacon(second(beacon), block(), PopIndex::new(0), rtt).unwrap();
                }
                let rtt = estimates.estimate(second(200), Some(block()), &[], &HERE)[0].rtt;
                errors.push((rtt.as_secs_f64() * 1e3 - path_ms).abs() / (0.02 * path_ms).max(2.0));
            }
            errors.sort_by(f64::total_cmp);
            assert!(errors[100] <= 1.0, "jitter {jitter}: {} times what is allowed", errors[100]);
        }
    }

    #[test]
    fn a_change_of_40_ms_is_followed_within_10_s_and_back() {
        for jitter in [0.0, 0.02, 0.05] {
            let (mut judged, mut off) = (0, 0);
            for seed in 0..100 {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let mut estimates = Estimates::new(EstimateOptions::default());
                for (from, path_ms, within) in [(0, 90.0, 60), (120, 130.0, 10), (240, 90.0, 10)] {
                    for beacon in from..from + 120 {
                        let rtt = seen(&mut random, path_ms, jitter);
                        estimates.handle_beacon(second(beacon), block(), PopIndex::new(0), rtt).unwrap();
                        if beacon >= from + within {
                            let rtt = estimates.estimate(second(beacon), Some(block()), &[], &HERE)[0].rtt;
                            judged += 1;
                            // A quarter of the change is noise; routing asks for a margin anyway.
                            off += i32::from((rtt.as_secs_f64() * 1e3 - path_ms).abs() > 10.0);
                        }
                    }
                }
            }
            // Where late packets come in a row nobody could know better.
            assert!(off * 200 < judged, "jitter {jitter}: {off} of {judged} estimates are off");
        }
    }

    #[test]
    fn a_change_is_followed_also_where_little_is_known() {
        for known in [1, 2, 4, 8] {
            let mut estimates = Estimates::new(EstimateOptions::default());
            let mut beacon = 0;
            let mut rtt_after = |beacons: u64, rtt: Duration| {
                for _ in 0..beacons {
                    estimates.handle_beacon(second(beacon), block(), PopIndex::new(0), rtt).unwrap();
                    beacon += 1;
                }
                estimates.tracks.values().next().unwrap().mean_ns / 1e6
            };
            rtt_after(known, ms(15));
            for path_ms in [175, 15, 175, 15] {
                let mean_ms = rtt_after(5, ms(path_ms));
                assert!((mean_ms - path_ms as f64).abs() < 5.0, "{mean_ms} ms for {path_ms} after {known}");
            }
        }
    }

    #[test]
    fn a_packet_that_was_slow_is_no_slow_path() {
        let mut estimates = Estimates::new(EstimateOptions::default());
        for beacon in 0..200 {
            let rtt = if beacon % 10 == 7 { ms(900) } else { ms(90) };
            estimates.handle_beacon(second(beacon), block(), PopIndex::new(0), rtt).unwrap();
            let rtt = estimates.estimate(second(beacon), Some(block()), &[], &HERE)[0].rtt;
            assert!(beacon < 30 || rtt < ms(95), "{beacon}: {rtt:?}");
        }
    }

    proptest! {
        #[test]
        fn the_prior_grows_with_distance(near_km in 0.0..20_000.0f64, more_km in 0.0..20_000.0f64) {
            prop_assert!(distance_prior(near_km) <= distance_prior(near_km + more_km));
        }

        #[test]
        fn estimates_stay_between_what_was_seen_and_the_prior(rtts_ms in prop::collection::vec(1u64..5000, 1..40)) {
            let mut estimates = Estimates::new(EstimateOptions::default());
            for &rtt_ms in &rtts_ms {
                estimates.handle_beacon(Instant::ZERO, block(), PopIndex::new(0), ms(rtt_ms)).unwrap();
            }
            let rtt = estimates.estimate(Instant::ZERO, Some(block()), &[], &HERE)[0].rtt;
            let prior = distance_prior(430.0);
            let low = ms(*rtts_ms.iter().min().unwrap()).min(prior);
            let high = ms(*rtts_ms.iter().max().unwrap()).max(prior + LAST_MILE_MAX);
            prop_assert!(low - Duration::from_nanos(1) <= rtt && rtt <= high + Duration::from_nanos(1));
        }
    }
}
