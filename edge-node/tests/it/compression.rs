//! Compression: what viewers get, what is stored, and what the origin and the shield have to do with it.

use std::{io::Read as _, time::Duration};

use cdn_core::Counter;

use crate::support::{
    Act, Client, DEADLINE, Gate, Reply, Running, Scripted, Setup, exchange, get, get_with, line, ok, wait_until,
};

const HEADERS: &str = "Cache-Control: max-age=60\r\nContent-Type: text/html\r\nETag: \"a\"\r\n\
                       Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\n";

/// About 200 KB that compress well, but not to nothing.
fn page() -> String {
    (0..8_000_u32).map(|at| format!("<p>{:x}</p> ", at.wrapping_mul(2_654_435_761))).collect()
}

async fn ask(node: &Running, path: &str, accepts: &str) -> Reply {
    get_with(node.address, path, &format!("Accept-Encoding: {accepts}\r\n")).await
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

fn decoded(reply: &Reply) -> String {
    let mut text = String::new();
    match reply.header("content-encoding").as_str() {
        "gzip" => return gunzip(&reply.body),
        "br" => drop(brotli::Decompressor::new(&*reply.body, 4096).read_to_string(&mut text).unwrap()),
        #[cfg(feature = "zstd")]
        "zstd" => drop(zstd::stream::read::Decoder::new(&*reply.body).unwrap().read_to_string(&mut text).unwrap()),
        _ => return reply.text(),
    }
    text
}

/// Once it is all there, which may be a moment after its last byte was sent.
async fn stored(node: &Running, path: &str, accepts: &str) -> Reply {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let reply = ask(node, path, accepts).await;
        if !reply.header("content-length").is_empty() {
            return reply;
        }
        assert!(tokio::time::Instant::now() < deadline, "never complete: {}", reply.head);
    }
}

