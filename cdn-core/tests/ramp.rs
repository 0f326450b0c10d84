//! A PoP that was down takes its clients back little by little, and an edge beside another does, in virtual time.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use cdn_core::{
    Instant, NodeId, Reason, Role,
    geo::{GeoMap, GeoPrefix, Place, Point},
    health::ProbeError,
    routing::{AskedBy, EdgeSite, ExplainOptions, Host, Planner, Pop, RoutingOptions, Snapshot},
};

const BLOCKS: u32 = 1000;

fn place(lat_deg: f64, lon_deg: f64) -> Place {
    Place { point: Point::new(lat_deg, lon_deg).unwrap(), country: "".into(), label: "".into() }
}

/// Frankfurt and Ashburn, and a thousand client networks in Berlin.
fn planner(ramp: Duration) -> Planner {
    let pop = |last: u8, code: &str, place: Place| Pop {
        code: code.parse().unwrap(),
        place,
        edges: vec![EdgeSite {
            id: NodeId::new(Role::Edge, code),
            address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, last), 80),
            address6: None,
        }],
    };
    let pops = vec![pop(1, "FRA", place(50.03, 8.57)), pop(2, "IAD", place(38.94, -77.46))];
    let net = |at: u32| format!("{}/24", Ipv4Addr::from_bits((10 << 24) + (at << 8))).parse().unwrap();
    let geo = GeoMap::build((0..BLOCKS).map(|at| GeoPrefix { net: net(at), place: place(52.52, 13.4) }));
    let options = RoutingOptions { ramp, explore_share: 0.0, ..RoutingOptions::default() };
    Planner::new(Instant::ZERO, options, geo, pops, vec![Host::new("demo")])
}

/// Probes every edge as the shell does, until `until`; Frankfurt answers or does not. The last snapshot.
fn run(planner: &mut Planner, from: Instant, until: Instant, is_alive: bool) -> Option<Snapshot> {
    let (mut now, mut last) = (from, None);
    while now < until {
        while let Some(probe) = planner.poll_probe(now) {
            let answers = is_alive || *probe.address.ip() != Ipv4Addr::new(127, 77, 0, 1);
            let outcome = if answers { Ok(Duration::from_millis(10)) } else { Err(ProbeError::Refused) };
            planner.handle_probe(now, probe, outcome);
        }
        last = planner.poll_snapshot(now).or(last);
        now += Duration::from_millis(10);
    }
    last
}

fn client(block: u32) -> IpAddr {
    Ipv4Addr::from_bits((10 << 24) + (block << 8) + 7).into()
}

fn first(snapshot: &Snapshot, client: IpAddr) -> &str {
    let (answer, _) = snapshot.answer(0, client, 0);
    snapshot.pops()[snapshot.answers()[answer.index()][0].index()].code.as_str()
}

fn share(snapshot: &Snapshot) -> f64 {
    let at_home = (0..BLOCKS).filter(|&block| first(snapshot, client(block)) == "FRA").count();
    at_home as f64 / f64::from(BLOCKS)
}

fn at(s: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(s)
}

#[test]
fn a_recovered_pop_takes_a_growing_share_of_its_networks_and_says_why() {
    let mut planner = planner(Duration::from_secs(10));
    let mut snapshot = run(&mut planner, at(0), at(5), true).unwrap();
    assert_eq!(share(&snapshot), 1.0, "a new world does not ramp");
    snapshot = run(&mut planner, at(5), at(15), false).unwrap();
    assert_eq!(share(&snapshot), 0.0);
    // Two good probes bring it back, within a second and a bit.
    let mut shares = vec![];
    for second in 15..28 {
        snapshot = run(&mut planner, at(second), at(second + 1), true).unwrap_or(snapshot);
        shares.push(share(&snapshot));
        if (0.2..0.8).contains(&share(&snapshot)) {
            let explain =
                |block| snapshot.explain(0, "www.demo.test", client(block), AskedBy::Peer, &ExplainOptions::default());
            let waiting = (0..BLOCKS).map(explain).find(|told| told.chosen[0].pop.as_str() == "IAD").unwrap();
            assert_eq!(waiting.chosen[0].reason, Reason::RouteRamping);
            let fra = waiting.candidates.iter().find(|candidate| candidate.pop.as_str() == "FRA").unwrap();
            assert_eq!(fra.chosen, Some(1), "it is the second address meanwhile");
            assert!(fra.ramp < 1.0);
            assert_sound(&snapshot);
        }
    }
    assert!(shares.is_sorted() && shares[1] < 0.35 && shares.last() == Some(&1.0), "{shares:?}");
    let half = shares.iter().position(|&share| share > 0.5).unwrap();
    assert!((4..9).contains(&half), "{shares:?}");
    assert_eq!(snapshot.ramping_pops(), 0);
}

