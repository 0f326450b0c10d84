//! One line per request, for people and for tests: target `access`, level `INFO`.
//!
//! Nothing is gathered unless somebody listens.

mod format;
mod writer;

use std::{borrow::Cow, sync::Arc, time::Duration};

use cdn_core::Instant;
use http::{HeaderValue, Method, StatusCode, Uri};

pub use self::{
    format::LogFormat,
    writer::{LineWriter, LogWriter},
};
use crate::clock::Clock;

/// What lines of the access log come from.
const TARGET: &str = "access";

/// What is known when the head of a response is sent; written when its last byte is.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) node: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) began: Instant,
    pub(crate) method: Method,
    pub(crate) host: HeaderValue,
    pub(crate) uri: Uri,
    pub(crate) client: std::net::IpAddr,
    pub(crate) status: StatusCode,
    pub(crate) x_cache: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) request_id: HeaderValue,
}

impl Entry {
    /// Whether lines are wanted at all.
    pub(crate) fn is_wanted() -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }

    pub(crate) fn write(&self, bytes: u64) {
        self.write_after(self.clock.now() - self.began, bytes);
    }

    fn write_after(&self, took: Duration, bytes: u64) {
        tracing::info!(
            target: TARGET,
            node = &*self.node,
            client = %self.client,
            method = %self.method,
            host = &*text(&self.host),
            path = self.uri.path(),
            query = self.uri.query(),
            status = self.status.as_u16(),
            x_cache = self.x_cache,
            reason = self.reason,
            duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
            bytes,
            id = &*text(&self.request_id),
        );
    }
}

/// A value as text; bytes that are none are replaced.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    // The lossy reading takes its time, also where nothing is lost.
    std::str::from_utf8(value.as_bytes()).map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}
