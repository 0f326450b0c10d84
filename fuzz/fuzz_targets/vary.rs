//! `Vary`: equal requests select equal variants, and nobody selects `*`.
#![no_main]

use std::sync::LazyLock;

use cdn_core::{cache_key::KeySeed, distribution::Distribution, vary::Vary};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use isochrone_fuzz::{distribution, lines};
use libfuzzer_sys::fuzz_target;

static CLOUDFRONTS: LazyLock<Distribution> = LazyLock::new(|| distribution("CachingOptimized"));
static ORIGINS: LazyLock<Distribution> = LazyLock::new(|| distribution("honour-origin"));

// The first line is the response's `Vary`, the others are the request's headers.
fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (named, rest) = data.split_at(split);
    let response = lines(&header::VARY, named);
    let mut request = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(&value[1..])) {
            request.append(name, value);
        }
    }
    for distribution in [&*CLOUDFRONTS, &*ORIGINS] {
        let vary = Vary::of(&response, distribution.behavior_for("/"));
        let variant = vary.variant(KeySeed::new(1), &request);
        assert_eq!(variant.is_none(), vary == Vary::Any, "{vary:?}");
        // What is not named does not count, and white space around a value neither.
        let mut like = HeaderMap::new();
        for (name, value) in &request {
            let padded = [b" ", value.as_bytes(), b"\t"].concat();
            like.append(name, HeaderValue::from_bytes(&padded).expect("a value with space around"));
        }
        assert_eq!(vary.variant(KeySeed::new(1), &like), variant, "{vary:?} {request:?}");
    }
});
