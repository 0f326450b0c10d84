//! HTTP/3: the same requests with the same answers as by HTTP/2, and what QUIC makes different.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use cdn_core::{Counter, http_version::HttpVersion, security_policy::SecurityPolicy};
use edge_node::Certificate;
use h3::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::version;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    https::{certificate, client, start},
    support::{Act, DEADLINE, Gate, Scripted, Setup, get, line, ok, wait_until},
};

type Sender = SendRequest<h3_quinn::OpenStreams, Bytes>;

/// A client with one connection.
struct Viewer {
    _endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    sender: Sender,
}

/// What a client read.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

impl Viewer {
    async fn connect(address: SocketAddr, name: &str) -> Result<Self, quinn::ConnectionError> {
        Self::connect_with(address, name, &["h3"]).await
    }

    async fn connect_with(address: SocketAddr, name: &str, protocols: &[&str]) -> Result<Self, quinn::ConnectionError> {
        Self::connect_as(address, name, &client(&[&version::TLS13], protocols)).await
    }

    /// As a client that knows what it has of `tls`: sessions, among other things.
    async fn connect_as(
        address: SocketAddr,
        name: &str,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<Self, quinn::ConnectionError> {
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let tls = QuicClientConfig::try_from(Arc::clone(tls)).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(tls));
        let connection = endpoint.connect_with(config, address, name).unwrap().await?;
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await.unwrap();
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Self { _endpoint: endpoint, connection, sender })
    }

    async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, h3::error::StreamError> {
        timeout(DEADLINE, ask(&mut self.sender, request, body)).await.expect("an answer in time")
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.ask(request(Method::GET, path), b"").await.unwrap()
    }
}

async fn ask(sender: &mut Sender, request: Request<()>, body: &[u8]) -> Result<Answer, h3::error::StreamError> {
    let mut stream = sender.send_request(request).await?;
    for piece in body.chunks(10_000) {
        stream.send_data(Bytes::copy_from_slice(piece)).await?;
    }
    stream.finish().await?;
    let (parts, ()) = stream.recv_response().await?.into_parts();
    let mut body = Vec::new();
    while let Some(mut piece) = stream.recv_data().await? {
        body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
    }
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://www.demo.test{path}")).body(()).unwrap()
}

fn certificates() -> Vec<Certificate> {
    vec![certificate(&["www.demo.test"], SecurityPolicy::default())]
}

async fn cacheable() -> Scripted {
    Scripted::start(|head, _| {
        let etag = "Cache-Control: max-age=60\r\nETag: \"a\"\r\n";
        vec![ok(etag, &format!("body of {}", head.split(' ').nth(1).unwrap()))]
    })
    .await
}

#[tokio::test]
async fn misses_and_hits_and_everything_conditional_are_answered_as_by_other_protocols() {
    let origin = cacheable().await;
    let (node, address) = start(Setup::new(origin.address), certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    for cache in ["Miss from cloudfront", "Hit from cloudfront"] {
        let answer = viewer.get("/a").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "body of /a"));
        assert_eq!((answer.header("x-cache"), answer.header("content-length")), (cache, "10"));
    }
    assert_eq!(get(node.address, "/a").await.x_cache(), "Hit from cloudfront", "all protocols share a store");
    let head = viewer.ask(request(Method::HEAD, "/a"), b"").await.unwrap();
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.text()), (200, "10", ""));
    let with = |name: &str, value: &str| {
        let mut request = request(Method::GET, "/a");
        request.headers_mut().insert(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        request
    };
    assert_eq!(viewer.ask(with("if-none-match", "\"a\""), b"").await.unwrap().status, StatusCode::NOT_MODIFIED);
    let part = viewer.ask(with("range", "bytes=8-"), b"").await.unwrap();
    assert_eq!((part.status.as_u16(), part.header("content-range"), part.text()), (206, "bytes 8-9/10", "/a"));
    assert_eq!((origin.requests(), node.count(Counter::EdgeTlsHandshakes)), (1, 1));
    assert_eq!(node.count(Counter::EdgeRequests), 6);
}

#[tokio::test]
async fn many_streams_of_one_connection_get_their_own_bytes() {
    let origin = Scripted::start(|head, _| {
        let path = head.split(' ').nth(1).unwrap();
        let length = path.rsplit('/').next().unwrap().parse().unwrap();
        vec![ok("Cache-Control: max-age=60\r\n", &path.chars().cycle().take(length).collect::<String>())]
    })
    .await;
    let (_node, address) = start(Setup::new(origin.address), certificates());
    let viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    let paths: Vec<String> =
        (0..40).flat_map(|at| [0, 1_000, 70_000].map(|length| format!("/{at}/{length}"))).collect();
    for _ in 0..2 {
        let asked = paths.iter().map(async |path| {
            let answer = ask(&mut viewer.sender.clone(), request(Method::GET, path), b"").await.unwrap();
            let expected: String = path.chars().cycle().take(answer.body.len()).collect();
            assert!(path.ends_with(&format!("/{}", answer.body.len())) && answer.text() == expected, "{path}");
        });
        futures_util::future::join_all(asked).await;
    }
}

