//! The admin port of a node: loopback, the cluster's token on every request, and nothing else reaches it.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `routes` to whoever shows `token` until `stop`.
pub(crate) async fn serve(listener: TcpListener, token: String, routes: Router, stop: CancellationToken) {
    let token: Arc<str> = format!("Bearer {token}").into();
    let routes = routes.layer(middleware::from_fn_with_state(token, check_token));
    if let Err(error) =
        axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await
    {
        tracing::error!(%error, "the admin port ended");
    }
}

/// Listens on the admin address.
///
/// # Errors
/// The address is taken.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    use anyhow::Context as _;
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (admin)"))
}

async fn check_token(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    if is_same(shown, token.as_bytes()) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "admin wants the cluster's token\n").into_response()
    }
}

/// Compares without telling by its time where the difference is.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len() && shown.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_the_token() {
        assert!(is_same(b"Bearer abc", b"Bearer abc"));
        assert!(!is_same(b"Bearer abd", b"Bearer abc") && !is_same(b"", b"Bearer abc"));
    }
}
