//! Connections to edges that wait for their next request.
//!
//! Whose they are: a client connection keeps its own, as a browser does, so that a new client pays its handshakes and
//! one that stays does not. Warm requests share one set per place. Bounded in number and by idle time; closed when the
//! client connection that opened them is.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use tokio::time::timeout;
use world::SiteId;

/// How long a kept connection may take to say that it is free: a poll or two, unless it still sends the body of a request
/// that was answered early.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// The body of a request to an edge: kept whole, or streamed through.
pub(crate) type Upload = Either<Full<Bytes>, Incoming>;

/// Who may use a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// One client connection.
    Client(u64),
    /// Every warm request.
    Everybody,
}

/// A connection to an edge.
pub(crate) struct EdgeConnection {
    pub(crate) sender: SendRequest<Upload>,
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
}

struct Idle {
    connection: EdgeConnection,
    since: Instant,
}

/// The connections that wait.
pub(crate) struct Pool {
    idle: Mutex<HashMap<(Owner, SiteId), Vec<Idle>>>,
    idle_max: usize,
    idle_timeout: Duration,
}

impl Pool {
    pub(crate) fn new(idle_max: usize, idle_timeout: Duration) -> Self {
        Self { idle: Mutex::default(), idle_max, idle_timeout }
    }

    /// A connection that can take a request, the youngest first; `wanted` says which will do.
    pub(crate) async fn checkout(
        &self,
        owner: Owner,
        site: &SiteId,
        wanted: impl Fn(&EdgeConnection) -> bool,
    ) -> Option<EdgeConnection> {
        loop {
            let mut connection = {
                let mut idle = self.lock();
                let key = (owner, site.clone());
                let waiting = idle.get_mut(&key)?;
                let at = waiting.iter().rposition(|idle| wanted(&idle.connection))?;
                let taken = waiting.remove(at);
                if waiting.is_empty() {
                    idle.remove(&key);
                }
                if taken.since.elapsed() >= self.idle_timeout {
                    continue;
                }
                taken.connection
            };
            // The response before may just have ended: the connection says so within a poll or two, or that it is gone.
            if matches!(timeout(READY_WITHIN, connection.sender.ready()).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    /// Keeps `connection` for the next request. Says whether the oldest had to go for it.
    pub(crate) fn store(&self, owner: Owner, site: &SiteId, connection: EdgeConnection) -> bool {
        if connection.sender.is_closed() || self.idle_max == 0 {
            return false;
        }
        let mut idle = self.lock();
        let full = idle.values().map(Vec::len).sum::<usize>() >= self.idle_max;
        if full {
            // Each list is in the order of time, so the oldest of all is first in its own.
            let oldest = idle.iter().min_by_key(|(_, waiting)| waiting.first().map(|idle| idle.since));
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                remove_first(&mut idle, &key);
            }
        }
        idle.entry((owner, site.clone())).or_default().push(Idle { connection, since: Instant::now() });
        full
    }

    /// Closes what `owner` kept.
    pub(crate) fn close_of(&self, owner: Owner) {
        self.lock().retain(|(of, _), _| *of != owner);
    }

    /// Closes what has waited too long or was closed by the other side.
    pub(crate) fn close_stale(&self) {
        self.lock().retain(|_, waiting| {
            waiting.retain(|idle| idle.since.elapsed() < self.idle_timeout && !idle.connection.sender.is_closed());
            !waiting.is_empty()
        });
    }

    /// Closes all and says how many there were.
    pub(crate) fn close_all(&self) -> usize {
        self.lock().drain().map(|(_, waiting)| waiting.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Owner, SiteId), Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_first(idle: &mut HashMap<(Owner, SiteId), Vec<Idle>>, key: &(Owner, SiteId)) {
    if let Some(waiting) = idle.get_mut(key) {
        if !waiting.is_empty() {
            waiting.remove(0);
        }
        if waiting.is_empty() {
            idle.remove(key);
        }
    }
}
