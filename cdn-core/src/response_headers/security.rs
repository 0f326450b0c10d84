//! The security headers that a response headers policy has settings for, as values.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

/// The headers that are made here.
pub const HEADERS: [HeaderName; 6] = [
    header::CONTENT_SECURITY_POLICY,
    header::REFERRER_POLICY,
    header::STRICT_TRANSPORT_SECURITY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    header::X_XSS_PROTECTION,
];

/// Longest `Content-Security-Policy`, in bytes (CloudFront's quota).
pub const CONTENT_SECURITY_POLICY_MAX: usize = 1_783;

/// What `Referrer-Policy` may say (W3C Referrer Policy section 3).
pub const REFERRER_POLICIES: [&str; 8] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
];

/// What `X-Frame-Options` may say (RFC 7034, without what no browser knows).
pub const FRAME_OPTIONS: [&str; 2] = ["DENY", "SAMEORIGIN"];

/// `Strict-Transport-Security` (RFC 6797 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrictTransportSecurity {
    /// For how long browsers keep to HTTPS; whole seconds are sent.
    pub max_age: Duration,
    /// Whether names below are meant too.
    pub include_subdomains: bool,
    /// Whether browsers may be built with it.
    pub preload: bool,
}

impl StrictTransportSecurity {
    /// The header's value.
    pub fn value(self) -> HeaderValue {
        let mut text = format!("max-age={}", self.max_age.as_secs());
        if self.include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if self.preload {
            text.push_str("; preload");
        }
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("max-age=0"))
    }
}

/// `X-XSS-Protection`: `0`, `1`, `1; mode=block` or `1; report=...`. `None` where blocking and reporting are both asked
/// for, which CloudFront refuses, or where the address is no header value.
pub fn xss_protection(protect: bool, block: bool, report: Option<&str>) -> Option<HeaderValue> {
    match (protect, block, report) {
        (false, false, None) => Some(HeaderValue::from_static("0")),
        (true, false, None) => Some(HeaderValue::from_static("1")),
        (true, true, None) => Some(HeaderValue::from_static("1; mode=block")),
        (true, false, Some(report)) => HeaderValue::try_from(format!("1; report={report}")).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_browsers_read_them() {
        let year = StrictTransportSecurity {
            max_age: Duration::from_secs(31_536_000),
            include_subdomains: true,
            preload: true,
        };
        assert_eq!(year.value(), "max-age=31536000; includeSubDomains; preload");
        assert_eq!(xss_protection(true, true, None).unwrap(), "1; mode=block");
        assert_eq!(xss_protection(true, false, Some("/x")).unwrap(), "1; report=/x");
        assert_eq!(xss_protection(false, false, None).unwrap(), "0");
        assert_eq!(xss_protection(false, true, None), None);
        assert_eq!(xss_protection(true, true, Some("/x")), None);
    }
}
