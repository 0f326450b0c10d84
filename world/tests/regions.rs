//! What a router estimates of a network that has never reported, against the world's own round trips: where its region has
//! been measured it starts closer to the truth than distance alone would.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use cdn_core::{
    Instant, NodeId, Role,
    estimate::{EstimateSource, distance_prior},
    geo::{self, GeoMap, GeoPrefix},
    routing::{AskedBy, EdgeSite, ExplainOptions, Host, Planner, Pop, RoutingOptions},
};
use ipnet::IpNet;
use world::{Atlas, Place, World, WorldOptions};

const POPS: [&str; 12] = ["IAD", "LAX", "FRA", "LHR", "NRT", "SIN", "GRU", "SYD", "BOM", "DXB", "LOS", "MAD"];

fn as_routed(place: &Place) -> geo::Place {
    geo::Place {
        point: geo::Point::new(place.coordinates.lat(), place.coordinates.lon()).unwrap(),
        country: place.country.as_str().into(),
        label: "".into(),
    }
}

#[test]
fn a_new_network_in_a_measured_region_starts_closer_to_the_truth_than_distance_alone() {
    let world = World::new(Atlas::embedded(), WorldOptions::default());
    let sites: Vec<&Place> = POPS.iter().map(|code| world.atlas().place(code).unwrap()).collect();
    let address = |at: usize| Ipv4Addr::new(127, 77, 0, at as u8 + 1);
    let pops = sites.iter().zip(POPS).enumerate().map(|(at, (site, code))| Pop {
        code: code.parse().unwrap(),
        place: as_routed(site),
        edges: vec![EdgeSite {
            id: NodeId::new(Role::Edge, code),
            address: SocketAddrV4::new(address(at), 80),
            address6: None,
        }],
    });
    let table = world.atlas().prefix_table();
    let networks = table.iter().map(|block| GeoPrefix { net: IpNet::V4(block.net), place: as_routed(block.head) });
    let options = RoutingOptions { explore_share: 0.0, ..RoutingOptions::default() };
    let geo = GeoMap::build(networks);
    let mut planner = Planner::new(Instant::ZERO, options, geo, pops.collect(), vec![Host::new("demo")]);

    // Of every three networks two report, and the third is new.
    let is_new = |at: usize| at % 3 == 2;
    let truth_ms = |head: &Place, pop: usize| world.rtt_parts(head, sites[pop]).rtt_ms();
    for (_, block) in table.iter().enumerate().filter(|(at, _)| !is_new(*at)) {
        for pop in 0..POPS.len() {
            let rtt = Duration::from_secs_f64(truth_ms(block.head, pop) / 1e3);
            for _ in 0..5 {
                planner.handle_beacon(Instant::ZERO, block.net.addr().into(), address(pop).into(), rtt).unwrap();
            }
        }
    }
    let snapshot = planner.build_snapshot(Instant::ZERO);
    let (mut by_region, mut by_distance) = (vec![], vec![]);
    for (_, block) in table.iter().enumerate().filter(|(at, _)| is_new(*at)) {
        let client: IpAddr = block.net.addr().into();
        let told = snapshot.explain(0, "www.demo.test", client, AskedBy::Peer, &ExplainOptions::default());
        for candidate in &told.candidates {
            let pop = POPS.iter().position(|code| *code == candidate.pop.as_str()).unwrap();
            let off = |rtt: Duration| (rtt.as_secs_f64() * 1e3 - truth_ms(block.head, pop)).abs();
            match candidate.estimate.source {
                EstimateSource::Region => {
                    by_region.push(off(candidate.estimate.rtt));
                    by_distance.push(off(distance_prior(candidate.distance_km.unwrap())));
                }
                source => assert_eq!(source, EstimateSource::Distance, "it has never reported"),
            }
        }
    }
    assert!(by_region.len() > 300, "many new networks are in measured regions: {}", by_region.len());
    let median = |off: &mut Vec<f64>| {
        off.sort_by(f64::total_cmp);
        off[off.len() / 2]
    };
    let (region_ms, distance_ms) = (median(&mut by_region), median(&mut by_distance));
    assert!(region_ms < 0.75 * distance_ms, "{region_ms} ms off by region, {distance_ms} ms by distance");
    println!(
        "median error over {} pairs: {region_ms:.1} ms by region, {distance_ms:.1} ms by distance",
        by_region.len()
    );
}
