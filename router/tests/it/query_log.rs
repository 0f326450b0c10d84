//! The query log.

use std::{fs, net::Ipv4Addr};

use cdn_core::Counter;
use hickory_proto::rr::RecordType;
use router::QueryLogOptions;
use serde_json::Value;

use crate::world::{question, wait_until, with_subnet, world_with};

#[test]
fn each_sampled_message_is_a_line_of_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.jsonl");
    let options = QueryLogOptions { path: path.clone(), share: 1.0, bytes_max: 1 << 20, queue_max: 16 };
    let world = world_with(|config| config.query_log = Some(options)).healthy();
    world.ask(&with_subnet(question("WWW.demo.test", RecordType::A), "198.18.3.0/24"));
    world.ask(&question("no.demo.test", RecordType::AAAA));
    world.udp(Ipv4Addr::new(127, 18, 1, 9), &[0; 12]);
    world.ask_tcp(&[question("demo.test", RecordType::SOA)]);
    wait_until("four lines are written", || fs::read_to_string(&path).unwrap().lines().count() == 4);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let part = |line: usize, keys: &[&str]| Value::from_iter(keys.iter().map(|key| lines[line][*key].clone()));
    let keys = ["transport", "client", "name", "type", "rcode", "answers", "subnet", "scope_len"];
    assert_eq!(part(0, &keys), serde_json::json!(["udp", "127.0.0.1", "WWW.demo.test.", 1, 0, 2, "198.18.3.0/24", 24]));
    assert_eq!(part(1, &keys[..6]), serde_json::json!(["udp", "127.0.0.1", "no.demo.test.", 28, 3, 0]));
    assert_eq!(part(2, &keys[..6]), serde_json::json!(["udp", "198.18.1.9", null, null, 1, 0]));
    assert_eq!(part(3, &keys[..6]), serde_json::json!(["tcp", "127.0.0.1", "demo.test.", 6, 0, 1]));
    assert_eq!(lines[0]["node"], "router.main");
    let keys = ["policy", "pops", "reason"];
    assert_eq!(part(0, &keys), serde_json::json!(["latency", ["NRT", "FRA"], "route_lowest_estimate"]));
    assert_eq!(part(1, &["decision", "pops"]), serde_json::json!([null, null]));
    assert!(lines.iter().all(|line| line["took_us"].as_f64().unwrap() > 0.0), "{text}");
    let again = world.handle.replay(lines[0]["decision"].as_str().unwrap()).unwrap().explanation;
    assert_eq!(again.chosen.iter().map(|edge| edge.pop.as_str()).collect::<Vec<_>>(), ["NRT", "FRA"]);
    assert_eq!(again.snapshot_version, lines[0]["snapshot_version"].as_u64().unwrap());
    assert_eq!(world.handle.counters().value(Counter::RouterQueryLogLines), 4);
}

#[test]
fn a_full_file_is_kept_beside_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.jsonl");
    let options = QueryLogOptions { path: path.clone(), share: 1.0, bytes_max: 1000, queue_max: 16 };
    let world = world_with(|config| config.query_log = Some(options)).healthy();
    let written = || world.handle.counters().value(Counter::RouterQueryLogLines);
    for asked in 1..=10 {
        world.ask(&question("www.demo.test", RecordType::A));
        wait_until("the line is written", || written() == asked);
    }
    let kept = fs::metadata(directory.path().join("queries.jsonl.1")).unwrap().len();
    assert!(kept > 0 && kept <= 1000);
    wait_until("the rest is flushed", || fs::metadata(&path).unwrap().len() > 0);
    assert!(fs::metadata(&path).unwrap().len() <= 1000);
}
