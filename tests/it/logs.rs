//! The standard access log: a file that parsers of CloudFront's know, with a line for every request.

use std::path::PathBuf;

use crate::harness::World;

/// The lines of an edge's access log, once there are `count` of them beside the head.
fn access_log(world: &World, count: usize) -> Vec<String> {
    let read = || {
        let worlds = std::fs::read_dir(world.home().join("worlds")).ok()?;
        let files = worlds.flatten().filter_map(|world| std::fs::read_dir(world.path().join("logs")).ok());
        let logs: Vec<PathBuf> = files
            .flat_map(|files| files.flatten().map(|file| file.path()))
            .filter(|path| path.to_string_lossy().ends_with(".access.log"))
            .collect();
        let lines = logs.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        Some(lines.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>())
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let lines = read().unwrap_or_default();
        if lines.iter().filter(|line| !line.starts_with('#')).count() >= count {
            return lines;
        }
        assert!(std::time::Instant::now() < deadline, "still waiting for {count} lines: {lines:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
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
