//! The disk tier: what the next process finds, and what it must not.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cdn_core::{
    Counter, NodeId, Role,
    store::{Medium, admission::AdmissionPolicy},
};
use edge_node::{BuildError, DiskConfig, Edge, Tier};
use tempfile::TempDir;

use crate::support::{Act, Reply, Running, Scripted, Setup, exchange, get, get_with, line, ok, parent, wait_until};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

fn tier(dir: &Path) -> Option<DiskConfig> {
    Some(DiskConfig { dir: dir.to_owned(), bytes_max: 16 << 20, generation: "one".into() })
}

pub(crate) fn on_disk(origin: SocketAddr, dir: &Path) -> Setup {
    let mut setup = Setup::new(origin);
    setup.config.disk = tier(dir);
    setup
}

/// Ends a node as `iso down` does, and waits until its directory is free.
pub(crate) async fn end(mut node: Running, dir: &Path) {
    node.stop.cancel();
    node.ended.take().unwrap().await.unwrap().unwrap();
    drop(node);
    wait_until("the directory is free", || fs::File::open(dir.join("lock")).unwrap().try_lock().is_ok()).await;
}

pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "segment")).collect()
}

#[tokio::test]
async fn the_next_process_finds_what_the_last_one_stored() {
    let dir = TempDir::new().unwrap();
    let body = "x".repeat(300_000);
    let headers = format!("{HOUR}ETag: \"a\"\r\nAge: 30\r\n");
    let origin = Scripted::always(vec![ok(&headers, &body)]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(get(node.address, "/a").await.reason(), "miss_absent");
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let found = get(node.address, "/a").await;
    assert_eq!((found.reason().as_str(), found.x_cache().as_str()), ("hit_disk", "Hit from cloudfront"));
    assert_eq!((found.text(), found.header("etag").as_str()), (body.clone(), "\"a\""));
    assert!(found.header("age").parse::<u64>().unwrap() >= 30, "{}", found.head);
    assert!(found.header("cache-status").starts_with("edge.iad; hit; ttl=35"), "{}", found.head);
    let again = get_with(node.address, "/a", "Range: bytes=299990-\r\n").await;
    assert_eq!((again.status, again.reason().as_str(), again.body.len()), (206, "hit", 10));
    assert_eq!((origin.requests(), node.count(Counter::EdgeDiskHits)), (1, 1));
    let kept_in: Vec<_> = node.handle.cache_where("demo", "/a").into_iter().map(|entry| entry.kept_in).collect();
    assert_eq!(kept_in, [Medium::Memory, Medium::Disk]);
    let [memory, disk] = node.handle.cache_show("demo", "/a").unwrap().entries.try_into().unwrap();
    assert_eq!((memory.key, memory.report.etag), (disk.key, disk.report.etag));
    let response = disk.response.unwrap();
    assert_eq!(response.lifetime.initial_age.as_secs(), 30);
    assert_eq!(response.head.headers()["etag"], memory.response.unwrap().head.headers()["etag"]);
}

#[tokio::test]
async fn what_was_admitted_once_comes_back_at_the_first_request() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::always(vec![ok(HOUR, "body")]).await;
    let start = || {
        let mut setup = on_disk(origin.address, dir.path());
        setup.config.admission = AdmissionPolicy::SecondRequest;
        setup.start()
    };
    let node = start().await;
    get(node.address, "/once").await;
    for _ in 0..2 {
        get(node.address, "/twice").await;
    }
    node.handle.flush_disk();
    assert_eq!((origin.requests(), node.count(Counter::EdgeDiskWrites)), (3, 1));
    end(node, dir.path()).await;
    let node = start().await;
    let reasons = [get(node.address, "/twice").await, get(node.address, "/twice").await].map(|reply| reply.reason());
    assert_eq!((reasons, origin.requests()), (["hit_disk", "hit"].map(str::to_owned), 3));
}

