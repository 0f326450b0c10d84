//! HTTPS: who gets which certificate, what is spoken, what becomes of HTTP, and certificates that change.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use cdn_core::{
    Counter,
    distribution::{Behavior, Distribution, DistributionSpec, Origin},
    policies,
    security_policy::SecurityPolicy,
    viewer_protocol::ViewerProtocolPolicy,
};
use edge_node::{Certificate, Edge, HttpsConfig, Listeners};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName, version};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::support::{Running, Scripted, Setup, exchange, get, ok, wait_until};

/// One authority for all tests.
pub(crate) fn authority() -> &'static (rcgen::Certificate, Issuer<'static, KeyPair>) {
    static AUTHORITY: OnceLock<(rcgen::Certificate, Issuer<'static, KeyPair>)> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap(), Issuer::new(params, key))
    })
}

pub(crate) fn certificate(names: &[&str], security_policy: SecurityPolicy) -> Certificate {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names.clone()).unwrap().signed_by(&key, &authority().1).unwrap();
    Certificate {
        names,
        chain_pem: leaf.pem(),
        key_pem: key.serialize_pem(),
        security_policy,
        http2: true,
        http3: true,
    }
}

pub(crate) fn client(versions: &[&'static rustls::SupportedProtocolVersion], protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority().0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// A whole exchange on a connection that ends with it.
async fn ask(stream: &mut TlsStream<TcpStream>, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// What HTTPS and HTTP/3 listen on: one port, of TCP and of UDP.
fn both_at_one_port() -> (std::net::TcpListener, std::net::UdpSocket) {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // Somebody else may have the same port of UDP.
        if let Ok(socket) = std::net::UdpSocket::bind(listener.local_addr().unwrap()) {
            return (listener, socket);
        }
    }
}

/// A node with HTTP, and where it has HTTPS and HTTP/3.
pub(crate) fn start(mut setup: Setup, certificates: Vec<Certificate>) -> (Running, SocketAddr) {
    let mut distributions = vec![Arc::new(Distribution::new(setup.spec).unwrap())];
    let origins = [("app".to_owned(), Origin::new("app.test"))].into();
    let behavior = Behavior::new("app", policies::cache_policy("CachingOptimized").unwrap());
    let other =
        DistributionSpec { aliases: vec!["other.test".into()], ..DistributionSpec::new("other", origins, behavior) };
    distributions.push(Arc::new(Distribution::new(other).unwrap()));
    setup.config.distributions = distributions;
    setup.config.https = Some(HttpsConfig { certificates, port: 4443 });
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (http, (https, quic)) = (listen(), both_at_one_port());
    let (address, secure) = (http.local_addr().unwrap(), https.local_addr().unwrap());
    let listeners = Listeners { http: vec![http], https: vec![https], quic: vec![quic] };
    let (edge, handle) = Edge::build(setup.config, listeners, edge_node::tcp()).unwrap();
    let stop = CancellationToken::new();
    let ended = Some(tokio::spawn(edge.serve(stop.clone())));
    (Running { address, handle, stop, ended }, secure)
}

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

async fn origin() -> Scripted {
    Scripted::start(|head, _| vec![ok("Cache-Control: max-age=60\r\n", head.split(' ').nth(1).unwrap())]).await
}

#[tokio::test]
async fn an_origin_is_told_of_the_handshake_where_a_policy_names_it() {
    let origin = Scripted::start(|head, _| vec![ok("", head)]).await;
    let mut setup = Setup::new(origin.address);
    let named = ["CloudFront-Viewer-TLS", "CloudFront-Forwarded-Proto"];
    setup.spec.default_behavior.origin_request_policy.added_headers = named.map(str::to_owned).into();
    let (_node, https) = start(setup, vec![certificate(&["www.demo.test"], SecurityPolicy::default())]);
    for (version, handshake) in [
        (&version::TLS12, "TLSv1.2:ECDHE-ECDSA-AES128-GCM-SHA256:fullHandshake"),
        (&version::TLS13, "TLSv1.3:TLS_AES_128_GCM_SHA256:fullHandshake"),
    ] {
        let mut stream = connect(https, "www.demo.test", &client(&[version], &["http/1.1"])).await.unwrap();
        let sent = ask(&mut stream, "www.demo.test", &format!("/{handshake}")).await;
        assert!(sent.contains(&format!("cloudfront-viewer-tls: {handshake}\r\n")), "{sent}");
        assert!(sent.contains("cloudfront-forwarded-proto: https\r\n"), "{sent}");
    }
}

#[tokio::test]
async fn hits_are_served_by_both_versions_and_both_protocols() {
    let origin = origin().await;
    let all = vec![certificate(&["www.demo.test", "*.cdn.test"], SecurityPolicy::default())];
    let (node, https) = start(Setup::new(origin.address), all);
    for (version, cache) in [(&version::TLS12, "Miss"), (&version::TLS13, "Hit")] {
        let mut stream = connect(https, "www.demo.test", &client(&[version], &["http/1.1"])).await.unwrap();
        let answer = ask(&mut stream, "www.demo.test", "/a").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("{cache} from cloudfront")), "{answer}");
    }
    let stream = connect(https, "demo.cdn.test", &client(&BOTH, &["h2", "http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://demo.cdn.test/b").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "/b");
    assert_eq!(node.count(Counter::EdgeTlsHandshakes), 3);
}

#[tokio::test]
async fn sessions_are_resumed() {
    let origin = origin().await;
    let (node, https) =
        start(Setup::new(origin.address), vec![certificate(&["www.demo.test"], SecurityPolicy::default())]);
    for version in BOTH {
        let config = client(&[version], &["http/1.1"]);
        let before = node.count(Counter::EdgeTlsResumed);
        for _ in 0..2 {
            let mut stream = connect(https, "www.demo.test", &config).await.unwrap();
            ask(&mut stream, "www.demo.test", "/a").await;
        }
        assert_eq!(node.count(Counter::EdgeTlsResumed), before + 1, "{version:?}");
    }
}

#[tokio::test]
async fn who_has_no_certificate_or_no_common_version_is_dropped() {
    let origin = origin().await;
    let all = vec![certificate(&["www.demo.test"], SecurityPolicy::TLSv1_3_2025)];
    let (node, https) = start(Setup::new(origin.address), all);
    assert!(connect(https, "other.test", &client(&BOTH, &[])).await.is_err());
    assert!(connect(https, "www.demo.test", &client(&[&version::TLS12], &[])).await.is_err());
    assert!(connect(https, "www.demo.test", &client(&[&version::TLS13], &[])).await.is_ok());
    // No TLS at all.
    let mut plain = TcpStream::connect(https).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    wait_until("the failures are counted", || node.count(Counter::EdgeTlsFailed) == 3).await;
}

#[tokio::test]
async fn a_viewer_of_an_older_tls_is_told_that_it_is_the_version() {
    let origin = origin().await;
    let (_node, https) =
        start(Setup::new(origin.address), vec![certificate(&["www.demo.test"], SecurityPolicy::TLSv1_2_2021)]);
    // A ClientHello of TLS 1.1 with one suite and no extensions.
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x14, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    let mut stream = TcpStream::connect(https).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [21, 3, 1, 0, 2, 2, 70]);
}

