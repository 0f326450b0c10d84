//! Which edge of a PoP serves whom, as a router learns it from probes: by host, dispersed, and by load.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use cdn_core::{
    Instant, NodeId, Reason, Role,
    geo::{GeoMap, GeoPrefix, Place, Point},
    routing::{
        AskedBy, EdgeSite, ExplainOptions, Host, InsideOptions, Planner, PolicyKind, Pop, RoutingOptions, Snapshot,
    },
};

const BLOCKS: u32 = 400;

fn place(lat_deg: f64, lon_deg: f64) -> Place {
    Place { point: Point::new(lat_deg, lon_deg).unwrap(), country: "".into(), label: "".into() }
}

fn pop(code: &str, network: u8, edges: u8, place: Place) -> Pop {
    let edge = |last: u8| EdgeSite {
        id: NodeId::new(Role::Edge, &format!("{}-{last}", code.to_ascii_lowercase())),
        address: SocketAddrV4::new(Ipv4Addr::new(127, 77, network, last), 80),
        address6: None,
    };
    Pop { code: code.parse().unwrap(), place, edges: (1..=edges).map(edge).collect() }
}

/// Frankfurt with so many edges, Ashburn with one, and 400 client networks in Berlin.
fn planner(edges: u8, inside: InsideOptions, policy: PolicyKind) -> Planner {
    let pops = vec![pop("FRA", 1, edges, place(50.03, 8.57)), pop("IAD", 2, 1, place(38.94, -77.46))];
    let net = |at: u32| format!("{}/24", Ipv4Addr::from_bits((10 << 24) + (at << 8))).parse().unwrap();
    let geo = GeoMap::build((0..BLOCKS).map(|at| GeoPrefix { net: net(at), place: place(52.52, 13.4) }));
    let options = RoutingOptions { inside, policy, explore_share: 0.0, ..RoutingOptions::default() };
    Planner::new(Instant::ZERO, options, geo, pops, vec![Host::new("demo"), Host::new("shop")])
}

/// Every edge answers probes from second to second and says how much it has served, by `rps` of its last octet.
fn run(planner: &mut Planner, seconds: std::ops::Range<u64>, rps: impl Fn(u8) -> u64) -> Snapshot {
    let mut last = None;
    for ms in (seconds.start * 1000..seconds.end * 1000).step_by(50) {
        let now = Instant::ZERO + Duration::from_millis(ms);
        while let Some(probe) = planner.poll_probe(now) {
            planner.handle_requests(now, probe.edge, ms * rps(probe.address.ip().octets()[3]) / 1000);
            planner.handle_probe(now, probe, Ok(Duration::from_millis(10)));
        }
        last = planner.poll_snapshot(now).or(last);
    }
    last.unwrap_or_else(|| planner.build_snapshot(Instant::ZERO + Duration::from_secs(seconds.end)))
}

fn client(block: u32) -> IpAddr {
    Ipv4Addr::from_bits((10 << 24) + (block << 8) + 7).into()
}

fn edge(snapshot: &Snapshot, host: usize, block: u32) -> u8 {
    let (answer, _) = snapshot.answer(host, client(block), 0);
    snapshot.addresses(host, answer).next().unwrap().ip().octets()[3]
}

fn assert_explained_and_sound(snapshot: &Snapshot) {
    for (host, block) in (0..2).flat_map(|host| (0..BLOCKS).map(move |block| (host, block))) {
        let told = snapshot.explain(host, "", client(block), AskedBy::Peer, &ExplainOptions::default());
        assert_eq!(told.chosen[0].address.ip().octets()[3], edge(snapshot, host, block));
        assert_eq!(told.chosen[0].reason, snapshot.reason(host, client(block), 0));
        // Whoever is inside the scope of an answer gets the same answer.
        let (answer, scope) = snapshot.answer(host, client(block), 0);
        let IpAddr::V4(address) = client(block) else { unreachable!() };
        let size = 1u32 << (32 - u32::from(scope));
        let begin = address.to_bits() & !(size - 1);
        for inside in [begin, begin + size / 2, begin + size - 1] {
            assert_eq!(snapshot.answer(host, Ipv4Addr::from_bits(inside).into(), 0).0, answer, "{address}/{scope}");
        }
    }
}

