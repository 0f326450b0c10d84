//! What origins send, byte by byte: right, or refused; never stored by mistake, and never the answer to another request.

use cdn_core::Counter;

use crate::support::{Act, Client, Gate, Running, Scripted, Setup, get, get_with, wait_until};

/// A response that nobody asked for, as it would be smuggled into a connection that is used again.
const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison";
const STORED: &str = "Cache-Control: max-age=60\r\n";

/// An origin that answers `/bad…` with exactly these bytes and everything else well, keeping its connections open.
async fn origin(bytes: impl Into<Vec<u8>>) -> Scripted {
    let bytes = bytes.into();
    Scripted::start(move |head, _| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/bad") {
            return vec![Act::Send(bytes.clone())];
        }
        let body = format!("good {path}");
        vec![Act::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into())]
    })
    .await
}

async fn node(origin: &Scripted) -> Running {
    Setup::new(origin.address).start().await
}

/// Nothing of what was sent answers what is asked next, on this connection or another.
async fn assert_unharmed(origin: &Scripted, node: &Running, case: &str) {
    let asked = origin.connections();
    for path in ["/next", "/other"] {
        assert_eq!(get(node.address, path).await.text(), format!("good {path}"), "after {case:?}");
    }
    assert!(origin.connections() > asked, "the connection was used again after {case:?}");
}

/// The viewer can tell that what it got is not whole. Where the body broke before the head had left, it gets nothing.
async fn assert_broken_off(client: &mut Client, case: &str) {
    let all = String::from_utf8(client.bytes(usize::MAX).await).unwrap();
    let is_begun = all.starts_with("HTTP/1.1 200 ") && all.contains("transfer-encoding: chunked");
    assert!(all.is_empty() || is_begun || all.starts_with("HTTP/1.1 502 "), "{case:?}: {all:?}");
    assert!(!all.ends_with("0\r\n\r\n") && !all.contains("poison"), "{case:?}: {all:?}");
}

#[tokio::test]
async fn heads_that_are_in_doubt_are_refused_and_nothing_of_them_is_stored() {
    let cases = [
        // Which of the two lengths?
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc",
        "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        // Nobody here would undo these codings.
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        // Where does a field end?
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX\tY: a\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 3\r\n\r\nabc",
        // It is not HTTP/1.
        "HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\nabc",
        "ICY 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "poison",
        // Nobody asked for a tunnel.
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ];
    for case in cases {
        let raw = case.replacen("\r\n", &format!("\r\n{STORED}"), 1);
        // A field whose line is a continuation must stay the first.
        let raw = if case.contains("OK\r\n X") { case.to_owned() } else { raw };
        let origin = origin([&raw, SMUGGLED].concat()).await;
        let node = node(&origin).await;
        let reply = get(node.address, "/bad").await;
        assert_eq!((reply.status, reply.reason().as_str()), (502, "origin_invalid"), "{raw:?}: {}", reply.head);
        assert!(!reply.text().contains("abc") && !reply.head.contains("b=c"), "{raw:?}");
        assert_eq!(get(node.address, "/bad").await.status, 502, "{raw:?}");
        assert_unharmed(&origin, &node, &raw).await;
    }
}

/// "A recipient MAY recognize a single LF as a line terminator" (RFC 9112 section 2.2). What is recognised is written anew:
/// nobody in front of this node sees a line that ends in another way, and all of them see the same fields. Of requests the
/// same is refused (`cdn_core::framing`): there what stands in front has read the head before.
#[tokio::test]
async fn a_line_feed_alone_ends_a_line_of_an_origins_head_and_leaves_as_crlf() {
    for end in ["\n", "\r\n"] {
        let raw =
            format!("HTTP/1.1 200 OK\nCache-Control: max-age=60\nX-One: a{end}X-Two: b\nContent-Length: 3{end}\nabc");
        let origin = origin([&raw, SMUGGLED].concat()).await;
        let node = node(&origin).await;
        for reason in ["miss_absent", "hit"] {
            let reply = get(node.address, "/bad").await;
            assert_eq!((reply.status, reply.text().as_str(), reply.reason().as_str()), (200, "abc", reason), "{raw:?}");
            assert_eq!((reply.header("x-one").as_str(), reply.header("x-two").as_str()), ("a", "b"), "{raw:?}");
            assert!(!reply.head.replace("\r\n", "").contains(['\r', '\n']), "{:?}", reply.head);
        }
        assert_unharmed(&origin, &node, &raw).await;
    }
}

