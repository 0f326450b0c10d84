//! Decisions made again from the decision log: all come out as they did, and what was tampered with does not.

use std::sync::Arc;

use cdn_core::{
    Counter,
    distribution::{Distribution, DistributionSpec},
};
use edge_node::{DecisionLogOptions, Replay, Replayed, Tier};
use tempfile::TempDir;

use crate::support::{Act, Running, Scripted, Setup, exchange, get, get_with, ok, parent, status, wait_until};

const MINUTE: &str = "Cache-Control: max-age=60\r\n";

fn options(dir: &TempDir, bytes_max: u64) -> Option<DecisionLogOptions> {
    Some(DecisionLogOptions { path: dir.path().join("log"), bytes_max, queue_max: 1 << 12 })
}

/// Everything that a node has written until now.
async fn written(node: &Running, dir: &TempDir) -> String {
    node.handle.invalidate("demo", "/the-end-of-it").unwrap();
    let read = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    wait_until("the log is written", || {
        // Each shard was told.
        read().lines().filter(|line| line.contains("/the-end-of-it")).count() == 8
    })
    .await;
    read()
}

fn again(log: &str, spec: &DistributionSpec) -> Replayed {
    let mut replay = Replay::new([Arc::new(Distribution::new(spec.clone()).unwrap())]);
    log.split('\n').for_each(|line| replay.line(line.as_bytes()));
    replay.replayed().clone()
}

/// An origin with a bit of everything.
async fn origin() -> Scripted {
    let answer = |head: &str, number: usize| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/vary" => ok(&format!("{MINUTE}Vary: X-Forward\r\n"), "varies"),
            "/stale" => {
                ok("Cache-Control: max-age=0, stale-while-revalidate=60, stale-if-error=60\r\nETag: \"a\"\r\n", "s")
            }
            "/confirmed" if head.contains("if-none-match") => {
                status(304, "ETag: \"c\"\r\nCache-Control: max-age=60\r\n")
            }
            "/confirmed" => ok("Cache-Control: max-age=0\r\nETag: \"c\"\r\n", "confirmed"),
            "/private" => ok("Cache-Control: private\r\n", "private"),
            "/broken" => status(503, ""),
            _ if head.contains("range: bytes=2-5") => part(),
            _ => ok(&format!("{MINUTE}ETag: \"e\"\r\n"), &"x".repeat(10 + number)),
        }
    };
    Scripted::start(move |head, number| vec![answer(head, number)]).await
}

fn part() -> Act {
    let head =
        format!("HTTP/1.1 206 X\r\n{MINUTE}ETag: \"p\"\r\nContent-Range: bytes 2-5/10\r\nContent-Length: 4\r\n\r\n");
    Act::Send(format!("{head}2345").into_bytes())
}

