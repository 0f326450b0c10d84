use std::{net::SocketAddr, time::Duration};

use cdn_core::Counter;
use http::Response;
use http_body_util::BodyExt as _;

use crate::support::*;

const URL: &str = "http://www.demo.test/";

async fn world(edges: &TestEdges) -> (TestRouter, TestViewer) {
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1], [127, 77, 0, 2]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        config.limits.connect_attempt_delay = Duration::from_millis(50);
    });
    (router, viewer)
}

#[tokio::test]
async fn the_first_address_of_the_answer_is_used() {
    let edges = TestEdges::numbered(2).await;
    let (_router, viewer) = world(&edges).await;
    assert_eq!(viewer.fetch("tokyo", URL).await, (200, "1".into()));
    assert_eq!(viewer.handle.counters().value(Counter::ViewerFallbacks), 0);
}

#[tokio::test]
async fn a_refused_address_gives_way_to_the_second_and_is_remembered() {
    let mut edges = TestEdges::numbered(2).await;
    let (_router, viewer) = world(&edges).await;
    edges.kill(1).await;
    for _ in 0..3 {
        assert_eq!(viewer.fetch("tokyo", URL).await, (200, "2".into()));
    }
    assert_eq!(viewer.handle.counters().value(Counter::ViewerConnectFailures), 1);
}

#[tokio::test]
async fn a_silent_address_gives_way_to_the_second() {
    let edges = TestEdges::numbered(2).await;
    let (_router, viewer) = world(&edges).await;
    viewer.net.silent.lock().unwrap().insert(SocketAddr::from(([127, 77, 0, 1], edges.port)));
    assert_eq!(viewer.fetch("tokyo", URL).await, (200, "2".into()));
}

#[tokio::test]
async fn a_client_whose_edge_is_killed_between_two_requests_does_not_notice() {
    for method in ["GET", "PUT"] {
        let mut edges = TestEdges::numbered(2).await;
        let (_router, viewer) = world(&edges).await;
        let mut client = viewer.client().await;
        assert_eq!(client.fetch("tokyo", URL).await, (200, "1".into()));
        edges.kill(1).await;
        let response = client.send(request(method, "tokyo", URL, text("x"))).await;
        assert_eq!(response.status(), 200, "{method}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_an_edge_is_killed_under_load() {
    let mut edges = TestEdges::numbered(2).await;
    let (_router, viewer) = world(&edges).await;
    let viewer = std::sync::Arc::new(viewer);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let viewer = std::sync::Arc::clone(&viewer);
        clients.spawn(async move {
            let mut client = viewer.client().await;
            for _ in 0..10_000 {
                let (status, body) = client.fetch("tokyo", URL).await;
                assert_eq!(status, 200, "{body}");
                if body == "2" {
                    return;
                }
            }
            panic!("the edge was not killed in time");
        });
    }
    wait_until("there is load", || viewer.handle.counters().value(Counter::ViewerRequests) > 200).await;
    edges.kill(1).await;
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(viewer.handle.counters().value(Counter::ViewerErrors), 0);
}

#[tokio::test]
async fn an_edge_that_ends_the_connection_instead_of_answering_gives_way_to_the_second() {
    let edges = TestEdges::start(2, |number, _| async move {
        if number == 1 {
            panic!("as if killed in the middle of a request");
        }
        Response::new(text("2"))
    })
    .await;
    let (_router, viewer) = world(&edges).await;
    assert_eq!(viewer.fetch("tokyo", URL).await, (200, "2".into()));
    assert_eq!(viewer.handle.counters().value(Counter::ViewerResends), 1);
    // What may have had an effect is not sent twice.
    viewer.handle.flush();
    let response = viewer.client().await.send(request("POST", "tokyo", URL, text("pay"))).await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["x-iso-reason"], "viewer_edge_reset");
}

#[tokio::test]
async fn when_every_address_fails_the_answer_tells_the_whole_story() {
    let mut edges = TestEdges::numbered(2).await;
    let (_router, viewer) = world(&edges).await;
    edges.kill(1).await;
    edges.kill(2).await;
    let (status, story) = viewer.fetch("tokyo", URL).await;
    assert_eq!(status, 502);
    for address in ["127.77.0.1", "127.77.0.2"] {
        assert!(story.contains(&format!("{address}:{} refused", edges.port)), "{story}");
    }
}

#[tokio::test]
async fn when_every_address_is_silent_the_answer_is_504() {
    let edges = TestEdges::numbered(1).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        config.limits.connect_timeout = Duration::from_millis(30);
    });
    viewer.net.silent.lock().unwrap().insert(SocketAddr::from(([127, 77, 0, 1], edges.port)));
    let (status, story) = viewer.fetch("tokyo", URL).await;
    assert!(status == 504 && story.contains("timed out"), "{status} {story}");
}

#[tokio::test]
async fn an_edge_that_never_answers_is_given_up_and_not_asked_twice() {
    let edges = TestEdges::start(2, |_, _| async { std::future::pending().await }).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1], [127, 77, 0, 2]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        config.limits.response_timeout = Duration::from_millis(30);
    });
    assert_eq!(viewer.fetch("tokyo", URL).await.0, 504);
    assert_eq!(viewer.handle.counters().value(Counter::ViewerConnects), 1);
}

#[tokio::test]
async fn a_connection_is_reported_once_per_interval_with_its_round_trip() {
    let edges = TestEdges::numbered(2).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1], [127, 77, 0, 2]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        config.limits.beacon_interval = DEADLINE;
    });
    for _ in 0..3 {
        viewer.fetch("nairobi", URL).await;
    }
    wait_until("the beacon arrives", || !router.beacons.lock().unwrap().is_empty()).await;
    let beacons = router.beacons.lock().unwrap();
    assert_eq!((&beacons[0]["client"], &beacons[0]["edge"]), (&"198.18.41.0/24".into(), &"127.77.0.1".into()));
    assert!(beacons[0]["rtt_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(beacons.len(), 1);
}

#[tokio::test]
async fn the_second_address_is_measured_now_and_then_and_not_for_a_single_request() {
    let edges = TestEdges::numbered(2).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1], [127, 77, 0, 2]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        config.limits.measure_interval = Duration::from_millis(20);
        config.limits.beacon_interval = Duration::ZERO;
    });
    assert_eq!(viewer.fetch("tokyo", URL).await, (200, "1".into()));
    assert_eq!(viewer.handle.counters().value(Counter::ViewerMeasurements), 0);
    let edges_heard_of = || {
        let beacons = router.beacons.lock().unwrap();
        beacons.iter().filter_map(|beacon| Some(beacon["edge"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    while !edges_heard_of().contains(&"127.77.0.2".to_owned()) {
        assert_eq!(viewer.fetch("tokyo", URL).await, (200, "1".into()), "nobody is sent there");
    }
    assert!(edges_heard_of().contains(&"127.77.0.1".to_owned()));
}
