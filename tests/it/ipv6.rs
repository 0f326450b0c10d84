//! Worlds on machines that have a network for edges, loopback alone, and no IPv6 at all.
//!
//! Whatever this machine has: each test makes a machine of its own, a network namespace, and runs itself again in there.
//! Where that cannot be made it says so on stderr, past the capture of output, and only what needs none is asserted.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{World, details, node_in, run, spent, text};

/// Set for a test that runs in its namespace.
const INSIDE: &str = "ISO_TEST_IN_NAMESPACE";

/// The exit code of a machine that could not be made.
const NOT_MADE: i32 = 77;

/// What makes a machine out of a fresh network namespace.
const WITH_NETWORK: &str = "ip link set lo up && ip -6 route add local fd77:1505::/64 dev lo";
const WITH_LOOPBACK: &str = "ip link set lo up && grep -q ' lo$' /proc/net/if_inet6";
const WITHOUT_IPV6: &str =
    "for dev in all lo; do echo 1 > /proc/sys/net/ipv6/conf/$dev/disable_ipv6; done && ip link set lo up";

/// Whether the calling test, `name`, is on the machine that `setup` makes; otherwise it is run there, and must pass.
fn is_on(name: &str, setup: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = format!("{{ {setup}; }} || exit {NOT_MADE}; exec \"$0\" --exact ipv6::{name} --nocapture");
    let test = std::env::current_exe().expect("the test's own program");
    let again = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
        .arg(test)
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output();
    let why = match again {
        Err(error) => format!("unshare: {error}"),
        Ok(output) => match output.status.code() {
            Some(0) => {
                let out = text(&output.stdout);
                assert!(out.contains("1 passed"), "no test is called {name}: {out}");
                return false;
            }
            Some(NOT_MADE) => text(&output.stderr),
            // unshare's own failures have this code, and a failed test has another.
            Some(1) => text(&output.stderr),
            _ => panic!(
                "on the machine of {name}: {}\n{}\n{}",
                output.status,
                text(&output.stdout),
                text(&output.stderr)
            ),
        },
    };
    // `eprintln!` would be captured, and a test that did not run would look like one that did.
    let _ = writeln!(std::io::stderr(), "ipv6::{name} was NOT run, for want of a network namespace: {}", why.trim());
    false
}

/// The data of the answer that a viewer's resolver gets, and its code.
fn answers(world: &World, from: &str, name: &str, kind: &str) -> (String, Vec<String>) {
    let reply = world.json(&["dig", "--from", from, name, kind]);
    let data = |record: &Value| record["data"].as_str().expect("data").to_owned();
    let records = reply["answers"].as_array().expect("answers").iter().map(data).collect();
    (reply["rcode"].as_str().expect("a code").to_owned(), records)
}

/// AAAA is denied and everything else is as ever.
fn assert_plain(world: &World) {
    let status = world.status_now();
    for node in status["nodes"].as_array().expect("nodes") {
        assert!(node["addresses"]["http6"].is_null(), "{node}");
        assert_eq!(node["health"], "up", "{node}");
    }
    for name in ["www.demo.test", "edge.fra.cdn.test"] {
        assert_eq!(answers(world, "berlin", name, "AAAA"), ("NOERROR".into(), vec![]), "{name}");
        assert!(!answers(world, "berlin", name, "A").1.is_empty(), "{name}");
    }
    let status = world.curl("berlin", &["-o", "/dev/null", "-w", "%{http_code}", "http://www.demo.test/"]);
    assert_eq!(status, "200");
}

#[test]
fn a_world_that_wants_no_ipv6_has_none() {
    assert_plain(&World::of_file("preset = \"tiny\"\n[edge]\nipv6 = \"off\"\n"));
}

#[test]
fn on_a_machine_without_ipv6_a_world_comes_up_without_it() {
    if is_on("on_a_machine_without_ipv6_a_world_comes_up_without_it", WITHOUT_IPV6) {
        let world = World::start(&["--preset", "tiny"]);
        assert_plain(&world);
        assert!(text(&world.iso(&["doctor"]).stdout).contains("none for edges"));
    }
}