#[test]
fn a_busy_edge_sends_a_share_of_its_networks_to_the_next_and_says_so() {
    let mut planner = planner(2, InsideOptions::default(), PolicyKind::Latency);
    let snapshot = run(&mut planner, 0..3, |_| 0);
    let home = edge(&snapshot, 0, 0);
    assert!((0..BLOCKS).all(|block| edge(&snapshot, 0, block) == home));
    assert_eq!((snapshot.bounded_edges(), snapshot.reason(0, client(0), 0)), (0, Reason::RouteLowestEstimate));
    // All of 200 requests per second come to it; half of them and a quarter of that is what it may have.
    let snapshot = run(&mut planner, 3..8, |edge| if edge == home { 200 } else { 0 });
    let moved: Vec<u32> = (0..BLOCKS).filter(|&block| edge(&snapshot, 0, block) != home).collect();
    let share = moved.len() as f64 / f64::from(BLOCKS);
    assert!((0.3..0.5).contains(&share), "{share}");
    assert_eq!(snapshot.bounded_edges(), 1);
    assert_explained_and_sound(&snapshot);
    let told = snapshot.explain(0, "", client(moved[0]), AskedBy::Peer, &ExplainOptions::default());
    assert_eq!((told.chosen[0].reason, told.chosen[0].edge_reason), (Reason::RouteBounded, Reason::RouteBounded));
    let fra = told.candidates.iter().find(|candidate| candidate.pop.as_str() == "FRA").unwrap();
    let busy = fra.edges.iter().find(|edge| edge.acceptance < 1.0).unwrap();
    assert!(busy.load_rps.is_some_and(|rps| (190.0..210.0).contains(&rps)), "{busy:?}");
    // Once it is quiet again they come home.
    let snapshot = run(&mut planner, 8..160, |_| 0);
    assert_eq!(snapshot.bounded_edges(), 0);
    assert!((0..BLOCKS).all(|block| edge(&snapshot, 0, block) == home));
}

#[test]
fn a_dispersed_host_is_on_so_many_edges_and_every_router_says_the_same() {
    let inside = InsideOptions { dispersion: 2, load_bound: Some(1.25) };
    for policy in [PolicyKind::Latency, PolicyKind::Random, PolicyKind::Static] {
        let routers = [(); 2].map(|()| run(&mut planner(4, inside.clone(), policy), 0..3, |_| 5));
        for host in 0..2 {
            let of =
                |snapshot: &Snapshot| -> Vec<u8> { (0..BLOCKS).map(|block| edge(snapshot, host, block)).collect() };
            assert_eq!(of(&routers[0]), of(&routers[1]));
        }
        if policy == PolicyKind::Latency {
            let used = BTreeSet::from_iter((0..BLOCKS).map(|block| edge(&routers[0], 0, block)));
            assert_eq!(used.len(), 2);
            assert_explained_and_sound(&routers[0]);
            let told = routers[0].explain(0, "", client(1), AskedBy::Peer, &ExplainOptions::default());
            assert_eq!(told.chosen[0].edge_reason, Reason::EdgeDispersed);
            assert_eq!(told.chosen[1].edge_reason, Reason::EdgeOnly);
        }
    }
}

#[test]
fn answers_in_turn_are_spread_over_edges_too() {
    let inside = InsideOptions { dispersion: 2, load_bound: None };
    let snapshot = run(&mut planner(2, inside, PolicyKind::RoundRobin), 0..3, |_| 5);
    let mut used = [0; 3];
    for turn in 0..2000 {
        let (answer, scope) = snapshot.answer(0, client(0), turn);
        let first = snapshot.addresses(0, answer).next().unwrap();
        assert_eq!(scope, 0);
        if first.ip().octets()[2] == 1 {
            used[usize::from(first.ip().octets()[3])] += 1;
        }
    }
    assert!(used[1] + used[2] == 1000 && used[1] > 400 && used[2] > 400, "{used:?}");
}
