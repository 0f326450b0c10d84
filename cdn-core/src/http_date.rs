//! HTTP dates (RFC 9110 section 5.6.7): [`WallTime`] to text and back.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::WallTime;

/// 9999-12-31T23:59:59Z, the last second that an HTTP date can say.
const LAST_SECOND: i64 = 253_402_300_799;

impl WallTime {
    /// The value of a `Date` header; dates outside 1970 to 9999 become the nearest that can be said.
    pub fn http_date(self) -> HeaderValue {
        let secs = self.unix_secs().clamp(0, LAST_SECOND).unsigned_abs();
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
    }

    /// Reads an HTTP date in any of the three formats. `None` where it is none.
    pub fn from_http_date(value: &HeaderValue) -> Option<Self> {
        let date = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
        let secs = date.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(Self::from_unix_secs(i64::try_from(secs).ok()?))
    }
}

/// The date of the first header of this name. `None` where there is none or it is no date.
pub(crate) fn date_of(headers: &HeaderMap, name: &HeaderName) -> Option<WallTime> {
    headers.get(name).and_then(WallTime::from_http_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_all_three_formats_and_written_in_one() {
        let expected = WallTime::from_unix_secs(784_111_777);
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(WallTime::from_http_date(&HeaderValue::from_static(text)), Some(expected), "{text}");
        }
        assert_eq!(expected.http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in ["0", "-1", "", "Sun, 06 Nov 1994", "soon"] {
            assert_eq!(WallTime::from_http_date(&HeaderValue::from_static(text)), None, "{text}");
        }
    }

    #[test]
    fn dates_that_cannot_be_said_are_clamped() {
        assert_eq!(WallTime::from_unix_secs(-5).http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(WallTime::from_unix_secs(i64::MAX).http_date(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
