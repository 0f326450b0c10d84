//! A small world for tests: who listens on 127.0.0.N stands at site N, and all sites are equally far apart.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use ::world::{Fault, FaultOn, Jitter, LinkChange, PathSpec, SiteId, TargetFault};
use cdn_core::{Counter, Counters};
use tokio::net::TcpListener;
use wan::{Paths, Wan, WanOptions, WanStream};

/// See the module.
pub(crate) struct Uniform(pub(crate) PathSpec);

impl Paths for Uniform {
    fn site_of(&self, address: SocketAddr) -> Option<SiteId> {
        match address.ip() {
            IpAddr::V4(ip) if ip.octets()[..3] == [127, 0, 0] => Some(site(ip.octets()[3])),
            _ => None,
        }
    }

    fn path(&self, _: &SiteId, _: &SiteId) -> Option<PathSpec> {
        Some(self.0)
    }
}

/// The site of 127.0.0.`number`.
pub(crate) fn site(number: u8) -> SiteId {
    SiteId::new(&number.to_string())
}

/// A path without jitter and loss.
pub(crate) fn path(rtt_ms: u64, bandwidth_bps: u64) -> PathSpec {
    PathSpec { rtt: ms(rtt_ms), jitter: Jitter::default(), loss: 0.0, bandwidth_bps }
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A world, the counters, and one far listener at site 2. Viewers stand at site 1.
pub(crate) struct World {
    pub(crate) wan: Wan,
    pub(crate) counters: Arc<Counters>,
    pub(crate) listener: TcpListener,
    pub(crate) target: SocketAddr,
}

impl World {
    pub(crate) async fn new(path: PathSpec) -> Self {
        Self::with(path, WanOptions { seed: 7, ..WanOptions::default() }).await
    }

    pub(crate) async fn with(path: PathSpec, options: WanOptions) -> Self {
        let counters = Arc::new(Counters::default());
        let wan = Wan::new(Arc::new(Uniform(path)), options, Arc::clone(&counters)).unwrap();
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        Self { wan, counters, listener, target }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<WanStream> {
        self.wan.dialer(site(1), None).connect(self.target).await
    }

    /// A connection, seen from both ends.
    pub(crate) async fn pair(&self) -> (WanStream, tokio::net::TcpStream) {
        let (near, far) = tokio::join!(self.connect(), self.listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.counters.value(counter)
    }

    /// The target at site 2 suffers.
    pub(crate) fn on_target(&self, kind: TargetFault) -> Fault {
        Fault { id: 1, on: FaultOn::Target { addresses: vec![self.target], kind }, rate: 1.0, from: None }
    }
}

/// The link from site 1 to site 2 suffers.
pub(crate) fn on_link(kind: LinkChange, one_way: bool) -> Fault {
    Fault { id: 1, on: FaultOn::Link { a: site(1), b: site(2), one_way, kind }, rate: 1.0, from: None }
}

/// Asserts that `took` is what was asked: never less, and no more than what a loaded machine adds.
#[track_caller]
pub(crate) fn assert_took(took: Duration, asked: Duration) {
    assert!(took >= asked, "took {took:?}, asked for {asked:?}");
    assert!(took < asked + asked / 4 + ms(150), "took {took:?}, asked for {asked:?}");
}

/// Waits until `condition` holds.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "still waiting until {what}");
        tokio::time::sleep(ms(1)).await;
    }
}
