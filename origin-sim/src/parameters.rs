//! What an answer of the simulated origin looks like: parameters, from a query string or from a rule of the config.
//!
//! Both places speak one language (the table is in the crate's documentation). Names that are not ours are left alone in
//! a query, because they belong to whoever wrote the URL, and refused in a rule, where they can only be a typing error.
//! A value that makes no sense is refused in both. Knows nothing of requests, bodies or sockets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;

use crate::glob::PathGlob;

/// The longest delay that a parameter may ask for: one hour.
pub const DELAY_MAX: Duration = Duration::from_secs(3600);
/// The biggest piece that `chunk` may ask for: 1 MiB.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A parameter cannot be what it was set to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: expected {expected}")]
pub struct InvalidParameter {
    /// The parameter.
    pub name: String,
    /// What it was set to.
    pub value: String,
    /// What it could have been.
    pub expected: &'static str,
}

/// Which entity tag an answer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagChoice {
    /// Made from seed, path and size.
    Strong,
    /// The same, marked weak.
    Weak,
    /// No entity tag.
    None,
    /// This text between the quotes.
    Literal(String),
}

/// Parameters of an answer; what was not said stays `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Length of the body in bytes.
    pub size: Option<u64>,
    /// Seed of the body instead of the origin's own: another version of the same path.
    pub seed: Option<u64>,
    /// Status, 200 to 599.
    pub status: Option<StatusCode>,
    /// Content type instead of the one that the extension says.
    pub content_type: Option<HeaderValue>,
    /// `Cache-Control`; `Some(None)` sends none.
    pub cache_control: Option<Option<HeaderValue>>,
    /// `Expires`, in seconds from now (may be negative).
    pub expires_s: Option<i64>,
    /// Entity tag.
    pub etag: Option<TagChoice>,
    /// `Last-Modified`; `Some(None)` sends none.
    pub last_modified: Option<Option<SystemTime>>,
    /// Whether ranges are served.
    pub ranges: Option<bool>,
    /// Whether the body is sent in chunks instead of with a length.
    pub chunked: Option<bool>,
    /// Wait before the answer.
    pub delay: Option<Duration>,
    /// Wait between pieces of the body.
    pub drip: Option<Duration>,
    /// Bytes in a piece of the body, 1 to [`CHUNK_BYTES_MAX`].
    pub chunk_bytes: Option<usize>,
    /// More headers. The first of a name replaces what the answer had, the next ones are added.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Parameters {
    /// Reads the query of a request; names that are not ours are passed over.
    ///
    /// # Errors
    /// The first parameter of ours whose value makes no sense.
    pub fn from_query(query: &str) -> Result<Self, InvalidParameter> {
        let mut parameters = Self::default();
        for (name, value) in pairs(query) {
            parameters.set(&name, &value)?;
        }
        Ok(parameters)
    }

    /// Reads the text of a rule, which looks like a query: `size=10k&max-age=60`.
    ///
    /// # Errors
    /// The first parameter that is unknown or whose value makes no sense.
    pub fn from_rule(text: &str) -> Result<Self, InvalidParameter> {
        let mut parameters = Self::default();
        for (name, value) in pairs(text) {
            if !parameters.set(&name, &value)? {
                let expected = "a known parameter: size, seed, status, type, max-age, cc, expires, etag, \
                                last-modified, ranges, chunked, delay, drip, chunk, header or h.NAME";
                return Err(InvalidParameter { name, value, expected });
            }
        }
        Ok(parameters)
    }

    /// Sets one parameter; false if there is none of this name.
    ///
    /// # Errors
    /// The value makes no sense for the parameter.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, InvalidParameter> {
        let refuse = |expected| InvalidParameter { name: name.into(), value: value.into(), expected };
        let header_value = || HeaderValue::from_str(value).map_err(|_| refuse("a header value"));
        match name {
            "size" => {
                let size = byte_count(value).ok_or_else(|| refuse("a number of bytes such as 300, 10k, 5m or 1g"))?;
                self.size = Some(size);
            }
            "seed" => self.seed = Some(value.parse().map_err(|_| refuse("a whole number"))?),
            "status" => {
                let status = value.parse().ok().filter(|status| (200..600).contains(status));
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                self.status = Some(status.ok_or_else(|| refuse("a status from 200 to 599"))?);
            }
            "type" => self.content_type = Some(header_value()?),
            "max-age" => {
                let seconds: u64 = value.parse().map_err(|_| refuse("seconds"))?;
                self.cache_control = Some(HeaderValue::try_from(format!("max-age={seconds}")).ok());
            }
            "cc" if value == "none" => self.cache_control = Some(None),
            "cc" => self.cache_control = Some(Some(header_value()?)),
            "expires" => self.expires_s = Some(value.parse().map_err(|_| refuse("seconds from now"))?),
            "etag" => self.etag = Some(tag_choice(value).ok_or_else(|| refuse("strong, weak, none or a tag"))?),
            "last-modified" => {
                self.last_modified = Some(moment(value).ok_or_else(|| refuse("none, unix seconds or an HTTP date"))?);
            }
            "ranges" => self.ranges = Some(switch(value).ok_or_else(|| refuse("on or off"))?),
            "chunked" => self.chunked = Some(switch(value).ok_or_else(|| refuse("on or off"))?),
            "delay" => self.delay = Some(delay(value).ok_or_else(|| refuse(DELAY_EXPECTED))?),
            "drip" => self.drip = Some(delay(value).ok_or_else(|| refuse(DELAY_EXPECTED))?),
            "chunk" => {
                let bytes = byte_count(value).and_then(|bytes| usize::try_from(bytes).ok());
                let bytes = bytes.filter(|bytes| (1..=CHUNK_BYTES_MAX).contains(bytes));
                self.chunk_bytes = Some(bytes.ok_or_else(|| refuse("a number of bytes from 1 to 1m"))?);
            }
            "header" => {
                let (name, value) = value.split_once(':').ok_or_else(|| refuse("NAME:VALUE"))?;
                self.headers.push(header_line(name.trim(), value.trim()).ok_or_else(|| refuse(HEADER_EXPECTED))?);
            }
            _ => {
                let Some(name) = name.strip_prefix("h.") else { return Ok(false) };
                self.headers.push(header_line(name, value).ok_or_else(|| refuse(HEADER_EXPECTED))?);
            }
        }
        Ok(true)
    }

    /// What `over` says, and for the rest what `self` says. Headers of `over` come after those of `self`.
    #[must_use]
    pub fn overlaid(self, over: Self) -> Self {
        let mut headers = self.headers;
        headers.retain(|(name, _)| over.headers.iter().all(|(other, _)| other != name));
        headers.extend(over.headers);
        Self {
            size: over.size.or(self.size),
            seed: over.seed.or(self.seed),
            status: over.status.or(self.status),
            content_type: over.content_type.or(self.content_type),
            cache_control: over.cache_control.or(self.cache_control),
            expires_s: over.expires_s.or(self.expires_s),
            etag: over.etag.or(self.etag),
            last_modified: over.last_modified.or(self.last_modified),
            ranges: over.ranges.or(self.ranges),
            chunked: over.chunked.or(self.chunked),
            delay: over.delay.or(self.delay),
            drip: over.drip.or(self.drip),
            chunk_bytes: over.chunk_bytes.or(self.chunk_bytes),
            headers,
        }
    }
}