#[tokio::test]
async fn a_range_of_what_lies_on_the_disk_asks_nobody() {
    let dir = TempDir::new().unwrap();
    let body = (0..100_000_u32).map(|at| char::from(b'a' + (at % 23) as u8)).collect::<String>();
    let origin = Scripted::always(vec![ok(&format!("{HOUR}ETag: \"a\"\r\n"), &body)]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    get(node.address, "/").await;
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let part = get_with(node.address, "/", "Range: bytes=70000-70099\r\n").await;
    assert_eq!((part.status, part.reason().as_str(), part.text().as_str()), (206, "hit_disk", &body[70_000..70_100]));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn who_wants_only_what_is_cached_gets_what_lies_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, _| {
        let control = if head.starts_with("GET /old ") { "Cache-Control: no-cache\r\n" } else { HOUR };
        vec![ok(&format!("{control}ETag: \"a\"\r\n"), "body")]
    })
    .await;
    let start = || {
        let mut setup = Setup::honour_origin(origin.address);
        setup.config.disk = tier(dir.path());
        setup.start()
    };
    let node = start().await;
    for path in ["/a", "/old"] {
        get(node.address, path).await;
    }
    end(node, dir.path()).await;
    let node = start().await;
    let only = async |path: &str, range: &str| {
        get_with(node.address, path, &format!("Cache-Control: only-if-cached\r\n{range}")).await
    };
    let found = only("/a", "Range: bytes=1-2\r\n").await;
    assert_eq!((found.status, found.text().as_str(), found.reason().as_str()), (206, "od", "hit_disk"));
    assert_eq!(only("/a", "").await.reason(), "hit");
    // What lies there and would have to be confirmed is not good enough, whether it lies on the disk or in memory.
    for path in ["/old", "/old", "/absent"] {
        let refused = only(path, "").await;
        assert_eq!((refused.status, refused.reason().as_str()), (504, "only_if_cached"), "{path}");
    }
    assert_eq!(origin.requests(), 2);
    assert_eq!(get(node.address, "/absent").await.status, 200, "nobody waits for what was not asked for");
}

#[tokio::test]
async fn age_and_freshness_come_through_the_disk_of_a_tier_behind() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::always(vec![ok(&format!("{HOUR}Age: 30\r\n"), "hello")]).await;
    let shield = || {
        let mut setup = on_disk(origin.address, dir.path()).app(|app| app.shield = true);
        (setup.config.id, setup.config.tier) = (NodeId::new(Role::Shield, "iad"), Tier::Shield);
        setup.start()
    };
    let edge = |shield: &Running| {
        let mut setup = Setup::new(origin.address).app(|app| app.shield = true);
        setup.config.parents = vec![parent(Tier::Shield, "IAD", shield.address)];
        setup.start()
    };
    let first = shield().await;
    assert_eq!(get(edge(&first).await.address, "/").await.text(), "hello");
    end(first, dir.path()).await;
    let second = shield().await;
    let edge = edge(&second).await;
    let found = get(edge.address, "/").await;
    assert_eq!((found.text().as_str(), found.reason().as_str()), ("hello", "hit_shield"));
    let age: u64 = found.header("age").parse().unwrap();
    assert!((30..40).contains(&age), "{}", found.head);
    for node in [&edge, &second] {
        let entry = node.handle.cache_where("demo", "/").remove(0);
        assert!((30..40).contains(&entry.age.as_secs()), "{entry:?}");
        assert!((3_598..=3_600).contains(&(entry.age + entry.fresh_for).as_secs()), "{entry:?}");
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_read() {
    let dir = TempDir::new().unwrap();
    let body = "y".repeat(900_000);
    let origin = Scripted::always(vec![ok(HOUR, &body)]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    get(node.address, "/").await;
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let asking: Vec<_> = (0..50).map(|_| tokio::spawn(get(node.address, "/"))).collect();
    for reply in asking {
        assert_eq!(reply.await.unwrap().text(), body);
    }
    assert_eq!((origin.requests(), node.count(Counter::EdgeDiskHits)), (1, 1));
    assert_eq!((node.count(Counter::EdgeHits), node.count(Counter::EdgeMisses)), (50, 0));
}

#[tokio::test]
async fn an_invalidation_reaches_the_disk_and_holds_in_the_next_process() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|_, number| vec![ok(HOUR, &number.to_string())]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    for path in ["/a/1", "/a/2", "/b"] {
        get(node.address, path).await;
    }
    node.handle.flush_disk();
    assert_eq!(node.count(Counter::EdgeDiskObjects), 3);
    assert_eq!(node.handle.invalidate("demo", "/a/*").unwrap(), 4, "two in memory, two on disk");
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let bodies = [get(node.address, "/a/1").await.text(), get(node.address, "/b").await.text()];
    assert_eq!(bodies, ["3", "2"]);
}

#[tokio::test]
async fn an_invalidation_holds_though_no_record_was_killed_before_the_process_died() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|_, number| vec![ok(HOUR, &number.to_string())]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    for path in ["/a", "/b"] {
        get(node.address, path).await;
    }
    node.handle.flush_disk();
    let [segment] = segments(dir.path()).try_into().unwrap();
    let before = fs::read(&segment).unwrap();
    node.handle.invalidate("demo", "/a").unwrap();
    end(node, dir.path()).await;
    fs::write(&segment, before).unwrap();
    let node = on_disk(origin.address, dir.path()).start().await;
    let bodies = [get(node.address, "/a").await.text(), get(node.address, "/b").await.text()];
    assert_eq!(bodies, ["2", "1"]);
}

