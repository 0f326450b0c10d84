use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cdn_core::{Counter, Reason, content::Content};
use http::Response;
use http_body_util::BodyExt as _;
use viewer::{LoadNews, LoadPlan, LoadSummary};
use world::{
    CacheOutcome, Integrity, Observation, Outcome, SiteId,
    scenario::{Connections, From, Load, Paths, Resolvers, Retry, Sizes},
};

use crate::support::*;

const SEED: u64 = 5;

fn load(rps: f64) -> Load {
    Load {
        from: From::Places(vec![(SiteId::new("tokyo"), 1.0), (SiteId::new("nairobi"), 1.0)]),
        rps,
        start: Duration::ZERO,
        span: None,
        paths: Paths::Zipf { s: 1.0, n: 50 },
        sizes: Sizes::Fixed(3000),
        ramp: Vec::new(),
        diurnal: None,
        connections: Connections::default(),
        resolvers: Resolvers::default(),
        retry: Retry::default(),
        distribution: "demo".into(),
        method: "GET".into(),
        users: 20,
        signing: None,
    }
}

/// The body that a simulated origin has for a path.
fn content(path: &str) -> Vec<u8> {
    let size = path.strip_prefix("/bytes/").and_then(|rest| rest.split('/').next()?.parse().ok());
    let mut body = vec![0; size.unwrap_or(1024)];
    Content::new(SEED, path).fill(0, &mut body);
    body
}

async fn world(edges: &TestEdges, change: impl FnOnce(&mut viewer::Config)) -> (TestRouter, TestViewer) {
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1], [127, 77, 0, 2]]);
    let viewer = TestViewer::start(edges.port, &[&router], |config| {
        config.edge_names = [(1, "FRA"), (2, "AMS-2")].map(|(k, name)| ([127, 77, 0, k].into(), name.into())).into();
        change(config);
    });
    (router, viewer)
}

async fn played(viewer: &TestViewer, load: Load, length: Duration) -> (Vec<Observation>, LoadSummary) {
    let plan = LoadPlan {
        loads: vec![load],
        hosts: vec!["www.demo.test".into()],
        signers: Vec::new(),
        warmup: Duration::ZERO,
        length,
        seed: 1,
        content_seed: Some(SEED),
    };
    let mut run = viewer.handle.load(plan).unwrap();
    let mut seen = Vec::new();
    loop {
        match run.recv().await.expect("an end") {
            LoadNews::Observations(batch) => seen.extend(batch),
            LoadNews::Ended(summary) => return (seen, summary),
        }
    }
}

