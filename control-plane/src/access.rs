//! Who may do what: the cluster's token on every route of the API, and when the dashboard is handed it.
//!
//! A browser on this machine may be led by a hostile name that resolves to loopback (DNS rebinding): the page then has
//! that name as `Host` and gets no token. No CORS header is ever sent, so no other page can read this API.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cdn_core::Counter;
use http::{HeaderMap, header};

use crate::{plane::Plane, respond::Refusal};

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Lets a request through if it has the cluster's token.
pub(crate) async fn require_token(State(plane): State<Arc<Plane>>, request: Request, next: Next) -> Response {
    let given = bearer(request.headers());
    if given.is_some_and(|given| same(given, plane.config.token.as_bytes())) {
        return next.run(request).await;
    }
    plane.counters.bump(Counter::ControlUnauthorized);
    Refusal::Unauthorized { given: given.is_some() }.into_response()
}

/// Whether the dashboard, asked for like this, is handed the token.
///
/// The peer must be this machine's own 127.0.0.1 or ::1: nodes and viewers of the world use other loopback addresses.
pub(crate) fn signs_in(plane: &Plane, headers: &HeaderMap, peer: Option<Peer>) -> bool {
    let from_here = peer.is_some_and(|Peer(peer)| {
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].contains(&peer.ip().to_canonical())
    });
    let mut hosts = headers.get_all(header::HOST).iter();
    let host_is_ours = match (hosts.next(), hosts.next()) {
        (Some(host), None) => ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|name| host.as_bytes().eq_ignore_ascii_case(format!("{name}:{}", plane.port).as_bytes())),
        _ => false,
    };
    // Browsers say what they want a page for; frames, scripts and images are not somebody opening it.
    let is_opened = headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document");
    let signs_in = from_here && host_is_ours && is_opened;
    if !signs_in {
        plane.counters.bump(Counter::ControlHostRejected);
    }
    signs_in && plane.config.dashboard_signs_in
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that depends on the lengths only, so that a token cannot be guessed byte by byte.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    if given.len() != wanted.len() {
        return false;
    }
    let differs = given.iter().zip(wanted).fold(0, |differs, (a, b)| black_box(differs | (a ^ b)));
    black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(same(b"0123456789abcdef", b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdeg", b"0123456789abcdef0", b"1123456789abcdef"] {
            assert!(!same(wrong, b"0123456789abcdef"));
        }
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(with("bearer  abc "), Some(b"abc".to_vec()));
        for wrong in ["Basic abc", "Bearer", "Bearerabc", ""] {
            assert_eq!(with(wrong), None, "{wrong}");
        }
    }
}
