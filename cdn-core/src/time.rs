//! Time as an argument: [`Instant`] since the run began, [`WallTime`] for HTTP dates and signatures.
//!
//! Spans are std's `Duration`. The shell turns the machine's clocks into these in one place per node.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// A moment, in nanoseconds since the run began. Never goes back.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment the run began.
    pub const ZERO: Self = Self(0);
    /// Later than every moment of a run (584 years).
    pub const MAX: Self = Self(u64::MAX);

    /// `nanos` nanoseconds after the run began.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the run began.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` lies later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::MAX`].
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::ZERO`].
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The same as [`Instant::saturating_since`].
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// A date of the calendar, in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i128);

impl WallTime {
    /// `secs` seconds after (before, when negative) the Unix epoch.
    pub const fn from_unix_secs(secs: i64) -> Self {
        Self(secs as i128 * 1_000_000_000)
    }

    /// `nanos` nanoseconds after the Unix epoch.
    pub const fn from_unix_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn unix_nanos(self) -> i128 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000) as i64
    }

    /// Date and time of day in the Gregorian calendar, in UTC.
    pub fn civil(self) -> Civil {
        let seconds = self.unix_secs();
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400).unsigned_abs());
        let (year, month, day) = date_of(days);
        let micros = (self.0.rem_euclid(1_000_000_000) / 1_000) as u64;
        Civil { year, month, day, hour: second / 3_600, minute: second / 60 % 60, second: second % 60, micros }
    }

    /// Reads `YYYYMMDDhhmmss`, the calendar of DNSSEC (RFC 4034 section 3.2) and, around its `T` and `Z`, of ISO 8601's basic
    /// format; a second may be a leap second, a month has 31 days. `None` for whatever else it is.
    pub fn from_basic(text: &str) -> Option<Self> {
        if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = |range| text.get(range).and_then(|digits: &str| digits.parse::<i64>().ok());
        let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
        let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
        let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
        fits.then(|| Self::from_unix_secs(days_of(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second))
    }

    /// Time since `earlier`; zero if `earlier` lies later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let nanos = (self.0 - earlier.0).max(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A [`WallTime`] as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// Microseconds of the second.
    pub micros: u64,
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar; days before are taken for it.
fn date_of(days: i64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, a leap day is the last of its year, and eras of 400 years are alike
    // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
    let days = days.max(0).unsigned_abs() + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, years) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + years, month, day)
}

/// The day since 1970-01-01 of a date in the Gregorian calendar, counted as in [`date_of`] (there: `days_from_civil`).
const fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + 365 * year + year / 4 - year / 100 + day - 719_468
}

impl Add<Duration> for WallTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0 + i128::try_from(span.as_nanos()).unwrap_or(i128::MAX / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_at_both_ends() {
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::MAX + Duration::from_secs(1), Instant::MAX);
        assert_eq!(Instant::ZERO - Instant::MAX, Duration::ZERO);
    }

    #[test]
    fn wall_time_rounds_down_before_the_epoch() {
        assert_eq!(WallTime::from_unix_nanos(-1).unix_secs(), -1);
    }

    #[test]
    fn a_date_is_read_as_it_is_written() {
        for (text, secs) in [
            ("19700101000000", Some(0)),
            ("20000229120000", Some(951_825_600)),
            ("20381231235959", Some(2_177_452_799)),
            ("20150830123600", Some(1_440_938_160)),
            ("20261301000000", None),
            ("20260101240000", None),
            ("2026-01-01-000", None),
            ("2026010100000", None),
        ] {
            assert_eq!(WallTime::from_basic(text).map(WallTime::unix_secs), secs, "{text}");
        }
        for day in (0..40_000).step_by(7) {
            let (year, month, day_of_month) = date_of(day);
            assert_eq!(days_of(year as i64, month as i64, day_of_month as i64), day);
        }
    }
}
