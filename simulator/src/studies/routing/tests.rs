//! What the bake-off must come to.

use cdn_core::routing::{Told, Word};
use world::{Atlas, WorldOptions};

use super::*;

fn study(pops: &[&str]) -> (World, RoutingStudy) {
    let atlas = Atlas::embedded();
    let place = |name: &str| atlas.place(name).unwrap().clone();
    let world = World::new(atlas, WorldOptions { jitter: true, ..WorldOptions::default() });
    let study = RoutingStudy {
        pops: pops.iter().map(|pop| place(pop)).collect(),
        cities: atlas.cities().iter().take(60).map(|city| city.place.clone()).collect(),
        clients: 1000,
        requests: 20_000,
        warmup: Duration::from_secs(20),
        span: Duration::from_secs(70),
        ..RoutingStudy::new(place("us-east-1"))
    };
    (world, study)
}

const POPS: [&str; 6] = ["IAD", "FRA", "NRT", "SIN", "GRU", "SYD"];

fn of(study: &RoutingStudy, world: &World, policy: PolicyKind) -> Routed {
    play(study, &Ground::new(world, study), Scheme::Policy(policy))
}

#[test]
fn who_measures_comes_closest_and_who_draws_lots_is_far_away() {
    let (world, study) = study(&POPS);
    let ground = Ground::new(&world, &study);
    let mean = |scheme| play(&study, &ground, scheme).stretch;
    let [latency, geo, anycast, random] =
        [PolicyKind::Latency, PolicyKind::Nearest, PolicyKind::Anycast, PolicyKind::Random]
            .map(|policy| mean(Scheme::Policy(policy)));
    assert!((1.0..1.03).contains(&latency), "{latency}");
    assert!(latency <= geo && geo < random && anycast < random, "{latency} {geo} {anycast} {random}");
    let origin = play(&study, &ground, Scheme::OriginOnly);
    assert_eq!(origin.questions, 0);
    assert!(origin.stretch > 1.5, "{}", origin.stretch);
}

#[test]
fn every_request_is_counted_once_and_a_run_repeats() {
    let (world, study) = study(&POPS);
    let [once, again] = [(); 2].map(|()| of(&study, &world, PolicyKind::Latency));
    assert_eq!(once.requests, once.latency_us.len() + once.lost);
    assert_eq!(once.requests, once.cities.iter().map(|city| city.answered + city.lost).sum::<u64>());
    assert_eq!(once.by_site.iter().sum::<u64>() + once.lost, once.requests);
    assert!(once.requests.abs_diff(study.requests) < study.requests / 50, "{}", once.requests);
    assert_eq!((once.latency_us, once.questions), (again.latency_us, again.questions));
}

#[test]
fn after_a_death_silence_lasts_for_detection_and_ttl() {
    let (world, mut study) = study(&POPS);
    study.kill = Some(("FRA".parse().unwrap(), Duration::from_secs(20)));
    study.routing.ttl = Duration::from_secs(20);
    let routed = of(&study, &world, PolicyKind::Latency);
    let (detected, back) = (routed.detected.unwrap(), routed.back.unwrap());
    assert!(detected <= study.routing.probe.interval * 3, "{detected:?}");
    assert!(back <= detected + study.routing.ttl + Duration::from_millis(100), "{back:?}");
    assert!(back > Duration::from_secs(10), "{back:?}");
    // Answers are of any age when the PoP dies, so half a TTL is left of them in the mean.
    let expected = detected + study.routing.ttl / 2;
    let stale = routed.stale_span().unwrap();
    assert!(stale.abs_diff(expected) < Duration::from_secs(2), "{stale:?}, expected {expected:?}");
    // The second address is in another PoP, so nobody is lost.
    assert_eq!(routed.lost, 0);
    assert!(routed.harmed > 0);
    // One address: whoever meets silence is lost.
    study.routing.answers = 1;
    let alone = of(&study, &world, PolicyKind::Latency);
    assert_eq!(alone.lost, alone.harmed);
    // Anycast has converged before most answers would have expired.
    let anycast = of(&study, &world, PolicyKind::Anycast);
    assert!(anycast.back.unwrap() <= detected + study.routing.anycast.convergence * 5 + Duration::from_secs(2));
}

#[test]
fn a_prefix_below_takes_the_clients_of_a_dead_pop_before_their_answers_expire() {
    let (world, mut study) = study(&POPS);
    study.kill = Some(("FRA".parse().unwrap(), Duration::from_secs(10)));
    study.routing.ttl = Duration::from_secs(300);
    study.routing.answers = 1;
    let ground = Ground::new(&world, &study);
    let [dns, hybrid] =
        [Scheme::Policy(PolicyKind::Latency), Scheme::Hybrid].map(|scheme| play(&study, &ground, scheme));
    // The same answers, so the same clients meet the dead one first.
    assert_eq!(dns.questions, hybrid.questions);
    assert_eq!(dns.stale_by_second.first(), hybrid.stale_by_second.first());
    assert!(hybrid.lost * 3 < dns.lost, "{} {}", hybrid.lost, dns.lost);
    let tail = hybrid.detected.unwrap() + study.routing.anycast.convergence * 5;
    assert!(hybrid.back.unwrap() <= tail, "{:?}", hybrid.back);
    // What cities saw before and after is all that they saw.
    let sum = |cities: &[CityTally]| cities.iter().map(|city| city.answered + city.lost).sum::<u64>();
    assert_eq!(sum(&hybrid.cities_before) + sum(&hybrid.cities_after), sum(&hybrid.cities));
    let dead = hybrid.cities_after.iter().flat_map(|city| city.by_site.get(&1)).sum::<u64>();
    assert!(hybrid.cities_before.iter().any(|city| city.site() == Some(1)) && dead == 0, "{dead}");
}

