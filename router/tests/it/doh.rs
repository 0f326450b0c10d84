//! DNS over HTTP (RFC 8484).

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use cdn_core::Counter;
use data_encoding::BASE64URL_NOPAD;
use hickory_proto::{
    op::Message,
    rr::{RData, RecordType},
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::world::{World, question, with_edns, with_subnet, world};

fn exchange(world: &World, request: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(world.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

fn get(world: &World, target: &str) -> (String, Vec<u8>) {
    exchange(world, format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

fn post(world: &World, media_type: &str, body: &[u8]) -> (String, Vec<u8>) {
    let head = format!(
        "POST /dns-query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    exchange(world, &[head.as_bytes(), body].concat())
}

fn target(message: &Message) -> String {
    format!("/dns-query?dns={}", BASE64URL_NOPAD.encode(&message.to_vec().unwrap()))
}

#[test]
fn head_is_get_without_the_message() {
    let world = world().healthy();
    let target = target(&question("www.demo.test", RecordType::A));
    let (got, message) = get(&world, &target);
    let asked = format!("HEAD {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (head, body) = exchange(&world, asked.as_bytes());
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    let length = format!("content-length: {}\r\n", message.len());
    assert!(got.contains(&length) && head.contains(&length), "{head}");
}

#[test]
fn get_and_post_answer_what_tcp_answers() {
    let world = world().healthy();
    for asked in [
        question("www.demo.test", RecordType::A),
        with_edns(question("demo.test", RecordType::SOA)),
        with_subnet(question("www.demo.test", RecordType::A), "198.18.3.0/24"),
        question("no.demo.test", RecordType::A),
        question("example.com", RecordType::A),
    ] {
        let expected = world.ask_tcp(std::slice::from_ref(&asked)).remove(0);
        for (head, body) in
            [get(&world, &target(&asked)), post(&world, "application/dns-message", &asked.to_vec().unwrap())]
        {
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(head.contains("content-type: application/dns-message\r\n"), "{head}");
            let max_age = if expected.metadata.authoritative { 60 } else { 0 };
            assert!(head.contains(&format!("cache-control: private, max-age={max_age}\r\n")), "{head}");
            assert_eq!(Message::from_vec(&body).unwrap(), expected);
        }
    }
    assert_eq!(world.handle.counters().value(Counter::RouterDnsQueriesHttps), 10);
}

#[test]
fn the_status_says_what_is_wrong() {
    let world = world().healthy();
    let asked = question("www.demo.test", RecordType::A).to_vec().unwrap();
    let mut answer = asked.clone();
    answer[2] |= 0x80;
    let status = |(head, _): (String, Vec<u8>)| head[9..12].to_owned();
    for target in ["/dns-query", "/dns-query?dns", "/dns-query?dns=AA==", "/dns-query?dns=!", "/dns-query?dns=AAAA"] {
        assert_eq!(status(get(&world, target)), "400", "{target}");
    }
    assert_eq!(status(post(&world, "application/dns-message", b"short")), "400");
    assert_eq!(status(post(&world, "application/dns-message", &answer)), "400");
    assert_eq!(status(post(&world, "application/json", &asked)), "415");
    assert_eq!(status(post(&world, "application/dns-message", &vec![0; 65_536])), "413");
    let (head, _) = exchange(&world, b"PUT /dns-query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, HEAD, POST\r\n"), "{head}");
}

#[test]
fn http_2_carries_many_questions_on_one_connection() {
    let world = world().healthy();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        for (subnet, edge) in [("198.18.1.0/24", 0), ("198.18.3.0/24", 1)] {
            let asked = with_subnet(question("www.demo.test", RecordType::A), subnet);
            let request = http::Request::post("http://x/dns-query")
                .header("content-type", "application/dns-message")
                .body(Full::new(bytes::Bytes::from(asked.to_vec().unwrap())))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!((response.status(), response.version()), (http::StatusCode::OK, http::Version::HTTP_2));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let answer = Message::from_vec(&body).unwrap();
            let RData::A(first) = &answer.answers[0].data else { panic!("{answer}") };
            assert_eq!(first.0, *world.edges[edge].address.ip());
        }
        drop(sender);
        connection.await.unwrap().unwrap();
    });
    assert_eq!(world.handle.counters().value(Counter::RouterHttpRequests), 2);
}
