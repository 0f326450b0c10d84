//! What a link really takes, handshake included, against what was asked of it.

use std::{io, net::SocketAddr, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use world::SiteId;

use crate::route::Wan;

/// What to send over the fresh connection to see a round trip on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe<'a> {
    /// Nothing: only the handshake is measured.
    Handshake,
    /// `GET path`, as HTTP/1.1; the round trip ends with the first byte of the answer, whatever it says.
    Http {
        /// The `Host` header.
        host: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// See [`Wan::measure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The round trip of the undisturbed path, jitter aside.
    pub path: Duration,
    /// What the model charged for this handshake: jitter, retransmissions and faults included.
    pub asked: Duration,
    /// What the handshake took.
    pub handshake: Duration,
    /// What a request on the open connection took until its answer began.
    pub round_trip: Option<Duration>,
}

impl Measurement {
    /// How far the handshake was off.
    pub const fn error(&self) -> Duration {
        self.handshake.abs_diff(self.asked)
    }
}

impl Wan {
    /// Connects from `from` to `target` and measures. The caller bounds the time: a black hole never answers.
    ///
    /// # Errors
    ///
    /// Those of [`crate::Dialer::connect`]; `UnexpectedEof` when the target closes instead of answering.
    pub async fn measure(&self, from: &SiteId, target: SocketAddr, probe: Probe<'_>) -> io::Result<Measurement> {
        let route = self.core.route(from, target).ok_or(io::ErrorKind::NotFound)?;
        let path = crate::timer::lock(&route.up).path().rtt;
        let timer = &self.core.timer;
        let began = timer.now();
        let mut stream = self.dialer(from.clone(), None).connect(target).await?;
        let handshake = timer.now().saturating_since(began);
        let round_trip = match probe {
            Probe::Handshake => None,
            Probe::Http { host, path } => {
                let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
                let began = timer.now();
                stream.write_all(request.as_bytes()).await?;
                let mut answer = [0; 1024];
                if stream.read(&mut answer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Some(timer.now().saturating_since(began))
            }
        };
        Ok(Measurement { path, asked: stream.handshake(), handshake, round_trip })
    }
}
