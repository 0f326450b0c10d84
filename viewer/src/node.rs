//! The parts of a viewer node and what they share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cdn_core::{Counter, Counters, framing::StandIn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    beacon::Beacons,
    config::{Config, RouterAddresses},
    connect::Connector,
    dns::Resolvers,
    failure::Failure,
    fetch::{Fetcher, Viewpoint},
    ledger::{Ledger, Ring},
    net::Net,
    place::Places,
    pool::{EdgeConnection, Owner, Pool},
    target::Target,
    tls::WallClock,
    user::User,
};

/// A viewer node.
pub(crate) struct Node {
    pub(crate) config: Arc<Config>,
    pub(crate) places: Arc<dyn Places>,
    pub(crate) resolvers: Resolvers,
    pub(crate) net: Arc<dyn Net>,
    pub(crate) fetcher: Fetcher,
    /// One permit for each request that loads may have under way.
    pub(crate) load_room: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    /// What viewers take for the date.
    pub(crate) clock: WallClock,
    /// Cancelled when the node is told to stop: nothing new is begun.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the grace is over: whatever still runs ends.
    pub(crate) halt: CancellationToken,
    /// Client connections and tunnels.
    pub(crate) tasks: TaskTracker,
    ledgers: Mutex<Ring>,
    serial: AtomicU64,
}

impl Node {
    pub(crate) fn build(config: Config, places: Arc<dyn Places>, net: Arc<dyn Net>) -> Self {
        let counters = Arc::new(Counters::default());
        let limits = Arc::new(config.limits.clone());
        let config = Arc::new(config);
        let routers = |address: fn(&RouterAddresses) -> _| config.routers.iter().map(address).collect::<Vec<_>>();
        let (dns, http) = (routers(|router| router.dns), routers(|router| router.http));
        let resolvers = Resolvers::new(Arc::clone(&net), dns, Arc::clone(&limits), Arc::clone(&counters));
        let beacons = Beacons::new(Arc::clone(&net), http, Arc::clone(&limits), Arc::clone(&counters));
        let fetcher = Fetcher {
            connector: Arc::new(Connector::new(Arc::clone(&net), beacons, Arc::clone(&limits), Arc::clone(&counters))),
            pool: Pool::new(limits.pool_idle_max, limits.pool_idle_timeout),
            config: Arc::clone(&config),
            counters: Arc::clone(&counters),
        };
        let ledgers = Mutex::new(Ring::new(limits.ledgers_max));
        let (stopping, halt, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let serial = AtomicU64::new(1);
        let load_room = Arc::new(Semaphore::new(limits.load_in_flight_max.min(Semaphore::MAX_PERMITS)));
        Self {
            config,
            places,
            resolvers,
            net,
            fetcher,
            load_room,
            counters,
            clock: WallClock::default(),
            stopping,
            halt,
            tasks,
            ledgers,
            serial,
        }
    }

    /// Where `user` stands and how it asks from there.
    pub(crate) fn viewpoint(&self, user: &User, client: &Client) -> Result<Viewpoint, Failure> {
        let standing =
            |place: &str| self.places.standing(place).map_err(|error| Failure::UnknownPlace(error.to_string()));
        let viewer = standing(user.place.as_deref().unwrap_or(&self.config.default_place))?;
        let resolver = match &user.resolver {
            Some(place) => self.resolvers.at(&standing(place)?),
            None => self.resolvers.at(&viewer),
        };
        Ok(Viewpoint {
            subnet: (!user.no_ecs).then_some(viewer.network),
            standing: viewer,
            resolver,
            owner: if user.warm { Owner::Everybody } else { Owner::Client(client.id) },
            warm: user.warm,
        })
    }

    /// Keeps a connection whose response has ended.
    pub(crate) fn give_back(&self, who: &Viewpoint, connection: EdgeConnection) {
        if self.fetcher.pool.store(who.owner, &who.standing.site, connection) {
            self.counters.bump(Counter::ViewerPoolEvictions);
        }
    }

    /// A number that was not given before.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps `ledger`; a second one with the same number takes the place of the first.
    pub(crate) fn store_ledger(&self, serial: u64, ledger: Ledger) {
        if self.ledgers().store(serial, ledger) {
            self.counters.bump(Counter::ViewerLedgersDropped);
        }
    }

    pub(crate) fn ledgers(&self) -> MutexGuard<'_, Ring> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client connection: what it opened is closed with it.
pub(crate) struct Client {
    pub(crate) node: Arc<Node>,
    pub(crate) id: u64,
    /// Which of its requests was refused before it was one.
    pub(crate) stand_in: Arc<StandIn>,
    /// From now on its bytes belong to no HTTP.
    tunnel: AtomicBool,
    /// Where it stands in the tunnel of another.
    pub(crate) inside: Option<Inside>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A client inside TLS: whose tunnel it is, and what was said when that was opened.
pub(crate) struct Inside {
    pub(crate) user: User,
    pub(crate) target: Target,
    /// Host and port as a URL has them.
    pub(crate) authority: String,
    /// Its connection counts as long as this one stands.
    _outside: Arc<Client>,
}

impl Client {
    pub(crate) fn new(node: Arc<Node>, permit: OwnedSemaphorePermit) -> Self {
        node.counters.add(Counter::ViewerConnections, 1);
        let (stand_in, tunnel) = (Arc::default(), AtomicBool::new(false));
        Self { id: node.next_serial(), node, stand_in, tunnel, inside: None, _permit: Some(permit) }
    }

    /// Who speaks inside the tunnel of `outside`.
    pub(crate) fn inside(outside: Arc<Self>, user: User, target: Target, authority: String) -> Self {
        let node = Arc::clone(&outside.node);
        let (stand_in, tunnel) = (Arc::default(), AtomicBool::new(false));
        let inside = Some(Inside { user, target, authority, _outside: outside });
        Self { id: node.next_serial(), node, stand_in, tunnel, inside, _permit: None }
    }

    /// The connection becomes a tunnel; called before the client can know.
    ///
    /// # Errors
    /// What came behind the request that asks for it was refused already.
    pub(crate) fn on_tunnel(&self) -> Result<(), Failure> {
        if let Some(reason) = self.stand_in.reason() {
            return Err(Failure::Refused(reason));
        }
        self.tunnel.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.inside.is_none() {
            self.node.counters.sub(Counter::ViewerConnections, 1);
        }
        self.node.fetcher.pool.close_of(Owner::Client(self.id));
    }
}