#[tokio::test]
async fn what_the_disk_lets_grow_stale_is_confirmed_and_not_fetched() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, _| match line(head, "if-none-match") {
        Some(_) => vec![Act::Send(format!("HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"a\"\r\n\r\n").into_bytes())],
        None => vec![ok("Cache-Control: no-cache\r\nETag: \"a\"\r\n", "body")],
    })
    .await;
    let node = on_disk(origin.address, dir.path()).start().await;
    get(node.address, "/").await;
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let confirmed = get(node.address, "/").await;
    assert_eq!((confirmed.reason().as_str(), confirmed.text().as_str()), ("refresh_hit", "body"));
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(get(node.address, "/").await.reason(), "hit_disk", "what a 304 says is written too");
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn variants_stay_apart_and_what_replaces_a_response_replaces_it_on_disk() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, number| match line(head, "x-forward") {
        Some(value) if value == "gone" => vec![ok("Cache-Control: no-store\r\nVary: X-Forward\r\n", "own")],
        Some(value) => vec![ok(&format!("{HOUR}Vary: X-Forward\r\n"), &format!("{value}{number}"))],
        None => vec![ok("Cache-Control: no-store\r\n", "")],
    })
    .await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let ask = async |address, value: &str| get_with(address, "/", &format!("X-Forward: {value}\r\n")).await;
    assert_eq!(ask(node.address, "a").await.text(), "a0");
    assert_eq!(ask(node.address, "b").await.text(), "b1");
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!([ask(node.address, "b").await.text(), ask(node.address, "a").await.text()], ["b1", "a0"]);
    assert_eq!(ask(node.address, "gone").await.text(), "own");
    assert_eq!(node.count(Counter::EdgeDiskHits), 2);
}

#[tokio::test]
async fn an_unsafe_method_removes_all_variants_from_the_disk() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, number| match head.starts_with("PUT ") {
        true => vec![crate::support::status(204, "")],
        false => vec![ok(&format!("{HOUR}Vary: X-Forward\r\n"), &number.to_string())],
    })
    .await;
    let start = || on_disk(origin.address, dir.path()).policy("honour-origin").start();
    let ask = async |address, value: &str| get_with(address, "/", &format!("X-Forward: {value}\r\n")).await.text();
    let node = start().await;
    assert_eq!([ask(node.address, "a").await, ask(node.address, "b").await], ["0", "1"]);
    node.handle.flush_disk();
    assert_eq!(node.count(Counter::EdgeDiskObjects), 2);
    let put = "PUT / HTTP/1.1\r\nHost: www.demo.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(node.address, put).await.status, 204);
    end(node, dir.path()).await;
    let node = start().await;
    assert_eq!([ask(node.address, "a").await, ask(node.address, "b").await], ["3", "4"]);
}

#[tokio::test]
async fn a_response_to_head_that_describes_another_removes_what_lies_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let stale = "Cache-Control: max-age=0, stale-while-revalidate=600\r\n";
    let origin = Scripted::start(move |head, _| match head.starts_with("HEAD ") {
        true => vec![Act::Send(format!("HTTP/1.1 200 OK\r\n{HOUR}ETag: \"b\"\r\nContent-Length: 4\r\n\r\n").into())],
        false => vec![ok(&format!("{stale}ETag: \"a\"\r\n"), "body")],
    })
    .await;
    let node = on_disk(origin.address, dir.path()).policy("honour-origin").start().await;
    get(node.address, "/").await;
    node.handle.flush_disk();
    assert_eq!(node.count(Counter::EdgeDiskObjects), 1);
    exchange(node.address, "HEAD / HTTP/1.1\r\nHost: www.demo.test\r\nCache-Control: no-cache\r\n\r\n").await;
    node.handle.flush_disk();
    assert_eq!((origin.requests(), node.count(Counter::EdgeDiskObjects)), (2, 0));
}

