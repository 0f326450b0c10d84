//! Full handshakes of TLS 1.3, one after the other on each of some connections: what viewers cost who come for the first
//! time. And the certificate that everybody shows: P-256, as most of the web's.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::load::HOST;

/// A certificate and its key in PEM.
pub(crate) fn certificate() -> &'static (String, String) {
    static CERTIFICATE: OnceLock<(String, String)> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec![HOST.to_owned()]).and_then(|leaf| leaf.self_signed(&key));
        (leaf.expect("a certificate").pem(), key.serialize_pem())
    })
}

/// Writes them where a server looks for them.
pub(crate) fn write_certificate(folder: &Path) -> Option<()> {
    let (chain, key) = certificate();
    std::fs::write(folder.join("leaf.pem"), chain).ok()?;
    std::fs::write(folder.join("leaf.key"), key).ok()
}

/// Shakes hands on so many connections at once for about `span`; how often it was done.
pub(crate) fn run(address: SocketAddr, connections: u32, span: Duration) -> f64 {
    let config = Arc::new(client());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let until = Instant::now() + span;
    let done = runtime.block_on(async {
        let tasks: Vec<_> = (0..connections)
            .map(|_| {
                let connector = TlsConnector::from(Arc::clone(&config));
                tokio::spawn(async move {
                    let mut done = 0_u32;
                    while Instant::now() < until {
                        shake_hands(&connector, address).await.expect("a handshake");
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.expect("a count");
        }
        done
    });
    f64::from(done)
}

/// One handshake, until the server has seen the end of the connection and so has done its part.
async fn shake_hands(connector: &TlsConnector, address: SocketAddr) -> std::io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = connector.connect(ServerName::try_from(HOST).expect("a name"), stream).await?;
    stream.shutdown().await?;
    let mut rest = Vec::new();
    // A server may close without TLS's farewell.
    let _ = stream.read_to_end(&mut rest).await;
    Ok(())
}

fn client() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let chain = CertificateDer::from_pem_slice(certificate().0.as_bytes()).expect("a certificate");
    roots.add(chain).expect("it can be trusted");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]);
    let mut config = builder.expect("TLS 1.3").with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}
