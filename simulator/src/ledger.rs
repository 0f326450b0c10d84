//! What must add up in every run: Little's law at every node, and that nothing is lost on the way.
//!
//! Counts in whole nanoseconds, so that the law is an identity and not an approximation: as long as somebody is inside,
//! the area under the number of those inside grows by as much as their times do.

use cdn_core::{Counter, Counters, Instant};

/// Who is inside a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Station {
    /// How many have come.
    pub arrived: u64,
    /// How many have left.
    pub left: u64,
    /// Nanoseconds that those who left have spent inside, together.
    pub sojourn_nanos: u128,
    /// The integral of the number of those inside over time, in nanoseconds.
    pub area_nanos: u128,
    changed_at: Instant,
}

impl Station {
    /// Somebody comes.
    pub const fn handle_arrival(&mut self, now: Instant) {
        self.advance(now);
        self.arrived += 1;
    }

    /// Somebody leaves who came at `since`.
    pub const fn handle_departure(&mut self, now: Instant, since: Instant) {
        self.advance(now);
        self.left += 1;
        self.sojourn_nanos += (now.as_nanos() - since.as_nanos()) as u128;
    }

    /// How many are inside.
    pub const fn inside(&self) -> u64 {
        self.arrived - self.left
    }

    /// Whether Little's law holds, as it must once all have left: L = λW, with both sides times the length of the run.
    pub const fn obeys_littles_law(&self) -> bool {
        self.inside() > 0 || self.area_nanos == self.sojourn_nanos
    }

    const fn advance(&mut self, now: Instant) {
        self.area_nanos += self.inside() as u128 * (now.as_nanos() - self.changed_at.as_nanos()) as u128;
        self.changed_at = now;
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Requests that were meant to be made.
    pub intended: u64,
    /// Those that are over.
    pub over: u64,
    /// Events that happened.
    pub events: u64,
    /// Bytes of bodies that edges have sent, and that viewers have received.
    pub sent_bytes: u64,
    /// See [`sent_bytes`](Self::sent_bytes).
    pub received_bytes: u64,
    /// Bytes on connections that broke before they had arrived.
    pub broken_bytes: u64,
    /// By node: who was inside. Caches and origins alone have anybody.
    pub stations: Vec<Station>,
    /// By node: requests, and what became of them.
    pub flows: Vec<Flow>,
    /// By node: the same by what its counters say, over all its lives. They know nothing of who left.
    pub counted: Vec<Flow>,
}

/// What became of a cache's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Requests.
    pub requests: u64,
    /// Answered from the store.
    pub hits: u64,
    /// Fetched.
    pub misses: u64,
    /// Not to be answered by a cache.
    pub passes: u64,
    /// Answered with an error of the cache's own.
    pub errors: u64,
    /// Given up by whoever asked, or cut off by the node's end.
    pub cut: u64,
}

impl Flow {
    /// Requests = hits + misses + passes + errors, and those that were cut off.
    pub const fn balances(&self, inside: u64) -> bool {
        self.requests == self.hits + self.misses + self.passes + self.errors + self.cut + inside
    }
}

impl Flow {
    /// What a cache's counters say.
    pub fn of(counters: &Counters) -> Self {
        Self {
            requests: counters.value(Counter::EdgeRequests),
            hits: counters.value(Counter::EdgeHits) + counters.value(Counter::EdgeRefreshHits),
            misses: counters.value(Counter::EdgeMisses),
            passes: counters.value(Counter::EdgePasses),
            errors: counters.value(Counter::EdgeErrors),
            cut: 0,
        }
    }

    /// More of them.
    pub const fn add(&mut self, more: Self) {
        self.requests += more.requests;
        self.hits += more.hits;
        self.misses += more.misses;
        self.passes += more.passes;
        self.errors += more.errors;
        self.cut += more.cut;
    }
}

impl Ledger {
    /// Why the run cannot have been one, if anything does not add up.
    ///
    /// # Errors
    /// What does not, in words.
    pub fn check(&self) -> Result<(), String> {
        for (node, (station, flow)) in self.stations.iter().zip(&self.flows).enumerate() {
            if !station.obeys_littles_law() {
                return Err(format!("node {node}: L is not λW: {station:?}"));
            }
            if !flow.balances(station.inside()) && flow.requests > 0 {
                return Err(format!("node {node}: requests got lost: {flow:?}, {} inside", station.inside()));
            }
        }
        for (node, (flow, counted)) in self.flows.iter().zip(&self.counted).enumerate() {
            if *counted != (Flow { cut: 0, ..*flow }) {
                return Err(format!("node {node}: its counters say {counted:?} of {flow:?}"));
            }
        }
        if self.sent_bytes != self.received_bytes + self.broken_bytes {
            return Err(format!(
                "{} bytes were sent, {} received, {} broken off",
                self.sent_bytes, self.received_bytes, self.broken_bytes
            ));
        }
        if self.intended != self.over {
            return Err(format!("{} requests were meant, {} came to an end", self.intended, self.over));
        }
        Ok(())
    }
}
