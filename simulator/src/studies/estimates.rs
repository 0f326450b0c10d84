//! One path becomes slower for most of a day: does the router's estimate follow, and does its routing hold still?
//!
//! After the measurement of alternate paths of Schlinker et al., "Engineering Egress with Edge Fabric" (SIGCOMM 2017), which
//! adds a delay to one path and looks at five-minute windows. Here the paths are those from a city to its PoPs, and what
//! measures them is what a router always has: reports of viewers, of the first address of their answer and now and then of
//! the second. Estimate and choice are the router's own. Left out are caches, losses, probes from elsewhere, and the memory
//! of resolvers: who reports has just asked.

use std::time::Duration;

use cdn_core::{
    Instant,
    routing::{AskedBy, ExplainOptions, Host, Planner, RoutingOptions, Snapshot},
};
use rand::{
    RngExt as _,
    distr::{Distribution as _, weighted::WeightedIndex},
};
use world::{Place, chance::StandardNormal, stream};

use super::{
    network::{candidates, edge_of, network_of, prefixes, site_of},
    paths::Paths,
};
use crate::routers::geo_place;

/// What is studied.
#[derive(Clone, Debug)]
pub struct EstimateStudy<'a> {
    /// Where edges stand.
    pub pops: &'a [Place],
    /// Whose clients report. Of one of them, drawn by users, the path to its best PoP becomes slower.
    pub cities: &'a [Place],
    /// From the cities to the PoPs, with jitter.
    pub paths: &'a Paths,
    /// What is added to the round trip of that path.
    pub added: Duration,
    /// How long all is well before, and again after.
    pub around: Duration,
    /// How long it is added.
    pub span: Duration,
    /// How long a window is.
    pub window: Duration,
    /// Between two reports of a city on the first address.
    pub beacon_interval: Duration,
    /// Between two on the second.
    pub measure_interval: Duration,
    /// How the router estimates and chooses.
    pub routing: RoutingOptions,
    /// The run.
    pub seed: u64,
}

/// What a window ends with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// When it ends, from the beginning.
    pub ends: Duration,
    /// What is added to the path during it.
    pub added: Duration,
    /// What the path's round trip is, in the mean over packets.
    pub truth_ms: f64,
    /// What the router believes of it.
    pub estimate_ms: f64,
    /// Where the city's clients are sent: the position of the PoP.
    pub route: Option<u16>,
    /// How often that has changed during the window; an answer that tries the runner-up for a while, to learn, is two changes.
    pub changes: u32,
    /// How often it has for the other cities, all together.
    pub changes_elsewhere: u32,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimated {
    /// The city whose path it is.
    pub city: usize,
    /// The PoP to which it leads.
    pub site: u16,
    /// What the best path of that city to another PoP takes in the mean over packets.
    pub alternative_ms: f64,
    /// Window by window.
    pub windows: Vec<Window>,
    /// From the moment at which the path became slower until the city was first sent elsewhere, while it was slow.
    pub left_after: Option<Duration>,
    /// From the moment at which it was well again until the city was first sent there again.
    pub returned_after: Option<Duration>,
}

impl Window {
    /// By how much the router is wrong, in milliseconds.
    pub fn error_ms(&self) -> f64 {
        (self.estimate_ms - self.truth_ms).abs()
    }
}

