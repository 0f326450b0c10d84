//! `CDN-Cache-Control` (RFC 9213), a structured field: what is not one says nothing, and what is one is within limits.
#![no_main]

use std::time::Duration;

use cdn_core::cache_control::{CacheControl, SECONDS_MAX};
use http::{HeaderName, header};
use isochrone_fuzz::lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let headers = lines(&HeaderName::from_static("cdn-cache-control"), data);
    let Some(control) = CacheControl::targeted(&headers) else { return };
    let most = Duration::from_secs(SECONDS_MAX);
    let times = [control.max_age, control.s_maxage, control.stale_while_revalidate, control.stale_if_error];
    assert!(times.into_iter().flatten().all(|time| time <= most), "{control:?}");
    // Another field beside it changes nothing.
    let mut more = headers.clone();
    more.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    assert_eq!(CacheControl::targeted(&more), Some(control));
});
