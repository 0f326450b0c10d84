//! What the origin is sent.
//!
//! Decides by CloudFront's table of request headers, the union of cache policy and origin request policy, and the
//! origin's custom headers. Asks for nothing itself.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{HOP_BY_HOP, HOP_HEADER, joined};
use crate::{
    accept_encoding::AcceptEncoding,
    cache_key::RequestHead,
    conditional::{PRECONDITIONS, Validators},
    distribution::{CheckedBehavior, Origin},
    selection::{cookies, select_query},
};

/// How often a request may have been through CloudFront already: a chain of two distributions is allowed.
pub const CDN_LOOP_MAX: usize = 2;

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const CDN_LOOP_TOKEN: &str = "Amazon CloudFront";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_AMZ_CF_ID: HeaderName = HeaderName::from_static("x-amz-cf-id");
const USER_AGENT: HeaderValue = HeaderValue::from_static("Amazon CloudFront");

/// Forwarded whatever the policies say, beside preconditions and ranges. `Content-Encoding` is not in CloudFront's table,
/// but a body without it is another body.
const ALWAYS: [HeaderName; 12] = [
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::DATE,
    header::FROM,
    header::ORIGIN,
    header::MAX_FORWARDS,
    HeaderName::from_static("request-range"),
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    header::CONTENT_TYPE,
    header::WARNING,
    header::CONTENT_ENCODING,
];

/// Removed whatever the policies say.
const NEVER: [HeaderName; 6] = [
    header::EXPECT,
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    X_AMZ_CF_ID,
    HOP_HEADER,
    // Both are made anew below.
    header::HOST,
];

/// What the edge knows about the viewer's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Where it comes from, in the world's own addresses.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub https: bool,
    /// The version of HTTP that it speaks.
    pub version: Version,
    /// The request's id, `X-Amz-Cf-Id`.
    pub request_id: HeaderValue,
}

/// Which preconditions and ranges the request carries.
#[derive(Clone, Copy, Debug)]
pub enum Conditions<'a> {
    /// The viewer's own, `Range` included: the answer is for this viewer alone.
    Viewer,
    /// None: the whole object is wanted.
    None,
    /// Those that ask whether a stored response still holds (RFC 9111 section 4.3.1).
    Stored(&'a Validators),
}

/// A request on its way to an origin.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The viewer's request, after [`receive_viewer_headers`].
    pub request: RequestHead<'a>,
    /// The viewer.
    pub viewer: &'a Viewer,
    /// The origin that is asked.
    pub origin: &'a Origin,
    /// Preconditions.
    pub conditions: Conditions<'a>,
    /// This node's own entry for `Via`, as [`super::via`] makes it.
    pub via: &'a HeaderValue,
    /// The connection is to become a WebSocket (or what the viewer's `Upgrade` says).
    pub upgrade: Option<&'a HeaderValue>,
}

/// Makes a viewer's headers fit to be looked at: removes what concerns the connection ([`super::strip_hop_by_hop`]) and
/// what only CloudFront may say (`CloudFront-*`, our own hop header), then adds those `CloudFront-*` headers that the
/// behavior's policies name and that are known. Call it before the cache key is made.
pub fn receive_viewer_headers(headers: &mut HeaderMap, behavior: &CheckedBehavior, viewer: &Viewer) {
    super::strip_hop_by_hop(headers);
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_cloudfront(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    headers.remove(HOP_HEADER);
    for (name, value) in known_cloudfront_headers(viewer) {
        if names_explicitly(behavior, &name) {
            headers.insert(name, value);
        }
    }
}

/// How often the request says that it has been through CloudFront. More than [`CDN_LOOP_MAX`] is a loop.
pub fn loops(headers: &HeaderMap) -> usize {
    headers
        .get_all(CDN_LOOP)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .filter(|entry| entry.trim_ascii().eq_ignore_ascii_case(CDN_LOOP_TOKEN.as_bytes()))
        .count()
}

/// The headers that the origin receives.
pub fn origin_request_headers(forward: &Forward<'_>) -> HeaderMap {
    let RequestHead { behavior, method, host, headers: viewers, .. } = forward.request;
    let mut headers = HeaderMap::with_capacity(viewers.len() + 8);
    for (name, value) in viewers {
        if travels(forward, name) {
            headers.append(name, value.clone());
        }
    }
    let own_host = behavior.takes_header(&header::HOST);
    let host = if own_host { host } else { &forward.origin.domain_name };
    headers.insert(header::HOST, HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("")));
    if behavior.normalizes_accept_encoding() {
        headers.remove(header::ACCEPT_ENCODING);
        if let Some(value) = AcceptEncoding::of(viewers, behavior.cache_policy()).to_origin() {
            headers.insert(header::ACCEPT_ENCODING, value);
        }
    }
    if let Some(cookie) = forwarded_cookies(behavior, viewers) {
        headers.insert(header::COOKIE, cookie);
    }
    if !behavior.takes_header(&header::USER_AGENT) {
        headers.insert(header::USER_AGENT, USER_AGENT);
    }
    let peer = forward.viewer.address.ip().to_canonical().to_string();
    headers.insert(X_FORWARDED_FOR, joined(viewers, &X_FORWARDED_FOR, ",", peer.as_bytes()));
    headers.insert(header::VIA, joined(viewers, &header::VIA, ", ", forward.via.as_bytes()));
    headers.insert(CDN_LOOP, joined(viewers, &CDN_LOOP, ", ", CDN_LOOP_TOKEN.as_bytes()));
    headers.insert(X_AMZ_CF_ID, forward.viewer.request_id.clone());
    if let Conditions::Stored(validators) = forward.conditions
        && matches!(*method, Method::GET | Method::HEAD)
    {
        validators.ask(&mut headers);
    }
    for (name, value) in &forward.origin.custom_headers {
        headers.insert(name, value.clone());
    }
    if let Some(protocol) = forward.upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    headers
}