#[tokio::test]
async fn what_comes_behind_a_response_answers_nothing() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", 200, "abc"),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", 204, ""),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 204, ""),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", 302, ""),
    ];
    for (case, status, body) in cases {
        for behind in [SMUGGLED, "x", "\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 408 Timeout\r\n\r\n"] {
            let origin = origin([case, behind].concat()).await;
            let node = node(&origin).await;
            let reply = get(node.address, "/bad").await;
            assert_eq!((reply.status, reply.text().as_str()), (status, body), "{case:?} {}", reply.head);
            if status == 204 {
                assert!(!reply.head.to_ascii_lowercase().contains("content-length"), "{}", reply.head);
            }
            assert!(reply.head.matches("content-length").count() <= 1, "{}", reply.head);
            assert_unharmed(&origin, &node, &[case, behind].concat()).await;
        }
    }
}

#[tokio::test]
async fn what_comes_behind_a_response_later_closes_the_connection() {
    for behind in [SMUGGLED, "x"] {
        let gate = Gate::new();
        let (opened, behind) = (gate.clone(), behind.to_owned());
        let origin = Scripted::start(move |head, number| {
            if number == 0 {
                let first = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
                return vec![Act::Send(first.into()), Act::Gate(opened.clone()), Act::Send(behind.clone().into())];
            }
            assert!(head.starts_with("GET /second "), "{head}");
            vec![Act::Send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond".into())]
        })
        .await;
        let node = node(&origin).await;
        assert_eq!(get(node.address, "/first").await.text(), "first");
        gate.open();
        // Whether the bytes have arrived when the next request is sent is the network's affair; where they have, the
        // connection is not used. The origin answers the second request only on a new connection: this one is behind the
        // gate no more, but would give what was smuggled first.
        wait_until("the connection is closed", || origin.closed() == 1).await;
        assert_eq!(get(node.address, "/second").await.text(), "second");
        assert_eq!(origin.connections(), 2);
    }
}

#[tokio::test]
async fn a_head_response_and_a_304_have_no_body_whatever_comes() {
    let bad = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let origin = origin([bad, SMUGGLED].concat()).await;
    let node = node(&origin).await;
    let mut client = Client::connect(node.address).await;
    client.send("HEAD /bad HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!(client.reply(true).await.status, 200);
    assert_unharmed(&origin, &node, "HEAD").await;

    let origin = Scripted::start(|head, _| {
        let conditional = head.to_ascii_lowercase().contains("if-none-match");
        let first =
            "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nCache-Control: max-age=0\r\nContent-Length: 5\r\n\r\nfirst".to_owned();
        let confirmed =
            ["HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\nnot first", SMUGGLED].concat();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let good = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\ngood {path}", path.len() + 5);
        vec![Act::Send(
            if path != "/stored" {
                good
            } else if conditional {
                confirmed
            } else {
                first
            }
            .into(),
        )]
    })
    .await;
    let node = Setup::honour_origin(origin.address).start().await;
    assert_eq!(get(node.address, "/stored").await.text(), "first");
    for _ in 0..3 {
        assert_eq!(get(node.address, "/stored").await.text(), "first");
        assert_unharmed(&origin, &node, "304").await;
    }
}

#[tokio::test]
async fn bodies_that_end_wrongly_are_broken_off_and_not_stored() {
    let chunked = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bad_chunks = [
        "3\r\nabc\r\nx\r\n",
        "3\r\nabc\r\n-1\r\n",
        "3\r\nabc\r\n0x2\r\nde\r\n0\r\n\r\n",
        "3\r\nabcde\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n10000000000000000\r\nde",
        "3\r\nabc\r\n;x\r\n",
        "3\r\nabc\r\n\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX y\r\n\r\n",
    ];
    for bad in bad_chunks {
        let origin = origin([chunked, bad, SMUGGLED].concat()).await;
        let node = node(&origin).await;
        let mut client = Client::connect(node.address).await;
        client.send("GET /bad HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
        assert_broken_off(&mut client, bad).await;
        wait_until("nothing is stored", || node.count(Counter::EdgeStoreObjects) == 0).await;
        assert_unharmed(&origin, &node, bad).await;
    }
    for short in ["3\r\nabc\r\n", "3\r\nabc", "5\r\nabc", "3\r\nabc\r\n0\r\n", "3\r\nabc\r\n0\r\nX: y\r\n"] {
        let raw = [chunked, short].concat();
        let origin = Scripted::start(move |head, _| {
            let bad = head.starts_with("GET /bad ");
            let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
            if bad { vec![Act::Send(raw.clone().into()), Act::Close] } else { vec![Act::Send(good.into())] }
        })
        .await;
        let node = node(&origin).await;
        let mut client = Client::connect(node.address).await;
        client.send("GET /bad HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
        assert_broken_off(&mut client, short).await;
        wait_until("nothing is stored", || node.count(Counter::EdgeStoreObjects) == 0).await;
        assert_eq!(get(node.address, "/good").await.text(), "good", "after {short:?}");
    }
}

#[tokio::test]
async fn interim_responses_without_end_are_given_up_and_bounded() {
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(200_000);
    let origin = Scripted::start(move |head, _| {
        if head.starts_with("GET /bad ") {
            return vec![Act::Send(flood.clone().into()), Act::Silence];
        }
        vec![Act::Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood".into())]
    })
    .await;
    let node = Setup::new(origin.address).start().await;
    let mut client = Client::connect(node.address).await;
    client.send("GET /bad HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    let last = loop {
        let head = client.head().await;
        if !head.starts_with("HTTP/1.1 103 ") {
            break head;
        }
    };
    assert!(last.starts_with("HTTP/1.1 504 ") && last.contains("x-iso-reason: origin_response_timeout"), "{last}");
    assert_eq!(get(node.address, "/good").await.text(), "good");
}

#[tokio::test]
async fn heads_without_end_are_refused_in_bounded_memory() {
    let starts = [
        format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(4 << 20)),
        format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(1 << 20)),
        format!("HTTP/1.1 200 {}", "O".repeat(4 << 20)),
    ];
    for start in starts {
        let origin = origin(start).await;
        let node = node(&origin).await;
        let reply = get(node.address, "/bad").await;
        let reason = reply.reason();
        assert_eq!(reply.status, 502, "{}", reply.head);
        assert!(["origin_headers_too_large", "origin_invalid"].contains(&reason.as_str()), "{}", reply.head);
        assert_unharmed(&origin, &node, "an endless head").await;
    }
}

#[tokio::test]
async fn a_tunnel_to_another_protocol_than_the_one_that_was_asked_for_is_refused() {
    let origin = origin("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    let node = node(&origin).await;
    let reply = get_with(node.address, "/bad", "Connection: Upgrade\r\nUpgrade: websocket\r\n").await;
    assert_eq!((reply.status, reply.reason().as_str()), (502, "origin_invalid"), "{}", reply.head);
    assert_unharmed(&origin, &node, "another protocol").await;
}

#[tokio::test]
async fn a_silent_origin_with_half_a_head_is_given_up_in_time() {
    let origin = Scripted::always(vec![Act::Send("HTTP/1.1 200 OK\r\nX: ".into()), Act::Silence]).await;
    let node = node(&origin).await;
    let reply = get(node.address, "/").await;
    assert_eq!((reply.status, reply.reason().as_str()), (504, "origin_response_timeout"), "{}", reply.head);
}
