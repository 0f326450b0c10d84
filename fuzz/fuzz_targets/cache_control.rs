//! `Cache-Control` of responses and requests: whatever comes is read, and no time is beyond the limit.
#![no_main]

use std::time::Duration;

use cdn_core::{
    cache_control::{CacheControl, SECONDS_MAX},
    request_control::RequestControl,
};
use http::header;
use isochrone_fuzz::lines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let headers = lines(&header::CACHE_CONTROL, data);
    let most = Duration::from_secs(SECONDS_MAX);
    let control = CacheControl::of(&headers);
    let times = [control.max_age, control.s_maxage, control.stale_while_revalidate, control.stale_if_error];
    assert!(times.into_iter().flatten().all(|time| time <= most), "{control:?}");
    // Lines of one name are one list (RFC 9110 section 5.3).
    let joined: Vec<&[u8]> = headers.get_all(header::CACHE_CONTROL).iter().map(|value| value.as_bytes()).collect();
    // A quote that one line leaves open would reach into the next.
    if !data.contains(&b'"') {
        assert_eq!(CacheControl::of_lines([joined.join(&b", "[..]).as_slice()]), control);
    }
    let request = RequestControl::of(&headers);
    assert!(request.max_age.into_iter().all(|time| time <= most), "{request:?}");
});
