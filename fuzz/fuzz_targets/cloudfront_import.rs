//! Distributions in CloudFront's own format: whatever comes is taken or refused at a place that is there, and what is
//! taken says the same after an export.
#![no_main]

use isochrone::fuzzing::import;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    import(text);
});
