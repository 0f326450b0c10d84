//! Where log lines go: at once, or, for lines of the access log, when the thread has nothing better to do.
//!
//! A write of its own for each line costs a tenth of a hit. A line that waits for the end of the event loop's turn waits
//! for less than it takes to answer the requests that have arrived with its own, and shares the write with theirs.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use cdn_core::{Counter, Counters};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::TARGET;

/// Waiting lines are written when there are more bytes of them than this, whatever the thread has to do.
const WAITING_BYTES_MAX: usize = 32 * 1024;

/// For `tracing_subscriber::fmt::layer().with_writer(…)`. Lines of the access log wait for [`LogWriter::flush`], to be
/// called when a thread that serves is about to sleep (`on_thread_park` of tokio's runtime) and when the last has ended;
/// any other line is written at once, behind those that wait. Clones share what waits.
#[derive(Debug)]
pub struct LogWriter<W = io::Stderr> {
    shared: Arc<Mutex<Waiting<W>>>,
    counters: Arc<Counters>,
    is_full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Waiting<W> {
    lines: Vec<u8>,
    out: W,
}

impl LogWriter {
    /// Writes to stderr.
    pub fn stderr() -> Self {
        Self::new(io::stderr())
    }
}

impl<W: Write> LogWriter<W> {
    fn new(out: W) -> Self {
        let shared = Arc::new(Mutex::new(Waiting { lines: Vec::new(), out }));
        Self { shared, counters: Arc::default(), is_full: Arc::default() }
    }

    /// What was lost is counted here.
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Behaves as if nothing more fitted on the disk that the log is on, or no longer.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Writes what waits. Lines that cannot be written are lost, and counted: whoever serves does not wait for a log.
    pub fn flush(&self) {
        self.with(|waiting| self.write(waiting));
    }

    fn write(&self, waiting: &mut Waiting<W>) {
        if waiting.lines.is_empty() {
            return;
        }
        let full = || Err(io::ErrorKind::StorageFull.into());
        let is_full = self.is_full.load(Ordering::Relaxed);
        let written: io::Result<()> = if is_full { full() } else { waiting.out.write_all(&waiting.lines) };
        if written.is_err() {
            let lines = waiting.lines.iter().filter(|byte| **byte == b'\n').count();
            self.counters.add(Counter::LogLinesLost, lines as u64);
        }
        waiting.lines.clear();
    }

    fn with(&self, act: impl FnOnce(&mut Waiting<W>)) {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<W> Clone for LogWriter<W> {
    fn clone(&self) -> Self {
        let Self { shared, counters, is_full } = self;
        Self { shared: Arc::clone(shared), counters: Arc::clone(counters), is_full: Arc::clone(is_full) }
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for LogWriter<W> {
    type Writer = LineWriter<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { to: self, waits: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        LineWriter { to: self, waits: metadata.target() == TARGET }
    }
}

/// Takes one line of a [`LogWriter`].
#[derive(Debug)]
pub struct LineWriter<'a, W> {
    to: &'a LogWriter<W>,
    waits: bool,
}

impl<W: Write> Write for LineWriter<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.to.with(|waiting| {
            waiting.lines.extend_from_slice(line);
            if !self.waits || waiting.lines.len() > WAITING_BYTES_MAX {
                self.to.write(waiting);
            }
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What is written, one text per write.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `act` runs.
    fn writes(act: impl FnOnce(&LogWriter<Writes>)) -> Vec<String> {
        let out = Writes::default();
        let writer = LogWriter::new(out.clone());
        let layer = tracing_subscriber::fmt::layer().with_writer(writer.clone()).without_time().with_ansi(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || act(&writer));
        let writes = out.0.lock().unwrap();
        writes.clone()
    }

    #[test]
    fn access_lines_wait_for_each_other() {
        let access = |number: u64| tracing::info!(target: "access", number);
        let written = writes(|writer| {
            (1..3).for_each(access);
            writer.flush();
            writer.flush();
            access(3);
        });
        assert_eq!(written, [" INFO access: number=1\n INFO access: number=2\n"]);
    }

    #[test]
    fn other_lines_leave_at_once_and_in_order() {
        let written = writes(|_| {
            tracing::info!(target: "access", number = 1);
            tracing::warn!(target: "other", "hot");
            tracing::warn!(target: "other", "hotter");
        });
        assert_eq!(written, [" INFO access: number=1\n WARN other: hot\n", " WARN other: hotter\n"]);
    }

    #[test]
    fn lines_that_do_not_fit_on_the_disk_are_counted_and_hold_up_nobody() {
        let access = |number: u64| tracing::info!(target: "access", number);
        let written = writes(|writer| {
            writer.set_full(true);
            (1..4).for_each(access);
            writer.flush();
            assert_eq!(writer.counters().value(Counter::LogLinesLost), 3);
            writer.set_full(false);
            access(4);
            writer.flush();
            assert_eq!(writer.counters().value(Counter::LogLinesLost), 3);
        });
        assert_eq!(written, [" INFO access: number=4\n"]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let long = "x".repeat(WAITING_BYTES_MAX / 4);
        let written = writes(|_| (0..4).for_each(|_| tracing::info!(target: "access", long)));
        assert_eq!(written.len(), 1);
        assert_eq!(written.concat().lines().count(), 4);
    }
}
