//! Load: every request is told of, pays its way, and starts when it is meant to, whatever became of the others.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{World, text};

fn number(document: &Value, path: &str) -> f64 {
    document.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {document:#}"))
}

/// Four standard deviations of a Poisson variable around what was asked for.
fn is_likely(requests: f64, asked: f64) -> bool {
    (requests - asked).abs() <= 4.0 * asked.sqrt()
}

#[test]
fn the_world_is_served_and_every_request_is_told_of() {
    let world = World::start(&[]);
    let load = ["load", "--from", "world", "--rps", "200", "--for", "3s", "--seed", "7"];
    let seen = world.json(&load);
    let requests = number(&seen, "/requests");
    assert!(is_likely(requests, 600.0), "{requests}");
    assert_eq!((number(&seen, "/errors"), number(&seen, "/bodies_wrong")), (0.0, 0.0), "{seen:#}");
    assert_eq!(number(&seen, "/bodies_checked"), requests);
    assert_eq!(number(&seen, "/generator/intended"), requests);
    assert_eq!((number(&seen, "/seed"), seen["complete"].as_bool()), (7.0, Some(true)));
    let parts =
        |key: &str| -> f64 { seen[key].as_object().unwrap().values().map(|group| number(group, "/requests")).sum() };
    assert_eq!((parts("continents"), parts("pops")), (requests, requests));
    assert!(seen["pops"].as_object().unwrap().len() >= 4, "{seen:#}");
    // The same seed makes the same requests; a table has them too.
    let table = world.ok(&load);
    assert!(table.contains(&format!("requests  {requests}")) && table.contains("Europe"), "{table}");
}

#[test]
fn a_load_that_comes_before_its_world_is_up_waits_for_it() {
    let world = World::none();
    world.ok(&["up", "-d", "--preset", "tiny", "--base-port", "0"]);
    let seen = world.json(&["load", "--rps", "50", "--for", "1s"]);
    assert_eq!(number(&seen, "/errors"), 0.0, "{seen:#}");
    // A viewer that was taken away on purpose comes back no sooner for waiting.
    let viewer = world.status_now()["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|node| node["id"].as_str().filter(|_| node["role"] == "viewer").map(str::to_owned));
    let viewer = viewer.unwrap();
    world.ok(&["kill", &viewer]);
    let refused = world.iso(&["load", "--rps", "50", "--for", "1s"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains(&format!("{viewer} was stopped; `iso start {viewer}` starts it")), "{said}");
}

#[test]
fn a_viewer_pays_its_way_and_other_paths_and_sizes_can_be_asked_for() {
    let world = World::start(&["--pops", "IAD"]);
    let rtt = world.rtt("tokyo", "IAD");
    let load = ["load", "--from", "tokyo", "--rps", "40", "--for", "2s", "--paths", "zipf:0.8:5", "--size", "2KiB"];
    let seen = world.json(&load);
    assert_eq!(number(&seen, "/bytes"), 2048.0 * number(&seen, "/requests"), "{seen:#}");
    // Nobody is quicker than the light, and a kept connection needs one round trip.
    let p50 = number(&seen, "/latency_ms/p50");
    assert!((rtt * 0.9..rtt * 3.5).contains(&p50), "{p50} ms for a round trip of {rtt} ms");
    let trace = world.home().join("t.csv");
    std::fs::write(&trace, "5,1,100\n5,2,200\n6,1,100\n").unwrap();
    let traced =
        world.json(&["load", "--from", "IAD", "--for", "900ms", "--paths", &format!("trace:{}", trace.display())]);
    assert_eq!((number(&traced, "/requests"), number(&traced, "/bytes")), (2.0, 300.0), "{traced:#}");
}

#[test]
fn a_paused_edge_shows_in_latencies_that_count_from_the_intended_start() {
    let world = World::start(&["--pops", "IAD"]);
    let pause = Duration::from_millis(1500);
    let mut command =
        world.command(&["load", "--from", "IAD", "--rps", "100", "--for", "4s", "--users", "5", "--json"]);
    let load = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    world.until("the load has begun", || {
        let metrics = world.control("/metrics").1;
        let line = metrics.lines().find(|line| line.starts_with("iso_viewer_load_requests_total"))?.to_owned();
        line.rsplit(' ').next()?.parse::<f64>().ok().filter(|made| *made > 20.0)
    });
    world.ok(&["pause", "IAD", "--for", &format!("{}ms", pause.as_millis())]);
    let output = load.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(is_likely(number(&seen, "/requests"), 400.0), "{seen:#}");
    // A closed loop of five users would have had some thirty slow requests; here all that were meant for the pause are.
    let (max, p90) = (number(&seen, "/latency_ms/max"), number(&seen, "/latency_ms/p90"));
    let pause_ms = pause.as_millis() as f64;
    assert!(max >= 0.8 * pause_ms, "{seen:#}");
    assert!(p90 >= 0.4 * pause_ms, "{seen:#}");
    assert!(number(&seen, "/late_ms/p99") < 0.3 * pause_ms, "{seen:#}");
}

#[test]
fn an_interrupted_load_gives_the_figures_so_far() {
    let world = World::start(&["--pops", "IAD"]);
    let mut command = world.command(&["load", "--from", "IAD", "--rps", "50", "--for", "10m", "--json"]);
    let mut load = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut talk = BufReader::new(load.stderr.take().unwrap());
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    assert!(line.starts_with("seed "), "{line}");
    world.until("requests were made", || {
        let metrics = world.control("/metrics").1;
        let line = metrics.lines().find(|line| line.starts_with("iso_viewer_load_requests_total"))?.to_owned();
        line.rsplit(' ').next()?.parse::<f64>().ok().filter(|made| *made > 20.0)
    });
    let pid = rustix::process::Pid::from_child(&load);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&seen, "/requests") > 5.0 && seen["complete"].as_bool() == Some(false), "{seen:#}");
}

#[test]
fn what_cannot_be_played_is_refused_before_anything_starts() {
    let world = World::start(&["--pops", "IAD"]);
    for (args, expected) in [
        (&["--from", "tokio", "--rps", "1", "--for", "1s"][..], "Tokyo"),
        (&["--rps", "0", "--for", "1s"], "more than 0"),
        (&["--for", "1s"], "--rps"),
        (&["--rps", "1", "--for", "1s", "--paths", "zipf:1"], "zipf:1.1:500"),
        (&["--rps", "1", "--for", "1s", "--paths", "trace:gone.csv"], "gone.csv"),
        (&["--rps", "1", "--for", "1s", "--distribution", "nope"], "no such distribution"),
    ] {
        let output = world.iso(&[&["load"], args].concat());
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{args:?}: {said}");
    }
}
