//! DNS over HTTP (RFC 8484): the message that TCP would have carried, as the body of a request or in its target.
//!
//! The client is known by its own address, so an answer without a client subnet is for it alone.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use cdn_core::Reason;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::{
    control::Control,
    exchange::Transport,
    http_routing::{rejected, reply},
    respond::Responder,
    walk::Walk,
};

/// Where it is served: the path that RFC 8484 uses, and everybody since.
pub(crate) const PATH: &str = "/dns-query";

const MEDIA_TYPE: &str = "application/dns-message";

/// Answers a request for [`PATH`].
pub(crate) async fn handle_request(
    control: &Arc<Control>,
    request: Request<Incoming>,
    peer: IpAddr,
) -> Response<Full<Bytes>> {
    let message = match *request.method() {
        // Of an answer to HEAD the server leaves the body out.
        Method::GET | Method::HEAD => {
            in_target(request.uri().query()).ok_or((StatusCode::BAD_REQUEST, Reason::BadRequest))
        }
        Method::POST => in_body(control, request).await,
        _ => {
            let mut response = rejected(control, StatusCode::METHOD_NOT_ALLOWED, Reason::MethodNotAllowed);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            return response;
        }
    };
    let message = match message {
        Ok(message) if message.len() > usize::from(u16::MAX) => {
            return rejected(control, StatusCode::PAYLOAD_TOO_LARGE, Reason::BadRequest);
        }
        Ok(message) => message,
        Err((status, reason)) => return rejected(control, status, reason),
    };
    let published = control.published();
    let mut answer = vec![];
    let mut responder = Responder::new(Arc::clone(control));
    if !responder.handle_message(&published, &message, peer, Transport::Https, &mut answer) {
        return rejected(control, StatusCode::BAD_REQUEST, Reason::BadRequest);
    }
    // The answer is fresh for as long as its records are (RFC 8484, section 5.1); an error has none.
    let max_age = Walk::through(&answer).and_then(|walk| walk.ttl_s_min).unwrap_or(0);
    let mut response = reply(StatusCode::OK, Reason::DnsAnswer, answer.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Ok(value) = HeaderValue::from_str(&format!("private, max-age={max_age}")) {
        headers.insert(header::CACHE_CONTROL, value);
    }
    response
}

/// The parameter `dns`: base64url without padding (RFC 8484, section 6).
fn in_target(query: Option<&str>) -> Option<Vec<u8>> {
    let encoded = query?.split('&').find_map(|parameter| parameter.strip_prefix("dns="))?;
    BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()
}

async fn in_body(control: &Control, request: Request<Incoming>) -> Result<Vec<u8>, (StatusCode, Reason)> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // A parameter would mean nothing here (RFC 9110, section 8.3.1).
    let media_type = media_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !media_type.is_some_and(|value| value.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, Reason::BadRequest));
    }
    let body = Limited::new(request.into_body(), usize::from(u16::MAX)).collect();
    match timeout(control.limits.http_body_timeout, body).await {
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, Reason::BodyTimeout)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err((StatusCode::PAYLOAD_TOO_LARGE, Reason::BadRequest)),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, Reason::BadRequest)),
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base64url_without_padding_is_a_message() {
        assert_eq!(in_target(Some("dns=AAEBAAAB")), Some(vec![0, 1, 1, 0, 0, 1]));
        assert_eq!(in_target(Some("ct=x&dns=-_8")), Some(vec![0xfb, 0xff]));
        for query in [None, Some(""), Some("dns"), Some("dns=AA=="), Some("dns=+/8"), Some("dns=A"), Some("DNS=AAEB")] {
            assert_eq!(in_target(query), None, "{query:?}");
        }
    }
}
