//! Whether the head of an HTTP/1.1 request is beyond doubt, and how its body is framed (RFC 9112).
//!
//! Two parsers that disagree about where a request ends are what request smuggling lives on. Everything that one of the
//! many implementations is known to read differently is refused here, before hyper reads it: both `Content-Length` and
//! `Transfer-Encoding`, lengths that differ, folded lines, bare CR or LF, white space before a colon, a missing or second
//! `Host`. Knows bytes of one head; does not know hosts, methods or limits other than those it is given.

use http::Uri;

use crate::Reason;

/// How the body after a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes follow.
    Length(u64),
    /// No body: what follows belongs to the tunnel, if there is to be one (RFC 9110 section 9.3.6).
    Connect,
    /// Chunks follow (RFC 9112 section 7.1).
    Chunked,
}

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, request line included.
    pub head_bytes_max: usize,
    /// Bytes of the request target.
    pub target_bytes_max: usize,
    /// HeadLines of headers.
    pub headers_max: usize,
}

/// Looks for the end of a head in `bytes`, of which the first `searched` were seen before. The length of the head with
/// its empty line; `None` where it is not complete.
///
/// # Errors
/// [`Reason::BadRequest`] for a CR or LF that stands alone.
pub(super) fn end_of_head(bytes: &[u8], searched: usize) -> Result<Option<usize>, Reason> {
    let mut at = searched;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'\r', b'\n', rest)) {
        let cr = at + offset;
        match (bytes.get(cr), bytes.get(cr + 1)) {
            (Some(b'\r'), Some(b'\n')) if bytes.get(..cr).is_some_and(|before| before.ends_with(b"\r\n")) => {
                return Ok(Some(cr + 2));
            }
            (Some(b'\r'), Some(b'\n')) => at = cr + 2,
            (Some(b'\r'), None) => return Ok(None),
            _ => return Err(Reason::BadRequest),
        }
    }
    Ok(None)
}

/// Where the search for the end of an incomplete head continues.
pub(super) fn searched(bytes: &[u8]) -> usize {
    // A CR at the end may be half of a CRLF.
    bytes.len() - usize::from(bytes.ends_with(b"\r"))
}

/// Judges a complete head, empty line included.
///
/// # Errors
/// [`Reason::BadRequest`], [`Reason::UriTooLong`] or [`Reason::HeadersTooLarge`].
pub(super) fn judge(head: &[u8], limits: &HeadLimits) -> Result<Framing, Reason> {
    let mut lines = HeadLines(head);
    let line = lines.next().ok_or(Reason::BadRequest)?;
    let version = judge_request_line(line, limits)?;
    if head.len() > limits.head_bytes_max {
        return Err(Reason::HeadersTooLarge);
    }
    let (mut hosts, mut length, mut chunked, mut headers) = (0, None, false, 0);
    for line in lines {
        headers += 1;
        let end = line.iter().position(|byte| !TOKEN[usize::from(*byte)]).ok_or(Reason::BadRequest)?;
        let (name, rest) = line.split_at(end);
        let Some((b':', value)) = rest.split_first().filter(|_| !name.is_empty()) else {
            // An empty name, white space before the colon, or a folded line (RFC 9112 sections 5.1 and 5.2).
            return Err(Reason::BadRequest);
        };
        // Without an early end the compiler looks at many bytes at once.
        if value.iter().fold(false, |bad, byte| bad | (*byte < b' ' && *byte != b'\t') | (*byte == 0x7f)) {
            return Err(Reason::BadRequest);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => hosts += 1,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let this = parse_length(value.trim_ascii()).ok_or(Reason::BadRequest)?;
                if length.is_some_and(|before| before != this) {
                    return Err(Reason::BadRequest);
                }
                length = Some(this);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if chunked || version == Version::Http10 || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Reason::BadRequest);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    if headers > limits.headers_max {
        return Err(Reason::HeadersTooLarge);
    }
    if hosts > 1 || (hosts == 0 && version == Version::Http11) {
        return Err(Reason::BadRequest);
    }
    match (chunked, length) {
        (true, Some(_)) => Err(Reason::BadRequest),
        (false, None | Some(0)) if head.starts_with(b"CONNECT ") => Ok(Framing::Connect),
        // What came behind it would be a body to some and the tunnel's to others.
        _ if head.starts_with(b"CONNECT ") => Err(Reason::BadRequest),
        (true, None) => Ok(Framing::Chunked),
        (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// Judges an incomplete head that is already too large. Whatever comes after, [`judge`] would refuse it as well, so that it
/// makes no difference how a head is divided into reads.
pub(super) fn judge_oversized(head: &[u8], limits: &HeadLimits) -> Option<Reason> {
    if head.len() <= limits.head_bytes_max.min(limits.target_bytes_max) {
        return None;
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if target.len() > limits.target_bytes_max {
        return Some(Reason::UriTooLong);
    }
    let reason = if line.len() < head.len() { Reason::HeadersTooLarge } else { Reason::UriTooLong };
    (head.len() > limits.head_bytes_max).then_some(reason)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn judge_request_line(line: &[u8], limits: &HeadLimits) -> Result<Version, Reason> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Reason::BadRequest);
    };
    if method.is_empty() || !method.iter().all(|byte| TOKEN[usize::from(*byte)]) {
        return Err(Reason::BadRequest);
    }
    if target.len() > limits.target_bytes_max {
        return Err(Reason::UriTooLong);
    }
    let is_plain = target.starts_with(b"/") && target.iter().all(|byte| IN_PATH[usize::from(*byte)]);
    if !is_plain && !is_unusual(target) {
        return Err(Reason::BadRequest);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Reason::BadRequest),
    }
}

/// Whether a target that is more than a plain path is one all the same: an absolute URL, or one with characters that it should
/// have encoded. What hyper cannot read it would refuse by itself, without a word of ours.
fn is_unusual(target: &[u8]) -> bool {
    // A fragment is not part of a request target (RFC 9112 section 3.2).
    let fine = |byte: &u8| *byte > b' ' && !matches!(byte, 0x7f | b'#');
    target.iter().all(fine) && Uri::try_from(target).is_ok()
}

/// The characters of a path with a query (RFC 3986 sections 3.3 and 3.4); each is fine anywhere in one.
const IN_PATH: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = matches!(byte as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
            | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            | b':' | b'@' | b'%' | b'/' | b'?');
        byte += 1;
    }
    table
};

