//! Why a client got no answer from an edge, and the answer that says so.
//!
//! The one place where errors become responses: a status, `x-iso-reason` and a text that tells the whole story.

use std::fmt;

use bytes::Bytes;
use cdn_core::Reason;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// Why a request was not answered by an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request's framing is in doubt, or its head too large.
    Refused(Reason),
    /// Not a request that a forward proxy can serve.
    BadRequest(String),
    /// Nobody can stand there.
    UnknownPlace(String),
    /// Not of this world.
    ForeignHost(String),
    /// HTTPS, which the world does not speak.
    NoHttps(String),
    /// No address.
    Unresolved(String),
    /// The resolver is at its limit.
    ResolverBusy(String),
    /// No address could be connected to.
    ConnectFailed(String),
    /// Every address was silent.
    ConnectTimedOut(String),
    /// No TLS handshake with the edge.
    TlsFailed(String),
    /// The connection ended before a response.
    Reset(String),
    /// The edge's bytes are not HTTP.
    Invalid(String),
    /// No response in time.
    ResponseTimedOut(String),
}

impl Failure {
    /// The status that the client gets.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Reason::UriTooLong) => StatusCode::URI_TOO_LONG,
            Self::Refused(Reason::HeadersTooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Refused(_) | Self::BadRequest(_) | Self::UnknownPlace(_) => StatusCode::BAD_REQUEST,
            Self::NoHttps(_) => StatusCode::NOT_IMPLEMENTED,
            Self::ResolverBusy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimedOut(_) | Self::ResponseTimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::ForeignHost(_)
            | Self::Unresolved(_)
            | Self::ConnectFailed(_)
            | Self::TlsFailed(_)
            | Self::Reset(_)
            | Self::Invalid(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The word that logs and the header carry.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Refused(reason) => *reason,
            Self::BadRequest(_) => Reason::ViewerBadRequest,
            Self::UnknownPlace(_) => Reason::ViewerUnknownPlace,
            Self::ForeignHost(_) => Reason::ViewerForeignHost,
            Self::NoHttps(_) => Reason::ViewerNoHttps,
            Self::Unresolved(_) => Reason::ViewerResolveFailed,
            Self::ResolverBusy(_) => Reason::ViewerResolverBusy,
            Self::ConnectFailed(_) => Reason::ViewerConnectFailed,
            Self::ConnectTimedOut(_) => Reason::ViewerConnectTimeout,
            Self::TlsFailed(_) => Reason::ViewerTlsFailed,
            Self::Reset(_) => Reason::ViewerEdgeReset,
            Self::Invalid(_) => Reason::ViewerEdgeInvalid,
            Self::ResponseTimedOut(_) => Reason::ViewerResponseTimeout,
        }
    }

    /// Whether the client is at fault, and no edge was asked.
    pub(crate) const fn is_clients(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::BadRequest(_) | Self::UnknownPlace(_) | Self::ForeignHost(_) | Self::NoHttps(_)
        )
    }

    /// The response for the client.
    pub(crate) fn respond(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("iso viewer: {self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-iso-reason", HeaderValue::from_static(self.reason().as_str()));
        response
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => f.write_str(reason.help()),
            Self::BadRequest(story)
            | Self::UnknownPlace(story)
            | Self::ForeignHost(story)
            | Self::NoHttps(story)
            | Self::Unresolved(story)
            | Self::ResolverBusy(story)
            | Self::ConnectFailed(story)
            | Self::ConnectTimedOut(story)
            | Self::TlsFailed(story)
            | Self::Reset(story)
            | Self::Invalid(story)
            | Self::ResponseTimedOut(story) => f.write_str(story),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_carries_its_reason_and_its_story() {
        let response = Failure::ConnectTimedOut("127.77.0.1:4480 timed out".into()).respond();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(response.headers()["x-iso-reason"], "viewer_connect_timeout");
        assert!(!Failure::Reset(String::new()).is_clients() && Failure::ForeignHost(String::new()).is_clients());
    }
}
