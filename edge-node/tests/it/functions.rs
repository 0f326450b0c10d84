//! Viewer functions in front of a real cache: what they change, and what becomes of those that fail.

use std::{sync::Arc, time::Duration};

use cdn_core::{
    Counter,
    distribution::Behavior,
    error_pages::{ErrorPage, Page},
    functions::Function,
    policies,
};
use http::StatusCode;

use crate::support::{Client, Running, Scripted, Setup, exchange, get, get_with, ok, status};

pub(crate) const REQUEST: &str = "viewer_request";
const RESPONSE: &str = "viewer_response";

/// An edge with one function for `/f*`, before an origin that answers with the head it was sent.
async fn edge(trigger: &str, code: &str) -> (Running, Scripted) {
    let origin = Scripted::start(|head, _| {
        vec![if head.starts_with("GET /f/gone") { status(404, "") } else { ok("Cache-Control: max-age=60\r\n", head) }]
    })
    .await;
    (with_function(Setup::new(origin.address), trigger, code).start().await, origin)
}

pub(crate) fn with_function(mut setup: Setup, trigger: &str, code: &str) -> Setup {
    let function = Function { name: "test".into(), code: code.into(), key_values: None };
    setup.spec.functions.insert("test".into(), Arc::new(function));
    let policy = policies::cache_policy("UseOriginCacheControlHeaders-QueryStrings").unwrap();
    let mut behavior = Behavior {
        path_pattern: "/f*".into(),
        origin_request_policy: policies::origin_request_policy("AllViewer").unwrap(),
        ..Behavior::new("app", policy)
    };
    let name = Some("test".to_owned());
    if trigger == REQUEST {
        behavior.viewer_request = name;
    } else {
        behavior.viewer_response = name;
    }
    setup.spec.behaviors.push(behavior);
    setup
}

#[tokio::test]
async fn a_rewritten_path_is_what_is_stored_and_asked_for() {
    let code = "function handler(event) { const r = event.request; r.uri = r.uri.toLowerCase() + '/index.html'; \
                r.querystring = { v: { value: '2' } }; return r; }";
    let (edge, origin) = edge(REQUEST, code).await;
    let first = get(edge.address, "/f/A?x=1").await;
    assert!(first.text().starts_with("GET /f/a/index.html?v=2 HTTP/1.1\r\n"), "{}", first.text());
    let second = get(edge.address, "/f/a?y=1").await;
    assert_eq!((second.x_cache().as_str(), origin.requests()), ("Hit from cloudfront", 1));
    assert_eq!(edge.count(Counter::EdgeFunctionInvocations), 2);
}

#[tokio::test]
async fn a_function_sees_the_default_root_object_in_the_place_of_the_bare_slash() {
    let code = "function handler(event) { event.request.headers['x-seen'] = { value: event.request.uri }; \
                return event.request; }";
    let origin = Scripted::start(|head, _| vec![ok("", head)]).await;
    let mut setup = with_function(Setup::new(origin.address), REQUEST, code);
    setup.spec.behaviors[0].path_pattern = "/index.html".into();
    let (edge, _shield) = setup.start_with_shield().await;
    let sent = get(edge.address, "/?a=1").await.text().to_ascii_lowercase();
    assert!(sent.starts_with("get /index.html?a=1 ") && sent.contains("\r\nx-seen: /index.html\r\n"), "{sent}");
}

#[tokio::test]
async fn another_path_keeps_its_behavior_also_behind_the_edge() {
    let code = "function handler(event) { event.request.uri = '/elsewhere'; return event.request; }";
    let origin = Scripted::start(|head, _| vec![ok("Cache-Control: max-age=60\r\n", head)]).await;
    let (edge, shield) = with_function(Setup::new(origin.address), REQUEST, code).start_with_shield().await;
    let reply = get_with(edge.address, "/f", "X-Any: 1\r\n").await;
    // The default behavior, which `/elsewhere` would have, forwards no such header.
    assert!(reply.text().to_ascii_lowercase().contains("\r\nx-any: 1\r\n"), "{}", reply.text());
    assert!(reply.text().starts_with("GET /elsewhere HTTP/1.1\r\n"), "{}", reply.text());
    assert_eq!((edge.count(Counter::EdgeShieldRequests), shield.count(Counter::EdgeFunctionInvocations)), (1, 0));
}

