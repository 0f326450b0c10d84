//! Viewer functions: JavaScript that runs before the store is asked, and before a response leaves.
//!
//! Functions run on a thread of their own, so that one which takes its time holds nobody up who has none. An engine is
//! made for each call and thrown away after it; the next one is made ready while nobody waits. [`cdn_core::functions`]
//! decides what a function sees and what becomes of what it returns.

mod around;
mod engine;
mod events;
mod host;
mod origins;

use cdn_core::functions::Function;

pub(crate) use self::{
    around::{After, before},
    host::{Functions, Settings},
    origins::Chosen,
};
pub use self::{
    engine::{FunctionError, FunctionLimits, FunctionRun},
    origins::OriginChanges,
};

/// Whether a function can be loaded: its code is read, and its top level runs.
///
/// # Errors
/// Why not.
pub fn check_function(function: &Function, limits: FunctionLimits) -> Result<(), FunctionError> {
    engine::Instance::new(function, limits).map(drop)
}

/// Calls a function with an event, at `now` in milliseconds since 1970. What it returned has the shape of a request or a
/// response.
pub fn try_function(function: &Function, event: &str, now: f64, limits: FunctionLimits) -> FunctionRun {
    let mut run = host::run(engine::Instance::new(function, limits), event, now, limits);
    if let Ok(returned) = &run.returned
        && let Err(invalid) = events::read(returned)
    {
        run.returned = Err(invalid.into());
    }
    run
}
