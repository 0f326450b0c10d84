//! After an unsafe method succeeded nobody on its way brings back what it changed: edge, regional cache, shield.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use cdn_core::Counter;
use edge_node::{Config, Limits, Tier};
use proptest::{
    prelude::*,
    test_runner::{self, TestRunner},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::{
    Act, Gate, Running, Scripted, Setup, authority, exchange, get, line, ok, parent, status, wait_until,
};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 0\r\n\r\n")
}

/// An origin whose every path has the version of the last POST to anything.
async fn versions() -> Scripted {
    let version = AtomicUsize::new(0);
    Scripted::start(move |head, _| match head.split(' ').next() {
        Some("GET") => vec![ok(HOUR, &version.load(Ordering::Relaxed).to_string())],
        Some("POST") if head.contains("/fails") => vec![status(500, "")],
        _ => {
            version.fetch_add(1, Ordering::Relaxed);
            vec![status(204, "Location: /other\r\n")]
        }
    })
    .await
}

/// A link to a node that can be cut, with everything on it, and healed.
struct Link {
    address: SocketAddr,
    up: watch::Sender<bool>,
}

impl Link {
    async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Self { address: listener.local_addr().unwrap(), up: watch::Sender::new(true) };
        let up = link.up.subscribe();
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut up = up.clone();
                tokio::spawn(async move {
                    if !*up.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(node).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = up.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        link
    }

    fn set(&self, up: bool) {
        self.up.send_replace(up);
    }
}

/// Two edges that ask the regional cache through links of their own, and the regional cache and the shield.
struct Chain {
    edges: [Running; 2],
    links: [Link; 2],
    regional: Running,
    shield: Running,
}

impl Chain {
    async fn start(origin: &Scripted, limits: impl Fn(&mut Limits)) -> Self {
        let (_edge, regional, shield) = Setup::honour_origin(origin.address).start_with_regional().await;
        let links = [Link::to(regional.address).await, Link::to(regional.address).await];
        let edge = |link: &Link| {
            let mut setup = Setup::honour_origin(origin.address).app(|app| app.shield = true).limits(&limits);
            let regional = parent(Tier::Regional, "FRA", link.address);
            setup.config = Config {
                parents: vec![regional, parent(Tier::Shield, "IAD", shield.address)],
                origins: [("app".to_owned(), authority(origin.address))].into(),
                ..setup.config
            };
            setup.start()
        };
        let edges = [edge(&links[0]).await, edge(&links[1]).await];
        Self { edges, links, regional, shield }
    }

    fn stored(&self, path: &str) -> [usize; 3] {
        [&self.edges[0], &self.regional, &self.shield].map(|node| node.handle.cache_where("demo", path).len())
    }
}

#[tokio::test]
async fn every_cache_on_the_way_forgets_what_an_unsafe_method_names() {
    let origin = versions().await;
    let chain = Chain::start(&origin, |_| {}).await;
    let [edge, other] = [chain.edges[0].address, chain.edges[1].address];
    for path in ["/a", "/other", "/fails", "/stays"] {
        get(edge, path).await;
        assert_eq!(chain.stored(path), [1; 3], "{path}");
    }
    assert_eq!(exchange(edge, post("/a")).await.status, 204);
    assert_eq!(exchange(edge, post("/fails")).await.status, 500);
    for (path, stored) in [("/a", 0), ("/other", 0), ("/fails", 1), ("/stays", 1)] {
        assert_eq!(chain.stored(path), [stored; 3], "{path}");
    }
    assert_eq!([get(other, "/a").await.text(), get(edge, "/a").await.text()], ["1", "1"]);
    assert_eq!((chain.regional.count(Counter::EdgePurges), chain.edges[0].count(Counter::EdgePurgesFailed)), (2, 0));
}

#[tokio::test]
async fn what_was_on_its_way_when_it_was_changed_is_not_kept_by_anybody() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Scripted::start(move |head, number| match (head.starts_with("GET"), number) {
        (true, 0) => vec![Act::Gate(gate.clone()), ok(HOUR, "old")],
        (true, _) => vec![ok(HOUR, "new")],
        (false, _) => vec![status(204, "")],
    })
    .await;
    let chain = Chain::start(&origin, |_| {}).await;
    let edge = chain.edges[0].address;
    let early = tokio::spawn(get(edge, "/a"));
    wait_until("it is on its way", || origin.requests() == 1).await;
    exchange(edge, post("/a")).await;
    opened.open();
    assert_eq!(early.await.unwrap().text(), "old");
    for edge in &chain.edges {
        assert_eq!(get(edge.address, "/a").await.text(), "new");
    }
}