#[tokio::test]
async fn a_damaged_record_is_a_miss_and_is_written_anew() {
    let dir = TempDir::new().unwrap();
    let body = "z".repeat(200_000);
    let origin = Scripted::always(vec![ok(HOUR, &body)]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    get(node.address, "/a").await;
    end(node, dir.path()).await;
    let [segment] = segments(dir.path()).try_into().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 1_000;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let node = on_disk(origin.address, dir.path()).start().await;
    let missed = get(node.address, "/a").await;
    assert_eq!((missed.reason().as_str(), missed.text()), ("miss_disk_damaged", body.clone()));
    assert_eq!((origin.requests(), node.count(Counter::EdgeDiskDamaged)), (2, 1));
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(get(node.address, "/a").await.reason(), "hit_disk");
}

#[tokio::test]
async fn what_was_stored_for_another_configuration_or_without_a_label_is_not_used() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::always(vec![ok(HOUR, "body")]).await;
    for (round, generation) in ["one", "two", "two"].into_iter().enumerate() {
        if round == 2 {
            fs::write(dir.path().join("label"), "no label").unwrap();
        }
        let mut setup = on_disk(origin.address, dir.path());
        setup.config.disk.as_mut().unwrap().generation = generation.into();
        let node = setup.start().await;
        assert_eq!(get(node.address, "/").await.reason(), "miss_absent", "round {round}");
        end(node, dir.path()).await;
    }
    assert_eq!((origin.requests(), segments(dir.path()).len()), (3, 1));
}

#[tokio::test]
async fn errors_and_requests_that_ask_for_heads_leave_nothing_there() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::start(|head, _| match head.starts_with("GET /missing") {
        true => vec![crate::support::status(404, HOUR)],
        false => vec![Act::Send(format!("HTTP/1.1 200 OK\r\n{HOUR}Content-Length: 5\r\n\r\n").into_bytes())],
    })
    .await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(get(node.address, "/missing").await.status, 404);
    assert_eq!(exchange(node.address, "HEAD / HTTP/1.1\r\nHost: www.demo.test\r\n\r\n").await.status, 200);
    node.handle.flush_disk();
    assert_eq!((node.count(Counter::EdgeStoreObjects), node.count(Counter::EdgeDiskWrites)), (2, 0));
}

#[tokio::test]
async fn a_node_that_was_away_can_be_made_to_begin_empty() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::always(vec![ok(HOUR, "body")]).await;
    edge_node::empty_disk(dir.path()).unwrap();
    let node = on_disk(origin.address, dir.path()).start().await;
    get(node.address, "/").await;
    assert!(edge_node::empty_disk(dir.path()).is_err(), "it is in use");
    end(node, dir.path()).await;
    edge_node::empty_disk(dir.path()).unwrap();
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(get(node.address, "/").await.reason(), "miss_absent");
}

#[tokio::test]
async fn a_directory_belongs_to_one_node() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::always(vec![ok(HOUR, "body")]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    let second = Edge::build(on_disk(origin.address, dir.path()).config, vec![], edge_node::tcp());
    assert!(matches!(second, Err(BuildError::Disk(error)) if error.to_string().contains("another process uses it")));
    drop(node);
}

#[tokio::test]
async fn distributions_that_are_replaced_leave_nothing_for_the_next_process() {
    let dir = TempDir::new().unwrap();
    let origin = Scripted::always(vec![ok(HOUR, "body")]).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    get(node.address, "/").await;
    let spec = Setup::new(origin.address).spec;
    let other = Arc::new(cdn_core::distribution::Distribution::new(spec).unwrap());
    node.handle.set_distributions(vec![other]).unwrap();
    get(node.address, "/other").await;
    end(node, dir.path()).await;
    let node = on_disk(origin.address, dir.path()).start().await;
    assert_eq!(get(node.address, "/").await.reason(), "miss_absent");
}