#[tokio::test]
async fn headers_and_cookies_reach_the_origin_as_the_function_leaves_them() {
    let code = "function handler(event) { const r = event.request; delete r.headers['x-secret']; \
                r.headers['x-seen'] = { value: event.viewer.ip + ' ' + r.cookies.a.value }; delete r.cookies.a; \
                r.cookies.c = { value: r.cookies.b.multiValue.map(one => one.value).join('-') }; return r; }";
    let (edge, _origin) = edge(REQUEST, code).await;
    let reply = get_with(edge.address, "/f", "X-Secret: 1\r\nCookie: a=1; b=2; b=3\r\n").await;
    let sent = reply.text().to_ascii_lowercase();
    assert!(sent.contains("\r\nx-seen: 127.0.0.1 1\r\n") && !sent.contains("x-secret"), "{sent}");
    let cookie = sent.lines().find_map(|line| line.strip_prefix("cookie: "));
    assert_eq!(cookie, Some("b=2; b=3; c=2-3"));
}

#[tokio::test]
async fn a_function_knows_the_query_string_as_sent_and_where_it_runs() {
    let code = "import cf from 'cloudfront'; function handler(event) { \
                return { statusCode: 200, body: [event.request.rawQueryString(), cf.edgeLocation.name, \
                         event.context.endpoint === event.context.distributionDomainName].join(' ') }; }";
    let origin = Scripted::always(vec![ok("", "")]).await;
    let edge = with_function(Setup::new(origin.address), REQUEST, code).start().await;
    assert_eq!(get(edge.address, "/f?b=%20&a&b=1").await.text(), "b=%20&a&b=1 IAD true");
    assert_eq!(get(edge.address, "/f?").await.text(), " IAD true");
}

