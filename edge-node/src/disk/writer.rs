//! The one thread that changes files of a tier: it kills, removes and writes, in the order in which that was decided.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, MutexGuard, PoisonError},
};

use cdn_core::{
    Counter,
    disk::{Placement, Work},
};

use super::{Job, Shared, State, files};

/// Runs until the tier is closed and everything was carried out.
pub(super) fn run(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        state = carry_out(shared, state);
        if let Some(job) = state.jobs.pop_front() {
            state.writing = true;
            state = write(shared, state, job);
            state.writing = false;
            continue;
        }
        shared.idle.notify_all();
        if state.closing {
            return;
        }
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Does everything that is to be done to files. The lock is let go meanwhile.
fn carry_out<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    while let Some(work) = state.tier.poll_work() {
        let was_writing = std::mem::replace(&mut state.writing, true);
        let (done, what) = match work {
            Work::Kill(place) => {
                let file = state.files.get(&place.segment).cloned();
                drop(state);
                (files::kill(file.as_ref(), place), "a record cannot be killed")
            }
            Work::Remove(segment) => {
                // Whoever reads from it keeps it open.
                state.files.remove(&segment);
                drop(state);
                (shared.directory.remove(segment), "a segment cannot be removed")
            }
        };
        if let Err(error) = done {
            complain(shared, &error, what);
        }
        state = shared.lock();
        state.writing = was_writing;
    }
    state
}

fn write<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>, job: Job) -> MutexGuard<'a, State> {
    let Job { admitted, body } = job;
    let Some(placement) = state.tier.place(&admitted) else {
        state.tier.failed(admitted, None);
        return state;
    };
    // Room is made before it is taken, so that the bytes on the disk stay bounded.
    let state = carry_out(shared, state);
    let file = state.files.get(&placement.place.segment).cloned();
    drop(state);
    let blocks: Vec<&[u8]> = body.iter().map(AsRef::as_ref).collect();
    let preamble = admitted.preamble(shared.seed, &placement, &blocks);
    let written = write_record(shared, file, &placement, &preamble, &blocks);
    let mut state = shared.lock();
    match written {
        Ok(file) => {
            // Where the segment had to go meanwhile, the order to remove it is still to come.
            if placement.place.offset == 0 {
                state.files.insert(placement.place.segment, file);
            }
            state.tier.landed(admitted, &placement);
        }
        Err(error) => {
            complain(shared, &error, "a response cannot be written");
            state.tier.failed(admitted, Some(&placement));
        }
    }
    state
}

fn write_record(
    shared: &Shared,
    file: Option<Arc<File>>,
    placement: &Placement,
    preamble: &[u8],
    blocks: &[&[u8]],
) -> io::Result<Arc<File>> {
    let file = match file {
        Some(file) => file,
        None => Arc::new(shared.directory.create(placement.place.segment)?),
    };
    let mut offset = placement.place.offset;
    for block in std::iter::once(&preamble).chain(blocks) {
        file.write_all_at(block, offset)?;
        offset += block.len() as u64;
    }
    Ok(file)
}

fn complain(shared: &Shared, error: &io::Error, what: &str) {
    tracing::warn!(%error, "{what}");
    shared.counters.bump(Counter::EdgeDiskErrors);
}
