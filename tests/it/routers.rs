//! Several routers: each is a name server of every zone, and the world outlives any of them.

use std::time::Duration;

use crate::harness::{World, run};

const TWO: &str = "pops = [\"IAD\", \"FRA\"]\n[router]\nexplore = 0.0\n";

#[test]
fn every_zone_names_every_router_and_each_answers_alike() {
    let world = World::of_file(TWO);
    let berlin = world.network("berlin");
    let asked: Vec<String> = ["router.iad", "router.fra"]
        .map(|router| {
            let (dns, subnet) = (world.address(router, "dns"), format!("+subnet={berlin}"));
            let (ip, port) = dns.split_once(':').unwrap();
            let dig =
                |args: &[&str]| run("dig", &[&[&format!("@{ip}"), "-p", port, "+tries=1", "+noall"], args].concat());
            let servers = dig(&["demo.test", "NS", "+answer"]);
            assert!(servers.contains("ns1.cdn.test.") && servers.contains("ns2.cdn.test."), "{servers}");
            let glue = dig(&["ns2.cdn.test", "+answer"]);
            assert!(glue.contains(world.address("router.fra", "dns").split(':').next().unwrap()), "{glue}");
            servers + &dig(&["www.demo.test", "+answer", &subnet])
        })
        .into();
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&asked[0]), sorted(&asked[1]));
}

#[test]
fn a_router_dies_and_names_keep_resolving() {
    let world = World::of_file(TWO);
    let fra = world.address("router.fra", "dns");
    world.ok(&["kill", "router.iad"]);
    for place in ["berlin", "lima", "tokyo"] {
        let answer = world.json(&["dig", "--from", place, "www.demo.test"]);
        assert_eq!((&answer["rcode"], &answer["server"]), (&"NOERROR".into(), &fra.as_str().into()), "{answer}");
        let response = world.curl(place, &["-o", "/dev/null", "-w", "%{http_code}", "http://www.demo.test/"]);
        assert_eq!(response, "200", "{place}");
    }
    // Who has met the silence once asks the other at once.
    let again = world.json(&["dig", "--from", "lima", "edge.fra.cdn.test"]);
    assert_eq!(again["tries"], 1, "{again}");
    // What needs a router is asked of the one that is left, health among it.
    assert_eq!(world.json(&["explain", "route", "--from", "berlin"])["router"], "router.fra");
    world.ok(&["kill", "edge.fra"]);
    world.until("the answers of the other router leave the dead edge", || {
        let explained = world.json(&["explain", "route", "--from", "berlin"]);
        (explained["chosen"][0]["pop"] == "IAD").then_some(())
    });
    world.ok(&["start", "edge.fra"]);
    world.ok(&["start", "router.iad"]);
    world.until_health("router.iad", "up");
    world.until_health("edge.fra", "up");
}

#[test]
fn a_silent_router_costs_one_timeout_and_no_answer() {
    let world = World::of_file(TWO);
    world.ok(&["pause", "router.iad"]);
    let first = world.json(&["dig", "--from", "lima", "www.demo.test"]);
    assert_eq!((&first["rcode"], &first["tries"]), (&"NOERROR".into(), &2.into()), "{first}");
    let waited = Duration::from_secs_f64(first["time_ms"].as_f64().unwrap() / 1e3);
    assert!(waited > Duration::from_millis(800) && waited < Duration::from_secs(3), "{waited:?}");
    world.ok(&["resume", "router.iad"]);
}
