//! Compression: whether a response is compressed before it is stored, in which coding, and what its headers say then.
//!
//! Decides by CloudFront's conditions, as the AWS page "Serve compressed files" lists them. Knows no body and no
//! library: bytes are the shell's matter. What is stored compressed stays so until it goes, since its coding belongs to
//! the cache key.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};

use crate::{
    accept_encoding::AcceptEncoding, cache_control::CacheControl, conditional::EntityTag, distribution::CheckedBehavior,
};

/// The smallest body that is compressed, in bytes (CloudFront's).
pub const BYTES_MIN: u64 = 1_000;
/// The largest body that is compressed, in bytes (CloudFront's).
pub const BYTES_MAX: u64 = 10_000_000;

/// Content types that are compressed (CloudFront's list), without what stands before the slash: first `application/`,
/// then the others by their own.
const APPLICATION: [&str; 30] = [
    "dash+xml",
    "eot",
    "font",
    "font-sfnt",
    "javascript",
    "json",
    "opentype",
    "otf",
    "pdf",
    "pkcs7-mime",
    "protobuf",
    "rss+xml",
    "truetype",
    "ttf",
    "vnd.apple.mpegurl",
    "vnd.mapbox-vector-tile",
    "vnd.ms-fontobject",
    "wasm",
    "xhtml+xml",
    "xml",
    "x-font-opentype",
    "x-font-truetype",
    "x-font-ttf",
    "x-httpd-cgi",
    "x-javascript",
    "x-mpegurl",
    "x-opentype",
    "x-otf",
    "x-perl",
    "x-ttf",
];
const FONT: [&str; 4] = ["eot", "opentype", "otf", "ttf"];
const IMAGE: [&str; 1] = ["svg+xml"];
const TEXT: [&str; 12] = [
    "css",
    "csv",
    "html",
    "javascript",
    "js",
    "plain",
    "richtext",
    "tab-separated-values",
    "xml",
    "x-component",
    "x-java-source",
    "x-script",
];

/// Hashes of the bytes as the origin sent them (RFC 1864, RFC 3230, RFC 9530).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// A content coding that the edge can apply (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878), which CloudFront does not have.
    Zstd,
}

impl Coding {
    /// The best one that the viewer takes and the policy enables. CloudFront prefers br to gzip, whatever the weights
    /// say; whoever enables zstd wants it before both.
    pub const fn preferred(accepted: AcceptEncoding) -> Option<Self> {
        if accepted.zstd {
            Some(Self::Zstd)
        } else if accepted.brotli {
            Some(Self::Brotli)
        } else if accepted.gzip {
            Some(Self::Gzip)
        } else {
            None
        }
    }

    /// Its token in `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a response is stored as the origin sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Uncompressed {
    /// The behavior does not compress, or its cache policy enables no format.
    Disabled,
    /// The viewer takes none of the formats that the policy enables.
    NotAccepted,
    /// The viewer speaks HTTP/1.0.
    Http10,
    /// It is not fresh for any time (CloudFront: a TTL above zero).
    NotFresh,
    /// It has a `Content-Encoding` already.
    Encoded,
    /// Its status is not 200, 403 or 404.
    Status,
    /// `Cache-Control: no-transform` (RFC 9111 section 5.2.2.6).
    NoTransform,
    /// Its `Content-Type` is not in the list.
    ContentType,
    /// It has no `Content-Length`.
    NoLength,
    /// It is smaller than [`BYTES_MIN`].
    TooSmall,
    /// It is larger than [`BYTES_MAX`].
    TooLarge,
    /// The shield, who saw the origin's own response, left it as it was.
    ByShield,
    /// As many responses as allowed are being compressed.
    Busy,
    /// This build has no encoder for the coding.
    NoEncoder,
}

impl Uncompressed {
    /// The word for it in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "compression is off",
            Self::NotAccepted => "the viewer takes no format",
            Self::Http10 => "the viewer speaks HTTP/1.0",
            Self::NotFresh => "not fresh for any time",
            Self::Encoded => "encoded by the origin",
            Self::Status => "this status is not compressed",
            Self::NoTransform => "no-transform",
            Self::ContentType => "this content type is not compressed",
            Self::NoLength => "no Content-Length",
            Self::TooSmall => "too small",
            Self::TooLarge => "too large",
            Self::ByShield => "the shield left it as it was",
            Self::Busy => "as many as allowed are being compressed",
            Self::NoEncoder => "no encoder in this build",
        }
    }
}

impl fmt::Display for Uncompressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A response that is about to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The behavior that serves the request.
    pub behavior: &'a CheckedBehavior,
    /// The viewer's headers.
    pub request: &'a HeaderMap,
    /// The viewer's version of HTTP.
    pub version: Version,
    /// The response's status.
    pub status: StatusCode,
    /// The response's headers as they came.
    pub headers: &'a HeaderMap,
    /// For how long it will be fresh.
    pub fresh_for: Duration,
}

