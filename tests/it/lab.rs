//! Routing policies of somebody else: in studies, in labs, and in a world that runs. They are written in Python 3.

use std::{fs, path::Path, process::Stdio, time::Instant};

use crate::harness::{World, is_alive, json_of, root, text};

/// A router that answers with what `choose`, an expression over `pops`, says.
fn router(choose: &str) -> String {
    format!(
        "import json, os, sys, time\nfor n, line in enumerate(sys.stdin):\n    pops = json.loads(line)['pops']\n    \
         print(json.dumps({choose}), flush=True)\n"
    )
}

/// Near, alive, and with some room left.
const GOOD: &str =
    "[p['id'] for p in sorted(pops, key=lambda p: (not p['healthy'], (p['load'] or 0) > 0.8, p['rtt_ms']))][:3]";
/// Whoever is listed first, dead or not.
const BAD: &str = "pops[1]['id']";
/// Says nothing any more after some time.
const HANGING: &str = "time.sleep(3600) if n > 100 else pops[0]['id']";

fn write(path: &Path, source: &str) -> String {
    fs::write(path, source).unwrap();
    format!("python3 {}", path.display())
}

#[test]
fn a_program_is_judged_in_the_table_of_the_others_and_the_same_comes_out_again() {
    let world = World::none();
    let near =
        write(&world.home().join("near.py"), &router("min((p['rtt_ms'], p['id']) for p in pops if p['healthy'])[1]"));
    let csv = world.home().join("rows.csv");
    let policies = format!("latency,program:{near}");
    let args = ["study", "routing", "--cities", "40", "--requests", "4000", "--warmup", "10s", "--for", "30s"];
    let args = [&args[..], &["--policies", &policies, "--kill", "FRA@10s", "--csv", csv.to_str().unwrap()]].concat();
    let table = world.ok(&args);
    assert!(table.contains("program:python3"), "{table}");
    assert!(table.contains("1600 questions, all answered"), "{table}");
    let first = fs::read(&csv).unwrap();
    assert_eq!(world.ok(&args), table);
    assert_eq!(fs::read(&csv).unwrap(), first);
    let report = json_of(&world.iso(&[&args[..], &["--json"]].concat()));
    let stretch = |row: usize| report["rows"][row]["stretch"]["mean"].as_f64().unwrap();
    assert!(stretch(1) < stretch(0) * 1.1, "{} {}", stretch(0), stretch(1));
}

#[test]
fn a_program_that_a_plan_names_is_started_in_the_folder_of_the_plan() {
    let world = World::none();
    let folder = world.home().join("plan");
    fs::create_dir(&folder).unwrap();
    write(&folder.join("near.py"), &router("open('asked', 'w').close() or 'iad'"));
    let plan = folder.join("plan.toml");
    let text = "study = \"routing\"\n[set]\ncities = 10\nrequests = 1000\nwarmup = \"2s\"\nfor = \"3s\"\n\
                policies = \"program:python3 near.py\"\n";
    fs::write(&plan, text).unwrap();
    world.ok(&["study", "run", plan.to_str().unwrap(), "--out", folder.join("rows.csv").to_str().unwrap()]);
    assert!(folder.join("asked").exists());
}

#[test]
fn a_program_that_fails_in_a_study_is_named_and_clients_go_by_the_lowest_estimate() {
    let world = World::none();
    for (choose, said) in [
        ("os._exit(3)", "times died (route_program_died: exit status: 3)"),
        ("time.sleep(3600) if n > 20 else 'iad'", "times hung and was killed (route_program_hung: "),
        ("7", "lines that are no answer (route_program_nonsense: \"7\")"),
        ("'lhr'", "answers with a PoP that is not there (route_program_unknown_pop: lhr)"),
    ] {
        let line = write(&world.home().join("bad.py"), &router(choose));
        let table = world.ok(&[
            "study",
            "routing",
            "--cities",
            "10",
            "--requests",
            "1000",
            "--warmup",
            "2s",
            "--for",
            "3s",
            "--policies",
            "latency",
            "--router",
            &line,
        ]);
        assert!(table.contains(said), "{choose}: {table}");
        assert!(table.contains("others went by the lowest estimate"), "{choose}: {table}");
    }
}

