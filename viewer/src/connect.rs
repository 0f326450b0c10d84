//! To one of several addresses, as a client does it.
//!
//! Which address is tried when, and which ones last, is decided in [`world::client`]; here it is done. Knows no DNS and
//! no HTTP.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cdn_core::{Counter, Counters};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{sleep, timeout};
use world::{
    SiteId,
    client::{DeadAddresses, Race, RaceOptions},
};

use crate::{
    beacon::Beacons,
    clock,
    config::Limits,
    net::{BoxFuture, BoxIo, Net, Source},
    place::Standing,
};

/// Opens connections for viewers and remembers which addresses failed.
pub(crate) struct Connector {
    net: Arc<dyn Net>,
    dead: Mutex<DeadAddresses<(SiteId, SocketAddr)>>,
    beacons: Beacons,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Connected,
    Refused,
    Reset,
    TimedOut,
    NoRoute,
    /// By QUIC, of which TLS is a part.
    NoHandshake,
    Failed(io::ErrorKind),
    /// Another attempt won.
    Overtaken,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) address: SocketAddr,
    pub(crate) outcome: Outcome,
    /// From the start of this attempt to the start of the next, or to its own end when it was the last.
    pub(crate) share: Duration,
    started: Instant,
}

/// A connection.
pub(crate) struct Connected<T> {
    pub(crate) stream: T,
    pub(crate) address: SocketAddr,
    pub(crate) attempts: Vec<Attempt>,
}

impl Connector {
    pub(crate) fn new(net: Arc<dyn Net>, beacons: Beacons, limits: Arc<Limits>, counters: Arc<Counters>) -> Self {
        let dead = Mutex::new(DeadAddresses::new(limits.dead_for, limits.dead_addresses_max));
        Self { net, dead, beacons, limits, counters }
    }

    /// `addresses` with those that failed lately moved to the end; the order is kept otherwise.
    pub(crate) fn order(&self, site: &SiteId, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        self.dead().order(clock::now(), addresses, |address| (site.clone(), address))
    }

    /// Remembers for a while that `address` failed for viewers at `site`.
    pub(crate) fn handle_failure(&self, site: &SiteId, address: SocketAddr) {
        self.dead().handle_failure(clock::now(), (site.clone(), address));
    }

    /// Forgets which addresses failed.
    pub(crate) fn flush(&self) {
        self.dead().clear();
    }

    /// One attempt by TCP.
    pub(crate) fn dial(&self, from: Source, to: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        self.net.connect(from, to)
    }

    /// The network that it connects through.
    pub(crate) fn net(&self) -> Arc<dyn Net> {
        Arc::clone(&self.net)
    }

    /// Connects to the first of `addresses` that answers, in this order; `open` is one attempt.
    ///
    /// # Errors
    /// None did; what happened at each.
    pub(crate) async fn connect<T>(
        &self,
        standing: &Standing,
        addresses: &[SocketAddr],
        open: impl Fn(Source, SocketAddr) -> BoxFuture<'static, io::Result<T>>,
    ) -> Result<Connected<T>, Vec<Attempt>> {
        let limit = self.limits.connect_timeout;
        let options = RaceOptions { timeout: limit, attempt_delay: self.limits.connect_attempt_delay };
        let mut race = Race::new(clock::now(), addresses.to_vec(), options);
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut racing = FuturesUnordered::new();
        loop {
            while let Some((at, address)) = race.poll_attempt(clock::now()) {
                let started = Instant::now();
                attempts.push(Attempt { address, outcome: Outcome::Overtaken, share: Duration::ZERO, started });
                let connecting = open(standing.viewer_source(), address);
                racing.push(async move { (at, address, started, timeout(limit, connecting).await) });
            }
            // The time of each attempt is measured with it.
            let more = attempts.len() < addresses.len();
            let pause = race.poll_timeout().map_or(Duration::ZERO, |at| at.saturating_since(clock::now()));
            let ended = tokio::select! {
                ended = racing.next() => ended,
                () = sleep(pause), if more => continue,
            };
            let Some((at, address, started, result)) = ended else {
                share_out(&mut attempts);
                return Err(attempts);
            };
            let error = match result {
                Ok(Ok(stream)) => {
                    let rtt = started.elapsed();
                    set(&mut attempts, at, Outcome::Connected);
                    share_out(&mut attempts);
                    self.counters.bump(Counter::ViewerConnects);
                    for silent in attempts.iter().filter(|attempt| attempt.outcome == Outcome::Overtaken) {
                        self.handle_failure(&standing.site, silent.address);
                    }
                    self.dead().handle_success(&(standing.site.clone(), address));
                    self.beacons.handle_round_trip(standing, address, rtt);
                    if at == 0
                        && let Some(&second) = addresses.get(1)
                    {
                        self.measure_in_background(standing, second);
                    }
                    return Ok(Connected { stream, address, attempts });
                }
                Ok(Err(error)) => error,
                Err(_elapsed) => io::ErrorKind::TimedOut.into(),
            };
            set(&mut attempts, at, Outcome::of(&error));
            race.handle_failure(clock::now(), at);
            self.counters.bump(Counter::ViewerConnectFailures);
            self.handle_failure(&standing.site, address);
        }
    }

    /// Now and then connects to the address that was not needed, and lets go: so routers hear of a PoP that has become the
    /// better one without anybody's having been sent there.
    fn measure_in_background(&self, standing: &Standing, second: SocketAddr) {
        let Some(measurement) = self.beacons.poll_measurement(standing, second) else { return };
        let connecting = self.net.connect(standing.viewer_source(), second);
        let limit = self.limits.connect_timeout;
        self.counters.bump(Counter::ViewerMeasurements);
        tokio::spawn(async move {
            let started = Instant::now();
            if let Ok(Ok(_stream)) = timeout(limit, connecting).await {
                measurement.handle_round_trip(started.elapsed());
            }
        });
    }

    fn dead(&self) -> MutexGuard<'_, DeadAddresses<(SiteId, SocketAddr)>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NotFound | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Self::NoRoute
            }
            io::ErrorKind::InvalidData => Self::NoHandshake,
            kind => Self::Failed(kind),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connect"),
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::TimedOut => f.write_str("timed out"),
            Self::NoRoute => f.write_str("no way to it"),
            Self::NoHandshake => f.write_str(
                "came to no handshake: HTTP/3 is not spoken for this host, or its certificate does not hold",
            ),
            Self::Failed(kind) => write!(f, "failed: {kind}"),
            Self::Overtaken => f.write_str("silent, the next address was tried beside it"),
        }
    }
}

fn set(attempts: &mut [Attempt], at: usize, outcome: Outcome) {
    if let Some(attempt) = attempts.get_mut(at) {
        attempt.outcome = outcome;
    }
}

/// Gives every moment of the race to the attempt that was started last before it.
fn share_out(attempts: &mut [Attempt]) {
    let mut end = Instant::now();
    for attempt in attempts.iter_mut().rev() {
        attempt.share = end.saturating_duration_since(attempt.started);
        end = attempt.started;
    }
}