/// A rule of the config: for these paths, these parameters. The first rule that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which paths.
    pub path: PathGlob,
    /// How their answers look where the request does not say otherwise.
    pub parameters: Parameters,
}

impl Rule {
    /// A rule for `path` from text as [`Parameters::from_rule`] reads it.
    ///
    /// # Errors
    /// The first parameter that is unknown or whose value makes no sense.
    pub fn parse(path: &str, parameters: &str) -> Result<Self, InvalidParameter> {
        Ok(Self { path: PathGlob::new(path), parameters: Parameters::from_rule(parameters)? })
    }
}

const DELAY_EXPECTED: &str = "a time up to 1h such as 250ms, 2s or 1m";
const HEADER_EXPECTED: &str =
    "a header that does not frame the message (Content-Length and Transfer-Encoding are ours)";

/// A number of bytes: digits and optionally `k`, `m`, `g` or `t` (powers of 1024; `kb` and `KiB` mean the same).
pub(crate) fn byte_count(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    // Half the range is kept free, so that sums of two lengths cannot overflow.
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|&bytes| bytes <= i64::MAX as u64)
}

/// A time: a number (decimals allowed) and `us`, `ms`, `s`, `m` or `h`; `0` needs no unit.
fn delay(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let unit_s = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if number == 0.0 => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit_s).ok().filter(|&delay| delay <= DELAY_MAX)
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "on" | "true" | "yes" | "1" | "" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn tag_choice(text: &str) -> Option<TagChoice> {
    match text {
        "strong" => Some(TagChoice::Strong),
        "weak" => Some(TagChoice::Weak),
        "none" => Some(TagChoice::None),
        // etagc of RFC 9110 section 8.8.3: visible ASCII without the quote.
        _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') => {
            Some(TagChoice::Literal(text.into()))
        }
        _ => None,
    }
}

