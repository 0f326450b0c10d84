//! Several edges in a PoP: each a node of its own, and the PoP outlives any of them.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::harness::World;

const TWO: &str = "pops = [\"IAD\", \"FRA\"]\n[router]\nexplore = 0.0\nttl = \"2s\"\ndispersion = 2\n\
                   [edge.in_pop]\nFRA = 2\n";

/// The edge that a place is led to, and why it is that one of its PoP.
fn edge_for(world: &World, place: &str) -> (String, String) {
    let explained = world.json(&["explain", "route", "--from", place]);
    let text = |key: &str| explained["chosen"][0][key].as_str().expect("a word").to_owned();
    (text("edge"), text("edge_reason"))
}

#[test]
fn a_pops_edges_share_its_clients_and_stand_in_for_one_another() {
    let world = World::of_file(TWO);
    let europe = ["berlin", "paris", "madrid", "rome", "vienna", "warsaw", "prague", "munich", "hamburg", "milan"];
    let count = || {
        let mut seen = BTreeMap::new();
        for place in europe {
            let (edge, reason) = edge_for(&world, place);
            seen.entry(edge).or_insert_with(Vec::new).push((place, reason));
        }
        seen
    };
    let before = count();
    assert_eq!(before.keys().collect::<Vec<_>>(), ["edge.fra", "edge.fra-2"], "{before:?}");
    assert!(before.values().flatten().all(|(_, reason)| reason == "edge_dispersed"), "{before:?}");
    for (edge, places) in &before {
        let (place, _) = places[0];
        assert_eq!(world.dig(&world.network(place))[0], world.ip(edge));
        let response = world.curl(place, &["-D", "-", "-o", "/dev/null", "http://www.demo.test/"]);
        assert!(response.to_ascii_lowercase().contains("x-amz-cf-pop: fra"), "{response}");
    }
    let text = world.ok(&["explain", "route", "--from", "berlin"]);
    assert!(text.contains("\nof FRA: edge.fra up") && text.contains("; edge.fra-2 up"), "{text}");

    // One dies: within three intervals of a second its clients are led to the other, and nobody moves from there.
    world.ok(&["kill", "edge.fra-2"]);
    let killed = std::time::Instant::now();
    let place = before["edge.fra-2"][0].0;
    world.until("its clients are led to the other edge", || (edge_for(&world, place).0 == "edge.fra").then_some(()));
    assert!(killed.elapsed() < Duration::from_millis(3500), "{:?}", killed.elapsed());
    let during = count();
    assert_eq!(during.len(), 1);
    for (_, reason) in
        during["edge.fra"].iter().filter(|(place, _)| before["edge.fra-2"].iter().any(|(of, _)| of == place))
    {
        assert_eq!(reason, "edge_stands_in");
    }
    assert_eq!(world.curl(place, &["-o", "/dev/null", "-w", "%{http_code}", "http://www.demo.test/"]), "200");

    // It comes back little by little, and in the end everybody is where they were.
    world.ok(&["start", "edge.fra-2"]);
    world.until("a network waits for the ramp", || {
        let waits = |place: &str| {
            let chosen = world.json(&["explain", "route", "--from", place])["chosen"][0].clone();
            ["reason", "edge_reason"].iter().any(|level| chosen[level] == "route_ramping")
        };
        before["edge.fra-2"].iter().any(|(place, _)| waits(place)).then_some(())
    });
    world.until("all are at home again", || (count() == before).then_some(()));

    // A PoP's code stands for all its edges.
    let id = |node: &Value| node["id"].as_str().unwrap_or_default().to_owned();
    let killed = world.json(&["kill", "fra"]);
    let status = world.status_now();
    let down = status["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter(|node| node["pid"].is_null() && id(node).contains("fra"));
    let down: Vec<String> = down.map(id).filter(|id| id.starts_with("edge.")).collect();
    assert_eq!(down, ["edge.fra", "edge.fra-2"], "{killed}");
    world.ok(&["start", "fra"]);
    world.until_health("edge.fra-2", "up");
    world.ok(&["drain", "fra"]);
    world.until("its clients go to the other PoP", || (edge_for(&world, "berlin").0 == "edge.iad").then_some(()));
}
