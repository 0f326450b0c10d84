//! Which headers travel: viewer to origin, tier to tier, origin to viewer.
//!
//! Decides names and values by the behavior's policies and CloudFront's tables. Knows no connection: message framing
//! (`Content-Length`, `Transfer-Encoding`) belongs to the HTTP library of the shell.

mod hop;
mod purge;
mod request;
mod response;
mod viewer_headers;

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub use self::{
    hop::{HOP_HEADER, Hop, parent_request_headers},
    purge::Purge,
    request::{
        CDN_LOOP_MAX, Conditions, Forward, Viewer, loops, origin_host, origin_path_and_query, origin_request_headers,
        receive_viewer_headers,
    },
    response::{Dress, XCache, dress, pop_header, receive_response_headers, request_id, via, withhold},
    viewer_headers::{CLOUDFRONT_VIEWER_TLS, Facts, is_of_place},
};
use crate::fields::Fields as _;

/// Headers that concern one connection (RFC 9110 section 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes the headers that concern one connection only: the fixed ones and those that `Connection` names, except
/// `Host` and `Content-Length`, which nobody may declare as such.
///
/// Do this before anything else looks at the headers: a header that is keyed but not forwarded would let one viewer
/// choose what others are served.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most requests have none of them, and to ask each name there is costs less than to remove each there might be.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        // The two that nearly every request says need no name made.
        .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// All values of `name` as one list; `None` where there are none.
pub fn list_of(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    headers.contains_key(name).then(|| headers.joined(name, ", ", b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_named_by_connection_go_with_it_but_never_host() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("connection", "host, content-length, b@d"),
            ("x-private", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("te", "trailers"),
            ("keep-alive", "1"),
            ("accept", "*/*"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }
}
