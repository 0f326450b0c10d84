//! Caches under requests that come by popularity alone, or as a trace has them, and the closed forms beside.
//!
//! Drawn objects are of one byte, so that room is a number of objects, or have sizes. Edges share the requests by
//! chance; what they miss is asked of a shield, where there is one. Each cache lets in whom its own admission rule admits.
//! Where responses have a TTL, one that is no longer fresh is fetched anew, which is a miss; an edge that has it from the
//! shield has its age too (RFC 9111, section 4.2.3).

mod admission;
mod asked;
mod closed_forms;

use rand::RngExt as _;
use world::stream;

pub use self::{
    admission::Admitting,
    asked::{Asked, Sizes, Trace},
    closed_forms::{Expected, che, expected, fifo, filtered, hit_ratio},
};
use self::{admission::Gate, asked::Request};
use crate::replay::Replay;

/// What fits into a cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Room {
    /// So many bytes; of objects of one byte, so many of them.
    Bytes(u64),
    /// This share of what all objects are together.
    Share(f64),
}

impl Room {
    /// In bytes, where all objects are so many together; one at least.
    pub fn bytes(self, catalogue: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => ((share * catalogue as f64).round() as u64).max(1),
        }
    }

    /// As a share of what all objects are together.
    pub fn share(self, catalogue: u64) -> f64 {
        match self {
            Self::Bytes(bytes) => bytes as f64 / catalogue.max(1) as f64,
            Self::Share(share) => share,
        }
    }
}

/// A tier of caches in front of another, or of the origin.
#[derive(Clone, Copy, Debug)]
pub struct CacheStudy {
    /// Who comes in.
    pub admitting: Admitting,
    /// How many edges there are, at least one.
    pub edges: u32,
    /// The room in each.
    pub room: Room,
    /// The room in the shield; none without one.
    pub shield: Option<Room>,
    /// For how long a response is fresh, in the time of what is [`Asked`]; for ever without.
    pub ttl: Option<u64>,
    /// Requests before any is counted.
    pub warmup: u64,
    /// Requests that are counted; of a trace no more than it has.
    pub requests: u64,
    /// The run.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cached {
    /// Requests of viewers.
    pub requests: u64,
    /// Bytes that those asked for.
    pub bytes: u64,
    /// Those that edges missed.
    pub edge_misses: u64,
    /// Bytes of those.
    pub edge_miss_bytes: u64,
    /// Those that the origin was asked for.
    pub origin: u64,
    /// Bytes of all objects.
    pub catalogue: u64,
    /// Bytes that fit into each edge.
    pub room: u64,
    /// Bytes that fit into the shield, where there is one.
    pub shield_room: Option<u64>,
    /// What the rule by size was last tuned to at the first edge, in bytes, where that is the rule.
    pub threshold: Option<f64>,
}

impl Cached {
    /// The share of requests that edges missed.
    pub fn edge_miss_ratio(&self) -> f64 {
        self.edge_misses as f64 / self.requests.max(1) as f64
    }

    /// The same by bytes.
    pub fn edge_byte_miss_ratio(&self) -> f64 {
        self.edge_miss_bytes as f64 / self.bytes.max(1) as f64
    }

    /// The share of requests that the origin was asked for.
    pub fn origin_ratio(&self) -> f64 {
        self.origin as f64 / self.requests.max(1) as f64
    }

    /// The share of what edges missed that the shield had.
    pub fn shield_hit_ratio(&self) -> f64 {
        1.0 - self.origin as f64 / self.edge_misses.max(1) as f64
    }
}

/// A cache, who it lets in, and until when what it had of each object is fresh; nothing of that where all is for ever.
struct Tier {
    cache: Box<dyn Replay>,
    gate: Gate,
    fresh_until: Vec<u64>,
}

impl Tier {
    /// True where it had the object, fresh.
    fn request(&mut self, Request { now, object, id, bytes }: Request) -> bool {
        self.gate.on_request(object, bytes);
        let had = self.cache.request_where(id, bytes, &mut || self.gate.admits(object, bytes));
        had && now <= self.fresh_until(object)
    }

    fn fresh_until(&self, object: u32) -> u64 {
        self.fresh_until.get(object as usize).copied().unwrap_or(u64::MAX)
    }

    /// Takes in a response.
    fn renew(&mut self, object: u32, fresh_until: u64) {
        if let Some(until) = self.fresh_until.get_mut(object as usize) {
            *until = fresh_until;
        }
    }
}

