//! Connections to edges that wait for their next request.
//!
//! Whose they are: a client connection keeps its own, as a browser does, so that a new client pays its handshakes and
//! one that stays does not; so does each user of a load. Warm requests share one set per place. Bounded in number and by
//! idle time; closed when the client connection that opened them is.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;
use world::SiteId;

use crate::sender::Sender;

/// How long a kept connection may take to say that it is free: a poll or two, unless it still sends the body of a request
/// that was answered early.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// Who may use a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// One client connection.
    Client(u64),
    /// One user of a load.
    User {
        /// The load, by its index.
        load: u16,
        /// The user, by number.
        user: u32,
    },
    /// Every warm request.
    Everybody,
}

/// A connection to an edge.
pub(crate) struct EdgeConnection {
    pub(crate) sender: Sender,
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
}

type Key = (Owner, SiteId);

struct Idle {
    connection: EdgeConnection,
    until: Instant,
    serial: u64,
}

#[derive(Default)]
struct State {
    /// Of each owner, oldest first.
    idle: HashMap<Key, Vec<Idle>>,
    /// All of them by age.
    by_age: BTreeMap<u64, Key>,
    next_serial: u64,
}

/// The connections that wait.
pub(crate) struct Pool {
    state: Mutex<State>,
    idle_max: usize,
    idle_timeout: Duration,
}

impl Pool {
    pub(crate) fn new(idle_max: usize, idle_timeout: Duration) -> Self {
        Self { state: Mutex::default(), idle_max, idle_timeout }
    }

    /// A connection that can take a request, the youngest first; `wanted` says which will do.
    pub(crate) async fn checkout(
        &self,
        owner: Owner,
        site: &SiteId,
        wanted: impl Fn(&EdgeConnection) -> bool,
    ) -> Option<EdgeConnection> {
        let key = (owner, site.clone());
        loop {
            let taken = self.lock().take(&key, |idle| wanted(&idle.connection))?;
            if taken.until <= Instant::now() {
                continue;
            }
            let mut connection = taken.connection;
            // The response before may just have ended: the connection says so within a poll or two, or that it is gone.
            if timeout(READY_WITHIN, connection.sender.is_ready()).await == Ok(true) {
                return Some(connection);
            }
        }
    }

    /// Keeps `connection` for the next request. Says whether the oldest had to go for it.
    pub(crate) fn store(&self, owner: Owner, site: &SiteId, connection: EdgeConnection) -> bool {
        self.store_for(self.idle_timeout, owner, site, connection)
    }

    /// Keeps `connection` for the next request, but not for longer than `idle_timeout`. Says whether the oldest had to go
    /// for it.
    pub(crate) fn store_for(
        &self,
        idle_timeout: Duration,
        owner: Owner,
        site: &SiteId,
        connection: EdgeConnection,
    ) -> bool {
        if connection.sender.is_closed() || self.idle_max == 0 || idle_timeout.is_zero() {
            return false;
        }
        // A connection that is kept for a day is kept for good.
        let until = Instant::now() + idle_timeout.min(Duration::from_secs(86_400));
        let mut state = self.lock();
        let full = state.by_age.len() >= self.idle_max;
        if full && let Some((oldest, key)) = state.by_age.pop_first() {
            let _ = state.take(&key, |idle| idle.serial == oldest);
        }
        let (key, serial) = ((owner, site.clone()), state.next_serial);
        state.next_serial += 1;
        state.by_age.insert(serial, key.clone());
        state.idle.entry(key).or_default().push(Idle { connection, until, serial });
        full
    }

    /// Closes what `owner` kept.
    pub(crate) fn close_of(&self, owner: Owner) {
        self.lock().retain(|(of, _), _| *of != owner);
    }

    /// Closes what has waited too long or was closed by the other side.
    pub(crate) fn close_stale(&self) {
        let now = Instant::now();
        self.lock().retain(|_, idle| idle.until > now && !idle.connection.sender.is_closed());
    }

    /// Closes all and says how many there were.
    pub(crate) fn close_all(&self) -> usize {
        let mut state = self.lock();
        state.idle.clear();
        std::mem::take(&mut state.by_age).len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the youngest that is `wanted` of those under `key`.
    fn take(&mut self, key: &Key, wanted: impl Fn(&Idle) -> bool) -> Option<Idle> {
        let waiting = self.idle.get_mut(key)?;
        let at = waiting.iter().rposition(wanted)?;
        let taken = waiting.remove(at);
        if waiting.is_empty() {
            self.idle.remove(key);
        }
        self.by_age.remove(&taken.serial);
        Some(taken)
    }

    fn retain(&mut self, wanted: impl Fn(&Key, &Idle) -> bool) {
        let by_age = &mut self.by_age;
        self.idle.retain(|key, waiting| {
            waiting.retain(|idle| {
                let stays = wanted(key, idle);
                if !stays {
                    by_age.remove(&idle.serial);
                }
                stays
            });
            !waiting.is_empty()
        });
    }
}
