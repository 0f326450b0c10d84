use http::Response;
use viewer::{Ledger, Step};

use crate::support::*;

const URL: &str = "http://www.demo.test/cart?a=1";

async fn world() -> (TestEdges, TestRouter, TestViewer) {
    let edges = TestEdges::start(2, |_, _| async {
        // As slow as it says.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        Response::builder()
            .header(
                "server-timing",
                "cdn-cache-miss, cdn-pop;desc=\"FRA50-P1\", cdn-rid;desc=\"id==\", edge-lookup;dur=0.5, \
                 edge-attempt;desc=\"app connect refused\";dur=9, edge-attempt;desc=\"spare connect\";dur=10, \
                 edge-attempt;desc=\"spare response 200\";dur=10, edge;dur=30",
            )
            .body(text(vec![b'x'; 100_000]))
            .unwrap()
    })
    .await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1], [127, 77, 0, 2]]);
    let viewer = TestViewer::start(edges.port, &[&router], |_| {});
    (edges, router, viewer)
}

fn steps(ledger: &Ledger) -> Vec<Step> {
    ledger.entries.iter().map(|entry| entry.step).collect()
}

fn adds_up(ledger: &Ledger) {
    let sum: f64 = ledger.entries.iter().map(|entry| entry.duration_ms).sum();
    assert!((sum - ledger.total_ms).abs() < 0.05, "{sum} is not {}\n{}", ledger.total_ms, ledger.render());
}

#[tokio::test]
async fn a_cold_request_has_dns_connect_request_edge_and_transfer_that_add_up() {
    let (edges, _router, viewer) = world().await;
    let (status, body) = viewer.fetch("tokyo+ledger=a", URL).await;
    assert_eq!((status, body.len()), (200, 100_000));
    let ledger = viewer.handle.ledger("a").expect("written before the client saw the end");
    use Step::*;
    assert_eq!(
        steps(&ledger),
        [Dns, Connect, Request, EdgeLookup, OriginAttempt, OriginAttempt, OriginAttempt, Edge, Transfer],
        "{}",
        ledger.render()
    );
    adds_up(&ledger);
    assert_eq!((ledger.pop.as_str(), ledger.cache.as_deref(), ledger.status), ("fra", Some("miss"), 200));
    assert_eq!(ledger.edge.unwrap().to_string(), format!("127.77.0.1:{}", edges.port));
    assert_eq!((ledger.body_bytes, ledger.complete, ledger.url.as_str()), (100_000, true, URL));
    assert!(ledger.render().contains("fra → spare"), "{}", ledger.render());
    assert_eq!(serde_json::to_value(&ledger).unwrap()["entries"][1]["step"], "connect");
}

#[tokio::test]
async fn a_warm_request_is_not_charged_for_dns_and_connect() {
    let (_edges, router, viewer) = world().await;
    for id in ["first", "second"] {
        viewer.fetch(&format!("tokyo+warm+ledger={id}"), URL).await;
        let ledger = viewer.handle.ledger(id).unwrap();
        assert!(ledger.warm && !steps(&ledger).contains(&Step::Connect), "{}", ledger.render());
        assert_eq!(steps(&ledger)[0], Step::Request);
        adds_up(&ledger);
    }
    assert_eq!(router.asked(), 1);
    assert_eq!(viewer.handle.counters().value(cdn_core::Counter::ViewerConnects), 1);
}

#[tokio::test]
async fn a_failed_address_has_a_line_of_its_own() {
    let (mut edges, _router, viewer) = world().await;
    edges.kill(1).await;
    viewer.fetch("tokyo+ledger=a", URL).await;
    let ledger = viewer.handle.ledger("a").unwrap();
    assert_eq!(steps(&ledger)[..3], [Step::Dns, Step::Connect, Step::Connect]);
    assert!(ledger.entries[1].detail.contains("refused"), "{}", ledger.render());
    adds_up(&ledger);
}

#[tokio::test]
async fn a_request_that_fails_has_a_ledger_too() {
    let (mut edges, _router, viewer) = world().await;
    edges.kill(1).await;
    edges.kill(2).await;
    viewer.fetch("tokyo+ledger=a", URL).await;
    let ledger = viewer.handle.ledger("a").unwrap();
    assert_eq!(ledger.status, 502);
    assert!(ledger.error.contains("refused"), "{}", ledger.render());
    adds_up(&ledger);
}

#[tokio::test]
async fn a_host_outside_the_world_has_a_ledger_with_the_reason() {
    let (_edges, _router, viewer) = world().await;
    viewer.fetch("tokyo+ledger=a", "http://nosuch.test/").await;
    let ledger = viewer.handle.ledger("a").unwrap();
    assert_eq!((ledger.status, ledger.reason.as_str()), (502, "viewer_foreign_host"));
    assert!(ledger.render().contains("viewer_foreign_host: nosuch.test is not of this world"), "{}", ledger.render());
}

#[tokio::test]
async fn a_client_that_leaves_early_has_a_ledger_of_what_it_waited_for() {
    let edges = TestEdges::start(1, |_, _| std::future::pending()).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let viewer = TestViewer::start(edges.port, &[&router], |_| {});
    let mut client = viewer.client().await;
    let mut asked = Box::pin(client.send(get("tokyo+ledger=a", URL)));
    let connected = || viewer.handle.counters().value(cdn_core::Counter::ViewerConnects) == 1;
    tokio::select! {
        response = &mut asked => panic!("{response:?}"),
        () = wait_until("it is connected", connected) => {}
    }
    drop(asked);
    drop(client);
    wait_until("the ledger is written", || viewer.handle.ledger("a").is_some()).await;
    let ledger = viewer.handle.ledger("a").unwrap();
    assert_eq!(steps(&ledger), [Step::Dns, Step::Connect, Step::Request], "{}", ledger.render());
    assert_eq!((ledger.status, ledger.entries[2].detail.as_str()), (0, "request, no answer yet"));
    assert!(ledger.error.contains("the client left"), "{}", ledger.render());
    adds_up(&ledger);
}

#[tokio::test]
async fn a_new_client_connection_pays_its_own_handshake_and_an_old_one_does_not() {
    let (_edges, _router, viewer) = world().await;
    for _ in 0..2 {
        let mut client = viewer.client().await;
        client.fetch("tokyo+ledger=new", URL).await;
        assert!(steps(&viewer.handle.ledger("new").unwrap()).contains(&Step::Connect));
        client.fetch("tokyo+ledger=old", URL).await;
        let old = viewer.handle.ledger("old").unwrap();
        assert_eq!(steps(&old)[0], Step::Request, "{}", old.render());
        adds_up(&old);
    }
    assert_eq!(viewer.handle.ledgers("new").len(), 2);
    assert_eq!(viewer.handle.ledger("never"), None);
}
