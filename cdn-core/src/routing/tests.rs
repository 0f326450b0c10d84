//! What policies answer, and what the default one does over time; the laws that hold for all are in `suite`.

mod program;
mod suite;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use ipnet::{IpNet, Ipv4Net};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    Instant, NodeId, Role,
    estimate::EstimateSource,
    geo::{GeoMap, GeoPrefix, Place, Point},
    health::{ProbeError, ProbeOptions},
};

const POPS: [(&str, f64, f64); 6] = [
    ("IAD", 38.94, -77.46),
    ("FRA", 50.03, 8.57),
    ("AMS", 52.31, 4.76),
    ("NRT", 35.76, 140.39),
    ("GRU", -23.43, -46.47),
    ("SYD", -33.95, 151.18),
];
const COUNTRIES: [&str; 6] = ["US", "DE", "NL", "JP", "BR", "AU"];
const BERLIN: (f64, f64) = (52.52, 13.405);

fn place(lat_deg: f64, lon_deg: f64) -> Place {
    Place { point: Point::new(lat_deg, lon_deg).unwrap(), country: "".into(), label: "".into() }
}

fn pops() -> Vec<Pop> {
    let pop = |(at, ((code, lat, lon), country)): (u8, (&(&str, f64, f64), &str))| Pop {
        code: code.parse().unwrap(),
        place: Place { country: country.into(), ..place(*lat, *lon) },
        edges: vec![EdgeSite {
            id: NodeId::new(Role::Edge, code),
            address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, at + 1), 4480),
            address6: None,
        }],
    };
    (0..).zip(POPS.iter().zip(COUNTRIES)).map(pop).collect()
}

fn geo(nets: &[(Ipv4Net, (f64, f64))]) -> GeoMap {
    GeoMap::build(nets.iter().map(|&(net, (lat, lon))| GeoPrefix { net: IpNet::V4(net), place: place(lat, lon) }))
}

fn options(policy: PolicyKind) -> RoutingOptions {
    RoutingOptions { policy, explore_share: 0.0, ramp: Duration::ZERO, ..RoutingOptions::default() }
}

fn berlin_and_tokyo() -> GeoMap {
    geo(&[("198.18.1.0/24".parse().unwrap(), BERLIN), ("198.18.2.0/24".parse().unwrap(), (35.68, 139.69))])
}

fn planner(options: RoutingOptions, geo: GeoMap) -> Planner {
    let mut planner = Planner::new(Instant::ZERO, options, geo, pops(), vec![Host::new("demo")]);
    settle(&mut planner, Instant::ZERO, &[]);
    planner
}

/// Probes until everyone is up, or down if listed, and returns the time.
fn settle(planner: &mut Planner, from: Instant, dead: &[&str]) -> Instant {
    let mut now = from;
    for _ in 0..400 {
        now += Duration::from_millis(25);
        while let Some(probe) = planner.poll_probe(now) {
            let edge = planner.health().into_iter().find(|edge| edge.address == probe.address).unwrap();
            let outcome = if dead.contains(&edge.pop.as_str()) { Err(ProbeError::Refused) } else { Ok(ms(10)) };
            planner.handle_probe(now, probe, outcome);
        }
    }
    now
}

fn code(code: &str) -> PopCode {
    code.parse().unwrap()
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn codes(snapshot: &Snapshot, client: &str) -> Vec<String> {
    names(snapshot, 0, client)
}

fn names(snapshot: &Snapshot, host: usize, client: &str) -> Vec<String> {
    let (id, _) = snapshot.answer(host, client.parse().unwrap(), 0);
    snapshot.answers()[id.index()].iter().map(|pop| snapshot.pops()[pop.index()].code.to_string()).collect()
}

#[test]
fn latency_answers_the_lowest_estimate_and_a_second_in_another_pop() {
    let snapshot = planner(options(PolicyKind::Latency), berlin_and_tokyo()).poll_snapshot(Instant::ZERO).unwrap();
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["FRA", "AMS"]);
    assert_eq!(codes(&snapshot, "198.18.2.7"), ["NRT", "SYD"]);
    let (id, scope) = snapshot.answer(0, "198.18.1.7".parse().unwrap(), 0);
    assert_eq!(scope, 24);
    let addresses: Vec<_> = snapshot.addresses(0, id).map(|address| address.ip().octets()[3]).collect();
    assert_eq!(addresses, [2, 3]);
    assert_eq!(snapshot.ttl(0), Duration::from_secs(60));
    assert_eq!(snapshot.addresses(1, id).count(), 0, "no such host");
}

