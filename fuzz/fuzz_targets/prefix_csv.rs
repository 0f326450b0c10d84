//! Tables of client networks: read, or refused with a line of the text; what was read is read again from what is printed
//! of it, and can be asked for.
#![no_main]

use std::fmt::Write as _;

use cdn_core::geo::{GeoMap, prefix_csv};
use libfuzzer_sys::fuzz_target;

/// The networks and places of a map, as a table.
fn printed(map: &GeoMap) -> String {
    let mut text = String::new();
    for block in map.block_ids() {
        let (net, place) = (map.block(block).net, map.place_of(block));
        let (point, country, label) = (place.point, &place.country, &place.label);
        let _ = writeln!(text, "{net},{},{},{country},\"{label}\"", point.lat_deg(), point.lon_deg());
    }
    text
}

fuzz_target!(|text: &str| {
    let map = match prefix_csv::parse(text) {
        Ok(map) => map,
        Err(error) => {
            assert!((1..=text.lines().count()).contains(&error.line), "there is no line {}", error.line);
            return;
        }
    };
    let again = prefix_csv::parse(&printed(&map)).expect("what was printed");
    assert_eq!(printed(&again), printed(&map));
    for net in map.block_ids().map(|block| map.block(block).net) {
        // A longer network may begin where this one does.
        let block = map.block_of(net.network()).map(|block| map.block(block).net).expect("a block");
        assert!(net.contains(&block), "{block} is found at the beginning of {net}");
    }
});
