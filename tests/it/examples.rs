//! Every file in `examples/` is run as it stands there.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::harness::{World, has, header, root};

/// What stands in `examples/`, and the test below that runs it.
const RUN: [&str; 19] = [
    "app/README.md",                           // own_app: its commands are the test's
    "app/server.py",                           // own_app
    "cloudfront/distribution-config.xml",      // import.rs
    "cloudfront/get-distribution-config.json", // import.rs
    "functions/event.json",                    // rewrite
    "functions/rewrite.js",                    // rewrite
    "jobs/kubernetes-indexed.yaml",            // jobs.rs
    "jobs/slurm-array.sh",                     // jobs.rs
    "jobs/slurm-merge.sh",                     // jobs.rs
    "labs/cdn-routing/README.md",              // lab.rs
    "labs/cdn-routing/lab.toml",               // lab.rs
    "labs/cdn-routing/router.py",              // lab.rs
    "matrix.csv",                              // slow_lines
    "own-app.toml",                            // own_app
    "policies/fifo.wat",                       // lab.rs
    "policies/nearest.wat",                    // lab.rs
    "slow-lines.toml",                         // slow_lines
    "sorry/index.html",                        // own_app
    "three-sites.toml",                        // three_sites
];

fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

fn files(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            // Python's own, where somebody has imported the app.
            if !path.ends_with("__pycache__") {
                files(&path, found);
            }
        } else {
            found.insert(path.strip_prefix(root().join("examples")).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn no_example_is_left_out() {
    let mut found = BTreeSet::new();
    files(&root().join("examples"), &mut found);
    // The incidents are the library of `iso chaos list`, and scenarios of agreement are for the machine that has time for
    // them; `tests/scenarios` plays both in virtual time. The workflow is GitHub's to run.
    let is_scenario = |name: &str| name.starts_with("incidents/") || name.starts_with("agreement/");
    found.retain(|name| !is_scenario(name) && name != "github-action/chaos.yml");
    assert_eq!(found, RUN.map(str::to_owned).into(), "each file is named here and run by a test of this module");
}

#[test]
fn rewrite_names_the_index_of_a_folder() {
    let [code, event] = ["functions/rewrite.js", "functions/event.json"].map(example);
    let world = World::none();
    let tested = world.json(&["functions", "test", code.to_str().unwrap(), "--event", event.to_str().unwrap()]);
    assert_eq!(tested["output"]["uri"], "/docs/index.html");
    assert_eq!(tested["log"][0], "serving /docs/index.html");
}

#[test]
fn three_sites_fail_over_after_two_seconds_of_silence() {
    let world = World::start(&["--config", example("three-sites.toml").to_str().unwrap()]);
    let nodes = world.status()["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["role"] != "shield"), "{nodes:?}");
    let get = |path: &str| world.curl("berlin", &["-i", &format!("http://www.demo.test{path}")]);
    let first = get("/one");
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    assert!(header(&first, "server-timing").unwrap().contains("primary response 200"), "{first}");
    world.ok(&["fault", "primary", "--blackhole"]);
    let mut asked = 0;
    let second = world.until("the secondary answers", || {
        asked += 1;
        let response = get(&format!("/two-{asked}"));
        header(&response, "server-timing")?.contains("secondary response 200").then_some(response)
    });
    assert!(second.starts_with("HTTP/1.1 200"), "{second}");
}

#[test]
fn slow_lines_use_the_round_trips_of_the_matrix() {
    let config = example("slow-lines.toml");
    let config = config.to_str().unwrap();
    let world = World::none();
    let matrix = std::fs::read_to_string(example("matrix.csv")).unwrap();
    let rows: Vec<Vec<&str>> = matrix
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect();
    assert!(rows.len() >= 10);
    for row in &rows {
        let [from, to, rtt_ms] = row.as_slice() else { panic!("{row:?}") };
        let wanted: f64 = rtt_ms.parse().unwrap();
        for (a, b) in [(from, to), (to, from)] {
            let said = world.json(&["world", "rtt", "--config", config, a, b])["rtt_ms"].as_f64().unwrap();
            assert!((said - wanted).abs() < 0.001, "{a} {b}: the matrix says {wanted} ms, the world {said} ms");
        }
        let without = world.json(&["world", "rtt", from, to])["rtt_ms"].as_f64().unwrap();
        assert!((without - wanted).abs() > 0.001, "{from} {to} is what it is without a matrix, too");
    }
    let world = World::start(&["--config", config]);
    let slow =
        world.curl("tokyo", &["-o", "/dev/null", "-w", "%{http_code} %{time_total}", "http://www.demo.test/slow"]);
    let (status, seconds) = slow.split_once(' ').unwrap();
    assert_eq!(status, "200");
    assert!(seconds.parse::<f64>().unwrap() > 0.4, "{slow}");
    let big = "http://www.demo.test/big";
    let got = world.curl("washington", &["-I", big]);
    assert_eq!(header(&got, "content-length"), Some("20971520"), "{got}");
}

/// The app of the examples, as a process that ends with the test.
struct PythonApp(Child);

impl Drop for PythonApp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn your_own_app_is_served_and_the_directory_stands_in_when_it_is_gone() {
    if !has("python3") {
        eprintln!("not run, for want of python3");
        return;
    }
    let mut app = PythonApp(
        Command::new("python3")
            .arg(example("app/server.py"))
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 runs"),
    );
    let mut line = String::new();
    BufReader::new(app.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    // The example as it stands, but for the port: 3000 may be somebody's.
    let text = std::fs::read_to_string(example("own-app.toml")).unwrap();
    assert!(text.contains("http://127.0.0.1:3000\""), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("own-app.toml");
    std::fs::write(&config, text.replace("http://127.0.0.1:3000", &url)).unwrap();
    std::fs::create_dir(dir.path().join("sorry")).unwrap();
    std::fs::copy(example("sorry/index.html"), dir.path().join("sorry/index.html")).unwrap();

    let world = World::start(&["--config", config.to_str().unwrap()]);
    let get = |path: &str| world.curl("berlin", &["-i", &format!("http://my.demo.test{path}")]);
    let page = get("/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("My app"), "{page}");
    assert_eq!(header(&page, "x-cache"), Some("Miss from cloudfront"), "{page}");
    assert_eq!(header(&get("/"), "x-cache"), Some("Hit from cloudfront"));
    assert!(get("/login").contains("visitor=ada"));
    // What never changes is for reading only.
    let refused = world.curl("berlin", &["-i", "-X", "POST", "-d", "x", "http://my.demo.test/static/a.js"]);
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    drop(app);
    let sorry = std::fs::read_to_string(example("sorry/index.html")).unwrap();
    world.until("the directory answers", || get("/?fresh").ends_with(&sorry).then_some(()));
}

#[test]
fn the_command_of_the_apps_readme_puts_it_behind_the_cdn() {
    let readme = std::fs::read_to_string(example("app/README.md")).unwrap();
    for command in [
        "python3 examples/app/server.py",
        "iso up --origin app=http://127.0.0.1:3000@us-east-1",
        "iso curl --from tokyo --ledger -- https://www.demo.test/",
    ] {
        assert!(readme.contains(&format!("`{command}`")), "{command}");
    }
    let app = crate::app::App::start();
    let world = World::start(&["--preset", "tiny", "--origin", &format!("app={}@us-east-1", app.url())]);
    let ledger =
        world.json(&["curl", "--from", "tokyo", "--ledger", "--", "-s", "-o", "/dev/null", "http://www.demo.test/"]);
    assert!(ledger["text"].as_str().unwrap().contains("→ app"), "{ledger:#}");
}