#[test]
fn resolvers_that_stretch_answers_stretch_the_silence() {
    let (world, mut study) = study(&POPS);
    study.kill = Some(("FRA".parse().unwrap(), Duration::from_secs(10)));
    study.routing.ttl = Duration::from_secs(10);
    let plain = of(&study, &world, PolicyKind::Latency);
    study.resolvers.stretch = Some((0.3, Duration::from_secs(60)));
    let stretched = of(&study, &world, PolicyKind::Latency);
    assert!(stretched.back > plain.back && stretched.harmed > plain.harmed);
}

#[test]
fn a_far_resolver_costs_its_clients_dear_unless_it_tells_whom_it_asks_for() {
    let (world, mut study) = study(&POPS);
    study.resolvers.shared = Some((Atlas::embedded().place("frankfurt").unwrap().clone(), 1.0));
    let told = of(&study, &world, PolicyKind::Latency);
    study.resolvers.client_subnet = false;
    let untold = of(&study, &world, PolicyKind::Latency);
    assert!(untold.stretch > 1.5 * told.stretch, "{} {}", untold.stretch, told.stretch);
    assert!(untold.questions * 10 < told.questions, "{} {}", untold.questions, told.questions);
}

/// Sends everybody to one PoP, and remembers what it was asked.
#[derive(Debug)]
struct Everybody(&'static str, Vec<(Instant, usize, usize)>);

impl Program for Everybody {
    fn round(&mut self, now: Instant, snapshot: &Snapshot) -> Told {
        let to = Word::Order(vec![self.0.parse().unwrap()]);
        let questions: Vec<_> = snapshot.questions().collect();
        let healthy = questions[0].pops.iter().filter(|asked| asked.is_healthy).count();
        self.1.push((now, questions.len(), healthy));
        Told { by_network: questions.iter().map(|question| (question.client, to.clone())).collect(), ..Told::default() }
    }
}

#[test]
fn a_program_is_asked_of_every_city_once_a_second_and_has_its_way() {
    let (world, mut study) = study(&POPS);
    study.kill = Some(("FRA".parse().unwrap(), Duration::from_secs(10)));
    // Who asked before the program was, was told something else for one TTL, and nobody counts that.
    study.routing.ttl = Duration::from_secs(10);
    let ground = Ground::new(&world, &study);
    let mut program = Everybody("SYD", vec![]);
    let routed = play_program(&study, &ground, &mut program);
    let sydney = routed.by_site[5] as f64 / routed.requests as f64;
    assert!(sydney > 0.97, "{sydney}");
    let asked = &program.1;
    assert!((90..=92).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|(_, questions, _)| *questions == study.cities.len()));
    assert_eq!((asked[10].2, asked[60].2), (6, 5), "it is told of the dead");
    let again = play_program(&study, &ground, &mut Everybody("SYD", vec![]));
    assert_eq!((routed.latency_us, routed.by_site), (again.latency_us, again.by_site));
}

#[test]
fn a_crowd_fills_its_pop_and_spilling_helps() {
    let (world, mut study) = study(&POPS);
    study.routing.ttl = Duration::from_secs(5);
    // Some 285 requests a second; as many again come from around Frankfurt for half a minute.
    study.capacities.rps = POPS.map(|pop| (pop.parse().unwrap(), 220.0)).into();
    study.surge = Some(Surge {
        times: 2.0,
        around: Atlas::embedded().place("frankfurt").unwrap().clone(),
        radius_km: 2500.0,
        from: Duration::from_secs(20),
        until: Duration::from_secs(50),
    });
    let blind = of(&study, &world, PolicyKind::Nearest);
    assert!(blind.overload >= Duration::from_secs(20), "{:?}", blind.overload);
    assert!(blind.turned_away > 0 && blind.turned_away == blind.lost, "{}", blind.turned_away);
    assert_eq!(blind.requests, blind.latency_us.len() + blind.lost);
    study.routing.spill.capacity = study.capacities.rps.clone();
    let aware = of(&study, &world, PolicyKind::Nearest);
    assert!(aware.overload < blind.overload, "{:?} of {:?}", aware.overload, blind.overload);
    assert!(aware.lost * 4 < blind.lost, "{} of {}", aware.lost, blind.lost);
    assert!(aware.ideal_ms < aware.latency_us.mean() / 1000.0 && (aware.ideal_ms - blind.ideal_ms).abs() < 1e-9);
}
