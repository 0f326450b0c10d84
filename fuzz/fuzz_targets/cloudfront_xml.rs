//! CloudFront's XML: whatever comes is refused at a place that is there, or read into values that stand in one another.
#![no_main]

use isochrone::fuzzing::xml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    xml(text);
});