#[test]
fn a_dead_edge_leaves_the_answers_and_comes_home_after() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let now = settle(&mut planner, Instant::ZERO + ms(10_000), &["FRA"]);
    let snapshot = planner.poll_snapshot(now).unwrap();
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["AMS", "IAD"]);
    assert_eq!(snapshot.ttl(0), Duration::from_secs(30), "halved while degraded");
    let explanation =
        snapshot.explain(0, "www.demo.test", "198.18.1.7".parse().unwrap(), AskedBy::Peer, &ExplainOptions::default());
    let rejected = &explanation.candidates[0];
    assert_eq!((rejected.pop.as_str(), rejected.reason), ("FRA", Reason::RejectedDown));
    let now = settle(&mut planner, now, &[]);
    assert_eq!(codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7"), ["FRA", "AMS"]);
}

#[test]
fn edges_are_probed_at_times_of_their_own_that_another_seed_moves() {
    let second_probes = |seed: u64, lat_deg: f64| {
        let site = Some(place(lat_deg, 0.0));
        let options = RoutingOptions { seed, site, ..options(PolicyKind::Latency) };
        let mut planner = Planner::new(Instant::ZERO, options, berlin_and_tokyo(), pops(), vec![Host::new("demo")]);
        let first: Vec<_> = std::iter::from_fn(|| planner.poll_probe(Instant::ZERO)).collect();
        for probe in &first {
            planner.handle_probe(Instant::ZERO, *probe, Ok(ms(10)));
        }
        let interval = ProbeOptions::default().interval;
        let mut due = BTreeMap::new();
        for step in 1..=10_000 {
            let now = Instant::ZERO + interval * step / 10_000;
            while let Some(probe) = planner.poll_probe(now) {
                due.entry(probe.address).or_insert(now);
                planner.handle_probe(now, probe, Ok(ms(10)));
            }
        }
        assert_eq!(due.len(), first.len(), "{due:?}");
        due
    };
    let due = second_probes(1, 50.0);
    assert_eq!(due.values().collect::<BTreeSet<_>>().len(), due.len(), "{due:?}");
    assert_eq!(due, second_probes(1, 50.0));
    let differs = |other: BTreeMap<_, _>| due.iter().all(|(edge, at)| other.get(edge) != Some(at));
    assert!(differs(second_probes(2, 50.0)), "by seed");
    assert!(differs(second_probes(1, 51.0)), "by router");
}

#[test]
fn nothing_known_means_everyone_is_answered_and_it_says_so() {
    let mut planner =
        Planner::new(Instant::ZERO, options(PolicyKind::Latency), berlin_and_tokyo(), pops(), vec![Host::new("demo")]);
    let snapshot = planner.poll_snapshot(Instant::ZERO).unwrap();
    assert!(snapshot.is_fail_open());
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["FRA", "AMS"]);
}

#[test]
fn fail_open_puts_an_edge_that_answers_second() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let now = settle(&mut planner, Instant::ZERO + ms(10_000), &["FRA", "AMS", "IAD", "NRT"]);
    let snapshot = planner.poll_snapshot(now).unwrap();
    assert!(snapshot.is_fail_open());
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["FRA", "GRU"]);
}

