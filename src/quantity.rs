//! Durations, byte counts, shares and link delays as people write them: `250ms`, `2s`, `1m`, `64MiB`, `5%`, `+80ms`.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidQuantity(String);

impl fmt::Display for InvalidQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidQuantity {}

/// A span of time: a number and one of `us`, `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || InvalidQuantity(format!("{text:?} is not a duration; write 250ms, 2s or 1m"));
        let body = text.trim().strip_prefix('+').unwrap_or_else(|| text.trim());
        let unit_at = body.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(refuse)?;
        let (number, unit) = body.split_at(unit_at);
        let number: f64 = number.trim().parse().map_err(|_| refuse())?;
        let seconds = number
            * match unit {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(refuse()),
            };
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.write_str("0s"),
            n if n % 86_400_000_000_000 == 0 => write!(f, "{}d", n / 86_400_000_000_000),
            n if n % 60_000_000_000 == 0 => write!(f, "{}m", n / 60_000_000_000),
            n if n % 1_000_000_000 == 0 => write!(f, "{}s", n / 1_000_000_000),
            n if n % 1_000_000 == 0 => write!(f, "{}ms", n / 1_000_000),
            _ => write!(f, "{}us", self.0.as_micros()),
        }
    }
}

/// A number of bytes: a number and nothing, `B`, `k`, `KB`, `KiB`, `M`, `MB`, `MiB`, `G`, `GB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub(crate) struct ByteCount(pub(crate) u64);

impl FromStr for ByteCount {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || InvalidQuantity(format!("{text:?} is not a byte count; write 64KiB, 10MB or 1GiB"));
        let body = text.trim();
        let unit_at = body.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(body.len());
        let (number, unit) = body.split_at(unit_at);
        let number: f64 = number.trim().parse().map_err(|_| refuse())?;
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "kib" => 1024.0,
            "m" | "mb" => 1e6,
            "mib" => 1024.0 * 1024.0,
            "g" | "gb" => 1e9,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(refuse()),
        };
        let bytes = number * scale;
        if bytes.is_finite() && (0.0..9e18).contains(&bytes) { Ok(Self(bytes as u64)) } else { Err(refuse()) }
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A share from 0 to 1, also written `5%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Share(pub(crate) f64);

impl FromStr for Share {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refuse = || InvalidQuantity(format!("{text:?} is not a share; write 30% or 0.3"));
        let share = match text.trim().strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map_err(|_| refuse())? / 100.0,
            None => text.trim().parse::<f64>().map_err(|_| refuse())?,
        };
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(refuse()) }
    }
}

macro_rules! text_conversions {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = InvalidQuantity;

            fn try_from(text: String) -> Result<Self, InvalidQuantity> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(quantity: $type) -> Self {
                quantity.to_string()
            }
        }
    )*};
}

text_conversions!(Span, ByteCount);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_what_people_write() {
        for (text, expected) in [
            ("250ms", Duration::from_millis(250)),
            ("+80ms", Duration::from_millis(80)),
            ("1.5s", Duration::from_millis(1500)),
            ("2m", Duration::from_secs(120)),
            ("1h", Duration::from_secs(3600)),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().0, expected, "{text}");
        }
        for wrong in ["", "5", "s", "-1s", "5 parsecs", "1e400s", "nans"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn quantities_print_what_reads_back() {
        for text in ["0s", "250ms", "2s", "3m", "17us"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["64KiB", "3MiB", "1GiB", "1000"] {
            assert_eq!(text.parse::<ByteCount>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn shares_are_between_nothing_and_all() {
        assert_eq!("30%".parse::<Share>().unwrap().0, 0.3);
        assert_eq!("0.25".parse::<Share>().unwrap().0, 0.25);
        for wrong in ["101%", "-1", "x", "nan"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
