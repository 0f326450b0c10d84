//! Logs of requests: the standard access log, a file that parsers of CloudFront's know, with a line for every request; and
//! real-time logs, with a record of some.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    harness::{World, text},
    raw::record,
};

/// The lines of an edge's access log, those of rotated files too, and how many files there are.
fn logged(world: &World) -> (Vec<String>, usize) {
    let worlds = std::fs::read_dir(world.home().join("worlds")).into_iter().flatten().flatten();
    let files = worlds.filter_map(|world| std::fs::read_dir(world.path().join("logs")).ok()).flatten().flatten();
    let logs = files.filter(|file| file.file_name().to_string_lossy().contains(".access.log"));
    let texts: Vec<String> = logs.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
    (texts.iter().flat_map(|text| text.lines().map(str::to_owned)).collect(), texts.len())
}

/// The same, once there are `count` lines beside the head.
fn access_log(world: &World, count: usize) -> Vec<String> {
    world.until(&format!("{count} lines are logged"), || {
        let (lines, _) = logged(world);
        (lines.iter().filter(|line| !line.starts_with('#')).count() >= count).then_some(lines)
    })
}

/// Asks on one connection as fast as it is answered, until that ends; the ids of the responses that came whole.
fn ask_until_cut(edge: &str, answered: &AtomicUsize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut stream = BufReader::new(TcpStream::connect(edge).unwrap());
    while stream.get_mut().write_all(b"GET /one HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").is_ok() {
        let (mut id, mut length) = (None, None);
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
            let (name, value) = line.trim().split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "x-amz-cf-id" => id = Some(value.to_owned()),
                "content-length" => length = value.parse().ok(),
                _ => {}
            }
            line.clear();
        }
        let mut body = vec![0; length.unwrap_or(0)];
        match id {
            Some(id) if length.is_some() && stream.read_exact(&mut body).is_ok() => ids.push(id),
            _ => break,
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    ids
}

/// Has clients ask an edge as fast as they can, does `stop` in the middle of it, and holds what they were answered against the
/// log in `style`, whose lines `id_of` reads.
fn nothing_is_lost(style: &str, stop: impl FnOnce(&World), id_of: impl Fn(&str) -> Option<String>) {
    const CLIENTS: usize = 8;
    let world = World::of_file(&format!(
        "pops = [\"FRA\"]\nshield = \"none\"\n[log]\naccess = {style:?}\nbytes = \"64KiB\"\nkeep = 1000\n"
    ));
    let edge = world.address("edge.fra", "http");
    let answered = Arc::<AtomicUsize>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (edge, answered) = (edge.clone(), Arc::clone(&answered));
            std::thread::spawn(move || ask_until_cut(&edge, &answered))
        })
        .collect();
    world.until("a thousand are answered", || (answered.load(Ordering::Relaxed) > 1000).then_some(()));
    stop(&world);
    let ids: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    // All that it has said is in its log once it is down, where it is not already.
    world.iso(&["down"]);
    let (lines, files) = logged(&world);
    let lines: Vec<String> = lines.iter().filter_map(|line| id_of(line)).collect();
    let told: BTreeSet<&String> = lines.iter().collect();
    assert_eq!(told.len(), lines.len(), "a line for each request, and one alone");
    let lost: Vec<_> = ids.iter().filter(|id| !told.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} answered requests have no line", lost.len(), ids.len());
    // What was answered as the connection ended may have come to nobody.
    assert!(lines.len() - ids.len() <= CLIENTS, "{} lines of {} requests", lines.len(), ids.len());
    assert!(files > 2, "{files} files");
}

#[test]
fn a_world_that_stops_under_load_loses_no_line_of_what_it_answered() {
    let id_of = |line: &str| (!line.starts_with('#')).then(|| line.split('\t').nth(14).unwrap().to_owned());
    nothing_is_lost("w3c", |world| drop(world.ok(&["down"])), id_of);
}