/// Asks for a bit of everything.
async fn ask(node: &Running) {
    for _ in 0..3 {
        for path in ["/", "/a?b=c", "/stale", "/confirmed", "/private", "/broken"] {
            get(node.address, path).await;
        }
        get_with(node.address, "/vary", "X-Forward: one\r\n").await;
        get_with(node.address, "/vary", "X-Forward: two\r\n").await;
        get_with(node.address, "/part", "Range: bytes=2-5\r\n").await;
        exchange(node.address, "HEAD /head HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
        exchange(node.address, "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1\r\n\r\nx").await;
        node.handle.invalidate("demo", "/a*").unwrap();
        node.handle.invalidate("demo", "/").unwrap();
    }
    let together: Vec<_> = (0..20).map(|_| tokio::spawn(get(node.address, "/together"))).collect();
    for one in together {
        assert_eq!(one.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn decisions_come_out_again_as_they_did() {
    let dir = TempDir::new().unwrap();
    let origin = origin().await;
    let mut setup = Setup::group(Scripted::refusing().await, origin.address, &[502]);
    setup.config.decision_log = options(&dir, 1 << 30);
    let spec = setup.spec.clone();
    let node = setup.start().await;
    ask(&node).await;
    let log = written(&node, &dir).await;
    let replayed = again(&log, &spec);
    assert_eq!(replayed.first, None);
    assert_eq!((replayed.cache.lost, replayed.origin.lost), (0, 0));
    // Each request is asked about twice, on the short way and on the long one, and each response is judged and stored.
    assert!(replayed.cache.decisions > 100, "{replayed:?}");
    // Three refusals of the primary and three steps to the secondary for each fetch.
    assert!(replayed.origin.decisions > 50, "{replayed:?}");
    assert_eq!(node.count(Counter::EdgeDecisionLogDropped), 0);
    let lines = log.lines().filter(|line| !line.is_empty()).count() as u64;
    wait_until("lines are counted", || node.count(Counter::EdgeDecisionLogLines) >= lines).await;
}

#[tokio::test]
async fn what_is_known_of_a_shield_comes_out_again() {
    let dir = TempDir::new().unwrap();
    let origin = origin().await;
    let mut setup = Setup::new(origin.address);
    setup.config.decision_log = options(&dir, 1 << 30);
    let mut spec = setup.spec.clone();
    spec.origins.values_mut().for_each(|origin| origin.shield = true);
    let shield = Scripted::always(vec![Act::Silence]).await;
    setup.spec = spec.clone();
    setup.config.parents = vec![parent(Tier::Shield, "IAD", shield.address)];
    let node = setup.start().await;
    get(node.address, "/a").await;
    get(node.address, "/b").await;
    assert_eq!(node.count(Counter::EdgeShieldBypasses), 2);
    let log = written(&node, &dir).await;
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("worth_asking")).collect();
    assert_eq!(asked.iter().map(|line| line.contains("\"said\":true")).collect::<Vec<_>>(), [true, false]);
    let replayed = again(&log, &spec);
    assert_eq!((replayed.first, replayed.origin.lost), (None, 0));
    let tampered = log.replace("\"retry\":10000000000", "\"retry\":0");
    assert_eq!(again(&tampered, &spec).origin.differing, 1);
}

#[tokio::test]
async fn what_was_tampered_with_differs_and_what_is_missing_is_lost() {
    let dir = TempDir::new().unwrap();
    let origin = origin().await;
    let mut setup = Setup::group(Scripted::refusing().await, origin.address, &[502]);
    setup.config.decision_log = options(&dir, 1 << 30);
    let spec = setup.spec.clone();
    let node = setup.start().await;
    ask(&node).await;
    let log = written(&node, &dir).await;
    let honest = again(&log, &spec);
    assert_eq!(honest.first, None);
    let tampered = |of: &str, from: &str, to: &str| {
        let (before, line) = log.split_at(log.find(of).unwrap_or_else(|| panic!("{of} is not in the log")));
        again(&format!("{before}{}", line.replacen(from, to, 1)), &spec)
    };
    // What was said.
    let one = tampered("said\":\"hit 200", "age", "agr");
    assert_eq!((one.cache.differing, one.cache.decisions), (1, honest.cache.decisions), "{one:?}");
    assert!(one.first.unwrap().contains("agr"));
    // What was told: a response that could be kept for less, or that came with another status, or from elsewhere.
    assert!(tampered("{\"arrival\"", "max-age=60", "max-age=50").cache.differing > 0);
    assert!(tampered("{\"fetched\"", "\"status\":200", "\"status\":201").cache.differing > 0);
    assert!(tampered("{\"way\"", "Refused", "CompletionTimeout").origin.differing > 0);
    // Asked for under a key that its request does not have; later, what is stored under that path is not invalidated.
    let elsewhere = tampered("\"lookup\":{", "\"path\":\"/", "\"path\":\"/z");
    assert!(elsewhere.first.unwrap().contains("under the key"));
    // Lines that are not there, and a distribution that is another's.
    let without: String =
        log.lines().filter(|line| !line.contains("\"turn\":0,")).map(|line| format!("{line}\n")).collect();
    let replayed = again(&without, &spec);
    assert_eq!((replayed.cache.differing, replayed.first), (0, None));
    assert!(replayed.cache.lost > 50, "{:?}", replayed.cache);
    let mut other = spec.clone();
    other.default_behavior.compress = !other.default_behavior.compress;
    let replayed = again(&log, &other);
    // What an invalidation removes needs none, as long as nothing is stored.
    assert_eq!((replayed.cache.differing, replayed.origin.decisions, replayed.first), (0, 0, None));
    assert!(replayed.cache.lost > 50 && replayed.origin.lost == honest.origin.decisions, "{:?}", replayed.cache);
}

#[tokio::test]
async fn a_full_log_loses_what_comes_after() {
    let dir = TempDir::new().unwrap();
    let origin = origin().await;
    let mut setup = Setup::new(origin.address);
    setup.config.decision_log = options(&dir, 8_000);
    let spec = setup.spec.clone();
    let node = setup.start().await;
    ask(&node).await;
    wait_until("lines are left out", || node.count(Counter::EdgeDecisionLogDropped) > 0).await;
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.len() <= 8_000 && node.count(Counter::EdgeDecisionLogLines) > 3);
    let replayed = again(&log, &spec);
    assert_eq!(replayed.first, None);
}
