//! The one place where the machine's clocks become [`Instant`] and [`WallTime`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cdn_core::{Instant, WallTime};
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// A node's clock; it began when the node was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { began: tokio::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    /// The same moment for tokio's timer.
    pub(crate) fn at(&self, moment: Instant) -> tokio::time::Instant {
        let span = moment - Instant::ZERO;
        // Far deadlines saturate: a year is for ever.
        self.began + span.min(Duration::from_secs(365 * 86_400))
    }
}

/// What a node takes for the date. Cheap to clone; clones go wrong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct WallClock {
    /// By how many nanoseconds it is ahead of the machine's.
    ahead: Arc<AtomicI64>,
}

impl WallClock {
    /// The date, as far as this node knows.
    pub(crate) fn now(&self) -> WallTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        WallTime::from_unix_nanos(machine_nanos().saturating_add(i128::from(ahead)))
    }

    /// Makes it go wrong by so many nanoseconds, or right with 0.
    pub(crate) fn set_ahead(&self, nanos: i64) {
        self.ahead.store(nanos, Ordering::Relaxed);
    }
}

/// Whether an origin's certificate is good today, and a session still one to resume, follows this clock too.
impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let secs = u64::try_from(self.now().unix_secs()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}

/// The date by the machine's own clock: what lines of a log are told apart by, whatever their node takes for the date.
pub(crate) fn machine_date() -> WallTime {
    WallTime::from_unix_nanos(machine_nanos())
}

fn machine_nanos() -> i128 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    }
}
