//! Ranges of what is not, or not wholly, stored.

use cdn_core::Counter;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::support::{Act, Client, Gate, Scripted, Setup, exchange, get, get_with, line, ok, wait_until};

pub(crate) const TOTAL: usize = 5_000;

/// Byte `at` of version `seed` of the object.
fn byte(seed: u8, at: usize) -> u8 {
    b'!' + ((at * 7 + at / 93 + usize::from(seed) * 31) % 93) as u8
}

pub(crate) fn body(seed: u8, first: usize, last: usize) -> Vec<u8> {
    (first..=last).map(|at| byte(seed, at)).collect()
}

/// What an origin with ranges and If-Range answers; `seed` is the version of its object, and its entity tag.
pub(crate) fn answer(head: &str, seed: u8) -> Vec<u8> {
    let etag = format!("\"{seed}\"");
    let unchanged = line(head, "if-range").is_none_or(|condition| condition == etag);
    let spec = line(head, "range").filter(|_| unchanged).and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let last = if last.is_empty() { TOTAL - 1 } else { last.parse::<usize>().ok()?.min(TOTAL - 1) };
        Some((first.parse::<usize>().ok()?, last))
    });
    let headers = format!("Cache-Control: max-age=60\r\nETag: {etag}\r\n");
    let (head, body) = match spec {
        Some((first, last)) => (
            format!(
                "HTTP/1.1 206 Partial Content\r\n{headers}Content-Range: bytes {first}-{last}/{TOTAL}\r\n\
                 Content-Length: {}\r\n\r\n",
                last - first + 1
            ),
            body(seed, first, last),
        ),
        None => (format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {TOTAL}\r\n\r\n"), body(seed, 0, TOTAL - 1)),
    };
    [head.into_bytes(), body].concat()
}

pub(crate) async fn origin(seed: u8) -> Scripted {
    Scripted::start(move |head, _| vec![Act::Send(answer(head, seed))]).await
}

