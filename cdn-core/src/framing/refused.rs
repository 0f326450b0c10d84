//! What a head that was refused says of itself, as far as it can be read: for logs, and for nothing else.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::head::HeadLines;

/// Bytes of a target that are kept; CloudFront's limit of a URL.
const TARGET_BYTES_MAX: usize = 8_192;

/// Lines of headers that are kept.
const LINES_MAX: usize = 100;

/// See the module. Nothing of it may be acted on.
#[derive(Clone, Debug)]
pub struct RefusedHead {
    /// The method; `-` where that is none.
    pub method: Method,
    /// The target; what cannot stand in one is percent-encoded. It has no path where it begins with something else.
    pub target: Uri,
    /// The version; HTTP/1.1 where it is another one or did not come.
    pub version: Version,
    /// Those lines that came whole and are headers.
    pub headers: HeaderMap,
}

impl RefusedHead {
    /// Reads what has come of a head.
    pub fn of(bytes: &[u8]) -> Self {
        let mut lines = HeadLines::of(bytes);
        // Without its end the last line is none to `HeadLines`; a first line may be all that came.
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        lines.next();
        let mut words = line.split(|byte| *byte == b' ');
        let method = words.next().and_then(|word| Method::from_bytes(word).ok());
        let target = words.next().unwrap_or_default();
        let version = if words.next() == Some(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut headers = HeaderMap::new();
        for line in lines.take(LINES_MAX) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = line.split_at(colon);
            let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
                headers.append(name, value);
            }
        }
        Self {
            target: target_of(target.get(..TARGET_BYTES_MAX).unwrap_or(target), method == Some(Method::CONNECT)),
            method: method.unwrap_or_else(|| Method::from_bytes(b"-").unwrap_or_default()),
            version,
            headers,
        }
    }

    /// `Host`, where there is one alone.
    pub fn host(&self) -> Option<&HeaderValue> {
        let mut hosts = self.headers.get_all(header::HOST).iter();
        hosts.next().filter(|_| hosts.next().is_none())
    }
}

fn target_of(bytes: &[u8], is_connect: bool) -> Uri {
    let fine = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if fine(*byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    // One word is an authority to `Uri`, and means nothing without `CONNECT`. An authority has no path, which is what there
    // is to say.
    let uri = Uri::try_from(text).ok().filter(|uri| is_connect || uri.path().starts_with('/'));
    uri.unwrap_or_else(|| Uri::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> (String, String, Option<String>) {
        let head = RefusedHead::of(head.as_bytes());
        let host = head.host().map(|host| host.to_str().unwrap().to_owned());
        (head.method.to_string(), head.target.to_string(), host)
    }

    #[test]
    fn what_came_is_said_and_no_more() {
        let said = |method: &str, target: &str, host: Option<&str>| {
            (method.to_owned(), target.to_owned(), host.map(str::to_owned))
        };
        assert_eq!(read("PUT /a?b HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n"), said("PUT", "/a?b", Some("a")));
        assert_eq!(read("GET /a{ HTTP/1.1\r\nHost: a\r\nHost: b\r\n"), said("GET", "/a%7B", None));
        assert_eq!(read("GET /a/b"), said("GET", "/a/b", None));
        assert_eq!(read("GET /a HTTP/1.1\r\nHost: www.de"), said("GET", "/a", None));
        assert_eq!(read("\u{1}\u{2}\r\n"), said("-", "-", None));
        assert_eq!(read("GET x HTTP/1.1\r\n"), said("GET", "-", None));
        assert_eq!(read("CONNECT a:443 HTTP/1.1\r\n"), said("CONNECT", "a:443", None));
        assert_eq!(read(""), said("-", "-", None));
    }

    #[test]
    fn a_target_that_is_too_long_is_cut() {
        let head = RefusedHead::of(format!("GET /{} HTTP/1.1\r\n", "a".repeat(20_000)).as_bytes());
        assert_eq!(head.target.path().len(), TARGET_BYTES_MAX);
    }
}
