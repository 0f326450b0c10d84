//! Where HTTP/1.1 messages begin and end in a stream (RFC 9112 section 6).
//!
//! Pure: bytes go in, lengths come out; nothing is changed and nothing is kept back but an incomplete head. What cannot
//! be understood is called opaque and left to those who sent it: a gate is not the place to judge it.

use http::{Method, StatusCode};

/// A head longer than this is opaque.
pub(crate) const HEAD_BYTES_MAX: usize = 256 << 10;
/// A head with more fields than this is opaque.
const FIELDS_MAX: usize = 256;

/// What stands at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<T> {
    /// A head that is not complete yet.
    Incomplete,
    /// A head.
    Head(T),
    /// Something else.
    Opaque,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What matters about a request's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// Its bytes, the empty line included.
    pub(crate) length: usize,
    /// The path, without the query.
    pub(crate) path: String,
    /// What the response's framing depends on.
    pub(crate) asked: Asked,
    pub(crate) framing: Framing,
    /// The connection may stop being HTTP after the response.
    pub(crate) may_switch: bool,
    /// The client waits for a word before it sends the body.
    pub(crate) expects_continue: bool,
}

/// The kind of method, as far as responses are framed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A response has no body.
    Head,
    /// A successful response starts a tunnel.
    Connect,
    /// Anything else.
    Other,
}

/// What matters about a response's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    /// Its bytes, the empty line included.
    pub(crate) length: usize,
    pub(crate) kind: ResponseKind,
}

/// What comes after a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseKind {
    /// Another head: this one was informational.
    Interim,
    /// Bytes that are not HTTP any more.
    Switched,
    /// A body.
    Final(Framing),
}

/// Reads a request's head.
pub(crate) fn request(buffer: &[u8]) -> Parsed<RequestHead> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_BYTES_MAX => return Parsed::Incomplete,
        Ok(httparse::Status::Partial) | Err(_) => return Parsed::Opaque,
    };
    let (Some(method), Some(target)) = (request.method, request.path) else { return Parsed::Opaque };
    let Some(framing) = framing(request.headers, Framing::Length(0)) else { return Parsed::Opaque };
    if framing == Framing::UntilClose {
        return Parsed::Opaque;
    }
    let asked = match method {
        _ if method == Method::HEAD.as_str() => Asked::Head,
        _ if method == Method::CONNECT.as_str() => Asked::Connect,
        _ => Asked::Other,
    };
    Parsed::Head(RequestHead {
        length,
        path: path_of(target).to_owned(),
        asked,
        framing,
        may_switch: asked == Asked::Connect || values(request.headers, "upgrade").next().is_some(),
        expects_continue: values(request.headers, "expect").any(|value| value.eq_ignore_ascii_case(b"100-continue")),
    })
}

/// Reads the head of a response to a request of the kind `asked`.
pub(crate) fn response(buffer: &[u8], asked: Asked) -> Parsed<ResponseHead> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_BYTES_MAX => return Parsed::Incomplete,
        Ok(httparse::Status::Partial) | Err(_) => return Parsed::Opaque,
    };
    let Some(status) = response.code.and_then(|code| StatusCode::from_u16(code).ok()) else { return Parsed::Opaque };
    let bodiless = asked == Asked::Head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let kind = if status == StatusCode::SWITCHING_PROTOCOLS || (asked == Asked::Connect && status.is_success()) {
        ResponseKind::Switched
    } else if status.is_informational() {
        ResponseKind::Interim
    } else if bodiless {
        ResponseKind::Final(Framing::Length(0))
    } else {
        let Some(framing) = framing(response.headers, Framing::UntilClose) else { return Parsed::Opaque };
        ResponseKind::Final(framing)
    };
    Parsed::Head(ResponseHead { length, kind })
}

/// Finds the end of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyScanner {
    Left(u64),
    Chunked(Chunked),
    Endless,
}

/// Where in a chunked body (RFC 9112 section 7.1) a scanner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends it all.
    LineStart,
    Line,
    LastLf,
    Done,
}

/// The body is not chunked the way its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotChunked;

impl BodyScanner {
    pub(crate) const fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Left(length),
            Framing::Chunked => Self::Chunked(Chunked::Size { size: 0, digits: 0 }),
            Framing::UntilClose => Self::Endless,
        }
    }

    /// Whether the body has ended.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self, Self::Left(0) | Self::Chunked(Chunked::Done))
    }

    /// How many of `bytes`, which come next, belong to the body.
    ///
    /// # Errors
    /// The chunks are malformed.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<usize, NotChunked> {
        match self {
            Self::Endless => Ok(bytes.len()),
            Self::Left(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(state) => {
                let mut at = 0;
                while *state != Chunked::Done
                    && let Some(rest) = bytes.get(at..)
                    && !rest.is_empty()
                {
                    at += state.step(rest)?;
                }
                Ok(at)
            }
        }
    }
}