#[tokio::test]
async fn ten_megabytes_arrive_whole_both_ways() {
    let body: Vec<u8> = (0..10_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = body.clone();
    let origin = Scripted::start(move |head, _| {
        let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()).into_bytes();
        response.extend_from_slice(&sent);
        // The script shows what came in place of characters that are none, so lengths are compared.
        assert!(head.starts_with("GET ") || line(head, "content-length").as_deref() == Some("10000000"));
        vec![Act::Send(if head.starts_with("GET ") { response } else { b"HTTP/1.1 204 X\r\n\r\n".to_vec() })]
    })
    .await;
    let (_node, address) = start(Setup::new(origin.address), certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    assert!(viewer.get("/large").await.body == body);
    let mut upload = request(Method::POST, "/large");
    upload.headers_mut().insert("content-length", "10000000".parse().unwrap());
    assert_eq!(viewer.ask(upload, &body).await.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn bodies_reach_the_origin_with_and_without_a_length() {
    let origin = Scripted::always(vec![ok("", "taken")]).await;
    let (node, address) = start(Setup::new(origin.address), certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    let mut post = request(Method::POST, "/form");
    post.headers_mut().insert("content-length", "5".parse().unwrap());
    assert_eq!(viewer.ask(post, b"a=b&c").await.unwrap().text(), "taken");
    assert!(origin.head(0).ends_with("\r\n\r\na=b&c"), "{}", origin.head(0));
    assert_eq!(viewer.ask(request(Method::DELETE, "/it"), b"").await.unwrap().status, StatusCode::OK);
    assert_eq!(line(&origin.head(1), "transfer-encoding"), None, "it has no body: {}", origin.head(1));
    assert_eq!(node.count(Counter::EdgePasses), 2);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_refused() {
    let origin = Scripted::always(vec![Act::Silence]).await;
    let (node, address) = start(Setup::new(origin.address), certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    for (length, body) in [("5", &b"123"[..]), ("2", b"123")] {
        let mut post = request(Method::POST, "/form");
        post.headers_mut().insert("content-length", length.parse().unwrap());
        let before = node.count(Counter::EdgeRejected);
        let answer = viewer.ask(post, body).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("x-iso-reason")), (400, "bad_request"), "{length}");
        assert_eq!(node.count(Counter::EdgeRejected), before + 1);
    }
    let mut smuggled = request(Method::POST, "/form");
    smuggled.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
    assert_eq!(viewer.ask(smuggled, b"0\r\n\r\n").await.unwrap().status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_leaves_ends_the_exchange_with_the_origin() {
    let origin = Scripted::always(vec![Act::Silence]).await;
    let setup = Setup::new(origin.address).app(|app| app.response_timeout = Duration::from_secs(60));
    let (node, address) = start(setup, certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    let mut stream = viewer.sender.send_request(request(Method::POST, "/slow")).await.unwrap();
    stream.send_data(Bytes::from_static(b"some")).await.unwrap();
    wait_until("the origin is asked", || origin.connections() == 1).await;
    // By half of a stream, as a client that cancels does (RFC 9114 section 4.1.1).
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    wait_until("the origin is left", || origin.closed() == 1).await;
    drop(stream);
    assert_eq!(viewer.connection.close_reason(), None, "the connection stays");
    assert_eq!(node.count(Counter::EdgeConnections), 1);
}

#[tokio::test]
async fn a_response_that_the_origin_cuts_does_not_look_whole() {
    let origin = Scripted::always(vec![
        Act::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n".to_vec()),
        Act::Close,
    ])
    .await;
    let (_node, address) = start(Setup::new(origin.address), certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    assert!(viewer.ask(request(Method::GET, "/cut"), b"").await.is_err());
    assert_eq!(viewer.get("/.iso/health").await.status, StatusCode::OK, "only the stream is reset");
}

#[tokio::test]
async fn names_without_http3_and_other_protocols_come_to_nothing() {
    let origin = cacheable().await;
    let without = Certificate { http3: false, ..certificate(&["other.test"], SecurityPolicy::default()) };
    let (node, address) = start(Setup::new(origin.address), [certificates(), vec![without]].concat());
    assert!(Viewer::connect(address, "other.test").await.is_err());
    assert!(Viewer::connect(address, "nobody.test").await.is_err());
    assert!(Viewer::connect_with(address, "www.demo.test", &["h2"]).await.is_err());
    wait_until("they are counted", || node.count(Counter::EdgeTlsFailed) == 3).await;
    wait_until("and let go", || node.count(Counter::EdgeConnections) == 0).await;
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    let other = Request::get("https://other.test/").body(()).unwrap();
    let answer = viewer.ask(other, b"").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("x-iso-reason")), (421, "misdirected_host"));
}

#[tokio::test]
async fn sessions_are_resumed_by_their_name_and_until_there_are_new_certificates() {
    let origin = cacheable().await;
    let both = [certificates(), vec![certificate(&["other.test"], SecurityPolicy::default())]].concat();
    let (node, address) = start(Setup::new(origin.address), both.clone());
    let tls = client(&[&version::TLS13], &["h3"]);
    let mut said = Vec::new();
    let mut ask = async |name: &str, tls: &Arc<rustls::ClientConfig>| {
        let mut viewer = Viewer::connect_as(address, name, tls).await.unwrap();
        // The ticket comes behind the handshake and before the answer.
        let asked = viewer.ask(Request::get(format!("https://{name}/.iso/health")).body(()).unwrap(), b"").await;
        assert_eq!(asked.unwrap().status, StatusCode::OK);
        said.push(node.count(Counter::EdgeTlsResumed));
    };
    ask("www.demo.test", &tls).await;
    ask("www.demo.test", &tls).await;
    ask("other.test", &tls).await;
    ask("www.demo.test", &client(&[&version::TLS13], &["h3"])).await;
    ask("www.demo.test", &tls).await;
    node.handle.set_certificates(&both).unwrap();
    ask("www.demo.test", &tls).await;
    ask("www.demo.test", &tls).await;
    assert_eq!(said, [0, 1, 1, 1, 2, 2, 3]);
}

#[tokio::test]
async fn a_new_certificate_reaches_new_connections_and_drops_no_old_one() {
    let origin = cacheable().await;
    let (node, address) = start(Setup::new(origin.address), certificates());
    let shown = |viewer: &Viewer| {
        let identity = viewer.connection.peer_identity().unwrap();
        identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap()[0].clone()
    };
    let mut old = Viewer::connect(address, "www.demo.test").await.unwrap();
    node.handle.set_certificates(&certificates()).unwrap();
    let new = Viewer::connect(address, "www.demo.test").await.unwrap();
    assert_ne!(shown(&old), shown(&new));
    assert_eq!(old.get("/a").await.status, StatusCode::OK);
    node.handle.set_certificates(&[Certificate { http3: false, ..certificates().remove(0) }]).unwrap();
    assert!(Viewer::connect(address, "www.demo.test").await.is_err(), "it is switched off for new ones");
    assert_eq!(old.get("/a").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_node_that_stops_finishes_what_it_has_begun_and_begins_no_more() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let origin = Scripted::start(move |_, _| vec![Act::Gate(waiting.clone()), ok("", &"x".repeat(300_000))]).await;
    let setup = Setup::new(origin.address)
        .app(|app| app.response_timeout = Duration::from_secs(60))
        .limits(|limits| limits.drain_grace = DEADLINE);
    let (mut node, address) = start(setup, certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    let mut sender = viewer.sender.clone();
    let asked = tokio::spawn(async move { ask(&mut sender, request(Method::GET, "/a"), b"").await });
    wait_until("the origin is asked", || origin.requests() == 1).await;
    let idle = Viewer::connect(address, "www.demo.test").await.unwrap();
    node.stop.cancel();
    timeout(DEADLINE, idle.connection.closed()).await.expect("an idle connection is closed");
    assert!(timeout(DEADLINE, Viewer::connect(address, "www.demo.test")).await.expect("an answer in time").is_err());
    gate.open();
    assert_eq!(asked.await.unwrap().unwrap().body.len(), 300_000);
    assert!(viewer.ask(request(Method::GET, "/b"), b"").await.is_err(), "it has said that it goes away");
    timeout(DEADLINE, node.ended.take().unwrap()).await.unwrap().unwrap().unwrap();
    assert_eq!((origin.requests(), node.count(Counter::EdgeConnections)), (1, 0));
}

#[tokio::test]
async fn a_client_that_left_without_a_word_does_not_hold_a_node_that_stops() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let origin = Scripted::start(move |_, _| vec![Act::Gate(waiting.clone()), ok("", "too late")]).await;
    let setup = Setup::new(origin.address)
        .app(|app| app.response_timeout = Duration::from_secs(60))
        .limits(|limits| limits.drain_grace = DEADLINE * 3);
    let (mut node, address) = start(setup, certificates());
    let elsewhere = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    elsewhere.spawn(async move { Viewer::connect(address, "www.demo.test").await.unwrap().get("/a").await });
    wait_until("the origin is asked", || origin.requests() == 1).await;
    elsewhere.shutdown_background();
    gate.open();
    wait_until("it is answered", || node.count(Counter::EdgeBytesSent) == 8).await;
    node.stop.cancel();
    timeout(DEADLINE, node.ended.take().unwrap()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn idle_connections_and_slow_heads_end_and_are_counted() {
    let origin = cacheable().await;
    let setup = Setup::new(origin.address).limits(|limits| {
        limits.idle_timeout = Duration::from_millis(100);
        limits.header_timeout = Duration::from_millis(50);
    });
    let (node, address) = start(setup, certificates());
    let viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    let (mut send, _receive) = viewer.connection.open_bi().await.unwrap();
    // A head of which the last byte does not come.
    send.write_all(&[1, 9, 0, 0]).await.unwrap();
    wait_until("the head is late", || node.count(Counter::EdgeHeaderTimeouts) == 1).await;
    timeout(DEADLINE, viewer.connection.closed()).await.expect("an idle connection is closed");
    assert_eq!(node.count(Counter::EdgeIdleTimeouts), 1);
}

#[tokio::test]
async fn nobody_makes_a_node_hold_more_than_a_head() {
    let origin = cacheable().await;
    let (node, address) = start(Setup::new(origin.address), certificates());
    let viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    let (mut send, mut receive) = viewer.connection.open_bi().await.unwrap();
    // HEADERS of 2^30 - 1 bytes.
    let mut sent = vec![1, 0xbf, 0xff, 0xff, 0xff];
    sent.resize(60_000, 0);
    let _ = send.write_all(&sent).await;
    assert!(timeout(DEADLINE, receive.read_to_end(1_000)).await.unwrap().is_err());
    wait_until("it is refused", || node.count(Counter::EdgeRejected) == 1).await;
}

#[tokio::test]
async fn under_load_clients_show_first_that_they_are_where_they_say() {
    let origin = cacheable().await;
    let (node, address) =
        start(Setup::new(origin.address).limits(|limits| limits.quic_unproven_max = 0), certificates());
    let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
    assert_eq!(viewer.get("/a").await.status, StatusCode::OK);
    assert_eq!(node.count(Counter::EdgeQuicRetries), 1);
    let (node, address) = start(Setup::new(origin.address).limits(|limits| limits.connections_max = 1), certificates());
    let _one = Viewer::connect(address, "www.demo.test").await.unwrap();
    assert!(Viewer::connect(address, "www.demo.test").await.is_err());
    assert!(TcpStream::connect(address).await.is_ok());
    wait_until("both are refused", || node.count(Counter::EdgeConnectionsRefused) == 2).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_response_is_given_up() {
    let origin = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", &"x".repeat(900_000))]).await;
    let setup = Setup::new(origin.address).limits(|limits| limits.write_timeout = Duration::from_millis(100));
    let (node, address) = start(setup, certificates());
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let tls = QuicClientConfig::try_from(client(&[&version::TLS13], &["h3"])).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    let mut narrow = quinn::TransportConfig::default();
    narrow.stream_receive_window(10_000_u32.into());
    config.transport_config(Arc::new(narrow));
    let connection = endpoint.connect_with(config, address, "www.demo.test").unwrap().await.unwrap();
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let mut stream = sender.send_request(request(Method::GET, "/")).await.unwrap();
    stream.finish().await.unwrap();
    wait_until("it is given up", || node.count(Counter::EdgeWriteTimeouts) == 1).await;
    let read = async {
        stream.recv_response().await?;
        while stream.recv_data().await?.is_some() {}
        Ok::<_, h3::error::StreamError>(())
    };
    assert!(timeout(DEADLINE, read).await.unwrap().is_err(), "what was cut does not look whole");
}

#[tokio::test]
async fn viewers_by_https_hear_of_http3_where_the_distribution_speaks_it() {
    let origin = Scripted::always(vec![ok("Alt-Svc: h2=\":9\"\r\nCache-Control: max-age=60\r\n", "x")]).await;
    for (http_version, expected) in
        [(HttpVersion::Http2And3, "h3=\":443\"; ma=86400"), (HttpVersion::Http2, "h2=\":9\"")]
    {
        let mut setup = Setup::new(origin.address);
        setup.spec.http_version = http_version;
        let (node, address) = start(setup, certificates());
        let mut viewer = Viewer::connect(address, "www.demo.test").await.unwrap();
        for _ in 0..2 {
            assert_eq!(viewer.get("/a").await.header("alt-svc"), expected);
        }
        assert_eq!(get(node.address, "/a").await.header("alt-svc"), "h2=\":9\"", "nobody hears of it in the open");
        let with_port = Request::get("https://www.demo.test:4443/a").body(()).unwrap();
        let told = viewer.ask(with_port, b"").await.unwrap();
        assert_eq!(told.header("alt-svc"), expected.replace("443", "4443"), "at the port that it wrote");
    }
}
