//! Private content: whether a request carries a valid signed URL or signed cookies (CloudFront developer guide, "Use
//! signed URLs" and "Use signed cookies").
//!
//! A request goes through the [`Check`]s in their order, and the first that fails says what the viewer is told. What has
//! been verified once is known again by a digest ([`VerifiedPolicies`]), so that only dates, resource and address are
//! looked at from then on. Refuses to know where keys are kept and what a response looks like.

pub mod credentials;
pub mod encoding;
pub mod key;
pub mod policy;
pub mod resource;
mod verified;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use http::HeaderMap;
use ipnet::Ipv4Net;

use self::{
    credentials::own_target,
    resource::{Resource, UrlParts},
};
pub use self::{
    credentials::{Credentials, PolicyText, Source},
    key::{Hash, InvalidKey, PublicKey},
    policy::{InvalidPolicy, Policy},
    verified::VerifiedPolicies,
};
use crate::{Reason, WallTime};

/// The keys that a behavior trusts, by public key id (`Key-Pair-Id`).
pub type TrustedKeys = BTreeMap<String, PublicKey>;

/// What a signature is judged against: the request as the viewer sent it.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// `http` or `https`, as the viewer asked.
    pub scheme: &'a str,
    /// `Host`, with a port where it has one.
    pub host: &'a str,
    /// Path and query as they stood on the wire.
    pub target: &'a str,
    /// Where signed cookies are looked for.
    pub headers: &'a HeaderMap,
    /// The viewer's address.
    pub client: IpAddr,
}

/// The steps of the judgement, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The parameters or cookies are there, each once.
    Parameters,
    /// The key is one that the behavior trusts.
    Key,
    /// The signature can be decoded.
    Encoding,
    /// The policy can be read.
    Policy,
    /// The signature is the key's, over the policy.
    Signature,
    /// The policy covers the URL.
    Resource,
    /// It is early enough, and late enough.
    Time,
    /// The viewer's address is one that the policy allows.
    Address,
}

impl Check {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Parameters,
        Self::Key,
        Self::Encoding,
        Self::Policy,
        Self::Signature,
        Self::Resource,
        Self::Time,
        Self::Address,
    ];

    /// The lower-case word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Key => "key",
            Self::Encoding => "encoding",
            Self::Policy => "policy",
            Self::Signature => "signature",
            Self::Resource => "resource",
            Self::Time => "time",
            Self::Address => "address",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request is refused, with both sides of the comparison that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither parameters nor cookies name a key.
    #[error("there is no Key-Pair-Id, neither in the URL nor as a cookie")]
    MissingKey,
    /// A parameter or cookie stands there twice, with different values.
    #[error("{0} is there twice, with different values")]
    Repeated(&'static str),
    /// There is no signature.
    #[error("there is no Signature")]
    MissingSignature,
    /// There is neither a policy nor a time of expiry.
    #[error("there is neither Policy nor Expires")]
    MissingPolicy,
    /// The named hash is none.
    #[error("Hash-Algorithm is {0:?}, and SHA1 and SHA256 are known")]
    UnknownHash(String),
    /// The behavior trusts no key of this id.
    #[error("the behavior trusts no key {0:?}")]
    UnknownKey(String),
    /// The signature is not CloudFront's base64.
    #[error("the signature is not base64 with - _ ~ for + = /")]
    MalformedSignature,
    /// The policy cannot be read.
    #[error("the policy cannot be read: {0}")]
    MalformedPolicy(InvalidPolicy),
    /// The key did not sign this policy.
    #[error("the signature is not that of key {key:?} over the policy with {hash}")]
    BadSignature {
        /// The key's id.
        key: String,
        /// The hash that was tried.
        hash: Hash,
        /// What should have been signed.
        policy: String,
    },
    /// The policy is for other URLs.
    #[error("the policy covers {policy}, and the request is for {request}")]
    Resource {
        /// As in the policy.
        policy: String,
        /// Of the request, without CloudFront's parameters.
        request: String,
    },
    /// The policy has ended.
    #[error("it is {now}, and the policy ended at {ended_at} (Unix seconds)")]
    Expired {
        /// Unix seconds.
        now: i64,
        /// Unix seconds; the moment itself is too late.
        ended_at: i64,
    },
    /// The policy has not begun.
    #[error("it is {now}, and the policy begins after {begins_after} (Unix seconds)")]
    TooEarly {
        /// Unix seconds.
        now: i64,
        /// Unix seconds; the moment itself is too early.
        begins_after: i64,
    },
    /// The viewer's address is another one.
    #[error("the policy allows {network}, and the viewer has {client}")]
    Address {
        /// As in the policy.
        network: Ipv4Net,
        /// The viewer's.
        client: IpAddr,
    },
}

impl Refusal {
    /// Which check failed.
    pub const fn check(&self) -> Check {
        match self {
            Self::MissingKey
            | Self::Repeated(_)
            | Self::MissingSignature
            | Self::MissingPolicy
            | Self::UnknownHash(_) => Check::Parameters,
            Self::UnknownKey(_) => Check::Key,
            Self::MalformedPolicy(_) => Check::Policy,
            Self::MalformedSignature => Check::Encoding,
            Self::BadSignature { .. } => Check::Signature,
            Self::Resource { .. } => Check::Resource,
            Self::Expired { .. } | Self::TooEarly { .. } => Check::Time,
            Self::Address { .. } => Check::Address,
        }
    }

