//! How much memory a run will take, before it begins.

use cdn_core::Role;
use world::scenario::{From, Paths, Scenario};

use crate::plan::Plan;

/// A stored response with its head, its place in the table and its name: 580 bytes were measured.
const ENTRY_BYTES: u64 = 700;
/// An object of the catalog, with its path, its place in the map and what its headers say.
const OBJECT_BYTES: u64 = 560;
/// A user with a connection: 240 bytes were measured.
const USER_BYTES: u64 = 320;
/// A user who may ask and has not: 48 bytes of a table, which doubles as it grows.
const IDLE_USER_BYTES: u64 = 96;
/// Two directions of a link, each with its own stream of chance and the gaps that it remembers.
const WAY_BYTES: u64 = 2_600;
/// What a router knows of each candidate for each client network.
const ESTIMATE_BYTES: u64 = 100;
/// The program and its tables.
const BASE_BYTES: u64 = 64 << 20;

/// Bytes that a run will take at most, roughly: up to about twice what it takes where everything is asked for once, and
/// more where much is asked for often.
///
/// A store holds no more responses than fit into its bytes, were they as small as they can be on average: 1 KiB where the
/// load does not say. All of them together hold no more than one on the way of each request, from edge to shield. Of
/// requests that are over nothing is kept, but where two runs are compared.
pub fn estimate(plan: &Plan, scenario: &Scenario) -> u64 {
    let (mut objects, mut users, mut idle, mut places, mut requests) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let mut bytes_mean = u64::MAX;
    let seconds = scenario.length.as_secs_f64() + scenario.warmup.as_secs_f64();
    for load in &scenario.loads {
        let peak = load.ramp.iter().map(|(_, factor)| *factor).fold(1.0, f64::max);
        let asked = match &load.paths {
            // At its own pace, over and over.
            Paths::Trace(all) if load.rps == 0.0 => {
                let once = all.last().map_or(1.0, |last| last.at.as_secs_f64()).max(1.0);
                (all.len() as f64 * (seconds / once).max(1.0)).ceil() as u64
            }
            _ => (load.rps * peak * seconds).ceil() as u64,
        };
        requests += asked;
        // No more than are asked for.
        objects += match &load.paths {
            Paths::Zipf { n, .. } => (*n).min(asked),
            Paths::Trace(all) => all.len() as u64,
            Paths::One(_) => 1,
        };
        users += u64::from(load.users).min(asked);
        idle += u64::from(load.users).saturating_sub(asked);
        places += match &load.from {
            From::World => plan.world.atlas().cities().len() as u64,
            From::Places(places) => places.len() as u64,
        };
        bytes_mean = bytes_mean.min(match load.sizes {
            world::scenario::Sizes::Fixed(bytes) => bytes,
            world::scenario::Sizes::LogNormal { median, .. } => median,
            world::scenario::Sizes::Origin => 1024,
        });
    }
    let tiers = [Role::Edge, Role::Regional, Role::Shield];
    let caches = tiers.map(|tier| plan.nodes_with(tier).count() as u64);
    let per_cache = objects.min(plan.store.bytes_max / bytes_mean.clamp(256, 1 << 30));
    let on_the_way = requests * caches.iter().filter(|caches| **caches > 0).count() as u64;
    let stores = (caches.iter().sum::<u64>() * per_cache).min(on_the_way) * ENTRY_BYTES;
    let edges = plan.nodes_with(Role::Edge).count() as u64;
    let routers = plan.nodes_with(Role::Router).count() as u64;
    // Viewers of a place use few PoPs, and all routers.
    let ways = places * (4 + routers) + plan.nodes.len() as u64 * (4 + routers);
    let blocks = plan.world.atlas().prefix_table().len() as u64;
    BASE_BYTES
        + stores
        + objects * OBJECT_BYTES
        + users * USER_BYTES
        + idle * IDLE_USER_BYTES
        + ways * WAY_BYTES
        + routers * blocks * edges * ESTIMATE_BYTES
}
