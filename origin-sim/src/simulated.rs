//! The simulated face: an answer for every path, made from parameters.
//!
//! Layers, each over the one before: the defaults (and the page of the demo site, if the path is one), the first rule of
//! the config that matches, the query. Knows requests and parameters; sockets, slots and faults are `serve`'s.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cdn_core::content::Content;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::{
    answer::{Answer, Manner, Representation, http_date},
    body::Source,
    demo::{self, Page},
    parameters::{InvalidParameter, Parameters, Rule, TagChoice},
    precondition::EntityTag,
};

/// Length of a body of which nothing says how long it is: 1 KiB.
const SIZE_DEFAULT: u64 = 1 << 10;
/// `Cache-Control` where nothing else is said.
const CACHE_CONTROL_DEFAULT: HeaderValue = HeaderValue::from_static("max-age=60");
/// `Last-Modified` where nothing else is said, in seconds since 1970: 2024-01-01. Fixed, so that two origins and two
/// runs agree.
const LAST_MODIFIED_DEFAULT_S: u64 = 1_704_067_200;
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Which origin answers, and what it was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) id: &'a str,
    pub(crate) seed: u64,
    pub(crate) rules: &'a [Rule],
    pub(crate) ranges_max: usize,
    /// Longest silence inside a request's body.
    pub(crate) body_timeout: Duration,
}

/// The body of a request did not arrive whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFailure {
    /// Nothing for longer than the timeout.
    TimedOut,
    /// Malformed, or the client went away.
    Broken,
}

/// What a request asks for.
///
/// # Errors
/// A parameter that makes no sense.
pub(crate) fn parameters(setup: &Setup<'_>, path: &str, query: &str) -> Result<Parameters, InvalidParameter> {
    Ok(ruled(setup.rules, path).overlaid(Parameters::from_query(query)?))
}

/// What the first rule that matches says about `path`.
pub(crate) fn ruled(rules: &[Rule], path: &str) -> Parameters {
    rules.iter().find(|rule| rule.path.matches(path)).map(|rule| rule.parameters.clone()).unwrap_or_default()
}

/// The answer to a request.
///
/// # Errors
/// The request's body did not arrive whole.
pub(crate) async fn answer(
    setup: &Setup<'_>,
    request: &request::Parts,
    mut body: Incoming,
    parameters: Parameters,
) -> Result<Answer, BodyFailure> {
    let path = request.uri.path();
    if path == "/echo" {
        let mut answer = demo::echo(setup.id, request, &mut body, setup.body_timeout).await?;
        dress(&mut answer, &parameters, None);
        answer.status = parameters.status.unwrap_or(answer.status);
        if request.method == Method::HEAD {
            answer.forget_body();
        }
        return Ok(answer);
    }
    while next_data(&mut body, setup.body_timeout).await?.is_some() {}
    match request.method {
        Method::OPTIONS => {
            let mut answer = Answer::empty(StatusCode::NO_CONTENT);
            answer.headers.insert(header::ALLOW, ALLOW);
            return Ok(answer);
        }
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {}
        _ => {
            let mut answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "this origin does not know the method\n");
            answer.headers.insert(header::ALLOW, ALLOW);
            return Ok(answer);
        }
    }
    Ok(answer_now(setup, request, &parameters))
}

/// The answer to a request of which nothing more is to come.
fn answer_now(setup: &Setup<'_>, request: &request::Parts, parameters: &Parameters) -> Answer {
    let path = request.uri.path();
    let page = demo::page(setup.id, path);
    let cache_control = page.as_ref().map_or(CACHE_CONTROL_DEFAULT, |page| page.cache_control.clone());
    let representation = representation(setup, path, parameters, page);
    let manner = Manner {
        status: parameters.status.unwrap_or(StatusCode::OK),
        ranges: parameters.ranges.unwrap_or(true),
        ranges_max: setup.ranges_max,
        chunked: parameters.chunked.unwrap_or(false),
        chunk_bytes: parameters.chunk_bytes,
        drip: parameters.drip.unwrap_or_default(),
    };
    let mut answer = Answer::of(request, representation, &manner);
    dress(&mut answer, parameters, Some(cache_control));
    answer
}

/// What a simulated origin answers to a GET, without its body: for whoever plays it without sockets.
#[derive(Clone, Debug)]
pub struct Described {
    /// The status.
    pub status: StatusCode,
    /// The headers that it sets, `Content-Length` among them where there is one.
    pub headers: HeaderMap,
    /// Bytes of the body.
    pub bytes: u64,
    /// How long it waits before it answers.
    pub delay: Duration,
}

