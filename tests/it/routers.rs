//! Several routers: each is a name server of every zone, and the world outlives any of them.

use std::time::Duration;

use serde_json::Value;

use crate::{
    harness::{World, run},
    raw::admin,
};

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

impl World {
    /// An edge as a router sees it.
    fn seen_by(&self, router: &str, edge: &str) -> Value {
        let reply = admin(self, &self.address(router, "admin"), "GET", "/health-of-edges", "");
        let edges: Value = serde_json::from_str(reply.body()).unwrap();
        edges.as_array().unwrap().iter().find(|row| row["id"] == edge).unwrap().clone()
    }
}

#[test]
fn a_router_that_is_cut_off_from_an_edge_takes_it_from_nobody() {
    let world = World::of_file(
        "pops = [\"IAD\", \"FRA\", \"LHR\"]\n[router]\nsites = [\"IAD\", \"LHR\"]\nexplore = 0.0\n\
         probe_interval = \"250ms\"\nprobe_timeout = \"300ms\"\n",
    );
    let (fra, berlin) = (world.ip("edge.fra"), world.network("berlin"));
    world.until("both have heard each other", || {
        let heard = |router: &str| world.seen_by(router, "edge.fra")["observers"] == 2;
        (heard("router.iad") && heard("router.lhr")).then_some(())
    });
    world.ok(&["link", "IAD", "FRA", "--partition"]);
    let cut = world.until("the router in Ashburn calls Frankfurt down", || {
        Some(world.seen_by("router.iad", "edge.fra")).filter(|seen| seen["own"] == "down")
    });
    assert_eq!((&cut["health"], &cut["down_votes"]), (&"suspect".into(), &1.into()), "{cut}");
    assert_eq!(world.dig(&berlin)[0], fra);
    let other = world.until("the other has heard of it", || {
        Some(world.seen_by("router.lhr", "edge.fra")).filter(|seen| seen["down_votes"] == 1)
    });
    assert_eq!((&other["own"], &other["health"]), (&"up".into(), &"suspect".into()), "{other}");
    // Who is really dead is down for both.
    world.ok(&["kill", "edge.fra"]);
    world.until("both call it down", || {
        let down = |router: &str| world.seen_by(router, "edge.fra")["health"] == "down";
        (down("router.iad") && down("router.lhr")).then_some(())
    });
    assert!(!world.dig(&berlin).contains(&fra));
    world.ok(&["heal"]);
    world.until_health("edge.fra", "up");
}

#[test]
fn the_verdict_of_a_dead_router_is_not_waited_for() {
    let world = World::of_file(TWO);
    let berlin = world.network("berlin");
    let fra = world.ip("edge.fra");
    world.until("both have heard each other", || {
        (world.seen_by("router.iad", "edge.fra")["observers"] == 2).then_some(())
    });
    // The whole site, its last word being that the edge is up.
    world.ok(&["kill", "FRA"]);
    world.ok(&["kill", "router.fra"]);
    world.until("answers leave the dead site", || (!world.dig(&berlin).contains(&fra)).then_some(()));
}

#[test]
fn routing_moves_away_from_a_slow_link_because_viewers_measured_it_and_comes_back() {
    let world = World::of_file("pops = [\"IAD\", \"FRA\", \"LHR\"]\n[router]\nexplore = 0.0\nttl = \"1s\"\n");
    let berlin = world.network("berlin");
    let [fra, lhr] = ["edge.fra", "edge.lhr"].map(|edge| world.ip(edge));
    let one = || drop(world.curl("berlin", &["-o", "/dev/null", "http://www.demo.test/"]));
    one();
    assert_eq!(world.dig(&berlin), [fra.as_str(), lhr.as_str()]);
    world.ok(&["link", "berlin", "FRA", "--delay", "+80ms"]);
    let mut order = vec![];
    let mut go_on_until_first = |first: &str| {
        world.until("routing moves", || {
            one();
            let answer = world.dig(&berlin);
            if order.last() != Some(&answer[0]) {
                order.push(answer[0].clone());
            }
            (answer[0] == first).then_some(())
        });
    };
    go_on_until_first(&lhr);
    world.ok(&["heal"]);
    go_on_until_first(&fra);
    // To and fro once, and not more often.
    assert_eq!(order, [fra, lhr.clone(), world.ip("edge.fra")]);
}