#[tokio::test]
async fn another_host_than_that_of_the_handshake_is_misdirected() {
    let origin = origin().await;
    let all = ["www.demo.test", "other.test"].map(|name| certificate(&[name], SecurityPolicy::default()));
    let (_node, https) = start(Setup::new(origin.address), all.into());
    let mut stream = connect(https, "other.test", &client(&BOTH, &[])).await.unwrap();
    let answer = ask(&mut stream, "www.demo.test", "/a").await;
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("misdirected_host"), "{answer}");
}

#[tokio::test]
async fn http_is_sent_to_https_or_refused_where_a_behavior_wants_it() {
    let origin = origin().await;
    let certificates = || vec![certificate(&["www.demo.test"], SecurityPolicy::default())];
    let mut setup = Setup::new(origin.address);
    setup.spec.default_behavior.viewer_protocol = ViewerProtocolPolicy::RedirectToHttps;
    let (node, https) = start(setup, certificates());
    let moved = exchange(node.address, "GET /a?b=%20 HTTP/1.1\r\nHost: www.demo.test:4480\r\n\r\n").await;
    assert_eq!((moved.status, moved.header("location").as_str()), (301, "https://www.demo.test:4443/a?b=%20"));
    assert_eq!((moved.header("x-cache").as_str(), moved.body.len()), ("Redirect from cloudfront", 167));
    let post = "POST /a HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1\r\n\r\nx";
    let kept = exchange(node.address, post).await;
    assert_eq!((kept.status, kept.header("location").as_str()), (307, "https://www.demo.test/a"));
    let mut stream = connect(https, "www.demo.test", &client(&BOTH, &[])).await.unwrap();
    assert!(ask(&mut stream, "www.demo.test", "/a").await.starts_with("HTTP/1.1 200"));

    let mut setup = Setup::new(origin.address);
    setup.spec.default_behavior.viewer_protocol = ViewerProtocolPolicy::HttpsOnly;
    let (node, _https) = start(setup, certificates());
    let refused = get(node.address, "/a").await;
    assert_eq!((refused.status, refused.header("x-iso-reason").as_str()), (403, "https_only"));
}

#[tokio::test]
async fn a_new_certificate_is_used_by_new_connections_and_drops_no_old_one() {
    let origin = origin().await;
    let (node, https) =
        start(Setup::new(origin.address), vec![certificate(&["www.demo.test"], SecurityPolicy::default())]);
    let config = client(&BOTH, &[]);
    let serial = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let mut old = connect(https, "www.demo.test", &config).await.unwrap();
    node.handle.set_certificates(&[certificate(&["www.demo.test"], SecurityPolicy::default())]).unwrap();
    let new = connect(https, "www.demo.test", &client(&BOTH, &[])).await.unwrap();
    assert_ne!(serial(&old), serial(&new));
    assert!(ask(&mut old, "www.demo.test", "/a").await.starts_with("HTTP/1.1 200"));
    let broken = Certificate { key_pem: String::new(), ..certificate(&["www.demo.test"], SecurityPolicy::default()) };
    assert!(node.handle.set_certificates(&[broken]).is_err());
    assert!(connect(https, "www.demo.test", &client(&BOTH, &[])).await.is_ok(), "nothing is changed then");
}
