//! Where the time went: the parts add up, and every hop and attempt is named with its outcome.

use serde_json::Value;

use crate::harness::{World, details, header, json_of, spent, text};

/// The parts of a ledger add up to its total within 1 ms or 1 %.
fn adds_up(ledger: &Value) {
    let total = ledger["total_ms"].as_f64().unwrap();
    let entries = ledger["entries"].as_array().unwrap();
    assert!(!entries.is_empty(), "{ledger}");
    let parts = entries.iter().map(|entry| entry["duration_ms"].as_f64().unwrap());
    assert!(parts.clone().all(|part| part >= 0.0), "{ledger}");
    let sum: f64 = parts.sum();
    assert!((sum - total).abs() <= (total / 100.0).max(1.0), "the parts are {sum} ms of {total} ms: {ledger}");
}

#[test]
fn the_parts_of_a_request_through_the_shield_add_up() {
    let world = World::of_file("pops = [\"IAD\", \"FRA\"]\nshield = \"IAD\"\n[router]\nexplore = 0.0\n");
    // curl's own clock and the ledger look at the same request.
    let url = "http://www.demo.test/a?size=200k&delay=120ms";
    let args = ["curl", "--json", "--from", "berlin", "--ledger", "--", "-sS", "-o", "/dev/null", "-w"];
    let out = world.ok(&[&args[..], &["%{time_total}\n", url]].concat());
    let (curl, document) = out.split_once('\n').unwrap();
    let cold: Value = serde_json::from_str(document).unwrap();
    adds_up(&cold);
    let (curl_ms, total_ms) = (curl.parse::<f64>().unwrap() * 1e3, cold["total_ms"].as_f64().unwrap());
    assert!((total_ms - 2.0..total_ms + 200.0).contains(&curl_ms), "curl saw {curl_ms} ms, the ledger {total_ms} ms");

    let steps: Vec<&str> =
        cold["entries"].as_array().unwrap().iter().filter_map(|entry| entry["step"].as_str()).collect();
    let expected = ["dns", "connect", "request", "edge_lookup", "shield_hop", "shield_lookup", "shield_attempt"];
    for step in expected.iter().chain(&["edge", "transfer"]) {
        assert!(steps.contains(step), "{step} is not in {steps:?}");
    }
    let (viewer, hop) = (world.rtt("berlin", "fra"), world.rtt("fra", "iad"));
    assert!(spent(&cold, "connect")[0] >= viewer * 0.999, "{viewer} ms: {cold}");
    assert!(spent(&cold, "request")[0] >= viewer * 0.99, "{viewer} ms: {cold}");
    // Connect and request between edge and shield are a round trip each.
    assert!(spent(&cold, "shield_hop")[0] >= 2.0 * hop * 0.99, "{hop} ms: {cold}");
    let attempts = details(&cold, "shield_attempt");
    assert!(attempts.last().unwrap().contains("response 200"), "{attempts:?}");
    assert!(*spent(&cold, "shield_attempt").last().unwrap() >= 120.0, "the origin waited 120 ms: {cold}");
    assert!(spent(&cold, "transfer")[0] > 1.0, "{cold}");
    assert_eq!(cold["body_bytes"], 200 << 10, "{cold}");
    assert_eq!((&cold["status"], &cold["cache"], &cold["warm"]), (&200.into(), &"miss".into(), &false.into()));

    // A hit stays at the edge; a warm one begins with the request.
    let hit = world.ledger("berlin", &["--warm"], "/a?size=200k&delay=120ms");
    adds_up(&hit);
    assert_eq!(hit["cache"], "hit", "{hit}");
    for step in ["dns", "connect", "shield_hop", "shield_attempt", "origin_attempt"] {
        assert!(spent(&hit, step).is_empty(), "{step} is in {hit}");
    }
    // For people: one line per part, and the total.
    let shown = world.ok(&["curl", "--from", "berlin", "--ledger", "--", "-sS", "-o", "/dev/null", url]);
    for part in ["berlin → resolver", "berlin → fra", "HIT", "transfer, 204800 bytes", "total"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }

    // The edge tells everybody, in Server-Timing.
    let response = world.curl("berlin", &["-I", "http://www.demo.test/b"]);
    let timing = header(&response, "server-timing").unwrap();
    for part in [
        "cdn-cache-miss",
        "cdn-pop;desc=\"FRA50-P1\"",
        "cdn-rid;desc=\"",
        "edge-lookup;dur=",
        "edge-shield;desc=\"IAD\";dur=",
        "shield-lookup;dur=",
        "shield-attempt;desc=\"primary ",
        " edge;dur=",
    ] {
        assert!(timing.contains(part), "{part:?} is not in {timing}");
    }
    let id = header(&response, "x-amz-cf-id").unwrap();
    assert!(timing.contains(id), "{id} is not in {timing}");

    // The edge dies: the attempt that failed is a part, too.
    world.ok(&["kill", "fra"]);
    let fallen = world.ledger("berlin", &[], "/c");
    adds_up(&fallen);
    assert_eq!(fallen["pop"], "iad", "{fallen}");
    let connects = details(&fallen, "connect");
    assert!(connects.len() == 2 && connects[0].contains("refused"), "{connects:?}");
}

