//! A response on its way to the socket without hyper: its head, and its body piece by piece, written together.
//!
//! Knows bytes. Whether it may be written now is the guard's business, and what it says the service's.

use std::{
    borrow::Cow,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use cdn_core::fields::{Fields as _, Lines};
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use crate::body::ResponseBody;

/// Bytes that are put on nearly every response, with room to spare.
const DRESS: usize = 512;

/// See the module. The request counts as being answered until this is dropped.
#[derive(Debug)]
pub(crate) struct Outgoing {
    head: BytesMut,
    piece: Bytes,
    body: ResponseBody,
}

impl Outgoing {
    /// The status line (RFC 9112 section 4), behind which the fields are put; `room` bytes beside those of every response.
    pub(crate) fn begin(status: StatusCode, room: usize) -> Lines {
        let line = match status {
            StatusCode::OK => Cow::Borrowed("HTTP/1.1 200 OK\r\n"),
            _ => {
                let phrase = status.canonical_reason().unwrap_or_default();
                Cow::Owned(format!("HTTP/1.1 {} {phrase}\r\n", status.as_str()))
            }
        };
        Lines::new(line.as_bytes(), room + DRESS)
    }

    /// A response to a request by `method`. Its body has a known length, which is said where it may be (RFC 9110 section
    /// 8.6) and is not yet.
    pub(crate) fn new(method: &Method, status: StatusCode, mut lines: Lines, body: ResponseBody) -> Self {
        let bodyless = *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !bodyless
            && let Some(length) = body.size_hint().exact()
            && !lines.has(&header::CONTENT_LENGTH)
        {
            lines.append(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut head = lines.into_bytes();
        head.extend_from_slice(b"\r\n");
        Self { head, piece: Bytes::new(), body }
    }

    /// Writes once; whether that was the last of it.
    pub(crate) fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.piece.is_empty()
            && let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx))
        {
            self.piece = frame?.into_data().unwrap_or_default();
        }
        if self.head.is_empty() && self.piece.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let slices = [IoSlice::new(&self.head), IoSlice::new(&self.piece)];
        let written = ready!(Pin::new(io).poll_write_vectored(cx, &slices))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        self.piece.advance((written - of_head).min(self.piece.len()));
        Poll::Ready(Ok(self.head.is_empty() && self.piece.is_empty() && self.body.is_end_stream()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use super::*;

    /// Takes so many bytes at a time.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let len = bytes.len().min(this.room);
            this.taken.extend(bytes.iter().take(len));
            Poll::Ready(Ok(len))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn written(
        method: &Method,
        room: usize,
        (status, fields, body): (u16, &[(header::HeaderName, &'static str)], ResponseBody),
    ) -> String {
        let status = StatusCode::from_u16(status).unwrap();
        let mut lines = Outgoing::begin(status, 0);
        for (name, value) in fields {
            lines.append(name.clone(), HeaderValue::from_static(value));
        }
        let mut outgoing = Outgoing::new(method, status, lines, body);
        let (mut socket, mut cx) = (Narrow { room, taken: Vec::new() }, Context::from_waker(Waker::noop()));
        while let Poll::Ready(Ok(false)) = outgoing.poll_write(&mut socket, &mut cx) {}
        String::from_utf8(socket.taken).unwrap()
    }

    #[test]
    fn head_and_pieces_arrive_in_order_whatever_the_socket_takes() {
        for room in [1, 7, 50, 10_000] {
            let pieces = VecDeque::from([Bytes::from_static(b"one "), Bytes::from_static(b"two")]);
            let expected = "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-length: 7\r\n\r\none two";
            assert_eq!(
                written(&Method::GET, room, (200, &[(header::ETAG, "\"a\"")], ResponseBody::pieces(pieces))),
                expected,
                "{room}"
            );
        }
    }

    #[test]
    fn a_length_is_said_once_and_only_where_it_may_be() {
        let length: &[_] = &[(header::CONTENT_LENGTH, "3")];
        let full = (200, length, ResponseBody::whole("abc"));
        assert_eq!(written(&Method::GET, 99, full), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
        let not_modified = (304, &[][..], ResponseBody::empty());
        assert_eq!(written(&Method::GET, 99, not_modified), "HTTP/1.1 304 Not Modified\r\n\r\n");
        let to_head = (200, length, ResponseBody::empty());
        assert_eq!(written(&Method::HEAD, 99, to_head), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
        let empty = (200, &[][..], ResponseBody::empty());
        assert_eq!(written(&Method::GET, 99, empty), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
}