#[test]
fn what_a_program_has_forked_does_not_outlive_an_asker_that_was_killed() {
    let world = World::none();
    let file = world.home().join("forked");
    // The shell forks, and neither it nor what it forked ever reads a question.
    let line = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
    let study = ["study", "routing", "--cities", "10", "--requests", "100", "--policies", "random", "--router", &line];
    let mut asker = world.command(&study).stdout(Stdio::null()).spawn().unwrap();
    let forked = world.until("it has forked", || fs::read_to_string(&file).ok()?.trim().parse().ok());
    assert!(is_alive(forked));
    asker.kill().unwrap();
    asker.wait().unwrap();
    world.until("it is gone", || (!is_alive(forked)).then_some(()));
}

#[test]
fn a_lab_is_started_tested_and_handed_in() {
    let world = World::none();
    assert!(world.ok(&["lab", "list"]).contains("cdn-routing"));
    let dir = world.home().join("mine");
    let at = dir.to_str().unwrap();
    world.ok(&["lab", "start", "cdn-routing", "--dir", at]);
    let again = world.iso(&["lab", "start", "cdn-routing", "--dir", at]);
    assert_eq!(again.status.code(), Some(2), "nobody's work is written over");
    let tested = world.iso(&["lab", "test", "--dir", at]);
    let said = text(&tested.stdout);
    assert_eq!(tested.status.code(), Some(10), "{said}{}", text(&tested.stderr));
    assert!(
        said.contains("✓ never picks a dead PoP") && said.contains("✗ moves away from an overloaded PoP"),
        "{said}"
    );
    assert!(said.contains(" stayed on ") && said.contains("origin-only 0 · random "), "{said}");

    // One that minds loads is better, and says so every time.
    fs::write(dir.join("router.py"), router(GOOD)).unwrap();
    let better = json_of(&world.iso(&["lab", "--json", "test", "--dir", at]));
    let baselines = &better["baselines"];
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert!(number(&better["score"]) > number(&baselines["geo"]), "{better}");
    assert!(number(&baselines["reference"]) > number(&baselines["random"]), "{better}");
    let once_more = json_of(&world.iso(&["lab", "--json", "test", "--dir", at]));
    assert_eq!((&better["score"], &better["p95_ms"]), (&once_more["score"], &once_more["p95_ms"]));
}

#[test]
fn a_class_is_graded_whatever_it_hands_in() {
    let world = World::none();
    let dir = world.home().join("class");
    let at = dir.to_str().unwrap();
    world.ok(&["lab", "start", "cdn-routing", "--dir", at]);
    let mut bundles = vec![];
    for (student, choose) in [("good", GOOD), ("bad", BAD), ("hanging", HANGING)] {
        fs::write(dir.join("router.py"), router(choose)).unwrap();
        let out = world.home().join(format!("{student}.bundle")).to_str().unwrap().to_owned();
        world.ok(&["lab", "submit", "--bundle", "--dir", at, "--student", student, "--out", &out]);
        bundles.push(out);
    }
    let tampered = world.home().join("tampered.bundle");
    fs::write(&tampered, fs::read_to_string(&bundles[1]).unwrap().replace("pops[1]", "pops[2]")).unwrap();
    bundles.push(tampered.to_str().unwrap().to_owned());
    let bundles: Vec<&str> = bundles.iter().map(String::as_str).collect();
    let mistyped = world.iso(&["lab", "grade", bundles[0], "gone.bundle"]);
    assert_eq!(mistyped.status.code(), Some(2), "a name that was mistyped is nobody's score");
    let began = Instant::now();
    let args = [&["lab", "grade", "--csv", "--seed", "8412"][..], &bundles].concat();
    let graded = world.iso(&args);
    assert!(began.elapsed().as_secs() < 120, "one that hangs holds up nobody: {:?}", began.elapsed());
    let (csv, said) = (text(&graded.stdout), text(&graded.stderr));
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["student", "score", "p95_ms", "dead_picks", "overload_s"]);
    let names: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(names, ["good", "bad", "hanging", "tampered"]);
    let number = |row: usize, column: usize| rows[row][column].parse::<f64>().unwrap();
    assert!(number(1, 1) > number(2, 1) + 20.0, "{csv}");
    assert!(number(1, 3) == 0.0 && number(1, 4) < number(2, 4), "{csv}");
    assert!(said.contains("hanging: router: ") && said.contains("times hung and was killed"), "{said}");
    assert_eq!(rows[4][1..], ["0.0", "", "", ""], "{csv}");
    assert!(said.contains("tampered: refused: it was changed after it was sealed"), "{said}");
}

