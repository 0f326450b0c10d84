//! Origins that are spoken to by HTTPS: which name is asked for, whom a node trusts, and what becomes of certificates that
//! cannot be trusted.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use cdn_core::{
    Counter,
    distribution::{Origin, Selection},
    origin_protocol::{OriginProtocolPolicy, OriginSslProtocol},
};
use edge_node::HttpsOrigin;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer},
    version,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    https::authority,
    support::{Running, Scripted, Setup, authority as address_of, exchange, get, ok},
};

/// An origin that answers each request with the name that was asked for in the handshake.
#[derive(Clone)]
pub(crate) struct Secure {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    pub(crate) hosts: Arc<Mutex<Vec<String>>>,
}

/// A chain of one and its key.
pub(crate) struct Shown(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate of the authority for `name`, good from `from` to `to` days from now.
pub(crate) fn signed(name: &str, (from, to): (i64, i64)) -> Shown {
    let day = |days: i64| {
        let span = Duration::from_secs(days.unsigned_abs() * 86_400);
        if days < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
    };
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (day(from).into(), day(to).into());
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &authority().1).unwrap();
    Shown(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// A certificate that vouches for itself.
fn self_signed(name: &str) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let leaf = params.self_signed(&key).unwrap();
    Shown(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

impl Secure {
    pub(crate) async fn start(Shown(chain, key): Shown, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self { address, connections: Arc::default(), hosts: Arc::default() };
        let this = origin.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                this.connections.fetch_add(1, Ordering::Relaxed);
                let (acceptor, hosts) = (acceptor.clone(), Arc::clone(&this.hosts));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
                    let mut read = Vec::new();
                    while stream.read_buf(&mut read).await.unwrap_or(0) > 0 {
                        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                        let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
                        hosts.lock().unwrap().push(crate::support::line(&head, "host").unwrap());
                        let length = name.len();
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        origin
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A server that has one answer to whatever is sent to it first.
async fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// A node whose origin `app.test` is spoken to by HTTPS at `address`, and which stores nothing.
pub(crate) fn towards(address: SocketAddr) -> Setup {
    let mut setup =
        Setup::new(address).policy("CachingDisabled").app(|app| app.protocol = OriginProtocolPolicy::HttpsOnly);
    let origin = HttpsOrigin { address: address_of(address), authorities_pem: authority().0.pem() };
    setup.config.https_origins.insert("app".into(), origin);
    setup
}

/// The status, the reason and what `Proxy-Status` says.
async fn refused(node: &Running) -> (u16, String, String, String) {
    let reply = get(node.address, "/").await;
    let (_, error) = reply.header("proxy-status").split_once("; ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    (reply.status, reply.reason(), error, reply.header("server-timing"))
}

#[tokio::test]
async fn an_origin_is_asked_by_its_own_name_and_connections_and_sessions_are_used_again() {
    for version in BOTH {
        let origin = Secure::start(signed("app.test", (-1, 1)), &[version]).await;
        let node = towards(origin.address).start().await;
        for _ in 0..3 {
            let reply = get(node.address, "/").await;
            assert_eq!((reply.status, reply.text().as_str()), (200, "app.test"), "{}", reply.head);
        }
        assert_eq!((origin.connections(), node.count(Counter::EdgeOriginTlsHandshakes)), (1, 1));
        node.handle.drop_idle_connections();
        let reply = get(node.address, "/").await;
        let timing = reply.header("server-timing");
        for line in ["desc=\"app connect\"", "desc=\"app tls\"", "desc=\"app response 200\""] {
            assert!(timing.contains(line), "{timing}");
        }
        assert_eq!((origin.connections(), node.count(Counter::EdgeOriginTlsResumed)), (2, 1), "{version:?}");
        assert_eq!(origin.hosts.lock().unwrap().as_slice(), ["app.test"; 4]);
    }
}

#[tokio::test]
async fn with_the_viewers_host_forwarded_its_name_is_asked_for_and_either_name_will_do() {
    for certified in ["www.demo.test", "app.test", "*.demo.test"] {
        let origin = Secure::start(signed(certified, (-1, 1)), &BOTH).await;
        let mut setup = towards(origin.address);
        setup.spec.default_behavior.origin_request_policy.headers = Selection::All;
        let node = setup.start().await;
        let reply = get(node.address, "/").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "www.demo.test"), "{certified}: {}", reply.head);
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_accepted_are_told_apart_and_no_request_is_sent() {
    for (shown, why) in [
        (signed("app.test", (-3, -1)), "certificate expired"),
        (signed("app.test", (1, 3)), "certificate not yet valid"),
        (signed("other.test", (-1, 1)), "certificate for another name"),
        (self_signed("app.test"), "certificate of an unknown issuer"),
    ] {
        let origin = Secure::start(shown, &BOTH).await;
        let node = towards(origin.address).start().await;
        let (status, reason, error, timing) = refused(&node).await;
        assert_eq!(
            (status, reason.as_str(), error.as_str()),
            (502, "origin_certificate", "error=tls_certificate_error")
        );
        assert!(timing.contains(&format!("desc=\"app tls {why}\"")), "{timing}");
        assert_eq!(node.count(Counter::EdgeOriginTlsFailures), 1);
        assert!(origin.hosts.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_certificate_is_held_against_the_nodes_own_date() {
    const DAY_NS: i64 = 86_400_000_000_000;
    let origin = Secure::start(signed("app.test", (-1, 1)), &BOTH).await;
    for (ahead, why) in [(3 * DAY_NS, "certificate expired"), (-3 * DAY_NS, "certificate not yet valid")] {
        let node = towards(origin.address).start().await;
        node.handle.set_clock(ahead);
        let (status, reason, _, timing) = refused(&node).await;
        assert_eq!((status, reason.as_str()), (502, "origin_certificate"), "{timing}");
        assert!(timing.contains(&format!("desc=\"app tls {why}\"")), "{timing}");
        node.handle.set_clock(0);
        assert_eq!(get(node.address, "/").await.text(), "app.test");
    }
}

#[tokio::test]
async fn an_origin_without_tls_or_without_a_common_version_has_a_reason_of_its_own() {
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let old = Secure::start(signed("app.test", (-1, 1)), &[&version::TLS12]).await;
    let only_13 = |app: &mut Origin| app.ssl_protocols = vec![OriginSslProtocol::TLSv1_3];
    for setup in [towards(plain), towards(old.address).app(only_13)] {
        let node = setup.start().await;
        let (status, reason, error, timing) = refused(&node).await;
        assert_eq!(
            (status, reason.as_str(), error.as_str()),
            (502, "origin_tls", "error=tls_protocol_error"),
            "{timing}"
        );
    }
    // A list without TLS 1.2 leaves TLS 1.3, which is always spoken.
    let new = Secure::start(signed("app.test", (-1, 1)), &BOTH).await;
    let node = towards(new.address).app(|app| app.ssl_protocols = vec![OriginSslProtocol::TLSv1_1]).start().await;
    assert_eq!(get(node.address, "/").await.status, 200);
}

#[tokio::test]
async fn a_server_that_speaks_tls_1_1_at_most_is_no_tls() {
    // The fatal alert protocol_version (RFC 5246, section 7.2), in a record of TLS 1.1.
    let address = answering(&[21, 3, 2, 0, 2, 2, 70]).await;
    let node = towards(address).start().await;
    assert_eq!(refused(&node).await.1, "origin_tls");
}

#[tokio::test]
async fn a_bad_certificate_moves_the_request_to_the_secondary() {
    let primary = Secure::start(self_signed("app.test"), &BOTH).await;
    let secondary = Scripted::always(vec![ok("", "spare")]).await;
    let mut setup = Setup::group(primary.address, secondary.address, &[502]).policy("CachingDisabled");
    setup.spec.origins.get_mut("app").unwrap().protocol = OriginProtocolPolicy::HttpsOnly;
    let origin = HttpsOrigin { address: address_of(primary.address), authorities_pem: authority().0.pem() };
    setup.config.https_origins.insert("app".into(), origin);
    let node = setup.start().await;
    assert_eq!(get(node.address, "/").await.text(), "spare");
    assert_eq!(node.count(Counter::EdgeFailovers), 1);
}

#[tokio::test]
async fn match_viewer_speaks_http_for_who_came_by_http() {
    let plain = Scripted::always(vec![ok("", "plain")]).await;
    let secure = Secure::start(signed("app.test", (-1, 1)), &BOTH).await;
    let mut setup = towards(secure.address).app(|app| app.protocol = OriginProtocolPolicy::MatchViewer);
    setup.config.origins.insert("app".into(), address_of(plain.address));
    let node = setup.start().await;
    assert_eq!(get(node.address, "/").await.text(), "plain");
    assert_eq!(secure.connections(), 0);
}

#[tokio::test]
async fn an_upload_goes_by_https_too() {
    let origin = Secure::start(signed("app.test", (-1, 1)), &BOTH).await;
    let node = towards(origin.address).start().await;
    let raw = "PUT /a HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(node.address, raw).await.text(), "app.test");
}

#[tokio::test]
async fn a_node_does_not_start_with_nobody_to_trust() {
    let mut setup = towards("127.0.0.1:1".parse().unwrap());
    for pem in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        setup.config.https_origins.get_mut("app").unwrap().authorities_pem = pem.into();
        let built = edge_node::Edge::build(setup.config.clone(), Vec::new(), edge_node::tcp());
        assert!(built.unwrap_err().to_string().contains("origin \"app\""));
    }
}
