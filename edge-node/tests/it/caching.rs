//! What the store answers: hits, shared fetches, stale responses, errors, ranges, preconditions.

use std::time::Duration;

use cdn_core::{Counter, Reason, WallTime, store::admission::AdmissionPolicy};

use crate::support::{Act, Client, Gate, Scripted, Setup, exchange, get, get_with, line, ok, status, wait_until};

const MINUTE: &str = "Cache-Control: max-age=60\r\n";

#[tokio::test]
async fn a_hit_carries_cloudfronts_headers_and_asks_nobody() {
    let origin = Scripted::always(vec![ok(&format!("{MINUTE}ETag: \"a\"\r\n"), "hello")]).await;
    let node = Setup::new(origin.address).start().await;
    let miss = get(node.address, "/a?b=c").await;
    assert_eq!((miss.x_cache().as_str(), miss.reason().as_str()), ("Miss from cloudfront", "miss_absent"));
    assert_eq!((miss.text().as_str(), miss.header("age").as_str()), ("hello", ""));
    assert_eq!(miss.header("cache-status"), "edge.iad; fwd=uri-miss; fwd-status=200; stored");
    let hit = get(node.address, "/a?b=c").await;
    assert_eq!((hit.status, hit.text().as_str()), (200, "hello"));
    assert_eq!((hit.x_cache().as_str(), hit.reason().as_str()), ("Hit from cloudfront", "hit"));
    assert_eq!((hit.header("age").as_str(), hit.header("x-amz-cf-pop").as_str()), ("0", "IAD50-P1"));
    assert!(hit.header("cache-status").starts_with("edge.iad; hit; ttl="), "{}", hit.head);
    assert!(hit.header("via").ends_with(".cloudfront.net (CloudFront)"), "{}", hit.head);
    let timing = hit.header("server-timing");
    assert!(timing.starts_with("cdn-cache-hit, cdn-pop;desc=\"IAD50-P1\", cdn-rid;desc=\""), "{timing}");
    assert!(timing.contains(", edge-lookup;dur=0.") && timing.contains(", edge;dur=0."), "{timing}");
    assert_eq!(origin.requests(), 1);
    let counts = [Counter::EdgeHits, Counter::EdgeMisses, Counter::EdgeRequests].map(|counter| node.count(counter));
    assert_eq!(counts, [1, 1, 2]);
    let bytes = [Counter::EdgeBytesSent, Counter::EdgeBytesFromStore, Counter::EdgeStoreBytesMax];
    assert_eq!(bytes.map(|counter| node.count(counter)), [10, 5, 64 << 20]);
}

#[tokio::test]
async fn diagnostics_can_be_switched_off_and_cloudfronts_headers_cannot() {
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let mut setup = Setup::new(origin.address);
    setup.spec.diagnostics = cdn_core::distribution::Diagnostics {
        cache_status: false,
        proxy_status: false,
        server_timing: false,
        reason: false,
    };
    let node = setup.start().await;
    let reply = get(node.address, "/").await;
    for name in ["cache-status", "proxy-status", "server-timing", "x-iso-reason"] {
        assert_eq!(reply.header(name), "", "{name}");
    }
    assert_eq!(reply.x_cache(), "Miss from cloudfront");
}

#[tokio::test]
async fn what_arrives_at_an_edge_whose_clock_is_ahead_is_as_old_as_the_clock_says() {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let date = WallTime::from_unix_secs(since.as_secs() as i64).http_date();
    let date = date.to_str().unwrap();
    let origin = Scripted::always(vec![ok(&format!("{MINUTE}Date: {date}\r\nETag: \"a\"\r\n"), "hello")]).await;
    let node = Setup::new(origin.address).start().await;
    node.handle.set_clock(3_600_000_000_000);
    for asked in 1..=3 {
        let reply = get(node.address, "/").await;
        assert_eq!((reply.status, origin.requests()), (200, asked), "its minute is over on arrival");
    }
    node.handle.set_clock(0);
    get(node.address, "/").await;
    assert_eq!((get(node.address, "/").await.reason().as_str(), origin.requests()), ("hit", 4));
}

