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

    /// Reads an HTTP date in any of the three formats. `None` where it is none. Case does not matter, and a weekday that
    /// is not the date's own says nothing (RFC 9110 section 5.6.7 wants recipients to be robust).
    pub fn from_http_date(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?.trim();
        strictly(text).or_else(|| leniently(text))
    }
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn strictly(text: &str) -> Option<WallTime> {
    let secs = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(WallTime::from_unix_secs(i64::try_from(secs).ok()?))
}

/// The same date in the case and with the weekday that it should have.
fn leniently(text: &str) -> Option<WallTime> {
    // The longest date is shorter than this, and what is no date should cost little.
    if text.len() > 40 || !text.ends_with(|end: char| end.is_ascii_alphanumeric()) {
        return None;
    }
    let mut cased = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        cased.push(if inside { character.to_ascii_lowercase() } else { character.to_ascii_uppercase() });
        inside = character.is_ascii_alphabetic();
    }
    if cased.ends_with(" Gmt") {
        cased.truncate(cased.len() - 3);
        cased.push_str("GMT");
    }
    let end = cased.find(|character: char| !character.is_ascii_alphabetic())?;
    let (weekday, rest) = cased.split_at(end);
    let written = WEEKDAYS.iter().find(|name| **name == weekday || name.get(..3) == Some(weekday))?;
    let long = written.len() == weekday.len();
    WEEKDAYS.iter().find_map(|name| {
        let name = if long { name } else { name.get(..3)? };
        strictly(&format!("{name}{rest}"))
    })
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
        for text in [
            "SUN, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 gMT",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "friday, 06-nov-94 08:49:37 gmt",
            "Mon Nov  6 08:49:37 1994",
        ] {
            assert_eq!(WallTime::from_http_date(&HeaderValue::from_static(text)), Some(expected), "{text}");
        }
        for text in [
            "0",
            "-1",
            "",
            "Sun, 06 Nov 1994",
            "soon",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Someday, 18 Aug 2050 02:01:18 GMT",
            "Thu, 31 Feb 2050 02:01:18 GMT",
        ] {
            assert_eq!(WallTime::from_http_date(&HeaderValue::from_static(text)), None, "{text}");
        }
    }

    #[test]
    fn dates_that_cannot_be_said_are_clamped() {
        assert_eq!(WallTime::from_unix_secs(-5).http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(WallTime::from_unix_secs(i64::MAX).http_date(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
