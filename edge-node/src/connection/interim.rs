//! Interim responses (1xx) on their way past hyper, which sends none but 100.
//!
//! They wait here until everything before them has left, and the final response waits for them (RFC 9110 section 15.2: a
//! proxy passes them on). Knows bytes and wakers; which interim responses there are is an origin's business.

use std::{
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, StatusCode};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Interims(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// What is still to be written.
    bytes: BytesMut,
    /// The connection, which writes; whoever has an answer ready waits in it too.
    connection: Option<Waker>,
}

impl Interims {
    /// Takes an interim response in. One that would make more than `bytes_max` bytes wait is dropped: a client that does
    /// not read has no use for hints.
    pub(crate) fn push(&self, status: StatusCode, headers: &HeaderMap, bytes_max: usize) {
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
        for (name, value) in headers {
            let _ = write!(head, "{name}: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let mut inner = self.lock();
        if inner.bytes.len() + head.len() <= bytes_max {
            inner.bytes.extend_from_slice(&head);
            if let Some(connection) = inner.connection.take() {
                connection.wake();
            }
        }
    }

    /// Ready when nothing waits to be written, so that the final response may go out; wakes the connection else.
    pub(crate) fn poll_written(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        inner.connection = Some(cx.waker().clone());
        if inner.bytes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Writes what waits with `write`, which returns how many bytes it took. To be called when nothing else waits to be
    /// written. Remembers whom to wake when more comes.
    pub(crate) fn poll_write<E>(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Context<'_>, &[u8]) -> Poll<Result<usize, E>>,
    ) -> Poll<Result<(), E>> {
        let mut inner = self.lock();
        let waited = !inner.bytes.is_empty();
        while !inner.bytes.is_empty() {
            match write(cx, &inner.bytes) {
                Poll::Ready(Ok(0)) => inner.bytes.clear(),
                Poll::Ready(Ok(written)) => inner.bytes.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        inner.connection = Some(cx.waker().clone());
        if waited {
            inner.bytes = BytesMut::new();
            // The final response may be ready and waiting for this.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn the_final_response_waits_until_hints_are_written() {
        let interims = Interims::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(interims.poll_written(&mut cx).is_ready());
        let headers = HeaderMap::from_iter([(header::LINK, HeaderValue::from_static("</a.css>"))]);
        interims.push(StatusCode::EARLY_HINTS, &headers, 1_000);
        interims.push(StatusCode::EARLY_HINTS, &headers, 60);
        assert!(interims.poll_written(&mut cx).is_pending());
        let mut written = Vec::new();
        let outcome = interims.poll_write(&mut cx, |_, bytes| {
            written.extend_from_slice(&bytes[..1]);
            Poll::Ready(Ok::<_, Infallible>(1))
        });
        assert!(outcome.is_ready() && interims.poll_written(&mut cx).is_ready());
        assert_eq!(str::from_utf8(&written).unwrap(), "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    }
}
