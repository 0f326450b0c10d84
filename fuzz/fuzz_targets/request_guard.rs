//! The guard before hyper: what it lets through does not depend on how bytes were divided into reads.
#![no_main]

use edge_node::fuzzing::guard;
use isochrone_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

// The first byte says how many cuts follow; the rest is what a client sends.
fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else { return };
    let (cuts, data) = data.split_at(usize::from(*count % 8).min(data.len()));
    // As many as one read takes.
    let whole = guard(&data.chunks(512).collect::<Vec<_>>());
    let divided = guard(&pieces(cuts, data));
    assert_eq!((whole.refused.is_some(), whole.failed), (divided.refused.is_some(), divided.failed));
    assert_eq!(whole.bytes, divided.bytes);
    if whole.refused.is_none() {
        assert!(data.starts_with(&whole.bytes), "it passes bytes that nobody sent");
    }
});
