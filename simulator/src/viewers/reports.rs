//! What viewers tell routers: the round trips that they saw, and now and then that to an address which they did not need.

use std::{collections::HashMap, hash::BuildHasherDefault, net::IpAddr, time::Duration};

use cdn_core::Instant;
use world::workload::Intended;

use super::Stand;
use crate::{
    engine::{Happening, Letter, Sim},
    hash::Mixer,
    network::{Connect, Direction, SYN_BYTES},
};

impl Sim<'_> {
    /// Tells routers of a round trip, if it is time.
    pub(super) fn report(&mut self, intended: &Intended, stand: Stand, node: u32, rtt: Duration) {
        let key = u64::from(u32::from(stand.block.network())) << 32 | u64::from(node);
        let (now, interval) = (self.now, self.plan.viewer.beacon_interval);
        if !is_due(&mut self.viewers.beacons, now, key, interval) || self.viewers.host(intended.load).is_none() {
            return;
        }
        let Some(edge) = self.plan.nodes.get(node as usize).map(|spec| spec.address.ip()) else { return };
        for at in 0..self.routers.len() {
            let Some(router) = self.routers.get(at).map(|router| router.node) else { continue };
            let way = self.viewers_way(stand.site, router);
            if self.nodes.get(router as usize).is_none_or(|node| node.is_dead)
                || self.network.is_silent(way, Direction::Up)
                || self.network.is_silent(way, Direction::Down)
            {
                continue;
            }
            // A handshake and the way there.
            let arrives_at = now + self.network.rtt(way) + self.network.one_way(way, Direction::Up);
            let client = IpAddr::V4(stand.block.network());
            let letter = self.letters.insert(Letter::Beacon { router: at as u32, client, edge, rtt });
            self.queue.push(arrives_at, Happening::Beacon(letter));
        }
    }

    /// Now and then the second address is measured, although nobody goes there.
    pub(super) fn measure(&mut self, intended: &Intended, stand: Stand, node: u32) {
        let interval = self.plan.viewer.measure_interval;
        let key = u64::from(u32::from(stand.block.network())) << 32 | u64::from(node);
        let is_first = !self.viewers.measured.contains_key(&key);
        if interval.is_zero() || !is_due(&mut self.viewers.measured, self.now, key, interval) || is_first {
            return;
        }
        let (way, id) = (self.viewers_way(stand.site, node), self.network.connection());
        let target = self.disturbance(way, node, id);
        if target.refuse || self.nodes.get(node as usize).is_none_or(|node| node.is_dead) {
            return;
        }
        if let Connect::Answer(at) = self.network.connect(way, self.now, &target, SYN_BYTES) {
            // It is told when it is over; nothing else happens meanwhile to this handshake.
            let rtt = at.saturating_since(self.now);
            self.report(intended, stand, node, rtt);
        }
    }
}

/// Whether `key` was not due within the last `interval`; then it is now.
fn is_due(
    last: &mut HashMap<u64, Instant, BuildHasherDefault<Mixer>>,
    now: Instant,
    key: u64,
    interval: Duration,
) -> bool {
    if last.get(&key).is_some_and(|then| now.saturating_since(*then) < interval) {
        return false;
    }
    last.insert(key, now);
    true
}
