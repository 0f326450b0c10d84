//! Who does not wait any more, and what ends with a node.

use std::time::Duration;

use cdn_core::Counter;

use crate::{
    caches::Asker,
    engine::{Happening, Sim},
    network::Direction,
    slab::Key,
};

impl Sim<'_> {
    /// Whoever is asked now is not waited for any more; it notices.
    pub(super) fn leave_behind(&mut self, key: Key) {
        let now = self.now;
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        let (since, behind, target) = (fetch.since.take(), fetch.behind.take(), fetch.target);
        let way = fetch.conn.and_then(|conn| self.conns.get(conn)).map(|conn| conn.way);
        if let Some(conn) = fetch.conn.take() {
            self.conns.remove(conn);
        }
        let Some(since) = since else { return };
        let Some(node) = self.nodes.get(target as usize) else { return };
        if let Some(origin) = node.origin {
            // It hears of it when the connection's end has crossed.
            let at = now + way.map_or(Duration::ZERO, |way| self.network.one_way(way, Direction::Up));
            let number = u16::try_from(origin).unwrap_or(u16::MAX);
            return self.queue.push(at, Happening::LeftOrigin(number, key));
        }
        if let Some(station) = self.ledger.stations.get_mut(target as usize) {
            station.handle_departure(now, since);
        }
        if let Some(flow) = self.ledger.flows.get_mut(target as usize) {
            flow.cut += 1;
        }
        if let Some(behind) = behind {
            self.unwant(behind, Asker::Cache(key));
        }
    }

    /// Somebody does not wait for a fetch any more. A fetch that nobody wants is given up.
    pub(crate) fn unwant(&mut self, key: Key, asker: Asker) {
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        if fetch.leader == asker {
            fetch.leader = Asker::Nobody;
        }
        let before = fetch.waiters.len();
        fetch.waiters.retain(|waiter| *waiter != asker);
        let left = before - fetch.waiters.len();
        let (cache, lead) = (fetch.cache, fetch.lead);
        let is_wanted =
            fetch.leader != Asker::Nobody || !fetch.waiters.is_empty() || fetch.in_background || fetch.in_body;
        if let Some((at, id)) = lead
            && let Some(shard) = self.caches.get_mut(cache).and_then(|host| host.shard(at))
        {
            (0..left).for_each(|_| shard.leave(id));
        }
        if !is_wanted {
            if let Some(own) = self.caches.get(cache).map(|host| host.node) {
                self.bump(own, Counter::EdgeFetchesAbandoned);
            }
            self.drop_fetch(key);
        }
    }

    /// Ends a fetch that comes to nothing.
    pub(crate) fn drop_fetch(&mut self, key: Key) {
        self.leave_behind(key);
        let Some(fetch) = self.fetches.remove(key) else { return };
        if let Some((at, id)) = fetch.lead
            && let Some(host) = self.caches.get_mut(fetch.cache)
        {
            host.flights.remove(&(at, id));
            if let Some(shard) = host.shard(at) {
                shard.aborted(id);
            }
        }
    }

    /// A node has ended: what it was fetching is lost, and whoever had asked it hears of it.
    pub(crate) fn cut_fetches_of(&mut self, node: u32) {
        let cache = self.nodes.get(node as usize).and_then(|node| node.cache);
        let own: Vec<Key> =
            self.fetches.iter().filter(|(_, fetch)| Some(fetch.cache) == cache).map(|(key, _)| key).collect();
        own.into_iter().for_each(|key| self.drop_fetch(key));
        let asked: Vec<(Key, u32)> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| fetch.target == node && !fetch.in_body)
            .filter_map(|(key, fetch)| Some((key, self.conns.get(fetch.conn?)?.way)))
            .collect();
        for (key, way) in asked {
            let at = self.now + self.network.one_way(way, Direction::Down);
            let Some(fetch) = self.fetches.get_mut(key) else { continue };
            fetch.serial = fetch.serial.wrapping_add(1);
            let serial = fetch.serial;
            if let Some(since) = fetch.since.take()
                && cache.is_some()
            {
                if let Some(station) = self.ledger.stations.get_mut(node as usize) {
                    station.handle_departure(self.now, since);
                }
                if let Some(flow) = self.ledger.flows.get_mut(node as usize) {
                    flow.cut += 1;
                }
            }
            self.queue.push(at, Happening::FetchBroken(key, serial));
        }
    }
}
