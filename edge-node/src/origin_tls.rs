//! TLS towards origins: whom a node trusts there, which name it asks for, and what failed.
//!
//! Which origin is spoken to by HTTPS, and by which name, is [`cdn_core::origin_protocol`]'s to say. Certificates are
//! checked for the name that was asked for and, as at CloudFront, for the origin's own where that is another one.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use cdn_core::{
    Counter, Counters,
    distribution::Origin,
    origin_group::Failure,
    origin_protocol::{self, CertificateFault, OriginSslProtocol},
};
use http::uri::Authority;
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError as Refused, ClientConfig, DigitallySignedStruct, Error, HandshakeKind, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    version,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use webpki::EndEntityCert;

use crate::{clock::WallClock, config::HttpsOrigin, dial::BoxIo};

/// An origin that can be spoken to by HTTPS.
#[derive(Debug)]
pub(crate) struct OriginTls {
    pub(crate) address: Authority,
    roots: Arc<RootCertStore>,
    wall: WallClock,
    /// One for each way in which distributions describe the origin: mostly one alone. Each keeps sessions to resume.
    clients: Mutex<Vec<Client>>,
    clients_max: usize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Client {
    own_name: String,
    allowed: Vec<String>,
    tls12: bool,
    config: Arc<ClientConfig>,
}

/// Whom a connection is made with: equal ones may share it.
#[derive(Clone, Debug)]
pub(crate) struct TlsPeer {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl PartialEq for TlsPeer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl OriginTls {
    /// Certificates are held against the date of `wall`; `clients_max` is [`Limits::origin_tls_max`](crate::Limits::origin_tls_max).
    ///
    /// # Errors
    /// What is trusted is no certificate, in words.
    pub(crate) fn new(
        origin: &HttpsOrigin,
        wall: &WallClock,
        clients_max: usize,
        counters: Arc<Counters>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(origin.authorities_pem.as_bytes()) {
            roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let (address, wall) = (origin.address.clone(), wall.clone());
        Ok(Self { address, roots: Arc::new(roots), wall, clients: Mutex::default(), clients_max, counters })
    }

    /// The other end of a connection for requests with this `Host`. `None` where neither that nor the origin's own name
    /// can be one.
    pub(crate) fn peer(&self, origin: &Origin, host: &str) -> Option<TlsPeer> {
        let own = origin_protocol::own_name(origin);
        let name = |text: &str| ServerName::try_from(text.to_owned()).ok();
        let sni = origin.sni.as_deref().unwrap_or(host);
        let asked_for = name(origin_protocol::server_name(sni)).or_else(|| name(own))?;
        let tls12 = origin.ssl_protocols.contains(&OriginSslProtocol::TLSv1_2);
        let allowed = &origin.certificate_names;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |client: &Client| client.own_name == own && client.tls12 == tls12 && client.allowed == *allowed;
        let config = match clients.iter().find(|client| is_it(client)) {
            Some(client) => Arc::clone(&client.config),
            None => {
                let verifier = |webpki| Names { webpki, own_name: name(own), allowed: allowed.clone() };
                let config = Arc::new(client(&self.roots, &self.wall, verifier, tls12)?);
                if !clients.is_empty() && clients.len() >= self.clients_max {
                    clients.remove(0);
                    self.counters.bump(Counter::EdgeOriginTlsFull);
                }
                let (own_name, allowed) = (own.to_owned(), allowed.clone());
                clients.push(Client { own_name, allowed, tls12, config: Arc::clone(&config) });
                config
            }
        };
        Some(TlsPeer { config, name: asked_for })
    }
}

fn client(
    roots: &Arc<RootCertStore>,
    wall: &WallClock,
    verifier: impl FnOnce(Arc<WebPkiServerVerifier>) -> Names,
    tls12: bool,
) -> Option<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&SupportedProtocolVersion] =
        if tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider)).build().ok()?;
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(wall.clone()))
        .with_protocol_versions(versions)
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(webpki)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(config)
}

