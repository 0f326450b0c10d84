//! Ranges and the disk tier: what was asked for comes back, and only what lacks is asked for.

use std::fs;

use cdn_core::{
    Counter,
    store::{EntryState, Medium},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tempfile::TempDir;

use crate::{
    disk::{end, on_disk, segments},
    ranges::{TOTAL, answer, body, origin},
    support::{Act, Reply, Running, Scripted, Setup, get, get_with, line, ok, status, wait_until},
};

async fn ask(node: &Running, first: usize, last: usize) -> Reply {
    get_with(node.address, "/", &format!("Range: bytes={first}-{last}\r\n")).await
}

/// Asks, and waits until what came is kept.
async fn fill(node: &Running, first: usize, last: usize, version: u8) {
    let before = node.count(Counter::EdgeDiskWrites);
    assert_eq!(ask(node, first, last).await.body, body(version, first, last));
    wait_until("the part is on the disk", || node.count(Counter::EdgeDiskWrites) > before).await;
}

#[tokio::test]
async fn after_a_restart_ranges_come_from_the_disk_and_only_what_lacks_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let origin = origin(1).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    fill(&node, 1_000, 1_999, 1).await;
    fill(&node, 2_000, 2_999, 1).await;
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let found = ask(&node, 1_500, 2_500).await;
    assert_eq!((found.status, found.reason().as_str(), found.body.clone()), (206, "hit_disk", body(1, 1_500, 2_500)));
    assert_eq!(found.header("content-range"), "bytes 1500-2500/5000");
    let again = ask(&node, 1_500, 2_500).await;
    assert_eq!((again.reason().as_str(), origin.requests()), ("hit", 2));
    let open = ask(&node, 500, 2_999).await;
    assert_eq!((open.reason().as_str(), open.body.clone()), ("miss_part", body(1, 500, 2_999)));
    assert_eq!(line(&origin.head(2), "range").as_deref(), Some("bytes=500-999"));
    wait_until("what lacked is on the disk", || node.count(Counter::EdgeDiskWrites) == 1).await;
    fill(&node, 3_000, 4_999, 1).await;
    fill(&node, 0, 499, 1).await;
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let whole = get(node.address, "/").await;
    assert_eq!((whole.status, whole.reason().as_str()), (200, "hit_disk"));
    assert_eq!((whole.body.clone(), origin.requests()), (body(1, 0, TOTAL - 1), 5));
    let states: Vec<_> = node.handle.cache_where("demo", "/").iter().map(|one| (one.kept_in, one.state)).collect();
    assert_eq!(states[0], (Medium::Memory, EntryState::Partial));
    assert_eq!(states[1..], [(Medium::Disk, EntryState::Partial); 5]);
}

#[tokio::test]
async fn parts_that_memory_had_to_let_go_are_taken_back() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, _| match line(head, "range") {
        Some(_) => vec![Act::Send(answer(head, 1))],
        None => vec![ok("Cache-Control: max-age=60\r\n", &"x".repeat(9_000))],
    })
    .await;
    let mut setup = on_disk(origin.address, dir.path());
    (setup.config.cache_bytes_max, setup.config.object_bytes_max) = (24_000, 10_000);
    let node = setup.start().await;
    fill(&node, 1_000, 1_999, 1).await;
    for path in ["/1", "/2", "/3", "/4"] {
        get(node.address, path).await;
    }
    wait_until("memory let the part go", || {
        !node.handle.cache_where("demo", "/").iter().any(|one| one.kept_in == Medium::Memory)
    })
    .await;
    let asked = origin.requests();
    assert_eq!(ask(&node, 1_200, 1_300).await.reason(), "hit_disk");
    let only = get_with(node.address, "/", "Range: bytes=0-1999\r\n").await;
    assert_eq!((only.reason().as_str(), only.body.clone()), ("miss_part", body(1, 0, 1_999)));
    assert_eq!(line(&origin.head(asked), "range").as_deref(), Some("bytes=0-999"));
}

#[tokio::test]
async fn a_large_part_is_read_by_the_chunk() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, _| {
        let whole: Vec<u8> = (0..900_000_u32).map(|at| (at % 251) as u8).collect();
        assert!(line(head, "range").is_some());
        let head = "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\n\
                    Content-Range: bytes 0-899999/50000000000\r\nContent-Length: 900000\r\n\r\n";
        vec![Act::Send([head.as_bytes(), &whole].concat())]
    })
    .await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(ask(&node, 0, 899_999).await.body.len(), 900_000);
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let found = ask(&node, 500_000, 500_009).await;
    let expected: Vec<u8> = (500_000..500_010_u32).map(|at| (at % 251) as u8).collect();
    assert_eq!(
        (found.body.clone(), found.header("content-range")),
        (expected, "bytes 500000-500009/50000000000".into())
    );
    let memory = node.handle.cache_where("demo", "/").remove(0);
    assert_eq!((memory.kept_in, memory.body_bytes, origin.requests()), (Medium::Memory, 64 << 10, 1));
}

