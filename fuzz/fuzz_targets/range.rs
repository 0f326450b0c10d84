//! `Range` and `If-Range`: what is served is a part of the object.
#![no_main]

use cdn_core::range::{self, Extent, RANGES_MAX};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use libfuzzer_sys::fuzz_target;

// Eight bytes of length, then the value of `Range`, and after a line feed that of `If-Range`.
fuzz_target!(|data: &[u8]| {
    let Some((length, data)) = data.split_first_chunk::<8>() else { return };
    // Small lengths are where ranges end.
    let length = u64::from_le_bytes(*length);
    let total = if length & 1 == 0 { length >> 56 } else { length };
    let mut request = HeaderMap::new();
    let mut lines = data.split(|byte| *byte == b'\n');
    for name in [header::RANGE, header::IF_RANGE] {
        if let Some(value) = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok()) {
            request.append(name, value);
        }
    }
    let mut stored = HeaderMap::new();
    stored.insert(header::ETAG, HeaderValue::from_static("\"a\""));
    stored.insert(header::LAST_MODIFIED, HeaderValue::from_static("Mon, 01 Jan 2024 00:00:00 GMT"));
    let parts = match range::evaluate(&Method::GET, &request, StatusCode::OK, &stored, total) {
        Extent::Whole | Extent::Unsatisfiable => return,
        Extent::Part(part) => vec![part],
        Extent::Parts(parts) => parts,
    };
    assert!(!parts.is_empty() && parts.len() <= RANGES_MAX, "{} parts", parts.len());
    for part in parts {
        assert!(part.first <= part.last && part.last < total, "{part:?} of {total}");
        assert_eq!(part.length(), part.last - part.first + 1);
    }
});
