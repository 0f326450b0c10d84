//! The door by which fuzz targets (`fuzz/`) reach what is private here. Compiled for them alone.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use cdn_core::{Counters, Reason, framing::HeadLimits};
use hyper::rt::{Read as _, ReadBuf};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    guard::{Guard, GuardLimits, ShortWay},
    outgoing::Outgoing,
    wire::Wire,
};

/// What became of a client's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What hyper would read.
    pub bytes: Vec<u8>,
    /// Why the rest was refused, if it was.
    pub refused: Option<Reason>,
    /// Whether hyper would see an error instead of an end.
    pub failed: bool,
}

/// Sends a client's bytes through the guard, divided into these reads.
pub fn guard(pieces: &[&[u8]]) -> Passed {
    let limits = GuardLimits {
        http2: true,
        head: HeadLimits { head_bytes_max: 1024, target_bytes_max: 256, headers_max: 16 },
        head_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_secs(1),
    };
    let wire = Arc::new(Wire::new());
    let mut guard = Guard::new(Pieces(pieces), NoHits, Arc::clone(&wire), limits, Arc::new(Counters::default()));
    let mut passed = Passed { bytes: Vec::new(), refused: None, failed: false };
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut space = [0; 512];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut guard).poll_read(&mut cx, buffer.unfilled()) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => passed.bytes.extend_from_slice(buffer.filled()),
            // What is refused is not read on: nothing is pending but that.
            Poll::Ready(Ok(())) | Poll::Pending => break,
            Poll::Ready(Err(_)) => {
                passed.failed = true;
                break;
            }
        }
    }
    passed.refused = wire.refusal();
    passed
}

/// Reads these pieces as the chunked body of an origin.
///
/// # Panics
/// Other bytes come out than those that a slow and obvious decoder finds, or something is taken for whole that is not.
pub fn origin_body(pieces: &[&[u8]]) {
    crate::pool::chunked_bodies::check(pieces);
}

/// A socket that has one piece ready per read.
struct Pieces<'a>(&'a [&'a [u8]]);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let pieces = &mut self.get_mut().0;
        while let Some((first, rest)) = pieces.split_first() {
            *pieces = rest;
            // An empty read would be an end.
            if !first.is_empty() {
                assert!(first.len() <= buffer.remaining(), "a piece is larger than a read");
                buffer.put_slice(first);
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Nothing is written where nothing is answered.
impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Leaves every request to hyper.
struct NoHits;

impl ShortWay for NoHits {
    fn answer(&self, _: &[u8]) -> Option<Outgoing> {
        None
    }
}