/// Digits only: no sign, no list, no white space inside.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// HeadLines of a judged head up to the empty one, without their CRLF.
#[derive(Clone, Debug)]
pub struct HeadLines<'a>(&'a [u8]);

impl<'a> HeadLines<'a> {
    /// The lines of `head`.
    pub const fn of(head: &'a [u8]) -> Self {
        Self(head)
    }
}

impl<'a> Iterator for HeadLines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\r', self.0)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(2..).unwrap_or_default();
        (!line.is_empty()).then_some(line)
    }
}

/// The characters of a token (RFC 9110 section 5.6.2).
pub(super) const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = matches!(byte as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1_000, target_bytes_max: 100, headers_max: 10 };

    fn verdict(head: &str) -> Result<Framing, Reason> {
        match end_of_head(head.as_bytes(), 0)? {
            Some(len) => judge(&head.as_bytes()[..len], &LIMITS),
            None => panic!("incomplete: {head:?}"),
        }
    }

    #[test]
    fn ordinary_heads_are_accepted_with_their_framing() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            ("POST /a?b HTTP/1.1\r\nhost:a\r\nContent-Length:  7 \r\n\r\n", Framing::Length(7)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n", Framing::Length(7)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\nX: \u{e9}\tb\r\n\r\n", Framing::Length(0)),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Framing::Connect),
            ("CONNECT a:443 HTTP/1.0\r\nContent-Length: 0\r\n\r\n", Framing::Connect),
        ] {
            assert_eq!(verdict(head), Ok(framing), "{head:?}");
        }
    }

    #[test]
    fn doubtful_heads_are_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(verdict(head), Err(Reason::BadRequest), "{head:?}");
        }
    }

    #[test]
    fn sizes_have_their_own_refusals() {
        let target = format!("/{}", "a".repeat(100));
        assert_eq!(verdict(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(Reason::UriTooLong));
        let value = "v".repeat(1_000);
        assert_eq!(verdict(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n")), Err(Reason::HeadersTooLarge));
        let many = "X: y\r\n".repeat(10);
        assert_eq!(verdict(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Err(Reason::HeadersTooLarge));
    }

    #[test]
    fn a_head_that_arrives_byte_by_byte_is_found_at_its_end() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut seen = 0;
        for len in 1..head.len() {
            assert_eq!(end_of_head(&head[..len], seen), Ok(None), "{len}");
            seen = searched(&head[..len]);
        }
        assert_eq!(end_of_head(head, seen), Ok(Some(head.len())));
    }

    #[test]
    fn an_endless_request_line_is_a_long_uri() {
        let endless = [b"GET /".to_vec(), vec![b'a'; 200]].concat();
        assert_eq!(judge_oversized(&endless, &LIMITS), Some(Reason::UriTooLong));
        assert_eq!(judge_oversized(b"GET /", &LIMITS), None);
    }

    #[test]
    fn what_is_refused_before_its_end_would_be_refused_at_its_end() {
        let line = format!("{} /{}", "M".repeat(100), "a".repeat(20));
        for cut in 1..line.len() {
            assert_eq!(judge_oversized(&line.as_bytes()[..cut], &LIMITS), None, "{cut}");
        }
        assert_eq!(verdict(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")), Ok(Framing::Length(0)));
    }
}
