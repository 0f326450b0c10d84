//! A lifetime where nobody said one (RFC 9111 section 4.2.2).

use std::time::Duration;

use http::StatusCode;

use super::Said;
use crate::WallTime;

/// Share of the time since the last change for which a response counts as fresh, as the RFC suggests: one in ten.
const SHARE: u32 = 10;

/// However old a document is, nobody promised that it does not change: one day at most.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);

/// Whether a response with this status may be stored without an explicit lifetime (RFC 9110 section 15.1).
pub(super) const fn allows(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// A tenth of the time from `Last-Modified` to `Date` (or arrival); zero where nothing is known.
pub(super) fn lifetime(said: &Said, arrived: WallTime) -> Duration {
    let Some(modified) = said.modified else { return Duration::ZERO };
    let sent = said.sent.unwrap_or(arrived);
    (sent.saturating_since(modified) / SHARE).min(LIFETIME_MAX)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};

    use super::*;
    use crate::distribution::CachingRules;

    fn lifetime(headers: &HeaderMap, arrived: WallTime) -> Duration {
        super::lifetime(&Said::of(headers, CachingRules::Origin), arrived)
    }

    #[test]
    fn a_tenth_of_the_time_since_the_last_change_and_a_day_at_most() {
        let now = WallTime::from_unix_secs(1_800_000_000);
        let secs = |before: i64| {
            let modified = WallTime::from_unix_secs(now.unix_secs() - before).http_date();
            lifetime(&HeaderMap::from_iter([(header::LAST_MODIFIED, modified)]), now).as_secs()
        };
        assert_eq!([secs(100), secs(86_400), secs(100_000_000), secs(-100)], [10, 8_640, 86_400, 0]);
        assert_eq!(lifetime(&HeaderMap::new(), now), Duration::ZERO);
    }
}
