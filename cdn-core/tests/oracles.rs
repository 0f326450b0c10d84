//! Closed forms that routing must meet; each expectation is computed from its formula.
//!
//! Consistent hashing (Karger et al. 1997; here as rendezvous hashing, Thaler and Ravishankar 1998): when one of N nodes
//! leaves, the keys that move are its own, 1/N of all on average, and nobody else's. A ring with v points per node spreads
//! keys with a coefficient of variation of 1/sqrt(v); rendezvous hashing is the limit of many points, of which only chance
//! over K keys is left: each node holds a binomial count, so sqrt((N - 1) / K).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use cdn_core::{
    Instant, NodeId, Role,
    geo::{GeoMap, GeoPrefix, Place, Point},
    health::ProbeError,
    routing::{EdgeSite, Host, Planner, PolicyKind, Pop, RoutingOptions, Snapshot},
};

const KEYS: u32 = 6000;

fn place() -> Place {
    Place { point: Point::new(50.0, 8.6).unwrap(), country: "".into(), label: "".into() }
}

fn edge(last: u8) -> EdgeSite {
    EdgeSite {
        id: NodeId::new(Role::Edge, &format!("edge-{last}")),
        address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, last), 80),
        address6: None,
    }
}

/// Probes for ten seconds; `dead` answers nothing.
fn settle(planner: &mut Planner, from: Instant, dead: Option<u8>) -> (Instant, Snapshot) {
    let mut now = from;
    for _ in 0..400 {
        now += Duration::from_millis(25);
        while let Some(probe) = planner.poll_probe(now) {
            let is_dead = dead == Some(probe.address.ip().octets()[3]);
            let outcome = if is_dead { Err(ProbeError::Refused) } else { Ok(Duration::from_millis(5)) };
            planner.handle_probe(now, probe, outcome);
        }
    }
    (now, planner.build_snapshot(now))
}

/// Holds what becomes of keys when node `gone` leaves `nodes`: who holds each before and after.
fn check(nodes: usize, gone: u8, before: &[u8], after: &[u8]) {
    let (nodes_f, keys) = (nodes as f64, before.len() as f64);
    let counts: Vec<f64> =
        (0..nodes as u8).map(|node| before.iter().filter(|&&at| at == node).count() as f64).collect();
    let mean = keys / nodes_f;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / nodes_f;
    let (cv, expected) = (variance.sqrt() / mean, ((nodes_f - 1.0) / keys).sqrt());
    // The deviation of a sample's deviation is 1/sqrt(2 N) of it; four of these.
    assert!((cv - expected).abs() < 4.0 * expected / (2.0 * nodes_f).sqrt(), "{cv} for {expected}");

    let moved = before.iter().zip(after).filter(|(before, after)| before != after);
    assert!(moved.clone().all(|(&before, &after)| before == gone && after != gone), "only its own keys move");
    let share = moved.count() as f64 / keys;
    assert_eq!(share, counts[usize::from(gone)] / keys, "and all of them");
    let (p, deviation) = (1.0 / nodes_f, (1.0 / nodes_f * (1.0 - 1.0 / nodes_f) / keys).sqrt());
    assert!((share - p).abs() < 4.0 * deviation, "{share} for {p}");
}

#[test]
fn when_an_edge_leaves_its_pop_its_share_of_names_moves_and_no_other() {
    for nodes in [2u8, 5, 12] {
        let pops = vec![Pop { code: "FRA".parse().unwrap(), place: place(), edges: (0..nodes).map(edge).collect() }];
        let hosts = (0..KEYS).map(|at| Host::new(format!("host-{at}.test"))).collect();
        let options = RoutingOptions { ramp: Duration::ZERO, ..RoutingOptions::default() };
        let mut planner = Planner::new(Instant::ZERO, options, GeoMap::build([]), pops, hosts);
        let holders = |snapshot: &Snapshot| -> Vec<u8> {
            let holder = |host| {
                let (answer, _) = snapshot.answer(host, Ipv4Addr::LOCALHOST.into(), 0);
                snapshot.addresses(host, answer).next().unwrap().ip().octets()[3]
            };
            (0..KEYS as usize).map(holder).collect()
        };
        let (now, all) = settle(&mut planner, Instant::ZERO, None);
        let (now, fewer) = settle(&mut planner, now, Some(1));
        check(usize::from(nodes), 1, &holders(&all), &holders(&fewer));
        let (_, again) = settle(&mut planner, now, None);
        assert_eq!(holders(&again), holders(&all), "they come home");
    }
}

#[test]
fn when_a_pop_leaves_its_share_of_networks_moves_and_no_other() {
    for nodes in [5u8, 12] {
        let pop = |at: u8| Pop {
            code: format!("P{}{}", char::from(b'A' + at / 26), char::from(b'A' + at % 26)).parse().unwrap(),
            place: place(),
            edges: vec![edge(at)],
        };
        let net = |at: u32| format!("{}/24", Ipv4Addr::from_bits((10 << 24) + (at << 8))).parse().unwrap();
        let geo = GeoMap::build((0..KEYS).map(|at| GeoPrefix { net: net(at), place: place() }));
        let options = RoutingOptions {
            policy: PolicyKind::Weighted,
            explore_share: 0.0,
            ramp: Duration::ZERO,
            ..RoutingOptions::default()
        };
        let mut planner =
            Planner::new(Instant::ZERO, options, geo, (0..nodes).map(pop).collect(), vec![Host::new("demo")]);
        let holders = |snapshot: &Snapshot| -> Vec<u8> {
            let client = |at: u32| IpAddr::from(Ipv4Addr::from_bits((10 << 24) + (at << 8) + 7));
            let first = |at| snapshot.answers()[snapshot.answer(0, client(at), 0).0.index()][0];
            (0..KEYS).map(|at| first(at).index() as u8).collect()
        };
        let (now, all) = settle(&mut planner, Instant::ZERO, None);
        let (_, fewer) = settle(&mut planner, now, Some(1));
        check(usize::from(nodes), 1, &holders(&all), &holders(&fewer));
    }
}
