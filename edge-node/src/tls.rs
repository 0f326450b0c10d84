//! TLS towards viewers: which certificate and which security policy, by the name that the viewer asks for (SNI).
//!
//! Which versions and suites a policy allows is [`cdn_core::security_policy`]'s to say. Certificates can be replaced while
//! connections are open: those keep what they began with.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use cdn_core::{
    Counter, Counters,
    security_policy::{CipherSuite, SecurityPolicy},
};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use rustls::{
    CipherSuite as Code, HandshakeKind, PeerIncompatible, ProtocolVersion, ServerConfig, ServerConnection,
    SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _},
    server::{Acceptor, ClientHello, ProducesTickets, ResolvesServerCert, ResolvesServerCertUsingSni},
    sign::{CertifiedKey, Signer, SigningKey},
    version,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Duration, timeout},
};
use tokio_rustls::{StartHandshake, server::TlsStream};

use crate::service::Secure;

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
    /// Whether HTTP/3 is offered.
    pub http3: bool,
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
#[derive(Debug)]
struct Table {
    by_name: BTreeMap<String, Arc<Ready>>,
    /// By the name without its first label.
    by_wildcard: BTreeMap<String, Arc<Ready>>,
    /// For viewers that name nobody: the first one's.
    default: Option<Arc<Ready>>,
    /// Of sessions by QUIC: no session is older than the certificates. Those by TCP have theirs with each certificate.
    quic_ticketer: Arc<dyn ProducesTickets>,
}

/// A certificate, ready.
#[derive(Debug)]
struct Ready {
    /// For TLS on TCP.
    config: Arc<ServerConfig>,
    security_policy: SecurityPolicy,
    /// For QUIC, where HTTP/3 is offered.
    http3: Option<Arc<CertifiedKey>>,
}

impl Table {
    fn new(certificates: &[Certificate]) -> Result<Self, CertificateError> {
        let quic_ticketer = ring::Ticketer::new().map_err(no_http3)?;
        let mut table = Self { by_name: BTreeMap::new(), by_wildcard: BTreeMap::new(), default: None, quic_ticketer };
        for certificate in certificates {
            let config = Arc::new(ready(certificate)?);
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

    fn find(&self, name: Option<&str>) -> Option<&Arc<Ready>> {
        let Some(name) = name else { return self.default.as_ref() };
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| self.by_wildcard.get(name.split_once('.').map_or("", |(_, rest)| rest)))
    }
}

fn no_http3(error: rustls::Error) -> CertificateError {
    CertificateError::Unusable { name: "HTTP/3".into(), why: error.to_string() }
}

fn ready(certificate: &Certificate) -> Result<Ready, CertificateError> {
    let name = || certificate.names.first().cloned().unwrap_or_default();
    let unusable = |error: rustls::Error| CertificateError::Unusable { name: name(), why: error.to_string() };
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| CertificateError::Pem(name()))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes());
    let key = key.map_err(|_| CertificateError::Pem(name()))?;
    let policy = certificate.security_policy;
    let versions: &[&SupportedProtocolVersion] =
        if policy.allows_tls12() { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let provider = Arc::new(provider(policy));
    let http3 = certificate.http3.then(|| CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider));
    let mut config = ServerConfig::builder_with_provider(provider)
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
    let http3 = http3.transpose().map_err(unusable)?.map(Arc::new);
    Ok(Ready { config: Arc::new(config), security_policy: policy, http3 })
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

    /// Whether an earlier session went on.
    pub(crate) const fn is_resumed(&self) -> bool {
        self.is_resumed
    }
}

/// In CloudFront's words: `TLSv1.3:TLS_AES_128_GCM_SHA256:fullHandshake`, the suites of TLS 1.2 by OpenSSL's names.
impl fmt::Display for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handshake = if self.is_resumed { "sessionResumed" } else { "fullHandshake" };
        write!(f, "{}:{}:{handshake}", self.protocol, self.cipher)
    }
}

/// Who is asked for in one handshake of QUIC, and what is agreed on there.
#[derive(Debug)]
pub(crate) struct Chosen {
    table: Arc<Table>,
    secure: OnceLock<Secure>,
    has_signed: Arc<AtomicBool>,
}

impl Chosen {
    /// What the handshake said, once it has been shaken.
    pub(crate) fn secure(&self) -> Option<Secure> {
        let mut secure = self.secure.get().cloned()?;
        secure.session.is_resumed = !self.has_signed.load(Ordering::Relaxed);
        Some(secure)
    }
}

