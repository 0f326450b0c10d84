//! What client subnets cost: how many more questions reach the name server, by how often a name is asked for.
//!
//! A resolver keeps an answer for its TTL: one for all its clients, or, where the answer is tailored to the client's network
//! (RFC 7871, section 7.3.1), one for each network that asks. The population is that of Chen, Sitaraman and Torres,
//! "End-User Mapping" (SIGCOMM 2015), section 5.2: 584,000 resolvers for 3.76 million networks, 95 % of demand from 25,000 of
//! them. Requests come by chance, so that what comes after an answer has expired does not hang on what came before; requests
//! that find an answer are therefore not drawn at all. Beside what was counted stands the closed form: a question every
//! `TTL + 1 / rate`. Left out are resolvers that share a cache, evict early or ask ahead.

use std::time::Duration;

use cdn_core::math;
use rand::{Rng, distr::Distribution as _};
use world::{
    chance::{Exp1, StandardNormal},
    stream,
};

/// What is studied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubnetStudy {
    /// Resolvers.
    pub resolvers: usize,
    /// Client networks: one behind each resolver, the others by demand.
    pub networks: usize,
    /// What the demand of resolvers differs by: standard deviation of the logarithm.
    pub resolver_sigma_ln: f64,
    /// What the demand of networks behind one resolver differs by, likewise.
    pub network_sigma_ln: f64,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// How long questions are counted, after one TTL.
    pub span: Duration,
    /// Requests per second for the name, of all clients together.
    pub rps: f64,
    /// The draw of the population and of requests.
    pub seed: u64,
}

/// Standard deviation of the logarithm of demand with which 25,000 of 584,000 resolvers have 95 % of it: of a lognormal the
/// part above the `z`th deviation holds `Phi(sigma - z)` of the sum; here `z` is 1.719 and `sigma - z` 1.645.
pub const RESOLVER_SIGMA_LN: f64 = 3.364;

/// Upper bounds of the classes of resolvers, by questions per TTL while it keeps one answer for all.
pub const CLASSES: [f64; 5] = [0.01, 0.1, 0.5, 0.9, 1.0];

/// Questions per second that reach the name server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Questions {
    /// With one answer for all clients of a resolver.
    pub shared: f64,
    /// With one for each network.
    pub tailored: f64,
    /// The same by closed form.
    pub expected_shared: f64,
    /// The same by closed form.
    pub expected_tailored: f64,
}

impl Questions {
    /// How many times as many there are for client subnets; none where nobody asks.
    pub fn amplification(&self) -> Option<f64> {
        (self.shared > 0.0).then(|| self.tailored / self.shared)
    }

    /// The same by closed form.
    pub fn expected_amplification(&self) -> Option<f64> {
        (self.expected_shared > 0.0).then(|| self.expected_tailored / self.expected_shared)
    }

    fn add(&mut self, other: Self) {
        self.shared += other.shared;
        self.tailored += other.tailored;
        self.expected_shared += other.expected_shared;
        self.expected_tailored += other.expected_tailored;
    }
}

impl SubnetStudy {
    /// The questions of all resolvers, and of each class of [`CLASSES`].
    pub fn play(&self) -> (Questions, [Questions; CLASSES.len()]) {
        let mut demand = stream(self.seed, &["demand of resolvers"]);
        let mut lognormal = |sigma: f64| {
            let normal: f64 = StandardNormal.sample(&mut demand);
            math::exp(sigma * normal)
        };
        let weights: Vec<f64> = (0..self.resolvers).map(|_| lognormal(self.resolver_sigma_ln)).collect();
        let all: f64 = weights.iter().sum();
        let others = self.networks.saturating_sub(self.resolvers) as f64;
        let mut requests = stream(self.seed, &["requests"]);
        let (mut total, mut classes) = (Questions::default(), [Questions::default(); CLASSES.len()]);
        let mut networks = Vec::new();
        for weight in weights {
            let share = weight / all;
            let rps = self.rps * share;
            networks.clear();
            networks.extend((0..=(others * share).round() as usize).map(|_| lognormal(self.network_sigma_ln)));
            let behind: f64 = networks.iter().sum();
            let mut questions = Questions {
                shared: self.counted(rps, &mut requests),
                expected_shared: self.expected(rps),
                ..Questions::default()
            };
            for network in &networks {
                let rps = rps * network / behind;
                questions.tailored += self.counted(rps, &mut requests);
                questions.expected_tailored += self.expected(rps);
            }
            let per_ttl = questions.expected_shared * self.ttl.as_secs_f64();
            let class = CLASSES.iter().position(|bound| per_ttl < *bound).unwrap_or(CLASSES.len() - 1);
            if let Some(class) = classes.get_mut(class) {
                class.add(questions);
            }
            total.add(questions);
        }
        (total, classes)
    }