    /// `Code` and `Message` of the 403's body. CloudFront says the same of everything that a signature forbids, so that
    /// nobody learns how far an attempt came.
    pub const fn code_and_message(&self) -> (&'static str, &'static str) {
        match self {
            Self::MissingKey => ("MissingKey", "Missing Key-Pair-Id query parameter or cookie value"),
            Self::UnknownKey(_) => ("InvalidKey", "Unknown Key"),
            Self::MalformedSignature => ("MalformedSignature", "Could not unencode Signature"),
            Self::MalformedPolicy(_) => ("MalformedPolicy", "Malformed Policy"),
            _ => ("AccessDenied", "Access denied"),
        }
    }

    /// The body of the 403: one line without an end.
    pub fn body(&self) -> String {
        let (code, message) = self.code_and_message();
        let declaration = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
        format!("{declaration}<Error><Code>{code}</Code><Message>{message}</Message></Error>")
    }

    /// The reason of the answer.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::MissingKey | Self::Repeated(_) | Self::MissingSignature | Self::MissingPolicy => {
                Reason::SignatureMissing
            }
            Self::UnknownHash(_) | Self::MalformedSignature | Self::MalformedPolicy(_) => Reason::SignatureMalformed,
            Self::UnknownKey(_) => Reason::SignatureUnknownKey,
            Self::BadSignature { .. } => Reason::SignatureInvalid,
            Self::Resource { .. } => Reason::SignatureOtherResource,
            Self::Expired { .. } => Reason::SignatureExpired,
            Self::TooEarly { .. } => Reason::SignatureTooEarly,
            Self::Address { .. } => Reason::SignatureOtherAddress,
        }
    }
}

/// A request that may pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    /// Where the signature stood.
    pub source: Source,
    /// Whose it is.
    pub key_id: String,
    /// What it allows.
    pub policy: Policy,
}

/// Judges `request` at `now`. What `verified` knows is not verified again.
///
/// # Errors
/// The first check that fails.
pub fn judge(
    now: WallTime,
    keys: &TrustedKeys,
    verified: &mut VerifiedPolicies,
    request: &SignedRequest<'_>,
) -> Result<Permit, Refusal> {
    let credentials = Credentials::of(request.target, request.headers)?;
    let key = keys.get(credentials.key_id).ok_or_else(|| Refusal::UnknownKey(credentials.key_id.to_owned()))?;
    let own = own_target(request.target);
    let digest = verified.digest(&credentials, request, &own);
    let policy = match verified.get(now, digest) {
        Some(policy) => policy,
        None => {
            let policy = verify(key, &credentials, request, &own)?;
            verified.insert(now, digest, policy.clone());
            policy
        }
    };
    let url = UrlParts::new(request.scheme, request.host, &own);
    policy.allows(now, &url, request.client)?;
    Ok(Permit { source: credentials.source, key_id: credentials.key_id.to_owned(), policy })
}

/// Reads the policy of `credentials` and verifies that `key` signed it.
fn verify(
    key: &PublicKey,
    credentials: &Credentials<'_>,
    request: &SignedRequest<'_>,
    own: &str,
) -> Result<Policy, Refusal> {
    let signature = encoding::decode(credentials.signature).ok_or(Refusal::MalformedSignature)?;
    let bad = |text: &[u8]| Refusal::BadSignature {
        key: credentials.key_id.to_owned(),
        hash: credentials.hash,
        policy: String::from_utf8_lossy(text).into_owned(),
    };
    match credentials.policy {
        PolicyText::Custom(encoded) => {
            let malformed = |error| Refusal::MalformedPolicy(error);
            let text = encoding::decode(encoded).ok_or_else(|| malformed(InvalidPolicy::Encoding))?;
            let policy = Policy::read(&text).map_err(malformed)?;
            if key.verify(credentials.hash, &text, &signature) { Ok(policy) } else { Err(bad(&text)) }
        }
        PolicyText::Canned(expires) => {
            let ends_at = policy::seconds(expires).ok_or(Refusal::MalformedPolicy(InvalidPolicy::Expires))?;
            let text = |host: &str| policy::canned(&format!("{}://{host}{own}", request.scheme), expires);
            // Real names have no port. Where viewers have to write one, both ways of signing are right.
            let (with, without) = (text(request.host), resource::without_port(request.host));
            let is_signed = |text: &str| key.verify(credentials.hash, text.as_bytes(), &signature);
            if is_signed(&with) || (without != request.host && is_signed(&text(without))) {
                Ok(Policy { resource: Resource::Exact, ends_at, begins_after: None, network: None })
            } else {
                Err(bad(with.as_bytes()))
            }
        }
    }
}

impl Policy {
    /// Whether the policy allows `url` to `client` at `now`.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn allows(&self, now: WallTime, url: &UrlParts<'_>, client: IpAddr) -> Result<(), Refusal> {
        if !self.resource.covers(url) {
            return Err(Refusal::Resource { policy: self.resource.to_string(), request: url.to_string() });
        }
        let now = now.unix_secs();
        if now >= self.ends_at {
            return Err(Refusal::Expired { now, ended_at: self.ends_at });
        }
        if let Some(begins_after) = self.begins_after
            && now <= begins_after
        {
            return Err(Refusal::TooEarly { now, begins_after });
        }
        match self.network {
            Some(network) if !ipv4(client).is_some_and(|client| network.contains(&client)) => {
                Err(Refusal::Address { network, client })
            }
            _ => Ok(()),
        }
    }
}

/// IPv6 viewers fail an address check (CloudFront supports none in policies), mapped IPv4 addresses do not.
fn ipv4(client: IpAddr) -> Option<Ipv4Addr> {
    match client {
        IpAddr::V4(client) => Some(client),
        IpAddr::V6(client) => client.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests;