#[test]
fn a_drain_takes_effect_in_the_next_snapshot_and_is_undone() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let now = Instant::ZERO + ms(10_000);
    planner.poll_snapshot(now);
    assert!(planner.poll_snapshot(now).is_none(), "nothing has changed");
    planner.set_drained(["FRA".parse().unwrap()]);
    assert_eq!(codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7"), ["AMS", "IAD"]);
    planner.set_drained([]);
    assert_eq!(codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7"), ["FRA", "AMS"]);
}

#[test]
fn beacons_move_a_block_and_only_that_block() {
    let nets = [("198.18.2.0/24".parse().unwrap(), BERLIN), ("198.18.3.0/24".parse().unwrap(), BERLIN)];
    let mut planner = planner(options(PolicyKind::Latency), geo(&nets));
    let mut now = Instant::ZERO + ms(10_000);
    assert_eq!(
        planner.poll_snapshot(now).unwrap().answer(0, "198.18.2.7".parse().unwrap(), 0).1,
        23,
        "one answer for both"
    );
    for _ in 0..10 {
        now += ms(1000);
        planner.handle_beacon(now, [198, 18, 2, 9].into(), [127, 77, 0, 2].into(), ms(140)).unwrap();
    }
    let snapshot = planner.poll_snapshot(now).unwrap();
    assert_eq!(codes(&snapshot, "198.18.2.7")[0], "AMS");
    assert_eq!(codes(&snapshot, "198.18.3.7")[0], "FRA");
    assert_eq!(snapshot.answer(0, "198.18.2.7".parse().unwrap(), 0).1, 24);
    let explanation =
        snapshot.explain(0, "www.demo.test", "198.18.2.7".parse().unwrap(), AskedBy::Peer, &ExplainOptions::default());
    let slow = explanation.candidates.iter().find(|candidate| candidate.pop.as_str() == "FRA").unwrap();
    assert_eq!((slow.estimate.source, slow.estimate.samples), (EstimateSource::Beacons, 10));
}

#[test]
fn noisy_measurements_of_two_equal_pops_do_not_flap() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut now = Instant::ZERO + ms(10_000);
    let (mut switches, mut last) = (0, None);
    for _ in 0..2000 {
        now += ms(500);
        for edge in [2, 3] {
            let rtt = Duration::from_micros(random.random_range(22_000..34_000));
            planner.handle_beacon(now, [198, 18, 1, 9].into(), [127, 77, 0, edge].into(), rtt).unwrap();
        }
        let Some(snapshot) = planner.poll_snapshot(now) else { continue };
        let first = codes(&snapshot, "198.18.1.7").remove(0);
        switches += usize::from(last.replace(first.clone()).is_some_and(|last| last != first));
    }
    assert!(switches <= 1, "{switches}");
}

#[test]
fn beacons_of_strangers_are_refused() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let mut beacon = |client: [u8; 4], edge: [u8; 4]| {
        planner.handle_beacon(Instant::ZERO, client.into(), edge.into(), ms(5)).is_ok()
    };
    assert!(!beacon([10, 0, 0, 1], [127, 77, 0, 1]));
    assert!(!beacon([198, 18, 1, 1], [127, 77, 0, 99]));
    assert!(beacon([198, 18, 1, 1], [127, 77, 0, 1]));
}

#[test]
fn the_exploring_share_is_small_seeded_and_only_where_it_may_pay() {
    // Many blocks between FRA and AMS, and as many in Tokyo where no second PoP comes near.
    let block = |b: u32, place| (Ipv4Net::new(Ipv4Addr::from_bits(0xc612_0000 + (b << 8)), 24).unwrap(), place);
    let mut nets: Vec<_> = (0..256).map(|b| block(b, (51.2, 6.8))).collect();
    nets.extend((256..512).map(|b| block(b, (35.68, 139.69))));
    let options = RoutingOptions { explore_share: 0.1, ..options(PolicyKind::Latency) };
    let mut planner = planner(options, geo(&nets));
    let explored = |snapshot: &Snapshot| -> Vec<usize> {
        let client = |b: u32| IpAddr::V4(Ipv4Addr::from_bits(0xc612_0001 + (b << 8)));
        let first = |b| snapshot.answers()[snapshot.answer(0, client(b), 0).0.index()][0];
        (0..512u32).filter(|&b| first(b) != first(if b < 256 { 0 } else { 256 })).map(|b| b as usize).collect()
    };
    let now = Instant::ZERO + ms(10_000);
    let one = explored(&planner.poll_snapshot(now).unwrap());
    assert!(one.iter().all(|&b| b < 256), "{one:?}");
    assert!((10..50).contains(&one.len()), "{}", one.len());
    let two = explored(&planner.poll_snapshot(now + Duration::from_secs(60)).unwrap());
    assert_ne!(one, two, "others take their turn");
}

#[test]
fn round_robin_takes_turns_and_random_spreads() {
    for (policy, turns) in [(PolicyKind::RoundRobin, 600), (PolicyKind::Random, 1024)] {
        let snapshot = planner(options(policy), berlin_and_tokyo()).poll_snapshot(Instant::ZERO).unwrap();
        let mut counts = [0; POPS.len()];
        for turn in 0..turns {
            let (id, scope) = snapshot.answer(0, "198.18.1.7".parse().unwrap(), turn);
            assert_eq!(scope, 0);
            counts[snapshot.answers()[id.index()][0].index()] += 1;
        }
        let fair = turns / POPS.len() as u64;
        assert!(counts.iter().all(|&count| (fair * 7 / 10..=fair * 13 / 10).contains(&count)), "{policy:?} {counts:?}");
    }
}

