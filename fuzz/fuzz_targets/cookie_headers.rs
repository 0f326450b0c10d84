//! Cookie headers: what is taken off is gone and the rest stays in its order, and no cookie of a session is worth more than
//! its policy says.
#![no_main]

use std::time::Duration;

use cdn_core::{
    WallTime,
    continuous_deployment::{ContinuousDeployment, SESSION_COOKIE, Sessions, Traffic, remove_cookie},
    selection::cookies,
    signing,
};
use http::{HeaderMap, HeaderValue, header};
use isochrone_fuzz::lines;
use libfuzzer_sys::fuzz_target;

const NOW_SECS: i64 = 1_800_000_000;

fn pairs(headers: &HeaderMap) -> Vec<String> {
    cookies(headers).map(|(_, pair)| pair.to_owned()).collect()
}

// Each line is a `Cookie` line.
fuzz_target!(|data: &[u8]| {
    let headers = lines(&header::COOKIE, data);
    let is_ours = |pair: &String| {
        let name = pair.split_once('=').map_or(pair.as_str(), |(name, _)| name);
        name == SESSION_COOKIE || signing::COOKIES.contains(&name)
    };
    let own: Vec<String> = pairs(&headers).into_iter().filter(|pair| !is_ours(pair)).collect();
    let mut left = headers.clone();
    remove_cookie(&mut left);
    signing::remove_cookies(&mut left);
    assert_eq!(pairs(&left), own, "{headers:?}");

    let sessions = Sessions { idle: Duration::from_secs(300), max: Duration::from_secs(600) };
    let traffic = Traffic::Weight { share: 0.15, sessions: Some(sessions) };
    let policy = ContinuousDeployment::new("next", traffic).expect("a policy");
    let choice = policy.choose(&headers, WallTime::from_unix_secs(NOW_SECS), Some(u64::MAX)).expect("it was drawn");
    let cookie = choice.set_cookie.as_ref().and_then(|cookie: &HeaderValue| cookie.to_str().ok()).expect("a cookie");
    let began = cookie.split('.').nth(1).and_then(|secs| secs.parse::<i64>().ok()).expect("when it began");
    assert!((0..600).contains(&(NOW_SECS - began)), "{cookie}");
});