impl EstimateStudy<'_> {
    /// Plays it; none where there are no cities or PoPs.
    pub fn play(&self) -> Option<Estimated> {
        let mut rng = stream(self.seed, &["estimates"]);
        let city = WeightedIndex::new(self.cities.iter().map(|city| city.users.max(1))).ok()?.sample(&mut rng);
        let (site, _) = (0..self.pops.len())
            .map(|site| (site, self.mean_ms(city, site)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let others = (0..self.pops.len()).filter(|other| *other != site).map(|other| self.mean_ms(city, other));
        let alternative_ms = others.fold(f64::INFINITY, f64::min);
        let path = (city, u16::try_from(site).ok()?);
        let (begins, ends) = (Instant::ZERO + self.around, Instant::ZERO + self.around + self.span);
        let added_at = |now: Instant| if now >= begins && now < ends { self.added } else { Duration::ZERO };

        let geo = prefixes(self.cities.iter().map(geo_place));
        // Nobody reports more often, and a snapshot for each report is much work for little news.
        let learn_interval = self.routing.learn_interval.max(self.beacon_interval);
        let options = RoutingOptions { seed: self.seed, learn_interval, ..self.routing.clone() };
        let hosts = vec![Host::new("study")];
        let mut planner = Planner::new(Instant::ZERO, options, geo, candidates(self.pops), hosts);
        // All are well all the time, so one round of probes says all that there is to say.
        while let Some(probe) = planner.poll_probe(Instant::ZERO) {
            planner.handle_probe(Instant::ZERO, probe, Ok(Duration::from_millis(1)));
        }
        let mut snapshot = planner.build_snapshot(Instant::ZERO);

        // Each city reports at times of its own.
        let phases: Vec<f64> = self.cities.iter().map(|_| rng.random()).collect();
        let mut due: Vec<[Instant; 2]> = phases
            .iter()
            .map(|phase| {
                [self.beacon_interval, self.measure_interval].map(|every| Instant::ZERO + every.mul_f64(*phase))
            })
            .collect();
        let mut routes: Vec<Option<u16>> = vec![None; self.cities.len()];
        let mut out = Estimated {
            city,
            site: path.1,
            alternative_ms,
            windows: Vec::new(),
            left_after: None,
            returned_after: None,
        };
        let (mut changes, mut changes_elsewhere) = (0, 0);
        let mut window_ends = Instant::ZERO + self.window;
        let over = ends + self.around;
        loop {
            let next = due.iter().flatten().min().copied()?;
            while window_ends <= next.min(over) {
                let inside = window_ends - self.window.min(Duration::from_nanos(1));
                out.windows.push(Window {
                    ends: window_ends.saturating_since(Instant::ZERO),
                    added: added_at(inside),
                    truth_ms: self.mean_ms(city, site) + added_at(inside).as_secs_f64() * 1000.0,
                    estimate_ms: self.estimate_ms(&snapshot, path)?,
                    route: routes.get(city).copied().flatten(),
                    changes: std::mem::take(&mut changes),
                    changes_elsewhere: std::mem::take(&mut changes_elsewhere),
                });
                window_ends += self.window;
            }
            if next >= over {
                return Some(out);
            }
            for (number, due) in due.iter_mut().enumerate() {
                let network = network_of(u32::try_from(number).ok()?).into();
                for (rank, (due, every)) in
                    due.iter_mut().zip([self.beacon_interval, self.measure_interval]).enumerate()
                {
                    if *due > next {
                        continue;
                    }
                    *due = next + every;
                    let (answer, _) = snapshot.answer(0, network, 0);
                    let mut sites = snapshot.addresses(0, answer).map(|address| site_of(*address.ip()));
                    let Some(site) = sites.nth(rank) else { continue };
                    let added = if (number, site) == path { added_at(next) } else { Duration::ZERO };
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    let at = usize::from(site);
                    let ms = self.paths.rtt_ms(number, at) + self.paths.jitter_ms(number, at, noise);
                    // One that is refused is one that the router learns nothing from.
                    let rtt = Duration::from_secs_f64(ms / 1000.0) + added;
                    let _ = planner.handle_beacon(next, network, edge_of(site), rtt);
                }
            }
            let Some(newer) = planner.poll_snapshot(next) else { continue };
            snapshot = newer;
            for (number, route) in (0..).zip(&mut routes) {
                let (answer, _) = snapshot.answer(0, network_of(number).into(), 0);
                let now = snapshot.addresses(0, answer).next().map(|address| site_of(*address.ip()));
                let before = std::mem::replace(route, now);
                if before.is_none() || before == now {
                    continue;
                }
                if usize::try_from(number).ok() != Some(city) {
                    changes_elsewhere += 1;
                    continue;
                }
                changes += 1;
                if now != Some(path.1) && next >= begins && next < ends && out.left_after.is_none() {
                    out.left_after = Some(next.saturating_since(begins));
                }
                if now == Some(path.1) && next >= ends && out.returned_after.is_none() {
                    out.returned_after = Some(next.saturating_since(ends));
                }
            }
        }
    }

    /// The round trip of a path in milliseconds, in the mean over packets, while nothing is added.
    fn mean_ms(&self, city: usize, site: usize) -> f64 {
        self.paths.rtt_ms(city, site) + self.paths.jitter(city, site).mean.as_secs_f64() * 1000.0
    }

    /// What a router believes of a path.
    fn estimate_ms(&self, snapshot: &Snapshot, (city, site): (usize, u16)) -> Option<f64> {
        let client = network_of(u32::try_from(city).ok()?).into();
        let explained = snapshot.explain(0, "study", client, AskedBy::Peer, &ExplainOptions::default());
        let code = self.pops.get(usize::from(site))?.pop_code()?;
        let candidate = explained.candidates.iter().find(|candidate| candidate.pop == code)?;
        Some(candidate.estimate.rtt.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use world::{Atlas, World, WorldOptions};

    use super::*;

    fn played(added: Duration, seed: u64) -> Estimated {
        let atlas = Atlas::embedded();
        let cities: Vec<Place> = atlas.cities().iter().take(6).map(|city| city.place.clone()).collect();
        let pops: Vec<Place> = atlas.pops().iter().step_by(12).map(|pop| pop.place.clone()).collect();
        let world = World::new(atlas, WorldOptions { seed, jitter: true, ..WorldOptions::default() });
        let study = EstimateStudy {
            pops: &pops,
            cities: &cities,
            paths: &Paths::new(&world, &cities, &pops),
            added,
            around: Duration::from_secs(1800),
            span: Duration::from_secs(3600),
            window: Duration::from_secs(300),
            beacon_interval: Duration::from_secs(5),
            measure_interval: Duration::from_secs(10),
            routing: RoutingOptions { explore_share: 0.0, ..RoutingOptions::default() },
            seed,
        };
        let out = study.play().unwrap();
        assert_eq!(out, study.play().unwrap());
        out
    }

    #[test]
    fn a_path_that_became_slower_is_known_for_it_and_left_where_there_is_a_better_one() {
        for seed in 1..5 {
            let out = played(Duration::from_millis(40), seed);
            assert_eq!(out.windows.len(), 24);
            let [before, during, after] = [5, 7, 23].map(|at| out.windows[at]);
            assert_eq!([before, during, after].map(|window| window.added.as_millis()), [0, 40, 0]);
            assert!(before.error_ms() < 6.0 && before.route == Some(out.site), "{out:?}");
            assert!(during.estimate_ms > before.estimate_ms + 20.0, "{during:?}");
            // A tenth better, and by 4 ms at least, with room for what estimates are wrong by.
            if out.alternative_ms * 1.2 + 10.0 < during.truth_ms {
                assert!(out.left_after.unwrap() < Duration::from_secs(120), "{out:?}");
            }
        }
    }

    #[test]
    fn a_path_that_stays_as_it_is_is_not_left() {
        let out = played(Duration::ZERO, 5);
        assert_eq!(out.left_after, None);
        assert!(out.windows.iter().skip(2).all(|window| window.changes == 0), "{:?}", out.windows);
    }
}
