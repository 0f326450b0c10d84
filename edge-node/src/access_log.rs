//! One line per request, for people and for tests: target `access`, level `INFO`.
//!
//! Nothing is gathered unless somebody listens.

use std::sync::Arc;

use cdn_core::Instant;
use http::{Method, StatusCode, Uri};

use crate::clock::Clock;

/// What is known when the head of a response is sent; written when its last byte is.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) node: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) began: Instant,
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) uri: Uri,
    pub(crate) client: std::net::IpAddr,
    pub(crate) status: StatusCode,
    pub(crate) x_cache: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) request_id: String,
}

impl Entry {
    /// Whether lines are wanted at all.
    pub(crate) fn is_wanted() -> bool {
        tracing::enabled!(target: "access", tracing::Level::INFO)
    }

    pub(crate) fn write(&self, bytes: u64) {
        let took = self.clock.now() - self.began;
        tracing::info!(
            target: "access",
            node = &*self.node,
            client = %self.client,
            method = %self.method,
            host = self.host,
            path = self.uri.path(),
            query = self.uri.query(),
            status = self.status.as_u16(),
            x_cache = self.x_cache,
            reason = self.reason,
            duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
            bytes,
            id = self.request_id,
        );
    }
}
