//! A response on its way to the socket without hyper: its head, and its body piece by piece, written together.
//!
//! Knows bytes. Whether it may be written now is the guard's business, and what it says the service's.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use crate::body::ResponseBody;

/// See the module. The request counts as being answered until this is dropped.
#[derive(Debug)]
pub(crate) struct Outgoing {
    head: BytesMut,
    piece: Bytes,
    body: ResponseBody,
}

impl Outgoing {
    /// A response whose body has a known length, to a request by `method`.
    pub(crate) fn new(method: &Method, response: Response<ResponseBody>) -> Self {
        let (parts, body) = response.into_parts();
        let head = encode(method, parts.status, &parts.headers, body.size_hint().exact());
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

/// The head of an HTTP/1.1 response (RFC 9112 section 4), with the length of its body where a length may be said
/// (RFC 9110 section 8.6) and is not yet.
fn encode(method: &Method, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> BytesMut {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut head = BytesMut::with_capacity(bytes + 96);
    let mut line = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
    let phrase = status.canonical_reason().unwrap_or("Unknown").as_bytes();
    line(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", phrase, b"\r\n"]);
    for (name, value) in headers {
        line(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    let says_length = *method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if says_length
        && let Some(length) = length
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        line(&[b"content-length: ", length.to_string().as_bytes(), b"\r\n"]);
    }
    line(&[b"\r\n"]);
    head
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use http::HeaderValue;

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

    fn written(method: &Method, room: usize, response: Response<ResponseBody>) -> String {
        let (mut outgoing, mut socket) = (Outgoing::new(method, response), Narrow { room, taken: Vec::new() });
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(false)) = outgoing.poll_write(&mut socket, &mut cx) {}
        String::from_utf8(socket.taken).unwrap()
    }

    fn response(
        status: u16,
        lines: &[(header::HeaderName, &'static str)],
        body: ResponseBody,
    ) -> Response<ResponseBody> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in lines {
            response.headers_mut().append(name, HeaderValue::from_static(value));
        }
        response
    }

    #[test]
    fn head_and_pieces_arrive_in_order_whatever_the_socket_takes() {
        for room in [1, 7, 50, 10_000] {
            let pieces = VecDeque::from([Bytes::from_static(b"one "), Bytes::from_static(b"two")]);
            let whole = response(200, &[(header::ETAG, "\"a\"")], ResponseBody::pieces(pieces));
            let expected = "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-length: 7\r\n\r\none two";
            assert_eq!(written(&Method::GET, room, whole), expected, "{room}");
        }
    }

    #[test]
    fn a_length_is_said_once_and_only_where_it_may_be() {
        let full = || response(200, &[(header::CONTENT_LENGTH, "3")], ResponseBody::whole("abc"));
        assert_eq!(written(&Method::GET, 99, full()), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
        let not_modified = response(304, &[], ResponseBody::empty());
        assert_eq!(written(&Method::GET, 99, not_modified), "HTTP/1.1 304 Not Modified\r\n\r\n");
        let to_head = response(200, &[(header::CONTENT_LENGTH, "3")], ResponseBody::empty());
        assert_eq!(written(&Method::HEAD, 99, to_head), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
        let empty = response(200, &[], ResponseBody::empty());
        assert_eq!(written(&Method::GET, 99, empty), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
}
