use std::{
    net::IpAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use cdn_core::Counter;
use viewer::DigOptions;

use crate::support::*;

async fn world() -> (TestRouter, TestViewer) {
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 2], [127, 77, 0, 1]]);
    let viewer = TestViewer::start(1, &[&router], |_| {});
    (router, viewer)
}

#[tokio::test]
async fn the_resolver_asks_from_its_place_with_the_viewers_subnet() {
    let (router, viewer) = world().await;
    let reply = viewer.handle.dig("nairobi", "www.demo.test", "a", &DigOptions::default()).await.unwrap();
    let answers: Vec<_> = reply.answers.iter().map(|record| record.data.as_str()).collect();
    assert_eq!(answers, ["127.77.0.2", "127.77.0.1"], "in the order of the router");
    assert_eq!((reply.rcode.as_str(), reply.cached), ("NOERROR", false));
    assert_eq!(reply.client_subnet.unwrap().scope, Some(24));
    let script = router.script.lock().unwrap();
    let (bytes, peer, _) = &script.asked[0];
    assert_eq!(peer.ip(), IpAddr::from([127, 18, 41, 53]));
    let option = [0, 8, 0, 7, 0, 1, 24, 0, 198, 18, 41];
    assert!(bytes.windows(option.len()).any(|window| window == option));
}

#[tokio::test]
async fn without_ecs_no_subnet_is_sent_and_the_answers_are_kept_apart() {
    let (router, viewer) = world().await;
    let without = DigOptions { no_ecs: true, ..DigOptions::default() };
    for (options, asked) in [(&without, 1), (&without, 1), (&DigOptions::default(), 2)] {
        viewer.handle.dig("tokyo", "www.demo.test", "A", options).await.unwrap();
        assert_eq!(router.asked(), asked);
    }
    let script = router.script.lock().unwrap();
    assert!(!script.asked[0].0.windows(4).any(|window| window == [0, 8, 0, 7]));
}

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl_and_asked_again_after() {
    let (router, viewer) = world().await;
    router.script.lock().unwrap().ttl_s = 1;
    let began = Instant::now();
    assert!(!dig_cached(&viewer).await);
    assert!(dig_cached(&viewer).await);
    while dig_cached(&viewer).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(router.asked(), 2);
}

async fn dig_cached(viewer: &TestViewer) -> bool {
    viewer.handle.dig("tokyo", "www.demo.test", "A", &DigOptions::default()).await.unwrap().cached
}

#[tokio::test]
async fn that_a_name_does_not_exist_is_kept_too_until_flushed() {
    let (router, viewer) = world().await;
    for cached in [false, true] {
        let reply = viewer.handle.dig("tokyo", "no.demo.test", "A", &DigOptions::default()).await.unwrap();
        assert_eq!((reply.rcode.as_str(), reply.cached), ("NXDOMAIN", cached));
    }
    assert_eq!((router.asked(), viewer.handle.flush()), (1, 1));
    assert!(!viewer.handle.dig("tokyo", "no.demo.test", "A", &DigOptions::default()).await.unwrap().cached);
}

#[tokio::test]
async fn a_truncated_answer_is_asked_again_over_tcp() {
    let (router, viewer) = world().await;
    router.script.lock().unwrap().truncate = true;
    let reply = viewer.handle.dig("tokyo", "www.demo.test", "A", &DigOptions::default()).await.unwrap();
    assert!(reply.tcp && reply.answers.len() == 2, "{reply:?}");
    let over_tcp: Vec<_> = router.script.lock().unwrap().asked.iter().map(|(_, _, tcp)| *tcp).collect();
    assert_eq!(over_tcp, [false, true]);
    assert_eq!(viewer.handle.counters().value(Counter::ViewerDnsTruncated), 1);
}

#[tokio::test]
async fn a_lost_question_is_sent_again() {
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    router.script.lock().unwrap().ignore = 1;
    let viewer = TestViewer::start(1, &[&router], |config| {
        config.limits.dns_timeouts = [30, 10_000].map(Duration::from_millis).to_vec();
    });
    let reply = viewer.handle.dig("tokyo", "www.demo.test", "A", &DigOptions::default()).await.unwrap();
    assert_eq!((reply.tries, reply.answers.len()), (2, 1));
    assert_eq!(viewer.handle.counters().value(Counter::ViewerDnsRetransmits), 1);
}

#[tokio::test]
async fn another_router_is_asked_when_one_fails_and_preferred_afterwards() {
    let (first, second) = (TestRouter::start().await, TestRouter::start().await);
    first.script.lock().unwrap().servfail = true;
    second.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(1, &[&first, &second], |_| {});
    let fresh = DigOptions { fresh: true, ..DigOptions::default() };
    for _ in 0..3 {
        let reply = viewer.handle.dig("tokyo", "www.demo.test", "A", &fresh).await.unwrap();
        assert_eq!((reply.rcode.as_str(), reply.server), ("NOERROR", second.addresses.dns));
    }
    assert_eq!((first.asked(), second.asked()), (1, 3));
}

#[tokio::test]
async fn when_no_router_is_there_the_story_is_told() {
    let router = TestRouter::start().await;
    let addresses = router.addresses;
    drop(router);
    let viewer = TestViewer::start(1, &[], |config| config.routers = vec![addresses]);
    let error = viewer.handle.dig("tokyo", "www.demo.test", "A", &DigOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{}: refused", addresses.dns)), "{error}");
}

#[tokio::test]
async fn many_who_ask_at_once_send_one_question() {
    let (router, viewer) = world().await;
    let asking = (0..50).map(|_| {
        let handle = viewer.handle.clone();
        async move { handle.dig("tokyo", "www.demo.test", "A", &DigOptions::default()).await.unwrap().answers.len() }
    });
    assert_eq!(futures_util::future::join_all(asking).await, vec![2; 50]);
    assert_eq!(router.asked(), 1);
}

#[tokio::test]
async fn a_resolver_elsewhere_costs_the_way_there_and_asks_from_there() {
    let (router, viewer) = world().await;
    let options = DigOptions { resolver: Some("frankfurt".into()), ..DigOptions::default() };
    let reply = viewer.handle.dig("nairobi", "www.demo.test", "A", &options).await.unwrap();
    assert_eq!(reply.resolver_place, "frankfurt");
    assert_eq!(viewer.net.crossings.load(Ordering::SeqCst), 2);
    assert_eq!(router.script.lock().unwrap().asked[0].1.ip(), IpAddr::from([127, 18, 7, 53]));
    assert_eq!(reply.client_subnet.unwrap().source.to_string(), "198.18.41.0/24");
}

#[tokio::test]
async fn unknown_places_types_and_names_are_sentences() {
    let (_router, viewer) = world().await;
    let dig = async |place, name, kind| {
        viewer.handle.dig(place, name, kind, &DigOptions::default()).await.unwrap_err().to_string()
    };
    assert!(dig("tokio", "www.demo.test", "A").await.contains("did you mean \"tokyo\""));
    assert!(dig("tokyo", "www.demo.test", "ABC").await.contains("not a record type"));
    assert!(dig("tokyo", "a..b", "A").await.contains("not a domain name"));
}
