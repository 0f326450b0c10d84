//! Look-ups per second and core of each policy, in pure replay.
//!
//! `cargo bench -p simulator --bench replay [-- POLICY...]`: requests by Zipf's law (exponent 1) over two million objects
//! of one byte, a cache that holds one million and is full. Beside it, in the same run, the bare table from ids to slots: what
//! a look-up costs at least. Requests are drawn before time is taken.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench takes the time")]

use std::{hint::black_box, time::Instant};

use cdn_core::eviction::{EvictionPolicy, Index};
use simulator::replay::replay;
use world::{stream, trace::Record, workload::Zipf};

const OBJECTS: u32 = 2_000_000;
const ROOM: u64 = 1_000_000;
/// Of a round; each round has requests of its own, and the fastest counts.
const REQUESTS: usize = 2_000_000;
const ROUNDS: usize = 3;

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |policy: &EvictionPolicy| named.is_empty() || named.iter().any(|name| name == policy.as_str());
    let zipf = Zipf::new(OBJECTS, 1.0);
    let mut rng = stream(1, &["bench"]);
    // Ids as traces have them: large numbers without order.
    let record = |object: u32| Record {
        at: std::time::Duration::ZERO,
        id: u64::from(object).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        bytes: 1,
    };
    let mut draw = || record(zipf.draw(&mut rng));
    let mut warm: Vec<Record> = (0..ROOM).map(|rank| record((u64::from(OBJECTS) - rank) as u32)).collect();
    warm.extend((0..2 * REQUESTS).map(|_| draw()));
    let rounds: Vec<Vec<Record>> = (0..ROUNDS).map(|_| (0..REQUESTS).map(|_| draw()).collect()).collect();

    let mut index = Index::default();
    for (slot, record) in warm.iter().enumerate().filter(|(slot, _)| *slot < ROOM as usize) {
        index.insert(record.id, slot as u32);
    }
    let table = best(&rounds, |requests| {
        let found = requests.iter().filter(|record| index.find(record.id).is_some()).count();
        black_box(found);
    });
    println!("{:<12} {:>14} {:>12} {:>10}", "POLICY", "LOOKUPS/S", "OF TABLE", "MISSES");
    line("(table)", REQUESTS as f64 / table, 1.0, None);
    for policy in EvictionPolicy::ALL.into_iter().filter(is_wanted) {
        let mut run = replay(policy, ROOM);
        run.feed(&warm);
        let before = run.tally();
        let seconds = best(&rounds, |requests| run.feed(requests));
        let after = run.tally();
        let misses = (after.misses - before.misses) as f64 / (after.requests - before.requests) as f64;
        line(policy.as_str(), REQUESTS as f64 / seconds, table / seconds, Some(misses));
    }
}

fn line(policy: &str, per_second: f64, of_table: f64, misses: Option<f64>) {
    let misses = misses.map_or_else(|| "-".to_owned(), |misses| format!("{misses:.4}"));
    println!("{policy:<12} {per_second:>14.0} {of_table:>12.2} {misses:>10}");
}

/// Seconds of the fastest round.
fn best(rounds: &[Vec<Record>], mut play: impl FnMut(&[Record])) -> f64 {
    let timed = |requests: &Vec<Record>| {
        let begun = Instant::now();
        play(requests);
        begun.elapsed().as_secs_f64()
    };
    rounds.iter().map(timed).fold(f64::INFINITY, f64::min)
}