/// What the simulated origin `id` answers to a GET of `path`, with these `rules` and as `seed` makes its bodies.
pub fn describe(id: &str, seed: u64, rules: &[Rule], path: &str, query: Option<&str>) -> Described {
    let setup = Setup { id, seed, rules, ranges_max: 0, body_timeout: Duration::ZERO };
    let nothing = |status| Described { status, headers: HeaderMap::new(), bytes: 0, delay: Duration::ZERO };
    let Ok(parameters) = parameters(&setup, path, query.unwrap_or_default()) else {
        return nothing(StatusCode::BAD_REQUEST);
    };
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let Ok(request) = http::Request::get(target).body(()) else { return nothing(StatusCode::BAD_REQUEST) };
    let answer = answer_now(&setup, &request.into_parts().0, &parameters);
    let mut headers = answer.headers;
    if !answer.chunked {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(answer.length));
    }
    Described { status: answer.status, headers, bytes: answer.length, delay: parameters.delay.unwrap_or_default() }
}

/// Cache headers and the headers that were asked for. Both faces end with it.
pub(crate) fn dress(answer: &mut Answer, parameters: &Parameters, cache_control: Option<HeaderValue>) {
    // 412 and 416 are about the request, not about the representation.
    let about_request = matches!(answer.status, StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE);
    if !about_request {
        if let Some(value) = parameters.cache_control.clone().unwrap_or(cache_control) {
            answer.headers.insert(header::CACHE_CONTROL, value);
        } else if parameters.cache_control.is_some() {
            answer.headers.remove(header::CACHE_CONTROL);
        }
        if let Some(value) = parameters.expires_s.and_then(from_now).and_then(http_date) {
            answer.headers.insert(header::EXPIRES, value);
        }
    }
    for (at, (name, value)) in parameters.headers.iter().enumerate() {
        let first = parameters.headers.iter().take(at).all(|(earlier, _)| earlier != name);
        if first {
            answer.headers.insert(name, value.clone());
        } else {
            answer.headers.append(name, value.clone());
        }
    }
}

/// The next bytes of a request's body; trailers are passed over.
///
/// # Errors
/// The client paused for too long, went away, or sent what is not a body.
pub(crate) async fn next_data(body: &mut Incoming, timeout: Duration) -> Result<Option<Bytes>, BodyFailure> {
    loop {
        match tokio::time::timeout(timeout, body.frame()).await {
            Err(_elapsed) => return Err(BodyFailure::TimedOut),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_error))) => return Err(BodyFailure::Broken),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn representation(setup: &Setup<'_>, path: &str, parameters: &Parameters, page: Option<Page>) -> Representation {
    // A size that was asked for makes a page of the demo site a body like any other.
    let page = page.filter(|_| parameters.size.is_none());
    let content = Content::new(parameters.seed.unwrap_or(setup.seed), path);
    let (length, source, fixed_type) = match page {
        Some(Page { body: Some(body), content_type, .. }) => {
            (body.len() as u64, Source::Bytes(body), Some(content_type))
        }
        Some(Page { size, content_type, .. }) => (size, Source::Content(content), Some(content_type)),
        None => {
            (parameters.size.or_else(|| demo::size_in(path)).unwrap_or(SIZE_DEFAULT), Source::Content(content), None)
        }
    };
    let opaque = match &source {
        Source::Bytes(body) => format!("{:016x}", fnv(body)),
        _ => format!("{:016x}-{length:x}", content.fingerprint()),
    };
    let etag = match parameters.etag.as_ref().unwrap_or(&TagChoice::Strong) {
        TagChoice::Strong => Some(EntityTag::strong(&opaque)),
        TagChoice::Weak => Some(EntityTag::weak(&opaque)),
        TagChoice::Literal(opaque) => Some(EntityTag::strong(opaque)),
        TagChoice::None => None,
    };
    let default_date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(LAST_MODIFIED_DEFAULT_S));
    Representation {
        content_type: parameters.content_type.clone().or(fixed_type).unwrap_or_else(|| content_type(path)),
        etag,
        last_modified: parameters.last_modified.unwrap_or(default_date),
        length,
        source,
    }
}

/// By extension; without one it is text, because that is what the deterministic content is.
fn content_type(path: &str) -> HeaderValue {
    mime_guess::from_path(path).first_raw().map_or(HeaderValue::from_static("text/plain; charset=utf-8"), with_charset)
}

/// Text is UTF-8.
pub(crate) fn with_charset(mime: &'static str) -> HeaderValue {
    let text = mime.starts_with("text/") || matches!(mime, "application/javascript" | "application/json");
    if text {
        HeaderValue::try_from(format!("{mime}; charset=utf-8")).unwrap_or(HeaderValue::from_static("text/plain"))
    } else {
        HeaderValue::from_static(mime)
    }
}

/// FNV-1a: names the few pages of the demo site, which are ours.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn from_now(seconds: i64) -> Option<SystemTime> {
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::now().checked_sub(span) } else { SystemTime::now().checked_add(span) }
}
