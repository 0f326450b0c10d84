//! Breaking things: every fault does what its name says, ends when it should, and is seen while it lasts.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    app::App,
    harness::{World, details, header, is_alive, run, spent, text},
    raw::until_counted,
};

/// One origin, asked by every request, that is given up soon.
const ONE_ORIGIN: &str = r#"
pops = ["IAD", "FRA"]
shield = "none"
[origins.o]
site = "us-east-1"
connection_attempts = 1
connection_timeout = "1s"
response_timeout = "1s"
[distributions.demo]
hosts = ["www.demo.test"]
[distributions.demo.default]
cache_policy = "CachingDisabled"
[router]
explore = 0.0
"#;

/// What a viewer's curl saw.
#[derive(Debug)]
struct Seen {
    exit: i32,
    status: u16,
    bytes: u64,
    took: Duration,
}

impl World {
    /// One request through the viewer proxy by the system's curl.
    fn seen(&self, place: &str, path: &str) -> Seen {
        let url = format!("http://www.demo.test{path}");
        let format = "%{http_code} %{size_download} %{time_total}";
        let args = ["curl", "--from", place, "--", "-sS", "-m", "20", "-o", "/dev/null", "-w", format, &url];
        let output = self.iso(&args);
        let out = text(&output.stdout);
        let mut words = out.split(' ');
        let mut next = || words.next().unwrap_or_else(|| panic!("{out}")).to_owned();
        Seen {
            exit: output.status.code().unwrap(),
            status: next().parse().unwrap(),
            bytes: next().parse().unwrap(),
            took: Duration::from_secs_f64(next().parse().unwrap()),
        }
    }

    fn faults(&self) -> Vec<(String, String)> {
        let status = self.status_now();
        let word = |fault: &Value, key: &str| fault[key].as_str().unwrap().to_owned();
        status["faults"].as_array().unwrap().iter().map(|fault| (word(fault, "target"), word(fault, "kind"))).collect()
    }
}

