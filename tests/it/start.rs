//! Starting and stopping: what `iso up` makes, what it leaves behind, what it refuses.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    harness::{World, is_alive, json_of, node_in, text},
    raw::until_counted,
};

#[test]
fn up_without_arguments_is_six_pops_a_shield_two_routers_and_two_origins() {
    let world = World::start(&[]);
    let status = world.status_now();
    let ids: Vec<&str> = status["nodes"].as_array().unwrap().iter().filter_map(|node| node["id"].as_str()).collect();
    for id in [
        "edge.iad",
        "edge.fra",
        "edge.nrt",
        "edge.sin",
        "edge.gru",
        "edge.syd",
        "shield.iad",
        "router.iad",
        "router.fra",
        "origin.primary",
        "origin.secondary",
    ] {
        assert!(ids.contains(&id), "{id} is not in {ids:?}");
        assert_eq!(node_in(&status, id)["health"], "up", "{id}");
    }
    for key in ["world", "seed", "nodes", "faults", "links", "proxy", "dashboard"] {
        assert!(!status[key].is_null(), "{key} is missing");
    }
    let edge = node_in(&status, "edge.fra");
    for key in ["id", "role", "pop", "site", "pid", "health", "addresses"] {
        assert!(!edge[key].is_null(), "{key} is missing in {edge}");
    }
    assert!(edge["addresses"]["http"].as_str().unwrap().starts_with("127.77."), "{edge}");
    assert!(edge["addresses"]["admin"].is_string(), "{edge}");
    // 6 edges → shield, 6 → two origins, shield → two origins, two routers → 6, viewers → 6 and → both routers, control → 9.
    let links = status["links"]["count"].as_u64().unwrap();
    assert!(links >= 40, "{links} links were measured");
    let worst = status["links"]["worst_error_ms"].as_f64().unwrap();
    // A shared machine that builds something else at the same time is not idle.
    assert!(worst < 30.0, "worst error {worst} ms");
}

#[test]
fn down_leaves_no_process_behind() {
    let world = World::start(&["--preset", "tiny"]);
    let pids: Vec<u64> =
        world.status()["nodes"].as_array().unwrap().iter().filter_map(|node| node["pid"].as_u64()).collect();
    assert!(pids.len() >= 7, "{pids:?}");
    world.ok(&["down"]);
    for pid in pids {
        assert!(!is_alive(pid), "process {pid} still lives");
    }
    let gone = world.iso(&["status"]);
    assert_eq!(gone.status.code(), Some(3), "{}", text(&gone.stderr));
}

#[test]
fn killing_iso_up_kills_every_node_even_a_paused_one() {
    let world = World::none();
    let mut up = world
        .command(&["up", "--preset", "tiny", "--base-port", "0", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let status: serde_json::Value = serde_json::from_str(&line).unwrap();
    let pids: Vec<u64> = status["nodes"].as_array().unwrap().iter().filter_map(|node| node["pid"].as_u64()).collect();
    world.ok(&["pause", "edge.fra"]);
    up.kill().unwrap();
    up.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < deadline, "some of {pids:?} outlived iso up");
        std::thread::yield_now();
    }
    // What it left is cleaned by the next start, which says so.
    let again = world.iso(&["up", "-d", "--wait", "--preset", "tiny", "--base-port", "0"]);
    let said = text(&again.stderr);
    assert!(again.status.success(), "{said}");
    assert!(said.contains("ended without cleaning up; its state was removed"), "{said}");
}

#[test]
fn a_request_in_flight_finishes_while_the_world_stops() {
    let world = World::start(&["--preset", "tiny"]);
    let url = format!("http://{}/direct?delay=2500ms", world.address("edge.fra", "http"));
    let direct =
        ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: www.demo.test", "--max-time", "30", &url];
    let mut direct_curl = std::process::Command::new("curl");
    let through =
        ["curl", "--from", "berlin", "--", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30"];
    let mut through_curl = world.command(&[&through[..], &["http://www.demo.test/through?delay=2500ms"]].concat());
    let in_flight = [direct_curl.args(direct), &mut through_curl]
        .map(|curl| curl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    until_counted(&world, "iso_origin_requests_total", "origin.primary", 2);
    let down = world.iso(&["down"]);
    let said = text(&down.stderr);
    assert!(down.status.success(), "{said}");
    assert!(said.contains("waiting for viewer.proxy"), "{said}");
    for curl in in_flight {
        let output = curl.wait_with_output().unwrap();
        assert_eq!(text(&output.stdout), "200", "{}", text(&output.stderr));
    }
}

#[test]
fn a_first_screen_that_nobody_reads_is_no_failure() {
    let world = World::none();
    let args = ["up", "-d", "--wait", "--preset", "tiny", "--base-port", "0"];
    let mut up = world.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(up.stdout.take());
    let output = up.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).contains("panicked")), (Some(0), false), "{output:?}");
}