#[tokio::test]
async fn each_variant_is_compressed_once_and_decodes_to_the_same_bytes() {
    let page = page();
    let origin = Scripted::always(vec![ok(HEADERS, &page)]).await;
    let node = Setup::new(origin.address).start().await;
    let mut out = 0;
    for (number, (accepts, coding)) in [("gzip, deflate", "gzip"), ("gzip, br;q=0.1", "br")].into_iter().enumerate() {
        let miss = ask(&node, "/", accepts).await;
        assert_eq!((miss.status, miss.x_cache().as_str()), (200, "Miss from cloudfront"));
        let hit = stored(&node, "/", accepts).await;
        assert_eq!(hit.x_cache(), "Hit from cloudfront");
        for reply in [&miss, &hit] {
            assert_eq!((reply.header("content-encoding").as_str(), decoded(reply)), (coding, page.clone()));
            assert_eq!((reply.header("etag").as_str(), reply.header("vary").as_str()), ("W/\"a\"", "Accept-Encoding"));
            assert_eq!(reply.header("accept-ranges"), "bytes");
        }
        assert_eq!(hit.header("content-length"), hit.body.len().to_string());
        assert!(hit.body.len() < page.len() / 2, "{}", hit.body.len());
        out += hit.body.len() as u64;
        let sent = line(&origin.head(number), "accept-encoding");
        assert_eq!(sent.as_deref(), Some(if coding == "br" { "br,gzip" } else { "gzip" }));
    }
    let plain = get(node.address, "/").await;
    assert_eq!((plain.text(), plain.header("etag").as_str()), (page.clone(), "\"a\""));
    assert_eq!(plain.header("content-encoding"), "");
    let counts = [Counter::EdgeCompressed, Counter::EdgeCompressedBytesIn, Counter::EdgeCompressedBytesOut];
    assert_eq!(counts.map(|counter| node.count(counter)), [2, 2 * page.len() as u64, out]);
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn what_may_not_be_compressed_passes_as_it_came() {
    let page = page();
    let body = page.clone();
    let chunked = format!("HTTP/1.1 200 OK\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", page.len());
    let origin = Scripted::start(move |head, _| match head.split(' ').nth(1).unwrap() {
        "/encoded" => vec![ok(&format!("{HEADERS}Content-Encoding: gzip\r\n"), &body)],
        "/chunked" => vec![Act::Send(format!("{chunked}{body}\r\n0\r\n\r\n").into())],
        "/no-transform" => vec![ok(&format!("Cache-Control: no-transform\r\n{HEADERS}"), &body)],
        "/not-fresh" => vec![ok(&HEADERS.replace("max-age=60", "no-cache"), &body)],
        "/png" => vec![ok(&HEADERS.replace("text/html", "image/png"), &body)],
        "/small" => vec![ok(HEADERS, &body[..999])],
        other => panic!("{other}"),
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    for path in ["/encoded", "/chunked", "/no-transform", "/not-fresh", "/png", "/small"] {
        for _ in 0..2 {
            let reply = ask(&node, path, "gzip, br").await;
            let expected = if path == "/small" { &page[..999] } else { &page };
            assert_eq!((reply.status, reply.text().as_str()), (200, expected), "{path}");
            let coding = if path == "/encoded" { "gzip" } else { "" };
            assert_eq!((reply.header("etag").as_str(), reply.header("content-encoding").as_str()), ("\"a\"", coding));
        }
    }
    assert_eq!(node.count(Counter::EdgeCompressed), 0);
}

#[tokio::test]
async fn a_behavior_that_does_not_compress_leaves_responses_alone() {
    let page = page();
    let origin = Scripted::always(vec![ok(HEADERS, &page)]).await;
    let mut setup = Setup::new(origin.address);
    setup.spec.default_behavior.compress = false;
    let node = setup.start().await;
    let reply = ask(&node, "/", "gzip, br").await;
    assert_eq!((reply.text(), reply.header("content-encoding").as_str()), (page, ""));
    assert_eq!(line(&origin.head(0), "accept-encoding").as_deref(), Some("br,gzip"), "the policy still normalises");
}

#[tokio::test]
async fn viewers_of_http_1_0_get_nothing_compressed() {
    let page = page();
    let origin = Scripted::always(vec![ok(HEADERS, &page)]).await;
    let node = Setup::new(origin.address).start().await;
    let old = || exchange(node.address, "GET / HTTP/1.0\r\nHost: www.demo.test\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(old().await.text(), page);
    assert_eq!(decoded(&ask(&node, "/", "gzip").await), page);
    assert_eq!(old().await.text(), page);
    assert_eq!((origin.requests(), node.count(Counter::EdgeCompressed)), (2, 1));
}

#[tokio::test]
async fn preconditions_and_ranges_are_those_of_the_compressed_form() {
    let page = page();
    let origin = Scripted::always(vec![ok(HEADERS, &page)]).await;
    let node = Setup::new(origin.address).start().await;
    ask(&node, "/", "gzip").await;
    let whole = stored(&node, "/", "gzip").await;
    let with = async |line: &str| ask(&node, "/", &format!("gzip\r\n{line}")).await;
    for tag in ["\"a\"", "W/\"a\""] {
        let reply = with(&format!("If-None-Match: {tag}")).await;
        assert_eq!((reply.status, reply.header("etag").as_str()), (304, "W/\"a\""), "{tag}");
        assert_eq!(reply.header("vary"), "Accept-Encoding");
    }
    let part = with("Range: bytes=10-19").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[10..20]));
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", whole.body.len()));
    assert_eq!(part.header("content-encoding"), "gzip");
    let beyond = with(&format!("Range: bytes={}-", whole.body.len())).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{}", whole.body.len())));
    // Neither vouches for bytes that another edge has compressed differently.
    for validator in ["\"a\"", "W/\"a\"", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let reply = with(&format!("Range: bytes=10-19\r\nIf-Range: {validator}")).await;
        assert_eq!((reply.status, &reply.body), (200, &whole.body), "{validator}");
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn head_describes_what_get_would_bring() {
    let page = page();
    let origin = Scripted::start({
        let page = page.clone();
        move |head, _| match head.starts_with("HEAD ") {
            true => {
                vec![Act::Send(format!("HTTP/1.1 200 OK\r\n{HEADERS}Content-Length: {}\r\n\r\n", page.len()).into())]
            }
            false => vec![ok(HEADERS, &page)],
        }
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    let head = || exchange(node.address, "HEAD / HTTP/1.1\r\nHost: www.demo.test\r\nAccept-Encoding: br\r\n\r\n");
    let unknown = head().await;
    assert_eq!((unknown.header("content-encoding").as_str(), unknown.header("etag").as_str()), ("br", "W/\"a\""));
    assert_eq!(unknown.header("content-length"), "", "nobody has compressed it yet");
    assert_eq!(node.count(Counter::EdgeCompressed), 0);
    assert_eq!(decoded(&ask(&node, "/", "br").await), page);
    let whole = stored(&node, "/", "br").await;
    let known = head().await;
    assert_eq!(known.header("content-length"), whole.body.len().to_string());
    assert_eq!(known.header("content-encoding"), "br");
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_304_of_the_origin_keeps_the_stored_encoding() {
    let page = page();
    let body = page.clone();
    let origin = Scripted::start(move |head, _| match line(head, "if-none-match") {
        Some(_) => vec![Act::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nX-New: yes\r\n\r\n".into())],
        None => vec![ok(HEADERS, &body)],
    })
    .await;
    let mut setup = Setup::new(origin.address);
    setup.spec.default_behavior.cache_policy.max_ttl = Duration::from_millis(20);
    let node = setup.start().await;
    assert_eq!(decoded(&ask(&node, "/", "gzip").await), page);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let refreshed = loop {
        let reply = ask(&node, "/", "gzip").await;
        if reply.x_cache() == "RefreshHit from cloudfront" {
            break reply;
        }
        assert!(tokio::time::Instant::now() < deadline, "never stale: {}", reply.head);
    };
    assert_eq!((refreshed.header("content-encoding").as_str(), decoded(&refreshed)), ("gzip", page));
    assert_eq!((refreshed.header("etag").as_str(), refreshed.header("x-new").as_str()), ("W/\"a\"", "yes"));
    assert_eq!(refreshed.header("vary"), "Accept-Encoding");
    assert_eq!(line(&origin.head(1), "if-none-match").as_deref(), Some("W/\"a\""));
    assert_eq!(node.count(Counter::EdgeCompressed), 1);
}

#[tokio::test]
async fn those_who_follow_get_what_has_arrived_while_the_origin_pauses() {
    let page = page();
    let (first, rest) = page.split_at(3_000);
    let gate = Gate::new();
    let head = format!("HTTP/1.1 200 OK\r\n{HEADERS}Content-Length: {}\r\n\r\n{first}", page.len());
    let script = vec![Act::Send(head.into()), Act::Gate(gate.clone()), Act::Send(rest.into())];
    let origin = Scripted::always(script).await;
    let node = Setup::new(origin.address).start().await;
    // Who caused the fetch, and one who came later.
    let mut clients = [Client::connect(node.address).await, Client::connect(node.address).await];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\nAccept-Encoding: gzip\r\n\r\n").await;
        assert_eq!(line(&client.head().await, "content-encoding").as_deref(), Some("gzip"));
        let (mut raw, mut text) = (Vec::new(), String::new());
        while text.len() < first.len() {
            raw.extend(client.chunk().await);
            text.clear();
            // An early end is an error; what came before it counts.
            let _ = flate2::read::GzDecoder::new(&*raw).read_to_string(&mut text);
        }
        assert_eq!(text, first);
    }
    gate.open();
    assert_eq!(decoded(&stored(&node, "/", "gzip").await), page);
    assert_eq!((origin.requests(), node.count(Counter::EdgeCompressed)), (1, 1));
}

#[tokio::test]
async fn a_body_cut_short_is_cut_short_compressed_too_and_does_not_stay() {
    let page = page();
    let head = format!("HTTP/1.1 200 OK\r\n{HEADERS}Content-Length: {}\r\n\r\n{}", page.len(), &page[..100_000]);
    let origin = Scripted::start(move |_, number| match number {
        0 => vec![Act::Send(head.clone().into()), Act::Close],
        _ => vec![ok(HEADERS, &page)],
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    let mut client = Client::connect(node.address).await;
    client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\nAccept-Encoding: br\r\n\r\n").await;
    client.head().await;
    while !client.chunk().await.is_empty() {}
    assert!(client.is_closed().await, "no last chunk, but an end");
    wait_until("it is given up", || node.count(Counter::EdgeFetchesTruncated) == 1).await;
    assert_eq!(ask(&node, "/", "br").await.x_cache(), "Miss from cloudfront");
}

#[tokio::test]
async fn beyond_the_limit_responses_are_stored_as_they_came() {
    let page = page();
    let gate = Gate::new();
    let script = {
        let (page, gate) = (page.clone(), gate.clone());
        move |head: &str, _| match head.starts_with("GET /slow ") {
            true => {
                let head = format!("HTTP/1.1 200 OK\r\n{HEADERS}Content-Length: {}\r\n\r\n", page.len());
                vec![Act::Send(head.into()), Act::Gate(gate.clone()), Act::Send(page.clone().into())]
            }
            false => vec![ok(HEADERS, &page)],
        }
    };
    let origin = Scripted::start(script).await;
    let mut setup = Setup::new(origin.address);
    setup.config.compression.at_once_max = 1;
    let node = setup.start().await;
    let mut slow = Client::connect(node.address).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: www.demo.test\r\nAccept-Encoding: br\r\n\r\n").await;
    slow.head().await;
    let full = ask(&node, "/full", "br").await;
    assert_eq!((full.text(), full.header("content-encoding").as_str()), (page.clone(), ""));
    assert_eq!(node.count(Counter::EdgeCompressionsFull), 1);
    gate.open();
    assert_eq!(decoded(&stored(&node, "/slow", "br").await), page);
    assert_eq!(decoded(&stored(&node, "/later", "br").await), page);
    assert_eq!(node.count(Counter::EdgeCompressed), 2);
}

#[tokio::test]
async fn the_shield_compresses_for_its_edges_and_they_do_not_compress_again() {
    let page = page();
    let origin = Scripted::always(vec![ok(HEADERS, &page)]).await;
    let (edge, shield) = Setup::new(origin.address).start_with_shield().await;
    assert_eq!(decoded(&ask(&edge, "/", "gzip, br").await), page);
    let hit = stored(&edge, "/", "gzip, br").await;
    assert_eq!((hit.header("content-encoding").as_str(), hit.header("etag").as_str()), ("br", "W/\"a\""));
    assert_eq!(edge.handle.invalidate("demo", "/*"), Ok(1));
    let again = ask(&edge, "/", "gzip, br").await;
    assert_eq!((again.reason().as_str(), again.body == hit.body), ("hit_shield", true));
    let counts = [&shield, &edge].map(|node| node.count(Counter::EdgeCompressed));
    assert_eq!((counts, origin.requests()), ([1, 0], 1));
    shield.handle.drain(true);
    assert_eq!(decoded(&ask(&edge, "/alone", "gzip, br").await), page);
    assert_eq!(edge.count(Counter::EdgeCompressed), 1, "what comes straight from the origin is the edge's to compress");
}

#[tokio::test]
async fn an_edge_leaves_alone_what_the_shield_left_alone() {
    let page = page();
    let chunked = format!("HTTP/1.1 200 OK\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", page.len());
    let origin = Scripted::always(vec![Act::Send(format!("{chunked}{page}\r\n0\r\n\r\n").into())]).await;
    let (edge, shield) = Setup::new(origin.address).start_with_shield().await;
    assert_eq!(ask(&edge, "/", "gzip").await.text(), page);
    stored(&edge, "/", "gzip").await;
    edge.handle.invalidate("demo", "/*").unwrap();
    // The shield knows the length by now and says it.
    let again = ask(&edge, "/", "gzip").await;
    assert_eq!((again.reason().as_str(), again.header("content-length")), ("hit_shield", page.len().to_string()));
    assert_eq!((again.text(), again.header("content-encoding").as_str()), (page, ""));
    assert_eq!([&shield, &edge].map(|node| node.count(Counter::EdgeCompressed)), [0, 0]);
}

#[cfg(feature = "zstd")]
#[tokio::test]
async fn zstd_comes_first_where_the_policy_enables_it() {
    let page = page();
    let origin = Scripted::always(vec![ok(HEADERS, &page)]).await;
    let mut setup = Setup::new(origin.address);
    setup.spec.default_behavior.cache_policy.zstd = true;
    let node = setup.start().await;
    let reply = ask(&node, "/", "gzip, deflate, br, zstd").await;
    assert_eq!((reply.header("content-encoding").as_str(), decoded(&reply)), ("zstd", page));
    assert_eq!(line(&origin.head(0), "accept-encoding").as_deref(), Some("zstd,br,gzip"));
}