#[test]
fn a_program_routes_a_world_that_runs() {
    let world = World::none();
    let line = write(&world.home().join("far.py"), &router("'nrt'"));
    let world = world.up(&["--preset", "tiny", "--router", &line]);
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    let why = loop {
        let why = world.json(&["explain", "route", "--from", "berlin"]);
        if why["chosen"][0]["reason"] == "route_program" || Instant::now() > deadline {
            break why;
        }
    };
    assert_eq!((&why["policy"], &why["chosen"][0]["pop"]), (&"program".into(), &"NRT".into()), "{why}");
    world.ok(&["route", "policy", "latency"]);
    let why = world.json(&["explain", "route", "--from", "berlin"]);
    assert_eq!(why["chosen"][0]["pop"], "FRA", "{why}");
    world.ok(&["route", "policy", "program"]);
}

#[test]
fn a_module_of_webassembly_routes_as_a_program_of_its_kind_does() {
    let world = World::none();
    let nearest = root().join("examples/policies/nearest.wat");
    let first = "pops[min(((p['rtt_ms'], i) for i, p in enumerate(pops) if p['healthy']), default=(0, 0))[1]]['id']";
    let twin = write(&world.home().join("near.py"), &router(first));
    let module = format!("wasm:{}", nearest.display());
    let report = json_of(&world.iso(&[
        "study",
        "routing",
        "--json",
        "--cities",
        "30",
        "--requests",
        "3000",
        "--warmup",
        "5s",
        "--for",
        "20s",
        "--kill",
        "FRA@5s",
        "--policies",
        "latency",
        "--router",
        &module,
        "--router",
        &twin,
    ]));
    let (wasm, python) = (&report["rows"][1], &report["rows"][2]);
    assert_eq!(wasm["program"]["answers"], wasm["program"]["questions"], "{wasm}");
    for figure in ["p50_ms", "p99_ms", "stretch", "imbalance"] {
        assert_eq!(wasm[figure], python[figure], "{figure}");
    }
}

#[test]
fn a_module_of_webassembly_evicts_and_a_bad_one_is_one_clear_error() {
    let world = World::none();
    let fifo = format!("fifo,wasm:{}", root().join("examples/policies/fifo.wat").display());
    let study = [
        "study",
        "cache",
        "--workload",
        "zipf:0.9:2000",
        "--requests",
        "5000",
        "--size",
        "5%",
        "--edges",
        "2",
        "--shield",
        "20%",
    ];
    let rows = json_of(&world.iso(&[&study[..], &["--json", "--policy", &fifo]].concat()));
    let (ours, theirs) = (&rows["rows"][0], &rows["rows"][1]);
    assert_eq!(
        (&ours["edge_miss_ratio"], &ours["origin_ratio"]),
        (&theirs["edge_miss_ratio"], &theirs["origin_ratio"])
    );
    let trace = world.home().join("t.csv");
    fs::write(&trace, "time,id,size\n0,1,4\n1,2,4\n2,3,4\n3,1,4\n").unwrap();
    let replayed =
        world.json(&["study", "replay", "--trace", trace.to_str().unwrap(), "--policy", &fifo, "--size", "8"]);
    assert_eq!(replayed["rows"][0]["misses"], replayed["rows"][1]["misses"]);

    let bad = world.home().join("bad.wat");
    for (text, study, said) in [
        (
            "(module (import \"env\" \"now\" (func)))",
            "cache",
            "imports env.now, and a policy is given nothing to import",
        ),
        ("(module)", "cache", "exports no function on_insert(i64, i64)"),
        ("(module)", "routing", "it exports no memory"),
        ("(module", "routing", "is no WebAssembly module"),
    ] {
        fs::write(&bad, text).unwrap();
        let module = format!("wasm:{}", bad.display());
        let args = match study {
            "cache" => ["study", "cache", "--policy", &module],
            _ => ["study", "routing", "--router", &module],
        };
        let output = world.iso(&args);
        let stderr = text_of(&output);
        assert!(stderr.contains(said) && stderr.lines().count() == 1, "{text}: {stderr}");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
    }
    fs::write(&bad, "(module (func (export \"on_insert\") (param i64 i64)) (func (export \"on_hit\") (param i64 i64)) (func (export \"evict\") (result i64) (loop br 0) i64.const 0))").unwrap();
    let module = format!("wasm:{}", bad.display());
    let output =
        world.iso(&["study", "cache", "--policy", &module, "--requests", "5000", "--workload", "zipf:0.9:1000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text_of(&output).contains("evict used up its 10000000 units of fuel"), "{}", text_of(&output));
}

fn text_of(output: &std::process::Output) -> String {
    text(&output.stderr)
}
