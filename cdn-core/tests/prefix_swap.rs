//! Another map of client networks in place of the first: what was learned of a network that stays is kept.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use cdn_core::{
    Instant, NodeId, Role,
    estimate::EstimateSource,
    geo::prefix_csv,
    routing::{AskedBy, EdgeSite, ExplainOptions, Host, Planner, Pop, RoutingOptions},
};

#[test]
fn networks_that_stay_keep_their_measurements_and_others_are_new() {
    let map = |text: &str| prefix_csv::parse(text).unwrap();
    let berlin = "198.51.100.0/24,52.52,13.4,DE,Berlin\n";
    let first = map(&format!("{berlin}203.0.113.0/24,52.52,13.4,DE,Berlin\n"));
    let edge = EdgeSite {
        id: NodeId::new(Role::Edge, "fra"),
        address: SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, 1), 80),
        address6: None,
    };
    let place = first.place_of(first.block_ids().next().unwrap());
    let pops = vec![Pop { code: "FRA".parse().unwrap(), place, edges: vec![edge] }];
    let options = RoutingOptions::default();
    let mut planner = Planner::new(Instant::ZERO, options, first, pops, vec![Host::new("demo")]);
    let [stays, goes]: [IpAddr; 2] = ["198.51.100.7", "203.0.113.7"].map(|address| address.parse().unwrap());
    for client in [stays, goes] {
        let edge = Ipv4Addr::new(127, 77, 0, 1).into();
        planner.handle_beacon(Instant::ZERO, client, edge, Duration::from_millis(42)).unwrap();
    }
    // The network that stays has another position now, and the one that has gone is part of another.
    let second = map(&format!("192.0.2.0/24,-12.05,-77.04,PE,Lima\n203.0.0.0/16,35.68,139.7,JP,Tokyo\n{berlin}"));
    planner.set_geo(Instant::ZERO, second);
    let snapshot = planner.build_snapshot(Instant::ZERO);
    let source = |client| {
        let told = snapshot.explain(0, "www.demo.test", client, AskedBy::Peer, &ExplainOptions::default());
        (told.place.unwrap().label, told.candidates[0].estimate.source)
    };
    assert_eq!(source(stays), ("Berlin".into(), EstimateSource::Beacons));
    assert_eq!(source(goes), ("Tokyo".into(), EstimateSource::Distance));
}
