//! Reading ahead: what the events of the next moment are going to need, asked of memory all at once.
//!
//! A run's state is larger than a processor's caches, and an event needs a dozen places of it which nobody has looked at
//! for a round trip. Needed one after the other, each is waited for; asked for beforehand, they are waited for together. So
//! before the events of a page of the calendar happen, memory is asked for the places that they name, one kind of thing
//! after the other: requests, then their connections, then the ways of those. Decides nothing and changes nothing: without
//! it a run is the same, and slower.

use world::workload::Intended;

use crate::{
    engine::{Conn, Happening, Sim},
    network::{Direction, Network},
    slab::{Key, Slab},
};

/// Requests that are drawn at once.
pub(crate) const MEANT_AT_ONCE: usize = 32;

/// Room for what is read, from one page to the next.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    arriving: Vec<Key>,
    answered: Vec<Key>,
    /// Fetches that get on.
    behind: Vec<Key>,
    conns: Vec<Key>,
    ways: Vec<u32>,
    /// By cache: the shard, and the slot there.
    stored: Vec<(usize, (usize, u32))>,
    /// Each with its entry in the first catalog, if it is there.
    meant: Vec<(Intended, Option<u32>)>,
}

impl Sim<'_> {
    /// The request that somebody means to make next, and its entry in the first catalog, if it is there.
    pub(crate) fn next_intended(&mut self) -> Option<(Intended, Option<u32>)> {
        if self.ahead.meant.is_empty() {
            let catalog = self.catalogs.first();
            let known = |intended: &Intended| catalog?.known(intended.load, intended.object);
            self.ahead.meant.extend(self.workload.by_ref().take(MEANT_AT_ONCE).map(|next| (next, known(&next))));
            self.ahead.meant.reverse();
            self.prefetch_for_meant();
        }
        self.ahead.meant.pop()
    }

    /// Asks for what those need who are about to ask: the connections that they kept.
    fn prefetch_for_meant(&mut self) {
        let Self { ahead, viewers, conns, network, .. } = self;
        for (intended, _) in &ahead.meant {
            viewers.prefetch(intended);
        }
        for (intended, _) in &ahead.meant {
            conns.prefetch(viewers.kept(intended));
        }
        ahead.conns.clear();
        ahead.conns.extend(ahead.meant.iter().filter_map(|(intended, _)| conns.key_at(viewers.kept(intended))));
        prefetch_ways(&ahead.conns, &mut ahead.ways, conns, network, Direction::Up);
    }

    /// Asks for what the events of the page need that has just been turned to.
    pub(crate) fn prefetch_for_page(&mut self) {
        let Self { ahead, queue, catalogs, requests, viewers, conns, network, caches, nodes, fetches, .. } = self;
        // Nearly always all nodes have the first configuration; one that has another waits for its memory.
        let Some(catalog) = catalogs.first() else { return };
        ahead.arriving.clear();
        ahead.answered.clear();
        ahead.behind.clear();
        for event in queue.page() {
            match event {
                Happening::AtEdge(key, _) => {
                    requests.prefetch(key.place);
                    ahead.arriving.push(*key);
                }
                Happening::Answered(key, _) => {
                    requests.prefetch(key.place);
                    ahead.answered.push(*key);
                }
                Happening::AtParent(key, _)
                | Happening::AtOrigin(key, _)
                | Happening::Served(key, _)
                | Happening::FetchHead(key, _)
                | Happening::BodyEnd(key) => {
                    fetches.prefetch(key.place);
                    ahead.behind.push(*key);
                }
                _ => {}
            }
        }
        ahead.conns.clear();
        for request in ahead.arriving.iter().filter_map(|key| requests.get(*key)) {
            request.prefetch();
            ahead.conns.extend(request.conn.inspect(|conn| conns.prefetch(conn.place)));
        }
        for request in ahead.answered.iter().filter_map(|key| requests.get(*key)) {
            request.prefetch();
            request.conn.inspect(|conn| conns.prefetch(conn.place));
        }
        for fetch in ahead.behind.iter().filter_map(|key| fetches.get(*key)) {
            fetch.prefetch();
        }
        // An answer that has crossed frees its connection for its user.
        for request in ahead.answered.iter().filter_map(|key| requests.get(*key)) {
            viewers.prefetch(&request.intended());
        }
        for request in ahead.arriving.iter().filter_map(|key| requests.get(*key)) {
            catalog.prefetch(request.entry);
        }
        for fetch in ahead.behind.iter().filter_map(|key| fetches.get(*key)) {
            fetch.conn.inspect(|conn| conns.prefetch(conn.place));
            catalog.prefetch(fetch.entry);
        }
        // Whoever arrives is answered over its way.
        prefetch_ways(&ahead.conns, &mut ahead.ways, conns, network, Direction::Down);
        ahead.stored.clear();
        for request in ahead.arriving.iter().filter_map(|key| requests.get(*key)) {
            let cache = nodes.get(request.node as usize).and_then(|node| node.cache);
            let key = catalog.entry(request.entry).map(|entry| entry.key);
            ahead
                .stored
                .extend(cache.zip(key).and_then(|(cache, key)| Some((cache, caches.get(cache)?.prefetch(key)?))));
        }
        // A fetch is a question to the cache behind, and its answer is stored in its own.
        for fetch in ahead.behind.iter().filter_map(|key| fetches.get(*key)).filter(|fetch| fetch.revision == 0) {
            let Some(entry) = catalog.entry(fetch.entry) else { continue };
            let behind = nodes.get(fetch.target as usize).and_then(|node| node.cache);
            let both = [Some(fetch.cache), behind].into_iter().flatten();
            ahead.stored.extend(both.filter_map(|cache| Some((cache, caches.get(cache)?.prefetch(entry.key)?))));
        }
        for (cache, slot) in &ahead.stored {
            if let Some(cache) = caches.get(*cache) {
                cache.prefetch_rest(*slot);
            }
        }
    }
}

/// Asks for the ways of connections, which have been asked for, and then for what those point to.
fn prefetch_ways(open: &[Key], ways: &mut Vec<u32>, conns: &Slab<Conn>, network: &Network, direction: Direction) {
    ways.clear();
    for way in open.iter().filter_map(|conn| conns.get(*conn)).map(|conn| conn.way) {
        network.prefetch(way, direction);
        ways.push(way);
    }
    for way in ways {
        network.prefetch_behind(*way, direction);
    }
}
