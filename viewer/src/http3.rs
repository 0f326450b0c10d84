//! HTTP/3 with an edge: one request at a time, as HTTP/1.1 has it here, on a connection of QUIC.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use h3::{
    client::{RequestStream, SendRequest},
    error::{Code, StreamError},
};
use http::{Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    headers::strip_hop_by_hop,
    sender::{EdgeBody, Fault, SendFailure, Upload},
};

/// What is sent of a request after its head.
type Outgoing = RequestStream<h3_quinn::SendStream<Bytes>, Bytes>;
/// What comes of its response after the head.
type Incoming = RequestStream<h3_quinn::RecvStream, Bytes>;

/// A connection that takes requests.
pub(crate) struct Http3 {
    sender: SendRequest<h3_quinn::OpenStreams, Bytes>,
    connection: quinn::Connection,
    has_ended: Arc<AtomicBool>,
}

impl Http3 {
    /// Begins to speak HTTP/3 on `connection`; that takes no time.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn begin(connection: quinn::Connection) -> Result<Self, h3::error::ConnectionError> {
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await?;
        let has_ended = Arc::<AtomicBool>::default();
        let tells = Arc::clone(&has_ended);
        tokio::spawn(async move {
            // How a connection ended is told to whoever waits for its response.
            driver.wait_idle().await;
            tells.store(true, Ordering::Relaxed);
        });
        Ok(Self { sender, connection, has_ended })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed) || self.connection.close_reason().is_some()
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(&mut self, request: Request<Upload>) -> Result<Response<EdgeBody>, SendFailure> {
        let (parts, upload) = request.into_parts();
        let mut head = Request::from_parts(parts.clone(), ());
        strip_hop_by_hop(head.headers_mut());
        *head.uri_mut() = uri_of(&mut head);
        let stream = match self.sender.send_request(head).await {
            Ok(stream) => stream,
            Err(error) => {
                let unsent = Some(Box::new(Request::from_parts(parts, upload)));
                return Err(SendFailure { unsent, fault: Fault::Ended(error.to_string()) });
            }
        };
        let (outgoing, mut incoming) = stream.split();
        let mut outgoing = Unfinished(Some(outgoing));
        let mut upload = if upload.is_end_stream() {
            outgoing.finish().await.map_err(failure)?;
            None
        } else {
            Some(AbortOnDropHandle::new(tokio::spawn(outgoing.send(upload))))
        };
        let response = loop {
            let response = tokio::select! {
                biased;
                sent = sent(&mut upload) => {
                    // An edge that has answered needs no more of it.
                    if let Err(broke_off) = sent {
                        return Err(SendFailure { unsent: None, fault: Fault::BrokeOff(broke_off) });
                    }
                    continue;
                }
                response = incoming.recv_response() => response.map_err(failure)?,
            };
            // Interim responses are of no use to a proxy's client that speaks HTTP/1.1 to it.
            if !response.status().is_informational() {
                break response;
            }
        };
        let bodyless = parts.method == Method::HEAD
            || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length =
            response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let left = if bodyless { Some(0) } else { length };
        let body = Http3Body { incoming, left, has_ended: left == Some(0), _upload: upload };
        Ok(response.map(|()| EdgeBody::Http3(Box::new(body))))
    }
}

/// Ends with the upload, if it ends for its own reasons; never without one.
async fn sent(upload: &mut Option<AbortOnDropHandle<Result<(), String>>>) -> Result<(), String> {
    match upload {
        Some(sending) => {
            let sent = sending.await.unwrap_or(Ok(()));
            *upload = None;
            sent
        }
        None => std::future::pending().await,
    }
}

/// The URI of a request that says its host in `Host`, which goes (RFC 9114 section 4.3.1).
fn uri_of(head: &mut Request<()>) -> Uri {
    let host = head.headers_mut().remove(header::HOST);
    let authority = host.as_ref().map_or(&b""[..], |host| host.as_bytes());
    let target = head.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder().scheme("https").authority(authority).path_and_query(target).build();
    uri.unwrap_or_else(|_| head.uri().clone())
}

fn failure(error: StreamError) -> SendFailure {
    SendFailure { unsent: None, fault: Fault::Ended(error.to_string()) }
}

/// A request of which more may come. What is cut must not look whole.
struct Unfinished(Option<Outgoing>);

impl Unfinished {
    async fn finish(&mut self) -> Result<(), StreamError> {
        match self.0.take() {
            Some(mut outgoing) => outgoing.finish().await,
            None => Ok(()),
        }
    }

    /// Sends all of `upload`.
    ///
    /// # Errors
    /// It broke off. That the edge wants no more of it is none.
    async fn send(mut self, mut upload: Upload) -> Result<(), String> {
        while let Some(frame) = upload.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let Some(outgoing) = &mut self.0 else { return Ok(()) };
            let sent = match frame.into_data() {
                Ok(data) => outgoing.send_data(data).await,
                Err(frame) => outgoing.send_trailers(frame.into_trailers().unwrap_or_default()).await,
            };
            if sent.is_err() {
                return Ok(());
            }
        }
        let _ = self.finish().await;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(outgoing) = &mut self.0 {
            outgoing.stop_stream(Code::H3_REQUEST_CANCELLED);
        }
    }
}

/// The body of a response.
pub(crate) struct Http3Body {
    incoming: Incoming,
    /// Bytes that are still to come, where the head said how many.
    left: Option<u64>,
    has_ended: bool,
    /// Goes on beside it.
    _upload: Option<AbortOnDropHandle<Result<(), String>>>,
}

/// Why one broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http3BodyError {
    /// The edge ended the stream or the connection.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// RFC 9114 section 4.1.2.
    #[error("it is not as long as its head says")]
    Misfit,
}

impl Body for Http3Body {
    type Data = Bytes;
    type Error = Http3BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http3BodyError>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        let Some(mut piece) = ready!(this.incoming.poll_recv_data(cx))? else {
            this.has_ended = true;
            let is_whole = this.left.unwrap_or_default() == 0;
            return Poll::Ready((!is_whole).then_some(Err(Http3BodyError::Misfit)));
        };
        let bytes = piece.copy_to_bytes(piece.remaining());
        if let Some(left) = &mut this.left {
            *left = left.checked_sub(bytes.len() as u64).ok_or(Http3BodyError::Misfit)?;
            this.has_ended = *left == 0;
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
