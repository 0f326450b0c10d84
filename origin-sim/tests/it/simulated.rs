use std::time::{Duration, Instant};

use cdn_core::Counter;
use origin_sim::{Rule, byte_at, fill};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::io::AsyncWriteExt as _;

use crate::{Origin, SEED, client::Client, wait_until};

fn content(path: &str, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fill(SEED, path, offset, &mut bytes);
    bytes
}

#[tokio::test]
async fn any_path_answers_with_checkable_content_and_cacheable_headers() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let reply = client.get("/some/where.png?v=3").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, content("/some/where.png", 0, 1024));
    for (name, value) in [
        ("x-origin", "primary"),
        ("content-type", "image/png"),
        ("cache-control", "max-age=60"),
        ("accept-ranges", "bytes"),
        ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("content-length", "1024"),
    ] {
        assert_eq!(reply.header(name).as_deref(), Some(value), "{name}");
    }
    assert!(reply.header("etag").unwrap().starts_with('"'));
    assert_eq!(client.get("/no-extension").await.header("content-type").unwrap(), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn a_path_of_bytes_names_its_own_size() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    for (path, length) in [("/bytes/5000/17", 5000), ("/bytes/2k", 2048), ("/bytes/0/x", 0), ("/bytes/huge", 1024)] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.body), (200, content(path, 0, length)), "{path}");
    }
    assert_eq!(client.get("/bytes/5000/17?size=7").await.body.len(), 7);
}

#[tokio::test]
async fn the_query_decides_what_the_answer_looks_like() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let reply = client
        .get("/x?size=3k&status=404&type=text/css&cc=no-store&etag=weak&last-modified=none&h.Vary=a&header=Vary:b&seed=1")
        .await;
    assert_eq!((reply.status, reply.body.len()), (404, 3072));
    assert_eq!(reply.body[0], byte_at(1, "/x", 0));
    assert_eq!(reply.header("content-type").unwrap(), "text/css");
    assert_eq!(reply.header("cache-control").unwrap(), "no-store");
    assert_eq!(reply.header("vary").unwrap(), "a, b");
    assert!(reply.header("etag").unwrap().starts_with("W/\""));
    assert_eq!(reply.header("last-modified"), None);

    let reply = client.get("/x?chunked=on&size=200k&chunk=1000&cc=none&etag=mine").await;
    assert_eq!(reply.header("content-length"), None);
    assert_eq!(reply.header("cache-control"), None);
    assert_eq!(reply.header("etag").unwrap(), "\"mine\"");
    assert_eq!(reply.body, content("/x", 0, 200 << 10));

    let reply = client.get("/x?size=huge").await;
    assert_eq!((reply.status, reply.header("x-origin-reason").unwrap().as_str()), (400, "bad_request"));
    assert!(reply.text().contains("size=huge"), "{}", reply.text());
    for status in [204, 205, 304] {
        let reply = client.get(&format!("/x?status={status}")).await;
        assert_eq!((reply.status, reply.body.len()), (status, 0));
    }
}

#[tokio::test]
async fn rules_of_the_config_come_before_the_query() {
    let origin = Origin::start(|config| {
        config.rules =
            vec![Rule::parse("/img/*", "size=10&max-age=9&h.x-rule=1").unwrap(), Rule::parse("*", "size=20").unwrap()];
    });
    let mut client = Client::connect(origin.address).await;
    let reply = client.get("/img/a").await;
    assert_eq!((reply.body.len(), reply.header("cache-control").unwrap().as_str()), (10, "max-age=9"));
    assert_eq!(client.get("/img/a?size=3").await.body.len(), 3);
    assert_eq!(client.get("/img/a?size=3").await.header("x-rule").unwrap(), "1");
    assert_eq!(client.get("/other").await.body.len(), 20);
}