/// A private key that remembers whether it was used in one handshake. The QUIC library does not say whether a session was
/// resumed, and a server proves itself in every handshake but those (RFC 8446 section 2.2).
#[derive(Debug)]
struct Remembering {
    key: Arc<dyn SigningKey>,
    has_signed: Arc<AtomicBool>,
}

impl SigningKey for Remembering {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.has_signed.store(true, Ordering::Relaxed);
        self.key.choose_scheme(offered)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let ready = self.table.find(name)?;
        let key = ready.http3.as_ref()?;
        // The library takes the first of our suites that the client offers, and does not say which that was.
        let offered = |suite: &CipherSuite| suite.is_tls13() && hello.cipher_suites().contains(&code_of(*suite));
        let suite = CipherSuite::ALL.into_iter().find(offered).filter(|suite| ready.security_policy.allows(*suite))?;
        let session = TlsSession { protocol: "TLSv1.3", cipher: suite.openssl_name(), is_resumed: false };
        let _ = self.secure.set(Secure { name: name.map(Into::into), session });
        let signing = Remembering { key: Arc::clone(&key.key), has_signed: Arc::clone(&self.has_signed) };
        Some(Arc::new(CertifiedKey::new(key.cert.clone(), Arc::new(signing))))
    }
}

/// Everything that TLS connections share.
#[derive(Debug)]
pub(crate) struct Tls {
    table: ArcSwap<Table>,
    /// For QUIC, without anybody's certificate.
    quic: ServerConfig,
    handshake_timeout: Duration,
}

impl Tls {
    pub(crate) fn new(certificates: &[Certificate], handshake_timeout: Duration) -> Result<Self, CertificateError> {
        let table = Table::new(certificates)?;
        let mut quic = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(no_http3)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        quic.ignore_client_order = true;
        quic.alpn_protocols = vec![b"h3".to_vec()];
        quic.send_tls13_tickets = 1;
        Ok(Self { table: ArcSwap::from_pointee(table), quic, handshake_timeout })
    }

    /// Replaces all certificates, or none where one cannot be used.
    pub(crate) fn set(&self, certificates: &[Certificate]) -> Result<(), CertificateError> {
        self.table.store(Arc::new(Table::new(certificates)?));
        Ok(())
    }

    /// What one handshake of QUIC is shaken with, and what will be known of it. Sessions are resumed, without early data:
    /// that saves no round trip, but certificate and signature.
    pub(crate) fn quic(&self) -> Result<(Arc<QuicServerConfig>, Arc<Chosen>), NoInitialCipherSuite> {
        let table = self.table.load_full();
        let mut config = ServerConfig::clone(&self.quic);
        config.ticketer = Arc::clone(&table.quic_ticketer);
        let chosen = Arc::new(Chosen { table, secure: OnceLock::new(), has_signed: Arc::default() });
        config.cert_resolver = Arc::clone(&chosen) as _;
        Ok((Arc::new(config.try_into()?), chosen))
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
        let start = hello(io).await?;
        let name: Option<Arc<str>> = start.client_hello().server_name().map(Into::into);
        let config = self.table.load().find(name.as_deref()).map(|ready| Arc::clone(&ready.config));
        // CloudFront drops the connection where it has no certificate for the name.
        let config = config.ok_or_else(|| io::Error::other(format!("no certificate for {name:?}")))?;
        Ok((start.into_stream(config).await?, name))
    }
}

/// The fatal alert `protocol_version` (RFC 5246 section 7.2), in a record of TLS 1.0, which every client reads.
const PROTOCOL_VERSION_ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];

/// Reads what a viewer begins a handshake with. One that cannot be understood is told so.
async fn hello<T: AsyncRead + AsyncWrite + Unpin>(mut io: T) -> io::Result<StartHandshake<T>> {
    let mut acceptor = Acceptor::default();
    let mut buffer = [0; 2_048];
    loop {
        let count = io.read(&mut buffer).await?;
        let mut bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !bytes.is_empty() {
            acceptor.read_tls(&mut bytes)?;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Ok(StartHandshake::from_parts(accepted, io)),
            Err((error, mut alert)) => {
                let mut said = Vec::new();
                alert.write_all(&mut said)?;
                // The library misses what TLS 1.2 brought before it looks at the version.
                if error == rustls::Error::from(PeerIncompatible::SignatureAlgorithmsExtensionRequired) {
                    said = PROTOCOL_VERSION_ALERT.to_vec();
                }
                io.write_all(&said).await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}
