//! The handshake: how long a connect takes and how it fails.
//!
//! A refusal is known after one round trip, a black hole never ends (the caller has a timeout), a lost packet of the
//! handshake is sent again after one second and then at doubling intervals (RFC 6298).

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use cdn_core::Counter;
use http::Uri;
use hyper_util::rt::TokioIo;
use tower_service::Service;
use world::{SiteId, Verdict};

use crate::{conn::Conn, pump, route::Core, stream::WanStream, timer::lock};

/// Bytes of a SYN with its usual options, or of its answer.
const SYN_BYTES: u64 = 60;
/// A kernel answers a SYN at once. What takes longer than this (a full backlog, a gate) is the target's own doing.
const ANSWERED_AT_ONCE: Duration = Duration::from_millis(2);
/// The first wait for an answer (RFC 6298 2.1), and the longest.
const SYN_WAIT: Duration = Duration::from_secs(1);
const SYN_WAIT_MAX: Duration = Duration::from_secs(64);

/// Opens connections from one site. It is what nodes are handed as their connector.
#[derive(Clone)]
pub struct Dialer {
    core: Arc<Core>,
    from: SiteId,
    source: Option<IpAddr>,
}

impl Dialer {
    pub(crate) const fn new(core: Arc<Core>, from: SiteId, source: Option<IpAddr>) -> Self {
        Self { core, from, source }
    }

    /// Where connections come from.
    pub const fn from(&self) -> &SiteId {
        &self.from
    }

    /// Connects, in one round trip when nothing is wrong. Dropping the future gives up.
    ///
    /// # Errors
    ///
    /// `NotFound` at once for an address that no site owns; what the target says after a round trip, usually
    /// `ConnectionRefused`; never anything while the target is a black hole.
    pub async fn connect(&self, target: SocketAddr) -> io::Result<WanStream> {
        let core = &self.core;
        let Some(route) = core.route(&self.from, target) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no route from {} to {target}: no site owns this address", self.from),
            ));
        };
        let id = core.connection_id();
        let began = core.timer.now();
        let mut sent_at = began;
        let mut wait = SYN_WAIT;
        let mut opened = None;
        // What is the target's doing, or the machine's, and was not charged by the link.
        let mut late = Duration::ZERO;
        loop {
            if let Some(arrives_at) = self.cross(&route.up, target, id, sent_at) {
                core.timer.sleep_until(arrives_at).await;
                let answer = match opened.take() {
                    Some(answer) => answer,
                    None if core.target(&self.from, target, id).refuse => {
                        Err(io::Error::from(io::ErrorKind::ConnectionRefused))
                    }
                    None => core.raw.dial(target, self.source).await,
                };
                let now = core.timer.now();
                let is_prompt = now.saturating_since(arrives_at) < ANSWERED_AT_ONCE;
                let answered_at = if is_prompt { arrives_at } else { now };
                late += answered_at.saturating_since(arrives_at);
                if let Some(known_at) = self.cross(&route.down, target, id, answered_at) {
                    core.timer.sleep_until(known_at).await;
                    let raw = answer.inspect_err(|_| core.counters.bump(Counter::WanConnectsFailed))?;
                    core.counters.bump(Counter::WanConnects);
                    let conn = Conn::build(Arc::clone(core), route, id);
                    tokio::spawn(pump::Pump::new(Arc::clone(&conn), raw));
                    return Ok(WanStream::new(conn, known_at.saturating_since(began).saturating_sub(late)));
                }
                opened = Some(answer);
            }
            sent_at += wait;
            wait = (wait * 2).min(SYN_WAIT_MAX);
            core.timer.sleep_until(sent_at).await;
        }
    }

    /// When a packet of the handshake is across, if ever.
    fn cross(
        &self,
        link: &std::sync::Mutex<world::Link>,
        target: SocketAddr,
        id: u64,
        at: cdn_core::Instant,
    ) -> Option<cdn_core::Instant> {
        if self.core.target(&self.from, target, id).blackhole {
            self.core.counters.bump(Counter::WanDropsSilence);
            return None;
        }
        match lock(link).send(at, SYN_BYTES) {
            Verdict::Deliver(at) => Some(at),
            Verdict::Drop(reason) => {
                self.core.count_drop(reason);
                None
            }
        }
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("from", &self.from).field("source", &self.source).finish_non_exhaustive()
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<WanStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<WanStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.connect(address_of(&uri)?).await.map(TokioIo::new) })
    }
}

/// The address in `http://IP:PORT`; the scheme's port where none is written.
fn address_of(uri: &Uri) -> io::Result<SocketAddr> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let ip: IpAddr = host.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} does not name a literal address to connect to"))
    })?;
    let port = uri.port_u16().unwrap_or_else(|| if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_literal_address() {
        let address = |uri: &'static str| address_of(&Uri::from_static(uri)).ok().map(|address| address.to_string());
        assert_eq!(address("http://127.77.0.1:4480").as_deref(), Some("127.77.0.1:4480"));
        assert_eq!(address("http://127.77.0.1/x").as_deref(), Some("127.77.0.1:80"));
        assert_eq!(address("https://[::1]").as_deref(), Some("[::1]:443"));
        assert_eq!(address("http://www.demo.test/"), None);
        assert_eq!(address("/path"), None);
    }
}
