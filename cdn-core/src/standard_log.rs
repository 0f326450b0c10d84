//! CloudFront's standard access log: what a line says of a request, and how it is written.
//!
//! The fields are those of the AWS page "Standard logging reference", in its order and encoding. Refuses to know where
//! lines go.

use std::{borrow::Cow, fmt::Write as _, net::IpAddr, time::Duration};

use http::{HeaderMap, Method, StatusCode, Version, header};

use crate::{Reason, WallTime, fields::Fields as _, forward::XCache};

/// The names of the fields, in order.
pub const FIELDS: [&str; 33] = [
    "date",
    "time",
    "x-edge-location",
    "sc-bytes",
    "c-ip",
    "cs-method",
    "cs(Host)",
    "cs-uri-stem",
    "sc-status",
    "cs(Referer)",
    "cs(User-Agent)",
    "cs-uri-query",
    "cs(Cookie)",
    "x-edge-result-type",
    "x-edge-request-id",
    "x-host-header",
    "cs-protocol",
    "cs-bytes",
    "time-taken",
    "x-forwarded-for",
    "ssl-protocol",
    "ssl-cipher",
    "x-edge-response-result-type",
    "cs-protocol-version",
    "fle-status",
    "fle-encrypted-fields",
    "c-port",
    "time-to-first-byte",
    "x-edge-detailed-result-type",
    "sc-content-type",
    "sc-content-len",
    "sc-range-start",
    "sc-range-end",
];

/// How lines of the access log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStyle {
    /// As other lines of a node's log: few fields, by their names.
    #[default]
    Text,
    /// CloudFront's: all fields, separated by tabs, under two lines of head.
    W3c,
    /// CloudFront's fields as one JSON object per line.
    Json,
}

impl LogStyle {
    /// Every style.
    pub const ALL: [Self; 3] = [Self::Text, Self::W3c, Self::Json];

    /// Its word in a cluster file; CloudFront's where it has one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::W3c => "w3c",
            Self::Json => "json",
        }
    }

    /// The lines that a file of this style begins with.
    pub fn head(self) -> String {
        match self {
            Self::W3c => format!("#Version: 1.0\n#Fields: {}\n", FIELDS.join(" ")),
            Self::Text | Self::Json => String::new(),
        }
    }
}

/// What is known when the head of a request has been read.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where the viewer is.
    pub client: IpAddr,
    /// Its port.
    pub port: u16,
    /// The method.
    pub method: Method,
    /// The path as sent.
    pub path: String,
    /// The query string as sent; `None` where there is no question mark.
    pub query: Option<String>,
    /// `Host` as sent.
    pub host: String,
    /// Headers.
    pub headers: Said,
    /// Bytes of the head, and of the body as far as its length was announced.
    pub bytes: u64,
    /// The version of HTTP.
    pub version: Version,
    /// Protocol and cipher of TLS, where the viewer speaks it.
    pub tls: Option<(&'static str, &'static str)>,
}

/// Headers of a request that are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `Referer`.
    pub referer: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `X-Forwarded-For`.
    pub forwarded_for: Option<String>,
    /// `Cookie`; `None` also where the distribution does not want cookies in its log.
    pub cookie: Option<String>,
}

impl Said {
    /// Reads them, without `Cookie`.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self {
            referer: text(header::REFERER),
            user_agent: text(header::USER_AGENT),
            forwarded_for: text(header::HeaderName::from_static("x-forwarded-for")),
            cookie: None,
        }
    }

    /// Adds `Cookie`, which the distribution wants in its log.
    pub fn with_cookie(&mut self, headers: &HeaderMap) {
        // HTTP/2 may divide it (RFC 9113 section 8.2.3).
        self.cookie = headers
            .contains_key(header::COOKIE)
            .then(|| String::from_utf8_lossy(headers.joined(&header::COOKIE, "; ", b"").as_bytes()).into_owned());
    }
}

