//! Viewer functions that choose the origin of their request.

use cdn_core::{Counter, distribution::AllowedMethods};

use crate::{
    functions::{REQUEST, with_function},
    https_origins::{BOTH, Secure, signed, towards},
    support::{Scripted, Setup, authority, get, ok, quick, status},
};

/// A handler that does `body`, and returns its request.
fn handler(body: &str) -> String {
    format!("import cf from 'cloudfront';\nfunction handler(event) {{ {body}; return event.request; }}")
}

/// An edge with the origins `app` and `spare`, which answer with their name and the head they were sent, and a function
/// for `/f*`. `/f/gone` is unknown to `app`.
async fn setup(body: &str) -> Setup {
    let named = |name: &'static str| {
        Scripted::start(move |head, _| {
            let is_gone = name == "app" && head.contains("/gone ");
            vec![if is_gone { status(404, "") } else { ok("Cache-Control: max-age=60\r\n", &format!("{name} {head}")) }]
        })
    };
    let (app, spare) = (named("app").await, named("spare").await);
    let mut setup = Setup::new(app.address);
    setup.config.origins.insert("spare".into(), authority(spare.address));
    setup.spec.origins.insert("spare".into(), quick("spare.test"));
    with_function(setup, REQUEST, &handler(body))
}

#[tokio::test]
async fn an_origin_is_selected_by_its_id_with_all_that_it_is() {
    let edge = setup("cf.selectRequestOriginById('spare')").await.start().await;
    let reply = get(edge.address, "/f").await;
    assert!(reply.text().starts_with("spare GET /f HTTP/1.1\r\n"), "{}", reply.text());
    // The key has no origin in it, and other behaviors keep theirs.
    assert_eq!(get(edge.address, "/f").await.x_cache(), "Hit from cloudfront");
    assert!(get(edge.address, "/g").await.text().starts_with("app GET /g"));
}

#[tokio::test]
async fn an_update_changes_what_it_says_and_no_more() {
    let body = "cf.updateRequestOrigin({ domainName: 'spare.test', originPath: '/v2', \
                customHeaders: { 'x-stage': 'production' } })";
    let edge = setup(body).await.start().await;
    let sent = get(edge.address, "/f").await.text().to_ascii_lowercase();
    assert!(sent.starts_with("spare get /v2/f http/1.1\r\n"), "{sent}");
    // The behavior forwards the viewer's `Host`; a new name is heard all the same.
    assert!(sent.contains("\r\nhost: spare.test\r\n") && sent.contains("\r\nx-stage: production\r\n"), "{sent}");
    let kept = setup("cf.updateRequestOrigin({ hostHeader: 'other.test' })").await.start().await;
    let sent = get(kept.address, "/f").await.text().to_ascii_lowercase();
    assert!(sent.starts_with("app get /f ") && sent.contains("\r\nhost: other.test\r\n"), "{sent}");
}

#[tokio::test]
async fn a_group_of_a_function_fails_over() {
    let group = "cf.createRequestOriginGroup({ originIds: [{ originId: 'app' }, { originId: 'spare' }], \
                 failoverCriteria: { statusCodes: [404] } })";
    let edge = setup(group).await.start().await;
    assert!(get(edge.address, "/f").await.text().starts_with("app GET /f"));
    assert!(get(edge.address, "/f/gone").await.text().starts_with("spare GET /f/gone"));
    assert_eq!(edge.count(Counter::EdgeFailovers), 1);
}

#[tokio::test]
async fn caches_between_ask_the_origin_that_the_edge_was_told() {
    let body = "cf.selectRequestOriginById('spare'); \
                cf.updateRequestOrigin({ originPath: '/v2', customHeaders: { 'x-name': 'a  b' } })";
    let (edge, regional, shield) = setup(body).await.start_with_regional().await;
    let sent = get(edge.address, "/f").await.text().to_ascii_lowercase();
    assert!(sent.starts_with("spare get /v2/f ") && sent.contains("\r\nx-name: a  b\r\n"), "{sent}");
    assert_eq!((edge.count(Counter::EdgeOriginRequests), shield.count(Counter::EdgeOriginRequests)), (0, 1));
    assert_eq!(regional.count(Counter::EdgeFunctionInvocations), 0);
    // Its shield is as an origin has it, unless the function says otherwise.
    let body = "cf.updateRequestOrigin({ originShield: { enabled: false } })";
    let (edge, shield) = setup(body).await.start_with_shield().await;
    assert_eq!(get(edge.address, "/f").await.status, 200);
    assert_eq!((edge.count(Counter::EdgeOriginRequests), shield.count(Counter::EdgeRequests)), (1, 0));
}

#[tokio::test]
async fn methods_that_are_not_cached_go_there_as_well() {
    let mut setup = setup("cf.selectRequestOriginById('spare')").await;
    setup.spec.behaviors[0].allowed_methods = AllowedMethods::All;
    let edge = setup.start().await;
    let request = "POST /f HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 0\r\n\r\n";
    assert!(crate::support::exchange(edge.address, request).await.text().starts_with("spare POST /f"));
}

#[tokio::test]
async fn what_cannot_be_chosen_is_cloudfronts_error() {
    for (body, status, reason) in [
        ("cf.selectRequestOriginById('nobody')", 502, "function_invalid"),
        ("cf.selectRequestOriginById()", 503, "function_failed"),
        ("cf.updateRequestOrigin({ connectionAttempts: 7 })", 503, "function_failed"),
        ("cf.updateRequestOrigin({ domainName: 'nowhere.test' })", 502, "origin_unreachable"),
        ("try { cf.updateRequestOrigin(1) } catch (error) { console.log(error) }", 200, "miss_absent"),
    ] {
        let edge = setup(body).await.start().await;
        let reply = get(edge.address, "/f").await;
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{body}");
    }
}

#[tokio::test]
async fn how_much_a_function_may_say_of_origins_is_a_setting_and_more_is_counted() {
    for (bytes, status, full) in [(300, 200, 0), (200, 503, 1)] {
        let mut setup = setup(&format!("cf.updateRequestOrigin({{ originPath: '/{}' }})", "a".repeat(200))).await;
        setup.config.limits.functions.origins_bytes = bytes;
        let edge = setup.start().await;
        assert_eq!(get(edge.address, "/f").await.status, status, "{bytes}");
        assert_eq!(edge.count(Counter::EdgeFunctionOriginsFull), full, "{bytes}");
    }
}

#[tokio::test]
async fn a_name_in_the_handshake_and_names_of_the_certificate_are_a_functions_to_say() {
    let origin = Secure::start(signed("*.vouched.test", (-1, 1)), &BOTH).await;
    let answer = async |said: &str| {
        let body = handler(&format!("cf.updateRequestOrigin({{ {said} }})"));
        let edge = with_function(towards(origin.address), REQUEST, &body).start().await;
        let reply = get(edge.address, "/f").await;
        (reply.status, if reply.status == 200 { reply.text() } else { reply.reason() })
    };
    assert_eq!(answer("sni: 'a.vouched.test', hostHeader: 'h.test'").await, (200, "a.vouched.test".into()));
    assert_eq!(origin.hosts.lock().unwrap().pop().as_deref(), Some("h.test"));
    assert_eq!(answer("sni: 'a.test'").await, (502, "origin_certificate".into()));
    let allowed = |names: &str| format!("sni: 'a.test', allowedCertificateNames: [{names}]");
    assert_eq!(answer(&allowed("'*.vouched.test'")).await, (200, "a.test".into()));
    assert_eq!(answer(&allowed("'a.test', 'vouched.test'")).await, (502, "origin_certificate".into()));
}
