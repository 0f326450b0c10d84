//! Routing by policy: switched while the world runs, narrowed per distribution, explained, supposed and told again.

use serde_json::Value;

use crate::harness::{World, has, run, text};

const CLUSTER: &str = r#"
[router]
ttl = "2s"
[distributions.demo]
[distributions.cheap]
hosts = ["www.cheap.test"]
price_class = "PriceClass_100"
[distributions.own]
hosts = ["www.own.test"]
routing = "static"
pops = ["SYD", "NRT"]
"#;

fn chosen(explanation: &Value) -> Vec<String> {
    let chosen = explanation["chosen"].as_array().expect("chosen").iter();
    chosen.map(|edge| edge["pop"].as_str().expect("a PoP").to_owned()).collect()
}

fn reason_of(explanation: &Value, pop: &str) -> String {
    let candidates = explanation["candidates"].as_array().expect("candidates").iter();
    let reason = candidates.filter(|one| one["pop"] == pop).map(|one| one["reason"].as_str().expect("a reason"));
    reason.collect()
}

#[test]
fn a_running_world_is_routed_by_another_policy_and_every_decision_can_be_told() {
    let world = World::of_file(CLUSTER);
    let explain = |args: &[&str]| world.json(&[&["explain", "route"], args].concat());
    let sydney = |args: &[&str]| explain(&[&["--from", "sydney", "http://www.demo.test/x"], args].concat());

    // What is in force, and how distributions narrow it.
    let routing = world.json(&["route"]);
    assert_eq!(routing["policy"], "latency");
    let cheap = explain(&["--from", "sydney", "www.cheap.test"]);
    assert!(!chosen(&cheap).iter().any(|pop| ["SYD", "NRT", "SIN", "GRU"].contains(&pop.as_str())), "{cheap}");
    assert_eq!(reason_of(&cheap, "SYD"), "rejected_price_class");
    let own = explain(&["--from", "lima", "www.own.test"]);
    assert_eq!((own["policy"].as_str(), chosen(&own)), (Some("static"), vec!["NRT".to_owned(), "SYD".to_owned()]));
    assert_eq!(reason_of(&own, "GRU"), "rejected_not_listed");

    // A drain that is only supposed.
    let before = sydney(&[]);
    let nearest = chosen(&before).remove(0);
    assert_eq!((nearest.as_str(), before["policy"].as_str()), ("SYD", Some("latency")));
    let supposed = sydney(&["--what-if", "drain=SYD", "--what-if", "drain=nrt"]);
    assert!(!chosen(&supposed).iter().any(|pop| pop == "SYD" || pop == "NRT"), "{supposed}");
    assert_eq!(reason_of(&supposed, "SYD"), "rejected_draining");
    assert_eq!(chosen(&sydney(&[])), chosen(&before), "nothing was done");

    // Another policy, at once; the distribution with its own keeps it.
    let switched = world.json(&["route", "policy", "round-robin"]);
    assert_eq!(switched["policy"], "round-robin");
    let now = sydney(&[]);
    assert_eq!((now["policy"].as_str(), now["scope_len"].as_u64()), (Some("round-robin"), Some(0)));
    assert_eq!(explain(&["--from", "lima", "www.own.test"])["policy"], "static");
    let client = world.network("sydney");
    let mut seen: Vec<String> = (0..24).filter_map(|_| world.dig(&client).into_iter().next()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 6, "every PoP takes its turn: {seen:?}");
    world.ok(&["route", "policy", "geo", "--distribution", "www.demo.test"]);
    assert_eq!(sydney(&[])["policy"], "geo");
    assert!(world.ok(&["status"]).contains("routing: round-robin, demo geo, own static"));

    // A router that comes back routes as the others do.
    world.ok(&["kill", "router.iad"]);
    world.ok(&["start", "router.iad"]);
    world.until("the new router knows the policy", || {
        let output = world.iso(&["explain", "route", "--json", "--from", "sydney", "www.demo.test"]);
        let document: Value = serde_json::from_slice(&output.stdout).ok()?;
        (document["policy"] == "geo" && document["router"] == "router.iad").then_some(())
    });
    world.ok(&["route", "policy", "default", "--distribution", "demo"]);
    assert_eq!(sydney(&[])["policy"], "round-robin");

    // Wrong words.
    for (args, says) in [
        (&["route", "policy", "round_robin"][..], "did you mean round-robin?"),
        (&["route", "policy", "geo", "--distribution", "chaep"], "did you mean cheap?"),
        (&["explain", "route", "--from", "lima", "--what-if", "drain=SYT"], "did you mean SYD?"),
        (&["explain", "route", "--from", "lima", "--what-if", "SYD"], "write drain=FRA"),
        (&["explain", "route", "--replay", "iad-1-1", "--from", "lima"], "cannot be used with"),
        (&["explain", "route"], "--from <PLACE>"),
    ] {
        let output = world.iso(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(says), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_decision_is_replayed_from_what_was_known_then() {
    let world = World::of_file(CLUSTER);
    let explain = |args: &[&str]| world.json(&[&["explain", "route"], args].concat());
    let before = explain(&["--from", "sydney", "http://www.demo.test/"]);
    let id = before["decision"].as_str().expect("an id");
    world.ok(&["drain", "syd"]);
    let after = explain(&["--from", "sydney", "http://www.demo.test/"]);
    assert_ne!(chosen(&after), chosen(&before));
    assert_eq!(explain(&["--replay", id]), before);
    assert!(world.ok(&["explain", "route", "--replay", id]).contains("told again from snapshot"));
    let unknown = world.iso(&["explain", "route", "--replay", "iad-0-0"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("there is no decision \"iad-0-0\" here"), "{}", text(&unknown.stderr));

    // The same by DNS.
    if has("dig") {
        let dns = world.address("router.iad", "dns");
        let (ip, port) = dns.split_once(':').expect("ip:port");
        let subnet = format!("+subnet={}", world.network("sydney"));
        let why = ["-p", port, "_why.www.demo.test", "TXT", "+short", "+tries=1", &subnet];
        let said = run("dig", &[&[&format!("@{ip}")[..]], &why[..]].concat());
        let first = &chosen(&after)[0];
        assert!(said.contains(&format!("policy=latency; chosen={first},")), "{said}");
        assert!(said.contains("pop=SYD; reason=rejected_draining"), "{said}");
    }
}
