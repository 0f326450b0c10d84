//! Continuous deployment: which requests a staging distribution answers, and that its cache is its own.

use std::sync::Arc;

use cdn_core::{
    continuous_deployment::{ContinuousDeployment, Sessions, Traffic},
    distribution::Distribution,
};
use http::{HeaderName, HeaderValue};

use crate::support::{Running, Scripted, Setup, exchange, get, get_with, ok};

const MINUTES: std::time::Duration = std::time::Duration::from_secs(300);

/// A primary that answers `old` and a staging distribution that answers `new`.
async fn edge(traffic: Traffic) -> (Running, Scripted, Scripted) {
    let answers = |text: &'static str| Scripted::always(vec![ok("Cache-Control: max-age=60\r\n", text)]);
    let (old, new) = (answers("old").await, answers("new").await);
    let setup = Setup::new(old.address);
    let mut next = Setup::new(new.address).spec;
    (next.id, next.aliases) = ("next".into(), Vec::new());
    next.default_behavior.target = "new".into();
    next.origins = next.origins.into_values().map(|origin| ("new".to_owned(), origin)).collect();
    let mut setup = setup;
    setup.config.origins.insert("new".into(), crate::support::authority(new.address));
    setup.spec.continuous_deployment = Some(ContinuousDeployment::new("next", traffic).unwrap());
    let primary = Arc::new(Distribution::new(setup.spec.clone()).unwrap());
    setup.spec.continuous_deployment = None;
    let edge = setup.start().await;
    edge.handle.set_distributions(vec![primary, Arc::new(Distribution::new(next).unwrap())]).unwrap();
    (edge, old, new)
}

#[tokio::test]
async fn a_header_leads_to_staging_and_its_cache_is_its_own() {
    let traffic =
        Traffic::Header { name: HeaderName::from_static("aws-cf-cd-test"), value: HeaderValue::from_static("yes") };
    let (edge, old, new) = edge(traffic).await;
    for _ in 0..2 {
        assert_eq!(get(edge.address, "/a").await.text(), "old");
        assert_eq!(get_with(edge.address, "/a", "aws-cf-cd-test: yes\r\n").await.text(), "new");
        assert_eq!(get_with(edge.address, "/a", "aws-cf-cd-test: no\r\n").await.text(), "old");
    }
    assert_eq!((old.requests(), new.requests()), (1, 1));
}

#[tokio::test]
async fn nobody_reaches_staging_by_its_name() {
    let (edge, ..) = edge(Traffic::Weight { share: 0.15, sessions: None }).await;
    let reply = exchange(edge.address, "GET /a HTTP/1.1\r\nHost: next.cdn.test\r\n\r\n").await;
    assert_eq!((reply.status, reply.reason().as_str()), (403, "unknown_host"));
}

#[tokio::test]
async fn a_share_of_the_requests_goes_to_staging_hits_and_misses_alike() {
    let (edge, ..) = edge(Traffic::Weight { share: 0.15, sessions: None }).await;
    let mut staged = 0;
    for _ in 0..400 {
        let reply = get(edge.address, "/a").await;
        assert_eq!(reply.header("set-cookie"), "");
        staged += u32::from(reply.text() == "new");
    }
    // 60 on average, and a standard deviation of 7. Drawing twice would make them 9.
    assert!((25..100).contains(&staged), "{staged}");
}

#[tokio::test]
async fn a_session_stays_on_its_side_and_is_nobody_elses_business() {
    let sessions = Some(Sessions { idle: MINUTES, max: MINUTES });
    let (edge, old, new) = edge(Traffic::Weight { share: 0.15, sessions }).await;
    let (mut sides, mut began) = (std::collections::BTreeSet::new(), 0);
    while sides.len() < 2 {
        began += 1;
        let first = get(edge.address, "/a").await;
        let cookie = first.header("set-cookie");
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Max-Age=300; Path=/; HttpOnly");
        sides.insert(first.text());
        for path in ["/a", "/a", "/b"] {
            let again = get_with(edge.address, path, &format!("Cookie: {pair}\r\n")).await;
            assert_eq!(again.text(), first.text());
            assert!(again.header("set-cookie").starts_with("cf-cd-session="), "{}", again.head);
        }
    }
    // All cookies are in the key of this policy; the session's is not among them.
    assert_eq!((old.requests(), new.requests()), (2, 2), "after {began} sessions");
    for origin in [old, new] {
        assert!(!origin.head(0).contains("cf-cd-session") && !origin.head(1).contains("cf-cd-session"));
    }
}
