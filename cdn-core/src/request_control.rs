//! What a request asks of caches: `Cache-Control` of requests and `Pragma` (RFC 9111 sections 5.2.1 and 5.4).
//!
//! Decides whether a stored response is good enough for a request that says what it accepts. Only behaviors that follow
//! the origin's rules listen to requests; CloudFront does not.

use std::time::Duration;

use http::{HeaderMap, header};

use crate::{cache_control, cache_control::SECONDS_MAX};

/// What a request accepts. Nothing is asked by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// `max-age`: not older than this.
    pub max_age: Option<Duration>,
    /// `max-stale`: stale for no longer than this.
    pub max_stale: Duration,
    /// `min-fresh`: fresh for at least this long.
    pub min_fresh: Duration,
    /// `no-cache`: confirmed by the origin.
    pub no_cache: bool,
    /// `no-store`: nothing of request or response is stored.
    pub no_store: bool,
    /// `only-if-cached`: from the store or not at all.
    pub only_if_cached: bool,
}

/// How old a stored response is, for [`RequestControl::accepts`].
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Its age.
    pub age: Duration,
    /// How long it stays fresh; zero where it is stale.
    pub fresh_for: Duration,
    /// How long it has been stale; zero where it is fresh.
    pub stale_for: Duration,
    /// Whether its origin allows that it is used stale.
    pub may_be_stale: bool,
}

impl RequestControl {
    /// Reads a request's `Cache-Control`; `Pragma: no-cache` counts where there is none.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        let mut none = true;
        for line in headers.get_all(header::CACHE_CONTROL) {
            none = false;
            cache_control::for_each_directive(line.as_bytes(), |name, seconds| read.take(name, seconds));
        }
        if none {
            for line in headers.get_all(header::PRAGMA) {
                cache_control::for_each_directive(line.as_bytes(), |name, _| {
                    read.no_cache |= name.eq_ignore_ascii_case(b"no-cache");
                });
            }
        }
        read
    }

    /// Whether it takes whatever is fresh, as nearly all do.
    pub fn accepts_all_fresh(&self) -> bool {
        self.max_age.is_none() && self.min_fresh.is_zero() && !self.no_cache
    }

    /// Whether a stored response may be used as it is.
    pub fn accepts(&self, stored: Freshness) -> bool {
        let young = self.max_age.is_none_or(|max_age| stored.age <= max_age);
        let fresh = match stored.stale_for.is_zero() && !stored.fresh_for.is_zero() {
            true => stored.fresh_for >= self.min_fresh,
            false => stored.may_be_stale && self.min_fresh.is_zero() && stored.stale_for < self.max_stale,
        };
        young && fresh && !self.no_cache
    }

    fn take(&mut self, name: &[u8], seconds: Option<u64>) {
        let is = |directive: &str| name.eq_ignore_ascii_case(directive.as_bytes());
        let span = |default| Duration::from_secs(seconds.unwrap_or(default));
        match () {
            () if is("max-age") => self.max_age = Some(span(0)),
            // Without a value any staleness will do.
            () if is("max-stale") => self.max_stale = span(SECONDS_MAX),
            () if is("min-fresh") => self.min_fresh = span(0),
            () if is("no-cache") => self.no_cache = true,
            () if is("no-store") => self.no_store = true,
            () if is("only-if-cached") => self.only_if_cached = true,
            () => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&'static str, &str)]) -> RequestControl {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        RequestControl::of(&headers)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn whoever_accepts_all_that_is_fresh_accepts_the_oldest_of_it() {
        let oldest = Freshness {
            age: secs(1 << 31),
            fresh_for: Duration::from_nanos(1),
            stale_for: secs(0),
            may_be_stale: false,
        };
        for lines in [&[][..], &[("cache-control", "max-stale=7, no-store, only-if-cached")]] {
            let control = read(lines);
            assert!(control.accepts_all_fresh() && control.accepts(oldest), "{lines:?}");
        }
        for line in ["max-age=9", "min-fresh=1", "no-cache"] {
            let control = read(&[("cache-control", line)]);
            assert!(!control.accepts_all_fresh() && !control.accepts(oldest), "{line}");
        }
    }

    #[test]
    fn directives_are_read_and_pragma_counts_alone() {
        let all = read(&[
            ("cache-control", "Max-Age=5, max-stale=7"),
            ("cache-control", "min-fresh=\"3\", no-store, only-if-cached"),
        ]);
        let expected = RequestControl {
            max_age: Some(secs(5)),
            max_stale: secs(7),
            min_fresh: secs(3),
            no_store: true,
            only_if_cached: true,
            no_cache: false,
        };
        assert_eq!(all, expected);
        assert!(read(&[("pragma", "x, No-Cache")]).no_cache);
        assert!(!read(&[("pragma", "no-cache"), ("cache-control", "x")]).no_cache);
        assert_eq!(read(&[("cache-control", "nothing-to-see-here"), ("pragma", "foo")]), RequestControl::default());
        assert_eq!(read(&[("cache-control", "max-stale")]).max_stale, secs(SECONDS_MAX));
    }

    #[test]
    fn a_stored_response_is_good_enough_or_not() {
        let fresh = Freshness { age: secs(10), fresh_for: secs(20), stale_for: secs(0), may_be_stale: true };
        let stale = Freshness { age: secs(10), fresh_for: secs(0), stale_for: secs(5), may_be_stale: true };
        let accepts = |directives: &str, stored| read(&[("cache-control", directives)]).accepts(stored);
        assert!(accepts("", fresh) && !accepts("", stale));
        assert!(accepts("max-age=10", fresh) && !accepts("max-age=9", fresh) && !accepts("max-age=0", fresh));
        assert!(accepts("min-fresh=20", fresh) && !accepts("min-fresh=21", fresh));
        assert!(accepts("max-stale", stale) && accepts("max-stale=6", stale) && !accepts("max-stale=5", stale));
        assert!(!accepts("max-stale, max-age=9", stale) && !accepts("max-stale, min-fresh=1", stale));
        assert!(!accepts("max-stale", Freshness { may_be_stale: false, ..stale }));
        assert!(!accepts("no-cache", fresh));
    }
}
