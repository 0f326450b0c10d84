//! Compressing a body while it arrives, once, on its way into the store.
//!
//! Whether and in which coding is decided in [`cdn_core::compression`]; here pieces go through an encoder. A large body
//! does not hold the worker: after each bounded step others get their turn. Whoever follows the body gets what has
//! arrived as soon as the origin pauses, so that nobody waits for a block to fill.
//!
//! With a shield the shield compresses: it sees the origin's own response, does the work once for all edges, and what
//! travels between them is small. An edge compresses only what it got straight from an origin. It would see a length
//! on what the shield stored without one, and compress what CloudFront does not.

use std::{
    fmt,
    io::{self, Write as _},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use brotli::{CompressorWriter, enc::BrotliEncoderParams};
use bytes::Bytes;
use cdn_core::{
    Counter, Counters,
    compression::{self, Candidate, Coding, Uncompressed},
    freshness::Lifetime,
};
use flate2::write::GzEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{asked::Asked, body::IdleTimer, config::Compression, fetch::Fetched, node::Node};

/// Bytes that go in before others get their turn.
const STEP_BYTES: usize = 16 * 1024;
/// Bytes after which a block is closed. br works a whole block off at once: 2 ms for one of this size at the default
/// level, 8 ms for one that it closes by itself. It costs a thousandth of the size.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long the origin pauses before those who follow get what is still in the encoder. Shorter ones are the gaps
/// between packets, and each block that is closed early costs a few bytes.
const PAUSE: Duration = Duration::from_millis(2);

/// What the encoders of one node share.
#[derive(Debug)]
pub(crate) struct Encoders {
    settings: Compression,
    free: Arc<Semaphore>,
}

impl Encoders {
    pub(crate) fn new(settings: Compression) -> Self {
        let free = Arc::new(Semaphore::new(settings.at_once_max.min(Semaphore::MAX_PERMITS)));
        Self { settings, free }
    }
}

/// How a response is compressed, if it is. Holds a place among those that may be compressed at once.
pub(crate) fn plan(node: &Node, asked: &Asked, fetched: &Fetched, lifetime: Lifetime) -> Option<Encoding> {
    choose(node, asked, fetched, lifetime)
        .inspect_err(|why| tracing::trace!(uri = %asked.uri, %why, "not compressed"))
        .ok()
}

fn choose(node: &Node, asked: &Asked, fetched: &Fetched, lifetime: Lifetime) -> Result<Encoding, Uncompressed> {
    let coding = compression::decide(&Candidate {
        behavior: asked.behavior(),
        request: &asked.headers,
        version: asked.viewer.version,
        status: fetched.status,
        headers: &fetched.headers,
        fresh_for: lifetime.fresh_for,
    })?;
    if fetched.parent.is_some() {
        return Err(Uncompressed::ByShield);
    }
    let length = compression::length_of(&fetched.headers).unwrap_or_default();
    Encoding::new(coding, length, &node.encoders, &node.counters)
}

/// A body on its way through an encoder.
#[derive(Debug)]
pub(crate) struct Encoding {
    coding: Coding,
    /// Bytes that will go in.
    length: u64,
    settings: Compression,
    counters: Arc<Counters>,
    state: State,
    /// What came and has not gone in yet.
    waiting: Bytes,
    /// Bytes in the block that is open.
    in_block: usize,
    /// Others had their turn since the last step.
    may_work: bool,
    pause: IdleTimer,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum State {
    /// An answer to HEAD never gets further: it needs the headers alone.
    Planned,
    Open(Encoder),
    Done,
}

impl Encoding {
    /// For a body of `length` bytes, where there is a place and an encoder.
    fn new(coding: Coding, length: u64, encoders: &Encoders, counters: &Arc<Counters>) -> Result<Self, Uncompressed> {
        if !Encoder::exists(coding) {
            return Err(Uncompressed::NoEncoder);
        }
        let place = Arc::clone(&encoders.free).try_acquire_owned().map_err(|_| {
            counters.bump(Counter::EdgeCompressionsFull);
            Uncompressed::Busy
        })?;
        Ok(Self {
            coding,
            length,
            settings: encoders.settings.clone(),
            counters: Arc::clone(counters),
            state: State::Planned,
            waiting: Bytes::new(),
            in_block: 0,
            may_work: true,
            pause: IdleTimer::new(PAUSE),
            _place: place,
        })
    }

    pub(crate) const fn coding(&self) -> Coding {
        self.coding
    }

    /// The next compressed bytes, `None` at the end. `source` is the body as it comes.
    pub(crate) fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if matches!(self.state, State::Done) {
                return Poll::Ready(None);
            }
            let came_out = if self.waiting.is_empty() {
                match source(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        self.pause.stop();
                        self.waiting = bytes;
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) => self.finish(),
                    Poll::Pending if self.in_block == 0 => return Poll::Pending,
                    Poll::Pending => {
                        ready!(self.pause.poll(cx));
                        self.close_block()
                    }
                }
            } else if std::mem::take(&mut self.may_work) {
                self.step()
            } else {
                self.may_work = true;
                // Unlike a plain wake-up this lets sockets and timers have their turn too.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            };
            match came_out {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    self.counters.add(Counter::EdgeCompressedBytesOut, bytes.len() as u64);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn encoder(&mut self) -> io::Result<&mut Encoder> {
        if matches!(self.state, State::Planned) {
            self.counters.bump(Counter::EdgeCompressed);
            self.state = State::Open(Encoder::new(self.coding, &self.settings, self.length)?);
        }
        match &mut self.state {
            State::Open(encoder) => Ok(encoder),
            State::Planned | State::Done => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn step(&mut self) -> io::Result<Bytes> {
        let piece = self.waiting.split_to(self.waiting.len().min(STEP_BYTES));
        self.counters.add(Counter::EdgeCompressedBytesIn, piece.len() as u64);
        self.in_block += piece.len();
        self.encoder()?.write_all(&piece)?;
        if self.in_block >= BLOCK_BYTES { self.close_block() } else { Ok(self.encoder()?.take()) }
    }

    /// Everything that went in comes out.
    fn close_block(&mut self) -> io::Result<Bytes> {
        self.in_block = 0;
        let encoder = self.encoder()?;
        encoder.flush()?;
        Ok(encoder.take())
    }

    fn finish(&mut self) -> io::Result<Bytes> {
        // An empty body has its frame too.
        self.encoder()?;
        match std::mem::replace(&mut self.state, State::Done) {
            State::Open(encoder) => encoder.finish(),
            State::Planned | State::Done => Ok(Bytes::new()),
        }
    }
}

enum Encoder {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// Whether this build has one.
    const fn exists(coding: Coding) -> bool {
        match coding {
            Coding::Gzip | Coding::Brotli => true,
            Coding::Zstd => Compression::HAS_ZSTD,
        }
    }

    /// An encoder for a body of `length` bytes.
    fn new(coding: Coding, settings: &Compression, length: u64) -> io::Result<Self> {
        match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(settings.gzip_level.into());
                Ok(Self::Gzip(Box::new(GzEncoder::new(Vec::new(), level))))
            }
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: settings.brotli_level.into(),
                    lgwin: window_bits(length),
                    size_hint: usize::try_from(length).unwrap_or_default(),
                    ..BrotliEncoderParams::default()
                };
                Ok(Self::Brotli(Box::new(CompressorWriter::with_params(Vec::new(), STEP_BYTES, &params))))
            }
            #[cfg(feature = "zstd")]
            Coding::Zstd => zstd::stream::write::Encoder::new(Vec::new(), settings.zstd_level.into())
                .map(|encoder| Self::Zstd(Box::new(encoder))),
            #[cfg(not(feature = "zstd"))]
            Coding::Zstd => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What has come out since.
    fn take(&mut self) -> Bytes {
        std::mem::take(match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.get_mut(),
        })
        .into()
    }

    fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.finish(),
        }
        .map(Bytes::from)
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// The window of br, as its logarithm: no larger than the body, because its memory is taken at once. 1 MiB costs an
/// encoder 4 MiB in all.
const fn window_bits(length: u64) -> i32 {
    const MIN: u32 = 16;
    const MAX: u32 = 20;
    let bits = u64::BITS - length.leading_zeros();
    (if bits < MIN {
        MIN
    } else if bits > MAX {
        MAX
    } else {
        bits
    }) as i32
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io::Read as _, task::Waker};

    use proptest::prelude::*;

    use super::*;

    const CODINGS: &[Coding] = &[
        Coding::Gzip,
        Coding::Brotli,
        #[cfg(feature = "zstd")]
        Coding::Zstd,
    ];

    fn encoding(coding: Coding, length: u64, counters: &Arc<Counters>) -> Encoding {
        Encoding::new(coding, length, &Encoders::new(Compression::default()), counters).unwrap()
    }

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut all),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut all),
            #[cfg(feature = "zstd")]
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut all),
            #[cfg(not(feature = "zstd"))]
            Coding::Zstd => unreachable!("not among the codings of this build"),
        }
        .unwrap();
        all
    }

    /// Everything that comes out of these pieces, and how often others got their turn.
    fn encoded(coding: Coding, pieces: &[Bytes]) -> (Vec<u8>, usize) {
        let counters = Arc::<Counters>::default();
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut encoding = encoding(coding, length, &counters);
        let mut left: VecDeque<Bytes> = pieces.iter().cloned().collect();
        let (mut all, mut turns) = (Vec::new(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match encoding.poll_bytes(&mut cx, |_| Poll::Ready(left.pop_front().map(Ok))) {
                Poll::Ready(Some(bytes)) => all.extend_from_slice(&bytes.unwrap()),
                Poll::Ready(None) => break,
                Poll::Pending => turns += 1,
            }
        }
        let counts = [Counter::EdgeCompressed, Counter::EdgeCompressedBytesIn, Counter::EdgeCompressedBytesOut];
        assert_eq!(counts.map(|counter| counters.value(counter)), [1, length, all.len() as u64]);
        (all, turns)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_comes_out_decodes_to_what_went_in(
            pieces in prop::collection::vec((0..60_000_usize, any::<u8>(), 1..40_usize), 0..6),
        ) {
            let pieces: Vec<Bytes> = pieces
                .into_iter()
                .map(|(length, first, period)| (0..length).map(|at| first.wrapping_add((at % period) as u8)).collect())
                .collect();
            for &coding in CODINGS {
                prop_assert_eq!(decoded(coding, &encoded(coding, &pieces).0), pieces.concat());
            }
        }
    }

    #[test]
    fn others_get_their_turn_between_bounded_steps() {
        for &coding in CODINGS {
            let body = Bytes::from(b"the quick brown fox ".repeat(50_000));
            let (all, turns) = encoded(coding, std::slice::from_ref(&body));
            assert_eq!(turns, body.len().div_ceil(STEP_BYTES) - 1, "{coding}");
            assert!(all.len() < body.len() / 100, "{coding}: {}", all.len());
        }
    }

    #[test]
    fn an_error_of_the_origin_is_passed_on() {
        let mut encoding = encoding(Coding::Gzip, 5_000, &Arc::default());
        let mut cx = Context::from_waker(Waker::noop());
        let polled = encoding.poll_bytes(&mut cx, |_| Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into()))));
        assert!(matches!(polled, Poll::Ready(Some(Err(_)))));
    }

    #[test]
    fn places_are_given_back() {
        let encoders = Encoders::new(Compression { at_once_max: 1, ..Compression::default() });
        let counters = Arc::<Counters>::default();
        let begin = || Encoding::new(Coding::Brotli, 5_000, &encoders, &counters);
        let first = begin().unwrap();
        assert_eq!(begin().unwrap_err(), Uncompressed::Busy);
        assert_eq!(counters.value(Counter::EdgeCompressionsFull), 1);
        drop(first);
        assert!(begin().is_ok());
    }

    #[test]
    fn windows_are_no_larger_than_the_body() {
        assert_eq!([0, 1_000, 65_536, 200_000, 10_000_000].map(window_bits), [16, 16, 17, 18, 20]);
    }
}