/// Whoever is inside the scope of an answer gets the same answer.
fn assert_sound(snapshot: &Snapshot) {
    for block in 0..BLOCKS {
        let (answer, scope) = snapshot.answer(0, client(block), 0);
        let IpAddr::V4(address) = client(block) else { unreachable!() };
        let size = 1u32 << (32 - u32::from(scope));
        let begin = address.to_bits() & !(size - 1);
        for inside in [begin, begin + size / 2, begin + size - 1] {
            assert_eq!(snapshot.answer(0, Ipv4Addr::from_bits(inside).into(), 0).0, answer, "{address}/{scope}");
        }
    }
}

#[test]
fn without_a_ramp_everybody_comes_home_at_once() {
    let mut planner = planner(Duration::ZERO);
    run(&mut planner, at(0), at(5), true);
    run(&mut planner, at(5), at(15), false);
    let snapshot = run(&mut planner, at(15), at(18), true).unwrap();
    assert_eq!((share(&snapshot), snapshot.ramping_pops()), (1.0, 0));
}

#[test]
fn where_nobody_else_serves_a_ramp_keeps_nobody_out() {
    let mut planner = planner(Duration::from_secs(10));
    run(&mut planner, at(0), at(5), true);
    run(&mut planner, at(5), at(15), false);
    planner.set_drained(["IAD".parse().unwrap()]);
    let snapshot = run(&mut planner, at(15), at(18), true).unwrap();
    assert_eq!(share(&snapshot), 1.0);
}

/// Frankfurt with two edges, and the hosts that the second of them serves.
fn two_edges(hosts: &[Host]) -> Planner {
    let edge = |last: u8| EdgeSite {
        id: NodeId::new(Role::Edge, &format!("fra-{last}")),
        address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, last), 80),
        address6: None,
    };
    let pops = vec![Pop { code: "FRA".parse().unwrap(), place: place(50.03, 8.57), edges: vec![edge(1), edge(2)] }];
    let net = |at: u32| format!("{}/24", Ipv4Addr::from_bits((10 << 24) + (at << 8))).parse().unwrap();
    let geo = GeoMap::build((0..BLOCKS).map(|at| GeoPrefix { net: net(at), place: place(52.52, 13.4) }));
    let options = RoutingOptions { explore_share: 0.0, ..RoutingOptions::default() };
    Planner::new(Instant::ZERO, options, geo, pops, hosts.to_vec())
}

#[test]
fn an_edge_that_comes_back_beside_another_takes_a_growing_share_of_its_names_networks() {
    let hosts: Vec<Host> = (0..8).map(|at| Host::new(format!("host-{at}"))).collect();
    let mut planner = two_edges(&hosts);
    let mut snapshot = run(&mut planner, at(0), at(5), true).unwrap();
    let edge = |snapshot: &Snapshot, host: usize, block: u32| {
        let (answer, _) = snapshot.answer(host, client(block), 0);
        snapshot.addresses(host, answer).next().unwrap().ip().octets()[3]
    };
    // One edge of the two answers nothing in `run` where it is not alive: the first.
    let host = (0..hosts.len()).find(|&host| edge(&snapshot, host, 0) == 1).unwrap();
    let other = (0..hosts.len()).find(|&host| edge(&snapshot, host, 0) == 2).unwrap();
    snapshot = run(&mut planner, at(5), at(15), false).unwrap();
    assert!((0..BLOCKS).all(|block| edge(&snapshot, host, block) == 2));
    let (mut shares, mut home) = (vec![], vec![]);
    for second in 15..28 {
        snapshot = run(&mut planner, at(second), at(second + 1), true).unwrap_or(snapshot);
        let now: Vec<u32> = (0..BLOCKS).filter(|&block| edge(&snapshot, host, block) == 1).collect();
        assert!(home.iter().all(|block| now.contains(block)), "whoever has come back stays");
        assert!((0..BLOCKS).all(|block| edge(&snapshot, other, block) == 2), "names of the other edge stay there");
        shares.push(now.len() as f64 / f64::from(BLOCKS));
        if (0.2..0.8).contains(shares.last().unwrap()) {
            assert_sound(&snapshot);
            let block = (0..BLOCKS).find(|block| !now.contains(block)).unwrap();
            let told =
                snapshot.explain(host, "www.demo.test", client(block), AskedBy::Peer, &ExplainOptions::default());
            assert_eq!((told.chosen[0].address.ip().octets()[3], told.chosen[0].reason), (2, Reason::RouteRamping));
        }
        home = now;
    }
    assert!(shares.is_sorted() && shares[1] < 0.35 && shares.last() == Some(&1.0), "{shares:?}");
    assert!(shares.iter().any(|share| (0.3..0.7).contains(share)), "{shares:?}");
}