#[test]
fn a_simulated_origin_misbehaves_as_asked_and_heals() {
    let world = World::of_file(ONE_ORIGIN);
    let whole = world.seen("washington", "/?size=10k");
    assert_eq!((whole.exit, whole.status, whole.bytes), (0, 200, 10_240), "{whole:?}");
    let broken = |fault: &[&str], path: &str| {
        world.ok(&[&["fault", "o"], fault].concat());
        let seen = world.seen("washington", path);
        world.ok(&["heal", "o"]);
        seen
    };
    let seen = broken(&["--status", "418"], "/");
    assert_eq!(seen.status, 418, "{seen:?}");
    let seen = broken(&["--latency", "400ms"], "/");
    assert!(seen.status == 200 && seen.took >= Duration::from_millis(400), "{seen:?}");
    let seen = broken(&["--throttle", "80k"], "/?size=10k");
    // 10 KiB at 80 kbit/s are 1.02 s.
    assert!(seen.bytes == 10_240 && seen.took >= Duration::from_millis(900), "{seen:?}");
    let seen = broken(&["--truncate"], "/?size=10k");
    assert!(seen.exit == 18 && (1..10_240).contains(&seen.bytes), "{seen:?}");
    let seen = broken(&["--stall"], "/?size=10k");
    // The edge waits for the next bytes as long as it waits for a response.
    assert!(seen.exit == 18 && seen.bytes < 10_240 && seen.took >= Duration::from_millis(900), "{seen:?}");
    let seen = broken(&["--garbage"], "/");
    assert_eq!(seen.status, 502, "{seen:?}");

    // A share of the requests.
    world.ok(&["fault", "o", "--status", "503", "--rate", "50%"]);
    let failed = (0..40).filter(|_| world.seen("washington", "/").status == 503).count();
    assert!((8..=32).contains(&failed), "{failed} of 40 failed");
    world.ok(&["heal", "o"]);

    // Some paths, and what comes from one site.
    world.ok(&["fault", "o", "--status", "503", "--path", "/api/*", "--from", "fra"]);
    assert_eq!(world.seen("berlin", "/api/x").status, 503);
    assert_eq!(world.seen("berlin", "/other").status, 200);
    assert_eq!(world.seen("washington", "/api/x").status, 200);
    world.ok(&["heal", "all"]);
    assert_eq!(world.seen("berlin", "/api/x").status, 200);

    // Wrong words change nothing.
    for (args, says) in [
        (&["fault", "nobody", "--refuse"][..], "no node, PoP or origin"),
        (&["fault", "o", "--status", "99"], "between 200 and 599"),
        (&["fault", "o"], "required"),
        (&["fault", "o", "--refuse", "--reset"], "name one of them"),
        (&["fault", "edge.fra", "--status", "503"], "is no origin"),
        (&["fault", "o", "--rate", "200%", "--refuse"], "200%"),
        (&["link", "fra", "xxx", "--partition"], "there is no site"),
        (&["link", "fra", "iad"], "required"),
        (&["kill", "frx"], "did you mean fra"),
        (&["drain", "xxx"], "there is no PoP"),
        (&["heal", "nobody"], "no node, PoP or origin"),
    ] {
        let output = world.iso(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    assert!(world.faults().is_empty());
}

#[test]
fn refused_reset_and_black_hole_are_three_different_things() {
    let world = World::of_file(ONE_ORIGIN);
    let rtt = world.rtt("fra", "us-east-1");
    let outcome = |fault: &str| {
        world.ok(&["fault", "o", fault]);
        let ledger = world.ledger("berlin", &["--warm"], "/");
        world.ok(&["heal", "o"]);
        let attempts = details(&ledger, "origin_attempt");
        (ledger["status"].as_u64().unwrap(), attempts, spent(&ledger, "origin_attempt").iter().sum::<f64>())
    };
    // A round trip and the answer is no.
    let (status, attempts, refused_ms) = outcome("--refuse");
    assert_eq!((status, attempts.len()), (502, 1), "{attempts:?}");
    assert!(attempts[0].contains("connect 1 refused"), "{attempts:?}");
    assert!((rtt * 0.99..900.0).contains(&refused_ms), "{refused_ms} ms for a round trip of {rtt} ms");
    // It connects, takes the request and throws the connection away: two round trips.
    let (status, attempts, reset_ms) = outcome("--reset");
    assert_eq!((status, attempts.len()), (502, 2), "{attempts:?}");
    assert!(attempts[1].contains("reset"), "{attempts:?}");
    assert!((rtt * 1.98..900.0).contains(&reset_ms), "{reset_ms} ms for two round trips of {rtt} ms");
    // Silence: only the timeout ends it.
    let (status, attempts, silent_ms) = outcome("--blackhole");
    assert_eq!((status, attempts.len()), (504, 1), "{attempts:?}");
    assert!(attempts[0].contains("connect 1 timeout"), "{attempts:?}");
    assert!((1000.0..3000.0).contains(&silent_ms), "{silent_ms} ms for a timeout of 1 s");
    assert_eq!(world.ledger("berlin", &["--warm"], "/")["status"], 200);
}

#[test]
fn somebodys_own_app_misbehaves_as_asked() {
    let app = App::start();
    let sim = "[origins.o]\n";
    let world = World::of_file(&ONE_ORIGIN.replace(sim, &format!("{sim}url = {:?}\n", app.url())));
    let reached = || app.seen.lock().unwrap().len();
    assert_eq!(world.seen("washington", "/a").status, 200);
    assert_eq!(reached(), 1);
    world.ok(&["fault", "o", "--status", "503"]);
    assert_eq!(world.seen("washington", "/b").status, 503);
    assert_eq!(reached(), 1, "the app has seen a request that the fault answers");
    world.ok(&["heal", "o"]);
    assert_eq!(world.seen("washington", "/c").status, 200);
    world.ok(&["fault", "o", "--status", "500", "--path", "/d*"]);
    assert_eq!((world.seen("washington", "/d").status, world.seen("washington", "/e").status), (500, 200));
    world.ok(&["heal", "o"]);
    world.ok(&["fault", "o", "--truncate"]);
    let seen = world.seen("washington", "/bytes/20000");
    assert!(seen.exit == 18 && seen.bytes < 20_000, "{seen:?}");
    world.ok(&["heal", "o"]);
    world.ok(&["fault", "o", "--refuse", "--for", "2s"]);
    // A viewer elsewhere, whose edge has no connection to the app yet.
    let refused = world.curl("berlin", &["-i", "http://www.demo.test/f"]);
    assert!(refused.starts_with("HTTP/1.1 502"), "{refused}");
    assert!(header(&refused, "server-timing").unwrap().contains("o connect refused"), "{refused}");
    world.until("the app is back by itself", || (world.seen("berlin", "/g").status == 200).then_some(()));
    assert!(world.faults().is_empty());
}

#[test]
fn nodes_are_killed_paused_and_started_while_latency_is_simulated() {
    let world = World::of_file(
        "preset = \"tiny\"\n[router]\nexplore = 0.0\nramp = \"0s\"\nprobe_interval = \"300ms\"\ndown_after = 2\n",
    );
    let pid = |id: &str| world.node(id)["pid"].as_u64();
    let before = pid("edge.nrt").unwrap();
    let killed = world.json(&["kill", "nrt", "--for", "1500ms"]);
    assert_eq!(killed["nodes"][0]["node"], "edge.nrt", "{killed}");
    assert!(killed["nodes"][0]["error"].is_null(), "{killed}");
    assert_eq!(world.faults(), [("edge.nrt".into(), "kill".into())]);
    assert!(!is_alive(before));
    let (rtt, far) = (world.rtt("tokyo", "fra"), world.rtt("berlin", "fra"));
    // Its viewers are served by others, over the real distance.
    let elsewhere = world.ledger("tokyo", &["--warm"], "/");
    assert_ne!(elsewhere["pop"], "nrt", "{elsewhere}");
    assert!(elsewhere["total_ms"].as_f64().unwrap() >= rtt.min(world.rtt("tokyo", "iad")) * 0.99, "{elsewhere}");
    assert!(world.ledger("berlin", &["--warm"], "/")["total_ms"].as_f64().unwrap() >= far * 0.99);
    // It comes back by itself, as another process, without having crashed.
    world.until_health("edge.nrt", "up");
    assert!(pid("edge.nrt").unwrap() != before && world.faults().is_empty());
    assert_eq!(world.node("edge.nrt")["restarts"], 0);
    let back = world.ledger("osaka", &[], "/");
    assert_eq!((&back["pop"], &back["status"]), (&"nrt".into(), &200.into()), "{back}");
    assert!(spent(&back, "connect")[0] >= world.rtt("osaka", "nrt") * 0.99, "{back}");

    // Without an end it stays dead until somebody starts it.
    world.ok(&["kill", "edge.nrt"]);
    world.until("it is stopped", || (world.node("edge.nrt")["health"] == "stopped").then_some(()));
    assert!(pid("edge.nrt").is_none());
    for (args, code) in [(["resume", "nrt"], 1), (["pause", "nrt"], 1), (["start", "nrt"], 0)] {
        assert_eq!(world.iso(&args).status.code(), Some(code), "{args:?}");
    }
    world.until_health("edge.nrt", "up");
    assert_eq!(world.iso(&["start", "nrt"]).status.code(), Some(1), "it runs already");

    // Paused: the process is there and says nothing.
    let process = pid("edge.fra").unwrap();
    world.ok(&["pause", "fra"]);
    assert_eq!(world.faults(), [("edge.fra".into(), "pause".into())]);
    world.until("it is missed", || (world.node("edge.fra")["health"] == "down").then_some(()));
    assert!(is_alive(process));
    world.ok(&["resume", "fra"]);
    world.until_health("edge.fra", "up");
    assert_eq!(pid("edge.fra"), Some(process));
    assert!(world.faults().is_empty());
    world.ok(&["pause", "fra", "--for", "200ms"]);
    world.until("the pause is over", || world.faults().is_empty().then_some(()));
    world.until_health("edge.fra", "up");
    assert_eq!(pid("edge.fra"), Some(process));

    // An origin is a node like others; the second of the group takes over, and heal brings it back.
    world.ok(&["kill", "origin.primary"]);
    let response = world.curl("berlin", &["-i", "http://www.demo.test/while-dead"]);
    assert_eq!(header(&response, "x-origin"), Some("secondary"), "{response}");
    world.ok(&["heal", "primary"]);
    world.until_health("origin.primary", "up");
    let response = world.curl("berlin", &["-i", "http://www.demo.test/again"]);
    assert_eq!(header(&response, "x-origin"), Some("primary"), "{response}");
}

#[test]
fn links_are_slowed_cut_and_healed_while_requests_flow() {
    let world = World::of_file(&ONE_ORIGIN.replace("connection_timeout = \"1s\"", "connection_timeout = \"5s\""));
    let rtt = world.rtt("berlin", "fra") + world.rtt("fra", "us-east-1");
    let warm_ms = || {
        let ledger = world.ledger("berlin", &["--warm"], "/");
        assert_eq!((&ledger["status"], &ledger["pop"]), (&200.into(), &"fra".into()), "{ledger}");
        ledger["total_ms"].as_f64().unwrap()
    };
    warm_ms();
    world.ok(&["link", "berlin", "fra", "--delay", "+300ms"]);
    let both = warm_ms();
    assert!(both >= rtt + 599.0, "{both} ms; {rtt} ms and 300 ms each way were asked for");
    world.ok(&["heal", "berlin<->fra"]);
    world.ok(&["link", "berlin", "fra", "--delay", "300ms", "--one-way"]);
    let one_way = warm_ms();
    assert!((rtt + 299.0..rtt + 590.0).contains(&one_way), "{one_way} ms; {rtt} ms and 300 ms one way were asked for");
    world.ok(&["heal", "all"]);
    let healed = warm_ms();
    assert!(healed < rtt + 290.0, "{healed} ms for {rtt} ms");
    // 40 KiB at 400 kbit/s are 0.82 s.
    world.ok(&["link", "fra", "us-east-1", "--throttle", "400k"]);
    let seen = world.seen("berlin", "/?size=40k");
    assert!(seen.bytes == 40_960 && seen.took >= Duration::from_millis(750), "{seen:?}");
    world.ok(&["heal", "all"]);
    // What is lost is sent again: late, and whole.
    world.ok(&["link", "berlin", "fra", "--loss", "10%"]);
    for n in 0..5 {
        let seen = world.seen("berlin", &format!("/?size=30k&n={n}"));
        assert_eq!((seen.exit, seen.status, seen.bytes), (0, 200, 30 << 10), "{seen:?}");
    }
    world.ok(&["heal", "all"]);
    // Cut off from its origin while a request is on its way: once healed it goes on.
    world.ok(&["link", "fra", "o", "--partition"]);
    assert_eq!(world.faults(), [("fra<->us-east-1".into(), "partition".into())]);
    std::thread::scope(|scope| {
        let began = Instant::now();
        let request = scope.spawn(|| world.seen("munich", "/"));
        world.until("the request hangs", || {
            assert!(!request.is_finished(), "a request passed a partition: {:?}", world.faults());
            (began.elapsed() > Duration::from_millis(400)).then_some(())
        });
        world.ok(&["heal", "fra<->us-east-1"]);
        let seen = request.join().unwrap();
        assert_eq!((seen.exit, seen.status), (0, 200), "{seen:?}");
        assert!(seen.took >= Duration::from_millis(400), "{seen:?}");
    });
    // A viewer cut off from its PoP finds the second address.
    world.ok(&["link", "munich", "fra", "--partition", "--for", "20s"]);
    let around = world.ledger("munich", &[], "/");
    assert_eq!((&around["status"], &around["pop"]), (&200.into(), &"iad".into()), "{around}");
    assert!(details(&around, "connect")[0].contains("silent"), "{around}");
    // Others are not concerned.
    assert_eq!(world.ledger("vienna", &[], "/")["pop"], "fra");
}

#[test]
fn the_status_lists_what_is_broken_until_its_time_is_over() {
    let world = World::start(&["--preset", "tiny"]);
    for args in [
        &["fault", "primary", "--status", "503", "--rate", "30%"][..],
        &["fault", "secondary", "--latency", "50ms", "--garbage"],
        &["link", "fra", "iad", "--delay", "+20ms", "--loss", "1%"],
        &["link", "nrt", "us-east-1", "--partition", "--one-way"],
        &["pause", "nrt"],
        &["fault", "fra", "--blackhole"],
    ] {
        let broken = world.json(&[args, &["--for", "4s"]].concat());
        assert!(!broken.is_null(), "{args:?}");
    }
    let status = world.status_now();
    let faults = status["faults"].as_array().unwrap();
    for (target, kind) in [
        ("origin.primary", "status"),
        ("origin.secondary", "latency"),
        ("origin.secondary", "garbage"),
        ("fra<->iad", "delay"),
        ("fra<->iad", "loss"),
        ("nrt->us-east-1", "partition"),
        ("edge.nrt", "pause"),
        ("edge.fra", "blackhole"),
    ] {
        let fault = faults.iter().find(|fault| fault["target"] == target && fault["kind"] == kind);
        let ends = fault.unwrap_or_else(|| panic!("{kind} at {target} is not in {status}"))["ends_in_ms"].as_u64();
        assert!(ends.is_some_and(|ms| ms <= 4000), "{fault:?}");
    }
    assert_eq!(faults.len(), 8, "{status}");
    let shown = world.ok(&["status"]);
    for words in ["503, 30 % of requests", "+20 ms each way", "nrt->us-east-1", "1 % of packets", "ENDS IN"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    world.until("every fault has ended", || world.faults().is_empty().then_some(()));
    for edge in ["edge.fra", "edge.nrt"] {
        world.until_health(edge, "up");
    }
    // What has no end is healed: one target, or all.
    world.ok(&["fault", "primary", "--refuse"]);
    world.ok(&["fault", "secondary", "--status", "500"]);
    world.ok(&["kill", "nrt"]);
    let healed = world.json(&["heal", "secondary"]);
    assert_eq!(healed["faults"].as_array().unwrap().len(), 1, "{healed}");
    assert_eq!(world.faults().len(), 2);
    assert_eq!(world.json(&["heal"])["faults"].as_array().unwrap().len(), 2);
    assert!(world.faults().is_empty());
    world.until_health("edge.nrt", "up");
    assert_eq!(world.ok(&["heal"]).trim(), "nothing was broken there");
}

#[test]
fn a_drained_pop_leaves_the_answers_at_once_and_finishes_what_it_does() {
    let world = World::of_file("preset = \"tiny\"\n[router]\nexplore = 0.0\n");
    let fra = world.ip("edge.fra");
    let berlin = world.network("berlin");
    assert_eq!(world.dig(&berlin)[0], fra);
    std::thread::scope(|scope| {
        // On its way through Frankfurt when the drain comes.
        let slow = scope.spawn(|| world.curl("berlin", &["-i", "http://www.demo.test/slow?delay=1500ms"]));
        until_counted(&world, "iso_edge_requests_total", "edge.fra", 1);
        for (verb, is_there) in [("drain", false), ("undrain", true), ("drain", false)] {
            world.ok(&[verb, "fra"]);
            let told = Instant::now();
            world.until("answers follow", || (world.dig(&berlin).contains(&fra) == is_there).then_some(()));
            // The promise is 100 ms at the router; on a busy machine much comes on top. Probes alone would take longer.
            assert!(told.elapsed() < Duration::from_millis(2500), "{verb} took {:?}", told.elapsed());
        }
        let response = slow.join().unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(header(&response, "x-amz-cf-pop").unwrap().starts_with("FRA"), "{response}");
    });
    let status = world.status_now();
    assert_eq!(status["drained"], serde_json::json!(["FRA"]));
    world.until_health("edge.fra", "draining");
    let route = world.json(&["explain", "route", "--from", "berlin"]);
    let fra_row = route["candidates"].as_array().unwrap().iter().find(|row| row["pop"] == "FRA").unwrap();
    assert_eq!(fra_row["reason"], "rejected_draining", "{route}");
    // Who comes all the same is served.
    let direct = format!("http://{}/", world.address("edge.fra", "http"));
    let answer = run("curl", &["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: www.demo.test", &direct]);
    assert_eq!(answer, "200");
    assert_eq!(world.json(&["undrain", "fra"])["drained"], serde_json::json!([]));
    world.until_health("edge.fra", "up");
    assert_eq!(world.dig(&berlin)[0], fra);
}

#[test]
fn a_running_world_serves_as_another_file_says_and_as_before() {
    let cluster = |policy: &str| {
        format!(
            "pops = [\"FRA\", \"NRT\"]\nshield = \"none\"\n[distributions.demo.default]\ncache_policy = \"{policy}\"\n"
        )
    };
    let world = World::of_file(&cluster("CachingOptimized"));
    let file = |name: &str, text: &str| {
        let path = world.home().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cached = |place: &str| {
        let path = "http://www.demo.test/cached?max-age=60";
        let ask = || world.curl(place, &["-o", "/dev/null", "-w", "%header{x-cache}", path]);
        (ask(), ask()).1
    };
    assert_eq!(cached("berlin"), "Hit from cloudfront");
    // One PoP first.
    let changed = file("changed.toml", &cluster("CachingDisabled"));
    assert_eq!(world.ok(&["config", "apply", &changed, "--on", "fra"]), "edge.fra: done\n");
    assert_eq!((cached("berlin"), cached("tokyo")), ("Miss from cloudfront".into(), "Hit from cloudfront".into()));
    // It stays so when the edge comes back.
    world.ok(&["kill", "fra"]);
    world.ok(&["start", "fra"]);
    world.until_health("edge.fra", "up");
    world.until("it is told again", || (cached("berlin") == "Miss from cloudfront").then_some(()));
    world.ok(&["config", "apply"]);
    assert_eq!(cached("berlin"), "Hit from cloudfront");
    // What cannot be is refused, and nothing changes.
    let other = file("other.toml", &(cluster("CachingDisabled") + "[distributions.shop]\nhosts = [\"shop.test\"]\n"));
    let refused = world.iso(&["config", "apply", &other]);
    assert_eq!(refused.status.code(), Some(1));
    assert!((text(&refused.stdout) + &text(&refused.stderr)).contains("names of distributions stay"));
    assert_eq!(cached("berlin"), "Hit from cloudfront");
}
