//! Hit ratios of eviction policies where each request is for an object by its popularity alone, whatever was asked for
//! before (the independent reference model). All objects are of one byte.

use cdn_core::eviction::EvictionPolicy;
use simulator::{
    replay::{Replay, replay},
    studies::cache::{Admitting, Asked, CacheStudy, Room, Sizes, che, fifo, filtered, hit_ratio, play},
};
use world::{stream, workload::Zipf};

use super::close;

/// The measured miss ratio after a cache has seen `warm` requests, over `counted` more.
fn measured(policy: EvictionPolicy, zipf: &Zipf, room: u64, warm: u32, counted: u32) -> f64 {
    let mut rng = stream(1, &["oracle", "popularity"]);
    let mut cache = replay(policy, room);
    let mut ask = |cache: &mut Box<dyn Replay>| cache.request(zipf.draw(&mut rng).into(), 1);
    for _ in 0..warm {
        ask(&mut cache);
    }
    let before = cache.tally();
    for _ in 0..counted {
        ask(&mut cache);
    }
    let after = cache.tally();
    (after.misses - before.misses) as f64 / f64::from(counted)
}

#[test]
fn lru_misses_as_often_as_che_tung_and_wang_say() {
    const ROOM: u32 = 10_000;
    for (exponent, worked) in [(1.0, 0.4149), (0.8, 0.7681)] {
        let zipf = Zipf::new(1_000_000, exponent);
        let shares: Vec<f64> = zipf.shares().collect();
        let expected = 1.0 - hit_ratio(&shares, &che(&shares, ROOM.into()));
        close("the formula", expected, worked, 0.000_05);
        let got = measured(EvictionPolicy::Lru, &zipf, ROOM.into(), 200_000, 1_000_000);
        close("misses of LRU", got, expected, 0.003);
    }
}

#[test]
fn fifo_and_random_miss_as_often_as_their_closed_form_says() {
    const ROOM: u32 = 10_000;
    let zipf = Zipf::new(1_000_000, 1.0);
    let shares: Vec<f64> = zipf.shares().collect();
    let expected = 1.0 - hit_ratio(&shares, &fifo(&shares, ROOM.into()));
    close("the formula", expected, 0.4498, 0.000_05);
    for policy in [EvictionPolicy::Fifo, EvictionPolicy::Random] {
        let got = measured(policy, &zipf, ROOM.into(), 200_000, 1_000_000);
        close(policy.as_str(), got, expected, 0.003);
    }
}

#[test]
fn no_policy_beats_the_most_popular_objects_kept_for_good() {
    const ROOM: usize = 1_000;
    const COUNTED: u32 = 300_000;
    for exponent in [0.6, 1.0] {
        let zipf = Zipf::new(10_000, exponent);
        let shares: Vec<f64> = zipf.shares().collect();
        let best: f64 = shares.iter().take(ROOM).sum();
        // Who keeps anything at all has what a random choice has.
        let floor = hit_ratio(&shares, &fifo(&shares, ROOM as u64));
        // Three standard deviations of what chance adds to the count.
        let chance = 3.0 * (best * (1.0 - best) / f64::from(COUNTED)).sqrt();
        for policy in EvictionPolicy::ALL {
            let hits = 1.0 - measured(policy, &zipf, ROOM as u64, 100_000, COUNTED);
            assert!(hits < best + chance, "{}: {hits}, and {best} is the best there is", policy.as_str());
            assert!(hits > floor - 0.01, "{}: {hits}, and chance has {floor}", policy.as_str());
        }
    }
}

#[test]
fn a_shield_behind_edges_hits_as_often_as_che_on_the_filtered_stream_says() {
    const EDGES: u32 = 20;
    const OBJECTS: u32 = 100_000;
    let zipf = Zipf::new(OBJECTS, 0.8);
    let shares: Vec<f64> = zipf.shares().collect();
    let (edge_room, shield_room) = (OBJECTS / 100, OBJECTS / 10);
    let at_edge = che(&shares, edge_room.into());
    let edge_hits = hit_ratio(&shares, &at_edge);
    let filtered = filtered(&shares, &at_edge);
    let shield_hits = hit_ratio(&filtered, &che(&filtered, shield_room.into()));
    close("the formula at the edge", edge_hits, 0.204, 0.000_5);
    // What edges let through is not Poisson: formula, worked value and measurement may lie a hundredth apart.
    close("the formula at the shield", shield_hits, 0.334, 0.01);

    let study = CacheStudy {
        admitting: Admitting::EVERYBODY,
        edges: EDGES,
        room: Room::Bytes(edge_room.into()),
        shield: Some(Room::Bytes(shield_room.into())),
        ttl: None,
        warmup: 300_000,
        requests: 1_000_000,
        seed: 1,
    };
    let asked = Asked::Drawn { zipf, sizes: Sizes::One };
    let measured = play(&study, &asked, |room| replay(EvictionPolicy::Lru, room));
    close("hits at the edges", 1.0 - measured.edge_miss_ratio(), edge_hits, 0.005);
    close("hits at the shield", measured.shield_hit_ratio(), shield_hits, 0.01);
}
