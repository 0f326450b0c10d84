//! Reading ahead: what the events of the next moment are going to need, asked of memory all at once.
//!
//! A run's state is larger than a processor's caches, and an event needs a dozen places of it which nobody has looked at
//! for a round trip. Asked for one after the other, each is waited for; reads that do not depend on one another are waited
//! for together. So before the events of a page of the calendar happen, the places that they name are read, one kind of
//! thing after the other: requests, then their connections, then the ways of those. Decides nothing and changes nothing:
//! without it a run is the same, and slower.

use std::hint::black_box;

use cdn_core::cache_key::CacheKey;
use world::workload::Intended;

use crate::{
    engine::{Conn, Happening, Sim},
    fetches::Fetch,
    network::{Direction, Network},
    slab::{Key, Slab},
    viewers::Request,
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
    asked: Vec<(usize, CacheKey)>,
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
            self.read_for_meant();
        }
        self.ahead.meant.pop()
    }

    /// Reads what those need who are about to ask: the connections that they kept.
    fn read_for_meant(&mut self) {
        let Self { ahead, viewers, conns, network, .. } = self;
        ahead.conns.clear();
        for (intended, _) in &ahead.meant {
            ahead.conns.extend(conns.key_at(viewers.kept(intended)));
        }
        read_ways(&ahead.conns, &mut ahead.ways, conns, network, Direction::Up);
    }

    /// Reads what the events of the page need that has just been turned to.
    pub(crate) fn read_for_page(&mut self) {
        let Self { ahead, queue, catalogs, requests, viewers, conns, network, caches, nodes, fetches, .. } = self;
        ahead.arriving.clear();
        ahead.answered.clear();
        ahead.behind.clear();
        for event in queue.page() {
            match event {
                Happening::AtEdge(key, _) => ahead.arriving.push(*key),
                Happening::Answered(key, _) => ahead.answered.push(*key),
                Happening::AtParent(key, _)
                | Happening::AtOrigin(key, _)
                | Happening::Served(key, _)
                | Happening::FetchHead(key, _)
                | Happening::BodyEnd(key) => ahead.behind.push(*key),
                _ => {}
            }
        }
        for keys in [&ahead.arriving, &ahead.answered] {
            let glances = keys.iter().filter_map(|key| requests.get(*key)).map(Request::glance);
            black_box(glances.fold(0, u64::wrapping_add));
        }
        let glances = ahead.behind.iter().filter_map(|key| fetches.get(*key)).map(Fetch::glance);
        black_box(glances.fold(0, u64::wrapping_add));
        // Whoever arrives is answered over its way; an answer that has crossed frees its connection for its user.
        ahead.conns.clear();
        ahead.conns.extend(ahead.arriving.iter().filter_map(|key| requests.get(*key)?.conn));
        read_ways(&ahead.conns, &mut ahead.ways, conns, network, Direction::Down);
        let answered = ahead.answered.iter().filter_map(|key| requests.get(*key));
        let open = answered.clone().filter_map(|request| request.conn);
        let open = open.chain(ahead.behind.iter().filter_map(|key| fetches.get(*key)?.conn));
        let open = open.filter_map(|conn| conns.get(conn));
        black_box(open.map(|conn| u64::from(conn.way)).sum::<u64>());
        black_box(answered.map(|request| viewers.kept(&request.intended())).fold(0, u32::max));
        // Nearly always all nodes have the first configuration; one that has another waits for its memory.
        let Some(catalog) = catalogs.first() else { return };
        ahead.asked.clear();
        ahead.asked.extend(ahead.arriving.iter().filter_map(|key| {
            let request = requests.get(*key)?;
            Some((nodes.get(request.node as usize)?.cache?, catalog.entry(request.entry)?.key))
        }));
        // A fetch is a question to the cache behind, and its answer is stored in its own.
        for fetch in ahead.behind.iter().filter_map(|key| fetches.get(*key)).filter(|fetch| fetch.revision == 0) {
            let Some(entry) = catalog.entry(fetch.entry) else { continue };
            let behind = nodes.get(fetch.target as usize).and_then(|node| node.cache);
            ahead.asked.extend([Some(fetch.cache), behind].into_iter().flatten().map(|cache| (cache, entry.key)));
        }
        ahead.stored.clear();
        let slots = ahead.asked.iter().filter_map(|(cache, key)| Some((*cache, caches.get(*cache)?.slot(*key)?)));
        ahead.stored.extend(slots);
        let stored = ahead.stored.iter().filter_map(|(cache, slot)| Some(caches.get(*cache)?.glance(*slot)));
        black_box(stored.fold(0, u64::wrapping_add));
    }
}

/// Reads connections, then the ways of all of them, then what those point to.
fn read_ways(open: &[Key], ways: &mut Vec<u32>, conns: &Slab<Conn>, network: &Network, direction: Direction) {
    ways.clear();
    ways.extend(open.iter().filter_map(|conn| conns.get(*conn)).map(|conn| conn.way));
    black_box(ways.iter().map(|way| network.glance(*way, direction)).fold(0, u64::wrapping_add));
    black_box(ways.iter().map(|way| network.glance_behind(*way, direction)).fold(0, u64::wrapping_add));
}