#[tokio::test]
async fn head_says_what_get_would_say_and_options_says_what_is_allowed() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let get = client.get("/a?size=5000").await;
    let head = client.ask("HEAD", "/a?size=5000", "").await.unwrap();
    for name in ["content-length", "etag", "content-type", "last-modified", "cache-control", "accept-ranges"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let options = client.ask("OPTIONS", "/a", "").await.unwrap();
    assert_eq!(options.status, 204);
    assert!(options.header("allow").unwrap().contains("PATCH"));
    let trace = client.ask("TRACE", "/a", "").await.unwrap();
    assert_eq!(trace.status, 405);
    assert_eq!(client.get("/a?size=5000").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn conditional_requests_are_answered_304_and_412() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let etag = client.get("/a").await.header("etag").unwrap();
    let none_match = format!("If-None-Match: {etag}\r\n");
    let reply = client.ask("GET", "/a", &none_match).await.unwrap();
    assert_eq!((reply.status, reply.header("etag")), (304, Some(etag.clone())));
    assert_eq!(reply.header("cache-control").unwrap(), "max-age=60");
    assert_eq!(client.ask("GET", "/a?seed=2", &none_match).await.unwrap().status, 200, "another version");
    let since = "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
    assert_eq!(client.ask("GET", "/a", since).await.unwrap().status, 304);
    assert_eq!(client.ask("GET", "/a", "If-Match: \"x\"\r\n").await.unwrap().status, 412);
    assert_eq!(client.ask("GET", "/a?status=500", "If-Match: \"x\"\r\n").await.unwrap().status, 500);
}

#[tokio::test]
async fn ranges_are_cut_from_the_same_content() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let reply = client.ask("GET", "/v?size=10k", "Range: bytes=100-299\r\n").await.unwrap();
    assert_eq!((reply.status, reply.body), (206, content("/v", 100, 200)));
    let reply = client.ask("GET", "/v?size=10k", "Range: bytes=-24\r\n").await.unwrap();
    assert_eq!(reply.header("content-range").unwrap(), "bytes 10216-10239/10240");
    let reply = client.ask("GET", "/v?size=10k", "Range: bytes=10240-\r\n").await.unwrap();
    assert_eq!((reply.status, reply.header("content-range").unwrap().as_str()), (416, "bytes */10240"));
    let reply = client.ask("GET", "/v?size=10k&ranges=off", "Range: bytes=0-1\r\n").await.unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, 10240));
    let reply = client.ask("GET", "/v?size=1g", "Range: bytes=1073741800-\r\n").await.unwrap();
    assert_eq!(reply.body, content("/v", 1_073_741_800, 24));
    let reply = client.ask("GET", "/v?size=10k", "If-Range: \"old\"\r\nRange: bytes=0-1\r\n").await.unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn several_ranges_come_as_multipart() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let reply = client.ask("GET", "/v.css?size=1k", "Range: bytes=0-9, 1000-\r\n").await.unwrap();
    assert_eq!(reply.status, 206);
    let content_type = reply.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, body: Vec<u8>| {
        let body = String::from_utf8(body).unwrap();
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/css; charset=utf-8\r\nContent-Range: bytes {range}/1024\r\n\r\n{body}"
        )
    };
    let first = part("0-9", content("/v.css", 0, 10));
    let second = part("1000-1023", content("/v.css", 1000, 24));
    assert_eq!(reply.text(), format!("{first}{second}\r\n--{boundary}--\r\n"));
}

#[test]
fn ranges_cut_from_a_body_equal_the_function_at_these_offsets() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (origin, client) = runtime.block_on(async {
        let origin = Origin::start(|_| {});
        let client = Client::connect(origin.address).await;
        (origin, std::cell::RefCell::new(client))
    });
    let strategy = ("/[a-z]{1,8}", 1..300_000_u64, any::<u64>(), any::<u64>(), any::<bool>());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&strategy, |(path, size, first, length, chunked)| {
            let first = first % size;
            let last = first + length % (size - first);
            let target = format!("{path}?size={size}&chunked={}", u8::from(chunked));
            let range = format!("Range: bytes={first}-{last}\r\n");
            let reply = runtime.block_on(client.borrow_mut().ask("GET", &target, &range)).unwrap();
            prop_assert_eq!(reply.status, 206);
            let expected: Vec<_> = (first..=last).map(|offset| byte_at(SEED, &path, offset)).collect();
            prop_assert!(reply.body == expected, "{target} {range}");
            Ok(())
        })
        .unwrap();
    drop(origin);
}

