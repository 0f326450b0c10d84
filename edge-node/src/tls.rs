//! TLS towards viewers: which certificate and which security policy, by the name that the viewer asks for (SNI).
//!
//! Which versions and suites a policy allows is [`cdn_core::security_policy`]'s to say. Certificates can be replaced while
//! connections are open: those keep what they began with.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use arc_swap::ArcSwap;
use cdn_core::{
    Counter, Counters,
    security_policy::{CipherSuite, SecurityPolicy},
};
use rustls::{
    CipherSuite as Code, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::Acceptor,
    version,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Duration, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// A certificate and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The names, lower case; `*.` may stand for the first label.
    pub names: Vec<String>,
    /// The leaf and what leads to the root, in PEM.
    pub chain_pem: String,
    /// Its private key, in PEM.
    pub key_pem: String,
    /// What viewers may speak.
    pub security_policy: SecurityPolicy,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The chain or the key is no PEM.
    #[error("the certificate for {0} or its key is no PEM")]
    Pem(String),
    /// Chain and key do not belong together, or are of a kind that is not known.
    #[error("the certificate for {name} cannot be used: {why}")]
    Unusable {
        /// The first name.
        name: String,
        /// What the library says.
        why: String,
    },
}

/// Every certificate, ready.
#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<String, Arc<ServerConfig>>,
    /// By the name without its first label.
    by_wildcard: BTreeMap<String, Arc<ServerConfig>>,
    /// For viewers that name nobody: the first one's.
    default: Option<Arc<ServerConfig>>,
}

impl Table {
    fn new(certificates: &[Certificate]) -> Result<Self, CertificateError> {
        let mut table = Self::default();
        for certificate in certificates {
            let config = Arc::new(config_of(certificate)?);
            for name in &certificate.names {
                match name.strip_prefix("*.") {
                    Some(rest) => table.by_wildcard.insert(rest.to_owned(), Arc::clone(&config)),
                    None => table.by_name.insert(name.clone(), Arc::clone(&config)),
                };
            }
            table.default.get_or_insert(config);
        }
        Ok(table)
    }

    fn find(&self, name: Option<&str>) -> Option<&Arc<ServerConfig>> {
        let Some(name) = name else { return self.default.as_ref() };
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| self.by_wildcard.get(name.split_once('.').map_or("", |(_, rest)| rest)))
    }
}

fn config_of(certificate: &Certificate) -> Result<ServerConfig, CertificateError> {
    let name = || certificate.names.first().cloned().unwrap_or_default();
    let unusable = |error: rustls::Error| CertificateError::Unusable { name: name(), why: error.to_string() };
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| CertificateError::Pem(name()))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes());
    let key = key.map_err(|_| CertificateError::Pem(name()))?;
    let policy = certificate.security_policy;
    let versions: &[&SupportedProtocolVersion] =
        if policy.allows_tls12() { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider(policy)))
        .with_protocol_versions(versions)
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    // CloudFront picks the first suite of its own list that the viewer supports.
    config.ignore_client_order = true;
    config.alpn_protocols =
        if certificate.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    config.ticketer = ring::Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// What `policy` allows of what the library can.
fn provider(policy: SecurityPolicy) -> CryptoProvider {
    let all = ring::default_provider();
    let suites = policy.suites().filter_map(|suite| {
        let code = code_of(suite);
        all.cipher_suites.iter().copied().find(|known| known.suite() == code)
    });
    CryptoProvider { cipher_suites: suites.collect(), ..all }
}

const fn code_of(suite: CipherSuite) -> Code {
    match suite {
        CipherSuite::TLS_AES_128_GCM_SHA256 => Code::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS_AES_256_GCM_SHA384 => Code::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS_CHACHA20_POLY1305_SHA256 => Code::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => Code::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Code::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => Code::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Code::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            Code::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Code::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlsSession {
    /// `TLSv1.3`.
    pub(crate) protocol: &'static str,
    /// The cipher suite by OpenSSL's name.
    pub(crate) cipher: &'static str,
    is_resumed: bool,
}

impl TlsSession {
    pub(crate) fn of(connection: &ServerConnection) -> Self {
        let protocol = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let code = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        let suite = CipherSuite::ALL.into_iter().find(|suite| Some(code_of(*suite)) == code);
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Self { protocol, cipher: suite.map_or("-", CipherSuite::openssl_name), is_resumed }
    }
}

/// In CloudFront's words: `TLSv1.3:TLS_AES_128_GCM_SHA256:fullHandshake`, the suites of TLS 1.2 by OpenSSL's names.
impl fmt::Display for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handshake = if self.is_resumed { "sessionResumed" } else { "fullHandshake" };
        write!(f, "{}:{}:{handshake}", self.protocol, self.cipher)
    }
}

/// Everything that TLS connections share.
#[derive(Debug)]
pub(crate) struct Tls {
    table: ArcSwap<Table>,
    handshake_timeout: Duration,
}

impl Tls {
    pub(crate) fn new(certificates: &[Certificate], handshake_timeout: Duration) -> Result<Self, CertificateError> {
        Ok(Self { table: ArcSwap::from_pointee(Table::new(certificates)?), handshake_timeout })
    }

    /// Replaces all certificates, or none where one cannot be used.
    pub(crate) fn set(&self, certificates: &[Certificate]) -> Result<(), CertificateError> {
        self.table.store(Arc::new(Table::new(certificates)?));
        Ok(())
    }

    /// Shakes hands on `io`, and says which name the viewer asked for. `None` where it comes to nothing; why is counted.
    pub(crate) async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: T,
        counters: &Counters,
    ) -> Option<(TlsStream<T>, Option<Arc<str>>)> {
        match timeout(self.handshake_timeout, self.shake_hands(io)).await {
            Ok(Ok((stream, name))) => {
                counters.bump(Counter::EdgeTlsHandshakes);
                if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                    counters.bump(Counter::EdgeTlsResumed);
                }
                Some((stream, name))
            }
            Ok(Err(error)) => {
                counters.bump(Counter::EdgeTlsFailed);
                tracing::debug!(%error, "no TLS handshake");
                None
            }
            Err(_elapsed) => {
                counters.bump(Counter::EdgeTlsTimeouts);
                None
            }
        }
    }

    async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: T,
    ) -> io::Result<(TlsStream<T>, Option<Arc<str>>)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        let name: Option<Arc<str>> = start.client_hello().server_name().map(Into::into);
        let config = self.table.load().find(name.as_deref()).cloned();
        // CloudFront drops the connection where it has no certificate for the name.
        let config = config.ok_or_else(|| io::Error::other(format!("no certificate for {name:?}")))?;
        Ok((start.into_stream(config).await?, name))
    }
}