impl TlsPeer {
    /// Shakes hands on `io`, and says whether a session was resumed.
    ///
    /// # Errors
    /// What failed; the log says more.
    pub(crate) async fn shake_hands(&self, io: BoxIo) -> Result<(TlsStream<TokioIo<BoxIo>>, bool), Failure> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(self.name.clone(), TokioIo::new(io)).await {
            Ok(stream) => {
                let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                Ok((stream, resumed))
            }
            Err(error) => {
                let failure = failure_of(&error);
                tracing::warn!(name = %self.name.to_str(), %failure, %error, "no TLS with an origin");
                Err(failure)
            }
        }
    }
}

fn failure_of(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(refused)) => Failure::Certificate(fault_of(refused)),
        Some(Error::NoCertificatesPresented | Error::UnsupportedNameType) => {
            Failure::Certificate(CertificateFault::Invalid)
        }
        None if error.kind() == io::ErrorKind::ConnectionReset => Failure::Reset,
        _ => Failure::Tls,
    }
}

fn fault_of(refused: &Refused) -> CertificateFault {
    match refused {
        Refused::Expired | Refused::ExpiredContext { .. } => CertificateFault::Expired,
        Refused::NotValidYet | Refused::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        Refused::NotValidForName | Refused::NotValidForNameContext { .. } => CertificateFault::WrongName,
        Refused::UnknownIssuer => CertificateFault::UnknownIssuer,
        _ => CertificateFault::Invalid,
    }
}

/// Accepts a certificate that is for the name that was asked for, or for the origin's own; where a function says which names
/// are allowed, for one of those alone.
#[derive(Debug)]
struct Names {
    webpki: Arc<WebPkiServerVerifier>,
    own_name: Option<ServerName<'static>>,
    allowed: Vec<String>,
}

impl Names {
    /// A name that the certificate is for and that is allowed.
    fn allowed_name(&self, certificate: &CertificateDer<'_>) -> Result<ServerName<'static>, Error> {
        let wrong = |refused| Error::InvalidCertificate(refused);
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| wrong(Refused::BadEncoding))?;
        let name = certificate.valid_dns_names().find(|name| origin_protocol::allows_certificate(&self.allowed, name));
        // Any label will do for that of a wildcard.
        let name = name.map(|name| name.replacen('*', "any", 1));
        name.and_then(|name| ServerName::try_from(name).ok()).ok_or_else(|| wrong(Refused::NotValidForName))
    }
}

impl ServerCertVerifier for Names {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify =
            |name: &ServerName<'_>| self.webpki.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        if !self.allowed.is_empty() {
            return verify(&self.allowed_name(end_entity)?);
        }
        match (verify(server_name), &self.own_name) {
            (Err(Error::InvalidCertificate(refused)), Some(own))
                if own != server_name && fault_of(&refused) == CertificateFault::WrongName =>
            {
                verify(own)
            }
            (verified, _) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_describe_an_origin_beyond_the_limit_take_the_place_of_the_oldest() {
        let authority = rcgen::generate_simple_self_signed(["authority.test".to_owned()]).unwrap();
        let address = Authority::from_static("127.0.0.1:443");
        let origin = HttpsOrigin { address, authorities_pem: authority.cert.pem() };
        let counters = Arc::new(Counters::default());
        let tls = OriginTls::new(&origin, &WallClock::default(), 2, Arc::clone(&counters)).unwrap();
        let peer = |certificate_name: &str| {
            let certificate_names = vec![certificate_name.to_owned()];
            tls.peer(&Origin { certificate_names, ..Origin::new("app.test") }, "app.test").unwrap()
        };
        let (first, second) = (peer("a.test"), peer("b.test"));
        assert!(first == peer("a.test") && first != second);
        assert_eq!(counters.value(Counter::EdgeOriginTlsFull), 0);
        let _third = peer("c.test");
        assert_eq!(counters.value(Counter::EdgeOriginTlsFull), 1);
        assert!(second == peer("b.test") && first != peer("a.test"));
    }
}
