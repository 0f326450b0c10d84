//! The one place that turns the machine's clock into moments of this process's own time.

use std::{sync::OnceLock, time::Instant as MachineInstant};

use cdn_core::Instant;

/// Now, counted from the first time that anybody asked.
pub(crate) fn now() -> Instant {
    static BEGAN: OnceLock<MachineInstant> = OnceLock::new();
    let began = BEGAN.get_or_init(MachineInstant::now);
    Instant::from_nanos(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
