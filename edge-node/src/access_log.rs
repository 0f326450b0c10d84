//! One line per request: target `access`, level `INFO`. For people and tests, or as CloudFront's standard log
//! ([`cdn_core::standard_log`]), which whoever keeps the log takes out of it by [`STANDARD_LINE`]. Beside it a distribution may
//! have a real-time log ([`cdn_core::realtime_log`]), whose records begin with [`REALTIME_LINE`].
//!
//! Nothing is gathered unless somebody listens.

mod format;
mod writer;

use std::{borrow::Cow, sync::Arc, time::Duration};

use cdn_core::{
    Instant, Reason,
    realtime_log::{More, RealtimeLog},
    standard_log::{self, Answered, Asked, Ended, Ending, LogStyle},
};
use http::{HeaderValue, Method, StatusCode, Uri};

pub use self::{
    format::LogFormat,
    writer::{LineWriter, LogWriter},
};
use crate::clock::{Clock, WallClock};

/// What lines of the access log come from.
const TARGET: &str = "access";

/// The field of an event whose value is the whole line.
const STANDARD: &str = "standard";

/// The field of an event whose value is a record of a real-time log.
const REALTIME: &str = "realtime";

/// Stands before each line of a standard log among other lines of a node's log, which never begin so: a record separator.
pub const STANDARD_LINE: char = '\u{1e}';

/// Stands before each record of a real-time log, which says the distribution's id before its fields: a group separator.
pub const REALTIME_LINE: char = '\u{1d}';

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
    /// `None` until the head of a response leaves.
    pub(crate) status: Option<StatusCode>,
    pub(crate) x_cache: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) request_id: HeaderValue,
    pub(crate) standard: Option<Box<Standard>>,
}

/// What standard logs and real-time logs want to know beyond that.
#[derive(Debug)]
pub(crate) struct Standard {
    pub(crate) style: LogStyle,
    /// What the node takes for the date.
    pub(crate) wall: WallClock,
    /// `X-Amz-Cf-Pop`.
    pub(crate) location: HeaderValue,
    pub(crate) asked: Asked,
    /// `None` until the head of the response leaves.
    pub(crate) answered: Option<Answered>,
    /// What a real-time log would say besides; `None` where no distribution has one.
    pub(crate) more: Option<More>,
    /// The log of the distribution that answers.
    pub(crate) realtime: Option<Arc<RealtimeLog>>,
}

impl Entry {
    /// Whether lines are wanted at all.
    pub(crate) fn is_wanted() -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }

    /// Writes the line, once the last byte has left or the viewer has.
    pub(crate) fn write(&self, bytes: u64, ending: Ending) {
        let took = self.clock.now() - self.began;
        match &self.standard {
            None => self.write_after(took, bytes),
            Some(standard) => {
                let location = &*text(&standard.location);
                let ended = Ended { at: standard.wall.now(), took, body_bytes: bytes, ending, location };
                let Some(answered) = &standard.answered else { return };
                match standard_log::line(standard.style, &standard.asked, answered, &ended) {
                    Some(line) => tracing::info!(target: TARGET, standard = &*line),
                    None => self.write_after(took, bytes),
                }
                if let (Some(log), Some(more)) = (&standard.realtime, &standard.more)
                    && log.samples(self.request_id.as_bytes())
                {
                    let record = log.record(more, &standard.asked, answered, &ended);
                    tracing::info!(target: TARGET, realtime = &*format!("{}\t{record}", more.distribution));
                }
            }
        }
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
            status = self.status.map_or(0, |status| status.as_u16()),
            x_cache = self.x_cache,
            reason = self.reason,
            duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
            bytes,
            id = &*text(&self.request_id),
        );
    }
}

/// The line of a request that is being answered. Where nobody answers it, because the viewer has left, there is one all the
/// same once it is owed.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) entry: Option<Box<Entry>>,
    pub(crate) is_owed: bool,
    /// Of the distribution, for a standard log.
    pub(crate) domain: Option<String>,
}

impl Line {
    /// One that is not owed yet.
    pub(crate) const fn new(entry: Option<Box<Entry>>) -> Self {
        Self { entry, is_owed: false, domain: None }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(mut entry) = self.entry.take().filter(|_| self.is_owed) else { return };
        entry.reason = Reason::ClientGone.as_str();
        if let Some(standard) = &mut entry.standard {
            let request_id = text(&entry.request_id).into_owned();
            standard.answered = Some(Answered::nothing(request_id, self.domain.take()));
        }
        entry.write(0, Ending::ViewerLeft);
    }
}

/// A value as text; bytes that are none are replaced.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    // The lossy reading takes its time, also where nothing is lost.
    std::str::from_utf8(value.as_bytes()).map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}
