//! CloudFront's managed cache, origin request and response headers policies, and two cache policies of our own.
//!
//! Decides nothing: three tables, found by name (with or without the prefix `Managed-`) or by id. Values follow the AWS
//! pages "Use managed cache policies" and "Use managed origin request policies".

mod response_headers;

use std::time::Duration;

pub use self::response_headers::{ManagedResponseHeadersPolicy, RESPONSE_HEADERS_POLICIES, response_headers_policy};
use crate::distribution::{CachePolicy, CachingRules, OriginRequestPolicy, Selection};

/// A row of the table of managed cache policies.
#[derive(Clone, Copy, Debug)]
pub struct ManagedCachePolicy {
    /// Its name without `Managed-`.
    pub name: &'static str,
    /// Its id, a UUID.
    pub id: &'static str,
    /// Minimum, default and maximum TTL in seconds.
    ttl_secs: [u64; 3],
    headers: &'static [&'static str],
    cookies: Names,
    query: Names,
    /// gzip, br.
    encodings: [bool; 2],
}

/// A row of the table of managed origin request policies.
#[derive(Clone, Copy, Debug)]
pub struct ManagedOriginRequestPolicy {
    /// Its name without `Managed-`.
    pub name: &'static str,
    /// Its id, a UUID.
    pub id: &'static str,
    headers: Names,
    cookies: Names,
    query: Names,
    added: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
enum Names {
    None,
    All,
    Only(&'static [&'static str]),
    Except(&'static [&'static str]),
}

impl Names {
    fn selection(self) -> Selection {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        match self {
            Self::None => Selection::None,
            Self::All => Selection::All,
            Self::Only(names) => Selection::Only(owned(names)),
            Self::Except(names) => Selection::AllExcept(owned(names)),
        }
    }
}

