//! Laws of workloads: rates, shares, sizes, and that a seed says all.

use std::{collections::BTreeMap, sync::Arc};

use cdn_core::math;
use proptest::prelude::*;

use super::*;
use crate::{
    SiteId,
    scenario::{Connections, Diurnal, From, Retry, Sizes},
};

fn load(rps: f64) -> Load {
    Load {
        from: From::World,
        rps,
        start: Duration::ZERO,
        span: None,
        paths: Paths::Zipf { s: 1.0, n: 1000 },
        sizes: Sizes::Origin,
        ramp: Vec::new(),
        diurnal: None,
        connections: Connections::default(),
        resolvers: Resolvers::default(),
        retry: Retry::default(),
        distribution: "demo".into(),
        method: "GET".into(),
        users: 2000,
        signing: None,
    }
}

fn places(names: &[(&str, f64)]) -> From {
    From::Places(names.iter().map(|&(name, weight)| (SiteId::new(name), weight)).collect())
}

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

fn played(loads: &[Load], end_s: f64, seed: u64) -> Vec<Intended> {
    Workload::new(loads, Duration::ZERO, secs(end_s), Atlas::embedded(), seed).unwrap().collect()
}

fn at_s(request: &Intended) -> f64 {
    request.at.as_nanos() as f64 / 1e9
}

/// Whether `seen` events are as many as a Poisson variable of mean `expected` shows but once in a million draws.
fn is_likely(seen: usize, expected: f64) -> bool {
    (seen as f64 - expected).abs() <= 4.9 * expected.sqrt() + 3.0
}

/// Pearson's statistic, and what it exceeds once in a million times (Wilson and Hilferty 1931, z = 4.75).
fn chi_square(pairs: &[(f64, f64)]) -> (f64, f64) {
    let statistic = pairs.iter().map(|(seen, expected)| (seen - expected).powi(2) / expected).sum();
    let (freedom, spread) = (pairs.len() as f64 - 1.0, 2.0 / (9.0 * (pairs.len() as f64 - 1.0)));
    (statistic, freedom * (1.0 - spread + 4.75 * spread.sqrt()).powi(3))
}

#[test]
fn gaps_are_exponential_and_the_mean_is_what_was_asked_for() {
    let requests = played(&[load(1000.0)], 100.0, 1);
    assert!(is_likely(requests.len(), 100_000.0), "{}", requests.len());
    let mut gaps: Vec<f64> = requests.windows(2).map(|pair| at_s(&pair[1]) - at_s(&pair[0])).collect();
    gaps.sort_by(f64::total_cmp);
    // Kolmogorov and Smirnov: the distance to the law, which exceeds 2.69 / √n once in a million times.
    let count = gaps.len() as f64;
    let distances = gaps.iter().enumerate().map(|(rank, gap)| {
        let law = 1.0 - math::exp(-1000.0 * gap);
        (law - rank as f64 / count).abs().max((law - (rank as f64 + 1.0) / count).abs())
    });
    let distance = distances.fold(0.0, f64::max);
    assert!(distance < 2.69 / count.sqrt(), "{distance}");
}

#[test]
fn cities_ask_in_proportion_to_their_users() {
    let requests = played(&[load(4000.0)], 50.0, 2);
    let mut seen = vec![0.0; 1000];
    for request in &requests {
        seen[request.place as usize] += 1.0;
    }
    let cities = Atlas::embedded().cities();
    let users: f64 = cities.iter().map(|city| city.place.users as f64).sum();
    let pairs: Vec<(f64, f64)> = cities
        .iter()
        .zip(seen)
        .map(|(city, seen)| (seen, city.place.users as f64 / users * requests.len() as f64))
        .collect();
    let (statistic, bound) = chi_square(&pairs);
    assert!(statistic <= bound, "{statistic} over {bound}");
}

#[test]
fn places_of_a_load_ask_in_proportion_to_their_weights() {
    let from = places(&[("tokyo", 3.0), ("IAD", 1.0)]);
    let requests = played(&[Load { from, ..load(1000.0) }], 40.0, 3);
    let tokyo = Atlas::embedded().index_of_place(Atlas::embedded().place("tokyo").unwrap()).unwrap();
    let from_tokyo = requests.iter().filter(|request| request.place == tokyo).count();
    assert!(is_likely(from_tokyo, 30_000.0) && is_likely(requests.len(), 40_000.0), "{from_tokyo}");
}

