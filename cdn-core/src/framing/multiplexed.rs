//! What the headers of an HTTP/3 request may not say (RFC 9114 sections 4.1.2 and 4.2).
//!
//! Its library leaves this to whoever uses it; that of HTTP/2 sees to the same by itself.

use http::{HeaderMap, HeaderName, header};

/// Concern a connection, of which requests of HTTP/3 say nothing.
const OF_CONNECTIONS: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A request that is to be treated as malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// How long the body is that belongs to `headers`; `None` where they do not say.
///
/// # Errors
/// [`Malformed`] where they speak of a connection, or of the length otherwise than once and in digits.
pub fn body_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    if OF_CONNECTIONS.iter().any(|name| headers.contains_key(name))
        || headers.get_all(header::TE).iter().any(|te| te != "trailers")
    {
        return Err(Malformed);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed)?;
    if lengths.next().is_some() { Err(Malformed) } else { Ok(Some(length)) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(lines: &[(&str, &str)]) -> Result<Option<u64>, Malformed> {
        let line = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        body_length(&lines.iter().map(line).collect())
    }

    #[test]
    fn a_length_is_said_once_and_in_digits() {
        assert_eq!(check(&[]), Ok(None));
        assert_eq!(check(&[("content-length", "12")]), Ok(Some(12)));
        for length in ["", "+1", "1, 1", "-1", "0x1", "18446744073709551616"] {
            assert_eq!(check(&[("content-length", length)]), Err(Malformed), "{length:?}");
        }
        assert_eq!(check(&[("content-length", "1"), ("content-length", "1")]), Err(Malformed));
    }

    #[test]
    fn nothing_is_said_of_connections() {
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            assert_eq!(check(&[(name, "close")]), Err(Malformed), "{name}");
        }
        assert_eq!(check(&[("te", "gzip")]), Err(Malformed));
        assert_eq!(check(&[("te", "trailers")]), Ok(None));
    }
}