/// Plays what is asked for through the caches of a study, each of which `begin` makes with so much room.
pub fn play(study: &CacheStudy, asked: &Asked, begin: impl Fn(u64) -> Box<dyn Replay>) -> Cached {
    let mut rng = stream(study.seed, &["cache study"]);
    let count = study.edges.max(1) as usize;
    let sizes = asked.sizes(study.seed);
    let catalogue = sizes.iter().sum();
    let room = study.room.bytes(catalogue);
    let shield_room = study.shield.map(|room| room.bytes(catalogue));
    let tier = |name: &str, room: u64| Tier {
        cache: begin(room),
        gate: Gate::new(study.admitting, room, stream(study.seed, &["cache study", "admission", name])),
        fresh_until: vec![0; study.ttl.map_or(0, |_| sizes.len())],
    };
    let mut edges: Vec<Tier> = (0..count).map(|nth| tier(&nth.to_string(), room)).collect();
    let mut shield = shield_room.map(|room| tier("shield", room));
    let mut cached = Cached { catalogue, room, shield_room, ..Cached::default() };
    for nth in 0..study.warmup.saturating_add(study.requests) {
        let Some(request) = asked.request(nth, &sizes, &mut rng) else { break };
        let Request { now, object, bytes, .. } = request;
        let edge = if count == 1 { 0 } else { rng.random_range(0..count) };
        let Some(edge) = edges.get_mut(edge) else { continue };
        let hit = edge.request(request);
        let passed = !hit && shield.as_mut().is_none_or(|shield| !shield.request(request));
        if let Some(ttl) = study.ttl.filter(|_| !hit) {
            let until = match &shield {
                Some(shield) if !passed => shield.fresh_until(object),
                _ => now.saturating_add(ttl),
            };
            edge.renew(object, until);
            if let Some(shield) = shield.as_mut() {
                shield.renew(object, until);
            }
        }
        if nth >= study.warmup {
            cached.requests += 1;
            cached.bytes = cached.bytes.saturating_add(bytes);
            cached.edge_misses += u64::from(!hit);
            let missed = if hit { 0 } else { bytes };
            cached.edge_miss_bytes = cached.edge_miss_bytes.saturating_add(missed);
            cached.origin += u64::from(passed);
        }
    }
    cached.threshold = edges.first().and_then(|edge| edge.gate.threshold()).map(|threshold| threshold.0);
    cached
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use cdn_core::eviction::EvictionPolicy;
    use world::{trace::Record, workload::Zipf};

    use super::*;
    use crate::replay::replay;

    const STUDY: CacheStudy = CacheStudy {
        admitting: Admitting::EVERYBODY,
        edges: 1,
        room: Room::Bytes(20),
        shield: None,
        ttl: None,
        warmup: 50_000,
        requests: 20_000,
        seed: 1,
    };

    /// Objects of one size.
    fn zipf(objects: u32, exponent: f64) -> Asked {
        Asked::Drawn { zipf: Zipf::new(objects, exponent), sizes: Sizes::One }
    }

    fn lru(room: u64) -> Box<dyn Replay> {
        replay(EvictionPolicy::Lru, room)
    }

    #[test]
    fn what_a_shield_has_the_origin_is_not_asked_for() {
        let zipf = zipf(1000, 0.8);
        let study = CacheStudy { edges: 4, shield: Some(Room::Bytes(1000)), ..STUDY };
        let with = play(&study, &zipf, lru);
        let without = play(&CacheStudy { shield: None, ..study }, &zipf, lru);
        assert_eq!(with.edge_misses, without.edge_misses);
        assert_eq!(without.origin, without.edge_misses);
        // The shield has room for all objects, and has seen nearly all.
        assert!(with.origin < 20, "{with:?}");
    }

    #[test]
    fn letting_in_the_small_saves_misses_as_the_closed_form_says() {
        let zipf = Asked::Drawn { zipf: Zipf::new(2000, 0.9), sizes: Sizes::Decades(6) };
        let study = CacheStudy { room: Room::Share(0.02), warmup: 200_000, requests: 200_000, ..STUDY };
        let by_size = CacheStudy { admitting: Admitting::BySize, ..study };
        let missed = [study, by_size].map(|study| {
            let cached = play(&study, &zipf, lru);
            let expected = 1.0 - expected(&study, EvictionPolicy::Lru, &zipf).unwrap().edge;
            // A handful of the largest objects would fill the cache, so means say less of it than of many small ones.
            assert!((cached.edge_miss_ratio() - expected).abs() < 0.08, "{expected}: {cached:?}");
            cached
        });
        assert!(missed[1].edge_misses * 10 < missed[0].edge_misses * 9, "{missed:?}");
        assert!(missed[0].threshold.is_none() && missed[1].threshold.unwrap() < 1e6, "{missed:?}");
    }

    #[test]
    fn a_ttl_costs_what_the_closed_form_says_in_small_caches_and_large_ones() {
        let zipf = zipf(1000, 0.8);
        for room in [50, 1000] {
            let mut misses = Vec::new();
            for ttl in [Some(100), Some(1000), Some(10_000), None] {
                let study = CacheStudy { room: Room::Bytes(room), ttl, requests: 100_000, ..STUDY };
                let cached = play(&study, &zipf, lru);
                let expected = 1.0 - expected(&study, EvictionPolicy::Lru, &zipf).unwrap().edge;
                assert!((cached.edge_miss_ratio() - expected).abs() < 0.01, "{study:?}: {expected}, {cached:?}");
                misses.push(cached.edge_misses);
            }
            assert!(misses.is_sorted_by(|a, b| a >= b) && misses[0] > misses[3], "{misses:?}");
        }
    }

    #[test]
    fn what_an_edge_has_of_the_shield_is_as_old_as_there() {
        let zipf = zipf(1, 1.0);
        let study = CacheStudy { edges: 10, shield: Some(Room::Bytes(1)), ttl: Some(99), warmup: 0, ..STUDY };
        // Fetched at 0, 100, 200 and so on, since the first to ask after the end asks the origin.
        assert_eq!(play(&study, &zipf, lru).origin, study.requests / 100);
    }
    /// Requests by popularity, recorded: the nth at the nth second, for objects of different sizes.
    fn recorded(count: u64) -> Vec<Record> {
        let (zipf, mut rng) = (Zipf::new(200, 0.9), stream(7, &["recorded"]));
        let ids = (0..count).map(|nth| (nth, u64::from(zipf.draw(&mut rng))));
        ids.map(|(nth, id)| Record { at: Duration::from_secs(nth), id: id * 1009, bytes: id % 7 + 1 }).collect()
    }

    #[test]
    fn a_trace_comes_out_as_its_replay_does_and_once() {
        let records = recorded(5_000);
        let asked = Asked::Recorded(Arc::new(Trace::new(records.clone())));
        for policy in EvictionPolicy::ALL {
            let study = CacheStudy { room: Room::Bytes(100), warmup: 0, requests: u64::MAX, ..STUDY };
            let cached = play(&study, &asked, |room| replay(policy, room));
            let mut alone = replay(policy, 100);
            alone.feed(&records);
            let (got, tally) = ((cached.requests, cached.edge_misses, cached.edge_miss_bytes), alone.tally());
            assert_eq!(got, (tally.requests, tally.misses, tally.miss_bytes), "{}", policy.as_str());
        }
        let warm = play(&CacheStudy { warmup: 4_000, requests: 2_000, ..STUDY }, &asked, lru);
        let objects: BTreeMap<u64, u64> = records.iter().map(|record| (record.id, record.bytes)).collect();
        assert_eq!((warm.requests, warm.catalogue), (1_000, objects.values().sum()));
    }

    #[test]
    fn a_trace_without_order_misses_what_its_popularity_says() {
        let asked = Asked::Recorded(Arc::new(Trace::new(recorded(20_000))));
        for (edges, room, warmup) in [(1, 100, 0), (1, 600, 0), (4, 200, 0), (1, 100, 10_000)] {
            let study = CacheStudy { edges, room: Room::Bytes(room), warmup, requests: u64::MAX, ..STUDY };
            let cached = play(&study, &asked, lru);
            let said = 1.0 - expected(&study, EvictionPolicy::Lru, &asked).unwrap().edge;
            assert!((cached.edge_miss_ratio() - said).abs() < 0.015, "{study:?}: {said}, {cached:?}");
        }
        let aged = CacheStudy { ttl: Some(1_000_000), ..STUDY };
        assert_eq!(expected(&aged, EvictionPolicy::Lru, &asked), None);
        assert_eq!(expected(&STUDY, EvictionPolicy::Fifo, &asked), None);
    }

    #[test]
    fn what_a_trace_asks_for_ages_by_its_own_clock() {
        let at = |secs: u64| Record { at: Duration::from_secs(secs), id: 1, bytes: 1 };
        let asked = Asked::Recorded(Arc::new(Trace::new([0, 4, 5, 6, 11, 12].map(at).to_vec())));
        let study = CacheStudy { ttl: Some(5_000_000), warmup: 0, requests: u64::MAX, ..STUDY };
        // Fetched at 0, at 6 when it is more than five seconds old, and at 12.
        assert_eq!(play(&study, &asked, lru).edge_misses, 3);
    }
}
