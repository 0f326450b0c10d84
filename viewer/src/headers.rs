//! Which headers end at this hop.
//!
//! RFC 9110 section 7.6.1. Everything else passes as it came: this proxy stands for the viewer's own machine, so it adds
//! no `Via`, and a `Host` that differs from the URL is left as the client sent it, because a client without a proxy
//! could send it too.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Never forwarded, whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Never taken out because `Connection` names them: they say where the message goes and where it ends.
const END_TO_END: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// The protocol that the message offers or has switched to, when `Connection` says so (RFC 9110 section 7.8). An offer
/// of `h2c` is none: it came with settings for this hop only, and RFC 9113 section 3.1 has given it up.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = connection_tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let is_h2c = |protocol: &HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    headers.get(header::UPGRADE).filter(|protocol| offered && !is_h2c(protocol)).cloned()
}

/// Takes out what ends at this hop.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_tokens(headers)
        .filter_map(|token| token.parse().ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Puts an upgrade back that [`strip_hop_by_hop`] took out: it is meant for the next hop too.
pub(crate) fn restore_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_what_ends_at_this_hop_is_taken_out() {
        let mut map = headers(&[
            ("host", "www.demo.test"),
            ("connection", "keep-alive, X-Own , host"),
            ("x-own", "1"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("content-length", "3"),
            ("via", "1.1 other"),
        ]);
        strip_hop_by_hop(&mut map);
        let left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["host", "content-length", "via"]);
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_names_it() {
        let offered = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&offered).unwrap(), "websocket");
        assert!(upgrade(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&headers(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")])).is_none());
    }
}