impl Chunked {
    /// Takes at least one of `bytes`, which are not empty; returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, NotChunked> {
        if let Self::Data { left } = self {
            let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left -= taken as u64;
            if *left == 0 {
                *self = Self::DataCr;
            }
            return Ok(taken);
        }
        let after_size = |size| if size == 0 { Self::LineStart } else { Self::Data { left: size } };
        let byte = bytes.first().copied().ok_or(NotChunked)?;
        *self = match (*self, byte) {
            (Self::Size { size, digits }, byte) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                Self::Size { size: size * 16 + digit, digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(NotChunked),
            (Self::Size { size, .. } | Self::Extension { size }, b'\r') => Self::SizeLf { size },
            (Self::Size { size, .. } | Self::Extension { size }, b'\n') => after_size(size),
            (Self::Size { size, .. }, b';' | b' ' | b'\t') | (Self::Extension { size }, _) => Self::Extension { size },
            (Self::SizeLf { size }, b'\n') => after_size(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::LineStart, b'\r') => Self::LastLf,
            (Self::LineStart | Self::LastLf, b'\n') => Self::Done,
            (Self::Line, b'\n') => Self::LineStart,
            (Self::LineStart | Self::Line, _) => Self::Line,
            _ => return Err(NotChunked),
        };
        Ok(1)
    }
}

/// How the body after these fields ends; `otherwise` where they do not say. `None` if they contradict each other.
fn framing(fields: &[httparse::Header<'_>], otherwise: Framing) -> Option<Framing> {
    let mut codings = values(fields, "transfer-encoding").peekable();
    if codings.peek().is_some() {
        // Whoever sends both a length and chunks may want two readers to disagree.
        if values(fields, "content-length").next().is_some() {
            return None;
        }
        let last = codings.last().and_then(|value| value.rsplit(|&byte| byte == b',').next()).unwrap_or_default();
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Some(if chunked { Framing::Chunked } else { Framing::UntilClose });
    }
    let mut framing = None;
    for value in values(fields, "content-length") {
        let text = str::from_utf8(value).ok()?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let length = Framing::Length(text.parse().ok().filter(|_| digits)?);
        if framing.is_some_and(|framing| framing != length) {
            return None;
        }
        framing = Some(length);
    }
    Some(framing.unwrap_or(otherwise))
}

fn values<'a>(fields: &'a [httparse::Header<'_>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
}

/// The path of a request's target, in origin form or absolute form.
fn path_of(target: &str) -> &str {
    let after_authority = target.split_once("://").filter(|_| !target.starts_with('/')).map(|(_, rest)| {
        rest.find(['/', '?']).and_then(|at| rest.get(at..)).filter(|rest| rest.starts_with('/')).unwrap_or("/")
    });
    let path = after_authority.unwrap_or(target);
    path.split(['?', '#']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request_head(text: &str) -> RequestHead {
        match request(text.as_bytes()) {
            Parsed::Head(head) => head,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    fn response_kind(text: &str, asked: Asked) -> ResponseKind {
        match response(text.as_bytes(), asked) {
            Parsed::Head(head) => head.kind,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn heads_of_requests_say_path_and_framing() {
        let head =
            request_head("POST http://h.test/a/b?c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nx");
        assert_eq!((head.path.as_str(), head.framing, head.may_switch), ("/a/b", Framing::Chunked, false));
        let head = request_head("GET /a?http://x/y HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!((head.path.as_str(), head.framing, head.may_switch), ("/a", Framing::Length(0), true));
        let head = request_head("PUT http://h.test?q HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n");
        assert_eq!((head.path.as_str(), head.framing, head.expects_continue), ("/", Framing::Length(3), true));
        assert_eq!(request(b"GET / HTTP/1.1\r\nHost"), Parsed::Incomplete);
        for opaque in [
            "\x16\x03\x01",
            "PRI * HTTP/2.0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert_eq!(request(opaque.as_bytes()), Parsed::Opaque, "{opaque:?}");
        }
    }

    #[test]
    fn bodies_of_responses_depend_on_status_method_and_fields() {
        use ResponseKind::*;
        for (text, asked, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked::Other, Final(Framing::Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Asked::Head, Final(Framing::Length(0))),
            ("HTTP/1.0 200 OK\r\n\r\n", Asked::Other, Final(Framing::UntilClose)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Asked::Other, Final(Framing::Length(0))),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", Asked::Other, Interim),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Asked::Other, Switched),
            ("HTTP/1.1 200 OK\r\n\r\n", Asked::Connect, Switched),
        ] {
            assert_eq!(response_kind(text, asked), expected, "{text:?}");
        }
        assert_eq!(response(b"SSH-2.0-OpenSSH\r\n", Asked::Other), Parsed::Opaque);
    }

    /// Where the body ends when it comes in pieces of this size.
    fn end_of_chunked(body: &[u8], piece: usize) -> Result<Option<usize>, NotChunked> {
        let mut scanner = BodyScanner::new(Framing::Chunked);
        let mut at = 0;
        for piece in body.chunks(piece) {
            at += scanner.scan(piece)?;
            if scanner.is_done() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers_however_it_is_cut() {
        let body = b"5;name=\"x\"\r\nhello\r\n0A \r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nGET /next";
        for piece in 1..body.len() {
            assert_eq!(end_of_chunked(body, piece), Ok(Some(body.len() - "GET /next".len())), "{piece}");
        }
        assert_eq!(end_of_chunked(b"5\r\nhel", 2), Ok(None));
    }

    #[test]
    fn malformed_chunks_are_noticed() {
        for wrong in ["x\r\n", "\r\n", "-1\r\n", "1\r\nab", "1\r\na\rb", "1\rx", "0\r\n\rx", "ffffffffffffffff\r\n"] {
            assert_eq!(end_of_chunked(wrong.as_bytes(), 1), Err(NotChunked), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn scanning_never_takes_more_than_there_is(body: Vec<u8>, piece in 1..20_usize) {
            if let Ok(Some(end)) = end_of_chunked(&body, piece) {
                prop_assert!(end <= body.len());
            }
        }
    }
}