#[test]
fn turns_are_taken_among_candidates_alone() {
    let host = Host {
        policy: Some(PolicyKind::RoundRobin),
        pops: Some(["IAD", "AMS", "SYD"].map(code).to_vec()),
        ..Host::new("demo")
    };
    let mut planner = Planner::new(Instant::ZERO, options(PolicyKind::Latency), berlin_and_tokyo(), pops(), vec![host]);
    let now = settle(&mut planner, Instant::ZERO, &[]);
    let snapshot = planner.poll_snapshot(now).unwrap();
    let first = |turn| snapshot.answers()[snapshot.answer(0, [198, 18, 1, 7].into(), turn).0.index()][0].index();
    assert_eq!((0..6).map(first).collect::<Vec<_>>(), [0, 2, 5, 0, 2, 5]);
}

#[test]
fn static_answers_in_the_stated_order() {
    let order = ["SYD", "NRT"].map(code).to_vec();
    let options = RoutingOptions { order, ..options(PolicyKind::Static) };
    let snapshot = planner(options, berlin_and_tokyo()).poll_snapshot(Instant::ZERO).unwrap();
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["SYD", "NRT"]);
}

#[test]
fn removed_edges_leave_and_those_that_stay_keep_their_health() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let fewer: Vec<_> = pops().into_iter().filter(|pop| pop.code.as_str() != "FRA").collect();
    planner.set_pops(Instant::ZERO + ms(10_000), fewer);
    let snapshot = planner.poll_snapshot(Instant::ZERO + ms(10_000)).unwrap();
    assert!(!snapshot.is_fail_open());
    assert_eq!(codes(&snapshot, "198.18.1.7")[0], "AMS");
    planner.set_pops(Instant::ZERO + ms(10_000), vec![]);
    let none = planner.poll_snapshot(Instant::ZERO + ms(10_000)).unwrap();
    assert_eq!(codes(&none, "198.18.1.7"), Vec::<String>::new());
}

#[test]
fn supposing_a_drain_changes_the_explanation_and_nothing_else() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let snapshot = planner.poll_snapshot(Instant::ZERO).unwrap();
    let options = ExplainOptions { assume_drained: vec![code("FRA")], turn: 0 };
    let client = "198.18.1.7".parse().unwrap();
    let supposed = snapshot.explain(0, "www.demo.test", client, AskedBy::Peer, &options);
    assert_eq!(supposed.chosen[0].pop.as_str(), "AMS");
    assert_eq!(codes(&snapshot, "198.18.1.7")[0], "FRA");
}

#[test]
fn every_host_has_its_own_policy_and_candidates() {
    let hosts = vec![
        Host::new("plain"),
        Host { policy: Some(PolicyKind::Static), ..Host::new("fixed") },
        Host { pops: Some(vec![code("GRU"), code("IAD")]), ..Host::new("americas") },
        Host { price_class: PriceClass::Class100, ..Host::new("cheap") },
        Host::new("plain-too"),
    ];
    let mut planner =
        Planner::new(Instant::ZERO, options(PolicyKind::Latency), berlin_and_tokyo(), pops(), hosts.clone());
    let now = settle(&mut planner, Instant::ZERO, &["SYD"]);
    let snapshot = planner.poll_snapshot(now).unwrap();
    let of_tokyo = |host| names(&snapshot, host, "198.18.2.7");
    assert_eq!(of_tokyo(0), ["NRT", "AMS"]);
    assert_eq!(of_tokyo(1), ["IAD", "FRA"]);
    assert_eq!(of_tokyo(2), ["IAD", "GRU"]);
    assert_eq!(of_tokyo(3)[0], "AMS", "the nearest in Europe and North America: {:?}", of_tokyo(3));
    assert_eq!(of_tokyo(4), of_tokyo(0));
    let ttls: Vec<u64> = (0..4).map(|host| snapshot.ttl(host).as_secs()).collect();
    assert_eq!(ttls, [30, 30, 60, 60], "degraded only where the dead PoP is a candidate");
    assert_eq!((snapshot.answer(1, "198.18.2.7".parse().unwrap(), 0).1, snapshot.policy(1)), (0, PolicyKind::Static));
    let why = snapshot.explain(3, "x", "198.18.2.7".parse().unwrap(), AskedBy::Peer, &ExplainOptions::default());
    let reasons: BTreeMap<&str, Reason> = why.candidates.iter().map(|c| (c.pop.as_str(), c.reason)).collect();
    assert_eq!(reasons["NRT"], Reason::RejectedPriceClass);
    assert_eq!(why.healthy_share, 1.0);

    // Switched: the one that follows the router, and the one that has its own.
    planner.set_policies(PolicyKind::Nearest, &BTreeMap::from([("cheap".to_owned(), PolicyKind::RoundRobin)]));
    let snapshot = planner.poll_snapshot(now).unwrap();
    let policies: Vec<&str> = (0..5).map(|host| snapshot.policy(host).as_str()).collect();
    assert_eq!(policies, ["geo", "geo", "geo", "round-robin", "geo"]);
    planner.set_policies(PolicyKind::Nearest, &BTreeMap::from([("cheap".to_owned(), PolicyKind::RoundRobin)]));
    assert!(planner.poll_snapshot(now).is_none(), "nothing has changed");
}