#[tokio::test]
async fn a_hundred_cold_requests_reach_the_origin_once() {
    let gate = Gate::new();
    let body = "x".repeat(100_000);
    let origin = Scripted::always(vec![Act::Gate(gate.clone()), ok(MINUTE, &body)]).await;
    let node = Setup::new(origin.address).start().await;
    let asking: Vec<_> = (0..100).map(|_| tokio::spawn(get(node.address, "/"))).collect();
    wait_until("99 wait", || node.count(Counter::EdgeCollapsed) == 99).await;
    gate.open();
    let mut hits = 0;
    for reply in asking {
        let reply = reply.await.unwrap();
        assert_eq!((reply.status, reply.body.len()), (200, body.len()));
        hits += usize::from(reply.x_cache() == "Hit from cloudfront");
    }
    assert_eq!((origin.requests(), hits), (1, 99));
    assert_eq!((node.count(Counter::EdgeMisses), node.count(Counter::EdgeHits)), (1, 99));
}

#[tokio::test]
async fn those_who_join_get_the_first_byte_before_the_origin_has_sent_the_last() {
    let (first, last) = (Gate::new(), Gate::new());
    let head = format!("HTTP/1.1 200 OK\r\n{MINUTE}Content-Length: 10\r\n\r\nfirst");
    let script =
        vec![Act::Gate(first.clone()), Act::Send(head.into()), Act::Gate(last.clone()), Act::Send(b"later".into())];
    let origin = Scripted::always(script).await;
    let node = Setup::new(origin.address).start().await;
    let request = "GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n";
    let (mut leader, mut joiner, mut late) =
        (Client::connect(node.address).await, Client::connect(node.address).await, Client::connect(node.address).await);
    leader.send(request).await;
    wait_until("the origin is asked", || origin.requests() == 1).await;
    joiner.send(request).await;
    wait_until("one waits", || node.count(Counter::EdgeCollapsed) == 1).await;
    first.open();
    for client in [&mut leader, &mut joiner] {
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(client.bytes(5).await, b"first");
    }
    late.send(request).await;
    let head = late.head().await;
    assert!(head.contains("Hit from cloudfront"), "{head}");
    assert_eq!(late.bytes(5).await, b"first");
    last.open();
    for client in [&mut leader, &mut joiner, &mut late] {
        assert_eq!(client.bytes(5).await, b"later");
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn what_is_asked_for_once_is_not_kept_and_still_shared_by_who_asks_meanwhile() {
    let last = Gate::new();
    let head = format!("HTTP/1.1 200 OK\r\n{MINUTE}Content-Length: 10\r\n\r\nfirst");
    let shared = vec![Act::Send(head.into()), Act::Gate(last.clone()), Act::Send(b"later".into())];
    let origin = Scripted::start(move |head, _| match head.starts_with("GET /shared ") {
        true => shared.clone(),
        false => vec![ok(MINUTE, "hello")],
    })
    .await;
    let mut setup = Setup::new(origin.address);
    setup.config.admission = AdmissionPolicy::SecondRequest;
    let node = setup.start().await;
    let first = get(node.address, "/once").await;
    assert_eq!((first.text().as_str(), first.reason().as_str()), ("hello", "miss_absent"));
    assert_eq!(first.header("cache-status"), "edge.iad; fwd=uri-miss; fwd-status=200");
    wait_until("it is let go", || node.count(Counter::EdgeAdmissionsRefused) == 1).await;
    assert_eq!(node.count(Counter::EdgeStoreObjects), 0);
    // The second request for it is the one that is stored, and the third a hit.
    let second = get(node.address, "/once").await;
    assert_eq!(second.header("cache-status"), "edge.iad; fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(get(node.address, "/once").await.reason(), "hit");
    // Two at a time: the second finds it arriving, and so it stays.
    let request = "GET /shared HTTP/1.1\r\nHost: www.demo.test\r\n\r\n";
    let (mut one, mut two) = (Client::connect(node.address).await, Client::connect(node.address).await);
    one.send(request).await;
    assert_eq!((one.head().await.starts_with("HTTP/1.1 200 "), one.bytes(5).await.as_slice()), (true, &b"first"[..]));
    two.send(request).await;
    assert!(two.head().await.contains("Hit from cloudfront"));
    last.open();
    assert_eq!((one.bytes(5).await, two.bytes(10).await), (b"later".to_vec(), b"firstlater".to_vec()));
    assert_eq!(get(node.address, "/shared").await.reason(), "hit");
    assert_eq!((origin.requests(), node.count(Counter::EdgeAdmissionsRefused)), (3, 1));
}

#[tokio::test]
async fn a_leader_who_leaves_does_not_end_a_fetch_that_others_want() {
    let gate = Gate::new();
    let origin = Scripted::always(vec![Act::Gate(gate.clone()), ok(MINUTE, "hello")]).await;
    let node = Setup::new(origin.address).start().await;
    let mut leader = Client::connect(node.address).await;
    leader.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    wait_until("the origin is asked", || origin.requests() == 1).await;
    let joiner = tokio::spawn(get(node.address, "/"));
    wait_until("one waits", || node.count(Counter::EdgeCollapsed) == 1).await;
    drop(leader);
    wait_until("the leader is gone", || node.count(Counter::EdgeConnections) == 1).await;
    gate.open();
    assert_eq!(joiner.await.unwrap().text(), "hello");
    assert_eq!((origin.requests(), node.count(Counter::EdgeFetchesAbandoned)), (1, 0));
}

#[tokio::test]
async fn a_fetch_that_nobody_wants_stops_and_leaves_nothing() {
    let head = format!("HTTP/1.1 200 OK\r\n{MINUTE}Content-Length: 10\r\n\r\nfirst");
    for script in [vec![Act::Silence], vec![Act::Send(head.into()), Act::Silence]] {
        let origin = Scripted::always(script).await;
        let node = Setup::new(origin.address).start().await;
        let mut client = Client::connect(node.address).await;
        client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
        wait_until("the origin is asked", || origin.requests() == 1).await;
        drop(client);
        wait_until("it is given up", || node.count(Counter::EdgeFetchesAbandoned) == 1).await;
        assert_eq!(node.count(Counter::EdgeStoreObjects), 0);
    }
}

#[tokio::test]
async fn what_ends_early_is_not_kept() {
    let half = format!("HTTP/1.1 200 OK\r\n{MINUTE}Content-Length: 10\r\n\r\nhalf");
    let chunk = format!("HTTP/1.1 200 OK\r\n{MINUTE}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    for bytes in [half, chunk] {
        let origin = Scripted::always(vec![Act::Send(bytes.into()), Act::Close]).await;
        let node = Setup::new(origin.address).start().await;
        for _ in 0..2 {
            assert_eq!(get(node.address, "/").await.text(), "half");
        }
        assert_eq!((origin.requests(), node.count(Counter::EdgeFetchesTruncated)), (2, 2));
    }
}

#[tokio::test]
async fn a_chunked_response_is_kept_and_then_has_a_length() {
    let chunks =
        format!("HTTP/1.1 200 OK\r\n{MINUTE}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let origin = Scripted::always(vec![Act::Send(chunks.into())]).await;
    let node = Setup::new(origin.address).start().await;
    assert_eq!(get(node.address, "/").await.text(), "abcde");
    let hit = get(node.address, "/").await;
    assert_eq!((hit.text().as_str(), hit.header("content-length").as_str()), ("abcde", "5"));
    let head = exchange(node.address, "HEAD / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!((head.status, head.header("content-length").as_str()), (200, "5"));
    assert_eq!(get_with(node.address, "/", "Range: bytes=1-2\r\n").await.text(), "bc");
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn what_is_too_large_streams_through_whether_or_not_it_says_so() {
    const LEN: usize = 3 << 20;
    let body = "y".repeat(LEN);
    let announced = ok(MINUTE, &body);
    let mut chunked = format!("HTTP/1.1 200 OK\r\n{MINUTE}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    chunked.extend_from_slice(format!("{LEN:x}\r\n{body}\r\n0\r\n\r\n").as_bytes());
    for act in [announced, Act::Send(chunked)] {
        let origin = Scripted::always(vec![act]).await;
        let node = Setup::new(origin.address).start().await;
        for _ in 0..2 {
            let reply = get(node.address, "/").await;
            assert_eq!((reply.body.len(), reply.x_cache().as_str()), (LEN, "Miss from cloudfront"));
        }
        assert_eq!(origin.requests(), 2);
        wait_until("it is counted", || node.count(Counter::EdgeObjectsTooLarge) >= 1).await;
        assert!(node.count(Counter::EdgeStoreBytes) < 10_000);
    }
}

#[tokio::test]
async fn ranges_and_preconditions_are_answered_from_the_store() {
    let body: String = (0..600_000_u32).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let headers = format!("{MINUTE}ETag: \"v1\"\r\nContent-Type: text/plain\r\n");
    let origin = Scripted::always(vec![ok(&headers, &body)]).await;
    let node = Setup::new(origin.address).start().await;
    get(node.address, "/").await;
    for (range, expected, content_range) in [
        ("bytes=0-99", &body[..100], "bytes 0-99/600000"),
        ("bytes=-5", &body[599_995..], "bytes 599995-599999/600000"),
        ("bytes=262000-262300", &body[262_000..262_301], "bytes 262000-262300/600000"),
    ] {
        let reply = get_with(node.address, "/", &format!("Range: {range}\r\n")).await;
        assert_eq!((reply.status, reply.text().as_str()), (206, expected), "{range}");
        assert_eq!(reply.header("content-range"), content_range);
        assert_eq!(
            (reply.x_cache().as_str(), reply.header("content-length")),
            ("Hit from cloudfront", expected.len().to_string())
        );
    }
    let reply = get_with(node.address, "/", "Range: bytes=600000-\r\n").await;
    assert_eq!((reply.status, reply.header("content-range").as_str()), (416, "bytes */600000"));
    let reply = get_with(node.address, "/", "Range: bytes=300-400,100-200\r\n").await;
    assert_eq!((reply.status, reply.body.len()), (200, 600_000));
    let reply = get_with(node.address, "/", "Range: bytes=0-1,10-11\r\n").await;
    assert_eq!(reply.status, 206);
    assert!(reply.header("content-type").starts_with("multipart/byteranges; boundary="));
    for text in ["Content-Range: bytes 0-1/600000\r\n\r\nab\r\n", "Content-Range: bytes 10-11/600000\r\n\r\nkl\r\n"] {
        assert!(reply.text().contains(text), "{}", reply.text());
    }
    let reply = get_with(node.address, "/", "If-None-Match: \"v1\"\r\n").await;
    assert_eq!((reply.status, reply.body.len(), reply.header("etag").as_str()), (304, 0, "\"v1\""));
    assert_eq!(reply.x_cache(), "Hit from cloudfront");
    let head = exchange(node.address, "HEAD / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!((head.status, head.header("content-length").as_str()), (200, "600000"));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn what_is_stale_at_once_is_confirmed_by_the_origin() {
    let origin = Scripted::start(|head, _| match line(head, "if-none-match") {
        Some(_) => vec![Act::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nX-New: yes\r\n\r\n".into())],
        None => vec![ok("Cache-Control: no-cache\r\nETag: \"a\"\r\n", "hello")],
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    get(node.address, "/").await;
    let reply = get(node.address, "/").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    assert_eq!((reply.x_cache().as_str(), reply.reason().as_str()), ("RefreshHit from cloudfront", "refresh_hit"));
    assert_eq!(reply.header("x-new"), "yes");
    assert_eq!(line(&origin.head(1), "if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(node.count(Counter::EdgeRefreshHits), 1);
}

#[tokio::test]
async fn a_stale_response_is_sent_at_once_and_refreshed_behind_the_scenes() {
    let origin = Scripted::start(|_, number| {
        vec![ok("Cache-Control: max-age=0, stale-while-revalidate=60\r\n", &format!("version {number}"))]
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    assert_eq!(get(node.address, "/").await.text(), "version 0");
    let reply = get(node.address, "/").await;
    assert_eq!((reply.text().as_str(), reply.reason().as_str()), ("version 0", "hit_stale_while_revalidate"));
    assert_eq!(reply.x_cache(), "Hit from cloudfront");
    wait_until("it is refreshed", || origin.requests() == 2).await;
    let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
    while get(node.address, "/").await.text() == "version 0" {
        assert!(tokio::time::Instant::now() < deadline);
    }
    assert_eq!(node.count(Counter::EdgeFetchesAbandoned), 0, "a refresh is wanted for itself");
}

#[tokio::test]
async fn a_stale_response_stands_in_for_a_failing_origin() {
    // A kept connection that dies is tried once more on a new one.
    for (failure, requests) in [(vec![status(500, "")], 2), (vec![Act::Close], 3)] {
        let origin = Scripted::start(move |_, number| match number {
            0 => vec![ok("Cache-Control: max-age=0, stale-if-error=60\r\nETag: \"a\"\r\n", "hello")],
            _ => failure.clone(),
        })
        .await;
        let node = Setup::new(origin.address).start().await;
        for _ in 0..3 {
            let reply = get(node.address, "/").await;
            assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
        }
        let reply = get(node.address, "/").await;
        assert_eq!((reply.x_cache().as_str(), reply.reason().as_str()), ("Hit from cloudfront", "hit_stale_on_error"));
        assert_eq!(origin.requests(), requests, "the origin is left alone for ten seconds");
        assert_eq!(node.count(Counter::EdgeStaleServed), 3);
    }
}

#[tokio::test]
async fn errors_are_cached_and_repeated_as_errors() {
    let failing = Scripted::always(vec![status(500, "")]).await;
    let closing = Scripted::always(vec![Act::Close]).await;
    for (origin, code, first) in [(failing, 500, "origin_error"), (closing, 502, "origin_reset")] {
        let node = Setup::new(origin.address).start().await;
        let reply = get(node.address, "/").await;
        assert_eq!((reply.status, reply.reason().as_str()), (code, first));
        let again = get(node.address, "/").await;
        assert_eq!((again.status, again.x_cache().as_str()), (code, "Error from cloudfront"));
        assert_eq!(again.reason(), "error_cached");
        assert_eq!(origin.requests(), 1);
        if code == 502 {
            let id = again.header("x-amz-cf-id");
            assert!(again.text().contains(&id), "the page is this viewer's own");
        }
    }
}

#[tokio::test]
async fn what_may_not_be_stored_is_fetched_by_each_on_its_own() {
    let gate = Gate::new();
    let origin = Scripted::always(vec![Act::Gate(gate.clone()), ok("Cache-Control: no-store\r\n", "mine")]).await;
    let node = Setup::new(origin.address).start().await;
    let asking: Vec<_> = (0..10).map(|_| tokio::spawn(get(node.address, "/"))).collect();
    wait_until("nine wait", || node.count(Counter::EdgeCollapsed) == 9).await;
    gate.open();
    for reply in asking {
        let reply = reply.await.unwrap();
        assert_eq!((reply.text().as_str(), reply.x_cache().as_str()), ("mine", "Miss from cloudfront"));
        assert_eq!(reply.reason(), "miss_uncacheable");
    }
    assert_eq!(origin.requests(), 10);
}

#[tokio::test]
async fn invalidation_removes_and_where_shows() {
    let origin = Scripted::start(|_, number| vec![ok(&format!("{MINUTE}ETag: \"{number}\"\r\n"), "hello")]).await;
    let node = Setup::new(origin.address).start().await;
    get(node.address, "/a").await;
    get(node.address, "/b").await;
    let entries = node.handle.cache_where("www.demo.test", "/a");
    assert_eq!((entries.len(), entries[0].body_bytes), (1, 5));
    let shown = node.handle.cache_show("demo", "/a").unwrap();
    let response = shown.entries[0].response.as_ref().unwrap();
    let whole = response.lifetime.initial_age + response.lifetime.fresh_for;
    assert_eq!((response.head.status().as_u16(), whole), (200, Duration::from_secs(60)));
    assert_eq!((shown.behavior.as_str(), shown.cache_policy.query.to_string().as_str()), ("*", "all"));
    assert_eq!(node.handle.invalidate("demo", "/a*"), Ok(1));
    assert!(node.handle.invalidate("demo", "a").is_err() && node.handle.invalidate("other", "/*").is_err());
    assert_eq!(get(node.address, "/a").await.x_cache(), "Miss from cloudfront");
    assert_eq!(get(node.address, "/b").await.x_cache(), "Hit from cloudfront");
}

#[tokio::test]
async fn what_would_become_of_a_request_is_told_and_nothing_done() {
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let node = Setup::new(origin.address).start().await;
    let explain = |method: http::Method, target: &str| {
        let supposed = edge_node::Supposed {
            distribution: "www.demo.test".into(),
            host: "www.demo.test".into(),
            method,
            target: target.parse().unwrap(),
            headers: http::HeaderMap::new(),
            viewer: "198.18.0.9:5000".parse().unwrap(),
            https: false,
        };
        node.handle.explain(supposed).unwrap()
    };
    let why = explain(http::Method::GET, "/b?x=1");
    assert_eq!((why.behavior.as_str(), why.target.as_str(), why.reason), ("*", "app", Reason::MissAbsent));
    assert_eq!(why.key.unwrap().uri, "/b?x=1");
    assert_eq!((why.origins[0].id.as_str(), why.origins[0].target.as_str()), ("app", "/b?x=1"));
    assert_eq!(why.origins[0].headers["x-forwarded-for"], "198.18.0.9");
    assert_eq!(explain(http::Method::POST, "/b").reason, Reason::PassMethod);
    get(node.address, "/b?x=1").await;
    let why = explain(http::Method::GET, "/b?x=1");
    assert_eq!((why.reason, why.prospect.unwrap().entry.unwrap().report.body_bytes), (Reason::Hit, 5));
    assert_eq!((node.count(Counter::EdgeHits), node.count(Counter::EdgeRequests), origin.requests()), (0, 1, 1));
}

#[tokio::test]
async fn the_default_root_object_stands_for_the_root() {
    let origin = Scripted::always(vec![ok(MINUTE, "home")]).await;
    let node = Setup::new(origin.address).start().await;
    get(node.address, "/").await;
    assert!(origin.head(0).starts_with("GET /index.html HTTP/1.1\r\n"));
    assert_eq!(get(node.address, "/index.html").await.x_cache(), "Hit from cloudfront");
}

#[tokio::test]
async fn keep_alive_carries_many_requests_also_at_once() {
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let node = Setup::new(origin.address).start().await;
    let mut client = Client::connect(node.address).await;
    let request = "GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n";
    client.send(request.repeat(50)).await;
    for _ in 0..50 {
        assert_eq!(client.reply(false).await.text(), "hello");
    }
    assert_eq!((node.count(Counter::EdgeConnectionsAccepted), origin.requests()), (1, 1));
}

#[tokio::test]
async fn those_who_wait_too_long_try_for_themselves() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Scripted::start(move |_, number| match number {
        0 => vec![Act::Gate(held.clone()), ok(MINUTE, "slow")],
        _ => vec![ok(MINUTE, "fast")],
    })
    .await;
    let node = Setup::new(origin.address)
        .app(|app| app.response_timeout = Duration::from_secs(30))
        .limits(|limits| limits.wait_max = Duration::from_millis(50))
        .start()
        .await;
    let leader = tokio::spawn(get(node.address, "/"));
    wait_until("the origin is asked", || origin.requests() == 1).await;
    assert_eq!(get(node.address, "/").await.text(), "fast");
    gate.open();
    assert_eq!(leader.await.unwrap().text(), "slow");
}
