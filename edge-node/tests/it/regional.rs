//! Three layers: an edge, its regional cache, the shield; and what each does without the others.

use cdn_core::Counter;
use edge_node::Tier;

use crate::support::{Act, Gate, Running, Scripted, Setup, exchange, get, get_with, line, ok, parent, wait_until};

const MINUTE: &str = "Cache-Control: max-age=60\r\n";

fn forget(node: &Running) {
    node.handle.invalidate("demo", "/*").unwrap();
}

#[tokio::test]
async fn a_miss_passes_every_tier_and_each_keeps_it() {
    let origin = Scripted::always(vec![ok(&format!("{MINUTE}Server-Timing: app;dur=1\r\n"), "hello")]).await;
    let (edge, regional, shield) = Setup::new(origin.address).start_with_regional().await;
    let reply = get_with(edge.address, "/a", "CDN-Loop: other\r\nX-Forwarded-For: 10.0.0.1\r\n").await;
    assert_eq!((reply.text().as_str(), reply.x_cache().as_str()), ("hello", "Miss from cloudfront"));
    assert_eq!(
        reply.header("cache-status"),
        "shield.iad; fwd=uri-miss; fwd-status=200; stored, regional.fra; fwd=uri-miss; fwd-status=200; stored, \
         edge.iad; fwd=uri-miss; fwd-status=200; stored"
    );
    let timings: Vec<_> = reply.head.lines().filter(|line| line.starts_with("server-timing: ")).collect();
    assert_eq!((timings.len(), timings[0]), (2, "server-timing: app;dur=1"), "{}", reply.head);
    let order = [
        "cdn-cache-miss",
        "edge-lookup;",
        "edge-regional;desc=\"FRA\"",
        "regional-lookup;",
        "regional-shield;desc=\"IAD\"",
        "shield-lookup;",
        "shield-attempt;",
        "edge;dur=",
    ];
    let places: Vec<_> =
        order.iter().map(|part| timings[1].find(part).unwrap_or_else(|| panic!("{part}: {}", timings[1]))).collect();
    assert!(places.is_sorted(), "{}", timings[1]);
    assert!(!timings[1].contains("shield;dur") && !timings[1].contains("regional;dur"), "{}", timings[1]);
    // To the origin all tiers are one CDN, and the viewer is the viewer.
    let head = origin.head(0);
    assert_eq!(line(&head, "cdn-loop").as_deref(), Some("other, Amazon CloudFront"));
    assert_eq!(line(&head, "x-forwarded-for").as_deref(), Some("10.0.0.1,127.0.0.1"));
    assert_eq!(line(&head, "via").unwrap().matches("CloudFront").count(), 1, "{head}");
    assert_eq!(line(&head, "x-iso-hop"), None);
    assert_eq!(reply.header("via").matches("CloudFront").count(), 1, "{}", reply.head);

    assert_eq!(get(edge.address, "/a").await.reason(), "hit");
    for (forgetful, reason, regional_hits, shield_hits) in
        [(vec![&edge], "hit_regional", 1, 0), (vec![&edge, &regional], "hit_shield", 1, 1)]
    {
        forgetful.into_iter().for_each(forget);
        let reply = get(edge.address, "/a").await;
        assert_eq!((reply.x_cache().as_str(), reply.reason().as_str()), ("Hit from cloudfront", reason));
        assert_eq!(reply.header("age"), "0", "{}", reply.head);
        assert_eq!(edge.count(Counter::EdgeRegionalHits), regional_hits);
        assert_eq!(regional.count(Counter::EdgeShieldHits), shield_hits);
    }
    assert_eq!((origin.requests(), shield.count(Counter::EdgeRequests)), (1, 2));
    assert_eq!((edge.count(Counter::EdgeRegionalRequests), edge.count(Counter::EdgeShieldRequests)), (3, 0));
}

