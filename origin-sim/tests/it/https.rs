//! HTTPS at the port of HTTP.

use std::sync::Arc;

use cdn_core::Counter;
use origin_sim::{FaultKind, FaultRule, Identity};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Origin, wait_until};

/// A certificate for `origin.test` that vouches for itself.
fn identity() -> Identity {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["origin.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    Identity { chain_pem: leaf.pem(), key_pem: key.serialize_pem() }
}

async fn connect(origin: &Origin, trusted: &Identity) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.chain_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(origin.address).await?;
    connector.connect(ServerName::try_from("origin.test").unwrap(), stream).await
}

async fn ask<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut T) -> String {
    stream.write_all(b"GET /bytes/100k HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A connection that is broken off ends without TLS's farewell.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_a_connection_begins_with_says_which_of_both_it_speaks() {
    let shown = identity();
    let origin = Origin::start(|config| config.identity = Some(shown.clone()));
    let secure = ask(&mut connect(&origin, &shown).await.unwrap()).await;
    let plain = ask(&mut TcpStream::connect(origin.address).await.unwrap()).await;
    for answer in [&secure, &plain] {
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.len() > 100 << 10, "{}", answer.len());
    }
    assert_eq!(origin.handle.counters().value(Counter::OriginTlsHandshakes), 1);
}

#[tokio::test]
async fn another_identity_is_shown_to_connections_from_then_on() {
    let (first, second) = (identity(), identity());
    let origin = Origin::start(|config| config.identity = Some(first.clone()));
    let mut old = connect(&origin, &first).await.unwrap();
    origin.handle.set_identity(&second).unwrap();
    assert!(origin.handle.set_identity(&Identity { key_pem: String::new(), ..first.clone() }).is_err());
    assert!(connect(&origin, &first).await.is_err());
    assert!(connect(&origin, &second).await.is_ok());
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200 OK"));
    wait_until("the failure is counted", || origin.handle.counters().value(Counter::OriginTlsFailures) == 1).await;
}

#[tokio::test]
async fn faults_hold_behind_tls_too() {
    let shown = identity();
    let origin = Origin::start(|config| config.identity = Some(shown.clone()));
    origin.handle.set_faults(vec![FaultRule::new(FaultKind::Truncate)]);
    let half = ask(&mut connect(&origin, &shown).await.unwrap()).await;
    assert!(half.contains("Content-Length: 102400") || half.contains("content-length: 102400"), "{half:.200}");
    assert!((50 << 10..80 << 10).contains(&half.len()), "{}", half.len());
    origin.handle.set_faults(vec![FaultRule::new(FaultKind::Garbage)]);
    let garbage = ask(&mut connect(&origin, &shown).await.unwrap()).await;
    assert!(!garbage.is_empty() && !garbage.starts_with("HTTP"), "{garbage}");
    origin.handle.set_faults(vec![FaultRule::new(FaultKind::Reset)]);
    assert_eq!(ask(&mut connect(&origin, &shown).await.unwrap()).await, "");
}
