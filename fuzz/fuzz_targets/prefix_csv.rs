//! Tables of client networks: read, or refused with a line of the text; what was read is read again from what is printed
//! of it, and can be asked for.
#![no_main]

use std::fmt::Write as _;

use cdn_core::geo::{GeoMap, GeoPrefix, prefix_csv};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let prefixes = match prefix_csv::parse(text) {
        Ok(prefixes) => prefixes,
        Err(error) => {
            assert!((1..=text.lines().count()).contains(&error.line), "there is no line {}", error.line);
            return;
        }
    };
    let mut printed = String::new();
    for GeoPrefix { net, place } in &prefixes {
        let (point, country, label) = (place.point, &place.country, &place.label);
        let _ = writeln!(printed, "{net},{},{},{country},\"{label}\"", point.lat_deg(), point.lon_deg());
    }
    assert_eq!(prefix_csv::parse(&printed).expect("what was printed"), prefixes);
    let map = GeoMap::build(prefixes.iter().cloned());
    for GeoPrefix { net, .. } in &prefixes {
        let block = map.block_of(net.network()).map(|block| map.block(block).net);
        // A longer network may begin where this one does.
        let block = block.expect("a block");
        assert!(net.contains(&block), "{block} is found at the beginning of {net}");
    }
});