/// Decides whether a response is compressed, and how.
///
/// # Errors
/// [`Uncompressed`], the first condition that does not hold.
pub fn decide(candidate: &Candidate<'_>) -> Result<Coding, Uncompressed> {
    let Candidate { behavior, request, version, status, headers, fresh_for } = *candidate;
    if !behavior.spec().compress || !behavior.normalizes_accept_encoding() {
        return Err(Uncompressed::Disabled);
    }
    if version <= Version::HTTP_10 {
        return Err(Uncompressed::Http10);
    }
    let accepted = AcceptEncoding::of(request, behavior.cache_policy());
    let coding = Coding::preferred(accepted).ok_or(Uncompressed::NotAccepted)?;
    if fresh_for.is_zero() {
        return Err(Uncompressed::NotFresh);
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Uncompressed::Encoded);
    }
    if !matches!(status, StatusCode::OK | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
        return Err(Uncompressed::Status);
    }
    if !is_listed(headers) {
        return Err(Uncompressed::ContentType);
    }
    match length_of(headers).ok_or(Uncompressed::NoLength)? {
        ..BYTES_MIN => return Err(Uncompressed::TooSmall),
        BYTES_MIN..=BYTES_MAX => {}
        _ => return Err(Uncompressed::TooLarge),
    }
    if CacheControl::of(headers).no_transform {
        return Err(Uncompressed::NoTransform);
    }
    Ok(coding)
}

/// The announced length in bytes; `None` where there is none, or several.
pub fn length_of(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok()?.parse().ok(),
        _ => None,
    }
}

/// Makes the headers of a response those of its compressed form. The new length is not known yet: whoever sends it says
/// it once it is.
pub fn describe(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(header::CONTENT_LENGTH);
    describe_validators(headers);
}

/// Whether a response may have been compressed by [`describe`], here or at the shield: then its bytes are not the
/// origin's, and nothing but a weak comparison holds for them. True as well for what an origin encoded and did not name
/// by a strong tag, for which that holds anyway or costs a range.
pub fn was_applied(stored: &HeaderMap) -> bool {
    let strong = stored.get(header::ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes())).is_some_and(|tag| !tag.weak);
    stored.contains_key(header::CONTENT_ENCODING) && !strong
}