#[tokio::test]
async fn a_range_is_kept_and_answers_what_lies_in_it() {
    let origin = origin(1).await;
    let node = Setup::new(origin.address).start().await;
    let miss = get_with(node.address, "/", "Range: bytes=100-199\r\n").await;
    assert_eq!((miss.status, miss.body.clone()), (206, body(1, 100, 199)));
    assert_eq!((miss.x_cache().as_str(), miss.header("age").as_str()), ("Miss from cloudfront", ""));
    wait_until("the part is stored", || node.count(Counter::EdgeStoreObjects) == 1).await;
    let hit = get_with(node.address, "/", "Range: bytes=150-160\r\n").await;
    assert_eq!((hit.status, hit.body.clone()), (206, body(1, 150, 160)));
    assert_eq!((hit.x_cache().as_str(), hit.reason().as_str()), ("Hit from cloudfront", "hit"));
    assert_eq!(hit.header("content-range"), "bytes 150-160/5000");
    assert_eq!((hit.header("content-length").as_str(), hit.header("age").as_str()), ("11", "0"));
    let several = get_with(node.address, "/", "Range: bytes=110-112,120-121\r\n").await;
    assert_eq!((several.status, several.x_cache().as_str()), (206, "Hit from cloudfront"));
    let text = several.text();
    for part in [(110, 112), (120, 121)] {
        let part =
            format!("bytes {}-{}/5000\r\n\r\n", part.0, part.1) + &String::from_utf8(body(1, part.0, part.1)).unwrap();
        assert!(text.contains(&part), "{text}");
    }
    let beyond = get_with(node.address, "/", "Range: bytes=5000-\r\n").await;
    assert_eq!((beyond.status, beyond.header("content-range").as_str()), (416, "bytes */5000"));
    let same = get_with(node.address, "/", "If-None-Match: \"1\"\r\n").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn the_whole_is_completed_by_what_lacks() {
    let origin = origin(1).await;
    let node = Setup::new(origin.address).start().await;
    get_with(node.address, "/", "Range: bytes=1000-1999\r\n").await;
    wait_until("the part is stored", || node.count(Counter::EdgeStoreObjects) == 1).await;
    let part = get_with(node.address, "/", "Range: bytes=500-1499\r\n").await;
    assert_eq!((part.status, part.body.clone()), (206, body(1, 500, 1499)));
    assert_eq!(part.reason(), "miss_part");
    assert_eq!(line(&origin.head(1), "range").as_deref(), Some("bytes=500-999"));
    assert_eq!(line(&origin.head(1), "if-range").as_deref(), Some("\"1\""));
    let open = get_with(node.address, "/", "Range: bytes=500-\r\n").await;
    assert_eq!((open.status, open.body.clone()), (206, body(1, 500, TOTAL - 1)));
    assert_eq!(line(&origin.head(2), "range").as_deref(), Some("bytes=2000-"));
    let whole = get(node.address, "/").await;
    assert_eq!((whole.status, whole.body.clone()), (200, body(1, 0, TOTAL - 1)));
    assert_eq!(whole.header("content-length"), "5000");
    assert_eq!(line(&origin.head(3), "range").as_deref(), Some("bytes=0-499"));
    let hit = get(node.address, "/").await;
    assert_eq!((hit.x_cache().as_str(), hit.body.clone()), ("Hit from cloudfront", body(1, 0, TOTAL - 1)));
    assert_eq!(origin.requests(), 4);
}

#[tokio::test]
async fn what_has_changed_behind_takes_the_place_of_the_parts() {
    let origin = Scripted::start(|head, number| vec![Act::Send(answer(head, if number == 0 { 1 } else { 2 }))]).await;
    let node = Setup::new(origin.address).start().await;
    get_with(node.address, "/", "Range: bytes=0-99\r\n").await;
    wait_until("the part is stored", || node.count(Counter::EdgeStoreObjects) == 1).await;
    let reply = get_with(node.address, "/", "Range: bytes=50-149\r\n").await;
    assert_eq!((reply.status, reply.body.clone()), (206, body(2, 50, 149)));
    let hit = get(node.address, "/").await;
    assert_eq!((hit.x_cache().as_str(), hit.body.clone()), ("Hit from cloudfront", body(2, 0, TOTAL - 1)));
}

#[tokio::test]
async fn a_part_that_says_another_range_than_asked_for_is_not_combined() {
    let origin = Scripted::start(|head, number| match number {
        // It ignores If-Range and the range, and claims the same entity tag.
        1 => vec![Act::Send(
            b"HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\
              Content-Range: bytes 0-2/5000\r\nContent-Length: 3\r\n\r\nbad"
                .to_vec(),
        )],
        _ => vec![Act::Send(answer(head, 1))],
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    get_with(node.address, "/", "Range: bytes=0-99\r\n").await;
    wait_until("the part is stored", || node.count(Counter::EdgeStoreObjects) == 1).await;
    let whole = get(node.address, "/").await;
    assert_eq!((whole.status, whole.body.clone()), (200, body(1, 0, TOTAL - 1)));
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn a_part_whose_length_is_not_its_ranges_is_for_its_viewer_alone() {
    let part = "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nContent-Range: bytes 1-3/5\r\n\
         Content-Length: 2\r\n\r\nbc";
    let origin = Scripted::start(move |head, _| match line(head, "range") {
        Some(_) => vec![Act::Send(part.into())],
        None => vec![ok("Cache-Control: max-age=60\r\n", "abcde")],
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    for _ in 0..2 {
        let reply = get_with(node.address, "/", "Range: bytes=1-3\r\n").await;
        assert_eq!(
            (reply.status, reply.text().as_str(), reply.x_cache().as_str()),
            (206, "bc", "Miss from cloudfront")
        );
    }
    assert_eq!(get(node.address, "/").await.text(), "abcde");
}

#[tokio::test]
async fn a_part_that_breaks_off_is_not_kept_and_an_invalidated_one_neither() {
    let gate = Gate::new();
    let (head, rest) = (
        "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\
         Content-Range: bytes 0-9/20\r\nContent-Length: 10\r\n\r\n01234",
        "56789",
    );
    let opened = gate.clone();
    let origin = Scripted::start(move |_, number| match number {
        0 => vec![Act::Send(head.into()), Act::Close],
        1 => vec![Act::Send(head.into()), Act::Gate(gate.clone()), Act::Send(rest.into())],
        _ => vec![Act::Send([head, rest].concat().into_bytes())],
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    let range = "Range: bytes=0-9\r\n";
    assert_eq!(get_with(node.address, "/", range).await.text(), "01234");
    let address = node.address;
    let slow = tokio::spawn(async move { get_with(address, "/", "Range: bytes=0-9\r\n").await });
    wait_until("it is on its way", || origin.requests() == 2).await;
    node.handle.invalidate("demo", "/*").unwrap();
    opened.open();
    assert_eq!(slow.await.unwrap().text(), "0123456789");
    assert_eq!(get_with(node.address, "/", range).await.x_cache(), "Miss from cloudfront");
    wait_until("it is stored", || node.count(Counter::EdgeStoreObjects) == 1).await;
    assert_eq!(get_with(node.address, "/", range).await.x_cache(), "Hit from cloudfront");
    assert_eq!(origin.requests(), 3);
}

/// An answer whose last bytes wait at the gate.
fn gated(head: &str, seed: u8, gate: &Gate) -> Vec<Act> {
    let mut bytes = answer(head, seed);
    let rest = bytes.split_off(bytes.len() - 50);
    vec![Act::Send(bytes), Act::Gate(gate.clone()), Act::Send(rest)]
}

fn range(first: usize, last: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: www.demo.test\r\nRange: bytes={first}-{last}\r\n\r\n")
}

#[tokio::test]
async fn many_who_want_one_range_reach_the_origin_once_through_every_tier() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Scripted::start(move |head, _| vec![Act::Gate(held.clone()), Act::Send(answer(head, 1))]).await;
    let (edge, regional, shield) = Setup::new(origin.address).start_with_regional().await;
    let asking: Vec<_> = (0..100).map(|_| tokio::spawn(exchange(edge.address, range(100, 299)))).collect();
    let other = tokio::spawn(exchange(edge.address, range(1_000, 1_009)));
    wait_until("99 wait", || edge.count(Counter::EdgeCollapsed) == 99 && origin.requests() == 2).await;
    gate.open();
    let mut reasons = std::collections::BTreeMap::<String, usize>::new();
    for reply in asking {
        let reply = reply.await.unwrap();
        assert_eq!((reply.status, &reply.body), (206, &body(1, 100, 299)), "{}", reply.head);
        assert_eq!(reply.header("content-range"), "bytes 100-299/5000");
        *reasons.entry(reply.reason()).or_default() += 1;
    }
    assert_eq!(reasons, [("hit_collapsed".to_owned(), 99), ("miss_absent".to_owned(), 1)].into());
    assert_eq!(other.await.unwrap().body, body(1, 1_000, 1_009));
    assert_eq!((origin.requests(), regional.count(Counter::EdgeRequests)), (2, 2));
    assert_eq!(shield.count(Counter::EdgeRequests), 2);
}

#[tokio::test]
async fn those_who_wait_for_a_range_get_it_as_it_comes_and_need_not_its_first_viewer() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Scripted::start(move |head, _| gated(head, 1, &held)).await;
    let node = Setup::new(origin.address).start().await;
    let mut first = Client::connect(node.address).await;
    first.send(range(100, 999)).await;
    first.head().await;
    // The same, a part of it, and one that comes by the end.
    let mut followers = Vec::new();
    for (from, to) in [(100, 999), (200, 899), (900, 999)] {
        let mut follower = Client::connect(node.address).await;
        follower.send(range(from, to)).await;
        assert!(follower.head().await.contains("x-cache: Hit from cloudfront"));
        followers.push((follower, from, to));
    }
    assert_eq!(followers[0].0.bytes(850).await, body(1, 100, 949));
    assert_eq!(followers[1].0.bytes(700).await, body(1, 200, 899));
    drop(first);
    gate.open();
    assert_eq!(followers[0].0.bytes(50).await, body(1, 950, 999));
    assert_eq!(followers[2].0.bytes(100).await, body(1, 900, 999));
    assert_eq!(origin.requests(), 1);
    assert_eq!(exchange(node.address, range(100, 999)).await.reason(), "hit");
}

#[tokio::test]
async fn many_who_lack_one_stretch_ask_for_it_once() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Scripted::start(move |head, number| match number {
        0 => vec![Act::Send(answer(head, 1))],
        _ => gated(head, 1, &held),
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    exchange(node.address, range(0, 999)).await;
    wait_until("the part is stored", || node.count(Counter::EdgeStoreBytes) > 1_000).await;
    let asking: Vec<_> = (0..20).map(|_| tokio::spawn(exchange(node.address, range(500, 1_999)))).collect();
    wait_until("the rest is arriving", || origin.requests() == 2).await;
    let whole = tokio::spawn(get(node.address, "/"));
    wait_until("the whole lacks another stretch", || origin.requests() == 3).await;
    gate.open();
    for reply in asking {
        assert_eq!(reply.await.unwrap().body, body(1, 500, 1_999));
    }
    assert_eq!(whole.await.unwrap().body, body(1, 0, TOTAL - 1));
    assert_eq!(line(&origin.head(1), "range").as_deref(), Some("bytes=1000-1999"));
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn ranges_of_an_object_that_is_on_its_way_are_taken_from_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Scripted::start(move |head, _| gated(head, 1, &held)).await;
    let node = Setup::new(origin.address).start().await;
    let whole = tokio::spawn(get(node.address, "/"));
    wait_until("it is on its way", || origin.requests() == 1).await;
    let address = node.address;
    let ranges: Vec<_> = (0..20)
        .map(|at| (at * 200, at * 200 + 199))
        .map(|(first, last)| tokio::spawn(async move { (first, last, exchange(address, range(first, last)).await) }))
        .collect();
    for reply in ranges {
        let (first, last, reply) = reply.await.unwrap();
        assert_eq!((reply.status, reply.body), (206, body(1, first, last)));
    }
    gate.open();
    assert_eq!(whole.await.unwrap().body, body(1, 0, TOTAL - 1));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn ranges_that_cannot_be_shared_are_asked_for_by_each_and_nobody_waits_in_a_row() {
    let private = "HTTP/1.1 206 Partial Content\r\nCache-Control: private\r\nContent-Range: bytes 0-2/9\r\n\
         Content-Length: 3\r\n\r\nabc";
    let beyond = "HTTP/1.1 416 X\r\nContent-Range: bytes */9\r\nContent-Length: 0\r\n\r\n";
    for (answer, status) in [(private, 206), (beyond, 416)] {
        let (first, others) = (Gate::new(), Gate::new());
        let held = (first.clone(), others.clone());
        let origin = Scripted::start(move |_, number| {
            let gate = if number == 0 { &held.0 } else { &held.1 };
            vec![Act::Gate(gate.clone()), Act::Send(answer.into())]
        })
        .await;
        let node = Setup::new(origin.address).start().await;
        let asking: Vec<_> = (0..20).map(|_| tokio::spawn(exchange(node.address, range(0, 2)))).collect();
        wait_until("19 wait", || node.count(Counter::EdgeCollapsed) == 19).await;
        first.open();
        wait_until("all others ask, and none has an answer", || origin.requests() == 20).await;
        others.open();
        for reply in asking {
            assert_eq!(reply.await.unwrap().status, status);
        }
    }
}

/// Whoever asks for whatever at once, and leaves: every byte is the object's.
#[test]
fn any_mix_of_ranges_at_once_gets_the_objects_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = (0..TOTAL / 500, 1..5_usize, proptest::bool::weighted(0.2));
    let batches = proptest::collection::vec(proptest::collection::vec(request, 1..12), 1..4);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(24) });
    let outcome = runner.run(&batches, |batches| {
        runtime.block_on(async {
            let origin = origin(3).await;
            let mut setup = Setup::new(origin.address);
            setup.config.object_bytes_max = 3_000;
            let node = setup.start().await;
            for batch in batches {
                let mut asking = Vec::new();
                for (first, len, leaves) in batch {
                    let (first, last) = (first * 500, (first * 500 + len * 500).min(TOTAL) - 1);
                    let mut client = Client::connect(node.address).await;
                    client.send(range(first, last)).await;
                    if !leaves {
                        asking.push(tokio::spawn(async move { (first, last, client.reply(false).await) }));
                    }
                }
                for reply in asking {
                    let (first, last, reply) = reply.await.unwrap();
                    prop_assert_eq!((reply.status, reply.body), (206, body(3, first, last)), "{}-{}", first, last);
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

/// Whatever is asked for in whatever order, every byte is the object's.
#[test]
fn any_mix_of_ranges_gets_the_objects_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = prop_oneof![
        3 => (0..TOTAL, 1..2_000_usize).prop_map(|(first, len)| Some((first, (first + len - 1).min(TOTAL - 1)))),
        1 => Just(None),
    ];
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(16) });
    let outcome = runner.run(&proptest::collection::vec(request, 1..12), |requests| {
        runtime.block_on(async {
            let origin = origin(3).await;
            // Small enough that parts are pushed out by parts.
            let mut setup = Setup::new(origin.address);
            setup.config.object_bytes_max = 3_000;
            let node = setup.start().await;
            for wanted in requests {
                let (reply, expected) = match wanted {
                    Some((first, last)) => {
                        let reply = get_with(node.address, "/", &format!("Range: bytes={first}-{last}\r\n")).await;
                        (reply, (206, body(3, first, last)))
                    }
                    None => (get(node.address, "/").await, (200, body(3, 0, TOTAL - 1))),
                };
                prop_assert_eq!((reply.status, reply.body), expected, "{:?}", wanted);
            }
            Ok(())
        })
    });
    outcome.unwrap();
}
