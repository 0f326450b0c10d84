//! Chunked bodies from origins, as a node reads them: what comes out is what an obvious decoder finds, or nothing more.
#![no_main]

use edge_node::fuzzing::origin_body;
use isochrone_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

// The first byte says how many cuts follow; the rest is what an origin sends behind its head.
fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else { return };
    let (cuts, data) = data.split_at(usize::from(*count % 8).min(data.len()));
    origin_body(&pieces(cuts, data));
});
