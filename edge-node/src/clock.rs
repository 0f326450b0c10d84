//! The one place where the machine's clocks become [`Instant`] and [`WallTime`].

use std::time::{Duration, SystemTime};

use cdn_core::{Instant, WallTime};

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

    pub(crate) fn wall() -> WallTime {
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => WallTime::from_unix_nanos(i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)),
            Err(before) => {
                WallTime::from_unix_nanos(-i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX))
            }
        }
    }
}