/// What compressed bytes may claim: a strong entity tag becomes weak, because the same tag names the origin's bytes
/// (RFC 9110 section 8.8.1), one that is none goes, and so do hashes of other bytes. Others may get another form
/// (section 12.5.5).
pub(crate) fn describe_validators(headers: &mut HeaderMap) {
    if let Some(tag) = headers.remove(header::ETAG) {
        let weakened = match EntityTag::parse(tag.as_bytes()) {
            Some(EntityTag { weak: true, .. }) => Some(tag),
            Some(EntityTag { weak: false, .. }) => {
                HeaderValue::from_bytes(&[b"W/", tag.as_bytes().trim_ascii()].concat()).ok()
            }
            None => None,
        };
        headers.extend(weakened.map(|tag| (header::ETAG, tag)));
    }
    for name in &DIGESTS {
        headers.remove(name);
    }
    let named = headers
        .get_all(header::VARY)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(header::ACCEPT_ENCODING.as_str().as_bytes()));
    if !named {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Parameters do not count, nor does case.
fn is_listed(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let list: &[&str] = match kind {
        "application" => &APPLICATION,
        "font" => &FONT,
        "image" => &IMAGE,
        "text" => &TEXT,
        _ => &[],
    };
    list.contains(&subtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    /// A response that is compressed with br, after `change`.
    fn decided(change: impl FnOnce(&mut Changed)) -> Result<Coding, Uncompressed> {
        let mut changed = Changed {
            spec: test_data::distribution_spec(),
            request: headers(&[("accept-encoding", "gzip, br")]),
            version: Version::HTTP_2,
            status: StatusCode::OK,
            headers: headers(&[("content-type", "text/html"), ("content-length", "5000")]),
            fresh_for: Duration::from_secs(1),
        };
        change(&mut changed);
        decide(&Candidate {
            behavior: &test_data::behavior_of(changed.spec),
            request: &changed.request,
            version: changed.version,
            status: changed.status,
            headers: &changed.headers,
            fresh_for: changed.fresh_for,
        })
    }

    struct Changed {
        spec: crate::distribution::DistributionSpec,
        request: HeaderMap,
        version: Version,
        status: StatusCode,
        headers: HeaderMap,
        fresh_for: Duration,
    }

    #[test]
    fn decisions_are_those_of_the_published_vectors() {
        #[derive(serde::Deserialize)]
        struct Vectors {
            cases: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            compress: bool,
            policy_gzip: bool,
            policy_br: bool,
            accept_encoding: String,
            content_type: String,
            content_length: Option<u64>,
            status: u16,
            origin_content_encoding: Option<String>,
            http_version: Option<String>,
            expect: Option<String>,
        }
        let vectors: Vectors = serde_json::from_str(include_str!("../tests/vectors/compression.json")).unwrap();
        assert_eq!(vectors.cases.len(), 15);
        for (row, case) in vectors.cases.iter().enumerate() {
            let decided = decided(|changed| {
                changed.spec.default_behavior.compress = case.compress;
                changed.spec.default_behavior.cache_policy.gzip = case.policy_gzip;
                changed.spec.default_behavior.cache_policy.brotli = case.policy_br;
                changed.request = headers(&[("accept-encoding", &case.accept_encoding)]);
                changed.version = match case.http_version.as_deref() {
                    None => Version::HTTP_11,
                    Some("1.0") => Version::HTTP_10,
                    Some(other) => panic!("row {row}: version {other}"),
                };
                changed.status = StatusCode::from_u16(case.status).unwrap();
                changed.headers = headers(&[("content-type", &case.content_type)]);
                let length = case.content_length.map(HeaderValue::from);
                changed.headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
                let encoding = case.origin_content_encoding.as_ref().map(|coding| coding.parse().unwrap());
                changed.headers.extend(encoding.map(|coding| (header::CONTENT_ENCODING, coding)));
            });
            assert_eq!(decided.ok().map(Coding::as_str), case.expect.as_deref(), "row {row}: {decided:?}");
        }
    }

    #[test]
    fn each_condition_is_named_where_it_fails() {
        let with = |name: &'static str, value: &'static str| {
            move |changed: &mut Changed| drop(changed.headers.insert(name, HeaderValue::from_static(value)))
        };
        assert_eq!(decided(|_| {}), Ok(Coding::Brotli));
        let off = decided(|changed| changed.spec.default_behavior.compress = false);
        assert_eq!(off, Err(Uncompressed::Disabled));
        let unwanted = decided(|changed| changed.request = headers(&[("accept-encoding", "br;q=0, deflate")]));
        assert_eq!(unwanted, Err(Uncompressed::NotAccepted));
        assert_eq!(decided(|changed| changed.version = Version::HTTP_10), Err(Uncompressed::Http10));
        assert_eq!(decided(|changed| changed.fresh_for = Duration::ZERO), Err(Uncompressed::NotFresh));
        assert_eq!(decided(with("content-encoding", "identity")), Err(Uncompressed::Encoded));
        assert_eq!(decided(|changed| changed.status = StatusCode::GONE), Err(Uncompressed::Status));
        assert_eq!(decided(with("content-type", "text/markdown")), Err(Uncompressed::ContentType));
        assert_eq!(decided(with("content-type", "TEXT/HTML ; a=b")), Ok(Coding::Brotli));
        assert_eq!(decided(with("content-length", "999")), Err(Uncompressed::TooSmall));
        assert_eq!(decided(with("content-length", "10000001")), Err(Uncompressed::TooLarge));
        assert_eq!(decided(with("content-length", "many")), Err(Uncompressed::NoLength));
        let none = decided(|changed| drop(changed.headers.remove("content-length")));
        assert_eq!(none, Err(Uncompressed::NoLength));
        assert_eq!(decided(with("cache-control", "public, No-Transform")), Err(Uncompressed::NoTransform));
    }

    #[test]
    fn zstd_comes_first_where_a_policy_enables_it() {
        let zstd = |enabled: bool| {
            decided(|changed| {
                changed.spec.default_behavior.cache_policy.zstd = enabled;
                changed.request = headers(&[("accept-encoding", "gzip, br, zstd")]);
            })
        };
        assert_eq!((zstd(true), zstd(false)), (Ok(Coding::Zstd), Ok(Coding::Brotli)));
    }

    #[test]
    fn headers_become_those_of_the_compressed_form() {
        let mut described = headers(&[
            ("content-length", "5000"),
            ("content-md5", "x"),
            ("etag", "\"a\""),
            ("accept-ranges", "bytes"),
            ("vary", "Origin"),
        ]);
        describe(&mut described, Coding::Gzip);
        let expected = headers(&[
            ("etag", "W/\"a\""),
            ("accept-ranges", "bytes"),
            ("vary", "Origin"),
            ("vary", "Accept-Encoding"),
            ("content-encoding", "gzip"),
        ]);
        assert_eq!(described, expected);
        for (tag, left) in [("W/\"a\"", Some("W/\"a\"")), ("a", None), ("\"a", None)] {
            let mut described = headers(&[("etag", tag), ("vary", "accept-encoding")]);
            describe(&mut described, Coding::Brotli);
            assert_eq!(described.get("etag").map(|tag| tag.to_str().unwrap()), left);
            assert_eq!(described["vary"], "accept-encoding");
        }
    }

    #[test]
    fn what_was_compressed_here_is_known_by_its_headers() {
        let mut ours = headers(&[("content-length", "5000"), ("etag", "\"a\"")]);
        assert!(!was_applied(&ours));
        describe(&mut ours, Coding::Gzip);
        assert!(was_applied(&ours));
        ours.insert("content-length", HeaderValue::from_static("700"));
        assert!(was_applied(&ours), "as it comes from the shield");
        assert!(!was_applied(&headers(&[("content-encoding", "br"), ("etag", "\"a\"")])));
    }
}