#[tokio::test]
async fn age_and_freshness_are_the_same_in_every_tier() {
    let origin = Scripted::always(vec![ok(&format!("{MINUTE}Age: 30\r\n"), "hello")]).await;
    let (edge, regional, shield) = Setup::new(origin.address).start_with_regional().await;
    for _ in 0..2 {
        get(edge.address, "/a").await;
        for node in [&edge, &regional, &shield] {
            let entry = node.handle.cache_where("demo", "/a").remove(0);
            assert!((30..32).contains(&entry.age.as_secs()), "{entry:?}");
            let whole = entry.age + entry.fresh_for;
            assert!((59..=60).contains(&whole.as_secs()), "{entry:?}");
        }
        // Once more by way of the regional cache's copy.
        forget(&edge);
        assert_eq!(get(edge.address, "/a").await.header("age"), "30");
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_part_has_its_age_in_every_tier() {
    let origin = Scripted::always(vec![Act::Send(
        format!(
            "HTTP/1.1 206 Partial Content\r\n{MINUTE}Age: 30\r\nETag: \"a\"\r\nContent-Range: bytes 2-4/10\r\n\
             Content-Length: 3\r\n\r\nabc"
        )
        .into_bytes(),
    )])
    .await;
    let (edge, regional, shield) = Setup::new(origin.address).start_with_regional().await;
    let reply = get_with(edge.address, "/a", "Range: bytes=2-4\r\n").await;
    assert_eq!((reply.status, reply.text().as_str()), (206, "abc"));
    for node in [&edge, &regional, &shield] {
        wait_until("the part is stored", || !node.handle.cache_where("demo", "/a").is_empty()).await;
        let entry = node.handle.cache_where("demo", "/a").remove(0);
        assert!((30..32).contains(&entry.age.as_secs()), "{entry:?}");
    }
    assert_eq!(get_with(edge.address, "/a", "Range: bytes=3-4\r\n").await.header("age"), "30");
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn requests_at_several_edges_reach_the_origin_once() {
    let gate = Gate::new();
    let origin = Scripted::always(vec![Act::Gate(gate.clone()), ok(MINUTE, "hello")]).await;
    let (edge, regional, shield) = Setup::new(origin.address).start_with_regional().await;
    let mut other = Setup::new(origin.address);
    other.config.parents = vec![parent(Tier::Regional, "FRA", regional.address)];
    let other = other.start().await;
    let asking: Vec<_> =
        (0..20).map(|at| tokio::spawn(get(if at % 2 == 0 { edge.address } else { other.address }, "/"))).collect();
    wait_until("18 wait at edges, and one edge at the regional cache", || {
        let collapsed = |node: &Running| node.count(Counter::EdgeCollapsed);
        collapsed(&edge) + collapsed(&other) == 18 && collapsed(&regional) == 1
    })
    .await;
    gate.open();
    for reply in asking {
        assert_eq!(reply.await.unwrap().text(), "hello");
    }
    assert_eq!((origin.requests(), shield.count(Counter::EdgeRequests)), (1, 1));
}

#[tokio::test]
async fn what_is_never_cached_skips_every_tier() {
    let origin = Scripted::always(vec![ok("", "hello")]).await;
    let (edge, regional, shield) = Setup::new(origin.address).start_with_regional().await;
    let post = "POST / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(exchange(edge.address, post).await.status, 200);
    let (disabled, ..) = Setup::new(origin.address).policy("CachingDisabled").start_with_regional().await;
    assert_eq!(get(disabled.address, "/").await.reason(), "pass_disabled");
    for node in [&regional, &shield] {
        assert_eq!(node.count(Counter::EdgeRequests), 0);
    }
    assert_eq!((origin.requests(), disabled.count(Counter::EdgeRegionalRequests)), (2, 0));
}

#[tokio::test]
async fn a_regional_cache_that_is_gone_is_passed_by_to_the_shield() {
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let (edge, regional, shield) = Setup::new(origin.address).start_with_regional().await;
    regional.handle.drain(true);
    let reply = get(edge.address, "/a").await;
    assert_eq!(reply.text(), "hello");
    let timing = reply.header("server-timing");
    assert!(timing.contains("edge-regional;desc=\"FRA unavailable\""), "{timing}");
    assert!(timing.contains("edge-shield;desc=\"IAD\""), "{timing}");
    assert_eq!((edge.count(Counter::EdgeRegionalBypasses), shield.count(Counter::EdgeRequests)), (1, 1));
    shield.handle.drain(true);
    assert_eq!(get(edge.address, "/b").await.text(), "hello");
    assert_eq!((edge.count(Counter::EdgeShieldBypasses), origin.requests()), (1, 2));
    // A shield that is gone is the regional cache's business.
    regional.handle.drain(false);
    let reply = get(edge.address, "/c").await;
    assert!(reply.header("server-timing").contains("regional-shield;desc=\"IAD unavailable\""), "{}", reply.head);
    assert_eq!((regional.count(Counter::EdgeShieldBypasses), edge.count(Counter::EdgeShieldBypasses)), (1, 1));
}

#[tokio::test]
async fn an_origin_without_a_shield_has_a_regional_cache_all_the_same() {
    let origin = Scripted::always(vec![ok(MINUTE, "hello")]).await;
    let shield = Scripted::always(vec![Act::Close]).await;
    let mut regional = Setup::new(origin.address);
    regional.config.id = "regional.fra".parse().unwrap();
    regional.config.tier = Tier::Regional;
    regional.config.parents = vec![parent(Tier::Shield, "IAD", shield.address)];
    let regional = regional.start().await;
    let mut edge = Setup::new(origin.address);
    edge.config.parents =
        vec![parent(Tier::Regional, "FRA", regional.address), parent(Tier::Shield, "IAD", shield.address)];
    let edge = edge.start().await;
    let reply = get(edge.address, "/").await;
    assert!(reply.header("cache-status").starts_with("regional.fra; fwd=uri-miss"), "{}", reply.head);
    assert!(reply.header("server-timing").contains("regional-attempt;"), "{}", reply.head);
    assert_eq!((origin.requests(), shield.connections(), regional.count(Counter::EdgeMisses)), (1, 0, 1));
}

#[tokio::test]
async fn errors_of_the_origin_become_the_edges_own_through_every_tier() {
    let origin = Scripted::always(vec![Act::Close]).await;
    let (edge, ..) = Setup::new(origin.address).start_with_regional().await;
    let reply = get(edge.address, "/").await;
    assert_eq!((reply.status, reply.reason().as_str()), (502, "origin_reset"));
    assert!(reply.text().contains(&reply.header("x-amz-cf-id")));
    let slow = Scripted::always(vec![Act::Silence]).await;
    let (edge, ..) = Setup::new(slow.address).start_with_regional().await;
    let reply = get(edge.address, "/").await;
    assert_eq!((reply.status, reply.reason().as_str()), (504, "origin_response_timeout"));
}