#[test]
fn switching_the_policy_and_back_keeps_what_was_measured() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let now = Instant::ZERO + ms(10_000);
    for _ in 0..20 {
        planner.handle_beacon(now, [198, 18, 1, 9].into(), [127, 77, 0, 2].into(), ms(140)).unwrap();
    }
    assert_eq!(codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7")[0], "AMS");
    planner.set_policies(PolicyKind::Nearest, &BTreeMap::new());
    assert_eq!(codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7")[0], "FRA");
    planner.set_policies(PolicyKind::Latency, &BTreeMap::new());
    assert_eq!(codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7")[0], "AMS");
}

#[test]
fn a_bias_moves_the_border_between_pops() {
    // Cologne is 190 km from AMS and 150 km from FRA.
    let map = || geo(&[("198.18.1.0/24".parse().unwrap(), (50.94, 6.96))]);
    let with = |bias: &[(&str, i8)]| {
        let bias = bias.iter().map(|&(pop, bias)| (code(pop), bias)).collect();
        let options = RoutingOptions { bias, ..options(PolicyKind::Geoproximity) };
        codes(&planner(options, map()).poll_snapshot(Instant::ZERO).unwrap(), "198.18.1.7")
    };
    assert_eq!(with(&[]), ["FRA", "AMS"]);
    assert_eq!(with(&[("AMS", 40)]), ["AMS", "FRA"]);
    assert_eq!(with(&[("FRA", -40)]), ["AMS", "FRA"]);
}

/// 512 client networks in Berlin.
fn many() -> GeoMap {
    let nets: Vec<_> =
        (0..512u32).map(|b| (Ipv4Net::new(Ipv4Addr::from_bits(0xc612_0000 + (b << 8)), 24).unwrap(), BERLIN)).collect();
    geo(&nets)
}

/// The first choice of each network of [`many`].
fn firsts(snapshot: &Snapshot) -> Vec<String> {
    let client = |b: u32| IpAddr::V4(Ipv4Addr::from_bits(0xc612_0001 + (b << 8)));
    let first = |b| snapshot.answers()[snapshot.answer(0, client(b), 0).0.index()][0];
    (0..512).map(|b| snapshot.pops()[first(b).index()].code.to_string()).collect()
}

#[test]
fn weights_are_shares_of_networks_and_a_change_moves_only_what_it_must() {
    let with = |weights: &[(&str, f64)]| {
        let weights = weights.iter().map(|&(pop, weight)| (code(pop), weight)).collect();
        let options = RoutingOptions { weights, ..options(PolicyKind::Weighted) };
        firsts(&planner(options, many()).poll_snapshot(Instant::ZERO).unwrap())
    };
    let others = [("AMS", 0.0), ("GRU", 0.0), ("SYD", 0.0)];
    let before = with(&[&[("IAD", 1.0), ("FRA", 2.0), ("NRT", 1.0)][..], &others].concat());
    let count = |firsts: &[String], pop: &str| firsts.iter().filter(|first| *first == pop).count();
    assert!((220..292).contains(&count(&before, "FRA")) && (96..160).contains(&count(&before, "NRT")));
    assert_eq!(count(&before, "SYD"), 0);
    let after = with(&[&[("IAD", 1.0), ("FRA", 2.0), ("NRT", 3.0)][..], &others].concat());
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || after == "NRT"));
    assert!(count(&after, "NRT") > count(&before, "NRT") + 60);
}

