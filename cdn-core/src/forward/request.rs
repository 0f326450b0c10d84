//! What the origin is sent.
//!
//! Decides by CloudFront's table of request headers, the union of cache policy and origin request policy, and the
//! origin's custom headers. Asks for nothing itself.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{
    HOP_BY_HOP, HOP_HEADER,
    viewer_headers::{Facts, viewer_header},
};
use crate::{
    accept_encoding::AcceptEncoding,
    cache_key::RequestHead,
    conditional::{PRECONDITIONS, Validators},
    distribution::{CheckedBehavior, Origin},
    fields::Fields as _,
    range::ByteRange,
    selection::{cookies, select_query},
};

/// How often a request may have been through CloudFront already: a chain of two distributions is allowed, and whoever is
/// second in it sees one entry.
pub const CDN_LOOP_MAX: usize = 1;

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
    /// A range that lacks in what is stored, if that still holds (RFC 9111 section 3.3).
    Lacking {
        /// The bytes.
        range: ByteRange,
        /// Whether they are the object's last.
        to_end: bool,
        /// What the parts are to be combined by.
        validator: &'a HeaderValue,
    },
}

impl Conditions<'_> {
    /// Puts them on a request, whose preconditions are the viewer's own or none.
    pub(super) fn put_on(self, headers: &mut HeaderMap) {
        match self {
            Self::Viewer | Self::None => {}
            Self::Stored(validators) => validators.ask(headers),
            Self::Lacking { range, to_end, validator } => {
                let range = if to_end {
                    format!("bytes={}-", range.first)
                } else {
                    format!("bytes={}-{}", range.first, range.last)
                };
                headers.extend(HeaderValue::from_str(&range).ok().map(|range| (header::RANGE, range)));
                headers.insert(header::IF_RANGE, validator.clone());
            }
        }
    }
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
/// behavior's policies name and that are known. A viewer of HTTP/1.0 loses an `Accept-Encoding` that would be normalised.
/// Call it before the cache key is made, and only where viewers are spoken to: caches behind are sent what came of it.
pub fn receive_viewer_headers(headers: &mut HeaderMap, behavior: &CheckedBehavior, viewer: &Viewer, facts: Facts<'_>) {
    super::strip_hop_by_hop(headers);
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_cloudfront(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    headers.remove(HOP_HEADER);
    // HTTP/1.0 gets nothing compressed, so its key must be that of a viewer who asks for nothing compressed.
    if viewer.version <= Version::HTTP_10 && behavior.normalizes_accept_encoding() {
        headers.remove(header::ACCEPT_ENCODING);
    }
    for name in behavior.cloudfront_headers() {
        if let Some(value) = viewer_header(name, viewer, facts, headers) {
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

/// The `Host` that the origin receives: the viewer's where the behavior's policies name the header, else its own.
pub fn origin_host<'a>(request: &RequestHead<'a>, origin: &'a Origin) -> &'a str {
    match &origin.host_header {
        Some(host) => host,
        None if request.behavior.takes_header(&header::HOST) => request.host,
        None => &origin.domain_name,
    }
}

/// The headers that the origin receives.
pub fn origin_request_headers(forward: &Forward<'_>) -> HeaderMap {
    let RequestHead { behavior, method, headers: viewers, .. } = forward.request;
    let mut headers = HeaderMap::with_capacity(viewers.len() + 8);
    for (name, value) in viewers {
        if travels(forward, name) {
            headers.append(name, value.clone());
        }
    }
    let host = origin_host(&forward.request, forward.origin);
    headers.insert(header::HOST, HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("")));
    if behavior.normalizes_accept_encoding() {
        headers.remove(header::ACCEPT_ENCODING);
        if let Some(value) = AcceptEncoding::of(viewers, behavior.cache_policy()).to_origin() {
            headers.insert(header::ACCEPT_ENCODING, value);
        }
    }
    if !headers.contains_key(header::COOKIE)
        && let Some(cookie) = forwarded_cookies(behavior, viewers)
    {
        headers.insert(header::COOKIE, cookie);
    }
    if !behavior.takes_header(&header::USER_AGENT) {
        headers.insert(header::USER_AGENT, USER_AGENT);
    }
    let peer = forward.viewer.address.ip().to_canonical().to_string();
    headers.insert(X_FORWARDED_FOR, viewers.joined(&X_FORWARDED_FOR, ",", peer.as_bytes()));
    headers.insert(header::VIA, viewers.joined(&header::VIA, ", ", forward.via.as_bytes()));
    headers.insert(CDN_LOOP, viewers.joined(&CDN_LOOP, ", ", CDN_LOOP_TOKEN.as_bytes()));
    headers.insert(X_AMZ_CF_ID, forward.viewer.request_id.clone());
    if matches!(*method, Method::GET | Method::HEAD) {
        forward.conditions.put_on(&mut headers);
    }
    for (name, value) in &forward.origin.custom_headers {
        headers.insert(name, value.clone());
    }
    if !behavior.follows_origin() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Keep-Alive"));
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
    if behavior.follows_origin() && behavior.takes_header(name) {
        // Only what is made anew below, what concerns the connection, and what nobody but us may say.
        return !HOP_BY_HOP.contains(name)
            && !matches!(*name, header::EXPECT | header::HOST)
            && !is_cloudfront(name)
            && *name != X_AMZ_CF_ID
            && *name != HOP_HEADER;
    }
    if HOP_BY_HOP.contains(name) || NEVER.contains(name) || *name == header::COOKIE {
        return false;
    }
    if name.as_str().starts_with("x-edge-") {
        return false;
    }
    if is_cloudfront(name) {
        return behavior.cloudfront_headers().contains(name);
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::{
        distribution::{Distribution, OriginRequestPolicy, Selection},
        forward::via,
        test_data,
    };

    const VIEWERS: &[(&str, &str)] = &[
        ("host", "www.demo.test"),
        ("accept", "text/html"),
        ("accept-encoding", "gzip, deflate"),
        ("authorization", "Basic eA=="),
        ("cache-control", "no-cache"),
        ("cloudfront-viewer-country", "XX"),
        ("connection", "keep-alive, x-hop"),
        ("cookie", "b=2; a=1"),
        ("expect", "100-continue"),
        ("if-none-match", "\"x\""),
        ("range", "bytes=0-1"),
        ("user-agent", "curl/8"),
        ("via", "1.0 fred"),
        ("x-any", "1"),
        ("x-any", "2"),
        ("x-edge-thing", "1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "gopher"),
        ("x-hop", "1"),
        ("x-iso-hop", "forged"),
    ];

    fn viewer() -> Viewer {
        Viewer {
            address: "198.18.41.7:5000".parse().unwrap(),
            https: false,
            version: Version::HTTP_11,
            request_id: HeaderValue::from_static("id=="),
        }
    }

    fn sent(method: &Method, behavior: &CheckedBehavior, conditions: Conditions<'_>, origin: &Origin) -> HeaderMap {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let mut headers = HeaderMap::new();
        for &(name, value) in VIEWERS {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        receive_viewer_headers(&mut headers, behavior, &viewer(), Facts::default());
        let request = RequestHead {
            distribution: &distribution,
            behavior,
            method,
            host: "www.demo.test",
            path: "/a",
            query: None,
            headers: &headers,
        };
        let (via, viewer) = (via(1), viewer());
        origin_request_headers(&Forward { request, viewer: &viewer, origin, conditions, via: &via, upgrade: None })
    }

    fn check(behavior: &CheckedBehavior, conditions: Conditions<'_>, expected: &Expect) {
        let headers = sent(&Method::GET, behavior, conditions, &Origin::new("app.test:3000"));
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
        lines.sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn without_an_origin_request_policy_only_the_tables_defaults_travel() {
        check(
            &test_data::behavior("CachingOptimized", ""),
            Conditions::Viewer,
            &expect![[r#"
                accept-encoding: gzip
                cache-control: no-cache
                cdn-loop: Amazon CloudFront
                connection: Keep-Alive
                host: app.test:3000
                if-none-match: "x"
                range: bytes=0-1
                user-agent: Amazon CloudFront
                via: 1.0 fred, 1.1 00000000000000000000000000000001.cloudfront.net (CloudFront)
                x-amz-cf-id: id==
                x-forwarded-for: 10.0.0.1,198.18.41.7
            "#]],
        );
    }

    #[test]
    fn all_viewer_lets_everything_travel_that_is_the_viewers_to_say() {
        let validators = Validators { etag: Some(HeaderValue::from_static("\"stored\"")), last_modified: None };
        check(
            &test_data::behavior("UseOriginCacheControlHeaders-QueryStrings", "AllViewer"),
            Conditions::Stored(&validators),
            &expect![[r#"
                accept: text/html
                accept-encoding: gzip
                authorization: Basic eA==
                cache-control: no-cache
                cdn-loop: Amazon CloudFront
                connection: Keep-Alive
                cookie: a=1; b=2
                host: www.demo.test
                if-none-match: "stored"
                user-agent: curl/8
                via: 1.0 fred, 1.1 00000000000000000000000000000001.cloudfront.net (CloudFront)
                x-amz-cf-id: id==
                x-any: 1
                x-any: 2
                x-forwarded-for: 10.0.0.1,198.18.41.7
            "#]],
        );
    }

    #[test]
    fn what_lacks_is_asked_for_on_condition_that_the_rest_still_holds() {
        let asked = |to_end| {
            let (range, validator) = (ByteRange { first: 5, last: 9 }, HeaderValue::from_static("\"a\""));
            let conditions = Conditions::Lacking { range, to_end, validator: &validator };
            let behavior = test_data::behavior("CachingOptimized", "");
            let headers = sent(&Method::GET, &behavior, conditions, &Origin::new("a.test"));
            assert!(!headers.contains_key(header::IF_NONE_MATCH));
            [&headers[header::RANGE], &headers[header::IF_RANGE]].map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(asked(true), ["bytes=5-", "\"a\""]);
        assert_eq!(asked(false), ["bytes=5-9", "\"a\""]);
    }

    #[test]
    fn a_plain_shared_cache_rewrites_nothing() {
        check(
            &test_data::behavior("honour-origin", "AllViewer"),
            Conditions::None,
            &expect![[r#"
                accept: text/html
                accept-encoding: gzip, deflate
                authorization: Basic eA==
                cache-control: no-cache
                cdn-loop: Amazon CloudFront
                cookie: b=2; a=1
                host: www.demo.test
                user-agent: curl/8
                via: 1.0 fred, 1.1 00000000000000000000000000000001.cloudfront.net (CloudFront)
                x-amz-cf-id: id==
                x-any: 1
                x-any: 2
                x-edge-thing: 1
                x-forwarded-for: 10.0.0.1,198.18.41.7
                x-forwarded-proto: gopher
            "#]],
        );
    }

    #[test]
    fn authorization_travels_with_methods_that_write() {
        let behavior = test_data::behavior("CachingDisabled", "");
        let origin = Origin::new("app.test");
        let has = |method| sent(method, &behavior, Conditions::None, &origin).contains_key(header::AUTHORIZATION);
        assert!(has(&Method::POST) && !has(&Method::GET));
    }

    #[test]
    fn custom_headers_of_the_origin_replace_the_viewers() {
        let mut origin = Origin::new("app.test");
        origin.custom_headers = vec![(HeaderName::from_static("x-any"), HeaderValue::from_static("ours"))];
        let behavior = test_data::behavior("CachingOptimized", "AllViewer");
        let headers = sent(&Method::GET, &behavior, Conditions::None, &origin);
        assert_eq!(headers.get_all("x-any").iter().collect::<Vec<_>>(), ["ours"]);
    }

    #[test]
    fn cloudfronts_own_headers_are_made_here_and_only_where_a_policy_names_them() {
        let mut spec = test_data::distribution_spec();
        spec.default_behavior.origin_request_policy = OriginRequestPolicy {
            added_headers: vec!["CloudFront-Viewer-Address".to_owned(), "CloudFront-Viewer-Country".to_owned()],
            headers: Selection::Only(vec!["CloudFront-Forwarded-Proto".to_owned()]),
            ..OriginRequestPolicy::default()
        };
        let headers = sent(&Method::GET, &test_data::behavior_of(spec), Conditions::None, &Origin::new("a"));
        assert_eq!(headers["cloudfront-viewer-address"], "198.18.41.7:5000");
        assert_eq!(headers["cloudfront-forwarded-proto"], "http");
        assert!(!headers.contains_key("cloudfront-viewer-country"), "a viewer's own is forged");
        let all = test_data::behavior("CachingOptimized", "AllViewer");
        let headers = sent(&Method::GET, &all, Conditions::None, &Origin::new("a"));
        assert!(headers.keys().all(|name| !is_cloudfront(name)));
    }

    #[test]
    fn viewers_of_http_1_0_share_the_key_of_those_who_take_nothing_compressed() {
        let left = |version, cache| {
            let mut headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
            let viewer = Viewer { version, ..viewer() };
            receive_viewer_headers(&mut headers, &test_data::behavior(cache, ""), &viewer, Facts::default());
            headers.contains_key(header::ACCEPT_ENCODING)
        };
        assert!(!left(Version::HTTP_10, "CachingOptimized"));
        assert!(left(Version::HTTP_11, "CachingOptimized"));
        assert!(left(Version::HTTP_10, "CachingDisabled"), "there it is a header like any other");
    }

    #[test]
    fn websocket_upgrades_carry_their_own_headers() {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let behavior = test_data::behavior("CachingOptimized", "");
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("sec-websocket-key"), HeaderValue::from_static("k")),
            (HeaderName::from_static("x-other"), HeaderValue::from_static("1")),
        ]);
        let request = RequestHead {
            distribution: &distribution,
            behavior: &behavior,
            method: &Method::GET,
            host: "h",
            path: "/ws",
            query: None,
            headers: &headers,
        };
        let (via, viewer, websocket) = (via(1), viewer(), HeaderValue::from_static("websocket"));
        let origin = Origin::new("app.test");
        let conditions = Conditions::Viewer;
        let upgrade = Some(&websocket);
        let sent = origin_request_headers(&Forward {
            request,
            viewer: &viewer,
            origin: &origin,
            conditions,
            via: &via,
            upgrade,
        });
        assert_eq!(
            (&sent["connection"], &sent["upgrade"], &sent["sec-websocket-key"]),
            (&HeaderValue::from_static("Upgrade"), &websocket, &HeaderValue::from_static("k"))
        );
        assert!(!sent.contains_key("x-other"));
    }

    #[test]
    fn target_is_origin_path_raw_path_and_selected_query() {
        let distribution = Distribution::new(test_data::distribution_spec()).unwrap();
        let headers = HeaderMap::new();
        let target = |cache, origin_request, path, query| {
            let behavior = test_data::behavior(cache, origin_request);
            let request = RequestHead {
                distribution: &distribution,
                behavior: &behavior,
                method: &Method::GET,
                host: "h",
                path,
                query,
                headers: &headers,
            };
            let origin = Origin { origin_path: "/v1".to_owned(), ..Origin::new("a") };
            origin_path_and_query(&request, &origin)
        };
        assert_eq!(target("CachingOptimized", "", "/a//../b%20", Some("x=1")), "/v1/a//../b%20");
        assert_eq!(target("CachingOptimized", "AllViewer", "/a", Some("x=1&&y")), "/v1/a?x=1&&y");
        assert_eq!(target("CachingOptimized", "AllViewer", "/a", Some("")), "/v1/a?");
        assert_eq!(target("CachingOptimized", "AllViewer", "/a", None), "/v1/a");
        assert_eq!(target("Elemental-MediaPackage", "", "/a", Some("x=1&start=2&end=3")), "/v1/a?start=2&end=3");
    }

    #[test]
    fn loops_are_counted_over_all_lines() {
        let mut headers = HeaderMap::new();
        headers.append(CDN_LOOP, "other, Amazon CloudFront".parse().unwrap());
        headers.append(CDN_LOOP, "amazon cloudfront;v=1, Amazon CloudFront".parse().unwrap());
        assert_eq!(loops(&headers), 2);
    }
}
