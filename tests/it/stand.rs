//! Standing somewhere: who is served from where, what it costs, and what happens when that place goes away.

use std::time::{Duration, Instant};

use crate::{
    harness::{World, details, header, run, spent, text},
    raw::until_counted,
};

/// Answers never try the runner-up, so that every one of them is known.
const TINY: &str = "preset = \"tiny\"\n[router]\nexplore = 0.0\n";

/// What a busy machine may add to a request that the model says is over.
const SLACK_MS: f64 = 150.0;

#[test]
fn a_viewer_is_served_nearby_and_a_request_takes_what_its_path_says() {
    let world = World::of_file(TINY);
    for (place, pop) in [
        ("tokyo", "nrt"),
        ("berlin", "fra"),
        ("new york", "iad"),
        ("lima", "iad"),
        ("sydney", "nrt"),
        ("ap-northeast-1", "nrt"),
        ("FRA", "fra"),
    ] {
        let rtt = world.rtt(place, pop);
        let response = world.curl(place, &["-i", "-w", "\n%{time_total}", "http://www.demo.test/near"]);
        let served_by = header(&response, "x-amz-cf-pop").unwrap();
        assert!(served_by.starts_with(&pop.to_uppercase()), "{place} is served by {served_by}");
        // curl's own clock: connect and request are two round trips at least.
        let total_ms = response.lines().last().unwrap().parse::<f64>().unwrap() * 1e3;
        assert!(total_ms >= 2.0 * rtt, "{place}: {total_ms} ms in all, but two round trips take {} ms", 2.0 * rtt);

        let cold = world.ledger(place, &[], "/near");
        assert_eq!(cold["pop"], pop, "{cold}");
        assert!(spent(&cold, "connect")[0] >= rtt * 0.999, "{place}: {rtt} ms, {cold}");
        let warm = world.ledger(place, &["--warm"], "/near");
        assert_eq!(warm["cache"], "hit", "{warm}");
        let took = warm["total_ms"].as_f64().unwrap();
        assert!((rtt * 0.999..rtt + SLACK_MS).contains(&took), "{place}: {took} ms for {rtt} ms: {warm}");
    }
    // The round trips that these viewers saw are what the router goes by from now on.
    let source = |place: &str, pop: &str| {
        let route = world.json(&["explain", "route", "--from", place]);
        let candidates = route["candidates"].as_array().unwrap().clone();
        candidates.into_iter().find(|candidate| candidate["pop"] == pop).unwrap()
    };
    let learned = world.until("the router has heard from tokyo", || {
        Some(source("tokyo", "NRT")).filter(|candidate| candidate["source"] == "beacons")
    });
    assert!(learned["samples"].as_u64().unwrap() >= 1, "{learned}");
    assert!(learned["estimate_ms"].as_f64().unwrap() >= world.rtt("tokyo", "nrt") * 0.99, "{learned}");
    assert_eq!(source("nairobi", "FRA")["source"], "distance");
}

#[test]
fn who_stands_in_a_place_before_its_world_is_up_waits_for_it() {
    let world = World::none();
    let url = "http://www.demo.test/early";
    let curl = ["-sS", "--fail", "-o", "/dev/null", url];
    for verb in [
        &[&["in", "berlin", "--", "curl"][..], &curl].concat()[..],
        &[&["curl", "--from", "berlin", "--"][..], &curl].concat(),
        &["dig", "--from", "berlin", "www.demo.test", "--short"],
    ] {
        world.ok(&["up", "-d", "--preset", "tiny", "--base-port", "0"]);
        world.ok(verb);
        world.ok(&["down"]);
    }
}