#[test]
fn a_request_over_https_shows_its_handshake() {
    let world = World::of_file("pops = [\"FRA\"]\nshield = \"none\"\n");
    let rtt = world.rtt("tokyo", "fra");
    let ask = |options: &[&str], path: &str| {
        let url = format!("https://www.demo.test{path}");
        let options = [&["curl", "--json", "--from", "tokyo", "--ledger"], options].concat();
        let args = [&options[..], &["--", "-sS", "-o", "/dev/null", "--max-time", "60", &url]].concat();
        serde_json::from_str::<Value>(&world.ok(&args)).unwrap()
    };
    let cold = ask(&[], "/a?size=100k");
    adds_up(&cold);
    assert_eq!((&cold["status"], &cold["url"]), (&200.into(), &"https://www.demo.test/a?size=100k".into()), "{cold}");
    assert_eq!(
        (&cold["complete"], &cold["cache"], &cold["body_bytes"]),
        (&true.into(), &"miss".into(), &102_400.into())
    );
    for step in ["dns", "connect", "tls", "request", "edge_lookup", "origin_attempt", "edge", "transfer"] {
        assert!(!spent(&cold, step).is_empty(), "{step} is not in {cold}");
    }
    // TLS 1.3 costs one round trip more than TCP alone (RFC 8446, section 2).
    assert_eq!(details(&cold, "tls"), ["tls handshake, TLS 1.3"]);
    let tls = spent(&cold, "tls")[0];
    assert!((rtt * 0.999..rtt * 1.5).contains(&tls), "{tls} ms of {rtt} ms: {cold}");
    assert!((rtt * 0.999..rtt * 1.5).contains(&spent(&cold, "connect")[0]), "{cold}");

    // A warm one has all that behind it.
    let warm = ask(&["--warm"], "/a?size=100k");
    adds_up(&warm);
    assert_eq!((&warm["cache"], spent(&warm, "tls").len()), (&"hit".into(), 0), "{warm}");

    // Nobody has a look inside who does not ask for a ledger: HTTP/2 is spoken with the edge, which this proxy does not.
    let shown = ["-o", "/dev/null", "-w", "%{http_version}", "https://www.demo.test/"];
    assert_eq!(world.curl("tokyo", &shown), "2");
    let url =
        ["--", "-sS", "-o", "/dev/null", "-w", "%{http_version} %{ssl_verify_result}\n", "https://www.demo.test/"];
    let shown = world.ok(&[&["curl", "--from", "tokyo", "--ledger"], &url[..]].concat());
    assert!(shown.starts_with("1.1 0\n200  GET https://www.demo.test/\n"), "{shown}");
    assert!(!shown.contains("broken off"), "{shown}");
}

#[test]
fn every_attempt_at_an_origin_is_a_part_with_its_outcome() {
    let world = World::of_file("pops = [\"FRA\"]\nshield = \"none\"\n");
    let rtt = world.rtt("fra", "us-east-1");
    world.ok(&["fault", "primary", "--refuse"]);
    let refused = world.ledger("berlin", &[], "/refused");
    adds_up(&refused);
    assert_eq!(refused["status"], 200, "{refused}");
    let attempts = details(&refused, "origin_attempt");
    assert_eq!(attempts.iter().filter(|attempt| attempt.contains("refused")).count(), 3, "{attempts:?}");
    for (attempt, ms) in attempts.iter().zip(spent(&refused, "origin_attempt")) {
        // To be refused costs a round trip.
        assert!(!attempt.contains("refused") || ms >= rtt * 0.99, "{attempt} took {ms} ms, but {rtt} ms are between");
    }
    let last = refused["entries"].as_array().unwrap().iter().rfind(|entry| entry["step"] == "origin_attempt").unwrap();
    assert!(last["label"].as_str().unwrap().contains("secondary"), "{refused}");
    assert!(last["detail"].as_str().unwrap().contains("response 200"), "{refused}");
    let timing = world.curl("berlin", &["-I", "http://www.demo.test/refused2"]);
    let timing = header(&timing, "server-timing").unwrap();
    assert_eq!(timing.matches("edge-attempt;desc=\"primary connect refused\"").count(), 3, "{timing}");
    assert!(timing.contains("edge-attempt;desc=\"secondary response 200\""), "{timing}");

    world.ok(&["heal", "primary"]);
    world.ok(&["fault", "primary", "--status", "503"]);
    let failed = world.ledger("berlin", &[], "/failed");
    adds_up(&failed);
    let attempts = details(&failed, "origin_attempt");
    assert!(attempts.iter().any(|attempt| attempt.contains("response 503")), "{attempts:?}");
    assert!(attempts.last().unwrap().contains("response 200"), "{attempts:?}");
}

#[test]
fn a_request_that_fails_has_a_ledger_with_what_was_waited_for_and_why() {
    let world = World::of_file("pops = [\"FRA\"]\nshield = \"none\"\n");
    let curl = |options: &[&str], args: &[&str]| {
        world.iso(&[&["curl", "--from", "berlin"], options, &["--", "-sS", "-o", "/dev/null"], args].concat())
    };
    // The client's patience ends first; curl's exit code stays what it is.
    let impatient = curl(&["--json"], &["-m", "1", "http://www.demo.test/slow?delay=20s"]);
    assert_eq!(impatient.status.code(), Some(28));
    let ledger = json_of(&impatient);
    adds_up(&ledger);
    assert_eq!(details(&ledger, "request"), ["request, no answer yet"], "{ledger}");
    assert!(ledger["error"].as_str().unwrap().contains("the client left"), "{ledger}");
    // What no edge was asked for says why.
    let foreign = curl(&["--ledger"], &["http://nosuch.test/"]);
    assert_eq!(foreign.status.code(), Some(0), "{}", text(&foreign.stderr));
    assert!(text(&foreign.stdout).contains("viewer_foreign_host"), "{}", text(&foreign.stdout));
    // No request, no ledger, and no other exit code for it.
    let nothing = curl(&["--ledger"], &["--version"]);
    assert_eq!(nothing.status.code(), Some(0), "{}", text(&nothing.stderr));
    // A document without being asked for a ledger, too.
    let plain = curl(&["--json"], &["http://www.demo.test/"]);
    assert_eq!(json_of(&plain)["status"], 200);
}
