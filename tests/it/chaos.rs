//! Scenarios on real processes, with a verdict.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{World, is_alive, text};

/// Writes a scenario and plays it; the exit code, stdout and stderr.
fn run(world: &World, name: &str, scenario: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let file = world.home().join(name);
    std::fs::write(&file, scenario).unwrap();
    let file = file.to_string_lossy().into_owned();
    let mut all = vec!["chaos", "run", &file];
    all.extend(args);
    let output = world.iso(&all);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const KILL: &str = r#"
title = "A PoP dies under load and nobody notices"
seed = 3
pops = ["FRA", "IAD"]
length = "8s"
at = [{ t = "2s", kill = "fra" }]
expect = [
  { what = "availability", min = 0.99 },
  { what = "detect", pop = "fra", max = "5s" },
  { what = "requests", min = 100 },
]
[load]
from = ["berlin", "new york"]
rps = 30
paths = "zipf:1.1:50"
[routing]
ttl = "2s"
"#;

#[test]
fn a_pop_dies_under_load_and_the_expectations_hold() {
    let world = World::none();
    let html = world.home().join("out/report.html");
    let junit = world.home().join("out/report.xml");
    let (html, junit) = (html.to_string_lossy().into_owned(), junit.to_string_lossy().into_owned());
    let (code, out, err) = run(&world, "kill.toml", KILL, &["--html", &html, "--junit", &junit]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(err.starts_with("seed 3 "), "the seed comes first: {err}");
    assert!(out.contains("0:02 ✗ kill fra") && out.contains("edge.fra judged down by router."), "{out}");
    assert!(out.contains("✓ availability ≥ 99 %") && out.contains("HELD  4 of 4"), "{out}");
    assert!(out.contains("replay: iso chaos run "), "{out}");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(
        page.contains("<svg") && page.contains("kill fra") && !page.contains("http://") && !page.contains("https://")
    );
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(junit.contains("tests=\"4\" failures=\"0\""), "{junit}");
    // Its world is gone, with everything that belonged to it.
    let left: Vec<_> =
        std::fs::read_dir(world.home().join("worlds")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_missed_expectation_is_exit_code_10_and_names_where() {
    let world = World::none();
    let scenario = r#"
pops = ["IAD"]
length = "4s"
at = [{ t = "1s", fault = "primary", status = 503 }]
expect = [{ what = "availability", min = 0.999 }]
[load]
from = "new york"
rps = 20
paths = "zipf:0.5:5000"
[distributions.demo.default]
target = "primary"
"#;
    let (code, out, err) = run(&world, "miss.toml", scenario, &["--json"]);
    assert_eq!(code, Some(10), "{out}\n{err}");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["held"], false);
    let row = &document["scenarios"][0]["expectations"][0];
    assert_eq!((&row["held"], &row["line"]), (&Value::Bool(false), &Value::from(5)));
    let detail = row["detail"].as_str().unwrap();
    assert!(detail.contains("New York") && detail.contains("iad → origin"), "{detail}");
    assert_eq!(document["scenarios"][0]["expectations"][1]["what"], "wrong_bytes");
}

#[test]
fn every_decision_of_a_live_run_comes_out_again() {
    let world = World::none();
    let file = world.home().join("again.toml");
    let scenario = r#"
pops = ["FRA", "IAD"]
length = "4s"
warmup = "1s"
at = [
  { t = "1s", invalidate = "/*" },
  { t = "1500ms", kill = "fra", for = "1s" },
  { t = "2s", fault = "primary", status = 503 },
  { t = "3s", config = { distributions.demo.default.cache_policy = "CachingDisabled" } },
]
[load]
from = ["berlin", "new york"]
rps = 60
paths = "zipf:0.9:200"
"#;
    std::fs::write(&file, scenario).unwrap();
    let output = world.iso(&["chaos", "agree", &file.to_string_lossy(), "--json"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    // How far its figures agree is for a machine that has time.
    assert!(matches!(output.status.code(), Some(0 | 10)), "{out}\n{err}");
    let document: Value = serde_json::from_str(&out).unwrap();
    let counts = &document[0]["replayed"];
    for (whose, least) in [("routes", 1), ("cache", 200), ("origin", 50)] {
        assert_eq!(counts[whose]["differing"], 0, "{counts}\n{err}");
        assert!(counts[whose]["decisions"].as_u64() >= Some(least), "{counts}\n{err}");
    }
}

#[test]
fn a_world_of_a_scenarios_own_does_not_outlive_a_run_that_is_killed() {
    let world = World::none();
    let file = world.home().join("long.toml");
    std::fs::write(&file, "pops = [\"FRA\", \"IAD\"]\nat = [{ t = \"60s\", kill = \"fra\" }]\n").unwrap();
    // Once while the world starts, and once while it is there, with a node that cannot hear.
    for is_up in [false, true] {
        let mut run = world.command(&["chaos", "run", &file.to_string_lossy()]).spawn().unwrap();
        let name = format!("chaos-{}", run.id());
        let dir = world.home().join("worlds").join(&name);
        let record = world.until("it has a record", || std::fs::read(dir.join("world.json")).ok());
        let record: Value = serde_json::from_slice(&record).unwrap();
        let mut pids = vec![record["pid"].as_u64().unwrap()];
        if is_up {
            world.ok(&["wait", "--world", &name, "--timeout", "30s"]);
            world.ok(&["pause", "edge.fra", "--world", &name]);
            let status = world.json(&["status", "--world", &name]);
            pids.extend(status["nodes"].as_array().unwrap().iter().filter_map(|node| node["pid"].as_u64()));
        }
        run.kill().unwrap();
        run.wait().unwrap();
        world.until("its world is gone", || (!dir.exists() && !pids.iter().any(|pid| is_alive(*pid))).then_some(()));
    }
}

#[test]
fn a_scenario_that_is_wrong_does_not_start_anything() {
    let world = World::none();
    let began = Instant::now();
    let (code, out, err) = run(&world, "bad.toml", "at = [\n  { t = \"1s\", kill = \"frx\" },\n]\n", &[]);
    assert_eq!(code, Some(11), "{out}\n{err}");
    assert!(err.contains("bad.toml:2:22: at.0.kill: this world has no node, PoP or origin \"frx\""), "{err}");
    assert!(err.contains("{ t = \"1s\", kill = \"frx\" }") && err.contains("^^^^^"), "{err}");
    assert!(err.contains("hint: did you mean `fra`?"), "{err}");
    assert!(began.elapsed() < Duration::from_secs(5) && !world.home().join("worlds").exists());
    let (code, _, err) = {
        let output = world.iso(&["chaos", "run", "edge-dyes"]);
        (output.status.code(), (), text(&output.stderr))
    };
    assert!(code == Some(11) && err.contains("did you mean `edge-dies`?"), "{err}");
}

#[test]
fn a_run_in_a_world_that_runs_heals_what_it_broke() {
    let world = World::start(&["--pops", "FRA,IAD"]);
    let scenario =
        "length = \"2s\"\nwarmup = \"1s\"\nat = [{ t = \"500ms\", kill = \"fra\" }, { t = \"1s\", drain = \"iad\" }]\n";
    let (code, out, err) = run(&world, "here.toml", scenario, &["--world", "default"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    world.ok(&["wait", "--timeout", "20s"]);
    let status = world.json(&["status"]);
    assert_eq!(
        (status["faults"].as_array().map(Vec::len), status["drained"].as_array().map(Vec::len)),
        (Some(0), Some(0))
    );
}

#[test]
fn what_a_run_that_is_killed_broke_in_a_world_that_runs_ends_by_itself() {
    let world = World::start(&["--pops", "FRA,IAD"]);
    let file = world.home().join("here.toml");
    let scenario = "length = \"4s\"\nwarmup = \"0s\"\nat = [\n  { t = \"0s\", kill = \"fra\" },\n  \
                    { t = \"0s\", fault = \"primary\", status = 503, for = \"3s\" },\n  \
                    { t = \"0s\", link = [\"fra\", \"iad\"], loss = 0.2 },\n]\n";
    std::fs::write(&file, scenario).unwrap();
    let args = ["chaos", "run", &file.to_string_lossy(), "--world", "default"];
    let mut run = world.command(&args).spawn().unwrap();
    let faults = || world.status_now()["faults"].as_array().unwrap().clone();
    let broken = world.until("everything is broken", || Some(faults()).filter(|faults| faults.len() == 3));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(broken.iter().all(|fault| fault["ends_in_ms"].is_u64()), "{broken:?}");
    world.until("everything is healed", || faults().is_empty().then_some(()));
    world.until_health("edge.fra", "up");
}

#[test]
fn the_library_is_listed() {
    let world = World::none();
    let listed: Value = serde_json::from_str(&world.ok(&["chaos", "list", "--json"])).unwrap();
    let names: Vec<&str> =
        listed["scenarios"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.len() >= 16 && names.contains(&"edge-dies") && names.contains(&"fastly-2021-06-08"), "{names:?}");
}

#[test]
fn a_swarm_is_the_same_with_any_number_of_threads_and_says_how_to_play_each_seed_again() {
    let world = World::none();
    let swarm = |threads: &str| world.ok(&["chaos", "swarm", "--first", "40", "--seeds", "3", "--threads", threads]);
    let (one, three) = (swarm("1"), swarm("3"));
    assert_eq!(one, three);
    assert!(one.contains("seed 41") && one.contains("iso chaos swarm --first 41 --seeds 1"), "{one}");
    assert!(one.ends_with("HELD  3 of 3 seeds\n"), "{one}");
    let document: Value = serde_json::from_str(&world.ok(&["chaos", "swarm", "--seeds", "1", "--json"])).unwrap();
    assert_eq!((&document["held"], &document["seeds"][0]["seed"]), (&Value::Bool(true), &Value::from(1)));
}

#[test]
fn one_scenario_under_many_seeds_has_one_verdict_that_says_how_far_they_lie_apart() {
    let world = World::none();
    let (code, out, err) = run(&world, "kill.toml", KILL, &["--sim", "--seeds", "3", "--json"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    let document: Value = serde_json::from_str(&out).unwrap();
    let one = &document["scenarios"][0];
    assert_eq!((&one["first_seed"], &one["seeds_held"]), (&Value::from(3), &Value::from(3)));
    let requests = &one["expectations"][2];
    let figure = |name: &str| requests[name].as_f64().unwrap();
    assert!(figure("min") < figure("median") && figure("median") < figure("max"), "{requests}");
    let missed = KILL.replace("min = 100", "max = 1");
    let (junit, html) = (world.home().join("out/seeds.xml"), world.home().join("out/seeds.html"));
    let reports = ["--junit", junit.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let (code, out, err) = run(&world, "missed.toml", &missed, &[&["--sim", "--seeds", "3"], &reports[..]].concat());
    assert_eq!(code, Some(10), "{out}\n{err}");
    let (junit, html) = (std::fs::read_to_string(junit).unwrap(), std::fs::read_to_string(html).unwrap());
    assert!(junit.matches("<testsuite ").count() == 3 && junit.contains(", seed 5\" tests="), "{junit}");
    assert!(html.contains("0 of 3 seeds held") && html.contains("The worst of these seeds is "), "{html}");
    assert!(out.contains("0 of 3") && out.contains("missed by 3, 4, 5") && out.contains("--seed 3"), "{out}");
}

#[test]
fn a_simulation_that_needs_more_memory_than_allowed_says_so_before_it_starts() {
    let world = World::none();
    for seeds in [&[][..], &["--seeds", "2"]] {
        let (code, out, err) = run(&world, "kill.toml", KILL, &[&["--sim", "--memory", "1MiB"], seeds].concat());
        assert_eq!(code, Some(11), "{out}\n{err}");
        assert!(err.contains("MiB of memory, and may have 1 MiB"), "{err}");
    }
    let (code, _, err) = run(&world, "kill.toml", KILL, &["--memory", "1GiB"]);
    assert!(code == Some(2) && err.contains("add --sim"), "{err}");
}

const PROGRAM: &str = r#"
seed = 3
pops = ["FRA", "IAD"]
length = "8s"
expect = [
  { what = "availability", min = 0.99 },
  { what = "requests", pop = "fra", after = "4s", max = 0 },
  { what = "counter.router_program_answers_total", min = 10 },
]
[load]
from = ["berlin", "new york"]
rps = 30
idle = "0s"
[router]
ttl = "1s"
program = """while read -r question; do echo '"iad"'; done"""
program_deadline = "1s"
"#;

#[test]
fn a_program_routes_a_scenario_live_and_in_virtual_time_and_the_verdict_says_what_came_of_it() {
    let world = World::none();
    for how in [&["--sim"][..], &[]] {
        let (code, out, err) = run(&world, "program.toml", PROGRAM, how);
        assert_eq!(code, Some(0), "{how:?}: {out}\n{err}");
        assert!(out.contains("\nprogram: ") && out.contains(" questions, all answered\n"), "{how:?}: {out}");
    }
    // It ends at its first question: clients go by the lowest estimate, and nobody is harmed.
    let ends = PROGRAM.replace("while read -r question; do echo '\"iad\"'; done", "read -r question; exit 3");
    for how in [&["--sim"][..], &[]] {
        let (code, out, err) = run(&world, "program.toml", &ends, how);
        assert_eq!(code, Some(10), "{how:?}: {out}\n{err}");
        assert!(out.contains("✓ availability") && out.contains("✗ requests fra"), "{how:?}: {out}");
        assert!(out.contains("times died (route_program_died)"), "{how:?}: {out}");
    }
    // In virtual time one that never says anything is waited for once by each router, and not started again.
    let hangs = PROGRAM.replace("while read -r question; do echo '\"iad\"'; done", "exec sleep 600");
    let hangs = hangs.replace("program_deadline", "program_patience = \"100ms\"\nprogram_deadline");
    let (code, out, err) = run(&world, "program.toml", &hangs, &["--sim"]);
    assert_eq!(code, Some(10), "{out}\n{err}");
    assert!(out.contains("times hung and was killed (route_program_hung)"), "{out}");
    let (_, out, _) = run(&world, "program.toml", &ends, &["--sim", "--json", "--seeds", "2"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["scenarios"][0]["program"]["answers"], 0, "{document}");
}

#[test]
fn an_invalidation_that_a_node_never_hears_of_does_not_keep_a_run_from_its_end() {
    let world = World::none();
    let scenario = r#"
pops = ["FRA"]
length = "3s"
at = [{ t = "1s", pause = "shield.*" }, { t = "1s", invalidate = "/*" }]
"#;
    let began = Instant::now();
    let (code, out, err) = run(&world, "unheard.toml", scenario, &[]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn a_node_that_was_killed_in_the_same_moment_need_not_hear_of_a_fault() {
    let world = World::none();
    let scenario = r#"
pops = ["FRA", "IAD"]
length = "3s"
at = [
  { t = "1s", kill = "fra" },
  { t = "1s", fault = "primary", status = 503, rate = 0.5 },
  { t = "1s", drain = "iad" },
  { t = "2s", kill = "router.*" },
  { t = "2s", undrain = "iad" },
]
"#;
    let (code, out, err) = run(&world, "at-once.toml", scenario, &[]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains("✗ fault origin.primary") || out.contains("✗ fault primary"), "{out}");
}
