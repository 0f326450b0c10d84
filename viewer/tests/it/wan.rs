use std::{net::SocketAddr, sync::Arc, time::Duration};

use cdn_core::Counters;
use viewer::{DigOptions, Step};
use wan::{Paths, Wan, WanOptions};
use world::{Jitter, PathSpec, SiteId};

use crate::support::*;

/// The router is 20 ms from everybody, the edges 40 ms, places 30 ms from each other.
struct Map {
    router: SocketAddr,
}

impl Paths for Map {
    fn site_of(&self, address: SocketAddr) -> Option<SiteId> {
        if address == self.router {
            return Some(SiteId::new("router"));
        }
        address.ip().to_string().starts_with("127.77.").then(|| SiteId::new("edge"))
    }

    fn path(&self, from: &SiteId, to: &SiteId) -> Option<PathSpec> {
        let is = |name| from.as_str() == name || to.as_str() == name;
        let rtt_ms = if is("router") {
            20
        } else if is("edge") {
            40
        } else {
            30
        };
        let rtt = Duration::from_millis(rtt_ms);
        Some(PathSpec { rtt, jitter: Jitter::default(), loss: 0.0, bandwidth_bps: 1_000_000_000 })
    }
}

#[tokio::test]
async fn every_step_pays_the_way_over_the_worlds_links() {
    let edges = TestEdges::numbered(1).await;
    let router = TestRouter::start().await;
    router.set("www.demo.test", &[[127, 77, 0, 1]]);
    let map = Arc::new(Map { router: router.addresses.dns });
    let wan = Wan::new(map, WanOptions::default(), Arc::new(Counters::default())).unwrap();
    let viewer = TestViewer::start_on(Arc::new(wan), edges.port, &router);

    assert_eq!(viewer.fetch("tokyo+ledger=a", "http://www.demo.test/").await, (200, "1".into()));
    let ledger = viewer.handle.ledger("a").unwrap();
    for (step, least_ms) in [(Step::Dns, 20.0), (Step::Connect, 40.0), (Step::Request, 40.0)] {
        let entry = ledger.entries.iter().find(|entry| entry.step == step).unwrap();
        // No upper bound: what a busy machine adds is measured by `wan`, not here.
        assert!(entry.duration_ms >= least_ms, "{}", ledger.render());
    }

    let elsewhere = DigOptions { resolver: Some("frankfurt".into()), ..DigOptions::default() };
    for (fresh, least_ms) in [(true, 50.0), (false, 50.0), (false, 30.0)] {
        let options = DigOptions { fresh, ..elsewhere.clone() };
        let reply = viewer.handle.dig("nairobi", "www.demo.test", "A", &options).await.unwrap();
        assert!(reply.time_ms >= least_ms, "{reply}");
    }
}