#[test]
fn the_day_moves_round_the_globe() {
    // An hour of the day passes each second.
    let diurnal = Some(Diurnal { utc: secs(3.0 * 3600.0), pace: 3600.0, trough: 0.1 });
    let from = places(&[("tokyo", 1.0), ("london", 1.0)]);
    let requests = played(&[Load { from, diurnal, ..load(1000.0) }], 240.0, 4);
    assert!(is_likely(requests.len(), 240_000.0), "{}", requests.len());
    let (atlas, day) = (Atlas::embedded(), Day::with_trough(0.1));
    for name in ["tokyo", "london"] {
        let place = atlas.place(name).unwrap();
        let index = atlas.index_of_place(place).unwrap();
        let mut seconds = [0; 240];
        for request in requests.iter().filter(|request| request.place == index) {
            seconds[at_s(request) as usize] += 1;
        }
        for (second, seen) in seconds.into_iter().enumerate() {
            let hour = 3.0 + second as f64 + f64::from(place.utc_offset_h);
            // Straight between hours, so the mean of an hour is that of its ends.
            let factor = (day.factor(hour) + day.factor(hour + 1.0)) / 2.0;
            assert!(is_likely(seen, 500.0 * factor), "{name} {second}: {seen} against {}", 500.0 * factor);
        }
    }
}

#[test]
fn a_user_stands_in_one_place_and_has_the_same_habits_always() {
    let resolvers = Resolvers { client_subnet: 0.7, stretchers: 0.2, stretch: secs(60.0) };
    let loads = [Load { resolvers, ..load(2000.0) }];
    let workload = Workload::new(&loads, Duration::ZERO, secs(20.0), Atlas::embedded(), 5).unwrap();
    let again = Workload::new(&loads, Duration::ZERO, secs(20.0), Atlas::embedded(), 5).unwrap();
    let mut known = BTreeMap::new();
    for request in workload {
        let habits = again.habits(&request);
        let first = *known.entry(request.user).or_insert((request.place, habits));
        assert_eq!(first, (request.place, habits), "user {}", request.user);
    }
    let users = known.len() as f64;
    let share = |of: fn(&Habits) -> bool| known.values().filter(|(_, habits)| of(habits)).count() as f64 / users;
    let sending = share(|habits| habits.client_subnet);
    let stretching = share(|habits| habits.stretch.is_some());
    assert!(
        users > 1000.0 && (sending - 0.7).abs() < 0.08 && (stretching - 0.2).abs() < 0.08,
        "{sending} {stretching}"
    );
}

#[test]
fn users_who_think_come_back_after_a_pause() {
    let connections = Connections { think: Some(secs(0.5)), ..Connections::default() };
    let from = places(&[("tokyo", 1.0)]);
    let requests = played(&[Load { from, connections, users: 100_000, ..load(500.0) }], 60.0, 6);
    assert!(is_likely(requests.len(), 30_000.0));
    let mut last: BTreeMap<u32, f64> = BTreeMap::new();
    let mut pauses = Vec::new();
    for request in &requests {
        let now = at_s(request);
        pauses.extend(last.insert(request.user, now).map(|then| now - then));
    }
    let (users, mean) = (last.len() as f64, pauses.iter().sum::<f64>() / pauses.len() as f64);
    // A pause lasts until the next arrival after it, a five-hundredth of a second on average and a little more for a queue.
    assert!((0.45..0.6).contains(&mean), "{mean}");
    let length = requests.len() as f64 / users;
    assert!((9.0..11.5).contains(&length), "{length} requests per session");
}

#[test]
fn a_trace_keeps_its_own_pace_over_and_over() {
    let trace: Arc<[TraceRequest]> = [(0, 7, 100), (1, 9, 50), (1, 7, 100), (3, 8, 10)]
        .map(|(at, object, bytes)| TraceRequest { at: Duration::from_secs(at), object, bytes })
        .into();
    let own_pace = Load { paths: Paths::Trace(Arc::clone(&trace)), ..load(0.0) };
    let seen: Vec<(f64, u64, Option<u64>)> =
        played(std::slice::from_ref(&own_pace), 5.5, 7).iter().map(|r| (at_s(r), r.object, r.size)).collect();
    let expected =
        [(0.0, 7, 100), (1.0, 9, 50), (1.0, 7, 100), (3.0, 8, 10), (4.0, 7, 100), (5.0, 9, 50), (5.0, 7, 100)];
    assert_eq!(seen, expected.map(|(at, object, bytes)| (at, object, Some(bytes))));
    // At a rate of one's own only its order is left.
    let at_a_rate = played(&[Load { rps: 100.0, ..own_pace.clone() }], 10.0, 7);
    assert!(is_likely(at_a_rate.len(), 1000.0));
    assert!(at_a_rate.iter().zip(trace.iter().cycle()).all(|(request, traced)| request.object == traced.object));
    let sized = Load { sizes: Sizes::Fixed(1 << 20), ..own_pace };
    assert!(played(&[sized], 4.0, 7).iter().all(|request| request.size == Some(1 << 20)));
}

#[test]
fn an_object_has_one_size_and_sizes_are_lognormal() {
    let sizes = Sizes::LogNormal { median: 20_000, sigma: 1.5, max: 1 << 30 };
    let requests = played(&[Load { sizes, paths: Paths::Zipf { s: 0.0, n: 20_000 }, ..load(5000.0) }], 20.0, 8);
    let mut known: BTreeMap<u64, u64> = BTreeMap::new();
    for request in &requests {
        let size = request.size.unwrap();
        assert_eq!(*known.entry(request.object).or_insert(size), size);
    }
    let logs: Vec<f64> = known.values().map(|size| math::ln(*size as f64)).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let deviation = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / logs.len() as f64).sqrt();
    assert!((mean - math::ln(20_000_f64)).abs() < 0.06 && (deviation - 1.5).abs() < 0.05, "{mean} {deviation}");
}