fn moment(text: &str) -> Option<Option<SystemTime>> {
    if text == "none" {
        return Some(None);
    }
    // The last second that an HTTP date can name is the end of the year 9999.
    const LAST_S: u64 = 253_402_300_799;
    match text.parse::<u64>() {
        Ok(seconds) if seconds <= LAST_S => Some(UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        Ok(_) => None,
        Err(_) => httpdate::parse_http_date(text).ok().map(Some),
    }
}

fn header_line(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TE];
    if framing.contains(&name) {
        return None;
    }
    Some((name, HeaderValue::from_str(value).ok()?))
}

/// The names and values of a query, percent-decoded, `+` as a space.
fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sets_what_it_names_and_leaves_the_rest_alone() {
        let query = "size=10k&v=3&status=503&delay=1.5s&h.X-A=1&header=x-b:+two&max-age=5&chunked=on&etag=weak";
        let parameters = Parameters::from_query(query).unwrap();
        assert_eq!(parameters.size, Some(10_240));
        assert_eq!(parameters.status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(parameters.delay, Some(Duration::from_millis(1500)));
        assert_eq!(parameters.cache_control, Some(Some(HeaderValue::from_static("max-age=5"))));
        assert_eq!(parameters.etag, Some(TagChoice::Weak));
        assert_eq!(parameters.chunked, Some(true));
        assert_eq!(parameters.ranges, None);
        let headers: Vec<_> = parameters.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(headers, [("x-a", "1"), ("x-b", "two")]);
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_by_name() {
        for wrong in [
            "size=big",
            "size=-1",
            "size=99999999999g",
            "status=100",
            "status=600",
            "status=x",
            "delay=5",
            "delay=2h",
            "delay=NaNs",
            "drip=1e9s",
            "chunk=0",
            "chunk=2m",
            "ranges=maybe",
            "header=nocolon",
            "h.content-length=3",
            "header=Transfer-Encoding:chunked",
            "h.bad%20name=1",
            "h.x=%0d%0aset-cookie:a",
            "etag=%22",
            "max-age=-1",
            "last-modified=yesterday",
            "last-modified=99999999999999",
            "cc=%0a",
            "seed=x",
            "delay=.s",
            "delay=1.2.3s",
        ] {
            let name = wrong.split('=').next().unwrap();
            assert_eq!(
                Parameters::from_query(wrong).map_err(|error| error.name).err().as_deref(),
                Some(percent_decode_str(name).decode_utf8_lossy().as_ref()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_rule_refuses_names_that_a_query_passes_over() {
        assert_eq!(Parameters::from_query("sise=3"), Ok(Parameters::default()));
        assert!(Rule::parse("/x*", "sise=3").is_err());
        assert_eq!(Rule::parse("/x*", "size=3").unwrap().parameters.size, Some(3));
    }

    #[test]
    fn the_later_layer_wins_and_headers_are_replaced_by_name() {
        let below = Parameters::from_rule("size=1&cc=none&h.a=1&h.b=1").unwrap();
        let above = Parameters::from_rule("size=2&h.a=2&h.a=3").unwrap();
        let both = below.overlaid(above);
        assert_eq!((both.size, both.cache_control), (Some(2), Some(None)));
        let headers: Vec<_> = both.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(headers, [("b", "1"), ("a", "2"), ("a", "3")]);
    }
}