const METHOD_OVERRIDES: &[&str] = &["Host", "Origin", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"];

const YEAR_SECS: u64 = 31_536_000;

/// The managed cache policies.
pub const CACHE_POLICIES: &[ManagedCachePolicy] = &[
    ManagedCachePolicy {
        name: "CachingOptimized",
        id: "658327ea-f89d-4fab-a63d-7e88639e58f6",
        ttl_secs: [1, 86_400, YEAR_SECS],
        headers: &[],
        cookies: Names::None,
        query: Names::None,
        encodings: [true, true],
    },
    ManagedCachePolicy {
        name: "CachingOptimizedForUncompressedObjects",
        id: "b2884449-e4de-46a7-ac36-70bc7f1ddd6d",
        ttl_secs: [1, 86_400, YEAR_SECS],
        headers: &[],
        cookies: Names::None,
        query: Names::None,
        encodings: [false, false],
    },
    ManagedCachePolicy {
        name: "CachingDisabled",
        id: "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
        ttl_secs: [0, 0, 0],
        headers: &[],
        cookies: Names::None,
        query: Names::None,
        encodings: [false, false],
    },
    ManagedCachePolicy {
        name: "UseOriginCacheControlHeaders",
        id: "83da9c7e-98b4-4e11-a168-04f0df8e2c65",
        ttl_secs: [0, 0, YEAR_SECS],
        headers: METHOD_OVERRIDES,
        cookies: Names::All,
        query: Names::None,
        encodings: [true, true],
    },
    ManagedCachePolicy {
        name: "UseOriginCacheControlHeaders-QueryStrings",
        id: "4cc15a8a-d715-48a4-82b8-cc0b614638fe",
        ttl_secs: [0, 0, YEAR_SECS],
        headers: METHOD_OVERRIDES,
        cookies: Names::All,
        query: Names::All,
        encodings: [true, true],
    },
    ManagedCachePolicy {
        name: "Amplify",
        id: "2e54312d-136d-493c-8eb9-b001f22f67d2",
        ttl_secs: [2, 2, 600],
        headers: &["Authorization", "CloudFront-Viewer-Country", "Host"],
        cookies: Names::All,
        query: Names::All,
        encodings: [true, true],
    },
    ManagedCachePolicy {
        name: "Elemental-MediaPackage",
        id: "08627262-05a9-4f76-9ded-b50ca2e3a84f",
        ttl_secs: [0, 86_400, YEAR_SECS],
        headers: &["Origin"],
        cookies: Names::None,
        query: Names::Only(&["aws.manifestfilter", "start", "end", "m"]),
        encodings: [true, false],
    },
];

/// The managed origin request policies.
pub const ORIGIN_REQUEST_POLICIES: &[ManagedOriginRequestPolicy] = &[
    ManagedOriginRequestPolicy {
        name: "AllViewer",
        id: "216adef6-5c7f-47e4-b989-5492eafa07d3",
        headers: Names::All,
        cookies: Names::All,
        query: Names::All,
        added: &[],
    },
    ManagedOriginRequestPolicy {
        name: "AllViewerExceptHostHeader",
        id: "b689b0a8-53d0-40ab-baf2-68738e2966ac",
        headers: Names::Except(&["Host"]),
        cookies: Names::All,
        query: Names::All,
        added: &[],
    },
    ManagedOriginRequestPolicy {
        name: "AllViewerAndCloudFrontHeaders-2022-06",
        id: "33f36d7e-f396-46d9-90e0-52428a34d9dc",
        headers: Names::All,
        cookies: Names::All,
        query: Names::All,
        added: &[
            "CloudFront-Forwarded-Proto",
            "CloudFront-Is-Android-Viewer",
            "CloudFront-Is-Desktop-Viewer",
            "CloudFront-Is-IOS-Viewer",
            "CloudFront-Is-Mobile-Viewer",
            "CloudFront-Is-SmartTV-Viewer",
            "CloudFront-Is-Tablet-Viewer",
            "CloudFront-Viewer-Address",
            "CloudFront-Viewer-ASN",
            "CloudFront-Viewer-City",
            "CloudFront-Viewer-Country",
            "CloudFront-Viewer-Country-Name",
            "CloudFront-Viewer-Country-Region",
            "CloudFront-Viewer-Country-Region-Name",
            "CloudFront-Viewer-Http-Version",
            "CloudFront-Viewer-Latitude",
            "CloudFront-Viewer-Longitude",
            "CloudFront-Viewer-Metro-Code",
            "CloudFront-Viewer-Postal-Code",
            "CloudFront-Viewer-Time-Zone",
            "CloudFront-Viewer-TLS",
        ],
    },
    ManagedOriginRequestPolicy {
        name: "CORS-CustomOrigin",
        id: "59781a5b-3903-41f3-afcb-af62929ccde1",
        headers: Names::Only(&["Origin"]),
        cookies: Names::None,
        query: Names::None,
        added: &[],
    },
    ManagedOriginRequestPolicy {
        name: "CORS-S3Origin",
        id: "88a5eaf4-2fd4-4709-b370-b4c650ea3fcf",
        headers: Names::Only(&["Origin", "Access-Control-Request-Headers", "Access-Control-Request-Method"]),
        cookies: Names::None,
        query: Names::None,
        added: &[],
    },
    ManagedOriginRequestPolicy {
        name: "UserAgentRefererHeaders",
        id: "acba4595-bd28-49b8-b9fe-13317c0390fa",
        headers: Names::Only(&["User-Agent", "Referer"]),
        cookies: Names::None,
        query: Names::None,
        added: &[],
    },
    ManagedOriginRequestPolicy {
        name: "HostHeaderOnly",
        id: "bf0718e1-ba1e-49d1-88b1-f726733018ae",
        headers: Names::Only(&["Host"]),
        cookies: Names::None,
        query: Names::None,
        added: &[],
    },
    ManagedOriginRequestPolicy {
        name: "Elemental-MediaTailor-PersonalizedManifests",
        id: "775133bc-15f2-49f9-abea-afb2e0bf67d2",
        headers: Names::Only(&[
            "Origin",
            "Access-Control-Request-Headers",
            "Access-Control-Request-Method",
            "User-Agent",
            "X-Forwarded-For",
        ]),
        cookies: Names::None,
        query: Names::All,
        added: &[],
    },
];

impl ManagedCachePolicy {
    /// The policy itself.
    pub fn policy(&self) -> CachePolicy {
        let [min_ttl, default_ttl, max_ttl] = self.ttl_secs.map(Duration::from_secs);
        let headers = if self.headers.is_empty() { Names::None } else { Names::Only(self.headers) };
        CachePolicy {
            name: self.name.to_owned(),
            rules: CachingRules::CloudFront,
            min_ttl,
            default_ttl,
            max_ttl,
            headers: headers.selection(),
            cookies: self.cookies.selection(),
            query: self.query.selection(),
            gzip: self.encodings[0],
            brotli: self.encodings[1],
            zstd: false,
        }
    }
}

impl ManagedOriginRequestPolicy {
    /// The policy itself.
    pub fn policy(&self) -> OriginRequestPolicy {
        OriginRequestPolicy {
            name: self.name.to_owned(),
            headers: self.headers.selection(),
            cookies: self.cookies.selection(),
            query: self.query.selection(),
            added_headers: self.added.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

/// Ours: `UseOriginCacheControlHeaders-QueryStrings` without `Host` in the key, so that the origin sees its own name, as
/// local apps expect.
pub const ORIGIN_CACHE_CONTROL: &str = "OriginCacheControl";

/// Ours: a plain shared cache that does what the origin says ([`CachingRules::Origin`]). The key is host, path and query
/// string; `Vary` does the rest.
pub const HONOUR_ORIGIN: &str = "honour-origin";

/// The names of all cache policies.
pub fn cache_policy_names() -> impl Iterator<Item = &'static str> {
    CACHE_POLICIES.iter().map(|row| row.name).chain([ORIGIN_CACHE_CONTROL, HONOUR_ORIGIN])
}

/// The cache policy of this name or id.
pub fn cache_policy(name_or_id: &str) -> Option<CachePolicy> {
    match name_or_id {
        ORIGIN_CACHE_CONTROL => return Some(origin_cache_control()),
        HONOUR_ORIGIN => return Some(honour_origin()),
        _ => {}
    }
    let name = name_or_id.strip_prefix("Managed-").unwrap_or(name_or_id);
    CACHE_POLICIES.iter().find(|row| row.name == name || row.id == name_or_id).map(ManagedCachePolicy::policy)
}

fn origin_cache_control() -> CachePolicy {
    CachePolicy {
        name: ORIGIN_CACHE_CONTROL.to_owned(),
        rules: CachingRules::CloudFront,
        min_ttl: Duration::ZERO,
        default_ttl: Duration::ZERO,
        max_ttl: Duration::from_secs(YEAR_SECS),
        headers: Names::Only(METHOD_OVERRIDES.split_first().map_or(&[], |(_host, rest)| rest)).selection(),
        cookies: Selection::All,
        query: Selection::All,
        gzip: true,
        brotli: true,
        zstd: false,
    }
}

fn honour_origin() -> CachePolicy {
    CachePolicy {
        name: HONOUR_ORIGIN.to_owned(),
        rules: CachingRules::Origin,
        min_ttl: Duration::ZERO,
        default_ttl: Duration::ZERO,
        // RFC 9111 knows no maximum: as long as can be said (section 1.2.2).
        max_ttl: Duration::from_secs(1 << 31),
        headers: Names::Only(&["Host"]).selection(),
        cookies: Selection::None,
        query: Selection::All,
        gzip: false,
        brotli: false,
        zstd: false,
    }
}

/// The managed origin request policy of this name or id.
pub fn origin_request_policy(name_or_id: &str) -> Option<OriginRequestPolicy> {
    let name = name_or_id.strip_prefix("Managed-").unwrap_or(name_or_id);
    ORIGIN_REQUEST_POLICIES
        .iter()
        .find(|row| row.name == name || row.id == name_or_id)
        .map(ManagedOriginRequestPolicy::policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_found_by_name_prefixed_name_and_id() {
        for text in ["CachingOptimized", "Managed-CachingOptimized", "658327ea-f89d-4fab-a63d-7e88639e58f6"] {
            let policy = cache_policy(text).unwrap();
            assert_eq!((policy.name.as_str(), policy.min_ttl), ("CachingOptimized", Duration::from_secs(1)));
        }
        assert_eq!(origin_request_policy("Managed-AllViewer").unwrap().headers, Selection::All);
        assert!(cache_policy("AllViewer").is_none() && origin_request_policy("Nothing").is_none());
    }

    #[test]
    fn names_and_ids_are_unique() {
        let mut words: Vec<_> = CACHE_POLICIES.iter().flat_map(|row| [row.name, row.id]).collect();
        words.extend(ORIGIN_REQUEST_POLICIES.iter().flat_map(|row| [row.name, row.id]));
        words.extend(RESPONSE_HEADERS_POLICIES.iter().flat_map(|row| [row.name, row.id]));
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
