//! The file of client networks of a router: read when the router starts, and again whenever it has changed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cdn_core::{Counter, geo::GeoPrefix};
use router::{Handle, PrefixFile, PrefixFileError};
use tokio_util::sync::CancellationToken;

/// Time between two looks at the file. One that looks the same twice is complete.
const LOOK: Duration = Duration::from_millis(250);

/// Reads `file` now, and then follows it on a thread of its own, so that nobody who asks waits for a file. What it says of
/// a network takes the place of what `own` says. A file that cannot be used any more leaves things as they are.
///
/// # Errors
/// It cannot be used now.
pub(crate) fn follow(
    file: PrefixFile,
    own: Vec<GeoPrefix>,
    handle: Handle,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut loaded = file.stamp();
    load(&file, &own, &handle)?;
    let follow = move || {
        let mut seen = loaded;
        while !stop.is_cancelled() {
            thread::sleep(LOOK);
            let now = file.stamp();
            let is_settled = now == std::mem::replace(&mut seen, now);
            if now.is_none() || now == loaded || !is_settled {
                continue;
            }
            loaded = now;
            match load(&file, &own, &handle) {
                Ok(()) => handle.counters().bump(Counter::RouterPrefixReloads),
                Err(error) => {
                    handle.counters().bump(Counter::RouterPrefixReloadsFailed);
                    tracing::warn!(%error, "the client networks stay as they were");
                }
            }
        }
    };
    thread::Builder::new()
        .name("prefixes".into())
        .spawn(follow)
        .context("cannot follow the file of client networks")?;
    Ok(())
}

fn load(file: &PrefixFile, own: &[GeoPrefix], handle: &Handle) -> Result<(), PrefixFileError> {
    let began = Instant::now();
    handle.make_room_for_geo();
    let geo = file.load(own)?;
    let networks = geo.networks();
    handle.set_geo(geo);
    let took_ms = began.elapsed().as_millis() as u64;
    tracing::info!(file = %file.path().display(), networks, took_ms, "client networks");
    Ok(())
}
