//! Two layers: an edge whose misses go to a shield, and what it does without one.

use std::time::Duration;

use cdn_core::Counter;
use edge_node::Tier;

use crate::support::{Act, Gate, Scripted, Setup, exchange, get, line, ok, parent, status, wait_until};

const MINUTE: &str = "Cache-Control: max-age=60\r\n";

#[tokio::test]
async fn the_shield_is_asked_first_and_reports_its_part() {
    let origin = Scripted::always(vec![ok(&format!("{MINUTE}Server-Timing: app;dur=1\r\n"), "hello")]).await;
    let (edge, shield) = Setup::new(origin.address).start_with_shield().await;
    let reply = get(edge.address, "/a").await;
    assert_eq!((reply.text().as_str(), reply.x_cache().as_str()), ("hello", "Miss from cloudfront"));
    let timings: Vec<_> =
        reply.head.lines().filter(|line| line.starts_with("server-timing: ")).map(ToOwned::to_owned).collect();
    assert_eq!(timings.len(), 2, "{}", reply.head);
    assert_eq!(timings[0], "server-timing: app;dur=1");
    let order = [
        "cdn-cache-miss",
        "edge-lookup;",
        "edge-shield;desc=\"IAD\"",
        "shield-lookup;",
        "shield-attempt;",
        "edge;dur=",
    ];
    let places: Vec<_> =
        order.iter().map(|part| timings[1].find(part).unwrap_or_else(|| panic!("{part}: {}", timings[1]))).collect();
    assert!(places.is_sorted(), "{}", timings[1]);
    assert!(!timings[1].contains("shield;dur"), "{}", timings[1]);
    assert_eq!(
        reply.header("cache-status"),
        "shield.iad; fwd=uri-miss; fwd-status=200; stored, edge.iad; fwd=uri-miss; fwd-status=200; stored"
    );
    assert_eq!(line(&origin.head(0), "x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(line(&origin.head(0), "x-iso-hop"), None);
    assert_eq!(get(edge.address, "/a").await.reason(), "hit");
    // Another edge would miss and find it at the shield.
    assert_eq!(edge.handle.invalidate("demo", "/*"), Ok(1));
    let reply = get(edge.address, "/a").await;
    assert_eq!((reply.x_cache().as_str(), reply.reason().as_str()), ("Hit from cloudfront", "hit_shield"));
    assert_eq!(reply.header("age"), "0");
    assert_eq!((origin.requests(), shield.count(Counter::EdgeRequests)), (1, 2));
    assert_eq!(edge.count(Counter::EdgeShieldHits), 1);
}

#[tokio::test]
async fn what_is_never_cached_does_not_pass_the_shield() {
    let origin = Scripted::always(vec![ok("", "hello")]).await;
    let (edge, shield) = Setup::new(origin.address).start_with_shield().await;
    let post = "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(exchange(edge.address, post).await.status, 200);
    assert_eq!((shield.count(Counter::EdgeRequests), origin.requests()), (0, 1));
}

#[tokio::test]
async fn a_draining_or_absent_shield_is_passed_by() {
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let (edge, shield) = Setup::new(origin.address).start_with_shield().await;
    shield.handle.drain(true);
    let reply = get(edge.address, "/a").await;
    assert_eq!((reply.status, reply.reason().as_str()), (200, "miss_absent"));
    assert!(reply.header("server-timing").contains("edge-shield;desc=\"IAD unavailable\""), "{}", reply.head);
    assert_eq!((shield.count(Counter::EdgeMisses), edge.count(Counter::EdgeShieldBypasses)), (0, 1));
    shield.stop.cancel();
    wait_until("the shield is gone", || std::net::TcpStream::connect(shield.address).is_err()).await;
    assert_eq!(get(edge.address, "/b").await.status, 200);
    assert_eq!((edge.count(Counter::EdgeShieldBypasses), origin.requests()), (2, 2));
}

#[tokio::test]
async fn an_answer_of_a_shield_does_not_wait_until_it_is_known_to_be_alive() {
    let gate = Gate::new();
    let answer = vec![Act::Gate(gate.clone()), ok(MINUTE, "from the shield")];
    // Whoever asks whether it lives is told nothing.
    let shield = Scripted::start(move |_, number| if number == 0 { answer.clone() } else { vec![Act::Silence] }).await;
    let origin = Scripted::always(vec![ok(MINUTE, "from the origin")]).await;
    let mut setup = Setup::new(origin.address).app(|app| {
        app.shield = true;
        app.connection_timeout = Duration::from_secs(1);
    });
    setup.config.parents = vec![parent(Tier::Shield, "IAD", shield.address)];
    let edge = setup.start().await;
    let asking = tokio::spawn(get(edge.address, "/a"));
    wait_until("the edge asks whether the shield lives", || shield.requests() == 2).await;
    gate.open();
    assert_eq!(asking.await.unwrap().text(), "from the shield");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_shield_that_is_alive_is_waited_for_and_one_that_is_not_is_not() {
    // Accepts and never answers, as a stopped process does.
    let stopped = Scripted::always(vec![Act::Silence]).await;
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let mut setup = Setup::new(origin.address).app(|app| app.shield = true);
    setup.config.parents = vec![parent(Tier::Shield, "IAD", stopped.address)];
    let edge = setup.start().await;
    assert_eq!(get(edge.address, "/").await.text(), "hello");
    assert_eq!(edge.count(Counter::EdgeShieldBypasses), 1);
    // It is left alone for a while, so the next miss does not wait for it.
    let asked = stopped.requests();
    assert_eq!(get(edge.address, "/next").await.text(), "hello");
    assert_eq!((edge.count(Counter::EdgeShieldBypasses), stopped.requests()), (2, asked));

    // Slower than the connection timeout, but there.
    let slow = Scripted::always(vec![Act::Silence]).await;
    let (edge, shield) = Setup::new(slow.address)
        .app(|app| app.response_timeout = Duration::from_millis(2_500))
        .start_with_shield()
        .await;
    let reply = get(edge.address, "/").await;
    assert_eq!((reply.status, reply.reason().as_str()), (504, "origin_response_timeout"));
    assert_eq!((edge.count(Counter::EdgeShieldBypasses), shield.count(Counter::EdgeMisses)), (0, 1));
    assert_eq!(slow.requests(), 1);
}

#[tokio::test]
async fn the_shields_errors_become_the_edges_own() {
    let origin = Scripted::always(vec![Act::Close]).await;
    let (edge, _shield) = Setup::new(origin.address).start_with_shield().await;
    let reply = get(edge.address, "/").await;
    assert_eq!((reply.status, reply.reason().as_str()), (502, "origin_reset"));
    assert!(reply.text().contains(&reply.header("x-amz-cf-id")));
    assert!(reply.header("server-timing").contains("shield-attempt;desc=\"app reset\""), "{}", reply.head);
}

#[tokio::test]
async fn the_shield_plays_the_origin_group() {
    let primary = Scripted::always(vec![status(503, "")]).await;
    let secondary = Scripted::always(vec![ok(MINUTE, "spare")]).await;
    let (edge, shield) = Setup::group(primary.address, secondary.address, &[503]).start_with_shield().await;
    assert_eq!(get(edge.address, "/").await.text(), "spare");
    assert_eq!((shield.count(Counter::EdgeFailovers), edge.count(Counter::EdgeFailovers)), (1, 0));
}

#[tokio::test]
async fn viewers_cannot_use_the_shield() {
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let (_edge, shield) = Setup::new(origin.address).start_with_shield().await;
    assert_eq!(get(shield.address, "/").await.status, 403);
    assert_eq!(origin.requests(), 0);
}