    /// Questions per second for one answer, by closed form.
    fn expected(&self, rps: f64) -> f64 {
        if rps > 0.0 { 1.0 / (self.ttl.as_secs_f64() + 1.0 / rps) } else { 0.0 }
    }

    /// Questions per second for one answer, as they come.
    fn counted(&self, rps: f64, rng: &mut impl Rng) -> f64 {
        let (ttl, span) = (self.ttl.as_secs_f64(), self.span.as_secs_f64());
        let mut gap = || -> f64 {
            let gap: f64 = Exp1.sample(&mut *rng);
            gap / rps.max(f64::MIN_POSITIVE)
        };
        // Nothing is kept two TTLs before questions count, so that by then answers are of any age.
        let (mut at, mut count) = (gap() - ttl, 0_u32);
        while at < ttl + span {
            count += u32::from(at >= ttl);
            at += ttl + gap();
        }
        f64::from(count) / span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(rps: f64) -> SubnetStudy {
        SubnetStudy {
            resolvers: 5840,
            networks: 37_600,
            resolver_sigma_ln: RESOLVER_SIGMA_LN,
            network_sigma_ln: 1.0,
            ttl: Duration::from_secs(20),
            span: Duration::from_secs(2000),
            rps,
            seed: 3,
        }
    }

    #[test]
    fn what_is_counted_is_what_the_closed_form_says() {
        for rps in [10.0, 1000.0, 100_000.0] {
            let (all, classes) = study(rps).play();
            // Some 4,000 questions at the lowest rate: 5 % are three standard errors.
            assert!((all.shared / all.expected_shared - 1.0).abs() < 0.05, "{rps}: {all:?}");
            assert!((all.tailored / all.expected_tailored - 1.0).abs() < 0.05, "{rps}: {all:?}");
            let sum: f64 = classes.iter().map(|class| class.tailored).sum();
            assert!((sum / all.tailored - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_name_that_nobody_knows_costs_nothing_more_and_one_that_all_know_costs_as_many_times_as_there_are_networks() {
        let amplification = |rps: f64| study(rps).play().0.amplification().unwrap();
        let rare = amplification(0.02);
        assert!((0.8..1.3).contains(&rare), "{rare}");
        let known = amplification(1e12);
        // Everybody asks once per TTL: networks over resolvers, but for rounding.
        assert!((known - 37_600.0 / 5840.0).abs() < 0.5, "{known}");
        assert!(amplification(100.0) < amplification(10_000.0));
    }

    #[test]
    fn demand_is_as_unequal_as_was_measured() {
        let mut rng = stream(1, &["test"]);
        let mut weights: Vec<f64> = (0..584_000)
            .map(|_| {
                let normal: f64 = StandardNormal.sample(&mut rng);
                math::exp(RESOLVER_SIGMA_LN * normal)
            })
            .collect();
        weights.sort_by(|a, b| b.total_cmp(a));
        let share = weights[..25_000].iter().sum::<f64>() / weights.iter().sum::<f64>();
        assert!((share - 0.95).abs() < 0.01, "{share}");
    }
}
