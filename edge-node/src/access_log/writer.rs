//! Where log lines go: at once, or, for lines of the access log, when the thread has nothing better to do.
//!
//! A write of its own for each line costs a tenth of a hit. A line that waits for the end of the event loop's turn waits
//! for less than it takes to answer the requests that have arrived with its own, and shares the write with theirs.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

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
        Self { shared: Arc::new(Mutex::new(Waiting { lines: Vec::new(), out })) }
    }

    /// Writes what waits. A log that cannot be written is lost: there is nobody to tell.
    pub fn flush(&self) {
        self.with(Waiting::flush);
    }

    fn with(&self, act: impl FnOnce(&mut Waiting<W>)) {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<W: Write> Waiting<W> {
    fn flush(&mut self) {
        if !self.lines.is_empty() {
            let _ = self.out.write_all(&self.lines);
            self.lines.clear();
        }
    }
}

impl<W> Clone for LogWriter<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
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
                waiting.flush();
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
    fn what_waits_is_bounded() {
        let long = "x".repeat(WAITING_BYTES_MAX / 4);
        let written = writes(|_| (0..4).for_each(|_| tracing::info!(target: "access", long)));
        assert_eq!(written.len(), 1);
        assert_eq!(written.concat().lines().count(), 4);
    }
}
