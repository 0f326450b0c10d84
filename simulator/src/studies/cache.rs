//! Caches under requests that come by popularity alone (the independent reference model), and the closed forms beside.
//!
//! Objects are of one byte, so that room is a number of objects, or their sizes span decades. Edges share the requests by
//! chance; what they miss is asked of a shield, where there is one. Each cache lets in whom its own admission rule admits.
//! Where responses have a TTL, one that is no longer fresh is fetched anew, which is a miss; an edge that has it from the
//! shield has its age too (RFC 9111, section 4.2.3). Time is counted in requests.

mod admission;
mod closed_forms;

use rand::RngExt as _;
use world::{
    stream,
    workload::{SizeQuantiles, Zipf},
};

use self::admission::Gate;
pub use self::{
    admission::Admitting,
    closed_forms::{Expected, che, expected, fifo, filtered, hit_ratio},
};
use crate::replay::Replay;

/// How large objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// One byte each.
    One,
    /// From one byte on over so many decades, as many in each; nothing to do with popularity.
    Decades(u32),
    /// Those of a class of traffic; nothing to do with popularity either.
    Traffic(SizeQuantiles),
}

impl Sizes {
    /// The bytes of each object, the most popular first.
    fn draw(self, objects: u32, seed: u64) -> Vec<u64> {
        let mut rng = stream(seed, &["cache study", "sizes"]);
        let shares = (0..objects).map(|_| rng.random::<f64>());
        match self {
            Self::One => vec![1; objects as usize],
            Self::Decades(decades) => {
                shares.map(|share| 10_f64.powf(share * f64::from(decades)).round() as u64).collect()
            }
            Self::Traffic(sizes) => shares.map(|share| sizes.bytes_at(share)).collect(),
        }
    }
}

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
    /// How large objects are.
    pub sizes: Sizes,
    /// How many edges there are, at least one.
    pub edges: u32,
    /// The room in each.
    pub room: Room,
    /// The room in the shield; none without one.
    pub shield: Option<Room>,
    /// For how many requests of all viewers a response is fresh; for ever without.
    pub ttl: Option<u64>,
    /// Requests before any is counted.
    pub warmup: u64,
    /// Requests that are counted.
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
    fn request(&mut self, object: u32, bytes: u64, now: u64) -> bool {
        self.gate.on_request(object, bytes);
        let had = self.cache.request_where(object.into(), bytes, &mut || self.gate.admits(object, bytes));
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

/// Plays requests of `zipf` through the caches of a study, each of which `begin` makes with so much room.
pub fn play(study: &CacheStudy, zipf: &Zipf, begin: impl Fn(u64) -> Box<dyn Replay>) -> Cached {
    let mut rng = stream(study.seed, &["cache study"]);
    let count = study.edges.max(1) as usize;
    let sizes = study.sizes.draw(zipf.objects(), study.seed);
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
    for nth in 0..study.warmup + study.requests {
        let object = zipf.draw(&mut rng);
        let bytes = sizes.get(object as usize).copied().unwrap_or(1);
        let edge = if count == 1 { 0 } else { rng.random_range(0..count) };
        let Some(edge) = edges.get_mut(edge) else { continue };
        let hit = edge.request(object, bytes, nth);
        let passed = !hit && shield.as_mut().is_none_or(|shield| !shield.request(object, bytes, nth));
        if let Some(ttl) = study.ttl.filter(|_| !hit) {
            let until = match &shield {
                Some(shield) if !passed => shield.fresh_until(object),
                _ => nth + ttl,
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
    use cdn_core::eviction::EvictionPolicy;

    use super::*;
    use crate::replay::replay;

    const STUDY: CacheStudy = CacheStudy {
        admitting: Admitting::EVERYBODY,
        sizes: Sizes::One,
        edges: 1,
        room: Room::Bytes(20),
        shield: None,
        ttl: None,
        warmup: 50_000,
        requests: 20_000,
        seed: 1,
    };

    fn lru(room: u64) -> Box<dyn Replay> {
        replay(EvictionPolicy::Lru, room)
    }

    #[test]
    fn what_a_shield_has_the_origin_is_not_asked_for() {
        let zipf = Zipf::new(1000, 0.8);
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
        let zipf = Zipf::new(2000, 0.9);
        let (sizes, room) = (Sizes::Decades(6), Room::Share(0.02));
        let study = CacheStudy { sizes, room, warmup: 200_000, requests: 200_000, ..STUDY };
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
        let zipf = Zipf::new(1000, 0.8);
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
        let zipf = Zipf::new(1, 1.0);
        let study = CacheStudy { edges: 10, shield: Some(Room::Bytes(1)), ttl: Some(99), warmup: 0, ..STUDY };
        // Fetched at 0, 100, 200 and so on, since the first to ask after the end asks the origin.
        assert_eq!(play(&study, &zipf, lru).origin, study.requests / 100);
    }
}
