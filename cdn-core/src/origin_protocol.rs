//! What a CDN speaks with an origin: HTTP or HTTPS, by which name, and from which version of TLS on (AWS page "Require
//! HTTPS for communication between CloudFront and your custom origin").

use std::fmt;

use crate::distribution::Origin;

/// CloudFront's origin protocol policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginProtocolPolicy {
    /// HTTP, whatever the viewer speaks.
    #[default]
    HttpOnly,
    /// HTTPS, whatever the viewer speaks.
    HttpsOnly,
    /// What the viewer speaks whose request it is. A stored response serves both, as it does at CloudFront.
    MatchViewer,
}

impl OriginProtocolPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HttpOnly, Self::HttpsOnly, Self::MatchViewer];

    /// CloudFront's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpOnly => "http-only",
            Self::HttpsOnly => "https-only",
            Self::MatchViewer => "match-viewer",
        }
    }

    /// Whether the origin is spoken to by HTTPS for a viewer that came by HTTPS or not.
    pub const fn wants_https(self, viewer_https: bool) -> bool {
        match self {
            Self::HttpOnly => false,
            Self::HttpsOnly => true,
            Self::MatchViewer => viewer_https,
        }
    }

    /// Whether the origin may be spoken to by HTTPS at all.
    pub const fn may_use_https(self) -> bool {
        !matches!(self, Self::HttpOnly)
    }
}

impl fmt::Display for OriginProtocolPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version that may be spoken with an origin, by CloudFront's names. TLS 1.3 is spoken with origins that can, whatever is
/// listed; a list that has nothing else is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the names are CloudFront's")]
pub enum OriginSslProtocol {
    /// SSL 3.0, which no library that is well kept speaks.
    SSLv3,
    /// TLS 1.0, likewise.
    TLSv1,
    /// TLS 1.1, likewise.
    TLSv1_1,
    /// TLS 1.2.
    #[default]
    TLSv1_2,
    /// TLS 1.3.
    TLSv1_3,
}

impl OriginSslProtocol {
    /// All of them, the oldest first.
    pub const ALL: [Self; 5] = [Self::SSLv3, Self::TLSv1, Self::TLSv1_1, Self::TLSv1_2, Self::TLSv1_3];

    /// CloudFront's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SSLv3 => "SSLv3",
            Self::TLSv1 => "TLSv1",
            Self::TLSv1_1 => "TLSv1.1",
            Self::TLSv1_2 => "TLSv1.2",
            Self::TLSv1_3 => "TLSv1.3",
        }
    }

    /// Whether it is spoken here; the others are accepted in a list and never offered.
    pub const fn is_spoken(self) -> bool {
        matches!(self, Self::TLSv1_2 | Self::TLSv1_3)
    }
}

impl fmt::Display for OriginSslProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with the certificate that an origin shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateFault {
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It is for other names than the origin's and the forwarded `Host`.
    WrongName,
    /// Nobody who is trusted has signed it; a certificate that signed itself is one of these.
    UnknownIssuer,
    /// Anything else: malformed, revoked, a broken chain, a signature that does not fit.
    Invalid,
}

/// The name that is asked for in a TLS handshake (SNI), out of the `Host` that the origin will receive: the viewer's where
/// that is forwarded, else the origin's own. What the origin shows may be for [`own_name`] as well.
pub fn server_name(host: &str) -> &str {
    // Without its port, and an address of IPv6 without its brackets (RFC 3986, section 3.2.2).
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a certificate for `name` is one for what `allowed` says, where `*.` stands for any first label.
pub fn allows_certificate(allowed: &[String], name: &str) -> bool {
    allowed.iter().any(|pattern| {
        let under = pattern.strip_prefix("*.").zip(name.split_once('.'));
        pattern.eq_ignore_ascii_case(name) || under.is_some_and(|(parent, (_, rest))| parent.eq_ignore_ascii_case(rest))
    })
}

/// The name that an origin has of itself.
pub fn own_name(origin: &Origin) -> &str {
    server_name(&origin.domain_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_an_allowed_name_is_one_label() {
        let allowed = ["*.example.com".to_owned(), "a.test".to_owned()];
        for (name, allows) in [
            ("x.example.com", true),
            ("*.example.com", true),
            ("A.test", true),
            ("example.com", false),
            ("x.y.example.com", false),
            ("b.test", false),
        ] {
            assert_eq!(allows_certificate(&allowed, name), allows, "{name}");
        }
    }

    #[test]
    fn the_viewers_scheme_counts_under_match_viewer_alone() {
        for (policy, by_http, by_https) in [
            (OriginProtocolPolicy::HttpOnly, false, false),
            (OriginProtocolPolicy::HttpsOnly, true, true),
            (OriginProtocolPolicy::MatchViewer, false, true),
        ] {
            assert_eq!((policy.wants_https(false), policy.wants_https(true)), (by_http, by_https), "{policy}");
            assert_eq!(policy.may_use_https(), by_http || by_https);
        }
    }

    #[test]
    fn names_of_handshakes_have_no_port() {
        for (host, name) in [
            ("www.demo.test", "www.demo.test"),
            ("www.demo.test.", "www.demo.test"),
            ("www.demo.test:4443", "www.demo.test"),
            ("127.0.0.1:3000", "127.0.0.1"),
            ("[::1]:3000", "::1"),
            ("[::1]", "::1"),
            ("", ""),
        ] {
            assert_eq!(server_name(host), name);
        }
        assert_eq!(own_name(&Origin::new("app.test:8443")), "app.test");
    }
}
