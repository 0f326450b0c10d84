//! CloudFront's managed response headers policies. Values follow the AWS page "Use managed response headers policies".

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use crate::response_headers::{
    PolicyHeader, ResponseHeadersPolicy,
    cors::{Cors, METHODS, OriginPattern},
    security::StrictTransportSecurity,
};

/// A row of the table of managed response headers policies.
#[derive(Clone, Copy, Debug)]
pub struct ManagedResponseHeadersPolicy {
    /// Its name without `Managed-`.
    pub name: &'static str,
    /// Its id, a UUID.
    pub id: &'static str,
    cors: ManagedCors,
    security: bool,
}

#[derive(Clone, Copy, Debug)]
enum ManagedCors {
    None,
    Simple,
    WithPreflight,
}

/// The managed response headers policies.
pub const RESPONSE_HEADERS_POLICIES: &[ManagedResponseHeadersPolicy] = &[
    ManagedResponseHeadersPolicy {
        name: "SimpleCORS",
        id: "60669652-455b-4ae9-85a4-c4c02393f86c",
        cors: ManagedCors::Simple,
        security: false,
    },
    ManagedResponseHeadersPolicy {
        name: "CORS-With-Preflight",
        id: "5cc3b908-e619-4b99-88e5-2cf7f45965bd",
        cors: ManagedCors::WithPreflight,
        security: false,
    },
    ManagedResponseHeadersPolicy {
        name: "SecurityHeadersPolicy",
        id: "67f7725c-6f97-4210-82d7-5512b31e9d03",
        cors: ManagedCors::None,
        security: true,
    },
    ManagedResponseHeadersPolicy {
        name: "CORS-and-SecurityHeadersPolicy",
        id: "e61eb60c-9c35-4d20-a928-2b84e02af89c",
        cors: ManagedCors::Simple,
        security: true,
    },
    ManagedResponseHeadersPolicy {
        name: "CORS-with-preflight-and-SecurityHeadersPolicy",
        id: "eaab4381-ed33-4a86-88ca-d9558dc6cd63",
        cors: ManagedCors::WithPreflight,
        security: true,
    },
];

impl ManagedResponseHeadersPolicy {
    /// The policy itself.
    pub fn policy(&self) -> ResponseHeadersPolicy {
        ResponseHeadersPolicy {
            name: self.name.to_owned(),
            cors: self.cors.cors(),
            security: if self.security { security_headers() } else { Vec::new() },
            ..ResponseHeadersPolicy::default()
        }
    }
}

impl ManagedCors {
    fn cors(self) -> Option<Cors> {
        let simple = Cors { allow_origins: vec![OriginPattern::Any], ..Cors::default() };
        match self {
            Self::None => None,
            Self::Simple => Some(simple),
            Self::WithPreflight => Some(Cors {
                allow_methods: METHODS.map(str::to_owned).into(),
                expose_headers: vec!["*".to_owned()],
                ..simple
            }),
        }
    }
}

fn security_headers() -> Vec<PolicyHeader> {
    let header = |name: HeaderName, value: &'static str, overrides| PolicyHeader {
        name,
        value: HeaderValue::from_static(value),
        overrides,
    };
    let year = Duration::from_secs(super::YEAR_SECS);
    let transport = StrictTransportSecurity { max_age: year, include_subdomains: false, preload: false };
    vec![
        header(header::REFERRER_POLICY, "strict-origin-when-cross-origin", false),
        PolicyHeader { name: header::STRICT_TRANSPORT_SECURITY, value: transport.value(), overrides: false },
        header(header::X_CONTENT_TYPE_OPTIONS, "nosniff", true),
        header(header::X_FRAME_OPTIONS, "SAMEORIGIN", false),
        header(header::X_XSS_PROTECTION, "1; mode=block", false),
    ]
}

/// The managed response headers policy of this name or id.
pub fn response_headers_policy(name_or_id: &str) -> Option<ResponseHeadersPolicy> {
    let name = name_or_id.strip_prefix("Managed-").unwrap_or(name_or_id);
    RESPONSE_HEADERS_POLICIES
        .iter()
        .find(|row| row.name == name || row.id == name_or_id)
        .map(ManagedResponseHeadersPolicy::policy)
}
