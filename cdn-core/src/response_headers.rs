//! Response headers policies: what a behavior takes off responses and puts on them, as each copy leaves.
//!
//! Decides by CloudFront's rules ("Understand response headers policies"): what is to be removed goes first, then CORS
//! headers ([`cors`]), then the others, each in the place of the origin's or only where the origin sent none. Knows the
//! request by [`Asking`] alone, and nothing of caches: what is stored is never changed by a policy.

pub mod cors;
pub mod security;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use self::cors::Cors;
use crate::fields::Fields;

/// Headers of its own that a policy may add, and headers that it may remove (CloudFront's quotas).
pub const HEADERS_MAX: usize = 10;
/// Parts of a whole in which a sampling rate is counted: percent with four decimals.
pub const SAMPLES: u32 = 1_000_000;

/// A response headers policy. [`check`](Self::check) says whether it may be one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeadersPolicy {
    /// Its name without the prefix `Managed-`.
    pub name: String,
    /// Removed from what the origin sent.
    pub remove: Vec<HeaderName>,
    /// CORS headers, where it adds any.
    pub cors: Option<Cors>,
    /// Security headers ([`security`]).
    pub security: Vec<PolicyHeader>,
    /// Any other headers.
    pub custom: Vec<PolicyHeader>,
    /// How many of [`SAMPLES`] responses carry CloudFront's `Server-Timing`; `None` where none ever does.
    pub server_timing: Option<u32>,
}

/// A header that a policy adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// Whether it takes the place of what the origin sent under this name.
    pub overrides: bool,
}

/// Why a response headers policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseHeadersError {
    /// More than CloudFront's quota.
    #[error("{count} {what}: at most {HEADERS_MAX} are possible")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// CloudFront makes this header itself, or HTTP needs it as it is.
    #[error("the header {0} may neither be removed nor set by a policy")]
    Untouchable(HeaderName),
    /// One header is added twice.
    #[error("the header {0} stands there twice")]
    Twice(HeaderName),
    /// This custom header has a setting of its own.
    #[error("the header {0} has a setting of its own, and is no custom header")]
    HasOwnSetting(HeaderName),
    /// More than all responses.
    #[error("a sampling rate is 0 to 100 percent")]
    SamplingRate,
}

/// What neither may be removed nor set; names that begin like [`UNTOUCHABLE_PREFIXES`] beside these.
const UNTOUCHABLE: [&str; 19] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "warning",
    "x-cache",
    "x-forwarded-proto",
    "x-iso-reason",
    "x-real-ip",
];
const UNTOUCHABLE_PREFIXES: [&str; 4] = ["x-accel-", "x-amz-cf-", "x-amzn-", "x-edge-"];

impl ResponseHeadersPolicy {
    /// Whether the parts go together and keep to CloudFront's quotas.
    pub fn check(&self) -> Result<(), ResponseHeadersError> {
        for (what, count) in [("custom headers", self.custom.len()), ("headers to remove", self.remove.len())] {
            if count > HEADERS_MAX {
                return Err(ResponseHeadersError::TooMany { what, count });
            }
        }
        if let Some(name) = self.remove.iter().chain(self.custom.iter().map(|header| &header.name)).find(is_untouchable)
        {
            return Err(ResponseHeadersError::Untouchable(name.clone()));
        }
        let own = |name: &HeaderName| cors::HEADERS.contains(name) || security::HEADERS.contains(name);
        if let Some(header) = self.custom.iter().find(|header| own(&header.name)) {
            return Err(ResponseHeadersError::HasOwnSetting(header.name.clone()));
        }
        for (at, header) in self.custom.iter().enumerate() {
            if self.custom.iter().take(at).any(|earlier| earlier.name == header.name) {
                return Err(ResponseHeadersError::Twice(header.name.clone()));
            }
        }
        match self.server_timing {
            Some(samples) if samples > SAMPLES => Err(ResponseHeadersError::SamplingRate),
            _ => Ok(()),
        }
    }

    /// Changes the headers of one response. Call it before CloudFront's own are put on ([`crate::forward::dress`]): a
    /// `Date` that is removed here comes back as CloudFront's.
    pub fn apply(&self, asking: &Asking, fields: &mut impl Fields) {
        for name in &self.remove {
            fields.remove(name);
            if *name == header::SERVER {
                fields.append(header::SERVER, HeaderValue::from_static("CloudFront"));
            }
        }
        if let (Some(cors), Some(origin)) = (&self.cors, &asking.origin) {
            cors.apply(origin, asking.is_preflight, fields);
        }
        for header in self.security.iter().chain(&self.custom) {
            header.put_on(fields);
        }
    }

    /// Whether a response carries CloudFront's `Server-Timing`. `draw` differs from request to request.
    pub fn samples(&self, asking: &Asking, draw: u64) -> bool {
        let share = |samples: u32| draw % u64::from(SAMPLES) < u64::from(samples);
        self.server_timing.is_some_and(|samples| asking.wants_timing || share(samples))
    }
}

impl PolicyHeader {
    fn put_on(&self, fields: &mut impl Fields) {
        if self.overrides {
            fields.insert(self.name.clone(), self.value.clone());
        } else if !fields.has(&self.name) {
            fields.append(self.name.clone(), self.value.clone());
        }
    }
}

