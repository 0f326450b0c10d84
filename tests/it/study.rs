//! `iso study`: virtual time, from the command line.

use std::{io::Write as _, process::Stdio};

use serde_json::json;

use crate::harness::{World, json_of, text};

/// Requests as (seconds, id, bytes).
const REQUESTS: [(u32, u64, u32); 8] =
    [(0, 1, 4), (1, 2, 4), (2, 1, 4), (3, 3, 4), (4, 1, 9), (5, 4, 11), (6, 2, 4), (6, u64::MAX, 1)];

fn binary() -> Vec<u8> {
    let bytes = |&(secs, id, bytes): &(u32, u64, u32)| {
        [&secs.to_le_bytes()[..], &id.to_le_bytes(), &bytes.to_le_bytes(), &(-1_i64).to_le_bytes()].concat()
    };
    REQUESTS.iter().flat_map(bytes).collect()
}

#[test]
fn a_trace_is_replayed_the_same_in_every_format_and_its_misses_are_counted() {
    let world = World::none();
    let file = |name: &str, bytes: &[u8]| {
        let path = world.home().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let lines: Vec<String> = REQUESTS.iter().map(|(secs, id, bytes)| format!("{secs},{id},{bytes}\n")).collect();
    let traces = [
        file("a.oracleGeneral.bin", &binary()),
        file("a.csv", lines.concat().as_bytes()),
        file("b.csv", format!("time,id,size\n{}", lines.concat()).as_bytes()),
    ];
    let rows = file("rows.csv", b"");
    for trace in &traces {
        let args = ["study", "replay", "--trace", trace, "--policy", "LRU,fifo", "--size", "10,1KiB", "--csv", &rows];
        // In ten bytes two of the small ones fit. LRU: 1 is asked for again in time, 2 goes for 3, 4 is too large, 2
        // comes for 3. FIFO: 3 pushes 1 out, which comes back for 2 with nine bytes, so that 3 goes too.
        let expected = json!({ "rows": [
            { "policy": "lru", "bytes": 10, "requests": 8, "misses": 6, "miss_bytes": 28 },
            { "policy": "fifo", "bytes": 10, "requests": 8, "misses": 7, "miss_bytes": 37 },
            { "policy": "lru", "bytes": 1024, "requests": 8, "misses": 5, "miss_bytes": 24 },
            { "policy": "fifo", "bytes": 1024, "requests": 8, "misses": 5, "miss_bytes": 24 },
        ] });
        assert_eq!(world.json(&args), expected);
        assert!(std::fs::read_to_string(&rows).unwrap().contains("\nfifo,10,8,7,37\n"));
        let table = world.ok(&args);
        assert!(table.contains("MISS BYTES") && table.contains("lru     1KiB  8         5       0.6250"), "{table}");
    }

    // By way of a pipe.
    let piped = ["study", "replay", "--trace", "-", "--format", "oraclegeneral", "--policy", "all", "--size", "10"];
    let mut iso = world.command(&[&piped[..], &["--json"]].concat());
    let mut iso = iso.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    iso.stdin.take().unwrap().write_all(&binary()).unwrap();
    let rows = json_of(&iso.wait_with_output().unwrap())["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 11);
    assert!(rows.iter().all(|row| row["requests"] == 8 && row["misses"].as_u64() >= Some(5)), "{rows:?}");

    let cut = file("cut.bin", &binary()[..60]);
    let odd = file("odd.csv", b"0,1,4\n1,2,large\n");
    let other = file("trace.log", b"0,1,4\n");
    for (trace, policy, more, says) in [
        (&cut, "lru", &[][..], "record 3 (byte 48): the trace ends after 12 of its 24 bytes"),
        (&odd, "lru", &[], "odd.csv: line 2: size \"large\" is not a number of bytes"),
        (&odd, "slr", &[], "no policy \"slr\"; did you mean `slru`?"),
        (&other, "lru", &[], "add --format oracleGeneral or --format csv"),
        (&other, "lru", &["--format", "cvs"], "no format \"cvs\"; there are oracleGeneral, csv"),
        (&"/no/such.csv".to_owned(), "lru", &[], "cannot read /no/such.csv"),
    ] {
        let output =
            world.iso(&[&["study", "replay", "--trace", trace, "--policy", policy, "--size", "1MiB"], more].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