/// The path and query that the origin receives: its own path, the viewer's raw path, and the selected query string.
pub fn origin_path_and_query(request: &RequestHead<'_>, origin: &Origin) -> String {
    let mut target = String::with_capacity(origin.origin_path.len() + request.path.len() + 16);
    target.push_str(&origin.origin_path);
    target.push_str(request.path);
    let union = request.behavior.query();
    if let Some(query) = request.query
        && !union.is_none()
    {
        let selected = select_query(query, union.is_all(), |name| union.takes(name));
        if union.is_all() || !selected.is_empty() {
            target.push('?');
            target.push_str(&selected);
        }
    }
    target
}

/// Whether the viewer's header travels unchanged. Those that are made anew are refused here and added afterwards.
fn travels(forward: &Forward<'_>, name: &HeaderName) -> bool {
    let behavior = forward.request.behavior;
    if PRECONDITIONS.contains(name) {
        return matches!(forward.conditions, Conditions::Viewer);
    }
    if HOP_BY_HOP.contains(name) || NEVER.contains(name) || *name == header::COOKIE {
        return false;
    }
    if name.as_str().starts_with("x-edge-") {
        return false;
    }
    if is_cloudfront(name) {
        return names_explicitly(behavior, name);
    }
    if *name == header::AUTHORIZATION
        && !matches!(*forward.request.method, Method::GET | Method::HEAD | Method::OPTIONS)
    {
        return true;
    }
    if forward.upgrade.is_some() && name.as_str().starts_with("sec-websocket-") {
        return true;
    }
    ALWAYS.contains(name) || behavior.takes_header(name)
}

/// The selected cookies, sorted by name, as one line.
fn forwarded_cookies(behavior: &CheckedBehavior, viewers: &HeaderMap) -> Option<HeaderValue> {
    let union = behavior.cookies();
    if union.is_none() {
        return None;
    }
    let mut taken: Vec<_> = cookies(viewers).filter(|(name, _)| union.takes(name)).collect();
    taken.sort_by_key(|&(name, _)| name);
    let pairs: Vec<&str> = taken.into_iter().map(|(_, pair)| pair).collect();
    if pairs.is_empty() { None } else { HeaderValue::from_str(&pairs.join("; ")).ok() }
}

fn is_cloudfront(name: &HeaderName) -> bool {
    name.as_str().starts_with("cloudfront-")
}

/// Whether a policy lists the header by name, which is the only way to get a `CloudFront-*` one.
fn names_explicitly(behavior: &CheckedBehavior, name: &HeaderName) -> bool {
    use crate::distribution::Selection::Only;
    let policy = behavior.origin_request_policy();
    behavior.key_headers().contains(name)
        || policy.added_headers.iter().any(|added| added.eq_ignore_ascii_case(name.as_str()))
        || matches!(&policy.headers, only @ Only(_) if only.takes_header(name))
}

fn known_cloudfront_headers(viewer: &Viewer) -> [(HeaderName, HeaderValue); 3] {
    let address = format!("{}:{}", viewer.address.ip().to_canonical(), viewer.address.port());
    let version = match viewer.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    };
    let proto = if viewer.https { "https" } else { "http" };
    [
        (HeaderName::from_static("cloudfront-forwarded-proto"), HeaderValue::from_static(proto)),
        (HeaderName::from_static("cloudfront-viewer-http-version"), HeaderValue::from_static(version)),
        (
            HeaderName::from_static("cloudfront-viewer-address"),
            HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("")),
        ),
    ]
}
