//! The policy `honour-origin`: what a plain shared cache does that CloudFront does not.

use crate::support::{Act, Client, Scripted, Setup, exchange, get, get_with, line, ok, status};

const MINUTE: &str = "Cache-Control: max-age=60\r\n";

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: www.demo.test\r\n{headers}Content-Length: 0\r\n\r\n")
}

#[tokio::test]
async fn the_targeted_field_wins_and_travels_on() {
    let origin = Scripted::always(vec![ok("Cache-Control: no-store\r\nCDN-Cache-Control: max-age=60\r\n", "a")]).await;
    let node = Setup::honour_origin(origin.address).start().await;
    get(node.address, "/").await;
    let hit = get(node.address, "/").await;
    assert_eq!(hit.x_cache(), "Hit from cloudfront");
    assert_eq!(
        (hit.header("cache-control").as_str(), hit.header("cdn-cache-control").as_str()),
        ("no-store", "max-age=60")
    );
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn an_unsafe_method_invalidates_what_it_changed() {
    let origin = Scripted::start(|head, _| match head {
        head if head.starts_with("GET") => vec![ok(MINUTE, "a")],
        head if head.starts_with("POST /fails") => vec![status(500, "")],
        _ => vec![status(204, "Location: /other\r\n")],
    })
    .await;
    let node = Setup::honour_origin(origin.address).start().await;
    for path in ["/a", "/other", "/fails", "/stays"] {
        get(node.address, path).await;
    }
    assert_eq!(exchange(node.address, request("M-SEARCH", "/a", "")).await.status, 204);
    assert_eq!(exchange(node.address, request("POST", "/fails", "")).await.status, 500);
    for (path, expected) in [("/a", "Miss"), ("/other", "Miss"), ("/fails", "Hit"), ("/stays", "Hit")] {
        assert_eq!(get(node.address, path).await.x_cache(), format!("{expected} from cloudfront"), "{path}");
    }
}

#[tokio::test]
async fn a_post_that_says_so_answers_a_get() {
    let origin = Scripted::always(vec![ok(&format!("{MINUTE}Content-Location: /a\r\n"), "posted")]).await;
    let node = Setup::honour_origin(origin.address).start().await;
    assert_eq!(exchange(node.address, request("POST", "/a", "")).await.text(), "posted");
    let hit = get(node.address, "/a").await;
    assert_eq!((hit.text().as_str(), hit.x_cache().as_str()), ("posted", "Hit from cloudfront"));
    assert_eq!(exchange(node.address, request("POST", "/b", "")).await.text(), "posted");
    assert_eq!(get(node.address, "/b").await.x_cache(), "Miss from cloudfront");
}

#[tokio::test]
async fn requests_say_what_they_accept() {
    let origin = Scripted::always(vec![ok(MINUTE, "a")]).await;
    let node = Setup::honour_origin(origin.address).start().await;
    let ask = async |control: &str| get_with(node.address, "/", &format!("Cache-Control: {control}\r\n")).await;
    let refused = ask("only-if-cached").await;
    assert_eq!((refused.status, refused.reason().as_str()), (504, "only_if_cached"));
    get(node.address, "/").await;
    assert_eq!(ask("only-if-cached").await.status, 200);
    assert_eq!(ask("max-age=60").await.reason(), "hit");
    assert_eq!(ask("no-cache").await.reason(), "miss_request_control");
    assert_eq!(ask("min-fresh=61").await.reason(), "miss_request_control");
    assert_eq!(ask("no-store, min-fresh=61").await.reason(), "pass_no_store");
    assert_eq!(origin.requests(), 4);
}

#[tokio::test]
async fn nothing_is_repeated_and_no_error_is_kept() {
    let origin = Scripted::start(|_, number| match number {
        0 => vec![ok("", "keeps the connection")],
        1 => vec![Act::Close],
        2 => vec![status(503, "")],
        _ => vec![ok(MINUTE, "a")],
    })
    .await;
    let node = Setup::honour_origin(origin.address).start().await;
    get(node.address, "/first").await;
    assert_eq!(get(node.address, "/").await.status, 502);
    assert_eq!(get(node.address, "/").await.status, 503);
    assert_eq!(get(node.address, "/").await.text(), "a");
    assert_eq!(origin.requests(), 4);
}

#[tokio::test]
async fn what_is_for_one_viewer_reaches_it_and_nobody_else() {
    let headers = "Cache-Control: max-age=60, private=\"X-One\"\r\nX-One: 1\r\nAge: 7\r\nSet-Cookie: a=b\r\n";
    let origin = Scripted::always(vec![ok(headers, "a")]).await;
    let node = Setup::honour_origin(origin.address).start().await;
    let miss = get(node.address, "/").await;
    assert_eq!((miss.header("x-one").as_str(), miss.header("age").as_str()), ("1", "7"));
    let hit = get(node.address, "/").await;
    assert_eq!((hit.header("x-one").as_str(), hit.header("age").as_str()), ("", "7"));
    assert_eq!(hit.header("set-cookie"), "a=b");
}

#[tokio::test]
async fn interim_responses_pass_before_the_final_one_and_are_not_stored() {
    let early =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: y\r\n\r\n";
    let origin = Scripted::always(vec![Act::Send(early.to_vec()), ok(MINUTE, "a")]).await;
    let node = Setup::honour_origin(origin.address).start().await;
    let mut client = Client::connect(node.address).await;
    client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    assert_eq!(client.reply(false).await.text(), "a");
    client.send("GET / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await;
    let hit = client.reply(false).await;
    assert_eq!((hit.status, hit.x_cache().as_str()), (200, "Hit from cloudfront"));
    // HTTP/1.0 knows no interim responses.
    let old = exchange(node.address, "GET /old HTTP/1.0\r\nHost: www.demo.test\r\n\r\n").await;
    assert_eq!((old.status, line(&old.head, "link")), (200, None));
}
