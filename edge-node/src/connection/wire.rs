//! What guard and service of one connection tell each other: refusals, tunnels, and whether anything is under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use cdn_core::{
    Reason,
    framing::{RefusedHead, StandIn},
};
use tokio::time::Instant;

use super::interim::Interims;

/// What guard and service of one connection tell each other.
#[derive(Debug)]
pub(crate) struct Wire {
    started: Instant,
    stand_in: Arc<StandIn>,
    /// From now on bytes belong to no HTTP.
    tunnel: AtomicBool,
    in_flight: AtomicUsize,
    /// Nanoseconds after `started` at which the last request ended.
    idle_since: AtomicU64,
    /// Interim responses that hyper does not send.
    pub(crate) interims: Interims,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            stand_in: Arc::default(),
            tunnel: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            interims: Interims::default(),
        }
    }

    /// A request reached the service; the reason if it stands for one that was refused. Ends with the [`InFlight`].
    pub(crate) fn on_request(self: &Arc<Self>) -> (InFlight, Option<Reason>) {
        (self.begin(), self.stand_in.on_request())
    }

    /// A request is being answered, until the [`InFlight`] ends.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Why something on this connection was refused, if anything was.
    pub(crate) fn refusal(&self) -> Option<Reason> {
        self.stand_in.reason()
    }

    /// What the head says that was refused on this connection, if one was: for logs alone.
    pub(crate) fn refused_head(&self) -> Option<&RefusedHead> {
        self.stand_in.refused_head()
    }

    /// What the guard's screen tells of refused requests.
    pub(super) const fn stand_in(&self) -> &Arc<StandIn> {
        &self.stand_in
    }

    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// The connection becomes a tunnel; called before the client can know.
    pub(crate) fn on_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    /// Whether all heads that went on to hyper were served and answered.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.load(Relaxed) == 0 && self.stand_in.is_served()
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.in_flight.load(Relaxed) == 0).then(|| self.started + Duration::from_nanos(self.idle_since.load(Relaxed)))
    }
}

/// Lives as long as a request is being answered.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Wire>);

impl InFlight {
    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.idle_since.store(nanos, Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
