//! The dashboard: four files that are part of the program, and the headers that keep them to themselves.
//!
//! Knows nothing of what the page shows; `access.rs` decides whether it is handed the token.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};

use crate::{
    access::{self, Peer},
    plane::Plane,
};

const PAGE: &str = include_str!("../web/index.html");
const SCRIPT: &str = include_str!("../web/dashboard.js");
const STYLE: &str = include_str!("../web/dashboard.css");
/// The world's land as SVG, equirectangular in degrees: x is longitude + 180, y is 90 - latitude; its path has the id `land`.
pub const LAND: &str = include_str!("../web/land.svg");

/// Where the token goes in [`PAGE`].
const TOKEN_SLOT: &str = "<meta name=\"iso-token\" content=\"\">";

/// Nothing but what this program serves itself, in no frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                                       connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn handle_page(
    State(plane): State<Arc<Plane>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let peer = peer.map(|Extension(peer)| peer);
    let page = if access::signs_in(&plane, &headers, peer) {
        let token = escape(&plane.config.token);
        PAGE.replace(TOKEN_SLOT, &format!("<meta name=\"iso-token\" content=\"{token}\">"))
    } else {
        PAGE.to_owned()
    };
    asset("text/html; charset=utf-8", page)
}

pub(crate) async fn handle_script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

pub(crate) async fn handle_style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn handle_land() -> Response {
    asset("image/svg+xml", LAND)
}

fn asset(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let isolation = [("cross-origin-resource-policy", "same-origin"), ("cross-origin-opener-policy", "same-origin")];
    // The body's own content type is replaced, not added to.
    (isolation, headers, body).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_the_token_and_nothing_from_elsewhere() {
        assert_eq!(PAGE.matches(TOKEN_SLOT).count(), 1);
        for (name, text) in [("page", PAGE), ("script", SCRIPT), ("style", STYLE)] {
            let foreign = text.replace("http://www.w3.org/", "");
            assert!(
                !foreign.contains("//cdn") && !foreign.contains("http:/") && !foreign.contains("https:/"),
                "{name}"
            );
        }
        assert!(!PAGE.contains("<script>") && !PAGE.contains(" style=") && !PAGE.contains(" onclick="));
    }

    #[test]
    fn a_token_cannot_leave_its_attribute() {
        assert_eq!(escape("a\"><script>&"), "a&quot;&gt;&lt;script&gt;&amp;");
    }
}