#[test]
fn an_edge_that_is_terminated_under_load_loses_no_line_of_what_it_answered() {
    let terminate = |world: &World| {
        let pid = world.node("edge.fra")["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32)).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    };
    let id_of = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        Some(line["x-edge-request-id"].as_str().unwrap().to_owned())
    };
    nothing_is_lost("json", terminate, id_of);
}

#[test]
fn a_real_time_log_says_chosen_fields_of_one_distribution() {
    let world = World::of_file(
        "pops = [\"FRA\"]\nshield = \"none\"\n[distributions.demo]\n[distributions.shop]\nhosts = [\"shop.demo.test\"]\n\
         [log.realtime.demo]\nfields = [\"sc-status\", \"cs-uri-stem\", \"timestamp\", \"cs-accept\", \"cs-host\"]\n",
    );
    let mut follow = world.command(&["logs", "--realtime", "demo"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut records = BufReader::new(follow.stdout.take().unwrap());
    // As whoever reads events does, by HTTP alone.
    let running = record(&world);
    let control = running["control"].as_str().unwrap();
    let mut events = BufReader::new(TcpStream::connect(control).unwrap());
    let token = running["token"].as_str().unwrap();
    let ask = format!(
        "GET /v1/logs?realtime=demo HTTP/1.1\r\nHost: {control}\r\nAuthorization: Bearer {token}\r\nAccept: \
         text/event-stream\r\n\r\n"
    );
    events.get_mut().write_all(ask.as_bytes()).unwrap();
    let mut head = String::new();
    while events.read_line(&mut head).unwrap() > 2 {}
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    world.until("both follow", || {
        let metrics = world.control("/metrics").1;
        let streams = metrics.lines().find(|line| line.starts_with("iso_control_streams"))?.to_owned();
        streams.ends_with(" 2").then_some(())
    });
    for url in ["http://shop.demo.test/other", "http://www.demo.test/a?b=c"] {
        world.curl("berlin", &["-o", "/dev/null", "-H", "Accept: text/plain; q=1", url]);
    }
    let mut line = String::new();
    records.read_line(&mut line).unwrap();
    let fields: Vec<&str> = line.trim_end().split('\t').collect();
    let (timestamp, rest) = fields.split_first().unwrap();
    assert!(timestamp.parse::<f64>().unwrap() > 1.7e9, "{line}");
    assert_eq!(rest, ["200", "demo.cdn.test", "/a?b=c", "text/plain;%20q=1"]);
    let mut event = String::new();
    while !event.contains("data: ") {
        event.clear();
        assert!(events.read_line(&mut event).unwrap() > 0);
    }
    let event: Value = serde_json::from_str(event.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((event["node"].as_str(), event["text"].as_str()), (Some("edge.fra"), Some(line.trim_end())));
    follow.kill().unwrap();
    follow.wait().unwrap();
    // Neither the nodes' own lines nor another distribution's records are among them, nor the other way round.
    assert!(!world.ok(&["logs"]).contains(line.trim_end()));
    let none = world.iso(&["logs", "--realtime", "shop"]);
    assert!(!none.status.success() && text(&none.stderr).contains("log.realtime"), "{}", text(&none.stderr));
}

#[test]
fn every_request_has_a_line_of_cloudfronts_33_fields() {
    let world = World::of_file("pops = [\"FRA\"]\n[log]\naccess = \"w3c\"\n");
    for url in ["https://www.demo.test/a?b=c%20d", "https://www.demo.test/a?b=c%20d", "http://www.demo.test/e"] {
        world.curl("berlin", &["-o", "/dev/null", "-A", "agent 1", url]);
    }
    let lines = access_log(&world, 3);
    assert_eq!(lines[0], "#Version: 1.0");
    let names: Vec<&str> = lines[1].strip_prefix("#Fields: ").unwrap().split(' ').collect();
    assert_eq!(names.len(), 33);
    let field = |line: &str, name: &str| {
        let values: Vec<&str> = line.split('\t').collect();
        assert_eq!(values.len(), 33, "{line}");
        values[names.iter().position(|this| *this == name).unwrap()].to_owned()
    };
    for (line, result, protocol) in [(2, "Miss", "https"), (3, "Hit", "https"), (4, "Miss", "http")] {
        let of = |name| field(&lines[line], name);
        assert_eq!(
            (of("x-edge-result-type"), of("cs-protocol"), of("sc-status")),
            (result.into(), protocol.into(), "200".into())
        );
        assert_eq!((of("x-host-header"), of("cs(Host)")), ("www.demo.test".into(), "demo.cdn.test".into()));
        assert_eq!((of("cs(User-Agent)").as_str(), of("ssl-protocol") == "-"), ("agent%201", protocol == "http"));
        assert!(of("x-edge-location").starts_with("FRA"), "{}", of("x-edge-location"));
    }
    assert_eq!(field(&lines[2], "cs-uri-query"), "b=c%2520d");
    assert_eq!(lines.len(), 5);
}
