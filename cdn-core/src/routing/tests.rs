//! Laws that hold for every policy, and what the default one does over time.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    Instant, NodeId, Role,
    estimate::EstimateSource,
    geo::{GeoMap, GeoPrefix, Place, Point},
    health::ProbeError,
};

const POPS: [(&str, f64, f64); 6] = [
    ("IAD", 38.94, -77.46),
    ("FRA", 50.03, 8.57),
    ("AMS", 52.31, 4.76),
    ("NRT", 35.76, 140.39),
    ("GRU", -23.43, -46.47),
    ("SYD", -33.95, 151.18),
];
const BERLIN: (f64, f64) = (52.52, 13.405);

fn place(lat_deg: f64, lon_deg: f64) -> Place {
    Place { point: Point::new(lat_deg, lon_deg).unwrap(), country: "".into(), label: "".into() }
}

fn pops() -> Vec<Pop> {
    let pop = |(at, (code, lat, lon)): (u8, &(&str, f64, f64))| Pop {
        code: code.parse().unwrap(),
        place: place(*lat, *lon),
        edges: vec![EdgeSite {
            id: NodeId::new(Role::Edge, code),
            address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, at + 1), 4480),
        }],
    };
    (0..).zip(&POPS).map(pop).collect()
}

fn geo(nets: &[(Ipv4Net, (f64, f64))]) -> GeoMap {
    GeoMap::build(nets.iter().map(|&(net, (lat, lon))| GeoPrefix { net: IpNet::V4(net), place: place(lat, lon) }))
}

fn options(policy: PolicyKind) -> RoutingOptions {
    RoutingOptions { policy, explore_share: 0.0, ..RoutingOptions::default() }
}

fn berlin_and_tokyo() -> GeoMap {
    geo(&[("198.18.1.0/24".parse().unwrap(), BERLIN), ("198.18.2.0/24".parse().unwrap(), (35.68, 139.69))])
}

fn planner(options: RoutingOptions, geo: GeoMap) -> Planner {
    let mut planner = Planner::new(Instant::ZERO, options, geo, pops(), vec!["demo".into()]);
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

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn codes(snapshot: &Snapshot, client: &str) -> Vec<String> {
    let (id, _) = snapshot.answer(client.parse().unwrap(), 0);
    snapshot.answers()[id.index()].iter().map(|pop| snapshot.pops()[pop.index()].code.to_string()).collect()
}

#[test]
fn latency_answers_the_lowest_estimate_and_a_second_in_another_pop() {
    let snapshot = planner(options(PolicyKind::Latency), berlin_and_tokyo()).poll_snapshot(Instant::ZERO).unwrap();
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["FRA", "AMS"]);
    assert_eq!(codes(&snapshot, "198.18.2.7"), ["NRT", "SYD"]);
    let (id, scope) = snapshot.answer("198.18.1.7".parse().unwrap(), 0);
    assert_eq!(scope, 24);
    let addresses: Vec<_> = snapshot.addresses(0, id).map(|address| address.ip().octets()[3]).collect();
    assert_eq!(addresses, [2, 3]);
    assert_eq!(snapshot.ttl(), Duration::from_secs(60));
    assert_eq!(snapshot.addresses(1, id).count(), 0, "no such host");
}

#[test]
fn a_dead_edge_leaves_the_answers_and_comes_home_after() {
    let mut planner = planner(options(PolicyKind::Latency), berlin_and_tokyo());
    let now = settle(&mut planner, Instant::ZERO + ms(10_000), &["FRA"]);
    let snapshot = planner.poll_snapshot(now).unwrap();
    assert_eq!(codes(&snapshot, "198.18.1.7"), ["AMS", "IAD"]);
    assert_eq!(snapshot.ttl(), Duration::from_secs(30), "halved while degraded");
    let explanation =
        snapshot.explain(0, "www.demo.test", "198.18.1.7".parse().unwrap(), AskedBy::Peer, &ExplainOptions::default());
    let rejected = &explanation.candidates[0];
    assert_eq!((rejected.pop.as_str(), rejected.reason), ("FRA", Reason::RejectedDown));
    let now = settle(&mut planner, now, &[]);
    assert_eq!(codes(&planner.poll_snapshot(now).unwrap(), "198.18.1.7"), ["FRA", "AMS"]);
}

#[test]
fn nothing_known_means_everyone_is_answered_and_it_says_so() {
    let mut planner =
        Planner::new(Instant::ZERO, options(PolicyKind::Latency), berlin_and_tokyo(), pops(), vec!["demo".into()]);
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
        planner.poll_snapshot(now).unwrap().answer("198.18.2.7".parse().unwrap(), 0).1,
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
    assert_eq!(snapshot.answer("198.18.2.7".parse().unwrap(), 0).1, 24);
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
        let first = |b| snapshot.answers()[snapshot.answer(client(b), 0).0.index()][0];
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
        let snapshot = planner(options(policy.clone()), berlin_and_tokyo()).poll_snapshot(Instant::ZERO).unwrap();
        let mut counts = [0; POPS.len()];
        for turn in 0..turns {
            let (id, scope) = snapshot.answer("198.18.1.7".parse().unwrap(), turn);
            assert_eq!(scope, 0);
            counts[snapshot.answers()[id.index()][0].index()] += 1;
        }
        let fair = turns / POPS.len() as u64;
        assert!(counts.iter().all(|&count| (fair * 7 / 10..=fair * 13 / 10).contains(&count)), "{policy:?} {counts:?}");
    }
}

