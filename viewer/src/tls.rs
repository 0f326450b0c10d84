//! TLS of requests whose ledger looks inside: the proxy is the other end of both sides.
//!
//! Only for who asks for it (`look-inside`): every other tunnel is the client's own from end to end. Towards the client it
//! speaks with the edge's own certificate, towards the edge as a client of the world that trusts its authority alone.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quinn::crypto::rustls::QuicClientConfig;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    time_provider::TimeProvider,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What the proxy needs to stand between a client and the edges of a host. All of it in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate that edges show for the host.
    pub chain_pem: String,
    /// Its private key.
    pub key_pem: String,
    /// Who must have signed what an edge shows.
    pub authority_pem: String,
}

/// Who knows the certificates of a world.
pub trait Identities: fmt::Debug + Send + Sync + 'static {
    /// What edges show for `host` at the moment, a name in lower case or an address.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    fn identity(&self, host: &str) -> io::Result<Identity>;
}

/// What viewers take for the date when they look at a certificate. Clones go wrong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct WallClock {
    /// By how many nanoseconds it is ahead of the machine's.
    ahead: Arc<AtomicI64>,
}

impl WallClock {
    /// Makes it go wrong by so many nanoseconds, or right with 0.
    pub(crate) fn set_ahead(&self, nanos: i64) {
        self.ahead.store(nanos, Ordering::Relaxed);
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let ahead = self.ahead.load(Ordering::Relaxed);
        let span = Duration::from_nanos(ahead.unsigned_abs());
        let since = if ahead < 0 { since.checked_sub(span) } else { since.checked_add(span) };
        since.map(UnixTime::since_unix_epoch)
    }
}

/// The viewers' end: an edge must show what `authority_pem` has signed. Each handshake is a whole one, because each client is
/// somebody else, and because a resumed session would not look at the certificate again.
fn client_config(authority_pem: &str, clock: &WallClock) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::pem_slice_iter(authority_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    roots.add_parsable_certificates(authority.map_err(io::Error::other)?);
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_details(provider, Arc::new(clock.clone())).with_safe_default_protocol_versions();
    let mut config = config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    // Requests are taken apart here, and HTTP/1.1 is what this node speaks.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Both ends, ready.
pub(crate) struct BothEnds {
    accept: TlsAcceptor,
    connect: TlsConnector,
    /// By QUIC, and with HTTP/3.
    pub(crate) quic: Arc<QuicClientConfig>,
}

impl BothEnds {
    /// # Errors
    /// What `identity` holds is no certificate, or not its key.
    pub(crate) fn of(identity: &Identity, clock: &WallClock) -> io::Result<Self> {
        let pem = |text: &str| CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = pem(&identity.chain_pem).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(io::Error::other)?;
        let connect = client_config(&identity.authority_pem, clock)?;
        let accept = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut accept = accept.map_err(io::Error::other)?;
        accept.alpn_protocols.clone_from(&connect.alpn_protocols);
        let mut quic = connect.clone();
        quic.alpn_protocols = vec![b"h3".to_vec()];
        let quic = Arc::new(QuicClientConfig::try_from(quic).map_err(io::Error::other)?);
        Ok(Self { accept: Arc::new(accept).into(), connect: Arc::new(connect).into(), quic })
    }

    pub(crate) async fn accept<T: AsyncRead + AsyncWrite + Unpin>(&self, io: T) -> io::Result<server::TlsStream<T>> {
        self.accept.accept(io).await
    }

    /// Shakes hands as a client that wants `host`, a name or an address.
    pub(crate) async fn connect<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        io: T,
    ) -> io::Result<client::TlsStream<T>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        self.connect.connect(ServerName::try_from(bare).map_err(io::Error::other)?, io).await
    }
}

impl fmt::Debug for BothEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BothEnds")
    }
}

/// What was agreed on, for people.
pub(crate) fn described<T>(stream: &client::TlsStream<T>) -> String {
    let session = stream.get_ref().1;
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    match session.handshake_kind() {
        Some(rustls::HandshakeKind::Resumed) => format!("{version}, resumed"),
        _ => version.to_owned(),
    }
}
