//! Reading ahead: what the events of the next moment are going to need, asked of memory all at once.
//!
//! A run's state is larger than a processor's caches, and an event needs a dozen places of it which nobody has looked at
//! for a round trip. Asked for one after the other, each is waited for; reads that do not depend on one another are waited
//! for together. So before the events of a page of the calendar happen, the places that they name are read, one kind of
//! thing after the other: requests, then their connections, then the ways of those. Decides nothing and changes nothing:
//! without it a run is the same, and takes twice as long.

use std::hint::black_box;

use world::workload::Intended;

use crate::{
    engine::{Happening, Sim, Witness},
    slab::Key,
};

/// Requests that are drawn at once.
pub(crate) const MEANT_AT_ONCE: usize = 32;

/// Room for what is read, from one page to the next.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    arriving: Vec<Key>,
    answered: Vec<Key>,
    conns: Vec<Key>,
    meant: Vec<Intended>,
}

impl<W: Witness> Sim<'_, W> {
    /// The request that somebody means to make next.
    pub(crate) fn next_intended(&mut self) -> Option<Intended> {
        if self.ahead.meant.is_empty() {
            self.ahead.meant.extend(self.workload.by_ref().take(MEANT_AT_ONCE));
            self.ahead.meant.reverse();
            self.read_for_meant();
        }
        self.ahead.meant.pop()
    }

    /// Reads what those need who are about to ask: what they ask for, and the connection that they kept.
    fn read_for_meant(&mut self) {
        let Self { ahead, catalogs, viewers, conns, network, .. } = self;
        let Ahead { meant, conns: kept, .. } = ahead;
        if let Some(catalog) = catalogs.first() {
            let known = meant.iter().filter_map(|intended| catalog.known(intended.load, intended.object));
            black_box(known.map(u64::from).sum::<u64>());
        }
        kept.clear();
        kept.extend(meant.iter().filter_map(|intended| viewers.youngest(intended)));
        let ways = kept.iter().filter_map(|conn| conns.get(*conn)).map(|conn| network.glance(conn.way));
        black_box(ways.sum::<u64>());
    }

    /// Reads what the events of the page need that has just been turned to.
    pub(crate) fn read_for_page(&mut self) {
        let Self { ahead, queue, catalogs, requests, viewers, conns, network, caches, nodes, .. } = self;
        let Ahead { arriving, answered, conns: open, .. } = ahead;
        arriving.clear();
        answered.clear();
        for event in queue.page() {
            match event {
                Happening::AtEdge(key, _) => arriving.push(*key),
                Happening::Answered(key, _) => answered.push(*key),
                _ => {}
            }
        }
        open.clear();
        open.extend(arriving.iter().chain(&*answered).filter_map(|key| requests.get(*key)?.conn));
        let ways = open.iter().filter_map(|conn| conns.get(*conn)).map(|conn| network.glance(conn.way));
        black_box(ways.sum::<u64>());
        let users = answered.iter().filter_map(|key| viewers.youngest(&requests.get(*key)?.intended));
        black_box(users.map(|key| u64::from(key.place)).sum::<u64>());
        // All nodes have the first configuration nearly always, and if one has not, it waits.
        let Some(catalog) = catalogs.first() else { return };
        let stored = arriving.iter().filter_map(|key| {
            let request = requests.get(*key)?;
            let cache = nodes.get(request.node as usize)?.cache?;
            caches.get(cache)?.peek(catalog.entry(request.entry)?.key)
        });
        black_box(stored.map(|status| u64::from(status.as_u16())).sum::<u64>());
    }
}
