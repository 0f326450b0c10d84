//! Anycast: every PoP announces one address, and the networks in between decide where a client comes out.
//!
//! The catchment is a model. A client block goes to the PoP with the lowest `distance + detour`, where the detour is an
//! exponential draw of its own per pair of block and PoP: what a path gains or loses by the networks' agreements. Some
//! blocks belong to networks that hand traffic over far away; their detours are so long that distance hardly counts.
//!
//! Calibrated on Calder et al., "Analyzing the Performance of an Anycast CDN" (IMC 2015): nearest, second and fourth
//! front-end at 280, 700 and 1300 km in the median; 55 % of clients come out at the nearest, 75 % within 400 km of it and
//! 90 % within 1375 km. The defaults give 60, 72 and 94 % there. Where PoPs stand farther apart, more clients come out at
//! the nearest.
//!
//! A withdrawal is not heard of at once: until a block's routes have converged its clients go on to the PoP that is gone,
//! and find nobody, or an edge that wanted to be left alone. 80 % of networks converge within the setting, then comes a
//! tail (Zhu et al., ANRW 2024). An announcement is believed at once.
//!
//! Real anycast needs no resolver: each new connection takes the network's way of that moment. Here DNS stands in for the
//! network, so an answer holds one address, and holds for a second.

use std::time::Duration;

use super::{Candidate, Policy, draw, unit};
use crate::{Reason, math};

/// Detours of networks that hand traffic over far away, against those of others: distance hardly counts.
const REMOTE_FACTOR: f64 = 12.0;

/// The tail of convergence is cut where one network in 3000 is left: `0.2 ^ 5`.
const CONVERGENCE_TAIL: u32 = 5;

/// The catchment model's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct AnycastOptions {
    /// The mean detour in kilometres. Default 600.
    pub detour_km: f64,
    /// The share of blocks whose networks hand traffic over far away, 0 to 1. Default 0.25.
    pub remote_share: f64,
    /// When 80 % of blocks have heard of a withdrawal. Default 10 s.
    pub convergence: Duration,
}

impl Default for AnycastOptions {
    fn default() -> Self {
        Self { detour_km: 600.0, remote_share: 0.25, convergence: Duration::from_secs(10) }
    }
}

#[derive(Debug)]
pub(super) struct Anycast {
    options: AnycastOptions,
}

impl Anycast {
    pub(super) const fn new(options: AnycastOptions) -> Self {
        Self { options }
    }
}

impl Policy for Anycast {
    fn name(&self) -> &'static str {
        "anycast"
    }

    fn reason(&self) -> Reason {
        Reason::RouteCatchment
    }

    fn is_per_block(&self) -> bool {
        true
    }

    fn answers_max(&self) -> usize {
        1
    }

    fn ttl_max(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn convergence(&self, seed: u64, block_key: u64) -> Duration {
        // Exponential: 1 - exp(-t ln 5 / convergence) is 0.8 at the setting.
        let times = -math::ln(unit(draw(seed, "converges", [block_key, 0]))) / math::ln(5.0);
        self.options.convergence.mul_f64(times).min(self.convergence_max())
    }

    fn convergence_max(&self) -> Duration {
        self.options.convergence * CONVERGENCE_TAIL
    }

    fn score(&self, candidate: &Candidate<'_>) -> f64 {
        let AnycastOptions { detour_km, remote_share, .. } = self.options;
        let is_remote = unit(draw(candidate.seed, "remote", [candidate.block_key, 0])) < remote_share;
        let mean_km = if is_remote { detour_km * REMOTE_FACTOR } else { detour_km };
        candidate.distance_km.unwrap_or(0.0) - math::ln(candidate.draw("detour")) * mean_km
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        estimate::{Estimate, EstimateSource},
        geo::{Place, Point},
        routing::{Pop, PopIndex},
    };

    #[test]
    fn catchments_are_those_that_were_measured() {
        let anycast = Anycast::new(AnycastOptions::default());
        let place = Place { point: Point::new(0.0, 0.0).unwrap(), country: "".into(), label: "".into() };
        // Front-ends of the study: 280, 700 and 1300 km are its medians, those between and beyond go on alike.
        let median_km = [280.0, 700.0, 1000.0, 1300.0, 1600.0, 1900.0, 2200.0, 2500.0, 2800.0, 3100.0, 3500.0, 4000.0];
        let pops: Vec<Pop> = (b'A'..)
            .zip(median_km)
            .map(|(letter, _)| Pop {
                code: format!("AA{}", char::from(letter)).parse().unwrap(),
                place: place.clone(),
                edges: vec![],
            })
            .collect();
        let estimate = Estimate {
            rtt: Duration::ZERO,
            deviation: Duration::ZERO,
            source: EstimateSource::Distance,
            samples: 0,
            age: None,
            confidence: 0.0,
        };
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let clients = 4000;
        let (mut nearest, mut within_400, mut within_1375) = (0, 0, 0);
        for block_key in 1..=clients {
            // Clients are nearer and farther than the median by half, log-normally.
            let normal: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
            let scale = math::exp(0.5 * normal);
            let score = |&at: &usize| {
                anycast.score(&Candidate {
                    pop: &pops[at],
                    index: PopIndex::new(at as u16),
                    candidates: pops.len(),
                    distance_km: Some(median_km[at] * scale),
                    estimate: &estimate,
                    block_key,
                    turn: 0,
                    seed: 1,
                })
            };
            let chosen = (0..pops.len()).min_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
            let farther_km = (median_km[chosen] - median_km[0]) * scale;
            nearest += usize::from(chosen == 0);
            within_400 += usize::from(farther_km <= 400.0);
            within_1375 += usize::from(farther_km <= 1375.0);
        }
        for (count, measured) in [(nearest, 0.55), (within_400, 0.75), (within_1375, 0.90)] {
            let share = count as f64 / clients as f64;
            assert!((share - measured).abs() < 0.07, "{share} where {measured} was measured");
        }
    }

    #[test]
    fn four_networks_in_five_converge_within_the_setting_and_all_within_the_tail() {
        let anycast = Anycast::new(AnycastOptions::default());
        let delays: Vec<Duration> = (0..2000).map(|key| anycast.convergence(7, key)).collect();
        let within = delays.iter().filter(|delay| **delay <= Duration::from_secs(10)).count();
        assert!((1550..1650).contains(&within), "{within}");
        assert!(delays.iter().all(|delay| *delay <= anycast.convergence_max()));
        assert!(delays.iter().any(|delay| *delay > Duration::from_secs(25)));
    }
}
