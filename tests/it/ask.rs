//! Asking a world: every verb's document, exit codes, logs, metrics, and who may ask.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;

use crate::{
    harness::{World, header, json_of, run, status_and_body, text},
    raw::{metric, record},
};

/// A verb that keeps printing; ended when dropped.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut child = world.command(args).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The first line from now on for which `is_it` holds.
    fn next(&self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).expect("a line in time");
            if is_it(&line) {
                return line;
            }
        }
    }
}

impl Following {
    /// Closes the pipe, once a line more has come.
    fn stop_reading(&mut self) {
        self.lines = channel().1;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_verb_prints_one_document() {
    let world = World::start(&["--preset", "tiny"]);
    let url = "http://www.demo.test/doc";
    for (args, keys) in [
        (
            &["status"][..],
            &["world", "seed", "nodes", "faults", "links", "proxy", "dashboard", "ready", "drained", "uptime_ms"][..],
        ),
        (&["wait"], &["world", "nodes", "ready"]),
        (&["wait", "--for", "healthy", "--timeout", "10s"], &["world"]),
        (&["open"], &["dashboard"]),
        (&["proxy"], &["proxy"]),
        (&["dig", "--from", "lima", "www.demo.test"], &["name", "type", "rcode", "answers", "time_ms", "text"]),
        (&["curl", "--from", "lima", "--ledger", "--", "-sS", "-o", "/dev/null", url], &["entries", "total_ms", "pop"]),
        (&["explain", "route", "--from", "lima"], &["policy", "candidates", "chosen", "client", "snapshot_version"]),
        (&["explain", "cache", "--from", "lima", url], &["edge", "caches", "route", "method", "url"]),
        (&["explain", "origin", "--from", "lima", "/doc"], &["edge", "caches"]),
        (&["cache", "where", "/doc"], &["path", "nodes"]),
        (&["cache", "show", "/doc", "--at", "iad"], &["path", "nodes"]),
        (&["cache", "stats"], &["nodes"]),
        (&["invalidate", "/doc"], &["id", "status", "patterns", "nodes"]),
        (&["fault", "primary", "--status", "503", "--for", "1m"], &["faults"]),
        (&["link", "fra", "iad", "--delay", "1ms", "--for", "1m"], &["faults"]),
        (&["pause", "nrt", "--for", "1m"], &["nodes", "ends_in_ms"]),
        (&["resume", "nrt"], &["nodes"]),
        (&["kill", "nrt"], &["nodes"]),
        (&["start", "nrt"], &["nodes"]),
        (&["drain", "fra"], &["drained"]),
        (&["undrain", "fra"], &["drained"]),
        (&["heal"], &["faults"]),
        (&["world", "rtt", "tokyo", "nrt"], &["rtt_ms"]),
        (&["config", "check", "cluster.toml"], &["file", "valid", "nodes", "warnings"]),
        (&["config", "schema"], &["$schema", "properties"]),
    ] {
        let mut command = world.command(&[&["--json"], args].concat());
        let output = command.current_dir(crate::harness::root()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        let document = json_of(&output);
        for key in keys {
            assert!(document.get(key).is_some(), "{args:?}: {key} is not in {document}");
        }
        // The same verb without it is for people.
        if !args.contains(&"schema") && !["kill", "start", "pause", "resume"].contains(&args[0]) {
            let output = world.command(args).current_dir(crate::harness::root()).output().unwrap();
            assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}: {}", text(&output.stderr));
            assert!(!output.stdout.starts_with(b"{"), "{args:?}: {}", text(&output.stdout));
        }
    }
    // A stream is a document per line.
    let logs = world.ok(&["logs", "--json", "-n", "5"]);
    assert!((1..=5).contains(&logs.lines().count()), "{logs}");
    for line in logs.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["node"].is_string() && line["text"].is_string(), "{line}");
    }
    assert!(world.json(&["world", "places", "tok"]).as_array().unwrap().iter().any(|place| place["id"] == "tokyo"));
    let down = world.json(&["down"]);
    assert_eq!(down["world"], "default");
    assert!(down["stopped_in_ms"].as_f64().unwrap() < 10_000.0, "{down}");
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let world = World::none();
    for args in [
        &["status"][..],
        &["down"],
        &["wait"],
        &["kill", "fra"],
        &["curl", "--from", "tokyo", "--", "http://www.demo.test/"],
        &["dig", "--from", "tokyo", "www.demo.test"],
        &["proxy"],
        &["logs"],
        &["invalidate", "/*"],
        &["explain", "route", "--from", "tokyo"],
        &["explain", "cache", "--from", "tokyo", "/"],
    ] {
        let output = world.iso(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("start one with `iso up`"), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    for args in [
        &["nonsense"][..],
        &["kill"],
        &["up", "--preset", "huge"],
        &["up", "--pops", "XXX"],
        &["wait", "--timeout", "soon"],
    ] {
        let output = world.iso(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
    // A name that is none comes with those that there are, or with the nearest.
    for (args, says) in [
        (&["up", "--preset", "huge"][..], "there are tiny, world-6, lab-12, world-18"),
        (&["up", "--pops", "IAD,tokyo"], "the PoP nearest to Tokyo is NRT"),
        (&["up", "--cache", "Nope"], "CachingOptimized"),
        (&["up", "--pops", "IAD", "--preset", "tiny"], "cannot be used with"),
    ] {
        let output = world.iso(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(says), "{args:?}: {}", text(&output.stderr));
    }
    for args in [&["--help"][..], &["--version"], &["up", "--help"], &["fault", "--help"], &["man"]] {
        let output = world.iso(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
    let help = world.ok(&["--help"]);
    for words in ["Examples:", "Exit codes:", "curl", "doctor", "invalidate"] {
        assert!(help.contains(words), "{words} is not in {help}");
    }
    assert!(world.ok(&["man"]).contains(".TH iso 1"));
    assert!(world.ok(&["man", "chaos", "run"]).contains(".TH iso-chaos-run 1"));
    assert_eq!(world.iso(&["man", "chaos", "rum"]).status.code(), Some(2));
    let pages = world.home().join("man1");
    world.ok(&["man", "--out", pages.to_str().unwrap()]);
    assert!(pages.join("iso.1").is_file() && pages.join("iso-sign-url.1").is_file());
    for args in [&["man", "--json"][..], &["completions", "fish", "--json"], &["export", "compose", "--json"]] {
        assert!(json_of(&world.iso(args)).is_object(), "{args:?}");
    }
    let folder = world.home().join("container");
    let export = ["export", "kubernetes", "--out", folder.to_str().unwrap()];
    world.ok(&export);
    for file in ["Dockerfile", "iso", "kubernetes.yaml", "world/cluster.toml"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    world.ok(&["config", "check", folder.join("world/cluster.toml").to_str().unwrap()]);
    // What is there is not written over unasked.
    assert_eq!(world.iso(&export).status.code(), Some(2));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(world.ok(&["completions", shell]).contains("undrain"), "{shell}");
    }
    // With --json what went wrong is a document, whatever it was.
    let bad = world.home().join("bad.toml");
    std::fs::write(&bad, "seed = 1\n[router]\nanswer = 2\n").unwrap();
    let bad = bad.to_str().unwrap();
    for (args, code, words) in [
        (&["status", "--json"][..], 3, "start one with `iso up`"),
        (&["kill", "fra", "--world", "nope", "--json"], 3, "no world \"nope\" is running"),
        (&["kill", "--json"], 2, "NODE|POP"),
        (&["up", "-d", "--json", "--config", bad], 2, "did you mean `answers`?"),
        (&["world", "rtt", "tokio", "nrt", "--json"], 2, "did you mean \"Tokyo\"?"),
    ] {
        let output = world.iso(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        let error = json_of(&output)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{args:?}: {error}");
    }
    let output = world.iso(&["config", "check", bad, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let document = json_of(&output);
    assert_eq!(document["valid"], false, "{document}");
    let diagnostic = &document["diagnostics"][0];
    assert_eq!((&diagnostic["line"], &diagnostic["column"]), (&3.into(), &1.into()), "{document}");
    assert_eq!(diagnostic["hint"], "did you mean `answers`?", "{document}");
    // Nobody reads any more: no failure, and nothing is said.
    for verb in ["completions bash", "man", "config schema", "world places"] {
        let pipe = format!("{} {verb} | true; echo ${{PIPESTATUS[0]}}", crate::harness::ISO);
        assert_eq!(run("bash", &["-c", &pipe]), "0\n", "{verb}");
    }
    // Without a world the doctor looks at the machine alone.
    let doctor = world.iso(&["doctor", "--json"]);
    assert!(json_of(&doctor)["findings"].as_array().unwrap().iter().any(|finding| finding["check"] == "world"));
}

#[test]
fn logs_tell_and_follow() {
    let world = World::of_file("preset = \"tiny\"\n[router]\nexplore = 0.0\n[log]\nlevel = \"info\"\n");
    let one = Following::start(&world, &["logs", "-f", "edge.fra"]);
    let all = Following::start(&world, &["logs", "-f", "--json"]);
    world.curl("berlin", &["http://www.demo.test/told"]);
    let line = one.next(|line| line.contains("/told"));
    assert!(line.starts_with("edge.fra ") && line.contains("status=200"), "{line}");
    let shield = all.next(|line| line.contains("/told") && line.contains("shield.iad"));
    assert_eq!(serde_json::from_str::<Value>(&shield).unwrap()["node"], "shield.iad");
    // Lines of the past, of one node, at most so many.
    let past = world.ok(&["logs", "-n", "1", "edge.fra"]);
    assert_eq!(past.lines().count(), 1, "{past}");
    assert!(past.contains("/told"), "{past}");
    // Where nobody reads any more they end; interrupted they say so.
    let mut unread = Following::start(&world, &["logs", "-f", "edge.fra"]);
    unread.next(|line| line.contains("/told"));
    unread.stop_reading();
    let mut lines = (0..100).map(|_| world.curl("berlin", &["http://www.demo.test/told"]));
    assert!(lines.any(|_| unread.child.try_wait().unwrap().is_some()));
    let mut interrupted = Following::start(&world, &["logs", "-f"]);
    interrupted.next(|line| line.contains("/told"));
    run("kill", &["-INT", &interrupted.child.id().to_string()]);
    world.until_ended(&mut interrupted.child);
    assert_eq!(interrupted.child.wait().unwrap().code(), Some(130));
    // A crash is told by who is left.
    let router = Following::start(&world, &["logs", "-f", "router.iad"]);
    world.ok(&["kill", "nrt"]);
    router.next(|line| line.contains("edge.nrt") && line.contains("down"));
    let unknown = world.iso(&["logs", "edge.xxx"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
    // The end of the world is the end of its logs.
    world.ok(&["down"]);
    let mut ended = one;
    world.until_ended(&mut ended.child);
}

impl World {
    fn until_ended(&self, child: &mut Child) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "it still runs in {}", self.home().display());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

#[test]
fn the_doctor_measures_and_routes_are_explained() {
    let world = World::of_file("preset = \"tiny\"\n[router]\nexplore = 0.0\n");
    // On a machine that does other things, too, a link may be late; nothing else may be wrong.
    let doctor = world.until("the doctor finds nothing wrong", || {
        let output = world.iso(&["doctor", "--json"]);
        let document = json_of(&output);
        let findings = document["findings"].as_array().unwrap().clone();
        for finding in findings.iter().filter(|finding| finding["check"] != "links" && finding["check"] != "timer") {
            assert_eq!(finding["ok"], true, "{finding}");
        }
        let ok = document["ok"] == true;
        assert_eq!(output.status.code(), Some(i32::from(!ok)), "{document}");
        ok.then_some(document)
    });
    let links = doctor["links"]["links"].as_array().unwrap();
    assert!(links.len() >= 20, "{doctor}");
    for link in links {
        for key in ["asked_ms", "measured_ms", "error_ms"] {
            assert!(link[key].is_number(), "{key} is not in {link}");
        }
        assert!(link["measured_ms"].as_f64() >= link["asked_ms"].as_f64().map(|ms| ms * 0.99), "{link}");
    }
    assert_eq!(doctor["links"]["unmeasured"], serde_json::json!([]));
    let shown = text(&world.iso(&["doctor"]).stdout);
    for check in ["loopback", "open files", "curl", "timer", "nodes", "faults", "links"] {
        assert!(shown.contains(check), "{check} is not in {shown}");
    }

    let route = world.json(&["explain", "route", "--from", "berlin", "http://www.demo.test/any"]);
    let candidates = route["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 3, "{route}");
    assert_eq!((&route["chosen"][0]["pop"], &route["policy"]), (&"FRA".into(), &"latency".into()), "{route}");
    for candidate in candidates {
        for key in ["pop", "estimate_ms", "source", "distance_km", "health", "reason", "reason_help"] {
            assert!(!candidate[key].is_null(), "{key} is missing in {candidate}");
        }
    }
    let shown = world.ok(&["explain", "route", "--from", "berlin"]);
    for words in ["policy latency", "ESTIMATE", "FRA", "← chosen", "rejected_slower", "client subnet", "ttl 60 s"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    // No side effects: no question reached the router's ports.
    assert_eq!(metric(&world, "iso_router_dns_queries_subnet_total", "router.iad"), 0);
    assert_eq!(world.iso(&["explain", "route", "--from", "berlin", "http://nope.test/"]).status.code(), Some(2));

    // What is broken on purpose, the doctor says.
    world.ok(&["kill", "nrt"]);
    let sick = world.iso(&["doctor", "--json"]);
    assert_eq!(sick.status.code(), Some(1));
    let findings = json_of(&sick)["findings"].clone();
    let nodes = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "nodes").unwrap();
    assert!(nodes["ok"] == false && nodes["detail"].as_str().unwrap().contains("edge.nrt"), "{findings}");
    // What was stopped on purpose is not waited for; what should run and does not answer is.
    world.ok(&["wait", "--timeout", "20s"]);
    world.ok(&["pause", "fra"]);
    world.until_health("edge.fra", "down");
    let late = world.iso(&["wait", "--timeout", "50ms"]);
    assert_eq!(late.status.code(), Some(1), "{}", text(&late.stderr));
    assert!(text(&late.stderr).contains("edge.fra"), "{}", text(&late.stderr));
    world.ok(&["heal"]);
    world.ok(&["wait", "--timeout", "20s"]);
    assert_eq!(world.node("edge.fra")["health"], "up");
}

#[test]
fn what_caches_would_answer_and_whom_they_would_ask_is_told_before_and_after() {
    let world = World::of_file("pops = [\"IAD\", \"FRA\"]\n[router]\nexplore = 0.0\n");
    let url = "http://www.demo.test/doc?max-age=600";
    let explain = |what: &str| world.json(&["explain", what, "--from", "berlin", url]);
    let before = explain("cache");
    let reasons = |document: &Value| {
        let caches = document["caches"].as_array().unwrap().iter();
        caches.map(|cache| (cache["node"].clone(), cache["reason"].clone())).collect::<Vec<_>>()
    };
    let absent = |node: &str| (node.into(), "miss_absent".into());
    assert_eq!(reasons(&before), [absent("edge.fra"), absent("shield.iad")], "{before:#}");
    let told = world.ok(&["explain", "origin", "--from", "berlin", url]);
    for words in ["edge.fra → shield.iad → main", "3 × 10 s", "30 s", "500, 502, 503, 504", "GET /doc?max-age=600"]
    {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    let of_post = world.ok(&["explain", "origin", "--from", "berlin", "-X", "POST", "/doc"]);
    assert!(of_post.contains("edge.fra → main") && of_post.contains("a POST is for the first alone"), "{of_post}");
    assert_eq!(metric(&world, "iso_edge_requests_total", "edge.fra"), 0, "nothing was asked");

    world.curl("berlin", &["-o", "/dev/null", url]);
    let after = explain("cache");
    assert_eq!(reasons(&after), [("edge.fra".into(), "hit".into())], "{after:#}");
    let shown = world.ok(&["explain", "cache", "--from", "berlin", url]);
    for words in ["fresh 200", "policy min 0", "→ 600 s", "cache-control: max-age=600"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    let other = world.json(&["explain", "cache", "--from", "berlin", "-H", "Accept-Encoding: br", url]);
    assert_eq!(other["caches"][0]["key"]["accept_encoding"], "br", "{other:#}");
    for (wrong, words) in [
        (&["--from", "berlim", "/"][..], "did you mean \"Berlin\""),
        (&["--from", "berlin", "-H", "no colon", "/"], "it has no colon"),
        (&["--from", "berlin", "ftp://www.demo.test/"], "ftp:// is not spoken"),
    ] {
        let said = world.iso(&[&["explain", "cache"][..], wrong].concat());
        assert_eq!(said.status.code(), Some(2), "{wrong:?}: {}", text(&said.stderr));
        assert!(text(&said.stderr).contains(words), "{wrong:?}: {}", text(&said.stderr));
    }
}

#[test]
fn an_invalidation_spreads_and_the_cache_shows_it() {
    let world = World::of_file("preset = \"tiny\"\n[router]\nexplore = 0.0\n");
    for (place, path) in [("berlin", "/img/a"), ("tokyo", "/img/a"), ("berlin", "/keep")] {
        world.curl(place, &["-o", "/dev/null", &format!("http://www.demo.test{path}")]);
    }
    let holders = |path: &str| -> Vec<String> {
        let report = world.json(&["cache", "where", path]);
        let nodes = report["nodes"].as_array().unwrap().iter();
        let with = nodes.filter(|node| node["entries"].as_array().is_some_and(|entries| !entries.is_empty()));
        with.map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(holders("/img/a"), ["edge.fra", "edge.nrt", "shield.iad"]);
    assert_eq!(holders("http://www.demo.test/keep"), ["edge.fra", "shield.iad"]);
    let report = world.json(&["cache", "where", "/img/a"]);
    let entry = &report["nodes"][0]["entries"][0];
    assert_eq!((&entry["state"], &entry["bytes"]), (&"fresh".into(), &1024.into()), "{entry}");
    for key in ["etag", "age_s", "fresh_for_s", "since_last_hit_s"] {
        assert!(!entry[key].is_null(), "{key} is missing in {entry}");
    }
    let shown = world.ok(&["cache", "where", "/img/a"]);
    assert!(shown.contains("fresh") && shown.contains("absent"), "{shown}");

    let shown = world.json(&["cache", "show", "/img/a", "--at", "edge.fra"]);
    let entry = &shown["nodes"][0]["entries"][0];
    assert_eq!((&entry["tier"], &entry["key"]["path"]), (&"edge".into(), &"/img/a".into()), "{shown:#}");
    assert_eq!(shown["nodes"].as_array().unwrap().len(), 1);
    let seconds = |value: &Value| value.as_f64().unwrap();
    let freshness = &entry["freshness"];
    let age = seconds(&freshness["initial_age_s"]) + seconds(&freshness["resident_s"]);
    assert!((seconds(&entry["age_s"]) - age).abs() < 1e-6, "{entry:#}");
    let left = seconds(&freshness["fresh_on_arrival_s"]) - seconds(&freshness["resident_s"]);
    assert!((seconds(&entry["fresh_for_s"]) - left).abs() < 1e-6, "{entry:#}");
    let headers = entry["headers"].as_array().unwrap();
    assert!(headers.iter().any(|header| header[0] == "cache-control"), "{entry:#}");
    let shown = world.ok(&["cache", "show", "/img/a"]);
    for words in ["edge.fra  fresh  200  1024 bytes", "on arrival", "cache-control: ", "absent from edge.iad"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }

    world.curl("berlin", &["-o", "/dev/null", "http://www.demo.test/keep"]);
    let stats = world.json(&["cache", "stats"]);
    let fra = &stats["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "edge.fra").unwrap()["stats"];
    assert_eq!((&fra["hits"], &fra["misses"], &fra["objects"]), (&1.into(), &2.into(), &2.into()), "{stats:#}");
    assert_eq!((&fra["bytes_max"], &fra["bytes_sent"]), (&(256 << 20).into(), &3072.into()), "{stats:#}");
    for ratio in ["hit_ratio", "byte_hit_ratio"] {
        assert!((seconds(&fra[ratio]) - 1.0 / 3.0).abs() < 1e-6, "{stats:#}");
    }
    assert!(world.ok(&["cache", "stats"]).contains("33.3 %"));

    let watched = world.ok(&["invalidate", "/img/*", "--watch"]);
    for words in ["accepted I", "edge.fra", "edge.nrt", "edge.iad", "shield.iad", "1 removed", "3 objects removed"] {
        assert!(watched.contains(words), "{words:?} is not in {watched}");
    }
    assert!(holders("/img/a").is_empty());
    assert_eq!(holders("/keep"), ["edge.fra", "shield.iad"]);
    let response = world.curl("berlin", &["-i", "http://www.demo.test/img/a"]);
    assert_eq!(header(&response, "x-cache"), Some("Miss from cloudfront"), "{response}");
    // It takes the way to the edge, and not less.
    let report = world.json(&["invalidate", "/img/a", "--distribution", "demo"]);
    assert_eq!(report["status"], "Completed", "{report}");
    let nrt = report["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "edge.nrt").unwrap();
    assert!(nrt["after_ms"].as_f64().unwrap() >= world.rtt("iad", "nrt") * 0.99, "{nrt}");
    // A node that does not run has an empty cache when it comes back, so nothing waits for it.
    world.ok(&["kill", "nrt"]);
    let report = world.json(&["invalidate", "/*"]);
    let nrt = report["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "edge.nrt").unwrap();
    assert_eq!((&report["status"], &nrt["state"]), (&"Completed".into(), &"skipped".into()), "{report}");
    for (args, says) in [
        (&["invalidate", "no-slash"][..], "does not begin with /"),
        (&["invalidate", "/a", "--distribution", "nope"], "nope"),
        (&["cache", "where", "no-slash"], "must begin with /"),
        (&["cache", "show", "/a", "--at", "router.iad"], "no cache"),
    ] {
        let output = world.iso(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn only_the_token_opens_admin_and_metrics_have_every_row() {
    let world = World::start(&["--pops", "IAD"]);
    world.curl("washington", &["-o", "/dev/null", "http://www.demo.test/"]);
    // Who has no token, or a wrong one, gets nothing.
    let code = |args: &[&str]| {
        let out = run("curl", &[&["-sS", "-m", "10", "-w", "\n%{http_code}"], args].concat());
        status_and_body(&out).0
    };
    let control = record(&world)["control"].as_str().unwrap().to_owned();
    for path in ["/v1/status", "/metrics", "/v1/logs", "/v1/explain/route?from=tokyo"] {
        let url = format!("http://{control}{path}");
        assert_eq!(code(&[&url]), 401, "{path}");
        assert_eq!(code(&["-H", "Authorization: Bearer wrong", &url]), 401, "{path}");
    }
    assert_eq!(code(&["-X", "POST", &format!("http://{control}/v1/shutdown")]), 401);
    for id in ["edge.iad", "shield.iad", "router.iad", "origin.primary", "viewer.proxy"] {
        let admin = world.address(id, "admin");
        for path in ["/", "/metrics", "/faults", "/state"] {
            assert_eq!(code(&[&format!("http://{admin}{path}")]), 401, "{id} {path}");
        }
    }
    // The port for viewers knows the site, and nothing of admin: these are paths of the site like others.
    let record = record(&world);
    let token = format!("Authorization: Bearer {}", record["token"].as_str().unwrap());
    let edge = world.address("edge.iad", "http");
    for path in ["/metrics", "/v1/status", "/faults", "/v1/cache?path=/"] {
        let url = format!("http://{edge}{path}");
        let answer = run("curl", &["-sS", "-i", "-H", "Host: www.demo.test", "-H", &token, &url]);
        assert!(header(&answer, "x-amz-cf-id").is_some(), "{path}: {answer}");
        assert!(!answer.contains("iso_edge_requests_total") && !answer.contains("\"nodes\""), "{path}: {answer}");
    }

    // Every row of the table, of every role that runs.
    let (status, metrics) = world.control("/metrics");
    assert_eq!(status, 200);
    for row in cdn_core::counters::ROWS {
        let name = format!("iso_{}{{", row.name);
        assert!(metrics.lines().any(|line| line.starts_with(&name)), "{} is not in /metrics", row.name);
    }
    for family in cdn_core::counters::labelled::FAMILIES {
        let head = format!("# TYPE iso_{} ", family.name);
        assert!(metrics.contains(&head), "{} is not in /metrics", family.name);
    }
    assert!(metrics.contains("iso_edge_requests_total{node=\"edge.iad\",pop=\"IAD\",role=\"edge\"} "), "{metrics}");
    assert!(metric(&world, "iso_edge_requests_total", "edge.iad") >= 1);

    // The document of the API is public, and lists every route that the command line uses.
    let (status, document) = world.control("/v1/openapi.json");
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    for (path, method) in [
        ("/v1/status", "get"),
        ("/v1/nodes/{id}", "get"),
        ("/v1/nodes/{id}/kill", "post"),
        ("/v1/nodes/{id}/start", "post"),
        ("/v1/nodes/{id}/pause", "post"),
        ("/v1/nodes/{id}/resume", "post"),
        ("/v1/faults", "get"),
        ("/v1/faults", "post"),
        ("/v1/faults", "delete"),
        ("/v1/links", "post"),
        ("/v1/links/measure", "post"),
        ("/v1/drain", "post"),
        ("/v1/undrain", "post"),
        ("/v1/invalidations", "post"),
        ("/v1/invalidations/{id}", "get"),
        ("/v1/cache", "get"),
        ("/v1/cache/show", "get"),
        ("/v1/cache/stats", "get"),
        ("/v1/explain/route", "get"),
        ("/v1/dig", "get"),
        ("/v1/ledger/{id}", "get"),
        ("/v1/logs", "get"),
        ("/v1/events", "get"),
        ("/v1/shutdown", "post"),
        ("/metrics", "get"),
        ("/v1/openapi.json", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{method} {path} is not in the document");
    }
    let (status, dashboard) = world.control("/");
    assert!(status == 200 && dashboard.contains("<html"), "{status}");
}

#[test]
fn cluster_files_are_written_checked_and_described() {
    let world = World::none();
    let file = world.home().join("mine.toml");
    let path = file.to_str().unwrap();
    world.ok(&["config", "init", path]);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, std::fs::read_to_string(crate::harness::root().join("cluster.toml")).unwrap());
    let checked = world.json(&["config", "check", path]);
    assert_eq!(checked["valid"], true);
    assert!(checked["nodes"].as_array().unwrap().contains(&"edge.syd".into()), "{checked}");
    // What is there stays there.
    std::fs::write(&file, "seed = 7\n").unwrap();
    let again = world.iso(&["config", "init", path]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "seed = 7\n");
    world.ok(&["config", "init", path, "--force"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    assert_eq!(world.iso(&["config", "check", "/no/such/file.toml"]).status.code(), Some(2));

    // The schema names every key of the commented file.
    let schema: Value = serde_json::from_str(&world.ok(&["config", "schema"])).unwrap();
    let text = schema.to_string();
    for line in written.lines() {
        let line = line.trim_start_matches("# ");
        let Some((key, _)) = line.split_once(" = ") else { continue };
        if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            assert!(text.contains(&format!("\"{key}\":")), "{key} is not in the schema");
        }
    }
    for key in
        ["seed", "pops", "preset", "origins", "groups", "distributions", "router", "edge", "viewer", "world", "log"]
    {
        assert!(schema["properties"][key].is_object(), "{key} is not in the schema");
    }
}

#[test]
fn the_world_answers_without_running() {
    let world = World::none();
    let ms = |args: &[&str]| world.json(args)["rtt_ms"].as_f64().unwrap();
    let one = ms(&["world", "rtt", "tokyo", "fra"]);
    assert!(one > 100.0 && (ms(&["world", "rtt", "fra", "tokyo"]) - one).abs() < 0.001, "{one} ms");
    assert!(world.ok(&["world", "rtt", "sao paulo", "GRU"]).ends_with(" ms\n"));
    // Another seed is another world, the same seed the same.
    let seeded = |seed: &str| ms(&["world", "rtt", "tokyo", "fra", "--seed", seed]);
    assert!(seeded("2") != seeded("3") && seeded("2") == seeded("2"));
    assert!(world.ok(&["world", "places", "frankfurt"]).contains("eu-central-1"));

    // Pairs in, the same rows out, in their order, with a column more.
    let file = world.home().join("pairs.csv");
    let path = file.to_str().unwrap();
    let head = "src_lat,src_lon,src_kind,dst_lat,dst_lon,dst_kind";
    std::fs::write(
        &file,
        format!("{head},note\n35.7,139.7,public,1.3,103.8,region,far\n38.9,-77.4,region,50.1,8.6,public,\"a, b\"\n"),
    )
    .unwrap();
    let out = world.ok(&["world", "rtt", "--csv", path]);
    let lines: Vec<&str> = out.lines().collect();
    let [first, far, quoted] = lines.as_slice() else { panic!("{out}") };
    assert_eq!(*first, format!("{head},note,rtt_ms"));
    let (kept, far_ms) = far.rsplit_once(',').unwrap();
    assert_eq!(kept, "35.7,139.7,public,1.3,103.8,region,far");
    assert!(quoted.starts_with("38.9,-77.4,region,50.1,8.6,public,\"a, b\","), "{quoted}");
    assert!((50.0..120.0).contains(&far_ms.parse::<f64>().unwrap()), "{far_ms}");
    let rows = world.json(&["world", "rtt", "--csv", path]);
    assert_eq!(rows[0]["rtt_ms"].as_f64().unwrap(), far_ms.parse::<f64>().unwrap(), "{rows}");
    assert_eq!(rows[1]["note"], "a, b", "{rows}");
    for (row, says) in [
        ("98.9,-177.4,region,50.1,8.6,public", "latitude 98.9"),
        ("38.9,-77.4,moon,50.1,8.6,public", "moon"),
        ("38.9,-77.4,region", "3 fields"),
        ("x,-77.4,region,50.1,8.6,public", "invalid"),
    ] {
        std::fs::write(&file, format!("{head}\n38.9,-77.4,region,50.1,8.6,public\n{row}\n")).unwrap();
        let output = world.iso(&["world", "rtt", "--csv", path]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{row}: {said}");
        assert!(said.contains("pairs.csv") && said.contains("line 3") || said.contains("line: 3"), "{row}: {said}");
        assert!(said.contains(says), "{row}: {said}");
    }
    // A pair is not a head.
    std::fs::write(&file, "38.9,-77.4,region,50.1,8.6,public\n").unwrap();
    let headless = world.iso(&["world", "rtt", "--csv", path]);
    assert_eq!((headless.status.code(), headless.stdout.is_empty()), (Some(2), true));
    assert!(text(&headless.stderr).contains("src_lat, src_lon"), "{}", text(&headless.stderr));
    assert_eq!(world.iso(&["world", "rtt", "tokyo"]).status.code(), Some(2));
    assert_eq!(world.iso(&["world", "rtt", "--csv", "/no/such.csv"]).status.code(), Some(2));
}