/// Edges that answer as an edge does, with the right bytes.
async fn right_edges() -> TestEdges {
    TestEdges::start(2, |_, request| async move {
        let body = content(request.uri().path());
        Response::builder()
            .header("x-cache", "Hit from cloudfront")
            .header("x-iso-reason", "hit")
            .header("age", "1")
            .body(text(body))
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn every_request_is_told_of_and_its_body_checked() {
    let edges = right_edges().await;
    let (_router, viewer) = world(&edges, |_| {}).await;
    let (seen, summary) = played(&viewer, load(400.0), Duration::from_secs(1)).await;
    assert_eq!((seen.len() as u64, summary.dropped), (summary.intended, 0));
    assert!((300..500).contains(&seen.len()), "{}", seen.len());
    for one in &seen {
        assert_eq!((one.outcome, one.cache, one.reason), (Outcome::Status(200), CacheOutcome::Hit, Reason::Hit));
        assert_eq!((one.bytes, one.integrity, one.attempts), (3000, Integrity::Right, 1));
        assert_eq!(one.pop.map(|pop| pop.to_string()).as_deref(), Some("FRA"));
        assert!(one.intended <= one.started && one.started <= one.finished, "{one:?}");
        assert!((1..=50).contains(&one.object));
    }
    let counters = viewer.handle.counters();
    assert_eq!(counters.value(Counter::ViewerLoadRequests), summary.intended);
    assert_eq!(counters.value(Counter::ViewerLoadInFlight), 0);
    // Twenty users who each keep what they opened.
    assert!(counters.value(Counter::ViewerConnects) <= 60, "{}", counters.value(Counter::ViewerConnects));
}

#[tokio::test]
async fn wrong_bytes_and_bodies_of_another_length_are_seen() {
    let edges = TestEdges::start(1, |_, request| async move {
        let mut body = content(request.uri().path());
        match request.uri().path().ends_with("/1") {
            true => body[2999] ^= 1,
            false => body.truncate(2000),
        }
        Response::new(text(body))
    })
    .await;
    let (_router, viewer) = world(&edges, |_| {}).await;
    let (seen, _) = played(&viewer, load(200.0), Duration::from_millis(500)).await;
    assert!(!seen.is_empty() && seen.iter().all(|one| one.integrity == Integrity::Wrong));
}

#[tokio::test]
async fn requests_start_when_they_are_meant_to_while_the_edge_is_stalled() {
    let stalled = Duration::from_millis(700);
    let edges = TestEdges::start(1, move |_, request| async move {
        tokio::time::sleep(stalled).await;
        Response::new(text(content(request.uri().path())))
    })
    .await;
    let (_router, viewer) = world(&edges, |_| {}).await;
    // One connection per user, so that those who wait for their own earlier request wait longer than the stall.
    let connections = Connections { per_user: 1, ..Connections::default() };
    let (seen, _) = played(&viewer, Load { connections, ..load(200.0) }, Duration::from_secs(1)).await;
    let late = seen.iter().map(|one| one.started.saturating_since(one.intended)).max().unwrap();
    assert!(late < stalled / 2, "started {late:?} late");
    assert!(seen.iter().all(|one| one.latency() >= stalled));
    let queued = seen.iter().filter(|one| one.latency() >= 2 * stalled).count();
    assert!(queued * 2 > seen.len(), "{queued} of {} waited for their user's earlier request", seen.len());
}

#[tokio::test]
async fn a_limit_of_requests_under_way_is_kept_and_told() {
    let edges = TestEdges::start(1, |_, _| std::future::pending()).await;
    let (_router, viewer) = world(&edges, |config| config.limits.load_in_flight_max = 10).await;
    let retry = Retry { timeout: Duration::from_millis(800), ..Retry::default() };
    let (seen, summary) = played(&viewer, Load { retry, ..load(200.0) }, Duration::from_millis(600)).await;
    let ended_as = |reason| seen.iter().filter(|one| one.outcome == Outcome::Failed(reason)).count() as u64;
    assert_eq!(ended_as(Reason::ViewerGaveUp), 10);
    assert_eq!(ended_as(Reason::ViewerLoadFull), summary.intended - 10);
    assert_eq!(viewer.handle.counters().value(Counter::ViewerLoadFull), summary.intended - 10);
    assert!(seen.iter().all(|one| one.reason != Reason::ViewerGaveUp || one.latency() >= retry.timeout));
}

#[tokio::test]
async fn a_user_tries_again_as_often_as_its_budget_allows() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let edges = TestEdges::start(1, move |_, request| {
        let count = Arc::clone(&count);
        async move {
            let _ = request.into_body().collect().await;
            count.fetch_add(1, Ordering::SeqCst);
            Response::builder().status(503).header("x-iso-reason", "origin_status").body(text("no")).unwrap()
        }
    })
    .await;
    let (_router, viewer) = world(&edges, |_| {}).await;
    let retry = Retry { attempts: 4, backoff: Duration::from_millis(1), budget: Some(0.5), ..Retry::default() };
    let (seen, summary) = played(&viewer, Load { retry, ..load(300.0) }, Duration::from_millis(700)).await;
    let asked = u64::from(asked.load(Ordering::SeqCst));
    assert_eq!(asked, seen.iter().map(|one| u64::from(one.attempts)).sum::<u64>());
    assert!(asked <= summary.intended * 3 / 2 && asked > summary.intended * 4 / 3, "{asked} of {}", summary.intended);
    assert!(seen.iter().all(|one| one.outcome == Outcome::Status(503) && one.integrity == Integrity::Unchecked));
}

#[tokio::test]
async fn a_dead_first_address_is_fallen_back_from_and_named() {
    let mut edges = right_edges().await;
    let (_router, viewer) = world(&edges, |_| {}).await;
    edges.kill(1).await;
    let (seen, _) = played(&viewer, load(100.0), Duration::from_millis(500)).await;
    let first = seen.iter().min_by_key(|one| one.finished).unwrap();
    let name = |pop: Option<cdn_core::PopCode>| pop.map(|pop| pop.to_string());
    assert_eq!((name(first.asked).as_deref(), name(first.pop).as_deref()), (Some("FRA"), Some("AMS")));
    assert!(first.fell_back && seen.iter().all(Observation::is_served));
}

#[tokio::test]
async fn a_load_ends_with_whoever_listens() {
    let edges = right_edges().await;
    let (_router, viewer) = world(&edges, |_| {}).await;
    let plan = LoadPlan {
        loads: vec![load(200.0)],
        hosts: vec!["www.demo.test".into()],
        signers: Vec::new(),
        warmup: Duration::ZERO,
        length: Duration::from_secs(3600),
        seed: 1,
        content_seed: None,
    };
    let mut run = viewer.handle.load(plan.clone()).unwrap();
    assert!(matches!(run.recv().await, Some(LoadNews::Observations(_))));
    drop(run);
    let counters = viewer.handle.counters();
    wait_until("nothing is under way", || counters.value(Counter::ViewerLoadInFlight) == 0).await;
    let made = counters.value(Counter::ViewerLoadRequests);
    // Another one, which takes its time, makes its own requests and is not joined by the first.
    let (seen, _) = played(&viewer, load(100.0), Duration::from_millis(300)).await;
    assert_eq!(counters.value(Counter::ViewerLoadRequests), made + seen.len() as u64);
    let refused = viewer.handle.load(LoadPlan { hosts: vec!["example.com".into()], ..plan }).unwrap_err();
    assert!(refused.to_string().contains("not of this world"), "{refused}");
}