#[tokio::test]
async fn delay_and_drip_take_their_time() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let began = Instant::now();
    assert_eq!(client.get("/a?delay=60ms").await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(60));
    let began = Instant::now();
    // Five pieces have four pauses between them.
    assert_eq!(client.get("/a?size=50&chunk=10&drip=20ms").await.body, content("/a", 0, 50));
    assert!(began.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn echo_shows_the_request_whatever_the_method() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "PURGE"] {
        client.send(&format!("{method} /echo?a=b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabc")).await;
        let reply = client.reply(false).await.unwrap();
        let echo: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((echo["method"].as_str(), echo["target"].as_str()), (Some(method), Some("/echo?a=b")));
        assert_eq!(echo["body_bytes"], 3);
        assert_eq!(echo["body_sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(echo["headers"].as_array().unwrap().contains(&serde_json::json!(["x-a", "1"])));
        assert_eq!(reply.header("cache-control").unwrap(), "no-store");
    }
}

#[tokio::test]
async fn uploads_stream_and_wait_for_100_continue() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let length = 3_000_000;
    client
        .send(&format!("POST /up HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"))
        .await;
    assert_eq!(client.reply(false).await.unwrap().status, 100);
    client.stream.write_all(&vec![b'u'; length]).await.unwrap();
    assert_eq!(client.reply(false).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_demo_site_is_there() {
    let origin = Origin::start(|_| {});
    let mut client = Client::connect(origin.address).await;
    let index = client.get("/").await;
    assert_eq!(index.header("content-type").unwrap(), "text/html; charset=utf-8");
    assert!(index.text().contains("<strong>primary</strong>"));
    assert_eq!(client.get("/app.js").await.header("content-type").unwrap(), "text/javascript; charset=utf-8");
    assert_eq!(client.get("/style.css").await.status, 200);
    assert_eq!(client.get("/big.bin").await.body.len(), 16 << 20);
    let time = client.get("/api/time").await;
    assert_eq!(time.header("cache-control").unwrap(), "no-store");
    let time: serde_json::Value = serde_json::from_slice(&time.body).unwrap();
    assert!(time["unix_ms"].as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn overload_is_real() {
    let origin = Origin::start(|config| {
        config.limits.concurrency_max = 1;
        config.limits.queue_max = 1;
    });
    let counters = origin.handle.counters().clone();
    let mut first = Client::connect(origin.address).await;
    first.send("GET /slow?delay=1h HTTP/1.1\r\nHost: h\r\n\r\n").await;
    wait_until("the slot is taken", || counters.value(Counter::OriginActive) == 1).await;
    let mut second = Client::connect(origin.address).await;
    second.send("GET /queued HTTP/1.1\r\nHost: h\r\n\r\n").await;
    wait_until("the queue is full", || counters.value(Counter::OriginQueued) == 1).await;

    let mut third = Client::connect(origin.address).await;
    let reply = third.get("/third").await;
    assert_eq!((reply.status, reply.header("x-origin-overload").unwrap().as_str()), (503, "1"));
    assert_eq!(reply.header("x-origin-reason").unwrap(), "origin_overloaded");
    assert_eq!(counters.value(Counter::OriginOverloaded), 1);

    // A client that gives up gives its slot back.
    drop(first);
    assert_eq!(second.reply(false).await.unwrap().status, 200);
    wait_until("all slots are free", || counters.value(Counter::OriginActive) == 0).await;
}

#[tokio::test]
async fn paths_are_counted() {
    let origin = Origin::start(|config| config.limits.paths_max = 2);
    let mut client = Client::connect(origin.address).await;
    for target in ["/a?size=10", "/a?size=20", "/b?status=404&size=1", "/c?size=5", "/d?size=5"] {
        client.get(target).await;
    }
    let rows: Vec<_> = origin.handle.path_counters();
    let seen: Vec<_> = rows.iter().map(|row| (row.path.as_str(), row.requests, row.bytes)).collect();
    assert_eq!(seen, [("/a", 2, 30), ("/b", 1, 1), ("(other)", 2, 10)]);
    assert_eq!(rows[1].statuses.get(&404), Some(&1));
    let counters = origin.handle.counters();
    assert_eq!((counters.value(Counter::OriginRequests), counters.value(Counter::OriginBodyBytesSent)), (5, 41));
}
