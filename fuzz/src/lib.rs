//! What fuzz targets share: headers out of bytes, bytes in pieces, a distribution.

use std::collections::BTreeMap;

use cdn_core::{
    distribution::{AllowedMethods, Behavior, Distribution, DistributionSpec, Origin},
    policies,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Header lines of one name: one per line of `data`, as far as they can be values.
pub fn lines(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(name, value);
    }
    headers
}

/// Divides `data`: each byte of `cuts` says how long the next piece is, over and over.
pub fn pieces<'a>(cuts: &[u8], mut data: &'a [u8]) -> Vec<&'a [u8]> {
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
    let mut pieces = Vec::new();
    while !data.is_empty() {
        let length = lengths.next().unwrap_or(256).min(data.len());
        let (piece, rest) = data.split_at(length);
        pieces.push(piece);
        data = rest;
    }
    pieces
}

/// A distribution whose only behavior has this cache policy.
pub fn distribution(cache_policy: &str) -> Distribution {
    let cache_policy = policies::cache_policy(cache_policy).expect("a policy");
    let default_behavior =
        Behavior { allowed_methods: AllowedMethods::All, compress: false, ..Behavior::new("app", cache_policy) };
    let origins = BTreeMap::from([("app".to_owned(), Origin::new("app.test"))]);
    let spec = DistributionSpec {
        aliases: vec!["www.demo.test".into()],
        ..DistributionSpec::new("demo", origins, default_behavior)
    };
    Distribution::new(spec).expect("a distribution")
}