#[tokio::test]
async fn a_regional_cache_that_was_away_cannot_bring_back_what_was_changed() {
    let origin = versions().await;
    let chain = Chain::start(&origin, |_| {}).await;
    let edge = &chain.edges[0];
    for path in ["/a", "/b"] {
        get(edge.address, path).await;
    }
    chain.links[0].set(false);
    assert_eq!(exchange(edge.address, post("/a")).await.status, 204);
    assert_eq!(chain.stored("/a"), [0, 1, 0], "the shield could be told");
    assert_eq!(get(edge.address, "/a").await.text(), "1", "by way of the shield");
    edge.handle.invalidate("demo", "/*").unwrap();
    chain.links[0].set(true);
    // It has the old one still, and is told before it is asked.
    assert_eq!(get(edge.address, "/a").await.text(), "1");
    assert_eq!((chain.regional.count(Counter::EdgePurges), edge.count(Counter::EdgePurgesFailed)), (1, 3));
    assert_eq!(get(edge.address, "/b").await.reason(), "hit_regional");
}

#[tokio::test]
async fn whole_distributions_are_forgotten_where_too_much_is_owed() {
    let origin = versions().await;
    let chain = Chain::start(&origin, |limits| limits.purges_owed_max = 1).await;
    let edge = &chain.edges[0];
    for path in ["/a", "/b", "/c"] {
        get(edge.address, path).await;
    }
    chain.links[0].set(false);
    for path in ["/a", "/b"] {
        exchange(edge.address, post(path)).await;
    }
    assert!(edge.count(Counter::EdgePurgesFull) > 0);
    chain.links[0].set(true);
    edge.handle.invalidate("demo", "/*").unwrap();
    get(edge.address, "/d").await;
    assert_eq!((chain.stored("/a")[1], chain.stored("/c")[1..].to_vec()), (0, vec![0, 0]));
    assert_eq!(get(edge.address, "/b").await.text(), "2");
}

#[tokio::test]
async fn a_purge_of_a_viewer_is_one_more_unknown_method() {
    let origin = versions().await;
    let chain = Chain::start(&origin, |_| {}).await;
    let edge = chain.edges[0].address;
    get(edge, "/a").await;
    let reply = exchange(edge, post("/a").replace("POST", "PURGE-ALL")).await;
    assert_eq!((reply.status, origin.requests()), (204, 2));
    assert!(origin.head(1).starts_with("PURGE-ALL /a "));
    // And the shield believes nobody who does not say what it is.
    let shield = exchange(chain.shield.address, post("/a").replace("POST", "PURGE")).await;
    assert_eq!((shield.status, line(&shield.head, "x-iso-reason").unwrap().as_str()), (403, "unknown_host"));
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Get(usize),
    Post(usize),
    Link(usize, bool),
    /// Its store loses everything, so that its next GET asks behind.
    Forget(usize),
}

/// Whatever happens to the ways to the regional cache, an edge that has changed something never again serves what was
/// before; and where it can tell them, the caches between have nothing of it left.
#[test]
fn no_history_brings_back_what_was_changed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let event = prop_oneof![
        4 => (0..2_usize).prop_map(Event::Get),
        2 => (0..2_usize).prop_map(Event::Post),
        2 => (0..2_usize, any::<bool>()).prop_map(|(at, up)| Event::Link(at, up)),
        2 => (0..2_usize).prop_map(Event::Forget),
    ];
    let config = test_runner::Config { failure_persistence: None, ..test_runner::Config::with_cases(24) };
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(event, 1..24), |events| {
        runtime.block_on(async {
            let origin = versions().await;
            let chain = Chain::start(&origin, |_| {}).await;
            let (mut version, mut at_least, mut up) = (0, [0; 2], [true; 2]);
            for event in events {
                match event {
                    Event::Get(at) => {
                        let served: usize = get(chain.edges[at].address, "/a").await.text().parse().unwrap();
                        prop_assert!(served >= at_least[at], "{served} from edge {at}, which knew {}", at_least[at]);
                    }
                    Event::Post(at) => {
                        prop_assert_eq!(exchange(chain.edges[at].address, post("/a")).await.status, 204);
                        version += 1;
                        at_least[at] = version;
                        if up[at] {
                            prop_assert_eq!(&chain.stored("/a")[1..], &[0, 0]);
                        }
                    }
                    Event::Link(at, is_up) => {
                        chain.links[at].set(is_up);
                        up[at] = is_up;
                    }
                    Event::Forget(at) => {
                        chain.edges[at].handle.invalidate("demo", "/*").unwrap();
                    }
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}
