//! How figures, times and expectations read.

use std::{fmt, time::Duration};

use crate::scenario::{Area, Expectation, Unit};

/// A time of the timeline: `0:26`, `1:02:03`.
pub fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{seconds:02}") } else { format!("{hours}:{minutes:02}:{seconds:02}") }
}

/// A count with a thin gap between thousands: `14 900`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A figure in its unit: `99.97 %`, `71 ms`, `9.2 s`, `118`.
pub fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => share(value),
        Unit::Seconds => seconds(value),
        Unit::Count | Unit::PerSecond if value.fract() == 0.0 && value >= 0.0 => count(value as u64),
        Unit::Count | Unit::PerSecond => format!("{value}"),
    }
}

/// Percent with as many digits as it takes to tell it from all and from nothing.
fn share(value: f64) -> String {
    let percent = value * 100.0;
    let digits = (2..=6).find(|&digits| {
        let shown: f64 = format!("{percent:.digits$}").parse().unwrap_or(percent);
        (shown != 100.0 || value == 1.0) && (shown != 0.0 || value == 0.0)
    });
    let text = format!("{percent:.*}", digits.unwrap_or(6));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

fn seconds(value: f64) -> String {
    let trimmed = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if value == 0.0 {
        "0 s".to_owned()
    } else if value.abs() < 0.0995 {
        format!("{} ms", trimmed(format!("{:.1}", value * 1e3)))
    } else if value.abs() < 0.9995 {
        format!("{:.0} ms", value * 1e3)
    } else {
        format!("{} s", trimmed(format!("{value:.2}")))
    }
}

impl fmt::Display for Area {
    /// Nothing for the whole world.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => Ok(()),
            Self::Continent(continent) => f.write_str(continent.name()),
            Self::Country(country) => write!(f, "{country}"),
            Self::Place(site) => write!(f, "{site}"),
        }
    }
}

impl fmt::Display for Expectation {
    /// `p95 Europe ≤ 120 ms after 0:40`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if self.from != Area::World {
            write!(f, " {}", self.from)?;
        }
        if let Some(pop) = &self.pop {
            write!(f, " {}", pop.lower())?;
        }
        if let Some(node) = &self.node {
            write!(f, " {node}")?;
        }
        let unit = self.what.unit();
        for (sign, bound) in [("=", self.equals), ("≥", self.min), ("≤", self.max)] {
            if let Some(bound) = bound {
                write!(f, " {sign} {}", figure(bound, unit))?;
            }
        }
        match (self.after, self.before) {
            (Duration::ZERO, None) => Ok(()),
            (after, None) => write!(f, " after {}", clock(after)),
            (Duration::ZERO, Some(before)) => write!(f, " before {}", clock(before)),
            (after, Some(before)) => write!(f, " {}–{}", clock(after), clock(before)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_say_them() {
        for (value, unit, text) in [
            (0.9997, Unit::Share, "99.97 %"),
            (1.0, Unit::Share, "100 %"),
            (0.999_999, Unit::Share, "99.9999 %"),
            (0.5, Unit::Share, "50 %"),
            (0.0, Unit::Share, "0 %"),
            (0.0713, Unit::Seconds, "71.3 ms"),
            (0.120, Unit::Seconds, "120 ms"),
            (9.0, Unit::Seconds, "9 s"),
            (9.25, Unit::Seconds, "9.25 s"),
            (14_900.0, Unit::Count, "14 900"),
            (118.0, Unit::PerSecond, "118"),
        ] {
            assert_eq!(figure(value, unit), text, "{value}");
        }
        assert_eq!(clock(Duration::from_secs(26)), "0:26");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
