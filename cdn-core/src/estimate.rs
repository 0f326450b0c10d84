//! How far is it, in time? An estimate of the round trip per client block and PoP.
//!
//! It starts from distance and moves to measurement as samples come; a sample loses its weight with age, so that what
//! was learned about a broken path is forgotten. Knows distances and reported round trips; does not know the network
//! that made them, and does not choose.

use std::{collections::BTreeMap, time::Duration};

use crate::{Instant, geo::BlockId, routing::PopIndex};

/// How estimates are formed.
#[derive(Clone, Debug, PartialEq)]
pub struct EstimateOptions {
    /// After so long a sample counts half. Default 10 minutes.
    pub half_life: Duration,
    /// How many samples the prior is worth. Default 2.
    pub prior_samples: f64,
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
    /// Round trips that viewers reported, mixed with the prior.
    Beacons,
}

impl EstimateSource {
    /// The lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Distance => "distance",
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
    let near_ms = 2.8 + 1.7 * (1.0 - (-distance_km / 60.0).exp()) + 3.1 * fibre_ms;
    Duration::from_secs_f64(near_ms.min(10.0 + 2.2 * fibre_ms).min(50.0 + 1.5 * fibre_ms) / 1000.0)
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

/// Exponentially weighted mean and deviation, as in RFC 6298 (gains 1/8 and 1/4), in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Track {
    mean_ns: f64,
    deviation_ns: f64,
    samples: u32,
    /// Samples, each halved per half-life, as of `at`.
    weight: f64,
    at: Instant,
}

impl Estimates {
    /// Nothing measured yet.
    pub const fn new(options: EstimateOptions) -> Self {
        Self { options, tracks: BTreeMap::new() }
    }

