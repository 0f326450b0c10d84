//! Who stands where, which links there are, and what lies over them: everything that connections share.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cdn_core::{Counter, Counters};
use world::{DropReason, Fault, Link, Overlay, PathSpec, SiteId, TargetDisturbance, TcpOptions};

use crate::{
    conn::Conn,
    datagram::WanUdp,
    dial::Dialer,
    raw::{RawDial, TcpDial},
    timer::{Timer, lock},
};

/// Where addresses stand and how far sites are apart.
pub trait Paths: Send + Sync {
    /// The site where `address` listens; `None` for an address that is no part of the world.
    fn site_of(&self, address: SocketAddr) -> Option<SiteId>;

    /// The undisturbed path between two sites. Asked once per pair.
    fn path(&self, from: &SiteId, to: &SiteId) -> Option<PathSpec>;
}

/// How a [`Wan`] behaves.
#[derive(Clone)]
pub struct WanOptions {
    /// The seed of every link's chance.
    pub seed: u64,
    /// Windows and buffers of each connection.
    pub tcp: TcpOptions,
    /// How long a connection whose user has gone may take to deliver what is left. Default 60 s (Linux
    /// `tcp_fin_timeout`).
    pub linger_max: Duration,
    /// Datagrams of one socket that may be on their way in each direction; beyond, they are lost (`wan_drops_queue_full_total`).
    /// Default 4096: of QUIC's size as many bytes as a window of TCP has.
    pub datagrams_max: usize,
    /// What really carries the bytes. Default TCP.
    pub raw: Option<Arc<dyn RawDial>>,
}

impl Default for WanOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            tcp: TcpOptions::default(),
            linger_max: Duration::from_secs(60),
            datagrams_max: 4096,
            raw: None,
        }
    }
}

impl fmt::Debug for WanOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WanOptions")
            .field("seed", &self.seed)
            .field("tcp", &self.tcp)
            .field("linger_max", &self.linger_max)
            .field("datagrams_max", &self.datagrams_max)
            .field("raw", &self.raw.as_ref().map(|_| "custom"))
            .finish()
    }
}

/// The links of one process. Clones share them.
#[derive(Clone)]
pub struct Wan {
    pub(crate) core: Arc<Core>,
}

/// What connections share.
pub(crate) struct Core {
    pub(crate) options: WanOptions,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timer: Timer,
    pub(crate) raw: Arc<dyn RawDial>,
    paths: Arc<dyn Paths>,
    /// Links and what lies over them change together, under one lock.
    network: Mutex<Network>,
    conns: Mutex<BTreeMap<u64, Weak<Conn>>>,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Network {
    links: HashMap<(SiteId, SiteId), Arc<Mutex<Link>>>,
    overlay: Arc<Overlay>,
}

/// The way from a site to an address and back.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) from: SiteId,
    pub(crate) target: SocketAddr,
    pub(crate) up: Arc<Mutex<Link>>,
    pub(crate) down: Arc<Mutex<Link>>,
}

