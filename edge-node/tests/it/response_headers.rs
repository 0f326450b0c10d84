//! Response headers policies: what viewers see of them, on misses, hits, errors and redirects.

use cdn_core::{
    policies,
    response_headers::{
        PolicyHeader, ResponseHeadersPolicy, SAMPLES,
        cors::{Cors, OriginPattern},
    },
    viewer_protocol::ViewerProtocolPolicy,
};
use http::{HeaderName, HeaderValue, header};

use crate::support::{Running, Scripted, Setup, exchange, get, get_with, ok};

/// An edge with a policy, before an origin that answers the same to everything.
async fn edge(policy: ResponseHeadersPolicy, headers: &str) -> Running {
    let origin = Scripted::always(vec![ok(&format!("Cache-Control: max-age=60\r\n{headers}"), "hello")]).await;
    let mut setup = Setup::new(origin.address);
    setup.spec.default_behavior.response_headers_policy = Some(policy);
    setup.start().await
}

fn managed(name: &str) -> ResponseHeadersPolicy {
    policies::response_headers_policy(name).unwrap()
}

#[tokio::test]
async fn hits_and_misses_carry_the_same_policy() {
    let policy = ResponseHeadersPolicy { remove: vec![header::SERVER], ..managed("SecurityHeadersPolicy") };
    let edge = edge(policy, "Server: nginx\r\nX-Frame-Options: DENY\r\nX-Content-Type-Options: other\r\n").await;
    for x_cache in ["Miss from cloudfront", "Hit from cloudfront", "Hit from cloudfront"] {
        let reply = get(edge.address, "/a").await;
        assert_eq!(reply.x_cache(), x_cache);
        for (name, value) in [
            ("server", "CloudFront"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(reply.header(name), value, "{x_cache}: {}", reply.head);
        }
    }
    // What a cache keeps is the origin's: a precondition is answered from that, and dressed as well.
    let other = get_with(edge.address, "/a", "Range: bytes=0-1\r\n").await;
    assert_eq!((other.status, other.header("x-xss-protection").as_str()), (206, "1; mode=block"));
}

#[tokio::test]
async fn only_cors_requests_get_cors_headers_and_one_stored_response_serves_all() {
    let named = |host: &str| OriginPattern::parse(host).unwrap();
    let cors = Cors {
        allow_origins: vec![named("https://a.test"), named("*.b.test")],
        expose_headers: vec!["ETag".into()],
        ..Cors::default()
    };
    let policy = ResponseHeadersPolicy { cors: Some(cors), ..ResponseHeadersPolicy::default() };
    let origin = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", "hello")]).await;
    let mut setup = Setup::new(origin.address).policy("CachingOptimized");
    setup.spec.default_behavior.response_headers_policy = Some(policy);
    let edge = setup.start().await;
    for (asking, allowed) in [
        ("", ""),
        ("Origin: https://a.test\r\n", "https://a.test"),
        ("Origin: http://x.b.test\r\n", "http://x.b.test"),
        ("Origin: https://c.test\r\n", ""),
    ] {
        let reply = get_with(edge.address, "/a", asking).await;
        assert_eq!(reply.header("access-control-allow-origin"), allowed, "{asking}");
        assert_eq!(reply.header("vary"), if allowed.is_empty() { "" } else { "Origin" });
        assert_eq!(reply.header("access-control-expose-headers"), if allowed.is_empty() { "" } else { "ETag" });
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_preflight_goes_to_the_origin_and_comes_back_with_the_policys_headers() {
    let edge = edge(managed("CORS-With-Preflight"), "").await;
    let ask = "OPTIONS /a HTTP/1.1\r\nHost: www.demo.test\r\nOrigin: https://a.test\r\n\
               Access-Control-Request-Method: PUT\r\n\r\n";
    let reply = exchange(edge.address, ask).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("access-control-allow-methods"), "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
    assert_eq!(reply.header("access-control-expose-headers"), "");
    let plain = get_with(edge.address, "/a", "Origin: https://a.test\r\n").await;
    assert_eq!(plain.header("access-control-expose-headers"), "*");
    assert_eq!(plain.header("access-control-allow-methods"), "");
}

#[tokio::test]
async fn an_origins_own_cors_headers_stay_unless_overridden() {
    let theirs = "Access-Control-Allow-Origin: https://only.test\r\n";
    let kept = edge(managed("SimpleCORS"), theirs).await;
    let reply = get_with(kept.address, "/a", "Origin: https://a.test\r\n").await;
    assert_eq!(reply.header("access-control-allow-origin"), "https://only.test");
    let cors = Cors { overrides: true, ..managed("SimpleCORS").cors.unwrap() };
    let overriding = edge(ResponseHeadersPolicy { cors: Some(cors), ..managed("SimpleCORS") }, theirs).await;
    let reply = get_with(overriding.address, "/a", "Origin: https://a.test\r\n").await;
    assert_eq!(reply.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn errors_and_redirects_carry_the_policy_too() {
    let own =
        PolicyHeader { name: HeaderName::from_static("x-own"), value: HeaderValue::from_static("1"), overrides: true };
    let policy = ResponseHeadersPolicy { custom: vec![own], ..ResponseHeadersPolicy::default() };
    let mut setup = Setup::new(Scripted::refusing().await);
    setup.spec.default_behavior.response_headers_policy = Some(policy);
    let mut redirecting = setup.spec.default_behavior.clone();
    (redirecting.path_pattern, redirecting.viewer_protocol) = ("/s".into(), ViewerProtocolPolicy::RedirectToHttps);
    setup.spec.behaviors.push(redirecting);
    let edge = setup.start().await;
    for (path, status) in [("/a", 502), ("/s", 301)] {
        let reply = get(edge.address, path).await;
        assert_eq!((reply.status, reply.header("x-own").as_str()), (status, "1"));
    }
}

#[tokio::test]
async fn server_timing_is_cloudfronts_where_a_policy_samples_it() {
    let diagnostics = |setup: &mut Setup| setup.spec.diagnostics.server_timing = false;
    let origin = Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", "hello")]).await;
    let start = async |samples: u32| {
        let mut setup = Setup::new(origin.address);
        diagnostics(&mut setup);
        setup.spec.default_behavior.response_headers_policy =
            Some(ResponseHeadersPolicy { server_timing: Some(samples), ..ResponseHeadersPolicy::default() });
        setup.start().await
    };
    let always = start(SAMPLES).await;
    let miss = get(always.address, "/a").await.header("server-timing");
    for entry in [
        "cdn-cache-miss",
        "cdn-upstream-layer;desc=\"EDGE\"",
        "cdn-upstream-dns;dur=0",
        "cdn-upstream-connect;dur=",
        "cdn-upstream-fbl;dur=",
        "cdn-downstream-fbl;dur=",
    ] {
        assert!(miss.contains(entry), "{entry}: {miss}");
    }
    let hit = get(always.address, "/a").await;
    let timing = hit.header("server-timing");
    assert!(timing.contains("cdn-cache-hit") && timing.contains("cdn-hit-layer;desc=\"EDGE\""), "{timing}");
    assert!(timing.contains(&hit.header("x-amz-cf-id")) && !timing.contains("edge-lookup"), "{timing}");
    let never = start(0).await;
    assert_eq!(get(never.address, "/a").await.header("server-timing"), "");
    let asked = get_with(never.address, "/a", "Pragma: server-timing\r\n").await;
    assert!(asked.header("server-timing").contains("cdn-pop"), "{}", asked.head);
}