#[test]
fn paths_name_the_object_and_the_size_where_it_is_the_loads_to_say() {
    let zipf = load(1.0);
    assert_eq!(path_of(&zipf, 17, None), "/objects/17");
    assert_eq!(path_of(&zipf, 17, Some(4096)), "/bytes/4096/17");
    let one = Load { paths: Paths::One("/a?b=c".into()), ..load(1.0) };
    assert_eq!(path_of(&one, 0, None), "/a?b=c");
}

#[test]
fn what_cannot_be_played_is_refused() {
    let refused = |load: Load| Workload::new(&[load], Duration::ZERO, secs(1.0), Atlas::embedded(), 1).unwrap_err();
    assert!(matches!(refused(load(-1.0)), WorkloadError::Rate { .. }));
    assert!(matches!(refused(load(f64::NAN)), WorkloadError::Rate { .. }));
    assert!(matches!(refused(load(1e12)), WorkloadError::Rate { .. }));
    let nowhere = Load { from: places(&[("tokyo", 0.0)]), ..load(1.0) };
    assert_eq!(refused(nowhere), WorkloadError::Nowhere);
    let misspelt = refused(Load { from: places(&[("tokio", 1.0)]), ..load(1.0) });
    assert!(misspelt.to_string().contains("Tokyo"), "{misspelt}");
    assert_eq!(refused(Load { paths: Paths::Trace([].into()), ..load(1.0) }), WorkloadError::EmptyTrace);
    assert!(matches!(refused(Load { paths: Paths::Zipf { s: 1.0, n: 0 }, ..load(1.0) }), WorkloadError::Zipf(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_window_holds_as_many_as_were_asked_for(
        rps in 20.0..2000.0_f64,
        points in prop::collection::vec((0.0..8.0_f64, 0.0..5.0_f64), 0..5),
        seed: u64,
    ) {
        let mut ramp: Vec<(Duration, f64)> = points.iter().map(|&(at, factor)| (secs(at), factor)).collect();
        ramp.sort_by_key(|&(at, _)| at);
        let height = |t: f64| {
            let after = ramp.partition_point(|(at, _)| at.as_secs_f64() <= t);
            match (after.checked_sub(1).and_then(|before| ramp.get(before)), ramp.get(after)) {
                (Some((a, from)), Some((b, to))) => {
                    from + (to - from) * (t - a.as_secs_f64()) / (b.as_secs_f64() - a.as_secs_f64())
                }
                (Some((_, only)), None) | (None, Some((_, only))) => *only,
                (None, None) => 1.0,
            }
        };
        let requests = played(&[Load { ramp: ramp.clone(), ..load(rps) }], 10.0, seed);
        let mut seconds = [0; 10];
        for request in &requests {
            seconds[at_s(request) as usize] += 1;
        }
        for (window, seen) in seconds.into_iter().enumerate() {
            let begin = window as f64;
            let area: f64 = (0..1000).map(|step| height(begin + (f64::from(step) + 0.5) / 1000.0) / 1000.0).sum();
            prop_assert!(is_likely(seen, rps * area), "{seen} in second {window}, expected {}", rps * area);
        }
    }

    #[test]
    fn a_seed_gives_the_same_sequence_in_order_whatever_other_loads_do(
        seed: u64,
        rates in prop::collection::vec(1.0..300.0_f64, 1..4),
        start in 0.5..3.0_f64,
        span in 0.1..3.0_f64,
    ) {
        let mut loads: Vec<Load> = rates.iter().map(|&rps| load(rps)).collect();
        loads.push(Load { start: secs(start), span: Some(secs(span)), paths: Paths::One("/".into()), ..load(200.0) });
        let (warmup, end, atlas) = (secs(1.0), secs(6.0), Atlas::embedded());
        let all: Vec<_> = Workload::new(&loads, warmup, end, atlas, seed).unwrap().collect();
        prop_assert!(all.is_sorted_by_key(|request| request.at));
        prop_assert!(all.iter().all(|request| at_s(request) < 6.0));
        let again: Vec<_> = Workload::new(&loads, warmup, end, atlas, seed).unwrap().collect();
        prop_assert_eq!(&all, &again);
        let first = |requests: &[Intended]| -> Vec<Intended> {
            requests.iter().copied().filter(|request| request.load == 0).collect()
        };
        let alone: Vec<_> = Workload::new(&loads[..1], warmup, end, atlas, seed).unwrap().collect();
        prop_assert_eq!(first(&all), first(&alone));
        for request in all.iter().filter(|request| usize::from(request.load) == loads.len() - 1) {
            prop_assert!((1.0 + start..1.0 + start + span).contains(&at_s(request)), "{request:?}");
        }
    }
}
