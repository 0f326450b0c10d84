//! HTTP/3 from a city: what it saves, what cuts it, and how viewers hear of it.

use serde_json::Value;

use crate::harness::{World, details, header, spent};

fn world(pops: &str) -> World {
    World::of_file(&format!(
        "pops = {pops}\nshield = \"none\"\n[router]\nexplore = 0.0\n[distributions.demo]\nhttp_version = \"http2and3\"\n\
         [distributions.shop]\nhosts = [\"shop.demo.test\"]\n"
    ))
}

/// The ledger of one request.
fn ask(world: &World, place: &str, options: &[&str], url: &str) -> Value {
    let options = [&["curl", "--json", "--from", place, "--ledger"], options].concat();
    let args = [&options[..], &["--", "-sS", "-o", "/dev/null", "--max-time", "60", url]].concat();
    serde_json::from_str(&world.ok(&args)).unwrap()
}

#[test]
fn http_3_saves_a_round_trip_over_the_same_link() {
    let world = world("[\"FRA\"]");
    let rtt = world.rtt("tokyo", "fra");
    let tcp = ask(&world, "tokyo", &[], "https://www.demo.test/tcp?size=300k");
    let quic = ask(&world, "tokyo", &["--http3"], "https://www.demo.test/quic?size=300k");
    for ledger in [&tcp, &quic] {
        assert_eq!(
            (&ledger["status"], &ledger["complete"], &ledger["body_bytes"]),
            (&200.into(), &true.into(), &(300 << 10).into()),
            "{ledger}"
        );
    }
    // TLS is a part of QUIC's handshake (RFC 9001 section 4), and behind TCP's it is another one.
    assert!(spent(&quic, "connect").is_empty() && spent(&quic, "tls").is_empty(), "{quic}");
    let (one, two) = (spent(&quic, "quic")[0], spent(&tcp, "connect")[0] + spent(&tcp, "tls")[0]);
    assert!((rtt * 0.999..rtt * 1.5).contains(&one), "{one} ms of {rtt} ms: {quic}");
    assert!((rtt * 0.7..rtt * 1.3).contains(&(two - one)), "{two} ms and {one} ms, {rtt} ms: {tcp} {quic}");
    assert!(details(&quic, "quic")[0].starts_with("quic and tls handshake 127.77."), "{quic}");
    assert!(spent(&quic, "request")[0] >= rtt * 0.99, "{quic}");

    // One store for all, and one connection for what follows.
    let warm = ask(&world, "tokyo", &["--http3", "--warm"], "https://www.demo.test/tcp?size=300k");
    assert_eq!((&warm["cache"], spent(&warm, "quic").len()), (&"hit".into(), 0), "{warm}");

    // Curl's own option means the same here, and curl hears of it as browsers do.
    let said = ["curl", "--from", "tokyo", "--", "-sS", "--suppress-connect-headers", "-D", "-", "-o", "/dev/null"];
    let told = world.ok(&[&said[..], &["--http3", "https://www.demo.test/tcp?size=300k"]].concat());
    assert_eq!(header(&told, "alt-svc"), Some("h3=\":443\"; ma=86400"), "{told}");
    for url in ["http://www.demo.test/", "https://shop.demo.test/"] {
        let told = world.ok(&[&said[..], &[url]].concat());
        assert_eq!(header(&told, "alt-svc"), None, "{told}");
    }
    let dns: Value = world.json(&["dig", "--from", "tokyo", "www.demo.test", "HTTPS"]);
    assert!(dns["answers"][0]["data"].as_str().unwrap_or_default().contains("h3"), "{dns}");

    // What does not speak it says so.
    let without = ask(&world, "tokyo", &["--http3"], "https://shop.demo.test/");
    assert_eq!((&without["status"], &without["reason"]), (&502.into(), &"viewer_tls_failed".into()), "{without}");
    assert!(without["error"].as_str().unwrap().contains("HTTP/3 is not spoken"), "{without}");
    let open = ask(&world, "tokyo", &["--http3"], "http://www.demo.test/");
    assert_eq!((&open["status"], &open["reason"]), (&400.into(), &"viewer_bad_request".into()), "{open}");
}

/// The middle of the latencies of a load from Tokyo in which nobody keeps a connection.
fn load_ms(world: &World, options: &[&str]) -> f64 {
    let load = [
        "load", "--from", "tokyo", "--rps", "20", "--for", "2s", "--users", "100000", "--paths", "/one", "--seed", "3",
    ];
    let seen = world.json(&[&load[..], options].concat());
    assert_eq!((&seen["errors"], &seen["complete"]), (&0.into(), &true.into()), "{seen:#}");
    assert!(seen["requests"].as_f64().unwrap() > 10.0, "{seen:#}");
    seen["latency_ms"]["p50"].as_f64().unwrap()
}

#[test]
fn a_load_by_http_3_saves_a_round_trip_as_one_request_does() {
    let world = world("[\"FRA\"]");
    let rtt = world.rtt("tokyo", "fra");
    ask(&world, "tokyo", &[], "https://www.demo.test/one");
    let [plain, https, http3] = [&[][..], &["--https"], &["--http3"]].map(|options| load_ms(&world, options));
    assert!((rtt * 0.7..rtt * 1.3).contains(&(https - http3)), "{https} ms, {http3} ms, {rtt} ms");
    assert!((http3 - plain).abs() < rtt * 0.3, "{http3} ms, {plain} ms, {rtt} ms");
    let refused = world.iso(&["load", "--http3", "--rps", "1", "--for", "1s", "--distribution", "shop"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("does not speak HTTP/3"), "{said}");
}

#[test]
fn a_partition_cuts_http_3_and_tcp_alike() {
    let world = world("[\"FRA\", \"IAD\"]");
    assert_eq!(ask(&world, "munich", &["--http3"], "https://www.demo.test/")["pop"], "fra");
    world.ok(&["link", "munich", "fra", "--partition", "--for", "30s"]);
    for (options, step) in [(&["--http3"][..], "quic"), (&[], "connect")] {
        let around = ask(&world, "munich", options, "https://www.demo.test/");
        assert_eq!((&around["status"], &around["pop"]), (&200.into(), &"iad".into()), "{around}");
        if step == "quic" {
            assert!(details(&around, step)[0].contains("silent"), "{around}");
        }
    }
    assert_eq!(ask(&world, "vienna", &["--http3"], "https://www.demo.test/")["pop"], "fra", "others are not concerned");
}

#[test]
fn an_upload_and_a_body_over_a_lossy_link_arrive_whole() {
    let world = world("[\"FRA\"]");
    world.ok(&["link", "munich", "fra", "--loss", "3%"]);
    let seen = ask(&world, "munich", &["--http3"], "https://www.demo.test/large?size=2M");
    assert_eq!((&seen["status"], &seen["body_bytes"]), (&200.into(), &(2 << 20).into()), "{seen}");
    let upload = ["curl", "--from", "munich", "--http3", "--", "-sS", "--max-time", "60", "--data-binary", "@-"];
    let shown = ["-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "https://www.demo.test/upload"];
    let mut command = world.command(&[&upload[..], &shown].concat());
    let mut curl =
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().expect("iso runs");
    std::io::Write::write_all(&mut curl.stdin.take().unwrap(), &[b'x'; 300_000]).unwrap();
    let said = curl.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).ends_with(" 300000"), "{said:?}");
}
