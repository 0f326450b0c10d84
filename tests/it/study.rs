//! `iso study`: virtual time, from the command line.

use std::{collections::BTreeSet, io::Write as _, process::Stdio};

use serde_json::{Value, json};

use crate::harness::{World, json_of, root, text};

/// Requests as (seconds, id, bytes).
const REQUESTS: [(u32, u64, u32); 8] =
    [(0, 1, 4), (1, 2, 4), (2, 1, 4), (3, 3, 4), (4, 1, 9), (5, 4, 11), (6, 2, 4), (6, u64::MAX, 1)];

fn binary() -> Vec<u8> {
    let bytes = |&(secs, id, bytes): &(u32, u64, u32)| {
        [&secs.to_le_bytes()[..], &id.to_le_bytes(), &bytes.to_le_bytes(), &(-1_i64).to_le_bytes()].concat()
    };
    REQUESTS.iter().flat_map(bytes).collect()
}

#[test]
fn a_trace_is_replayed_the_same_in_every_format_and_its_misses_are_counted() {
    let world = World::none();
    let file = |name: &str, bytes: &[u8]| {
        let path = world.home().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let lines: Vec<String> = REQUESTS.iter().map(|(secs, id, bytes)| format!("{secs},{id},{bytes}\n")).collect();
    let traces = [
        file("a.oracleGeneral.bin", &binary()),
        file("a.csv", lines.concat().as_bytes()),
        file("b.csv", format!("time,id,size\n{}", lines.concat()).as_bytes()),
    ];
    let rows = file("rows.csv", b"");
    for trace in &traces {
        let args = ["study", "replay", "--trace", trace, "--policy", "LRU,fifo", "--size", "10,1KiB", "--csv", &rows];
        // In ten bytes two of the small ones fit. LRU: 1 is asked for again in time, 2 goes for 3, 4 is too large, 2
        // comes for 3. FIFO: 3 pushes 1 out, which comes back for 2 with nine bytes, so that 3 goes too.
        let expected = json!({ "rows": [
            { "policy": "lru", "bytes": 10, "requests": 8, "misses": 6, "miss_bytes": 28 },
            { "policy": "fifo", "bytes": 10, "requests": 8, "misses": 7, "miss_bytes": 37 },
            { "policy": "lru", "bytes": 1024, "requests": 8, "misses": 5, "miss_bytes": 24 },
            { "policy": "fifo", "bytes": 1024, "requests": 8, "misses": 5, "miss_bytes": 24 },
        ] });
        assert_eq!(world.json(&args), expected);
        assert!(std::fs::read_to_string(&rows).unwrap().contains("\nfifo,10,8,7,37\n"));
        let table = world.ok(&args);
        assert!(table.contains("MISS BYTES") && table.contains("lru     1KiB  8         5       0.6250"), "{table}");
    }

    // By way of a pipe.
    let piped = ["study", "replay", "--trace", "-", "--format", "oraclegeneral", "--policy", "all", "--size", "10"];
    let mut iso = world.command(&[&piped[..], &["--json"]].concat());
    let mut iso = iso.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    iso.stdin.take().unwrap().write_all(&binary()).unwrap();
    let rows = json_of(&iso.wait_with_output().unwrap())["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 11);
    assert!(rows.iter().all(|row| row["requests"] == 8 && row["misses"].as_u64() >= Some(5)), "{rows:?}");

    let cut = file("cut.bin", &binary()[..60]);
    let odd = file("odd.csv", b"0,1,4\n1,2,large\n");
    let other = file("trace.log", b"0,1,4\n");
    for (trace, policy, more, says) in [
        (&cut, "lru", &[][..], "record 3 (byte 48): the trace ends after 12 of its 24 bytes"),
        (&odd, "lru", &[], "odd.csv: line 2: size \"large\" is not a number of bytes"),
        (&odd, "slr", &[], "no policy \"slr\"; did you mean `slru`?"),
        (&other, "lru", &[], "add --format oracleGeneral or --format csv"),
        (&other, "lru", &["--format", "cvs"], "no format \"cvs\"; there are oracleGeneral, csv"),
        (&"/no/such.csv".to_owned(), "lru", &[], "cannot read /no/such.csv"),
    ] {
        let output =
            world.iso(&[&["study", "replay", "--trace", trace, "--policy", policy, "--size", "1MiB"], more].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_trace_is_a_workload_beside_others_and_a_plan_finds_it_in_its_folder() {
    let world = World::none();
    let folder = world.home().join("plan");
    std::fs::create_dir(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let lines = (0..3000_u64).map(|n| format!("{n},{},{}\n", n * n % 97, n * n % 97 % 5 + 1));
    std::fs::write(path("t.csv"), lines.collect::<String>()).unwrap();
    let replayed =
        world.json(&["study", "replay", "--trace", &path("t.csv"), "--policy", "lru,sieve", "--size", "20,60"]);
    let misses = |row: &Value| row["misses"].as_u64().unwrap() as f64 / 3000.0;
    let workloads = format!("trace:{},zipf:1:200", path("t.csv"));
    let cache = ["study", "cache", "--policy", "lru,sieve", "--size", "20,60", "--workload", &workloads];
    let report = world.json(&cache);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "{report}");
    // Rows of the study are by policy first, those of the replay by size.
    for (row, of) in rows.iter().zip([0, 2, 1, 3]) {
        assert_eq!((&row["unit"], &row["requests"], row.get("exponent")), (&"bytes".into(), &3000.into(), None));
        assert_eq!(row["edge_miss_ratio"]["mean"].as_f64().unwrap(), misses(&replayed["rows"][of]), "{row}");
        assert_eq!(row.get("expected_edge_miss_ratio").is_some(), row["policy"] == "lru", "{row}");
    }
    assert!(rows[4..].iter().all(|row| row["workload"] == "zipf:1:200" && row["unit"] == "objects"), "{report}");
    let table = world.ok(&cache);
    assert!(table.contains("WORKLOAD") && table.contains("its popularity alone"), "{table}");

    let plan = |trace: &str| {
        format!("study = \"cache\"\n[set]\nrequests = 2000\n[sweep]\nworkload = [\"trace:{trace}\", \"zipf:1:200\"]\n")
    };
    std::fs::write(path("plan.toml"), plan("t.csv")).unwrap();
    world.ok(&["study", "run", &path("plan.toml"), "--out", &path("rows.csv")]);
    let mut rows = csv::Reader::from_path(path("rows.csv")).unwrap();
    let at = rows.headers().unwrap().iter().position(|column| column == "workload").unwrap();
    let named: BTreeSet<String> = rows.records().map(|row| row.unwrap()[at].to_owned()).collect();
    assert_eq!(named.into_iter().collect::<Vec<_>>(), ["trace:t.csv", "zipf:1:200"]);
    std::fs::write(path("plan.toml"), plan("gone.csv")).unwrap();
    let refused = world.iso(&["study", "run", &path("plan.toml"), "--out", &path("none.csv")]);
    let said = text(&refused.stderr);
    assert!(said.contains("plan.toml:5:13: sweep.workload.0: ") && said.contains("gone.csv"), "{said}");
    assert!(!folder.join("none.csv").exists());
}

/// A study that is over in a second.
const SMALL: [&str; 8] = ["--cities", "40", "--clients", "300", "--requests", "3000", "--for", "30s"];

#[test]
fn the_same_seed_gives_the_same_rows_with_any_number_of_threads() {
    let world = World::none();
    let rows = |name: &str, threads: &str| {
        let path = world.home().join(name);
        let csv = path.to_str().unwrap();
        let args =
            ["study", "routing", "--pops", "IAD,FRA,NRT", "--seeds", "3", "--warmup", "5s", "--threads", threads];
        world.ok(&[&args[..], &SMALL, &["--csv", csv]].concat());
        std::fs::read_to_string(path).unwrap()
    };
    let alone = rows("1.csv", "1");
    assert_eq!(alone, rows("3.csv", "3"));
    // Five policies with three seeds each, and the head.
    assert_eq!(alone.lines().count(), 16, "{alone}");
}

#[test]
fn rows_are_the_same_as_text_and_as_parquet() {
    let world = World::none();
    let path = |name: &str| world.home().join(name).to_str().unwrap().to_owned();
    let (csv, parquet) = (path("rows.csv"), path("rows.parquet"));
    let files = ["--csv", &csv, "--parquet", &parquet];
    world.ok(&[&["study", "cache", "--workload", "zipf:0.9:500", "--requests", "1000"][..], &files].concat());
    let drawn = |rows: &str| {
        let picture = path("picture.svg");
        world.ok(&[
            "study",
            "plot",
            rows,
            "--x",
            "size",
            "--y",
            "edge_miss_ratio",
            "--by",
            "policy",
            "--out",
            &picture,
        ]);
        std::fs::read_to_string(picture).unwrap()
    };
    assert_eq!(drawn(&csv), drawn(&parquet));
    assert!(std::fs::read(&parquet).unwrap().starts_with(b"PAR1"));
    let refused = world.iso(&["study", "routing", "--parquet", "/nowhere/rows.parquet"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
}

#[test]
fn a_bake_off_compares_policies_and_draws_where_their_clients_go() {
    let world = World::none();
    let page = world.home().join("page.html");
    let args = ["study", "routing", "--kill", "fra@10s", "--pops", "IAD,FRA,NRT", "--ttl", "5s", "--warmup", "5s"];
    let args = [&args[..], &SMALL, &["--html", page.to_str().unwrap()]].concat();
    let report = world.json(&args);
    let rows = report["rows"].as_array().unwrap();
    let of = |policy: &str| rows.iter().find(|row| row["policy"] == policy).unwrap();
    let mean = |policy: &str, key: &str| of(policy)[key]["mean"].as_f64().unwrap();
    assert_eq!(rows.len(), 5);
    assert!(mean("latency", "stretch") < mean("random", "stretch"));
    assert!(mean("random", "p50_ms") < 2.0 * mean("origin-only", "p50_ms"));
    // Detected within three probe intervals, and over when the answers of that moment are.
    assert!(mean("latency", "detected_s") <= 3.0);
    assert!(mean("latency", "back_s") <= mean("latency", "detected_s") + 5.1);
    assert_eq!(mean("latency", "lost"), 0.0);
    assert!(of("origin-only").get("harmed").is_none());
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.matches("<circle").count() >= 5 * 30 && !page.contains("http"), "{} bytes", page.len());
    // Before the death and after it; latency by percentile, and who is still sent there.
    assert_eq!(page.matches("<figcaption class=\"dim\">before FRA dies</figcaption>").count(), 4 * 2);
    assert_eq!(page.matches("class=\"curves\"").count(), 2);
}

#[test]
fn the_pop_that_is_added_is_the_one_that_helps_most() {
    let world = World::none();
    let report = world.json(&["study", "sites", "--pops", "IAD", "--add", "2", "--cities", "100"]);
    let rows = report["rows"].as_array().unwrap();
    let means: Vec<f64> = rows.iter().map(|row| row["mean_ms"]["mean"].as_f64().unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert!(means[0] > means[1] && means[1] > means[2], "{means:?}");
    // Alone against any other pair.
    let second = rows[1]["pop"].as_str().unwrap();
    for other in ["LHR", "GRU", "NRT", "SYD"].into_iter().filter(|other| *other != second) {
        let pair = world.json(&["study", "sites", "--pops", &format!("IAD,{other}"), "--cities", "100"]);
        assert!(pair["rows"][1]["mean_ms"]["mean"].as_f64().unwrap() >= means[1], "{other} beats {second}");
    }
    let numbers = world.json(&["study", "sites", "--sites", "1,5,20", "--from", "cloudfront", "--cities", "50"]);
    assert_eq!(numbers["rows"].as_array().unwrap().len(), 6);
}

#[test]
fn caches_and_failovers_come_out_as_closed_forms_say() {
    let world = World::none();
    let report = world.json(&[
        "study",
        "cache",
        "--policy",
        "lru,fifo",
        "--size",
        "1%",
        "--workload",
        "zipf:0.9:10000",
        "--requests",
        "200000",
        "--edges",
        "5",
        "--shield",
        "off,10%",
    ]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let (got, expected) = (&row["edge_miss_ratio"]["mean"], &row["expected_edge_miss_ratio"]);
        assert!((got.as_f64().unwrap() - expected.as_f64().unwrap()).abs() < 0.01, "{row}");
    }
    assert!(rows[1]["origin_ratio"]["mean"].as_f64() < rows[0]["origin_ratio"]["mean"].as_f64(), "{rows:?}");

    let failover = [
        "study",
        "failover",
        "--pops",
        "IAD,FRA,NRT",
        "--ttl",
        "10s",
        "--cities",
        "40",
        "--clients",
        "400",
        "--rps",
        "200",
    ];
    let report = world.json(&failover);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let (got, expected) = (&row["stale_s"]["mean"], &row["expected_stale_s"]["mean"]);
        assert!((got.as_f64().unwrap() - expected.as_f64().unwrap()).abs() < 3.0, "{row}");
    }
}

#[test]
fn a_study_that_cannot_be_is_refused_before_it_starts() {
    let world = World::none();
    for (args, says) in [
        (&["routing", "--policies", "latncy"][..], "did you mean `latency`"),
        (&["routing", "--pops", "IAD,FRX"], "FRX"),
        (&["routing", "--pops", "IAD,FRA", "--kill", "SYD@1s"], "SYD is not one of the study's PoPs"),
        (&["routing", "--kill", "FRA@10m"], "no longer counted"),
        (&["routing", "--cities", "5000"], "1 to 1000 cities"),
        (&["routing", "--csv", "/no/such/dir/rows.csv"], "cannot write /no/such/dir/rows.csv"),
        (&["routing", "--resolver", "frankfrt"], "Frankfurt"),
        (&["sites", "--preset", "wrld-6"], "world-6"),
        (&["sites", "--pops", "IAD", "--add", "500"], "more to choose from"),
        (&["cache", "--size", "200%"], "a share as 1%"),
        (&["failover", "--probe-interval", "1s,0s"], "--probe-interval 0s: write a time from 1ms to 10m"),
        (&["failover", "--retry-interval", "0s"], "--retry-interval 0s: write a time"),
        (&["failover", "--answers", "0"], "--answers must be more than nothing"),
        (&["cache", "--workload", "zipf:x"], "zipf:S:N"),
        (&["cache", "--workload", "trace:/no/such.csv"], "cannot read /no/such.csv"),
        (&["cache", "--admission", "by-sise"], "did you mean `by-size`"),
        (&["cache", "--size-decades", "9", "--size", "10 apples"], "a number of bytes"),
        (&["cache", "--size-decades", "13"], "at most 12"),
        (&["cache", "--ttl", "soon"], "a duration, as 10m, or off"),
        (&["cache", "--ttl", "1ms", "--rps", "1"], "one at least"),
        (&["failover", "--policies", "origin-only"], "no PoP that could die"),
        (&["failover", "--stretch", "9%"], "9%@5m"),
        (&["balance", "--policies", "prequel"], "did you mean `prequal`"),
        (&["balance", "--load", "1.2", "--deadline", "off"], "below 1"),
        (&["retries", "--budget", "half"], "or off"),
        (&["collapse", "--early", "soon"], "or off"),
        (&["retries", "--shed", "0"], "from 1, or off"),
        (&["mapping", "--sites", "20,3000"], "numbers from 1 to 2642"),
        (&["mapping", "--stretch", "0.9"], "no path is shorter than straight"),
        (&["subnets", "--networks", "10", "--resolvers", "20"], "a network for each"),
        (&["anycast", "--day-sigma=-1"], "from 0 to 2"),
        (&["estimates", "--window", "0s"], "more than nothing"),
    ] {
        let output = world.iso(&[&["study"], args].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn a_sweep_comes_to_the_same_rows_in_one_piece_in_parts_and_after_a_stop() {
    let world = World::none();
    let path = |name: &str| world.home().join(name).to_str().unwrap().to_owned();
    let plan = path("plan.toml");
    let written = "study = \"cache\"\n[set]\nworkload = \"zipf:0.9:1000\"\nrequests = 2000\nseeds = 2\n\
                [sweep]\nsize = [\"1%\", \"5%\", \"20%\"]\npolicy = [\"lru\", \"sieve\", [\"fifo\", \"lfu\"]]\n";
    std::fs::write(&plan, written).unwrap();
    let sweep = |out: &str, more: &[&str]| world.ok(&[&["study", "run", &plan, "--out", out], more].concat());
    let whole = path("whole.csv");
    assert!(sweep(&whole, &["--threads", "1"]).starts_with("9 runs; 24 rows"));
    let bytes = std::fs::read(&whole).unwrap();

    // In parts, and put together.
    let parts = [path("1.csv"), path("2.csv"), path("3.csv")];
    for (part, shard) in parts.iter().zip(["1/3", "2/3", "3/3"]) {
        sweep(part, &["--shard", shard, "--threads", "2"]);
    }
    let merged = path("merged.csv");
    let [one, two, three] = &parts;
    world.ok(&["study", "merge", three, one, two, "--out", &merged]);
    assert_eq!(std::fs::read(&merged).unwrap(), bytes);

    // Stopped within a row.
    let stopped = path("stopped.csv");
    std::fs::write(&stopped, &bytes[..bytes.len() / 2]).unwrap();
    assert!(sweep(&stopped, &["--resume"]).contains("of them before"));
    assert_eq!(std::fs::read(&stopped).unwrap(), bytes);
    let again = world.iso(&["study", "run", &plan, "--out", &stopped]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("--resume"));

    // As Parquet, whole and of parts in either format, and back to the same rows.
    let (parquet, back) = (path("whole.parquet"), path("back.csv"));
    sweep(&parquet, &[]);
    let columns = std::fs::read(&parquet).unwrap();
    assert!(columns.starts_with(b"PAR1") && !std::fs::exists(path("whole.parquet.part")).unwrap());
    world.ok(&["study", "merge", &parquet, "--out", &back]);
    assert_eq!(std::fs::read(&back).unwrap(), bytes);
    let part = path("2.parquet");
    sweep(&part, &["--shard", "2/3"]);
    let merged_columns = path("merged.parquet");
    world.ok(&["study", "merge", three, one, &part, "--out", &merged_columns]);
    assert_eq!(std::fs::read(&merged_columns).unwrap(), columns);
    // Whole already, of another shard, and stopped.
    assert!(sweep(&parquet, &["--resume"]).starts_with("9 runs, 9 of them before"));
    let other = world.iso(&["study", "run", &plan, "--out", &part, "--shard", "1/3", "--resume"]);
    assert!(text(&other.stderr).contains("another shard"), "{}", text(&other.stderr));
    let stopped = path("stopped.parquet");
    std::fs::write(path("stopped.parquet.part"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(sweep(&stopped, &["--resume"]).contains("of them before"));
    assert_eq!(std::fs::read(&stopped).unwrap(), columns);

    // A damaged part is named, and left out only where that is allowed.
    let part = std::fs::read(two).unwrap();
    std::fs::write(two, &part[..part.len() - 5]).unwrap();
    let refused = world.iso(&["study", "merge", one, two, three, "--out", &merged]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("2.csv: it ends within a row"), "{}", text(&refused.stderr));
    let some = world.json(&["study", "merge", one, two, three, "--out", &merged, "--allow-missing"]);
    assert_eq!((some["runs"].as_u64(), some["missing"].as_u64()), (Some(6), Some(3)));
}

#[test]
fn rows_are_drawn_as_a_plan_or_the_command_line_says() {
    let world = World::none();
    let path = |name: &str| world.home().join(name).to_str().unwrap().to_owned();
    let (plan, rows, svg, png) = (path("plan.toml"), path("rows.csv"), path("picture.svg"), path("picture.png"));
    let written = "study = \"cache\"\n[set]\nworkload = \"zipf:0.9:1000\"\nrequests = 2000\nseeds = 3\n\
                [sweep]\nsize = [\"1%\", \"5%\", \"20%\"]\npolicy = [[\"lru\", \"sieve\"]]\n\
                [plot]\nx = \"size\"\ny = \"edge_misses/requests\"\nby = \"policy\"\nlog = [\"x\"]\n\
                title = \"Misses < all\"\nwhere = { edges = 1 }\n";
    std::fs::write(&plan, written).unwrap();
    world.ok(&["study", "run", &plan, "--out", &rows]);

    let report = world.json(&["study", "plot", &plan, "--rows", &rows, "--out", &svg]);
    let curves = report["curves"].as_array().unwrap();
    assert_eq!((report["rows"].as_u64(), curves.len(), curves[0]["points"].as_u64()), (Some(18), 2, Some(3)));
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.contains("<title>Misses &lt; all</title>") && drawn.contains("Means of 3 seeds"), "{drawn}");
    assert_eq!((drawn.matches("<polyline").count(), drawn.matches("<polygon class=\"interval\"").count()), (2, 2));

    let typed =
        ["study", "plot", &rows, "--x", "policy", "--y", "edge_misses", "--where", "size=10,50", "--by", "size"];
    assert!(world.ok(&[&typed[..], &["--out", &png]].concat()).starts_with("12 rows, 2 curves of 4 points"));
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));

    for (args, says) in [
        (&["--x", "sise", "--y", "requests"][..], "rows.csv: no column \"sise\"; did you mean `size`?"),
        (&["--x", "size", "--y", "edge_misses"], "they differ in policy"),
        (
            &["--x", "size", "--y", "edge_misses", "--where", "policy=fifo"],
            "no row has policy=fifo; there are lru, sieve",
        ),
        (&["--x", "size"], "--x and --y"),
    ] {
        let output = world.iso(&[&["study", "plot", &rows, "--out", &svg], args].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn balance_and_retries_come_out_as_closed_forms_say_with_any_number_of_threads() {
    let world = World::none();
    let mean = |of: &Value| of["mean"].as_f64().unwrap();
    let balance = ["study", "balance", "--clients", "1", "--work", "1s", "--work-shape", "exponential", "--spare", "0"];
    let more = ["--deadline", "off", "--policies", "random,two-choices", "--load", "0.7", "--warmup", "200s"];
    let report = world.json(&[&balance[..], &more, &["--for", "1000s"]].concat());
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let (got, expected) = (mean(&row["mean_in_system"]), row["expected_mean_in_system"].as_f64().unwrap());
        assert!((got / expected - 1.0).abs() < 0.05, "{row}");
    }

    let retries = [
        "study",
        "retries",
        "--service-rps",
        "60",
        "--retries",
        "1,2",
        "--for",
        "400s",
        "--step",
        "2",
        "--shed",
        "off,30",
    ];
    let rows = |name: &str, threads: &str| {
        let csv = world.home().join(name);
        let out = ["--seeds", "2", "--threads", threads, "--csv", csv.to_str().unwrap()];
        let report = world.json(&[&retries[..], &out].concat());
        (std::fs::read_to_string(csv).unwrap(), report)
    };
    let (alone, report) = rows("1.csv", "1");
    assert_eq!(alone, rows("3.csv", "3").0);
    for row in report["rows"].as_array().unwrap() {
        let highest = mean(&row["highest_rps"]);
        match row["critical_rps"].as_f64() {
            Some(critical) => assert!((critical - 8.0..critical + 2.0).contains(&highest), "{row}"),
            // A server that refuses what it cannot serve in time comes back under any load that it can serve.
            None => assert!(highest >= 54.0, "{row}"),
        }
    }
}

#[test]
fn a_life_costs_one_fetch_with_collapsing() {
    let world = World::none();
    let mean = |of: &Value| of["mean"].as_f64().unwrap();
    let report = world.json(&["study", "collapse", "--rps", "10", "--early", "off", "--lives", "100"]);
    let [on, off] = report["rows"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!(mean(&on["fetches_per_cycle"]), 1.0);
    // Those who come within the second that a fetch takes, and the first.
    assert!((mean(&off["fetches_per_cycle"]) - 11.0).abs() < 1.0, "{off}");
}

#[test]
fn the_small_are_let_in_first_and_that_saves_misses_as_the_closed_form_says() {
    let world = World::none();
    let cache = ["study", "cache", "--policy", "lru", "--size", "2%", "--size-decades", "6", "--requests", "200000"];
    let report = world.json(&[&cache[..], &["--workload", "zipf:0.9:2000", "--admission", "all,by-size"]].concat());
    let [all, by_size] = report["rows"].as_array().unwrap().as_slice() else { panic!("{report}") };
    for row in [all, by_size] {
        let (got, expected) = (&row["edge_miss_ratio"]["mean"], &row["expected_edge_miss_ratio"]);
        assert!((got.as_f64().unwrap() - expected.as_f64().unwrap()).abs() < 0.08, "{row}");
    }
    assert!(by_size["edge_miss_ratio"]["mean"].as_f64() < all["edge_miss_ratio"]["mean"].as_f64(), "{report}");
}

/// How a published plan is played in a second or two: flags that replace its own.
fn small(study: &str) -> &'static [(&'static str, &'static str)] {
    match study {
        "mapping" => &[
            ("sites", "5,20"),
            ("universe", "60"),
            ("orders", "2"),
            ("cities", "60"),
            ("blocks", "120"),
            ("resolvers", "40"),
        ],
        "subnets" => &[("resolvers", "200"), ("networks", "1000"), ("for", "40s")],
        "anycast" => &[("cities", "60"), ("blocks", "100"), ("resolvers", "60"), ("beacons", "60")],
        "estimates" => &[
            ("preset", "world-6"),
            ("cities", "3"),
            ("around", "10m"),
            ("for", "20m"),
            ("beacon-interval", "20s"),
            ("measure-interval", "40s"),
        ],
        "balance" => &[("warmup", "1s"), ("for", "5s"), ("servers", "10"), ("settle", "0")],
        "retries" => &[("for", "100s"), ("service-rps", "30"), ("step", "5")],
        "collapse" => &[("lives", "5")],
        "cache" => &[("requests", "2000"), ("warmup", "2000"), ("workload", "zipf:0.9:1000")],
        "failover" => &[("cities", "40"), ("clients", "300"), ("rps", "50")],
        other => panic!("how is {other} played small?"),
    }
}

#[test]
fn every_published_plan_runs_and_comes_to_the_same_rows_with_any_number_of_threads() {
    let world = World::none();
    let mut played = 0;
    for entry in std::fs::read_dir(root().join("studies")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(folder.join("README.md").exists() && folder.join("raw.csv").exists(), "{name} says what came out");
        let mut plan: toml::Table = std::fs::read_to_string(folder.join("plan.toml")).unwrap().parse().unwrap();
        let flags = small(plan["study"].as_str().unwrap());
        let sweep = plan.get_mut("sweep").and_then(toml::Value::as_table_mut).unwrap();
        for (key, values) in &mut *sweep {
            values.as_array_mut().unwrap().truncate(if key == "seed" { 2 } else { 3 });
        }
        flags.iter().for_each(|(key, _)| drop(sweep.remove(*key)));
        let set = plan.get_mut("set").and_then(toml::Value::as_table_mut).unwrap();
        if set.contains_key("seeds") {
            set.insert("seeds".to_owned(), 2.into());
        }
        set.extend(flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
        let path = |end: &str| world.home().join(format!("{name}.{end}")).to_str().unwrap().to_owned();
        std::fs::write(path("toml"), toml::to_string(&plan).unwrap()).unwrap();
        let rows = |threads: &str| {
            let out = path(&format!("{threads}.csv"));
            world.ok(&["study", "run", &path("toml"), "--out", &out, "--threads", threads]);
            std::fs::read_to_string(out).unwrap()
        };
        let alone = rows("1");
        assert!(alone.lines().count() > 2, "{name}: {alone}");
        assert_eq!(alone, rows("3"), "{name}");
        // Who plays it again finds every column that is published.
        let published = std::fs::read_to_string(folder.join("raw.csv")).unwrap();
        let columns: Vec<&str> = alone.lines().next().unwrap().split(',').collect();
        assert!(
            published.lines().next().unwrap().split(',').all(|column| columns.contains(&column)),
            "{name}: play it again"
        );
        played += 1;
    }
    assert!(played > 0, "there are no plans");
}
