//! The body of a viewer's request as its connection yields it, whatever is spoken there.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::connection::Upload;

/// See the module.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// By HTTP/1.1 or HTTP/2.
    Hyper(Incoming),
    /// By HTTP/3.
    Http3(Box<Http3Body>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Hyper(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
            Self::Http3(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Http3(body) => body.first.is_none() && body.stage == Stage::Ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Http3(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// A body by HTTP/3. It has as many bytes as its head says, or comes to nothing (RFC 9114 section 4.1.2).
pub(crate) struct Http3Body {
    upload: Upload,
    /// Bytes that are still to come, where the head said how many.
    left: Option<u64>,
    /// Came before anybody asked.
    first: Option<Bytes>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Data,
    Trailers,
    Ended,
}

impl Http3Body {
    /// What comes by `upload`, `length` bytes where the head says so.
    pub(crate) fn new(upload: Upload, length: Option<u64>) -> Self {
        let stage = if length == Some(0) { Stage::Ended } else { Stage::Data };
        Self { upload, left: length, first: None, stage }
    }

    /// Waits until it is known whether there is a body at all: unlike in HTTP/2, a head does not say that it is the last.
    pub(crate) async fn begin(&mut self) -> io::Result<()> {
        if self.stage == Stage::Data && self.first.is_none() {
            self.first = std::future::poll_fn(|cx| self.poll_bytes(cx)).await?;
            if self.first.is_none() {
                self.stage = Stage::Ended;
            }
        }
        Ok(())
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match ready!(self.upload.poll_recv_data(cx)) {
            Ok(Some(mut piece)) => {
                let bytes = piece.copy_to_bytes(piece.remaining());
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(bytes.len() as u64).ok_or_else(misfit)?;
                }
                Poll::Ready(Ok(Some(bytes)))
            }
            Ok(None) if self.left.is_some_and(|left| left > 0) => Poll::Ready(Err(misfit())),
            Ok(None) => Poll::Ready(Ok(None)),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let frame = match self.stage {
            Stage::Data => match ready!(self.poll_bytes(cx)) {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(None) => {
                    self.stage = Stage::Trailers;
                    return self.poll_frame(cx);
                }
                Err(error) => Some(Err(error)),
            },
            Stage::Trailers => {
                let trailers = ready!(self.upload.poll_recv_trailers(cx)).map_err(io::Error::other);
                trailers.map(|trailers| trailers.map(Frame::trailers)).transpose()
            }
            Stage::Ended => None,
        };
        self.stage = Stage::Ended;
        Poll::Ready(frame)
    }
}

impl fmt::Debug for Http3Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http3Body").field("left", &self.left).field("stage", &self.stage).finish_non_exhaustive()
    }
}

fn misfit() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the body is not as long as its head says")
}
