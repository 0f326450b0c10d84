//! Edges behind regional caches behind the shield: in a real world, through the command line.

use crate::harness::{World, details, header, spent, text};

#[test]
fn misses_pass_the_nearest_regional_cache_and_what_is_broken_there_is_passed_by() {
    let world = World::of_file(
        r#"
        pops = ["IAD", "CDG", "KIX"]
        regional = ["FRA", "NRT"]
        shield = "IAD"
        router.explore = 0.0
        # How long a cache that says nothing is waited for.
        origins.primary.connection_timeout = "1s"
        "#,
    );
    let status = world.status();
    let regional: Vec<_> =
        status["nodes"].as_array().unwrap().iter().filter(|node| node["role"] == "regional").collect();
    assert_eq!(regional.len(), 2, "{status:#}");
    assert!(regional.iter().all(|node| node["health"] == "up"), "{status:#}");
    // Their links are measured, the one from an edge to the wrong one is not.
    let doctor = world.iso(&["doctor", "--json"]);
    let doctor: serde_json::Value = serde_json::from_str(&text(&doctor.stdout)).unwrap();
    let measured = |from: &str, to: &str| {
        doctor["links"]["links"].as_array().unwrap().iter().any(|link| link["from"] == from && link["to"] == to)
    };
    assert!(measured("cdg", "fra") && measured("fra", "iad") && measured("kix", "nrt"), "{doctor:#}");
    assert!(!measured("cdg", "nrt"), "{doctor:#}");

    let ledger = world.ledger("paris", &[], "/a");
    for (step, from, to) in [("regional_hop", "cdg", "fra"), ("shield_hop", "fra", "iad")] {
        let (spent, rtt) = (spent(&ledger, step)[0], world.rtt(from, to));
        assert!(spent >= 2.0 * rtt * 0.99, "{step} took {spent} ms of two times {rtt} ms: {ledger:#}");
    }
    let labels: Vec<_> = ledger["entries"].as_array().unwrap().iter().map(|entry| entry["label"].clone()).collect();
    assert!(labels.contains(&"regional fra → shield iad".into()), "{labels:?}");
    let get = |place: &str, path: &str| world.curl(place, &["-i", &format!("http://www.demo.test{path}")]);
    let hit = get("paris", "/a");
    assert_eq!((header(&hit, "x-cache"), header(&hit, "x-iso-reason")), (Some("Hit from cloudfront"), Some("hit")));
    // Another region finds it at the shield.
    let far = get("osaka", "/a");
    assert_eq!(header(&far, "x-iso-reason"), Some("hit_shield"), "{far}");
    assert!(header(&far, "cache-status").unwrap().contains(", regional.nrt; fwd=uri-miss"), "{far}");

    let holders = |path: &str| -> Vec<String> {
        let report = world.json(&["cache", "where", path]);
        let nodes = report["nodes"].as_array().unwrap().iter();
        let with = nodes.filter(|node| node["entries"].as_array().is_some_and(|entries| !entries.is_empty()));
        with.map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(holders("/a"), ["edge.cdg", "edge.kix", "regional.fra", "regional.nrt", "shield.iad"]);
    let invalidation = world.json(&["invalidate", "/a"]);
    assert_eq!((&invalidation["status"], holders("/a").len()), (&"Completed".into(), 0), "{invalidation:#}");

    world.ok(&["kill", "regional.fra"]);
    let ledger = world.ledger("paris", &["--warm"], "/b");
    assert!(details(&ledger, "shield_attempt").last().unwrap().contains("response 200"), "{ledger:#}");
    assert_eq!(world.node("regional.fra")["health"], "stopped");
    assert_eq!(holders("/b"), ["edge.cdg", "shield.iad"]);
    world.ok(&["start", "regional.fra"]);
    world.until_health("regional.fra", "up");
    get("paris", "/c");
    assert_eq!(holders("/c"), ["edge.cdg", "regional.fra", "shield.iad"]);
    // A paused one accepts connections and says nothing.
    world.ok(&["pause", "regional.fra"]);
    assert!(get("paris", "/d").starts_with("HTTP/1.1 200"));
    world.ok(&["resume", "regional.fra"]);
    assert_eq!(holders("/d"), ["edge.cdg", "shield.iad"]);
}