#[test]
fn anycast_goes_on_to_a_pop_that_was_withdrawn_until_each_network_has_heard_of_it() {
    let mut planner = planner(options(PolicyKind::Anycast), many());
    let mut now = Instant::ZERO + ms(10_000);
    let snapshot = planner.poll_snapshot(now).unwrap();
    let before = firsts(&snapshot);
    let at_fra = before.iter().filter(|first| *first == "FRA").count();
    assert!((200..500).contains(&at_fra), "the nearest for most, not for all: {at_fra}");
    assert_eq!(snapshot.ttl(0), Duration::from_secs(1));
    planner.set_drained([code("FRA")]);
    let mut still = vec![];
    while let Some(snapshot) = planner.poll_snapshot(now) {
        let firsts = firsts(&snapshot);
        assert!(before.iter().zip(&firsts).all(|(before, now)| before == now || before == "FRA"), "others stay");
        still.push(firsts.iter().filter(|first| *first == "FRA").count() as f64 / at_fra as f64);
        now += ms(1000);
    }
    assert_eq!((still[0], still.len()), (1.0, 51), "snapshots until the tail's end, and none after");
    assert!(still.windows(2).all(|pair| pair[1] <= pair[0]));
    assert!((0.12..0.28).contains(&still[10]), "80 % within ten seconds: {}", still[10]);
    assert_eq!(*still.last().unwrap(), 0.0);
    planner.set_drained([]);
    assert_eq!(firsts(&planner.poll_snapshot(now).unwrap()), before, "an announcement is believed at once");
}

/// Reports a load for the edge of `pop`.
fn report(planner: &mut Planner, now: Instant, pop: &str, rps: f64) {
    let edge = planner.key_of(&NodeId::new(Role::Edge, pop)).unwrap();
    planner.handle_load(now, edge, rps);
}

#[test]
fn a_pop_beyond_its_capacity_sends_a_share_of_networks_to_the_next_best() {
    let spill = SpillOptions { capacity: BTreeMap::from([(code("FRA"), 100.0)]), ..SpillOptions::default() };
    let options = RoutingOptions { spill, ..options(PolicyKind::Nearest) };
    let mut planner = planner(options, many());
    let now = Instant::ZERO + ms(10_000);
    let before = firsts(&planner.poll_snapshot(now).unwrap());
    let now = now + ms(1000);
    report(&mut planner, now, "FRA", 90.0);
    assert_eq!(firsts(&planner.poll_snapshot(now).unwrap()), before, "below the limit nobody moves");
    report(&mut planner, now + ms(1000), "FRA", 90.0);
    assert!(planner.poll_snapshot(now + ms(1000)).is_none(), "no news");
    let now = now + ms(2000);
    report(&mut planner, now, "FRA", 190.0);
    // The mean of 90 and 190, with a gain of 0.3, is 120 where 95 may stay.
    let snapshot = planner.poll_snapshot(now).unwrap();
    let moved = firsts(&snapshot).iter().filter(|first| *first == "AMS").count();
    assert!((80..135).contains(&moved), "{moved} of 512");
    assert_eq!(snapshot.spilling_pops(), 1);
    let spilled = firsts(&snapshot).iter().position(|first| first == "AMS").unwrap();
    let client = IpAddr::V4(Ipv4Addr::from_bits(0xc612_0001 + ((spilled as u32) << 8)));
    let why = snapshot.explain(0, "x", client, AskedBy::Peer, &ExplainOptions::default());
    assert_eq!(why.chosen[0].reason, Reason::RouteSpilled);
    let fra = why.candidates.iter().find(|candidate| candidate.pop.as_str() == "FRA").unwrap();
    assert_eq!((fra.load_rps, fra.capacity_rps), (Some(190.0), Some(100.0)));
    assert!((0.75..0.85).contains(&fra.acceptance), "{}", fra.acceptance);
    assert_eq!(fra.reason, Reason::RejectedFull);
}
