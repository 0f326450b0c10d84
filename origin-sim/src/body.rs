//! The body of an answer: pieces produced as the client takes them, paced, and cut short where a fault says so.
//!
//! Nothing is produced ahead: a body of any length costs one chunk of memory. A body holds its request's slot until it is
//! dropped. Decides nothing: pieces, pace and cut are given.

use std::{
    collections::VecDeque,
    fs::File,
    future::Future,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use cdn_core::{Counter, Counters, content::Content};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    task::JoinHandle,
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::{pace::Pace, slots::Slot, tally::PathTally, wire::Cutter};

/// Bytes that are produced at once where nothing asks for smaller chunks.
const CHUNK_BYTES: usize = 64 << 10;

/// Where bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The deterministic function.
    Content(Content),
    /// Memory.
    Bytes(Bytes),
    /// An open file.
    File(Arc<File>),
}

/// A run of bytes of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Content(Content, Range<u64>),
    Bytes(Bytes),
    File(Arc<File>, Range<u64>),
}

/// How a body is cut short.
#[derive(Debug)]
pub(crate) struct Cut {
    /// After so many bytes.
    pub(crate) after: u64,
    /// What happens then.
    pub(crate) then: Then,
}

/// What happens at a cut.
pub(crate) enum Then {
    /// The connection closes.
    Close,
    /// Nothing, until this is over; then the connection closes.
    Hold(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// What a body needs besides its pieces.
#[derive(Debug)]
pub(crate) struct Conduct {
    /// Exact length, unless it is to be sent in chunks.
    pub(crate) announced: Option<u64>,
    pub(crate) chunk_bytes: Option<usize>,
    pub(crate) drip: Duration,
    pub(crate) bits_per_s: Option<u64>,
    pub(crate) cut: Option<Cut>,
    pub(crate) cutter: Cutter,
    pub(crate) slot: Option<Slot>,
    pub(crate) path: Arc<PathTally>,
    pub(crate) counters: Arc<Counters>,
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct OriginBody {
    pieces: VecDeque<Piece>,
    remaining: u64,
    sent: u64,
    conduct: Conduct,
    pace: Option<Pace>,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Bytes that are ready before the throttle lets them pass.
    held: Option<Bytes>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Source {
    /// The run of bytes `part` of the source.
    pub(crate) fn piece(&self, part: Range<u64>) -> Piece {
        match self {
            Self::Content(content) => Piece::Content(*content, part),
            Self::Bytes(bytes) => {
                let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Piece::Bytes(bytes.slice(clamp(part.start).min(clamp(part.end))..clamp(part.end)))
            }
            Self::File(file) => Piece::File(Arc::clone(file), part),
        }
    }

    /// A number for multipart boundaries; for a file anything that its bytes cannot foresee would do.
    pub(crate) fn fingerprint(&self) -> u64 {
        match self {
            Self::Content(content) => content.fingerprint(),
            Self::Bytes(_) | Self::File(_) => rand::random(),
        }
    }
}

impl Piece {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Content(_, range) | Self::File(_, range) => range.end.saturating_sub(range.start),
        }
    }
}

impl std::fmt::Debug for Then {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Close => "Close",
            Self::Hold(_) => "Hold",
        })
    }
}

impl OriginBody {
    pub(crate) fn new(pieces: VecDeque<Piece>, conduct: Conduct) -> Self {
        let remaining = pieces.iter().map(Piece::length).fold(0, u64::saturating_add);
        Self { pieces, remaining, sent: 0, conduct, pace: None, waiting: None, held: None, reading: None }
    }

    /// The next bytes, at most `bytes_max`; `None` after the last.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let Some(piece) = self.pieces.front_mut() else { return Poll::Ready(None) };
            if piece.length() == 0 {
                self.pieces.pop_front();
                continue;
            }
            let length = usize::try_from(piece.length()).unwrap_or(usize::MAX).min(bytes_max);
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes.split_to(length),
                Piece::Content(content, range) => {
                    let mut buffer = vec![0; length];
                    content.fill(range.start, &mut buffer);
                    range.start += length as u64;
                    buffer.into()
                }
                Piece::File(file, range) => {
                    let reading = self.reading.get_or_insert_with(|| {
                        let (file, offset) = (Arc::clone(file), range.start);
                        tokio::task::spawn_blocking(move || read_at(&file, offset, length))
                    });
                    let outcome = ready!(Pin::new(reading).poll(cx));
                    self.reading = None;
                    match outcome.unwrap_or_else(|gone| Err(io::Error::other(gone))) {
                        Ok(bytes) => {
                            range.start += bytes.len() as u64;
                            bytes
                        }
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
            };
            return Poll::Ready(Some(Ok(bytes)));
        }
    }

    /// How much may be sent now.
    fn step_bytes(&self) -> usize {
        let mut step = self.conduct.chunk_bytes.unwrap_or(CHUNK_BYTES);
        if let Some(pace) = &self.pace {
            step = step.min(pace.step_bytes());
        }
        if let Some(cut) = &self.conduct.cut {
            let left = cut.after.saturating_sub(self.sent);
            step = step.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        step.max(1)
    }

    /// Accounts for bytes that leave.
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        let length = bytes.len() as u64;
        self.sent += length;
        self.remaining = self.remaining.saturating_sub(length);
        self.conduct.path.handle_bytes(length);
        self.conduct.counters.add(Counter::OriginBodyBytesSent, length);
        if self.remaining == 0 && self.conduct.cut.is_none() {
            self.conduct.slot = None;
        } else if !self.conduct.drip.is_zero() {
            self.waiting = Some(Box::pin(sleep(self.conduct.drip)));
        }
        bytes
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        loop {
            if let Some(waiting) = &mut this.waiting {
                ready!(waiting.as_mut().poll(cx));
                this.waiting = None;
            }
            if let Some(bytes) = this.held.take() {
                return Poll::Ready(Some(Ok(Frame::data(this.pass(bytes)))));
            }
            if let Some(cut) = &mut this.conduct.cut
                && this.sent >= cut.after
            {
                if let Then::Hold(over) = &mut cut.then {
                    ready!(over.as_mut().poll(cx));
                    cut.then = Then::Close;
                }
                // What was sent so far is flushed first, then the wire breaks.
                this.conduct.cutter.cut();
                return Poll::Pending;
            }
            if this.pace.is_none() {
                this.pace = this.conduct.bits_per_s.map(|bits_per_s| Pace::starting(bits_per_s, Instant::now()));
            }
            let step = this.step_bytes();
            let Some(bytes) = ready!(this.poll_bytes(cx, step)).transpose()? else { return Poll::Ready(None) };
            this.waiting = this.pace.as_mut().map(|pace| Box::pin(sleep_until(pace.handle_step(bytes.len()))));
            this.held = Some(bytes);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0 && self.conduct.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.conduct.announced {
            Some(announced) => SizeHint::with_exact(announced.saturating_sub(self.sent)),
            None => SizeHint::default(),
        }
    }
}

/// Reads `length` bytes. A file that became shorter is an error, because its length has been promised.
fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}