#[test]
fn static_answers_in_the_stated_order() {
    let policy = PolicyKind::Static(vec!["SYD".parse().unwrap(), "NRT".parse().unwrap()]);
    let snapshot = planner(options(policy), berlin_and_tokyo()).poll_snapshot(Instant::ZERO).unwrap();
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
    let options = ExplainOptions { assume_drained: vec!["FRA".parse().unwrap()], turn: 0 };
    let client = "198.18.1.7".parse().unwrap();
    let supposed = snapshot.explain(0, "www.demo.test", client, AskedBy::Peer, &options);
    assert_eq!(supposed.chosen[0].pop.as_str(), "AMS");
    assert_eq!(codes(&snapshot, "198.18.1.7")[0], "FRA");
}

fn any_policy() -> impl Strategy<Value = PolicyKind> {
    let fixed = PolicyKind::Static(vec!["GRU".parse().unwrap()]);
    prop_oneof![
        Just(PolicyKind::Latency),
        Just(PolicyKind::Nearest),
        Just(PolicyKind::Random),
        Just(PolicyKind::RoundRobin),
        Just(fixed),
    ]
}

#[derive(Clone, Debug)]
struct World {
    policy: PolicyKind,
    nets: Vec<(Ipv4Net, (f64, f64))>,
    beacons: Vec<(u8, u8, u64)>,
    dead: Vec<usize>,
    drained: Vec<usize>,
}

fn any_world() -> impl Strategy<Value = World> {
    let net = (0u32..64, 18u8..=26, 0usize..POPS.len(), -3.0..3.0f64);
    (
        any_policy(),
        prop::collection::vec(net, 0..12),
        prop::collection::vec((0u8..64, 1u8..=6, 1u64..300), 0..20),
        prop::collection::vec(0usize..POPS.len(), 0..3),
        prop::collection::vec(0usize..POPS.len(), 0..2),
    )
        .prop_map(|(policy, nets, beacons, dead, drained)| {
            let nets = nets.into_iter().map(|(b, len, near, off)| {
                let net = Ipv4Net::new(Ipv4Addr::from_bits(0xc612_0000 + (b << 8)), len).unwrap().trunc();
                (net, (POPS[near].1 + off, POPS[near].2 + off))
            });
            World { policy, nets: nets.collect(), beacons, dead, drained }
        })
}

fn snapshot_of(world: &World) -> Snapshot {
    let options = RoutingOptions { explore_share: 0.3, ..options(world.policy.clone()) };
    let mut planner = planner(options, geo(&world.nets));
    let dead: Vec<&str> = world.dead.iter().map(|&at| POPS[at].0).collect();
    let now = settle(&mut planner, Instant::ZERO + ms(10_000), &dead);
    for &(b, edge, rtt_ms) in &world.beacons {
        let _ = planner.handle_beacon(now, [198, 18, b, 1].into(), [127, 77, 0, edge].into(), ms(rtt_ms));
    }
    planner.set_drained(world.drained.iter().map(|&at| POPS[at].0.parse().unwrap()));
    planner.poll_snapshot(now).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_clients_within_a_scope_get_the_same_answer(
        world in any_world(),
        clients in prop::collection::vec((0u32..0x4000, any::<u32>()), 40),
    ) {
        let snapshot = snapshot_of(&world);
        for (client, other) in clients {
            let client = 0xc612_0000 + client;
            let (answer, scope) = snapshot.answer(IpAddr::V4(Ipv4Addr::from_bits(client)), 3);
            let host_bits = u32::MAX.checked_shr(u32::from(scope)).unwrap_or(0);
            let neighbour = (client & !host_bits) | (other & host_bits);
            prop_assert_eq!(snapshot.answer(IpAddr::V4(Ipv4Addr::from_bits(neighbour)), 3).0, answer);
        }
    }

    #[test]
    fn an_explanation_tells_the_answer(world in any_world(), client in 0u32..0x4000, turn in 0u64..50) {
        let snapshot = snapshot_of(&world);
        let client = IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + client));
        let (id, scope) = snapshot.answer(client, turn);
        let options = ExplainOptions { turn, ..ExplainOptions::default() };
        let explanation = snapshot.explain(0, "www.demo.test", client, AskedBy::Peer, &options);
        let chosen: Vec<_> = explanation.chosen.iter().map(|edge| edge.address).collect();
        prop_assert_eq!(&chosen, &snapshot.addresses(0, id).collect::<Vec<_>>());
        prop_assert_eq!(explanation.scope_len, scope);
        prop_assert_eq!(explanation.candidates.len(), POPS.len());
        prop_assert_eq!(explanation.candidates.iter().filter(|candidate| candidate.chosen.is_some()).count(), chosen.len());
    }

    #[test]
    fn answers_name_different_pops_and_none_that_is_drained_or_down(world in any_world(), client in 0u32..0x4000) {
        let snapshot = snapshot_of(&world);
        let (id, _) = snapshot.answer(IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + client)), 0);
        let answer = &snapshot.answers()[id.index()];
        prop_assert_eq!(answer.len(), 2);
        prop_assert_ne!(answer[0], answer[1]);
        for pop in answer {
            prop_assert!(!world.drained.contains(&pop.index()));
            prop_assert!(snapshot.is_fail_open() || !world.dead.contains(&pop.index()));
        }
    }
}