#[test]
fn loopback_alone_is_for_a_world_of_one_edge() {
    if !is_on("loopback_alone_is_for_a_world_of_one_edge", WITH_LOOPBACK) {
        return;
    }
    let world = World::start(&["--pops", "FRA"]);
    assert!(world.address("edge.fra", "http6").starts_with("[::1]:"));
    assert_eq!(answers(&world, "berlin", "www.demo.test", "AAAA").1, ["::1"]);
    assert_eq!(by_curl(&world, "edge.fra"), "200 ::1");
    let url = format!("http://{}/", world.address("edge.fra", "http6"));
    let status =
        world.curl("berlin", &["-g", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: www.demo.test", &url]);
    assert_eq!(status, "200");
    assert_plain(&World::start(&["--preset", "tiny"]));
}

/// What this machine's own curl gets from an edge over IPv6: status, and the address that it spoke to.
fn by_curl(world: &World, edge: &str) -> String {
    let address = world.address(edge, "http6");
    let (ip, port) = address.rsplit_once(':').expect("ip:port");
    let resolve = format!("www.demo.test:{port}:{ip}");
    let url = format!("http://www.demo.test:{port}/");
    let format = "%{http_code} %{remote_ip}";
    run("curl", &["-6", "-sS", "-m", "30", "--resolve", &resolve, "-o", "/dev/null", "-w", format, &url])
}

const DUAL_STACK: &str = r#"
preset = "tiny"
[router]
explore = 0.0
[[router.records]]
name = "six.demo.test"
type = "AAAA"
data = "fd77:1505::2"
"#;

#[test]
fn edges_of_a_local_network_are_found_and_reached_over_both_families() {
    if !is_on("edges_of_a_local_network_are_found_and_reached_over_both_families", WITH_NETWORK) {
        return;
    }
    let world = World::of_file(DUAL_STACK);
    let edges = ["edge.iad", "edge.fra", "edge.nrt"];
    for (at, id) in (1..).zip(edges) {
        let (http, http6) = (world.address(id, "http"), world.address(id, "http6"));
        assert!(http6.starts_with(&format!("[fd77:1505::{at}]:")), "{id}: {http6}");
        assert_eq!(http.rsplit_once(':').unwrap().1, http6.rsplit_once(':').unwrap().1, "one port");
        assert_eq!(by_curl(&world, id), format!("200 fd77:1505::{at}"));
    }
    assert!(node_in(world.status(), "shield.iad")["addresses"]["http6"].is_null(), "viewers do not go there");

    for (place, pops) in [("tokyo", ["edge.nrt", "edge.fra"]), ("berlin", ["edge.fra", "edge.iad"])] {
        let of = |kind| pops.map(|id| world.address(id, kind).rsplit_once(':').unwrap().0.replace(['[', ']'], ""));
        assert_eq!(answers(&world, place, "www.demo.test", "A").1, of("http"), "{place}");
        assert_eq!(answers(&world, place, "www.demo.test", "AAAA").1, of("http6"), "{place}");
        let https = answers(&world, place, "www.demo.test", "HTTPS").1.join("");
        assert!(https.contains(&format!("ipv6hint={}", of("http6").join(","))), "{https}");
    }
    assert_eq!(answers(&world, "tokyo", "fra.cdn.test", "AAAA").1, ["fd77:1505::2"]);
    let chosen = &world.json(&["explain", "route", "--from", "tokyo"])["chosen"][0];
    assert_eq!(chosen["address6"], world.address("edge.nrt", "http6"), "{chosen}");
}

#[test]
fn a_viewer_pays_the_way_and_is_itself_over_ipv6_too() {
    if !is_on("a_viewer_pays_the_way_and_is_itself_over_ipv6_too", WITH_NETWORK) {
        return;
    }
    let world = World::of_file(DUAL_STACK);
    let address = world.address("edge.fra", "http6");
    let by_address = format!("http://{address}/by-address");
    let wait = world.rtt("tokyo", "fra");
    // Literal addresses, and a name that has no other family.
    for url in [by_address.as_str(), "http://six.demo.test/by-name"] {
        let args = ["curl", "--json", "--from", "tokyo", "--ledger", "--", "-sS", "-g", "-o", "/dev/null", url];
        let ledger: Value = serde_json::from_str(&world.ok(&args)).unwrap();
        let connects = details(&ledger, "connect");
        assert_eq!(connects, [format!("connect {address}")], "{ledger:#}");
        let took = spent(&ledger, "connect")[0];
        assert!(took >= wait - 1.0, "{took} ms over a link of {wait} ms");
    }
    // A name with both is asked for over IPv4.
    let ledger = world.ledger("tokyo", &[], "/");
    assert!(details(&ledger, "connect")[0].starts_with("connect 127.77."), "{ledger:#}");
    let client = world.network("tokyo").split('.').take(3).collect::<Vec<_>>().join(".");
    let line = world.until("the edge has logged the request", || {
        let log = world.ok(&["logs", "edge.fra"]);
        log.lines().find(|line| line.contains("path=\"/by-address\"")).map(str::to_owned)
    });
    assert!(line.contains(&format!("client={client}.")), "{line}");

    // What is broken is broken for both.
    world.ok(&["fault", "edge.fra", "--refuse"]);
    let refused = world.iso(&["curl", "--from", "tokyo", "--", "-sS", "-g", "-i", &by_address]);
    assert!(text(&refused.stdout).contains("viewer_connect_failed"), "{}", text(&refused.stdout));
    world.ok(&["heal"]);
    world.ok(&["drain", "fra"]);
    world.until("clients are led elsewhere", || {
        let chosen = world.json(&["explain", "route", "--from", "berlin"])["chosen"][0]["address6"].clone();
        (chosen == world.address("edge.iad", "http6").as_str()).then_some(())
    });
}

#[test]
fn a_network_that_is_asked_for_must_be_there() {
    let world = World::none();
    let file = world.home().join("wrong.toml");
    for (network, said) in [
        ("fd00:7:7::/64", "sudo ip -6 route add local fd00:7:7::/64 dev lo"),
        ("2001:db8::/64", "is not within fc00::/7"),
        ("fd77:1505::1/128", "leaves no room for clients"),
        ("on", "\"on\" is no network"),
    ] {
        std::fs::write(&file, format!("[edge]\nipv6 = \"{network}\"\n")).unwrap();
        let output = world.iso(&["config", "check", &file.to_string_lossy()]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("wrong.toml:2:8") && error.contains(said), "{error}");
    }
}