#[tokio::test]
async fn invalidations_newer_versions_and_unsafe_methods_reach_parts_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, number| match head.starts_with("PUT ") {
        true => vec![status(204, "")],
        // It does not care about If-Range.
        false => vec![Act::Send(answer(&head.replace("if-range", "x"), if number < 2 { 1 } else { 2 }))],
    })
    .await;
    let start = || on_disk(origin.address, dir.path()).policy("honour-origin").start();
    let node = start().await;
    fill(&node, 0, 99, 1).await;
    fill(&node, 200, 299, 1).await;
    // What is asked for next is of another version, and takes the place of both.
    fill(&node, 400, 499, 2).await;
    end(node, dir.path()).await;
    let node = start().await;
    assert_eq!(ask(&node, 0, 99).await.body, body(2, 0, 99));
    assert_eq!((ask(&node, 400, 499).await.reason().as_str(), origin.requests()), ("hit_disk", 5));
    node.handle.flush_disk();
    assert!(node.handle.invalidate("demo", "/").unwrap() > 0);
    end(node, dir.path()).await;
    let node = start().await;
    fill(&node, 400, 499, 2).await;
    let put = "PUT / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(crate::support::exchange(node.address, put).await.status, 204);
    end(node, dir.path()).await;
    let node = start().await;
    let asked = origin.requests();
    assert_eq!(ask(&node, 400, 499).await.reason(), "miss_absent");
    assert_eq!(origin.requests(), asked + 1);
}

#[tokio::test]
async fn a_whole_response_takes_the_place_of_parts() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, _| match line(head, "range") {
        Some(_) => vec![Act::Send(answer(head, 1))],
        None => vec![ok("Cache-Control: max-age=60\r\nETag: \"2\"\r\n", "whole")],
    })
    .await;
    let node = on_disk(origin.address, dir.path()).start().await;
    fill(&node, 0, 99, 1).await;
    fill(&node, 1_000, 1_099, 1).await;
    assert_eq!(get(node.address, "/").await.text(), "whole");
    node.handle.flush_disk();
    assert_eq!(node.count(Counter::EdgeDiskObjects), 1);
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(ask(&node, 0, 1).await.text(), "wh");
}

#[tokio::test]
async fn a_damaged_part_is_asked_for_again() {
    let dir = TempDir::new().unwrap();
    let origin = origin(1).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    fill(&node, 0, 999, 1).await;
    fill(&node, 1_000, 1_999, 1).await;
    end(node, dir.path()).await;
    let [segment] = segments(dir.path()).try_into().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let node = on_disk(origin.address, dir.path()).start().await;
    let reply = ask(&node, 500, 1_500).await;
    assert_eq!((reply.reason().as_str(), reply.body.clone()), ("miss_part", body(1, 500, 1_500)));
    assert_eq!(line(&origin.head(2), "range").as_deref(), Some("bytes=1000-1500"));
    assert_eq!(node.count(Counter::EdgeDiskDamaged), 1);
}

#[tokio::test]
async fn what_another_format_wrote_is_not_read() {
    let dir = TempDir::new().unwrap();
    let origin = origin(1).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    fill(&node, 0, 99, 1).await;
    end(node, dir.path()).await;
    let label = dir.path().join("label");
    let mut bytes = fs::read(&label).unwrap();
    assert_eq!(&bytes[..8], [b"isodisk".as_slice(), &[cdn_core::disk::FORMAT]].concat());
    bytes[7] -= 1;
    fs::write(&label, bytes).unwrap();
    let node = on_disk(origin.address, dir.path()).start().await;
    assert!(segments(dir.path()).is_empty());
    assert_eq!(ask(&node, 0, 99).await.reason(), "miss_absent");
}

/// Whatever is asked for in whatever order, between restarts and invalidations, and however little memory there is: every
/// byte is the object's.
#[test]
fn any_mix_of_ranges_and_restarts_gets_the_objects_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    #[derive(Clone, Debug)]
    enum Step {
        Ask(usize, usize),
        Whole,
        Restart,
        Invalidate,
    }
    let step = prop_oneof![
        8 => (0..TOTAL, 1..2_000_usize).prop_map(|(first, len)| Step::Ask(first, (first + len - 1).min(TOTAL - 1))),
        1 => Just(Step::Whole),
        3 => Just(Step::Restart),
        1 => Just(Step::Invalidate),
    ];
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(16) });
    let histories = (proptest::collection::vec(step, 1..14), any::<bool>());
    let outcome = runner.run(&histories, |(steps, little)| {
        runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let origin = origin(3).await;
            let setup = || -> Setup {
                let mut setup = on_disk(origin.address, dir.path());
                setup.config.object_bytes_max = if little { 3_000 } else { 1 << 20 };
                setup
            };
            let mut node = setup().start().await;
            for step in steps {
                let (reply, expected) = match step {
                    Step::Ask(first, last) => (ask(&node, first, last).await, (206, body(3, first, last))),
                    Step::Whole => (get(node.address, "/").await, (200, body(3, 0, TOTAL - 1))),
                    Step::Restart => {
                        end(node, dir.path()).await;
                        node = setup().start().await;
                        continue;
                    }
                    Step::Invalidate => {
                        node.handle.invalidate("demo", "/*").unwrap();
                        continue;
                    }
                };
                prop_assert_eq!((reply.status, reply.body), expected, "{:?}", step);
            }
            end(node, dir.path()).await;
            Ok(())
        })
    });
    outcome.unwrap();
}