/// What is known when the head of a response leaves.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The status; `None` where the viewer left before any head did.
    pub status: Option<StatusCode>,
    /// How it came about.
    pub x_cache: XCache,
    /// Why.
    pub reason: Reason,
    /// `X-Amz-Cf-Id`.
    pub request_id: String,
    /// The name that the distribution always answers to; `None` where no distribution was found.
    pub domain: Option<String>,
    /// Bytes of the head.
    pub head_bytes: u64,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Length`.
    pub content_length: Option<String>,
    /// `Content-Range`.
    pub content_range: Option<String>,
    /// From the head of the request to the head of the response.
    pub first_byte: Duration,
}

impl Answered {
    /// A request that nobody answers, because its viewer has left.
    pub const fn nothing(request_id: String, domain: Option<String>) -> Self {
        Self {
            status: None,
            x_cache: XCache::Error,
            reason: Reason::ClientGone,
            request_id,
            domain,
            head_bytes: 0,
            content_type: None,
            content_length: None,
            content_range: None,
            first_byte: Duration::ZERO,
        }
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it left.
    Whole,
    /// What it was read from ended before it.
    CutShort,
    /// The viewer did not stay for all of it.
    ViewerLeft,
}

/// What is known when the last byte has left, or the viewer has.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// When that was.
    pub at: WallTime,
    /// From the head of the request to then.
    pub took: Duration,
    /// Bytes of the body that left.
    pub body_bytes: u64,
    /// How it came to an end.
    pub ending: Ending,
    /// Where the edge is, as in `X-Amz-Cf-Pop`.
    pub location: &'a str,
}

/// One line, without its end. `Text` has none here.
pub fn line(style: LogStyle, asked: &Asked, answered: &Answered, ended: &Ended<'_>) -> Option<String> {
    let fields = fields(asked, answered, ended);
    match style {
        LogStyle::Text => None,
        LogStyle::W3c => {
            let mut line = String::with_capacity(512);
            for field in &fields {
                if !line.is_empty() {
                    line.push('\t');
                }
                line.push_str(field);
            }
            Some(line)
        }
        LogStyle::Json => {
            let pair = |(name, value): (&&str, &Cow<'_, str>)| ((*name).to_owned(), value.as_ref().into());
            Some(serde_json::Value::Object(FIELDS.iter().zip(&fields).map(pair).collect()).to_string())
        }
    }
}

/// The fields of one request, in the order of [`FIELDS`].
pub(crate) fn fields<'a>(asked: &'a Asked, answered: &'a Answered, ended: &Ended<'a>) -> [Cow<'a, str>; 33] {
    let nothing = || or_nothing(None);
    let date = ended.at.civil();
    let own = result_type(answered.x_cache);
    let (result, detail) = match ended.ending {
        Ending::Whole => (own, detail(answered)),
        Ending::CutShort => ("Error", "OriginReadError"),
        Ending::ViewerLeft => ("Error", "ClientCommError"),
    };
    let (start, end) = answered.content_range.as_deref().and_then(range).unwrap_or_default();
    let (tls_protocol, cipher) = asked.tls.unwrap_or(("-", "-"));
    let upgraded = answered.status == Some(StatusCode::SWITCHING_PROTOCOLS);
    let protocol = match (upgraded, asked.tls.is_some()) {
        (false, false) => "http",
        (false, true) => "https",
        (true, false) => "ws",
        (true, true) => "wss",
    };
    let version = match asked.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    };
    [
        format!("{:04}-{:02}-{:02}", date.year, date.month, date.day).into(),
        format!("{:02}:{:02}:{:02}", date.hour, date.minute, date.second).into(),
        ended.location.into(),
        (answered.head_bytes + ended.body_bytes).to_string().into(),
        asked.client.to_string().into(),
        asked.method.as_str().into(),
        or_nothing(answered.domain.as_deref()),
        or_nothing(Some(&asked.path)),
        answered.status.as_ref().map_or("000", StatusCode::as_str).into(),
        or_nothing(asked.headers.referer.as_deref()),
        or_nothing(asked.headers.user_agent.as_deref()),
        or_nothing(asked.query.as_deref()),
        or_nothing(asked.headers.cookie.as_deref()),
        result.into(),
        or_nothing(Some(&answered.request_id)),
        or_nothing(Some(&asked.host)),
        protocol.into(),
        asked.bytes.to_string().into(),
        seconds(ended.took).into(),
        or_nothing(asked.headers.forwarded_for.as_deref()),
        tls_protocol.into(),
        cipher.into(),
        own.into(),
        version.into(),
        nothing(),
        nothing(),
        asked.port.to_string().into(),
        seconds(answered.first_byte).into(),
        detail.into(),
        or_nothing(answered.content_type.as_deref()),
        or_nothing(answered.content_length.as_deref()),
        or_nothing(start),
        or_nothing(end),
    ]
}

/// `x-edge-result-type`: the word of `X-Cache`, where the log has no other for it.
fn result_type(x_cache: XCache) -> &'static str {
    match x_cache {
        XCache::FunctionGenerated => "Miss",
        other => other.as_str().split(' ').next().unwrap_or_default(),
    }
}

/// `x-edge-detailed-result-type`.
fn detail(answered: &Answered) -> &'static str {
    match answered.reason {
        Reason::HitShield => "OriginShieldHit",
        Reason::FunctionGenerated => "MissGeneratedResponse",
        Reason::GeoBlocked => "ClientGeoBlocked",
        Reason::MethodNotAllowed => "InvalidRequestMethod",
        Reason::HeadersTooLarge => "InvalidRequestHeader",
        Reason::UnknownHost | Reason::DistributionDisabled | Reason::LoopDetected => "InvalidRequestBlocked",
        Reason::BadRequest | Reason::UriTooLong | Reason::GetWithBody | Reason::MisdirectedHost => "InvalidRequest",
        Reason::HeaderTimeout | Reason::BodyTimeout => "ClientCommError",
        Reason::ClientGone => "ClientHungUpRequest",
        Reason::OriginRefused
        | Reason::OriginConnectTimeout
        | Reason::OriginUnreachable
        | Reason::OriginCertificate
        | Reason::OriginTls => "OriginConnectError",
        Reason::OriginReset | Reason::OriginResponseTimeout | Reason::OriginCompletionTimeout => "OriginCommError",
        Reason::OriginInvalid => "OriginInvalidResponseError",
        Reason::OriginHeadersTooLarge => "OriginHeaderTooBigError",
        Reason::OriginError if answered.status.is_some_and(|status| status.is_server_error()) => "OriginError",
        _ => result_type(answered.x_cache),
    }
}

/// First and last byte of a `Content-Range` (RFC 9110 section 14.4).
fn range(content_range: &str) -> Option<(Option<&str>, Option<&str>)> {
    let (first, rest) = content_range.strip_prefix("bytes ")?.split_once('-')?;
    Some((Some(first), rest.split('/').next()))
}

/// A field that says `text`, where there is any.
pub(crate) fn or_nothing(text: Option<&str>) -> Cow<'_, str> {
    match text {
        Some(text) if !text.is_empty() => encoded(text),
        _ => Cow::Borrowed("-"),
    }
}

/// Seconds with three decimals.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{}.{:03}", span.as_secs(), span.subsec_millis())
}

/// Percent-encodes what AWS encodes in fields that say what a viewer said: bytes that are not printable, space among
/// them, and some that parsers of URLs stumble over.
pub(crate) fn encoded(text: &str) -> Cow<'_, str> {
    let encodes = |byte: u8| !byte.is_ascii_graphic() || b"<>\"#%{}|\\^~[]'`".contains(&byte);
    if !text.bytes().any(encodes) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if encodes(byte) {
            // A string takes all there is.
            let _ = write!(encoded, "%{byte:02X}");
        } else {
            encoded.push(char::from(byte));
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            client: "198.18.41.7".parse().unwrap(),
            port: 5000,
            method: Method::GET,
            path: "/a%20b".into(),
            query: Some("c=1".into()),
            host: "www.demo.test".into(),
            headers: Said { user_agent: Some("curl/8 (x; y)\t".into()), ..Said::default() },
            bytes: 120,
            version: Version::HTTP_2,
            tls: Some(("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
        }
    }

    fn answered(status: u16, x_cache: XCache, reason: Reason) -> Answered {
        Answered {
            status: Some(StatusCode::from_u16(status).unwrap()),
            x_cache,
            reason,
            request_id: "abc==".into(),
            domain: Some("demo.cdn.test".into()),
            head_bytes: 300,
            content_type: Some("text/html".into()),
            content_length: Some("10".into()),
            content_range: Some("bytes 5-14/100".into()),
            first_byte: Duration::from_millis(2),
        }
    }

    fn ended(ending: Ending) -> Ended<'static> {
        let at = WallTime::from_unix_secs(1_795_694_400);
        Ended { at, took: Duration::from_micros(12_345), body_bytes: 10, ending, location: "IAD50-P1" }
    }

    fn value(answered: &Answered, ending: Ending, name: &str) -> String {
        let line = line(LogStyle::W3c, &asked(), answered, &ended(ending)).unwrap();
        let at = FIELDS.iter().position(|field| *field == name).unwrap();
        line.split('\t').nth(at).unwrap().to_owned()
    }

    #[test]
    fn a_line_has_every_field_in_its_place() {
        let answered = answered(206, XCache::Hit, Reason::Hit);
        assert_eq!(
            line(LogStyle::W3c, &asked(), &answered, &ended(Ending::Whole))
                .unwrap()
                .split('\t')
                .collect::<Vec<_>>()
                .join(" "),
            "2026-11-26 12:00:00 IAD50-P1 310 198.18.41.7 GET demo.cdn.test /a%2520b 206 - curl/8%20(x;%20y)%09 c=1 - Hit \
             abc== www.demo.test https 120 0.012 - TLSv1.3 TLS_AES_128_GCM_SHA256 Hit HTTP/2.0 - - 5000 0.002 Hit \
             text/html 10 5 14"
        );
        let head = LogStyle::W3c.head();
        assert!(head.starts_with("#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip "), "{head}");
        assert!(head.ends_with(" sc-range-start sc-range-end\n"), "{head}");
    }

    #[test]
    fn json_has_the_same_fields() {
        let answered = answered(200, XCache::Hit, Reason::Hit);
        let json = line(LogStyle::Json, &asked(), &answered, &ended(Ending::Whole)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, FIELDS);
        assert_eq!(value["sc-status"], "200");
        assert_eq!(line(LogStyle::Text, &asked(), &answered, &ended(Ending::Whole)), None);
    }

    #[test]
    fn result_types_are_cloudfronts() {
        for (status, x_cache, reason, result, detailed) in [
            (200, XCache::Hit, Reason::HitShield, "Hit", "OriginShieldHit"),
            (200, XCache::RefreshHit, Reason::RefreshHit, "RefreshHit", "RefreshHit"),
            (200, XCache::Miss, Reason::MissAbsent, "Miss", "Miss"),
            (302, XCache::FunctionGenerated, Reason::FunctionGenerated, "Miss", "MissGeneratedResponse"),
            (301, XCache::Redirect, Reason::RedirectedToHttps, "Redirect", "Redirect"),
            (403, XCache::Error, Reason::GeoBlocked, "Error", "ClientGeoBlocked"),
            (403, XCache::Error, Reason::MethodNotAllowed, "Error", "InvalidRequestMethod"),
            (403, XCache::Error, Reason::SignatureMissing, "Error", "Error"),
            (404, XCache::Error, Reason::OriginError, "Error", "Error"),
            (500, XCache::Error, Reason::OriginError, "Error", "OriginError"),
            (502, XCache::Error, Reason::OriginRefused, "Error", "OriginConnectError"),
            (502, XCache::Error, Reason::OriginCertificate, "Error", "OriginConnectError"),
            (503, XCache::LimitExceeded, Reason::InflightLimit, "LimitExceeded", "LimitExceeded"),
            (
                503,
                XCache::FunctionExecutionError,
                Reason::FunctionFailed,
                "FunctionExecutionError",
                "FunctionExecutionError",
            ),
        ] {
            let answered = answered(status, x_cache, reason);
            let of = |name| value(&answered, Ending::Whole, name);
            assert_eq!(of("x-edge-result-type"), result, "{reason}");
            assert_eq!(of("x-edge-response-result-type"), result, "{reason}");
            assert_eq!(of("x-edge-detailed-result-type"), detailed, "{reason}");
            let left = |name| value(&answered, Ending::ViewerLeft, name);
            assert_eq!(
                (left("x-edge-result-type"), left("x-edge-response-result-type")),
                ("Error".into(), result.into())
            );
            assert_eq!(left("x-edge-detailed-result-type"), "ClientCommError");
        }
    }

    #[test]
    fn whoever_leaves_before_there_is_a_response_has_a_line_of_status_000() {
        let answered = Answered::nothing("abc==".into(), Some("demo.cdn.test".into()));
        let of = |name| value(&answered, Ending::ViewerLeft, name);
        assert_eq!((of("sc-status"), of("x-edge-request-id")), ("000".into(), "abc==".into()));
        let types = ["x-edge-result-type", "x-edge-response-result-type", "x-edge-detailed-result-type"];
        assert_eq!(types.map(of), ["Error", "Error", "ClientCommError"]);
    }

    #[test]
    fn a_response_that_its_origin_cut_short_is_no_fault_of_the_viewers() {
        let answered = answered(200, XCache::Miss, Reason::MissAbsent);
        let of = |name| value(&answered, Ending::CutShort, name);
        assert_eq!((of("x-edge-result-type"), of("x-edge-response-result-type")), ("Error".into(), "Miss".into()));
        assert_eq!(of("x-edge-detailed-result-type"), "OriginReadError");
    }

    proptest::proptest! {
        /// Whatever viewers send, a line is one line of 33 fields.
        #[test]
        fn a_line_is_always_one(agent in ".*", path in "/.*", host in ".*", kind in ".*") {
            let mut asked = asked();
            asked.headers.user_agent = Some(agent);
            (asked.path, asked.host) = (path, host);
            let answered = Answered { content_type: Some(kind), ..answered(200, XCache::Hit, Reason::Hit) };
            let line = line(LogStyle::W3c, &asked, &answered, &ended(Ending::Whole)).unwrap();
            proptest::prop_assert_eq!(line.split('\t').filter(|field| !field.is_empty()).count(), 33);
            proptest::prop_assert!(line.bytes().all(|byte| byte == b'\t' || byte.is_ascii_graphic()));
        }
    }
}