    /// A viewer of `block` saw the round trip `rtt` to `pop`.
    ///
    /// # Errors
    /// [`BeaconRefused`] where the value is absurd or the limit is reached.
    pub fn handle_beacon(
        &mut self,
        now: Instant,
        block: BlockId,
        pop: PopIndex,
        rtt: Duration,
    ) -> Result<(), BeaconRefused> {
        if rtt.is_zero() || rtt > self.options.rtt_max {
            return Err(BeaconRefused::RttOutOfRange);
        }
        let rtt_ns = rtt.as_nanos() as f64;
        let full = self.tracks.len() >= self.options.pairs_max;
        match self.tracks.get_mut(&(block, pop)) {
            Some(track) => {
                // The first samples count evenly; later the gain settles at 1/8.
                let gain = (1.0 / f64::from(track.samples.saturating_add(1))).max(0.125);
                let error = rtt_ns - track.mean_ns;
                track.deviation_ns += 0.25 * (error.abs() - track.deviation_ns);
                track.mean_ns += gain * error;
                track.samples = track.samples.saturating_add(1);
                track.weight = (track.weight * self.options.decay(now - track.at) + 1.0).min(64.0);
                track.at = now;
            }
            None if full => return Err(BeaconRefused::Full),
            None => {
                let track = Track { mean_ns: rtt_ns, deviation_ns: rtt_ns / 2.0, samples: 1, weight: 1.0, at: now };
                self.tracks.insert((block, pop), track);
            }
        }
        Ok(())
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
    pub fn estimate(&self, now: Instant, block: Option<BlockId>, distances_km: &[Option<f64>]) -> Vec<Estimate> {
        let mut estimates: Vec<Estimate> = distances_km.iter().map(|&distance_km| prior(distance_km)).collect();
        let Some(block) = block else { return estimates };
        let tracks = || {
            let range = (block, PopIndex::MIN)..=(block, PopIndex::MAX);
            self.tracks.range(range).map(|(&(_, pop), track)| (pop.index(), track))
        };
        let last_mile = tracks()
            .filter_map(|(pop, track)| Some(nanos(track.mean_ns).saturating_sub(estimates.get(pop)?.rtt)))
            .min()
            .unwrap_or_default()
            .min(LAST_MILE_MAX);
        for estimate in &mut estimates {
            estimate.rtt += last_mile;
        }
        for (pop, track) in tracks() {
            let Some(estimate) = estimates.get_mut(pop) else { continue };
            let age = now - track.at;
            let weight = track.weight * self.options.decay(age);
            let confidence = weight / (weight + self.options.prior_samples.max(f64::MIN_POSITIVE));
            let prior_ns = estimate.rtt.as_nanos() as f64;
            *estimate = Estimate {
                rtt: nanos(prior_ns + confidence * (track.mean_ns - prior_ns)),
                deviation: nanos(track.deviation_ns),
                source: EstimateSource::Beacons,
                samples: track.samples,
                age: Some(age),
                confidence,
            };
        }
        estimates
    }

    /// Drops what has lost its weight, so that memory serves those who still report.
    pub fn forget(&mut self, now: Instant) {
        let options = &self.options;
        self.tracks.retain(|_, track| track.weight * options.decay(now - track.at) > 0.05);
    }

    /// Drops everything, because the PoPs or the prefix table have changed.
    pub fn clear(&mut self) {
        self.tracks.clear();
    }
}

impl EstimateOptions {
    fn decay(&self, age: Duration) -> f64 {
        0.5f64.powf(age.as_secs_f64() / self.half_life.as_secs_f64().max(1e-3))
    }
}

fn prior(distance_km: Option<f64>) -> Estimate {
    let (rtt, source) = match distance_km {
        Some(distance_km) => (distance_prior(distance_km), EstimateSource::Distance),
        None => (UNKNOWN, EstimateSource::Unknown),
    };
    Estimate { rtt, deviation: Duration::ZERO, source, samples: 0, age: None, confidence: 0.0 }
}

fn nanos(ns: f64) -> Duration {
    // `as` saturates, and turns what is not a number into zero.
    Duration::from_nanos(ns as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let estimates = Estimates::new(EstimateOptions::default()).estimate(Instant::ZERO, Some(block()), &HERE);
        assert_eq!(estimates[0].source, EstimateSource::Distance);
        assert_eq!(estimates[0].rtt, distance_prior(430.0));
        assert!(estimates[0].rtt < estimates[1].rtt);
        let unknown = Estimates::new(EstimateOptions::default()).estimate(Instant::ZERO, None, &[None, None]);
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
        let soon = estimates.estimate(Instant::ZERO + Duration::from_secs(20), Some(block()), &HERE)[0];
        assert!(soon.rtt > ms(105) && soon.confidence > 0.85, "{soon:?}");
        assert_eq!((soon.samples, soon.age), (20, Some(Duration::from_secs(1))));
        let late = Instant::ZERO + Duration::from_secs(3 * 3600);
        assert!(estimates.estimate(late, Some(block()), &HERE)[0].rtt < ms(45));
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
        let both = estimates.estimate(Instant::ZERO, Some(block()), &HERE);
        assert!(both[0].rtt < both[1].rtt, "{both:?}");
    }

    #[test]
    fn a_detour_is_not_taken_for_the_last_mile() {
        let mut estimates = Estimates::new(EstimateOptions::default());
        for _ in 0..3 {
            estimates.handle_beacon(Instant::ZERO, block(), PopIndex::new(0), ms(130)).unwrap();
        }
        let both = estimates.estimate(Instant::ZERO, Some(block()), &HERE);
        assert!(both[0].rtt > both[1].rtt + ms(20), "{both:?}");
    }

    #[test]
    fn absurd_beacons_and_too_many_are_refused() {
        let mut estimates = Estimates::new(EstimateOptions { pairs_max: 1, ..EstimateOptions::default() });
        let mut beacon = |pop, rtt| estimates.handle_beacon(Instant::ZERO, block(), PopIndex::new(pop), rtt);
        assert_eq!(beacon(0, Duration::ZERO), Err(BeaconRefused::RttOutOfRange));
        assert_eq!(beacon(0, Duration::from_secs(11)), Err(BeaconRefused::RttOutOfRange));
        assert_eq!(beacon(0, ms(5)), Ok(()));
        assert_eq!(beacon(1, ms(5)), Err(BeaconRefused::Full));
        assert_eq!(beacon(0, ms(6)), Ok(()));
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
            let rtt = estimates.estimate(Instant::ZERO, Some(block()), &HERE)[0].rtt;
            let prior = distance_prior(430.0);
            let low = ms(*rtts_ms.iter().min().unwrap()).min(prior);
            let high = ms(*rtts_ms.iter().max().unwrap()).max(prior + LAST_MILE_MAX);
            prop_assert!(low - Duration::from_nanos(1) <= rtt && rtt <= high + Duration::from_nanos(1));
        }
    }
}
