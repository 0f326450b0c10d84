//! From a representation and a request to status, headers and pieces of body (RFC 9110 sections 13 to 15).
//!
//! Both faces, simulated and directory, end here, so conditional requests, ranges and HEAD behave the same in both.
//! Knows nothing of sockets, faults and slots; [`crate::body`] sends the pieces.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};

use crate::{
    body::{Piece, Source},
    precondition::{self, EntityTag, Verdict},
    range::{self, Parts},
};

/// What a path stands for at this moment.
#[derive(Debug)]
pub(crate) struct Representation {
    pub(crate) content_type: HeaderValue,
    pub(crate) etag: Option<EntityTag>,
    pub(crate) last_modified: Option<SystemTime>,
    pub(crate) length: u64,
    pub(crate) source: Source,
}

/// How it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// The status where nothing else decides.
    pub(crate) status: StatusCode,
    /// Whether ranges are served.
    pub(crate) ranges: bool,
    /// How many parts a request may ask for.
    pub(crate) ranges_max: usize,
    /// In chunks rather than with a length.
    pub(crate) chunked: bool,
    /// Bytes in a piece; `None` for the default.
    pub(crate) chunk_bytes: Option<usize>,
    /// Wait between pieces.
    pub(crate) drip: Duration,
}

/// An answer that only has to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) pieces: VecDeque<Piece>,
    /// Bytes in `pieces`.
    pub(crate) length: u64,
    pub(crate) chunked: bool,
    pub(crate) chunk_bytes: Option<usize>,
    pub(crate) drip: Duration,
}

impl Answer {
    /// A short text.
    pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        let mut answer = Self::empty(status);
        answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        answer.push(Piece::Bytes(text.into()));
        answer
    }

    /// No body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            pieces: VecDeque::new(),
            length: 0,
            chunked: false,
            chunk_bytes: None,
            drip: Duration::ZERO,
        }
    }

    /// The answer to `request` for what the path stands for.
    pub(crate) fn of(request: &request::Parts, representation: Representation, manner: &Manner) -> Self {
        let Representation { content_type, etag, last_modified, length, source } = representation;
        let mut answer = Self::empty(manner.status);
        answer.chunked = manner.chunked;
        answer.chunk_bytes = manner.chunk_bytes;
        answer.drip = manner.drip;
        if let Some(value) = etag.as_ref().and_then(EntityTag::header_value) {
            answer.headers.insert(header::ETAG, value);
        }
        if let Some(value) = last_modified.and_then(http_date) {
            answer.headers.insert(header::LAST_MODIFIED, value);
        }
        // Preconditions count only where the answer would be a success without them (section 13.2.1).
        if manner.status.is_success() {
            match precondition::evaluate(&request.method, &request.headers, etag.as_ref(), last_modified) {
                Verdict::Proceed => {}
                Verdict::NotModified => {
                    answer.status = StatusCode::NOT_MODIFIED;
                    return answer;
                }
                Verdict::Failed => return Self::text(StatusCode::PRECONDITION_FAILED, "the precondition failed\n"),
            }
        }
        if matches!(manner.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
            return answer;
        }
        answer.headers.insert(header::CONTENT_TYPE, content_type.clone());
        let rangeable = manner.ranges && manner.status == StatusCode::OK;
        if rangeable {
            answer.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        let asked = rangeable
            && request.method == Method::GET
            && precondition::range_applies(&request.headers, etag.as_ref(), last_modified);
        let field = request.headers.get(header::RANGE).filter(|_| asked).and_then(|field| field.to_str().ok());
        match field.map_or(Parts::Whole, |field| range::parts(field, length, manner.ranges_max)) {
            Parts::Whole => answer.push_part(&source, 0..length),
            Parts::Unsatisfiable => {
                answer = Self::text(StatusCode::RANGE_NOT_SATISFIABLE, "no such part\n");
                answer.insert(header::CONTENT_RANGE, format!("bytes */{length}"));
            }
            Parts::Some(parts) => answer.push_parts(&source, &parts, length, &content_type),
        }
        if request.method == Method::HEAD {
            answer.forget_body();
        }
        answer
    }

    /// Sets a header; a value that cannot be one is left out.
    pub(crate) fn insert(&mut self, name: header::HeaderName, value: String) {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
    }

    /// Keeps what HEAD must say about the body, and drops the body.
    pub(crate) fn forget_body(&mut self) {
        if !self.chunked {
            self.headers.insert(header::CONTENT_LENGTH, self.length.into());
        }
        self.pieces.clear();
        self.length = 0;
        self.chunked = false;
    }

    fn push(&mut self, piece: Piece) {
        self.length = self.length.saturating_add(piece.length());
        self.pieces.push_back(piece);
    }

    fn push_part(&mut self, source: &Source, part: Range<u64>) {
        self.push(source.piece(part));
    }

    /// 206: one part as it is, several as `multipart/byteranges` (section 14.6).
    fn push_parts(&mut self, source: &Source, parts: &[Range<u64>], length: u64, content_type: &HeaderValue) {
        self.status = StatusCode::PARTIAL_CONTENT;
        let content_range = |part: &Range<u64>| format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1));
        if let [part] = parts {
            self.insert(header::CONTENT_RANGE, content_range(part));
            self.push_part(source, part.clone());
            return;
        }
        let boundary = format!("iso-{:016x}", source.fingerprint());
        self.insert(header::CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
        let content_type = content_type.to_str().unwrap_or("application/octet-stream");
        for part in parts {
            let content_range = content_range(part);
            let head =
                format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n");
            self.push(Piece::Bytes(head.into()));
            self.push_part(source, part.clone());
        }
        self.push(Piece::Bytes(format!("\r\n--{boundary}--\r\n").into()));
    }
}

/// The field value for a time.
pub(crate) fn http_date(time: SystemTime) -> Option<HeaderValue> {
    // `fmt_http_date` panics after the year 9999, which a file's time can lie.
    const END_S: u64 = 253_402_300_800;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < END_S).then(|| HeaderValue::try_from(httpdate::fmt_http_date(time)).ok())?
}
