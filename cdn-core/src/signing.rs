//! Private content: whether a request carries a valid signed URL or signed cookies (CloudFront developer guide, "Use
//! signed URLs" and "Use signed cookies").
//!
//! A request goes through the [`Check`]s in their order, and the first that fails says what the viewer is told: a
//! [`Claim`] is read, verified and judged. What has been verified once is known again by a digest ([`VerifiedPolicies`]),
//! so that only resource, dates and address are looked at from then on. Refuses to know where keys are kept and what a response looks like.

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

use self::resource::{Resource, UrlParts};
pub use self::{
    credentials::{COOKIES, Credentials, PolicyText, Source, own_target, remove_cookies},
    key::{Hash, InvalidKey, PublicKey, Verifier},
    policy::{InvalidPolicy, Policy},
    verified::{Digest, VerifiedPolicies},
};
use crate::{Reason, WallTime, cache_key::KeySeed};

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

    /// The reason of the answer.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::MissingKey => Reason::SignatureMissing,
            Self::Repeated(_) | Self::MissingSignature | Self::MissingPolicy | Self::UnknownHash(_) => {
                Reason::SignatureIncomplete
            }
            Self::UnknownKey(_) => Reason::SignatureUnknownKey,
            Self::MalformedSignature => Reason::SignatureMalformed,
            Self::MalformedPolicy(_) => Reason::PolicyMalformed,
            Self::BadSignature { .. } => Reason::SignatureInvalid,
            Self::Resource { .. } => Reason::SignatureOtherResource,
            Self::Expired { .. } => Reason::SignatureExpired,
            Self::TooEarly { .. } => Reason::SignatureTooEarly,
            Self::Address { .. } => Reason::SignatureOtherAddress,
        }
    }
}

/// The body of the 403 for a reason of a [`Refusal`]: one line of XML without an end. CloudFront says the same of
/// everything that a signature forbids, so that nobody learns how far an attempt came. `None` for any other reason.
pub fn refusal_body(reason: Reason) -> Option<String> {
    let (code, message) = match reason {
        Reason::SignatureMissing => ("MissingKey", "Missing Key-Pair-Id query parameter or cookie value"),
        Reason::SignatureUnknownKey => ("InvalidKey", "Unknown Key"),
        Reason::SignatureMalformed => ("MalformedSignature", "Could not unencode Signature"),
        Reason::PolicyMalformed => ("MalformedPolicy", "Malformed Policy"),
        Reason::SignatureIncomplete
        | Reason::SignatureInvalid
        | Reason::SignatureOtherResource
        | Reason::SignatureExpired
        | Reason::SignatureTooEarly
        | Reason::SignatureOtherAddress => ("AccessDenied", "Access denied"),
        _ => return None,
    };
    let declaration = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    Some(format!("{declaration}<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
}

/// What a request says for itself: credentials that name a trusted key, and not yet verified.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    credentials: Credentials<'a>,
    key: &'a PublicKey,
    request: SignedRequest<'a>,
    /// The target without CloudFront's parameters.
    own: String,
    digest: Digest,
}

impl<'a> Claim<'a> {
    /// Reads the claim of `request`. `seed` is that of the [`VerifiedPolicies`] where its digest is looked for.
    ///
    /// # Errors
    /// The first check that fails, up to [`Check::Key`].
    pub fn read(keys: &'a TrustedKeys, seed: KeySeed, request: SignedRequest<'a>) -> Result<Self, Refusal> {
        let credentials = Credentials::of(request.target, request.headers)?;
        let key = keys.get(credentials.key_id).ok_or_else(|| Refusal::UnknownKey(credentials.key_id.to_owned()))?;
        let own = own_target(request.target);
        let digest = verified::digest(seed, &credentials, &request, &own);
        Ok(Self { credentials, key, request, own, digest })
    }

    /// Stands for all that a verification depends on, but for the keys themselves.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The credentials.
    pub const fn credentials(&self) -> &Credentials<'a> {
        &self.credentials
    }

    /// The request's target without CloudFront's parameters, as the cache key and the origin are to see it.
    pub fn into_own_target(self) -> String {
        self.own
    }

    /// Reads the policy and verifies that the key signed it: the expensive part.
    ///
    /// # Errors
    /// The first check that fails, up to [`Check::Signature`].
    pub fn verify(&self, verifier: &impl Verifier) -> Result<Policy, Refusal> {
        let Self { credentials, key, request, own, .. } = self;
        let signature = encoding::decode(credentials.signature).ok_or(Refusal::MalformedSignature)?;
        let bad = |text: &[u8]| Refusal::BadSignature {
            key: credentials.key_id.to_owned(),
            hash: credentials.hash,
            policy: String::from_utf8_lossy(text).into_owned(),
        };
        match credentials.policy {
            PolicyText::Custom(encoded) => {
                let text = encoding::decode(encoded).ok_or(Refusal::MalformedPolicy(InvalidPolicy::Encoding))?;
                let policy = Policy::read(&text).map_err(Refusal::MalformedPolicy)?;
                if verifier.verify(key, credentials.hash, &text, &signature) { Ok(policy) } else { Err(bad(&text)) }
            }
            PolicyText::Canned(expires) => {
                let ends_at = policy::seconds(expires).ok_or(Refusal::MalformedPolicy(InvalidPolicy::Expires))?;
                let text = |host: &str| policy::canned(&format!("{}://{host}{own}", request.scheme), expires);
                // Real names have no port. Where viewers have to write one, both ways of signing are right.
                let (with, without) = (text(request.host), resource::without_port(request.host));
                let is_signed = |text: &str| verifier.verify(key, credentials.hash, text.as_bytes(), &signature);
                if is_signed(&with) || (without != request.host && is_signed(&text(without))) {
                    Ok(Policy { resource: Resource::Exact, ends_at, begins_after: None, network: None })
                } else {
                    Err(bad(with.as_bytes()))
                }
            }
        }
    }

    /// Whether a verified `policy` allows the request at `now`: the part that is looked at each time.
    ///
    /// # Errors
    /// The first check that fails, from [`Check::Resource`] on.
    pub fn judge(&self, now: WallTime, policy: &Policy) -> Result<(), Refusal> {
        let url = UrlParts::new(self.request.scheme, self.request.host, &self.own);
        policy.allows(now, &url, self.request.client)
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
