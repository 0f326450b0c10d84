//! Many HTTP/2 frames, one write.
//!
//! h2 writes and flushes after each frame of data, so that the answers to what one read has brought leave in as many
//! writes as there are; and a write of a kilobyte costs more than everything else about its answer. Here small writes wait
//! for each other until hyper has had its turn: whoever polls the connection calls [`Gathered::poll_send`] behind it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};

/// Bytes that wait at most. What is larger is written as it comes, without being copied.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// Room for what a turn usually brings.
const USUAL_BYTES: usize = 16 * 1024;

/// The stream of one HTTP/2 connection: hyper has one clone, whoever polls hyper the other.
#[derive(Debug)]
pub(crate) struct Gathered<T>(Arc<Mutex<Waiting<T>>>);

#[derive(Debug)]
struct Waiting<T> {
    io: T,
    bytes: BytesMut,
    /// Why something could not be written. Nothing is read or written any more.
    failure: Option<io::ErrorKind>,
}

impl<T> Gathered<T> {
    pub(crate) fn new(io: T) -> Self {
        Self(Arc::new(Mutex::new(Waiting { io, bytes: BytesMut::new(), failure: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Gathered<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Write + Unpin> Gathered<T> {
    /// Writes what waits, as far as the socket takes it; the rest when it takes more.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) {
        let waiting = &mut *self.lock();
        if waiting.failure.is_none()
            && let Poll::Ready(Err(error)) = waiting.poll_send(cx)
        {
            waiting.failure = Some(error.kind());
            // Hyper hears of it when it next reads.
            cx.waker().wake_by_ref();
        }
    }
}

impl<T> Waiting<T> {
    fn check(&self) -> io::Result<()> {
        self.failure.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl<T: Write + Unpin> Waiting<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush is progress to whoever watches over writes, so there is none where nothing was written.
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.bytes.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.bytes.advance(written),
            }
        }
        // A connection that is idle holds no buffer.
        self.bytes = BytesMut::new();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check()?;
        let outcome = self.poll_gather(cx, slices);
        if let Poll::Ready(Err(error)) = &outcome {
            self.failure = Some(error.kind());
        }
        outcome
    }

    fn poll_gather(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.bytes.len() + length > WAITING_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        if length > WAITING_BYTES_MAX / 8 {
            ready!(self.poll_send(cx))?;
            return Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(USUAL_BYTES);
        }
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }
}

impl<T: Read + Unpin> Read for Gathered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let waiting = &mut *self.lock();
        waiting.check()?;
        Pin::new(&mut waiting.io).poll_read(cx, cursor)
    }
}

impl<T: Write + Unpin> Write for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = &mut *self.lock();
        // What waits is flushed when the turn ends.
        if waiting.bytes.is_empty() { Pin::new(&mut waiting.io).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = &mut *self.lock();
        waiting.check()?;
        ready!(waiting.poll_send(cx))?;
        Pin::new(&mut waiting.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes, in writes that are remembered; then nothing, or an error.
    #[derive(Debug, Default)]
    struct Socket {
        room: usize,
        broken: bool,
        writes: Vec<Vec<u8>>,
        shut: bool,
    }

    impl Write for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let len = bytes.len().min(self.room);
            match len {
                _ if self.broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                0 => Poll::Pending,
                _ => {
                    self.room -= len;
                    self.writes.push(bytes.iter().take(len).copied().collect());
                    Poll::Ready(Ok(len))
                }
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    impl Read for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    fn gathered(room: usize) -> (Gathered<Socket>, Context<'static>) {
        (Gathered::new(Socket { room, ..Socket::default() }), Context::from_waker(Waker::noop()))
    }

    fn write(stream: &mut Gathered<Socket>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *stream).poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    #[test]
    fn small_writes_of_a_turn_leave_together_at_its_end() {
        let (mut stream, mut cx) = gathered(usize::MAX);
        for part in [&b"one "[..], b"two "] {
            assert!(matches!(write(&mut stream, &mut cx, part), Poll::Ready(Ok(4))));
            assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        }
        assert!(stream.lock().io.writes.is_empty());
        stream.poll_send(&mut cx);
        stream.poll_send(&mut cx);
        assert_eq!(stream.lock().io.writes, [b"one two "]);
        assert_eq!(stream.lock().bytes.capacity(), 0, "an idle connection holds no buffer");
    }

    #[test]
    fn large_writes_keep_their_place_and_are_not_held() {
        let (mut stream, mut cx) = gathered(usize::MAX);
        let large = vec![b'x'; WAITING_BYTES_MAX];
        assert!(write(&mut stream, &mut cx, b"head").is_ready());
        assert!(write(&mut stream, &mut cx, &large).is_ready());
        assert_eq!(stream.lock().io.writes, [b"head".to_vec(), large]);
    }

    #[test]
    fn a_socket_that_takes_nothing_holds_hyper_back() {
        let (mut stream, mut cx) = gathered(10);
        let part = vec![b'x'; WAITING_BYTES_MAX / 8];
        let accepted = (0..100).take_while(|_| write(&mut stream, &mut cx, &part).is_ready()).count();
        assert_eq!(accepted, 8);
        stream.poll_send(&mut cx);
        assert_eq!(stream.lock().bytes.len(), WAITING_BYTES_MAX - 10);
        assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_pending());
        stream.lock().io.room = usize::MAX;
        assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_ready());
        let waiting = stream.lock();
        assert_eq!((waiting.io.writes.concat().len(), waiting.io.shut), (WAITING_BYTES_MAX, true));
    }

    #[test]
    fn hyper_hears_of_what_could_not_be_sent() {
        let (mut stream, mut cx) = gathered(0);
        assert!(write(&mut stream, &mut cx, b"lost").is_ready());
        stream.lock().io.broken = true;
        stream.poll_send(&mut cx);
        let mut buffer = [0; 8];
        let mut buffer = hyper::rt::ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut stream).poll_read(&mut cx, buffer.unfilled());
        assert!(matches!(read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    }
}
