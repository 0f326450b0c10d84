//! Requests on a connection to an edge, and the bodies of their responses, whatever is spoken there.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};

use crate::http3::{Http3, Http3Body, Http3BodyError};

/// The body of a request to an edge: kept whole, or streamed through.
pub(crate) type Upload = Either<Full<Bytes>, Incoming>;

/// What takes requests.
pub(crate) enum Sender {
    /// By HTTP/1.1.
    Http1(SendRequest<Upload>),
    /// By HTTP/3.
    Http3(Http3),
}

/// A request without a response.
pub(crate) struct SendFailure {
    /// The request, where nothing of it has left.
    pub(crate) unsent: Option<Box<Request<Upload>>>,
    pub(crate) fault: Fault,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The request's body ended before its time.
    #[error("{0}")]
    BrokeOff(String),
    /// What the edge sent is no response.
    #[error("{0}")]
    Invalid(String),
    /// The connection, or what carried the request, ended.
    #[error("{0}")]
    Ended(String),
}

impl Sender {
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http3(sender) => sender.is_closed(),
        }
    }

    pub(crate) const fn is_http3(&self) -> bool {
        matches!(self, Self::Http3(_))
    }

    /// Waits until it can take a request; whether it ever can.
    pub(crate) async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http3(sender) => !sender.is_closed(),
        }
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(&mut self, request: Request<Upload>) -> Result<Response<EdgeBody>, SendFailure> {
        let sender = match self {
            Self::Http1(sender) => sender,
            Self::Http3(sender) => return sender.send(request).await,
        };
        let mut error = match sender.try_send_request(request).await {
            Ok(response) => return Ok(response.map(EdgeBody::Http1)),
            Err(error) => error,
        };
        let unsent = error.take_message().map(Box::new);
        let error = error.into_error();
        let fault = match () {
            () if error.is_user() => Fault::BrokeOff(deepest(&error)),
            () if error.is_parse() => Fault::Invalid(error.to_string()),
            () => Fault::Ended(error.to_string()),
        };
        Err(SendFailure { unsent, fault })
    }
}

/// What hyper calls a body's end before its time is for programmers; what lies beneath is not.
pub(crate) fn deepest(error: &hyper::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}

/// The body of a response.
pub(crate) enum EdgeBody {
    Http1(Incoming),
    Http3(Box<Http3Body>),
}

/// Why one broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EdgeBodyError {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error(transparent)]
    Http3(#[from] Http3BodyError),
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = EdgeBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EdgeBodyError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(EdgeBodyError::from),
            Self::Http3(body) => Pin::new(body).poll_frame(cx).map_err(EdgeBodyError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http3(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http3(body) => body.size_hint(),
        }
    }
}