/// What a policy looks at in the request that is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// `Origin`, which makes it a CORS request.
    origin: Option<HeaderValue>,
    /// It asks what another request may do (Fetch standard, "CORS-preflight request").
    is_preflight: bool,
    /// `Pragma: server-timing`.
    wants_timing: bool,
}

impl Asking {
    /// Reads a viewer's request.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let origin = headers.get(header::ORIGIN).cloned();
        let asks_first = || headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let pragma = headers.get_all(header::PRAGMA);
        Self {
            is_preflight: *method == Method::OPTIONS && origin.is_some() && asks_first(),
            wants_timing: pragma.iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"server-timing")),
            origin,
        }
    }
}

fn is_untouchable(name: &&HeaderName) -> bool {
    let name = name.as_str();
    UNTOUCHABLE.contains(&name) || UNTOUCHABLE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fields::Lines, policies};

    fn header(name: &'static str, value: &'static str, overrides: bool) -> PolicyHeader {
        PolicyHeader { name: HeaderName::from_static(name), value: HeaderValue::from_static(value), overrides }
    }

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    /// What leaves, sorted; a map and lines say the same.
    fn applied(policy: &ResponseHeadersPolicy, request: &[(&'static str, &'static str)], sent: &HeaderMap) -> String {
        let asking = Asking::of(&Method::GET, &map(request));
        let (mut fields, mut lines) = (sent.clone(), Lines::new(b"", 64));
        lines.extend(sent);
        policy.apply(&asking, &mut fields);
        policy.apply(&asking, &mut lines);
        let mut of_map: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        let text = String::from_utf8(lines.into_bytes().to_vec()).unwrap();
        let mut of_lines: Vec<_> = text.lines().collect();
        of_map.sort_unstable();
        of_lines.sort_unstable();
        assert_eq!(of_map, of_lines);
        of_map.join("\n")
    }

    #[test]
    fn an_origins_header_stays_unless_the_policy_overrides_it() {
        let policy = ResponseHeadersPolicy {
            custom: vec![
                header("x-one", "ours", false),
                header("x-two", "ours", true),
                header("x-three", "ours", false),
            ],
            ..ResponseHeadersPolicy::default()
        };
        let sent = map(&[("x-one", "theirs"), ("x-two", "theirs"), ("x-two", "more")]);
        assert_eq!(applied(&policy, &[], &sent), "x-one: theirs\nx-three: ours\nx-two: ours");
    }

    #[test]
    fn removal_comes_first_and_server_is_never_missing() {
        let policy = ResponseHeadersPolicy {
            remove: vec![header::SERVER, HeaderName::from_static("x-powered-by"), HeaderName::from_static("x-one")],
            custom: vec![header("x-one", "ours", false)],
            ..ResponseHeadersPolicy::default()
        };
        let sent = map(&[("server", "nginx"), ("x-powered-by", "php"), ("x-one", "theirs"), ("etag", "\"a\"")]);
        assert_eq!(applied(&policy, &[], &sent), "etag: \"a\"\nserver: CloudFront\nx-one: ours");
    }

    #[test]
    fn the_managed_security_headers_are_those_of_the_page() {
        let policy = policies::response_headers_policy("SecurityHeadersPolicy").unwrap();
        let sent = map(&[("x-frame-options", "DENY"), ("x-content-type-options", "other")]);
        let expected = "referrer-policy: strict-origin-when-cross-origin\n\
             strict-transport-security: max-age=31536000\n\
             x-content-type-options: nosniff\n\
             x-frame-options: DENY\n\
             x-xss-protection: 1; mode=block";
        assert_eq!(applied(&policy, &[("origin", "https://a.test")], &sent), expected);
    }

    #[test]
    fn timing_is_sampled_by_the_draw_or_asked_for() {
        let policy = |server_timing| ResponseHeadersPolicy { server_timing, ..ResponseHeadersPolicy::default() };
        let plain = Asking::default();
        let asked = Asking::of(&Method::GET, &map(&[("pragma", "Server-Timing")]));
        assert!(policy(Some(500_000)).samples(&plain, 499_999) && !policy(Some(500_000)).samples(&plain, 500_000));
        assert!(policy(Some(SAMPLES)).samples(&plain, u64::MAX) && !policy(Some(0)).samples(&plain, 0));
        assert!(policy(Some(0)).samples(&asked, 7) && !policy(None).samples(&asked, 7));
    }

    #[test]
    fn what_a_policy_may_not_do_is_named() {
        let check = |change: fn(&mut ResponseHeadersPolicy)| {
            let mut policy = ResponseHeadersPolicy::default();
            change(&mut policy);
            policy.check().map_err(|error| error.to_string())
        };
        assert_eq!(check(|policy| policy.remove = vec![header::SERVER, header::DATE]), Ok(()));
        for (refused, says) in [
            (check(|policy| policy.remove = vec![header::VIA]), "the header via may neither"),
            (check(|policy| policy.custom = vec![header("x-amz-cf-id", "1", true)]), "the header x-amz-cf-id"),
            (
                check(|policy| policy.custom = vec![header("x-frame-options", "DENY", true)]),
                "the header x-frame-options has",
            ),
            (check(|policy| policy.custom = vec![header("x-a", "1", true); 2]), "the header x-a stands"),
            (check(|policy| policy.custom = vec![header("x-a", "1", true); 11]), "11 custom headers"),
            (check(|policy| policy.server_timing = Some(SAMPLES + 1)), "a sampling rate"),
        ] {
            let error = refused.unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