/// What the origin answers for a path at a version: some bytes, and how many depends on the path.
fn content(path: &str, version: u64) -> String {
    let number: usize = path.trim_start_matches('/').parse().unwrap();
    format!("{path}@{version};").repeat(1 + number * number * 97 % 20_000)
}

/// A node in a process of its own, which can be killed.
struct Node {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Node {
    fn start(origin: SocketAddr, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["disk::the_node_that_is_killed", "--exact", "--ignored", "--nocapture"])
            .env("EDGE_DISK_ORIGIN", origin.to_string())
            .env("EDGE_DISK_DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut node = Self { child, stdin, stdout, address: origin };
        node.address = node.said("listens at ").parse().unwrap();
        node
    }

    /// The rest of the next line that begins like this.
    fn said(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the node ended");
            if let Some((_, rest)) = line.split_once(begin) {
                return rest.trim().to_owned();
            }
        }
    }

    fn invalidate(&mut self, pattern: &str) {
        writeln!(self.stdin, "{pattern}").unwrap();
        self.said("invalidated");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The child process of the kill loop, which runs and asks for it by name.
#[tokio::test]
#[ignore = "no test: the kill loop starts it as the process that it kills"]
async fn the_node_that_is_killed() {
    let Ok(origin) = std::env::var("EDGE_DISK_ORIGIN") else { return };
    let dir = std::env::var_os("EDGE_DISK_DIR").unwrap();
    let node = on_disk(origin.parse().unwrap(), Path::new(&dir)).start().await;
    println!("listens at {}", node.address);
    let handle = node.handle.clone();
    let commands = tokio::task::spawn_blocking(move || {
        for pattern in std::io::stdin().lines() {
            handle.invalidate("demo", &pattern.unwrap()).unwrap();
            println!("invalidated");
        }
    });
    commands.await.unwrap();
}

/// Nodes are killed at any moment, also while they write and just after an invalidation was confirmed. Every byte that is
/// ever served is the origin's, and none is older than the last invalidation of its path.
#[tokio::test]
async fn a_node_that_is_killed_again_and_again_never_serves_wrong_bytes() {
    const PATHS: usize = 40;
    let dir = TempDir::new().unwrap();
    let version = Arc::new(AtomicU64::new(0));
    let origin = Scripted::start({
        let version = Arc::clone(&version);
        move |head, _| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            vec![ok(HOUR, &content(path, version.load(Ordering::SeqCst)))]
        }
    })
    .await;
    let mut oldest = [0; PATHS];
    let mut from_disk = 0;
    for round in 0..12 {
        let mut node = Node::start(origin.address, dir.path());
        let check = |reply: &Reply, number: usize, oldest: u64, newest: u64| {
            let path = format!("/{number}");
            let right = (oldest..=newest).any(|version| reply.text() == content(&path, version));
            assert!(right, "round {round}, {path}: {} bytes, {}", reply.body.len(), reply.reason());
        };
        // First what earlier processes left, then with what is killed in between.
        for step in 0..PATHS {
            let number = (step * 7 + round * 3) % PATHS;
            let reply = get(node.address, &format!("/{number}")).await;
            check(&reply, number, oldest[number], version.load(Ordering::SeqCst));
            from_disk += u32::from(reply.reason() == "hit_disk");
            if step % 13 == round % 13 {
                let newest = version.fetch_add(1, Ordering::SeqCst) + 1;
                node.invalidate(&format!("/{number}"));
                oldest[number] = newest;
            }
            if step == PATHS - 1 - round {
                break;
            }
        }
        // The last breath: an invalidation, and requests that are being written down.
        let newest = version.fetch_add(1, Ordering::SeqCst) + 1;
        let number = round * 5 % PATHS;
        let under_way: Vec<_> = (0..PATHS).map(|number| format!("/{number}")).collect();
        let address = node.address;
        let asking = tokio::spawn(async move {
            for path in under_way {
                // It is killed meanwhile.
                let _ = raw_get(address, path).await;
            }
        });
        node.invalidate(&format!("/{number}"));
        oldest[number] = newest;
        node.kill();
        asking.await.unwrap();
    }
    assert!(from_disk > 50, "only {from_disk} requests were answered from the disk");
}

/// A request whose answer may never come.
async fn raw_get(address: SocketAddr, path: String) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: www.demo.test\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut sink = Vec::new();
    stream.read_to_end(&mut sink).await?;
    Ok(())
}
