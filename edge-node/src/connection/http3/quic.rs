//! Streams of QUIC as the HTTP/3 library wants them.
//!
//! What the library reads passes [`Frames`] first, so that no client makes it hold more than one head. A stream that is let
//! go before its end says so: a response that was cut must not look whole.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use cdn_core::framing::Frames;
use h3::{
    error::Code,
    quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf},
};
use quinn::{ConnectionError, ReadError, StoppedError, VarInt, WriteError};

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

type Coming<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send>>;

/// Ends when the client wants no more of a response, or has all of it.
pub(super) type Taken = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send>>;

/// A connection; see the module.
pub(super) struct Quic {
    opener: Opener,
    coming_request: Option<Coming<(quinn::SendStream, quinn::RecvStream)>>,
    coming_stream: Option<Coming<quinn::RecvStream>>,
    whole_bytes_max: u64,
    taken: Option<Taken>,
}

impl Quic {
    /// Frames that must be whole may have `whole_bytes_max` bytes.
    pub(super) fn new(connection: quinn::Connection, whole_bytes_max: u64) -> Self {
        let opener = Opener { connection, opening: None };
        Self { opener, coming_request: None, coming_stream: None, whole_bytes_max, taken: None }
    }

    /// Of the request stream that was accepted last; once.
    pub(super) fn taken(&mut self) -> Option<Taken> {
        self.taken.take()
    }
}

impl quic::Connection<Bytes> for Quic {
    type RecvStream = Inbound;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Inbound, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let coming = self.coming_stream.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        });
        let stream = ready!(coming.as_mut().poll(cx));
        self.coming_stream = None;
        let frames = Frames::unidirectional(self.whole_bytes_max);
        Poll::Ready(stream.map(|stream| Inbound::new(stream, frames)).map_err(of_connection))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let coming = self.coming_request.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        });
        let streams = ready!(coming.as_mut().poll(cx));
        self.coming_request = None;
        let (send, receive) = streams.map_err(of_connection)?;
        self.taken = Some(Box::pin(send.stopped()));
        let receive = Inbound::new(receive, Frames::of_message(self.whole_bytes_max));
        Poll::Ready(Ok(Both { send: Outbound::new(send), receive }))
    }

    fn opener(&self) -> Opener {
        Opener { connection: self.opener.connection.clone(), opening: None }
    }
}

impl quic::OpenStreams<Bytes> for Quic {
    type BidiStream = Both;
    type SendStream = Outbound;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outbound, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens what a server opens: streams that go one way.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening: Option<Coming<quinn::SendStream>>,
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Both;
    type SendStream = Outbound;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::Unknown(Box::new(io::Error::from(io::ErrorKind::Unsupported)))))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outbound, StreamErrorIncoming>> {
        let connection = &self.connection;
        let opening = self.opening.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let stream = ready!(opening.as_mut().poll(cx));
        self.opening = None;
        let lost = |error| StreamErrorIncoming::ConnectionErrorIncoming { connection_error: of_connection(error) };
        Poll::Ready(stream.map(Outbound::new).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(code_of(code.value()), reason);
    }
}

/// Both directions of a request.
pub(super) struct Both {
    send: Outbound,
    receive: Inbound,
}

impl quic::BidiStream<Bytes> for Both {
    type SendStream = Outbound;
    type RecvStream = Inbound;

    fn split(self) -> (Outbound, Inbound) {
        (self.send, self.receive)
    }
}

impl quic::RecvStream for Both {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receive.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

impl quic::SendStream<Bytes> for Both {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// What a client sends.
pub(crate) struct Inbound {
    stream: quinn::RecvStream,
    frames: Frames,
    /// Read, and not handed on yet.
    read: Bytes,
    has_ended: bool,
}

impl Inbound {
    const fn new(stream: quinn::RecvStream, frames: Frames) -> Self {
        Self { stream, frames, read: Bytes::new(), has_ended: false }
    }
}

impl quic::RecvStream for Inbound {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            match self.frames.next_piece(&mut self.read) {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                Ok(None) if self.has_ended => {
                    return Poll::Ready(
                        self.frames.end().map(|()| None).map_err(|bad| StreamErrorIncoming::Unknown(bad.into())),
                    );
                }
                Ok(None) => {}
                Err(bad) => {
                    self.stop_sending(Code::H3_EXCESSIVE_LOAD.value());
                    return Poll::Ready(Err(StreamErrorIncoming::Unknown(bad.into())));
                }
            }
            let mut buffer = BytesMut::zeroed(READ_BYTES);
            let read = ready!(self.stream.poll_read(cx, &mut buffer)).map_err(of_read)?;
            buffer.truncate(read);
            self.has_ended = read == 0;
            self.read = buffer.freeze();
        }
    }

    fn stop_sending(&mut self, code: u64) {
        self.has_ended = true;
        // It has ended by itself then.
        let _ = self.stream.stop(code_of(code));
    }

    fn recv_id(&self) -> StreamId {
        id_of(self.stream.id())
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if !self.has_ended {
            // The response is all there is to say (RFC 9114 section 4.1).
            let _ = self.stream.stop(code_of(Code::H3_NO_ERROR.value()));
        }
    }
}

/// What a client is sent.
pub(super) struct Outbound {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
    has_ended: bool,
}

impl Outbound {
    const fn new(stream: quinn::SendStream) -> Self {
        Self { stream, writing: None, has_ended: false }
    }
}

impl quic::SendStream<Bytes> for Outbound {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = &mut self.writing {
            if !data.has_remaining() {
                self.writing = None;
                break;
            }
            let written = ready!(pin!(self.stream.write(data.chunk())).poll(cx)).map_err(of_write)?;
            data.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.has_ended = true;
        Poll::Ready(self.stream.finish().map_err(|closed| StreamErrorIncoming::Unknown(Box::new(closed))))
    }

    fn reset(&mut self, code: u64) {
        self.has_ended = true;
        // It has ended before then.
        let _ = self.stream.reset(code_of(code));
    }

    fn send_id(&self) -> StreamId {
        id_of(self.stream.id())
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if !self.has_ended {
            // Quinn would end it as if this were all.
            let _ = self.stream.reset(code_of(Code::H3_REQUEST_CANCELLED.value()));
        }
    }
}

fn code_of(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

/// The same number to both libraries.
fn id_of(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(VarInt::from(id).into_inner()).expect("ids of streams have at most 62 bits")
}

fn of_connection(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn of_read(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        ReadError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: of_connection(error) }
        }
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

fn of_write(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        WriteError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: of_connection(error) }
        }
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