#[tokio::test]
async fn a_function_answers_by_itself() {
    let code = "function handler(event) { return { statusCode: 302, statusDescription: 'Found', \
                headers: { location: { value: '/new' + event.request.uri } }, \
                cookies: { seen: { value: '1', attributes: 'Secure; Path=/' } }, body: 'moved' }; }";
    let (edge, origin) = edge(REQUEST, code).await;
    let reply = get(edge.address, "/f").await;
    assert_eq!((reply.status, reply.header("location"), reply.text()), (302, "/new/f".into(), "moved".into()));
    assert_eq!(reply.header("set-cookie"), "seen=1; Secure; Path=/");
    assert_eq!((reply.x_cache().as_str(), origin.requests()), ("FunctionGeneratedResponse from cloudfront", 0));
    assert_eq!((reply.header("server").as_str(), reply.reason().as_str()), ("CloudFront", "function_generated"));
    let head = exchange(edge.address, "HEAD /f HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!((head.status, head.header("content-length").as_str()), (302, "5"));
}

#[tokio::test]
async fn a_viewer_response_function_changes_each_copy_and_not_what_is_stored() {
    let code = "function handler(event) { const r = event.response; \
                r.headers['x-path'] = { value: event.request.uri + event.request.querystring.v.value }; \
                r.cookies.a = { value: '1' }; r.statusCode = 203; return r; }";
    let (edge, _origin) = edge(RESPONSE, code).await;
    for x_cache in ["Miss from cloudfront", "Hit from cloudfront"] {
        let reply = get(edge.address, "/f?v=1").await;
        assert_eq!((reply.status, reply.x_cache().as_str()), (203, x_cache));
        assert_eq!((reply.header("x-path"), reply.header("set-cookie")), ("/f1".into(), "a=1".into()));
        assert!(reply.text().starts_with("GET /f?v=1"));
    }
    let plain = get(edge.address, "/g?v=1").await;
    assert_eq!((plain.status, plain.header("x-path").as_str()), (200, ""));
    // It is not asked about errors.
    let gone = get(edge.address, "/f/gone?v=1").await;
    assert_eq!((gone.status, gone.header("x-path").as_str()), (404, ""));
}

#[tokio::test]
async fn error_pages_do_not_come_between_a_function_and_what_leaves() {
    let code = "function handler(event) { const r = event.response; \
                r.headers['x-seen'] = { value: r.headers['x-frame-options'].value }; return r; }";
    let origin = Scripted::start(|head, _| {
        vec![if head.starts_with("GET /f/gone") {
            status(404, "")
        } else {
            ok("Cache-Control: max-age=60\r\n", "page")
        }]
    })
    .await;
    let mut setup = with_function(Setup::new(origin.address), RESPONSE, code);
    let page = Page { status: StatusCode::OK, path: "/page".into() };
    let entry = ErrorPage { status: StatusCode::NOT_FOUND, ttl: Duration::from_secs(60), page: Some(page) };
    setup.spec.error_pages = vec![entry];
    setup.spec.behaviors[0].response_headers_policy = policies::response_headers_policy("SecurityHeadersPolicy");
    let edge = setup.start().await;
    assert_eq!(get(edge.address, "/f/a").await.header("x-seen"), "SAMEORIGIN");
    let gone = get(edge.address, "/f/gone").await;
    assert_eq!((gone.status, gone.text().as_str(), gone.header("x-seen").as_str()), (200, "page", ""));
}

#[tokio::test]
async fn a_viewer_response_function_takes_the_place_of_a_body() {
    let code = "function handler(event) { event.response.body = { encoding: 'base64', data: 'aGk=' }; \
                return event.response; }";
    let (edge, _origin) = edge(RESPONSE, code).await;
    let reply = get(edge.address, "/f").await;
    assert_eq!((reply.text().as_str(), reply.header("content-length").as_str()), ("hi", "2"));
}

#[tokio::test]
async fn functions_that_fail_are_cloudfronts_errors_and_hurt_nobody_else() {
    for (trigger, code, status, reason, x_cache) in [
        (REQUEST, "throw new Error('x')", 503, "function_failed", "FunctionExecutionError from cloudfront"),
        (REQUEST, "for (;;) {}", 503, "function_timeout", "FunctionExecutionError from cloudfront"),
        (
            REQUEST,
            "const a = []; for (;;) a.push(new Array(999).fill(1))",
            503,
            "function_memory",
            "FunctionExecutionError from cloudfront",
        ),
        (REQUEST, "return 5", 502, "function_invalid", "FunctionValidationError from cloudfront"),
        (
            REQUEST,
            "event.request.headers.via = {value: '1'}; return event.request",
            502,
            "function_invalid",
            "FunctionValidationError from cloudfront",
        ),
        (RESPONSE, "throw new Error('x')", 503, "function_failed", "FunctionExecutionError from cloudfront"),
        (RESPONSE, "return event.request", 502, "function_invalid", "FunctionValidationError from cloudfront"),
    ] {
        let (edge, _origin) = edge(trigger, &format!("function handler(event) {{ {code}; }}")).await;
        let mut client = Client::connect(edge.address).await;
        for (path, expected) in [("/f", status), ("/g", 200), ("/f", status)] {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: www.demo.test\r\n\r\n")).await;
            let reply = client.reply(false).await;
            assert_eq!(reply.status, expected, "{code} {path}");
            if path == "/f" {
                assert_eq!((reply.reason().as_str(), reply.x_cache().as_str()), (reason, x_cache), "{code}");
                assert!(reply.text().contains("CloudFront function associated with this path"), "{code}");
            }
        }
        let counter = match status {
            502 => Counter::EdgeFunctionValidationErrors,
            _ => Counter::EdgeFunctionExecutionErrors,
        };
        assert_eq!(edge.count(counter), 2, "{code}");
    }
}

#[tokio::test]
async fn hits_without_a_function_are_served_while_a_function_cannot_be_ended() {
    // The engine cannot be told to stop sorting four thousand million holes.
    let code = "function handler(event) { const a = []; a.length = 4294967295; a.sort(); return event.request; }";
    let origin = Scripted::start(|head, _| vec![ok("Cache-Control: max-age=60\r\n", head)]).await;
    let setup = with_function(Setup::new(origin.address), REQUEST, code);
    let edge = setup.limits(|limits| limits.function_wait_max = Duration::from_millis(200)).start().await;
    get(edge.address, "/g").await;
    let stuck = tokio::spawn(get(edge.address, "/f"));
    let hit = get(edge.address, "/g").await;
    assert_eq!(hit.x_cache(), "Hit from cloudfront");
    let stuck = stuck.await.unwrap();
    assert_eq!((stuck.status, stuck.reason().as_str()), (503, "function_timeout"));
}