#[test]
fn a_busy_port_is_one_sentence_with_its_owner_and_the_fix() {
    let world = World::none();
    // Above the blocks of other worlds and below the ports of outgoing connections. Another port of the block may still be
    // somebody else's, and is then the one that is named.
    for attempt in 0u16.. {
        let base = 30_000 + (attempt % 13) * 200;
        let port = base + 88;
        let Ok(_taken) = TcpListener::bind(("127.0.0.1", port)) else {
            assert!(attempt < 26, "no port of thirteen is free");
            continue;
        };
        let output = world.iso(&["up", "--preset", "tiny", "--base-port", &base.to_string()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error:")).collect();
        let [error] = errors.as_slice() else { panic!("{said}") };
        assert!(error.contains("--base-port"), "{error}");
        if attempt < 26 && !error.contains(&port.to_string()) {
            continue;
        }
        assert!(error.contains(&port.to_string()), "{error}");
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        return;
    }
}

#[test]
fn two_worlds_run_side_by_side_and_are_told_apart() {
    let world = World::start(&["--preset", "tiny"]);
    let other = world.iso(&["up", "-d", "--wait", "--preset", "tiny", "--base-port", "0", "--world", "b", "--json"]);
    assert!(other.status.success(), "{}", text(&other.stderr));
    assert_eq!(json_of(&other)["world"], "b");
    assert_eq!(world.status_now()["world"], "default");
    let twice = world.iso(&["up", "-d", "--preset", "tiny", "--base-port", "0"]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(text(&twice.stderr).contains("is running already"), "{}", text(&twice.stderr));
    world.ok(&["down", "--world", "b"]);
    assert_eq!(world.iso(&["status", "--world", "b"]).status.code(), Some(3));
    assert_eq!(world.node("edge.fra")["health"], "up");
}

#[test]
fn a_crashed_node_comes_back_and_the_status_says_so() {
    let world = World::start(&["--preset", "tiny"]);
    let pid = world.node("edge.fra")["pid"].as_u64().unwrap();
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let node = world.until("edge.fra has a new process", || {
        let node = world.node("edge.fra");
        (node["pid"].as_u64().is_some_and(|now| now != pid) && node["health"] == "up").then_some(node)
    });
    assert_eq!(node["restarts"], 1, "{node}");
}

#[test]
fn wrong_config_names_file_line_caret_and_the_nearest_name() {
    let world = World::none();
    let file = world.home().join("wrong.toml");
    for (wrong, expected) in [
        ("seed = 1\n[router]\nanswer = 2\n", ["wrong.toml:3:1", "did you mean `answers`?", "^^^^^^"]),
        ("[edge]\neviction = \"sive\"\n", ["wrong.toml:2:12", "did you mean `sieve`?", "^^^^^^"]),
        ("[edge]\nadmission = \"twice\"\n", ["wrong.toml:2:13", "all, second-request", "^^^^^^^"]),
        ("pops = [\"IAD\", \"FRX\"]\n", ["wrong.toml:1:16", "FRX", "^^^^^"]),
        ("[origins.app]\nsite = \"us-east-9\"\n", ["wrong.toml:2:8", "us-east-", "^^^"]),
        ("[edge]\ninflight_bytes = \"0MiB\"\n", ["wrong.toml:2:18", "no miss could be answered", "^^^^"]),
        ("[edge]\ndisk = \"1MiB\"\n", ["wrong.toml:2:8", "less than the 16MiB that a disk tier needs", "^^^^"]),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let path = file.to_str().unwrap();
        for args in [vec!["config", "check", path], vec!["up", "--config", path]] {
            let output = world.iso(&args);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
            for part in expected {
                assert!(said.contains(part), "{part:?} is not in {said}");
            }
        }
    }
}

#[test]
fn a_misspelt_place_gets_did_you_mean() {
    let world = World::none();
    let output = world.iso(&["world", "rtt", "tokio", "nrt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).to_lowercase().contains("tokyo"), "{}", text(&output.stderr));
}

#[test]
fn ctrl_c_drains_and_prints_a_summary() {
    let world = World::none();
    let mut up = world
        .command(&["up", "--preset", "tiny", "--base-port", "0", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let status: serde_json::Value = serde_json::from_str(&line).unwrap();
    world.curl("berlin", &["-o", "/dev/null", "http://www.demo.test/"]);
    let interrupt = std::process::Command::new("kill").args(["-INT", &up.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = up.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("1 requests at edges") && said.contains("1 DNS queries"), "{said}");
    assert!(said.contains("stopped in"), "{said}");
    let pids = status["nodes"].as_array().unwrap().iter().filter_map(|node| node["pid"].as_u64());
    assert_eq!(pids.filter(|pid| is_alive(*pid)).count(), 0);
}