impl Wan {
    /// The links of this process, none of them disturbed.
    ///
    /// # Errors
    ///
    /// When the timer's thread cannot be started.
    pub fn new(paths: Arc<dyn Paths>, options: WanOptions, counters: Arc<Counters>) -> std::io::Result<Self> {
        let raw = options.raw.clone().unwrap_or_else(|| Arc::new(TcpDial));
        let core = Core {
            options,
            counters,
            timer: Timer::build()?,
            raw,
            paths,
            network: Mutex::default(),
            conns: Mutex::default(),
            next_id: AtomicU64::new(0),
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// A connector for somebody who stands at `from`, with `source` as the local address of its sockets.
    pub fn dialer(&self, from: SiteId, source: Option<IpAddr>) -> Dialer {
        Dialer::new(Arc::clone(&self.core), from, source)
    }

    /// Ends at `at`, to the precision of links rather than of tokio's timer.
    pub async fn wait_until(&self, at: std::time::Instant) {
        let timer = &self.core.timer;
        let span = at.saturating_duration_since(std::time::Instant::now());
        if !span.is_zero() {
            timer.sleep_until(timer.now() + span).await;
        }
    }

    /// A datagram socket for somebody who stands at `from`. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When no socket can be bound to `source` (by default: any address).
    pub async fn datagram(&self, from: SiteId, source: Option<IpAddr>) -> std::io::Result<WanUdp> {
        WanUdp::bind(Arc::clone(&self.core), from, source)
    }

    /// Replaces all faults at once, for open connections as well: a partition swallows what is on its way, a heal lets
    /// retransmissions through, delays and throttles change for what is sent from now on.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        let core = &self.core;
        {
            let mut network = lock(&core.network);
            network.overlay = Arc::new(Overlay::new(faults));
            let Network { links, overlay } = &*network;
            for ((from, to), link) in links {
                lock(link).disturb(overlay.link(from, to));
            }
        }
        let open: Vec<_> = lock(&core.conns).values().filter_map(Weak::upgrade).collect();
        for conn in open {
            conn.handle_overlay();
        }
    }

    /// The active faults.
    pub fn faults(&self) -> Vec<Fault> {
        self.core.overlay().faults().to_vec()
    }

    /// The undisturbed path between two sites, if there is one.
    pub fn path(&self, from: &SiteId, to: &SiteId) -> Option<PathSpec> {
        self.core.link(from, to).map(|link| *lock(&link).path())
    }
}

impl fmt::Debug for Wan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wan").field("options", &self.core.options).finish_non_exhaustive()
    }
}

impl Core {
    /// The way from `from` to `target`; `None`, counted, when there is none.
    pub(crate) fn route(&self, from: &SiteId, target: SocketAddr) -> Option<Route> {
        let route = self.paths.site_of(target).and_then(|to| {
            Some(Route { from: from.clone(), target, up: self.link(from, &to)?, down: self.link(&to, from)? })
        });
        if route.is_none() {
            self.counters.bump(Counter::WanDialNoRoute);
        }
        route
    }

    /// What lies over a connection because of its target.
    pub(crate) fn target(&self, from: &SiteId, target: SocketAddr, connection: u64) -> TargetDisturbance {
        let overlay = self.overlay();
        if overlay.faults().is_empty() {
            return TargetDisturbance::default();
        }
        overlay.target(from, target, self.options.seed ^ connection)
    }

    /// A number that no other connection has.
    pub(crate) fn connection_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Something did not arrive.
    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.counters.bump(match reason {
            DropReason::Loss => Counter::WanDropsLoss,
            DropReason::QueueFull => Counter::WanDropsQueueFull,
            DropReason::Partition | DropReason::Blackhole => Counter::WanDropsSilence,
        });
    }

    /// From now on the connection hears of changed faults.
    pub(crate) fn register(&self, id: u64, conn: &Arc<Conn>) {
        lock(&self.conns).insert(id, Arc::downgrade(conn));
    }

    pub(crate) fn forget(&self, id: u64) {
        lock(&self.conns).remove(&id);
    }

    fn overlay(&self) -> Arc<Overlay> {
        Arc::clone(&lock(&self.network).overlay)
    }

    fn link(&self, from: &SiteId, to: &SiteId) -> Option<Arc<Mutex<Link>>> {
        let key = (from.clone(), to.clone());
        if let Some(link) = lock(&self.network).links.get(&key) {
            return Some(Arc::clone(link));
        }
        // Asked without the lock: it is foreign code.
        let path = self.paths.path(from, to)?;
        let mut network = lock(&self.network);
        let disturbance = network.overlay.link(from, to);
        let link = network.links.entry(key).or_insert_with(|| {
            let mut link = Link::new(path, link_seed(self.options.seed, from, to));
            link.disturb(disturbance);
            Arc::new(Mutex::new(link))
        });
        Some(Arc::clone(link))
    }
}

/// Each direction has its own stream of chance, whatever else exists (FNV-1a over seed and names).
fn link_seed(seed: u64, from: &SiteId, to: &SiteId) -> u64 {
    let names = from.as_str().bytes().chain([0]).chain(to.as_str().bytes());
    seed.to_le_bytes()
        .into_iter()
        .chain(names)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
