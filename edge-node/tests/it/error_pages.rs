//! Custom error responses: which errors a page takes the place of, what viewers see, and for how long errors are kept.

use std::{net::SocketAddr, time::Duration};

use cdn_core::{
    Counter,
    error_pages::{ErrorPage, Page},
    policies,
};
use http::StatusCode;

use crate::support::{Client, Scripted, Setup, exchange, get, get_with, ok, status, wait_until};

fn entry(status: u16, ttl: Duration, page: Option<(u16, &str)>) -> ErrorPage {
    let page = page.map(|(status, path)| Page { status: StatusCode::from_u16(status).unwrap(), path: path.into() });
    ErrorPage { status: StatusCode::from_u16(status).unwrap(), ttl, page }
}

const LONG: Duration = Duration::from_secs(300);

/// An edge that answers 404 with a page and 200, 500 with a page and 503, before this origin.
fn with_pages(app: SocketAddr) -> Setup {
    let mut setup = Setup::new(app);
    setup.spec.error_pages = vec![
        entry(404, LONG, Some((200, "/errors/404.html"))),
        entry(500, LONG, Some((503, "/errors/500.html"))),
        entry(502, Duration::ZERO, Some((502, "/errors/404.html"))),
        entry(403, LONG, Some((403, "/errors/404.html"))),
    ];
    setup
}

/// Pages below `/errors/`, the status that a path names elsewhere.
async fn origin() -> Scripted {
    Scripted::start(|head, _| {
        let path = head.split(' ').nth(1).unwrap();
        match path {
            "/errors/404.html" => vec![ok("Cache-Control: max-age=60\r\nX-Page: 1\r\n", "not here")],
            "/errors/500.html" => vec![status(404, "")],
            _ => vec![status(path[1..4].parse().unwrap_or(404), "")],
        }
    })
    .await
}

#[tokio::test]
async fn a_page_takes_the_place_of_an_error_with_its_own_status() {
    let origin = origin().await;
    let edge = with_pages(origin.address).start().await;
    for number in 0..2 {
        let reply = get(edge.address, "/404").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "not here"));
        assert_eq!((reply.x_cache().as_str(), reply.header("x-page").as_str()), ("Error from cloudfront", "1"));
        assert_eq!(reply.reason(), if number == 0 { "origin_error" } else { "error_cached" });
    }
    // The error and the page are stored each under its own path.
    assert_eq!(origin.requests(), 2);
    assert_eq!(get(edge.address, "/errors/404.html").await.x_cache(), "Hit from cloudfront");
    assert_eq!(edge.count(Counter::EdgeErrorPages), 2);
}

#[tokio::test]
async fn head_gets_the_head_of_the_page_and_the_connection_stays() {
    let origin = origin().await;
    let edge = with_pages(origin.address).start().await;
    let mut client = Client::connect(edge.address).await;
    client.send("HEAD /404 HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    let reply = client.reply(true).await;
    assert_eq!((reply.status, reply.header("content-length").as_str()), (200, "8"));
    assert!(origin.head(1).starts_with("GET /errors/404.html "), "{}", origin.head(1));
    client.send("GET /404 HTTP/1.1\r\nHost: www.demo.test\r\nIf-None-Match: \"a\"\r\nRange: bytes=0-1\r\n\r\n").await;
    assert_eq!(client.reply(false).await.text(), "not here");
}

#[tokio::test]
async fn where_the_page_fails_its_status_is_the_answer() {
    let origin = origin().await;
    let edge = with_pages(origin.address).start().await;
    let reply = get(edge.address, "/500").await;
    assert_eq!((reply.status, reply.x_cache().as_str()), (404, "Error from cloudfront"), "and has no page itself");
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn refusals_and_failures_have_pages_too() {
    let origin = origin().await;
    let mut setup = with_pages(origin.address);
    setup.spec.default_behavior.allowed_methods = cdn_core::distribution::AllowedMethods::Read;
    setup.spec.origins.insert("gone".into(), crate::support::quick("gone.test"));
    setup.config.origins.insert("gone".into(), crate::support::authority(Scripted::refusing().await));
    let mut gone = setup.spec.default_behavior.clone();
    (gone.path_pattern, gone.target) = ("/gone/*".into(), "gone".into());
    setup.spec.behaviors.push(gone);
    let edge = setup.start().await;
    let refused = exchange(edge.address, "DELETE /a HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!((refused.status, refused.text().as_str()), (403, "not here"));
    assert_eq!(refused.reason(), "method_not_allowed");
    let failed = get(edge.address, "/gone/a").await;
    assert_eq!((failed.status, failed.text().as_str()), (502, "not here"));
    assert_eq!((failed.reason().as_str(), failed.x_cache().as_str()), ("origin_refused", "Error from cloudfront"));
}

#[tokio::test]
async fn a_page_may_come_from_where_nothing_is_cached() {
    let origin = origin().await;
    let mut setup = with_pages(origin.address);
    let mut pages = setup.spec.default_behavior.clone();
    pages.path_pattern = "/errors/*".into();
    pages.cache_policy = policies::cache_policy("CachingDisabled").unwrap();
    setup.spec.behaviors.push(pages);
    let edge = setup.start().await;
    for _ in 0..2 {
        assert_eq!(get(edge.address, "/404").await.text(), "not here");
    }
    assert_eq!(origin.requests(), 3, "the page twice, what it stands for once");
}

#[tokio::test]
async fn an_error_is_kept_for_the_time_of_its_entry() {
    let origin = Scripted::always(vec![status(500, "")]).await;
    let mut setup = Setup::new(origin.address);
    setup.spec.error_pages = vec![entry(500, Duration::ZERO, None)];
    let edge = setup.start().await;
    for _ in 0..2 {
        assert_eq!(get(edge.address, "/a").await.status, 500);
    }
    assert_eq!(origin.requests(), 2, "not at all");
    let origin = Scripted::always(vec![status(503, "")]).await;
    let mut setup = Setup::new(origin.address);
    setup.spec.error_pages = vec![entry(503, Duration::from_secs(1), None)];
    let edge = setup.start().await;
    get(edge.address, "/a").await;
    assert_eq!(get(edge.address, "/a").await.reason(), "error_cached");
    assert_eq!(origin.requests(), 1);
    let mut asked = 1;
    while asked == 1 {
        get(edge.address, "/a").await;
        asked = origin.requests();
    }
    wait_until("the error is forgotten after its second", || asked == 2).await;
}

#[tokio::test]
async fn a_page_follows_what_both_origins_of_a_group_answered() {
    let (primary, secondary) = (Scripted::always(vec![status(503, "")]).await, origin().await);
    let mut setup = Setup::group(primary.address, secondary.address, &[503]);
    setup.spec.default_behavior.allowed_methods = cdn_core::distribution::AllowedMethods::Read;
    setup.spec.error_pages = vec![entry(404, LONG, Some((404, "/errors/404.html")))];
    let edge = setup.start().await;
    let reply = get(edge.address, "/404").await;
    assert_eq!((reply.status, reply.text().as_str()), (404, "not here"));
    assert_eq!((primary.requests(), secondary.requests()), (2, 2), "the page fails over like the rest");
}

#[tokio::test]
async fn a_shield_behind_changes_nothing() {
    let origin = origin().await;
    let (edge, shield) = with_pages(origin.address).start_with_shield().await;
    for _ in 0..2 {
        let reply = get_with(edge.address, "/404", "").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "not here"));
    }
    assert_eq!((origin.requests(), shield.count(Counter::EdgeErrorPages)), (2, 0));
}
