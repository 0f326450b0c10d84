//! HTTPS of an origin, at the port of HTTP: what a connection begins with says which of them it speaks.
//!
//! Knows certificates and bytes; knows nothing of HTTP.

use std::{
    io,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use cdn_core::{Counter, Counters};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What an origin shows of itself, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its certificate and what leads to the root.
    pub chain_pem: String,
    /// The private key of the first.
    pub key_pem: String,
}

/// Accepts TLS where a connection begins with it.
#[derive(Debug)]
pub(crate) struct Tls(RwLock<Arc<ServerConfig>>);

/// The socket of a client.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Tls {
    /// # Errors
    /// What `identity` holds is no certificate, or not its key.
    pub(crate) fn new(identity: &Identity) -> io::Result<Self> {
        Ok(Self(RwLock::new(Arc::new(config_of(identity)?))))
    }

    /// Shows another certificate to connections from now on.
    ///
    /// # Errors
    /// As for [`Self::new`]; the one before stays then.
    pub(crate) fn set(&self, identity: &Identity) -> io::Result<()> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config_of(identity)?);
        Ok(())
    }

    /// The socket, after a handshake where the client begins one. `None` where it comes to nothing within `patience`.
    pub(crate) async fn accept(&self, stream: TcpStream, patience: Duration, counters: &Counters) -> Option<Socket> {
        match timeout(patience, self.greet(stream)).await {
            Ok(Ok(socket)) => {
                if matches!(socket, Socket::Secure(_)) {
                    counters.bump(Counter::OriginTlsHandshakes);
                }
                Some(socket)
            }
            Ok(Err(error)) => {
                counters.bump(Counter::OriginTlsFailures);
                tracing::debug!(%error, "no TLS handshake");
                None
            }
            Err(_elapsed) => {
                counters.bump(Counter::OriginHeadTimeouts);
                None
            }
        }
    }

    async fn greet(&self, stream: TcpStream) -> io::Result<Socket> {
        // The content type of a record that is part of a handshake (RFC 8446, section 5.1); no method begins with it.
        const HANDSHAKE: u8 = 22;
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 || first != [HANDSHAKE] {
            return Ok(Socket::Plain(stream));
        }
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Socket::Secure(Box::new(TlsAcceptor::from(config).accept(stream).await?)))
    }
}

fn config_of(identity: &Identity) -> io::Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Socket {
    /// The socket under TLS, for what is done to connections and not through them.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Secure(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Secure(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
