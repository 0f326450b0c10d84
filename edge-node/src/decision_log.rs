//! The decision log: all that the machines of a node were told, and what they said, as JSON lines in a file.
//!
//! Off unless a configuration asks for it. What is written is enough to make every decision again ([`Replay`]): each call
//! of a shard of the store, in order and with its time, so that a fresh shard comes to the same state; what each response
//! was judged by; each step of the way through an origin group, and what is known of the caches between. Requests hand
//! their lines over and go on; a thread of its own writes them. Where its queue or its file is full lines are left out and
//! counted, and numbers in them say where.

mod cache;
mod call;
mod origin;
mod replay;
mod wire;

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use cdn_core::{
    Counter, Counters, Instant, WallTime,
    cache_key::KeySeed,
    distribution::{CheckedBehavior, Distribution},
    freshness::Storing,
    store::StoreSettings,
};
use data_encoding::HEXLOWER;
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};

pub use self::replay::{Replay, Replayed, Tally};
use self::wire::{ArrivalLine, Began, Line, Place};
pub(crate) use self::{
    cache::Shard,
    origin::{ParentRecord, Told, Way},
};

/// Where decisions are written, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionLogOptions {
    /// The file; what an earlier process of the node wrote there stays.
    pub path: PathBuf,
    /// Bytes of the file. Lines beyond are left out (`edge_decision_log_dropped_total`).
    pub bytes_max: u64,
    /// Lines that may wait to be written; more are left out, and counted alike.
    pub queue_max: usize,
}

/// The requests' end. The thread ends with the last of its clones.
#[derive(Clone, Debug)]
pub(crate) struct DecisionLog {
    queue: SyncSender<Box<Line>>,
    counters: Arc<Counters>,
    /// Everything that was ever served, so that the address of a distribution names it: lines say its place here.
    served: Arc<Mutex<Vec<Arc<Distribution>>>>,
}

impl DecisionLog {
    /// Opens the file and starts the thread.
    pub(crate) fn start(options: &DecisionLogOptions, counters: Arc<Counters>) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(&options.path)?;
        // An earlier process may have ended within a line.
        file.write_all(b"\n")?;
        let room = options.bytes_max.saturating_sub(file.metadata()?.len());
        let (queue, lines) = sync_channel(options.queue_max.max(1));
        let (counted, file) = (Arc::clone(&counters), BufWriter::new(file));
        thread::Builder::new().name("decision-log".into()).spawn(move || run(file, room, &lines, &counted))?;
        Ok(Self { queue, counters, served: Arc::default() })
    }

    /// The node begins, with this many shards of these settings each.
    pub(crate) fn began(&self, seed: KeySeed, shards: usize, each: &StoreSettings, parents: usize) {
        self.write(Line::Began(Began::new(seed, shards, each, parents)));
    }

    /// The node serves these from now on; what it served before may still be on its way.
    pub(crate) fn serves<'d>(&self, all: impl IntoIterator<Item = &'d Arc<Distribution>>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        for distribution in all {
            if served.iter().any(|known| Arc::ptr_eq(known, distribution)) {
                continue;
            }
            self.write(Line::Distribution { number: served.len(), digest: digest(distribution) });
            served.push(Arc::clone(distribution));
        }
    }

    /// What became of a response from behind.
    pub(crate) fn judged(&self, place: Option<Place>, arrival: &Arrived<'_>, storing: &Storing) {
        let line = ArrivalLine {
            place,
            status: arrival.status.as_u16(),
            headers: arrival.headers.into(),
            requested_at: arrival.requested_at.as_nanos(),
            responded_at: arrival.responded_at.as_nanos(),
            date: arrival.date.unix_nanos().to_string(),
            authorized: arrival.authorized,
        };
        self.write(Line::Arrival { arrival: line, said: format!("{storing:?}") });
    }

    /// Which behavior of which distribution that is; `None` where it was never served.
    pub(crate) fn place(&self, distribution: &Distribution, behavior: &CheckedBehavior) -> Option<Place> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let distribution_at = served.iter().rposition(|known| std::ptr::eq(&**known, distribution))?;
        let behavior_at = distribution.behaviors().iter().position(|known| std::ptr::eq(known, behavior))?;
        Some(Place { distribution: distribution_at, behavior: behavior_at })
    }

    fn write(&self, line: Line) {
        if self.queue.try_send(Box::new(line)).is_err() {
            self.counters.bump(Counter::EdgeDecisionLogDropped);
        }
    }
}

/// A response whose head has arrived, as far as it says how long it may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) requested_at: Instant,
    pub(crate) responded_at: Instant,
    pub(crate) date: WallTime,
    pub(crate) authorized: bool,
}

/// Names all of a distribution that decisions of caches depend on, the same in every process. Keys of signatures are none
/// of it.
fn digest(distribution: &Distribution) -> String {
    let behaviors: Vec<_> = distribution.behaviors().iter().map(CheckedBehavior::spec).collect();
    let text = format!(
        "{:?}",
        (distribution.id(), distribution.origins(), distribution.groups(), behaviors, distribution.error_pages())
    );
    HEXLOWER.encode(&Sha256::digest(text))
}

/// Writes what waits, and has it in the file before it waits for more: a node that is killed loses as little as can be.
fn run(mut file: BufWriter<File>, mut room: u64, lines: &Receiver<Box<Line>>, counters: &Counters) {
    while let Ok(first) = lines.recv() {
        let (mut written, mut lost) = (0, 0);
        for line in std::iter::once(first).chain(lines.try_iter()) {
            match write(&mut file, &mut room, &line) {
                Ok(()) => written += 1,
                Err(_) => lost += 1,
            }
        }
        if file.flush().is_err() {
            (written, lost) = (0, written + lost);
        }
        counters.add(Counter::EdgeDecisionLogLines, written);
        counters.add(Counter::EdgeDecisionLogDropped, lost);
    }
}

fn write(file: &mut BufWriter<File>, room: &mut u64, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    *room = room.checked_sub(text.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_and_a_full_file_leave_lines_out_and_count_them() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, lines) = sync_channel(1);
        let counters = Arc::<Counters>::default();
        let log = DecisionLog { queue, counters: Arc::clone(&counters), served: Arc::default() };
        for number in 0..3 {
            log.write(Line::Distribution { number, digest: "abc".into() });
        }
        assert_eq!(counters.value(Counter::EdgeDecisionLogDropped), 2);
        drop(log);
        let file = BufWriter::new(File::create(dir.path().join("log")).unwrap());
        run(file, 10, &lines, &counters);
        assert_eq!(counters.value(Counter::EdgeDecisionLogDropped), 3);
        assert_eq!(counters.value(Counter::EdgeDecisionLogLines), 0);
    }
}