#[test]
fn a_proxy_user_is_a_place() {
    let world = World::of_file(TINY);
    let proxy = world.ok(&["proxy"]).trim().to_owned();
    let address = proxy.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(world.json(&["proxy"])["proxy"], address.as_str());
    assert_eq!(world.status()["proxy"], address.as_str());
    let url = "http://www.demo.test/";
    let pop = |args: &[&str]| {
        let out = run("curl", &[&["-sS", "-i", "--noproxy", "", "--max-time", "30"], args].concat());
        let head = out.split("\r\n\r\n").find(|head| header(head, "x-amz-cf-pop").is_some());
        header(head.unwrap_or_else(|| panic!("{out}")), "x-amz-cf-pop").unwrap()[..3].to_owned()
    };
    for (user, expected) in [("tokyo", "NRT"), ("frankfurt", "FRA"), ("new%20york", "IAD"), ("eu-central-1", "FRA")] {
        assert_eq!(pop(&["-x", &format!("http://{user}@{address}"), url]), expected, "{user}");
    }
    assert_eq!(pop(&["-x", &format!("http://tokyo@{address}"), "--proxytunnel", url]), "NRT", "CONNECT");
    assert_eq!(pop(&["-x", &proxy, url]), "IAD", "nobody said where: near the first PoP");
    // The verb that does this for any command.
    let inside = world.ok(&["in", "osaka", "--", "sh", "-c", "curl -sSi http://www.demo.test/; echo $ISO_PLACE"]);
    assert!(header(&inside, "x-amz-cf-pop").unwrap().starts_with("NRT"), "{inside}");
    assert!(inside.ends_with("osaka\n"), "{inside}");
    assert_eq!(world.iso(&["in", "osaka", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(world.iso(&["in", "osaka", "--", "no-such-command"]).status.code(), Some(1));

    // A place that is none.
    let wrong = run("curl", &["-sS", "-i", "--noproxy", "", "-x", &format!("http://tokio@{address}"), url]);
    assert!(wrong.starts_with("HTTP/1.1 4") && wrong.contains("did you mean \"Tokyo\""), "{wrong}");
    for args in [
        &["curl", "--from", "tokio", "--", "-sS", url][..],
        &["curl", "--from", "berlin", "--resolver", "tokio", "--", "-sS", url],
        &["dig", "--from", "tokio", "www.demo.test"],
        &["in", "tokio", "--", "true"],
        &["explain", "route", "--from", "tokio"],
    ] {
        let output = world.iso(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("did you mean") && said.to_lowercase().contains("tokyo"), "{args:?}: {said}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
    // Only this world, and never the real one.
    let outside = world.curl("berlin", &["-i", "http://example.com/"]);
    assert!(!outside.starts_with("HTTP/1.1 2"), "{outside}");
}

#[test]
fn names_are_resolved_where_the_resolver_stands_and_kept_for_their_ttl() {
    let world = World::of_file(TINY);
    let (fra, nrt) = (world.ip("edge.fra"), world.ip("edge.nrt"));
    let name = "www.demo.test";
    let first = world.json(&["dig", "--from", "berlin", name]);
    assert_eq!(first["rcode"], "NOERROR", "{first}");
    assert_eq!(first["cached"], false, "{first}");
    assert_eq!(first["answers"].as_array().unwrap().len(), 2, "{first}");
    assert_eq!(first["answers"][0]["data"], fra.as_str(), "{first}");
    assert_eq!(first["answers"][0]["ttl_s"], 60, "{first}");
    // The resolver in Berlin asked the router in Ashburn.
    let asked_ms = first["time_ms"].as_f64().unwrap();
    assert!(asked_ms > 60.0, "{first}");
    let second = world.json(&["dig", "--from", "berlin", name]);
    assert_eq!(second["cached"], true, "{second}");
    assert!(second["time_ms"].as_f64().unwrap() < 60.0, "{second}");
    assert!(details(&world.ledger("berlin", &[], "/"), "dns")[0].contains("cached"));
    let short = world.ok(&["dig", "--from", "berlin", "--short", name]);
    let lines: Vec<&str> = short.lines().collect();
    let data = |index: usize| first["answers"][index]["data"].as_str().unwrap();
    assert_eq!(lines, [data(0), data(1)]);
    let full = world.ok(&["dig", "--from", "berlin", name]);
    assert!(full.contains("ANSWER SECTION") && full.contains("CLIENT-SUBNET: 198.1"), "{full}");

    // The same question by the system's dig, with the same client subnet.
    let network = first["client_subnet"]["source"].as_str().unwrap().to_owned();
    assert_eq!(world.network("berlin"), network);
    assert_eq!(world.dig(&network), lines);
    let dns = world.address("router.iad", "dns");
    let (ip, port) = dns.split_once(':').unwrap();
    let dig = |args: &[&str]| run("dig", &[&[&format!("@{ip}"), "-p", port, "+tries=1"], args].concat());
    assert_eq!(dig(&[name, "+short", "+tcp", &format!("+subnet={network}")]), short);
    assert!(dig(&[name, &format!("+subnet={network}")]).contains(&format!("CLIENT-SUBNET: {network}/")));
    assert!(dig(&["nothing.demo.test"]).contains("status: NXDOMAIN"));
    assert!(dig(&["example.com"]).contains("status: REFUSED"));
    let soa = dig(&["demo.test", "SOA"]);
    assert!(soa.contains("SOA") && soa.contains("status: NOERROR"), "{soa}");

    // A resolver elsewhere: with the client subnet the viewer counts, without it the resolver does.
    let elsewhere = world.ok(&["dig", "--from", "berlin", "--resolver", "tokyo", "--short", name]);
    assert!(elsewhere.starts_with(&fra), "{elsewhere}");
    let hidden = world.json(&["dig", "--from", "berlin", "--resolver", "tokyo", "--no-ecs", name]);
    assert_eq!(hidden["answers"][0]["data"], nrt.as_str(), "{hidden}");
    assert!(hidden["client_subnet"].is_null(), "{hidden}");
    assert_eq!(hidden["resolver_place"], "tokyo", "{hidden}");
    let explained = world.json(&["explain", "route", "--from", "berlin", "--resolver", "tokyo", "--no-ecs"]);
    assert_eq!(explained["chosen"][0]["pop"], "NRT", "{explained}");
    assert_eq!(explained["client"]["from"], "peer", "{explained}");
    let request =
        ["curl", "--from", "berlin", "--resolver", "tokyo", "--no-ecs", "--", "-sSi", "http://www.demo.test/"];
    assert!(header(&world.ok(&request), "x-amz-cf-pop").unwrap().starts_with("NRT"));
}

#[test]
fn a_pop_dies_and_no_request_of_a_viewer_with_a_second_address_fails() {
    let world = World::of_file("pops = [\"IAD\", \"FRA\"]\n[router]\nexplore = 0.0\n");
    let fra = world.ip("edge.fra");
    let berlin = world.network("berlin");
    assert_eq!(world.dig(&berlin)[0], fra);
    let proxy = format!("http://berlin@{}", world.status()["proxy"].as_str().unwrap());
    let one = |n: usize| {
        let url = format!("http://www.demo.test/page{}?n={n}", n % 3);
        let args = ["-sS", "-i", "--noproxy", "", "--max-time", "30", "-x", &proxy, &url];
        let response = run("curl", &args);
        assert!(response.starts_with("HTTP/1.1 200"), "request {n}: {response}");
        header(&response, "x-amz-cf-pop").unwrap()[..3].to_owned()
    };
    let pops: Vec<String> = std::thread::scope(|scope| {
        // One that the dead edge has taken, and will never answer.
        let slow = scope.spawn(|| world.curl("berlin", &["-i", "http://www.demo.test/slow?delay=4s"]));
        until_counted(&world, "iso_edge_requests_total", "edge.fra", 1);
        let pops = (0..20)
            .map(|n| {
                // The kill comes while requests are on their way.
                if n == 5 {
                    scope.spawn(|| world.ok(&["kill", "fra"]));
                }
                one(n)
            })
            .collect();
        let slow = slow.join().unwrap();
        assert!(slow.starts_with("HTTP/1.1 200"), "{slow}");
        assert!(header(&slow, "x-amz-cf-pop").unwrap().starts_with("IAD"), "{slow}");
        pops
    });
    assert_eq!(pops[0], "FRA", "{pops:?}");
    assert_eq!(pops[19], "IAD", "{pops:?}");

    // The router notices by itself: 14 failed probes 60 ms apart, at most 1 s after the kill.
    world.until("answers leave the dead PoP", || (!world.dig(&berlin).contains(&fra)).then_some(()));
    let route = world.json(&["explain", "route", "--from", "berlin"]);
    let reason = |pop: &str| {
        let candidates = route["candidates"].as_array().unwrap().iter();
        candidates.clone().find(|candidate| candidate["pop"] == pop).unwrap()["reason"].clone()
    };
    assert_eq!(reason("FRA"), "rejected_down", "{route}");
    world.ok(&["start", "fra"]);
    world.until_health("edge.fra", "up");
    world.until("answers come back", || (world.dig(&berlin)[0] == fra).then_some(()));
}

#[test]
fn detection_is_as_quick_as_the_probes_say() {
    let world = World::of_file(
        "pops = [\"IAD\", \"FRA\"]\n[router]\nexplore = 0.0\nprobe_interval = \"250ms\"\ndown_after = 3\nttl = \"1s\"\n",
    );
    let fra = world.ip("edge.fra");
    let berlin = world.network("berlin");
    assert_eq!(world.json(&["dig", "--from", "berlin", "www.demo.test"])["answers"][0]["ttl_s"], 1);
    world.ok(&["kill", "fra"]);
    let killed = Instant::now();
    world.until("answers leave the dead PoP", || (!world.dig(&berlin).contains(&fra)).then_some(()));
    // 250 ms to the next probe, 2 more 60 ms apart, each refused after the round trip of 94 ms: about 0.65 s.
    assert!(killed.elapsed() < Duration::from_secs(5), "noticed after {:?}", killed.elapsed());
    // One TTL later the viewer does not even try the dead address.
    world.until("the viewer has forgotten it", || {
        let ledger = world.ledger("berlin", &[], "/");
        assert_eq!(ledger["status"], 200, "{ledger}");
        (details(&ledger, "connect").len() == 1 && !details(&ledger, "dns")[0].contains(&fra)).then_some(())
    });
}
