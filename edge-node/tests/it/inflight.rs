//! Bodies beside the store: what slow clients pin is bounded, and what is shed for it comes back.

use cdn_core::{Counter, NodeId, Role};
use edge_node::{Config, Limits, Tier};

use crate::support::{Act, Client, Running, Scripted, Setup, get, ok, parent, wait_until};

const MINUTE: &str = "Cache-Control: max-age=60\r\n";
const MIB: u64 = 1 << 20;
const LARGE: usize = 16 << 20;

/// Bytes of bodies that the store does not account for.
fn beside(node: &Running) -> u64 {
    node.count(Counter::EdgeBodyBytes).saturating_sub(node.count(Counter::EdgeStoreBytes))
}

/// `/large` and what is below it is too large to keep, which shows only once it has arrived; everything else is small.
async fn origin() -> Scripted {
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let chunks = [chunk.repeat(LARGE / 0x10000), b"0\r\n\r\n".to_vec()].concat();
    Scripted::start(move |head, _| match head.starts_with("GET /large") {
        true => {
            let head = format!("HTTP/1.1 200 OK\r\n{MINUTE}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            vec![Act::Send(head), Act::Send(chunks.clone())]
        }
        false => vec![ok(MINUTE, "small")],
    })
    .await
}

async fn begin(node: &Running, path: &str) -> Client {
    let mut client = Client::narrow(node.address).await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: www.demo.test\r\n\r\n")).await;
    client.head().await;
    client
}

async fn assert_shed(node: &Running, path: &str) {
    let reply = get(node.address, path).await;
    assert_eq!((reply.status, reply.reason().as_str()), (503, "inflight_limit"), "{}", reply.head);
    assert_eq!(
        (reply.header("retry-after").as_str(), reply.x_cache().as_str()),
        ("1", "LimitExceeded from cloudfront")
    );
}

#[tokio::test]
async fn slow_readers_hold_no_more_than_the_limit_and_misses_are_shed_until_they_leave() {
    let origin = origin().await;
    let node = Setup::new(origin.address).limits(|limits| limits.inflight_bytes_max = 3 * MIB).start().await;
    assert_eq!(get(node.address, "/hot").await.status, 200);
    let mut quick = begin(&node, "/large/quick").await;
    let mut slow = Vec::new();
    while beside(&node) < 3 * MIB {
        let (asked, before) = (origin.requests(), beside(&node));
        slow.push(begin(&node, &format!("/large/{asked}")).await);
        // It grows until this one's window is full too, or the limit is reached.
        wait_until("another holds its share", || beside(&node) >= (before + MIB / 2).min(3 * MIB)).await;
    }
    let (asked, shed) = (origin.requests(), node.count(Counter::EdgeFetchesShed));
    assert_shed(&node, "/cold").await;
    assert_eq!((origin.requests(), node.count(Counter::EdgeFetchesShed)), (asked, shed + 1));
    let hit = get(node.address, "/hot").await;
    assert_eq!((hit.status, hit.reason().as_str()), (200, "hit"));

    // Who reads is served to the end, at its own pace, and nobody's share grows meanwhile.
    let mut got = 0;
    loop {
        let chunk = quick.chunk().await;
        got += chunk.len();
        assert!(beside(&node) < 6 * MIB, "{}", beside(&node));
        if chunk.is_empty() {
            break;
        }
    }
    assert_eq!(got, LARGE);

    drop((slow, quick));
    wait_until("what they held is gone", || beside(&node) < 3 * MIB).await;
    assert_eq!(get(node.address, "/cold").await.text(), "small");
    // Not a byte is forgotten or counted twice.
    let stored = 2 * "small".len() as u64;
    wait_until("only what is stored is left", || node.count(Counter::EdgeBodyBytes) == stored).await;
}

#[tokio::test]
async fn what_has_left_the_store_counts_while_somebody_reads_it() {
    let body = "x".repeat(LARGE);
    let origin = Scripted::start(move |head, _| match head.starts_with("GET /large") {
        true => vec![ok(MINUTE, &body)],
        false => vec![ok(MINUTE, "small")],
    })
    .await;
    let mut setup = Setup::new(origin.address).limits(|limits| limits.inflight_bytes_max = 4 * MIB);
    setup.config.object_bytes_max = 2 * LARGE as u64;
    let node = setup.start().await;
    assert_eq!(get(node.address, "/large").await.body.len(), LARGE);
    wait_until("it is wholly in the store", || beside(&node) == 0).await;
    let reader = begin(&node, "/large").await;
    assert_eq!(get(node.address, "/one").await.status, 200, "what the store has counts once");
    assert_eq!(node.handle.invalidate("demo", "/large"), Ok(1));
    wait_until("it is held beside the store", || beside(&node) > 4 * MIB).await;
    assert_shed(&node, "/two").await;
    drop(reader);
    wait_until("it is gone", || beside(&node) == 0).await;
    assert_eq!(get(node.address, "/two").await.status, 200);
}

#[tokio::test]
async fn an_edge_goes_past_a_shield_that_sheds() {
    let origin = origin().await;
    let mut setup = Setup::new(origin.address).app(|app| app.shield = true);
    let limits = Limits { inflight_bytes_max: 0, ..Limits::default() };
    let config = Config { id: NodeId::new(Role::Shield, "iad"), tier: Tier::Shield, limits, ..setup.config.clone() };
    let shield = Setup { spec: setup.spec.clone(), config }.start().await;
    setup.config.parents = vec![parent(Tier::Shield, "IAD", shield.address)];
    let edge = setup.start().await;
    let reply = get(edge.address, "/").await;
    assert_eq!((reply.status, reply.reason().as_str()), (200, "miss_absent"));
    assert_eq!((shield.count(Counter::EdgeFetchesShed), edge.count(Counter::EdgeShieldBypasses)), (1, 1));
}
